"""Entropic optimal transport of one block: stabilized Sinkhorn scaling.

    T = diag(u) K diag(v),  K_ij = exp((f_i + g_j - C_ij) / eps),  T 1 = a,  T' 1 = b

Scalings u, v cost two matrix-vector products an iteration, ten times less than updates in the log domain, but
overflow at small eps. So they are absorbed into the potentials f, g whenever they leave a safe range, and
where a kernel has underflowed to an empty row or column, one update is made in the log domain. Small eps is reached
through larger ones (annealing), each started from the potentials of the last.

References
----------
Cuturi 2013, arXiv 1306.0895; Schmitzer 2019, arXiv 1610.06519 (absorption and annealing).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from scgroove._types import Float64Array

SAFE_SCALING: Final = 1e30
"""Scalings above this, or below its inverse, are absorbed into the potentials."""

NEGLIGIBLE: Final = 1e-200
"""Kernel entries below this are taken for zero: subnormal numbers make a product many times slower. They come
back, if they should, when the kernel is filled anew."""

WINDOW: Final = 20
"""Iterations between two looks at the error."""

MAX_OMEGA: Final = 1.99
"""Largest over-relaxation."""

ANNEAL_FACTOR: Final = 4.0
"""Ratio of one eps to the next while annealing."""

ANNEAL_TOL: Final = 1e-2
"""Marginal error, relative to the mass, at which annealing goes on to the next eps."""


@dataclass(frozen=True, eq=False)
class Problem:
    """One entropic problem, ``min <C, T> - eps H(T)``.

    Attributes
    ----------
    cost
        C, float64 (n, m).
    a, b
        Positive masses of the source (n,) and target cells (m,); of equal sum unless the marginals are relaxed.
    epsilon
        Absolute eps, in units of the cost.
    f, g
        Potentials (n,) and (m,) to start from, such as those of a problem nearby; None: from zero, through larger eps.
    """

    cost: Float64Array
    a: Float64Array
    b: Float64Array
    epsilon: float
    f: Float64Array | None = None
    g: Float64Array | None = None


@dataclass(frozen=True, eq=False)
class Scaled:
    """A solved problem.

    Attributes
    ----------
    plan
        T, float64 (n, m); rows sum to ``a`` up to rounding where they must.
    f, g
        Potentials (n,) and (m,): ``T_ij = exp((f_i + g_j - C_ij) / eps)``.
    iterations
        Iterations in all, those spent on larger eps included.
    converged
        Whether the tolerance was reached.
    """

    plan: Float64Array
    f: Float64Array
    g: Float64Array
    iterations: int
    converged: bool


def sinkhorn(problem: Problem, *, tol: float, max_iter: int) -> Scaled:
    """Solve a problem over T >= 0 with rows summing to ``a`` and columns to ``b``.

    Parameters
    ----------
    problem
        Costs, masses, eps and potentials to start from.
    tol
        Stop when the L1 error of the columns, relative to the mass, is below this. Rows are exact.
    max_iter
        Largest number of iterations over all eps.

    Returns
    -------
    Scaled
        The plan and how it was reached. One array of the size of the cost is taken beside it: the plan.
    """
    cost, a, b, epsilon = problem.cost, problem.a, problem.b, problem.epsilon
    kernel = np.empty_like(cost)
    f, g = _start(problem)
    warm = problem.f is not None
    path = [epsilon] if warm else annealing(float(cost.mean()), epsilon)
    if not warm:
        f, g = _log_update(cost, kernel, (a, b), (f, g), path[0])
    spent, error = 0, np.inf
    for eps in path:
        goal = tol if eps == epsilon else ANNEAL_TOL
        f, g, steps, error = _scale(
            cost, kernel, (a, b), (f, g), eps, goal * float(a.sum()), max_iter - spent
        )
        spent += steps
    return Scaled(kernel, f, g, spent, error <= tol * float(a.sum()))


def unbalanced_sinkhorn(
    problem: Problem, rho: tuple[float, float], *, tol: float, max_iter: int
) -> Scaled:
    """Solve ``min <C, T> - eps H(T) + rho_1 KL(T1 | a) + rho_2 KL(T'1 | b)`` over T >= 0.

    Updates in the log domain, each damped by rho / (rho + eps); after each, the potentials are shifted against
    one another by the best constant, which is what plain iterations are slow to find.

    Parameters
    ----------
    problem
        Costs, masses, eps and potentials to start from.
    rho
        Absolute penalties of the two marginals; infinite: met exactly.
    tol
        Stop when no potential changes by more than this, in units of eps, in an iteration.
    max_iter
        Largest number of iterations over all eps.

    Returns
    -------
    Scaled
        The plan and how it was reached.

    References
    ----------
    Chizat et al. 2018, arXiv 1607.05816; Séjourné, Vialard and Peyré 2022, arXiv 2201.00730 (the shift).
    """
    cost, epsilon = problem.cost, problem.epsilon
    work = np.empty_like(cost)
    f, g = _start(problem)
    path = annealing(float(cost.mean()), epsilon) if problem.f is None else [epsilon]
    spent, change = 0, np.inf
    for eps in path:
        goal = tol if eps == epsilon else ANNEAL_TOL
        change = np.inf
        while change > goal and spent < max_iter:
            old = f, g
            f, g = _log_update(cost, work, (problem.a, problem.b), (f, g), eps, rho)
            f, g = _shift(f, g, (problem.a, problem.b), rho)
            change = (
                max(float(np.abs(new - was).max()) for new, was in zip((f, g), old, strict=True))
                / eps
            )
            spent += 1
    _fill(work, cost, f, g, epsilon)
    return Scaled(work, f, g, spent, change <= tol)


def _shift(
    f: Float64Array,
    g: Float64Array,
    marginals: tuple[Float64Array, Float64Array],
    rho: tuple[float, float],
) -> tuple[Float64Array, Float64Array]:
    """Add to f, and take from g, the constant that is best for the dual problem."""
    if not np.isfinite(rho).all():
        return f, g
    (a, b), (rho_1, rho_2) = marginals, rho
    ratio = _log_mean(a, -f / rho_1) - _log_mean(b, -g / rho_2)
    constant = rho_1 * rho_2 / (rho_1 + rho_2) * ratio
    return f + constant, g - constant


def _log_mean(weights: Float64Array, exponent: Float64Array) -> float:
    """Return log sum_i w_i exp(e_i)."""
    top = float(exponent.max())
    return top + float(np.log(weights @ np.exp(exponent - top)))


def _start(problem: Problem) -> tuple[Float64Array, Float64Array]:
    f = np.zeros_like(problem.a) if problem.f is None else problem.f
    g = np.zeros_like(problem.b) if problem.g is None else problem.g
    return f, g


def annealing(scale: float, epsilon: float) -> list[float]:
    """Return the eps to pass through, from about ``scale / 20`` down to ``epsilon``; often just that one."""
    steps = max(
        0, int(np.ceil(np.log(max(scale, epsilon) / 20.0 / epsilon) / np.log(ANNEAL_FACTOR)))
    )
    return [epsilon * ANNEAL_FACTOR**k for k in range(steps, 0, -1)] + [epsilon]


def _scale(
    cost: Float64Array,
    kernel: Float64Array,
    marginals: tuple[Float64Array, Float64Array],
    potentials: tuple[Float64Array, Float64Array],
    eps: float,
    goal: float,
    max_iter: int,
) -> tuple[Float64Array, Float64Array, int, float]:
    """Scale at one eps until the column error is at most ``goal``; return potentials, iterations, error.

    Starts with an update of the rows, and leaves the plan in ``kernel``.
    """
    a, b = marginals
    f, g = potentials
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):  # they may be far off
        _fill(kernel, cost, f, g, eps)
        u, v = a / kernel.sum(axis=1), np.ones_like(b)
    if not _safe(u):
        f, g = _log_update(cost, kernel, marginals, potentials, eps)
        _fill(kernel, cost, f, g, eps)
        u = np.ones_like(a)
    pace = _Pace()
    for iteration in range(max_iter + 1):
        columns = u @ kernel
        if pace.is_plain(iteration) or iteration == max_iter:
            error = float(np.abs(v * columns - b).sum())
            if error <= goal or iteration == max_iter:
                break
            pace.see(error)
        omega = 1.0 if pace.is_plain(iteration + 1) or iteration + 1 == max_iter else pace.omega
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            new_v = _overshoot(v, b / columns, omega)
            new_u = _overshoot(u, a / (kernel @ new_v), omega)
        if _safe(new_u) and _safe(new_v):
            u, v = new_u, new_v
            continue
        if np.isfinite(new_u).all() and np.isfinite(new_v).all():
            f, g = f + eps * np.log(new_u), g + eps * np.log(new_v)
        else:
            f, g = _log_update(
                cost, kernel, marginals, (f + eps * np.log(u), g + eps * np.log(v)), eps
            )
        _fill(kernel, cost, f, g, eps)
        u, v = np.ones_like(a), np.ones_like(b)
    kernel *= u[:, None]
    kernel *= v
    return f + eps * np.log(u), g + eps * np.log(v), iteration, error


class _Pace:
    """How far to overshoot each update, learnt from how fast the error falls.

    An update u <- u^(1 - omega) (a / K v)^omega with 1 < omega < 2 converges faster than omega = 1. Near the solution
    the error falls by lambda an iteration, where (lambda + omega - 1)^2 = lambda omega^2 eta and eta is the rate of
    omega = 1; the best is omega = 2 / (1 + sqrt(1 - eta)). Each window of ``WINDOW`` iterations ends in a plain
    one, after which the rows are exact and the error is taken; eta is inferred from it and omega set anew.

    References
    ----------
    Thibault et al. 2021, arXiv 1711.01851.
    """

    def __init__(self) -> None:
        self.omega = 1.0
        self.last = np.inf

    def is_plain(self, iteration: int) -> bool:
        """Whether an error is to be taken before this iteration, hence the one before it is plain."""
        return iteration % WINDOW == 0

    def see(self, error: float) -> None:
        """Learn from the error at the end of a window."""
        rate = (error / self.last) ** (1.0 / WINDOW)
        self.last = error
        if not 0 < rate < 1:
            self.omega = 1.0
            return
        eta = min((rate + self.omega - 1.0) ** 2 / (rate * self.omega**2), 1.0)
        self.omega = min(2.0 / (1.0 + np.sqrt(1.0 - eta)), MAX_OMEGA)


def _overshoot(old: Float64Array, plain: Float64Array, omega: float) -> Float64Array:
    """Return ``old^(1 - omega) plain^omega``."""
    return plain if omega == 1.0 else old * (plain / old) ** omega


def _safe(scaling: Float64Array) -> bool:
    """Whether all scalings are far from overflow; False for NaN."""
    return bool(scaling.max() < SAFE_SCALING and scaling.min() > 1.0 / SAFE_SCALING)


def _fill(
    kernel: Float64Array, cost: Float64Array, f: Float64Array, g: Float64Array, eps: float
) -> None:
    """Write K = exp((f + g - C) / eps) into ``kernel``."""
    np.subtract(g, cost, out=kernel)
    kernel += f[:, None]
    kernel /= eps
    np.exp(kernel, out=kernel)
    kernel[kernel < NEGLIGIBLE] = 0.0


def _log_update(
    cost: Float64Array,
    work: Float64Array,
    marginals: tuple[Float64Array, Float64Array],
    potentials: tuple[Float64Array, Float64Array],
    eps: float,
    rho: tuple[float, float] = (np.inf, np.inf),
) -> tuple[Float64Array, Float64Array]:
    """Update g from f, then f from g, by logsumexp: exact whatever the size of C / eps."""
    a, b = marginals
    f, _ = potentials
    damping = [1.0 if np.isinf(r) else r / (r + eps) for r in rho]
    np.subtract(f[:, None], cost, out=work)
    g = damping[1] * eps * (np.log(b) - _logsumexp(work, eps, axis=0))
    np.subtract(g, cost, out=work)
    f = damping[0] * eps * (np.log(a) - _logsumexp(work, eps, axis=1))
    return f, g


def _logsumexp(work: Float64Array, eps: float, axis: int) -> Float64Array:
    """Return log sum exp(work / eps) along an axis; overwrites ``work``."""
    work /= eps
    top = work.max(axis=axis, keepdims=True)
    work -= top
    np.exp(work, out=work)
    return np.asarray(np.log(work.sum(axis=axis)) + top.squeeze(axis))
