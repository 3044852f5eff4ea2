"""What goes wrong: a message and an exit code."""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import typer

EXIT_ERROR, EXIT_USER, EXIT_STOPPED = 1, 2, 130
_PACKAGE = Path(__file__).parents[1]


class UserError(Exception):
    """Something that the user can put right; shown without a traceback."""


@contextmanager
def errors(debug: bool) -> Iterator[None]:
    """Turn what goes wrong into a message and an exit code."""
    try:
        yield
    except KeyboardInterrupt:
        _fail("Stopped. Nothing was written.", EXIT_STOPPED)
    except Exception as error:
        if debug:
            traceback.print_exc()
        if isinstance(error, UserError | PermissionError) or _is_taught(error):
            _fail(_message(error), EXIT_USER)
        advice = "" if debug else " Run it again with --debug to see where, and please report it."
        _fail(
            f"Unexpected {type(error).__name__}: {_message(error)}\nThis looks like a bug in scgroove.{advice}",
            EXIT_ERROR,
        )


def _fail(message: str, code: int) -> NoReturn:
    typer.secho(f"Error: {message}", fg=typer.colors.RED if code != EXIT_STOPPED else None, err=True)
    raise typer.Exit(code)


def _message(error: BaseException) -> str:
    """Text of an error; a KeyError would show it quoted."""
    if isinstance(error, KeyError) and error.args:
        return str(error.args[0])
    return str(error)


def _is_taught(error: BaseException) -> bool:
    """Whether scgroove itself raised this on purpose, in a line that says ``raise``."""
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return False
    here = Path(frames[-1].filename).is_relative_to(_PACKAGE)
    return here and (frames[-1].line or "").startswith("raise ")


def listed(names: Iterable[str], limit: int = 12) -> str:
    """Name at most ``limit`` items."""
    every = [repr(str(name)) for name in names]
    more = f" and {len(every) - limit} more" if len(every) > limit else ""
    return (", ".join(every[:limit]) or "nothing") + more
