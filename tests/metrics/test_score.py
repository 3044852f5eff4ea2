"""Metrics by name: what they need, what is left out, and that they are the metrics."""

from __future__ import annotations

import dataclasses
import tracemalloc
from itertools import product

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from sklearn.metrics import mean_squared_error, r2_score

from scgroove import metrics
from scgroove.aligners import EntropicOT
from scgroove.errors import MissingTruthError, UnknownNameError
from scgroove.metrics import METRICS, Score, _foscttm, score, scores

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
    } <= set(METRICS.names())


def test_every_metric_says_how_to_read_it(screen: dict) -> None:
    found = {one.name: one for one in scores(METRICS.names(), **screen)}
    assert set(found) == set(METRICS.names())
    for name in METRICS:
        metric, one = METRICS.get(name), found[name]
        assert metric.name == name
        assert metric.title
        assert metric.meaning.endswith(".")
        assert metric.kind in ("representation", "coupling", "imputation")
        assert (one.better, one.n) == (metric.better, one.n)
        assert one.perfect == metric.perfect or (np.isnan(one.perfect) and np.isnan(metric.perfect))
        assert np.isfinite([one.value, one.chance, one.chance_sd]).all()
        assert one.chance_sd >= 0
        assert one.n in (N, 3, 4)  # cells; labels with an effect; labels
        # a good match lies on the better side of chance
        assert (one.value < one.chance) == (one.better == "lower")


def test_array_functions_are_the_scores(screen: dict) -> None:
    s = screen
    labels = {"labels_x": s["labels_x"], "labels_y": s["labels_y"]}
    truth = s["measured"][s["partner"]]
    retained = [metrics.retention(s[z], s[f"latent_{z}"], s[f"labels_{z}"]) for z in ("x", "y")]
    expected = {
        "foscttm_within_label": metrics.foscttm(s["x"], s["y"], s["partner"], **labels),
        "foscttm_global": metrics.foscttm(s["x"], s["y"], s["partner"]),
        "label_transfer": metrics.label_transfer(s["x"], s["y"], **labels),
        "label_transfer_balanced": metrics.label_transfer(s["x"], s["y"], **labels, balanced=True),
        "latent_retention_within_label": np.mean([[one.value for one in z] for z in retained]),
        "mse": mean_squared_error(truth, s["predicted"]),
        "r2": r2_score(truth, s["predicted"], multioutput="variance_weighted"),
    }
    for method, per in product(("pearson", "spearman"), ("feature", "cell")):
        each = metrics.correlation(s["predicted"], truth, method=method, per=per)
        expected[f"{method}_per_{per}"] = each.mean()
    found = {one.name: one.value for one in scores(list(expected), **screen)}
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


def test_a_missing_truth_is_an_error_or_left_out_with_the_reason(screen: dict) -> None:
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
    assert {METRICS.get(one.name).needs <= {"x", "y", "partner", "coupling"} for one in every} == {
        True
    }
    assert len(every) + len(every.skipped) == len(METRICS)


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
def test_bad_input_is_refused(screen: dict, arguments, change: dict, error, message: str) -> None:
    with pytest.raises(error, match=message):
        scores(arguments, **{**screen, **change})


def test_a_metric_of_ones_own_takes_part(monkeypatch):
    monkeypatch.setattr(METRICS, "_items", dict(METRICS._items))

    @metrics.register(
        "spread", kind="representation", better="higher", perfect=np.nan, needs=("x",)
    )
    def spread(inputs):
        """Standard deviation of the source cells."""
        return Score(float(np.std(inputs.x)), 0.0, 1.0, len(inputs.x))

    found = score("spread", x=np.array([[0.0], [2.0]]))
    assert (found.value, found.n, found.better) == (1.0, 2, "higher")
    assert METRICS.get("spread").meaning == "Standard deviation of the source cells."
    with pytest.raises(MissingTruthError, match="representation of the source cells"):
        score("spread", y=np.zeros((2, 1)))
    with pytest.raises(ValueError, match="already taken"):
        metrics.register("spread", kind="coupling", better="lower", perfect=0.0, needs=())(
            lambda inputs: 1
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
    assert "mine" not in METRICS
