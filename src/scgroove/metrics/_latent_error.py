"""How far apart in the true latent space a coupling brings cells together."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from scgroove._types import Labels
from scgroove.metrics._barycentric import barycentric_projection
from scgroove.metrics._candidates import METRICS, PlanLike, candidates, check_pair


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
        Label of each cell; None and NaN mean unlabelled.
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
        raise ValueError(f"plan must have shape {(len(u_x), len(u_y))}; found {tuple(plan.shape)}.")
    pool = candidates(len(u_x), len(u_y), labels_x, labels_y, within_label)
    projected = barycentric_projection(plan, u_y)
    rows = np.flatnonzero((pool.counts_of_x() > 0) & ~np.isnan(projected).any(axis=1))
    if rows.size == 0:
        raise ValueError(
            "no cell can be scored: no source cell has both mass in the coupling and candidates."
        )
    chance = np.zeros_like(u_x)
    for code in np.unique(pool.codes_x[rows]):
        chance[pool.codes_x == code] = u_y[pool.codes_y == code].mean(axis=0)
    error = ((u_x - projected)[rows] ** 2).sum(axis=1).mean()
    return float(error / ((u_x - chance)[rows] ** 2).sum(axis=1).mean())
