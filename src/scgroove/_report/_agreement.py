"""How far imputed values agree with measured ones, feature by feature."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from scgroove._labels import encode
from scgroove.metrics.baselines import FEWEST_LABELS

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
        Indexed by feature: ``r`` (Pearson; NaN with fewer than three shared labels). ``n``, the
        number of labels. ``measured`` and ``imputed``, the means, and ``shift``, how far the second
        lies above the first, in standard deviations of the measured cells.
    """
    names, (source, target) = encode(source_labels, target_labels)
    shared = np.intersect1d(source[source >= 0], target[target >= 0])
    means_of_source = _means(source, shared, len(names))
    means_of_target = _means(target, shared, len(names))
    cells = np.flatnonzero(np.isin(target, shared))
    parts = []
    for block in _blocks(imputed.shape[1]):
        values = _dense(measured[:, block])
        x, y = means_of_target @ values, means_of_source @ imputed.iloc[:, block].to_numpy(float)
        parts.append(_compare(x, y, values[cells]))
    return _table(parts, len(shared), imputed.columns)


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
        Indexed by feature: the same over cells, and ``label_mean_r``: the correlation of the
        measured mean of the other cells of the same label, which needs no matching of cells. NaN
        with fewer than three labels.
    """
    names, (target,) = encode(target_labels)
    counts = np.bincount(target[target >= 0], minlength=len(names))
    sums = sp.diags(counts.astype(float)) @ _means(target, np.arange(len(names)), len(names))
    code = target[columns]
    known = (code >= 0) & (counts[code] > 1)
    known &= np.unique(code[known]).size >= FEWEST_LABELS
    parts, baseline = [], []
    for block in _blocks(imputed.shape[1]):
        x = _dense(measured[:, block])
        y = imputed.iloc[:, block].to_numpy(float)
        parts.append(_compare(x[columns], y[rows], x[columns]))
        own = x[columns[known]]
        others = ((sums @ x)[code[known]] - own) / (counts[code[known]] - 1)[:, None]
        baseline.append(correlation(own, others))
    return _table(parts, len(rows), imputed.columns).assign(label_mean_r=np.concatenate(baseline))


def correlation(x: Array, y: Array) -> Array:
    """Pearson's r of each column. NaN if one is constant or there are fewer than three rows."""
    if len(x) < 3:
        return np.full(x.shape[1], np.nan)
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    scale = np.sqrt((x**2).sum(axis=0) * (y**2).sum(axis=0))
    out: Array = np.full(x.shape[1], np.nan)
    np.divide((x * y).sum(axis=0), scale, out=out, where=scale > 1e-12)
    return out


def _compare(x: Array, y: Array, cells: Array) -> Array:
    """Correlation, both means, and their difference in SD of the cells: (4, d)."""
    means = x.mean(axis=0), y.mean(axis=0)
    spread = cells.std(axis=0)
    shift: Array = np.full(len(spread), np.nan)
    np.divide(means[1] - means[0], spread, out=shift, where=spread > 1e-12)
    return np.stack([correlation(x, y), *means, shift])


def _table(parts: list[Array], n: int, features: pd.Index) -> pd.DataFrame:
    r, measured, imputed, shift = np.concatenate(parts, axis=1)
    values = {"r": r, "n": n, "measured": measured, "imputed": imputed, "shift": shift}
    return pd.DataFrame(values, index=features)


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
