"""Scores of imputed values, feature by feature."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from scgroove import metrics
from scgroove._labels import encode
from scgroove._types import Float64Array, IntArray, Labels
from scgroove.metrics.baselines import FEWEST_LABELS
from scgroove.metrics.values import label_sums


def feature_scores(
    names: Sequence[str],
    predicted: Any,
    measured: Any,
    labels: Sequence[Labels],
    partner: IntArray | None,
) -> pd.DataFrame:
    """Return how imputed values of each feature correlate with measured ones: over cells, and over means of labels.

    Parameters
    ----------
    names
        Names of the features.
    predicted, measured
        Values of source cells (n_source, f) and of target cells (n_target, f).
    labels
        Labels of source cells and of target cells.
    partner
        Target row of the same cell for each source cell, -1 where there is none; None: no pair is known.

    Returns
    -------
    DataFrame
        One row a feature: ``feature``; ``pearson`` over the cells with a known pair, ``label_mean`` (what the mean of the other
        measured cells of the label has), ``n`` (cells); ``pearson_of_labels`` over the means of the labels on both sides,
        ``n_labels``. NaN where there are no pairs, less than three labels, or measured values do not vary.
    """
    own, baseline, n = _of_cells(predicted, measured, labels, partner)
    of_labels, n_labels = _of_labels(predicted, measured, labels)
    return pd.DataFrame(
        {
            "feature": [str(name) for name in names],
            "pearson": own,
            "label_mean": baseline,
            "n": n,
            "pearson_of_labels": of_labels,
            "n_labels": n_labels,
        }
    )


def _of_cells(
    predicted: Any, measured: Any, labels: Sequence[Labels], partner: IntArray | None
) -> tuple[Float64Array, Float64Array, int]:
    """Return the correlations over cells with a known pair, those of the mean of their label, and how many cells there are."""
    unknown = np.full(predicted.shape[1], np.nan)
    if partner is None:
        return unknown, unknown, 0
    rows = np.flatnonzero(partner >= 0)
    truth, own = measured[partner[rows]], np.asarray(labels[0], dtype=object)[rows]
    found = metrics.pearson_per_feature(predicted[rows], truth, nan="omit")
    if len(encode(own)[0]) < FEWEST_LABELS:
        return found, unknown, int(rows.size)
    means = metrics.label_mean(measured, labels[1], own, exclude=partner[rows])
    return found, metrics.pearson_per_feature(means, truth, nan="omit"), int(rows.size)


def _of_labels(predicted: Any, measured: Any, labels: Sequence[Labels]) -> tuple[Float64Array, int]:
    """Return the correlations of the means of labels on both sides, and how many labels there are."""
    names, codes = encode(*labels)
    sides = [
        label_sums(values, own, len(names))
        for values, own in zip((predicted, measured), codes, strict=True)
    ]
    both = (sides[0][1] > 0) & (sides[1][1] > 0)
    n = int(both.sum())
    if n < FEWEST_LABELS:
        return np.full(predicted.shape[1], np.nan), n
    means = [sums[both] / counts[both, None] for sums, counts in sides]
    return metrics.pearson_per_feature(means[0], means[1], nan="omit"), n
