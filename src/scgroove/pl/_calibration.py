"""Coverage of the intervals of imputed values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pandas as pd

from scgroove import _keys
from scgroove._figure import (
    AxesLike,
    Plotted,
    finish,
    legend_beside,
    panel_grid,
    shorten,
    style,
)
from scgroove._palette import UNLABELED, label_styles
from scgroove.errors import InputError, listed
from scgroove.pl._read import stored

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from mudata import MuData

_WRITTEN_OUT: Final = 0.9
"""Level whose coverage stands in the legend."""


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

    On the diagonal, intervals hold as often as they say. Below it they are too narrow, and imputed
    values are less certain than they claim. Coverage is over all features of the cells that were
    measured in both modalities.

    Parameters
    ----------
    mdata
        Modalities with scores of values imputed with uncertainty, as
        :func:`scgroove.tl.score_imputation` writes them where pairs of cells are known.
    source, target
        The cells imputed for, and the modality imputed.
    keys
        Keys of the scores in ``mdata.uns``, for several ways of imputing in one figure. A mapping
        gives each a name in the legend: ``{"decoder": "imputation_rna_protein"}``.
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
        If there are no scores, or none of intervals. The message holds the call that makes them.

    See Also
    --------
    scgroove.get.imputed_interval, scgroove.pl.imputation_scores

    Examples
    --------
    >>> scgroove.pl.calibration(mdata, "rna", "protein")  # doctest: +SKIP
    """
    given = _keys.imputation(source, target) if keys is None else keys
    if not isinstance(given, Mapping):
        given = {key: key for key in ([given] if isinstance(given, str) else given)}
    tables = {name: _table(mdata, source, target, key) for name, key in given.items()}
    texts = [_text(name if len(tables) > 1 else "", table) for name, table in tables.items()]
    with style():
        size = (3.4 + 0.06 * max(map(len, texts)), 2.9)
        fig, axes = panel_grid(1, ax, figsize=size, ncols=1, what="the curve")
        _frame(axes[0])
        look: Any = {"markersize": 3.5, "linewidth": 1.1}
        styles = label_styles(tables).values()
        for table, text, (color, marker) in zip(tables.values(), texts, styles, strict=True):
            axes[0].plot(
                table["level"], table["coverage"], color=color, marker=marker, label=text, **look
            )
        legend_beside(axes[0], bbox_to_anchor=(1.03, 1.0))
        axes[0].set_title(f"{target} imputed for {source} cells", loc="left")
        return finish(fig, axes, show=show, save=save, return_fig=return_fig)


def _table(mdata: MuData, source: str, target: str, key: str) -> pd.DataFrame:
    added = "" if key == _keys.imputation(source, target) else f", key_added={key!r}"
    call = f"score_imputation(mdata, {source!r}, {target!r}{added})"
    found: Any = stored(mdata, key, call)
    if "calibration" not in found:
        raise InputError(
            f"mdata.uns[{key!r}] holds {listed(found)}, but no 'calibration': that needs cells "
            "measured in both modalities (pair_key=), and values imputed with uncertainty=True. "
            f"Impute and score again, scgroove.tl.{call}."
        )
    return pd.DataFrame(found["calibration"]).sort_values("level")


def _text(name: str, table: pd.DataFrame) -> str:
    row = table.iloc[(table["level"] - _WRITTEN_OUT).abs().argmin()]
    text = f"{row['level']:.0%} intervals hold {row['coverage']:.0%}"
    return f"{shorten(name)}: {text}" if name else text


def _frame(ax: Axes) -> None:
    """Draw the diagonal, and say what its sides mean."""
    ax.plot([0, 1], [0, 1], color="#8A929B", linewidth=0.9, linestyle=(0, (4, 2)), zorder=0)
    gray: Any = {"fontsize": 7, "color": "#6B747D", "transform": ax.transAxes}
    ax.text(0.04, 0.96, "too wide", ha="left", va="top", **gray)
    ax.text(0.96, 0.04, "too narrow", ha="right", va="bottom", **gray)
    ax.fill_between([0, 1], [0, 1], 0, color=UNLABELED, alpha=0.18, linewidth=0, zorder=-1)
    ax.set(xlim=(0, 1), ylim=(0, 1), xlabel="level of an interval")
    ax.set_ylabel("share of measured values in it")
    ax.set_box_aspect(1)
    ax.set_anchor("W")  # the legend is at the right
