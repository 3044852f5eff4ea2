"""Distance in the true latent space between the cells that a coupling matches."""

from __future__ import annotations

import numpy as np

from scgroove._labels import members
from scgroove.errors import MissingTruthError
from scgroove.metrics._barycentric import barycentric_projection
from scgroove.metrics._candidates import check_pair
from scgroove.metrics.registry import MetricInputs, Score, register


@register(
    "latent_error",
    kind="coupling",
    better="lower",
    perfect=0.0,
    needs=("coupling", "latents"),
    meaning="How far matched cells are apart in their true shared state, relative to a random "
    "match.",
)
def _score(inputs: MetricInputs) -> Score:
    """Return ``mean_i ||u_i - y^_i||^2`` over the same of the uniform coupling on the candidates.

    y^_i is the barycentric projection of the true latent. The spread is that over permutations of
    the source latents in their sets: ``||u_j - y^_i||^2`` over all i and j of a set, without the
    means of its rows and columns, is ``-2 (u_j - u)' (y^_i - y^)``, whose squares sum to the
    product of two covariances.
    """
    assert inputs.coupling is not None
    u_x, u_y = check_pair(inputs.latent_x, inputs.latent_y)  # type: ignore[arg-type]
    projected = barycentric_projection(inputs.coupling, u_y)
    pool = inputs.pool(inputs.has_labels)
    rows = np.flatnonzero((pool.counts_of_x() > 0) & ~np.isnan(projected).any(axis=1))
    if rows.size == 0:
        raise MissingTruthError(
            "no cell can be scored: no source cell has both mass in the coupling and candidates."
        )
    error = uniform = variance = 0.0
    n_labels = int(pool.codes_x[rows].max()) + 1
    sources, targets = members(pool.codes_x[rows], n_labels), members(pool.codes_y, n_labels)
    for own, other in zip(sources, targets, strict=True):
        if own.size:
            u, v = u_x[rows[own]], projected[rows[own]]
            error += float(((u - v) ** 2).sum())
            uniform += float(((u - u_y[other].mean(axis=0)) ** 2).sum())
            u, v = u - u.mean(axis=0), v - v.mean(axis=0)
            variance += 4.0 * float(((u.T @ u) * (v.T @ v)).sum()) / max(1, own.size - 1)
    if uniform == 0:
        raise MissingTruthError(
            "the uniform coupling has no error that another could be compared with: the true "
            "latents of each set of candidates are all equal."
        )
    return Score(error / uniform, 1.0, float(np.sqrt(variance)) / uniform, rows.size)
