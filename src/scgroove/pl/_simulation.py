"""What the knobs of the simulator do."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from scgroove.pl._figure import AxesLike, Plotted, finish, panel_grid, style
from scgroove.pl._palette import LABELS, MARKERS, UNLABELLED
from scgroove.simulations import KnobPanel, knob_panels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_AXES: Final = {
    "latent": ("latent 1", "latent 2"),
    "features": ("feature 1", "feature 2"),
    "sizes": ("label", "cells"),
}
_TEXT: Final = "#444444"
_PER_KNOB: Final = 4
"""Panels of a knob: two settings beneath each other, two modalities side by side."""
_BLOCK: Final = (2.95, 3.35)
_SENTENCE: Final = 46
"""Letters in a line above a block."""
_SETTING: Final = 18
"""Letters in a line beside a row of panels."""


def simulation_knobs(
    panels: Sequence[KnobPanel] | None = None,
    *,
    ncols: int = 4,
    point_size: float = 9.0,
    ax: AxesLike | None = None,
    show: bool | None = None,
    save: str | Path | None = None,
    return_fig: bool = False,
) -> Plotted:
    """Plot what each knob of the simulator does: two settings beneath each other, two modalities side by side.

    Only the knob that a block is about differs between its rows. The sentence above says what to look at.

    Parameters
    ----------
    panels
        What :func:`scgroove.simulations.knob_panels` returned; by default all knobs.
    ncols
        Knobs in a row.
    point_size
        Area of a point in square points.
    ax
        Four axes for each knob, in the order of ``panels``; a new figure by default.
    show
        Show the figure. By default only in an interactive session, when it is neither saved nor returned.
    save
        File to write, such as ``"knobs.png"``.
    return_fig
        Return the figure instead of the axes.

    Returns
    -------
    The figure with ``return_fig``, nothing when it was shown, the list of axes otherwise.

    Raises
    ------
    ValueError
        If the panels are not four for each knob.

    Examples
    --------
    >>> import scgroove as sg
    >>> axes = sg.pl.simulation_knobs(sg.simulations.knob_panels(["rho", "escape"]), show=False)
    >>> len(axes)
    8
    """
    blocks = _blocks(knob_panels() if panels is None else panels)
    with style():
        fig, axes = _figure(blocks, ncols, ax)
        for i, block in enumerate(blocks):
            _draw_block(axes[_PER_KNOB * i : _PER_KNOB * (i + 1)], block, point_size)
        return finish(fig, axes, show=show, save=save, return_fig=return_fig)


def _blocks(panels: Sequence[KnobPanel]) -> list[list[KnobPanel]]:
    blocks = [list(panels[i : i + _PER_KNOB]) for i in range(0, len(panels), _PER_KNOB)]
    if not blocks or any(len(block) != _PER_KNOB or len({p.knob for p in block}) != 1 for block in blocks):
        raise ValueError(
            f"expected four panels for each knob, in the order of scgroove.simulations.knob_panels(); found "
            f"{[panel.knob for panel in panels]}. Choose knobs with knob_panels(['rho', 'escape'])."
        )
    return blocks


def _figure(
    blocks: Sequence[Sequence[KnobPanel]], ncols: int, ax: AxesLike | None
) -> tuple[Figure, list[Axes]]:
    """Return a figure with a block of axes for each knob, its sentence above; or the axes the caller gave."""
    if ax is not None:
        fig, axes = panel_grid(
            _PER_KNOB * len(blocks), ax, figsize=_BLOCK, ncols=2, what="four for each knob"
        )
        for i, block in enumerate(blocks):
            axes[_PER_KNOB * i].set_title(block[0].sentence, loc="left")
        return fig, axes
    import matplotlib.pyplot as plt

    ncols = min(ncols, len(blocks))
    nrows = -(-len(blocks) // ncols)
    fig = plt.figure(figsize=(_BLOCK[0] * ncols, _BLOCK[1] * nrows), layout="constrained")
    cells: list[Any] = list(fig.subfigures(nrows, ncols, squeeze=False, wspace=0.05, hspace=0.04).ravel())
    axes = []
    for cell, block in zip(cells, blocks, strict=False):
        sentence = textwrap.wrap(block[0].sentence, _SENTENCE)
        # The empty lines keep the space in which the two texts stand.
        cell.suptitle("\n" * max(2, len(sentence)), fontsize=8.5)
        cell.text(0.02, 0.985, block[0].knob, fontsize=9.5, fontweight="bold", va="top")
        cell.text(0.02, 0.925, "\n".join(sentence), fontsize=8, color=_TEXT, va="top")
        axes += list(cell.subplots(2, 2).ravel())
    return fig, axes


def _draw_block(axes: Sequence[Axes], block: Sequence[KnobPanel], point_size: float) -> None:
    for i, (ax, panel) in enumerate(zip(axes, block, strict=True)):
        if panel.shown == "sizes":
            _bars(ax, panel)
        else:
            _points(ax, panel, point_size)
        xlabel, ylabel = _AXES[panel.shown]
        if i < 2 and not ax.get_title(loc="left"):
            ax.set_title(panel.modality, fontsize=8)
        if i % 2 == 0:
            ax.set_ylabel(ylabel)
            _setting(ax, panel.setting)
        if i >= 2:
            ax.set_xlabel(xlabel)
    if block[0].shown != "features":
        _same_limits(axes)


def _setting(ax: Axes, setting: str) -> None:
    """Name the setting of a row, to the left of its axis label."""
    ax.annotate(
        setting if len(setting) <= _SETTING else setting.replace(" = ", "\n= "),
        (0, 0.5),
        xytext=(-4, 0),
        xycoords=ax.yaxis.label,
        textcoords="offset points",
        rotation=90,
        ha="right",
        va="center",
        multialignment="center",
        fontsize=7.5,
        fontweight="bold",
    )


def _bars(ax: Axes, panel: KnobPanel) -> None:
    ax.bar(panel.xy[:, 0], panel.xy[:, 1], color=[LABELS[c % len(LABELS)] for c in panel.color], width=0.8)
    ax.set_xticks(panel.xy[:, 0])


def _points(ax: Axes, panel: KnobPanel, size: float) -> None:
    color = np.array([UNLABELLED if c < 0 else LABELS[c % len(LABELS)] for c in panel.color])
    for shape in np.unique(panel.shape):
        for hollow in (False, True):
            mine = (panel.shape == shape) & (panel.hollow == hollow)
            ax.scatter(
                panel.xy[mine, 0],
                panel.xy[mine, 1],
                s=size,
                marker=MARKERS[shape % len(MARKERS)],
                facecolors="none" if hollow else color[mine],
                edgecolors=color[mine] if hollow else "none",
                linewidths=0.8 if hollow else 0,
                rasterized=True,
            )
    ringed = panel.xy[panel.ringed]
    ax.scatter(ringed[:, 0], ringed[:, 1], s=3 * size, facecolors="none", edgecolors="black", linewidths=0.6)
    if panel.shown == "features":
        ax.locator_params(nbins=3, integer=True)
    else:
        ax.set(xticks=[], yticks=[])


def _same_limits(axes: Sequence[Axes]) -> None:
    for which in ("xlim", "ylim"):
        limits = np.array([getattr(ax, f"get_{which}")() for ax in axes])
        for ax in axes:
            getattr(ax, f"set_{which}")(limits[:, 0].min(), limits[:, 1].max())
