"""How far imputed values agree with measured ones, feature by feature."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from scgroove._labels import encode

if TYPE_CHECKING:
    from numpy.typing import NDArray

Array = np.ndarray[Any, Any]
_COLUMN_BLOCK = 512


def label_agreement(
    imputed: pd.DataFrame, measured: Any, source_labels: Any, target_labels: Any
) -> pd.DataFrame:
    """Correlate label means: imputed for the source cells, measured in the target cells.

    Parameters
    ----------
    imputed
        (n_source, d), features as columns.
    measured
        (n_target, d), dense or sparse.
    source_labels, target_labels
        Labels of the cells, None where missing.

    Returns
    -------
    DataFrame
        Indexed by feature: ``r`` (Pearson; NaN with fewer than three shared labels) and ``n``, the number of
        labels.
    """
    names, (source, target) = encode(source_labels, target_labels)
    shared = np.intersect1d(source[source >= 0], target[target >= 0])
    means_of_source = _means(source, shared, len(names))
    means_of_target = _means(target, shared, len(names))
    parts = [
        correlation(
            means_of_target @ _dense(measured[:, block]),
            means_of_source @ imputed.iloc[:, block].to_numpy(float),
        )
        for block in _blocks(imputed.shape[1])
    ]
    return pd.DataFrame({"r": np.concatenate(parts), "n": len(shared)}, index=imputed.columns)


def cell_agreement(
    imputed: pd.DataFrame,
    measured: Any,
    rows: NDArray[np.intp],
    columns: NDArray[np.intp],
    target_labels: Any,
) -> pd.DataFrame:
    """Correlate cells whose truth is known, and do the same for the mean of the cell's label.

    Parameters
    ----------
    imputed, measured
        As for :func:`label_agreement`.
    rows, columns
        Row ``rows[k]`` of the source and row ``columns[k]`` of the target are the same cell.
    target_labels
        Labels of the target cells, None where missing.

    Returns
    -------
    DataFrame
        Indexed by feature: ``r`` and ``n`` as above, and ``label_mean_r``: the correlation of the measured
        mean of the cell's label, which needs no matching of cells.
    """
    names, (target,) = encode(target_labels)
    groups = _means(target, np.arange(len(names)), len(names))
    known = target[columns] >= 0
    r, baseline = [], []
    for block in _blocks(imputed.shape[1]):
        x = _dense(measured[:, block])
        y = imputed.iloc[:, block].to_numpy(float)
        r.append(correlation(x[columns], y[rows]))
        baseline.append(correlation(x[columns[known]], (groups @ x)[target[columns[known]]]))
    values = {"r": np.concatenate(r), "n": len(rows), "label_mean_r": np.concatenate(baseline)}
    return pd.DataFrame(values, index=imputed.columns)


def correlation(x: Array, y: Array) -> Array:
    """Pearson's r of each column; NaN where one of them is constant or there are fewer than three rows."""
    if len(x) < 3:
        return np.full(x.shape[1], np.nan)
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    scale = np.sqrt((x**2).sum(axis=0) * (y**2).sum(axis=0))
    out: Array = np.full(x.shape[1], np.nan)
    np.divide((x * y).sum(axis=0), scale, out=out, where=scale > 1e-12)
    return out


def _means(codes: Array, kept: Array, n_labels: int) -> sp.csr_matrix:
    """Matrix that takes the mean over the cells of each kept label."""
    counts = np.bincount(codes[codes >= 0], minlength=n_labels)
    cells = np.flatnonzero(codes >= 0)
    weights = (1.0 / counts[codes[cells]], (codes[cells], cells))
    return sp.csr_matrix(weights, shape=(n_labels, len(codes)))[kept]


def _dense(x: Any) -> Array:
    return np.asarray(x.toarray() if sp.issparse(x) else x, dtype=float)


def _blocks(n: int) -> list[slice]:
    return [slice(start, min(start + _COLUMN_BLOCK, n)) for start in range(0, n, _COLUMN_BLOCK)]
