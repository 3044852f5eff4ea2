"""Figures of a benchmark, and the report, for :mod:`scgroove.pl`."""

from scgroove.benchmark._curves import benchmark_cost as benchmark_cost
from scgroove.benchmark._curves import benchmark_curves as benchmark_curves
from scgroove.benchmark._heatmap import benchmark_heatmap as benchmark_heatmap
from scgroove.benchmark._intervals import (
    benchmark_critical_difference as benchmark_critical_difference,
)
from scgroove.benchmark._intervals import benchmark_intervals as benchmark_intervals
from scgroove.benchmark.report import benchmark_report as benchmark_report
