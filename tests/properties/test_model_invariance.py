"""What a model is set up with, and what it says of new cells, does not depend on how they are written down."""

from __future__ import annotations

import warnings

import anndata as ad
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from screens import FORMS, REWRITTEN, Modality, Spec, examples, specs

from scgroove.model import GROOVE

SEEDS = st.integers(0, 2**32 - 1)


def registered(mdata):
    """Labels and batches of each cell, and the features of each modality, as the model sees them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        GROOVE.setup_mudata(mdata, "label", batch_key="batch", paired=False, min_cells_per_label=1)
        model = GROOVE(mdata, n_latent=2)
    codes = {}
    for m, adata in mdata.mod.items():
        columns = [c for c in adata.obs if c.startswith("_scvi")]
        codes[m] = adata.obs[columns].astype(int).sort_index().to_dict()
    names = {m: sorted(found) for m, found in model.get_var_names().items()}
    return codes, names, dict(model.likelihood)


@given(spec=specs(), rewrite=st.sampled_from(REWRITTEN), seed=SEEDS)
@examples(120)
def test_set_up_does_not_see_how_a_screen_is_written(spec, rewrite, seed):
    assert registered(rewrite(spec.build(), seed)) == registered(spec.build())


@pytest.fixture(scope="module")
def model():
    of = [Modality((8, 8, 8), d, counts, True, False) for d, counts in ((9, True), (6, False))]
    mdata = Spec(tuple(of), "words", 1).build()
    GROOVE.setup_mudata(mdata, "label", paired=False)
    model = GROOVE(mdata, n_latent=3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.train(max_epochs=2, accelerator="cpu", enable_progress_bar=False, logger=False)
    return model


def rewritten(adata: ad.AnnData, seed: int, form: str) -> ad.AnnData:
    """Some of the cells, features in another order, and features that no model knows, some of them twice."""
    rng = np.random.default_rng(seed)
    cells = rng.permutation(adata.n_obs)[: rng.integers(1, adata.n_obs + 1)]
    names = [*adata.var_names, "other", "other", "another"]
    x = np.concatenate([adata.X, rng.poisson(3.0, (adata.n_obs, 3))], axis=1)
    order = rng.permutation(len(names))
    query = ad.AnnData(FORMS[form](x[cells][:, order].astype(np.float32)))
    query.obs_names, query.var_names = adata.obs_names[cells], np.asarray(names)[order]
    return query


@given(modality=st.sampled_from(["a", "b"]), seed=SEEDS, form=st.sampled_from(sorted(FORMS)))
@examples(200)
def test_new_cells_have_the_coordinates_of_the_same_cells(model, modality, seed, form):
    known = model.adata[modality]
    other = "b" if modality == "a" else "a"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        query = rewritten(known, seed, form)
        found = (
            model.get_latent_representation(query, modality),
            model.translate(modality, other, query),
        )
    rows = known.obs_names.get_indexer(query.obs_names)
    expected = model.get_latent_representation(modality=modality), model.translate(modality, other)
    for one, all_cells in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, all_cells[rows], rtol=1e-4, atol=1e-5)


@given(modality=st.sampled_from(["a", "b"]), seed=SEEDS, data=st.data())
@examples(160)
def test_new_cells_without_a_feature_of_the_model_are_refused_by_its_name(
    model, modality, seed, data
):
    query = rewritten(model.adata[modality], seed, "CSR")
    lacking = data.draw(st.sampled_from(list(model.get_var_names()[modality])))
    query = query[:, query.var_names != lacking].copy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises((KeyError, ValueError), match=lacking):
            model.get_latent_representation(query, modality)
