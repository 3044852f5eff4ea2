"""Stabilized Sinkhorn scaling, balanced and not: against POT in the log domain, at any eps, and its limits."""

from __future__ import annotations

from dataclasses import replace
from unittest import mock

import numpy as np
import ot
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from scgroove.aligners import _sinkhorn
from scgroove.aligners._problem import Problem as _Problem
from scgroove.aligners._problem import Solved
from scgroove.aligners._sinkhorn import annealing, sinkhorn, unbalanced_sinkhorn
from scgroove.aligners.costs import FixedCost


def Problem(cost: np.ndarray, *rest):
    return _Problem(FixedCost(cost), *rest)


def _problem(seed: int, n: int, m: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    cost = cdist(rng.normal(size=(n, 3)), rng.normal(size=(m, 3)), "sqeuclidean")
    return cost / cost.mean(), np.full(n, 1 / n), np.full(m, 1 / m)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    n=st.integers(1, 12),
    m=st.integers(1, 12),
    epsilon=st.sampled_from([1.0, 0.2, 0.1]),
)
def test_is_the_optimum(seed: int, n: int, m: int, epsilon: float) -> None:
    """T is optimal if it has its marginals and eps log T + C is a sum f_i + g_j."""
    cost, a, b = _problem(seed, n, m)
    result = sinkhorn(Problem(cost, a, b, epsilon), tol=1e-6, max_iter=50000)
    assert result.converged
    assert np.abs(result.plan.sum(axis=0) - b).sum() <= 1.01e-6
    np.testing.assert_allclose(result.plan.sum(axis=1), a, rtol=1e-9)
    potentials = epsilon * np.log(result.plan) + cost
    additive = potentials[:, :1] + potentials[:1] - potentials[0, 0]
    np.testing.assert_allclose(potentials, additive, atol=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_agrees_with_pot_in_the_log_domain(seed: int) -> None:
    cost, a, b = _problem(seed, 11 + seed, 8)
    ours = sinkhorn(Problem(cost, a, b, 0.1), tol=1e-11, max_iter=50000)
    theirs = ot.bregman.sinkhorn_log(a, b, cost, 0.1, numItermax=50000, stopThr=1e-12)
    assert ours.converged
    assert np.abs(ours.plan - theirs).sum() < 1e-8


def test_unequal_masses_agree_with_pot() -> None:
    cost, _, _ = _problem(0, 9, 7)
    rng = np.random.default_rng(1)
    a, b = rng.dirichlet(np.ones(9)), rng.dirichlet(np.ones(7))
    ours = sinkhorn(Problem(cost, a, b, 0.1), tol=1e-11, max_iter=50000).plan
    theirs = ot.bregman.sinkhorn_log(a, b, cost, 0.1, numItermax=50000, stopThr=1e-12)
    assert np.abs(ours - theirs).sum() < 1e-8


@pytest.mark.parametrize("epsilon", [1e2, 1.0, 0.1, 1e-2, 1e-3, 1e-4])
def test_is_finite_and_has_its_marginals_at_any_epsilon(epsilon: float) -> None:
    cost, a, b = _problem(3, 40, 30)
    result = sinkhorn(Problem(cost, a, b, epsilon), tol=1e-4, max_iter=100000)
    assert np.isfinite(result.plan).all()
    assert result.plan.min() >= 0
    np.testing.assert_allclose(result.plan.sum(axis=1), a, rtol=1e-9)
    assert np.abs(result.plan.sum(axis=0) - b).sum() < 1.1e-4


def test_small_epsilon_comes_close_to_the_exact_coupling() -> None:
    cost, a, b = _problem(4, 20, 20)
    exact = float((ot.emd(a, b, cost) * cost).sum())
    costs = [
        float((sinkhorn(Problem(cost, a, b, e), tol=1e-7, max_iter=100000).plan * cost).sum())
        for e in (0.1, 0.01, 0.001)
    ]
    assert costs == sorted(costs, reverse=True)
    assert exact <= costs[-1] < exact * 1.001


def test_large_epsilon_is_the_independent_coupling() -> None:
    cost, a, b = _problem(5, 6, 4)
    plan = sinkhorn(Problem(cost, a, b, 1e6), tol=1e-12, max_iter=100).plan
    np.testing.assert_allclose(plan, a[:, None] * b, rtol=1e-5)


def test_far_clusters_of_other_sizes_do_not_overflow() -> None:
    x = np.concatenate([np.zeros((30, 1)), np.full((10, 1), 1e4)]) + np.linspace(0, 1, 40)[:, None]
    y = np.concatenate([np.zeros((10, 1)), np.full((30, 1), 1e4)]) + np.linspace(0, 1, 40)[:, None]
    cost = cdist(x, y, "sqeuclidean")
    a = np.full(40, 1 / 40)
    result = sinkhorn(Problem(cost, a, a, 1e-3 * cost.mean()), tol=1e-6, max_iter=20000)
    assert np.isfinite(result.plan).all()
    assert result.converged
    assert result.plan[:30, 10:].sum() == pytest.approx(0.5, abs=1e-4)


def test_no_iterations_left_is_said() -> None:
    cost, a, b = _problem(6, 30, 20)
    result = sinkhorn(Problem(cost, a, b, 1e-3), tol=1e-9, max_iter=7)
    assert not result.converged
    assert result.iterations == 7
    assert np.isfinite(result.plan).all()


def test_annealing_ends_at_the_epsilon_asked_for() -> None:
    assert annealing(1.0, 0.05) == [0.05]
    assert annealing(0.0, 0.05) == [0.05]
    np.testing.assert_allclose(annealing(1.0, 0.01), [0.16, 0.04, 0.01])


def test_overshooting_takes_fewer_iterations_than_plain_scaling() -> None:
    cost, a, b = _problem(7, 60, 50)
    fast = sinkhorn(Problem(cost, a, b, 0.005), tol=1e-6, max_iter=100000)
    kernel, u, v, plain = np.exp(-cost / 0.005), np.ones(60), np.ones(50), 0
    while plain < 100000 and np.abs(v * (u @ kernel) - b).sum() > 1e-6:
        v = b / (u @ kernel)
        u = a / (kernel @ v)
        plain += 1
    assert fast.converged
    assert fast.iterations < plain / 2
    assert np.abs(fast.plan - u[:, None] * kernel * v).sum() < 1e-3


# ---------------------------------------------------------------------------------------------------- potentials


def _plan_of(problem: _Problem, f: np.ndarray, g: np.ndarray) -> np.ndarray:
    return np.exp((f[:, None] + g - problem.cost.matrix) / problem.epsilon)


@pytest.mark.parametrize("epsilon", [1.0, 0.05, 1e-3])
def test_the_potentials_make_the_plan(epsilon: float) -> None:
    problem = Problem(*_problem(8, 20, 15), epsilon)
    result = sinkhorn(problem, tol=1e-6, max_iter=100000)
    np.testing.assert_allclose(
        result.plan, _plan_of(problem, result.f, result.g), rtol=1e-9, atol=1e-190
    )
    loose = unbalanced_sinkhorn(problem, (0.1, 2.0), tol=1e-6, max_iter=100000)
    np.testing.assert_allclose(
        loose.plan, _plan_of(problem, loose.f, loose.g), rtol=1e-9, atol=1e-190
    )


@pytest.mark.parametrize("epsilon", [0.1, 0.01])
@pytest.mark.parametrize("rho", [None, (0.5, 2.0)])
def test_a_warm_start_is_faster_and_ends_at_the_same_plan(
    epsilon: float, rho: tuple[float, float] | None
) -> None:
    def solve(problem: _Problem) -> Solved:
        if rho is None:
            return sinkhorn(problem, tol=1e-9, max_iter=100000)
        return unbalanced_sinkhorn(problem, rho, tol=1e-9, max_iter=100000)

    cost, a, b = _problem(9, 30, 25)
    cold = solve(Problem(cost, a, b, epsilon))
    again = solve(Problem(cost, a, b, epsilon, cold.f, cold.g))
    assert again.converged
    assert again.iterations <= 1
    np.testing.assert_allclose(again.plan, cold.plan, atol=1e-9)
    # a problem nearby, as the next step of a Gromov-Wasserstein descent is
    near = Problem(cost + 1e-4 * np.random.default_rng(0).normal(size=cost.shape), a, b, epsilon)
    warm, anew = solve(replace(near, f=cold.f, g=cold.g)), solve(near)
    assert warm.converged
    assert warm.iterations < 0.8 * anew.iterations
    np.testing.assert_allclose(warm.plan, anew.plan, atol=1e-8)


def test_a_start_far_off_ends_at_the_same_plan() -> None:
    cost, a, b = _problem(10, 15, 12)
    rng = np.random.default_rng(0)
    f, g = 50 * rng.normal(size=15), 50 * rng.normal(size=12)
    for rho in ((np.inf, np.inf), (0.5, 0.5)):
        start, plain = (
            unbalanced_sinkhorn(problem, rho, tol=1e-10, max_iter=100000).plan
            for problem in (Problem(cost, a, b, 0.1, f, g), Problem(cost, a, b, 0.1))
        )
        np.testing.assert_allclose(start, plain, atol=1e-9)
    balanced = sinkhorn(Problem(cost, a, b, 0.1, f, g), tol=1e-10, max_iter=100000).plan
    np.testing.assert_allclose(
        balanced, sinkhorn(Problem(cost, a, b, 0.1), tol=1e-10, max_iter=100000).plan, atol=1e-9
    )


# ---------------------------------------------------------------------------------------------------- unbalanced


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    n=st.integers(1, 12),
    m=st.integers(1, 12),
    epsilon=st.sampled_from([1.0, 0.2, 0.05]),
    rho=st.tuples(*[st.sampled_from([0.01, 0.3, 5.0, np.inf])] * 2),
)
def test_unbalanced_is_the_optimum(
    seed: int, n: int, m: int, epsilon: float, rho: tuple[float, float]
) -> None:
    """f = -rho_1 log(T1 / a) and g = -rho_2 log(T'1 / b), or T1 = a and T'1 = b where the penalty is infinite."""
    cost, _, _ = _problem(seed, n, m)
    rng = np.random.default_rng(seed)
    a, b = rng.dirichlet(np.ones(n)) + 1e-3, rng.dirichlet(np.ones(m)) + 1e-3
    if np.isinf(rho).all():
        a, b = a / a.sum(), b / b.sum()
    problem = Problem(cost, a, b, epsilon)
    result = unbalanced_sinkhorn(problem, rho, tol=1e-9, max_iter=200000)
    assert result.converged
    np.testing.assert_allclose(result.plan, _plan_of(problem, result.f, result.g), rtol=1e-9)
    sums = result.plan.sum(axis=1), result.plan.sum(axis=0)
    for penalty, potential, found, wanted in zip(
        rho, (result.f, result.g), sums, (a, b), strict=True
    ):
        if np.isinf(penalty):
            np.testing.assert_allclose(found, wanted, rtol=1e-6)
        else:
            np.testing.assert_allclose(
                potential, -penalty * np.log(found / wanted), atol=1e-6 * max(1.0, penalty)
            )


@pytest.mark.filterwarnings("ignore:If reg_type = entropy")  # of POT, about its own default
@pytest.mark.parametrize("rho", [(1.0, 1.0), (0.05, 0.05), (0.1, 10.0)])
def test_unbalanced_agrees_with_pot(rho: tuple[float, float]) -> None:
    cost, _, _ = _problem(11, 9, 7)
    rng = np.random.default_rng(1)
    a, b = rng.dirichlet(np.ones(9)), 1.7 * rng.dirichlet(np.ones(7))  # of unequal mass
    ours = unbalanced_sinkhorn(Problem(cost, a, b, 0.1), rho, tol=1e-12, max_iter=100000).plan
    theirs = ot.unbalanced.sinkhorn_knopp_unbalanced(
        a, b, cost, 0.1, rho, reg_type="entropy", numItermax=100000, stopThr=1e-14
    )
    assert np.abs(ours - theirs).sum() < 1e-9


def test_infinite_penalties_are_the_balanced_problem() -> None:
    problem = Problem(*_problem(12, 14, 11), 0.1)
    ours = unbalanced_sinkhorn(problem, (np.inf, np.inf), tol=1e-11, max_iter=100000)
    assert np.abs(ours.plan - sinkhorn(problem, tol=1e-11, max_iter=100000).plan).sum() < 1e-9


@pytest.mark.parametrize("epsilon", [1e2, 0.1, 1e-3, 1e-5])
@pytest.mark.parametrize("rho", [(1e-3, 1e-3), (1e3, 1e3), (np.inf, 0.1)])
def test_unbalanced_is_finite_at_any_epsilon(epsilon: float, rho: tuple[float, float]) -> None:
    result = unbalanced_sinkhorn(
        Problem(*_problem(13, 20, 15), epsilon), rho, tol=1e-3, max_iter=300
    )
    assert np.isfinite(result.plan).all()
    assert result.plan.min() >= 0
    assert result.iterations <= 300


def test_the_shift_is_the_best_constant() -> None:
    """The dual problem is largest where sum a exp(-f / rho_1) = sum b exp(-g / rho_2)."""
    rng = np.random.default_rng(14)
    f, g, a, b = rng.normal(size=5), rng.normal(size=4), rng.random(5), rng.random(4)
    new_f, new_g = _sinkhorn._shift(f, g, (a, b), (0.3, 2.0))
    assert a @ np.exp(-new_f / 0.3) == pytest.approx(b @ np.exp(-new_g / 2.0))
    np.testing.assert_allclose(new_f[:, None] + new_g, f[:, None] + g)
    assert np.ptp(new_f - f) < 1e-12
    same = _sinkhorn._shift(f, g, (a, b), (np.inf, 2.0))
    assert same[0] is f


def test_the_shift_saves_iterations() -> None:
    problem, rho = Problem(*_problem(15, 30, 25), 0.1), (50.0, 50.0)
    fast = unbalanced_sinkhorn(problem, rho, tol=1e-8, max_iter=100000)
    with mock.patch.object(_sinkhorn, "_shift", lambda f, g, *_: (f, g)):
        plain = unbalanced_sinkhorn(problem, rho, tol=1e-8, max_iter=100000)
    assert fast.converged
    assert plain.converged
    assert fast.iterations < plain.iterations / 2
    np.testing.assert_allclose(fast.plan, plain.plan, atol=1e-5)


def test_no_iterations_left_is_said_of_unbalanced_too() -> None:
    result = unbalanced_sinkhorn(
        Problem(*_problem(16, 30, 20), 1e-3), (1.0, 1.0), tol=1e-9, max_iter=7
    )
    assert not result.converged
    assert result.iterations == 7
    assert np.isfinite(result.plan).all()


@pytest.mark.parametrize("epsilon", [0.1, 0.01])
def test_rows_are_exact_from_a_start_that_meets_the_columns_only(epsilon: float) -> None:
    """Potentials of a problem nearby can be good enough for the columns at once; the rows are still to be met."""
    cost, a, b = _problem(9, 30, 20)
    first = sinkhorn(Problem(cost, a, b, epsilon), tol=1e-9, max_iter=100000)
    nearby = Problem(
        cost * (1 + 1e-5), a, b, epsilon, first.f + 1e-4 * epsilon * np.sin(np.arange(30)), first.g
    )
    again = sinkhorn(nearby, tol=1e-2, max_iter=100)
    np.testing.assert_allclose(again.plan.sum(axis=1), a, rtol=1e-12)
    made = np.exp((again.f[:, None] + again.g - nearby.cost.matrix) / epsilon)
    np.testing.assert_allclose(made, again.plan, rtol=1e-9, atol=1e-15)
