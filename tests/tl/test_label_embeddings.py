"""tl.check_label_embeddings: a table that knows the labels is told from one that does not."""

import warnings

import anndata
import mudata
import numpy as np
import pandas as pd
import pytest

import scgroove as sg

LABELS = [f"g{i:02d}" for i in range(30)]


@pytest.fixture
def table():
    return pd.DataFrame(np.random.default_rng(0).normal(size=(30, 4)), index=LABELS)


@pytest.fixture
def mdata(table):
    """Cells around places that are linear in the table; three labels in RNA alone, three in protein alone."""
    rng = np.random.default_rng(1)
    places = table.to_numpy() @ rng.normal(size=(4, 5))
    parts = {}
    for m, absent in (("rna", LABELS[:3]), ("protein", LABELS[3:6])):
        label = np.repeat([g for g in LABELS if g not in absent], 10)
        z = places[[LABELS.index(g) for g in label]] + 0.3 * rng.normal(size=(len(label), 5))
        adata = anndata.AnnData(np.zeros((len(label), 1), dtype=np.float32), obsm={"X_groove": z})
        adata.obs_names, adata.obs["label"] = [f"{m}{i}" for i in range(len(label))], label
        parts[m] = adata
    return mudata.MuData(parts)


def test_a_table_that_knows_the_labels(mdata, table, tmp_path):
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="the embeddings say no more")
        sg.tl.check_label_embeddings(mdata, table, n_permutations=99)
    mdata.write(tmp_path / "m.h5mu")
    for found in (
        mdata.uns["label_embeddings"],
        mudata.read(tmp_path / "m.h5mu").uns["label_embeddings"],
    ):
        assert found["score"] > 0.9
        assert found["p_value"] == 0.01
        assert found["null_mean"] < 0.2
        assert found["n_labels"] == 30
        assert found["labels"]["label"].tolist() == LABELS
        assert found["score"] == pytest.approx(
            1 - found["labels"]["error"].sum() / found["labels"]["error_of_mean"].sum()
        )


def test_a_mapping_says_the_same_and_cells_without_a_label_nothing(mdata, table):
    sg.tl.check_label_embeddings(mdata, table)
    sg.tl.check_label_embeddings(
        mdata,
        {g: list(row) for g, row in zip(LABELS, table.to_numpy(), strict=True)},
        key_added="again",
    )
    assert mdata.uns["again"]["score"] == mdata.uns["label_embeddings"]["score"]
    mdata["rna"].obs["label"] = (
        mdata["rna"].obs["label"].astype(str).where(np.arange(270) % 10 > 4, "none")
    )
    mdata["rna"].obsm["X_groove"][mdata["rna"].obs["label"] == "none"] = 1e6
    sg.tl.check_label_embeddings(mdata, table, unlabeled_category="none", key_added="half")
    assert mdata.uns["half"]["score"] > 0.9


def test_random_numbers_are_said_to_say_nothing(mdata, table):
    table[:] = np.random.default_rng(5).normal(size=table.shape)
    with pytest.warns(
        UserWarning, match=r"the embeddings say no more of 30 labels than shuffled ones do \(score"
    ):
        sg.tl.check_label_embeddings(mdata, table)
    assert mdata.uns["label_embeddings"]["p_value"] > 0.05


@pytest.mark.filterwarnings("ignore:the embeddings say no more")
def test_the_more_noise_the_less_a_table_says(mdata, table):
    noise = np.random.default_rng(2).normal(size=table.shape)
    for size in (0, 1, 3):
        sg.tl.check_label_embeddings(mdata, table + size * noise, key_added=f"noise_{size}")
    right, half, little = (mdata.uns[f"noise_{size}"]["score"] for size in (0, 1, 3))
    assert right - 0.2 > half > little + 0.2
    assert mdata.uns["noise_1"]["p_value"] < 0.05


def test_labels_without_an_embedding_are_left_out_and_said(mdata, table):
    with pytest.warns(
        UserWarning, match=r"2 of 30 labels have no embedding and are left out: 'g07', 'g20'"
    ):
        sg.tl.check_label_embeddings(mdata, table.drop(["g07", "g20"]))
    assert mdata.uns["label_embeddings"]["n_labels"] == 28


@pytest.mark.parametrize(
    ("change", "options", "kind", "message"),
    [
        (None, {"use_rep": "X_grove"}, KeyError, r"use_rep='X_grove': .* only \[\] have it .* Did you mean 'X_groove'"),
        (None, {"use_rep": "X_rna"}, KeyError, r"only \['rna'\] have it in obsm, and two or more are needed"),
        (None, {"use_rep": "X_rna", "modalities": ["rna", "protein"]}, KeyError, r"only \['rna'\] .* all of them are needed"),
        (None, {"modalities": ["rna", "protien"]}, KeyError, "Did you mean 'protein'"),
        (None, {"label_key": "lable"}, KeyError, "lable"),
        (None, {"n_permutations": 10}, ValueError, "n_permutations must be a whole number of at least 19; found 10"),
        (lambda t: t.rename(lambda g: g.upper()), {}, ValueError, r"0 labels have cells and an embedding.*spelled alike"),
        (lambda t: t.iloc[:4], {}, ValueError, "4 labels have cells and an embedding, and 5 or more"),
        (lambda t: t.replace(t.iloc[3, 2], np.nan), {}, ValueError, "must hold finite numbers"),
        (lambda t: {g: [1.0] * (2 + i % 2) for i, g in enumerate(t.index)}, {}, ValueError, r"found lengths \[2, 3\]"),
        (lambda t: t.to_numpy(), {}, TypeError, "found ndarray. Of an array: pandas.DataFrame"),
    ],
)  # fmt: skip
def test_refuses_and_leaves_everything_as_it_was(
    mdata, table, state, change, options, kind, message
):
    mdata["rna"].obsm["X_rna"] = mdata["rna"].obsm["X_groove"]
    before = state(mdata)
    with pytest.raises(kind, match=message):
        sg.tl.check_label_embeddings(mdata, table if change is None else change(table), **options)
    np.testing.assert_equal(state(mdata), before)


def test_refuses_what_is_no_mudata_and_spaces_that_are_not_one(mdata, table):
    with pytest.raises(TypeError, match="MuData"):
        sg.tl.check_label_embeddings(mdata["rna"], table)
    mdata["rna"].obsm["X_groove"] = mdata["rna"].obsm["X_groove"][:, :3]
    with pytest.raises(ValueError, match="different widths"):
        sg.tl.check_label_embeddings(mdata, table)
