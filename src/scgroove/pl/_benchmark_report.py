"""The results of a benchmark as one HTML page: pictures inside, no script, nothing from the network."""

from __future__ import annotations

import base64
import io
import os
import tempfile
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
import pandas as pd

from scgroove._figure import natural_order
from scgroove.errors import UnknownNameError, did_you_mean, listed
from scgroove.pl import _benchmark_findings as findings
from scgroove.pl._benchmark import (
    aligner_order,
    ceilings_in,
    chosen,
    direction,
    interval_text,
    is_ceiling,
    metric_meaning,
    metric_title,
    number,
    p_value,
    without_ceilings,
)
from scgroove.pl._benchmark_cost import benchmark_cost
from scgroove.pl._benchmark_curves import benchmark_curves
from scgroove.pl._benchmark_heatmap import benchmark_heatmap
from scgroove.pl._benchmark_intervals import benchmark_intervals, difference_text
from scgroove.pl._benchmark_ranks import benchmark_critical_difference

T = TypeVar("T")
Table = dict[str, Any]

TAGS: Final = {"finding": "Found.", "caution": "Careful.", "problem": "Problem."}
PACKAGES: Final = ("scgroove", "scvi-tools", "torch", "numpy", "scipy", "pandas", "POT")
MAIN: Final = (
    "foscttm_within_label", "barycentric_foscttm_within_label", "trace_over_chance", "latent_error",
)  # fmt: skip
"""Metrics shown by default, of those that were scored; where there are none of them, the first few."""

MOST: Final = 4
COLUMNS_UP_TO: Final = 9
FILE_DPI, SCREEN_DPI = 150, 112


def benchmark_report(
    results: pd.DataFrame,
    path: str | Path | None = None,
    *,
    title: str = "Benchmark",
    spec_text: str | None = None,
    reference: str = "ps_logistic_scaled",
    metrics: Sequence[str] | None = None,
    about: Mapping[str, Any] | None = None,
    level: float = 0.95,
    ceilings: Sequence[str] | None = None,
) -> str:
    """Write the results of a benchmark as one HTML page that needs nothing else.

    The page says what was run, what the statistics allow to be said in cautious sentences, and shows heatmaps, curves,
    comparisons with the reference, ranks and costs; what failed or was skipped and why; and what the metrics mean.
    A difference whose interval holds 0 is never called better or worse.

    Parameters
    ----------
    results
        What :func:`scgroove.benchmark.read` returns.
    path
        File to write, such as ``"report.html"``: written as a whole or not at all. None only returns the page.
    title
        Heading.
    spec_text
        The spec as text (TOML), to be shown.
    reference
        The learner that all others are compared with.
    metrics
        Metrics to show, the most important first. By default those of :data:`MAIN` that were scored.
    about
        What made the results, as :func:`scgroove.benchmark.about` returns it: ``versions``, ``python``, ``machine``, ``date``.
    level
        Confidence of all intervals.
    ceilings
        Learners that know the truth: shown as limits, never ranked or called best. By default those with "oracle" in their
        name.

    Returns
    -------
    str
        The page.

    Raises
    ------
    ValueError, UnknownNameError
        If this is no table of results, or the reference or a metric is not in it; the message names the near miss.
    OSError
        If the file cannot be written; one that was there before is left as it is.

    Examples
    --------
    >>> results = scgroove.benchmark.read("results")  # doctest: +SKIP
    >>> page = scgroove.pl.benchmark_report(results, "report.html")  # doctest: +SKIP
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("scgroove.pl", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        asked = _Asked.read(results, reference, metrics, level, ceilings)
        context = _context(asked, title, spec_text, about or {})
    said = list(
        dict.fromkeys(
            str(one.message) for one in caught if one.category.__name__ == "ResultsWarning"
        )
    )
    page = environment.get_template("benchmark_report.html.j2").render(**context, left_out=said)
    if path is not None:
        _write(Path(path), page)
    return page


@dataclass(frozen=True)
class _Asked:
    """What is shown, and the statistics that several parts of the page need."""

    table: pd.DataFrame
    reference: str
    metrics: tuple[str, ...]
    level: float
    ceilings: Sequence[str] | None

    @classmethod
    def read(
        cls,
        results: Any,
        reference: str,
        metrics: Sequence[str] | None,
        level: float,
        ceilings: Sequence[str] | None,
    ) -> _Asked:
        """Check what was given."""
        from scgroove.benchmark._table import check_results

        table = check_results(results)
        done = table[(table["status"] == "done") & table["value"].notna()]
        known = [name for name in done["metric"].unique() if name]
        if reference not in set(table["learner"]):
            names = natural_order(table["learner"])
            raise UnknownNameError(
                f"no learner {reference!r} in these results; they hold {listed(names, 30)}.{did_you_mean(reference, names)} "
                "Name the one that others are compared with: reference=..."
            )
        ceilings = ceilings_in(table, ceilings)
        shown = chosen("metric", metrics, known) if metrics is not None else _main(known)
        return cls(table, reference, tuple(shown), level, ceilings)

    @cached_property
    def methods(self) -> pd.DataFrame:
        """Results of what knows no truth; of everything, where nothing else was run."""
        rows = without_ceilings(self.table, self.ceilings)
        return rows if len(rows) else self.table

    @cached_property
    def failures(self) -> pd.DataFrame:
        """What was not done."""
        from scgroove import benchmark

        return benchmark.failures(self.table)

    @cached_property
    def sets(self) -> list[str]:
        """Names of the data sets."""
        return natural_order(self.table["data"])


def _main(known: Sequence[str]) -> list[str]:
    """The metrics of the page where none are asked for."""
    main = [name for name in MAIN if name in known]
    return main or natural_order(known)[:MOST]


@dataclass
class _Section:
    """All that is shown of a metric."""

    name: str
    title: str
    anchor: str
    meaning: str
    direction: str
    figures: dict[str, list[Table]] = field(default_factory=dict)
    best_table: Table | None = None
    null_table: Table | None = None
    compare_table: Table | None = None
    rank_tables: list[Table] = field(default_factory=list)
    family: list[str] = field(default_factory=list)
    reasons: dict[str, str] = field(default_factory=dict)
    best_notes: list[findings.Note] = field(default_factory=list)
    notes: list[findings.Note] = field(default_factory=list)
    aligner_notes: list[findings.Note] = field(default_factory=list)


def _context(
    asked: _Asked, title: str, spec_text: str | None, about: Mapping[str, Any]
) -> dict[str, Any]:
    from scgroove.benchmark._table import is_simulated

    sections = [_section(asked, name, i) for i, name in enumerate(asked.metrics)]
    n_cells = _n_cells(asked.table) + int(
        asked.failures.loc[asked.failures["status"] == "missing", "n"].sum()
    )
    n_learners = len(without_ceilings(asked.table, asked.ceilings)["learner"].unique())
    design = findings.design(asked.table, asked.level, max(n_learners - 1, 1))
    too_few = any(note.level == "problem" for note in design)
    notes = [
        *(design if too_few else []),
        *_headlines(sections),
        *([] if too_few else design),
        *findings.measured(is_simulated(asked.table)),
        *findings.undone(asked.failures, n_cells),
        *findings.by_construction(asked.table),
    ]
    return {
        "title": title,
        "date": _date(about),
        "tags": TAGS,
        "notes": notes,
        "sections": sections,
        "nav": _nav(sections),
        "run_table": _run_table(asked, n_cells),
        "data_table": _data_table(asked),
        "spec_text": spec_text,
        "reference": asked.reference,
        "level": f"{asked.level:.0%}",
        "alpha": f"{1 - asked.level:.2g}",
        "ceilings": [
            n for n in natural_order(asked.table["learner"]) if is_ceiling(n, asked.ceilings)
        ],
        "cost_figures": _cost_figures(asked),
        "failure_table": _failure_table(asked.failures),
        "n_cells": n_cells,
        "counts": _counts(asked),
        "glossary": _glossary(asked.table),
        "not_shown": [metric_title(n) for n in _scored(asked.table) if n not in asked.metrics],
        "made_table": _made_table(about),
        "version": _version("scgroove"),
    }


def _headlines(sections: Sequence[_Section]) -> list[findings.Note]:
    """All that the first metric says, and what the first metric of couplings says of the best and of the aligners."""
    if not sections:
        return []
    couplings = [section for section in sections[1:] if section.aligner_notes]
    more = [*couplings[0].best_notes, *couplings[0].aligner_notes] if couplings else []
    return [*sections[0].best_notes, *sections[0].notes, *sections[0].aligner_notes, *more]


def _nav(sections: Sequence[_Section]) -> list[tuple[str, str]]:
    parts = [("short", "In short"), ("run", "What was run")]
    parts += [(section.anchor, section.title) for section in sections]
    parts += [
        ("cost", "Cost"),
        ("undone", "Not done"),
        ("reading", "How to read this"),
        ("glossary", "Metrics"),
    ]
    return [*parts, ("made", "Provenance")]


# -- a metric ----------------------------------------------------------------------------------------------------


def _section(asked: _Asked, metric: str, place: int) -> _Section:
    rows = asked.table[asked.table["metric"] == metric]
    section = _Section(
        metric,
        _capital(metric_title(metric)),
        f"metric-{place}",
        metric_meaning(metric),
        direction(str(rows["better"].iloc[0])),
    )
    _add_best(asked, section)
    _add_heatmaps(asked, section)
    _add_curves(asked, section)
    _add_comparison(asked, section)
    _add_ranks(asked, section)
    return section


def _add_best(asked: _Asked, section: _Section) -> None:
    """The best of each data set, and what is said of them."""
    from scgroove import benchmark
    from scgroove.benchmark._table import method_names

    metric, level = section.name, asked.level
    summary = benchmark.summarize(asked.table, metric, level=level)
    summary = summary.assign(method=method_names(summary["learner"], summary["aligner"]))
    if not (asked.methods["metric"] == metric).any():
        return
    best = benchmark.best(asked.methods, metric, level=level)
    section.best_table = _best_table(summary, best)
    section.null_table = _null_table(summary)
    section.best_notes += findings.best_methods(summary, best, metric, level)
    section.notes += findings.near_chance(_widened(asked, metric), metric)
    gaps, _ = _attempt(
        benchmark.gap_closed, asked.table, metric, ceiling=findings.LIMIT, by=["data", "learner"]
    )
    if gaps is not None:
        names = findings.leading(summary, asked.reference, asked.ceilings)
        section.notes += findings.share_of_the_limit(gaps, names, metric)


def _widened(asked: _Asked, metric: str) -> pd.DataFrame:
    """Means of the methods, with intervals that hold together for all cells of a learner (Bonferroni)."""
    from scgroove import benchmark

    rows = asked.methods[(asked.methods["metric"] == metric) & (asked.methods["status"] == "done")]
    n = int(rows.drop_duplicates(["data", "learner", "aligner"]).groupby("learner").size().max())
    return benchmark.summarize(asked.methods, metric, level=1 - (1 - asked.level) / max(n, 1))


def _best_table(summary: pd.DataFrame, best: pd.DataFrame) -> Table:
    found = summary.set_index(["data", "method"])
    rows = []
    for data, here in best.groupby("data", sort=False):
        first = here.loc[here["best"], "method"].iloc[0]
        row = found.loc[(data, first)]
        near = list(here.loc[~here["best"] & ~here["told_apart"], "method"])
        rows.append(
            [
                str(data),
                _whole(first),
                number(row["mean"]),
                interval_text(row["low"], row["high"]),
                number(row["chance"]),
                f"{len(near)} of {len(here) - 1}"
                + (f": {_some([_whole(name) for name in near], 4)}" if near else ""),
            ]
        )
    columns = ["data set", "best mean", "#mean", "#interval", "#chance", "not told apart from it"]
    return _table(columns, rows)


def _null_table(summary: pd.DataFrame) -> Table | None:
    """Every mean beside chance, and beside the same on permuted labels; None if the labels were not permuted."""
    if "null" not in summary:
        return None
    rows = []
    for row in summary.to_dict("records"):
        null = f"{number(row['null'])} ± {number(row['null_sd'])}" if row["n_null"] > 0 else "–"
        chance = f"{number(row['chance'])} ± {number(row['chance_sd'])}"
        rows.append([row["data"], _whole(row["method"]), number(row["mean"]), chance, null])
    return _table(["data set", "method", "#mean", "#chance ± sd", "#permuted labels ± sd"], rows)


def _add_heatmaps(asked: _Asked, section: _Section) -> None:
    """One picture a data set; where there are few aligners, data sets are the columns."""
    metric = section.name
    rows = asked.table[asked.table["metric"] == metric]
    options: dict[str, Any] = {"level": asked.level, "ceilings": asked.ceilings}
    names = [
        name
        for name in aligner_order(rows["aligner"].unique())
        if not is_ceiling(name, asked.ceilings)
    ]
    sets = natural_order(rows["data"])
    if len(names) <= 2:
        parts = [sets[i : i + COLUMNS_UP_TO] for i in range(0, len(sets), COLUMNS_UP_TO)]
        draw = [(", ".join(part), {"data": part, "columns": "data"}) for part in parts]
    else:
        draw = [(one, {"data": [one], "columns": "aligner"}) for one in sets]
    section.figures["heatmaps"] = [
        _picture(
            f"{section.title} of every learner: {what}",
            benchmark_heatmap,
            asked.table,
            metric,
            **options,
            **more,
        )
        for what, more in draw
    ]


def _add_curves(asked: _Asked, section: _Section) -> None:
    """One picture for each parameter in which three data sets or more differ; for the aligner with the best rank."""
    from scgroove.benchmark._table import parameters

    rows = asked.table[asked.table["metric"] == section.name]
    found = parameters(asked.table)
    names = [name for name, n in found.items() if n >= 3] or list(found)[:1]
    aligner = _leading_aligner(asked, section.name)
    several = len(rows["aligner"].unique()) > 1
    why = f"{aligner}, the one with the best mean rank" if several else aligner
    section.reasons["curves"] = f" Aligner: {why}." if aligner else ""
    options: dict[str, Any] = {"level": asked.level, "ceilings": asked.ceilings}
    options["aligners"] = [aligner] if aligner else None
    for name in names:
        alt = f"{section.title} against {name}"
        figure, _ = _attempt(
            _picture, alt, benchmark_curves, asked.table, section.name, name, **options
        )
        if figure is not None:
            section.figures.setdefault("curves", []).append(figure)


def _leading_aligner(asked: _Asked, metric: str) -> str:
    from scgroove import benchmark

    rows = asked.methods[asked.methods["metric"] == metric]
    names = aligner_order(rows["aligner"].unique())
    if len(names) < 2:
        return names[0] if names else ""
    ranks, _ = _attempt(benchmark.ranks, asked.methods, metric, "aligner")
    return str(ranks.table["method"].iloc[0]) if ranks is not None else names[0]


def _add_comparison(asked: _Asked, section: _Section) -> None:
    from scgroove import benchmark

    rows = asked.methods if not is_ceiling(asked.reference, asked.ceilings) else asked.table
    table, reason = _attempt(
        benchmark.compare, rows, section.name, asked.reference, level=asked.level
    )
    if table is None:
        section.reasons["comparison"] = reason
        return
    everything = benchmark.compare(
        asked.table, section.name, asked.reference, level=asked.level, quiet=True
    )
    limits = everything[~everything["candidate"].isin(table["candidate"])]
    shown = pd.concat([table, limits], ignore_index=True)
    section.figures["comparison"] = [
        _picture(
            f"Differences from {asked.reference} by {section.title}",
            benchmark_intervals,
            shown,
            ceilings=asked.ceilings,
        )
    ]
    section.compare_table = _compare_table(table)
    section.family = list(table["family"].unique())
    section.notes += findings.against_reference(table, section.name, asked.level)


def _compare_table(table: pd.DataFrame) -> Table:
    columns = [
        "speaks of", "learner", "verdict", "#better by (interval)", "#widened for all", "#won, lost, tied", "#p", "#p, Holm",
        "#smallest p", "",
    ]  # fmt: skip
    rows = [
        [
            row["data"] or row["scope"],
            row["candidate"],
            row["verdict"],
            difference_text(row),
            interval_text(row["low_joint"], row["high_joint"]),
            f"{row['wins']}, {row['losses']}, {row['ties']}",
            p_value(row["p"]),
            p_value(row["p_holm"]),
            p_value(row["p_smallest"]),
            row["note"],
        ]
        for row in table.to_dict("records")
    ]
    return _table(columns, rows)


def _add_ranks(asked: _Asked, section: _Section) -> None:
    """Ranks of learners, and of aligners where there are several."""
    from scgroove import benchmark

    aligners = asked.methods.loc[asked.methods["metric"] == section.name, "aligner"]
    for over in ("learner", "aligner"):
        if over == "aligner" and aligners[aligners != ""].nunique() < 2:
            continue
        # a learner without a shared space would cost all others the aligners that need one
        options = {"level": asked.level, "min_share": 0.6}
        ranks, reason = _attempt(benchmark.ranks, asked.methods, section.name, over, **options)
        if ranks is None:
            section.reasons[f"ranks_{over}"] = reason
            continue
        alt = f"Mean ranks of {over}s by {section.title}"
        section.figures.setdefault("ranks", []).append(
            _picture(alt, benchmark_critical_difference, ranks)
        )
        section.rank_tables += _rank_tables(ranks)
        if over == "aligner":
            section.aligner_notes += _aligner_notes(
                asked, section.name, str(ranks.table["method"].iloc[0])
            )


def _rank_tables(ranks: Any) -> list[Table]:
    """Mean ranks on each data set, a few data sets a table, the best of each in bold; nothing where there is one."""
    by_data = ranks.by_data().round(10)  # means of the same ranks in another order are the same
    sets = natural_order(by_data.columns)
    if len(sets) < 2:
        return []
    overall = ranks.table.set_index("method")["mean_rank"]
    tables = []
    for part in (sets[i : i + COLUMNS_UP_TO] for i in range(0, len(sets), COLUMNS_UP_TO)):
        shown = by_data[part]
        rows = [
            [str(name), *(f"{rank:.2f}" for rank in (overall[name], *shown.loc[name]))]
            for name in shown.index
        ]
        best = [[i, j + 2] for i, j in np.argwhere((shown == shown.min()).to_numpy()).tolist()]
        columns = [ranks.over, "#all", *(f"#{name}" for name in part)]
        tables.append({**_table(columns, rows), "strong": best})
    return tables


def _aligner_notes(asked: _Asked, metric: str, leader: str) -> list[findings.Note]:
    from scgroove import benchmark

    table = benchmark.compare(
        asked.methods, metric, leader, over="aligner", level=asked.level, quiet=True
    )
    return findings.aligners(
        table, benchmark.best(asked.methods, metric, over="aligner", level=asked.level), metric
    )


# -- the rest of the page ----------------------------------------------------------------------------------------


def _cost_figures(asked: _Asked) -> list[Table]:
    """One picture for a metric of representations, one for a metric of couplings."""
    kinds: dict[bool, str] = {}
    for metric in asked.metrics:
        rows = asked.methods[asked.methods["metric"] == metric]
        if len(rows):
            kinds.setdefault(bool(rows["aligner"].any()), metric)
    figures = []
    for metric in kinds.values():
        alt = f"{metric_title(metric)} against seconds and memory"
        figure, _ = _attempt(
            _picture, alt, benchmark_cost, asked.table, metric, ceilings=asked.ceilings
        )
        figures += [figure] if figure is not None else []
    return figures


def _run_table(asked: _Asked, n_cells: int) -> Table:
    table = asked.table
    done = table[table["status"] == "done"]
    n_done = _n_cells(done)
    seeds = sorted(table["seed"].unique())
    counts = asked.failures.groupby("status")["n"].sum() if len(asked.failures) else {}
    undone = [
        f"{counts[s]} {word}"
        for s, word in (("failed", "failed"), ("skipped", "skipped"), ("missing", "not run"))
        if s in counts
    ]
    rows = [
        ["data sets", str(len(asked.sets)), _some(asked.sets, 40)],
        ["learners", str(table["learner"].nunique()), _some(natural_order(table["learner"]), 60)],
        ["aligners", str(table.loc[table["aligner"] != "", "aligner"].nunique()), _some(aligner_order(table["aligner"].unique()), 40) or "none: representations only"],
        ["seeds", str(len(seeds)), ", ".join(str(seed) for seed in seeds)],
        ["cells of the grid", str(n_cells), ", ".join([f"{n_done} done", *undone])],
        ["metrics", str(len(_scored(table))), _some([metric_title(name) for name in _scored(table)], 40)],
    ]  # fmt: skip
    return _table(["", "#", ""], rows)


def _counts(asked: _Asked) -> str:
    """Size of the grid in words."""
    n_aligners = asked.table.loc[asked.table["aligner"] != "", "aligner"].nunique()
    parts = [
        (asked.table["learner"].nunique(), "learner"),
        (n_aligners, "aligner"),
        (len(asked.sets), "data set"),
        (asked.table["seed"].nunique(), "seed"),
    ]
    return ", ".join(f"{n} {what}{'' if n == 1 else 's'}" for n, what in parts)


def _n_cells(table: pd.DataFrame) -> int:
    return len(table.drop_duplicates(["data", "learner", "aligner", "seed"]))


def _scored(table: pd.DataFrame) -> list[str]:
    return natural_order(
        name for name in table.loc[table["status"] == "done", "metric"].unique() if name
    )


def _data_table(asked: _Asked) -> Table | None:
    """Parameters in which simulated data sets differ."""
    from scgroove.benchmark._table import data_parameters

    values = data_parameters(asked.table)
    differ = [c for c in values if len(values[c].unique()) > 1]
    if not differ or len(values) < 2:
        return None
    rows = [[str(data), *(_plain(v) for v in values.loc[data, differ])] for data in values.index]
    return _table(["data set", *(f"#{c}" for c in differ)], rows)


def _plain(value: Any) -> str:
    if pd.isna(value):
        return "–"
    return f"{value:g}" if isinstance(value, float | int) else str(value)


def _failure_table(failures: pd.DataFrame) -> Table | None:
    """One row for each learner, status and reason, with the aligners it concerns."""
    if not len(failures):
        return None
    rows = []
    order = {"failed": 0, "missing": 1, "skipped": 2}
    grouped = sorted(
        failures.groupby(["status", "learner", "error"]),
        key=lambda item: (order[item[0][0]], item[0][1:]),
    )
    for (status, learner, error), here in grouped:
        names = [name or "representation" for name in here["aligner"]]
        rows.append(
            [
                learner,
                _some(names, 8),
                {"missing": "not run"}.get(status, status),
                f"{here['n'].sum()} of {here['of'].sum()}",
                ", ".join(natural_order(d for text in here["data"] for d in text.split(", "))) if len(here) > 1 else here["data"].iloc[0],
                here["seeds"].iloc[0] if len(here["seeds"].unique()) == 1 else "several",
                "" if status == "missing" else error,
            ]
        )  # fmt: skip
    return _table(
        ["learner", "aligners", "status", "#cells", "data sets", "seeds", "reason (the first)"],
        rows,
    )


def _glossary(table: pd.DataFrame) -> Table:
    rows = []
    for name in _scored(table):
        here = table[(table["metric"] == name) & (table["status"] == "done")]
        low, high = here["chance"].min(), here["chance"].max()
        chance = number(low) if number(low) == number(high) else f"{number(low)} to {number(high)}"
        rows.append(
            [metric_title(name), name, metric_meaning(name) or "–", direction(str(here["better"].iloc[0])), chance, number(here["perfect"].max())]
        )  # fmt: skip
    return _table(
        ["metric", "name in the table", "what it is", "direction", "#chance", "#perfect"], rows
    )


def _made_table(about: Mapping[str, Any]) -> Table:
    versions = about.get("versions") or {package: _version(package) for package in PACKAGES}
    whose = (
        "versions, when it was run"
        if about.get("versions")
        else "versions, when this page was written"
    )
    rows = [[whose, ", ".join(f"{name} {v}" for name, v in versions.items())]]
    for key, label in (
        ("python", "Python"),
        ("machine", "machine"),
        ("date", "run finished or last continued"),
    ):
        if about.get(key):
            rows.append([label, str(about[key])])
    rows.append(["page written", datetime.now().astimezone().strftime("%d %B %Y, %H:%M")])
    return _table(["", ""], rows)


def _date(about: Mapping[str, Any]) -> str:
    try:
        made = datetime.fromisoformat(str(about["date"]))
    except (KeyError, ValueError):
        made = datetime.now().astimezone()
    return made.strftime("%d %B %Y")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"


# -- helpers -----------------------------------------------------------------------------------------------------


def _table(columns: Iterable[str], rows: list[list[str]]) -> Table:
    """A table for the page; ``#`` before a title: numbers, to the right. ``strong``: places [row, column] in bold."""
    heads = [{"title": c.removeprefix("#"), "number": c.startswith("#")} for c in columns]
    return {"columns": heads, "rows": rows, "strong": []}


def _attempt(make: Callable[..., T], *args: Any, **options: Any) -> tuple[T | None, str]:
    """Return what can be made, or why it cannot."""
    try:
        return make(*args, **options), ""
    except ValueError as error:
        return None, str(error)


def _picture(alt: str, draw: Callable[..., Any], *args: Any, **options: Any) -> Table:
    """Draw, and return the picture as text, with the width at which its letters are as large in all pictures."""
    import matplotlib.pyplot as plt

    figure = draw(*args, return_fig=True, show=False, **options)
    try:
        file = io.BytesIO()
        figure.savefig(file, format="png", dpi=FILE_DPI)
    finally:
        plt.close(figure)
    png, pixels = _with_palette(file)
    return {
        "alt": alt,
        "data": base64.b64encode(png).decode(),
        "width": round(pixels * SCREEN_DPI / FILE_DPI),
    }


def _with_palette(file: io.BytesIO) -> tuple[bytes, int]:
    """Return a picture with 256 colors, a quarter of the bytes and the same to the eye; and its width."""
    from PIL import Image  # comes with matplotlib

    full = Image.open(file).convert("RGB")
    picture = full.quantize(256, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    small = io.BytesIO()
    picture.save(small, format="png", optimize=True)
    return small.getvalue(), full.width


def _whole(name: str) -> str:
    """A name that no line is broken in."""
    return name.replace(" ", "\u00a0")


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _some(names: Sequence[str], limit: int) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def _write(path: Path, page: str) -> None:
    """Write the page as a whole or not at all."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(page)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o666 & ~_umask())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _umask() -> int:
    """The permissions that new files of this process lack."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
