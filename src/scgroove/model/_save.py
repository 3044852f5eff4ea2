"""Saved models: checks of their files, and writing that an interruption leaves undone."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path
from typing import Any, Final

from scgroove._files import read_mudata
from scgroove._warnings import warn
from scgroove._whole import check_archive, damaged

MODEL: Final = "model.pt"
MUDATA: Final = "mdata.h5mu"
"""Files of a saved model, as scvi-tools names them."""

KIND: Final = "a model that GROOVE.save wrote"
HOW_TO_MAKE: Final = (
    "Name the folder of a saved model: model.save('model'), then GROOVE.load('model', mdata)."
)


def check_model(folder: str | os.PathLike[str], prefix: str | None = None) -> None:
    """Refuse a folder without a whole model: PyTorch reads damaged weights without a word."""
    check_archive(Path(folder) / f"{prefix or ''}{MODEL}", KIND, "/data.pkl", HOW_TO_MAKE)


@contextmanager
def damage_told(folder: str | os.PathLike[str], prefix: str | None = None) -> Iterator[None]:
    """Raise a FileError where PyTorch finds more than checksums do, such as a changed header."""
    try:
        yield
    except RuntimeError as error:
        if "PytorchStreamReader" not in str(error):
            raise
        raise damaged(Path(folder) / f"{prefix or ''}{MODEL}") from error


def read_saved(asked: dict[str, Any]) -> Any:
    """Check that a saved model is whole, and return the data to load it on.

    Data that were saved with the model are put into ``asked``, the arguments of ``load``.
    """
    folder, prefix = asked["dir_path"], asked.get("prefix")
    if not asked.get("backup_url"):
        check_model(folder, prefix)
    data = Path(folder) / f"{prefix or ''}{MUDATA}"
    if asked.get("adata") is None and data.exists():
        asked["adata"] = read_mudata(data)
    return asked.get("adata")


@contextmanager
def replaced_when_done(folder: str | os.PathLike[str], last: str) -> Iterator[Path]:
    """Give an empty folder, whose files replace those of another folder at the end, ``last`` last.

    Other files of the folder stay. After an error nothing has changed. A kill leaves a hidden
    folder ``.<name>.unfinished-*`` beside it, which the next call removes with a warning.
    """
    target = Path(folder).resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    start = f".{target.name}.unfinished-"
    _remove_left_over(target.parent, start)
    beside, lock = _locked_folder(target.parent, start)
    try:
        yield beside
        target.mkdir(exist_ok=True)
        for file in sorted(beside.iterdir(), key=lambda one: one.name.endswith(last)):
            os.replace(file, target / file.name)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def _locked_folder(parent: Path, start: str) -> tuple[Path, int | None]:
    """Make a folder, and lock it as long as this process lives."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=start, dir=parent))
        with suppress(BlockingIOError, FileNotFoundError):
            lock = _lock(folder)
            if folder.exists():
                return folder, lock
        # another process took it for left over before it was locked


def _lock(folder: Path) -> int | None:
    """Lock a folder, and return the lock, None on systems without locks."""
    try:
        import fcntl
    except ImportError:  # Windows
        return None
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:  # network disks may have no locks
        os.close(lock)
        if isinstance(error, BlockingIOError):
            raise
        return None
    return lock


def _remove_left_over(parent: Path, start: str) -> None:
    """Remove the folders of processes that are gone."""
    for folder in parent.glob(f"{escape(start)}*"):
        with suppress(BlockingIOError, FileNotFoundError):
            lock = _lock(folder)
            if lock is None:
                return
            shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)
            warn(f"Removed {folder}: a process was killed while it saved a model there.")
