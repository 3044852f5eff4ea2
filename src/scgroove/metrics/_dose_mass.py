"""Mass of a coupling between cells of one label and one dose: what it is, at random, at best, and by chance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from scgroove._labels import encode, members
from scgroove._types import Float64Array, IntArray, Labels, Plan
from scgroove.errors import InputError, MissingTruthError
from scgroove.metrics._candidates import PlanLike, slices
from scgroove.metrics._chance import Chance, class_chance


@dataclass(frozen=True)
class DoseMass:
    """The mass that each target cell gets from source cells of its label, by the dose of the source cells.

    Attributes
    ----------
    by_dose
        Float64 (n_doses, n_target). Mass between labels is not in it.
    labels, doses
        Codes of source and of target cells, (n_source,) and (n_target,); -1 where unknown.
    """

    by_dose: Float64Array
    labels: tuple[IntArray, IntArray]
    doses: tuple[IntArray, IntArray]

    @property
    def fraction(self) -> float:
        """Mass between cells of equal label and dose."""
        known = np.flatnonzero(self.doses[1] >= 0)
        return float(self.by_dose[self.doses[1][known], known].sum())

    @property
    def random(self) -> float:
        """The fraction of a coupling with one mass for all pairs of equal label, 1 in all.

        Raises
        ------
        MissingTruthError
            If no pair has equal labels.
        """
        alike = _pairs(*self.labels)
        if not alike:
            raise MissingTruthError(
                "no source and target cell have the same label, so that there is no mass to share out."
            )
        return _pairs(*self._both) / alike

    @property
    def perfect(self) -> float:
        """The fraction of the identity, of mass 1: row i is the true match of column i."""
        in_x, in_y = self._both
        return float(np.mean((in_x == in_y) & (in_x >= 0)))

    def relative(self, fraction: float) -> float:
        """Return where a fraction lies between random (0) and perfect (1); NaN where these are the same."""
        random, perfect = self.random, self.perfect
        return (fraction - random) / (perfect - random) if perfect != random else float("nan")

    def chance(self) -> Chance:
        """Return mean and spread of the fraction if the doses were drawn anew among the target cells of each label.

        In label l, target cell j gets the dose of cell s(j), s a random permutation of the cells of l: the fraction is a sum of
        ``by_dose[dose of s(j), j]``, of which mean and variance are known. Labels are independent.
        """
        n_doses = len(self.by_dose)
        # cells without a dose are a class of their own, that no mass counts for
        gain = np.vstack([self.by_dose, np.zeros(self.by_dose.shape[1])])
        of_target = np.where(self.doses[1] >= 0, self.doses[1], n_doses)
        mean = variance = 0.0
        for cells in members(self.labels[1], int(self.labels[1].max(initial=-1)) + 1):
            if cells.size:
                n_cells = np.bincount(of_target[cells], minlength=n_doses + 1)
                one = class_chance(gain[:, cells], n_cells, np.ones(cells.size, dtype=np.intp))
                mean, variance = mean + one.mean, variance + one.sd**2
        return Chance(mean, float(np.sqrt(variance)))

    @property
    def _both(self) -> tuple[IntArray, IntArray]:
        """One code for label and dose of source and of target cells, -1 where either is unknown."""
        n_doses = len(self.by_dose)
        in_x, in_y = (
            np.where((label >= 0) & (dose >= 0), label * n_doses + dose, -1)
            for label, dose in zip(self.labels, self.doses, strict=True)
        )
        return in_x, in_y


def dose_mass(
    plan: PlanLike,
    doses_x: npt.ArrayLike,
    doses_y: npt.ArrayLike,
    labels_x: Labels,
    labels_y: Labels,
) -> DoseMass:
    """Return the mass within labels of a coupling by dose.

    Parameters
    ----------
    plan
        Coupling (n_source, n_target).
    doses_x, doses_y
        Dose of each cell, compared by name, so that 1 and 1.0 are the same; None and NaN mean unknown.
    labels_x, labels_y
        Label of each cell; None and NaN mean unlabeled.

    Raises
    ------
    ValueError
        If there is not one dose and one label a cell.
    """
    _, labels = encode(labels_x, labels_y)
    names, doses = encode(doses_x, doses_y)  # type: ignore[arg-type]
    for name, codes, n in zip(
        ("labels_x", "labels_y", "doses_x", "doses_y"),
        (*labels, *doses),
        (*plan.shape, *plan.shape),
        strict=True,
    ):
        if codes.size != n:
            raise InputError(
                f"{name} must have one entry a cell: expected {n}, found {codes.size}."
            )
    by_dose = np.zeros((len(names), plan.shape[1]))
    for rows, columns, part in slices(plan):
        for code in np.unique(labels[0][rows][labels[0][rows] >= 0]):
            i = np.flatnonzero((labels[0][rows] == code) & (doses[0][rows] >= 0))
            j = np.flatnonzero(labels[1][columns] == code)
            by_dose[:, columns[j]] += _sum_by(doses[0][rows[i]], len(names), part[i][:, j])
    return DoseMass(by_dose, (labels[0], labels[1]), (doses[0], doses[1]))


def _sum_by(codes: IntArray, n_codes: int, part: Plan) -> Float64Array:
    """Return the sum of the rows of each code, (n_codes, n)."""
    of_code = sp.csr_matrix(
        (np.ones(codes.size), (codes, np.arange(codes.size))), shape=(n_codes, codes.size)
    )
    total = of_code @ part
    return np.asarray(total.toarray() if sp.issparse(total) else total, dtype=np.float64)


def _pairs(codes_x: IntArray, codes_y: IntArray) -> float:
    """Return how many pairs of cells have equal codes."""
    n = int(max(codes_x.max(initial=-1), codes_y.max(initial=-1))) + 1
    counts = [
        np.bincount(codes[codes >= 0], minlength=n).astype(np.float64)
        for codes in (codes_x, codes_y)
    ]
    return float(counts[0] @ counts[1])
