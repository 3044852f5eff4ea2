"""A coupling in one file: a description as JSON, and the arrays that it refers to.

The file is an ordinary ``.npz`` that ``numpy.load(path, allow_pickle=False)`` reads. Its member ``description`` is JSON
text: the tree of blocks, plans, costs and evidence. An array stands in it as

    {"type": "array", "in": "float64", "at": 120, "shape": [30, 4]}

which means the values from 120 on of the member ``float64``, in C order. Arrays of a type share a member, because with
thousands of labels a member for each array takes ten times as long.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import secrets
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import IO, Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from scgroove._whole import check_archive, damaged
from scgroove.aligners._coupling import Coupling, CouplingBlock
from scgroove.aligners._plans import LowRankPlan, PotentialPlan
from scgroove.aligners.base import versions
from scgroove.aligners.costs import BilinearCost, FixedCost, PairCost, SumCost
from scgroove.errors import FileError, InputError, InputTypeError

FORMAT: Final = "scgroove coupling"
VERSION: Final = 1
"""Version of the format. Raise it when files change so that an older scgroove would misread them."""

DESCRIPTION: Final = "description"

KIND: Final = "a coupling that Coupling.save wrote"
HOW_TO_MAKE: Final = "A matrix of another origin becomes a coupling by Coupling.from_sparse."

OBJECTS: Final[Mapping[str, type]] = {
    "coupling": Coupling,
    "block": CouplingBlock,
    "potential plan": PotentialPlan,
    "low-rank plan": LowRankPlan,
    "pair cost": PairCost,
    "bilinear cost": BilinearCost,
    "sum cost": SumCost,
    "fixed cost": FixedCost,
}
"""Data classes that are stored field by field, by the name that they have in a file."""

NAMES_OF_OBJECTS: Final = {stored: name for name, stored in OBJECTS.items()}
SPARSE: Final[Mapping[str, Any]] = {"csr matrix": sp.csr_matrix, "csr array": sp.csr_array}
NUMERIC: Final = "biufcmMS"
"""Kinds of NumPy types that a file holds as they are."""

AT_A_TIME: Final = 2**24
"""Bytes written at a time."""

Node: TypeAlias = Any
"""What JSON can hold."""

UNREADABLE: Final = (
    *(ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RuntimeError),
    *(EOFError, OSError, zipfile.BadZipFile, zlib.error),
)
"""What reading a file that is something else, or damaged, may raise."""


def save(coupling: Coupling, path: Path) -> None:
    """Write a coupling into a file; one that is there is replaced once all is written.

    Parameters
    ----------
    coupling
        What to store.
    path
        The file, of exactly this name.

    Raises
    ------
    FileNotFoundError
        If its folder does not exist.
    IsADirectoryError
        If it is a folder.
    ValueError
        If the coupling holds something that cannot be stored. A file that was there is left as it was.
    """
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"cannot save the coupling as {str(path)!r}: there is no folder {str(path.parent)!r}. Make it first: "
            f"pathlib.Path({str(path.parent)!r}).mkdir(parents=True)."
        )
    if path.is_dir():
        raise IsADirectoryError(
            f"cannot save the coupling as {str(path)!r}: that is a folder. Name a file in it, such as "
            f"{str(path / 'coupling.npz')!r}."
        )
    arrays = _Arrays()
    description = {
        "format": FORMAT,
        "format_version": VERSION,
        **versions("scgroove"),
        "coupling": _encode(coupling, arrays, "the coupling"),
    }
    text = json.dumps(description, allow_nan=False).encode("ascii")
    with _replacing(path) as file, zipfile.ZipFile(file, "w") as archive:
        _write_member(archive, DESCRIPTION, [np.array(text)], ())
        for name, parts in arrays.members():
            _write_member(archive, name, parts, (sum(part.size for part in parts),))


def load(path: Path) -> Coupling:
    """Read a coupling that :func:`save` wrote.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    Coupling
        Equal to the stored one, array for array; names of cells as object arrays.

    Raises
    ------
    FileError
        There is no such file; it holds no coupling, or is damaged.
    ValueError
        It is of a later version of the format.
    """
    check_archive(path, KIND, f"{DESCRIPTION}.npy", HOW_TO_MAKE)
    with path.open("rb") as file:
        description = _describe(file, path)
        file.seek(0)
        try:
            return _read(file, description["coupling"])
        except UNREADABLE as error:
            raise damaged(path) from error


# ------------------------------------------------------------------------------------------------------- reading


def _describe(file: IO[bytes], path: Path) -> dict[str, Any]:
    """Return the description of a file of a version that can be read."""
    try:
        with np.load(file, allow_pickle=False) as stored:
            description = json.loads(stored[DESCRIPTION].item())
        is_ours = description["format"] == FORMAT
        version = int(description["format_version"])
    except UNREADABLE:
        is_ours, version = False, 0
    if not is_ours:
        raise FileError(f"{path} is not {KIND}. {HOW_TO_MAKE}", path, "format")
    if version > VERSION:
        raise InputError(
            f"{str(path)!r} was written by scgroove {description.get('scgroove_version', 'unknown')} in version {version} of "
            f"the format; this is scgroove {versions('scgroove')['scgroove_version']}, which reads versions up to {VERSION}. "
            f"Update it: pip install --upgrade scgroove."
        )
    return dict(description)


def _read(file: IO[bytes], node: Node) -> Coupling:
    with np.load(file, allow_pickle=False) as stored:
        members = {name: stored[name] for name in stored.files if name != DESCRIPTION}
    coupling = _decode(node, members)
    if not isinstance(coupling, Coupling):
        raise InputTypeError(f"expected a coupling, found {type(coupling).__name__}")
    return coupling


def _decode(node: Node, members: Mapping[str, npt.NDArray[Any]]) -> Any:
    if isinstance(node, list):
        return tuple(_decode(item, members) for item in node)
    if not isinstance(node, dict):
        return node
    kind = node["type"]
    if kind in OBJECTS:
        return OBJECTS[kind](
            **{key: _decode(value, members) for key, value in node["fields"].items()}
        )
    if kind in SPARSE:
        parts = tuple(_decode(node[key], members) for key in ("data", "indices", "indptr"))
        return SPARSE[kind](parts, shape=tuple(node["shape"]))
    return DECODERS[kind](node, members)


def _array(node: Node, members: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[Any]:
    shape = tuple(node["shape"])
    values = members[node["in"]][node["at"] : node["at"] + math.prod(shape)]
    return values.reshape(shape)


def _strings(node: Node, members: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[Any]:
    out = np.empty(len(node["values"]), dtype=object)
    out[:] = node["values"]
    return out.astype(node["dtype"], copy=False).reshape(node["shape"])


DECODERS: Final[Mapping[str, Callable[[Node, Mapping[str, npt.NDArray[Any]]], Any]]] = {
    "array": _array,
    "strings": _strings,
    "number": lambda node, members: float(node["value"]),
    "mapping": lambda node, members: {
        key: _decode(value, members) for key, value in node["values"].items()
    },
}

# ------------------------------------------------------------------------------------------------------- writing


class _Arrays:
    """Arrays to be written, one after another in the member of their type."""

    def __init__(self) -> None:
        self._parts: dict[str, list[npt.NDArray[Any]]] = {}
        self._filled: dict[str, int] = {}

    def place(self, array: npt.NDArray[Any]) -> Node:
        """Take an array and return where it will stand."""
        name = array.dtype.name if array.dtype.isnative else f"{array.dtype.name}_swapped"
        at = self._filled.get(name, 0)
        self._parts.setdefault(name, []).append(array)
        self._filled[name] = at + array.size
        return {"type": "array", "in": name, "at": at, "shape": list(array.shape)}

    def members(self) -> Iterator[tuple[str, list[npt.NDArray[Any]]]]:
        """Yield the name of each member, and its arrays."""
        yield from self._parts.items()


def _encode(value: Any, arrays: _Arrays, what: str) -> Node:
    """Return a value as JSON; its arrays go to ``arrays``. ``what`` names it in errors."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        # JSON knows neither NaN nor infinity
        return value if math.isfinite(value) else {"type": "number", "value": str(value)}
    if type(value) in NAMES_OF_OBJECTS:
        return _encode_object(value, arrays, what)
    if sp.issparse(value):
        return _encode_sparse(value, arrays)
    if isinstance(value, np.ndarray):
        return arrays.place(value) if value.dtype.kind in NUMERIC else _encode_strings(value, what)
    if isinstance(value, tuple):
        return [_encode(item, arrays, what) for item in value]
    raise InputError(
        f"{what} cannot be stored: found {type(value).__name__}. What can be are strings, numbers, truth values, arrays "
        f"of numbers or strings, and the plans and costs of scgroove; make it one of them."
    )


def _encode_object(value: Any, arrays: _Arrays, what: str) -> Node:
    held: dict[str, Node] = {}
    if isinstance(value, CouplingBlock):
        what = f"block {value.label!r}"
    for field in fields(value):
        content = getattr(value, field.name)
        if field.name == "evidence":
            held[field.name] = _encode_mapping(content, arrays)
        elif field.name in ("source_names", "target_names") and content is not None:
            held[field.name] = _encode_names(content, field.name)
        else:
            held[field.name] = _encode(content, arrays, f"{field.name} of {what}")
    return {"type": NAMES_OF_OBJECTS[type(value)], "fields": held}


def _encode_mapping(evidence: Mapping[str, Any], arrays: _Arrays) -> Node:
    values = {key: _encode(value, arrays, f"evidence[{key!r}]") for key, value in evidence.items()}
    return {"type": "mapping", "values": values}


def _encode_names(names: Sequence[str], what: str) -> Node:
    held = np.empty(len(names), dtype=object)
    held[:] = list(names)
    return _encode_strings(held, what)


def _encode_strings(array: npt.NDArray[Any], what: str) -> Node:
    values = array.ravel().tolist()
    wrong = [value for value in values if not isinstance(value, str)]
    if wrong or array.dtype.kind not in "OUT":
        found = f"{wrong[0]!r} among them" if wrong else f"type {array.dtype}"
        raise InputError(
            f"{what} cannot be stored: expected numbers, or strings only; found {found}."
        )
    dtype = array.dtype.str if array.dtype.kind == "U" else "O"
    return {"type": "strings", "dtype": dtype, "shape": list(array.shape), "values": values}


def _encode_sparse(plan: Any, arrays: _Arrays) -> Node:
    held = plan.tocsr()
    parts = {key: arrays.place(getattr(held, key)) for key in ("data", "indices", "indptr")}
    kind = "csr array" if isinstance(held, sp.sparray) else "csr matrix"
    return {"type": kind, "shape": [int(n) for n in held.shape], **parts}


def _write_member(
    archive: zipfile.ZipFile, name: str, parts: Sequence[npt.NDArray[Any]], shape: tuple[int, ...]
) -> None:
    """Write arrays of one type, one after another, as one array, without joining them in memory."""
    header = {"descr": parts[0].dtype.str, "fortran_order": False, "shape": shape}
    with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
        np.lib.format.write_array_header_1_0(member, header)
        for chunk in _chunks(parts):
            member.write(chunk)


def _chunks(parts: Sequence[npt.NDArray[Any]]) -> Iterator[bytes]:
    """Yield the bytes of arrays in C order: a large array in pieces, and many small ones together."""
    waiting: list[bytes] = []
    size = 0
    for part in parts:
        for piece in [part] if part.nbytes <= AT_A_TIME else _pieces(part):
            waiting.append(piece.tobytes())
            size += piece.nbytes
            if size >= AT_A_TIME:
                yield b"".join(waiting)
                waiting, size = [], 0
    yield b"".join(waiting)


def _pieces(array: npt.NDArray[Any]) -> Iterator[npt.NDArray[Any]]:
    """Yield the values of a large array in C order, some at a time, however it lies in memory."""
    return iter(
        np.nditer(
            array,
            flags=["external_loop", "buffered"],
            buffersize=max(1, AT_A_TIME // array.itemsize),
            order="C",
        )
    )


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[IO[bytes]]:
    """Open a new file in the folder of ``path`` that takes its place when written in full, and is removed if not."""
    temporary = path.parent / f".scgroove-{secrets.token_hex(8)}.tmp"
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
