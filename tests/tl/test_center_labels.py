"""Labels brought to one place in a MuData."""

import mudata
import numpy as np
import pytest

import scgroove as sg


@pytest.fixture
def mdata():
    mdata = sg.simulations.weakly_paired(6, 20, n_features=(15, 10), n_latent=4, rho=0.5, seed=0)
    for adata in mdata.mod.values():
        adata.obsm["X_groove"] = adata.obsm["latent"].astype(np.float32)
    return mdata


def test_means_of_labels_agree(mdata, tmp_path):
    before = {m: adata.obsm["X_groove"].copy() for m, adata in mdata.mod.items()}
    sg.tl.center_labels(mdata, normalize=False)
    mdata.write(tmp_path / "m.h5mu")
    for source in (mdata, mudata.read(tmp_path / "m.h5mu")):
        z = {m: adata.obsm["X_groove_centered"] for m, adata in source.mod.items()}
        assert all(v.dtype == np.float32 for v in z.values())
        for label in np.unique(source["rna"].obs["label"].astype(str)):
            means = [z[m][(source[m].obs["label"] == label).to_numpy()].mean(0) for m in z]
            np.testing.assert_allclose(*means, atol=1e-5)
    for m, value in before.items():
        np.testing.assert_array_equal(mdata[m].obsm["X_groove"], value)


def _distances(adata, key):
    """How far each cell lies from where the mean of its label went, which is told by the one that was left as far as it was."""
    labels = adata.obs["label"].to_numpy()
    center = np.array([adata.obsm["far"][labels == g].mean(0) for g in labels])
    return np.linalg.norm(adata.obsm[key] - center, axis=1)


def test_true_latents_match_exactly_once_what_one_modality_sees_is_off(mdata):
    """u = c + effects: without the effects of one modality alone, cells are where their partners are."""
    labels = mdata["rna"].obs["label"].to_numpy()
    order = mdata["protein"].obs_names.get_indexer(mdata["rna"].obs_names)
    sg.tl.center_labels(mdata, key_added="z")
    sg.tl.center_labels(mdata, normalize=False, key_added="far")
    distances = {key: _distances(mdata["rna"], key) for key in ("z", "far")}
    assert np.ptp(distances["z"]) < 1e-4
    assert np.ptp(distances["far"]) > 1
    scores = [
        sg.metrics.foscttm(
            mdata["rna"].obsm[key],
            mdata["protein"].obsm[key][order],
            labels_x=labels,
            labels_y=labels,
            within_label=True,
        )
        for key in ("X_groove", "z")
    ]
    assert scores[0] > 0.05
    assert scores[1] == 0


def test_cells_without_a_label_and_labels_of_one_modality_stay(mdata):
    names = mdata["rna"].obs["label"].astype(str)
    mdata["rna"].obs["label"] = names.where(names != "g00", "only here").where(
        np.arange(len(names)) > 2, "none"
    )
    sg.tl.center_labels(mdata, unlabeled_category="none")
    stays = mdata["rna"].obs["label"].isin(["none", "only here"]).to_numpy()
    moved = np.abs(mdata["rna"].obsm["X_groove_centered"] - mdata["rna"].obsm["X_groove"]).max(1)
    assert not moved[stays].any()
    assert (moved[~stays] > 0).all()


def test_the_only_cell_of_a_label_lies_at_its_mean():
    rng = np.random.default_rng(0)
    obs = {"rna": ["a"] * 10 + ["b"] * 10 + ["c"], "protein": ["a"] * 10 + ["b"] * 10 + ["c"] * 5}
    mdata = sg.simulations.weakly_paired(2, 20, seed=0)
    mdata = mudata.MuData({m: mdata[m][: len(labels)].copy() for m, labels in obs.items()})
    for m, labels in obs.items():
        mdata[m].obs["label"] = labels
        mdata[m].obsm["Z"] = rng.normal(0, 20, (len(labels), 4))
    sg.tl.center_labels(mdata, "Z")
    placed = {m: mdata[m].obsm["Z_centered"] for m in obs}
    means = [placed[m][np.array(obs[m]) == "c"] for m in obs]
    np.testing.assert_allclose(
        means[0][0], (mdata["rna"].obsm["Z"][20] + mdata["protein"].obsm["Z"][20:].mean(0)) / 2
    )
    assert all(np.isfinite(z).all() for z in placed.values())


def test_refusals(mdata):
    with pytest.raises(
        KeyError,
        match=r"use_rep='X_grove': of the modalities .* only \[\] have it.*Did you mean 'X_groove'",
    ):
        sg.tl.center_labels(mdata, "X_grove")
    mdata["rna"].obsm["X_groove"] = mdata["rna"].obsm["X_groove"][:, :2]
    with pytest.raises(ValueError, match="different widths"):
        sg.tl.center_labels(mdata)
    assert "X_groove_centered" not in mdata["protein"].obsm
    with pytest.raises(KeyError, match="lable"):
        sg.tl.center_labels(mdata, label_key="lable")
    with pytest.raises(KeyError, match=r"only \['rna'\] have it in obsm.*Did you mean 'X_groove'"):
        sg.tl.center_labels(mdata, {"rna": "X_groove", "protein": "X_grove"})


def test_representations_may_have_a_name_in_each_modality(mdata):
    sg.tl.center_labels(mdata)
    mdata["protein"].obsm["other"] = mdata["protein"].obsm["X_groove"]
    sg.tl.center_labels(mdata, {"rna": "X_groove", "protein": "other"})
    np.testing.assert_array_equal(
        mdata["protein"].obsm["other_centered"], mdata["protein"].obsm["X_groove_centered"]
    )
