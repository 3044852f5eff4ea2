"""Plans and costs that are computed when needed: the same as the matrices that they stand for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from unittest import mock

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from scgroove.aligners import _plans, costs
from scgroove.aligners._plans import LowRankPlan, PotentialPlan
from scgroove.aligners.costs import (
    BilinearCost,
    BlockCost,
    FixedCost,
    PairCost,
    SumCost,
    in_slices,
    mean_pairwise_cost,
    pairwise_cost,
)

N, M = 7, 5
RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(N, 3)), RNG.normal(size=(M, 3))
R, C = RNG.normal(size=N), RNG.normal(size=M)
PAIR, COSINE = PairCost(X, Y), PairCost(X, Y, "cosine")
BILINEAR = BilinearCost(R, C, X, Y)
FIXED = FixedCost(RNG.normal(size=(N, M)))

SQUARED = cdist(X, Y) ** 2
ANGLES = 1 - (X @ Y.T) / (np.linalg.norm(X, axis=1)[:, None] * np.linalg.norm(Y, axis=1))
PRODUCTS = R[:, None] + C + X @ Y.T

COSTS: dict[str, tuple[BlockCost, np.ndarray]] = {
    "squared": (PAIR, SQUARED),
    "cosine": (COSINE, ANGLES),
    "bilinear": (BILINEAR, PRODUCTS),
    "fixed": (FIXED, FIXED.matrix),
    "sum": (SumCost(PAIR, BILINEAR, 0.3, 2.0), 0.3 * SQUARED + 2.0 * PRODUCTS),
    "sum of a sum": (
        SumCost(SumCost(PAIR, FIXED, 0.5, -1.0), COSINE, 2.0),
        2.0 * (0.5 * SQUARED - FIXED.matrix) + ANGLES,
    ),
}

# ---------------------------------------------------------------------------------------------------------- costs


@pytest.mark.parametrize("name", COSTS)
def test_costs_are_those_of_the_formula(name: str) -> None:
    cost, matrix = COSTS[name]
    assert cost.shape == (N, M)
    np.testing.assert_allclose(cost.rows(), matrix, atol=1e-12)
    np.testing.assert_allclose(cost.rows(2, 5), matrix[2:5], atol=1e-12)
    np.testing.assert_allclose(cost.rows(6), matrix[6:], atol=1e-12)
    np.testing.assert_allclose(cost.columns(1, 3).rows(2, 5), matrix[2:5, 1:3], atol=1e-12)
    assert cost.columns(1, 3).shape == (N, 2)


@pytest.mark.parametrize("name", COSTS)
def test_costs_may_be_overwritten(name: str) -> None:
    cost, matrix = COSTS[name]
    for found in (cost.rows(), cost.rows(0, N), cost.rows(1, 2)):
        found[:] = np.nan
    np.testing.assert_allclose(cost.rows(), matrix, atol=1e-12)


def test_memory_of_costs_by_hand() -> None:
    assert PAIR.nbytes == 8 * 3 * (N + M)
    assert BILINEAR.nbytes == 8 * 4 * (N + M)
    assert FIXED.nbytes == 8 * N * M
    assert SumCost(PAIR, FIXED).nbytes == PAIR.nbytes + FIXED.nbytes


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    cost=st.sampled_from(["sqeuclidean", "cosine"]),
    far=st.sampled_from([0, 1e4]),
)
def test_the_mean_cost_in_linear_time(seed: int, cost: Any, far: float) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(6, 3)) + far, rng.normal(size=(9, 3)) + far
    assert mean_pairwise_cost(x, y, cost) == pytest.approx(
        pairwise_cost(x, y, cost).mean(), rel=1e-6, abs=1e-12
    )


@given(n=st.integers(0, 50), width=st.integers(0, 20), values=st.integers(1, 100))
def test_slices_cover_all_rows_once_and_keep_to_the_limit(n: int, width: int, values: int) -> None:
    bounds = in_slices(n, width, values)
    assert [row for start, stop in bounds for row in range(start, stop)] == list(range(n))
    for start, stop in bounds:
        assert stop - start == 1 or (stop - start) * width <= values


# ---------------------------------------------------------------------------------------------------------- plans

F, G = RNG.normal(size=N), RNG.normal(size=M)
EPSILON = 0.7
Q, S, INNER = RNG.random((N, 2)), RNG.random((M, 2)), np.array([0.5, 2.0])

PLANS: dict[str, tuple[Any, np.ndarray]] = {
    **{
        f"potentials, {name}": (
            PotentialPlan(cost, F, G, EPSILON),
            np.exp((F[:, None] + G - matrix) / EPSILON),
        )
        for name, (cost, matrix) in COSTS.items()
    },
    "low rank": (LowRankPlan(Q, S, INNER), Q @ np.diag(1 / INNER) @ S.T),
}
DENSE = RNG.random((N, M)) * (RNG.random((N, M)) < 0.6)
PLANS["dense"] = (DENSE, DENSE)
PLANS["csr"] = (sp.csr_matrix(DENSE), DENSE)
PLANS["csr array"] = (sp.csr_array(DENSE), DENSE)


def _dense(values: Any) -> np.ndarray:
    return values.toarray() if sp.issparse(values) else np.asarray(values)


@pytest.mark.parametrize("values", [1, 12, 2**22])
@pytest.mark.parametrize("name", PLANS)
def test_products_are_those_of_the_matrix(name: str, values: int) -> None:
    plan, matrix = PLANS[name]
    y, x = RNG.normal(size=(M, 4)) * (RNG.random((M, 4)) < 0.5), RNG.normal(size=(N, 2))
    assert plan.shape == (N, M)
    with mock.patch.object(costs, "BLOCK_VALUES", values):
        for form in (np.asarray, sp.csr_matrix, sp.csr_array):
            np.testing.assert_allclose(_dense(_plans.dot(plan, form(y))), matrix @ y)
            np.testing.assert_allclose(_dense(_plans.tdot(plan, form(x))), matrix.T @ x)
            parts = list(_plans.products(plan, form(y)))
            np.testing.assert_allclose(
                np.concatenate([_dense(part) for *_, part in parts]), matrix @ y
            )
            assert [row for start, stop, _ in parts for row in range(start, stop)] == list(range(N))
        sliced = list(_plans.slices(plan))
        np.testing.assert_allclose(_plans.row_sums(plan), matrix.sum(axis=1))
        np.testing.assert_allclose(_plans.column_sums(plan), matrix.sum(axis=0))
        np.testing.assert_allclose(_plans.column_slice(plan, 1, 3), matrix[:, 1:3], atol=1e-15)
    np.testing.assert_allclose(
        np.concatenate([_dense(part) for *_, part in sliced]), matrix, atol=1e-15
    )
    for start, stop, part in sliced:
        assert part.shape == (stop - start, M)
        assert stop - start == 1 or part.shape[0] * M <= values


@pytest.mark.parametrize("name", PLANS)
def test_rows_are_scaled_and_kept_as_the_plan_is(name: str) -> None:
    plan, matrix = PLANS[name]
    by = np.array([0.0, 1.0, 2.0, 1e-3, 5.0, 0.0, 1.0])
    scaled = _plans.scaled(plan, by)
    assert type(scaled) is type(plan) or sp.issparse(plan)
    assert sp.issparse(scaled) == sp.issparse(plan)
    assert _plans.is_valid(scaled)
    np.testing.assert_allclose(_plans.row_sums(scaled), by * matrix.sum(axis=1))
    # a row without mass can be scaled again, and stays without
    again = _plans.scaled(scaled, np.ones(N))
    np.testing.assert_allclose(_plans.row_sums(again), by * matrix.sum(axis=1))


@pytest.mark.parametrize("form", [np.asarray, sp.csr_matrix, sp.csr_array])
def test_masses_of_plans_in_float32_are_summed_in_float64(form: Any) -> None:
    column = np.array([1e8, *[1.0] * 10], dtype=np.float32)  # 1e8 + 1 is 1e8 in float32
    assert _plans.column_sums(form(column[:, None])).tolist() == [1e8 + 10]
    assert _plans.row_sums(form(column[None])).tolist() == [1e8 + 10]


def test_memory_of_plans_by_hand() -> None:
    assert _plans.nbytes(PLANS["potentials, squared"][0]) == 8 * (3 + 1) * (N + M)
    assert _plans.nbytes(PLANS["low rank"][0]) == 8 * (2 * (N + M) + 2)
    assert _plans.nbytes(DENSE) == 8 * N * M
    matrix = PLANS["csr"][0]
    assert _plans.nbytes(matrix) == 12 * matrix.nnz + 4 * (N + 1)


def test_negligible_masses_are_zero_as_the_solver_has_them() -> None:
    plan = PotentialPlan(
        FixedCost(np.array([[0.0, 459.0, 461.0, 1e9]])), np.zeros(1), np.zeros(4), 1.0
    )
    np.testing.assert_allclose(plan.rows(), [[1.0, np.exp(-459), 0.0, 0.0]], rtol=1e-12)


@pytest.mark.parametrize(
    "plan",
    [
        replace(PLANS["potentials, squared"][0], f=np.full(N, np.nan)),
        replace(PLANS["potentials, squared"][0], g=np.full(M, np.inf)),
        replace(PLANS["potentials, squared"][0], epsilon=0.0),
        replace(PLANS["potentials, squared"][0], epsilon=np.nan),
        replace(PLANS["low rank"][0], q=-Q),
        replace(PLANS["low rank"][0], r=np.full_like(S, np.nan)),
        replace(PLANS["low rank"][0], g=np.array([0.0, 1.0])),
        -DENSE,
        np.where(DENSE > 0.5, np.nan, DENSE),
        np.where(DENSE > 0.5, np.inf, DENSE),
        -PLANS["csr"][0],
    ],
)
def test_what_is_no_plan(plan: Any) -> None:
    assert not _plans.is_valid(plan)


@pytest.mark.parametrize("name", PLANS)
def test_what_is_a_plan(name: str) -> None:
    assert _plans.is_valid(PLANS[name][0])
