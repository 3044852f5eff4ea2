"""Comparisons of methods: paired differences from a reference, and mean ranks over blocks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from scgroove._types import Float64Array
from scgroove._warnings import warn
from scgroove._words import counted
from scgroove.benchmark._table import (
    Over,
    as_wide,
    of_metric,
    orientation,
    with_method,
)
from scgroove.errors import InputError, ResultsWarning, UnknownNameError

NO_DIFFERENCE: Final = "no difference shown"
ONE, THESE, ACROSS = "data set", "these data sets", "across data sets"

EXACT_UP_TO: Final = 200
"""Differences up to which signed ranks are counted exactly."""

ROUNDING: Final = 1e-12
"""Relative differences below this are rounding."""

REPEATED: Final = 1e-6
"""Relative differences below this come from repeating a computation in float32."""


def compare(
    results: pd.DataFrame,
    metric: str,
    reference: str,
    *,
    over: Over = "learner",
    level: float = 0.95,
    quiet: bool = False,
) -> pd.DataFrame:
    """Compare every learner, aligner or method with a reference, in pairs.

    Values are paired in the same data set, seed and aligner (``over="aligner"``: and learner),
    turned so that **positive is better than the reference**, and averaged to one difference a
    data set and seed. Seeds are nested in data sets, and simulations with the same seed share
    cells: fifteen blocks of three data sets and five seeds are not fifteen independent
    repetitions. Hence up to three kinds of rows, by ``scope``:

    ``"data set"``
        One data set, its seeds as repetitions.
    ``"these data sets"``
        The mean over the data sets, repeated over the seeds that have them all: what the same
        data sets would show with other seeds.
    ``"across data sets"``
        The data sets as repetitions: what another data set like them would show. With three
        data sets this can show very little.

    Parameters
    ----------
    results
        The table that :func:`scgroove.benchmark.read` returns.
    metric
        Name of a metric in it.
    reference
        Name of the learner, aligner or method that the others are compared with.
    over
        ``"learner"``, ``"aligner"``, or ``"method"``, each pair of the two, named
        ``"learner + aligner"``.
    level
        Confidence of each interval.
    quiet
        Do not warn of missing blocks.

    Returns
    -------
    DataFrame
        One row for each scope, data set (``data``; empty if pooled) and ``candidate``:

        ``mean``, ``low``, ``high``, ``sd``
            Student's interval of the mean difference. NaN with one repetition, and if the
            difference is the same in every seed, since that is no repeated evidence.
        ``low_joint``, ``high_joint``
            The interval widened for the number of comparisons of the family (Bonferroni).
        ``n``, ``n_missing``, ``n_data``
            Repetitions compared, repetitions where either is missing, and data sets. Over
            "these data sets" a candidate that lacks one of them has no repetition.
        ``n_pairs``, ``n_pairs_missing``
            Pairs of values behind the differences, and pairs that the candidate lacks.
        ``wins``, ``losses``, ``ties``
            Of the candidate, over repetitions.
        ``p``, ``p_holm``, ``p_smallest``
            Wilcoxon's signed-rank test, two-sided and exact (zeros after Pratt). After Holm's
            correction over the family, and the smallest p possible with as many differences.
        ``family``
            The comparisons of the correction, written out: all of the same scope.
        ``verdict``
            ``"better"`` or ``"worse"`` than the reference if the interval does not hold 0,
            else ``"no difference shown"``, which does not mean that there is none.
        ``note``
            Reservations about the row.

    Raises
    ------
    UnknownNameError, InputError
        If there is no such metric or reference, or nothing to compare it with.

    Warns
    -----
    ResultsWarning
        If a candidate or the reference lacks blocks.

    References
    ----------
    Demsar 2006, "Statistical comparisons of classifiers over multiple data sets". Holm 1979, "A
    simple sequentially rejective multiple test procedure". Pratt 1959, "Remarks on zeros and
    ties in the Wilcoxon signed rank procedures".

    Examples
    --------
    >>> results = pd.DataFrame({"learner": ["l", "l", "r", "r"], "seed": [0, 1, 0, 1]})
    >>> results = results.assign(data="a", aligner="", metric="m", value=[1.0, 2.0, 3.0, 5.0])
    >>> row = compare(results.assign(better="lower", status="done"), "m", "r").iloc[0]
    >>> row["candidate"], float(row["mean"]), int(row["wins"]), float(row["p"]), row["verdict"]
    ('l', 2.5, 2, 0.5, 'no difference shown')
    """
    rows = with_method(of_metric(results, metric), over)
    names = set(rows["method"])
    if reference not in names:
        raise UnknownNameError(f"{over} of these results", reference, names)
    if len(names) == 1:
        raise InputError(
            f"only {reference!r} was scored by this metric: there is nothing to compare it with."
        )
    wide = as_wide(rows)
    differences = orientation(rows) * wide.drop(columns=reference).sub(wide[reference], axis=0)
    scale = max(float(rows["value"].abs().max()), np.finfo(float).tiny)
    blocks = differences.groupby(["data", "seed"]).mean()
    sets = blocks.index.unique("data")
    scopes = [(ONE, str(data), part) for data, part in blocks.groupby("data")]
    if len(sets) > 1:
        by_seed = blocks.groupby("seed")
        complete = by_seed.mean().where(by_seed.count() == len(sets))
        scopes += [(THESE, "", complete), (ACROSS, "", blocks.groupby("data").mean())]
    n_data = blocks.notna().groupby("data").any().sum()
    asked = wide[wide[reference].notna()].drop(columns=reference)
    records = []
    for scope, data, part in scopes:
        pairs = asked.loc[asked.index.get_level_values("data") == data] if data else asked
        lacking = pairs.isna().sum()
        for name in part:
            record = _row(scope, part[name], scale, len(pairs), int(lacking[name]))
            n_of = 1 if data else int(n_data[name])
            if scope == THESE and n_of < len(sets):
                without = counted(len(sets) - n_of, "data set")
                record["note"] = f"not scored on {without}: no mean over all of them"
            place = {"scope": scope, "data": data, "candidate": str(name), "n_data": n_of}
            records.append(place | record)
    table = pd.DataFrame(records).assign(reference=reference, metric=metric, level=level)
    table = _with_tests(table, level, over)
    if not quiet:
        _warn_missing(table, reference)
    return table


def _row(
    scope: str, differences: pd.Series, scale: float, n_pairs: int, lacking: int
) -> dict[str, Any]:
    """Return the statistics of the differences of one candidate, without its intervals."""
    unit = ROUNDING * scale
    values = np.round(differences.dropna().to_numpy() / unit) * unit  # equal ones become equal
    n = len(values)
    constant = n > 1 and np.ptp(values) <= REPEATED * scale
    repeated = bool(constant and scope != ACROSS and values.any())
    p, p_smallest = signed_rank(values)
    note = ""
    if not n:
        note = "no seed with all data sets" if scope == THESE else "nothing where both were scored"
    elif repeated:
        note = "the same difference in every seed: repeated runs, not repeated evidence"
    elif n == 1:
        note = "one repetition"
    elif lacking:
        note = f"rests on {n_pairs - lacking} of {n_pairs} pairs with the reference"
    return {
        "mean": float(values.mean()) if n else math.nan,
        "sd": float(values.std(ddof=1)) if n > 1 else math.nan,
        "n": n,
        "n_missing": len(differences) - n,
        "n_pairs": n_pairs - lacking,
        "n_pairs_missing": lacking,
        "wins": int((values > 0).sum()),
        "losses": int((values < 0).sum()),
        "ties": int((values == 0).sum()),
        "p": p,
        "p_smallest": p_smallest,
        "repeated": repeated,
        "note": note,
    }


def _with_tests(table: pd.DataFrame, level: float, over: Over) -> pd.DataFrame:
    """Add intervals, Holm's p over all comparisons of a scope, and verdicts."""
    parts = []
    for scope, rows in table.groupby("scope", sort=False):
        tested = rows[rows["p"].notna()]
        names, data = tested["candidate"].unique(), [d for d in tested["data"].unique() if d]
        where = f" on each of {', '.join(data)}" if data else f" ({scope})"
        family = (
            f"{counted(len(tested), 'comparison')}: {over} {', '.join(names)} against "
            f"{rows['reference'].iloc[0]}{where}"
        )
        sd = rows["sd"].mask(rows["repeated"])
        half = half_width(sd, rows["n"], level)
        joint = half_width(sd, rows["n"], 1 - (1 - level) / max(len(tested), 1))
        mean = rows["mean"]
        rows = rows.assign(low=mean - half, high=mean + half, p_holm=holm(rows["p"]))
        rows = rows.assign(low_joint=mean - joint, high_joint=mean + joint, family=family)
        parts.append(rows)
    table = pd.concat(parts, ignore_index=True)
    sides = [table["low"] > 0, table["high"] < 0]
    table["verdict"] = np.select(sides, ["better", "worse"], default=NO_DIFFERENCE)
    columns = [c for c in table if c not in ("repeated", "verdict", "note")]
    return table[[*columns, "verdict", "note"]]


def _warn_missing(table: pd.DataFrame, reference: str) -> None:
    """Warn once of the blocks or pairs that each candidate lacks, over all data sets."""
    rows = table[table["scope"] == ONE].groupby("candidate", sort=False)
    counts = rows[["n", "n_missing", "n_pairs", "n_pairs_missing"]].sum()
    for kind, there in (("blocks", "n"), ("pairs of values", "n_pairs")):
        lacking = counts[counts[f"{there}_missing"] > 0]
        if not len(lacking):
            continue
        shown = [
            f"{name!r} {row[f'{there}_missing']} of {row[there] + row[f'{there}_missing']}"
            for name, row in lacking.head(8).iterrows()
        ]
        more = f" and {len(lacking) - 8} more" if len(lacking) > 8 else ""
        warn(
            f"{kind} without a pair with {reference!r}: {', '.join(shown)}{more}. Only pairs "
            "that both were scored on are compared; see scgroove.benchmark.failures(results).",
            ResultsWarning,
        )
        return


def half_width(sd: pd.Series, n: pd.Series, level: float) -> Float64Array:
    """Return half of Student's interval of a mean: t sd / sqrt(n). NaN with one value."""
    count = np.asarray(n, dtype=float)
    with np.errstate(invalid="ignore", divide="ignore"):
        quantile = stats.t.ppf((1 + level) / 2, count - 1)
        return np.asarray(quantile * np.asarray(sd, dtype=float) / np.sqrt(count))


def signed_rank(differences: npt.ArrayLike) -> tuple[float, float]:
    """Return the two-sided p of Wilcoxon's signed-rank test, and the smallest p possible.

    Ties share their mean rank. Zeros are ranked with the others and then left out (Pratt 1959).
    NaN without differences.
    """
    d = np.asarray(differences, dtype=float)
    if not len(d):
        return math.nan, math.nan
    ranks = stats.rankdata(np.abs(d))[d != 0]
    smallest = min(1.0, 2.0 ** (1 - len(ranks)))
    if not len(ranks):
        return 1.0, smallest
    if len(d) > EXACT_UP_TO:
        return float(stats.wilcoxon(d, zero_method="pratt").pvalue), smallest
    # scipy's exact distribution knows neither ties nor zeros: count signs, rank after rank
    doubled = np.rint(2 * ranks).astype(int)  # those of ties may be halves
    chance = np.zeros(int(doubled.sum()) + 1)
    chance[0] = 1.0
    for rank in doubled:
        chance = (chance + np.concatenate([np.zeros(rank), chance[:-rank]])) / 2
    at = int(doubled[d[d != 0] > 0].sum())
    return float(min(1.0, 2 * min(chance[: at + 1].sum(), chance[at:].sum()))), smallest


def holm(p: pd.Series) -> pd.Series:
    """Correct p values for their number, after Holm. NaN are no tests, and stay.

    ``multipletests`` of statsmodels collects garbage in each call, which takes 0.7 s here.
    """
    ordered = p.dropna().astype(float).sort_values(kind="stable")
    steps = ordered * np.arange(len(ordered), 0, -1)
    return steps.cummax().clip(upper=1.0).reindex(p.index)


@dataclass(frozen=True, eq=False)
class Ranks:
    """Mean ranks over blocks, Friedman's test, and Nemenyi's critical difference.

    Attributes
    ----------
    metric, over, level
        The arguments.
    table
        ``method``, ``mean_rank`` (1 is best) and ``mean`` of the metric. Best first.
    n_blocks, n_dropped
        Blocks ranked, and blocks left out because a method was not scored there.
    left_out
        Methods left out because they were scored in too few cells.
    unused
        Aligners (learners, if aligners are ranked) with which a method was not scored.
    p
        Of Friedman's test that all methods are alike, corrected for ties (chi-square).
    critical_difference
        Mean ranks further apart than this differ (Nemenyi), if Friedman's test says any do.
    cliques
        Groups of two methods or more, best first, that cannot be told apart. They may overlap.
        All methods are in one if Friedman's p is above 1 - level.
    in_blocks
        The rank of each method (columns, best first) in each block (data set and seed).
    """

    metric: str
    over: str
    level: float
    table: pd.DataFrame
    n_blocks: int
    n_dropped: int
    left_out: tuple[str, ...]
    unused: tuple[str, ...]
    p: float
    critical_difference: float
    cliques: tuple[tuple[str, ...], ...]
    in_blocks: pd.DataFrame

    def by_data(self) -> pd.DataFrame:
        """Return the mean rank of each method (rows, best first) on each data set (columns).

        A rank on one data set rests on few seeds, and no test goes with it:
        :func:`scgroove.benchmark.compare` tells the differences on each.
        """
        return self.in_blocks.groupby(level="data").mean().T


def ranks(
    results: pd.DataFrame,
    metric: str,
    over: Over = "learner",
    *,
    level: float = 0.95,
    min_share: float = 0.5,
) -> Ranks:
    """Rank all methods in each block, a data set and a seed, and compare their mean ranks.

    The best has rank 1. Ties share their mean rank. Only cells in which every method was scored
    are used, so that no method is ranked on easier ones. The test takes blocks for independent.
    Blocks of one data set or one seed are not: it sees too many differences.

    Parameters
    ----------
    results, metric, level
        As for :func:`scgroove.benchmark.summarize`.
    over
        ``"learner"`` (averaged over the aligners that all of them were run with), ``"aligner"``
        (over learners), or ``"method"``, each pair of the two.
    min_share
        A method scored in less than this share of the cells is left out and listed. Otherwise
        it would cost all methods the cells that it lacks.

    Returns
    -------
    Ranks
        Mean ranks, test, critical difference and cliques. ``.by_data()`` has the mean ranks on
        each data set.

    Raises
    ------
    UnknownNameError, InputError
        If there is no such metric, fewer than two methods, or no block with all of them.

    Warns
    -----
    ResultsWarning
        If blocks or methods are left out.

    References
    ----------
    Demsar 2006, "Statistical comparisons of classifiers over multiple data sets", section 3.2.

    Examples
    --------
    >>> results = pd.DataFrame({"learner": ["l", "l", "r", "r"], "seed": [0, 1, 0, 1]})
    >>> results = results.assign(data="a", aligner="", metric="m", value=[1.0, 2.0, 3.0, 5.0])
    >>> ranks(results.assign(better="lower", status="done"), "m").table["mean_rank"].tolist()
    [1.0, 2.0]
    """
    rows = with_method(of_metric(results, metric), over)
    wide = as_wide(rows)
    n_blocks = wide.groupby(["data", "seed"]).ngroups
    share = wide.notna().mean()
    left_out = tuple(map(str, share.index[share < min_share]))
    wide = wide.drop(columns=list(left_out)).dropna(how="all")
    complete = wide.dropna()
    every, used = wide.index.unique("rest"), complete.index.unique("rest")
    unused = tuple(sorted(map(str, every.difference(used))))
    means = complete.groupby(["data", "seed"]).mean()
    _check_enough(means, wide, metric, over)
    n_dropped = n_blocks - len(means)
    _warn_left_out(metric, n_dropped, n_blocks, left_out, unused)
    values = means.to_numpy()
    values = np.round(values / (np.abs(values).max() or 1.0), 12)  # rounding breaks no ties
    ranked = stats.rankdata(-orientation(rows) * values, axis=1)
    names = pd.Index(means.columns.astype(str), name="method")
    table = pd.DataFrame({"mean_rank": ranked.mean(axis=0), "mean": means.mean().to_numpy()}, names)
    table = table.reset_index().sort_values(["mean_rank", "method"], ignore_index=True)
    p = _friedman_p(ranked)
    difference = critical_difference(len(table), len(means), level)
    return Ranks(
        **{"metric": metric, "over": over, "level": level, "table": table},
        **{"n_blocks": len(means), "n_dropped": n_dropped, "left_out": left_out, "unused": unused},
        p=p,
        critical_difference=difference,
        cliques=_cliques(table, difference if p <= 1 - level else math.inf),
        in_blocks=pd.DataFrame(ranked, means.index, names)[table["method"]],
    )


def _check_enough(means: pd.DataFrame, wide: pd.DataFrame, metric: str, over: Over) -> None:
    if wide.shape[1] < 2:
        raise InputError(
            f"{metric!r}: ranks need at least two of {over}, each scored in enough cells; "
            f"found {list(wide.columns)}."
        )
    if not len(means):
        lacking = wide.isna().sum().sort_values(ascending=False)
        worst = ", ".join(f"{name!r} ({n} of {len(wide)})" for name, n in lacking.head(3).items())
        column = "learner" if over == "method" else over
        raise InputError(
            f"{metric!r}: there is no block in which all of {over} were scored. Most are missing "
            f"for {worst}: leave them out, such as results[results[{column!r}] != "
            f"{str(lacking.index[0])!r}], or rank over='method'."
        )


def _warn_left_out(
    metric: str, n_dropped: int, n_blocks: int, left_out: Sequence[str], unused: Sequence[str]
) -> None:
    parts = []
    if left_out:
        parts.append(f"{', '.join(map(repr, left_out))} left out, scored in too few cells")
    if unused:
        names = ", ".join(map(repr, unused))
        parts.append(f"nothing used of {names}, with which not everything was scored")
    if n_dropped:
        blocks = counted(n_blocks, "block")
        parts.append(f"{n_dropped} of {blocks} dropped, in which not everything was scored")
    if parts:
        warn(
            f"ranks by {metric!r}: {'; '.join(parts)}. See scgroove.benchmark.failures(results).",
            ResultsWarning,
        )


def _friedman_p(ranked: Float64Array) -> float:
    """Return the p of Friedman's test from (n_blocks, k) ranks. 1 if all are tied.

    scipy's ``friedmanchisquare`` refuses two methods.
    """
    n, k = ranked.shape
    between = ((ranked.sum(axis=0) - n * (k + 1) / 2) ** 2).sum()
    within = (ranked**2).sum() - n * k * (k + 1) ** 2 / 4
    return float(stats.chi2.sf((k - 1) * between / within, k - 1)) if within > 0 else 1.0


def critical_difference(n_methods: int, n_blocks: int, level: float = 0.95) -> float:
    """Return how far mean ranks must be apart to differ, after Nemenyi.

    ``q sqrt(k (k + 1) / (6 n))`` for k methods and n blocks. q is the quantile of the studentized
    range with infinite degrees of freedom, divided by sqrt(2) (Demsar 2006, table 5).
    """
    q = stats.studentized_range.ppf(level, n_methods, np.inf) / math.sqrt(2)
    return float(q * math.sqrt(n_methods * (n_methods + 1) / (6 * n_blocks)))


def _cliques(table: pd.DataFrame, difference: float) -> tuple[tuple[str, ...], ...]:
    """Longest runs of methods whose mean ranks differ by less than the critical difference."""
    values, names = table["mean_rank"].to_numpy(), list(table["method"])
    runs: list[tuple[int, int]] = []
    for start in range(len(values)):
        stop = int(np.sum(values - values[start] < difference))
        if stop - start > 1 and (not runs or stop > runs[-1][1]):
            runs.append((start, stop))
    return tuple(tuple(names[start:stop]) for start, stop in runs)
