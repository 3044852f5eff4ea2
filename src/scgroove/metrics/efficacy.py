"""Probability that a cell shows the effect of its label, from control cells."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import pandas as pd
from scipy.special import expit, logit
from scipy.stats import beta, f

from scgroove._labels import encode, find_label, label_name
from scgroove._types import BoolArray, Float64Array, FloatArray, Labels
from scgroove.errors import InputError

RIDGE: Final = 1e-3
"""Added to the covariance of the controls, as a share of the mean variance of a dimension."""
FEWEST_CELLS: Final = 10
"""Labels of fewer cells are not estimated."""
N_ROUNDS: Final = 15
"""Rounds of expectation and maximization."""
SPREAD: Final = (0.5, 1.5)
"""Bounds of the standard deviation of cells with the effect, in that of the controls."""
SHARE: Final = (0.05, 0.98)
"""Bounds of the share of cells with the effect in a round."""
LEVEL: Final = 0.95
"""Level of the intervals of rates."""


class LabelEfficacy(NamedTuple):
    """Probability that each cell shows the effect of its label, (n,), and one row a label.

    The probability is 1 for controls and labels without a visible effect, NaN without a label. The
    table has ``label``, ``n_cells``, ``mean`` probability, ``rate`` with its 95 % interval
    ``rate_low`` to ``rate_high`` (NaN without a visible effect), ``undetectable``, ``statistic``,
    ``threshold`` and ``p_value``, as :func:`scgroove.tl.estimate_efficacy` describes them.
    """

    probability: Float64Array
    table: pd.DataFrame


def label_efficacy(
    x: FloatArray,
    labels: Labels,
    control: object,
    *,
    prior: tuple[float, float] = (8.0, 2.0),
    alpha: float = 0.05,
) -> LabelEfficacy:
    """Return the probability that each cell shows the effect of its label.

    :func:`scgroove.tl.estimate_efficacy` describes the test and the mixture. Every label is
    estimated on its own. The covariance is that of the controls alone: cells that escaped would
    widen it.

    Parameters
    ----------
    x
        Representation, finite, (n, d).
    labels
        (n,) label of each cell, missing for none.
    control
        The label of the controls: two cells or more that are not all alike.
    prior
        a and b: before a cell is seen, a label has the effect in a / (a + b) of its cells.
    alpha
        Level of the test: share of the labels without an effect that will seem to have one.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(200, 2))
    >>> x[100:180] += 5  # 80 of the 100 cells of "g" show its effect
    >>> found = label_efficacy(x, ["control"] * 100 + ["g"] * 100, "control")
    >>> found.table["rate"].round(2).tolist()
    [0.8]
    """
    names, (codes,) = encode(labels)
    is_control = codes == find_label(control, names)
    y = _whitened(np.asarray(x, dtype=np.float64), is_control)
    m, d = int(is_control.sum()), y.shape[1]
    null = f(d, m - d)
    probability = np.where(codes >= 0, 1.0, np.nan)
    rows = []
    for code, name in enumerate(names):
        if name == label_name(control):
            continue
        cells = np.flatnonzero(codes == code)
        n, own = cells.size, y[cells]
        statistic = float(np.square(own.mean(axis=0)).sum())
        unit = (1 / n + 1 / m) * d * (m - 1) / (m - d)
        threshold = float(unit * null.isf(alpha))
        undetectable = n < FEWEST_CELLS or statistic < threshold
        rate = low = high = np.nan
        if not undetectable:
            probability[cells] = p = _probabilities(own, prior)
            a, b = prior[0] + p.sum(), prior[1] + (1.0 - p).sum()
            rate = a / (a + b)
            low, high = beta.interval(LEVEL, a, b)
        rows.append(
            {
                "label": name,
                "n_cells": n,
                "mean": probability[cells].mean(),
                "rate": rate,
                "rate_low": low,
                "rate_high": high,
                "undetectable": undetectable,
                "statistic": statistic,
                "threshold": threshold,
                "p_value": float(null.sf(statistic / unit)),
            }
        )
    return LabelEfficacy(probability, pd.DataFrame(rows))


def _whitened(x: Float64Array, is_control: BoolArray) -> Float64Array:
    """Return cells in coordinates in which controls have mean 0 and covariance one, (n, d)."""
    controls = x[is_control]
    if len(controls) < 2 or not np.ptp(controls, axis=0).any():
        raise InputError(
            f"controls must be two cells or more that are not all alike; found {len(controls)}."
        )
    if len(controls) <= x.shape[1]:
        raise InputError(
            f"{len(controls)} controls do not tell the covariance of {x.shape[1]} dimensions: give "
            f"more of them, or fewer dimensions."
        )
    mean = controls.mean(axis=0)
    covariance = np.cov(controls, rowvar=False).reshape(x.shape[1], x.shape[1])
    covariance += RIDGE * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    return np.asarray(np.linalg.solve(np.linalg.cholesky(covariance), (x - mean).T).T)


def _probabilities(y: Float64Array, prior: tuple[float, float]) -> Float64Array:
    """Return the probabilities of the cells of one label, (n,), from whitened coordinates (n, d).

    These make ``d = m_1``, and ``u = t |m_1| = y' m_1 / |m_1|`` a place on the line in standard
    deviations of the controls: N(0, 1) without the effect, N(|m_1|, s^2) with it.
    """
    a, b = prior
    start = y.mean(axis=0)
    p = (y @ start > 0.5 * start @ start).astype(np.float64)
    for _ in range(N_ROUNDS):
        total = p.sum()
        if total < np.finfo(np.float32).tiny:  # no cell has the effect
            break
        effect = p @ y / total
        length = np.linalg.norm(effect)
        u = y @ effect / length
        s = np.clip(np.sqrt(p @ np.square(u - length) / total), *SPREAD)
        share = np.clip((a + total) / (a + b + len(y)), *SHARE)
        if s != 1.0:  # the ratio of two normals turns there: cells beyond are not less sure
            turn = length / (1.0 - s**2)
            u = np.minimum(u, turn) if s < 1.0 else np.maximum(u, turn)
        p = expit(logit(share) - np.log(s) - np.square((u - length) / s) / 2 + np.square(u) / 2)
    return np.asarray(p, dtype=np.float64)
