"""Predicted and measured values, (cells, features): checked, and read in pieces."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from scgroove._numbers import COORDINATES
from scgroove._types import BoolArray, Float64Array, IntArray
from scgroove.errors import InputError

Values: TypeAlias = npt.ArrayLike | sp.csr_matrix | sp.csc_matrix | sp.csr_array | sp.csc_array
"""Values of cells, (cells, features): dense or scipy sparse, of any numeric type."""

NaNPolicy: TypeAlias = Literal["raise", "omit"]
"""Missing values raise an error, or each pair of values with a missing one is left out."""

CHUNK_VALUES: Final = 2**20
"""Values made dense float64 at a time (8 MB)."""


def check_values(name: str, given: Values) -> Any:
    """Return values as an array or CSR matrix of two dimensions."""
    values: Any = sp.csr_matrix(given) if sp.issparse(given) else np.asarray(given)
    if values.ndim != 2 or values.dtype.kind not in "fiub":
        raise InputError(
            f"{name} must be numbers, one row a cell and one column a feature: (n, f); found "
            f"{values.dtype} of shape {values.shape}."
        )
    infinite, largest = 0, 0.0
    for part in _float_pieces(values):
        infinite += int(np.isinf(part).sum())
        largest = max(largest, float(np.fmax.reduce(np.abs(part), axis=None, initial=0)))
    if infinite:
        raise InputError(
            f"{name} holds {infinite} infinite values. Was a ratio or a logarithm of zero taken? "
            f"A value that is not known should be NaN, with nan='omit'."
        )
    if largest > COORDINATES[1]:
        raise InputError(
            f"{name} holds values of up to {largest:.1e}, whose squares are not to be computed "
            f"with: expected at most {COORDINATES[1]:g}. Does one stand for a missing value? That "
            f"should be NaN, with nan='omit'."
        )
    return values


def check_nan(name: str, values: Any, nan: NaNPolicy) -> None:
    """Refuse missing values unless they are to be left out."""
    missing = 0
    if nan == "raise":
        missing = sum(int(np.isnan(part).sum()) for part in _float_pieces(values))
    if missing:
        raise InputError(
            f"{name} holds {missing} missing values (NaN). Pass nan='omit' to leave out every pair "
            f"of values of which one is missing; note that methods are then compared on different "
            f"values if they miss different ones."
        )


def check_pairs(predicted: Values, measured: Values, nan: NaNPolicy = "raise") -> tuple[Any, Any]:
    """Return predicted and measured values of the same cells and features."""
    p, m = check_values("predicted", predicted), check_values("measured", measured)
    if p.shape != m.shape:
        raise InputError(
            f"predicted and measured must be of the same cells and features, row by row and column "
            f"by column: found shapes {p.shape} and {m.shape}. Take measured[partner], the true "
            f"match of each predicted cell."
        )
    if 0 in p.shape:
        raise InputError(
            f"there is nothing to compare: predicted and measured have shape {p.shape}."
        )
    check_nan("predicted", p, nan)
    check_nan("measured", m, nan)
    return p, m


def complete_cells(name: str, given: Values, nan: NaNPolicy) -> tuple[Any, IntArray]:
    """Return checked values, and the cells without a missing value."""
    values = check_values(name, given)
    check_nan(name, values, nan)
    return values, np.flatnonzero(is_complete(values, np.arange(values.shape[0])))


def is_complete(values: Any, rows: IntArray) -> BoolArray:
    """Return which of the rows have no missing value."""
    out = np.ones(rows.size, dtype=bool)
    if values.dtype.kind == "f":
        for piece in steps(rows.size, values.shape[1]):
            sums = np.asarray(values[rows[piece]].sum(axis=1, dtype=np.float64)).ravel()
            out[piece] = ~np.isnan(sums)  # no value is infinite, so that only a NaN makes one
    return out


def _float_pieces(values: Any) -> Iterator[npt.NDArray[Any]]:
    """Yield stored values, some rows at a time. Nothing for whole numbers, which are all finite."""
    if values.dtype.kind == "f":
        for rows in steps(*values.shape):
            yield np.asarray(values[rows].data if sp.issparse(values) else values[rows])


def steps(n: int, other: int) -> Iterator[slice]:
    """Yield slices of n rows of length ``other`` that hold about ``CHUNK_VALUES`` values each."""
    size = max(1, CHUNK_VALUES // max(1, other))
    for start in range(0, n, size):
        yield slice(start, start + size)


def dense(values: Any) -> Float64Array:
    """Return a dense float64 copy."""
    full = values.toarray() if sp.issparse(values) else values
    return np.array(full, dtype=np.float64, order="C")


def across_cells(
    predicted: Any, measured: Any
) -> Iterator[tuple[slice, Float64Array, Float64Array]]:
    """Yield (features, predicted, measured) by features, dense (features, cells)."""
    p, m = (values.tocsc() if sp.issparse(values) else values for values in (predicted, measured))
    for columns in steps(predicted.shape[1], predicted.shape[0]):
        yield columns, dense(p[:, columns].T), dense(m[:, columns].T)


def across_features(
    predicted: Any, measured: Any
) -> Iterator[tuple[slice, Float64Array, Float64Array]]:
    """Yield (cells, predicted, measured) for some cells at a time, dense (cells, features)."""
    for rows in steps(*predicted.shape):
        yield rows, dense(predicted[rows]), dense(measured[rows])


def label_sums(values: Any, codes: IntArray, n_labels: int) -> tuple[Float64Array, Float64Array]:
    """Return sums (n_labels, f) and counts (n_labels,) of the cells of each label. -1: no label."""
    labeled = np.flatnonzero(codes >= 0)
    one_hot = sp.csc_matrix(
        (np.ones(labeled.size), (codes[labeled], labeled)), shape=(n_labels, codes.size)
    )
    sums = np.zeros((n_labels, values.shape[1]))
    for cells in steps(*values.shape):
        sums += one_hot[:, cells] @ dense(values[cells])
    return sums, np.bincount(codes[labeled], minlength=n_labels).astype(np.float64)
