"""Squared error of predicted values, and the share of the variance of the measured values that they explain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from scgroove._types import Float64Array
from scgroove.errors import MissingTruthError
from scgroove.metrics._candidates import METRICS
from scgroove.metrics._chance import Chance
from scgroove.metrics._imputation import PermutedSum, pairs_of
from scgroove.metrics._score import Found, Material, register
from scgroove.metrics.values import NaNPolicy, Values, across_cells, across_features, check_pairs


@METRICS.register("mse")
def mse(predicted: Values, measured: Values, *, nan: NaNPolicy = "raise") -> float:
    """Return the mean squared error over all cells and features; 0 is perfect.

    Parameters
    ----------
    predicted, measured
        Values of the same cells and features, (n, f), dense or sparse.
    nan
        ``"raise"``: missing values are an error. ``"omit"``: a pair of values of which one is missing is left out.

    Returns
    -------
    float
        At least 0, in squared units of the features; NaN if every pair is left out.

    Raises
    ------
    ValueError
        If shapes differ, a value is infinite, or one is missing and ``nan="raise"``.

    References
    ----------
    User guide, "Evaluation".

    Examples
    --------
    >>> mse([[0.0, 1.0]], [[2.0, 1.0]])
    2.0
    """
    error, _, pairs = _sums(*check_pairs(predicted, measured, nan))
    return float(error.sum() / pairs.sum()) if pairs.sum() else float("nan")


def mse_per_feature(
    predicted: Values, measured: Values, *, nan: NaNPolicy = "raise"
) -> Float64Array:
    """Return the mean squared error of each feature, float64 (f,); NaN where every pair is left out.

    Parameters and errors are those of :func:`mse`.
    """
    error, _, pairs = _sums(*check_pairs(predicted, measured, nan))
    out: Float64Array = np.divide(error, pairs, out=np.full(error.size, np.nan), where=pairs > 0)
    return out


def mse_per_cell(predicted: Values, measured: Values, *, nan: NaNPolicy = "raise") -> Float64Array:
    """Return the mean squared error of each cell, float64 (n,); NaN where every pair is left out.

    Parameters and errors are those of :func:`mse`.
    """
    pair = check_pairs(predicted, measured, nan)
    out = np.full(pair[0].shape[0], np.nan)
    for rows, p, m in across_features(*pair):
        error, pairs = _error(p, m)
        out[rows][pairs > 0] = error[pairs > 0] / pairs[pairs > 0]
    return out


@METRICS.register("r2")
def r2(predicted: Values, measured: Values, *, nan: NaNPolicy = "raise") -> float:
    """Return the share of the variance of the measured values that is explained; 1 is perfect.

    ``1 - sum (predicted - measured)^2 / sum (measured - mean of its feature)^2`` over all cells and features, so that
    features of large variance weigh more (``multioutput="variance_weighted"`` of scikit-learn). Standardize the
    features first to weigh them alike.

    Parameters
    ----------
    predicted, measured, nan
        As in :func:`mse`.

    Returns
    -------
    float
        At most 1; 0 for the mean of each feature, below 0 for what is worse. NaN if no measured feature varies.

    Raises
    ------
    ValueError
        If shapes differ, a value is infinite, or one is missing and ``nan="raise"``.

    References
    ----------
    User guide, "Evaluation".

    Examples
    --------
    >>> r2([[0.0], [1.0], [2.0]], [[0.0], [2.0], [4.0]])
    0.375
    """
    error, spread, _ = _sums(*check_pairs(predicted, measured, nan))
    return float(1 - error.sum() / spread.sum()) if spread.sum() > 0 else float("nan")


def r2_per_feature(
    predicted: Values, measured: Values, *, nan: NaNPolicy = "raise"
) -> Float64Array:
    """Return the explained share of the variance of each feature, float64 (f,); NaN where the measured one is constant.

    Parameters and errors are those of :func:`r2`.
    """
    error, spread, _ = _sums(*check_pairs(predicted, measured, nan))
    out: Float64Array = 1 - np.divide(
        error, spread, out=np.full(error.size, np.nan), where=spread > 0
    )
    return out


def _sums(predicted: Any, measured: Any) -> tuple[Float64Array, Float64Array, Float64Array]:
    """Return, for each feature, squared errors, squares of measured values about their mean, and numbers of pairs."""
    found = []
    for _, p, m in across_cells(predicted, measured):
        error, pairs = _error(p, m)
        m[np.isnan(p)] = np.nan
        constant = np.fmax.reduce(m, axis=1) == np.fmin.reduce(m, axis=1)
        mean = np.nansum(m, axis=1) / np.maximum(pairs, 1)
        spread = np.nansum((m - mean[:, None]) ** 2, axis=1)
        found.append((error, np.where(constant, 0.0, spread), pairs))
    error, spread, pairs = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return error, spread, pairs


def _error(predicted: Float64Array, measured: Float64Array) -> tuple[Float64Array, Float64Array]:
    """Return, for each row, the sum of squared differences and how many there are."""
    squares = (predicted - measured) ** 2
    return np.nansum(squares, axis=1), np.count_nonzero(~np.isnan(squares), axis=1).astype(
        np.float64
    )


@dataclass(frozen=True)
class _Squares:
    """Sum of squared errors and what it is by chance; squares of measured values about their mean; values and cells."""

    error: float
    by_chance: Chance
    spread: float
    n_values: int
    n_cells: int


def _squares(material: Material) -> _Squares:
    """Return the sums; by chance: predictions are permuted among the cells of a label.

    About the mean of the measured feature, ``sum (p - m)^2 = sum p^2 + sum m^2 - 2 sum p m``, of which only the last
    depends on the permutation.
    """
    pairs = pairs_of(material)
    permuted, error, squares = PermutedSum(pairs, material.seed), 0.0, np.zeros(2)
    center = np.asarray(pairs.measured.mean(axis=0, dtype=np.float64)).ravel()
    for cells, p, m in across_features(pairs.predicted, pairs.measured):
        error += float(((p - m) ** 2).sum())
        p, m = p - center, m - center
        squares += (p**2).sum(), (m**2).sum()
        permuted.add(cells, slice(None), p, m)
    mean, sd = permuted.chance()
    n, f = pairs.predicted.shape
    return _Squares(
        error, Chance(float(squares.sum()) - 2 * mean, 2 * sd), float(squares[1]), n * f, n
    )


_NEEDS = ("predicted", "measured", "partner")


@register("mse", kind="imputation", better="lower", perfect=0.0, needs=_NEEDS)
def _score_mse(material: Material) -> Found:
    found = material.once("squares", lambda: _squares(material))
    n = found.n_values
    return Found(
        found.error / n, Chance(found.by_chance.mean / n, found.by_chance.sd / n), found.n_cells
    )


@register("r2", kind="imputation", better="higher", perfect=1.0, needs=_NEEDS)
def _score_r2(material: Material) -> Found:
    found = material.once("squares", lambda: _squares(material))
    if found.spread <= 0:
        raise MissingTruthError(
            "no variance can be explained: every feature of the measured cells is constant."
        )
    by_chance = Chance(1 - found.by_chance.mean / found.spread, found.by_chance.sd / found.spread)
    return Found(1 - found.error / found.spread, by_chance, found.n_cells)
