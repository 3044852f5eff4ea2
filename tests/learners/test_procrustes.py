"""Any learner turned into one space: planted rotations are found, and what no label speaks about is left alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import mudata as md
import numpy as np
import pytest
from scipy.linalg import orthogonal_procrustes

import scgroove
from scgroove.errors import LearnerOutputError
from scgroove.learners import GroupProcrustes, Learner, PrincipalComponents, construct
from scgroove.learners._procrustes import procrustes


@dataclass
class Planted(Learner):
    """Coordinates that were written into ``obsm["planted"]``."""

    name: ClassVar[str] = "planted"
    aligned: ClassVar[bool] = False

    log: list[int] = field(default_factory=list)

    def _fit(self, screen: Any, seed: int) -> None:
        self.names_ = screen.modalities
        self.log.append(seed)

    def _transform(self, mdata: Any) -> dict[str, Any]:
        return {m: mdata[m].obsm["planted"] for m in self.names_}


def rotation(rng: np.random.Generator, k: int) -> np.ndarray:
    return np.linalg.qr(rng.normal(size=(k, k)))[0]


def planted(
    n_labels: int = 9,
    k: int = 4,
    *,
    modalities: tuple[str, ...] = ("rna", "protein"),
) -> md.MuData:
    """The true latent, the same cells in all modalities, turned and shifted in each but the first."""
    mdata = scgroove.simulations.weakly_paired(
        n_labels=n_labels,
        n_cells_per_label=12,
        n_latent=k,
        modalities=modalities,
        n_features=(5,) * len(modalities),
        seed=1,
    )
    rng = np.random.default_rng(0)
    for i, m in enumerate(modalities):
        u = mdata[m].obsm["latent"]
        turn = np.eye(k) if i == 0 else rotation(rng, k)
        mdata[m].obsm["planted"] = u @ turn + (0 if i == 0 else rng.normal(size=k) * 10)
    return mdata


def matched(
    mdata: md.MuData, z: dict[str, np.ndarray], a: str, b: str
) -> tuple[np.ndarray, np.ndarray]:
    order = mdata[b].obs_names.get_indexer(mdata[a].obs_names)
    both = order >= 0
    return z[a][both], z[b][order[both]]


def test_a_planted_rotation_is_found() -> None:
    mdata = planted()
    learner = GroupProcrustes(Planted())
    z = learner.fit_transform(mdata)
    one, other = matched(mdata, z, "rna", "protein")
    np.testing.assert_allclose(one, other, atol=1e-5)
    assert learner.evidence["label_error"] < 1e-10
    np.testing.assert_allclose(z["rna"], mdata["rna"].obsm["planted"], atol=1e-9)


def test_three_modalities_and_one_that_shares_labels_with_the_second_only() -> None:
    names = ("rna", "protein", "image")
    mdata = planted(12, modalities=names)
    keep = {"rna": range(7), "protein": range(12), "image": range(7, 12)}
    parts = {
        m: mdata[m][mdata[m].obs["label"].isin([f"g{g:02d}" for g in keep[m]])].copy()
        for m in names
    }
    apart = md.MuData(parts)
    with pytest.raises(ValueError, match=r"'image' has 0 labels in common with 'rna'"):
        GroupProcrustes(Planted()).fit(apart)
    z = GroupProcrustes(Planted()).fit_transform(apart, modalities=["protein", "rna", "image"])
    for b in ("rna", "image"):
        one, other = matched(apart, z, "protein", b)
        np.testing.assert_allclose(one, other, atol=1e-5)
    z = GroupProcrustes(Planted()).fit_transform(mdata)
    for b in ("protein", "image"):
        one, other = matched(mdata, z, "rna", b)
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_one_decomposition_is_that_of_scipy() -> None:
    rng = np.random.default_rng(0)
    a, b = (x - x.mean(axis=0) for x in rng.normal(size=(2, 10, 4)))
    turn, _ = orthogonal_procrustes(a, b)
    np.testing.assert_allclose(procrustes(a, b), turn, atol=1e-9)


def test_no_other_isometry_is_nearer() -> None:
    rng = np.random.default_rng(1)
    a, b = (x - x.mean(axis=0) for x in rng.normal(size=(2, 8, 3)))
    best = ((a @ procrustes(a, b) - b) ** 2).sum()
    for _ in range(50):
        assert ((a @ rotation(rng, 3) - b) ** 2).sum() >= best


def test_directions_in_which_no_label_differs_are_dropped() -> None:
    mdata = planted(3, k=6)  # three labels speak about two directions
    dropped = GroupProcrustes(Planted()).fit_transform(mdata)
    for z in dropped.values():
        assert np.linalg.matrix_rank(z - z.mean(axis=0), tol=1e-6) == 2
    one, other = matched(mdata, dropped, "rna", "protein")
    np.testing.assert_allclose(one, other, atol=1e-5)  # what is left was turned rightly


def test_narrower_modalities_are_padded() -> None:
    mdata = planted(8, k=4)
    wide = mdata["protein"].obsm["planted"]
    mdata["protein"].obsm["planted"] = np.hstack([wide, np.zeros((len(wide), 2))])
    z = GroupProcrustes(Planted()).fit_transform(mdata)
    assert {one.shape[1] for one in z.values()} == {6}
    one, other = matched(mdata, z, "rna", "protein")
    np.testing.assert_allclose(one, other, atol=1e-5)


def test_the_learner_given_stays_unfitted_and_may_be_used_again() -> None:
    mdata = planted()
    inner = Planted()
    GroupProcrustes(inner).fit(mdata, seed=11)
    assert inner.log == [11]  # shared with the copy that was fitted
    assert not hasattr(inner, "modalities_")


def test_by_name_and_as_an_object_are_one() -> None:
    mdata = scgroove.simulations.weakly_paired(n_labels=5, n_cells_per_label=10, n_features=(12, 9))
    by_name = GroupProcrustes("pca", {"n_components": 6}).fit_transform(mdata)
    as_object = GroupProcrustes(PrincipalComponents(6)).fit_transform(mdata)
    registered = construct("pca_procrustes", {"options": {"n_components": 6}}).fit_transform(mdata)
    for m in mdata.mod:
        assert by_name[m].tobytes() == as_object[m].tobytes() == registered[m].tobytes()


def test_a_ceiling_stays_a_ceiling() -> None:
    assert GroupProcrustes("oracle_latent").uses_truth
    assert not GroupProcrustes("pca").uses_truth
    assert not GroupProcrustes.uses_truth


def test_what_the_learner_inside_returns_is_checked_under_its_name() -> None:
    mdata = planted()
    mdata["rna"].obsm["planted"][3, 1] = np.nan
    with pytest.raises(LearnerOutputError, match="learner 'planted' returned NaN"):
        GroupProcrustes(Planted()).fit(mdata)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: GroupProcrustes("pcaa"), ValueError, "Did you mean 'pca'"),
        (lambda: GroupProcrustes("pca", {"n_comp": 3}), TypeError, "Did you mean 'n_components'"),
        (
            lambda: GroupProcrustes(PrincipalComponents(3), {"n_components": 4}),
            ValueError,
            "for a learner given by name",
        ),
        (
            lambda: GroupProcrustes(PrincipalComponents),
            TypeError,
            "a learner or its name; found <class",
        ),
    ],
)
def test_options_that_cannot_be_used_are_refused(
    make: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        make()
