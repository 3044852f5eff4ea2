"""Storing a coupling as one sparse matrix, with only the entries that matter."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from scgroove._types import BoolArray, Float64Array, IntArray
from scgroove.errors import InputError

THRESHOLD: Final = 1e-3
"""Largest share of the mass of a row that :func:`scgroove.tl.align` drops by default."""


@dataclass(frozen=True, eq=False)
class Piece:
    """Entries of some rows, ordered by row: where they stand, how many each row has, and what was dropped."""

    rows: IntArray
    counts: IntArray
    columns: IntArray
    values: Float64Array
    mass: float
    n_dropped: int
    mass_dropped: float


@dataclass(frozen=True, eq=False)
class Count:
    """Where the rows of the matrix will start, (n + 1,), and what will be lost."""

    indptr: npt.NDArray[np.int64]
    mass: float
    n_dropped: int
    mass_dropped: float

    @property
    def n_entries(self) -> int:
        """Number of entries that stay."""
        return int(self.indptr[-1])


def check_kept(top_k: Any, threshold: Any) -> float:
    """Return the share of the mass of a row that may be dropped; refuse what cannot be used.

    Raises
    ------
    ValueError
        If ``top_k`` is no number of entries (None: all), or ``threshold`` no share (None: 0).
    """
    if top_k is not None:
        check_number("top_k, the entries kept of a row,", top_k)
    share = 0.0 if threshold is None else threshold
    if isinstance(share, bool) or not isinstance(share, Real) or not 0 <= float(share) < 1:
        raise InputError(
            f"threshold is a share of the mass of a row, in [0, 1); found {threshold!r}."
        )
    return float(share)


def check_number(what: str, number: Any) -> None:
    """Refuse anything but a whole number of at least 1.

    Raises
    ------
    ValueError
        That says ``what`` must be one.
    """
    if isinstance(number, bool) or not isinstance(number, Integral) or number < 1:
        raise InputError(f"{what} must be at least 1, and whole; found {number!r}.")


def keep(
    rows: IntArray, columns: IntArray, plan: Any, top_k: int | None, threshold: float
) -> Piece:
    """Keep the entries that hold their share of the row, scaled so that the row keeps its mass.

    Parameters
    ----------
    rows, columns
        Positions of the cells of the plan, (n,) and (m,).
    plan
        Masses (n, m), dense or CSR.
    top_k
        Number of entries of a row to keep, the largest; None: all.
    threshold
        Smallest share of its row that an entry must hold, times m.

    Returns
    -------
    Piece
        The entries that stay.
    """
    mass = np.asarray(plan.sum(axis=1), dtype=np.float64).ravel()
    floor = threshold * mass / max(1, plan.shape[1])
    if isinstance(plan, np.ndarray):
        row, column = np.nonzero((plan > 0) & (plan >= floor[:, None]) & _largest(plan, top_k))
        values, n_stored = plan[row, column], int(np.count_nonzero(plan))
    elif top_k is not None and top_k < plan.shape[1]:
        return keep(rows, columns, plan.toarray(), top_k, threshold)
    else:
        entries = sp.csr_matrix(plan).tocoo()
        stays = (entries.data > 0) & (entries.data >= floor[entries.row])
        row, column, values = entries.row[stays], entries.col[stays], entries.data[stays]
        n_stored = int(np.count_nonzero(entries.data))
    counts = np.bincount(row, minlength=rows.size).astype(np.intp)
    if values.size == n_stored:
        return Piece(rows, counts, columns[column], values, float(mass.sum()), 0, 0.0)
    left = np.bincount(row, values, minlength=rows.size)
    scale = np.divide(mass, left, out=np.ones_like(mass), where=left > 0)
    lost = float(mass.sum() - left.sum())
    kept = values * scale[row]
    return Piece(
        rows, counts, columns[column], kept, float(mass.sum()), n_stored - values.size, lost
    )


def _largest(plan: Float64Array, top_k: int | None) -> BoolArray | bool:
    """Return where the ``top_k`` largest entries of each row are; of equal ones, some."""
    if top_k is None or top_k >= plan.shape[1]:
        return True
    place = plan.shape[1] - top_k
    mask = np.zeros(plan.shape, dtype=bool)
    np.put_along_axis(mask, np.argpartition(plan, place, axis=1)[:, place:], True, axis=1)
    return mask


def count(pieces: Iterable[Piece], n_rows: int) -> Count:
    """Go through the pieces once, and say how large the matrix will be."""
    indptr = np.zeros(n_rows + 1, dtype=np.int64)
    mass, n_dropped, lost = 0.0, 0, 0.0
    for piece in pieces:
        indptr[piece.rows + 1] = piece.counts
        mass, n_dropped, lost = (
            mass + piece.mass,
            n_dropped + piece.n_dropped,
            lost + piece.mass_dropped,
        )
    return Count(np.cumsum(indptr), mass, n_dropped, lost)


def fill(
    pieces: Iterable[Piece], counted: Count, shape: tuple[int, int], dtype: npt.DTypeLike
) -> sp.csr_matrix:
    """Return the matrix, float (n, m), from pieces that were counted; without masses that ``dtype`` cannot hold."""
    indices, data = (
        np.empty(counted.n_entries, dtype=np.int32),
        np.empty(counted.n_entries, dtype=dtype),
    )
    for piece in pieces:
        ends = np.cumsum(piece.counts)
        place = np.repeat(counted.indptr[piece.rows] - (ends - piece.counts), piece.counts)
        place += np.arange(place.size)
        indices[place], data[place] = piece.columns, piece.values
    matrix = sp.csr_matrix((data, indices, counted.indptr), shape=shape)
    matrix.sort_indices()
    matrix.eliminate_zeros()
    return matrix
