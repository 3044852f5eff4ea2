"""Between the cells of a modality and those of the MuData, which are their union."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

from scgroove._types import IntArray
from scgroove.errors import InputError

if TYPE_CHECKING:
    from mudata import MuData


def union_rows(mdata: MuData, modality: str) -> IntArray:
    """Return the row in the MuData of each cell of a modality, (n_m,)."""
    placed = np.asarray(mdata.obsmap[modality]).ravel()
    present = np.flatnonzero(placed)
    adata = mdata.mod[modality]
    rows = np.full(adata.n_obs, -1, dtype=np.intp)
    if present.size == adata.n_obs and placed.size == mdata.n_obs:
        rows[placed[present].astype(np.intp) - 1] = present
    if (rows < 0).any() or not (mdata.obs_names[rows] == adata.obs_names).all():
        raise InputError(
            f"mdata does not know the cells that mdata.mod[{modality!r}] has now: the modality "
            "was changed after the MuData was made. Call mdata.update() and try again."
        )
    return rows


def spread(matrix: sp.csr_matrix, rows: IntArray, columns: IntArray, n_obs: int) -> sp.csr_matrix:
    """Place a matrix (n_source, n_target) into (n_obs, n_obs)."""
    order = np.argsort(rows)
    matrix = matrix[order]
    indptr = np.zeros(n_obs + 1, dtype=np.int64)
    indptr[rows[order] + 1] = np.diff(matrix.indptr)
    np.cumsum(indptr, out=indptr)
    placed = sp.csr_matrix(
        (matrix.data, columns.astype(np.int32)[matrix.indices], indptr), shape=(n_obs, n_obs)
    )
    placed.sort_indices()
    return placed
