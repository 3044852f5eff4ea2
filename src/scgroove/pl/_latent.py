"""The shared latent space in two dimensions, by modality, label and columns of the cells."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
    natural_order,
    panel_grid,
    shorten,
    style,
)
from scgroove._labels import UnlabeledCategory
from scgroove._palette import SEQUENTIAL, UNLABELED, label_styles, modality_colors
from scgroove.errors import UnknownNameError, did_you_mean, listed
from scgroove.pl._read import (
    Array,
    check_modalities,
    column_of,
    label_colors,
    label_status,
    labels_of_modalities,
    shared_first,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from mudata import MuData

    from scgroove.data.checks import PerModality

_TITLES: Final = {
    "modality": "by modality",
    "label": "by label",
    "shared": "shared labels",
    "exclusive": "labels of one modality only",
}
_REST: Final = {
    "label": "unlabeled",
    "shared": "all other cells",
    "exclusive": "all other cells",
}
"""Names of the gray cells of a panel."""
_SIDE: Final = 2.9
_ROW, _LETTER = 0.145, 0.058  # inches that a line and a letter of a legend take
_BAR: Final = 0.55
"""Inches that a color bar and its numbers take."""
_LONGEST: Final = 18

Styles = dict[str, tuple[str, str]]
"""Color and marker of each value."""


@dataclass(frozen=True)
class _Panel:
    """Values of all cells, in drawing order, and how they look.

    Numbers have no styles. ``headings`` holds the line above some values in the legend.
    """

    name: str
    values: Array
    styles: Styles
    headings: Mapping[str, str]

    @property
    def is_numeric(self) -> bool:
        """Whether the values are numbers."""
        return bool(self.values.dtype.kind == "f")


def latent(
    mdata: MuData,
    label_key: PerModality = _keys.LABEL,
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
    """Plot the joint UMAP of all modalities, by modality, label and any column of the cells.

    A good alignment mixes the modalities and keeps labels apart. Cells are drawn in random order,
    so that no modality hides another. Cells without a label are light gray, beneath the others.
    Labels of one modality get a panel of their own, because nothing says where the cells of the
    other modality would lie.

    Parameters
    ----------
    mdata
        Modalities with a UMAP, as :func:`scgroove.tl.umap` writes it.
    label_key
        Column of the labels in every ``mod[m].obs``, or one for each modality.
    modalities
        Modalities to draw. By default all that have the UMAP.
    use_rep
        The representation whose UMAP is drawn (``mod[m].obsm[f"{use_rep}_umap"]``).
    unlabeled_category
        Label that stands for "no label".
    panels
        ``"modality"``, ``"label"``, ``"shared"`` (labels of two modalities or more),
        ``"exclusive"`` (labels of one), and columns of ``mod[m].obs``: numbers with a color bar,
        text with a legend. Cells of modalities without the column are gray. By default the modality
        and the label, or the modality, the shared and the exclusive labels.
    colors
        Colors of some labels. By default those in ``mod[m].uns["<label>_colors"]``.
    max_legend
        Labels named in a legend: those with most cells.
    point_size
        Area of a point in square points. By default it follows from the number of cells.
    seed
        Seed of the drawing order.
    ax
        One axes for each panel. A new figure by default.
    show
        Show the figure. By default only in an interactive session, if it is neither saved nor
        returned.
    save
        File to write, such as ``"latent.png"``.
    return_fig
        Return the figure instead of the axes.

    Returns
    -------
    The figure with ``return_fig``, None if it was shown, the list of axes otherwise.

    Raises
    ------
    ValueError
        If there is no UMAP (the message holds the call that makes it), no such modality, label,
        panel or column.

    Examples
    --------
    >>> scgroove.pl.latent(mdata, panels=["modality", "label", "efficacy"])  # doctest: +SKIP
    """
    chosen = _chosen(mdata, modalities, use_rep)
    labels = labels_of_modalities(mdata, chosen, label_key, unlabeled_category)
    status = label_status(labels)
    if panels is None:
        has_both = 0 < sum(where == "shared" for where in status.values()) < len(status)
        panels = ["modality", "shared", "exclusive"] if has_both else ["modality", "label"]
    _check_panels(mdata, panels, chosen)
    key = _keys.umap(use_rep)
    xy = np.concatenate([np.asarray(mdata.mod[m].obsm[key], float)[:, :2] for m in chosen])
    order = np.random.default_rng(seed).permutation(len(xy))
    known = label_colors(mdata, chosen, label_key, colors)
    shown = []
    for name in panels:
        if name == "modality":
            values = np.repeat(np.array(chosen, object), [mdata.mod[m].n_obs for m in chosen])
            styles = {str(m): (color, "o") for m, color in modality_colors(chosen).items()}
        elif name in _TITLES:
            values = np.concatenate(list(labels.values()))
            styles = label_styles(_labels_of(name, status), known)
        else:
            values = column_of(mdata, chosen, name)
            names = [] if values.dtype.kind == "f" else natural_order(set(values) - {None})
            styles = label_styles(names, label_colors(mdata, chosen, name))
        shown.append(_Panel(name, values[order], styles, _headings(name, styles, status)))
    legends = [_legend_entries(panel, max_legend) for panel in shown]
    below = [
        _BAR if panel.is_numeric else _ROW * math.ceil(len(entries) / _legend_columns(entries))
        for panel, entries in zip(shown, legends, strict=True)
    ]
    size = point_size or float(np.clip(30_000 / len(xy), 1.5, 16))
    n = len(shown)
    with style():
        inches = (_SIDE * n, _SIDE + 0.75 + max(below))
        fig, axes = panel_grid(n, ax, figsize=inches, ncols=n, what=", ".join(panels))
        for axis, panel, entries in zip(axes, shown, legends, strict=True):
            _draw(axis, panel, xy[order], size)
            _draw_legend(axis, entries)
        return finish(fig, axes, show=show, save=save, return_fig=return_fig)


def _chosen(mdata: MuData, modalities: Sequence[str] | None, use_rep: str) -> tuple[str, ...]:
    """Return the modalities to draw, all of which have the UMAP."""
    key = _keys.umap(use_rep)
    if modalities is None:
        modalities = [m for m in mdata.mod if key in mdata.mod[m].obsm] or list(mdata.mod)
    check_modalities(mdata, *modalities)
    for modality in modalities:
        obsm = mdata.mod[modality].obsm
        if key not in obsm:
            first = ""
            if use_rep not in obsm:
                first = f"scgroove.tl.embed(mdata, model, key_added={use_rep!r}), and then "
            raise UnknownNameError(
                "representation",
                key,
                obsm,
                f"mod[{modality!r}].obsm has no {key!r}; it has {listed(obsm)}. "
                f"Make it with {first}scgroove.tl.umap(mdata, use_rep={use_rep!r}).",
            )
    return tuple(modalities)


def _check_panels(mdata: MuData, panels: Sequence[str], modalities: Sequence[str]) -> None:
    columns = [str(name) for m in modalities for name in mdata.mod[m].obs.columns]
    known = list(dict.fromkeys(columns))
    for name in panels:
        if name not in (*_TITLES, *known):
            choices = [*_TITLES, *known]
            raise UnknownNameError(
                "panel",
                name,
                choices,
                f"There is no panel {name!r}: choose among {listed(_TITLES)}, or name a column of "
                f"mod[...].obs: {listed(known)}.{did_you_mean(name, choices)}",
            )


def _labels_of(panel: str, status: Mapping[str, str]) -> list[str]:
    """Return the labels that a panel tells apart, shared ones first."""
    labels = shared_first(status)
    if panel == "label":
        return labels
    return [la for la in labels if (status[la] == "shared") == (panel == "shared")]


def _headings(panel: str, styles: Styles, status: Mapping[str, str]) -> dict[str, str]:
    """Return the modality of the labels, at the first of each group, where groups differ."""
    if panel not in _REST:
        return {}
    first: dict[str, str] = {}
    for label in styles:
        first.setdefault(status[label], label)
    if len(first) < 2 and panel != "exclusive":
        return {}
    return {
        label: "shared" if where == "shared" else f"only in {shorten(where, _LONGEST - 8)}"
        for where, label in first.items()
    }


def _draw(ax: Axes, panel: _Panel, xy: Array, size: float) -> None:
    """Draw gray cells beneath, then the others: one call a marker, so that labels mix."""
    known = (
        np.isfinite(panel.values)
        if panel.is_numeric
        else pd.Series(panel.values).isin(panel.styles)
    )
    known = np.asarray(known)
    if not known.all():
        _scatter(ax, xy[~known], UNLABELED, size * 0.7)
    title = shorten(panel.name, 30)
    if panel.is_numeric:
        points = _scatter(ax, xy[known], panel.values[known], size, cmap=SEQUENTIAL)
        place = ax.inset_axes((0.0, -0.15, 1.0, 0.035))
        bar = ax.figure.colorbar(points, cax=place, orientation="horizontal")
        bar.set_label(title + ("" if known.all() else "; gray: no value"))
        bar.outline.set_visible(False)  # type: ignore[operator]
        bar.ax.locator_params(nbins=5)
    looks = np.array([panel.styles.get(value, ("", "")) for value in panel.values], dtype=object)
    for marker in dict.fromkeys(marker for _, marker in panel.styles.values()):
        mine = looks[:, 1] == marker
        if mine.any():
            _scatter(ax, xy[mine], list(looks[mine, 0]), size, marker=marker)
    ax.set_title(_TITLES.get(panel.name, f"by {title}"), loc="left")
    ax.set(xticks=[], yticks=[], xlabel="UMAP 1", ylabel="UMAP 2")
    ax.set_box_aspect(1)
    ax.set_anchor("N")


def _scatter(ax: Axes, xy: Array, color: Any, size: float, **options: Any) -> Any:
    return ax.scatter(xy[:, 0], xy[:, 1], c=color, s=size, linewidths=0, rasterized=True, **options)


def _legend_entries(panel: _Panel, max_legend: int) -> list[Any]:
    """Return the dots of a legend, with headings and remarks without a dot."""
    if panel.is_numeric:
        return []
    counts = pd.Series(panel.values, dtype=object).value_counts()
    named = list(panel.styles)
    if len(named) > max_legend:
        named.sort(key=lambda value: -counts.get(value, 0))
        named = named[: max(max_legend - 1, 1)]
    entries: list[Any] = []
    pending = ""
    for value, (color, marker) in panel.styles.items():
        pending = panel.headings.get(value, pending)
        if value not in named:
            continue
        if pending:
            entries += dots((pending, "none"))
        pending = ""
        text = shorten(value, _LONGEST)
        if panel.name == "modality":
            text += f" ({counts.get(value, 0):,} cells)"
        entries += dots((text, color), marker=marker)
    if len(named) < len(panel.styles):
        entries += dots((f"and {len(panel.styles) - len(named)} more", "none"))
    if not set(panel.values) <= set(panel.styles):
        entries += dots((_REST.get(panel.name, "no value"), UNLABELED))
    return entries


def _legend_columns(entries: Sequence[Any]) -> int:
    """Return the columns that fit beneath a panel, no more than are needed."""
    widths = [0.3 + _LETTER * len(entry.get_label()) for entry in entries] or [0.0]
    *others, last = widths  # the last line, a remark, may be longer than any label
    fitting = 1 + int((_SIDE - 0.1 - max(widths)) / max(others or [last]))
    return max(1, min(fitting, math.ceil(len(entries) / 3)))


def _draw_legend(ax: Axes, entries: Sequence[Any]) -> None:
    if not entries:
        return
    place: Any = {"loc": "upper left", "bbox_to_anchor": (-0.03, -0.08), "borderaxespad": 0.0}
    spacing: Any = {"handletextpad": 0.1, "columnspacing": 0.8, "labelspacing": 0.3}
    columns = _legend_columns(entries)
    legend = ax.legend(handles=entries, ncols=columns, frameon=False, **place, **spacing)
    for text, entry in zip(legend.get_texts(), entries, strict=True):
        if entry.get_color() == "none":
            text.set_fontstyle("italic")
