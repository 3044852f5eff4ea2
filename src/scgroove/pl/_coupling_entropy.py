"""Entropy of the match of each cell, label by label."""

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
from scgroove.errors import InputError
from scgroove.pl._coupling_matches import Side
from scgroove.pl._read import (
    Array,
    check_known,
    label_colors,
    label_status,
    labels_of_pair,
    shared_first,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from mudata import MuData

    from scgroove.data.checks import PerModality

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
    """A label, the values of its cells with mass, and the largest possible value."""

    label: str
    values: Array
    most: float


def coupling_entropy(
    mdata: MuData,
    source: str,
    target: str,
    *,
    measure: Literal["entropy", "confidence"] = "entropy",
    side: Side = "source",
    labels: Sequence[str] | None = None,
    label_key: PerModality = _keys.LABEL,
    coupling_key: str | None = None,
    unlabeled_category: UnlabeledCategory = None,
    colors: Mapping[str, str] | None = None,
    ax: AxesLike | None = None,
    show: bool | None = None,
    save: str | Path | None = None,
    return_fig: bool = False,
) -> Plotted:
    """Plot how decided the matches of cells are: the distribution over the cells of each label.

    The entropy of a match is 0 if all mass of a cell goes to one partner, and log m if it is spread
    evenly over m candidates. The upper axis shows its exponential, the effective number of
    partners, and a gray tick in each row the value of an even match. Dot: the median. Bar: the
    middle half. Line: 5 to 95 %. Labels of few cells show every cell. A sharp coupling need not be
    right: a smaller eps makes every cell more decided.

    Parameters
    ----------
    mdata
        Modalities with a coupling source -> target, as :func:`scgroove.tl.align` writes it.
    source, target
        Modalities, in the direction of the coupling.
    measure
        ``"entropy"``, or ``"confidence"``: one minus the share of the largest possible entropy.
        See :class:`scgroove.aligners.Coupling`.
    side
        ``"source"``: source cells over target cells. ``"target"``: the reverse.
    labels
        Labels to show, in this order. By default all.
    label_key
        Column of the labels in ``mod[m].obs``, or one for each modality.
    coupling_key
        Key of the coupling in ``mdata.obsp``. Default ``"coupling_<source>_<target>"``.
    unlabeled_category
        Label that stands for "no label".
    colors
        Colors of some labels. By default those in ``mod[m].uns["<label>_colors"]``.
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
        If there is no such coupling, modality, label, measure or side, or no cell has mass.

    See Also
    --------
    scgroove.pl.coupling_top_matches, scgroove.pl.epsilon_scan

    Examples
    --------
    >>> scgroove.pl.coupling_entropy(mdata, "rna", "protein")  # doctest: +SKIP
    """
    from scgroove import get

    of_cells = labels_of_pair(mdata, source, target, label_key, unlabeled_category)
    own, other = (source, target) if side == "source" else (target, source)
    coupling = get.coupling(mdata, source, target, coupling_key)
    values = coupling.entropy(side) if measure == "entropy" else coupling.confidence(side)
    most = _log_candidates(coupling, side) if measure == "entropy" else np.ones(len(values))
    rows = _rows(values, most, of_cells[own], labels, own)
    known = label_colors(mdata, (source, target), label_key, colors)
    names = max(len(shorten(row.label, _LONGEST)) for row in rows) + 7
    size = (0.062 * names + 3.6, float(np.clip(0.19 * len(rows), 0.8, 14)) + 1.4)
    title = f"matches of {own} cells in {other}"
    if without := int(np.isnan(values).sum()):
        title += f"\n{without:,} of {len(values):,} cells have no mass and are left out"
    with style():
        fig, axes = panel_grid(1, ax, figsize=size, ncols=1, what="the labels")
        _draw(axes[0], rows, label_styles(shared_first(label_status(of_cells)), known), measure)
        axes[0].set_title(title, loc="left")
        return finish(fig, axes, show=show, save=save, return_fig=return_fig)


def _log_candidates(coupling: Any, side: Side) -> Array:
    """Return the entropy of an even match over all candidates of each cell."""
    most = np.full(coupling.shape[0 if side == "source" else 1], np.nan)
    for block in coupling.blocks:
        own, other = (block.rows, block.columns)
        if side == "target":
            own, other = other, own
        most[own] = np.log(max(other.size, 1))
    return most


def _rows(
    values: Array, most: Array, of_cells: Array, asked: Sequence[str] | None, modality: str
) -> list[_Row]:
    """Group cells with mass by label, those without a label last."""
    known = natural_order(set(of_cells) - {None})
    names = [*known, NO_LABEL_NAME] if asked is None else check_known("label", asked, known)
    rows = []
    for name in names:
        mine = (of_cells == (None if name == NO_LABEL_NAME else name)) & ~np.isnan(values)
        if mine.any():
            rows.append(_Row(name, values[mine], float(most[mine].max())))
    if not rows:
        raise InputError(
            f"No cell of {modality!r} with these labels has mass in the coupling: labels of one "
            "modality have no candidates. Make it with scgroove.tl.align(..., labeled=False) to "
            "match them too."
        )
    return rows


def _draw(
    ax: Axes, rows: Sequence[_Row], styles: Mapping[str, tuple[str, str]], measure: str
) -> None:
    for y, row in enumerate(rows):
        _distribution(ax, y, row.values, styles.get(row.label, (UNLABELED, ""))[0])
    texts = [f"{shorten(row.label, _LONGEST)} ({row.values.size:,})" for row in rows]
    ax.set_yticks(range(len(rows)), texts)
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
    above = ax.secondary_xaxis("top")
    steps = np.outer(10.0 ** np.arange(8), [1, 2, 5]).ravel()
    steps = steps[np.log(steps) <= max(most) + 1e-9]
    above.set_xticks(np.log(steps), [f"{m:,.0f}" for m in steps])
    above.set_xlabel("effective number of partners")
    above.spines["top"].set_visible(True)


def _distribution(ax: Axes, y: float, values: Array, color: str) -> None:
    """Draw the cells of a label one by one if they are few, else their quantiles."""
    if values.size < _POINTS_UP_TO:
        ax.plot(values, np.full(values.size, y), "o", color=color, markersize=3.5, alpha=0.7)
        return
    low, first, median, third, high = np.quantile(values, _QUANTILES)
    ax.plot([low, high], [y, y], color=color, linewidth=1, solid_capstyle="butt")
    ax.plot([first, third], [y, y], color=color, linewidth=5, solid_capstyle="butt")
    edge: Any = {"markeredgecolor": "#222222", "markeredgewidth": 0.7, "markersize": 4}
    ax.plot([median], [y], "o", color="white", **edge)
