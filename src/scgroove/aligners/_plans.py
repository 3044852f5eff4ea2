"""Plans that are kept as factors and computed when they are needed: potentials, and low rank.

A block of n x m cells of an entropic coupling is known by its n + m potentials and the representations of its cells;
so a coupling of a million cells takes megabytes, and what is asked of it is computed some rows at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias

import numpy as np
import scipy.sparse as sp

from scgroove._types import Float64Array
from scgroove.aligners._sinkhorn import NEGLIGIBLE
from scgroove.aligners.costs import BlockCost, in_slices

Values: TypeAlias = "Float64Array | sp.csr_matrix"
"""Values of cells, (cells, k), dense or sparse."""

BLOCK_VALUES: Final = 2**22
"""Values computed at a time (32 MB of float64)."""


@dataclass(frozen=True, eq=False)
class PotentialPlan:
    """``T_ij = exp((f_i + g_j - C_ij) / eps)``: an entropic plan by its potentials.

    Attributes
    ----------
    cost
        Costs of the block, (n, m), computed when needed.
    f, g
        Potentials (n,) and (m,).
    epsilon
        Absolute eps.
    """

    cost: BlockCost
    f: Float64Array
    g: Float64Array
    epsilon: float

    @property
    def shape(self) -> tuple[int, int]:
        """(n, m)."""
        return self.cost.shape

    @property
    def nbytes(self) -> int:
        """Memory of the potentials and of what the costs are computed from."""
        return self.f.nbytes + self.g.nbytes + self.cost.nbytes

    def rows(self, start: int = 0, stop: int | None = None) -> Float64Array:
        """Return the masses of some source cells."""
        out = self.cost.rows(start, stop)
        np.subtract(self.g, out, out=out)
        out += self.f[start:stop, None]
        out /= self.epsilon
        np.exp(out, out=out)
        out[out < NEGLIGIBLE] = 0.0
        return out

    def dot(self, y: Values) -> Float64Array:
        """Return ``T y``."""
        return np.concatenate([_times(self.rows(*bounds), y) for bounds in self._slices()])

    def tdot(self, x: Values) -> Float64Array:
        """Return ``T' x``."""
        return np.asarray(
            sum(_times(self.rows(*bounds).T, x[slice(*bounds)]) for bounds in self._slices())
        )

    def scaled(self, rows: Float64Array) -> PotentialPlan:
        """Return ``diag(rows) T``."""
        with np.errstate(divide="ignore"):
            return replace(self, f=self.f + self.epsilon * np.log(rows))

    def check(self) -> bool:
        """Whether the potentials are finite (minus infinity: no mass) and eps positive."""
        bounded = all((np.isfinite(p) | (p == -np.inf)).all() for p in (self.f, self.g))
        return bounded and 0 < self.epsilon < np.inf

    def _slices(self) -> list[tuple[int, int]]:
        return in_slices(*self.shape, BLOCK_VALUES)


@dataclass(frozen=True, eq=False)
class LowRankPlan:
    """``T = Q diag(1/g) R'``: a plan of low rank.

    Attributes
    ----------
    q, r
        Non-negative factors (n, k) and (m, k).
    g
        Their inner masses (k,), positive.
    """

    q: Float64Array
    r: Float64Array
    g: Float64Array

    @property
    def shape(self) -> tuple[int, int]:
        """(n, m)."""
        return len(self.q), len(self.r)

    @property
    def nbytes(self) -> int:
        """Memory of the factors."""
        return self.q.nbytes + self.r.nbytes + self.g.nbytes

    def rows(self, start: int = 0, stop: int | None = None) -> Float64Array:
        """Return the masses of some source cells."""
        return np.asarray((self.q[start:stop] / self.g) @ self.r.T)

    def dot(self, y: Values) -> Float64Array:
        """Return ``T y`` through the k inner points: linear in the number of cells."""
        return np.asarray((self.q / self.g) @ _times(self.r.T, y))

    def tdot(self, x: Values) -> Float64Array:
        """Return ``T' x`` through the k inner points."""
        return np.asarray((self.r / self.g) @ _times(self.q.T, x))

    def scaled(self, rows: Float64Array) -> LowRankPlan:
        """Return ``diag(rows) T``."""
        return replace(self, q=self.q * rows[:, None])

    def check(self) -> bool:
        """Whether the factors are finite and not negative, and the inner masses positive."""
        finite = all(np.isfinite(part).all() for part in (self.q, self.r, self.g))
        return finite and bool(self.q.min() >= 0 and self.r.min() >= 0 and self.g.min() > 0)


BlockPlan: TypeAlias = "Float64Array | sp.csr_matrix | PotentialPlan | LowRankPlan"
"""A plan of a block: dense, CSR, or by factors."""

FACTORED: Final = (PotentialPlan, LowRankPlan)


def is_factored(plan: Any) -> bool:
    """Whether a plan is kept by its factors."""
    return isinstance(plan, FACTORED)


def is_valid(plan: Any) -> bool:
    """Whether a plan holds finite masses of at least 0."""
    if isinstance(plan, FACTORED):
        return plan.check()
    values = np.asarray(plan.data if sp.issparse(plan) else plan)
    return not values.size or bool(values.min() >= 0 and np.isfinite(values.sum()))


def nbytes(plan: Any) -> int:
    """Return the memory that a plan keeps, in bytes."""
    if sp.issparse(plan):
        return int(plan.data.nbytes + plan.indices.nbytes + plan.indptr.nbytes)
    return int(plan.nbytes)


def slices(plan: Any) -> Iterator[tuple[int, int, Any]]:
    """Yield (start, stop, rows start to stop as array or CSR), each of at most ``BLOCK_VALUES`` values."""
    n, m = plan.shape
    for start, stop in in_slices(n, m, BLOCK_VALUES):
        yield start, stop, plan.rows(start, stop) if is_factored(plan) else plan[start:stop]


def column_slice(plan: Any, start: int, stop: int) -> Float64Array:
    """Return the masses of some target cells, dense (n, stop - start)."""
    if isinstance(plan, LowRankPlan):
        return LowRankPlan(plan.q, plan.r[start:stop], plan.g).rows()
    if isinstance(plan, PotentialPlan):
        return replace(plan, cost=plan.cost.columns(start, stop), g=plan.g[start:stop]).rows()
    return np.asarray(plan[:, start:stop].toarray() if sp.issparse(plan) else plan[:, start:stop])


def dot(plan: Any, y: Any) -> Any:
    """Return ``T y`` for any plan; sparse if both are."""
    return plan.dot(y) if isinstance(plan, FACTORED) else plan @ y


def tdot(plan: Any, x: Any) -> Any:
    """Return ``T' x`` for any plan; sparse if both are."""
    return plan.tdot(x) if isinstance(plan, FACTORED) else plan.T @ x


def products(plan: Any, y: Any) -> Iterator[tuple[int, int, Any]]:
    """Yield (start, stop, rows start to stop of ``T y``), so that no more than ``BLOCK_VALUES`` are taken at a time."""
    if isinstance(plan, LowRankPlan):
        inner = _times(plan.r.T, y) / plan.g[:, None]
        for start, stop in in_slices(len(plan.q), y.shape[1], BLOCK_VALUES):
            yield start, stop, plan.q[start:stop] @ inner
        return
    for start, stop in in_slices(plan.shape[0], max(plan.shape[1], y.shape[1]), BLOCK_VALUES):
        part = plan.rows(start, stop) if isinstance(plan, PotentialPlan) else plan[start:stop]
        yield start, stop, part @ y if sp.issparse(part) else _times(part, y)


def _times(left: Any, right: Any) -> Float64Array:
    """Return the product of a dense matrix and a dense or sparse one, dense."""
    return np.asarray((right.T @ left.T).T if sp.issparse(right) else left @ right)


def row_sums(plan: Any) -> Float64Array:
    """Return ``T 1``, (n,), summed in float64 whatever the plan is kept in."""
    return _flat(dot(plan, np.ones((plan.shape[1], 1))))


def column_sums(plan: Any) -> Float64Array:
    """Return ``T' 1``, (m,), summed in float64 whatever the plan is kept in."""
    return _flat(tdot(plan, np.ones((plan.shape[0], 1))))


def scaled(plan: Any, rows: Float64Array) -> Any:
    """Return ``diag(rows) T``, kept as the plan is."""
    if isinstance(plan, FACTORED):
        return plan.scaled(rows)
    return sp.csr_matrix(sp.diags(rows) @ plan) if sp.issparse(plan) else rows[:, None] * plan


def _flat(values: Any) -> Float64Array:
    return np.asarray(values, dtype=np.float64).ravel()
