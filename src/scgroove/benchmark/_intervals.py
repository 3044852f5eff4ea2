"""Paired differences from a reference with their intervals, and mean ranks on a line."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pandas as pd

from scgroove._figure import AxesLike, Plotted, finish, panel_grid, shorten, style
from scgroove._words import counted
from scgroove.benchmark._compare import ACROSS, Ranks, compare, ranks
from scgroove.benchmark._drawing import (
    BETTER_COLOR,
    GRAY,
    INK,
    SAME_COLOR,
    STRIPE,
    WORSE_COLOR,
    is_limit,
    limits_of,
    metric_title,
    number,
    p_text,
    without_limits,
)
from scgroove.benchmark._table import Over
from scgroove.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLORS: Final = {
    "better": BETTER_COLOR,
    "no difference shown": SAME_COLOR,
    "worse": WORSE_COLOR,
}
NEEDED: Final = (
    *("scope", "data", "candidate", "reference", "metric", "mean", "low", "high", "n"),
    *("low_joint", "high_joint", "level", "verdict"),
)

LONGEST: Final = 34
"""Letters of a name."""

ROW, BAR = 0.19, 0.085
"""Inches between names, and between bars."""

CAVEAT: Final = (
    " Blocks that share a data set or a seed are not independent, so that more is told apart than "
    "should be."
)


def compare_with_limits(
    results: pd.DataFrame, metric: str, reference: str, over: Over = "learner", level: float = 0.95
) -> pd.DataFrame:
    """Compare methods with a reference, and add limits, which are in no family of comparisons."""
    limits = limits_of(results)
    if reference in limits:
        return compare(results, metric, reference, over=over, level=level).assign(limit=False)
    methods = without_limits(results, limits)
    table = compare(methods, metric, reference, over=over, level=level)
    everything = compare(results, metric, reference, over=over, level=level, quiet=True)
    others = everything[~everything["candidate"].isin(table["candidate"])]
    return pd.concat([table.assign(limit=False), others.assign(limit=True)], ignore_index=True)


def benchmark_intervals(
    results: pd.DataFrame,
    metric: str | None = None,
    reference: str | None = None,
    *,
    over: Over = "learner",
    level: float = 0.95,
    ax: AxesLike | None = None,
    show: bool | None = None,
    save: str | Path | None = None,
    return_fig: bool = False,
) -> Plotted:
    """Plot paired differences from a reference with their intervals, a panel a scope.

    To the right of the line: better. Blue and orange: the interval lies on one side of 0. Gray:
    no difference is shown. Thin lines: intervals widened for the number of comparisons. Panels are
    the scopes of :func:`scgroove.benchmark.compare`. Learners that know the truth stand below a
    line.

    Parameters
    ----------
    results
        The table that :func:`scgroove.benchmark.read` returns, or that of
        :func:`scgroove.benchmark.compare`.
    metric, reference, over, level
        As for :func:`scgroove.benchmark.compare`. Not needed with its table.
    ax, show, save, return_fig
        As for :func:`benchmark_heatmap`. One axes for each panel.
    """
    table = results
    if "verdict" not in results:
        if metric is None or reference is None:
            raise InputError(
                "Name the metric and the reference: scgroove.pl.benchmark_intervals(results, "
                "'foscttm_within_label', 'ps_logistic_scaled')."
            )
        table = compare_with_limits(results, metric, reference, over, level)
    missing = [column for column in NEEDED if column not in table]
    if missing:
        raise InputError(
            f"the table lacks {missing}; expected the table of scgroove.benchmark.compare, found "
            f"{list(table.columns)}."
        )
    if "limit" not in table:
        table = table.assign(limit=table["candidate"].map(is_limit))
    limits = set(table.loc[table["limit"], "candidate"])
    means = table.groupby("candidate")["mean"].mean().sort_values(ascending=False, kind="stable")
    names = sorted(map(str, means.index), key=lambda name: name in limits)
    panels = {}
    for (scope, data), rows in table.groupby(["scope", "data"], sort=False):
        title = str(data) or str(scope).replace("these data sets", "all of these")
        n = counted(int(rows["n"].max()), "data set" if scope == ACROSS else "seed")
        panels[f"{shorten(title, 22)}\n{n}"] = rows
    wide = min(5, len(panels))
    margin = 0.075 * min(max(map(len, names)), LONGEST) + 0.1
    size = (margin + 1.75 * wide, -(-len(panels) // wide) * (0.2 * len(names) + 0.95))
    with style():
        fig, axes = panel_grid(len(panels), ax, figsize=size, ncols=wide, what=", ".join(panels))
        for i, (panel, (title, rows)) in enumerate(zip(axes, panels.items(), strict=True)):
            _differences(panel, rows.set_index("candidate"), names, _reach(table, rows), limits)
            panel.set_title(title, loc="left")
            if i % wide == 0 or ax is not None:
                panel.set_yticks(range(len(names)), [shorten(name, LONGEST) for name in names])
                for tick, name in zip(panel.get_yticklabels(), names, strict=True):
                    tick.set_fontstyle("italic" if name in limits else "normal")
            else:
                panel.set_yticks([])
        _explain(fig if ax is None else axes[0], table.iloc[0])
        return finish(fig, axes, show=show, save=save, return_fig=return_fig)


def _reach(table: pd.DataFrame, rows: pd.DataFrame) -> tuple[float, float]:
    """Return limits of a panel: its means and steady intervals. Limits may lie beyond."""
    methods = rows[~rows["limit"]] if (~rows["limit"]).any() else rows
    steady = methods
    if methods["scope"].iloc[0] == ACROSS and (table["scope"] != ACROSS).any():
        steady = table[(table["scope"] != ACROSS) & ~table["limit"]]
    values = pd.concat([steady["low"], steady["high"], methods["mean"], pd.Series([0.0])])
    low, high = float(values.min()), float(values.max())
    pad = 0.06 * (high - low) or 1.0
    return low - pad, high + pad


def _differences(
    ax: Axes,
    rows: pd.DataFrame,
    names: Sequence[str],
    reach: tuple[float, float],
    limits: Collection[str],
) -> None:
    from matplotlib.ticker import MaxNLocator

    ax.axvline(0, color=INK, linewidth=0.8, zorder=1)
    n_methods = sum(name not in limits for name in names)
    if 0 < n_methods < len(names):
        ax.axhline(n_methods - 0.5, color="#C2C8CF", linewidth=0.8, zorder=0)
    for y, name in enumerate(names):
        if y % 2 == 0:
            ax.axhspan(y - 0.5, y + 0.5, color=STRIPE, linewidth=0, zorder=0)
        if name not in rows.index:
            continue
        row = rows.loc[name]
        color, mean = COLORS[row["verdict"]], row["mean"]
        text: dict[str, Any] = {"va": "center", "fontsize": 6.5, "zorder": 4}
        if not math.isfinite(mean):
            ax.text(sum(reach) / 2, y, "not scored", ha="center", color=GRAY, **text)
        elif not reach[0] <= mean <= reach[1]:
            right = mean > reach[1]
            note = f"{number(mean)} →" if right else f"← {number(mean)}"
            side = "right" if right else "left"
            ax.text(reach[int(right)], y, note, ha=side, color=color, **text)
        else:
            for low, high, width in (("low_joint", "high_joint", 0.6), ("low", "high", 1.4)):
                ax.plot([row[low], row[high]], [y, y], color=color, linewidth=width)
            face = color if math.isfinite(row["low"]) else "white"
            ax.plot([mean], [y], "o", color=color, markersize=4, markerfacecolor=face, zorder=3)
    ax.set(xlim=reach, ylim=(len(names) - 0.5, -0.5))
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.xaxis.set_major_locator(MaxNLocator(nbins=4))


def _explain(where: Any, row: pd.Series) -> None:
    """Say once what the axes show, and what the colors mean."""
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=color, marker="o", markersize=4, linewidth=1.4, label=text)
        for text, color in COLORS.items()
    ]
    text = (
        f"{metric_title(str(row['metric']))}: better than {row['reference']} by (mean paired "
        f"difference, {row['level']:.0%} interval)"
    )
    if hasattr(where, "subfigs"):
        where.supxlabel(text, fontsize=8)
        where.legend(handles=handles, loc="outside upper right", frameon=False, ncols=3)
    else:
        where.set_xlabel(text)
        where.legend(handles=handles, frameon=False)


def benchmark_critical_difference(
    results: pd.DataFrame | Ranks,
    metric: str | None = None,
    *,
    over: Over = "learner",
    level: float = 0.95,
    ax: AxesLike | None = None,
    show: bool | None = None,
    save: str | Path | None = None,
    return_fig: bool = False,
) -> Plotted:
    """Plot mean ranks on a line, the best on the left, with bars over those not told apart.

    Learners that know the truth are not ranked.

    Parameters
    ----------
    results
        The table that :func:`scgroove.benchmark.read` returns, or the result of
        :func:`scgroove.benchmark.ranks`.
    metric
        Name of a metric in the results.
    over, level
        As for :func:`scgroove.benchmark.ranks`. Not needed with ranks.
    ax, show, save, return_fig
        As for :func:`benchmark_heatmap`.

    References
    ----------
    Demsar 2006, "Statistical comparisons of classifiers over multiple data sets", section 3.2.4.
    """
    if not isinstance(results, Ranks):
        if metric is None:
            raise InputError(
                "Name the metric to rank by: scgroove.pl.benchmark_critical_difference(results, "
                "'foscttm_within_label')."
            )
        shown = without_limits(results, limits_of(results))
        results = ranks(shown, metric, over, level=level)
    half = -(-len(results.table) // 2)
    height = 0.75 + BAR * len(results.cliques) + ROW * half + 0.3
    with style():
        fig, axes = panel_grid(1, ax, figsize=(8.2, height), ncols=1, what="ranks")
        _rank_line(axes[0], results, height)
        return finish(fig, axes, show=show, save=save, return_fig=return_fig)


def _rank_line(ax: Axes, found: Ranks, height: float) -> None:
    """Draw in inches from the top, so that nothing overlaps however many methods there are."""
    n, half = len(found.table), -(-len(found.table) // 2)
    ax.set(xlim=(1 - 0.3 * (n - 1), n + 0.3 * (n - 1)), ylim=(height, 0))
    ax.axis("off")
    line, top = 0.62, 0.62 + 0.14 + BAR * len(found.cliques)
    ax.plot([1, n], [line, line], linewidth=1, color=INK)
    for tick in {*range(1, n + 1, max(1, -(-n // 12))), n}:
        ax.plot([tick, tick], [line, line - 0.06], linewidth=1, color=INK)
        ax.text(tick, line - 0.09, str(tick), ha="center", va="bottom", fontsize=7)
    difference = found.critical_difference
    text = f"critical difference {difference:.2f}"
    if difference > n - 1:
        text += ": longer than the line, so that no two can differ"
        ax.text(1, 0.16, text, fontsize=7, va="center")
    else:
        ax.errorbar([1 + difference / 2], [0.16], xerr=difference / 2, capsize=3, color=INK)
        ax.text(1 + difference, 0.16, f"  {text}", fontsize=7, va="center")
    places = found.table.set_index("method")["mean_rank"]
    for i, clique in enumerate(found.cliques):
        own, y = places[list(clique)], line + 0.11 + BAR * i
        ends = [own.min() - 0.06, own.max() + 0.06]
        ax.plot(ends, [y, y], color=BETTER_COLOR, linewidth=3.2, solid_capstyle="butt")
    for i, (name, rank) in enumerate(places.items()):
        left = i < half  # the better half on the left, the best at the top
        y = top + ROW * ((i if left else n - 1 - i) + 0.5)
        edge = 1 - 0.02 * (n - 1) if left else n + 0.02 * (n - 1)
        ax.plot([rank, rank, edge], [line, y, y], color=GRAY, linewidth=0.7, zorder=1)
        short = shorten(str(name), LONGEST)
        label, side = (
            (f"{short}  {rank:.2f} ", "right") if left else (f" {rank:.2f}  {short}", "left")
        )
        ax.text(edge, y, label, ha=side, va="center", fontsize=7.2)
    caption: dict[str, Any] = {
        "fontsize": 6.8,
        "color": "#5B6876",
        "va": "bottom",
        "transform": ax.transAxes,
    }
    ax.text(0.0, 0.0, _caption(found), **caption)


def _caption(found: Ranks) -> str:
    lost = f", {found.n_dropped} dropped" if found.n_dropped else ""
    out = f" Left out: {', '.join(found.left_out)}." if found.left_out else ""
    out += f" Nothing used of: {', '.join(found.unused)}." if found.unused else ""
    return (
        f"{metric_title(found.metric)}. Mean rank of each {found.over} over {found.n_blocks} "
        f"blocks (data set x seed){lost}; 1 is best. Bars join what cannot be told apart.\n"
        f"Friedman p {p_text(found.p)}.{out}{CAVEAT}"
    )
