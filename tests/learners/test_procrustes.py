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
from scgroove.learners._procrustes import label_error, procrustes, to_first, to_mean


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
    scales: tuple[float, ...] = (1, 1),
) -> md.MuData:
    """The true latent, the same cells in all modalities, turned, shifted and scaled in each but the first."""
    mdata = scgroove.simulations.weakly_paired(
        n_labels=n_labels,
        n_cells_per_label=12,
        n_latent=k,
        modalities=modalities,
        n_features=(5,) * len(modalities),
        seed=1,
    )
    rng = np.random.default_rng(0)
    for i, (m, scale) in enumerate(zip(modalities, scales, strict=True)):
        u = mdata[m].obsm["latent"]
        turn = np.eye(k) if i == 0 else rotation(rng, k)
        mdata[m].obsm["planted"] = scale * u @ turn + (0 if i == 0 else rng.normal(size=k) * 10)
    return mdata


def matched(
    mdata: md.MuData, z: dict[str, np.ndarray], a: str, b: str
) -> tuple[np.ndarray, np.ndarray]:
    order = mdata[b].obs_names.get_indexer(mdata[a].obs_names)
    both = order >= 0
    return z[a][both], z[b][order[both]]


@pytest.mark.parametrize("reference", ["first", "mean"])
@pytest.mark.parametrize("unseen", ["drop", "keep"])
def test_a_planted_rotation_is_found(reference: Any, unseen: Any) -> None:
    mdata = planted()
    learner = GroupProcrustes(Planted(), reference=reference, unseen=unseen)
    z = learner.fit_transform(mdata)
    one, other = matched(mdata, z, "rna", "protein")
    np.testing.assert_allclose(one, other, atol=1e-5)
    assert learner.evidence["label_error"] < 1e-10
    if reference == "first":
        np.testing.assert_allclose(z["rna"], mdata["rna"].obsm["planted"], atol=1e-9)


@pytest.mark.parametrize("reference", ["first", "mean"])
def test_a_planted_factor_is_found_if_asked_for(reference: Any) -> None:
    mdata = planted(scales=(1, 7))
    one, other = matched(
        mdata,
        GroupProcrustes(Planted(), scale=True, reference=reference).fit_transform(mdata),
        "rna",
        "protein",
    )
    np.testing.assert_allclose(one, other, atol=1e-5)
    assert (
        one.std() / np.mean([mdata[m].obsm["planted"].std() for m in mdata.mod]) > 0.9
        or reference == "first"
    )
    one, other = matched(mdata, GroupProcrustes(Planted()).fit_transform(mdata), "rna", "protein")
    assert np.abs(one - other).max() > 1


def test_three_modalities_and_one_that_shares_labels_with_the_second_only() -> None:
    names = ("rna", "protein", "image")
    mdata = planted(12, modalities=names, scales=(1, 1, 1))
    keep = {"rna": range(7), "protein": range(12), "image": range(7, 12)}
    parts = {
        m: mdata[m][mdata[m].obs["label"].isin([f"g{g:02d}" for g in keep[m]])].copy()
        for m in names
    }
    apart = md.MuData(parts)
    with pytest.raises(
        ValueError, match=r"'image' has 0 labels in common with 'rna'.*reference='mean'"
    ):
        GroupProcrustes(Planted()).fit(apart)
    for data in (apart, mdata):
        z = GroupProcrustes(Planted(), reference="mean").fit_transform(data)
        for a, b in (("rna", "protein"), ("protein", "image")):
            one, other = matched(data, z, a, b)
            np.testing.assert_allclose(one, other, atol=1e-5)
    z = GroupProcrustes(Planted()).fit_transform(mdata)
    for b in ("protein", "image"):
        one, other = matched(mdata, z, "rna", b)
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_groups_of_modalities_without_a_link_are_refused() -> None:
    means = {m: np.random.default_rng(i).normal(size=(6, 3)) for i, m in enumerate("abcd")}
    present = {m: np.isin(np.arange(6), range(3) if m in "ab" else range(3, 6)) for m in means}
    with pytest.raises(
        ValueError, match=r"\['c', 'd'\] and \['a', 'b'\] have fewer than two labels in common"
    ):
        to_mean(means, present, scale=False, keep=False)


def test_one_decomposition_is_that_of_scipy() -> None:
    rng = np.random.default_rng(0)
    a, b = (x - x.mean(axis=0) for x in rng.normal(size=(2, 10, 4)))
    turn, scale = orthogonal_procrustes(a, b)
    np.testing.assert_allclose(procrustes(a, b, keep=True), turn, atol=1e-9)
    np.testing.assert_allclose(
        procrustes(a, b), turn, atol=1e-9
    )  # ten labels speak about all four directions
    np.testing.assert_allclose(procrustes(a, b, scale=True), turn * scale / (a**2).sum(), atol=1e-9)


def test_no_other_isometry_is_nearer() -> None:
    rng = np.random.default_rng(1)
    a, b = (x - x.mean(axis=0) for x in rng.normal(size=(2, 8, 3)))
    best = ((a @ procrustes(a, b, keep=True) - b) ** 2).sum()
    for _ in range(50):
        assert ((a @ rotation(rng, 3) - b) ** 2).sum() >= best


def test_directions_of_which_no_label_speaks_are_dropped_or_kept() -> None:
    mdata = planted(3, k=6)  # three labels speak about two directions
    dropped = GroupProcrustes(Planted()).fit_transform(mdata)
    for z in dropped.values():
        assert np.linalg.matrix_rank(z - z.mean(axis=0), tol=1e-6) == 2
    one, other = matched(mdata, dropped, "rna", "protein")
    np.testing.assert_allclose(one, other, atol=1e-5)  # what is left was turned rightly
    kept = GroupProcrustes(Planted(), unseen="keep").fit_transform(mdata)
    for m, z in kept.items():
        x = mdata[m].obsm["planted"]
        np.testing.assert_allclose(
            np.linalg.norm(z[:1] - z, axis=1), np.linalg.norm(x[:1] - x, axis=1), atol=1e-9
        )


@pytest.mark.parametrize(("width", "expected"), [("pad", 6), ("reduce", 4)])
def test_different_widths_are_padded_or_reduced(width: Any, expected: int) -> None:
    mdata = planted(8, k=4)
    wide = mdata["protein"].obsm["planted"]
    mdata["protein"].obsm["planted"] = np.hstack([wide, np.zeros((len(wide), 2))])
    z = GroupProcrustes(Planted(), width=width).fit_transform(mdata)
    assert {one.shape[1] for one in z.values()} == {expected}
    one, other = matched(mdata, z, "rna", "protein")
    np.testing.assert_allclose(one, other, atol=1e-5)


def test_generalized_procrustes_is_no_worse_than_going_to_the_first_and_rests() -> None:
    rng = np.random.default_rng(2)
    common = rng.normal(size=(9, 3))
    means = {
        m: (common + 0.4 * rng.normal(size=(9, 3))) @ rotation(rng, 3) + i
        for i, m in enumerate("abc")
    }
    present = {m: np.ones(9, dtype=bool) for m in means}
    first, mean = (solve(means, present, scale=False, keep=True) for solve in (to_first, to_mean))
    assert label_error(means, present, mean) <= label_error(means, present, first) + 1e-12
    best = label_error(means, present, mean)
    for _ in range(30):  # a minimum: a small turn of one modality makes it worse
        m = str(rng.choice(list(means)))
        step, _ = np.linalg.qr(np.eye(3) + 0.05 * rng.normal(size=(3, 3)))
        step *= np.sign(np.diag(step))
        center, turn, offset = mean[m]
        moved = {**mean, m: (center, turn @ step, offset)}
        assert label_error(means, present, moved) >= best - 1e-9
    for _, turn, _ in mean.values():
        np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-9)


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
        (
            lambda: GroupProcrustes(reference="last"),
            ValueError,
            "reference must be ",
        ),
        (lambda: GroupProcrustes(width="cut"), ValueError, "width must be "),
        (lambda: GroupProcrustes(unseen=True), ValueError, "unseen must be "),
    ],
)
def test_options_that_cannot_be_used_are_refused(
    make: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        make()
