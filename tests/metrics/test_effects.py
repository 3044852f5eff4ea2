"""Effects of labels: by hand and by a plain loop."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import pearsonr

from scgroove.metrics import (
    control_mean,
    effect_pearson,
    effect_pearson_per_label,
    effect_sign_agreement,
    effect_sign_agreement_per_label,
    label_effects,
    label_mean,
)
from scgroove.metrics import (
    effects as effect_module,
)

LABELS = np.array(["ctrl", "ctrl", "a", "a", "b", "b"])


def test_by_hand() -> None:
    measured = np.array([[0, 0, 0], [2, 2, 2], [2, 3, 1], [2, 3, 1], [1, 1, 1], [2, 1, 0.0]])
    names, effects = label_effects(measured, LABELS, "ctrl")
    assert names == ["a", "b"]
    np.testing.assert_allclose(effects, [[1, 2, 0], [0.5, 0, -0.5]])
    predicted = 10 + np.array(
        [[0, 0, 0], [0, 0, 0], [1, 2, 0], [1, 2, 0], [-1, 0, 1], [-1, 0, 1.0]]
    )
    args = (predicted, measured, LABELS, LABELS, "ctrl")
    own = {"controls": "own"}
    assert effect_pearson_per_label(*args, **own) == pytest.approx({"a": 1, "b": -1})
    assert effect_pearson(*args, **own) == pytest.approx(0)
    # features without a measured effect are not asked
    assert effect_sign_agreement_per_label(*args, **own) == {"a": 1, "b": 0}
    assert effect_sign_agreement(*args, **own) == 0.5
    # to the measured controls, (1, 1, 1): (10, 11, 9) for a and (8, 9, 10) for b, all of one sign
    assert effect_pearson_per_label(*args) == pytest.approx({"a": 1, "b": -1})
    assert effect_sign_agreement_per_label(*args) == {"a": 1, "b": 0.5}
    moved = predicted + np.array(
        [0, 0, -3.0]
    )  # a bias of one feature: (10, 11, 6) against (1, 2, 0)
    found = effect_pearson_per_label(moved, *args[1:])
    assert found["a"] == pytest.approx(pearsonr([10, 11, 6], [1, 2, 0])[0])


def _screen(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    names = np.array(["ctrl", "a", "b", "c", None], dtype=object)
    lp, lm = (
        np.concatenate([["ctrl", "a"], names[rng.integers(0, 5, rng.integers(0, 9))]])
        for _ in range(2)
    )
    return rng.normal(size=(len(lp), 5)), rng.normal(size=(len(lm), 5)), lp, lm


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10**6), top_k=st.integers(1, 7))
def test_is_the_plain_loop(seed: int, top_k: int) -> None:
    p, m, lp, lm = _screen(seed)
    correlation, agreement = {}, {}
    for name in sorted((set(lp) & set(lm)) - {"ctrl", None}):
        pair = [
            np.array([v for v, own in zip(values, labels, strict=True) if own == name]).mean(axis=0)
            - np.array([v for v, own in zip(m, lm, strict=True) if own == "ctrl"]).mean(axis=0)
            for values, labels in ((p, lp), (m, lm))
        ]
        correlation[name] = pearsonr(*pair)[0]
        top = sorted(range(5), key=lambda f: -abs(pair[1][f]))[:top_k]
        agreement[name] = np.mean([(pair[0][f] > 0) == (pair[1][f] > 0) for f in top])
    assert effect_pearson_per_label(p, m, lp, lm, "ctrl") == pytest.approx(correlation)
    assert effect_pearson(sp.csr_matrix(p), m, lp, lm, "ctrl") == pytest.approx(
        np.mean([*correlation.values()])
    )
    found = effect_sign_agreement_per_label(p, m, lp, lm, "ctrl", top_k=top_k)
    assert found == pytest.approx(agreement)


def test_baselines_and_invariances() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat(["ctrl", "a", "b", "c"], 10)
    m = rng.normal(size=(40, 30)) + 3 * rng.normal(size=(4, 30)).repeat(10, axis=0)
    nothing = control_mean(m, labels, "ctrl", 40)
    assert effect_pearson(nothing, m, labels, labels, "ctrl") == pytest.approx(0)
    assert effect_sign_agreement(nothing, m, labels, labels, "ctrl") == 0.5
    mean = label_mean(m, labels, labels)
    assert effect_pearson(mean, m, labels, labels, "ctrl") == pytest.approx(1)
    assert effect_sign_agreement(mean, m, labels, labels, "ctrl") == 1
    p = m + rng.normal(size=m.shape)
    value = effect_pearson(p, m, labels, labels, "ctrl")
    order = rng.permutation(40)
    assert effect_pearson(p[order], m, labels[order], labels, "ctrl") == pytest.approx(value)
    moved = 2 * p + rng.normal(size=30)
    own = [effect_pearson(one, m, labels, labels, "ctrl", controls="own") for one in (p, moved)]
    assert own[0] == pytest.approx(own[1])
    assert effect_pearson(moved, m, labels, labels, "ctrl") < value


def test_cells_with_missing_values_are_left_out_if_asked() -> None:
    p, m, labels = (
        np.array([[0.0, 0], [1, 2], [np.nan, 9]]),
        np.array([[0.0, 0], [1, 2]]),
        ["ctrl", "a", "a"],
    )
    with pytest.raises(ValueError, match=r"values holds 1 missing"):
        effect_pearson(p, m, labels, labels[:2], "ctrl")
    assert effect_pearson(p, m, labels, labels[:2], "ctrl", nan="omit") == pytest.approx(1)
    with pytest.raises(ValueError, match=r"control='a': no cell has this label"):
        label_effects([[0.0], [np.nan]], ["ctrl", "a"], "a", nan="omit")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"control": "Ctrl"}, r"control='Ctrl': no cell has this label. Did you mean 'ctrl'\?"),
        (
            {"labels_predicted": ["q", "z"]},
            r"no label but the control is in both: predicted has \['q', 'z'\], measured \['a', 'ctrl'\]",
        ),
        ({"labels_measured": ["ctrl"]}, r"labels must hold one label a cell: expected 2, found 1"),
        ({"predicted": np.ones((2, 3))}, r"must have the same features: found 3 and 2"),
        ({"controls": "none"}, r"controls must be "),
        ({"top_k": 0}, r"top_k must be "),
        (
            {"measured": np.ones((2, 2))},
            r"no label can be scored: the measured effect of each is the same",
        ),
    ],
)
def test_what_does_not_fit_is_refused(change: dict, message: str) -> None:
    given_ = {
        "predicted": np.eye(2),
        "measured": np.eye(2),
        "labels_predicted": ["ctrl", "a"],
        "labels_measured": ["ctrl", "a"],
        "control": "ctrl",
    }
    with pytest.raises(ValueError, match=message):
        effect_sign_agreement(**{**given_, **change})


def test_all_pairs_at_once_are_those_one_by_one():
    """What the spread by chance rests on: every predicted effect against every measured one."""
    rng = np.random.default_rng(0)
    predicted, measured = rng.normal(size=(7, 30)), rng.normal(size=(7, 30))
    predicted[2] = 1.5
    measured[1, 5:] = 0.0
    for one, pairs in (
        (effect_module.effect_correlations, effect_module._correlation_pairs),
        (partial(effect_module.effect_signs, top_k=8), partial(effect_module._sign_pairs, top_k=8)),
    ):
        expected = [[one(p[None], m[None])[0] for m in measured] for p in predicted]
        np.testing.assert_allclose(pairs(predicted, measured), expected, atol=1e-12)
