"""Who takes part in an alignment, and with what mass."""

from __future__ import annotations

import re

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
    assert parts.n_unlabeled == (1, 1)
    assert parts.shape == (6, 5)
    assert parts.labeled


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
    assert not parts.labeled
    assert block.mass == 1
    assert block.n_pairs == 6


def test_category_order_plays_no_part() -> None:
    x = pd.Categorical(["b", "a", "b"], categories=["a", "b"])
    y = pd.Categorical(["b", "a", "b"], categories=["b", "unused", "a"])
    parts = partition(3, 3, x, y)
    assert [block.label for block in parts.blocks] == ["a", "b"]
    for block in parts.blocks:
        np.testing.assert_array_equal(block.rows, block.columns)


# ------------------------------------------------------------------------------------------------------- weights


def test_weights_share_out_the_mass_of_a_label_by_hand() -> None:
    parts = partition(
        6, 5, X, Y, weights_x=[1, 4, 9, 2, 9, 5], weights_y=[3, 2, 9, 9, 1]
    )  # source: a 4, b 1 + 2 + 5; target: a 3 + 1, b 2
    w_a, w_b = (4 / 12 + 4 / 6) / 2, (8 / 12 + 2 / 6) / 2
    a, b = parts.blocks
    np.testing.assert_allclose(a.a, [w_a])
    np.testing.assert_allclose(a.b, [w_a * 3 / 4, w_a / 4])
    np.testing.assert_allclose(b.a, [w_b / 8, w_b / 4, w_b * 5 / 8])
    np.testing.assert_allclose(b.b, [w_b])
    assert parts.n_weightless == (0, 0)


@pytest.mark.parametrize(
    ("label_weights", "expected"),
    [
        ("mean", [(4 / 12 + 4 / 6) / 2, (8 / 12 + 2 / 6) / 2]),
        ("source", [4 / 12, 8 / 12]),
        ("target", [4 / 6, 2 / 6]),
        ("equal", [0.5, 0.5]),
    ],
)
def test_shares_of_labels_are_shares_of_weights(label_weights: str, expected: list[float]) -> None:
    parts = partition(6, 5, X, Y, label_weights, [1, 4, 9, 2, 9, 5], [3, 2, 9, 9, 1])
    np.testing.assert_allclose([block.mass for block in parts.blocks], expected)


def test_cells_of_weight_zero_are_left_out_and_counted() -> None:
    parts = partition(6, 5, X, Y, weights_x=[0, 1, 0, 3, 0, 1], weights_y=[1, 1, 1, 0, 0])
    assert [block.label for block in parts.blocks] == ["a", "b"]
    assert [block.rows.tolist() for block in parts.blocks] == [[1], [3, 5]]
    assert [block.columns.tolist() for block in parts.blocks] == [[0], [1]]
    assert parts.n_weightless == (3, 2)
    assert parts.n_used == (3, 2)
    assert parts.only_source == ()  # its only cell has weight 0
    assert parts.only_target == ("only y",)
    assert parts.n_unlabeled == (1, 1)  # whatever their weight


def test_a_label_without_weight_in_one_modality_is_of_the_other_only() -> None:
    parts = partition(3, 2, ["a", "b", "b"], ["a", "b"], weights_x=[1, 0, 0])
    assert [block.label for block in parts.blocks] == ["a"]
    assert parts.only_target == ("b",)
    with pytest.raises(ValueError, match=r"no label is shared, .* source has 'a', target has 'b'"):
        partition(3, 2, ["a", "b", "b"], ["a", "b"], weights_x=[1, 0, 0], weights_y=[0, 1])


def test_weights_without_labels() -> None:
    parts = partition(3, 2, weights_x=[0, 1, 3], weights_y=[4, 1])
    (block,) = parts.blocks
    np.testing.assert_array_equal(block.rows, [1, 2])
    np.testing.assert_allclose(block.a, [0.25, 0.75])
    np.testing.assert_allclose(block.b, [0.8, 0.2])
    assert parts.n_weightless == (1, 0)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    label_weights=st.sampled_from(["mean", "source", "target", "equal"]),
    scale=st.sampled_from([1e-12, 1.0, 1e12]),
)
def test_masses_are_positive_balanced_and_blind_to_the_unit_of_weights(
    seed: int, label_weights: str, scale: float
) -> None:
    rng = np.random.default_rng(seed)
    lx, ly = (
        np.append(rng.choice(list("abc"), 19), "a"),
        np.append(rng.choice(list("abd"), 14), "a"),
    )
    wx, wy = rng.exponential(size=20) * (rng.random(20) < 0.8), rng.exponential(size=15)
    wx[-1] = 1.0
    parts = partition(20, 15, lx, ly, label_weights, scale * wx, wy)
    same = partition(20, 15, lx, ly, label_weights, wx, 3 * wy)
    assert sum(block.mass for block in parts.blocks) == pytest.approx(1)
    for block, other in zip(parts.blocks, same.blocks, strict=True):
        assert block.a.min() > 0
        assert block.b.min() > 0
        assert block.a.sum() == pytest.approx(block.b.sum(), rel=1e-14)
        np.testing.assert_allclose(block.a, other.a)
        np.testing.assert_allclose(block.b, other.b)
        np.testing.assert_allclose(block.a / block.a.sum(), wx[block.rows] / wx[block.rows].sum())
    whole = partition(20, 15, lx, ly, label_weights, np.ones(20), np.ones(15))
    for block, other in zip(
        whole.blocks, partition(20, 15, lx, ly, label_weights).blocks, strict=True
    ):
        np.testing.assert_allclose(block.a, other.a)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1, 2], "weights_x must hold one weight a cell: expected shape (3,), found (2,)."),
        ([[1, 2, 3]], "weights_x must hold one weight a cell: expected shape (3,), found (1, 3)."),
        (1.0, "weights_x must hold one weight a cell: expected shape (3,), found ()."),
        (
            [1, -0.5, -2],
            "weights_x must be finite and at least 0; found -0.5 in cell 1, and 2 such cells in all. A weight of 0 "
            "leaves a cell out.",
        ),
        (
            [1, 1, float("nan")],
            "weights_x must be finite and at least 0; found nan in cell 2, and 1 such cells in all. A weight of 0 "
            "leaves a cell out.",
        ),
        (
            [float("inf"), 1, 1],
            "weights_x must be finite and at least 0; found inf in cell 0, and 1 such cells in all. A weight of 0 "
            "leaves a cell out.",
        ),
        ([0, 0, 0], "weights_x are all 0, so no cell takes part. Pass None for equal weights."),
    ],
)
def test_weights_that_do_not_fit_are_refused(weights: object, message: str) -> None:
    for labels in (None, ["a", "a", "b"]):
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            partition(3, 3, labels, labels, weights_x=weights)
        with pytest.raises(
            ValueError, match=f"^{re.escape(message.replace('weights_x', 'weights_y'))}$"
        ):
            partition(3, 3, labels, labels, weights_y=weights)


# ------------------------------------------------------------------------------------------------- types of labels


@pytest.mark.parametrize(
    "x",
    [
        ["2", "1", None, "2"],
        np.array(["2", "1", None, "2"], dtype=object),
        [2, 1, None, 2],
        np.array([2.0, 1.0, np.nan, 2.0]),
        [2, "1", None, 2.0],
        pd.Categorical(["2", "1", None, "2"], categories=["2", "unused", "1"]),
        pd.Categorical([2, 1, None, 2]),
        pd.Series([2, 1, None, 2], dtype="Int64", index=[9, 8, 7, 6]),
        pd.Series(["2", "1", None, "2"], dtype="string"),
        pd.Series([2.0, 1.0, np.nan, 2.0]),
        pd.Index(["2", "1", pd.NA, "2"]),
    ],
    ids=lambda x: f"{type(x).__name__} {getattr(x, 'dtype', '')}",
)
@pytest.mark.parametrize(
    "y", [["1", "2", "3"], [1, 2, 3], pd.Categorical(["1", "2", "3"])], ids=["str", "int", "cat"]
)
def test_labels_of_every_type_are_compared_by_name(x: object, y: object) -> None:
    parts = partition(4, 3, x, y)
    assert [block.label for block in parts.blocks] == ["1", "2"]
    assert [block.rows.tolist() for block in parts.blocks] == [[1], [0, 3]]
    assert [block.columns.tolist() for block in parts.blocks] == [[0], [1]]
    assert parts.only_target == ("3",)
    assert parts.n_unlabeled == (1, 0)


def test_labels_of_more_dimensions_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r"labels must be one value a cell, .*; found shape \(2, 1\)"
    ):
        partition(2, 1, [["a"], ["a"]], ["a"])


# ------------------------------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            (2, 1, ["a", "b"], ["c"]),
            r"no label is shared, .* source has 'a', 'b', target has 'c'\. Are the labels",
        ),
        ((1, 1, [None], ["c"]), r"source has no labeled cell, target has 'c'"),
        ((7, 1, list("abcdefg"), ["z"]), r"source has 'a', 'b', 'c', 'd', 'e' and 2 more"),
        ((2, 1, ["a"], ["a"]), r"labels_x must hold one label a cell: expected 2, found 1"),
        (
            (1, 1, ["a"], None),
            r"a labeled alignment needs the labels of both modalities; labels_y is None",
        ),
        ((0, 1, None, None), r"both modalities need cells; found 0 source and 1 target cells"),
    ],
)
def test_what_does_not_fit_is_refused(arguments: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        partition(*arguments)
