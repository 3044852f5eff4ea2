"""What a screen says does not depend on how it is written down."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import issparse
from screens import FORMS, REWRITTEN, examples, specs, stored

import scgroove as sg
from scgroove.data.labels import labels_of

SEEDS = st.integers(0, 2**32 - 1)
METHODS = ("auto", "barycentric", "knn", "label_ridge")
EPSILON = 0.5  # soft couplings: rounding is not blown up


def control_of(mdata):
    """The commonest label of both modalities, by name."""
    found = [labels_of(mdata[m].obs, "label") for m in ("a", "b")]
    shared = {x for x in found[0] if x is not None} & {x for x in found[1] if x is not None}
    return min(shared) if shared else None


def results(mdata):
    """What the verbs make of a screen, as tables indexed by the names of cells, features and labels."""
    made = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sg.tl.align(mdata, "a", "b", epsilon=EPSILON, threshold=0.0)
        coupling = sg.get.coupling(mdata, "a", "b").to_dense()
        made["coupling"] = pd.DataFrame(coupling, mdata["a"].obs_names, mdata["b"].obs_names)
        for method in METHODS:
            key = f"imputed_b_{method}"
            sg.tl.impute(mdata, "a", "b", method=method, key_added=key)
            made[method] = sg.get.imputed(mdata, "a", "b", key=key)
            made[f"{method} sd"] = sg.get.imputed_sd(mdata, "a", "b", key=key)
        measured = sg.get.measured(mdata, "a", "b", key="imputed_b_knn")
        measured = measured.toarray() if issparse(measured) else np.asarray(measured)
        made["measured"] = pd.DataFrame(measured, mdata["b"].obs_names, made["knn"].columns)
        sg.tl.transfer_labels(mdata, "a", "b")
        votes = mdata["a"].obs[["transferred_label_confidence"]]
        made["votes"] = votes.assign(label=mdata["a"].obs["transferred_label"].astype(str))
        effects = sg.tl.perturbation_effects(
            mdata, "a", "b", control_of(mdata), key="imputed_b_knn", n_boot=100
        )
        made["effects"] = effects.astype({"label": str, "feature": str}).set_index(
            ["label", "feature"]
        )
        made["labels"] = sg.data.label_table(mdata)
    return made


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, table in expected.items():
        pd.testing.assert_frame_equal(
            found[name].sort_index().sort_index(axis=1),
            table.sort_index().sort_index(axis=1),
            check_dtype=False,
            check_like=True,
            check_categorical=False,
            check_index_type=False,
            rtol=2e-3,
            atol=2e-4,
            obj=name,
        )


@pytest.mark.parametrize("rewrite", REWRITTEN, ids=lambda rewrite: rewrite.__name__)
@given(spec=specs(), seed=SEEDS)
@examples(70)
def test_the_verbs_do_not_see_how_a_screen_is_written(rewrite, spec, seed):
    assert_same(results(rewrite(spec.build(), seed)), results(spec.build()))


@pytest.mark.parametrize("form", FORMS)
@given(spec=specs())
@examples(40)
def test_the_verbs_do_not_see_how_values_are_stored(form, spec):
    assert_same(results(stored(spec.build(), FORMS[form])), results(spec.build()))
