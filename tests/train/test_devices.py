"""Devices and workers that are not there."""

import pytest
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException

import scgroove as sg
from scgroove.model import GROOVE

QUIET = {"enable_progress_bar": False, "enable_model_summary": False}


def model():
    mdata = sg.simulations.weakly_paired(
        n_labels=3, n_cells_per_label=10, n_features=(8, 6), seed=0
    )
    GROOVE.setup_mudata(mdata, "label", paired=False)
    return GROOVE(mdata)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_said():
    with pytest.raises(
        MisconfigurationException,
        match=r"(accelerator is not available|No supported gpu backend found)",
    ):
        model().train(1, accelerator="gpu", **QUIET)


def test_no_process_at_all_is_refused():
    with pytest.raises((MisconfigurationException, TypeError), match=r"(?i)devices|int > 0"):
        model().train(1, accelerator="cpu", devices=0, **QUIET)


def test_a_model_that_could_not_be_trained_can_be_trained_afterwards():
    net = model()
    with pytest.raises((MisconfigurationException, TypeError)):
        net.train(1, accelerator="cpu", devices=0, **QUIET)
    assert not net.is_trained_
    net.train(1, accelerator="cpu", **QUIET)
    assert net.is_trained_
