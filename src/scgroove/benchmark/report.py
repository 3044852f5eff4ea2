"""The results of a benchmark as one HTML page."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
import pandas as pd

from scgroove._figure import natural_order
from scgroove._html import STAMP, Note, Table, picture, render, table, versions_of, write_page
from scgroove._words import capital, counted, some
from scgroove.benchmark import _findings as findings
from scgroove.benchmark._compare import Ranks, compare, ranks
from scgroove.benchmark._curves import benchmark_cost, benchmark_curves
from scgroove.benchmark._drawing import (
    aligner_order,
    chosen,
    difference_text,
    interval_text,
    limits_of,
    metric_meaning,
    metric_title,
    number,
    p_text,
    without_limits,
)
from scgroove.benchmark._heatmap import benchmark_heatmap
from scgroove.benchmark._intervals import (
    benchmark_critical_difference,
    benchmark_intervals,
    compare_with_limits,
)
from scgroove.benchmark._stats import best, failures, gap_closed, summarize
from scgroove.benchmark._table import (
    CELL,
    KEYS,
    check_results,
    data_parameters,
    method_names,
    varied_parameters,
)
from scgroove.benchmark.results import PACKAGES
from scgroove.errors import ResultsWarning, UnknownNameError

T = TypeVar("T")

TAGS: Final = {"finding": "Found.", "caution": "Careful.", "problem": "Problem."}

MAIN: Final = (
    *("foscttm_within_label", "barycentric_foscttm_within_label"),
    *("trace_over_chance", "latent_error"),
)
"""Metrics of the page, of those that were scored. Without any of them, the first few."""

MOST: Final = 4
COLUMNS_UP_TO: Final = 9
FILE_DPI: Final = 150


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
) -> str:
    """Write the results of a benchmark as one HTML page that needs nothing else.

    The page has the findings in cautious sentences, heatmaps, curves, comparisons with the
    reference, ranks and costs, the cells that failed or were skipped and why, and the meaning of
    the metrics. A difference whose interval holds 0 is never called better or worse.

    Parameters
    ----------
    results
        The table that :func:`scgroove.benchmark.read` returns.
    path
        File to write, as a whole or not at all. None only returns the page.
    title
        Heading.
    spec_text
        The spec as text, to be shown.
    reference
        The learner that all others are compared with.
    metrics
        Metrics to show, the most important first. By default those of :data:`MAIN` that were
        scored.
    about
        Provenance of the results, as in ``run.json``: ``versions``, ``python``, ``machine``,
        ``date``.
    level
        Confidence of all intervals.

    Returns
    -------
    str
        The page.

    Raises
    ------
    UnknownNameError, InputError
        If this is no table of results, or the reference or a metric is not in it.
    OSError
        If the file cannot be written. An earlier one is left as it is.

    Examples
    --------
    >>> results = scgroove.benchmark.read("results")  # doctest: +SKIP
    >>> page = scgroove.pl.benchmark_report(results, "report.html")  # doctest: +SKIP
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        page = _Page(check_results(results), reference, level, about or {})
        context = page.context(metrics)
    said = [str(one.message) for one in caught if issubclass(one.category, ResultsWarning)]
    context |= {"title": title, "spec_text": spec_text, "left_out": list(dict.fromkeys(said))}
    html = render("benchmark", context)
    if path is not None:
        write_page(Path(path), html)
    return html


@dataclass
class _Section:
    """The content of a metric."""

    name: str
    title: str
    anchor: str
    meaning: str
    direction: str
    figures: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    best_table: Table | None = None
    null_table: Table | None = None
    compare_table: Table | None = None
    rank_tables: list[Table] = field(default_factory=list)
    family: list[str] = field(default_factory=list)
    reasons: dict[str, str] = field(default_factory=dict)
    best_notes: list[Note] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    aligner_notes: list[Note] = field(default_factory=list)


@dataclass(frozen=True)
class _Page:
    """The results, and the statistics that several parts of the page need."""

    results: pd.DataFrame
    reference: str
    level: float
    about: Mapping[str, Any]

    @cached_property
    def limits(self) -> set[str]:
        """Learners and aligners that know the truth."""
        return limits_of(self.results)

    @cached_property
    def methods(self) -> pd.DataFrame:
        """Results without limits."""
        return without_limits(self.results, self.limits)

    @cached_property
    def failures(self) -> pd.DataFrame:
        """Cells that were not done."""
        return failures(self.results)

    @cached_property
    def done(self) -> pd.DataFrame:
        """Rows with a value."""
        return self.results[(self.results["status"] == "done") & (self.results["metric"] != "")]

    def context(self, metrics: Sequence[str] | None) -> dict[str, Any]:
        """Return everything that the template shows."""
        learners = natural_order(self.results["learner"])
        if self.reference not in learners:
            raise UnknownNameError("learner of these results (reference)", self.reference, learners)
        scored = natural_order(self.done["metric"].unique())
        main = [name for name in MAIN if name in scored] or scored[:MOST]
        shown = chosen("metric", metrics, scored) if metrics is not None else main
        sections = [self.section(name, i) for i, name in enumerate(shown)]
        missing = self.failures.loc[self.failures["status"] == "missing", "n"].sum()
        n_cells = len(self.results.drop_duplicates(list(KEYS))) + int(missing)
        n_methods = self.methods["learner"].nunique()
        design = findings.design(self.results, self.level, max(n_methods - 1, 1))
        heads = _headlines(sections)
        too_few = any(note.level == "problem" for note in design)
        nav = [("short", "In short"), ("run", "What was run")]
        nav += [(section.anchor, section.title) for section in sections]
        nav += [("cost", "Cost"), ("undone", "Not done"), ("reading", "How to read this")]
        return {
            "width": 1200,
            "nav": [*nav, ("glossary", "Metrics"), ("made", "Provenance")],
            "date": _date(self.about),
            "tags": TAGS,
            "notes": [
                *(design + heads if too_few else heads + design),
                *findings.not_simulated(self.results),
                *findings.undone(self.failures, n_cells),
                *findings.by_construction(self.results),
            ],
            "sections": sections,
            "run_table": self.run_table(n_cells, scored),
            "data_table": self.data_table(),
            "reference": self.reference,
            "level": f"{self.level:.0%}",
            "alpha": f"{1 - self.level:.2g}",
            "ceilings": [name for name in learners if name in self.limits],
            "cost_figures": self.cost_figures(shown),
            "failure_table": _failure_table(self.failures),
            "n_cells": n_cells,
            "counts": self.counts(),
            "glossary": self.glossary(scored),
            "not_shown": [metric_title(name) for name in scored if name not in shown],
            "made_table": _made_table(self.about),
            "version": versions_of(["scgroove"])["scgroove"],
        }

    def section(self, metric: str, place: int) -> _Section:
        """Return everything that is shown of a metric."""
        better = self.done.loc[self.done["metric"] == metric, "better"].iloc[0]
        title, meaning = capital(metric_title(metric)), metric_meaning(metric)
        section = _Section(metric, title, f"metric-{place}", meaning, f"{better} is better")
        if (self.methods["metric"] == metric).any():
            self.add_best(section)
        self.add_heatmaps(section)
        self.add_curves(section)
        self.add_comparison(section)
        self.add_ranks(section)
        return section

    def add_best(self, section: _Section) -> None:
        """Add the best of each data set, and what is said of them."""
        metric, level = section.name, self.level
        summary = summarize(self.results, metric, level=level)
        summary = summary.assign(method=method_names(summary["learner"], summary["aligner"]))
        first = best(self.methods, metric, level=level)
        section.best_table = _best_table(summary, first)
        section.null_table = _null_table(summary)
        section.best_notes = findings.best_methods(summary, first, metric, level)
        # intervals that hold together for all cells of a learner (Bonferroni)
        own = self.methods[(self.methods["metric"] == metric) & (self.methods["status"] == "done")]
        n = int(own.drop_duplicates(list(CELL)).groupby("learner").size().max())
        widened = summarize(self.methods, metric, level=1 - (1 - level) / max(n, 1))
        section.notes += findings.near_chance(widened, metric)
        gaps, _ = _attempt(
            gap_closed, self.results, metric, ceiling=findings.LIMIT, by=["data", "learner"]
        )
        if gaps is not None:
            names = findings.leading(summary, self.reference, self.limits)
            section.notes += findings.share_of_the_limit(gaps, names, metric)

    def aligners_of(self, rows: pd.DataFrame, metric: str) -> list[str]:
        """Return the aligners that a metric was scored with."""
        return aligner_order(rows.loc[rows["metric"] == metric, "aligner"].unique())

    def add_heatmaps(self, section: _Section) -> None:
        """Add one picture a data set. With few aligners, data sets are the columns."""
        rows = self.done[self.done["metric"] == section.name]
        names = [a for a in self.aligners_of(rows, section.name) if a not in self.limits]
        sets = natural_order(rows["data"])
        step, columns = (COLUMNS_UP_TO, "data") if len(names) <= 2 else (1, "aligner")
        for i in range(0, len(sets), step):
            part = sets[i : i + step]
            alt = f"{section.title} of every learner: {', '.join(part)}"
            options: dict[str, Any] = {"data": part, "columns": columns, "level": self.level}
            figure = _picture(alt, benchmark_heatmap, self.results, section.name, **options)
            section.figures.setdefault("heatmaps", []).append(figure)

    def add_curves(self, section: _Section) -> None:
        """Add one picture for each parameter in which three data sets or more differ."""
        names = self.aligners_of(self.methods, section.name)
        aligner, why = names[0] if names else "", ""
        if len(names) > 1:
            found, _ = _attempt(ranks, self.methods, section.name, "aligner")
            aligner = aligner if found is None else str(found.table["method"].iloc[0])
            why = ", the one with the best mean rank"
        section.reasons["curves"] = f" Aligner: {aligner}{why}." if aligner else ""
        sizes = varied_parameters(self.results)
        for name in [name for name, n in sizes.items() if n >= 3] or list(sizes)[:1]:
            alt = f"{section.title} against {name}"
            options = {"level": self.level, "aligners": [aligner] if aligner else None}
            given = (self.results, section.name, name)
            figure, _ = _attempt(_picture, alt, benchmark_curves, *given, **options)
            if figure is not None:
                section.figures.setdefault("curves", []).append(figure)

    def add_comparison(self, section: _Section) -> None:
        """Add the differences from the reference."""
        given = (self.results, section.name, self.reference)
        found, reason = _attempt(compare_with_limits, *given, level=self.level)
        if found is None:
            section.reasons["comparison"] = reason
            return
        alt = f"Differences from {self.reference} by {section.title}"
        section.figures["comparison"] = [_picture(alt, benchmark_intervals, found)]
        found = found[~found["limit"]]
        section.compare_table = _compare_table(found)
        section.family = list(found["family"].unique())
        section.notes += findings.against_reference(found, section.name, self.level)

    def add_ranks(self, section: _Section) -> None:
        """Add ranks of learners, and of aligners if there are several."""
        for over in ("learner", "aligner"):
            if over == "aligner" and len(self.aligners_of(self.methods, section.name)) < 2:
                continue
            # a learner without a shared space would cost all others the aligners that need one
            options: dict[str, Any] = {"level": self.level, "min_share": 0.6}
            found, reason = _attempt(ranks, self.methods, section.name, over, **options)
            if found is None:
                section.reasons[f"ranks_{over}"] = reason
                continue
            alt = f"Mean ranks of {over}s by {section.title}"
            figure = _picture(alt, benchmark_critical_difference, found)
            section.figures.setdefault("ranks", []).append(figure)
            section.rank_tables += _rank_tables(found)
            if over == "aligner":
                options = {"over": over, "level": self.level}
                leader = str(found.table["method"].iloc[0])
                differences = compare(self.methods, section.name, leader, quiet=True, **options)
                first = best(self.methods, section.name, **options)
                section.aligner_notes = findings.aligners(differences, first, section.name)

    def cost_figures(self, shown: Sequence[str]) -> list[dict[str, Any]]:
        """Return one picture for a metric of representations, one for a metric of couplings."""
        kinds: dict[bool, str] = {}
        for metric in shown:
            rows = self.methods[self.methods["metric"] == metric]
            if len(rows):
                kinds.setdefault(bool(rows["aligner"].any()), metric)
        figures = []
        for metric in kinds.values():
            alt = f"{metric_title(metric)} against seconds and memory"
            figure, _ = _attempt(_picture, alt, benchmark_cost, self.results, metric)
            figures += [] if figure is None else [figure]
        return figures

    def run_table(self, n_cells: int, scored: Sequence[str]) -> Table:
        """Return the size of the grid, with names."""
        sets, learners = (natural_order(self.results[c]) for c in ("data", "learner"))
        names = aligner_order(self.results["aligner"].unique())
        seeds = sorted(self.results["seed"].unique())
        done = self.results[self.results["status"] == "done"].drop_duplicates(list(KEYS))
        status = [f"{len(done)} done"]
        counts = self.failures.groupby("status")["n"].sum()
        for key, word in (("failed", "failed"), ("skipped", "skipped"), ("missing", "not run")):
            status += [f"{counts[key]} {word}"] if key in counts else []
        titles = [metric_title(name) for name in scored]
        rows = [
            ["data sets", str(len(sets)), some(sets, 40)],
            ["learners", str(len(learners)), some(learners, 60)],
            ["aligners", str(len(names)), some(names, 40) or "none: representations only"],
            ["seeds", str(len(seeds)), ", ".join(map(str, seeds))],
            ["cells of the grid", str(n_cells), ", ".join(status)],
            ["metrics", str(len(titles)), some(titles, 40)],
        ]
        return table(["", "#", ""], rows)

    def counts(self) -> str:
        """Return the size of the grid in words."""
        aligners = self.results.loc[self.results["aligner"] != "", "aligner"]
        sizes = {"learner": self.results["learner"], "aligner": aligners}
        sizes |= {"data set": self.results["data"], "seed": self.results["seed"]}
        return ", ".join(counted(column.nunique(), one) for one, column in sizes.items())

    def data_table(self) -> Table | None:
        """Return the parameters in which data sets differ."""
        values = data_parameters(self.results)
        values = values[[c for c in values if len(values[c].unique()) > 1]]
        if values.empty or len(values) < 2:
            return None
        rows = [[str(data), *map(_plain, values.loc[data])] for data in values.index]
        return table(["data set", *(f"#{c}" for c in values)], rows)

    def glossary(self, scored: Sequence[str]) -> Table:
        """Return the meaning of the metrics."""
        rows = []
        for name in scored:
            here = self.done[self.done["metric"] == name]
            ends = dict.fromkeys([number(here["chance"].min()), number(here["chance"].max())])
            better = f"{here['better'].iloc[0]} is better"
            meaning, perfect = metric_meaning(name) or "–", number(here["perfect"].max())
            rows.append([metric_title(name), name, meaning, better, " to ".join(ends), perfect])
        columns = ["metric", "name in the table", "what it is", "direction", "#chance", "#perfect"]
        return table(columns, rows)


def _headlines(sections: Sequence[_Section]) -> list[Note]:
    """All notes of the first metric, and the best and the aligners of the first of couplings."""
    if not sections:
        return []
    first = sections[0]
    couplings = [section for section in sections[1:] if section.aligner_notes]
    more = [*couplings[0].best_notes, *couplings[0].aligner_notes] if couplings else []
    return [*first.best_notes, *first.notes, *first.aligner_notes, *more]


def _best_table(summary: pd.DataFrame, first: pd.DataFrame) -> Table:
    found = summary.set_index(["data", "method"])
    rows = []
    for row in first[first["best"]].itertuples():
        own = found.loc[(row.data, row.method)]
        near = findings.rivals_of(first, row.data)
        names = f": {some([_unbroken(name) for name in near], 4)}" if near else ""
        n_others = int((first["data"] == row.data).sum()) - 1
        interval = interval_text(own["low"], own["high"])
        values = [number(own["mean"]), interval, number(own["chance"])]
        others = f"{len(near)} of {n_others}{names}"
        rows.append([str(row.data), _unbroken(row.method), *values, others])
    columns = ["data set", "best mean", "#mean", "#interval", "#chance", "not told apart from it"]
    return table(columns, rows)


def _null_table(summary: pd.DataFrame) -> Table | None:
    """Every mean beside chance and permuted labels. None if labels were not permuted."""
    if "null" not in summary:
        return None
    rows = []
    for row in summary.to_dict("records"):
        null = f"{number(row['null'])} ± {number(row['null_sd'])}" if row["n_null"] > 0 else "–"
        chance = f"{number(row['chance'])} ± {number(row['chance_sd'])}"
        rows.append([row["data"], _unbroken(row["method"]), number(row["mean"]), chance, null])
    return table(["data set", "method", "#mean", "#chance ± sd", "#permuted labels ± sd"], rows)


def _compare_table(found: pd.DataFrame) -> Table:
    columns = ["speaks of", "learner", "verdict", "#better by (interval)", "#widened for all"]
    columns += ["#won, lost, tied", "#p", "#p, Holm", "#smallest p", ""]
    rows = []
    for row in found.to_dict("records"):
        names = [row["data"] or row["scope"], row["candidate"], row["verdict"]]
        differences = [difference_text(row), interval_text(row["low_joint"], row["high_joint"])]
        won = f"{row['wins']}, {row['losses']}, {row['ties']}"
        p = [p_text(row[key]) for key in ("p", "p_holm", "p_smallest")]
        rows.append([*names, *differences, won, *p, row["note"]])
    return table(columns, rows)


def _rank_tables(found: Ranks) -> list[Table]:
    """Mean ranks on each data set, a few data sets a table, the best of each in bold."""
    by_data = found.by_data().round(10)  # means of the same ranks in another order are the same
    sets = natural_order(by_data.columns)
    if len(sets) < 2:
        return []
    overall = found.table.set_index("method")["mean_rank"]
    tables = []
    for i in range(0, len(sets), COLUMNS_UP_TO):
        shown = by_data[sets[i : i + COLUMNS_UP_TO]]
        rows = []
        for name in shown.index:
            rows.append([str(name), *(f"{v:.2f}" for v in (overall[name], *shown.loc[name]))])
        strong = [[i, j + 2] for i, j in np.argwhere((shown == shown.min()).to_numpy()).tolist()]
        tables.append(table([found.over, "#all", *(f"#{c}" for c in shown)], rows, strong))
    return tables


def _failure_table(undone: pd.DataFrame) -> Table | None:
    """One row for each learner, status and reason, with the aligners it concerns."""
    if not len(undone):
        return None
    order = {"failed": 0, "missing": 1, "skipped": 2}
    groups = list(undone.groupby(["status", "learner", "error"]))
    rows = []
    for (status, learner, error), here in sorted(groups, key=lambda g: (order[g[0][0]], g[0][1:])):
        names = some([name or "representation" for name in here["aligner"]], 8)
        sets = ", ".join(natural_order(", ".join(here["data"]).split(", ")))
        if len(here) == 1:
            sets = here["data"].iloc[0]
        seeds = here["seeds"].iloc[0] if len(here["seeds"].unique()) == 1 else "several"
        word, reason = (status, error) if status != "missing" else ("not run", "")
        cells = f"{here['n'].sum()} of {here['of'].sum()}"
        rows.append([learner, names, word, cells, sets, seeds, reason])
    columns = ["learner", "aligners", "status", "#cells", "data sets", "seeds"]
    return table([*columns, "reason (the first)"], rows)


def _made_table(about: Mapping[str, Any]) -> Table:
    when = "when it was run" if about.get("versions") else "when this page was written"
    versions = about.get("versions") or versions_of(PACKAGES)
    rows = [[f"versions, {when}", ", ".join(f"{name} {v}" for name, v in versions.items())]]
    titles = {"python": "Python", "machine": "machine", "date": "run finished or last continued"}
    rows += [[label, str(about[key])] for key, label in titles.items() if about.get(key)]
    rows.append(["page written", datetime.now().astimezone().strftime(STAMP)])
    return table(["", ""], rows)


def _date(about: Mapping[str, Any]) -> str:
    try:
        made = datetime.fromisoformat(str(about["date"]))
    except (KeyError, ValueError):
        made = datetime.now().astimezone()
    return made.strftime("%d %B %Y")


def _plain(value: Any) -> str:
    if pd.isna(value):
        return "–"
    return f"{value:g}" if isinstance(value, float | int) else str(value)


def _unbroken(name: str) -> str:
    """Return a name without places for a line break."""
    return name.replace(" ", "\u00a0")


def _attempt(make: Callable[..., T], *args: Any, **options: Any) -> tuple[T | None, str]:
    """Return the result of a call, or the reason why there is none."""
    try:
        return make(*args, **options), ""
    except ValueError as error:
        return None, str(error)


def _picture(alt: str, draw: Callable[..., Any], *args: Any, **options: Any) -> dict[str, Any]:
    """Draw, and return the picture with 256 colors, a quarter of the bytes, for the page."""
    import matplotlib.pyplot as plt
    from PIL import Image  # comes with matplotlib

    figure = draw(*args, return_fig=True, show=False, **options)
    try:
        file, small = io.BytesIO(), io.BytesIO()
        figure.savefig(file, format="png", dpi=FILE_DPI)
    finally:
        plt.close(figure)
    colors: dict[str, Any] = {"method": Image.Quantize.MAXCOVERAGE, "dither": Image.Dither.NONE}
    Image.open(file).convert("RGB").quantize(256, **colors).save(small, format="png", optimize=True)
    return picture(small.getvalue(), FILE_DPI, alt)
