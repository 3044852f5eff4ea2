"""Terms and weights of cells: what they do to a model, when it is saved, and when it goes on with other data."""

from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
import torch

import scgroove as sg
from scgroove.losses import BackTranslation, GroupCLIP, LabelTower, Prototypes, Reconstruction, Term
from scgroove.model import GROOVE
from scgroove.model._options import n_epochs, training_defaults

QUIET = {
    "accelerator": "cpu",
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "logger": None,
}


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


def three(**contrast):
    return [Reconstruction(), GroupCLIP(**contrast), BackTranslation()]


def with_tower(embeddings):
    return [*three(), LabelTower(embeddings)]


def tower_of(model):
    return model.module.terms["label_tower"]


# -- how a model trains ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("encoder", "goes_on", "steps_per_epoch", "lr", "epochs"),
    [
        ("linear", False, 5, 1e-2, 50),
        ("linear", False, 3, 1e-2, 84),
        ("linear", False, 1, 1e-2, 150),
        ("linear", False, 40, 1e-2, 25),
        ("linear", False, 1000, 1e-2, 10),
        ("linear", True, 40, None, 75),
        ("mlp", False, 5, None, 150),
    ],
)
def test_how_long_and_how_fast_a_model_trains(encoder, goes_on, steps_per_epoch, lr, epochs):
    plan, n_steps, epochs_of_small_data = training_defaults(encoder, goes_on)
    assert plan.get("lr") == lr
    assert n_epochs(steps_per_epoch, n_steps, epochs_of_small_data) == epochs


def test_a_model_that_goes_on_takes_smaller_steps():
    model = fit(screen(), epochs=1)
    assert model.trainer.lightning_module.lr == 1e-2
    model.train(1, batch_size=40, **QUIET)
    assert model.trainer.lightning_module.lr == 3e-3
    assert fit(screen(), epochs=1, encoder="mlp").trainer.lightning_module.lr == 3e-3
    assert (
        fit(screen(), epochs=1, train={"plan_kwargs": {"lr": 1e-4}}).trainer.lightning_module.lr
        == 1e-4
    )


# -- weights of cells ------------------------------------------------------------------------------------------


def with_efficacy(values=None):
    mdata = screen()
    rng = np.random.default_rng(0)
    for adata in mdata.mod.values():
        adata.obs["worked"] = rng.uniform(size=adata.n_obs) if values is None else values
    return mdata


def test_efficacy_of_one_is_no_efficacy():
    plain, sure = fit(screen()), fit(with_efficacy(1.0), setup={"weight_key": "worked"})
    for name, value in weights(plain).items():
        torch.testing.assert_close(value, weights(sure)[name], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("on_device", [False, True])
def test_weights_reach_the_terms(on_device):
    class Spy(Term):
        name = "spy"
        seen: ClassVar = []

        def forward(self, batch):
            self.seen.append(batch.weights["rna"])
            return sum(z.sum() for z in batch.z.values()) * 0

    mdata = with_efficacy()
    GROOVE.setup_mudata(mdata, "label", paired=False, weight_key="worked")
    model = GROOVE(mdata, 4, hidden=(16,), terms=[Spy()])
    model.train(1, batch_size=40, data_on_device=on_device, **QUIET)
    w = max(Spy.seen, key=len)
    assert w.unique().numel() > 5
    assert w.min() >= 1e-3
    assert set(w.tolist()) <= set(np.float32(mdata["rna"].obs["worked"].clip(1e-3)).tolist())


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
        setup = {"weight_key": "worked"} if known else {}
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
        (np.nan, r"is missing, or no number, for 80 of 80 labeled cells"),
        ("yes", r"is missing, or no number"),
    ],
)
def test_efficacy_that_is_no_probability(values, message):
    mdata = with_efficacy(values)
    before = mdata["rna"].obs.copy()
    with pytest.raises(ValueError, match=message):
        GROOVE.setup_mudata(mdata, "label", paired=False, weight_key="worked")
    pd.testing.assert_frame_equal(mdata["rna"].obs, before)


def test_efficacy_column_that_is_not_there():
    with pytest.raises(KeyError, match=r"Weight column 'wrked' not found.*estimate_efficacy"):
        GROOVE.setup_mudata(screen(), "label", paired=False, weight_key="wrked")


def test_every_cell_judged_escaped_is_said_and_trains():
    mdata = with_efficacy(0.0)
    with pytest.warns(UserWarning, match=r"no cell of 5 of 5 labels responded"):
        GROOVE.setup_mudata(mdata, "label", paired=False, weight_key="worked")
    model = GROOVE(mdata, 4, hidden=(16,))
    model.train(2, batch_size=40, **QUIET)
    assert all(np.isfinite(z).all() for z in model.get_latent_representation().values())


def test_unlabeled_cells_need_no_efficacy():
    mdata = with_efficacy(0.5)
    for adata in mdata.mod.values():
        adata.obs["label"] = (
            adata.obs["label"].astype(object).where(np.arange(adata.n_obs) % 4 > 0, None)
        )
        adata.obs.loc[adata.obs["label"].isna(), "worked"] = np.nan
    model = fit(mdata, setup={"weight_key": "worked"})
    assert np.isfinite(model.history["train_loss"].to_numpy(dtype=float)).all()


def screen_set_up():
    mdata = screen()
    GROOVE.setup_mudata(mdata, "label", paired=False)
    return mdata


# -- labels ------------------------------------------------------------------------------------------------------


def table(mdata, extra=0):
    labels = sorted(
        set(mdata["rna"].obs["label"].astype(str)) | set(mdata["protein"].obs["label"].astype(str))
    )
    names = [*labels, *(f"other{i}" for i in range(extra))]
    return pd.DataFrame(np.random.default_rng(0).normal(size=(len(names), 6)), index=names)


def test_labels_are_placed_by_their_embeddings(tmp_path):
    mdata = screen()
    embeddings = table(mdata, extra=2)
    model = fit(mdata, 80, terms=with_tower(embeddings))
    placed = tower_of(model).predict()
    assert (
        list(placed.index)
        == model.registry["field_registries"]["labels_rna"]["state_registry"][
            "categorical_mapping"
        ].tolist()
    )
    np.testing.assert_allclose(np.linalg.norm(placed, axis=1), 1, rtol=1e-5)
    again = tower_of(model).predict(embeddings.loc[placed.index])
    np.testing.assert_allclose(placed, again, atol=1e-6)
    z = model.get_latent_representation(modality="rna")
    nearest = placed.index[(z @ placed.to_numpy().T).argmax(1)]
    assert (nearest == mdata["rna"].obs["label"].astype(str)).mean() > 0.6  # chance is 0.2
    assert tower_of(model).predict({"new": np.zeros(6)}).shape == (1, 4)
    model.save(str(tmp_path / "m"))
    loaded = GROOVE.load(str(tmp_path / "m"), mdata)
    np.testing.assert_array_equal(tower_of(loaded).predict(), placed)


def test_embeddings_that_do_not_fit():
    mdata = screen_set_up()
    embeddings = table(mdata)
    twice = pd.concat([embeddings, embeddings.iloc[:1]])
    with pytest.raises(ValueError, match=r"embeddings have labels more than once: \['g0"):
        GROOVE(mdata, terms=with_tower(twice))
    with pytest.raises(ValueError, match="embeddings must hold numbers only"):
        GROOVE(mdata, terms=with_tower(embeddings.assign(name="a")))
    with pytest.raises(ValueError, match=r"embeddings lack 2 of 5 labels: \['g0"):
        GROOVE(mdata, terms=with_tower(embeddings.iloc[2:]))
    embeddings.iloc[0, 0] = np.nan
    with pytest.raises(ValueError, match=r"finite numbers"):
        GROOVE(mdata, terms=with_tower(embeddings))
    model = fit(mdata, terms=with_tower(table(mdata)))
    with pytest.raises(ValueError, match=r"have 6 values in this model; found shape \(1, 2\)"):
        tower_of(model).predict({"new": [0.0, 1.0]})


def test_labels_of_one_modality_reach_the_tower():
    mdata = screen()
    names = mdata["rna"].obs["label"].astype(str)
    mdata.mod["protein"] = mdata["protein"][
        mdata["protein"].obs["label"].astype(str) != names.iloc[0]
    ].copy()
    mdata.update()
    model = fit(mdata, 30, terms=with_tower(table(mdata)))
    assert tower_of(model).present.sum(1).tolist() == [5, 4]
    placed = tower_of(model).predict()
    own = model.get_latent_representation(modality="rna")[(names == names.iloc[0]).to_numpy()]
    assert placed.index[(own.mean(0) @ placed.to_numpy().T).argmax()] == names.iloc[0]


def test_agreement_of_labels(tmp_path):
    mdata = screen()
    a, b = sorted(mdata["rna"].obs["label"].astype(str).unique())[:2]
    model = fit(mdata, terms=three(agreement={a: {b: 0.5}}))
    k = model.module.agreement
    assert k[0, 1] == k[1, 0] == 0.5
    assert float(k.sum()) == 6.0
    model.save(str(tmp_path / "m"))
    assert torch.equal(GROOVE.load(str(tmp_path / "m"), mdata).module.agreement, k)
    mdata = screen_set_up()
    with pytest.raises(KeyError, match="names 'x', which is no label"):
        GROOVE(mdata, terms=three(agreement={a: {"x": 0.5}}))
    with pytest.raises(ValueError, match="must be symmetric"):
        GROOVE(mdata, terms=three(agreement={a: {b: 0.5}, b: {a: 0.4}}))


def test_a_bank_restored_with_other_labels(tmp_path):
    model = fit(screen(), terms=[Prototypes()])
    model.save(str(tmp_path / "m"))
    with pytest.raises(ValueError, match="labels that the model was not trained on"):
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
    reference = fit(renamed(screen(), "protein", "g04", "g03"), terms=with_tower(TABLE))
    reference.save(str(tmp_path / "m"))
    assert not tower_of(reference).present[1, 4]
    query = GROOVE.load_query_data(screen(), reference)
    loaded = GROOVE.load(str(tmp_path / "m"), screen())
    for model in (query, loaded):
        assert tower_of(model).present.all()
        assert finite(model)
    assert not tower_of(reference).present[1, 4]  # as it was
    fewer = GROOVE.load_query_data(renamed(screen(), "rna", "g03", "g02"), reference)
    assert tower_of(fewer).present.all()  # what the reference knows, and what the new screen has


def test_a_label_that_is_new_to_the_model_needs_an_embedding():
    reference = fit(screen(), terms=with_tower(TABLE))
    new = renamed(screen(), "rna", "g04", "gNEW")
    before = list(new["rna"].obs)
    with pytest.raises(ValueError, match=r"lack 1 of 6 labels: \['gNEW'\]"):
        GROOVE.load_query_data(new, reference)
    assert list(new["rna"].obs) == before
    more = {"gNEW": [9.0, 9.0, 9.0], **TABLE, "g00": [0, 0, 7]}
    query = GROOVE.load_query_data(new, reference, terms=with_tower(more))
    tower, old = tower_of(query), tower_of(reference)
    torch.testing.assert_close(tower.embeddings[:5], old.embeddings)  # those that it knew stay
    assert tower.embeddings[5].tolist() == [9, 9, 9]
    torch.testing.assert_close(tower.center, old.center)
    assert tower.present[:, 5].tolist() == [True, False]
    assert finite(query)


def test_a_new_label_agrees_with_none(tmp_path):
    reference = fit(screen(), terms=three(agreement={"g00": {"g01": 0.5}}))
    reference.save(str(tmp_path / "m"))
    new = renamed(screen(), "rna", "g04", "gNEW")
    query = GROOVE.load_query_data(new, reference)
    expected = torch.eye(6)
    expected[0, 1] = expected[1, 0] = 0.5
    torch.testing.assert_close(query.module.agreement, expected)
    assert finite(query)
    again = GROOVE.load(str(tmp_path / "m"), renamed(screen(), "rna", "g04", "gNEW"))
    torch.testing.assert_close(again.module.agreement, expected)


def test_a_combination_of_one_modality_is_half_a_positive_of_its_parts():
    def latents(agreement):
        mdata = renamed(renamed(screen(), "rna", "g04", "g00+g01"), "protein", "g04", "g03")
        model = fit(mdata, 10, terms=three(agreement=agreement))
        combination = (mdata["rna"].obs["label"] == "g00+g01").to_numpy()
        parts = mdata["protein"].obs["label"].isin(["g00", "g01"]).to_numpy()
        z = model.get_latent_representation()
        return float((z["rna"][combination] @ z["protein"][parts].T).mean())

    told = latents({"g00+g01": {"g00": 0.5, "g01": 0.5}})
    assert told > latents({"g00": {"g01": 0.0}}) + 0.05


def test_labels_that_are_numbers():
    mdata = screen()
    for adata in mdata.mod.values():
        adata.obs["label"] = adata.obs["label"].astype(str).str[1:].astype(int)
        adata.obs["efficacy"] = 0.9
    GROOVE.setup_mudata(mdata, "label", paired=False, weight_key="efficacy")
    model = GROOVE(mdata, terms=three(agreement={0: {1.0: 0.5}}))
    assert model.module.agreement[0, 1] == 0.5
    table = pd.DataFrame(np.eye(5), index=np.arange(5.0))
    model = GROOVE(mdata, terms=with_tower(table))
    model.train(1, **QUIET)
    assert tower_of(model).predict(table).index.tolist() == list("01234")


def test_rows_of_labels_that_no_cell_has_do_no_harm():
    mdata = screen()
    GROOVE.setup_mudata(mdata, "label", paired=False)
    table = pd.DataFrame(
        [*TABLE.values(), [1, 2, 3], [1, 2, np.nan]], index=[*TABLE, "other", "other"]
    )
    expected = tower_of(GROOVE(mdata, terms=with_tower(TABLE))).embeddings
    torch.testing.assert_close(
        tower_of(GROOVE(mdata, terms=with_tower(table))).embeddings, expected
    )
