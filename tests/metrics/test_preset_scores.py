"""The peers' definitions by name: those of the presets, of any pairing, beside what random pairs have."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from scgroove.aligners import EntropicOT
from scgroove.metrics import (
    PRESETS,
    SCORES,
    MissingTruthError,
    chance,
    perturbot_foscttm,
    perturbot_prediction,
    psa_foscttm,
    psa_latent_mse,
    psa_probe_r2,
    psa_trace,
    score,
    scores,
)
from scgroove.metrics._preset_scores import PairedPlan

NAMES = [name for name in SCORES if SCORES.get(name).preset]
LABELS = np.repeat(["a", "b", "c"], (12, 15, 9))
N = LABELS.size


@pytest.fixture(scope="module")
def sorted_screen():
    """Row i of one side is the true match of row i of the other."""
    rng = np.random.default_rng(0)
    u = rng.normal(size=(N, 3)) + 2 * np.repeat(rng.normal(size=(3, 3)), (12, 15, 9), axis=0)
    y = u + 0.5 * rng.normal(size=u.shape)
    measured = np.tanh(u @ rng.normal(size=(3, 8))) + 2
    plan = EntropicOT(epsilon=0.1).align(u, y, LABELS, LABELS)
    return {"u": u, "y": y, "measured": measured, "plan": plan.to_dense(), "predicted": plan.push(measured)}


def given(screen, order, form=np.asarray):
    """The same with target cells in another order, and five of them, whose partner is not known, besides."""
    rng = np.random.default_rng(1)
    extra = np.concatenate([order, np.full(5, -1)])
    place = rng.permutation(extra.size)
    extra = extra[place]
    at = extra >= 0

    def target(values):
        out = rng.normal(size=(extra.size, *values.shape[1:]))
        out[at] = values[extra[at]]
        return out

    labels = np.full(extra.size, "a", dtype=object)
    labels[at] = LABELS[extra[at]]
    plan = np.abs(rng.normal(size=(N, extra.size))) * 0.01
    plan[:, at] = screen["plan"][:, extra[at]]
    partner = np.full(N, -1)
    partner[extra[at]] = np.flatnonzero(at)
    return {
        "y": target(screen["y"]),
        "coupling": form(plan),
        "partner": partner,
        "labels_x": LABELS,
        "labels_y": labels,
        "latent_x": screen["u"],
        "latent_y": target(screen["u"]),
        "predicted": screen["predicted"],
        "measured": target(screen["measured"]),
    }


@pytest.mark.parametrize("form", [np.asarray, sp.csr_matrix])
def test_values_are_those_of_the_presets_whatever_the_order_of_cells(sorted_screen, form):
    s = sorted_screen
    found = {
        one.name: one.value
        for one in scores(NAMES, **given(s, np.random.default_rng(2).permutation(N), form))
    }
    plan = s["plan"]
    for name, expected in {
        "perturbot_foscttm": perturbot_foscttm(plan, s["y"]),
        "psa_trace": psa_trace(plan, LABELS),
        "psa_foscttm": psa_foscttm(plan, s["y"], LABELS),
        "psa_latent_mse": psa_latent_mse(plan, s["u"], LABELS),
        "psa_probe_r2": psa_probe_r2(s["predicted"], s["measured"]),
        **{
            f"perturbot_{name.lower()}": value
            for name, value in perturbot_prediction(s["predicted"], s["measured"]).items()
        },
    }.items():
        assert found[name] == pytest.approx(expected, abs=1e-9), name
    assert set(found) == set(NAMES)


def test_chance_is_that_of_random_partners(sorted_screen):
    """Against the same definition on partners that the public function draws."""
    order = np.random.default_rng(3).permutation(N)
    data = given(sorted_screen, order)

    def trace(partner):
        rows = np.flatnonzero(partner >= 0)
        plan = data["coupling"][np.ix_(rows, partner[rows])]
        return psa_trace(plan, LABELS[rows])

    expected = chance(
        trace, data["partner"], data["y"].shape[0], labels_x=LABELS, labels_y=data["labels_y"],
        n_permutations=400,
    )  # fmt: skip
    found = score("psa_trace", **data)
    assert found.chance == pytest.approx(expected.mean, abs=4 * expected.sd / np.sqrt(20))
    assert found.chance_sd == pytest.approx(expected.sd, rel=0.6)
    assert found.chance == pytest.approx(np.mean([1 / 12, 1 / 15, 1 / 9]), abs=0.02)
    assert found.value > found.chance + 5 * found.chance_sd
    pooled = score("perturbot_foscttm", **data)
    assert pooled.chance == pytest.approx(0.5, abs=0.05)
    assert pooled.value < 0.2


def test_predictions_are_read_against_those_of_other_cells_of_the_label(sorted_screen):
    data = given(sorted_screen, np.arange(N))
    data["predicted"] = np.array(
        [sorted_screen["measured"][label == LABELS].mean(axis=0) for label in LABELS]
    )
    for one in scores(["perturbot_pearson_corr", "perturbot_mse", "psa_probe_r2"], **data):
        assert one.chance == pytest.approx(one.value), (
            one.name
        )  # the mean of a label is the same for all of it
        assert one.chance_sd == pytest.approx(0.0, abs=1e-12)
    data["predicted"] = sorted_screen["predicted"]
    found = score("perturbot_mse", **data)
    assert found.value < found.chance - 3 * found.chance_sd
    assert found.better == "lower"


def test_they_are_computed_where_they_are_asked_for_only(sorted_screen):
    found = scores(**given(sorted_screen, np.arange(N)))
    names = {one.name for one in found} | set(found.skipped)
    assert not names & set(NAMES)
    assert names == set(SCORES) - set(NAMES)
    assert {name.split("_")[0] for name in NAMES} == {"perturbot", "psa"}
    left_out = {
        "perturbot_dose_fraction",
        "perturbot_prediction",
    }  # doses are not at hand; five values in one
    assert set(PRESETS) - left_out <= set(NAMES)


def test_without_a_true_match_among_the_candidates(sorted_screen):
    data = given(sorted_screen, np.arange(N))
    data["labels_y"] = np.full(data["labels_y"].size, "z", dtype=object)
    with pytest.raises(MissingTruthError, match="no true match is among the candidates"):
        score("psa_trace", **data)
    data.pop("partner")
    with pytest.raises(MissingTruthError, match=r"needs partner"):
        score("psa_trace", **data)


def test_paired_plan_of_blocks(sorted_screen):
    coupling = EntropicOT(epsilon=0.1).align(sorted_screen["u"], sorted_screen["y"], LABELS, LABELS)
    rows, columns = np.array([3, 20, 7]), np.array([5, 30, 2])
    plan, dense = PairedPlan(coupling, rows, columns), np.zeros((3, 3))
    for i, j, part in plan.parts():
        dense[np.ix_(i, j)] = part
    assert plan.shape == (3, 3)
    np.testing.assert_allclose(dense, coupling.to_dense()[np.ix_(rows, columns)])
