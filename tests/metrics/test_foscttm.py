"""FOSCTTM of representations: by hand, by brute force, and what it refuses."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scgroove.metrics import METRICS, foscttm, foscttm_per_cell


def test_by_hand() -> None:
    x = [[0.0], [10.0], [20.0]]
    y = [[1.0], [21.0], [11.0]]
    # x0: own 1, others 21, 11 -> 0; x1: own 11, others 9, 1 -> 1; x2: own 9, others 19, 1 -> 1/2
    # y0: own 1 -> 0; y1: own 11, others 21, 1 -> 1/2; y2: own 9, others 11, 1 -> 1/2
    fx, fy = foscttm_per_cell(x, y)
    np.testing.assert_allclose(fx, [0, 1, 0.5])
    np.testing.assert_allclose(fy, [0, 0.5, 0.5])
    assert foscttm(x, y) == pytest.approx((0.5 + 1 / 3) / 2)


def test_partner_says_who_is_whose() -> None:
    x = [[0.0], [10.0], [20.0]]
    assert foscttm(x, [[20.1], [0.1], [10.1]], partner=[1, 2, 0]) == 0


def test_cells_without_a_match_are_candidates_but_not_scored() -> None:
    x = [[0.0], [10.0]]
    y = [[2.0], [1.0], [9.0]]
    fx, fy = foscttm_per_cell(x, y, partner=[0, -1])
    np.testing.assert_allclose(fx, [0.5, np.nan])
    np.testing.assert_allclose(fy, [0, np.nan, np.nan])
    assert foscttm(x, y, partner=[0, -1]) == 0.25


def test_ties_count_one_half_and_identical_cells_are_at_chance() -> None:
    x = np.full((5, 3), 0.1)
    assert foscttm(x, x) == 0.5


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_a_true_match_at_the_same_place_is_never_lost_to_rounding(metric: str) -> None:
    z = 1e3 + 1e-4 * np.random.default_rng(0).normal(size=(200, 16))
    assert foscttm(z, z.copy(), metric=metric) == 0


def test_cosine_ranks_by_angle() -> None:
    x = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    y = x * np.array([[5.0], [0.01], [100.0]])
    assert foscttm(x, y, metric="cosine") == 0
    assert foscttm(x, y) == 0.25


def test_within_label_compares_cells_of_one_label() -> None:
    x = np.array([[0.0], [1.0], [0.0], [1.0]])
    y = np.array([[0.1], [0.9], [0.0], [1.0]])
    labels = ["a", "a", "b", "b"]
    assert foscttm(x, y, labels_x=labels, labels_y=labels) == 0
    assert foscttm(x, y, labels_x=labels, labels_y=labels, within_label=False) == foscttm(x, y) > 0


def test_within_label_leaves_out_who_cannot_be_scored() -> None:
    z = np.arange(7.0)[:, None]
    labels_x = ["a", "a", "b", None, "c", "d", "d"]
    labels_y = [
        "a",
        "a",
        "b",
        "a",
        "a",
        "d",
        "d",
    ]  # b: one candidate; None: unlabeled; c: match has label a
    fx, fy = foscttm_per_cell(z, z, labels_x=labels_x, labels_y=labels_y)
    assert np.isnan(fx).tolist() == [False, False, True, True, True, False, False]
    assert np.isnan(fy).tolist() == [False, False, True, True, True, False, False]


def test_labels_are_compared_by_name_not_by_code() -> None:
    import pandas as pd

    z = np.random.default_rng(0).normal(size=(6, 2))
    labels = ["b", "a", "b", "a", "b", "a"]
    one = pd.Categorical(labels, categories=["a", "b"])
    other = pd.Categorical(labels, categories=["b", "x", "a"])
    w = z[::-1]
    assert foscttm(z, w, labels_x=one, labels_y=other) == foscttm(
        z, w, labels_x=labels, labels_y=labels
    )


def _brute_force(x, y, partner, lx, ly) -> float:
    def one(a, b, match, la, lb) -> list[float]:
        shares = []
        for i, p in enumerate(match):
            if p < 0 or la[i] is None or la[i] != lb[p]:
                continue
            others = [j for j in range(len(b)) if lb[j] == la[i] and j != p]
            if not others:
                continue
            own = np.sqrt(((a[i] - b[p]) ** 2).sum())
            distances = [np.sqrt(((a[i] - b[j]) ** 2).sum()) for j in others]
            shares.append(sum((d < own) + 0.5 * (d == own) for d in distances) / len(others))
        return shares

    back = np.full(len(y), -1)
    for i, p in enumerate(partner):
        if p >= 0:
            back[p] = i
    both = [one(x, y, partner, lx, ly), one(y, x, back, ly, lx)]
    means = [np.mean(shares) for shares in both if shares]
    return float(np.mean(means)) if means else np.nan


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_is_the_double_loop(data: st.DataObject) -> None:
    n_x, n_y = data.draw(st.integers(2, 9)), data.draw(st.integers(2, 9))
    rng = np.random.default_rng(data.draw(st.integers(0, 10**6)))
    x, y = rng.integers(0, 3, (n_x, 2)).astype(float), rng.integers(0, 3, (n_y, 2)).astype(float)
    partner = np.full(n_x, -1)
    n_known = rng.integers(1, min(n_x, n_y) + 1)
    partner[rng.permutation(n_x)[:n_known]] = rng.permutation(n_y)[:n_known]
    within = data.draw(st.booleans())
    names = np.array(["a", "b", None], dtype=object)
    lx, ly = (
        names[rng.integers(0, 3, n)] if within else np.full(n, "a", dtype=object)
        for n in (n_x, n_y)
    )
    block_size = data.draw(st.sampled_from([None, 1, 2]))
    expected = _brute_force(x, y, partner, lx, ly)
    options = {"labels_x": lx, "labels_y": ly, "block_size": block_size}
    if np.isnan(expected):
        with pytest.raises(ValueError, match="no cell can be scored"):
            foscttm(x, y, partner, **options)
    else:
        assert foscttm(x, y, partner, **options) == pytest.approx(expected, abs=1e-12)


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
    assert 0 <= value <= 1


def test_unrelated_representations_are_at_chance() -> None:
    rng = np.random.default_rng(0)
    assert foscttm(rng.normal(size=(400, 4)), rng.normal(size=(400, 4))) == pytest.approx(
        0.5, abs=0.02
    )


def test_memory_is_linear_in_the_cells() -> None:
    z = np.random.default_rng(0).normal(size=(12000, 2))
    tracemalloc.start()
    foscttm(z, z)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 120e6  # the whole matrix of distances would take 1.15 GB


def test_is_registered() -> None:
    assert METRICS.get("foscttm") is foscttm
    assert {"barycentric_foscttm", "foscttm_coupling", "trace", "trace_over_chance"} <= set(
        METRICS.names()
    )


Z = np.arange(6.0).reshape(3, 2)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (
            (Z, Z[:2]),
            {},
            r"row i of x is taken for row i of y, which needs equal numbers of cells; found 3 and 2",
        ),
        ((Z, Z[:, :1]), {}, r"x and y must lie in one space: found 2 and 1 dimensions"),
        ((Z[0], Z), {}, r"x must be a matrix \(n, d\); found shape \(2,\)"),
        ((Z, np.where(Z == 3, np.nan, Z)), {}, r"y holds NaN or infinite values in 1 of 3 rows"),
        (
            (Z, Z, [0, 1]),
            {},
            r"partner must be integers, one a row of x: expected shape \(3,\), found int64",
        ),
        ((Z, Z, [0.0, 1.0, 2.0]), {}, r"partner must be integers, .* found float64"),
        (
            (Z, Z, [0, 1, 3]),
            {},
            r"between 0 and 2 \(rows of y\), or -1 for none; found values from 0 to 3",
        ),
        ((Z, Z, [0, 1, 1]), {}, r"partner points twice to one row of y"),
        ((Z, Z, [-1, -1, -1]), {}, r"no true match is known"),
        (
            (Z, Z),
            {"labels_x": ["a"] * 3},
            r"labels of both modalities are needed; labels_y is None",
        ),
        (
            (Z, Z),
            {"labels_x": ["a"] * 3, "labels_y": ["a"]},
            r"labels_y must hold .*: expected 3, found 1",
        ),
        (
            (Z, Z),
            {"within_label": True},
            r"within_label=True compares cells of one label: pass labels_x",
        ),
        ((Z, Z), {"labels_x": list("abc"), "labels_y": list("abc")}, r"no cell can be scored"),
        (
            (Z, Z),
            {"metric": "manhattan"},
            r"metric must be 'euclidean' or 'cosine'; found 'manhattan'",
        ),
        (
            (0 * Z, Z),
            {"metric": "cosine"},
            r"metric='cosine' needs a direction: 3 rows of x are all zero",
        ),
        ((Z, Z), {"block_size": 0}, "block_size must be a whole number of at least 1"),
    ],
)
def test_what_does_not_fit_is_refused(arguments: tuple, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        foscttm(*arguments, **options)
