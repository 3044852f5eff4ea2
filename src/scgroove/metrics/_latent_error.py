"""How far apart in the true latent space a coupling brings cells together."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from scgroove._labels import members
from scgroove._types import Float64Array, Labels
from scgroove.errors import InputError, MissingTruthError
from scgroove.metrics._barycentric import barycentric_projection
from scgroove.metrics._candidates import METRICS, Candidates, PlanLike, candidates, check_pair
from scgroove.metrics._chance import Chance
from scgroove.metrics._score import Found, Material, register


@METRICS.register("latent_error")
def latent_error(
    plan: PlanLike,
    latent_x: npt.ArrayLike,
    latent_y: npt.ArrayLike,
    *,
    labels_x: Labels | None = None,
    labels_y: Labels | None = None,
    within_label: bool | None = None,
) -> float:
    """Return the error of the projected true latent, relative to the uniform coupling; 1 is chance.

    ``mean_i ||u_i - sum_j T_ij u_j / sum_j T_ij||^2`` over the same with uniform mass on the candidates.
    Needs no partner, so it also works on simulated modalities with different cells.

    Parameters
    ----------
    plan
        Coupling (n_source, n_target): dense, scipy sparse or in blocks.
    latent_x, latent_y
        True latent coordinates of source and target cells, (n_source, k) and (n_target, k).
    labels_x, labels_y
        Label of each cell; None and NaN mean unlabeled.
    within_label
        The uniform coupling is that within labels, else over all cells. Default: True if labels are given.

    Returns
    -------
    float
        0 is perfect; above 1 is worse than uniform mass.

    Raises
    ------
    ValueError
        If shapes or labels do not fit, or no source cell has mass and candidates.

    References
    ----------
    User guide, "Evaluation".

    Examples
    --------
    >>> import numpy as np
    >>> u = [[0.0], [2.0]]
    >>> latent_error(np.eye(2), u, u), latent_error(np.ones((2, 2)), u, u)
    (0.0, 1.0)
    """
    u_x, u_y = check_pair(latent_x, latent_y)
    if plan.shape != (len(u_x), len(u_y)):
        raise InputError(f"plan must have shape {(len(u_x), len(u_y))}; found {tuple(plan.shape)}.")
    pool = candidates(len(u_x), len(u_y), labels_x, labels_y, within_label)
    return _error(u_x, u_y, barycentric_projection(plan, u_y), pool).value


def _error(
    u_x: Float64Array, u_y: Float64Array, projected: Float64Array, pool: Candidates
) -> Found:
    """Return the relative error, and its spread if the latents of source cells were permuted in their sets.

    ``||u_j - y^_i||^2`` over all i and j of a set, without the means of its rows and columns, is
    ``-2 (u_j - u)' (y^_i - y^)``, whose squares sum to the product of two covariances.
    """
    rows = np.flatnonzero((pool.counts_of_x() > 0) & ~np.isnan(projected).any(axis=1))
    if rows.size == 0:
        raise MissingTruthError(
            "no cell can be scored: no source cell has both mass in the coupling and candidates."
        )
    error = uniform = variance = 0.0
    n_labels = int(pool.codes_x[rows].max()) + 1
    sources, targets = members(pool.codes_x[rows], n_labels), members(pool.codes_y, n_labels)
    for mine, theirs in zip(sources, targets, strict=True):
        if mine.size:
            u, v = u_x[rows[mine]], projected[rows[mine]]
            error += float(((u - v) ** 2).sum())
            uniform += float(((u - u_y[theirs].mean(axis=0)) ** 2).sum())
            u, v = u - u.mean(axis=0), v - v.mean(axis=0)
            variance += 4.0 * float(((u.T @ u) * (v.T @ v)).sum()) / max(1, mine.size - 1)
    if uniform == 0:
        raise MissingTruthError(
            "the uniform coupling has no error that another could be compared with: the true latents of each set of candidates "
            "are all equal."
        )
    return Found(error / uniform, Chance(1.0, float(np.sqrt(variance)) / uniform), rows.size)


@register(
    "latent_error", kind="coupling", better="lower", perfect=0.0, needs=("coupling", "latents")
)
def _score(material: Material) -> Found:
    """Return the error relative to the uniform coupling within labels, if there are labels."""
    assert material.coupling is not None
    u_x, u_y = check_pair(material.latent_x, material.latent_y)  # type: ignore[arg-type]
    projected = barycentric_projection(material.coupling, u_y)
    return _error(u_x, u_y, projected, material.pool(material.best_scope))
