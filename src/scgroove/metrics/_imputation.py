"""Scores of imputed values: who is compared with whom, and what is expected by chance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from scgroove._labels import encode, members
from scgroove._types import IntArray
from scgroove.metrics._candidates import MissingTruthError
from scgroove.metrics._chance import Chance
from scgroove.metrics._score import Found, Material
from scgroove.metrics._values import check_values, is_complete

PERMUTED: Final = 5000
"""Cells that stand for all where chance is found by permuting them."""

PERMUTATIONS: Final = 20


@dataclass(frozen=True)
class Pairs:
    """Predicted values, the measured values of the same cells, (n, f), and a code for the label of each."""

    predicted: Any
    measured: Any
    codes: IntArray


def score_pairs(material: Material, metric: Callable[[Any, Any], float]) -> Found:
    """Return a metric of predicted and measured values of the same cells, and what it is by chance.

    Cells of which a value is missing are left out. By chance: the predictions are permuted among cells of one label
    (among all without labels), 20 times, at most 5,000 cells; the spread is brought to the number of cells.
    """
    pairs = material.once("pairs", lambda: _pairs(material))
    value = metric(pairs.predicted, pairs.measured)
    if np.isnan(value):
        raise MissingTruthError(
            "no value can be scored: every feature of the measured cells is constant, so that nothing can be told apart."
        )
    return Found(value, _permuted(pairs, metric, material.seed), pairs.codes.size)


def _pairs(material: Material) -> Pairs:
    predicted = check_values("predicted", material.predicted)
    measured = check_values("measured", material.measured)
    if predicted.shape[1] != measured.shape[1]:
        raise ValueError(
            f"predicted and measured must have the same features: found {predicted.shape[1]} and {measured.shape[1]}."
        )
    partner = material.partners()
    rows = np.flatnonzero(partner >= 0)
    rows = rows[is_complete(predicted, rows) & is_complete(measured, partner[rows])]
    if not rows.size:
        raise MissingTruthError(
            "no cell can be scored: none with a known true match has all its values, predicted and measured."
        )
    codes = np.zeros(rows.size, dtype=np.intp)
    if material.labels_x is not None:
        codes = encode(material.labels_x)[1][0][rows]
    return Pairs(predicted[rows], measured[partner[rows]], codes)


def _permuted(pairs: Pairs, metric: Callable[[Any, Any], float], seed: int) -> Chance:
    rng = np.random.default_rng(seed)
    n = pairs.codes.size
    some = np.arange(n) if n <= PERMUTED else np.sort(rng.choice(n, PERMUTED, replace=False))
    predicted, measured = pairs.predicted[some], pairs.measured[some]
    codes = pairs.codes[some] + 1  # cells without a label are permuted among themselves
    groups = members(codes, int(codes.max()) + 1)
    found = []
    for _ in range(PERMUTATIONS):
        order = np.arange(some.size)
        for cells in groups:
            order[cells] = rng.permutation(cells)
        found.append(metric(predicted[order], measured))
    return Chance(float(np.mean(found)), float(np.std(found, ddof=1) * np.sqrt(some.size / n)))
