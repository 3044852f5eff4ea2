"""What every learner has in common: checks of what goes in and comes out, options, evidence."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import mudata
import numpy as np
import pytest

import scgroove
from scgroove.errors import LearnerOutputError
from scgroove.learners import LEARNERS, Learner, check_output, construct, get


@dataclass
class Shapes(Learner):
    """A learner that returns what it is told to."""

    name: ClassVar[str] = "shapes"

    make: Callable[[str, int], Any] = lambda m, n: np.ones((n, 2))
    drop: str | None = None

    def _fit(self, screen: Any, seed: int) -> None:
        self.seen_ = screen.modalities
        self.seed_ = seed

    def _transform(self, mdata: Any) -> dict[str, Any]:
        return {m: self.make(m, mdata[m].n_obs) for m in self.seen_ if m != self.drop}


@pytest.fixture(scope="module")
def screen() -> Any:
    return scgroove.simulations.weakly_paired(
        n_labels=4, n_cells_per_label=8, n_features=(12, 9), seed=1
    )


def test_fit_returns_itself_with_the_evidence_and_transform_adds_to_it(screen: Any) -> None:
    learner = Shapes()
    assert learner.fit(screen, seed=7) is learner
    assert learner.seed_ == 7
    assert learner.evidence["fit_seconds"] >= 0
    assert learner.evidence["peak_memory_mb"] >= 0
    z = learner.transform(screen)
    assert learner.evidence["transform_seconds"] >= 0
    assert {m: one.shape for m, one in z.items()} == {"rna": (32, 2), "protein": (32, 2)}


def test_transform_before_fit_says_what_to_call(screen: Any) -> None:
    with pytest.raises(RuntimeError, match=r"Shapes is not fitted: call \.fit\(mdata\) before"):
        Shapes().transform(screen)


@pytest.mark.parametrize("seed", [-1, 1.5, "a", None, 2**32, True])
def test_seeds_are_whole_numbers(screen: Any, seed: Any) -> None:
    with pytest.raises(ValueError, match=r"seed must be "):
        Shapes().fit(screen, seed=seed)
    Shapes().fit(screen, seed=np.int64(2**32 - 1))


@pytest.mark.parametrize("name", ["groove", "pca", "ps_logistic", "supcon", "random"])
def test_modalities_without_cells(screen: Any, name: str) -> None:
    empty = mudata.MuData({"rna": screen["rna"][:0].copy(), "protein": screen["protein"].copy()})
    with pytest.raises(ValueError, match=r"modality 'rna' has no cells: did a filter leave none"):
        construct(name).fit(empty)
    fitted = construct(name, {"max_epochs": 1} if name in ("groove", "supcon") else {}).fit(screen)
    with pytest.raises(ValueError, match="modality 'rna' has no cells"):
        fitted.transform(empty)


def test_features_in_another_order(screen: Any) -> None:
    """Learners take them by name."""
    turned = mudata.MuData({m: a[:, ::-1].copy() for m, a in screen.mod.items()})
    for learner in (construct("groove", {"max_epochs": 1}), construct("pca")):
        fitted = learner.fit(screen)
        for m, z in fitted.transform(screen).items():
            np.testing.assert_allclose(fitted.transform(turned)[m], z, atol=1e-5)


@pytest.mark.parametrize("name", ["groove", "pca"])
def test_features_missing(screen: Any, name: str) -> None:
    fitted = construct(name, {"max_epochs": 1} if name == "groove" else {}).fit(screen)
    fewer = mudata.MuData({m: a[:, 2:].copy() for m, a in screen.mod.items()})
    with pytest.raises(ValueError, match=r"rna_0.*rna_1"):
        fitted.transform(fewer)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("pca", {}),
        ("lda", {}),
        ("ps_mlp", {}),
        ("cca_centered", {}),
        ("ps_logistic_scaled", {}),
        ("supcon", {"max_epochs": 1}),
        ("vae_adversarial", {"max_epochs": 1}),
    ],
)
def test_a_fitted_learner_can_be_sent_to_another_process(
    screen: Any, name: str, options: dict[str, Any]
) -> None:
    fitted = construct(name, options).fit(screen)
    got = pickle.loads(pickle.dumps(fitted)).transform(screen)
    for m, z in fitted.transform(screen).items():
        np.testing.assert_array_equal(got[m], z)


def test_a_crash_comes_through_as_it_is(screen: Any) -> None:
    def crash(m: str, n: int) -> Any:
        raise ZeroDivisionError("out of cheese")

    with pytest.raises(ZeroDivisionError, match="out of cheese"):
        Shapes(crash).fit_transform(screen)


def test_after_a_fit_that_failed_nothing_is_fitted(screen: Any) -> None:
    learner = Shapes().fit(screen)

    def crash(screen: Any, seed: int) -> None:
        raise MemoryError

    learner._fit = crash  # type: ignore[method-assign]
    with pytest.raises(MemoryError):
        learner.fit(screen)
    with pytest.raises(RuntimeError, match="not fitted"):
        learner.transform(screen)


def test_modalities_are_those_asked_for_in_that_order(screen: Any) -> None:
    learner = Shapes().fit(screen, modalities=["protein", "rna"])
    assert list(learner.transform(screen)) == ["protein", "rna"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda m, n: np.ones((n - 1, 2)),
            r"shape \(32, k\) for 'rna'; found float64 of shape \(31, 2\)",
        ),
        (lambda m, n: np.ones(n), r"found float64 of shape \(32,\)"),
        (lambda m, n: np.ones((n, 0)), r"found float64 of shape \(32, 0\)"),
        (lambda m, n: np.full((n, 2), "a"), r"found <U1 of shape"),
        (lambda m, n: np.full((n, 2), None), r"found object of shape"),
        (lambda m, n: np.ones((n, 2), dtype=complex), r"found complex128 of shape"),
        (
            lambda m, n: [[1.0]] * (n - 1) + [[1.0, 2.0]],
            r"must return an array for 'rna'; found list, which is none",
        ),
        (lambda m, n: None, r"found object of shape \(\)"),
    ],
)
def test_what_cannot_be_a_representation_is_refused(screen: Any, make: Any, message: str) -> None:
    with pytest.raises(LearnerOutputError, match=message):
        Shapes(make).fit_transform(screen)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused_and_counted(screen: Any, bad: float) -> None:
    def make(m: str, n: int) -> Any:
        z = np.ones((n, 3))
        z[[2, 5], 1] = bad
        z[5, 2] = bad
        return z

    with pytest.raises(
        LearnerOutputError,
        match=r"'shapes' returned NaN or infinite values for 2 of 32 cells of 'rna'",
    ):
        Shapes(make).fit_transform(screen)


def test_a_modality_left_out_or_too_many_are_refused(screen: Any) -> None:
    with pytest.raises(
        LearnerOutputError, match=r"one array for each of \['rna', 'protein'\]; found \['rna'\]"
    ):
        Shapes(drop="protein").fit_transform(screen)
    both = {m: np.ones((32, 2)) for m in ("rna", "protein", "atac")}
    with pytest.raises(LearnerOutputError, match=r"found \['atac', 'protein', 'rna'\]"):
        check_output("x", both, screen, ("rna", "protein"), aligned=True)
    with pytest.raises(LearnerOutputError, match="found list"):
        check_output("x", [np.ones((32, 2))] * 2, screen, ("rna", "protein"), aligned=True)


def test_one_width_for_all_only_if_it_claims_one_space(screen: Any) -> None:
    def make(m: str, n: int) -> Any:
        return np.ones((n, len(m)))

    with pytest.raises(
        LearnerOutputError,
        match=r"share a space, but their widths differ: \{'rna': 3, 'protein': 7\}",
    ):
        Shapes(make).fit_transform(screen)

    @dataclass
    class Apart(Shapes):
        aligned: ClassVar[bool] = False

    assert Apart(make).fit_transform(screen)["protein"].shape == (32, 7)


def test_new_data_must_have_the_modalities(screen: Any) -> None:
    learner = Shapes().fit(screen)
    with pytest.raises(TypeError, match="Expected a MuData, found AnnData"):
        learner.transform(screen["rna"])
    import mudata

    other = mudata.MuData({"rna": screen["rna"], "image": screen["protein"]})
    with pytest.raises(KeyError, match="Unknown modality 'protein'"):
        learner.transform(other)


def test_labels_are_looked_for_before_anything_is_learned(screen: Any) -> None:
    with pytest.raises(KeyError, match="Did you mean 'label'"):
        Shapes().fit(screen, "lable")
    assert Shapes().fit(screen, {"rna": "label", "protein": "true_label"}).seen_ == (
        "rna",
        "protein",
    )


def test_names_and_options_that_are_not_known_get_the_near_miss() -> None:
    with pytest.raises(
        ValueError, match=r"unknown learner 'ps_logistik'\. Did you mean 'ps_logistic'"
    ):
        construct("ps_logistik")
    with pytest.raises(
        TypeError,
        match=r"learner 'pca' has no option 'n_component'. Did you mean 'n_components'\? Its options: n_components\.",
    ):
        construct("pca", {"n_component": 3})
    assert construct("pca", {"n_components": 3}).n_components == 3
    assert get("pca")(n_components=4) == construct("pca", {"n_components": 4})


def test_every_learner_stands_under_its_own_name() -> None:
    for name in LEARNERS:
        assert get(name).name == name
        assert issubclass(get(name), Learner)


def test_ceilings_are_said_to_be_ceilings() -> None:
    assert get("oracle_latent").uses_truth
    assert not any(
        get(n).uses_truth or get(n).uses_pairs
        for n in ("pca", "lda", "cca_labels", "ps_logistic", "random")
    )
    assert not get("pca").aligned
    assert not get("pca").uses_labels
    assert not get("random").uses_labels
