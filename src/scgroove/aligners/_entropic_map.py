"""Sending cells that took no part in a coupling to the target."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from scgroove._types import Float64Array
from scgroove.aligners._base import check_representations
from scgroove.aligners._costs import Cost, mean_pairwise_cost, pairwise_cost

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
        What to average, (m, p), dense or scipy sparse (kept sparse).
    epsilon
        eps, relative to the mean cost between the given cells.
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
        If the representations do not fit, or eps is not positive.

    References
    ----------
    Pooladian and Niles-Weed 2021, arXiv 2109.12004, equation 9.
    """
    x, y = check_representations(x, y)
    if not epsilon > 0:
        raise ValueError(f"epsilon must be positive, relative to the mean cost; found {epsilon!r}.")
    held: Any = sp.csr_matrix(values).T if sp.issparse(values) else np.asarray(values, dtype=np.float32)
    width = int(np.shape(values)[1])
    absolute = epsilon * (mean_pairwise_cost(x, y, cost) or 1.0)
    mapped = np.empty((len(x), width), dtype=np.float32)
    step = max(1, BLOCK_VALUES // max(len(y), width))
    for start in range(0, len(x), step):
        weights = _softmax(pairwise_cost(x[start : start + step], y, cost), absolute)
        # sparse values: (V' W')' keeps V sparse
        block = (held @ weights.T).T if sp.issparse(held) else weights.astype(np.float32) @ held
        mapped[start : start + step] = block
    return mapped, absolute


def _softmax(cost: Float64Array, epsilon: float) -> Float64Array:
    cost -= cost.min(axis=1, keepdims=True)
    cost /= -epsilon
    np.exp(cost, out=cost)
    cost /= cost.sum(axis=1, keepdims=True)
    return cost
