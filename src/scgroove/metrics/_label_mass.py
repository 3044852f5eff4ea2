"""Share of the mass of a coupling that stays within labels."""

from __future__ import annotations

from scgroove._types import Labels
from scgroove.metrics._candidates import METRICS, PlanLike, candidates, entries, shape


@METRICS.register("label_mass")
def label_mass(plan: PlanLike, labels_x: Labels, labels_y: Labels) -> float:
    """Return the share of mass between cells of the same label; 1 for every labelled coupling.

    Only mass between two labelled cells counts.

    Parameters
    ----------
    plan
        Coupling (n_source, n_target): dense, scipy sparse or in blocks.
    labels_x, labels_y
        Label of each cell; None and NaN mean unlabelled.

    Returns
    -------
    float
        Between 0 and 1.

    Raises
    ------
    ValueError
        If the labels do not fit, or there is no mass between labelled cells.

    References
    ----------
    User guide, "Evaluation".

    Examples
    --------
    >>> import numpy as np
    >>> label_mass(np.ones((2, 2)), ["a", "b"], ["a", "b"])
    0.5
    """
    pool = candidates(*shape(plan), labels_x, labels_y, within_label=True)
    within = total = 0.0
    for i, j, mass in entries(plan):
        labelled = (pool.codes_x[i] >= 0) & (pool.codes_y[j] >= 0)
        total += float(mass[labelled].sum())
        within += float(mass[labelled & (pool.codes_x[i] == pool.codes_y[j])].sum())
    if total == 0:
        raise ValueError(
            "the coupling has no mass between labelled cells, so there is no share of it to report."
        )
    return within / total
