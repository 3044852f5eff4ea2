"""Predicted and measured values, (cells, features): checked, and read in pieces."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from scgroove._numbers import COORDINATES
from scgroove._types import Float64Array
from scgroove.errors import InputError

Values: TypeAlias = npt.ArrayLike | sp.csr_matrix | sp.csc_matrix | sp.csr_array | sp.csc_array
"""Values of cells, (cells, features): dense or scipy sparse, of any numeric type."""

NaNPolicy: TypeAlias = Literal["raise", "omit"]
"""What to do with missing values: ``"raise"``, or leave out each pair of values of which one is missing."""

CHUNK_VALUES: Final = 2**20
"""Values made dense float64 at a time (8 MB)."""


def check_values(name: str, given: Values) -> Any:
    """Return values as an array or CSR matrix of two dimensions.

    Raises
    ------
    ValueError
        If they have another number of dimensions, are no numbers, or some are infinite.
    """
    values: Any = sp.csr_matrix(given) if sp.issparse(given) else np.asarray(given)
    if values.ndim != 2 or values.dtype.kind not in "fiub":
        raise InputError(
            f"{name} must be numbers, one row a cell and one column a feature: (n, f); found {values.dtype} of shape "
            f"{values.shape}."
        )
    infinite = sum(int(np.isinf(_stored(part)).sum()) for part in _pieces(values))
    if infinite:
        raise InputError(
            f"{name} holds {infinite} infinite values. Was a ratio or a logarithm of zero taken? A value that is not "
            f"known should be NaN, with nan='omit'."
        )
    largest = max(
        (
            float(np.fmax.reduce(np.abs(_stored(part)), axis=None, initial=0))
            for part in _pieces(values)
        ),
        default=0,
    )
    if largest > COORDINATES[1]:
        raise InputError(
            f"{name} holds values of up to {largest:.1e}, whose squares are not to be computed with: expected at most "
            f"{COORDINATES[1]:g}. Does one stand for a missing value? That should be NaN, with nan='omit'."
        )
    return values


def check_nan(name: str, values: Any, nan: NaNPolicy) -> None:
    """Refuse missing values unless they are to be left out.

    Raises
    ------
    ValueError
        If there are missing values and ``nan="raise"``, or there is no such policy.
    """
    if nan not in ("raise", "omit"):
        raise InputError(f"nan must be 'raise' or 'omit'; found {nan!r}.")
    missing = (
        sum(int(np.isnan(_stored(part)).sum()) for part in _pieces(values)) if nan == "raise" else 0
    )
    if missing:
        raise InputError(
            f"{name} holds {missing} missing values (NaN). Pass nan='omit' to leave out every pair of values of which one "
            f"is missing; note that methods are then compared on different values if they miss different ones."
        )


def check_pairs(predicted: Values, measured: Values, nan: NaNPolicy = "raise") -> tuple[Any, Any]:
    """Return predicted and measured values of the same cells and features.

    Raises
    ------
    ValueError
        If their shapes differ, they hold infinite values, or missing ones and ``nan="raise"``.
    """
    pair = check_values("predicted", predicted), check_values("measured", measured)
    if pair[0].shape != pair[1].shape:
        raise InputError(
            f"predicted and measured must be of the same cells and features, row by row and column by column: found shapes "
            f"{pair[0].shape} and {pair[1].shape}. Take measured[partner], the true match of each predicted cell."
        )
    if 0 in pair[0].shape:
        raise InputError(
            f"there is nothing to compare: predicted and measured have shape {pair[0].shape}."
        )
    for name, values in zip(("predicted", "measured"), pair, strict=True):
        check_nan(name, values, nan)
    return pair


def complete_cells(name: str, given: Values, nan: NaNPolicy) -> tuple[Any, npt.NDArray[np.intp]]:
    """Return values, checked, and the cells of which no value is missing.

    Raises
    ------
    ValueError
        If a value is infinite, or missing and ``nan="raise"``.
    """
    values = check_values(name, given)
    check_nan(name, values, nan)
    return values, np.flatnonzero(is_complete(values, np.arange(values.shape[0])))


def is_complete(values: Any, rows: npt.NDArray[np.intp]) -> npt.NDArray[np.bool_]:
    """Return which of the rows have no missing value."""
    out = np.ones(rows.size, dtype=bool)
    if values.dtype.kind == "f":
        for piece in steps(rows.size, values.shape[1]):
            sums = np.asarray(values[rows[piece]].sum(axis=1, dtype=np.float64)).ravel()
            out[piece] = ~np.isnan(sums)  # no value is infinite, so that only a NaN makes one
    return out


def _stored(part: Any) -> npt.NDArray[Any]:
    return np.asarray(part.data if sp.issparse(part) else part)


def _pieces(values: Any) -> Iterator[Any]:
    """Yield all stored values, some rows at a time; nothing for whole numbers, which are neither NaN nor infinite."""
    if values.dtype.kind == "f":
        for rows in steps(*values.shape):
            yield values[rows]


def steps(n: int, other: int) -> Iterator[slice]:
    """Yield slices of n that hold about ``CHUNK_VALUES`` values each, ``other`` of them for each step."""
    size = max(1, CHUNK_VALUES // max(1, other))
    for start in range(0, n, size):
        yield slice(start, start + size)


def dense(values: Any) -> Float64Array:
    """Return values as a dense float64 array of their own."""
    return np.array(
        values.toarray() if sp.issparse(values) else values, dtype=np.float64, order="C"
    )


def across_cells(
    predicted: Any, measured: Any
) -> Iterator[tuple[slice, Float64Array, Float64Array]]:
    """Yield (features, predicted, measured): all cells of some features at a time, dense (features, cells)."""
    pair = [values.tocsc() if sp.issparse(values) else values for values in (predicted, measured)]
    for columns in steps(predicted.shape[1], predicted.shape[0]):
        yield columns, dense(pair[0][:, columns].T), dense(pair[1][:, columns].T)


def across_features(
    predicted: Any, measured: Any
) -> Iterator[tuple[slice, Float64Array, Float64Array]]:
    """Yield (cells, predicted, measured): all features of some cells at a time, dense (cells, features)."""
    for rows in steps(*predicted.shape):
        yield rows, dense(predicted[rows]), dense(measured[rows])


def label_sums(
    values: Any, codes: npt.NDArray[np.intp], n_labels: int
) -> tuple[Float64Array, Float64Array]:
    """Return sums (n_labels, f) and numbers of cells (n_labels,) of each label; cells of code -1 are in none."""
    kept = np.flatnonzero(codes >= 0)
    one_hot = sp.csc_matrix(
        (np.ones(kept.size), (codes[kept], kept)), shape=(n_labels, codes.size), dtype=np.float64
    )
    sums = np.zeros((n_labels, values.shape[1]))
    for cells in steps(*values.shape):
        sums += one_hot[:, cells] @ dense(values[cells])
    return sums, np.bincount(codes[kept], minlength=n_labels).astype(np.float64)
