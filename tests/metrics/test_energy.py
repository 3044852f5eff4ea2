"""Energy distance: by hand, by a double loop, against SciPy in one dimension."""

from __future__ import annotations

from unittest import mock

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import energy_distance as scipy_energy_distance

from scgroove.errors import MissingTruthError
from scgroove.metrics import METRICS, _candidates, energy_distance, energy_distance_per_label


def _loop(a: np.ndarray, b: np.ndarray, unbiased: bool) -> float:
    def mean(u: np.ndarray, v: np.ndarray, same: bool) -> float:
        every = [
            np.sqrt(((p - q) ** 2).sum())
            for i, p in enumerate(u)
            for j, q in enumerate(v)
            if not same or i != j
        ]
        return float(np.mean(every))

    return 2 * mean(a, b, False) - mean(a, a, unbiased) - mean(b, b, unbiased)


def test_by_hand() -> None:
    # 2 E|a - b| = 2 (3 + 1) / 2 = 4; E|a - a'| = (0 + 2 + 2 + 0) / 4 = 1, without the zeros 2
    assert energy_distance([[0.0], [2.0]], [[3.0]]) == 3
    with pytest.raises(
        ValueError, match=r"a sample needs 2 cells at least for unbiased=True; found 1"
    ):
        energy_distance([[0.0], [2.0]], [[3.0]], unbiased=True)
    assert energy_distance([[0.0], [2.0]], [[3.0], [3.0]], unbiased=True) == 2


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), unbiased=st.booleans(), chunk=st.sampled_from([1, 2**18]))
def test_is_the_double_loop(seed: int, unbiased: bool, chunk: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(rng.integers(2, 8), 3)), rng.normal(size=(rng.integers(2, 8), 3))
    expected = _loop(a, b, unbiased)
    with mock.patch.object(_candidates, "BLOCK_VALUES", chunk):
        assert energy_distance(a, b, unbiased=unbiased) == pytest.approx(expected, abs=1e-12)
        assert energy_distance(sp.csr_matrix(b), a, unbiased=unbiased) == pytest.approx(
            expected, abs=1e-12
        )


@pytest.mark.parametrize("offset", [0.0, 1e3])
def test_many_features_are_exact_enough(offset: float) -> None:
    rng = np.random.default_rng(3)
    a, b = offset + rng.normal(size=(9, 100)), offset + rng.normal(0.2, 1, size=(7, 100))
    assert energy_distance(a, b) == pytest.approx(_loop(a, b, False), rel=1e-6)
    assert energy_distance(a, b, unbiased=True) == pytest.approx(_loop(a, b, True), rel=1e-6)
    assert energy_distance(a, a[::-1]) == pytest.approx(0, abs=1e-6)


@given(seed=st.integers(0, 10**6))
def test_its_root_is_that_of_scipy(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=rng.integers(1, 20)), rng.normal(1, 2, size=rng.integers(1, 20))
    found = energy_distance(a[:, None], b[:, None])
    assert np.sqrt(max(found, 0)) == pytest.approx(scipy_energy_distance(a, b), abs=1e-7)


def test_of_each_label() -> None:
    rng = np.random.default_rng(0)
    p, m = rng.normal(size=(9, 2)), rng.normal(size=(8, 2))
    lp, lm = [*"aaabbbcc", None], [*"aabbbzz", None]
    found = energy_distance_per_label(p, m, lp, lm)
    assert found == pytest.approx(
        {"a": energy_distance(p[:3], m[:2]), "b": energy_distance(p[3:6], m[2:5])}
    )
    p[8] = np.nan
    assert energy_distance_per_label(p, m, lp, lm, nan="omit") == pytest.approx(found)
    with pytest.raises(ValueError, match=r"predicted holds 2 missing values"):
        energy_distance_per_label(p, m, lp, lm)


def test_invariances() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(40, 3)), rng.normal(0.5, 1, size=(30, 3))
    value = energy_distance(a, b)
    assert value > 0
    assert energy_distance(b, a) == pytest.approx(value)
    assert energy_distance(a[::-1], b) == pytest.approx(value)
    assert energy_distance(3 * a + 1, 3 * b + 1) == pytest.approx(3 * value)
    assert energy_distance(a, a[rng.permutation(40)]) == pytest.approx(0, abs=1e-12)
    assert METRICS.get("energy_distance") is energy_distance


def test_a_sample_of_the_cells_is_near_the_exact_value_and_seeded() -> None:
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=(3000, 2)), rng.normal(0.4, 1, size=(2000, 2))
    exact = energy_distance(a, b, max_cells=None, unbiased=True)
    some = [energy_distance(a, b, max_cells=500, unbiased=True, seed=seed) for seed in (0, 0, 1)]
    assert some[0] == some[1] != some[2]
    assert some[0] == pytest.approx(exact, rel=0.5)
    assert energy_distance(a, b, max_cells=3000, unbiased=True) == exact
    same = [
        energy_distance(a[:1000], a[1000:], max_cells=100, unbiased=True, seed=seed)
        for seed in range(30)
    ]
    biased = [energy_distance(a[:1000], a[1000:], max_cells=100, seed=seed) for seed in range(30)]
    assert abs(np.mean(same)) < 0.006 < np.mean(biased)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: energy_distance(np.ones((2, 2)), np.ones((2, 3))),
            r"same features: found 2 and 3",
        ),
        (
            lambda: energy_distance(np.ones((0, 2)), np.ones((2, 2))),
            r"a sample needs 1 cell at least; found 0",
        ),
        (
            lambda: energy_distance(np.eye(2), np.eye(2), max_cells=1),
            r"max_cells must be at least 2, or None.*found 1",
        ),
        (
            lambda: energy_distance_per_label(np.eye(2), np.eye(2), ["a"], ["a", "a"]),
            r"labels_predicted must hold one label a cell: expected 2, found 1",
        ),
    ],
)
def test_what_does_not_fit_is_refused(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_labels_in_one_side_only_cannot_be_scored() -> None:
    with pytest.raises(MissingTruthError, match=r"no label has both predicted and measured cells"):
        energy_distance_per_label(np.eye(2), np.eye(2), ["a", "a"], ["b", None])
