"""Probability that a coupling gives to the true match."""

from __future__ import annotations

from functools import partial

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from scgroove._types import BoolArray, Float64Array, IntArray, Labels
from scgroove.errors import MissingTruthError
from scgroove.metrics._candidates import (
    METRICS,
    Candidates,
    PlanLike,
    candidates,
    check_partner,
    shape,
    slices,
)
from scgroove.metrics._chance import Chance, matching_variance
from scgroove.metrics._foscttm_coupling import coupling, mass_places, masses
from scgroove.metrics._ranks import OwnMass, own_mass
from scgroove.metrics._score import SCOPES, Found, Material, Scope, needs_of, register


@METRICS.register("trace")
def trace(plan: PlanLike, partner: npt.ArrayLike | None = None) -> float:
    """Return the mean probability that the coupling gives to the true match; 1 is perfect.

    ``mean_i T_i,p(i) / sum_j T_ij`` over source cells with a known match and some mass.

    Parameters
    ----------
    plan
        Coupling (n_source, n_target): dense, scipy sparse or in blocks.
    partner
        (n_source,) target row that truly matches each source row, -1 for none; None: row i matches row i.

    Returns
    -------
    float
        Between 0 and 1.

    Raises
    ------
    ValueError
        If shapes or partners do not fit, or no cell with a known match has mass.

    References
    ----------
    User guide, "Evaluation"; Xi et al. 2024, arXiv 2404.01595, section 5.

    Examples
    --------
    >>> import numpy as np
    >>> trace(np.array([[3.0, 1.0], [0.0, 2.0]]))
    0.875
    """
    probability, _ = trace_per_cell(plan, partner)
    return float(probability[_scored(probability)].mean())


@METRICS.register("trace_over_chance")
def trace_over_chance(
    plan: PlanLike,
    partner: npt.ArrayLike | None = None,
    *,
    labels_x: Labels | None = None,
    labels_y: Labels | None = None,
    within_label: bool | None = None,
) -> float:
    """Return :func:`trace` over what it is for random matches among the candidates; 1 is chance.

    Chance is ``mean_i w_i / n_i`` over the same cells, n_i the number of candidates of cell i (the target
    cells of its label, or all), w_i their share of its mass: 1 if the coupling keeps within labels.

    Parameters
    ----------
    plan, partner
        As in :func:`trace`.
    labels_x, labels_y
        Label of each cell; None and NaN mean unlabeled.
    within_label
        Candidates are the cells of the same label, else all. Default: True if labels are given. Cells without
        a label, or with a true match of another label, are left out.

    Returns
    -------
    float
        At least 0; the number of candidates if perfect.

    Raises
    ------
    ValueError
        If shapes, labels or partners do not fit, or no cell with a known match has mass.

    References
    ----------
    User guide, "Evaluation".

    Examples
    --------
    >>> import numpy as np
    >>> trace_over_chance(np.ones((4, 4))), trace_over_chance(np.eye(4))
    (1.0, 4.0)
    """
    probability, chance = trace_per_cell(
        plan, partner, labels_x=labels_x, labels_y=labels_y, within_label=within_label
    )
    scored = _scored(probability)
    return float(probability[scored].mean() / chance[scored].mean())


def trace_per_cell(
    plan: PlanLike,
    partner: npt.ArrayLike | None = None,
    *,
    labels_x: Labels | None = None,
    labels_y: Labels | None = None,
    within_label: bool | None = None,
) -> tuple[Float64Array, Float64Array]:
    """Return the probability of the true match of each source cell, and what it is by chance.

    Parameters are those of :func:`trace_over_chance`.

    Returns
    -------
    tuple of ndarray
        ``T_i,p(i) / sum_j T_ij`` and ``w_i / n_i``, float64 (n_source,); NaN where a cell has no mass, no known
        match, or a match that is no candidate.
    """
    partner = check_partner(partner, *shape(plan))
    pool = candidates(*shape(plan), labels_x, labels_y, within_label)
    return _of_masses(plan, own_mass(plan, partner), pool, pool.with_candidate_partner(partner))


def _of_masses(
    plan: PlanLike, found: OwnMass, pool: Candidates, rows: IntArray
) -> tuple[Float64Array, Float64Array]:
    """Return the probability of the true match of each source cell, and of a random one; NaN but for ``rows`` with mass."""
    rows = rows[found.rows[rows] > 0]
    probability, chance = np.full(found.own.size, np.nan), np.full(found.own.size, np.nan)
    probability[rows] = found.own[rows] / found.rows[rows]
    share = _mass_of_candidates(plan, pool)[rows] / found.rows[rows]
    chance[rows] = share / pool.counts_of_x()[rows]
    return probability, chance


def _mass_of_candidates(plan: PlanLike, pool: Candidates) -> Float64Array:
    """Return the mass between each source cell and its candidates, (n_source,)."""
    mass = np.zeros(plan.shape[0])
    for rows, columns, part in slices(plan):
        labels, place = np.unique(pool.codes_y[columns], return_inverse=True)
        one_hot = sp.csr_matrix((np.ones(columns.size), (np.arange(columns.size), place)))
        by_label = part @ one_hot
        at = np.searchsorted(labels, pool.codes_x[rows]).clip(max=labels.size - 1)
        here = np.flatnonzero((labels[at] == pool.codes_x[rows]) & (pool.codes_x[rows] >= 0))
        mass[rows[here]] += np.asarray(by_label[here, at[here]]).ravel()
    return mass


def _scored(probability: Float64Array) -> BoolArray:
    scored: BoolArray = ~np.isnan(probability)
    if not scored.any():
        raise MissingTruthError(
            "no cell can be scored: none of the source cells with a known match (within its candidates) has "
            "mass in the coupling. Are its rows the source cells, and does it belong to these modalities?"
        )
    return scored


def _score(material: Material, scope: Scope) -> Found:
    """Return the trace; the spread is that over random partners of the cells that have mass."""
    pool, partner = material.pool(scope), material.partners()
    rows = pool.with_candidate_partner(partner)
    probability, by_chance = _of_masses(coupling(material), masses(material), pool, rows)
    scored = _scored(probability)
    variance, mass = 0.0, masses(material).rows
    for table in mass_places(material, scope):
        assert table.share is not None
        n_x, k = (int((mass[cells] > 0).sum()) for cells in (table.group.x, table.group.rows))
        if k and table.has_x.any():
            share = table.share[table.has_x]
            variance += matching_variance(share, n_x, table.group.y.size, k)
    sd = float(np.sqrt(variance)) / scored.sum()
    return Found(
        float(probability[scored].mean()), Chance(by_chance[scored].mean(), sd), int(scored.sum())
    )


for _scope in SCOPES:
    register(
        f"trace_{_scope}",
        kind="coupling",
        better="higher",
        perfect=1.0,
        needs=needs_of(_scope, "coupling", "partner"),
        across_labels=_scope == "global",
    )(partial(_score, scope=_scope))


@register(
    "trace_over_chance",
    kind="coupling",
    better="higher",
    perfect=np.nan,
    needs=("coupling", "partner"),
)
def _score_over_chance(material: Material) -> Found:
    """Return the trace over its chance, within labels if there are labels."""
    found = _score(material, material.best_scope)
    mean, sd = found.chance
    return Found(found.value / mean, Chance(1.0, sd / mean), found.n)
