"""Squared errors and explained variance: by hand, against scikit-learn, with missing values."""

from __future__ import annotations

from contextlib import nullcontext
from unittest import mock

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import mean_squared_error, r2_score

from scgroove.metrics import (
    METRICS,
    _values,
    mse,
    mse_per_cell,
    mse_per_feature,
    r2,
    r2_per_feature,
)

P = np.array([[1.0, 2.0], [3.0, 2.0]])
M = np.array([[0.0, 2.0], [4.0, 2.0]])


def test_by_hand() -> None:
    assert mse(P, M) == 0.5
    assert mse_per_feature(P, M).tolist() == [1, 0]
    assert mse_per_cell(P, M).tolist() == [0.5, 0.5]
    assert r2(P, M) == 1 - 2 / 8
    np.testing.assert_allclose(r2_per_feature(P, M), [0.75, np.nan])  # the second does not vary
    assert np.isnan(r2(P, np.ones((2, 2))))


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), chunk=st.sampled_from([1, 5, 2**20]))
def test_agrees_with_scikit_learn(seed: int, chunk: int) -> None:
    rng = np.random.default_rng(seed)
    n, f = rng.integers(2, 10), rng.integers(1, 6)
    p, m = rng.normal(size=(n, f)), 100 + rng.normal(size=(n, f))
    with mock.patch.object(_values, "CHUNK_VALUES", chunk):
        assert mse(p, m) == pytest.approx(mean_squared_error(m, p))
        np.testing.assert_allclose(
            mse_per_feature(p, m), mean_squared_error(m, p, multioutput="raw_values")
        )
        np.testing.assert_allclose(
            mse_per_cell(p, m), mean_squared_error(m.T, p.T, multioutput="raw_values")
        )
        np.testing.assert_allclose(r2_per_feature(p, m), r2_score(m, p, multioutput="raw_values"))
        assert r2(p, m) == pytest.approx(r2_score(m, p, multioutput="variance_weighted"))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_missing_pairs_are_left_out_one_by_one(seed: int) -> None:
    rng = np.random.default_rng(seed)
    p, m = rng.normal(size=(6, 3)), rng.normal(size=(6, 3))
    p[rng.random((6, 3)) < 0.3] = np.nan
    m[rng.random((6, 3)) < 0.3] = np.nan
    squares, about = [], []
    for j in range(3):
        pairs = [
            (p[i, j], m[i, j]) for i in range(6) if not (np.isnan(p[i, j]) or np.isnan(m[i, j]))
        ]
        mean = np.mean([b for _, b in pairs]) if pairs else np.nan
        squares.append([(a - b) ** 2 for a, b in pairs])
        about.append(sum((b - mean) ** 2 for _, b in pairs) if len(pairs) > 1 else 0.0)
    every = [value for one in squares for value in one]
    found = mse(p, m, nan="omit")
    assert found == pytest.approx(np.mean(every)) if every else np.isnan(found)
    np.testing.assert_allclose(
        mse_per_feature(p, m, nan="omit"), [np.mean(one) if one else np.nan for one in squares]
    )
    if sum(about) > 0:
        assert r2(p, m, nan="omit") == pytest.approx(1 - sum(every) / sum(about))
    refused = pytest.raises(ValueError, match=r"holds \d+ missing values \(NaN\)")
    with refused if np.isnan(p + m).any() else nullcontext():
        r2_per_feature(p, m)


def test_sparse_order_and_scale() -> None:
    rng = np.random.default_rng(0)
    p, m = rng.poisson(1.0, (20, 5)), rng.poisson(1.0, (20, 5))
    order = rng.permutation(20)
    for metric in (mse, r2):
        assert metric(sp.csr_matrix(p), sp.csr_matrix(m)) == pytest.approx(metric(p, m))
        assert metric(p[order], m[order]) == pytest.approx(metric(p, m))
    assert mse(3 * p, 3 * m) == pytest.approx(9 * mse(p, m))
    assert r2(3 * p + 1, 3 * m + 1) == pytest.approx(r2(p, m))
    assert r2(np.tile(m.mean(axis=0), (20, 1)), m) == pytest.approx(0)
    assert METRICS.get("mse") is mse
    assert METRICS.get("r2") is r2


@pytest.mark.parametrize("metric", [mse, mse_per_cell, mse_per_feature, r2, r2_per_feature])
def test_what_does_not_fit_is_refused(metric) -> None:
    with pytest.raises(
        ValueError, match=r"same cells and features.*found shapes \(2, 2\) and \(2, 1\)"
    ):
        metric(P, M[:, :1])
