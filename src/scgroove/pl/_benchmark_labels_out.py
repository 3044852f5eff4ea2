"""Labels that the target never measured: how well each method imputes their effects."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pandas as pd

from scgroove._figure import AxesLike, Plotted, finish, panel_grid, shorten, style
from scgroove.errors import InputError
from scgroove.pl._benchmark import BETTER_COLOR, SAME_COLOR, WORSE_COLOR, metric_title

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLORS: Final = {
    "better": BETTER_COLOR,
    "worse": WORSE_COLOR,
    "unclear": SAME_COLOR,
    "no difference shown": SAME_COLOR,
    "reference": "#222222",
}
_NEEDED: Final = (
    "method",
    "mean",
    "low",
    "high",
    "n_labels",
    "difference",
    "difference_low",
    "difference_high",
    "verdict",
    "reference",
)
_LONGEST: Final = 34


def benchmark_labels_out(
    results: pd.DataFrame,
    metric: str | None = None,
    *,
    reference: str | None = None,
    level: float = 0.95,
    baselines: Sequence[str] | None = None,
    ax: AxesLike | None = None,
    show: bool | None = None,
    save: str | Path | None = None,
    return_fig: bool = False,
) -> Plotted:
    """Plot how well methods impute the effects of labels that were hidden from them, and whether they beat a reference.

    Left: the mean over labels, with its interval; the dashed line is the reference. Right: how much better than the reference a
    method is on the same labels, with the interval and the verdict. Blue and orange: a difference is shown; gray: none is; hollow:
    the interval and the test disagree. Baselines, which know nothing of the source cells, are in italics. A method that
    does not beat them has learned nothing that helps for new labels.

    Parameters
    ----------
    results
        What :func:`scgroove.benchmark.leave_labels_out` returns, or the table of :func:`scgroove.benchmark.summarize_labels`.
    metric
        As for :func:`scgroove.benchmark.summarize_labels`, default ``"effect_pearson"``; with its table the name to write.
    reference, level
        As for :func:`scgroove.benchmark.summarize_labels`; not needed with its table.
    baselines
        Methods in italics; by default those that know nothing of the source cells.
    ax
        Two axes; a new figure by default.
    show
        Show the figure. By default only in an interactive session, when it is neither saved nor returned.
    save
        File to write, such as ``"labels_out.png"``.
    return_fig
        Return the figure instead of the axes.

    Returns
    -------
    The figure with ``return_fig``, nothing when it was shown, the list of axes otherwise.

    Raises
    ------
    ValueError, UnknownNameError
        If the table is neither of the two, or there is no such metric or reference.

    See Also
    --------
    scgroove.pl.benchmark_intervals

    Examples
    --------
    >>> table = scgroove.benchmark.leave_labels_out(
    ...     mdata, "rna", "protein", control="control"
    ... )  # doctest: +SKIP
    >>> scgroove.pl.benchmark_labels_out(table, "effect_pearson")  # doctest: +SKIP
    """
    if metric is None and "verdict" not in results:
        metric = "effect_pearson"
    table = _table(results, metric, reference, level)
    plain = _baselines(baselines)
    names = [shorten(str(name), _LONGEST) for name in table["method"]]
    size = (0.075 * max(map(len, names)) + 6.1, 0.23 * len(names) + 1.0)
    with style():
        fig, axes = panel_grid(2, ax, figsize=size, ncols=2, what="means, differences")
        _means(axes[0], table)
        _differences(axes[1], table)
        for panel in axes:
            _rows(panel, len(names))
        axes[0].set_yticks(range(len(names)), names)
        axes[1].set_yticks([])
        for tick, name in zip(axes[0].get_yticklabels(), table["method"], strict=True):
            tick.set_fontstyle("italic" if name in plain else "normal")
        _say(axes, table, metric, italics=not plain.isdisjoint(table["method"]))
        return finish(fig, axes, show=show, save=save, return_fig=return_fig)


def _table(
    results: pd.DataFrame, metric: str | None, reference: str | None, level: float
) -> pd.DataFrame:
    if "verdict" not in results:
        from scgroove import benchmark

        return benchmark.summarize_labels(results, str(metric), reference=reference, level=level)
    missing = [column for column in _NEEDED if column not in results]
    if missing:
        raise InputError(
            f"the table lacks {missing}; expected what scgroove.benchmark.summarize_labels returns, found {list(results.columns)}."
        )
    return results


def _baselines(asked: Sequence[str] | None) -> set[str]:
    from scgroove.benchmark._labels_out_summary import BASELINES

    return set(BASELINES if asked is None else asked)


def _means(ax: Axes, table: pd.DataFrame) -> None:
    for y, row in enumerate(table.to_dict("records")):
        _interval(
            ax,
            y,
            (row["mean"], row["low"], row["high"]),
            _COLORS.get(row["verdict"], SAME_COLOR),
            row["verdict"],
        )
    of_reference = table.loc[table["method"] == table["reference"], "mean"]
    for mean in of_reference:
        ax.axvline(mean, color="#222222", linewidth=0.8, linestyle=(0, (4, 2)), zorder=1)


def _differences(ax: Axes, table: pd.DataFrame) -> None:
    """Draw differences, and write the verdict at the right."""
    ax.axvline(0, color="#222222", linewidth=0.8, zorder=1)
    for y, row in enumerate(table.to_dict("records")):
        color = _COLORS.get(row["verdict"], SAME_COLOR)
        found = (row["difference"], row["difference_low"], row["difference_high"])
        if math.isfinite(row["difference"]):
            _interval(ax, y, found, color, row["verdict"])
        ax.annotate(
            row["verdict"],
            (1.02, y),
            xycoords=ax.get_yaxis_transform(),
            va="center",
            fontsize=7,
            color=color if color != SAME_COLOR else "#5F6870",
            annotation_clip=False,
        )


def _interval(
    ax: Axes, y: float, found: tuple[float, float, float], color: str, verdict: str
) -> None:
    middle, low, high = found
    if math.isfinite(low) and math.isfinite(high):
        ax.plot([low, high], [y, y], color=color, linewidth=1.4, solid_capstyle="butt")
    face = "white" if verdict == "unclear" else color
    ax.plot([middle], [y], "o", color=color, markersize=4.5, markerfacecolor=face, zorder=3)


def _rows(ax: Axes, n: int) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    for y in range(0, n, 2):
        ax.axhspan(y - 0.5, y + 0.5, color="#F5F7F9", linewidth=0, zorder=0)
    ax.set_ylim(n - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.xaxis.set_major_locator(MaxNLocator(nbins=4))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}".replace("-", "−")))


def _say(axes: Sequence[Axes], table: pd.DataFrame, metric: str | None, *, italics: bool) -> None:
    """Say what the axes show."""
    n, reference = int(table["n_labels"].iloc[0]), str(table["reference"].iloc[0])
    axes[0].set_xlabel(f"{metric_title(metric)}, mean" if metric else "mean")
    axes[0].set_title(f"{n} labels left out{'; italics: baselines' if italics else ''}", loc="left")
    axes[1].set_xlabel("paired difference, to the right: better")
    axes[1].set_title(f"better than {shorten(reference, 24)} by", loc="left")
