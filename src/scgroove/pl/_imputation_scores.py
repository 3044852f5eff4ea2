"""Correlation of imputed with measured values, feature by feature."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import pandas as pd

from scgroove import _keys
from scgroove._figure import (
    AxesLike,
    Plotted,
    dots,
    finish,
    legend_beside,
    name_ticks,
    panel_grid,
    style,
)
from scgroove._palette import LABELS
from scgroove.errors import InputError, listed
from scgroove.pl._read import check_known, check_number, stored

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from mudata import MuData

_COLUMNS: Final = {"cells": ("pearson", "n"), "labels": ("pearson_of_labels", "n_labels")}
_BASELINE: Final = "label_mean"


def imputation_scores(
    mdata: MuData,
    source: str,
    target: str,
    *,
    by: Literal["auto", "cells", "labels"] = "auto",
    features: int | Sequence[str] = 40,
    key: str | None = None,
    ax: AxesLike | None = None,
    show: bool | None = None,
    save: str | Path | None = None,
    return_fig: bool = False,
) -> Plotted:
    """Plot the correlation of imputed with measured values, a bar a feature.

    Where cells of the source were measured in the target too, the correlation is over those cells.
    A mark shows that of the mean of the other measured cells of the label: where a bar does not
    reach beyond it, the feature is known from the label alone. Elsewhere the correlation is over
    labels, which checks that the model learned its labels and proves nothing for single cells.

    Parameters
    ----------
    mdata
        Modalities with scores, as :func:`scgroove.tl.score_imputation` writes them.
    source, target
        The cells imputed for, and the modality imputed.
    by
        Correlation over ``"cells"``, over ``"labels"``, or ``"auto"``: cells where pairs are known.
    features
        Names of features, or how many: evenly from the best to the worst.
    key
        Key of the scores in ``mdata.uns``. Default ``"imputation_<source>_<target>"``.
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
        If there are no scores, no such feature, or no feature has a correlation of that kind.

    See Also
    --------
    scgroove.pl.imputed_vs_measured, scgroove.pl.calibration

    Examples
    --------
    >>> scgroove.tl.score_imputation(mdata, "rna", "protein")  # doctest: +SKIP
    >>> scgroove.pl.imputation_scores(mdata, "rna", "protein")  # doctest: +SKIP
    """
    table = _table(mdata, source, target, key)
    by = _kind(table, by, source, target)
    column, count = _COLUMNS[by]
    known = table.dropna(subset=[column]).sort_values(column, ascending=False, kind="stable")
    shown = _shown(known, table, features)
    series = {"imputed": (LABELS[0], column)}
    if by == "cells" and known[_BASELINE].notna().any():
        series["mean of the label"] = (LABELS[1], _BASELINE)
    over = "cells known in both" if by == "cells" else "labels, the mean of each"
    n = int(table[count].max())
    title = f"{target} imputed for {source} cells: r over {n:,} {over}"
    if len(shown) < len(known):
        spread = ", evenly from the best to the worst" if isinstance(features, int) else ""
        title += f"\n{len(shown)} of {len(table):,} features{spread}"
    if without := len(table) - len(known):
        title += f"\nno r, because measured values do not vary: {without:,}"
    with style():
        size = (max(0.145 * len(shown), 2.2) + 2.6, 2.9)
        fig, axes = panel_grid(1, ax, figsize=size, ncols=1, what="the bars")
        _draw(axes[0], shown, known, series)
        axes[0].set_title(title, loc="left")
        return finish(fig, axes, show=show, save=save, return_fig=return_fig)


def _table(mdata: MuData, source: str, target: str, key: str | None) -> pd.DataFrame:
    name = key if key is not None else _keys.imputation(source, target)
    added = "" if key is None else f", key_added={key!r}"
    call = f"score_imputation(mdata, {source!r}, {target!r}{added})"
    found = stored(mdata, name, call)
    if "features" not in found:
        raise InputError(
            f"mdata.uns[{name!r}] holds {listed(found)}, but no table of 'features'. "
            f"Score again with scgroove.tl.{call}."
        )
    return pd.DataFrame(found["features"]).astype({"feature": str})


def _kind(table: pd.DataFrame, by: str, source: str, target: str) -> Literal["cells", "labels"]:
    """Return the kind of correlation to show, which must be there."""
    kinds: Any = ("cells", "labels") if by == "auto" else (by,)
    for kind in kinds:
        if table[_COLUMNS[kind][0]].notna().any():
            return kind  # type: ignore[no-any-return]
    needed = {
        "cells": "cells measured in both modalities (pair_key=)",
        "labels": "three labels in both modalities (label_key=)",
    }
    raise InputError(
        f"No feature of {target!r} has a correlation of imputed with measured values by {by!r}: "
        f"that needs {' or '.join(needed[kind] for kind in kinds)}. Name the column in "
        f"scgroove.tl.score_imputation(mdata, {source!r}, {target!r}, ...)."
    )


def _shown(known: pd.DataFrame, table: pd.DataFrame, features: int | Sequence[str]) -> pd.DataFrame:
    """Return features by name, or so many, evenly from the best to the worst."""
    if isinstance(features, int):
        check_number("feature", features)
        places = np.linspace(0, len(known) - 1, min(features, len(known))).round().astype(int)
        return known.iloc[places]
    names = check_known("feature", features, table["feature"])
    return table.set_index("feature").loc[names].reset_index()


def _draw(
    ax: Axes, shown: pd.DataFrame, known: pd.DataFrame, series: dict[str, tuple[str, str]]
) -> None:
    """Draw bars, marks of the baseline, and dashed lines at the medians over all features."""
    places = np.arange(len(shown))
    (color, column), *baselines = series.values()
    ax.bar(places, shown[column], width=0.74, color=color)
    for other, name in baselines:
        ax.hlines(shown[name], places - 0.45, places + 0.45, color=other, linewidth=1.6)
    ax.axhline(0, color="#222222", linewidth=0.6)
    name_ticks(ax.xaxis, list(shown["feature"]), max(len(shown), 1), 18)
    ax.tick_params(axis="x", length=0, rotation=90)
    lowest = float(np.nanmin(shown[[name for _, name in series.values()]]))
    ax.set(xlim=(-0.8, len(shown) - 0.2), ylim=(min(0.0, 1.1 * lowest), 1.02), ylabel="Pearson r")
    handles = []
    for text, (one, name) in series.items():
        median = float(known[name].median())
        ax.axhline(median, color=one, linewidth=0.8, linestyle=(0, (4, 2)), zorder=0)
        look: Any = {"marker": "", "linestyle": "-", "linewidth": 4}
        handles += dots((f"{text} (median of all: {median:.2f})", one), **look)
    legend_beside(ax, handles=handles)
