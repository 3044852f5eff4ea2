"""Who takes part in an alignment, and with what mass."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scgroove.aligners._blocks import label_masses, partition

X = ["b", "a", None, "b", "only x", "b"]
Y = ["a", "b", "only y", np.nan, "a"]


def test_only_shared_labels_take_part() -> None:
    parts = partition(6, 5, X, Y)
    assert [block.label for block in parts.blocks] == ["a", "b"]
    assert [block.rows.tolist() for block in parts.blocks] == [[1], [0, 3, 5]]
    assert [block.columns.tolist() for block in parts.blocks] == [[0, 4], [1]]
    assert parts.only_source == ("only x",)
    assert parts.only_target == ("only y",)
    assert parts.n_unlabelled == (1, 1)
    assert parts.shape == (6, 5)
    assert parts.labelled


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ("mean", [(1 / 4 + 2 / 3) / 2, (3 / 4 + 1 / 3) / 2]),
        ("source", [1 / 4, 3 / 4]),
        ("target", [2 / 3, 1 / 3]),
        ("equal", [0.5, 0.5]),
    ],
)
def test_label_masses_by_hand(weights: str, expected: list[float]) -> None:
    parts = partition(6, 5, X, Y, weights)
    np.testing.assert_allclose([block.mass for block in parts.blocks], expected)
    for block in parts.blocks:
        np.testing.assert_allclose(block.a, block.mass / block.rows.size)
        assert block.a.sum() == pytest.approx(block.b.sum())


@settings(max_examples=25, deadline=None)
@given(counts=st.lists(st.tuples(st.integers(1, 50), st.integers(1, 50)), min_size=1, max_size=8))
def test_label_masses_sum_to_one(counts: list[tuple[int, int]]) -> None:
    n_x, n_y = np.array(counts, dtype=float).T
    for weights in ("mean", "source", "target", "equal"):
        assert label_masses(n_x, n_y, weights).sum() == pytest.approx(1)


def test_without_labels_all_cells_are_one_block() -> None:
    parts = partition(3, 2)
    (block,) = parts.blocks
    assert not parts.labelled
    assert block.mass == 1
    assert block.n_pairs == 6


def test_category_order_plays_no_part() -> None:
    x = pd.Categorical(["b", "a", "b"], categories=["a", "b"])
    y = pd.Categorical(["b", "a", "b"], categories=["b", "unused", "a"])
    parts = partition(3, 3, x, y)
    assert [block.label for block in parts.blocks] == ["a", "b"]
    for block in parts.blocks:
        np.testing.assert_array_equal(block.rows, block.columns)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            (2, 1, ["a", "b"], ["c"]),
            r"no label is shared, .* source has 'a', 'b', target has 'c'\. Are the labels",
        ),
        ((1, 1, [None], ["c"]), r"source has no labelled cell, target has 'c'"),
        ((7, 1, list("abcdefg"), ["z"]), r"source has 'a', 'b', 'c', 'd', 'e' and 2 more"),
        ((2, 1, ["a"], ["a"]), r"labels_x must hold one label a cell: expected 2, found 1"),
        ((1, 1, ["a"], None), r"a labelled alignment needs the labels of both modalities; labels_y is None"),
        ((0, 1, None, None), r"both modalities need cells; found 0 source and 1 target cells"),
        ((1, 1, ["a"], ["a"], "sum"), r"label_weights must be one of 'mean', .*; found 'sum'"),
    ],
)
def test_what_does_not_fit_is_refused(arguments: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        partition(*arguments)
