"""Imputation by averages of measured cells: through a coupling, or of neighbors in a shared space."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from scgroove._labels import members
from scgroove._types import Float64Array, FloatArray, IntArray
from scgroove.aligners import Coupling, entropic_map
from scgroove.aligners.costs import Cost
from scgroove.aligners.mapping import entropic_partners
from scgroove.aligners.values import check_values, is_finite, rows_not_finite
from scgroove.errors import InputError
from scgroove.imputers._imputation import Imputation

N_NEIGHBORS: Final = 30
"""Cells averaged by default: their mean adds a thirtieth to the variance, and they still lie close together."""

VALUES_AT_A_TIME: Final = 2**24
"""Values made dense at a time (64 MB)."""


def barycentric(coupling: Coupling, y: npt.ArrayLike | sp.spmatrix | sp.sparray) -> Imputation:
    """Return the mean of the cells that a coupling matches with each source cell, ``sum_j T_ij y_j / sum_j T_ij``.

    Parameters
    ----------
    coupling
        Between source and target; never materialized.
    y
        Values of the target cells, (n_target, f), dense or scipy sparse (kept sparse).

    Returns
    -------
    Imputation
        NaN and ``extrapolated`` for cells without mass: see :func:`extrapolate`.

    Raises
    ------
    ValueError
        If ``y`` has not one row a target cell, or is not finite in a cell with mass.
    """
    missing = coupling.row_mass() == 0
    values = coupling.push(y, dtype=np.float32).astype(np.float32, copy=False)
    return Imputation(values, effective_partners(coupling), missing)


def effective_partners(coupling: Coupling) -> Float64Array:
    """Return how many target cells each source cell is matched with, ``(sum_j T_ij)**2 / sum_j T_ij**2``, (n_source,).

    1 if all mass goes to one, m if it is even over m of them; NaN without mass. The variance of a barycentric mean of cells
    of variance v is v divided by this.
    """
    out = np.full(coupling.shape[0], np.nan)
    for rows, _, plan in coupling.parts():
        mass = np.asarray(plan.sum(axis=1), dtype=np.float64).ravel()
        squares = sp.csr_matrix(plan).power(2) if sp.issparse(plan) else np.square(np.asarray(plan))
        kept = mass > 0
        out[rows[kept]] = (
            mass[kept] ** 2 / np.asarray(squares.sum(axis=1), dtype=np.float64).ravel()[kept]
        )
    return out


def extrapolate(
    found: Imputation,
    z_x: npt.ArrayLike,
    z_y: npt.ArrayLike,
    y: npt.ArrayLike | sp.spmatrix | sp.sparray,
    *,
    epsilon: float = 0.05,
    cost: Cost = "sqeuclidean",
) -> Imputation:
    """Return an imputation in which cells without a match have the entropic map of a shared representation.

    Parameters
    ----------
    found
        Of :func:`barycentric`.
    z_x, z_y
        Representations in one space, (n_source, d) and (n_target, d).
    y
        Values of the target cells, (n_target, f).
    epsilon, cost
        As for :func:`scgroove.aligners.entropic_map`.

    Raises
    ------
    ValueError
        As :func:`scgroove.aligners.entropic_map`.

    References
    ----------
    Pooladian and Niles-Weed 2021, arXiv 2109.12004, equation 9.
    """
    lost = found.extrapolated
    z_lost = np.asarray(z_x)[lost]
    mapped, absolute = entropic_map(z_lost, z_y, y, epsilon=epsilon, cost=cost)
    values, n_effective = found.values.copy(), found.n_effective.copy()
    values[lost] = mapped
    n_effective[lost] = entropic_partners(z_lost, z_y, epsilon=epsilon, cost=cost)
    return replace(
        found,
        values=values,
        n_effective=n_effective,
        evidence={**found.evidence, "epsilon_absolute": absolute},
    )


def knn(
    z_x: npt.ArrayLike,
    z_y: npt.ArrayLike,
    y: npt.ArrayLike | sp.spmatrix | sp.sparray,
    *,
    n_neighbors: int = N_NEIGHBORS,
    codes_x: IntArray | None = None,
    codes_y: IntArray | None = None,
) -> Imputation:
    """Return the mean of the nearest target cells in a shared space.

    Parameters
    ----------
    z_x, z_y
        Representations in one space, (n_source, d) and (n_target, d).
    y
        Values of the target cells, (n_target, f), dense or scipy sparse (kept sparse).
    n_neighbors
        Cells averaged; all there are, where there are fewer.
    codes_x, codes_y
        Label of each cell in one vocabulary, -1 for none, (n_source,) and (n_target,). If given, a cell whose label was
        measured in the target has its neighbors among the cells of that label; the others are ``extrapolated``.

    Returns
    -------
    Imputation

    Raises
    ------
    ValueError
        If shapes do not fit, values are not finite, a side has no cells, or ``n_neighbors`` is below 1.
    """
    x, other = np.asarray(z_x), np.asarray(z_y)
    held = _checked(x, other, y, n_neighbors)
    values = np.empty((len(x), held.shape[1]), dtype=np.float32)
    n_effective = np.zeros(len(x))
    extrapolated = np.zeros(len(x), dtype=np.bool_)
    for cells, candidates, known in _groups(len(x), len(other), codes_x, codes_y):
        k = min(n_neighbors, candidates.size)
        n_effective[cells], extrapolated[cells] = k, not known
        _average(values, cells, x[cells], other[candidates], held[candidates], k)
    return Imputation(values, n_effective, extrapolated, evidence={"n_neighbors": n_neighbors})


def _groups(
    n_x: int, n_y: int, codes_x: IntArray | None, codes_y: IntArray | None
) -> Iterator[tuple[IntArray, IntArray, bool]]:
    """Yield source cells, the target cells among which their neighbors are, and whether those have their label."""
    every = np.arange(n_y)
    if codes_x is None or codes_y is None:
        yield np.arange(n_x), every, True
        return
    measured = np.isin(codes_x, codes_y[codes_y >= 0])
    n_labels = int(max(codes_x.max(initial=-1), codes_y.max(initial=-1))) + 1
    pairs = zip(members(codes_x, n_labels), members(codes_y, n_labels), strict=True)
    yield from ((mine, theirs, True) for mine, theirs in pairs if mine.size and theirs.size)
    if not measured.all():
        yield np.flatnonzero(~measured), every, False


def _average(
    out: npt.NDArray[np.float32],
    cells: IntArray,
    x: FloatArray,
    candidates: FloatArray,
    y: Any,
    k: int,
) -> None:
    """Write the means of the k nearest candidates of some cells."""
    from sklearn.neighbors import NearestNeighbors

    search = NearestNeighbors(n_neighbors=k).fit(candidates)
    step = max(1, VALUES_AT_A_TIME // max(k, y.shape[1]))
    for start in range(0, cells.size, step):
        nearest = search.kneighbors(x[start : start + step], return_distance=False)
        n = len(nearest)
        mean = sp.csr_matrix(
            (
                np.full(n * k, 1.0 / k, dtype=np.float32),
                nearest.ravel(),
                np.arange(0, n * k + 1, k),
            ),
            shape=(n, len(candidates)),
        )
        found = mean @ y
        out[cells[start : start + step]] = found.toarray() if sp.issparse(found) else found


def _checked(x: FloatArray, y: FloatArray, values: Any, n_neighbors: int) -> Any:
    """Return the values as a matrix of finite numbers; refuse what does not fit."""
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or not (len(x) and len(y)):
        raise InputError(
            f"neighbors need cells of both modalities in one space: found representations of shapes {x.shape} and {y.shape}."
        )
    held = check_values("y", values, len(y), "target")
    if not is_finite(held):
        bad = rows_not_finite(held)
        raise InputError(
            f"y holds NaN or infinite values in {int(bad.sum())} of {bad.size} target cells, first in cell "
            f"{int(bad.argmax())}. Leave those cells or features out, or fill the values in."
        )
    return held
