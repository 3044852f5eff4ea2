"""tl.epsilon_scan: the table, where it is stored, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import mudata
import numpy as np
import pandas as pd
import pytest

import scgroove as sg

Screen = Callable[..., mudata.MuData]


def test_writes_the_table_that_it_returns(screen: Screen, tmp_path: Path) -> None:
    mdata = screen()
    table = sg.tl.epsilon_scan(mdata, "rna", "protein", epsilons=(0.01, 0.5), cost="cosine")
    assert table["epsilon"].tolist() == [0.5, 0.01]
    assert table["method"].tolist() == ["eot", "eot"]
    assert table["partners"].is_monotonic_decreasing
    pd.testing.assert_frame_equal(mdata.uns["epsilon_scan_rna_protein"], table)
    mdata.write(tmp_path / "scan.h5mu")
    back = pd.DataFrame(mudata.read_h5mu(tmp_path / "scan.h5mu").uns["epsilon_scan_rna_protein"])
    np.testing.assert_allclose(back["entropy"], table["entropy"])


def test_rows_are_what_align_gives(screen: Screen) -> None:
    mdata = screen()
    for method, rep in (("uot", "X_groove"), ("egw", {"rna": "X", "protein": "X"})):
        scan = sg.tl.epsilon_scan(
            mdata, "rna", "protein", method=method, use_rep=rep, epsilons=(0.1,), key_added="scan"
        ).iloc[0]
        sg.tl.align(mdata, "rna", "protein", method=method, use_rep=rep, epsilon=0.1)
        evidence = mdata.uns["coupling_rna_protein"]
        assert scan["objective"] == pytest.approx(evidence["objective"])
        assert scan["transport_cost"] == pytest.approx(evidence["transport_cost"])
        assert scan["converged"] == evidence["converged"]
    assert "scan" in mdata.uns


def test_coot_may_be_scanned_down_to_no_entropy(screen: Screen) -> None:
    mdata = screen()
    rep = {"rna": "X", "protein": "X"}
    scan = sg.tl.epsilon_scan(
        mdata, "rna", "protein", method="coot", use_rep=rep, epsilons=(0.1, 0)
    )
    sg.tl.align(mdata, "rna", "protein", method="coot", use_rep=rep, epsilon=0)
    assert scan["epsilon"].tolist() == [0.1, 0]
    assert scan["objective"].iloc[1] == pytest.approx(
        mdata.uns["coupling_rna_protein"]["objective"]
    )


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"method": "emd"}, TypeError, r"'emd' has no epsilon to scan\. Those that have: 'eot'"),
        ({"epsilons": ()}, ValueError, r"epsilons is empty"),
        ({"epsilons": (0.1, 0)}, ValueError, r"epsilon must be positive.* use method='emd'"),
        ({"epsilons": "auto"}, ValueError, r"epsilons must be "),
        ({"epsilons": (0.1, -1)}, ValueError, r"epsilon must be positive"),
        ({"tolerance": 1}, TypeError, r"method 'eot' has no option 'tolerance'"),
        ({"label_key": "no"}, KeyError, r"Label column 'no' not found"),
    ],
)
def test_refuses_and_leaves_everything_as_it_was(
    screen: Screen,
    state: Callable[[mudata.MuData], dict[str, Any]],
    options: dict[str, Any],
    kind: type[Exception],
    message: str,
) -> None:
    mdata = screen()
    before = state(mdata)
    with pytest.raises(kind, match=message):
        sg.tl.epsilon_scan(mdata, "rna", "protein", **options)
    np.testing.assert_equal(state(mdata), before)
