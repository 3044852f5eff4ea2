"""Paired differences from a reference, with their intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pandas as pd

from scgroove._figure import AxesLike, Plotted, finish, panel_grid, shorten, style
from scgroove.errors import InputError
from scgroove.pl._benchmark import (
    BETTER_COLOR,
    SAME_COLOR,
    WORSE_COLOR,
    decimals,
    is_ceiling,
    metric_title,
    number,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLORS: Final = {"better": BETTER_COLOR, "worse": WORSE_COLOR}
_MOST_DIGITS: Final = 6
_NEEDED: Final = (
    "scope",
    "data",
    "candidate",
    "reference",
    "metric",
    "mean",
    "low",
    "high",
    "n",
    "verdict",
)


def benchmark_intervals(
    results: pd.DataFrame,
    metric: str | None = None,
    reference: str | None = None,
    *,
    over: str = "learner",
    level: float = 0.95,
    require_p: bool = False,
    ceilings: Sequence[str] | None = None,
    ax: AxesLike | None = None,
    show: bool | None = None,
    save: str | Path | None = None,
    return_fig: bool = False,
) -> Plotted:
    """Plot how much better than a reference each learner is: paired differences with intervals, a panel a scope.

    To the right of the line: better. Blue and orange: the interval lies on one side of 0; gray: no difference is shown.
    Thin lines: intervals widened for the number of comparisons. An arrow: the interval goes on beyond the panel. What a panel speaks of is told by
    :func:`scgroove.benchmark.compare`.

    Parameters
    ----------
    results
        What :func:`scgroove.benchmark.read` returns, or the table of :func:`scgroove.benchmark.compare`.
    metric, reference, over, level, require_p
        As for :func:`scgroove.benchmark.compare`; not needed with its table.
    ceilings
        Learners that know the truth: below a line. By default those with "oracle" in their name.
    ax
        One axes for each panel; a new figure by default.
    show
        Show the figure. By default only in an interactive session, when it is neither saved nor returned.
    save
        File to write, such as ``"intervals.png"``.
    return_fig
        Return the figure instead of the axes.

    Returns
    -------
    The figure with ``return_fig``, nothing when it was shown, the list of axes otherwise.

    Raises
    ------
    ValueError, UnknownNameError
        If there is no such metric or reference, or the table lacks a column.
    """
    table = _table(results, metric, reference, over, level, require_p)
    names = _order(table, ceilings)
    panels = {title: rows for title, rows in _panels(table).items() if len(rows)}
    wide = min(5, len(panels))
    margin = 0.075 * max(len(shorten(name, 34)) for name in names) + 0.1
    size = (margin + 1.75 * wide, -(-len(panels) // wide) * (0.2 * len(names) + 0.95))
    with style():
        fig, axes = panel_grid(len(panels), ax, figsize=size, ncols=wide, what=", ".join(panels))
        for i, (panel, (title, rows)) in enumerate(zip(axes, panels.items(), strict=True)):
            _draw(
                panel, rows.set_index("candidate"), names, _reach(table, rows, ceilings), ceilings
            )
            panel.set_title(title, loc="left")
            named = i % wide == 0 or ax is not None
            panel.set_yticks(
                range(len(names)), [shorten(n, 34) for n in names] if named else [""] * len(names)
            )
            for tick, name in zip(panel.get_yticklabels(), names, strict=True):
                tick.set_fontstyle("italic" if is_ceiling(name, ceilings) else "normal")
        _axis_label(fig if ax is None else axes[0], table)
        return finish(fig, axes, show=show, save=save, return_fig=return_fig)


def _table(
    results: pd.DataFrame,
    metric: str | None,
    reference: str | None,
    over: str,
    level: float,
    require_p: bool,
) -> pd.DataFrame:
    if "verdict" in results:
        missing = [column for column in _NEEDED if column not in results]
        if missing:
            raise InputError(
                f"the table lacks {missing}; expected what scgroove.benchmark.compare returns, found {list(results.columns)}."
            )
        return results
    if metric is None or reference is None:
        raise InputError(
            "Name the metric and the reference: scgroove.pl.benchmark_intervals(results, 'foscttm_within_label', "
            "'ps_logistic_scaled')."
        )
    from scgroove import benchmark

    return benchmark.compare(
        results,
        metric,
        reference,
        over=over,  # type: ignore[arg-type]
        level=level,
        require_p=require_p,
    )


def _order(table: pd.DataFrame, ceilings: Sequence[str] | None) -> list[str]:
    """The best at the top, by the widest scope that has them all; those that know the truth at the bottom."""
    means = (
        table.groupby("candidate")["mean"]
        .mean()
        .sort_values(ascending=False, kind="stable", na_position="last")
    )
    return sorted((str(name) for name in means.index), key=lambda name: is_ceiling(name, ceilings))


def _panels(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    panels = {}
    for (scope, data), rows in table.groupby(["scope", "data"], sort=False):
        most = int(rows["n"].max())
        what = "data set" if scope == "across data sets" else "seed"
        title = (
            str(data)
            if data
            else {"these data sets": "all of these", "across data sets": "across data sets"}[
                str(scope)
            ]
        )
        panels[f"{shorten(title, 22)}\n{most} {what}{'' if most == 1 else 's'}"] = rows
    return panels


def _reach(
    table: pd.DataFrame, rows: pd.DataFrame, ceilings: Sequence[str] | None
) -> tuple[float, float]:
    """Limits of a panel: its means, and intervals that are not very wide; those that know the truth may lie beyond."""
    methods = ~table["candidate"].map(lambda name: is_ceiling(name, ceilings))
    if methods.any():
        table, rows = table[methods], rows[methods.loc[rows.index]]
    steady = (
        rows
        if rows["scope"].iloc[0] != "across data sets"
        else table[table["scope"] != "across data sets"]
    )
    steady = steady if len(steady) else rows
    rows = rows if len(rows) else steady
    values = pd.concat([steady["low"], steady["high"], rows["mean"], pd.Series([0.0])]).dropna()
    low, high = float(values.min()), float(values.max())
    pad = 0.06 * (high - low) or 1.0
    return low - pad, high + pad


def _draw(
    ax: Axes,
    rows: pd.DataFrame,
    names: Sequence[str],
    reach: tuple[float, float],
    ceilings: Sequence[str] | None,
) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    ax.axvline(0, color="#222222", linewidth=0.8, zorder=1)
    n_methods = sum(not is_ceiling(name, ceilings) for name in names)
    if 0 < n_methods < len(names):
        ax.axhline(n_methods - 0.5, color="#C2C8CF", linewidth=0.8, zorder=0)
    for i, name in enumerate(names):
        if i % 2 == 0:
            ax.axhspan(i - 0.5, i + 0.5, color="#F5F7F9", linewidth=0, zorder=0)
        if name in rows.index:
            _difference(ax, i, rows.loc[name], reach)
    ax.set_xlim(*reach)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.xaxis.set_major_locator(MaxNLocator(nbins=4))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}".replace("-", "−")))


def _difference(ax: Axes, y: float, row: Any, reach: tuple[float, float]) -> None:
    if not math.isfinite(row["mean"]):
        ax.text(
            sum(reach) / 2,
            y,
            "not scored",
            ha="center",
            va="center",
            fontsize=6.3,
            color="#7A838D",
            style="italic",
        )
        return
    color = _COLORS.get(row["verdict"], SAME_COLOR)
    low, high = row["low"], row["high"]
    if not reach[0] <= row["mean"] <= reach[1]:
        _beyond(ax, y, row["mean"], reach, color)
        return
    if math.isfinite(row.get("low_joint", math.nan)):
        joint = [max(row["low_joint"], reach[0]), min(row["high_joint"], reach[1])]
        ax.plot(joint, [y, y], color=color, linewidth=0.6)
    if math.isfinite(low):
        ax.plot(
            [max(low, reach[0]), min(high, reach[1])],
            [y, y],
            color=color,
            linewidth=1.4,
            solid_capstyle="butt",
        )
        for end, beyond, arrow in (
            (reach[0], low < reach[0], "<"),
            (reach[1], high > reach[1], ">"),
        ):
            if beyond:
                ax.plot([end], [y], arrow, color=color, markersize=4, clip_on=False)
    hollow = "white" if not math.isfinite(low) else color
    ax.plot([row["mean"]], [y], "o", color=color, markersize=4, markerfacecolor=hollow, zorder=3)


def _beyond(ax: Axes, y: float, mean: float, reach: tuple[float, float], color: str) -> None:
    """Write a mean that lies outside of the panel at its edge."""
    right = bool(mean > reach[1])
    text = f"{number(mean)} →" if right else f"← {number(mean)}"
    behind = {"facecolor": "white", "linewidth": 0, "pad": 0.6}
    side = "right" if right else "left"
    ax.text(
        reach[right],
        y,
        text,
        ha=side,
        va="center",
        fontsize=6.5,
        color=color,
        bbox=behind,
        zorder=4,
    )


def _axis_label(where: Any, table: pd.DataFrame) -> None:
    """Say once what the axes show, and what the colors mean."""
    from matplotlib.lines import Line2D

    marks = [("better", BETTER_COLOR), ("no difference shown", SAME_COLOR), ("worse", WORSE_COLOR)]
    handles = [
        Line2D([], [], color=c, marker="o", markersize=4, linewidth=1.4, label=text)
        for text, c in marks
    ]
    row = table.iloc[0]
    level = f"{row['level']:.0%} interval" if "level" in row else "interval"
    text = f"{metric_title(str(row['metric']))}: better than {row['reference']} by (mean paired difference, {level})"
    if hasattr(where, "subfigs"):
        where.supxlabel(text, fontsize=8)
        where.legend(handles=handles, loc="outside upper right", frameon=False, ncols=3)
    else:
        where.set_xlabel(text)
        where.legend(handles=handles, frameon=False)


def difference_text(row: Any) -> str:
    """Write a difference with its interval: ``"+0.031 (0.012 to 0.050)"``, with digits enough to see on which side of 0 it lies."""
    if not math.isfinite(row["mean"]):
        return "–"
    values = [value for value in (row["mean"], row["low"], row["high"]) if math.isfinite(value)]
    digits = decimals(values)
    while digits < _MOST_DIGITS and any(
        value != 0 and round(value, digits) == 0 for value in values
    ):
        digits += 1
    sign = "+" if row["mean"] > 0 else ""
    inside = (
        f" ({number(row['low'], digits)} to {number(row['high'], digits)})"
        if len(values) == 3
        else ""
    )
    return f"{sign}{number(row['mean'], digits)}{inside}"
