"""Correlation of imputed and measured values."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from scgroove._report import cell_agreement, label_agreement
from scgroove._report._agreement import correlation


@given(st.integers(0, 2**32 - 1), st.integers(3, 12), st.integers(1, 6))
@settings(max_examples=25, deadline=None)
def test_correlation_is_that_of_numpy(seed, n, d):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(n, d)), rng.normal(size=(n, d))
    expected = [np.corrcoef(x[:, k], y[:, k])[0, 1] for k in range(d)]
    np.testing.assert_allclose(correlation(x, y), expected, atol=1e-10)


def test_correlation_is_not_defined_without_spread_or_with_two_rows():
    assert np.isnan(correlation(np.ones((5, 1)), np.arange(5.0)[:, None])).all()
    assert np.isnan(correlation(np.eye(2), np.eye(2))).all()


@pytest.mark.parametrize("form", [np.asarray, sp.csr_matrix])
def test_label_means_are_compared(form):
    source_labels = np.array(["a", "a", "b", "c", None, "only source"], dtype=object)
    target_labels = np.array(["c", "b", "a", "a", "only target", None], dtype=object)
    imputed = pd.DataFrame(
        {"f": [1.0, 3.0, 5.0, 1.0, 99.0, 99.0], "g": [0.0, 0.0, 1.0, 2.0, 99.0, 99.0]}
    )
    measured = form(
        np.array([[2.0, -2.0], [9.0, -1.0], [3.0, 0.5], [5.0, -0.5], [77.0, 77.0], [77.0, 77.0]])
    )
    table = label_agreement(imputed, measured, source_labels, target_labels)
    # means of a, b, c: imputed f 2, 5, 1 and measured 4, 9, 2; imputed g 0, 1, 2 and measured 0, -1, -2
    assert table.loc["f", "r"] == pytest.approx(np.corrcoef([2, 5, 1], [4, 9, 2])[0, 1])
    assert table.loc["g", "r"] == pytest.approx(-1.0)
    assert table["n"].tolist() == [3, 3]
    assert table.loc["f", ["measured", "imputed"]].tolist() == pytest.approx([5.0, 8 / 3])
    spread = np.std([2.0, 9.0, 3.0, 5.0])
    assert table.loc["f", "shift"] == pytest.approx((8 / 3 - 5.0) / spread)


def test_known_cells_are_compared_and_the_label_mean_stands_beside():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(80, 3))
    labels = np.repeat(["a", "b", "c", None], 20).astype(object)
    truth[:20] += 5
    order = rng.permutation(80)
    imputed = pd.DataFrame(truth + rng.normal(size=(80, 3)), columns=["f", "g", "h"])
    table = cell_agreement(imputed, truth[order], np.arange(80), np.argsort(order), labels[order])
    sums = np.repeat([truth[i : i + 20].sum(0) for i in (0, 20, 40)], 20, axis=0)
    predicted = (sums - truth[:60]) / 19
    for k, name in enumerate("fgh"):
        assert table.loc[name, "r"] == pytest.approx(np.corrcoef(truth[:, k], imputed[name])[0, 1])
        expected = np.corrcoef(truth[:60, k], predicted[:, k])[0, 1]
        assert table.loc[name, "label_mean_r"] == pytest.approx(expected)
    assert (table["n"] == 80).all()
    shift = (imputed.mean() - truth.mean(0)) / truth.std(0)
    np.testing.assert_allclose(table["shift"], shift)


def test_a_label_of_one_cell_has_no_label_mean():
    x = np.arange(12.0).reshape(6, 2)
    table = cell_agreement(
        pd.DataFrame(x), x, np.arange(6), np.arange(6), np.array(list("abcdef"), dtype=object)
    )
    assert table["r"].tolist() == pytest.approx([1.0, 1.0])
    assert table["label_mean_r"].isna().all()


@pytest.mark.parametrize("n_labels", [1, 2])
def test_the_mean_of_one_or_two_labels_has_no_correlation(n_labels):
    """The mean of the other cells of a single label falls as the cell itself rises: r is -1 for any values."""
    x = np.random.default_rng(0).normal(size=(12, 2))
    labels = np.array([f"g{i % n_labels}" for i in range(12)], dtype=object)
    table = cell_agreement(pd.DataFrame(x), x, np.arange(12), np.arange(12), labels)
    assert table["r"].tolist() == pytest.approx([1.0, 1.0])
    assert table["label_mean_r"].isna().all()


def test_text_of_tables_is_no_formula() -> None:
    from scgroove._workflow import as_text

    table = pd.DataFrame(
        {"=a": ["+1", "g1"], "n": [-1, 2]}, index=pd.Index(["@x", "-y"], name="label")
    )
    safe = as_text(table)
    assert safe.to_csv(lineterminator="\n") == "label,'=a,n\n'@x,'+1,-1\n'-y,g1,2\n"
    assert table.columns[0] == "=a"
