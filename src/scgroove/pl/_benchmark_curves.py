"""What happens to a score as one parameter of the data changes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from scgroove._figure import AxesLike, Plotted, finish, panel_grid, shorten, style
from scgroove.pl._benchmark import (
    aligner_order,
    best_first,
    ceilings_in,
    chosen,
    direction,
    is_ceiling,
    learner_lines,
    metric_title,
    spread,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LABEL_GAP = 0.042
"""Between names at the ends of the lines, as a share of the height of a panel 3.4 inches high."""


def benchmark_curves(
    results: pd.DataFrame,
    metric: str,
    parameter: str = "rho",
    *,
    learners: Sequence[str] | None = None,
    aligners: Sequence[str] | None = None,
    interval: Literal["t", "bootstrap"] = "t",
    level: float = 0.95,
    ceilings: Sequence[str] | None = None,
    ncols: int = 2,
    ax: AxesLike | None = None,
    show: bool | None = None,
    save: str | Path | None = None,
    return_fig: bool = False,
) -> Plotted:
    """Plot a metric against a parameter of the data: a line for each learner, a panel for each aligner.

    Bands are intervals over seeds. Gray: chance, with two of its standard deviations (of a single value). Dashed and black:
    learners that know the truth, a limit and no method; dotted: the value of a perfect match, where it is near.

    Parameters
    ----------
    results
        What :func:`scgroove.benchmark.read` returns. Data sets that differ in more than the parameter have panels of their
        own.
    metric
        Name of a metric in it.
    parameter
        A column with one number for each data set, such as ``"rho"``.
    learners, aligners
        Which to show; by default all.
    interval, level
        As for :func:`scgroove.benchmark.summarize`.
    ceilings
        Learners that know the truth. By default those of which the results say so.
    ncols
        Panels in a row.
    ax
        One axes for each panel; a new figure by default.
    show
        Show the figure. By default only in an interactive session, when it is neither saved nor returned.
    save
        File to write, such as ``"curves.png"``.
    return_fig
        Return the figure instead of the axes.

    Returns
    -------
    The figure with ``return_fig``, nothing when it was shown, the list of axes otherwise.

    Raises
    ------
    ValueError, UnknownNameError
        If there is no such metric, parameter, learner or aligner; the message names the near miss.
    """
    from scgroove import benchmark
    from scgroove.benchmark._table import families

    ceilings = ceilings_in(results, ceilings)
    summary = benchmark.summarize(results, metric, interval=interval, level=level)
    family = families(results, parameter)
    summary = summary[summary["data"].isin(list(family))]
    summary = summary.assign(
        family=[family[d][0] for d in summary["data"]], at=[family[d][1] for d in summary["data"]]
    ).sort_values("at")
    names = chosen("learner", learners, best_first(summary, ceilings))
    panels = _panels(
        summary, chosen("aligner", aligners, aligner_order(summary["aligner"].unique())) or [""]
    )
    wide = min(ncols, len(panels))
    height = max(3.0, 0.155 * len(names) + 1.0)
    size = (6.4 if len(panels) == 1 else wide * 4.9, -(-len(panels) // wide) * (height + 0.3))
    with style():
        fig, axes = panel_grid(len(panels), ax, figsize=size, ncols=ncols, what=", ".join(panels))
        lines = learner_lines(results, ceilings)
        for panel, (title, table) in zip(axes, panels.items(), strict=True):
            _draw(panel, table, names, lines, ceilings, height)
            panel.set_title(title, loc="left", fontweight="bold")
            panel.set_xlabel(parameter)
            panel.set_ylabel(
                f"{metric_title(metric)}\n({direction(str(summary['better'].iloc[0]))})"
            )
        return finish(fig, axes, show=show, save=save, return_fig=return_fig)


def _panels(summary: pd.DataFrame, aligners: Sequence[str]) -> dict[str, pd.DataFrame]:
    """Rows of each family and aligner, by title."""
    panels = {}
    for name, rows in summary.groupby("family", sort=True):
        for aligner in aligners:
            here = rows[rows["aligner"] == aligner]
            title = ", ".join(part for part in (str(name), aligner) if part)
            if len(here):
                panels[title] = here
    return panels


def _draw(
    ax: Axes,
    table: pd.DataFrame,
    names: Sequence[str],
    lines: Mapping[str, Mapping[str, Any]],
    ceilings: Sequence[str] | None,
    height: float,
) -> None:
    _chance(ax, table)
    ends: dict[str, tuple[float, float]] = {}
    for name in names:
        rows = table[table["learner"] == name]
        if len(rows):
            _line(ax, rows, lines[name], name, is_ceiling(name, ceilings))
            ends[name] = (float(rows["at"].iloc[-1]), float(rows["mean"].iloc[-1]))
    _limits(ax, table)
    _names(ax, ends, lines, height)


def _chance(ax: Axes, table: pd.DataFrame) -> None:
    at = table.groupby("at")[["chance", "chance_sd"]].mean().dropna(subset=["chance"])
    if not len(at):
        return
    x, middle = at.index.to_numpy(float), at["chance"].to_numpy()
    sd = at["chance_sd"].fillna(0.0).to_numpy()
    ax.fill_between(x, middle - 2 * sd, middle + 2 * sd, color="#D4D9DE", linewidth=0, zorder=0)
    ax.plot(x, middle, color="#7A838D", linewidth=1, zorder=1, label="chance")
    ax.annotate(
        "chance",
        (x[0], middle[0]),
        xytext=(2, 3),
        textcoords="offset points",
        fontsize=6.5,
        color="#5B6876",
    )


def _line(ax: Axes, rows: pd.DataFrame, look: Mapping[str, Any], name: str, ceiling: bool) -> None:
    x, mean = rows["at"].to_numpy(), rows["mean"].to_numpy()
    low, high = rows["low"].to_numpy(), rows["high"].to_numpy()
    ax.fill_between(
        x, low, high, color=look["color"], alpha=0.07 if ceiling else 0.11, linewidth=0, zorder=2
    )
    width = 1.0 if ceiling else 1.3
    ax.plot(
        x, mean, **look, linewidth=width, markersize=3.5, label=name, zorder=4 if ceiling else 3
    )


def _limits(ax: Axes, table: pd.DataFrame) -> None:
    """Show the perfect value where it does not flatten the rest."""
    perfect = table["perfect"].dropna()
    bottom, top = ax.get_ylim()
    if not len(perfect):
        return
    value = float(perfect.mean())
    if bottom - 0.4 * (top - bottom) <= value <= top + 0.4 * (top - bottom):
        ax.axhline(value, color="#7A838D", linewidth=0.8, linestyle=":", zorder=0)
        ax.annotate(
            "perfect",
            (0.0, value),
            xycoords=ax.get_yaxis_transform(),
            xytext=(3, 2),
            textcoords="offset points",
            fontsize=6.5,
            color="#5B6876",
        )


def _names(
    ax: Axes,
    ends: Mapping[str, tuple[float, float]],
    lines: Mapping[str, Mapping[str, Any]],
    height: float,
) -> None:
    """Write the name of each line at its end, apart from one another, with a thin line where it was moved."""
    bottom, top = ax.get_ylim()
    ax.set_ylim(bottom, top)
    right = max((x for x, _ in ends.values()), default=1.0)
    left = ax.get_xlim()[0]
    shares = [(y - bottom) / (top - bottom) for _, y in ends.values()]
    moved = spread(shares, _LABEL_GAP * 3.4 / height, 0.0, 1.0)
    right = right + 0.02 * (right - left)
    ax.set_xlim(left, right)
    to_axes = ax.get_yaxis_transform()
    for (name, (x, y)), place in zip(ends.items(), moved, strict=True):
        color = lines[name]["color"]
        where = bottom + place * (top - bottom)
        start = (x - left) / (right - left) if right > left else 1.0
        path = ([start, 1.0, 1.05], [y, y, where])
        ax.plot(*path, transform=to_axes, color=color, linewidth=0.5, clip_on=False, alpha=0.6)
        ax.text(
            1.06,
            where,
            shorten(name, 26),
            transform=to_axes,
            va="center",
            fontsize=6.8,
            color=_dark(color),
        )


def _dark(color: str) -> Any:
    """The color, darker where it would be hard to read as text."""
    from matplotlib.colors import to_rgb

    rgb = np.array(to_rgb(color))
    light = float(rgb @ [0.299, 0.587, 0.114])
    return tuple(rgb * min(1.0, 0.5 / light)) if math.isfinite(light) and light > 0 else color
