"""Panels of a few antibodies, and proteins that one batch did not measure."""

import warnings

import anndata as ad
import mudata as md
import numpy as np
import pandas as pd
import pytest

import scgroove as sg
from scgroove.model import GROOVE

QUICK = {"max_epochs": 1, "accelerator": "cpu", "enable_progress_bar": False}


def screen(prot, label, **obs):
    """RNA of as many cells, which knows the label, beside a panel of proteins."""
    rng = np.random.default_rng(1)
    codes = np.unique(label, return_inverse=True)[1]
    rna = rng.poisson(np.exp(rng.normal(size=(codes.max() + 1, 25)) + 1)[codes]) + 1

    def modality(x, m):
        frame = pd.DataFrame({"label": label, **obs}, index=[f"{m}{i}" for i in range(len(x))])
        names = pd.DataFrame(index=[f"{m}_{j}" for j in range(x.shape[1])])
        return ad.AnnData(x.astype(np.float32), obs=frame, var=names)

    return md.MuData({"rna": modality(rna, "rna"), "prot": modality(prot, "prot")})


def knock_out(n=60):
    """Four proteins; the knock-out takes nine tenths of the first, and nothing of the others."""
    label = np.repeat(["control", "knock-out"], n)
    rate = np.tile([900.0, 50.0, 30.0, 20.0], (2 * n, 1))
    rate[n:, 0] = 90
    return screen(np.random.default_rng(0).poisson(rate), label)


@pytest.mark.parametrize("method", ["decoder", "knn"])
def test_proteins_that_a_knock_out_leaves_alone_have_no_measured_effect(method):
    mdata = knock_out()
    GROOVE.setup_mudata(mdata, "label")
    model = GROOVE(mdata, n_latent=2)
    assert model.likelihood["prot"] == "nb_panel"
    assert "4 features" in model.likelihood_reasons["prot"]
    assert "library_size" not in model.get_units("prot")
    model.train(**QUICK)
    sg.tl.embed(mdata, model)
    sg.tl.impute(mdata, "rna", "prot", method=method, model=model if method == "decoder" else None)
    table = sg.tl.perturbation_effects(mdata, "rna", "prot", "control").set_index("feature")
    assert table["measured"]["prot_0"] == pytest.approx(-810, abs=20)
    others = table.loc[["prot_1", "prot_2", "prot_3"]]
    assert ((others["measured_low"] < 0) & (others["measured_high"] > 0)).all()


def test_library_sizes_of_a_panel_are_warned_of_and_those_of_others_are_not():
    mdata = knock_out()
    GROOVE.setup_mudata(mdata, "label")
    with pytest.warns(UserWarning, match="nb_panel"):
        GROOVE(mdata, likelihood={"prot": "nb"})
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        GROOVE(mdata, likelihood={"prot": "poisson_panel", "rna": "nb"})


def test_a_total_that_a_likelihood_does_not_know_is_refused():
    mdata = knock_out()
    GROOVE.setup_mudata(mdata, "label")
    model = GROOVE(mdata, n_latent=2)
    model.train(**QUICK)
    with pytest.raises(ValueError, match="library_size"):
        model.translate("rna", "prot", library_size=1000)
