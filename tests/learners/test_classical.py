"""Principal components, discriminants, canonical correlations of label means, chance."""

from __future__ import annotations

from typing import Any

import anndata as ad
import mudata as md
import numpy as np
import pandas as pd
import pytest
from scipy.linalg import eigh, sqrtm
from sklearn.covariance import ledoit_wolf

import scgroove
from scgroove.data.screen import Screen
from scgroove.learners import (
    LEARNERS,
    LabelCCA,
    LinearDiscriminants,
    PrincipalComponents,
    RandomRepresentation,
)
from scgroove.learners._classical import discriminants
from scgroove.learners.common import apply
from scgroove.learners.label_cca import maxvar


@pytest.fixture(scope="module")
def screen() -> md.MuData:
    return scgroove.simulations.weakly_paired(
        n_labels=6, n_cells_per_label=20, n_features=(25, 10), seed=2
    )


# ------------------------------------------------------------------------------------------------------------- pca


def test_principal_components_of_each_modality(screen: md.MuData) -> None:
    learner = PrincipalComponents(n_components=12)
    z = learner.fit_transform(screen)
    assert {m: one.shape[1] for m, one in z.items()} == {"rna": 12, "protein": 10}
    for m, one in z.items():
        x = screen[m].X.astype(float)
        x = (x - x.mean(axis=0)) / x.std(axis=0)
        variances = np.linalg.eigvalsh(np.cov(x.T))[::-1]
        np.testing.assert_allclose(np.cov(one.T), np.diag(variances[: one.shape[1]]), atol=1e-4)
    assert learner.evidence["variance_explained"]["protein"] == pytest.approx(1)
    assert learner.evidence["variance_explained"]["rna"] < 1


# ------------------------------------------------------------------------------------------------------------- lda


def _groups(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    codes = np.repeat(np.arange(4), [30, 12, 20, 8])
    x = rng.normal(size=(4, 7))[codes] + rng.normal(size=(70, 7)) @ rng.normal(size=(7, 7))
    return x, codes


def _alike_up_to_sign(one: np.ndarray, other: np.ndarray) -> None:
    assert one.shape == other.shape
    np.testing.assert_allclose(
        one, other * np.sign((one * other).sum(axis=0)), rtol=1e-6, atol=1e-8
    )


def test_discriminants_solve_the_generalized_eigenproblem() -> None:
    """With the covariance inside labels as Ledoit and Wolf shrink it."""
    x, codes = _groups()
    _, weights, variances = discriminants(x, codes, 4)
    means = np.stack([x[codes == g].mean(axis=0) for g in range(4)])[codes]
    inside, _ = ledoit_wolf(x - means, assume_centered=True)
    between = (means - x.mean(axis=0)).T @ (means - x.mean(axis=0)) / 70
    sizes, theirs = eigh(between, inside)
    _alike_up_to_sign(weights, theirs[:, ::-1][:, :3])
    np.testing.assert_allclose(variances, sizes[::-1][:3])


def test_discriminants_do_not_depend_on_a_rotation_of_the_features() -> None:
    x, codes = _groups(2)
    turn, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(7, 7)))
    (mean, weights, _), (mean2, weights2, _) = (discriminants(y, codes, 4) for y in (x, x @ turn))
    one, other = (x - mean) @ weights, (x @ turn - mean2) @ weights2
    np.testing.assert_allclose(one, other * np.sign((one * other).sum(axis=0)), atol=1e-8)


def test_a_label_of_one_cell_and_more_features_than_cells() -> None:
    rng = np.random.default_rng(3)
    codes = np.array([0, 0, 0, 1, 2, 2])
    _, weights, _ = discriminants(rng.normal(size=(6, 40)), codes, 5)
    assert weights.shape == (40, 2)
    assert np.isfinite(weights).all()


def test_a_flat_feature_counts_for_nothing() -> None:
    x, codes = _groups(4)
    flat = np.insert(x, 3, 7.0, axis=1)
    (_, weights, _), (_, wider, _) = (discriminants(y, codes, 4) for y in (x, flat))
    np.testing.assert_array_equal(wider[3], 0)
    np.testing.assert_allclose(np.delete(wider, 3, axis=0), weights)
    with pytest.raises(ValueError, match="no feature varies"):
        discriminants(np.ones((4, 2)), np.array([0, 0, 1, 1]), 2)


def test_discriminants_of_wide_data_are_few_and_finite() -> None:
    mdata = scgroove.simulations.weakly_paired(
        n_labels=4, n_cells_per_label=12, n_features=(2200, 30), seed=1
    )
    z = LinearDiscriminants(max_features=20).fit_transform(mdata)
    assert {m: one.shape for m, one in z.items()} == {"rna": (48, 3), "protein": (48, 3)}


# -------------------------------------------------------------------------------------------------------------- cca


def _means(seed: int, labels: int = 9, widths: tuple[int, ...] = (4, 3)) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    common = rng.normal(size=(labels, 2))
    return {
        f"m{i}": common @ rng.normal(size=(2, d)) + 0.5 * rng.normal(size=(labels, d)) + i
        for i, d in enumerate(widths)
    }


def _all(means: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {m: np.ones(len(c), dtype=bool) for m, c in means.items()}


def test_for_two_modalities_it_is_canonical_correlation() -> None:
    """Without a ridge the share told is (1 + canonical correlation) / 2, from the classical whitened cross-covariance."""
    means = _means(0)
    _, told = maxvar(means, _all(means), 1e-10)
    a, b = (c - c.mean(axis=0) for c in means.values())
    cross = np.linalg.inv(sqrtm(a.T @ a).real) @ (a.T @ b) @ np.linalg.inv(sqrtm(b.T @ b).real)
    rho = np.linalg.svd(cross, compute_uv=False)
    np.testing.assert_allclose(told[: len(rho)], (1 + rho) / 2, atol=1e-6)


def test_the_coordinates_are_a_minimum_of_the_ridge_problem() -> None:
    """Against the problem as written: for G fixed each W is a ridge regression, and no other orthonormal G costs less."""
    means, reg = _means(1, widths=(4, 3, 5)), 0.4
    maps, told = maxvar(means, _all(means), reg, 2)
    centered = [c - c.mean(axis=0) for c in means.values()]
    ridges = [reg * (c**2).sum() / min(8, c.shape[1]) for c in centered]

    def cost(g: np.ndarray) -> float:
        total = 0.0
        for c, ridge in zip(centered, ridges, strict=True):
            w = np.linalg.solve(c.T @ c + ridge * np.eye(c.shape[1]), c.T @ g)
            total += ((g - c @ w) ** 2).sum() + ridge * (w**2).sum()
        return total

    gram = sum(
        c @ np.linalg.solve(c.T @ c + r * np.eye(c.shape[1]), c.T)
        for c, r in zip(centered, ridges, strict=True)
    )
    best = np.linalg.eigh(gram)[1][:, ::-1][:, :2]
    assert cost(best) == pytest.approx(3 * 2 - 3 * told.sum(), rel=1e-6)
    rng = np.random.default_rng(0)
    for _ in range(20):
        other, _ = np.linalg.qr(best + 0.1 * (rng.normal(size=best.shape) - 0.0))
        other, _ = np.linalg.qr(other - other.mean(axis=0))
        assert cost(other) >= cost(best) - 1e-9
    for (_, weights, _), c, ridge in zip(maps.values(), centered, ridges, strict=True):
        w = np.linalg.solve(c.T @ c + ridge * np.eye(c.shape[1]), c.T @ best) * told**2
        np.testing.assert_allclose(np.abs(weights), np.abs(w), atol=1e-8)


def test_modalities_that_are_turned_copies_agree() -> None:
    rng = np.random.default_rng(2)
    c = rng.normal(size=(12, 4))
    turn, _ = np.linalg.qr(rng.normal(size=(4, 4)))
    means = {"a": c, "b": 3 * c @ turn + 5}
    maps, _ = maxvar(means, _all(means), 0.1)
    np.testing.assert_allclose(
        apply(maps["a"], means["a"]), apply(maps["b"], means["b"]), atol=1e-9
    )


def test_labels_that_a_modality_lacks_are_left_out_of_its_term() -> None:
    rng = np.random.default_rng(3)
    c = rng.normal(size=(14, 3))
    turns = [np.linalg.qr(rng.normal(size=(3, 3)))[0] for _ in range(3)]
    means = {m: c @ t for m, t in zip("abc", turns, strict=True)}
    present = {m: np.ones(14, dtype=bool) for m in "abc"}
    present["b"][:3] = present["c"][9:] = False
    garbage = {m: np.where(present[m][:, None], x, 1e3) for m, x in means.items()}
    maps, told = maxvar(garbage, present, 1e-6)
    assert told[:3] == pytest.approx(1, abs=1e-4)
    here = present["a"] & present["b"] & present["c"]
    z = {m: apply(maps[m], means[m])[:, :3] for m in means}
    for m in "bc":
        np.testing.assert_allclose(z[m][here], z["a"][here], atol=1e-3)
        np.testing.assert_allclose(
            z[m][~present[m]], z["a"][~present[m]], atol=1e-3
        )  # told of labels it has not seen


def test_discriminants_count_by_their_share_of_variance_between_labels(screen: md.MuData) -> None:
    z, read = LinearDiscriminants().fit_transform(screen), Screen.read(screen)
    for m, codes in read.codes.items():
        x = read.features()[m](screen[m]).astype(float)
        mean, weights, b = discriminants(x, codes, read.n_labels)
        np.testing.assert_allclose(z[m], (x - mean) @ weights * (b / (1 + b)))
        assert (np.diff(b) <= 1e-9).all()


def test_what_one_modality_alone_knows_is_told_half() -> None:
    rng = np.random.default_rng(4)
    g, _ = np.linalg.qr(np.column_stack([np.ones(8), rng.normal(size=(8, 3))]))
    means = {"a": g[:, [1, 2]], "b": g[:, [1, 3]]}
    _, told = maxvar(means, _all(means), 1e-9)
    np.testing.assert_allclose(told, [1, 0.5, 0.5], atol=1e-6)


def test_labels_without_any_difference_are_refused() -> None:
    means = {"a": np.ones((4, 2)), "b": np.ones((4, 3))}
    with pytest.raises(ValueError, match="means of all labels are the same in every modality"):
        maxvar(means, _all(means), 0.3)


def test_cells_are_mapped_as_their_labels_are(screen: md.MuData) -> None:
    learner = LabelCCA(n_components=3)
    z = learner.fit_transform(screen)
    read = Screen.read(screen)
    assert {m: one.shape for m, one in z.items()} == {"rna": (120, 3), "protein": (120, 3)}
    assert learner.evidence["told"].shape == (3,)
    assert (np.diff(learner.evidence["told"]) <= 0).all()
    means = {m: np.stack([z[m][read.codes[m] == g].mean(axis=0) for g in range(6)]) for m in z}
    between = np.corrcoef(means["rna"].ravel(), means["protein"].ravel())[0, 1]
    assert between > 0.95


# ----------------------------------------------------------------------------------------------------------- random


def test_chance_is_gaussian_and_independent_between_modalities_and_seeds() -> None:
    mdata = scgroove.simulations.weakly_paired(
        n_labels=10, n_cells_per_label=200, n_features=(4, 3), seed=0
    )
    z = RandomRepresentation(6).fit_transform(mdata, seed=1)
    order = mdata["protein"].obs_names.get_indexer(mdata["rna"].obs_names)
    pooled = np.hstack(
        [z["rna"], z["protein"][order], RandomRepresentation(6).fit_transform(mdata, seed=2)["rna"]]
    )
    np.testing.assert_allclose(pooled.mean(axis=0), 0, atol=0.1)
    np.testing.assert_allclose(np.cov(pooled.T), np.eye(18), atol=0.12)


# ---------------------------------------------------------------------------------------------------------- options


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PrincipalComponents(0), "n_components must be "),
        (lambda: PrincipalComponents(2.5), "found 2.5"),  # type: ignore[arg-type]
        (lambda: LinearDiscriminants(max_features=0), "max_features must be"),
        (lambda: LabelCCA(regularization=0), "regularization must be "),
        (lambda: LabelCCA(regularization=float("nan")), "regularization must be "),
        (lambda: RandomRepresentation(-3), "found -3"),
    ],
)
def test_options_that_cannot_be_used_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("name", ["lda", "lda_procrustes"])
def test_one_cell_a_label_is_refused_where_the_spread_inside_labels_is_needed(name):
    rng = np.random.default_rng(0)
    mods = {}
    for m, d in (("a", 5), ("b", 4)):
        obs = pd.DataFrame(
            {"label": [f"g{i}" for i in range(9)]}, index=[f"{m}{i}" for i in range(9)]
        )
        mods[m] = ad.AnnData(rng.normal(size=(9, d)).astype(np.float32), obs=obs)
    with pytest.raises(ValueError, match=r"each shared label has one cell in 'a'.*'cca_labels'"):
        LEARNERS.get(name)().fit(md.MuData(mods), "label")
