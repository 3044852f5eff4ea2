"""Whether a confidence is the share of cells that are right."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from scgroove._types import Float64Array, IntArray
from scgroove.errors import InputError

N_BINS = 10


class Reliability(NamedTuple):
    """Cells in bins of their confidence, empty bins left out.

    Attributes
    ----------
    confidence
        Mean confidence of each bin.
    accuracy
        Share of its cells that are right.
    n
        Its cells.
    """

    confidence: Float64Array
    accuracy: Float64Array
    n: IntArray


def reliability(
    confidence: npt.ArrayLike, correct: npt.ArrayLike, *, n_bins: int = N_BINS
) -> Reliability:
    """Return mean confidence and share of right cells in bins of equal width from 0 to 1.

    Parameters
    ----------
    confidence
        Probability that each cell is right, (n,).
    correct
        Whether it is, (n,).
    n_bins
        Bins; with few cells in each, chance alone keeps the two apart.

    Raises
    ------
    ValueError
        If shapes differ, there are no cells, or a confidence is not between 0 and 1.

    Examples
    --------
    >>> found = reliability([0.55, 0.95, 0.95, 0.95], [True, True, True, False])
    >>> found.n.tolist(), found.accuracy.round(2).tolist()
    ([1, 3], [1.0, 0.67])
    """
    p, right = np.asarray(confidence, dtype=np.float64), np.asarray(correct, dtype=np.float64)
    if p.shape != right.shape or p.ndim != 1 or not p.size:
        raise InputError(
            f"confidence and correct must be one value a cell, for one cell or more; found shapes {p.shape} and {right.shape}."
        )
    if not ((p >= 0) & (p <= 1)).all():
        raise InputError(f"confidences lie between 0 and 1; found {p.min():g} to {p.max():g}.")
    if n_bins < 1:
        raise InputError(f"n_bins must be at least 1; found {n_bins}.")
    bins = np.minimum((p * n_bins).astype(np.intp), n_bins - 1)
    n = np.bincount(bins, minlength=n_bins)
    filled = n > 0
    confident, accurate = (
        np.bincount(bins, weights=w, minlength=n_bins)[filled] / n[filled] for w in (p, right)
    )
    return Reliability(confident, accurate, n[filled])


def expected_calibration_error(
    confidence: npt.ArrayLike, correct: npt.ArrayLike, *, n_bins: int = N_BINS
) -> float:
    """Return the mean distance between confidence and share of right cells, over bins, weighted by their cells.

    ``sum_b (n_b / n) |accuracy_b - confidence_b|``. 0: of cells with confidence 0.8, 80 % are right. It says nothing of how many
    are right, and is above 0 by chance: by about ``sqrt(n_bins / (2 pi n))`` for confidences around one half.

    Parameters
    ----------
    confidence, correct, n_bins
        As for :func:`reliability`; the same errors.

    References
    ----------
    Guo et al. 2017, On calibration of modern neural networks, ICML.

    Examples
    --------
    >>> expected_calibration_error([0.75, 0.75, 0.75, 0.75], [True, True, True, False])
    0.0
    """
    found = reliability(confidence, correct, n_bins=n_bins)
    gap = np.abs(found.accuracy - found.confidence)
    return float(gap @ found.n / found.n.sum())
