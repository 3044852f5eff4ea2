"""Learners against aligners: every value of a grid with its interval, and which cannot be told from the best."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import pandas as pd

from scgroove._figure import AxesLike, Plotted, finish, natural_order, panel_grid, shorten, style
from scgroove.pl._benchmark import (
    aligner_order,
    best_first,
    ceilings_in,
    chosen,
    decimals,
    direction,
    is_ceiling,
    metric_title,
    number,
    without_ceilings,
    wrapped,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap, Normalize

Columns = Literal["aligner", "data"]

_CELL: Final = (0.80, 0.34)
"""Width and height of a cell in inches."""

_SHADES: Final = ("#EFF4F9", "#C3DAEC", "#84B6DA", "#3D87BD", "#14609C", "#083A68")
"""One hue, from what is no better than chance to the best: the text stays legible, and an orange frame stands out."""

_LETTERS: Final = 11
"""Letters beside the color bar for each inch of the figure's height."""

_FRAME: Final = "#D55E00"
_EMPTY: Final = "#FFFFFF"
_GREY: Final = "#EDEFF2"


@dataclass
class _Cell:
    """What one cell shows."""

    text: str = ""
    small: str = ""
    value: float = math.nan
    state: str = "missing"
    mark: str = ""


@dataclass
class _Grid:
    """A panel: a cell for each row and column."""

    title: str
    columns: list[str]
    cells: dict[tuple[str, str], _Cell] = field(default_factory=dict)


def benchmark_heatmap(
    results: pd.DataFrame,
    metric: str,
    *,
    columns: Columns | None = None,
    data: Sequence[str] | None = None,
    learners: Sequence[str] | None = None,
    aligners: Sequence[str] | None = None,
    interval: Literal["t", "bootstrap"] = "t",
    level: float = 0.95,
    ceilings: Sequence[str] | None = None,
    ncols: int = 1,
    ax: AxesLike | None = None,
    show: bool | None = None,
    save: str | Path | None = None,
    return_fig: bool = False,
) -> Plotted:
    """Plot the mean over seeds of every learner with every aligner, one panel a data set.

    Each cell has the mean and, smaller, its interval over seeds. A thick frame marks the best mean of a data set, a thin frame
    those that cannot be told apart from it: the interval of the paired difference holds 0 (:func:`scgroove.benchmark.best`).
    Hatched cells failed in every seed; where some seeds are missing, their number stands beside the interval;
    a dash was skipped, and what was not run is left blank.

    Parameters
    ----------
    results
        What :func:`scgroove.benchmark.read` returns.
    metric
        Name of a metric in it.
    columns
        ``"aligner"``: a panel for each data set. ``"data"``: one panel with a column for each data set, the only way for
        metrics of the representation alone, and the default there.
    data, learners, aligners
        Which to show, in this order; by default all, the best learners first.
    interval, level
        As for :func:`scgroove.benchmark.summarize`.
    ceilings
        Learners that know the truth: below a line, and never the best. By default those of which the results say so.
    ncols
        Panels in a row.
    ax
        One axes for each panel; a new figure by default.
    show
        Show the figure. By default only in an interactive session, when it is neither saved nor returned.
    save
        File to write, such as ``"heatmap.png"``.
    return_fig
        Return the figure instead of the axes.

    Returns
    -------
    The figure with ``return_fig``, nothing when it was shown, the list of axes otherwise.

    Raises
    ------
    ValueError, UnknownNameError
        If there is no such metric, data set, learner or aligner; the message names the near miss.
    """
    from scgroove import benchmark

    ceilings = ceilings_in(results, ceilings)
    summary = benchmark.summarize(results, metric, interval=interval, level=level)
    rows = chosen("learner", learners, _order(results, summary, ceilings))
    by_data = columns == "data" or (columns is None and not summary["aligner"].any())
    grids = _grids(results, summary, rows, data, aligners, by_data, ceilings, level)
    size = _size(grids, rows, ncols)
    with style():
        fig, axes = panel_grid(
            len(grids), ax, figsize=size, ncols=ncols, what=", ".join(g.title for g in grids)
        )
        colors = _colors(summary)
        for panel, grid in zip(axes, grids, strict=True):
            _draw(panel, grid, rows, colors, ceilings)
        _legend(fig if ax is None else axes[-1], grids, summary, level)
        _color_bar(fig, axes, colors, metric, summary)
        return finish(fig, axes, show=show, save=save, return_fig=return_fig)


def _order(
    results: pd.DataFrame, summary: pd.DataFrame, ceilings: Sequence[str] | None
) -> list[str]:
    """The best first; then those of which nothing was scored; last those that know the truth."""
    undone = natural_order(set(results["learner"].astype(str)) - set(summary["learner"]))
    return sorted(
        [*best_first(summary, ceilings), *undone], key=lambda name: is_ceiling(name, ceilings)
    )


def _grids(
    results: pd.DataFrame,
    summary: pd.DataFrame,
    rows: list[str],
    data: Sequence[str] | None,
    aligners: Sequence[str] | None,
    by_data: bool,
    ceilings: Sequence[str] | None,
    level: float,
) -> list[_Grid]:
    """Fill the panels."""
    metric = str(summary["metric"].iloc[0])
    sets = chosen("data set", data, natural_order(results["data"].astype(str)))
    names = chosen("aligner", aligners, aligner_order(summary["aligner"].unique())) or [""]
    marks = _marks(
        results[results["data"].isin(sets)], summary, metric, rows, names, ceilings, level
    )
    undone = _undone(results)
    if by_data:
        panels = [(name, sets, [(one, name) for one in sets]) for name in names]
    else:
        panels = [(one, names, [(one, name) for name in names]) for one in sets]
    found = summary.set_index(["data", "learner", "aligner"])
    digits = decimals(summary["mean"])
    grids = []
    for title, columns, places in panels:
        grid = _Grid(title, columns)
        for row in rows:
            for column, (one, name) in zip(columns, places, strict=True):
                cell = _cell(found, undone, (one, row, name), digits)
                cell.mark = marks.get((one, row, name), "")
                grid.cells[(row, column)] = cell
        grids.append(grid)
    return grids


def _marks(
    results: pd.DataFrame,
    summary: pd.DataFrame,
    metric: str,
    rows: list[str],
    names: list[str],
    ceilings: Sequence[str] | None,
    level: float,
) -> dict[tuple[str, str, str], str]:
    """``"best"``, or ``"near"`` where a method cannot be told apart from it; among those shown that know no truth."""
    from scgroove import benchmark

    shown = results[results["learner"].isin(rows) & results["aligner"].fillna("").isin(names)]
    shown = without_ceilings(shown, ceilings)
    if not (shown["metric"] == metric).any():
        return {}
    best = benchmark.best(shown, metric, level=level)
    marks = {
        (data, method): "best" if first else "" if apart else "near"
        for data, method, first, apart in best[["data", "method", "best", "told_apart"]].itertuples(
            index=False
        )
    }
    keys = summary[["data", "learner", "aligner"]].itertuples(index=False, name=None)
    return {(d, le, a): marks.get((d, f"{le} + {a}" if a else le), "") for d, le, a in keys}


def _undone(results: pd.DataFrame) -> dict[tuple[str, str, str], dict[str, int]]:
    """How many seeds failed or were skipped, for each data set, learner and aligner."""
    table = results[results["status"] != "done"].assign(aligner=results["aligner"].fillna(""))
    counts = table.groupby(["data", "learner", "aligner", "status"])["seed"].nunique()
    out: dict[tuple[str, str, str], dict[str, int]] = {}
    for (data, learner, aligner, status), n in counts.items():
        out.setdefault((data, learner, aligner), {})[status] = int(n)
    return out


def _cell(
    found: pd.DataFrame,
    undone: dict[tuple[str, str, str], dict[str, int]],
    key: tuple[str, str, str],
    digits: int,
) -> _Cell:
    lost = (
        undone.get(key)
        or (undone.get((key[0], key[1], "")) if key not in found.index else None)
        or {}
    )
    if key not in found.index:
        state = "failed" if "failed" in lost else "skipped" if lost else "missing"
        return _Cell(text={"failed": "failed", "skipped": "–", "missing": ""}[state], state=state)
    row = found.loc[key]
    small = _spread(row, digits)
    if "failed" in lost:
        small = f"{small}  {row['n_seeds']}/{row['n_seeds'] + lost['failed']}".strip()
    return _Cell(number(row["mean"], digits), small, float(row["mean"]), "done")


def _spread(row: Any, digits: int) -> str:
    if not math.isfinite(row["low"]):
        return "one seed"
    if row["interval"] == "t":
        return f"± {number((row['high'] - row['low']) / 2, digits)}"
    return f"{number(row['low'], digits)}–{number(row['high'], digits)}"


def _size(grids: list[_Grid], rows: list[str], ncols: int) -> tuple[float, float]:
    wide = min(ncols, len(grids))
    widest = max(len(grid.columns) for grid in grids)
    width = wide * (widest * _CELL[0] + 0.085 * max(len(row) for row in rows) + 0.2) + 1.0
    height = -(-len(grids) // wide) * (len(rows) * _CELL[1] + 0.75) + 0.45
    return max(width, 6.0), height


def _colors(summary: pd.DataFrame) -> tuple[Colormap, Normalize]:
    """Dark is good: from chance, or the worst value, to the best."""
    from matplotlib.colors import LinearSegmentedColormap, Normalize

    values = np.r_[summary["mean"], summary["chance"].dropna()]
    low, high = float(values.min()), float(values.max())
    shades = _SHADES if summary["better"].iloc[0] == "higher" else _SHADES[::-1]
    return LinearSegmentedColormap.from_list("quality", shades), Normalize(
        low, high if high > low else low + 1
    )


def _draw(
    ax: Axes,
    grid: _Grid,
    rows: list[str],
    colors: tuple[Colormap, Normalize],
    ceilings: Sequence[str] | None,
) -> None:
    gap = (
        0.35
        if any(is_ceiling(r, ceilings) for r in rows)
        and not all(is_ceiling(r, ceilings) for r in rows)
        else 0.0
    )
    place = {row: i + (gap if is_ceiling(row, ceilings) else 0.0) for i, row in enumerate(rows)}
    for (row, column), cell in grid.cells.items():
        _draw_cell(ax, grid.columns.index(column), place[row], cell, colors)
    ax.set_xlim(-0.5, len(grid.columns) - 0.5)
    ax.set_ylim(len(rows) - 0.5 + gap, -0.5)
    ax.set_xticks(range(len(grid.columns)), [wrapped(shorten(c, 28), 13) for c in grid.columns])
    ax.set_yticks(list(place.values()), [shorten(row, 30) for row in rows])
    ax.tick_params(length=0, top=False, labeltop=True, bottom=False, labelbottom=False)
    for tick, row in zip(ax.get_yticklabels(), rows, strict=True):
        tick.set_fontstyle("italic" if is_ceiling(row, ceilings) else "normal")
    ax.spines[:].set_visible(False)
    ax.set_title(grid.title, loc="left", fontweight="bold", pad=8)


def _draw_cell(
    ax: Axes, x: float, y: float, cell: _Cell, colors: tuple[Colormap, Normalize]
) -> None:
    from matplotlib.patches import Rectangle

    cmap, norm = colors
    done = cell.state == "done"
    color = cmap(norm(cell.value)) if done else _GREY if cell.state == "failed" else _EMPTY
    ink = _legible(color) if done else "#7A838D"
    box: dict[str, Any] = {"xy": (x - 0.47, y - 0.46), "width": 0.94, "height": 0.92}
    if cell.state != "missing":
        hatch = "/////" if cell.state == "failed" else None
        ax.add_patch(
            Rectangle(**box, facecolor=color, edgecolor="#C2C8CF", hatch=hatch, linewidth=0)
        )
    if cell.mark:
        width = 2.2 if cell.mark == "best" else 1.0
        ax.add_patch(Rectangle(**box, fill=False, edgecolor=_FRAME, linewidth=width, zorder=3))
    behind = (
        {"boxstyle": "round,pad=0.15", "facecolor": _GREY, "linewidth": 0}
        if cell.state == "failed"
        else None
    )
    up = 0.14 if cell.small else 0.0
    weight = "bold" if cell.mark == "best" else "normal"
    ax.text(
        x,
        y - up,
        cell.text,
        ha="center",
        va="center",
        color=ink,
        fontsize=7.5,
        bbox=behind,
        fontweight=weight,
    )
    if cell.small:
        ax.text(x, y + 0.24, cell.small, ha="center", va="center", color=ink, fontsize=5.8)


def _legible(color: Any) -> str:
    """White or dark text, whichever stands out more from a color (contrast ratio of WCAG 2)."""
    rgb = np.asarray(color[:3], dtype=float)
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    luminance = float(linear @ [0.2126, 0.7152, 0.0722])
    return "#FFFFFF" if 1.05 / (luminance + 0.05) > (luminance + 0.05) / 0.055 else "#0C1118"


def _legend(where: Any, grids: list[_Grid], summary: pd.DataFrame, level: float) -> None:
    """Explain the marks that are there."""
    from matplotlib.patches import Patch

    cells = [cell for grid in grids for cell in grid.cells.values()]
    marks, states = {cell.mark for cell in cells}, {cell.state for cell in cells}
    handles = []
    if "best" in marks:
        handles.append(Patch(facecolor="none", edgecolor=_FRAME, linewidth=2.2, label="best mean"))
    if "near" in marks:
        text = f"not told apart from it ({level:.0%} interval of the paired difference holds 0)"
        handles.append(Patch(facecolor="none", edgecolor=_FRAME, linewidth=1.0, label=text))
    if "failed" in states:
        handles.append(
            Patch(
                facecolor=_GREY,
                edgecolor="#C2C8CF",
                hatch="/////",
                linewidth=0,
                label="failed in every seed",
            )
        )
    if "skipped" in states:
        handles.append(Patch(facecolor="none", edgecolor="none", label="–  skipped"))
    if handles:
        options: dict[str, Any] = (
            {"loc": "outside lower left"} if hasattr(where, "subfigs") else {"loc": "upper left"}
        )
        where.legend(
            handles=handles,
            frameon=False,
            ncols=len(handles),
            handlelength=1.6,
            columnspacing=1.4,
            **options,
        )


def _color_bar(
    fig: Any,
    axes: list[Axes],
    colors: tuple[Colormap, Normalize],
    metric: str,
    summary: pd.DataFrame,
) -> None:
    from matplotlib.cm import ScalarMappable

    better = str(summary["better"].iloc[0])
    bar = fig.colorbar(
        ScalarMappable(colors[1], colors[0]),
        ax=axes,
        fraction=0.03,
        pad=0.015,
        aspect=30,
        shrink=0.75,
    )
    bar.outline.set_visible(False)  # type: ignore[operator]
    letters = int(_LETTERS * fig.bbox.height / fig.dpi)
    bar.set_label(textwrap.fill(f"{metric_title(metric)} ({direction(better)})", max(letters, 12)))
    bar.ax.tick_params(length=2)
    if better == "lower":
        bar.ax.invert_yaxis()
    chance = summary["chance"].dropna()
    if len(chance):
        bar.ax.axhline(float(chance.mean()), color="#222222", linewidth=1.2)
        bar.ax.text(
            -0.35,
            float(chance.mean()),
            "chance",
            transform=bar.ax.get_yaxis_transform(),
            ha="right",
            va="center",
            fontsize=6,
        )
