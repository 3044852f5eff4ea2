"""eps from the data: the noise between matched cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from scgroove._types import Float64Array
from scgroove.aligners._entropic import Task
from scgroove.aligners._epsilon import SMALLEST, EpsilonScale, pair_scale
from scgroove.aligners._plans import BLOCK_VALUES
from scgroove.aligners.costs import PairCost, in_slices

SAMPLE_BLOCKS: Final = 20
SAMPLE_CELLS: Final = 300
"""How many labels, and target cells of each, eps is estimated from."""

FIRST: Final = 0.05
"""Relative eps to start from: large, for from a small one the steps end at the nearest cells."""

STEPS: Final = 50
ENOUGH: Final = 0.01
"""Largest number of steps, and relative change at which they end."""


@dataclass(frozen=True, eq=False)
class Sample:
    """Some target cells of a block, and all source cells that they may stem from.

    Attributes
    ----------
    cost
        Costs (k, n) from k target to all n source cells: a sample of both would part most cells from their match.
    log_a
        Logarithm of the masses of the source cells, (n,).
    b
        Masses of the target cells, (k,), that sum to the mass of the block.
    scale
        The cost that counts as 1.
    """

    cost: PairCost
    log_a: Float64Array
    b: Float64Array
    scale: float

    def matched_cost(self, epsilon: float) -> float:
        """Return ``sum_jl b_j p_jl C_jl`` in units of the scale, p_jl the odds that target cell j stems from l."""
        total = 0.0
        for start, stop in in_slices(*self.cost.shape, BLOCK_VALUES):
            cost = self.cost.rows(start, stop)
            cost /= self.scale
            odds = self.log_a - cost / epsilon
            odds -= odds.max(axis=1, keepdims=True)
            np.exp(odds, out=odds)
            cost *= odds
            total += float(self.b[start:stop] @ (cost.sum(axis=1) / odds.sum(axis=1)))
        return total


def noise_epsilon(
    tasks: Sequence[Task], scale: EpsilonScale, common: float | None = None, seed: int = 0
) -> float:
    """Return the relative eps that stands for the noise between matched cells, by maximum likelihood.

    If a target cell is a source cell plus Gaussian noise of variance s^2 in each of d dimensions, entropic transport
    with squared Euclidean cost and ``eps = 2 s^2`` is the maximum-likelihood matching. The likelihood of s^2 itself, of
    target cells that each stem from source cell l of the same label with probability ``a_l``, is largest where

        eps = (2 / d) sum_jl b_j p_jl C_jl,  p_jl = a_l exp(-C_jl / eps) / sum_k a_k exp(-C_jk / eps),

    found by iterating from a large eps (expectation maximization). For the cosine cost, half a squared distance on a
    sphere, d is one less. A sample of the labels, and of their target cells, serves for all.

    Parameters
    ----------
    tasks
        Blocks with a :class:`PairCost`.
    scale
        What eps is relative to: ``"mean"`` or ``"max"`` cost.
    common
        The cost that counts as 1 in all blocks; None: each block's own.
    seed
        Of the sample.

    Returns
    -------
    float
        Relative eps.

    References
    ----------
    Rigollet and Weed 2018, arXiv 1809.05572, theorem 1.
    """
    rng = np.random.default_rng(seed)
    chosen = rng.permutation(len(tasks))[:SAMPLE_BLOCKS]
    samples = [_sample(tasks[i], scale, common, rng) for i in chosen]
    mass = sum(float(sample.b.sum()) for sample in samples)
    cost = samples[0].cost
    dimensions = max(1, cost.x.shape[1] - (cost.kind == "cosine"))
    epsilon = FIRST
    for _ in range(STEPS):
        matched = sum(sample.matched_cost(epsilon) for sample in samples) / mass
        last, epsilon = epsilon, max(2.0 / dimensions * matched, SMALLEST)
        if abs(epsilon - last) < ENOUGH * last:
            break
    return epsilon


def _sample(
    task: Task, scale: EpsilonScale, common: float | None, rng: np.random.Generator
) -> Sample:
    cost = task.cost
    assert isinstance(cost, PairCost)
    chosen = np.sort(rng.permutation(len(cost.y))[:SAMPLE_CELLS])
    between = PairCost(cost.y[chosen], cost.x, cost.kind)
    b = task.b[chosen] * (task.b.sum() / task.b[chosen].sum())
    return Sample(
        between, np.log(task.a), b, common if common is not None else pair_scale([between], scale)
    )
