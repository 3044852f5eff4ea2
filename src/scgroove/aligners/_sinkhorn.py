"""Entropic optimal transport of one block: stabilised Sinkhorn scaling.

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


@dataclass(frozen=True)
class Scaled:
    """A solved block.

    Attributes
    ----------
    plan
        float64 (n, m); rows sum to ``a`` up to rounding.
    iterations
        Iterations in all, those spent on larger eps included.
    converged
        Whether the column error fell below the tolerance.
    """

    plan: Float64Array
    iterations: int
    converged: bool


def sinkhorn(
    cost: Float64Array, a: Float64Array, b: Float64Array, epsilon: float, *, tol: float, max_iter: int
) -> Scaled:
    """Solve ``min <C, T> - eps H(T)`` over T >= 0 with rows summing to ``a`` and columns to ``b``.

    Parameters
    ----------
    cost
        C, float64 (n, m).
    a, b
        Positive masses of the source (n,) and target cells (m,), of equal sum.
    epsilon
        Absolute eps, in units of the cost.
    tol
        Stop when the L1 error of the columns, relative to the mass, is below this. Rows are exact.
    max_iter
        Largest number of iterations over all eps.

    Returns
    -------
    Scaled
        The plan and how it was reached. One array of the size of ``cost`` is taken beside it: the plan.
    """
    kernel = np.empty_like(cost)
    f, g = np.zeros_like(a), np.zeros_like(b)
    spent, error = 0, np.inf
    for eps in annealing(float(cost.mean()), epsilon):
        goal = tol if eps == epsilon else ANNEAL_TOL
        f, g, steps, error = _scale(
            cost, kernel, (a, b), (f, g), eps, goal * float(a.sum()), max_iter - spent
        )
        spent += steps
    _fill(kernel, cost, f, g, epsilon)
    return Scaled(kernel, spent, error <= tol * float(a.sum()))


def annealing(scale: float, epsilon: float) -> list[float]:
    """Return the eps to pass through, from about ``scale / 20`` down to ``epsilon``; often just that one."""
    steps = max(0, int(np.ceil(np.log(max(scale, epsilon) / 20.0 / epsilon) / np.log(ANNEAL_FACTOR))))
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
    """Scale at one eps until the column error is at most ``goal``; return potentials, iterations, error."""
    a, b = marginals
    f, g = _log_update(cost, kernel, marginals, potentials, eps)
    _fill(kernel, cost, f, g, eps)
    u, v = np.ones_like(a), np.ones_like(b)
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
            new_v = v * (b / (v * columns)) ** omega
            new_u = u * (a / (u * (kernel @ new_v))) ** omega
        if not (np.isfinite(new_u).all() and np.isfinite(new_v).all()):
            f, g = _log_update(cost, kernel, marginals, (f + eps * np.log(u), g + eps * np.log(v)), eps)
        elif _safe(new_u) and _safe(new_v):
            u, v = new_u, new_v
            continue
        else:
            f, g = f + eps * np.log(new_u), g + eps * np.log(new_v)
        _fill(kernel, cost, f, g, eps)
        u, v = np.ones_like(a), np.ones_like(b)
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


def _safe(scaling: Float64Array) -> bool:
    return bool(scaling.max() < SAFE_SCALING and scaling.min() > 1.0 / SAFE_SCALING)


def _fill(kernel: Float64Array, cost: Float64Array, f: Float64Array, g: Float64Array, eps: float) -> None:
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
) -> tuple[Float64Array, Float64Array]:
    """Update g from f, then f from g, by logsumexp: exact whatever the size of C / eps."""
    a, b = marginals
    f, _ = potentials
    np.subtract(f[:, None], cost, out=work)
    g = eps * (np.log(b) - _logsumexp(work, eps, axis=0))
    np.subtract(g, cost, out=work)
    f = eps * (np.log(a) - _logsumexp(work, eps, axis=1))
    return f, g


def _logsumexp(work: Float64Array, eps: float, axis: int) -> Float64Array:
    """Return log sum exp(work / eps) along an axis; overwrites ``work``."""
    work /= eps
    top = work.max(axis=axis, keepdims=True)
    work -= top
    np.exp(work, out=work)
    return np.asarray(np.log(work.sum(axis=axis)) + top.squeeze(axis))
