"""Ranks: against scipy, the table of Demsar (2006), and by hand."""

import itertools
import math
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from scgroove import benchmark
from scgroove.benchmark._compare import critical_difference
from scgroove.errors import ResultsWarning


def table(values, *, better="lower"):
    rows = [
        dict(zip(("data", "learner", "aligner", "seed"), key, strict=True), value=value)
        for key, value in values.items()
    ]
    return pd.DataFrame(rows).assign(metric="m", better=better, status="done")


def grid(rows, names="abcdefgh"):
    """Results of one data set a row, a learner a column."""
    return table(
        {(f"d{i}", names[j], "", 0): v for i, row in enumerate(rows) for j, v in enumerate(row)}
    )


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        (0.95, [1.960, 2.343, 2.569, 2.728, 2.850, 2.949, 3.031, 3.102, 3.164]),
        (0.90, [1.645, 2.052, 2.291, 2.459, 2.589, 2.693, 2.780, 2.855, 2.920]),
    ],
)
def test_critical_difference_agrees_with_the_table_of_demsar(level, expected):
    """Table 5(a): q for 2 to 10 methods; the table itself is rounded, in its last digit not always correctly."""
    for k, q in enumerate(expected, start=2):
        n = 14
        by_hand = q * math.sqrt(k * (k + 1) / (6 * n))
        assert critical_difference(k, n, level) == pytest.approx(by_hand, rel=6e-4)


def test_ranks_by_hand():
    found = benchmark.ranks(
        grid([[0.1, 0.2, 0.3], [0.2, 0.2, 0.4], [0.5, 0.1, 0.6], [0.1, 0.3, 0.2]]), "m"
    )
    assert found.table["method"].tolist() == ["a", "b", "c"]
    assert found.table["mean_rank"].tolist() == [
        (1 + 1.5 + 2 + 1) / 4,
        (2 + 1.5 + 1 + 3) / 4,
        (3 + 3 + 3 + 2) / 4,
    ]
    assert found.table["mean"].tolist() == pytest.approx([0.225, 0.2, 0.375])
    assert (found.n_blocks, found.n_dropped, found.left_out) == (4, 0, ())
    assert found.critical_difference == pytest.approx(2.343 * math.sqrt(12 / 24), rel=1e-3)
    assert found.cliques == (("a", "b", "c"),)


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 9), st.integers(3, 6), st.integers(0, 10_000), st.booleans())
def test_friedman_agrees_with_scipy(n, k, seed, ties):
    values = np.random.default_rng(seed).normal(size=(n, k))
    values = np.round(values) if ties else values
    p = benchmark.ranks(grid(values, "abcdefgh"[:k]), "m").p
    if np.ptp(stats.rankdata(values, axis=1), axis=1).max() == 0:
        assert p == 1.0
        return
    assert p == pytest.approx(stats.friedmanchisquare(*values.T).pvalue)


def test_cliques_where_methods_differ():
    """Twenty blocks in which a and b take turns before c, and d is always last: CD 1.049."""
    rows = [[1, 2, 3, 4], [2, 1, 3, 4]] * 10
    found = benchmark.ranks(grid(rows), "m")
    assert found.p < 1e-9
    assert found.critical_difference == pytest.approx(1.0488, abs=1e-3)
    assert found.cliques == (("a", "b"), ("c", "d"))
    flat = benchmark.ranks(grid(rows * 4), "m")
    assert flat.critical_difference < 1
    assert flat.cliques == (("a", "b"),)


def test_cliques_may_overlap():
    rows = [[1, 2, 3], [1, 3, 2], [2, 1, 3], [1, 2, 3]] * 3
    found = benchmark.ranks(grid(rows), "m")
    assert found.table["mean_rank"].tolist() == [1.25, 2.0, 2.75]
    assert 0.75 < found.critical_difference < 1.5
    assert found.cliques == (("a", "b"), ("b", "c"))


def test_higher_is_better_turns_the_ranks():
    rows = [[0.1, 0.2, 0.4], [0.1, 0.3, 0.5]]
    low = benchmark.ranks(grid(rows), "m").table["method"].tolist()
    high = benchmark.ranks(grid(rows).assign(better="higher"), "m").table["method"].tolist()
    assert low == high[::-1] == ["a", "b", "c"]


def test_incomplete_blocks_are_dropped_and_counted():
    results = grid([[1, 2, 3], [1, 2, 3], [3, 2, 1], [1, 2, np.nan]])
    results = results[results["value"].notna()]
    with pytest.warns(
        ResultsWarning, match=r"1 of 4 blocks dropped, in which not everything was scored"
    ):
        found = benchmark.ranks(results, "m")
    assert (found.n_blocks, found.n_dropped) == (3, 1)


def test_a_method_with_few_blocks_is_left_out_and_named():
    results = grid([[1, 2, 3], [1, 2, np.nan], [1, 2, np.nan], [1, 2, np.nan]])
    results = results[results["value"].notna()]
    with pytest.warns(ResultsWarning, match=r"'c' left out, scored in too few cells"):
        found = benchmark.ranks(results, "m")
    assert (found.left_out, found.n_blocks) == (("c",), 4)
    with pytest.warns(ResultsWarning, match="3 of 4 blocks dropped"):
        assert benchmark.ranks(results, "m", min_share=0).n_blocks == 1


def test_learners_are_ranked_by_the_aligners_they_share():
    """b lacks the aligner on which all are good: it is not ranked against it."""
    values = {("d", le, "p", s): v for s in range(2) for le, v in (("a", 0.5), ("b", 0.4))}
    values |= {("d", "a", "q", s): 0.1 for s in range(2)}
    with pytest.warns(
        ResultsWarning, match="nothing used of 'q', with which not everything was scored"
    ):
        found = benchmark.ranks(table(values), "m")
    assert found.table["method"].tolist() == ["b", "a"]
    assert found.table["mean"].tolist() == [0.4, 0.5]
    assert found.unused == ("q",)


def test_a_learner_that_lacks_many_aligners_can_be_left_out_for_them():
    values = {
        ("d", le, a, 0): 0.5 + i
        for i, le in enumerate("abc")
        for a in "pqrs"
        if le != "c" or a in "pq"
    }
    with pytest.warns(ResultsWarning, match="'c' left out"):
        found = benchmark.ranks(table(values), "m", min_share=0.6)
    assert (found.left_out, found.unused) == (("c",), ())


def test_aligners_methods_and_blocks_of_data():
    keys = itertools.product(("x", "y"), "ab", "pq", range(3))
    rng = np.random.default_rng(0)
    results = table({k: {"p": 0.1, "q": 0.5}[k[2]] + 0.01 * rng.random() for k in keys})
    found = benchmark.ranks(results, "m", over="aligner")
    assert found.table["mean_rank"].tolist() == [1.0, 2.0]
    assert found.n_blocks == 6
    assert set(benchmark.ranks(results, "m", over="method").table["method"]) == {
        "a + p",
        "a + q",
        "b + p",
        "b + q",
    }


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000))
def test_order_of_rows_and_a_constant_change_nothing(seed):
    rng = np.random.default_rng(seed)
    results = grid(np.round(rng.normal(size=(5, 4)), 1))
    expected = benchmark.ranks(results, "m")
    for other in (
        results.sample(frac=1, random_state=seed),
        results.assign(value=results["value"] + 0.3),
    ):
        found = benchmark.ranks(other, "m")
        np.testing.assert_array_equal(
            found.table[["method", "mean_rank"]], expected.table[["method", "mean_rank"]]
        )
        assert found.cliques == expected.cliques
        assert found.p == pytest.approx(expected.p)


def test_ranks_by_data_set_by_hand():
    """On x, a is first with one seed and tied with b on the other; on y, c is first and a last."""
    values = {
        ("x", 0): (1.0, 2.0, 3.0), ("x", 1): (1.0, 1.0, 3.0), ("y", 0): (3.0, 2.0, 1.0), ("y", 1): (9.0, 2.0, 1.0),
    }  # fmt: skip
    results = table(
        {
            (d, le, "", s): v
            for (d, s), each in values.items()
            for le, v in zip("abc", each, strict=True)
        }
    )
    found = benchmark.ranks(results, "m")
    by_data = found.by_data()
    assert by_data.index.tolist() == found.table["method"].tolist() == ["b", "c", "a"]
    assert by_data.columns.tolist() == ["x", "y"]
    assert by_data.loc["a"].tolist() == [1.25, 3.0]
    assert by_data.loc["b"].tolist() == [1.75, 2.0]
    assert by_data.loc["c"].tolist() == [3.0, 1.0]
    np.testing.assert_allclose(by_data.mean(axis=1), found.table["mean_rank"])
    assert found.in_blocks.loc[("x", 1)].to_dict() == {"a": 1.5, "b": 1.5, "c": 3.0}


def test_ranks_by_data_set_are_over_the_aligners_that_all_share():
    """Learners are ranked by their means over aligners: a is better with p by more than it is worse with q."""
    values = {
        ("x", "a", "p", 0): 0.0,
        ("x", "b", "p", 0): 1.0,
        ("x", "a", "q", 0): 0.5,
        ("x", "b", "q", 0): 0.0,
    }
    values |= {("y", le, al, 0): v for le, v in (("a", 1.0), ("b", 0.0)) for al in "pq"}
    by_data = benchmark.ranks(table(values), "m").by_data()
    assert by_data.to_dict() == {"x": {"a": 1.0, "b": 2.0}, "y": {"a": 2.0, "b": 1.0}}


def test_a_data_set_without_a_full_block_has_no_ranks():
    results = grid([[1, 2], [2, 1], [1, np.nan]])
    with pytest.warns(ResultsWarning, match="1 of 3 blocks dropped"):
        found = benchmark.ranks(results[results["value"].notna()], "m")
    assert found.by_data().columns.tolist() == ["d0", "d1"]


def test_all_tied():
    found = benchmark.ranks(grid([[1.0, 1.0, 1.0]] * 4), "m")
    assert found.p == 1.0
    assert found.table["mean_rank"].tolist() == [2.0] * 3


@pytest.mark.parametrize(
    ("results", "message"),
    [
        (grid([[1.0], [2.0]]), r"ranks need at least two of learner.*found \['a'\]"),
        (
            table({("d", "a", "p", 0): 1.0, ("d", "b", "q", 0): 1.0}),
            r"no block in which all of learner were scored\. Most are missing for 'a' \(1 of 2\).*over='method'",
        ),
    ],
)
def test_messages(results, message):
    with pytest.raises(ValueError, match=message):
        benchmark.ranks(results, "m")


def test_complete_grids_warn_of_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        benchmark.ranks(grid([[1, 2], [1, 2]]), "m")
