"""Entropic couplings against those that a peer's released functions returned (numbers only)."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from scgroove.aligners import EntropicOT

SHARED = Path(os.environ.get("SCGROOVE_SHARED", Path(__file__).resolve().parents[2].parent / "shared"))
REFERENCE = SHARED / "data" / "peer_reference" / "perturbot_reference.npz"

pytestmark = pytest.mark.skipif(
    not REFERENCE.exists(),
    reason=f"no peer reference at {REFERENCE}; set SCGROOVE_SHARED to the folder that holds data/peer_reference",
)


@pytest.mark.parametrize("epsilon", ["0.1", "0.01", "0.005", "0.001"])
def test_unlabelled_eot_agrees_with_the_peer(epsilon: str) -> None:
    with np.load(REFERENCE) as stored:
        case = "A_shared_balanced"
        x, y = stored[f"{case}/X"], stored[f"{case}/Y"]
        theirs = stored[f"{case}/eot/eps{epsilon}"].astype(np.float64)
    coupling = EntropicOT(epsilon=float(epsilon), epsilon_scale="max", max_iter=100000).align(x, y)
    ours = coupling.to_sparse(dtype=np.float64).toarray()
    assert np.abs(ours - theirs).sum() / theirs.sum() < 5e-3


def test_labelled_eot_is_not_the_sliced_coupling_of_the_peer() -> None:
    with np.load(REFERENCE) as stored:
        case = "A_shared_balanced"
        x, y, lx, ly = (stored[f"{case}/{key}"] for key in ("X", "Y", "lx", "ly"))
        sliced = stored[f"{case}/leot/eps0.01"].astype(np.float64)
    coupling = EntropicOT(epsilon=0.01, epsilon_scale="max").align(x, y, lx, ly)
    np.testing.assert_allclose(coupling.row_mass(), 1 / len(x), rtol=1e-6)
    assert np.abs(sliced.sum(axis=1) / sliced.sum() - 1 / len(x)).sum() > 0.05
