"""Fraction of samples closer than the true match, in a shared representation."""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.spatial.distance import cdist

from scgroove._types import Float64Array, IntArray, Labels
from scgroove.metrics._candidates import (
    METRICS,
    candidates,
    check_pair,
    check_partner,
    mean_of_directions,
    rows_per_block,
)

Metric: TypeAlias = Literal["euclidean", "cosine"]


@METRICS.register("foscttm")
def foscttm(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    partner: npt.ArrayLike | None = None,
    *,
    labels_x: Labels | None = None,
    labels_y: Labels | None = None,
    within_label: bool | None = None,
    metric: Metric = "euclidean",
    block_size: int | None = None,
) -> float:
    """Return the fraction of samples closer than the true match; 0 is perfect, 0.5 is chance.

    For a cell with true match p among n candidates,

    ``(#{candidates closer than p} + #{other candidates as close as p} / 2) / (n - 1)``,

    averaged over cells, then over both directions (x to y, y to x).

    Parameters
    ----------
    x, y
        Representations in one space, (n_x, d) and (n_y, d). The cells need not be as many.
    partner
        (n_x,) row of y that truly matches each row of x, -1 where there is none; None: row i matches row i.
    labels_x, labels_y
        Label of each cell; None and NaN mean unlabelled.
    within_label
        Candidates are the cells of the same label (the hard form), else all cells. Default: True if labels
        are given. Within labels, cells without a label, cells whose true match has another label, and cells
        whose label has a single candidate are left out.
    metric
        ``"euclidean"``, or ``"cosine"`` (Euclidean between rows of unit length, which ranks alike).
    block_size
        Rows compared at a time. Default: as many as fill 32 MB, so that memory stays linear in the cells.

    Returns
    -------
    float
        Mean over the two directions of the mean over scored cells.

    Raises
    ------
    ValueError
        If shapes, labels or partners do not fit, a value is not finite, or no cell can be scored.

    References
    ----------
    Liu et al. 2019, "Jointly embedding multiple single-cell omics measurements" (MMD-MA), section 3.

    Examples
    --------
    >>> x = [[0.0], [1.0], [2.0]]
    >>> foscttm(x, x)
    0.0
    >>> foscttm(x, [[2.0], [1.0], [0.0]])
    0.6666666666666666
    """
    return mean_of_directions(
        foscttm_per_cell(
            x,
            y,
            partner,
            labels_x=labels_x,
            labels_y=labels_y,
            within_label=within_label,
            metric=metric,
            block_size=block_size,
        )
    )


def foscttm_per_cell(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    partner: npt.ArrayLike | None = None,
    *,
    labels_x: Labels | None = None,
    labels_y: Labels | None = None,
    within_label: bool | None = None,
    metric: Metric = "euclidean",
    block_size: int | None = None,
) -> tuple[Float64Array, Float64Array]:
    """Return :func:`foscttm` of each cell, for both directions; NaN where a cell cannot be scored.

    Parameters and errors are those of :func:`foscttm`.

    Returns
    -------
    tuple of ndarray
        float64 (n_x,) for x to y and (n_y,) for y to x.
    """
    x, y = _in_metric(*check_pair(x, y), metric)
    partner = check_partner(partner, len(x), len(y))
    pool = candidates(len(x), len(y), labels_x, labels_y, within_label)
    rows = pool.with_candidate_partner(partner)
    out_x, out_y = np.full(len(x), np.nan), np.full(len(y), np.nan)
    for code in np.unique(pool.codes_x[rows]):
        mine = rows[pool.codes_x[rows] == code]
        all_x, all_y = np.flatnonzero(pool.codes_x == code), np.flatnonzero(pool.codes_y == code)
        match = partner[mine]
        out_x[mine] = share_closer(x[mine], y[all_y], np.searchsorted(all_y, match), block_size)
        out_y[match] = share_closer(y[match], x[all_x], np.searchsorted(all_x, mine), block_size)
    return out_x, out_y


def share_closer(
    query: Float64Array, pool: Float64Array, match: IntArray, block_size: int | None = None
) -> Float64Array:
    """Return, for each query, the share of the other candidates closer than its match; ties count one half.

    Distances are computed pair by pair, never by expanding the square, so that equal coordinates have equal
    distances to the last bit and a true match at distance 0 is not lost to rounding.

    Parameters
    ----------
    query, pool
        (q, d) and (n, d) coordinates.
    match
        (q,) row of ``pool`` that is the true match.
    block_size
        Queries at a time.

    Returns
    -------
    ndarray
        float64 (q,); NaN if there is but one candidate.
    """
    if len(pool) < 2:
        return np.full(len(query), np.nan)
    out = np.empty(len(query))
    step = rows_per_block(len(pool), block_size)
    for start in range(0, len(query), step):
        block = slice(start, start + step)
        distance = cdist(query[block], pool)
        own = np.take_along_axis(distance, match[block, None], axis=1)
        closer = np.count_nonzero(distance < own, axis=1)
        ties = np.count_nonzero(distance == own, axis=1) - 1
        out[block] = (closer + 0.5 * ties) / (len(pool) - 1)
    return out


def _in_metric(x: Float64Array, y: Float64Array, metric: str) -> tuple[Float64Array, Float64Array]:
    if metric == "euclidean":
        return x, y
    if metric != "cosine":
        raise ValueError(f"metric must be 'euclidean' or 'cosine'; found {metric!r}.")
    unit = []
    for name, z in (("x", x), ("y", y)):
        length = np.linalg.norm(z, axis=1, keepdims=True)
        if (length == 0).any():
            raise ValueError(
                f"metric='cosine' needs a direction: {int((length == 0).sum())} rows of {name} are all zero. "
                f"Leave them out, or use metric='euclidean'."
            )
        unit.append(z / length)
    return unit[0], unit[1]
