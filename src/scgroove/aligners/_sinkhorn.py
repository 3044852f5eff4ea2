"""Entropic optimal transport of one block by stabilized Sinkhorn scaling.

    T = diag(u) K diag(v),  K_ij = exp((f_i + g_j - C_ij) / eps),  T 1 = a,  T' 1 = b

Scalings cost two matrix-vector products an iteration, ten times less than updates in the log
domain, but overflow at small eps. They are absorbed into the potentials f, g whenever they leave a
safe range. Where a kernel has underflowed to an empty row or column, one update is made in the log
domain. Small eps is reached through larger ones (annealing).

References
----------
Cuturi 2013, arXiv 1306.0895. Schmitzer 2019, arXiv 1610.06519 (absorption and annealing).
"""

from __future__ import annotations

from typing import Final, TypeAlias

import numpy as np

from scgroove._types import Float64Array
from scgroove.aligners._plans import fill_kernel
from scgroove.aligners._problem import Problem, Solved

Pair: TypeAlias = tuple[Float64Array, Float64Array]

SAFE_SCALING: Final = 1e30
"""Scalings above this, or below its inverse, are absorbed into the potentials."""

WINDOW: Final = 20
"""Iterations between two looks at the error."""

MAX_OMEGA: Final = 1.99
"""Largest over-relaxation."""

ANNEAL_FACTOR: Final = 4.0
ANNEAL_TOL: Final = 1e-2
"""Ratio of one eps to the next while annealing, and the relative error at which to go on."""


def sinkhorn(problem: Problem, *, tol: float, max_iter: int) -> Solved:
    """Solve ``min <C, T> - eps H(T)`` over T >= 0 with rows summing to a and columns to b.

    Stops when the L1 error of the columns, relative to the mass, is below ``tol``, or after
    ``max_iter`` iterations over all eps. Rows are exact. The plan is dense.
    """
    cost, masses, epsilon = problem.cost.rows(), (problem.a, problem.b), problem.epsilon
    kernel = np.empty_like(cost)
    potentials, path = _start(problem, cost)
    if problem.f is None:
        potentials = _log_update(cost, kernel, masses, potentials[0], path[0])
    mass, spent, error = float(problem.a.sum()), 0, np.inf
    for eps in path:
        goal = mass * (tol if eps == epsilon else ANNEAL_TOL)
        potentials, steps, error = _scale(
            cost, kernel, masses, potentials, eps, goal, max_iter - spent
        )
        spent += steps
    return Solved(kernel, *potentials, spent, error <= tol * mass)


def unbalanced_sinkhorn(
    problem: Problem, rho: tuple[float, float], *, tol: float, max_iter: int
) -> Solved:
    """Solve ``min <C, T> - eps H(T) + rho_1 KL(T1 | a) + rho_2 KL(T'1 | b)`` over T >= 0.

    Updates in the log domain, each damped by rho / (rho + eps). After each, the potentials are
    shifted against one another by the best constant, which plain iterations are slow to find.
    Stops when no potential changes by more than ``tol``, in units of eps, in an iteration.

    References
    ----------
    Chizat et al. 2018, arXiv 1607.05816. Séjourné, Vialard and Peyré 2022, arXiv 2201.00730
    (the shift).
    """
    cost, masses, epsilon = problem.cost.rows(), (problem.a, problem.b), problem.epsilon
    work = np.empty_like(cost)
    (f, g), path = _start(problem, cost)
    spent, change = 0, np.inf
    for eps in path:
        goal = tol if eps == epsilon else ANNEAL_TOL
        change = np.inf
        while change > goal and spent < max_iter:
            old_f, old_g = f, g
            f, g = _shift(*_log_update(cost, work, masses, f, eps, rho), masses, rho)
            change = max(float(np.abs(f - old_f).max()), float(np.abs(g - old_g).max())) / eps
            spent += 1
    fill_kernel(work, cost, f, g, epsilon)
    return Solved(work, f, g, spent, change <= tol)


def _shift(f: Float64Array, g: Float64Array, masses: Pair, rho: tuple[float, float]) -> Pair:
    """Add to f, and take from g, the constant that is best for the dual problem."""
    if not np.isfinite(rho).all():
        return f, g
    logs = []
    for weights, potential, penalty in zip(masses, (f, g), rho, strict=True):
        exponent = -potential / penalty
        top = float(exponent.max())
        logs.append(top + float(np.log(weights @ np.exp(exponent - top))))
    constant = rho[0] * rho[1] / (rho[0] + rho[1]) * (logs[0] - logs[1])
    return f + constant, g - constant


def _start(problem: Problem, cost: Float64Array) -> tuple[Pair, list[float]]:
    """Potentials to start from, and the eps to pass through."""
    f = np.zeros_like(problem.a) if problem.f is None else problem.f
    g = np.zeros_like(problem.b) if problem.g is None else problem.g
    warm = problem.f is not None
    return (f, g), [problem.epsilon] if warm else annealing(float(cost.mean()), problem.epsilon)


def annealing(scale: float, epsilon: float) -> list[float]:
    """The eps to pass through, from about ``scale / 20`` down to ``epsilon``."""
    ratio = max(scale, epsilon) / 20.0 / epsilon
    steps = max(0, int(np.ceil(np.log(ratio) / np.log(ANNEAL_FACTOR))))
    return [epsilon * ANNEAL_FACTOR**k for k in range(steps, 0, -1)] + [epsilon]


def _scale(
    cost: Float64Array,
    kernel: Float64Array,
    masses: Pair,
    potentials: Pair,
    eps: float,
    goal: float,
    max_iter: int,
) -> tuple[Pair, int, float]:
    """Scale at one eps until the column error is at most ``goal``, leaving the plan in ``kernel``.

    Starts with an update of the rows. Returns potentials, iterations and error.
    """
    a, b = masses
    f, g = potentials
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):  # they may be far off
        fill_kernel(kernel, cost, f, g, eps)
        u, v = a / kernel.sum(axis=1), np.ones_like(b)
    if not _is_safe(u):
        f, g = _log_update(cost, kernel, masses, f, eps)
        fill_kernel(kernel, cost, f, g, eps)
        u = np.ones_like(a)
    omega, last_error = 1.0, np.inf
    for iteration in range(max_iter + 1):
        columns = u @ kernel
        if iteration % WINDOW == 0 or iteration == max_iter:
            error = float(np.abs(v * columns - b).sum())
            if error <= goal or iteration == max_iter:
                break
            omega = _over_relaxation(omega, error / last_error)
            last_error = error
        # plain before a look, so that the rows are exact when the error is taken
        plain = (iteration + 1) % WINDOW == 0 or iteration + 1 == max_iter
        power = 1.0 if plain else omega
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            new_v = _overshoot(v, b / columns, power)
            new_u = _overshoot(u, a / (kernel @ new_v), power)
        if _is_safe(new_u) and _is_safe(new_v):
            u, v = new_u, new_v
            continue
        if np.isfinite(new_u).all() and np.isfinite(new_v).all():
            f, g = f + eps * np.log(new_u), g + eps * np.log(new_v)
        else:
            f, g = _log_update(cost, kernel, masses, f + eps * np.log(u), eps)
        fill_kernel(kernel, cost, f, g, eps)
        u, v = np.ones_like(a), np.ones_like(b)
    kernel *= u[:, None]
    kernel *= v
    return (f + eps * np.log(u), g + eps * np.log(v)), iteration, error


def _over_relaxation(omega: float, fall: float) -> float:
    """Best over-relaxation, learned from the fall of the error over a window at ``omega``.

    An update u <- u^(1 - omega) (a / K v)^omega with 1 < omega < 2 converges faster than omega = 1.
    Near the solution the error falls by lambda an iteration, where
    (lambda + omega - 1)^2 = lambda omega^2 eta and eta is the rate of omega = 1. The best is
    omega = 2 / (1 + sqrt(1 - eta)).

    References
    ----------
    Thibault et al. 2021, arXiv 1711.01851.
    """
    rate = fall ** (1.0 / WINDOW)
    if not 0 < rate < 1:
        return 1.0
    eta = min((rate + omega - 1.0) ** 2 / (rate * omega**2), 1.0)
    return float(min(2.0 / (1.0 + np.sqrt(1.0 - eta)), MAX_OMEGA))


def _overshoot(old: Float64Array, plain: Float64Array, omega: float) -> Float64Array:
    return plain if omega == 1.0 else old * (plain / old) ** omega


def _is_safe(scaling: Float64Array) -> bool:
    """Whether all scalings are far from overflow. NaN is not."""
    return bool(scaling.max() < SAFE_SCALING and scaling.min() > 1.0 / SAFE_SCALING)


def _log_update(
    cost: Float64Array,
    work: Float64Array,
    masses: Pair,
    f: Float64Array,
    eps: float,
    rho: tuple[float, float] = (np.inf, np.inf),
) -> Pair:
    """Update g from f, then f from g, by logsumexp, which is exact whatever the size of C / eps."""
    damping = [1.0 if np.isinf(r) else r / (r + eps) for r in rho]
    np.subtract(f[:, None], cost, out=work)
    g = damping[1] * eps * (np.log(masses[1]) - _logsumexp(work, eps, axis=0))
    np.subtract(g, cost, out=work)
    return damping[0] * eps * (np.log(masses[0]) - _logsumexp(work, eps, axis=1)), g


def _logsumexp(work: Float64Array, eps: float, axis: int) -> Float64Array:
    """Values of log sum exp(work / eps) along an axis. Overwrites ``work``."""
    work /= eps
    top = work.max(axis=axis, keepdims=True)
    work -= top
    np.exp(work, out=work)
    return np.asarray(np.log(work.sum(axis=axis)) + top.squeeze(axis))
