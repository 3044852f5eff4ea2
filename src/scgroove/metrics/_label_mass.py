"""Share of the mass of a coupling that stays within labels."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from scgroove._types import IntArray
from scgroove.errors import MissingTruthError
from scgroove.metrics._candidates import Candidates, PlanLike, slices
from scgroove.metrics.registry import MetricInputs, Score, register


@register(
    "label_mass",
    kind="coupling",
    better="higher",
    perfect=1.0,
    needs=("coupling", "labels"),
    meaning="The share of mass between cells of the same label.",
    across_labels=True,
)
def _score(inputs: MetricInputs) -> Score:
    """Return the share of mass between labeled cells that stays within labels.

    By chance, the labels of the target cells are permuted: as :func:`class_chance`, with the square
    multiplied out so that zeros cost nothing.
    """
    assert inputs.coupling is not None
    pool = inputs.pool(within_label=True)
    mass, codes = _mass_of_labels(inputs.coupling, pool)
    total = mass.sum()
    if total == 0:
        raise MissingTruthError(
            "the coupling has no mass between labeled cells, so there is no share of it to report."
        )
    entries = mass.tocoo()
    value = float(entries.data[entries.col == codes[entries.row]].sum() / total)
    n, gain = len(codes), mass / total
    # labels of the target alone gain nothing
    q = np.bincount(codes, minlength=gain.shape[1])[: gain.shape[1]] / n
    rows, columns = gain @ q, np.asarray(gain.sum(axis=0)).ravel() / n
    mean = float(rows.mean())
    squares = (gain.power(2) @ q).mean() - (rows**2).mean() - q @ columns**2
    variance = max(0.0, float(squares) + mean**2)
    sd = float(np.sqrt(n * n / max(1, n - 1) * variance))
    return Score(value, n * mean, sd, int((pool.codes_x >= 0).sum()))


def _mass_of_labels(plan: PlanLike, pool: Candidates) -> tuple[sp.csr_matrix, IntArray]:
    """Return masses of labeled targets (rows) from source labels (columns), and their labels."""
    n = int(pool.codes_x.max(initial=-1)) + 1
    of_target, of_label, masses = [np.empty(0, np.intp)], [np.empty(0, np.intp)], [np.empty(0)]
    for rows, columns, part in slices(plan):
        labeled = np.flatnonzero(pool.codes_x[rows] >= 0)
        present, position = np.unique(pool.codes_x[rows[labeled]], return_inverse=True)
        one_hot = sp.csr_matrix(
            (np.ones(labeled.size), (labeled, position)), (rows.size, present.size)
        )
        from_label = sp.coo_matrix(one_hot.T @ part)
        of_target.append(columns[from_label.col])
        of_label.append(present[from_label.row])
        masses.append(from_label.data)
    place = np.concatenate(of_target), np.concatenate(of_label)
    mass = sp.csr_matrix((np.concatenate(masses), place), (pool.codes_y.size, n))
    known = pool.codes_y >= 0
    return mass if known.all() else mass[known], pool.codes_y[known]
