"""Reading the table of results: what is there, what was not done, and what makes a comparison unfair."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, Literal, TypeAlias

import numpy as np
import pandas as pd

from scgroove._warnings import warn
from scgroove.benchmark._results import BY_CONSTRUCTION, EVIDENCE, NULL
from scgroove.errors import (
    InputError,
    InputTypeError,
    ResultsWarning,
    UnknownNameError,
    did_you_mean,
)

Over: TypeAlias = Literal["learner", "aligner", "method"]

KEYS: Final = ("data", "learner", "aligner", "seed")
"""What tells one cell of the grid from another."""

NEEDED: Final = (*KEYS, "metric", "value", "better", "status")
NUMBERS: Final = (
    "value", "chance", "chance_sd", "perfect", "n", "fit_seconds", "fit_memory_mb", "align_seconds", "align_memory_mb",
    *NULL,
)  # fmt: skip
OF_RUNS: Final = (
    "transform_seconds",
    *EVIDENCE,
    "knows_truth",
    "error",
    "versions",
    "warnings",
    "fit_warnings",
)
"""What else is told of a run, and tells no data sets apart, though each may have one value of it."""

REGULAR: Final = 0.4
"""Share of the combinations that a name must have for its lack of the others to count for all."""

JOINED: Final = " + "
"""Between learner and aligner in the name of a method."""


def check_results(results: pd.DataFrame) -> pd.DataFrame:
    """Return the table with text where text is due, numbers where numbers are due, and rows in a fixed order.

    Raises
    ------
    TypeError
        If it is no DataFrame.
    ValueError
        If it is empty, or lacks a column.
    """
    if not isinstance(results, pd.DataFrame):
        raise InputTypeError(
            f"expected the table of results, a DataFrame such as scgroove.benchmark.read(folder) returns; found "
            f"{type(results).__name__}."
        )
    missing = [column for column in NEEDED if column not in results]
    if missing:
        raise InputError(
            f"the table of results lacks {missing}; expected the columns that scgroove.benchmark.read returns, found "
            f"{list(results.columns)}."
        )
    if not len(results):
        raise InputError(
            "the table of results is empty: nothing was run, or everything was filtered out."
        )
    table = results.copy()
    for column in ("data", "learner", "aligner", "metric", "better", "status", "error"):
        table[column] = table[column].fillna("").astype(str) if column in table else ""
    for column in NUMBERS:
        table[column] = (
            pd.to_numeric(table[column], errors="coerce").astype(float)
            if column in table
            else np.nan
        )
    return table.sort_values([*KEYS, "metric"], kind="stable", ignore_index=True)


def of_metric(results: pd.DataFrame, metric: str, *, also: Sequence[str] = ()) -> pd.DataFrame:
    """Return the rows that hold a value of a metric, one for each cell of the grid, in a fixed order.

    Parameters
    ----------
    results, metric
        The table, and what was scored.
    also
        Columns beside :data:`KEYS` that tell one cell from another.

    Raises
    ------
    UnknownNameError
        If nothing was scored by this metric.
    ValueError
        If a cell has two values, or the rows do not agree on which direction is better.
    """
    table = check_results(results)
    done = table[table["status"] == "done"]
    known = [name for name in done["metric"].unique() if name]
    if metric not in known:
        certain = table.loc[table["status"] == BY_CONSTRUCTION, "metric"]
        if metric in set(certain):
            raise InputError(
                f"{metric!r} is what it is by construction in these results, because all aligners were told the labels. Add "
                f"an aligner without them, such as 'eot unlabeled'."
            )
        raise UnknownNameError(unknown("metric", metric, known))
    rows = done[done["metric"] == metric]
    _check_single(rows, metric, [*KEYS, *also])
    directions = set(rows["better"])
    if len(directions) > 1 or not directions <= {"lower", "higher"}:
        raise InputError(
            f"{metric!r}: all rows must have the same better, 'lower' or 'higher'; found {sorted(directions)}."
        )
    finite = np.isfinite(rows["value"].to_numpy())
    if not finite.all():
        undefined = rows[~finite]
        warn(
            f"{metric!r} is not defined (NaN or infinite) in {len(undefined)} of {len(rows)} cells, among them "
            f"{_where(undefined.iloc[0])}; they are left out.",
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
        f"{metric!r} has {len(same)} values for {_where(same.iloc[0])}. They differ in {differ or ['value']}: give data sets "
        "with different parameters different names, or keep one of them, such as results[results['rho'] == 1]."
    )


def _where(row: pd.Series) -> str:
    return ", ".join(
        f"{key} {row[key]!r}" for key in ("data", "learner", "aligner") if row[key]
    ) + (f", seed {row['seed']}")


def orientation(rows: pd.DataFrame) -> float:
    """1 where more is better, -1 where less is."""
    return 1.0 if rows["better"].iloc[0] == "higher" else -1.0


def with_method(rows: pd.DataFrame, over: Over) -> pd.DataFrame:
    """Add the column ``method``, what is compared, and ``rest``, what it is averaged over.

    Raises
    ------
    ValueError
        If ``over`` is none of the three, or the metric scores representations alone and aligners are asked for.
    """
    if over not in ("learner", "aligner", "method"):
        hint = did_you_mean(over, ("learner", "aligner", "method"))
        raise InputError(
            f"over must be 'learner', 'aligner' or 'method' (both); found {over!r}.{hint}"
        )
    if over == "aligner" and not rows["aligner"].any():
        raise InputError(
            f"{rows['metric'].iloc[0]!r} scores representations, before any aligner: there are no aligners to compare. "
            "Use over='learner', or the metric of a coupling."
        )
    if over == "method":
        method = method_names(rows["learner"], rows["aligner"])
        return rows.assign(method=method, rest="")
    other = "aligner" if over == "learner" else "learner"
    return rows.assign(method=rows[over], rest=rows[other])


def as_wide(rows: pd.DataFrame) -> pd.DataFrame:
    """One row for each data set, seed and whatever else is held fixed; one column for each method; NaN where it is missing."""
    return rows.pivot_table(
        values="value", index=["data", "seed", "rest"], columns="method", aggfunc="first"
    )


def comparable(rows: pd.DataFrame, of: str, held: Sequence[str]) -> pd.DataFrame:
    """Keep the rows of what all have: with learners that some aligners cannot be run on, means over all would compare unlike things.

    Parameters
    ----------
    rows
        Scored rows.
    of
        Column with the names that are compared.
    held
        Columns whose combinations are kept where every name has them. Names with less than ``REGULAR`` of the combinations
        do not count here.
    """
    if not held:
        return rows
    there = pd.crosstab([rows[c] for c in held], rows[of]) > 0
    regular = there.columns[there.mean() >= REGULAR]
    kept = there.index[there[regular].all(axis=1)]
    if not len(kept):
        return rows
    here = pd.MultiIndex.from_frame(rows[list(held)]) if len(held) > 1 else pd.Index(rows[held[0]])
    return rows[here.isin(kept)]


def method_names(learners: Iterable[str], aligners: Iterable[str]) -> list[str]:
    """Name each pair of a learner and an aligner; a representation alone is called as its learner."""
    return [f"{a}{JOINED}{b}" if b else a for a, b in zip(learners, aligners, strict=True)]


def families(results: pd.DataFrame, parameter: str) -> dict[str, tuple[str, float]]:
    """Find data sets that differ in one parameter only.

    Parameters
    ----------
    results
        The table.
    parameter
        A numeric column with one value for each data set, such as ``"rho"``.

    Returns
    -------
    dict
        For each data set of a family of two or more, the name of the family (what the names of its data sets have in
        common; empty if there is one family) and the value.

    Raises
    ------
    UnknownNameError
        If no data set has such a parameter; the message names the near miss.
    ValueError
        If no two data sets differ in it alone.
    """
    constants = data_parameters(results)
    numeric = [c for c in constants if pd.api.types.is_numeric_dtype(constants[c])]
    if parameter not in numeric or constants[parameter].isna().all():
        raise UnknownNameError(unknown("parameter of data sets", parameter, numeric))
    values = constants[parameter].dropna()
    others = constants.drop(columns=parameter).loc[values.index]
    groups: dict[Any, list[str]] = {}
    for data in values.index:
        groups.setdefault(tuple(repr(v) for v in others.loc[data]), []).append(data)
    # the same value twice: these data sets differ in something that no column tells
    usable = [m for m in groups.values() if len(m) > 1 and not values[m].duplicated().any()]
    if not usable:
        raise InputError(_no_family(parameter, values, list(groups.values())))
    return {
        data: ("" if len(usable) == 1 else _common(members), float(values[data]))
        for members in usable
        for data in members
    }


def _no_family(parameter: str, values: pd.Series, groups: list[list[str]]) -> str:
    """Say why there is nothing to draw against a parameter."""
    for members in groups:
        same = [name for name in members if (values[members] == values[name]).sum() > 1]
        if same and len(set(values[members])) > 1:
            return (
                f"data sets {', '.join(map(repr, same[:4]))} have the same {parameter!r} and differ in something that no column tells: "
                f"keep those of one line, such as results[results['data'].isin([...])]."
            )
    shown = ", ".join(f"{v:g} in {name!r}" for name, v in values.head(4).items())
    return f"no two data sets differ in {parameter!r} alone, so that there is nothing to draw against it; it is {shown}."


def parameters(results: pd.DataFrame) -> dict[str, int]:
    """Return parameters in which data sets of a family differ, and how many the largest family has, most first."""
    found = {}
    for name in data_parameters(results):
        try:
            names = [family for family, _ in families(results, name).values()]
        except ValueError:
            continue
        found[name] = max(names.count(family) for family in names)
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


def is_simulated(results: pd.DataFrame) -> dict[str, bool]:
    """Whether parameters of a simulation stand beside the rows of a data set."""
    known = {*NEEDED, *NUMBERS, "error"}
    columns = [c for c in ("rho", "n_labels", "effect") if c in results and c not in known]
    has = results[columns].notna().any(axis=1) if columns else pd.Series(False, index=results.index)
    return {str(data): bool(flag) for data, flag in has.groupby(results["data"]).any().items()}


def data_parameters(results: pd.DataFrame) -> pd.DataFrame:
    """Return what tells data sets apart, one row each: columns with a single value in each of them.

    Not those of learners or aligners (their values differ within a data set; options of learners have a dot in their name), nor
    what is measured.
    """
    scored = results[(results["status"] == "done") & (results["metric"] != "")]
    known = {*NEEDED, *NUMBERS, *OF_RUNS}
    columns = [c for c in scored.columns if c not in known and "." not in c]
    grouped = scored.groupby("data")[columns]
    single = (grouped.nunique(dropna=False) < 2).all()
    return grouped.first()[[c for c in columns if single[c]]]


def _common(members: Sequence[str]) -> str:
    """What the names of a family have in common: ``"zipf"`` of ``"zipf, rho 0"`` and ``"zipf, rho 1"``."""
    alike = [len(set(letters)) == 1 for letters in zip(*members, strict=False)]
    shared = members[0][: [*alike, False].index(False)].rstrip(" ,;:=-_(")
    return shared or " … ".join((members[0], members[-1]) if len(members) > 1 else members)


def unknown(kind: str, name: object, known: Iterable[str]) -> str:
    """Say that there is no such name, which one is near, and which there are."""
    names = sorted(set(known))
    hint = did_you_mean(name, names)
    return f"no {kind} {name!r} in these results.{hint} They hold: {', '.join(map(repr, names)) or 'none'}."


def check_columns(what: str, given: Sequence[str] | str, known: Sequence[str]) -> list[str]:
    """Return names of columns as a list.

    Raises
    ------
    UnknownNameError
        If one is not among those known; the message names the near miss.
    """
    names = [given] if isinstance(given, str) else list(given)
    for name in names:
        if name not in known:
            hint = did_you_mean(name, known)
            raise UnknownNameError(
                f"{what}: no column {name!r}.{hint} It may hold {', '.join(map(repr, known))}."
            )
    return names


def plain(value: Any) -> str:
    """Write a group's name: ``"reference, 0.5"``."""
    parts = value if isinstance(value, tuple) else (value,)
    return ", ".join(str(part) for part in parts if str(part))


def counted(n: int, one: str, several: str | None = None) -> str:
    """Number and noun: ``"1 block"``, ``"2 blocks"``."""
    return f"{n} {one if n == 1 else several or one + 's'}"
