"""Ranks by distance (FOSCTTM, recall, reciprocal rank): by hand, by brute force, bad input."""

from __future__ import annotations

import tracemalloc
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scgroove.metrics import _ranks, foscttm, score
from scgroove.metrics._ranks import FRACTION_BEFORE, RECIPROCAL, Ranks, recall_rule


def per_cell(x: Any, y: Any, partner: Any = None, **options: Any) -> tuple[np.ndarray, np.ndarray]:
    return foscttm(x, y, partner, per="cell", **options)


def test_by_hand() -> None:
    x = [[0.0], [10.0], [20.0]]
    y = [[1.0], [21.0], [11.0]]
    # x0: own 1, others 21, 11 -> 0; x1: own 11, others 9, 1 -> 1; x2: own 9, others 19, 1 -> 1/2
    # y0: own 1 -> 0; y1: own 11, others 21, 1 -> 1/2; y2: own 9, others 11, 1 -> 1/2
    fx, fy = per_cell(x, y)
    np.testing.assert_allclose(fx, [0, 1, 0.5])
    np.testing.assert_allclose(fy, [0, 0.5, 0.5])
    assert foscttm(x, y) == pytest.approx((0.5 + 1 / 3) / 2)
    assert foscttm(x, [[20.1], [0.1], [10.1]], partner=[1, 2, 0]) == 0


def test_cells_without_a_match_are_candidates_but_not_scored() -> None:
    x, y = [[0.0], [10.0]], [[2.0], [1.0], [9.0]]
    fx, fy = per_cell(x, y, partner=[0, -1])
    np.testing.assert_allclose(fx, [0.5, np.nan])
    np.testing.assert_allclose(fy, [0, np.nan, np.nan])
    assert foscttm(x, y, partner=[0, -1]) == 0.25


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_a_true_match_at_the_same_place_is_never_lost_to_rounding(metric: Any) -> None:
    z = 1e3 + 1e-4 * np.random.default_rng(0).normal(size=(200, 16))
    assert foscttm(z, z.copy(), metric=metric) == 0
    assert foscttm(np.full((5, 3), 0.1), np.full((5, 3), 0.1)) == 0.5


def test_cosine_ranks_by_angle() -> None:
    x = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    y = x * np.array([[5.0], [0.01], [100.0]])
    assert foscttm(x, y, metric="cosine") == 0
    assert foscttm(x, y) == 0.25


def test_within_label_compares_cells_of_one_label() -> None:
    x = np.array([[0.0], [1.0], [0.0], [1.0]])
    y = np.array([[0.1], [0.9], [0.0], [1.0]])
    labels = {"labels_x": ["a", "a", "b", "b"], "labels_y": ["a", "a", "b", "b"]}
    assert foscttm(x, y, **labels) == 0
    assert foscttm(x, y, **labels, within_label=False) == foscttm(x, y) > 0


def test_within_label_leaves_out_cells_that_cannot_be_scored() -> None:
    z = np.arange(7.0)[:, None]
    labels_x = ["a", "a", "b", None, "c", "d", "d"]
    # b: one candidate; None: unlabeled; c: the match has label a
    labels_y = ["a", "a", "b", "a", "a", "d", "d"]
    fx, fy = per_cell(z, z, labels_x=labels_x, labels_y=labels_y)
    assert np.isnan(fx).tolist() == [False, False, True, True, True, False, False]
    assert np.isnan(fy).tolist() == [False, False, True, True, True, False, False]


def test_labels_are_compared_by_name_not_by_code() -> None:
    z = np.random.default_rng(0).normal(size=(6, 2))
    labels = ["b", "a", "b", "a", "b", "a"]
    one = pd.Categorical(labels, categories=["a", "b"])
    other = pd.Categorical(labels, categories=["b", "x", "a"])
    same = foscttm(z, z[::-1], labels_x=labels, labels_y=labels)
    assert foscttm(z, z[::-1], labels_x=one, labels_y=other) == same


def _places(a: Any, b: Any, match: Any, la: Any, lb: Any) -> list[tuple[int, int, int]]:
    """Return (nearer, ties, candidates) of each cell that can be scored, by a double loop."""
    found = []
    for i, p in enumerate(match):
        if p < 0 or la[i] is None or la[i] != lb[p]:
            continue
        others = [j for j in range(len(b)) if lb[j] == la[i] and j != p]
        own, distance = (((a[i] - b[p]) ** 2).sum(), [((a[i] - b[j]) ** 2).sum() for j in others])
        if others:
            nearer, ties = sum(d < own for d in distance), sum(d == own for d in distance)
            found.append((nearer, ties, len(others) + 1))
    return found


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_is_the_double_loop_in_tiles_of_any_size(data: st.DataObject) -> None:
    n_x, n_y = data.draw(st.integers(2, 13)), data.draw(st.integers(2, 13))
    rng = np.random.default_rng(data.draw(st.integers(0, 10**6)))
    x, y = rng.integers(0, 3, (n_x, 2)).astype(float), rng.integers(0, 3, (n_y, 2)).astype(float)
    partner = np.full(n_x, -1)
    n_known = rng.integers(1, min(n_x, n_y) + 1)  # few: each direction alone; many: in one pass
    partner[rng.permutation(n_x)[:n_known]] = rng.permutation(n_y)[:n_known]
    back = np.full(n_y, -1)
    back[partner[partner >= 0]] = np.flatnonzero(partner >= 0)
    names = np.array(["a", "b", None], dtype=object)
    lx, ly = names[rng.integers(0, 3, n_x)], names[rng.integers(0, 3, n_y)]
    if data.draw(st.booleans()):
        lx, ly = np.full(n_x, "a", dtype=object), np.full(n_y, "a", dtype=object)
    both = _places(x, y, partner, lx, ly), _places(y, x, back, ly, lx)
    means = [
        np.mean([(nearer + ties / 2) / (n - 1) for nearer, ties, n in places])
        for places in both
        if places
    ]
    rows, columns = data.draw(st.integers(1, 300)), data.draw(st.integers(1, 5))
    with mock.patch.multiple(_ranks, ROWS=min(rows, 240), COLUMNS=columns):
        if means:
            found = foscttm(x, y, partner, labels_x=lx, labels_y=ly)
            assert found == pytest.approx(np.mean(means), abs=1e-12)
        else:
            with pytest.raises(ValueError, match="no cell can be scored"):
                foscttm(x, y, partner, labels_x=lx, labels_y=ly)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_is_symmetric_and_does_not_depend_on_the_order_of_cells(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, y, labels = rng.normal(size=(12, 3)), rng.normal(size=(12, 3)), rng.integers(0, 3, 12)
    value = foscttm(x, y, labels_x=labels, labels_y=labels)
    assert foscttm(y, x, labels_x=labels, labels_y=labels) == pytest.approx(value)
    order = rng.permutation(12)
    shuffled = foscttm(x, y[order], np.argsort(order), labels_x=labels, labels_y=labels[order])
    assert shuffled == pytest.approx(value)


@pytest.mark.parametrize("n", [3, 17, 241, 700])
@pytest.mark.parametrize("d", [1, 16, 33])
def test_a_pair_has_the_same_distance_in_every_tile(n: int, d: int) -> None:
    """Copies of one cell tie with the match, and the match with itself, in every tile."""
    rng = np.random.default_rng(n * d)
    x = rng.normal(size=(n, d)) * 10.0 ** rng.integers(-3, 4, (n, 1))
    forth, _ = per_cell(x, np.repeat(x[:1] + 0.1, n, axis=0))
    assert (forth == 0.5).all()


def test_more_cells_than_a_byte_counts() -> None:
    x = np.arange(1000.0)[:, None]
    order = np.random.default_rng(0).permutation(1000)
    forth, back = per_cell(x, x[order], np.argsort(order))
    assert (forth == 0).all()
    assert (back == 0).all()


def test_memory_is_linear_in_the_cells() -> None:
    z = np.random.default_rng(0).normal(size=(12000, 2))
    tracemalloc.start()
    foscttm(z, z)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 120e6  # the whole matrix of distances would take 1.15 GB


def test_recall_and_reciprocal_rank_by_hand() -> None:
    x, y = np.array([[0.0], [1.0], [2.0]]), np.array([[0.0], [2.1], [1.2]])
    # ranks: x to y 1, 3, 2; y to x 1, 2, 2
    cells = {"x": x, "y": y, "partner": np.arange(3)}
    assert score("recall_at_1_global", **cells).value == pytest.approx(1 / 3)
    mean = (np.mean([1, 1 / 3, 1 / 2]) + np.mean([1, 1 / 2, 1 / 2])) / 2
    assert score("mean_reciprocal_rank_global", **cells).value == pytest.approx(mean)
    cells |= {"labels_x": ["a", "b", "b"], "labels_y": ["a", "b", "b"]}
    assert score("recall_at_1_within_label", **cells).value == 0  # both of b have rank 2
    assert score("mean_reciprocal_rank_within_label", **cells).value == 0.5


@given(
    n=st.integers(2, 30), before=st.integers(0, 29), ties=st.integers(0, 29), k=st.integers(1, 40)
)
def test_rules_are_means_over_the_orders_of_the_ties(
    n: int, before: int, ties: int, k: int
) -> None:
    before = min(before, n - 1)
    ties = min(ties, n - 1 - before)
    ranks = Ranks(*(np.array([float(part)]) for part in (before, ties, n)))
    places = range(before + 1, before + ties + 2)
    assert FRACTION_BEFORE(ranks)[0] == pytest.approx(np.mean([(p - 1) / (n - 1) for p in places]))
    assert recall_rule(k)(ranks)[0] == pytest.approx(np.mean([p <= k for p in places]))
    assert RECIPROCAL(ranks)[0] == pytest.approx(np.mean([1 / p for p in places]))
    every = Ranks(np.arange(float(n)), np.zeros(n), np.full(n, float(n)))
    for rule in (FRACTION_BEFORE, recall_rule(k), RECIPROCAL):
        assert float(rule.expected(np.array(n))) == pytest.approx(rule(every).mean())


Z = np.arange(6.0).reshape(3, 2)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((Z, Z[:2]), {}, "equal numbers of cells; found 3 and 2"),
        ((Z, Z[:, :1]), {}, "x and y must lie in one space: found 2 and 1 dimensions"),
        ((Z[0], Z), {"partner": [0, 1]}, r"x must be a matrix \(n, d\); found shape \(2,\)"),
        ((Z, np.where(Z == 3, np.nan, Z)), {}, "y holds NaN or infinite values in 1 of 3 rows"),
        ((Z, Z, [0, 1]), {}, "one row a source cell; found .*'partner': 2"),
        ((Z, Z, [0.0, 1.0, 2.0]), {}, "partner must be integers, .* found float64"),
        ((Z, Z, [0, 1, 3]), {}, r"between 0 and 2 \(rows of y\), or -1"),
        ((Z, Z, [0, 1, 1]), {}, "partner points twice to one row of y"),
        ((Z, Z, [-1, -1, -1]), {}, "no true match is known"),
        ((Z, Z), {"labels_x": ["a"] * 3}, "labels_y is None"),
        ((Z, Z), {"labels_x": ["a"] * 3, "labels_y": ["a"]}, "'labels_y': 1"),
        ((Z, Z), {"within_label": True}, "pass labels_x"),
        ((Z, Z), {"labels_x": list("abc"), "labels_y": list("abc")}, "no cell can be scored"),
        ((Z, Z), {"metric": "manhattan"}, "metric must be 'euclidean' or 'cosine'"),
        ((0 * Z, Z), {"metric": "cosine"}, "3 rows of x are all zero"),
    ],
)
def test_bad_input_is_refused(arguments: tuple, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        foscttm(*arguments, **options)
