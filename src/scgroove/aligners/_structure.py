"""Distances inside a modality, as factors, for Gromov-Wasserstein problems.

    C = L R',  L and R of shape (n, r)

Squared Euclidean distances have rank d + 2, cosine distances d + 1, whatever the number of cells,
so nothing n x n is built. For the couplings T_l of the labels,

    (C T D)_l = L_l K V_l',  K = sum_k R_k' T_k W_k  (r x s),  C = L R', D = V W'

costs only what the blocks cost, though cells of all labels inform one another.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

import numpy as np
from scipy.spatial.distance import cdist

from scgroove._types import Float64Array, IntArray
from scgroove.aligners.costs import in_slices, unit_rows
from scgroove.aligners.values import check_representation
from scgroove.errors import InputError

IntraCost: TypeAlias = Literal["sqeuclidean", "cosine", "euclidean", "precomputed"]
LOW_RANK: Final = ("sqeuclidean", "cosine")

SMALL_MEAN: Final = 1e-3
"""Share of the root mean square below which a mean is no scale."""


@dataclass(frozen=True, eq=False)
class LowRankCost:
    """Symmetric costs ``C = left @ right.T`` between the cells of a modality, by factors (n, r).

    Give it in the place of a representation. Costs are divided by their mean. Where that is near 0
    or below, as for inner products and kernels, by their root mean square. Kernels whose rows sum
    to 0 (of centered data) make the product coupling stationary, so that a descent may stay there:
    take distances then.

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
        left = check_representation("left", self.left)
        right = check_representation("right", self.right)
        if left.shape != right.shape:
            raise InputError(
                f"left and right must have one shape; found {left.shape} and {right.shape}."
            )
        probe = np.random.default_rng(0).normal(size=len(left))
        there, back = left @ (right.T @ probe), right @ (left.T @ probe)
        rounding = 1e-6 * float(np.abs(there).max(initial=0.0))
        if not np.allclose(there, back, rtol=1e-6, atol=rounding):
            raise InputError(
                "left @ right.T must be symmetric: it holds costs between cells of one modality."
            )
        object.__setattr__(self, "left", left)
        object.__setattr__(self, "right", right)

    def __len__(self) -> int:
        return len(self.left)


@dataclass(frozen=True, eq=False)
class Structure:
    """Symmetric costs ``left @ right.T`` between the cells of a modality.

    ``right`` None stands for the identity: ``left`` is the matrix of the costs.
    """

    left: Float64Array
    right: Float64Array | None

    def __len__(self) -> int:
        return len(self.left)

    @property
    def width(self) -> int:
        """Columns of ``right``."""
        return int(self.left.shape[1])

    def times(self, cells: slice, z: Float64Array) -> Float64Array:
        """Product ``right[cells].T @ z``. Of the matrix, ``C[:, cells] @ z``."""
        if self.right is None:
            return np.asarray(self.left[:, cells] @ z)
        return np.asarray(self.right[cells].T @ z)

    def squared_dot(self, p: Float64Array) -> Float64Array:
        """Values ``sum_k C_ik^2 p_k``, (n,). In linear time by factors."""
        if self.right is None:
            bounds = in_slices(len(self), len(self))
            return np.concatenate([self.left[start:stop] ** 2 @ p for start, stop in bounds])
        inner = (self.right * p[:, None]).T @ self.right
        return np.asarray(((self.left @ inner) * self.left).sum(axis=1))

    def size(self) -> float:
        """Mean cost. The root mean square where that says nothing, as of kernels."""
        n = len(self)
        root = float(np.sqrt(max(self.squared_dot(np.full(n, 1.0 / n)).mean(), 0.0)))
        if self.right is None:
            size = float(self.left.mean())
        else:
            size = float(self.left.mean(axis=0) @ self.right.mean(axis=0))
        size = size if size > SMALL_MEAN * root else root
        return size if size > 0 else 1.0

    def divided(self, by: float) -> Structure:
        """Costs divided by a number."""
        return Structure(self.left / by, self.right)

    def as_matrix(self) -> Structure:
        """Costs as a matrix."""
        return self if self.right is None else Structure(self.left @ self.right.T, None)


def structure(given: Any, cells: IntArray, cost: IntraCost, side: str) -> Structure:
    """Costs between some cells of a modality, in their order. ``side`` is for messages.

    From a representation (n, d), a :class:`LowRankCost`, or costs (n, n) for ``"precomputed"``.
    """
    if isinstance(given, LowRankCost):
        return Structure(given.left[cells], given.right[cells])
    if cost == "precomputed":
        return Structure(given[np.ix_(cells, cells)], None)
    x = given[cells]
    if cost == "euclidean":
        return Structure(cdist(x, x), None)
    ones = np.ones((len(x), 1))
    if cost == "cosine":
        unit = unit_rows(x, side)
        return Structure(np.hstack([ones, -unit]), np.hstack([ones, unit]))
    x = x - x.mean(axis=0)
    lengths = (x**2).sum(axis=1, keepdims=True)
    return Structure(np.hstack([lengths, ones, -2.0 * x]), np.hstack([ones, lengths, x]))


def rank_of(given: Any, cost: IntraCost) -> int | None:
    """Rank of the factors of :func:`structure`, None if it makes a matrix."""
    if isinstance(given, LowRankCost):
        return int(given.left.shape[1])
    return int(given.shape[1]) + 2 if cost in LOW_RANK else None


def check_structure(name: str, given: Any, cost: IntraCost) -> Any:
    """Return what :func:`structure` takes: a matrix, square and symmetric if precomputed."""
    if isinstance(given, LowRankCost):
        return given
    array = check_representation(name, given)
    if cost != "precomputed":
        return array
    is_square = array.shape[0] == array.shape[1]
    if not is_square or not np.allclose(array, array.T, rtol=1e-6, atol=1e-9):
        raise InputError(
            f"intra_cost='precomputed' takes symmetric costs between the cells of a modality, "
            f"(n, n); {name} has shape {array.shape}{' but is not symmetric' if is_square else ''}."
        )
    return array
