"""Tests of a run against chance, and permuted labels, without training where that is possible."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from scgroove import _null, simulations
from scgroove._report import Results, Settings
from scgroove.metrics import label_verdict


def results_of(**knobs):
    mdata = simulations.weakly_paired(5, 24, n_features=(15, 12), co_assayed=False, seed=0, **knobs)
    settings = Settings(source="rna", target="protein", modalities=("rna", "protein"))
    return Results(mdata, settings, "simulated")


@pytest.fixture(scope="module")
def prepared():
    return _null.closed_form(results_of(), measured=False)


def test_the_closed_form_tells_labels_that_shift_both_modalities(prepared):
    tests, r = prepared.analyze(0)
    assert list(tests) == [("rna", "protein"), ("protein", "rna")]
    assert [one.n_cells for one in tests.values()] == [60, 60]
    assert label_verdict(list(tests.values())) == "better than chance"
    assert np.isnan(r)  # no measured values were asked for


@pytest.mark.parametrize("sides", [("rna", "protein"), ("protein",)])
def test_permuted_labels_are_not_better_than_chance(prepared, sides):
    """One in twenty is expected where one modality keeps its labels, fewer where none does."""
    rng = np.random.default_rng(11)
    verdicts = [
        label_verdict(list(prepared.permuted(rng, sides).analyze(i)[0].values())) for i in range(20)
    ]
    assert verdicts.count("better than chance") <= 3


def test_permuting_keeps_the_cells_of_each_label_and_those_without():
    labels = np.array(["a", None, "b", "b", None, "c"], dtype=object)
    permuted = _null.permute(labels, np.random.default_rng(0))
    assert sorted(filter(None, permuted)) == ["a", "b", "b", "c"]
    assert [i for i, la in enumerate(permuted) if la is None] == [1, 4]
    assert permuted.tolist() != labels.tolist()


def test_half_of_each_label_is_learned_from():
    labels = np.array(["a"] * 5 + ["b"] * 2 + [None, "c"], dtype=object)
    half = _null._half(labels, np.random.default_rng(0))
    counts = pd.Series(half).groupby(pd.Series(labels)).sum()
    assert counts.to_dict() == {"a": 3, "b": 1, "c": 1}
    assert not half[7]


def test_a_single_shared_label_has_nothing_to_test():
    results = results_of()
    for adata in results.mdata.mod.values():
        adata.obs["label"] = "only"
    assert _null.closed_form(results, measured=False) is None


def test_permuted_data_hold_no_pairs_and_no_results():
    results = results_of()
    rna = results.mdata.mod["rna"]
    rna.obsm["X_groove"] = np.zeros((rna.n_obs, 2))
    rna.obs["pair_id"] = rna.obs_names
    asked = replace(results.settings, null=3, pair_key="pair_id")
    again = _null.permuted(replace(results, settings=asked), np.random.default_rng(0))
    assert (again.settings.null, again.settings.pair_key) == (0, None)
    assert "pair_id" not in again.mdata.mod["rna"].obs
    assert not again.mdata.mod["rna"].obsm
    before, after = (one.mdata.mod["rna"].obs["label"].astype(str) for one in (results, again))
    assert before.value_counts().to_dict() == after.value_counts().to_dict()
    assert (before.to_numpy() != after.to_numpy()).mean() > 0.5


def test_cells_measured_in_both_modalities_make_no_link():
    """Labels without effect: the same cell would give its own label away, if it were learned from or voted."""
    rng = np.random.default_rng(0)
    rows = np.arange(300)
    verdicts = []
    for seed in range(6):
        state = rng.normal(size=(300, 4))
        labels = np.array([f"g{i % 15}" for i in range(300)], dtype=object)
        z, of = {"a": state, "b": state.copy()}, {"a": labels, "b": labels}
        prepared = _null.ClosedForm(("a", "b"), z, of, None, (rows, rows))
        tests, _ = prepared.analyze(seed)
        verdicts.append(label_verdict(list(tests.values())))
    assert verdicts.count("better than chance") <= 1
