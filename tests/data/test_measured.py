"""Features that a batch did not measure, and values that stand in for them."""

import numpy as np
import pytest
import scipy.sparse as sp

from scgroove.data.measured import Zeros, expected_shares, fill, incomplete

NAN = np.nan


@pytest.mark.parametrize("form", [np.asarray, sp.csr_matrix, sp.csc_matrix])
def test_absent_is_what_chance_does_not_explain(form):
    n = 40
    x = np.ones((3 * n, 4))
    x[:n, 0] = 0  # absent from batch 0
    x[:, 1] = np.tile([0, 0, 0, 1], 3 * n // 4)  # rare
    x[:n, 1] = 0
    x[:, 2] = 0  # absent from all
    x[2 * n :, 3] = np.tile([0, 1], n // 2)  # common, and in batch 2 half of it
    zeros = Zeros.count(form(x), np.repeat([0, 1, 2], n), 3)
    shares = zeros.largest_shares()
    np.testing.assert_allclose(shares, [1 / 42, 31 / 42, 1, 21 / 42])
    expected = np.zeros((3, 4), dtype=bool)
    expected[0, 0] = True
    np.testing.assert_array_equal(zeros.absent(shares), expected)


@pytest.mark.parametrize(("n_cells", "found"), [(2, False), (4, True)])
def test_a_batch_needs_enough_cells_to_tell(n_cells, found):
    """With at most 5 zeros in 100, q is 6 / 102; 2 batches x 1 feature at 1e-3: log(5e-4) / log(q) is 2.7 cells."""
    zeros = Zeros(np.array([n_cells, 100.0]), np.array([[0.0], [95.0]]))
    assert zeros.absent(zeros.largest_shares())[0, 0] == found


@pytest.mark.parametrize("form", [np.asarray, sp.csr_matrix, sp.csc_matrix])
def test_means_of_labels_stand_in_for_what_was_not_measured(form):
    x = np.array([[1, NAN], [3, 5], [4, 7], [6, NAN], [8, NAN]])
    found = fill(form(x), np.array(["a", "a", "a", "b", None], dtype=object))
    np.testing.assert_allclose(
        np.asarray(found.todense() if sp.issparse(found) else found)[:, 1], [6, 5, 7, 6, 6]
    )
    np.testing.assert_array_equal(incomplete(form(x)), [True, False, False, True, True])
    assert np.isnan(x).sum() == 3


def test_shares_of_features_where_batches_differ_in_depth():
    shares, depth = np.array([0.5, 0.3, 0.2]), np.array([[100.0], [700.0]])
    mask = np.array([[True, True, True], [False, True, True]])
    np.testing.assert_allclose(expected_shares(depth * shares * mask, mask), shares, atol=1e-6)
