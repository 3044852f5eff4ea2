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
from scgroove.errors import InputError, did_you_mean
from scgroove.pl._read import listed

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_FIRST = ("loss", "groupclip", "backtranslation", "label_accuracy")
_TITLES = {
    "loss": "total loss",
    "groupclip": "GroupCLIP",
    "backtranslation": "back-translation",
    "label_accuracy": "label accuracy across modalities",
}
_SPLIT_COLORS = {"train": TRAIN, "validation": VALIDATION}

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

    Every term has a panel and a scale of its own, because a weighted sum hides which of them still falls.
    A validation curve that rises while its training curve falls means overfitting of that term.

    Parameters
    ----------
    model
        A trained :class:`scgroove.model.GROOVE`, or its ``history``: name to data frame indexed by epoch.
    terms
        Terms to show, in this order, such as ``"groupclip"``; all by default. ``"loss"`` is the total.
    ncols
        Panels in a row; by default at most four, in rows as even as can be.
    ax
        One axes for each panel; a new figure by default.
    show
        Show the figure. By default only in an interactive session, when it is neither saved nor returned.
    save
        File to write, such as ``"history.png"``.
    return_fig
        Return the figure instead of the axes.

    Returns
    -------
    The figure with ``return_fig``, nothing when it was shown, the list of axes otherwise.

    Raises
    ------
    ValueError
        If the model is not trained, or has no such term.
    """
    history = model if isinstance(model, Mapping) else getattr(model, "history", None)
    curves = _select(_curves(history), terms)
    n_cols = min(ncols or math.ceil(len(curves) / math.ceil(len(curves) / 4)), len(curves))
    n_rows = math.ceil(len(curves) / n_cols)
    with style():
        size = (2.5 * n_cols, 1.9 * n_rows + 0.35)
        fig, axes = panel_grid(len(curves), ax, figsize=size, ncols=n_cols, what=", ".join(curves))
        for panel, (term, splits) in zip(axes, curves.items(), strict=True):
            _draw(panel, term, splits)
        for panel in axes[-n_cols:]:
            panel.set_xlabel("epoch")
        _legend(fig if ax is None else axes[0], axes)
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
        if str(name).endswith("_step"):
            continue
        term, split = _term_and_split(str(name))
        series = _as_series(values)
        if len(series):
            found.setdefault(term, {})[split] = series
    found = {term: dict(sorted(splits.items())) for term, splits in found.items()}  # train first
    first = [term for term in _FIRST if term in found]
    losses = [term for term in found if term.startswith("reconstruction_")]
    others = [term for term in found if term not in first and term not in losses]
    return {term: found[term] for term in [*first, *losses, *others]}


def _term_and_split(name: str) -> tuple[str, str]:
    if name in {"train_loss", "train_loss_epoch"}:
        return "loss", "train"
    if name == "validation_loss":
        return "loss", "validation"
    match = re.fullmatch(r"(.+)_(train|validation)", name)
    return (match[1], match[2]) if match else (name, "train")


def _as_series(values: Any) -> pd.Series:
    series = values.iloc[:, 0] if isinstance(values, pd.DataFrame) else pd.Series(values)
    return pd.to_numeric(series, errors="coerce").dropna()


def _select(curves: Curves, terms: Sequence[str] | None) -> Curves:
    if terms is None:
        return {term: splits for term, splits in curves.items() if not term.endswith("_weight")}
    for term in terms:
        if term not in curves:
            raise InputError(
                f"The history has no term {term!r}; it has {listed(curves, 40)}.{did_you_mean(term, curves)}"
            )
    return {term: curves[term] for term in terms}


def _draw(ax: Axes, term: str, splits: Mapping[str, pd.Series]) -> None:
    from matplotlib.ticker import MaxNLocator

    for split, series in splits.items():
        ax.plot(
            series.index.to_numpy(dtype=float),
            series.to_numpy(dtype=float),
            color=_SPLIT_COLORS[split],
            marker="o" if len(series) <= 12 else None,
            markersize=2.5,
            linewidth=1.2,
            label=split,
        )
    ax.set_title(_title(term), loc="left")
    _limit(ax, splits.values())
    ax.margins(x=0.02)
    ax.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))


def _title(term: str) -> str:
    if term.startswith("reconstruction_"):
        return f"reconstruction of {term.removeprefix('reconstruction_')}"
    return _TITLES.get(term, term.replace("_", " "))


def _limit(ax: Axes, series: Any) -> None:
    """Leave the first epochs out of the scale where they would flatten all that follows."""
    values = [s.to_numpy(dtype=float) for s in series]
    later = np.concatenate(
        [v[max(1, len(v) // 20) :] for v in values if len(v) > 10] or [np.empty(0)]
    )
    if later.size == 0:
        return
    low, high = float(later.min()), float(later.max())
    top = max(float(v.max()) for v in values)
    spread = high - low
    if spread > 0 and top > high + 2 * spread:
        bottom = min(float(v.min()) for v in values)
        ax.set_ylim(bottom - 0.08 * spread, high + 0.35 * spread)


def _legend(where: Any, axes: list[Axes]) -> None:
    """One legend for all panels."""
    handles: dict[str, Any] = {}
    for ax in axes:
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    options: dict[str, Any] = {"ncols": len(handles), "frameon": False}
    if hasattr(where, "subfigs"):
        options["loc"] = "outside lower center"
    where.legend(list(handles.values()), list(handles), **options)
