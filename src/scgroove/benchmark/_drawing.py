"""Orders, names and numbers in the figures and the report of a benchmark."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

import pandas as pd

from scgroove import metrics
from scgroove._figure import natural_order
from scgroove._palette import LABELS, MARKERS
from scgroove.benchmark._table import check_results
from scgroove.errors import UnknownNameError

if TYPE_CHECKING:
    pass

BETTER_COLOR, WORSE_COLOR, SAME_COLOR = "#0072B2", "#D55E00", "#8A929B"
GRAY: Final = "#7A838D"
INK: Final = "#222222"
STRIPE: Final = "#F5F7F9"

TOO_LIGHT: Final = ("#F0E442", "#84FCA8", "#60E4FC")
"""Colors of labels that are too light for lines."""


def metric_title(name: str) -> str:
    """Return the name of a metric in figures."""
    if name.startswith("gap_closed_"):
        return f"{metric_title(name.removeprefix('gap_closed_'))}: share of the gap closed"
    return metrics.METRICS.get(name).title if name in metrics.METRICS else name.replace("_", " ")


def metric_meaning(name: str) -> str:
    """Return one or two sentences on a metric. Empty if it is not registered."""
    return metrics.METRICS.get(name).meaning if name in metrics.METRICS else ""


def axis_title(summary: pd.DataFrame) -> str:
    """Return the title of a metric with the direction that is better."""
    metric, better = str(summary["metric"].iloc[0]), summary["better"].iloc[0]
    return f"{metric_title(metric)}\n({better} is better)"


def limits_of(results: pd.DataFrame) -> set[str]:
    """Return the learners and aligners that know the truth: a limit, and no method.

    As the column ``knows_truth`` says (of an aligner with a learner that does not), else by
    "oracle" in the name.
    """
    check_results(results)
    if "knows_truth" not in results:
        names = {*results["learner"], *results["aligner"].fillna("")}
        return {str(name) for name in names if is_limit(str(name))}
    told = results.dropna(subset=["knows_truth"])
    told = told.assign(knows_truth=told["knows_truth"].astype(bool))
    alone = told.groupby("learner")["knows_truth"].min()
    learners = set(alone.index[alone])
    coupled = told[(told["aligner"].fillna("") != "") & ~told["learner"].isin(learners)]
    by_aligner = coupled.groupby("aligner")["knows_truth"].min()
    return {str(name) for name in (*learners, *by_aligner.index[by_aligner])}


def is_limit(name: str) -> bool:
    """Whether a name says that it knows the truth, where no results tell."""
    return "oracle" in name.lower()


def without_limits(results: pd.DataFrame, limits: Collection[str]) -> pd.DataFrame:
    """Leave out learners and aligners that know the truth. Everything, if nothing else is there."""
    rows = results[~results["learner"].isin(limits) & ~results["aligner"].isin(limits)]
    return rows if len(rows) else results


def chosen(kind: str, asked: Sequence[str] | None, known: Sequence[str]) -> list[str]:
    """Return the names asked for, or all. An unknown one raises an error."""
    for name in asked or ():
        if name not in known:
            raise UnknownNameError(f"{kind} of these results", name, known)
    return list(known) if asked is None else list(asked)


def best_first(summary: pd.DataFrame, limits: Collection[str]) -> list[str]:
    """Learners by their mean over everything, the best first and limits last."""
    sign = 1 if summary["better"].iloc[0] == "lower" else -1
    means = (sign * summary.groupby("learner")["mean"].mean()).sort_values(kind="stable")
    return sorted(map(str, means.index), key=lambda name: name in limits)


def aligner_order(aligners: Iterable[str]) -> list[str]:
    """Aligners that see labels first, then those that do not, oracles last."""
    names = natural_order(name for name in aligners if name)
    return sorted(names, key=lambda name: (is_limit(name), "unlabeled" in name))


def learner_styles(results: pd.DataFrame, limits: Collection[str]) -> dict[str, dict[str, Any]]:
    """Color, marker and dashes of each learner, the same in all figures. Limits black, dashed."""
    learners = natural_order(results["learner"].astype(str))
    colors = [color for color in LABELS if color not in TOO_LIGHT]
    styles: dict[str, dict[str, Any]] = {}
    for name in learners:
        if name in limits:
            styles[name] = {"color": INK, "marker": "", "linestyle": (0, (4, 2))}
            continue
        i = len([one for one in styles if one not in limits])
        marker = MARKERS[i % len(MARKERS)]
        styles[name] = {"color": colors[i % len(colors)], "marker": marker, "linestyle": "-"}
    return styles


def decimals(values: Iterable[float]) -> int:
    """Digits after the point with which numbers have about three significant digits."""
    size = max((abs(value) for value in values if math.isfinite(value)), default=0.0)
    return next((3 - i for i, top in enumerate((2, 20, 200)) if size < top), 0)


def number(value: float, digits: int | None = None) -> str:
    """Write a number with about three significant digits, and never as a power of ten."""
    if not math.isfinite(value):
        return "–"
    return f"{value:,.{decimals([value]) if digits is None else digits}f}".replace("-", "−")


def p_text(p: float) -> str:
    """Write a p value."""
    if not math.isfinite(p):
        return "–"
    if p < 1e-4:
        return "< 0.0001"
    return f"{p:.2g}" if p < 1e-3 else f"{min(p, 1.0):.3g}"


def interval_text(low: float, high: float) -> str:
    """Write an interval."""
    return f"{number(low)} to {number(high)}" if math.isfinite(low) else "–"


def difference_text(row: Any) -> str:
    """Write ``"+0.031 (0.012 to 0.050)"``, with digits enough to see on which side of 0 it lies."""
    if not math.isfinite(row["mean"]):
        return "–"
    values = [value for value in (row["mean"], row["low"], row["high"]) if math.isfinite(value)]
    digits = decimals(values)
    while digits < 6 and any(value != 0 and round(value, digits) == 0 for value in values):
        digits += 1
    text = ("+" if row["mean"] > 0 else "") + number(row["mean"], digits)
    if len(values) < 3:
        return text
    return f"{text} ({number(row['low'], digits)} to {number(row['high'], digits)})"
