"""Draws of a simulation: shares of cells, sizes of labels, sub-states, batches, wrong labels.

With one random stream, a larger share adds cells to those of a smaller one, so that a sweep changes
no more than it must.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial.distance import cdist

from scgroove._types import BoolArray, Float64Array, IntArray

SMALLEST_LABEL = 2
"""Cells that imbalance leaves to every label."""


def zipf_sizes(n_labels: int, n_cells: int, exponent: float) -> tuple[int, ...]:
    """Share out cells in proportion to rank**-exponent, at least two to each label.

    Labels whose part would be smaller get two cells, and the others share the rest. Parts are
    rounded by largest remainder, so that the sizes add up to ``n_cells`` and never rise with the
    rank.

    Examples
    --------
    >>> zipf_sizes(5, 60, 1.0)
    (26, 13, 9, 7, 5)
    >>> zipf_sizes(5, 60, 3.0)
    (48, 6, 2, 2, 2)
    """
    weight = np.arange(1, n_labels + 1, dtype=np.float64) ** -exponent
    # Weights fall with the rank, so the labels at the minimum are the last ones.
    for n_free in range(n_labels, 0, -1):
        rest = n_cells - SMALLEST_LABEL * (n_labels - n_free)
        part = rest * weight[:n_free] / weight[:n_free].sum()
        if part[-1] >= SMALLEST_LABEL:
            break
    sizes = np.full(n_labels, SMALLEST_LABEL)
    sizes[:n_free] = np.floor(part)
    largest_remainder = np.argsort(np.floor(part) - part, kind="stable")
    sizes[largest_remainder[: n_cells - sizes.sum()]] += 1
    return tuple(int(size) for size in sizes)


def draw_share(
    among: BoolArray, share: float, rng: np.random.Generator, taken: BoolArray | None = None
) -> BoolArray:
    """Mark round(share * n) of the n items that are True in ``among``, but none ``taken``."""
    candidates = rng.permutation(np.flatnonzero(among))
    n_chosen = round(share * candidates.size)
    if taken is not None:
        # only now, so that one more item taken changes one item of the result
        candidates = candidates[~taken[candidates]]
    chosen = np.zeros(among.size, dtype=np.bool_)
    chosen[candidates[:n_chosen]] = True
    return chosen


def draw_substates(label: IntArray, n_substates: int, rng: np.random.Generator) -> IntArray:
    """Return the sub-state of each cell, (n,), of equal size inside a label."""
    order = rng.permutation(label.size)
    order = order[np.argsort(label[order], kind="stable")]
    first = np.searchsorted(label[order], label[order], side="left")
    substate = np.empty(label.size, dtype=np.intp)
    substate[order] = (np.arange(label.size) - first) % n_substates
    return substate


def draw_batches(n: int, n_batches: int, rng: np.random.Generator) -> IntArray:
    """Return the batch of each cell, (n,), of equal size."""
    return rng.permutation(np.arange(n, dtype=np.intp) % n_batches)


def draw_wrong_labels(
    label: IntArray, seen: BoolArray, vocabulary: IntArray, share: float, rng: np.random.Generator
) -> IntArray:
    """Return label codes, (n,), with a share of the ``seen`` cells given any other label.

    ``vocabulary`` holds the codes of the labels there are, sorted, two or more if ``share`` is
    positive.
    """
    if share == 0:
        return label
    wrong = draw_share(seen, share, rng)
    steps = rng.integers(1, vocabulary.size, size=label.size)
    other = vocabulary[(np.searchsorted(vocabulary, label) + steps) % vocabulary.size]
    return np.where(wrong, other, label)


def nearest_labels(effect: Float64Array, vocabulary: IntArray) -> IntArray:
    """Return for each label of the sorted ``vocabulary`` the other one with the nearest effect.

    ``effect`` is (n_labels, k). Of labels equally near, the lower code is returned.
    """
    distance = cdist(effect[vocabulary], effect[vocabulary])
    np.fill_diagonal(distance, np.inf)
    nearest: IntArray = vocabulary[distance.argmin(axis=1)]
    return nearest
