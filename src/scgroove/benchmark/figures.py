"""Figures of a benchmark, and the report. :mod:`scgroove.pl` has them too."""

from scgroove.benchmark._curves import benchmark_cost, benchmark_curves
from scgroove.benchmark._heatmap import benchmark_heatmap
from scgroove.benchmark._intervals import benchmark_critical_difference, benchmark_intervals
from scgroove.benchmark.report import benchmark_report

__all__ = [
    "benchmark_cost",
    "benchmark_critical_difference",
    "benchmark_curves",
    "benchmark_heatmap",
    "benchmark_intervals",
    "benchmark_report",
]
