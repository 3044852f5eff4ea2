"""Heatmap of learners against aligners, with intervals and the methods not told from the best."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import pandas as pd

from scgroove._figure import AxesLike, Plotted, finish, natural_order, panel_grid, shorten, style
from scgroove.benchmark._drawing import (
    GRAY,
    INK,
    WORSE_COLOR,
    aligner_order,
    axis_title,
    best_first,
    chosen,
    decimals,
    limits_of,
    number,
    without_limits,
)
from scgroove.benchmark._stats import best, summarize
from scgroove.benchmark._table import CELL, method_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CELL_SIZE: Final = (0.80, 0.36)
"""Width and height of a cell in inches."""

MARK_WIDTHS: Final = {"best": 2.2, "near": 1.0}


def benchmark_heatmap(
    results: pd.DataFrame,
    metric: str,
    *,
    columns: Literal["aligner", "data"] | None = None,
    data: Sequence[str] | None = None,
    learners: Sequence[str] | None = None,
    aligners: Sequence[str] | None = None,
    level: float = 0.95,
    ncols: int = 1,
    ax: AxesLike | None = None,
    show: bool | None = None,
    save: str | Path | None = None,
    return_fig: bool = False,
) -> Plotted:
    """Plot the mean over seeds of every learner with every aligner, one panel a data set.

    Cells hold the mean and its interval over seeds. Darker is better. A thick frame marks the
    best mean of a data set, a thin frame the methods not told apart from it
    (:func:`scgroove.benchmark.best`). ``4/5`` beside an interval: so many seeds of those asked
    for. A dash was skipped, and what was not run is blank. Learners that know the truth stand
    below a line, in italics, and are never the best.

    Parameters
    ----------
    results
        The table that :func:`scgroove.benchmark.read` returns.
    metric
        Name of a metric in it.
    columns
        ``"aligner"``: a panel for each data set. ``"data"``: a panel for each aligner, the
        default for metrics of the representation alone.
    data, learners, aligners
        Names to show, in this order. By default all, the best learners first.
    level
        Confidence of the intervals.
    ncols
        Panels in a row.
    ax, show, save, return_fig
        As for all figures: axes to draw on, whether to show, a file to write, and whether to
        return the figure instead of the axes.
    """
    limits = limits_of(results)
    summary = summarize(results, metric, level=level)
    undone = natural_order(set(results["learner"].astype(str)) - set(summary["learner"]))
    order = sorted([*best_first(summary, limits), *undone], key=lambda name: name in limits)
    rows = chosen("learner", learners, order)
    sets = chosen("data set", data, natural_order(results["data"].astype(str)))
    names = chosen("aligner", aligners, aligner_order(summary["aligner"].unique())) or [""]
    by_data = columns == "data" or (columns is None and not summary["aligner"].any())
    cells = _cells(results, summary, rows, sets, names, limits, level)
    panels, across = (names, sets) if by_data else (sets, names)
    wide = min(ncols, len(panels))
    width = wide * (len(across) * CELL_SIZE[0] + 0.085 * max(map(len, rows)) + 0.2) + 1.0
    height = -(-len(panels) // wide) * (len(rows) * CELL_SIZE[1] + 0.75) + 0.45
    means = np.r_[summary["mean"], summary["chance"].dropna()]
    scale = {"vmin": float(means.min()), "vmax": max(float(means.max()), means.min() + 1e-9)}
    scale["cmap"] = "Blues" if summary["better"].iloc[0] == "higher" else "Blues_r"
    with style():
        fig, axes = panel_grid(
            len(panels), ax, figsize=(max(width, 6.0), height), ncols=ncols, what=", ".join(panels)
        )
        for panel, name in zip(axes, panels, strict=True):
            own = cells[cells["aligner" if by_data else "data"] == name]
            column = "data" if by_data else "aligner"
            _draw(panel, own, rows, across, column, limits, scale)
            panel.set_title(name, loc="left", fontweight="bold", pad=8)
        _legend(fig if ax is None else axes[-1], cells, level)
        _color_bar(fig, axes, summary)
        return finish(fig, axes, show=show, save=save, return_fig=return_fig)


def _cells(
    results: pd.DataFrame,
    summary: pd.DataFrame,
    rows: list[str],
    sets: list[str],
    names: list[str],
    limits: Collection[str],
    level: float,
) -> pd.DataFrame:
    """Return value, text and mark of each cell that has any."""
    metric = str(summary["metric"].iloc[0])
    table = results[results["data"].isin(sets)].assign(aligner=results["aligner"].fillna(""))
    shown = table[table["learner"].isin(rows) & table["aligner"].isin(names)]
    shown = without_limits(shown, limits)
    marks: dict[tuple[str, str], str] = {}
    if (shown["metric"] == metric).any() and not set(shown["learner"]) <= set(limits):
        for row in best(shown, metric, level=level).itertuples():
            mark = "best" if row.best else "near"
            marks[row.data, row.method] = "" if row.told_apart else mark
    lost = table[table["status"].isin(["failed", "skipped"])]
    counts = lost.pivot_table("seed", list(CELL), "status", aggfunc="nunique")
    counts = counts.reindex(columns=["failed", "skipped"]).fillna(0).astype(int)
    found = summary.set_index(list(CELL))
    digits = decimals(summary["mean"])
    records: list[dict[str, Any]] = []
    for data in sets:
        for learner in rows:
            for aligner in names:
                key = data, learner, aligner
                place = dict(zip(CELL, key, strict=True))
                method = method_names([learner], [aligner])[0]
                if key in found.index:
                    failed = int(counts["failed"].get(key, 0))
                    text = _text(found.loc[key], digits, failed)
                    value, mark = found.loc[key, "mean"], marks.get((data, method), "")
                    records.append({**place, "value": value, "text": text, "mark": mark})
                    continue
                # without a representation there is no coupling
                own = next((k for k in (key, (data, learner, "")) if k in counts.index), None)
                if own is not None:
                    text = "failed" if counts.loc[own, "failed"] else "–"
                    records.append({**place, "value": math.nan, "text": text, "mark": ""})
    return pd.DataFrame(records, columns=[*CELL, "value", "text", "mark"])


def _text(row: Any, digits: int, failed: int) -> str:
    """Write mean and half of the interval, and the seeds if some failed."""
    spread = "one seed"
    if math.isfinite(row["low"]):
        spread = f"± {number((row['high'] - row['low']) / 2, digits)}"
    elif row["n_seeds"] > 1:
        spread = "all the same"
    if failed:
        spread += f"  {row['n_seeds']}/{row['n_seeds'] + failed}"
    return f"{number(row['mean'], digits)}\n{spread}"


def _draw(
    ax: Axes,
    cells: pd.DataFrame,
    rows: list[str],
    across: list[str],
    column: str,
    limits: Collection[str],
    scale: dict[str, Any],
) -> None:
    import seaborn as sns
    from matplotlib.patches import Rectangle

    def wide(field: str) -> pd.DataFrame:
        table = cells.pivot_table(field, "learner", column, aggfunc="first", dropna=False)
        return table.reindex(index=rows, columns=across)

    values = wide("value").astype(float)
    texts = wide("text").fillna("")
    sns.heatmap(
        values, annot=texts, fmt="", annot_kws={"fontsize": 6.3}, cbar=False, linewidths=1.5,
        linecolor="white", ax=ax, **scale,
    )  # fmt: skip
    for row in cells.itertuples():
        x, y = across.index(getattr(row, column)), rows.index(row.learner)
        if math.isnan(row.value):
            ax.text(x + 0.5, y + 0.5, row.text, ha="center", va="center", color=GRAY, fontsize=7)
        if row.mark:
            width = MARK_WIDTHS[row.mark]
            box = Rectangle((x + 0.03, y + 0.04), 0.94, 0.92, fill=False, linewidth=width)
            box.set(edgecolor=WORSE_COLOR, zorder=3)
            ax.add_patch(box)
    n_methods = sum(row not in limits for row in rows)
    if 0 < n_methods < len(rows):
        ax.axhline(n_methods, color=INK, linewidth=0.8)
    labels = [textwrap.fill(shorten(name, 28), 13) for name in across]
    ax.set_xticks(np.arange(len(across)) + 0.5, labels, rotation=0)
    ax.set_yticks(np.arange(len(rows)) + 0.5, [shorten(row, 30) for row in rows], rotation=0)
    for tick, name in zip(ax.get_yticklabels(), rows, strict=True):
        tick.set_fontstyle("italic" if name in limits else "normal")
    ax.tick_params(length=0, top=False, labeltop=True, bottom=False, labelbottom=False)
    ax.set(xlabel="", ylabel="")


def _legend(where: Any, cells: pd.DataFrame, level: float) -> None:
    from matplotlib.patches import Patch

    near = f"not told apart from it ({level:.0%} interval of the paired difference holds 0)"
    titles = {"best": "best mean", "near": near}
    handles = [
        Patch(facecolor="none", edgecolor=WORSE_COLOR, linewidth=MARK_WIDTHS[mark], label=title)
        for mark, title in titles.items()
        if (cells["mark"] == mark).any()
    ]
    if (cells["text"] == "–").any():
        handles.append(Patch(facecolor="none", edgecolor="none", label="–  skipped"))
    if handles:
        loc = "outside lower left" if hasattr(where, "subfigs") else "upper left"
        where.legend(handles=handles, frameon=False, ncols=len(handles), loc=loc)


def _color_bar(fig: Any, axes: list[Axes], summary: pd.DataFrame) -> None:
    mesh = axes[0].collections[0]
    bar = fig.colorbar(mesh, ax=axes, fraction=0.03, pad=0.015, aspect=30, shrink=0.75)
    bar.outline.set_visible(False)
    bar.set_label(axis_title(summary))
    bar.ax.tick_params(length=2)
    if summary["better"].iloc[0] == "lower":
        bar.ax.invert_yaxis()
    chance = summary["chance"].dropna()
    if len(chance):
        at = float(chance.mean())
        bar.ax.axhline(at, color=INK, linewidth=1.2)
        place = {"transform": bar.ax.get_yaxis_transform(), "ha": "right", "va": "center"}
        bar.ax.text(-0.35, at, "chance", fontsize=6, **place)
