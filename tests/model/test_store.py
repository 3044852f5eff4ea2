"""Data are released when nobody uses them any more."""

import gc
import weakref

import anndata as ad
import mudata as md
import numpy as np
import pytest

from scgroove.model import GROOVE
from scgroove.model._statistics import fit_input_statistics


def screen(seed=0):
    rng = np.random.default_rng(seed)
    mods = {}
    for m, d in (("rna", 6), ("prot", 4)):
        mods[m] = ad.AnnData(rng.normal(size=(40, d)).astype(np.float32))
        mods[m].obs_names = [f"{m}{seed}_{i}" for i in range(40)]
        mods[m].obs["label"] = np.array(list("ab"))[np.arange(40) % 2]
    return md.MuData(mods)


def gone(ref):
    gc.collect()
    return ref() is None


def test_data_without_a_model_are_released():
    mdata = screen()
    GROOVE.setup_mudata(mdata, "label", paired=False)
    GROOVE.setup_mudata(mdata, "label", paired=False)  # again
    ref = weakref.ref(mdata)
    del mdata
    assert gone(ref)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_data_of_a_trained_model_live_as_long_as_it_and_queries_as_long_as_they_are_used():
    mdata, query = screen(), screen(1)
    GROOVE.setup_mudata(mdata, "label", paired=False)
    model = GROOVE(mdata, n_latent=2)
    model.train(max_epochs=1, accelerator="cpu", enable_progress_bar=False, logger=False)
    expected = model.get_latent_representation(query, "rna")
    of_query, of_modality, of_data = (weakref.ref(data) for data in (query, query["rna"], mdata))
    np.testing.assert_array_equal(model.get_latent_representation(query, "rna"), expected)
    del query, mdata
    assert gone(of_query)
    assert gone(of_modality)
    assert not gone(of_data)
    assert model.get_latent_representation(modality="rna").shape == (40, 2)
    other = model.id
    del model
    assert gone(of_data)
    assert other not in GROOVE._per_instance_manager_store


def test_copies_are_taken_as_data_of_their_own():
    mdata = screen()
    GROOVE.setup_mudata(mdata, "label", paired=False)
    model = GROOVE(mdata, n_latent=2)
    for m, manager in model._training_managers().items():
        fit_input_statistics(model.module, m, manager, np.arange(40))
    model.is_trained_ = True
    copied = mdata.copy()
    np.testing.assert_array_equal(
        model.get_latent_representation(copied, "rna"),
        model.get_latent_representation(mdata, "rna"),
    )
