"""What eps means: a share of the mean or the largest cost, so that it does not depend on units; and its choice."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from scgroove._types import Float64Array
from scgroove._warnings import warn
from scgroove.aligners._plans import BLOCK_VALUES
from scgroove.aligners.costs import PairCost, in_slices, mean_pairwise_cost
from scgroove.errors import InputError

EpsilonScale: TypeAlias = Literal["mean", "max"]
EpsilonScope: TypeAlias = Literal["block", "global"]
SCALES: Final[tuple[str, ...]] = ("mean", "max")
SCOPES: Final[tuple[str, ...]] = ("block", "global")
AUTO: Final = "auto"

SMALLEST: Final = 1e-7
"""Relative eps below which rounding decides: costs differ by less."""

LARGE: Final = 10.0
"""Relative eps above which a coupling hardly differs from the independent one."""


@dataclass(frozen=True)
class CostSummary:
    """Mean, maximum and number of the costs of a block."""

    mean: float
    largest: float
    n_pairs: int

    @classmethod
    def of(cls, cost: Float64Array) -> CostSummary:
        """Summarize a cost matrix."""
        return cls(float(cost.mean()), float(cost.max()), cost.size)

    @classmethod
    def of_pairs(cls, cost: PairCost, scale: EpsilonScale) -> CostSummary:
        """Summarize costs as far as a scale needs them: the mean in linear time, the largest some rows at a time."""
        n, m = cost.shape
        if scale == "mean":
            return cls(mean_pairwise_cost(cost.x, cost.y, cost.kind), float("nan"), n * m)
        bounds = in_slices(n, m, BLOCK_VALUES)
        return cls(float("nan"), max(float(cost.rows(*own).max()) for own in bounds), n * m)


def cost_scale(summaries: Iterable[CostSummary], scale: EpsilonScale) -> float:
    """Return the cost that counts as 1: the mean or the largest over the pairs of all given blocks.

    1 where all costs are zero.
    """
    known = list(summaries)
    if scale == "max":
        value = max(s.largest for s in known)
    else:
        value = sum(s.mean * s.n_pairs for s in known) / sum(s.n_pairs for s in known)
    return value if value > 0 else 1.0


def pair_scale(costs: Iterable[PairCost], scale: EpsilonScale) -> float:
    """Return the cost between representations that counts as 1: as :func:`cost_scale`, without the matrices."""
    return cost_scale((CostSummary.of_pairs(cost, scale) for cost in costs), scale)


def check_epsilon(epsilon: Any, scale: str) -> None:
    """Refuse an eps that cannot be used, and warn of one that makes no sense.

    Raises
    ------
    ValueError
        If eps is neither ``"auto"`` nor a positive number that can be computed with, or the scale is unknown.

    Warns
    -----
    UserWarning
        If eps is so large that the coupling says nothing.
    """
    if epsilon == AUTO:
        return
    if isinstance(epsilon, str | bool) or not 0 < epsilon < float("inf"):
        raise InputError(
            f"epsilon must be positive, relative to the {scale} cost, or 'auto'; found {epsilon!r}. For an exact coupling "
            f"without entropy use method='emd'."
        )
    if epsilon < SMALLEST:
        raise InputError(
            f"epsilon={epsilon:g} is too small to compute with: it is relative to the {scale} cost, and costs are "
            f"known to about {SMALLEST:g} of it. For an exact coupling without entropy use method='emd'."
        )
    if epsilon > LARGE:
        warn(
            f"epsilon={epsilon:g} is relative to the {scale} cost, so each cell will match nearly all others alike. Was "
            f"an absolute value meant? Divide it by the {scale} cost.",
        )


def check_grid(epsilons: Sequence[float]) -> list[float]:
    """Return the eps to try, largest first.

    Raises
    ------
    ValueError
        If there is none, or one that cannot be used.
    """
    grid = sorted({float(epsilon) for epsilon in epsilons}, reverse=True)
    if not grid:
        raise InputError(
            "epsilons is empty: name the eps to try, such as (1, 0.3, 0.1, 0.03, 0.01)."
        )
    for epsilon in grid:
        check_epsilon(epsilon, "mean")
    return grid
