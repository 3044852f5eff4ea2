"""Effects of labels on the features of the target, measured beside imputed."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from scgroove import _keys
from scgroove._figure import AxesLike, Plotted, finish, natural_order, panel_grid, shorten, style
from scgroove._palette import DIVERGING
from scgroove.errors import InputError, did_you_mean
from scgroove.pl._read import check_modalities, listed, stored

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from mudata import MuData

SIDES: Final = ("measured", "imputed")
_LONGEST: Final = 24
_CELL: Final = 0.17  # inches
_MOST: Final = 0.98
"""Share of the effects that the colors tell apart, if ``vmax`` is not given."""
_MISSING, _MARK = "#EEF0F2", "#555555"


@dataclass(frozen=True)
class _Side:
    """One side of the figure, labels by features: effects, and what their intervals say."""

    values: pd.DataFrame
    holds_zero: pd.DataFrame
    no_interval: pd.DataFrame

    def at(self, labels: Sequence[str], features: Sequence[str]) -> _Side:
        """Some labels and features, in this order."""
        return _Side(
            *(
                part.loc[labels, features]
                for part in (self.values, self.holds_zero, self.no_interval)
            )
        )


def effects(
    mdata: MuData,
    source: str,
    target: str,
    *,
    labels: int | Sequence[str] = 50,
    features: int | Sequence[str] = 30,
    cluster: bool = True,
    vmax: float | None = None,
    key: str | None = None,
    ax: AxesLike | None = None,
    show: bool | None = None,
    save: str | Path | None = None,
    return_fig: bool = False,
) -> Plotted:
    """Plot what labels do to features, measured in the target beside imputed for the source, as two heatmaps with the same rows.

    Labels that the target never measured stand below a line, their names in italics: there the imputed effect is a prediction. A
    dot: the interval holds 0, so that not even the sign is known. A ring: too few cells for an interval. The intervals say what
    other cells of the same screen would give; an imputed effect can be wrong by more, which
    :func:`scgroove.benchmark.leave_labels_out` measures.

    Parameters
    ----------
    mdata
        Modalities with effects, as :func:`scgroove.tl.perturbation_effects` writes them.
    source, target
        The cells imputed for, and the modality imputed.
    labels
        Labels to show by name, or how many: those with the largest effects, root mean square over features and both sides.
    features
        Features to show by name, or how many: those with the largest effects.
    cluster
        Order labels and features so that similar effects stand beside each other; otherwise as they were given, or labels by name
        and features by the size of their effects.
    vmax
        Effect at which colors end; by default nearly the largest.
    key
        Key of the table in ``mdata.uns``, if it is not the default one.
    ax
        Two axes; a new figure by default.
    show
        Show the figure. By default only in an interactive session, when it is neither saved nor returned.
    save
        File to write, such as ``"effects.png"``.
    return_fig
        Return the figure instead of the axes.

    Returns
    -------
    The figure with ``return_fig``, nothing when it was shown, the list of axes otherwise.

    Raises
    ------
    ValueError
        If there are no effects (the message holds the call that makes them), or no such modality, label or feature.

    See Also
    --------
    scgroove.pl.imputed_vs_measured

    Examples
    --------
    >>> scgroove.tl.perturbation_effects(mdata, "rna", "protein", "control")  # doctest: +SKIP
    >>> scgroove.pl.effects(mdata, "rna", "protein", features=20)  # doctest: +SKIP
    """
    check_modalities(mdata, [source, target])
    if vmax is not None and not vmax > 0:
        raise InputError(f"vmax is {vmax}; expected an effect above 0, at which colors end.")
    sides = _sides(_table(mdata, source, target, key))
    rows, columns = _chosen(sides, labels, features)
    rows, columns = _ordered(sides, rows, columns, cluster=cluster)
    n_all = sides["imputed"].values.shape
    sides = {name: side.at(rows, columns) for name, side in sides.items()}
    top = vmax if vmax is not None else _reach(sides)
    with style():
        fig, axes = panel_grid(2, ax, figsize=_size(rows, columns), ncols=2, what=", ".join(SIDES))
        images = [
            _draw(panel, side, top, nothing=f"not {name}")
            for panel, (name, side) in zip(axes, sides.items(), strict=True)
        ]
        _name_rows(axes, sides["measured"].values)
        axes[0].set_title(f"measured in {target}", loc="left")
        axes[1].set_title(f"imputed for {source} cells", loc="left")
        _color_bar(axes, images[0], sides, top)
        if ax is None:
            _say(fig, sides, n_all)
        return finish(fig, axes, show=show, save=save, return_fig=return_fig)


def _table(mdata: MuData, source: str, target: str, key: str | None) -> pd.DataFrame:
    name = key if key is not None else _keys.effects(source, target)
    added = "" if key is None else f", key_added={key!r}"
    call = f"perturbation_effects(mdata, {source!r}, {target!r}, CONTROL{added})"
    table = pd.DataFrame(stored(mdata, name, call))
    needed = [
        "label",
        "feature",
        *(f"{side}{end}" for side in SIDES for end in ("", "_low", "_high")),
    ]
    missing = [column for column in needed if column not in table]
    if missing:
        raise InputError(
            f"mdata.uns[{name!r}] lacks {missing}; expected the columns that scgroove.tl.{call} writes, found {listed(table)}."
        )
    return table.astype({"label": str, "feature": str})


def _sides(table: pd.DataFrame) -> dict[str, _Side]:
    wide = {
        name: table.pivot_table(
            index="label", columns="feature", values=name, dropna=False, sort=False
        )
        for name in (f"{side}{end}" for side in SIDES for end in ("", "_low", "_high"))
    }
    found = {}
    for side in SIDES:
        values, low, high = (wide[f"{side}{end}"] for end in ("", "_low", "_high"))
        found[side] = _Side(values, (low <= 0) & (high >= 0), values.notna() & low.isna())
    return found


def _chosen(
    sides: Mapping[str, _Side], labels: int | Sequence[str], features: int | Sequence[str]
) -> tuple[list[str], list[str]]:
    """Labels and features by name, or those with the largest effects: labels in natural order, the largest feature first."""
    squares = pd.concat([side.values**2 for side in sides.values()], keys=SIDES)
    sizes = {
        "label": squares.mean(axis=1).groupby(level=1).mean(),
        "feature": squares.mean(axis=0),
    }
    asked: dict[str, Any] = {"label": labels, "feature": features}
    found = {kind: _names(kind, asked[kind], size) for kind, size in sizes.items()}
    return natural_order(found["label"]) if isinstance(labels, int) else found["label"], found[
        "feature"
    ]


def _names(kind: str, asked: int | Sequence[str], size: pd.Series) -> list[str]:
    if isinstance(asked, int):
        if asked < 1:
            raise InputError(f"{kind}s is {asked}; expected at least 1, or names of {kind}s.")
        return [
            str(name) for name in size.sort_values(ascending=False, kind="stable").index[:asked]
        ]
    for name in asked:
        if name not in size.index:
            raise InputError(
                f"There is no {kind} {name!r} among the effects; there are {len(size)}, such as {listed(size.index, 6)}."
                f"{did_you_mean(name, list(size.index))}"
            )
    return list(asked)


def _ordered(
    sides: Mapping[str, _Side], rows: list[str], columns: list[str], *, cluster: bool
) -> tuple[list[str], list[str]]:
    """Order labels and features; labels that were measured come first."""
    measured = sides["measured"].values.loc[rows, columns]
    imputed = sides["imputed"].values.loc[rows, columns]
    seen = measured.notna().any(axis=1)
    groups = [[row for row in rows if seen[row]], [row for row in rows if not seen[row]]]
    if not cluster:
        return [row for group in groups for row in group], columns
    both = pd.concat([measured.fillna(imputed), imputed.fillna(measured)], axis=1).fillna(0.0)
    of_features = pd.concat([measured.loc[groups[0]], imputed]).fillna(0.0).T
    return [row for group in groups for row in _similar(both.loc[group])], _similar(of_features)


def _similar(table: pd.DataFrame) -> list[str]:
    """Names of rows, similar ones beside each other."""
    from scipy.cluster.hierarchy import leaves_list, linkage

    names = [str(name) for name in table.index]
    if len(names) < 3:
        return names
    return [names[i] for i in leaves_list(linkage(table, method="average", optimal_ordering=True))]


def _reach(sides: Mapping[str, _Side]) -> float:
    values = np.abs(
        np.concatenate([side.values.to_numpy(dtype=float).ravel() for side in sides.values()])
    )
    return float(np.nanquantile(values, _MOST)) or 1.0


def _size(rows: Sequence[str], columns: Sequence[str]) -> tuple[float, float]:
    row_names, column_names = (
        0.065 * max(len(shorten(n, _LONGEST)) for n in names) for names in (rows, columns)
    )
    width, height = (
        float(np.clip(_CELL * len(names), 1.3, most)) for names, most in ((columns, 6), (rows, 11))
    )
    return 2 * width + row_names + 1.3, height + column_names + 1.0


def _draw(ax: Axes, side: _Side, top: float, nothing: str) -> Any:
    """One heatmap, and what its intervals say."""
    values = side.values.to_numpy(dtype=float)
    ax.set_facecolor(_MISSING)
    image = ax.imshow(
        values, cmap=DIVERGING, vmin=-top, vmax=top, aspect="auto", interpolation="nearest"
    )
    size = float(np.clip(600 / max(values.shape), 1.0, 7.0))
    for marked, face in ((side.holds_zero, _MARK), (side.no_interval, "none")):
        rows, columns = np.nonzero(marked.to_numpy())
        ax.scatter(
            columns,
            rows,
            s=size,
            facecolors=face,
            edgecolors=_MARK,
            linewidths=0 if face != "none" else 0.5,
        )
    _ticks(ax.xaxis, list(side.values.columns), 6)
    ax.tick_params(axis="x", rotation=90)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    for y in np.flatnonzero(np.isnan(values).all(axis=1)).tolist():
        ax.text(
            values.shape[1] / 2 - 0.5,
            y,
            nothing,
            ha="center",
            va="center",
            fontsize=6,
            color="#6B747D",
            style="italic",
        )
    return image


def _ticks(axis: Any, names: Sequence[str], inches: float) -> None:
    """Name every row or column where there is room, and every second, third, ... where there is not."""
    step = -(-len(names) // int(inches / 0.12))
    places = range(0, len(names), step)
    axis.set_ticks(list(places), [shorten(names[i], _LONGEST) for i in places])


def _name_rows(axes: Sequence[Axes], measured: pd.DataFrame) -> None:
    """Name labels at the left, in italics where they were never measured, below a line."""
    never = measured.isna().all(axis=1).to_numpy()
    names = [str(name) for name in measured.index]
    _ticks(axes[0].yaxis, names, 11)
    axes[1].set_yticks([])
    for place, tick in zip(axes[0].get_yticks(), axes[0].get_yticklabels(), strict=True):
        tick.set_fontstyle("italic" if never[int(place)] else "normal")
    if never.any() and not never.all():
        for ax in axes:
            ax.axhline(len(never) - never.sum() - 0.5, color="#222222", linewidth=1.0)


def _color_bar(axes: Sequence[Axes], image: Any, sides: Mapping[str, _Side], top: float) -> None:
    largest = max(
        float(np.nanmax(np.abs(side.values.to_numpy(dtype=float)), initial=0.0))
        for side in sides.values()
    )
    bar = axes[1].figure.colorbar(
        image,
        ax=list(axes),
        shrink=0.8,
        aspect=25,
        pad=0.015,
        extend="both" if largest > top else "neither",
    )
    bar.set_label("effect: label − control")
    bar.outline.set_visible(False)  # type: ignore[operator]


def _say(fig: Any, sides: Mapping[str, _Side], of: tuple[int, int]) -> None:
    """Say what is shown, and what marks mean."""
    shown = sides["imputed"].values.shape
    counts = [
        f"{n} of {total:,} {kind}"
        for n, total, kind in zip(shown, of, ("labels", "features"), strict=True)
    ]
    marks = {
        "dot: the interval holds 0": any(side.holds_zero.any(axis=None) for side in sides.values()),
        "ring: no interval": any(side.no_interval.any(axis=None) for side in sides.values()),
        "italics: never measured": sides["measured"].values.isna().all(axis=1).any(),
    }
    text = "; ".join([", ".join(counts), *(mark for mark, there in marks.items() if there)])
    fig.suptitle(
        "\n".join(textwrap.wrap(text, int(11 * fig.get_figwidth()))), fontsize=8, x=0.01, ha="left"
    )
