"""Exact, entropic and unbalanced optimal transport within labels: against POT, SciPy and the invariants."""

from __future__ import annotations

import pickle
import re
import tracemalloc
import warnings
from collections.abc import Callable
from typing import Any

import joblib
import numpy as np
import ot
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment, linprog
from scipy.spatial.distance import cdist

from scgroove import aligners
from scgroove.aligners import (
    Coupling,
    EntropicOT,
    ExactOT,
    UnbalancedOT,
)
from scgroove.aligners._blocks import partition
from scgroove.aligners._plans import PotentialPlan
from scgroove.aligners.costs import pairwise_cost
from scgroove.errors import ConvergenceError, ConvergenceWarning, TooLargeError
from scgroove.metrics import score


def _data(seed: int, n: int = 24, m: int = 18, n_labels: int = 3):
    rng = np.random.default_rng(seed)
    names = np.array([f"l{k}" for k in range(n_labels)])
    lx = names[np.concatenate([np.arange(n_labels), rng.integers(0, n_labels, n - n_labels)])]
    ly = names[np.concatenate([np.arange(n_labels), rng.integers(0, n_labels, m - n_labels)])]
    return rng.normal(size=(n, 4)), rng.normal(size=(m, 4)), lx, ly


def test_registry() -> None:
    assert aligners.get("eot") is EntropicOT
    assert aligners.get("emd") is ExactOT
    assert aligners.get("uot") is UnbalancedOT
    with pytest.raises(
        ValueError, match=r"unknown aligner 'eott'\. Did you mean 'eot'\? Available: .*'emd', 'eot'"
    ):
        aligners.get("eott")


# ---------------------------------------------------------------------------------------------------- invariants


@pytest.mark.parametrize("method", ["eot", "emd"])
@pytest.mark.parametrize("weights", ["mean", "source", "target", "equal"])
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_labeled_couplings_have_their_marginals_and_keep_to_labels(
    method: str, weights: str, seed: int
) -> None:
    x, y, lx, ly = _data(seed)
    coupling = aligners.get(method)(label_weights=weights).align(x, y, lx, ly)
    assert coupling.mass == pytest.approx(1)
    assert score("label_mass", coupling=coupling, labels_x=lx, labels_y=ly).value == pytest.approx(
        1, abs=1e-12
    )
    mass = dict(zip(coupling.evidence["labels"], coupling.evidence["label_mass"], strict=True))
    np.testing.assert_allclose(
        coupling.row_mass(), [mass[label] / (lx == label).sum() for label in lx]
    )
    np.testing.assert_allclose(
        coupling.column_mass(), [mass[label] / (ly == label).sum() for label in ly], rtol=1e-3
    )
    assert coupling.evidence["converged"]
    assert coupling.evidence["row_error"] < 1e-9
    assert coupling.evidence["column_error"] <= 1e-5


@pytest.mark.parametrize("method", ["eot", "emd"])
def test_each_label_is_a_problem_of_its_own(method: str) -> None:
    x, y, lx, ly = _data(0)
    make = aligners.get(method)
    whole = make(label_weights="equal").align(x, y, lx, ly).to_dense()
    for label in np.unique(lx):
        i, j = lx == label, ly == label
        alone = make().align(x[i], y[j]).to_dense()
        np.testing.assert_allclose(whole[np.ix_(i, j)], alone / 3, atol=1e-12)


@pytest.mark.parametrize("method", ["eot", "emd", "uot"])
def test_order_of_cells_and_scale_of_the_space_play_no_part(method: str) -> None:
    x, y, lx, ly = _data(1)
    make = aligners.get(method)
    plain = make().align(x, y, lx, ly).to_dense()
    p, q = (
        np.random.default_rng(0).permutation(len(x)),
        np.random.default_rng(1).permutation(len(y)),
    )
    turned = make().align(1e3 * x[p], 1e3 * y[q], lx[p], ly[q]).to_dense()
    np.testing.assert_allclose(turned, plain[np.ix_(p, q)], atol=1e-10)


def test_cells_without_a_shared_label_have_no_mass() -> None:
    x, y, lx, ly = _data(2)
    lx, ly = lx.astype(object), ly.astype(object)
    lx[3], lx[4], ly[5], ly[6] = "only x", None, "only y", np.nan
    coupling = EntropicOT().align(x, y, lx, ly)
    assert np.flatnonzero(coupling.row_mass() == 0).tolist() == [3, 4]
    assert np.flatnonzero(coupling.column_mass() == 0).tolist() == [5, 6]
    evidence = coupling.evidence
    assert evidence["labels_only_source"].tolist() == ["only x"]
    assert evidence["labels_only_target"].tolist() == ["only y"]
    assert (evidence["n_source_unlabeled"], evidence["n_target_unlabeled"]) == (1, 1)
    assert (evidence["n_source_used"], evidence["n_target_used"]) == (22, 16)


@pytest.mark.parametrize("method", ["eot", "emd"])
def test_one_cell_against_many(method: str) -> None:
    coupling = aligners.get(method)().align(np.zeros((1, 2)), np.eye(2))
    np.testing.assert_allclose(coupling.to_sparse().toarray(), [[0.5, 0.5]])


@pytest.mark.parametrize("method", ["eot", "emd"])
def test_cells_all_at_one_place(method: str) -> None:
    coupling = aligners.get(method)().align(np.ones((4, 2)), np.ones((3, 2)))
    assert coupling.evidence["converged"]
    np.testing.assert_allclose(coupling.row_mass(), 0.25)


# ------------------------------------------------------------------------------------------- against other solvers


@pytest.mark.parametrize("epsilon", [0.5, 0.05, 0.01])
def test_eot_agrees_with_pot(epsilon: float) -> None:
    x, y, _, _ = _data(3)
    cost = cdist(x, y, "sqeuclidean")
    cost /= cost.mean()
    a, b = np.full(24, 1 / 24), np.full(18, 1 / 18)
    theirs = ot.sinkhorn(
        a, b, cost, epsilon, method="sinkhorn_log", numItermax=100000, stopThr=1e-11
    )
    coupling = EntropicOT(epsilon=epsilon, tol=1e-10, max_iter=100000).align(x, y)
    assert np.abs(coupling.to_dense() - theirs).sum() < 1e-7
    absolute = coupling.evidence["epsilon_absolute"][0]
    divided_by = coupling.evidence["cost_scale"][0]
    assert absolute == pytest.approx(epsilon * divided_by)
    objective = divided_by * (
        (theirs * cost).sum() + epsilon * (theirs * (np.log(theirs) - 1)).sum()
    )
    assert coupling.evidence["objective"] == pytest.approx(objective, rel=1e-6)


def test_emd_is_the_linear_programme() -> None:
    x, y, _, _ = _data(5, 7, 5)
    coupling = ExactOT().align(x, y)
    cost = cdist(x, y, "sqeuclidean")
    rows = sp.kron(sp.eye(7), np.ones((1, 5)))
    columns = sp.kron(np.ones((1, 7)), sp.eye(5))
    b_eq = np.concatenate([np.full(7, 1 / 7), np.full(5, 1 / 5)])
    found = linprog(
        cost.ravel(), A_eq=sp.vstack([rows, columns]), b_eq=b_eq, bounds=(0, None), method="highs"
    )
    assert coupling.evidence["objective"] == pytest.approx(found.fun, abs=1e-9)
    assert np.abs(coupling.to_dense().ravel() - found.x).sum() < 1e-6


def test_emd_of_equal_numbers_is_an_assignment() -> None:
    x, y, _, _ = _data(6, 30, 30)
    plan = ExactOT().align(x, y).to_dense()
    rows, columns = linear_sum_assignment(cdist(x, y, "sqeuclidean"))
    expected = np.zeros((30, 30))
    expected[rows, columns] = 1 / 30
    np.testing.assert_allclose(plan, expected, atol=1e-12)


def test_emd_agrees_with_pot_and_is_sparse() -> None:
    x, y, lx, ly = _data(7)
    coupling = ExactOT(label_weights="equal").align(x, y, lx, ly)
    total = 0.0
    for block in coupling.blocks:
        n, m = block.plan.shape
        assert sp.issparse(block.plan)
        assert block.plan.nnz <= n + m - 1
        cost = cdist(x[block.rows], y[block.columns], "sqeuclidean")
        total += ot.emd2(np.full(n, 1 / n), np.full(m, 1 / m), cost) / 3
    assert coupling.evidence["transport_cost"] == pytest.approx(total)


def test_recovers_cells_that_were_only_shuffled() -> None:
    x, _, lx, _ = _data(8, 60)
    order = np.random.default_rng(0).permutation(60)
    for aligner in (ExactOT(), EntropicOT(epsilon=0.005)):
        plan = aligner.align(x, x[order], lx, lx[order]).to_sparse().toarray()
        np.testing.assert_array_equal(plan.argmax(axis=1), np.argsort(order))


# ---------------------------------------------------------------------------------------------------- costs


def test_cosine_cost() -> None:
    x, y, _, _ = _data(9)
    expected = (
        1 - (x / np.linalg.norm(x, axis=1)[:, None]) @ (y / np.linalg.norm(y, axis=1)[:, None]).T
    )
    np.testing.assert_allclose(pairwise_cost(x, y, "cosine"), expected, atol=1e-12)
    one = EntropicOT(cost="cosine").align(x, y)
    other = EntropicOT(cost="cosine").align(7 * x, np.arange(1, 19)[:, None] * y)
    np.testing.assert_allclose(one.to_sparse().toarray(), other.to_sparse().toarray(), rtol=1e-4)
    with pytest.raises(
        ValueError, match=r"cost='cosine' needs a direction: 24 source cells are at the origin"
    ):
        EntropicOT(cost="cosine").align(0 * x, y)


# ---------------------------------------------------------------------------------- evidence, warnings, memory


def test_evidence_is_flat_and_of_types_that_can_be_stored() -> None:
    x, y, lx, ly = _data(10)
    for aligner in (
        EntropicOT(),
        ExactOT(),
        UnbalancedOT(),
        EntropicOT(epsilon="auto", n_jobs=1, strict=True),
    ):
        evidence = aligner.align(x, y, lx, ly).evidence
        for key, value in evidence.items():
            assert isinstance(value, str | float | int | bool | np.ndarray), key
        assert {
            "method",
            "labeled",
            "row_error",
            "column_error",
            "converged",
            "objective",
            "seconds",
        } <= set(evidence)
        assert {"scgroove_version", "numpy_version", "scipy_version"} <= set(evidence)
        assert evidence["cost"] == "sqeuclidean"
        assert evidence["n_jobs"] == ("none" if aligner.n_jobs is None else 1)
    assert ExactOT().align(x, y).evidence["pot_version"] == ot.__version__


def test_a_bad_coupling_warns_with_numbers_and_the_knob() -> None:
    x, y, lx, ly = _data(11)
    with pytest.warns(
        ConvergenceWarning,
        match=r"'eot' did not converge for 3 of 3 blocks: label 'l0' \(marginal error",
    ):
        coupling = EntropicOT(epsilon=1e-4, max_iter=3).align(x, y, lx, ly)
    assert not coupling.evidence["converged"]
    with pytest.warns(
        ConvergenceWarning,
        match=r"Raise max_iter \(now 3\), or epsilon \(now 0.0001 of the mean cost\)",
    ):
        EntropicOT(epsilon=1e-4, max_iter=3).align(x, y)
    with pytest.warns(
        ConvergenceWarning, match=r"'emd' did not converge .* Raise max_iter \(now 2\)"
    ):
        ExactOT(max_iter=2).align(x, y)
    with pytest.warns(
        ConvergenceWarning,
        match=r"'uot' did not converge for 1 of 1 blocks: all cells \(still changing after",
    ):
        UnbalancedOT(max_iter=2).align(x, y)


@pytest.mark.parametrize(
    "aligner", [EntropicOT(max_iter=3, epsilon=1e-4), ExactOT(max_iter=2), UnbalancedOT(max_iter=2)]
)
def test_strict_raises_what_else_is_warned_of(aligner: Any) -> None:
    x, y, lx, ly = _data(11)
    with pytest.warns(ConvergenceWarning) as warned:
        aligner.align(x, y, lx, ly)
    strict = type(aligner)(**{**vars(aligner), "strict": True})
    with pytest.raises(ConvergenceError, match=f"^{re.escape(str(warned[0].message))}$"):
        strict.align(x, y, lx, ly)
    assert warned[0].filename == __file__


def test_a_good_coupling_does_not_warn() -> None:
    x, y, lx, ly = _data(12)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        EntropicOT(strict=True).align(x, y, lx, ly)
        ExactOT(strict=True).align(x, y, lx, ly)
        UnbalancedOT(rho_source=1e-3, strict=True).align(x, y, lx, ly)  # mass may well be lost


def test_memory_is_refused_before_it_is_taken() -> None:
    x, y = np.zeros((40000, 1)), np.zeros((30000, 1))
    tracemalloc.start()
    with pytest.raises(TooLargeError) as caught:
        EntropicOT().align(x, y)
    assert tracemalloc.get_traced_memory()[1] < 1e7
    tracemalloc.stop()
    assert str(caught.value) == (
        "method 'eot' would need about 20.4 GB, more than max_memory_gb=2: the unlabeled problem has "
        "40000 x 30000 pairs of cells. To go on, align within labels (labeled=True), ask for a plan of low rank "
        "(rank=50), align a sample of the cells, or raise max_memory_gb if the machine has the memory."
    )
    labels = np.repeat(["a", "b"], [39000, 1000]), np.repeat(["a", "b"], [29000, 1000])
    with pytest.raises(
        TooLargeError, match=r"the largest label, 'a', has 39000 x 29000 pairs .* To go on, align a"
    ):
        ExactOT().align(x, y, *labels)


@pytest.mark.parametrize(
    "aligner",
    [
        EntropicOT(),
        EntropicOT(cost="cosine"),
        UnbalancedOT(epsilon=0.2),
        EntropicOT(epsilon="auto"),
    ],
)
@pytest.mark.parametrize("n_labels", [1, 2, 5])
def test_memory_stays_within_the_estimate(aligner: Any, n_labels: int) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(1000, 4)) + 1, rng.normal(size=(900, 4))
    labels = np.arange(1000) % n_labels, np.arange(900) % n_labels
    aligner.align(x[:20], y[:20])  # what is imported at first use
    tracemalloc.start()
    aligner.align(x, y, *labels)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    estimate = 1e9 * aligner.estimate_memory(partition(1000, 900, *labels), x, y)
    pairs = (1000 // n_labels) * (900 // n_labels)
    assert estimate == 17 * pairs + 8 * 1900 * (4 + 1)
    assert peak < 1.01 * estimate + 4e5


def test_the_estimate_counts_what_is_kept() -> None:
    x, y = np.zeros((40, 30)), np.zeros((30, 30))
    labels = np.repeat([0, 1], [39, 1]), np.repeat([0, 1], [20, 10])
    parts = partition(40, 30, *labels)
    # dense for both: 780 pairs against 59 cells of 31 values, 10 against 11 of 31
    assert EntropicOT().estimate_memory(parts, x, y) * 1e9 == 17 * 780 + 8 * 780 + 8 * 10
    # potentials of 59 cells of 2 values, and 10 pairs
    assert (
        EntropicOT().estimate_memory(parts, x[:, :1], y[:, :1]) * 1e9
        == 17 * 780 + 8 * 59 * 2 + 8 * 10
    )


def test_plans_are_kept_in_the_form_that_takes_less_memory() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(205, 4)), rng.normal(size=(103, 4))
    labels = np.repeat(["large", "small"], [200, 5]), np.repeat(["large", "small"], [100, 3])
    # uot keeps two numbers a cell more: what its costs are tilted by
    for aligner, width in ((EntropicOT(tol=1e-9), 4 + 1), (UnbalancedOT(tol=1e-9), 4 + 2)):
        coupling = aligner.align(x, y, *labels)
        large, small = coupling.blocks
        assert isinstance(large.plan, PotentialPlan)
        assert isinstance(small.plan, np.ndarray)
        assert coupling.nbytes == 8 * (300 * width + 15)
        # the potentials make the plan that was judged
        error = (
            np.abs(large.plan.rows().sum(axis=1) - large.a).sum(),
            np.abs(small.plan.sum(axis=1) - small.a).sum(),
        )
        assert sum(error) == pytest.approx(coupling.evidence["row_error"], abs=1e-12)
        assert coupling.marginal_errors()[0] == pytest.approx(
            coupling.evidence["row_error"], abs=1e-12
        )
        cost = cdist(x, y, "sqeuclidean")
        assert coupling.evidence["transport_cost"] == pytest.approx(
            (coupling.to_dense() * cost).sum()
        )


# --------------------------------------------------------------------------------------------------- bad input

Z = np.arange(6.0).reshape(3, 2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: EntropicOT().align(Z, Z[:, :1]),
            r"both modalities in one space: found 2 dimensions in the source and 1",
        ),
        (
            lambda: EntropicOT().align(Z[0], Z),
            r"x must be a matrix \(n cells, d dimensions\); found shape \(2,\)",
        ),
        (
            lambda: ExactOT().align(Z, np.where(Z > 3, np.nan, Z)),
            r"y holds NaN .* in 1 of 3 cells, first in cell 2",
        ),
        (
            lambda: ExactOT().align(np.where(Z > 3, np.inf, Z), Z),
            r"x holds NaN or infinite values in 1 of 3",
        ),
        (lambda: ExactOT().align(Z, Z, ["a"] * 3, ["b"] * 3), r"no label is shared"),
        (
            lambda: EntropicOT(epsilon=0),
            r"epsilon must be positive, relative to the mean cost, or 'auto'; found 0\. .*method='emd'",
        ),
        (lambda: EntropicOT(epsilon=float("nan")), r"epsilon must be "),
        (
            lambda: EntropicOT(tol=0),
            r"tol must be positive and max_iter at least 1; found 0 and 10000",
        ),
        (lambda: ExactOT(cost="l1"), r"cost must be "),
        (lambda: EntropicOT(max_iter=0), r"max_iter at least 1; found 1e-05 and 0"),
        (lambda: EntropicOT(epsilon="small"), r"epsilon must be "),
        (lambda: EntropicOT(epsilon=True), r"epsilon must be "),
        (lambda: EntropicOT(epsilon=float("inf")), r"relative to the mean cost, .*; found inf"),
        (
            lambda: EntropicOT(epsilon=1e-9),
            r"epsilon=1e-09 is too small to compute with: it is relative to the mean cost, .*method='emd'",
        ),
        (lambda: EntropicOT(backend="cuda"), r"backend must be "),
        (lambda: ExactOT(max_memory_gb=0), r"max_memory_gb must be "),
        (
            lambda: ExactOT(n_jobs=0),
            r"n_jobs must be a number of workers, -1 for all cores, or None .*; found 0",
        ),
        (lambda: EntropicOT(n_jobs=1.5), r"n_jobs must be .*; found 1\.5"),
        (
            lambda: UnbalancedOT(rho_source=0),
            r"rho_source must be positive, relative to the mean cost, or inf for an exact marginal; found 0",
        ),
        (lambda: UnbalancedOT(rho_target=float("nan")), r"rho_target must be "),
        (
            lambda: ExactOT().align(Z, Z, weights_x=[1, 2]),
            r"weights_x must hold one weight a cell: expected shape \(3,\)",
        ),
        (
            lambda: EntropicOT().align(Z, Z, weights_y=[1, -2, 1]),
            r"weights_y must be finite and at least 0; found -2",
        ),
        (lambda: EntropicOT().align([["a"], ["b"]], Z), r"x must be a dense matrix of numbers"),
    ],
)
def test_what_does_not_fit_is_refused(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_an_absurdly_large_epsilon_is_warned_of() -> None:
    with pytest.warns(
        UserWarning,
        match=r"epsilon=50 is relative to the mean cost, .*Was an absolute value meant\? Divide it by the mean",
    ):
        EntropicOT(epsilon=50)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        EntropicOT(epsilon=10)


# --------------------------------------------------------------------------------------------- weights of the cells


def _weights(seed: int, n: int = 24, m: int = 18) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.exponential(size=n), rng.exponential(size=m)


def test_weighted_emd_agrees_with_pot() -> None:
    x, y, _, _ = _data(20)
    wx, wy = _weights(20)
    coupling = ExactOT().align(x, y, weights_x=wx, weights_y=wy)
    cost = cdist(x, y, "sqeuclidean")
    np.testing.assert_allclose(
        coupling.to_dense(), ot.emd(wx / wx.sum(), wy / wy.sum(), cost), atol=1e-12
    )


@pytest.mark.parametrize("epsilon", [0.5, 0.05])
def test_weighted_eot_agrees_with_pot(epsilon: float) -> None:
    x, y, _, _ = _data(21)
    wx, wy = _weights(21)
    cost = cdist(x, y, "sqeuclidean")
    theirs = ot.sinkhorn(
        wx / wx.sum(),
        wy / wy.sum(),
        cost / cost.mean(),
        epsilon,
        "sinkhorn_log",
        numItermax=100000,
        stopThr=1e-11,
    )
    coupling = EntropicOT(epsilon=epsilon, tol=1e-10).align(x, y, weights_x=wx, weights_y=wy)
    assert np.abs(coupling.to_dense() - theirs).sum() < 1e-7


@pytest.mark.parametrize("method", ["eot", "emd", "uot"])
def test_weights_within_labels(method: str) -> None:
    x, y, lx, ly = _data(22)
    wx, wy = _weights(22)
    coupling = aligners.get(method)().align(x, y, lx, ly, weights_x=wx, weights_y=7 * wy)
    a, b = coupling.marginals
    for label in np.unique(lx):
        i, j = lx == label, ly == label
        mass = (wx[i].sum() / wx.sum() + wy[j].sum() / wy.sum()) / 2
        np.testing.assert_allclose(a[i], mass * wx[i] / wx[i].sum())
        np.testing.assert_allclose(b[j], mass * wy[j] / wy[j].sum())
    if method != "uot":
        assert sum(coupling.marginal_errors()) < 1e-5


@pytest.mark.parametrize("method", ["eot", "emd", "uot"])
def test_a_cell_of_weight_zero_is_as_if_it_were_not_there(method: str) -> None:
    x, y, lx, ly = _data(23)
    wx, wy = _weights(23)
    wx[[2, 5]], wy[7] = 0, 0
    aligner = aligners.get(method)()
    coupling = aligner.align(x, y, lx, ly, weights_x=wx, weights_y=wy)
    i, j = wx > 0, wy > 0
    rest = aligner.align(x[i], y[j], lx[i], ly[j], weights_x=wx[i], weights_y=wy[j])
    np.testing.assert_array_equal(coupling.to_dense()[np.ix_(i, j)], rest.to_dense())
    assert np.flatnonzero(coupling.row_mass() == 0).tolist() == [2, 5]
    evidence = coupling.evidence
    assert (evidence["n_source_weightless"], evidence["n_target_weightless"]) == (2, 1)
    assert (evidence["n_source_used"], evidence["n_target_used"]) == (22, 17)


def test_a_cell_of_weight_two_is_as_if_it_were_there_twice() -> None:
    x, y, _, _ = _data(24)
    weights = np.ones(24)
    weights[3] = 2
    once = EntropicOT(tol=1e-10).align(x, y, weights_x=weights).to_dense()
    scale = cdist(x, y, "sqeuclidean").mean() / cdist(np.vstack([x, x[3]]), y, "sqeuclidean").mean()
    twice = EntropicOT(epsilon=0.05 * scale, tol=1e-10).align(np.vstack([x, x[3]]), y).to_dense()
    np.testing.assert_allclose(twice[3], twice[24], atol=1e-12)
    np.testing.assert_allclose(once[3], 2 * twice[3], atol=1e-8)
    np.testing.assert_allclose(
        np.delete(once, 3, axis=0), np.delete(twice[:24], 3, axis=0), atol=1e-8
    )


# -------------------------------------------------------------------------------------------------------- unbalanced


def _penalty(found: np.ndarray, wanted: np.ndarray) -> float:
    return float((found * np.log(found / wanted) - found + wanted).sum())


@pytest.mark.parametrize("epsilon", [0.5, 0.05])
@pytest.mark.parametrize(("rho_source", "rho_target"), [(1.0, 1.0), (0.05, 0.05), (0.2, 3.0)])
@pytest.mark.parametrize("weighted", [False, True])
def test_uot_agrees_with_pot(
    epsilon: float, rho_source: float, rho_target: float, weighted: bool
) -> None:
    x, y, _, _ = _data(30)
    wx, wy = _weights(30) if weighted else (np.ones(24), np.ones(18))
    a, b = wx / wx.sum(), wy / wy.sum()
    cost = cdist(x, y, "sqeuclidean")
    cost /= cost.mean()
    theirs = ot.unbalanced.sinkhorn_unbalanced(
        a,
        b,
        cost,
        epsilon,
        (rho_source, rho_target),
        method="sinkhorn_stabilized",
        reg_type="kl",
        numItermax=200000,
        stopThr=1e-12,
    )
    aligner = UnbalancedOT(epsilon=epsilon, rho_source=rho_source, rho_target=rho_target, tol=1e-10)
    coupling = aligner.align(x, y, weights_x=wx, weights_y=wy)
    assert coupling.evidence["converged"]
    assert np.abs(coupling.to_dense() - theirs).sum() < 1e-7
    assert coupling.evidence["mass"] == pytest.approx(theirs.sum(), rel=1e-6)
    assert coupling.evidence["row_error"] == pytest.approx(
        np.abs(theirs.sum(axis=1) - a).sum(), rel=1e-5
    )


def test_the_objective_of_uot_by_hand_and_as_a_minimum() -> None:
    x, y, lx, ly = _data(31)
    aligner = UnbalancedOT(rho_source=0.3, rho_target=0.7, epsilon=0.1, tol=1e-10)
    coupling = aligner.align(x, y, lx, ly)
    scales = dict(zip(coupling.labels, coupling.evidence["cost_scale"], strict=True))

    def objective(plan: np.ndarray) -> float:
        total = 0.0
        for block in coupling.blocks:
            t, scale = plan[np.ix_(block.rows, block.columns)], scales[block.label]
            cost = cdist(x[block.rows], y[block.columns], "sqeuclidean")
            total += (t * cost).sum() + 0.1 * scale * _penalty(
                t, np.outer(block.a, block.b) / block.a.sum()
            )
            total += 0.3 * scale * _penalty(t.sum(axis=1), block.a)
            total += 0.7 * scale * _penalty(t.sum(axis=0), block.b)
        return total

    plan = coupling.to_dense()
    best = objective(plan)
    assert coupling.evidence["objective"] == pytest.approx(best, rel=1e-9)
    for step in (1e-3, -1e-3):
        for change in (np.ones_like(plan), np.random.default_rng(0).normal(size=plan.shape)):
            assert objective(plan * (1 + step * change)) > best


def test_large_penalties_approach_eot_and_infinite_ones_are_eot() -> None:
    x, y, lx, ly = _data(32)
    balanced = EntropicOT(tol=1e-10).align(x, y, lx, ly)
    gaps = []
    for rho in (1.0, 10.0, 100.0, 1e4):
        coupling = UnbalancedOT(rho_source=rho, rho_target=rho, tol=1e-10, max_iter=100000).align(
            x, y, lx, ly
        )
        gaps.append(np.abs(coupling.to_dense() - balanced.to_dense()).sum())
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[-1] < 1e-3
    exact = UnbalancedOT(rho_source=np.inf, rho_target=np.inf, tol=1e-10).align(x, y, lx, ly)
    np.testing.assert_allclose(exact.to_dense(), balanced.to_dense(), atol=1e-9)
    assert exact.evidence["transport_cost"] == pytest.approx(balanced.evidence["transport_cost"])


def test_mass_does_not_depend_on_the_number_of_cells_or_labels() -> None:
    rng = np.random.default_rng(37)
    aligner = UnbalancedOT(rho_source=0.2, rho_target=0.2, epsilon=0.2)
    by_cells = [
        aligner.align(rng.normal(size=(n, 4)), rng.normal(size=(n, 4))).mass for n in (50, 200, 800)
    ]
    np.testing.assert_allclose(by_cells, by_cells[-1], rtol=0.15)
    assert max(by_cells) < 1
    x, y = rng.normal(size=(30, 4)), rng.normal(size=(30, 4))
    alone = aligner.align(x, y).mass
    for repeats in (2, 20):
        labels = np.repeat(np.arange(repeats), 30)
        again = aligner.align(np.tile(x, (repeats, 1)), np.tile(y, (repeats, 1)), labels, labels)
        assert again.mass == pytest.approx(alone)


@pytest.mark.parametrize("side", ["source", "target"])
def test_an_infinite_penalty_makes_its_side_exact(side: str) -> None:
    x, y, lx, ly = _data(33)
    coupling = UnbalancedOT(
        **{"rho_source": 0.2, "rho_target": 0.2, f"rho_{side}": np.inf}, tol=1e-10
    ).align(x, y, lx, ly)
    errors = dict(zip(("source", "target"), coupling.marginal_errors(), strict=True))
    assert errors.pop(side) < 1e-8
    assert next(iter(errors.values())) > 0.05
    assert coupling.mass == pytest.approx(1)


def test_a_cell_without_a_counterpart_loses_its_mass() -> None:
    x, y, _, _ = _data(34)
    x[5] += 20
    mass = UnbalancedOT(rho_source=0.1, rho_target=0.1).align(x, y).row_mass()
    assert mass[5] < 1e-3 * np.delete(mass, 5).min()
    assert np.delete(mass, 5).min() > 0.2 / 24
    np.testing.assert_allclose(EntropicOT().align(x, y).row_mass()[5], 1 / 24)


def test_smaller_penalties_leave_more_mass_behind() -> None:
    x, y, _, _ = _data(35)
    masses = [
        UnbalancedOT(rho_source=r, rho_target=r, epsilon=0.01).align(x, y).mass
        for r in (10, 1, 0.1, 0.02)
    ]
    assert masses == sorted(masses, reverse=True)
    assert masses[-1] < 0.5


# ------------------------------------------------------------------------------------------------ eps from the data


def _noisy(seed: int, n: int, s: float, d: int = 10, n_labels: int = 1) -> tuple[np.ndarray, ...]:
    """Target cells are the source cells, shuffled, plus noise of variance s^2."""
    rng = np.random.default_rng(seed)
    x, labels = rng.normal(size=(n, d)), np.arange(n) % n_labels
    order = rng.permutation(n)
    return x, x[order] + s * rng.normal(size=(n, d)), labels, labels[order]


@pytest.mark.parametrize("s", [0.05, 0.2, 0.5, 1.0])
@pytest.mark.parametrize(("n", "n_labels"), [(150, 1), (900, 1), (600, 3), (400, 40)])
def test_auto_finds_the_noise(s: float, n: int, n_labels: int) -> None:
    """Also where only some of the cells of a label are looked at: 300."""
    x, y, lx, ly = _noisy(1, n, s, n_labels=n_labels)
    evidence = EntropicOT(epsilon="auto").align(x, y, lx, ly).evidence
    np.testing.assert_allclose(evidence["epsilon_absolute"].mean(), 2 * s**2, rtol=0.2)
    assert evidence["epsilon"] == "auto"
    np.testing.assert_allclose(
        evidence["epsilon_absolute"], evidence["epsilon_relative"] * evidence["cost_scale"]
    )


def test_auto_of_unequal_numbers_of_cells() -> None:
    x, y, _, _ = _noisy(2, 700, 0.3)
    for rows, columns in ((700, 200), (700, 350)):
        found = (
            EntropicOT(epsilon="auto").align(x[:rows], y[:columns]).evidence["epsilon_absolute"][0]
        )
        assert found == pytest.approx(2 * 0.3**2, rel=0.2)


@pytest.mark.parametrize("options", [{}, {"cost": "cosine"}])
def test_auto_does_not_depend_on_what_epsilon_is_relative_to(options: dict[str, str]) -> None:
    x, y, lx, ly = _noisy(3, 400, 0.2, n_labels=2)
    expected = 2 * 0.2**2
    if "cost" in options:  # half the squared distance, on the sphere: eps = s^2
        order = np.random.default_rng(3).permutation(400)
        x /= np.linalg.norm(x, axis=1)[:, None]
        y, ly = x[order] + 0.02 * np.random.default_rng(4).normal(size=x.shape), lx[order]
        expected = 0.02**2
    evidence = EntropicOT(epsilon="auto", **options).align(x, y, lx, ly).evidence
    np.testing.assert_allclose(evidence["epsilon_absolute"].mean(), expected, rtol=0.2)


def test_auto_finds_the_matches_that_the_default_blurs() -> None:
    x, y, _, _ = _noisy(4, 300, 0.3)
    partner = np.random.default_rng(4)
    partner.normal(size=(300, 10))  # as in _noisy: the permutation follows
    true = np.argsort(partner.permutation(300))
    auto, default = (
        EntropicOT(epsilon=epsilon).align(x, y).to_dense()[np.arange(300), true].sum()
        for epsilon in ("auto", 0.05)
    )
    assert auto > 0.9
    assert auto > default + 0.1


def test_auto_without_noise_ends_at_the_smallest() -> None:
    x, _, _, _ = _noisy(5, 50, 1.0)
    coupling = EntropicOT(epsilon="auto", max_iter=100000).align(x, x)
    assert coupling.evidence["epsilon_relative"] == pytest.approx(1e-7)
    np.testing.assert_allclose(coupling.to_dense(), np.eye(50) / 50, atol=1e-9)


# ------------------------------------------------------------------------------------------------------ many workers


def _assert_equal(one: Coupling, other: Coupling) -> None:
    for mine, theirs in zip(one.blocks, other.blocks, strict=True):
        assert type(mine.plan) is type(theirs.plan)
        np.testing.assert_array_equal(mine.rows, theirs.rows)
    np.testing.assert_array_equal(one.to_dense(), other.to_dense())
    for key in set(one.evidence) - {"seconds", "n_jobs"}:
        np.testing.assert_array_equal(one.evidence[key], other.evidence[key])


JOBS = [EntropicOT, ExactOT, UnbalancedOT, lambda **k: EntropicOT(epsilon="auto", **k)]


@pytest.mark.parametrize("make", JOBS)
def test_the_number_of_workers_changes_nothing(make: Callable[..., Any]) -> None:
    x, y, lx, ly = _data(40, 300, 200, 12)
    with joblib.parallel_config(backend="threading"):
        two = make(n_jobs=2).align(x, y, lx, ly)
    _assert_equal(make().align(x, y, lx, ly), two)


@pytest.mark.slow
def test_processes_change_nothing() -> None:
    x, y, lx, ly = _data(41, 200, 100, 5)
    _assert_equal(EntropicOT().align(x, y, lx, ly), EntropicOT(n_jobs=2).align(x, y, lx, ly))


@pytest.mark.parametrize("make", JOBS)
def test_jobs_can_be_sent_to_processes(
    make: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = []

    def run(solve: Callable[..., Any], items: Any, *_: Any) -> Any:
        sent.append(len(pickle.dumps((solve, items))))
        solve, items = pickle.loads(pickle.dumps((solve, items)))
        return pickle.loads(pickle.dumps(solve(items)))

    x, y, lx, ly = _data(44)
    plain = make().align(x, y, lx, ly)
    monkeypatch.setattr("scgroove.aligners._linear.run", run)
    _assert_equal(plain, make().align(x, y, lx, ly))
    assert sent[0] < 1e4  # the cells, and no costs


def test_the_backend_of_joblib_is_taken_from_its_configuration() -> None:
    import threading

    seen = set()

    class Watched(EntropicOT):
        def _solve_blocks(self, *arguments: Any, **options: Any) -> Any:
            seen.add(threading.current_thread().name)
            return super()._solve_blocks(*arguments, **options)

    x, y, lx, ly = _data(42, 300, 200, 12)
    plain = Watched().align(x, y, lx, ly)
    assert seen == {threading.current_thread().name}
    seen.clear()
    with joblib.parallel_config(backend="threading", n_jobs=2):
        threaded = Watched().align(x, y, lx, ly)
    assert threading.current_thread().name not in seen
    assert 1 <= len(seen) <= 2
    _assert_equal(plain, threaded)


def test_a_bad_block_is_warned_of_from_workers_too() -> None:
    x, y, lx, ly = _data(43)
    with (
        joblib.parallel_config(backend="threading", n_jobs=2),
        pytest.warns(ConvergenceWarning, match="3 of 3 blocks"),
    ):
        EntropicOT(epsilon=1e-4, max_iter=3).align(x, y, lx, ly)
