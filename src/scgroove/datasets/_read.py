"""Readers of published files."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np
import scipy.sparse as sp

from scgroove._files import reading
from scgroove._types import IntArray
from scgroove.datasets._download import damaged
from scgroove.errors import DownloadError, FileError

if TYPE_CHECKING:
    import pandas as pd

CHUNK: Final = 500
"""Rows of a table that are dense at a time."""


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    import pandas as pd

    try:
        yield
    except (
        EOFError,
        gzip.BadGzipFile,
        zlib.error,
        pd.errors.ParserError,
        pd.errors.EmptyDataError,
        UnicodeDecodeError,
    ) as error:
        raise damaged(path, error) from error


@contextmanager
def _reading_hdf5(path: Path) -> Iterator[None]:
    try:
        with reading(path, must_have=""):
            yield
    except FileError as error:
        raise damaged(path, error) from error


def _columns(path: Path) -> tuple[list[str], int]:
    """Return names of value columns, and the number of columns: R names no column of names."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        head, first = (file.readline().rstrip("\n").split("\t") for _ in range(2))
    names = [name.strip('"') for name in head]
    if len(first) not in (len(names), len(names) + 1) or len(first) < 2:
        raise DownloadError(
            f"{path.name}: expected a table with names in the first line; it has "
            f"{len(names)} names for {len(first)} columns. The file has changed."
        )
    return (names if len(first) > len(names) else names[1:]), len(first)


def read_table(path: Path, needed: Sequence[str] = ()) -> pd.DataFrame:
    """Return a ``.tsv.gz`` table with the names of its rows as index.

    Raises
    ------
    DownloadError
        It is damaged, and then removed, or lacks a column.
    """
    import pandas as pd

    with _reading(path):
        names, _ = _columns(path)
        frame = pd.read_csv(
            path,
            sep="\t",
            header=None,
            skiprows=1,
            index_col=0,
            names=["", *names],
            low_memory=False,
        )
    frame.index = frame.index.astype(str).rename(None)
    _check_columns(path, frame, needed)
    return frame


def _check_columns(path: Path, frame: pd.DataFrame, needed: Sequence[str]) -> None:
    missing = [column for column in needed if column not in frame]
    if missing:
        raise DownloadError(
            f"{path.name} lacks the columns {missing}; it has "
            f"{list(map(str, frame.columns))[:20]}. The file has changed: please tell the "
            f"developers of scgroove."
        )


def read_counts(path: Path) -> tuple[sp.csr_matrix, list[str], list[str]]:
    """Return counts (n_cells, n_features) of a transposed ``.tsv.gz`` table, features and cells.

    Some rows are dense at a time, so that memory is little more than that of the non-zero values.

    Raises
    ------
    DownloadError
        It is damaged, and then removed.
    """
    import pandas as pd

    parts, features = [], []
    with _reading(path):
        cells, width = _columns(path)
        options: dict[str, Any] = {
            "sep": "\t",
            "header": None,
            "skiprows": 1,
            "index_col": 0,
            "chunksize": CHUNK,
        }
        dtype = {0: str, **dict.fromkeys(range(1, width), np.float32)}
        with pd.read_csv(path, dtype=dtype, **options) as chunks:
            for chunk in chunks:
                parts.append(sp.csr_matrix(chunk.to_numpy()))
                features += chunk.index.astype(str).tolist()
    return sp.vstack(parts).T.tocsr(), features, cells


class Hdf5:
    """An ``.h5ad`` file that is read in parts."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> Self:
        import h5py

        with _reading_hdf5(self.path):
            self._file = h5py.File(self.path)
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def _element(self, name: str) -> Any:
        if name not in self._file:
            raise DownloadError(
                f"{self.path.name} has no {name!r}; it has {sorted(self._file)}. The file has "
                f"changed: please tell the developers of scgroove."
            )
        return self._file[name]

    def table(self, name: str, needed: Sequence[str] = ()) -> pd.DataFrame:
        """Return ``obs`` or ``var``."""
        from anndata.io import read_elem

        with _reading_hdf5(self.path):
            frame: Any = read_elem(self._element(name))
        frame.index = frame.index.astype(str)
        _check_columns(self.path, frame, needed)
        return frame

    def matrix(self, name: str, rows: IntArray | None = None) -> sp.csr_matrix:
        """Return a matrix, or some rows of it in their order, as CSR."""
        from anndata.io import read_elem, sparse_dataset

        with _reading_hdf5(self.path):
            element = self._element(name)
            encoding = element.attrs.get("encoding-type")
            if rows is None or encoding != "csr_matrix":
                whole = sp.csr_matrix(read_elem(element))
                return whole if rows is None else whole[rows]
            order = np.argsort(rows, kind="stable")
            part = sp.csr_matrix(sparse_dataset(element)[rows[order]])
        return part[np.argsort(order, kind="stable")]
