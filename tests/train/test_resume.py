"""Training that was interrupted goes on from its checkpoint as if it had not been."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint

import scgroove as sg
from scgroove.model import GROOVE


def fresh():
    mdata = sg.simulations.weakly_paired(
        n_labels=4, n_cells_per_label=20, n_features=(12, 8), counts=("rna",), seed=0
    )
    GROOVE.setup_mudata(mdata, "label", paired=False)
    return GROOVE(mdata, dropout=0.3)


def train(model, **options):
    model.train(
        6,
        batch_size=16,
        accelerator="cpu",
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=True,
        **options,
    )
    return model


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    """scvi-tools keeps checkpoints of its own in the working directory."""
    monkeypatch.chdir(tmp_path)


class Interrupted(Exception):
    """Stands for a machine that is taken away."""


class Interrupting(Callback):
    def on_train_epoch_start(self, trainer, module):
        if trainer.current_epoch == 4:
            raise Interrupted


@pytest.mark.parametrize("schedule", ["one_cycle", "plateau"])
def test_losses_and_weights_are_those_of_a_training_without_a_break(tmp_path, schedule):
    plan = {"plan_kwargs": {"lr_schedule": schedule}}
    whole = train(fresh(), callbacks=[ModelCheckpoint(dirpath=tmp_path / "whole")], **plan)
    keep = ModelCheckpoint(
        dirpath=tmp_path, save_last=True, every_n_epochs=1, save_on_train_epoch_end=True
    )
    with pytest.raises(Interrupted):
        train(fresh(), callbacks=[keep, Interrupting()], **plan)
    resumed = train(
        fresh(),
        ckpt_path=str(tmp_path / "last.ckpt"),
        callbacks=[ModelCheckpoint(dirpath=tmp_path / "new")],
        **plan,
    )
    for name in ("train_loss", "groupclip_train", "backtranslation_train", "validation_loss"):
        values = whole.history[name].to_numpy(float).ravel()
        np.testing.assert_array_equal(
            resumed.history[name].to_numpy(float).ravel(), values[4:], err_msg=name
        )
    for (name, expected), found in zip(
        whole.module.state_dict().items(), resumed.module.state_dict().values(), strict=True
    ):
        assert torch.equal(expected, found), name


def test_epochs_draw_differently_and_seeds_too():
    def losses(seed, n=2):
        model = fresh()
        model.train(
            n,
            batch_size=160,
            train_size=1.0,
            seed=seed,
            accelerator="cpu",
            enable_progress_bar=False,
            plan_kwargs={"lr": 1e-12},
        )
        return model.history["reconstruction_rna_train"].to_numpy(float).ravel()

    first, again, other = losses(0), losses(0), losses(1)
    assert np.array_equal(first, again)
    assert first[0] != first[1]  # the same cells and weights: what differs is the dropout
    assert first[0] != other[0]
