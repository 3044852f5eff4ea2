"""Drawing leaves the settings of the user as they were."""

import subprocess
import sys

import pandas as pd
import pytest

from scgroove.errors import ArgumentError
from scgroove.pl import training_history


def test_the_first_figure_does_not_switch_interactive_mode_off():
    # what the backend of a notebook does: pyplot's import resolves it, and it switches interactive mode on
    script = """
import builtins, sys
import matplotlib
matplotlib.use("Agg")
load = builtins.__import__
def as_in_a_notebook(name, *args, **kwargs):
    new = "matplotlib.pyplot" not in sys.modules
    module = load(name, *args, **kwargs)
    if new and "matplotlib.pyplot" in sys.modules and hasattr(sys.modules["matplotlib.pyplot"], "ion"):
        matplotlib.rcParams["interactive"] = True
    return module
builtins.__import__ = as_in_a_notebook
from scgroove._figure import style
with style():
    import matplotlib.pyplot
    assert matplotlib.rcParams["font.size"] == 8
assert matplotlib.rcParams["interactive"], "switched off"
assert matplotlib.rcParams["font.size"] != 8
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)


@pytest.mark.parametrize("save", ["", ".", "figures/.."])
def test_a_figure_is_not_saved_without_the_name_of_a_file(save, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    curves = {"train_loss": pd.DataFrame({"loss": [2.0, 1.0]})}
    with pytest.raises(ArgumentError) as caught:
        training_history(curves, save=save)
    assert caught.value.argument == "save"
    assert not list(tmp_path.iterdir())
