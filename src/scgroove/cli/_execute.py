"""From start to results."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from scgroove.cli._destination import Destination
from scgroove.cli._display import Display, quiet
from scgroove.cli._errors import errors

if TYPE_CHECKING:
    from mudata import MuData

    from scgroove._report import Results, Settings

Prepared = tuple["MuData", "Settings", str]


def execute(
    command: str, folder: Path, overwrite: bool, debug: bool, prepare: Callable[[Display], Prepared]
) -> None:
    """Make the results in a folder beside the one asked for, and put them in place when all are there."""
    with errors(debug), ExitStack() as stack:
        destination = Destination(folder.expanduser().resolve(), folder, overwrite, command)
        destination.check()
        start = time.perf_counter()
        with Display() as display:
            display.step("start", "Loading PyTorch and scvi-tools")
            stack.enter_context(quiet())
            from scgroove import _workflow

            mdata, settings, name = prepare(display)
            spent = {"start": time.perf_counter() - start}
            with destination.fresh() as fresh:
                results = _workflow.analyse(mdata, settings, data_name=name, progress=display, spent=spent)
                written = _workflow.write(results, fresh, command=_command_line(), progress=display)
                destination.put(fresh, written)
        _say(folder, results)


def _say(folder: Path, results: Results) -> None:
    """Say in a few lines what came out, and where it is."""
    from scgroove._report import TAGS, notes

    for note in notes(results):
        typer.echo(f"{TAGS[note.level]} {note.text}")
    if results.warnings:
        typer.echo(f"Warnings: {len(results.warnings)}, see the report.")
    typer.echo(f"Report: {folder / 'report.html'}")


def _command_line() -> str:
    return shlex.join(["scgroove", *sys.argv[1:]])
