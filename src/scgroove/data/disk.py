"""Matrices on disk: reading rows of them, and telling whether they were changed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np
import scipy.sparse as sp
from anndata.abc import CSCDataset, CSRDataset
from numpy.typing import NDArray

from .._numbers import canonical

SPAN_BYTES: Final = 64 * 2**20
"""What is read from disk at a time."""
DENSE_ENOUGH: Final = 0.02
"""Share of the rows of a span that must be wanted for all of it to be read."""


def on_disk(x: Any) -> bool:
    """Whether a matrix has to be read, or computed, before it can be used."""
    return not (isinstance(x, np.ndarray) or sp.issparse(x) or hasattr(x, "iloc"))


def read_rows(x: Any, rows: NDArray[np.int64]) -> Any:
    """Read rows of a matrix on disk."""
    if hasattr(x, "compute"):
        return _tidy(x[rows].compute())
    if not len(rows):
        return _tidy(x[0:0])
    if isinstance(x, CSRDataset) and len(rows) < DENSE_ENOUGH * (rows[-1] + 1 - rows[0]):
        return _tidy(x[rows])
    step = max(1, int(SPAN_BYTES / bytes_of_row(x)))
    parts = []
    for start in range(int(rows[0]), int(rows[-1]) + 1, step):
        first, last = np.searchsorted(rows, [start, start + step])
        wanted = rows[first:last]
        if len(wanted):  # from the first to the last of this span that is wanted
            span = _tidy(x[int(wanted[0]) : int(wanted[-1]) + 1])
            parts.append(span if len(wanted) == span.shape[0] else span[wanted - wanted[0]])
    if len(parts) == 1:
        return parts[0]
    return sp.vstack(parts, format="csr") if sp.issparse(parts[0]) else np.concatenate(parts)


def bytes_of_row(x: Any, n: int = 256) -> float:
    """Bytes that a row takes in memory, from the first rows."""
    if not isinstance(x, CSRDataset | CSCDataset) and not hasattr(x, "compute"):
        return float(max(1, x.dtype.itemsize * x.shape[1]))
    few = _tidy(
        (x[:n].compute() if hasattr(x, "compute") else x[:n]) if x.shape[0] else np.zeros((1, 1))
    )
    return float(max(1.0, _nbytes(few) / max(1, few.shape[0])))


def _tidy(x: Any) -> Any:
    return canonical(sp.csr_matrix(x) if sp.issparse(x) else x)


def _nbytes(x: Any) -> int:
    return int(x.data.nbytes + x.indices.nbytes + x.indptr.nbytes if sp.issparse(x) else x.nbytes)


@dataclass(frozen=True)
class Window:
    """Rows of one modality that were read for the batches to come.

    Attributes
    ----------
    rows
        Which they are, increasing.
    x
        Their values, CSR or dense, (len(rows), d).
    """

    rows: NDArray[np.int64]
    x: Any

    def take(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Return the values of some of them, dense."""
        found = self.x[np.searchsorted(self.rows, rows)]
        dense: NDArray[Any] = found.toarray() if sp.issparse(found) else found
        return dense


def _path(x: Any) -> Path | None:
    """Where a matrix lies, if it is a file or folder."""
    group = getattr(x, "group", x)
    file = getattr(group, "file", None)
    if isinstance(file, h5py.File):
        return Path(file.filename)
    root = getattr(getattr(group, "store", None), "root", None)  # a zarr store in a folder
    return None if root is None else Path(str(root)) / str(getattr(group, "path", ""))


def where(x: Any) -> str:
    """Say where a matrix lies."""
    path = _path(x)
    return "its store" if path is None else str(path)


def stamp(x: Any) -> tuple[Any, ...]:
    """Return what tells whether a store was changed: its shape, and when its files were written."""
    path = _path(x)
    files = (
        []
        if path is None
        else [path]
        if path.is_file()
        else sorted(path.glob("**/zarr.json")) + sorted(path.glob("**/.zarray"))
    )
    try:
        return (
            tuple(x.shape),
            *((str(file), file.stat().st_mtime_ns, file.stat().st_size) for file in files),
        )
    except OSError:
        return ("gone",)
