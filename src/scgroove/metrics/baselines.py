"""Baselines of imputed values: predictions that know the label and nothing of the cell."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from scgroove._labels import Label, encode, find_label, members
from scgroove._types import Float64Array, IntArray, Labels
from scgroove.errors import InputError
from scgroove.metrics._candidates import check_length, codes_of
from scgroove.metrics.values import Values, check_nan, check_values, label_sums

FEWEST_LABELS: Final = 3
"""With fewer, correlations with label means are nearly certain: the mean of the other cells of one
label falls as its cell rises."""


def label_mean(
    measured: Values,
    labels_measured: Labels,
    labels: Labels,
    *,
    exclude: npt.ArrayLike | None = None,
) -> Float64Array:
    """Mean of the measured cells of the label of each cell.

    Parameters
    ----------
    measured
        Measured values, (n_measured, f), dense or sparse.
    labels_measured
        Label of each measured cell. None and NaN mean unlabeled.
    labels
        Label of each cell to predict, (n,).
    exclude
        (n,) measured row to leave out of the mean of each cell, -1 for none. Give the true partner
        if the cells to predict were themselves measured: a mean that holds the very value it
        predicts is better than it should be.

    Returns
    -------
    ndarray
        float64 (n, f). NaN for cells without a label or without another measured cell of it.

    Raises
    ------
    ValueError
        If shapes or labels do not fit, or a value is missing.

    Examples
    --------
    >>> label_mean([[1.0], [3.0], [9.0]], ["a", "a", "b"], ["a", "b", "a"])
    array([[2.],
           [9.],
           [2.]])
    >>> label_mean([[1.0], [3.0]], ["a", "a"], ["a", "a"], exclude=[0, 1])
    array([[3.],
           [1.]])
    """
    values, codes, wanted = _checked(measured, labels_measured, labels)
    n_labels = int(max(codes.max(initial=0), wanted.max(initial=0))) + 1
    sums, counts = label_sums(values, codes, n_labels)
    if exclude is None:
        means = np.full((len(sums) + 1, sums.shape[1]), np.nan)  # the last row is that of code -1
        means[:-1][counts > 0] = sums[counts > 0] / counts[counts > 0, None]
        return means[wanted]
    own = np.asarray(exclude)
    fits = own.shape == wanted.shape and own.dtype.kind in "iu"
    if not fits or own.min() < -1 or own.max() >= codes.size:
        raise InputError(
            f"exclude must hold, for each cell to predict, a row of measured (0 to "
            f"{codes.size - 1}) or -1: expected {wanted.size} integers; found {own.dtype} of shape "
            f"{own.shape}."
        )
    inside = (own >= 0) & (codes[own] == wanted) & (wanted >= 0)
    total, n = sums[wanted], counts[wanted] - inside
    total[inside] -= _dense(values[own[inside]])
    known = (n > 0) & (wanted >= 0)
    total[~known] = np.nan
    return np.asarray(total / np.where(known, n, 1.0)[:, None])


def control_mean(
    measured: Values, labels_measured: Labels, control: Label, n_cells: int
) -> Float64Array:
    """Mean of the measured control cells for every cell: "nothing has an effect".

    Parameters
    ----------
    measured, labels_measured
        As in :func:`label_mean`.
    control
        Name of the control label.
    n_cells
        Number of cells to predict.

    Returns
    -------
    ndarray
        float64 (n_cells, f), a view of one row that cannot be written to.

    Raises
    ------
    ValueError
        If no measured cell has the label ``control``, shapes or labels do not fit, or a value is
        missing.

    Examples
    --------
    >>> control_mean([[1.0], [3.0], [9.0]], ["ctrl", "ctrl", "b"], "ctrl", 2)
    array([[2.],
           [2.]])
    """
    values = check_values("measured", measured)
    check_nan("measured", values, "raise")
    names, codes = codes_of(labels_measured, values.shape[0], "labels_measured")
    is_control = codes == find_label(control, names)
    sums, counts = label_sums(values, np.where(is_control, 0, -1).astype(np.intp), 1)
    return np.broadcast_to(sums[0] / counts[0], (n_cells, sums.shape[1]))


def shuffled_within_label(
    measured: Values, labels_measured: Labels, labels: Labels, *, seed: int = 0
) -> npt.NDArray[Any]:
    """Values of a random measured cell of the label: right in distribution, blind to the cell.

    Parameters
    ----------
    measured, labels_measured, labels
        As in :func:`label_mean`.
    seed
        The same seed gives the same cells.

    Returns
    -------
    ndarray
        (n, f), of the type of ``measured`` or float64. NaN for cells without a label or without a
        measured cell of it. A measured cell is taken again only when all of its label have been.

    Raises
    ------
    ValueError
        If shapes or labels do not fit, or a value is missing.

    Examples
    --------
    >>> shuffled_within_label([[1.0], [3.0], [9.0]], ["a", "a", "b"], ["b", "b"])
    array([[9.],
           [9.]])
    """
    values, codes, wanted = _checked(measured, labels_measured, labels)
    rng = np.random.default_rng(seed)
    n_labels = int(wanted.max(initial=-1)) + 1
    dtype = values.dtype if values.dtype.kind == "f" else np.float64
    out = np.full((wanted.size, values.shape[1]), np.nan, dtype=dtype)
    for own, other in zip(members(wanted, n_labels), members(codes, n_labels), strict=True):
        if own.size and other.size:
            rounds = [rng.permutation(other) for _ in range(-(-own.size // other.size))]
            out[own] = _dense(values[np.concatenate(rounds)[: own.size]])
    return out


def _checked(
    measured: Values, labels_measured: Labels, labels: Labels
) -> tuple[Any, IntArray, IntArray]:
    values = check_values("measured", measured)
    check_nan("measured", values, "raise")
    _, (codes, wanted) = encode(labels_measured, labels)
    check_length("labels_measured", codes, values.shape[0])
    return values, codes, wanted


def _dense(values: Any) -> npt.NDArray[Any]:
    return np.asarray(values.toarray() if sp.issparse(values) else values)
