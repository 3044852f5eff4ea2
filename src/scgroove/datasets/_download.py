"""Files from where they were published, kept once they are whole."""

from __future__ import annotations

import gzip
import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from scgroove.errors import DownloadError

CACHE_VARIABLE: Final = "SCGROOVE_DATA_DIR"
"""Environment variable that names the folder for downloads."""

BLOCK: Final = 2**20


@dataclass(frozen=True)
class RemoteFile:
    """A published file.

    Attributes
    ----------
    name
        As it is called there and in the cache.
    url
        Where it is.
    size_mb
        About how large it is, in MB, for messages.
    checksum
        ``"sha256:..."`` or ``"md5:..."`` where its publisher or others recorded one; None where nobody did: then it is only
        checked that the transfer was whole and that the file can be read.
    """

    name: str
    url: str
    size_mb: float
    checksum: str | None = None


def cache_folder(given: str | Path | None = None) -> Path:
    """Return the folder for downloads: as given, as ``SCGROOVE_DATA_DIR`` says, or the usual one of the system."""
    if given is not None:
        return Path(given).expanduser()
    if named := os.environ.get(CACHE_VARIABLE):
        return Path(named).expanduser()
    import pooch

    return Path(pooch.os_cache("scgroove"))


def fetch(
    file: RemoteFile,
    cache: str | Path | None = None,
    mirror: str | None = None,
    *,
    progress: bool = True,
) -> Path:
    """Return the path of a file in the cache, after downloading it if it is not there or not what it should be.

    Parameters
    ----------
    file
        What to get.
    cache
        Folder for downloads, see :func:`cache_folder`.
    mirror
        Address of a folder to take it from in place of its own, such as ``"https://data.mylab.org/screens"``.
    progress
        Show a bar.

    Raises
    ------
    DownloadError
        If it cannot be had, is cut off, or has another checksum. What was in the cache before stays; nothing half-written
        is left.
    """
    import pooch
    import requests

    folder = cache_folder(cache)
    pooch.get_logger().setLevel("WARNING")  # it would tell every user to note down the checksum
    url = file.url if mirror is None else f"{mirror.rstrip('/')}/{file.name}"
    by_hand = f"or download it by other means and put it there as {folder / file.name}"
    try:
        path = pooch.retrieve(
            url,
            known_hash=file.checksum,
            fname=file.name,
            path=folder,
            downloader=pooch.HTTPDownloader(progressbar=progress, timeout=60),
        )
    except requests.RequestException as error:
        raise DownloadError(
            f"{file.name} (about {file.size_mb:g} MB) could not be downloaded from {url}: {error}. Try again, {by_hand}; "
            f"mirror= takes it from another place."
        ) from error
    except ValueError as error:
        raise DownloadError(
            f"{file.name} from {url} is not the file that was expected: {error}. It was not kept. Try again; if it stays so, the "
            f"file was changed where it lies: please tell the developers of scgroove."
        ) from error
    except OSError as error:
        raise DownloadError(
            f"cannot write {file.name} to {folder}: {error.strerror or error}. Name another folder, cache=, or set "
            f"{CACHE_VARIABLE}."
        ) from error
    return Path(path)


def unpacked(path: Path) -> Path:
    """Return the path of what a ``.gz`` file holds, unpacked beside it once.

    Raises
    ------
    DownloadError
        If it is damaged: then it is taken away, so that the next call downloads it anew.
    """
    target = path.with_suffix("")
    if target.exists() and target.stat().st_mtime >= path.stat().st_mtime:
        return target
    part = target.with_name(f".{target.name}.part{os.getpid()}")
    try:
        with gzip.open(path) as packed, open(part, "wb") as plain:
            while block := packed.read(BLOCK):
                plain.write(block)
        os.replace(part, target)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise damaged(path, error) from error
    finally:
        part.unlink(missing_ok=True)
    return target


def damaged(path: Path, error: BaseException) -> DownloadError:
    """Take a file away that cannot be read, and return what to raise."""
    path.unlink(missing_ok=True)
    return DownloadError(
        f"{path.name} cannot be read ({error}): it was damaged on its way. It was removed from {path.parent}; call again to "
        f"download it anew."
    )
