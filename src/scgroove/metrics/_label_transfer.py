"""Labels of target cells, told from their nearest source cells."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from scgroove._labels import UNLABELED
from scgroove._types import Float64Array, IntArray, Labels
from scgroove.errors import InputError, MissingTruthError
from scgroove.metrics._candidates import BLOCK_VALUES, METRICS, Candidates, candidates, check_pair
from scgroove.metrics._chance import Chance, class_chance
from scgroove.metrics._foscttm import Metric, coordinates, in_metric
from scgroove.metrics._score import Found, Material, register

NEIGHBORS: Final = 15


@METRICS.register("label_transfer")
def label_transfer(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    labels_x: Labels,
    labels_y: Labels,
    *,
    n_neighbors: int = NEIGHBORS,
    balanced: bool = False,
    metric: Metric = "euclidean",
) -> float:
    """Return the share of target cells whose label is that of most of their nearest source cells.

    Needs no true pairs. Scored are target cells whose label some source cell has; all labeled source cells vote, each
    with one vote. Labels with equal votes: the one with the nearest voter wins.

    Parameters
    ----------
    x, y
        Representations of source and target cells in one space, (n_source, d) and (n_target, d).
    labels_x, labels_y
        Label of each cell; None and NaN mean unlabeled: these neither vote nor are scored.
    n_neighbors
        Source cells that vote; all of them if there are fewer.
    balanced
        Mean over the labels of the share of their cells, so that rare labels weigh as much as abundant ones.
    metric
        ``"euclidean"`` or ``"cosine"``.

    Returns
    -------
    float
        Between 0 and 1. By chance ``sum_l p_l q_l``, p the shares of the predicted and q of the true labels;
        balanced, one over the number of labels.

    Raises
    ------
    ValueError
        If shapes or labels do not fit, ``n_neighbors`` is below 1, or no label is in both modalities.

    See Also
    --------
    scgroove.model.GROOVE.get_cross_modal_label_accuracy : for a trained model; its votes weigh rare labels up.

    References
    ----------
    User guide, "Evaluation".

    Examples
    --------
    >>> x, y = [[0.0], [0.1], [5.0], [5.1]], [[0.2], [5.2], [0.3]]
    >>> label_transfer(x, y, ["a", "a", "b", "b"], ["a", "b", "b"], n_neighbors=2)
    0.6666666666666666
    """
    x, y = in_metric(*check_pair(x, y), metric)
    pool = candidates(len(x), len(y), labels_x, labels_y, within_label=True)
    cells, predicted = _transfer(x, y, pool, n_neighbors)
    gain = _gain(pool.codes_y[cells], balanced=balanced)
    truth = pool.codes_y[cells]
    return float(gain[truth][predicted == truth].sum())


def label_transfer_per_cell(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    labels_x: Labels,
    labels_y: Labels,
    *,
    n_neighbors: int = NEIGHBORS,
    metric: Metric = "euclidean",
) -> Float64Array:
    """Return 1 for each target cell whose label was told rightly, else 0, float64 (n_target,); NaN: not scored.

    Parameters and errors are those of :func:`label_transfer`.
    """
    x, y = in_metric(*check_pair(x, y), metric)
    pool = candidates(len(x), len(y), labels_x, labels_y, within_label=True)
    cells, predicted = _transfer(x, y, pool, n_neighbors)
    out = np.full(len(y), np.nan)
    out[cells] = predicted == pool.codes_y[cells]
    return out


def _transfer(
    x: Float64Array, y: Float64Array, pool: Candidates, n_neighbors: int
) -> tuple[IntArray, IntArray]:
    """Return the target cells that can be scored, and the code of the label that each is told to have."""
    if n_neighbors < 1:
        raise InputError(f"n_neighbors must be at least 1; found {n_neighbors}.")
    voters = np.flatnonzero(pool.codes_x != UNLABELED)
    cells = np.flatnonzero(np.isin(pool.codes_y, pool.codes_x[voters]))
    if not cells.size:
        raise MissingTruthError(
            "no target cell has a label that a source cell has, so that no label can be told from the other modality. "
            "Labels are compared by name; are labels_x and labels_y of one vocabulary?"
        )
    near = _nearest(x[voters], y[cells], min(n_neighbors, voters.size))
    return cells, _vote(pool.codes_x[voters][near])


def _nearest(x: Float64Array, y: Float64Array, k: int) -> IntArray:
    """Return the k rows of x nearest to each row of y, nearest first."""
    from sklearn.neighbors import NearestNeighbors

    center = x.mean(axis=0)  # squares are expanded inside, which an offset would make inexact
    search = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(x - center)
    return np.asarray(search.kneighbors(y - center, return_distance=False), dtype=np.intp)


def _vote(codes: IntArray) -> IntArray:
    """Return the most frequent code of each row; of equally frequent ones, that which comes first."""
    n_labels = int(codes.max()) + 1
    winner = np.empty(len(codes), dtype=np.intp)
    step = max(1, BLOCK_VALUES // n_labels)
    for start in range(0, len(codes), step):
        part = codes[start : start + step]
        flat = part + n_labels * np.arange(len(part))[:, None]
        votes = np.bincount(flat.ravel(), minlength=n_labels * len(part))[flat]
        winner[start : start + step] = part[np.arange(len(part)), votes.argmax(axis=1)]
    return winner


def _gain(truth: IntArray, *, balanced: bool) -> Float64Array:
    """Return what a rightly told cell of each label adds to the accuracy, (labels,)."""
    counts = np.bincount(truth)
    if not balanced:
        return np.full(counts.size, 1.0 / truth.size)
    out: Float64Array = np.divide(
        1.0, counts * np.count_nonzero(counts), where=counts > 0, out=np.zeros(counts.size)
    )
    return out


def _score(material: Material, *, balanced: bool) -> Found:
    """Return the accuracy a, brought to a chance that the shares of the labels alone decide.

    With the labels of the scored cells permuted, the same predictions have ``e = sum_l g_l n_l p_l`` in the mean: n_l
    cells of label l, g_l what each of them adds, p_l the share that is told to be l. Predictions of abundant labels
    would have more by chance. What cells told in the shares of the labels have is ``c = sum_l g_l n_l^2 / n``, and
    ``c + (1 - c) (a - e) / (1 - e)`` is c by chance for all predictions, 1 if all are right, and a itself if e = c.
    """
    pool = material.pool("within_label")
    cells, predicted = material.once(
        "transfer", lambda: _transfer(*coordinates(material), pool, material.n_neighbors)
    )
    truth = pool.codes_y[cells]
    gain = _gain(truth, balanced=balanced)
    n_labels = int(max(truth.max(), predicted.max())) + 1
    gain = np.pad(gain, (0, n_labels - gain.size))
    told, counts = (np.bincount(codes, minlength=n_labels) for codes in (predicted, truth))
    if np.count_nonzero(counts) < 2:
        raise MissingTruthError(
            "all target cells that can be scored have one label, so that there is no other label to tell it from."
        )
    expected, sd = class_chance(np.diag(gain), told, counts)
    common = float(gain @ counts**2) / cells.size
    value, scale = float(gain[truth][predicted == truth].sum()), (1.0 - common) / (1.0 - expected)
    return Found(common + scale * (value - expected), Chance(common, scale * sd), cells.size)


@register(
    "label_transfer",
    kind="representation",
    better="higher",
    perfect=1.0,
    needs=("x", "y", "labels"),
    across_labels=True,
)
def _accuracy(material: Material) -> Found:
    return _score(material, balanced=False)


@register(
    "label_transfer_balanced",
    kind="representation",
    better="higher",
    perfect=1.0,
    needs=("x", "y", "labels"),
    across_labels=True,
)
def _balanced_accuracy(material: Material) -> Found:
    return _score(material, balanced=True)
