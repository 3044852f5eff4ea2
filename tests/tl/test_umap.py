"""The joint picture of a shared representation."""

import numpy as np
import pytest
from anndata import AnnData
from mudata import MuData

from scgroove.tl import umap


def shared_space(n=(40, 30), width=5, seed=0):
    """Two modalities with two well separated groups in one space."""
    rng = np.random.default_rng(seed)
    parts = {}
    for name, size in zip(("rna", "protein"), n, strict=True):
        group = np.arange(size) % 2
        x = rng.normal(0, 0.3, (size, width)) + 3 * (2 * group[:, None] - 1) * np.eye(width)[0]
        adata = AnnData(np.zeros((size, 1), np.float32), obsm={"X_groove": x.astype(np.float32)})
        adata.obs_names = [f"{name}{i}" for i in range(size)]
        adata.var_names = [f"{name}_f"]
        adata.obs["label"] = np.where(group, "a", "b")
        parts[name] = adata
    return MuData(parts)


@pytest.fixture(scope="module")
def laid_out():
    mdata = shared_space()
    umap(mdata, seed=3)
    return mdata


def test_coordinates_of_every_cell_in_every_modality(laid_out):
    for modality, n in (("rna", 40), ("protein", 30)):
        xy = laid_out[modality].obsm["X_groove_umap"]
        assert xy.shape == (n, 2)
        assert xy.dtype == np.float32
        assert np.isfinite(xy).all()


def test_the_modalities_share_the_picture_and_groups_stay_apart(laid_out):
    center = {
        (m, label): laid_out[m]
        .obsm["X_groove_umap"][(laid_out[m].obs["label"] == label).to_numpy()]
        .mean(0)
        for m in ("rna", "protein")
        for label in ("a", "b")
    }
    across_modalities = np.linalg.norm(center["rna", "a"] - center["protein", "a"])
    across_labels = np.linalg.norm(center["rna", "a"] - center["rna", "b"])
    assert across_labels > 3 * across_modalities


def test_the_same_seed_gives_the_same_picture(laid_out):
    again = shared_space()
    umap(again, seed=3)
    np.testing.assert_array_equal(
        again["rna"].obsm["X_groove_umap"], laid_out["rna"].obsm["X_groove_umap"]
    )


def test_cosine_does_not_look_at_length():
    plain, scaled = shared_space(), shared_space()
    scaled["rna"].obsm["X_groove"] = scaled["rna"].obsm["X_groove"] * np.float32(4)
    umap(plain)
    umap(scaled)
    np.testing.assert_allclose(
        plain["rna"].obsm["X_groove_umap"], scaled["rna"].obsm["X_groove_umap"], atol=1e-3
    )


def test_cells_beyond_the_limit_are_placed_too():
    mdata = shared_space(n=(60, 40))
    umap(mdata, max_cells=50, key_added="few")
    assert list(mdata["rna"].obsm) == ["X_groove", "few"]
    assert np.isfinite(mdata["rna"].obsm["few"]).all()
    assert np.ptp(mdata["rna"].obsm["few"], axis=0).min() > 0


def test_only_the_modalities_asked_for():
    mdata = shared_space()
    umap(mdata, modalities=["rna"])
    assert "X_groove_umap" not in mdata["protein"].obsm


def test_modalities_without_the_representation_are_left_out_by_default():
    mdata = shared_space()
    del mdata["protein"].obsm["X_groove"]
    umap(mdata)
    assert "X_groove_umap" in mdata["rna"].obsm


def unchanged(mdata):
    return all(
        list(mdata[m].obsm) == ["X_groove"] for m in mdata.mod if "X_groove" in mdata[m].obsm
    )


def test_a_missing_representation_names_the_call_that_makes_it():
    mdata = shared_space()
    with pytest.raises(
        ValueError,
        match=r"no 'X_grove' in .*Did you mean use_rep='X_groove'.*tl\.embed\(mdata, model",
    ):
        umap(mdata, use_rep="X_grove")
    assert unchanged(mdata)


def test_an_unknown_modality_is_named_with_the_near_miss():
    with pytest.raises(
        ValueError, match=r"'protien': mdata has no such modality.*Did you mean 'protein'"
    ):
        umap(shared_space(), modalities=["rna", "protien"])


def test_representations_of_different_width_are_no_shared_space():
    mdata = shared_space()
    mdata["rna"].obsm["X_groove"] = mdata["rna"].obsm["X_groove"][:, :3]
    with pytest.raises(ValueError, match=r"different widths: \{'rna': 3, 'protein': 5\}"):
        umap(mdata)
    assert unchanged(mdata)


def test_missing_values_are_counted():
    mdata = shared_space()
    mdata["protein"].obsm["X_groove"][[4, 7], 1] = np.nan
    with pytest.raises(
        ValueError, match=r"NaN or infinite values in 2 of 30 cells, first in 'protein4'"
    ):
        umap(mdata)
    assert unchanged(mdata)


def test_too_few_cells_and_an_unknown_metric():
    with pytest.raises(ValueError, match="at least 10 cells in all; 'X_groove' has 6"):
        umap(shared_space(n=(4, 2)))
    with pytest.raises(ValueError, match="metric must be "):
        umap(shared_space(), metric="manhattan")


def test_torch_keeps_its_threads():
    import torch

    before = torch.get_num_threads()
    try:
        for n in (1, 2):
            torch.set_num_threads(n)
            umap(shared_space())
            assert torch.get_num_threads() == n
    finally:
        torch.set_num_threads(before)
