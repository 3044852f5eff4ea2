"""Files of data: one reader that names what is wrong, and what HDF5 can hold."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from scgroove._whole import check_file, damaged
from scgroove.errors import CannotWriteError, FileError, ScgrooveError

if TYPE_CHECKING:
    import h5py
    import pandas as pd
    from anndata import AnnData
    from mudata import MuData

SMALL: Final = 64 * 2**20
"""Bytes of a dataset below which its size needs no check."""

RATIOS: Final = {None: 1, "gzip": 1100, "lzf": 300}
"""Most bytes that one stored byte can stand for, by kind of compression."""

OTHER_RATIO: Final = 100_000

MEMORY: Final = 4 * 2**30
"""Bytes that looking at a file may take."""

ROWS: Final = 100_000
"""Texts that are looked at together."""

MUDATA: Final = "a MuData file (.h5mu)"

HOW_TO_MAKE: Final = (
    "Make one in Python: "
    "mudata.MuData({'rna': adata_rna, 'prot': adata_prot}).write_h5mu('screen.h5mu')."
)


def read_mudata(path: str | Path) -> MuData:
    """Read a MuData file into memory.

    The sizes that the file declares are compared with its bytes before anything is read: damaged
    bytes could make the process take all memory.

    Raises
    ------
    FileError
        The file does not exist, is no MuData file, or is damaged.
    """
    path = Path(path)
    check_is_hdf5(path)
    import mudata

    with reading(path), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return mudata.read_h5mu(path)


@contextmanager
def columns_stay() -> Iterator[None]:
    """Keep the columns of modalities in the modalities: mudata before 0.4 copied them up."""
    import mudata

    options = getattr(mudata, "set_options", None)
    with options(pull_on_update=False) if options else nullcontext():
        yield


def make_mudata(modalities: Mapping[str, AnnData]) -> MuData:
    """Return a MuData of modalities, whose columns stay in them."""
    import mudata

    with columns_stay():
        return mudata.MuData(dict(modalities))


def check_is_hdf5(path: Path) -> None:
    """Refuse a file that cannot be a MuData file.

    Raises
    ------
    FileError
        It does not exist, is a folder, is empty, or is no HDF5 file.
    """
    check_file(path, MUDATA)
    import h5py

    if not h5py.is_hdf5(path):
        raise FileError(
            f"{path} is not an HDF5 file; expected {MUDATA}. {HOW_TO_MAKE}", path, "format"
        )


@contextmanager
def reading(path: Path, must_have: str = "mod") -> Iterator[None]:
    """Check that an HDF5 file is whole, and raise an error if reading it fails.

    ``must_have`` is the group that tells the kind of file, empty if there is none.

    Raises
    ------
    FileError
        The group is missing, or anything goes wrong on reading.
    """
    import h5py

    try:
        _probe_in_process(path)
        with h5py.File(path, "r") as file:
            is_expected = not must_have or must_have in file
        if is_expected:
            yield
    except (ScgrooveError, MemoryError):
        raise
    except Exception as error:  # readers of damaged bytes raise errors of any class
        said = "" if isinstance(error, _DamageError) else f" The reader says: {_first_line(error)}"
        raise damaged(path, said) from error
    if not is_expected:
        raise FileError(
            f"{path} holds no MuData: it has no group {must_have!r}. A file of one modality "
            f"(.h5ad) has nothing to be matched to. {HOW_TO_MAKE}",
            path,
            "format",
        )


class _DamageError(Exception):
    """Message of the process that looked at a file."""


def _first_line(error: BaseException) -> str:
    text = str(error.args[0]).strip() if error.args else ""
    line = text.splitlines()[0] if text else ""
    return f"{type(error).__name__}: {line}"


def _probe_in_process(path: Path) -> None:
    """Run :func:`probe` in a process of its own: HDF5 crashes on some damaged bytes."""
    code = "import sys; from scgroove._files import probe; probe(sys.argv[1])"
    done = subprocess.run(
        # -P: no script of the working folder in place of a module
        [sys.executable, "-P", "-c", code, str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        said = done.stderr.strip().splitlines()[-1:] or [f"stopped with code {done.returncode}"]
        raise _DamageError(said[0])


def probe(path: str) -> None:
    """Read attributes, texts and the index of all chunks of an HDF5 file, with little memory.

    The sizes that datasets declare are compared with the bytes that they have.

    Raises
    ------
    ValueError
        If they cannot be true. The HDF5 library raises errors of other classes, or crashes.
    """
    import h5py

    with suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    file_size = os.stat(path).st_size

    def check(name: str, item: Any) -> None:
        dict(item.attrs)
        if isinstance(item, h5py.Dataset) and item.shape is not None:
            _check_size(item, file_size)
            _look_at(item, file_size)

    with h5py.File(path, "r") as file:
        dict(file.attrs)
        file.visititems(check)


def _check_size(item: h5py.Dataset, file_size: int) -> None:
    declared, stored = item.size * item.dtype.itemsize, item.id.get_storage_size()
    plain = not item.id.get_create_plist().get_nfilters()
    ratio = RATIOS.get(item.compression, OTHER_RATIO) if plain or item.compression else OTHER_RATIO
    if item.external or item.is_virtual:
        raise ValueError(f"{item.name} points to another file")
    if stored > file_size or declared > max(SMALL, ratio * stored):
        raise ValueError(f"{item.name} declares {declared:,} bytes and has {stored:,}")


def _look_at(item: h5py.Dataset, file_size: int) -> None:
    """Read texts, whose sizes lie in the data, and the places of chunks."""
    if item.dtype.hasobject:
        if not item.shape:
            item[()]
        for start in range(0, item.shape[0] if item.shape else 0, ROWS):
            item[start : start + ROWS]
    elif item.chunks and item.size:

        def check(chunk: Any) -> None:
            if chunk.byte_offset is not None and chunk.byte_offset + chunk.size > file_size:
                raise ValueError(f"{item.name} lies behind the end of the file")

        item.id.chunk_iter(check)


def digest_of(path: str | Path) -> str:
    """Return a digest of the contents of a file."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "blake2b").hexdigest()[:16]


@contextmanager
def writing(folder: Path, kept: str) -> Iterator[None]:
    """Name the folder and the remedy if writing fails.

    ``kept`` is a sentence on what is kept.

    Raises
    ------
    CannotWriteError
        On errors of the operating system, and of HDF5 and PyTorch, which raise ``RuntimeError``.
    """
    try:
        yield
    except CannotWriteError:
        raise
    except (OSError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not _is_failed_write(error):
            raise
        why = getattr(error, "strerror", None) or _first_line(error)
        raise CannotWriteError(
            f"cannot write to {folder}: {why}. {kept} Make room, or mend the permissions."
        ) from error


def _is_failed_write(error: RuntimeError) -> bool:
    words = ("PytorchStreamWriter", "file write failed", "unable to flush", "Can't decrement id")
    return any(word.lower() in str(error).lower() for word in words)


def make_storable(mdata: MuData) -> list[str]:
    """Convert in place what an HDF5 file cannot hold, before any work is done.

    Columns become categories of their texts, and missing values stay missing. Anything else that
    cannot be stored is left out.

    Returns
    -------
    list of str
        A sentence for each conversion and omission.
    """
    from anndata import AnnData

    said: list[str] = []
    for name, part in [("mdata", mdata), *((f"mdata[{m!r}]", a) for m, a in mdata.mod.items())]:
        for axis in ("obs", "var"):
            frame, columns = _storable(getattr(part, axis))
            if frame is not None:
                setattr(part, axis, frame)
            said += [f"{name}.{axis}[{c!r}] is stored as categories of text." for c in columns]
        for field in ("uns", "obsm", "varm", "obsp", "varp", "layers"):
            omitted = _omit(getattr(part, field, None) or {}, whole=field == "uns")
            said += [
                f"{name}.{field}[{k!r}] cannot be stored in HDF5, and is left out." for k in omitted
            ]
        raw = getattr(part, "raw", None)
        if raw is not None and (frame := _storable(raw.var)[0]) is not None:
            part.raw = AnnData(raw.X, var=frame, varm=dict(raw.varm))
    return said


def _storable(frame: pd.DataFrame) -> tuple[pd.DataFrame | None, list[Any]]:
    """Return a table that can be stored, None for the table itself, and the changed columns."""
    import pandas as pd

    if _can_be_stored(frame):
        return None, []
    frame = frame.copy()
    if not _can_be_stored(frame[[]]):
        frame.index = pd.Index(frame.index.astype(str).to_numpy(dtype=object), dtype=object)
    changed = [column for column in frame.columns if not _can_be_stored(frame[[column]])]
    for column in changed:
        known = frame[column].dropna().astype(object).map(str).astype(object)
        frame[column] = pd.Categorical(known.reindex(frame.index))
    return frame, changed


def _omit(mapping: MutableMapping[Any, Any], whole: bool) -> list[Any]:
    """Take out the entries that cannot be stored, and return their names."""
    out = []
    for key in [key for key in mapping if key is not None]:  # anndata 0.13: the layer None is X
        value = mapping[key]
        if not _can_be_stored(value if whole or hasattr(value, "columns") else value[:2]):
            del mapping[key]
            out.append(key)
    return out


def _can_be_stored(value: Any) -> bool:
    import h5py
    from anndata.io import write_elem

    with (
        h5py.File("trial", "w", driver="core", backing_store=False) as file,
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        try:
            write_elem(file, "value", value)
        except Exception:  # writers of unknown types raise errors of any class
            return False
    return True
