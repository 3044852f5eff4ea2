"""tl.collapse: which labels it names, on which cells, and that a failed call changes nothing."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mudata
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

import scgroove as sg
from scgroove import metrics

Screen = Callable[..., mudata.MuData]


@pytest.fixture
def wide(screen: Screen) -> mudata.MuData:
    """Four labels of 40 cells, nothing collapsed: 8 dimensions, in which labels differ more than cells of a label."""
    mdata = screen(n_cells_per_label=40)
    rng = np.random.default_rng(0)
    mean = dict(zip(["g00", "g01", "g02", "ctrl"], 2 * rng.normal(size=(4, 8)), strict=True))
    for adata in mdata.mod.values():
        adata.obs["label"] = pd.Categorical(np.repeat(list(mean), 40)[rng.permutation(160)])
        adata.obsm["X_groove"] = _label_means(adata, mean) + rng.normal(size=(160, 8))
    return mdata


def _label_means(adata: AnnData, mean: dict[str, np.ndarray] | None = None) -> np.ndarray:
    labels = adata.obs["label"].to_numpy(dtype=object)
    if mean is None:
        mean = {
            name: adata.obsm["X_groove"][labels == name].mean(axis=0) for name in np.unique(labels)
        }
    return np.array([mean[name] for name in labels])


def _quiet(mdata: mudata.MuData, **options: Any) -> dict[str, pd.DataFrame]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sg.tl.collapse(mdata, **options)
    return dict(mdata.uns["collapse"]["labels"])


def test_a_trained_model_is_not_flagged() -> None:
    mdata = sg.simulations.weakly_paired(
        n_labels=5, n_cells_per_label=30, n_features=(30, 20), seed=0
    )
    sg.model.GROOVE.setup_mudata(mdata, "label")
    model = sg.model.GROOVE(mdata)
    model.train(max_epochs=15, enable_progress_bar=False)
    sg.tl.embed(mdata, model)
    for table in _quiet(mdata).values():
        assert table["effective_rank"].min() > 3
        assert table["variance"].min() > 0.05
    for adata in mdata.mod.values():
        noise = 1e-3 * np.random.default_rng(0).normal(size=adata.obsm["X_groove"].shape)
        adata.obsm["X_means"] = _label_means(adata) + noise
    with pytest.warns(UserWarning, match=r"labels have collapsed: 5 of 5 in 'rna'"):
        sg.tl.collapse(mdata, "X_means")


def test_is_the_metrics_of_each_label(wide: mudata.MuData) -> None:
    tables = _quiet(wide)
    assert list(tables) == ["rna", "protein"]
    for m, table in tables.items():
        z, labels = wide[m].obsm["X_groove"], wide[m].obs["label"]
        assert table.index.tolist() == ["ctrl", "g00", "g01", "g02"]
        assert table.index.name == "label"
        assert table["n_cells"].tolist() == [40] * 4
        assert table["effective_rank"].to_dict() == metrics.within_label_rank(
            z, labels, per="label"
        )
        assert table["variance"].to_dict() == metrics.within_label_variance(z, labels, per="label")
        assert table["relative_variance"].mean() == pytest.approx(1)
        np.testing.assert_allclose(
            table["relative_variance"], table["variance"] / np.mean(table["variance"])
        )
        assert not table["collapsed"].any()
    assert wide.uns["collapse"]["params"] == {
        "use_rep": {"rna": "X_groove", "protein": "X_groove"},
        "label_key": {"rna": "label", "protein": "label"},
        "min_cells": 10,
        "threshold_rank": 1.5,
        "threshold_variance": 0.01,
    }


def test_all_labels_in_points_are_named_with_cause_and_cure(wide: mudata.MuData) -> None:
    rng = np.random.default_rng(1)
    adata = wide["protein"]
    adata.obsm["X_groove"] = _label_means(adata) + 1e-3 * rng.normal(size=(160, 8))
    with pytest.warns(UserWarning, match="labels have collapsed") as caught:
        sg.tl.collapse(wide)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    said = str(caught[0].message)
    assert "4 of 4 in 'protein': " in said
    assert "'rna'" not in said
    for name in ("'ctrl'", "'g00'", "'g01'", "'g02'"):
        assert f"{name} (effective rank " in said
    assert "less than 0.1% of the variance" in said
    assert "likely cause: the contrast of labels outweighs reconstruction" in said
    for cure in ("lower weight", "lower temperature", "encoder='linear'", "n_latent"):
        assert cure in said
    tables = wide.uns["collapse"]["labels"]
    assert tables["protein"]["collapsed"].all()
    assert not tables["rna"]["collapsed"].any()


def test_one_label_on_a_line_is_named(wide: mudata.MuData) -> None:
    rng = np.random.default_rng(2)
    adata = wide["rna"]
    on_line = (adata.obs["label"] == "g01").to_numpy()
    along = _label_means(adata) + np.outer(3 * rng.normal(size=160), np.eye(8)[2])
    adata.obsm["X_groove"][on_line] = (along + 0.02 * rng.normal(size=(160, 8)))[on_line]
    with pytest.warns(
        UserWarning, match=r"collapsed: 1 of 4 in 'rna': 'g01' \(effective rank 1\.0, \d+\.\d% of"
    ):
        sg.tl.collapse(wide)
    table = wide.uns["collapse"]["labels"]["rna"]
    assert table.index[table["collapsed"]].tolist() == ["g01"]
    assert table.loc["g01", "relative_variance"] > 0.5  # by the rank alone
    narrow = {"rna": "X_3", "protein": "X_3"}
    for one in wide.mod.values():
        one.obsm["X_3"] = one.obsm["X_groove"][:, 1:4]
    _quiet(wide, use_rep=narrow)  # in three dimensions a line is no surprise
    _quiet(wide, threshold_rank=1.0)


def test_one_label_in_a_point_is_named(wide: mudata.MuData) -> None:
    for adata in wide.mod.values():
        in_point = (adata.obs["label"] == "g02").to_numpy()
        adata.obsm["X_groove"][in_point] = _label_means(adata)[in_point]
    with pytest.warns(UserWarning, match=r"1 of 4 in 'rna': 'g02' .*; 1 of 4 in 'protein': 'g02' "):
        sg.tl.collapse(wide)
    row = wide.uns["collapse"]["labels"]["rna"].loc["g02"]
    assert (row["effective_rank"], row["collapsed"]) == (0, True)
    assert row["variance"] == pytest.approx(0, abs=1e-12)


def test_many_labels_are_not_all_named(screen: Screen) -> None:
    mdata = screen(n_labels=12)
    for adata in mdata.mod.values():
        adata.obsm["X_groove"] = _label_means(adata)
    with pytest.warns(
        UserWarning, match=r"12 of 12 in 'rna'.*, \.\.\.; 12 of 12 in 'protein'"
    ) as caught:
        sg.tl.collapse(mdata)
    assert str(caught[0].message).count("effective rank") == 2 * 8


def test_one_line_is_logged_where_nothing_has_collapsed(
    wide: mudata.MuData, caplog: pytest.LogCaptureFixture
) -> None:
    log = logging.getLogger("scvi.scgroove")
    log.addHandler(caplog.handler)
    try:
        with caplog.at_level(logging.INFO, logger="scvi.scgroove"):
            _quiet(wide)
    finally:
        log.removeHandler(caplog.handler)
    said = {record.getMessage() for record in caplog.records}
    assert len(said) == 1
    assert said.pop().startswith("No label has collapsed. Least of a label: rna: effective rank ")


def test_small_labels_are_listed_and_not_judged(wide: mudata.MuData) -> None:
    adata = wide["rna"]
    rows = np.flatnonzero(adata.obs["label"] == "g00")
    adata.obsm["X_groove"][rows[:9]] = 0.0
    adata.obs["label"] = adata.obs["label"].astype(object)
    adata.obs.iloc[rows[9:], adata.obs.columns.get_loc("label")] = None
    table = _quiet(wide)["rna"]
    assert table["n_cells"].to_dict() == {"ctrl": 40, "g00": 9, "g01": 40, "g02": 40}
    assert table.loc["g00", ["effective_rank", "variance", "relative_variance"]].isna().all()
    assert not table.loc["g00", "collapsed"]
    with pytest.warns(UserWarning, match=r"1 of 4 in 'rna': 'g00'"):
        sg.tl.collapse(wide, min_cells=9)


def test_on_the_cells_that_are_asked_for(wide: mudata.MuData) -> None:
    del wide["protein"].obsm["X_groove"]
    assert list(_quiet(wide)) == ["rna"]
    wide["rna"].obs["group"] = wide["rna"].obs["label"]
    found = _quiet(wide, label_key={"rna": "group"}, modalities=["rna"], unlabeled_category="ctrl")[
        "rna"
    ]
    assert found.index.tolist() == ["g00", "g01", "g02"]
    params = wide.uns["collapse"]["params"]
    assert (params["label_key"], params["unlabeled_category"]) == ({"rna": "group"}, "ctrl")
    assert list(_quiet(wide, modalities="rna")) == ["rna"]


def test_survives_h5mu(wide: mudata.MuData, tmp_path: Path) -> None:
    wide["rna"].obsm["X_groove"][:] = _label_means(wide["rna"])
    with pytest.warns(UserWarning, match="collapsed"):
        sg.tl.collapse(wide, min_cells=20, key_added="spread")
    wide.write(tmp_path / "spread.h5mu")
    back = mudata.read_h5mu(tmp_path / "spread.h5mu").uns["spread"]
    assert dict(back["params"]) == wide.uns["spread"]["params"]
    for m, table in wide.uns["spread"]["labels"].items():
        pd.testing.assert_frame_equal(back["labels"][m], table, check_index_type=False)


def _nan(mdata: mudata.MuData) -> None:
    mdata["protein"].obsm["X_groove"][3, 1] = np.nan


def _flat(mdata: mudata.MuData) -> None:
    mdata["protein"].obsm["X_groove"] = np.ones((160, 2, 2))


def _one_label(mdata: mudata.MuData) -> None:
    mdata["protein"].obs["label"] = "ctrl"


@pytest.mark.parametrize(
    ("spoil", "options", "kind", "message"),
    [
        (None, {"use_rep": "X_grove"}, ValueError, r"no 'X_grove' in mdata\.mod\['rna'\]\.obsm, which has \[.*Did you mean use_rep='X_groove'\?"),
        (None, {"use_rep": {"rna": "X_groove", "protein": "X_pca"}}, ValueError, r"no 'X_pca' in mdata\.mod\['protein'\]\.obsm"),
        (_nan, {}, ValueError, r"'X_groove' of 'protein' holds NaN or infinite values in 1 of 160 cells"),
        (_flat, {}, ValueError, r"'X_groove' of 'protein' must be a numeric matrix \(cells, dimensions\); found float64 of shape \(160, 2, 2\)"),
        (None, {"label_key": "lable"}, KeyError, r"Label column 'lable' not found in mdata\['rna'\]\.obs.*Did you mean 'label'\?"),
        (_one_label, {}, ValueError, r"mdata\.mod\['protein'\]\.obs\['label'\] holds 1 label\(s\) in 160 cells \(\['ctrl'\]\).*label_key=.*modalities="),
        (None, {"min_cells": 41}, ValueError, r"no label of 'rna' has min_cells=41 cells; the largest, '.*', has 40\. Lower min_cells"),
        (None, {"modalities": ["rna", "atac"]}, ValueError, r"modality='atac': mdata has no such modality, only \['rna', 'protein'\]"),
        (None, {"modalities": []}, ValueError, r"modalities is empty\. Name some of \['rna', 'protein'\]"),
        (None, {"min_cells": 1}, ValueError, r"min_cells must be "),
        (None, {"threshold_rank": 0.5}, ValueError, r"threshold_rank must be at least 1, the effective rank of a line; found 0\.5"),
        (None, {"threshold_variance": 2}, ValueError, r"threshold_variance must be a share of the variance, between 0 and 1; found 2"),
    ],
)  # fmt: skip
def test_refuses_and_leaves_everything_as_it_was(
    wide: mudata.MuData,
    state: Callable[[mudata.MuData], dict[str, Any]],
    spoil: Callable[[mudata.MuData], None] | None,
    options: dict[str, Any],
    kind: type[Exception],
    message: str,
) -> None:
    if spoil is not None:
        spoil(wide)
    before = state(wide)
    with pytest.raises(kind, match=message):
        sg.tl.collapse(wide, **options)
    np.testing.assert_equal(state(wide), before)


def test_refuses_what_is_no_mudata(wide: mudata.MuData) -> None:
    with pytest.raises(TypeError, match="expected a MuData, found AnnData"):
        sg.tl.collapse(wide["rna"])  # type: ignore[arg-type]
