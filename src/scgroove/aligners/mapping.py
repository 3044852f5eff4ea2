"""Sending cells that took no part in a coupling to the target."""

from __future__ import annotations

from collections.abc import Iterator
from numbers import Real
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from scgroove._types import Float64Array
from scgroove.aligners.base import check_representations
from scgroove.aligners.costs import COSTS, Cost, mean_pairwise_cost, pairwise_cost
from scgroove.aligners.values import check_values, is_finite, rows_not_finite
from scgroove.errors import InputError, did_you_mean

BLOCK_VALUES: Final = 2**22
"""Costs, or values, computed at a time (32 MB of float64)."""


def entropic_map(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    values: npt.ArrayLike | sp.spmatrix | sp.sparray,
    *,
    epsilon: float = 0.05,
    cost: Cost = "sqeuclidean",
) -> tuple[npt.NDArray[np.float32], float]:
    """Return means of target values weighted by closeness in a shared representation.

    ``sum_j w_ij v_j`` with ``w_ij = exp(-c(x_i, y_j) / eps) / sum_k exp(-c(x_i, y_k) / eps)``: the entropic map with
    zero potentials. In blocks of rows; nothing (n, m) is built.

    Parameters
    ----------
    x, y
        Representations of the source cells (n, d) and target cells (m, d) in one space.
    values
        What to average, (m, p), dense or scipy sparse (kept sparse). Finite: every cell gets a share of every value.
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
        If the representations or values do not fit or are not finite, a side has no cells, eps is no positive number, or
        the cost is unknown.

    References
    ----------
    Pooladian and Niles-Weed 2021, arXiv 2109.12004, equation 9.
    """
    x, y = check_representations(x, y)
    checked = _check(x, y, values, epsilon, cost)
    held: Any = checked.T if sp.issparse(checked) else np.asarray(checked, dtype=np.float32)
    width = int(checked.shape[1])
    absolute = epsilon * (mean_pairwise_cost(x, y, cost) or 1.0)
    mapped = np.empty((len(x), width), dtype=np.float32)
    for rows, weights in _weights(x, y, absolute, cost, width):
        # sparse values: (V' W')' keeps V sparse
        mapped[rows] = (
            (held @ weights.T).T if sp.issparse(held) else weights.astype(np.float32) @ held
        )
    return mapped, absolute


def entropic_partners(
    x: npt.ArrayLike, y: npt.ArrayLike, *, epsilon: float = 0.05, cost: Cost = "sqeuclidean"
) -> Float64Array:
    """Return how many target cells :func:`entropic_map` averages for each source cell, ``1 / sum_j w_ij**2``, (n,).

    Parameters and errors are those of :func:`entropic_map`.
    """
    x, y = check_representations(x, y)
    _check(x, y, np.zeros((len(y), 1)), epsilon, cost)
    absolute = epsilon * (mean_pairwise_cost(x, y, cost) or 1.0)
    out = np.empty(len(x))
    for rows, weights in _weights(x, y, absolute, cost, 1):
        out[rows] = 1.0 / np.square(weights).sum(axis=1)
    return out


def _weights(
    x: Float64Array, y: Float64Array, absolute: float, cost: Cost, width: int
) -> Iterator[tuple[slice, Float64Array]]:
    """Yield source rows and their weights over all target cells, some rows at a time."""
    step = max(1, BLOCK_VALUES // max(len(y), width))
    for start in range(0, len(x), step):
        rows = slice(start, start + step)
        yield rows, _softmax(pairwise_cost(x[rows], y, cost), absolute)


def _check(x: Float64Array, y: Float64Array, values: Any, epsilon: Any, cost: Any) -> Any:
    """Return the values as a matrix of numbers, dense or CSR; refuse what cannot be used."""
    if (
        isinstance(epsilon, bool)
        or not isinstance(epsilon, Real)
        or not 0 < float(epsilon) < np.inf
    ):
        chosen = " Only aligners choose it; 0.05 is usual here." if epsilon == "auto" else ""
        raise InputError(
            f"epsilon must be positive, relative to the mean cost; found {epsilon!r}.{chosen}"
        )
    if cost not in COSTS:
        hint = did_you_mean(cost, COSTS)
        raise InputError(
            f"cost must be one of {', '.join(map(repr, COSTS))}; found {cost!r}.{hint}"
        )
    if not (len(x) and len(y)):
        raise InputError(
            f"both modalities need cells; found {len(x)} source and {len(y)} target cells. Without source cells there is "
            f"nothing to map, without target cells nothing to average."
        )
    found = check_values("values", values, len(y), "target")
    if not is_finite(found):
        bad = rows_not_finite(found)
        raise InputError(
            f"values holds NaN or infinite values in {int(bad.sum())} of {bad.size} target cells, first in cell "
            f"{int(bad.argmax())}, which would spread to every source cell. Leave those cells or columns out, or fill the "
            f"values in."
        )
    return found


def _softmax(cost: Float64Array, epsilon: float) -> Float64Array:
    cost -= cost.min(axis=1, keepdims=True)
    cost /= -epsilon
    np.exp(cost, out=cost)
    cost /= cost.sum(axis=1, keepdims=True)
    return cost
