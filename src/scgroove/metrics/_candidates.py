"""True partners, candidates of each cell, and couplings in blocks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from scgroove._labels import encode, members
from scgroove._numbers import check_size
from scgroove._types import Float64Array, IntArray, Labels, Plan
from scgroove.errors import InputError, MissingTruthError

BLOCK_VALUES: Final = 2**18
"""Values computed at a time (2 MB of float64), so that they stay in the cache."""


class BlockPlan(Protocol):
    """A coupling in blocks, such as :class:`scgroove.aligners.Coupling`: zero outside of them."""

    @property
    def shape(self) -> tuple[int, int]:
        """Number of source and of target cells."""

    def parts(self) -> Iterator[tuple[IntArray, IntArray, Plan]]:
        """Yield source rows, target rows and the plan between them, for each block."""


PlanLike: TypeAlias = Plan | BlockPlan
"""A coupling (n_source, n_target): dense, scipy sparse, or in blocks."""


@dataclass(frozen=True)
class CandidateSet:
    """Cells that are compared with one another: all (code 0), or those of one label.

    ``rows`` are the rows ``x`` whose true match is known and in ``y``. All ascending.
    """

    code: int
    x: IntArray
    y: IntArray
    rows: IntArray


@dataclass(frozen=True)
class Candidates:
    """Cells i of x and j of y are candidates of each other if ``codes_x[i] == codes_y[j] >= 0``."""

    codes_x: IntArray
    codes_y: IntArray

    def sets(self, partner: IntArray) -> list[CandidateSet]:
        """Return the sets of cells with a known true match, by code."""
        rows = self.with_candidate_partner(partner)
        if not rows.size:
            return []
        codes = (self.codes_x, self.codes_y, self.codes_x[rows])
        groups = [members(one, int(self.codes_x[rows].max()) + 1) for one in codes]
        sets = []
        for code, (x, y, known) in enumerate(zip(*groups, strict=True)):
            if known.size:
                sets.append(CandidateSet(code, x, y, rows[known]))
        return sets

    def counts_of_x(self) -> IntArray:
        """Return the number of candidates in y of each row of x, (n_x,)."""
        return _counts(self.codes_x, self.codes_y)

    def counts_of_y(self) -> IntArray:
        """Return the number of candidates in x of each row of y, (n_y,)."""
        return _counts(self.codes_y, self.codes_x)

    def with_candidate_partner(self, partner: IntArray) -> IntArray:
        """Return the rows of x whose true match is known and is itself a candidate."""
        rows = np.flatnonzero(partner >= 0)
        own = self.codes_x[rows]
        return np.asarray(rows[(own == self.codes_y[partner[rows]]) & (own >= 0)])


def _counts(query: IntArray, candidates: IntArray) -> IntArray:
    n = int(max(query.max(initial=-1), candidates.max(initial=-1))) + 1
    counts = np.append(np.bincount(candidates[candidates >= 0], minlength=n), 0).astype(np.intp)
    return np.asarray(counts[query], dtype=np.intp)


def candidates(
    n_x: int, n_y: int, labels_x: Labels | None, labels_y: Labels | None, within_label: bool | None
) -> Candidates:
    """Return the candidates: cells of the same label, or all."""
    if (labels_x is None) != (labels_y is None):
        missing = "labels_x" if labels_x is None else "labels_y"
        raise InputError(
            f"labels of both modalities are needed; {missing} is None. Pass both, or neither."
        )
    if within_label is False or (within_label is None and labels_x is None):
        return Candidates(np.zeros(n_x, dtype=np.intp), np.zeros(n_y, dtype=np.intp))
    if labels_x is None or labels_y is None:
        raise InputError(
            "within_label=True compares cells of one label: pass labels_x and labels_y."
        )
    _, (codes_x, codes_y) = encode(labels_x, labels_y)
    check_length("labels_x", codes_x, n_x)
    check_length("labels_y", codes_y, n_y)
    return Candidates(codes_x, codes_y)


def check_length(name: str, codes: IntArray, n: int) -> None:
    """Refuse labels that are not one a cell."""
    if codes.size != n:
        raise InputError(f"{name} must hold one label a cell: expected {n}, found {codes.size}.")


def codes_of(labels: Labels, n: int, name: str = "labels") -> tuple[list[str], IntArray]:
    """Return the sorted names of labels, and the code of each of n cells, -1 without a label."""
    names, (codes,) = encode(labels)
    check_length(name, codes, n)
    return names, codes


def check_partner(partner: npt.ArrayLike | None, n_x: int, n_y: int) -> IntArray:
    """Return the row of y that truly matches each row of x, -1 if there is none."""
    if partner is None:
        if n_x != n_y:
            raise InputError(
                f"without partner, row i of x is taken for row i of y, which needs equal numbers "
                f"of cells; found {n_x} and {n_y}. Pass partner=, the row of y that matches each "
                f"row of x (-1: none)."
            )
        return np.arange(n_x, dtype=np.intp)
    array = np.asarray(partner)
    if array.shape != (n_x,) or not np.issubdtype(array.dtype, np.integer):
        raise InputError(
            f"partner must be integers, one a row of x: expected shape ({n_x},), found "
            f"{array.dtype} of shape {array.shape}. It holds the row of y that truly matches, -1 "
            f"for none."
        )
    array = array.astype(np.intp)
    known = array[array >= 0]
    if known.size == 0:
        raise MissingTruthError(
            "no true match is known: every entry of partner is negative, so nothing can be scored."
        )
    if array.min() < -1 or known.max() >= n_y:
        raise InputError(
            f"partner must be between 0 and {n_y - 1} (rows of y), or -1 for none; found values "
            f"from {array.min()} to {array.max()}."
        )
    if np.unique(known).size != known.size:
        raise InputError(
            "partner points twice to one row of y: a true match belongs to one cell only."
        )
    return array


def check_representation(name: str, given: npt.ArrayLike) -> Float64Array:
    """Return a representation as a float64 matrix."""
    array = np.asarray(given, dtype=np.float64)
    if array.ndim != 2:
        raise InputError(f"{name} must be a matrix (n, d); found shape {array.shape}.")
    bad = int((~np.isfinite(array).all(axis=1)).sum())
    if bad:
        raise InputError(f"{name} holds NaN or infinite values in {bad} of {len(array)} rows.")
    check_size(name, array)
    return array


def check_pair(x: npt.ArrayLike, y: npt.ArrayLike) -> tuple[Float64Array, Float64Array]:
    """Return two representations in one space as float64 matrices."""
    x, y = check_representation("x", x), check_representation("y", y)
    if x.shape[1] != y.shape[1]:
        raise InputError(
            f"x and y must lie in one space: found {x.shape[1]} and {y.shape[1]} dimensions."
        )
    return x, y


def mean_of_directions(values: Sequence[Float64Array]) -> float:
    """Return the mean over directions of the mean over scored cells (NaN: not scored)."""
    means = [float(v[~np.isnan(v)].mean()) for v in values if not np.isnan(v).all()]
    if not means:
        raise MissingTruthError(
            "no cell can be scored: no true match is among at least two candidates. Within labels, "
            "a match needs the same label on both sides and a label of two cells or more; try "
            "within_label=False."
        )
    return float(np.mean(means))


def rows_per_block(n_columns: int) -> int:
    """Return how many rows to compute at a time."""
    return max(1, BLOCK_VALUES // max(1, n_columns))


def slices(plan: PlanLike) -> Iterator[tuple[IntArray, IntArray, Any]]:
    """Yield a coupling as (source rows, target rows, CSR or dense) with few rows each."""
    if isinstance(plan, np.ndarray) or sp.issparse(plan):
        parts: Any = [(np.arange(plan.shape[0]), np.arange(plan.shape[1]), plan)]
    else:
        parts = plan.parts()
    for rows, columns, given in parts:
        part = _dense_or_csr(given)
        stored = part.size if isinstance(part, np.ndarray) else part.nnz
        step = max(1, int(BLOCK_VALUES // max(1.0, stored / max(1, part.shape[0]))))
        for start in range(0, part.shape[0], step):
            piece = part[start : start + step]
            masses = piece if isinstance(piece, np.ndarray) else piece.data
            if masses.size and not (masses.min() >= 0 and np.isfinite(masses.sum())):
                raise InputError(
                    "a coupling holds finite masses of at least 0; found a negative mass or NaN."
                )
            yield rows[start : start + step], columns, piece


def _dense_or_csr(part: Plan) -> Any:
    if not sp.issparse(part):
        return np.asarray(part)
    matrix = sp.csr_matrix(part)
    if not matrix.has_canonical_format:  # a mass given in two pieces is one mass
        matrix = matrix.copy()
        matrix.sum_duplicates()
    return matrix
