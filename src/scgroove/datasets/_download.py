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
    url
        Address.
    size_mb
        Size in MB, about, for messages.
    checksum
        ``"sha256:..."`` or ``"md5:..."``. None if nobody recorded one: then it is only checked that
        the transfer was whole and that the file can be read.
    """

    url: str
    size_mb: float
    checksum: str | None = None

    @property
    def name(self) -> str:
        """Name in the cache."""
        return self.url.rsplit("/", 1)[1]


def cache_folder(given: str | Path | None = None) -> Path:
    """Return the folder for downloads: given, by ``SCGROOVE_DATA_DIR``, or the system's cache."""
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
    """Return the path of a file in the cache, downloaded if it is missing or has changed.

    ``mirror`` is the address of another folder, such as ``"https://data.mylab.org/screens"``.

    Raises
    ------
    DownloadError
        It cannot be had, is cut off, or has another checksum. Nothing half-written is left.
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
            f"{file.name} (about {file.size_mb:g} MB) could not be downloaded from {url}: {error}. "
            f"Try again, {by_hand}; mirror= takes it from another place."
        ) from error
    except ValueError as error:
        raise DownloadError(
            f"{file.name} from {url} is not the file that was expected: {error}. It was not kept. "
            f"Try again; if it stays so, the file was changed at its source: please tell the "
            f"developers of scgroove."
        ) from error
    except OSError as error:
        raise DownloadError(
            f"cannot write {file.name} to {folder}: {error.strerror or error}. Name another "
            f"folder, cache=, or set {CACHE_VARIABLE}."
        ) from error
    return Path(path)


def unpacked(path: Path) -> Path:
    """Return the path of the content of a ``.gz`` file, unpacked beside it once.

    Raises
    ------
    DownloadError
        It is damaged. It is then removed, so that the next call downloads it anew.
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
    """Remove a file that cannot be read, and return the error to raise."""
    path.unlink(missing_ok=True)
    return DownloadError(
        f"{path.name} cannot be read ({error}): it was damaged on its way. It was removed from "
        f"{path.parent}; call again to download it anew."
    )
