"""What the command line says about itself, and how fast."""

import os
import subprocess
import sys
import time

import pytest
from typer.testing import CliRunner

import scgroove
from scgroove import cli

ENV = {"COLUMNS": "120", "NO_COLOR": "1"}


def text(*arguments):
    result = CliRunner().invoke(cli.app, list(arguments), env=ENV)
    assert result.exit_code == 0
    return result.output


def test_version():
    assert text("--version").strip() == f"scgroove {scgroove.__version__}"


def test_help_names_the_commands_and_where_to_start():
    said = text("--help")
    assert "demo" in said
    assert "run" in said
    assert "Start with scgroove demo" in said


def test_no_command_shows_the_help():
    result = CliRunner().invoke(cli.app, [], env=ENV)
    assert "Usage" in result.output


@pytest.mark.parametrize(
    "option",
    ["--label", "--source", "--target", "--out", "--batch-key", "--unlabeled-category", "--layer", "--likelihood",
     "--method", "--unlabeled-coupling", "--pair-key", "--paired", "--not-paired", "--null", "--epochs", "--seed", "--accelerator", "--overwrite", "--debug"],
)  # fmt: skip
def test_run_explains_every_option(option):
    assert option in text("run", "--help")


def test_run_shows_examples():
    said = text("run", "--help")
    assert (
        "scgroove run screen.h5mu --label perturbation --source rna --target prot --out results"
        in said
    )
    assert "--label rna=gene --label prot=target" in said


def test_demo_says_how_long_it_takes_and_shows_an_example():
    said = text("demo", "--help")
    assert "about one minute" in said
    assert "scgroove demo --out demo" in said


def test_help_is_fast_and_imports_nothing_heavy():
    code = (
        "import sys\nfrom scgroove.cli import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    code = end.code\n"
        "heavy = {'torch', 'scvi', 'lightning', 'matplotlib', 'mudata', 'anndata', 'pandas', 'umap'} & set(sys.modules)\n"
        "assert not heavy, heavy\nassert not code, code"
    )
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, "-c", code, "--help"],
        check=True,
        capture_output=True,
        env={**os.environ, **ENV},
    )
    assert time.perf_counter() - start < 3, "about 0.2 s on an idle machine"
