"""Pairs of predicted and measured cells, and sums over random permutations of them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from scgroove._labels import encode, members
from scgroove._types import Float64Array, IntArray
from scgroove.errors import InputError, MissingTruthError
from scgroove.metrics._candidates import CandidateSet
from scgroove.metrics._chance import Chance, matching_variance, sample
from scgroove.metrics.registry import MetricInputs
from scgroove.metrics.values import check_values, is_complete


class Pairs(NamedTuple):
    """Predicted and measured values of the same cells, (n, f), without missing values.

    ``codes`` (n,) are those of their labels. Cells without a label are a group of their own.
    """

    predicted: Any
    measured: Any
    codes: IntArray


def pairs_of(inputs: MetricInputs) -> Pairs:
    """Return the complete cells with a known true match."""
    return inputs.once("pairs", lambda: _pairs(inputs))


def _pairs(inputs: MetricInputs) -> Pairs:
    predicted = check_values("predicted", inputs.predicted)
    measured = check_values("measured", inputs.measured)
    if predicted.shape[1] != measured.shape[1]:
        raise InputError(
            f"predicted and measured must have the same features: found {predicted.shape[1]} and "
            f"{measured.shape[1]}."
        )
    partner = inputs.partners()
    rows = np.flatnonzero(partner >= 0)
    rows = rows[is_complete(predicted, rows) & is_complete(measured, partner[rows])]
    if not rows.size:
        raise MissingTruthError(
            "no cell can be scored: none with a known true match has all its values, predicted and "
            "measured."
        )
    codes = np.zeros(rows.size, dtype=np.intp)
    if inputs.labels_x is not None:
        codes = encode(inputs.labels_x)[1][0][rows] + 1
    return Pairs(_rows(predicted, rows), _rows(measured, partner[rows]), codes)


def _rows(values: Any, rows: IntArray) -> Any:
    """Return some rows, without a copy if these are all rows in order."""
    return values if np.array_equal(rows, np.arange(values.shape[0])) else values[rows]


class PermutedSum:
    """Mean and spread of ``sum_i p_i' m_s(i)`` over permutations s of the cells in their groups.

    ``p_i' m_j`` is a matrix, and the sum over a permutation of it has a known mean and variance:
    see :func:`matching_variance`. Its mean needs the sums of each group, its spread a sample of
    rows and columns.
    """

    def __init__(self, pairs: Pairs, seed: int) -> None:
        n, f = pairs.predicted.shape
        self._groups = [g for g in members(pairs.codes, int(pairs.codes.max()) + 1) if g.size]
        self._sums = np.zeros((2, len(self._groups), f))
        group_of = np.empty(n, dtype=np.intp)
        for number, cells in enumerate(self._groups):
            group_of[cells] = number
        shape = (len(self._groups), n)
        self._one_hot = sp.csc_matrix((np.ones(n), (group_of, np.arange(n))), shape=shape)
        sets = [CandidateSet(number, g, g, g) for number, g in enumerate(self._groups)]
        self._samples = [both[0] for both in sample(sets, seed)]
        sampled = np.concatenate(self._samples)
        self._slot = np.full(n, -1, dtype=np.intp)
        self._slot[sampled] = np.arange(sampled.size)
        self._sampled = np.zeros((2, sampled.size, f))

    def add(
        self, cells: slice, features: slice, predicted: Float64Array, measured: Float64Array
    ) -> None:
        """Add some features of some cells, (cells, features)."""
        some = np.flatnonzero(self._slot[cells] >= 0)
        at = self._slot[cells][some]
        for side, values in enumerate((predicted, measured)):
            self._sums[side][:, features] += self._one_hot[:, cells] @ values
            self._sampled[side][at, features] = values[some]

    def chance(self) -> Chance:
        """Return mean and standard deviation."""
        mean = variance = 0.0
        for number, (group, some) in enumerate(zip(self._groups, self._samples, strict=True)):
            n = group.size
            mean += float(self._sums[0, number] @ self._sums[1, number]) / n
            p, m = self._sampled[:, self._slot[some]]
            variance += matching_variance(p @ m.T, n, n, n)
        return Chance(mean, float(np.sqrt(variance)))
