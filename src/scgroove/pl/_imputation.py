"""Imputed values against measured ones: cell by cell where the truth is known, label by label elsewhere."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import scipy.sparse as sp

from scgroove import _keys
from scgroove._figure import AxesLike, Plotted, finish, natural_order, panel_grid, shorten, style
from scgroove._labels import UnlabeledCategory
from scgroove._palette import TRAIN, UNLABELED, label_styles
from scgroove.errors import InputError, did_you_mean
from scgroove.pl._read import LabelKey, check_modalities, label_colors, labels_of, listed

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from mudata import MuData

By = Literal["auto", "cells", "labels"]
_LEGEND_UP_TO = 30
_MARKERS_UP_TO = 200
_COLUMN_BLOCK = 2048
Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class _Panel:
    """What one panel shows: measured (x), imputed (y), and standard errors where points are means."""

    feature: str
    x: Array
    y: Array
    x_error: Array | None = None
    y_error: Array | None = None

    def correlation(self) -> float:
        """Pearson's r; NaN where it is not defined."""
        if len(self.x) < 3 or np.ptp(self.x) == 0 or np.ptp(self.y) == 0:
            return math.nan
        return float(np.corrcoef(self.x, self.y)[0, 1])


def imputed_vs_measured(
    mdata: MuData,
    source: str,
    target: str,
    *,
    by: By = "auto",
    features: int | Sequence[str] = 12,
    label_key: LabelKey = _keys.LABEL,
    pair_key: str | None = None,
    imputed_key: str | None = None,
    layer: str | None = None,
    unlabeled_category: UnlabeledCategory = None,
    colors: Mapping[str, str] | None = None,
    ncols: int = 4,
    ax: AxesLike | None = None,
    show: bool | None = None,
    save: str | Path | None = None,
    return_fig: bool = False,
) -> Plotted:
    """Plot imputed against measured values of the target's features, one panel a feature.

    Where cells of the source were measured in the target too (the truth is known), every point is a cell.
    Elsewhere every point is a label: the mean imputed for its source cells against the mean measured in its
    target cells, with standard errors. The model has seen those labels in training, so agreement by label is
    a necessary check and no proof; single cells can still be wrong.

    Parameters
    ----------
    mdata
        Modalities with imputed values, as :func:`scgroove.tl.impute` writes them.
    source, target
        The cells imputed for, and the modality imputed.
    by
        ``"cells"``, ``"labels"``, or ``"auto"``: cells where the pairing is known.
    features
        Features to show by name, or how many: those whose measured label means differ most, relative to the
        spread within labels.
    label_key
        Column of the labels in ``mod[m].obs``, or one for each modality.
    pair_key
        Column of ``mod[m].obs`` that tells which cells are the same. Default: as ``paired`` of
        ``setup_mudata`` says; ``"auto"`` for data that were not set up.
    imputed_key
        Key of the imputed values in ``mod[source].obsm``, if it is not the default one.
    layer
        Layer of the target that holds the measured values; by default the one that imputation used, or X. Counts
        are scaled to the library size of the imputed ones (:func:`scgroove.get.measured`).
    unlabeled_category
        Label that stands for "no label".
    colors
        Colors of some labels; by default those in ``mod[m].uns["<label>_colors"]`` where there are any.
    ncols
        Panels in a row.
    ax
        One axes for each panel; a new figure by default.
    show
        Show the figure. By default only in an interactive session, when it is neither saved nor returned.
    save
        File to write, such as ``"imputation.png"``.
    return_fig
        Return the figure instead of the axes.

    Returns
    -------
    The figure with ``return_fig``, nothing when it was shown, the list of axes otherwise.

    Raises
    ------
    ValueError
        If nothing was imputed, a name is unknown, or there is neither a pairing nor a shared label.
    """
    check_modalities(mdata, [source, target])
    from scgroove import get
    from scgroove.data.pairing import known_partners
    from scgroove.get.values import for_scores

    imputed = get.imputed(mdata, source, target, imputed_key)
    _check_layer(mdata, target, layer)
    measured = get.measured(mdata, source, target, imputed_key, layer=layer)
    labels = {m: labels_of(mdata, m, label_key, unlabeled_category) for m in (source, target)}
    partner: Array | None = None
    if by != "labels":
        both = (labels[source], labels[target])
        partner, why = known_partners(mdata, source, target, pair_key, both)
        _check_pairs(partner, why, source, target, by)
    measured, partner = for_scores(measured, labels[target], partner)
    names = _choose_features(features, imputed, measured, labels[target])
    columns = {name: i for i, name in enumerate(map(str, imputed.columns))}
    y = imputed.to_numpy()[:, [columns[name] for name in names]].astype(float)
    x = _dense(measured[:, [columns[name] for name in names]])
    if partner is not None:
        rows = np.flatnonzero(partner >= 0)
        panels = _cell_panels(names, x, y, rows, partner[rows])
        shared: list[str] = []
    else:
        panels, shared = _label_panels(names, x, y, labels[target], labels[source])
    colors = label_colors(mdata, (source, target), label_key, colors)
    of = f"{len(names)} of {imputed.shape[1]} features of {target}, imputed for {source} cells; each point a "
    with style():
        fig, axes = _axes(len(panels), ax, ncols, n_labels=len(shared))
        for i, (panel, axis) in enumerate(zip(panels, axes, strict=True)):
            _draw(axis, panel, label_styles(shared, colors))
            axis.set_xlabel("measured" if i >= len(axes) - ncols else "")
            axis.set_ylabel("imputed" if i % ncols == 0 else "")
        if ax is None:
            _frame(fig, of + ("label" if shared else "cell"), shared, colors)
        return finish(fig, axes, show=show, save=save, return_fig=return_fig)


def _check_layer(mdata: MuData, target: str, layer: str | None) -> None:
    adata = mdata.mod[target]
    if layer is not None and layer not in adata.layers:
        names = [name for name in adata.layers if name is not None]  # anndata 0.13 lists X as None
        raise InputError(
            f"mod[{target!r}].layers has no {layer!r}; it has {listed(names)}."
            f"{did_you_mean(layer, names)} Leave layer out for X."
        )


def _check_pairs(partner: Array | None, why: str, source: str, target: str, by: By) -> None:
    if partner is None and by == "cells":
        raise InputError(
            f"No cell of {source!r} is known to be a cell of {target!r}: {why}. Name the column that pairs them "
            "with pair_key=, or compare label by label with by='labels'."
        )


def _dense(x: Any) -> Array:
    return np.asarray(x.toarray() if sp.issparse(x) else x, dtype=float)


def _choose_features(
    features: int | Sequence[str], imputed: pd.DataFrame, measured: Any, labels: Array
) -> list[str]:
    names = [str(name) for name in imputed.columns]
    if not isinstance(features, int):
        for name in features:
            if name not in names:
                raise InputError(
                    f"There is no imputed feature {name!r}; there are {len(names)}, such as "
                    f"{listed(names, 6)}.{did_you_mean(name, names)}"
                )
        return list(features)
    if features < 1:
        raise InputError(f"features is {features}; expected at least 1, or names of features.")
    if features >= len(names):
        return names
    best = np.argsort(-_separation(measured, labels), kind="stable")[:features]
    return [names[i] for i in best]


def _separation(measured: Any, labels: Array) -> Array:
    """Variance between label means over variance within labels, feature by feature, in blocks of columns."""
    known = np.array([label is not None for label in labels], dtype=bool)
    rows = np.flatnonzero(known)
    if not len(rows):
        rows, labels = np.arange(len(labels)), np.arange(len(labels)).astype(object)
    _, codes, counts = np.unique(labels[rows].astype(str), return_inverse=True, return_counts=True)
    groups = sp.csr_matrix((1.0 / counts[codes], (codes, np.arange(len(rows)))))
    x = sp.csr_matrix(measured[rows]) if sp.issparse(measured) else np.asarray(measured[rows])
    parts = []
    for start in range(0, x.shape[1], _COLUMN_BLOCK):
        block: Any = x[:, start : start + _COLUMN_BLOCK].astype(float)
        squares = block.multiply(block) if sp.issparse(block) else block**2
        means, second = (
            np.asarray(m.toarray() if sp.issparse(m) else m)
            for m in (groups @ block, groups @ squares)
        )
        within = np.maximum(second - means**2, 0).mean(axis=0)
        parts.append(means.var(axis=0) / (within + 1e-12 + within.mean() * 1e-3))
    return np.concatenate(parts)


def _cell_panels(
    names: Sequence[str], x: Array, y: Array, rows: Array, columns: Array
) -> list[_Panel]:
    return [_Panel(name, x[columns, k], y[rows, k]) for k, name in enumerate(names)]


def _label_panels(
    names: Sequence[str], x: Array, y: Array, x_labels: Array, y_labels: Array
) -> tuple[list[_Panel], list[str]]:
    """Means and standard errors of each label that both modalities have."""
    shared = natural_order(
        {la for la in x_labels if la is not None} & {la for la in y_labels if la is not None}
    )
    if not shared:
        raise InputError(
            "There is neither a known pairing nor a label in both modalities, so nothing imputed can be "
            "compared with a measurement. Name the columns with label_key= or pair_key=."
        )
    x_mean, x_error = _moments(x, x_labels, shared)
    y_mean, y_error = _moments(y, y_labels, shared)
    panels = [
        _Panel(name, x_mean[:, k], y_mean[:, k], x_error[:, k], y_error[:, k])
        for k, name in enumerate(names)
    ]
    return panels, shared


def _moments(values: Array, labels: Array, shared: Sequence[str]) -> tuple[Array, Array]:
    place = {label: code for code, label in enumerate(shared)}
    codes = np.array([place.get(label, -1) for label in labels])
    rows = np.flatnonzero(codes >= 0)
    codes, n = codes[rows], np.bincount(codes[rows])
    sums = sp.csr_matrix((np.ones(rows.size), (codes, np.arange(rows.size))))
    means = (sums @ values[rows]) / n[:, None]
    squares = sums @ (values[rows] - means[codes]) ** 2
    freedom = np.where(n > 1, n - 1, np.nan)  # the spread of one cell is not known
    return means, np.sqrt(squares / (freedom * n)[:, None])


def _axes(n: int, ax: AxesLike | None, ncols: int, n_labels: int) -> tuple[Any, list[Axes]]:
    ncols = min(ncols, n)
    legend = (
        0.16 * math.ceil(n_labels / _legend_columns(ncols))
        if 0 < n_labels <= _LEGEND_UP_TO
        else 0.0
    )
    size = (2.1 * ncols + 0.3, 2.05 * math.ceil(n / ncols) + 0.55 + legend)
    return panel_grid(n, ax, figsize=size, ncols=ncols, what="one for each feature")


def _legend_columns(ncols: int) -> int:
    return 2 * ncols


def _draw(ax: Axes, panel: _Panel, styles: Mapping[str, tuple[str, str]]) -> None:
    finite = np.concatenate([panel.x, panel.y])
    low = float(np.nanmin(finite))
    ax.axline((low, low), slope=1, color=UNLABELED, linewidth=0.9, zorder=0)
    if panel.x_error is None or panel.y_error is None:
        size = float(np.clip(4000 / len(panel.x), 1.5, 12))
        ax.scatter(panel.x, panel.y, s=size, color=TRAIN, alpha=0.4, linewidths=0, rasterized=True)
    elif len(styles) > _MARKERS_UP_TO:
        colors: Any = [color for color, _ in styles.values()]
        ax.scatter(panel.x, panel.y, s=4, c=colors, linewidths=0, rasterized=True)
        bars = ax.errorbar(
            panel.x, panel.y, panel.y_error, panel.x_error, fmt="none", ecolor=colors
        )
        for bar in bars.lines[2]:
            bar.set(rasterized=True, linewidth=0.4)
    else:
        for i, (color, marker) in enumerate(styles.values()):
            ax.errorbar(
                panel.x[i],
                panel.y[i],
                xerr=panel.x_error[i],
                yerr=panel.y_error[i],
                fmt=marker,
                color=color,
                markersize=3.5,
                elinewidth=0.7,
            )
    ax.margins(0.1)
    r = panel.correlation()
    number = "not defined" if math.isnan(r) else f"{r:.2f}"
    ax.set_title(f"{shorten(panel.feature, 20)}   r {number}", loc="left")
    ax.locator_params(nbins=4)


def _frame(
    fig: Any, subtitle: str, shared: Sequence[str], colors: Mapping[str, str] | None
) -> None:
    """Write what all panels share around them."""
    columns = fig.axes[0].get_gridspec().ncols
    fig.suptitle(
        subtitle if columns > 2 else subtitle.replace("; ", "\n"), fontsize=8, x=0.01, ha="left"
    )
    if not 0 < len(shared) <= _LEGEND_UP_TO:
        return
    from matplotlib.lines import Line2D

    handles = [
        Line2D(
            [], [], linestyle="", color=color, marker=marker, markersize=4, label=shorten(label, 14)
        )
        for label, (color, marker) in label_styles(shared, colors).items()
    ]
    options: dict[str, Any] = {
        "loc": "outside lower center",
        "frameon": False,
        "handletextpad": 0.1,
    }
    fig.legend(
        handles=handles,
        ncols=min(len(handles), _legend_columns(columns)),
        columnspacing=1.0,
        **options,
    )
