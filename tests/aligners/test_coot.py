"""Co-optimal transport: against its definition, against POT and a peer, and the invariants."""

from __future__ import annotations

import json
import os
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ot.coot import co_optimal_transport

from scgroove import aligners
from scgroove.aligners import _coot
from scgroove.aligners._blocks import partition
from scgroove.aligners._coot import CoOptimalTransport, Descent, Search, Stop
from scgroove.aligners._entropic import solve
from scgroove.aligners._problem import Solved
from scgroove.errors import ConvergenceError, ConvergenceWarning, TooLargeError
from scgroove.metrics import score

SHARED = Path(
    os.environ.get("SCGROOVE_SHARED", Path(__file__).resolve().parents[2].parent / "shared")
)
REFERENCE = SHARED / "data" / "peer_reference" / "perturbot_reference.npz"

KINDS = [{"epsilon": 0}, {"epsilon": 0.02}, {"epsilon": "auto"}]


def _data(seed: int, n: int = 24, m: int = 18, d_x: int = 6, d_y: int = 4, n_labels: int = 3):
    """Two views of latent cells, with unequal numbers of cells, of features, and shares of the labels."""
    rng = np.random.default_rng(seed)
    lx = np.concatenate([np.arange(n_labels), rng.integers(0, n_labels, n - n_labels)])
    ly = np.concatenate([np.arange(n_labels), rng.integers(0, n_labels, m - n_labels)])
    center = 1.5 * rng.normal(size=(n_labels, 3))
    x = (center[lx] + rng.normal(size=(n, 3))) @ rng.normal(size=(3, d_x))
    y = (center[ly] + rng.normal(size=(m, 3))) @ rng.normal(size=(3, d_y))
    names = np.array([f"l{k}" for k in range(n_labels)])
    return x, y, names[lx], names[ly]


def _dense(coupling) -> np.ndarray:
    return coupling.to_sparse(dtype=np.float64).toarray()


def _transport_cost(x, y, cells, features) -> float:
    differences = (x[:, None, :, None] - y[None, :, None, :]) ** 2
    return float(np.einsum("ijkl,ij,kl->", differences, cells, features))


def _negative_entropy(plan) -> float:
    some = plan[plan > 0]
    return float((some * (np.log(some) - 1)).sum())


def _search(x, y, lx=None, ly=None) -> Search:
    """Sinkhorn always to one tolerance."""
    stop = Stop(tol=1e-6, tol_outer=1e-9, max_outer=100)
    search = Search(
        partition(len(x), len(y), lx, ly),
        x,
        y,
        lambda problems, _: solve(problems, tol=1e-6, max_iter=10_000),
        stop,
    )
    search.scales = 10.0, 10.0
    return search


def test_registry() -> None:
    assert aligners.get("coot") is CoOptimalTransport


# --------------------------------------------------------------------------------------------------- the definition


@pytest.mark.parametrize("labeled", [True, False])
@pytest.mark.parametrize("options", KINDS, ids=str)
def test_objective_is_that_of_the_definition(options: dict, labeled: bool) -> None:
    x, y, lx, ly = _data(0, n=9, m=7, n_labels=2)
    coupling = CoOptimalTransport(**options).align(x, y, *((lx, ly) if labeled else ()))
    evidence = coupling.evidence
    cells, features = _dense(coupling), evidence["feature_coupling"]
    cost = _transport_cost(x, y, cells, features)
    assert evidence["transport_cost"] == pytest.approx(cost, rel=1e-9)
    eps = evidence["epsilon_absolute"][0], evidence["epsilon_features_absolute"]
    full = cost + eps[0] * _negative_entropy(cells) + eps[1] * _negative_entropy(features)
    assert evidence["objective"] == pytest.approx(full, rel=1e-9)
    assert evidence["converged"]


@pytest.mark.parametrize("d_x", [3, 6])
def test_costs_of_both_steps_are_those_of_the_definition(d_x: int) -> None:
    x, y, lx, ly = _data(1, n=8, m=7, d_x=d_x, n_labels=2)
    search = _search(x, y, lx, ly)
    features = np.random.default_rng(0).dirichlet(np.ones(d_x * 4)).reshape(d_x, 4)
    differences = (x[:, None, :, None] - y[None, :, None, :]) ** 2
    wanted = np.einsum("ijkl,kl->ij", differences, features)
    cells = np.zeros((8, 7))
    step = search.cells(features, 0.5, 1e-9)
    descent = Descent(step, Solved(features))
    for block, plan in zip(search.parts.blocks, search.kept(descent), strict=True):
        own = np.ix_(block.rows, block.columns)
        np.testing.assert_allclose(search.cost(block, features).rows(), wanted[own], atol=1e-12)
        cells[own] = plan.plan
    np.testing.assert_allclose(
        step.cost().matrix, np.einsum("ijkl,ij->kl", differences, cells), atol=1e-12
    )


@pytest.mark.parametrize("epsilon", [0.0, 0.005, 0.05])
@settings(max_examples=4, deadline=None)
@given(seed=st.integers(0, 10**6), labeled=st.booleans())
def test_no_sweep_raises_the_objective(epsilon: float, seed: int, labeled: bool) -> None:
    x, y, lx, ly = _data(seed)
    search = _search(x, y, *((lx, ly) if labeled else ()))
    path = search.descend(search.start, epsilon).path
    assert np.diff(path).max(initial=-np.inf) <= (1e-6 if epsilon else 1e-12) * abs(path[0])


def test_loose_solutions_on_the_way_end_where_tight_ones_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    x, y, lx, ly = _data(2)
    align = CoOptimalTransport(epsilon=0.01, tol=1e-7).align
    loose = align(x, y, lx, ly)
    monkeypatch.setattr(_coot, "LOOSE", 1e-7)
    np.testing.assert_allclose(
        loose.evidence["objective"], align(x, y, lx, ly).evidence["objective"], rtol=1e-6
    )


def test_marginals_of_a_coupling_that_did_not_rest_are_met_all_the_same() -> None:
    x, y, lx, ly = _data(3)
    with pytest.warns(ConvergenceWarning, match="Raise max_outer"):
        evidence = CoOptimalTransport(epsilon=0.01, max_outer=2).align(x, y, lx, ly).evidence
    assert evidence["n_outer"] == 2
    assert not evidence["converged"]
    assert max(evidence["column_error"], evidence["feature_error"]) <= 1e-5


# --------------------------------------------------------------------------------------------------- other programs


@pytest.mark.parametrize("seed", range(5))
def test_exact_unlabeled_is_no_worse_than_pot(seed: int) -> None:
    x, y, _, _ = _data(seed, n=30, m=30)
    ours = CoOptimalTransport(epsilon=0).align(x, y)
    theirs, features = co_optimal_transport(x, y)
    wanted = _transport_cost(x, y, theirs, features)
    assert ours.evidence["objective"] <= wanted * (1 + 1e-9)
    if seed == 0:
        np.testing.assert_allclose(_dense(ours), theirs, atol=1e-12)


@pytest.mark.skipif(
    not REFERENCE.exists(),
    reason=f"no peer reference at {REFERENCE}; set SCGROOVE_SHARED to the folder that holds data/peer_reference",
)
@pytest.mark.parametrize("case", ["A_shared_balanced", "B_disjoint_balanced"])
@pytest.mark.parametrize("labeled", [True, False])
def test_exact_objective_is_no_worse_than_that_of_the_peer(case: str, labeled: bool) -> None:
    with np.load(REFERENCE) as stored:
        x, y, lx, ly = (stored[f"{case}/{key}"] for key in ("X", "Y", "lx", "ly"))
    known = json.loads(REFERENCE.with_suffix(".json").read_text())
    wanted = known[f"{case}/{'cotl' if labeled else 'cot'}"]["final_cost"]
    labels = (lx, ly) if labeled else ()
    mass = len(np.unique(lx)) if labeled else 1  # the peer gives each label mass 1
    aligner = CoOptimalTransport(epsilon=0, label_weights="equal")
    assert mass * aligner.align(x, y, *labels).evidence["objective"] <= wanted * (1 + 1e-6)


# ------------------------------------------------------------------------------------------------------- invariants


@pytest.mark.parametrize("options", KINDS, ids=str)
@settings(max_examples=3, deadline=None)
@given(seed=st.integers(0, 10**6), weights=st.sampled_from(["mean", "source", "target", "equal"]))
def test_couplings_have_their_marginals_and_keep_to_labels(
    options: dict, seed: int, weights: str
) -> None:
    x, y, lx, ly = _data(seed)
    coupling = CoOptimalTransport(label_weights=weights, **options).align(x, y, lx, ly)
    assert coupling.mass == pytest.approx(1)
    assert score("label_mass", coupling=coupling, labels_x=lx, labels_y=ly).value == pytest.approx(
        1, abs=1e-12
    )
    mass = dict(zip(coupling.evidence["labels"], coupling.evidence["label_mass"], strict=True))
    np.testing.assert_allclose(
        coupling.row_mass(), [mass[label] / (lx == label).sum() for label in lx]
    )
    columns = np.array([mass[label] / (ly == label).sum() for label in ly])
    assert np.abs(coupling.column_mass() - columns).sum() <= 1e-5
    features = coupling.evidence["feature_coupling"]
    assert features.shape == (6, 4)
    np.testing.assert_allclose(features.sum(axis=1), 1 / 6)
    assert np.abs(features.sum(axis=0) - 1 / 4).sum() <= 1e-5
    assert coupling.evidence["converged"]


@pytest.mark.parametrize("labeled", [True, False])
def test_recovers_shuffled_cells_and_features(labeled: bool) -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat(["a", "b", "c"], 12)
    x = rng.normal(size=(36, 7)) * np.linspace(1, 2, 7) + rng.normal(size=7)
    x[labels == "b"] += rng.normal(size=7)
    cells, features = rng.permutation(36), rng.permutation(7)
    y = x[cells][:, features]
    given_labels = (labels, labels[cells]) if labeled else ()
    coupling = CoOptimalTransport(epsilon=0).align(x, y, *given_labels)
    np.testing.assert_allclose(_dense(coupling), np.eye(36)[:, cells] / 36, atol=1e-12)
    np.testing.assert_allclose(
        coupling.evidence["feature_coupling"], np.eye(7)[:, features] / 7, atol=1e-12
    )
    assert coupling.evidence["objective"] == pytest.approx(0, abs=1e-12)


def test_labels_inform_one_another_by_the_features() -> None:
    x, y, lx, ly = _data(4)
    whole = CoOptimalTransport(epsilon=0).align(x, y, lx, ly)
    own = lx == "l0", ly == "l0"
    alone = CoOptimalTransport(epsilon=0).align(x[own[0]], y[own[1]])
    found = whole.evidence["feature_coupling"], alone.evidence["feature_coupling"]
    assert np.abs(found[0] - found[1]).sum() > 0.1


def test_cells_without_a_shared_label_or_weight_take_no_part() -> None:
    x, y, lx, ly = _data(5)
    lx, ly = lx.astype(object), ly.astype(object)
    lx[0], lx[1], ly[0] = None, "only here", "only there"
    weights = np.linspace(0, 1, len(x))
    weights[5] = 0
    coupling = CoOptimalTransport(epsilon=0.02).align(x, y, lx, ly, weights_x=weights)
    rows = coupling.row_mass()
    assert (rows[[0, 1, 5]] == 0).all()
    assert coupling.column_mass()[0] == 0
    own = np.flatnonzero((lx == "l1") & (weights > 0))
    np.testing.assert_allclose(rows[own] / rows[own].sum(), weights[own] / weights[own].sum())
    assert coupling.evidence["labels_only_source"].tolist() == ["only here"]


@pytest.mark.parametrize("options", KINDS, ids=str)
def test_labels_of_one_cell_and_one_feature(options: dict) -> None:
    x, y, _, _ = _data(6, n=5, m=4)
    lx, ly = np.array(list("abccc")), np.array(list("aabc"))
    coupling = CoOptimalTransport(**options).align(x, y, lx, ly)
    assert score("label_mass", coupling=coupling, labels_x=lx, labels_y=ly).value == pytest.approx(
        1, abs=1e-12
    )
    assert coupling.evidence["converged"]
    one = CoOptimalTransport(**options).align(x[:, :1], y[:, :1], lx, ly)
    np.testing.assert_allclose(one.evidence["feature_coupling"], [[1.0]])
    assert one.evidence["converged"]


def test_costs_of_zero_and_a_shift_of_both_sides() -> None:
    x, y, lx, ly = _data(7)
    zero = CoOptimalTransport(epsilon=0.1).align(np.zeros_like(x), np.zeros_like(y), lx, ly)
    np.testing.assert_allclose(zero.evidence["transport_cost"], 0, atol=1e-12)
    plain, scaled = (
        CoOptimalTransport(epsilon=0.02, tol=1e-8).align(factor * x, factor * y, lx, ly)
        for factor in (1, 10)
    )
    np.testing.assert_allclose(_dense(plain), _dense(scaled), atol=1e-8)


def test_the_same_seed_gives_the_same_bytes() -> None:
    x, y, lx, ly = _data(8)
    first, second = (
        CoOptimalTransport(epsilon=0.05, n_starts=3, seed=3).align(x, y, lx, ly) for _ in range(2)
    )
    assert _dense(first).tobytes() == _dense(second).tobytes()
    np.testing.assert_array_equal(first.evidence["objectives"], second.evidence["objectives"])


# ---------------------------------------------------------------------------------------------------------- options


def test_eps_is_relative_to_the_product_couplings() -> None:
    x, y, lx, ly = _data(10)
    evidence = CoOptimalTransport(epsilon=0.1).align(x, y, lx, ly).evidence
    cost = ((x[:, None, :, None] - y[None, :, None, :]) ** 2).mean(axis=(2, 3))
    assert evidence["cost_scale"][0] == pytest.approx(cost[lx[:, None] == ly].mean())
    np.testing.assert_allclose(evidence["epsilon_absolute"], 0.1 * evidence["cost_scale"])


def test_auto_stops_where_the_cost_hardly_falls() -> None:
    x, y, lx, ly = _data(11, n=40, m=40)
    evidence = CoOptimalTransport().align(x, y, lx, ly).evidence
    assert 1e-4 <= evidence["epsilon_relative"] < 0.1
    assert evidence["epsilon"] == "auto"
    product = _transport_cost(x, y, _product(x, y, lx, ly), np.full((6, 4), 1 / 24))
    sharper = CoOptimalTransport(epsilon=0, n_starts=2).align(x, y, lx, ly).evidence
    fall = product - evidence["transport_cost"]
    assert fall > 0.9 * (product - sharper["transport_cost"])


def _product(x, y, lx, ly) -> np.ndarray:
    parts = partition(len(x), len(y), lx, ly)
    out = np.zeros((len(x), len(y)))
    for block in parts.blocks:
        out[np.ix_(block.rows, block.columns)] = np.outer(block.a, block.b) / block.mass
    return out


def test_auto_goes_on_while_nothing_is_matched() -> None:
    assert not _coot.is_enough([1.0, 0.999])
    assert not _coot.is_enough([1.0, 0.999, 0.9989])
    assert not _coot.is_enough([1.0, 0.8, 0.5])
    assert _coot.is_enough([1.0, 0.8, 0.5, 0.49])


@pytest.mark.parametrize("epsilon", [0, 0.02, "auto"])
def test_more_starts_are_never_worse(epsilon: float | str) -> None:
    x, y, _, _ = _data(12, n=15, m=12)
    few, some, many = (
        CoOptimalTransport(epsilon=epsilon, n_starts=n, seed=1).align(x, y).evidence
        for n in (1, 2, 4)
    )
    assert many["objective"] <= some["objective"] <= few["objective"]
    assert many["objectives"].shape == (4,)
    np.testing.assert_allclose(many["objectives"][:2], some["objectives"])
    assert many["objective"] == many["objectives"].min()


def test_more_starts_leave_a_saddle() -> None:
    rng = np.random.default_rng(1)
    x, y = (z - z.mean(axis=0) for z in rng.normal(size=(2, 20, 5)))
    x, y = (z - z.mean(axis=1, keepdims=True) for z in (x, y))
    stuck, free = (
        CoOptimalTransport(epsilon=0.01, n_starts=n).align(x, y).evidence for n in (1, 4)
    )
    assert free["transport_cost"] < 0.8 * stuck["transport_cost"]


@pytest.mark.parametrize("options", KINDS, ids=str)
def test_evidence_can_be_stored(options: dict) -> None:
    x, y, lx, ly = _data(13)
    evidence = CoOptimalTransport(**options).align(x, y, lx, ly).evidence
    for key, value in evidence.items():
        assert type(value) in (str, int, float, bool, np.ndarray), key
    assert evidence["feature_coupling"].dtype == np.float64
    assert evidence["method"] == "coot"
    assert evidence["pot_version"] != "unknown"


def test_exact_plans_are_sparse_and_large_entropic_ones_are_potentials() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(150, 4)), rng.normal(size=(140, 3))
    exact = CoOptimalTransport(epsilon=0).align(x, y)
    assert exact.blocks[0].plan.nnz <= 150 + 140 - 1
    entropic = CoOptimalTransport(epsilon=0.05).align(x, y)
    assert entropic.nbytes < 8 * 150 * 140 / 4
    np.testing.assert_allclose(entropic.row_mass(), 1 / 150)


# ----------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epsilon": -1}, r"epsilon must be positive, relative .* or 'auto'; found -1"),
        ({"epsilon": None}, r"epsilon must be "),
        ({"epsilon": True}, r"epsilon must be "),
        ({"epsilon": 1e-9}, r"epsilon=1e-09 is too small to compute with"),
        ({"epsilon": 0, "tol": 0}, r"tol must be positive"),
        ({"backend": "cuda"}, r"backend must be "),
        ({"tol_outer": 0}, r"tol_outer must be positive, such as 1e-7; found 0"),
        ({"max_outer": 0}, r"max_outer must be an integer of at least 1; found 0"),
        ({"n_starts": 2.5}, r"n_starts must be a whole number; found 2\.5"),
    ],
)
def test_bad_options(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CoOptimalTransport(**options)


def test_a_large_eps_is_doubted() -> None:
    with pytest.warns(UserWarning, match="Was an absolute value meant"):
        CoOptimalTransport(epsilon=50)


def test_strict() -> None:
    x, y, lx, ly = _data(3)
    with pytest.raises(
        ConvergenceError,
        match=r"'coot' did not converge.* or epsilon \(now 0\.01 of the mean cost\)",
    ):
        CoOptimalTransport(epsilon=0.01, max_outer=1, strict=True).align(x, y, lx, ly)
    with pytest.raises(ConvergenceError, match=r"tol_outer \(now 1e-07\)\.$"):
        CoOptimalTransport(epsilon=0, max_outer=1, strict=True).align(x, y, lx, ly)


def test_memory_is_estimated_before_it_is_taken() -> None:
    many_cells, few = np.zeros((3000, 2)), np.zeros((4, 2))
    with pytest.raises(
        TooLargeError, match=r"3000 x 3000 pairs of cells.* allow an entropy \(epsilon='auto'\)"
    ):
        CoOptimalTransport(epsilon=0, max_memory_gb=1).align(many_cells, many_cells)
    with pytest.raises(
        TooLargeError,
        match=r"to couple 5000 x 6000 features\. To go on, reduce the features \(keep the most variable",
    ):
        CoOptimalTransport(max_memory_gb=1).align(np.zeros((4, 5000)), np.zeros((4, 6000)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        CoOptimalTransport(max_memory_gb=1e-3).align(few + np.eye(4, 2), few + np.eye(4, 2))
