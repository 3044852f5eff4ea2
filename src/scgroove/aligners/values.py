"""Values of cells, (cells, d): what couplings and maps average. Checked before anything is computed from them."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import scipy.sparse as sp

from scgroove._types import BoolArray
from scgroove.errors import InputError

NUMBERS: Final = "buif"
"""Kinds of NumPy types that hold real numbers."""


def check_values(name: str, given: Any, n: int, side: str) -> Any:
    """Return values as a matrix of real numbers (n, d), dense or CSR; NaN is not looked for.

    Raises
    ------
    ValueError
        If it is no such matrix; ``name`` says what it is, ``side`` whose cells the rows are.
    """
    values = given.tocsr() if sp.issparse(given) else np.asarray(given)
    if values.ndim != 2 or values.shape[0] != n:
        column = (
            " One number a cell is a matrix too: values[:, None]." if values.shape == (n,) else ""
        )
        raise InputError(
            f"{name} must have one row a {side} cell: expected ({n}, d), found {values.shape}.{column}"
        )
    return as_numbers(name, values)


def as_numbers(name: str, values: Any) -> Any:
    """Return an array or sparse matrix of real numbers: objects become float64.

    Raises
    ------
    ValueError
        If it holds something else, such as strings.
    """
    if values.dtype.kind in NUMBERS:
        return values
    if values.dtype.kind == "O":
        try:
            return values.astype(np.float64)
        except (TypeError, ValueError):
            pass
    raise InputError(
        f"{name} must hold real numbers; found values of type {values.dtype}. Leave out what is no number, or code it as "
        f"numbers first: a column for each label, such as pandas.get_dummies(labels)."
    )


def is_finite(values: Any) -> bool:
    """Whether all values are finite; no more than a sum where they are."""
    stored = values.data if sp.issparse(values) else values
    if stored.dtype.kind != "f":
        return True
    with np.errstate(over="ignore", invalid="ignore"):
        total = stored.sum()
    return bool(np.isfinite(total) or np.isfinite(stored).all())


def rows_not_finite(values: Any) -> BoolArray:
    """Return which rows hold NaN or infinite values, (n,)."""
    if not sp.issparse(values):
        return np.asarray(~np.isfinite(values).all(axis=1))
    bad = np.zeros(values.shape[0], dtype=bool)
    bad[np.repeat(np.arange(bad.size), np.diff(values.indptr))[~np.isfinite(values.data)]] = True
    return bad


def without_rows(values: Any, rows: BoolArray) -> Any:
    """Return the values with zeros in these rows, (n,)."""
    out = values.copy()
    if sp.issparse(out):
        out.data[np.repeat(rows, np.diff(out.indptr))] = 0
    else:
        out[rows] = 0
    return out
