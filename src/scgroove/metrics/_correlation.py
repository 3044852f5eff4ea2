"""Correlation of predicted with measured values, for each feature across cells or for each cell across features."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from scgroove._types import BoolArray, Float64Array
from scgroove.metrics._imputation import score_pairs
from scgroove.metrics._score import Found, Material, register
from scgroove.metrics._values import NaNPolicy, Values, along_cells, along_features, check_pairs

Chunks = Callable[[Any, Any], Iterator[tuple[slice, Float64Array, Float64Array]]]


def pearson_per_feature(predicted: Values, measured: Values, *, nan: NaNPolicy = "raise") -> Float64Array:
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
    >>> pearson_per_feature([[1.0, 0.0], [2.0, 0.0], [3.0, 0.0]], [[0.0, 1.0], [5.0, 2.0], [10.0, 9.0]])
    array([1., 0.])
    """
    return _correlations(predicted, measured, nan, along_cells, ranked=False)


def pearson_per_cell(predicted: Values, measured: Values, *, nan: NaNPolicy = "raise") -> Float64Array:
    """Return the Pearson correlation of each cell across features, which says whether the right features are high.

    It is high for every method where features differ in level: compare it with :func:`label_mean`, or divide or centre
    the features first.

    Parameters and errors are those of :func:`pearson_per_feature`.

    Returns
    -------
    ndarray
        float64 (n,); NaN and 0 as there, with "cell" for "feature".
    """
    return _correlations(predicted, measured, nan, along_features, ranked=False)


def spearman_per_feature(predicted: Values, measured: Values, *, nan: NaNPolicy = "raise") -> Float64Array:
    """Return the Spearman correlation of each feature across cells: that of ranks, ties sharing their mean rank.

    Parameters, results and errors are those of :func:`pearson_per_feature`.
    """
    return _correlations(predicted, measured, nan, along_cells, ranked=True)


def spearman_per_cell(predicted: Values, measured: Values, *, nan: NaNPolicy = "raise") -> Float64Array:
    """Return the Spearman correlation of each cell across features: that of ranks, ties sharing their mean rank.

    Parameters, results and errors are those of :func:`pearson_per_cell`.
    """
    return _correlations(predicted, measured, nan, along_features, ranked=True)


def _correlations(
    predicted: Values, measured: Values, nan: NaNPolicy, chunks: Chunks, *, ranked: bool
) -> Float64Array:
    predicted, measured = check_pairs(predicted, measured, nan)
    found = [
        correlate(p, m, ranked=ranked, precision=_precision(predicted, measured))
        for _, p, m in chunks(predicted, measured)
    ]
    return np.concatenate(found)


def _precision(*values: Any) -> float:
    """Return the relative precision of the coarser of two arrays."""
    return max(float(np.finfo(v.dtype).eps) if v.dtype.kind == "f" else 0.0 for v in values)


def correlate(
    predicted: Float64Array, measured: Float64Array, *, ranked: bool = False, precision: float = 0.0
) -> Float64Array:
    """Return the correlation of each column of two dense arrays (n, c), which are used up.

    Parameters
    ----------
    predicted, measured
        NaN where missing.
    ranked
        Of ranks.
    precision
        Relative precision of the values: what varies by no more is constant.
    """
    missing = np.isnan(predicted) | np.isnan(measured)
    n = len(predicted) - np.count_nonzero(missing, axis=0)
    units = []
    for values in (predicted, measured):
        values[missing] = np.nan
        constant = _is_constant(values, precision)
        if ranked:
            values = rankdata(values, axis=0, nan_policy="omit" if missing.any() else "propagate")
        units.append(_unit(values, constant, n))
    (p, constant_p), (m, constant_m) = units
    out = np.clip(np.einsum("ij,ij->j", p, m), -1.0, 1.0)
    out[constant_p] = 0.0
    out[constant_m | (n < 2)] = np.nan
    return np.asarray(out)


def _is_constant(values: Float64Array, precision: float) -> BoolArray:
    with np.errstate(invalid="ignore"):
        low, high = (f.reduce(values, axis=0) for f in (np.fmin, np.fmax))
    narrow: BoolArray = ~(high - low > 16 * precision * np.maximum(np.abs(low), np.abs(high)))
    return narrow


def _unit(
    values: Float64Array, constant: BoolArray, n: npt.NDArray[np.intp]
) -> tuple[Float64Array, BoolArray]:
    """Return columns of mean 0 and length 1, 0 where missing, and which are constant."""
    values = values - np.nansum(values, axis=0) / np.maximum(n, 1)
    values[np.isnan(values)] = 0.0
    length = np.sqrt(np.einsum("ij,ij->j", values, values))
    constant = constant | (length == 0)
    return values / np.where(constant, 1.0, length), constant


def _mean(per_one: Callable[[Any, Any], Float64Array], predicted: Any, measured: Any) -> float:
    found = per_one(predicted, measured)
    return float(found[~np.isnan(found)].mean()) if not np.isnan(found).all() else float("nan")


def _score(material: Material, per_one: Callable[[Any, Any], Float64Array]) -> Found:
    return score_pairs(material, partial(_mean, per_one))


for _per_one in (pearson_per_feature, pearson_per_cell, spearman_per_feature, spearman_per_cell):
    register(
        _per_one.__name__,
        kind="imputation",
        better="higher",
        perfect=1.0,
        needs=("predicted", "measured", "partner"),
    )(partial(_score, per_one=_per_one))
