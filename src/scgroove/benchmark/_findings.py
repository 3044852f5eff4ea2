"""Sentences that the statistics of a benchmark allow.

No sentence calls anything better or worse if the interval of the difference holds 0.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Any, Final

import pandas as pd

from scgroove._html import Note
from scgroove._words import capital, counted, joined, some
from scgroove.benchmark._compare import ACROSS, ONE, THESE
from scgroove.benchmark._drawing import (
    difference_text,
    interval_text,
    metric_title,
    number,
    p_text,
    without_limits,
)
from scgroove.benchmark._table import comparable
from scgroove.benchmark.results import BY_CONSTRUCTION

FEW_SEEDS: Final = 3

ONE_BY_ONE_UP_TO: Final = 4
"""Data sets up to which each has a sentence of its own."""

LIMIT: Final = "oracle_latent"


def design(results: pd.DataFrame, level: float, n_comparisons: int = 1) -> list[Note]:
    """Say how many seeds everything rests on, and what that can show at most.

    Holm's correction multiplies the smallest p by the number of comparisons with the reference.
    """
    n_seeds = results.loc[results["status"] == "done", "seed"].nunique()
    if not n_seeds:
        return [Note("problem", "Nothing was scored. See what failed, below.")]
    if n_seeds < FEW_SEEDS:
        verb, seeds = "is" if n_seeds == 1 else "are", counted(n_seeds, "seed")
        what = "no interval can be given" if n_seeds == 1 else "intervals are very wide"
        text = (
            f"There {verb} {seeds} only: {what}, and no difference between methods should be read "
            "from this page."
        )
        return [Note("problem", text)]
    smallest = 2.0 ** (1 - n_seeds)
    text = (
        f"Everything rests on {n_seeds} seeds. The p of a signed-rank test over so many is never "
        f"below {p_text(smallest)}"
    )
    if n_comparisons > 1:
        corrected = p_text(min(1.0, smallest * n_comparisons))
        text += (
            f", and after Holm's correction for {n_comparisons} comparisons never below {corrected}"
        )
    if smallest * max(n_comparisons, 1) <= 1 - level:
        return [Note("finding", f"{text}.")]
    why = "it can show nothing, and the intervals have to tell, which assume that differences"
    return [Note("caution", f"{text}: {why} scatter normally.")]


def not_simulated(results: pd.DataFrame) -> list[Note]:
    """Warn that seeds repeat no experiment on measured data, which have no parameters."""
    columns = [column for column in ("rho", "n_labels", "effect") if column in results]
    has = results[columns].notna().any(axis=1).groupby(results["data"]).any()
    files = [str(name) for name in has.index[~has]]
    if not files:
        return []
    text = (
        f"Not simulated: {joined(files)}. On measured cells another seed repeats the training, not "
        "the experiment; the intervals there say nothing of other cells."
    )
    return [Note("caution", text)]


def undone(failures: pd.DataFrame, n_cells: int) -> list[Note]:
    """Count the cells that failed, were skipped, or were not run."""
    parts = []
    for status, text in (("failed", "failed"), ("missing", "not run"), ("skipped", "skipped")):
        rows = failures[failures["status"] == status]
        if len(rows):
            counts = rows.groupby("learner")["n"].sum().sort_values(ascending=False, kind="stable")
            shown = some([f"{name} {n}" for name, n in counts.items()], 6)
            parts.append(f"{int(rows['n'].sum())} {text} ({shown})")
    if not parts:
        return []
    level = "problem" if (failures["status"] == "failed").any() else "caution"
    text = (
        f"Not done, of {n_cells} cells of the grid: {'; '.join(parts)}. Reasons are below; nothing "
        "was put in their place."
    )
    return [Note(level, text)]


def by_construction(results: pd.DataFrame) -> list[Note]:
    """Name the metrics that a coupling meets because it was told the labels."""
    rows = results[results["status"] == BY_CONSTRUCTION]
    if not len(rows):
        return []
    names = joined(metric_title(name) for name in sorted(rows["metric"].unique()))
    text = (
        f"By construction, and hence without a value: {names} of "
        f"{joined(sorted(rows['aligner'].unique()))}. A coupling that was told the labels has "
        "them from any representation, a random one too. An aligner without labels can be scored."
    )
    return [Note("finding", text)]


def best_methods(
    summary: pd.DataFrame, best: pd.DataFrame, metric: str, level: float
) -> list[Note]:
    """Name the best mean of each data set, and the methods not told apart from it."""
    title = capital(metric_title(metric))
    firsts = best[best["best"]]
    if len(firsts) > ONE_BY_ONE_UP_TO:
        counts = firsts["method"].value_counts(sort=False)
        counts = counts.sort_values(ascending=False, kind="stable")
        shown = some([f"{name} on {n}" for name, n in counts.items()], 6)
        alone = sum(not rivals_of(best, data) for data in firsts["data"])
        text = (
            f"{title}: the best mean of {len(firsts)} data sets is that of {shown}. On {alone} of "
            f"them the best can be told apart from all others ({level:.0%} intervals, not "
            "corrected for their number)."
        )
        return [Note("finding", text)]
    rows = summary.set_index(["data", "method"])
    points, worst = [], "finding"
    for data, method in firsts[["data", "method"]].itertuples(index=False):
        row, n = rows.loc[(data, method)], int((best["data"] == data).sum()) - 1
        inside = [interval_text(row["low"], row["high"])] if math.isfinite(row["low"]) else []
        inside += [f"chance {number(row['chance'])}"] if math.isfinite(row["chance"]) else []
        text = f"{data}: {method}, {number(row['mean'])}"
        text += f" ({'; '.join(inside)})." if inside else "."
        rivals = rivals_of(best, data)
        if _beats_chance(row) is False:
            worst = "caution"
            text += " Not even this is shown to be better than chance."
        elif n and not rivals:
            others = "the other" if n == 1 else f"all {n} others"
            text += f" It can be told apart from {others}."
        elif n and len(rivals) == n:
            others = "the other" if n == 1 else f"any of the {n} others"
            text += f" It cannot be told apart from {others}."
        elif n:
            names = some(rivals, 4)
            text += f" It cannot be told apart from {len(rivals)} of {n} others: {names}."
        points.append(text)
    head = f"the best mean of each data set ({level:.0%} intervals, not widened for their number)."
    return [Note(worst, f"{title}: {head}", tuple(points))]


def rivals_of(best: pd.DataFrame, data: str) -> list[str]:
    """Methods that cannot be told apart from the best of a data set."""
    rows = best[(best["data"] == data) & ~best["best"] & ~best["told_apart"]]
    return [str(name) for name in rows["method"]]


def _beats_chance(row: pd.Series) -> bool | None:
    """Whether the interval lies on the better side of chance. None if that is not known."""
    if not (math.isfinite(row["low"]) and math.isfinite(row["chance"])):
        return None
    lower = row["better"] == "lower"
    return bool(row["high"] < row["chance"] if lower else row["low"] > row["chance"])


def near_chance(summary: pd.DataFrame, metric: str) -> list[Note]:
    """Name learners not shown to be better than chance on any data set, with any aligner.

    The intervals must be widened for the number of rows of a learner: one of many intervals
    excludes chance by chance.
    """
    known = summary.assign(beats=[_beats_chance(row) for _, row in summary.iterrows()])
    beats = known.dropna(subset=["beats"]).groupby("learner")["beats"].any().astype(bool)
    names = [str(name) for name in beats.index[~beats]]
    if not names:
        return []
    where = "on any data set" if len(summary["data"].unique()) > 1 else "here"
    title = capital(metric_title(metric))
    return [
        Note("finding", f"{title}: not shown to be better than chance {where}: {joined(names)}.")
    ]


def _pooled(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows over all data sets, or of the one there is."""
    return table[table["scope"] == (THESE if THESE in set(table["scope"]) else ONE)]


def _shown(row: Any) -> str:
    """``"better"``, ``"worse"``, ``"apart"`` (only by its own interval) or ``"none"``."""
    if row["verdict"] not in ("better", "worse"):
        return "none"
    return str(row["verdict"]) if row["low_joint"] > 0 or row["high_joint"] < 0 else "apart"


def against_reference(table: pd.DataFrame, metric: str, level: float) -> list[Note]:
    """Say what is better or worse than the reference, and what other data sets may show.

    Better or worse must hold with intervals widened for their number. What only stands out by
    its own interval is listed apart.
    """
    rows = _pooled(table).sort_values("mean", ascending=False, kind="stable")
    pooled, n_data = rows["scope"].iloc[0] == THESE, int(rows["n_data"].max())
    groups: dict[str, list[str]] = {}
    for row in rows.to_dict("records"):
        if pooled and row["n_data"] < n_data:
            groups.setdefault("lacking", []).append(row["candidate"])
            continue
        kind = _shown(row)
        if kind in ("better", "worse"):
            row |= {"low": row["low_joint"], "high": row["high_joint"]}
        groups.setdefault(kind, []).append(f"{row['candidate']} {difference_text(row)}")
    title = capital(metric_title(metric))
    where = f"over the {n_data} data sets" if pooled else f"on {rows['data'].iloc[0]}"
    widened = f", widened for {len(rows)} comparisons (Bonferroni) and given here,"
    text = (
        f"{title}: learners compared with {rows['reference'].iloc[0]} {where} "
        f"({counted(int(rows['n'].max()), 'seed')}). Better or worse is said where the "
        f"{level:.0%} interval of the difference{widened if len(rows) > 1 else ''} excludes 0."
    )
    heads = {
        "better": ("Better", 5),
        "worse": ("Worse", 5),
        "apart": (f"Only by an interval of its own, as 1 in {1 / (1 - level):.0f} is by chance", 5),
        "none": ("No difference shown", 5),
        "lacking": ("Not scored on all of them, hence no mean over all", 6),
    }
    points = [f"{h}: {some(groups[key], n)}" for key, (h, n) in heads.items() if key in groups]
    notes = [Note("finding", text, tuple(points))]
    others = table[table["scope"] == ACROSS]
    if len(others):
        sides = others[others["verdict"].isin(["better", "worse"])]
        shown = [f"{row.candidate} {row.verdict}" for row in sides.itertuples()]
        end = "no interval excludes 0."
        if shown:
            end = f"the interval excludes 0 for {some(shown, 6)}; for the others it does not."
        text = (
            f"{title}: what another data set like these {int(others['n_data'].max())} would show "
            f"is another question. Across data sets {end}"
        )
        notes.append(Note("caution", text))
    return notes


def aligners(table: pd.DataFrame, best: pd.DataFrame, metric: str) -> list[Note]:
    """Say which aligners are worse than the leading one, and whether one is best everywhere.

    Parameters
    ----------
    table
        All aligners compared with the leading one.
    best
        The best aligner of each data set.
    metric
        The metric of the scores.
    """
    leader = str(table["reference"].iloc[0])
    rows = _pooled(table)
    shown = [_shown(row) for row in rows.to_dict("records")]
    kinds = rows["candidate"].groupby(shown).agg(list).to_dict()
    close = [name for kind in ("none", "apart", "better") for name in kinds.get(kind, [])]
    points = []
    if "worse" in kinds:
        names = some(kinds["worse"], 12)
        points.append(f"Shown to be worse, by intervals widened for their number: {names}")
    if close:
        points.append(f"Not told apart from it: {some(close, 12)}")
    firsts = best[best["best"]]
    if len(firsts["method"].unique()) > 1:
        behind = best[(best["method"] == leader) & ~best["best"] & ~best["told_apart"]]
        parts = []
        for name, own in firsts.groupby("method", sort=False):
            data = list(own["data"])
            n_close = int(behind["data"].isin(data).sum())
            on = "it" if len(data) == 1 else n_close
            more = f" ({leader} not told apart on {on})" if name != leader and n_close else ""
            parts.append(f"{name} on {some(data, 3)}{more}")
        points.append(f"None has the best mean on every data set: {some(parts, 4)}")
    elif len(firsts) > 1:
        name = firsts["method"].iloc[0]
        points.append(f"The best mean is that of {name} on all {len(firsts)} data sets")
    text = f"Aligners, by {metric_title(metric)} and over all learners: {leader} leads."
    return [Note("finding", text, tuple(points))]


def share_of_the_limit(gaps: pd.DataFrame, names: Sequence[str], metric: str) -> list[Note]:
    """Say how much of the way from chance to the limit is gone."""
    rows = gaps[gaps["learner"].isin(names) & gaps["mean"].notna()]
    if not len(rows):
        return []
    parts = []
    for data, here in rows.groupby("data", sort=False):
        shown = []
        for row in here.sort_values("mean", ascending=False).itertuples():
            text = f"{row.learner} {row.mean:.0%}"
            text += f" ({row.low:.0%} to {row.high:.0%})" if math.isfinite(row.low) else ""
            shown.append(text.replace("-", "−"))
        parts.append(f"{data}: {', '.join(shown)}")
    text = (
        f"{capital(metric_title(metric))}: how much of the gap between chance and "
        f"{rows['ceiling'].iloc[0]}, which knows the truth, is closed."
    )
    n_more = len(parts) - ONE_BY_ONE_UP_TO
    more = [f"and {n_more} more data sets"] if n_more > 0 else []
    return [Note("finding", text, (*parts[:ONE_BY_ONE_UP_TO], *more))]


def leading(summary: pd.DataFrame, reference: str, limits: Collection[str]) -> list[str]:
    """The learner with the best mean over everything, and the reference."""
    methods = without_limits(summary, limits)
    means = comparable(methods, "learner", ["data", "aligner"]).groupby("learner")["mean"].mean()
    first = means.idxmin() if methods["better"].iloc[0] == "lower" else means.idxmax()
    return list(dict.fromkeys([str(first), reference]))
