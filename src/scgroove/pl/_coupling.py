"""Mass of a coupling, label by label."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import pandas as pd

from scgroove import _keys
from scgroove._figure import (
    AxesLike,
    Plotted,
    finish,
    name_inches,
    name_ticks,
    natural_order,
    panel_grid,
    style,
)
from scgroove._labels import NO_LABEL_NAME, UnlabeledCategory
from scgroove._palette import SEQUENTIAL, UNLABELED
from scgroove.errors import InputError
from scgroove.pl._read import Array, labels_of_pair

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from mudata import MuData

    from scgroove.data.checks import PerModality

_NUMBERS_UP_TO: Final = 12
_LABELS_UP_TO: Final = 300
"""Labels of a side that are drawn one by one: a pixel or two for each."""
_TITLE: Final = 4.1
"""Inches that the title takes."""


def coupling_label_mass(
    mdata: MuData,
    source: str,
    target: str,
    *,
    label_key: PerModality = _keys.LABEL,
    coupling_key: str | None = None,
    unlabeled_category: UnlabeledCategory = None,
    normalize: Literal["row", "none"] = "row",
    numbers: bool | None = None,
    ax: AxesLike | None = None,
    show: bool | None = None,
    save: str | Path | None = None,
    return_fig: bool = False,
) -> Plotted:
    """Plot how much of the mass of each source label goes to each target label.

    For a coupling made without labels this is evidence: the representation alone put the mass on
    the diagonal. For a labeled coupling the diagonal is one by construction, and the title says so.
    Beyond 300 labels, those of most mass are drawn and the others put together.

    Parameters
    ----------
    mdata
        Modalities with a coupling source -> target, as :func:`scgroove.tl.align` writes it.
    source, target
        Modalities of the rows and of the columns.
    label_key
        Column of the labels in ``mod[m].obs``, or one for each modality.
    coupling_key
        Key of the coupling in ``mdata.obsp``. Default ``"coupling_<source>_<target>"``.
    unlabeled_category
        Label that stands for "no label".
    normalize
        ``"row"``: the share of each source label's mass. ``"none"``: the share of all mass.
    numbers
        Write the shares into the cells. By default where there are few labels.
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
        If there is no such coupling, modality or label column, or no mass between labeled cells.
    """
    from scgroove import get

    labels = labels_of_pair(mdata, source, target, label_key, unlabeled_category)
    coupling = get.coupling(mdata, source, target, coupling_key)
    mass = _label_mass(coupling, labels[source], labels[target])
    rows, columns = (mass.to_numpy().sum(axis=axis) > 0 for axis in (1, 0))
    if not rows.any():
        raise InputError(
            f"The coupling {source} -> {target} has no mass between labeled cells. Are the labels "
            f"those it was made with? Make it again with "
            f"scgroove.tl.align(mdata, {source!r}, {target!r}, label_key=...)."
        )
    share = mass.loc[rows, columns]
    values = share.to_numpy()
    share = share / (values.sum(axis=1, keepdims=True) if normalize == "row" else values.sum())
    labeled = bool(coupling.evidence.get("labeled", False))
    left_out = {source: int((~rows).sum()), target: int((~columns).sum())}
    with style():
        fig, axes = panel_grid(1, ax, figsize=_size(share), ncols=1, what="the heatmap")
        top = 1.0 if labeled and normalize == "row" else float(share.to_numpy().max())
        bar = _draw(axes[0], share, numbers, top)
        bar.set_label(
            "share of " + {"row": "the source label's", "none": "all"}[normalize] + " mass"
        )
        axes[0].set(xlabel=f"label in {target}", ylabel=f"label in {source}")
        axes[0].set_title(_title(source, target, labeled, left_out), loc="left")
        return finish(fig, axes, show=show, save=save, return_fig=return_fig)


def _label_mass(coupling: Any, rows: Array, columns: Array) -> pd.DataFrame:
    """Return the mass between labels, both sides in the same order where they share labels."""
    masses = np.concatenate([coupling.row_mass(), coupling.column_mass()])
    by_label = pd.Series(masses).groupby(np.concatenate([rows, columns])).sum()
    total = by_label.sort_values(ascending=False, kind="stable")
    others = f"({len(total) - _LABELS_UP_TO:,} other labels)"
    small = dict.fromkeys(total.index[_LABELS_UP_TO:], others)
    rows = np.array([small.get(label, label) for label in rows], dtype=object)
    columns = np.array([small.get(label, label) for label in columns], dtype=object)
    mass = coupling.label_mass(rows, columns)
    last = [others, NO_LABEL_NAME]
    both = set(mass.index) & set(mass.columns)

    def order(names: pd.Index) -> list[str]:
        shared, own = (natural_order(some - {*last}) for some in (both, set(names) - both))
        return [*shared, *own, *(name for name in last if name in names)]

    return mass.loc[order(mass.index), order(mass.columns)]


def _size(share: pd.DataFrame) -> tuple[float, float]:
    names = name_inches([*share.index, *share.columns], 18)
    cell = 0.36 if max(share.shape) <= _NUMBERS_UP_TO else 0.2
    height, width = np.clip(cell * np.array(share.shape), 1.6, 7.5).tolist()
    return max(width + 1.2, _TITLE) + names, height + names + 0.9


def _title(source: str, target: str, labeled: bool, left_out: dict[str, int]) -> str:
    title = f"coupling {source} → {target}\nmade "
    title += "within labels: the diagonal is by construction" if labeled else "without labels"
    counts = [f"{n} of {modality}" for modality, n in left_out.items() if n]
    return title + (f"\nlabels without mass are left out: {', '.join(counts)}" if counts else "")


def _draw(ax: Axes, share: pd.DataFrame, numbers: bool | None, top: float) -> Any:
    """Draw the heatmap, and return its color bar."""
    values = share.to_numpy(dtype=float)
    look: Any = {"aspect": "auto", "interpolation": "nearest"}
    image = ax.imshow(values, cmap=SEQUENTIAL, vmin=0, vmax=top, **look)
    for axis, names in ((ax.xaxis, share.columns), (ax.yaxis, share.index)):
        name_ticks(axis, list(names), 60, 18)
        axis.set_tick_params(labelsize=7 if len(names) <= 30 else 5)
    ax.tick_params(axis="x", rotation=90)
    ax.tick_params(length=0)
    if max(values.shape) <= _NUMBERS_UP_TO if numbers is None else numbers:
        center: Any = {"ha": "center", "va": "center", "fontsize": 6.5}
        for (i, j), value in np.ndenumerate(values):
            text = f"{value:.2f}" if value >= 0.005 else ""
            ax.text(j, i, text, color="black" if value > 0.55 * top else "white", **center)
    ax.spines[:].set_visible(False)
    bar = ax.figure.colorbar(image, ax=ax, shrink=0.8, aspect=25, pad=0.02)
    bar.outline.set_edgecolor(UNLABELED)  # type: ignore[operator]
    return bar
