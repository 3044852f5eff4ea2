"""How much of a covariate can be read from a representation inside labels."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from scgroove._labels import members
from scgroove._types import BoolArray, Float64Array, IntArray, Labels
from scgroove.errors import InputError, MissingTruthError
from scgroove.metrics._candidates import check_representation, codes_of
from scgroove.metrics._chance import chance_of
from scgroove.metrics.registry import MetricInputs, Score, register
from scgroove.metrics.values import label_sums

PENALTIES: Final = np.logspace(-8, 2, 11)
"""Ridge penalties, for each training cell and for coordinates of mean variance 1."""


def retention(
    z: npt.ArrayLike,
    covariates: npt.ArrayLike,
    labels: Labels | None = None,
    *,
    n_splits: int = 5,
    n_permutations: int = 20,
    seed: int = 0,
) -> list[Score]:
    r"""How much of each covariate can be read from a representation within labels.

    Differences between cells of a label, such as the cell cycle, are lost if a model pulls each
    label together. The part of a covariate that the label alone tells counts for nothing here.

    It is the cross-validated R2 of a ridge regression :math:`f` of the covariate :math:`t` on the
    representation, both less the mean :math:`\bar t_l` of the training cells of the label,

    .. math:: 1 - \sum_i (t_i - \bar t_{l(i)} - f(z_i - \bar z_{l(i)}))^2
              \Bigm/ \sum_i (t_i - \bar t_{l(i)})^2

    over the held-out cells of all labels. Each fold has its share of each label. 1 is all, 0 is the
    part that the label tells.

    Parameters
    ----------
    z
        Representation, (n, d).
    covariates
        Numbers: one covariate, (n,), or several, (n, c), such as ``adata.obs[["S_score"]]``. Cells
        with NaN are left out for this covariate.
    labels
        Label of each cell, (n,). None and NaN mean unlabeled: those cells are left out, as are
        cells alone with their label. None: all cells have one label.
    n_splits
        Folds of the cross-validation.
    n_permutations
        Permutations of the covariate within labels that mean and spread by chance rest on.
    seed
        The same seed draws the same folds and permutations.

    Returns
    -------
    list of Score
        For each covariate ``value``, ``chance``, ``chance_sd`` and ``n``, the cells of the labels
        inside of which it varies. ``value`` and ``n`` are 0 if there are none. R2 is below 0 if
        nothing can be read, and by chance a little below 0.

    Raises
    ------
    ValueError
        If shapes do not fit, a value is infinite, or a number is too small.

    See Also
    --------
    within_label_rank : the variation left inside labels, without a covariate.

    References
    ----------
    Golub, Heath and Wahba 1979, "Generalized cross-validation as a method for choosing a good ridge
    parameter", Technometrics 21.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> z, labels = rng.normal(size=(100, 3)), np.repeat(["a", "b"], 50)
    >>> kept, lost = z[:, 0] + 2.0 * (labels == "a"), rng.normal(size=100)
    >>> [round(s.value, 1) + 0.0 for s in retention(z, np.column_stack([kept, lost]), labels)]
    [1.0, 0.0]
    """
    if n_splits < 2:
        raise InputError(f"n_splits must be at least 2; found {n_splits}.")
    z = check_representation("z", z)
    codes = np.zeros(len(z), dtype=np.intp) if labels is None else codes_of(labels, len(z))[1]
    values = np.asarray(covariates)
    if values.dtype.kind not in "fiu" or values.ndim not in (1, 2) or len(values) != len(z):
        raise InputError(
            f"covariates must be numbers, one row a cell: expected ({len(z)}, c), found "
            f"{values.dtype} of shape {values.shape}. Encode categories as one column each."
        )
    if np.isinf(values).any():
        raise InputError(
            f"covariates hold {int(np.isinf(values).sum())} infinite values. Was a ratio or a "
            f"logarithm of zero taken? A value that is not known should be NaN."
        )
    columns = values.reshape(len(z), -1).T.astype(np.float64)
    return [_of_numbers(z, column, codes, n_splits, n_permutations, seed) for column in columns]


def _not_alone(codes: IntArray) -> IntArray:
    """Return the cells whose code another cell has too. Those of code -1 are left out."""
    known = np.flatnonzero(codes >= 0)
    counts = np.bincount(codes[known], minlength=1)
    return known[counts[codes[known]] > 1]


def _of_numbers(
    z: Float64Array,
    values: Float64Array,
    codes: IntArray,
    n_splits: int,
    n_permutations: int,
    seed: int,
) -> Score:
    """Return the R2 of a covariate. By chance, it is permuted within labels."""
    rng = np.random.default_rng(seed)
    cells = _not_alone(np.where(np.isnan(values), -1, codes))
    # sorted, so that folds do not depend on the order of cells
    cells = cells[np.argsort(values[cells], kind="stable")]
    values, codes = values[cells], codes[cells]
    groups = [rows for rows in members(codes, int(codes.max(initial=-1)) + 1) if rows.size]
    varies = np.zeros(cells.size, dtype=bool)
    for rows in groups:
        values[rows] -= values[rows[0]]  # exactly 0 if constant in the label
        varies[rows] = values[rows].any()
    if not varies.any():
        return Score(0.0, 0.0, 0.0, 0)
    targets = np.tile(values[:, None], n_permutations + 1)
    folds = np.empty(cells.size, dtype=np.intp)
    start = 0
    for rows in groups:
        targets[rows, 1:] = rng.permuted(targets[rows, 1:], axis=0)
        folds[rng.permutation(rows)] = np.arange(start, start + rows.size) % n_splits
        start += rows.size
    error, spread = np.zeros((2, n_permutations + 1))
    for fold in np.unique(folds):
        held = folds == fold
        x, y = (_less_label_means(part, codes, ~held) for part in (z[cells], targets))
        error += ((y[held] - _ridge(x[~held], y[~held], x[held])) ** 2).sum(axis=0)
        spread += (y[held] ** 2).sum(axis=0)
    explained = 1.0 - error / spread
    return Score(float(explained[0]), *chance_of(explained[1:]), int(varies.sum()))


def _less_label_means(values: Float64Array, codes: IntArray, training: BoolArray) -> Float64Array:
    """Return values less the means of the training cells of their labels.

    Means of all cells would tell of the cells held out: of two cells, one is the mirror of the
    other.
    """
    n_labels = int(codes.max()) + 1
    sums, counts = label_sums(values, np.where(training, codes, -1), n_labels)
    return np.asarray(values - (sums / np.maximum(counts, 1.0)[:, None])[codes])


def _ridge(x: Float64Array, y: Float64Array, new: Float64Array) -> Float64Array:
    """Predict new cells by a ridge on x, (n, d), and y, (n, t), with a penalty for each target."""
    from sklearn.linear_model import RidgeCV

    scale = np.sqrt((x**2).mean()) or 1.0
    model = RidgeCV(alphas=PENALTIES * len(x), fit_intercept=False, alpha_per_target=True)
    predicted = model.fit(x / scale, y).predict(new / scale)
    return np.asarray(predicted).reshape(len(new), -1)


@register(
    "latent_retention_within_label",
    kind="representation",
    better="higher",
    perfect=1.0,
    needs=("x", "y", "labels", "latents"),
    title="retention of the true latent, within label",
    meaning="The share of the differences between cells of a label (the true latent) that a ridge "
    "regression reads from the representation.",
)
def _score(inputs: MetricInputs) -> Score:
    """Return the retention of the true latent, mean over its coordinates, then modalities."""
    sides: Any = (
        (inputs.x, inputs.latent_x, inputs.labels_x),
        (inputs.y, inputs.latent_y, inputs.labels_y),
    )
    means, n = [], 0
    for side in sides:
        found = [one for one in retention(*side, seed=inputs.seed) if one.n]
        if not found:
            raise MissingTruthError("the true latent does not vary inside any label.")
        n = n or found[0].n
        means.append(np.mean([(s.value, s.chance, s.chance_sd) for s in found], axis=0))
    value, mean, sd = np.mean(means, axis=0).tolist()
    return Score(value, mean, sd, n)
