"""Correlation of predicted with measured values, for each feature across cells or for each cell across features."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
from scipy.stats import rankdata

from scgroove._types import BoolArray, Float64Array
from scgroove.errors import MissingTruthError
from scgroove.metrics._chance import Chance
from scgroove.metrics._imputation import PermutedSum, pairs_of
from scgroove.metrics._ranks import sorted_places
from scgroove.metrics._score import Found, Material, register
from scgroove.metrics.values import NaNPolicy, Values, across_cells, across_features, check_pairs

Across = Callable[[Any, Any], Iterator[tuple[slice, Float64Array, Float64Array]]]


def pearson_per_feature(
    predicted: Values, measured: Values, *, nan: NaNPolicy = "raise"
) -> Float64Array:
    """Return the Pearson correlation of each feature across cells, which says whether the right cells are high.

    Parameters
    ----------
    predicted, measured
        Values of the same cells and features, (n, f), dense or sparse.
    nan
        ``"raise"``: missing values are an error. ``"omit"``: a pair of values of which one is missing is left out.

    Returns
    -------
    ndarray
        float64 (f,), between -1 and 1. A feature whose *measured* values are constant has no correlation, whatever was
        predicted: NaN; likewise with less than two pairs. A feature whose *predicted* values alone are constant: 0,
        since the prediction tells no cells apart. (SciPy returns NaN for both, which would leave out of the mean
        those features on which a method says nothing.)

    Raises
    ------
    ValueError
        If shapes differ, a value is infinite, or one is missing and ``nan="raise"``.

    References
    ----------
    User guide, "Evaluation".

    Examples
    --------
    >>> pearson_per_feature(
    ...     [[1.0, 0.0], [2.0, 0.0], [3.0, 0.0]], [[0.0, 1.0], [5.0, 2.0], [10.0, 9.0]]
    ... )
    array([1., 0.])
    """
    return _correlations(predicted, measured, nan, across_cells, ranked=False)


def pearson_per_cell(
    predicted: Values, measured: Values, *, nan: NaNPolicy = "raise"
) -> Float64Array:
    """Return the Pearson correlation of each cell across features, which says whether the right features are high.

    It is high for every method where features differ in level: compare it with :func:`label_mean`, or divide or center
    the features first.

    Parameters and errors are those of :func:`pearson_per_feature`.

    Returns
    -------
    ndarray
        float64 (n,); NaN and 0 as there, with "cell" for "feature".
    """
    return _correlations(predicted, measured, nan, across_features, ranked=False)


def spearman_per_feature(
    predicted: Values, measured: Values, *, nan: NaNPolicy = "raise"
) -> Float64Array:
    """Return the Spearman correlation of each feature across cells: that of ranks, ties sharing their mean rank.

    Parameters, results and errors are those of :func:`pearson_per_feature`.
    """
    return _correlations(predicted, measured, nan, across_cells, ranked=True)


def spearman_per_cell(
    predicted: Values, measured: Values, *, nan: NaNPolicy = "raise"
) -> Float64Array:
    """Return the Spearman correlation of each cell across features: that of ranks, ties sharing their mean rank.

    Parameters, results and errors are those of :func:`pearson_per_cell`.
    """
    return _correlations(predicted, measured, nan, across_features, ranked=True)


def _correlations(
    predicted: Values, measured: Values, nan: NaNPolicy, across: Across, *, ranked: bool
) -> Float64Array:
    predicted, measured = check_pairs(predicted, measured, nan)
    precision = _precision(predicted, measured)
    found = [
        correlate(p, m, ranked=ranked, precision=precision)
        for _, p, m in across(predicted, measured)
    ]
    return np.concatenate(found)


def _precision(*values: Any) -> float:
    """Return the relative precision of the coarser of two arrays."""
    return max(float(np.finfo(v.dtype).eps) if v.dtype.kind == "f" else 0.0 for v in values)


def correlate(
    predicted: Float64Array, measured: Float64Array, *, ranked: bool = False, precision: float = 0.0
) -> Float64Array:
    """Return the correlation of each row of two dense arrays (k, n), which are used up: see :func:`units`."""
    p, m, scored = units(predicted, measured, ranked=ranked, precision=precision)
    out = np.clip(np.einsum("ij,ij->i", p, m), -1.0, 1.0)
    out[~scored] = np.nan
    return np.asarray(out)


def units(
    predicted: Float64Array, measured: Float64Array, *, ranked: bool, precision: float
) -> tuple[Float64Array, Float64Array, BoolArray]:
    """Return rows of mean 0 and length 1, whose inner products are correlations.

    Parameters
    ----------
    predicted, measured
        (k, n), NaN where missing; used up.
    ranked
        Of ranks.
    precision
        Relative precision of the values: what varies by no more is constant.

    Returns
    -------
    predicted, measured
        (k, n); 0 where a value is missing, and all 0 for constant rows.
    scored
        Which rows have a correlation: two pairs at least, and measured values that vary, (k,).
    """
    missing = np.isnan(predicted) | np.isnan(measured)
    some = bool(missing.any())
    n = predicted.shape[1] - np.count_nonzero(missing, axis=1)
    found, varies = [], []
    for values in (predicted, measured):
        if some:
            values[missing] = np.nan
        constant = _is_constant(values, precision)
        if ranked:
            values = _ranks(values, some=some)
        values = (
            values - ((np.nansum if some else np.sum)(values, axis=1) / np.maximum(n, 1))[:, None]
        )
        if some:
            values[missing] = 0.0
        length = np.sqrt(np.einsum("ij,ij->i", values, values))
        varies.append(~constant & (length > 0))
        values *= np.divide(1.0, length, out=np.zeros_like(length), where=varies[-1])[:, None]
        found.append(values)
    return found[0], found[1], varies[1] & (n >= 2)


def _ranks(values: Float64Array, *, some: bool) -> Float64Array:
    """Return the rank of each value in its row, ties sharing their mean rank; NaN where ``some`` are missing."""
    if some:
        return np.asarray(rankdata(values, axis=1, nan_policy="omit"))
    first, last = sorted_places(values)
    return (first + last).astype(np.float64) / 2


def _is_constant(values: Float64Array, precision: float) -> BoolArray:
    with np.errstate(invalid="ignore"):
        low, high = (f.reduce(values, axis=1) for f in (np.fmin, np.fmax))
    narrow: BoolArray = ~(high - low > 16 * precision * np.maximum(np.abs(low), np.abs(high)))
    return narrow


def _score(material: Material, across: Across, *, ranked: bool) -> Found:
    """Return the mean over features or cells; by chance: predictions are permuted among the cells of a label."""
    pairs = pairs_of(material)
    permuted, total, n = PermutedSum(pairs, material.seed), 0.0, 0
    precision = _precision(pairs.predicted, pairs.measured)
    for part, p, m in across(pairs.predicted, pairs.measured):
        p, m, scored = units(p, m, ranked=ranked, precision=precision)
        m[~scored] = 0.0
        total, n = total + float(np.einsum("ij,ij->", p, m)), n + int(scored.sum())
        if across is across_cells:
            permuted.add(slice(None), part, p.T, m.T)
        else:
            permuted.add(part, slice(None), p, m)
    if not n:
        raise MissingTruthError(
            "no value can be scored: the measured values are constant, so that nothing can be told apart."
        )
    mean, sd = permuted.chance()
    return Found(total / n, Chance(mean / n, sd / n), pairs.codes.size)


for _name, _across, _ranked in (
    ("pearson_per_feature", across_cells, False),
    ("pearson_per_cell", across_features, False),
    ("spearman_per_feature", across_cells, True),
    ("spearman_per_cell", across_features, True),
):
    register(
        _name,
        kind="imputation",
        better="higher",
        perfect=1.0,
        needs=("predicted", "measured", "partner"),
    )(partial(_score, across=_across, ranked=_ranked))
