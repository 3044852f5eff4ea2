"""What eps means: a share of the mean or the largest cost, so that it does not depend on units."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from scgroove._types import Float64Array

EpsilonScale: TypeAlias = Literal["mean", "max"]
EpsilonScope: TypeAlias = Literal["block", "global"]
SCALES: Final[tuple[str, ...]] = ("mean", "max")
SCOPES: Final[tuple[str, ...]] = ("block", "global")


@dataclass(frozen=True)
class CostSummary:
    """Mean, maximum and number of the costs of a block."""

    mean: float
    largest: float
    n_pairs: int

    @classmethod
    def of(cls, cost: Float64Array) -> CostSummary:
        """Summarise a cost matrix."""
        return cls(float(cost.mean()), float(cost.max()), cost.size)


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


def check_epsilon(epsilon: float, scale: str, scope: str) -> None:
    """Refuse an eps that cannot be used.

    Raises
    ------
    ValueError
        If eps is not positive, or scale or scope is unknown.
    """
    if not epsilon > 0:
        raise ValueError(
            f"epsilon must be positive, relative to the {scale} cost; found {epsilon!r}. For an exact coupling "
            f"without entropy use method='emd'."
        )
    if scale not in SCALES:
        raise ValueError(f"epsilon_scale must be one of {', '.join(map(repr, SCALES))}; found {scale!r}.")
    if scope not in SCOPES:
        raise ValueError(f"epsilon_scope must be one of {', '.join(map(repr, SCOPES))}; found {scope!r}.")
