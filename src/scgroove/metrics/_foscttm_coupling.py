"""Fraction of samples given more mass than the true match, in a coupling."""

from __future__ import annotations

from functools import partial

import numpy.typing as npt

from scgroove._types import Float64Array, Labels
from scgroove.metrics._candidates import (
    METRICS,
    PlanLike,
    candidates,
    check_partner,
    mean_of_directions,
    shape,
)
from scgroove.metrics._chance import RankTable, mass_tables
from scgroove.metrics._foscttm import score_places
from scgroove.metrics._ranks import FRACTION_BEFORE, OwnMass, coupling_ranks, own_mass
from scgroove.metrics._score import SCOPES, Found, Material, Scope, needs_of, register


@METRICS.register("foscttm_coupling")
def foscttm_coupling(
    plan: PlanLike,
    partner: npt.ArrayLike | None = None,
    *,
    labels_x: Labels | None = None,
    labels_y: Labels | None = None,
    within_label: bool | None = None,
) -> float:
    """Return the fraction of samples given more mass than the true match; 0 is perfect, 0.5 is chance.

    For a source cell i with true match p among n candidates j,

    ``(#{T_ij > T_ip} + #{other j: T_ij = T_ip} / 2) / (n - 1)``,

    and likewise for target cells along the columns; averaged over cells, then over both directions. An
    absent entry of a sparse coupling is a mass of zero.

    Parameters
    ----------
    plan
        Coupling (n_source, n_target): dense, scipy sparse or in blocks
        (:class:`scgroove.aligners.Coupling`). Never made dense.
    partner
        (n_source,) target row that truly matches each source row, -1 for none; None: row i matches row i.
    labels_x, labels_y
        Label of each cell; None and NaN mean unlabeled.
    within_label
        Candidates are the cells of the same label, else all. Default: True if labels are given. Cells without
        mass, without a label, with a true match of another label, or with a single candidate are left out.

    Returns
    -------
    float
        Mean over the two directions of the mean over scored cells.

    Raises
    ------
    ValueError
        If shapes, labels or partners do not fit, a mass is negative, or no cell can be scored.

    References
    ----------
    User guide, "Evaluation"; Liu et al. 2019 (MMD-MA), section 3.

    Examples
    --------
    >>> import numpy as np
    >>> foscttm_coupling(np.eye(3)), foscttm_coupling(np.ones((3, 3)))
    (0.0, 0.5)
    """
    return mean_of_directions(
        foscttm_coupling_per_cell(
            plan, partner, labels_x=labels_x, labels_y=labels_y, within_label=within_label
        )
    )


def foscttm_coupling_per_cell(
    plan: PlanLike,
    partner: npt.ArrayLike | None = None,
    *,
    labels_x: Labels | None = None,
    labels_y: Labels | None = None,
    within_label: bool | None = None,
) -> tuple[Float64Array, Float64Array]:
    """Return :func:`foscttm_coupling` of each cell, for both directions; NaN where a cell is left out.

    Parameters and errors are those of :func:`foscttm_coupling`.

    Returns
    -------
    tuple of ndarray
        float64 (n_source,) and (n_target,).
    """
    partner = check_partner(partner, *shape(plan))
    pool = candidates(*shape(plan), labels_x, labels_y, within_label)
    ranks = coupling_ranks(plan, partner, pool, own_mass(plan, partner))
    return FRACTION_BEFORE(ranks[0]), FRACTION_BEFORE(ranks[1])


def masses(material: Material) -> OwnMass:
    """Return the masses between true matches, and of all cells."""
    plan = coupling(material)
    return material.once("masses", lambda: own_mass(plan, material.partners()))


def coupling(material: Material) -> PlanLike:
    """Return the coupling, which is at hand."""
    assert material.coupling is not None
    return material.coupling


def mass_places(material: Material, scope: Scope) -> list[RankTable]:
    """Return the places by mass, and the share of the mass, that any cell would have."""
    return material.once(
        ("mass_tables", scope),
        lambda: mass_tables(
            coupling(material),
            material.sets(scope),
            material.pool(scope),
            masses(material),
            material.seed,
        ),
    )


def _score(material: Material, scope: Scope) -> Found:
    plan, partner, pool = coupling(material), material.partners(), material.pool(scope)
    ranks = coupling_ranks(plan, partner, pool, masses(material))
    return score_places(FRACTION_BEFORE, ranks, mass_places(material, scope))


for _scope in SCOPES:
    register(
        f"coupling_foscttm_{_scope}",
        kind="coupling",
        better="lower",
        perfect=0.0,
        needs=needs_of(_scope, "coupling", "partner"),
        across_labels=_scope == "global",
    )(partial(_score, scope=_scope))
