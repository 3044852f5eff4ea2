"""Training curves, one panel a term."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scgroove._figure import AxesLike, Plotted, finish, panel_grid, style
from scgroove._palette import TRAIN, VALIDATION
from scgroove.errors import InputError
from scgroove.pl._read import check_known

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_TITLES = {
    "loss": "total loss",
    "groupclip": "GroupCLIP",
    "backtranslation": "back-translation",
    "label_accuracy": "label accuracy across modalities",
}
"""Titles of the terms that come first."""
_COLORS = {"train": TRAIN, "validation": VALIDATION}

Curves = dict[str, dict[str, pd.Series]]


def training_history(
    model: Any,
    *,
    terms: Sequence[str] | None = None,
    ncols: int | None = None,
    ax: AxesLike | None = None,
    show: bool | None = None,
    save: str | Path | None = None,
    return_fig: bool = False,
) -> Plotted:
    """Plot each term of the training loss against the epoch, for training and validation cells.

    Every term has a panel and a scale of its own, because a weighted sum hides which of them still
    falls. A validation curve that rises while its training curve falls means overfitting.

    Parameters
    ----------
    model
        A trained :class:`scgroove.model.GROOVE`, or its ``history``: name to data frame indexed by
        epoch.
    terms
        Terms to show, in this order, such as ``"groupclip"``. All by default. ``"loss"`` is the
        total.
    ncols
        Panels in a row. By default at most four, in rows as even as can be.
    ax
        One axes for each panel. A new figure by default.
    show, save, return_fig
        As for :func:`scgroove.pl.latent`.

    Returns
    -------
    As for :func:`scgroove.pl.latent`.

    Raises
    ------
    ValueError
        If the model is not trained, or has no such term.
    """
    curves = _curves(model if isinstance(model, Mapping) else getattr(model, "history", None))
    if terms is None:
        terms = [term for term in curves if not term.endswith("_weight")]
    curves = {term: curves[term] for term in check_known("term", terms, curves)}
    n_cols = min(ncols or math.ceil(len(curves) / math.ceil(len(curves) / 4)), len(curves))
    n_rows = math.ceil(len(curves) / n_cols)
    with style():
        size = (2.5 * n_cols, 1.9 * n_rows + 0.35)
        fig, axes = panel_grid(len(curves), ax, figsize=size, ncols=n_cols, what=", ".join(curves))
        handles: dict[str, Any] = {}
        for panel, (term, splits) in zip(axes, curves.items(), strict=True):
            handles |= _draw(panel, term, splits)
        for panel in axes[-n_cols:]:
            panel.set_xlabel("epoch")
        options: dict[str, Any] = {"ncols": len(handles), "frameon": False}
        if ax is None:
            fig.legend(handles.values(), handles, loc="outside lower center", **options)
        else:
            axes[0].legend(list(handles.values()), list(handles), **options)
        return finish(fig, axes, show=show, save=save, return_fig=return_fig)


def _curves(history: Mapping[str, Any] | None) -> Curves:
    """Sort the series of a history by term and split."""
    if not history:
        raise InputError(
            "There is no training history: train the model first, e.g. model.train(), then "
            "scgroove.pl.training_history(model)."
        )
    found: Curves = {}
    for name, values in history.items():
        match = re.fullmatch(r"(.+?)_(train|validation)", str(name))
        term, split = (match[1], match[2]) if match else (str(name), "train")
        if term in ("train_loss", "train_loss_epoch", "validation_loss"):
            term, split = "loss", term.split("_")[0]
        series = values.iloc[:, 0] if isinstance(values, pd.DataFrame) else pd.Series(values)
        series = pd.to_numeric(series, errors="coerce").dropna()
        if len(series) and not term.endswith("_step"):
            found.setdefault(term, {})[split] = series
    losses = [term for term in found if term.startswith("reconstruction_")]
    order = dict.fromkeys([*_TITLES, *losses, *found])
    return {term: dict(sorted(found[term].items())) for term in order if term in found}


def _draw(ax: Axes, term: str, splits: Mapping[str, pd.Series]) -> dict[str, Any]:
    """Draw a term, and return its lines by split."""
    from matplotlib.ticker import MaxNLocator

    lines = {}
    for split, series in splits.items():
        look: Any = {"color": _COLORS[split], "label": split, "markersize": 2.5, "linewidth": 1.2}
        look["marker"] = "o" if len(series) <= 12 else None
        (lines[split],) = ax.plot(series.index.to_numpy(float), series.to_numpy(float), **look)
    title = re.sub("^reconstruction_", "reconstruction of ", term)
    if title == term:
        title = _TITLES.get(term, term.replace("_", " "))
    ax.set_title(title, loc="left")
    _limit(ax, [series.to_numpy(float) for series in splits.values()])
    ax.margins(x=0.02)
    ax.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    return lines


def _limit(ax: Axes, values: list[np.ndarray[Any, Any]]) -> None:
    """Leave the first epochs out of the scale where they would flatten all that follows."""
    later = [v[max(1, len(v) // 20) :] for v in values if len(v) > 10]
    if not later:
        return
    every = np.concatenate(later)
    high, spread = float(every.max()), float(np.ptp(every))
    first = np.concatenate(values)
    if spread > 0 and first.max() > high + 2 * spread:
        ax.set_ylim(float(first.min()) - 0.08 * spread, high + 0.35 * spread)
