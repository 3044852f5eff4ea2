"""What the statistics of a benchmark allow to be said, in plain sentences.

No sentence calls anything better or worse where the interval of the difference holds 0, and each says on how much it rests.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

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


def design(results: pd.DataFrame, level: float) -> list[Note]:
    """Say how much everything rests on, and what that can show at most."""
    from scgroove import benchmark

    done = results[results["status"] == "done"]
    n_seeds, n_data = done["seed"].nunique(), done["data"].nunique()
    if not len(done):
        return [Note("problem", "Nothing was scored. See what failed, below.")]
    if n_seeds < FEW_SEEDS:
        return [
            Note(
                "problem",
                f"There {'is' if n_seeds == 1 else 'are'} {_counted(n_seeds, 'seed')} only: "
                + ("no interval can be given, and " if n_seeds == 1 else "intervals are very wide, and ")
                + "no difference between methods should be read from this page.",
            )
        ]
    one, every = (benchmark.signed_rank([1.0] * n).p_smallest for n in (n_seeds, n_seeds * n_data))
    text = f"Everything rests on {n_seeds} seeds. With so many, the p of a signed-rank test on one data set is never below {p_value(one)}"
    if one > 1 - level:
        text += ", so that there the intervals have to tell"
    if n_data > 1:
        small = "below 0.0001" if every < 1e-4 else f"as small as {p_value(every)}"
        text += f"; over all {n_seeds * n_data} blocks of {n_data} data sets it can be {small}"
    return [Note("caution" if one > 1 - level else "finding", f"{text}.")]


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


def best_methods(summary: pd.DataFrame, best: pd.DataFrame, metric: str, level: float) -> list[Note]:
    """Say which has the best mean on each data set, whether it beats chance, and what cannot be told from it."""
    title = _capital(metric_title(metric))
    firsts = best[best["best"]]
    if len(firsts) > ONE_BY_ONE_UP_TO:
        counts = firsts["method"].value_counts(sort=False).sort_values(ascending=False, kind="stable")
        shown = _some([f"{name} on {n}" for name, n in counts.items()], 6)
        alone = int(sum(not _rivals(best, data) for data in firsts["data"]))
        return [
            Note(
                "finding",
                f"{title}: the best mean of {len(firsts)} data sets is that of {shown}. On {alone} of them the best can be told "
                f"apart from all others ({level:.0%} intervals, not corrected for their number).",
            )
        ]
    notes = [_best_on(summary, best, row["data"], row["method"]) for row in firsts.to_dict("records")]
    worst = "caution" if any(note.level == "caution" for note in notes) else "finding"
    return [
        Note(
            worst,
            f"{title}: the best mean of each data set ({level:.0%} intervals).",
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
            "finding", f"{text} It can be told apart from {'the other' if n == 1 else f'all {n} others'}."
        )
    if len(rivals) == n:
        return Note(
            "finding",
            f"{text} It cannot be told apart from {'the other' if n == 1 else f'any of the {n} others'}.",
        )
    return Note(
        "finding", f"{text} It cannot be told apart from {len(rivals)} of {n} others: {_some(rivals, 4)}."
    )


def _rivals(best: pd.DataFrame, data: str) -> list[str]:
    """Those that cannot be told apart from the best."""
    rows = best[(best["data"] == data) & ~best["best"] & ~best["told_apart"]]
    return [str(name) for name in rows["method"]]


def _beats_chance(row: pd.Series) -> bool | None:
    """Whether the interval lies on the better side of chance; None if that is not known."""
    if not (math.isfinite(row["low"]) and math.isfinite(row["chance"])):
        return None
    return bool(row["high"] < row["chance"] if row["better"] == "lower" else row["low"] > row["chance"])


def near_chance(summary: pd.DataFrame, metric: str) -> list[Note]:
    """Name learners that are not shown to be better than chance on any data set, with any aligner."""
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
    """Say what is better or worse than the reference, over all data sets, and what of that other data sets may expect."""
    scopes = set(table["scope"])
    rows = table[table["scope"] == ("these data sets" if "these data sets" in scopes else "data set")]
    rows = rows.sort_values("mean", ascending=False, kind="stable")
    by_ranks = _ranks_can_tell(rows, level)
    verdicts = {name: rows[rows["verdict"] == name] for name in ("better", "worse", "no difference shown")}
    if by_ranks:
        sure = rows["p_holm"] <= (1 - level) * (1 + 1e-9)
        verdicts = {
            name: part[sure.loc[part.index]]
            for name, part in verdicts.items()
            if name != "no difference shown"
        }
        verdicts["no difference shown"] = rows[
            ~rows.index.isin([*verdicts["better"].index, *verdicts["worse"].index])
        ]
    parts = [
        f"{word}: {_some([_against(row, by_ranks) for row in part.to_dict('records')], 5)}"
        for word, part in verdicts.items()
        if len(part)
    ]
    where = (
        f"over the {int(rows['n_data'].max())} data sets"
        if "these data sets" in scopes
        else f"on {rows['data'].iloc[0]}"
    )
    n = int(rows["n"].max())
    how = (
        f"where the {level:.0%} interval excludes 0 and p, after Holm's correction for {_counted(len(rows), 'comparison')}, is at "
        f"most {1 - level:.2g}"
        if by_ranks
        else f"by {level:.0%} intervals alone, of which 1 in {1 / (1 - level):.0f} excludes 0 by chance: with {_counted(n, 'block')} no p "
        f"could be small enough after correction for {_counted(len(rows), 'comparison')}"
    )
    text = (
        f"{_capital(metric_title(metric))}: learners compared with {rows['reference'].iloc[0]} {where} ({_counted(n, 'block')}). Better "
        f"or worse is said {how}."
    )
    points = tuple(_capital(part) for part in parts)
    return [Note("finding" if by_ranks else "caution", text, points), *_elsewhere(table, metric)]


def _ranks_can_tell(rows: pd.DataFrame, level: float) -> bool:
    """Whether a p could be small enough at all."""
    return bool((rows["p_smallest"].min() * len(rows)) <= 1 - level)


def _against(row: dict[str, object], by_ranks: bool) -> str:
    inner = difference_text(row)
    if row["verdict"] == "no difference shown" or not by_ranks:
        return f"{row['candidate']} {inner}"
    return f"{row['candidate']} {inner.removesuffix(')')}; p {p_value(float(str(row['p_holm'])))})"


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


def aligners(ranks: object, best: pd.DataFrame, metric: str) -> list[Note]:
    """Say which aligner ranks best, what cannot be told from it, and whether one is best everywhere."""
    table = ranks.table  # type: ignore[attr-defined]
    first = str(table["method"].iloc[0])
    together = [c for c in ranks.cliques if first in c]  # type: ignore[attr-defined]
    others = [name for name in (together[0] if together else ()) if name != first]
    text = (
        f"Aligners, by {metric_title(metric)}: {first} has the best mean rank, {table['mean_rank'].iloc[0]:.2f} of {len(table)} over "
        f"{_counted(ranks.n_blocks, 'block')}"  # type: ignore[attr-defined]
    )
    text += (
        f"; it cannot be told apart from {_and(others)}."
        if others
        else "; it can be told apart from all others."
    )
    firsts = best[best["best"]]
    if len(firsts["method"].unique()) > 1:
        text += f" None has the best mean on every data set: {_some(_bests(best, first), 4)}."
    elif len(firsts) > 1:
        text += f" The best mean is that of {firsts['method'].iloc[0]} on all {len(firsts)} data sets."
    return [Note("finding", text)]


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
    rows = gaps[gaps["learner"].isin(names)]
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
    more = [f"and {len(parts) - ONE_BY_ONE_UP_TO} more data sets"] if len(parts) > ONE_BY_ONE_UP_TO else []
    return [Note("finding", text, (*parts[:ONE_BY_ONE_UP_TO], *more))]


def _share(row: dict[str, float]) -> str:
    inside = f" ({row['low']:.0%} to {row['high']:.0%})" if math.isfinite(row["low"]) else ""
    return f"{row['mean']:.0%}{inside}"


def leading(summary: pd.DataFrame, reference: str, ceilings: Iterable[str] | None) -> list[str]:
    """The learner with the best mean over all, and the reference."""
    methods = without_ceilings(summary, ceilings)
    if not len(methods):
        return []
    means = methods.groupby("learner")["mean"].mean()
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
