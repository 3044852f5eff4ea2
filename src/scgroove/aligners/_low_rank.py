"""What aligners with a plan of low rank share."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from scgroove._types import Float64Array
from scgroove.aligners._epsilon import EpsilonScale, pair_scale
from scgroove.aligners._plans import BlockPlan, column_sums, row_sums
from scgroove.aligners.costs import PairCost
from scgroove.errors import InputError

LARGEST_SAMPLE: Final = 2000
"""Cells of a modality among which the largest cost is looked for."""


def plan_errors(plan: BlockPlan, a: Float64Array, b: Float64Array) -> tuple[float, float]:
    """Return the L1 errors of the row and column sums of a plan, in linear time where it has a low rank."""
    return float(np.abs(row_sums(plan) - a).sum()), float(np.abs(column_sums(plan) - b).sum())


def low_rank_scale(cost: PairCost, scale: EpsilonScale) -> float:
    """Return the mean cost; or the largest among a sample of the cells, since there are too many pairs to see all."""
    if scale == "max":
        x, y = (z[:: max(1, len(z) // LARGEST_SAMPLE)] for z in (cost.x, cost.y))
        cost = PairCost(x, y, cost.kind)
    return pair_scale([cost], scale)


def check_rank(rank: Any) -> None:
    """Refuse a rank that is no positive integer.

    Raises
    ------
    ValueError
        If it is neither None nor an integer of at least 1.
    """
    if rank is not None and (isinstance(rank, bool) or not isinstance(rank, int) or rank < 1):
        raise InputError(
            f"rank must be a positive integer, or None for the whole plan; found {rank!r}. 10 to 100 is usual."
        )
