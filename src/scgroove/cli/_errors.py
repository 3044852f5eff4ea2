"""Messages and exit codes of errors."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn

import typer

from scgroove._stops import ending, silence_output
from scgroove.errors import ScgrooveError

EXIT_ERROR, EXIT_USER, EXIT_STOPPED, EXIT_PIPE = 1, 2, 130, 141


@contextmanager
def errors(debug: bool, last_words: Callable[[], str] = str, stopped: str = "") -> Iterator[None]:
    """Turn an error into a message and an exit code.

    Parameters
    ----------
    debug
        Show the traceback.
    last_words
        Called after an error or a signal: tidies up, and says what is kept.
    stopped
        Said after a signal, too.
    """

    def farewell() -> str:
        return " ".join(filter(None, ["Stopped.", stopped, last_words()]))

    try:
        with ending(farewell):
            yield
    except BrokenPipeError:
        farewell()
        silence_output()
        raise typer.Exit(EXIT_PIPE) from None
    except KeyboardInterrupt:
        _fail(farewell(), EXIT_STOPPED)
    except Exception as error:
        if debug:
            traceback.print_exc()
        message, code = _explained(error, debug)
        _fail(" ".join(filter(None, [f"Error: {message}", last_words()])), code)


def _explained(error: Exception, debug: bool) -> tuple[str, int]:
    """Return what to tell the user, and the exit code."""
    if isinstance(error, ScgrooveError) or (isinstance(error, OSError) and error.errno is not None):
        return str(error), EXIT_USER
    if isinstance(error, MemoryError):
        return "There is not enough memory.", EXIT_USER
    advice = "" if debug else " Run it again with --debug to see where, and please report it."
    text = error.args[0] if isinstance(error, KeyError) and error.args else error
    name = type(error).__name__
    return f"Unexpected {name}: {text}\nThis looks like a bug in scgroove.{advice}", EXIT_ERROR


def _fail(message: str, code: int) -> NoReturn:
    color = typer.colors.RED if code != EXIT_STOPPED else None
    with suppress(BrokenPipeError):
        typer.secho(message, fg=color, err=True)
    raise typer.Exit(code)
