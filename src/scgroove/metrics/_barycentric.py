"""Fraction of samples closer than the true match to the barycentric projection of a cell."""

from __future__ import annotations

import numpy as np

from scgroove._types import Float64Array
from scgroove.errors import InputError
from scgroove.metrics._candidates import PlanLike, slices
from scgroove.metrics._chance import distance_tables
from scgroove.metrics._foscttm import score_ranks
from scgroove.metrics._ranks import FRACTION_BEFORE, projected_ranks
from scgroove.metrics.registry import MetricInputs, Score, register_scopes


def barycentric_projection(plan: PlanLike, y: Float64Array) -> Float64Array:
    """Return ``sum_j T_ij y_j / sum_j T_ij``, float64 (n_source, d). NaN for cells without mass."""
    total, mass = np.zeros((plan.shape[0], y.shape[1])), np.zeros(plan.shape[0])
    for rows, columns, part in slices(plan):
        total[rows] += part @ y[columns]
        mass[rows] += np.asarray(part.sum(axis=1), dtype=np.float64).ravel()
    mass[mass == 0] = np.nan
    return np.asarray(total / mass[:, None])


def _score(inputs: MetricInputs, within_label: bool) -> Score:
    """Return FOSCTTM from the projections of source cells to the target cells."""
    assert inputs.coupling is not None
    assert inputs.y is not None
    plan, y = inputs.coupling, np.asarray(inputs.y, dtype=np.float64)
    if y.ndim != 2 or not np.isfinite(y).all():
        raise InputError(
            f"y must be finite and have one row a target cell: expected ({plan.shape[1]}, d), "
            f"found shape {y.shape}."
        )
    projected = inputs.once("projected", lambda: barycentric_projection(plan, y))
    ranks = projected_ranks(projected, y, inputs.partners(), inputs.pool(within_label))
    tables = distance_tables(projected, y, inputs.sets(within_label), inputs.seed, both=False)
    return score_ranks(FRACTION_BEFORE, (ranks,), tables)


register_scopes(
    "barycentric_foscttm",
    _score,
    kind="coupling",
    better="lower",
    perfect=0.0,
    needs=("coupling", "y", "partner"),
    title="barycentric FOSCTTM",
    meaning="Each cell is moved to the mean of its matches; the share of candidate cells that lie "
    "nearer than the true partner.",
)
