"""Figures of what the verbs in ``scgroove.tl`` wrote.

They read and draw; they compute nothing anew. All take ``ax``, ``show``, ``save`` and ``return_fig``.
Matplotlib is imported when the first figure is drawn.
"""

from scgroove.pl._coupling import coupling_label_mass
from scgroove.pl._epsilon_scan import epsilon_scan
from scgroove.pl._history import training_history
from scgroove.pl._imputation import imputed_vs_measured
from scgroove.pl._latent import latent
from scgroove.pl._simulation import simulation_knobs

__all__ = [
    "coupling_label_mass",
    "epsilon_scan",
    "imputed_vs_measured",
    "latent",
    "simulation_knobs",
    "training_history",
]
