"""A block as a solver takes it and gives it back."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.special import entr

from scgroove._types import Float64Array
from scgroove.aligners._plans import PotentialPlan, marginal_errors
from scgroove.aligners.costs import BlockCost


@dataclass(frozen=True, eq=False)
class Problem:
    """Transport problem of a block, ``min <C, T> - eps H(T)`` with marginals a (n,) and b (m,)."""

    cost: BlockCost  # (n, m), computed when the turn of the block comes
    a: Float64Array
    b: Float64Array
    epsilon: float = 0.0  # absolute
    f: Float64Array | None = None  # potentials to start from; None: from zero, through larger eps
    g: Float64Array | None = None


@dataclass(frozen=True, eq=False)
class Solved:
    """Solution of a block and what the solver said about it."""

    plan: Any  # (n, m): dense, CSR, or by factors
    f: Float64Array | None = None  # potentials, T_ij = exp((f_i + g_j - C_ij) / eps)
    g: Float64Array | None = None
    iterations: int = -1  # -1: the solver does not say
    converged: bool = True
    row_error: float = 0.0  # L1
    column_error: float = 0.0
    transport_cost: float = np.nan  # NaN: a block has none of its own
    objective: float = np.nan
    epsilon: float = 0.0
    cost_scale: float = 1.0  # what eps was relative to
    at_rest: bool = True  # whether a descent of several steps had come to rest
    n_unmatched: int = 0  # source cells that found no partner

    @property
    def potentials(self) -> tuple[Float64Array, Float64Array]:
        """Both potentials of an entropic solution."""
        assert self.f is not None
        assert self.g is not None
        return self.f, self.g


def judged(problem: Problem, solved: Solved, cost_scale: float = 1.0) -> Solved:
    """Add costs, objective and errors to an entropic solution, in the form that takes less memory.

    ``<C, T> + eps sum T (log T - 1) = <f, T1> + <g, T'1> - eps sum T``, so no costs are needed.
    """
    plan, (f, g), epsilon = solved.plan, solved.potentials, problem.epsilon
    rows, columns = plan.sum(axis=1), plan.sum(axis=0)
    objective = float(f @ rows + g @ columns - epsilon * rows.sum())
    negative_entropy = -float(entr(plan).sum() + rows.sum())
    factors = PotentialPlan(problem.cost, f, g, epsilon)
    return replace(
        solved,
        plan=factors if factors.nbytes < plan.nbytes else plan,
        transport_cost=objective - epsilon * negative_entropy,
        objective=objective,
        row_error=float(np.abs(rows - problem.a).sum()),
        column_error=float(np.abs(columns - problem.b).sum()),
        epsilon=epsilon,
        cost_scale=cost_scale,
    )


def with_errors(plan: Any, a: Float64Array, b: Float64Array, **known: Any) -> Solved:
    """Return a plan with its marginal errors."""
    row_error, column_error = marginal_errors(plan, a, b)
    return Solved(plan, row_error=row_error, column_error=column_error, **known)
