"""What imputed values are to be read against: predictions that know the label, and nothing of the cell."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from scgroove._labels import Label, encode, find_label, members
from scgroove._types import Float64Array, IntArray, Labels
from scgroove.errors import InputError
from scgroove.metrics.values import Values, check_nan, check_values, label_sums

FEWEST_LABELS: Final = 3
"""With fewer labels, correlations with label means are certain or nearly so: the mean of the other cells of one label falls as its cell rises."""


def label_mean(
    measured: Values,
    labels_measured: Labels,
    labels: Labels,
    *,
    exclude: npt.ArrayLike | None = None,
) -> Float64Array:
    """Return, for each cell, the mean of the measured cells of its label.

    Parameters
    ----------
    measured
        Measured values, (n_measured, f), dense or sparse.
    labels_measured
        Label of each measured cell; None and NaN mean unlabeled.
    labels
        Label of each cell to predict, (n,).
    exclude
        (n,) measured row to leave out of the mean of each cell, -1 for none. Give the true partner where the cells to
        predict were themselves measured: a mean that holds the very value it predicts is better than it should be.

    Returns
    -------
    ndarray
        float64 (n, f); NaN for cells without a label, or of a label of which no (other) cell was measured.

    Raises
    ------
    ValueError
        If shapes or labels do not fit, or a value is missing.

    References
    ----------
    User guide, "Evaluation".

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
    sums, counts = label_sums(
        values, codes, int(max(codes.max(initial=0), wanted.max(initial=0))) + 1
    )
    if exclude is None:
        means = np.full((len(sums) + 1, sums.shape[1]), np.nan)  # the last row is that of code -1
        means[:-1][counts > 0] = sums[counts > 0] / counts[counts > 0, None]
        return means[wanted]
    own = _check_excluded(exclude, wanted.size, codes.size)
    inside = (own >= 0) & (codes[own] == wanted) & (wanted >= 0)
    total, n = sums[wanted], counts[wanted] - inside
    taken = values[own[inside]]
    total[inside] -= taken.toarray() if sp.issparse(taken) else taken
    known = (n > 0) & (wanted >= 0)
    total[~known] = np.nan
    return np.asarray(total / np.where(known, n, 1.0)[:, None])


def control_mean(
    measured: Values, labels_measured: Labels, control: Label, n_cells: int
) -> Float64Array:
    """Return the mean of the measured control cells for every cell: "nothing has an effect".

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
        If no measured cell has the label ``control``, shapes or labels do not fit, or a value is missing.

    Examples
    --------
    >>> control_mean([[1.0], [3.0], [9.0]], ["ctrl", "ctrl", "b"], "ctrl", 2)
    array([[2.],
           [2.]])
    """
    values = _complete("measured", measured)
    names, (codes,) = encode(labels_measured)
    _check_length("labels_measured", codes, values.shape[0])
    code = find_label(control, names)
    sums, counts = label_sums(values, np.where(codes == code, 0, -1).astype(np.intp), 1)
    return np.broadcast_to(sums[0] / counts[0], (n_cells, sums.shape[1]))


def shuffled_within_label(
    measured: Values, labels_measured: Labels, labels: Labels, *, seed: int = 0
) -> npt.NDArray[Any]:
    """Return, for each cell, the values of a random measured cell of its label: right in distribution, blind to the cell.

    Parameters
    ----------
    measured, labels_measured, labels
        As in :func:`label_mean`.
    seed
        The same seed gives the same cells.

    Returns
    -------
    ndarray
        (n, f), of the type of ``measured`` or float64; NaN for cells without a label, or of a label of which no cell was
        measured. A measured cell is taken again only when all of its label have been.

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
    out = np.full(
        (wanted.size, values.shape[1]),
        np.nan,
        dtype=values.dtype if values.dtype.kind == "f" else np.float64,
    )
    for mine, theirs in zip(members(wanted, n_labels), members(codes, n_labels), strict=True):
        if mine.size and theirs.size:
            rounds = [rng.permutation(theirs) for _ in range(-(-mine.size // theirs.size))]
            taken = values[np.concatenate(rounds)[: mine.size]]
            out[mine] = taken.toarray() if sp.issparse(taken) else taken
    return out


def _complete(name: str, given: Values) -> Any:
    values = check_values(name, given)
    check_nan(name, values, "raise")
    return values


def _checked(
    measured: Values, labels_measured: Labels, labels: Labels
) -> tuple[Any, IntArray, IntArray]:
    values = _complete("measured", measured)
    _, (codes, wanted) = encode(labels_measured, labels)
    _check_length("labels_measured", codes, values.shape[0])
    return values, codes, wanted


def _check_length(name: str, codes: IntArray, n: int) -> None:
    if codes.size != n:
        raise InputError(f"{name} must hold one label a cell: expected {n}, found {codes.size}.")


def _check_excluded(exclude: npt.ArrayLike, n: int, n_measured: int) -> IntArray:
    own = np.asarray(exclude)
    if own.shape != (n,) or own.dtype.kind not in "iu" or own.min() < -1 or own.max() >= n_measured:
        raise InputError(
            f"exclude must hold, for each cell to predict, a row of measured (0 to {n_measured - 1}) or -1: expected "
            f"{n} integers; found {own.dtype} of shape {own.shape}."
        )
    return own.astype(np.intp)
