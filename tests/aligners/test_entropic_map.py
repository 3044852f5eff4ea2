"""Sending cells without a coupling to the target: by hand, by the formula, and within memory."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from scgroove.aligners import entropic_map
from scgroove.aligners.costs import pairwise_cost


def test_by_hand() -> None:
    # costs 0 and 4, mean 2; eps = 0.5 * 2 = 1; weights 1 and e^-4
    mapped, absolute = entropic_map([[0.0]], [[0.0], [2.0]], [[1.0], [0.0]], epsilon=0.5)
    assert absolute == pytest.approx(1)
    assert mapped[0, 0] == pytest.approx(1 / (1 + np.exp(-4)))
    assert mapped.dtype == np.float32


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    cost=st.sampled_from(["sqeuclidean", "cosine"]),
    epsilon=st.floats(0.01, 10),
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
    np.testing.assert_allclose(
        entropic_map(x, y, values, epsilon=1e-6)[0], values[nearest], atol=1e-6
    )


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


ONE = {"x": [[0.0]], "y": [[0.0], [2.0]], "values": [[1.0], [0.0]]}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epsilon": 0}, r"epsilon must be positive, relative to the mean cost; found 0\."),
        ({"epsilon": "auto"}, r"epsilon must be "),
        ({"epsilon": np.inf}, r"epsilon must be positive, .*; found inf\."),
        ({"epsilon": True}, r"epsilon must be "),
        ({"cost": "cosin"}, r"cost must be "),
        ({"cost": "euclid"}, r"cost must be "),
        ({"cost": "cosine"}, r"1 source cells are at the origin"),
        ({"y": [[0.0, 1.0]] * 2}, r"both modalities in one space"),
        ({"y": np.empty((0, 1)), "values": np.empty((0, 1))}, r"both modalities need cells; found 1 source and 0 target cells\. .* nothing to average"),
        ({"x": np.empty((0, 1))}, r"both modalities need cells; found 0 source and 2 target cells"),
        ({"values": [1.0, 0.0]}, r"values must have one row a target cell: expected \(2, d\), found \(2,\)\. One number a cell is a matrix too: values\[:, None\]"),
        ({"values": [[1.0]]}, r"values must have one row a target cell: expected \(2, d\), found \(1, 1\)"),
        ({"values": sp.csr_matrix((3, 1))}, r"values must have one row a target cell: expected \(2, d\), found \(3, 1\)"),
        ({"values": [["a"], ["b"]]}, r"values must hold real numbers; found values of type <U1"),
        ({"values": [[1.0], [np.nan]]}, r"values holds NaN or infinite values in 1 of 2 target cells, first in cell 1, which would spread to every source cell"),
        ({"values": sp.csr_matrix([[0.0, 1.0], [np.inf, 0.0]])}, r"in 1 of 2 target cells, first in cell 1"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        entropic_map(**{**ONE, **options})


def test_whole_numbers_and_truth_values_are_averaged() -> None:
    for values in ([[4], [2]], sp.csr_matrix([[4], [2]])):
        assert entropic_map([[1.0]], [[0.0], [2.0]], values)[0].tolist() == [[3]]
    assert entropic_map([[1.0]], [[0.0], [2.0]], [[True], [False]])[0].tolist() == [[0.5]]
