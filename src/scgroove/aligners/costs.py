"""Costs between the cells of a block: computed when they are needed, some rows at a time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Literal, Protocol, TypeAlias

import numpy as np
from scipy.spatial.distance import cdist

from scgroove._types import Float64Array
from scgroove.errors import InputError

Cost: TypeAlias = Literal["sqeuclidean", "cosine"]
COSTS: Final[tuple[str, ...]] = ("sqeuclidean", "cosine")

ROUNDING: Final = 1e-28
"""Square of the rounding of a mean, relative to that of the mean."""


class BlockCost(Protocol):
    """Costs of a block that are computed rather than kept."""

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of source and target cells, (n, m)."""

    @property
    def nbytes(self) -> int:
        """Memory that it keeps, in bytes."""

    def rows(self, start: int = 0, stop: int | None = None) -> Float64Array:
        """Return the costs of some source cells, float64 (stop - start, m), anew: the caller may overwrite them."""

    def columns(self, start: int, stop: int) -> BlockCost:
        """Return the costs to some target cells only, (n, stop - start)."""


@dataclass(frozen=True, eq=False)
class PairCost:
    """Squared Euclidean distance, or 1 - cosine similarity, between representations in one space.

    Attributes
    ----------
    x, y
        Representations of the source (n, d) and target cells (m, d).
    kind
        ``"sqeuclidean"`` or ``"cosine"``.
    """

    x: Float64Array
    y: Float64Array
    kind: Cost = "sqeuclidean"

    @property
    def shape(self) -> tuple[int, int]:
        """(n, m)."""
        return len(self.x), len(self.y)

    @property
    def nbytes(self) -> int:
        """Memory of the two representations."""
        return self.x.nbytes + self.y.nbytes

    def rows(self, start: int = 0, stop: int | None = None) -> Float64Array:
        """Return the costs of some source cells."""
        return pairwise_cost(self.x[start:stop], self.y, self.kind)

    def columns(self, start: int, stop: int) -> PairCost:
        """Return the costs to some target cells only."""
        return replace(self, y=self.y[start:stop])


@dataclass(frozen=True, eq=False)
class BilinearCost:
    """``C_ij = r_i + c_j + <left_i, right_j>``: what a quadratic problem looks like around a coupling.

    Attributes
    ----------
    r, c
        (n,) and (m,).
    left, right
        (n, k) and (m, k).
    """

    r: Float64Array
    c: Float64Array
    left: Float64Array
    right: Float64Array

    @property
    def shape(self) -> tuple[int, int]:
        """(n, m)."""
        return self.r.size, self.c.size

    @property
    def nbytes(self) -> int:
        """Memory of the factors."""
        return sum(part.nbytes for part in (self.r, self.c, self.left, self.right))

    def rows(self, start: int = 0, stop: int | None = None) -> Float64Array:
        """Return the costs of some source cells."""
        out: Float64Array = self.left[start:stop] @ self.right.T
        out += self.r[start:stop, None]
        out += self.c
        return out

    def columns(self, start: int, stop: int) -> BilinearCost:
        """Return the costs to some target cells only."""
        return replace(self, c=self.c[start:stop], right=self.right[start:stop])


@dataclass(frozen=True, eq=False)
class SumCost:
    """``weight_first * first + weight_second * second``."""

    first: BlockCost
    second: BlockCost
    weight_first: float = 1.0
    weight_second: float = 1.0

    @property
    def shape(self) -> tuple[int, int]:
        """(n, m)."""
        return self.first.shape

    @property
    def nbytes(self) -> int:
        """Memory of both."""
        return self.first.nbytes + self.second.nbytes

    def rows(self, start: int = 0, stop: int | None = None) -> Float64Array:
        """Return the costs of some source cells."""
        out = self.weight_second * self.second.rows(start, stop)
        out += self.weight_first * self.first.rows(start, stop)
        return out

    def columns(self, start: int, stop: int) -> SumCost:
        """Return the costs to some target cells only."""
        return replace(
            self, first=self.first.columns(start, stop), second=self.second.columns(start, stop)
        )


@dataclass(frozen=True, eq=False)
class FixedCost:
    """Costs that are kept as they are, (n, m): where they follow from nothing smaller."""

    matrix: Float64Array

    @property
    def shape(self) -> tuple[int, int]:
        """(n, m)."""
        return self.matrix.shape[0], self.matrix.shape[1]

    @property
    def nbytes(self) -> int:
        """Memory of the matrix."""
        return self.matrix.nbytes

    def rows(self, start: int = 0, stop: int | None = None) -> Float64Array:
        """Return the costs of some source cells."""
        return self.matrix[start:stop].copy()

    def columns(self, start: int, stop: int) -> FixedCost:
        """Return the costs to some target cells only."""
        return replace(self, matrix=self.matrix[:, start:stop])


def pairwise_cost(x: Float64Array, y: Float64Array, cost: Cost = "sqeuclidean") -> Float64Array:
    """Return the costs between all cells, float64 (n, m): squared Euclidean, or 1 - cosine similarity.

    Raises
    ------
    ValueError
        If the cost is ``"cosine"`` and a cell is at the origin.
    """
    if cost == "sqeuclidean":
        return np.asarray(cdist(x, y, "sqeuclidean"))
    half: Float64Array = cdist(unit_rows(x, "source"), unit_rows(y, "target"), "sqeuclidean")
    half *= 0.5
    return half


def unit_rows(x: Float64Array, side: str) -> Float64Array:
    """Return the rows at length 1.

    Raises
    ------
    ValueError
        If a row has length 0; ``side`` names whose cells they are.
    """
    length = np.linalg.norm(x, axis=1, keepdims=True)
    if (length == 0).any():
        raise InputError(
            f"cost='cosine' needs a direction: {int((length == 0).sum())} {side} cells are at the origin. "
            f"Leave them out, or use cost='sqeuclidean'."
        )
    return np.asarray(x / length)


def mean_pairwise_cost(
    x: Float64Array,
    y: Float64Array,
    cost: Cost = "sqeuclidean",
    a: Float64Array | None = None,
    b: Float64Array | None = None,
) -> float:
    """Return the mean of :func:`pairwise_cost` over all pairs, in linear time; of cells with weights a (n,) and b (m,)."""
    if cost == "cosine":
        return 0.5 * mean_pairwise_cost(
            unit_rows(x, "source"), unit_rows(y, "target"), "sqeuclidean", a, b
        )
    center = np.average(y, axis=0, weights=b)
    spread = [((z - center) ** 2).sum(axis=1) for z in (x, y)]
    mean = float(np.average(spread[0], weights=a) + np.average(spread[1], weights=b))
    # cells all at one place: what is left is the rounding of the center
    return mean if mean > ROUNDING * float(center @ center) else 0.0


def in_slices(n: int, width: int, values: int) -> list[tuple[int, int]]:
    """Return the bounds of slices of n rows, each of at most ``values`` values of rows this wide."""
    step = max(1, values // max(1, width))
    return [(start, min(start + step, n)) for start in range(0, n, step)]
