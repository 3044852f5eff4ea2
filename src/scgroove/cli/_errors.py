"""What goes wrong: a message and an exit code."""

from __future__ import annotations

import dis
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn

import typer

from scgroove._stops import ending, silence_output
from scgroove.errors import ScgrooveError

EXIT_ERROR, EXIT_USER, EXIT_STOPPED, EXIT_PIPE = 1, 2, 130, 141
RAISE = dis.opmap["RAISE_VARARGS"]
"""The instruction of a ``raise`` statement: what Python itself raises in our code is a fault of ours."""


class UserError(ScgrooveError):
    """Something that the user can put right; shown without a traceback."""


@contextmanager
def errors(debug: bool, last_words: Callable[[], str] = str, stopped: str = "") -> Iterator[None]:
    """Turn what goes wrong into a message and an exit code.

    Parameters
    ----------
    debug
        Show the traceback.
    last_words
        Called after an error or a signal: tidies up, and returns what is kept.
    stopped
        What else to say after a signal.
    """

    def farewell() -> str:
        return " ".join(filter(None, ["Stopped.", stopped, last_words()]))

    try:
        with ending(farewell):
            yield
    except (KeyboardInterrupt, BrokenPipeError) as error:
        words = farewell()
        if isinstance(error, BrokenPipeError):
            silence_output()
            raise typer.Exit(EXIT_PIPE) from None
        _fail(words, EXIT_STOPPED)
    except Exception as error:
        if debug:
            traceback.print_exc()
        message, code = _explained(error, debug)
        _fail(" ".join(filter(None, [message, last_words()])), code)


def _explained(error: Exception, debug: bool) -> tuple[str, int]:
    """Return what to tell the user, and the exit code."""
    if _is_taught(error):
        return _message(error), EXIT_USER
    if isinstance(error, MemoryError):
        return "There is not enough memory.", EXIT_USER
    if isinstance(error, OSError) and error.errno is not None:
        return _message(error), EXIT_USER
    advice = "" if debug else " Run it again with --debug to see where, and please report it."
    text = f"Unexpected {type(error).__name__}: {_message(error)}\nThis looks like a bug in scgroove.{advice}"
    return text, EXIT_ERROR


def _fail(message: str, code: int) -> NoReturn:
    color = typer.colors.RED if code != EXIT_STOPPED else None
    with suppress(BrokenPipeError):
        typer.secho(f"Error: {message}" if color else message, fg=color, err=True)
    raise typer.Exit(code)


def _message(error: BaseException) -> str:
    """Text of an error; a KeyError would show it quoted."""
    if isinstance(error, KeyError) and error.args:
        return str(error.args[0])
    return str(error)


def _is_taught(error: BaseException) -> bool:
    """Whether this tells the user what to do: an error of our own, or a ``raise`` statement in a module of ours."""
    if isinstance(error, ScgrooveError):
        return True
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if (
        trace is None
        or trace.tb_frame.f_globals.get("__name__", "").partition(".")[0] != "scgroove"
    ):
        return False
    return trace.tb_frame.f_code.co_code[trace.tb_lasti] == RAISE


def listed(names: Iterable[str], limit: int = 12) -> str:
    """Name at most ``limit`` items."""
    every = [repr(str(name)) for name in names]
    more = f" and {len(every) - limit} more" if len(every) > limit else ""
    return (", ".join(every[:limit]) or "nothing") + more
