"""The commands and their options."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from scgroove import __version__
from scgroove._files import digest_of, read_mudata
from scgroove.cli._benchmark import benchmark
from scgroove.cli._destination import Destination
from scgroove.cli._display import Display
from scgroove.cli._execute import Prepared, execute
from scgroove.cli._inputs import check_accelerator, settings_for, simulated

app = typer.Typer(
    name="scgroove",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(benchmark)

Method = StrEnum("Method", ["eot", "emd"])
Imputation = StrEnum("Imputation", ["decoder", "barycentric"])
Encoder = StrEnum("Encoder", ["linear", "mlp"])
Accelerator = StrEnum("Accelerator", ["auto", "cpu", "gpu", "cuda", "mps"])


def _screen(text: str, **options: Any) -> Any:
    return typer.Option(help=text, rich_help_panel="Screen", **options)


def _data(text: str, metavar: str | None = None, **options: Any) -> Any:
    return typer.Option(help=text, metavar=metavar, rich_help_panel="Data", **options)


def _model(text: str, **options: Any) -> Any:
    return typer.Option(help=text, rich_help_panel="Model", **options)


def _matching(text: str, *names: str) -> Any:
    return typer.Option(*names, help=text, rich_help_panel="Matching")


def _output(text: str, *names: str, **options: Any) -> Any:
    return typer.Option(*names, help=text, rich_help_panel="Output", **options)


_Out = Annotated[
    Path | None,
    _output("Folder of the results; by default a new one here.", "--out", "-o", metavar="DIR"),
]
_Epochs = Annotated[
    int | None, _model("Passes over the data; by default as many as the data need.", min=1)
]
_Seed = Annotated[int, _model("The same seed gives the same result.", min=0)]
_Accelerator = Annotated[Accelerator, _model("Where to train.")]
_Overwrite = Annotated[bool, _output("Replace the results of an earlier run.", "--overwrite")]
_RESUME = "Go on with a run that was stopped, from the last stage that was done."
_Resume = Annotated[bool, _output(_RESUME, "--resume")]
_Debug = Annotated[bool, _output("Show the traceback of an error.", "--debug")]
_Names = list[str] | None


def _destination(command: str, folder: Path, overwrite: bool, resume: bool) -> Destination:
    return Destination(folder.expanduser().resolve(), folder, overwrite, command, resume)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"scgroove {__version__}")
        raise typer.Exit


_START = (
    "Start with **scgroove demo**: it needs no data. "
    "Then look at **scgroove run --help** for your own."
)
_Version = typer.Option(
    "--version", callback=_print_version, is_eager=True, help="Show the version."
)


@app.callback(epilog=_START)
def _root(version: Annotated[bool, _Version] = False) -> None:
    """Match single-cell modalities that share only labels, such as perturbations."""


_DEMO = "Example:  **scgroove demo --out demo**, then open demo/report.html in a browser."


@app.command("demo", epilog=_DEMO)
def _demo(
    labels: Annotated[int, _screen("Number of perturbations.", min=6, max=500)] = 20,
    cells: Annotated[int, _screen("Cells of each perturbation and modality.", min=10)] = 60,
    rho: Annotated[
        float,
        _screen(
            "Share of the effects that the modalities have in common.",
            min=0.0,
            max=1.0,
            metavar="SHARE",
        ),
    ] = 1.0,
    epochs: _Epochs = None,
    seed: _Seed = 0,
    accelerator: _Accelerator = Accelerator.auto,
    out: _Out = None,
    overwrite: _Overwrite = False,
    resume: _Resume = False,
    debug: _Debug = False,
) -> None:
    """Simulate a screen whose truth is known, and do everything with it: about one minute.

    Two modalities, RNA counts and protein, with 20 perturbations: two were seen in RNA only and one
    in protein only, and a few cells have lost their label. The model never learns which cells are
    the same. The report compares with that truth at the end.
    """

    def prepare(display: Display) -> Prepared:
        from scgroove._report import Settings

        display.step("simulate", "Simulating a screen")
        check_accelerator(accelerator.value)
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
        contents = f"{labels} labels, {cells} cells, rho {rho!r}, seed {seed}"
        return Prepared(simulated(labels, cells, rho, seed), settings, name, contents)

    execute(_destination("demo", out or Path("scgroove-demo"), overwrite, resume), debug, prepare)


_EXAMPLES = (
    "Examples:\n\n"
    "**scgroove run screen.h5mu --label perturbation --source rna --target prot --out results**\n\n"
    "Columns of other names, raw counts in a layer:  "
    "**--label rna=gene --label prot=target --layer rna=counts**\n\n"
    "Cells marked 'unknown' have no label:  **--unlabeled-category unknown**"
)
_FILE = typer.Argument(metavar="FILE.h5mu", help="MuData file with two modalities or more.")
_LABEL = (
    "Column of obs with the label that links the modalities, such as the perturbation; by default "
    "'label'. Another one for a modality: MODALITY=COLUMN, repeated."
)
_LIKELIHOOD = "normal, nb, poisson or bernoulli; chosen by looking at the data otherwise; repeat."
_PAIR_KEY = (
    "Column that tells which cells are the same. Never used in training: only to score the result."
)
_PAIRED = (
    "Whether cells of equal names are the same cell. By default the column pair_id tells, else the "
    "names, unless chance explains them."
)
_UNLABELED = "Match without looking at labels, so that the labels can judge the matching."
_NULL = (
    "Repeat the analysis N times on permuted labels, and show its numbers beside every score. "
    "Takes N times as long."
)


@app.command("run", epilog=_EXAMPLES)
def _run(
    file: Annotated[Path, _FILE],
    source: Annotated[str | None, _data("Modality of the cells to impute for.")] = None,
    target: Annotated[str | None, _data("Modality to match to and to impute.")] = None,
    label: Annotated[_Names, _data(_LABEL, "COLUMN", show_default=False)] = None,
    also: Annotated[
        _Names, _data("Train on this modality too; repeat for more.", "MODALITY")
    ] = None,
    layer: Annotated[
        _Names, _data("Layer with the values, where it is not X; repeat.", "MODALITY=LAYER")
    ] = None,
    likelihood: Annotated[_Names, _data(_LIKELIHOOD, "MODALITY=NAME")] = None,
    batch_key: Annotated[
        str | None, _data("Column of obs with the batch to correct for.", "COLUMN")
    ] = None,
    unlabeled_category: Annotated[
        _Names, _data("Label that stands for 'no label'; repeat.", "LABEL")
    ] = None,
    min_cells_per_label: Annotated[
        int, _data("Refuse labels with fewer cells in a modality.", "N", min=1)
    ] = 2,
    pair_key: Annotated[str | None, _data(_PAIR_KEY, "COLUMN")] = None,
    paired: Annotated[
        bool | None,
        typer.Option(
            "--paired/--not-paired", help=_PAIRED, rich_help_panel="Data", show_default=False
        ),
    ] = None,
    epochs: _Epochs = None,
    n_latent: Annotated[int | None, _model("Dimensions of the shared space.", min=2)] = None,
    encoder: Annotated[Encoder | None, _model("linear, or mlp for large data.")] = None,
    seed: _Seed = 0,
    accelerator: _Accelerator = Accelerator.auto,
    method: Annotated[
        Method, _matching("Entropic (eot) or exact (emd) optimal transport.")
    ] = Method.eot,
    unlabeled_coupling: Annotated[bool, _matching(_UNLABELED, "--unlabeled-coupling")] = False,
    impute: Annotated[
        Imputation, _matching("From the model, or as the mean of the matched cells.")
    ] = Imputation.decoder,
    null: Annotated[int, _model(_NULL, min=0, metavar="N")] = 0,
    out: _Out = None,
    overwrite: _Overwrite = False,
    resume: _Resume = False,
    debug: _Debug = False,
) -> None:
    """Match the cells of two modalities of your own screen, and impute one for the other.

    FILE.h5mu holds the modalities, each with its own cells and features. A column of obs gives the
    label of each cell: the perturbation, for instance. Nothing else has to correspond. The results
    are a report for reading, the data with everything that was computed, the trained model, tables
    and figures.
    """
    asked = dict(locals())

    def prepare(display: Display) -> Prepared:
        display.step("read", f"Reading {file.name}")
        check_accelerator(accelerator.value)
        mdata = read_mudata(file)
        settings = replace(
            settings_for(mdata, asked),
            min_cells_per_label=min_cells_per_label,
            epochs=epochs,
            n_latent=n_latent,
            encoder=encoder.value if encoder is not None else None,
            seed=seed,
            accelerator=accelerator.value,
            method=method.value,
            labeled=not unlabeled_coupling,
            impute=impute.value,
            null=null,
        )
        return Prepared(mdata, settings, file.name, digest_of(file))

    folder = out or Path(f"{file.stem}-scgroove")
    execute(_destination("run", folder, overwrite, resume), debug, prepare)
