"""Objects in one file: a description as JSON, and the arrays that it refers to.

The file is an ordinary ``.npz`` that ``numpy.load(path, allow_pickle=False)`` reads, and has
checksums, which files of ``anndata.io.write_elem`` lack. Its member ``description`` is
JSON text. An array stands in it as

    {"type": "array", "in": "float64", "at": 120, "shape": [30, 4]}

for the values from 120 on of the member ``float64``, in C order. Arrays of a type share a member:
with thousands of labels a member for each array takes ten times as long.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import secrets
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from importlib import metadata
from pathlib import Path
from typing import IO, Any, Final, TypeVar

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from scgroove._whole import check_archive, damaged
from scgroove.aligners._plans import LowRankPlan, PotentialPlan
from scgroove.aligners.costs import BilinearCost, FixedCost, PairCost, SumCost
from scgroove.errors import FileError, InputError, InputTypeError

T = TypeVar("T")

FORMAT: Final = "scgroove coupling"
VERSION: Final = 1
"""Raise it when files change so that an older scgroove would misread them."""

DESCRIPTION: Final = "description"

KIND: Final = "a coupling that Coupling.save wrote"
HOW_TO_MAKE: Final = "A matrix of another origin becomes a coupling by Coupling.from_sparse."

OBJECTS: Final[dict[str, type]] = {
    "potential plan": PotentialPlan,
    "low-rank plan": LowRankPlan,
    "pair cost": PairCost,
    "bilinear cost": BilinearCost,
    "sum cost": SumCost,
    "fixed cost": FixedCost,
}
"""Data classes that are stored field by field, by their names in a file. Couplings add theirs."""

SPARSE: Final[Mapping[str, Any]] = {"csr matrix": sp.csr_matrix, "csr array": sp.csr_array}
NUMERIC: Final = "biufcmMS"
"""Kinds of NumPy types that a file holds as they are."""

UNREADABLE: Final = (
    *(ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RuntimeError),
    *(EOFError, OSError, zipfile.BadZipFile, zlib.error),
)
"""Errors of reading a file that is something else, or damaged."""


def save(value: Any, path: Path) -> None:
    """Write an object into a file. One that is there is replaced once all is written."""
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"cannot save the coupling: there is no folder {str(path.parent)!r}. Make it first: "
            f"pathlib.Path({str(path.parent)!r}).mkdir(parents=True)."
        )
    if path.is_dir():
        example = str(path / "coupling.npz")
        raise IsADirectoryError(
            f"{str(path)!r}: that is a folder. Name a file in it, such as {example!r}."
        )
    writer = _Writer()
    description = {
        "format": FORMAT,
        "format_version": VERSION,
        "scgroove_version": metadata.version("scgroove"),
        "coupling": writer.node(value, "the coupling"),
    }
    text = json.dumps(description, allow_nan=False).encode("ascii")
    arrays: dict[str, Any] = {name: np.concatenate(parts) for name, parts in writer.parts.items()}
    arrays[DESCRIPTION] = np.array(text)
    with _replacing(path) as file:
        np.savez(file, **arrays)


def load(path: Path, kind: type[T]) -> T:
    """Read an object of this kind that :func:`save` wrote, equal array for array."""
    check_archive(path, KIND, f"{DESCRIPTION}.npy", HOW_TO_MAKE)
    with path.open("rb") as file:
        node = _described(file, path)
        file.seek(0)
        try:
            with np.load(file, allow_pickle=False) as stored:
                arrays = {name: stored[name] for name in stored.files if name != DESCRIPTION}
            found = _read(node, arrays)
            if not isinstance(found, kind):
                raise InputTypeError(f"expected {kind.__name__}, found {type(found).__name__}")
            return found
        except UNREADABLE as error:
            raise damaged(path) from error


def _described(file: IO[bytes], path: Path) -> Any:
    """Return the description of the object in a file of a version that can be read."""
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
        writer = description.get("scgroove_version", "unknown")
        raise InputError(
            f"{str(path)!r} was written by scgroove {writer} in version {version} of the format; "
            f"this is scgroove {metadata.version('scgroove')}, which reads versions up to "
            f"{VERSION}. Update it: pip install --upgrade scgroove."
        )
    return description["coupling"]


def _read(node: Any, arrays: Mapping[str, npt.NDArray[Any]]) -> Any:
    if isinstance(node, list):
        return tuple(_read(item, arrays) for item in node)
    if not isinstance(node, dict):
        return node
    kind = node["type"]
    if kind == "array":
        shape = tuple(node["shape"])
        return arrays[node["in"]][node["at"] : node["at"] + math.prod(shape)].reshape(shape)
    if kind == "strings":
        out = np.empty(len(node["values"]), dtype=object)
        out[:] = node["values"]
        return out.astype(node["dtype"], copy=False).reshape(node["shape"])
    if kind == "number":
        return float(node["value"])
    if kind == "mapping":
        return {key: _read(value, arrays) for key, value in node["values"].items()}
    if kind in SPARSE:
        parts = tuple(_read(node[key], arrays) for key in ("data", "indices", "indptr"))
        return SPARSE[kind](parts, shape=tuple(node["shape"]))
    values = {key: _read(value, arrays) for key, value in node["fields"].items()}
    return OBJECTS[kind](**values)


class _Writer:
    """Turn objects into JSON, and note their arrays, one after another in the member of a type."""

    def __init__(self) -> None:
        self.parts: dict[str, list[npt.NDArray[Any]]] = {}
        self.filled: dict[str, int] = {}
        self.names = {stored: name for name, stored in OBJECTS.items()}

    def node(self, value: Any, what: str) -> Any:
        """Return a value as JSON. ``what`` names it in errors."""
        if isinstance(value, np.generic):
            value = value.item()
        if value is None or isinstance(value, str | bool | int):
            return value
        if isinstance(value, float):  # JSON knows neither NaN nor infinity
            return value if math.isfinite(value) else {"type": "number", "value": str(value)}
        if is_dataclass(value) and type(value) in self.names:
            return self._object(value, what)
        if sp.issparse(value):
            held = value.tocsr()
            parts = {key: self._array(getattr(held, key)) for key in ("data", "indices", "indptr")}
            kind = "csr array" if isinstance(held, sp.sparray) else "csr matrix"
            return {"type": kind, "shape": [int(n) for n in held.shape], **parts}
        if isinstance(value, np.ndarray):
            return self._array(value) if value.dtype.kind in NUMERIC else _strings(value, what)
        if isinstance(value, tuple):
            return [self.node(item, what) for item in value]
        raise InputError(
            f"{what} cannot be stored: found {type(value).__name__}. What can be are strings, "
            f"numbers, truth values, arrays of numbers or strings, and the plans and costs of "
            f"scgroove; make it one of them."
        )

    def _object(self, value: Any, what: str) -> Any:
        held: dict[str, Any] = {}
        if hasattr(value, "label"):
            what = f"block {value.label!r}"
        for field in fields(value):
            content = getattr(value, field.name)
            if field.name == "evidence":
                values = {key: self.node(one, f"evidence[{key!r}]") for key, one in content.items()}
                held[field.name] = {"type": "mapping", "values": values}
            elif field.name in ("source_names", "target_names") and content is not None:
                names = np.empty(len(content), dtype=object)
                names[:] = list(content)
                held[field.name] = _strings(names, field.name)
            else:
                held[field.name] = self.node(content, f"{field.name} of {what}")
        return {"type": self.names[type(value)], "fields": held}

    def _array(self, array: npt.NDArray[Any]) -> Any:
        name, at = array.dtype.name, self.filled.get(array.dtype.name, 0)
        self.parts.setdefault(name, []).append(array.ravel())
        self.filled[name] = at + array.size
        return {"type": "array", "in": name, "at": at, "shape": list(array.shape)}


def _strings(array: npt.NDArray[Any], what: str) -> Any:
    values = array.ravel().tolist()
    wrong = [value for value in values if not isinstance(value, str)]
    if wrong or array.dtype.kind not in "OUT":
        found = f"{wrong[0]!r} among them" if wrong else f"type {array.dtype}"
        raise InputError(
            f"{what} cannot be stored: expected numbers, or strings only; found {found}."
        )
    dtype = array.dtype.str if array.dtype.kind == "U" else "O"
    return {"type": "strings", "dtype": dtype, "shape": list(array.shape), "values": values}


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[IO[bytes]]:
    """Open a new file that takes the place of ``path`` when written in full."""
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
