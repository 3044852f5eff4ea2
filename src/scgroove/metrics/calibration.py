"""Calibration: whether a confidence is the share of cells that are right."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from scgroove._types import Float64Array, IntArray
from scgroove._validate import checked
from scgroove.errors import InputError

N_BINS = 10


class Reliability(NamedTuple):
    """Mean confidence, share of right cells and number of cells of each bin that has cells."""

    confidence: Float64Array
    accuracy: Float64Array
    n: IntArray


@checked
def reliability(
    confidence: npt.ArrayLike, correct: npt.ArrayLike, *, n_bins: int = N_BINS
) -> Reliability:
    """Mean confidence and share of right cells in bins of equal width from 0 to 1.

    Parameters
    ----------
    confidence
        Probability that each cell is right, (n,).
    correct
        Whether it is, (n,).
    n_bins
        Number of bins. With few cells in each, chance alone keeps the two apart.

    Raises
    ------
    ValueError
        If shapes differ, there are no cells, or a confidence is not between 0 and 1.

    Examples
    --------
    >>> bins = reliability([0.55, 0.95, 0.95, 0.95], [True, True, True, False])
    >>> bins.n.tolist(), bins.accuracy.round(2).tolist()
    ([1, 3], [1.0, 0.67])
    """
    p, right = np.asarray(confidence, dtype=np.float64), np.asarray(correct, dtype=np.float64)
    if p.shape != right.shape or p.ndim != 1 or not p.size:
        raise InputError(
            f"confidence and correct must be one value a cell, for one cell or more; found shapes "
            f"{p.shape} and {right.shape}."
        )
    if not ((p >= 0) & (p <= 1)).all():
        raise InputError(f"confidences lie between 0 and 1; found {p.min():g} to {p.max():g}.")
    # sklearn's calibration_curve has no counts, and puts edges into the lower bin
    bins = np.minimum((p * n_bins).astype(np.intp), n_bins - 1)
    n = np.bincount(bins, minlength=n_bins)
    filled = n > 0
    sums = [np.bincount(bins, weights=w, minlength=n_bins)[filled] for w in (p, right)]
    return Reliability(sums[0] / n[filled], sums[1] / n[filled], n[filled])


def expected_calibration_error(
    confidence: npt.ArrayLike, correct: npt.ArrayLike, *, n_bins: int = N_BINS
) -> float:
    """Mean distance between confidence and share of right cells, over bins.

    ``sum_b (n_b / n) |accuracy_b - confidence_b|``. 0: of cells with confidence 0.8, 80 % are
    right. It does not depend on how many are right, and is above 0 by chance: by about
    ``sqrt(n_bins / (2 pi n))`` for confidences around one half.

    Parameters
    ----------
    confidence
        Probability that each cell is right, (n,).
    correct
        Whether it is, (n,).
    n_bins
        Number of bins of equal width from 0 to 1.

    Raises
    ------
    ValueError
        If shapes differ, there are no cells, or a confidence is not between 0 and 1.

    References
    ----------
    Guo et al. 2017, On calibration of modern neural networks, ICML.

    Examples
    --------
    >>> expected_calibration_error([0.75, 0.75, 0.75, 0.75], [True, True, True, False])
    0.0
    """
    bins = reliability(confidence, correct, n_bins=n_bins)
    return float(np.abs(bins.accuracy - bins.confidence) @ bins.n / bins.n.sum())
