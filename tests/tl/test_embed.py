"""tl.embed: what it writes, where, and that it survives the disk."""

import mudata as md
import numpy as np
import pytest

import scgroove as sg
from scgroove.errors import FeatureNamesError


@pytest.fixture(scope="module")
def model(make_mdata):
    mdata = make_mdata()
    sg.model.GROOVE.setup_mudata(mdata, "label")
    model = sg.model.GROOVE(mdata, 4, hidden=(8,))
    model.train(max_epochs=1, accelerator="cpu", enable_progress_bar=False)
    return model


def test_round_trip(model, make_mdata, tmp_path):
    mdata = model.adata
    sg.tl.embed(mdata, model)
    for m in mdata.mod:
        np.testing.assert_array_equal(
            mdata[m].obsm["X_groove"], model.get_latent_representation(modality=m)
        )
    mdata.write(tmp_path / "d.h5mu")
    again = md.read(tmp_path / "d.h5mu")
    np.testing.assert_array_equal(again["img"].obsm["X_groove"], mdata["img"].obsm["X_groove"])


def test_new_data_and_key(model, make_mdata):
    new = make_mdata(seed=5)
    sg.tl.embed(new, model, modalities=["img"], key_added="z")
    assert new["img"].obsm["z"].shape == (150, 4)
    assert "z" not in new["rna"].obsm


def test_failure_writes_nothing(model, make_mdata):
    mods = make_mdata(seed=6).mod
    bad = md.MuData({"rna": mods["rna"], "img": mods["img"][:, 1:].copy()})
    with pytest.raises(FeatureNamesError):
        sg.tl.embed(bad, model)
    assert not bad["rna"].obsm
    good = make_mdata(seed=6)
    with pytest.raises(KeyError, match="Unknown modality 'protein'"):
        sg.tl.embed(good, model, modalities=["rna", "protein"])
    assert not good["rna"].obsm
