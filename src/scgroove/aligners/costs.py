"""Costs between the cells of a block, computed when they are needed, some rows at a time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields, replace
from typing import Final, Literal, TypeAlias, get_args

import numpy as np
from scipy.spatial.distance import cdist

from scgroove._types import Float64Array
from scgroove.errors import InputError

Cost: TypeAlias = Literal["sqeuclidean", "cosine"]
COSTS: Final[tuple[str, ...]] = get_args(Cost)

ROUNDING: Final = 1e-28
"""Square of the rounding of a mean, relative to that of the mean."""

BLOCK_VALUES: Final = 2**22
"""Values computed at a time (32 MB of float64)."""


class Factored:
    """Memory of what is kept as the arrays of a data class."""

    @property
    def nbytes(self) -> int:
        """Memory of all fields, in bytes."""
        values = (getattr(self, field.name) for field in fields(self))  # type: ignore[arg-type]
        return sum(int(getattr(value, "nbytes", 0)) for value in values)


class BlockCost(Factored, ABC):
    """Costs (n, m) of a block that are computed rather than kept."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int]:
        """Numbers of source and target cells, (n, m)."""

    @abstractmethod
    def rows(self, start: int = 0, stop: int | None = None) -> Float64Array:
        """Costs of some source cells, (stop - start, m). The caller may overwrite them."""

    @abstractmethod
    def columns(self, start: int, stop: int) -> BlockCost:
        """Costs to some target cells only, (n, stop - start)."""


@dataclass(frozen=True, eq=False)
class PairCost(BlockCost):
    """Costs between representations x (n, d) and y (m, d) in one space."""

    x: Float64Array
    y: Float64Array
    kind: Cost = "sqeuclidean"

    @property
    def shape(self) -> tuple[int, int]:
        """Shape (n, m)."""
        return len(self.x), len(self.y)

    def rows(self, start: int = 0, stop: int | None = None) -> Float64Array:
        """Costs of some source cells."""
        return pairwise_cost(self.x[start:stop], self.y, self.kind)

    def columns(self, start: int, stop: int) -> PairCost:
        """Costs to some target cells only."""
        return replace(self, y=self.y[start:stop])

    def in_euclidean_space(self) -> tuple[Float64Array, Float64Array]:
        """Representations whose Euclidean neighbors are those of the cost."""
        if self.kind == "cosine":
            return unit_rows(self.x, "source"), unit_rows(self.y, "target")
        return self.x, self.y


@dataclass(frozen=True, eq=False)
class BilinearCost(BlockCost):
    """Costs ``C_ij = r_i + c_j + <left_i, right_j>``, as of a quadratic problem around a coupling.

    r (n,), c (m,), left (n, k), right (m, k).
    """

    r: Float64Array
    c: Float64Array
    left: Float64Array
    right: Float64Array

    @property
    def shape(self) -> tuple[int, int]:
        """Shape (n, m)."""
        return self.r.size, self.c.size

    def rows(self, start: int = 0, stop: int | None = None) -> Float64Array:
        """Costs of some source cells."""
        out: Float64Array = self.left[start:stop] @ self.right.T
        out += self.r[start:stop, None]
        out += self.c
        return out

    def columns(self, start: int, stop: int) -> BilinearCost:
        """Costs to some target cells only."""
        return replace(self, c=self.c[start:stop], right=self.right[start:stop])


@dataclass(frozen=True, eq=False)
class SumCost(BlockCost):
    """Costs ``weight_first * first + weight_second * second``."""

    first: BlockCost
    second: BlockCost
    weight_first: float = 1.0
    weight_second: float = 1.0

    @property
    def shape(self) -> tuple[int, int]:
        """Shape (n, m)."""
        return self.first.shape

    def rows(self, start: int = 0, stop: int | None = None) -> Float64Array:
        """Costs of some source cells."""
        out = self.weight_second * self.second.rows(start, stop)
        out += self.weight_first * self.first.rows(start, stop)
        return out

    def columns(self, start: int, stop: int) -> SumCost:
        """Costs to some target cells only."""
        first, second = self.first.columns(start, stop), self.second.columns(start, stop)
        return replace(self, first=first, second=second)


@dataclass(frozen=True, eq=False)
class FixedCost(BlockCost):
    """Costs that are kept as a matrix (n, m), because they follow from nothing smaller."""

    matrix: Float64Array

    @property
    def shape(self) -> tuple[int, int]:
        """Shape (n, m)."""
        return self.matrix.shape[0], self.matrix.shape[1]

    def rows(self, start: int = 0, stop: int | None = None) -> Float64Array:
        """Costs of some source cells."""
        return self.matrix[start:stop].copy()

    def columns(self, start: int, stop: int) -> FixedCost:
        """Costs to some target cells only."""
        return replace(self, matrix=self.matrix[:, start:stop])


def pairwise_cost(x: Float64Array, y: Float64Array, cost: Cost = "sqeuclidean") -> Float64Array:
    """Squared Euclidean distances, or 1 - cosine similarities, between all cells, (n, m)."""
    if cost == "sqeuclidean":
        return np.asarray(cdist(x, y, "sqeuclidean"))
    half: Float64Array = cdist(unit_rows(x, "source"), unit_rows(y, "target"), "sqeuclidean")
    half *= 0.5
    return half


def unit_rows(x: Float64Array, side: str) -> Float64Array:
    """Scale rows to length 1. ``side`` names whose cells they are if one has length 0."""
    length = np.linalg.norm(x, axis=1, keepdims=True)
    if (length == 0).any():
        raise InputError(
            f"cost='cosine' needs a direction: {int((length == 0).sum())} {side} cells are at the "
            f"origin. Leave them out, or use cost='sqeuclidean'."
        )
    return np.asarray(x / length)


def mean_pairwise_cost(
    x: Float64Array,
    y: Float64Array,
    cost: Cost = "sqeuclidean",
    a: Float64Array | None = None,
    b: Float64Array | None = None,
) -> float:
    """Mean of :func:`pairwise_cost` over all pairs, weighted by a and b, in linear time."""
    if cost == "cosine":
        unit = unit_rows(x, "source"), unit_rows(y, "target")
        return 0.5 * mean_pairwise_cost(*unit, "sqeuclidean", a, b)
    center = np.average(y, axis=0, weights=b)
    spread = [((z - center) ** 2).sum(axis=1) for z in (x, y)]
    mean = float(np.average(spread[0], weights=a) + np.average(spread[1], weights=b))
    # all cells at one place leave the rounding of the center
    return mean if mean > ROUNDING * float(center @ center) else 0.0


def in_slices(n: int, width: int, values: int | None = None) -> list[tuple[int, int]]:
    """Bounds of slices of n rows, each of at most ``values`` values of rows this wide."""
    step = max(1, (BLOCK_VALUES if values is None else values) // max(1, width))
    return [(start, min(start + step, n)) for start in range(0, n, step)]
