"""How far an imputed value may be from what would have been measured, without any cell measured in both modalities."""

from __future__ import annotations

from dataclasses import dataclass
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
"""The variance of a label counts as if so many more cells had shown the mean variance: labels of few cells borrow it."""

SAMPLED_CELLS: Final = 20_000
"""Cells that the distribution inside labels is taken from, at most."""


@dataclass(frozen=True, eq=False)
class LabelSpread:
    """Mean and variance of measured cells inside each label, and the shape of their distribution.

    Attributes
    ----------
    means
        (labels, f); NaN for labels without cells.
    variances
        (labels, f), those of labels with few cells drawn to the mean variance.
    pooled
        (f,) mean variance inside labels.
    counts
        (labels,) cells.
    singles
        Whether no label has two cells, so that the spread inside labels is not known: that of all cells stands in its place,
        which is larger.
    quantiles
        (levels, f) of ``(value - mean of its label) / standard deviation of its label``, at :data:`LEVELS`.
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
            Values, (n, f), dense or scipy sparse; finite.
        codes
            Label of each cell, (n,), -1 for none. Cells without a label are left out; if none has one, all count as cells of
            one label, of which nothing is known.
        n_labels
            Number of labels of the vocabulary.
        seed
            Random state of the cells that the shape is taken from.

        Raises
        ------
        ValueError
            If values are no numbers, or there is no cell.
        """
        values = check_values("y", y)
        if not values.shape[0]:
            raise InputError("the spread of labels needs measured cells; found none.")
        known = codes if (codes >= 0).any() else np.full(codes.size, n_labels)
        sums, counts = label_sums(values, known, n_labels + 1)
        means = np.divide(
            sums, counts[:, None], out=np.full(sums.shape, np.nan), where=counts[:, None] > 0
        )
        freedom = np.maximum(counts - 1.0, 0.0)
        singles = not freedom.any()
        if singles and counts.sum() > 1:  # as of one label
            whole = cls.of(y, np.where(known >= 0, 0, -1), 1, seed=seed)
            variances = np.tile(whole.pooled, (n_labels, 1))
            return cls(
                means[:n_labels], variances, whole.pooled, counts[:n_labels], True, whole.quantiles
            )
        squares = _squares(values, known, means)
        pooled = squares.sum(axis=0) / max(float(freedom.sum()), 1.0)
        pooled = np.full_like(pooled, np.nan) if singles else pooled
        variances = (squares + PRIOR_CELLS * pooled) / (freedom + PRIOR_CELLS)[:, None]
        shape = _quantiles(values, known, means, variances, seed)
        return cls(
            means[:n_labels], variances[:n_labels], pooled, counts[:n_labels], singles, shape
        )

    @property
    def between(self) -> Float64Array:
        """(f,) variance of the means of labels; 0 where there are fewer than two labels."""
        means = self.means[self.counts > 0]
        return means.var(axis=0, ddof=1) if len(means) > 1 else np.zeros_like(self.pooled)

    def has(self, codes: IntArray) -> BoolArray:
        """Return which cells have a label that was measured, (n,)."""
        return (codes >= 0) & (np.append(self.counts, 0.0)[codes] > 0)


def _squares(values: Any, codes: IntArray, means: Float64Array) -> Float64Array:
    """Return sums over the cells of each label of squared differences from its mean, (labels, f)."""
    out = np.zeros(means.shape)
    for cells in steps(*values.shape):
        kept = np.flatnonzero(codes[cells] >= 0) + cells.start
        centered = dense(values[kept]) - means[codes[kept]]
        one_hot = sp.csr_matrix(
            (np.ones(kept.size), (codes[kept], np.arange(kept.size))), shape=(len(means), kept.size)
        )
        out += one_hot @ np.square(centered)
    return out


def _quantiles(
    values: Any, codes: IntArray, means: Float64Array, variances: Float64Array, seed: int
) -> npt.NDArray[np.float32]:
    """Return quantiles of standardized differences from the mean of the label, (levels, f)."""
    n = np.bincount(codes[codes >= 0], minlength=len(means))
    cells = np.flatnonzero((codes >= 0) & (n[codes] > 1))  # one cell is its own mean
    if not cells.size:
        return np.full((len(LEVELS), values.shape[1]), np.nan, dtype=np.float32)
    if cells.size > SAMPLED_CELLS:
        cells = np.sort(np.random.default_rng(seed).choice(cells, SAMPLED_CELLS, replace=False))
    held = values[cells].tocsc() if sp.issparse(values) else values[cells]
    own = codes[cells]
    # differences from a mean of n cells are too small by (n - 1) / n
    larger = np.sqrt(n / np.maximum(n - 1, 1))[own, None]
    out = np.empty((len(LEVELS), values.shape[1]), dtype=np.float32)
    for columns in steps(values.shape[1], cells.size):
        sd = np.sqrt(variances[own, columns])
        centered = (dense(held[:, columns]) - means[own, columns]) * larger
        standard = np.divide(centered, sd, out=np.zeros(centered.shape), where=sd > 0)
        out[:, columns] = np.quantile(standard, LEVELS, axis=0)
    return out


def predictive_sd(
    found: Imputation,
    codes_x: IntArray,
    spread: LabelSpread,
    unseen: Float64Array | None = None,
) -> npt.NDArray[np.float32]:
    """Return the standard deviation of what would have been measured around what was imputed.

    ``sd_i**2 = v_g (1 + 1 / n_i) + w_g / 2 + b_g**2 + s_i**2``: the variance v of measured cells inside the label of the cell; the
    error of a mean of n cells of that variance; half of the variance w of the imputed values inside the label, beyond that
    error; the bias b of the label's mean, imputed minus measured; and the variance s between the members of an ensemble. For a
    cell without a label, or of one never measured in the target: the mean variance inside labels, and for b**2 the bias of labels
    that are ``unseen`` plus half of the variance between labels, because the space in which labels are left out has seen them in
    training.

    If imputed differences inside a label were all right, errors would have the variance v - w, and v + w if they had nothing to
    do with the cell. A label does not say which cell of the one modality is which of the other, so unpaired data cannot tell;
    v + w / 2 counts a quarter of them as right, which simulations with anything from none to all of their effects shared bear
    with.

    Parameters
    ----------
    found
        The imputation of n cells.
    codes_x
        Label of each of these cells in the vocabulary of the spread, -1 for none, (n,).
    spread
        Of the target's measured cells.
    unseen
        (f,) squared bias of labels that are guessed from others, of :func:`extrapolation_error`; None: half of the variance between
        labels.

    Returns
    -------
    ndarray
        float32 (n, f).

    References
    ----------
    User guide, "Imputation".
    """
    of_label = _error_of_labels(found, codes_x, spread, unseen)
    variances = np.vstack(
        [np.where(spread.counts[:, None] > 0, spread.variances, spread.pooled), spread.pooled]
    )
    out = np.empty(found.values.shape, dtype=np.float32)
    for cells in steps(*found.values.shape):
        codes = codes_x[cells]  # -1: the last row
        variance = variances[codes] * (1.0 + 1.0 / found.n_effective[cells, None]) + of_label[codes]
        if found.between is not None:
            variance += found.between[cells]
        out[cells] = np.sqrt(variance)
    return out


def _error_of_labels(
    found: Imputation, codes_x: IntArray, spread: LabelSpread, unseen: Float64Array | None
) -> Float64Array:
    """Return, for each label and last for cells without one, half of the variance inside it and its squared bias, (labels + 1, f)."""
    n_labels, f = len(spread.counts), found.values.shape[1]
    sums, counts = label_sums(found.values, codes_x, n_labels)
    means = np.divide(
        sums, counts[:, None], out=np.full(sums.shape, np.nan), where=counts[:, None] > 0
    )
    bias = np.square(means - spread.means)
    known = ~np.isnan(bias[:, :1]).ravel() if f else np.zeros(n_labels, dtype=np.bool_)
    between = spread.between
    unseen = between / 2 + (between / 2 if unseen is None else unseen)
    inside = _squares(found.values, codes_x, means) / np.maximum(counts - 1.0, 1.0)[:, None]
    noise = np.zeros(n_labels)
    np.add.at(noise, codes_x[codes_x >= 0], 1.0 / found.n_effective[codes_x >= 0])
    own = np.where(spread.counts[:, None] > 0, spread.variances, spread.pooled)
    beyond = np.maximum(inside - own * (noise / np.maximum(counts, 1.0))[:, None], 0.0)
    nameless = (
        beyond[counts > 0].mean(axis=0)
        if (counts > 0).any()
        else found.values.var(axis=0, dtype=np.float64)
    )
    bias = np.where(known[:, None], bias, unseen)
    return np.vstack([beyond / 2 + bias, nameless / 2 + unseen])


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
    """Return how wrong the mean of a label is that is guessed from the cells of other labels, squared, mean over labels.

    Each label in turn is left out of the target, and its source cells have the mean of their nearest target cells of other
    labels. The space has seen the label in training, so that a label never measured is somewhat worse.

    Parameters
    ----------
    z_x, z_y
        Representations in one space, (n_source, d) and (n_target, d).
    y
        Values of the target cells, (n_target, f).
    codes_x, codes_y
        Labels in one vocabulary, -1 for none.
    spread
        Of the target cells.
    n_neighbors
        As for :func:`knn`.
    max_labels, max_cells
        Labels left out, and source cells of each, at most; drawn at random.
    seed
        Random state.

    Returns
    -------
    ndarray
        float64 (f,); None where fewer than two labels are in both.
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
