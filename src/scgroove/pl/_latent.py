"""The shared latent space in two dimensions, by modality and by label."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scgroove import _keys
from scgroove.pl._figure import AxesLike, Plotted, finish, panel_grid, shorten, style
from scgroove.pl._palette import UNLABELLED, label_styles, modality_colors
from scgroove.pl._read import LabelKey, check_modalities, label_status, labels_of, listed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from mudata import MuData

_PANELS = ("modality", "label", "shared", "exclusive")
_SIDE = 2.9
_ROW, _LETTER = 0.145, 0.058  # inches that a line and a letter of a legend take
_LONGEST = 19


@dataclass(frozen=True)
class _Cells:
    """All cells that are drawn, in drawing order."""

    xy: np.ndarray[Any, Any]
    modality: np.ndarray[Any, Any]
    label: np.ndarray[Any, Any]
    modalities: tuple[str, ...]
    status: dict[str, str]


@dataclass(frozen=True)
class _Entry:
    """A line of a legend; a heading where it has no colour."""

    text: str
    color: str | None = None
    marker: str = "o"


def latent(
    mdata: MuData,
    label_key: LabelKey = _keys.LABEL,
    *,
    modalities: Sequence[str] | None = None,
    use_rep: str = _keys.LATENT,
    unlabeled_category: str | None = None,
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
    """Plot the joint UMAP of all modalities, by modality and by label side by side.

    Reads what :func:`scgroove.tl.umap` wrote. A good alignment mixes the modalities (left) and keeps labels
    apart (right). Cells are drawn in random order, so that no modality hides another, and cells without a
    label are light grey, beneath the others. Labels that only one modality has get a panel of their own,
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
        What to draw, among ``"modality"``, ``"label"``, ``"shared"`` (labels of two modalities or more) and
        ``"exclusive"`` (labels of one). By default the modality and the label, or the modality, the shared
        and the exclusive labels where there are exclusive ones.
    colors
        Colours of some labels.
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
        If there is no UMAP (the message holds the call that makes it), no such modality, label or panel.
    """
    cells = _gather(mdata, label_key, modalities, use_rep, unlabeled_category, seed)
    names = _panels(panels, cells.status)
    legends = {name: _legend_entries(name, cells, colors, max_legend) for name in names}
    height = _SIDE + 0.75 + max(_legend_height(entries) for entries in legends.values())
    with style():
        fig, axes = panel_grid(
            len(names), ax, figsize=(_SIDE * len(names), height), ncols=len(names), what=", ".join(names)
        )
        size = point_size if point_size is not None else float(np.clip(30_000 / len(cells.xy), 1.5, 16))
        for panel, name in zip(axes, names, strict=True):
            _draw(panel, name, cells, colors, size)
            _draw_legend(panel, legends[name])
        return finish(fig, axes, show=show, save=save, return_fig=return_fig)


def _gather(
    mdata: MuData,
    label_key: LabelKey,
    modalities: Sequence[str] | None,
    use_rep: str,
    unlabeled_category: str | None,
    seed: int,
) -> _Cells:
    key = _keys.umap(use_rep)
    with_umap = [m for m in mdata.mod if key in mdata.mod[m].obsm]
    chosen = tuple(modalities) if modalities is not None else tuple(with_umap)
    check_modalities(mdata, chosen)
    _check_umap(mdata, chosen or tuple(mdata.mod), key, use_rep)
    labels = {m: labels_of(mdata, m, label_key, unlabeled_category) for m in chosen}
    xy = np.concatenate([np.asarray(mdata.mod[m].obsm[key], dtype=float)[:, :2] for m in chosen])
    modality = np.concatenate([np.full(mdata.mod[m].n_obs, m, dtype=object) for m in chosen])
    order = np.random.default_rng(seed).permutation(len(xy))
    label = np.concatenate([labels[m] for m in chosen])
    return _Cells(xy[order], modality[order], label[order], chosen, label_status(labels))


def _check_umap(mdata: MuData, modalities: Sequence[str], key: str, use_rep: str) -> None:
    for modality in modalities:
        obsm = mdata.mod[modality].obsm
        if key in obsm:
            continue
        first = (
            "" if use_rep in obsm else f"scgroove.tl.embed(mdata, model, key_added={use_rep!r}), and then "
        )
        raise ValueError(
            f"mod[{modality!r}].obsm has no {key!r}; it has {listed(obsm)}. "
            f"Make it with {first}scgroove.tl.umap(mdata, use_rep={use_rep!r})."
        )


def _panels(panels: Sequence[str] | None, status: Mapping[str, str]) -> list[str]:
    if panels is None:
        kinds = {"shared" if where == "shared" else "exclusive" for where in status.values()}
        return ["modality", "shared", "exclusive"] if len(kinds) == 2 else ["modality", "label"]
    for name in panels:
        if name not in _PANELS:
            raise ValueError(f"There is no panel {name!r}: choose among {listed(_PANELS)}.")
    return list(panels)


def _panel_labels(name: str, status: Mapping[str, str]) -> list[str]:
    """Labels that a panel is about, shared ones first, exclusive ones by modality."""
    shared = [label for label, where in status.items() if where == "shared"]
    exclusive = sorted((la for la in status if status[la] != "shared"), key=lambda la: status[la])
    return {"shared": shared, "exclusive": exclusive, "label": [*shared, *exclusive]}[name]


def _draw(ax: Axes, name: str, cells: _Cells, colors: Mapping[str, str] | None, size: float) -> None:
    if name == "modality":
        palette = modality_colors(cells.modalities)
        _scatter(ax, cells.xy, [palette[m] for m in cells.modality], size)
        ax.set_title("by modality", loc="left")
    else:
        styles = label_styles(_panel_labels(name, cells.status), colors)
        here = np.array([label in styles for label in cells.label], dtype=bool)
        _scatter(ax, cells.xy[~here], UNLABELLED, size * 0.7)
        _scatter_labels(ax, cells.xy[here], cells.label[here], styles, size)
        titles = {"label": "by label", "shared": "shared labels", "exclusive": "labels of one modality only"}
        ax.set_title(titles[name], loc="left")
    ax.set(xticks=[], yticks=[], xlabel="UMAP 1", ylabel="UMAP 2")
    ax.set_box_aspect(1)
    ax.set_anchor("N")


def _scatter_labels(
    ax: Axes,
    xy: np.ndarray[Any, Any],
    labels: np.ndarray[Any, Any],
    styles: Mapping[str, tuple[str, str]],
    size: float,
) -> None:
    """One call for each marker, so that labels of a marker are mixed as they come."""
    markers = np.array([styles[label][1] for label in labels], dtype=object)
    for marker in dict.fromkeys(marker for _, marker in styles.values()):
        mine = markers == marker
        _scatter(ax, xy[mine], [styles[label][0] for label in labels[mine]], size, marker)


def _scatter(ax: Axes, xy: np.ndarray[Any, Any], color: Any, size: float, marker: str = "o") -> None:
    if len(xy):
        ax.scatter(xy[:, 0], xy[:, 1], c=color, s=size, marker=marker, linewidths=0, rasterized=True)


def _legend_entries(
    name: str, cells: _Cells, colors: Mapping[str, str] | None, max_legend: int
) -> list[_Entry]:
    if name == "modality":
        palette = modality_colors(cells.modalities)
        return [
            _Entry(f"{shorten(m, _LONGEST)} ({np.sum(cells.modality == m):,} cells)", palette[m])
            for m in cells.modalities
        ]
    labels = _panel_labels(name, cells.status)
    named = _most_frequent(labels, cells.label, max_legend)
    entries: list[_Entry] = []
    heading = ""
    several = len({cells.status[label] for label in labels}) > 1 or name == "exclusive"
    for label, (color, marker) in label_styles(labels, colors).items():
        where = cells.status[label]
        title = "shared" if where == "shared" else f"only in {shorten(where, _LONGEST - 8)}"
        if label in named and title != heading and several:
            heading = title
            entries.append(_Entry(title))
        if label in named:
            entries.append(_Entry(shorten(label, _LONGEST), color, marker))
    if len(named) < len(labels):
        entries.append(_Entry(f"and {len(labels) - len(named)} more"))
    if not set(cells.label) <= set(labels):
        entries.append(_Entry("unlabelled" if name == "label" else "all other cells", UNLABELLED))
    return entries


def _most_frequent(labels: Sequence[str], cell_labels: np.ndarray[Any, Any], n: int) -> set[str]:
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
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], linestyle="", marker=e.marker, markersize=4.5, color=e.color or "none", label=e.text)
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
