"""Label means, folds, principal components and affine maps of cells."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final, Self, TypeAlias

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from scgroove._types import BoolArray, Float64Array, FloatArray, IntArray
from scgroove.data.features import Features
from scgroove.data.screen import Screen
from scgroove.errors import InputError

if TYPE_CHECKING:
    from anndata import AnnData

EXACT: Final = 200
"""Features or cells up to which principal components are exact, not by random projection."""

CELLS_AT_A_TIME: Final = 4096

AffineMap: TypeAlias = tuple[Float64Array, Float64Array, Float64Array]
"""``(x - mean) weights + offset``: (d,), (d, k), (k,)."""


def label_means(x: FloatArray, codes: IntArray, n_labels: int) -> tuple[Float64Array, IntArray]:
    """Return the mean of each label, and how many cells it has.

    Parameters
    ----------
    x
        (n, d).
    codes
        (n,) label of each cell, -1 for none.
    n_labels
        Length of the vocabulary.

    Returns
    -------
    means
        float64 (n_labels, d), zero where a label has no cell.
    counts
        (n_labels,) cells.
    """
    known = np.flatnonzero(codes >= 0)
    counts = np.bincount(codes[known], minlength=n_labels)
    sums = sp.csr_array((np.ones(known.size), (codes[known], known)), shape=(n_labels, len(x))) @ x
    means: Float64Array = sums / np.maximum(counts, 1)[:, None]
    return means, counts.astype(np.intp)


def check_label_counts(screen: Screen, learner: str) -> dict[str, BoolArray]:
    """Return the shared labels that each modality has, (n_labels,) each.

    Raises
    ------
    ValueError
        A modality has fewer than two.
    """
    present = {
        m: np.bincount(c[c >= 0], minlength=screen.n_labels) > 0 for m, c in screen.codes.items()
    }
    for m, there in present.items():
        if there.sum() < 2:
            raise InputError(
                f"learner {learner!r} tells labels apart, so each modality must have two shared "
                f"labels or more; {m!r} has "
                f"{[screen.vocabulary[i] for i in np.flatnonzero(there)]}. Labels are compared by "
                f"name between modalities: scgroove.data.label_table(mdata) shows them."
            )
    return present


def stratified_folds(codes: IntArray, n_folds: int, rng: np.random.Generator) -> IntArray:
    """Return the fold of each cell: the cells of a label are dealt to the folds in random order.

    A label of two cells or more is in the training set of every fold. Unlike
    :class:`sklearn.model_selection.StratifiedKFold`, labels may have fewer cells than folds.

    Parameters
    ----------
    codes
        (n,) labels. Cells of code -1 are dealt like a label.
    n_folds
        Two or more.
    rng
        Random state.

    Returns
    -------
    ndarray
        (n,) numbers from 0 to ``n_folds - 1``.
    """
    shuffled = rng.permutation(codes.size)
    order = shuffled[np.argsort(codes[shuffled], kind="stable")]
    folds = np.empty(codes.size, dtype=np.intp)
    folds[order] = np.arange(codes.size) % n_folds
    return folds


def hold_out(codes: IntArray, fraction: float, rng: np.random.Generator) -> BoolArray:
    """Return held-out cells, (n,): this share of each label, at least one cell and never all.

    Cells of code -1 are not held out.
    """
    out = np.zeros(codes.size, dtype=np.bool_)
    shuffled = rng.permutation(codes.size)
    for code in np.unique(codes[codes >= 0]):
        rows = shuffled[codes[shuffled] == code]
        out[rows[: min(len(rows) - 1, max(1, round(fraction * len(rows))))]] = True
    return out


def principal_components(x: FloatArray, n_components: int, seed: int) -> PCA:
    """Return fitted principal components, at most ``n_components``."""
    n = max(1, min(n_components, x.shape[0] - 1, x.shape[1]))
    exact = min(x.shape) <= EXACT
    pca = PCA(n, svd_solver="full" if exact else "randomized", random_state=seed)
    return pca.fit(_double(x))


def project(pca: PCA, x: FloatArray) -> Float64Array:
    """Return the principal components of cells, float64 (n, k)."""
    return np.asarray(pca.transform(_double(x)), dtype=np.float64)


def reduction(x: FloatArray, most: int, seed: int) -> Callable[[FloatArray], Float64Array]:
    """Return a function that takes wider features to ``most`` principal components."""
    if x.shape[1] <= most:
        return partial(np.asarray, dtype=np.float64)
    return partial(project, principal_components(x, most, seed))


def components_of(adata: AnnData, modality: str, n_components: int, seed: int) -> Float64Array:
    """Return principal components of the standardized features of a modality, float64 (n, k)."""
    values = Features.fit(adata, modality)(adata)
    return project(principal_components(values, n_components, seed), values)


def apply(step: AffineMap, x: FloatArray) -> Float64Array:
    """Return ``(x - mean) weights + offset``, (n, k), without a float64 copy of all features."""
    mean, weights, offset = step
    out = np.empty((len(x), weights.shape[1]))
    for start in range(0, len(x), CELLS_AT_A_TIME):
        block = slice(start, start + CELLS_AT_A_TIME)
        out[block] = (x[block] - mean) @ weights + offset
    return out


def _double(x: FloatArray) -> FloatArray:
    """Return float64 where that is affordable."""
    return x.astype(np.float64) if x.shape[1] <= 10 * EXACT else x


@dataclass(frozen=True)
class FittedCells:
    """Cells that a learner was fitted on, recognized by name and features together."""

    rows_by_name: dict[str, tuple[int, bytes]]

    @classmethod
    def of(cls, names: NDArray[Any], x: FloatArray) -> Self:
        """Record cells by their names, (n,), and features, (n, d)."""
        return cls({str(name): (i, _fingerprint(x[i])) for i, name in enumerate(names)})

    def rows(self, names: NDArray[Any], x: FloatArray) -> IntArray:
        """Return the row of each cell in the fit, -1 for other cells, (n,)."""
        rows = np.full(len(names), -1, dtype=np.intp)
        for i, name in enumerate(names):
            row, fingerprint = self.rows_by_name.get(str(name), (-1, b""))
            if row >= 0 and fingerprint == _fingerprint(x[i]):
                rows[i] = row
        return rows


def _fingerprint(row: FloatArray) -> bytes:
    return blake2b(np.ascontiguousarray(row).tobytes(), digest_size=8).digest()
