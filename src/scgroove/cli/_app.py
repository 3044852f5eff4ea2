"""The commands and their options."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

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
        min=1,
        help="Passes over the data; by default as many as the data need.",
        rich_help_panel="Model",
    ),
]
_Seed = Annotated[
    int, typer.Option(min=0, help="The same seed gives the same result.", rich_help_panel="Model")
]
_Accelerator = Annotated[Accelerator, typer.Option(help="Where to train.", rich_help_panel="Model")]
_Overwrite = Annotated[
    bool,
    typer.Option(
        "--overwrite", help="Replace the results of an earlier run.", rich_help_panel="Output"
    ),
]
_Resume = Annotated[
    bool,
    typer.Option(
        "--resume",
        help="Go on with a run that was stopped, from the last stage that was done.",
        rich_help_panel="Output",
    ),
]
_Debug = Annotated[
    bool, typer.Option("--debug", help="Show the traceback of an error.", rich_help_panel="Output")
]


def _destination(command: str, folder: Path, overwrite: bool, resume: bool) -> Destination:
    return Destination(folder.expanduser().resolve(), folder, overwrite, command, resume)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"scgroove {__version__}")
        raise typer.Exit


@app.callback(
    epilog="Start with **scgroove demo**: it needs no data. "
    "Then look at **scgroove run --help** for your own."
)
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Match single-cell modalities that share neither cells nor features, only labels such as perturbations."""


@app.command(
    epilog="Example:  **scgroove demo --out demo**, then open demo/report.html in a browser."
)
def demo(
    labels: Annotated[
        int, typer.Option(min=6, max=500, help="Number of perturbations.", rich_help_panel="Screen")
    ] = 20,
    cells: Annotated[
        int,
        typer.Option(
            min=10, help="Cells of each perturbation and modality.", rich_help_panel="Screen"
        ),
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
    resume: _Resume = False,
    debug: _Debug = False,
) -> None:
    """Simulate a screen whose truth is known, and do everything with it: about one minute.

    Two modalities, RNA counts and protein, with 20 perturbations: two were seen in RNA only and one in protein only,
    and a few cells have lost their label. The model never learns which cells are the same; the report compares with
    that truth at the end.
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
            metavar="MODALITY",
            help="Train on this modality too; repeat for more.",
            rich_help_panel="Data",
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
            metavar="COLUMN",
            help="Column of obs with the batch to correct for.",
            rich_help_panel="Data",
        ),
    ] = None,
    unlabeled_category: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LABEL",
            help="Label that stands for 'no label'; repeat.",
            rich_help_panel="Data",
        ),
    ] = None,
    min_cells_per_label: Annotated[
        int,
        typer.Option(
            min=1,
            metavar="N",
            help="Refuse labels with fewer cells in a modality.",
            rich_help_panel="Data",
        ),
    ] = 2,
    pair_key: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN",
            help="Column that tells which cells are the same. Never used in training: only to score the result.",
            rich_help_panel="Data",
        ),
    ] = None,
    paired: Annotated[
        bool | None,
        typer.Option(
            "--paired/--not-paired",
            help="Whether cells of equal names are the same cell. By default the column pair_id tells, else the "
            "names, unless chance explains them.",
            rich_help_panel="Data",
            show_default=False,
        ),
    ] = None,
    epochs: _Epochs = None,
    n_latent: Annotated[
        int | None,
        typer.Option(min=2, help="Dimensions of the shared space.", rich_help_panel="Model"),
    ] = None,
    encoder: Annotated[
        Encoder | None, typer.Option(help="linear, or mlp for large data.", rich_help_panel="Model")
    ] = None,
    seed: _Seed = 0,
    accelerator: _Accelerator = Accelerator.auto,
    method: Annotated[
        Method,
        typer.Option(
            help="Entropic (eot) or exact (emd) optimal transport.", rich_help_panel="Matching"
        ),
    ] = Method.eot,
    unlabeled_coupling: Annotated[
        bool,
        typer.Option(
            "--unlabeled-coupling",
            help="Match without looking at labels, so that the labels can judge the matching.",
            rich_help_panel="Matching",
        ),
    ] = False,
    impute: Annotated[
        Imputation,
        typer.Option(
            help="From the model, or as the mean of the matched cells.", rich_help_panel="Matching"
        ),
    ] = Imputation.decoder,
    null: Annotated[
        int,
        typer.Option(
            min=0,
            metavar="N",
            help="Repeat the analysis N times on permuted labels, and show its numbers beside every score. "
            "Takes N times as long.",
            rich_help_panel="Model",
        ),
    ] = 0,
    out: _Out = None,
    overwrite: _Overwrite = False,
    resume: _Resume = False,
    debug: _Debug = False,
) -> None:
    """Match the cells of two modalities of your own screen, and impute one for the other.

    FILE.h5mu holds the modalities, each with its own cells and features. A column of obs gives the label of each cell:
    the perturbation, for instance. Nothing else has to correspond. The results are a report for reading, the data with
    everything that was computed, the trained model, tables and figures.
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
