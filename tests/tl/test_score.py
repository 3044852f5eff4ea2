"""tl.score_matching: the metrics, on the right cells, beside their chance."""

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
NAMES = [
    "foscttm_within_label",
    "foscttm_global",
    "coupling_foscttm_within_label",
    "barycentric_foscttm_within_label",
    "coupling_foscttm_global",
    "barycentric_foscttm_global",
    "trace_within_label",
    "trace_over_chance",
]


def test_is_the_metrics_on_the_true_pairs(screen: Screen) -> None:
    mdata = screen()
    sg.tl.align(mdata, "rna", "protein")
    table = sg.tl.score_matching(mdata, "rna", "protein")
    assert table["metric"].tolist() == NAMES
    rna, protein = mdata["rna"], mdata["protein"]
    partner = protein.obs_names.get_indexer(rna.obs_names)
    x, y = rna.obsm["X_groove"], protein.obsm["X_groove"]
    labels = {"labels_x": rna.obs["label"], "labels_y": protein.obs["label"]}
    coupling = sg.get.coupling(mdata, "rna", "protein")
    found = metrics.scores(NAMES, x=x, y=y, coupling=coupling, partner=partner, **labels)
    assert table["value"].tolist() == [one.value for one in found]
    assert table["value"][0] == metrics.foscttm(x, y, partner, **labels)
    np.testing.assert_allclose(table["chance"], [0.5] * 6 + [1 / 12, 1])
    assert (table["n"] == 48).all()
    pd.testing.assert_frame_equal(mdata.uns["matching_rna_protein"], table)


def test_a_good_representation_beats_chance_and_noise_does_not(screen: Screen) -> None:
    mdata = screen(n_cells_per_label=60)
    rng = np.random.default_rng(0)
    for adata in mdata.mod.values():
        adata.obsm["noise"] = rng.normal(size=(adata.n_obs, 3))
    good = sg.tl.score_matching(mdata, "rna", "protein").set_index("metric")["value"]
    noise = sg.tl.score_matching(mdata, "rna", "protein", use_rep="noise").set_index("metric")[
        "value"
    ]
    assert good["foscttm_within_label"] < 0.1
    assert noise["foscttm_within_label"] == pytest.approx(0.5, abs=0.05)
    p_values = sg.tl.score_matching(mdata, "rna", "protein").set_index("metric")["p_value"]
    assert p_values["foscttm_within_label"] < 1e-6
    assert np.isnan(p_values["foscttm_global"])  # the label alone raises it


def test_only_what_there_is(screen: Screen) -> None:
    mdata = screen()
    assert sg.tl.score_matching(mdata, "rna", "protein")["metric"].tolist() == NAMES[:2]
    sg.tl.align(mdata, "rna", "protein")
    for adata in mdata.mod.values():
        del adata.obsm["X_groove"]
    found = sg.tl.score_matching(mdata, "rna", "protein")["metric"].tolist()
    assert found == [name for name in NAMES[2:] if not name.startswith("bary")]
    assert found == sg.tl.score_matching(mdata, "rna", "protein", use_rep=None)["metric"].tolist()


def test_without_labels(screen: Screen) -> None:
    mdata = screen()
    sg.tl.align(mdata, "rna", "protein", labeled=False)
    table = sg.tl.score_matching(mdata, "rna", "protein", label_key=None)
    assert table["metric"].tolist() == [
        "foscttm_global",
        "coupling_foscttm_global",
        "barycentric_foscttm_global",
        "trace_global",
        "trace_over_chance",
    ]
    assert table["chance"].iloc[3] == pytest.approx(1 / 48)


def test_pairs_come_from_the_column_the_names_or_the_argument(screen: Screen) -> None:
    mdata = screen()
    expected = sg.tl.score_matching(mdata, "rna", "protein")["value"].tolist()
    mdata["protein"].obs["barcode"] = mdata["protein"].obs["pair_id"]
    mdata["rna"].obs["barcode"] = mdata["rna"].obs["pair_id"]
    for adata in mdata.mod.values():
        del adata.obs["pair_id"]
    assert sg.tl.score_matching(mdata, "rna", "protein")["value"].tolist() == expected
    mdata["protein"].obs_names = [f"p{i}" for i in range(48)]
    mdata.update()
    assert (
        sg.tl.score_matching(mdata, "rna", "protein", pair_key="barcode")["value"].tolist()
        == expected
    )
    with pytest.raises(
        ValueError,
        match=r"no pair of 'rna' and 'protein' cells is known: no cell names are equal in both",
    ):
        sg.tl.score_matching(mdata, "rna", "protein")


def test_exclusive_and_unlabeled_cells_are_left_out_within_labels(screen: Screen) -> None:
    mdata = screen(n_labels=5, exclusive_labels={"rna": 1}, unlabeled_fraction=0.2)
    table = sg.tl.score_matching(mdata, "rna", "protein").set_index("metric")
    rna, protein = mdata["rna"].obs, mdata["protein"].obs
    both = rna["label"].astype(object).reindex(protein.index).notna() & protein["label"].notna()
    assert table.loc["foscttm_within_label", "n"] == both.sum()
    assert table.loc["foscttm_global", "n"] == 48


def test_a_category_may_stand_for_no_label(screen: Screen) -> None:
    table = sg.tl.score_matching(screen(), "rna", "protein", unlabeled_category="g01")
    assert table["n"].tolist() == [36, 48]


def test_labels_of_one_cell_cannot_be_scored_within_labels(screen: Screen) -> None:
    table = sg.tl.score_matching(screen(n_labels=9, n_cells_per_label=1), "rna", "protein")
    assert table["metric"].tolist() == ["foscttm_global"]


def test_survives_h5mu(screen: Screen, tmp_path: Path) -> None:
    mdata = screen()
    sg.tl.align(mdata, "rna", "protein")
    table = sg.tl.score_matching(mdata, "rna", "protein", key_added="scores")
    mdata.write(tmp_path / "scored.h5mu")
    back = mudata.read_h5mu(tmp_path / "scored.h5mu").uns["scores"]
    pd.testing.assert_frame_equal(back.reset_index(drop=True), table, check_dtype=False)


def _no_pairs(mdata: mudata.MuData) -> None:
    mdata["protein"].obs["pair_id"] = [f"other{i}" for i in range(48)]


def _no_rep(mdata: mudata.MuData) -> None:
    del mdata["protein"].obsm["X_groove"]


@pytest.mark.parametrize(
    ("spoil", "options", "kind", "message"),
    [
        (_no_pairs, {}, ValueError, r"no obs\['pair_id'\] are equal in both\. Scores against the truth need cells measured in both"),
        (None, {"pair_key": "pair_ids"}, KeyError, r"pair_key='pair_ids': no such column in mdata\.mod\['rna'\]\.obs, .* Did you mean 'pair_id'\?"),
        (_no_rep, {}, ValueError, r"nothing to score: neither a representation 'X_groove' in both modalities nor a coupling"),
        (None, {"use_rep": "pca"}, ValueError, r"no 'pca' in mdata\.mod\['rna'\]\.obsm"),
        (None, {"coupling_key": "mine"}, ValueError, r"no coupling 'mine' in mdata\.obsp"),
        (None, {"label_key": "lable"}, KeyError, r"Label column 'lable' not found"),
        (None, {"metric": "l1"}, ValueError, r"metric must be 'euclidean' or 'cosine'; found 'l1'"),
        (None, {"target": "atac"}, ValueError, r"target='atac': mdata has no such modality"),
    ],
)  # fmt: skip
def test_refuses_and_leaves_everything_as_it_was(
    screen: Screen,
    state: Callable[[mudata.MuData], dict[str, Any]],
    spoil: Callable[[mudata.MuData], None] | None,
    options: dict[str, Any],
    kind: type[Exception],
    message: str,
) -> None:
    mdata = screen()
    if spoil is not None:
        spoil(mdata)
    before = state(mdata)
    arguments = {"source": "rna", "target": "protein", **options}
    with pytest.raises(kind, match=message):
        sg.tl.score_matching(mdata, **arguments)
    np.testing.assert_equal(state(mdata), before)
