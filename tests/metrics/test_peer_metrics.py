"""Definitions of other packages: hand-computed values, and scores by name."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scgroove.metrics import METRICS, scores

FILE = Path(__file__).parents[2] / "benchmarks" / "peer_metrics.py"


@pytest.fixture
def peers(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setattr(METRICS, "_items", dict(METRICS._items))
    return runpy.run_path(str(FILE))


def test_by_hand(peers: dict[str, Any]) -> None:
    plan, labels = np.array([[3.0, 1.0, 4.0], [1.0, 1.0, 0.0], [5.0, 0.0, 2.0]]), list("aab")
    assert peers["psa_trace"](plan, labels) == pytest.approx(((0.75 + 0.5) / 2 + 1) / 2)
    z = np.array([[0.0], [2.0], [9.0]])
    # projected to 1/2 and 1 within a: errors 1/4 and 1; b is itself
    assert peers["psa_latent_mse"](plan, z, labels) == pytest.approx((1.25 / 2 + 0) / 2)
    assert peers["perturbot_foscttm"](np.eye(3), z) == 0
    assert peers["psa_foscttm"](np.eye(3), z, list("aaa")) == 0
    # drawn: target 1 for both; it is nearer to true match 1 than to true match 0, else ties
    drawn = np.array([[0.0, 1.0], [0.0, 1.0]])
    assert peers["psa_foscttm"](drawn, z[:2], list("aa")) == 0.25
    found = peers["predictions"](np.array([[0.0, 1.0, 3.0], [2.0, 1.0, 0.0]]), np.eye(3)[:2])
    assert found["perturbot_mse"] == pytest.approx((1 + 1 + 9 + 4 + 0 + 0) / 6)
    assert np.isnan(found["perturbot_spearman_samples"])


def test_are_scores_by_name(peers: dict[str, Any]) -> None:
    rng = np.random.default_rng(0)
    labels, u = np.repeat(["a", "b"], 15), rng.normal(size=(30, 3))
    doses = (u[:, 0] > 0).astype(int)
    order = rng.permutation(30)
    close = np.exp(-((u[:, None] - u[order][None]) ** 2).sum(axis=-1) * 5)
    names = [name for name in METRICS if name.startswith(("psa", "perturbot"))]
    assert len(names) == 12
    found = scores(
        names,
        y=u[order],
        coupling=close * (labels[:, None] == labels[order]),
        partner=np.argsort(order),
        labels_x=labels,
        labels_y=labels[order],
        doses_x=doses,
        doses_y=doses[order],
        latent_x=u,
        latent_y=u[order],
        predicted=u + 0.1 * rng.normal(size=u.shape),
        measured=u[order],
    )
    for one in found:
        better = one.chance - one.value if one.better == "lower" else one.value - one.chance
        assert better > 2 * one.chance_sd > 0, one
