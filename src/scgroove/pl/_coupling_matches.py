"""The best matches of some cells: rows of a coupling, label by label."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import numpy as np
import pandas as pd

from scgroove import _keys
from scgroove._figure import AxesLike, Plotted, finish, natural_order, panel_grid, shorten, style
from scgroove._labels import NO_LABEL_NAME, UnlabeledCategory
from scgroove._palette import LABELS, UNLABELED
from scgroove.errors import InputError, did_you_mean
from scgroove.pl._read import LabelKey, check_modalities, labels_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from mudata import MuData

Side: TypeAlias = Literal["source", "target"]

_COLORS: Final = {"same label": LABELS[0], "another label": LABELS[1], "no label": "#8A929B"}
_CELL, _SIDE, _NAME = (
    0.14,
    7.5,
    0.125,
)  # inches: of a row or column, of the panel at most, of a name
_TITLE: Final = 4.1  # inches that the lines above take
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
    label_key: LabelKey = _keys.LABEL,
    coupling_key: str | None = None,
    unlabeled_category: UnlabeledCategory = None,
    seed: int = 0,
    ax: AxesLike | None = None,
    show: bool | None = None,
    save: str | Path | None = None,
    return_fig: bool = False,
) -> Plotted:
    """Plot the best matches of some cells: a row a cell, a column a cell of the other modality, both by label.

    The area of a dot is the share of the cell's mass that a match holds, its color says whether both have the same label. A row with
    one large dot is decided; a row of small ones spreads its mass over many cells, and more than are shown. A column with many dots is
    a hub, a cell that many are matched with. For a labeled coupling matches of the same label are by construction, and the figure
    says so.

    Parameters
    ----------
    mdata
        Modalities with a coupling source -> target, as :func:`scgroove.tl.align` writes it.
    source, target
        Modalities, in the direction of the coupling.
    cells
        Cells by name, or how many: drawn at random among those with mass, as many of each label as possible.
    n_matches
        Best matches of each cell.
    side
        ``"source"``: matches in the target of source cells; ``"target"``: matches in the source of target cells.
    label_key
        Column of the labels in ``mod[m].obs``, or one for each modality.
    coupling_key
        Key of the coupling in ``mdata.obsp``, if it is not the default one.
    unlabeled_category
        Label that stands for "no label".
    seed
        Random state of the draw.
    ax
        One axes; a new figure by default.
    show
        Show the figure. By default only in an interactive session, when it is neither saved nor returned.
    save
        File to write, such as ``"matches.png"``.
    return_fig
        Return the figure instead of the axes.

    Returns
    -------
    The figure with ``return_fig``, nothing when it was shown, the list of axes otherwise.

    Raises
    ------
    ValueError
        If there is no such coupling, modality, label column, side or cell, or a cell has no mass.

    See Also
    --------
    scgroove.pl.coupling_entropy, scgroove.pl.coupling_label_mass

    Examples
    --------
    >>> scgroove.pl.coupling_top_matches(
    ...     mdata, "rna", "protein", cells=24, n_matches=3
    ... )  # doctest: +SKIP
    """
    check_modalities(mdata, [source, target])
    from scgroove import get

    coupling = get.coupling(mdata, source, target, coupling_key)
    own, other = (source, target) if side == "source" else (target, source)
    labels = {
        m: dict(
            zip(
                mdata.mod[m].obs_names,
                labels_of(mdata, m, label_key, unlabeled_category),
                strict=True,
            )
        )
        for m in (own, other)
    }
    columns = ["own", "other"] if side == "source" else ["other", "own"]
    table = coupling.top_matches(n_matches, side).rename(
        columns=dict(zip(["source", "target"], columns, strict=True))
    )
    chosen = _chosen(cells, table["own"].unique(), labels[own], own, seed)
    table = _placed(table[table["own"].isin(chosen)], labels[own], labels[other])
    labeled = bool(coupling.evidence.get("labeled", False))
    with style():
        fig, axes = panel_grid(1, ax, figsize=_size(table), ncols=1, what="the matches")
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
    """Cells by name, or so many of those with matches, as many of each label as possible."""
    if not isinstance(cells, int):
        return _checked(cells, matched, labels, modality)
    if cells < 1 or not len(matched):
        found = (
            f"cells is {cells}"
            if cells < 1
            else f"no cell of {modality!r} has mass in the coupling"
        )
        raise InputError(
            f"Nothing to show: {found}. Expected a number of at least 1, or names of cells with mass."
        )
    shuffled = np.random.default_rng(seed).permutation(np.asarray(matched, dtype=object))
    groups = pd.Series(
        [labels[cell] or NO_LABEL_NAME for cell in shuffled], index=shuffled, dtype=object
    )
    turn = groups.groupby(groups, sort=False).cumcount()
    return [str(cell) for cell in turn.sort_values(kind="stable").index[:cells]]


def _checked(
    cells: Sequence[str], matched: Sequence[str], labels: Mapping[str, str | None], modality: str
) -> list[str]:
    known = set(matched)
    if not len(cells):
        raise InputError("cells is empty; expected names of cells, or how many to draw: cells=40.")
    for cell in cells:
        if cell not in labels:
            raise InputError(
                f"There is no cell {cell!r} in {modality!r}.{did_you_mean(str(cell), list(labels))} "
                f"Take names from mdata.mod[{modality!r}].obs_names, or say how many cells to draw: cells=40."
            )
        if cell not in known:
            raise InputError(
                f"Cell {cell!r} of {modality!r} has no mass in the coupling: its label, {labels[cell]!r}, may lack cells in "
                f"the other modality. Leave it out of cells=."
            )
    return list(cells)


def _placed(
    table: pd.DataFrame, own: Mapping[str, str | None], other: Mapping[str, str | None]
) -> pd.DataFrame:
    """Add labels, and rows and columns: cells by label; columns of a label in the order of the rows that match them."""
    table = table.assign(
        own_label=[own[cell] or NO_LABEL_NAME for cell in table["own"]],
        other_label=[other[cell] or NO_LABEL_NAME for cell in table["other"]],
    )
    order = label_places([*table["own_label"], *table["other_label"]])
    table = table.assign(row=_ranks(table, "own", order, within=0.0))
    weighted = (table["row"] * table["probability"]).groupby(table["other"]).transform("sum")
    center = weighted / table["probability"].groupby(table["other"]).transform("sum")
    return table.assign(column=_ranks(table, "other", order, within=center))


def label_places(labels: Iterable[str]) -> dict[str, int]:
    """Place of each label: in natural order, cells without a label last."""
    names = natural_order(label for label in labels if label != NO_LABEL_NAME)
    return {label: i for i, label in enumerate([*names, NO_LABEL_NAME])}


def _ranks(table: pd.DataFrame, cell: str, order: Mapping[str, int], within: Any) -> pd.Series:
    """Position of each cell: by label, within a label by a number, and then by name."""
    keys = pd.DataFrame(
        {"label": table[f"{cell}_label"].map(order), "within": within, "name": table[cell].map(str)}
    )
    names = keys.drop_duplicates("name").sort_values(["label", "within", "name"])["name"]
    return keys["name"].map({name: i for i, name in enumerate(names)})


def _size(table: pd.DataFrame) -> tuple[float, float]:
    names = (
        max(len(shorten(name, _LONGEST)) for name in [*table["own_label"], *table["other_label"]])
        * 0.065
    )
    width, height = (_extent(int(table[way].max()) + 1) for way in ("column", "row"))
    return max(width + 1.5, _TITLE) + names, height + names + 1.1


def _extent(n: int) -> float:
    """Inches that so many rows or columns take."""
    return float(np.clip(_CELL * n, 1.6, _SIDE))


def _title(table: pd.DataFrame, own: str, other: str, n: int, labeled: bool) -> str:
    rows = table.groupby("own")["probability"].sum()
    shown = "the best match holds" if n == 1 else f"the {n} best matches hold"
    same = "by construction" if labeled else "evidence"
    return (
        f"best matches in {other} of {len(rows)} {own} cells\n"
        f"{shown} {rows.median():.0%} of the mass of a cell (median)\n"
        f"made {'within' if labeled else 'without'} labels: matches of the same label are {same}"
    )


def _draw(ax: Axes, table: pd.DataFrame, *, named: bool) -> None:
    agree = np.where(table["own_label"] == table["other_label"], *list(_COLORS)[:2])
    agree = np.where(
        (table[["own_label", "other_label"]] == NO_LABEL_NAME).any(axis=1), list(_COLORS)[2], agree
    )
    largest = float(table["probability"].max())
    ax.scatter(
        table["column"],
        table["row"],
        s=_LARGEST * table["probability"] / largest,
        c=[_COLORS[one] for one in agree],
        linewidths=0,
        zorder=2,
        clip_on=False,
    )
    _name_blocks(ax, "x", table.set_index("column")["other_label"])
    _name_blocks(ax, "y", table.set_index("row")["own_label"])
    if named:
        names = table.drop_duplicates("row").sort_values("row")
        texts = [
            names[column].map(lambda name: shorten(str(name), _LONGEST))
            for column in ("own", "own_label")
        ]
        ax.set_yticks(names["row"], texts[0] + " · " + texts[1])
    ax.set(xlim=(-1, table["column"].max() + 1), ylim=(table["row"].max() + 0.7, -0.7))
    ax.tick_params(length=0)
    ax.tick_params(axis="x", rotation=90)
    _legend(ax, [name for name in _COLORS if name in set(agree)], largest)


def _name_blocks(ax: Axes, which: str, labels: pd.Series) -> None:
    """Name each label in the middle of its cells, where there is room, and draw lines between labels."""
    ends = (
        pd.Series(labels.index, index=labels.to_numpy())
        .groupby(level=0)
        .agg(["min", "max"])
        .sort_values("min")
    )
    for edge in ends["max"].iloc[:-1]:
        (ax.axvline if which == "x" else ax.axhline)(
            edge + 0.5, color="#E3E6EA", linewidth=0.6, zorder=0
        )
    n = int(ends["max"].max()) + 1
    gap = _NAME * n / _extent(n)
    places: list[float] = []
    names: list[str] = []
    for name, middle in ends.mean(axis=1).items():
        if not places or middle - places[-1] >= gap:
            places.append(middle)
            names.append(shorten(str(name), _LONGEST))
    (ax.xaxis if which == "x" else ax.yaxis).set_ticks(places, names)


def _legend(ax: Axes, kinds: Sequence[str], largest: float) -> None:
    from matplotlib.lines import Line2D

    marks = [(kind, _COLORS[kind], 5.0) for kind in kinds]
    for share in (1.0, 1 / 4, 1 / 16):
        marks.append(
            (f"{100 * share * largest:.2g}% of the mass", UNLABELED, (_LARGEST * share) ** 0.5)
        )
    handles = [
        Line2D([], [], linestyle="", marker="o", color=color, markersize=size, label=text)
        for text, color, size in marks
    ]
    ax.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(1.01, 1.0),
        frameon=False,
        handletextpad=0.2,
        borderaxespad=0,
    )
