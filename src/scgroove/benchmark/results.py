"""A folder of results: one file for each cell of the grid, written when it is done."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

import numpy as np

from scgroove._files import writing
from scgroove._types import FloatArray
from scgroove._warnings import warn
from scgroove.errors import ResultsError, ResultsWarning

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

FORMAT: Final = 2
"""Of the folder. Another one is not read."""

PACKAGES: Final = (
    *("scgroove", "scvi-tools", "torch", "numpy", "scipy", "scikit-learn", "POT", "jax"),
)

CHECKSUM: Final = b"scgroove checksum"
"""Name of the digest among the metadata of a cell."""

BY_CONSTRUCTION: Final = "by construction"
"""Status of a metric whose value is known before anything is learned: it has no value."""

STATUSES: Final = ("done", "failed", "skipped", BY_CONSTRUCTION)

UNFINISHED: Final = ".unfinished-"
"""Start of the names of files that are being written."""

STALE: Final = 3600.0
"""Seconds after which such a file is taken for one that a killed run left."""

COLUMNS: Final = (
    *("data", "learner", "aligner", "seed", "metric", "value", "chance", "chance_sd", "n"),
    *("better", "perfect", "status", "error"),
    *("fit_seconds", "fit_memory_mb", "align_seconds", "align_memory_mb"),
)
"""Columns that every table of results has, in this order. Others follow."""

NULL: Final = ("null", "null_sd", "n_null")
"""Columns with mean and spread of a score on permuted labels, and the number of permutations."""

EVIDENCE: Final = (
    *("converged", "row_error", "column_error", "objective", "epsilon_absolute", "n_iter"),
)
"""Numbers that an aligner reports of itself, kept beside every value."""

KEPT: Final = (
    "Every cell that was finished before is kept, and the same run goes on from there when it is "
    "started again."
)


@dataclass(frozen=True)
class Cell:
    """One cell of the grid: a representation alone (``aligner=""``), or with an aligner.

    ``key`` stands for everything that its result depends on: data, options, seed and metrics.
    ``permutation`` is the number of the permutation of the labels, 0 for labels as they are.
    """

    data: str
    learner: str
    aligner: str
    seed: int
    key: str
    permutation: int = 0

    @property
    def file_name(self) -> str:
        """Readable, and different for different cells."""
        run = f"seed{self.seed}" + (f"-permuted{self.permutation}" if self.permutation else "")
        parts = [self.data, self.learner, self.aligner or "representation", run]
        return "__".join([*map(slug, parts), self.key]) + ".parquet"

    @property
    def columns(self) -> dict[str, Any]:
        """Its place in the table of results."""
        names = ("data", "learner", "aligner", "seed", "permutation")
        return {name: getattr(self, name) for name in names}


def slug(text: str) -> str:
    """Return a text as a part of the name of a file."""
    return re.sub(r"[^A-Za-z0-9.]+", "-", text).strip("-")[:40] or "x"


def digest(*parts: Any) -> str:
    """Return 12 hex digits that stand for plain values."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()


@dataclass(frozen=True)
class Store:
    """A folder of results. Files are written under another name first, so that all are whole."""

    folder: Path

    @property
    def cells(self) -> Path:
        """Folder of the cells."""
        return self.folder / "cells"

    @property
    def representations(self) -> Path:
        """Folder of the representations. May be deleted when a run is over."""
        return self.folder / "representations"

    @property
    def manifest(self) -> Path:
        """File that says what made the folder."""
        return self.folder / "run.json"

    def open(
        self, spec: Mapping[str, Any], cells: Iterable[Cell], *, mix_versions: bool = False
    ) -> None:
        """Make the folder, or check that the results in it can be added to.

        Parameters
        ----------
        spec
            The spec as plain values.
        cells
            Of the grid: :meth:`read` returns these from now on.
        mix_versions
            Add to results of another version.

        Raises
        ------
        ResultsError
            If it holds something else, or results of another version of scgroove.
        CannotWriteError
            If nothing can be written there.
        """
        if self.folder.exists() and not self.folder.is_dir():
            raise ResultsError(
                f"{self.folder} is a file; results need a folder. Give the name of a new one."
            )
        earlier: list[Any] = []
        if self.manifest.exists():
            about = self.about()
            self._check_version(about.get("versions", {}).get("scgroove"), mix_versions)
            earlier = [one for one in (*about.get("earlier", []), about["spec"]) if one != spec]
        elif self.folder.exists() and not all(map(_is_ours, self.folder.iterdir())):
            raise ResultsError(
                f"{self.folder} is not empty, and holds no results of a benchmark. Give the name "
                "of a new folder."
            )
        with writing(self.folder, KEPT):
            self.cells.mkdir(parents=True, exist_ok=True)
            self.representations.mkdir(exist_ok=True)
            self._tidy_up()
        about = {
            "format": FORMAT,
            "versions": versions(),
            "python": platform.python_version(),
            "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "spec": spec,
            "earlier": earlier,
            "cells": sorted(cell.file_name for cell in cells),
        }
        self.write(self.manifest, lambda file: file.write(json.dumps(about, indent=1).encode()))

    def _tidy_up(self) -> None:
        """Remove what killed runs left half-written. Others may still write recent files."""
        oldest = time.time() - STALE
        for folder in (self.folder, self.cells, self.representations):
            for path in folder.glob(f"{UNFINISHED}*"):
                with suppress(OSError):
                    if path.stat().st_mtime < oldest:
                        path.unlink()

    def _check_version(self, there: str | None, mix_versions: bool) -> None:
        here = versions()["scgroove"]
        if here != there and not mix_versions:
            raise ResultsError(
                f"{self.folder} holds results of scgroove {there}, and this is {here}: they may "
                "not be comparable. Give the name of a new folder; or, to add to them all the "
                "same (each row says its version), pass mix_versions=True, on the command line "
                "--mix-versions."
            )

    def about(self) -> dict[str, Any]:
        """Return what made the folder, or raise ResultsError if it holds no results."""
        try:
            about: Any = json.loads(self.manifest.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise ResultsError(
                f"{self.folder} holds no results of a benchmark: there is no "
                f"{self.manifest.name}. Make some with scgroove benchmark run SPEC --out "
                f"{self.folder}."
            ) from None
        except (OSError, ValueError):
            about = {}
        if not isinstance(about, dict) or not isinstance(about.get("spec"), dict):
            raise ResultsError(
                f"{self.manifest} cannot be read: it is not what scgroove wrote. The cells are in "
                f"{self.cells}; put back the file, or give the name of a new folder."
            )
        if about.get("format") != FORMAT:
            raise ResultsError(
                f"{self.folder} holds results in format {about.get('format')}; this version of "
                f"scgroove reads and writes format {FORMAT}. Give the name of a new folder, or use "
                f"the version that made them ({about.get('versions', {}).get('scgroove')})."
            )
        return about

    def status(self, cell: Cell) -> str | None:
        """Return the status of a cell, ``"failed"`` if a part of it is. None if it is not there."""
        try:
            found = [str(one) for one in _read_table(self.cells / cell.file_name)["status"]]
        except Exception:  # damaged bytes raise errors of any class
            return None
        status = "failed" if "failed" in found else next(iter(found), None)
        return status if status in STATUSES else None

    def save(self, cell: Cell, rows: list[dict[str, Any]]) -> None:
        """Write the rows of a cell, as a whole or not at all."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        table = pa.Table.from_pandas(_tidy(rows), preserve_index=False)
        table = table.replace_schema_metadata({**table.schema.metadata, CHECKSUM: _checksum(table)})
        self.write(
            self.cells / cell.file_name,
            lambda file: pq.write_table(table, file, write_page_checksum=True),
        )

    def representation(self, name: str) -> tuple[dict[str, FloatArray], dict[str, Any]] | None:
        """Return the arrays and the evidence of a learner, or None if they are not there."""
        try:
            with np.load(self.representations / f"{name}.npz", allow_pickle=False) as stored:
                evidence = json.loads(str(stored["evidence"]))
                arrays = {key[2:]: stored[key] for key in stored.files if key.startswith("z_")}
                return arrays, evidence
        except Exception:  # damaged bytes raise errors of any class
            return None

    def save_representation(
        self, name: str, spaces: Mapping[str, FloatArray], evidence: Mapping[str, Any]
    ) -> None:
        """Write the arrays and the plain evidence of a learner."""
        arrays: dict[str, Any] = {
            f"z_{m}": np.asarray(z, dtype=np.float32) for m, z in spaces.items()
        }
        plain = {k: v for k, v in evidence.items() if isinstance(v, str | int | float | bool)}
        self.write(
            self.representations / f"{name}.npz",
            lambda file: np.savez(file, evidence=np.array(json.dumps(plain)), **arrays),
        )

    def write(self, path: Path, write: Callable[[IO[bytes]], Any]) -> None:
        """Write a file as a whole or not at all."""
        with writing(self.folder, KEPT):
            handle, name = tempfile.mkstemp(dir=path.parent, prefix=UNFINISHED)
            try:
                with os.fdopen(handle, "wb") as file:
                    write(file)
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(name, path)
            except BaseException:
                Path(name).unlink(missing_ok=True)
                raise

    def read(self, *, everything: bool = False, permuted: bool = False) -> pd.DataFrame:
        """Return results as one tidy table: see :func:`read`."""
        names = self.about().get("cells")
        files = sorted(self.cells.glob("*.parquet"))
        if names is not None and not everything:
            known = set(names)
            files = [file for file in files if file.name in known]
        frame = _tidy([row for one in files for row in _rows(one)])
        order = ["data", "learner", "aligner", "seed", "metric"]
        if permuted:
            chosen = frame[frame["permutation"] > 0]
            return chosen.sort_values([*order, "permutation"], ignore_index=True)
        return _beside_null(frame).sort_values(order, ignore_index=True)


def _beside_null(results: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of labels as they are, with the scores on permuted labels beside them."""
    found = results[results["permutation"] == 0].drop(columns="permutation")
    permuted = results[(results["permutation"] > 0) & (results["status"] == "done")]
    if permuted.empty:
        return found
    keys = ["data", "learner", "aligner", "metric"]
    null = permuted.groupby(keys)["value"].agg(["mean", "std", "count"]).set_axis(NULL, axis=1)
    return found.merge(null, on=keys, how="left")


def _is_ours(path: Path) -> bool:
    """Whether another process may have just made the file."""
    return path.name in ("cells", "representations", "run.json") or path.name.startswith(UNFINISHED)


def _checksum(table: pa.Table) -> bytes:
    """Digest names and values. The checksums of the format leave out the names of columns."""
    return digest(table.column_names, [column.to_pylist() for column in table.columns]).encode()


def _read_table(file: Path) -> pa.Table:
    """Read the file of a cell. Damaged bytes raise errors of any class."""
    import pyarrow.parquet as pq

    table = pq.read_table(file, page_checksum_verification=True)
    written = (table.schema.metadata or {}).get(CHECKSUM)
    if written is not None and written != _checksum(table):
        raise ValueError("the checksum is another")
    return table


def _rows(file: Path) -> list[dict[str, Any]]:
    """Return the rows of a cell. None, with a warning, if it cannot be read."""
    try:
        frame = _read_table(file).to_pandas(ignore_metadata=True)
    except Exception:  # damaged bytes raise errors of any class
        warn(
            f"{file} is damaged or incomplete and counts as not done: the same run does it again "
            "when it is started again.",
            ResultsWarning,
        )
        return []
    rows: list[dict[str, Any]] = frame.to_dict("records")
    return rows


def _tidy(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Return rows as a table with all columns that results have."""
    import pandas as pd

    text = {"data", "learner", "aligner", "metric", "better", "status", "error"}
    whole = {"seed": "int64", "permutation": "int64"}
    empty: dict[str, Any] = {**dict.fromkeys(COLUMNS, np.nan), **dict.fromkeys(text, "")}
    empty |= dict.fromkeys(whole, 0)
    frame = pd.DataFrame([{**empty, **row} for row in rows] or [empty])
    order = [*COLUMNS, *sorted(set(frame.columns) - set(COLUMNS))]
    return frame[order].astype(whole).iloc[: len(rows)]


def read(folder: str | Path, *, everything: bool = False, permuted: bool = False) -> pd.DataFrame:
    """Read the results of a benchmark, finished or not.

    Parameters
    ----------
    folder
        The folder that :func:`scgroove.benchmark.run` wrote.
    everything
        Also cells of earlier specs in the folder that the last one does not have. The same data
        set, learner, aligner and seed may then stand there twice, and statistics refuse that.
    permuted
        Return the runs on permuted labels, with the number of the ``permutation``, instead.

    Returns
    -------
    DataFrame
        One row for each value of a metric: ``data``, ``learner``, ``aligner`` (empty for metrics
        of the representation alone), ``seed``, ``metric``, ``value``, ``chance`` and
        ``chance_sd``, ``n`` cells scored, ``better`` (``"lower"`` or ``"higher"``), ``perfect``,
        ``status`` (``"done"``, ``"failed"``, ``"skipped"``, or ``"by construction"`` for a
        metric that a coupling meets because it was told the labels) and ``error``. Seconds and
        megabytes of learner and aligner, evidence of the aligner, ``knows_truth`` (learner or
        aligner was told it: a limit and no method), versions, options as ``learner.<option>``
        and ``aligner.<option>``, and parameters of simulations. A cell that failed or was
        skipped is one row without a metric. If the spec has ``null``: ``null``, ``null_sd`` and
        ``n_null``, mean and spread of the score over the permutations of the labels.

    Raises
    ------
    ResultsError
        If there are none.

    Warns
    -----
    ResultsWarning
        If a file is damaged. Its cell counts as not done.
    """
    store = Store(Path(folder))
    frame = store.read(everything=everything, permuted=permuted)
    if frame.empty:
        what = "on permuted labels (null in the spec)" if permuted else "yet"
        raise ResultsError(f"{folder} holds no finished cell {what}.")
    return frame


def versions() -> dict[str, str]:
    """Return the versions of the packages that results depend on."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "none"
    return found
