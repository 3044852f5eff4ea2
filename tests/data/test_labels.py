"""One vocabulary of labels, and the table of what links the modalities."""

import numpy as np
import pandas as pd
import pytest

from scgroove.data import label_table
from scgroove.data.labels import encode_labels, label_keys, labels_of


def test_labels_are_text_and_missing_ones_none():
    obs = pd.DataFrame(
        {"l": pd.Categorical(["b", None, "a", "skip"], categories=["skip", "b", "a"])}
    )
    assert labels_of(obs, "l", "skip").tolist() == ["b", None, "a", None]
    assert labels_of(pd.DataFrame({"l": [1.0, np.nan, 2.0]}), "l").tolist() == ["1", None, "2"]
    assert labels_of(pd.DataFrame({"l": [1, 2]}), "l").tolist() == ["1", "2"]


def test_codes():
    assert encode_labels(np.array(["b", None, "a", "z"], dtype=object), ["a", "b"]).tolist() == [
        1,
        -1,
        0,
        -1,
    ]


def test_table(make_mdata):
    mdata = make_mdata()
    mdata["rna"].obs["label"] = mdata["rna"].obs["label"].where(np.arange(200) % 10 > 0)
    table = label_table(mdata)
    assert table["status"].to_dict() == {
        "A": "shared", "B": "shared", "C": "shared", "ctrl": "shared",
        "D": "exclusive", "E": "exclusive", "(unlabeled)": "unlabeled",
    }  # fmt: skip
    assert table.loc["D"].tolist()[:2] == [40, 0]
    assert table.loc["(unlabeled)"].tolist()[:2] == [20, 0]
    assert table[["rna", "img"]].sum().tolist() == [200, 150]
    assert "ctrl" not in label_table(mdata, unlabeled_category="ctrl").index


def test_keys(make_mdata):
    mdata = make_mdata()
    assert label_keys(mdata, {"rna": "label", "img": "lane"}, ["rna", "img"]) == {
        "rna": "label",
        "img": "lane",
    }
    with pytest.raises(
        KeyError, match=r"'labels' not found in mdata\['rna'\].obs.*Did you mean 'label'\?"
    ):
        label_keys(mdata, "labels", ["rna", "img"])
    with pytest.raises(ValueError, match=r"label_key names \['rna'\], but not 'img'"):
        label_keys(mdata, {"rna": "label"}, ["rna", "img"])
