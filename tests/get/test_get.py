"""get: results as ordinary objects, and where to find what is not there."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import anndata as ad
import mudata as md
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import scgroove as sg
from scgroove import get
from scgroove.aligners import ALIGNERS, Coupling
from scgroove.errors import FeatureNamesError


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


# ------------------------------------------------------------------------------------------- blocks of a coupling


def _screen() -> md.MuData:
    """Labels of 2 to 8 cells in shuffled order, one label in one modality only, some cells without one, and weights."""
    mdata = sg.simulations.weakly_paired(
        5,
        8,
        n_features=(4, 3),
        n_latent=2,
        exclusive_labels=1,
        unlabeled_fraction=0.2,
        co_assayed=False,
    )
    rng = np.random.default_rng(0)
    for m, adata in mdata.mod.items():
        adata.obsm["X_groove"] = adata.obsm["latent"]
        adata.obs["weight"] = rng.integers(0, 3, adata.n_obs).astype(float)
        mdata.mod[m] = adata[rng.permutation(adata.n_obs)[:-5]].copy()
    return md.MuData(dict(mdata.mod))


def _found(mdata: md.MuData, method: str, labeled: bool, weights: bool) -> Coupling:
    """What the aligner itself returns."""
    pair = [mdata[m] for m in ("rna", "protein")]
    labels = [adata.obs["label"].astype(object).replace("g01", np.nan) for adata in pair]
    inputs = [adata.obsm["X_groove"] for adata in pair] + (labels if labeled else [])
    keys = (
        {"weights_x": pair[0].obs["weight"], "weights_y": pair[1].obs["weight"]} if weights else {}
    )
    return ALIGNERS.get(method)().align(*inputs, **keys)


@pytest.mark.parametrize("method", ["uniform", "eot", "emd", "nn", "uot"])
@pytest.mark.parametrize("labeled", [True, False])
@pytest.mark.parametrize("weights", [True, False])
@pytest.mark.parametrize("on_disk", [True, False])
def test_a_coupling_is_the_one_that_the_aligner_made(
    method: str, labeled: bool, weights: bool, on_disk: bool, tmp_path: Path
) -> None:
    mdata = _screen()
    keys = {
        "unlabeled_category": "g01",
        "weight_key": "weight" if weights else None,
        "labeled": labeled,
    }
    sg.tl.align(mdata, "rna", "protein", method=method, threshold=0, **keys)
    if on_disk:
        mdata.write(tmp_path / "aligned.h5mu")
        mdata = md.read_h5mu(tmp_path / "aligned.h5mu")
    coupling, expected = (
        sg.get.coupling(mdata, "rna", "protein"),
        _found(mdata, method, labeled, weights),
    )
    assert coupling.labels == expected.labels
    assert set(coupling.labels) <= ({"g00", "g02", "g03"} if labeled else {""})
    assert len(coupling.labels) > labeled
    for own, other in zip(coupling.blocks, expected.blocks, strict=True):
        np.testing.assert_array_equal(own.rows, other.rows)
        np.testing.assert_array_equal(own.columns, other.columns)
    near = {"rtol": 1e-5, "atol": 1e-6}
    np.testing.assert_allclose(coupling.to_dense(), expected.to_dense(), **near)
    for side in ("source", "target"):
        np.testing.assert_allclose(coupling.confidence(side), expected.confidence(side), **near)
        np.testing.assert_allclose(coupling.entropy(side), expected.entropy(side), **near)
    for own, other in zip(coupling.marginals, expected.marginals, strict=True):
        np.testing.assert_allclose(own, other, rtol=1e-12)
    np.testing.assert_allclose(coupling.marginal_errors(), expected.marginal_errors(), **near)
    assert coupling.top_matches(1)["label"].tolist() == expected.top_matches(1)["label"].tolist()
    if labeled:
        own, other = coupling.label_mass(), expected.label_mass()
        assert own.index.tolist() == other.index.tolist()
        np.testing.assert_allclose(own, other, **near)
        assert np.trace(own) == pytest.approx(coupling.mass)
    stored = mdata.obsp["coupling_rna_protein"]
    assert coupling.to_sparse().nnz == stored.nnz
    assert coupling.to_sparse().sum() == pytest.approx(stored.sum())


def test_uniform_is_undecided() -> None:
    mdata = _screen()
    sg.tl.align(mdata, "rna", "protein", method="uniform")
    confidence = sg.get.coupling(mdata, "rna", "protein").confidence()
    np.testing.assert_allclose(confidence[~np.isnan(confidence)], 0, atol=1e-12)


def test_a_subset_keeps_its_blocks_but_not_the_masses_wanted() -> None:
    mdata = _screen()
    sg.tl.align(mdata, "rna", "protein")
    whole = sg.get.coupling(mdata, "rna", "protein")
    rows, columns = np.arange(0, mdata["rna"].n_obs, 2), np.arange(3, mdata["protein"].n_obs)
    part = mdata[[*mdata["rna"].obs_names[rows], *mdata["protein"].obs_names[columns]]].copy()
    coupling = sg.get.coupling(part, "rna", "protein")
    np.testing.assert_array_equal(coupling.to_dense(), whole.to_dense()[np.ix_(rows, columns)])
    assert set(coupling.labels) <= set(whole.labels)
    assert coupling.label_mass().to_numpy().sum() == pytest.approx(coupling.mass)
    assert coupling.marginal_errors() == (0, 0)
    # of one label nobody is left on one side: no block, and nothing lost
    kept = mdata["rna"].obs_names[(mdata["rna"].obs["label"] != "g02").to_numpy()]
    fewer = sg.get.coupling(mdata[[*kept, *mdata["protein"].obs_names]].copy(), "rna", "protein")
    assert fewer.labels == [label for label in whole.labels if label != "g02"]


def test_new_category_names_and_column_types_of_the_same_labels_are_no_change() -> None:
    mdata = _screen()
    sg.tl.align(mdata, "rna", "protein")
    mdata["rna"].obs["label"] = mdata["rna"].obs["label"].astype(object)
    labels = mdata["protein"].obs["label"].astype("category")
    mdata["protein"].obs["label"] = labels.cat.reorder_categories(labels.cat.categories[::-1])
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        assert len(sg.get.coupling(mdata, "rna", "protein").labels) > 2


def _gone(mdata: md.MuData) -> None:
    del mdata["protein"].obs["label"]


def _one_relabeled(mdata: md.MuData) -> None:
    labels = mdata["protein"].obs["label"].astype(object)
    labels.iloc[int((labels == "g00").argmax())] = "g02"
    mdata["protein"].obs["label"] = labels


def _two_swapped(mdata: md.MuData) -> None:
    labels = mdata["rna"].obs["label"].astype(object)
    i, j = (int((labels == name).argmax()) for name in ("g00", "g02"))
    labels.iloc[i], labels.iloc[j] = "g02", "g00"
    mdata["rna"].obs["label"] = labels


def _all_renamed(mdata: md.MuData) -> None:
    for adata in mdata.mod.values():
        adata.obs["label"] = "new " + adata.obs["label"].astype(str)


def _weights_gone(mdata: md.MuData) -> None:
    del mdata["rna"].obs["weight"]


def _weights_are_words(mdata: md.MuData) -> None:
    mdata["rna"].obs["weight"] = "heavy"


def _subset_and_swapped(mdata: md.MuData) -> md.MuData:
    _two_swapped(mdata)
    return mdata[mdata.obs_names[:-1]].copy()


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (_gone, r"the label column 'label' of 'protein' is gone"),
        (
            _one_relabeled,
            r"other cells of 'protein' take part now: was 'label' or 'weight' changed\?",
        ),
        (_two_swapped, r"cells are matched whose labels differ now"),
        (_all_renamed, r"other cells of 'rna' take part now"),
        (_weights_gone, r"other cells of 'rna' take part now: was 'label' or 'weight' changed\?"),
        (_weights_are_words, r"other cells of 'rna' take part now"),
        (_subset_and_swapped, r"cells are matched whose labels differ now"),
    ],
)
def test_labels_that_are_gone_or_changed_leave_one_block_and_say_why(
    spoil: Callable[[md.MuData], md.MuData | None], reason: str
) -> None:
    mdata = _screen()
    sg.tl.align(mdata, "rna", "protein", weight_key="weight")
    before = sg.get.coupling(mdata, "rna", "protein")
    mdata = spoil(mdata) or mdata
    message = (
        rf"labels that the coupling 'coupling_rna_protein' was made with are not known: {reason}.* It is returned as one "
        rf"block.*align again with scgroove\.tl\.align\(mdata, 'rna', 'protein'\)"
    )
    with pytest.warns(UserWarning, match=message) as caught:
        coupling = sg.get.coupling(mdata, "rna", "protein")
    assert caught[0].filename == __file__
    assert coupling.labels == [""]
    assert coupling.evidence["method"] == "eot"
    if coupling.shape == before.shape:
        np.testing.assert_array_equal(coupling.to_dense(), before.to_dense())


def test_weights_that_are_gone_leave_the_blocks_where_none_was_zero() -> None:
    mdata = _screen()
    for adata in mdata.mod.values():
        adata.obs["weight"] += 1
    sg.tl.align(mdata, "rna", "protein", weight_key="weight")
    before = sg.get.coupling(mdata, "rna", "protein")
    del mdata["rna"].obs["weight"]
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        coupling = sg.get.coupling(mdata, "rna", "protein")
    assert coupling.labels == before.labels
    np.testing.assert_array_equal(coupling.marginals[0], coupling.row_mass())
    np.testing.assert_allclose(coupling.marginals[1], before.marginals[1])


@pytest.mark.parametrize(
    "evidence", [None, {}, {"source": "rna", "target": "protein", "note": "mine"}]
)
def test_a_matrix_of_your_own_is_one_block(evidence: dict[str, str] | None) -> None:
    mdata = _screen()
    sg.tl.align(mdata, "rna", "protein")
    mdata.obsp["mine"] = mdata.obsp["coupling_rna_protein"]
    if evidence is not None:
        mdata.uns["mine"] = evidence
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        coupling = sg.get.coupling(mdata, "rna", "protein", key="mine")
    assert coupling.labels == [""]
    assert coupling.mass == pytest.approx(1, rel=1e-5)
    assert coupling.evidence == (evidence or {})


def test_a_coupling_is_not_read_against_its_direction(mdata: md.MuData) -> None:
    sg.tl.align(mdata, "rna", "protein", key_added="c")
    message = (
        r"the coupling 'c' goes from 'rna' to 'protein', not from 'protein' to 'rna'\. Read it with "
        r"scgroove\.get\.coupling\(mdata, 'rna', 'protein', key='c'\); its pull and pull_mass go the other way\."
    )
    with pytest.raises(ValueError, match=message):
        sg.get.coupling(mdata, "protein", "rna", key="c")
    third = mdata["rna"].copy()
    third.var_names = [f"atac_{name}" for name in third.var_names]
    wider = md.MuData({**mdata.mod, "atac": third})
    wider.obsp["c"], wider.uns["c"] = mdata.obsp["c"], mdata.uns["c"]
    with pytest.raises(
        ValueError, match=r"not from 'atac' to 'protein'\. Read it with .*key='c'\)\.$"
    ):
        sg.get.coupling(wider, "atac", "protein", key="c")


def test_renamed_modalities_say_how_to_go_on(mdata: md.MuData) -> None:
    before = sg.get.coupling(mdata, "rna", "protein").to_dense()
    renamed = md.MuData({"RNA": mdata["rna"], "protein": mdata["protein"]})
    for held in ("obsp", "uns"):
        getattr(renamed, held)["coupling_rna_protein"] = getattr(mdata, held)[
            "coupling_rna_protein"
        ]
    with pytest.raises(
        ValueError,
        match=r"If these were renamed, say so: mdata\.uns\['coupling_rna_protein'\]\.update\(source='RNA', target='protein'\)",
    ):
        sg.get.coupling(renamed, "RNA", "protein", key="coupling_rna_protein")
    renamed.uns["coupling_rna_protein"].update(source="RNA", target="protein")
    again = sg.get.coupling(renamed, "RNA", "protein", key="coupling_rna_protein")
    np.testing.assert_array_equal(again.to_dense(), before)


# ------------------------------------------------------------------------------------------------- imputed values


def test_imputed(mdata: md.MuData) -> None:
    table = sg.get.imputed(mdata, "rna", "protein")
    assert table.index.equals(mdata["rna"].obs_names)
    assert table.columns.tolist() == mdata["protein"].var_names.tolist()
    np.testing.assert_array_equal(table.to_numpy(), mdata["rna"].obsm["imputed_protein"])
    del mdata["rna"].uns["imputed_protein"]
    assert (
        sg.get.imputed(mdata, "rna", "protein").columns.tolist()
        == mdata["protein"].var_names.tolist()
    )


def test_imputed_without_names_says_so(mdata: md.MuData) -> None:
    mdata["rna"].obsm["imputed_protein"] = np.ones((15, 2))
    del mdata["rna"].uns["imputed_protein"]
    with pytest.raises(
        ValueError, match=r"the names of the 2 features of 'imputed_protein' are not known"
    ):
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
def test_what_is_not_there_gets_the_call_that_makes_it(
    mdata: md.MuData, call: object, message: str
) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        call(mdata)
    assert isinstance(caught.value, KeyError)


@pytest.mark.parametrize("form", [np.asarray, sp.csr_matrix])
def test_measured_counts_are_scaled_to_the_library_of_the_imputed_ones(form):
    x = np.array([[1.0, 3.0], [10.0, 10.0]])
    mods = {"a": ad.AnnData(np.ones((2, 3))), "b": ad.AnnData(form(x), layers={"raw": form(2 * x)})}
    mdata = md.MuData(mods)
    mdata["a"].obsm["imputed_b"] = np.zeros((2, 2))

    def dense(v):
        return v.toarray() if sp.issparse(v) else v

    np.testing.assert_allclose(dense(get.measured(mdata, "a", "b")), x)
    np.testing.assert_allclose(dense(get.measured(mdata, "a", "b", layer="raw")), 2 * x)
    mdata["a"].uns["imputed_b"] = {"library_size": 8.0, "layer": "raw"}
    found = get.measured(mdata, "a", "b")
    assert sp.issparse(found) == (form is sp.csr_matrix)
    np.testing.assert_allclose(dense(found), [[2, 6], [4, 4]])
    mdata["b"].layers["raw"] = form(np.log1p(x))
    with pytest.warns(
        UserWarning, match=r"'b' \(layer 'raw'\) have values that are not whole numbers"
    ) as caught:
        get.measured(mdata, "a", "b")
    assert caught[0].filename == __file__


def test_measured_follows_the_names_of_the_imputed_table():
    x = np.array([[1.0, 3.0, 8.0], [10.0, 10.0, 2.0]])
    mods = {"a": ad.AnnData(np.ones((2, 3))), "b": ad.AnnData(x)}
    mods["b"].var_names = ["p", "q", "other"]
    mdata = md.MuData(mods)
    mdata["a"].obsm["imputed_b"] = np.zeros((2, 2))
    mdata["a"].uns["imputed_b"] = {"features": ["q", "p"], "library_size": 8.0}
    # the library is that of the imputed features alone
    np.testing.assert_allclose(get.measured(mdata, "a", "b"), [[6, 2], [4, 4]])
    table = pd.DataFrame(np.zeros((2, 2)), index=mods["a"].obs_names, columns=["other", "q"])
    mdata["a"].obsm["mine"] = table
    assert get.imputed(mdata, "a", "b", "mine").columns.tolist() == ["other", "q"]
    np.testing.assert_allclose(get.measured(mdata, "a", "b", "mine"), [[8, 3], [2, 10]])
    mdata["a"].obsm["mine"] = table.rename(columns={"q": "Q"})
    with pytest.raises(FeatureNamesError) as caught:
        get.measured(mdata, "a", "b", "mine")
    assert (caught.value.modality, caught.value.missing) == ("b", ("Q",))
