"""Retrieval of the true match among the candidates: recall at k, and mean reciprocal rank."""

from __future__ import annotations

from functools import partial

from scgroove.metrics._foscttm import score_by_distance
from scgroove.metrics._ranks import RECIPROCAL, recall_rule
from scgroove.metrics.registry import register_scopes

_RULES = {
    "recall_at_1": (
        recall_rule(1),
        "recall at 1",
        "The share of cells whose nearest candidate is the true partner.",
    ),
    "recall_at_10": (
        recall_rule(10),
        "recall at 10",
        "The share of cells whose true partner is among the 10 nearest candidates.",
    ),
    "mean_reciprocal_rank": (
        RECIPROCAL,
        "mean reciprocal rank",
        "The mean of 1 / rank of the true partner among the candidates.",
    ),
}

for _name, (_rule, _title, _meaning) in _RULES.items():
    register_scopes(
        _name,
        partial(score_by_distance, rule=_rule),
        kind="representation",
        better="higher",
        perfect=1.0,
        needs=("x", "y", "partner"),
        title=_title,
        meaning=_meaning,
    )
