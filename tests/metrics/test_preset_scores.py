"""The peers' definitions by name: those of the presets, of any pairing, beside what random pairs have."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import scipy.sparse as sp

from scgroove.aligners import EntropicOT
from scgroove.errors import MissingTruthError
from scgroove.metrics import (
    PRESETS,
    SCORES,
    chance,
    perturbot_dose_fraction,
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
DOSES = np.tile([0.1, 1.0, 10.0], 12)
N = LABELS.size


@pytest.fixture(scope="module")
def sorted_screen():
    """Row i of one side is the true match of row i of the other."""
    rng = np.random.default_rng(0)
    u = rng.normal(size=(N, 3)) + 2 * np.repeat(rng.normal(size=(3, 3)), (12, 15, 9), axis=0)
    y = u + 0.5 * rng.normal(size=u.shape)
    measured = np.tanh(u @ rng.normal(size=(3, 8))) + 2
    plan = EntropicOT(epsilon=0.1).align(u, y, LABELS, LABELS)
    return {
        "u": u,
        "y": y,
        "measured": measured,
        "plan": plan.to_dense(),
        "predicted": plan.push(measured),
    }


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
    doses = np.full(extra.size, 1.0)
    doses[at] = DOSES[extra[at]]
    partner = np.full(N, -1)
    partner[extra[at]] = np.flatnonzero(at)
    return {
        "y": target(screen["y"]),
        "coupling": form(plan),
        "partner": partner,
        "labels_x": LABELS,
        "labels_y": labels,
        "doses_x": DOSES,
        "doses_y": doses,
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
    dose = perturbot_dose_fraction(plan / plan.sum(), DOSES, DOSES, LABELS, LABELS)
    for name, expected in {
        "perturbot_foscttm": perturbot_foscttm(plan, s["y"]),
        "perturbot_dose_fraction": dose[0],
        "perturbot_relative_dose_fraction": dose[1],
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
    assert set(PRESETS) - {"perturbot_prediction"} <= set(NAMES)  # five values in one


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


# ------------------------------------------------------------------------------------------------------------ doses


def dosed(**changes):
    """Four pairs, sorted, of two labels at two doses, and a target cell without a known partner."""
    plan = np.array([
        [0.20, 0.05, 0.00, 0.00],
        [0.05, 0.10, 0.00, 0.10],
        [0.00, 0.00, 0.25, 0.00],
        [0.00, 0.00, 0.25, 0.00],
    ])  # fmt: skip
    return {
        "coupling": np.column_stack([plan, np.full(4, 9.0)]),
        "partner": np.arange(4),
        "labels_x": ["a", "a", "b", "b"],
        "labels_y": ["a", "a", "b", "b", "b"],
        "doses_x": [1, 10, 1, 10],
        "doses_y": [1.0, 10.0, 1.0, 10.0, 10.0],
        **changes,
    }


def test_dose_fraction_by_hand():
    """Label a: 0.30 where doses are as they are, 0.10 where they are swapped; label b: 0.25 in either case."""
    fraction = score("perturbot_dose_fraction", **dosed())
    assert (fraction.value, fraction.n, fraction.better) == (pytest.approx(0.55), 4, "higher")
    assert (fraction.chance, fraction.chance_sd) == (pytest.approx(0.45), pytest.approx(0.10))
    relative = score("perturbot_relative_dose_fraction", **dosed())  # random 0.5, perfect 1
    assert relative.value == pytest.approx(0.1)
    assert (relative.chance, relative.chance_sd) == (pytest.approx(-0.1), pytest.approx(0.2))
    twice = dosed()
    assert (
        score("perturbot_dose_fraction", **{**twice, "coupling": 2 * twice["coupling"]}) == fraction
    )


def test_cells_without_a_dose_or_a_label_have_no_equal():
    unknown = score("perturbot_dose_fraction", **dosed(doses_y=[1.0, 10.0, np.nan, 10.0, 10.0]))
    assert unknown.value == pytest.approx(0.30)  # the 0.25 of label b is gone
    assert unknown.chance == pytest.approx(0.20 + 0.125)  # its only dose is at one of two cells
    unlabeled = score("perturbot_dose_fraction", **dosed(labels_x=["a", None, "b", "b"]))
    assert unlabeled.value == pytest.approx(0.20 + 0.25)


def test_chance_of_doses_is_exact():
    """Against all 6 x 2 ways in which the doses can lie among the target cells of two labels."""
    rng = np.random.default_rng(4)
    plan, labels = rng.random((5, 5)), np.array(["a", "a", "a", "b", "b"])
    plan /= plan.sum()
    doses_x, doses_y = rng.integers(0, 2, 5), np.array([0, 0, 1, 1, 2])
    each = [
        perturbot_dose_fraction(plan, doses_x, doses_y[[*one, *other]], labels, labels)[0]
        for one in permutations(range(3))
        for other in permutations((3, 4))
    ]
    order = np.array([3, 1, 4, 0, 2])
    found = score(
        "perturbot_dose_fraction",
        coupling=plan[:, order],
        partner=np.argsort(order),
        labels_x=labels,
        labels_y=labels[order],
        doses_x=doses_x,
        doses_y=doses_y[order],
    )
    assert found.value == pytest.approx(each[0])
    assert (found.chance, found.chance_sd) == (
        pytest.approx(np.mean(each)),
        pytest.approx(np.std(each)),
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"doses_y": None},
            r"needs doses_x and doses_y, the dose of each source and target cell: not given",
        ),
        ({"doses_x": [1, 10]}, r"one row a source cell; found .*'doses_x': 2"),
        ({"labels_y": ["c"] * 5}, r"no source and target cell have the same label"),
        ({"coupling": np.zeros((4, 5))}, r"no mass between cells of known pairs"),
        ({"coupling": np.full((4, 5), np.nan)}, r"a negative mass or NaN"),
        (
            {"labels_x": ["1", "10", "1", "10"], "labels_y": ["1", "10", "1", "10", "10"]},
            r"no label has cells of several doses\. Labels should be the compounds",
        ),
    ],
)
def test_doses_that_do_not_fit(changes, message):
    with pytest.raises(ValueError, match=message):
        score("perturbot_relative_dose_fraction", **dosed(**changes))
