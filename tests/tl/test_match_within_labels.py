"""Cells matched inside labels in a MuData."""

import mudata
import numpy as np
import pytest

import scgroove as sg
from scgroove.learners import LabelMatched
from scgroove.learners._common import apply
from scgroove.learners._matched import Rematch, rematch


@pytest.fixture(scope="module")
def screen():
    mdata = sg.simulations.weakly_paired(seed=0)
    for m, z in sg.learners.get("cca_labels")().fit_transform(mdata, "label").items():
        mdata[m].obsm["X_groove"] = z.astype(np.float32)
        mdata[m].obsm["X_pca"] = np.asarray(mdata[m].X)
    return mdata


@pytest.fixture
def mdata(screen):
    return screen.copy()


def test_it_does_as_the_learner_does_and_survives_a_file(mdata, tmp_path):
    before = {m: adata.obsm["X_groove"].copy() for m, adata in mdata.mod.items()}
    assert sg.tl.match_within_labels(mdata) is None
    mdata.write(tmp_path / "m.h5mu")
    expected = LabelMatched("cca_labels").fit_transform(mdata, "label")
    for m, value in mudata.read(tmp_path / "m.h5mu").mod.items():
        np.testing.assert_allclose(value.obsm["X_groove_matched"], expected[m], atol=1e-3)
        np.testing.assert_array_equal(value.obsm["X_groove"], before[m])


def test_of_other_inputs(mdata):
    sg.tl.match_within_labels(mdata, inputs={"rna": "X_pca", "protein": "X"}, key_added="z")
    expected = LabelMatched("cca_labels", inputs="features").fit_transform(mdata, "label")
    labels = mdata["rna"].obs["label"].to_numpy()
    order = mdata["protein"].obs_names.get_indexer(mdata["rna"].obs_names)
    scores = [
        sg.metrics.foscttm(a, b[order], labels_x=labels, labels_y=labels, within_label=True)
        for a, b in (
            (mdata["rna"].obsm["z"], mdata["protein"].obsm["z"]),
            (expected["rna"], expected["protein"]),
            (mdata["rna"].obsm["X_groove"], mdata["protein"].obsm["X_groove"]),
        )
    ]
    assert mdata["rna"].obsm["z"].shape[1] == mdata["protein"].obsm["z"].shape[1]
    assert scores[0] == pytest.approx(scores[1], abs=0.01)  # features are standardised here already
    assert scores[0] < scores[2] - 0.01


@pytest.mark.parametrize(
    "option",
    [
        {"n_rounds": 2},
        {"epsilon": 0.5},
        {"regularisation": 1.0},
        {"max_cells_per_label": 20},
        {"max_cells_per_label": 20, "random_state": 1},
    ],
)
def test_options_go_where_they_should(mdata, option):
    sg.tl.match_within_labels(mdata, **option)
    z = {m: adata.obsm["X_groove"] for m, adata in mdata.mod.items()}
    codes = {m: mdata[m].obs["label"].astype(str).str[1:].astype(int).to_numpy() for m in z}
    seed = option.pop("random_state", 0)
    maps, _ = rematch(z, z, codes, 20, Rematch(**option), seed)
    plain, _ = rematch(z, z, codes, 20, Rematch(), 0)
    found = mdata["rna"].obsm["X_groove_matched"]
    np.testing.assert_allclose(found, apply(maps["rna"], z["rna"]), atol=1e-6)
    other = apply(plain["rna"], z["rna"])
    assert other.shape != found.shape or np.abs(other - found).max() > 1e-3


def test_modalities_and_columns_by_name(mdata):
    sg.tl.match_within_labels(mdata, key_added="expected")
    mdata.mod["third"] = mdata["rna"].copy()
    mdata["protein"].obs["guide"] = mdata["protein"].obs.pop("label")
    sg.tl.match_within_labels(
        mdata, label_key={"rna": "label", "protein": "guide"}, modalities=["rna", "protein"], key_added="z"
    )
    assert "z" not in mdata.mod["third"].obsm
    for m in ("rna", "protein"):
        np.testing.assert_array_equal(mdata[m].obsm["z"], mdata[m].obsm["expected"])


def test_cells_without_a_label_teach_nothing_and_have_a_place(mdata):
    hidden = mdata["rna"].obs["label"].isin(["g00", "g01"]).to_numpy()
    mdata["rna"].obs["label"] = mdata["rna"].obs["label"].astype(str).where(~hidden, "none")
    sg.tl.match_within_labels(mdata, unlabeled_category="none")
    whole = mdata["rna"].obsm["X_groove_matched"]
    assert np.ptp(whole[hidden], axis=0).min() > 0
    changed = mdata.copy()
    changed["rna"].obsm["X_groove"][hidden] *= 5
    sg.tl.match_within_labels(changed, unlabeled_category="none")
    np.testing.assert_allclose(changed["rna"].obsm["X_groove_matched"][~hidden], whole[~hidden], atol=1e-8)


def test_refusals_leave_the_data_as_they_were(mdata):
    with pytest.raises(KeyError, match="Did you mean 'X_groove'"):
        sg.tl.match_within_labels(mdata, "X_grove")
    with pytest.raises(KeyError, match="lable"):
        sg.tl.match_within_labels(mdata, label_key="lable")
    with pytest.raises(KeyError, match=r"no 'X_pcs' in .*Did you mean inputs='X_pca'.*may also name a layer"):
        sg.tl.match_within_labels(mdata, inputs="X_pcs")
    with pytest.raises(ValueError, match="inputs names"):
        sg.tl.match_within_labels(mdata, inputs={"rna": "X_pca"})
    with pytest.raises(ValueError, match="n_rounds"):
        sg.tl.match_within_labels(mdata, n_rounds=0)
    with pytest.raises(ValueError, match="seed must be"):
        sg.tl.match_within_labels(mdata, random_state=-1)
    mdata["protein"].obsm["X_groove"][:] = 1
    with pytest.raises(ValueError, match="'protein' do not differ inside their labels"):
        sg.tl.match_within_labels(mdata)
    with pytest.raises(TypeError, match="MuData"):
        sg.tl.match_within_labels(mdata["rna"])
    with pytest.raises(TypeError, match=r"use_rep must be one name.*obsm\['X_shared'\]"):
        sg.tl.match_within_labels(mdata, {"rna": "X_groove", "protein": "X_pca"})
    assert all("X_groove_matched" not in adata.obsm for adata in mdata.mod.values())
