"""Commands that are stopped from outside: signals while a model trains, and readers of pipes that have gone."""

import os
import signal
import subprocess
import sys
import time

import pytest

from scgroove._stops import SIGNALS

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals and sessions of POSIX")

LEARNER = """
import os
from dataclasses import dataclass
from typing import ClassVar
from scgroove import learners

@learners.LEARNERS.register("endless")
@dataclass
class Endless(learners.get("groove")):
    '''GROOVE that trains without end the first time.'''

    name: ClassVar[str] = "endless"
    mark: str = ""

    def _fit(self, screen, seed):
        self.max_epochs = 1 if os.path.exists(self.mark) else 1_000_000
        open(self.mark, "a").close()
        super()._fit(screen, seed)
"""

SPEC = """
seeds = 1
learners = ["ps_logistic", {{learner = "endless", options = {{mark = "{mark}"}}}}]
aligners = ["uniform"]
metrics = ["foscttm_within_label"]

[[data]]
scenario = "reference"
parameters = {{n_cells_per_label = 4, n_labels = 4, n_features = [8, 8]}}
"""


def start(*arguments, folder, **options):
    """Start a command as from a terminal: signals have their defaults, even where the tests ignore them."""

    def as_from_a_terminal():
        for one in SIGNALS:
            signal.signal(one, signal.SIG_DFL)

    return subprocess.Popen(
        [sys.executable, "-m", "scgroove", *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=as_from_a_terminal,
        **options,
    )


def waited_for(process, happened):
    """Wait until something happened, at most as long as a busy machine may need."""
    deadline = time.time() + 300
    while not happened():
        if process.poll() is not None or time.time() > deadline:
            process.kill()
            raise AssertionError(ended(process))
        time.sleep(0.1)


def ended(process):
    """Return what a process said when it is over; one that goes on is killed."""
    try:
        return process.communicate(timeout=300)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return process.communicate()


def processes_of(session):
    """Processes of a session, without those that have ended."""
    found = subprocess.run(
        ["ps", "-eo", "sess=,stat=,args="], capture_output=True, text=True, check=True
    )
    rows = [line.split(maxsplit=2) for line in found.stdout.splitlines()]
    return [args for of, state, args in rows if int(of) == session and not state.startswith("Z")]


def statuses(out):
    from scgroove import benchmark

    table = benchmark.read(out)
    return {(row.learner, row.status) for row in table.itertuples()}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "jobs", "to_all"),
    [(signal.SIGINT, 1, True), (signal.SIGTERM, 1, False), (signal.SIGINT, 2, True)],
)
def test_a_benchmark_that_is_stopped_while_groove_trains_goes_on_later(
    tmp_path, number, jobs, to_all
):
    (tmp_path / "own.py").write_text(LEARNER)
    mark, out = tmp_path / "training", tmp_path / "out"
    (tmp_path / "spec.toml").write_text(SPEC.format(mark=mark))
    command = ["benchmark", "run", "spec.toml", "-o", "out", "-i", "own.py", "--jobs", str(jobs)]
    process = start(*command, folder=tmp_path)
    waited_for(process, lambda: mark.exists() and list((out / "cells").glob("*.parquet")))
    time.sleep(2)  # on to the epochs
    (os.killpg if to_all else os.kill)(process.pid, number)
    _, said = ended(process)
    assert process.returncode == 128 + number, said
    assert said.endswith(
        "\nStopped. What was finished is kept: the same command goes on from there.\n"
    )
    assert "Traceback" not in said
    assert statuses(out) == {("ps_logistic", "done")}
    assert processes_of(process.pid) == []

    kept = {file: file.stat().st_mtime_ns for file in (out / "cells").iterdir()}
    process = start(*command, folder=tmp_path)
    out_text, said = ended(process)
    assert process.returncode == 0, said
    assert "2 done, 0 failed, 0 skipped" in out_text
    assert {file: file.stat().st_mtime_ns for file in kept} == kept
    assert statuses(out) == {("ps_logistic", "done"), ("endless", "done")}


@pytest.mark.slow
def test_a_reader_that_has_gone_ends_a_command_without_a_word(tmp_path):
    process = start("benchmark", "list", folder=tmp_path)
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait(timeout=300) == 141


@pytest.mark.slow
def test_nobody_needs_to_read_what_goes_wrong(tmp_path):
    process = start("benchmark", "list", folder=tmp_path)
    process.stderr.close()
    assert "\nGrids\n" in process.stdout.read()
    assert process.wait(timeout=300) == 0
    process = start("run", "nothing.h5mu", folder=tmp_path)
    process.stderr.close()
    assert process.stdout.read() == ""
    assert process.wait(timeout=300) in (
        2,
        141,
    )  # by how much was written before the reader had gone
