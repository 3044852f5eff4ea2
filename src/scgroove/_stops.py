"""Ctrl-C, SIGTERM and SIGHUP: they end a command whatever library is at work."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

SIGNALS: Final = tuple(
    getattr(signal, n) for n in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, n)
)

KILL: Final = getattr(signal, "SIGKILL", signal.SIGTERM)

SHOW_CURSOR: Final = "\x1b[?25h"


class _Held:
    """Signals that came while results were put in place."""

    depth = 0
    pending: int | None = None


@contextmanager
def ending(last_words: Callable[[], str]) -> Iterator[None]:
    """End the process on a signal, with the exit code 128 plus the number of the signal.

    The process ends in the handler: Lightning and numba would swallow an exception. Results must
    therefore be on disk already. Ignored signals stay so, as with ``nohup``.

    Parameters
    ----------
    last_words
        Called before the end: tidies up, and returns a sentence to print.
    """

    def end(number: int, frame: Any) -> None:
        if _Held.depth:
            _Held.pending = number
            return
        for one in SIGNALS:
            signal.signal(one, signal.SIG_IGN)
        text = last_words()
        with suppress(OSError):  # nobody may be there to read it
            cursor = SHOW_CURSOR if os.isatty(2) else ""
            os.write(2, f"{cursor}\n{text}\n".encode())
        for child in multiprocessing.active_children():
            with suppress(OSError):  # it may have ended; those of joblib have no kill()
                os.kill(child.ident, KILL)  # type: ignore[arg-type]
        os._exit(128 + number)

    with _handling(end):
        yield


@contextmanager
def held() -> Iterator[None]:
    """Let a signal wait until the end of the block."""
    _Held.depth += 1
    try:
        yield
    finally:
        _Held.depth -= 1
        number, _Held.pending = _Held.pending, None
        if number is not None and not _Held.depth:
            signal.raise_signal(number)


@contextmanager
def noticed() -> Iterator[list[int]]:
    """Note the signals to stop that come, and pass each on to the handler before.

    Yields
    ------
    list of int
        The signals so far. A library may have swallowed the exception of one.
    """
    came: list[int] = []
    before = {one: signal.getsignal(one) for one in SIGNALS}

    def note(number: int, frame: Any) -> None:
        came.append(number)
        earlier = before[signal.Signals(number)]
        if callable(earlier):
            earlier(number, frame)
            return
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)

    with _handling(note):
        yield came


@contextmanager
def _handling(handler: Callable[[int, Any], None]) -> Iterator[None]:
    """Handle signals that are not ignored, in the main thread of a process. Others cannot."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {one: signal.getsignal(one) for one in SIGNALS}
    before = {
        one: was for one, was in before.items() if was is not signal.SIG_IGN and was is not None
    }
    for one in before:
        signal.signal(one, handler)
    try:
        yield
    finally:
        for one, was in before.items():
            signal.signal(one, was)


def silence_output() -> None:
    """Write nothing more to the standard streams: the reader of a pipe has gone."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
