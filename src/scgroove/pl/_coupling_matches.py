"""Best matches of some cells: rows of a coupling, label by label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

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
    natural_order,
    panel_grid,
    shorten,
    style,
)
from scgroove._labels import NO_LABEL_NAME, UnlabeledCategory
from scgroove._palette import LABELS, UNLABELED
from scgroove.errors import InputError, UnknownNameError, did_you_mean
from scgroove.pl._read import labels_of_pair

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from mudata import MuData

    from scgroove.data.checks import PerModality

Side: TypeAlias = Literal["source", "target"]

_COLORS: Final = {"same label": LABELS[0], "another label": LABELS[1], "no label": "#8A929B"}
_CELL: Final = 0.14
"""Inches of a row or column."""
_NAME: Final = 0.125
"""Inches that a name needs."""
_TITLE: Final = 4.1
"""Inches that the title takes."""
_LONGEST: Final = 20
_LARGEST: Final = 60.0
"""Area of the largest dot, in square points."""


def coupling_top_matches(
    mdata: MuData,
    source: str,
    target: str,
    *,
    cells: int | Sequence[str] = 40,
    n_matches: int = 5,
    side: Side = "source",
    label_key: PerModality = _keys.LABEL,
    coupling_key: str | None = None,
    unlabeled_category: UnlabeledCategory = None,
    seed: int = 0,
    ax: AxesLike | None = None,
    show: bool | None = None,
    save: str | Path | None = None,
    return_fig: bool = False,
) -> Plotted:
    """Plot the best matches of some cells: a row a cell, a column a cell of the other modality.

    The area of a dot is the share of the cell's mass that a match holds, and its color says whether
    both have the same label. A row with one large dot is decided. A column with many dots is a hub,
    a cell that many are matched with. For a labeled coupling, matches of the same label are by
    construction, and the figure says so.

    Parameters
    ----------
    mdata
        Modalities with a coupling source -> target, as :func:`scgroove.tl.align` writes it.
    source, target
        Modalities, in the direction of the coupling.
    cells
        Names of cells, or how many: drawn at random among those with mass, evenly over labels.
    n_matches
        Best matches of each cell.
    side
        ``"source"``: matches in the target of source cells. ``"target"``: the reverse.
    label_key
        Column of the labels in ``mod[m].obs``, or one for each modality.
    coupling_key
        Key of the coupling in ``mdata.obsp``. Default ``"coupling_<source>_<target>"``.
    unlabeled_category
        Label that stands for "no label".
    seed
        Random state of the draw.
    ax
        One axes. A new figure by default.
    show, save, return_fig
        As for :func:`scgroove.pl.latent`.

    Returns
    -------
    As for :func:`scgroove.pl.latent`.

    Raises
    ------
    ValueError
        If there is no such coupling, modality, label column, side or cell, or a cell has no mass.

    See Also
    --------
    scgroove.pl.coupling_entropy, scgroove.pl.coupling_label_mass

    Examples
    --------
    >>> scgroove.pl.coupling_top_matches(mdata, "rna", "protein", cells=24)  # doctest: +SKIP
    """
    from scgroove import get

    of_cells = labels_of_pair(mdata, source, target, label_key, unlabeled_category)
    labels = {
        m: dict(zip(mdata.mod[m].obs_names, values, strict=True)) for m, values in of_cells.items()
    }
    coupling = get.coupling(mdata, source, target, coupling_key)
    own, other = (source, target) if side == "source" else (target, source)
    columns = {"source": "own", "target": "other"}
    if side == "target":
        columns = {"target": "own", "source": "other"}
    table = coupling.top_matches(n_matches, side).rename(columns=columns)
    chosen = _chosen(cells, table["own"].unique(), labels[own], own, seed)
    table = _placed(table[table["own"].isin(chosen)], labels[own], labels[other])
    names = name_inches([*table["own_label"], *table["other_label"]], _LONGEST)
    width, height = (_inches(int(table[way].max()) + 1) for way in ("column", "row"))
    size = (max(width + 1.5, _TITLE) + names, height + names + 1.1)
    labeled = bool(coupling.evidence.get("labeled", False))
    with style():
        fig, axes = panel_grid(1, ax, figsize=size, ncols=1, what="the matches")
        _draw(axes[0], table, named=not isinstance(cells, int))
        axes[0].set(xlabel=f"{other} cells, by label", ylabel=f"{own} cells, by label")
        axes[0].set_title(_title(table, own, other, n_matches, labeled), loc="left")
        return finish(fig, axes, show=show, save=save, return_fig=return_fig)


def _chosen(
    cells: int | Sequence[str],
    matched: Sequence[str],
    labels: Mapping[str, str | None],
    modality: str,
    seed: int,
) -> list[str]:
    """Return cells by name, or so many of those with matches, evenly over labels."""
    if not isinstance(cells, int):
        return _checked(cells, set(matched), labels, modality)
    if cells < 1 or not len(matched):
        found = (
            f"cells is {cells}"
            if cells < 1
            else f"no cell of {modality!r} has mass in the coupling"
        )
        raise InputError(
            f"Nothing to show: {found}. Expected a number of at least 1, or names of cells with "
            "mass."
        )
    shuffled = np.random.default_rng(seed).permutation(np.asarray(matched, dtype=object))
    groups = pd.Series([labels[cell] or NO_LABEL_NAME for cell in shuffled], index=shuffled)
    turn = groups.groupby(groups, sort=False).cumcount()
    return [str(cell) for cell in turn.sort_values(kind="stable").index[:cells]]


def _checked(
    cells: Sequence[str], matched: set[str], labels: Mapping[str, str | None], modality: str
) -> list[str]:
    if not len(cells):
        raise InputError("cells is empty; expected names of cells, or how many to draw: cells=40.")
    for cell in cells:
        if cell not in labels:
            raise UnknownNameError(
                "cell",
                cell,
                labels,
                f"There is no cell {cell!r} in {modality!r}.{did_you_mean(cell, labels)} Take "
                f"names from mdata.mod[{modality!r}].obs_names, or say how many "
                "cells to draw: cells=40.",
            )
        if cell not in matched:
            raise InputError(
                f"Cell {cell!r} of {modality!r} has no mass in the coupling: its label, "
                f"{labels[cell]!r}, may lack cells in the other modality. Leave it out of cells=."
            )
    return list(cells)


def _placed(
    table: pd.DataFrame, own: Mapping[str, str | None], other: Mapping[str, str | None]
) -> pd.DataFrame:
    """Add labels, rows and columns: cells by label, columns in the order of the rows they match."""
    table = table.assign(
        own_label=[own[cell] or NO_LABEL_NAME for cell in table["own"]],
        other_label=[other[cell] or NO_LABEL_NAME for cell in table["other"]],
    )
    names = natural_order({*table["own_label"], *table["other_label"]} - {NO_LABEL_NAME})
    order = {label: i for i, label in enumerate([*names, NO_LABEL_NAME])}
    table = table.assign(row=_ranks(table, "own", order, within=0.0))
    weighted = (table["row"] * table["probability"]).groupby(table["other"]).transform("sum")
    center = weighted / table["probability"].groupby(table["other"]).transform("sum")
    return table.assign(column=_ranks(table, "other", order, within=center))


def _ranks(table: pd.DataFrame, cell: str, order: Mapping[str, int], within: Any) -> pd.Series:
    """Return the place of each cell: by label, within a label by a number, then by name."""
    labels = table[f"{cell}_label"].map(order)
    keys = pd.DataFrame({"label": labels, "within": within, "name": table[cell].map(str)})
    names = keys.drop_duplicates("name").sort_values(["label", "within", "name"])["name"]
    return keys["name"].map({name: i for i, name in enumerate(names)})


def _inches(n: int) -> float:
    """Return the inches of so many rows or columns."""
    return float(np.clip(_CELL * n, 1.6, 7.5))


def _title(table: pd.DataFrame, own: str, other: str, n: int, labeled: bool) -> str:
    rows = table.groupby("own")["probability"].sum()
    shown = "the best match holds" if n == 1 else f"the {n} best matches hold"
    how = "within labels: matches of the same label are by construction"
    if not labeled:
        how = "without labels: matches of the same label are evidence"
    return (
        f"best matches in {other} of {len(rows)} {own} cells\n"
        f"{shown} {rows.median():.0%} of the mass of a cell (median)\nmade {how}"
    )


def _draw(ax: Axes, table: pd.DataFrame, *, named: bool) -> None:
    same, another, none = _COLORS
    unknown = (table[["own_label", "other_label"]] == NO_LABEL_NAME).any(axis=1)
    kinds = np.where(table["own_label"] == table["other_label"], same, another)
    kinds = np.where(unknown, none, kinds)
    largest = float(table["probability"].max())
    sizes = _LARGEST * table["probability"] / largest
    look: Any = {"linewidths": 0, "zorder": 2, "clip_on": False}
    ax.scatter(table["column"], table["row"], s=sizes, c=[_COLORS[kind] for kind in kinds], **look)
    _name_blocks(ax.xaxis, ax.axvline, table.set_index("column")["other_label"])
    _name_blocks(ax.yaxis, ax.axhline, table.set_index("row")["own_label"])
    if named:
        cells = table.drop_duplicates("row").sort_values("row")
        pairs = zip(cells["own"], cells["own_label"], strict=True)
        texts = [f"{shorten(c, _LONGEST)} · {shorten(label, _LONGEST)}" for c, label in pairs]
        ax.set_yticks(cells["row"], texts)
    ax.set(xlim=(-1, table["column"].max() + 1), ylim=(table["row"].max() + 0.7, -0.7))
    ax.tick_params(length=0)
    ax.tick_params(axis="x", rotation=90)
    entries = [(kind, color) for kind, color in _COLORS.items() if kind in set(kinds)]
    handles = dots(*entries, size=5.0)
    for share in (1.0, 1 / 4, 1 / 16):
        text = f"{100 * share * largest:.2g}% of the mass"
        handles += dots((text, UNLABELED), size=(_LARGEST * share) ** 0.5)
    legend_beside(ax, handles=handles, handletextpad=0.2)


def _name_blocks(axis: Any, draw_line: Any, labels: pd.Series) -> None:
    """Name each label in the middle of its cells, where there is room, with lines between."""
    places = labels.index.to_series().groupby(labels.to_numpy())
    ends = places.agg(["min", "max"]).sort_values("min")
    for edge in ends["max"].iloc[:-1]:
        draw_line(edge + 0.5, color="#E3E6EA", linewidth=0.6, zorder=0)
    n = int(ends["max"].max()) + 1
    gap = _NAME * n / _inches(n)
    shown: dict[float, str] = {}
    for name, middle in ends.mean(axis=1).items():
        if not shown or middle - max(shown) >= gap:
            shown[middle] = shorten(str(name), _LONGEST)
    axis.set_ticks(list(shown), list(shown.values()))
