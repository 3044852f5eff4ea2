"""In which share of its cells each perturbation took hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from scgroove import _keys
from scgroove._figure import AxesLike, Plotted, finish, panel_grid, shorten, style
from scgroove._palette import modality_colors
from scgroove.errors import InputError, did_you_mean
from scgroove.pl._read import listed, stored

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from mudata import MuData

_COLUMNS: Final = ("label", "n_cells", "rate", "rate_low", "rate_high", "undetectable")
_LONGEST: Final = 20
_WIDEST: Final = 9.0
"""Inches of the labels of a panel."""
_NAME: Final = 0.13
"""Inches that a name needs."""
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
    """Plot in which share of its cells each perturbation took hold: a dot a label with its 95 % interval, a panel a modality.

    Labels stand in the order of their rates, the highest first. At the right, hollow and gray, are those of which no effect
    can be seen, or which have fewer than ten cells: nothing is known of their rate, and the efficacy of their cells was
    left at 1, where they are drawn. Where there is no room for the names of all labels, every second, third, ... is
    named.

    Parameters
    ----------
    mdata
        Modalities with efficacies, as :func:`scgroove.tl.estimate_efficacy` writes them.
    key
        Key of the rates in ``mdata.uns``.
    modality
        Modalities to show, one or several; default all that were estimated.
    labels
        Labels to show; default all. One that a modality has not is missing in its panel.
    ax
        One axes for each modality; a new figure by default.
    show
        Show the figure. By default only in an interactive session, when it is neither saved nor returned.
    save
        File to write, such as ``"efficacy.png"``.
    return_fig
        Return the figure instead of the axes.

    Returns
    -------
    The figure with ``return_fig``, nothing when it was shown, the list of axes otherwise.

    Raises
    ------
    ValueError
        If there are no rates (the message holds the call that makes them), or no such modality or label.

    See Also
    --------
    scgroove.pl.latent : the efficacy of every cell, with ``panels=["efficacy"]``.

    Examples
    --------
    >>> scgroove.tl.estimate_efficacy(mdata, "NT")  # doctest: +SKIP
    >>> scgroove.pl.efficacy(mdata, modality="rna")  # doctest: +SKIP
    """
    found = _found(mdata, key)
    tables = _chosen(_tables(mdata, found, key), modality, labels)
    most = max(len(table) for table in tables.values())
    colors = modality_colors(dict.fromkeys([*mdata.mod, *tables]))
    longest = max(
        len(shorten(name, _LONGEST)) for table in tables.values() for name in table["label"]
    )
    height = 1.75 + 0.06 * longest
    size = (min(max(0.17 * most, 1.8), _WIDEST) + 2.9, height * len(tables))
    with style():
        fig, axes = panel_grid(len(tables), ax, figsize=size, ncols=1, what=", ".join(tables))
        for panel, (name, table) in zip(axes, tables.items(), strict=True):
            _draw(panel, table, colors[name])
            _name_labels(panel, table["label"].tolist())
            panel.set_title(f"{name}, against {shorten(str(found['control']))}", loc="left")
        return finish(fig, axes, show=show, save=save, return_fig=return_fig)


def _found(mdata: MuData, key: str) -> Mapping[str, Any]:
    call = f"estimate_efficacy(mdata, CONTROL{'' if key == _keys.EFFICACY else f', key_added={key!r}'})"
    found = stored(mdata, key, call)
    if not isinstance(found, Mapping) or not {"control", "labels"} <= set(found):
        raise InputError(
            f"mdata.uns[{key!r}] holds no rates of labels; expected what scgroove.tl.{call} writes. Name another with key=."
        )
    if not len(found["labels"]):
        raise InputError(
            f"mdata.uns[{key!r}] holds no rates: there was no control to compare with. Name it: scgroove.tl.{call}."
        )
    return found


def _tables(mdata: MuData, found: Mapping[str, Any], key: str) -> dict[str, pd.DataFrame]:
    """Return the table of each modality, as the modalities come, in the order of the picture."""
    tables, order = {}, [*mdata.mod, *found["labels"]]
    for name in sorted(found["labels"], key=order.index):
        table = pd.DataFrame(found["labels"][name])
        missing = [column for column in _COLUMNS if column not in table]
        if missing:
            raise InputError(
                f"mdata.uns[{key!r}]['labels'][{name!r}] lacks {missing}; it has {listed(table)}. Estimate again with "
                f"scgroove.tl.estimate_efficacy."
            )
        table = table.astype({"label": str, "undetectable": bool})
        rank: Any = {"by": ["undetectable", "rate"], "ascending": [True, False]}
        tables[str(name)] = table.sort_values(**rank, kind="stable").reset_index(drop=True)
    return tables


def _chosen(
    tables: Mapping[str, pd.DataFrame],
    modality: str | Sequence[str] | None,
    labels: Sequence[str] | None,
) -> dict[str, pd.DataFrame]:
    """Return the tables that are asked for, and their rows that are; each must have one."""
    asked = tables if modality is None else [modality] if isinstance(modality, str) else modality
    if not len(asked):
        raise InputError(
            f"modality is empty; name one or more of {listed(tables)}, or leave it out."
        )
    for name in asked:
        if name not in tables:
            raise InputError(
                f"No efficacy was estimated in {name!r}, only in {listed(tables)}.{did_you_mean(name, tables)}"
            )
    shown = {name: tables[name] for name in asked}
    if labels is None:
        return shown
    wanted = [labels] if isinstance(labels, str) else list(labels)
    known = sorted({label for table in shown.values() for label in table["label"]})
    if not wanted:
        raise InputError(
            f"labels is empty; name one or more of {len(known)}, such as {listed(known, 6)}."
        )
    for label in wanted:
        if label not in known:
            raise InputError(
                f"There is no label {label!r} with an efficacy; there are {len(known)}, such as {listed(known, 6)}."
                f"{did_you_mean(label, known)}"
            )
    kept = {
        name: table[table["label"].isin(wanted)].reset_index(drop=True)
        for name, table in shown.items()
    }
    return {name: table for name, table in kept.items() if len(table)}


def _draw(ax: Axes, table: pd.DataFrame, color: str) -> None:
    """Dots with their intervals, then hollow dots of labels of which nothing is known."""
    places = np.arange(len(table))
    unseen = table["undetectable"].to_numpy(dtype=bool)
    seen = table[~unseen]
    size = float(np.clip(260 / max(len(table), 1), 2.0, 4.5))
    ax.axhline(1, color="#D5D9DD", linewidth=0.6, zorder=0)
    if len(seen):
        ax.vlines(
            places[~unseen],
            seen["rate_low"],
            seen["rate_high"],
            color=color,
            linewidth=0.3 * size,
        )
        ax.plot(places[~unseen], seen["rate"], "o", color=color, markersize=size, label="rate")
    if unseen.any():
        hollow: Any = {"markerfacecolor": "white", "color": _UNSEEN, "markersize": size}
        ax.plot(places[unseen], np.ones(unseen.sum()), "o", **hollow, label="undetectable")
    if unseen.any() and len(seen):
        ax.axvline(len(seen) - 0.5, color="#C2C8CF", linewidth=0.8, zorder=0)
    ax.set_xlim(-0.7, len(table) - 0.3)
    ax.set_ylim(0, 1.06)
    ax.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", "0.25", "0.5", "0.75", "1"])
    ax.set_ylabel("share of cells\nwith the effect")
    _legend(ax, color, len(seen), int(unseen.sum()))


def _legend(ax: Axes, color: str, n_seen: int, n_unseen: int) -> None:
    from matplotlib.lines import Line2D

    marks: Any = {"marker": "o", "markersize": 4.5}
    handles = []
    if n_seen:
        handles.append(
            Line2D(
                [],
                [],
                color=color,
                linewidth=1.4,
                **marks,
                label=f"rate, 95 % interval ({n_seen:,})",
            )
        )
    if n_unseen:
        hollow: Any = {"markerfacecolor": "white", "color": _UNSEEN, "linestyle": ""}
        handles.append(
            Line2D(
                [],
                [],
                **marks,
                **hollow,
                label=f"no effect to be seen:\nefficacy left at 1 ({n_unseen:,})",
            )
        )
    ax.legend(
        handles=handles,
        frameon=False,
        loc="upper left",
        bbox_to_anchor=(1.01, 1.0),
        borderaxespad=0,
    )


def _name_labels(ax: Axes, names: Sequence[str]) -> None:
    """Name every label where there is room, and every second, third, ... where there is not."""
    step = -(-len(names) // int(_WIDEST / _NAME))
    places = range(0, len(names), step)
    ax.set_xticks(list(places), [shorten(names[i], _LONGEST) for i in places], rotation=90)
    ax.tick_params(axis="x", length=0 if step == 1 else 2)
