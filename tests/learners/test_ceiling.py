"""The ceiling: out-of-fold ridge predictions of the true state."""

from __future__ import annotations

import mudata as md
import numpy as np
import pytest
from sklearn.linear_model import Ridge

import scgroove
from scgroove.learners import OracleLatent
from scgroove.learners._common import stratified_folds
from scgroove.learners._screen import Screen


@pytest.fixture(scope="module")
def screen() -> md.MuData:
    return scgroove.simulations.weakly_paired(
        n_labels=5, n_cells_per_label=30, n_features=(40, 30), n_latent=3, seed=1
    )


def test_fitted_cells_are_predicted_by_folds_they_are_not_in(screen: md.MuData) -> None:
    learner = OracleLatent(penalties=[2.0], n_folds=4)
    z = learner.fit_transform(screen, seed=9)
    read = Screen.read(screen)
    streams = np.random.default_rng(9).spawn(2)
    for m, rng in zip(screen.mod, streams, strict=True):
        x = np.hstack([read.features()[m](screen[m]), np.eye(5)[read.codes[m]]]).astype(float)
        folds, truth = stratified_folds(read.codes[m], 4, rng), screen[m].obsm["state"]
        for fold in range(4):
            ridge = Ridge(alpha=2.0).fit(x[folds != fold], truth[folds != fold])
            np.testing.assert_allclose(z[m][folds == fold], ridge.predict(x[folds == fold]), atol=1e-8)
        assert learner.evidence["penalty"][m] == 2.0


def test_what_is_only_noise_is_not_remembered(screen: md.MuData) -> None:
    """In-sample predictions of noise from many features would look good; these do not."""
    noise = screen.copy()
    for m in noise.mod:
        noise[m].obsm["state"] = np.random.default_rng(3).normal(size=(150, 3))
    z = OracleLatent(penalties=[0.1]).fit_transform(noise)
    for m in z:
        found = [np.corrcoef(z[m][:, k], noise[m].obsm["state"][:, k])[0, 1] for k in range(3)]
        assert np.max(found) < 0.3


def test_predictions_tell_the_state(screen: md.MuData) -> None:
    z = OracleLatent().fit_transform(screen)
    for m in z:
        truth = screen[m].obsm["state"]
        assert 1 - ((z[m] - truth) ** 2).sum() / ((truth - truth.mean(axis=0)) ** 2).sum() > 0.5


def test_the_latent_may_be_the_target(screen: md.MuData) -> None:
    z = OracleLatent("latent").fit_transform(screen)
    for m in z:
        residual = z[m] - screen[m].obsm["latent"]
        assert (residual**2).mean() < 0.3 * screen[m].obsm["latent"].var()


def test_new_cells_are_predicted_by_the_regression_on_all(screen: md.MuData) -> None:
    rows = np.arange(150)
    seen, new = (
        md.MuData({m: screen[m][rows[mask]].copy() for m in screen.mod}) for mask in (rows < 120, rows >= 120)
    )
    learner = OracleLatent().fit(seen)
    z = learner.transform(new)
    read = Screen.read(seen)
    for m in z:
        x = np.hstack([read.features()[m](seen[m]), np.eye(5)[read.codes[m]]])
        labels = np.eye(5)[[int(g[1:]) for g in new[m].obs["label"]]]
        ridge = Ridge(alpha=learner.evidence["penalty"][m]).fit(x, seen[m].obsm["state"])
        expected = ridge.predict(np.hstack([read.features()[m](new[m]), labels]))
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
        KeyError, match=r"new cells need mdata\['rna'\]\.obs\['label'\] too; its columns are.*use_label=False"
    ):
        OracleLatent().fit(screen).transform(new)
    z = OracleLatent(use_label=False).fit(screen).transform(new)
    assert z["rna"].shape == (150, 3)


def test_data_without_truth_are_refused_with_what_they_have(screen: md.MuData) -> None:
    real = md.MuData({m: screen[m].copy() for m in screen.mod})
    del real["protein"].obsm["state"]
    with pytest.raises(
        KeyError,
        match=r"ceiling for simulated data.*mdata\['protein'\]\.obsm\['state'\], and found \['latent'\]",
    ):
        OracleLatent().fit(real)
    del real["protein"].obsm["latent"]
    with pytest.raises(KeyError, match=r"found nothing there.*Leave it out of benchmarks on real data"):
        OracleLatent("latent").fit(real)


def test_options_that_cannot_be_used_are_refused() -> None:
    with pytest.raises(ValueError, match="target must be one of 'state', 'latent'; found 'truth'"):
        OracleLatent("truth")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="n_folds must be a whole number, 2 or more; found 1"):
        OracleLatent(n_folds=1)
    with pytest.raises(ValueError, match="penalties must hold positive values"):
        OracleLatent(penalties=[-1.0])
