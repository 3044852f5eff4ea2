"""Figures of what the verbs in ``scgroove.tl`` wrote.

They read and draw, and compute nothing. All take ``ax``, ``show``, ``save`` and ``return_fig``.
Matplotlib is imported when the first figure is drawn.
"""

from typing import Any

from scgroove._validate import check_room, checked
from scgroove.pl._calibration import calibration
from scgroove.pl._coupling import coupling_label_mass
from scgroove.pl._coupling_entropy import coupling_entropy
from scgroove.pl._coupling_matches import coupling_top_matches
from scgroove.pl._effects import effects
from scgroove.pl._efficacy import efficacy
from scgroove.pl._epsilon_scan import epsilon_scan
from scgroove.pl._history import training_history
from scgroove.pl._imputation import imputed_vs_measured
from scgroove.pl._imputation_scores import imputation_scores
from scgroove.pl._latent import latent

__all__ = [
    "benchmark_cost",
    "benchmark_critical_difference",
    "benchmark_curves",
    "benchmark_heatmap",
    "benchmark_intervals",
    "benchmark_report",
    "calibration",
    "coupling_entropy",
    "coupling_label_mass",
    "coupling_top_matches",
    "effects",
    "efficacy",
    "epsilon_scan",
    "imputation_scores",
    "imputed_vs_measured",
    "latent",
    "training_history",
]

check_room(__name__)


def __getattr__(name: str) -> Any:
    """Import a figure of the benchmark when it is first used: its room needs torch."""
    if name not in __all__:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    from scgroove.benchmark import figures

    globals()[name] = checked(getattr(figures, name))
    return globals()[name]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
