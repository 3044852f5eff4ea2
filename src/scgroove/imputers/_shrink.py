"""Drawing imputed values to the mean of their label."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from scgroove._types import IntArray
from scgroove.imputers._imputation import Imputation
from scgroove.imputers._spread import LabelSpread
from scgroove.learners.common import check_number
from scgroove.metrics.values import label_sums, steps


def shrink_to_label(
    found: Imputation, codes_x: IntArray, spread: LabelSpread, amount: float
) -> Imputation:
    """Return values of which the mean over the cells of a label is the measured one, and differences inside it are smaller.

    ``m_g + (1 - amount) (y_i - mean of y over the cells of g)``: the mean of a label is measured in the target, while what tells
    its cells apart is guessed. Cells without a label, or of one never measured in the target, stay as they are.

    Parameters
    ----------
    found
        The imputation of n cells.
    codes_x
        Label of each of these cells in the vocabulary of the spread, -1 for none, (n,).
    spread
        Of the target's measured cells.
    amount
        0: means are corrected only; 1: every cell has the measured mean of its label.

    Returns
    -------
    Imputation

    Raises
    ------
    ValueError
        If the amount is not between 0 and 1.

    References
    ----------
    User guide, "Imputation".
    """
    check_number("shrink", amount, 0.0, below=np.nextafter(1.0, 2.0))
    kept = 1.0 - amount
    known = np.flatnonzero(spread.has(codes_x))
    codes = np.full(codes_x.size, -1, dtype=np.intp)
    codes[known] = codes_x[known]
    sums, counts = label_sums(found.values, codes, len(spread.counts))
    imputed = sums / np.maximum(counts, 1.0)[:, None]
    values = found.values.copy()
    for part in steps(known.size, values.shape[1]):
        cells = known[part]
        values[cells] = spread.means[codes[cells]] + kept * (values[cells] - imputed[codes[cells]])
    n_effective = found.n_effective.copy()
    of_mean, of_own = 1.0 / spread.counts[codes[known]], 1.0 / n_effective[known]
    n_effective[known] = 1.0 / (of_mean + kept**2 * np.maximum(of_own - of_mean, 0.0))
    between = found.between
    if between is not None:
        between = between.copy()
        between[known] *= kept**2
    return replace(found, values=values, n_effective=n_effective, between=between)
