"""The critical-difference diagram: mean ranks on a line, and bars over those that cannot be told apart."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pandas as pd

from scgroove._figure import AxesLike, Plotted, finish, panel_grid, shorten, style
from scgroove.errors import InputError
from scgroove.pl._benchmark import ceilings_in, is_ceiling, metric_title, p_value, without_ceilings

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from scgroove.benchmark import Ranks

_ROW, _BAR = 0.19, 0.085
"""Inches between names, and between bars."""

_WIDTH: Final = 8.2

_CAVEAT: Final = " Blocks that share a data set or a seed are not independent, so that more is told apart than should be."


def benchmark_critical_difference(
    results: pd.DataFrame | Ranks,
    metric: str | None = None,
    *,
    over: str = "learner",
    block: Sequence[str] = ("data", "seed"),
    level: float = 0.95,
    ceilings: Sequence[str] | None = None,
    ax: AxesLike | None = None,
    show: bool | None = None,
    save: str | Path | None = None,
    return_fig: bool = False,
) -> Plotted:
    """Plot mean ranks on a line, the best on the left, and join those that cannot be told apart by a bar.

    Parameters
    ----------
    results
        What :func:`scgroove.benchmark.read` returns, or what :func:`scgroove.benchmark.ranks` made of it.
    metric
        Name of a metric in the results.
    over, block, level
        As for :func:`scgroove.benchmark.ranks`; not needed with ranks.
    ceilings
        Learners that know the truth: not ranked. By default those of which the results say so.
    ax
        One axes; a new figure by default.
    show
        Show the figure. By default only in an interactive session, when it is neither saved nor returned.
    save
        File to write, such as ``"ranks.png"``.
    return_fig
        Return the figure instead of the axes.

    Returns
    -------
    The figure with ``return_fig``, nothing when it was shown, the list of axes otherwise.

    Raises
    ------
    ValueError, UnknownNameError
        If there is no such metric, or nothing to rank.

    References
    ----------
    Demsar 2006, "Statistical comparisons of classifiers over multiple data sets", section 3.2.4.
    """
    ranks = _ranks(results, metric, over, block, level, ceilings)
    half = -(-len(ranks.table) // 2)
    height = 0.75 + _BAR * len(ranks.cliques) + _ROW * half + 0.3
    with style():
        fig, axes = panel_grid(1, ax, figsize=(_WIDTH, height), ncols=1, what="ranks")
        _draw(axes[0], ranks, height)
        return finish(fig, axes, show=show, save=save, return_fig=return_fig)


def _ranks(
    results: Any,
    metric: str | None,
    over: str,
    block: Sequence[str],
    level: float,
    ceilings: Sequence[str] | None,
) -> Any:
    from scgroove import benchmark

    if isinstance(results, benchmark.Ranks):
        return results
    ceilings = ceilings_in(results, ceilings)
    if metric is None:
        raise InputError(
            "Name the metric to rank by: scgroove.pl.benchmark_critical_difference(results, 'foscttm_within_label')."
        )
    shown = without_ceilings(results, ceilings)
    return benchmark.ranks(shown if len(shown) else results, metric, over, block=block, level=level)  # type: ignore[arg-type]


def _draw(ax: Axes, ranks: Any, height: float) -> None:
    """Everything in inches from the top, so that nothing overlaps however many there are."""
    n = len(ranks.table)
    side = 0.30
    ax.set_xlim(1 - side * (n - 1), n + side * (n - 1))
    ax.set_ylim(height, 0)
    ax.axis("off")
    line = 0.62
    ax.plot([1, n], [line, line], color="#222222", linewidth=1)
    step = max(1, -(-n // 12))
    for tick in {*range(1, n + 1, step), n}:
        ax.plot([tick, tick], [line, line - 0.06], color="#222222", linewidth=1)
        ax.text(tick, line - 0.09, str(tick), ha="center", va="bottom", fontsize=7)
    _scale(ax, ranks)
    for i, clique in enumerate(ranks.cliques):
        _bar(ax, ranks, clique, line + 0.11 + _BAR * i)
    _names(ax, ranks, line, line + 0.14 + _BAR * len(ranks.cliques))
    ax.text(
        0.0,
        0.0,
        _caption(ranks),
        transform=ax.transAxes,
        fontsize=6.8,
        color="#5B6876",
        va="bottom",
    )


def _scale(ax: Axes, ranks: Any) -> None:
    """The critical difference as a length."""
    difference, n = ranks.critical_difference, len(ranks.table)
    text = f"critical difference {difference:.2f}"
    if difference > n - 1:
        ax.text(
            1,
            0.16,
            f"{text}: longer than the line, so that no two can differ",
            fontsize=7,
            va="center",
        )
        return
    ax.plot([1, 1 + difference], [0.16, 0.16], color="#222222", linewidth=1.2)
    for end in (1, 1 + difference):
        ax.plot([end, end], [0.12, 0.20], color="#222222", linewidth=1.2)
    ax.text(1 + difference, 0.16, f"  {text}", fontsize=7, va="center")


def _bar(ax: Axes, ranks: Any, clique: Sequence[str], y: float) -> None:
    places = ranks.table.set_index("method")["mean_rank"][list(clique)]
    ax.plot(
        [places.min() - 0.06, places.max() + 0.06],
        [y, y],
        color="#0072B2",
        linewidth=3.2,
        solid_capstyle="butt",
    )


def _names(ax: Axes, ranks: Any, line: float, top: float) -> None:
    """Half of the names on the left, the best at the top; the others on the right, the worst at the top."""
    n, half = len(ranks.table), -(-len(ranks.table) // 2)
    for i, (name, rank) in enumerate(ranks.table[["method", "mean_rank"]].itertuples(index=False)):
        left = i < half
        y = top + _ROW * ((i if left else n - 1 - i) + 0.5)
        edge = 1 - 0.02 * (n - 1) if left else n + 0.02 * (n - 1)
        ax.plot([rank, rank, edge], [line, y, y], color="#5B6876", linewidth=0.7, zorder=1)
        text = shorten(name, 34)
        label = f"{text}  {rank:.2f} " if left else f" {rank:.2f}  {text}"
        slanted = "italic" if is_ceiling(name, None) else "normal"
        ax.text(
            edge,
            y,
            label,
            ha="right" if left else "left",
            va="center",
            fontsize=7.2,
            fontstyle=slanted,
        )


def _caption(ranks: Any) -> str:
    by_data = tuple(ranks.block) == ("data",)
    unit = "data sets" if by_data else "blocks (data set x seed)"
    lost = f", {ranks.n_dropped} dropped" if ranks.n_dropped else ""
    out = f" Left out: {', '.join(ranks.left_out)}." if ranks.left_out else ""
    out += f" Nothing used of: {', '.join(ranks.unused)}." if ranks.unused else ""
    return (
        f"{metric_title(ranks.metric)}. Mean rank of each {ranks.over} over {ranks.n_blocks} {unit}{lost}; 1 is best. Bars join what "
        f"cannot be told apart.\nFriedman p {p_value(ranks.p)}.{out}{'' if by_data else _CAVEAT}"
    )
