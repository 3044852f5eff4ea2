"""Recall at k and reciprocal rank: by hand, by a plain loop, at chance."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scgroove.metrics import METRICS, mean_reciprocal_rank, partner_rank_per_cell, recall_at_k

X = np.array([[0.0], [1.0], [2.0]])
Y = np.array([[0.0], [2.1], [1.2]])
# x to y: x0: 0 2.1 1.2 -> 1; x1: 1 1.1 0.2 -> 3; x2: 2 0.1 0.8 -> 2; y to x: y0 -> 1; y1: 2.1 1.1 0.1 -> 2; y2: 1.2 0.2 0.8 -> 2


def test_by_hand() -> None:
    forth, back = partner_rank_per_cell(X, Y)
    assert forth.tolist() == [1, 3, 2]
    assert back.tolist() == [1, 2, 2]
    assert recall_at_k(X, Y) == pytest.approx(1 / 3)
    assert recall_at_k(X, Y, k=2) == pytest.approx((2 / 3 + 1) / 2)
    assert recall_at_k(X, Y, k=99) == 1
    assert mean_reciprocal_rank(X, Y) == pytest.approx(
        (np.mean([1, 1 / 3, 1 / 2]) + np.mean([1, 1 / 2, 1 / 2])) / 2
    )


def test_within_label_only_cells_of_the_label_compete() -> None:
    labels = ["a", "b", "b"]
    with pytest.raises(ValueError, match="no cell can be scored"):
        recall_at_k(X, Y, labels_x=["a", "b", "c"], labels_y=["a", "b", "c"])
    forth, back = partner_rank_per_cell(X, Y, labels_x=labels, labels_y=labels)
    np.testing.assert_array_equal(forth, [np.nan, 2, 2])
    np.testing.assert_array_equal(back, [np.nan, 2, 2])
    assert recall_at_k(X, Y, labels_x=labels, labels_y=labels, k=1) == 0
    assert mean_reciprocal_rank(X, Y, labels_x=labels, labels_y=labels) == 0.5


def _loop(
    x: np.ndarray, y: np.ndarray, lx: np.ndarray, ly: np.ndarray, k: int
) -> tuple[float, float]:
    def one(
        a: np.ndarray, b: np.ndarray, la: np.ndarray, lb: np.ndarray
    ) -> tuple[list[float], list[float]]:
        recall, reciprocal = [], []
        for i in range(len(a)):
            if la[i] is None or la[i] != lb[i] or (lb == la[i]).sum() < 2:
                continue
            distance = [((a[i] - b[j]) ** 2).sum() for j in range(len(b)) if lb[j] == la[i]]
            own = ((a[i] - b[i]) ** 2).sum()
            nearer, equal = sum(d < own for d in distance), sum(d == own for d in distance)
            places = [nearer + 1 + t for t in range(equal)]
            recall.append(float(np.mean([p <= k for p in places])))
            reciprocal.append(float(np.mean([1 / p for p in places])))
        return recall, reciprocal

    both = [one(x, y, lx, ly), one(y, x, ly, lx)]
    return tuple(float(np.mean([np.mean(d[m]) for d in both if d[m]])) for m in (0, 1))


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10**6), k=st.integers(1, 5))
def test_is_the_double_loop(seed: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    n = rng.integers(4, 12)
    x, y = (rng.integers(0, 3, (n, 2)).astype(float) for _ in range(2))
    names = np.array(["a", "a", "b", None], dtype=object)
    lx = names[rng.integers(0, 4, n)]
    ly = np.where(rng.random(n) < 0.8, lx, "b")
    lx[:2] = ly[:2] = "a"
    recall, reciprocal = _loop(x, y, lx, ly, k)
    assert recall_at_k(x, y, k=k, labels_x=lx, labels_y=ly) == pytest.approx(recall)
    assert mean_reciprocal_rank(x, y, labels_x=lx, labels_y=ly) == pytest.approx(reciprocal)


def test_invariances_and_chance() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(300, 3)), rng.normal(size=(300, 3))
    assert recall_at_k(x, y, k=30) == pytest.approx(0.1, abs=0.03)
    assert mean_reciprocal_rank(x, y) == pytest.approx((1 / np.arange(1, 301)).mean(), abs=0.02)
    order = rng.permutation(300)
    for metric in (recall_at_k, mean_reciprocal_rank):
        assert metric(3 * x + 1, 3 * y[order] + 1, np.argsort(order)) == pytest.approx(metric(x, y))
        assert metric(x, x.copy()) == 1
        assert metric(x, 7 * x, metric="cosine") == 1
    assert METRICS.get("recall_at_k") is recall_at_k


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"k, the number of nearest candidates, must be at least 1; found 0"
    ):
        recall_at_k(X, Y, k=0)
    with pytest.raises(
        ValueError, match=r"x and y must lie in one space: found 1 and 2 dimensions"
    ):
        mean_reciprocal_rank(X, np.ones((3, 2)))
