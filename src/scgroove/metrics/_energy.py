"""Energy distance between the distributions of predicted and of measured cells."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from scipy.spatial.distance import cdist

from scgroove._labels import members
from scgroove._types import Float64Array, IntArray
from scgroove.errors import InputError, MissingTruthError
from scgroove.metrics._candidates import rows_per_block
from scgroove.metrics._chance import matching_variance
from scgroove.metrics.registry import MetricInputs, Score, register
from scgroove.metrics.values import complete_cells, dense

MAX_CELLS: Final = 1000
FEW_FEATURES: Final = 32
CHANCE_CELLS: Final = 200
CHANCE_LABELS: Final = 20


def _samples(inputs: MetricInputs) -> list[tuple[Float64Array, Float64Array]]:
    """Return a sample of predicted and of measured cells for each label that is in both."""
    p, cells_p = complete_cells("predicted", inputs.predicted, "omit")
    m, cells_m = complete_cells("measured", inputs.measured, "omit")
    if p.shape[1] != m.shape[1]:
        raise InputError(
            f"both samples must have the same features: found {p.shape[1]} and {m.shape[1]}."
        )
    rng = np.random.default_rng(inputs.seed)
    pool = inputs.pool(within_label=True)
    n_labels = int(max(pool.codes_x.max(initial=-1), pool.codes_y.max(initial=-1))) + 1
    groups_p = members(pool.codes_x[cells_p], n_labels)
    groups_m = members(pool.codes_y[cells_m], n_labels)
    samples = []
    for own, other in zip(groups_p, groups_m, strict=True):
        if own.size and other.size:
            a = _sample(p, cells_p[own], MAX_CELLS, rng)
            samples.append((a, _sample(m, cells_m[other], MAX_CELLS, rng)))
    if not samples:
        raise MissingTruthError(
            "no label has both predicted and measured cells, so that no distributions can be "
            "compared. Labels are compared by name; are labels_x and labels_y of one vocabulary?"
        )
    return samples


def _sample(values: Any, cells: IntArray, max_cells: int, rng: np.random.Generator) -> Float64Array:
    if cells.size > max_cells:
        cells = np.sort(rng.choice(cells, max_cells, replace=False))
    return dense(values[cells])


def _between(a: Float64Array, b: Float64Array) -> float:
    """Return the mean distance over all pairs, some rows at a time."""
    distances = cdist if a.shape[1] <= FEW_FEATURES else _distances
    step, total = rows_per_block(len(b)), 0.0
    for start in range(0, len(a), step):
        total += float(distances(a[start : start + step], b).sum())
    return total / (len(a) * len(b))


def _distances(a: Float64Array, b: Float64Array) -> Float64Array:
    """Return distances by inner products: exact to 1e-8 of the values, ten times as fast."""
    center = b.mean(axis=0)
    a, b = a - center, b - center
    squares = np.einsum("ij,ij->i", a, a)[:, None] + np.einsum("ij,ij->i", b, b) - 2 * (a @ b.T)
    return np.asarray(np.sqrt(np.maximum(squares, 0.0)))


@register(
    "energy_distance",
    kind="imputation",
    better="lower",
    perfect=0.0,
    needs=("predicted", "measured", "labels"),
    meaning="How far the distribution of imputed values of a label lies from the measured one.",
    across_labels=True,
)
def _score(inputs: MetricInputs) -> Score:
    """Return the mean over labels of ``2 E|a - b| - E|a - a'| - E|b - b'|``.

    Distances are Euclidean, and means are over all pairs of at most 1,000 cells of each label and
    side. By chance, predicted cells of a label are taken for those of another. Chance rests on 20
    labels and 200 cells of each, at most. Only the distance between the two sides depends on the
    labels that are compared, and its mean over pairs is not biased by a smaller sample. (Székely
    and Rizzo 2013, "Energy statistics", section 2.)
    """
    samples = _samples(inputs)
    n = len(samples)
    within = np.mean([_between(a, a) + _between(b, b) for a, b in samples])
    value = float(np.mean([2 * _between(a, b) for a, b in samples]) - within)
    rng = np.random.default_rng(inputs.seed)
    few = []
    for label in np.sort(rng.choice(n, min(n, CHANCE_LABELS), replace=False)):
        few.append([_sample(s, np.arange(len(s)), CHANCE_CELLS, rng) for s in samples[label]])
    across = np.empty((len(few), len(few)))
    for i, (a, _) in enumerate(few):
        across[i] = [2 * _between(a, b) for _, b in few]
    sd = float(np.sqrt(matching_variance(across, n, n, n))) / n
    return Score(value, float(across.mean() - within), sd, n)
