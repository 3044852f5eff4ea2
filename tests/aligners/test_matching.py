"""Matchers by neighbors against hand-made cases and a dense brute force; floor, chance and truth."""

from __future__ import annotations

import re
import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from scgroove import aligners, metrics
from scgroove.aligners._blocks import partition
from scgroove.aligners._neighbors import (
    mutual_neighbors,
    nearest,
    nearest_with_self,
    shared_neighbors,
)
from scgroove.aligners._plans import LowRankPlan
from scgroove.aligners._yardsticks import north_west_corner, random_plan
from scgroove.errors import TooLargeError

SharedNearestNeighbors, MutualNearestNeighbors = aligners.get("snn"), aligners.get("nn")
RandomMatching, UniformCoupling = aligners.get("random"), aligners.get("uniform")
OracleMatching = aligners.get("oracle")

CLASSES = {
    "snn": SharedNearestNeighbors,
    "nn": MutualNearestNeighbors,
    "random": RandomMatching,
    "uniform": UniformCoupling,
    "oracle": OracleMatching,
}
WITHOUT_PAIRS = ["snn", "nn", "random", "uniform"]


def _data(seed: int, n: int = 24, m: int = 18, n_labels: int = 3):
    rng = np.random.default_rng(seed)
    names = np.array([f"l{k}" for k in range(n_labels)])
    lx = names[np.concatenate([np.arange(n_labels), rng.integers(0, n_labels, n - n_labels)])]
    ly = names[np.concatenate([np.arange(n_labels), rng.integers(0, n_labels, m - n_labels)])]
    return rng.normal(size=(n, 4)), rng.normal(size=(m, 4)), lx, ly


def _paired(seed: int, n: int = 20):
    """Return the two views of n units, shuffled apart, their identifiers, and the partner of each source cell."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, 4))
    rows, columns = rng.permutation(n), rng.permutation(n)
    return z[rows], z[columns], rows, columns, np.argsort(columns)[rows]


def value(name: str, coupling: aligners.Coupling, partner: np.ndarray) -> float:
    """Return a metric of a coupling."""
    return metrics.score(name, coupling=coupling, partner=partner).value


def _line(*places: float) -> np.ndarray:
    return np.array(places, dtype=float)[:, None]


def _raises(message: str, error: type[Exception] = ValueError):
    return pytest.raises(error, match=re.escape(message))


@pytest.mark.parametrize("name", list(CLASSES))
def test_registry(name: str) -> None:
    assert aligners.get(name) is CLASSES[name]
    assert CLASSES[name].name == name
    assert CLASSES[name].shared_space == (name in ("snn", "nn"))


# ------------------------------------------------------------------------------------------------------ neighbors


def _brute_nearest(x, y, k):
    return np.argsort(cdist(x, y, "sqeuclidean"), axis=1, kind="stable")[:, :k]


def _brute_snn(x, y, k):
    """Return the definition, cell by cell."""
    k_x, k_y = min(k, len(x)), min(k, len(y))
    a, b = _brute_nearest(x, y, k_y), _brute_nearest(y, y, k_y)
    c, d = _brute_nearest(y, x, k_x), _brute_nearest(x, x, k_x)
    out = np.zeros((len(x), len(y)))
    for i in range(len(x)):
        for j in range(len(y)):
            of_i = {("y", v) for v in a[i]} | {("x", v) for v in d[i]}
            of_j = {("y", v) for v in b[j]} | {("x", v) for v in c[j]}
            out[i, j] = len(of_i & of_j) / len(of_i | of_j)
    return out


@pytest.mark.parametrize("width", [2, 9], ids=["tree", "brute"])
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6), k=st.integers(1, 12))
def test_nearest_are_those_of_all_distances(width: int, seed: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(15, width)), rng.normal(size=(12, width))
    np.testing.assert_array_equal(np.sort(nearest(x, y, k)), np.sort(_brute_nearest(x, y, k)))


@pytest.mark.parametrize("width", [1, 9], ids=["tree", "brute"])
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6), k=st.integers(1, 12))
def test_of_equally_near_cells_the_first_count(width: int, seed: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.integers(0, 3, (15, width)) * 1.0, rng.integers(0, 3, (12, width)) * 1.0
    np.testing.assert_array_equal(np.sort(nearest(x, y, k)), np.sort(_brute_nearest(x, y, k)))


def test_nearest_survive_a_far_origin() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 10)), rng.normal(size=(300, 10))
    np.testing.assert_array_equal(
        np.sort(nearest(x + 1e6, y + 1e6, 5)), np.sort(_brute_nearest(x, y, 5))
    )


def test_nearest_in_many_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = np.zeros((7, 3)), np.zeros((5, 3))
    monkeypatch.setattr("scgroove.aligners.costs.BLOCK_VALUES", 10)
    np.testing.assert_array_equal(nearest(x, y, 2), np.tile([0, 1], (7, 1)))


def test_a_cell_is_its_own_neighbor_in_a_crowd() -> None:
    found = nearest_with_self(np.zeros((6, 2)), 2)
    assert (found == np.arange(6)[:, None]).any(axis=1).all()
    assert all(np.unique(row).size == 2 for row in found)


# ------------------------------------------------------------------------------------------------------------- snn


def test_snn_with_one_neighbor_weighs_mutual_1_and_one_sided_a_third() -> None:
    # source 0 <-> target 0 and 1 <-> 2 are mutual; source 2 -> target 2 and target 1 -> source 0 are one-sided
    x, y = _line(0.0, 10.0, 12.0), _line(0.1, 1.0, 10.1)
    weights = shared_neighbors(x, y, 1).toarray()
    np.testing.assert_allclose(weights, [[1, 1 / 3, 0], [0, 0, 1], [0, 0, 1 / 3]])
    plan = SharedNearestNeighbors(k=1, cost="sqeuclidean").align(x, y).to_dense()
    np.testing.assert_allclose(plan, np.array([[0.75, 0.25, 0], [0, 0, 1], [0, 0, 1]]) / 3)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), k=st.integers(1, 14))
def test_snn_is_the_jaccard_similarity_of_neighborhoods(seed: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    n, m = rng.integers(2, 14, 2)
    x, y = rng.normal(size=(n, 3)), rng.normal(size=(m, 3))
    found, expected = shared_neighbors(x, y, k), _brute_snn(x, y, k)
    assert sp.issparse(found)
    np.testing.assert_allclose(found.toarray(), expected, atol=1e-12)
    plan = SharedNearestNeighbors(k=k, cost="sqeuclidean").align(x, y).to_dense()
    np.testing.assert_allclose(plan, expected / expected.sum(axis=1, keepdims=True) / n, atol=1e-12)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6), k=st.integers(1, 30))
def test_snn_leaves_no_cell_alone_even_in_a_crowd(seed: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.integers(0, 2, (25, 2)) * 1.0, rng.integers(0, 2, (17, 2)) * 1.0
    weights = shared_neighbors(x, y, k)
    assert np.diff(weights.indptr).min() > 0
    assert np.diff(weights.tocsc().indptr).min() > 0
    assert weights.max() <= 1


def test_snn_finds_the_truth_of_equal_spaces() -> None:
    x, y, _, _, partner = _paired(0)
    assert value("trace_global", SharedNearestNeighbors(k=1).align(x, y), partner) > 0.99


def test_cosine_looks_at_directions_only() -> None:
    x, y, lx, ly = _data(2)
    for cls in (SharedNearestNeighbors, MutualNearestNeighbors):
        aligner = cls(k=3)
        assert aligner.cost == "cosine"
        lengths = np.random.default_rng(0).uniform(0.1, 10, (len(x), 1))
        plain, longer = aligner.align(x, y, lx, ly), aligner.align(x * lengths, 7 * y, lx, ly)
        np.testing.assert_allclose(longer.to_dense(), plain.to_dense(), atol=1e-12)
        unit = [z / np.linalg.norm(z, axis=1, keepdims=True) for z in (x, y)]
        euclidean = cls(k=3, cost="sqeuclidean").align(*unit, lx, ly)
        np.testing.assert_allclose(euclidean.to_dense(), plain.to_dense(), atol=1e-12)


def test_snn_meets_rows_and_tells_of_columns_without_a_warning() -> None:
    x, y, lx, ly = _data(3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        coupling = SharedNearestNeighbors(k=2, strict=True).align(x, y, lx, ly)
    a, b = coupling.marginals
    np.testing.assert_allclose(coupling.row_mass(), a)
    assert coupling.evidence["row_error"] < 1e-12
    assert coupling.evidence["column_error"] == pytest.approx(
        np.abs(coupling.column_mass() - b).sum()
    )
    assert coupling.evidence["column_error"] > 0.01
    assert coupling.evidence["converged"]
    assert coupling.evidence["k"] == 2
    assert coupling.evidence["cost"] == "cosine"
    assert coupling.evidence["scikit-learn_version"] != "unknown"


def test_snn_keeps_memory_linear() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(3000, 8)), rng.normal(size=(3000, 8))
    coupling = SharedNearestNeighbors(k=5).align(x, y)
    assert sp.issparse(coupling.blocks[0].plan)
    assert coupling.nbytes < 3000 * 3000 / 4
    parts = partition(10**5, 10**5)
    assert SharedNearestNeighbors().estimate_memory(parts, np.empty((10**5, 16)), None) < 2
    with _raises("method 'snn' would need about", TooLargeError) as caught:
        SharedNearestNeighbors(max_memory_gb=1e-4).align(x, y)
    assert "align within labels (labeled=True), ask for fewer neighbors (k, now 15)" in str(
        caught.value
    )


def test_snn_of_equal_cells_does_not_fill_the_memory() -> None:
    # all share the first k cells, so that each pair is a match, which the estimate cannot know
    same = np.ones((600, 3))
    assert SharedNearestNeighbors().estimate_memory(partition(600, 600), same, same) < 0.008
    with _raises(
        "method 'snn' needs more than max_memory_gb=0.008: among 600 x 600 cells, more pairs share a neighbor than usual",
        TooLargeError,
    ):
        SharedNearestNeighbors(max_memory_gb=0.008).align(same, same)
    assert SharedNearestNeighbors(max_memory_gb=0.1).align(same, same).blocks[0].plan.nnz == 600**2


def test_snn_in_many_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y, lx, ly = _data(12)
    whole = SharedNearestNeighbors(k=3).align(x, y, lx, ly).to_dense()
    monkeypatch.setattr("scgroove.aligners.costs.BLOCK_VALUES", 10)
    np.testing.assert_array_equal(SharedNearestNeighbors(k=3).align(x, y, lx, ly).to_dense(), whole)


# -------------------------------------------------------------------------------------------------------------- nn


def test_mutual_neighbors_on_a_line() -> None:
    x, y = _line(0.0, 10.0, 12.0), _line(0.1, 1.0, 10.1)
    np.testing.assert_array_equal(
        mutual_neighbors(x, y, 1).toarray(), [[1, 0, 0], [0, 0, 1], [0, 0, 0]]
    )

    nearest_one = MutualNearestNeighbors(k=1, cost="sqeuclidean").align(x, y)
    np.testing.assert_allclose(
        nearest_one.to_dense(), np.array([[1, 0, 0], [0, 0, 1], [0, 0, 1]]) / 3
    )
    assert nearest_one.evidence["n_source_unmatched"] == 1
    assert nearest_one.mass == pytest.approx(1)


def test_partners_of_a_cell_get_equal_mass() -> None:
    # target 1 is among the two nearest of source 2, but source 2 not among those of target 1
    x, y = _line(0.0, 2.0, 9.0), _line(0.5, 1.5, 8.0)
    np.testing.assert_array_equal(
        mutual_neighbors(x, y, 2).toarray(), [[1, 1, 0], [1, 1, 0], [0, 0, 1]]
    )
    plan = MutualNearestNeighbors(k=2, cost="sqeuclidean").align(x, y).to_dense()
    np.testing.assert_allclose(plan, np.array([[0.5, 0.5, 0], [0.5, 0.5, 0], [0, 0, 1]]) / 3)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6), k=st.integers(1, 12))
def test_nn_is_its_definition(seed: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(11, 3)), rng.normal(size=(9, 3))
    weights = rng.uniform(0.2, 2, 11)
    forward, backward = np.zeros((11, 9), dtype=bool), np.zeros((11, 9), dtype=bool)
    np.put_along_axis(forward, _brute_nearest(x, y, min(k, 9)), True, axis=1)
    np.put_along_axis(backward.T, _brute_nearest(y, x, min(k, 11)), True, axis=1)
    expected = (forward & backward).astype(float)
    alone = expected.sum(axis=1) == 0
    expected[alone, _brute_nearest(x, y, 1)[alone, 0]] = 1
    expected *= (weights / weights.sum() / np.maximum(expected.sum(axis=1), 1))[:, None]
    aligner = MutualNearestNeighbors(k=k, cost="sqeuclidean")
    coupling = aligner.align(x, y, weights_x=weights)
    np.testing.assert_allclose(coupling.to_dense(), expected, atol=1e-12)
    assert coupling.evidence["n_source_unmatched"] == alone.sum()


# -------------------------------------------------------------------------------------------------- random, uniform


def test_north_west_corner_by_hand() -> None:
    i, j, mass = north_west_corner(np.array([0.5, 0.3, 0.2]), np.array([0.4, 0.6]))
    assert (i.tolist(), j.tolist()) == ([0, 0, 1, 2], [0, 1, 1, 1])
    np.testing.assert_allclose(mass, [0.4, 0.1, 0.3, 0.2])


def test_marks_that_differ_by_rounding_only_make_no_entry() -> None:
    i, j, _ = north_west_corner(np.full(30, 1 / 30), np.full(10, 1 / 10))
    np.testing.assert_array_equal(i, np.arange(30))
    np.testing.assert_array_equal(j, np.arange(30) // 3)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(1, 60), m=st.integers(1, 60))
def test_random_has_exact_marginals_and_few_entries(seed: int, n: int, m: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.gamma(0.3, size=n) + 1e-6, rng.gamma(0.3, size=m) + 1e-6
    b *= a.sum() / b.sum()
    plan = random_plan(a, b, rng)
    assert plan.nnz <= n + m - 1
    assert plan.data.min() > 0
    np.testing.assert_allclose(np.asarray(plan.sum(axis=1)).ravel(), a)
    np.testing.assert_allclose(np.asarray(plan.sum(axis=0)).ravel(), b, rtol=1e-6)


def test_random_of_equal_numbers_is_a_permutation() -> None:
    x, y, *_ = _paired(0, n=50)
    coupling = RandomMatching().align(x, y)
    assert coupling.blocks[0].plan.nnz == 50
    np.testing.assert_allclose(coupling.blocks[0].plan.data, 1 / 50)


def test_random_is_reproducible_and_seeds_differ() -> None:
    x, y, lx, ly = _data(6, n=60, m=50)
    first, again, other = (RandomMatching(seed=seed).align(x, y, lx, ly) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.to_dense(), again.to_dense())
    assert (first.to_dense() != other.to_dense()).any()
    assert first.evidence["seed"] == 1
    assert first.evidence["column_error"] < 1e-12
    # blocks of equal sizes are ordered independently
    same = RandomMatching().align(
        np.zeros((40, 1)), np.zeros((40, 1)), ["a", "b"] * 20, ["a", "b"] * 20
    )
    assert (same.blocks[0].plan != same.blocks[1].plan).nnz > 0


def test_random_is_at_chance() -> None:
    x, y, _, _, partner = _paired(0, n=300)
    assert value("coupling_foscttm_global", RandomMatching().align(x, y), partner) == pytest.approx(
        0.5, abs=0.05
    )


def test_uniform_is_the_product_of_its_masses() -> None:
    x, y, lx, ly = _data(7)
    rng = np.random.default_rng(7)
    weights = {"weights_x": rng.uniform(0.2, 2, len(x)), "weights_y": rng.uniform(0.2, 2, len(y))}
    coupling = UniformCoupling().align(x, y, lx, ly, **weights)
    dense = coupling.to_dense()
    for block in coupling.blocks:
        expected = np.outer(block.a, block.b) / block.a.sum()
        np.testing.assert_allclose(dense[np.ix_(block.rows, block.columns)], expected)
    assert coupling.evidence["row_error"] < 1e-12
    assert coupling.evidence["column_error"] < 1e-12
    assert coupling.mass == pytest.approx(1)


def test_uniform_keeps_nothing_large() -> None:
    coupling = UniformCoupling().align(np.zeros((10**5, 1)), np.zeros((10**5, 1)))
    assert isinstance(coupling.blocks[0].plan, LowRankPlan)
    assert coupling.nbytes < 2e6


def test_uniform_is_chance() -> None:
    x, y, _, _, partner = _paired(1)
    coupling = UniformCoupling().align(x, y)
    assert value("trace_over_chance", coupling, partner) == pytest.approx(1)
    assert value("coupling_foscttm_global", coupling, partner) == pytest.approx(0.5)


@pytest.mark.parametrize("name", ["random", "uniform"])
def test_yardsticks_need_no_shared_space(name: str) -> None:
    coupling = aligners.get(name)().align(np.zeros((4, 3)), np.zeros((6, 2)))
    assert coupling.shape == (4, 6)
    with _raises("found 3 dimensions in the source and 2 in the target"):
        SharedNearestNeighbors().align(np.ones((4, 3)), np.ones((6, 2)))


# ---------------------------------------------------------------------------------------------------------- oracle


@pytest.mark.parametrize("kind", [list, np.asarray, lambda own: [f"u{unit}" for unit in own]])
def test_oracle_is_the_truth(kind) -> None:
    x, y, units_x, units_y, partner = _paired(2)
    coupling = OracleMatching(pairs_x=kind(units_x), pairs_y=kind(units_y)).align(x, y[:, :2])
    assert value("coupling_foscttm_global", coupling, partner) == 0
    assert value("trace_global", coupling, partner) == 1
    assert coupling.mass == pytest.approx(1)
    assert coupling.evidence["n_pairs"] == 20
    assert coupling.evidence["n_source_unmatched"] == 0
    assert coupling.evidence["column_error"] < 1e-12
    assert not any(key.startswith("pairs") for key in coupling.evidence)


def test_oracle_within_labels_loses_pairs_of_two_labels() -> None:
    oracle = OracleMatching(
        pairs_x=["u", "v", "w", None], pairs_y=["w", "v", float("nan"), "u", "z"]
    )
    lx, ly = ["a", "a", "b", "b"], ["b", "a", "a", "b", "a"]
    coupling = oracle.align(np.zeros((4, 1)), np.zeros((5, 1)), lx, ly, weights_x=[1, 3, 1, 1])
    expected = np.zeros((4, 5))
    mass = dict(zip(coupling.evidence["labels"], coupling.evidence["label_mass"], strict=True))
    expected[1, 1], expected[2, 0] = mass["a"] * 3 / 4, mass["b"] / 2  # u changes its label
    np.testing.assert_allclose(coupling.to_dense(), expected)
    assert coupling.evidence["n_pairs"] == 2
    assert coupling.evidence["n_source_unmatched"] == 2
    assert metrics.score(
        "label_mass", coupling=coupling, labels_x=lx, labels_y=ly
    ).value == pytest.approx(1, abs=1e-12)
    whole = oracle.align(np.zeros((4, 1)), np.zeros((5, 1)))
    assert whole.evidence["n_pairs"] == 3
    assert whole.mass == pytest.approx(3 / 4)


def test_whole_numbers_are_named_alike() -> None:
    oracle = OracleMatching(pairs_x=np.array([1, 2]), pairs_y=np.array([2.0, np.nan, 1.0]))
    coupling = oracle.align(np.zeros((2, 1)), np.zeros((3, 1)))
    np.testing.assert_allclose(coupling.to_dense(), [[0, 0, 0.5], [0.5, 0, 0]])


def test_oracles_are_compared_by_their_pairs() -> None:
    first, same, other = (
        OracleMatching(pairs_x=np.array(units), pairs_y=np.arange(3))
        for units in ([0, 1, 2], [0, 1, 2], [2, 1, 0])
    )
    assert first == same
    assert first != other
    assert len({first, same, other}) == 2
    assert "pairs" not in repr(first)


def test_oracle_errors() -> None:
    with _raises(
        "method 'oracle' needs to know which cells are the same measured unit, but pairs_x is missing. Pass "
        "OracleMatching(pairs_x=..., pairs_y=...)"
    ):
        OracleMatching().align(np.zeros((1, 1)), np.zeros((1, 1)))
    with _raises("pairs_y is missing") as caught:
        OracleMatching(pairs_x=["u"]).align(np.zeros((1, 1)), np.zeros((1, 1)))
    assert "For scgroove.tl.align: method='oracle' and pair_key=." in str(caught.value)
    with _raises(
        "pairs_x must hold one identifier a cell, an array of shape (n,); found shape (2, 1)."
    ):
        OracleMatching(pairs_x=[["u"], ["v"]], pairs_y=["u"])
    with _raises(
        "pairs_y must name each measured unit once; found 'v' for 2 cells, first for cells 1 and 3, and 1 such "
        "identifiers in all."
    ):
        OracleMatching(pairs_x=["u"], pairs_y=["u", "v", None, "v", None])


@pytest.mark.parametrize(
    ("n", "m", "message"),
    [
        (
            3,
            2,
            "pairs_x must hold one identifier a source cell, in the order of x: expected 3, found 2.",
        ),
        (
            2,
            1,
            "pairs_y must hold one identifier a target cell, in the order of y: expected 1, found 2.",
        ),
    ],
)
def test_oracle_needs_an_identifier_a_cell(n: int, m: int, message: str) -> None:
    with _raises(message):
        OracleMatching(pairs_x=["u", "v"], pairs_y=["u", "v"]).align(
            np.zeros((n, 1)), np.zeros((m, 1))
        )


def test_oracle_needs_a_pair_in_a_block() -> None:
    oracle = OracleMatching(pairs_x=["u", "v"], pairs_y=["u", "v"])
    x = np.zeros((2, 1))
    with _raises(
        "none of the 2 known pairs can be coupled: their cells have different labels, no label, or weight 0. Check the "
        "labels, or align without them (labeled=False)."
    ):
        oracle.align(x, x, ["a", "b"], ["b", "a"])
    with _raises(
        "none of the 2 known pairs can be coupled: their cells have weight 0. Check the weights."
    ):
        oracle.align(x, x, weights_x=[1, 0], weights_y=[0, 1])


# ------------------------------------------------------------------------------------------------------ all of them


@pytest.mark.parametrize("name", WITHOUT_PAIRS)
@pytest.mark.parametrize("weights", ["mean", "source", "target", "equal"])
@settings(max_examples=4, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_labeled_couplings_keep_to_labels(name: str, weights: str, seed: int) -> None:
    x, y, lx, ly = _data(seed)
    coupling = aligners.get(name)(label_weights=weights).align(x, y, lx, ly)
    a, _ = coupling.marginals
    np.testing.assert_allclose(coupling.row_mass(), a)
    assert coupling.mass == pytest.approx(1)
    assert metrics.score(
        "label_mass", coupling=coupling, labels_x=lx, labels_y=ly
    ).value == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("name", ["snn", "nn", "uniform"])
def test_each_label_is_a_problem_of_its_own(name: str) -> None:
    x, y, lx, ly = _data(8)
    whole = aligners.get(name)(label_weights="equal").align(x, y, lx, ly).to_dense()
    for label in np.unique(lx):
        i, j = lx == label, ly == label
        alone = aligners.get(name)().align(x[i], y[j]).to_dense()
        np.testing.assert_allclose(whole[np.ix_(i, j)], alone / 3, atol=1e-12)


@pytest.mark.parametrize("name", WITHOUT_PAIRS)
@pytest.mark.parametrize(("n", "m"), [(1, 1), (1, 4), (4, 1)])
def test_labels_of_one_cell(name: str, n: int, m: int) -> None:
    x, y = (
        np.random.default_rng(0).normal(size=(n + 5, 3)),
        np.random.default_rng(1).normal(size=(m + 5, 3)),
    )
    coupling = aligners.get(name)().align(x, y, ["a"] * n + ["b"] * 5, ["a"] * m + ["b"] * 5)
    assert coupling.mass == pytest.approx(1)
    np.testing.assert_allclose(coupling.row_mass(), coupling.marginals[0])


@pytest.mark.parametrize("name", WITHOUT_PAIRS)
@pytest.mark.parametrize("width", [2, 8], ids=["tree", "brute"])
def test_all_cells_at_one_place(name: str, width: int) -> None:
    coupling = aligners.get(name)().align(np.ones((40, width)), np.ones((30, width)))
    np.testing.assert_allclose(coupling.row_mass(), 1 / 40)


@pytest.mark.parametrize("name", ["snn", "nn"])
def test_k_beyond_the_label_is_all_of_it(name: str) -> None:
    x, y, lx, ly = _data(9)
    small, large = (aligners.get(name)(k=k).align(x, y, lx, ly) for k in (len(x), 1000))
    np.testing.assert_array_equal(small.to_dense(), large.to_dense())
    np.testing.assert_allclose(large.to_dense(), UniformCoupling().align(x, y, lx, ly).to_dense())


@pytest.mark.parametrize("name", list(CLASSES))
def test_cells_of_weight_0_are_left_out(name: str) -> None:
    x, y, units_x, units_y, _ = _paired(3)
    weights_x, weights_y = np.ones(20), np.linspace(1, 3, 20)
    weights_x[:2] = weights_y[4:6] = 0
    options = {"pairs_x": units_x, "pairs_y": units_y} if name == "oracle" else {}
    coupling = aligners.get(name)(**options).align(x, y, weights_x=weights_x, weights_y=weights_y)
    assert (coupling.row_mass()[:2] == 0).all()
    assert (coupling.column_mass()[4:6] == 0).all()
    assert coupling.evidence["n_source_weightless"] == 2
    options = (
        {"pairs_x": units_x[2:], "pairs_y": units_y[weights_y > 0]} if name == "oracle" else {}
    )
    alone = aligners.get(name)(**options).align(
        x[2:], y[weights_y > 0], weights_y=weights_y[weights_y > 0]
    )
    np.testing.assert_allclose(coupling.to_dense()[2:, weights_y > 0], alone.to_dense(), atol=1e-15)


@pytest.mark.parametrize("name", ["snn", "nn"])
def test_two_workers_find_what_one_finds(name: str) -> None:
    x, y, lx, ly = _data(10, n=60, m=50)
    one, two = (aligners.get(name)(k=3, n_jobs=n_jobs).align(x, y, lx, ly) for n_jobs in (None, 2))
    np.testing.assert_array_equal(one.to_dense(), two.to_dense())
    if name == "nn":
        assert one.evidence["n_source_unmatched"] == two.evidence["n_source_unmatched"]


@pytest.mark.parametrize("name", WITHOUT_PAIRS)
def test_no_warning_is_given(name: str) -> None:
    x, y, lx, ly = _data(11)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert aligners.get(name)(strict=True).align(x, y, lx, ly).evidence["converged"]


@pytest.mark.parametrize(
    ("cls", "options", "message"),
    [
        (SharedNearestNeighbors, {"k": 0}, "k, the number of neighbors of a cell, must be a positive integer; found 0."),
        (MutualNearestNeighbors, {"k": 2.5}, "k must be "),
        (MutualNearestNeighbors, {"cost": "l1"}, "cost must be "),
        (SharedNearestNeighbors, {"n_jobs": 0}, "n_jobs must be a number of workers"),
        (RandomMatching, {"seed": -1}, "seed must be "),
        (UniformCoupling, {"max_memory_gb": 0}, "max_memory_gb must be "),
    ],
)  # fmt: skip
def test_option_errors(cls: type, options: dict[str, object], message: str) -> None:
    with _raises(message):
        cls(**options)


@pytest.mark.parametrize("cls", [SharedNearestNeighbors, MutualNearestNeighbors])
def test_cosine_needs_a_direction(cls: type) -> None:
    with _raises("cost='cosine' needs a direction: 1 target cells are at the origin."):
        cls().align(np.ones((3, 2)), np.array([[1.0, 1.0], [0.0, 0.0]]))
