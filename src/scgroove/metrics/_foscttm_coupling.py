"""Fraction of samples given more mass than the true match, in a coupling."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from scgroove._types import Float64Array, IntArray, Labels
from scgroove.metrics._candidates import (
    METRICS,
    Candidates,
    PlanLike,
    candidates,
    check_partner,
    entries,
    mean_of_directions,
)


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
        Label of each cell; None and NaN mean unlabelled.
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
    n_x, n_y = plan.shape
    partner = check_partner(partner, n_x, n_y)
    pool = candidates(n_x, n_y, labels_x, labels_y, within_label)
    own, mass_x, mass_y = own_mass(plan, partner)
    rows = pool.with_candidate_partner(partner)
    back = np.full(n_y, -1, dtype=np.intp)
    back[partner[rows]] = rows
    own_y = np.where(back >= 0, own[back], 0.0)
    ranks_x, ranks_y = _rank(plan, pool, own, own_y)
    out_x, out_y = np.full(n_x, np.nan), np.full(n_y, np.nan)
    _fill(out_x, ranks_x, pool.counts_of_x(), rows[mass_x[rows] > 0], own)
    columns = partner[rows]
    _fill(out_y, ranks_y, pool.counts_of_y(), columns[mass_y[columns] > 0], own_y)
    return out_x, out_y


def own_mass(plan: PlanLike, partner: IntArray) -> tuple[Float64Array, Float64Array, Float64Array]:
    """Return T_i,partner(i) of each source cell (0 where unknown), and the row and column masses."""
    own, mass_x, mass_y = np.zeros(plan.shape[0]), np.zeros(plan.shape[0]), np.zeros(plan.shape[1])
    for i, j, mass in entries(plan):
        hit = partner[i] == j
        own[i[hit]] = mass[hit]
        mass_x += np.bincount(i, mass, minlength=mass_x.size)
        mass_y += np.bincount(j, mass, minlength=mass_y.size)
    return own, mass_x, mass_y


def _rank(
    plan: PlanLike, pool: Candidates, own_x: Float64Array, own_y: Float64Array
) -> tuple[Float64Array, Float64Array]:
    """Return, for rows and columns, three counts over stored candidates: more mass, equal mass, stored."""
    counts_x, counts_y = np.zeros((3, own_x.size)), np.zeros((3, own_y.size))
    for i, j, mass in entries(plan):
        candidate = pool.codes_x[i] == pool.codes_y[j]
        i, j, mass = i[candidate], j[candidate], mass[candidate]
        for counts, at, own in ((counts_x, i, own_x), (counts_y, j, own_y)):
            counts[0] += np.bincount(at[mass > own[at]], minlength=own.size)
            counts[1] += np.bincount(at[mass == own[at]], minlength=own.size)
            counts[2] += np.bincount(at, minlength=own.size)
    return counts_x, counts_y


def _fill(out: Float64Array, counts: Float64Array, n: IntArray, cells: IntArray, own: Float64Array) -> None:
    """Turn counts into shares for ``cells`` with two candidates or more."""
    cells = cells[n[cells] > 1]
    more, equal, stored = counts[:, cells]
    ties = np.where(own[cells] > 0, equal, n[cells] - stored) - 1
    out[cells] = (more + 0.5 * ties) / (n[cells] - 1)
