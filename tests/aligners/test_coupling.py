"""Couplings in blocks: masses, mapping, and storing without loss of what matters."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from scgroove.aligners import Coupling, CouplingBlock
from scgroove.metrics import trace


def _coupling(sparse: bool = False) -> Coupling:
    """Two blocks; source cell 2 and target cell 0 take no part."""
    make = sp.csr_matrix if sparse else np.asarray
    one = CouplingBlock("a", np.array([0, 3]), np.array([2, 1]), make(np.array([[0.1, 0.3], [0.0, 0.2]])))
    two = CouplingBlock("b", np.array([1]), np.array([3]), make(np.array([[0.4]])))
    return Coupling((one, two), (4, 4), {"method": "hand", "converged": True})


DENSE = np.array([[0, 0.3, 0.1, 0], [0, 0, 0, 0.4], [0, 0, 0, 0], [0, 0.2, 0, 0]])


@pytest.mark.parametrize("sparse", [False, True])
def test_masses_by_hand(sparse: bool) -> None:
    coupling = _coupling(sparse)
    np.testing.assert_allclose(coupling.row_mass(), DENSE.sum(axis=1))
    np.testing.assert_allclose(coupling.column_mass(), DENSE.sum(axis=0))
    assert coupling.mass == pytest.approx(1)
    np.testing.assert_allclose(coupling.to_sparse(0, np.float64).toarray(), DENSE)
    assert repr(coupling) == "Coupling(4 source x 4 target cells, 2 blocks, method=hand, converged=True)"


@pytest.mark.parametrize("sparse", [False, True])
def test_row_entropy_by_hand(sparse: bool) -> None:
    expected = -(0.25 * np.log(0.25) + 0.75 * np.log(0.75))
    np.testing.assert_allclose(_coupling(sparse).row_entropy(), [expected, 0, np.nan, 0], atol=1e-12)


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("values", [np.asarray, sp.csr_matrix, sp.csc_array])
def test_push_and_pull_are_weighted_means(sparse: bool, values: type) -> None:
    y = np.array([[9.0, 9.0], [1.0, 0.0], [5.0, 4.0], [7.0, 8.0]])
    pushed = _coupling(sparse).push(values(y))
    np.testing.assert_allclose(pushed, [[2, 1], [7, 8], [np.nan] * 2, [1, 0]])
    pulled = _coupling(sparse).pull(values(y), dtype=np.float32)
    assert pulled.dtype == np.float32
    np.testing.assert_allclose(pulled, [[np.nan] * 2, (0.3 * y[0] + 0.2 * y[3]) / 0.5, y[0], y[1]], rtol=1e-6)


@pytest.mark.parametrize("sparse", [False, True])
def test_label_mass_by_hand(sparse: bool) -> None:
    table = _coupling(sparse).label_mass(["a", "b", "b", None], ["b", "a", "a", "c"])
    assert table.index.tolist() == ["a", "b", "(unlabelled)"]
    assert table.columns.tolist() == ["a", "b", "c"]
    np.testing.assert_allclose(table.to_numpy(), [[0.4, 0, 0], [0, 0, 0.4], [0.2, 0, 0]])
    assert (table.index.name, table.columns.name) == ("source", "target")


def test_metrics_take_a_coupling() -> None:
    assert trace(_coupling(), [1, 3, -1, -1]) == pytest.approx((0.75 + 1) / 2)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), threshold=st.sampled_from([0.0, 1e-3, 0.1, 0.9]), sparse=st.booleans())
def test_storing_keeps_row_masses_and_drops_no_more_than_promised(
    seed: int, threshold: float, sparse: bool
) -> None:
    rng = np.random.default_rng(seed)
    plan = np.exp(-8 * rng.random((6, 9))) * (rng.random((6, 9)) < 0.8)
    plan[0] = 0
    whole = sp.csr_matrix(plan) if sparse else plan
    coupling = Coupling((CouplingBlock("", np.arange(6), np.arange(9), whole),), (6, 9))
    stored, report = coupling.sparsify(threshold, np.float64)
    np.testing.assert_allclose(np.asarray(stored.sum(axis=1)).ravel(), plan.sum(axis=1), rtol=1e-12)
    assert report["n_dropped"] == np.count_nonzero(plan) - stored.nnz
    assert 0 <= report["mass_dropped"] <= threshold + 1e-12
    mass = plan.sum(axis=1, keepdims=True)
    lost_of_rows = np.where(stored.toarray() > 0, 0, plan).sum(axis=1) / np.maximum(mass.ravel(), 1e-300)
    assert (lost_of_rows <= threshold + 1e-12).all()
    if threshold == 0:
        np.testing.assert_allclose(stored.toarray(), plan)


def test_stored_as_float32_keeps_tiny_masses() -> None:
    n = 2000
    uniform = np.full((n, n), 1 / n**2)
    coupling = Coupling((CouplingBlock("", np.arange(n), np.arange(n), uniform),), (n, n))
    stored = coupling.to_sparse()
    assert stored.dtype == np.float32
    assert stored.nnz == n * n
    np.testing.assert_allclose(stored.sum(axis=1), 1 / n, rtol=1e-5)


def test_from_sparse_round_trip() -> None:
    coupling = Coupling.from_sparse(sp.coo_matrix(DENSE), {"method": "eot"})
    np.testing.assert_array_equal(coupling.to_sparse(0, np.float64).toarray(), DENSE)
    assert coupling.evidence["method"] == "eot"
    assert coupling.shape == (4, 4)


def test_an_empty_coupling_is_fine() -> None:
    empty = Coupling((), (2, 3))
    assert empty.to_sparse().shape == (2, 3)
    assert empty.mass == 0
    assert np.isnan(empty.push(np.ones((3, 1)))).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: CouplingBlock("a", np.arange(2), np.arange(3), np.ones((3, 2))),
            r"must have shape \(2, 3\); found",
        ),
        (lambda: CouplingBlock("a", np.arange(1), np.arange(1), -np.ones((1, 1))), r"'a': .* finite masses"),
        (lambda: CouplingBlock("a", np.arange(1), np.arange(1), np.full((1, 1), np.nan)), r"finite masses"),
        (lambda: Coupling(_coupling().blocks, (2, 4)), r"a block names source cells outside 0 to 1"),
        (
            lambda: Coupling(_coupling().blocks * 2, (4, 4)),
            r"blocks must be disjoint; a source cell is in two",
        ),
        (
            lambda: _coupling().push(np.ones((3, 2))),
            r"y must have one row a target cell: expected \(4, d\), found",
        ),
        (
            lambda: _coupling().pull(np.ones(4)),
            r"x must have one row a source cell: expected \(4, d\), found \(4,\)",
        ),
        (
            lambda: _coupling().to_sparse(1.0),
            r"threshold is a share of the mass of a row, in \[0, 1\); found 1.0",
        ),
        (lambda: _coupling().label_mass(["a"], ["a"] * 4), r"labels_x must hold .*: expected 4, found 1"),
    ],
)
def test_what_does_not_fit_is_refused(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
