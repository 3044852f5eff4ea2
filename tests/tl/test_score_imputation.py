"""tl.score_imputation: values by other ways, baselines, coverage, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import mudata
import numpy as np
import pandas as pd
import pytest

import scgroove as sg
from scgroove import metrics

Screen = Callable[..., mudata.MuData]
State = Callable[[mudata.MuData], dict[str, Any]]


def imputed(mdata: mudata.MuData, values: np.ndarray) -> mudata.MuData:
    """Write values as if they had been imputed, with the spread that they would have."""
    model = type("Model", (), {"translate": lambda self, *a, **k: values})()
    sg.tl.impute(mdata, "rna", "protein", model=model)
    return mdata


def truth(mdata: mudata.MuData) -> np.ndarray:
    return mdata["protein"][mdata["rna"].obs_names].X


def test_perfect_values_have_perfect_scores(screen: Screen) -> None:
    mdata = screen()
    table = sg.tl.score_imputation(
        imputed(mdata, truth(mdata)), "rna", "protein", control="g00"
    ).set_index("metric")
    of_cells = [
        "r2",
        "mse",
        "pearson_per_feature",
        "spearman_per_feature",
        "pearson_per_cell",
        "effect_pearson",
    ]
    np.testing.assert_allclose(
        table.loc[of_cells, "value"], table.loc[of_cells, "perfect"], atol=1e-5
    )
    assert table.loc["coverage_90", "value"] == 1.0
    assert table.loc["coverage_90", "better"] == "near"
    assert (table.loc[["r2", "pearson_per_cell"], "label_mean"] < 1).all()


def test_values_are_those_of_the_metrics_and_baselines_know_the_label(screen: Screen) -> None:
    mdata = screen()
    values = truth(mdata) + np.random.default_rng(0).normal(size=(48, 7))
    table = sg.tl.score_imputation(
        imputed(mdata, values), "rna", "protein", control="g00"
    ).set_index("metric")
    y = truth(mdata)
    labels = mdata["rna"].obs["label"]
    assert table.loc["mse", "value"] == pytest.approx(((values - y) ** 2).mean(), rel=1e-5)
    others = metrics.label_mean(y, labels, labels, exclude=np.arange(48))
    assert table.loc["mse", "label_mean"] == pytest.approx(((others - y) ** 2).mean(), rel=1e-5)
    control = y[(labels == "g00").to_numpy()].mean(axis=0)
    assert table.loc["mse", "control_mean"] == pytest.approx(((control - y) ** 2).mean(), rel=1e-5)
    assert table.loc["mse", "shuffled"] > table.loc["mse", "label_mean"]


def test_coverage_by_hand(screen: Screen) -> None:
    mdata = screen()
    imputed(mdata, np.zeros((48, 7)))
    sg.tl.score_imputation(mdata, "rna", "protein")
    table = mdata.uns["imputation_rna_protein"]["calibration"].set_index("level")
    low, high = sg.get.imputed_interval(mdata, "rna", "protein", level=0.8)
    y = truth(mdata)
    assert table.loc[0.8, "coverage"] == pytest.approx(((low <= y) & (y <= high)).to_numpy().mean())
    assert table.loc[0.8, "mean_width"] == pytest.approx((high - low).to_numpy().mean(), rel=1e-5)
    assert table["coverage"].is_monotonic_increasing


def test_without_pairs_labels_are_scored(screen: Screen) -> None:
    whole = screen()
    mdata = mudata.MuData({"rna": whole["rna"][::2].copy(), "protein": whole["protein"].copy()})
    mdata["rna"].obs_names = [f"cell{i}" for i in range(24)]
    del mdata["rna"].obs["pair_id"]
    mdata.update()
    table = sg.tl.score_imputation(
        imputed(mdata, np.zeros((24, 7))), "rna", "protein", control="g00"
    )
    assert table["metric"].tolist() == [
        "effect_pearson",
        "effect_sign_agreement",
        "energy_distance",
    ]
    row = table.set_index("metric").loc["effect_pearson"]
    assert row["value"] == pytest.approx(row["chance"]), "the same is predicted for all labels"
    assert "partner" in mdata.uns["imputation_rna_protein"]["skipped"]["r2"]


def test_scores_of_features_over_cells_and_over_labels(screen: Screen) -> None:
    mdata = screen()
    values = truth(mdata) + np.random.default_rng(0).normal(size=(48, 7))
    scores = sg.tl.score_imputation(imputed(mdata, values), "rna", "protein").set_index("metric")
    table = mdata.uns["imputation_rna_protein"]["features"]
    assert table["feature"].tolist() == list(mdata["protein"].var_names)
    assert (table["n"] == 48).all()
    assert (table["n_labels"] == 4).all()
    by_hand = [np.corrcoef(values[:, j], truth(mdata)[:, j])[0, 1] for j in range(7)]
    np.testing.assert_allclose(table["pearson"], by_hand, rtol=1e-5)
    row = scores.loc["pearson_per_feature"]
    np.testing.assert_allclose(
        table[["pearson", "label_mean"]].mean(), row[["value", "label_mean"]].astype(float)
    )
    means = [
        pd.DataFrame(v).groupby(mdata["rna"].obs["label"].to_numpy()).mean()
        for v in (values, truth(mdata))
    ]
    np.testing.assert_allclose(table["pearson_of_labels"], means[0].corrwith(means[1]), rtol=1e-5)


@pytest.mark.parametrize("n_labels", [1, 2])
def test_the_mean_of_one_or_two_labels_has_no_correlation(screen: Screen, n_labels: int) -> None:
    mdata = screen(n_labels=n_labels)
    n = mdata["rna"].n_obs
    scores = sg.tl.score_imputation(
        imputed(mdata, np.random.default_rng(0).normal(size=(n, 7))), "rna", "protein"
    ).set_index("metric")
    table = mdata.uns["imputation_rna_protein"]["features"]
    assert table["pearson"].notna().all()
    assert table["label_mean"].isna().all()
    assert np.isnan(scores.loc["pearson_per_feature", "label_mean"])
    assert np.isfinite(scores.loc["mse", "label_mean"])


def test_scores_of_features_without_pairs_or_with_few_labels(screen: Screen) -> None:
    mdata = imputed(screen(), np.random.default_rng(0).normal(size=(48, 7)))
    del mdata["rna"].obs["pair_id"]
    mdata["rna"].obs_names = [f"cell{i}" for i in range(48)]
    sg.tl.score_imputation(mdata, "rna", "protein")
    table = mdata.uns["imputation_rna_protein"]["features"]
    assert table[["pearson", "label_mean"]].isna().all(axis=None)
    assert (table["n"] == 0).all()
    assert table["pearson_of_labels"].notna().all()
    labels = mdata["protein"].obs["label"].astype(str)
    mdata["protein"].obs["label"] = labels.where(
        labels.isin(["g00", "g01"]), "elsewhere"
    ).to_numpy()
    sg.tl.score_imputation(mdata, "rna", "protein", control="g00")
    table = mdata.uns["imputation_rna_protein"]["features"]
    assert (table["n_labels"] == 2).all()
    assert table["pearson_of_labels"].isna().all(), "two means are always correlated"


def test_round_trip(screen: Screen, tmp_path: Path) -> None:
    mdata = imputed(screen(), np.zeros((48, 7)))
    table = sg.tl.score_imputation(mdata, "rna", "protein", key_added="mine")
    mdata.write(tmp_path / "x.h5mu")
    read = mudata.read_h5mu(tmp_path / "x.h5mu").uns["mine"]
    pd.testing.assert_frame_equal(
        read["scores"].reset_index(drop=True), table, check_dtype=False, check_index_type=False
    )
    assert set(read) == {"scores", "features", "calibration", "skipped"}
    assert read["features"]["feature"].tolist() == list(mdata["protein"].var_names)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"key": "imputed_protien"}, "Did you mean key='imputed_protein'"),
        ({"pair_key": "pairs"}, "pair_key='pairs': no such column"),
        ({"control": "g0"}, "control='g0': no cell has this label"),
        ({"label_key": "guide"}, "guide"),
    ],
)
def test_refused_calls_change_nothing(
    screen: Screen, state: State, options: dict[str, Any], message: str
) -> None:
    mdata = imputed(screen(), np.zeros((48, 7)))
    before = state(mdata)
    with pytest.raises((ValueError, KeyError), match=message):
        sg.tl.score_imputation(mdata, "rna", "protein", **options)
    assert state(mdata) == before


def test_nothing_to_score_by(screen: Screen) -> None:
    mdata = imputed(screen(), np.zeros((48, 7)))
    del mdata["rna"].obs["pair_id"]
    mdata["rna"].obs_names = [f"x{i}" for i in range(48)]
    with pytest.raises(ValueError, match=r"nothing to score 'rna' -> 'protein' by.*pair_key="):
        sg.tl.score_imputation(mdata, "rna", "protein", label_key=None)
