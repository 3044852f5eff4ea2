"""A folder of results: one file for each cell of the grid, written when it is done."""

from __future__ import annotations

import json
import os
import platform
import re
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

import numpy as np

from scgroove._files import writing
from scgroove._types import FloatArray
from scgroove._warnings import warn
from scgroove.benchmark._spec import digest
from scgroove.errors import InputError, ResultsError, ResultsWarning

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

FORMAT: Final = 2
"""Of the folder; another one is not read."""

PACKAGES: Final = (
    "scgroove",
    "scvi-tools",
    "torch",
    "numpy",
    "scipy",
    "scikit-learn",
    "POT",
    "jax",
)

CHECKSUM: Final = b"scgroove checksum"
"""Name of the digest among the metadata of a cell."""

STATUSES: Final = ("done", "failed", "skipped", "by construction")
"""What can have become of a cell."""

UNFINISHED: Final = ".unfinished-"
"""Start of the names of files that are being written."""

STALE: Final = 3600.0
"""Seconds after which such a file is taken for one that a killed run left."""

COLUMNS: Final = (
    "data", "learner", "aligner", "seed", "metric", "value", "chance", "chance_sd", "n", "better", "perfect", "status",
    "error", "fit_seconds", "fit_memory_mb", "align_seconds", "align_memory_mb",
)  # fmt: skip
"""Columns that every table of results has, in this order; others follow."""


NULL: Final = ("null", "null_sd", "n_null")
"""Columns with mean and spread of a score on permuted labels, and how many permutations there were."""

BY_CONSTRUCTION: Final = "by construction"
"""Status of a metric whose value is known before anything is learned: it has no value in the results."""

EVIDENCE: Final = (
    "converged",
    "row_error",
    "column_error",
    "objective",
    "epsilon_absolute",
    "n_iter",
)
"""What an aligner says of itself, where it is a number, kept beside every value."""


@dataclass(frozen=True)
class Cell:
    """One cell of the grid: a representation alone (``aligner=""``), or with an aligner.

    ``key`` stands for all that its result depends on: data, options, seed and metrics. ``permutation`` is the
    number of the permutation of the labels, 0 for labels as they are.
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
        return "__".join([*(_slug(part) for part in parts), self.key]) + ".parquet"

    @property
    def columns(self) -> dict[str, Any]:
        """Its place in the table of results."""
        place = {
            "data": self.data,
            "learner": self.learner,
            "aligner": self.aligner,
            "seed": self.seed,
        }
        return {**place, "permutation": self.permutation}


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9.]+", "-", text).strip("-")[:40] or "x"


@dataclass(frozen=True)
class Store:
    """A folder of results. Every file is written under another name first, so that none is ever half there."""

    folder: Path

    @property
    def cells(self) -> Path:
        """Folder of the cells."""
        return self.folder / "cells"

    @property
    def representations(self) -> Path:
        """Folder of what learners found; may be deleted when a run is over."""
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
            What is run, as plain values.
        cells
            Of the grid: what :meth:`read` returns from now on.
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
            self._check_manifest(mix_versions)
            about = self.about()
            earlier = [one for one in (*about.get("earlier", []), about["spec"]) if one != spec]
        elif self.folder.exists() and any(not _is_ours(path) for path in self.folder.iterdir()):
            raise ResultsError(
                f"{self.folder} is not empty, and holds no results of a benchmark. Give the name of a new folder."
            )
        with _writing(self.folder):
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

    def list_cells(self, cells: Iterable[Cell]) -> None:
        """Have :meth:`read` return these cells from now on: those of several grids that belong together."""
        about = {**self.about(), "cells": sorted({cell.file_name for cell in cells})}
        self.write(self.manifest, lambda file: file.write(json.dumps(about, indent=1).encode()))

    def _tidy_up(self) -> None:
        """Remove what killed runs left half-written; what is recent may still be written by another process."""
        oldest = time.time() - STALE
        for folder in (self.folder, self.cells, self.representations):
            for path in folder.glob(f"{UNFINISHED}*"):
                with suppress(OSError):
                    if path.stat().st_mtime < oldest:
                        path.unlink()

    def _check_manifest(self, mix_versions: bool) -> None:
        about = self.about()
        here, there = versions()["scgroove"], about.get("versions", {}).get("scgroove")
        if here != there and not mix_versions:
            raise ResultsError(
                f"{self.folder} holds results of scgroove {there}, and this is {here}: they may not be comparable. Give the "
                f"name of a new folder; or, to add to them all the same (each row says its version), pass mix_versions=True, "
                f"on the command line --mix-versions."
            )

    def about(self) -> dict[str, Any]:
        """Return what made the folder.

        Raises
        ------
        ResultsError
            If it holds no results.
        """
        try:
            about: Any = json.loads(self.manifest.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise ResultsError(
                f"{self.folder} holds no results of a benchmark: there is no {self.manifest.name}. Make some with "
                f"scgroove benchmark run SPEC --out {self.folder}."
            ) from None
        except (OSError, ValueError):
            about = {}
        if not isinstance(about, dict) or not isinstance(about.get("spec"), dict):
            raise ResultsError(
                f"{self.manifest} cannot be read: it is not what scgroove wrote. The cells are in {self.cells}; put back the "
                f"file, or give the name of a new folder."
            )
        if about.get("format") != FORMAT:
            raise ResultsError(
                f"{self.folder} holds results in format {about.get('format')}; this version of scgroove reads and writes "
                f"format {FORMAT}. Give the name of a new folder, or use the version that made them "
                f"({about.get('versions', {}).get('scgroove')})."
            )
        return about

    def status(self, cell: Cell) -> str | None:
        """Return the status of a cell, ``"failed"`` if a part of it is; None if it is not there or cannot be read."""
        try:
            table = _read_table(self.cells / cell.file_name)
        except Exception:  # damaged bytes raise errors of any class
            return None
        found = [str(one) for one in table["status"].to_pylist()]
        status = "failed" if "failed" in found else next(iter(found), None)
        return status if status in STATUSES else None

    def save(self, cell: Cell, rows: list[dict[str, Any]]) -> None:
        """Write the rows of a cell.

        Raises
        ------
        CannotWriteError
            If it could not be written; nothing is left of it then.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        table = pa.Table.from_pandas(tidy(rows), preserve_index=False)
        table = table.replace_schema_metadata({**table.schema.metadata, CHECKSUM: _checksum(table)})
        self.write(
            self.cells / cell.file_name,
            lambda file: pq.write_table(table, file, write_page_checksum=True),
        )

    def representation(self, name: str) -> tuple[dict[str, FloatArray], dict[str, Any]] | None:
        """Return what a learner found and what it took, or None if it is not there."""
        try:
            with np.load(self.representations / f"{name}.npz", allow_pickle=False) as kept:
                evidence = json.loads(str(kept["evidence"]))
                return {key[2:]: kept[key] for key in kept.files if key.startswith("z_")}, evidence
        except Exception:  # damaged bytes raise errors of any class
            return None

    def save_representation(
        self, name: str, found: Mapping[str, FloatArray], evidence: Mapping[str, Any]
    ) -> None:
        """Keep what a learner found."""
        arrays: dict[str, Any] = {
            f"z_{m}": np.asarray(z, dtype=np.float32) for m, z in found.items()
        }
        plain = json.dumps(
            {k: v for k, v in evidence.items() if isinstance(v, str | int | float | bool)}
        )
        self.write(
            self.representations / f"{name}.npz",
            lambda file: np.savez(file, evidence=np.array(plain), **arrays),
        )

    def write(self, path: Path, write: Callable[[IO[bytes]], Any]) -> None:
        """Write a file as a whole or not at all."""
        with _writing(self.folder):
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
        frame = tidy([row for one in files for row in _rows(one)])
        order = ["data", "learner", "aligner", "seed", "metric"]
        if permuted:
            chosen = frame[frame["permutation"] > 0]
            return chosen.sort_values([*order, "permutation"], ignore_index=True)
        return beside_null(frame).sort_values(order, ignore_index=True)


def beside_null(results: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of labels as they are, with what the same score is on permuted labels in columns beside it.

    Parameters
    ----------
    results
        Rows of labels as they are and of permuted labels.
    """
    found = results[results["permutation"] == 0].drop(columns="permutation")
    permuted = results[(results["permutation"] > 0) & (results["status"] == "done")]
    if permuted.empty:
        return found
    keys = ["data", "learner", "aligner", "metric"]
    null = permuted.groupby(keys)["value"].agg(["mean", "std", "count"]).set_axis(NULL, axis=1)
    return found.merge(null, on=keys, how="left")


def _is_ours(path: Path) -> bool:
    """Whether a name in the folder is one that another process may have just made."""
    return path.name in ("cells", "representations", "run.json") or path.name.startswith(UNFINISHED)


def _checksum(table: pa.Table) -> bytes:
    """Return a digest of names and values; the checksums of the format leave out the names of columns."""
    return digest(table.column_names, [column.to_pylist() for column in table.columns]).encode()


def _read_table(file: Path) -> pa.Table:
    """Return what a file of a cell holds.

    Raises
    ------
    ValueError
        It is not what was written. Damaged bytes raise errors of any class.
    """
    import pyarrow.parquet as pq

    table = pq.read_table(file, page_checksum_verification=True)
    written = (table.schema.metadata or {}).get(CHECKSUM)
    if written is not None and written != _checksum(table):
        raise InputError("the checksum is another")
    return table


def _rows(file: Path) -> list[dict[str, Any]]:
    """Return the rows of a cell; none, with a warning, if it cannot be read."""
    try:
        rows: list[dict[str, Any]] = (
            _read_table(file).to_pandas(ignore_metadata=True).to_dict("records")
        )
    except Exception:  # damaged bytes raise errors of any class
        warn(
            f"{file} is damaged or incomplete and counts as not done: the same run does it again when it is started again.",
            ResultsWarning,
        )
        return []
    return rows


def tidy(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Return rows as a table with all columns that results have."""
    import pandas as pd

    text = {"data", "learner", "aligner", "metric", "better", "status", "error"}
    whole = {"seed": "int64", "permutation": "int64"}
    empty = {c: "" if c in text else 0 if c in whole else np.nan for c in (*COLUMNS, "permutation")}
    if not rows:
        frame = pd.DataFrame({c: pd.Series(dtype=object if c in text else float) for c in empty})
        return frame.astype(whole)
    frame = pd.DataFrame([{**empty, **row} for row in rows])
    return frame[[*COLUMNS, *sorted(set(frame.columns) - set(COLUMNS))]].astype(whole)


def read(folder: str | Path, *, everything: bool = False, permuted: bool = False) -> pd.DataFrame:
    """Read the results of a benchmark, finished or not.

    Parameters
    ----------
    folder
        What :func:`scgroove.benchmark.run` wrote.
    everything
        Also cells of earlier specs in the same folder that the last one does not have, such as those with other options. The same
        data set, learner, aligner and seed may then stand there twice, and statistics refuse that.
    permuted
        Return the runs on permuted labels, with the number of the ``permutation``, in place of the others.

    Returns
    -------
    DataFrame
        One row for each value of a metric: ``data``, ``learner``, ``aligner`` (empty for metrics of the representation alone),
        ``seed``, ``metric``, ``value``, ``chance`` and ``chance_sd``, ``n`` cells scored, ``better`` (``"lower"`` or
        ``"higher"``), ``perfect``, ``status`` (``"done"``, ``"failed"``, ``"skipped"``, or ``"by construction"`` for a
        metric that a coupling meets because it was told the labels: without a value) and ``error``, seconds and megabytes
        of learner and aligner, what the aligner says of itself, ``knows_truth`` (whether learner or aligner was told it, so that
        it is a limit and no method), versions, options as ``learner.<option>`` and ``aligner.<option>``, and the parameters
        of simulations. A cell that failed or was skipped is one row without a metric. Where the spec has ``null``:
        ``null``, ``null_sd`` and ``n_null``, mean and spread of the score over the permutations of the labels.

    Raises
    ------
    ResultsError
        If there are none.

    Warns
    -----
    ResultsWarning
        If a file is damaged; its cell counts as not done.
    """
    store = Store(Path(folder))
    frame = store.read(everything=everything, permuted=permuted)
    if frame.empty:
        what = "on permuted labels (null in the spec)" if permuted else "yet"
        raise ResultsError(f"{folder} holds no finished cell {what}.")
    return frame


def about(folder: str | Path) -> dict[str, Any]:
    """Return what made the results in a folder: spec, versions, machine, date.

    Raises
    ------
    ResultsError
        If there are none.
    """
    return Store(Path(folder)).about()


def _writing(folder: Path) -> AbstractContextManager[None]:
    """Say what a failure to write means."""
    kept = "Every cell that was finished before is kept, and the same run goes on from there when it is started again."
    return writing(folder, kept)


def versions() -> dict[str, str]:
    """Return the versions of the packages that results depend on."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "none"
    return found


def representation_name(data: str, learner: str, seed: int, *identity: Any) -> str:
    """Return the name under which a representation is kept."""
    return "__".join([_slug(data), _slug(learner), f"seed{seed}", digest(*identity)])
