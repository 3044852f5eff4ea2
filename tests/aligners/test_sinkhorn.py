"""Stabilised Sinkhorn scaling: against POT in the log domain, at any eps, and its limits."""

from __future__ import annotations

import numpy as np
import ot
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from scgroove.aligners._sinkhorn import annealing, sinkhorn


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
    result = sinkhorn(cost, a, b, epsilon, tol=1e-6, max_iter=50000)
    assert result.converged
    assert np.abs(result.plan.sum(axis=0) - b).sum() <= 1.01e-6
    np.testing.assert_allclose(result.plan.sum(axis=1), a, rtol=1e-9)
    potentials = epsilon * np.log(result.plan) + cost
    additive = potentials[:, :1] + potentials[:1] - potentials[0, 0]
    np.testing.assert_allclose(potentials, additive, atol=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_agrees_with_pot_in_the_log_domain(seed: int) -> None:
    cost, a, b = _problem(seed, 11 + seed, 8)
    ours = sinkhorn(cost, a, b, 0.1, tol=1e-11, max_iter=50000)
    theirs = ot.bregman.sinkhorn_log(a, b, cost, 0.1, numItermax=50000, stopThr=1e-12)
    assert ours.converged
    assert np.abs(ours.plan - theirs).sum() < 1e-8


def test_unequal_masses_agree_with_pot() -> None:
    cost, _, _ = _problem(0, 9, 7)
    rng = np.random.default_rng(1)
    a, b = rng.dirichlet(np.ones(9)), rng.dirichlet(np.ones(7))
    ours = sinkhorn(cost, a, b, 0.1, tol=1e-11, max_iter=50000).plan
    theirs = ot.bregman.sinkhorn_log(a, b, cost, 0.1, numItermax=50000, stopThr=1e-12)
    assert np.abs(ours - theirs).sum() < 1e-8


@pytest.mark.parametrize("epsilon", [1e2, 1.0, 0.1, 1e-2, 1e-3, 1e-4])
def test_is_finite_and_has_its_marginals_at_any_epsilon(epsilon: float) -> None:
    cost, a, b = _problem(3, 40, 30)
    result = sinkhorn(cost, a, b, epsilon, tol=1e-4, max_iter=100000)
    assert np.isfinite(result.plan).all()
    assert result.plan.min() >= 0
    np.testing.assert_allclose(result.plan.sum(axis=1), a, rtol=1e-9)
    assert np.abs(result.plan.sum(axis=0) - b).sum() < 1.1e-4


def test_small_epsilon_comes_close_to_the_exact_coupling() -> None:
    cost, a, b = _problem(4, 20, 20)
    exact = float((ot.emd(a, b, cost) * cost).sum())
    costs = [
        float((sinkhorn(cost, a, b, e, tol=1e-7, max_iter=100000).plan * cost).sum())
        for e in (0.1, 0.01, 0.001)
    ]
    assert costs == sorted(costs, reverse=True)
    assert exact <= costs[-1] < exact * 1.001


def test_large_epsilon_is_the_independent_coupling() -> None:
    cost, a, b = _problem(5, 6, 4)
    plan = sinkhorn(cost, a, b, 1e6, tol=1e-12, max_iter=100).plan
    np.testing.assert_allclose(plan, a[:, None] * b, rtol=1e-5)


def test_far_clusters_of_other_sizes_do_not_overflow() -> None:
    x = np.concatenate([np.zeros((30, 1)), np.full((10, 1), 1e4)]) + np.linspace(0, 1, 40)[:, None]
    y = np.concatenate([np.zeros((10, 1)), np.full((30, 1), 1e4)]) + np.linspace(0, 1, 40)[:, None]
    cost = cdist(x, y, "sqeuclidean")
    a = np.full(40, 1 / 40)
    result = sinkhorn(cost, a, a, 1e-3 * cost.mean(), tol=1e-6, max_iter=20000)
    assert np.isfinite(result.plan).all()
    assert result.converged
    assert result.plan[:30, 10:].sum() == pytest.approx(0.5, abs=1e-4)


def test_no_iterations_left_is_said() -> None:
    cost, a, b = _problem(6, 30, 20)
    result = sinkhorn(cost, a, b, 1e-3, tol=1e-9, max_iter=7)
    assert not result.converged
    assert result.iterations == 7
    assert np.isfinite(result.plan).all()


def test_annealing_ends_at_the_epsilon_asked_for() -> None:
    assert annealing(1.0, 0.05) == [0.05]
    assert annealing(0.0, 0.05) == [0.05]
    np.testing.assert_allclose(annealing(1.0, 0.01), [0.16, 0.04, 0.01])


def test_overshooting_takes_fewer_iterations_than_plain_scaling() -> None:
    cost, a, b = _problem(7, 60, 50)
    fast = sinkhorn(cost, a, b, 0.005, tol=1e-6, max_iter=100000)
    kernel, u, v, plain = np.exp(-cost / 0.005), np.ones(60), np.ones(50), 0
    while plain < 100000 and np.abs(v * (u @ kernel) - b).sum() > 1e-6:
        v = b / (u @ kernel)
        u = a / (kernel @ v)
        plain += 1
    assert fast.converged
    assert fast.iterations < plain / 2
    assert np.abs(fast.plan - u[:, None] * kernel * v).sum() < 1e-3
