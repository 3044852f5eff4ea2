"""Labels of target cells, predicted from their nearest source cells."""

from __future__ import annotations

from functools import partial
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from scgroove._types import Float64Array, IntArray, Labels
from scgroove.errors import MissingTruthError
from scgroove.metrics._chance import class_chance
from scgroove.metrics.neighbors import nearest, vote
from scgroove.metrics.registry import Distance, MetricInputs, Score, register

NEIGHBORS: Final = 15


def label_transfer(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    labels_x: Labels,
    labels_y: Labels,
    *,
    n_neighbors: int = NEIGHBORS,
    balanced: bool = False,
    metric: Distance = "euclidean",
    per: Literal["cell"] | None = None,
) -> Any:
    """Share of target cells whose label is that of most of their nearest source cells.

    Needs no true pairs. Scored are target cells whose label some source cell has. All labeled
    source cells vote, each with one vote. Of labels with equal votes, that of the nearest voter
    wins.

    Parameters
    ----------
    x, y
        Representations of source and target cells in one space, (n_source, d) and (n_target, d).
    labels_x, labels_y
        Label of each cell. None and NaN mean unlabeled: these neither vote nor are scored.
    n_neighbors
        Number of source cells that vote. All of them if there are fewer.
    balanced
        Mean over the labels of the share of their cells, so that rare labels weigh as much as
        abundant ones.
    metric
        ``"euclidean"`` or ``"cosine"``.
    per
        ``"cell"`` to return 1 for each target cell with the right label and 0 for a wrong one.

    Returns
    -------
    float or ndarray
        Between 0 and 1. By chance ``sum_l p_l q_l``, p the shares of the predicted and q of the
        true labels. Balanced, one over the number of labels. With ``per="cell"``, float64
        (n_target,), NaN for cells that are not scored.

    Raises
    ------
    ValueError
        If shapes or labels do not fit, or no label is in both modalities.

    See Also
    --------
    scgroove.model.GROOVE.get_cross_modal_label_accuracy : for a trained model. Its votes weigh
        rare labels up.

    Examples
    --------
    >>> x, y = [[0.0], [0.1], [5.0], [5.1]], [[0.2], [5.2], [0.3]]
    >>> label_transfer(x, y, ["a", "a", "b", "b"], ["a", "b", "b"], n_neighbors=2)
    0.6666666666666666
    """
    inputs = MetricInputs(
        x=x, y=y, labels_x=labels_x, labels_y=labels_y, metric=metric, n_neighbors=n_neighbors
    )
    cells, predicted, truth = _predictions(inputs)
    if per is not None:
        per_cell = np.full(inputs.sizes[1], np.nan)
        per_cell[cells] = predicted == truth
        return per_cell
    gain = _gain(truth, balanced=balanced)
    return float(gain[truth][predicted == truth].sum())


def _predictions(inputs: MetricInputs) -> tuple[IntArray, IntArray, IntArray]:
    """Return the target cells that can be scored, and their predicted and true labels."""
    pool = inputs.pool(within_label=True)
    voters = np.flatnonzero(pool.codes_x >= 0)
    cells = np.flatnonzero(np.isin(pool.codes_y, pool.codes_x[voters]))
    if not cells.size:
        raise MissingTruthError(
            "no target cell has a label that a source cell has, so that no label can be told from "
            "the other modality. Labels are compared by name; are labels_x and labels_y of one "
            "vocabulary?"
        )
    x, y = inputs.coordinates()
    near = nearest(x[voters], y[cells], min(inputs.n_neighbors, voters.size))
    return cells, vote(pool.codes_x[voters][near]), pool.codes_y[cells]


def _gain(truth: IntArray, *, balanced: bool) -> Float64Array:
    """Return the addition of one right cell of each label to the accuracy, (labels,)."""
    counts = np.bincount(truth)
    if not balanced:
        return np.full(counts.size, 1.0 / truth.size)
    return 1.0 / (np.maximum(counts, 1) * np.count_nonzero(counts)) * (counts > 0)


def _score(inputs: MetricInputs, *, balanced: bool) -> Score:
    """Return the accuracy a, brought to a chance that the shares of the labels alone decide.

    With the labels of the scored cells permuted, the same predictions have ``e = sum_l g_l n_l
    p_l`` in the mean: n_l cells of label l, g_l the addition of each, p_l the predicted share of l.
    Predictions of abundant labels would have more by chance. Cells predicted in the shares of the
    labels have ``c = sum_l g_l n_l^2 / n``, and ``c + (1 - c) (a - e) / (1 - e)`` is c by chance
    for all predictions, 1 if all are right, and a itself if e = c.
    """
    cells, predicted, truth = inputs.once("transfer", lambda: _predictions(inputs))
    n_labels = int(max(truth.max(), predicted.max())) + 1
    gain = _gain(truth, balanced=balanced)
    gain = np.pad(gain, (0, n_labels - gain.size))
    n_predicted, counts = (np.bincount(codes, minlength=n_labels) for codes in (predicted, truth))
    if np.count_nonzero(counts) < 2:
        raise MissingTruthError(
            "all target cells that can be scored have one label, so that there is no other label "
            "to tell it from."
        )
    expected, sd = class_chance(np.diag(gain), n_predicted, counts)
    common = float(gain @ counts**2) / cells.size
    value, scale = float(gain[truth][predicted == truth].sum()), (1.0 - common) / (1.0 - expected)
    return Score(common + scale * (value - expected), common, scale * sd, cells.size)


for _name, _title, _meaning in (
    (
        "label_transfer",
        "label transfer",
        "The share of cells that were not trained on whose nearest such cells of the other "
        "modality have their label, with the chance of every method brought to that of the shares "
        "of the labels.",
    ),
    (
        "label_transfer_balanced",
        "label transfer, balanced",
        "Label transfer, every label weighing the same.",
    ),
):
    register(
        _name,
        kind="representation",
        better="higher",
        perfect=1.0,
        needs=("x", "y", "labels"),
        title=_title,
        meaning=_meaning,
        across_labels=True,
    )(partial(_score, balanced=_name.endswith("balanced")))
