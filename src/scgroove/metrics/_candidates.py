"""What the matching metrics share: true partners, candidates, and blocks of a coupling."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from scgroove._labels import UNLABELED, encode, members
from scgroove._numbers import check_size
from scgroove._registry import Registry
from scgroove._types import BoolArray, Float64Array, IntArray, Labels, Plan
from scgroove.errors import InputError, MissingTruthError

METRICS: Final[Registry[Callable[..., float]]] = Registry("metric")
"""Every metric that returns one number."""


class BlockPlan(Protocol):
    """A coupling kept in blocks, such as :class:`scgroove.aligners.Coupling`: zero outside of them."""

    @property
    def shape(self) -> tuple[int, int]:
        """Number of source and of target cells."""

    def parts(self) -> Iterator[tuple[IntArray, IntArray, Plan]]:
        """Yield source rows, target rows and the plan between them, for each block."""


PlanLike: TypeAlias = Plan | BlockPlan
"""A coupling (n_source, n_target): dense, scipy sparse, or in blocks."""

BLOCK_VALUES: Final = 2**18
"""Values computed at a time (2 MB of float64): few enough to stay in the cache, so that memory and time are small."""


@dataclass(frozen=True)
class CandidateSet:
    """Cells that are compared with one another: all, or those of one label.

    Attributes
    ----------
    code
        Of the label; 0 if the set holds all cells.
    x, y
        Rows of x (n,) and of y (m,), ascending.
    rows
        Those rows of x whose true match is known and in y, ascending.
    """

    code: int
    x: IntArray
    y: IntArray
    rows: IntArray


@dataclass(frozen=True)
class Candidates:
    """Who is compared with whom: ``codes_x[i] == codes_y[j] >= 0`` makes j a candidate of i and i of j."""

    codes_x: IntArray
    codes_y: IntArray

    def sets(self, partner: IntArray) -> list[CandidateSet]:
        """Return the sets of cells in which a true match is known, by code."""
        rows = self.with_candidate_partner(partner)
        if not rows.size:
            return []
        n = int(self.codes_x[rows].max()) + 1
        in_x, in_y, known = (
            members(c, n) for c in (self.codes_x, self.codes_y, self.codes_x[rows])
        )
        found = enumerate(zip(in_x, in_y, known, strict=True))
        return [CandidateSet(code, x, y, rows[k]) for code, (x, y, k) in found if k.size]

    def counts_of_x(self) -> IntArray:
        """Return the number of candidates in y of each row of x, (n_x,)."""
        return _counts(self.codes_x, self.codes_y)

    def counts_of_y(self) -> IntArray:
        """Return the number of candidates in x of each row of y, (n_y,)."""
        return _counts(self.codes_y, self.codes_x)

    def with_candidate_partner(self, partner: IntArray) -> IntArray:
        """Return the rows of x whose true match is known and is itself a candidate."""
        rows = np.flatnonzero(partner >= 0)
        same: BoolArray = (self.codes_x[rows] == self.codes_y[partner[rows]]) & (
            self.codes_x[rows] != UNLABELED
        )
        return rows[same]


def _counts(query: IntArray, candidates: IntArray) -> IntArray:
    n = int(max(query.max(initial=UNLABELED), candidates.max(initial=UNLABELED))) + 1
    counts = np.append(np.bincount(candidates[candidates >= 0], minlength=n), 0).astype(np.intp)
    return np.asarray(counts[query], dtype=np.intp)


def candidates(
    n_x: int, n_y: int, labels_x: Labels | None, labels_y: Labels | None, within_label: bool | None
) -> Candidates:
    """Return who is compared with whom: cells of the same label, or all.

    Raises
    ------
    ValueError
        If only one modality has labels, if there are none and ``within_label`` is True, or if their number
        is not that of the cells.
    """
    if (labels_x is None) != (labels_y is None):
        missing = "labels_x" if labels_x is None else "labels_y"
        raise InputError(
            f"labels of both modalities are needed; {missing} is None. Pass both, or neither."
        )
    within = labels_x is not None if within_label is None else within_label
    if not within:
        return Candidates(np.zeros(n_x, dtype=np.intp), np.zeros(n_y, dtype=np.intp))
    if labels_x is None or labels_y is None:
        raise InputError(
            "within_label=True compares cells of one label: pass labels_x and labels_y."
        )
    _, (codes_x, codes_y) = encode(labels_x, labels_y)
    for name, codes, n in (("labels_x", codes_x, n_x), ("labels_y", codes_y, n_y)):
        if codes.size != n:
            raise InputError(
                f"{name} must hold one label a cell: expected {n}, found {codes.size}."
            )
    return Candidates(codes_x, codes_y)


def check_partner(partner: npt.ArrayLike | None, n_x: int, n_y: int) -> IntArray:
    """Return the row of y that is the true match of each row of x, -1 where there is none.

    Raises
    ------
    ValueError
        If ``partner`` is None and the numbers of cells differ, or it has the wrong length, points outside y, or
        points twice to one cell.
    MissingTruthError
        If it knows no match at all.
    """
    if partner is None:
        if n_x != n_y:
            raise InputError(
                f"without partner, row i of x is taken for row i of y, which needs equal numbers of cells; "
                f"found {n_x} and {n_y}. Pass partner=, the row of y that matches each row of x (-1: none)."
            )
        return np.arange(n_x, dtype=np.intp)
    array = np.asarray(partner)
    if array.shape != (n_x,) or not np.issubdtype(array.dtype, np.integer):
        raise InputError(
            f"partner must be integers, one a row of x: expected shape ({n_x},), found {array.dtype} of "
            f"shape {array.shape}. It holds the row of y that truly matches, -1 for none."
        )
    array = array.astype(np.intp)
    known = array[array >= 0]
    if known.size == 0:
        raise MissingTruthError(
            "no true match is known: every entry of partner is negative, so nothing can be scored."
        )
    if array.min() < -1 or known.max() >= n_y:
        raise InputError(
            f"partner must be between 0 and {n_y - 1} (rows of y), or -1 for none; found values from "
            f"{array.min()} to {array.max()}."
        )
    if np.unique(known).size != known.size:
        raise InputError(
            "partner points twice to one row of y: a true match belongs to one cell only."
        )
    return array


def check_pair(x: npt.ArrayLike, y: npt.ArrayLike) -> tuple[Float64Array, Float64Array]:
    """Return two representations as float64 matrices.

    Raises
    ------
    ValueError
        If they are not matrices of one width, or hold NaN or infinite values.
    """
    arrays = []
    for name, given in (("x", x), ("y", y)):
        array = np.asarray(given, dtype=np.float64)
        if array.ndim != 2:
            raise InputError(f"{name} must be a matrix (n, d); found shape {array.shape}.")
        if not np.isfinite(array).all():
            bad = int((~np.isfinite(array).all(axis=1)).sum())
            raise InputError(
                f"{name} holds NaN or infinite values in {bad} of {array.shape[0]} rows."
            )
        check_size(name, array)
        arrays.append(array)
    if arrays[0].shape[1] != arrays[1].shape[1]:
        raise InputError(
            f"x and y must lie in one space: found {arrays[0].shape[1]} and {arrays[1].shape[1]} dimensions."
        )
    return arrays[0], arrays[1]


def mean_of_directions(values: Sequence[Float64Array]) -> float:
    """Return the mean over the directions of the mean over scored cells (NaN: not scored).

    Raises
    ------
    MissingTruthError
        If no cell was scored in any direction.
    """
    means = [float(v[~np.isnan(v)].mean()) for v in values if not np.isnan(v).all()]
    if not means:
        raise MissingTruthError(
            "no cell can be scored: no true match is among at least two candidates. Within labels, a match "
            "needs the same label on both sides and a label of two cells or more; try within_label=False."
        )
    return float(np.mean(means))


def rows_per_block(n_columns: int, block_size: int | None) -> int:
    """Return how many rows to compute at a time."""
    if block_size is None:
        return max(1, BLOCK_VALUES // max(1, n_columns))
    if block_size < 1:
        raise InputError(f"block_size must be at least 1; found {block_size}.")
    return block_size


def shape(plan: PlanLike) -> tuple[int, int]:
    """Return the number of source and of target cells of a coupling."""
    return int(plan.shape[0]), int(plan.shape[1])


def blocks(plan: PlanLike) -> Iterator[tuple[IntArray, IntArray, Plan]]:
    """Yield a coupling as blocks (source rows, target rows, CSR or dense): one for a matrix."""
    if isinstance(plan, np.ndarray) or sp.issparse(plan):
        yield np.arange(plan.shape[0]), np.arange(plan.shape[1]), _dense_or_csr(plan)
        return
    for rows, columns, part in plan.parts():
        yield rows, columns, _dense_or_csr(part)


def _dense_or_csr(part: Plan) -> Plan:
    if not sp.issparse(part):
        return np.asarray(part)
    matrix = sp.csr_matrix(part)
    if not matrix.has_canonical_format:  # a mass given in two pieces is one mass
        matrix = matrix.copy()
        matrix.sum_duplicates()
    return matrix


def slices(plan: PlanLike) -> Iterator[tuple[IntArray, IntArray, Plan]]:
    """Yield a coupling as blocks of few rows each, of at most ``BLOCK_VALUES`` stored values where a row has no more.

    Raises
    ------
    ValueError
        If a mass is negative or not finite.
    """
    for rows, columns, part in blocks(plan):
        stored = part.size if isinstance(part, np.ndarray) else part.nnz  # type: ignore[union-attr]
        per_row = stored / max(1, part.shape[0])
        step = max(1, int(BLOCK_VALUES // max(1.0, per_row)))
        for start in range(0, part.shape[0], step):
            piece = part[start : start + step]
            _check_masses(piece if isinstance(piece, np.ndarray) else piece.data)
            yield rows[start : start + step], columns, piece


def _check_masses(masses: npt.NDArray[Any]) -> None:
    if masses.size and not (masses.min() >= 0 and np.isfinite(masses.sum())):
        raise InputError(
            "a coupling holds finite masses of at least 0; found a negative mass or NaN."
        )
