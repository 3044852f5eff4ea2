"""Sending cells that took no part in a coupling to the target."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from scgroove._types import Float64Array
from scgroove.aligners.costs import Cost, in_slices, mean_pairwise_cost, pairwise_cost
from scgroove.aligners.values import check_representation, check_values, is_finite, rows_not_finite
from scgroove.errors import InputError


def entropic_map(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    values: npt.ArrayLike | sp.spmatrix | sp.sparray,
    *,
    epsilon: float = 0.05,
    cost: Cost = "sqeuclidean",
) -> tuple[npt.NDArray[np.float32], float]:
    """Return means of target values weighted by closeness in a shared representation.

    ``sum_j w_ij v_j`` with ``w_ij = exp(-c(x_i, y_j) / eps) / sum_k exp(-c(x_i, y_k) / eps)``: the
    entropic map with zero potentials. In blocks of rows. Nothing (n, m) is built.

    Parameters
    ----------
    x, y
        Representations of the source cells (n, d) and target cells (m, d) in one space.
    values
        What to average, (m, p), dense or scipy sparse (kept sparse). Finite: every cell gets a
        share of every value.
    epsilon
        eps, relative to the mean cost between the given cells: a positive number.
    cost
        ``"sqeuclidean"`` or ``"cosine"``.

    Returns
    -------
    mapped
        float32 (n, p).
    absolute
        The absolute eps.

    Raises
    ------
    ValueError
        If the representations or values do not fit or are not finite, a side has no cells, or eps
        is no positive number.

    References
    ----------
    Pooladian and Niles-Weed 2021, arXiv 2109.12004, equation 9.
    """
    source, target, absolute = _prepared(x, y, epsilon, cost)
    found = check_values("values", values, len(target), "target")
    if not is_finite(found):
        bad = rows_not_finite(found)
        raise InputError(
            f"values holds NaN or infinite values in {int(bad.sum())} of {bad.size} target cells, "
            f"first in cell {int(bad.argmax())}, which would spread to every source cell. Leave "
            f"those cells or columns out, or fill the values in."
        )
    width = int(found.shape[1])
    held: Any = found.T if sp.issparse(found) else np.asarray(found, dtype=np.float32)
    mapped = np.empty((len(source), width), dtype=np.float32)
    for rows, weights in _weights(source, target, absolute, cost, width):
        if sp.issparse(held):
            mapped[rows] = (held @ weights.T).T  # (V' W')' keeps V sparse
        else:
            mapped[rows] = weights.astype(np.float32) @ held
    return mapped, absolute


def entropic_partners(
    x: npt.ArrayLike, y: npt.ArrayLike, *, epsilon: float = 0.05, cost: Cost = "sqeuclidean"
) -> Float64Array:
    """Return how many target cells :func:`entropic_map` averages, ``1 / sum_j w_ij**2``, (n,).

    Parameters and errors are those of :func:`entropic_map`.
    """
    source, target, absolute = _prepared(x, y, epsilon, cost)
    out = np.empty(len(source))
    for rows, weights in _weights(source, target, absolute, cost, 1):
        out[rows] = 1.0 / np.square(weights).sum(axis=1)
    return out


def _prepared(
    x: npt.ArrayLike, y: npt.ArrayLike, epsilon: Any, cost: Cost
) -> tuple[Float64Array, Float64Array, float]:
    source, target = check_representation("x", x), check_representation("y", y)
    if source.shape[1] != target.shape[1]:
        raise InputError(
            f"this method needs both modalities in one space: found {source.shape[1]} dimensions "
            f"in the source and {target.shape[1]} in the target. Use a shared representation."
        )
    if not 0 < epsilon < np.inf:
        raise InputError(f"epsilon must be positive, relative to the mean cost; found {epsilon!r}.")
    if not (len(source) and len(target)):
        raise InputError(
            f"both modalities need cells; found {len(source)} source and {len(target)} target "
            f"cells. Without source cells there is nothing to map, without target cells nothing "
            f"to average."
        )
    return source, target, epsilon * (mean_pairwise_cost(source, target, cost) or 1.0)


def _weights(
    x: Float64Array, y: Float64Array, absolute: float, cost: Cost, width: int
) -> Iterator[tuple[slice, Float64Array]]:
    """Yield source rows and their weights over all target cells, some rows at a time."""
    for start, stop in in_slices(len(x), max(len(y), width)):
        weights = pairwise_cost(x[start:stop], y, cost)
        weights -= weights.min(axis=1, keepdims=True)
        weights /= -absolute
        np.exp(weights, out=weights)
        weights /= weights.sum(axis=1, keepdims=True)
        yield slice(start, stop), weights
