"""Fraction of samples closer than the true match to where a coupling sends a cell."""

from __future__ import annotations

from functools import partial

import numpy as np
import numpy.typing as npt

from scgroove._types import Float64Array, Labels
from scgroove.errors import InputError
from scgroove.metrics._candidates import (
    METRICS,
    PlanLike,
    candidates,
    check_partner,
    mean_of_directions,
    shape,
    slices,
)
from scgroove.metrics._chance import distance_tables
from scgroove.metrics._foscttm import score_places
from scgroove.metrics._foscttm_coupling import coupling
from scgroove.metrics._ranks import FRACTION_BEFORE, projected_ranks
from scgroove.metrics._score import SCOPES, Found, Material, Scope, needs_of, register


@METRICS.register("barycentric_foscttm")
def barycentric_foscttm(
    plan: PlanLike,
    y: npt.ArrayLike,
    partner: npt.ArrayLike | None = None,
    *,
    labels_x: Labels | None = None,
    labels_y: Labels | None = None,
    within_label: bool | None = None,
    block_size: int | None = None,
) -> float:
    """Return the fraction of target cells closer to the projected cell than its true match; 0 is perfect.

    Source cell i is sent to ``y^_i = sum_j T_ij y_j / sum_j T_ij``; then as :func:`foscttm` from y^_i to the
    candidates y_j, in the direction source to target only.

    Parameters
    ----------
    plan
        Coupling (n_source, n_target): dense, scipy sparse or in blocks. Never made dense.
    y
        Target coordinates, (n_target, d): a representation or measured values.
    partner
        (n_source,) target row that truly matches each source row, -1 for none; None: row i matches row i.
    labels_x, labels_y
        Label of each cell; None and NaN mean unlabeled.
    within_label
        Candidates are the target cells of the same label, else all. Default: True if labels are given.
    block_size
        Rows compared at a time, at most 240 (the default).

    Returns
    -------
    float
        Mean over source cells with mass and a known match among two candidates or more. A constant
        projection within a label (the uniform coupling) is near but not exactly 0.5.

    Raises
    ------
    ValueError
        If shapes, labels or partners do not fit, a value is not finite, or no cell can be scored.

    References
    ----------
    User guide, "Evaluation".

    Examples
    --------
    >>> import numpy as np
    >>> barycentric_foscttm(np.eye(3), [[0.0], [1.0], [3.0]])
    0.0
    """
    return mean_of_directions(
        [
            barycentric_foscttm_per_cell(
                plan,
                y,
                partner,
                labels_x=labels_x,
                labels_y=labels_y,
                within_label=within_label,
                block_size=block_size,
            )
        ]
    )


def barycentric_foscttm_per_cell(
    plan: PlanLike,
    y: npt.ArrayLike,
    partner: npt.ArrayLike | None = None,
    *,
    labels_x: Labels | None = None,
    labels_y: Labels | None = None,
    within_label: bool | None = None,
    block_size: int | None = None,
) -> Float64Array:
    """Return :func:`barycentric_foscttm` of each source cell, float64 (n_source,); NaN where it is left out.

    Parameters and errors are those of :func:`barycentric_foscttm`.
    """
    y = _checked(plan, y)
    partner = check_partner(partner, *shape(plan))
    pool = candidates(*shape(plan), labels_x, labels_y, within_label)
    projected = barycentric_projection(plan, y)
    return FRACTION_BEFORE(projected_ranks(projected, y, partner, pool, block_size))


def _checked(plan: PlanLike, y: npt.ArrayLike) -> Float64Array:
    y = np.asarray(y, dtype=np.float64)
    if y.ndim != 2 or y.shape[0] != plan.shape[1] or not np.isfinite(y).all():
        raise InputError(
            f"y must be finite and have one row a target cell: expected ({plan.shape[1]}, d), "
            f"found shape {y.shape}."
        )
    return y


def barycentric_projection(plan: PlanLike, y: Float64Array) -> Float64Array:
    """Return ``sum_j T_ij y_j / sum_j T_ij``, float64 (n_source, d); NaN for source cells without mass.

    Raises
    ------
    ValueError
        If a mass is negative or not finite.
    """
    total, mass = np.zeros((plan.shape[0], y.shape[1])), np.zeros(plan.shape[0])
    for rows, columns, part in slices(plan):
        total[rows] += part @ y[columns]
        mass[rows] += np.asarray(part.sum(axis=1), dtype=np.float64).ravel()
    mass[mass == 0] = np.nan
    return np.asarray(total / mass[:, None])


def _score(material: Material, scope: Scope) -> Found:
    plan, partner = coupling(material), material.partners()
    y = _checked(plan, material.y)  # type: ignore[arg-type]
    projected = material.once("projected", lambda: barycentric_projection(plan, y))
    ranks = projected_ranks(projected, y, partner, material.pool(scope))
    tables = distance_tables(projected, y, material.sets(scope), material.seed, both=False)
    return score_places(FRACTION_BEFORE, (ranks,), tables)


for _scope in SCOPES:
    register(
        f"barycentric_foscttm_{_scope}",
        kind="coupling",
        better="lower",
        perfect=0.0,
        needs=needs_of(_scope, "coupling", "y", "partner"),
        across_labels=_scope == "global",
    )(partial(_score, scope=_scope))
