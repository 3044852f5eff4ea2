"""Uncertainty of imputed values, without any cell measured in both modalities."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from scgroove._types import BoolArray, Float64Array, IntArray
from scgroove.errors import InputError
from scgroove.imputers._averages import N_NEIGHBORS, knn
from scgroove.imputers._imputation import Imputation
from scgroove.metrics.values import check_values, dense, label_sums, steps

LEVELS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.975, 0.99, 0.995)
"""Probabilities at which the distribution inside labels is kept."""

PRIOR_CELLS: Final = 5.0
"""Weight, in cells, of the mean variance in the variance of a label."""

SAMPLED_CELLS: Final = 20_000
"""Cells that the distribution inside labels is taken from, at most."""


@dataclass(frozen=True, eq=False)
class LabelSpread:
    """Mean and variance of measured cells inside each label, and the shape of their distribution.

    Attributes
    ----------
    means
        (labels, f), NaN for labels without cells.
    variances
        (labels, f), those of labels with few cells drawn to the mean variance.
    pooled
        (f,) mean variance inside labels.
    counts
        (labels,) cells.
    singles
        No label has two cells, so that the spread inside labels is not known. That of all cells,
        which is larger, stands in its place.
    quantiles
        (levels, f) of ``(value - mean of its label) / sd of its label``, at :data:`LEVELS`.
    """

    means: Float64Array
    variances: Float64Array
    pooled: Float64Array
    counts: Float64Array
    singles: bool
    quantiles: npt.NDArray[np.float32]

    @classmethod
    def of(
        cls,
        y: npt.ArrayLike | sp.spmatrix | sp.sparray,
        codes: IntArray,
        n_labels: int,
        *,
        seed: int = 0,
    ) -> Self:
        """Return the spread of measured cells.

        Parameters
        ----------
        y
            Finite values, (n, f), dense or scipy sparse.
        codes
            Label of each cell, (n,), -1 for none. Cells without a label are left out. If none has a
            label, all count as one label.
        n_labels
            Number of labels of the vocabulary.
        seed
            Random state of the cells that the shape is taken from.

        Raises
        ------
        ValueError
            Values are no numbers, or there is no cell.
        """
        values = check_values("y", y)
        if not values.shape[0]:
            raise InputError("the spread of labels needs measured cells; found none.")
        known = codes if (codes >= 0).any() else np.full(codes.size, n_labels)
        means, counts = _means(values, known, n_labels + 1)
        freedom = np.maximum(counts - 1.0, 0.0)
        singles = not freedom.any()
        if singles and counts.sum() > 1:  # as of one label
            whole = cls.of(y, np.where(known >= 0, 0, -1), 1, seed=seed)
            variances, pooled = np.tile(whole.pooled, (n_labels, 1)), whole.pooled
            shape = whole.quantiles
        else:
            squares = _squares(values, known, means)
            pooled = squares.sum(axis=0) / max(float(freedom.sum()), 1.0)
            pooled = np.full_like(pooled, np.nan) if singles else pooled
            variances = (squares + PRIOR_CELLS * pooled) / (freedom + PRIOR_CELLS)[:, None]
            shape = _quantiles(values, known, means, variances, seed)
        return cls(
            means[:n_labels], variances[:n_labels], pooled, counts[:n_labels], singles, shape
        )

    def has(self, codes: IntArray) -> BoolArray:
        """Return True for cells whose label was measured, (n,)."""
        return (codes >= 0) & (np.append(self.counts, 0.0)[codes] > 0)


def _means(values: Any, codes: IntArray, n_labels: int) -> tuple[Float64Array, Float64Array]:
    """Return the mean of each label, NaN without cells, and its number of cells."""
    sums, counts = label_sums(values, codes, n_labels)
    means = np.full(sums.shape, np.nan)
    np.divide(sums, counts[:, None], out=means, where=counts[:, None] > 0)
    return means, counts


def _squares(values: Any, codes: IntArray, means: Float64Array) -> Float64Array:
    """Return sums of squared differences from the mean of the label, (labels, f)."""
    out = np.zeros(means.shape)
    for cells in steps(*values.shape):
        rows = np.flatnonzero(codes[cells] >= 0) + cells.start
        centered = dense(values[rows]) - means[codes[rows]]
        indices = (codes[rows], np.arange(rows.size))
        one_hot = sp.csr_matrix((np.ones(rows.size), indices), shape=(len(means), rows.size))
        out += one_hot @ np.square(centered)
    return out


def _quantiles(
    values: Any, codes: IntArray, means: Float64Array, variances: Float64Array, seed: int
) -> npt.NDArray[np.float32]:
    """Return quantiles of standardized differences from the mean of the label, (levels, f)."""
    out = np.full((len(LEVELS), values.shape[1]), np.nan, dtype=np.float32)
    n = np.bincount(codes[codes >= 0], minlength=len(means))
    cells = np.flatnonzero((codes >= 0) & (n[codes] > 1))  # one cell is its own mean
    if not cells.size:
        return out
    if cells.size > SAMPLED_CELLS:
        cells = np.sort(np.random.default_rng(seed).choice(cells, SAMPLED_CELLS, replace=False))
    sampled = values[cells].tocsc() if sp.issparse(values) else values[cells]
    own = codes[cells]
    # differences from a mean of n cells are too small by (n - 1) / n
    larger = np.sqrt(n / np.maximum(n - 1, 1))[own, None]
    for columns in steps(values.shape[1], cells.size):
        sd = np.sqrt(variances[own, columns])
        centered = (dense(sampled[:, columns]) - means[own, columns]) * larger
        standard = np.divide(centered, sd, out=np.zeros(centered.shape), where=sd > 0)
        out[:, columns] = np.quantile(standard, LEVELS, axis=0)
    return out


def predictive_sd(
    found: Imputation,
    codes_x: IntArray,
    spread: LabelSpread,
    unseen: Float64Array | None = None,
) -> npt.NDArray[np.float32]:
    """Return the standard deviation of measured values around imputed ones, float32 (n, f).

    ``sd_i**2 = v_g (1 + 1 / n_i) + w_g / 2 + b_g**2 + s_i**2``: the variance v of measured cells
    inside the label of the cell. The error of a mean of n cells. Half of the variance w of imputed
    values inside the label, beyond that error. The bias b of the mean of the label, imputed minus
    measured, and the variance s between the members of an ensemble.

    Cells without a label, or of one never measured in the target, have the mean variance inside
    labels. Their b**2 is ``unseen`` plus half of the variance between labels, because the space in
    which labels are left out has seen them in training.

    Errors have the variance v - w if imputed differences inside a label are right, and v + w if
    they have nothing to do with the cell. Unpaired data cannot tell. v + w / 2 holds in
    simulations with anything from none to all of the effects shared.

    Parameters
    ----------
    found
        The imputation of n cells.
    codes_x
        Label of each of these cells in the vocabulary of the spread, -1 for none, (n,).
    spread
        Spread of the measured cells of the target.
    unseen
        (f,) squared bias of labels that are guessed from others, see :func:`extrapolation_error`.
        Half of the variance between labels if None.

    References
    ----------
    User guide, "Imputation".
    """
    n_labels = len(spread.counts)
    measured_means = spread.means[spread.counts > 0]
    between = np.zeros_like(spread.pooled)
    if len(measured_means) > 1:
        between = measured_means.var(axis=0, ddof=1)
    unseen = between / 2 + (between / 2 if unseen is None else unseen)
    own = np.where(spread.counts[:, None] > 0, spread.variances, spread.pooled)

    means, counts = _means(found.values, codes_x, n_labels)
    squares = _squares(found.values, codes_x, means)
    inside = squares / np.maximum(counts - 1.0, 1.0)[:, None]
    noise = np.zeros(n_labels)
    np.add.at(noise, codes_x[codes_x >= 0], 1.0 / found.n_effective[codes_x >= 0])
    beyond = np.maximum(inside - own * (noise / np.maximum(counts, 1.0))[:, None], 0.0)
    nameless = found.values.var(axis=0, dtype=np.float64)
    if (counts > 0).any():
        nameless = beyond[counts > 0].mean(axis=0)
    bias = np.square(means - spread.means)
    bias = np.where(np.isnan(bias).all(axis=1, keepdims=True), unseen, bias)
    # the last row is that of cells without a label
    of_label = np.vstack([beyond / 2 + bias, nameless / 2 + unseen])
    variances = np.vstack([own, spread.pooled])
    out = np.empty(found.values.shape, dtype=np.float32)
    for cells in steps(*found.values.shape):
        codes = codes_x[cells]
        variance = variances[codes] * (1.0 + 1.0 / found.n_effective[cells, None]) + of_label[codes]
        if found.between is not None:
            variance += found.between[cells]
        out[cells] = np.sqrt(variance)
    return out


def extrapolation_error(
    z_x: npt.ArrayLike,
    z_y: npt.ArrayLike,
    y: npt.ArrayLike | sp.spmatrix | sp.sparray,
    codes_x: IntArray,
    codes_y: IntArray,
    spread: LabelSpread,
    *,
    n_neighbors: int = N_NEIGHBORS,
    max_labels: int = 50,
    max_cells: int = 50,
    seed: int = 0,
) -> Float64Array | None:
    """Return the mean squared error of label means that are guessed from cells of other labels.

    Each label in turn is left out of the target, and its source cells have the mean of their
    nearest target cells of other labels. The space has seen the label in training, so that a label
    never measured is somewhat worse.

    Parameters
    ----------
    z_x, z_y
        Representations in one space, (n_source, d) and (n_target, d).
    y
        Values of the target cells, (n_target, f).
    codes_x, codes_y
        Labels in one vocabulary, -1 for none.
    spread
        Spread of the target cells.
    n_neighbors
        See :func:`knn`.
    max_labels, max_cells
        Labels left out, and source cells of each, at most.
    seed
        Random state of those drawn.

    Returns
    -------
    ndarray
        float64 (f,). None if fewer than two labels are in both.
    """
    rng = np.random.default_rng(seed)
    x, other = np.asarray(z_x), np.asarray(z_y)
    shared = np.intersect1d(codes_x[codes_x >= 0], codes_y[codes_y >= 0])
    if shared.size < 2:
        return None
    values: Any = check_values("y", y)
    errors = []
    for code in rng.permutation(shared)[:max_labels]:
        cells = rng.permutation(np.flatnonzero(codes_x == code))[:max_cells]
        others = np.flatnonzero(codes_y != code)
        guessed = knn(x[cells], other[others], values[others], n_neighbors=n_neighbors)
        errors.append(np.square(guessed.values.mean(axis=0, dtype=np.float64) - spread.means[code]))
    return np.asarray(np.mean(errors, axis=0))


def shrink_to_label(
    found: Imputation, codes_x: IntArray, spread: LabelSpread, amount: float
) -> Imputation:
    """Return values drawn to the measured mean of their label.

    ``m_g + (1 - amount) (y_i - mean of y over the cells of g)``: the mean of a label is measured in
    the target, while differences between its cells are guessed. Cells without a label, or of one
    never measured in the target, stay as they are.

    Parameters
    ----------
    found
        The imputation of n cells.
    codes_x
        Label of each of these cells in the vocabulary of the spread, -1 for none, (n,).
    spread
        Spread of the measured cells of the target.
    amount
        From 0, which corrects means only, to 1, which gives every cell the mean of its label.

    Raises
    ------
    ValueError
        The amount is not between 0 and 1.
    """
    if not 0 <= amount <= 1:
        raise InputError(f"shrink must be a number from 0 to 1; found {amount!r}.")
    rest = 1.0 - amount
    known = np.flatnonzero(spread.has(codes_x))
    codes = np.full(codes_x.size, -1, dtype=np.intp)
    codes[known] = codes_x[known]
    imputed, _ = _means(found.values, codes, len(spread.counts))
    values, n_effective = found.values.copy(), found.n_effective.copy()
    for part in steps(known.size, values.shape[1]):
        cells = known[part]
        values[cells] = spread.means[codes[cells]] + rest * (values[cells] - imputed[codes[cells]])
    of_mean, of_own = 1.0 / spread.counts[codes[known]], 1.0 / n_effective[known]
    n_effective[known] = 1.0 / (of_mean + rest**2 * np.maximum(of_own - of_mean, 0.0))
    between = None if found.between is None else found.between.copy()
    if between is not None:
        between[known] *= rest**2
    return replace(found, values=values, n_effective=n_effective, between=between)
