"""Chance of metrics: against all permutations of tiny problems, and against draws."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import combinations, permutations, product
from typing import Any
from unittest import mock

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from scgroove import metrics
from scgroove.metrics import _chance, chance
from scgroove.metrics._chance import class_chance, matching_variance

LABELS = ["a", "a", "a", "b", "b", "b"]


def _matchings(n_x: int, n_y: int, k: int) -> Iterator[list[tuple[int, int]]]:
    """Yield every way to match k of n_x rows with k of n_y columns."""
    for rows in combinations(range(n_x), k):
        for columns in permutations(range(n_y), k):
            yield list(zip(rows, columns, strict=True))


def _within(labels: list[str]) -> Iterator[np.ndarray]:
    """Yield every permutation of cells within labels."""
    groups = [[i for i, own in enumerate(labels) if own == label] for label in sorted(set(labels))]
    for orders in product(*(permutations(group) for group in groups)):
        out = np.empty(len(labels), dtype=int)
        for group, order in zip(groups, orders, strict=True):
            out[group] = order
        yield out


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), n_x=st.integers(1, 4), n_y=st.integers(1, 4), data=st.data())
def test_variance_of_a_random_matching(seed: int, n_x: int, n_y: int, data: st.DataObject) -> None:
    a = np.random.default_rng(seed).normal(size=(n_x, n_y))
    k = data.draw(st.integers(1, min(n_x, n_y)))
    every = [sum(a[i, j] for i, j in pairs) for pairs in _matchings(n_x, n_y, k)]
    assert matching_variance(a, n_x, n_y, k) == pytest.approx(np.var(every), abs=1e-12)


def test_a_sample_of_rows_and_columns_estimates_the_variance() -> None:
    rng = np.random.default_rng(0)
    a = rng.normal(size=(150, 1)) + 2 * rng.normal(size=(1, 200)) + rng.normal(size=(150, 200))
    for k in (40, 150):
        exact = matching_variance(a, 150, 200, k)
        some = [
            matching_variance(
                a[np.ix_(rng.choice(150, 30, False), rng.choice(200, 30, False))], 150, 200, k
            )
            for _ in range(300)
        ]
        assert np.mean(some) == pytest.approx(exact, rel=0.05)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_chance_of_classes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    gain, p, q = rng.normal(size=(3, 2)), rng.integers(0, 3, 5), rng.integers(0, 2, 5)
    every = [sum(gain[p[i], q[order[i]]] for i in range(5)) for order in permutations(range(5))]
    found = class_chance(gain, np.bincount(p, minlength=3), np.bincount(q, minlength=2))
    assert found == pytest.approx((np.mean(every), np.std(every)))


def _problem(seed: int) -> dict:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(6, 2))
    return {
        "x": x,
        "y": x + rng.normal(size=(6, 2)),
        "coupling": rng.random((6, 6)) ** 2 * (rng.random((6, 6)) < 0.9),
        "u": rng.normal(size=(6, 2)),
    }


SAME = {"labels_x": LABELS, "labels_y": LABELS}
RANKED = (
    "foscttm",
    "recall_at_1",
    "mean_reciprocal_rank",
    "coupling_foscttm",
    "barycentric_foscttm",
    "trace",
)


def values(name: str, partners: Iterable[np.ndarray], **given: Any) -> list[float]:
    """Return a metric for each of several partners."""
    return [metrics.score(name, partner=partner, **given).value for partner in partners]


def assert_chance(found: metrics.Score, every: list[float]) -> None:
    assert (found.chance, found.chance_sd) == pytest.approx((np.mean(every), np.std(every)))


@pytest.mark.parametrize("name", RANKED)
@pytest.mark.parametrize("labeled", [True, False])
def test_mean_and_spread_are_those_over_all_permutations(name: str, labeled: bool) -> None:
    n, labels, scope = (6, SAME, "within_label") if labeled else (5, {}, "global")
    for seed in range(2):
        problem = _problem(seed)
        plan = problem["coupling"][:n, :n] + 0.01 * np.eye(n)
        if labeled:
            plan *= np.array(LABELS)[:, None] == np.array(LABELS)
        cells = {"x": problem["x"][:n], "y": problem["y"][:n], "coupling": plan, **labels}
        found = metrics.score(f"{name}_{scope}", partner=np.arange(n), **cells)
        orders = _within(LABELS) if labeled else map(np.array, permutations(range(n)))
        assert_chance(found, values(f"{name}_{scope}", orders, **cells))


@pytest.mark.parametrize("name", [name for name in RANKED if name != "mean_reciprocal_rank"])
def test_with_few_known_partners_pairs_are_drawn_among_all_cells(name: str) -> None:
    rng = np.random.default_rng(4)
    cells = {
        "x": rng.normal(size=(4, 2)),
        "y": rng.normal(size=(5, 2)),
        "coupling": rng.random((4, 5)),
    }
    partners = []
    for pairs in _matchings(4, 5, 3):
        partner = np.full(4, -1)
        for i, j in pairs:
            partner[i] = j
        partners.append(partner)
    found = metrics.score(f"{name}_global", partner=[2, -1, 0, 4], **cells)
    assert_chance(found, values(f"{name}_global", partners, **cells))


def test_cells_without_mass_have_no_part() -> None:
    plan = np.random.default_rng(5).random((5, 5))
    plan[[1, 4]] = 0
    plan[:, 2] = 0
    cells = {"coupling": sp.csr_matrix(plan), "y": np.random.default_rng(6).normal(size=(5, 2))}
    orders = [np.array(order) for order in permutations(range(5))]
    for name in ("coupling_foscttm_global", "barycentric_foscttm_global"):
        found = metrics.score(name, partner=np.arange(5), **cells)
        assert_chance(found, values(name, orders, **cells))
    found = metrics.score("trace_global", partner=np.arange(5), **cells)
    assert found.chance_sd == pytest.approx(np.std(values("trace_global", orders, **cells)))
    assert found.n == 3


def test_label_and_latent_metrics_over_all_permutations() -> None:
    problem, uneven = _problem(1), np.array(["a", "a", "a", "b", "b"])
    permuted = [np.where(np.isin(range(5), b), "b", "a") for b in combinations(range(5), 2)]
    cells = {"x": problem["x"], "y": problem["y"][:5], "labels_x": LABELS, "n_neighbors": 1}
    cells["coupling"] = problem["coupling"][:, :5]
    for name in ("label_mass", "label_transfer", "label_transfer_balanced"):
        found = metrics.score(name, **cells, labels_y=uneven)
        every = [metrics.score(name, **cells, labels_y=labels).value for labels in permuted]
        assert_chance(found, every)
    # three cells of one label and two of the other; labels that weigh alike: one half
    assert metrics.score("label_transfer", **cells, labels_y=uneven).chance == pytest.approx(0.52)
    assert found.chance == pytest.approx(0.5)
    u = problem["u"]
    cells = {"coupling": problem["coupling"], "latent_y": u, **SAME}
    found = metrics.score("latent_error", latent_x=u, **cells)
    every = [
        metrics.score("latent_error", latent_x=u[order], **cells).value for order in _within(LABELS)
    ]
    # the uniform coupling is the same in each permutation
    assert found.chance_sd == pytest.approx(np.std(every))
    assert found.chance == 1


def test_chance_of_the_trace_is_that_of_the_uniform_coupling() -> None:
    labels = np.repeat(["a", "b"], [4, 6])
    within = (labels[:, None] == labels).astype(float)
    cells = {"partner": np.arange(10), "labels_x": labels, "labels_y": labels}
    found = metrics.scores(["trace_within_label", "trace_over_chance"], coupling=within, **cells)
    assert [one.value for one in found] == pytest.approx([one.chance for one in found])
    assert found[0].chance == pytest.approx(0.2)  # (4 * 1/4 + 6 * 1/6) / 10
    assert [one.chance_sd for one in found] == pytest.approx([0, 0], abs=1e-12)


@pytest.mark.parametrize("form", [np.asarray, sp.csr_matrix])
def test_chance_of_the_trace_of_a_coupling_across_labels_is_that_of_random_partners(
    form: Any,
) -> None:
    cells = {"coupling": form(_problem(2)["coupling"] + 0.01), **SAME}
    found = metrics.score("trace_within_label", partner=np.arange(6), **cells)
    every = values("trace_within_label", _within(LABELS), **cells)
    assert_chance(found, every)
    over = metrics.score("trace_over_chance", partner=np.arange(6), **cells)
    assert (over.chance, over.value) == pytest.approx((1, found.value / np.mean(every)))


@pytest.mark.parametrize("plan", ["dense", "sparse"])
def test_a_sample_of_the_cells_gives_nearly_the_same_spread(plan: str) -> None:
    rng = np.random.default_rng(3)
    n = 300
    x = rng.normal(size=(n, 3))
    y = x + rng.normal(size=(n, 3))
    coupling = np.exp(-((x[:, None] - y) ** 2).sum(axis=2))
    if plan == "sparse":
        coupling = sp.csr_array(np.where(coupling < 0.05, 0, coupling))
    cells = {"x": x, "y": y, "coupling": coupling, "partner": np.arange(n)}
    names = [f"{name}_global" for name in RANKED]
    with mock.patch.object(_chance, "SAMPLED", (1000, 1000, 10**6)):
        exact = metrics.scores(names, **cells)
    with mock.patch.object(_chance, "SAMPLED", (100, 100, 100)):
        some = metrics.scores(names, **cells)
    for one, other in zip(exact, some, strict=True):
        assert one.value == other.value
        assert one.chance == pytest.approx(other.chance)
        tolerance = 0.3 if one.name.startswith("recall") else 0.15
        assert one.chance_sd == pytest.approx(other.chance_sd, rel=tolerance)
        assert one.chance_sd > 0


def test_draws_agree_with_the_formula() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 2)), rng.normal(size=(40, 2))
    labels = {"labels_x": np.repeat(["a", "b"], 20), "labels_y": np.repeat(["a", "b"], 20)}

    def foscttm(partner: np.ndarray) -> float:
        return metrics.foscttm(x, y, partner, **labels)

    found = chance(foscttm, np.arange(40), 40, **labels, n_permutations=200, seed=1)
    exact = metrics.score("foscttm_within_label", x=x, y=y, partner=np.arange(40), **labels)
    assert found.mean == pytest.approx(0.5, abs=4 * found.sd / np.sqrt(200))
    assert found.sd == pytest.approx(exact.chance_sd, rel=0.15)
    assert chance(foscttm, np.arange(40), 40, **labels, n_permutations=200, seed=1) == found


def test_drawn_partners_are_a_matching_within_the_candidates() -> None:
    seen = []

    def record(partner: np.ndarray) -> float:
        seen.append(partner)
        return 0.0

    labels_x, labels_y = ["a"] * 4 + ["b"] * 3 + [None], ["b"] * 3 + ["a"] * 5
    partner = [3, 4, -1, -1, 0, 1, 2, 7]
    chance(record, partner, 8, labels_x=labels_x, labels_y=labels_y, n_permutations=200)
    for one in seen:
        known = np.flatnonzero(one >= 0)
        assert len(set(one[known])) == known.size == 5
        assert all(labels_x[i] == labels_y[one[i]] for i in known)
    assert {int(i) for one in seen for i in np.flatnonzero(one >= 0)} == {0, 1, 2, 3, 4, 5, 6}
    assert {int(j) for one in seen for j in one[one >= 0]} == set(range(8))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_permutations": 1}, "n_permutations must be a whole number of at least 2"),
        ({"partner": [0, 5]}, r"partner must be between 0 and 1"),
        (
            {"labels_x": ["a", "a"], "labels_y": ["b", "b"]},
            r"no true match is among the candidates",
        ),
    ],
)
def test_bad_input_is_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        chance(lambda _: 0.0, **{"partner": [0, 1], "n_target": 2, **options})
