"""How decided the match of each cell is, label by label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from scgroove import _keys
from scgroove._figure import AxesLike, Plotted, finish, natural_order, panel_grid, shorten, style
from scgroove._labels import NO_LABEL_NAME, UnlabeledCategory
from scgroove._palette import UNLABELED, label_styles
from scgroove.errors import InputError, did_you_mean
from scgroove.pl._coupling_matches import Side
from scgroove.pl._read import (
    LabelKey,
    check_modalities,
    label_colors,
    label_status,
    labels_of,
    listed,
    shared_first,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from mudata import MuData

_TITLES: Final = {
    "entropy": "entropy of the match of a cell (nats); gray: all candidates alike",
    "confidence": "confidence: 1 − entropy / that of an even match",
}
_QUANTILES: Final = (0.05, 0.25, 0.5, 0.75, 0.95)
_POINTS_UP_TO: Final = 10
"""Cells of a label that are drawn one by one: quantiles of so few say little."""
_LONGEST: Final = 26


@dataclass(frozen=True)
class _Row:
    """A label: what its cells with mass have, and the most that they could have."""

    label: str
    values: np.ndarray[Any, Any]
    most: float


def coupling_entropy(
    mdata: MuData,
    source: str,
    target: str,
    *,
    measure: Literal["entropy", "confidence"] = "entropy",
    side: Side = "source",
    labels: Sequence[str] | None = None,
    label_key: LabelKey = _keys.LABEL,
    coupling_key: str | None = None,
    unlabeled_category: UnlabeledCategory = None,
    colors: Mapping[str, str] | None = None,
    ax: AxesLike | None = None,
    show: bool | None = None,
    save: str | Path | None = None,
    return_fig: bool = False,
) -> Plotted:
    """Plot how decided the matches of cells are: the distribution over the cells of each label.

    The entropy of a match is 0 if all mass of a cell goes to one partner, and log m if it is spread evenly over m candidates; the upper
    axis shows its exponential, the effective number of partners, and a gray tick in each row where all candidates are alike. Dot: the
    median; bar: the middle half; line: 5 to 95 %; labels of few cells show every cell. A sharp coupling need not be right: a smaller
    eps makes every cell more decided.

    Parameters
    ----------
    mdata
        Modalities with a coupling source -> target, as :func:`scgroove.tl.align` writes it.
    source, target
        Modalities, in the direction of the coupling.
    measure
        ``"entropy"``, or ``"confidence"``: one minus the share of the largest possible entropy, which is the same scale for labels
        with few and with many candidates. See :class:`scgroove.aligners.Coupling`.
    side
        ``"source"``: of source cells over target cells; ``"target"``: of target cells over source cells.
    labels
        Labels to show, in this order; by default all.
    label_key
        Column of the labels in ``mod[m].obs``, or one for each modality.
    coupling_key
        Key of the coupling in ``mdata.obsp``, if it is not the default one.
    unlabeled_category
        Label that stands for "no label".
    colors
        Colors of some labels; by default those in ``mod[m].uns["<label>_colors"]`` where there are any.
    ax
        One axes; a new figure by default.
    show
        Show the figure. By default only in an interactive session, when it is neither saved nor returned.
    save
        File to write, such as ``"entropy.png"``.
    return_fig
        Return the figure instead of the axes.

    Returns
    -------
    The figure with ``return_fig``, nothing when it was shown, the list of axes otherwise.

    Raises
    ------
    ValueError
        If there is no such coupling, modality, label, measure or side, or no cell has mass.

    See Also
    --------
    scgroove.pl.coupling_top_matches, scgroove.pl.epsilon_scan

    Examples
    --------
    >>> scgroove.pl.coupling_entropy(
    ...     mdata, "rna", "protein", measure="confidence"
    ... )  # doctest: +SKIP
    """
    check_modalities(mdata, [source, target])
    from scgroove import get

    own, other = (source, target) if side == "source" else (target, source)
    coupling = get.coupling(mdata, source, target, coupling_key)
    values = coupling.entropy(side) if measure == "entropy" else coupling.confidence(side)
    most = _log_candidates(coupling, side) if measure == "entropy" else np.ones(len(values))
    of_cells = {m: labels_of(mdata, m, label_key, unlabeled_category) for m in (source, target)}
    rows = _rows(values, most, of_cells[own], labels, own)
    known = label_colors(mdata, (source, target), label_key, colors)
    with style():
        fig, axes = panel_grid(1, ax, figsize=_size(rows), ncols=1, what="the labels")
        _draw(axes[0], rows, label_styles(shared_first(label_status(of_cells)), known), measure)
        axes[0].set_title(_title(own, other, int(np.isnan(values).sum()), len(values)), loc="left")
        return finish(fig, axes, show=show, save=save, return_fig=return_fig)


def _log_candidates(coupling: Any, side: Side) -> np.ndarray[Any, Any]:
    """Entropy that the match of each cell would have if all its candidates were alike."""
    most = np.full(coupling.shape[0 if side == "source" else 1], np.nan)
    for block in coupling.blocks:
        own, other = (
            (block.rows, block.columns) if side == "source" else (block.columns, block.rows)
        )
        most[own] = np.log(max(other.size, 1))
    return most


def _rows(
    values: np.ndarray[Any, Any],
    most: np.ndarray[Any, Any],
    of_cells: np.ndarray[Any, Any],
    asked: Sequence[str] | None,
    modality: str,
) -> list[_Row]:
    """Cells with mass by label, those without a label last."""
    groups = np.array(
        [NO_LABEL_NAME if label is None else label for label in of_cells], dtype=object
    )
    known = natural_order(la for la in of_cells if la is not None)
    for label in asked or ():
        if label not in known:
            raise InputError(
                f"There is no label {label!r} among the cells of {modality!r}; they have {listed(known)}."
                f"{did_you_mean(label, known)}"
            )
    names = list(asked) if asked is not None else [*known, NO_LABEL_NAME]
    masks = {name: (groups == name) & ~np.isnan(values) for name in names}
    rows = [
        _Row(name, values[mine], float(most[mine].max()))
        for name, mine in masks.items()
        if mine.any()
    ]
    if not rows:
        raise InputError(
            f"No cell of {modality!r} with these labels has mass in the coupling: labels of one modality have no candidates. "
            f"Make it with scgroove.tl.align(..., labeled=False) to match them too."
        )
    return rows


def _size(rows: Sequence[_Row]) -> tuple[float, float]:
    names = max(len(shorten(row.label, _LONGEST)) for row in rows) + 7
    return 0.062 * names + 3.6, float(np.clip(0.19 * len(rows), 0.8, 14)) + 1.4


def _title(own: str, other: str, without: int, n: int) -> str:
    title = f"matches of {own} cells in {other}"
    return (
        title
        if not without
        else f"{title}\n{without:,} of {n:,} cells have no mass and are left out"
    )


def _draw(
    ax: Axes, rows: Sequence[_Row], styles: Mapping[str, tuple[str, str]], measure: str
) -> None:
    for y, row in enumerate(rows):
        color, _ = styles.get(row.label, (UNLABELED, ""))
        _distribution(ax, y, row.values, color)
    ax.set_yticks(
        range(len(rows)), [f"{shorten(row.label, _LONGEST)} ({row.values.size:,})" for row in rows]
    )
    ax.set_ylim(len(rows) - 0.4, -0.6)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.set_xlabel(_TITLES[measure])
    ax.grid(axis="x", color="#E3E6EA", linewidth=0.6)
    ax.set_axisbelow(True)
    if measure == "confidence":
        ax.set_xlim(-0.02, 1.02)
        return
    most = [row.most for row in rows]
    ax.plot(most, range(len(rows)), "|", color="#8A929B", markersize=8, markeredgewidth=1.2)
    ax.set_xlim(-0.03 * max(most), 1.04 * max(*most, 0.1))
    _partners_axis(ax, max(most))


def _distribution(ax: Axes, y: float, values: np.ndarray[Any, Any], color: str) -> None:
    """The cells of a label: one by one where they are few, else their median, middle half and 5 to 95 %."""
    if values.size < _POINTS_UP_TO:
        ax.plot(values, np.full(values.size, y), "o", color=color, markersize=3.5, alpha=0.7)
        return
    low, first, median, third, high = np.quantile(values, _QUANTILES)
    ax.plot([low, high], [y, y], color=color, linewidth=1, solid_capstyle="butt")
    ax.plot([first, third], [y, y], color=color, linewidth=5, solid_capstyle="butt")
    ax.plot(
        [median],
        [y],
        "o",
        color="white",
        markeredgecolor="#222222",
        markeredgewidth=0.7,
        markersize=4,
    )


def _partners_axis(ax: Axes, most: float) -> None:
    """Write effective numbers of partners above, where entropies are below."""
    above = ax.secondary_xaxis("top")
    places = [
        m for k in range(8) for m in (10**k, 2 * 10**k, 5 * 10**k) if np.log(m) <= most + 1e-9
    ]
    above.set_xticks(np.log(places), [f"{m:,}" for m in places])
    above.set_xlabel("effective number of partners")
    above.spines["top"].set_visible(True)
