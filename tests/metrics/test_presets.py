"""The peers' definitions: against plain loops written from their description, and against their own numbers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from scgroove.aligners import EntropicOT
from scgroove.errors import MissingTruthError
from scgroove.metrics import (
    PRESETS,
    barycentric_foscttm,
    label_mass,
    perturbot_dose_fraction,
    perturbot_foscttm,
    perturbot_prediction,
    psa_foscttm,
    psa_latent_mse,
    psa_probe_r2,
    psa_trace,
    r2,
    score,
    trace,
)

CLOSE = {"abs": 1e-6, "rel": 1e-6}


def _problem(seed: int, *, empty: bool = False) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return a coupling, coordinates of the targets with ties, and labels of the pairs."""
    rng = np.random.default_rng(seed)
    n = rng.integers(3, 12)
    plan = rng.random((n, n)) * (rng.random((n, n)) < 0.7) + 1e-3 * np.eye(n)
    if empty:
        plan[rng.integers(n)] = 0
    return plan, rng.integers(0, 4, (n, 2)).astype(float), rng.choice(["a", "b"], n)


# ----------------------------------------------------------------------------------------------------- Perturb-OT


def _loop_foscttm(query: np.ndarray, y: np.ndarray) -> float:
    shares = []
    for i in range(len(y)):
        distance = [float(np.sqrt(((query[i] - other) ** 2).sum())) for other in y]
        ordered = sorted(distance)
        shares.append(
            np.mean([place for place, d in enumerate(ordered) if d == distance[i]]) / (len(y) - 1)
        )
    return float(np.mean(shares))


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10**6), empty=st.booleans())
def test_perturbot_foscttm(seed: int, empty: bool) -> None:
    plan, y, _ = _problem(seed, empty=empty)
    projected = np.zeros_like(y)
    for i, row in enumerate(plan):
        for j, mass in enumerate(row):
            projected[i] += mass / row.sum() * y[j] if row.sum() > 0 else 0.0
    # a projection on the same place up to rounding would be a tie here and none there
    y = y + 1e-3 * np.random.default_rng(seed).normal(size=y.shape)
    projected = np.array([row @ y / row.sum() if row.sum() > 0 else np.zeros(2) for row in plan])
    expected = _loop_foscttm(projected, y)
    for form in (plan, sp.csr_matrix(plan)):
        assert perturbot_foscttm(form, y) == pytest.approx(expected, **CLOSE)
    x = np.round(projected)
    assert perturbot_foscttm(None, np.round(y), x=x, use_barycenter=False) == pytest.approx(
        _loop_foscttm(x, np.round(y)), **CLOSE
    )
    if not empty:
        assert perturbot_foscttm(plan, y) == pytest.approx(barycentric_foscttm(plan, y))


def test_pooled_foscttm_rewards_separated_labels_alone() -> None:
    labels = np.repeat(np.arange(5), 12)
    y = 100.0 * labels[:, None] + np.random.default_rng(0).normal(size=(60, 1))
    uniform = (labels[:, None] == labels).astype(float)
    assert perturbot_foscttm(uniform, y) < 0.11
    assert barycentric_foscttm(uniform, y, labels_x=labels, labels_y=labels) == pytest.approx(
        0.5, abs=0.01
    )


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_perturbot_dose_fraction(seed: int) -> None:
    plan, _, labels = _problem(seed)
    rng = np.random.default_rng(seed)
    n = len(plan)
    dose_x, dose_y = rng.integers(0, 3, n), rng.integers(0, 3, n)
    fraction, uniform, pairs, perfect = 0.0, 0.0, 0, 0.0
    for i in range(n):
        perfect += (dose_x[i] == dose_y[i]) / n
        for j in range(n):
            if labels[i] == labels[j]:
                pairs += 1
                uniform += float(dose_x[i] == dose_y[j])
                fraction += plan[i, j] * (dose_x[i] == dose_y[j])
    found = perturbot_dose_fraction(plan, dose_x, dose_y, labels, labels)
    assert found[0] == pytest.approx(fraction, **CLOSE)
    chance = uniform / pairs
    if abs(perfect - chance) > 1e-9:
        assert found[1] == pytest.approx((fraction - chance) / (perfect - chance), **CLOSE)
    assert perturbot_dose_fraction(
        sp.csr_matrix(plan), dose_x, dose_y, labels, labels
    ) == pytest.approx(found, nan_ok=True)


def test_dose_fraction_takes_the_mass_for_one_as_the_peer_does() -> None:
    """Four labels of 15 cells at three doses: an identity of mass 60 has 60 and, relative, 89.5."""
    labels, doses = np.repeat(np.arange(4), 15), np.tile(np.arange(3), 20)
    assert perturbot_dose_fraction(np.eye(60), doses, doses, labels, labels) == pytest.approx(
        (60, 89.5)
    )
    assert perturbot_dose_fraction(np.eye(60) / 60, doses, doses, labels, labels) == pytest.approx(
        (1, 1)
    )
    same = (labels[:, None] == labels) / 900
    assert perturbot_dose_fraction(same, doses, doses, labels, labels) == pytest.approx((1 / 3, 0))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), divided=st.booleans())
def test_perturbot_prediction(seed: int, divided: bool) -> None:
    rng = np.random.default_rng(seed)
    n, f = rng.integers(3, 8, 2)
    p, m = rng.normal(3, 1, size=(n, f)), rng.normal(3, 1, size=(n, f))
    p[:, 0] = 1.0  # a constant feature
    scale = rng.uniform(0.5, 2, f) if divided else np.ones(f)

    def pearson(a: np.ndarray, b: np.ndarray) -> float:
        da, db = [v - sum(a) / len(a) for v in a], [v - sum(b) / len(b) for v in b]
        above = sum(s * t for s, t in zip(da, db, strict=True))
        return above / (np.sqrt(sum(s * s for s in da) * sum(t * t for t in db)) + 1e-8)

    found = perturbot_prediction(p, m, control_mean=scale if divided else None)
    pairs = [(a / scale, b / scale) for a, b in zip(p, m, strict=True)]
    features = list(zip(p.T, m.T, strict=True))
    assert found["Pearson_corr"] == pytest.approx(
        np.mean([pearson(a, b) for a, b in pairs]), **CLOSE
    )
    assert found["Spearman_corr"] == pytest.approx(
        np.mean([spearmanr(a, b)[0] for a, b in pairs]), **CLOSE
    )
    assert found["Pearson_samples"] == pytest.approx(
        np.mean([pearson(a, b) for a, b in features]), **CLOSE
    )
    assert np.isnan(found["Spearman_samples"])
    assert found["MSE"] == pytest.approx(
        np.mean([np.mean((a - b) ** 2) for a, b in zip(p, m, strict=True)]), **CLOSE
    )
    found = perturbot_prediction(p[:, 1:], sp.csr_matrix(m[:, 1:]))
    assert found["Spearman_samples"] == pytest.approx(
        np.mean([spearmanr(a, b)[0] for a, b in features[1:]]), **CLOSE
    )


# -------------------------------------------------------------------------------------------------------------- PSA


def _blocks(plan: np.ndarray, labels: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the cells of each label, and its coupling with rows that sum to 1."""
    out = []
    for label in sorted(set(labels)):
        cells = np.flatnonzero(labels == label)
        block = plan[np.ix_(cells, cells)]
        if (block.sum(axis=1) > 0).all():
            out.append((cells, block / block.sum(axis=1, keepdims=True)))
    return out


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10**6), empty=st.booleans())
def test_psa_trace_and_latent_mse(seed: int, empty: bool) -> None:
    plan, y, labels = _problem(seed, empty=empty)
    z = np.random.default_rng(seed).normal(size=(len(y), 3))
    traces, errors = [], []
    for cells, block in _blocks(plan, labels):
        traces.append(sum(block[i, i] for i in range(len(cells))) / len(cells))
        squares = [
            (z[cells[i]] - sum(block[i, j] * z[cells[j]] for j in range(len(cells)))) ** 2
            for i in range(len(cells))
        ]
        errors.append(np.mean(squares))
    if not traces:
        with pytest.raises(
            MissingTruthError, match="no label can be scored: in each, a cell has no mass"
        ):
            psa_trace(plan, labels)
        return
    for form in (plan, sp.csr_matrix(plan)):
        assert psa_trace(form, labels) == pytest.approx(np.mean(traces), **CLOSE)
        assert psa_latent_mse(form, z, labels) == pytest.approx(np.mean(errors), **CLOSE)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10**6), draw=st.integers(0, 5))
def test_psa_foscttm(seed: int, draw: int) -> None:
    plan, y, labels = _problem(seed)
    labels[:2] = "a"
    uniform = np.random.default_rng(draw).random(len(y))

    def place(cell: np.ndarray, pool: np.ndarray, match: int) -> int:
        distance = [float(((cell - other) ** 2).sum()) for other in pool]
        return sorted(distance).index(distance[match])

    found = []
    for cells, block in _blocks(plan, labels):
        if len(cells) < 2:
            continue
        matched = []
        for i, cell in enumerate(cells):
            total, j = block[i, 0], 0
            while total <= uniform[cell]:
                j += 1
                total += block[i, j]
            matched.append(y[cells[j]])
        truth, matched = y[cells], np.array(matched)
        both = [
            (place(truth[i], matched, i) + place(matched[i], truth, i)) / 2 / (len(cells) - 1)
            for i in range(len(cells))
        ]
        found.append(np.mean(both))
    for form in (plan, sp.csr_matrix(plan)):
        assert psa_foscttm(form, y, labels, seed=draw) == pytest.approx(np.mean(found), **CLOSE)


def test_psa_probe_r2_is_pooled_r2() -> None:
    rng = np.random.default_rng(0)
    p, m = rng.normal(size=(30, 4)), rng.normal(size=(30, 4)) * [1, 2, 3, 4]
    expected = 1 - ((p - m) ** 2).mean() / ((m - m.mean(axis=0)) ** 2).mean()
    assert psa_probe_r2(p, m) == pytest.approx(expected, **CLOSE)
    assert psa_probe_r2(p, m) == r2(p, m)


def test_labels_of_psa_weigh_the_same_and_couplings_may_be_in_blocks() -> None:
    rng = np.random.default_rng(1)
    labels = np.repeat(["a", "b"], [5, 25])
    x = rng.normal(size=(30, 3))
    coupling = EntropicOT(epsilon=0.1).align(x, x + 0.5 * rng.normal(size=x.shape), labels, labels)
    plan = coupling.to_dense()
    of_label = [trace(plan[np.ix_(labels == one, labels == one)]) for one in ("a", "b")]
    assert psa_trace(coupling, labels) == pytest.approx(np.mean(of_label))
    for preset in (
        lambda c: psa_foscttm(c, x, labels),
        lambda c: psa_latent_mse(c, x, labels),
        lambda c: perturbot_foscttm(c, x),
    ):
        assert preset(coupling) == pytest.approx(preset(plan))


# --------------------------------------------------------------------------------------------- numbers of the peer


def test_numbers_that_the_peer_returned(shared: Path) -> None:
    """The peer is in single precision: 1e-6 of a probability; a FOSCTTM may differ by the order of two near cells."""
    folder = shared / "peer_reference"
    if not folder.is_dir():
        pytest.skip(f"no couplings of the peer in {folder}")
    recorded = json.loads((folder / "perturbot_reference.json").read_text())
    seen = 0
    with np.load(folder / "perturbot_reference.npz") as stored:
        for key, their in recorded.items():
            case = key.split("/")[0]
            y, labels = stored[f"{case}/Y"], stored[f"{case}/lx"]
            if key not in stored.files or "peer_FOSCTTM_bary_pooled" not in their:
                continue
            plan = stored[key].astype(np.float64)
            assert plan.sum() == pytest.approx(their["mass"], abs=1e-5)
            assert trace(plan) == pytest.approx(their["trace_rownorm_mean_diag"], abs=1e-6)
            assert label_mass(plan, labels, labels) == pytest.approx(
                their["frac_mass_within_label"], abs=1e-6
            )
            one_swap = 1 / (len(y) * (len(y) - 1))
            assert perturbot_foscttm(plan, y) == pytest.approx(
                their["peer_FOSCTTM_bary_pooled"], abs=one_swap + 1e-9
            )
            cut = plan * (labels[:, None] == labels)
            if (cut.sum(axis=1) == 0).any():
                continue  # PSA leaves out labels with such a cell; the record counts it as 0
            within = barycentric_foscttm(cut, y, labels_x=labels, labels_y=labels)
            swaps = 1 / (15 * 14 * 4)
            assert within == pytest.approx(their["within_label_FOSCTTM_mean"], abs=swaps + 1e-9)
            assert psa_trace(plan, labels) == pytest.approx(
                their["within_label_trace_mean"], abs=1e-6
            )
            seen += 1
    assert seen > 30


# ------------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: perturbot_foscttm(np.ones((2, 3)), np.ones((3, 1))),
            r"needs a square coupling; found \(2, 3\)",
        ),
        (lambda: perturbot_foscttm(None, np.ones((3, 1))), r"pass plan"),
        (
            lambda: perturbot_foscttm(np.eye(3), np.ones((2, 1))),
            r"y must have one entry a cell: expected 3, found 2",
        ),
        (lambda: perturbot_foscttm(None, np.ones((3, 1)), use_barycenter=False), r"pass x="),
        (
            lambda: perturbot_foscttm(
                None, np.ones((3, 1)), x=np.ones((2, 1)), use_barycenter=False
            ),
            r"row i of x is the true match of row i of y: found 2 and 3 rows",
        ),
        (
            lambda: perturbot_dose_fraction(np.eye(2), [1], [1, 1], ["a", "a"], ["a", "a"]),
            r"doses_x must have one entry a cell: expected 2, found 1",
        ),
        (
            lambda: perturbot_prediction(np.eye(2), np.eye(2), control_mean=[1.0]),
            r"control_mean must have shape \(2,\); found \(1,\)",
        ),
        (
            lambda: psa_trace(np.eye(2), ["a"]),
            r"labels must have one entry a cell: expected 2, found 1",
        ),
        (lambda: psa_foscttm(np.eye(2), np.eye(2), ["a", "b"]), r"no label can be scored"),
        (
            lambda: psa_latent_mse(np.eye(2), np.eye(3), ["a", "a"]),
            r"latent must have one entry a cell",
        ),
        (lambda: psa_trace(-np.eye(2), ["a", "a"]), r"finite masses of at least 0"),
        (
            lambda: PRESETS.get("psa_trase"),
            r"unknown preset 'psa_trase'. Did you mean 'psa_trace'\?",
        ),
    ],
)
def test_what_does_not_fit_is_refused(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_coordinates_that_are_no_numbers_are_refused():
    same = ["a"] * 3
    for call in (psa_foscttm, psa_latent_mse):
        with pytest.raises(ValueError, match=r"must be finite and have one row a cell, \(n, d\)"):
            call(np.eye(3), [[0.0], [np.nan], [1.0]], same)
        with pytest.raises(ValueError, match=r"found shape \(3,\)"):
            call(np.eye(3), [0.0, 1.0, 2.0], same)
    with pytest.raises(ValueError, match="no source and target cell have the same label"):
        perturbot_dose_fraction(np.eye(2), [0, 0], [0, 0], ["a", "a"], ["b", "b"])


@pytest.mark.parametrize("bad", [-0.5, np.nan, np.inf])
def test_couplings_with_impossible_masses_are_refused(bad):
    plan = np.full((3, 3), 1 / 9)
    plan[0, 1] = bad
    y = np.arange(3.0)[:, None]
    for name in ("barycentric_foscttm_global", "latent_error"):
        with pytest.raises(ValueError, match="finite masses of at least 0"):
            score(name, coupling=plan, y=y, partner=np.arange(3), latent_x=y, latent_y=y)
    with pytest.raises(ValueError, match="finite masses of at least 0"):
        perturbot_foscttm(plan, y)
