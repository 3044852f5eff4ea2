"""What eps does to a coupling."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pandas as pd

from scgroove import _keys
from scgroove._figure import AxesLike, Plotted, finish, panel_grid, style
from scgroove._palette import LABELS, UNLABELED
from scgroove.errors import InputError, did_you_mean

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from mudata import MuData

_PANELS: Final = {
    "partners": "effective partners of a cell",
    "marginal_error": "error of the marginals",
    "objective": "cost",
    "seconds": "seconds",
}
_TRUSTED: Final = 1e-3
"""Marginal error above which a coupling should not be trusted; see the user guide."""


def epsilon_scan(
    mdata: MuData | pd.DataFrame,
    source: str | None = None,
    target: str | None = None,
    *,
    key: str | None = None,
    ax: AxesLike | None = None,
    show: bool | None = None,
    save: str | Path | None = None,
    return_fig: bool = False,
) -> Plotted:
    """Plot what each eps does: how many partners a cell has, marginal error, cost, and time.

    Small eps: few partners, and more work to meet the marginals; hollow points did not. Large eps: everyone matches
    everyone. A good eps is the largest below which the cost without entropy hardly falls.

    Parameters
    ----------
    mdata
        With the table that :func:`scgroove.tl.epsilon_scan` wrote, or that table itself.
    source, target
        The modalities, as given there; not needed for a table.
    key
        Key of the table in ``mdata.uns``, if it is not the default one.
    ax
        Four axes; a new figure by default.
    show
        Show the figure. By default only in an interactive session, when it is neither saved nor returned.
    save
        File to write, such as ``"epsilon.png"``.
    return_fig
        Return the figure instead of the axes.

    Returns
    -------
    The figure with ``return_fig``, nothing when it was shown, the list of axes otherwise.

    Raises
    ------
    ValueError
        If there is no such table, or it lacks a column.
    """
    table = _table(mdata, source, target, key)
    with style():
        fig, axes = panel_grid(4, ax, figsize=(10.5, 2.3), ncols=4, what=", ".join(_PANELS))
        for panel, (column, title) in zip(axes, _PANELS.items(), strict=True):
            _draw(panel, table, column)
            _log(panel, "x")
            panel.set_title(title, loc="left")
            panel.set_xlabel("eps, relative")
        _finish_panels(axes)
        return finish(fig, axes, show=show, save=save, return_fig=return_fig)


def _table(mdata: Any, source: str | None, target: str | None, key: str | None) -> pd.DataFrame:
    if isinstance(mdata, pd.DataFrame):
        table = mdata
    else:
        if key is None and (source is None or target is None):
            raise InputError(
                "Name the modalities, scgroove.pl.epsilon_scan(mdata, source, target), or the key of the table."
            )
        name = key if key is not None else _keys.epsilon_scan(str(source), str(target))
        if name not in mdata.uns:
            raise InputError(
                f"no {name!r} in mdata.uns.{did_you_mean(name, list(mdata.uns))} Make it with "
                f"scgroove.tl.epsilon_scan(mdata, {source!r}, {target!r})."
            )
        table = pd.DataFrame(mdata.uns[name])
    missing = [
        name for name in ("epsilon", "transport_cost", "converged", *_PANELS) if name not in table
    ]
    if missing:
        raise InputError(
            f"the table lacks {missing}; expected the columns that scgroove.tl.epsilon_scan returns, found "
            f"{list(table.columns)}."
        )
    return table.sort_values("epsilon")


def _draw(ax: Axes, table: pd.DataFrame, column: str) -> None:
    """Draw one quantity against eps; hollow where the solver did not converge."""
    if column == "objective":
        _line(ax, table, "transport_cost", LABELS[0], "without entropy")
        _line(ax, table, "objective", LABELS[1], "with entropy")
        return
    _line(ax, table, column, LABELS[0], None)


def _line(ax: Axes, table: pd.DataFrame, column: str, color: str, label: str | None) -> None:
    x, y = table["epsilon"].to_numpy(), table[column].to_numpy(dtype=float)
    good = table["converged"].to_numpy(dtype=bool)
    ax.plot(x, y, color=color, linewidth=1, label=label)
    ax.plot(x[good], y[good], "o", color=color, markersize=3.5)
    ax.plot(x[~good], y[~good], "o", color=color, markersize=3.5, markerfacecolor="white")


def _log(ax: Axes, which: str) -> None:
    """Make an axis logarithmic, its numbers written out: our style takes no mathematical markup."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis = ax.xaxis if which == "x" else ax.yaxis
    (ax.set_xscale if which == "x" else ax.set_yscale)("log")
    axis.set_major_locator(LogLocator(numticks=5))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def _finish_panels(axes: list[Axes]) -> None:
    """Scales, and what helps to read them."""
    _log(axes[0], "y")
    _log(axes[1], "y")
    axes[1].axhline(_TRUSTED, color=UNLABELED, linewidth=1, zorder=0)
    axes[1].annotate(
        "trusted below",
        (1.0, _TRUSTED),
        xycoords=axes[1].get_yaxis_transform(),
        ha="right",
        va="bottom",
        fontsize=6,
        color="#666666",
    )
    axes[2].legend(frameon=False, loc="lower left")
    axes[3].set_ylim(bottom=0)
