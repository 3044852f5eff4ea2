"""GROOVE.setup_mudata: what it registers, and what it refuses, leaving the data as they were."""

import logging
import warnings

import anndata as ad
import mudata as md
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import scvi

from scgroove.data import ModalityManager
from scgroove.model import GROOVE


def snapshot(mdata):
    """Everything of a MuData that a failed call could have touched."""
    return {
        "uns": sorted(map(str, mdata.uns)),
        **{
            m: (
                a.obs.to_csv(),
                [str(k) for k in a.uns],
                sorted(a.obsm),
                a.X.toarray().tobytes() if sp.issparse(a.X) else np.asarray(a.X).tobytes(),
            )
            for m, a in mdata.mod.items()
        },
    }


def states(model_or_manager, kind):
    registry = model_or_manager.registry["field_registries"]
    return {k: v["state_registry"] for k, v in registry.items() if k.startswith(kind)}


@pytest.mark.parametrize("kind", ["disjoint", "overlap", "paired", "permuted"])
def test_codes_are_equal_across_modalities(make_mdata, kind):
    mdata = make_mdata(kind)
    GROOVE.setup_mudata(mdata, "label")
    model = GROOVE(mdata)
    vocabularies = [list(s["categorical_mapping"]) for s in states(model, "labels_").values()]
    assert (
        vocabularies[0]
        == vocabularies[1]
        == sorted({x for m in mdata.mod for x in mdata[m].obs["label"]})
    )
    for m in mdata.mod:
        codes = mdata[m].obs[f"_scvi_labels_{m}"].to_numpy()
        assert (np.asarray(vocabularies[0])[codes] == mdata[m].obs["label"].astype(str)).all()
    assert isinstance(mdata["rna"].X, sp.csr_matrix)


def test_categories_in_another_order(make_mdata):
    one, other = make_mdata(), make_mdata()
    for m in other.mod:
        column = other[m].obs["label"]
        other[m].obs["label"] = column.cat.reorder_categories(list(column.cat.categories)[::-1])
    for mdata in (one, other):
        GROOVE.setup_mudata(mdata, "label")
    for m in one.mod:
        assert (
            one[m].obs[f"_scvi_labels_{m}"].to_numpy()
            == other[m].obs[f"_scvi_labels_{m}"].to_numpy()
        ).all()


def test_one_label_column_for_each_modality_layers_and_batches(make_mdata):
    mdata = make_mdata()
    mdata["img"].obs = mdata["img"].obs.rename(columns={"label": "drug"})
    mdata["rna"].layers["counts"] = mdata["rna"].X.copy()
    mdata["rna"].X = np.log1p(mdata["rna"].X.toarray())
    GROOVE.setup_mudata(
        mdata, {"rna": "label", "img": "drug"}, layers={"rna": "counts"}, batch_key={"rna": "lane"}
    )
    model = GROOVE(mdata)
    assert model.likelihood == {"rna": "nb", "img": "normal"}
    assert "whole numbers" in model.likelihood_reasons["rna"]
    assert [len(s["categorical_mapping"]) for s in states(model, "batch_").values()] == [2, 1]
    view = ModalityManager(model.adata_manager, "rna")
    assert set(view.data_registry) == {"X", "batch", "labels"}
    assert isinstance(view.get_from_registry("X"), sp.csr_matrix)
    model.view_anndata_setup()


def test_chosen_modalities_only(make_mdata):
    mdata = make_mdata()
    third = ad.AnnData(np.full((5, 2), np.nan))
    third.obs_names = [f"t{i}" for i in range(5)]
    mdata = md.MuData({**mdata.mod, "other": third})
    GROOVE.setup_mudata(mdata, "label", modalities=["img", "rna"])
    assert GROOVE(mdata).modalities == ["img", "rna"]


def test_missing_labels_are_unlabeled_and_said(make_mdata):
    mdata = make_mdata()
    mdata["rna"].obs["label"] = mdata["rna"].obs["label"].where(np.arange(200) % 4 > 0)
    with pytest.warns(
        UserWarning, match="Cells without a label: 50 in 'rna'. They are treated as unlabeled"
    ):
        GROOVE.setup_mudata(mdata, "label")
    assert (mdata["rna"].obs["_scvi_labels_rna"] == -1).sum() == 50
    named = make_mdata()
    with pytest.warns(UserWarning, match="40 in 'rna', 30 in 'img'"):
        GROOVE.setup_mudata(named, "label", unlabeled_category="ctrl")
    assert (named["img"].obs["_scvi_labels_img"] == -1).sum() == 30


def test_equal_default_names_are_not_pairs_in_silence(make_mdata):
    mdata = make_mdata()
    mods = {m: mdata[m].copy() for m in mdata.mod}
    for a in mods.values():
        a.obs_names = [str(i) for i in range(a.n_obs)]
    with pytest.warns(UserWarning, match="default numbering"):
        GROOVE.setup_mudata(md.MuData(mods), "label")


def test_other_models_do_not_interfere(make_mdata):
    mdata = make_mdata()
    GROOVE.setup_mudata(mdata, "label", batch_key="lane")
    model = GROOVE(mdata)
    before = ModalityManager(model.adata_manager, "rna").get_from_registry("batch").copy()
    mdata["rna"].obs["swapped"] = pd.Categorical(
        np.where(mdata["rna"].obs["lane"] == "l0", "z", "a")
    )
    scvi.model.SCVI.setup_anndata(mdata["rna"], batch_key="swapped")
    model._validate_anndata(None)
    assert (ModalityManager(model.adata_manager, "rna").get_from_registry("batch") == before).all()


def test_columns_first_is_slow_and_said(make_mdata):
    mdata = make_mdata()
    mdata["rna"].X = mdata["rna"].X.tocsc()
    with pytest.warns(
        UserWarning, match=r"mdata\['rna'\].X is stored by columns .* = mdata\['rna'\].X.tocsr\(\)"
    ):
        GROOVE.setup_mudata(mdata, "label")


def test_what_was_found_is_said(make_mdata):
    said = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())
    logging.getLogger("scvi").addHandler(handler)
    try:
        mdata = make_mdata("paired")
        GROOVE.setup_mudata(mdata, "label")
        GROOVE(mdata)
    finally:
        logging.getLogger("scvi").removeHandler(handler)
    text = "\n".join(said)
    assert "5 shared labels, 0 exclusive" in text
    assert "Cells with equal names or identifiers are the same cells" in text
    assert "Likelihood of 'rna': nb, because all values are whole numbers" in text
    assert "Likelihood of 'img': normal, because there are negative values" in text


# -- bad input: an error that teaches, and data as they were ---------------------------------------------------


def drop_label(mdata):
    del mdata["img"].obs["label"]


def no_shared(mdata):
    mdata["img"].obs["label"] = ["x_" + str(v) for v in mdata["img"].obs["label"]]


def one_cell(mdata):
    labels = mdata["img"].obs["label"].astype(object).to_numpy(copy=True)
    labels[labels == "A"] = "B"
    labels[0] = "A"
    mdata["img"].obs["label"] = labels


def all_missing(mdata):
    mdata["img"].obs["label"] = None


def put(modality, value):
    def change(mdata):
        x = mdata[modality].X
        if sp.issparse(x):
            x.data[5] = value
        else:
            x[3, 1] = value

    return change


def zero_cell(mdata):
    x = mdata["rna"].X.tolil()
    x[7] = 0
    mdata["rna"].X = x.tocsr()


def duplicated(mdata):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mdata["rna"].obs_names = ["twice", "twice", *mdata["rna"].obs_names[2:]]


def missing_batch(mdata):
    lane = mdata["rna"].obs["lane"].astype(object)
    lane.iloc[0] = None
    mdata["rna"].obs["lane"] = lane


BAD = {
    "label key missing in one modality": (drop_label, {}, KeyError, r"Label column 'label' not found in mdata\['img'\]"),
    "no shared label": (no_shared, {}, ValueError, "No label is shared by two modalities. Labels found"),
    "a label with one cell": (one_cell, {}, ValueError, r"fewer than 2 cells in a modality: \{'A'.*min_cells_per_label=1"),
    "all labels missing": (all_missing, {}, ValueError, "All 150 labels of modality 'img' are missing"),
    "NaN": (put("img", np.nan), {}, ValueError, r"holds 1 NaN and 0 infinite value.* cell 'i3', feature 'i_f1'"),
    "inf in sparse": (put("rna", np.inf), {}, ValueError, "holds 0 NaN and 1 infinite value"),
    "all-zero cell": (zero_cell, {}, ValueError, r"has 1 cell\(s\) in which every value is zero, the first is 'r7'"),
    "duplicated obs names": (duplicated, {}, ValueError, "obs_names are not unique: 'twice'.*obs_names_make_unique"),
    "unknown modality": (None, {"modalities": ["rna", "imgs"]}, KeyError, "Unknown modality 'imgs'.*Did you mean 'img'"),
    "one modality": (None, {"modalities": ["rna"]}, ValueError, "Expected at least two modalities"),
    "unknown layer": (None, {"layers": {"rna": "counts"}}, KeyError, "Layer 'counts' not found"),
    "layer of no modality": (None, {"layers": {"rn": None}}, KeyError, "layers names"),
    "unknown batch": (None, {"batch_key": "plate"}, KeyError, r"Batch column 'plate' not found in mdata\['rna'\]"),
    "batch of no modality": (None, {"batch_key": {"x": "lane"}}, KeyError, "batch_key names"),
    "missing batch": (missing_batch, {"batch_key": "lane"}, ValueError, "has missing batches"),
    "typo": (None, {"label": "label"}, TypeError, "unexpected arguments.*Expected label_key"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input(make_mdata, case):
    change, kwargs, error, message = BAD[case]
    mdata = make_mdata()
    if change:
        change(mdata)
    before = snapshot(mdata)
    with pytest.raises(error, match=message):
        GROOVE.setup_mudata(mdata, **kwargs)
    assert snapshot(mdata) == before


@pytest.mark.parametrize("shape", [(0, 8), (150, 0)])
def test_empty_modality(make_mdata, shape):
    img = make_mdata()["img"][: shape[0], : shape[1]].copy()
    mdata = md.MuData({"rna": make_mdata()["rna"], "img": img})
    with pytest.raises(
        ValueError, match=f"Modality 'img' is empty: {shape[0]} cells x {shape[1]} features"
    ):
        GROOVE.setup_mudata(mdata, "label")


def test_dotted_name(make_mdata):
    mods = make_mdata().mod
    with pytest.raises(ValueError, match=r"may not contain a dot .* found \['a.b'\]"):
        GROOVE.setup_mudata(md.MuData({"rna": mods["rna"], "a.b": mods["img"]}), "label")


def test_not_a_mudata(make_mdata):
    with pytest.raises(TypeError, match="Expected a MuData, found AnnData"):
        GROOVE.setup_mudata(make_mdata()["rna"], "label")
    with pytest.raises(NotImplementedError, match=r"GROOVE.setup_mudata\(mudata.MuData"):
        GROOVE.setup_anndata(make_mdata()["rna"])


def test_one_cell_labels_when_asked_for(make_mdata):
    mdata = make_mdata()
    one_cell(mdata)
    GROOVE.setup_mudata(mdata, "label", min_cells_per_label=1)
    assert "A" in list(states(GROOVE(mdata), "labels_")["labels_rna"]["categorical_mapping"])


def test_failure_inside_registration_is_undone(make_mdata, monkeypatch):
    mdata = make_mdata()
    before = snapshot(mdata)
    monkeypatch.setattr(scvi.data.AnnDataManager, "_assign_uuid", lambda self: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        GROOVE.setup_mudata(mdata, "label")
    assert snapshot(mdata) == before


@pytest.mark.parametrize(
    ("likelihood", "message"),
    [
        (
            {"img": "nb"},
            r"Modality 'img' has negative values \(minimum .*layers=\{'rna': None, 'img': '...'\}",
        ),
        ({"img": "gamma"}, "Unknown likelihood 'gamma' for 'img'"),
        ({"image": "nb"}, r"likelihood names \['image'\]"),
        ({"rna": "bernoulli"}, "has values above 1"),
    ],
)
def test_likelihood_that_does_not_fit(make_mdata, likelihood, message):
    mdata = make_mdata()
    GROOVE.setup_mudata(mdata, "label")
    before = snapshot(mdata)
    with pytest.raises(ValueError, match=message):
        GROOVE(mdata, likelihood=likelihood)
    assert snapshot(mdata) == before


def test_fractions_are_not_counts(make_mdata):
    mdata = make_mdata()
    mdata["rna"].X = (mdata["rna"].X * 0.5).tocsr()
    GROOVE.setup_mudata(mdata, "label")
    with pytest.raises(
        ValueError,
        match="values that are not whole numbers, which the likelihood 'poisson' cannot have",
    ):
        GROOVE(mdata, likelihood={"rna": "poisson"})
    assert GROOVE(mdata).likelihood["rna"] == "normal"


def relabeled(mdata, names, modalities=("rna", "img")):
    for m in modalities:
        mdata[m].obs["label"] = (
            mdata[m].obs["label"].cat.rename_categories(lambda label: names.get(label, label))
        )
    return mdata


@pytest.mark.parametrize("category", [0, 0.0, "0", np.int64(0), ["0"], (0,), np.array([0.0])])
def test_the_unlabeled_category_may_be_a_number_or_a_list(make_mdata, category):
    mdata = make_mdata()
    for m, dtype in (("rna", np.float32), ("img", int)):
        mdata[m].obs["label"] = mdata[m].obs["label"].cat.codes.to_numpy().astype(dtype)
    GROOVE.setup_mudata(mdata, "label", unlabeled_category=category)
    assert GROOVE(mdata).get_label_table()["status"].to_dict()["(unlabeled)"] == "unlabeled"
    assert not (
        mdata["rna"].obs["_scvi_labels_rna"].to_numpy()[mdata["rna"].obs["label"] == 0] >= 0
    ).any()


def test_several_unlabeled_categories_survive_saving_and_queries(make_mdata, tmp_path):
    names = {"A": "unassigned", "B": "multiplet"}
    mdata = relabeled(make_mdata(), names)
    GROOVE.setup_mudata(mdata, "label", unlabeled_category=("unassigned", "multiplet"))
    model = GROOVE(mdata, n_latent=3)
    model.save(tmp_path / "m")
    loaded = GROOVE.load(tmp_path / "m", relabeled(make_mdata(), names))
    assert loaded.registry["setup_args"]["unlabeled_category"] == ["multiplet", "unassigned"]
    assert loaded.get_label_table().equals(model.get_label_table())
    assert set(loaded.get_label_table().index) == {"C", "D", "E", "ctrl", "(unlabeled)"}
    model.train(1, accelerator="cpu")
    query = relabeled(make_mdata(seed=1), names)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        GROOVE.load_query_data(query, model)
    assert (
        query["img"].obs["_scvi_labels_img"][query["img"].obs["label"].isin(names.values())] == -1
    ).all()


def test_a_misspelled_unlabeled_category_is_said(make_mdata):
    mdata = relabeled(make_mdata(), {"A": "unassigned"})
    with pytest.warns(
        UserWarning, match=r"'Unassigned' is no label of these data.*Did you mean 'unassigned'"
    ):
        GROOVE.setup_mudata(mdata, "label", unlabeled_category="Unassigned")


@pytest.mark.parametrize("word", ["Unassigned", "multiplet", "doublet", "negative", "unknown"])
def test_a_label_that_looks_like_none_links_the_modalities_and_is_said(make_mdata, word):
    mdata = relabeled(make_mdata(), {"A": word})
    with pytest.warns(UserWarning, match=rf"unlabeled_category=\['{word}'\]") as caught:
        GROOVE.setup_mudata(mdata, "label")
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*look like")
        GROOVE.setup_mudata(mdata, "label", unlabeled_category=word)


def test_text_that_means_none_does_not_link_the_modalities(make_mdata):
    mdata = relabeled(make_mdata(), {"A": "nan"})
    with pytest.warns(
        UserWarning, match=r"mdata\['rna'\].obs\['label'\] has text.*'nan' \(40 cells\)"
    ):
        GROOVE.setup_mudata(mdata, "label")
    assert GROOVE(mdata).get_label_table().loc["(unlabeled)", ["rna", "img"]].tolist() == [40, 30]


def test_labels_that_look_alike_are_said_and_the_line_given_makes_them_one(make_mdata):
    mdata = relabeled(make_mdata(), {"A": "a ", "B": "B_1"}, ["rna"])
    relabeled(mdata, {"A": "A", "B": "b-1"}, ["img"])
    with pytest.warns(
        UserWarning, match=r"2 group\(s\) of labels look alike.*'a ' \(rna\)"
    ) as caught:
        GROOVE.setup_mudata(mdata, "label")
    line = str(next(w.message for w in caught if "alike" in str(w.message))).partition(
        "spell them alike: "
    )[2]
    exec(line.rstrip("."), {"mdata": mdata})
    with pytest.warns(UserWarning, match=r"1 group\(s\) of labels look alike"):
        GROOVE.setup_mudata(mdata, "label")
    assert "A" in mdata["rna"].obs["label"].to_numpy()


def test_doses_of_two_precisions_are_the_same_labels(make_mdata):
    mdata = make_mdata()
    doses = np.array([0, 0.01, 0.1, 1.0, 10])
    for m, dtype in (("rna", np.float32), ("img", np.float64)):
        mdata[m].obs["dose"] = doses[mdata[m].obs["label"].cat.codes].astype(dtype)
    mdata["img"].obs["dose"] = mdata["img"].obs["dose"].astype("category")
    GROOVE.setup_mudata(mdata, "dose")
    assert (GROOVE(mdata).get_label_table()["status"] == "shared").sum() == 5


def test_one_layer_for_all_modalities(make_mdata):
    mdata = make_mdata()
    for m in mdata.mod:
        mdata[m].layers["raw"] = mdata[m].X.copy()
    GROOVE.setup_mudata(mdata, "label", layers="raw")
    assert GROOVE(mdata).registry["setup_args"]["layers"] == {"rna": "raw", "img": "raw"}


def test_one_batch_column_may_stand_in_a_list_and_several_give_the_line_that_joins_them(make_mdata):
    mdata = make_mdata()
    GROOVE.setup_mudata(mdata, "label", batch_key=["lane"])
    mdata["rna"].obs["run"] = mdata["img"].obs["run"] = "x"
    before = snapshot(mdata)
    with pytest.raises(TypeError, match="batch_key must be one column") as caught:
        GROOVE.setup_mudata(mdata, "label", batch_key=["lane", "run"])
    assert snapshot(mdata) == before
    line = str(caught.value).partition("Join them in every modality: ")[2].partition(", then")[0]
    exec(line, {"mdata": mdata})
    assert set(mdata["rna"].obs["lane_run"]) == {"l0_x", "l1_x"}


@pytest.mark.parametrize("argument", ["batch_key", "layers"])
def test_hints_keep_what_was_named_for_the_other_modality(make_mdata, argument):
    mdata = make_mdata()
    mdata["img"].obs["run"], mdata["img"].layers["run"] = "x", mdata["img"].X.copy()
    with pytest.raises(KeyError, match=rf"{argument}={{'rna': None, 'img': 'run'}}"):
        GROOVE.setup_mudata(mdata, "label", **{argument: "run"})


def test_labels_of_the_whole_mudata_come_with_the_line_that_copies_them(make_mdata):
    mdata = make_mdata()
    mdata.obs["guide"] = "g"
    with pytest.raises(KeyError, match="Copy it") as caught:
        GROOVE.setup_mudata(mdata, "guide")
    line = str(caught.value).partition("Copy it: ")[2].partition(". ")[0]
    exec(line, {"mdata": mdata})
    assert (mdata["rna"].obs["guide"] == "g").all()
