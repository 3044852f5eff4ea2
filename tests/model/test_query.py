"""New cells for a trained model, without training and with."""

import copy
import warnings

import mudata as md
import numpy as np
import pytest
import torch

from scgroove.errors import FeatureNamesError
from scgroove.model import GROOVE

FAST = {"max_epochs": 3, "accelerator": "cpu", "enable_progress_bar": False, "n_cells_per_label": 8}


def fit(mdata, batch_key=None, **kwargs):
    GROOVE.setup_mudata(
        mdata, "label", batch_key={"rna": "lane"} if batch_key is None else batch_key
    )
    model = GROOVE(mdata, 4, hidden=(16,), **kwargs)
    model.train(**FAST)
    return model


@pytest.fixture(scope="module")
def reference(make_mdata):
    return fit(make_mdata())


@pytest.fixture(scope="module")
def batch_aware(make_mdata):
    return fit(make_mdata(), encode_batch=True)


@pytest.fixture
def query(make_mdata):
    return make_mdata(seed=3)


@pytest.fixture
def screen(make_mdata):
    """A screen with a new batch and a new label."""
    mdata = make_mdata(seed=5)
    mdata["rna"].obs["lane"] = np.where(np.arange(200) % 2, "l0", "l7")
    for adata in mdata.mod.values():
        adata.obs["label"] = adata.obs["label"].astype(str).replace("A", "NEW")
    return mdata


def written(mdata):
    return {m: list(mdata[m].obs) for m in mdata.mod}, dict(mdata.uns)


def weights(model):
    return {k: v.clone() for k, v in model.module.state_dict().items()}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


# -- features ----------------------------------------------------------------------------------------------------


def shuffled(adata):
    """The features in another order, among others that the model does not know."""
    import anndata

    extra = adata[:, :2].copy()
    extra.var_names = ["unknown_0", "unknown_1"]
    joined = anndata.concat([extra, adata], axis=1, merge="same")
    return joined[:, np.random.default_rng(0).permutation(joined.n_vars)].copy()


@pytest.mark.parametrize("modality", ["rna", "img"])
def test_features_are_found_by_name(reference, query, modality):
    expected = reference.get_latent_representation(query, modality)
    other = shuffled(query[modality])
    before = other.X.copy()
    found = reference.get_latent_representation(other, modality)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert (before != other.X).sum() == 0
    mdata = md.MuData({modality: other})
    np.testing.assert_allclose(
        reference.get_latent_representation(mdata)[modality], expected, atol=1e-6
    )
    target = "img" if modality == "rna" else "rna"
    np.testing.assert_allclose(
        reference.translate(modality, target, other),
        reference.translate(modality, target, query),
        atol=1e-5,
    )
    assert reference.get_reconstruction_error(mdata)[modality] == pytest.approx(
        reference.get_reconstruction_error(query, modality)[modality], rel=1e-5
    )


def test_features_of_backed_data_and_of_a_loaded_model(reference, query, tmp_path):
    expected = reference.get_latent_representation(query)
    other = md.MuData({m: shuffled(query[m]) for m in query.mod})
    reference.save(tmp_path / "m")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        model = GROOVE.load(tmp_path / "m", adata=other, accelerator="cpu")
    other.write(tmp_path / "q.h5mu")
    for data in (None, md.read(tmp_path / "q.h5mu", backed="r")):
        for m, z in model.get_latent_representation(data).items():
            np.testing.assert_allclose(z, expected[m], atol=1e-6)


@pytest.mark.parametrize(
    ("change", "field", "names", "word"),
    [
        (lambda a: a[:, :27].copy(), "missing", ["r_f27", "r_f28", "r_f29"], "filtered"),
        (lambda a: a[:, np.r_[:5, 7:30]].copy(), "missing", ["r_f5", "r_f6"], "filtered"),
        (
            lambda a: renamed(a, str.upper),
            "missing",
            [f"r_f{j}" for j in range(30)],
            "upper and lower case",
        ),
        (
            lambda a: renamed(a, lambda n: f"ENSG000000{n[3:]}"),
            "missing",
            [f"r_f{j}" for j in range(30)],
            "identifiers",
        ),
        (lambda a: renamed(a, lambda n: n.replace("29", "28")), "missing", ["r_f29"], "annotation"),
        (lambda a: twice(a), "doubled", ["r_f0"], "var_names_make_unique"),
    ],
)
@pytest.mark.parametrize("wrap", [lambda a: a, lambda a: md.MuData({"rna": a})])
def test_missing_features_are_named(reference, query, change, field, names, word, wrap):
    other = change(query["rna"])
    columns, data = list(other.obs), wrap(other)
    for call in (
        lambda: reference.get_latent_representation(data, "rna"),
        lambda: reference.translate("rna", "img", data),
    ):
        with pytest.raises(FeatureNamesError, match=word) as caught:
            call()
        assert (caught.value.modality, list(getattr(caught.value, field))) == ("rna", names)
        if names == ["r_f27", "r_f28", "r_f29"]:
            assert len(caught.value.nearest) == 5
            assert {"r_f2", "r_f7"} < set(caught.value.nearest)
    assert list(other.obs) == columns


def test_doubled_features_that_the_model_does_not_know_do_no_harm(reference, query):
    other = query["rna"][:, [*range(30), 3, 4]].copy()
    other.var_names = [*query["rna"].var_names, "twice", "twice"]
    np.testing.assert_allclose(
        reference.get_latent_representation(other, "rna"),
        reference.get_latent_representation(query, "rna"),
        atol=1e-6,
    )


@pytest.mark.parametrize("modality", ["rna", "img"])
def test_features_of_the_model_s_own_data_that_were_changed_after_set_up(make_mdata, modality):
    mdata, target = make_mdata(), "img" if modality == "rna" else "rna"
    model = fit(mdata)
    z, values = (
        model.get_latent_representation(modality=modality),
        model.translate(modality, target),
    )
    whole = mdata[modality].copy()
    order = np.random.default_rng(0).permutation(whole.n_vars)
    mdata.mod[modality] = whole[:, order].copy()
    np.testing.assert_allclose(model.get_latent_representation(modality=modality), z, atol=1e-6)
    np.testing.assert_allclose(model.translate(modality, target), values, atol=1e-4)
    mdata.mod[modality] = whole[:, 1:].copy()
    for call in (
        model.get_latent_representation,
        lambda: model.translate(modality, target),
        model.get_reconstruction_error,
        lambda: model.train(**FAST),
        lambda: GROOVE(mdata, 4, hidden=(16,)),
    ):
        with pytest.raises(FeatureNamesError) as caught:
            call()
        assert caught.value.missing == (whole.var_names[0],)


def test_features_reordered_between_set_up_and_training(make_mdata):
    """Training sees features in the order of set-up, so that the result is the same to rounding."""
    straight, turned = make_mdata(), make_mdata()
    GROOVE.setup_mudata(turned, "label", batch_key={"rna": "lane"})
    turned.mod["rna"] = turned["rna"][:, ::-1].copy()
    model = GROOVE(turned, 4, hidden=(16,))
    model.train(**FAST)
    np.testing.assert_allclose(
        model.get_latent_representation(modality="rna"),
        fit(straight).get_latent_representation(modality="rna"),
        atol=1e-4,
    )


def test_doubled_names_are_refused_at_set_up(make_mdata):
    mdata = make_mdata()
    mdata["rna"].var_names = ["r_f0", *mdata["rna"].var_names[:-1]]
    before = written(mdata)
    with pytest.raises(FeatureNamesError, match="var_names_make_unique") as caught:
        GROOVE.setup_mudata(mdata, "label")
    assert caught.value.doubled == ("r_f0",)
    assert written(mdata) == before


def renamed(adata, change):
    adata = adata.copy()
    adata.var_names = [change(n) for n in adata.var_names]
    return adata


def twice(adata):
    adata = adata[:, [0, *range(30)]].copy()
    adata.var_names = ["r_f0", *(f"r_f{j}" for j in range(30))]
    return adata


def test_a_missing_layer_is_named(make_mdata, query):
    mdata = make_mdata()
    mdata["rna"].layers["counts"] = mdata["rna"].X.copy()
    GROOVE.setup_mudata(mdata, "label", layers={"rna": "counts"})
    model = GROOVE(mdata, 4, hidden=(16,))
    model.train(**FAST)
    with pytest.raises(
        KeyError, match=r"Layer 'counts' not found in modality 'rna', whose layers are .*same units"
    ):
        model.get_latent_representation(query["rna"], "rna")


# -- batches, without training -----------------------------------------------------------------------------------


@pytest.mark.parametrize("lanes", ["new", "missing", "none", "some"])
def test_an_unknown_batch_is_said_once_and_does_no_harm(reference, query, lanes):
    expected = reference.get_latent_representation(query["rna"].copy(), "rna")
    rna = query["rna"]
    if lanes == "missing":
        del rna.obs["lane"]
    else:
        other = {"new": "l9", "none": None, "some": ["l0", "l9"] * 100}[lanes]
        rna.obs["lane"] = np.array(other if lanes == "some" else [other] * 200, dtype=object)
    with pytest.warns(
        UserWarning, match="of modality 'rna' are of a batch that the model does not know"
    ) as said:
        found = reference.get_latent_representation(rna, "rna")
    ours = [warning for warning in said if "does not know" in str(warning.message)]
    assert [warning.filename for warning in ours] == [__file__]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    with pytest.warns(UserWarning, match="taken as unknown"):
        assert reference.translate("rna", "img", rna).shape == (200, 8)


def test_an_unknown_batch_is_decoded_between_the_known_ones(reference, query):
    errors = {}
    for lane in ("l0", "l1", "l9"):
        query["rna"].obs["lane"] = lane
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            errors[lane] = reference.get_reconstruction_error(query["rna"], "rna")["rna"]
    assert (
        min(errors["l0"], errors["l1"]) - 0.01
        < errors["l9"]
        < max(errors["l0"], errors["l1"]) + 0.01
    )


def test_encoders_that_see_the_batch_refuse_an_unknown_one(batch_aware, query):
    query["rna"].obs["lane"] = "l9"
    before = written(query)
    for data in (query, query["rna"]):
        with pytest.raises(
            ValueError,
            match=r"such as \['l9'\].*known: \['l0', 'l1'\].*encode_batch=True.*load_query_data",
        ):
            batch_aware.get_latent_representation(data, "rna")
        assert written(query) == before
    query["rna"].obs["lane"] = "l1"
    assert batch_aware.get_latent_representation(query["rna"], "rna").shape == (200, 4)
    assert batch_aware.get_latent_representation(query["img"], "img").shape == (150, 4)


def test_a_refused_query_is_not_attached_to_a_model_loaded_without_data(
    batch_aware, query, tmp_path
):
    batch_aware.save(tmp_path / "m")
    model = GROOVE.load(tmp_path / "m", adata=False, accelerator="cpu")
    query["rna"].obs["lane"] = "l9"
    with pytest.raises(ValueError, match="encode_batch=True"):
        model.get_latent_representation(query["rna"], "rna")
    assert model.adata is None
    query["rna"].obs["lane"] = "l1"
    np.testing.assert_allclose(
        model.get_latent_representation(query["rna"], "rna"),
        batch_aware.get_latent_representation(query["rna"], "rna"),
        atol=1e-6,
    )


def test_training_on_an_unknown_batch_needs_a_model_that_knows_it(reference, query, tmp_path):
    reference.save(tmp_path / "m")
    query["rna"].obs["lane"] = "l9"
    model = GROOVE.load(tmp_path / "m", adata=query, accelerator="cpu")
    with pytest.raises(
        ValueError, match=r"200 cells of a batch that the model does not know.*load_query_data"
    ):
        model.train(**FAST)


# -- training on -------------------------------------------------------------------------------------------------


def test_a_model_of_a_new_screen_starts_as_the_reference(reference, screen):
    before, registry = weights(reference), copy.deepcopy(reference.registry)
    model = GROOVE.load_query_data(screen, reference)
    assert "weights of a reference" in repr(model)
    for state in ("rna", "img"):
        labels = [str(c) for c in model._state("labels", state)["categorical_mapping"]]
        assert labels == ["A", "B", "C", "D", "E", "ctrl", "NEW"]
    assert model._state("batch", "rna")["categorical_mapping"].tolist() == ["l0", "l1", "l7"]
    assert model.likelihood == reference.likelihood
    assert model.likelihood_reasons == reference.likelihood_reasons
    with pytest.warns(UserWarning, match="taken as unknown"):
        expected = reference.get_latent_representation(screen["rna"].copy(), "rna")
    np.testing.assert_allclose(model.get_latent_representation(modality="rna"), expected, atol=1e-6)
    for batch in ("l0", "l1"):
        np.testing.assert_allclose(
            model.translate("img", "rna", target_batch=batch),
            reference.translate("img", "rna", screen, target_batch=batch),
            atol=1e-5,
        )
    model.train(**FAST)
    assert len(model.history["train_loss"]) == 3
    assert same(before, weights(reference))
    assert reference.registry["field_registries"].keys() == registry["field_registries"].keys()
    assert reference._state("batch", "rna")["categorical_mapping"].tolist() == ["l0", "l1"]


def test_a_new_batch_starts_as_the_mean_of_the_known_ones(reference, screen):
    model = GROOVE.load_query_data(screen, reference)
    old, new = (m.module.decoder_of("rna").net[0].weight.detach() for m in (reference, model))
    shares = reference.module.batch_proportions_of("rna")
    assert new.shape[1] == old.shape[1] + 1
    assert torch.equal(new[:, :-1], old)
    torch.testing.assert_close(new[:, -1], shares[0] * old[:, -2] + shares[1] * old[:, -1])
    torch.testing.assert_close(
        model.module.batch_proportions_of("rna"), torch.tensor([0.5, 0.0, 0.5])
    )


def test_the_first_second_batch_starts_as_the_only_one(make_mdata, screen):
    mdata = make_mdata()
    mdata["rna"].obs["lane"] = "l0"
    reference = fit(mdata, encode_batch=True)
    model = GROOVE.load_query_data(screen, reference)
    assert model.module.encoder_of("rna").n_batch == 2
    values = [model.translate("img", "rna", target_batch=b) for b in ("l0", "l7")]
    np.testing.assert_array_equal(*values)
    np.testing.assert_allclose(
        values[0], reference.translate("img", "rna", screen), rtol=1e-4, atol=1e-5
    )
    model.train(**FAST)
    assert (
        np.abs(
            np.subtract(*(model.translate("img", "rna", target_batch=b) for b in ("l0", "l7")))
        ).max()
        > 0
    )


def test_input_statistics_stay_those_of_the_reference(reference, screen):
    screen["img"].X = screen["img"].X * 3 + 7
    model = GROOVE.load_query_data(screen, reference)
    model.train(**FAST)
    model.train(**FAST)
    assert len(model.history["train_loss"]) == 6
    for m in model.modalities:
        mine, theirs = (x.module.encoder_of(m).transform for x in (model, reference))
        for name in ("center", "scale", "median_library"):
            assert torch.equal(getattr(mine, name), getattr(theirs, name))


def test_nothing_frozen_all_learns(reference, screen):
    model = GROOVE.load_query_data(screen, reference)
    before = weights(model)
    model.train(**FAST)
    moved = {k for k, v in weights(model).items() if not torch.equal(v, before[k])}
    assert moved >= {k for k, p in model.module.named_parameters() if p.requires_grad}
    assert "encoders.0.offset" in moved


def test_frozen_encoders_leave_the_latent_space_as_it_is(reference, screen, query):
    expected = reference.get_latent_representation(query)
    model = GROOVE.load_query_data(screen, reference, freeze="encoders")
    before = weights(model)
    model.train(**FAST)
    moved = {k.split(".")[0] for k, v in weights(model).items() if not torch.equal(v, before[k])}
    assert moved == {"decoders"}
    for m, z in model.get_latent_representation(query).items():
        np.testing.assert_array_equal(z, expected[m])
    learned = [p.requires_grad for p in model.module.parameters()]
    assert learned == [p.requires_grad for p in reference.module.parameters()]


@pytest.mark.parametrize("encode_batch", [False, True])
def test_all_frozen_but_what_a_batch_adds(reference, batch_aware, screen, encode_batch):
    model = GROOVE.load_query_data(
        screen, batch_aware if encode_batch else reference, freeze="all_but_batch"
    )
    before = weights(model)
    model.train(**FAST, plan_kwargs={"weight_decay": 0.5})
    moved = {k for k, v in weights(model).items() if not torch.equal(v, before[k])}
    layers = ["decoders.0.net.0.weight"] + ["encoders.0.net.0.weight"] * encode_batch
    assert moved == set(layers)
    for name in layers:
        after = model.module.state_dict()[name]
        assert torch.equal(after[:, :-3], before[name][:, :-3])
        assert not torch.equal(after[:, -1], before[name][:, -1])


@pytest.mark.parametrize("freeze", ["nothing", "encoders"])
def test_save_and_load_and_go_on(reference, screen, tmp_path, freeze):
    reference.save(tmp_path / "reference")
    model = GROOVE.load_query_data(screen, tmp_path / "reference", freeze=freeze, accelerator="cpu")
    model.train(**FAST)
    model.save(tmp_path / "query", save_anndata=True)
    again = GROOVE.load(tmp_path / "query", accelerator="cpu")
    assert repr(again) == repr(model)
    for m, z in model.get_latent_representation().items():
        np.testing.assert_allclose(again.get_latent_representation(modality=m), z, atol=1e-6)
    before = weights(again)
    again.train(**FAST)
    kept = same(
        {k: v for k, v in before.items() if "encoders" in k},
        {k: v for k, v in weights(again).items() if "encoders" in k},
    )
    assert kept == (freeze == "encoders")
    twice = GROOVE.load_query_data(screen.copy(), again)
    assert twice.module.decoder_of("rna").n_batch == 3


def test_one_modality_is_mapped_but_not_trained_on(reference, screen):
    mdata = md.MuData({"rna": screen["rna"]})
    del mdata["rna"].obs["label"]
    model = GROOVE.load_query_data(mdata, reference)
    assert list(model.get_latent_representation()) == ["rna"]
    assert torch.equal(
        model.module.batch_proportions_of("img"), reference.module.batch_proportions_of("img")
    )
    with pytest.raises(ValueError, match="Training needs all modalities"):
        model.train(**FAST)


def test_a_batch_that_encoders_see_is_mapped_once_the_model_knows_it(batch_aware, screen):
    model = GROOVE.load_query_data(screen, batch_aware)
    assert model.get_latent_representation(modality="rna").shape == (200, 4)
    model.train(**FAST)
    assert np.isfinite(model.translate("rna", "img")).all()


def half_empty(mdata):
    mdata["rna"].obs["lane"] = mdata["rna"].obs["lane"].where(np.arange(200) > 2)


def normalized(mdata):
    mdata["rna"].X = mdata["rna"].X * 0.5


def fewer(mdata):
    mdata.mod["img"]._inplace_subset_var(np.arange(8) > 2)


def not_a_number(mdata):
    mdata["img"].X[3, 1] = np.nan


@pytest.mark.parametrize(
    ("change", "kwargs", "message"),
    [
        (half_empty, {}, "3 of 200 cells of modality 'rna' have no batch in obs"),
        (normalized, {}, "values that are not whole numbers.*likelihood .nb."),
        (fewer, {}, "Features of modality 'img' are missing: 3 of 8"),
        (not_a_number, {}, "NaN"),
        (lambda mdata: None, {"freeze": "encoder"}, "freeze must be .*Did you mean 'encoders'"),
    ],
)
def test_refused_screens_are_left_as_they_were(reference, screen, change, kwargs, message):
    change(screen)
    before = written(screen)
    with pytest.raises(ValueError, match=message):
        GROOVE.load_query_data(screen, reference, **kwargs)
    assert written(screen) == before


def test_other_refusals(reference, make_mdata, screen):
    with pytest.raises(
        TypeError, match=r"Expected a MuData, found AnnData.*get_latent_representation\(adata"
    ):
        GROOVE.load_query_data(screen["rna"], reference)
    with pytest.raises(ValueError, match=r"are a view of others.*Pass a copy"):
        GROOVE.load_query_data(screen[:300], reference)
    with pytest.raises(
        KeyError, match=r"\['atac'\], none of which is in the model: \['rna', 'img'\]"
    ):
        GROOVE.load_query_data(md.MuData({"atac": screen["img"]}), reference)
    mdata = make_mdata()
    GROOVE.setup_mudata(mdata, "label")
    model = GROOVE(mdata, 4)
    with pytest.raises(RuntimeError, match="not trained yet"):
        GROOVE.load_query_data(screen, model)
    model.train(**FAST)
    with pytest.raises(
        ValueError, match="leaves nothing to learn: no modality has more than one batch"
    ):
        GROOVE.load_query_data(screen, model, freeze="all_but_batch")


def test_a_screen_without_labels_is_not_trained_on(reference, screen):
    del screen["img"].obs["label"]
    model = GROOVE.load_query_data(screen, reference)
    with pytest.raises(ValueError, match="modality 'img' of the attached data has no label column"):
        model.train(**FAST)


def test_imputed_values_and_their_errors_go_by_name(make_mdata, query):
    import scgroove as sg

    reference = fit(make_mdata())
    alone = md.MuData({"rna": query["rna"]})
    both = md.MuData(
        {
            "rna": query["rna"].copy(),
            "img": shuffled(query["img"])[:, query["img"].var_names[::-1]].copy(),
        }
    )
    for mdata in (alone, both):
        sg.tl.impute(mdata, "rna", "img", model=reference)
    assert sg.get.imputed(both, "rna", "img").columns.tolist() == list(both["img"].var_names)
    expected = sg.get.imputed(alone, "rna", "img")
    np.testing.assert_allclose(
        sg.get.imputed(both, "rna", "img")[expected.columns], expected, atol=1e-5
    )
    extra = md.MuData({"rna": query["rna"].copy(), "img": shuffled(query["img"])})
    plain = md.MuData({"rna": query["rna"].copy(), "img": query["img"]})
    for mdata in (extra, plain):
        sg.tl.impute(mdata, "rna", "img", model=reference)
    for read in (sg.get.imputed, sg.get.imputed_sd):
        found, expected = read(extra, "rna", "img"), read(plain, "rna", "img")
        np.testing.assert_allclose(found[expected.columns], expected, atol=1e-4)
