"""Draw ``simulation_knobs.png`` of the user guide, "Simulated screens".

Run from anywhere: ``python docs/figures/simulation_knobs.py``. It takes a few seconds.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
from PIL import Image

import scgroove as sg

mpl.use("Agg")
target = Path(__file__).with_suffix(".png")
sg.pl.simulation_knobs(sg.simulations.knob_panels(), save=target)
# A palette of 128 colours makes the file a third as large, and the figure has far fewer.
Image.open(target).convert("RGB").quantize(128).save(target, optimize=True)
