"""What all figures share: axes to draw on, type sizes, and what to do with the result."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from scgroove.errors import ArgumentError, InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

AxesLike: TypeAlias = "Axes | Sequence[Axes]"
Plotted: TypeAlias = "Figure | list[Axes] | None"

_STYLE: Any = {
    "font.size": 8,
    "axes.titlesize": 9,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "text.parse_math": False,  # a "$" in a label is a "$"
    "figure.dpi": 110,
    "savefig.dpi": 160,
}


def style() -> AbstractContextManager[None]:
    """Return the settings of our figures, for the time of drawing only."""
    # first: in a notebook its import switches interactive mode on, which leaving the context undoes
    import matplotlib.pyplot  # noqa: F401
    from matplotlib import rc_context

    return rc_context(_STYLE)


def panel_grid(
    n_panels: int,
    ax: AxesLike | None,
    *,
    figsize: tuple[float, float],
    ncols: int,
    what: str,
) -> tuple[Figure, list[Axes]]:
    """Return a figure with ``n_panels`` axes in rows of ``ncols``, or the axes the caller gave.

    Raises
    ------
    ValueError
        If the caller gave another number of axes than there are panels.
    """
    if ax is not None:
        axes = _as_list(ax)
        if len(axes) != n_panels:
            raise InputError(
                f"The figure has {n_panels} panel(s) ({what}), but ax holds {len(axes)} axes. "
                f"Give as many, such as those of plt.subplots(1, {n_panels}), or leave ax out."
            )
        figure = axes[0].figure
        root: Any = figure
        return root, axes
    import matplotlib.pyplot as plt

    nrows = -(-n_panels // ncols)
    fig, grid = plt.subplots(
        nrows, min(ncols, n_panels), figsize=figsize, squeeze=False, layout="constrained"
    )
    flat = list(grid.ravel())
    for spare in flat[n_panels:]:
        spare.remove()
    return fig, flat[:n_panels]


def finish(
    fig: Figure,
    axes: list[Axes],
    *,
    show: bool | None,
    save: str | Path | None,
    return_fig: bool,
) -> Plotted:
    """Save and show as asked. Return the figure, or the axes when nothing was shown."""
    if save is not None:
        if Path(save).name in ("", ".."):
            raise ArgumentError(
                f"save must name a file, such as 'figure.png'; found {save!r}.", "save"
            )
        fig.savefig(save, bbox_inches="tight")
    if show or (show is None and save is None and not return_fig and _is_interactive()):
        import matplotlib.pyplot as plt

        plt.show()
        return fig if return_fig else None
    return fig if return_fig else axes


def _as_list(ax: AxesLike) -> list[Axes]:
    from matplotlib.axes import Axes

    if isinstance(ax, Axes):
        return [ax]
    if isinstance(ax, str | bytes | Mapping) or not isinstance(ax, Iterable):
        raise ArgumentError(
            "ax must be axes of matplotlib, or a list of such, as plt.subplots() returns; found "
            f"{ax!r} ({type(ax).__name__}).",
            "ax",
        )
    flat: list[Axes] = []
    for item in ax:
        flat.extend(_as_list(item))
    return flat


def _is_interactive() -> bool:
    import matplotlib
    import matplotlib.pyplot as plt

    silent = ("agg", "pdf", "svg", "ps")
    return bool(plt.isinteractive()) and matplotlib.get_backend().lower() not in silent


def name_ticks(axis: Any, names: Sequence[str], most: int, length: int = 24) -> None:
    """Name every row or column, or every second, third, ... if there are more than ``most``."""
    step = -(-len(names) // most)
    places = list(range(0, len(names), step))
    axis.set_ticks(places, [shorten(names[i], length) for i in places])


def name_inches(names: Iterable[str], length: int) -> float:
    """Return the inches that the longest of some shortened names takes."""
    return 0.065 * max(len(shorten(name, length)) for name in names)


def dots(*entries: tuple[str, str], size: float = 4.5, **options: Any) -> list[Any]:
    """Return entries of a legend, a dot each, from texts and colors."""
    from matplotlib.lines import Line2D

    look: Any = {"linestyle": "", "marker": "o", "markersize": size, **options}
    return [Line2D([], [], color=color, label=text, **look) for text, color in entries]


def legend_beside(ax: Axes, **options: Any) -> None:
    """Draw a legend at the right of an axes."""
    look: Any = {"loc": "upper left", "bbox_to_anchor": (1.01, 1.0), "borderaxespad": 0}
    ax.legend(frameon=False, **{**look, **options})


def shorten(text: str, length: int = 24) -> str:
    """Cut a long text in the middle, so that both ends can still be told apart."""
    if len(text) <= length:
        return text
    head = (length - 1) * 2 // 3
    return f"{text[:head]}…{text[-(length - 1 - head) :]}"


def natural_order(labels: Iterable[str]) -> list[str]:
    """Sort as people do: g2 before g10."""

    def key(label: str) -> list[tuple[int, int, str]]:
        parts = re.split(r"(\d+)", label.lower())
        return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts if part]

    return sorted(set(labels), key=lambda label: (key(label), label))
