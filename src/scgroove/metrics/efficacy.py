"""How likely it is that a cell shows the effect of its label, from control cells and a representation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.special import expit, logit
from scipy.stats import beta, f

from scgroove._labels import encode, find_label, label_name, members
from scgroove._types import BoolArray, Float64Array, FloatArray, IntArray, Labels
from scgroove.errors import InputError

RIDGE: Final = 1e-3
"""Added to the covariance of the controls, as a share of the mean variance of a dimension."""
FEWEST_CELLS: Final = 10
"""Cells below which nothing is estimated for a label."""
N_ROUNDS: Final = 15
"""Rounds of expectation and maximization."""
SPREAD: Final = (0.5, 1.5)
"""Least and largest standard deviation of cells with the effect, in that of the controls."""
SHARE: Final = (0.05, 0.98)
"""Least and largest share of cells with the effect that a round works with."""
LEVEL: Final = 0.95
"""Of the intervals of rates."""


@dataclass(frozen=True, eq=False)
class LabelEfficacy:
    """Probabilities of cells, (n,), and what is known of each label but the control, (n_labels,) in order of names.

    Attributes
    ----------
    probability
        That the cell shows the effect of its label; 1 for controls and for labels without a visible effect, NaN
        for cells without a label.
    labels
        Names of the labels, sorted.
    n_cells
        Their cells.
    mean
        Mean probability of their cells.
    rate, rate_low, rate_high
        Share of cells with the effect: mean and ends of the 95 % interval of the Beta distribution of the soft
        counts; NaN where there is no visible effect.
    undetectable
        True where the label has no visible effect, or fewer than ten cells.
    statistic, threshold, p_value
        Squared distance of the mean of the label from that of the controls, what it must reach, and how likely it is to be reached
        without an effect.
    """

    probability: Float64Array
    labels: list[str]
    n_cells: IntArray
    mean: Float64Array
    rate: Float64Array
    rate_low: Float64Array
    rate_high: Float64Array
    undetectable: BoolArray
    statistic: Float64Array
    threshold: Float64Array
    p_value: Float64Array


def label_efficacy(
    x: FloatArray,
    labels: Labels,
    control: object,
    *,
    prior: tuple[float, float] = (8.0, 2.0),
    alpha: float = 0.05,
) -> LabelEfficacy:
    """Return the probability that each cell shows the effect of its label.

    With mean m_0 and covariance S of the controls (a ridge of 0.001 of the mean variance added):

    - A label of n cells has a visible effect if ``(m_g - m_0)' S^-1 (m_g - m_0)``, for its mean m_g, is significant by Hotelling's test
      against m controls in d dimensions: if it reaches ``(1/n + 1/m) d (m - 1) / (m - d)`` times the ``1 - alpha`` quantile
      of F(d, m - d). Other labels, and those of fewer than ten cells, are left alone: a mixture would find two groups in pure noise.
    - Elsewhere cells are placed on the line from the controls to the cells with the effect,
      ``t = d'(x - m_0) / d'(m_1 - m_0)`` with ``d = S^-1 (m_1 - m_0)``, and t is taken for a mixture of N(0, s_0^2),
      as the controls have it, and N(1, s_1^2), with s_1 between 0.5 and 1.5 s_0. Fifteen rounds of expectation and
      maximization find m_1 (the mean of the cells, weighted by their probability), s_1 and the share of
      cells with the effect, ``(a + sum of probabilities) / (a + b + n)`` for a prior Beta(a, b), between 0.05 and
      0.98. The first round starts from the cells beyond the middle of the line to m_g.

    Every label is estimated on its own. S is that of the controls alone: cells that escaped would widen it.

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

    Returns
    -------
    LabelEfficacy

    Raises
    ------
    ValueError
        If there are fewer than two controls, or they are all alike, or they are no more than the dimensions.

    References
    ----------
    Hotelling 1931, "The generalization of Student's ratio"; Papalexi et al. 2021, Nature Genetics 53, 322-331
    (Mixscape, a mixture on a line between means, too).

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(200, 2))
    >>> x[100:180] += 5  # 80 of the 100 cells of "g" show its effect
    >>> found = label_efficacy(x, ["control"] * 100 + ["g"] * 100, "control")
    >>> found.labels, found.rate.round(2).tolist()
    (['g'], [0.8])
    """
    names, (codes,) = encode(labels)
    is_control = codes == find_label(control, names)
    y = _whitened(np.asarray(x, dtype=np.float64), is_control)
    probability = np.where(codes >= 0, 1.0, np.nan)
    tested = [name for name in names if name != label_name(control)]
    rows = np.full((6, len(tested)), np.nan)
    n_cells, undetectable = (
        np.zeros(len(tested), dtype=np.intp),
        np.ones(len(tested), dtype=np.bool_),
    )
    cells = dict(zip(names, members(codes, len(names)), strict=True))
    for i, name in enumerate(tested):
        own = y[cells[name]]
        n_cells[i] = len(own)
        rows[3, i] = np.square(own.mean(axis=0)).sum()
        rows[4, i], rows[5, i] = _test(
            rows[3, i], len(own), int(is_control.sum()), y.shape[1], alpha
        )
        undetectable[i] = len(own) < FEWEST_CELLS or rows[3, i] < rows[4, i]
        if not undetectable[i]:
            found = _probabilities(own, prior)
            probability[cells[name]] = found
            rows[:3, i] = _rate(found, prior)
    rate, low, high, statistic, threshold, p_value = rows
    mean = np.array([probability[cells[name]].mean() for name in tested])
    return LabelEfficacy(
        probability,
        tested,
        n_cells,
        mean,
        rate,
        low,
        high,
        undetectable,
        statistic,
        threshold,
        p_value,
    )


def _whitened(x: Float64Array, is_control: BoolArray) -> Float64Array:
    """Return cells in coordinates in which controls have mean 0 and covariance one, up to the ridge, (n, d)."""
    controls = x[is_control]
    if len(controls) < 2 or not np.ptp(controls, axis=0).any():
        raise InputError(
            f"controls must be two cells or more that are not all alike; found {len(controls)}."
        )
    if len(controls) <= x.shape[1]:
        raise InputError(
            f"{len(controls)} controls do not tell the covariance of {x.shape[1]} dimensions: give more of them, or fewer dimensions."
        )
    mean = controls.mean(axis=0)
    covariance = np.cov(controls, rowvar=False).reshape(x.shape[1], x.shape[1])
    covariance += RIDGE * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    root = np.linalg.cholesky(covariance)
    whitened: Float64Array = np.linalg.solve(root, (x - mean).T).T
    return whitened


def _test(statistic: float, n: int, m: int, d: int, alpha: float) -> tuple[float, float]:
    """Return what the squared distance of the mean of ``n`` cells from that of ``m`` controls must reach, and its p-value."""
    unit = (1 / n + 1 / m) * d * (m - 1) / (m - d)
    null = f(d, m - d)
    return float(unit * null.isf(alpha)), float(null.sf(statistic / unit))


def _probabilities(y: Float64Array, prior: tuple[float, float]) -> Float64Array:
    """Return the probabilities of the cells of one label, (n,), from whitened coordinates (n, d).

    These make ``d = m_1``, and ``u = t |m_1| = y' m_1 / |m_1|`` a place on the line in standard deviations of the
    controls: N(0, 1) without the effect, N(|m_1|, s^2) with it.
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
        if s != 1.0:  # the ratio of two normals turns there: what goes beyond is not less sure
            turn = length / (1.0 - s**2)
            u = np.minimum(u, turn) if s < 1.0 else np.maximum(u, turn)
        p = expit(logit(share) - np.log(s) - np.square((u - length) / s) / 2 + np.square(u) / 2)
    return np.asarray(p, dtype=np.float64)


def _rate(p: Float64Array, prior: tuple[float, float]) -> Float64Array:
    """Return mean, lower and upper end of the rate, (3,): of the Beta distribution of the soft counts."""
    a, b = prior[0] + p.sum(), prior[1] + (1.0 - p).sum()
    return np.array([a / (a + b), *beta.ppf([(1 - LEVEL) / 2, (1 + LEVEL) / 2], a, b)])
