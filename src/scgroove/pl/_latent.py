"""The shared latent space in two dimensions, by modality, by label, and by any column of the cells."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scgroove import _keys
from scgroove._figure import AxesLike, Plotted, finish, natural_order, panel_grid, shorten, style
from scgroove._labels import UnlabeledCategory
from scgroove._palette import SEQUENTIAL, UNLABELED, label_styles, modality_colors
from scgroove.errors import InputError, did_you_mean
from scgroove.pl._read import (
    LabelKey,
    check_modalities,
    column_of,
    label_colors,
    label_status,
    labels_of,
    listed,
    shared_first,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from mudata import MuData

_PANELS = ("modality", "label", "shared", "exclusive")
_TITLES = {
    "modality": "by modality",
    "label": "by label",
    "shared": "shared labels",
    "exclusive": "labels of one modality only",
}
_SIDE = 2.9
_ROW, _LETTER = 0.145, 0.058  # inches that a line and a letter of a legend take
_BAR = 0.55  # inches that a color bar and its numbers take
_LONGEST = 18
Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class _Cells:
    """All cells that are drawn, in drawing order.

    ``columns`` holds further columns of the cells, by name; ``colors`` the colors that are known of their values, and under
    ``"label"`` those of labels.
    """

    xy: Array
    modality: Array
    label: Array
    modalities: tuple[str, ...]
    status: dict[str, str]
    columns: dict[str, Array] = field(default_factory=dict)
    colors: dict[str, dict[str, str]] = field(default_factory=dict)

    def is_numeric(self, panel: str) -> bool:
        """Whether a panel shows numbers."""
        return panel in self.columns and self.columns[panel].dtype.kind == "f"

    def values(self, panel: str) -> Array:
        """What a panel tells of each cell: its label, or its value in a column."""
        return self.columns.get(panel, self.label)

    def names(self, panel: str) -> list[str]:
        """Values that a panel tells apart; of labels, shared ones first, exclusive ones by modality."""
        if panel in self.columns:
            return natural_order(value for value in self.columns[panel] if value is not None)
        labels = shared_first(self.status)
        return [
            la
            for la in labels
            if panel in ("label", "shared" if self.status[la] == "shared" else "exclusive")
        ]

    def styles(self, panel: str) -> dict[str, tuple[str, str]]:
        """Color and marker of each of them."""
        return label_styles(
            self.names(panel), self.colors.get(panel if panel in self.columns else "label")
        )


@dataclass(frozen=True)
class _Entry:
    """A line of a legend; a heading where it has no color."""

    text: str
    color: str | None = None
    marker: str = "o"


def latent(
    mdata: MuData,
    label_key: LabelKey = _keys.LABEL,
    *,
    modalities: Sequence[str] | None = None,
    use_rep: str = _keys.LATENT,
    unlabeled_category: UnlabeledCategory = None,
    panels: Sequence[str] | None = None,
    colors: Mapping[str, str] | None = None,
    max_legend: int = 51,
    point_size: float | None = None,
    seed: int = 0,
    ax: AxesLike | None = None,
    show: bool | None = None,
    save: str | Path | None = None,
    return_fig: bool = False,
) -> Plotted:
    """Plot the joint UMAP of all modalities, by modality, by label and by any column of the cells, side by side.

    Reads what :func:`scgroove.tl.umap` wrote. A good alignment mixes the modalities (left) and keeps labels
    apart (right). Cells are drawn in random order, so that no modality hides another, and cells without a
    label are light gray, beneath the others. Labels that only one modality has get a panel of their own,
    because nothing says where the other modality's cells would lie.

    Parameters
    ----------
    mdata
        Annotated modalities.
    label_key
        Column of the labels in every ``mod[m].obs``, or one for each modality.
    modalities
        Modalities to draw; by default all that have the UMAP.
    use_rep
        The representation whose UMAP is drawn (``mod[m].obsm[f"{use_rep}_umap"]``).
    unlabeled_category
        Label that stands for "no label".
    panels
        What to draw: ``"modality"``, ``"label"``, ``"shared"`` (labels of two modalities or more),
        ``"exclusive"`` (labels of one), and columns of ``mod[m].obs``: numbers, such as the efficacy of a
        perturbation in each cell, with a color bar, and text with a legend. Cells of modalities without the
        column are gray. By default the modality and the label, or the modality, the shared and the exclusive
        labels where there are exclusive ones.
    colors
        Colors of some labels; by default those in ``mod[m].uns["<label>_colors"]`` where there are any. Columns of
        text have theirs there too.
    max_legend
        Labels named in a legend; where there are more, the ones with most cells are.
    point_size
        Area of a point in square points; by default it follows from the number of cells.
    seed
        Seed of the drawing order.
    ax
        One axes for each panel; a new figure by default.
    show
        Show the figure. By default only in an interactive session, when it is neither saved nor returned.
    save
        File to write, such as ``"latent.png"``.
    return_fig
        Return the figure instead of the axes.

    Returns
    -------
    The figure with ``return_fig``, nothing when it was shown, the list of axes otherwise.

    Raises
    ------
    ValueError
        If there is no UMAP (the message holds the call that makes it), no such modality, label, panel or column.

    Examples
    --------
    >>> scgroove.pl.latent(
    ...     mdata, "label", panels=["modality", "label", "efficacy"]
    ... )  # doctest: +SKIP
    """
    chosen = _chosen(mdata, modalities, use_rep)
    columns = _columns(mdata, panels or (), chosen)
    cells = _gather(mdata, label_key, chosen, use_rep, unlabeled_category, columns, colors, seed)
    names = list(panels) if panels is not None else _default_panels(cells.status)
    legends = {name: _legend_entries(name, cells, max_legend) for name in names}
    below = [_BAR if cells.is_numeric(name) else _legend_height(legends[name]) for name in names]
    height = _SIDE + 0.75 + max(below)
    with style():
        fig, axes = panel_grid(
            len(names),
            ax,
            figsize=(_SIDE * len(names), height),
            ncols=len(names),
            what=", ".join(names),
        )
        size = (
            point_size
            if point_size is not None
            else float(np.clip(30_000 / len(cells.xy), 1.5, 16))
        )
        for panel, name in zip(axes, names, strict=True):
            _draw(panel, name, cells, size)
            _draw_legend(panel, legends[name])
        return finish(fig, axes, show=show, save=save, return_fig=return_fig)


def _chosen(mdata: MuData, modalities: Sequence[str] | None, use_rep: str) -> tuple[str, ...]:
    """Modalities to draw; all of them have the UMAP."""
    key = _keys.umap(use_rep)
    with_umap = [m for m in mdata.mod if key in mdata.mod[m].obsm]
    chosen = tuple(modalities) if modalities is not None else tuple(with_umap)
    check_modalities(mdata, chosen)
    _check_umap(mdata, chosen or tuple(mdata.mod), key, use_rep)
    return chosen


def _columns(mdata: MuData, panels: Sequence[str], modalities: Sequence[str]) -> dict[str, Array]:
    """Values of the columns of obs among the panels."""
    known = list(
        dict.fromkeys(name for m in modalities for name in map(str, mdata.mod[m].obs.columns))
    )
    names = [name for name in panels if name not in _PANELS]
    for name in names:
        if name not in known:
            raise InputError(
                f"There is no panel {name!r}: choose among {listed(_PANELS)}, or name a column of "
                f"mod[...].obs: {listed(known)}.{did_you_mean(name, [*_PANELS, *known])}"
            )
    return {name: column_of(mdata, modalities, name) for name in names}


def _gather(
    mdata: MuData,
    label_key: LabelKey,
    modalities: tuple[str, ...],
    use_rep: str,
    unlabeled_category: UnlabeledCategory,
    columns: Mapping[str, Array],
    colors: Mapping[str, str] | None,
    seed: int,
) -> _Cells:
    key = _keys.umap(use_rep)
    labels = {m: labels_of(mdata, m, label_key, unlabeled_category) for m in modalities}
    xy = np.concatenate(
        [np.asarray(mdata.mod[m].obsm[key], dtype=float)[:, :2] for m in modalities]
    )
    modality = np.concatenate([np.full(mdata.mod[m].n_obs, m, dtype=object) for m in modalities])
    order = np.random.default_rng(seed).permutation(len(xy))
    known = {name: label_colors(mdata, modalities, name) for name in columns}
    return _Cells(
        xy[order],
        modality[order],
        np.concatenate([labels[m] for m in modalities])[order],
        modalities,
        label_status(labels),
        {name: values[order] for name, values in columns.items()},
        {**known, "label": label_colors(mdata, modalities, label_key, colors)},
    )


def _check_umap(mdata: MuData, modalities: Sequence[str], key: str, use_rep: str) -> None:
    for modality in modalities:
        obsm = mdata.mod[modality].obsm
        if key in obsm:
            continue
        first = (
            ""
            if use_rep in obsm
            else f"scgroove.tl.embed(mdata, model, key_added={use_rep!r}), and then "
        )
        raise InputError(
            f"mod[{modality!r}].obsm has no {key!r}; it has {listed(obsm)}. "
            f"Make it with {first}scgroove.tl.umap(mdata, use_rep={use_rep!r})."
        )


def _default_panels(status: Mapping[str, str]) -> list[str]:
    kinds = {"shared" if where == "shared" else "exclusive" for where in status.values()}
    return ["modality", "shared", "exclusive"] if len(kinds) == 2 else ["modality", "label"]


def _draw(ax: Axes, name: str, cells: _Cells, size: float) -> None:
    if name == "modality":
        palette = modality_colors(cells.modalities)
        _scatter(ax, cells.xy, [palette[m] for m in cells.modality], size)
    elif cells.is_numeric(name):
        _scatter_numbers(ax, cells.xy, cells.values(name), name, size)
    else:
        styles, values = cells.styles(name), cells.values(name)
        here = np.array([value in styles for value in values], dtype=bool)
        _scatter(ax, cells.xy[~here], UNLABELED, size * 0.7)
        _scatter_labels(ax, cells.xy[here], values[here], styles, size)
    ax.set_title(_TITLES.get(name, f"by {shorten(name, 30)}"), loc="left")
    ax.set(xticks=[], yticks=[], xlabel="UMAP 1", ylabel="UMAP 2")
    ax.set_box_aspect(1)
    ax.set_anchor("N")


def _scatter_numbers(ax: Axes, xy: Array, values: Array, name: str, size: float) -> None:
    """Cells by a number, with a color bar beneath; those without are gray and beneath the others."""
    known = np.isfinite(values)
    _scatter(ax, xy[~known], UNLABELED, size * 0.7)
    points = ax.scatter(
        xy[known, 0],
        xy[known, 1],
        c=values[known],
        cmap=SEQUENTIAL,
        s=size,
        linewidths=0,
        rasterized=True,
    )
    bar = ax.figure.colorbar(
        points, cax=ax.inset_axes((0.0, -0.15, 1.0, 0.035)), orientation="horizontal"
    )
    bar.set_label(shorten(name, 30) + ("" if known.all() else "; gray: no value"))
    bar.outline.set_visible(False)  # type: ignore[operator]
    bar.ax.locator_params(nbins=5)


def _scatter_labels(
    ax: Axes,
    xy: Array,
    labels: Array,
    styles: Mapping[str, tuple[str, str]],
    size: float,
) -> None:
    """One call for each marker, so that labels of a marker are mixed as they come."""
    markers = np.array([styles[label][1] for label in labels], dtype=object)
    for marker in dict.fromkeys(marker for _, marker in styles.values()):
        mine = markers == marker
        _scatter(ax, xy[mine], [styles[label][0] for label in labels[mine]], size, marker)


def _scatter(ax: Axes, xy: Array, color: Any, size: float, marker: str = "o") -> None:
    if len(xy):
        ax.scatter(
            xy[:, 0], xy[:, 1], c=color, s=size, marker=marker, linewidths=0, rasterized=True
        )


def _legend_entries(name: str, cells: _Cells, max_legend: int) -> list[_Entry]:
    if cells.is_numeric(name):
        return []
    if name == "modality":
        palette = modality_colors(cells.modalities)
        return [
            _Entry(f"{shorten(m, _LONGEST)} ({np.sum(cells.modality == m):,} cells)", palette[m])
            for m in cells.modalities
        ]
    styles, values = cells.styles(name), cells.values(name)
    named = _most_frequent(list(styles), values, max_legend)
    headings = _headings(name, [label for label in styles if label in named], cells)
    entries: list[_Entry] = []
    for label, (color, marker) in styles.items():
        if label in headings:
            entries.append(_Entry(headings[label]))
        if label in named:
            entries.append(_Entry(shorten(label, _LONGEST), color, marker))
    if len(named) < len(styles):
        entries.append(_Entry(f"and {len(styles) - len(named)} more"))
    if not set(values) <= set(styles):
        rest = {"label": "unlabeled", "shared": "all other cells", "exclusive": "all other cells"}
        entries.append(_Entry(rest.get(name, "no value"), UNLABELED))
    return entries


def _headings(name: str, labels: Sequence[str], cells: _Cells) -> dict[str, str]:
    """Say who has the labels that follow, before the first of them, where that is not the same for all."""
    if name in cells.columns:
        return {}
    first: dict[str, str] = {}
    for label in labels:
        first.setdefault(cells.status[label], label)
    if len(first) < 2 and name != "exclusive":
        return {}
    return {
        label: "shared" if where == "shared" else f"only in {shorten(where, _LONGEST - 8)}"
        for where, label in first.items()
    }


def _most_frequent(labels: Sequence[str], cell_labels: Array, n: int) -> set[str]:
    if len(labels) <= n:
        return set(labels)
    counts = {label: int(np.sum(cell_labels == label)) for label in labels}
    return set(sorted(labels, key=lambda label: -counts[label])[: max(n - 1, 1)])


def _legend_columns(entries: Sequence[_Entry]) -> int:
    """Columns that fit beneath a panel, no more than are needed."""
    widths = [0.3 + _LETTER * len(entry.text) for entry in entries]
    *others, last = widths or [0.0]  # the last line, a remark, may be longer than any label
    fitting = 1 + int((_SIDE - 0.1 - max([last, *others])) / max(others or [last]))
    return max(1, min(fitting, math.ceil(len(entries) / 3)))


def _legend_height(entries: Sequence[_Entry]) -> float:
    return _ROW * math.ceil(len(entries) / _legend_columns(entries))


def _draw_legend(ax: Axes, entries: Sequence[_Entry]) -> None:
    if not entries:
        return
    from matplotlib.lines import Line2D

    handles = [
        Line2D(
            [],
            [],
            linestyle="",
            marker=e.marker,
            markersize=4.5,
            color=e.color or "none",
            label=e.text,
        )
        for e in entries
    ]
    made = ax.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(-0.03, -0.08),
        borderaxespad=0.0,
        ncols=_legend_columns(entries),
        frameon=False,
        handletextpad=0.1,
        columnspacing=0.8,
        labelspacing=0.3,
    )
    for text, entry in zip(made.get_texts(), entries, strict=True):
        if entry.color is None:
            text.set_fontstyle("italic")
