"""Predictions that know the label and nothing of the cell."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from scgroove.metrics import control_mean, label_mean, shuffled_within_label

M = np.array([[1.0, 0.0], [3.0, 2.0], [9.0, 9.0], [5.0, 5.0]])
LABELS = ["a", "a", "b", None]


def test_label_mean_by_hand() -> None:
    found = label_mean(M, LABELS, ["b", "a", "z", None])
    np.testing.assert_array_equal(found, [[9, 9], [2, 1], [np.nan] * 2, [np.nan] * 2])
    # its own measurement is left out; of b nothing is left; an excluded cell of another label plays no part
    found = label_mean(M, LABELS, ["a", "a", "b", "a"], exclude=[0, -1, 2, 2])
    np.testing.assert_array_equal(found, [[3, 2], [2, 1], [np.nan] * 2, [2, 1]])


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_label_mean_is_the_plain_loop_dense_and_sparse(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, m = rng.integers(1, 8, 2)
    names = np.array(["a", "b", "c", None], dtype=object)
    of_measured, wanted = names[rng.integers(0, 4, m)], names[rng.integers(0, 4, n)]
    values, exclude = rng.poisson(1.0, (m, 3)).astype(float), rng.integers(-1, m, n)
    for left_out in (None, exclude):
        expected = np.full((n, 3), np.nan)
        for i in range(n):
            cells = [
                j
                for j in range(m)
                if wanted[i] is not None
                and of_measured[j] == wanted[i]
                and (left_out is None or j != left_out[i])
            ]
            if cells:
                expected[i] = values[cells].mean(axis=0)
        for form in (values, sp.csr_matrix(values)):
            np.testing.assert_allclose(
                label_mean(form, of_measured, wanted, exclude=left_out), expected
            )


def test_control_mean() -> None:
    found = control_mean(M, LABELS, "a", 3)
    np.testing.assert_array_equal(found, [[2, 1]] * 3)
    np.testing.assert_array_equal(control_mean(sp.csr_matrix(M), LABELS, "b", 1), [[9, 9]])
    assert found.strides[0] == 0  # one row, however many cells


def test_shuffled_takes_each_measured_cell_of_the_label_as_often() -> None:
    values = np.arange(7.0)[:, None]
    labels = np.array(["a"] * 4 + ["b"] * 3)
    found = shuffled_within_label(values, labels, labels, seed=1)
    assert sorted(found[:4, 0]) == [0, 1, 2, 3]
    assert sorted(found[4:, 0]) == [4, 5, 6]
    more = shuffled_within_label(
        sp.csr_matrix(values), labels, ["b"] * 6 + ["a"] * 2 + ["z", None], seed=1
    )
    assert sorted(more[:6, 0]) == [4, 4, 5, 5, 6, 6]
    assert len(set(more[6:8, 0])) == 2
    assert np.isnan(more[8:]).all()
    np.testing.assert_array_equal(found, shuffled_within_label(values, labels, labels, seed=1))
    assert shuffled_within_label(values.astype(np.float32), labels, labels).dtype == np.float32
    assert shuffled_within_label(values.astype(int), labels, labels).dtype == np.float64


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: control_mean(M, LABELS, "A", 1),
            r"control='A': no cell has this label. Did you mean 'a'\? Labels: a, b",
        ),
        (
            lambda: label_mean(M, LABELS[:2], ["a"]),
            r"labels_measured must hold one label a cell: expected 4, found 2",
        ),
        (lambda: label_mean(np.nan * M, LABELS, ["a"]), r"measured holds 8 missing values"),
        (
            lambda: label_mean(M, LABELS, ["a"], exclude=[4]),
            r"a row of measured \(0 to 3\) or -1: expected 1 integers",
        ),
        (lambda: label_mean(M, LABELS, ["a"], exclude=[0, 1]), r"found int64 of shape \(2,\)"),
        (
            lambda: shuffled_within_label(M[0], LABELS, ["a"]),
            r"measured must be numbers, one row a cell",
        ),
    ],
)
def test_what_does_not_fit_is_refused(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
