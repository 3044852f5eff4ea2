"""Fraction of samples closer than the true match, in a shared representation."""

from __future__ import annotations

from functools import partial
from typing import Any, Literal

import numpy.typing as npt

from scgroove._types import Labels
from scgroove.metrics._candidates import mean_of_directions
from scgroove.metrics._chance import RankTable, distance_tables, rank_chance
from scgroove.metrics._ranks import FRACTION_BEFORE, Ranks, Rule, partner_ranks
from scgroove.metrics.registry import Distance, MetricInputs, Score, register_scopes


def foscttm(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    partner: npt.ArrayLike | None = None,
    *,
    labels_x: Labels | None = None,
    labels_y: Labels | None = None,
    within_label: bool | None = None,
    metric: Distance = "euclidean",
    per: Literal["cell"] | None = None,
) -> Any:
    """Fraction of samples closer than the true match (FOSCTTM). 0 is perfect, 0.5 is chance.

    For a cell with true match p among n candidates,

    ``(#{candidates closer than p} + #{other candidates as close as p} / 2) / (n - 1)``,

    averaged over cells, then over both directions (x to y, y to x).

    Parameters
    ----------
    x, y
        Representations in one space, (n_x, d) and (n_y, d). The cells need not be as many.
    partner
        (n_x,) row of y that truly matches each row of x, -1 for none. None: row i matches row i.
    labels_x, labels_y
        Label of each cell. None and NaN mean unlabeled.
    within_label
        Candidates are the cells of the same label (the hard form), else all cells. Default: True
        if labels are given. Within labels, cells without a label, cells whose true match has
        another label, and cells whose label has a single candidate are left out.
    metric
        ``"euclidean"``, or ``"cosine"`` (Euclidean between rows of unit length).
    per
        ``"cell"`` to return the value of each cell.

    Returns
    -------
    float or tuple of ndarray
        Mean over the two directions of the mean over scored cells. With ``per="cell"``, float64
        (n_x,) for x to y and (n_y,) for y to x, NaN for cells that are not scored.

    Raises
    ------
    ValueError
        If shapes, labels or partners do not fit, a value is not finite, or no cell can be scored.

    References
    ----------
    Liu et al. 2019, "Jointly embedding multiple single-cell omics measurements" (MMD-MA), section
    3.

    Examples
    --------
    >>> x = [[0.0], [1.0], [2.0]]
    >>> foscttm(x, x)
    0.0
    >>> foscttm(x, [[2.0], [1.0], [0.0]])
    0.6666666666666666
    """
    inputs = MetricInputs(
        x=x, y=y, partner=partner, labels_x=labels_x, labels_y=labels_y, metric=metric
    )
    ranks = distance_ranks(inputs, within_label)
    per_cell = FRACTION_BEFORE(ranks[0]), FRACTION_BEFORE(ranks[1])
    return mean_of_directions(per_cell) if per is None else per_cell


def distance_ranks(inputs: MetricInputs, within_label: bool | None) -> tuple[Ranks, Ranks]:
    """Return the ranks of the true matches by distance, for both directions."""
    return inputs.once(
        ("ranks", within_label),
        lambda: partner_ranks(*inputs.coordinates(), inputs.partners(), inputs.pool(within_label)),
    )


def score_ranks(rule: Rule, ranks: tuple[Ranks, ...], tables: list[RankTable]) -> Score:
    """Return the mean of a rule over cells, then over directions, beside its chance."""
    value = mean_of_directions([rule(one) for one in ranks])
    return Score(value, *rank_chance(rule, ranks, tables), int(ranks[0].scored.sum()))


def score_by_distance(inputs: MetricInputs, within_label: bool, rule: Rule) -> Score:
    """Return the score of a rule by distance."""
    ranks = distance_ranks(inputs, within_label)
    tables = inputs.once(
        ("tables", within_label),
        lambda: distance_tables(*inputs.coordinates(), inputs.sets(within_label), inputs.seed),
    )
    return score_ranks(rule, ranks, tables)


register_scopes(
    "foscttm",
    partial(score_by_distance, rule=FRACTION_BEFORE),
    kind="representation",
    better="lower",
    perfect=0.0,
    needs=("x", "y", "partner"),
    title="FOSCTTM",
    meaning="The share of candidate cells that lie nearer than the true partner.",
)
