"""``scgroove benchmark``: run a grid, report it, list what can be combined."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scgroove._whole import check_path
from scgroove.cli._errors import errors
from scgroove.cli._own import Imports, import_all
from scgroove.errors import InputError

if TYPE_CHECKING:
    from scgroove.benchmark import Spec

benchmark = typer.Typer(
    name="benchmark",
    no_args_is_help=True,
    help="Compare learners and aligners on data whose truth is known.",
    rich_markup_mode="markdown",
)

KEPT = "What was finished is kept: the same command goes on from there."

REFERENCE = "ps_logistic_scaled"

_Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


@benchmark.command("run", epilog="**scgroove benchmark list** names what can be combined.")
def run(
    spec: Annotated[
        str,
        typer.Argument(
            metavar="SPEC", help="A TOML file, or one of the grids that come along: see **list**."
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            metavar="DIR",
            help="Folder of the results: a new one, or one to go on with.",
        ),
    ],
    jobs: Annotated[int, typer.Option("--jobs", "-j", help="Processes; -1 for all cores.")] = 1,
    shard: Annotated[
        str,
        typer.Option(
            metavar="I/N",
            help="Do only the I-th of N parts, from 0; all parts may write into one folder.",
        ),
    ] = "0/1",
    quick: Annotated[
        bool, typer.Option("--quick", help="One seed and small simulations: does it run at all?")
    ] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Do again what failed or was skipped.")
    ] = False,
    mix_versions: Annotated[
        bool, typer.Option("--mix-versions", help="Add to results of another version of scgroove.")
    ] = False,
    imports: Imports = None,
    debug: _Debug = False,
) -> None:
    """Run every combination of a spec. What is in the folder already is not done again.

    Each cell of the grid is written when it is done. Stop it whenever you like: the same command
    goes on where it stopped.
    """
    with errors(debug, stopped=KEPT):
        from scgroove.cli._display import quiet

        try:
            i, n = (int(number) for number in shard.split("/"))
        except ValueError:
            raise InputError(
                f"--shard {shard}: expected I/N, as in 0/4 for the first of four parts."
            ) from None
        check_path(out)
        with quiet():
            from scgroove import benchmark as grid

            import_all(imports)
            chosen = _spec(spec)
            chosen = chosen.quick() if quick else chosen
            typer.echo(f"{chosen.title}: {chosen.n_cells} cells of the grid, into {out}", err=True)
            results = grid.run(
                chosen,
                out,
                n_jobs=jobs,
                shard=(i, n),
                retry_failed=retry_failed,
                mix_versions=mix_versions,
                progress=_progress(),
            )
        known = results.assign(status=results["status"].replace("by construction", "done"))
        known = known.sort_values("status", key=lambda s: s != "failed", kind="stable")
        cells = known.drop_duplicates(["data", "learner", "aligner", "seed"])["status"]
        counts = [f"{(cells == name).sum()} {name}" for name in ("done", "failed", "skipped")]
        typer.echo(f"{', '.join(counts)}. Now: scgroove benchmark report {out}")
        if len(results) and not (results["status"] == "done").any():
            raise typer.Exit(1)


def _spec(given: str) -> Spec:
    """Return the spec in a file, or one that comes along."""
    from scgroove.benchmark.spec import SPECS, Spec

    if given in SPECS:
        return Spec.named(given)
    path = Path(given)
    if path.suffix != ".toml" and not path.exists():
        raise InputError(
            f"{given}: neither a file nor one of the grids that come along ({', '.join(SPECS)})."
        )
    if not path.is_file():
        raise InputError(f"{given}: there is no such file.")
    return Spec.from_toml(path)


def _progress() -> Any:
    """Return a bar on a terminal. Elsewhere a function that writes a line for each tenth."""
    from rich.console import Console

    if Console(stderr=True).is_terminal:
        return True
    written = [-1]

    def say(title: str, state: Any) -> None:
        tenth = 10 * state.finished // max(state.total, 1)
        if tenth > written[0]:
            written[0] = tenth
            failed = f", {state.failed} failed" if state.failed else ""
            typer.echo(f"  {state.finished} of {state.total}{failed}: {title}", err=True)

    return say


@benchmark.command("report")
def report(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder of the results, finished or not.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="FILE.html", help="By default report.html in the folder."
        ),
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(
            help="Learner that the others are compared with; by default ps_logistic_scaled, or "
            "the first that is no limit."
        ),
    ] = None,
    debug: _Debug = False,
) -> None:
    """Write one HTML page: intervals, comparisons, ranks, curves, cost, and what failed."""
    with errors(debug):
        from scgroove.cli._display import quiet

        with quiet():
            from scgroove.benchmark import read
            from scgroove.benchmark.figures import benchmark_report
            from scgroove.benchmark.results import Store

            results, about = read(folder), Store(folder).about()
            path = out or folder / "report.html"
            path.parent.mkdir(parents=True, exist_ok=True)
            benchmark_report(
                results,
                path,
                title=about["spec"].get("title", "Benchmark"),
                spec_text=json.dumps(about["spec"], indent=1),
                reference=reference or _reference(results),
                about=about,
            )
        typer.echo(f"{path}")


def _reference(results: Any) -> str:
    """Return the learner to compare with if none was named."""
    learners = sorted(set(results["learner"]))
    if REFERENCE in learners:
        return REFERENCE
    knows = results.groupby("learner")["knows_truth"].min().astype(bool)
    methods = [name for name in learners if not knows.get(name, False)]
    return str((methods or learners)[0])


@benchmark.command("list")
def list_all(imports: Imports = None, debug: _Debug = False) -> None:
    """List learners, aligners, metrics, scenarios, and the grids that come along."""
    with errors(debug):
        from scgroove.cli._display import quiet

        with quiet():
            import_all(imports)
            sections = _sections()
        for title, rows in sections.items():
            typer.secho(f"\n{title}", bold=True)
            width = max(len(name) for name, _ in rows)
            for name, text in rows:
                typer.echo(f"  {name:{width}}  {text}".rstrip())


def _sections() -> dict[str, list[tuple[str, str]]]:
    from scgroove import aligners, learners, metrics
    from scgroove.benchmark.spec import SPECS, Spec
    from scgroove.simulations import SCENARIOS

    def first_line(thing: Any) -> str:
        return (thing.__doc__ or "").strip().splitlines()[0]

    def learner(name: str) -> str:
        missing = learners.unavailable_reason(name)
        return first_line(learners.get(name)) + (f" [not available: {missing}]" if missing else "")

    kinds = ("representation", "coupling", "imputation")
    known = sorted(map(metrics.METRICS.get, metrics.METRICS), key=lambda one: kinds.index(one.kind))
    return {
        "Learners": [(name, learner(name)) for name in learners.LEARNERS],
        "Aligners (add ' unlabeled' for the form without labels)": [
            (name, first_line(aligners.get(name))) for name in aligners.ALIGNERS
        ],
        "Metrics": [(one.name, f"{one.kind}, {one.better} is better") for one in known],
        "Scenarios": [(name, SCENARIOS.get(name).reason) for name in SCENARIOS],
        "Grids": [(name, Spec.named(name).title) for name in SPECS],
    }
