"""One vocabulary of labels, whatever way they come."""

from __future__ import annotations

import warnings
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from hypothesis import given as drawn
from hypothesis import strategies as st

from scgroove._labels import (
    alike,
    encode,
    find_label,
    label_name,
    members,
    read_labels,
    unlabeled_names,
)
from scgroove.errors import UnknownNameError


@pytest.mark.parametrize(
    "given",
    [
        ["b", "a", None, "b"],
        np.array(["b", "a", None, "b"], dtype=object),
        ["b", "a", float("nan"), "b"],
        pd.Categorical(["b", "a", None, "b"], categories=["z", "b", "a"]),
        pd.Series(["b", "a", pd.NA, "b"], dtype="string", index=[3, 1, 7, 0]),
        pd.Series(["b", "a", None, "b"], dtype="category"),
    ],
)
def test_every_way_of_giving_labels_gives_the_same_codes(given: object) -> None:
    names, (codes, other) = encode(given, ["c", "a"])
    assert names == ["a", "b", "c"]
    assert codes.tolist() == [1, 0, -1, 1]
    assert other.tolist() == [2, 0]


def test_numbers_and_whole_floats_and_their_names_are_the_same_label() -> None:
    names, codes = encode([1, 2, 10], [2.0, np.nan, 1.0], ["10", "1", None])
    assert names == ["1", "10", "2"]
    assert [c.tolist() for c in codes] == [[0, 2, 1], [2, -1, 0], [1, 0, -1]]


def test_fractions_and_truth_values_keep_their_names() -> None:
    assert encode([0.5, 1.5])[0] == ["0.5", "1.5"]
    assert encode(np.array([True, False]))[0] == ["False", "True"]


def test_nothing_at_all() -> None:
    names, (codes,) = encode([])
    assert names == []
    assert codes.shape == (0,)
    assert encode([None, None])[1][0].tolist() == [-1, -1]


def test_a_matrix_of_labels_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"one value a cell, an array of shape \(n,\); found shape \(2, 1\)"
    ):
        encode(np.array([["a"], ["b"]]))


def test_members_are_in_order_and_leave_the_unlabeled_out() -> None:
    found = members(np.array([1, -1, 0, 1, 3]), 5)
    assert [m.tolist() for m in found] == [[2], [0, 3], [], [4], []]


@pytest.mark.parametrize(
    "given",
    [
        1,
        1.0,
        "1",
        "1.0",
        np.int64(1),
        np.float32(1),
        np.float16(1),
        Decimal("1.00"),
        Fraction(1),
        b"1",
    ],
)
def test_one_has_one_name(given: object) -> None:
    assert label_name(given) == "1"


@pytest.mark.parametrize(
    "given",
    [
        0.1,
        "0.1",
        np.float32(0.1),
        float(np.float32(0.1)),
        np.float16(0.1),
        np.longdouble("0.1"),
        Decimal("0.1"),
    ],
)
def test_a_dose_has_one_name_in_every_precision(given: object) -> None:
    assert label_name(given) == "0.1"


@pytest.mark.parametrize("text", ["1.00", "007", "1E2", "1_000", " 1", "1.10", "inf", "0x1", "g1 "])
def test_text_that_is_not_how_a_float_is_written_keeps_its_spelling(text: str) -> None:
    assert label_name(text) == text


@drawn(st.floats(allow_nan=False, allow_infinity=False, width=32))
def test_a_number_has_the_name_of_its_text_and_of_its_single_precision(value: float) -> None:
    name = label_name(value)
    assert name == label_name(np.float32(value)) == label_name(repr(value)) == label_name(name)
    assert np.float32(name) == np.float32(value)


@drawn(st.floats(allow_nan=False, allow_infinity=False))
def test_the_name_of_a_number_is_the_name_of_its_text(value: float) -> None:
    assert label_name(value) == label_name(repr(value)) == label_name(np.float64(value))


@pytest.mark.parametrize(
    ("category", "names"),
    [
        (None, set()),
        ("a", {"a"}),
        (0.0, {"0"}),
        (["a", None, 0], {"a", "0"}),
        ({"a"}, {"a"}),
        (np.array([0]), {"0"}),
    ],
)
def test_unlabeled_categories_are_named_as_labels_are(category: object, names: set[str]) -> None:
    assert unlabeled_names(category) == names


def test_a_category_for_each_modality_is_refused() -> None:
    with pytest.raises(TypeError, match=r"Pass unlabeled_category=\['x', 'y'\]"):
        unlabeled_names({"rna": "x", "img": "y"})


@pytest.mark.parametrize("text", ["", " ", "nan", "NaN", "None", "NA", "<NA>", "null"])
def test_text_for_a_missing_label_is_unlabeled_and_said_unless_it_is_declared(text: str) -> None:
    with pytest.warns(UserWarning, match=rf"missing label: {text!r} \(2 cells\)") as caught:
        assert read_labels(["a", text, text]).tolist() == ["a", None, None]
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_labels(["a", text], text).tolist() == ["a", None]


def test_labels_that_look_alike() -> None:
    found = {
        "rna": ["G0", "g1 ", "0.3", "sg_1", "x"],
        "img": ["g0", "g1", "0.30000000000000004", "sg-1", None],
    }
    assert alike(found) == [
        ["0.3", "0.30000000000000004"],
        ["G0", "g0"],
        ["g1", "g1 "],
        ["sg-1", "sg_1"],
    ]
    assert alike({"rna": ["1000001", "1000002", "a", "b"]}) == []


def test_a_label_that_is_not_there_is_named_with_the_nearest() -> None:
    assert find_label(0.0, ["-1", "0"]) == 1
    with pytest.raises(UnknownNameError, match=r"control='Ctrl'.*Did you mean 'ctrl'\?"):
        find_label("Ctrl", ["a", "ctrl"])
    with pytest.raises(UnknownNameError, match="stands for a missing label"):
        find_label("None", ["a"])
