import subprocess
import sys

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
    assert "(reference) 'pca_procrusts'" in answer.output
    assert "Did you mean 'pca_procrustes'" in answer.output


def test_list_names_what_can_be_combined():
    answer = call("list")
    assert answer.exit_code == 0, answer.output
    for name in (
        "groove",
        "ps_logistic",
        "eot",
        "foscttm_within_label",
        "half_shared",
        "reference",
    ):
        assert f"  {name} " in answer.output


def test_the_grids_that_come_along_are_grids():
    from scgroove.benchmark.spec import SPECS, Spec

    assert Spec.named("reference").n_cells == 3 * 5 * 22 * 9
    for name in SPECS:
        assert Spec.named(name).quick().n_cells > 0
    with pytest.raises(ValueError, match="Did you mean 'reference'"):
        Spec.named("refrence")


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


OWN = '''
from dataclasses import dataclass

import numpy as np

from scgroove.learners import LEARNERS, Learner
from scgroove.metrics import Score, register


@LEARNERS.register("first_two")
@dataclass
class FirstTwo(Learner):
    """The first two features of each modality."""

    name = "first_two"

    def _fit(self, screen, seed):
        self.features = screen.features()

    def _transform(self, mdata):
        return {m: of(mdata[m])[:, :2] for m, of in self.features.items()}


@register("n_source_cells", kind="representation", better="higher", perfect=np.nan, needs=("x", "y"))
def n_source_cells(inputs):
    return Score(float(len(inputs.x)), 0.0, 1.0, 1)
'''


@pytest.mark.slow
def test_methods_of_a_file_take_part_on_workers_too(tmp_path):
    """In a process of its own: what it registers must not stay in this one."""
    from scgroove import benchmark

    (tmp_path / "my_methods.py").write_text(OWN)
    spec = SPEC.replace('"pca_procrustes"', '"first_two"').replace("seeds = 2", "seeds = 1")
    (tmp_path / "spec.toml").write_text('metrics = ["n_source_cells", "foscttm_global"]\n' + spec)
    arguments = ["run", "spec.toml", "--out", "out", "--jobs", "2", "--import", "my_methods.py"]
    command = [sys.executable, "-m", "scgroove", "benchmark", *arguments]
    answer = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert answer.returncode == 0, answer.stderr
    found = benchmark.read(tmp_path / "out").query(
        "learner == 'first_two' and metric == 'n_source_cells'"
    )
    assert found["value"].tolist() == [32.0]


def test_what_is_imported_is_listed(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    scenario = "from scgroove.simulations import SCENARIOS\nSCENARIOS.register('of_my_own')(SCENARIOS.get('reference'))"
    (tmp_path / "my_scenarios.py").write_text(scenario)
    from scgroove.simulations import SCENARIOS

    monkeypatch.setattr(SCENARIOS, "_items", dict(SCENARIOS._items))
    answer = call("list", "--import", tmp_path / "my_scenarios.py")
    assert "of_my_own" in answer.output


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("absent.py", None, "there is no such file"),
        ("my-methods.py", "", "cannot be one. Rename it"),
        ("json.py", "", "another module is called 'json'"),
        ("broken_methods.py", "1 / 0", "ZeroDivisionError"),
        ("no_such_module_at_all", None, "ModuleNotFoundError"),
    ],
)
def test_what_cannot_be_imported_is_said(tmp_path, monkeypatch, name, text, expected):
    monkeypatch.setattr(sys, "path", [*sys.path])
    file = tmp_path / name if name.endswith(".py") else name
    if text is not None:
        file.write_text(text)
    answer = call("list", "--import", file)
    assert answer.exit_code == 2
    assert expected in answer.output
