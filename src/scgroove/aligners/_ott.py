"""Solvers of ott-jax: many entropic problems at a time, and couplings of low rank.

The only module that knows of jax and ott. Import it where it is used: it takes seconds.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, Final, cast

import jax
import jax.numpy as jnp
import numpy as np
from ott.geometry.geometry import Geometry
from ott.geometry.low_rank import LRCGeometry
from ott.problems.linear.linear_problem import LinearProblem
from ott.problems.quadratic.quadratic_problem import QuadraticProblem
from ott.solvers.linear.acceleration import Momentum
from ott.solvers.linear.sinkhorn import Sinkhorn
from ott.solvers.linear.sinkhorn_lr import LRSinkhorn
from ott.solvers.quadratic.gromov_wasserstein_lr import LRGromovWasserstein
from scipy.special import entr

from scgroove._types import Float64Array
from scgroove.aligners._plans import LowRankPlan
from scgroove.aligners._problem import Problem, Solved, with_errors
from scgroove.aligners._sinkhorn import ANNEAL_FACTOR, ANNEAL_TOL, WINDOW, annealing
from scgroove.aligners.costs import PairCost

SMALLEST_SIZE: Final = 16
"""Smallest padded number of cells."""

PADDING_MASS: Final = 1e-200
PADDING_COST: Final = 500.0
"""Mass of padding, and its cost in units of eps and of the penalties: exp(-500) is nothing."""

BATCH_VALUES: Final = 2**24
"""Costs solved together (128 MB of float64)."""

MOMENTUM_FROM: Final = 100
"""Iterations after which ott sets its over-relaxation from the fall of the error."""

LINEAR_STEP: Final = 10.0
GROMOV_STEP: Final = 100.0
"""Steps of mirror descent (gamma of ott)."""

CHECK_EVERY: Final = 10
"""Steps of mirror descent between two looks at the error."""

DYKSTRA: Final = {"tolerance": 1e-3, "max_iter": 300}
"""Projection after each step of mirror descent. In the end marginals are made exact."""


def _float64() -> AbstractContextManager[Any]:
    """Context in which JAX computes in float64. The setting of the user is kept outside."""
    if not hasattr(jax, "enable_x64"):  # before JAX 0.8
        from jax import experimental

        return cast("AbstractContextManager[Any]", vars(experimental)["enable_x64"](True))
    return cast("AbstractContextManager[Any]", jax.enable_x64(True))


# --------------------------------------------------------------------------------------- full rank


def solve_many(
    problems: Sequence[Problem],
    *,
    tol: float,
    max_iter: int,
    rho: tuple[float, float] = (math.inf, math.inf),
) -> list[Solved]:
    """Solve entropic problems of any sizes by ott's Sinkhorn in the log domain, in order.

    Problems are padded to a few common sizes and stacked, so that few programs are compiled. Those
    of a batch have the same number of larger eps to pass through, or the same damping: ott takes
    penalties as static values. ``tol`` bounds the L1 error of the columns relative to the mass, or
    with penalties the L1 norm of the gradient of the dual problem. ``max_iter`` the iterations at
    the last eps.
    """
    balanced = math.isinf(rho[0]) and math.isinf(rho[1])
    groups: dict[tuple[int, int, float], list[int]] = defaultdict(list)
    for i, problem in enumerate(problems):
        n, m = (max(SMALLEST_SIZE, 1 << (size - 1).bit_length()) for size in problem.cost.shape)
        groups[n, m, _levels(problem) if balanced else problem.epsilon].append(i)
    solved: dict[int, Solved] = {}
    with _float64():
        for (n, m, level), members in groups.items():
            size = max(1, BATCH_VALUES // (n * m))
            for start in range(0, len(members), size):
                chosen = members[start : start + size]
                batch = _stack([problems[i] for i in chosen], (n, m), rho)
                levels = int(level) if balanced else 0
                tau = tuple(1.0 if math.isinf(r) else r / (r + level) for r in rho)
                arrays = _solve_batch(batch, levels, tau, tol, max_iter)
                found = _unstack(arrays, [problems[i] for i in chosen])
                solved.update(zip(chosen, found, strict=True))
    return [solved[i] for i in range(len(problems))]


def _levels(problem: Problem) -> int:
    if problem.f is not None:
        return 0
    return len(annealing(float(problem.cost.rows().mean()), problem.epsilon)) - 1


def _stack(
    problems: Sequence[Problem], shape: tuple[int, int], rho: tuple[float, float]
) -> list[Any]:
    """Pad costs, masses and potentials, and return the mass of each problem too.

    The batch size is a power of two, to compile few. What fills it up is done at once.
    """
    size, (n, m) = 1 << (len(problems) - 1).bit_length(), shape
    epsilon = np.ones(size)
    epsilon[: len(problems)] = [problem.epsilon for problem in problems]
    far = PADDING_COST * (epsilon + sum(r for r in rho if math.isfinite(r)))
    cost = np.broadcast_to(far[:, None, None], (size, n, m)).copy()
    a, b = np.full((size, n), PADDING_MASS), np.full((size, m), PADDING_MASS)
    f, g = np.zeros((size, n)), np.zeros((size, m))
    for i, problem in enumerate(problems):
        rows, columns = problem.cost.shape
        cost[i, :rows, :columns] = problem.cost.rows()
        a[i, :rows], b[i, :columns] = problem.a, problem.b
        f[i, :rows] = 0.0 if problem.f is None else problem.f
        g[i, :columns] = 0.0 if problem.g is None else problem.g
    mass = np.full(size, np.inf)
    mass[: len(problems)] = [problem.a.sum() for problem in problems]
    return [jnp.asarray(array) for array in (cost, a, b, epsilon, f, g, mass)]


def _solve_batch(
    batch: list[Any], levels: int, tau: tuple[float, ...], tol: float, max_iter: int
) -> tuple[Any, ...]:
    cost, a, b, epsilon, f, g, mass = batch
    spent = 0
    for level in range(levels, 0, -1):
        eps, goal = epsilon * ANNEAL_FACTOR**level, ANNEAL_TOL * mass
        _, f, g, steps, _ = _sinkhorn(cost, a, b, eps, f, g, goal, tau=tau, max_iter=max_iter)
        spent = spent + steps
    plan, f, g, steps, converged = _sinkhorn(
        cost, a, b, epsilon, f, g, tol * mass, tau=tau, max_iter=max_iter
    )
    return plan, f, g, spent + steps, converged


@partial(jax.jit, static_argnames=("tau", "max_iter"))
def _sinkhorn(*arrays: jax.Array, tau: tuple[float, float], max_iter: int) -> tuple[Any, ...]:
    every, balanced = min(WINDOW, max_iter), tau == (1.0, 1.0)

    def solve(cost: Any, a: Any, b: Any, epsilon: Any, f: Any, g: Any, goal: Any) -> Any:
        problem = LinearProblem(
            Geometry(cost_matrix=cost, epsilon=epsilon), a=a, b=b, tau_a=tau[0], tau_b=tau[1]
        )
        solver = Sinkhorn(
            threshold=goal,
            inner_iterations=every,
            max_iterations=max_iter - max_iter % every,
            momentum=cast(Any, Momentum)(start=MOMENTUM_FROM) if balanced else None,
            recenter_potentials=not balanced,
        )
        out = solver(problem, init=(f, g))
        f, g = out.potentials
        if tau[0] == 1.0:  # rows are exact after a plain update
            f = problem.geom.update_potential(f, g, jnp.log(a), axis=1)
        steps = every * jnp.sum(jnp.asarray(out.errors) > -1)
        return problem.geom.transport_from_potentials(f, g), f, g, steps, out.converged

    return cast("tuple[Any, ...]", jax.vmap(solve)(*arrays))


def _unstack(found: tuple[Any, ...], problems: Sequence[Problem]) -> Iterator[Solved]:
    """Yield solutions without padding, as copies, so that the batch can be forgotten."""
    plan, f, g, steps, converged = (np.asarray(array) for array in found)
    for i, problem in enumerate(problems):
        n, m = problem.cost.shape
        yield Solved(
            plan=plan[i, :n, :m].copy(),
            f=f[i, :n].copy(),
            g=g[i, :m].copy(),
            iterations=int(steps[i]),
            converged=bool(converged[i]),
        )


# ---------------------------------------------------------------------------------------- low rank


def low_rank_sinkhorn(
    cost: PairCost, a: Float64Array, b: Float64Array, *, epsilon: float, **options: Any
) -> Solved:
    """Match cells of one space by a coupling of low rank, in time and memory linear in the cells.

    ``min <C, Q diag(1 / g) R'> - eps (H(Q) + H(R) + H(g))``, by mirror descent from random factors.
    Not convex: other seeds may end in other optima. Stops when a step changes the factors by less
    than ``tol``: the sum of their Jensen-Shannon divergences, for a mass of 1. Marginals are exact.
    Another eps compiles anew. See Scetbon, Cuturi and Peyré 2021, arXiv 2103.04737.
    """
    x, y = cost.in_euclidean_space()
    if cost.kind == "cosine":  # half the squared distance of rows of length 1
        x, y = math.sqrt(0.5) * x, math.sqrt(0.5) * y
    left, right = _cost_factors(x, y)
    mean = _mean_cost(left, right, a, b)  # steps are as long as the cost is large
    plan, known = _descend((left / mean, right), a, b, epsilon / mean, **options)
    transport_cost = float(((left.T @ plan.q) * (right.T @ plan.r) / plan.g).sum())
    return _low_rank_solved(plan, a, b, transport_cost, epsilon, known)


def low_rank_gromov(
    x: Float64Array,
    y: Float64Array,
    a: Float64Array,
    b: Float64Array,
    *,
    epsilon: float,
    scale: tuple[float, float] = (1.0, 1.0),
    **options: Any,
) -> Solved:
    """Match cells of two spaces by the distances within each, by a coupling of low rank.

    ``min sum_ijkl (X_ik - Y_jl)^2 T_ij T_kl - eps (H(Q) + H(R) + H(g))`` for
    ``T = Q diag(1 / g) R'``, where X and Y are the squared distances within source and target,
    divided by ``scale``. ``tol`` is that of :func:`low_rank_sinkhorn` over the square of the length
    of the step. See Scetbon, Peyré and Cuturi 2022, arXiv 2106.01128.
    """
    source, target = _cost_factors(x, x), _cost_factors(y, y)
    means = _mean_cost(*source, a, a), _mean_cost(*target, b, b)
    costs = source[0] / means[0], source[1], target[0] / means[1], target[1]
    # only -2 <X T Y, T> depends on T, hence the means of both costs can be taken out of it
    ratio = scale[0] * scale[1] / (means[0] * means[1] * float(a.sum()))
    plan, known = _descend(costs, a, b, epsilon * ratio, **options)
    scaled = (source[0] / scale[0], source[1]), (target[0] / scale[1], target[1])
    return _low_rank_solved(plan, a, b, _distortion(*scaled, plan), epsilon, known)


def _cost_factors(x: Float64Array, y: Float64Array) -> tuple[Float64Array, Float64Array]:
    """Factors (n, d + 2) and (m, d + 2) of the squared distances."""
    center = y.mean(axis=0)  # far from the origin, squares would cancel
    x, y = x - center, y - center
    squares_x, squares_y = (x**2).sum(axis=1, keepdims=True), (y**2).sum(axis=1, keepdims=True)
    left = np.hstack([squares_x, np.ones_like(squares_x), -2.0 * x])
    return left, np.hstack([np.ones_like(squares_y), squares_y, y])


def _mean_cost(left: Float64Array, right: Float64Array, a: Float64Array, b: Float64Array) -> float:
    mean = float((a @ left) @ (b @ right)) / float(a.sum() * b.sum())
    return mean if mean > 0 else 1.0


def _descend(
    costs: tuple[Float64Array, ...],
    a: Float64Array,
    b: Float64Array,
    epsilon: float,
    *,
    rank: int,
    tol: float,
    max_iter: int,
    seed: int,
) -> tuple[LowRankPlan, dict[str, Any]]:
    """Run a mirror descent on masses of sum 1, and return factors of the masses given."""
    mass, every = float(a.sum()), min(CHECK_EVERY, max_iter)
    for log_domain in (False, True):  # scalings are several times faster, but may overflow
        with _float64():
            arrays = _mirror_descent(
                tuple(jnp.asarray(factor) for factor in costs),
                jnp.asarray(a / mass),
                jnp.asarray(b / mass),
                float(tol),
                jax.random.key(seed),
                epsilon=float(epsilon),
                rank=rank,
                max_iter=max_iter - max_iter % every,
                every=every,
                log_domain=log_domain,
            )
            q, r, g, errors, converged = (np.array(array) for array in arrays)
        if np.isfinite(q).all() and np.isfinite(r).all() and (g > 0).all():
            break
    g *= mass / g.sum()
    plan = LowRankPlan(_rounded(mass * q, a, g), _rounded(mass * r, b, g), g)
    iterations = int((errors >= 0).sum()) * every
    return plan, {"iterations": iterations, "converged": bool(converged)}


def _rounded(factor: Float64Array, rows: Float64Array, columns: Float64Array) -> Float64Array:
    """Make marginals exact that are nearly these (Altschuler et al. 2017, arXiv 1705.09634)."""
    for axis, wanted in ((1, rows), (0, columns)):
        found = factor.sum(axis=axis)
        shrink = np.minimum(1.0, np.divide(wanted, found, out=np.ones_like(found), where=found > 0))
        factor = factor * np.expand_dims(shrink, axis)
    missing_rows = np.maximum(rows - factor.sum(axis=1), 0.0)
    missing_columns = np.maximum(columns - factor.sum(axis=0), 0.0)
    total = float(missing_rows.sum())
    return factor + np.outer(missing_rows, missing_columns) / total if total > 0 else factor


def _low_rank_solved(
    plan: LowRankPlan,
    a: Float64Array,
    b: Float64Array,
    transport_cost: float,
    epsilon: float,
    known: dict[str, Any],
) -> Solved:
    entropies = sum(float(entr(z).sum() + z.sum()) for z in (plan.q, plan.r, plan.g))
    return with_errors(
        plan,
        a,
        b,
        at_rest=known["converged"],
        transport_cost=transport_cost,
        objective=transport_cost - epsilon * entropies,
        epsilon=epsilon,
        **known,
    )


def _distortion(
    source: tuple[Float64Array, Float64Array],
    target: tuple[Float64Array, Float64Array],
    plan: LowRankPlan,
) -> float:
    """Value of ``sum_ijkl (X_ik - Y_jl)^2 T_ij T_kl``, from factors of X, Y and T."""
    inner, squares = [], 0.0
    for (left, right), factor in ((source, plan.q), (target, plan.r)):
        mass = factor.sum(axis=1)[:, None]
        inner.append((factor.T @ left) @ (right.T @ factor))
        squares += float(((left.T @ (mass * left)) * (right.T @ (mass * right))).sum())
    # q, r are couplings with g, so <X T Y, T> = <Q' X Q diag(1 / g), diag(1 / g) R' Y R>
    return squares - 2.0 * float((inner[0] * inner[1] / np.outer(plan.g, plan.g)).sum())


@jax.tree_util.register_pytree_node_class
class _FactoredCost(LRCGeometry):
    """Costs given as a product of factors."""

    def apply_square_cost(self, arr: jax.Array, axis: int = 0) -> jax.Array:
        """Apply the squared costs in d^2 memory. ott would build n x n, or n x d^2."""
        left, right = (self.cost_1, self.cost_2) if axis == 1 else (self.cost_2, self.cost_1)
        moments = (right.T * arr) @ right
        return ((left @ moments) * left).sum(axis=1, keepdims=True)


@partial(jax.jit, static_argnames=("epsilon", "rank", "max_iter", "every", "log_domain"))
def _mirror_descent(
    costs: tuple[Any, ...],
    a: jax.Array,
    b: jax.Array,
    tol: float,
    key: jax.Array,
    *,
    epsilon: float,
    rank: int,
    max_iter: int,
    every: int,
    log_domain: bool,
) -> tuple[jax.Array, ...]:
    """Descend with the factors of one cost between cells, or of two within modalities."""
    options: dict[str, Any] = {
        "rank": rank,
        "epsilon": epsilon,
        "threshold": tol,
        "max_iterations": max_iter,
        "inner_iterations": every,
        "lse_mode": log_domain,
        "kwargs_dys": DYKSTRA,
    }
    if len(costs) == 2:
        linear = LinearProblem(_FactoredCost(*costs), a=a, b=b)
        out: Any = LRSinkhorn(gamma=LINEAR_STEP, **options)(linear, rng=key)
    else:
        quadratic = QuadraticProblem(_FactoredCost(*costs[:2]), _FactoredCost(*costs[2:]), a=a, b=b)
        out = LRGromovWasserstein(gamma=GROMOV_STEP, min_iterations=0, **options)(
            quadratic, rng=key
        )
    return out.q, out.r, out.g, out.errors, jnp.asarray(out.converged)
