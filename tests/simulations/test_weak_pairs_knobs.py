"""The knobs of the generator: what each changes, and what it leaves as it was."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scgroove.simulations import Scenario
from scgroove.simulations._weak_pairs import SimulatedModality, labels_of_modalities, simulate

SMALL: dict[str, Any] = {
    "n_labels": 5,
    "n_cells_per_label": 12,
    "n_features": (9, 7),
    "n_latent": 3,
    "n_private": 2,
}


def parts(seed: int = 0, **options: Any) -> list[SimulatedModality]:
    return list(simulate(Scenario(**{**SMALL, **options}), seed).modalities.values())


def by_cell(part: SimulatedModality, field: str) -> np.ndarray:
    return np.asarray(getattr(part, field))[np.argsort(part.cells)]


def dense(part: SimulatedModality) -> np.ndarray:
    return np.asarray(part.x.todense() if hasattr(part.x, "todense") else part.x)


# Escape ------------------------------------------------------------------------------------------------------------


def test_escaped_cells_have_no_effect_of_their_label() -> None:
    for part, plain in zip(parts(escape=0.3), parts(), strict=True):
        assert part.escaped.sum() == 18
        np.testing.assert_array_equal(part.latent[part.escaped], part.state[part.escaped])
        np.testing.assert_array_equal(part.latent[~part.escaped], plain.latent[~part.escaped])
        assert not plain.escaped.any()


def test_a_co_assayed_cell_escapes_in_all_modalities_at_once() -> None:
    rna, protein = parts(escape=0.4)
    np.testing.assert_array_equal(by_cell(rna, "escaped"), by_cell(protein, "escaped"))


def test_escape_of_one_modality_leaves_the_other_as_it_was() -> None:
    rna, protein = parts(co_assayed=False, escape={"rna": 0.5})
    _, plain = parts(co_assayed=False)
    assert rna.escaped.sum() == 30
    assert not protein.escaped.any()
    assert dense(protein).tobytes() == dense(plain).tobytes()


def test_escape_is_exact_in_a_modality_with_cells_of_its_own_and_fewer_labels() -> None:
    rna, protein = parts(co_assayed=False, escape=0.25, exclusive_labels={"rna": 1})
    assert (rna.label.size, protein.label.size) == (60, 48)
    assert (rna.escaped.sum(), protein.escaped.sum()) == (15, 12)


def test_with_all_escaped_there_is_only_the_state() -> None:
    for part in parts(escape=1.0, rho=0.5):
        np.testing.assert_array_equal(part.latent, part.state)


# Label noise -------------------------------------------------------------------------------------------------------


def test_label_noise_is_exact_and_changes_nothing_that_was_measured() -> None:
    for part, plain in zip(parts(label_noise=0.2), parts(), strict=True):
        assert (part.observed != part.label).sum() == 12
        assert dense(part).tobytes() == dense(plain).tobytes()
        np.testing.assert_array_equal(part.label, plain.label)
        np.testing.assert_array_equal(plain.observed, plain.label)


def test_label_noise_is_among_the_labeled_cells() -> None:
    for part, plain in zip(
        parts(label_noise=0.5, unlabeled_fraction=0.4), parts(unlabeled_fraction=0.4), strict=True
    ):
        np.testing.assert_array_equal((part.observed >= 0), (plain.observed >= 0))
        assert (part.observed >= 0).sum() == 36
        assert (part.observed[(part.observed >= 0)] != part.label[(part.observed >= 0)]).sum() == 18


def test_wrong_labels_are_labels_of_the_modality_and_differ_between_modalities() -> None:
    scenario = Scenario(**SMALL, label_noise=1.0, exclusive_labels=1)
    sim = simulate(scenario)
    kept = labels_of_modalities(scenario)
    for name, part in sim.modalities.items():
        assert set(part.observed) == set(np.flatnonzero(kept[name]))
        assert (part.observed != part.label).all()
    rna, protein = parts(label_noise=0.3)
    assert (by_cell(rna, "observed") != by_cell(protein, "observed")).any()


def test_label_noise_of_one_modality_leaves_the_labels_of_the_other() -> None:
    rna, protein = parts(label_noise={"rna": 0.5})
    assert (rna.observed != rna.label).sum() == 30
    np.testing.assert_array_equal(protein.observed, protein.label)


# Confusion ---------------------------------------------------------------------------------------------------------


def nearest(effect: np.ndarray, code: int, vocabulary: list[int]) -> int:
    """Return the other label whose effect is nearest to that of ``code``; ``min`` keeps the first of equals."""
    others = [other for other in sorted(vocabulary) if other != code]
    return min(
        others, key=lambda other: float(np.sqrt(((effect[other] - effect[code]) ** 2).sum()))
    )


def test_confusion_is_exact_and_changes_nothing_that_was_measured() -> None:
    for part, plain in zip(parts(confusion=0.2), parts(), strict=True):
        assert (part.observed != part.label).sum() == 12
        assert dense(part).tobytes() == dense(plain).tobytes()
        for field in ("cells", "label", "state", "latent", "batch", "substate", "escaped"):
            np.testing.assert_array_equal(getattr(part, field), getattr(plain, field))


def test_confusion_leaves_hidden_cells_and_the_wrong_labels_of_label_noise() -> None:
    options: dict[str, Any] = {"label_noise": 0.25, "unlabeled_fraction": 0.4}
    for part, plain in zip(parts(confusion=0.5, **options), parts(**options), strict=True):
        np.testing.assert_array_equal((part.observed >= 0), (plain.observed >= 0))
        noisy = (plain.observed >= 0) & (plain.observed != plain.label)
        confused = part.observed != plain.observed
        assert ((part.observed >= 0).sum(), noisy.sum(), confused.sum()) == (36, 9, 18)
        assert not (confused & noisy).any()
        assert not confused[~(plain.observed >= 0)].any()


@pytest.mark.parametrize("options", [{}, {"inert": 0.6}, {"inert": 1.0}, {"exclusive_labels": 1}])
def test_a_confused_cell_shows_the_nearest_label_of_its_modality(options: dict[str, Any]) -> None:
    scenario = Scenario(**SMALL, confusion=1.0, rho=0.5, **options)
    for seed in range(5):
        sim = simulate(scenario, seed)
        for name, part in sim.modalities.items():
            vocabulary = np.flatnonzero(labels_of_modalities(scenario)[name]).tolist()
            expected = [nearest(sim.shared_effect, code, vocabulary) for code in part.label]
            np.testing.assert_array_equal(part.observed, expected)


def test_confusion_of_one_modality_leaves_the_labels_of_the_other() -> None:
    rna, protein = parts(confusion={"rna": 0.5})
    assert (rna.observed != rna.label).sum() == 30
    np.testing.assert_array_equal(protein.observed, protein.label)
    rna, protein = parts(confusion=0.5)
    assert (by_cell(rna, "observed") != by_cell(protein, "observed")).any()


def test_a_larger_confusion_adds_cells() -> None:
    small, large = (parts(confusion=share)[0] for share in (0.2, 0.6))
    confused = small.observed != small.label
    np.testing.assert_array_equal(large.observed[confused], small.observed[confused])


def test_label_noise_and_confusion_can_be_all_labeled_cells() -> None:
    for part in parts(label_noise=0.3, confusion={"rna": 0.7, "protein": 0.7}):
        assert (part.observed != part.label).all()


# Imbalance ---------------------------------------------------------------------------------------------------------


def test_imbalance_keeps_the_number_of_cells() -> None:
    scenario = Scenario(**SMALL, imbalance=1.0)
    assert scenario.cells_per_label() == (26, 13, 9, 7, 5)
    for part in simulate(scenario).modalities.values():
        assert np.bincount(part.label).tolist() == [26, 13, 9, 7, 5]


# Batches -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("view", ["linear", "tanh"])
def test_the_shift_of_a_batch_is_the_same_for_all_its_cells(view: str) -> None:
    quiet = {"noise": 0.0, "view": view}
    for part, plain in zip(
        parts(n_batches=3, batch_effect=1.5, **quiet), parts(**quiet), strict=True
    ):
        shift = 1.5 * part.batch_shift[part.batch]
        shifted = (
            dense(plain).astype(np.float64) + shift
        )  # without noise, plain features have unit variance
        expected = (shifted - shifted.mean(axis=0)) / shifted.std(axis=0)
        np.testing.assert_allclose(dense(part), expected, atol=2e-5)
        assert part.batch_shift.shape == (3, part.x.shape[1])
        assert np.bincount(part.batch).tolist() == [20, 20, 20]
        np.testing.assert_array_equal(part.latent, plain.latent)


def test_batches_shift_the_log_rate_of_counts() -> None:
    # Library sizes so large and counts so even that the counts show their rates.
    options = {
        "counts": ("rna",), "noise": 0.0, "library_size": 1e9, "dispersion": 1e9, "effect": 0.5, "view": "linear",
    }  # fmt: skip
    plain = parts(**options)[0]
    part = parts(n_batches=2, batch_effect=1.0, **options)[0]
    change = np.log(dense(part)) - np.log(dense(plain)) - part.batch_shift[part.batch]
    # What is left is the same for all features of a cell: the sum of its rates.
    np.testing.assert_allclose(change - change.mean(axis=1, keepdims=True), 0, atol=5e-3)


def test_batches_without_effect_and_batches_of_the_other_modality_change_nothing() -> None:
    options = {"counts": ("protein",)}
    plain_rna, plain_protein = parts(**options)
    for part, plain in zip(parts(n_batches=4, **options), (plain_rna, plain_protein), strict=True):
        assert dense(part).tobytes() == dense(plain).tobytes()
        assert np.unique(part.batch).size == 4
    rna, protein = parts(n_batches={"rna": 3}, batch_effect=2.0, **options)
    assert dense(protein).tobytes() == dense(plain_protein).tobytes()
    assert not protein.batch.any()
    assert not np.allclose(dense(rna), dense(plain_rna))


def test_batches_of_modalities_are_their_own() -> None:
    rna, protein = parts(n_batches=3)
    assert (by_cell(rna, "batch") != by_cell(protein, "batch")).any()


# Sub-states --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("co_assayed", [True, False])
def test_substates_shift_cells_in_the_same_way_in_all_modalities(co_assayed: bool) -> None:
    options: dict[str, Any] = {"co_assayed": co_assayed, "rho": 0.5}
    sim = simulate(Scenario(**SMALL, n_substates=2, substate_effect=1.5, **options))
    assert sim.substate_shift.shape == (5, 2, 3)
    for part, plain in zip(sim.modalities.values(), parts(**options), strict=True):
        shift = 1.5 * sim.substate_shift[part.label, part.substate]
        np.testing.assert_allclose(part.latent - plain.latent, shift, atol=1e-12)
        np.testing.assert_array_equal(part.state, plain.state)


def test_co_assayed_modalities_have_the_same_substates() -> None:
    rna, protein = parts(n_substates=3, substate_effect=1.0)
    np.testing.assert_array_equal(by_cell(rna, "substate"), by_cell(protein, "substate"))
    assert np.bincount(rna.substate[rna.label == 0]).tolist() == [4, 4, 4]


def test_an_escaped_cell_keeps_its_substate() -> None:
    sim = simulate(Scenario(**SMALL, escape=0.5, n_substates=2, substate_effect=2.0))
    for part in sim.modalities.values():
        gone = part.escaped
        expected = (
            part.state[gone] + 2.0 * sim.substate_shift[part.label[gone], part.substate[gone]]
        )
        np.testing.assert_allclose(part.latent[gone], expected, atol=1e-12)


# Inert labels ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rho", [0.0, 0.5, 1.0])
def test_inert_labels_have_no_effect_in_any_modality(rho: float) -> None:
    sim = simulate(Scenario(**SMALL, inert=0.4, rho=rho))
    plain = simulate(Scenario(**SMALL, rho=rho))
    assert sim.inert.sum() == 2
    assert not sim.shared_effect[sim.inert].any()
    np.testing.assert_array_equal(sim.shared_effect[~sim.inert], plain.shared_effect[~sim.inert])
    for name, part in sim.modalities.items():
        still = sim.inert[part.label]
        np.testing.assert_array_equal(part.latent[still], part.state[still])
        np.testing.assert_array_equal(part.latent[~still], plain.modalities[name].latent[~still])


# All at once -------------------------------------------------------------------------------------------------------


@st.composite
def scenarios(draw: st.DrawFn) -> Scenario:
    co_assayed = draw(st.booleans())
    n_batches, n_substates = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    share = st.sampled_from([0.0, 0.25, 0.6, 1.0])
    return Scenario(
        n_labels=draw(st.integers(4, 7)),
        n_cells_per_label=draw(st.integers(2, 6)),
        modalities=("a", "b", "c"),
        n_features=(4, 3, 2),
        n_latent=draw(st.integers(1, 3)),
        n_private=draw(st.integers(0, 2)),
        rho=draw(share),
        view=draw(st.sampled_from(["tanh", "linear"])),
        counts=draw(st.sampled_from([(), ("b",)])),
        co_assayed=co_assayed,
        exclusive_labels=draw(st.sampled_from([0, 1])),
        unlabeled_fraction=draw(st.sampled_from([0.0, 0.3])),
        escape=draw(share) if co_assayed else {"a": draw(share), "c": draw(share)},
        label_noise=(noise := draw(share)),
        confusion=draw(share) * (1 - noise),
        imbalance=draw(st.sampled_from([0.0, 0.7, 2.0])),
        n_batches=n_batches,
        batch_effect=0.0 if n_batches == 1 else 1.0,
        n_substates=n_substates,
        substate_effect=0.0 if n_substates == 1 else 1.0,
        inert=draw(share),
    )


@settings(max_examples=60, deadline=None)
@given(scenario=scenarios(), seed=st.integers(0, 2**32 - 1))
def test_the_truth_is_consistent_whatever_the_knobs(scenario: Scenario, seed: int) -> None:
    sim = simulate(scenario, seed)
    kept = labels_of_modalities(scenario)
    e, h, rho = scenario.effect, scenario.substate_effect, scenario.rho
    for name, d in zip(scenario.modalities, scenario.n_features, strict=True):
        part = sim.modalities[name]
        n = sum(np.array(scenario.cells_per_label())[kept[name]])
        assert part.x.shape == (n, d)
        assert np.isfinite(dense(part)).all()
        for field in ("cells", "label", "observed", "escaped", "substate", "batch", "paired"):
            assert getattr(part, field).shape == (n,)
        assert set(part.label) == set(np.flatnonzero(kept[name]))
        wrong = (part.observed >= 0) & (part.observed != part.label)
        n_wrong = sum(
            round(scenario.per_modality(knob)[name] * (part.observed >= 0).sum())
            for knob in ("label_noise", "confusion")
        )
        # Two halves of an odd number may both be rounded up.
        assert wrong.sum() == min(n_wrong, (part.observed >= 0).sum())
        works = ~part.escaped[:, None] * e
        shift = np.sqrt(rho) * sim.shared_effect + np.sqrt(1 - rho) * part.effect
        expected = (
            part.state
            + works * shift[part.label]
            + h * sim.substate_shift[part.label, part.substate]
        )
        np.testing.assert_allclose(part.latent, expected, atol=1e-12)
        if not scenario.co_assayed:
            assert part.escaped.sum() == round(scenario.per_modality("escape")[name] * n)
    if scenario.co_assayed:
        _same_truth_of_the_same_cell(list(sim.modalities.values()))


def _same_truth_of_the_same_cell(modalities: list[SimulatedModality]) -> None:
    first = modalities[0]
    for other in modalities[1:]:
        _, i, j = np.intersect1d(first.cells, other.cells, return_indices=True)
        for field in ("label", "escaped", "substate", "state"):
            np.testing.assert_array_equal(getattr(first, field)[i], getattr(other, field)[j])


# Bad input ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"escape": 1.5}, r"escape must be between 0 and 1, the share of cells without .*; found 1\.5\."),
        ({"escape": "0.3"}, r"escape must be "),
        ({"escape": float("nan")}, r"escape must be "),
        ({"escape": {"rna": 0.2}}, r"escape must be one number where co_assayed=True, found \{'rna': 0\.2\}.*Give escape=0\.2, or co_assayed=False"),
        ({"escape": {"rnaa": 0.2}, "co_assayed": False}, r"escape names 'rnaa', which is not among modalities"),
        ({"escape": {"rna": -1}, "co_assayed": False}, r"escape must be between 0 and 1.*found \{'rna': -1\}"),
        ({"label_noise": -0.1}, r"label_noise must be between 0 and 1, the share of labeled cells with a wrong label; found -0\.1"),
        ({"label_noise": {"dna": 0.1}}, r"label_noise names 'dna'"),
        ({"label_noise": 0.1, "n_labels": 1}, r"'rna' has 1 label\(s\): raise n_labels \(found 1\) or set label_noise=0"),
        ({"label_noise": {"protein": 0.1}, "exclusive_labels": {"rna": 4}}, r"'protein' has 1 label"),
        ({"confusion": 1.1}, r"confusion must be between 0 and 1, the share of labeled cells with the label nearest to their own; found 1\.1"),
        ({"confusion": "0.1"}, r"confusion must be "),
        ({"confusion": {"protein": -0.1}}, r"confusion must be between 0 and 1.*; found \{'protein': -0\.1\}"),
        ({"confusion": {"dna": 0.1}}, r"confusion names 'dna'"),
        ({"confusion": 0.1, "n_labels": 1}, r"confusion=0\.1 gives cells .* 'rna' has 1 label\(s\): raise n_labels \(found 1\) or set confusion=0"),
        ({"confusion": {"protein": 0.1}, "exclusive_labels": {"rna": 4}}, r"'protein' has 1 label"),
        ({"confusion": 0.6, "label_noise": 0.5}, r"both together must be at most 1; found label_noise=0\.5 and confusion=0\.6 in 'rna'"),
        ({"confusion": {"protein": 0.6}, "label_noise": 0.5}, r"found label_noise=0\.5 and confusion=0\.6 in 'protein'"),
        ({"imbalance": -1.0}, r"imbalance must be at least 0 \(labels of one size\); 1\.5 is a long tail; found -1\.0"),
        ({"imbalance": 1.0, "n_cells_per_label": [3, 4, 5, 6, 7]}, r"already gives each label its own number: found \[3, 4, 5, 6, 7\]\. Give one number, such as n_cells_per_label=5"),
        ({"imbalance": 1.0, "n_cells_per_label": 1}, r"leaves every label at least 2 cells: expected n_cells_per_label of 2 or more, found 1"),
        ({"n_batches": 0}, r"n_batches must be at least 1; found 0"),
        ({"n_batches": 2.5}, r"n_batches must be "),
        ({"n_batches": {"rna": 0}}, r"n_batches must be at least 1; found \{'rna': 0\}"),
        ({"batch_effect": -1.0, "n_batches": 2}, r"batch_effect must be at least 0"),
        ({"batch_effect": 1.0}, r"batch_effect=1\.0 shifts one batch against another, but n_batches is 1\. Give n_batches=3"),
        ({"batch_effect": {"rna": 1.0}}, r"batch_effect must be "),
        ({"n_substates": 0}, r"n_substates must be at least 1"),
        ({"n_substates": True}, r"n_substates must be "),
        ({"substate_effect": 1.0}, r"substate_effect=1\.0 shifts one sub-state .* but n_substates is 1\. Give n_substates=2"),
        ({"substate_effect": -1.0}, r"substate_effect must be at least 0"),
        ({"inert": 2}, r"inert must be between 0 and 1, the share of labels without any effect; found 2\."),
        ({"n_labels": 2.5}, r"n_labels must be "),
    ],
)  # fmt: skip
def test_impossible_knobs_are_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Scenario(**{**SMALL, **wrong})
