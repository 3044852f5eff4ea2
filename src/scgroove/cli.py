"""The command line: ``scgroove demo`` and ``scgroove run``.

Nothing heavy is imported before a command starts, so that ``--help`` is instant.
"""

from __future__ import annotations

import json
import logging
import os
import shlex
import shutil
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from difflib import get_close_matches
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

if TYPE_CHECKING:
    from mudata import MuData

    from scgroove._report import Results, Settings

EXIT_ERROR, EXIT_USER = 1, 2
MANIFEST = "run.json"

app = typer.Typer(
    name="scgroove",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)


class Method(StrEnum):
    """How cells are coupled."""

    eot = "eot"
    emd = "emd"


class Imputation(StrEnum):
    """How values are imputed."""

    decoder = "decoder"
    barycentric = "barycentric"


class Encoder(StrEnum):
    """What encodes cells."""

    linear = "linear"
    mlp = "mlp"


class Accelerator(StrEnum):
    """Where to train."""

    auto = "auto"
    cpu = "cpu"
    gpu = "gpu"
    cuda = "cuda"
    mps = "mps"


class UserError(Exception):
    """Something that the user can put right; shown without a traceback."""


# -- commands ----------------------------------------------------------------------------------------------------

_Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        "-o",
        metavar="DIR",
        help="Folder of the results; by default a new one here.",
        rich_help_panel="Output",
    ),
]
_Epochs = Annotated[
    int | None,
    typer.Option(
        min=1, help="Passes over the data; by default as many as the data need.", rich_help_panel="Model"
    ),
]
_Seed = Annotated[
    int, typer.Option(min=0, help="The same seed gives the same result.", rich_help_panel="Model")
]
_Accelerator = Annotated[Accelerator, typer.Option(help="Where to train.", rich_help_panel="Model")]
_Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace the results of an earlier run.", rich_help_panel="Output")
]
_Debug = Annotated[
    bool, typer.Option("--debug", help="Show the traceback of an error.", rich_help_panel="Output")
]


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"scgroove {_version()}")
        raise typer.Exit


@app.callback(
    epilog="Start with **scgroove demo**: it needs no data. "
    "Then look at **scgroove run --help** for your own."
)
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Match single-cell modalities that share neither cells nor features, only labels such as perturbations."""


@app.command(epilog="Example:  **scgroove demo --out demo**, then open demo/report.html in a browser.")
def demo(
    labels: Annotated[
        int, typer.Option(min=6, max=500, help="Number of perturbations.", rich_help_panel="Screen")
    ] = 20,
    cells: Annotated[
        int, typer.Option(min=10, help="Cells of each perturbation and modality.", rich_help_panel="Screen")
    ] = 60,
    rho: Annotated[
        float,
        typer.Option(
            min=0.0,
            max=1.0,
            metavar="SHARE",
            help="Share of the effects that the modalities have in common.",
            rich_help_panel="Screen",
        ),
    ] = 1.0,
    epochs: _Epochs = None,
    seed: _Seed = 0,
    accelerator: _Accelerator = Accelerator.auto,
    out: _Out = None,
    overwrite: _Overwrite = False,
    debug: _Debug = False,
) -> None:
    """Simulate a screen whose truth is known, and do everything with it: about one minute.

    Two modalities, RNA counts and protein, with 20 perturbations: two were seen in RNA only and one in protein only,
    and a few cells have lost their label. The model never learns which cells are the same; the report compares with
    that truth at the end.
    """

    def prepare(display: _Display) -> Prepared:
        from scgroove._report import Settings

        display.step("simulate", "Simulating a screen")
        _check_accelerator(accelerator.value)
        settings = Settings(
            source="rna",
            target="protein",
            modalities=("rna", "protein"),
            pair_key="pair_id",
            epochs=epochs,
            seed=seed,
            accelerator=accelerator.value,
        )
        name = f"Simulated screen with known truth ({labels} labels, rho {rho:g}, seed {seed})"
        return _simulated(labels, cells, rho, seed), settings, name

    _execute("demo", out or Path("scgroove-demo"), overwrite, debug, prepare)


_EXAMPLES = (
    "Examples:\n\n"
    "**scgroove run screen.h5mu --label perturbation --source rna --target prot --out results**\n\n"
    "Columns of other names, raw counts in a layer:  "
    "**--label rna=gene --label prot=target --layer rna=counts**\n\n"
    "Cells marked 'unknown' have no label:  **--unlabeled-category unknown**"
)


@app.command(epilog=_EXAMPLES)
def run(
    file: Annotated[
        Path, typer.Argument(metavar="FILE.h5mu", help="MuData file with two modalities or more.")
    ],
    source: Annotated[
        str | None,
        typer.Option(help="Modality of the cells to impute for.", rich_help_panel="Data"),
    ] = None,
    target: Annotated[
        str | None, typer.Option(help="Modality to match to and to impute.", rich_help_panel="Data")
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN",
            help="Column of obs with the label that links the modalities, such as the perturbation; by default 'label'. "
            "Another one for a modality: MODALITY=COLUMN, repeated.",
            rich_help_panel="Data",
            show_default=False,
        ),
    ] = None,
    also: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODALITY", help="Train on this modality too; repeat for more.", rich_help_panel="Data"
        ),
    ] = None,
    layer: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODALITY=LAYER",
            help="Layer with the values, where it is not X; repeat.",
            rich_help_panel="Data",
        ),
    ] = None,
    likelihood: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODALITY=NAME",
            help="normal, nb, poisson or bernoulli; chosen by looking at the data otherwise; repeat.",
            rich_help_panel="Data",
        ),
    ] = None,
    batch_key: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN", help="Column of obs with the batch to correct for.", rich_help_panel="Data"
        ),
    ] = None,
    unlabeled_category: Annotated[
        str | None,
        typer.Option(metavar="LABEL", help="Label that stands for 'no label'.", rich_help_panel="Data"),
    ] = None,
    pair_key: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN",
            help="Column that tells which cells are the same. Never used in training: only to score the result.",
            rich_help_panel="Data",
        ),
    ] = None,
    epochs: _Epochs = None,
    n_latent: Annotated[
        int | None, typer.Option(min=2, help="Dimensions of the shared space.", rich_help_panel="Model")
    ] = None,
    encoder: Annotated[
        Encoder | None, typer.Option(help="linear, or mlp for large data.", rich_help_panel="Model")
    ] = None,
    seed: _Seed = 0,
    accelerator: _Accelerator = Accelerator.auto,
    method: Annotated[
        Method,
        typer.Option(help="Entropic (eot) or exact (emd) optimal transport.", rich_help_panel="Matching"),
    ] = Method.eot,
    unlabelled_coupling: Annotated[
        bool,
        typer.Option(
            "--unlabelled-coupling",
            help="Match without looking at labels, so that the labels can judge the matching.",
            rich_help_panel="Matching",
        ),
    ] = False,
    impute: Annotated[
        Imputation,
        typer.Option(help="From the model, or as the mean of the matched cells.", rich_help_panel="Matching"),
    ] = Imputation.decoder,
    out: _Out = None,
    overwrite: _Overwrite = False,
    debug: _Debug = False,
) -> None:
    """Match the cells of two modalities of your own screen, and impute one for the other.

    FILE.h5mu holds the modalities, each with its own cells and features. A column of obs gives the label of each cell:
    the perturbation, for instance. Nothing else has to correspond. The results are a report for reading, the data with
    everything that was computed, the trained model, tables and figures.
    """
    asked = dict(locals())

    def prepare(display: _Display) -> Prepared:
        display.step("read", f"Reading {file.name}")
        _check_accelerator(accelerator.value)
        mdata = _read(file)
        settings = replace(
            _settings_for(mdata, asked),
            epochs=epochs,
            n_latent=n_latent,
            encoder=encoder.value if encoder is not None else None,
            seed=seed,
            accelerator=accelerator.value,
            method=method.value,
            labelled=not unlabelled_coupling,
            impute=impute.value,
        )
        return mdata, settings, file.name

    _execute("run", out or Path(f"{file.stem}-scgroove"), overwrite, debug, prepare)


def main() -> None:
    """Run the command line; the entry point of ``scgroove``."""
    app()


# -- from start to results ---------------------------------------------------------------------------------------

Prepared = tuple["MuData", "Settings", str]


def _execute(
    command: str, folder: Path, overwrite: bool, debug: bool, prepare: Callable[[_Display], Prepared]
) -> None:
    """Make the results in a folder beside the one asked for, and put them in place when all are there."""
    with _errors(debug):
        destination = _Destination(folder.expanduser().resolve(), folder, overwrite, command)
        destination.check()
        with _Display() as display, _quiet():
            start = time.perf_counter()
            mdata, settings, name = prepare(display)
            spent = {"read": time.perf_counter() - start}
            from scgroove import _workflow

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


def _version() -> str:
    from scgroove import __version__

    return str(__version__)


# -- what is asked for -------------------------------------------------------------------------------------------


def _simulated(labels: int, cells: int, rho: float, seed: int) -> MuData:
    from scgroove import simulations

    return simulations.weakly_paired(
        labels,
        cells,
        rho=rho,
        counts=("rna",),
        exclusive_labels={"rna": 2, "protein": 1},
        unlabeled_fraction=0.05,
        seed=seed,
    )


def _read(file: Path) -> MuData:
    """Read a MuData file, and say what is wrong where it is none."""
    if not file.exists():
        near = _near(file.name, (p.name for p in file.parent.iterdir())) if file.parent.is_dir() else ""
        raise UserError(f"There is no file {str(file)!r}.{near}")
    if file.is_dir():
        raise UserError(f"{str(file)!r} is a folder; expected a MuData file (.h5mu).")
    import h5py

    if not h5py.is_hdf5(file):
        raise UserError(f"{str(file)!r} is not an HDF5 file; expected a MuData file (.h5mu). {_HOW_TO_MAKE}")
    with h5py.File(file, "r") as opened:
        is_mudata = "mod" in opened
    if not is_mudata:
        raise UserError(
            f"{str(file)!r} holds no MuData: it has no group 'mod'. A file of one modality (.h5ad) has nothing to "
            f"be matched to. {_HOW_TO_MAKE}"
        )
    import mudata

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return mudata.read_h5mu(file)
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise UserError(f"{str(file)!r} cannot be read as MuData ({error}). Is the file complete?") from error


_HOW_TO_MAKE = (
    "Make one in Python: mudata.MuData({'rna': adata_rna, 'prot': adata_prot}).write_h5mu('screen.h5mu')."
)


def _settings_for(mdata: MuData, asked: Mapping[str, Any]) -> Settings:
    """Check the options against the data, in the language of the command line."""
    from scgroove._report import Settings

    source, target = _source_and_target(mdata, asked["source"], asked["target"])
    modalities = tuple(dict.fromkeys([source, target, *(asked["also"] or [])]))
    for modality in modalities[2:]:
        _check_choice("--also", modality, mdata.mod)
    label_key = _label_key(mdata, modalities, asked["label"] or ["label"])
    _check_unlabeled(mdata, label_key, asked["unlabeled_category"])
    if asked["pair_key"] is not None:
        for modality in (source, target):
            _check_column("--pair-key", mdata, modality, asked["pair_key"])
    layers = _assignments("--layer", asked["layer"], modalities)
    for modality, layer in layers.items():
        names = [name for name in mdata.mod[modality].layers if name is not None]  # anndata 0.13: X is None
        _check_choice(f"--layer {modality}=", layer, names, of=f" in the layers of {modality!r}")
    likelihood = _assignments("--likelihood", asked["likelihood"], modalities)
    for modality, name in likelihood.items():
        _check_choice(f"--likelihood {modality}=", name, ["auto", "normal", "nb", "poisson", "bernoulli"])
    return Settings(
        source=source,
        target=target,
        modalities=modalities,
        label_key=label_key,
        layers=layers,
        likelihood=likelihood,
        batch_key=_batch_key(mdata, modalities, asked["batch_key"]),
        unlabeled_category=asked["unlabeled_category"],
        pair_key=asked["pair_key"],
    )


def _source_and_target(mdata: MuData, source: str | None, target: str | None) -> tuple[str, str]:
    sizes = ", ".join(f"{m} ({a.n_obs:,} cells x {a.n_vars:,} features)" for m, a in mdata.mod.items())
    if len(mdata.mod) < 2:
        raise UserError(f"The file has one modality only, {sizes}; matching needs two. {_HOW_TO_MAKE}")
    if source is None or target is None:
        first, second = list(mdata.mod)[:2]
        raise UserError(
            f"Which modality is matched to which? The file has {sizes}. "
            f"For instance: --source {first} --target {second} imputes {second} for the {first} cells."
        )
    _check_choice("--source", source, mdata.mod)
    _check_choice("--target", target, mdata.mod)
    if source == target:
        raise UserError(f"--source and --target are both {source!r}; they must differ. The file has {sizes}.")
    return source, target


def _label_key(mdata: MuData, modalities: Iterable[str], given: Iterable[str]) -> dict[str, str]:
    """Column of the labels of each modality, from COLUMN and MODALITY=COLUMN."""
    general = [text for text in given if "=" not in text]
    if len(general) > 1:
        raise UserError(
            f"--label names {len(general)} columns for all modalities ({', '.join(general)}). Give one, and others "
            "as MODALITY=COLUMN."
        )
    special = _assignments("--label", [text for text in given if "=" in text], modalities)
    keys = {m: special.get(m, general[0] if general else "label") for m in modalities}
    for modality, column in keys.items():
        _check_column("--label", mdata, modality, column)
    return keys


def _check_unlabeled(mdata: MuData, label_key: Mapping[str, str], category: str | None) -> None:
    if category is None:
        return
    found = {str(label) for m, key in label_key.items() for label in mdata.mod[m].obs[key].dropna().unique()}
    if category not in found:
        raise UserError(
            f"--unlabeled-category {category!r} is no label of these data.{_near(category, found)} There are "
            f"{len(found)}, such as {_some(sorted(found))}."
        )


def _batch_key(mdata: MuData, modalities: Iterable[str], column: str | None) -> dict[str, str] | None:
    """Modalities that have the batch column; an error where none has."""
    if column is None:
        return None
    having = {m: column for m in modalities if column in mdata.mod[m].obs}
    if not having:
        columns = sorted({str(name) for m in modalities for name in mdata.mod[m].obs.columns})
        raise UserError(
            f"--batch-key {column!r}: no modality has this column in obs.{_near(column, columns)} "
            f"There are {_some(columns)}."
        )
    return having


def _check_column(option: str, mdata: MuData, modality: str, column: str) -> None:
    columns = [str(name) for name in mdata.mod[modality].obs.columns]
    if column in columns:
        return
    name = "COLUMN" if not columns else columns[0]
    more = (
        f" If the modalities name it differently: --label {modality}={name}, and so on."
        if option == "--label"
        else ""
    )
    raise UserError(
        f"{option} {column}: the obs of {modality!r} has no column {column!r}.{_near(column, columns)} "
        f"It has {_some(columns)}.{more}"
    )


def _check_choice(option: str, value: str, choices: Iterable[str], of: str = "") -> None:
    names = [str(choice) for choice in choices]
    if value not in names:
        gap = "" if option.endswith("=") else " "
        raise UserError(
            f"{option}{gap}{value}: unknown{of}.{_near(value, names)} Expected one of {_some(names)}."
        )


def _assignments(option: str, given: Iterable[str] | None, modalities: Iterable[str]) -> dict[str, str]:
    """Read MODALITY=VALUE."""
    read: dict[str, str] = {}
    for text in given or []:
        modality, sign, value = text.partition("=")
        if not sign or not value:
            first = next(iter(modalities))
            raise UserError(
                f"{option} {text!r}: expected MODALITY=VALUE, such as {option} {first}={text.strip('=')}."
            )
        _check_choice(option, modality, modalities, of=" modality")
        read[modality] = value
    return read


def _check_accelerator(name: str) -> None:
    import torch

    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    available["gpu"] = any(available.values())
    if not available.get(name, True):
        raise UserError(
            f"--accelerator {name}: PyTorch {torch.__version__} sees no such device on this machine. "
            "Use --accelerator auto, or install a build of PyTorch for the device."
        )


def _near(name: str, choices: Iterable[str]) -> str:
    by_case = {choice.lower(): choice for choice in map(str, choices)}
    close = get_close_matches(name.lower(), list(by_case), n=1)
    return f" Did you mean {by_case[close[0]]!r}?" if close else ""


def _some(names: Iterable[str], limit: int = 12) -> str:
    every = [repr(str(name)) for name in names]
    more = f" and {len(every) - limit} more" if len(every) > limit else ""
    return (", ".join(every[:limit]) or "nothing") + more


# -- where the results go ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Destination:
    """The folder of the results: nothing is written into it before everything is there."""

    path: Path
    shown: Path
    overwrite: bool
    command: str

    def check(self) -> None:
        """Refuse to touch anything that scgroove did not write."""
        if self.path.exists() and not self.path.is_dir():
            raise UserError(f"--out {self.shown}: this is a file; expected a folder, or a name that is free.")
        entries = self._entries()
        if not entries:
            return
        ours = self._ours()
        if not ours:
            raise UserError(
                f"--out {self.shown}: the folder is not empty ({_some(entries, 3)}), and scgroove did not make it. "
                "Give the name of a new folder."
            )
        foreign = sorted(set(entries) - set(ours))
        if foreign:
            raise UserError(
                f"--out {self.shown}: beside the results of an earlier run, the folder holds {_some(foreign, 3)}. "
                "Move that away, or give the name of a new folder."
            )
        if not self.overwrite and not (self.command == "demo" and self._manifest().get("command") == "demo"):
            raise UserError(
                f"--out {self.shown}: the folder holds the results of an earlier run. Add --overwrite to replace "
                "them, or give the name of a new folder."
            )

    @contextmanager
    def fresh(self) -> Iterator[Path]:
        """Make an empty folder beside the final one; gone afterwards, whatever happens."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        made = self.path.parent / f".{self.path.name}.unfinished-{os.getpid()}"
        made.mkdir()
        try:
            yield made
        finally:
            shutil.rmtree(made, ignore_errors=True)

    def put(self, fresh: Path, written: Iterable[str]) -> None:
        """Put finished results in place of earlier ones."""
        manifest = {
            "made_by": f"scgroove {_version()}",
            "command": self.command,
            "files": [*written, MANIFEST],
        }
        (fresh / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
        if not self.path.exists():
            fresh.rename(self.path)
            return
        for name in self._ours():
            old = self.path / name
            shutil.rmtree(old) if old.is_dir() else old.unlink(missing_ok=True)
        for new in fresh.iterdir():
            new.rename(self.path / new.name)

    def _entries(self) -> list[str]:
        return sorted(entry.name for entry in self.path.iterdir()) if self.path.exists() else []

    def _manifest(self) -> dict[str, Any]:
        try:
            read = json.loads((self.path / MANIFEST).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return read if isinstance(read, dict) and str(read.get("made_by", "")).startswith("scgroove") else {}

    def _ours(self) -> list[str]:
        """Names of what an earlier run wrote; never a path that leads elsewhere."""
        names = [str(name) for name in self._manifest().get("files", [])]
        return [name for name in names if name == Path(name).name and name not in {"", ".", ".."}]


# -- what is seen ------------------------------------------------------------------------------------------------


class _Display:
    """Bars on a terminal, plain lines elsewhere; both on the error stream."""

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

    def __enter__(self) -> _Display:
        self._bars.start()
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if kind is None:
            self._finish()
        self._bars.stop()

    def step(self, name: str, title: str) -> None:
        """Start a step; the one before is done."""
        self._finish()
        self._tenth = -1
        self._task = self._bars.add_task(title, total=None, note="")
        if not self._console.is_terminal:
            typer.echo(f"{title} ...", err=True)

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
def _quiet() -> Iterator[None]:
    """Draw without a window, keep libraries from writing between the bars, and share the machine.

    The threads of PyTorch otherwise wait for one another by spinning: on a machine that others use too, training
    a small model then takes ten times as long.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    import matplotlib

    matplotlib.use("Agg")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import lightning.pytorch  # noqa: F401  (sets its own level when imported)
        import mudata
        import scvi  # noqa: F401
    # Before 0.4, mudata copied columns up from the modalities unless told not to.
    options = getattr(mudata, "set_options", None)
    loggers = [
        logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric", "scvi", "scgroove")
    ]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        with options(pull_on_update=False) if options else nullcontext():
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextmanager
def _errors(debug: bool) -> Iterator[None]:
    """Turn what goes wrong into a message and an exit code."""
    try:
        yield
    except KeyboardInterrupt:
        _fail("Stopped. Nothing was written.", 130)
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
    typer.secho(f"Error: {message}", fg=typer.colors.RED if code != 130 else None, err=True)
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
    here = Path(frames[-1].filename).is_relative_to(Path(__file__).parent)
    return here and (frames[-1].line or "").startswith("raise ")
