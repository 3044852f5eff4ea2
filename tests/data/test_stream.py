"""Data on disk: what is read, and that training on it is training on the same data in memory."""

from __future__ import annotations

import os

import dask.array as da
import h5py
import mudata
import numpy as np
import pytest
import scipy.sparse as sp
from anndata import AnnData
from anndata.io import sparse_dataset, write_elem
from hypothesis import given, settings
from hypothesis import strategies as st
from mudata import MuData

import scgroove as sg
from scgroove.data import disk
from scgroove.data.disk import Window, bytes_of_row, on_disk, read_rows, stamp
from scgroove.model import GROOVE

zarr = pytest.importorskip("zarr")  # anndata 0.11 does not bring it

QUIET = {"accelerator": "cpu", "enable_progress_bar": False, "enable_model_summary": False}


def memory(counts=True):
    mdata = sg.simulations.weakly_paired(
        n_labels=4,
        n_cells_per_label=30,
        n_features=(20, 10),
        counts=("rna", "protein") if counts else (),
        seed=0,
    )
    parts = {
        m: AnnData(
            sp.csr_matrix(a.X.astype(np.float32)) if counts else a.X,
            obs=a.obs[["label"]].copy(),
            var=a.var.copy(),
        )
        for m, a in mdata.mod.items()
    }
    return MuData(parts)


def h5mu(mdata, folder):
    mdata.write_h5mu(folder / "screen.h5mu")
    return mudata.read_h5mu(folder / "screen.h5mu", backed=True)


def h5mu_dense(mdata, folder):
    return h5mu(
        MuData(
            {
                m: AnnData(a.X.toarray(), obs=a.obs.copy(), var=a.var.copy())
                for m, a in mdata.mod.items()
            }
        ),
        folder,
    )


def zarr_csr(mdata, folder):
    parts = {}
    for m, a in mdata.mod.items():
        group = zarr.open_group(str(folder / f"{m}.zarr"), mode="w")
        write_elem(group, "X", a.X)
        parts[m] = AnnData(sparse_dataset(group["X"]), obs=a.obs.copy(), var=a.var.copy())
    return MuData(parts)


def dask_dense(mdata, folder):
    return MuData(
        {
            m: AnnData(
                da.from_array(a.X.toarray(), chunks=(17, -1)), obs=a.obs.copy(), var=a.var.copy()
            )
            for m, a in mdata.mod.items()
        }
    )


def dask_csr(mdata, folder):
    return MuData(
        {
            m: AnnData(
                da.from_array(a.X, chunks=(17, a.n_vars), asarray=False),
                obs=a.obs.copy(),
                var=a.var.copy(),
            )
            for m, a in mdata.mod.items()
        }
    )


STORES = [h5mu, h5mu_dense, zarr_csr, dask_dense, dask_csr]


def trained(mdata, window_gb=1.0, **train):
    GROOVE.setup_mudata(mdata, "label", paired=False)
    model = GROOVE(mdata)
    model.train(3, batch_size=16, datasplitter_kwargs={"window_gb": window_gb}, **QUIET, **train)
    return model


def assert_same_history(found, expected):
    assert "groupclip_train" in expected.history
    for name, values in expected.history.items():
        np.testing.assert_array_equal(found.history[name], values, err_msg=name)


@pytest.mark.parametrize("store", STORES, ids=lambda f: f.__name__)
@pytest.mark.parametrize("window_gb", [1.0, 1e-6], ids=["one window", "windows of a batch"])
def test_training_is_that_of_memory(store, window_gb, tmp_path):
    expected = trained(memory())
    found = trained(store(memory(), tmp_path), window_gb)
    assert_same_history(found, expected)
    for m, z in expected.get_latent_representation().items():
        np.testing.assert_allclose(found.get_latent_representation()[m], z, rtol=1e-5, atol=1e-6)


def test_one_modality_on_disk(tmp_path):
    mdata = memory()
    mixed = MuData({"rna": zarr_csr(mdata, tmp_path)["rna"], "protein": mdata["protein"].copy()})
    expected = trained(mdata)
    assert_same_history(trained(mixed), expected)


def matrices(folder):
    rng = np.random.default_rng(0)
    dense = (rng.poisson(0.3, (200, 6))).astype(np.float32)
    dense[:, 0] += 1
    with h5py.File(folder / "x.h5", "w") as file:
        file["dense"] = dense
        write_elem(file, "sparse", sp.csr_matrix(dense))
    file = h5py.File(folder / "x.h5")
    group = zarr.open_group(str(folder / "x.zarr"), mode="w")
    write_elem(group, "sparse", sp.csr_matrix(dense))
    return dense, [
        file["dense"],
        sparse_dataset(file["sparse"]),
        sparse_dataset(group["sparse"]),
        zarr.array(dense),
        da.from_array(dense, chunks=(13, -1)),
    ]


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    return matrices(tmp_path_factory.mktemp("stored"))


@settings(max_examples=25, deadline=None)
@given(rows=st.sets(st.integers(0, 199)), span=st.integers(1, 10_000))
def test_rows_are_those_asked_for(stored, rows, span):
    dense, kinds = stored
    wanted = np.array(sorted(rows), dtype=np.int64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(disk, "SPAN_BYTES", span)
        for x in kinds:
            assert on_disk(x)
            found = read_rows(x, wanted)
            np.testing.assert_array_equal(
                found.toarray() if sp.issparse(found) else found, dense[wanted]
            )


def test_a_window_gives_rows_in_any_order():
    x = np.arange(10.0).reshape(5, 2)
    for kind in (x, sp.csr_matrix(x)):
        found = Window(np.array([1, 3, 4, 7, 9]), kind).take(np.array([7, 1, 1, 9]))
        np.testing.assert_array_equal(found, x[[3, 0, 0, 4]])


def test_size_of_a_row(stored):
    dense, (h5, h5_csr, _, _, _) = stored
    assert bytes_of_row(h5) == 4 * 6
    per_value = 4 + sparse_dataset(h5_csr.group)[:1].indices.itemsize
    assert bytes_of_row(h5_csr) == pytest.approx((dense > 0).sum() * per_value / 200, rel=0.5)


def test_windows_hold_what_was_allowed(tmp_path):
    from scgroove.data import GroupDataSplitter, ModalityManager

    mdata = zarr_csr(memory(), tmp_path)
    GROOVE.setup_mudata(mdata, "label", paired=False)
    model = GROOVE(mdata)
    managers = {m: ModalityManager(model.adata_manager, m) for m in mdata.mod}
    loader = GroupDataSplitter(managers, 1.0, batch_size=16, window_gb=1e-5).train_dataloader()
    most = 0
    for _ in loader:
        most = max(most, sum(window.x.data.nbytes for window in loader.dataset.windows.values()))
    assert 0 < most < 1e-5 * 1e9 / 2


def test_workers_are_refused(tmp_path):
    mdata = h5mu(memory(), tmp_path)
    GROOVE.setup_mudata(mdata, "label", paired=False)
    with pytest.raises(
        ValueError, match=r"read ahead by a thread; expected num_workers=0, found 2.*to_memory"
    ):
        GROOVE(mdata).train(1, datasplitter_kwargs={"num_workers": 2}, **QUIET)


@pytest.mark.parametrize("window_gb", [0, -1.0])
def test_a_window_of_nothing_is_refused(window_gb):
    with pytest.raises(
        ValueError, match="window_gb, the memory for cells read ahead, must be positive"
    ):
        trained(memory(), window_gb)


def test_a_store_that_changes_is_told(tmp_path):
    import lightning.pytorch as pl

    class Meddler(pl.Callback):
        def on_train_epoch_start(self, trainer, module):
            if trainer.current_epoch == 1:
                for file in (tmp_path / "rna.zarr").glob("**/zarr.json"):
                    os.utime(file)

    (tmp_path / "ckpt").mkdir()
    mdata = zarr_csr(memory(), tmp_path)
    before = {m: stamp(a.X) for m, a in mdata.mod.items()}
    with pytest.raises(
        RuntimeError, match=r"rna.zarr.*'rna', was changed while the model was trained"
    ):
        trained(mdata, 1e-6, callbacks=[Meddler()])
    assert stamp(mdata["rna"].X) != before["rna"]
    assert stamp(mdata["protein"].X) == before["protein"]


def test_a_store_that_cannot_be_read_is_told(tmp_path):
    import shutil

    import lightning.pytorch as pl

    class Remover(pl.Callback):
        def on_train_epoch_start(self, trainer, module):
            if trainer.current_epoch == 1:
                shutil.rmtree(tmp_path / "rna.zarr")

    with pytest.raises(RuntimeError, match=r"'rna'.*(failed|was changed)"):
        trained(zarr_csr(memory(), tmp_path), 1e-6, callbacks=[Remover()])


def test_data_in_memory_are_not():
    x = sp.csr_matrix(np.eye(3))
    for kind in (x, x.toarray()):
        assert not on_disk(kind)
