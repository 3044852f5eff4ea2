"""Mean ranks, and which of them can be told apart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy import stats

from scgroove._types import Float64Array
from scgroove._warnings import warn
from scgroove.benchmark._table import (
    Over,
    as_wide,
    check_columns,
    counted,
    of_metric,
    orientation,
    with_method,
)
from scgroove.errors import InputError, ResultsWarning


@dataclass(frozen=True, eq=False)
class Ranks:
    """Mean ranks over blocks, Friedman's test, and Nemenyi's critical difference.

    Attributes
    ----------
    metric, over, block, level
        As asked for.
    table
        ``method``, ``mean_rank`` (1 is best) and ``mean`` of the metric over the blocks; best first.
    n_blocks, n_dropped
        Blocks ranked, and blocks left out because a method was not scored there.
    left_out
        Methods left out because they were scored in too few cells.
    unused
        Aligners (learners, where aligners are ranked) of which nothing is used, because one of the methods was not scored with them.
    friedman, p
        Statistic of Friedman's test that all methods are alike, corrected for ties, and its p (chi-square).
    critical_difference
        Mean ranks further apart than this differ (Nemenyi), if Friedman's test says that any do.
    cliques
        Groups of methods, best first, that cannot be told apart: all in one if Friedman's p is above 1 - level. Groups may
        overlap; one of a single method is not listed.
    in_blocks
        What ``mean_rank`` is the mean of: the rank of each method (columns, best first) in each block (rows, indexed by
        ``block``).
    """

    metric: str
    over: str
    block: tuple[str, ...]
    level: float
    table: pd.DataFrame
    n_blocks: int
    n_dropped: int
    left_out: tuple[str, ...]
    friedman: float
    p: float
    critical_difference: float
    cliques: tuple[tuple[str, ...], ...]
    unused: tuple[str, ...] = ()
    in_blocks: pd.DataFrame = field(default_factory=pd.DataFrame)

    def by_data(self) -> pd.DataFrame:
        """Return the mean rank of each method (rows, best of all first) on each data set (columns).

        The ranks are those that the mean over all is made of: of the same blocks, aligners and methods. Where all data sets
        have the same number of blocks, the mean of a row is ``mean_rank``. A rank on one data set rests on few seeds, and no
        test goes with it: :func:`scgroove.benchmark.compare` says what differs on each.

        Raises
        ------
        ValueError
            If data sets were averaged before anything was ranked.

        Examples
        --------
        >>> results = pd.DataFrame(
        ...     {
        ...         "data": ["x", "x", "y", "y"],
        ...         "learner": ["a", "b", "a", "b"],
        ...         "aligner": "",
        ...         "seed": 0,
        ...         "metric": "m",
        ...         "value": [1.0, 2.0, 3.0, 1.0],
        ...         "better": "lower",
        ...         "status": "done",
        ...     }
        ... )
        >>> found = ranks(results, "m").by_data()
        >>> found.loc["a"].tolist(), found.loc["b"].tolist()
        ([1.0, 2.0], [2.0, 1.0])
        """
        if "data" not in self.block:
            raise InputError(
                f"there are no ranks by data set with block={self.block}, which averages over data sets first: rank with "
                f"block=('data', 'seed') or ('data',)."
            )
        return self.in_blocks.groupby(level="data").mean().T


def ranks(
    results: pd.DataFrame,
    metric: str,
    over: Over = "learner",
    *,
    block: Sequence[str] = ("data", "seed"),
    level: float = 0.95,
    min_share: float = 0.5,
) -> Ranks:
    """Rank everything in each block, and say which mean ranks can be told apart.

    In each block the best has rank 1; ties share their mean rank. Only cells in which every method was scored are
    used, so that no method is ranked on easier ones. The test takes blocks for independent. Blocks of one data set are
    not, nor are simulations with the same seed, which share cells: with ``block=("data", "seed")`` it sees too many
    differences. ``("data",)`` is safe, and needs many data sets.

    Parameters
    ----------
    results, metric
        As for :func:`scgroove.benchmark.summarize`.
    over
        What is ranked: ``"learner"`` (averaged over the aligners that all of them were run with), ``"aligner"`` (over
        learners), or ``"method"``, each pair of the two.
    block
        ``("data", "seed")`` or ``("data",)``: seeds are averaged first.
    level
        Confidence.
    min_share
        A method scored in less than this share of the cells is left out, and listed; otherwise it would cost all methods
        the cells that it lacks, such as a learner without a shared space those of all aligners that need one.

    Returns
    -------
    Ranks
        Mean ranks, test, critical difference, and cliques; ``.by_data()`` has the mean ranks on each data set.

    Raises
    ------
    ValueError, UnknownNameError
        If there is no such metric, fewer than two methods, or no block with all of them.

    Warns
    -----
    ResultsWarning
        If blocks or methods are left out.

    References
    ----------
    Demsar 2006, "Statistical comparisons of classifiers over multiple data sets", section 3.2. Friedman 1937, "The use of
    ranks to avoid the assumption of normality implicit in the analysis of variance". Nemenyi 1963, "Distribution-free
    multiple comparisons".

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
    >>> ranks(results, "m").table["mean_rank"].tolist()
    [1.0, 2.0]
    """
    blocks = check_columns("block", block, ("data", "seed"))
    rows = with_method(of_metric(results, metric), over)
    wide = as_wide(rows)
    every = wide.groupby(blocks).size()
    wide, left_out = _without_rare(wide, min_share)
    rests = {str(name) for name in wide.index.get_level_values("rest")}
    unused = tuple(
        sorted(rests - {str(name) for name in wide.dropna().index.get_level_values("rest")})
    )
    means = wide.dropna().groupby(["data", "seed"]).mean().groupby(blocks).mean()
    _check_enough(means, wide, metric, over)
    n_dropped = len(every) - len(means)
    _warn_left_out(metric, n_dropped, len(every), left_out, unused)
    ranked = stats.rankdata(-orientation(rows) * _without_noise(means.to_numpy()), axis=1)
    friedman, p = friedman_test(ranked)
    table = pd.DataFrame(
        {"method": means.columns, "mean_rank": ranked.mean(axis=0), "mean": means.mean().to_numpy()}
    )
    table = table.sort_values(["mean_rank", "method"], ignore_index=True)
    difference = critical_difference(len(table), len(means), level)
    cliques = _cliques(table, difference if p <= 1 - level else math.inf)
    in_blocks = pd.DataFrame(ranked, index=means.index, columns=means.columns)[table["method"]]
    return Ranks(
        metric,
        over,
        tuple(blocks),
        level,
        table,
        len(means),
        n_dropped,
        left_out,
        friedman,
        p,
        difference,
        cliques,
        unused,
        in_blocks,
    )


def _without_noise(values: Float64Array) -> Float64Array:
    """Round away what would break ties by rounding alone."""
    scale = float(np.abs(values).max()) or 1.0
    return np.asarray(np.round(values / scale, 12))


def _without_rare(wide: pd.DataFrame, min_share: float) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Leave out methods that were scored in too few cells, and rows that are empty then."""
    share = wide.notna().mean()
    rare = tuple(str(name) for name in share.index[share < min_share])
    return wide.drop(columns=list(rare)).dropna(how="all"), rare


def _check_enough(means: pd.DataFrame, wide: pd.DataFrame, metric: str, over: Over) -> None:
    if wide.shape[1] < 2:
        raise InputError(
            f"{metric!r}: ranks need at least two of {over}, each scored in enough cells; found {list(wide.columns)}."
        )
    if not len(means):
        lacking = wide.isna().sum().sort_values(ascending=False)
        worst = ", ".join(f"{name!r} ({n} of {len(wide)})" for name, n in lacking.head(3).items())
        raise InputError(
            f"{metric!r}: there is no block in which all of {over} were scored. Most are missing for {worst}: leave them out, such "
            f"as results[results[{'learner' if over == 'method' else over!r}] != {str(lacking.index[0])!r}], or rank over='method'."
        )


def _warn_left_out(
    metric: str, n_dropped: int, n_blocks: int, left_out: Sequence[str], unused: Sequence[str]
) -> None:
    parts = []
    if left_out:
        parts.append(f"{', '.join(map(repr, left_out))} left out, scored in too few cells")
    if unused:
        parts.append(
            f"nothing used of {', '.join(map(repr, unused))}, with which not everything was scored"
        )
    if n_dropped:
        parts.append(
            f"{n_dropped} of {counted(n_blocks, 'block')} dropped, in which not everything was scored"
        )
    if parts:
        warn(
            f"ranks by {metric!r}: {'; '.join(parts)}. See scgroove.benchmark.failures(results).",
            ResultsWarning,
        )


def friedman_test(ranked: Float64Array) -> tuple[float, float]:
    """Return Friedman's statistic, corrected for ties, and its p.

    Parameters
    ----------
    ranked
        (n_blocks, k) ranks in each block, those of ties averaged.

    Returns
    -------
    statistic, p
        Chi-square with k - 1 degrees of freedom; 0 and 1 where all are tied.
    """
    n, k = ranked.shape
    between = ((ranked.sum(axis=0) - n * (k + 1) / 2) ** 2).sum()
    within = (ranked**2).sum() - n * k * (k + 1) ** 2 / 4
    if within <= 0:
        return 0.0, 1.0
    statistic = float((k - 1) * between / within)
    return statistic, float(stats.chi2.sf(statistic, k - 1))


def critical_difference(n_methods: int, n_blocks: int, level: float = 0.95) -> float:
    """Return how far mean ranks must be apart to differ, after Nemenyi: q sqrt(k (k + 1) / (6 n)).

    Parameters
    ----------
    n_methods, n_blocks
        k and n.
    level
        q is this quantile of the studentized range with infinite degrees of freedom, divided by sqrt(2).

    Returns
    -------
    float
        In ranks.

    References
    ----------
    Demsar 2006, section 3.2.2 and table 5.

    Examples
    --------
    >>> round(critical_difference(5, 30), 3)
    1.114
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
