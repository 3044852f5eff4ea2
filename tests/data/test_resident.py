"""Data on the device that trains. The device here is the processor: tests/test_gpu.py has those on a GPU."""

from __future__ import annotations

import mudata
import numpy as np
import pytest
import scipy.sparse as sp
import torch
from anndata import AnnData
from mudata import MuData

import scgroove as sg
from scgroove.data import ModalityManager
from scgroove.data.resident import ResidentDataset, bytes_on_device, device_of_training, fits
from scgroove.data.sampler import BATCH, LABELS, MultiModalDataset, X
from scgroove.model import GROOVE

QUIET = {"accelerator": "cpu", "enable_progress_bar": False, "enable_model_summary": False}


def screen():
    mdata = sg.simulations.weakly_paired(
        n_labels=4, n_cells_per_label=20, n_features=(15, 8), counts=("rna",), seed=0
    )
    mdata["rna"].X = sp.csr_matrix(mdata["rna"].X)
    return mdata


def managers_of(mdata):
    GROOVE.setup_mudata(mdata, "label", paired=False)
    model = GROOVE(mdata)
    return {m: ModalityManager(model.adata_manager, m) for m in mdata.mod}


def test_rows_are_those_of_the_data():
    mdata = screen()
    managers = managers_of(mdata)
    labels = {m: np.arange(v.adata.n_obs) % 3 for m, v in managers.items()}
    ours = ResidentDataset(managers, labels, torch.device("cpu"))
    theirs = MultiModalDataset(managers, labels)
    rows = {"rna": np.array([5, 2, 2, 70]), "protein": np.array([], dtype=np.int64)}
    found, expected = ours[rows], theirs[rows]
    assert list(found) == list(expected) == ["rna"]
    assert len(ours) == len(theirs) == 80
    for key in (X, BATCH, LABELS):
        assert torch.equal(found["rna"][key], torch.as_tensor(expected["rna"][key]))


def test_training_is_the_same():
    def trained(on_device):
        mdata = screen()
        GROOVE.setup_mudata(mdata, "label", paired=False)
        model = GROOVE(mdata)
        model.train(2, batch_size=16, data_on_device=on_device, **QUIET)
        return model

    found, expected = trained(True), trained(False)
    for name, values in expected.history.items():
        assert found.history[name].equals(values), name


def test_size_as_dense_tensors(tmp_path):
    mdata = screen()
    assert bytes_on_device(managers_of(mdata)) == 80 * (4 * 15 + 16) + 80 * (4 * 8 + 16)
    assert not fits(managers_of(mdata), torch.device("cpu"))
    plain = MuData(
        {
            m: AnnData(a.X, obs=a.obs[["label"]].copy(), var=a.var[[]].copy())
            for m, a in mdata.mod.items()
        }
    )
    plain.write_h5mu(tmp_path / "screen.h5mu")
    backed = mudata.read_h5mu(tmp_path / "screen.h5mu", backed=True)
    assert bytes_on_device(managers_of(backed)) is None
    with pytest.raises(
        ValueError, match=r"data_on_device=True, but some modalities are on disk.*to_memory"
    ):
        GROOVE(backed).train(1, data_on_device=True, **QUIET)


def test_several_devices_and_workers_are_refused():
    mdata = screen()
    GROOVE.setup_mudata(mdata, "label", paired=False)
    with pytest.raises(ValueError, match=r"data_on_device=True needs one device, found devices=2"):
        GROOVE(mdata).train(1, data_on_device=True, devices=2, **QUIET)
    with pytest.raises(ValueError, match=r"Cells are kept on cpu.*num_workers=0, found 1"):
        GROOVE(mdata).train(1, data_on_device=True, datasplitter_kwargs={"num_workers": 1}, **QUIET)


@pytest.mark.parametrize(
    ("accelerator", "devices", "gpus", "expected"),
    [
        ("auto", "auto", 0, "cpu"),
        ("cpu", 1, 4, "cpu"),
        ("cpu", 2, 0, None),
        ("auto", "auto", 1, "cuda:0"),
        ("auto", "auto", 2, None),
        ("gpu", [1], 2, "cuda:1"),
        ("gpu", [0, 1], 2, None),
        ("gpu", 1, 2, "cuda:0"),
        ("gpu", -1, 2, None),
    ],
)
def test_the_device_that_trains(monkeypatch, accelerator, devices, gpus, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    found = device_of_training(accelerator, devices)
    assert (None if found is None else str(found)) == expected
