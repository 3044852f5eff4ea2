"""Label CCA in coordinates that are whitened inside labels."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.covariance import ledoit_wolf

import scgroove as sg
from scgroove.learners import LabelCCA
from scgroove.learners.label_cca import whitening_inside_labels


def _cells(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    codes = np.repeat(np.arange(5), 30)
    return rng.normal(size=(5, 6))[codes] + rng.normal(size=(150, 6)) * np.arange(1, 7), codes


def test_inside_labels_the_covariance_is_white_up_to_the_ridge() -> None:
    x, codes = _cells()
    root = whitening_inside_labels(x, codes, 5, 3.0)
    inside = x - np.stack([x[codes == g].mean(axis=0) for g in range(5)])[codes]
    covariance, _ = ledoit_wolf(inside, assume_centered=True)
    values = np.linalg.eigvalsh(covariance)
    expected = np.diag(values / (values + 3 * values.mean()))
    np.testing.assert_allclose(root.T @ covariance @ root, expected, atol=1e-10)


def test_unlabeled_cells_do_not_count_and_one_cell_a_label_is_not_whitened() -> None:
    x, codes = _cells(1)
    more = np.vstack([x, 100 * np.ones((3, 6))])
    root = whitening_inside_labels(more, np.append(codes, [-1, -1, -1]), 5, 3.0)
    np.testing.assert_allclose(root, whitening_inside_labels(x, codes, 5, 3.0))
    np.testing.assert_array_equal(whitening_inside_labels(x[:5], np.arange(5), 5, 3.0), np.eye(6))


def test_without_whitening_it_is_cca_labels() -> None:
    mdata = sg.simulations.weakly_paired(n_labels=6, n_cells_per_label=20, seed=2)
    one = LabelCCA(whitening=None).fit_transform(mdata)
    other = sg.learners.get("cca_labels")().fit_transform(mdata)
    for m in one:
        np.testing.assert_array_equal(one[m], other[m])


def test_batches_that_are_not_told_matter_less_than_without_whitening() -> None:
    mdata = sg.simulations.from_scenario("batches", seed=1)
    a, b = list(mdata.mod)[:2]
    labels = mdata[a].obs["label"].astype(str).to_numpy()
    partner = mdata[b].obs_names.get_indexer(mdata[a].obs_names)
    found = {}
    for name in ("labels", "cca_labels"):
        z = sg.learners.get(name)().fit_transform(mdata)
        found[name] = sg.metrics.foscttm(
            z[a], z[b][partner], np.arange(len(labels)), labels_x=labels, labels_y=labels
        )
    assert found["labels"] < found["cca_labels"] - 0.03


def test_wide_modalities_are_reduced_and_new_cells_are_placed() -> None:
    mdata = sg.simulations.weakly_paired(
        n_labels=6, n_cells_per_label=20, n_features=(60, 20), seed=3
    )
    learner = LabelCCA(max_features=10).fit(mdata)
    whole = learner.transform(mdata)
    some = learner.transform(mdata[:30].copy())
    np.testing.assert_allclose(some["rna"], whole["rna"][:30], atol=1e-5)
    assert whole["rna"].shape[1] == whole["protein"].shape[1]


@pytest.mark.parametrize("whitening", [0.0, -1.0, float("nan")])
def test_a_whitening_that_is_no_positive_number_is_refused(whitening: float) -> None:
    with pytest.raises(ValueError, match="whitening"):
        LabelCCA(whitening=whitening)
