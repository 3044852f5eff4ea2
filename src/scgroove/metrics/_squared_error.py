"""Squared error of predicted values, and the explained share of the variance."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from scgroove.errors import MissingTruthError
from scgroove.metrics._chance import Chance
from scgroove.metrics._imputation import PermutedSum, pairs_of
from scgroove.metrics.registry import MetricInputs, Score, register
from scgroove.metrics.values import across_features


class _Squares(NamedTuple):
    """Sums of squared errors, their chance, and of squares of measured values about their mean."""

    error: float
    by_chance: Chance
    spread: float
    n_values: int
    n_cells: int


def _squares(inputs: MetricInputs) -> _Squares:
    """Return the sums. By chance, predictions are permuted among the cells of a label.

    About the mean of the measured feature, ``sum (p - m)^2 = sum p^2 + sum m^2 - 2 sum p m``, and
    only the last term depends on the permutation.
    """
    pairs = pairs_of(inputs)
    permuted, error, squares = PermutedSum(pairs, inputs.seed), 0.0, np.zeros(2)
    center = np.asarray(pairs.measured.mean(axis=0, dtype=np.float64)).ravel()
    for cells, p, m in across_features(pairs.predicted, pairs.measured):
        error += float(((p - m) ** 2).sum())
        p, m = p - center, m - center
        squares += (p**2).sum(), (m**2).sum()
        permuted.add(cells, slice(None), p, m)
    mean, sd = permuted.chance()
    by_chance = Chance(float(squares.sum()) - 2 * mean, 2 * sd)
    n, f = pairs.predicted.shape
    return _Squares(error, by_chance, float(squares[1]), n * f, n)


@register(
    "mse",
    kind="imputation",
    better="lower",
    perfect=0.0,
    needs=("predicted", "measured", "partner"),
    title="squared error",
    meaning="The mean squared error of imputed values.",
)
def _score_mse(inputs: MetricInputs) -> Score:
    sums = inputs.once("squares", lambda: _squares(inputs))
    n, (mean, sd) = sums.n_values, sums.by_chance
    return Score(sums.error / n, mean / n, sd / n, sums.n_cells)


@register(
    "r2",
    kind="imputation",
    better="higher",
    perfect=1.0,
    needs=("predicted", "measured", "partner"),
    title="R²",
    meaning="The share of the variance of measured values that imputed ones explain.",
)
def _score_r2(inputs: MetricInputs) -> Score:
    sums = inputs.once("squares", lambda: _squares(inputs))
    if sums.spread <= 0:
        raise MissingTruthError(
            "no variance can be explained: every feature of the measured cells is constant."
        )
    mean, sd = sums.by_chance
    return Score(
        1 - sums.error / sums.spread, 1 - mean / sums.spread, sd / sums.spread, sums.n_cells
    )
