"""Rank, variance and retention inside labels: by hand, by plain loops, by chance."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ortho_group
from sklearn.linear_model import LinearRegression

from scgroove.errors import MissingTruthError
from scgroove.metrics import (
    retention,
    within_label_rank,
    within_label_variance,
)

# ------------------------------------------------------------------------------------------------ rank and variance


def test_rank_by_hand() -> None:
    # eigenvalues 8 and 2 of the sums of squares: shares 0.8 and 0.2
    cross = np.array([[2.0, 0.0], [-2.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    line, point = np.outer([0.0, 1.0, 5.0], [1.0, -1.0]), np.full((2, 2), 7.3)
    z = np.vstack([cross + 5, line, point, [[9.0, 9.0]], [[0.0, 0.0]]])
    labels = ["cross"] * 4 + ["line"] * 3 + ["point"] * 2 + ["alone", None]
    found = within_label_rank(z, labels, per="label")
    by_hand = 0.8**-0.8 * 0.2**-0.2
    assert list(found) == ["alone", "cross", "line", "point"]
    np.testing.assert_allclose([*found.values()], [np.nan, by_hand, 1.0, 0.0], atol=1e-9)
    assert within_label_rank(z, labels) == pytest.approx((by_hand + 1) / 3)


def test_variance_by_hand() -> None:
    # around its mean 0 label a has mean square 1, around 10 label b 4; all around 5: 25 + (1 + 4) / 2
    z, labels = [[-1.0], [1.0], [8.0], [12.0], [100.0]], ["a", "a", "b", "b", None]
    found = within_label_variance(z, labels, per="label")
    assert found == pytest.approx({"a": 1 / 27.5, "b": 4 / 27.5})
    assert within_label_variance(z, labels) == pytest.approx(2.5 / 27.5)
    alone = within_label_variance([*z, [5.0]], [*labels, "c"], per="label")
    np.testing.assert_allclose(
        [*alone.values()], [1 / 22, 4 / 22, np.nan]
    )  # mean square of all: 110 / 5
    assert within_label_variance([*z, [5.0]], [*labels, "c"]) == pytest.approx(2.5 / 27.5)


@pytest.mark.parametrize("k", [1, 3, 8])
def test_as_many_directions_as_a_gaussian_has(k: int) -> None:
    rng = np.random.default_rng(k)
    z = rng.normal(size=(4000, k)) @ ortho_group.rvs(10, random_state=k)[:k]
    labels = np.repeat(["a", "b"], 2000)
    z[labels == "b"] += 3.0
    assert within_label_rank(z, labels) == pytest.approx(k, rel=0.01)


def test_few_cells_in_many_dimensions() -> None:
    z = np.eye(5)[:, :4] @ np.ones((4, 300)) + np.random.default_rng(0).normal(size=(5, 300))
    assert within_label_rank(z, ["a"] * 5) <= 4  # five cells span four directions
    directly = np.linalg.svd(z - z.mean(axis=0), compute_uv=False) ** 2
    share = directly[:4] / directly.sum()
    assert within_label_rank(z, ["a"] * 5) == pytest.approx(np.exp(-(share * np.log(share)).sum()))


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    scale=st.sampled_from([1e-6, 0.1, 1.0, 1e6]),
    shift=st.floats(-10, 10),
)
def test_rotation_shift_and_scale_change_nothing(seed: int, scale: float, shift: float) -> None:
    rng = np.random.default_rng(seed)
    n, d = rng.integers(4, 30), rng.integers(2, 7)
    z = rng.normal(size=(n, d)) * rng.uniform(0.01, 3, d)
    labels = rng.integers(0, 3, n)
    labels[:2] = 0
    turned = scale * (z @ ortho_group.rvs(d, random_state=seed) + shift)
    for metric in (within_label_rank, within_label_variance):
        one, other = metric(turned, labels, per="label"), metric(z, labels, per="label")
        assert one == pytest.approx(other, rel=1e-6, abs=1e-9, nan_ok=True)
        assert metric(turned, labels) == pytest.approx(metric(z, labels), rel=1e-6, abs=1e-9)
    assert 0 <= within_label_variance(z, labels) <= 1
    assert within_label_rank(z, labels) <= d + 1e-9


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_shares_of_labels_add_up(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = np.repeat(["a", "b", "c"], rng.integers(2, 20, 3))
    z = rng.normal(size=(labels.size, 3)) + 3 * (labels == "b")[:, None]
    each = within_label_variance(z, labels, per="label")
    weighted = sum(each[name] * np.mean(labels == name) for name in "abc")
    assert within_label_variance(z, labels) == pytest.approx(weighted)


def test_points_have_neither_rank_nor_variance() -> None:
    z, labels = (
        np.full((6, 3), 0.1) * np.array([[1.0], [1.0], [1.0], [3.0], [3.0], [3.0]]),
        list("aaabbb"),
    )
    assert (within_label_rank(z, labels), within_label_variance(z, labels)) == (0, 0)
    assert within_label_variance(z[:3], list("aab"), per="label")["a"] == 0  # all in one point
    assert within_label_variance(z[:3], list("aaa")) == 0


# -------------------------------------------------------------------------------------------------------- retention

LABELS = np.repeat(["a", "b", "c"], 80)
OF_LABEL = np.repeat([0.0, 5.0, -9.0], 80)


def _z(seed: int, d: int = 6) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(LABELS.size, d)) + OF_LABEL[:, None]


def test_what_lies_in_z_is_retained_and_noise_is_not() -> None:
    z, rng = _z(0), np.random.default_rng(1)
    exact = z @ rng.normal(size=6)
    half = z[:, 0] + rng.normal(size=LABELS.size)
    noise = rng.normal(size=LABELS.size)
    found = retention(z, np.column_stack([exact, half, noise]), LABELS)
    assert found[0].value == pytest.approx(1, abs=1e-6)
    assert found[1].value == pytest.approx(0.5, abs=0.1)
    assert -0.15 < found[2].value < 0.05
    for one in found:
        assert one.n == LABELS.size
        assert one.chance == pytest.approx(0, abs=0.05)
        assert one.chance_sd > 0
    assert found[1].value > found[1].chance + 5 * found[1].chance_sd


def test_what_the_label_tells_counts_for_nothing() -> None:
    z, rng = _z(2), np.random.default_rng(3)
    between = OF_LABEL + 0.01 * rng.normal(size=LABELS.size)
    inside = retention(z, between, LABELS)[0]
    assert inside.value < 0.05
    assert retention(z, between)[0].value > 0.9  # without labels it is read easily
    constant = retention(z, OF_LABEL + 0.1, LABELS)[0]
    assert (constant.value, constant.chance, constant.n) == (0, 0, 0)


def test_chance_is_the_mean_over_noise() -> None:
    found = [
        retention(_z(seed), np.random.default_rng(seed + 100).normal(size=LABELS.size), LABELS)[0]
        for seed in range(12)
    ]
    values, chances = [f.value for f in found], [f.chance for f in found]
    assert np.mean(values) == pytest.approx(np.mean(chances), abs=0.02)


def test_mirrored_pairs_tell_nothing() -> None:
    rng = np.random.default_rng(4)  # of two cells centered together, one would give the other away
    found = retention(rng.normal(size=(80, 60)), rng.normal(size=80), np.repeat(np.arange(40), 2))
    assert found[0].value < 0.1


def test_is_the_plain_regression_where_cells_are_many() -> None:
    z, rng = _z(5), np.random.default_rng(6)
    t = 2 * z[:, 1] + rng.normal(size=LABELS.size)
    centered = [v - np.array([v[name == LABELS].mean(axis=0) for name in LABELS]) for v in (z, t)]
    assert retention(z, t, LABELS)[0].value == pytest.approx(LinearRegression().fit(*centered).score(*centered), abs=0.04)  # fmt: skip


def test_neither_order_rotation_nor_scale_matters_to_numbers() -> None:
    z, rng = _z(7), np.random.default_rng(8)
    t = z[:, 0] + rng.normal(size=LABELS.size)
    value = retention(z, t, LABELS)[0].value
    order = rng.permutation(LABELS.size)
    assert retention(z[order], t[order], LABELS[order])[0].value == pytest.approx(value, rel=1e-9)
    turned = 1e4 * z @ ortho_group.rvs(6, random_state=0) + 3
    assert retention(turned, 7 + 1e-3 * t, LABELS)[0].value == pytest.approx(value, rel=1e-6)


def test_unknown_values_are_left_out() -> None:
    z, t = _z(11), _z(11)[:, 0]
    labels = LABELS.astype(object)
    labels[:40] = None
    t[100:120] = np.nan
    kept = np.r_[40:100, 120:240]
    assert retention(z, t, labels) == retention(z[kept], t[kept], labels[kept])


def test_no_warnings_and_the_same_twice() -> None:
    z, t = _z(12)[::9], _z(13)[::9, :2]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert retention(z, t, LABELS[::9]) == retention(z, t, LABELS[::9])


# -------------------------------------------------------------------------------------------------------- bad input

SQUARE = np.arange(8.0).reshape(4, 2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: within_label_rank([1.0, 2.0], ["a", "a"]), r"z must be a matrix \(n, d\).*found shape \(2,\)"),
        (lambda: within_label_rank([[np.nan], [1.0]], ["a", "a"]), r"z holds NaN or infinite values in 1 of 2 rows"),
        (lambda: within_label_variance(SQUARE, ["a"]), r"labels must hold one label a cell: expected 4, found 1"),
        (lambda: within_label_rank(SQUARE, list("abcd")), r"no label has two cells.*names of cells"),
        (lambda: within_label_variance(SQUARE, [None] * 4), r"no label has two cells"),
        (lambda: retention(SQUARE, [1.0, 2.0]), r"one row a cell: expected \(4, c\), found float64 of shape \(2,\)"),
        (lambda: retention(SQUARE, np.ones((4, 1, 1))), r"found float64 of shape \(4, 1, 1\)"),
        (lambda: retention(SQUARE, [1.0, np.inf, 0.0, 0.0]), r"covariates hold 1 infinite values"),
        (lambda: retention(SQUARE, list("abab")), r"covariates must be numbers"),
        (lambda: retention(SQUARE, np.arange(4.0), n_splits=1), r"n_splits must be at least 2; found 1"),
        (lambda: retention(SQUARE, np.arange(4.0), ["a"]), r"labels must hold one label a cell"),
    ],
)  # fmt: skip
def test_bad_input_is_refused(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_labels_of_one_cell_have_nothing_to_score() -> None:
    with pytest.raises(MissingTruthError):
        within_label_rank(SQUARE, list("abcd"))
