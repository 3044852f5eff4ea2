"""tl.infer_labels: by hand, what is kept, what a second model gains, and what is refused."""

import anndata
import mudata
import numpy as np
import pandas as pd
import pytest

import scgroove as sg
from scgroove.model import GROOVE


@pytest.fixture
def mdata():
    """Two labels, on the axes of a plane; one cell between them, one beside each, without a label."""
    parts = {}
    for m in ("rna", "protein"):
        z = np.array([[2.0, 0], [3, 0], [0, 1], [1, 1], [5, 0], [0, 9]])
        adata = anndata.AnnData(np.zeros((6, 1), dtype=np.float32), obsm={"X_groove": z})
        adata.obs_names = [f"{m}{i}" for i in range(6)]
        adata.obs["label"] = pd.Categorical(["a", "a", "b", None, None, None])
        parts[m] = adata
    return mudata.MuData(parts)


def test_by_hand(mdata, tmp_path):
    sg.tl.infer_labels(mdata, temperature=0.5)
    mdata.write(tmp_path / "m.h5mu")
    for source in (mdata, mudata.read(tmp_path / "m.h5mu")):
        for adata in source.mod.values():
            assert adata.obs["inferred_label"].tolist() == [
                "a",
                "a",
                "b",
                "a",
                "a",
                "b",
            ]  # more cells have "a"
            between = np.array([2, 1]) / 3
            beside_a, beside_b = np.array([2 * np.e**2, 1]), np.array([2, np.e**2])
            expected = [
                (1 + (p * np.log(p)).sum() / np.log(2)) ** 2
                for p in (between, beside_a / beside_a.sum(), beside_b / beside_b.sum())
            ]
            np.testing.assert_allclose(adata.obs["inferred_label_certainty"], [1, 1, 1, *expected])
            assert adata.obs["label"].isna().sum() == 3  # those there were are left alone


def test_blocks_of_cells_change_nothing(mdata, monkeypatch):
    sg.tl.infer_labels(mdata, key_added="whole")
    monkeypatch.setattr("scgroove.tl._infer_labels.VALUES_AT_A_TIME", 1)
    sg.tl.infer_labels(mdata, key_added="cell_by_cell")
    for adata in mdata.mod.values():
        assert (adata.obs["whole"] == adata.obs["cell_by_cell"]).all()
        np.testing.assert_allclose(
            adata.obs["whole_certainty"], adata.obs["cell_by_cell_certainty"]
        )


def test_the_length_of_a_cell_does_not_count(mdata):
    sg.tl.infer_labels(mdata)
    before = mdata["rna"].obs["inferred_label_certainty"].to_numpy()
    for adata in mdata.mod.values():
        adata.obsm["X_groove"] = adata.obsm["X_groove"] * np.arange(1, 7)[:, None]
    sg.tl.infer_labels(mdata)
    np.testing.assert_allclose(mdata["rna"].obs["inferred_label_certainty"], before)


def test_where_most_labels_are_missing_a_second_model_is_better():
    quiet = {
        "accelerator": "cpu",
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "logger": None,
    }
    gains, shares = [], []
    for seed in range(2):
        mdata = sg.simulations.weakly_paired(12, 40, n_features=(60, 40), seed=seed)
        truth = {m: adata.obs["label"].astype(str) for m, adata in mdata.mod.items()}
        rng = np.random.default_rng(seed)
        for m, adata in mdata.mod.items():
            adata.obs["label"] = truth[m].where(
                rng.permutation(adata.n_obs) < 0.1 * adata.n_obs, None
            )
        scores = []
        for label, certainty in (("label", None), ("inferred_label", "inferred_label_certainty")):
            GROOVE.setup_mudata(mdata, label, weight_key=certainty, min_cells_per_label=1)
            model = GROOVE(mdata, seed=seed)
            model.train(seed=seed, train_size=1.0, **quiet)
            sg.tl.embed(mdata, model)
            order = mdata["protein"].obs_names.get_indexer(mdata["rna"].obs_names)
            x, y = mdata["rna"].obsm["X_groove"], mdata["protein"].obsm["X_groove"][order]
            scores.append(sg.metrics.foscttm(x, y, np.arange(len(x)), within_label=False))
            if certainty is None:
                sg.tl.infer_labels(mdata)
        gains.append(scores[0] - scores[1])
        inferred = mdata["rna"].obs["inferred_label"].value_counts(normalize=True)
        shares.append(inferred.max() / (1 / 12))
    assert np.mean(gains) > 0
    assert max(shares) < 2  # no label takes all


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        (
            {"use_rep": "X_grove"},
            KeyError,
            r"use_rep='X_grove': .* only \[\] have it .* Did you mean 'X_groove'",
        ),
        ({"label_key": "lable"}, KeyError, "lable"),
        ({"temperature": 0}, ValueError, "temperature must be a number above 0; found 0"),
        ({"key_added": "label"}, ValueError, "key_added='label' is the column of the labels"),
        (
            {"unlabeled_category": "a"},
            ValueError,
            r"have 1 label\(s\) \(\['b'\]\), and two or more",
        ),
    ],
)
def test_refuses_and_leaves_everything_as_it_was(mdata, state, options, kind, message):
    before = state(mdata)
    with pytest.raises(kind, match=message):
        sg.tl.infer_labels(mdata, **options)
    np.testing.assert_equal(state(mdata), before)


def test_refuses_what_is_no_mudata_and_spaces_that_are_not_one(mdata):
    with pytest.raises(TypeError, match="MuData"):
        sg.tl.infer_labels(mdata["rna"])
    mdata["rna"].obsm["X_groove"] = mdata["rna"].obsm["X_groove"][:, :1]
    with pytest.raises(ValueError, match="different widths"):
        sg.tl.infer_labels(mdata)
