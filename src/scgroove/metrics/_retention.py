"""How much of a covariate can still be read from a representation inside labels."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from scgroove._labels import members
from scgroove._types import Float64Array, IntArray, Labels
from scgroove.errors import InputError, MissingTruthError
from scgroove.metrics._cells import check_representation, codes_of
from scgroove.metrics._chance import Chance
from scgroove.metrics._leakage import N_PERMUTATIONS, NEIGHBORS, Neighbors, with_company
from scgroove.metrics._score import Found, Material, register
from scgroove.metrics.values import label_sums

PENALTIES: Final = np.logspace(-8, 2, 11)
"""Penalties of the ridge that its training cells choose from, for each cell and for coordinates of mean variance 1."""


def retention(
    z: npt.ArrayLike,
    covariates: npt.ArrayLike | pd.DataFrame | pd.Series,
    labels: Labels | None = None,
    *,
    n_splits: int = 5,
    n_neighbors: int = NEIGHBORS,
    n_permutations: int = N_PERMUTATIONS,
    seed: int = 0,
) -> list[Found]:
    r"""Return how much of each covariate can be read from a representation within labels.

    What cells of a label differ in, such as the cell cycle, is lost where a model pulls each label together. What the
    label alone tells of a covariate counts for nothing here.

    Of **numbers** :math:`t_i`: the cross-validated R2 of a ridge regression :math:`f` on the representation, both less
    the mean :math:`\bar t_l` of the training cells of the label,

    .. math:: 1 - \sum_i (t_i - \bar t_{l(i)} - f(z_i - \bar z_{l(i)}))^2 \Bigm/ \sum_i (t_i - \bar t_{l(i)})^2

    over the held-out cells of all labels; each fold has its share of each label. 1 is all, 0 is what the label tells.

    Of **categories**: each cell is given the category that weighs most among its nearest other cells of its label, as
    in :func:`leakage`; the mean over the categories of a label of the share of their cells told rightly, mean over
    labels, weighted by their cells. A label counts where it has two cells or more of two categories or more.

    Parameters
    ----------
    z
        Representation, (n, d).
    covariates
        One covariate, (n,), or several, (n, c), such as ``adata.obs[["S_score", "phase"]]``. Whole and floating point
        numbers are numbers; anything else is names of categories, so that clusters that are named by numbers have to
        be made text first. NaN and None are unknown: those cells are left out for this covariate.
    labels
        Label of each cell, (n,); None and NaN mean unlabeled: those cells are left out, as are cells alone with their
        label. None: all cells have one label.
    n_splits
        Folds of the cross-validation, for numbers.
    n_neighbors
        Cells that vote, for categories.
    n_permutations
        Permutations of the covariate within labels that mean and spread by chance are computed from.
    seed
        The same seed draws the same folds and permutations.

    Returns
    -------
    list of Found
        For each covariate: ``value``; ``chance``, with ``mean`` and ``sd``; and ``n``, the cells of the labels inside
        of which it varies. ``value`` and ``n`` are 0 if there are none. R2 is below 0 where nothing can be read,
        and by chance a little below 0.

    Raises
    ------
    ValueError
        If shapes do not fit, a value is infinite, or a number is too small.

    See Also
    --------
    within_label_rank : what is left inside labels, without a covariate.
    leakage : how much of the label can be read.

    References
    ----------
    Golub, Heath and Wahba 1979, "Generalized cross-validation as a method for choosing a good ridge parameter",
    Technometrics 21: how the penalty is chosen inside the training cells.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> z, labels = rng.normal(size=(100, 3)), np.repeat(["a", "b"], 50)
    >>> kept, lost = z[:, 0] + 2.0 * (labels == "a"), rng.normal(size=100)
    >>> found = retention(z, np.column_stack([kept, lost]), labels)
    >>> [round(one.value, 1) + 0.0 for one in found]
    [1.0, 0.0]
    """
    z = check_representation(z)
    columns = _columns(covariates, len(z))
    if n_splits < 2:
        raise InputError(f"n_splits must be at least 2; found {n_splits}.")
    codes = np.zeros(len(z), dtype=np.intp) if labels is None else codes_of(labels, len(z))[1]
    out = []
    for name, column in columns:
        rng = np.random.default_rng(
            seed
        )  # of a covariate alone, the same is found as of it among others
        if _is_numeric(column):
            values = _numbers(name, column)
            out.append(_of_numbers(z, values, codes, n_splits, n_permutations, rng))
        else:
            kinds = codes_of(column, len(z), f"covariate {name!r}")[1]
            out.append(_of_categories(z, kinds, codes, n_neighbors, n_permutations, rng))
    return out


def _columns(covariates: Any, n: int) -> list[tuple[str, pd.Series]]:
    """Return the covariates by name: their positions, where they have none."""
    if isinstance(covariates, pd.DataFrame):
        frame = covariates
    elif isinstance(covariates, pd.Series | pd.Categorical):
        frame = pd.DataFrame({getattr(covariates, "name", None) or "0": covariates})
    else:
        array = np.asarray(covariates)
        if array.ndim not in (1, 2):
            raise InputError(f"covariates must be (n,) or (n, c); found shape {array.shape}.")
        frame = pd.DataFrame(array)
    if len(frame) != n or not frame.shape[1]:
        raise InputError(
            f"covariates must have one row a cell and one column or more: expected {n} rows, found shape {frame.shape}."
        )
    return [(str(name), frame.iloc[:, i]) for i, name in enumerate(frame.columns)]


def _is_numeric(column: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)


def _numbers(name: str, column: pd.Series) -> Float64Array:
    values = column.to_numpy(dtype=np.float64, na_value=np.nan)
    infinite = int(np.isinf(values).sum())
    if infinite:
        raise InputError(
            f"covariate {name!r} holds {infinite} infinite values. Was a ratio or a logarithm of zero taken? A value that "
            f"is not known should be NaN."
        )
    return np.asarray(values)


# ----------------------------------------------------------------------------------------------------------- numbers


def _of_numbers(
    z: Float64Array,
    values: Float64Array,
    codes: IntArray,
    n_splits: int,
    n_permutations: int,
    rng: np.random.Generator,
) -> Found:
    """Return the R2 of a covariate, and by chance: it is permuted within labels."""
    kept = with_company(np.where(np.isnan(values), -1, codes))
    kept = kept[
        np.argsort(values[kept], kind="stable")
    ]  # folds do not depend on the order of cells
    groups = [rows for rows in members(codes[kept], int(codes.max(initial=0)) + 1) if rows.size]
    values, varies = values[kept], np.zeros(kept.size, dtype=bool)
    for rows in groups:
        values[rows] -= values[rows[0]]  # what is constant in a label is exactly 0 then
        varies[rows] = values[rows].any()
    if not varies.any():
        return Found(0.0, Chance(0.0, 0.0), 0)
    drawn = np.tile(values[:, None], n_permutations + 1)
    folds = np.empty(kept.size, dtype=np.intp)
    start = 0
    for rows in groups:
        drawn[rows, 1:] = rng.permuted(drawn[rows, 1:], axis=0)
        folds[rng.permutation(rows)] = np.arange(start, start + rows.size) % n_splits
        start += rows.size
    found = _ridge_r2(z[kept], drawn, codes[kept], folds)
    by_chance = Chance(float(found[1:].mean()), float(found[1:].std(ddof=1)))
    return Found(float(found[0]), by_chance, int(varies.sum()))


def _ridge_r2(
    z: Float64Array, targets: Float64Array, codes: IntArray, folds: IntArray
) -> Float64Array:
    """Return the R2 of each of t targets, (n, t), in the cells held out, pooled over folds."""
    error, spread = np.zeros(targets.shape[1]), np.zeros(targets.shape[1])
    for fold in np.unique(folds):
        held = folds == fold
        x, y = (_less_label_means(part, codes, ~held) for part in (z, targets))
        predicted = _ridge(x[~held], y[~held], x[held])
        error += ((y[held] - predicted) ** 2).sum(axis=0)
        spread += (y[held] ** 2).sum(axis=0)
    return np.asarray(1.0 - error / spread)


def _less_label_means(
    values: Float64Array, codes: IntArray, training: npt.NDArray[np.bool_]
) -> Float64Array:
    """Return values less the means of the training cells of their labels.

    Means of all cells would tell of the cells held out: of two cells, one is the mirror of the other.
    """
    n_labels = int(codes.max()) + 1
    sums, counts = label_sums(values, np.where(training, codes, -1), n_labels)
    return np.asarray(values - (sums / np.maximum(counts, 1.0)[:, None])[codes])


def _ridge(x: Float64Array, y: Float64Array, new: Float64Array) -> Float64Array:
    """Return what a ridge on x, (n, d), and y, (n, t), predicts for new cells, each target with a penalty of its own."""
    from sklearn.linear_model import RidgeCV

    scale = np.sqrt((x**2).mean()) or 1.0
    model = RidgeCV(alphas=PENALTIES * len(x), fit_intercept=False, alpha_per_target=True)
    predicted = model.fit(x / scale, y).predict(new / scale)
    return np.asarray(predicted).reshape(len(new), -1)


# -------------------------------------------------------------------------------------------------------- categories


def _of_categories(
    z: Float64Array,
    kinds: IntArray,
    codes: IntArray,
    n_neighbors: int,
    n_permutations: int,
    rng: np.random.Generator,
) -> Found:
    """Return the balanced accuracy inside labels, and by chance: categories are permuted within labels."""
    found = []
    for cells in members(codes, int(codes.max(initial=-1)) + 1):
        rows = cells[with_company(kinds[cells])]
        if np.unique(kinds[rows]).size > 1:
            found.append(
                Neighbors.of(z[rows], n_neighbors, rng).found(kinds[rows], n_permutations, rng)
            )
    n = sum(one.n for one in found)
    if not n:
        return Found(0.0, Chance(0.0, 0.0), 0)
    weight = np.array([one.n / n for one in found])
    mean = float(weight @ [one.chance.mean for one in found])
    sd = float(np.sqrt(weight**2 @ [one.chance.sd**2 for one in found]))  # labels are independent
    return Found(float(weight @ [one.value for one in found]), Chance(mean, sd), n)


@register(
    "latent_retention_within_label",
    kind="representation",
    better="higher",
    perfect=1.0,
    needs=("x", "y", "labels", "latents"),
)
def _score(material: Material) -> Found:
    """Return the retention of the true latent, mean over its coordinates, then over both modalities."""
    sides = (
        (material.x, material.latent_x, material.labels_x),
        (material.y, material.latent_y, material.labels_y),
    )
    found = [retention(z, u, labels, seed=material.seed) for z, u, labels in sides]  # type: ignore[arg-type]
    kept = [[one for one in side if one.n] for side in found]
    if not all(kept):
        raise MissingTruthError("the true latent does not vary inside any label.")
    numbers = [
        np.mean([(one.value, one.chance.mean, one.chance.sd) for one in side], axis=0)
        for side in kept
    ]
    value, mean, sd = np.mean(numbers, axis=0).tolist()
    return Found(value, Chance(mean, sd), kept[0][0].n)
