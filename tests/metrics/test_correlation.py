"""Correlations of imputed values: by hand, against SciPy, with what is constant or missing."""

from __future__ import annotations

from collections.abc import Callable
from unittest import mock

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import pearsonr, spearmanr

from scgroove.metrics import (
    _values,
    control_mean,
    pearson_per_cell,
    pearson_per_feature,
    spearman_per_cell,
    spearman_per_feature,
)

ALL = (pearson_per_feature, pearson_per_cell, spearman_per_feature, spearman_per_cell)
NAN = np.nan


def _loop(p: np.ndarray, m: np.ndarray, correlation: Callable) -> float:
    """Return the correlation of two vectors, with the rules for constant and missing values."""
    kept = ~(np.isnan(p) | np.isnan(m))
    p, m = p[kept], m[kept]
    if p.size < 2 or (m == m[0]).all():
        return NAN
    return 0.0 if (p == p[0]).all() else correlation(p, m)[0]


def test_by_hand() -> None:
    predicted = np.array([[1.0, 5.0, 2.0], [2.0, 5.0, 1.0], [4.0, 5.0, 0.0]])
    measured = np.array([[0.0, 1.0, 7.0], [1.0, 4.0, 7.0], [3.0, 2.0, 7.0]])
    # 1: measured = predicted - 1; 2: the prediction is constant; 3: the measurement is
    np.testing.assert_allclose(pearson_per_feature(predicted, measured), [1, 0, NAN])
    np.testing.assert_allclose(spearman_per_feature(predicted, measured), [1, 0, NAN])
    np.testing.assert_allclose(spearman_per_cell(predicted, measured), [0.5, -0.5, -1])


@pytest.mark.parametrize("metric", ALL)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_is_scipy_column_by_column(metric: Callable, data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 10**6)))
    n, f = rng.integers(1, 9), rng.integers(1, 7)
    draw = (
        (lambda: rng.integers(0, 3, (n, f)).astype(float))
        if rng.random() < 0.5
        else (lambda: rng.normal(size=(n, f)))
    )
    p, m = draw(), draw()
    p[rng.random((n, f)) < 0.15] = NAN
    m[rng.random((n, f)) < 0.15] = NAN
    scipy = pearsonr if "pearson" in metric.__name__ else spearmanr
    pairs = zip(p.T, m.T, strict=True) if "feature" in metric.__name__ else zip(p, m, strict=True)
    expected = [_loop(a, b, scipy) for a, b in pairs]
    with mock.patch.object(_values, "CHUNK_VALUES", data.draw(st.sampled_from([1, 7, 2**20]))):
        np.testing.assert_allclose(metric(p, m, nan="omit"), expected, atol=1e-12)


@pytest.mark.parametrize("metric", ALL)
def test_sparse_and_single_precision_are_alike(metric: Callable) -> None:
    rng = np.random.default_rng(0)
    p, m = (rng.poisson(1.0, (30, 12)).astype(float) for _ in range(2))
    expected = metric(p, m)
    np.testing.assert_allclose(metric(sp.csr_matrix(p), sp.csc_array(m)), expected, atol=1e-12)
    np.testing.assert_allclose(metric(p.astype(np.float32), m.astype(int)), expected, atol=1e-12)


@pytest.mark.parametrize("metric", ALL)
def test_invariances(metric: Callable) -> None:
    rng = np.random.default_rng(1)
    p, m = rng.normal(size=(25, 6)), rng.normal(size=(25, 6))
    order, features = rng.permutation(25), rng.permutation(6)
    expected = metric(p, m)
    moved = expected[features] if "feature" in metric.__name__ else expected[order]
    np.testing.assert_allclose(
        metric(p[order][:, features], m[order][:, features]), moved, atol=1e-12
    )
    np.testing.assert_allclose(metric(3 * p + 2, 5 * m - 1), expected, atol=1e-12)
    np.testing.assert_allclose(metric(p, -m), -expected, atol=1e-12)
    np.testing.assert_allclose(metric(m, m), 1)


def test_what_varies_by_rounding_only_is_constant() -> None:
    rng = np.random.default_rng(2)
    m = rng.normal(size=(50, 3))
    weights = rng.random((50, 50))
    same = (weights / weights.sum(axis=1, keepdims=True)) @ np.full((50, 3), 0.1)
    assert np.ptp(same) > 0  # means of equal values, equal up to rounding
    assert (pearson_per_feature(same, m) == 0).all()
    assert (spearman_per_feature(same, m) == 0).all()
    assert (pearson_per_feature(same.astype(np.float32), m) == 0).all()
    assert np.isnan(pearson_per_feature(m, same)).all()
    assert (pearson_per_feature(control_mean(m, ["c"] * 50, "c", 50), m) == 0).all()


def test_missing_values_are_an_error_unless_left_out() -> None:
    p, m = np.ones((3, 2)), np.arange(6.0).reshape(3, 2)
    p[1, 0] = NAN
    with pytest.raises(
        ValueError, match=r"predicted holds 1 missing values \(NaN\). Pass nan='omit'"
    ):
        pearson_per_feature(p, m)
    assert np.isnan(pearson_per_cell(p, m, nan="omit")[1])  # one pair is left


@pytest.mark.parametrize(
    ("predicted", "measured", "options", "message"),
    [
        (
            np.ones((2, 3)),
            np.ones((3, 3)),
            {},
            r"found shapes \(2, 3\) and \(3, 3\). Take measured\[partner\]",
        ),
        (
            np.ones(3),
            np.ones(3),
            {},
            r"predicted must be numbers, one row a cell.*found float64 of shape \(3,\)",
        ),
        (np.ones((1, 2)), np.array([["a", "b"]]), {}, r"measured must be numbers.*found <U1"),
        (np.full((1, 2), np.inf), np.ones((1, 2)), {}, r"predicted holds 2 infinite values"),
        (
            np.ones((1, 2)),
            np.ones((1, 2)),
            {"nan": "drop"},
            r"nan must be 'raise' or 'omit'; found 'drop'",
        ),
        (np.ones((0, 2)), np.ones((0, 2)), {}, r"there is nothing to compare"),
    ],
)
def test_what_does_not_fit_is_refused(predicted, measured, options: dict, message: str) -> None:
    for metric in ALL:
        with pytest.raises(ValueError, match=message):
            metric(predicted, measured, **options)
