"""Imputation by averages of measured cells: coupled ones, or neighbors in a shared space."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from sklearn.neighbors import NearestNeighbors

from scgroove._labels import members
from scgroove._types import Float64Array, IntArray
from scgroove.aligners import Coupling, entropic_map
from scgroove.aligners.costs import Cost
from scgroove.aligners.mapping import entropic_partners
from scgroove.aligners.values import check_values, is_finite, rows_not_finite
from scgroove.errors import InputError
from scgroove.imputers._imputation import Imputation

N_NEIGHBORS: Final = 30
"""Cells averaged by default: their mean adds a thirtieth to the variance, and they are near."""

VALUES_AT_A_TIME: Final = 2**24
"""Values made dense at a time (64 MB)."""


def barycentric(coupling: Coupling, y: npt.ArrayLike | sp.spmatrix | sp.sparray) -> Imputation:
    """Return the mean of the cells coupled with each source cell, ``sum_j T_ij y_j / sum_j T_ij``.

    Parameters
    ----------
    coupling
        Between source and target. It is never made dense.
    y
        Values of the target cells, (n_target, f), dense or scipy sparse.

    Returns
    -------
    Imputation
        NaN and ``extrapolated`` for cells without mass.

    Raises
    ------
    ValueError
        ``y`` has not one row a target cell, or is not finite in a cell with mass.
    """
    values = coupling.push(y, dtype=np.float32).astype(np.float32, copy=False)
    return Imputation(values, effective_partners(coupling), coupling.row_mass() == 0)


def effective_partners(coupling: Coupling) -> Float64Array:
    """Return ``(sum_j T_ij)**2 / sum_j T_ij**2`` for each source cell, (n_source,).

    It is m if the mass is even over m target cells, and NaN without mass. The variance of a
    barycentric mean of cells of variance v is v divided by it.
    """
    out = np.full(coupling.shape[0], np.nan)
    for rows, _, plan in coupling.parts():
        mass = np.asarray(plan.sum(axis=1), dtype=np.float64).ravel()
        squared = sp.csr_matrix(plan).power(2) if sp.issparse(plan) else np.square(np.asarray(plan))
        squares = np.asarray(squared.sum(axis=1), dtype=np.float64).ravel()
        has_mass = mass > 0
        out[rows[has_mass]] = mass[has_mass] ** 2 / squares[has_mass]
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
    """Return an imputation with the entropic map for cells that have no match.

    Parameters
    ----------
    found
        Result of :func:`barycentric`.
    z_x, z_y
        Representations in one space, (n_source, d) and (n_target, d).
    y
        Values of the target cells, (n_target, f).
    epsilon, cost
        See :func:`scgroove.aligners.entropic_map`.

    References
    ----------
    Pooladian and Niles-Weed 2021, arXiv 2109.12004, equation 9.
    """
    lost = found.extrapolated
    z_lost = np.asarray(z_x)[lost]
    values, n_effective = found.values.copy(), found.n_effective.copy()
    values[lost], absolute = entropic_map(z_lost, z_y, y, epsilon=epsilon, cost=cost)
    n_effective[lost] = entropic_partners(z_lost, z_y, epsilon=epsilon, cost=cost)
    evidence = {**found.evidence, "epsilon_absolute": absolute}
    return replace(found, values=values, n_effective=n_effective, evidence=evidence)


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
        Values of the target cells, (n_target, f), dense or scipy sparse.
    n_neighbors
        Cells averaged, at most.
    codes_x, codes_y
        Label of each cell in one vocabulary, -1 for none, (n_source,) and (n_target,). If given, a
        cell whose label was measured in the target has its neighbors among the cells of that label.
        Others are ``extrapolated``.

    Raises
    ------
    ValueError
        Shapes do not fit, values are not finite, or a side has no cells.
    """
    x, other = np.asarray(z_x), np.asarray(z_y)
    if x.ndim != 2 or other.ndim != 2 or x.shape[1] != other.shape[1] or 0 in (len(x), len(other)):
        raise InputError(
            f"neighbors need cells of both modalities in one space: found representations of "
            f"shapes {x.shape} and {other.shape}."
        )
    checked: Any = check_values("y", y, len(other), "target")
    if not is_finite(checked):
        bad = rows_not_finite(checked)
        raise InputError(
            f"y holds NaN or infinite values in {int(bad.sum())} of {bad.size} target cells, first "
            f"in cell {int(bad.argmax())}. Leave those cells or features out, or fill them in."
        )
    values = np.empty((len(x), checked.shape[1]), dtype=np.float32)
    n_effective, extrapolated = np.zeros(len(x)), np.zeros(len(x), dtype=np.bool_)
    for cells, candidates, is_measured in _groups(len(x), len(other), codes_x, codes_y):
        k = min(n_neighbors, candidates.size)
        n_effective[cells], extrapolated[cells] = k, not is_measured
        search = NearestNeighbors(n_neighbors=k).fit(other[candidates])
        own = checked[candidates]
        step = max(1, VALUES_AT_A_TIME // max(k, own.shape[1]))
        for start in range(0, cells.size, step):
            rows = cells[start : start + step]
            nearest = search.kneighbors(x[rows], return_distance=False)
            weights = np.full(nearest.size, 1.0 / k, dtype=np.float32)
            pointers = np.arange(0, nearest.size + 1, k)
            shape = (rows.size, candidates.size)
            mean = sp.csr_matrix((weights, nearest.ravel(), pointers), shape=shape) @ own
            values[rows] = mean.toarray() if sp.issparse(mean) else mean
    return Imputation(values, n_effective, extrapolated, evidence={"n_neighbors": n_neighbors})


def _groups(
    n_x: int, n_y: int, codes_x: IntArray | None, codes_y: IntArray | None
) -> Iterator[tuple[IntArray, IntArray, bool]]:
    """Yield source cells, their candidates in the target, and whether those have their label."""
    every = np.arange(n_y)
    if codes_x is None or codes_y is None:
        yield np.arange(n_x), every, True
        return
    n_labels = int(max(codes_x.max(initial=-1), codes_y.max(initial=-1))) + 1
    for mine, theirs in zip(members(codes_x, n_labels), members(codes_y, n_labels), strict=True):
        if mine.size and theirs.size:
            yield mine, theirs, True
    unmeasured = np.flatnonzero(~np.isin(codes_x, codes_y[codes_y >= 0]))
    if unmeasured.size:
        yield unmeasured, every, False
