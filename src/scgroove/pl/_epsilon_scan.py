"""Quality and cost of couplings against eps."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pandas as pd

from scgroove import _keys
from scgroove._figure import AxesLike, Plotted, finish, panel_grid, style
from scgroove._palette import LABELS, UNLABELED
from scgroove.errors import InputError
from scgroove.pl._read import check_columns, stored

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
"""Marginal error above which a coupling should not be trusted. See the user guide."""


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
    """Plot partners of a cell, marginal error, cost and time against eps.

    Small eps: few partners, and more work to meet the marginals. Hollow points did not. Large eps:
    everyone matches everyone. A good eps is the largest below which the cost without entropy hardly
    falls.

    Parameters
    ----------
    mdata
        With the table that :func:`scgroove.tl.epsilon_scan` wrote, or that table itself.
    source, target
        The modalities, as given there. Not needed for a table.
    key
        Key of the table in ``mdata.uns``. Default ``"epsilon_scan_<source>_<target>"``.
    ax
        Four axes. A new figure by default.
    show, save, return_fig
        As for :func:`scgroove.pl.latent`.

    Returns
    -------
    As for :func:`scgroove.pl.latent`.

    Raises
    ------
    ValueError
        If there is no such table, or it lacks a column.
    """
    table: Any = mdata
    call = f"epsilon_scan(mdata, {source!r}, {target!r})"
    if not isinstance(mdata, pd.DataFrame):
        if key is None and (source is None or target is None):
            raise InputError(
                "Name the modalities, scgroove.pl.epsilon_scan(mdata, source, target), or the key "
                "of the table."
            )
        name = key if key is not None else _keys.epsilon_scan(str(source), str(target))
        table = pd.DataFrame(stored(mdata, name, call))
    check_columns(table, ("epsilon", "transport_cost", "converged", *_PANELS), call)
    table = table.sort_values("epsilon")
    with style():
        fig, axes = panel_grid(4, ax, figsize=(10.5, 2.3), ncols=4, what=", ".join(_PANELS))
        for panel, (column, title) in zip(axes, _PANELS.items(), strict=True):
            if column == "objective":
                _line(panel, table, "transport_cost", LABELS[0], "without entropy")
                _line(panel, table, "objective", LABELS[1], "with entropy")
            else:
                _line(panel, table, column, LABELS[0], None)
            panel.set_xscale("log")
            _write_out(panel.xaxis)
            panel.set_title(title, loc="left")
            panel.set_xlabel("eps, relative")
        _finish_panels(axes)
        return finish(fig, axes, show=show, save=save, return_fig=return_fig)


def _line(ax: Axes, table: pd.DataFrame, column: str, color: str, label: str | None) -> None:
    """Draw one quantity against eps, hollow where the solver did not converge."""
    x, y = table["epsilon"].to_numpy(), table[column].to_numpy(dtype=float)
    good = table["converged"].to_numpy(dtype=bool)
    ax.plot(x, y, color=color, linewidth=1, label=label)
    ax.plot(x[good], y[good], "o", color=color, markersize=3.5)
    ax.plot(x[~good], y[~good], "o", color=color, markersize=3.5, markerfacecolor="white")


def _write_out(axis: Any) -> None:
    """Write the numbers of a logarithmic axis out: our style takes no mathematical markup."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(numticks=5))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def _finish_panels(axes: list[Axes]) -> None:
    for ax in axes[:2]:
        ax.set_yscale("log")
        _write_out(ax.yaxis)
    axes[1].axhline(_TRUSTED, color=UNLABELED, linewidth=1, zorder=0)
    at_the_right = axes[1].get_yaxis_transform()
    look: Any = {"ha": "right", "va": "bottom", "fontsize": 6, "color": "#666666"}
    axes[1].annotate("trusted below", (1.0, _TRUSTED), xycoords=at_the_right, **look)
    axes[2].legend(frameon=False, loc="lower left")
    axes[3].set_ylim(bottom=0)
