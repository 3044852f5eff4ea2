"""What the statistics of a benchmark allow to be said, in plain sentences.

No sentence calls anything better or worse where the interval of the difference holds 0, and each says on how much it rests.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import pandas as pd

from scgroove.pl._benchmark import interval_text, metric_title, number, p_value, without_ceilings
from scgroove.pl._benchmark_intervals import difference_text

FEW_SEEDS = 3
ONE_BY_ONE_UP_TO = 4
"""Data sets up to which each has a sentence of its own."""

LIMIT = "oracle_latent"


class Note(NamedTuple):
    """A finding.

    Attributes
    ----------
    level
        ``"finding"``, ``"caution"`` or ``"problem"``.
    text
        One to three sentences.
    points
        What stands under it, one line each.
    """

    level: str
    text: str
    points: tuple[str, ...] = ()


def design(results: pd.DataFrame, level: float, n_comparisons: int = 1) -> list[Note]:
    """Say how much everything rests on, and what that can show at most.

    Parameters
    ----------
    results
        The table.
    level
        Of intervals.
    n_comparisons
        With the reference: Holm's correction multiplies the smallest p by it.
    """
    from scgroove import benchmark

    done = results[results["status"] == "done"]
    n_seeds = len(done["seed"].unique())
    if not len(done):
        return [Note("problem", "Nothing was scored. See what failed, below.")]
    if n_seeds < FEW_SEEDS:
        return [
            Note(
                "problem",
                f"There {'is' if n_seeds == 1 else 'are'} {_counted(n_seeds, 'seed')} only: "
                + (
                    "no interval can be given, and "
                    if n_seeds == 1
                    else "intervals are very wide, and "
                )
                + "no difference between methods should be read from this page.",
            )
        ]
    smallest = benchmark.signed_rank([1.0] * n_seeds).p_smallest
    text = f"Everything rests on {n_seeds} seeds. The p of a signed-rank test over so many is never below {p_value(smallest)}"
    if n_comparisons > 1:
        text += f", and after Holm's correction for {n_comparisons} comparisons never below {p_value(min(1.0, smallest * n_comparisons))}"
    enough = smallest * max(n_comparisons, 1) <= 1 - level
    text += (
        ""
        if enough
        else ": it can show nothing, and the intervals have to tell, which assume that differences scatter normally"
    )
    return [Note("finding" if enough else "caution", f"{text}.")]


def measured(simulated: dict[str, bool]) -> list[Note]:
    """Warn that seeds do not repeat an experiment."""
    files = [name for name, flag in simulated.items() if not flag]
    if not files:
        return []
    return [
        Note(
            "caution",
            f"Not simulated: {_and(files)}. On measured cells another seed repeats the training, not the experiment; the "
            "intervals there say nothing of other cells.",
        )
    ]


def undone(failures: pd.DataFrame, n_cells: int) -> list[Note]:
    """Count what failed, was skipped, or was not run."""
    parts = []
    for status, text in (("failed", "failed"), ("missing", "not run"), ("skipped", "skipped")):
        rows = failures[failures["status"] == status]
        if len(rows):
            counts = rows.groupby("learner")["n"].sum().sort_values(ascending=False, kind="stable")
            shown = _some([f"{name} {n}" for name, n in counts.items()], 6)
            parts.append(f"{int(rows['n'].sum())} {text} ({shown})")
    if not parts:
        return []
    level = "problem" if (failures["status"] == "failed").any() else "caution"
    return [
        Note(
            level,
            f"Not done, of {n_cells} cells of the grid: {'; '.join(parts)}. Reasons are below; nothing was put in their place.",
        )
    ]


def by_construction(results: pd.DataFrame) -> list[Note]:
    """Name the metrics that a coupling meets because it was told the labels."""
    from scgroove.benchmark._results import BY_CONSTRUCTION

    rows = results[results["status"] == BY_CONSTRUCTION]
    if not len(rows):
        return []
    names = [metric_title(name) for name in sorted(rows["metric"].unique())]
    aligners = sorted(rows["aligner"].unique())
    return [
        Note(
            "finding",
            f"By construction, and hence without a value: {_and(names)} of {_and(aligners)}. A coupling that was told the "
            "labels has them from any representation, a random one too. An aligner without labels can be scored.",
        )
    ]


def best_methods(
    summary: pd.DataFrame, best: pd.DataFrame, metric: str, level: float
) -> list[Note]:
    """Say which has the best mean on each data set, whether it beats chance, and what cannot be told from it."""
    title = _capital(metric_title(metric))
    firsts = best[best["best"]]
    if len(firsts) > ONE_BY_ONE_UP_TO:
        counts = (
            firsts["method"].value_counts(sort=False).sort_values(ascending=False, kind="stable")
        )
        shown = _some([f"{name} on {n}" for name, n in counts.items()], 6)
        alone = int(sum(not _rivals(best, data) for data in firsts["data"]))
        return [
            Note(
                "finding",
                f"{title}: the best mean of {len(firsts)} data sets is that of {shown}. On {alone} of them the best can be told "
                f"apart from all others ({level:.0%} intervals, not corrected for their number).",
            )
        ]
    notes = [
        _best_on(summary, best, row["data"], row["method"]) for row in firsts.to_dict("records")
    ]
    worst = "caution" if any(note.level == "caution" for note in notes) else "finding"
    return [
        Note(
            worst,
            f"{title}: the best mean of each data set ({level:.0%} intervals, not widened for their number).",
            tuple(n.text for n in notes),
        )
    ]


def _best_on(summary: pd.DataFrame, best: pd.DataFrame, data: str, method: str) -> Note:
    row = summary[(summary["data"] == data) & (summary["method"] == method)].iloc[0]
    beats = _beats_chance(row)
    text = f"{data}: {method}, {number(row['mean'])}"
    inside = [interval_text(row["low"], row["high"])] if math.isfinite(row["low"]) else []
    inside += [f"chance {number(row['chance'])}"] if math.isfinite(row["chance"]) else []
    text += f" ({'; '.join(inside)})." if inside else "."
    if beats is False:
        return Note("caution", f"{text} Not even this is shown to be better than chance.")
    rivals, n = _rivals(best, data), int((best["data"] == data).sum()) - 1
    if not n:
        return Note("finding", text)
    if not rivals:
        return Note(
            "finding",
            f"{text} It can be told apart from {'the other' if n == 1 else f'all {n} others'}.",
        )
    if len(rivals) == n:
        return Note(
            "finding",
            f"{text} It cannot be told apart from {'the other' if n == 1 else f'any of the {n} others'}.",
        )
    return Note(
        "finding",
        f"{text} It cannot be told apart from {len(rivals)} of {n} others: {_some(rivals, 4)}.",
    )


def _rivals(best: pd.DataFrame, data: str) -> list[str]:
    """Those that cannot be told apart from the best."""
    rows = best[(best["data"] == data) & ~best["best"] & ~best["told_apart"]]
    return [str(name) for name in rows["method"]]


def _beats_chance(row: pd.Series) -> bool | None:
    """Whether the interval lies on the better side of chance; None if that is not known."""
    if not (math.isfinite(row["low"]) and math.isfinite(row["chance"])):
        return None
    return bool(
        row["high"] < row["chance"] if row["better"] == "lower" else row["low"] > row["chance"]
    )


def near_chance(summary: pd.DataFrame, metric: str) -> list[Note]:
    """Name learners that are not shown to be better than chance on any data set, with any aligner.

    Parameters
    ----------
    summary
        Means with intervals that are widened for the number of rows of a learner: one of many intervals excludes chance by chance.
    metric
        What was scored.
    """
    known = summary.assign(beats=[_beats_chance(row) for _, row in summary.iterrows()]).dropna(
        subset=["beats"]
    )
    if not len(known):
        return []
    beats = known.groupby("learner")["beats"].any()
    names = [str(name) for name in beats.index[~beats.astype(bool)]]
    if not names:
        return []
    everywhere = "on any data set" if len(summary["data"].unique()) > 1 else "here"
    return [
        Note(
            "finding",
            f"{_capital(metric_title(metric))}: not shown to be better than chance {everywhere}: {_and(names)}.",
        )
    ]


def against_reference(table: pd.DataFrame, metric: str, level: float) -> list[Note]:
    """Say what is better or worse than the reference, over all data sets, and what of that other data sets may expect.

    Better or worse is what stays so when the intervals are widened for their number; what only stands out by its own interval
    is listed apart.
    """
    pooled = "these data sets" in set(table["scope"])
    rows = table[table["scope"] == ("these data sets" if pooled else "data set")]
    rows = rows.sort_values("mean", ascending=False, kind="stable")
    groups: dict[str, list[str]] = {}
    n_data = int(rows["n_data"].max())
    lacking = [
        str(row["candidate"])
        for row in rows.to_dict("records")
        if pooled and row["n_data"] < n_data
    ]
    for row in rows.to_dict("records"):
        if str(row["candidate"]) not in lacking:
            groups.setdefault(_said_of(row), []).append(_difference(row))
    where = f"over the {n_data} data sets" if pooled else f"on {rows['data'].iloc[0]}"
    widened = (
        f", widened for {len(rows)} comparisons (Bonferroni) and given here,"
        if len(rows) > 1
        else ""
    )
    text = (
        f"{_capital(metric_title(metric))}: learners compared with {rows['reference'].iloc[0]} {where} "
        f"({_counted(int(rows['n'].max()), 'seed')}). Better or worse is said where the {level:.0%} interval of the difference{widened} "
        "excludes 0."
    )
    apart = f"Only by an interval of its own, as 1 in {1 / (1 - level):.0f} is by chance"
    names = {"better": "Better", "worse": "Worse", "apart": apart, "none": "No difference shown"}
    points = tuple(f"{names[key]}: {_some(groups[key], 5)}" for key in names if key in groups)
    if lacking:
        points += (f"Not scored on all of them, hence no mean over all: {_some(lacking, 6)}",)
    return [Note("finding", text, points), *_elsewhere(table, metric)]


def _said_of(row: dict[str, Any]) -> str:
    """``"better"``, ``"worse"``, ``"apart"`` (by its own interval only) or ``"none"``."""
    if row["verdict"] not in ("better", "worse"):
        return "none"
    holds = not (row["low_joint"] > 0 or row["high_joint"] < 0)
    return "apart" if holds else str(row["verdict"])


def _difference(row: dict[str, Any]) -> str:
    """Candidate and difference, with the interval that the sentence rests on."""
    if _said_of(row) in ("better", "worse"):
        row = {**row, "low": row["low_joint"], "high": row["high_joint"]}
    return f"{row['candidate']} {difference_text(row)}"


def _elsewhere(table: pd.DataFrame, metric: str) -> list[Note]:
    """What the data sets, taken as a sample, say of others."""
    rows = table[table["scope"] == "across data sets"]
    if not len(rows):
        return []
    n = int(rows["n_data"].max())
    shown = [
        f"{row['candidate']} {row['verdict']}"
        for row in rows.to_dict("records")
        if row["verdict"] in ("better", "worse")
    ]
    text = f"{_capital(metric_title(metric))}: what another data set like these {n} would show is another question. "
    if shown:
        return [
            Note(
                "caution",
                f"{text}Across data sets the interval excludes 0 for {_some(shown, 6)}; for the others it does not.",
            )
        ]
    return [Note("caution", f"{text}Across data sets no interval excludes 0.")]


def aligners(table: pd.DataFrame, best: pd.DataFrame, metric: str) -> list[Note]:
    """Say which aligner is better than which, and whether one is best everywhere.

    Parameters
    ----------
    table
        All aligners compared with the one that leads.
    best
        The best aligner of each data set.
    metric
        What they were scored by.
    """
    leader = str(table["reference"].iloc[0])
    pooled = "these data sets" in set(table["scope"])
    rows = table[table["scope"] == ("these data sets" if pooled else "data set")]
    said = {
        key: [r["candidate"] for r in rows.to_dict("records") if _said_of(r) == key]
        for key in ("worse", "apart", "none", "better")
    }
    close = [*said["none"], *said["apart"], *said["better"]]
    text = f"Aligners, by {metric_title(metric)} and over all learners: {leader} leads."
    points = []
    if said["worse"]:
        points.append(
            f"Shown to be worse, by intervals widened for their number: {_some(said['worse'], 12)}"
        )
    if close:
        points.append(f"Not told apart from it: {_some(close, 12)}")
    firsts = best[best["best"]]
    if len(firsts["method"].unique()) > 1:
        points.append(f"None has the best mean on every data set: {_some(_bests(best, leader), 4)}")
    elif len(firsts) > 1:
        points.append(
            f"The best mean is that of {firsts['method'].iloc[0]} on all {len(firsts)} data sets"
        )
    return [Note("finding", text, tuple(points))]


def _bests(best: pd.DataFrame, leader: str) -> list[str]:
    """Where each has the best mean, and whether the one that leads over all is told apart from it there."""
    behind = best[(best["method"] == leader) & ~best["best"]].set_index("data")["told_apart"]
    parts = []
    for name, rows in best[best["best"]].groupby("method", sort=False):
        data = list(rows["data"])
        close = [d for d in data if d in behind.index and not behind[d]]
        more = (
            ""
            if name == leader or not close
            else f" ({leader} not told apart on {'it' if len(data) == 1 else len(close)})"
        )
        parts.append(f"{name} on {_some(data, 3)}{more}")
    return parts


def share_of_the_limit(gaps: pd.DataFrame, names: Sequence[str], metric: str) -> list[Note]:
    """Say how much of the way from chance to the limit is gone."""
    rows = gaps[gaps["learner"].isin(names) & gaps["mean"].notna()]
    if not len(rows):
        return []
    parts = []
    for data, here in rows.groupby("data", sort=False):
        shown = [
            f"{row['learner']} {_share(row)}"
            for row in here.sort_values("mean", ascending=False).to_dict("records")
        ]
        parts.append(f"{data}: {', '.join(shown)}")
    limit = rows["ceiling"].iloc[0]
    text = f"{_capital(metric_title(metric))}: how much of the gap between chance and {limit}, which knows the truth, is closed."
    more = (
        [f"and {len(parts) - ONE_BY_ONE_UP_TO} more data sets"]
        if len(parts) > ONE_BY_ONE_UP_TO
        else []
    )
    return [Note("finding", text, (*parts[:ONE_BY_ONE_UP_TO], *more))]


def _share(row: dict[str, float]) -> str:
    inside = f" ({row['low']:.0%} to {row['high']:.0%})" if math.isfinite(row["low"]) else ""
    return f"{row['mean']:.0%}{inside}".replace("-", "−")


def leading(summary: pd.DataFrame, reference: str, ceilings: Iterable[str] | None) -> list[str]:
    """The learner with the best mean over all, and the reference."""
    methods = without_ceilings(summary, ceilings)
    if not len(methods):
        return []
    from scgroove.benchmark._table import comparable

    means = comparable(methods, "learner", ["data", "aligner"]).groupby("learner")["mean"].mean()
    first = means.idxmin() if methods["better"].iloc[0] == "lower" else means.idxmax()
    return list(dict.fromkeys([str(first), reference]))


def _counted(n: int, one: str) -> str:
    return f"{n} {one}" if n == 1 else f"{n} {one}s"


def _and(names: Iterable[str]) -> str:
    every = list(names)
    return every[0] if len(every) == 1 else f"{', '.join(every[:-1])} and {every[-1]}"


def _some(names: Sequence[str], limit: int) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
