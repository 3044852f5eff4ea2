"""One vocabulary of labels, whatever way they come."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from scgroove._labels import encode, members


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
    with pytest.raises(ValueError, match=r"one value a cell, an array of shape \(n,\); found shape \(2, 1\)"):
        encode(np.array([["a"], ["b"]]))


def test_members_are_in_order_and_leave_the_unlabelled_out() -> None:
    found = members(np.array([1, -1, 0, 1, 3]), 5)
    assert [m.tolist() for m in found] == [[2], [0, 3], [], [4], []]
