"""A stack of label maps that is judged on labels that were left out."""

from __future__ import annotations

import mudata as md
import numpy as np
import pytest
import scipy.sparse as sp

import scgroove as sg
from scgroove.imputers import LabelStack

Screen = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def _screen(seed: int = 0, n_labels: int = 12, n_cells: int = 40) -> Screen:
    """Cells with both modalities: proteins are a linear map of RNA, but for noise."""
    rng = np.random.default_rng(seed)
    effect = rng.normal(size=(n_labels, 4))
    codes = np.repeat(np.arange(n_labels), n_cells)
    latent = effect[codes] + rng.normal(size=(codes.size, 4))
    x = latent @ rng.normal(size=(4, 30)) + rng.normal(size=(codes.size, 30))
    y = latent @ rng.normal(size=(4, 8)) + rng.normal(size=(codes.size, 8))
    return x / x.std(axis=0), y, codes, codes.copy()


def _label_means(y: np.ndarray, codes: np.ndarray) -> np.ndarray:
    return np.stack([y[codes == g].mean(axis=0) for g in range(codes.max() + 1)])


def test_effects_of_a_label_without_target_cells_are_predicted() -> None:
    x, y, codes_x, codes_y = _screen()
    seen = codes_y != 3
    stack = LabelStack().fit(x, y[seen], codes_x, codes_y[seen])
    found = stack.predict(x, codes_x)
    means = _label_means(y, codes_y)
    expected = np.delete(means, 3, axis=0).mean(axis=0)
    measured = means[3] - expected
    predicted = found.values[codes_x == 3].mean(axis=0) - expected
    assert np.square(predicted - measured).sum() < 0.2 * np.square(measured).sum()
    assert stack.evidence["t"] > 5
    assert 0.7 < stack.evidence["kappa"] <= 1
    assert found.extrapolated.tolist() == (codes_x == 3).tolist()


def test_shuffled_labels_give_label_means_and_say_so() -> None:
    x, y, codes_x, codes_y = _screen(1)
    shuffled = np.random.default_rng(0).permutation(12)[codes_y]
    seen = shuffled != 3
    stack = LabelStack().fit(x, y[seen], codes_x, shuffled[seen])
    found = stack.predict(x, codes_x)
    means = _label_means(y, shuffled)
    assert stack.evidence["kappa"] == 0
    assert "cannot validate" in stack.evidence["verdict"]
    others = np.delete(means, 3, axis=0).mean(axis=0)
    np.testing.assert_allclose(
        found.values[codes_x == 3], np.tile(others, (40, 1)), rtol=1e-5, atol=1e-5
    )


def test_the_mean_over_cells_of_a_measured_label_is_its_mean() -> None:
    x, y, codes_x, codes_y = _screen(2)
    found = LabelStack().fit(x, y, codes_x, codes_y).predict(x, codes_x)
    np.testing.assert_allclose(
        _label_means(found.values, codes_x), _label_means(y, codes_y), rtol=1e-4, atol=1e-4
    )


def test_cells_inside_a_label_are_nearer_to_their_truth_than_its_mean() -> None:
    rng = np.random.default_rng(5)
    x, y, codes, _ = _screen(5, n_labels=15)
    first = rng.random(len(codes)) < 0.5
    found = LabelStack().fit(x[first], y[~first], codes[first], codes[~first])
    values = found.predict(x[first], codes[first]).values
    means = _label_means(y[~first], codes[~first])[codes[first]]
    assert np.square(values - y[first]).mean() < 0.7 * np.square(means - y[first]).mean()


def test_cells_in_another_order_get_the_same_values() -> None:
    x, y, codes_x, codes_y = _screen(3)
    order = np.random.default_rng(0).permutation(len(y))
    one = LabelStack().fit(x, y, codes_x, codes_y).predict(x, codes_x)
    other = LabelStack().fit(x, y[order], codes_x, codes_y[order]).predict(x, codes_x)
    np.testing.assert_allclose(one.values, other.values, rtol=1e-4, atol=1e-4)


def test_sparse_values_are_those_of_dense_ones() -> None:
    x, y, codes_x, codes_y = _screen(4)
    y = np.where(y > 0, y, 0)
    dense = LabelStack().fit(x, y, codes_x, codes_y).predict(x, codes_x)
    sparse = LabelStack().fit(x, sp.csr_matrix(y), codes_x, codes_y).predict(x, codes_x)
    np.testing.assert_allclose(dense.values, sparse.values, rtol=1e-5, atol=1e-5)


def test_one_cell_of_each_label_is_enough() -> None:
    x, y, codes, _ = _screen(6, n_labels=30, n_cells=1)
    stack = LabelStack().fit(x[:29], y[:29], codes[:29], codes[:29])
    assert set(stack.evidence["weights"]) == {"ridge_0.03", "ridge_0.3", "ridge_3", "ridge_30"}
    found = stack.predict(x, np.append(codes[:29], 29))
    np.testing.assert_allclose(found.values[:29], y[:29], rtol=1e-5, atol=1e-5)
    assert np.isfinite(found.values).all()


def test_a_slope_that_rests_on_two_labels_counts_nothing() -> None:
    effect = np.zeros((12, 1))
    effect[:2] = [[3.0], [-3.0]]  # all others are equal, so that only these two predict anything
    codes = np.repeat(np.arange(12), 10)
    noise = np.tile(np.linspace(-1, 1, 10), 12)[:, None]
    x = np.hstack([effect[codes] + noise, noise])
    stack = LabelStack().fit(x, x[:, :1], codes, codes)
    assert stack.evidence["t"] < 1e6


def test_three_labels_are_too_few_to_leave_any_out() -> None:
    x, y, codes_x, codes_y = _screen(7, n_labels=3)
    stack = LabelStack().fit(x, y, codes_x, codes_y)
    found = stack.predict(x, codes_x)
    np.testing.assert_allclose(found.values, _label_means(y, codes_y)[codes_x], rtol=1e-5)
    assert "too few" in stack.evidence["verdict"]


def test_a_constant_feature_and_one_target_feature() -> None:
    x, y, codes_x, codes_y = _screen(8)
    y = y[:, :1] * [[1.0, 0.0]] + [[0.0, 3.0]]
    found = LabelStack().fit(x, y, codes_x, codes_y).predict(x, codes_x)
    np.testing.assert_allclose(found.values[:, 1], 3.0)
    alone = LabelStack().fit(x, y[:, :1], codes_x, codes_y).predict(x, codes_x)
    assert alone.values.shape == (len(x), 1)
    assert np.isfinite(alone.values).all()


def test_more_features_than_the_whitening_takes() -> None:
    x, y, codes_x, codes_y = _screen(9)
    stack = LabelStack(max_features=6).fit(x, y, codes_x, codes_y)
    assert np.isfinite(stack.predict(x, codes_x).values).all()
    assert stack.evidence["t"] > 5


def test_nothing_links_labels_of_different_names() -> None:
    x, y, codes_x, codes_y = _screen(10)
    with pytest.raises(ValueError, match="no label"):
        LabelStack().fit(x, y, codes_x, codes_y + 12)


def test_the_verb_writes_values_and_the_verdict() -> None:
    mdata = sg.simulations.weakly_paired(n_labels=8, n_cells_per_label=20, rho=1.0, seed=0)
    assert isinstance(mdata, md.MuData)
    sg.tl.impute(mdata, "rna", "protein", method="auto")
    evidence = mdata["rna"].uns["imputed_protein"]
    assert evidence["method"] == "auto"
    assert evidence["n_labels"] == 8
    assert isinstance(evidence["verdict"], str)
    assert (
        sg.get.imputed_sd(mdata, "rna", "protein").shape
        == mdata["rna"].obsm["imputed_protein"].shape
    )
