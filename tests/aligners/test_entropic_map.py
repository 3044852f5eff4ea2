"""Sending cells without a coupling to the target: by hand, by the formula, and within memory."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from scgroove.aligners import entropic_map
from scgroove.aligners._costs import pairwise_cost


def test_by_hand() -> None:
    # costs 0 and 4, mean 2; eps = 0.5 * 2 = 1; weights 1 and e^-4
    mapped, absolute = entropic_map([[0.0]], [[0.0], [2.0]], [[1.0], [0.0]], epsilon=0.5)
    assert absolute == pytest.approx(1)
    assert mapped[0, 0] == pytest.approx(1 / (1 + np.exp(-4)))
    assert mapped.dtype == np.float32


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6), cost=st.sampled_from(["sqeuclidean", "cosine"]), epsilon=st.floats(0.01, 10)
)
def test_is_the_formula_dense_and_sparse(seed: int, cost: str, epsilon: float) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(6, 3)) + 2, rng.normal(size=(9, 3))
    values = rng.poisson(0.7, size=(9, 4)).astype(float)
    c = pairwise_cost(x, y, cost)
    weights = np.exp(-(c - c.min(axis=1, keepdims=True)) / (epsilon * c.mean()))
    expected = weights / weights.sum(axis=1, keepdims=True) @ values
    for form in (values, sp.csr_matrix(values), sp.csc_array(values)):
        mapped, absolute = entropic_map(x, y, form, epsilon=epsilon, cost=cost)
        np.testing.assert_allclose(mapped, expected, atol=1e-5)
        assert absolute == pytest.approx(epsilon * c.mean())


def test_large_epsilon_is_the_mean_and_small_the_nearest() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(5, 2)), rng.normal(size=(7, 2))
    values = rng.normal(size=(7, 3))
    np.testing.assert_allclose(
        entropic_map(x, y, values, epsilon=1e9)[0], np.tile(values.mean(axis=0), (5, 1)), atol=1e-6
    )
    nearest = pairwise_cost(x, y).argmin(axis=1)
    np.testing.assert_allclose(entropic_map(x, y, values, epsilon=1e-6)[0], values[nearest], atol=1e-6)


def test_cells_at_one_place() -> None:
    mapped, absolute = entropic_map(np.ones((2, 2)), np.ones((3, 2)), np.arange(3.0)[:, None])
    np.testing.assert_allclose(mapped, 1)
    assert absolute == pytest.approx(0.05)


def test_nothing_n_by_m_is_built() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(9000, 2)), rng.normal(size=(8000, 2))
    tracemalloc.start()
    entropic_map(x, y, rng.normal(size=(8000, 3)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 120e6  # all weights would take 576 MB


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match=r"epsilon must be positive, relative to the mean cost; found 0"):
        entropic_map([[0.0]], [[0.0]], [[1.0]], epsilon=0)
    with pytest.raises(ValueError, match=r"both modalities in one space"):
        entropic_map([[0.0]], [[0.0, 1.0]], [[1.0]])
    with pytest.raises(ValueError, match=r"1 source cells are at the origin"):
        entropic_map([[0.0]], [[1.0]], [[1.0]], cost="cosine")
