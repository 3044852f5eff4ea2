"""Matrices of values in the form that NumPy, SciPy and torch compute with."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from scgroove.errors import InputError

LARGEST: Final = 1e15
SMALLEST: Final = 1e-15
"""Sizes of values. Models are trained in float32, which must hold squares of several such."""

COORDINATES: Final = (1e-37, 1e37)
"""Sizes of coordinates that costs can be computed from: float64 holds products of four of them."""

CONSTANT: Final = 2e-7
"""Standard deviation relative to the mean of a constant feature: the rounding of float32."""


def canonical(values: Any) -> Any:
    """Return a matrix in native byte order, of a type that torch knows, without double entries.

    Parameters
    ----------
    values
        Array or scipy sparse matrix in memory.

    Returns
    -------
    ndarray or sparse matrix
        The matrix itself if possible. Half precision becomes float32, long doubles float64.
    """
    if not sp.issparse(values):
        array = np.asarray(values)
        return array.astype(_common(array.dtype), copy=False)
    if values.format not in ("csr", "csc"):
        return values
    parts = (values.data, values.indices, values.indptr)
    wanted = [part.astype(_common(part.dtype), copy=False) for part in parts]
    if any(part is not other for part, other in zip(parts, wanted, strict=True)):
        values = type(values)(tuple(wanted), shape=values.shape)
    if not values.has_canonical_format:
        values = values.copy()
        values.sum_duplicates()
    return values


def _common(dtype: npt.DTypeLike) -> np.dtype[Any]:
    native = np.dtype(dtype).newbyteorder("=")
    if native == np.float16:
        return np.dtype(np.float32)
    return np.dtype(np.float64) if native.kind == "f" and native.itemsize > 8 else native


def is_constant(mean: Any, scale: Any) -> Any:
    """Return the features that vary by no more than rounding, from means and deviations, (d,)."""
    return scale <= CONSTANT * abs(mean)


def check_size(name: str, array: Any, cells: Any = None) -> None:
    """Refuse finite coordinates (n, d) that are too large or all too small to compute costs from.

    Raises
    ------
    ValueError
        That names the cell, by its name in ``cells`` (n,) or its position.
    """
    sizes = np.maximum(
        array.max(axis=1, initial=0), -array.min(axis=1, initial=0).astype(np.float64)
    )
    largest = float(sizes.max(initial=0.0))
    if largest == 0 or COORDINATES[0] <= largest <= COORDINATES[1]:
        return
    place = int(sizes.argmax())
    cell = repr(cells[place]) if cells is not None else place
    remedy = "Divide" if largest > 1 else "Multiply"
    raise InputError(
        f"{name} holds values of up to {largest:.1e} (cell {cell}), and costs between cells can be "
        f"computed from sizes of {COORDINATES[0]:g} to {COORDINATES[1]:g}. {remedy} all values of "
        f"{name} by a constant, or leave that cell out if it is faulty."
    )
