"""Storing a coupling as one sparse matrix, with only the entries that matter."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from numbers import Integral, Real
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from scgroove._types import BoolArray, Float64Array, IntArray
from scgroove.errors import InputError

THRESHOLD: Final = 1e-3
"""Largest share of the mass of a row that :func:`scgroove.tl.align` drops by default."""


class Piece(NamedTuple):
    """Entries that stay of some rows, ordered by row, and what was dropped."""

    rows: IntArray
    counts: IntArray  # of each row
    columns: IntArray
    values: Float64Array
    mass: float
    n_dropped: int
    mass_dropped: float


Pieces: TypeAlias = Callable[[], Iterator[Piece]]


def check_kept(top_k: Any, threshold: Any) -> float:
    """Return the share of the mass of a row that may be dropped. Refuse what cannot be used."""
    if top_k is not None:
        check_number("top_k, the entries kept of a row,", top_k)
    share = 0.0 if threshold is None else threshold
    if isinstance(share, bool) or not isinstance(share, Real) or not 0 <= float(share) < 1:
        raise InputError(
            f"threshold is a share of the mass of a row, in [0, 1); found {threshold!r}."
        )
    return float(share)


def check_number(what: str, number: Any) -> None:
    """Refuse anything but a whole number of at least 1."""
    if isinstance(number, bool) or not isinstance(number, Integral) or number < 1:
        raise InputError(f"{what} must be at least 1, and whole; found {number!r}.")


def largest_entries(
    rows: IntArray, columns: IntArray, plan: Any, top_k: int | None, threshold: float
) -> Piece:
    """Keep the entries that hold their share of the row, scaled so that the row keeps its mass.

    Of a plan (n, m), dense or CSR, with cells at ``rows`` and ``columns``: the ``top_k`` largest of
    each row (None: all) that hold at least ``threshold / m`` of it.
    """
    if top_k is not None and top_k < plan.shape[1] and sp.issparse(plan):
        plan = plan.toarray()
    mass = np.asarray(plan.sum(axis=1), dtype=np.float64).ravel()
    floor = threshold * mass / max(1, plan.shape[1])
    if sp.issparse(plan):
        entries = sp.csr_matrix(plan).tocoo()
        stays = (entries.data > 0) & (entries.data >= floor[entries.row])
        row, column, values = entries.row[stays], entries.col[stays], entries.data[stays]
        n_stored = int(np.count_nonzero(entries.data))
    else:
        row, column = np.nonzero((plan > 0) & (plan >= floor[:, None]) & _largest(plan, top_k))
        values, n_stored = plan[row, column], int(np.count_nonzero(plan))
    counts = np.bincount(row, minlength=rows.size).astype(np.intp)
    lost = 0.0
    if values.size < n_stored:
        left = np.bincount(row, values, minlength=rows.size)
        scale = np.divide(mass, left, out=np.ones_like(mass), where=left > 0)
        values, lost = values * scale[row], float(mass.sum() - left.sum())
    n_dropped = n_stored - values.size
    return Piece(rows, counts, columns[column], values, float(mass.sum()), n_dropped, lost)


def _largest(plan: Float64Array, top_k: int | None) -> BoolArray | bool:
    """Where the ``top_k`` largest entries of each row are. Of equal ones, some."""
    if top_k is None or top_k >= plan.shape[1]:
        return True
    place = plan.shape[1] - top_k
    mask = np.zeros(plan.shape, dtype=bool)
    np.put_along_axis(mask, np.argpartition(plan, place, axis=1)[:, place:], True, axis=1)
    return mask


def gather(
    pieces: Pieces, shape: tuple[int, int], dtype: npt.DTypeLike, check: Callable[[int], None]
) -> tuple[sp.csr_matrix, int, float]:
    """Put pieces together. Return the matrix, the entries left out and their share of the mass.

    Goes through the pieces twice, so that the matrix is the only large thing taken. ``check``
    refuses a number of entries that is too large. Masses that ``dtype`` cannot hold are left out.
    """
    indptr = np.zeros(shape[0] + 1, dtype=np.int64)
    mass, n_dropped, lost = 0.0, 0, 0.0
    for piece in pieces():
        indptr[piece.rows + 1] = piece.counts
        mass, lost = mass + piece.mass, lost + piece.mass_dropped
        n_dropped += piece.n_dropped
    indptr = np.cumsum(indptr)
    n_entries = int(indptr[-1])
    check(n_entries)
    indices, data = np.empty(n_entries, dtype=np.int32), np.empty(n_entries, dtype=dtype)
    for piece in pieces():
        ends = np.cumsum(piece.counts)
        place = np.repeat(indptr[piece.rows] - (ends - piece.counts), piece.counts)
        place += np.arange(place.size)
        indices[place], data[place] = piece.columns, piece.values
    matrix = sp.csr_matrix((data, indices, indptr), shape=shape)
    matrix.sort_indices()
    matrix.eliminate_zeros()
    share = max(0.0, lost / mass) if mass > 0 else 0.0
    return matrix, n_dropped + n_entries - int(matrix.nnz), share
