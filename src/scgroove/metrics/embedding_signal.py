"""Whether what is known of labels says where labels lie that it was not fitted to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from scgroove._types import Float64Array

RIDGES: Final = tuple(10.0**power for power in range(-3, 4))
"""Strengths that are tried, in units of the number of labels."""


@dataclass(frozen=True, eq=False)
class EmbeddingSignal:
    """What a held-out-label check found.

    Attributes
    ----------
    score
        1 minus the squared error of labels left out over that of the mean of the other labels: at most 1; 0 is no more than the mean.
    p_value
        Share of shuffled tables, and of this one, with a score as high.
    null
        Scores of the shuffled tables, (n_permutations,).
    error, error_of_mean
        Squared errors of each label, (n_labels,).
    """

    score: float
    p_value: float
    null: Float64Array
    error: Float64Array
    error_of_mean: Float64Array


def embedding_signal(
    embeddings: npt.ArrayLike, places: npt.ArrayLike, *, n_permutations: int = 200, seed: int = 0
) -> EmbeddingSignal:
    """Predict where each label lies from the others, by ridge regression on their embeddings.

    Each label is left out once, in closed form (Allen's PRESS): with H the matrix that maps places to fitted ones, its error is
    ``(y_i - (H y)_i) / (1 - H_ii)``. The ridge is the best of seven for the same errors, also in every permutation.

    Parameters
    ----------
    embeddings
        (n_labels, d), finite.
    places
        (n_labels, k), finite; three labels or more.
    n_permutations
        Shufflings of the labels of the table.
    seed
        Random state of the shufflings.

    Returns
    -------
    EmbeddingSignal

    References
    ----------
    Allen 1974, "The relationship between variable selection and data augmentation and a method for prediction".

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> table = rng.normal(size=(30, 3))
    >>> places = table @ rng.normal(size=(3, 4)) + 0.1 * rng.normal(size=(30, 4))
    >>> found = embedding_signal(table, places)
    >>> round(found.score, 2), round(found.p_value, 3)
    (1.0, 0.005)
    """
    x, y = (np.asarray(a, dtype=np.float64) for a in (embeddings, places))
    n = len(x)
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    x /= max(np.sqrt(np.square(x).mean()), np.finfo(np.float64).tiny)
    u, s, _ = np.linalg.svd(x, full_matrices=False)
    kept = [np.square(s) / (np.square(s) + ridge * n) for ridge in RIDGES]
    left = [1.0 - 1.0 / n - np.square(u) @ one for one in kept]

    def best(of: Float64Array) -> Float64Array:
        along = u.T @ of
        errors = [
            np.square((of - u @ (one[:, None] * along)) / rest[:, None]).sum(axis=1)
            for one, rest in zip(kept, left, strict=True)
        ]
        return min(errors, key=np.sum)

    error, error_of_mean = best(y), np.square(y * n / (n - 1)).sum(axis=1)
    total = max(float(error_of_mean.sum()), np.finfo(np.float64).tiny)
    rng = np.random.default_rng(seed)
    null = np.array([1 - best(y[rng.permutation(n)]).sum() / total for _ in range(n_permutations)])
    score = float(1 - error.sum() / total)
    p_value = float((1 + (null >= score).sum()) / (1 + n_permutations))
    return EmbeddingSignal(score, p_value, null, error, error_of_mean)
