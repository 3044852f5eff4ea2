"""How likely it is that a cell shows the effect of its label, from control cells and a representation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from zlib import crc32

import numpy as np
from scipy.special import expit, logit
from scipy.stats import beta

from scgroove._labels import encode, label_name, members
from scgroove._types import BoolArray, Float64Array, FloatArray, IntArray, Labels

RIDGE: Final = 1e-3
"""Added to the covariance of the controls, as a share of the mean variance of a dimension."""
FEWEST_CELLS: Final = 10
"""Cells below which nothing is estimated for a label."""
N_ROUNDS: Final = 15
"""Rounds of expectation and maximisation."""
SPREAD: Final = (0.5, 1.5)
"""Least and largest standard deviation of cells with the effect, in that of the controls."""
SHARE: Final = (0.05, 0.98)
"""Least and largest share of cells with the effect that a round works with."""
QUANTILE: Final = 0.98
MARGIN: Final = 2.0
"""What is drawn of controls by chance: an effect is seen from ``MARGIN`` times the ``QUANTILE`` of it on."""
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
    statistic, threshold
        Squared distance of the mean of the label from that of the controls, and what it must reach.
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


def label_efficacy(
    x: FloatArray,
    labels: Labels,
    control: object,
    *,
    prior: tuple[float, float] = (8.0, 2.0),
    n_bootstrap: int = 60,
    seed: int = 0,
) -> LabelEfficacy:
    """Return the probability that each cell shows the effect of its label.

    With mean m_0 and covariance S of the controls (a ridge of 0.001 of the mean variance added):

    - A label has a visible effect if ``(m_g - m_0)' S^-1 (m_g - m_0)``, for its mean m_g, reaches twice the 98 %
      quantile of the same between the means of as many controls and of all controls, both drawn with replacement. Other labels, and those of
      fewer than ten cells, are left alone: a mixture would find two groups in pure noise.
    - Elsewhere cells are placed on the line from the controls to the cells with the effect,
      ``t = d'(x - m_0) / d'(m_1 - m_0)`` with ``d = S^-1 (m_1 - m_0)``, and t is taken for a mixture of N(0, s_0^2),
      as the controls have it, and N(1, s_1^2), with s_1 between 0.5 and 1.5 s_0. Fifteen rounds of expectation and
      maximisation find m_1 (the mean of the cells, weighted by their probability), s_1 and the share of
      cells with the effect, ``(a + sum of probabilities) / (a + b + n)`` for a prior Beta(a, b), between 0.05 and
      0.98. The first round starts from the cells beyond the middle of the line to m_g.

    Every label is estimated on its own, with a random stream of its own.

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
    n_bootstrap
        Draws of controls.
    seed
        Random state of the draws, 0 or above.

    Returns
    -------
    LabelEfficacy

    Raises
    ------
    ValueError
        If there are fewer than two controls, or they are all alike.

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
    is_control = codes == (names.index(label_name(control)) if label_name(control) in names else len(names))
    y = _whitened(np.asarray(x, dtype=np.float64), is_control)
    probability = np.where(codes >= 0, 1.0, np.nan)
    tested = [name for name in names if name != label_name(control)]
    rows = np.full((5, len(tested)), np.nan)
    n_cells, undetectable = np.zeros(len(tested), dtype=np.intp), np.ones(len(tested), dtype=np.bool_)
    cells = dict(zip(names, members(codes, len(names)), strict=True))
    for i, name in enumerate(tested):
        own = y[cells[name]]
        n_cells[i] = len(own)
        rng = np.random.default_rng([seed, crc32(name.encode())])
        rows[3, i] = np.square(own.mean(axis=0)).sum()
        rows[4, i] = _threshold(y[is_control], len(own), n_bootstrap, rng)
        undetectable[i] = len(own) < FEWEST_CELLS or rows[3, i] < rows[4, i]
        if not undetectable[i]:
            found = _probabilities(own, prior)
            probability[cells[name]] = found
            rows[:3, i] = _rate(found, prior)
    rate, low, high, statistic, threshold = rows
    mean = np.array([probability[cells[name]].mean() for name in tested])
    return LabelEfficacy(
        probability, tested, n_cells, mean, rate, low, high, undetectable, statistic, threshold
    )


def _whitened(x: Float64Array, is_control: BoolArray) -> Float64Array:
    """Return cells in coordinates in which controls have mean 0 and covariance one, up to the ridge, (n, d)."""
    controls = x[is_control]
    if len(controls) < 2 or not np.ptp(controls, axis=0).any():
        raise ValueError(f"controls must be two cells or more that are not all alike; found {len(controls)}.")
    mean = controls.mean(axis=0)
    covariance = np.cov(controls, rowvar=False).reshape(x.shape[1], x.shape[1])
    covariance += RIDGE * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    root = np.linalg.cholesky(covariance)
    whitened: Float64Array = np.linalg.solve(root, (x - mean).T).T
    return whitened


def _threshold(controls: Float64Array, n: int, n_bootstrap: int, rng: np.random.Generator) -> float:
    """Return what the squared length of the mean of ``n`` cells must reach, of whitened controls."""
    m = len(controls)
    # the mean of the controls is known from their number only: left out, large labels would seem to differ from few controls
    apart = np.stack(
        [
            controls[rng.integers(m, size=n)].mean(axis=0) - controls[rng.integers(m, size=m)].mean(axis=0)
            for _ in range(n_bootstrap)
        ]
    )
    return MARGIN * float(np.quantile(np.square(apart).sum(axis=1), QUANTILE))


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
        p = expit(logit(share) - np.log(s) - np.square((u - length) / s) / 2 + np.square(u) / 2)
    return np.asarray(p, dtype=np.float64)


def _rate(p: Float64Array, prior: tuple[float, float]) -> Float64Array:
    """Return mean, lower and upper end of the rate, (3,): of the Beta distribution of the soft counts."""
    a, b = prior[0] + p.sum(), prior[1] + (1.0 - p).sum()
    return np.array([a / (a + b), *beta.ppf([(1 - LEVEL) / 2, (1 + LEVEL) / 2], a, b)])
