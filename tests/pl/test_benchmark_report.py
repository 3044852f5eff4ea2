"""The page of a benchmark: whole, cautious, and the same numbers as the statistics."""

import base64
import re
import warnings
from html.parser import HTMLParser

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from scgroove import benchmark
from scgroove.benchmark import _findings as findings
from scgroove.benchmark._drawing import metric_title, number
from scgroove.errors import ResultsWarning
from scgroove.pl import benchmark_report

mpl.use("Agg")

BARY = "barycentric_foscttm_within_label"
FOS = "foscttm_within_label"
VOID = {"meta", "img", "br", "link", "hr", "input"}
ABOUT = {
    "versions": {"scgroove": "9.9", "torch": "2.x"},
    "python": "3.11.7",
    "machine": "Linux x86_64, 2 cores",
    "date": "2026-11-25T08:41:16+00:00",
}


class Page(HTMLParser):
    """Text, tags, links and pictures of a page; fails on a tag that is not closed."""

    def __init__(self, page):
        super().__init__()
        self.open, self.tags, self.ids, self.links, self.pictures, self.words = (
            [],
            [],
            [],
            [],
            [],
            [],
        )
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.tags.append(tag)
        if "id" in attributes:
            self.ids.append(attributes["id"])
        if tag == "a":
            self.links.append(attributes["href"])
        if tag == "img":
            self.pictures.append(attributes)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self):
        return re.sub(r"\s+", " ", " ".join(self.words)).replace("\u00a0", " ")


@pytest.fixture(scope="module")
def html(benchmark_results):
    """Twelve learners, eight aligners, three data sets, five seeds; some failed, some skipped, one not run."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResultsWarning)  # the page says it instead
        return benchmark_report(
            benchmark_results,
            title="All <learners>",
            spec_text='learners = ["groove"]',
            metrics=[FOS, BARY],
            about=ABOUT,
        )


@pytest.fixture(scope="module")
def page(html):
    return Page(html)


def quick(results, **options):
    """A page of representations only, which takes a second."""
    return benchmark_report(results, **{"metrics": [FOS], **options})


# -- the whole page ----------------------------------------------------------------------------------------------


def test_the_page_needs_nothing_else(page, html):
    assert "script" not in page.tags
    assert "link" not in page.tags
    assert not re.search(r"(src|href)=\"(http|//|file)", html)
    assert not re.search(r"url\(|@import", html)
    assert all(picture["src"].startswith("data:image/png;base64,") for picture in page.pictures)
    assert html.startswith("<!DOCTYPE html>")
    assert len(html) < 6e6
    assert plt.get_fignums() == []


def test_all_links_of_the_page_lead_somewhere(page):
    assert len(page.links) >= 8
    assert {link.removeprefix("#") for link in page.links} <= set(page.ids)
    assert len(set(page.ids)) == len(page.ids)


def test_pictures_are_legible_and_described(page):
    """Pictures: 1 + 3 heatmaps, 2 of curves, 2 of differences, 1 + 2 of ranks, 2 of cost."""
    assert len(page.pictures) == 13
    assert len({picture["alt"] for picture in page.pictures}) == 13
    for picture in page.pictures:
        png = base64.b64decode(picture["src"].split(",")[1])
        pixels = int.from_bytes(png[16:20], "big")
        assert pixels > int(picture["width"]) > 300  # sharp also on a dense screen
        assert int(picture["width"]) < 1240
    title = metric_title(BARY)
    alt = f"{title[0].upper()}{title[1:]} of every learner: rho 0.5"
    assert alt in [p["alt"] for p in page.pictures]


def test_what_was_run(page):
    text = page.text
    assert "All <learners>" in text  # escaped
    assert "12 learners, 8 aligners, 3 data sets, 5 seeds · 25 November 2026" in text
    assert "1530 done, 14 failed, 75 skipped, 1 not run" in text
    assert 'learners = ["groove"]' in text
    assert "scgroove 9.9, torch 2.x" in text
    assert "Linux x86_64, 2 cores" in text
    assert "Also scored, not shown here: trace over chance" in text


def test_numbers_are_those_of_the_statistics(page, benchmark_results):
    methods = benchmark_results[benchmark_results["learner"] != "oracle_latent"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResultsWarning)
        table = benchmark.compare(methods, FOS, "ps_logistic_scaled")
        best = benchmark.best(methods, FOS)
    row = table[(table["scope"] == "these data sets") & (table["candidate"] == "groove")].iloc[0]
    assert (
        f"+{number(row['mean'])} ({number(row['low'])} to {number(row['high'])})" in page.text
    )  # in the table
    assert (
        f"groove +{number(row['mean'])} ({number(row['low_joint'])} to {number(row['high_joint'])})"
        in page.text
    )
    first = best[best["best"] & (best["data"] == "rho 1")].iloc[0]
    assert f"rho 1 {first['method']} {number(first['mean'])}" in page.text
    assert table["family"].iloc[0] in page.text


def test_ranks_by_data_set_stand_in_a_table_with_the_best_in_bold(few_results):
    """The numbers are those of ranks(); bold is what has the best mean rank of a data set, ties included."""
    html = quick(few_results)
    methods = few_results[few_results["learner"] != "oracle_latent"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResultsWarning)
        found = benchmark.ranks(methods, FOS, min_share=0.6)
    assert "Ranks by data set learner all rho 0 rho 0.5 rho 1 " in Page(html).text
    rows = re.search(r"<h4>Ranks by data set</h4>(.*?)</table>", html, flags=re.DOTALL)[1].split(
        "<tr>"
    )[2:]
    assert len(rows) == len(found.table)
    by_data, overall = found.by_data(), found.table.set_index("method")["mean_rank"]
    for row, name in zip(rows, by_data.index, strict=True):
        cells = re.findall(r'<td(?: class="([^"]*)")?>([^<]*)</td>', row)
        assert [text for _, text in cells] == [
            name, f"{overall[name]:.2f}", *(f"{rank:.2f}" for rank in by_data.loc[name]),
        ]  # fmt: skip
        best = [bool(np.isclose(by_data.loc[name, d], by_data[d].min())) for d in by_data]
        assert ["strong" in kind for kind, _ in cells] == [False, False, *best]


def test_many_data_sets_are_split_and_one_has_no_table_of_its_own(few_results):
    one = few_results[few_results["data"] == "rho 1"]
    assert "<h4>Ranks by data set" not in quick(one)
    many = pd.concat([one.assign(data=f"set {i}", rho=float(i)) for i in range(1, 12)])
    text = Page(quick(many)).text
    nine = " ".join(f"set {i}" for i in range(1, 10))
    assert f"learner all {nine} " in text
    assert "learner all set 10 set 11 " in text


def test_what_was_not_done_is_listed_with_its_reason(page):
    text = page.text
    assert (
        "Not done, of 1620 cells of the grid: 14 failed (davae 9, ps_mlp 5); 1 not run (supcon 1); 75 skipped (pca 75)"
        in text
    )
    assert "ConvergenceError: after 500 iterations the rows are off by 0.02" in text
    assert "its modalities share no space, which this aligner needs" in text
    assert "blocks without a pair with 'ps_logistic_scaled': 'davae' 1 of 15" in text


def test_the_oracle_is_a_limit_and_never_wins(page):
    text = page.text
    assert "oracle_latent, which knows the truth" in text
    assert not re.search(r"(Better|Worse|No difference shown): [^.]*oracle", text)
    assert "rho 1 oracle_latent" not in text


def test_metrics_are_explained(page):
    assert "foscttm_within_label" in page.text


# -- sentences ---------------------------------------------------------------------------------------------------


def sentences(page):
    return re.findall(
        r'<li class="(finding|caution|problem)">(.*?)(?=<li class=|</section>)',
        page,
        flags=re.DOTALL,
    )


def test_one_seed_is_a_problem_said_first(few_results):
    page = quick(few_results[few_results["seed"] == 0], reference="ps_logistic_scaled")
    level, text = sentences(page)[0]
    assert level == "problem"
    assert "There is 1 seed only: no interval can be given" in text
    assert "Better:" not in Page(page).text
    assert "Worse:" not in Page(page).text


def test_what_few_seeds_can_show_is_said(few_results):
    text = Page(quick(few_results[few_results["data"] == "rho 1"])).text
    assert (
        "The p of a signed-rank test over so many is never below 0.25: it can show nothing" in text
    )
    assert "learners compared with ps_logistic_scaled on rho 1 (3 seeds)" in text
    (note,) = findings.design(
        few_results.merge(pd.DataFrame({"extra": range(3)}), how="cross").assign(
            seed=lambda t: t["seed"] + 3 * t["extra"]
        ),
        0.95,
    )
    assert note.level == "finding"
    assert note.text.endswith("is never below 0.00391.")


def test_measured_data_are_told_from_simulated(few_results):
    files = few_results.drop(columns=["rho", "n_labels"])
    (note,) = findings.not_simulated(files)
    assert note.text.startswith(
        "Not simulated: rho 0, rho 0.5 and rho 1. On measured cells another seed repeats"
    )
    assert findings.not_simulated(few_results) == []
    mixed = few_results.assign(
        rho=few_results["rho"].where(few_results["data"] != "rho 1"), n_labels=np.nan
    )
    assert findings.not_simulated(mixed)[0].text.startswith("Not simulated: rho 1. ")


def test_nothing_done(undone):
    text = Page(benchmark_report(undone)).text
    assert "Nothing was scored. See what failed, below." in text
    assert "243 failed" in text


def test_a_learner_alone_has_nothing_to_be_compared_with(few_results):
    text = Page(quick(few_results[few_results["learner"] == "ps_logistic_scaled"])).text
    assert "Not possible: only 'ps_logistic_scaled' was scored by this metric" in text
    assert "Ranks of learners are not possible" in text


def test_everything_done_is_said(few_results):
    complete = quick(few_results[few_results["learner"] != "pca"])
    assert "All 243 cells of the grid were done." in Page(complete).text


@pytest.mark.parametrize("seed", range(6))
def test_no_sentence_calls_a_difference_a_win_where_the_interval_holds_zero(seed):
    rng = np.random.default_rng(seed)
    rows = [
        {
            "data": d,
            "learner": le,
            "aligner": "",
            "seed": s,
            "value": gain * (seed % 3) / 4 + 0.3 * rng.normal(),
        }
        for d in "xyz"
        for le, gain in (("a", -1), ("b", 0), ("c", 1), ("ref", 0))
        for s in range(5)
    ]
    results = pd.DataFrame(rows).assign(metric="m", better="lower", status="done")
    table = benchmark.compare(results, "m", "ref")
    note = findings.against_reference(table, "m", 0.95)[0]
    lines = dict(point.split(": ", 1) for point in note.points)
    pooled = table[table["scope"] == "these data sets"].set_index("candidate")
    for name, row in pooled.iterrows():
        said = [key for key, text in lines.items() if re.search(rf"\b{name} [+−]", text)]
        assert len(said) == 1
        if row["low"] <= 0 <= row["high"]:
            assert said == ["No difference shown"]
        elif row["low_joint"] <= 0 <= row["high_joint"]:
            assert said == ["Only by an interval of its own, as 1 in 20 is by chance"]
        else:
            assert said == [row["verdict"].capitalize()]


def test_best_says_when_not_even_the_best_beats_chance():
    rng = np.random.default_rng(0)
    keys = [("d", le, "", s) for le in "ab" for s in range(5)]
    rows = pd.DataFrame(keys, columns=["data", "learner", "aligner", "seed"]).assign(
        value=0.5 + 0.05 * rng.normal(size=10),
        metric="m",
        better="lower",
        status="done",
        chance=0.5,
    )
    summary = benchmark.summarize(rows, "m").assign(method=["a", "b"])
    (note,) = findings.best_methods(summary, benchmark.best(rows, "m"), "m", 0.95)
    assert note.level == "caution"
    assert "Not even this is shown to be better than chance." in note.points[0]
    (near,) = findings.near_chance(summary, "m")
    assert near.text == "M: not shown to be better than chance here: a and b."


def test_aligners_that_lead_in_different_places():
    values = {"p": {"x": 0.1, "y": 0.2, "z": 0.1}, "q": {"x": 0.3, "y": 0.199, "z": 0.3}}
    rng = np.random.default_rng(0)
    rows = [
        {
            "data": d,
            "learner": "l",
            "aligner": a,
            "seed": s,
            "value": values[a][d] + 0.01 * rng.normal(),
        }
        for a in "pq"
        for d in "xyz"
        for s in range(4)
    ]
    results = pd.DataFrame(rows).assign(metric="m", better="lower", status="done")
    best = benchmark.best(results, "m", over="aligner")
    assert set(best.loc[best["best"], "method"]) == {"p", "q"}
    (note,) = findings.aligners(benchmark.compare(results, "m", "p", over="aligner"), best, "m")
    assert note.text == "Aligners, by m and over all learners: p leads."
    assert note.points == (
        "Shown to be worse, by intervals widened for their number: q",
        "None has the best mean on every data set: p on x, z, q on y (p not told apart on it)",
    )
    same = results.assign(
        value=results["value"].where(results["aligner"] == "p", 0.15 + 0.1 * rng.normal(size=24))
    )
    (note,) = findings.aligners(
        benchmark.compare(same, "m", "p", over="aligner"), best[best["method"] == "p"], "m"
    )
    assert note.points[0] == "Not told apart from it: q"


# -- writing, and bad input --------------------------------------------------------------------------------------


@pytest.fixture
def undone(few_results):
    """Results of which everything failed: a page without pictures, made in no time."""
    return few_results.assign(status="failed", metric="", value=np.nan, error="no")


def test_the_page_is_written_as_a_whole_or_not_at_all(undone, tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    page = benchmark_report(undone, path)
    assert path.read_text(encoding="utf-8") == page
    path.write_text("earlier")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("scgroove._html.os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        benchmark_report(undone, path)
    assert path.read_text() == "earlier"
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]
    monkeypatch.undo()
    with pytest.raises(FileNotFoundError):
        benchmark_report(undone, tmp_path / "no" / "report.html")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"reference": "ps_logistic"},
            KeyError,
            r"learner of these results \(reference\) 'ps_logistic'\..*'ps_logistic_scaled'",
        ),
        ({"metrics": ["foscttm"]}, KeyError, r"unknown metric of these results 'foscttm'"),
        ({"level": 95}, ValueError, r"level must be "),
    ],
)
def test_messages(options, error, message, few_results):
    with pytest.raises(error, match=message):
        benchmark_report(few_results, **options)
    with pytest.raises(TypeError, match="expected the table of results"):
        benchmark_report([few_results])
