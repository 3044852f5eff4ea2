"""Label means, folds, principal components, and cells known again."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from scgroove.learners.common import (
    FittedCells,
    apply,
    label_means,
    principal_components,
    project,
    reduction,
    stratified_folds,
)


def test_label_means_by_hand() -> None:
    x = np.array([[1.0, 2.0], [3.0, 4.0], [10.0, 20.0], [7.0, 7.0]])
    means, counts = label_means(x, np.array([2, 2, 0, -1]), 4)
    np.testing.assert_allclose(means, [[10, 20], [0, 0], [2, 3], [0, 0]])
    assert counts.tolist() == [1, 0, 2, 0]


@settings(max_examples=60, deadline=None)
@given(
    counts=st.lists(st.integers(0, 9), min_size=1, max_size=8),
    n_folds=st.integers(2, 6),
    seed=st.integers(0, 10**6),
)
def test_labels_are_dealt_evenly_and_none_of_two_cells_is_missed_in_training(
    counts: list[int], n_folds: int, seed: int
) -> None:
    codes = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)) - 1, counts))
    folds = stratified_folds(codes, n_folds, np.random.default_rng(seed))
    assert folds.shape == codes.shape
    sizes = np.bincount(folds, minlength=n_folds)
    assert np.ptp(sizes) <= 1
    for label in np.unique(codes):
        own = np.bincount(folds[codes == label], minlength=n_folds)
        assert np.ptp(own) <= 1
        if own.sum() > 1:
            assert own.max() < own.sum()


def test_principal_components_are_as_many_as_there_can_be() -> None:
    x = np.random.default_rng(0).normal(size=(30, 8)).astype(np.float32)
    assert principal_components(x, 50, 0).n_components_ == 8
    assert principal_components(x[:4], 50, 0).n_components_ == 3
    assert principal_components(x, 5, 0).n_components_ == 5


def test_principal_components_are_those_of_a_singular_value_decomposition() -> None:
    x = np.random.default_rng(1).normal(size=(60, 12)) @ np.diag(np.linspace(3, 0.5, 12))
    z = project(principal_components(x, 4, 0), x)
    u, s, _ = np.linalg.svd(x - x.mean(axis=0), full_matrices=False)
    np.testing.assert_allclose(np.abs(z), np.abs(u[:, :4] * s[:4]), atol=1e-9)


def test_random_projection_finds_what_stands_out() -> None:
    rng = np.random.default_rng(2)
    x = (
        rng.normal(size=(300, 5)) @ rng.normal(size=(5, 2500)) + 0.1 * rng.normal(size=(300, 2500))
    ).astype(np.float32)
    pca = principal_components(x, 5, seed=3)
    assert pca.explained_variance_ratio_.sum() > 0.98
    assert project(pca, x).tobytes() == project(principal_components(x, 5, seed=3), x).tobytes()


def test_nothing_is_reduced_that_need_not_be() -> None:
    x = np.random.default_rng(0).normal(size=(20, 6)).astype(np.float32)
    np.testing.assert_array_equal(reduction(x, 6, 0)(x), x.astype(np.float64))
    assert reduction(x, 3, 0)(x).shape == (20, 3)
    # principal components keep distances where they keep all directions
    kept = reduction(np.hstack([x, x]), 6, 0)(np.hstack([x, x]))
    np.testing.assert_allclose(kept @ kept.T, 2 * (x - x.mean(0)) @ (x - x.mean(0)).T, atol=1e-4)


def test_a_map_is_applied_in_blocks() -> None:
    rng = np.random.default_rng(0)
    x, mean, weights, offset = (
        rng.normal(size=(9000, 3)),
        rng.normal(size=3),
        rng.normal(size=(3, 2)),
        rng.normal(size=2),
    )
    np.testing.assert_allclose(apply((mean, weights, offset), x), (x - mean) @ weights + offset)


def test_cells_are_known_by_name_and_features() -> None:
    x = np.arange(12, dtype=np.float32).reshape(4, 3)
    seen = FittedCells.of(np.array(["a", "b", "c", "d"], dtype=object), x)
    assert seen.rows(np.array(["c", "a", "e"], dtype=object), x[[2, 0, 1]]).tolist() == [2, 0, -1]
    assert seen.rows(np.array(["a", "b"], dtype=object), x[[1, 1]]).tolist() == [
        -1,
        1,
    ]  # another cell of the same name
    assert seen.rows(np.array(["b"], dtype=object), np.asfortranarray(x)[[1]]).tolist() == [1]
