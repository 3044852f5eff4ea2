"""Plans of a block: dense, CSR, or by factors from which they are computed when needed.

An entropic plan of n x m cells follows from n + m potentials and the representations of the cells,
so a coupling of a million cells takes megabytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias

import numpy as np
import scipy.sparse as sp

from scgroove._types import Float64Array
from scgroove.aligners.costs import BlockCost, Factored, in_slices

NEGLIGIBLE: Final = 1e-200
"""Masses below this are zero: subnormal numbers make a product many times slower."""


@dataclass(frozen=True, eq=False)
class PotentialPlan(Factored):
    """Entropic plan ``T_ij = exp((f_i + g_j - C_ij) / eps)`` by its potentials f and g."""

    cost: BlockCost
    f: Float64Array
    g: Float64Array
    epsilon: float

    @property
    def shape(self) -> tuple[int, int]:
        """Shape (n, m)."""
        return self.cost.shape

    def rows(self, start: int = 0, stop: int | None = None) -> Float64Array:
        """Masses of some source cells."""
        out = self.cost.rows(start, stop)
        fill_kernel(out, out, self.f[start:stop], self.g, self.epsilon)
        return out

    def columns(self, start: int, stop: int) -> PotentialPlan:
        """Plan of some target cells only."""
        return replace(self, cost=self.cost.columns(start, stop), g=self.g[start:stop])

    def scaled(self, rows: Float64Array) -> PotentialPlan:
        """Plan ``diag(rows) T``."""
        with np.errstate(divide="ignore"):
            return replace(self, f=self.f + self.epsilon * np.log(rows))

    def is_valid(self) -> bool:
        """Whether the potentials are finite, or minus infinity for no mass, and eps is positive."""
        bounded = all((np.isfinite(p) | (p == -np.inf)).all() for p in (self.f, self.g))
        return bounded and 0 < self.epsilon < np.inf


@dataclass(frozen=True, eq=False)
class LowRankPlan(Factored):
    """Plan of low rank ``T = Q diag(1/g) R'``, with q (n, k), r (m, k) and g (k,)."""

    q: Float64Array
    r: Float64Array
    g: Float64Array

    @property
    def shape(self) -> tuple[int, int]:
        """Shape (n, m)."""
        return len(self.q), len(self.r)

    def rows(self, start: int = 0, stop: int | None = None) -> Float64Array:
        """Masses of some source cells."""
        return np.asarray((self.q[start:stop] / self.g) @ self.r.T)

    def columns(self, start: int, stop: int) -> LowRankPlan:
        """Plan of some target cells only."""
        return replace(self, r=self.r[start:stop])

    def scaled(self, rows: Float64Array) -> LowRankPlan:
        """Plan ``diag(rows) T``."""
        return replace(self, q=self.q * rows[:, None])

    def is_valid(self) -> bool:
        """Whether the factors are finite and not negative, and the inner masses positive."""
        finite = all(np.isfinite(part).all() for part in (self.q, self.r, self.g))
        return finite and bool(self.q.min() >= 0 and self.r.min() >= 0 and self.g.min() > 0)


BlockPlan: TypeAlias = "Float64Array | sp.csr_matrix | PotentialPlan | LowRankPlan"
FACTORED: Final = (PotentialPlan, LowRankPlan)


def fill_kernel(
    out: Float64Array, cost: Float64Array, f: Float64Array, g: Float64Array, epsilon: float
) -> None:
    """Write ``exp((f_i + g_j - C_ij) / eps)`` into ``out``, which may be the costs."""
    np.subtract(g, cost, out=out)
    out += f[:, None]
    out /= epsilon
    np.exp(out, out=out)
    out[out < NEGLIGIBLE] = 0.0


def is_valid(plan: Any) -> bool:
    """Whether a plan holds finite masses of at least 0."""
    if isinstance(plan, FACTORED):
        return plan.is_valid()
    values = np.asarray(plan.data if sp.issparse(plan) else plan)
    return not values.size or bool(values.min() >= 0 and np.isfinite(values.sum()))


def nbytes(plan: Any) -> int:
    """Memory that a plan keeps, in bytes."""
    if sp.issparse(plan):
        return int(plan.data.nbytes + plan.indices.nbytes + plan.indptr.nbytes)
    return int(plan.nbytes)


def slices(plan: Any) -> Iterator[tuple[int, int, Any]]:
    """Yield (start, stop, rows start to stop as array or CSR), some rows at a time."""
    for start, stop in in_slices(*plan.shape):
        yield start, stop, _rows(plan, start, stop)


def _rows(plan: Any, start: int, stop: int) -> Any:
    return plan.rows(start, stop) if isinstance(plan, FACTORED) else plan[start:stop]


def column_slice(plan: Any, start: int, stop: int) -> Float64Array:
    """Masses of some target cells, dense (n, stop - start)."""
    if isinstance(plan, FACTORED):
        return plan.columns(start, stop).rows()
    part = plan[:, start:stop]
    return np.asarray(part.toarray() if sp.issparse(part) else part)


def dot(plan: Any, y: Any) -> Any:
    """Product ``T y``. Sparse if both are."""
    if isinstance(plan, FACTORED):
        return np.concatenate([part for *_, part in products(plan, y)])
    return plan @ y


def tdot(plan: Any, x: Any) -> Any:
    """Product ``T' x``. Sparse if both are."""
    if isinstance(plan, LowRankPlan):
        return np.asarray((plan.r / plan.g) @ _times(plan.q.T, x))
    if isinstance(plan, PotentialPlan):
        bounds = in_slices(*plan.shape)
        parts = (_times(plan.rows(start, stop).T, x[start:stop]) for start, stop in bounds)
        return np.asarray(sum(parts))
    return plan.T @ x


def products(plan: Any, y: Any) -> Iterator[tuple[int, int, Any]]:
    """Yield (start, stop, rows start to stop of ``T y``), some rows at a time."""
    if isinstance(plan, LowRankPlan):
        inner = _times(plan.r.T, y) / plan.g[:, None]
        for start, stop in in_slices(len(plan.q), y.shape[1]):
            yield start, stop, plan.q[start:stop] @ inner
        return
    for start, stop in in_slices(plan.shape[0], max(plan.shape[1], y.shape[1])):
        part = _rows(plan, start, stop)
        yield start, stop, part @ y if sp.issparse(part) else _times(part, y)


def _times(left: Any, right: Any) -> Float64Array:
    """Product of a dense matrix and a dense or sparse one, dense."""
    return np.asarray((right.T @ left.T).T if sp.issparse(right) else left @ right)


def row_sums(plan: Any) -> Float64Array:
    """Sums ``T 1``, (n,), in float64 whatever the plan is kept in."""
    return np.asarray(dot(plan, np.ones((plan.shape[1], 1))), dtype=np.float64).ravel()


def column_sums(plan: Any) -> Float64Array:
    """Sums ``T' 1``, (m,), in float64 whatever the plan is kept in."""
    return np.asarray(tdot(plan, np.ones((plan.shape[0], 1))), dtype=np.float64).ravel()


def marginal_errors(plan: Any, a: Float64Array, b: Float64Array) -> tuple[float, float]:
    """L1 errors of the row and column sums of a plan."""
    return float(np.abs(row_sums(plan) - a).sum()), float(np.abs(column_sums(plan) - b).sum())


def scaled(plan: Any, rows: Float64Array) -> Any:
    """Plan ``diag(rows) T``, kept as the plan is."""
    if isinstance(plan, FACTORED):
        return plan.scaled(rows)
    return sp.csr_matrix(sp.diags(rows) @ plan) if sp.issparse(plan) else rows[:, None] * plan
