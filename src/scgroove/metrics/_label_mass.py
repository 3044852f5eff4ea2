"""Share of the mass of a coupling that stays within labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from scgroove._types import Float64Array, IntArray, Labels
from scgroove.metrics._candidates import (
    METRICS,
    Candidates,
    MissingTruthError,
    PlanLike,
    candidates,
    shape,
    slices,
)
from scgroove.metrics._chance import class_chance
from scgroove.metrics._score import Found, Material, register


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
    return float(_mass_of_labels(plan, pool).value())


@dataclass(frozen=True)
class _LabelMass:
    """Mass of each labelled target cell (rows) from each source label (columns), and the label of these cells."""

    mass: Float64Array
    codes: IntArray

    def value(self) -> float:
        total = self.mass.sum()
        if total == 0:
            raise MissingTruthError(
                "the coupling has no mass between labelled cells, so there is no share of it to report."
            )
        own = self.codes < self.mass.shape[1]
        return float(self.mass[own, self.codes[own]].sum() / total)


def _mass_of_labels(plan: PlanLike, pool: Candidates) -> _LabelMass:
    n = int(pool.codes_x.max(initial=-1)) + 1
    mass = np.zeros((pool.codes_y.size, n))
    for rows, columns, part in slices(plan):
        labelled = np.flatnonzero(pool.codes_x[rows] >= 0)
        present, position = np.unique(pool.codes_x[rows[labelled]], return_inverse=True)
        one_hot = sp.csr_matrix((np.ones(labelled.size), (labelled, position)), (rows.size, present.size))
        from_label = one_hot.T @ part
        dense = from_label.toarray() if sp.issparse(from_label) else np.asarray(from_label)
        mass[np.ix_(columns, present)] += dense.T
    known = pool.codes_y >= 0
    return _LabelMass(mass if known.all() else mass[known], pool.codes_y[known])


@register("label_mass", kind="coupling", better="higher", perfect=1.0, needs=("coupling", "labels"))
def _score(material: Material) -> Found:
    """Return the share of mass within labels; by chance: the labels of the target cells are permuted."""
    assert material.coupling is not None
    pool = material.pool("within_label")
    found = _mass_of_labels(material.coupling, pool)
    value = found.value()
    gain = found.mass
    gain /= gain.sum()
    counts = np.bincount(found.codes, minlength=gain.shape[1])
    if counts.size > gain.shape[1]:  # labels of target cells only
        gain = np.pad(gain, ((0, 0), (0, counts.size - gain.shape[1])))
    by_chance = class_chance(gain, np.ones(len(gain), dtype=np.intp), counts)
    return Found(value, by_chance, int((pool.codes_x >= 0).sum()))
