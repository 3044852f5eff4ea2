"""Retrieval of the true match among the candidates: recall at k, and mean reciprocal rank."""

from __future__ import annotations

from functools import partial

import numpy.typing as npt

from scgroove._types import Float64Array, Labels
from scgroove.errors import InputError
from scgroove.metrics._candidates import (
    METRICS,
    candidates,
    check_pair,
    check_partner,
    mean_of_directions,
)
from scgroove.metrics._foscttm import Metric, in_metric, places, score_places
from scgroove.metrics._ranks import RECIPROCAL, Ranks, Rule, partner_ranks, recall_rule
from scgroove.metrics._score import SCOPES, Found, Material, Scope, needs_of, register


@METRICS.register("recall_at_k")
def recall_at_k(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    partner: npt.ArrayLike | None = None,
    *,
    k: int = 1,
    labels_x: Labels | None = None,
    labels_y: Labels | None = None,
    within_label: bool | None = None,
    metric: Metric = "euclidean",
    block_size: int | None = None,
) -> float:
    """Return the share of cells whose true match is among their k nearest candidates; 1 is perfect, k / n chance.

    Where the match ties with others at the k-th place, it counts with the probability that it is among the first k
    in a random order of the ties. Mean over cells, then over both directions.

    Parameters
    ----------
    x, y, partner, labels_x, labels_y, within_label, metric, block_size
        As in :func:`foscttm`.
    k
        How many nearest candidates are looked at.

    Returns
    -------
    float
        Between 0 and 1.

    Raises
    ------
    ValueError
        If shapes, labels or partners do not fit, a value is not finite, ``k`` is below 1, or no cell can be scored.

    References
    ----------
    User guide, "Evaluation".

    Examples
    --------
    >>> x, y = [[0.0], [1.0], [2.0]], [[0.0], [2.1], [1.2]]
    >>> recall_at_k(x, y, k=1), recall_at_k(x, y, k=2)
    (0.3333333333333333, 0.8333333333333333)
    """
    if k < 1:
        raise InputError(f"k, the number of nearest candidates, must be at least 1; found {k}.")
    ranks = _ranks(x, y, partner, labels_x, labels_y, within_label, metric, block_size)
    return mean_of_directions([recall_rule(k)(one) for one in ranks])


@METRICS.register("mean_reciprocal_rank")
def mean_reciprocal_rank(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    partner: npt.ArrayLike | None = None,
    *,
    labels_x: Labels | None = None,
    labels_y: Labels | None = None,
    within_label: bool | None = None,
    metric: Metric = "euclidean",
    block_size: int | None = None,
) -> float:
    """Return the mean of one over the rank of the true match; 1 is perfect.

    The nearest candidate has rank 1; where the match ties with others, the mean over all orders of the ties counts. By
    chance among n candidates it is ``(1 + 1/2 + ... + 1/n) / n``.
    Mean over cells, then over both directions. It looks at the first few places, FOSCTTM at all of them alike.

    Parameters
    ----------
    x, y, partner, labels_x, labels_y, within_label, metric, block_size
        As in :func:`foscttm`.

    Returns
    -------
    float
        Above 0, at most 1.

    Raises
    ------
    ValueError
        If shapes, labels or partners do not fit, a value is not finite, or no cell can be scored.

    References
    ----------
    User guide, "Evaluation".

    Examples
    --------
    >>> mean_reciprocal_rank(
    ...     [[0.0], [1.0]], [[1.0], [1.0]]
    ... )  # x to y: both tie, 3/4; y to x: ranks 2 and 1
    0.75
    """
    ranks = _ranks(x, y, partner, labels_x, labels_y, within_label, metric, block_size)
    return mean_of_directions([RECIPROCAL(one) for one in ranks])


def partner_rank_per_cell(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    partner: npt.ArrayLike | None = None,
    *,
    labels_x: Labels | None = None,
    labels_y: Labels | None = None,
    within_label: bool | None = None,
    metric: Metric = "euclidean",
    block_size: int | None = None,
) -> tuple[Float64Array, Float64Array]:
    """Return the rank of the true match among the candidates of each cell, 1 for the nearest; ties share the mean rank.

    Parameters and errors are those of :func:`foscttm`.

    Returns
    -------
    tuple of ndarray
        float64 (n_x,) for x to y and (n_y,) for y to x; NaN where a cell cannot be scored.
    """
    ranks = _ranks(x, y, partner, labels_x, labels_y, within_label, metric, block_size)
    return 1.0 + ranks[0].before + ranks[0].ties / 2, 1.0 + ranks[1].before + ranks[1].ties / 2


def _ranks(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    partner: npt.ArrayLike | None,
    labels_x: Labels | None,
    labels_y: Labels | None,
    within_label: bool | None,
    metric: Metric,
    block_size: int | None,
) -> tuple[Ranks, Ranks]:
    x, y = in_metric(*check_pair(x, y), metric)
    partner = check_partner(partner, len(x), len(y))
    pool = candidates(len(x), len(y), labels_x, labels_y, within_label)
    return partner_ranks(x, y, partner, pool, block_size)


def _score(material: Material, scope: Scope, rule: Rule) -> Found:
    return score_places(rule, *places(material, scope))


for _scope in SCOPES:
    for _name, _rule in (
        ("recall_at_1", recall_rule(1)),
        ("recall_at_10", recall_rule(10)),
        ("mean_reciprocal_rank", RECIPROCAL),
    ):
        register(
            f"{_name}_{_scope}",
            kind="representation",
            better="higher",
            perfect=1.0,
            needs=needs_of(_scope, "x", "y", "partner"),
            across_labels=_scope == "global",
        )(partial(_score, scope=_scope, rule=_rule))
