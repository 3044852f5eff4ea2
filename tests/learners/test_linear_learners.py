"""What holds for every learner without networks: same seed, same bytes; new cells; labels that not all modalities have."""

from __future__ import annotations

from typing import Any

import mudata as md
import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import pdist

import scgroove
from scgroove.errors import FeatureNamesError
from scgroove.learners import construct

LEARNERS = (
    "pca",
    "lda",
    "cca_labels",
    "random",
    "ps_logistic",
    "ps_logistic_scaled",
    "pca_procrustes",
    "lda_procrustes",
    "oracle_latent",
)
ALIGNED = tuple(name for name in LEARNERS if name not in ("pca", "lda"))
OPTIONS: dict[str, dict[str, Any]] = {"ps_logistic": {"grid": [0.01, 0.1, 1.0], "n_folds": 3}}


def make(name: str) -> Any:
    return construct(name, OPTIONS.get(name))


def some(mdata: md.MuData, rows: dict[str, Any]) -> md.MuData:
    return md.MuData({m: mdata[m][rows[m]].copy() for m in rows})


@pytest.fixture(scope="module")
def screen() -> md.MuData:
    """Labels of one modality only, hidden labels, counts beside real values."""
    return scgroove.simulations.weakly_paired(
        n_labels=8,
        n_cells_per_label=20,
        n_features=(24, 15),
        counts=["rna"],
        exclusive_labels=1,
        unlabeled_fraction=0.15,
        seed=3,
    )


@pytest.fixture(scope="module")
def three() -> md.MuData:
    """Three modalities; the last lacks a label that the others share."""
    mdata = scgroove.simulations.weakly_paired(
        n_labels=7,
        n_cells_per_label=20,
        modalities=("rna", "protein", "image"),
        n_features=(24, 15, 18),
        seed=4,
    )
    kept = mdata["image"].obs["label"].astype(str) != "g00"
    return md.MuData(
        {"rna": mdata["rna"], "protein": mdata["protein"], "image": mdata["image"][kept].copy()}
    )


@pytest.mark.parametrize("name", LEARNERS)
def test_the_same_seed_gives_the_same_bytes(name: str, screen: md.MuData) -> None:
    one, other = (make(name).fit_transform(screen, seed=5) for _ in range(2))
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    for m in screen.mod:
        assert one[m].tobytes() == other[m].tobytes()
        assert one[m].shape[0] == screen[m].n_obs
    np.testing.assert_array_equal(state, np.random.get_state()[1])  # noqa: NPY002


@pytest.mark.parametrize("name", LEARNERS)
def test_the_data_stay_as_they_are(name: str, screen: md.MuData) -> None:
    before = {m: screen[m].copy() for m in screen.mod}
    make(name).fit_transform(screen)
    assert set(screen.uns) == {"simulation"}
    for m, adata in before.items():
        assert (abs(screen[m].X - adata.X)).max() == 0
        pd.testing.assert_frame_equal(screen[m].obs, adata.obs)
        for slot in ("obsm", "varm", "layers", "uns"):
            assert list(getattr(screen[m], slot)) == list(getattr(adata, slot))


@pytest.mark.parametrize("name", LEARNERS)
def test_a_cell_stands_where_it_stands_alone_or_in_another_order(
    name: str, screen: md.MuData
) -> None:
    learner = make(name).fit(screen)
    every = learner.transform(screen)
    rows = {m: np.random.default_rng(0).permutation(screen[m].n_obs)[:31] for m in screen.mod}
    few = learner.transform(some(screen, rows))
    for m in screen.mod:
        np.testing.assert_allclose(few[m], every[m][rows[m]], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", LEARNERS)
def test_cells_that_were_not_fitted_stand_among_the_others(name: str, screen: md.MuData) -> None:
    rows = {m: np.arange(screen[m].n_obs) for m in screen.mod}
    learner = make(name).fit(some(screen, {m: r[r % 4 > 0] for m, r in rows.items()}))
    new = some(screen, {m: r[r % 4 == 0] for m, r in rows.items()})
    z = learner.transform(new)
    assert {m: len(one) for m, one in z.items()} == {m: new[m].n_obs for m in new.mod}
    if name == "random":
        return
    fitted = make(name).fit_transform(
        screen
    )  # these cells among those of the fit: turned maybe, but as far from one another
    for m in z:
        one, other = pdist(z[m]), pdist(fitted[m][rows[m] % 4 == 0])
        assert np.corrcoef(one, other)[0, 1] > 0.75


@pytest.mark.parametrize("name", LEARNERS)
def test_the_order_of_the_cells_does_not_matter(name: str, screen: md.MuData) -> None:
    if name in ("ps_logistic", "oracle_latent"):
        pytest.skip("its folds are dealt by the order of the cells")
    rows = {m: np.random.default_rng(1).permutation(screen[m].n_obs) for m in screen.mod}
    one = make(name).fit_transform(screen)
    other = make(name).fit_transform(some(screen, rows))
    for m in screen.mod:
        scale = np.abs(one[m]).max()
        turned = (
            other[m] * np.sign((one[m][rows[m]] * other[m]).sum(axis=0) + 1e-12)
            if name == "pca"
            else other[m]
        )
        np.testing.assert_allclose(turned / scale, one[m][rows[m]] / scale, atol=2e-3)


@pytest.mark.parametrize("name", [n for n in LEARNERS if n != "random"])
def test_units_of_the_features_do_not_matter(name: str) -> None:
    mdata = scgroove.simulations.weakly_paired(
        n_labels=6, n_cells_per_label=15, n_features=(20, 12), seed=6
    )
    scaled = mdata.copy()
    factors = np.random.default_rng(0).uniform(0.5, 20, size=20).astype(np.float32)
    scaled["rna"].X = scaled["rna"].X * factors + 3
    one, other = make(name).fit_transform(mdata), make(name).fit_transform(scaled)
    for m in mdata.mod:
        np.testing.assert_allclose(other[m], one[m], atol=5e-3 * np.abs(one[m]).max())


@pytest.mark.parametrize("name", ALIGNED)
def test_aligned_learners_match_cells_and_chance_does_not(name: str) -> None:
    mdata = scgroove.simulations.weakly_paired(
        n_labels=12, n_cells_per_label=25, n_features=(40, 30), n_latent=4, noise=0.3, seed=7
    )
    z = make(name).fit_transform(mdata)
    rows = {cell: i for i, cell in enumerate(mdata["protein"].obs_names)}
    score = scgroove.metrics.foscttm(
        z["rna"],
        z["protein"],
        [rows[cell] for cell in mdata["rna"].obs_names],
        labels_x=mdata["rna"].obs["label"],
        labels_y=mdata["protein"].obs["label"],
    )
    if name == "random":
        assert 0.42 < score < 0.58
    else:
        assert score < (
            0.33 if name == "ps_logistic" else 0.25
        )  # its logits are longer in one modality


@pytest.mark.parametrize("name", LEARNERS)
def test_three_modalities_of_which_one_lacks_a_label(name: str, three: md.MuData) -> None:
    z = make(name).fit_transform(three)
    assert list(z) == ["rna", "protein", "image"]
    assert [len(one) for one in z.values()] == [140, 140, 120]
    if name in ("pca", "lda", "random"):
        return
    gaps = []
    labels = {m: three[m].obs["label"].astype(str).to_numpy() for m in z}
    means = {
        m: np.stack([z[m][labels[m] == f"g0{g}"].mean(axis=0) for g in range(1, 7)]) for m in z
    }
    for a, b in (("rna", "protein"), ("rna", "image"), ("protein", "image")):
        spread = np.linalg.norm(means[a] - means[b].mean(axis=0), axis=1).mean()
        gaps.append(np.linalg.norm(means[a] - means[b], axis=1).mean() / spread)
    if name != "oracle_latent":  # the state has no label in it
        assert max(gaps) < 0.7


@pytest.mark.parametrize(
    "name", [n for n in LEARNERS if n not in ("pca", "random", "oracle_latent")]
)
def test_a_single_shared_label_is_not_enough(name: str) -> None:
    mdata = scgroove.simulations.weakly_paired(
        n_labels=3,
        n_cells_per_label=6,
        n_features=(5, 4),
        exclusive_labels={"rna": 1, "protein": 1},
    )
    with pytest.raises(ValueError, match="two"):
        make(name).fit(mdata)


@pytest.mark.parametrize("name", [n for n in LEARNERS if n != "random"])
def test_new_cells_must_have_the_features(name: str, screen: md.MuData) -> None:
    learner = make(name).fit(screen)
    fewer = md.MuData({"rna": screen["rna"][:, :10].copy(), "protein": screen["protein"].copy()})
    with pytest.raises(FeatureNamesError) as error:
        learner.transform(fewer)
    assert list(error.value.missing) == [f"rna_{i}" for i in range(10, 24)]


@pytest.mark.parametrize("name", LEARNERS)
def test_two_labels_of_two_cells_are_enough(name: str) -> None:
    mdata = scgroove.simulations.weakly_paired(
        n_labels=2, n_cells_per_label=2, n_features=(6, 5), seed=1
    )
    z = make(name).fit_transform(mdata)
    assert all(np.isfinite(one).all() and len(one) == 4 for one in z.values())


@pytest.mark.parametrize("name", LEARNERS)
def test_a_feature_without_variance_does_no_harm(name: str) -> None:
    mdata = scgroove.simulations.weakly_paired(
        n_labels=4, n_cells_per_label=8, n_features=(10, 8), seed=2
    )
    plain = make(name).fit_transform(mdata)
    padded = mdata["rna"].copy()
    import anndata as ad

    flat = ad.AnnData(
        np.hstack([padded.X, np.full((padded.n_obs, 1), 7.0, dtype=np.float32)]),
        obs=padded.obs,
        obsm=dict(padded.obsm),
        var=pd.DataFrame(index=[*padded.var_names, "flat"]),
    )
    z = make(name).fit_transform(md.MuData({"rna": flat, "protein": mdata["protein"]}))
    width = plain["rna"].shape[1]
    np.testing.assert_allclose(
        z["rna"][:, :width], plain["rna"], atol=2e-2 * np.abs(plain["rna"]).max()
    )
