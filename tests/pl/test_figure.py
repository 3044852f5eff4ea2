"""Drawing leaves the settings of the user as they were."""

import subprocess
import sys


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
