"""Effects of labels on the features of the target, measured beside imputed."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

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
from scgroove._palette import DIVERGING
from scgroove.pl._read import check_columns, check_known, check_modalities, check_number, stored

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from mudata import MuData

SIDES: Final = ("measured", "imputed")
_LONGEST: Final = 24
_CELL: Final = 0.17
"""Inches of a row or column."""
_NAME: Final = 0.12
"""Inches that a name needs."""
_MOST: Final = 0.98
"""Share of the effects that the colors tell apart, if ``vmax`` is not given."""
_MISSING, _MARK = "#EEF0F2", "#555555"

Side = dict[str, pd.DataFrame]
"""Tables of labels by features: ``effect``, ``holds_zero`` and ``no_interval``."""


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
    """Plot effects of labels on features, measured in the target beside imputed for the source.

    Labels that the target never measured stand below a line, their names in italics: there the
    imputed effect is a prediction. A dot: the interval holds 0, so that the sign is not known. A
    ring: too few cells for an interval. The intervals say what other cells of the same screen would
    give. An imputed effect can be wrong by more, which
    :func:`scgroove.benchmark.leave_labels_out` measures.

    Parameters
    ----------
    mdata
        Modalities with effects, as :func:`scgroove.tl.perturbation_effects` writes them.
    source, target
        The cells imputed for, and the modality imputed.
    labels
        Names of labels, or how many: those with the largest effects, root mean square over features
        and both sides.
    features
        Names of features, or how many: those with the largest effects.
    cluster
        Put similar labels and features beside each other. Otherwise they stand as given, or labels
        by name and features by the size of their effects.
    vmax
        Effect at which colors end. By default nearly the largest.
    key
        Key of the table in ``mdata.uns``. Default ``"effects_<source>_<target>"``.
    ax
        Two axes. A new figure by default.
    show, save, return_fig
        As for :func:`scgroove.pl.latent`.

    Returns
    -------
    As for :func:`scgroove.pl.latent`.

    Raises
    ------
    ValueError
        If there are no effects, or no such modality, label or feature.

    See Also
    --------
    scgroove.pl.imputed_vs_measured

    Examples
    --------
    >>> scgroove.tl.perturbation_effects(mdata, "rna", "protein", "control")  # doctest: +SKIP
    >>> scgroove.pl.effects(mdata, "rna", "protein", features=20)  # doctest: +SKIP
    """
    check_modalities(mdata, source, target)
    sides = _sides(mdata, source, target, key)
    n_all = sides["imputed"]["effect"].shape
    rows, columns = _chosen(sides, labels, features)
    rows, columns = _ordered(sides, rows, columns, cluster=cluster)
    for name, side in sides.items():
        sides[name] = {kind: table.loc[rows, columns] for kind, table in side.items()}
    values = np.abs([side["effect"].to_numpy(dtype=float) for side in sides.values()])
    top = vmax if vmax is not None else float(np.nanquantile(values, _MOST)) or 1.0
    extend = "both" if np.nanmax(values, initial=0.0) > top else "neither"
    with style():
        fig, axes = panel_grid(2, ax, figsize=_size(rows, columns), ncols=2, what=", ".join(SIDES))
        images = [
            _draw(panel, side, top, nothing=f"not {name}")
            for panel, (name, side) in zip(axes, sides.items(), strict=True)
        ]
        _name_rows(axes, rows, sides["measured"]["effect"].isna().all(axis=1).to_numpy())
        axes[0].set_title(f"measured in {target}", loc="left")
        axes[1].set_title(f"imputed for {source} cells", loc="left")
        place: Any = {"shrink": 0.8, "aspect": 25, "pad": 0.015}
        bar = fig.colorbar(images[0], ax=axes, extend=extend, **place)
        bar.set_label("effect: label − control")
        bar.outline.set_visible(False)  # type: ignore[operator]
        if ax is None:
            text = "\n".join(textwrap.wrap(_legend(sides, n_all), int(11 * fig.get_figwidth())))
            fig.suptitle(text, fontsize=8, x=0.01, ha="left")
        return finish(fig, axes, show=show, save=save, return_fig=return_fig)


def _sides(mdata: MuData, source: str, target: str, key: str | None) -> dict[str, Side]:
    name = key if key is not None else _keys.effects(source, target)
    added = "" if key is None else f", key_added={key!r}"
    call = f"perturbation_effects(mdata, {source!r}, {target!r}, CONTROL{added})"
    table = pd.DataFrame(stored(mdata, name, call))
    columns = [side + end for side in SIDES for end in ("", "_low", "_high")]
    check_columns(table, ["label", "feature", *columns], call)
    table = table.astype({"label": str, "feature": str})
    shape: Any = {"index": "label", "columns": "feature", "dropna": False, "sort": False}
    found: dict[str, Side] = {}
    for side in SIDES:
        effect, low, high = (
            table.pivot_table(values=side + end, **shape) for end in ("", "_low", "_high")
        )
        holds_zero = (low <= 0) & (high >= 0)
        no_interval = effect.notna() & low.isna()
        found[side] = {"effect": effect, "holds_zero": holds_zero, "no_interval": no_interval}
    return found


def _chosen(
    sides: Mapping[str, Side], labels: int | Sequence[str], features: int | Sequence[str]
) -> tuple[list[str], list[str]]:
    """Return labels and features by name, or those with the largest effects."""
    squares = pd.concat([side["effect"] ** 2 for side in sides.values()], keys=SIDES)
    rows = _largest("label", labels, squares.mean(axis=1).groupby(level=1).mean())
    columns = _largest("feature", features, squares.mean(axis=0))
    return natural_order(rows) if isinstance(labels, int) else rows, columns


def _largest(kind: str, asked: int | Sequence[str], size: pd.Series) -> list[str]:
    if not isinstance(asked, int):
        return check_known(kind, asked, size.index)
    check_number(kind, asked)
    return list(size.sort_values(ascending=False, kind="stable").index[:asked])


def _ordered(
    sides: Mapping[str, Side], rows: list[str], columns: list[str], *, cluster: bool
) -> tuple[list[str], list[str]]:
    """Order labels and features. Labels that were measured come first."""
    measured, imputed = (sides[name]["effect"].loc[rows, columns] for name in SIDES)
    seen = measured.notna().any(axis=1)
    groups = [measured.index[seen], measured.index[~seen]]
    if not cluster:
        return [*groups[0], *groups[1]], columns
    both = pd.concat([measured.fillna(imputed), imputed.fillna(measured)], axis=1).fillna(0.0)
    of_features = pd.concat([measured.loc[groups[0]], imputed]).fillna(0.0).T
    ordered = [*_similar(both.loc[groups[0]]), *_similar(both.loc[groups[1]])]
    return ordered, _similar(of_features)


def _similar(table: pd.DataFrame) -> list[str]:
    """Return the names of rows, similar ones beside each other."""
    from scipy.cluster.hierarchy import leaves_list, linkage

    if len(table) < 3:
        return list(table.index)
    return list(table.index[leaves_list(linkage(table, method="average", optimal_ordering=True))])


def _size(rows: Sequence[str], columns: Sequence[str]) -> tuple[float, float]:
    width = float(np.clip(_CELL * len(columns), 1.3, 6))
    height = float(np.clip(_CELL * len(rows), 1.3, 11))
    return (
        2 * width + name_inches(rows, _LONGEST) + 1.3,
        height + name_inches(columns, _LONGEST) + 1.0,
    )


def _draw(ax: Axes, side: Side, top: float, nothing: str) -> Any:
    """Draw one heatmap, and mark what its intervals say."""
    values = side["effect"].to_numpy(dtype=float)
    ax.set_facecolor(_MISSING)
    look: Any = {"aspect": "auto", "interpolation": "nearest"}
    image = ax.imshow(values, cmap=DIVERGING, vmin=-top, vmax=top, **look)
    size = float(np.clip(600 / max(values.shape), 1.0, 7.0))
    for kind, face, width in (("holds_zero", _MARK, 0), ("no_interval", "none", 0.5)):
        rows, columns = np.nonzero(side[kind].to_numpy())
        ax.scatter(columns, rows, size, facecolors=face, edgecolors=_MARK, linewidths=width)
    name_ticks(ax.xaxis, list(side["effect"].columns), int(6 / _NAME), _LONGEST)
    ax.tick_params(axis="x", rotation=90)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    gray: Any = {"ha": "center", "va": "center", "fontsize": 6, "color": "#6B747D"}
    for y in np.flatnonzero(np.isnan(values).all(axis=1)).tolist():
        ax.text(values.shape[1] / 2 - 0.5, y, nothing, style="italic", **gray)
    return image


def _name_rows(axes: Sequence[Axes], names: list[str], unmeasured: Any) -> None:
    """Name labels at the left, in italics where they were never measured, below a line."""
    name_ticks(axes[0].yaxis, names, int(11 / _NAME), _LONGEST)
    axes[1].set_yticks([])
    for place, tick in zip(axes[0].get_yticks(), axes[0].get_yticklabels(), strict=True):
        tick.set_fontstyle("italic" if unmeasured[int(place)] else "normal")
    if unmeasured.any() and not unmeasured.all():
        for ax in axes:
            ax.axhline((~unmeasured).sum() - 0.5, color="#222222", linewidth=1.0)


def _legend(sides: Mapping[str, Side], n_all: tuple[int, int]) -> str:
    """Say how many labels and features are shown, and what marks mean."""
    n_labels, n_features = sides["imputed"]["effect"].shape
    text = f"{n_labels} of {n_all[0]:,} labels, {n_features} of {n_all[1]:,} features"
    if any(side["holds_zero"].any(axis=None) for side in sides.values()):
        text += "; dot: the interval holds 0"
    if any(side["no_interval"].any(axis=None) for side in sides.values()):
        text += "; ring: no interval"
    if sides["measured"]["effect"].isna().all(axis=1).any():
        text += "; italics: never measured"
    return text
