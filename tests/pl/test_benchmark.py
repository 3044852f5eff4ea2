"""Figures of a benchmark: what they show is what the statistics say."""

import warnings

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex, to_rgb

from scgroove import benchmark, pl
from scgroove.benchmark._drawing import (
    BETTER_COLOR,
    SAME_COLOR,
    WORSE_COLOR,
    metric_meaning,
    metric_title,
    number,
    p_text,
)
from scgroove.errors import ResultsWarning

mpl.use("Agg")

BARY = "barycentric_foscttm_within_label"
FOS = "foscttm_within_label"


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


@pytest.fixture(autouse=True)
def quiet():
    """What is missing in the results is said by the statistics, and tested there."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResultsWarning)
        yield


def texts(ax):
    return [text.get_text() for text in ax.texts if text.get_text()]


# -- heatmap -----------------------------------------------------------------------------------------------------


@pytest.fixture
def one(benchmark_results):
    """One data set, four learners: one fails with coot, one has no common space, one fails in a seed."""
    names = ["groove", "ps_mlp", "pca", "oracle_latent"]
    rows = benchmark_results["learner"].isin(names) & benchmark_results["aligner"].isin(
        ["", "eot", "coot"]
    )
    return benchmark_results[rows & (benchmark_results["data"] == "rho 0")]


def test_heatmap_shows_means_and_half_widths(one):
    (ax,) = pl.benchmark_heatmap(one, BARY)
    summary = benchmark.summarize(one, BARY).set_index(["learner", "aligner"])
    row = summary.loc[("groove", "eot")]
    half = number((row["high"] - row["low"]) / 2)
    assert f"{number(row['mean'])}\n± {half}" in texts(ax)
    assert [t.get_text() for t in ax.get_xticklabels()] == ["coot", "eot"]
    names = [t.get_text() for t in ax.get_yticklabels()]
    assert names[0] == "groove"
    assert names[-1] == "oracle_latent"
    assert ax.get_yticklabels()[-1].get_style() == "italic"
    assert ax.get_title(loc="left") == "rho 0"


def test_heatmap_says_what_failed_and_what_was_skipped(one):
    (ax,) = pl.benchmark_heatmap(one, BARY)
    places = {t.get_text(): t.get_position() for t in ax.texts}
    names = [t.get_text() for t in ax.get_yticklabels()]
    assert places["failed"] == (0.5, names.index("ps_mlp") + 0.5)  # with coot, the first column
    assert texts(ax).count("–") == 1  # pca with eot
    legend = [t.get_text() for t in ax.figure.legends[0].get_texts()]
    assert "–  skipped" in legend


def test_heatmap_marks_the_best_and_what_is_not_told_apart_from_it(one):
    (ax,) = pl.benchmark_heatmap(one, BARY)
    frames = [p.get_linewidth() for p in ax.patches if not p.get_fill()]
    methods = one[one["learner"] != "oracle_latent"]
    best = benchmark.best(methods, BARY)
    near = (~best["best"] & ~best["told_apart"]).sum()
    assert frames.count(2.2) == 1
    assert frames.count(1.0) == near
    thick = next(p for p in ax.patches if not p.get_fill() and p.get_linewidth() == 2.2)
    assert thick.get_y() == pytest.approx(0.04)  # groove in the first row, not the oracle


def test_heatmap_counts_seeds_that_are_missing(benchmark_results):
    rows = benchmark_results[benchmark_results["data"] == "rho 1"]
    (ax,) = pl.benchmark_heatmap(rows, BARY, learners=["davae"], aligners=["eot"])
    assert any(text.endswith("4/5") for text in texts(ax))
    assert [t.get_text() for t in ax.get_yticklabels()] == ["davae"]


def test_heatmap_of_representations_has_a_column_for_each_data_set(benchmark_results):
    (ax,) = pl.benchmark_heatmap(benchmark_results, FOS)
    assert [t.get_text() for t in ax.get_xticklabels()] == ["rho 0", "rho 0.5", "rho 1"]
    names = [t.get_text() for t in ax.get_yticklabels()]
    assert names[-2:] == ["pca", "oracle_latent"]


def test_heatmap_blanks_what_was_not_run(few_results):
    rows = few_results[~((few_results["learner"] == "groove") & (few_results["aligner"] == "eot"))]
    (ax,) = pl.benchmark_heatmap(rows, BARY, data=["rho 0"], aligners=["eot", "egw"])
    names = [t.get_text() for t in ax.get_yticklabels()]
    at = [t.get_text() for t in ax.texts if t.get_position() == (0.5, names.index("groove") + 0.5)]
    assert at in ([], [""])


def test_heatmap_of_one_seed(few_results):
    lonely = few_results[few_results["seed"] == 0]
    (ax,) = pl.benchmark_heatmap(lonely, BARY, data=["rho 1"], aligners=["eot"])
    assert sum(text.endswith("one seed") for text in texts(ax)) == 3


# -- curves ------------------------------------------------------------------------------------------------------


def test_curves_show_means_intervals_chance_and_limit(few_results):
    (ax,) = pl.benchmark_curves(few_results, FOS)
    lines = {
        line.get_label(): line for line in ax.get_lines() if not line.get_label().startswith("_")
    }
    assert {"groove", "ps_logistic_scaled", "oracle_latent", "chance"} <= set(lines)
    summary = benchmark.summarize(few_results, FOS).set_index(["learner", "data"])
    expected = summary.loc["groove", "mean"][["rho 0", "rho 0.5", "rho 1"]]
    np.testing.assert_allclose(lines["groove"].get_xydata(), np.c_[[0, 0.5, 1], expected])
    np.testing.assert_allclose(lines["chance"].get_ydata(), 0.5)
    assert lines["oracle_latent"].get_linestyle() == "--"
    bands = {tuple(np.round(c.get_paths()[0].get_extents().intervaly, 6)) for c in ax.collections}
    low, high = summary.loc["groove", ["low", "high"]].to_numpy().T
    assert (round(low.min(), 6), round(high.max(), 6)) in bands
    assert (0.488, 0.512) in bands  # chance, two standard deviations


def test_curves_have_a_panel_for_each_aligner_and_family(few_results):
    axes = pl.benchmark_curves(few_results, BARY, aligners=["eot", "egw unlabeled"])
    assert [ax.get_title(loc="left") for ax in axes] == ["eot", "egw unlabeled"]
    counts = few_results.assign(data="counts, " + few_results["data"], n_labels=7.0)
    both = pd.concat([few_results, counts])
    titles = [ax.get_title(loc="left") for ax in pl.benchmark_curves(both, FOS)]
    assert titles == ["counts, rho", "rho"]


def test_lines_have_one_look_in_all_figures(benchmark_results):
    first = pl.benchmark_curves(benchmark_results, FOS)[0]
    second = pl.benchmark_curves(benchmark_results, BARY, aligners=["egw"])[0]
    looks = [
        {
            line.get_label(): (line.get_color(), line.get_marker())
            for line in ax.get_lines()
            if line.get_label()[0] != "_"
        }
        for ax in (first, second)
    ]
    shared = looks[0].keys() & looks[1].keys()
    assert len(shared) > 9
    assert all(looks[0][name] == looks[1][name] for name in shared)


# -- ranks -------------------------------------------------------------------------------------------------------


def test_critical_difference_diagram(benchmark_results):
    methods = benchmark_results[benchmark_results["learner"] != "oracle_latent"]
    ranks = benchmark.ranks(methods, FOS)
    (ax,) = pl.benchmark_critical_difference(benchmark_results, FOS)
    (same,) = pl.benchmark_critical_difference(ranks)
    assert texts(ax) == texts(same)
    shown = " ".join(texts(ax))
    for name, rank in ranks.table[["method", "mean_rank"]].itertuples(index=False):
        assert name in shown
        assert f"{rank:.2f}" in shown
    assert "oracle" not in shown
    bars = [line for line in ax.get_lines() if line.get_linewidth() == 3.2]
    assert len(bars) == len(ranks.cliques)
    places = ranks.table.set_index("method")["mean_rank"]
    for bar, clique in zip(bars, ranks.cliques, strict=True):
        ends = places[list(clique)]
        np.testing.assert_allclose(bar.get_xdata(), [ends.min() - 0.06, ends.max() + 0.06])
    assert f"critical difference {ranks.critical_difference:.2f}" in shown
    assert "14 blocks" in shown
    assert "1 dropped" in shown


def test_a_difference_longer_than_the_line_is_said(few_results):
    rows = few_results[
        (few_results["learner"] != "oracle_latent") & (few_results["data"] == "rho 1")
    ]
    (ax,) = pl.benchmark_critical_difference(rows[rows["seed"] == 0], FOS)
    assert any("no two can differ" in text for text in texts(ax))


# -- differences -------------------------------------------------------------------------------------------------


def test_intervals_are_colored_by_verdict(benchmark_results):
    table = benchmark.compare(benchmark_results, FOS, "ps_logistic_scaled")
    axes = pl.benchmark_intervals(benchmark_results, FOS, "ps_logistic_scaled")
    titles = [ax.get_title(loc="left") for ax in axes]
    assert titles[0] == "rho 0\n5 seeds"
    assert titles[3:] == ["all of these\n5 seeds", "across data sets\n3 data sets"]
    here = table[(table["scope"] == "data set") & (table["data"] == "rho 1")].set_index("candidate")
    names = [t.get_text() for t in axes[0].get_yticklabels()]
    colors = {"better": BETTER_COLOR, "worse": WORSE_COLOR, "no difference shown": SAME_COLOR}
    points = {line.get_ydata()[0]: line for line in axes[2].get_lines() if line.get_marker() == "o"}
    assert len(points) == len(names) - 1  # the oracle is off the scale
    for y, line in points.items():
        row = here.loc[names[int(y)]]
        assert line.get_xdata()[0] == pytest.approx(row["mean"])
        assert to_hex(line.get_color()).upper() == colors[row["verdict"]].upper()
        if row["low"] <= 0 <= row["high"]:
            assert to_hex(line.get_color()).upper() == SAME_COLOR.upper()
    assert names[-1] == "oracle_latent"
    assert any("→" in text for text in texts(axes[2]))


def test_intervals_of_a_table_and_of_one_seed(few_results):
    lonely = few_results[(few_results["seed"] == 0) & (few_results["data"] == "rho 1")]
    table = benchmark.compare(lonely, FOS, "ps_logistic_scaled")
    (ax,) = pl.benchmark_intervals(table)
    point = next(line for line in ax.get_lines() if line.get_marker() == "o")
    assert to_rgb(point.get_markerfacecolor()) == (1, 1, 1)
    assert to_hex(point.get_color()).upper() == SAME_COLOR.upper()


# -- cost --------------------------------------------------------------------------------------------------------


def test_cost_shows_the_front(benchmark_results):
    methods = benchmark_results[benchmark_results["learner"] != "oracle_latent"]
    table = benchmark.costs(methods, FOS)
    seconds, memory = pl.benchmark_cost(benchmark_results, FOS)
    assert {seconds.get_xscale(), memory.get_xscale()} == {"log"}
    front = table[table["front_seconds"]].sort_values("seconds")
    line = next(line for line in seconds.get_lines() if line.get_drawstyle() == "steps-post")
    np.testing.assert_allclose(line.get_xydata(), front[["seconds", "mean"]])
    legend = [t.get_text() for t in seconds.figure.legends[0].get_texts()]
    assert "groove" in legend
    assert "oracle_latent" not in legend
    bottom, top = seconds.get_ylim()
    assert bottom > top  # lower is better: the best at the top


# -- conventions and bad input -----------------------------------------------------------------------------------

CALLS = {
    "heatmap": (lambda r, **o: pl.benchmark_heatmap(r, BARY, data=["rho 1"], **o), 1),
    "curves": (lambda r, **o: pl.benchmark_curves(r, FOS, **o), 1),
    "ranks": (lambda r, **o: pl.benchmark_critical_difference(r, BARY, over="aligner", **o), 1),
    "intervals": (
        lambda r, **o: pl.benchmark_intervals(r[r["data"] == "rho 1"], FOS, "groove", **o),
        1,
    ),
    "cost": (lambda r, **o: pl.benchmark_cost(r, FOS, **o), 2),
}


@pytest.mark.parametrize("name", CALLS)
def test_save_return_fig_and_given_axes(name, few_results, tmp_path):
    call, n = CALLS[name]
    before = few_results.copy()
    fig = call(few_results, return_fig=True, save=tmp_path / "figure.png")
    assert isinstance(fig, mpl.figure.Figure)
    assert (tmp_path / "figure.png").stat().st_size > 5000
    _, own = plt.subplots(1, n, squeeze=False)
    assert call(few_results, ax=list(own[0])) == list(own[0])
    _, wrong = plt.subplots(1, n + 1)
    with pytest.raises(ValueError, match=rf"but ax holds {n + 1} axes"):
        call(few_results, ax=list(wrong))
    pd.testing.assert_frame_equal(few_results, before)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda r: pl.benchmark_heatmap(r, "foscttm_within_labels"), KeyError, r"Did you mean 'foscttm_within_label'\?"),
        (lambda r: pl.benchmark_heatmap(r, BARY, learners=["grove"]), KeyError, r"'grove'.*Did you mean 'groove'\?"),
        (lambda r: pl.benchmark_heatmap(r, BARY, aligners=["eott"]), KeyError, r"unknown aligner .*'eott'"),
        (lambda r: pl.benchmark_heatmap(r, BARY, data=["rho1"]), KeyError, r"'rho1'.*Did you mean 'rho 1'\?"),
        (lambda r: pl.benchmark_curves(r, FOS, "roh"), KeyError, r"'roh'.*Did you mean 'rho'\?"),
        (lambda r: pl.benchmark_curves(r, FOS, "n_labels"), ValueError, r"no two data sets differ in 'n_labels' alone"),
        (lambda r: pl.benchmark_curves(r.replace({"rho": {0.5: 1.0}}), FOS), ValueError, r"'rho 0.5', 'rho 1' have the same 'rho' and differ in something"),
        (lambda r: pl.benchmark_critical_difference(r), ValueError, r"Name the metric to rank by"),
        (lambda r: pl.benchmark_intervals(r), ValueError, r"Name the metric and the reference"),
        (lambda r: pl.benchmark_intervals(r, FOS, "grove"), KeyError, r"Did you mean 'groove'\?"),
        (lambda r: pl.benchmark_intervals(benchmark.compare(r, FOS, "groove").drop(columns="low")), ValueError, r"the table lacks \['low'\]"),
        (lambda r: pl.benchmark_cost(r.drop(columns=["fit_seconds", "fit_memory_mb"]), FOS), ValueError, r"neither seconds nor memory"),
    ],
)  # fmt: skip
def test_messages(call, error, message, few_results):
    with pytest.raises(error, match=message):
        call(few_results)


def test_how_numbers_are_written():
    shown = [number(v) for v in (0.1234, -1.5, 12.345, 123.4, 1234.5, np.nan)]
    assert shown == ["0.123", "−1.500", "12.35", "123.4", "1,234", "–"]
    shown = [p_text(p) for p in (1e-6, 0.00061, 0.0625, 0.4375, 1.0, np.nan)]
    assert shown == ["< 0.0001", "0.00061", "0.0625", "0.438", "1", "–"]
    assert metric_title("my_metric") == "my metric"
    assert metric_meaning("my_metric") == ""
