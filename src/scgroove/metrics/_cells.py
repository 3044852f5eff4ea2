"""Cells of one representation and their labels: checked, and taken label by label."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from scgroove._labels import encode, members
from scgroove._numbers import check_size
from scgroove._types import Float64Array, IntArray, Labels
from scgroove.errors import InputError


def check_representation(z: npt.ArrayLike) -> Float64Array:
    """Return a representation as a float64 matrix.

    Raises
    ------
    ValueError
        If it is no matrix, has no cells or no dimensions, or holds NaN or infinite values.
    """
    array = np.asarray(z, dtype=np.float64)
    if array.ndim != 2 or 0 in array.shape:
        raise InputError(
            f"z must be a matrix (n, d) of one cell or more in one dimension or more; found shape {array.shape}."
        )
    bad = int((~np.isfinite(array).all(axis=1)).sum())
    if bad:
        raise InputError(f"z holds NaN or infinite values in {bad} of {len(array)} rows.")
    check_size("z", array)
    return array


def codes_of(labels: Labels, n: int, name: str = "labels") -> tuple[list[str], IntArray]:
    """Return the names of labels, sorted, and the code of each of n cells, -1 where it has none.

    Raises
    ------
    ValueError
        If there is not one label a cell.
    """
    names, (codes,) = encode(labels)
    if codes.size != n:
        raise InputError(f"{name} must hold one label a cell: expected {n}, found {codes.size}.")
    return names, codes


def cells_by_label(
    z: npt.ArrayLike, labels: Labels
) -> tuple[Float64Array, list[str], list[IntArray]]:
    """Return a checked representation, the names of the labels, and the rows of the cells of each."""
    array = check_representation(z)
    names, codes = codes_of(labels, len(array))
    return array, names, members(codes, len(names))
