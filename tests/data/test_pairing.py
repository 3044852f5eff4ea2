"""When equal names are believed to be the same cell."""

import warnings

import anndata as ad
import mudata as md
import numpy as np
import pytest

from scgroove.data import labels_of, pair_ids

MODS = ["rna", "img"]


def labels(mdata):
    return {m: labels_of(mdata[m].obs, "label") for m in MODS}


def test_different_names(make_mdata):
    mdata = make_mdata()
    assert pair_ids(mdata, MODS, "auto") is None
    with pytest.raises(ValueError, match="paired=True, but no two of the modalities"):
        pair_ids(mdata, MODS, True)


def test_equal_names_with_equal_labels(make_mdata):
    mdata = make_mdata("permuted")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ids = pair_ids(mdata, MODS, "auto", labels(mdata))
    assert ids["img"].tolist() == mdata["img"].obs_names.tolist()
    assert pair_ids(mdata, MODS, False) is None


def test_default_numbering_is_not_believed():
    mods = {m: ad.AnnData(np.ones((4, 2), dtype=np.float32)) for m in MODS}
    mdata = md.MuData(mods)
    with pytest.warns(
        UserWarning, match="4 obs names are equal between modalities, but .* default numbering"
    ):
        assert pair_ids(mdata, MODS, "auto") is None
    assert pair_ids(mdata, MODS, True)["rna"].tolist() == ["0", "1", "2", "3"]


def test_contradicting_labels_are_not_believed(make_mdata):
    mdata = make_mdata("paired")
    mdata["img"].obs["label"] = mdata["img"].obs["label"].to_numpy()[::-1]
    with pytest.warns(UserWarning, match="have different labels in 'rna' and 'img'.*paired=True"):
        assert pair_ids(mdata, MODS, "auto", labels(mdata)) is None


def test_column(make_mdata):
    mdata = make_mdata()
    for m in MODS:
        mdata[m].obs["unit"] = [f"u{i}" if i < 10 else None for i in range(mdata[m].n_obs)]
    ids = pair_ids(mdata, MODS, "unit")
    assert ids["rna"][:2].tolist() == ["u0", "u1"]
    assert ids["rna"][10] is None
    with pytest.raises(KeyError, match="no such column"):
        pair_ids(mdata, MODS, "units")
    mdata["rna"].obs["unit"] = ["", "", *map(str, range(2, 200))]
    assert pair_ids(mdata, MODS, "unit")["rna"][:3].tolist() == [None, None, "2"]
    mdata["rna"].obs["unit"] = "same"
    with pytest.raises(ValueError, match="'same' is used more than once"):
        pair_ids(mdata, MODS, "unit")
