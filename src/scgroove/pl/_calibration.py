"""How often intervals of imputed values hold what was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pandas as pd

from scgroove import _keys
from scgroove._figure import AxesLike, Plotted, finish, panel_grid, shorten, style
from scgroove._palette import UNLABELED, label_styles
from scgroove.errors import InputError
from scgroove.pl._read import check_modalities, listed, stored

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from mudata import MuData

_TOLD: Final = 0.9
"""Level whose coverage is written out."""
_LONGEST: Final = 24


def calibration(
    mdata: MuData,
    source: str,
    target: str,
    *,
    keys: str | Sequence[str] | Mapping[str, str] | None = None,
    ax: AxesLike | None = None,
    show: bool | None = None,
    save: str | Path | None = None,
    return_fig: bool = False,
) -> Plotted:
    """Plot how often intervals of each level hold the measured value.

    On the diagonal intervals hold as often as they say. Beneath it they are too narrow, and imputed values are less certain than they
    claim; above it they are wider than they need be. Coverage is over all features of the cells that were measured in both modalities.

    Parameters
    ----------
    mdata
        Modalities with scores, as :func:`scgroove.tl.score_imputation` writes them where pairs of cells are known and values were
        imputed with uncertainty.
    source, target
        The cells imputed for, and the modality imputed.
    keys
        Keys of the scores in ``mdata.uns``, for several ways of imputing in one figure; as a mapping, with the name that each has in
        the legend: ``{"decoder": "imputation_rna_protein", "neighbors": "knn_scores"}``. By default the one that
        :func:`scgroove.tl.score_imputation` writes without ``key_added``.
    ax
        One axes; a new figure by default.
    show
        Show the figure. By default only in an interactive session, when it is neither saved nor returned.
    save
        File to write, such as ``"calibration.png"``.
    return_fig
        Return the figure instead of the axes.

    Returns
    -------
    The figure with ``return_fig``, nothing when it was shown, the list of axes otherwise.

    Raises
    ------
    ValueError
        If there are no scores (the message holds the call that makes them), none of intervals among them, or no such modality.

    See Also
    --------
    scgroove.get.imputed_interval, scgroove.pl.imputation_scores

    Examples
    --------
    >>> scgroove.pl.calibration(mdata, "rna", "protein")  # doctest: +SKIP
    """
    check_modalities(mdata, [source, target])
    named = _named(keys, source, target)
    tables = {name: _table(mdata, source, target, key) for name, key in named.items()}
    with style():
        texts = [_text(name if len(tables) > 1 else "", table) for name, table in tables.items()]
        size = (3.4 + 0.06 * max(map(len, texts)), 2.9)
        fig, axes = panel_grid(1, ax, figsize=size, ncols=1, what="the curve")
        _frame(axes[0])
        looks = label_styles(tables).values()
        for table, text, (color, marker) in zip(tables.values(), texts, looks, strict=True):
            line: Any = {
                "color": color,
                "marker": marker,
                "markersize": 3.5,
                "linewidth": 1.1,
                "label": text,
            }
            axes[0].plot(table["level"], table["coverage"], **line)
        axes[0].legend(loc="upper left", bbox_to_anchor=(1.03, 1.0), frameon=False, borderaxespad=0)
        axes[0].set_title(f"{target} imputed for {source} cells", loc="left")
        return finish(fig, axes, show=show, save=save, return_fig=return_fig)


def _named(
    keys: str | Sequence[str] | Mapping[str, str] | None, source: str, target: str
) -> dict[str, str]:
    """Keys by the name that each has in the legend."""
    if keys is None:
        keys = _keys.imputation(source, target)
    if isinstance(keys, Mapping):
        return dict(keys)
    return {key: key for key in ([keys] if isinstance(keys, str) else keys)}


def _table(mdata: MuData, source: str, target: str, key: str) -> pd.DataFrame:
    added = "" if key == _keys.imputation(source, target) else f", key_added={key!r}"
    call = f"score_imputation(mdata, {source!r}, {target!r}{added})"
    found: Any = stored(mdata, key, call)
    if "calibration" not in found:
        raise InputError(
            f"mdata.uns[{key!r}] holds {listed(found)}, but no 'calibration': that needs cells measured in both modalities "
            f"(pair_key=), and values imputed with uncertainty=True. Impute and score again, scgroove.tl.{call}."
        )
    return pd.DataFrame(found["calibration"]).sort_values("level")


def _text(name: str, table: pd.DataFrame) -> str:
    """Line of the legend, with the coverage of one level written out."""
    row = table.iloc[(table["level"] - _TOLD).abs().argmin()]
    told = f"{row['level']:.0%} intervals hold {row['coverage']:.0%}"
    return f"{shorten(name, _LONGEST)}: {told}" if name else told


def _frame(ax: Axes) -> None:
    """Diagonal, what its sides mean, and the axes."""
    ax.plot([0, 1], [0, 1], color="#8A929B", linewidth=0.9, linestyle=(0, (4, 2)), zorder=0)
    gray: Any = {"fontsize": 7, "color": "#6B747D", "transform": ax.transAxes}
    ax.text(0.04, 0.96, "too wide", ha="left", va="top", **gray)
    ax.text(0.96, 0.04, "too narrow", ha="right", va="bottom", **gray)
    ax.fill_between([0, 1], [0, 1], 0, color=UNLABELED, alpha=0.18, linewidth=0, zorder=-1)
    ax.set(
        xlim=(0, 1),
        ylim=(0, 1),
        xlabel="level of an interval",
        ylabel="share of measured values in it",
    )
    ax.set_box_aspect(1)
    ax.set_anchor("W")  # the legend is at the right
