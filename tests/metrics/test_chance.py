"""What metrics have by chance: against all permutations of tiny problems, and against draws."""

from __future__ import annotations

from collections.abc import Iterator
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


LX = {"labels_x": LABELS, "labels_y": LABELS}
ONE = {
    "foscttm": lambda d, p, o: metrics.foscttm(d["x"], d["y"], p, **o),
    "recall_at_1": lambda d, p, o: metrics.recall_at_k(d["x"], d["y"], p, k=1, **o),
    "mean_reciprocal_rank": lambda d, p, o: metrics.mean_reciprocal_rank(d["x"], d["y"], p, **o),
    "coupling_foscttm": lambda d, p, o: metrics.foscttm_coupling(d["coupling"], p, **o),
    "barycentric_foscttm": lambda d, p, o: metrics.barycentric_foscttm(
        d["coupling"], d["y"], p, **o
    ),
    "trace": lambda d, p, o: metrics.trace_per_cell(d["coupling"], p, **o)[0].mean(),
}


@pytest.mark.parametrize("name", ONE)
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("labeled", [True, False])
def test_mean_and_spread_are_those_over_all_permutations(
    name: str, seed: int, labeled: bool
) -> None:
    n, options = (6, LX) if labeled else (5, {})
    problem = _problem(seed)
    plan = problem["coupling"][:n, :n] + 0.01 * np.eye(n)
    if labeled:
        plan *= np.array(LABELS)[:, None] == np.array(LABELS)
    problem = {"x": problem["x"][:n], "y": problem["y"][:n], "coupling": plan}
    scope = "within_label" if labeled else "global"
    found = metrics.score(f"{name}_{scope}", partner=np.arange(n), **problem, **options)
    orders = _within(LABELS) if labeled else map(np.array, permutations(range(n)))
    every = [ONE[name](problem, order, options) for order in orders]
    assert found.value == pytest.approx(ONE[name](problem, np.arange(n), options))
    assert found.chance == pytest.approx(np.mean(every))
    assert found.chance_sd == pytest.approx(np.std(every))


@pytest.mark.parametrize(
    "name", ["foscttm", "recall_at_1", "coupling_foscttm", "barycentric_foscttm", "trace"]
)
def test_where_few_partners_are_known_pairs_are_drawn_among_all_cells(name: str) -> None:
    rng = np.random.default_rng(4)
    problem = {
        "x": rng.normal(size=(4, 2)),
        "y": rng.normal(size=(5, 2)),
        "coupling": rng.random((4, 5)),
    }
    found = metrics.score(f"{name}_global", partner=[2, -1, 0, 4], **problem)
    every = []
    for pairs in _matchings(4, 5, 3):
        partner = np.full(4, -1)
        for i, j in pairs:
            partner[i] = j
        one = (
            ONE[name](problem, partner, {})
            if name != "trace"
            else metrics.trace(problem["coupling"], partner)
        )
        every.append(one)
    assert (found.chance, found.chance_sd) == pytest.approx((np.mean(every), np.std(every)))


def test_cells_without_mass_have_no_part() -> None:
    """Two of five rows and one column are empty: permutations of all cells, of which those with mass are scored."""
    plan = np.random.default_rng(5).random((5, 5))
    plan[[1, 4]] = 0
    plan[:, 2] = 0
    y = np.random.default_rng(6).normal(size=(5, 2))
    orders = [np.array(order) for order in permutations(range(5))]
    for name in ("coupling_foscttm", "barycentric_foscttm"):
        found = metrics.score(
            f"{name}_global", coupling=sp.csr_matrix(plan), y=y, partner=np.arange(5)
        )
        every = [ONE[name]({"coupling": plan, "y": y}, order, {}) for order in orders]
        assert (found.chance, found.chance_sd) == pytest.approx((np.mean(every), np.std(every)))
    found = metrics.score("trace_global", coupling=plan, partner=np.arange(5))
    every = [metrics.trace(plan, order) for order in orders]
    assert found.chance_sd == pytest.approx(np.std(every))
    assert found.n == 3


def test_label_and_latent_metrics_over_all_permutations() -> None:
    problem = _problem(1)
    uneven, orders = (
        np.array(["a", "a", "a", "b", "b"]),
        [list(order) for order in permutations(range(5))],
    )
    plan = problem["coupling"][:, :5]
    found = metrics.score("label_mass", coupling=plan, labels_x=LABELS, labels_y=uneven)
    every = [metrics.label_mass(plan, LABELS, uneven[order]) for order in orders]
    assert (found.chance, found.chance_sd) == pytest.approx((np.mean(every), np.std(every)))
    for name, expected in (("label_transfer", 0.52), ("label_transfer_balanced", 0.5)):
        given_ = {"x": problem["x"], "y": problem["y"][:5], "labels_x": LABELS, "n_neighbors": 1}
        found = metrics.score(name, **given_, labels_y=uneven)
        every = [metrics.score(name, **given_, labels_y=uneven[order]).value for order in orders]
        assert (found.chance, found.chance_sd) == pytest.approx((np.mean(every), np.std(every)))
        # three cells of one label and two of the other: 0.6 * 0.6 + 0.4 * 0.4; labels that weigh alike: one half
        assert found.chance == pytest.approx(expected)
    u = problem["u"]
    found = metrics.score(
        "latent_error", coupling=problem["coupling"], latent_x=u, latent_y=u, **LX
    )
    every = [
        metrics.latent_error(problem["coupling"], u[order], u, **LX) for order in _within(LABELS)
    ]
    assert found.chance_sd == pytest.approx(np.std(every))
    assert found.chance == 1  # what the uniform coupling has; a one-to-one random match has about 2


def test_chance_of_the_trace_is_that_of_the_uniform_coupling() -> None:
    labels = np.repeat(["a", "b"], [4, 6])
    within = (labels[:, None] == labels).astype(float)
    found = metrics.scores(
        ["trace_within_label", "trace_over_chance"],
        coupling=within,
        partner=np.arange(10),
        labels_x=labels,
        labels_y=labels,
    )
    assert [one.value for one in found] == pytest.approx([one.chance for one in found])
    assert found[0].chance == pytest.approx(0.2)  # (4 * 1/4 + 6 * 1/6) / 10
    assert [one.chance_sd for one in found] == pytest.approx([0, 0], abs=1e-12)


@pytest.mark.parametrize("form", [np.asarray, sp.csr_matrix])
def test_chance_of_the_trace_of_a_coupling_across_labels_is_that_of_random_partners(
    form: Any,
) -> None:
    problem = _problem(2)
    plan = problem["coupling"] + 0.01
    given_ = {"coupling": form(plan), "partner": np.arange(6), **LX}
    found = metrics.score("trace_within_label", **given_)
    every = [metrics.trace(plan, order) for order in _within(LABELS)]
    assert (found.chance, found.chance_sd) == pytest.approx((np.mean(every), np.std(every)))
    over = metrics.score("trace_over_chance", **given_)
    assert (over.chance, over.value) == pytest.approx((1, found.value / np.mean(every)))
    assert metrics.trace_over_chance(form(plan), **LX) == pytest.approx(over.value)
    uniform = metrics.score("trace_within_label", **{**given_, "coupling": np.ones((6, 6))})
    assert uniform.value == pytest.approx(uniform.chance) == pytest.approx(1 / 6)


@pytest.mark.parametrize("plan", ["dense", "sparse"])
def test_a_sample_of_the_cells_gives_nearly_the_same_spread(plan: str) -> None:
    rng = np.random.default_rng(3)
    n = 300
    x = rng.normal(size=(n, 3))
    y = x + rng.normal(size=(n, 3))
    coupling = np.exp(-((x[:, None] - y) ** 2).sum(axis=2))
    coupling[coupling < 0.05] = 0 if plan == "sparse" else coupling[coupling < 0.05]
    given_ = {"x": x, "y": y, "coupling": sp.csr_array(coupling) if plan == "sparse" else coupling}
    names = [f"{name}_global" for name in ONE]
    with mock.patch.object(_chance, "SAMPLED", (1000, 1000, 10**6)):
        exact = metrics.scores(names, partner=np.arange(n), **given_)
    with mock.patch.object(_chance, "SAMPLED", (100, 100, 100)):
        some = metrics.scores(names, partner=np.arange(n), **given_)
    for one, other in zip(exact, some, strict=True):
        assert one.value == other.value
        assert one.chance == pytest.approx(other.chance)
        assert one.chance_sd == pytest.approx(
            other.chance_sd, rel=0.3 if one.name.startswith("recall") else 0.15
        )
        assert one.chance_sd > 0


# ------------------------------------------------------------------------------------------ chance of any metric


def _foscttm(partner: np.ndarray) -> float:
    rng = np.random.default_rng(0)
    return metrics.foscttm(
        rng.normal(size=(40, 2)), rng.normal(size=(40, 2)), partner, labels_x=L40, labels_y=L40
    )


L40 = np.repeat(["a", "b"], 20)


def test_draws_agree_with_what_is_computed() -> None:
    found = chance(
        _foscttm, np.arange(40), 40, labels_x=L40, labels_y=L40, n_permutations=200, seed=1
    )
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 2)), rng.normal(size=(40, 2))
    exact = metrics.score(
        "foscttm_within_label", x=x, y=y, partner=np.arange(40), labels_x=L40, labels_y=L40
    )
    assert found.mean == pytest.approx(0.5, abs=4 * found.sd / np.sqrt(200))
    assert found.sd == pytest.approx(exact.chance_sd, rel=0.15)
    again = chance(
        _foscttm, np.arange(40), 40, labels_x=L40, labels_y=L40, n_permutations=200, seed=1
    )
    assert again == found


def test_drawn_partners_are_a_matching_within_the_candidates() -> None:
    seen = []

    def note(partner: np.ndarray) -> float:
        seen.append(partner)
        return 0.0

    labels_x, labels_y = ["a"] * 4 + ["b"] * 3 + [None], ["b"] * 3 + ["a"] * 5
    partner = [3, 4, -1, -1, 0, 1, 2, 7]
    chance(note, partner, 8, labels_x=labels_x, labels_y=labels_y, n_permutations=200)
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
def test_what_does_not_fit_is_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        chance(lambda _: 0.0, **{"partner": [0, 1], "n_target": 2, **options})
