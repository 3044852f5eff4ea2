"""Propensity logits: those of scikit-learn, with a penalty chosen by held-out cross-entropy."""

from __future__ import annotations

from typing import Any

import mudata as md
import numpy as np
import pytest
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

import scgroove
from scgroove.data.screen import Screen
from scgroove.learners import LogisticPropensity, construct
from scgroove.learners._propensity import PENALTY_GRID, balanced_scale, choose_penalty


@pytest.fixture(scope="module")
def screen() -> md.MuData:
    return scgroove.simulations.weakly_paired(
        n_labels=6,
        n_cells_per_label=[30, 20, 15, 10, 8, 6],
        n_features=(12, 9),
        exclusive_labels={"rna": 1},
        seed=2,
    )


def _inputs(mdata: md.MuData, m: str) -> tuple[np.ndarray, np.ndarray]:
    read = Screen.read(mdata)
    return read.features()[m](mdata[m]).astype(float), read.codes[m]


def test_logits_are_those_of_scikit_learn(screen: md.MuData) -> None:
    z = LogisticPropensity(grid=[0.3]).fit_transform(screen)
    for m in screen.mod:
        x, codes = _inputs(screen, m)
        known = codes >= 0
        theirs = LogisticRegression(C=0.3, max_iter=2000).fit(x[known], codes[known])
        np.testing.assert_allclose(z[m], theirs.decision_function(x), atol=1e-8)
        np.testing.assert_allclose(
            np.exp(log_softmax(z[m], axis=1)), theirs.predict_proba(x), atol=1e-8
        )
        np.testing.assert_allclose(z[m].sum(axis=1), 0, atol=1e-6)


def test_of_two_labels_each_has_a_logit() -> None:
    mdata = scgroove.simulations.weakly_paired(
        n_labels=2, n_cells_per_label=25, n_features=(6, 5), seed=1
    )
    z = LogisticPropensity(grid=[1.0]).fit_transform(mdata)
    for m in mdata.mod:
        x, codes = _inputs(mdata, m)
        theirs = LogisticRegression(C=1.0, max_iter=2000).fit(x, codes)
        assert z[m].shape == (50, 2)
        np.testing.assert_allclose(z[m][:, 1] - z[m][:, 0], theirs.decision_function(x), atol=1e-8)
        np.testing.assert_allclose(
            np.exp(log_softmax(z[m], axis=1)), theirs.predict_proba(x), atol=1e-8
        )


def test_a_label_that_a_modality_lacks_has_logit_zero() -> None:
    mdata = scgroove.simulations.weakly_paired(
        n_labels=5, n_cells_per_label=12, modalities=("a", "b", "c"), n_features=(8, 7, 6), seed=3
    )
    parts = {m: mdata[m].copy() for m in mdata.mod}
    parts["c"] = parts["c"][parts["c"].obs["label"] != "g01"].copy()
    z = LogisticPropensity(grid=[0.1]).fit_transform(md.MuData(parts))
    assert {one.shape[1] for one in z.values()} == {5}
    np.testing.assert_array_equal(z["c"][:, 1], 0)
    np.testing.assert_allclose(z["c"].sum(axis=1), 0, atol=1e-6)
    assert np.abs(z["a"][:, 1]).min() > 0


def test_standardized_logits_have_labels_weighing_alike(screen: md.MuData) -> None:
    raw = LogisticPropensity(grid=[0.1]).fit_transform(screen)
    scaled = construct("ps_logistic_scaled").fit_transform(screen)
    for m in screen.mod:
        _, codes = _inputs(screen, m)
        per_label = [scaled[m][codes == g] for g in range(5)]
        np.testing.assert_allclose(
            np.mean([z.mean(axis=0) for z in per_label], axis=0), 0, atol=1e-9
        )
        np.testing.assert_allclose(
            np.mean([(z**2).mean(axis=0) for z in per_label], axis=0), 1, atol=1e-9
        )
        for k in range(5):  # column by column a shift and a factor
            assert np.corrcoef(raw[m][:, k], scaled[m][:, k])[0, 1] == pytest.approx(1)


def test_balanced_scale_by_hand() -> None:
    t = np.array([[0.0, 1.0], [2.0, 1.0], [5.0, 1.0]])
    mean, deviation = balanced_scale(t, np.array([0, 0, 2]), 3)
    np.testing.assert_allclose(mean, [3, 1])  # (1 + 5) / 2
    np.testing.assert_allclose(deviation, [np.sqrt((2 + 25) / 2 - 9), 1])


# --------------------------------------------------------------------------------------------- choice of the penalty


def _data(
    seed: int, n_per_label: int = 20, n_labels: int = 5, d: int = 10
) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    codes = np.repeat(np.arange(n_labels), n_per_label)
    return rng.normal(size=(n_labels, d))[codes] + 1.5 * rng.normal(size=(codes.size, d)), codes


def test_the_penalty_is_that_of_least_cross_entropy_on_held_out_cells() -> None:
    from scgroove.learners.common import stratified_folds

    x, codes = _data(1)
    grid = [0.001, 0.01, 0.1, 1.0]
    best, losses = choose_penalty(x, codes, grid, 4, np.random.default_rng(3))
    folds = stratified_folds(codes, 4, np.random.default_rng(3))
    for c, loss in losses.items():
        total = 0.0
        for fold in range(4):
            model = LogisticRegression(C=c, max_iter=5000, tol=1e-8).fit(
                x[folds != fold], codes[folds != fold]
            )
            total += (
                log_loss(codes[folds == fold], model.predict_proba(x[folds == fold]))
                * (folds == fold).sum()
            )
        assert loss == pytest.approx(total / len(x), rel=2e-2)
    assert best == min(losses, key=losses.__getitem__)


def test_the_walk_ends_where_weaker_penalties_gain_nothing() -> None:
    x, codes = _data(2)
    rng = np.random.default_rng(0)
    best, losses = choose_penalty(x, rng.permutation(codes), PENALTY_GRID, 3, rng)
    assert best == min(PENALTY_GRID)  # there is nothing to learn
    assert len(losses) == 3  # the strongest, and two that did not help
    x = 3 * np.eye(5)[codes] + 0.01 * x[:, :5]
    best, _ = choose_penalty(x, codes, PENALTY_GRID, 3, np.random.default_rng(0))
    assert best >= 10  # labels that are told without fail


def test_labels_with_fewer_cells_than_folds() -> None:
    x, codes = _data(3, n_per_label=3)
    keep = np.r_[0, 3, 4, 6:15]  # 1, 2, 3, 3 and 3 cells
    best, losses = choose_penalty(x[keep], codes[keep], [0.01, 0.1], 5, np.random.default_rng(0))
    assert best in losses
    assert np.isfinite(list(losses.values())).all()


def test_with_one_cell_a_label_there_is_nothing_to_choose_by() -> None:
    x, codes = _data(4, n_per_label=1)
    assert choose_penalty(x, codes, [0.001, 0.03, 0.08, 10.0], 5, np.random.default_rng(0)) == (
        0.08,
        {},
    )
    assert choose_penalty(x, codes, [7.0], 5, np.random.default_rng(0)) == (7.0, {})


def test_large_problems_hold_out_one_fold(monkeypatch: pytest.MonkeyPatch) -> None:
    fits = []
    fit = LogisticRegression.fit
    monkeypatch.setattr(
        LogisticRegression, "fit", lambda self, *a, **k: (fits.append(1), fit(self, *a, **k))[1]
    )
    x, codes = _data(5)
    choose_penalty(x, codes, [0.01, 0.1], 5, np.random.default_rng(0))
    assert len(fits) == 10
    monkeypatch.setattr("scgroove.learners._propensity.LARGE", 1.0)
    choose_penalty(x, codes, [0.01, 0.1], 5, np.random.default_rng(0))
    assert len(fits) == 12


def test_the_choice_is_in_the_evidence(screen: md.MuData) -> None:
    learner = LogisticPropensity(grid=[0.1, 0.001, 0.01], n_folds=3).fit(screen)
    assert learner.grid == [0.001, 0.01, 0.1]
    for m in screen.mod:
        losses = learner.evidence["cross_entropy"][m]
        assert learner.evidence["c"][m] == min(losses, key=losses.__getitem__)


def test_a_modality_does_not_depend_on_those_after_it(screen: md.MuData) -> None:
    again = screen["protein"].copy()
    again.var_names = [f"again_{name}" for name in again.var_names]
    three = md.MuData({"rna": screen["rna"], "protein": screen["protein"], "again": again})
    learner = LogisticPropensity(grid=[0.01, 0.1], n_folds=3)
    two = learner.fit_transform(three, modalities=["rna", "protein"])
    np.testing.assert_array_equal(learner.fit_transform(three)["rna"], two["rna"])


# ------------------------------------------------------------------------------------------------------------- size


def test_wide_modalities_are_reduced_and_still_tell_labels() -> None:
    mdata = scgroove.simulations.weakly_paired(
        n_labels=6, n_cells_per_label=20, n_features=(6000, 20), seed=0
    )
    z = construct("ps_logistic_scaled", {"max_features": 40}).fit_transform(mdata)
    _, codes = _inputs(mdata, "rna")
    assert (z["rna"].argmax(axis=1) == codes).mean() > 0.95


def test_many_labels() -> None:
    mdata = scgroove.simulations.weakly_paired(
        n_labels=200, n_cells_per_label=4, n_features=(30, 20), seed=0
    )
    z = construct("ps_logistic_scaled").fit_transform(mdata)
    assert z["rna"].shape == (800, 200)
    _, codes = _inputs(mdata, "rna")
    assert (z["rna"].argmax(axis=1) == codes).mean() > 0.5


# ---------------------------------------------------------------------------------------------------------- options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"grid": []}, r"grid must hold positive values of C; found \[\]"),
        ({"grid": [0.1, 0.0]}, r"grid must be "),
        ({"grid": [np.nan]}, "grid must be "),
        ({"n_folds": 1}, "n_folds must be "),
        ({"max_features": 0}, "max_features must be "),
    ],
)
def test_options_that_cannot_be_used_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LogisticPropensity(**options)
