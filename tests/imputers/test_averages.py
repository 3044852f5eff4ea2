"""Averages of measured cells: by hand, against other ways to the same number, and what they refuse."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from scgroove import imputers
from scgroove.aligners import Coupling, entropic_map
from scgroove.imputers._averages import effective_partners, extrapolate
from scgroove.imputers._imputation import ensemble

Y = np.array([[0.0, 10.0], [2.0, 20.0], [4.0, 60.0]])


def test_effective_partners_by_hand():
    coupling = Coupling.from_sparse(
        np.array([[0.2, 0.0, 0.0], [0.1, 0.1, 0.0], [0.3, 0.1, 0.0], [0, 0, 0]])
    )
    np.testing.assert_allclose(effective_partners(coupling), [1.0, 2.0, 1.6, np.nan])


def test_barycentric_flags_cells_without_mass():
    coupling = Coupling.from_sparse(np.array([[0.5, 0.5, 0.0], [0.0, 0.0, 0.0]]))
    found = imputers.barycentric(coupling, Y)
    np.testing.assert_allclose(found.values[0], [1.0, 15.0])
    assert found.extrapolated.tolist() == [False, True]
    assert np.isnan(found.values[1]).all()


def test_extrapolated_cells_have_the_entropic_map_and_the_others_stay():
    rng = np.random.default_rng(0)
    z_x, z_y = rng.normal(size=(2, 2)), rng.normal(size=(3, 2))
    found = imputers.barycentric(
        Coupling.from_sparse(np.array([[0.5, 0.5, 0.0], [0.0, 0.0, 0.0]])), Y
    )
    filled = extrapolate(found, z_x, z_y, Y, epsilon=0.1)
    expected, absolute = entropic_map(z_x[1:], z_y, Y, epsilon=0.1)
    np.testing.assert_allclose(filled.values, [[1.0, 15.0], expected[0]], rtol=1e-6)
    assert filled.evidence["epsilon_absolute"] == absolute
    assert np.isnan(found.values[1]).all(), "the first imputation is left as it was"
    cost = ((z_x[1] - z_y) ** 2).sum(axis=1)
    weights = np.exp(-cost / absolute)
    weights /= weights.sum()
    assert filled.n_effective[1] == pytest.approx(1 / (weights**2).sum())


@pytest.mark.parametrize("sparse", [False, True])
def test_knn_by_hand(sparse):
    y = sp.csr_matrix(Y) if sparse else Y
    found = imputers.knn([[0.0], [10.0]], [[0.1], [9.0], [11.5]], y, n_neighbors=2)
    np.testing.assert_allclose(found.values, [[1.0, 15.0], [3.0, 40.0]])
    assert found.values.dtype == np.float32
    assert found.n_effective.tolist() == [2.0, 2.0]
    assert not found.extrapolated.any()


def test_knn_inside_labels_and_beyond_them():
    codes_x, codes_y = np.array([0, 2, -1]), np.array([1, 0, 0])
    found = imputers.knn(
        [[0.0], [0.0], [0.0]],
        [[0.0], [5.0], [7.0]],
        Y,
        n_neighbors=1,
        codes_x=codes_x,
        codes_y=codes_y,
    )
    np.testing.assert_allclose(
        found.values, [Y[1], Y[0], Y[0]]
    )  # of its label, though further away; else the nearest
    assert found.extrapolated.tolist() == [False, True, True]


def test_more_neighbors_than_cells_is_the_mean():
    found = imputers.knn([[0.0]], [[0.0], [1.0], [2.0]], Y, n_neighbors=99)
    np.testing.assert_allclose(found.values[0], Y.mean(axis=0))
    assert found.n_effective.tolist() == [3.0]


@given(st.integers(1, 8), st.integers(0, 2**16))
def test_knn_is_what_brute_force_finds(k, seed):
    rng = np.random.default_rng(seed)
    z_x, z_y, y = rng.normal(size=(6, 3)), rng.normal(size=(9, 3)), rng.normal(size=(9, 2))
    nearest = np.argsort(((z_x[:, None] - z_y) ** 2).sum(axis=2), axis=1)[:, :k]
    found = imputers.knn(z_x, z_y, y, n_neighbors=k)
    np.testing.assert_allclose(found.values, y[nearest].mean(axis=1), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("z_x", "z_y", "y", "k", "message"),
    [
        ([[0.0, 1.0]], [[0.0]], [[1.0]], 1, "one space"),
        (np.empty((0, 1)), [[0.0]], [[1.0]], 1, "need cells of both"),
        ([[0.0]], [[0.0]], [[np.nan]], 1, "NaN or infinite values in 1 of 1"),
        ([[0.0]], [[0.0]], [[1.0]], 0, "n_neighbors must be "),
        ([[0.0]], [[0.0]], [[1.0], [2.0]], 1, "one row a target cell"),
    ],
)
def test_knn_refuses(z_x, z_y, y, k, message):
    with pytest.raises(ValueError, match=message):
        imputers.knn(z_x, z_y, y, n_neighbors=k)


@given(st.integers(1, 6), st.integers(0, 2**16))
def test_ensemble_is_mean_and_variance(n, seed):
    members = np.random.default_rng(seed).normal(size=(n, 3, 2)).astype(np.float32)
    mean, variance = ensemble(iter(members))
    np.testing.assert_allclose(mean, members.mean(axis=0), atol=1e-5)
    if n == 1:
        assert variance is None
    else:
        np.testing.assert_allclose(variance, members.var(axis=0, ddof=1), atol=1e-5)


def test_ensemble_leaves_its_members_alone_and_refuses_what_does_not_fit():
    first = np.ones((2, 1), dtype=np.float32)
    ensemble([first, np.full((2, 1), 3.0)])
    assert (first == 1).all()
    with pytest.raises(ValueError, match="at least one member"):
        ensemble([])
    with pytest.raises(ValueError, match=r"shapes \(2, 1\) and \(1, 1\)"):
        ensemble([first, np.ones((1, 1))])
