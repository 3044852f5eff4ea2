"""Share of the cells of each label in which the perturbation took hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from scgroove import _keys
from scgroove._figure import (
    AxesLike,
    Plotted,
    dots,
    finish,
    legend_beside,
    name_inches,
    name_ticks,
    panel_grid,
    shorten,
    style,
)
from scgroove._palette import modality_colors
from scgroove.errors import InputError
from scgroove.pl._read import check_columns, check_known, stored

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from mudata import MuData

_COLUMNS: Final = ("label", "n_cells", "rate", "rate_low", "rate_high", "undetectable")
_LONGEST: Final = 20
_WIDEST: Final = 9.0
"""Inches of the labels of a panel."""
_NAME: Final = 0.13
"""Inches that a name needs."""
_HOLLOW: Final[dict[str, Any]] = {"markerfacecolor": "white"}
_UNSEEN: Final = "#9AA3AC"


def efficacy(
    mdata: MuData,
    key: str = _keys.EFFICACY,
    *,
    modality: str | Sequence[str] | None = None,
    labels: Sequence[str] | None = None,
    ax: AxesLike | None = None,
    show: bool | None = None,
    save: str | Path | None = None,
    return_fig: bool = False,
) -> Plotted:
    """Plot the share of the cells of each label in which the perturbation took hold.

    A panel for each modality, a dot for each label with its 95 % interval, the highest rate first.
    At the right, hollow and gray, stand labels without a visible effect or with fewer than ten
    cells: their rate is unknown, and the efficacy of their cells was left at 1. Where there is no
    room for all names, every second, third, ... label is named.

    Parameters
    ----------
    mdata
        Modalities with efficacies, as :func:`scgroove.tl.estimate_efficacy` writes them.
    key
        Key of the rates in ``mdata.uns``.
    modality
        Modalities to show, one or several. Default all that were estimated.
    labels
        Labels to show. Default all. A panel leaves out those that its modality lacks.
    ax
        One axes for each modality. A new figure by default.
    show, save, return_fig
        As for :func:`scgroove.pl.latent`.

    Returns
    -------
    As for :func:`scgroove.pl.latent`.

    Raises
    ------
    ValueError
        If there are no rates, or no such modality or label.

    See Also
    --------
    scgroove.pl.latent : the efficacy of every cell, with ``panels=["efficacy"]``.

    Examples
    --------
    >>> scgroove.tl.estimate_efficacy(mdata, "NT")  # doctest: +SKIP
    >>> scgroove.pl.efficacy(mdata, modality="rna")  # doctest: +SKIP
    """
    control, tables = _tables(mdata, key)
    if modality is not None:
        tables = {m: tables[m] for m in check_known("modality", modality, tables)}
    if labels is not None:
        known = sorted(set(pd.concat(tables.values())["label"]))
        names = check_known("label", labels, known)
        tables = {m: table[table["label"].isin(names)] for m, table in tables.items()}
        tables = {m: table for m, table in tables.items() if len(table)}
    most = max(len(table) for table in tables.values())
    colors = modality_colors(dict.fromkeys([*mdata.mod, *tables]))
    inches = name_inches(pd.concat(tables.values())["label"], _LONGEST)
    height = (1.75 + inches * 0.06 / 0.065) * len(tables)
    size = (min(max(0.17 * most, 1.8), _WIDEST) + 2.9, height)
    with style():
        fig, axes = panel_grid(len(tables), ax, figsize=size, ncols=1, what=", ".join(tables))
        for panel, (name, table) in zip(axes, tables.items(), strict=True):
            _draw(panel, table, colors[name])
            name_ticks(panel.xaxis, table["label"].tolist(), int(_WIDEST / _NAME), _LONGEST)
            every = len(panel.get_xticks()) == len(table)
            panel.tick_params(axis="x", rotation=90, length=0 if every else 2)
            panel.set_title(f"{name}, against {shorten(control)}", loc="left")
        return finish(fig, axes, show=show, save=save, return_fig=return_fig)


def _tables(mdata: MuData, key: str) -> tuple[str, dict[str, pd.DataFrame]]:
    """Return the control, and the table of each modality in the order of the figure."""
    added = "" if key == _keys.EFFICACY else f", key_added={key!r}"
    call = f"estimate_efficacy(mdata, CONTROL{added})"
    found = stored(mdata, key, call)
    if not isinstance(found, Mapping) or not {"control", "labels"} <= set(found):
        raise InputError(
            f"mdata.uns[{key!r}] holds no rates of labels; expected what scgroove.tl.{call} "
            "writes. Name another with key=."
        )
    if not len(found["labels"]):
        raise InputError(
            f"mdata.uns[{key!r}] holds no rates: there was no control to compare with. "
            f"Name it: scgroove.tl.{call}."
        )
    tables, order = {}, [*mdata.mod, *found["labels"]]
    for name in sorted(found["labels"], key=order.index):
        table = pd.DataFrame(found["labels"][name])
        check_columns(table, _COLUMNS, call)
        table = table.astype({"label": str, "undetectable": bool})
        rank: Any = {"by": ["undetectable", "rate"], "ascending": [True, False]}
        tables[str(name)] = table.sort_values(**rank, kind="stable")
    return str(found["control"]), tables


def _draw(ax: Axes, table: pd.DataFrame, color: str) -> None:
    """Draw dots with their intervals, then hollow dots of labels whose rate is unknown."""
    unseen = table["undetectable"].to_numpy()
    places = np.arange(len(table))
    seen = table[~unseen]
    size = float(np.clip(260 / max(len(table), 1), 2.0, 4.5))
    ax.axhline(1, color="#D5D9DD", linewidth=0.6, zorder=0)
    handles = []
    if len(seen):
        ends = seen["rate_low"], seen["rate_high"]
        ax.vlines(places[~unseen], *ends, color=color, linewidth=0.3 * size)
        ax.plot(places[~unseen], seen["rate"], "o", color=color, markersize=size, label="rate")
        text = f"rate, 95 % interval ({len(seen):,})"
        handles += dots((text, color), linestyle="-", linewidth=1.4)
    if unseen.any():
        look: Any = {"color": _UNSEEN, "markersize": size, "label": "undetectable", **_HOLLOW}
        ax.plot(places[unseen], np.ones(unseen.sum()), "o", **look)
        text = f"no effect to be seen:\nefficacy left at 1 ({unseen.sum():,})"
        handles += dots((text, _UNSEEN), **_HOLLOW)
    if len(handles) == 2:
        ax.axvline(len(seen) - 0.5, color="#C2C8CF", linewidth=0.8, zorder=0)
    ax.set(xlim=(-0.7, len(table) - 0.3), ylim=(0, 1.06), ylabel="share of cells\nwith the effect")
    ax.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", "0.25", "0.5", "0.75", "1"])
    legend_beside(ax, handles=handles)
