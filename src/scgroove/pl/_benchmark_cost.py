"""What a score costs in seconds and memory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from scgroove._figure import AxesLike, Plotted, finish, panel_grid, shorten, style
from scgroove._palette import LABELS, label_styles
from scgroove.errors import InputError
from scgroove.pl._benchmark import (
    aligner_order,
    ceilings_in,
    direction,
    log_axis,
    metric_title,
    without_ceilings,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_PANELS: Final = {
    "seconds": ("front_seconds", "seconds to learn"),
    "memory_mb": ("front_memory", "peak memory above the start, MB"),
}
_UNLABELED: Final = " unlabeled"
_NAME_ALL_UP_TO: Final = 24
_PLACES: Final = (
    (-5, 3), (5, -9), (5, 3), (-5, -9), (9, -3), (-9, -3), (5, -18), (-5, 14), (5, 14), (-5, -18), (24, -12), (-24, 12),
    (24, -24), (-24, 24), (36, -4), (-36, 4),
)  # fmt: skip
"""Where a name may stand beside its point, in points, tried in this order."""


def benchmark_cost(
    results: pd.DataFrame,
    metric: str,
    *,
    by: Sequence[str] | None = None,
    ceilings: Sequence[str] | None = None,
    ax: AxesLike | None = None,
    show: bool | None = None,
    save: str | Path | None = None,
    return_fig: bool = False,
) -> Plotted:
    """Plot a metric against seconds and against memory, on logarithmic axes; a line joins what is worth its cost.

    The line is the Pareto front: nothing else is as good for less. Means over data sets and seeds; hollow points lack some of
    them, and are not on the front. Learners that know the truth are left out.

    Parameters
    ----------
    results
        What :func:`scgroove.benchmark.read` returns.
    metric
        Name of a metric in it.
    by
        What a point is; by default a learner with an aligner, or a learner where the metric scores representations.
    ceilings
        Learners that know the truth. By default those of which the results say so.
    ax
        Two axes; a new figure by default.
    show
        Show the figure. By default only in an interactive session, when it is neither saved nor returned.
    save
        File to write, such as ``"cost.png"``.
    return_fig
        Return the figure instead of the axes.

    Returns
    -------
    The figure with ``return_fig``, nothing when it was shown, the list of axes otherwise.

    Raises
    ------
    ValueError, UnknownNameError
        If there is no such metric, or cost was measured nowhere.
    """
    from scgroove import benchmark

    ceilings = ceilings_in(results, ceilings)
    shown = without_ceilings(results, ceilings)
    table = benchmark.costs(
        shown if len(shown) else results, metric, by=by or ("learner", "aligner")
    )
    if table[list(_PANELS)].isna().all(axis=None):
        raise InputError(
            "neither seconds nor memory were measured in these results (fit_seconds, fit_memory_mb)."
        )
    table = table.assign(name=_point_names(table))
    with style():
        fig, axes = panel_grid(2, ax, figsize=(9.0, 3.9), ncols=2, what=", ".join(_PANELS))
        for panel, (column, (front, label)) in zip(axes, _PANELS.items(), strict=True):
            _draw(panel, table[np.isfinite(table[column]) & (table[column] > 0)], column, front)
            aligned = column == "seconds" and "aligner" in table and table["aligner"].any()
            panel.set_xlabel(f"{label} and align" if aligned else label)
            panel.set_ylabel(f"{metric_title(metric)}\n({direction(str(table['better'].iloc[0]))})")
        _legend(fig if ax is None else axes[0], table)
        if ax is None:
            fig.canvas.draw()  # names are placed where the points are on the page
        for panel, (column, (front, _)) in zip(axes, _PANELS.items(), strict=True):
            _names(panel, table[np.isfinite(table[column]) & (table[column] > 0)], column, front)
        return finish(fig, axes, show=show, save=save, return_fig=return_fig)


def _point_names(table: pd.DataFrame) -> list[str]:
    parts = [table[c].astype(str) for c in ("data", "learner", "aligner") if c in table]
    return [" + ".join(p for p in row if p) for row in zip(*parts, strict=True)]


def _looks(table: pd.DataFrame) -> dict[str, tuple[str, str]]:
    """Color and marker of each aligner: one color with labels and without, told apart by the marker."""
    aligners = aligner_order(table["aligner"].unique()) if "aligner" in table else []
    colors = label_styles(dict.fromkeys(name.removesuffix(_UNLABELED) for name in aligners))
    looks = {
        name: (colors[name.removesuffix(_UNLABELED)][0], "v" if name.endswith(_UNLABELED) else "o")
        for name in aligners
    }
    return {**looks, "": (LABELS[0], "o")}


def _draw(ax: Axes, table: pd.DataFrame, column: str, front: str) -> None:
    looks = _looks(table)
    for row in table.to_dict("records"):
        color, marker = looks[row.get("aligner", "")]
        ax.plot(
            [row[column]], [row["mean"]], marker, color=color, markersize=5.5 if row[front] else 3.8,
            markerfacecolor="white" if row["lacks"] else color, markeredgewidth=0.8, alpha=1.0 if row[front] else 0.6,
        )  # fmt: skip
    line = table[table[front]].sort_values(column)
    ax.plot(
        line[column], line["mean"], color="#222222", linewidth=0.9, drawstyle="steps-post", zorder=1
    )
    if len(table):
        log_axis(ax, "x")
    if table["better"].iloc[0] == "lower" if len(table) else False:
        ax.invert_yaxis()
    ax.margins(x=0.2, y=0.12)


def _legend(where: Any, table: pd.DataFrame) -> None:
    from matplotlib.lines import Line2D

    looks = {name: look for name, look in _looks(table).items() if name}
    handles = [
        Line2D([], [], color=c, marker=m, linestyle="", markersize=4, label=n)
        for n, (c, m) in looks.items()
    ]
    handles.append(Line2D([], [], color="#222222", linewidth=0.9, label="nothing as good for less"))
    if table["lacks"].any():
        handles.append(
            Line2D(
                [],
                [],
                color="#5B6876",
                marker="o",
                markerfacecolor="white",
                linestyle="",
                markersize=4,
                label="not scored everywhere",
            )
        )
    options: dict[str, Any] = {"loc": "outside lower center"} if hasattr(where, "subfigs") else {}
    where.legend(handles=handles, frameon=False, ncols=min(len(handles), 6), **options)


def _names(ax: Axes, table: pd.DataFrame, column: str, front: str) -> None:
    """Name the points of the front from the best on, then the others where there are few; each where nothing else stands."""
    points = (
        ax.transData.transform(table[[column, "mean"]].to_numpy())
        if len(table)
        else np.empty((0, 2))
    )
    scale = ax.figure.dpi / 72
    taken = [(x - 3 * scale, y - 3 * scale, x + 3 * scale, y + 3 * scale) for x, y in points]
    quality = table["mean"] * (1 if (table["better"] == "lower").all() else -1)
    order = np.lexsort([quality.to_numpy(), ~table[front].to_numpy(dtype=bool)])
    for i in order:
        row = table.iloc[i]
        if not row[front] and len(table) > _NAME_ALL_UP_TO:
            continue
        text = shorten(str(row["name"]), 34)
        place = _free(points[i], len(text), taken, scale, ax.bbox)
        if place is None:
            continue
        dx, dy = place
        far = abs(dx) > 5 or abs(dy) > 9
        ax.annotate(
            text, (row[column], row["mean"]), xytext=(dx, dy), textcoords="offset points", fontsize=6.5,
            ha="left" if dx > 0 else "right" if dx < 0 else "center",
            color="#1D2733" if row[front] else "#7A838D", arrowprops={"arrowstyle": "-", "linewidth": 0.4, "color": "#7A838D", "shrinkA": 0, "shrinkB": 2} if far else None,
        )  # fmt: skip
        taken.append(_box(points[i], (dx, dy), len(text), scale))


def _box(
    point: Any, offset: tuple[float, float], length: int, scale: float
) -> tuple[float, float, float, float]:
    """Left, bottom, right and top of a name on the page, in pixels; letters are about half as wide as they are high."""
    width, height = 3.75 * length * scale, 7.5 * scale
    left = point[0] + offset[0] * scale
    left = left - width if offset[0] < 0 else left - width / 2 if offset[0] == 0 else left
    bottom = point[1] + offset[1] * scale
    return left, bottom, left + width, bottom + height


def _free(
    point: Any,
    length: int,
    taken: Sequence[tuple[float, float, float, float]],
    scale: float,
    frame: Any,
) -> tuple[float, float] | None:
    for offset in _PLACES:
        a = _box(point, offset, length, scale)
        inside = a[0] >= frame.x0 and a[2] <= frame.x1 and a[1] >= frame.y0 and a[3] <= frame.y1
        if inside and not any(
            a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3] for b in taken
        ):
            return offset
    return None
