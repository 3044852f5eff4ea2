"""Exact and entropic optimal transport within labels: against POT, SciPy and the invariants."""

from __future__ import annotations

import tracemalloc
import warnings

import numpy as np
import ot
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment, linprog
from scipy.spatial.distance import cdist

from scgroove import aligners
from scgroove.aligners import Aligner, ConvergenceWarning, EntropicOT, ExactOT, TooLargeError
from scgroove.aligners._linear import pairwise_cost
from scgroove.metrics import label_mass


def _data(seed: int, n: int = 24, m: int = 18, n_labels: int = 3):
    rng = np.random.default_rng(seed)
    names = np.array([f"l{k}" for k in range(n_labels)])
    lx = names[np.concatenate([np.arange(n_labels), rng.integers(0, n_labels, n - n_labels)])]
    ly = names[np.concatenate([np.arange(n_labels), rng.integers(0, n_labels, m - n_labels)])]
    return rng.normal(size=(n, 4)), rng.normal(size=(m, 4)), lx, ly


def test_registry() -> None:
    assert aligners.get("eot") is EntropicOT
    assert aligners.get("emd") is ExactOT
    assert isinstance(EntropicOT(), Aligner)
    with pytest.raises(
        ValueError, match=r"unknown aligner 'eott'\. Did you mean 'eot'\? Available: .*'emd', 'eot'"
    ):
        aligners.get("eott")


# ---------------------------------------------------------------------------------------------------- invariants


@pytest.mark.parametrize("method", ["eot", "emd"])
@pytest.mark.parametrize("weights", ["mean", "source", "target", "equal"])
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_labelled_couplings_have_their_marginals_and_keep_to_labels(
    method: str, weights: str, seed: int
) -> None:
    x, y, lx, ly = _data(seed)
    coupling = aligners.get(method)(label_weights=weights).align(x, y, lx, ly)
    assert coupling.mass == pytest.approx(1)
    assert label_mass(coupling, lx, ly) == 1
    mass = dict(zip(coupling.evidence["labels"], coupling.evidence["label_mass"], strict=True))
    np.testing.assert_allclose(coupling.row_mass(), [mass[label] / (lx == label).sum() for label in lx])
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
    whole = make(label_weights="equal").align(x, y, lx, ly).to_sparse(0, np.float64).toarray()
    for label in np.unique(lx):
        i, j = lx == label, ly == label
        alone = make().align(x[i], y[j]).to_sparse(0, np.float64).toarray()
        np.testing.assert_allclose(whole[np.ix_(i, j)], alone / 3, atol=1e-12)


@pytest.mark.parametrize("method", ["eot", "emd"])
def test_order_of_cells_and_scale_of_the_space_play_no_part(method: str) -> None:
    x, y, lx, ly = _data(1)
    make = aligners.get(method)
    plain = make().align(x, y, lx, ly).to_sparse(0, np.float64).toarray()
    p, q = np.random.default_rng(0).permutation(len(x)), np.random.default_rng(1).permutation(len(y))
    turned = make().align(1e3 * x[p], 1e3 * y[q], lx[p], ly[q]).to_sparse(0, np.float64).toarray()
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
    assert (evidence["n_source_unlabelled"], evidence["n_target_unlabelled"]) == (1, 1)
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


@pytest.mark.parametrize("scale", ["mean", "max"])
@pytest.mark.parametrize("epsilon", [0.5, 0.05, 0.01])
def test_eot_agrees_with_pot(scale: str, epsilon: float) -> None:
    x, y, _, _ = _data(3)
    cost = cdist(x, y, "sqeuclidean")
    cost /= cost.mean() if scale == "mean" else cost.max()
    a, b = np.full(24, 1 / 24), np.full(18, 1 / 18)
    theirs = ot.sinkhorn(a, b, cost, epsilon, method="sinkhorn_log", numItermax=100000, stopThr=1e-11)
    coupling = EntropicOT(epsilon=epsilon, epsilon_scale=scale, tol=1e-10, max_iter=100000).align(x, y)
    assert np.abs(coupling.to_sparse(0, np.float64).toarray() - theirs).sum() < 1e-7
    absolute = coupling.evidence["epsilon_absolute"][0]
    divided_by = coupling.evidence["cost_scale"][0]
    assert absolute == pytest.approx(epsilon * divided_by)
    objective = divided_by * ((theirs * cost).sum() + epsilon * (theirs * (np.log(theirs) - 1)).sum())
    assert coupling.evidence["objective"] == pytest.approx(objective, rel=1e-6)


def test_global_scope_gives_every_label_the_same_epsilon() -> None:
    x, y, lx, ly = _data(4)
    x[lx == "l0"] *= 10
    own = EntropicOT().align(x, y, lx, ly).evidence
    common = EntropicOT(epsilon_scope="global").align(x, y, lx, ly).evidence
    assert np.ptp(common["epsilon_absolute"]) == 0
    assert own["epsilon_absolute"][0] > 5 * own["epsilon_absolute"][1]
    pairs = common["n_source_per_label"] * common["n_target_per_label"]
    assert common["cost_scale"][0] == pytest.approx(own["cost_scale"] @ pairs / pairs.sum())


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
    assert np.abs(coupling.to_sparse(0, np.float64).toarray().ravel() - found.x).sum() < 1e-6


def test_emd_of_equal_numbers_is_an_assignment() -> None:
    x, y, _, _ = _data(6, 30, 30)
    plan = ExactOT().align(x, y).to_sparse(0, np.float64).toarray()
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
    expected = 1 - (x / np.linalg.norm(x, axis=1)[:, None]) @ (y / np.linalg.norm(y, axis=1)[:, None]).T
    np.testing.assert_allclose(pairwise_cost(x, y, "cosine"), expected, atol=1e-12)
    one = EntropicOT(cost="cosine").align(x, y)
    other = EntropicOT(cost="cosine").align(7 * x, np.arange(1, 19)[:, None] * y)
    np.testing.assert_allclose(one.to_sparse(0).toarray(), other.to_sparse(0).toarray(), rtol=1e-4)
    with pytest.raises(
        ValueError, match=r"cost='cosine' needs a direction: 24 source cells are at the origin"
    ):
        EntropicOT(cost="cosine").align(0 * x, y)


# ---------------------------------------------------------------------------------- evidence, warnings, memory


def test_evidence_is_flat_and_of_types_that_can_be_stored() -> None:
    x, y, lx, ly = _data(10)
    for aligner in (EntropicOT(), ExactOT()):
        evidence = aligner.align(x, y, lx, ly).evidence
        for key, value in evidence.items():
            assert isinstance(value, str | float | int | bool | np.ndarray), key
        assert {
            "method",
            "labelled",
            "row_error",
            "column_error",
            "converged",
            "objective",
            "seconds",
        } <= set(evidence)
        assert evidence["pot_version"] == ot.__version__


def test_a_bad_coupling_warns_with_numbers_and_the_knob() -> None:
    x, y, lx, ly = _data(11)
    with pytest.warns(
        ConvergenceWarning, match=r"'eot' did not converge for 3 of 3 blocks: label 'l0' \(marginal error"
    ):
        coupling = EntropicOT(epsilon=1e-4, max_iter=3).align(x, y, lx, ly)
    assert not coupling.evidence["converged"]
    with pytest.warns(
        ConvergenceWarning, match=r"Raise max_iter \(now 3\), or epsilon \(now 0.0001 of the mean cost\)"
    ):
        EntropicOT(epsilon=1e-4, max_iter=3).align(x, y)
    with pytest.warns(ConvergenceWarning, match=r"'emd' did not converge .* Raise max_iter \(now 2\)"):
        ExactOT(max_iter=2).align(x, y)


def test_a_good_coupling_does_not_warn() -> None:
    x, y, lx, ly = _data(12)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        EntropicOT().align(x, y, lx, ly)
        ExactOT().align(x, y, lx, ly)


def test_memory_is_refused_before_it_is_taken() -> None:
    x, y = np.zeros((40000, 1)), np.zeros((30000, 1))
    tracemalloc.start()
    with pytest.raises(TooLargeError) as caught:
        EntropicOT().align(x, y)
    assert tracemalloc.get_traced_memory()[1] < 1e7
    tracemalloc.stop()
    assert str(caught.value) == (
        "method 'eot' would need about 48.0 GB, more than max_memory_gb=2: the unlabelled problem has "
        "40000 x 30000 pairs of cells. To go on, align within labels (labelled=True), align a sample of the cells, "
        "or raise max_memory_gb if the machine has the memory."
    )
    labels = np.repeat(["a", "b"], [39000, 1000]), np.repeat(["a", "b"], [29000, 1000])
    with pytest.raises(
        TooLargeError, match=r"the largest label, 'a', has 39000 x 29000 pairs .* To go on, align a"
    ):
        ExactOT().align(x, y, *labels)


def test_memory_stays_within_the_estimate() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(800, 4)), rng.normal(size=(700, 4))
    labels = np.repeat(["a", "b"], 400), np.repeat(["a", "b"], 350)
    tracemalloc.start()
    EntropicOT().align(x, y, *labels)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < (24 * 2 + 16) * 400 * 350 + 1e6


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
        (lambda: ExactOT().align(np.where(Z > 3, np.inf, Z), Z), r"x holds NaN or infinite values in 1 of 3"),
        (lambda: ExactOT().align(Z, Z, ["a"] * 3, ["b"] * 3), r"no label is shared"),
        (
            lambda: EntropicOT(epsilon=0),
            r"epsilon must be positive, relative to the mean cost; found 0.*method='emd'",
        ),
        (lambda: EntropicOT(epsilon=float("nan")), r"epsilon must be positive"),
        (
            lambda: EntropicOT(epsilon_scale="median"),
            r"epsilon_scale must be one of 'mean', 'max'; found 'median'",
        ),
        (
            lambda: EntropicOT(epsilon_scope="label"),
            r"epsilon_scope must be one of 'block', 'global'; found 'label'",
        ),
        (lambda: EntropicOT(tol=0), r"tol must be positive and max_iter at least 1; found 0 and 10000"),
        (lambda: ExactOT(cost="l1"), r"cost must be one of 'sqeuclidean', 'cosine'; found 'l1'"),
        (lambda: ExactOT(max_memory_gb=0), r"max_memory_gb must be positive; found 0"),
    ],
)
def test_what_does_not_fit_is_refused(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
