"""From start to results."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import typer

from scgroove.cli._destination import Destination
from scgroove.cli._display import Display, quiet
from scgroove.cli._errors import errors

if TYPE_CHECKING:
    from mudata import MuData

    from scgroove._report import Results, Settings


class Prepared(NamedTuple):
    """Data, settings, the name of the data in the report, and a digest of the data."""

    mdata: MuData
    settings: Settings
    name: str
    digest: str


def execute(destination: Destination, debug: bool, prepare: Callable[[Display], Prepared]) -> None:
    """Make the results in a folder beside ``destination``, and put them in place at the end."""
    with errors(debug, destination.last_words), ExitStack() as stack:
        stack.enter_context(
            destination.locked()
        )  # until then, an unfinished run there is another's
        destination.check()
        start = time.perf_counter()
        with Display() as display:
            display.step("start", "Loading PyTorch and scvi-tools")
            stack.enter_context(quiet())
            from scgroove import _workflow
            from scgroove._files import make_storable

            prepared = prepare(display)
            changes = make_storable(prepared.mdata)
            if last := destination.start(prepared.settings, prepared.digest):
                display.say(f"Going on with the run that was stopped after {last!r}.")
            results = _workflow.analyze(
                prepared.mdata,
                prepared.settings,
                data_name=prepared.name,
                progress=display,
                stages=destination.stages,
                spent={"start": time.perf_counter() - start},
            )
            results.warnings = list(dict.fromkeys([*changes, *results.warnings]))
            _workflow.write(results, destination.results, command=_command_line(), progress=display)
            destination.put()
        _say(destination.shown, results)


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
