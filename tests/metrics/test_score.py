"""Metrics by name: what they need, what is left out, and that they are the metrics."""

from __future__ import annotations

import dataclasses
import tracemalloc
from itertools import permutations, product

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from scgroove import metrics
from scgroove.aligners import EntropicOT
from scgroove.errors import MissingTruthError, UnknownNameError
from scgroove.metrics import (
    SCORES,
    Score,
    _chance,
    _foscttm,
    _values,
    energy_distance,
    score,
    scores,
)
from scgroove.metrics._score import without_presets

LABELS = np.repeat(["a", "b", "c", "ctrl"], 15)
N = LABELS.size


@pytest.fixture(scope="module")
def screen() -> dict:
    rng = np.random.default_rng(0)
    u = rng.normal(size=(N, 4)) + 2 * rng.normal(size=(4, 4)).repeat(15, axis=0)
    x, y = u + 0.3 * rng.normal(size=u.shape), u + 0.3 * rng.normal(size=u.shape)
    order = rng.permutation(N)
    measured = np.tanh(u @ rng.normal(size=(4, 12)))[order]
    dose = np.digitize(u[:, 0], np.quantile(u[:, 0], [1 / 3, 2 / 3]))
    coupling = EntropicOT(epsilon=0.05).align(x, y[order], LABELS, LABELS[order])
    return {
        "x": x,
        "y": y[order],
        "coupling": coupling,
        "partner": np.argsort(order),
        "labels_x": LABELS,
        "labels_y": LABELS[order],
        "doses_x": dose,
        "doses_y": dose[order],
        "latent_x": u,
        "latent_y": u[order],
        "predicted": coupling.push(measured),
        "measured": measured,
        "control": "ctrl",
    }


def test_names_are_those_of_the_results() -> None:
    assert {
        "foscttm_within_label",
        "foscttm_global",
        "label_transfer",
        "coupling_foscttm_within_label",
        "coupling_foscttm_global",
        "barycentric_foscttm_within_label",
        "trace_within_label",
        "trace_over_chance",
        "latent_error",
        "label_mass",
    } <= set(SCORES.names())


def test_every_metric_says_how_to_read_it(screen: dict) -> None:
    found = {one.name: one for one in scores(SCORES.names(), **screen)}
    assert set(found) == set(SCORES.names())
    for name in SCORES:
        metric, one = SCORES.get(name), found[name]
        assert metric.name == name
        assert metric.kind in ("representation", "coupling", "imputation")
        assert (one.better, one.n) == (metric.better, one.n)
        assert one.perfect == metric.perfect or (np.isnan(one.perfect) and np.isnan(metric.perfect))
        assert np.isfinite([one.value, one.chance, one.chance_sd]).all()
        assert one.chance_sd >= 0
        assert one.n in (N, 3, 4)  # cells; labels with an effect; labels
        # a good match lies on the better side of chance
        assert (one.value < one.chance) == (one.better == "lower")


def test_values_are_those_of_the_functions(screen: dict) -> None:
    s = screen
    partner, labels = s["partner"], {"labels_x": s["labels_x"], "labels_y": s["labels_y"]}
    truth = s["measured"][partner]
    imputed = (s["predicted"], s["measured"], s["labels_x"], s["labels_y"])
    expected = {
        "foscttm_within_label": metrics.foscttm(s["x"], s["y"], partner, **labels),
        "foscttm_global": metrics.foscttm(s["x"], s["y"], partner),
        "recall_at_1_within_label": metrics.recall_at_k(s["x"], s["y"], partner, k=1, **labels),
        "recall_at_1_global": metrics.recall_at_k(s["x"], s["y"], partner, k=1),
        "recall_at_10_within_label": metrics.recall_at_k(s["x"], s["y"], partner, k=10, **labels),
        "recall_at_10_global": metrics.recall_at_k(s["x"], s["y"], partner, k=10),
        "mean_reciprocal_rank_within_label": metrics.mean_reciprocal_rank(
            s["x"], s["y"], partner, **labels
        ),
        "mean_reciprocal_rank_global": metrics.mean_reciprocal_rank(s["x"], s["y"], partner),
        "label_transfer": metrics.label_transfer(s["x"], s["y"], **labels),
        "label_transfer_balanced": metrics.label_transfer(s["x"], s["y"], **labels, balanced=True),
        "coupling_foscttm_within_label": metrics.foscttm_coupling(s["coupling"], partner, **labels),
        "coupling_foscttm_global": metrics.foscttm_coupling(s["coupling"], partner),
        "barycentric_foscttm_within_label": metrics.barycentric_foscttm(
            s["coupling"], s["y"], partner, **labels
        ),
        "barycentric_foscttm_global": metrics.barycentric_foscttm(s["coupling"], s["y"], partner),
        "trace_within_label": metrics.trace(s["coupling"], partner),
        "trace_global": metrics.trace(s["coupling"], partner),
        "trace_over_chance": metrics.trace_over_chance(s["coupling"], partner, **labels),
        "latent_error": metrics.latent_error(s["coupling"], s["latent_x"], s["latent_y"], **labels),
        "label_mass": metrics.label_mass(s["coupling"], **labels),
        "pearson_per_feature": metrics.pearson_per_feature(s["predicted"], truth).mean(),
        "pearson_per_cell": metrics.pearson_per_cell(s["predicted"], truth).mean(),
        "spearman_per_feature": metrics.spearman_per_feature(s["predicted"], truth).mean(),
        "spearman_per_cell": metrics.spearman_per_cell(s["predicted"], truth).mean(),
        "mse": metrics.mse(s["predicted"], truth),
        "r2": metrics.r2(s["predicted"], truth),
        "latent_retention_within_label": np.mean(
            [
                [one.value for one in metrics.retention(s[z], s[f"latent_{z}"], s[f"labels_{z}"])]
                for z in ("x", "y")
            ]
        ),
        "effect_pearson": metrics.effect_pearson(*imputed, "ctrl"),
        "effect_sign_agreement": metrics.effect_sign_agreement(*imputed, "ctrl"),
        "energy_distance": np.mean([*metrics.energy_distance_per_label(*imputed).values()]),
    }
    found = {one.name: one.value for one in scores(**screen)}
    assert found == pytest.approx(expected)


def test_of_cells_in_another_order_they_are_the_same(screen: dict) -> None:
    rng = np.random.default_rng(5)
    rows, columns = rng.permutation(N), rng.permutation(N)
    plan = screen["coupling"].to_dense()
    moved = {
        **{name: screen[name][rows] for name in ("x", "labels_x", "latent_x", "predicted")},
        **{
            name: screen[name][columns]
            for name in ("y", "labels_y", "doses_y", "latent_y", "measured")
        },
        "coupling": sp.csr_matrix(plan[np.ix_(rows, columns)]),
        "partner": np.argsort(columns)[screen["partner"][rows]],
        "control": "ctrl",
    }
    for one, other in zip(scores(**screen), scores(**moved), strict=True):
        assert other.value == pytest.approx(one.value, rel=1e-9, abs=1e-12)
        assert other.chance == pytest.approx(one.chance, rel=0.2, abs=0.05)
        assert other.chance_sd == pytest.approx(one.chance_sd, rel=1.0)


IMPUTED = {
    "pearson_per_feature": metrics.pearson_per_feature,
    "pearson_per_cell": metrics.pearson_per_cell,
    "spearman_per_feature": metrics.spearman_per_feature,
    "spearman_per_cell": metrics.spearman_per_cell,
    "mse": metrics.mse,
    "r2": metrics.r2,
}


@pytest.mark.parametrize("name", IMPUTED)
@pytest.mark.parametrize("chunk", [1, 2**20])
@pytest.mark.parametrize("form", ["dense", "sparse"])
def test_imputation_by_chance_is_over_all_permutations_within_labels(
    name: str, chunk: int, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(2)
    predicted, measured = (
        rng.poisson(2.0, (8, 5)).astype(float),
        rng.poisson(2.0, (7, 5)).astype(float),
    )
    predicted[:, 1] = 3.0  # counts as 0
    measured[:, 2] = 1.0  # is left out of the correlations
    labels = np.array(["a", "b", None, "a", "b", "a", None, "b"], dtype=object)
    partner = np.array([4, 0, 1, 2, -1, 3, 6, 5])
    kept = np.flatnonzero(partner >= 0)
    groups = [kept[[labels[i] == label for i in kept]] for label in ("a", "b", None)]
    truth, every = measured[partner[kept]], []
    for orders in product(*(permutations(group) for group in groups)):
        order = np.arange(8)
        for group, one in zip(groups, orders, strict=True):
            order[group] = one
        every.append(np.nanmean(IMPUTED[name](predicted[order][kept], truth)))
    monkeypatch.setattr(_values, "CHUNK_VALUES", chunk)
    as_form = sp.csr_matrix if form == "sparse" else np.asarray
    found = score(
        name,
        predicted=as_form(predicted),
        measured=as_form(measured),
        partner=partner,
        labels_x=labels,
        labels_y=["a"] * 7,
    )
    assert found.value == pytest.approx(np.nanmean(IMPUTED[name](predicted[kept], truth)))
    assert (found.chance, found.chance_sd) == pytest.approx((np.mean(every), np.std(every)))
    assert found.n == 7


def test_a_sample_of_the_cells_gives_nearly_the_same_spread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(3)
    predicted = rng.normal(size=(300, 6))
    given = {
        "predicted": predicted,
        "measured": predicted + rng.normal(size=(300, 6)),
        "partner": np.arange(300),
    }
    exact = scores(list(IMPUTED), **given)
    monkeypatch.setattr(_chance, "SAMPLED", (80, 80, 80))
    for one, other in zip(exact, scores(list(IMPUTED), **given), strict=True):
        assert (one.value, one.chance) == pytest.approx((other.value, other.chance))
        assert one.chance_sd == pytest.approx(other.chance_sd, rel=0.2)
        assert one.chance_sd != other.chance_sd


def test_effects_by_chance_are_over_all_permutations_of_the_labels(screen: dict) -> None:
    found = score("effect_pearson", **screen)
    args = (screen["labels_x"], screen["labels_y"], "ctrl")
    _, m = metrics.label_effects(screen["measured"], args[1], "ctrl")
    control = screen["measured"][args[1] == "ctrl"].mean(axis=0)
    p = [
        screen["predicted"][args[0] == label].mean(axis=0) - control
        for label in sorted({*args[0]} - {"ctrl"})
    ]
    every = [
        np.mean([np.corrcoef(p[o], m[i])[0, 1] for i, o in enumerate(order)])
        for order in permutations(range(3))
    ]
    assert (found.chance, found.chance_sd) == pytest.approx((np.mean(every), np.std(every)))


def test_energy_by_chance_is_over_all_permutations_of_the_labels(screen: dict) -> None:
    found = score("energy_distance", **screen)
    of_p = [screen["predicted"][screen["labels_x"] == label] for label in np.unique(LABELS)]
    of_m = [screen["measured"][screen["labels_y"] == label] for label in np.unique(LABELS)]
    every = [
        np.mean([energy_distance(of_p[o], of_m[i]) for i, o in enumerate(order)])
        for order in permutations(range(4))
    ]
    assert (found.chance, found.chance_sd) == pytest.approx((np.mean(every), np.std(every)))


def test_distances_are_computed_once(screen: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    real = _foscttm.partner_ranks
    monkeypatch.setattr(_foscttm, "partner_ranks", lambda *a: calls.append(1) or real(*a))
    scores(
        [
            "foscttm_global",
            "recall_at_1_global",
            "recall_at_10_global",
            "mean_reciprocal_rank_global",
        ],
        **screen,
    )
    assert len(calls) == 1


def test_what_is_missing_is_said_or_left_out_with_the_reason(screen: dict) -> None:
    names = ["foscttm_global", "latent_error", "label_transfer"]
    given = {name: screen[name] for name in ("x", "y", "partner", "coupling")}
    with pytest.raises(
        MissingTruthError,
        match=r"'latent_error' needs latent_x and latent_y, the true latent of each",
    ):
        scores(names, **given)
    found = scores(names, missing="skip", **given)
    assert [one.name for one in found] == ["foscttm_global"]
    assert list(found.skipped) == ["latent_error", "label_transfer"]
    assert "needs labels_x and labels_y" in found.skipped["label_transfer"]
    with pytest.raises(
        MissingTruthError,
        match=r"needs partner, the target row that truly matches.*numpy.arange\(n\)",
    ):
        score("trace_global", coupling=screen["coupling"])
    every = scores(**given)
    assert {SCORES.get(one.name).needs <= {"x", "y", "partner", "coupling"} for one in every} == {
        True
    }
    assert len(every) + len(every.skipped) == len(without_presets())


def test_a_truth_that_scores_no_cell_is_missing_too(screen: dict) -> None:
    given = {name: screen[name] for name in ("x", "y", "coupling")}
    alone = {"labels_x": list(range(N)), "labels_y": list(range(N))}
    found = scores(
        ["foscttm_within_label"], missing="skip", partner=screen["partner"], **alone, **given
    )
    assert "no cell can be scored" in found.skipped["foscttm_within_label"]
    found = scores(
        ["foscttm_global", "trace_global"], missing="skip", partner=np.full(N, -1), **given
    )
    assert set(found.skipped) == {"foscttm_global", "trace_global"}
    assert "no true match is known" in found.skipped["trace_global"]
    constant = {**screen, "measured": np.ones((N, 12))}
    with pytest.raises(
        MissingTruthError,
        match=r"the measured values are constant, so that nothing can be told apart",
    ):
        score("pearson_per_feature", **constant)
    with pytest.raises(MissingTruthError, match=r"every feature of the measured cells is constant"):
        score("r2", **constant)
    incomplete = {**screen, "predicted": np.full((N, 12), np.nan)}
    with pytest.raises(MissingTruthError, match=r"none with a known true match has all its values"):
        score("r2", **incomplete)


def test_latents_that_are_all_equal_cannot_be_scored(screen: dict) -> None:
    with pytest.raises(
        MissingTruthError,
        match=r"the uniform coupling has no error that another could be compared with",
    ):
        score(
            "latent_error", **{**screen, "latent_x": np.ones((N, 2)), "latent_y": np.ones((N, 2))}
        )


def test_memory_is_linear_in_the_cells() -> None:
    n = 3500
    z = np.random.default_rng(0).normal(size=(n, 2))
    labels = np.arange(n) % 4
    coupling = EntropicOT(epsilon=1.0).align(z, z, labels, labels)
    names = [
        "foscttm_global",
        "coupling_foscttm_global",
        "barycentric_foscttm_within_label",
        "label_mass",
    ]
    tracemalloc.start()
    scores(
        names, x=z, y=z, coupling=coupling, partner=np.arange(n), labels_x=labels, labels_y=labels
    )
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 49e6  # half of one n x n matrix


def test_cells_with_missing_values_are_left_out_of_imputation(screen: dict) -> None:
    predicted = screen["predicted"].copy()
    predicted[:5] = np.nan
    found = score("mse", **{**screen, "predicted": predicted})
    assert found.n == N - 5
    assert found.value == pytest.approx(
        metrics.mse(predicted[5:], screen["measured"][screen["partner"][5:]])
    )


def test_results_are_plain_and_a_table(screen: dict) -> None:
    found = scores(["trace_over_chance", "foscttm_global"], **screen)
    assert isinstance(found, list)
    assert dataclasses.is_dataclass(Score)
    with pytest.raises(dataclasses.FrozenInstanceError):
        found[0].value = 0.0
    table = found.to_frame()
    assert table.columns.tolist() == [
        "name",
        "value",
        "chance",
        "chance_sd",
        "n",
        "better",
        "perfect",
    ]
    assert table["name"].tolist() == ["trace_over_chance", "foscttm_global"]
    pd.testing.assert_frame_equal(
        scores(["foscttm_global"], **screen).to_frame(), table.iloc[[1]].reset_index(drop=True)
    )
    assert scores([], **screen).to_frame().columns.tolist() == table.columns.tolist()


@pytest.mark.parametrize(
    ("arguments", "change", "error", "message"),
    [
        (
            ["foscttm_globl"],
            {},
            UnknownNameError,
            r"unknown metric 'foscttm_globl'. Did you mean 'foscttm_global'\?",
        ),
        (
            ["foscttm_global"],
            {"partners": 1},
            TypeError,
            r"scores\(\) has no argument 'partners'. What can be given: x, y",
        ),
        (
            ["foscttm_global"],
            {"missing": "no"},
            ValueError,
            r"missing must be 'raise' or 'skip'; found 'no'",
        ),
        (
            ["foscttm_global"],
            {"x": np.ones((3, 4))},
            ValueError,
            r"one row a source cell; found \{'x': 3, 'latent_x': 60",
        ),
        (
            ["foscttm_global"],
            {"labels_y": ["a"]},
            ValueError,
            r"one row a target cell; found .*'labels_y': 1",
        ),
        (
            ["foscttm_global"],
            {"partner": [0, 1]},
            ValueError,
            r"one row a source cell; found .*'partner': 2",
        ),
        (
            ["r2"],
            {"measured": np.ones((N, 3))},
            ValueError,
            r"must have the same features: found 12 and 3",
        ),
        (
            ["effect_pearson"],
            {"control": "ctr"},
            ValueError,
            r"control='ctr': no cell has this label. Did you mean",
        ),
    ],
)
def test_what_does_not_fit_is_refused(
    screen: dict, arguments, change: dict, error, message: str
) -> None:
    with pytest.raises(error, match=message):
        scores(arguments, **{**screen, **change})


def test_a_metric_of_ones_own_takes_part(monkeypatch):
    monkeypatch.setattr(SCORES, "_items", dict(SCORES._items))

    @metrics.register(
        "spread", kind="representation", better="higher", perfect=np.nan, needs=("x",)
    )
    def spread(material):
        return metrics.Found(float(np.std(material.x)), metrics.Chance(0.0, 1.0), len(material.x))

    found = score("spread", x=np.array([[0.0], [2.0]]))
    assert (found.value, found.n, found.better) == (1.0, 2, "higher")
    with pytest.raises(MissingTruthError, match="representation of the source cells"):
        score("spread", y=np.zeros((2, 1)))
    with pytest.raises(ValueError, match="already taken"):
        metrics.register("spread", kind="coupling", better="lower", perfect=0.0, needs=())(
            lambda material: 1
        )


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ({"kind": "couplings"}, "Did you mean 'coupling'"),
        ({"better": "high"}, "Did you mean 'higher'"),
        ({"needs": ("partners",)}, "Did you mean 'partner'"),
    ],
)
def test_a_metric_registered_wrongly_is_refused(wrong, expected):
    right = {"kind": "coupling", "better": "lower", "perfect": 0.0, "needs": ("coupling",)}
    with pytest.raises(ValueError, match=expected):
        metrics.register("mine", **{**right, **wrong})
    assert "mine" not in SCORES
