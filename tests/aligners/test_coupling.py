"""Couplings in blocks: masses, mapping and storing, the same whichever way the plans are kept."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from scgroove import metrics
from scgroove.aligners import Coupling, CouplingBlock, EntropicOT, costs
from scgroove.aligners._plans import LowRankPlan, PotentialPlan
from scgroove.aligners.costs import PairCost
from scgroove.errors import TooLargeError
from scgroove.metrics import _candidates, _chance

# ------------------------------------------------------------------------------------------------------- by hand


def _hand(sparse: bool = False, **options: Any) -> Coupling:
    """Two blocks; source cell 2 and target cell 0 take no part."""
    make = sp.csr_matrix if sparse else np.asarray
    one = CouplingBlock(
        "a", np.array([0, 3]), np.array([2, 1]), make(np.array([[0.1, 0.3], [0.0, 0.2]]))
    )
    two = CouplingBlock("b", np.array([1]), np.array([3]), make(np.array([[0.4]])))
    return Coupling((one, two), (4, 4), {"method": "hand", "converged": True}, **options)


HAND = np.array([[0, 0.3, 0.1, 0], [0, 0, 0, 0.4], [0, 0, 0, 0], [0, 0.2, 0, 0]])

both = pytest.mark.parametrize("sparse", [False, True])


@both
def test_masses_by_hand(sparse: bool) -> None:
    coupling = _hand(sparse)
    np.testing.assert_allclose(coupling.row_mass(), HAND.sum(axis=1))
    np.testing.assert_allclose(coupling.column_mass(), HAND.sum(axis=0))
    assert coupling.mass == pytest.approx(1)
    np.testing.assert_allclose(coupling.to_sparse(dtype=np.float64).toarray(), HAND)
    np.testing.assert_allclose(coupling.to_dense(), HAND)
    assert coupling.labels == ["a", "b"]
    assert (
        repr(coupling)
        == "Coupling(4 source x 4 target cells, 2 blocks, method=hand, converged=True)"
    )


@both
def test_entropy_and_confidence_by_hand(sparse: bool) -> None:
    coupling = _hand(sparse)
    # cell 0 shares its mass 1 : 3 over the two candidates of its block, cell 3 has one match, cell 1 one candidate
    uneven = -(0.25 * np.log(0.25) + 0.75 * np.log(0.75))
    np.testing.assert_allclose(coupling.entropy(), [uneven, 0, np.nan, 0], atol=1e-12)
    np.testing.assert_allclose(
        coupling.confidence(), [1 - uneven / np.log(2), 1, np.nan, 1], atol=1e-12
    )
    back = -(0.4 * np.log(0.4) + 0.6 * np.log(0.6))
    np.testing.assert_allclose(coupling.entropy("target"), [np.nan, back, 0, 0], atol=1e-12)
    np.testing.assert_allclose(
        coupling.confidence("target"), [np.nan, 1 - back / np.log(2), 1, 1], atol=1e-12
    )


def test_the_exponential_of_the_entropy_is_a_number_of_partners() -> None:
    plan = np.zeros((3, 8))
    for row, partners in enumerate((1, 3, 8)):
        plan[row, :partners] = 7.0 / partners
    coupling = Coupling((CouplingBlock("", np.arange(3), np.arange(8), plan),), (3, 8))
    np.testing.assert_allclose(np.exp(coupling.entropy()), [1, 3, 8])
    np.testing.assert_allclose(coupling.confidence(), [1, 1 - np.log(3) / np.log(8), 0], atol=1e-12)


@both
@pytest.mark.parametrize("values", [np.asarray, sp.csr_matrix, sp.csc_array, pd.DataFrame])
def test_push_and_pull_are_weighted_means(sparse: bool, values: type) -> None:
    y = np.array([[9.0, 9.0], [1.0, 0.0], [5.0, 4.0], [7.0, 8.0]])
    pushed = _hand(sparse).push(values(y))
    np.testing.assert_allclose(pushed, [[2, 1], [7, 8], [np.nan] * 2, [1, 0]])
    pulled = _hand(sparse).pull(values(y), dtype=np.float32)
    assert pulled.dtype == np.float32
    np.testing.assert_allclose(
        pulled, [[np.nan] * 2, (0.3 * y[0] + 0.2 * y[3]) / 0.5, y[0], y[1]], rtol=1e-6
    )


@both
def test_mass_is_sent_along_the_rows_by_hand(sparse: bool) -> None:
    # cell 0 sends 1/4 of its mass to target 2 and 3/4 to target 1; cell 3 all to 1; cell 2 has no row
    np.testing.assert_allclose(
        _hand(sparse).push_mass([1.0, 10.0, 100.0, 1.0]), [0, 1.75, 0.25, 10]
    )
    np.testing.assert_allclose(_hand(sparse).pull_mass([100.0, 1.0, 1.0, 10.0]), [1.6, 10, 0, 0.4])
    np.testing.assert_allclose(
        _hand(sparse).push_mass(np.eye(4)[:, :2]), [[0, 0], [0.75, 0], [0.25, 0], [0, 1]]
    )


@both
def test_top_matches_by_hand(sparse: bool) -> None:
    found = _hand(
        sparse, source_names=list("pqrs"), target_names=pd.Index(list("wxyz"))
    ).top_matches()
    expected = pd.DataFrame(
        {
            "source": ["p", "p", "q", "s"],
            "target": ["x", "y", "z", "x"],
            "rank": [1, 2, 1, 1],
            "probability": [0.75, 0.25, 1.0, 1.0],
            "mass": [0.3, 0.1, 0.4, 0.2],
            "label": ["a", "a", "b", "a"],
        }
    )
    pd.testing.assert_frame_equal(found, expected, check_dtype=False)  # of strings: pandas 2 or 3
    best = _hand(sparse).top_matches(1, side="target")
    assert best[["source", "target", "rank"]].to_numpy().tolist() == [
        [0, 1, 1],
        [0, 2, 1],
        [1, 3, 1],
    ]
    np.testing.assert_allclose(best["probability"], [0.6, 1, 1])


@both
def test_label_mass_by_hand(sparse: bool) -> None:
    table = _hand(sparse).label_mass(["a", "b", "b", None], ["b", "a", "a", "c"])
    assert table.index.tolist() == ["a", "b", "(unlabeled)"]
    assert table.columns.tolist() == ["a", "b", "c"]
    np.testing.assert_allclose(table.to_numpy(), [[0.4, 0, 0], [0, 0, 0.4], [0.2, 0, 0]])
    assert (table.index.name, table.columns.name) == ("source", "target")


@both
def test_label_mass_of_the_labels_that_it_was_made_with(sparse: bool) -> None:
    table = _hand(sparse).label_mass()
    assert table.index.tolist() == table.columns.tolist() == ["a", "b", "(unlabeled)"]
    np.testing.assert_allclose(table.to_numpy(), [[0.6, 0, 0], [0, 0.4, 0], [0, 0, 0]])


def test_marginals_are_those_wanted_where_known() -> None:
    plan = np.array([[0.1, 0.3], [0.0, 0.2]])
    known = CouplingBlock("a", np.array([0, 3]), np.array([2, 1]), plan, np.array([0.5, 0.5]), None)
    other = CouplingBlock(
        "b", np.array([1]), np.array([3]), np.array([[0.4]]), None, np.array([0.7])
    )
    coupling = Coupling((known, other), (4, 4))
    a, b = coupling.marginals
    np.testing.assert_allclose(a, [0.5, 0.4, 0, 0.5])
    np.testing.assert_allclose(b, [0, 0.5, 0.1, 0.7])
    # rows: |0.4 - 0.5| + |0.2 - 0.5|; columns: |0.4 - 0.7|
    assert coupling.marginal_errors() == pytest.approx((0.4, 0.3))


def test_memory() -> None:
    coupling = _hand()
    assert coupling.nbytes == 8 * 5
    assert _hand(sparse=True).nbytes == (12 * 3 + 4 * 3) + (12 + 4 * 2)


def test_metrics_take_a_coupling() -> None:
    assert metrics.score(
        "trace_global", coupling=_hand(), partner=[1, 3, -1, -1]
    ).value == pytest.approx((0.75 + 1) / 2)


def test_from_sparse_round_trip() -> None:
    for form in (sp.coo_matrix, sp.csc_array, np.asarray):
        coupling = Coupling.from_sparse(form(HAND), {"method": "eot"}, list("pqrs"), list("wxyz"))
        np.testing.assert_array_equal(coupling.to_sparse(dtype=np.float64).toarray(), HAND)
        assert coupling.evidence == {"method": "eot"}
        assert coupling.shape == (4, 4)
        assert coupling.labels == [""]
        assert coupling.top_matches(1)["target"].tolist() == ["x", "z", "x"]


@pytest.mark.parametrize("dtype", [int, bool, np.uint8, np.float16, np.float32, object])
@pytest.mark.parametrize("form", [np.asarray, sp.coo_matrix, sp.csr_array])
def test_plans_of_whole_numbers_and_truth_values(form: Callable[..., Any], dtype: type) -> None:
    plan = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 1]], dtype=dtype)
    if form is not np.asarray:
        plan = form(plan.astype(np.int8 if dtype in (object, np.float16) else dtype))
    cells = np.arange(3)
    for coupling in (
        Coupling.from_sparse(plan),
        Coupling((CouplingBlock("", cells, cells, plan),), (3, 3)),
    ):
        np.testing.assert_allclose(coupling.entropy(), [0, np.log(2), 0], rtol=1e-6)
        np.testing.assert_allclose(coupling.push(np.array([[1], [3], [7]])), [[1], [2], [7]])
        assert coupling.mass == 4
        assert coupling.blocks[0].plan.dtype == (np.float32 if dtype is np.float32 else np.float64)


def test_an_empty_coupling_is_fine() -> None:
    empty = Coupling((), (2, 3))
    assert empty.to_sparse().shape == (2, 3)
    assert empty.mass == 0
    assert empty.nbytes == 0
    assert np.isnan(empty.push(np.ones((3, 1)))).all()
    assert np.isnan(empty.entropy("target")).all()
    assert empty.push_mass([1.0, 1.0]).tolist() == [0, 0, 0]
    assert empty.marginal_errors() == (0, 0)
    assert empty.top_matches().empty
    assert list(empty.top_matches().columns) == [
        "source",
        "target",
        "rank",
        "probability",
        "mass",
        "label",
    ]
    assert empty.to_dense().tolist() == [[0] * 3] * 2


# ------------------------------------------------------------------- one plan, kept in every way, against the formula

SHAPE = (13, 12)
SIDES = (("a", [9, 4, 0, 7, 2], [3, 10, 1, 6]), ("b", [12], [5, 0, 8]), ("c", [1, 5, 11], [11]))
"""Cells of the blocks: source cells 3, 6, 8, 10 and target cells 2, 4, 7, 9 take no part."""
FORMS = ("dense", "csr", "potentials", "low rank")


def _kept_as(form: str, plan: PotentialPlan) -> Any:
    matrix = plan.rows()
    if form == "potentials":
        return plan
    if form == "low rank":
        # T = (T diag(g)) diag(1/g) I
        inner = np.linspace(0.5, 2, matrix.shape[1])
        return LowRankPlan(matrix * inner, np.eye(len(inner)), inner)
    return matrix if form == "dense" else sp.csr_matrix(matrix)


def _same_plan(form: str, seed: int) -> Coupling:
    """Blocks of random potentials; a source cell of the first has no mass, some masses are tiny and some vanish."""
    rng = np.random.default_rng(seed)
    blocks = []
    for label, rows, columns in SIDES:
        n, m = len(rows), len(columns)
        cost, epsilon = (
            PairCost(rng.normal(size=(n, 2)), rng.normal(size=(m, 2))),
            float(rng.choice([0.005, 0.5])),
        )
        g = 0.1 * rng.normal(size=m)
        f = (cost.rows() - g).min(axis=1) + epsilon * rng.normal(
            size=n
        )  # the largest mass of a row is about 1
        f[0] = -np.inf if label == "a" else f[0]
        plan = PotentialPlan(cost, f, g, epsilon)
        a = rng.random(n) if label == "c" else None
        blocks.append(
            CouplingBlock(label, np.array(rows), np.array(columns), _kept_as(form, plan), a)
        )
    names = [f"s{i}" for i in range(SHAPE[0])], [f"t{i}" for i in range(SHAPE[1])]
    return Coupling(tuple(blocks), SHAPE, {}, *names)


def _means(plan: np.ndarray, values: np.ndarray) -> np.ndarray:
    mass = plan.sum(axis=1, keepdims=True)
    return np.divide(
        plan @ values, mass, out=np.full((len(plan), values.shape[1]), np.nan), where=mass > 0
    )


def _entropies(plan: np.ndarray) -> np.ndarray:
    out = []
    for row in plan:
        p = row[row > 0] / row.sum() if row.any() else np.array([np.nan])
        out.append(-(p * np.log(p)).sum())
    return np.array(out)


def _confidences(plan: np.ndarray, axis: int) -> np.ndarray:
    """1 - entropy / log m, or 1 of a single candidate."""
    size = np.ones(len(plan))
    for _, *sides in SIDES:
        size[sides[axis]] = len(sides[1 - axis])
    entropy = _entropies(plan)
    return np.where(size > 1, 1 - entropy / np.log(np.maximum(size, 2)), 1 + 0 * entropy)


def _sent(plan: np.ndarray, weights: np.ndarray) -> np.ndarray:
    mass = plan.sum(axis=1)
    return sum(w * row / m for w, row, m in zip(weights, plan, mass, strict=True) if m > 0)


def _largest(plan: np.ndarray, k: int) -> np.ndarray:
    """Keep the k largest entries of each row, scaled to the mass of the row."""
    out = np.zeros_like(plan)
    for kept, row in zip(out, plan, strict=True):
        best = np.argsort(-row)[:k]
        kept[best] = row[best] * (row.sum() / row[best].sum() if row.any() else 1)
    return out


def _above(plan: np.ndarray, threshold: float) -> np.ndarray:
    """Drop what is below its share of the row, and scale to the mass of the row."""
    size = np.ones(len(plan))
    for _, rows, columns in SIDES:
        size[rows] = len(columns)
    mass = plan.sum(axis=1)
    kept = np.where(plan >= (threshold * mass / size)[:, None], plan, 0)
    return (
        kept * np.divide(mass, kept.sum(axis=1), out=np.zeros(len(plan)), where=mass > 0)[:, None]
    )


def _ranked(plan: np.ndarray, n: int, name: str, other: str) -> list[tuple]:
    found = []
    for i, row in enumerate(plan):
        order = [j for j in np.argsort(-row)[:n] if row[j] > 0]
        found += [
            (f"{name}{i}", f"{other}{j}", rank, row[j] / row.sum(), row[j])
            for rank, j in enumerate(order, start=1)
        ]
    return found


def _matches(coupling: Coupling, n: int, side: str) -> list[tuple]:
    own, other = ("source", "target") if side == "source" else ("target", "source")
    table = coupling.top_matches(n, side)
    labels = {
        f"{side[0]}{cell}": label for label, *sides in SIDES for cell in sides[side == "target"]
    }
    assert [labels[name] for name in table[own]] == table["label"].tolist()
    return list(
        table[[own, other, "rank", "probability", "mass"]].itertuples(index=False, name=None)
    )


LX = np.array(["u", "v", None] * 4 + ["u"], dtype=object)
LY = np.array(["v", "w", "u", np.nan] * 3, dtype=object)
VALUES = np.random.default_rng(5)
Y, X = VALUES.normal(size=(SHAPE[1], 3)), VALUES.poisson(0.7, size=(SHAPE[0], 2)).astype(float)
WEIGHTS_X, WEIGHTS_Y = VALUES.random(SHAPE[0]), VALUES.random(SHAPE[1])
PARTNER = np.array([10, 11, 6, -1, 1, -1, -1, 3, -1, 7, -1, 2, 8])


def _label_table(plan: np.ndarray) -> np.ndarray:
    x, y = (
        pd.Series(LX).fillna("~"),
        pd.Series(LY).fillna("~"),
    )  # sorted last, as those without a label
    return np.array(
        [[plan[np.ix_(x == i, y == j)].sum() for j in sorted(set(y))] for i in sorted(set(x))]
    )


def _own_labels(plan: np.ndarray) -> np.ndarray:
    inside = [plan[np.ix_(rows, columns)].sum() for _, rows, columns in SIDES]
    return np.diag([*inside, 0.0])


def _placed(coupling: Coupling) -> np.ndarray:
    out = np.zeros(SHAPE)
    for rows, columns, part in coupling.parts():
        out[np.ix_(rows, columns)] += part.toarray() if sp.issparse(part) else part
    return out


def _scores(coupling: Any, lx: Any, ly: Any, y: Any, partner: Any) -> list[float]:
    """Return every metric of a coupling that needs no true latent."""
    labels = {"labels_x": lx, "labels_y": ly}
    found = metrics.scores(coupling=coupling, y=y, partner=partner, **labels)
    return [one.value for one in found]


METHODS: dict[str, tuple[Callable[[Coupling], Any], Callable[[np.ndarray], Any]]] = {
    "to_dense": (lambda c: c.to_dense(), lambda t: t),
    "parts": (_placed, lambda t: t),
    "row_mass": (lambda c: c.row_mass(), lambda t: t.sum(axis=1)),
    "column_mass": (lambda c: c.column_mass(), lambda t: t.sum(axis=0)),
    "mass": (lambda c: c.mass, lambda t: t.sum()),
    "entropy": (lambda c: c.entropy(), _entropies),
    "entropy of targets": (lambda c: c.entropy("target"), lambda t: _entropies(t.T)),
    "confidence": (lambda c: c.confidence(), lambda t: _confidences(t, 0)),
    "confidence of targets": (lambda c: c.confidence("target"), lambda t: _confidences(t.T, 1)),
    "push": (lambda c: c.push(Y), lambda t: _means(t, Y)),
    "push sparse": (lambda c: c.push(sp.csr_matrix(Y * (Y > 0))), lambda t: _means(t, Y * (Y > 0))),
    "pull": (lambda c: c.pull(X), lambda t: _means(t.T, X)),
    "pull sparse": (lambda c: c.pull(sp.csc_matrix(X)), lambda t: _means(t.T, X)),
    "push_mass": (lambda c: c.push_mass(WEIGHTS_X), lambda t: _sent(t, WEIGHTS_X)),
    "pull_mass": (lambda c: c.pull_mass(WEIGHTS_Y), lambda t: _sent(t.T, WEIGHTS_Y)),
    "label_mass": (lambda c: c.label_mass(LX, LY).to_numpy(), _label_table),
    "label_mass of its own labels": (lambda c: c.label_mass().to_numpy(), _own_labels),
    "to_sparse": (lambda c: c.to_sparse(dtype=np.float64).toarray(), lambda t: t),
    "to_sparse, top_k": (
        lambda c: c.to_sparse(2, dtype=np.float64).toarray(),
        lambda t: _largest(t, 2),
    ),
    "to_sparse, threshold": (
        lambda c: c.to_sparse(threshold=0.3, dtype=np.float64).toarray(),
        lambda t: _above(t, 0.3),
    ),
    "sparsify": (
        lambda c: c.sparsify(2, dtype=np.float64)[1]["mass_dropped"],
        lambda t: sum(np.sort(row)[:-2].sum() for row in t) / t.sum(),
    ),
    "metrics": (
        lambda c: _scores(c, LX, LY, Y, PARTNER),
        lambda t: _scores(t, LX, LY, Y, PARTNER),
    ),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 10**6), at_a_time=st.sampled_from([1, 9, 2**22]))
def test_methods_do_what_the_formula_says_whichever_way_the_plan_is_kept(
    form: str, method: str, seed: int, at_a_time: int
) -> None:
    found, expected = METHODS[method]
    coupling, plan = _same_plan(form, seed), _same_plan("dense", seed).to_dense()
    with (
        mock.patch.object(costs, "BLOCK_VALUES", at_a_time),
        mock.patch.object(_candidates, "BLOCK_VALUES", at_a_time),
    ):
        np.testing.assert_allclose(found(coupling), expected(plan), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("side", ["source", "target"])
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6), at_a_time=st.sampled_from([1, 9, 2**22]), n=st.integers(1, 6))
def test_top_matches_are_the_largest_in_order(
    form: str, side: str, seed: int, at_a_time: int, n: int
) -> None:
    coupling, plan = _same_plan(form, seed), _same_plan("dense", seed).to_dense()
    with mock.patch.object(costs, "BLOCK_VALUES", at_a_time):
        found = _matches(coupling, n, side)
    expected = _ranked(plan, n, "s", "t") if side == "source" else _ranked(plan.T, n, "t", "s")
    assert [row[:3] for row in found] == [row[:3] for row in expected]
    np.testing.assert_allclose([row[3:] for row in found], [row[3:] for row in expected], rtol=1e-9)


@pytest.mark.parametrize("form", FORMS)
def test_marginal_errors_are_computed_anew(form: str) -> None:
    coupling, plan = _same_plan(form, 0), _same_plan("dense", 0).to_dense()
    rows = np.array(SIDES[2][1])
    wanted = coupling.blocks[2].a
    error = np.abs(plan.sum(axis=1)[rows] - wanted).sum()
    assert error > 0.1
    assert coupling.marginal_errors() == pytest.approx((error, 0), abs=1e-12)
    np.testing.assert_allclose(coupling.marginals[0][rows], wanted)


def test_keeping_factors_takes_less_memory_than_the_matrix() -> None:
    x = np.zeros((500, 2))
    plan = PotentialPlan(PairCost(x, x), x[:, 0], x[:, 0], 1.0)
    cells = np.arange(500)
    nbytes = {
        form: Coupling((CouplingBlock("", cells, cells, _kept_as(form, plan)),), (500, 500)).nbytes
        for form in ("potentials", "dense")
    }
    assert nbytes == {"potentials": 8 * 2 * 500 * 3, "dense": 8 * 500 * 500}


# ------------------------------------------------------------------------------------- values that are no numbers


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_one_bad_value_of_a_matched_cell_is_refused_however_the_plan_is_kept(
    form: str, bad: float
) -> None:
    coupling = _same_plan(form, 1)
    i, j = (
        int(np.flatnonzero(mass > 0)[1]) for mass in (coupling.row_mass(), coupling.column_mass())
    )
    x, y = X.copy(), Y.copy()
    x[i, 1] = y[j, 0] = bad
    for call, name, cell in (
        (lambda: coupling.push(y), "y", f"1 of 12 target cells, first in cell 't{j}'"),
        (
            lambda: coupling.push(sp.csr_matrix(y)),
            "y",
            f"1 of 12 target cells, first in cell 't{j}'",
        ),
        (lambda: coupling.pull(x), "x", f"1 of 13 source cells, first in cell 's{i}'"),
        (
            lambda: coupling.push_mass(x[:, 1]),
            "weights",
            f"1 of 13 source cells, first in cell 's{i}'",
        ),
        (lambda: coupling.pull_mass(y), "weights", f"1 of 12 target cells, first in cell 't{j}'"),
    ):
        message = f"{name} holds NaN or infinite values in {cell}, which would spread to every cell matched"
        with pytest.raises(ValueError, match=message):
            call()


@pytest.mark.parametrize("form", FORMS)
def test_values_of_cells_without_mass_are_not_used(form: str) -> None:
    coupling = _same_plan(form, 1)
    x, y, zero_x, zero_y = X.copy(), Y.copy(), X.copy(), Y.copy()
    idle = (
        [*np.flatnonzero(coupling.row_mass() == 0)],
        [*np.flatnonzero(coupling.column_mass() == 0)],
    )
    assert 9 in idle[0]  # a cell of a block
    x[idle[0]], y[idle[1]], zero_x[idle[0]], zero_y[idle[1]] = np.nan, np.nan, 0, 0
    for kind in (np.asarray, sp.csr_matrix):
        np.testing.assert_array_equal(coupling.push(kind(y)), coupling.push(kind(zero_y)))
        np.testing.assert_array_equal(coupling.pull(kind(x)), coupling.pull(kind(zero_x)))
    np.testing.assert_array_equal(coupling.push_mass(x), coupling.push_mass(zero_x))
    assert not np.isnan(coupling.pull_mass(y)).any()
    assert np.isnan(x).any()  # what was given stays as it was
    # there and back: what pull cannot know of targets without mass does not come back as NaN
    back = coupling.push(coupling.pull(X))
    np.testing.assert_array_equal(np.isnan(back).any(axis=1), coupling.row_mass() == 0)


def test_large_finite_values_and_truth_values_are_numbers() -> None:
    large = np.full((4, 1), 1e308)
    np.testing.assert_allclose(_hand().push(large)[[0, 1, 3]], large[:3])
    seen = np.array([[True], [False], [True], [True]])
    np.testing.assert_allclose(_hand().push(seen)[:, 0], [0.25, 1, np.nan, 0])
    np.testing.assert_allclose(_hand().push(seen.astype(object))[:, 0], [0.25, 1, np.nan, 0])
    np.testing.assert_allclose(_hand().push_mass(seen[:, 0]), [0, 1.75, 0.25, 0])


# ------------------------------------------------------------------------------------------------ sending mass


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_sending_mass_keeps_it(form: str, seed: int) -> None:
    coupling, rng = _same_plan(form, seed), np.random.default_rng(seed)
    p, q = rng.random((SHAPE[0], 2)), rng.random((SHAPE[1], 2))
    has_row, has_column = coupling.row_mass() > 0, coupling.column_mass() > 0
    np.testing.assert_allclose(coupling.push_mass(p).sum(axis=0), p[has_row].sum(axis=0))
    np.testing.assert_allclose(coupling.pull_mass(q).sum(axis=0), q[has_column].sum(axis=0))
    # linear, and inside the blocks
    both_at_once = coupling.push_mass(p[:, 0] + 2 * p[:, 1])
    np.testing.assert_allclose(both_at_once, coupling.push_mass(p) @ [1, 2])
    _, rows, columns = SIDES[0]
    only = np.zeros(SHAPE[0])
    only[rows] = 1
    assert set(np.flatnonzero(coupling.push_mass(only))) <= set(columns)


def test_sending_the_row_masses_gives_the_column_masses() -> None:
    rng = np.random.default_rng(0)
    coupling = EntropicOT().align(rng.normal(size=(30, 2)), rng.normal(size=(20, 2)))
    np.testing.assert_allclose(coupling.push_mass(coupling.row_mass()), coupling.column_mass())
    np.testing.assert_allclose(coupling.pull_mass(coupling.column_mass()), coupling.row_mass())


# ----------------------------------------------------------------------------------------------------- storing


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    threshold=st.sampled_from([0.0, 1e-3, 0.1, 0.9]),
    sparse=st.booleans(),
)
def test_storing_keeps_row_masses_and_drops_no_more_than_promised(
    seed: int, threshold: float, sparse: bool
) -> None:
    rng = np.random.default_rng(seed)
    plan = np.exp(-8 * rng.random((6, 9))) * (rng.random((6, 9)) < 0.8)
    plan[0] = 0
    whole = sp.csr_matrix(plan) if sparse else plan
    coupling = Coupling((CouplingBlock("", np.arange(6), np.arange(9), whole),), (6, 9))
    stored, report = coupling.sparsify(threshold=threshold, dtype=np.float64)
    np.testing.assert_allclose(np.asarray(stored.sum(axis=1)).ravel(), plan.sum(axis=1), rtol=1e-12)
    assert report["threshold"] == threshold
    assert report["n_dropped"] == np.count_nonzero(plan) - stored.nnz
    assert 0 <= report["mass_dropped"] <= threshold + 1e-12
    mass = plan.sum(axis=1, keepdims=True)
    lost_of_rows = np.where(stored.toarray() > 0, 0, plan).sum(axis=1) / np.maximum(
        mass.ravel(), 1e-300
    )
    assert (lost_of_rows <= threshold + 1e-12).all()
    if threshold == 0:
        np.testing.assert_allclose(stored.toarray(), plan)


@settings(max_examples=60, deadline=None)
@given(
    plan=hnp.arrays(
        np.float64, hnp.array_shapes(min_dims=2, max_dims=2, max_side=7), elements=st.integers(0, 3)
    ),
    top_k=st.integers(1, 8),
    sparse=st.booleans(),
    at_a_time=st.sampled_from([1, 10, 2**22]),
)
def test_top_k_is_exact_also_with_ties(
    plan: np.ndarray, top_k: int, sparse: bool, at_a_time: int
) -> None:
    n, m = plan.shape
    whole = sp.csr_matrix(plan) if sparse else plan
    coupling = Coupling((CouplingBlock("", np.arange(n), np.arange(m), whole),), (n, m))
    with mock.patch.object(costs, "BLOCK_VALUES", at_a_time):
        stored, report = coupling.sparsify(top_k, dtype=np.float64)
    assert report["top_k"] == top_k
    np.testing.assert_array_equal(
        np.diff(stored.indptr), np.minimum(np.count_nonzero(plan, axis=1), top_k)
    )
    kept = stored.toarray() > 0
    for row, stays in zip(plan, kept, strict=True):
        assert not stays.any() or row[stays].min() >= row[~stays].max(initial=0)
    np.testing.assert_allclose(np.asarray(stored.sum(axis=1)).ravel(), plan.sum(axis=1))
    assert report["n_dropped"] == np.count_nonzero(plan) - kept.sum()
    dropped = plan[~kept].sum() / plan.sum() if plan.any() else 0
    assert report["mass_dropped"] == pytest.approx(dropped, abs=1e-12)


def test_top_k_and_threshold_together_keep_what_both_keep() -> None:
    plan = np.array([[6.0, 3.0, 0.9, 0.1], [1.0, 1.0, 1.0, 1.0]])
    stored = Coupling.from_sparse(plan).to_sparse(3, 0.5, np.float64).toarray()
    # of row 0, what is above 0.5 * 10 / 4 = 1.25: two; of row 1, all are above 0.5 / 4, so three, it matters not which
    np.testing.assert_allclose(stored[0], [20 / 3, 10 / 3, 0, 0])
    np.testing.assert_allclose(np.sort(stored[1]), [0, 4 / 3, 4 / 3, 4 / 3])


@both
def test_what_float32_cannot_hold_is_dropped_and_counted(sparse: bool) -> None:
    plan = np.array([[0.5, 1e-60, 0.0], [0.0, 1e-60, 0.5]])
    whole = sp.csr_matrix(plan) if sparse else plan
    coupling = Coupling((CouplingBlock("", np.arange(2), np.arange(3), whole),), (2, 3))
    stored, report = coupling.sparsify()
    assert stored.nnz == 2
    assert stored.data.all()
    assert report["n_dropped"] == 2
    assert coupling.sparsify(dtype=np.float64)[0].nnz == 4


@both
def test_how_far_the_columns_of_what_is_stored_are_off_by_hand(sparse: bool) -> None:
    plan = np.array([[0.3, 0.2], [0.3, 0.2]])
    whole = sp.csr_matrix(plan) if sparse else plan
    for b, whole_error, top_error in (
        (None, 0, 0.8),  # against its own columns (0.6, 0.4): |1 - 0.6| + |0 - 0.4|
        (np.array([0.5, 0.5]), 0.2, 1.0),
        (np.array([1.0, 1.0]), 0.5, 0.5),  # relative to the mass wanted
    ):
        coupling = Coupling(
            (CouplingBlock("", np.arange(2), np.arange(2), whole, None, b),), (2, 2)
        )
        assert coupling.sparsify()[1]["column_error"] == pytest.approx(whole_error, abs=1e-6)
        stored, report = coupling.sparsify(top_k=1)
        assert report["column_error"] == pytest.approx(top_error)
        np.testing.assert_allclose(stored.toarray(), [[0.5, 0], [0.5, 0]])
    assert Coupling((), (2, 3)).sparsify()[1]["column_error"] == 0


def test_stored_as_float32_keeps_tiny_masses() -> None:
    n = 2000
    uniform = np.full((n, n), 1 / n**2)
    coupling = Coupling((CouplingBlock("", np.arange(n), np.arange(n), uniform),), (n, n))
    stored = coupling.to_sparse()
    assert stored.dtype == np.float32
    assert stored.nnz == n * n
    np.testing.assert_allclose(stored.sum(axis=1), 1 / n, rtol=1e-5)


def test_the_matrix_is_canonical() -> None:
    stored = _same_plan("potentials", 3).to_sparse()
    assert isinstance(stored, sp.csr_matrix)
    assert stored.has_sorted_indices
    assert stored.indices.dtype == stored.indptr.dtype == np.int32
    before = stored.nnz
    stored.sum_duplicates()
    assert stored.nnz == before


# ------------------------------------------------------------------------------------------------------- memory


def _wide(n: int) -> Coupling:
    rng = np.random.default_rng(0)
    plan = PotentialPlan(
        PairCost(rng.normal(size=(n, 2)), rng.normal(size=(n, 2))), np.zeros(n), np.zeros(n), 1.0
    )
    return Coupling((CouplingBlock("", np.arange(n), np.arange(n), plan),), (n, n))


def _peak(call: Callable[[], Any]) -> int:
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "call",
    [
        lambda c: c.row_mass(),
        lambda c: c.column_mass(),
        lambda c: c.entropy(),
        lambda c: c.confidence("target"),
        lambda c: c.push(np.ones((1500, 2))),
        lambda c: c.pull(np.ones((1500, 2))),
        lambda c: c.push_mass(np.ones(1500)),
        lambda c: c.pull_mass(np.ones(1500)),
        lambda c: c.label_mass(["a"] * 1500, ["b"] * 1500),
        lambda c: c.top_matches(2),
        lambda c: c.top_matches(2, "target"),
        lambda c: c.to_sparse(top_k=3),
        lambda c: c.marginal_errors(),
        lambda c: metrics.score("trace_global", coupling=c, partner=np.arange(1500)),
        lambda c: metrics.score(
            "barycentric_foscttm_global",
            coupling=c,
            y=np.arange(1500.0)[:, None],
            partner=np.arange(1500),
        ),
    ],
)
def test_nothing_n_by_m_is_built(call: Callable[[Coupling], Any]) -> None:
    coupling = _wide(1500)
    with (
        mock.patch.object(costs, "BLOCK_VALUES", 2**15),
        mock.patch.object(_candidates, "BLOCK_VALUES", 2**15),
        mock.patch.object(_chance, "SAMPLED", (4, 4, 4)),  # cells that the spread rests on
    ):
        assert _peak(lambda: call(coupling)) < 4e6  # the matrix would take 18 MB


def test_a_table_of_too_many_labels_is_refused_before_it_is_taken() -> None:
    labels = np.arange(1000)
    with pytest.raises(
        TooLargeError,
        match=r"1,000 x 1,000 labels would take 0\.0 GB, more than max_memory_gb=0\.001",
    ):
        _wide(1000).label_mass(labels, labels, max_memory_gb=0.001)


def test_a_matrix_that_is_too_large_is_refused_before_it_is_taken() -> None:
    coupling = _wide(1000)

    def refused(call: Callable[[], Any]) -> str:
        with pytest.raises(TooLargeError) as caught:
            call()
        return str(caught.value)

    messages: list[str] = []
    with mock.patch.object(costs, "BLOCK_VALUES", 2**14):
        assert _peak(lambda: messages.append(refused(lambda: coupling.to_dense(0.007)))) < 1e6
        assert (
            _peak(lambda: messages.append(refused(lambda: coupling.to_sparse(max_memory_gb=0.007))))
            < 2e6
        )
    assert messages[0] == (
        "a matrix of this coupling would take 0.0 GB, more than max_memory_gb=0.007. Keep the best matches only "
        "(top_k=20, threshold=1e-3), use push, pull or top_matches, which need no matrix, or raise max_memory_gb if "
        "the machine has the memory."
    )
    assert messages[1] == messages[0]
    assert coupling.to_sparse(top_k=20, max_memory_gb=0.007).nnz == 20000
    assert coupling.to_dense(0.009).shape == (1000, 1000)
    with pytest.raises(TooLargeError, match=r"would take 8000\.0 GB, more than max_memory_gb=2\."):
        Coupling((), (10**6, 10**6)).to_dense()


# ------------------------------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: CouplingBlock("a", np.arange(2), np.arange(3), np.ones((3, 2))),
            r"block 'a': a plan of 2 source and 3 target cells must have shape \(2, 3\); found \(3, 2\)",
        ),
        (
            lambda: CouplingBlock("a", np.arange(1), np.arange(1), -np.ones((1, 1))),
            r"'a': .* finite masses",
        ),
        (
            lambda: CouplingBlock("a", np.arange(1), np.arange(1), np.full((1, 1), np.nan)),
            r"finite masses",
        ),
        (lambda: Coupling(_hand().blocks, (2, 4)), r"a block names source cells outside 0 to 1"),
        (lambda: Coupling(_hand().blocks, (4, 2)), r"a block names target cells outside 0 to 1"),
        (
            lambda: Coupling(_hand().blocks * 2, (4, 4)),
            r"blocks must be disjoint; a source cell is in two",
        ),
        (
            lambda: Coupling(
                (CouplingBlock("", np.arange(2), np.array([1, 1]), np.ones((2, 2))),), (2, 2)
            ),
            r"a target cell is in two of them, or twice in one",
        ),
        (
            lambda: _hand(source_names=["p"]),
            r"source_names must hold one name a source cell: expected 4, found 1",
        ),
        (
            lambda: _hand(target_names=list("abcde")),
            r"target_names must hold one name a target cell: expected 4, found 5",
        ),
        (
            lambda: _hand().push(np.ones((3, 2))),
            r"y must have one row a target cell: expected \(4, d\), found \(3, 2\)",
        ),
        (
            lambda: _hand().pull(np.ones(4)),
            r"x must have one row a source cell: expected \(4, d\), found \(4,\)",
        ),
        (
            lambda: _hand().push_mass(np.ones(3)),
            r"weights must have one row a source cell: expected \(4, d\), found \(3, 1\)",
        ),
        (
            lambda: _hand().pull_mass(np.ones((5, 2))),
            r"weights must have one row a target cell: expected \(4, d\), found \(5, 2\)",
        ),
        (
            lambda: _hand().to_sparse(threshold=1.0),
            r"threshold is a share of the mass of a row, in \[0, 1\); found 1\.0",
        ),
        (lambda: _hand().to_sparse(threshold=float("nan")), r"in \[0, 1\); found nan"),
        (
            lambda: _hand().to_sparse(0),
            r"top_k, the entries kept of a row, must be at least 1, and whole; found 0",
        ),
        (lambda: _hand().to_sparse(2.5), r"top_k, .* must be at least 1, and whole; found 2\.5"),
        (lambda: _hand().to_sparse(True), r"top_k, .* must be at least 1, and whole; found True"),
        (lambda: _hand().to_sparse(threshold="low"), r"threshold is a share .*; found 'low'"),
        (
            lambda: _hand().push(np.array([["a"]] * 4)),
            r"y must hold real numbers; found values of type <U1\.",
        ),
        (
            lambda: _hand().pull(np.ones((4, 1)) * 1j),
            r"x must hold real numbers; found .* complex128\.",
        ),
        (
            lambda: _hand().push_mass(["a", "b", "c", "d"]),
            r"weights must hold real numbers; found values of type <U1.*pandas\.get_dummies\(labels\)",
        ),
        (
            lambda: _hand().pull_mass(np.array(["a", 1, 2, 3], dtype=object)),
            r"weights must hold real numbers; found values of type object",
        ),
        (
            lambda: _hand().push_mass(sp.csr_matrix(np.ones((4, 1)))),
            r"weights must be dense, .* source cell; found a sparse matrix\. .* pass weights\.toarray\(\)",
        ),
        (lambda: Coupling.from_sparse(np.ones(3)), r"plan must be a matrix .*; found shape \(3,\)"),
        (
            lambda: Coupling.from_sparse(np.array([["a"]])),
            r"plan must hold real numbers; found .* <U1",
        ),
        (
            lambda: CouplingBlock("a", np.arange(1), np.arange(1), np.array([[1j]])),
            r"block 'a': a plan must hold real numbers; found values of type complex128",
        ),
        (
            lambda: _hand().top_matches(0),
            r"n, the number of matches of a cell, must be at least 1, and whole; found 0",
        ),
        (
            lambda: _hand().top_matches(side="row"),
            r"side must be 'source' or 'target'; found 'row'",
        ),
        (lambda: _hand().entropy("rows"), r"side must be 'source' or 'target'; found 'rows'"),
        (lambda: _hand().confidence("x"), r"side must be 'source' or 'target'; found 'x'"),
        (
            lambda: _hand().label_mass(["a"], ["a"] * 4),
            r"labels_x must hold .*: expected 4, found 1",
        ),
        (
            lambda: _hand().label_mass(["a"] * 4, ["a"]),
            r"labels_y must hold .*: expected 4, found 1",
        ),
        (
            lambda: _hand().label_mass(["a"] * 4),
            r"labels of both modalities are needed: pass labels_x and",
        ),
        (
            lambda: Coupling.from_sparse(HAND).label_mass(),
            r"this coupling does not know the labels of its cells: pass label_mass\(labels_x, labels_y\)",
        ),
    ],
)
def test_what_does_not_fit_is_refused(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
