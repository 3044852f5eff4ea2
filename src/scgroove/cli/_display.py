"""Progress of a command on the terminal."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer

from scgroove._files import columns_stay


class Display:
    """Bars on a terminal, plain lines elsewhere. Both on the error stream."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        self._console = Console(stderr=True)
        self._bars = Progress(
            SpinnerColumn(finished_text="[green]✓[/green]"),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TimeElapsedColumn(),
            TextColumn("[dim]{task.fields[note]}"),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task: Any = None
        self._tenth = -1

    def __enter__(self) -> Display:
        self._bars.start()
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if kind is None:
            self._finish()
        self._bars.stop()

    def step(self, name: str, title: str) -> None:
        """Start a step. The one before is done."""
        self._finish()
        self._tenth = -1
        self._task = self._bars.add_task(title, total=None, note="")
        if not self._console.is_terminal:
            typer.echo(f"{title} ...", err=True)

    def say(self, text: str) -> None:
        """Say something that is no step."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def advance(self, done: int, total: int, note: str) -> None:
        """Go on within the step."""
        note = f"epoch {done} of {total}  {note}"
        self._bars.update(self._task, completed=done, total=total, note=note)
        tenth = 10 * done // max(total, 1)
        if tenth > self._tenth and not self._console.is_terminal:
            typer.echo(f"  {note}", err=True)
        self._tenth = max(tenth, self._tenth)

    def _finish(self) -> None:
        if self._task is not None:
            self._bars.update(self._task, total=1, completed=1)


@contextmanager
def quiet() -> Iterator[None]:
    """Draw without a window, keep libraries from writing between the bars, and share the machine.

    The threads of PyTorch otherwise wait for one another by spinning: on a busy machine, training a
    small model then takes ten times as long.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    import matplotlib

    matplotlib.use("Agg")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import lightning.pytorch  # noqa: F401  (sets its own level when imported)
        import scvi  # noqa: F401
    loggers = [
        logging.getLogger(name)
        for name in ("lightning.pytorch", "lightning.fabric", "scvi", "scgroove")
    ]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        with columns_stay():
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
