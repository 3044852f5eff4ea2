"""HTML pages in one file: pictures inside, no script, nothing from the network."""

from __future__ import annotations

import base64
import os
import tempfile
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

Table: TypeAlias = dict[str, Any]
"""``columns`` (title, and whether it holds numbers), ``rows`` of text, ``strong`` places."""

SCREEN_DPI: Final = 112

STAMP: Final = "%d %B %Y, %H:%M"


class Note(NamedTuple):
    """A finding in plain words: its level (a key of the page's tags), sentences, and points."""

    level: str
    text: str
    points: tuple[str, ...] = ()


def render(template: str, context: Mapping[str, Any]) -> str:
    """Return the page of a template in ``scgroove/_templates``."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("scgroove", "_templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(f"{template}.html.j2").render(context)


def table(columns: Iterable[str], rows: list[list[str]], strong: Iterable[list[int]] = ()) -> Table:
    """Return a table for a page.

    Parameters
    ----------
    columns
        Titles. ``#`` before one: numbers, aligned to the right.
    rows
        Cells as text.
    strong
        Places [row, column] in bold.
    """
    heads = [{"title": c.removeprefix("#"), "number": c.startswith("#")} for c in columns]
    return {"columns": heads, "rows": rows, "strong": list(strong)}


def picture(png: bytes, dpi: int, alt: str = "") -> dict[str, Any]:
    """Return a picture as text, with the width at which letters are as large in all pictures."""
    pixels = int.from_bytes(png[16:20], "big")
    data = base64.b64encode(png).decode()
    return {"alt": alt, "data": data, "width": round(pixels * SCREEN_DPI / dpi)}


def versions_of(packages: Iterable[str]) -> dict[str, str]:
    """Return the installed versions of packages, ``"none"`` for those that are not installed."""
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "none"
    return found


def write_page(path: Path, page: str) -> None:
    """Write a page as a whole or not at all."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(page)
            file.flush()
            os.fsync(file.fileno())
        mask = os.umask(0)
        os.umask(mask)
        Path(name).chmod(0o666 & ~mask)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
