"""Held-out test of whether embeddings of labels tell where labels lie."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from scgroove._types import Float64Array

RIDGES: Final = tuple(10.0**power for power in range(-3, 4))
"""Ridge penalties to choose from, in units of the number of labels."""


@dataclass(frozen=True, eq=False)
class EmbeddingSignal:
    """Result of a held-out-label test.

    ``score`` is 1 minus the squared ``error`` of labels left out over the ``error_of_mean`` of the
    other labels (n_labels,). ``p_value`` the share of shuffled tables with a score as high,
    ``null`` their scores.
    """

    score: float
    p_value: float
    null: Float64Array
    error: Float64Array
    error_of_mean: Float64Array


def embedding_signal(
    embeddings: npt.ArrayLike, places: npt.ArrayLike, *, n_permutations: int = 200, seed: int = 0
) -> EmbeddingSignal:
    """Predict the place of each label from the others, by ridge regression on their embeddings.

    Each label is left out once, in closed form (Allen's PRESS): with H the matrix that maps places
    to fitted ones, its error is ``(y_i - (H y)_i) / (1 - H_ii)``. The ridge is the best of seven
    for the same errors, also in every permutation.

    Parameters
    ----------
    embeddings
        (n_labels, d), finite.
    places
        (n_labels, k), finite. Three labels or more.
    n_permutations
        Number of shuffled tables.
    seed
        Random state of the shuffles.

    References
    ----------
    Allen 1974, "The relationship between variable selection and data augmentation and a method for
    prediction".

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> table = rng.normal(size=(30, 3))
    >>> places = table @ rng.normal(size=(3, 4)) + 0.1 * rng.normal(size=(30, 4))
    >>> signal = embedding_signal(table, places)
    >>> round(signal.score, 2), round(signal.p_value, 3)
    (1.0, 0.005)
    """
    x, y = np.asarray(embeddings, dtype=np.float64), np.asarray(places, dtype=np.float64)
    n, tiny = len(x), np.finfo(np.float64).tiny
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    x /= max(np.sqrt(np.square(x).mean()), tiny)
    u, s, _ = np.linalg.svd(x, full_matrices=False)
    shrinkage = [np.square(s) / (np.square(s) + ridge * n) for ridge in RIDGES]

    def smallest_error(of: Float64Array) -> Float64Array:
        errors = []
        for shrunk in shrinkage:
            residual = of - u @ (shrunk[:, None] * (u.T @ of))
            left = 1.0 - 1.0 / n - np.square(u) @ shrunk
            errors.append(np.square(residual / left[:, None]).sum(axis=1))
        return min(errors, key=np.sum)

    error, error_of_mean = smallest_error(y), np.square(y * n / (n - 1)).sum(axis=1)
    total = max(float(error_of_mean.sum()), tiny)
    rng = np.random.default_rng(seed)
    drawn = [smallest_error(y[rng.permutation(n)]).sum() for _ in range(n_permutations)]
    null, score = 1 - np.array(drawn) / total, float(1 - error.sum() / total)
    p_value = float((1 + (null >= score).sum()) / (1 + n_permutations))
    return EmbeddingSignal(score, p_value, null, error, error_of_mean)
