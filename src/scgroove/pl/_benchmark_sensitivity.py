"""How much a score depends on one setting at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import pandas as pd

from scgroove._figure import AxesLike, Plotted, finish, panel_grid, style
from scgroove.errors import InputError
from scgroove.pl._benchmark import best_first, chosen, direction, learner_lines, metric_title

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LOG_FROM: Final = 8.0
"""Ratio of the largest to the smallest level from which the axis is logarithmic."""


def benchmark_sensitivity(
    results: pd.DataFrame,
    metric: str,
    *,
    aligner: str | None = None,
    factors: Sequence[str] | None = None,
    learners: Sequence[str] | None = None,
    interval: Literal["t", "bootstrap"] = "t",
    level: float = 0.95,
    ncols: int = 3,
    ax: AxesLike | None = None,
    show: bool | None = None,
    save: str | Path | None = None,
    return_fig: bool = False,
) -> Plotted:
    """Plot a metric against the levels of each factor: a panel a factor, a line a learner, bands over seeds.

    All panels have one scale, so that what matters stands out. Gray: chance.

    Parameters
    ----------
    results
        What :func:`scgroove.benchmark.sensitivity` returns.
    metric
        Name of a metric in it.
    aligner
        Whose couplings; needed where there are several. Metrics of the representation have none.
    factors, learners
        Which to show; by default all.
    interval, level
        As for :func:`scgroove.benchmark.summarize`.
    ncols
        Panels in a row.
    ax
        One axes for each factor; a new figure by default.
    show
        Show the figure. By default only in an interactive session, when it is neither saved nor returned.
    save
        File to write, such as ``"sensitivity.png"``.
    return_fig
        Return the figure instead of the axes.

    Returns
    -------
    The figure with ``return_fig``, nothing when it was shown, the list of axes otherwise.

    Raises
    ------
    ValueError, UnknownNameError
        If the table has no factors, or there is no such metric, aligner, factor or learner.
    """
    summary = _summary(results, metric, aligner, interval, level)
    names = chosen("factor", factors, list(dict.fromkeys(summary["factor"])))
    who = chosen("learner", learners, best_first(summary, None))
    lines = learner_lines(results, None)
    rows = -(-len(names) // min(ncols, len(names)))
    size = (min(ncols, len(names)) * 3.1, rows * 2.5 + 0.4)
    with style():
        fig, axes = panel_grid(
            len(names), ax, figsize=size, ncols=min(ncols, len(names)), what=", ".join(names)
        )
        limits = _limits(summary[summary["learner"].isin(who)])
        for panel, name in zip(axes, names, strict=True):
            _draw(panel, summary[summary["factor"] == name], who, lines)
            panel.set_ylim(limits)
            _name_levels(panel, name, summary[summary["factor"] == name])
            panel.set_xlabel(name.replace("_", " "))
        axes[0].set_ylabel(f"{metric_title(metric)}\n({direction(str(summary['better'].iloc[0]))})")
        axes[0].legend(loc="best", fontsize=7, frameon=False)
        return finish(fig, axes, show=show, save=save, return_fig=return_fig)


def _summary(
    results: pd.DataFrame,
    metric: str,
    aligner: str | None,
    interval: Literal["t", "bootstrap"],
    level: float,
) -> pd.DataFrame:
    """Return mean and interval of each learner at each level of each factor."""
    from scgroove import benchmark

    missing = [column for column in ("factor", "level") if column not in results]
    if missing:
        raise InputError(
            f"the table lacks the columns {missing}: it must be what scgroove.benchmark.sensitivity returns. A table of "
            f"scgroove.benchmark.run is drawn by scgroove.pl.benchmark_curves."
        )
    rows = results[results["metric"] == metric]
    there = list(dict.fromkeys(rows["aligner"]))
    if aligner is None and len(there) > 1:
        raise InputError(
            f"{metric!r} was scored for several aligners: choose one, aligner= one of {there}."
        )
    kept = results if aligner is None else results[results["aligner"].isin({aligner, ""})]
    parts = []
    for (factor, at), part in kept.groupby(["factor", "level"], sort=False):
        table = benchmark.summarize(
            part, metric, by=("learner", "aligner"), interval=interval, level=level
        )
        parts.append(table.assign(factor=factor, at=at))
    return pd.concat(parts, ignore_index=True)


def _limits(summary: pd.DataFrame) -> tuple[float, float]:
    """Return one scale for all panels: of means, with room for the narrower half of the intervals."""
    low, high = float(summary["mean"].min()), float(summary["mean"].max())
    half = float(np.nanmedian((summary["high"] - summary["low"]).fillna(0.0))) / 2
    room = max(half, 0.06 * (high - low), 1e-6)
    return low - room, high + room


def _draw(
    ax: Axes, table: pd.DataFrame, learners: Sequence[str], lines: Mapping[str, Mapping[str, Any]]
) -> None:
    levels = np.sort(table["at"].unique())
    for name in learners:
        rows = table[table["learner"] == name].sort_values("at")
        if len(rows):
            ax.fill_between(
                rows["at"],
                rows["low"],
                rows["high"],
                color=lines[name]["color"],
                alpha=0.15,
                linewidth=0,
            )
            ax.plot(
                rows["at"], rows["mean"], **lines[name], linewidth=1.3, markersize=3.5, label=name
            )
    chance = table.groupby("at")["chance"].mean().dropna()
    if len(chance):
        ax.plot(chance.index, chance, color="#7A838D", linewidth=0.8, linestyle=":", zorder=0)
    positive = levels[levels > 0]
    if len(positive) > 2 and positive.max() / positive.min() >= _LOG_FROM:
        _log(ax, levels, float(positive.min()))


def _name_levels(ax: Axes, factor: str, table: pd.DataFrame) -> None:
    """Write what levels stand for where they are no numbers."""
    from scgroove.benchmark import FACTORS

    if factor in FACTORS and FACTORS[factor].names:
        levels = np.sort(table["at"].unique())
        ax.set_xticks(levels, [FACTORS[factor].text(level) for level in levels])
        ax.set_xlim(levels.min() - 0.5, levels.max() + 0.5)


def _log(ax: Axes, levels: np.ndarray[Any, Any], smallest: float) -> None:
    """Give each level a tick of its own on a logarithmic axis, on which zero has a place too."""
    if levels.min() <= 0:
        ax.set_xscale("symlog", linthresh=smallest, linscale=0.5)
    else:
        ax.set_xscale("log")
    ax.set_xticks(levels, [f"{level:g}" for level in levels])
    ax.minorticks_off()
