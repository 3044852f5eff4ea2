"""Metrics of imputed values: by hand, by plain loops, against SciPy and scikit-learn, by chance."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations, product
from typing import Any
from unittest import mock

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import energy_distance as scipy_energy_distance
from scipy.stats import pearsonr, spearmanr

from scgroove.errors import MissingTruthError
from scgroove.metrics import (
    _candidates,
    _chance,
    control_mean,
    correlation,
    label_mean,
    score,
    scores,
    values,
)

NAN = np.nan
OF_CELLS = (
    "pearson_per_feature",
    "pearson_per_cell",
    "spearman_per_feature",
    "spearman_per_cell",
    "mse",
    "r2",
)
CORRELATIONS = list(product(("pearson", "spearman"), ("feature", "cell")))


def of_pairs(name: str, predicted: Any, measured: Any, **given: Any) -> float:
    """Return a score of row i against row i."""
    cells = {"predicted": predicted, "measured": measured, "partner": np.arange(len(predicted))}
    return score(name, **cells, **given).value


# -- correlations ----------------------------------------------------------------------------------


def test_correlations_by_hand() -> None:
    predicted = np.array([[1.0, 5.0, 2.0], [2.0, 5.0, 1.0], [4.0, 5.0, 0.0]])
    measured = np.array([[0.0, 1.0, 7.0], [1.0, 4.0, 7.0], [3.0, 2.0, 7.0]])
    # 1: measured = predicted - 1; 2: the prediction is constant; 3: the measurement is
    np.testing.assert_allclose(correlation(predicted, measured), [1, 0, NAN])
    ranked = correlation(predicted, measured, method="spearman")
    np.testing.assert_allclose(ranked, [1, 0, NAN])
    per_cell = correlation(predicted, measured, method="spearman", per="cell")
    np.testing.assert_allclose(per_cell, [0.5, -0.5, -1])


def _loop(p: np.ndarray, m: np.ndarray, statistic: Callable) -> float:
    """Return the correlation of two vectors, with the rules for constant and missing values."""
    known = ~(np.isnan(p) | np.isnan(m))
    p, m = p[known], m[known]
    if p.size < 2 or (m == m[0]).all():
        return NAN
    return 0.0 if (p == p[0]).all() else statistic(p, m)[0]


@pytest.mark.parametrize(("method", "per"), CORRELATIONS)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_is_scipy_column_by_column(method: Any, per: Any, data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 10**6)))
    n, f = rng.integers(1, 9), rng.integers(1, 7)
    p, m = rng.normal(size=(2, n, f))
    if rng.random() < 0.5:
        p, m = rng.integers(0, 3, (2, n, f)).astype(float)
    p[rng.random((n, f)) < 0.15] = NAN
    m[rng.random((n, f)) < 0.15] = NAN
    statistic = pearsonr if method == "pearson" else spearmanr
    pairs = zip(p.T, m.T, strict=True) if per == "feature" else zip(p, m, strict=True)
    expected = [_loop(a, b, statistic) for a, b in pairs]
    with mock.patch.object(values, "CHUNK_VALUES", data.draw(st.sampled_from([1, 7, 2**20]))):
        found = correlation(p, m, method=method, per=per, nan="omit")
    np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize(("method", "per"), CORRELATIONS)
def test_correlations_of_other_forms_and_scales_are_alike(method: Any, per: Any) -> None:
    rng = np.random.default_rng(0)
    p, m = (rng.poisson(1.0, (30, 12)).astype(float) for _ in range(2))
    options = {"method": method, "per": per}
    expected = correlation(p, m, **options)
    for one, other in (
        (sp.csr_matrix(p), sp.csc_array(m)),
        (p.astype(np.float32), m.astype(int)),
        (3 * p + 2, 5 * m - 1),
    ):
        np.testing.assert_allclose(correlation(one, other, **options), expected, atol=1e-12)
    np.testing.assert_allclose(correlation(m, m, **options), 1)


def test_variation_by_rounding_is_constant() -> None:
    rng = np.random.default_rng(2)
    m = rng.normal(size=(50, 3))
    weights = rng.random((50, 50))
    same = (weights / weights.sum(axis=1, keepdims=True)) @ np.full((50, 3), 0.1)
    assert np.ptp(same) > 0  # means of equal values, equal up to rounding
    assert (correlation(same, m) == 0).all()
    assert (correlation(same, m, method="spearman") == 0).all()
    assert (correlation(same.astype(np.float32), m) == 0).all()
    assert np.isnan(correlation(m, same)).all()
    assert (correlation(control_mean(m, ["c"] * 50, "c", 50), m) == 0).all()


@pytest.mark.parametrize(
    ("predicted", "measured", "options", "message"),
    [
        (np.ones((2, 3)), np.ones((3, 3)), {}, r"\(3, 3\). Take measured\[partner\]"),
        (np.ones(3), np.ones(3), {}, r"predicted must be numbers.*float64 of shape \(3,\)"),
        (np.ones((1, 2)), np.array([["a", "b"]]), {}, "measured must be numbers.*found <U1"),
        (np.full((1, 2), np.inf), np.ones((1, 2)), {}, "predicted holds 2 infinite values"),
        (np.array([[NAN]]), np.ones((1, 1)), {}, r"1 missing values \(NaN\). Pass nan='omit'"),
        (np.ones((1, 2)), np.ones((1, 2)), {"nan": "drop"}, "nan must be 'raise' or 'omit'"),
        (np.ones((0, 2)), np.ones((0, 2)), {}, "there is nothing to compare"),
    ],
)
def test_bad_values_are_refused(predicted: Any, measured: Any, options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        correlation(predicted, measured, **options)


# -- scores over cells ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OF_CELLS)
@pytest.mark.parametrize(("chunk", "form"), [(1, np.asarray), (2**20, sp.csr_matrix)])
def test_chance_is_over_all_permutations_within_labels(
    name: str, chunk: int, form: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(2)
    predicted = rng.poisson(2.0, (8, 5)).astype(float)
    measured = rng.poisson(2.0, (7, 5)).astype(float)
    predicted[:, 1] = 3.0  # counts as 0
    measured[:, 2] = 1.0  # is left out of the correlations
    labels = np.array(["a", "b", None, "a", "b", "a", None, "b"], dtype=object)
    partner = np.array([4, 0, 1, 2, -1, 3, 6, 5])
    known = np.flatnonzero(partner >= 0)
    groups = [[i for i in known if labels[i] == label] for label in ("a", "b", None)]
    every = []
    for orders in product(*(permutations(group) for group in groups)):
        order = np.arange(8)
        for group, one in zip(groups, orders, strict=True):
            order[group] = one
        every.append(of_pairs(name, predicted[order][known], measured[partner[known]]))
    monkeypatch.setattr(values, "CHUNK_VALUES", chunk)
    cells = {"predicted": form(predicted), "measured": form(measured), "partner": partner}
    found = score(name, **cells, labels_x=labels, labels_y=["a"] * 7)
    assert found.value == pytest.approx(every[0])
    assert (found.chance, found.chance_sd) == pytest.approx((np.mean(every), np.std(every)))
    assert found.n == 7


def test_squared_errors_by_hand() -> None:
    p, m = np.array([[1.0, 2.0], [3.0, 2.0]]), np.array([[0.0, 2.0], [4.0, 2.0]])
    assert of_pairs("mse", p, m) == 0.5
    assert of_pairs("r2", p, m) == 1 - 2 / 8
    with pytest.raises(MissingTruthError, match="every feature of the measured cells is constant"):
        of_pairs("r2", p, np.ones((2, 2)))


def test_a_sample_of_the_cells_gives_nearly_the_same_spread() -> None:
    rng = np.random.default_rng(3)
    p = rng.normal(size=(300, 6))
    cells = {"predicted": p, "measured": p + rng.normal(size=(300, 6)), "partner": np.arange(300)}
    exact = scores(OF_CELLS, **cells)
    with mock.patch.object(_chance, "SAMPLED", (80, 80, 80)):
        some = scores(OF_CELLS, **cells)
    for one, other in zip(exact, some, strict=True):
        assert (one.value, one.chance) == pytest.approx((other.value, other.chance))
        assert one.chance_sd == pytest.approx(other.chance_sd, rel=0.2)
        assert one.chance_sd != other.chance_sd


def test_cells_with_missing_values_are_left_out() -> None:
    p, m = np.random.default_rng(0).normal(size=(2, 9, 3))
    p[:2, 1] = NAN
    cells = {"predicted": p, "measured": m, "partner": np.arange(9)}
    assert score("mse", **cells).n == 7
    assert score("mse", **cells).value == pytest.approx(((p - m)[2:] ** 2).mean())


# -- effects ---------------------------------------------------------------------------------------


def effects(name: str, p: Any, m: Any, lp: Any, lm: Any, control: str = "ctrl") -> Any:
    return score(name, predicted=p, measured=m, labels_x=lp, labels_y=lm, control=control)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_effects_are_the_plain_loop(seed: int) -> None:
    rng = np.random.default_rng(seed)
    names = np.array(["ctrl", "a", "b", "c", None], dtype=object)
    lp, lm = (
        np.concatenate([["ctrl", "a", "b"], names[rng.integers(0, 5, rng.integers(0, 9))]])
        for _ in range(2)
    )
    p, m = rng.normal(size=(len(lp), 25)), rng.normal(size=(len(lm), 25))
    r, agreement, control = [], [], m[lm == "ctrl"].mean(axis=0)
    for name in sorted((set(lp) & set(lm)) - {"ctrl", None}):
        own, true = p[lp == name].mean(axis=0) - control, m[lm == name].mean(axis=0) - control
        r.append(pearsonr(own, true)[0])
        top = sorted(range(25), key=lambda f: -abs(true[f]))[:20]
        agreement.append(np.mean([(own[f] > 0) == (true[f] > 0) for f in top]))
    found = effects("effect_pearson", sp.csr_matrix(p), m, lp, lm)
    assert (found.value, found.n) == (pytest.approx(np.mean(r)), len(r))
    found = effects("effect_sign_agreement", p, m, lp, lm)
    assert found.value == pytest.approx(np.mean(agreement))


def test_effects_of_baselines() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat(["ctrl", "a", "b", "c"], 10)
    m = rng.normal(size=(40, 30)) + 3 * rng.normal(size=(4, 30)).repeat(10, axis=0)
    for predicted, r, agreement in (
        (control_mean(m, labels, "ctrl", 40), 0, 0.5),
        (label_mean(m, labels, labels), 1, 1),
    ):
        assert effects("effect_pearson", predicted, m, labels, labels).value == pytest.approx(r)
        found = effects("effect_sign_agreement", predicted, m, labels, labels)
        assert found.value == pytest.approx(agreement)


@pytest.mark.parametrize("name", ["effect_pearson", "effect_sign_agreement"])
def test_effects_by_chance_are_over_all_permutations_of_the_labels(name: str) -> None:
    rng = np.random.default_rng(1)
    labels = np.array(["ctrl", "a", "b", "c", "d"])
    p, m = rng.normal(size=(2, 5, 30))
    p[2] = 1.5 + m[0]  # the same effect on all features
    every = []
    for order in permutations(range(1, 5)):
        moved = p[[0, *order]]
        every.append(effects(name, moved, m, labels, labels).value)
    found = effects(name, p, m, labels, labels)
    assert (found.chance, found.chance_sd) == pytest.approx((np.mean(every), np.std(every)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"control": "Ctrl"}, r"control='Ctrl': no cell has this label. Did you mean 'ctrl'\?"),
        ({"labels_x": ["q", "z"]}, r"predicted has \['q', 'z'\], measured \['a', 'ctrl'\]"),
        ({"predicted": np.ones((2, 3))}, "must have the same features: found 3 and 2"),
        ({"measured": np.ones((2, 2))}, "the measured effect of each is the same"),
    ],
)
def test_effects_that_cannot_be_compared_are_refused(change: dict, message: str) -> None:
    cells = {"predicted": np.eye(2), "measured": np.eye(2), "control": "ctrl"}
    cells |= {"labels_x": ["ctrl", "a"], "labels_y": ["ctrl", "a"], **change}
    with pytest.raises(ValueError, match=message):
        score("effect_sign_agreement", **cells)


# -- energy distance -------------------------------------------------------------------------------


def energy(a: Any, b: Any, la: Any = None, lb: Any = None) -> Any:
    la, lb = ("a" if la is None else la), ("a" if lb is None else lb)
    labels = {"labels_x": np.broadcast_to(la, len(a)), "labels_y": np.broadcast_to(lb, len(b))}
    return score("energy_distance", predicted=np.asarray(a), measured=np.asarray(b), **labels)


def _mean_distance(u: np.ndarray, v: np.ndarray) -> float:
    return float(np.mean([np.sqrt(((p - q) ** 2).sum()) for p in u for q in v]))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), chunk=st.sampled_from([1, 2**18]), d=st.sampled_from([3, 40]))
def test_energy_is_the_double_loop(seed: int, chunk: int, d: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(rng.integers(2, 8), d)), 1 + rng.normal(size=(rng.integers(2, 8), d))
    expected = 2 * _mean_distance(a, b) - _mean_distance(a, a) - _mean_distance(b, b)
    with mock.patch.object(_candidates, "BLOCK_VALUES", chunk):
        assert energy(a, b).value == pytest.approx(expected, rel=1e-6, abs=1e-7)


@given(seed=st.integers(0, 10**6))
def test_the_root_of_the_energy_is_that_of_scipy(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=rng.integers(1, 20)), rng.normal(1, 2, size=rng.integers(1, 20))
    found = energy(a[:, None], b[:, None]).value
    assert np.sqrt(max(found, 0)) == pytest.approx(scipy_energy_distance(a, b), abs=1e-7)


def test_energy_by_chance_is_over_all_permutations_of_the_labels() -> None:
    rng = np.random.default_rng(0)
    a, b, labels = rng.normal(size=(8, 2)), rng.normal(size=(8, 2)), np.repeat(list("abcd"), 2)
    each = [[energy(a[2 * i : 2 * i + 2], b[2 * j : 2 * j + 2]).value for j in range(4)] for i in range(4)]  # fmt: skip
    every = [np.mean([each[o][j] for j, o in enumerate(order)]) for order in permutations(range(4))]
    found = energy(a, b, labels, labels)
    assert found.value == pytest.approx(np.trace(each) / 4)
    assert (found.chance, found.chance_sd) == pytest.approx((np.mean(every), np.std(every)))
    with_nan = np.vstack([a, np.full((1, 2), NAN)])
    assert energy(with_nan, b, [*labels, "a"], labels).value == pytest.approx(found.value)


def test_energy_of_many_cells_is_of_a_sample() -> None:
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=(3000, 2)), rng.normal(0.4, 1, size=(2000, 2))
    found = energy(a, b)
    assert found == energy(a, b)
    assert found.value == pytest.approx(energy(a[:1000], b[:1000]).value, rel=0.5)


def test_energy_of_other_features_or_labels_is_refused() -> None:
    with pytest.raises(ValueError, match="same features: found 2 and 3"):
        energy(np.ones((2, 2)), np.ones((2, 3)))
    with pytest.raises(MissingTruthError, match="no label has both predicted and measured cells"):
        energy(np.eye(2), np.eye(2), ["a", "a"], ["b", None])
