"""Means with intervals, gaps closed, costs, and what was not done: against hand computations and a simulation."""

import math
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from scgroove import benchmark
from scgroove.benchmark._table import families, varied_parameters
from scgroove.errors import ResultsWarning


def table(values, *, better="lower", metric="m", **fixed):
    """Results from {(data, learner, aligner, seed): value}."""
    rows = [
        dict(zip(("data", "learner", "aligner", "seed"), key, strict=True), value=value)
        for key, value in values.items()
    ]
    filled = {
        "chance": 0.5,
        "chance_sd": 0.01,
        "perfect": 0.0,
        "status": "done",
        "error": "",
        **fixed,
    }
    return pd.DataFrame(rows).assign(metric=metric, better=better, **filled)


def one(values, **fixed):
    """Results of one learner on one data set, a value a seed."""
    return table({("d", "l", "", seed): value for seed, value in enumerate(values)}, **fixed)


def undone(data, learner, aligner, seed, status="failed", error="ValueError: no"):
    row = {
        "data": data,
        "learner": learner,
        "aligner": aligner,
        "seed": seed,
        "metric": "",
        "value": np.nan,
    }
    return pd.DataFrame([{**row, "better": "", "status": status, "error": error}])


# -- summaries ---------------------------------------------------------------------------------------------------


def test_t_interval_by_hand():
    values = np.array([0.30, 0.34, 0.31, 0.37, 0.33])
    row = benchmark.summarize(one(values), "m").iloc[0]
    # the 97.5 % quantile of t with 4 degrees of freedom is 2.776 in every textbook
    half = 2.776445 * values.std(ddof=1) / math.sqrt(5)
    assert row["mean"] == pytest.approx(0.33)
    assert row["sd"] == pytest.approx(0.0273861, rel=1e-5)
    assert row["n_seeds"] == 5
    assert (row["low"], row["high"]) == pytest.approx((0.33 - half, 0.33 + half), rel=1e-6)
    assert row["interval"] == "t"
    assert (row["chance"], row["perfect"], row["better"]) == (0.5, 0.0, "lower")
    assert row["chance_sd"] == pytest.approx(0.01)


@pytest.mark.parametrize("level", [0.8, 0.95, 0.99])
def test_t_interval_agrees_with_scipy(level):
    values = np.random.default_rng(0).gamma(2, size=7)
    row = benchmark.summarize(one(values), "m", level=level).iloc[0]
    expected = stats.ttest_1samp(values, 0).confidence_interval(level)
    assert (row["low"], row["high"]) == pytest.approx(tuple(expected))


def test_one_seed_has_no_interval_and_says_so():
    results = table({("d", "l", "", 0): 1.0, ("d", "k", "", 0): 2.0, ("d", "k", "", 1): 3.0})
    with pytest.warns(
        ResultsWarning, match=r"1 of 2 groups has a single seed, hence no interval\. Run more"
    ):
        found = benchmark.summarize(results, "m").set_index("learner")
    assert found.loc["l", ["low", "high", "sd"]].isna().all()
    assert found.loc["l", "interval"] == "none (one seed)"
    assert found.loc["k", "low"] < found.loc["k", "mean"] < found.loc["k", "high"]


def test_values_of_a_seed_are_averaged_before_the_interval():
    """Four aligners of one seed are not four repetitions."""
    keys = [("d", "l", a, s) for a in ("p", "q") for s in range(3)]
    results = table(dict(zip(keys, [1.0, 2.0, 3.0, 5.0, 6.0, 7.0], strict=True)))
    row = benchmark.summarize(results, "m", by=["data", "learner"]).iloc[0]
    expected = stats.ttest_1samp([3.0, 4.0, 5.0], 0).confidence_interval(0.95)
    assert row["n_seeds"] == 3
    assert (row["low"], row["high"]) == pytest.approx(tuple(expected))


def test_a_group_that_lacks_cells_in_a_seed_is_named():
    results = table({("d", "l", "p", 0): 1.0, ("d", "l", "q", 0): 2.0, ("d", "l", "p", 1): 3.0})
    with pytest.warns(
        ResultsWarning, match=r"1 group of 1 average different numbers.*'d, l': between 1 and 2"
    ):
        benchmark.summarize(results, "m", by=["data", "learner"])


def test_values_that_are_not_defined_are_said_and_left_out():
    results = one([1.0, np.nan, 3.0, np.inf])
    with pytest.warns(
        ResultsWarning,
        match=r"not defined .* in 2 of 4 cells, among them data 'd', learner 'l', seed 1",
    ):
        row = benchmark.summarize(results, "m").iloc[0]
    assert (row["mean"], row["n_seeds"]) == (2.0, 2)


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_order_of_rows_does_not_matter(seed):
    rng = np.random.default_rng(seed)
    keys = [(d, le, a, s) for d in "xy" for le in "kl" for a in ("", "p") for s in range(3)]
    results = table(dict(zip(keys, rng.normal(size=len(keys)), strict=True)))
    shuffled = results.sample(frac=1, random_state=seed % 1000)
    pd.testing.assert_frame_equal(
        benchmark.summarize(shuffled, "m"), benchmark.summarize(results, "m")
    )
    expected = benchmark.gap_closed(results, "m", ceiling="perfect")
    pd.testing.assert_frame_equal(benchmark.gap_closed(shuffled, "m", ceiling="perfect"), expected)


# -- gaps --------------------------------------------------------------------------------------------------------


def test_gap_closed_by_hand():
    results = table(
        {
            ("d", "l", "", 0): 0.3,
            ("d", "l", "", 1): 0.2,
            ("d", "oracle_latent", "", 0): 0.1,
            ("d", "oracle_latent", "", 1): 0.09,
        }
    )
    row = benchmark.gap_closed(results, "m").iloc[0]
    assert (row["learner"], row["floor"], row["ceiling"]) == ("l", "chance", "oracle_latent")
    assert row["mean"] == pytest.approx((0.2 + 0.3) / (0.4 + 0.41))
    assert row["gap"] == pytest.approx(0.405)
    row = benchmark.gap_closed(results, "m", ceiling="perfect").set_index("learner").loc["l"]
    assert row["mean"] == pytest.approx(0.25 / 0.5)


def test_share_of_the_gap_has_the_interval_of_fieller():
    """r is in it where a t test of gone - r gap does not refuse 0: the definition, looked up on a grid."""
    rng = np.random.default_rng(3)
    gone, gap = 0.2 + 0.03 * rng.normal(size=6), 0.4 + 0.05 * rng.normal(size=6)
    values = {("d", "l", "", s): 0.5 - g for s, g in enumerate(gone)} | {
        ("d", "oracle_latent", "", s): 0.5 - g for s, g in enumerate(gap)
    }
    row = benchmark.gap_closed(table(values), "m").iloc[0]
    kept = [
        r for r in np.linspace(0, 1, 4001) if stats.ttest_1samp(gone - r * gap, 0).pvalue >= 0.05
    ]
    assert (row["low"], row["high"]) == pytest.approx((kept[0], kept[-1]), abs=5e-4)
    assert row["mean"] == pytest.approx(gone.mean() / gap.mean())


def test_no_share_where_no_gap_is_shown():
    values = {("d", "l", "", s): 0.45 for s in range(4)} | {
        ("d", "oracle_latent", "", s): v for s, v in enumerate([0.4, 0.55, 0.45, 0.52])
    }
    row = benchmark.gap_closed(table(values), "m").iloc[0]
    assert np.isnan(row["mean"])
    assert row["interval"] == "none (no gap shown)"


def test_what_repeats_itself_has_no_interval():
    values = {("d", "l", "", s): 0.4995 + 1e-9 * s for s in range(5)}
    row = benchmark.summarize(table(values), "m").iloc[0]
    assert np.isnan(row["low"])
    assert row["interval"] == "none (same in every seed)"


def test_the_best_aligner_is_found_among_the_learners_that_all_can_use():
    """coot beats eot with both learners, and is alone on two hard ones."""
    noise = [0.0, 0.01, 0.02]
    values = {
        ("d", le, a, s): {"k": 0.2, "l": 0.25, "pca": 0.45, "lda": 0.5}[le] + (0.03 if a == "eot" else 0.0) + noise[s]
        for le in ("k", "l", "pca", "lda") for a in ("eot", "coot") for s in range(3) if a == "coot" or le in "kl"
    }  # fmt: skip
    found = benchmark.best(table(values), "m", over="aligner").set_index("method")
    assert found["best"].to_dict() == {"coot": True, "eot": False}
    assert found.loc["coot", "mean"] == pytest.approx(0.235)


def test_gap_above_a_baseline_where_higher_is_better():
    values = {
        ("d", le, "p", s): v + s
        for le, v in (("base", 10.0), ("l", 13.0), ("top", 16.0))
        for s in range(2)
    }
    found = benchmark.gap_closed(table(values, better="higher"), "m", floor="base", ceiling="top")
    assert found["learner"].tolist() == ["l"]
    assert found["mean"].iloc[0] == pytest.approx(0.5)


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 1000), st.floats(0.1, 10), st.floats(-5, 5), st.booleans())
def test_gap_closed_knows_no_scale_and_no_direction(seed, scale, shift, flip):
    rng = np.random.default_rng(seed)
    keys = [("d", le, "", s) for le in ("l", "base", "top") for s in range(3)]
    values = {k: {"l": 0.5, "base": 1.0, "top": 0.0}[k[1]] + 0.05 * rng.normal() for k in keys}
    plain = benchmark.gap_closed(table(values), "m", floor="base", ceiling="top")
    sign = -1 if flip else 1
    moved = table(
        {k: sign * scale * v + shift for k, v in values.items()},
        better="higher" if flip else "lower",
    )
    again = benchmark.gap_closed(moved, "m", floor="base", ceiling="top")
    np.testing.assert_allclose(
        again[["mean", "low", "high"]], plain[["mean", "low", "high"]], atol=1e-9
    )


# -- the best, and cost ------------------------------------------------------------------------------------------


def test_best_and_those_not_told_apart_from_it():
    noise = np.array([-0.02, 0.01, 0.03, -0.01, 0.0])
    values = {("d", "good", "p", s): 0.10 for s in range(5)}
    values |= {("d", "near", "p", s): 0.11 + noise[s] for s in range(5)}
    values |= {("d", "bad", "p", s): 0.40 + noise[s] for s in range(5)}
    values |= {("d", "lucky", "p", 0): 0.01}
    found = benchmark.best(table(values), "m").set_index("method")
    assert found.index[found["best"]].tolist() == ["good + p"]
    assert found["told_apart"].to_dict() == {
        "good + p": False,
        "near + p": False,
        "bad + p": True,
        "lucky + p": False,
    }
    assert found.loc["lucky + p", "n_seeds"] == 1


def test_costs_and_the_front():
    values = {
        ("d", le, "p", s): v
        for le, v in (("a", 0.1), ("b", 0.2), ("c", 0.3), ("e", 0.3))
        for s in range(2)
    }
    results = table(values).assign(align_seconds=1.0, align_memory_mb=5.0)
    results["fit_seconds"] = results["learner"].map({"a": 10.0, "b": 3.0, "c": 5.0, "e": 3.0})
    results["fit_memory_mb"] = results["learner"].map({"a": 10.0, "b": 20.0, "c": 1.0, "e": np.nan})
    found = benchmark.costs(results, "m").set_index("learner")
    assert found["seconds"].to_dict() == {"a": 11.0, "b": 4.0, "c": 6.0, "e": 4.0}
    assert found["memory_mb"].to_dict() == {"a": 10.0, "b": 20.0, "c": 5.0, "e": 5.0}
    assert found.index[found["front_seconds"]].tolist() == ["a", "b"]
    assert found.index[found["front_memory"]].tolist() == ["a", "c", "e"]


def test_a_group_that_lacks_cells_is_on_no_front():
    values = {("d", "a", "", s): 0.3 for s in range(2)} | {("d", "b", "", 0): 0.1}
    found = benchmark.costs(table(values, fit_seconds=1.0, fit_memory_mb=1.0), "m").set_index(
        "learner"
    )
    assert found["lacks"].to_dict() == {"a": 0, "b": 1}
    assert found["front_seconds"].to_dict() == {"a": True, "b": False}


# -- what was not done -------------------------------------------------------------------------------------------


def test_failures_are_counted_with_their_first_error():
    results = pd.concat(
        [
            table({("d", "l", "p", s): 1.0 for s in range(3)} | {("d", "k", "p", 0): 1.0}),
            undone("d", "k", "p", 1, error="RuntimeError: diverged"),
            undone("d", "k", "p", 2, error="ValueError: NaN"),
            undone("d", "g", "", 0, "skipped", "not installed"),
            undone("d", "g", "", 1, "skipped", "not installed"),
            undone("d", "g", "", 2, "skipped", "not installed"),
        ]
    )
    found = benchmark.failures(results)
    assert found.to_dict("records") == [
        {
            "learner": "g", "aligner": "", "status": "skipped", "n": 3, "of": 3, "data": "d", "seeds": "0, 1, 2",
            "error": "not installed",
        },
        {
            "learner": "k", "aligner": "p", "status": "failed", "n": 2, "of": 3, "data": "d", "seeds": "1, 2",
            "error": "RuntimeError: diverged (and 1 other error)",
        },
    ]  # fmt: skip


def test_cells_that_were_not_run_are_missing():
    results = table(
        {
            ("d", "l", "p", 0): 1.0,
            ("d", "l", "p", 1): 1.0,
            ("e", "k", "p", 0): 1.0,
            ("e", "k", "q", 0): 1.0,
        }
    )
    found = benchmark.failures(results).set_index(["learner", "aligner"])
    assert set(found["status"]) == {"missing"}
    assert found["n"].to_dict() == {("k", "p"): 2, ("k", "q"): 2, ("l", "p"): 1}
    assert found.loc[("l", "p"), ["data", "seeds", "error"]].tolist() == ["e", "0", "not run"]


def test_nothing_is_missing_below_a_representation_that_failed():
    results = pd.concat(
        [table({("d", "l", a, s): 1.0 for a in ("", "p") for s in (0, 1)}), undone("e", "l", "", 0)]
    )
    found = benchmark.failures(results)
    assert found[found["data"] == "e"]["status"].tolist() == ["failed"]
    complete = table({("d", "l", "p", 0): 1.0})
    assert benchmark.failures(complete).empty
    assert list(benchmark.failures(complete).columns) == list(found.columns)


# -- parameters of data sets -------------------------------------------------------------------------------------


def scenarios(**columns):
    """One row a data set, with its parameters."""
    names = next(iter(columns.values()))
    rows = table({(f"{name}", "l", "", 0): 1.0 for name in names})
    return rows.assign(**{key: rows["data"].map(values) for key, values in columns.items()})


def test_families_differ_in_one_parameter():
    results = scenarios(
        rho={"a, rho 0": 0.0, "a, rho 1": 1.0, "b, rho 0": 0.0, "b, rho 1": 1.0, "c": 1.0},
        n_labels={"a, rho 0": 5, "a, rho 1": 5, "b, rho 0": 9, "b, rho 1": 9, "c": 7},
    )
    assert families(results, "rho") == {
        "a, rho 0": ("a, rho", 0.0),
        "a, rho 1": ("a, rho", 1.0),
        "b, rho 0": ("b, rho", 0.0),
        "b, rho 1": ("b, rho", 1.0),
    }
    assert varied_parameters(results) == {"n_labels": 3, "rho": 2}
    assert {name for name, _ in families(results, "n_labels").values()} == {
        "a, rho 0 … b, rho 0",
        "a, rho 1 … c",
    }


def test_what_differs_in_text_is_no_family():
    """The same rho twice, told apart by a column of text: two families, of which one has a single member."""
    results = scenarios(
        rho={"reference": 1.0, "half": 0.5, "linear": 1.0},
        view={"reference": "tanh", "half": "tanh", "linear": "linear"},
    )
    assert families(results, "rho") == {"half": ("", 0.5), "reference": ("", 1.0)}
    with pytest.raises(
        ValueError, match=r"'linear', 'reference' have the same 'rho' and differ in something"
    ):
        families(results.drop(columns="view"), "rho")
    assert varied_parameters(results.drop(columns="view")) == {}


def test_options_and_what_aligners_say_are_no_parameters():
    keys = [(d, le, a, 0) for d in "xy" for le in "kl" for a in ("", "p")]
    results = table(dict.fromkeys(keys, 1.0))
    results["n_iter"] = np.where(results["aligner"] == "p", 10.0, np.nan)
    results["learner.tau"] = 0.1
    results["rho"] = results["data"].map({"x": 0.0, "y": 1.0})
    assert varied_parameters(results) == {"rho": 2}


# -- bad input ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda r: benchmark.summarize(r, "fosctm"), KeyError, r"'fosctm'\. Did you mean 'foscttm'\?"),
        (lambda r: benchmark.summarize(r, "foscttm", level=95), ValueError, r"level must be "),
        (lambda r: benchmark.summarize(r, "foscttm", by=["learners"]), KeyError, r"Did you mean 'learner'\?"),
        (lambda r: benchmark.summarize(r, "foscttm", by=["seed"]), KeyError, r"unknown column for by 'seed'"),
        (lambda r: benchmark.gap_closed(r, "foscttm", ceiling="oracle"), KeyError, r"unknown learner of these results 'oracle'"),
        (lambda r: benchmark.gap_closed(r.assign(perfect=np.nan), "foscttm", ceiling="perfect"), ValueError, r"has no perfect value"),
        (lambda r: benchmark.summarize(r.drop(columns=["better"]), "foscttm"), ValueError, r"lacks \['better'\]"),
        (lambda r: benchmark.summarize(r.iloc[:0], "foscttm"), ValueError, r"is empty: nothing was run"),
        (lambda r: benchmark.failures([r]), TypeError, r"expected the table of results, a DataFrame.*found list"),
        (lambda r: benchmark.summarize(pd.concat([r, r.assign(rho=1.0)]), "foscttm"), ValueError, r"has 2 values for data 'd', learner 'l', seed 0\. They differ in \['rho'\]"),
        (lambda r: benchmark.summarize(r.assign(better=["lower", "higher"]), "foscttm"), ValueError, r"all rows must have the same better.*\['higher', 'lower'\]"),
        (lambda r: benchmark.summarize(r.assign(status="failed"), "foscttm"), KeyError, r"Available: none"),
    ],
)  # fmt: skip
def test_messages(call, error, message):
    with pytest.raises(error, match=message):
        call(one([1.0, 2.0], metric="foscttm"))


def test_all_undefined_values_are_an_error_that_says_so():
    with pytest.warns(ResultsWarning), pytest.raises(ValueError, match=r"'m' has no finite value"):
        benchmark.summarize(one([np.nan, np.nan]), "m")


def test_the_table_is_left_as_it_is():
    results = one([1.0, 2.0]).iloc[::-1]
    before = results.copy()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        benchmark.summarize(results, "m")
        benchmark.failures(results)
    pd.testing.assert_frame_equal(results, before)
