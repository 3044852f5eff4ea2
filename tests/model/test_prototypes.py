"""GROOVE against prototypes of all labels."""

from __future__ import annotations

import torch

import scgroove as sg
from scgroove.losses import BackTranslation, Prototypes, Reconstruction
from scgroove.model import GROOVE

QUIET = {"accelerator": "cpu", "enable_progress_bar": False, "enable_model_summary": False}


def screen(n_labels=8, names="g"):
    mdata = sg.simulations.weakly_paired(
        n_labels=n_labels, n_cells_per_label=15, n_features=(20, 12), rho=1.0, seed=0
    )
    for adata in mdata.mod.values():
        adata.obs["label"] = adata.obs["label"].str.replace("g", names)
    return mdata


def trained(**train):
    mdata = screen()
    GROOVE.setup_mudata(mdata, "label", paired=False)
    model = GROOVE(mdata, terms=[Reconstruction(), Prototypes(), BackTranslation()])
    model.train(40, batch_size=24, n_labels_per_batch=3, **QUIET, **train)
    return mdata, model


def test_labels_are_found_and_the_bank_is_saved(tmp_path):
    mdata, model = trained()
    assert model.module.terms["prototypes"].seen.all()
    accuracy = model.get_cross_modal_label_accuracy()
    assert accuracy["accuracy"].min() > 0.3
    model.save(str(tmp_path / "model"))
    loaded = GROOVE.load(str(tmp_path / "model"), mdata)
    assert torch.equal(
        loaded.module.terms["prototypes"].prototypes, model.module.terms["prototypes"].prototypes
    )
    assert torch.equal(
        loaded.module.terms["prototypes"].seen, model.module.terms["prototypes"].seen
    )


def test_it_is_left_alone_outside_of_training():
    _, model = trained()
    before = model.module.terms["prototypes"].prototypes.clone()
    model.get_latent_representation()
    model.module.eval()
    tensors = {
        m: {"X": torch.zeros(2, d), "batch": torch.zeros(2, 1), "labels": torch.zeros(2, 1)}
        for m, d in (("rna", 20), ("protein", 12))
    }
    model.module(tensors, loss_kwargs={})
    assert torch.equal(model.module.terms["prototypes"].prototypes, before)


def test_new_labels_of_a_query_have_no_prototype_yet():
    _, model = trained()
    other = screen(4, "new")
    query = GROOVE.load_query_data(other, model)
    bank, old = (one.module.terms["prototypes"] for one in (query, model))
    assert torch.equal(bank.prototypes[:, :8], old.prototypes)
    assert bank.seen.tolist() == [[True] * 8 + [False] * 4] * 2
    query.train(2, batch_size=16, **QUIET)
    assert query.module.terms["prototypes"].seen.all()
