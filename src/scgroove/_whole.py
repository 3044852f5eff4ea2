"""Files that can be read, and are as they were written."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

from scgroove.errors import FileError, MissingFileError, did_you_mean


def check_file(path: Path, kind: str) -> None:
    """Refuse a path that is no readable file with contents, ``kind`` for messages."""
    check_path(path)
    if path.is_dir():
        raise FileError(f"{path} is a folder; expected {kind}.", path, "folder")
    if not path.exists():
        near = did_you_mean(path.name, _neighbors(path))
        raise MissingFileError(f"There is no file {str(path)!r}.{near}", path, "missing")
    try:
        size = path.stat().st_size
        with path.open("rb"):
            pass
    except OSError as error:
        raise FileError(
            f"{path} cannot be read: {error.strerror or error}.", path, "damaged"
        ) from error
    if size == 0:
        raise FileError(f"{path} is empty (0 bytes). Was it copied to its end?", path, "empty")


def check_archive(path: Path, kind: str, member: str, how: str) -> None:
    """Refuse a file that is no zip archive, or whose checksums do not fit.

    ``member`` is the end of the name of a member that tells the kind of file, ``how`` a sentence on
    how to make one.
    """
    check_file(path, kind)
    with path.open("rb") as file:
        is_archive = file.read(2) == b"PK"
    names: list[str] = []
    try:
        if is_archive:
            with zipfile.ZipFile(path) as archive:
                names = archive.namelist()
                if bad := archive.testzip():
                    raise zipfile.BadZipFile(f"checksum of {bad}")
    except Exception as error:  # damaged bytes raise errors of any class
        raise damaged(path) from error
    if not any(name.endswith(member) for name in names):
        raise FileError(f"{path} is not {kind}. {how}", path, "format")


def damaged(path: Path, said: str = "") -> FileError:
    """Return the error for a file whose bytes are not those that were written."""
    return FileError(
        f"{path} is damaged or incomplete ({path.stat().st_size:,} bytes), and cannot be read. "
        f"Copy or download it again, or write it anew.{said}",
        path,
        "damaged",
    )


def check_path(path: Path) -> None:
    """Refuse a name that is not UTF-8 text: HDF5, the report and the model could not hold it."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        shown = os.fsencode(path).decode("utf-8", "backslashreplace")
        raise FileError(
            f"The name {shown} is not UTF-8 text. Rename the file or folder, or give another name.",
            shown,
            "name",
        ) from None


def _neighbors(path: Path) -> list[str]:
    try:
        return [near.name for near in path.parent.iterdir()]
    except OSError:
        return []
