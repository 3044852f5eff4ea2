"""Metrics of couplings: by hand, by brute force, and dense, sparse and in blocks alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from scgroove.metrics import score, scores
from scgroove.metrics._barycentric import barycentric_projection


@dataclass(frozen=True)
class Blocks:
    """A coupling in blocks, as aligners make it."""

    shape: tuple[int, int]
    items: list[tuple[np.ndarray, np.ndarray, np.ndarray]]

    def parts(self) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        yield from self.items


T = np.array([[4.0, 1.0, 0.0], [2.0, 2.0, 1.0], [0.0, 0.0, 3.0]])


def value(name: str, plan: Any, **given: Any) -> float:
    return score(name, coupling=plan, **{"partner": np.arange(plan.shape[0]), **given}).value


def same(labels: Any) -> dict[str, Any]:
    return {"labels_x": labels, "labels_y": labels}


def test_foscttm_by_hand() -> None:
    # rows: 0: none above 4 -> 0; 1: one tie -> 1/4; 2: 0.   columns: all 0
    assert value("coupling_foscttm_global", T) == pytest.approx(0.25 / 6)
    # rows 0 and 2: own 0, one above, one tie -> (1 + 1/2) / 2; row 1: own 4 -> 0
    # columns: 0: own 0, one above, one tie -> 3/4; 1: 0; 2 has no mass
    plan = sp.csr_matrix(np.array([[0.0, 3.0, 0.0], [0.0, 4.0, 0.0], [1.0, 0.0, 0.0]]))
    assert value("coupling_foscttm_global", plan) == pytest.approx((1.5 / 3 + 0.75 / 2) / 2)


def test_trace_by_hand() -> None:
    trace = (4 / 5 + 2 / 5 + 1) / 3
    assert value("trace_global", T) == pytest.approx(trace)
    assert value("trace_global", T, partner=[1, -1, 0]) == pytest.approx((1 / 5 + 0) / 2)
    assert value("trace_over_chance", T) == pytest.approx(3 * trace)
    share = T[[0, 1], :2].sum(axis=1) / T[:2].sum(axis=1)  # of the mass within label a
    chance = (share.sum() / 2 + T[2, 2] / T[2].sum()) / 3
    found = value("trace_over_chance", T, **same(["a", "a", "b"]))
    assert found == pytest.approx(trace / chance)


def test_uniform_couplings_are_at_chance() -> None:
    labels = np.repeat(["a", "b"], [3, 5])
    within = (labels[:, None] == labels[None]).astype(float)
    assert value("coupling_foscttm_within_label", within, **same(labels)) == 0.5
    assert value("coupling_foscttm_global", np.ones((8, 8))) == 0.5
    assert value("trace_over_chance", within, **same(labels)) == pytest.approx(1)
    u = np.random.default_rng(0).normal(size=(8, 2))
    latents = {"latent_x": u, "latent_y": u, **same(labels)}
    assert value("latent_error", within, **latents) == pytest.approx(1)
    assert value("latent_error", np.eye(8), **latents) == 0


def test_barycentric_by_hand() -> None:
    y = np.array([[0.0], [2.0], [10.0]])
    plan = np.array([[1.0, 0.0, 0.0], [1.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
    np.testing.assert_allclose(barycentric_projection(plan, y), [[0], [5], [np.nan]])
    assert value("barycentric_foscttm_global", plan, y=y) == 0
    # the partner of cell 1 is target 0 (distance 5): target 1 closer (3), target 2 ties -> 3/4
    assert value("barycentric_foscttm_global", plan, y=y, partner=[-1, 0, -1]) == 0.75


def test_barycentric_keeps_to_the_label() -> None:
    y = np.array([[0.0], [4.0], [1.0], [3.0]])
    plan = np.array([[1.0, 1.0, 0, 0], [1.0, 1.0, 0, 0], [0, 0, 1.0, 0], [0, 0, 0, 1.0]])
    # cells 0 and 1 go to 2, as far from both candidates -> 1/2; cells 2 and 3 are right
    labels = same(["a", "a", "b", "b"])
    assert value("barycentric_foscttm_within_label", plan, y=y, **labels) == 0.25
    assert value("barycentric_foscttm_global", plan, y=y) > 0.25


def test_latent_error_and_label_mass_by_hand() -> None:
    # projected to 1 and 3: errors 1, 1; uniform: both to 2: errors 4, 4
    latents = {"latent_x": [[0.0], [4.0]], "latent_y": [[1.0], [3.0]]}
    assert value("latent_error", np.eye(2), **latents) == pytest.approx(0.25)
    labels = {"labels_x": ["a", "a", "b"], "labels_y": ["a", "b", "b"]}
    assert value("label_mass", T, **labels) == pytest.approx((4 + 2 + 3) / 13)
    labels["labels_x"] = ["a", "a", None]
    assert value("label_mass", T, **labels) == pytest.approx(6 / 10)


def _brute_force(plan: np.ndarray, partner: np.ndarray, lx: Any, ly: Any) -> float:
    def one(matrix: np.ndarray, match: np.ndarray, la: Any, lb: Any) -> list[float]:
        shares = []
        for i, p in enumerate(match):
            if p < 0 or la[i] is None or la[i] != lb[p] or matrix[i].sum() == 0:
                continue
            others = matrix[i, [j for j in range(len(lb)) if lb[j] == la[i] and j != p]]
            if others.size:
                shares.append(np.mean((others > matrix[i, p]) + 0.5 * (others == matrix[i, p])))
        return shares

    back = np.full(plan.shape[1], -1)
    back[partner[partner >= 0]] = np.flatnonzero(partner >= 0)
    both = [one(plan, partner, lx, ly), one(plan.T, back, ly, lx)]
    means = [np.mean(shares) for shares in both if shares]
    return float(np.mean(means)) if means else np.nan


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_foscttm_is_the_double_loop_dense_sparse_and_in_blocks(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n_x, n_y = rng.integers(2, 8, 2)
    plan = rng.integers(0, 4, (n_x, n_y)).astype(float)
    partner = np.full(n_x, -1)
    n_known = rng.integers(1, min(n_x, n_y) + 1)
    partner[rng.permutation(n_x)[:n_known]] = rng.permutation(n_y)[:n_known]
    names = np.array(["a", "b", None], dtype=object)
    lx, ly = names[rng.integers(0, 3, n_x)], names[rng.integers(0, 3, n_y)]
    expected = _brute_force(plan, partner, lx, ly)
    cut, columns = n_x // 2, np.arange(n_y)
    parts = [(np.arange(cut), columns, plan[:cut]), (np.arange(cut, n_x), columns, plan[cut:])]
    cells = {"partner": partner, "labels_x": lx, "labels_y": ly}
    for form in (plan, sp.csr_matrix(plan), sp.coo_array(plan), Blocks(plan.shape, parts)):
        found = scores(["coupling_foscttm_within_label"], missing="skip", coupling=form, **cells)
        if np.isnan(expected):
            assert "no cell can be scored" in found.skipped["coupling_foscttm_within_label"]
        else:
            assert [one.value for one in found] == pytest.approx([expected], abs=1e-12)


def test_other_metrics_are_alike_dense_sparse_and_in_blocks() -> None:
    rng = np.random.default_rng(1)
    lx, ly = np.array(list("aabbb")), np.array(list("abab"))
    plan = rng.random((5, 4)) * (lx[:, None] == ly[None])
    items = [(np.flatnonzero(lx == c), np.flatnonzero(ly == c)) for c in "ab"]
    in_blocks = Blocks((5, 4), [(i, j, plan[np.ix_(i, j)]) for i, j in items])
    u, y = rng.normal(size=(5, 2)), rng.normal(size=(4, 2))
    cells = {"y": y, "partner": [0, 2, 1, 3, -1], "latent_x": u, "latent_y": y}
    cells |= {"labels_x": lx, "labels_y": ly}
    expected = scores(coupling=plan, **cells).to_frame()
    assert len(expected) == 9
    for form in (sp.csr_array(plan), in_blocks):
        found = scores(coupling=form, **cells).to_frame()
        np.testing.assert_allclose(found.iloc[:, 1:4], expected.iloc[:, 1:4])


def test_a_mass_stored_in_two_pieces_is_one_mass() -> None:
    rows, columns = np.nonzero(T)
    halves = np.tile(T[rows, columns] / 2, 2)
    order = np.argsort(np.tile(rows, 2), kind="stable")
    indptr = 2 * sp.csr_matrix(T).indptr
    split = sp.csr_matrix((halves[order], np.tile(columns, 2)[order], indptr), shape=(3, 3))
    assert not split.has_canonical_format
    for name in ("coupling_foscttm_global", "trace_global"):
        assert value(name, split) == pytest.approx(value(name, T))
        assert value(name, 1e-9 * T) == pytest.approx(value(name, T))


@pytest.mark.parametrize("form", [np.asarray, sp.csr_matrix])
def test_chance_of_label_mass_is_that_of_permuted_labels(form: Callable[[np.ndarray], Any]) -> None:
    plan = np.random.default_rng(0).random((5, 4)) * (np.random.default_rng(1).random((5, 4)) < 0.7)
    labels_x, labels_y = ["a", "a", "b", None, "c"], ["a", "b", "d", "d"]
    found = score("label_mass", coupling=form(plan), labels_x=labels_x, labels_y=labels_y)
    every = [
        score("label_mass", coupling=plan, labels_x=labels_x, labels_y=list(order)).value
        for order in permutations(labels_y)
    ]
    assert (found.chance, found.chance_sd) == pytest.approx((np.mean(every), np.std(every)))


def test_cells_without_a_label_have_mass_and_no_part_in_chance() -> None:
    plan = np.random.default_rng(2).random((7, 7))
    cells = {"partner": np.arange(7), **same(["a", "a", "a", None, "b", "b", "b"])}
    found = scores(["coupling_foscttm_within_label", "trace_within_label"], coupling=plan, **cells)
    cut = plan.copy()
    cut[3] = cut[:, 3] = 0
    other = score("coupling_foscttm_within_label", coupling=cut, **cells)
    assert [one.n for one in found] == [6, 6]
    assert (found[0].value, found[0].chance_sd) == pytest.approx((other.value, other.chance_sd))


@pytest.mark.parametrize(
    ("name", "plan", "given_", "message"),
    [
        ("coupling_foscttm_global", -T, {}, "found a negative mass or NaN"),
        ("coupling_foscttm_global", T[:2], {"partner": [0, 5]}, "partner must be between"),
        ("trace_global", np.zeros((2, 2)), {}, "none of the source cells with a known match"),
        ("barycentric_foscttm_global", T, {"y": np.zeros(3)}, r"expected \(3, d\)"),
        ("barycentric_foscttm_global", T, {"y": np.zeros((2, 1))}, "one row a target cell"),
        (
            "latent_error",
            0 * T,
            {"latent_x": np.eye(3), "latent_y": np.eye(3)},
            "no source cell has both mass in the coupling",
        ),
        (
            "label_mass",
            T,
            {"labels_x": [None] * 3, "labels_y": list("abc")},
            "no mass between labeled cells",
        ),
    ],
)
def test_bad_input_is_refused(name: str, plan: np.ndarray, given_: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        value(name, plan, **given_)
