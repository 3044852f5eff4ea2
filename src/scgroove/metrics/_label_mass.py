"""Share of the mass of a coupling that stays within labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from scgroove._types import IntArray, Labels
from scgroove.errors import MissingTruthError
from scgroove.metrics._candidates import METRICS, Candidates, PlanLike, candidates, shape, slices
from scgroove.metrics._chance import Chance
from scgroove.metrics._score import Found, Material, register


@METRICS.register("label_mass")
def label_mass(plan: PlanLike, labels_x: Labels, labels_y: Labels) -> float:
    """Return the share of mass between cells of the same label; 1 for every labeled coupling.

    Only mass between two labeled cells counts.

    Parameters
    ----------
    plan
        Coupling (n_source, n_target): dense, scipy sparse or in blocks.
    labels_x, labels_y
        Label of each cell; None and NaN mean unlabeled.

    Returns
    -------
    float
        Between 0 and 1.

    Raises
    ------
    ValueError
        If the labels do not fit, or there is no mass between labeled cells.

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
    """Mass of each labeled target cell (rows) from each source label (columns), and the label of these cells."""

    mass: sp.csr_matrix
    codes: IntArray

    def value(self) -> float:
        total = self.mass.sum()
        if total == 0:
            raise MissingTruthError(
                "the coupling has no mass between labeled cells, so there is no share of it to report."
            )
        entries = self.mass.tocoo()
        return float(entries.data[entries.col == self.codes[entries.row]].sum() / total)

    def by_chance(self) -> Chance:
        """Return mean and spread of the value over permutations of the labels of the target cells.

        As :func:`scgroove.metrics._chance.class_chance`, with the square multiplied out so that zeros cost nothing.
        """
        n, gain = len(self.codes), self.mass / self.mass.sum()
        q = (
            np.bincount(self.codes, minlength=gain.shape[1])[: gain.shape[1]] / n
        )  # others gain nothing
        rows, columns = gain @ q, np.asarray(gain.sum(axis=0)).ravel() / n
        mean = float(rows.mean())
        squares = (
            float((gain.power(2) @ q).mean()) - float((rows**2).mean()) - float(q @ columns**2)
        )
        variance = max(0.0, squares + mean**2)
        return Chance(n * mean, float(np.sqrt(n * n / max(1, n - 1) * variance)))


def _mass_of_labels(plan: PlanLike, pool: Candidates) -> _LabelMass:
    n = int(pool.codes_x.max(initial=-1)) + 1
    columns_of, labels_of, masses = [], [], []
    for rows, columns, part in slices(plan):
        labeled = np.flatnonzero(pool.codes_x[rows] >= 0)
        present, position = np.unique(pool.codes_x[rows[labeled]], return_inverse=True)
        one_hot = sp.csr_matrix(
            (np.ones(labeled.size), (labeled, position)), (rows.size, present.size)
        )
        from_label = sp.coo_matrix(one_hot.T @ part)
        columns_of.append(columns[from_label.col])
        labels_of.append(present[from_label.row])
        masses.append(from_label.data)
    place = tuple(
        np.concatenate([np.empty(0, dtype=np.intp), *own]) for own in (columns_of, labels_of)
    )
    mass = sp.csr_matrix((np.concatenate([np.empty(0), *masses]), place), (pool.codes_y.size, n))
    known = pool.codes_y >= 0
    return _LabelMass(mass if known.all() else mass[known], pool.codes_y[known])


@register(
    "label_mass",
    kind="coupling",
    better="higher",
    perfect=1.0,
    needs=("coupling", "labels"),
    across_labels=True,
)
def _score(material: Material) -> Found:
    """Return the share of mass within labels; by chance: the labels of the target cells are permuted."""
    assert material.coupling is not None
    pool = material.pool("within_label")
    found = _mass_of_labels(material.coupling, pool)
    return Found(found.value(), found.by_chance(), int((pool.codes_x >= 0).sum()))
