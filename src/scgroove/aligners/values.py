"""Checks of representations, and of values of cells that couplings and maps average."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from scgroove._numbers import check_size
from scgroove._types import BoolArray, Float64Array
from scgroove.errors import InputError

NUMBERS: Final = "buif"
"""Kinds of NumPy types that hold real numbers."""


def check_representation(name: str, given: npt.ArrayLike) -> Float64Array:
    """Return a representation as a float64 matrix. Refuse NaN, infinite, huge or tiny values."""
    try:
        array = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{name} must be a dense matrix of numbers (n cells, d dimensions); found "
            f"{type(given).__name__}: {error}."
        ) from None
    if array.ndim != 2 or array.shape[1] == 0:
        raise InputError(
            f"{name} must be a matrix (n cells, d dimensions); found shape {array.shape}."
        )
    bad = ~np.isfinite(array).all(axis=1)
    if bad.any():
        raise InputError(
            f"{name} holds NaN or infinite values in {int(bad.sum())} of {bad.size} cells, first "
            f"in cell {int(bad.argmax())}. Leave those cells out, or compute the representation "
            f"again."
        )
    check_size(name, array)
    return array


def check_values(name: str, given: Any, n: int, side: str) -> Any:
    """Return values as a matrix of real numbers (n, d), dense or CSR. NaN is not looked for."""
    values = given.tocsr() if sp.issparse(given) else np.asarray(given)
    if values.ndim != 2 or values.shape[0] != n:
        column = ""
        if values.shape == (n,):
            column = " One number a cell is a matrix too: values[:, None]."
        raise InputError(
            f"{name} must have one row a {side} cell: expected ({n}, d), found {values.shape}."
            f"{column}"
        )
    return as_numbers(name, values)


def as_numbers(name: str, values: Any) -> Any:
    """Return an array or sparse matrix of real numbers. Objects become float64."""
    if values.dtype.kind in NUMBERS:
        return values
    if values.dtype.kind == "O":
        try:
            return values.astype(np.float64)
        except (TypeError, ValueError):
            pass
    raise InputError(
        f"{name} must hold real numbers; found values of type {values.dtype}. Leave out what is no "
        f"number, or code it as numbers first: a column for each label, such as "
        f"pandas.get_dummies(labels)."
    )


def is_finite(values: Any) -> bool:
    """Whether all values are finite. One sum where they are."""
    stored = values.data if sp.issparse(values) else values
    if stored.dtype.kind != "f":
        return True
    with np.errstate(over="ignore", invalid="ignore"):
        total = stored.sum()
    return bool(np.isfinite(total) or np.isfinite(stored).all())


def rows_not_finite(values: Any) -> BoolArray:
    """Rows that hold NaN or infinite values, (n,)."""
    if not sp.issparse(values):
        return np.asarray(~np.isfinite(values).all(axis=1))
    bad = np.zeros(values.shape[0], dtype=bool)
    bad[np.repeat(np.arange(bad.size), np.diff(values.indptr))[~np.isfinite(values.data)]] = True
    return bad


def without_rows(values: Any, rows: BoolArray) -> Any:
    """Values with zeros in these rows, (n,)."""
    out = values.copy()
    if sp.issparse(out):
        out.data[np.repeat(rows, np.diff(out.indptr))] = 0
    else:
        out[rows] = 0
    return out
