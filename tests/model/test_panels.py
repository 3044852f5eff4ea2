"""Panels of a few antibodies, and proteins that one batch did not measure."""

import re
import warnings

import anndata as ad
import mudata as md
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import scgroove as sg
from scgroove.model import GROOVE

QUICK = {"max_epochs": 1, "accelerator": "cpu", "enable_progress_bar": False}


def screen(prot, label, **obs):
    """RNA of as many cells, which knows the label, beside a panel of proteins."""
    rng = np.random.default_rng(1)
    codes = np.unique(label, return_inverse=True)[1]
    rna = rng.poisson(np.exp(rng.normal(size=(codes.max() + 1, 25)) + 1)[codes]) + 1

    def modality(x, m):
        frame = pd.DataFrame({"label": label, **obs}, index=[f"{m}{i}" for i in range(len(x))])
        names = pd.DataFrame(index=[f"{m}_{j}" for j in range(x.shape[1])])
        return ad.AnnData(x.astype(np.float32), obs=frame, var=names)

    return md.MuData({"rna": modality(rna, "rna"), "prot": modality(prot, "prot")})


def knock_out(n=60):
    """Four proteins; the knock-out takes nine tenths of the first, and nothing of the others."""
    label = np.repeat(["control", "knock-out"], n)
    rate = np.tile([900.0, 50.0, 30.0, 20.0], (2 * n, 1))
    rate[n:, 0] = 90
    return screen(np.random.default_rng(0).poisson(rate), label)


@pytest.mark.parametrize("method", ["decoder", "knn"])
def test_proteins_that_a_knock_out_leaves_alone_have_no_measured_effect(method):
    mdata = knock_out()
    GROOVE.setup_mudata(mdata, "label")
    model = GROOVE(mdata, n_latent=2)
    assert model.likelihood["prot"] == "nb_panel"
    assert "4 features" in model.likelihood_reasons["prot"]
    assert "library_size" not in model.get_units("prot")
    model.train(**QUICK)
    sg.tl.embed(mdata, model)
    sg.tl.impute(mdata, "rna", "prot", method=method, model=model if method == "decoder" else None)
    table = sg.tl.perturbation_effects(mdata, "rna", "prot", "control").set_index("feature")
    assert table["measured"]["prot_0"] == pytest.approx(-810, abs=20)
    others = table.loc[["prot_1", "prot_2", "prot_3"]]
    assert ((others["measured_low"] < 0) & (others["measured_high"] > 0)).all()


def test_library_sizes_of_a_panel_are_warned_of_and_those_of_others_are_not():
    mdata = knock_out()
    GROOVE.setup_mudata(mdata, "label")
    with pytest.warns(UserWarning, match="nb_panel"):
        GROOVE(mdata, likelihood={"prot": "nb"})
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        GROOVE(mdata, likelihood={"prot": "poisson_panel", "rna": "nb"})


def test_a_total_that_a_likelihood_does_not_know_is_refused():
    mdata = knock_out()
    GROOVE.setup_mudata(mdata, "label")
    model = GROOVE(mdata, n_latent=2)
    model.train(**QUICK)
    with pytest.raises(ValueError, match="library_size"):
        model.translate("rna", "prot", library_size=1000)


def two_batches(n=40, d=6, lacking=3, seed=0):
    """A panel of which batch b did not measure one protein, which it counts as 0."""
    rng = np.random.default_rng(seed)
    label, batch = np.repeat(["control", "x", "y", "z"], n), np.tile(["a", "b"], 2 * n)
    fold = np.exp(rng.normal(size=(4, d)) * 0.5)
    prot = rng.poisson(40 * fold[np.unique(label, return_inverse=True)[1]])
    prot[batch == "b", lacking] = 0
    return screen(prot, label, batch=batch)


def set_up(mdata, **options):
    with pytest.warns(
        UserWarning, match="Missing features in modality 'prot': 'prot_3' .* in batch 'b'"
    ):
        GROOVE.setup_mudata(mdata, "label", batch_key="batch", **options)
    return GROOVE(mdata, n_latent=4)


def test_a_protein_absent_from_a_batch_is_imputed_as_the_other_batch_measured_it():
    mdata = two_batches()
    model = set_up(mdata)
    model.train(**{**QUICK, "max_epochs": 20})
    truth = np.asarray(mdata["prot"].X)[(mdata["prot"].obs["batch"] == "a").to_numpy(), 3].mean()
    for batch in (None, "a", "b"):
        found = model.translate("rna", "prot", target_batch=batch)[:, 3].mean()
        assert found == pytest.approx(truth, rel=0.2)


@pytest.mark.filterwarnings("ignore:Missing features", "ignore:In 'prot', a panel")
@pytest.mark.parametrize("likelihood", ["nb", "nb_panel", "normal", "poisson"])
def test_zeros_of_what_was_not_measured_are_never_looked_at(likelihood):
    """What stands there may be anything: losses, gradients and latents are the same."""
    found = []
    for value in (0.0, 77.0):
        mdata = two_batches()
        GROOVE.setup_mudata(mdata, "label", batch_key="batch")
        model = GROOVE(mdata, n_latent=4, likelihood={"prot": likelihood})
        model.train(**QUICK)
        mdata["prot"].X[(mdata["prot"].obs["batch"] == "b").to_numpy(), 3] = value
        model.train(**QUICK)
        found.append([model.get_latent_representation()["prot"], model.translate("prot", "rna")])
        found[-1].append(model.get_reconstruction_error()["prot"])
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_effects_are_those_of_the_cells_that_measured_the_protein():
    mdata = two_batches()
    model = set_up(mdata)
    model.train(**QUICK)
    sg.tl.impute(mdata, "rna", "prot", model=model)
    measured = sg.get.measured(mdata, "rna", "prot")
    lacks = (mdata["prot"].obs["batch"] == "b").to_numpy()
    assert np.isnan(measured[lacks, 3]).all()
    assert not np.isnan(np.delete(measured, 3, axis=1)).any()
    table = sg.tl.perturbation_effects(mdata, "rna", "prot", "control").set_index(
        ["label", "feature"]
    )
    x, label = np.asarray(mdata["prot"].X)[~lacks, 3], mdata["prot"].obs["label"].to_numpy()[~lacks]
    by_hand = x[label == "x"].mean() - x[label == "control"].mean()
    assert table["measured"]["x", "prot_3"] == pytest.approx(by_hand, rel=1e-5)
    assert table["measured_low"]["x", "prot_3"] < by_hand < table["measured_high"]["x", "prot_3"]


def test_a_query_that_lacks_a_protein_is_told_and_mapped_by_the_others():
    mdata = two_batches()
    mdata = md.MuData({m: mdata[m][mdata[m].obs["batch"] == "a"].copy() for m in ("rna", "prot")})
    GROOVE.setup_mudata(mdata, "label", batch_key="batch")
    model = GROOVE(mdata, n_latent=4)
    model.train(**QUICK)
    query = mdata["prot"].copy()
    query.X[:, 3] = 0
    with pytest.warns(UserWarning, match="'prot_3' .* in batch 'a'"):
        found = model.get_latent_representation(query, "prot")
    mean = mdata["prot"].copy()
    transform = model.module.encoder_of("prot").transform
    mean.X[:, 3] = np.expm1(transform.center[3].item())  # the neutral value
    np.testing.assert_allclose(found, model.get_latent_representation(mean, "prot"), atol=1e-4)


@pytest.fixture(scope="module")
def lacked_by_a_label():
    """A model of proteins of which label x has none of one; and x alone."""
    rng = np.random.default_rng(0)
    prot = rng.poisson(40, size=(160, 6))
    label = np.repeat(["control", "x", "y", "z"], 40)
    prot[label == "x", 2] = 0
    mdata = screen(prot, label)
    GROOVE.setup_mudata(mdata, "label")
    model = GROOVE(mdata, n_latent=4)
    model.train(**QUICK)
    return model, mdata["prot"], np.flatnonzero(label == "x")


def test_zeros_of_a_label_that_lacks_a_protein_are_true_whichever_cells_come_along(
    lacked_by_a_label,
):
    model, prot, of_x = lacked_by_a_label
    together = model.get_latent_representation(prot.copy(), "prot")[of_x]
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        alone = model.get_latent_representation(prot[of_x].copy(), "prot")
    np.testing.assert_allclose(alone, together, atol=1e-5)


def test_zeros_that_no_label_explains_are_masked_unless_the_user_says_that_all_was_measured(
    lacked_by_a_label,
):
    model, prot, _ = lacked_by_a_label
    query, other = prot.copy(), prot.copy()
    query.X[:, 3] = 0
    other.X[:, 3] = 0
    other.X[0, 3] = 1  # one cell has it: nothing is masked
    with pytest.warns(
        UserWarning, match=r"'prot_3' .*mdata.mod\['prot'\].uns\['not_measured'\] = \{\}"
    ):
        masked = model.get_latent_representation(query, "prot")
    query.uns["not_measured"] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        found = model.get_latent_representation(query, "prot")
    np.testing.assert_allclose(
        found[1:], model.get_latent_representation(other, "prot")[1:], atol=1e-5
    )
    assert np.abs(found - masked).max() > 0.01


def test_a_batch_of_labels_of_few_cells_that_lacks_a_protein_is_found():
    """Labels of three cells each have none of it by chance now and then, as a tenth of all cells."""
    rng = np.random.default_rng(0)
    label, batch = np.repeat([f"g{i}" for i in range(80)], 6), np.tile(["a", "b"], 240)
    prot = rng.poisson(40, size=(480, 6)) * (rng.random((480, 6)) > 0.1)
    prot[batch == "b", 3] = 0
    mdata = screen(prot, label, batch=batch)
    with pytest.warns(UserWarning, match="'prot_3' .* in batch 'b'"):
        GROOVE.setup_mudata(mdata, "label", batch_key="batch")
    assert mdata["prot"].uns["not_measured"]["feature"].tolist() == ["prot_3"]


def test_a_batch_of_the_label_that_lacks_a_protein_measured_it():
    """Batch b has x alone, whose cells of batch a have none of the protein either."""
    rng = np.random.default_rng(0)
    label, batch = np.repeat(["x", "y", "x"], 40), np.repeat(["a", "a", "b"], 40)
    prot = rng.poisson(40, size=(120, 6))
    prot[label == "x", 3] = 0
    mdata = screen(prot, label, batch=batch)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        GROOVE.setup_mudata(mdata, "label", batch_key="batch", paired=False)
    assert "not_measured" not in mdata["prot"].uns


def test_going_on_with_a_batch_that_lacks_a_protein():
    mdata = two_batches()
    first, second = (
        md.MuData({m: mdata[m][mdata[m].obs["batch"] == b].copy() for m in ("rna", "prot")})
        for b in "ab"
    )
    GROOVE.setup_mudata(first, "label", batch_key="batch")
    model = GROOVE(first, n_latent=4)
    model.train(**{**QUICK, "max_epochs": 20})
    with pytest.warns(UserWarning, match="in batch 'b'"):
        query = GROOVE.load_query_data(second, model)
    query.train(**{**QUICK, "max_epochs": 20})
    truth = np.asarray(first["prot"].X)[:, 3].mean()
    assert query.translate("rna", "prot")[:, 3].mean() == pytest.approx(truth, rel=0.3)


@pytest.mark.filterwarnings("ignore:Missing features")
def test_what_was_not_measured_is_kept_when_a_model_is_saved(tmp_path):
    mdata = two_batches()
    GROOVE.setup_mudata(mdata, "label", batch_key="batch")
    model = GROOVE(mdata, n_latent=4)
    model.train(**QUICK)
    model.save(tmp_path / "model")
    mdata.write(tmp_path / "data.h5mu")
    again = md.read(tmp_path / "data.h5mu")
    loaded = GROOVE.load(tmp_path / "model", again)
    np.testing.assert_allclose(
        loaded.translate("rna", "prot"), model.translate("rna", "prot"), rtol=1e-5
    )
    sg.tl.impute(again, "rna", "prot", model=loaded)
    assert np.isnan(sg.get.measured(again, "rna", "prot")).sum() == 80


@pytest.mark.parametrize("form", [np.asarray, sp.csr_matrix])
def test_missing_proteins_written_as_nan_are_masked_if_the_advice_is_followed(form):
    mdata = two_batches()
    prot = mdata["prot"]
    prot.X[(prot.obs["batch"] == "b").to_numpy(), 3] = np.nan
    prot.X = form(prot.X)
    with pytest.raises(ValueError, match="holds 80 NaN") as caught:
        GROOVE.setup_mudata(mdata, "label", batch_key="batch")
    line = re.search(r"write 0, (.* = .*), and set up", str(caught.value)).group(1)
    exec(line, {"mdata": mdata, "np": np})
    with pytest.warns(UserWarning, match="Missing features"):
        GROOVE.setup_mudata(mdata, "label", batch_key="batch")
    assert prot.uns["not_measured"]["feature"].tolist() == ["prot_3"]


def test_a_rare_gene_that_a_small_batch_has_none_of_is_no_absent_feature():
    rng = np.random.default_rng(0)
    label, batch = np.repeat(["x", "y"], 100), np.array((["a"] * 9 + ["b"]) * 20)
    prot = rng.poisson(np.full((200, 6), 30.0))
    prot[:, 3] = rng.poisson(0.3, size=200) * (
        batch == "a"
    )  # 20 cells of b without: 0.74^20 = 0.002
    mdata = screen(prot, label, batch=batch)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        GROOVE.setup_mudata(mdata, "label", batch_key="batch", paired=False)
    assert "not_measured" not in mdata["prot"].uns


@pytest.mark.filterwarnings("ignore:Missing features")
def test_setting_up_anew_forgets_what_a_batch_lacked():
    mdata = two_batches()
    GROOVE.setup_mudata(mdata, "label", batch_key="batch")
    assert mdata["prot"].uns["not_measured"]["feature"].tolist() == ["prot_3"]
    GROOVE.setup_mudata(mdata, "label")
    assert "not_measured" not in mdata["prot"].uns


@pytest.mark.filterwarnings("ignore:Missing features")
def test_learners_see_the_mean_where_nothing_was_measured():
    from scgroove.data.features import Features

    mdata = two_batches()
    GROOVE.setup_mudata(mdata, "label", batch_key="batch")
    prot = mdata["prot"]
    seen = Features.fit(prot, "prot")(prot)
    lacks = (prot.obs["batch"] == "b").to_numpy()
    assert (seen[lacks, 3] == 0).all()
    x = np.log1p(np.asarray(prot.X)[~lacks, 3])
    np.testing.assert_allclose(seen[~lacks, 3], (x - x.mean()) / x.std(), atol=1e-5)


@pytest.mark.filterwarnings("ignore:Missing features")
@pytest.mark.parametrize("method", ["knn", "label_ridge"])
def test_every_way_of_imputing_and_scoring_leaves_out_what_was_not_measured(method):
    mdata = two_batches()
    GROOVE.setup_mudata(mdata, "label", batch_key="batch")
    model = GROOVE(mdata, n_latent=4)
    model.train(**QUICK)
    sg.tl.embed(mdata, model)
    sg.tl.impute(mdata, "rna", "prot", method=method, label_key="label")
    prot, label = np.asarray(mdata["prot"].X)[:, 3], mdata["prot"].obs["label"].to_numpy()
    has = (mdata["prot"].obs["batch"] == "a").to_numpy()
    imputed = sg.get.imputed(mdata, "rna", "prot")["prot_3"]
    assert imputed.mean() == pytest.approx(prot[has].mean(), rel=0.1)
    scores = sg.tl.score_imputation(mdata, "rna", "prot", control="control").set_index("metric")
    assert np.isfinite(scores["value"]).all()
    sg.pl.imputed_vs_measured(mdata, "rna", "prot", show=False)
    features = mdata.uns["imputation_rna_prot"]["features"].set_index("feature")
    means = [
        imputed.groupby(mdata["rna"].obs["label"].to_numpy()).mean(),
        pd.Series(prot[has]).groupby(label[has]).mean(),
    ]
    assert features["pearson_of_labels"]["prot_3"] == pytest.approx(
        np.corrcoef(*means)[0, 1], abs=1e-4
    )


def test_going_on_without_batches_with_data_that_lack_a_protein():
    def whole(seed):
        rate = np.random.default_rng(7).uniform(20, 60, size=(4, 6))
        label = np.repeat([f"g{i}" for i in range(4)], 30)
        return screen(np.random.default_rng(seed).poisson(rate.repeat(30, axis=0)), label)

    mdata, query = whole(0), whole(1)
    GROOVE.setup_mudata(mdata, "label")
    model = GROOVE(mdata, n_latent=2)
    model.train(**{**QUICK, "max_epochs": 20})
    query["prot"].X[:, 3] = 0
    with pytest.warns(UserWarning, match="Missing features"):
        goes_on = GROOVE.load_query_data(query, model)
    goes_on.train(**QUICK)
    truth = np.asarray(mdata["prot"].X)[:, 3].mean()
    assert goes_on.translate("rna", "prot")[:, 3].mean() == pytest.approx(truth, rel=0.3)
    sg.tl.impute(query, "rna", "prot", model=goes_on)
    assert np.isnan(sg.get.measured(query, "rna", "prot")[:, 3]).all()
