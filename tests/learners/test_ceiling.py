"""The ceiling: out-of-fold ridge predictions of the true state."""

from __future__ import annotations

import mudata as md
import numpy as np
import pytest
from sklearn.linear_model import Ridge

import scgroove
from scgroove.data.screen import Screen
from scgroove.learners import GroupProcrustes, LabelCCA, Learner, OracleLatent
from scgroove.learners._ceiling import LabelRidge
from scgroove.learners.common import stratified_folds


@pytest.fixture(scope="module")
def screen() -> md.MuData:
    return scgroove.simulations.weakly_paired(
        n_labels=5, n_cells_per_label=30, n_features=(40, 30), n_latent=3, seed=1
    )


@pytest.mark.parametrize("use", ["free", "penalized", "none"])
def test_fitted_cells_are_predicted_by_folds_they_are_not_in(screen: md.MuData, use: str) -> None:
    """By hand: with dummies that are not penalized, with dummies that are, and without."""
    read = Screen.read(screen)
    x, y = read.features()["rna"](screen["rna"]).astype(float), screen["rna"].obsm["shared"]
    codes, penalty = read.codes["rna"], 2.0
    inside = stratified_folds(codes, 4, np.random.default_rng(0)) == 1
    model = LabelRidge.fit(x[~inside], codes[~inside], y[~inside], use, 6, [penalty])  # type: ignore[arg-type]
    found = model.predict(x[inside], codes[inside])
    dummies = np.eye(6)[codes]
    if use == "none":
        expected = Ridge(alpha=penalty).fit(x[~inside], y[~inside]).predict(x[inside])
    elif use == "penalized":
        inputs = np.hstack([x, dummies])
        expected = Ridge(alpha=penalty).fit(inputs[~inside], y[~inside]).predict(inputs[inside])
    else:
        inputs, cost = (
            np.hstack([x, dummies[:, :5]]),
            np.r_[np.full(x.shape[1], penalty), np.zeros(5)],
        )
        u = inputs[~inside]
        expected = inputs[inside] @ np.linalg.solve(u.T @ u + np.diag(cost), u.T @ y[~inside])
    np.testing.assert_allclose(found, expected, atol=1e-8)


def test_cells_are_scored_as_held_out(screen: md.MuData) -> None:
    learner = OracleLatent(penalties=[2.0], n_folds=4)
    z = learner.fit_transform(screen, seed=9)
    read = Screen.read(screen)
    for m, rng in zip(screen.mod, np.random.default_rng(9).spawn(2), strict=True):
        x, codes = read.features()[m](screen[m]).astype(float), read.codes[m]
        folds, truth = stratified_folds(codes, 4, rng), screen[m].obsm["shared"]
        use = learner.evidence["label_use"][m]
        for fold in range(4):
            out = folds == fold
            model = LabelRidge.fit(x[~out], codes[~out], truth[~out], use, 6, [2.0])
            expected = model.predict(x[out], codes[out])
            np.testing.assert_allclose(z[m][out], expected, atol=1e-8)
        assert learner.evidence["penalty"][m] == 2.0


@pytest.mark.parametrize("scenario", ["escape", "label_noise", "heterogeneous", "half_shared"])
def test_what_is_told_no_truth_is_no_better(scenario: str) -> None:
    """It is a limit: where cells escape, and labels are wrong or hold sub-states too."""
    mdata = scgroove.simulations.from_scenario(scenario, seed=1)
    partner = mdata["protein"].obs_names.get_indexer(mdata["rna"].obs_names)
    labels = [mdata[m].obs["true_label"].to_numpy() for m in ("rna", "protein")]

    def score(learner: Learner) -> float:
        z = learner.fit_transform(mdata)
        return float(
            scgroove.metrics.foscttm(
                z["rna"], z["protein"], partner, labels_x=labels[0], labels_y=labels[1]
            )
        )

    limit = score(OracleLatent())
    assert limit < score(LabelCCA()) + 0.01
    assert limit < score(GroupProcrustes("pca"))


def test_what_is_only_noise_is_not_remembered(screen: md.MuData) -> None:
    """In-sample predictions of noise from many features would look good; these do not."""
    noise = screen.copy()
    for m in noise.mod:
        noise[m].obsm["shared"] = np.random.default_rng(3).normal(size=(150, 3))
    z = OracleLatent(penalties=[0.1]).fit_transform(noise)
    for m in z:
        found = [np.corrcoef(z[m][:, k], noise[m].obsm["shared"][:, k])[0, 1] for k in range(3)]
        assert np.max(found) < 0.3


@pytest.mark.parametrize("target", ["shared", "state"])
def test_predictions_tell_the_truth(screen: md.MuData, target: str) -> None:
    z = OracleLatent(target).fit_transform(screen)  # type: ignore[arg-type]
    for m in z:
        truth = screen[m].obsm[target]
        assert 1 - ((z[m] - truth) ** 2).sum() / ((truth - truth.mean(axis=0)) ** 2).sum() > 0.5


def test_the_latent_may_be_the_target(screen: md.MuData) -> None:
    z = OracleLatent("latent").fit_transform(screen)
    for m in z:
        residual = z[m] - screen[m].obsm["latent"]
        assert (residual**2).mean() < 0.3 * screen[m].obsm["latent"].var()


def test_new_cells_are_predicted_by_the_regression_on_all(screen: md.MuData) -> None:
    rows = np.arange(150)
    seen, new = (
        md.MuData({m: screen[m][rows[mask]].copy() for m in screen.mod})
        for mask in (rows < 120, rows >= 120)
    )
    learner = OracleLatent().fit(seen)
    z = learner.transform(new)
    read = Screen.read(seen)
    for m in z:
        use, penalty = learner.evidence["label_use"][m], [learner.evidence["penalty"][m]]
        x, truth = read.features()[m](seen[m]).astype(float), seen[m].obsm["shared"]
        model = LabelRidge.fit(x, read.codes[m], truth, use, 6, penalty)
        codes = np.array([int(g[1:]) for g in new[m].obs["label"]])
        expected = model.predict(read.features()[m](new[m]).astype(float), codes)
        np.testing.assert_allclose(z[m], expected, atol=1e-4)


def test_another_cell_of_the_same_name_is_a_new_cell(screen: md.MuData) -> None:
    learner = OracleLatent().fit(screen)
    other = md.MuData({m: screen[m].copy() for m in screen.mod})
    other["rna"].X = -other["rna"].X
    z, w = learner.transform(screen), learner.transform(other)
    assert np.abs(z["rna"] - w["rna"]).max() > 1
    np.testing.assert_array_equal(z["protein"], w["protein"])


def test_labels_of_new_cells_are_asked_for_only_if_used(screen: md.MuData) -> None:
    new = md.MuData({m: screen[m].copy() for m in screen.mod})
    for m in new.mod:
        new[m].X = new[m].X + 0.01
        del new[m].obs["label"]
    with pytest.raises(
        KeyError,
        match=r"new cells need mdata\['rna'\]\.obs\['label'\] too; its columns are.*use_label=False",
    ):
        OracleLatent().fit(screen).transform(new)
    z = OracleLatent(use_label=False).fit(screen).transform(new)
    assert z["rna"].shape == (150, 3)


def test_data_without_truth_are_refused_with_what_they_have(screen: md.MuData) -> None:
    real = md.MuData({m: screen[m].copy() for m in screen.mod})
    del real["protein"].obsm["shared"]
    with pytest.raises(
        KeyError,
        match=r"ceiling for simulated data.*mdata\['protein'\]\.obsm\['shared'\], and found \['latent', 'state'\]",
    ):
        OracleLatent().fit(real)
    del real["protein"].obsm["latent"], real["protein"].obsm["state"]
    with pytest.raises(
        KeyError, match=r"found nothing there.*Leave it out of benchmarks on real data"
    ):
        OracleLatent("latent").fit(real)


def test_options_that_cannot_be_used_are_refused() -> None:
    with pytest.raises(ValueError, match="target must be "):
        OracleLatent("truth")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="n_folds must be "):
        OracleLatent(n_folds=1)
    with pytest.raises(ValueError, match="penalties must "):
        OracleLatent(penalties=[-1.0])
