"""How well each feature is imputed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import pandas as pd

from scgroove import _keys
from scgroove._figure import AxesLike, Plotted, finish, panel_grid, shorten, style
from scgroove._palette import LABELS
from scgroove.errors import InputError, did_you_mean
from scgroove.pl._read import check_modalities, listed, stored

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from mudata import MuData

_COLUMNS: Final = {"cells": ("pearson", "n"), "labels": ("pearson_of_labels", "n_labels")}
_BASELINE: Final = "label_mean"
_LONGEST: Final = 18


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
    """Plot how well each feature is imputed: a bar a feature, the correlation of imputed with measured values.

    Where cells of the source were measured in the target too, over those cells, beside what the mean of the other measured cells of
    the label has: where a bar does not reach beyond its mark, the feature is known from the label alone. Elsewhere over labels, the
    mean imputed for each against the mean measured: a check that the model learned its labels, and no proof for single cells.

    Parameters
    ----------
    mdata
        Modalities with scores, as :func:`scgroove.tl.score_imputation` writes them.
    source, target
        The cells imputed for, and the modality imputed.
    by
        Correlation over ``"cells"``, over ``"labels"``, or ``"auto"``: over cells where pairs are known.
    features
        Features to show by name, or how many: evenly from the best to the worst, so that the picture is that of all.
    key
        Key of the scores in ``mdata.uns``, if it is not the default one.
    ax
        One axes; a new figure by default.
    show
        Show the figure. By default only in an interactive session, when it is neither saved nor returned.
    save
        File to write, such as ``"scores.png"``.
    return_fig
        Return the figure instead of the axes.

    Returns
    -------
    The figure with ``return_fig``, nothing when it was shown, the list of axes otherwise.

    Raises
    ------
    ValueError
        If there are no scores (the message holds the call that makes them), no such modality or feature, or no feature has a
        correlation of that kind.

    See Also
    --------
    scgroove.pl.imputed_vs_measured, scgroove.pl.calibration

    Examples
    --------
    >>> scgroove.tl.score_imputation(mdata, "rna", "protein")  # doctest: +SKIP
    >>> scgroove.pl.imputation_scores(mdata, "rna", "protein")  # doctest: +SKIP
    """
    check_modalities(mdata, [source, target])
    table = _table(mdata, source, target, key)
    by = _by(table, by, (source, target))
    column, _ = _COLUMNS[by]
    known = table.dropna(subset=[column]).sort_values(column, ascending=False, kind="stable")
    shown = _shown(known, table, features)
    baseline = by == "cells" and bool(known[_BASELINE].notna().any())
    with style():
        size = (max(0.145 * len(shown), 2.2) + 2.6, 2.9)
        fig, axes = panel_grid(1, ax, figsize=size, ncols=1, what="the bars")
        _draw(axes[0], shown, column, baseline=baseline)
        _summarize(axes[0], known, column, baseline=baseline)
        named = not isinstance(features, int)
        axes[0].set_title(
            _title(table, known, shown, by, (source, target), named=named), loc="left"
        )
        return finish(fig, axes, show=show, save=save, return_fig=return_fig)


def _table(mdata: MuData, source: str, target: str, key: str | None) -> pd.DataFrame:
    name = key if key is not None else _keys.imputation(source, target)
    call = f"score_imputation(mdata, {source!r}, {target!r}{'' if key is None else f', key_added={key!r}'})"
    found = stored(mdata, name, call)
    if "features" not in found:
        raise InputError(
            f"mdata.uns[{name!r}] holds {listed(found)}, but no table of 'features'. Score again with scgroove.tl.{call}."
        )
    return pd.DataFrame(found["features"])


def _by(table: pd.DataFrame, by: str, pair: tuple[str, str]) -> Literal["cells", "labels"]:
    """Say over what correlations are; they must be there."""
    for kind in ("cells", "labels") if by == "auto" else (by,):
        if table[_COLUMNS[kind][0]].notna().any():
            return "cells" if kind == "cells" else "labels"
    needed = {
        "cells": "cells measured in both modalities (pair_key=)",
        "labels": "three labels in both modalities (label_key=)",
        "auto": "cells measured in both modalities (pair_key=), or three labels in both (label_key=)",
    }
    raise InputError(
        f"No feature of {pair[1]!r} has a correlation of imputed with measured values by {by!r}: that needs {needed[by]}. "
        f"Name the column in scgroove.tl.score_imputation(mdata, {pair[0]!r}, {pair[1]!r}, ...)."
    )


def _shown(known: pd.DataFrame, table: pd.DataFrame, features: int | Sequence[str]) -> pd.DataFrame:
    """Features by name, or so many, evenly from the best to the worst."""
    if isinstance(features, int):
        if features < 1:
            raise InputError(f"features is {features}; expected at least 1, or names of features.")
        places = np.linspace(0, len(known) - 1, min(features, len(known))).round().astype(int)
        return known.iloc[places]
    names = table["feature"].map(str).tolist()
    for name in features:
        if name not in names:
            raise InputError(
                f"There is no imputed feature {name!r}; there are {len(names)}, such as {listed(names, 6)}."
                f"{did_you_mean(name, names)}"
            )
    return table.set_index("feature").loc[list(features)].reset_index()


def _draw(ax: Axes, shown: pd.DataFrame, column: str, *, baseline: bool) -> None:
    places = np.arange(len(shown))
    ax.bar(places, shown[column], width=0.74, color=LABELS[0], label="imputed")
    if baseline:
        ax.hlines(
            shown[_BASELINE],
            places - 0.45,
            places + 0.45,
            color=LABELS[1],
            linewidth=1.6,
            label="mean of the label",
        )
    ax.axhline(0, color="#222222", linewidth=0.6)
    ax.set_xticks(places, [shorten(str(name), _LONGEST) for name in shown["feature"]], rotation=90)
    ax.tick_params(axis="x", length=0)
    ax.set_xlim(-0.8, len(shown) - 0.2)
    lowest = float(np.nanmin(shown[[column, _BASELINE]] if baseline else shown[column]))
    ax.set_ylim(min(0.0, 1.1 * lowest), 1.02)
    ax.set_ylabel("Pearson r")


def _summarize(ax: Axes, known: pd.DataFrame, column: str, *, baseline: bool) -> None:
    """Draw the medians over all features as dashed lines, and write them into the legend."""
    from matplotlib.lines import Line2D

    marks = [
        ("imputed", LABELS[0], column),
        *([("mean of the label", LABELS[1], _BASELINE)] if baseline else []),
    ]
    handles: list[Any] = []
    for text, color, name in marks:
        median = float(known[name].median())
        ax.axhline(median, color=color, linewidth=0.8, linestyle=(0, (4, 2)), zorder=0)
        handles.append(
            Line2D([], [], color=color, linewidth=4, label=f"{text} (median of all: {median:.2f})")
        )
    ax.legend(
        handles=handles,
        frameon=False,
        loc="upper left",
        bbox_to_anchor=(1.01, 1.0),
        borderaxespad=0,
    )


def _title(
    table: pd.DataFrame,
    known: pd.DataFrame,
    shown: pd.DataFrame,
    by: str,
    pair: tuple[str, str],
    *,
    named: bool,
) -> str:
    n = int(table[_COLUMNS[by][1]].max())
    what = "cells known in both" if by == "cells" else "labels, the mean of each"
    title = f"{pair[1]} imputed for {pair[0]} cells: r over {n:,} {what}"
    if len(shown) < len(known):
        title += f"\n{len(shown)} of {len(table):,} features{'' if named else ', evenly from the best to the worst'}"
    if len(known) < len(table):
        title += f"\nno r, because measured values do not vary: {len(table) - len(known):,}"
    return title
