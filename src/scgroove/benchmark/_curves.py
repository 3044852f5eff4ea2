"""Curves of a metric against a parameter of the data, and against seconds and memory."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from scgroove._figure import AxesLike, Plotted, finish, panel_grid, style
from scgroove.benchmark._drawing import (
    GRAY,
    INK,
    aligner_order,
    axis_title,
    best_first,
    chosen,
    learner_styles,
    limits_of,
    without_limits,
)
from scgroove.benchmark._stats import costs, summarize
from scgroove.benchmark._table import families
from scgroove.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COST_PANELS: Final = {
    "seconds": "seconds to learn and align",
    "memory_mb": "peak memory above the start, MB",
}


def benchmark_curves(
    results: pd.DataFrame,
    metric: str,
    parameter: str = "rho",
    *,
    learners: Sequence[str] | None = None,
    aligners: Sequence[str] | None = None,
    level: float = 0.95,
    ncols: int = 2,
    ax: AxesLike | None = None,
    show: bool | None = None,
    save: str | Path | None = None,
    return_fig: bool = False,
) -> Plotted:
    """Plot a metric against a parameter of the data: a line a learner, a panel an aligner.

    Bands are intervals over seeds. Gray: chance, with two of its standard deviations (of a
    single value). Dashed and black: learners that know the truth.

    Parameters
    ----------
    results
        The table that :func:`scgroove.benchmark.read` returns. Data sets that differ in more than
        the parameter have panels of their own.
    metric
        Name of a metric in it.
    parameter
        A column with one number for each data set.
    learners, aligners
        Names to show. By default all.
    level
        Confidence of the intervals.
    ncols
        Panels in a row.
    ax, show, save, return_fig
        As for :func:`benchmark_heatmap`.
    """
    limits = limits_of(results)
    summary = summarize(results, metric, level=level)
    family = families(results, parameter)
    summary = summary[summary["data"].isin(list(family))]
    where = [family[data] for data in summary["data"]]
    summary = summary.assign(family=[f for f, _ in where], at=[v for _, v in where])
    names = chosen("learner", learners, best_first(summary, limits))
    shown = chosen("aligner", aligners, aligner_order(summary["aligner"].unique())) or [""]
    panels = {}
    for name, rows in summary.sort_values("at").groupby("family"):
        for aligner in shown:
            own = rows[rows["aligner"] == aligner]
            if len(own):
                panels[", ".join(part for part in (name, aligner) if part)] = own
    wide = min(ncols, len(panels))
    size = (wide * 4.2 + 1.6, -(-len(panels) // wide) * 3.4)
    with style():
        fig, axes = panel_grid(len(panels), ax, figsize=size, ncols=ncols, what=", ".join(panels))
        styles = learner_styles(results, limits)
        for panel, (title, table) in zip(axes, panels.items(), strict=True):
            _curves(panel, table, names, styles, limits)
            panel.set_title(title, loc="left", fontweight="bold")
            panel.set(xlabel=parameter, ylabel=axis_title(summary))
        handles, labels = axes[0].get_legend_handles_labels()
        _legend_beside(fig if ax is None else axes[-1], handles, labels)
        return finish(fig, axes, show=show, save=save, return_fig=return_fig)


def _curves(
    ax: Axes,
    table: pd.DataFrame,
    names: Sequence[str],
    styles: Mapping[str, Mapping[str, Any]],
    limits: Collection[str],
) -> None:
    chance = table.groupby("at")[["chance", "chance_sd"]].mean().dropna(subset=["chance"])
    for name in names:
        rows = table[table["learner"] == name]
        if len(rows):
            look = {**styles[name], "linewidth": 1.0 if name in limits else 1.3, "markersize": 3.5}
            ax.plot(rows["at"], rows["mean"], label=name, zorder=3, **look)
            if name not in limits:
                band = {"color": look["color"], "alpha": 0.1, "linewidth": 0}
                ax.fill_between(rows["at"], rows["low"], rows["high"], **band)
    if len(chance):
        half = 2 * chance["chance_sd"].fillna(0.0)
        low, high = chance["chance"] - half, chance["chance"] + half
        ax.fill_between(chance.index, low, high, color="#D4D9DE", linewidth=0, zorder=0)
        ax.plot(chance.index, chance["chance"], color=GRAY, linewidth=1, zorder=1, label="chance")
    perfect, (bottom, top) = table["perfect"].mean(), ax.get_ylim()
    if bottom - 0.4 * (top - bottom) <= perfect <= top + 0.4 * (top - bottom):
        ax.axhline(perfect, color=GRAY, linewidth=0.8, linestyle=":", zorder=0, label="perfect")


def _legend_beside(where: Any, handles: Any, labels: Any) -> None:
    """Put a legend to the right of a figure, or onto axes that were given."""
    beside = {"loc": "outside right upper"} if hasattr(where, "subfigs") else {}
    where.legend(handles, labels, frameon=False, **beside)


def benchmark_cost(
    results: pd.DataFrame,
    metric: str,
    *,
    by: Sequence[str] = ("learner", "aligner"),
    ax: AxesLike | None = None,
    show: bool | None = None,
    save: str | Path | None = None,
    return_fig: bool = False,
) -> Plotted:
    """Plot a metric against seconds and against memory, with the Pareto front.

    The line joins the points for which nothing else is as good for less. Means over data sets and
    seeds. Faint points were not scored everywhere, and are not on the front. Learners that know
    the truth are left out.

    Parameters
    ----------
    results
        The table that :func:`scgroove.benchmark.read` returns.
    metric
        Name of a metric in it.
    by
        Columns that make a point.
    ax, show, save, return_fig
        As for :func:`benchmark_heatmap`. Two axes.
    """
    import seaborn as sns
    from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter

    limits = limits_of(results)
    table = costs(without_limits(results, limits), metric, by=by)
    if table[list(COST_PANELS)].isna().all(axis=None):
        raise InputError(
            "neither seconds nor memory were measured in these results (fit_seconds, "
            "fit_memory_mb)."
        )
    names = table["learner"] if "learner" in table else pd.Series("all", index=table.index)
    styles = learner_styles(results, limits)
    points = table.assign(learner=names)
    colors = {name: styles.get(name, {"color": INK})["color"] for name in names.unique()}
    if "aligner" not in points or not points["aligner"].any():
        points["aligner"] = "representation"
    with style():
        fig, axes = panel_grid(2, ax, figsize=(10.5, 4.2), ncols=2, what=", ".join(COST_PANELS))
        for panel, (column, label) in zip(axes, COST_PANELS.items(), strict=True):
            own = points[np.isfinite(points[column]) & (points[column] > 0)]
            for lacking, alpha in ((False, 1.0), (True, 0.35)):
                rows = own[(own["lacks"] > 0) == lacking]
                if rows.empty:
                    continue
                sns.scatterplot(
                    rows, x=column, y="mean", hue="learner", style="aligner", palette=colors,
                    style_order=aligner_order(points["aligner"].unique()), s=34, alpha=alpha,
                    ax=panel, legend=not lacking and panel is axes[0],
                )  # fmt: skip
            front = own[own[f"front_{column.removesuffix('_mb')}"]].sort_values(column)
            line: dict[str, Any] = {
                "color": INK,
                "linewidth": 0.9,
                "drawstyle": "steps-post",
                "zorder": 1,
            }
            panel.plot(front[column], front["mean"], label="nothing as good for less", **line)
            panel.set(xscale="log", xlabel=label, ylabel=axis_title(table))
            ends = own[column].min(), own[column].max()
            few = MaxNLocator(4) if ends[1] < 5 * ends[0] else LogLocator(subs=(1.0, 2.0, 5.0))
            panel.xaxis.set_major_locator(few)
            panel.xaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
            panel.xaxis.set_minor_formatter(NullFormatter())
            if table["better"].iloc[0] == "lower":
                panel.invert_yaxis()
        handles, labels = axes[0].get_legend_handles_labels()
        legend = axes[0].get_legend()
        if legend is not None:
            legend.remove()
        _legend_beside(fig if ax is None else axes[-1], handles, labels)
        return finish(fig, axes, show=show, save=save, return_fig=return_fig)
