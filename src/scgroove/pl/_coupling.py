"""Where the mass of a coupling goes, label by label."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import pandas as pd

from scgroove import _keys
from scgroove._figure import AxesLike, Plotted, finish, natural_order, panel_grid, shorten, style
from scgroove._labels import NO_LABEL_NAME, UnlabeledCategory
from scgroove._palette import SEQUENTIAL, UNLABELED
from scgroove.errors import InputError
from scgroove.pl._read import LabelKey, check_modalities, labels_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from mudata import MuData

Labeling: TypeAlias = "np.ndarray[Any, np.dtype[np.object_]]"
Masses: TypeAlias = "np.ndarray[Any, np.dtype[np.float64]]"

_NUMBERS_UP_TO = 12
_LABELS_UP_TO = 300
"""Labels of a side that are drawn by themselves: a pixel or two for each."""
_TITLE = 4.1  # inches that the lines above take


def coupling_label_mass(
    mdata: MuData,
    source: str,
    target: str,
    *,
    label_key: LabelKey = _keys.LABEL,
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

    For a coupling made without labels this is evidence: mass on the diagonal was put there by the
    representation alone. For a labeled coupling the diagonal is one by construction, and the figure says so.

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
        Key of the coupling in ``mdata.obsp``, if it is not the default one.
    unlabeled_category
        Label that stands for "no label".
    normalize
        ``"row"``: the share of each source label's mass; ``"none"``: the share of all mass.
    numbers
        Write the shares into the cells; by default where there are few labels.
    ax
        One axes; a new figure by default.
    show
        Show the figure. By default only in an interactive session, when it is neither saved nor returned.
    save
        File to write, such as ``"coupling.png"``.
    return_fig
        Return the figure instead of the axes.

    Returns
    -------
    The figure with ``return_fig``, nothing when it was shown, the list of axes otherwise.

    Raises
    ------
    ValueError
        If there is no such coupling, modality or label column, or no mass between labeled cells.
    """
    check_modalities(mdata, [source, target])
    mass = _label_mass(mdata, source, target, label_key, coupling_key, unlabeled_category)
    kept, left_out = _with_mass(mass, source, target)
    total = (
        kept.to_numpy().sum(axis=1, keepdims=True) if normalize == "row" else kept.to_numpy().sum()
    )
    share = kept / total
    key = coupling_key if coupling_key is not None else _keys.coupling(source, target)
    labeled = bool(dict(mdata.uns.get(key, {})).get("labeled", False))
    with style():
        fig, axes = panel_grid(1, ax, figsize=_size(share), ncols=1, what="the heatmap")
        _draw(axes[0], share, numbers, row=normalize == "row", top=1.0 if labeled else None)
        axes[0].set(xlabel=f"label in {target}", ylabel=f"label in {source}")
        axes[0].set_title(_title(source, target, labeled, left_out), loc="left")
        return finish(fig, axes, show=show, save=save, return_fig=return_fig)


def _label_mass(
    mdata: MuData,
    source: str,
    target: str,
    label_key: LabelKey,
    coupling_key: str | None,
    unlabeled_category: UnlabeledCategory,
) -> pd.DataFrame:
    """Mass between labels, both sides in the same order where they share labels."""
    from scgroove import get

    coupling = get.coupling(mdata, source, target, coupling_key)
    rows = labels_of(mdata, source, label_key, unlabeled_category)
    columns = labels_of(mdata, target, label_key, unlabeled_category)
    rows, columns, others = _largest(rows, columns, coupling.row_mass(), coupling.column_mass())
    mass = coupling.label_mass(rows, columns)
    last = {NO_LABEL_NAME, others}
    both = set(mass.index) & set(mass.columns)

    def order(names: pd.Index) -> list[str]:
        parts = [natural_order(both - last), natural_order(set(names) - both - last)]
        return [*parts[0], *parts[1], *(name for name in (others, NO_LABEL_NAME) if name in names)]

    return mass.loc[order(mass.index), order(mass.columns)]


def _largest(
    rows: Labeling, columns: Labeling, row_mass: Masses, column_mass: Masses
) -> tuple[Labeling, Labeling, str]:
    """Put the labels together that are too many to draw, those of least mass; return the labels and the name of the rest."""
    by_label = pd.Series(np.concatenate([row_mass, column_mass]), dtype=float).groupby(
        np.concatenate([rows, columns])
    )
    total = by_label.sum().sort_values(ascending=False, kind="stable")
    if len(total) <= _LABELS_UP_TO:
        return rows, columns, ""
    others = f"({len(total) - _LABELS_UP_TO:,} other labels)"
    own = {label: label for label in total.index[:_LABELS_UP_TO]}
    named = [
        np.array([la and own.get(la, others) for la in side], dtype=object)
        for side in (rows, columns)
    ]
    return named[0], named[1], others


def _with_mass(mass: pd.DataFrame, source: str, target: str) -> tuple[pd.DataFrame, list[str]]:
    """Leave out labels without mass; say how many."""
    rows, columns = mass.to_numpy().sum(axis=1) > 0, mass.to_numpy().sum(axis=0) > 0
    if not rows.any():
        raise InputError(
            f"The coupling {source} -> {target} has no mass between labeled cells. Are the labels "
            f"those it was made with? Make it again with "
            f"scgroove.tl.align(mdata, {source!r}, {target!r}, label_key=...)."
        )
    notes = [
        f"{int((~used).sum())} of {modality}"
        for used, modality in ((rows, source), (columns, target))
        if not used.all()
    ]
    return mass.loc[rows, columns], notes


def _size(share: pd.DataFrame) -> tuple[float, float]:
    names = max(len(shorten(str(name), 18)) for name in [*share.index, *share.columns]) * 0.065
    cell = 0.36 if max(share.shape) <= _NUMBERS_UP_TO else 0.2
    width, height = (float(np.clip(cell * n, 1.6, 7.5)) for n in share.shape[::-1])
    return max(width + 1.2, _TITLE) + names, height + names + 0.9


def _title(source: str, target: str, labeled: bool, left_out: Sequence[str]) -> str:
    lines = [f"coupling {source} → {target}"]
    if labeled:
        lines.append("made within labels: the diagonal is by construction")
    else:
        lines.append("made without labels")
    if left_out:
        lines.append(f"labels without mass are left out: {', '.join(left_out)}")
    return "\n".join(lines)


def _draw(
    ax: Axes, share: pd.DataFrame, numbers: bool | None, *, row: bool, top: float | None
) -> None:
    values = share.to_numpy(dtype=float)
    top = top if row and top is not None else float(values.max())
    image = ax.imshow(
        values,
        cmap=SEQUENTIAL,
        vmin=0,
        vmax=top,
        aspect="auto",
        interpolation="nearest",
    )
    _ticks(ax, share)
    few = max(values.shape) <= _NUMBERS_UP_TO
    if few if numbers is None else numbers:
        _write_numbers(ax, values, top)
    ax.spines[:].set_visible(False)
    bar = ax.figure.colorbar(image, ax=ax, shrink=0.8, aspect=25, pad=0.02)
    bar.set_label("share of the source label's mass" if row else "share of all mass")
    bar.outline.set_edgecolor(UNLABELED)  # type: ignore[operator]


def _ticks(ax: Axes, share: pd.DataFrame) -> None:
    """Name every label where there is room, and every second, third, ... where there is not."""
    for axis, names in ((ax.xaxis, share.columns), (ax.yaxis, share.index)):
        step = -(-len(names) // 60)
        places: list[int] = list(range(0, len(names), step))
        texts = [shorten(str(names[i]), 18) for i in places]
        size: Any = 7 if len(names) <= 30 else 5
        axis.set_ticks(places, texts, fontsize=size)
    ax.tick_params(axis="x", rotation=90)
    ax.tick_params(length=0)


def _write_numbers(ax: Axes, values: np.ndarray[Any, Any], top: float) -> None:
    for (i, j), value in np.ndenumerate(values):
        ax.text(
            j,
            i,
            f"{value:.2f}" if value >= 0.005 else "",
            ha="center",
            va="center",
            fontsize=6.5,
            color="black" if value > 0.55 * top else "white",
        )
