"""Intervals of a mean over few repetitions."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final, Literal, TypeAlias

import numpy as np
from scipy import stats

from scgroove._types import Float64Array, IntArray

Interval: TypeAlias = Literal["t", "bootstrap"]
IntervalOf: TypeAlias = Callable[[Float64Array], tuple[float, float]]

REPEATED: Final = 1e-6
"""Differences smaller than this, relative to the values, are those of a computation that was repeated, not of another one."""

ROUNDING: Final = 1e-12
"""Differences smaller than this, relative to the values, are rounding."""


def t_interval(values: Float64Array, level: float) -> tuple[float, float]:
    """Interval of the mean after Student: mean +- t sd / sqrt(n); NaN with fewer than two values."""
    n = len(values)
    if n < 2:
        return math.nan, math.nan
    mean = float(values.mean())
    half = float(stats.t.ppf((1 + level) / 2, n - 1) * values.std(ddof=1) / math.sqrt(n))
    return mean - half, mean + half


def interval_maker(kind: Interval, level: float, n_boot: int, seed: int) -> IntervalOf:
    """Return the function that makes an interval from values.

    The bootstrap draws the same positions for all sets of the same size, so that a result depends on neither their order nor
    their number.

    Raises
    ------
    ValueError
        If there is no such interval, or too few draws.
    """
    if kind == "t":
        return lambda values: t_interval(values, level)
    drawn: dict[int, IntArray] = {}

    def bootstrap(values: Float64Array) -> tuple[float, float]:
        n = len(values)
        if n < 2:
            return math.nan, math.nan
        if n not in drawn:
            drawn[n] = np.random.default_rng(seed).integers(n, size=(n_boot, n))
        low, high = np.quantile(values[drawn[n]].mean(axis=1), [(1 - level) / 2, (1 + level) / 2])
        return float(low), float(high)

    return bootstrap


def is_constant(values: Float64Array, scale: float) -> bool:
    """Whether all values are the same but for rounding of numbers of size ``scale``: representations are float32."""
    return bool(np.ptp(values) <= REPEATED * max(scale, np.finfo(float).tiny))


def ratio_of_means(
    above: Float64Array, below: Float64Array, level: float
) -> tuple[float, float, float]:
    """Return mean(above) / mean(below) of paired values, and its interval after Fieller.

    NaN where the interval of mean(below) holds 0, so that there is nothing to divide by; the interval is NaN with one pair.

    References
    ----------
    Fieller 1954, "Some problems in interval estimation".
    """
    n, a, b = len(above), float(above.mean()), float(below.mean())
    if n < 2:
        return (a / b if b > 0 else math.nan), math.nan, math.nan
    t2 = float(stats.t.ppf((1 + level) / 2, n - 1)) ** 2 / n
    (aa, ab), (_, bb) = np.cov(above, below)
    square = b * b - t2 * bb
    if square <= 0 or b <= 0:
        return math.nan, math.nan, math.nan
    middle, constant = a * b - t2 * ab, a * a - t2 * aa
    root = math.sqrt(max(middle**2 - square * constant, 0.0))
    return a / b, (middle - root) / square, (middle + root) / square
