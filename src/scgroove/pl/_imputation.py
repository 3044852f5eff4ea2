"""Imputed against measured values, by cell where pairs are known and by label elsewhere."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import scipy.sparse as sp

from scgroove import _keys
from scgroove._figure import (
    AxesLike,
    Plotted,
    dots,
    finish,
    natural_order,
    panel_grid,
    shorten,
    style,
)
from scgroove._labels import UnlabeledCategory
from scgroove._palette import TRAIN, UNLABELED, label_styles
from scgroove.errors import InputError
from scgroove.pl._read import Array, check_known, check_number, label_colors, labels_of_pair

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from mudata import MuData

    from scgroove.data.checks import PerModality

_LEGEND_UP_TO: Final = 30
_MARKERS_UP_TO: Final = 200
_COLUMN_BLOCK: Final = 2048


@dataclass(frozen=True)
class _Points:
    """Measured (x) and imputed (y) values, (n, features), with standard errors of means."""

    x: Array
    y: Array
    x_error: Array | None = None
    y_error: Array | None = None

    def correlation(self, feature: int) -> str:
        """Return Pearson's r of a feature as text."""
        x, y = self.x[:, feature], self.y[:, feature]
        if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
            return "not defined"
        r = np.corrcoef(x, y)[0, 1]
        return "not defined" if math.isnan(r) else f"{r:.2f}"


def imputed_vs_measured(
    mdata: MuData,
    source: str,
    target: str,
    *,
    by: Literal["auto", "cells", "labels"] = "auto",
    features: int | Sequence[str] = 12,
    label_key: PerModality = _keys.LABEL,
    pair_key: str | None = None,
    key: str | None = None,
    layer: str | None = None,
    unlabeled_category: UnlabeledCategory = None,
    ax: AxesLike | None = None,
    show: bool | None = None,
    save: str | Path | None = None,
    return_fig: bool = False,
) -> Plotted:
    """Plot imputed against measured values of the target's features, one panel a feature.

    Where cells of the source were measured in the target too, every point is a cell. Elsewhere
    every point is a label: the mean imputed for its source cells against the mean measured in its
    target cells, with standard errors. The model has seen those labels in training, so agreement by
    label is a necessary check and no proof: single cells can still be wrong.

    Parameters
    ----------
    mdata
        Modalities with imputed values, as :func:`scgroove.tl.impute` writes them.
    source, target
        The cells imputed for, and the modality imputed.
    by
        ``"cells"``, ``"labels"``, or ``"auto"``: cells where the pairing is known.
    features
        Names of features, or how many: those whose measured label means differ most, relative to
        the spread within labels.
    label_key
        Column of the labels in ``mod[m].obs``, or one for each modality.
    pair_key
        Column of ``mod[m].obs`` that tells which cells are the same. Default: as ``paired`` of
        ``setup_mudata`` says, ``"auto"`` for data that were not set up.
    key
        Key of the imputed values. Default ``"imputed_<target>"``.
    layer
        Layer of the target that holds the measured values. By default that of the imputation.
        Counts are scaled to the library size of the imputed ones (:func:`scgroove.get.measured`).
    unlabeled_category
        Label that stands for "no label".
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
        If nothing was imputed, a name is unknown, or there is neither a pairing nor a shared label.
    """
    from scgroove import get
    from scgroove.data.pairing import known_partners
    from scgroove.get.values import for_scores

    labels = labels_of_pair(mdata, source, target, label_key, unlabeled_category)
    imputed = get.imputed(mdata, source, target, key)
    measured = get.measured(mdata, source, target, key, layer=layer)
    partner: Array | None = None
    if by != "labels":
        both = (labels[source], labels[target])
        partner, why = known_partners(mdata, source, target, pair_key, both)
        if partner is None and by == "cells":
            raise InputError(
                f"No cell of {source!r} is known to be a cell of {target!r}: {why}. Name the "
                "column that pairs them with pair_key=, or compare by='labels'."
            )
    measured, partner = for_scores(measured, labels[target], partner)
    names = _choose_features(features, imputed, measured, labels[target])
    columns = [list(imputed.columns.map(str)).index(name) for name in names]
    y = imputed.to_numpy()[:, columns].astype(float)
    x = _dense(measured[:, columns])
    shared: list[str] = []
    if partner is not None:
        rows = np.flatnonzero(partner >= 0)
        points = _Points(x[partner[rows]], y[rows])
    else:
        shared = natural_order((set(labels[source]) & set(labels[target])) - {None})
        points = _by_label(x, y, labels[target], labels[source], shared)
    styles = label_styles(shared, label_colors(mdata, (source, target), label_key))
    legend = styles if 0 < len(shared) <= _LEGEND_UP_TO else {}
    ncols = min(4, len(names))
    height = 2.05 * math.ceil(len(names) / ncols) + 0.55
    height += 0.16 * math.ceil(len(legend) / (2 * ncols))
    with style():
        size = (2.1 * ncols + 0.3, height)
        fig, axes = panel_grid(len(names), ax, figsize=size, ncols=ncols, what="one a feature")
        for i, (name, panel) in enumerate(zip(names, axes, strict=True)):
            _draw(panel, points, i, styles)
            panel.set_title(f"{shorten(name, 20)}   r {points.correlation(i)}", loc="left")
            panel.set_xlabel("measured" if i >= len(axes) - ncols else "")
            panel.set_ylabel("imputed" if i % ncols == 0 else "")
        if ax is None:
            text = f"{len(names)} of {imputed.shape[1]} features of {target}, imputed for {source}"
            text += f" cells; each point a {'label' if shared else 'cell'}"
            text = text if ncols > 2 else text.replace("; ", "\n")
            fig.suptitle(text, fontsize=8, x=0.01, ha="left")
            handles = []
            for label, (color, marker) in legend.items():
                handles += dots((shorten(label, 14), color), size=4, marker=marker)
            if handles:
                look: Any = {"frameon": False, "handletextpad": 0.1, "columnspacing": 1.0}
                look["ncols"] = min(len(handles), 2 * ncols)
                fig.legend(handles=handles, loc="outside lower center", **look)
        return finish(fig, axes, show=show, save=save, return_fig=return_fig)


def _dense(x: Any) -> Array:
    return np.asarray(x.toarray() if sp.issparse(x) else x, dtype=float)


def _choose_features(
    features: int | Sequence[str], imputed: pd.DataFrame, measured: Any, labels: Array
) -> list[str]:
    names = [str(name) for name in imputed.columns]
    if not isinstance(features, int):
        return check_known("feature", features, names)
    check_number("feature", features)
    if features >= len(names):
        return names
    best = np.argsort(-_separation(measured, labels), kind="stable")[:features]
    return [names[i] for i in best]


def _separation(measured: Any, labels: Array) -> Array:
    """Return the variance between label means over that within labels, (d,), block by block."""
    rows = np.flatnonzero(labels != None)  # noqa: E711  elementwise
    if not len(rows):
        rows, labels = np.arange(len(labels)), np.arange(len(labels)).astype(object)
    _, codes, counts = np.unique(labels[rows].astype(str), return_inverse=True, return_counts=True)
    average = sp.csr_matrix((1.0 / counts[codes], (codes, np.arange(len(rows)))))
    x = sp.csr_matrix(measured[rows]) if sp.issparse(measured) else np.asarray(measured[rows])
    parts = []
    for start in range(0, x.shape[1], _COLUMN_BLOCK):
        block: Any = x[:, start : start + _COLUMN_BLOCK].astype(float)
        squares = block.multiply(block) if sp.issparse(block) else block**2
        means, second = _dense(average @ block), _dense(average @ squares)
        within = np.maximum(second - means**2, 0).mean(axis=0)
        parts.append(means.var(axis=0) / (within + 1e-12 + within.mean() * 1e-3))
    return np.concatenate(parts)


def _by_label(
    x: Array, y: Array, x_labels: Array, y_labels: Array, shared: Sequence[str]
) -> _Points:
    """Return means and standard errors of each label that both modalities have."""
    if not shared:
        raise InputError(
            "There is neither a known pairing nor a label in both modalities, so nothing imputed "
            "can be compared with a measurement. Name the columns with label_key= or pair_key=."
        )
    x_mean, x_error = _moments(x, x_labels, shared)
    y_mean, y_error = _moments(y, y_labels, shared)
    return _Points(x_mean, y_mean, x_error, y_error)


def _moments(values: Array, labels: Array, shared: Sequence[str]) -> tuple[Array, Array]:
    """Return means and their standard errors, NaN of a single cell. Each (n_labels, d)."""
    import pandas as pd

    groups = pd.DataFrame(values).groupby(pd.Series(labels, dtype=object))
    means, errors = groups.mean(), groups.sem()
    return means.loc[list(shared)].to_numpy(), errors.loc[list(shared)].to_numpy()


def _draw(ax: Axes, points: _Points, i: int, styles: Mapping[str, tuple[str, str]]) -> None:
    x, y = points.x[:, i], points.y[:, i]
    low = float(np.nanmin([x, y]))
    ax.axline((low, low), slope=1, color=UNLABELED, linewidth=0.9, zorder=0)
    flat: Any = {"linewidths": 0, "rasterized": True}
    if points.x_error is None or points.y_error is None:
        size = float(np.clip(4000 / len(x), 1.5, 12))
        ax.scatter(x, y, s=size, color=TRAIN, alpha=0.4, **flat)
    elif len(styles) > _MARKERS_UP_TO:
        colors: Any = [color for color, _ in styles.values()]
        ax.scatter(x, y, s=4, c=colors, **flat)
        errors = points.y_error[:, i], points.x_error[:, i]
        for lines in ax.errorbar(x, y, *errors, fmt="none", ecolor=colors).lines[2]:
            lines.set(rasterized=True, linewidth=0.4)
    else:
        look: Any = {"markersize": 3.5, "elinewidth": 0.7}
        for k, (color, marker) in enumerate(styles.values()):
            errors = points.y_error[k, i], points.x_error[k, i]
            ax.errorbar(x[k], y[k], *errors, fmt=marker, color=color, **look)
    ax.margins(0.1)
    ax.locator_params(nbins=4)
