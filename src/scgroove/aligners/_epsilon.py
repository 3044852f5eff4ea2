"""Entropy eps as a share of the mean cost, and its choice from the data."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np

from scgroove._types import Float64Array
from scgroove._warnings import warn
from scgroove.aligners._problem import Problem
from scgroove.aligners.costs import BlockCost, PairCost, in_slices, mean_pairwise_cost
from scgroove.errors import InputError

AUTO: Final = "auto"

SMALLEST: Final = 1e-7
"""Relative eps below which rounding decides."""

LARGE: Final = 10.0
"""Relative eps above which a coupling hardly differs from the independent one."""

SAMPLE_BLOCKS: Final = 20
SAMPLE_CELLS: Final = 300
"""Labels, and target cells of each, that eps is estimated from."""

FIRST: Final = 0.05
"""Relative eps to start from: from a small one the steps end at the nearest cells."""

STEPS: Final = 50
ENOUGH: Final = 0.01
"""Largest number of steps, and relative change at which they end."""


def cost_scale(costs: Iterable[BlockCost]) -> float:
    """Mean cost over the pairs of all blocks, in linear time between representations. 1 if 0."""
    total, pairs = 0.0, 0
    for cost in costs:
        if isinstance(cost, PairCost):
            mean = mean_pairwise_cost(cost.x, cost.y, cost.kind)
        else:
            mean = float(cost.rows().mean())
        n_pairs = cost.shape[0] * cost.shape[1]
        total, pairs = total + mean * n_pairs, pairs + n_pairs
    return total / pairs if total > 0 else 1.0


def check_epsilon(epsilon: Any) -> None:
    """Refuse an eps that cannot be used, and warn of one that says nothing."""
    if epsilon == AUTO:
        return
    if isinstance(epsilon, str | bool) or not 0 < epsilon < float("inf"):
        raise InputError(
            f"epsilon must be positive, relative to the mean cost, or 'auto'; found {epsilon!r}. "
            f"For an exact coupling without entropy use method='emd'."
        )
    if epsilon < SMALLEST:
        raise InputError(
            f"epsilon={epsilon:g} is too small to compute with: it is relative to the mean cost, "
            f"and costs are known to about {SMALLEST:g} of it. For an exact coupling without "
            f"entropy use method='emd'."
        )
    if epsilon > LARGE:
        warn(
            f"epsilon={epsilon:g} is relative to the mean cost, so each cell will match nearly all "
            f"others alike. Was an absolute value meant? Divide it by the mean cost."
        )


def noise_epsilon(problems: Sequence[Problem]) -> float:
    """Estimate the relative eps that stands for the noise between matched cells.

    If a target cell is a source cell plus Gaussian noise of variance s^2 in each of d dimensions,
    entropic transport with squared Euclidean cost and ``eps = 2 s^2`` is the maximum-likelihood
    matching (Rigollet and Weed 2018, arXiv 1809.05572, theorem 1). The likelihood of s^2 itself, of
    target cells that each stem from source cell l of the same label with probability ``a_l``, is
    largest where ``eps = (2 / d) sum_jl b_j p_jl C_jl`` with
    ``p_jl = a_l exp(-C_jl / eps) / sum_k a_k exp(-C_jk / eps)``, found by expectation maximization
    from a large eps. For the cosine cost, half a squared distance on a sphere, d is one less.
    """
    rng = np.random.default_rng(0)
    samples, mass = [], 0.0
    for i in rng.permutation(len(problems))[:SAMPLE_BLOCKS]:
        cost, a, b = problems[i].cost, problems[i].a, problems[i].b
        assert isinstance(cost, PairCost)
        # all source cells: a sample of both sides would part most cells from their match
        chosen = np.sort(rng.permutation(len(cost.y))[:SAMPLE_CELLS])
        between = PairCost(cost.y[chosen], cost.x, cost.kind)
        weights = b[chosen] * (b.sum() / b[chosen].sum())
        samples.append((between, np.log(a), weights, cost_scale([between])))
        mass += float(weights.sum())
    dimensions = max(1, between.x.shape[1] - (between.kind == "cosine"))
    epsilon = FIRST
    for _ in range(STEPS):
        matched = sum(_matched_cost(*sample, epsilon) for sample in samples) / mass
        last, epsilon = epsilon, max(2.0 / dimensions * matched, SMALLEST)
        if abs(epsilon - last) < ENOUGH * last:
            break
    return epsilon


def _matched_cost(
    cost: PairCost, log_a: Float64Array, b: Float64Array, size: float, epsilon: float
) -> float:
    """Value of ``sum_jl b_j p_jl C_jl`` with costs divided by ``size``."""
    total = 0.0
    for start, stop in in_slices(*cost.shape):
        part = cost.rows(start, stop)
        part /= size
        odds = log_a - part / epsilon
        odds -= odds.max(axis=1, keepdims=True)
        np.exp(odds, out=odds)
        part *= odds
        total += float(b[start:stop] @ (part.sum(axis=1) / odds.sum(axis=1)))
    return total
