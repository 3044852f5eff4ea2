"""ott-jax: many blocks at a time, and plans of low rank, against POT and the NumPy solver."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import ot
import pytest
from scipy.spatial.distance import cdist

from scgroove.aligners import EntropicOT, GromovWasserstein, UnbalancedOT, _ott
from scgroove.aligners._ott import (
    _cost_factors,
    _FactoredCost,
    _rounded,
    low_rank_gromov,
    low_rank_sinkhorn,
    solve_many,
)
from scgroove.aligners._plans import LowRankPlan
from scgroove.aligners._problem import Problem
from scgroove.aligners._sinkhorn import sinkhorn, unbalanced_sinkhorn
from scgroove.aligners.costs import FixedCost, PairCost
from scgroove.errors import TooLargeError


def _problem(seed: int, n: int, m: int, epsilon: float = 0.05, weighted: bool = False) -> Problem:
    rng = np.random.default_rng(seed)
    cost = cdist(rng.normal(size=(n, 3)), rng.normal(size=(m, 3)), "sqeuclidean")
    cost /= cost.mean()
    a, b = np.full(n, 1 / n), np.full(m, 1 / m)
    if weighted:
        a, b = rng.dirichlet(np.full(n, 5.0)), rng.dirichlet(np.full(m, 5.0))
    return Problem(FixedCost(cost), a, b, epsilon)


SIZES = [(5, 9), (1, 1), (30, 20), (1, 7), (18, 18)]


@pytest.mark.parametrize("epsilon", [0.5, 0.1])
@pytest.mark.parametrize("weighted", [False, True])
def test_blocks_of_all_sizes_agree_with_pot_in_their_order(epsilon: float, weighted: bool) -> None:
    problems = [_problem(seed, n, m, epsilon, weighted) for seed, (n, m) in enumerate(SIZES)]
    for problem, solved in zip(
        problems, solve_many(problems, tol=1e-9, max_iter=20000), strict=True
    ):
        theirs = ot.bregman.sinkhorn_log(
            problem.a, problem.b, problem.cost.matrix, epsilon, numItermax=20000, stopThr=1e-12
        )
        assert solved.plan.dtype == np.float64
        assert np.abs(solved.plan - theirs).sum() < 1e-6
        assert solved.converged
        made = np.exp((solved.f[:, None] + solved.g - problem.cost.matrix) / epsilon)
        np.testing.assert_allclose(made, solved.plan, rtol=1e-8, atol=1e-12)


def test_agrees_with_the_numpy_solver_and_starts_warm() -> None:
    problems = [_problem(seed, 40, 35, 0.02) for seed in range(3)]
    first = solve_many(problems, tol=1e-8, max_iter=20000)
    for problem, solved in zip(problems, first, strict=True):
        other = sinkhorn(problem, tol=1e-8, max_iter=20000)
        assert np.abs(solved.plan - other.plan).sum() < 1e-4
    warm = [
        Problem(p.cost, p.a, p.b, p.epsilon, s.f, s.g) for p, s in zip(problems, first, strict=True)
    ]
    for again, solved in zip(solve_many(warm, tol=1e-8, max_iter=20000), first, strict=True):
        assert again.iterations < solved.iterations / 4
        assert np.abs(again.plan - solved.plan).sum() < 1e-6


def test_rows_are_exact_from_a_start_that_meets_the_columns_only() -> None:
    problem = _problem(9, 30, 20)
    (first,) = solve_many([problem], tol=1e-9, max_iter=20000)
    off = first.f + 1e-4 * problem.epsilon * np.sin(np.arange(30))
    nearby = Problem(problem.cost, problem.a, problem.b, problem.epsilon, off, first.g)
    (again,) = solve_many([nearby], tol=1e-2, max_iter=100)
    np.testing.assert_allclose(again.plan.sum(axis=1), problem.a, rtol=1e-10)


def test_too_few_iterations_are_said() -> None:
    (solved,) = solve_many([_problem(0, 30, 20, 1e-3)], tol=1e-9, max_iter=5)
    assert not solved.converged
    assert np.isfinite(solved.plan).all()


def test_many_blocks_go_through_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    problems = [_problem(seed, 6 + seed % 3, 5) for seed in range(40)]
    whole = solve_many(problems, tol=1e-8, max_iter=20000)
    monkeypatch.setattr(_ott, "BATCH_VALUES", 2**10)
    parts = solve_many(problems, tol=1e-8, max_iter=20000)
    for one, other in zip(whole, parts, strict=True):
        np.testing.assert_allclose(one.plan, other.plan, atol=1e-9)


def test_the_precision_of_the_user_is_kept() -> None:
    solve_many([_problem(0, 4, 4)], tol=1e-6, max_iter=100)
    assert jnp.ones(1).dtype == jnp.float32


def test_a_problem_does_not_depend_on_its_company() -> None:
    easy, hard = _problem(0, 20, 20, 0.5), _problem(1, 30, 25, 0.003)
    alone = [solve_many([problem], tol=1e-7, max_iter=20000)[0] for problem in (easy, hard)]
    together = solve_many([easy, hard], tol=1e-7, max_iter=20000)
    for one, other in zip(alone, together, strict=True):
        assert one.iterations == other.iterations
        np.testing.assert_allclose(one.plan, other.plan, rtol=1e-9, atol=1e-15)
    assert together[0].iterations < together[1].iterations / 4


@pytest.mark.parametrize("level", [0.0, 3.0])
def test_equal_costs_give_the_independent_coupling(level: float) -> None:
    a, b = np.array([0.1, 0.2, 0.3]), np.array([0.15, 0.45])
    (solved,) = solve_many(
        [Problem(FixedCost(np.full((3, 2), level)), a, b, 0.05)], tol=1e-12, max_iter=100
    )
    assert solved.converged
    np.testing.assert_allclose(solved.plan, np.outer(a, b) / 0.6, rtol=1e-9)


@pytest.mark.parametrize("max_iter", [1, 7, 33])
def test_rows_are_exact_whenever_it_stops(max_iter: int) -> None:
    problem = _problem(0, 30, 20, 1e-3)
    (solved,) = solve_many([problem], tol=1e-9, max_iter=max_iter)
    assert not solved.converged
    np.testing.assert_allclose(solved.plan.sum(axis=1), problem.a, rtol=1e-9)


@pytest.mark.parametrize("penalty", [0.05, 1.0, 50.0])
def test_relaxed_marginals_agree_with_pot(penalty: float) -> None:
    problems = [_problem(seed, n, m, 0.1, weighted=True) for seed, (n, m) in enumerate(SIZES)]
    results = solve_many(problems, tol=1e-9, max_iter=20000, rho=(penalty, penalty))
    for problem, solved in zip(problems, results, strict=True):
        theirs = ot.unbalanced.sinkhorn_unbalanced(
            problem.a,
            problem.b,
            problem.cost.matrix,
            0.1,
            penalty,
            method="sinkhorn_stabilized",
            reg_type="entropy",
            numItermax=200000,
            stopThr=1e-12,
        )
        assert solved.converged
        assert np.abs(solved.plan - theirs).sum() < 1e-5


@pytest.mark.parametrize(
    ("rho", "epsilon"),
    [
        ((0.3, 4.0), 0.1),
        ((0.3, 4.0), 0.003),
        ((np.inf, 0.5), 0.01),
        ((0.5, np.inf), 0.01),
        ((100.0, 100.0), 0.1),
    ],
)
def test_relaxed_marginals_agree_with_the_numpy_solver(
    rho: tuple[float, float], epsilon: float
) -> None:
    problems = [_problem(seed, n, m, epsilon) for seed, (n, m) in enumerate(SIZES)]
    for problem, solved in zip(
        problems, solve_many(problems, tol=1e-8, max_iter=20000, rho=rho), strict=True
    ):
        other = unbalanced_sinkhorn(problem, rho, tol=1e-8, max_iter=20000)
        assert solved.converged
        assert np.abs(solved.plan - other.plan).sum() < 1e-5
        if np.isinf(rho[0]):
            np.testing.assert_allclose(solved.plan.sum(axis=1), problem.a, rtol=1e-6)


# ------------------------------------------------------------------------------------------- aligners on this backend


def _labeled(seed: int):
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
@pytest.mark.parametrize("backend", ["pot", "jax"])
def test_all_backends_give_the_same_coupling(make, backend) -> None:
    if backend == "pot" and isinstance(make(backend), GromovWasserstein):
        pytest.skip("over a minute: every step of the descent is solved anew")
    x, y, labels = _labeled(0)
    ours, other = (make(one).align(x, y, labels, labels) for one in ("numpy", backend))
    assert np.abs(ours.to_dense() - other.to_dense()).sum() < 1e-4
    assert other.evidence["objective"] == pytest.approx(ours.evidence["objective"], rel=1e-5)
    assert (ours.evidence["backend_used"], other.evidence["backend_used"]) == ("numpy", backend)


def test_pot_is_called_where_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y, labels = _labeled(0)
    called = []
    theirs = ot.bregman.sinkhorn_log
    monkeypatch.setattr(
        ot.bregman, "sinkhorn_log", lambda *a, **k: called.append(1) or theirs(*a, **k)
    )
    EntropicOT(backend="numpy").align(x, y, labels, labels)
    assert not called
    found = EntropicOT(backend="pot").align(x, y, labels, labels)
    assert called
    assert found.evidence["pot_version"]


# ------------------------------------------------------------------------------------------------------------ low rank


def _clusters(seed: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    group = np.arange(n) % 4
    center = 6 * np.eye(4)
    return center[group] + rng.normal(size=(n, 4)), group


@pytest.mark.slow
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
    assert coupling.evidence["transport_cost"] == pytest.approx(found, rel=1e-6)
    assert coupling.evidence["objective"] < found  # less by the entropies
    assert (
        exact < found < 0.6 * cost[same_cluster].mean()
    )  # what knowing the clusters alone would give
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


def _masses(seed: int, n: int, m: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return 0.3 * rng.dirichlet(np.full(n, 5.0)), 0.3 * rng.dirichlet(np.full(m, 5.0))


@pytest.mark.slow
@pytest.mark.parametrize("epsilon", [0.0, 0.1])
def test_low_rank_factors_are_exact_couplings_and_their_cost_is_that_of_the_plan(
    epsilon: float,
) -> None:
    (x, _), (y, _) = _clusters(0, 90), _clusters(1, 70)
    a, b = _masses(0, 90, 70)
    cost = cdist(x, y, "sqeuclidean")
    options = {"rank": 12, "tol": 1e-5, "max_iter": 200, "seed": 0}
    far = PairCost(x + 1e3, y + 1e3)
    result = low_rank_sinkhorn(far, a, b, epsilon=epsilon, **options)
    factors, plan = result.plan, result.plan.rows()
    for found, wanted in [
        (factors.q.sum(axis=1), a),
        (factors.r.sum(axis=1), b),
        (factors.q.sum(axis=0), factors.g),
        (factors.r.sum(axis=0), factors.g),
        (plan.sum(axis=1), a),
        (plan.sum(axis=0), b),
    ]:
        np.testing.assert_allclose(found, wanted, rtol=1e-9)
    assert min(factors.q.min(), factors.r.min()) >= 0
    assert result.transport_cost == pytest.approx((plan * cost).sum(), rel=1e-6)
    assert ot.emd2(a, b, cost) < result.transport_cost
    parts = (factors.q, factors.r, factors.g)
    entropies = sum(
        float((part - part * np.log(np.where(part > 0, part, 1))).sum()) for part in parts
    )
    assert result.objective == pytest.approx(result.transport_cost - epsilon * entropies)
    again = low_rank_sinkhorn(far, a, b, epsilon=epsilon, **options)
    np.testing.assert_array_equal(again.plan.q, factors.q)


@pytest.mark.slow
def test_low_rank_comes_close_to_the_exact_cost_of_tight_clusters() -> None:
    rng = np.random.default_rng(0)
    center, (few, many) = rng.normal(size=(6, 5)), rng.dirichlet(np.full(6, 3.0), size=2)
    x = center[rng.choice(6, 150, p=few)] + 0.03 * rng.normal(size=(150, 5))
    y = center[rng.choice(6, 130, p=many)] + 0.03 * rng.normal(size=(130, 5))
    a, b = np.full(150, 1 / 150), np.full(130, 1 / 130)
    result = low_rank_sinkhorn(
        PairCost(x, y), a, b, epsilon=0.0, rank=12, tol=1e-6, max_iter=1000, seed=0
    )
    exact = ot.emd2(a, b, cdist(x, y, "sqeuclidean"))
    assert exact < result.transport_cost < 1.05 * exact


def test_low_rank_cosine_costs_one_minus_the_similarity_and_needs_a_direction() -> None:
    (x, _), (y, _) = _clusters(0, 90), _clusters(1, 70)
    a, b = _masses(0, 90, 70)
    options = {"epsilon": 0.0, "rank": 12, "tol": 1e-5, "max_iter": 200, "seed": 0}
    result = low_rank_sinkhorn(PairCost(x, y, "cosine"), a, b, **options)
    plan = result.plan.rows()
    assert result.transport_cost == pytest.approx((plan * cdist(x, y, "cosine")).sum(), rel=1e-9)
    y[3] = 0.0
    with pytest.raises(ValueError, match=r"1 target cells are at the origin"):
        low_rank_sinkhorn(PairCost(x, y, "cosine"), a, b, **options)


@pytest.mark.slow
def test_low_rank_gromov_reports_the_distortion_of_its_plan() -> None:
    (x, _), (y, _) = _clusters(2, 60), _clusters(3, 50)
    a, b = _masses(1, 60, 50)
    x, scale = np.hstack([x, x[:, :2]]) + 100, (3.0, 7.0)
    result = low_rank_gromov(
        x, y, a, b, epsilon=0.01, rank=6, tol=1e-4, max_iter=100, seed=0, scale=scale
    )
    plan = result.plan.rows()
    within_x, within_y = cdist(x, x, "sqeuclidean") / 3, cdist(y, y, "sqeuclidean") / 7
    wanted = (
        a @ within_x**2 @ a
        + b @ within_y**2 @ b
        - 2 * float(((within_x @ plan @ within_y) * plan).sum())
    )
    np.testing.assert_allclose(plan.sum(axis=1), a, rtol=1e-9)
    np.testing.assert_allclose(plan.sum(axis=0), b, rtol=1e-9)
    assert result.transport_cost == pytest.approx(wanted, rel=1e-6)


def test_scalings_that_overflow_are_replaced_by_the_log_domain(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []

    def descent(costs, a, b, tol, key, *, rank, log_domain, **_):
        asked.append(log_domain)
        weight = jnp.full(rank, 1.0 / rank) if log_domain else jnp.full(rank, jnp.nan)
        return (
            a[:, None] * weight,
            b[:, None] * weight,
            weight,
            jnp.asarray([0.5, 0.1, -1.0]),
            jnp.asarray(True),
        )

    monkeypatch.setattr(_ott, "_mirror_descent", descent)
    (x, _), (a, b) = _clusters(0, 8), _masses(0, 8, 8)
    result = low_rank_sinkhorn(
        PairCost(x, x), a, b, epsilon=0.0, rank=2, tol=1e-3, max_iter=30, seed=0
    )
    assert asked == [False, True]
    assert (result.iterations, result.converged) == (20, True)
    np.testing.assert_allclose(result.plan.q.sum(axis=1), a)


def test_rounding_makes_marginals_exact_and_moves_little() -> None:
    rng = np.random.default_rng(0)
    rows, columns = rng.dirichlet(np.ones(30)), rng.dirichlet(np.ones(4))
    off = np.outer(rows, columns) * np.exp(0.01 * rng.normal(size=(30, 4)))
    exact = _rounded(off, rows, columns)
    np.testing.assert_allclose(exact.sum(axis=1), rows, rtol=1e-12)
    np.testing.assert_allclose(exact.sum(axis=0), columns, rtol=1e-12)
    error = np.abs(off.sum(axis=1) - rows).sum() + np.abs(off.sum(axis=0) - columns).sum()
    assert exact.min() >= 0
    assert np.abs(exact - off).sum() <= 2 * error


def test_factored_costs_are_squared_distances_and_square_without_being_built() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(9, 3)), rng.normal(size=(7, 3))
    left, right = _cost_factors(x, y)
    cost = cdist(x, y, "sqeuclidean")
    np.testing.assert_allclose(left @ right.T, cost, atol=1e-12)
    geometry = _FactoredCost(jnp.asarray(left), jnp.asarray(right))
    for axis, mass in ((0, np.ones(9)), (1, np.ones(7))):
        squared = cost.T**2 if axis == 0 else cost**2
        found = np.asarray(geometry.apply_square_cost(jnp.asarray(mass), axis=axis)).ravel()
        np.testing.assert_allclose(found, squared @ mass, rtol=1e-4)


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
