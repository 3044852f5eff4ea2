"""GROOVE: training, results, new data, saving."""

import os
import subprocess
import sys
from pathlib import Path

import mudata as md
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import scvi
import torch

from scgroove.errors import FeatureNamesError, FileError
from scgroove.losses import BackTranslation, GroupCLIP, Reconstruction
from scgroove.model import GROOVE
from scgroove.model._save import replaced_when_done

FAST = {"max_epochs": 3, "accelerator": "cpu", "enable_progress_bar": False, "n_cells_per_label": 8}


def fit(mdata, train=None, **kwargs):
    GROOVE.setup_mudata(mdata, "label", batch_key={"rna": "lane"})
    model = GROOVE(mdata, 4, hidden=(16,), **kwargs)
    model.train(**{**FAST, **(train or {})})
    return model


@pytest.fixture(scope="module")
def factory(make_mdata):
    return lambda seed=0: make_mdata("disjoint", seed)


@pytest.fixture(scope="module")
def trained(factory):
    return fit(factory())


# -- training --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["disjoint", "overlap", "paired", "permuted"])
def test_every_pairing(make_mdata, kind):
    mdata = make_mdata(kind)
    model = fit(mdata)
    latent = model.get_latent_representation()
    assert {m: z.shape for m, z in latent.items()} == {m: (mdata[m].n_obs, 4) for m in mdata.mod}
    assert all(z.dtype == np.float32 for z in latent.values())
    assert isinstance(mdata["rna"].X, sp.csr_matrix)
    if kind in ("paired", "permuted"):
        held_out = {m: set(mdata[m].obs_names[model.validation_indices[m]]) for m in mdata.mod}
        assert held_out["rna"] == held_out["img"]


def test_history_names_every_term(trained):
    terms = [
        "groupclip",
        "backtranslation",
        "label_accuracy",
        "reconstruction_rna",
        "reconstruction_img",
    ]
    names = [
        "train_loss",
        "validation_loss",
        *(f"{t}_{s}" for t in terms for s in ("train", "validation")),
    ]
    for name in [*names, "backtranslation_weight"]:
        values = trained.history[name].to_numpy(float)
        assert len(values) == 3, name
        assert np.isfinite(values).all(), name


def test_loss_is_the_weighted_sum_of_its_terms(factory):
    terms = [Reconstruction(0.5), GroupCLIP(2.0), BackTranslation(0.25, warmup=0.0)]
    h = fit(factory(), terms=terms).history
    for s in ("train", "validation"):
        last = {t: float(h[f"{t}_{s}"].iloc[-1, 0]) for t in ("groupclip", "backtranslation")}
        rec = sum(float(h[f"reconstruction_{m}_{s}"].iloc[-1, 0]) for m in ("rna", "img"))
        expected = 0.5 * rec + 2.0 * last["groupclip"] + 0.25 * last["backtranslation"]
        assert float(h[f"{s}_loss"].iloc[-1, 0]) == pytest.approx(expected, rel=1e-4)


@pytest.mark.slow
def test_training_lowers_every_term(factory):
    model = fit(factory(), {"max_epochs": 30})
    for t in ("groupclip", "reconstruction_rna", "reconstruction_img"):
        values = model.history[f"{t}_train"].to_numpy(float).ravel()
        assert values[-1] < values[0], t
    accuracy = model.get_cross_modal_label_accuracy()
    assert set(zip(accuracy["source"], accuracy["target"], strict=True)) == {
        ("rna", "img"),
        ("img", "rna"),
    }
    assert (accuracy["balanced_accuracy"] > 0.6).all()
    assert accuracy["chance"].tolist() == [0.25, 0.25]


def test_label_accuracy_is_that_of_cells_kept_out_of_training(factory):
    """Labels are shuffled: cells trained on lie where their label was learned, others do not."""
    mdata = factory()
    rng = np.random.default_rng(0)
    for m in mdata.mod:
        mdata[m].obs["label"] = rng.permutation(mdata[m].obs["label"].to_numpy())
    model = fit(mdata, {"max_epochs": 1, "train_size": 0.6})
    found = model.get_cross_modal_label_accuracy()
    every = model.get_cross_modal_label_accuracy(held_out=False)
    shared = set(mdata["rna"].obs["label"]) & set(mdata["img"].obs["label"])
    for table, cells in (
        (found, model.validation_indices),
        (every, {"rna": slice(None), "img": slice(None)}),
    ):
        expected = [
            mdata[m].obs["label"].iloc[cells[m]].isin(shared).sum() for m in table["source"]
        ]
        assert table["n_cells"].tolist() == expected
    pd.testing.assert_frame_equal(model.get_cross_modal_label_accuracy(mdata.copy()), every)
    model = fit(factory(), {"max_epochs": 1, "train_size": 1.0})
    with pytest.warns(UserWarning, match="No cells were kept out of training"):
        model.get_cross_modal_label_accuracy()


@pytest.mark.slow
def test_without_groupclip_labels_are_not_found_across_modalities(factory):
    model = fit(factory(), {"max_epochs": 30}, terms=[Reconstruction(), BackTranslation()])
    assert (model.get_cross_modal_label_accuracy()["balanced_accuracy"] < 0.6).all()


def test_warmup_rises_linearly_to_the_weight(factory):
    terms = [Reconstruction(), GroupCLIP(), BackTranslation(2.0, warmup=0.5)]
    model = fit(factory(), {"max_epochs": 10}, terms=terms)
    weight = model.history["backtranslation_weight"].to_numpy(float).ravel()
    assert weight[4] == pytest.approx(2.0, rel=0.15)
    assert weight[1] == pytest.approx(weight[4] * 2 / 5, rel=0.05)
    assert (weight[5:] == 2.0).all()


@pytest.mark.parametrize("schedule", ["one_cycle", "cosine", "constant", "plateau"])
def test_schedules(factory, schedule):
    model = fit(factory(), {"plan_kwargs": {"lr_schedule": schedule}})
    assert len(model.history["train_loss"]) == 3


def test_early_stopping_and_checkpoint(factory, tmp_path):
    mdata = factory()
    GROOVE.setup_mudata(mdata, "label")
    model = GROOVE(mdata, 4, hidden=(16,))
    checkpoint = scvi.train.SaveCheckpoint(
        dirpath=str(tmp_path / "c"), monitor="validation_loss", load_best_on_end=True
    )
    model.train(
        **{**FAST, "max_epochs": 60},
        early_stopping=True,
        early_stopping_patience=2,
        early_stopping_min_delta=0.5,
        callbacks=[checkpoint],
        gradient_clip_val=1.0,
    )
    assert len(model.history["validation_loss"]) < 60
    again = GROOVE.load(checkpoint.best_model_path, adata=factory(), accelerator="cpu")
    np.testing.assert_allclose(
        again.get_latent_representation()["img"],
        model.get_latent_representation()["img"],
        atol=1e-6,
    )


@pytest.mark.parametrize("likelihood", ["normal", "nb", "poisson", "bernoulli"])
@pytest.mark.parametrize("encoder", ["linear", "mlp"])
def test_likelihoods_and_encoders(factory, likelihood, encoder):
    mdata = factory()
    if likelihood == "bernoulli":
        mdata["rna"].X = (mdata["rna"].X > 1).astype(np.float32)
    model = fit(mdata, likelihood={"rna": likelihood}, encoder=encoder, dropout=0.1)
    expected = model.translate("img", "rna")
    assert expected.shape == (150, 30)
    assert np.isfinite(expected).all()
    if likelihood == "bernoulli":
        assert 0 <= expected.min() <= expected.max() <= 1
    if likelihood in ("nb", "poisson"):
        library = np.median(np.asarray(mdata["rna"].X[model.train_indices["rna"]].sum(axis=1)))
        np.testing.assert_allclose(expected.sum(axis=1), library, rtol=1e-4)
        np.testing.assert_allclose(
            model.translate("img", "rna", library_size=50.0).sum(axis=1), 50.0, rtol=1e-4
        )


@pytest.mark.parametrize(
    "option",
    [
        {"similarity": "euclidean"},
        {"terms": [GroupCLIP(positives="outside")]},
        {"encode_batch": True},
    ],
)
def test_options_train(factory, option):
    model = fit(factory(), **option)
    assert np.isfinite(model.get_latent_representation()["rna"]).all()


def test_batches_change_what_is_decoded(factory):
    model = fit(factory(), {"max_epochs": 10})
    by_batch = [model.translate("img", "rna", target_batch=b) for b in ("l0", "l1")]
    assert np.abs(by_batch[0] - by_batch[1]).max() > 1e-4
    share = model.module.batch_proportions_of("rna").numpy()
    np.testing.assert_allclose(
        model.translate("img", "rna"), share[0] * by_batch[0] + share[1] * by_batch[1], rtol=1e-4
    )
    with pytest.raises(
        KeyError, match=r"Unknown batch 'l9' of 'rna'. Expected one of \['l0', 'l1'\]"
    ):
        model.translate("img", "rna", target_batch="l9")


def test_three_modalities(factory):
    mdata = factory()
    third = factory(seed=5)["img"]
    third.obs_names = [f"t{i}" for i in range(third.n_obs)]
    third.var_names = [f"t{i}" for i in range(third.n_vars)]
    mdata = md.MuData({**mdata.mod, "morph-2": third})
    model = fit(mdata)
    assert set(model.get_latent_representation()) == {"rna", "img", "morph-2"}
    assert model.translate("morph-2", "rna").shape == (150, 30)
    assert len(model.get_cross_modal_label_accuracy()) == 6


@pytest.mark.slow
def test_workers_and_bf16(factory):
    model = fit(
        factory(),
        {
            "datasplitter_kwargs": {"num_workers": 1, "multiprocessing_context": "spawn"},
            "precision": "bf16-mixed",
            "max_epochs": 1,  # each starts its workers anew
        },
    )
    assert np.isfinite(model.history["train_loss"].to_numpy(float)).all()


def test_cells_without_a_shared_label_take_part_in_reconstruction_only(factory):
    mdata = factory()
    mdata["rna"].obs["label"] = mdata["rna"].obs["label"].where(np.arange(200) % 4 > 0)
    with pytest.warns(UserWarning, match="50 in 'rna'"):
        model = fit(mdata)
    splitter = model._data_splitter_cls(model._training_managers(), seed=0)
    alone = mdata["rna"].obs["label"].isna() | (mdata["rna"].obs["label"] == "D")
    seen = []
    for rows in splitter.train_dataloader().sampler:
        free = alone.to_numpy()[rows["rna"]]
        assert 0.2 < free.mean() < 0.3
        assert (splitter.labels["rna"][rows["rna"]][free] == -1).all()
        assert (splitter.labels["rna"][rows["rna"]][~free] >= 0).all()
        seen += rows["rna"][free].tolist()
    assert set(seen) <= set(np.flatnonzero(alone))


def test_external_split(factory):
    mdata = factory()
    rows = {
        m: [np.arange(0, mdata[m].n_obs, 2), np.arange(1, mdata[m].n_obs, 2)] for m in mdata.mod
    }
    model = fit(mdata, {"datasplitter_kwargs": {"external_indexing": rows}})
    assert (model.validation_indices["img"] == rows["img"][1]).all()
    with pytest.raises(ValueError, match="one to three disjoint arrays"):
        model.train(
            **FAST, datasplitter_kwargs={"external_indexing": {m: [[0, 0]] for m in mdata.mod}}
        )


def test_training_goes_on(factory):
    model = fit(factory())
    center = model.module.encoder_of("img").transform.center.clone()
    model.train(**FAST, seed=3)
    assert len(model.history["train_loss"]) == 6
    assert torch.equal(center, model.module.encoder_of("img").transform.center)


# -- reproducibility -------------------------------------------------------------------------------------------


def test_same_seed_same_bits_and_no_global_state(factory):
    results = []
    for noise in (1, 2):
        torch.manual_seed(noise)
        np.random.seed(noise)  # noqa: NPY002  (the global state must not matter)
        before = torch.random.get_rng_state()
        results.append(fit(factory(), dropout=0.2).get_latent_representation())
        assert torch.equal(before, torch.random.get_rng_state())
    for m in results[0]:
        assert results[0][m].tobytes() == results[1][m].tobytes()
    other = fit(factory(), {"seed": 1}, dropout=0.2).get_latent_representation()
    assert np.abs(other["rna"] - results[0]["rna"]).max() > 1e-4


# -- results ---------------------------------------------------------------------------------------------------


def test_latent_has_length_one_under_the_cosine(trained, factory):
    np.testing.assert_allclose(
        np.linalg.norm(trained.get_latent_representation()["rna"], axis=1), 1.0, atol=1e-5
    )
    other = fit(factory(), similarity="euclidean").get_latent_representation()["rna"]
    assert np.linalg.norm(other, axis=1).std() > 0.01


@pytest.mark.parametrize("encoder", ["linear", "mlp"])
def test_modalities_lie_in_the_same_place(factory, encoder):
    model = fit(factory(), {"max_epochs": 30}, encoder=encoder)
    center = []
    for m, z in model.get_latent_representation().items():
        label = model.adata[m].obs["label"].astype(str)
        center.append(
            np.mean(
                [z[(label == name).to_numpy()].mean(axis=0) for name in ("A", "B", "C", "ctrl")],
                axis=0,
            )
        )
    assert np.linalg.norm(center[0] - center[1]) < 0.25  # of a sphere of radius one


def test_indices_and_batch_size_do_not_matter(trained):
    z = trained.get_latent_representation(modality="rna")
    rows = np.random.default_rng(0).permutation(200)[:17]
    np.testing.assert_allclose(
        trained.get_latent_representation(modality="rna", indices=rows), z[rows], atol=1e-6
    )
    np.testing.assert_allclose(
        trained.get_latent_representation(modality="rna", batch_size=7), z, atol=1e-6
    )
    mask = np.zeros(200, dtype=bool)
    mask[rows] = True
    np.testing.assert_allclose(
        trained.get_latent_representation(modality="rna", indices=mask), z[mask], atol=1e-6
    )
    with pytest.raises(ValueError, match="indices must name rows 0 to 199 of modality 'rna'"):
        trained.get_latent_representation(modality="rna", indices=[200])
    with pytest.raises(ValueError, match="indices are rows of one modality"):
        trained.get_latent_representation(indices=[0])


def test_translate_frame(trained):
    frame = trained.translate("rna", "img", indices=[3, 1], return_dataframe=True)
    assert frame.index.tolist() == ["r3", "r1"]
    assert frame.columns.tolist() == [f"i_f{j}" for j in range(8)]
    np.testing.assert_allclose(frame.to_numpy(), trained.translate("rna", "img")[[3, 1]], atol=1e-5)


def test_reconstruction_error_is_the_likelihood(trained):
    errors = trained.get_reconstruction_error()
    assert set(errors) == {"rna", "img"}
    x = torch.as_tensor(trained.adata["img"].X)
    z = torch.as_tensor(trained.get_latent_representation(modality="img"))
    with torch.no_grad():
        px = trained.module.decoder_of("img")(z, torch.ones(len(z), 1), torch.ones(len(z), 1))
    by_hand = -torch.distributions.Normal(px.mean, px.stddev).log_prob(x).mean()
    assert errors["img"] == pytest.approx(float(by_hand), rel=1e-5)


def test_repr_and_label_table(trained):
    text = repr(trained)
    assert "GROOVE model: n_latent 4, encoder linear" in text
    assert "rna: 200 cells x 30 features, nb (all values are whole numbers" in text
    assert "2 batch(es)" in text
    assert "Trained: yes" in text
    assert trained.get_label_table().loc["E", "status"] == "exclusive"


def test_untrained_model_says_so(factory):
    mdata = factory()
    GROOVE.setup_mudata(mdata, "label")
    model = GROOVE(mdata)
    assert "Trained: no" in repr(model)
    with pytest.raises(RuntimeError, match=r"not trained yet: call model.train\(\)"):
        model.get_latent_representation()


# -- new data --------------------------------------------------------------------------------------------------


def test_new_cells_of_one_modality(trained, factory):
    new = factory(seed=11)
    z = trained.get_latent_representation(new["rna"].copy(), "rna")
    unknown = new["rna"].copy()
    unknown.obs["label"] = "never seen"
    np.testing.assert_allclose(trained.get_latent_representation(unknown, "rna"), z, atol=1e-6)
    del unknown.obs["label"]
    np.testing.assert_allclose(trained.get_latent_representation(unknown, "rna"), z, atol=1e-6)
    alone = md.MuData({"rna": unknown})
    assert list(trained.get_latent_representation(alone)) == ["rna"]
    np.testing.assert_allclose(trained.get_latent_representation(alone)["rna"], z, atol=1e-6)
    np.testing.assert_allclose(
        trained.get_latent_representation(unknown[10:30], "rna"), z[10:30], atol=1e-6
    )
    assert trained.translate("rna", "img", unknown).shape == (200, 8)
    stores = GROOVE._per_instance_manager_store[trained.id]
    before = len(stores)
    trained.get_latent_representation(unknown, "rna")
    assert len(stores) == before  # a query is not kept alive


def test_missing_values_in_new_cells(trained, factory):
    query = factory(seed=3)["img"]
    query.X[5, 2] = np.nan
    with pytest.raises(
        ValueError, match="gives NaN or infinite values for cells of modality 'img'"
    ):
        trained.get_latent_representation(query, "img")


def test_subset_of_the_data(trained):
    rows = np.r_[0:50, 200:240]
    latent = trained.get_latent_representation(trained.adata[rows])
    np.testing.assert_allclose(
        latent["rna"], trained.get_latent_representation()["rna"][:50], atol=1e-6
    )
    assert len(latent["img"]) == 40
    assert list(trained.get_latent_representation(trained.adata[:50])) == ["rna"]


def test_unknown_modality(trained, factory):
    query = factory(seed=3)
    with pytest.raises(KeyError, match=r"Unknown modality 'atac'. The model has \['rna', 'img'\]"):
        trained.translate("rna", "atac")
    with pytest.raises(ValueError, match="An AnnData needs its modality"):
        trained.get_latent_representation(query["rna"])
    with pytest.raises(KeyError, match="no cells of modality 'img'"):
        trained.get_latent_representation(md.MuData({"rna": factory()["rna"]}), "img")


# -- saving ----------------------------------------------------------------------------------------------------


def half_a_file(obj, path, *args, **kwargs):
    Path(path).write_bytes(b"half of a mo")
    os._exit(9)


@pytest.mark.parametrize(
    ("name", "killed"), [("torch.save", half_a_file), ("os.replace", lambda *args: os._exit(9))]
)
def test_a_kill_while_saving_leaves_the_old_model(
    trained, factory, tmp_path, monkeypatch, name, killed
):
    trained.save(tmp_path / "m")
    (tmp_path / "m" / "notes.txt").write_text("of the user")
    child = os.fork()
    if not child:
        monkeypatch.setattr(name, killed)
        trained.save(tmp_path / "m", overwrite=True)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    (left_over,) = tmp_path.glob(".m.unfinished-*")
    assert repr(GROOVE.load(tmp_path / "m", factory(), accelerator="cpu")) == repr(trained)
    with pytest.raises(ValueError, match=r"exists already.*overwrite=True"):
        trained.save(tmp_path / "m")
    trained.save(tmp_path / "other")
    assert left_over.exists()
    with pytest.warns(UserWarning, match=f"Removed {left_over}: a process was killed"):
        trained.save(tmp_path / "m", overwrite=True)
    assert sorted(p.name for p in (tmp_path / "m").iterdir()) == ["model.pt", "notes.txt"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m", "other"]


def test_a_save_of_a_process_at_work_is_left_alone(tmp_path):
    with replaced_when_done(tmp_path / "m", "x") as first:
        (first / "x").write_text("first")
        with replaced_when_done(tmp_path / "m", "x") as second:
            assert first.exists()
            (second / "x").write_text("second")
    assert (tmp_path / "m" / "x").read_text() == "first"
    assert [p.name for p in tmp_path.iterdir()] == ["m"]


def damaged_files(whole, n_cut, n_changed):
    """Contents cut at some places, and with a bit changed at others."""
    yield from (whole[: len(whole) * i // n_cut] for i in range(n_cut))
    rng = np.random.default_rng(0)
    for place in rng.integers(len(whole), size=n_changed):
        changed = bytearray(whole)
        changed[place] ^= 1 << rng.integers(8)
        yield bytes(changed)


def test_a_damaged_model_is_told_and_never_loaded(trained, factory, tmp_path):
    trained.save(tmp_path / "m", save_anndata=True)
    file, data = tmp_path / "m" / "model.pt", tmp_path / "m" / "mdata.h5mu"
    whole, noticed = file.read_bytes(), 0
    for content in damaged_files(whole, 10, 20):
        file.write_bytes(content)
        try:
            loaded = GROOVE.load(tmp_path / "m", adata=False, accelerator="cpu")
        except FileError as error:
            assert error.reason in ("empty", "damaged", "format")  # noqa: PT017
            noticed += 1
        else:  # padding, or a time stamp
            state = loaded.module.state_dict()
            assert all(
                torch.equal(value, state[k]) for k, value in trained.module.state_dict().items()
            )
    assert noticed > 25
    file.write_bytes(whole[:-100])
    for load in (GROOVE.load_registry, lambda folder: GROOVE.load_query_data(factory(), folder)):
        with pytest.raises(
            FileError, match=r"model\.pt is damaged or incomplete .* or write it anew\.$"
        ):
            load(str(tmp_path / "m"))
    file.write_bytes(whole)
    data.write_bytes(data.read_bytes()[:-100])
    with pytest.raises(
        FileError, match=r"mdata\.h5mu is damaged or incomplete .* or write it anew\.$"
    ):
        GROOVE.load(tmp_path / "m")
    with pytest.raises(FileError, match=r"There is no file '.*model\.pt'"):
        GROOVE.load(tmp_path / "no")


@pytest.mark.parametrize("save_anndata", [True, False])
def test_round_trip(trained, factory, tmp_path, save_anndata):
    trained.save(tmp_path / "m", save_anndata=save_anndata)
    GROOVE.view_setup_args(tmp_path / "m")
    model = GROOVE.load(
        tmp_path / "m", adata=None if save_anndata else factory(), accelerator="cpu"
    )
    assert model.likelihood == trained.likelihood
    assert repr(model) == repr(trained)
    for m, z in trained.get_latent_representation().items():
        np.testing.assert_allclose(model.get_latent_representation(modality=m), z, atol=1e-6)
    model.train(**FAST)


def test_new_process_and_one_modality(trained, factory, tmp_path):
    trained.save(tmp_path / "m")
    query = factory(seed=9)["rna"]
    query.write(tmp_path / "q.h5ad")
    script = (
        "import sys, anndata, numpy as np; from scgroove.model import GROOVE\n"
        "m = GROOVE.load(sys.argv[1] + '/m', adata=False, accelerator='cpu')\n"
        "q = anndata.read_h5ad(sys.argv[1] + '/q.h5ad')\n"
        "np.savez(sys.argv[1] + '/r.npz', z=m.get_latent_representation(q, 'rna'), x=m.translate('rna', 'img', q))\n"
    )
    subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], check=True, capture_output=True, timeout=300
    )
    with np.load(tmp_path / "r.npz") as found:
        np.testing.assert_allclose(
            found["z"], trained.get_latent_representation(query, "rna"), atol=1e-6
        )
        np.testing.assert_allclose(found["x"], trained.translate("rna", "img", query), atol=1e-5)


def test_load_without_data(trained, tmp_path, factory):
    trained.save(tmp_path / "m")
    model = GROOVE.load(tmp_path / "m", adata=False, accelerator="cpu")
    assert repr(model) == repr(trained)
    with pytest.raises(ValueError, match="loaded without data"):
        model.get_latent_representation()
    model.save(tmp_path / "again")
    again = GROOVE.load(tmp_path / "again", adata=factory(seed=4), accelerator="cpu")
    np.testing.assert_allclose(
        again.get_latent_representation()["img"],
        trained.get_latent_representation(factory(seed=4))["img"],
        atol=1e-6,
    )


def test_load_on_new_labels_and_fewer_modalities(trained, tmp_path, factory):
    trained.save(tmp_path / "m")
    new = factory(seed=7)
    new["rna"].obs["label"] = ["NEW" if v == "A" else str(v) for v in new["rna"].obs["label"]]
    model = GROOVE.load(tmp_path / "m", adata=new, accelerator="cpu")
    known = [str(c) for c in trained._state("labels", "rna")["categorical_mapping"]]
    assert [str(c) for c in model._state("labels", "rna")["categorical_mapping"]] == [*known, "NEW"]
    alone = GROOVE.load(
        tmp_path / "m", adata=md.MuData({"rna": factory(seed=7)["rna"]}), accelerator="cpu"
    )
    assert list(alone.get_latent_representation()) == ["rna"]
    with pytest.raises(
        ValueError, match=r"Training needs all modalities .* the attached data lack \['img'\]"
    ):
        alone.train(**FAST)


def test_load_on_other_features(trained, tmp_path, factory):
    trained.save(tmp_path / "m")
    mods = {"rna": factory()["rna"], "img": factory()["img"][:, :5].copy()}
    data = md.MuData(mods)
    columns = {m: list(data[m].obs) for m in mods}
    with pytest.raises(FeatureNamesError, match="Features of modality 'img' are missing: 3 of 8"):
        GROOVE.load(tmp_path / "m", adata=data, accelerator="cpu")
    assert {m: list(data[m].obs) for m in mods} == columns


def test_h5mu_and_backed(factory, tmp_path):
    memory = factory()
    model = fit(memory)
    factory().write(tmp_path / "d.h5mu")
    loaded = md.read(tmp_path / "d.h5mu")
    np.testing.assert_allclose(
        fit(loaded).get_latent_representation()["rna"],
        model.get_latent_representation()["rna"],
        atol=1e-6,
    )
    backed = md.read(tmp_path / "d.h5mu", backed="r")
    found = fit(backed)
    for m, z in model.get_latent_representation().items():
        np.testing.assert_allclose(found.get_latent_representation(modality=m), z, atol=1e-5)


# -- errors of train -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("train", "error", "message"),
    [
        ({"train_size": 1.5}, ValueError, "Expected 0 < train_size <= 1"),
        ({"n_labels_per_batch": 0}, ValueError, "n_labels_per_batch must be .* of at least 1"),
        (
            {"train_size": 1.0, "early_stopping": True},
            ValueError,
            "early_stopping=True needs validation cells",
        ),
        (
            {"plan_kwargs": {"lr_schedule": "linear"}},
            ValueError,
            "lr_schedule must be .*; found 'linear'",
        ),
        ({"plan_kwargs": {"kl_weight": 1.0}}, TypeError, "kl_weight"),
        (
            {"plan_kwargs": {"lr": 1e30}, "max_epochs": 5},
            RuntimeError,
            "loss became .* Lower the learning rate",
        ),
    ],
)
def test_errors(factory, train, error, message):
    with pytest.raises(error, match=message):
        fit(factory(), train)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"encoder": "conv"}, "encoder must be .*; found 'conv'"),
        ({"similarity": "cosin"}, "similarity must be .*Did you mean 'cosine'"),
        ({"dropout": 1.0}, "dropout must be a number of at least 0"),
        ({"terms": []}, "At least one term"),
        ({"terms": [GroupCLIP(0.0)]}, "At least one term"),
        ({"terms": [GroupCLIP(), GroupCLIP()]}, "'groupclip' more than once"),
    ],
)
def test_errors_of_the_constructor(factory, kwargs, message):
    with pytest.raises(ValueError, match=message):
        fit(factory(), **kwargs)


def test_accuracy_needs_shared_labels(trained, factory):
    mdata = factory()
    mdata["img"].obs["label"] = pd.Categorical(["x"] * 150)
    with pytest.raises(ValueError, match=r"No two of the modalities .* share a label"):
        trained.get_cross_modal_label_accuracy(mdata)


def test_units(trained):
    assert trained.get_units("img") == {"layer": "X"}
    units = trained.get_units("rna")
    assert units["library_size"] == pytest.approx(
        trained.translate("img", "rna").sum(axis=1).mean(), rel=1e-4
    )
