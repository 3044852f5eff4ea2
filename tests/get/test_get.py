"""get: results as ordinary objects, and where to find what is not there."""

from __future__ import annotations

import anndata as ad
import mudata as md
import numpy as np
import pytest
import scipy.sparse as sp

import scgroove as sg
from scgroove import get
from scgroove.aligners import Coupling


@pytest.fixture
def mdata() -> md.MuData:
    mdata = sg.simulations.weakly_paired(3, 5, n_features=(4, 3), n_latent=2)
    for adata in mdata.mod.values():
        adata.obsm["X_groove"] = adata.obsm["latent"]
    sg.tl.align(mdata, "rna", "protein")
    sg.tl.impute(mdata, "rna", "protein", method="barycentric")
    return mdata


def test_coupling(mdata: md.MuData) -> None:
    coupling = sg.get.coupling(mdata, "rna", "protein")
    assert isinstance(coupling, Coupling)
    assert coupling.shape == (15, 15)
    assert coupling.evidence["method"] == "eot"
    np.testing.assert_allclose(
        coupling.push(mdata["protein"].X), mdata["rna"].obsm["imputed_protein"], rtol=1e-5
    )


def test_imputed(mdata: md.MuData) -> None:
    table = sg.get.imputed(mdata, "rna", "protein")
    assert table.index.equals(mdata["rna"].obs_names)
    assert table.columns.tolist() == mdata["protein"].var_names.tolist()
    np.testing.assert_array_equal(table.to_numpy(), mdata["rna"].obsm["imputed_protein"])
    del mdata["rna"].uns["imputed_protein"]
    assert sg.get.imputed(mdata, "rna", "protein").columns.tolist() == mdata["protein"].var_names.tolist()


def test_imputed_without_names_says_so(mdata: md.MuData) -> None:
    mdata["rna"].obsm["imputed_protein"] = np.ones((15, 2))
    del mdata["rna"].uns["imputed_protein"]
    with pytest.raises(ValueError, match=r"the names of the 2 features of 'imputed_protein' are not known"):
        sg.get.imputed(mdata, "rna", "protein")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: sg.get.coupling(m, "protein", "rna"), r"one in the other direction: scgroove\.get\.coupling\(mdata, 'rna', 'protein'\)"),
        (lambda m: sg.get.coupling(m, "rna", "protein", "coupling_rna_prot"), r"Did you mean key='coupling_rna_protein'\? Make it with scgroove\.tl\.align\(mdata, 'rna', 'protein', key_added='coupling_rna_prot'\)"),
        (lambda m: sg.get.coupling(m, "rna", "prot"), r"target='prot': mdata has no such modality"),
        (lambda m: sg.get.imputed(m, "protein", "rna"), r"no imputed values 'imputed_rna' .* Make them with scgroove\.tl\.impute\(mdata, 'protein', 'rna', model=model\)"),
        (lambda m: sg.get.imputed(m, "rna", "protein", "imputed_prot"), r"Did you mean key='imputed_protein'\? .* key_added='imputed_prot', model=model\)"),
        (lambda m: sg.get.imputed(m, "rn", "protein"), r"source='rn': mdata has no such modality, .* Did you mean 'rna'\?"),
    ],
)  # fmt: skip
def test_what_is_not_there_gets_the_call_that_makes_it(mdata: md.MuData, call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        call(mdata)
    assert isinstance(caught.value, KeyError)


@pytest.mark.parametrize("form", [np.asarray, sp.csr_matrix])
def test_measured_counts_are_scaled_to_the_library_of_the_imputed_ones(form):
    x = np.array([[1.0, 3.0], [10.0, 10.0]])
    mods = {"a": ad.AnnData(np.ones((2, 3))), "b": ad.AnnData(form(x), layers={"raw": form(2 * x)})}
    mdata = md.MuData(mods)

    def dense(v):
        return v.toarray() if sp.issparse(v) else v

    np.testing.assert_allclose(dense(get.measured(mdata, "a", "b")), x)
    np.testing.assert_allclose(dense(get.measured(mdata, "a", "b", layer="raw")), 2 * x)
    mdata["a"].uns["imputed_b"] = {"library_size": 8.0, "layer": "raw"}
    found = get.measured(mdata, "a", "b")
    assert sp.issparse(found) == (form is sp.csr_matrix)
    np.testing.assert_allclose(dense(found), [[2, 6], [4, 4]])
