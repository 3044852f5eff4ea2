"""Distances inside a modality, as factors: what Gromov-Wasserstein problems are made of.

    C = L R',  L and R of shape (n, r)

Squared Euclidean distances have rank d + 2, cosine distances d + 1, whatever the number of cells. Then nothing n x n is
ever built, and for the couplings T_l of the labels,

    (C T D)_l = L_l K V_l',  K = sum_k R_k' T_k W_k  (r x s),  C = L R', D = V W'

costs only what the blocks cost, though cells of all labels inform one another.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol, TypeAlias

import numpy as np
from scipy.spatial.distance import cdist

from scgroove._types import Float64Array, IntArray
from scgroove.aligners._plans import BLOCK_VALUES
from scgroove.aligners.base import check_representation
from scgroove.aligners.costs import in_slices, unit_rows
from scgroove.errors import InputError

IntraCost: TypeAlias = Literal["sqeuclidean", "cosine", "euclidean", "precomputed"]
INTRA_COSTS: Final[tuple[str, ...]] = ("sqeuclidean", "cosine", "euclidean", "precomputed")
LOW_RANK: Final = ("sqeuclidean", "cosine")

SMALL_MEAN: Final = 1e-3
"""Share of the root mean square below which a mean is no scale."""


@dataclass(frozen=True, eq=False)
class LowRankCost:
    """Symmetric costs between the cells of a modality, ``C = left @ right.T``: give it in the place of a representation.

    Costs are divided by their mean; where that is near 0 or below, as for inner products and kernels, by their root mean square.
    Kernels whose rows sum to 0 (of centered data) make the product coupling stationary, so that a descent may stay there: take
    distances then.

    Attributes
    ----------
    left, right
        Factors, float64 (n, r).

    Raises
    ------
    ValueError
        If the factors do not fit one another, hold NaN, or their product is not symmetric.

    Examples
    --------
    Diffusion distances, kernels, or any other costs with factors:

    >>> import numpy as np
    >>> from scgroove.aligners import GromovWasserstein, LowRankCost
    >>> z = np.arange(8.0).reshape(4, 2)
    >>> same = LowRankCost(-z, z)  # minus the inner product
    >>> GromovWasserstein(epsilon=0.1).align(same, same).shape
    (4, 4)
    """

    left: Float64Array
    right: Float64Array

    def __post_init__(self) -> None:
        """Check the factors."""
        left, right = (
            check_representation("left", self.left),
            check_representation("right", self.right),
        )
        if left.shape != right.shape:
            raise InputError(
                f"left and right must have one shape; found {left.shape} and {right.shape}."
            )
        probe = np.random.default_rng(0).normal(size=len(left))
        there, back = left @ (right.T @ probe), right @ (left.T @ probe)
        if not np.allclose(
            there, back, rtol=1e-6, atol=1e-6 * float(np.abs(there).max(initial=0.0))
        ):
            raise InputError(
                "left @ right.T must be symmetric: it holds costs between cells of one modality."
            )
        object.__setattr__(self, "left", left)
        object.__setattr__(self, "right", right)

    def __len__(self) -> int:
        """Number of cells."""
        return len(self.left)


def size_of(costs: Structure, scale: str) -> float:
    """Return what costs are divided by: their mean or largest; their root mean square where the mean says nothing.

    Distances have a mean of that order. Inner products and kernels may have one of 0 or below.
    """
    n = len(costs)
    root = float(np.sqrt(max(costs.squared_dot(np.full(n, 1.0 / n)).mean(), 0.0)))
    size = costs.mean() if scale == "mean" else costs.largest()
    size = size if size > SMALL_MEAN * root else root
    return size if size > 0 else 1.0


class Structure(Protocol):
    """Symmetric costs C between the n cells of a modality."""

    def __len__(self) -> int:
        """Number of cells."""

    def mean(self) -> float:
        """Return the mean cost over all pairs."""

    def largest(self) -> float:
        """Return the largest cost."""

    def squared_dot(self, p: Float64Array) -> Float64Array:
        """Return ``sum_k C_ik^2 p_k``, (n,)."""


@dataclass(frozen=True, eq=False)
class Factors:
    """Costs by factors; see :class:`LowRankCost`."""

    left: Float64Array
    right: Float64Array

    def __len__(self) -> int:
        """Number of cells."""
        return len(self.left)

    def mean(self) -> float:
        """Return the mean cost over all pairs, in linear time."""
        return float(self.left.mean(axis=0) @ self.right.mean(axis=0))

    def largest(self) -> float:
        """Return the largest cost, some rows at a time."""
        bounds = in_slices(len(self), len(self), BLOCK_VALUES)
        return max(float((self.left[start:stop] @ self.right.T).max()) for start, stop in bounds)

    def squared_dot(self, p: Float64Array) -> Float64Array:
        """Return ``sum_k C_ik^2 p_k = L_i' (R' diag(p) R) L_i``, (n,), in time linear in n."""
        inner = (self.right * p[:, None]).T @ self.right
        return np.asarray(((self.left @ inner) * self.left).sum(axis=1))


@dataclass(frozen=True, eq=False)
class Matrix:
    """Costs as they are, (n, n): for costs without factors."""

    values: Float64Array

    def __len__(self) -> int:
        """Number of cells."""
        return len(self.values)

    def mean(self) -> float:
        """Return the mean cost over all pairs."""
        return float(self.values.mean())

    def largest(self) -> float:
        """Return the largest cost."""
        return float(self.values.max())

    def squared_dot(self, p: Float64Array) -> Float64Array:
        """Return ``sum_k C_ik^2 p_k``, (n,)."""
        bounds = in_slices(len(self), len(self), BLOCK_VALUES)
        return np.concatenate([self.values[start:stop] ** 2 @ p for start, stop in bounds])


def structure(given: Any, cells: IntArray, cost: IntraCost, side: str) -> Factors | Matrix:
    """Return the costs between some cells of a modality.

    Parameters
    ----------
    given
        Representation (n, d), :class:`LowRankCost`, or the costs themselves (n, n) for ``"precomputed"``.
    cells
        Positions of the cells that take part, in the order wanted.
    cost
        Which costs.
    side
        ``"source"`` or ``"target"``, for messages.

    Returns
    -------
    Factors or Matrix
        Of these cells.

    Raises
    ------
    ValueError
        If a cell is at the origin under the cosine.
    """
    if isinstance(given, LowRankCost):
        return Factors(given.left[cells], given.right[cells])
    if cost == "precomputed":
        return Matrix(given[np.ix_(cells, cells)])
    x = given[cells]
    if cost == "euclidean":
        return Matrix(cdist(x, x))
    ones = np.ones((len(x), 1))
    if cost == "cosine":
        unit = unit_rows(x, side)
        return Factors(np.hstack([ones, -unit]), np.hstack([ones, unit]))
    x = x - x.mean(axis=0)
    lengths = (x**2).sum(axis=1, keepdims=True)
    return Factors(np.hstack([lengths, ones, -2.0 * x]), np.hstack([ones, lengths, x]))


def rescaled(given: Factors | Matrix, by: float) -> Factors | Matrix:
    """Return the costs divided by a number."""
    if isinstance(given, Factors):
        return Factors(given.left / by, given.right)
    return Matrix(given.values / by)


def as_matrix(given: Factors | Matrix) -> Matrix:
    """Return the costs as a matrix (n, n)."""
    return given if isinstance(given, Matrix) else Matrix(given.left @ given.right.T)


def rank_of(given: Any, cost: IntraCost) -> int | None:
    """Return the rank of the factors that :func:`structure` will make; None if it makes a matrix."""
    if isinstance(given, LowRankCost):
        return int(given.left.shape[1])
    return int(given.shape[1]) + 2 if cost in LOW_RANK else None


def check_structure(name: str, given: Any, cost: IntraCost) -> Any:
    """Return what :func:`structure` takes, checked.

    Raises
    ------
    ValueError
        If it is no matrix, holds NaN, or precomputed costs are not square and symmetric.
    """
    if isinstance(given, LowRankCost):
        return given
    array = check_representation(name, given)
    if cost != "precomputed":
        return array
    if array.shape[0] != array.shape[1] or not np.allclose(array, array.T, rtol=1e-6, atol=1e-9):
        raise InputError(
            f"intra_cost='precomputed' takes symmetric costs between the cells of a modality, (n, n); {name} has shape "
            f"{array.shape}{'' if array.shape[0] != array.shape[1] else ' but is not symmetric'}."
        )
    return array
