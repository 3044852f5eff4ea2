"""Paired comparisons with a reference: differences, their intervals, signed ranks, and what may be said."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from scgroove._types import Float64Array
from scgroove._warnings import warn
from scgroove.benchmark._intervals import ROUNDING, is_constant, t_interval
from scgroove.benchmark._table import (
    Over,
    as_wide,
    check_columns,
    counted,
    of_metric,
    orientation,
    unknown,
    with_method,
)
from scgroove.errors import InputError, ResultsWarning, UnknownNameError

BETTER, WORSE, NO_DIFFERENCE = "better", "worse", "no difference shown"

ONE, THESE, ACROSS = "data set", "these data sets", "across data sets"
"""What a row speaks of: one data set; those that were run, with other seeds; other data sets like them."""

EXACT_UP_TO: Final = 200
"""Differences up to which signed ranks are counted exactly."""


def compare(
    results: pd.DataFrame,
    metric: str,
    reference: str,
    *,
    over: Over = "learner",
    block: Sequence[str] = ("data", "seed"),
    level: float = 0.95,
    require_p: bool = False,
    quiet: bool = False,
) -> pd.DataFrame:
    """Compare everything with a reference, in pairs, and say what the differences allow to be said.

    Values are paired in the same data set, seed and aligner (``over="aligner"``: and learner), turned so that **positive is
    better than the reference**, and averaged over what is not compared: one difference a block. Seeds are nested in data sets,
    and simulations with the same seed share cells: fifteen blocks of three data sets and five seeds are not fifteen independent
    repetitions. Hence up to three kinds of rows, by ``scope``:

    ``"data set"``
        One data set; its seeds are the repetitions.
    ``"these data sets"``
        The mean over the data sets, each weighing the same; the repetitions are the seeds, of which those are used that
        have all data sets. What the same data sets would show with other seeds; it says nothing of other data sets.
    ``"across data sets"``
        One mean difference a data set, and the data sets are the repetitions: what another data set like them would show.
        With three data sets this can show very little, and that is how it is.

    Parameters
    ----------
    results
        What :func:`scgroove.benchmark.read` returns.
    metric
        Name of a metric in it.
    reference
        Name of the learner, aligner, or method that the others are compared with.
    over
        What is compared: ``"learner"``, ``"aligner"``, or ``"method"``, each pair of the two, called ``"learner + aligner"``
        (or as the learner where the metric scores a representation).
    block
        ``("data", "seed")``; ``("data",)``: seeds are averaged first, rows of scope ``"across data sets"`` only;
        ``("seed",)``: data sets are averaged first, seed by seed, rows of scope ``"these data sets"`` only.
    level
        Confidence of each interval; they are not widened for the number of comparisons.
    require_p
        Ask for the corrected p as well, before anything is called better or worse.
    quiet
        Do not warn of what is missing; the columns tell it all the same.

    Returns
    -------
    DataFrame
        One row for each scope, data set (``data``; empty where pooled) and ``candidate``; with ``reference``, ``metric`` and

        ``mean``, ``low``, ``high``, ``sd``, ``interval``
            Of the differences: Student's interval of the mean. NaN with one block; also where the difference is the
            same in every seed, since what repeats itself is no repeated evidence.
        ``low_joint``, ``high_joint``
            The interval widened for the number of comparisons of the family (Bonferroni), so that all of them hold
            together with the confidence asked for.
        ``n``, ``n_missing``, ``n_data``
            Repetitions compared (seeds, or data sets), repetitions where either is missing, and data sets. Over "these data sets"
            a candidate that lacks one of them has no repetition.
        ``n_pairs``, ``n_pairs_missing``
            Pairs of values that the differences are means of, and pairs that the candidate lacks, such as with an aligner that it
            failed with: its difference then also tells what is missing, and ``note`` says so.
        ``wins``, ``losses``, ``ties``
            Of the candidate, over repetitions.
        ``p``, ``p_holm``, ``p_smallest``
            Wilcoxon's signed-rank test, two-sided, exact (see :func:`signed_rank`); after Holm's correction over the
            family; and the smallest that p could be with as many differences.
        ``family``
            The comparisons of the correction, written out: all of the same scope.
        ``verdict``
            ``"better"`` or ``"worse"`` than the reference, only if the interval does not hold 0 (and with ``require_p``
            if ``p_holm`` is at most 1 - level); else ``"no difference shown"``, which does not mean that there is none.
        ``note``
            What stands against the row, if anything.

    Raises
    ------
    ValueError, UnknownNameError
        If there is no such metric or reference (the message names the near miss), or nothing to compare it with.

    Warns
    -----
    ResultsWarning
        If a candidate or the reference lacks blocks; with their number.

    References
    ----------
    Demsar 2006, "Statistical comparisons of classifiers over multiple data sets". Holm 1979, "A simple sequentially rejective
    multiple test procedure". Pratt 1959, "Remarks on zeros and ties in the Wilcoxon signed rank procedures".

    Examples
    --------
    >>> results = pd.DataFrame(
    ...     {
    ...         "data": "a",
    ...         "learner": ["l", "l", "r", "r"],
    ...         "aligner": "",
    ...         "seed": [0, 1, 0, 1],
    ...         "metric": "m",
    ...         "value": [1.0, 2.0, 3.0, 5.0],
    ...         "better": "lower",
    ...         "status": "done",
    ...     }
    ... )
    >>> row = compare(results, "m", "r").iloc[0]
    >>> row["candidate"], float(row["mean"]), int(row["wins"]), float(row["p"]), row["verdict"]
    ('l', 2.5, 2, 0.5, 'no difference shown')
    """
    blocks = check_columns("block", block, ("data", "seed"))
    rows = with_method(of_metric(results, metric), over)
    wide = _paired(rows, reference, over)
    sign, scale = orientation(rows), float(rows["value"].abs().max())
    differences = _differences(wide, reference, blocks, sign)
    scopes = _scopes(differences, _all_blocks(wide, blocks))
    pairs = _pairs(wide, reference)
    table = pd.DataFrame([_row(scope, level, scale, pairs) for scope in scopes])
    table.insert(3, "reference", reference)
    table = _corrected(table.assign(metric=metric, level=level), over)
    table["verdict"] = [
        _verdict(row, 1 - level if require_p else math.inf) for row in table.to_dict("records")
    ]
    if not quiet:
        _warn_missing(table, reference)
    return table[[*(c for c in table if c not in ("verdict", "note")), "verdict", "note"]]


def _paired(rows: pd.DataFrame, reference: str, over: Over) -> pd.DataFrame:
    """One row for each data set, seed and whatever else is held fixed; one column for each method; NaN where it is missing."""
    names = set(rows["method"])
    if reference not in names:
        raise UnknownNameError(unknown(over, reference, names))
    if len(names) == 1:
        raise InputError(
            f"only {reference!r} was scored by this metric: there is nothing to compare it with."
        )
    return as_wide(rows)


def _pairs(wide: pd.DataFrame, reference: str) -> pd.DataFrame:
    """For each data set and method (columns), how many of the pairs with the reference are not there; and, as ``""``, of how many."""
    asked = wide[wide[reference].notna()].drop(columns=reference)
    lacking = asked.isna().groupby("data").sum()
    return lacking.assign(**{"": asked.groupby("data").size()})


def _all_blocks(wide: pd.DataFrame, blocks: Sequence[str]) -> pd.MultiIndex:
    """Every block in which anything was scored."""
    return pd.MultiIndex.from_frame(
        wide.index.to_frame(index=False)[list(blocks)].drop_duplicates()
    )


def _differences(
    wide: pd.DataFrame, reference: str, blocks: Sequence[str], sign: float
) -> dict[str, pd.Series]:
    """Mean difference of each block where both were scored, for each method; positive is better than the reference."""
    each = sign * wide.drop(columns=reference).sub(wide[reference], axis=0)
    means = each.groupby(["data", "seed"]).mean()
    if set(blocks) != {"data", "seed"}:
        means = means.groupby(list(blocks)).mean()
    return {str(name): means[name].dropna() for name in means}


@dataclass(frozen=True)
class _Scope:
    """What a row of the table speaks of, and the differences it rests on: one for each repetition."""

    name: str
    data: str
    candidate: str
    values: Float64Array
    n_asked: int
    n_data: int
    n_lacking: int = 0


def _scopes(differences: dict[str, pd.Series], every: pd.MultiIndex) -> Iterator[_Scope]:
    """Data set by data set, then pooled."""
    sets = list(every.get_level_values("data").unique()) if "data" in every.names else []
    nested = every.nlevels == 2
    for data in sets if nested else []:
        n_asked = int((every.get_level_values("data") == data).sum())
        for name, d in differences.items():
            yield _Scope(
                ONE, data, name, d[d.index.get_level_values("data") == data].to_numpy(), n_asked, 1
            )
    if "data" not in every.names:
        for name, d in differences.items():
            yield _Scope(THESE, "", name, d.to_numpy(), len(every), 1)
    if nested and len(sets) > 1:
        n_asked = len(every.get_level_values("seed").unique())
        for name, d in differences.items():
            n_data = len(d.index.get_level_values("data").unique())
            # a mean over other data sets than the others have is no mean to put beside theirs
            values = _by_seed(d) if n_data == len(sets) else np.empty(0)
            yield _Scope(THESE, "", name, values, n_asked, n_data, len(sets) - n_data)
    if len(sets) > 1:
        for name, d in differences.items():
            means = d.groupby("data").mean().to_numpy()
            yield _Scope(ACROSS, "", name, means, len(sets), len(means))


def _by_seed(d: pd.Series) -> Float64Array:
    """Mean over the data sets, for each seed that has them all."""
    grouped = d.groupby("seed")
    n_data = len(d.index.get_level_values("data").unique())
    return np.asarray(grouped.mean()[grouped.size() == n_data].to_numpy())


def _row(scope: _Scope, level: float, scale: float, pairs: pd.DataFrame) -> dict[str, Any]:
    """Return what the differences of a scope say; differences of the size of rounding are none."""
    values = _without_rounding(scope.values, scale)
    repeats = _repeats(scope, values, scale)
    low, high = (math.nan, math.nan) if repeats else t_interval(values, level)
    test = signed_rank(values)
    of = pairs.reindex([scope.data], fill_value=0) if scope.data else pairs
    lacking, asked = (int(of[name].sum()) if name in of else 0 for name in (scope.candidate, ""))
    return {
        "scope": scope.name,
        "data": scope.data,
        "candidate": scope.candidate,
        "mean": float(values.mean()) if len(values) else math.nan,
        "low": low,
        "high": high,
        "sd": float(values.std(ddof=1)) if len(values) > 1 else math.nan,
        "interval": "t",
        "n": len(values),
        "n_missing": scope.n_asked - len(values),
        "n_data": scope.n_data,
        "n_pairs": asked - lacking,
        "n_pairs_missing": lacking,
        "wins": int((values > 0).sum()),
        "losses": int((values < 0).sum()),
        "ties": int((values == 0).sum()),
        "p": test.p,
        "p_smallest": test.p_smallest,
        "note": _note(scope, repeats, lacking, asked),
    }


def _without_rounding(values: Float64Array, scale: float) -> Float64Array:
    """Differences as they are but for the last digits, so that equal ones are equal."""
    unit = ROUNDING * max(scale, np.finfo(float).tiny)
    return np.asarray(np.round(values / unit) * unit)


def _repeats(scope: _Scope, values: Float64Array, scale: float) -> bool:
    """Whether all seeds gave the very same difference, and not none."""
    several = len(values) > 1 and scope.name != ACROSS
    return several and is_constant(values, scale) and bool(values.any())


def _note(scope: _Scope, repeats: bool, lacking: int, asked: int) -> str:
    if repeats:
        return "the same difference in every seed: repeated runs, not repeated evidence"
    if scope.n_lacking:
        return f"not scored on {counted(scope.n_lacking, 'data set')}: no mean over all of them"
    if len(scope.values) == 1:
        return "one repetition"
    if len(scope.values):
        return f"rests on {asked - lacking} of {asked} pairs with the reference" if lacking else ""
    partly = scope.name == THESE and scope.n_data > 1
    return "no seed with all data sets" if partly else "nothing where both were scored"


class SignedRank(NamedTuple):
    """Outcome of Wilcoxon's signed-rank test.

    Attributes
    ----------
    statistic
        Sum of the ranks of positive differences.
    p
        Two-sided; NaN without differences.
    p_smallest
        What p would be if all differences had the same sign: no smaller one is possible.
    """

    statistic: float
    p: float
    p_smallest: float


def signed_rank(differences: npt.ArrayLike) -> SignedRank:
    """Test whether paired differences scatter symmetrically about 0, by Wilcoxon's signed ranks.

    Ties share their mean rank. Zeros are ranked with the others and then left out (Pratt 1959). Up to 200 differences the
    distribution over all changes of sign is counted exactly, given the ranks, so also with ties and zeros; beyond, normal.

    Parameters
    ----------
    differences
        (n,)

    Returns
    -------
    SignedRank
        ``statistic``, ``p`` and ``p_smallest``.

    Raises
    ------
    ValueError
        If a difference is not finite.

    Examples
    --------
    >>> signed_rank([1.0, 2.0, 3.0, 4.0, 5.0])
    SignedRank(statistic=15.0, p=0.0625, p_smallest=0.0625)
    """
    d = np.asarray(differences, dtype=float).ravel()
    if not np.isfinite(d).all():
        raise InputError(
            "differences must be finite; leave out pairs of which one value is missing."
        )
    if not len(d):
        return SignedRank(math.nan, math.nan, math.nan)
    ranks = stats.rankdata(np.abs(d))[d != 0]
    statistic = float(ranks[d[d != 0] > 0].sum())
    p = _exact_p(ranks, statistic) if len(d) <= EXACT_UP_TO else _normal_p(ranks, statistic)
    return SignedRank(statistic, p, min(1.0, 2.0 ** (1 - len(ranks))))


def _exact_p(ranks: Float64Array, statistic: float) -> float:
    """Count signs one rank after the other; ranks are doubled, since those of ties may be halves."""
    doubled = np.rint(2 * ranks).astype(int)
    chance = np.zeros(int(doubled.sum()) + 1)
    chance[0] = 1.0
    for rank in doubled:
        plus = np.concatenate([np.zeros(rank), chance[: len(chance) - rank]])
        chance = (chance + plus) / 2
    at = round(2 * statistic)
    return float(min(1.0, 2 * min(chance[: at + 1].sum(), chance[at:].sum())))


def _normal_p(ranks: Float64Array, statistic: float) -> float:
    spread = math.sqrt((ranks**2).sum()) / 2
    if spread == 0:
        return 1.0
    return float(2 * stats.norm.sf(abs(statistic - ranks.sum() / 2) / spread))


def holm(p: npt.ArrayLike) -> Float64Array:
    """Correct p values for their number, after Holm.

    The smallest is multiplied by the number of tests, the next by one less, and so on; none becomes smaller than one before it, or
    larger than 1. NaN are no tests, and stay.

    Parameters
    ----------
    p
        (m,) p values of one family.

    Returns
    -------
    array
        (m,)

    References
    ----------
    Holm 1979, "A simple sequentially rejective multiple test procedure".

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03]).tolist()
    [0.03, 0.06, 0.06]
    """
    values = np.asarray(p, dtype=float)
    out = np.full(values.shape, np.nan)
    tests = np.flatnonzero(~np.isnan(values))
    order = tests[np.argsort(values[tests], kind="stable")]
    steps = values[order] * np.arange(len(order), 0, -1)
    out[order] = np.minimum(1.0, np.maximum.accumulate(steps))
    return out


def _corrected(table: pd.DataFrame, over: Over) -> pd.DataFrame:
    """Add ``p_holm`` and the family it was made over: all comparisons of the same scope."""
    parts = []
    for scope, rows in table.groupby("scope", sort=False):
        tests = rows[rows["p"].notna()]
        low, high = _joint(rows, len(tests))
        columns = {"p_holm": holm(rows["p"]), "low_joint": low, "high_joint": high}
        parts.append(rows.assign(**columns, family=_family(str(scope), tests, over)))
    return pd.concat(parts, ignore_index=True)


def _joint(rows: pd.DataFrame, n_comparisons: int) -> tuple[Float64Array, Float64Array]:
    """Intervals of the means, widened for their number; NaN where there is none."""
    n = rows["n"].to_numpy(dtype=float)
    error = (1 - rows["level"].to_numpy()) / max(n_comparisons, 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        half = stats.t.ppf(1 - error / 2, n - 1) * rows["sd"].to_numpy() / np.sqrt(n)
    half = np.where(rows["low"].notna(), half, np.nan)
    mean = rows["mean"].to_numpy()
    return mean - half, mean + half


def _family(scope: str, tests: pd.DataFrame, over: Over) -> str:
    names, data = list(tests["candidate"].unique()), [d for d in tests["data"].unique() if d]
    where = f" on each of {', '.join(data)}" if data else f" ({scope})"
    against = tests["reference"].iloc[0] if len(tests) else ""
    return (
        f"{counted(len(tests), 'comparison')}: {over} {', '.join(names)} against {against}{where}"
    )


def _verdict(row: dict[str, Any], largest_p: float) -> str:
    """Say better or worse only where the interval lies on one side of 0, and p is small if that is asked for."""
    if math.isnan(row["low"]) or row["low"] <= 0 <= row["high"]:
        return NO_DIFFERENCE
    # rounding must not make of p = 1 - level one that is above it
    if largest_p < math.inf and row["p_holm"] > largest_p * (1 + 1e-9):
        return NO_DIFFERENCE
    return BETTER if row["low"] > 0 else WORSE


def _warn_missing(table: pd.DataFrame, reference: str) -> None:
    """Say once how much each candidate lacks, over all data sets."""
    rows = table[table["scope"] == table["scope"].iloc[0]]
    counts = rows.groupby("candidate", sort=False)[
        ["n", "n_missing", "n_pairs", "n_pairs_missing"]
    ].sum()
    for what, there, missing in (
        ("blocks", "n", "n_missing"),
        ("pairs of values", "n_pairs", "n_pairs_missing"),
    ):
        lacking = counts[counts[missing] > 0]
        if len(lacking):
            shown = ", ".join(
                f"{name!r} {row[missing]} of {row[there] + row[missing]}"
                for name, row in lacking.head(8).iterrows()
            )
            more = f" and {len(lacking) - 8} more" if len(lacking) > 8 else ""
            warn(
                f"{what} without a pair with {reference!r}: {shown}{more}. Only what both were scored on is compared; see "
                "scgroove.benchmark.failures(results).",
                ResultsWarning,
            )
            return
