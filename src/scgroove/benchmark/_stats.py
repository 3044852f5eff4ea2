"""What repeated runs say: means with intervals, the share of a gap that is closed, cost, and what was not done."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pandas as pd

from scgroove._types import BoolArray, Float64Array
from scgroove._warnings import warn
from scgroove.benchmark._compare import compare
from scgroove.benchmark._intervals import (
    Interval,
    IntervalOf,
    interval_maker,
    is_constant,
    ratio_of_means,
)
from scgroove.benchmark._results import BY_CONSTRUCTION, NULL
from scgroove.benchmark._table import (
    KEYS,
    NEEDED,
    NUMBERS,
    Over,
    check_columns,
    check_results,
    comparable,
    counted,
    of_metric,
    orientation,
    plain,
    unknown,
    with_method,
)
from scgroove.errors import InputError, ResultsWarning, UnknownNameError

CELL: Final = ("data", "learner", "aligner")


def summarize(
    results: pd.DataFrame,
    metric: str,
    *,
    by: Sequence[str] = CELL,
    interval: Interval = "t",
    level: float = 0.95,
    n_boot: int = 10_000,
    seed: int = 0,
) -> pd.DataFrame:
    """Return mean, spread and interval over seeds.

    Values of the same seed are averaged first: a group of ``by`` has one number a seed, and the interval says what
    other seeds would give **on the same data sets and with the same aligners**. On a simulation another seed is another
    screen; on a file it is another run on the same cells, and the interval says nothing of other cells.

    Parameters
    ----------
    results
        What :func:`scgroove.benchmark.read` returns.
    metric
        Name of a metric in it.
    by
        Columns that make a group, among ``"data"``, ``"learner"``, ``"aligner"``, and parameters of the runs, such as
        ``"rho"``.
    interval
        ``"t"``: Student's, which assumes that seeds scatter about normally. ``"bootstrap"``: quantiles of the means of
        ``n_boot`` samples of the seeds, drawn with replacement; no such assumption, but too narrow for few seeds (with 5
        it holds the truth about 84 times in 100 where 95 are asked for).
    level
        Confidence, in (0, 1).
    n_boot, seed
        Of the bootstrap.

    Returns
    -------
    DataFrame
        One row a group: the columns of ``by``, ``metric``, ``mean``, ``sd`` over seeds, ``n_seeds``, ``low`` and ``high``
        (NaN with one seed, and where all seeds have the same value: a method without chance repeats itself on a file, and what
        repeats itself is no repeated evidence), ``interval`` (its name, or why there is none), ``level``, ``chance`` (mean over the
        group), ``chance_sd`` (spread of a single value without knowledge, not of a mean over seeds), ``perfect`` and
        ``better``. If the grid was repeated on permuted labels: ``null``, ``null_sd`` (of a single value) and ``n_null``.

    Raises
    ------
    ValueError, UnknownNameError
        If there is no such metric, column or interval; the message names the near miss.

    Warns
    -----
    ResultsWarning
        If a group has one seed; if the seeds of a group average different numbers of cells, since a mean may then
        move for what is missing; if values are not defined.

    Examples
    --------
    >>> results = pd.DataFrame(
    ...     {
    ...         "data": "a",
    ...         "learner": "l",
    ...         "aligner": "",
    ...         "seed": [0, 1, 2],
    ...         "metric": "m",
    ...         "value": [1.0, 2.0, 3.0],
    ...         "better": "lower",
    ...         "status": "done",
    ...     }
    ... )
    >>> row = summarize(results, "m").iloc[0]
    >>> [round(float(row[name]), 3) for name in ("mean", "sd", "n_seeds", "low", "high")]
    [2.0, 1.0, 3.0, -0.484, 4.484]
    """
    make = interval_maker(interval, level, n_boot, seed)
    columns = _groups(results, by)
    rows = of_metric(results, metric, also=[c for c in columns if c not in CELL])
    seeds = _per_seed(rows, columns)
    _warn_uneven(seeds, metric, columns)
    records = [
        {**dict(zip(columns, key, strict=True)), "metric": metric, **_row(group, make, interval)}
        for key, group in seeds.groupby(columns, dropna=False)
    ]
    lonely = sum(record["n_seeds"] == 1 for record in records)
    if lonely:
        warn(
            f"{metric!r}: {lonely} of {counted(len(records), 'group')} {'has' if lonely == 1 else 'have'} a single seed, hence "
            "no interval. Run more seeds.",
            ResultsWarning,
        )
    found = pd.DataFrame(records).assign(level=level, better=rows["better"].iloc[0])
    if rows["null"].isna().all():
        return found
    null = (
        rows.assign(null_sd=rows["null_sd"] ** 2).groupby(columns, dropna=False)[list(NULL)].mean()
    )
    return found.merge(null.assign(null_sd=np.sqrt(null["null_sd"])), on=columns, how="left")


def _groups(results: pd.DataFrame, by: Sequence[str]) -> list[str]:
    """Check the columns that make a group: those of the grid, and others than what is measured."""
    check_results(results)
    others = [c for c in results.columns if c not in (*NEEDED, *NUMBERS, "error")]
    return check_columns("by", by, [*CELL, *others])


def _per_seed(rows: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """One row for each group and seed: means over what the group does not tell apart."""
    with_square = rows.assign(variance=rows["chance_sd"] ** 2)
    grouped = with_square.groupby([*columns, "seed"], dropna=False)
    means = grouped[["value", "chance", "variance", "perfect"]].mean()
    return means.assign(averaged=grouped.size()).reset_index()


def _row(group: pd.DataFrame, make: IntervalOf, kind: str) -> dict[str, Any]:
    """Summary of one value a seed."""
    values, chance, variance, perfect = (
        group[["value", "chance", "variance", "perfect"]].to_numpy(dtype=float).T
    )
    repeated = len(values) > 1 and is_constant(values, float(np.abs(values).max()))
    low, high = (math.nan, math.nan) if repeated else make(values)
    return {
        "mean": float(values.mean()),
        "sd": float(values.std(ddof=1)) if len(values) > 1 else math.nan,
        "n_seeds": len(values),
        "low": low,
        "high": high,
        "interval": "none (one seed)"
        if len(values) < 2
        else "none (same in every seed)"
        if repeated
        else kind,
        "chance": _known_mean(chance),
        "chance_sd": math.sqrt(_known_mean(variance)),
        "perfect": _known_mean(perfect),
    }


def _known_mean(values: Float64Array) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else math.nan


def _warn_uneven(seeds: pd.DataFrame, metric: str, columns: Sequence[str]) -> None:
    """Say where a seed lacks some of the cells that another seed of the group has."""
    spread = seeds.groupby(list(columns), dropna=False)["averaged"].agg(["min", "max"])
    uneven = spread[spread["min"] < spread["max"]]
    if len(uneven):
        first = uneven.iloc[0]
        warn(
            f"{metric!r}: {counted(len(uneven), 'group')} of {len(spread)} average different numbers of cells from seed to "
            f"seed, so that their means also tell what is missing; {plain(uneven.index[0])!r}: between {first['min']} "
            f"and {first['max']}. See scgroove.benchmark.failures(results).",
            ResultsWarning,
        )


def gap_shares(
    results: pd.DataFrame, metric: str, *, floor: str = "chance", ceiling: str = "oracle_latent"
) -> pd.DataFrame:
    """Return results anew as the share of the gap between a floor and a limit that each closes.

    For each cell of the grid ``(value - floor) / (limit - floor)`` of the same data set, aligner and seed: 0 is as good as
    the floor, 1 as good as the limit, whatever the metric's scale and direction; below 0 is worse than the floor.

    Parameters
    ----------
    results, metric
        As for :func:`summarize`.
    floor
        ``"chance"``: what is expected without knowledge; or the name of a learner, such as the baseline to beat.
    ceiling
        ``"perfect"``: the value of a perfect match; or the name of a learner, such as one that knows the truth.

    Returns
    -------
    DataFrame
        Results that every function here takes, with the metric ``"gap_closed_<metric>"``; without the rows of learners
        that make the scale.

    Raises
    ------
    UnknownNameError
        If there is no such metric or learner.
    ValueError
        If the metric has no chance or perfect value, or the limit is nowhere above the floor.

    Warns
    -----
    ResultsWarning
        If cells are left out, because the floor or the limit was not run there, or the limit is no better than the floor.
    """
    rows = of_metric(results, metric)
    low = _reference_value(rows, metric, floor, "chance")
    top = _reference_value(rows, metric, ceiling, "perfect")
    gap = top - low
    with np.errstate(divide="ignore", invalid="ignore"):
        share = (rows["value"].to_numpy() - low) / gap
    usable = np.isfinite(share) & (orientation(rows) * gap > 0)
    kept = usable & ~rows["learner"].isin([floor, ceiling]).to_numpy()
    if not kept.any():
        raise InputError(
            f"{metric!r}: the limit {ceiling!r} is nowhere better than the floor {floor!r} in the same data set, aligner and "
            f"seed, or one of them was not run: there is no gap to close."
        )
    _warn_no_gap(rows, usable, metric, floor, ceiling)
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = (
            rows["chance_sd"].to_numpy() / np.abs(gap)
            if floor == "chance"
            else np.full(len(rows), np.nan)
        )
    anew = rows.assign(
        metric=f"gap_closed_{metric}",
        value=share,
        chance=0.0 if floor == "chance" else np.nan,
        chance_sd=spread,
        perfect=1.0 if ceiling == "perfect" else np.nan,
        better="higher",
    )
    return anew[kept].reset_index(drop=True)


def _reference_value(rows: pd.DataFrame, metric: str, name: str, column: str) -> Float64Array:
    """Value of a learner, or of a column, for the data set, aligner and seed of each row; NaN where there is none."""
    if name == column:
        values = rows[column].to_numpy()
        if np.isnan(values).all():
            raise InputError(
                f"{metric!r} has no {column} value in these results; name a learner instead of {name!r}."
            )
        return np.asarray(values)
    if name not in set(rows["learner"]):
        raise UnknownNameError(unknown("learner", name, [*rows["learner"], column]))
    where = ["data", "aligner", "seed"]
    known = rows[rows["learner"] == name].set_index(where)["value"]
    return np.asarray(known.reindex(pd.MultiIndex.from_frame(rows[where])).to_numpy())


def _warn_no_gap(
    rows: pd.DataFrame, usable: BoolArray, metric: str, floor: str, ceiling: str
) -> None:
    if not usable.all():
        lost = rows[~usable]
        warn(
            f"{metric!r}: {len(lost)} of {len(rows)} cells have no gap between {floor!r} and {ceiling!r} (one of them was not "
            f"run there, or the limit is no better than the floor); they are left out. First: {plain(tuple(lost.iloc[0][list(KEYS)]))}.",
            ResultsWarning,
        )


def gap_closed(
    results: pd.DataFrame,
    metric: str,
    *,
    floor: str = "chance",
    ceiling: str = "oracle_latent",
    by: Sequence[str] = CELL,
    interval: Interval = "t",
    level: float = 0.95,
    n_boot: int = 10_000,
    seed: int = 0,
) -> pd.DataFrame:
    """Return the share of the gap between a floor and a limit that is closed, with an interval over seeds.

    In each group the mean of ``value - floor`` over the mean of ``limit - floor``, floor and limit being those of the same data set,
    aligner and seed. Means of both, since a mean of shares is ruled by the cells whose gap is near 0.

    Parameters
    ----------
    results, metric, floor, ceiling
        As for :func:`gap_shares`.
    by, level, seed, n_boot
        As for :func:`summarize`.
    interval
        ``"t"``: that of a ratio of two means, after Fieller; ``"bootstrap"``: over seeds.

    Returns
    -------
    DataFrame
        One row a group: the columns of ``by``, ``metric``, ``mean`` (the share), ``low`` and ``high``, ``n_seeds``, ``gap`` (mean of limit
        minus floor, positive where the limit is better), ``interval`` (its name, or why there is none), ``level``, ``better``,
        ``floor`` and ``ceiling``. 0 is as good as the floor, 1 as good as the limit. NaN where no gap is shown: its
        interval holds 0.

    Raises
    ------
    ValueError, UnknownNameError
        As :func:`gap_shares` and :func:`summarize`.

    References
    ----------
    Fieller 1954, "Some problems in interval estimation".
    """
    interval_maker(interval, level, n_boot, seed)
    columns = _groups(results, by)
    rows = of_metric(results, metric, also=[c for c in columns if c not in CELL])
    low = _reference_value(rows, metric, floor, "chance")
    top = _reference_value(rows, metric, ceiling, "perfect")
    sign = orientation(rows)
    rows = rows.assign(gone=sign * (rows["value"] - low), gap=sign * (top - low))
    rows = rows[~rows["learner"].isin([floor, ceiling])].dropna(subset=["gone", "gap"])
    if not len(rows):
        raise InputError(
            f"{metric!r}: floor {floor!r} and limit {ceiling!r} were nowhere scored in the same data set, aligner and seed as another "
            "learner."
        )
    seeds = rows.groupby([*columns, "seed"], dropna=False)[["gone", "gap"]].mean().reset_index()
    records = [
        {
            **dict(zip(columns, key, strict=True)),
            "metric": f"gap_closed_{metric}",
            **_share(group, interval, level, n_boot, seed),
        }
        for key, group in seeds.groupby(columns, dropna=False)
    ]
    return pd.DataFrame(records).assign(level=level, better="higher", floor=floor, ceiling=ceiling)


def _share(
    group: pd.DataFrame, interval: Interval, level: float, n_boot: int, seed: int
) -> dict[str, Any]:
    """Share of the gap of one group, a value a seed."""
    gone, gap = group["gone"].to_numpy(dtype=float), group["gap"].to_numpy(dtype=float)
    share, low, high = ratio_of_means(gone, gap, level)
    why = (
        "none (one seed)"
        if len(gone) < 2
        else "none (no gap shown)"
        if math.isnan(share)
        else interval
    )
    if interval == "bootstrap" and why == interval:
        drawn = np.random.default_rng(seed).integers(len(gone), size=(n_boot, len(gone)))
        shares = gone[drawn].mean(axis=1) / gap[drawn].mean(axis=1)
        low, high = np.quantile(shares, [(1 - level) / 2, (1 + level) / 2])
    return {
        "mean": share, "low": float(low), "high": float(high), "n_seeds": len(gone), "gap": float(gap.mean()), "interval": why,
    }  # fmt: skip


def best(
    results: pd.DataFrame, metric: str, *, over: Over = "method", level: float = 0.95
) -> pd.DataFrame:
    """Return, for each data set, the best mean and those that cannot be told apart from it.

    The best is the method with the best mean among those with the most seeds; means of learners (aligners) are over the aligners
    (learners) that all were run with. Another one is told apart if the interval of the
    paired difference lies wholly on the worse side; intervals are not widened for their number. Leave
    out first what must not win, such as learners that know the truth.

    Parameters
    ----------
    results, metric
        As for :func:`summarize`.
    over
        What competes: ``"learner"``, ``"aligner"``, or ``"method"``: every pair of the two.
    level
        Of the intervals.

    Returns
    -------
    DataFrame
        ``data``, ``method``, ``mean``, ``n_seeds``, ``best`` (one a data set) and ``told_apart`` from the best (never true
        of the best itself).
    """
    rows = with_method(of_metric(results, metric), over)
    parts = []
    for data, here in rows.groupby("data"):
        means = _competitors(here, orientation(rows))
        first = means.index[0]
        worse = _worse_than(first, here, metric, over, level) if len(means) > 1 else set()
        parts.append(
            means.reset_index().assign(
                data=data, best=means.index == first, told_apart=means.index.isin(worse)
            )
        )
    return pd.concat(parts, ignore_index=True)[
        ["data", "method", "mean", "n_seeds", "best", "told_apart"]
    ]


def _worse_than(first: str, rows: pd.DataFrame, metric: str, over: Over, level: float) -> set[str]:
    table = compare(rows, metric, first, over=over, level=level, quiet=True)
    return set(table.loc[table["verdict"] == "worse", "candidate"])


def _competitors(rows: pd.DataFrame, sign: float) -> pd.DataFrame:
    """Mean of each method over what all were run with, the best first; after all others those that lack seeds."""
    rows = comparable(rows, "method", ["rest"])
    seeds = rows.groupby(["method", "seed"])["value"].mean().groupby("method")
    means = pd.DataFrame({"mean": seeds.mean(), "n_seeds": seeds.size()})
    order = means.assign(
        lacks=means["n_seeds"] < means["n_seeds"].max(), rank=-sign * means["mean"]
    )
    return means.loc[order.sort_values(["lacks", "rank"], kind="stable").index]


def costs(
    results: pd.DataFrame, metric: str, *, by: Sequence[str] = ("learner", "aligner")
) -> pd.DataFrame:
    """Return what each group costs and what it reaches, and which are worth their cost.

    Parameters
    ----------
    results, metric
        As for :func:`summarize`.
    by
        Columns that make a group.

    Returns
    -------
    DataFrame
        One row a group: ``mean`` of the metric; ``seconds``, to learn and to align; ``memory_mb``, the larger of the two
        peaks; ``n`` cells averaged and ``lacks``, how many fewer than the most complete group; ``front_seconds`` and
        ``front_memory``: no other complete group is as good for less, or better for as much (Pareto). Means over data sets
        and seeds, each cell weighing the same. NaN where cost was not measured: such a group is on no front.

    Raises
    ------
    ValueError, UnknownNameError
        As :func:`summarize`.
    """
    columns = check_columns("by", by, CELL)
    rows = of_metric(results, metric)
    seconds = rows["fit_seconds"] + rows["align_seconds"].where(rows["aligner"] != "", 0.0)
    memory = rows[["fit_memory_mb", "align_memory_mb"]].max(axis=1)
    grouped = rows.assign(seconds=seconds, memory_mb=memory).groupby(columns)
    table = grouped[["value", "seconds", "memory_mb"]].mean().rename(columns={"value": "mean"})
    table = table.assign(n=grouped.size()).reset_index()
    table["lacks"] = table["n"].max() - table["n"]
    quality = orientation(rows) * table["mean"].where(table["lacks"] == 0)
    table["front_seconds"] = on_front(table["seconds"].to_numpy(), quality.to_numpy())
    table["front_memory"] = on_front(table["memory_mb"].to_numpy(), quality.to_numpy())
    return table.assign(metric=metric, better=rows["better"].iloc[0])


def on_front(cost: Float64Array, quality: Float64Array) -> BoolArray:
    """Whether no other point costs at most as much, is at least as good, and is better in one of the two."""
    front = np.isfinite(cost) & np.isfinite(quality)
    for i in np.flatnonzero(front):
        no_worse = (cost <= cost[i]) & (quality >= quality[i])
        front[i] = not np.any(no_worse & ((cost < cost[i]) | (quality > quality[i])))
    return front


def failures(results: pd.DataFrame) -> pd.DataFrame:
    """Return what was not done: failed, skipped, or not run, for each learner and aligner.

    Parameters
    ----------
    results
        What :func:`scgroove.benchmark.read` returns.

    Returns
    -------
    DataFrame
        One row for each learner, aligner and status: ``status`` is ``"failed"``, ``"skipped"``, or ``"missing"``: the pair was
        run on some data set and seed, but there is no row for another one that others have. ``n`` such cells of ``of``
        cells asked for, ``data`` (the data sets, as text), ``seeds`` (as text), and ``error``, that of the
        first and how many different ones there are. An empty aligner means the representation itself. Empty if everything was
        done.

    Raises
    ------
    TypeError, ValueError
        If this is no table of results.
    """
    table = check_results(results)
    cells = table.drop_duplicates([*KEYS, "status"])[[*KEYS, "status", "error"]]
    everything = pd.concat([cells, _absent(cells)], ignore_index=True)
    asked = everything.drop_duplicates(list(KEYS)).groupby(["learner", "aligner"]).size()
    undone = everything[~everything["status"].isin(["done", BY_CONSTRUCTION])]
    undone = undone.sort_values(list(KEYS), kind="stable")
    records = [
        {
            "learner": learner,
            "aligner": aligner,
            "status": status,
            "n": len(group),
            "of": int(asked[(learner, aligner)]),
            "data": ", ".join(group["data"].unique()),
            "seeds": ", ".join(str(s) for s in sorted(group["seed"].unique())),
            "error": _first_error(group["error"]),
        }
        for (learner, aligner, status), group in undone.groupby(["learner", "aligner", "status"])
    ]
    return pd.DataFrame(
        records, columns=["learner", "aligner", "status", "n", "of", "data", "seeds", "error"]
    )


def _absent(cells: pd.DataFrame) -> pd.DataFrame:
    """Cells that were not run although others of the same learner and aligner were.

    Nothing is missing where the representation failed, nor a representation's own row where one of its aligners says what happened.
    """
    places = cells[["data", "seed"]].drop_duplicates()
    pairs = cells[["learner", "aligner"]].drop_duplicates()
    there = set(cells[list(KEYS)].itertuples(index=False, name=None))
    undone = cells[cells["status"] != "done"]
    no_representation = set(
        undone.loc[undone["aligner"] == "", ["data", "learner", "seed"]].itertuples(
            index=False, name=None
        )
    )
    explained = set(undone[["data", "learner", "seed"]].itertuples(index=False, name=None))
    absent = [
        (data, learner, aligner, seed)
        for data, seed in places.itertuples(index=False, name=None)
        for learner, aligner in pairs.itertuples(index=False, name=None)
        if (data, learner, aligner, seed) not in there
        and (data, learner, seed) not in (no_representation if aligner else explained)
    ]
    return pd.DataFrame(absent, columns=list(KEYS)).assign(status="missing", error="not run")


def _first_error(errors: pd.Series) -> str:
    different = [text for text in errors.unique() if text]
    if not different:
        return ""
    more = f" (and {counted(len(different) - 1, 'other error')})" if len(different) > 1 else ""
    return str(different[0]) + more
