"""Gromov-Wasserstein in blocks: against dense matrices, POT, and the definition."""

from __future__ import annotations

import warnings

import numpy as np
import ot
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from _dense_gromov import energy, masked_gromov
from scgroove import aligners
from scgroove.aligners import (
    EntropicOT,
    FusedGromovWasserstein,
    GromovWasserstein,
    LowRankCost,
)
from scgroove.aligners._plans import PotentialPlan
from scgroove.errors import ConvergenceError, ConvergenceWarning, TooLargeError
from scgroove.metrics import score


def _data(seed: int, n: int = 30, m: int = 26, n_labels: int = 3, d_x: int = 4, d_y: int = 3):
    """Cells of labels far from each other, with a common structure seen in two ways."""
    rng = np.random.default_rng(seed)
    names = np.array([f"l{k}" for k in range(n_labels)])
    lx = names[np.concatenate([np.arange(n_labels), rng.integers(0, n_labels, n - n_labels)])]
    ly = names[np.concatenate([np.arange(n_labels), rng.integers(0, n_labels, m - n_labels)])]
    center = {name: 2 * rng.normal(size=3) for name in names}
    u, v = (
        np.stack([center[name] for name in own]) + rng.normal(size=(own.size, 3))
        for own in (lx, ly)
    )
    noise = 0.1 * rng.normal(size=(n, d_x)), 0.1 * rng.normal(size=(m, d_y))
    x = u @ rng.normal(size=(3, d_x)) + noise[0]
    y = v @ rng.normal(size=(3, d_y)) + noise[1]
    return x, y, lx, ly


def _scaled(x: np.ndarray, metric: str = "sqeuclidean") -> np.ndarray:
    cost = cdist(x, x, metric)
    return cost / cost.mean()


def _four_index(c: np.ndarray, d: np.ndarray, plan: np.ndarray) -> float:
    return float(
        np.einsum("ijkl,ij,kl->", (c[:, None, :, None] - d[None, :, None, :]) ** 2, plan, plan)
    )


def _entropy_term(plan: np.ndarray) -> float:
    positive = plan[plan > 0]
    return float((positive * (np.log(positive) - 1)).sum())


# ------------------------------------------------------------------------------------------------- the definition


@pytest.mark.parametrize("method", ["egw", "fgw"])
@pytest.mark.parametrize("intra_cost", ["sqeuclidean", "cosine", "euclidean"])
@pytest.mark.parametrize("labeled", [True, False])
def test_objective_is_what_the_definition_says(method: str, intra_cost: str, labeled: bool) -> None:
    x, y, lx, ly = _data(0, 12, 10, d_y=4)
    aligner = aligners.get(method)(epsilon=0.1, intra_cost=intra_cost, tol=1e-9, tol_outer=1e-8)
    coupling = aligner.align(x, y, lx, ly) if labeled else aligner.align(x, y)
    plan, evidence = coupling.to_dense(), coupling.evidence
    metric = intra_cost
    quadratic = _four_index(_scaled(x, metric), _scaled(y, metric), plan)
    assert evidence["energy"] == pytest.approx(quadratic, rel=1e-6)
    cost = cdist(x, y, "sqeuclidean")
    pairs = lx[:, None] == ly if labeled else np.full(cost.shape, True)
    linear = (cost * plan).sum() / cost[pairs].mean()
    expected = quadratic if method == "egw" else 0.5 * linear + 0.5 * quadratic
    assert evidence["transport_cost"] == pytest.approx(expected, rel=1e-6)
    assert evidence["objective"] == pytest.approx(expected + 0.1 * _entropy_term(plan), rel=1e-6)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), method=st.sampled_from(["egw", "egw_each", "fgw"]))
@example(
    seed=7940, method="fgw"
)  # the last potentials meet the columns of the last problem at once
def test_marginals_are_met_inside_labels(seed: int, method: str) -> None:
    x, y, lx, ly = _data(seed, d_y=4)
    coupling = aligners.get(method)(epsilon=0.05).align(x, y, lx, ly)
    assert score("label_mass", coupling=coupling, labels_x=lx, labels_y=ly).value == pytest.approx(
        1
    )
    mass = dict(zip(coupling.evidence["labels"], coupling.evidence["label_mass"], strict=True))
    np.testing.assert_allclose(
        coupling.row_mass(), [mass[name] / (lx == name).sum() for name in lx], rtol=1e-8
    )
    np.testing.assert_allclose(
        coupling.column_mass(), [mass[name] / (ly == name).sum() for name in ly], rtol=1e-2
    )
    assert coupling.evidence["column_error"] < 1e-4
    assert coupling.evidence["converged"]


def test_the_coupling_is_a_stationary_point() -> None:
    """T is proportional to exp(-gradient / eps) up to row and column factors."""
    x, y, _, _ = _data(1, 14, 12)
    coupling = GromovWasserstein(epsilon=0.03, tol=1e-11, tol_outer=1e-10, max_iter=100000).align(
        x, y
    )
    plan, c, d = coupling.to_dense(), _scaled(x), _scaled(y)
    gradient = 2 * ((c**2 @ plan.sum(axis=1))[:, None] + d**2 @ plan.sum(axis=0) - 2 * c @ plan @ d)
    potentials = 0.03 * np.log(plan) + gradient
    additive = potentials[:, :1] + potentials[:1] - potentials[0, 0]
    np.testing.assert_allclose(potentials, additive, atol=1e-6)


# -------------------------------------------------------------------------------------------- against other solvers


@pytest.mark.parametrize("anneal", [True, False])
def test_blocks_agree_with_dense_masked_matrices(anneal: bool) -> None:
    x, y, lx, ly = _data(2, 60, 50)
    settings_ = {"tol": 1e-7, "tol_outer": 1e-7, "anneal": anneal}
    coupling = GromovWasserstein(epsilon=0.03, **settings_).align(x, y, lx, ly)
    expected = masked_gromov(x, y, lx, ly, 0.03, **settings_)
    assert np.abs(coupling.to_dense() - expected).sum() < 1e-5
    assert coupling.evidence["energy"] == pytest.approx(energy(x, y, expected), rel=1e-6)


@pytest.mark.parametrize("epsilon", [0.1, 0.05])
def test_unlabeled_agrees_with_pot(epsilon: float) -> None:
    x, y, _, _ = _data(3)
    c, d = _scaled(x), _scaled(y)
    theirs = ot.gromov.entropic_gromov_wasserstein(
        c, d, epsilon=epsilon, solver="PGD", max_iter=2000, tol=1e-10, symmetric=True
    )
    ours = GromovWasserstein(epsilon=epsilon, anneal=False, tol=1e-10, tol_outer=1e-9).align(x, y)
    assert np.abs(ours.to_dense() - theirs).sum() < 1e-4


def test_fused_agrees_with_pot() -> None:
    x, y, _, _ = _data(4, d_y=4)
    cost = cdist(x, y, "sqeuclidean")
    theirs = ot.gromov.entropic_fused_gromov_wasserstein(
        cost / cost.mean(), _scaled(x), _scaled(y), epsilon=0.05, alpha=0.3, solver="PGD",
        max_iter=2000, tol=1e-10, symmetric=True,
    )  # fmt: skip
    aligner = FusedGromovWasserstein(
        epsilon=0.05, alpha=0.3, anneal=False, tol=1e-10, tol_outer=1e-9
    )
    assert np.abs(aligner.align(x, y).to_dense() - theirs).sum() < 1e-4


def test_fused_is_linear_at_zero_and_quadratic_at_one() -> None:
    x, y, lx, ly = _data(5, d_y=4)
    make = {"epsilon": 0.05, "tol": 1e-9, "tol_outer": 1e-9}
    linear = EntropicOT(epsilon=0.05, tol=1e-9).align(x, y).to_dense()
    fused = FusedGromovWasserstein(alpha=0, **make).align(x, y).to_dense()
    np.testing.assert_allclose(fused, linear, atol=1e-8)
    quadratic = GromovWasserstein(**make).align(x, y, lx, ly).to_dense()
    fused = FusedGromovWasserstein(alpha=1, **make).align(x, y, lx, ly).to_dense()
    np.testing.assert_allclose(fused, quadratic, atol=1e-8)


def test_fused_takes_distances_from_other_representations() -> None:
    x, y, lx, ly = _data(6)
    z_x, z_y = x[:, :2], y[:, :2]
    fused = FusedGromovWasserstein(
        alpha=1, epsilon=0.1, structure_x=x, structure_y=y, tol=1e-9, tol_outer=1e-7
    )
    plain = GromovWasserstein(epsilon=0.1, tol=1e-9, tol_outer=1e-7).align(x, y, lx, ly)
    coupling = fused.align(z_x, z_y, lx, ly)
    np.testing.assert_allclose(coupling.to_dense(), plain.to_dense(), atol=1e-7)
    with pytest.raises(
        ValueError, match=r"structure_x must have one row a cell: expected 29, found 30"
    ):
        fused.align(z_x[1:], z_y)


def test_each_label_alone() -> None:
    x, y, lx, ly = _data(7)
    whole = aligners.get("egw_each")(epsilon=0.03, label_weights="equal").align(x, y, lx, ly)
    total = 0.0
    for label in np.unique(lx):
        i, j = lx == label, ly == label
        alone = GromovWasserstein(epsilon=0.03).align(x[i], y[j])
        np.testing.assert_allclose(whole.to_dense()[np.ix_(i, j)], alone.to_dense() / 3, atol=1e-6)
        total += alone.evidence["objective"] / 3
    assert whole.evidence["objective"] == pytest.approx(total, rel=1e-3)
    assert aligners.get("egw_each")().align(x, y).evidence["objective"] == pytest.approx(
        GromovWasserstein().align(x, y).evidence["objective"]
    )


def test_labels_inform_one_another() -> None:
    """Inside a label of two cells nothing tells them apart, but where other labels lie does."""
    x = np.array([[0.0], [1.0], [5.0], [9.0]])
    labels = np.array(["a", "a", "b", "c"])
    y = -x[[1, 0, 2, 3]]
    joint = GromovWasserstein(epsilon=1e-3).align(x, y, labels, labels).to_dense()
    alone = aligners.get("egw_each")(epsilon=1e-3).align(x, y, labels, labels).to_dense()
    np.testing.assert_allclose(joint[:2, :2], [[0, 0.25], [0.25, 0]], atol=1e-3)
    np.testing.assert_allclose(alone[:2, :2], 0.125, atol=1e-6)


# ------------------------------------------------------------------------------------------------------ properties


@pytest.mark.parametrize("method", ["egw", "egw_each"])
def test_rotation_scale_and_order_play_no_part(method: str) -> None:
    x, y, lx, ly = _data(8)
    rng = np.random.default_rng(0)
    turn, _ = np.linalg.qr(rng.normal(size=(4, 4)))
    p, q = rng.permutation(len(x)), rng.permutation(len(y))
    make = aligners.get(method)(epsilon=0.05, tol=1e-8, tol_outer=1e-8)
    plain = make.align(x, y, lx, ly).to_dense()
    moved = make.align(7 + 1e3 * x[p] @ turn, y[q] - 5, lx[p], ly[q]).to_dense()
    np.testing.assert_allclose(moved, plain[np.ix_(p, q)], atol=1e-7)


def test_recovers_cells_from_a_rotated_copy() -> None:
    x, _, lx, _ = _data(9, 90)
    rng = np.random.default_rng(1)
    turn, _ = np.linalg.qr(rng.normal(size=(4, 4)))
    order = rng.permutation(90)
    for labels in ((lx, lx[order]), (None, None)):
        plan = GromovWasserstein().align(x, x[order] @ turn, *labels).to_dense()
        np.testing.assert_array_equal(plan.argmax(axis=1), np.argsort(order))


def test_annealing_finds_better_couplings_than_a_cold_start() -> None:
    energies = []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        a, b = rng.normal(size=(10, 20)), rng.normal(size=(10, 20))
        z = np.repeat(rng.normal(size=(4, 10)), 20, axis=0) + rng.normal(size=(80, 10))
        x, y = z @ a + rng.normal(size=(80, 20)), z @ b + rng.normal(size=(80, 20))
        aligners_ = [GromovWasserstein(epsilon=5e-3, anneal=anneal) for anneal in (True, False)]
        energies.append([aligner.align(x, y).evidence["energy"] for aligner in aligners_])
    warm, cold = np.transpose(energies)
    assert warm.mean() < 0.97 * cold.mean()


@pytest.mark.parametrize("method", ["egw", "egw_each", "fgw"])
def test_is_finite_at_tiny_epsilon(method: str) -> None:
    x, y, lx, ly = _data(10, d_y=4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        coupling = aligners.get(method)(epsilon=1e-4).align(x, y, lx, ly)
    plan = coupling.to_dense()
    assert np.isfinite(plan).all()
    assert np.isfinite(coupling.evidence["objective"])
    assert plan.sum() == pytest.approx(1)


def test_weights_and_unequal_proportions() -> None:
    x, y, lx, ly = _data(11, 40, 20)
    rng = np.random.default_rng(0)
    w, v = rng.uniform(0.5, 2, 40), rng.uniform(0.5, 2, 20)
    w[5] = 0
    coupling = GromovWasserstein(epsilon=0.02).align(x, y, lx, ly, weights_x=w, weights_y=v)
    a, b = coupling.marginals
    np.testing.assert_allclose(coupling.row_mass(), a, rtol=1e-8)
    np.testing.assert_allclose(coupling.column_mass(), b, rtol=1e-2)
    assert a[5] == 0
    assert coupling.evidence["n_source_weightless"] == 1
    same = (lx == "l0") & (w > 0)
    np.testing.assert_allclose(a[same] / a[same].sum(), w[same] / w[same].sum())


@pytest.mark.parametrize("method", ["egw", "egw_each", "fgw"])
def test_labels_of_one_cell_and_cells_all_at_one_place(method: str) -> None:
    x, y = np.array([[0.0], [1.0], [3.0]]), np.array([[2.0], [5.0], [9.0]])
    coupling = aligners.get(method)().align(x, y, ["a", "b", "c"], ["c", "b", "a"])
    np.testing.assert_allclose(coupling.to_dense(), np.eye(3)[::-1] / 3, atol=1e-12)
    at_one = aligners.get(method)().align(np.ones((4, 2)), np.ones((3, 2)))
    np.testing.assert_allclose(at_one.to_dense(), 1 / 12)


def test_auto_epsilon_is_reported_and_sharp() -> None:
    x, _, lx, _ = _data(12, 60)
    for method in ("egw", "egw_each"):
        evidence = aligners.get(method)(epsilon="auto").align(x, x[::-1], lx, lx[::-1]).evidence
        assert 1e-4 <= evidence["epsilon_relative"] < 0.1
        assert evidence["epsilon"] == "auto"
        assert evidence["converged"]


# -------------------------------------------------------------------------------------------------------- other costs


def test_precomputed_and_low_rank_costs_are_the_same_problem() -> None:
    x, y, lx, ly = _data(13)
    make = {"epsilon": 0.05, "tol": 1e-8, "tol_outer": 1e-8}
    plain = GromovWasserstein(**make).align(x, y, lx, ly).to_dense()
    c, d = cdist(x, x, "sqeuclidean"), cdist(y, y, "sqeuclidean")
    dense = GromovWasserstein(intra_cost="precomputed", **make).align(c, d, lx, ly).to_dense()
    np.testing.assert_allclose(dense, plain, atol=1e-7)
    given = []
    for z in (x, y):
        length, one = (z**2).sum(axis=1)[:, None], np.ones((len(z), 1))
        given.append(LowRankCost(np.hstack([length, one, -2 * z]), np.hstack([one, length, z])))
    factored = GromovWasserstein(**make).align(*given, lx, ly).to_dense()
    np.testing.assert_allclose(factored, plain, atol=1e-7)
    mixed = GromovWasserstein(intra_cost="euclidean", **make).align(given[0], y, lx, ly)
    assert mixed.evidence["converged"]


def test_plans_are_kept_as_factors_where_that_is_smaller() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(300, 2)), rng.normal(size=(300, 2))
    labels = np.repeat(["a", "b"], 150)
    coupling = GromovWasserstein(epsilon=0.05).align(x, y, labels, labels)
    assert all(isinstance(block.plan, PotentialPlan) for block in coupling.blocks)
    assert coupling.nbytes < 2 * 150 * 150 * 8
    assert coupling.marginal_errors() == pytest.approx((0, 0), abs=1e-4)


# ------------------------------------------------------------------------------------------------ warnings, bad input


@pytest.mark.parametrize("method", ["egw", "egw_each"])
@pytest.mark.filterwarnings("ignore:method 'egw")
def test_iterations_are_those_of_all_steps(method: str) -> None:
    x, y, lx, ly = _data(15)
    few, many = (
        aligners.get(method)(epsilon=0.05, anneal=False, tol_outer=1e-12, max_outer=steps).align(
            x, y, lx, ly
        )
        for steps in (2, 12)
    )
    assert (few.evidence["iterations"] > 0).all()
    assert (many.evidence["iterations"] > few.evidence["iterations"]).all()
    assert np.max(many.evidence["n_outer"]) == 13  # and the one that is kept


def test_too_few_steps_are_said() -> None:
    x, y, lx, ly = _data(14)
    with pytest.warns(
        ConvergenceWarning, match=r"'egw' did not converge .*Raise max_outer \(now 1\) or max_iter"
    ):
        coupling = GromovWasserstein(max_outer=1, anneal=False).align(x, y, lx, ly)
    assert not coupling.evidence["converged"]
    with pytest.raises(ConvergenceError, match="did not converge"):
        aligners.get("egw_each")(max_outer=1, anneal=False, strict=True).align(x, y, lx, ly)


def test_memory_is_refused_with_advice() -> None:
    x = np.zeros((20000, 2))
    with pytest.raises(
        TooLargeError, match=r"'egw' would need about 9\.6.* ask for a plan of low rank \(rank=50\)"
    ):
        GromovWasserstein().align(x, x)
    labels = np.repeat(np.arange(100), 200)
    with pytest.raises(
        TooLargeError, match=r"use intra_cost='sqeuclidean', which needs no cells x cells matrix"
    ):
        GromovWasserstein(intra_cost="euclidean").align(x, x, labels, labels)
    parts = aligners._blocks.partition(20000, 20000, labels, labels)
    assert GromovWasserstein().estimate_memory(parts, x, x) < 0.05


Z = np.arange(8.0).reshape(4, 2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: GromovWasserstein(intra_cost="l1"), r"intra_cost must be "),
        (lambda: GromovWasserstein(epsilon=0), r"epsilon must be positive"),
        (lambda: GromovWasserstein(max_outer=0), r"tol_outer must be positive and max_outer at least 1"),
        (lambda: GromovWasserstein(rank=0), r"rank must be a positive integer"),
        (lambda: GromovWasserstein(rank=2, intra_cost="cosine"), r"rank needs intra_cost='sqeuclidean'"),
        (lambda: GromovWasserstein(rank=2).align(Z, Z, list("aabb"), list("aabb")), r"rank is for an unlabeled"),
        (lambda: FusedGromovWasserstein(alpha=1.5), r"alpha, the weight of the quadratic part, must lie in \[0, 1\]"),
        (lambda: FusedGromovWasserstein(cost="l1"), r"cost must be "),
        (lambda: FusedGromovWasserstein().align(Z, Z[:, :1]), r"needs both modalities in one space"),
        (lambda: GromovWasserstein().align(Z, np.where(Z > 5, np.nan, Z)), r"y holds NaN"),
        (lambda: GromovWasserstein(intra_cost="cosine").align(0 * Z, Z), r"4 source cells are at the origin"),
        (
            lambda: GromovWasserstein(intra_cost="precomputed").align(Z, Z),
            r"takes symmetric costs between the cells of a modality, \(n, n\); x has shape \(4, 2\)",
        ),
        (
            lambda: GromovWasserstein(intra_cost="precomputed").align(np.triu(np.ones((3, 3))), np.eye(3)),
            r"x has shape \(3, 3\) but is not symmetric",
        ),
        (lambda: LowRankCost(Z, Z[:, :1]), r"left and right must have one shape"),
        (lambda: LowRankCost(Z, Z[::-1]), r"left @ right\.T must be symmetric"),
        (lambda: aligners.get("egw_each")(n_jobs=0), r"n_jobs must be a number of workers"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
