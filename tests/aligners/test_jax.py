"""Many blocks at a time with JAX, and plans of low rank: against POT, the NumPy solver, and the definition."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import ot
import pytest
from scipy.spatial.distance import cdist

from scgroove.aligners import EntropicOT, GromovWasserstein, TooLargeError, UnbalancedOT
from scgroove.aligners._jax import device, solve_batch
from scgroove.aligners._plans import LowRankPlan
from scgroove.aligners._sinkhorn import Problem, sinkhorn


def _problem(seed: int, n: int, m: int, epsilon: float = 0.05, weighted: bool = False) -> Problem:
    rng = np.random.default_rng(seed)
    cost = cdist(rng.normal(size=(n, 3)), rng.normal(size=(m, 3)), "sqeuclidean")
    cost /= cost.mean()
    a, b = np.full(n, 1 / n), np.full(m, 1 / m)
    if weighted:
        a, b = rng.dirichlet(np.full(n, 5.0)), rng.dirichlet(np.full(m, 5.0))
    return Problem(cost, a, b, epsilon)


SIZES = [(5, 9), (1, 1), (30, 20), (1, 7), (18, 18), (40, 3), (25, 25)]


@pytest.mark.parametrize("epsilon", [0.5, 0.1])
@pytest.mark.parametrize("weighted", [False, True])
def test_blocks_of_all_sizes_agree_with_pot_in_their_order(epsilon: float, weighted: bool) -> None:
    problems = [_problem(seed, n, m, epsilon, weighted) for seed, (n, m) in enumerate(SIZES)]
    for problem, solved in zip(problems, solve_batch(problems, tol=1e-9, max_iter=50000), strict=True):
        theirs = ot.bregman.sinkhorn_log(
            problem.a, problem.b, problem.cost, epsilon, numItermax=50000, stopThr=1e-12
        )
        assert solved.plan.dtype == np.float64
        assert np.abs(solved.plan - theirs).sum() < 1e-6
        assert solved.converged
        made = np.exp((solved.f[:, None] + solved.g - problem.cost) / epsilon)
        np.testing.assert_allclose(made, solved.plan, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("epsilon", [0.01, 1e-4])
def test_is_finite_and_has_its_marginals_at_small_epsilon(epsilon: float) -> None:
    problems = [_problem(seed, n, m, epsilon) for seed, (n, m) in enumerate(SIZES)]
    for problem, solved in zip(problems, solve_batch(problems, tol=1e-4, max_iter=100000), strict=True):
        assert np.isfinite(solved.plan).all()
        np.testing.assert_allclose(solved.plan.sum(axis=1), problem.a, rtol=1e-8)
        assert np.abs(solved.plan.sum(axis=0) - problem.b).sum() < 1.1e-4


def test_agrees_with_the_numpy_solver_and_starts_warm() -> None:
    problems = [_problem(seed, 40, 35, 0.02) for seed in range(3)]
    first = solve_batch(problems, tol=1e-8, max_iter=50000)
    for problem, solved in zip(problems, first, strict=True):
        other = sinkhorn(problem, tol=1e-8, max_iter=50000)
        assert np.abs(solved.plan - other.plan).sum() < 1e-4
    warm = [Problem(p.cost, p.a, p.b, p.epsilon, s.f, s.g) for p, s in zip(problems, first, strict=True)]
    for again, solved in zip(solve_batch(warm, tol=1e-8, max_iter=50000), first, strict=True):
        assert again.iterations < solved.iterations / 4
        assert np.abs(again.plan - solved.plan).sum() < 1e-6


def test_too_few_iterations_are_said() -> None:
    (solved,) = solve_batch([_problem(0, 30, 20, 1e-3)], tol=1e-9, max_iter=5)
    assert not solved.converged
    assert np.isfinite(solved.plan).all()


def test_many_blocks_go_through_in_chunks() -> None:
    problems = [_problem(seed, 6 + seed % 3, 5) for seed in range(40)]
    whole = solve_batch(problems, tol=1e-8, max_iter=10000)
    parts = solve_batch(problems, tol=1e-8, max_iter=10000, max_values=2**10)
    for one, other in zip(whole, parts, strict=True):
        np.testing.assert_allclose(one.plan, other.plan, atol=1e-9)


def test_the_precision_of_the_user_is_kept() -> None:
    solve_batch([_problem(0, 4, 4)], tol=1e-6, max_iter=100)
    assert jnp.ones(1).dtype == jnp.float32
    assert device() == jax.default_backend()


def test_a_shape_is_compiled_once(caplog: pytest.LogCaptureFixture) -> None:
    def compilations(epsilon: float, tol: float, seed: int) -> int:
        caplog.clear()
        with jax.log_compiles():
            solve_batch([_problem(s, 21, 22, epsilon) for s in range(seed, seed + 3)], tol=tol, max_iter=99)
        return sum("ompiling" in record.getMessage() for record in caplog.records)

    compilations(0.1, 1e-3, 0)
    assert compilations(0.3, 1e-4, 10) == 0


# ------------------------------------------------------------------------------------------- aligners on this backend


def _labelled(seed: int):
    rng = np.random.default_rng(seed)
    labels = np.repeat(["a", "b", "c"], [12, 20, 7])
    return rng.normal(size=(39, 3)), rng.normal(size=(39, 3)), labels


@pytest.mark.parametrize(
    "make",
    [
        lambda backend: EntropicOT(backend=backend, tol=1e-9),
        lambda backend: EntropicOT(backend=backend, tol=1e-9, epsilon="auto"),
        lambda backend: UnbalancedOT(backend=backend, tol=1e-9, epsilon=0.2),
        lambda backend: GromovWasserstein(
            backend=backend, tol=1e-6, tol_outer=1e-5, epsilon=0.2, anneal=False
        ),
    ],
)
def test_both_backends_give_the_same_coupling(make) -> None:
    x, y, labels = _labelled(0)
    pot, other = (make(backend).align(x, y, labels, labels) for backend in ("pot", "jax"))
    assert np.abs(pot.to_dense() - other.to_dense()).sum() < 1e-4
    assert other.evidence["objective"] == pytest.approx(pot.evidence["objective"], rel=1e-5)
    assert (pot.evidence["backend_used"], other.evidence["backend_used"]) == ("pot", "jax")


# ------------------------------------------------------------------------------------------------------------ low rank


def _clusters(seed: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    group = np.arange(n) % 4
    centre = 6 * np.eye(4)
    return centre[group] + rng.normal(size=(n, 4)), group


def test_low_rank_linear_meets_its_marginals_and_is_better_than_clusters() -> None:
    (x, _), (y, _) = _clusters(0, 200), _clusters(1, 160)
    coupling = EntropicOT(rank=20, epsilon=1e-3).align(x, y)
    (block,) = coupling.blocks
    assert isinstance(block.plan, LowRankPlan)
    assert block.plan.q.shape == (200, 20)
    assert sum(coupling.marginal_errors()) < 1e-3
    cost = cdist(x, y, "sqeuclidean")
    exact = ot.emd2(np.full(200, 1 / 200), np.full(160, 1 / 160), cost)
    found = float((coupling.to_dense() * cost).sum())
    same_cluster = np.arange(200)[:, None] % 4 == np.arange(160) % 4
    assert exact < found < 0.6 * cost[same_cluster].mean()  # what knowing the clusters alone would give
    assert coupling.evidence["backend_used"] == "jax"


def test_low_rank_gromov_finds_the_clusters_of_a_rotated_copy() -> None:
    x, group = _clusters(2, 120)
    x[group == 1] += [0, 9, 0, 0]
    x[group == 2] -= [0, 0, 4, 4]
    turn, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(4, 4)))
    coupling = GromovWasserstein(rank=8, epsilon=1e-3).align(x, x @ turn)
    assert sum(coupling.marginal_errors()) < 1e-3
    mass = coupling.label_mass(group, group).to_numpy()
    assert mass.max(axis=1).sum() > 0.8


def test_what_is_too_large_for_a_plan_is_refused_and_solved_at_low_rank() -> None:
    x, _ = _clusters(3, 20000)
    y, _ = _clusters(4, 20000)
    with pytest.raises(TooLargeError, match=r"ask for a plan of low rank \(rank=50\)"):
        EntropicOT().align(x, y)
    coupling = EntropicOT(rank=5, tol=1e-2, max_iter=200).align(x, y)
    assert coupling.nbytes < 5e6
    assert sum(coupling.marginal_errors()) < 1e-2
    assert coupling.push(y).shape == (20000, 4)
    with pytest.raises(TooLargeError, match=r"Keep the best matches only \(top_k=20"):
        coupling.to_sparse(max_memory_gb=1)
