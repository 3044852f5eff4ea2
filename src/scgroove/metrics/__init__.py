"""Metrics of matching: arrays in, a number (or one per cell) out.

Every metric also stands in the registry :data:`METRICS` under its name.
"""

from scgroove.metrics._barycentric import (
    barycentric_foscttm,
    barycentric_foscttm_per_cell,
    barycentric_projection,
)
from scgroove.metrics._candidates import METRICS
from scgroove.metrics._foscttm import Metric, foscttm, foscttm_per_cell
from scgroove.metrics._foscttm_coupling import foscttm_coupling, foscttm_coupling_per_cell
from scgroove.metrics._label_mass import label_mass
from scgroove.metrics._latent_error import latent_error
from scgroove.metrics._trace import trace, trace_over_chance, trace_per_cell

__all__ = [
    "METRICS",
    "Metric",
    "barycentric_foscttm",
    "barycentric_foscttm_per_cell",
    "barycentric_projection",
    "foscttm",
    "foscttm_coupling",
    "foscttm_coupling_per_cell",
    "foscttm_per_cell",
    "label_mass",
    "latent_error",
    "trace",
    "trace_over_chance",
    "trace_per_cell",
]
