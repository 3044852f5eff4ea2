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

from scgroove.metrics import (
    barycentric_foscttm,
    barycentric_projection,
    foscttm_coupling,
    foscttm_coupling_per_cell,
    label_mass,
    latent_error,
    score,
    scores,
    trace,
    trace_over_chance,
)


@dataclass(frozen=True)
class Blocks:
    """A coupling in blocks, as aligners make it."""

    shape: tuple[int, int]
    items: list[tuple[np.ndarray, np.ndarray, np.ndarray]]

    def parts(self) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        yield from self.items


T = np.array([[4.0, 1.0, 0.0], [2.0, 2.0, 1.0], [0.0, 0.0, 3.0]])


def test_foscttm_coupling_by_hand() -> None:
    # rows: 0: none above 4 -> 0; 1: one tie -> 1/4; 2: 0.   columns: 0: 0; 1: 0; 2: 0
    fx, fy = foscttm_coupling_per_cell(T)
    np.testing.assert_allclose(fx, [0, 0.25, 0])
    np.testing.assert_allclose(fy, [0, 0, 0])
    assert foscttm_coupling(T) == pytest.approx(0.25 / 6)


def test_absent_mass_of_the_true_match_ties_with_all_absent_mass() -> None:
    # rows 0 and 2: own 0, one above, one tie -> (1 + 1/2) / 2; row 1: own 4, none above -> 0
    plan = np.array([[0.0, 3.0, 0.0], [0.0, 4.0, 0.0], [1.0, 0.0, 0.0]])
    fx, fy = foscttm_coupling_per_cell(sp.csr_matrix(plan))
    np.testing.assert_allclose(fx, [0.75, 0, 0.75])
    np.testing.assert_allclose(fy, [0.75, 0, np.nan])


def test_rows_without_mass_are_left_out() -> None:
    plan = np.array([[1.0, 0.0], [0.0, 0.0]])
    fx, _ = foscttm_coupling_per_cell(plan)
    np.testing.assert_allclose(fx, [0, np.nan])
    assert trace(plan) == 1


def test_trace_by_hand() -> None:
    assert trace(T) == pytest.approx((4 / 5 + 2 / 5 + 1) / 3)
    assert trace(T, partner=[1, -1, 0]) == pytest.approx((1 / 5 + 0) / 2)


def test_trace_over_chance_by_hand() -> None:
    assert trace_over_chance(T) == pytest.approx(3 * trace(T))
    labels = ["a", "a", "b"]
    share = T[[0, 1], :2].sum(axis=1) / T[:2].sum(axis=1)  # of the mass within label a
    chance = (share.sum() / 2 + T[2, 2] / T[2].sum()) / 3
    assert trace_over_chance(T, labels_x=labels, labels_y=labels) == pytest.approx(
        trace(T) / chance
    )


def test_uniform_couplings_are_at_chance() -> None:
    labels = np.repeat(["a", "b"], [3, 5])
    within = (labels[:, None] == labels[None]).astype(float)
    options = {"labels_x": labels, "labels_y": labels}
    assert foscttm_coupling(within, **options) == 0.5
    assert foscttm_coupling(np.ones((8, 8))) == 0.5
    assert trace_over_chance(within, **options) == pytest.approx(1)
    latent = np.random.default_rng(0).normal(size=(8, 2))
    assert latent_error(within, latent, latent, **options) == pytest.approx(1)
    assert latent_error(np.eye(8), latent, latent, **options) == 0


def test_barycentric_by_hand() -> None:
    y = np.array([[0.0], [2.0], [10.0]])
    plan = np.array([[1.0, 0.0, 0.0], [1.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
    np.testing.assert_allclose(barycentric_projection(plan, y), [[0], [5], [np.nan]])
    # cell 0 at 0: 0; cell 1 at 5: own distance 3, others 5, 5 -> 0; with y2 = 7: at 3.5, own 1.5 -> 0
    assert barycentric_foscttm(plan, y) == 0
    # partner of cell 1 is now target 0 (distance 5): target 1 closer (3), target 2 ties (5) -> 3/4
    assert barycentric_foscttm(plan, y, partner=[-1, 0, -1]) == 0.75


def test_barycentric_keeps_to_the_label() -> None:
    y = np.array([[0.0], [4.0], [1.0], [3.0]])
    plan = np.array([[1.0, 1.0, 0, 0], [1.0, 1.0, 0, 0], [0, 0, 1.0, 0], [0, 0, 0, 1.0]])
    labels = ["a", "a", "b", "b"]
    # cells 0 and 1 go to 2, as far from both candidates -> 1/2; cells 2 and 3 are right
    assert barycentric_foscttm(plan, y, labels_x=labels, labels_y=labels) == 0.25
    assert barycentric_foscttm(plan, y) > 0.25


def test_latent_error_by_hand() -> None:
    u_x, u_y = [[0.0], [4.0]], [[1.0], [3.0]]
    # projected to 1 and 3: errors 1, 1; uniform: both to 2: errors 4, 4
    assert latent_error(np.eye(2), u_x, u_y) == pytest.approx(0.25)


def test_label_mass_by_hand() -> None:
    assert label_mass(T, ["a", "a", "b"], ["a", "b", "b"]) == pytest.approx((4 + 2 + 3) / 13)
    assert label_mass(T, ["a", "a", None], ["a", "b", "b"]) == pytest.approx(6 / 10)


def _brute_force(plan, partner, lx, ly) -> float:
    def one(matrix, match, la, lb) -> list[float]:
        shares = []
        for i, p in enumerate(match):
            if p < 0 or la[i] is None or la[i] != lb[p] or matrix[i].sum() == 0:
                continue
            others = [j for j in range(len(lb)) if lb[j] == la[i] and j != p]
            if others:
                shares.append(
                    np.mean(
                        [
                            (matrix[i, j] > matrix[i, p]) + 0.5 * (matrix[i, j] == matrix[i, p])
                            for j in others
                        ]
                    )
                )
        return shares

    back = np.full(plan.shape[1], -1)
    back[partner[partner >= 0]] = np.flatnonzero(partner >= 0)
    both = [one(plan, partner, lx, ly), one(plan.T, back, ly, lx)]
    means = [np.mean(shares) for shares in both if shares]
    return float(np.mean(means)) if means else np.nan


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), within=st.booleans())
def test_foscttm_coupling_is_the_double_loop_dense_sparse_and_in_blocks(
    seed: int, within: bool
) -> None:
    rng = np.random.default_rng(seed)
    n_x, n_y = rng.integers(2, 8, 2)
    plan = rng.integers(0, 4, (n_x, n_y)).astype(float)
    partner = np.full(n_x, -1)
    n_known = rng.integers(1, min(n_x, n_y) + 1)
    partner[rng.permutation(n_x)[:n_known]] = rng.permutation(n_y)[:n_known]
    names = np.array(["a", "b", None], dtype=object)
    lx, ly = (
        names[rng.integers(0, 3, n)] if within else np.full(n, "a", dtype=object)
        for n in (n_x, n_y)
    )
    expected = _brute_force(plan, partner, lx, ly)
    cut = n_x // 2
    top, bottom = np.arange(cut), np.arange(cut, n_x)
    in_blocks = Blocks(
        plan.shape, [(top, np.arange(n_y), plan[:cut]), (bottom, np.arange(n_y), plan[cut:])]
    )
    for form in (plan, sp.csr_matrix(plan), sp.coo_array(plan), in_blocks):
        if np.isnan(expected):
            with pytest.raises(ValueError, match="no cell can be scored"):
                foscttm_coupling(form, partner, labels_x=lx, labels_y=ly)
        else:
            found = foscttm_coupling(form, partner, labels_x=lx, labels_y=ly)
            assert found == pytest.approx(expected, abs=1e-12)


def test_other_metrics_are_alike_dense_sparse_and_in_blocks() -> None:
    rng = np.random.default_rng(1)
    lx, ly = np.array(list("aabbb")), np.array(list("abab"))
    plan = rng.random((5, 4)) * (lx[:, None] == ly[None])
    items = [(np.flatnonzero(lx == c), np.flatnonzero(ly == c)) for c in "ab"]
    in_blocks = Blocks((5, 4), [(i, j, plan[np.ix_(i, j)]) for i, j in items])
    y, u, partner = rng.normal(size=(4, 2)), rng.normal(size=(5, 2)), [0, 2, 1, 3, -1]
    for form in (sp.csr_array(plan), in_blocks):
        assert trace(form, partner) == pytest.approx(trace(plan, partner))
        assert trace_over_chance(form, partner, labels_x=lx, labels_y=ly) == pytest.approx(
            trace_over_chance(plan, partner, labels_x=lx, labels_y=ly)
        )
        assert barycentric_foscttm(form, y, partner) == pytest.approx(
            barycentric_foscttm(plan, y, partner)
        )
        assert latent_error(form, u, y) == pytest.approx(latent_error(plan, u, y))
        assert label_mass(form, lx, ly) == pytest.approx(1)


def test_a_mass_stored_in_two_pieces_is_one_mass() -> None:
    rows, columns = np.nonzero(T)
    halves = np.tile(T[rows, columns] / 2, 2)
    order = np.argsort(np.tile(rows, 2), kind="stable")
    split = sp.csr_matrix(
        (halves[order], np.tile(columns, 2)[order], 2 * sp.csr_matrix(T).indptr), shape=(3, 3)
    )
    assert not split.has_canonical_format
    assert foscttm_coupling(split) == pytest.approx(foscttm_coupling(T))
    assert trace(split) == pytest.approx(trace(T))


@pytest.mark.parametrize("form", [np.asarray, sp.csr_matrix])
def test_chance_of_label_mass_is_that_of_permuted_labels(form: Callable[[np.ndarray], Any]) -> None:
    plan = np.random.default_rng(0).random((5, 4)) * (np.random.default_rng(1).random((5, 4)) < 0.7)
    labels_x, labels_y = ["a", "a", "b", None, "c"], ["a", "b", "d", "d"]
    found = score("label_mass", coupling=form(plan), labels_x=labels_x, labels_y=labels_y)
    every = [label_mass(plan, labels_x, list(order)) for order in permutations(labels_y)]
    assert found.value == pytest.approx(label_mass(plan, labels_x, labels_y))
    assert (found.chance, found.chance_sd) == pytest.approx((np.mean(every), np.std(every)))


def test_cells_without_a_label_have_mass_and_no_part_in_chance() -> None:
    rng = np.random.default_rng(2)
    plan = rng.random((7, 7))
    labels = ["a", "a", "a", None, "b", "b", "b"]
    found = scores(
        ["coupling_foscttm_within_label", "trace_within_label"],
        coupling=plan,
        partner=np.arange(7),
        labels_x=labels,
        labels_y=labels,
    )
    cut = plan.copy()
    cut[3] = cut[:, 3] = 0
    assert [one.n for one in found] == [6, 6]
    assert found[0].value == pytest.approx(foscttm_coupling(cut, labels_x=labels, labels_y=labels))
    assert found[0].chance_sd == pytest.approx(
        score(
            "coupling_foscttm_within_label",
            coupling=cut,
            partner=np.arange(7),
            labels_x=labels,
            labels_y=labels,
        ).chance_sd
    )


def test_scaling_the_coupling_changes_nothing() -> None:
    for metric in (foscttm_coupling, trace, trace_over_chance):
        assert metric(1e-9 * T) == pytest.approx(metric(T))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: foscttm_coupling(-T),
            r"finite masses of at least 0; found a negative mass or NaN",
        ),
        (lambda: foscttm_coupling(T[:2]), r"equal numbers of cells; found 2 and 3"),
        (
            lambda: trace(np.zeros((2, 2))),
            r"no cell can be scored: none of the source cells with a known match",
        ),
        (
            lambda: barycentric_foscttm(T, np.zeros((2, 1))),
            r"expected \(3, d\), found shape \(2, 1\)",
        ),
        (
            lambda: latent_error(T, np.zeros((2, 1)), np.zeros((3, 1))),
            r"plan must have shape \(2, 3\); found",
        ),
        (
            lambda: latent_error(0 * T, np.eye(3), np.eye(3)),
            r"no source cell has both mass in the coupling",
        ),
        (lambda: label_mass(T, [None] * 3, list("abc")), r"no mass between labeled cells"),
    ],
)
def test_what_does_not_fit_is_refused(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
