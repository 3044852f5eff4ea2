"""Fraction of samples closer than the true match, in a shared representation."""

from __future__ import annotations

from functools import partial
from typing import Literal, TypeAlias

import numpy as np
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
from scgroove.metrics._chance import RankTable, distance_tables, rank_chance
from scgroove.metrics._ranks import FRACTION_BEFORE, Ranks, Rule, partner_ranks
from scgroove.metrics._score import SCOPES, Found, Material, Scope, needs_of, register

Metric: TypeAlias = Literal["euclidean", "cosine"]


@METRICS.register("foscttm")
def foscttm(
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
    """Return the fraction of samples closer than the true match; 0 is perfect, 0.5 is chance.

    For a cell with true match p among n candidates,

    ``(#{candidates closer than p} + #{other candidates as close as p} / 2) / (n - 1)``,

    averaged over cells, then over both directions (x to y, y to x).

    Parameters
    ----------
    x, y
        Representations in one space, (n_x, d) and (n_y, d). The cells need not be as many.
    partner
        (n_x,) row of y that truly matches each row of x, -1 where there is none; None: row i matches row i.
    labels_x, labels_y
        Label of each cell; None and NaN mean unlabeled.
    within_label
        Candidates are the cells of the same label (the hard form), else all cells. Default: True if labels
        are given. Within labels, cells without a label, cells whose true match has another label, and cells
        whose label has a single candidate are left out.
    metric
        ``"euclidean"``, or ``"cosine"`` (Euclidean between rows of unit length, which ranks alike).
    block_size
        Rows compared at a time, at most 240 (the default), so that memory stays linear in the cells.

    Returns
    -------
    float
        Mean over the two directions of the mean over scored cells.

    Raises
    ------
    ValueError
        If shapes, labels or partners do not fit, a value is not finite, or no cell can be scored.

    References
    ----------
    Liu et al. 2019, "Jointly embedding multiple single-cell omics measurements" (MMD-MA), section 3.

    Examples
    --------
    >>> x = [[0.0], [1.0], [2.0]]
    >>> foscttm(x, x)
    0.0
    >>> foscttm(x, [[2.0], [1.0], [0.0]])
    0.6666666666666666
    """
    return mean_of_directions(
        foscttm_per_cell(
            x,
            y,
            partner,
            labels_x=labels_x,
            labels_y=labels_y,
            within_label=within_label,
            metric=metric,
            block_size=block_size,
        )
    )


def foscttm_per_cell(
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
    """Return :func:`foscttm` of each cell, for both directions; NaN where a cell cannot be scored.

    Parameters and errors are those of :func:`foscttm`.

    Returns
    -------
    tuple of ndarray
        float64 (n_x,) for x to y and (n_y,) for y to x.
    """
    x, y = in_metric(*check_pair(x, y), metric)
    partner = check_partner(partner, len(x), len(y))
    pool = candidates(len(x), len(y), labels_x, labels_y, within_label)
    ranks = partner_ranks(x, y, partner, pool, block_size)
    return FRACTION_BEFORE(ranks[0]), FRACTION_BEFORE(ranks[1])


def in_metric(x: Float64Array, y: Float64Array, metric: str) -> tuple[Float64Array, Float64Array]:
    """Return coordinates whose Euclidean distances rank as those of the metric do."""
    if metric == "euclidean":
        return x, y
    if metric != "cosine":
        raise InputError(f"metric must be 'euclidean' or 'cosine'; found {metric!r}.")
    unit = []
    for name, z in (("x", x), ("y", y)):
        length = np.linalg.norm(z, axis=1, keepdims=True)
        if (length == 0).any():
            raise InputError(
                f"metric='cosine' needs a direction: {int((length == 0).sum())} rows of {name} are all zero. "
                f"Leave them out, or use metric='euclidean'."
            )
        unit.append(z / length)
    return unit[0], unit[1]


def coordinates(material: Material) -> tuple[Float64Array, Float64Array]:
    """Return the representations, checked, in their metric."""
    return material.once(
        "coordinates",
        lambda: in_metric(*check_pair(material.x, material.y), material.metric),  # type: ignore[arg-type]
    )


def places(material: Material, scope: Scope) -> tuple[tuple[Ranks, Ranks], list[RankTable]]:
    """Return the places of the true matches by distance, and those that any cell would have."""
    x, y = coordinates(material)
    ranks = material.once(
        ("ranks", scope), lambda: partner_ranks(x, y, material.partners(), material.pool(scope))
    )
    tables = material.once(
        ("tables", scope), lambda: distance_tables(x, y, material.sets(scope), material.seed)
    )
    return ranks, tables


def score_places(rule: Rule, ranks: tuple[Ranks, ...], tables: list[RankTable]) -> Found:
    """Return the mean of a rule over cells, then over directions, and what it is by chance."""
    value = mean_of_directions([rule(one) for one in ranks])
    return Found(value, rank_chance(rule, ranks, tables), int(ranks[0].scored.sum()))


def _score(material: Material, scope: Scope) -> Found:
    return score_places(FRACTION_BEFORE, *places(material, scope))


for _scope in SCOPES:
    register(
        f"foscttm_{_scope}",
        kind="representation",
        better="lower",
        perfect=0.0,
        needs=needs_of(_scope, "x", "y", "partner"),
        across_labels=_scope == "global",
    )(partial(_score, scope=_scope))
