"""Labels told by the votes of nearest neighbors."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from scgroove._labels import encode
from scgroove._types import Float64Array, IntArray, Labels
from scgroove.metrics._candidates import rows_per_block


def nearest(voters: Float64Array, queries: Float64Array, k: int) -> IntArray:
    """Return the k rows of ``voters`` nearest to each query, nearest first, (n, k)."""
    from sklearn.neighbors import NearestNeighbors

    center = voters.mean(axis=0)  # squares are expanded inside, which an offset makes inexact
    search = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(voters - center)
    return np.asarray(search.kneighbors(queries - center, return_distance=False), dtype=np.intp)


def vote(codes: IntArray) -> IntArray:
    """Return the most frequent code of each row (n, k). Of equally frequent ones, the first."""
    winner = np.empty(len(codes), dtype=np.intp)
    step = rows_per_block(codes.shape[1] ** 2)
    for start in range(0, len(codes), step):
        part = codes[start : start + step]
        votes = (part[:, :, None] == part[:, None, :]).sum(axis=2)
        winner[start : start + step] = part[np.arange(len(part)), votes.argmax(axis=1)]
    return winner


def neighbor_labels(
    queries: npt.ArrayLike,
    voters: npt.ArrayLike,
    labels: Labels,
    *,
    n_neighbors: int = 15,
    metric: Literal["euclidean", "cosine"] = "euclidean",
) -> npt.NDArray[np.object_]:
    """Return the label that the nearest cells of the other modality give to each query.

    A vote weighs one over the number of cells of its label, so that abundant labels do not win by
    number.

    Parameters
    ----------
    queries, voters
        Representations in one space, (n, d) and (m, d).
    labels
        Labels of the voters, (m,). Those without a label do not vote.
    n_neighbors
        Number of voters. All of them if there are fewer.
    metric
        ``"euclidean"`` or ``"cosine"``.

    Returns
    -------
    ndarray
        Names of labels, (n,). All None if no voter has a label.
    """
    from sklearn.neighbors import KNeighborsClassifier

    names, (codes,) = encode(labels)
    known = np.flatnonzero(codes >= 0)
    x, y = np.asarray(queries, dtype=float), np.asarray(voters, dtype=float)[known]
    if not known.size:
        return np.full(len(x), None, dtype=object)
    if metric == "euclidean":  # squares are expanded inside, which an offset makes inexact
        x, y = x - y.mean(axis=0), y - y.mean(axis=0)
    k = min(n_neighbors, known.size)
    model = KNeighborsClassifier(k, algorithm="brute", metric=metric).fit(y, codes[known])
    votes = np.rint(k * model.predict_proba(x)) / np.bincount(codes[known])[model.classes_]
    winners = model.classes_[votes.argmax(axis=1)]
    return np.asarray(np.asarray(names, dtype=object)[winners])
