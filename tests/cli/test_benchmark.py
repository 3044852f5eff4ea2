import pandas as pd
import pytest
from typer.testing import CliRunner

from scgroove.cli import app

SPEC = """
title = "A small grid"
seeds = 2
learners = ["pca_procrustes", "random"]
aligners = ["eot", "uniform"]

[[data]]
scenario = "reference"
name = "small"
parameters = {n_labels = 4, n_cells_per_label = 8, n_features = [12, 9]}
"""


def call(*arguments):
    return CliRunner().invoke(app, ["benchmark", *map(str, arguments)], env={"COLUMNS": "200"})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("grid")
    (folder / "spec.toml").write_text(SPEC)
    answer = call("run", folder / "spec.toml", "--out", folder / "out")
    assert answer.exit_code == 0, answer.output
    assert "12 cells of the grid" in answer.output
    assert "12 done, 0 failed, 0 skipped" in answer.output
    return folder


def test_a_second_run_finds_everything_done(folder):
    before = {p: p.stat().st_mtime_ns for p in (folder / "out" / "cells").iterdir()}
    answer = call("run", folder / "spec.toml", "--out", folder / "out")
    assert answer.exit_code == 0
    assert {p: p.stat().st_mtime_ns for p in (folder / "out" / "cells").iterdir()} == before


def test_results_can_be_read(folder):
    from scgroove import benchmark

    results = benchmark.read(folder / "out")
    assert isinstance(results, pd.DataFrame)
    assert set(results["learner"]) == {"pca_procrustes", "random"}


def test_report_is_one_page(folder):
    answer = call("report", folder / "out", "--reference", "random")
    assert answer.exit_code == 0, answer.output
    page = (folder / "out" / "report.html").read_text()
    assert "A small grid" in page
    assert "data:image/png;base64" in page
    assert "<script" not in page


def test_a_report_elsewhere_and_compared_with_what_is_named(folder):
    answer = call("report", folder / "out", "--out", folder / "new" / "page.html")
    assert answer.exit_code == 0, answer.output
    assert "Compared with pca_procrustes" in (folder / "new" / "page.html").read_text(), (
        "the first that is no limit"
    )
    answer = call("report", folder / "out", "--reference", "pca_procrusts")
    assert answer.exit_code != 0
    assert "no learner 'pca_procrusts'" in answer.output
    assert "Did you mean 'pca_procrustes'" in answer.output


def test_list_names_what_can_be_combined():
    answer = call("list")
    assert answer.exit_code == 0, answer.output
    for name in ("groove", "ps_logistic", "eot", "foscttm_within_label", "half_shared", "reference"):
        assert f"  {name} " in answer.output


def test_the_grids_that_come_along_are_grids():
    from scgroove import benchmark

    assert benchmark.builtin("reference").n_cells == 3 * 5 * 22 * 9
    for name in benchmark.SPECS:
        assert benchmark.builtin(name).quick().n_cells > 0
    with pytest.raises(ValueError, match="Did you mean 'reference'"):
        benchmark.builtin("refrence")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("run", "nowhere.toml", "--out", "x"), "there is no such file"),
        (("run", "refrence", "--out", "x"), "neither a file nor one of the grids"),
        (("run", "reference", "--out", "x", "--shard", "one"), "expected I/N"),
        (("report", "nowhere"), "holds no results of a benchmark"),
    ],
)
def test_mistakes_are_explained_without_a_traceback(arguments, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    answer = call(*arguments)
    assert answer.exit_code == 2
    assert expected in answer.output
    assert "Traceback" not in answer.output
    assert list(tmp_path.iterdir()) == []


def test_a_typo_in_a_spec(tmp_path):
    (tmp_path / "spec.toml").write_text(SPEC.replace("aligners", "alingers"))
    answer = call("run", tmp_path / "spec.toml", "--out", tmp_path / "out")
    assert answer.exit_code == 2
    assert "'alingers'. Did you mean 'aligners'?" in answer.output
    assert not (tmp_path / "out").exists()
