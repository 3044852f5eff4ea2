"""Statistics of repeated runs: means with intervals, shares of a gap, costs, and missing cells."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from scgroove._types import BoolArray, Float64Array
from scgroove._warnings import warn
from scgroove._words import counted
from scgroove.benchmark._compare import REPEATED, compare, half_width
from scgroove.benchmark._table import (
    CELL,
    KEYS,
    NEEDED,
    NUMBERS,
    Over,
    check_columns,
    check_results,
    comparable,
    of_metric,
    orientation,
    with_method,
)
from scgroove.benchmark.results import BY_CONSTRUCTION, NULL
from scgroove.errors import InputError, ResultsWarning, UnknownNameError


def summarize(
    results: pd.DataFrame, metric: str, *, by: Sequence[str] = CELL, level: float = 0.95
) -> pd.DataFrame:
    """Return mean, spread and Student's interval over seeds.

    Values of the same seed are averaged first. The interval says what other seeds would give on
    the same data sets with the same aligners. On a simulation, another seed is another screen.
    On a file, it is another run on the same cells, and the interval says nothing of other cells.

    Parameters
    ----------
    results
        The table that :func:`scgroove.benchmark.read` returns.
    metric
        Name of a metric in it.
    by
        Columns that make a group: ``"data"``, ``"learner"``, ``"aligner"``, and parameters of
        the runs, such as ``"rho"``.
    level
        Confidence, in (0, 1).

    Returns
    -------
    DataFrame
        One row a group: the columns of ``by``, ``metric``, ``mean``, ``sd`` over seeds,
        ``n_seeds``, ``low`` and ``high`` (NaN with one seed, and if all seeds have the same
        value, since a repeated number is no repeated evidence), ``interval`` (``"t"`` or the
        reason why there is none), ``chance``, ``chance_sd`` (of a single value, not of a mean),
        ``perfect``, ``level`` and ``better``. If the grid was repeated on permuted labels:
        ``null``, ``null_sd`` (of a single value) and ``n_null``.

    Raises
    ------
    UnknownNameError, InputError
        If there is no such metric or column.

    Warns
    -----
    ResultsWarning
        If a group has one seed, its seeds average different numbers of cells, or values are
        not defined.

    Examples
    --------
    >>> results = pd.DataFrame({"data": "a", "learner": "l", "aligner": "", "seed": [0, 1, 2]})
    >>> results = results.assign(metric="m", value=[1.0, 2.0, 3.0], better="lower", status="done")
    >>> row = summarize(results, "m").iloc[0]
    >>> [round(float(row[name]), 3) for name in ("mean", "sd", "n_seeds", "low", "high")]
    [2.0, 1.0, 3.0, -0.484, 4.484]
    """
    columns, rows = _grouped_rows(results, metric, by)
    rows = rows.assign(variance=rows["chance_sd"] ** 2)
    averaged = rows.groupby([*columns, "seed"], dropna=False)
    seeds = averaged[["value", "chance", "variance", "perfect"]].mean().reset_index()
    _warn_uneven(averaged.size().groupby(columns, dropna=False).agg(["min", "max"]), metric)
    groups = seeds.groupby(columns, dropna=False)
    values, known = groups["value"], groups[["chance", "variance", "perfect"]].mean()
    mean, sd, n = values.mean(), values.std(), values.size()
    largest = np.maximum(values.max().abs(), values.min().abs())
    repeated = (n > 1) & (values.max() - values.min() <= REPEATED * largest)
    half = pd.Series(half_width(sd, n, level), index=mean.index).mask(repeated)
    table = pd.DataFrame({"mean": mean, "sd": sd, "n_seeds": n})
    table = table.assign(low=mean - half, high=mean + half)
    reasons = ["none (one seed)", "none (same in every seed)"]
    table["interval"] = np.select([n < 2, repeated], reasons, default="t")
    table["chance"], table["chance_sd"] = known["chance"], np.sqrt(known["variance"])
    table = table.assign(perfect=known["perfect"], level=level, better=rows["better"].iloc[0])
    lonely = int((n == 1).sum())
    if lonely:
        warn(
            f"{metric!r}: {lonely} of {counted(len(n), 'group')} "
            f"{'has' if lonely == 1 else 'have'} a single seed, hence no interval. Run more seeds.",
            ResultsWarning,
        )
    if rows["null"].notna().any():
        squares = rows.assign(null_sd=rows["null_sd"] ** 2)
        null = squares.groupby(columns, dropna=False)[list(NULL)].mean()
        table = table.join(null.assign(null_sd=np.sqrt(null["null_sd"])))
    table.insert(0, "metric", metric)
    return table.reset_index()


def _grouped_rows(
    results: pd.DataFrame, metric: str, by: Sequence[str]
) -> tuple[list[str], pd.DataFrame]:
    """Return the columns of groups, and the rows of a metric."""
    check_results(results)
    others = [c for c in results.columns if c not in (*NEEDED, *NUMBERS, "error")]
    columns = check_columns(by, [*CELL, *others])
    return columns, of_metric(results, metric, also=[c for c in columns if c not in CELL])


def _warn_uneven(sizes: pd.DataFrame, metric: str) -> None:
    """Warn if a seed lacks some of the cells that another seed of its group has."""
    uneven = sizes[sizes["min"] < sizes["max"]]
    if len(uneven):
        first = uneven.iloc[0]
        warn(
            f"{metric!r}: {counted(len(uneven), 'group')} of {len(sizes)} average different "
            "numbers of cells from seed to seed, so that their means also tell what is missing; "
            f"{_plain(uneven.index[0])!r}: between {first['min']} and {first['max']}. "
            "See scgroove.benchmark.failures(results).",
            ResultsWarning,
        )


def _plain(name: Any) -> str:
    parts = name if isinstance(name, tuple) else (name,)
    return ", ".join(str(part) for part in parts if str(part))


def gap_closed(
    results: pd.DataFrame,
    metric: str,
    *,
    floor: str = "chance",
    ceiling: str = "oracle_latent",
    by: Sequence[str] = CELL,
    level: float = 0.95,
) -> pd.DataFrame:
    """Return the share of the gap between a floor and a limit that each group closes.

    The mean of ``value - floor`` over the mean of ``limit - floor``, with floor and limit of the
    same data set, aligner and seed. A mean of shares would be ruled by cells with a gap near 0.

    Parameters
    ----------
    results, metric, by, level
        As for :func:`summarize`.
    floor
        ``"chance"``, or the name of a learner, such as the baseline to beat.
    ceiling
        ``"perfect"``, or the name of a learner, such as one that knows the truth.

    Returns
    -------
    DataFrame
        One row a group: the columns of ``by``, ``metric``, ``mean`` (the share: 0 is as good as
        the floor, 1 as good as the limit), ``low`` and ``high`` (Fieller's interval of a ratio),
        ``n_seeds``, ``gap`` (its mean, positive if the limit is better), ``interval``,
        ``level``, ``better``, ``floor`` and ``ceiling``. NaN if the interval of the gap holds 0.

    Raises
    ------
    UnknownNameError, InputError
        If a name is unknown, or floor and limit were scored nowhere beside another learner.

    References
    ----------
    Fieller 1954, "Some problems in interval estimation".
    """
    columns, rows = _grouped_rows(results, metric, by)
    low = _reference_value(rows, metric, floor, "chance")
    top = _reference_value(rows, metric, ceiling, "perfect")
    sign = orientation(rows)
    rows = rows.assign(gone=sign * (rows["value"] - low), gap=sign * (top - low))
    rows = rows[~rows["learner"].isin([floor, ceiling])].dropna(subset=["gone", "gap"])
    if not len(rows):
        raise InputError(
            f"{metric!r}: floor {floor!r} and limit {ceiling!r} were nowhere scored in the same "
            "data set, aligner and seed as another learner."
        )
    seeds = rows.groupby([*columns, "seed"], dropna=False)[["gone", "gap"]].mean().reset_index()
    records = []
    for key, group in seeds.groupby(columns, dropna=False):
        share, lower, upper = _ratio_of_means(group["gone"], group["gap"], level)
        why = "none (no gap shown)" if math.isnan(share) else "t"
        records.append(
            {
                **dict(zip(columns, key, strict=True)),
                **{"metric": f"gap_closed_{metric}", "mean": share, "low": lower, "high": upper},
                **{"n_seeds": len(group), "gap": float(group["gap"].mean())},
                "interval": why if len(group) > 1 else "none (one seed)",
            }
        )
    return pd.DataFrame(records).assign(level=level, better="higher", floor=floor, ceiling=ceiling)


def _reference_value(rows: pd.DataFrame, metric: str, name: str, column: str) -> Float64Array:
    """Value of a learner, or of a column, for the data set, aligner and seed of each row."""
    if name == column:
        if rows[column].isna().all():
            raise InputError(
                f"{metric!r} has no {column} value in these results; name a learner instead "
                f"of {name!r}."
            )
        return np.asarray(rows[column])
    if name not in set(rows["learner"]):
        raise UnknownNameError("learner of these results", name, {*rows["learner"], column})
    where = ["data", "aligner", "seed"]
    known = rows[rows["learner"] == name].set_index(where)["value"]
    return np.asarray(known.reindex(pd.MultiIndex.from_frame(rows[where])).to_numpy())


def _ratio_of_means(above: pd.Series, below: pd.Series, level: float) -> tuple[float, float, float]:
    """Return mean(above) / mean(below) of pairs and its interval after Fieller."""
    n, a, b = len(above), float(above.mean()), float(below.mean())
    if n < 2:
        return (a / b if b > 0 else math.nan), math.nan, math.nan
    t2 = float(stats.t.ppf((1 + level) / 2, n - 1)) ** 2 / n
    (aa, ab), (_, bb) = np.cov(above, below)
    square = b * b - t2 * bb
    if square <= 0 or b <= 0:  # the interval of the denominator holds 0
        return math.nan, math.nan, math.nan
    middle, constant = a * b - t2 * ab, a * a - t2 * aa
    root = math.sqrt(max(middle**2 - square * constant, 0.0))
    return a / b, (middle - root) / square, (middle + root) / square


def best(
    results: pd.DataFrame, metric: str, *, over: Over = "method", level: float = 0.95
) -> pd.DataFrame:
    """Return, for each data set, the best mean and the methods not told apart from it.

    The best is the method with the best mean among those with the most seeds. Means of learners
    (aligners) are over the aligners (learners) that all were run with. A method is told apart if
    the interval of the paired difference lies wholly on the worse side. Intervals are not
    widened for their number. Leave out first the learners that must not win.

    Parameters
    ----------
    results, metric, level
        As for :func:`summarize`.
    over
        The competitors: ``"learner"``, ``"aligner"``, or ``"method"``, every pair of the two.

    Returns
    -------
    DataFrame
        ``data``, ``method``, ``mean``, ``n_seeds``, ``best`` (one a data set), ``told_apart``.
    """
    rows = with_method(of_metric(results, metric), over)
    sign, parts = orientation(rows), []
    for data, here in rows.groupby("data"):
        seeds = comparable(here, "method", ["rest"]).groupby(["method", "seed"])["value"].mean()
        means = seeds.groupby("method").agg(mean="mean", n_seeds="size").reset_index()
        means["lacks"] = means["n_seeds"] < means["n_seeds"].max()
        means["order"] = -sign * means["mean"]
        means = means.sort_values(["lacks", "order"], kind="stable", ignore_index=True)
        first = means["method"].iloc[0]
        worse: set[str] = set()
        if len(means) > 1:
            table = compare(here, metric, first, over=over, level=level, quiet=True)
            worse = set(table.loc[table["verdict"] == "worse", "candidate"])
        told_apart = means["method"].isin(worse)
        parts.append(means.assign(data=data, best=means.index == 0, told_apart=told_apart))
    columns = ["data", "method", "mean", "n_seeds", "best", "told_apart"]
    return pd.concat(parts, ignore_index=True)[columns]


def costs(
    results: pd.DataFrame, metric: str, *, by: Sequence[str] = ("learner", "aligner")
) -> pd.DataFrame:
    """Return the cost and the score of each group, and the groups on the Pareto front.

    Parameters
    ----------
    results, metric
        As for :func:`summarize`.
    by
        Columns that make a group.

    Returns
    -------
    DataFrame
        One row a group: ``mean`` of the metric. ``seconds``, to learn and to align.
        ``memory_mb``, the larger of the two peaks. ``n`` cells averaged and ``lacks``, how many
        fewer than the most complete group. ``front_seconds`` and ``front_memory``: no other
        complete group is as good for less, or better for as much. Means over data sets and
        seeds, each cell weighing the same. NaN if the cost was not measured.
    """
    columns = check_columns(by, CELL)
    rows = of_metric(results, metric)
    seconds = rows["fit_seconds"] + rows["align_seconds"].where(rows["aligner"] != "", 0.0)
    memory = rows[["fit_memory_mb", "align_memory_mb"]].max(axis=1)
    grouped = rows.assign(seconds=seconds, memory_mb=memory).groupby(columns)
    table = grouped[["value", "seconds", "memory_mb"]].mean().rename(columns={"value": "mean"})
    table = table.assign(n=grouped.size()).reset_index()
    table["lacks"] = table["n"].max() - table["n"]
    quality = (orientation(rows) * table["mean"].where(table["lacks"] == 0)).to_numpy()
    table["front_seconds"] = _on_front(table["seconds"].to_numpy(), quality)
    table["front_memory"] = _on_front(table["memory_mb"].to_numpy(), quality)
    return table.assign(metric=metric, better=rows["better"].iloc[0])


def _on_front(cost: Float64Array, quality: Float64Array) -> BoolArray:
    """Whether no other point costs at most as much, is at least as good, and wins in one."""
    front = np.isfinite(cost) & np.isfinite(quality)
    for i in np.flatnonzero(front):
        no_worse = (cost <= cost[i]) & (quality >= quality[i])
        front[i] = not np.any(no_worse & ((cost < cost[i]) | (quality > quality[i])))
    return front


def failures(results: pd.DataFrame) -> pd.DataFrame:
    """Return the cells that failed, were skipped, or were not run.

    Parameters
    ----------
    results
        The table that :func:`scgroove.benchmark.read` returns.

    Returns
    -------
    DataFrame
        One row for each learner, aligner (empty for the representation itself) and ``status``:
        ``"failed"``, ``"skipped"``, or ``"missing"`` (the pair was run on some data set and
        seed, but there is no row for another one that others have). ``n`` such cells of ``of``
        cells asked for, ``data`` and ``seeds`` (as text), and ``error``, the first one and how
        many different ones there are. Empty if everything was done.
    """
    table = check_results(results)
    cells = table.drop_duplicates([*KEYS, "status"])[[*KEYS, "status", "error"]]
    everything = pd.concat([cells, _absent(cells)], ignore_index=True)
    asked = everything.drop_duplicates(list(KEYS)).groupby(["learner", "aligner"]).size()
    undone = everything[~everything["status"].isin(["done", BY_CONSTRUCTION])]
    undone = undone.sort_values(list(KEYS), kind="stable")
    records = []
    for (learner, aligner, status), group in undone.groupby(["learner", "aligner", "status"]):
        errors = [text for text in group["error"].unique() if text]
        more = f" (and {counted(len(errors) - 1, 'other error')})" if len(errors) > 1 else ""
        records.append(
            {
                **{"learner": learner, "aligner": aligner, "status": status},
                **{"n": len(group), "of": int(asked[(learner, aligner)])},
                "data": ", ".join(group["data"].unique()),
                "seeds": ", ".join(map(str, sorted(group["seed"].unique()))),
                "error": errors[0] + more if errors else "",
            }
        )
    columns = ["learner", "aligner", "status", "n", "of", "data", "seeds", "error"]
    return pd.DataFrame(records, columns=columns)


def _absent(cells: pd.DataFrame) -> pd.DataFrame:
    """Return the cells that were not run although others of the same learner and aligner were.

    Nothing is missing if the representation failed, nor a representation's own row if one of
    its aligners says what happened.
    """
    places = cells[["data", "seed"]].drop_duplicates()
    pairs = cells[["learner", "aligner"]].drop_duplicates()
    every = places.merge(pairs, how="cross")[list(KEYS)]
    run = ["data", "learner", "seed"]
    undone = cells[cells["status"] != "done"]
    failed = pd.MultiIndex.from_frame(undone.loc[undone["aligner"] == "", run])
    explained = pd.MultiIndex.from_frame(undone[run])
    here = pd.MultiIndex.from_frame(every[run])
    told = np.where(every["aligner"] == "", here.isin(explained), here.isin(failed))
    there = pd.MultiIndex.from_frame(every).isin(pd.MultiIndex.from_frame(cells[list(KEYS)]))
    return every[~there & ~told].assign(status="missing", error="not run")
