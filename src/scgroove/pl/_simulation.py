"""What the knobs of the simulator do."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from scgroove.pl._figure import AxesLike, Plotted, finish, panel_grid, style
from scgroove.pl._palette import LABELS, MARKERS, UNLABELLED
from scgroove.simulations import KnobPanel, knob_panels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

_AXES: Final = {
    "latent": ("latent 1", "latent 2"),
    "features": ("feature 1", "feature 2"),
    "sizes": ("label", "cells"),
}
_TEXT: Final = "#444444"
_PANEL: Final = 1.475
"""Inches of a panel with its share of the margins."""
_HEIGHT: Final = 3.35
"""Inches of a block: two settings beneath each other, and the sentence."""
_LETTERS: Final = 23
"""Letters above a panel, in a line of the sentence."""
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
    """Plot what each knob of the simulator does: two settings beneath each other, modalities side by side.

    Only the knob that a block is about differs between its rows; that of ``modalities`` has three, and turns ``rho``. The sentence above says what to look at.

    Parameters
    ----------
    panels
        What :func:`scgroove.simulations.knob_panels` returned; by default all knobs.
    ncols
        Knobs of two modalities in a row.
    point_size
        Area of a point in square points.
    ax
        One axes for each panel, in the order of ``panels``; a new figure by default.
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
        If the panels are not two settings for each knob, with the same modalities.

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
        for own, block in zip(_split(axes, blocks), blocks, strict=True):
            _draw_block(own, block, point_size)
        return finish(fig, axes, show=show, save=save, return_fig=return_fig)


def _blocks(panels: Sequence[KnobPanel]) -> list[list[KnobPanel]]:
    """Return the panels of each knob: as many modalities as have the first setting, twice."""
    blocks: list[list[KnobPanel]] = []
    while (start := sum(map(len, blocks))) < len(panels):
        _, first = next(groupby(panels[start:], key=lambda panel: panel.setting))
        blocks.append(list(panels[start : start + 2 * len(list(first))]))
    if not blocks or not all(map(_is_block, blocks)):
        raise ValueError(
            f"expected two settings of each knob with the same modalities, in the order of "
            f"scgroove.simulations.knob_panels(); found {[(p.knob, p.setting, p.modality) for p in panels]}. Choose knobs "
            f"with knob_panels(['rho', 'escape'])."
        )
    return blocks


def _is_block(panels: Sequence[KnobPanel]) -> bool:
    """Whether these are two settings of one knob, each with the same modalities."""
    above, below = panels[: len(panels) // 2], panels[len(panels) // 2 :]
    settings = [{panel.setting for panel in row} for row in (above, below)]
    return (
        len({panel.knob for panel in panels}) == 1
        and [len(names) for names in settings] == [1, 1]
        and settings[0] != settings[1]
        and [panel.modality for panel in above] == [panel.modality for panel in below]
    )


def _split(axes: Sequence[Axes], blocks: Sequence[Sequence[KnobPanel]]) -> Iterator[Sequence[Axes]]:
    """Yield the axes of each block."""
    start = 0
    for block in blocks:
        yield axes[start : start + len(block)]
        start += len(block)


def _figure(
    blocks: Sequence[Sequence[KnobPanel]], ncols: int, ax: AxesLike | None
) -> tuple[Figure, list[Axes]]:
    """Return a figure with a block of axes for each knob, its sentence above; or the axes the caller gave."""
    if ax is not None:
        n = sum(map(len, blocks))
        fig, axes = panel_grid(n, ax, figsize=(_PANEL, _PANEL), ncols=2, what="one for each panel")
        for own, block in zip(_split(axes, blocks), blocks, strict=True):
            own[0].set_title(block[0].sentence, loc="left")
        return fig, axes
    import matplotlib.pyplot as plt

    widths = [len(block) // 2 for block in blocks]
    places, width = _places(widths, 2 * ncols)
    nrows = places[-1][0] + 1
    fig = plt.figure(figsize=(_PANEL * width, _HEIGHT * nrows), layout="constrained")
    grid = fig.add_gridspec(nrows, width, wspace=0.05, hspace=0.04)
    axes = []
    for (row, start), n, block in zip(places, widths, blocks, strict=True):
        axes += _axes_of_block(fig.add_subfigure(grid[row, start : start + n]), block[0], n)
    return fig, axes


def _places(widths: Sequence[int], most: int) -> tuple[list[tuple[int, int]], int]:
    """Return row and first column of each block, from left to right, and the number of columns: ``most``, or as few as do."""
    width = max(*widths, min(most, sum(widths)))
    places, row, start = [], 0, 0
    for n in widths:
        if start + n > width:
            row, start = row + 1, 0
        places.append((row, start))
        start += n
    return places, width


def _axes_of_block(figure: SubFigure, panel: KnobPanel, n_modalities: int) -> list[Axes]:
    """Write the name and the sentence of a knob, and return two rows of axes beneath them."""
    sentence = textwrap.wrap(panel.sentence, _LETTERS * n_modalities)
    # The empty lines keep the space in which the two texts stand.
    figure.suptitle("\n" * max(2, len(sentence)), fontsize=8.5)
    left = 0.04 / n_modalities
    figure.text(left, 0.985, panel.knob, fontsize=9.5, fontweight="bold", va="top")
    figure.text(left, 0.925, "\n".join(sentence), fontsize=8, color=_TEXT, va="top")
    return list(figure.subplots(2, n_modalities, squeeze=False).ravel())


def _draw_block(axes: Sequence[Axes], block: Sequence[KnobPanel], point_size: float) -> None:
    n = len(block) // 2
    for i, (ax, panel) in enumerate(zip(axes, block, strict=True)):
        if panel.shown == "sizes":
            _bars(ax, panel)
        else:
            _points(ax, panel, point_size)
        xlabel, ylabel = _AXES[panel.shown]
        if i < n and not ax.get_title(loc="left"):
            ax.set_title(panel.modality, fontsize=8)
        if i % n == 0:
            ax.set_ylabel(ylabel)
            _setting(ax, panel.setting)
        if i >= n:
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
    if len(panel.crosses):
        color = np.array([LABELS[c % len(LABELS)] for c in range(len(panel.crosses))])
        ax.scatter(
            panel.crosses[:, 0],
            panel.crosses[:, 1],
            s=4 * size,
            marker="X",
            c=color,
            edgecolors="black",
            linewidths=0.7,
            zorder=3,
        )
    if panel.shown == "features":
        ax.locator_params(nbins=3, integer=True)
    else:
        ax.set(xticks=[], yticks=[])


def _same_limits(axes: Sequence[Axes]) -> None:
    for which in ("xlim", "ylim"):
        limits = np.array([getattr(ax, f"get_{which}")() for ax in axes])
        for ax in axes:
            getattr(ax, f"set_{which}")(limits[:, 0].min(), limits[:, 1].max())
