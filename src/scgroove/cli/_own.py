"""Methods of one's own: the files that ``--import`` names."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from scgroove.errors import InputError

_HELP = (
    "A Python file, or an installed module, that registers learners, aligners or metrics of your "
    "own. It is run as a program: name only files that you trust. Can be repeated."
)
Imports: TypeAlias = Annotated[
    list[str] | None, typer.Option("--import", "-i", metavar="FILE", help=_HELP)
]


def import_all(names: Iterable[str] | None) -> None:
    """Import files and modules, so that what they register is known.

    The folder of a file goes on the path: processes that are started later import it by its name.

    Raises
    ------
    InputError
        If a file or module cannot be imported. The message has the error.
    """
    for given in names or ():
        file = Path(given) if given.endswith(".py") else None
        if file is not None:
            _check_file(file)
            folder = str(file.resolve().parent)
            if folder not in sys.path:
                sys.path.insert(0, folder)
        try:
            module = importlib.import_module(given if file is None else file.stem)
        except Exception as error:
            raise InputError(f"--import {given}: {type(error).__name__}: {error}") from error
        found = getattr(module, "__file__", None)
        if file is not None and (found is None or Path(found).resolve() != file.resolve()):
            raise InputError(
                f"--import {file}: another module is called {file.stem!r} "
                f"({found or 'built in'}). Rename the file."
            )


def _check_file(file: Path) -> None:
    if not file.is_file():
        raise InputError(f"--import {file}: there is no such file.")
    if not file.stem.isidentifier():
        raise InputError(
            f"--import {file}: a file is imported by its name, and {file.stem!r} cannot be one. "
            "Rename it."
        )
