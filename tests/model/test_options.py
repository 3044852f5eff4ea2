"""Presets, and what goes beyond the paper: efficacy, private coordinates, what is known of labels."""

import numpy as np
import pandas as pd
import pytest
import torch

import scgroove as sg
from scgroove.losses import cross_correlation, joint_concentration
from scgroove.model import GROOVE
from scgroove.model._options import training_of

QUIET = {"accelerator": "cpu", "enable_progress_bar": False, "enable_model_summary": False, "logger": None}


def screen(n_labels=5, n_cells=16, **options):
    return sg.simulations.weakly_paired(
        n_labels=n_labels, n_cells_per_label=n_cells, n_features=(20, 12), seed=0, **options
    )


def fit(mdata, epochs=3, train=None, setup=None, **options):
    GROOVE.setup_mudata(mdata, "label", paired=False, **(setup or {}))
    model = GROOVE(mdata, 4, hidden=(16,), **options)
    model.train(epochs, batch_size=40, **QUIET, **(train or {}))
    return model


def weights(model):
    return {name: value.clone() for name, value in model.module.state_dict().items()}


# -- presets ---------------------------------------------------------------------------------------------------


def test_the_preset_of_the_paper():
    mdata = screen()
    GROOVE.setup_mudata(mdata, "label", paired=False)
    model = GROOVE(mdata, preset="paper")
    assert float(model.module.group_clip.temperature) == pytest.approx(0.1)
    encoder = model.module.encoder_of("rna")
    assert len([layer for layer in encoder.net if isinstance(layer, torch.nn.Linear)]) == 3
    assert not any(layer.p for layer in model.module.dropouts)
    assert model.module.n_private == 0
    assert model.module.tower is None
    model.train(1, **QUIET)
    assert model.trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(1e-3)
    linear = GROOVE(mdata, preset="paper", encoder="linear", temperature=0.5)  # what is given wins
    assert float(linear.module.group_clip.temperature) == pytest.approx(0.5)
    assert len(linear.module.encoder_of("rna").net) == 1


def test_a_preset_is_saved(tmp_path):
    mdata = screen()
    model = fit(mdata, preset="paper")
    model.save(str(tmp_path / "m"))
    loaded = GROOVE.load(str(tmp_path / "m"), mdata)
    assert loaded.preset == "paper"
    for m, z in model.get_latent_representation().items():
        np.testing.assert_array_equal(z, loaded.get_latent_representation(modality=m))


def test_unknown_preset():
    mdata = screen()
    GROOVE.setup_mudata(mdata, "label", paired=False)
    with pytest.raises(ValueError, match=r"Unknown preset 'papr'.*Did you mean 'paper'"):
        GROOVE(mdata, preset="papr")


@pytest.mark.parametrize(
    ("preset", "encoder", "goes_on", "steps_per_epoch", "lr", "epochs"),
    [
        ("default", "linear", False, 5, 1e-2, 50),
        ("default", "linear", False, 3, 1e-2, 84),
        ("default", "linear", False, 1, 1e-2, 150),
        ("default", "linear", False, 40, 1e-2, 25),
        ("default", "linear", False, 1000, 1e-2, 10),
        ("default", "linear", True, 40, None, 75),
        ("default", "mlp", False, 5, None, 150),
        ("paper", "mlp", False, 40, 1e-3, 75),
        ("paper", "linear", False, 40, 1e-3, 75),
    ],
)
def test_how_long_and_how_fast_a_model_trains(preset, encoder, goes_on, steps_per_epoch, lr, epochs):
    training = training_of(preset, encoder, goes_on)
    assert training.plan.get("lr") == lr
    assert training.epochs(steps_per_epoch) == epochs


def test_a_model_that_goes_on_takes_smaller_steps():
    model = fit(screen(), epochs=1)
    assert model.trainer.lightning_module.lr == 1e-2
    model.train(1, batch_size=40, **QUIET)
    assert model.trainer.lightning_module.lr == 3e-3
    assert fit(screen(), epochs=1, encoder="mlp").trainer.lightning_module.lr == 3e-3
    assert fit(screen(), epochs=1, train={"plan_kwargs": {"lr": 1e-4}}).trainer.lightning_module.lr == 1e-4


# -- efficacy --------------------------------------------------------------------------------------------------


def with_efficacy(values=None):
    mdata = screen()
    rng = np.random.default_rng(0)
    for adata in mdata.mod.values():
        adata.obs["worked"] = rng.uniform(size=adata.n_obs) if values is None else values
    return mdata


def test_efficacy_of_one_is_no_efficacy():
    plain, sure = fit(screen()), fit(with_efficacy(1.0), setup={"efficacy_key": "worked"})
    for name, value in weights(plain).items():
        torch.testing.assert_close(value, weights(sure)[name], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("mode", ["weight", "drop", "reassign"])
@pytest.mark.parametrize("on_device", [False, True])
def test_efficacy_reaches_the_loss(mode, on_device, monkeypatch):
    seen = {}

    def spy(z, labels, *, weights=None, agreement=None):
        seen.setdefault("batches", []).append((labels, weights))
        return sum(v.sum() for v in z.values()) * 0

    mdata = with_efficacy()
    GROOVE.setup_mudata(mdata, "label", paired=False, efficacy_key="worked")
    model = GROOVE(mdata, 4, hidden=(16,), efficacy_mode=mode, control=mdata["rna"].obs["label"].iloc[0])
    monkeypatch.setattr(model.module.group_clip, "forward", spy)
    model.train(1, batch_size=40, data_on_device=on_device, **QUIET)
    labels, of_cells = max(seen["batches"], key=lambda batch: len(batch[1]["rna"]))
    w = of_cells["rna"]
    if mode == "drop":
        assert set(w.tolist()) == {0.0, 1.0}
    else:
        assert w.unique().numel() > 5
        assert w.min() >= 1e-3
    if mode == "reassign":
        q = labels["rna"]
        torch.testing.assert_close(q.sum(1), torch.ones(len(q)))
        assert (q[:, model.module.control] > 0).all()
    else:
        assert labels["rna"].ndim == 1


def test_cells_that_did_not_respond_are_not_drawn_to_their_label():
    """Half of the cells escape: weighing them by the truth finds labels of the others better."""
    scores = {}
    for known in (False, True):
        mdata = sg.simulations.weakly_paired(
            n_labels=8, n_cells_per_label=60, n_features=(40, 25), escape=0.5, effect=1.0, seed=1
        )
        responded = {}
        for m, adata in mdata.mod.items():
            responded[m] = ~adata.obs["escaped"].to_numpy(dtype=bool)
            adata.obs["worked"] = responded[m].astype(float)
        setup = {"efficacy_key": "worked"} if known else {}
        GROOVE.setup_mudata(mdata, "label", paired=False, **setup)
        model = GROOVE(mdata, 8)
        model.train(60, batch_size=128, **QUIET)
        z = model.get_latent_representation()
        labels = {m: mdata[m].obs["label"].astype(str).to_numpy() for m in z}
        a, b = (m for m in z)
        similar = z[a][responded[a]] @ z[b][responded[b]].T
        found = labels[b][responded[b]][similar.argmax(1)]
        scores[known] = float((found == labels[a][responded[a]]).mean())
    assert scores[True] > scores[False]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (1.5, r"must hold probabilities, from 0 to 1; found 1.5 to 1.5"),
        (-0.1, r"found -0.1 to -0.1"),
        (np.nan, r"is missing, or no number, for 80 of 80 labelled cells"),
        ("yes", r"is missing, or no number"),
    ],
)
def test_efficacy_that_is_no_probability(values, message):
    mdata = with_efficacy(values)
    before = mdata["rna"].obs.copy()
    with pytest.raises(ValueError, match=message):
        GROOVE.setup_mudata(mdata, "label", paired=False, efficacy_key="worked")
    pd.testing.assert_frame_equal(mdata["rna"].obs, before)


def test_efficacy_column_that_is_not_there():
    with pytest.raises(KeyError, match=r"Efficacy column 'wrked' not found.*estimate_efficacy"):
        GROOVE.setup_mudata(screen(), "label", paired=False, efficacy_key="wrked")


def test_every_cell_judged_escaped_is_said_and_trains():
    mdata = with_efficacy(0.0)
    with pytest.warns(UserWarning, match=r"no cell of 5 of 5 labels responded"):
        GROOVE.setup_mudata(mdata, "label", paired=False, efficacy_key="worked")
    for mode in ("weight", "drop"):
        model = GROOVE(mdata, 4, hidden=(16,), efficacy_mode=mode)
        model.train(2, batch_size=40, **QUIET)
        assert all(np.isfinite(z).all() for z in model.get_latent_representation().values())


def test_unlabelled_cells_need_no_efficacy():
    mdata = with_efficacy(0.5)
    for adata in mdata.mod.values():
        adata.obs["label"] = adata.obs["label"].astype(object).where(np.arange(adata.n_obs) % 4 > 0, None)
        adata.obs.loc[adata.obs["label"].isna(), "worked"] = np.nan
    model = fit(mdata, setup={"efficacy_key": "worked"})
    assert np.isfinite(model.history["train_loss"].to_numpy(dtype=float)).all()


def test_reassignment_needs_a_control():
    mdata = with_efficacy()
    GROOVE.setup_mudata(mdata, "label", paired=False, efficacy_key="worked")
    with pytest.raises(ValueError, match=r'name it, control="..."'):
        GROOVE(mdata, efficacy_mode="reassign")
    with pytest.raises(KeyError, match=r"control 'none' is no label"):
        GROOVE(mdata, efficacy_mode="reassign", control="none")
    with pytest.raises(ValueError, match="Unknown efficacy_mode 'weights'"):
        GROOVE(mdata, efficacy_mode="weights")


# -- private coordinates ---------------------------------------------------------------------------------------


def test_private_coordinates(tmp_path):
    mdata = screen()
    model = fit(mdata, n_private=3)
    private = model.get_private_representation()
    assert {m: p.shape for m, p in private.items()} == {m: (a.n_obs, 3) for m, a in mdata.mod.items()}
    np.testing.assert_allclose(np.linalg.norm(private["rna"], axis=1), 1, rtol=1e-5)
    assert model.get_latent_representation(modality="rna").shape[1] == 4
    assert np.isfinite(model.history["independence_train"].to_numpy(dtype=float)).all()
    assert model.translate("rna", "protein").shape == (mdata["rna"].n_obs, 12)
    model.save(str(tmp_path / "m"))
    loaded = GROOVE.load(str(tmp_path / "m"), mdata)
    np.testing.assert_array_equal(loaded.get_private_representation(modality="rna"), private["rna"])


def test_private_coordinates_help_to_reconstruct_and_leave_translation_alone():
    model = fit(screen(n_cells=40), 60, n_private=3)
    known = model.get_reconstruction_error()["rna"]
    private = model.module.encoder_of("rna").split

    def without(raw):
        shared, own = private(raw)
        return shared, own * 0

    model.module.encoder_of("rna").split = without
    before = model.translate("rna", "protein")
    assert model.get_reconstruction_error()["rna"] > known + 0.01
    model.module.encoder_of("rna").split = private
    np.testing.assert_array_equal(model.translate("rna", "protein"), before)


def test_some_training_cells_are_decoded_without_their_private_coordinates():
    """Whole cells, as many as asked for; none outside of training."""
    model = GROOVE(screen_set_up(), 4, n_private=3, private_dropout=0.25)
    seen = []
    decoder = model.module.decoder_of("rna")
    forward = decoder.forward

    def spy(z, batch, library, private=None):
        seen.append(private)
        return forward(z, batch, library, private)

    decoder.forward = spy
    tensors = {"X": torch.zeros(2000, 20), "batch": torch.zeros(2000, 1)}
    private = torch.ones(2000, 3)
    for training in (True, False):
        model.module.train(training)
        model.module.generative({"rna": tensors}, z={"rna": torch.ones(2000, 4)}, private={"rna": private})
    assert set(seen[0].sum(1).tolist()) == {0.0, 3.0}
    assert float((seen[0].sum(1) == 0).float().mean()) == pytest.approx(0.25, abs=0.05)
    assert torch.equal(seen[1], private)


def test_no_private_coordinates():
    model = fit(screen())
    with pytest.raises(ValueError, match=r"n_private is 0"):
        model.get_private_representation()
    with pytest.raises(ValueError, match=r"n_private >= 2 \(0: none\)"):
        GROOVE(screen_set_up(), n_private=-1)


def screen_set_up():
    mdata = screen()
    GROOVE.setup_mudata(mdata, "label", paired=False)
    return mdata


@pytest.mark.parametrize(
    ("independence", "measure"), [("jem", joint_concentration), ("xcov", cross_correlation)]
)
def test_leakage_control_lowers_what_both_codes_say(independence, measure):
    found = []
    for weight in (0.0, 5.0):
        plan = {"independence": independence, "independence_weight": weight}
        model = fit(screen(n_cells=40), 40, n_private=3, train={"plan_kwargs": plan})
        z, p = (
            torch.tensor(of(modality="rna"))
            for of in (model.get_latent_representation, model.get_private_representation)
        )
        found.append(float(measure(z, p)))
    assert found[1] < found[0]


# -- transport inside labels -----------------------------------------------------------------------------------


@pytest.mark.parametrize("refine", ["cost", "contrast"])
def test_refinement_enters_after_its_start(refine):
    model = fit(screen(), 10, train={"plan_kwargs": {"refine": refine}})
    history = model.history["refinement_train"].to_numpy(dtype=float).ravel()
    assert np.isnan(history[0])
    assert np.isfinite(history[-1])


def test_refinement_that_is_off_changes_nothing():
    plain, off = fit(screen()), fit(screen(), train={"plan_kwargs": {"refinement_weight": 7.0}})
    assert all(torch.equal(v, weights(off)[k]) for k, v in weights(plain).items())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"refine": "costs"}, "Unknown refine='costs'"),
        ({"refine": "cost", "refinement_weight": -1.0}, "must not be negative"),
        ({"refinement_start": 1.0}, "refinement_start < 1"),
        ({"independence": "hsic"}, "Unknown independence='hsic'"),
    ],
)
def test_options_of_the_plan(options, message):
    with pytest.raises(ValueError, match=message):
        fit(screen(), train={"plan_kwargs": options})


# -- what is known of labels -----------------------------------------------------------------------------------


def table(mdata, extra=0):
    labels = sorted(
        set(mdata["rna"].obs["label"].astype(str)) | set(mdata["protein"].obs["label"].astype(str))
    )
    names = [*labels, *(f"other{i}" for i in range(extra))]
    return pd.DataFrame(np.random.default_rng(0).normal(size=(len(names), 6)), index=names)


def test_labels_are_placed_by_their_embeddings(tmp_path):
    mdata = screen()
    embeddings = table(mdata, extra=2)
    model = fit(mdata, 80, label_embeddings=embeddings)
    placed = model.predict_label_latent()
    assert (
        list(placed.index)
        == model.registry["field_registries"]["labels_rna"]["state_registry"]["categorical_mapping"].tolist()
    )
    np.testing.assert_allclose(np.linalg.norm(placed, axis=1), 1, rtol=1e-5)
    again = model.predict_label_latent(embeddings.loc[placed.index])
    np.testing.assert_allclose(placed, again, atol=1e-6)
    z = model.get_latent_representation(modality="rna")
    nearest = placed.index[(z @ placed.to_numpy().T).argmax(1)]
    assert (nearest == mdata["rna"].obs["label"].astype(str)).mean() > 0.6  # chance is 0.2
    assert model.predict_label_latent({"new": np.zeros(6)}).shape == (1, 4)
    model.save(str(tmp_path / "m"))
    loaded = GROOVE.load(str(tmp_path / "m"), mdata)
    np.testing.assert_array_equal(loaded.predict_label_latent(), placed)


def test_embeddings_that_do_not_fit():
    mdata = screen_set_up()
    embeddings = table(mdata)
    twice = pd.concat([embeddings, embeddings.iloc[:1]])
    with pytest.raises(ValueError, match=r"label_embeddings has labels more than once: \['g0"):
        GROOVE(mdata, label_embeddings=twice)
    with pytest.raises(ValueError, match="label_embeddings must hold numbers only"):
        GROOVE(mdata, label_embeddings=embeddings.assign(name="a"))
    with pytest.raises(ValueError, match=r"label_embeddings lack 2 of 5 labels: \['g0"):
        GROOVE(mdata, label_embeddings=embeddings.iloc[2:])
    embeddings.iloc[0, 0] = np.nan
    with pytest.raises(ValueError, match=r"finite numbers"):
        GROOVE(mdata, label_embeddings=embeddings)
    model = GROOVE(mdata)
    with pytest.raises(ValueError, match=r"knows nothing of its labels"):
        model.predict_label_latent()
    model = fit(mdata, label_embeddings=table(mdata))
    with pytest.raises(ValueError, match=r"have 6 values in this model; found shape \(1, 2\)"):
        model.predict_label_latent({"new": [0.0, 1.0]})


def test_labels_of_one_modality_reach_the_tower():
    mdata = screen()
    names = mdata["rna"].obs["label"].astype(str)
    mdata.mod["protein"] = mdata["protein"][mdata["protein"].obs["label"].astype(str) != names.iloc[0]].copy()
    mdata.update()
    model = fit(mdata, 30, label_embeddings=table(mdata))
    assert model.module.tower.present.sum(1).tolist() == [5, 4]
    placed = model.predict_label_latent()
    own = model.get_latent_representation(modality="rna")[(names == names.iloc[0]).to_numpy()]
    assert placed.index[(own.mean(0) @ placed.to_numpy().T).argmax()] == names.iloc[0]


def test_agreement_of_labels(tmp_path):
    mdata = screen()
    a, b = sorted(mdata["rna"].obs["label"].astype(str).unique())[:2]
    model = fit(mdata, label_agreement={a: {b: 0.5}})
    k = model.module.agreement
    assert k[0, 1] == k[1, 0] == 0.5
    assert float(k.sum()) == 6.0
    model.save(str(tmp_path / "m"))
    assert torch.equal(GROOVE.load(str(tmp_path / "m"), mdata).module.agreement, k)
    mdata = screen_set_up()
    with pytest.raises(KeyError, match="names 'x', which is no label"):
        GROOVE(mdata, label_agreement={a: {"x": 0.5}})
    with pytest.raises(ValueError, match="must be symmetric"):
        GROOVE(mdata, label_agreement={a: {b: 0.5}, b: {a: 0.4}})
    with pytest.raises(ValueError, match="Prototypes are those of whole labels"):
        GROOVE(mdata, prototypes=True, label_agreement={a: {b: 0.5}})


def test_a_bank_restored_with_other_labels(tmp_path):
    model = fit(screen(), prototypes=True)
    model.save(str(tmp_path / "m"))
    with pytest.raises(ValueError, match="of which the model has no prototype"):
        GROOVE.load(str(tmp_path / "m"), screen(n_labels=7))


# -- what a label of one modality, or a new one, becomes ---------------------------------------------------------


TABLE = {f"g{i:02d}": [float(i), float(i % 2), 1.0 - i] for i in range(5)}


def renamed(mdata, modality, old, new):
    labels = mdata[modality].obs["label"].astype(str)
    mdata[modality].obs["label"] = labels.replace(old, new)
    return mdata


def finite(model):
    model.train(2, batch_size=40, **QUIET)
    return np.isfinite(model.history["train_loss"].to_numpy(dtype=float)).all()


def test_a_label_that_is_new_to_a_modality_can_be_learned_by_its_embedding(tmp_path):
    reference = fit(renamed(screen(), "protein", "g04", "g03"), label_embeddings=TABLE)
    reference.save(str(tmp_path / "m"))
    assert not reference.module.tower.present[1, 4]
    query = GROOVE.load_query_data(screen(), reference)
    loaded = GROOVE.load(str(tmp_path / "m"), screen())
    for model in (query, loaded):
        assert model.module.tower.present.all()
        assert finite(model)
    assert not reference.module.tower.present[1, 4]  # as it was
    fewer = GROOVE.load_query_data(renamed(screen(), "rna", "g03", "g02"), reference)
    assert fewer.module.tower.present.all()  # what the reference knows, and what the new screen has


def test_a_label_that_is_new_to_the_model_needs_an_embedding():
    reference = fit(screen(), label_embeddings=TABLE)
    new = renamed(screen(), "rna", "g04", "gNEW")
    before = list(new["rna"].obs)
    with pytest.raises(ValueError, match=r"lack 1 of 6 labels: \['gNEW'\]"):
        GROOVE.load_query_data(new, reference)
    assert list(new["rna"].obs) == before
    query = GROOVE.load_query_data(
        new, reference, label_embeddings={"gNEW": [9.0, 9.0, 9.0], "g00": [0, 0, 7]}
    )
    tower, old = query.module.tower, reference.module.tower
    torch.testing.assert_close(tower.embeddings[:5], old.embeddings)  # those that it knew stay
    assert tower.embeddings[5].tolist() == [9, 9, 9]
    torch.testing.assert_close(tower.center, old.center)
    assert tower.present[:, 5].tolist() == [True, False]
    assert finite(query)
    plain = fit(screen())
    with pytest.raises(ValueError, match="was not given label_embeddings"):
        GROOVE.load_query_data(new, plain, label_embeddings={"gNEW": [1.0]})


def test_a_new_label_agrees_with_none(tmp_path):
    reference = fit(screen(), label_agreement={"g00": {"g01": 0.5}})
    reference.save(str(tmp_path / "m"))
    new = renamed(screen(), "rna", "g04", "gNEW")
    query = GROOVE.load_query_data(new, reference)
    expected = torch.eye(6)
    expected[0, 1] = expected[1, 0] = 0.5
    torch.testing.assert_close(query.module.agreement, expected)
    assert finite(query)
    again = renamed(screen(), "rna", "g04", "gNEW")
    before = list(again["rna"].obs), dict(again.uns)
    with pytest.raises(ValueError, match=r"no prototype or agreement.*load_query_data"):
        GROOVE.load(str(tmp_path / "m"), again)
    assert (list(again["rna"].obs), dict(again.uns)) == before


def test_a_combination_of_one_modality_is_half_a_positive_of_its_parts():
    def latents(agreement):
        mdata = renamed(renamed(screen(), "rna", "g04", "g00+g01"), "protein", "g04", "g03")
        model = fit(mdata, 10, label_agreement=agreement)
        combination = (mdata["rna"].obs["label"] == "g00+g01").to_numpy()
        parts = mdata["protein"].obs["label"].isin(["g00", "g01"]).to_numpy()
        z = model.get_latent_representation()
        return float((z["rna"][combination] @ z["protein"][parts].T).mean())

    told = latents({"g00+g01": {"g00": 0.5, "g01": 0.5}})
    assert told > latents({"g00": {"g01": 0.0}}) + 0.05


def test_cells_that_did_not_respond_are_not_transported(monkeypatch):
    mdata = screen()
    for adata in mdata.mod.values():
        adata.obs["efficacy"] = np.tile([1.0, 0.2], adata.n_obs // 2)
    seen = []
    from scgroove.module import _groove

    plain = _groove.label_refinement
    monkeypatch.setattr(
        _groove,
        "label_refinement",
        lambda z, labels, **kwargs: seen.append(labels) or plain(z, labels, **kwargs),
    )
    fit(
        mdata,
        setup={"efficacy_key": "efficacy"},
        train={"plan_kwargs": {"refine": "cost", "refinement_start": 0.0}},
    )
    assert seen
    for labels in seen:
        for codes in labels.values():
            share = float((codes < 0).float().mean())
            assert 0 < share < 1
    model = GROOVE(mdata, 4, hidden=(16,))
    tensors = {m: {"efficacy": torch.tensor([[0.9], [0.4], [0.5]])} for m in ("rna", "protein")}
    codes = {m: torch.tensor([0, 1, 2]) for m in tensors}
    assert all(c.tolist() == [0, -1, 2] for c in model.module._responding(codes, tensors).values())


def test_options_without_effect_are_said():
    mdata = screen()
    GROOVE.setup_mudata(mdata, "label", paired=False)
    with pytest.warns(UserWarning, match="efficacy_mode='drop' has no effect.*efficacy_key"):
        model = GROOVE(mdata, efficacy_mode="drop")
    for options in ({"refinement_weight": 5.0}, {"independence_weight": 1.0}, {"tower_weight": 5.0}):
        (name,) = options
        with pytest.warns(UserWarning, match=f"{name}=.* has no effect"):
            model.train(1, plan_kwargs=options, **QUIET)
    with pytest.raises(ValueError, match="must not be negative"):
        model.train(1, plan_kwargs={"tower_weight": -1.0}, **QUIET)


def test_labels_that_are_numbers():
    mdata = screen()
    for adata in mdata.mod.values():
        adata.obs["label"] = adata.obs["label"].astype(str).str[1:].astype(int)
        adata.obs["efficacy"] = 0.9
    GROOVE.setup_mudata(mdata, "label", paired=False, efficacy_key="efficacy")
    model = GROOVE(mdata, efficacy_mode="reassign", control=0, label_agreement={0: {1.0: 0.5}})
    assert model.module.control == 0
    assert model.module.agreement[0, 1] == 0.5
    table = pd.DataFrame(np.eye(5), index=np.arange(5.0))
    model = GROOVE(mdata, label_embeddings=table)
    model.train(1, **QUIET)
    assert model.predict_label_latent(table).index.tolist() == list("01234")


def test_rows_of_labels_that_no_cell_has_do_no_harm():
    mdata = screen()
    GROOVE.setup_mudata(mdata, "label", paired=False)
    table = pd.DataFrame([*TABLE.values(), [1, 2, 3], [1, 2, np.nan]], index=[*TABLE, "other", "other"])
    expected = GROOVE(mdata, label_embeddings=TABLE).module.tower.embeddings
    torch.testing.assert_close(GROOVE(mdata, label_embeddings=table).module.tower.embeddings, expected)


def test_combinations_that_contradict():
    mdata = screen()
    mdata["rna"].obs["efficacy"] = mdata["protein"].obs["efficacy"] = 0.5
    GROOVE.setup_mudata(mdata, "label", paired=False, efficacy_key="efficacy")
    with pytest.raises(ValueError, match="place whole labels"):
        GROOVE(mdata, efficacy_mode="reassign", control="g00", label_embeddings=TABLE)
    with pytest.raises(ValueError, match="n_private >= 2"):
        GROOVE(mdata, n_private=1)
