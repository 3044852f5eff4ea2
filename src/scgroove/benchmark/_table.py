"""The table of results: checked, cut to a metric, read as methods and families of data sets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, Literal, TypeAlias

import numpy as np
import pandas as pd

from scgroove._warnings import warn
from scgroove.benchmark.results import BY_CONSTRUCTION, EVIDENCE, NULL
from scgroove.errors import (
    InputError,
    InputTypeError,
    ResultsWarning,
    UnknownNameError,
)

Over: TypeAlias = Literal["learner", "aligner", "method"]

CELL: Final = ("data", "learner", "aligner")
KEYS: Final = (*CELL, "seed")
"""Columns that tell one cell of the grid from another."""

NEEDED: Final = (*KEYS, "metric", "value", "better", "status")
TEXT: Final = (*CELL, "metric", "better", "status", "error")
COSTS: Final = ("fit_seconds", "fit_memory_mb", "align_seconds", "align_memory_mb")
NUMBERS: Final = ("value", "chance", "chance_sd", "perfect", "n", *COSTS, *NULL)
OF_RUNS: Final = (
    *("transform_seconds", *EVIDENCE, "knows_truth"),
    *("error", "versions", "warnings", "fit_warnings"),
)
"""Other columns that describe a run and are no parameters of the data."""

REGULAR: Final = 0.4
"""Share of the combinations that a name must have before its gaps count for all."""

JOINED: Final = " + "
"""Between learner and aligner in the name of a method."""


def check_results(results: pd.DataFrame) -> pd.DataFrame:
    """Return the table with columns of the right types, in a fixed order of rows.

    Raises
    ------
    InputTypeError
        If it is no DataFrame.
    InputError
        If it is empty or lacks a column.
    """
    if not isinstance(results, pd.DataFrame):
        raise InputTypeError(
            "expected the table of results, a DataFrame as scgroove.benchmark.read(folder) "
            f"returns; found {type(results).__name__}."
        )
    missing = [column for column in NEEDED if column not in results]
    if missing:
        raise InputError(
            f"the table of results lacks {missing}; expected the columns that "
            f"scgroove.benchmark.read returns, found {list(results.columns)}."
        )
    if not len(results):
        raise InputError(
            "the table of results is empty: nothing was run, or everything was filtered out."
        )
    table = results.copy()
    for column in TEXT:
        table[column] = table[column].fillna("").astype(str) if column in table else ""
    for column in NUMBERS:
        given = table[column] if column in table else pd.Series(np.nan, index=table.index)
        table[column] = pd.to_numeric(given, errors="coerce").astype(float)
    return table.sort_values([*KEYS, "metric"], kind="stable", ignore_index=True)


def of_metric(results: pd.DataFrame, metric: str, *, also: Sequence[str] = ()) -> pd.DataFrame:
    """Return the rows with a finite value of a metric, one for each cell of the grid.

    Parameters
    ----------
    results, metric
        The table and the metric.
    also
        Columns beside :data:`KEYS` that tell one cell from another.

    Raises
    ------
    UnknownNameError
        If nothing was scored by this metric.
    InputError
        If a cell has two values, or rows differ in the direction that is better.
    """
    table = check_results(results)
    done = table[table["status"] == "done"]
    known = [name for name in done["metric"].unique() if name]
    if metric not in known:
        if metric in set(table.loc[table["status"] == BY_CONSTRUCTION, "metric"]):
            raise InputError(
                f"{metric!r} is fixed by construction in these results, because all aligners "
                "were told the labels. Add an aligner without them, such as 'eot unlabeled'."
            )
        raise UnknownNameError("metric of these results", metric, known)
    rows = done[done["metric"] == metric]
    _check_single(rows, metric, [*KEYS, *also])
    directions = set(rows["better"])
    if len(directions) > 1 or not directions <= {"lower", "higher"}:
        raise InputError(
            f"{metric!r}: all rows must have the same better, 'lower' or 'higher'; "
            f"found {sorted(directions)}."
        )
    finite = np.isfinite(rows["value"].to_numpy())
    if not finite.all():
        undefined = rows[~finite]
        warn(
            f"{metric!r} is not defined (NaN or infinite) in {len(undefined)} of {len(rows)} "
            f"cells, among them {_where(undefined.iloc[0])}; they are left out.",
            ResultsWarning,
        )
    if not finite.any():
        raise InputError(f"{metric!r} has no finite value in these results.")
    return rows[finite].reset_index(drop=True)


def _check_single(rows: pd.DataFrame, metric: str, keys: list[str]) -> None:
    twice = rows.duplicated(keys, keep=False)
    if not twice.any():
        return
    first = rows.loc[twice.idxmax()]
    same = rows[(rows[keys] == first[keys]).all(axis=1)]
    differ = [c for c in rows.columns if c not in ("value", *keys) and len(same[c].unique()) > 1]
    raise InputError(
        f"{metric!r} has {len(same)} values for {_where(first)}. They differ in "
        f"{differ or ['value']}: give data sets with different parameters different names, or "
        "keep one of them, such as results[results['rho'] == 1]."
    )


def _where(row: pd.Series) -> str:
    named = ", ".join(f"{key} {row[key]!r}" for key in CELL if row[key])
    return f"{named}, seed {row['seed']}"


def orientation(rows: pd.DataFrame) -> float:
    """1 if more is better, -1 if less is."""
    return 1.0 if rows["better"].iloc[0] == "higher" else -1.0


def with_method(rows: pd.DataFrame, over: Over) -> pd.DataFrame:
    """Add the columns ``method``, the names that are compared, and ``rest``, averaged over.

    Raises
    ------
    InputError
        If ``over`` is none of the three, or aligners are asked for and there are none.
    """
    if over not in ("learner", "aligner", "method"):
        raise UnknownNameError("over", over, ("learner", "aligner", "method"))
    if over == "aligner" and not rows["aligner"].any():
        raise InputError(
            f"{rows['metric'].iloc[0]!r} scores representations, before any aligner: there are "
            "no aligners to compare. Use over='learner', or the metric of a coupling."
        )
    if over == "method":
        return rows.assign(method=method_names(rows["learner"], rows["aligner"]), rest="")
    return rows.assign(method=rows[over], rest=rows["aligner" if over == "learner" else "learner"])


def method_names(learners: Iterable[str], aligners: Iterable[str]) -> list[str]:
    """Name pairs of a learner and an aligner. A representation alone has the learner's name."""
    return [f"{a}{JOINED}{b}" if b else a for a, b in zip(learners, aligners, strict=True)]


def as_wide(rows: pd.DataFrame) -> pd.DataFrame:
    """One row for each data set, seed and ``rest``, one column for each method."""
    index = ["data", "seed", "rest"]
    return rows.pivot_table(values="value", index=index, columns="method", aggfunc="first")


def comparable(rows: pd.DataFrame, of: str, held: Sequence[str]) -> pd.DataFrame:
    """Keep the combinations of ``held`` that all names in the column ``of`` have.

    Means over all would compare unlike things where some aligners cannot run on some learners.
    Names with less than ``REGULAR`` of the combinations do not count here.
    """
    there = pd.crosstab([rows[c] for c in held], rows[of]) > 0
    regular = there.columns[there.mean() >= REGULAR]
    kept = there.index[there[regular].all(axis=1)]
    if not len(kept):
        return rows
    here = pd.MultiIndex.from_frame(rows[list(held)]) if len(held) > 1 else pd.Index(rows[held[0]])
    return rows[here.isin(kept)]


def data_parameters(results: pd.DataFrame) -> pd.DataFrame:
    """Return the columns with a single value in each data set, one row a data set.

    Options of learners and aligners (a dot in the name) and measurements are left out.
    """
    scored = results[(results["status"] == "done") & (results["metric"] != "")]
    known = {*NEEDED, *NUMBERS, *OF_RUNS}
    columns = [c for c in scored.columns if c not in known and "." not in c]
    grouped = scored.groupby("data")[columns]
    single = (grouped.nunique(dropna=False) < 2).all()
    return grouped.first()[[c for c in columns if single[c]]]


def families(results: pd.DataFrame, parameter: str) -> dict[str, tuple[str, float]]:
    """Find data sets that differ in one numeric parameter only, such as ``"rho"``.

    Returns
    -------
    dict
        For each data set of a family of two or more: the name of the family (the common start
        of the names of its data sets, empty if there is one family) and the value.

    Raises
    ------
    UnknownNameError
        If no data set has such a parameter.
    InputError
        If no two data sets differ in it alone.
    """
    constants = data_parameters(results)
    numeric = [c for c in constants if pd.api.types.is_numeric_dtype(constants[c])]
    if parameter not in numeric or constants[parameter].isna().all():
        raise UnknownNameError("parameter of these data sets", parameter, numeric)
    values = constants[parameter].dropna()
    others = constants.drop(columns=parameter).loc[values.index]
    groups: dict[Any, list[str]] = {}
    for data in values.index:
        groups.setdefault(tuple(map(repr, others.loc[data])), []).append(data)
    # the same value twice: these data sets differ in something that no column tells
    usable = [m for m in groups.values() if len(m) > 1 and not values[m].duplicated().any()]
    if not usable:
        raise InputError(_no_family(parameter, values, list(groups.values())))
    found = {}
    for members in usable:
        name = "" if len(usable) == 1 else _common_name(members)
        found.update({data: (name, float(values[data])) for data in members})
    return found


def _no_family(parameter: str, values: pd.Series, groups: list[list[str]]) -> str:
    for members in groups:
        same = [name for name in members if (values[members] == values[name]).sum() > 1]
        if same and len(set(values[members])) > 1:
            return (
                f"data sets {', '.join(map(repr, same[:4]))} have the same {parameter!r} and "
                "differ in something that no column tells: keep those of one line, such as "
                "results[results['data'].isin([...])]."
            )
    shown = ", ".join(f"{v:g} in {name!r}" for name, v in values.head(4).items())
    return (
        f"no two data sets differ in {parameter!r} alone, so that there is nothing to draw "
        f"against it; it is {shown}."
    )


def _common_name(members: Sequence[str]) -> str:
    """``"zipf, rho"`` of ``"zipf, rho 0"`` and ``"zipf, rho 1"``."""
    alike = [len(set(letters)) == 1 for letters in zip(*members, strict=False)]
    shared = members[0][: [*alike, False].index(False)].rstrip(" ,;:=-_(")
    return shared or f"{members[0]} … {members[-1]}"


def varied_parameters(results: pd.DataFrame) -> dict[str, int]:
    """Return parameters that vary within a family, with the size of the largest, most first."""
    found = {}
    for name in data_parameters(results):
        try:
            names = [family for family, _ in families(results, name).values()]
        except InputError:
            continue
        found[name] = max(names.count(family) for family in names)
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


def check_columns(by: Sequence[str] | str, known: Sequence[str]) -> list[str]:
    """Return names of columns as a list, or raise an error that names the near miss."""
    names = [by] if isinstance(by, str) else list(by)
    for name in names:
        if name not in known:
            raise UnknownNameError("column for by", name, known)
    return names
