"""A call that fails leaves everything as it was: values, columns, keys, and views as views."""

from __future__ import annotations

import warnings

import mudata as md
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from screens import examples, fingerprint, specs

import scgroove as sg
from scgroove.model import GROOVE

# ------------------------------------------------------------------------------------- what is wrong with a screen


def nothing(mdata):
    pass


def a_value_is_nan(mdata):
    mdata["b"].X[0, 0] = np.nan


def a_value_is_infinite(mdata):
    mdata["a"].X[-1, -1] = np.inf


def a_cell_has_no_value(mdata):
    mdata["a"].X[0] = 0


def a_cell_stands_twice(mdata):
    mdata["b"].obs_names = ["twice", "twice", *mdata["b"].obs_names[2:]]


def labels_are_not_shared(mdata):
    mdata["a"].obs["label"] = [f"other {i % 3}" for i in range(mdata["a"].n_obs)]


def labels_are_missing(mdata):
    mdata["b"].obs["label"] = np.nan


def there_are_no_labels(mdata):
    del mdata["a"].obs["label"]


def coordinates_are_nan(mdata):
    mdata["a"].obsm["X_groove"][0] = np.nan


def spaces_differ(mdata):
    mdata["b"].obsm["X_groove"] = mdata["b"].obsm["X_groove"][:, :2]


def text_instead_of_numbers(mdata):
    mdata["a"].layers["text"] = np.full(mdata["a"].shape, "x", dtype=object)


# ------------------------------------------------------------------------------------------ calls, and what they need

SET_UP = (
    a_value_is_nan,
    a_value_is_infinite,
    a_cell_has_no_value,
    a_cell_stands_twice,
    labels_are_not_shared,
    labels_are_missing,
    there_are_no_labels,
)
ALIGN = (
    coordinates_are_nan,
    spaces_differ,
    labels_are_not_shared,
    there_are_no_labels,
    a_cell_stands_twice,
)

WRONG_DATA = [
    *[(fault, lambda m: GROOVE.setup_mudata(m, "label")) for fault in SET_UP],
    *[(fault, lambda m: sg.tl.align(m, "a", "b")) for fault in ALIGN],
    (spaces_differ, lambda m: sg.tl.impute(m, "a", "b", method="knn")),
    (a_value_is_nan, lambda m: sg.tl.impute(m, "a", "b", method="label_ridge")),
    (spaces_differ, lambda m: sg.tl.transfer_labels(m, "a", "b")),
    (coordinates_are_nan, lambda m: sg.tl.umap(m)),
]

WRONG_ARGUMENTS = [
    lambda m: GROOVE.setup_mudata(m, "labels"),
    lambda m: GROOVE.setup_mudata(m, {"a": "label"}),
    lambda m: GROOVE.setup_mudata(m, "label", modalities=["a", "x"]),
    lambda m: GROOVE.setup_mudata(m, "label", modalities=["a"]),
    lambda m: GROOVE.setup_mudata(m, "label", batch_key="lane"),
    lambda m: GROOVE.setup_mudata(m, "label", layers={"a": "counts"}),
    lambda m: GROOVE.setup_mudata(m, "label", min_cells_per_label=1000),
    lambda m: GROOVE.setup_mudata(m, "label", weight_key="works"),
    lambda m: GROOVE.setup_mudata(m, "label", paired="pairs"),
    lambda m: sg.tl.align(m, "a", "a"),
    lambda m: sg.tl.align(m, "a", "x"),
    lambda m: sg.tl.align(m, "a", "b", method="sinkhorn"),
    lambda m: sg.tl.align(m, "a", "b", epsilon=-1),
    lambda m: sg.tl.align(m, "a", "b", weight_key="batch"),
    lambda m: sg.tl.align(m, "a", "b", use_rep="X_none"),
    lambda m: sg.tl.impute(m, "a", "b"),
    lambda m: sg.tl.impute(m, "a", "b", method="barycentric"),
    lambda m: sg.tl.impute(m, "a", "b", method="knn", n_neighbors=0),
    lambda m: sg.tl.impute(m, "a", "b", method="knn", layer="none"),
    lambda m: sg.tl.impute(m, "a", "b", method="label_ridge", shrink=2.0),
    lambda m: sg.tl.perturbation_effects(m, "a", "b", "control"),
    lambda m: sg.tl.transfer_labels(m, "a", "b", label_key="none"),
    lambda m: sg.tl.umap(m, use_rep="none"),
    lambda m: sg.get.coupling(m, "a", "b"),
    lambda m: sg.get.imputed(m, "a", "b"),
    lambda m: sg.tl.score_matching(m, "a", "b", pair_key="none"),
]

HOW = ("whole", "view")


def fails(mdata, call):
    before = fingerprint(mdata)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises((ValueError, KeyError, TypeError)) as error:
            call(mdata)
    assert fingerprint(mdata) == before
    assert len(str(error.value)) > 40, "an error says what was expected and found"


def as_given(mdata, how):
    return mdata if how == "whole" else mdata[np.arange(mdata.n_obs)]


@given(spec=specs(), case=st.sampled_from(WRONG_DATA), how=st.sampled_from(HOW))
@examples(300)
def test_wrong_data_are_left_as_they_were(spec, case, how):
    fault, call = case
    mdata = spec.build()
    fault(mdata)
    fails(as_given(md.MuData(dict(mdata.mod)), how), call)


@given(spec=specs(), call=st.sampled_from(WRONG_ARGUMENTS), how=st.sampled_from(HOW))
@examples(600)
def test_wrong_arguments_change_nothing(spec, call, how):
    fails(as_given(spec.build(), how), call)
