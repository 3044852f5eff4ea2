"""tl.perturbation_effects: differences by hand, intervals that hold as often as they say, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata
import mudata
import numpy as np
import pandas as pd
import pytest

import scgroove as sg

State = Callable[[mudata.MuData], dict[str, Any]]


def screen(measured: dict[str, Any], imputed: dict[str, Any]) -> mudata.MuData:
    """Return a screen with the values of each label in the target, and imputed for the source: lists of cells."""

    def part(values: dict[str, Any], name: str, names: list[str]) -> anndata.AnnData:
        x = np.concatenate(
            [np.asarray(v, dtype=np.float32).reshape(-1, 2) for v in values.values()]
        )
        labels = [
            label for label, v in values.items() for _ in range(len(np.asarray(v).reshape(-1, 2)))
        ]
        adata = anndata.AnnData(
            x, obs=pd.DataFrame({"label": labels}, index=[f"{name}{i}" for i in range(len(x))])
        )
        adata.var_names = names
        return adata

    rna, protein = part(imputed, "r", ["g0", "g1"]), part(measured, "p", ["p0", "p1"])
    mdata = mudata.MuData({"rna": rna, "protein": protein})
    model = type("Model", (), {"translate": lambda self, *a, **k: rna.X})()
    sg.tl.impute(mdata, "rna", "protein", model=model, uncertainty=False)
    return mdata


def test_effects_by_hand() -> None:
    mdata = screen(
        {"control": [[1, 1], [3, 1]], "a": [[5, 0], [7, 0]]},
        {"control": [[10, 10]] * 2, "a": [[11, 10]], "b": [[9, 14]]},
    )
    with pytest.warns(UserWarning, match=r"no interval for .* fewer than 10 cells: a \(2\)"):
        table = sg.tl.perturbation_effects(mdata, "rna", "protein", "control")
    assert table["label"].tolist() == ["a", "a", "b", "b"]
    assert table["feature"].tolist() == ["p0", "p1"] * 2
    np.testing.assert_allclose(table["measured"], [4, -1, np.nan, np.nan])
    np.testing.assert_allclose(table["imputed"], [9, 9, 7, 13])  # to the measured control, (2, 1)
    assert table["n_measured"].tolist() == [2, 2, 0, 0]
    assert table["n_imputed"].tolist() == [1, 1, 1, 1]
    assert table[["measured_low", "imputed_high"]].isna().all(axis=None)
    pd.testing.assert_frame_equal(mdata.uns["effects_rna_protein"], table)
    own = sg.tl.perturbation_effects(mdata, "rna", "protein", "control", controls="own")
    np.testing.assert_allclose(own["imputed"], [1, 0, -1, 4])
    pd.testing.assert_series_equal(own["measured"], table["measured"])


def test_only_the_target_needs_control_cells() -> None:
    mdata = screen({"control": [[1, 1]], "a": [[5, 0]]}, {"a": [[2, 4]], "b": [[9, 14]]})
    table = sg.tl.perturbation_effects(mdata, "rna", "protein", "control")
    np.testing.assert_allclose(table["imputed"], [1, 3, 8, 13])


def test_intervals_hold_the_true_effect_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    values = {f"g{i}": rng.normal(i, 1.0, size=(40, 2)) for i in range(60)}
    mdata = screen(values, values)
    table = sg.tl.perturbation_effects(mdata, "rna", "protein", "g0", level=0.9, n_boot=400)
    own = values["g0"].mean(axis=0)
    # given the control cells, the true effect is i minus their mean; the interval also holds their spread
    truth = table["label"].astype(str).str.removeprefix("g").astype(float).to_numpy() - np.tile(
        own, 59
    )
    held = (table["measured_low"] <= truth) & (truth <= table["measured_high"])
    assert 0.9 < held.mean() <= 1.0
    width = (table["measured_high"] - table["measured_low"]).mean()
    assert width == pytest.approx(2 * 1.645 * np.sqrt(2 / 40), rel=0.1)


def test_features_order_seeds_and_round_trip(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    values = {name: rng.normal(size=(20, 2)) for name in ("control", "a")}
    mdata = screen(values, values)
    both = sg.tl.perturbation_effects(mdata, "rna", "protein", "control", seed=1)
    again = sg.tl.perturbation_effects(mdata, "rna", "protein", "control", seed=1)
    pd.testing.assert_frame_equal(both, again)
    one = sg.tl.perturbation_effects(mdata, "rna", "protein", "control", features=["p1"], seed=1)
    assert one["measured"].iloc[0] == both["measured"].iloc[1]
    mdata.write(tmp_path / "x.h5mu")
    read = mudata.read_h5mu(tmp_path / "x.h5mu").uns["effects_rna_protein"]
    assert read["label"].tolist() == ["a"]
    np.testing.assert_allclose(read["imputed"], one["imputed"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"control": None},
            r"no control is named\. These look like one: 'control'\. Call .*control='control'",
        ),
        ({"control": "ctrl"}, "control='ctrl': no cell has this label"),
        ({"control": "b"}, "effects in 'protein': control='b': no cell has this label"),
        ({"features": ["q0"]}, r"features \['q0'\] are not among the 2 features"),
        ({"level": 1.0}, "level must be "),
        ({"n_boot": 10}, "n_boot must be "),
        ({"controls": "both"}, r"controls must be "),
        ({"key": "other"}, "no imputed values 'other'"),
    ],
)
def test_refused_calls_change_nothing(state: State, options: dict[str, Any], message: str) -> None:
    mdata = screen({"control": [[1, 1]], "a": [[5, 0]]}, {"control": [[1, 1]], "b": [[9, 14]]})
    before = state(mdata)
    with pytest.raises((ValueError, KeyError), match=message):
        sg.tl.perturbation_effects(mdata, "rna", "protein", **{"control": "control", **options})
    assert state(mdata) == before
