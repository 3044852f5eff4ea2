"""Values in other units than those of the training data are noticed, wherever they come in."""

import warnings

import mudata as md
import numpy as np
import pytest
import scipy.sparse as sp

import scgroove as sg
from scgroove.errors import UnitsError
from scgroove.model import GROOVE

FAST = {"max_epochs": 1, "accelerator": "cpu", "enable_progress_bar": False}


def fit(mdata, **options):
    GROOVE.setup_mudata(mdata, "label", **options)
    model = GROOVE(mdata, 4, hidden=(8,))
    model.train(**FAST)
    return model


def logged_layer(mdata):
    mdata["rna"].layers["logged"] = log(shares(mdata["rna"].X.toarray()))
    return mdata


@pytest.fixture(scope="module")
def of_counts(make_mdata, tmp_path_factory):
    model = fit(make_mdata())
    model.path = tmp_path_factory.mktemp("counts") / "m"
    model.save(model.path)
    return model


@pytest.fixture(scope="module")
def of_logged(make_mdata):
    return fit(logged_layer(make_mdata()), layers={"rna": "logged"})


def shares(x):
    return x / x.sum(axis=1, keepdims=True) * 100


def log(x):
    return np.log1p(x).astype(np.float32)


def scaled(x):
    return ((x - x.mean(axis=0)) / (x.std(axis=0) + 1e-6)).astype(np.float32)


def changed(mdata, function, form=sp.csr_matrix):
    mdata["rna"].X = form(function(mdata["rna"].X.toarray()))
    return mdata


def verbs(model, query):
    """Every way in which new data reach a model: name and call."""
    return {
        "latent of an AnnData": lambda: model.get_latent_representation(query["rna"].copy(), "rna"),
        "latent of a view": lambda: model.get_latent_representation(query["rna"][:50], "rna"),
        "some cells": lambda: model.get_latent_representation(query, "rna", indices=range(30)),
        "translate": lambda: model.translate("rna", "img", query),
        "error": lambda: model.get_reconstruction_error(query),
        "embed": lambda: sg.tl.embed(query, model),
        "impute": lambda: sg.tl.impute(query, "rna", "img", model=model, uncertainty=False),
    }


def words(call):
    """What is said of units, as a warning or as an error."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            call()
        except UnitsError as error:
            return [error]
    return [one.message for one in caught if str(one.message).startswith("The data of modality")]


@pytest.mark.parametrize(
    ("function", "kind"),
    [
        (lambda x: log(shares(x)), "logged normalized values"),
        (shares, "normalized values"),
        (scaled, ""),
    ],
)
def test_a_model_of_counts_refuses_what_is_surely_none(of_counts, make_mdata, function, kind):
    query = changed(make_mdata(seed=3), function)
    columns = {m: list(query[m].obs) for m in query.mod}
    for call in verbs(of_counts, query).values():
        with pytest.raises(UnitsError) as caught:
            call()
        assert (caught.value.modality, caught.value.found.transformed) == ("rna", kind)
    for load in (
        lambda: GROOVE.load(of_counts.path, adata=query, accelerator="cpu"),
        lambda: GROOVE.load_query_data(query, of_counts),
    ):
        with pytest.raises(UnitsError):
            load()
    assert {m: list(query[m].obs) for m in query.mod} == columns
    assert not query["rna"].obsm
    assert not query.uns


@pytest.mark.parametrize(
    "function", [log, lambda x: x * 0.9 + 0.05 * (x > 0)], ids=["logged", "estimated"]
)
def test_a_model_of_counts_warns_where_it_cannot_be_sure(of_counts, make_mdata, function):
    query = changed(make_mdata(seed=3), function)
    for name, call in verbs(of_counts, query).items():
        said = words(call)
        assert said, name
        assert all("whole numbers" in str(one) for one in said), name
    with pytest.raises(UnitsError, match="whole numbers"):  # to be trained on
        GROOVE.load_query_data(query, of_counts)


@pytest.mark.parametrize(
    "form", [sp.csr_matrix, sp.csc_matrix, np.asarray, lambda x: x.astype(int)]
)
def test_nothing_is_said_of_counts(of_counts, make_mdata, form):
    query = changed(make_mdata(seed=3), lambda x: x, form)
    deeper = changed(make_mdata(seed=3), lambda x: 20 * x)
    for data in (query, deeper):
        for name, call in verbs(of_counts, data).items():
            assert not words(call), name


@pytest.mark.parametrize("form", [sp.csc_matrix, sp.csr_matrix, np.asarray])
def test_missing_values_are_not_mistaken_for_other_units(of_counts, make_mdata, form):
    query = changed(make_mdata(seed=3), lambda x: x)
    x = query["rna"].X.toarray()
    x[3, 4] = np.nan
    query["rna"].X = form(x)

    def call():
        with pytest.raises(ValueError, match="NaN"):
            of_counts.get_latent_representation(query["rna"].copy(), "rna")

    assert not words(call)


def test_backed_data_are_looked_at(of_counts, make_mdata, tmp_path):
    changed(make_mdata(seed=3), lambda x: log(shares(x))).write(tmp_path / "q.h5mu")
    with pytest.raises(UnitsError):
        of_counts.get_latent_representation(md.read(tmp_path / "q.h5mu", backed="r"), "rna")


@pytest.mark.parametrize(
    ("function", "sign"),
    [
        (lambda x: x, "whole numbers, as raw counts are"),
        (scaled, "negative values"),
        (lambda x: 100 * log(shares(x)), "a typical size"),
    ],
)
def test_a_model_of_logged_values_says_where_they_are_not(of_logged, make_mdata, function, sign):
    query = make_mdata(seed=3)
    query["rna"].layers["logged"] = function(query["rna"].X.toarray()).astype(np.float32)
    for name, call in verbs(of_logged, query).items():
        assert sign in " ".join(map(str, words(call))), name
    assert not words(
        lambda: of_logged.get_latent_representation(logged_layer(make_mdata(seed=3)), "rna")
    )


def test_the_warning_points_at_the_line_that_called(of_logged, make_mdata):
    query = make_mdata(seed=3)
    query["rna"].layers["logged"] = query["rna"].X.toarray()
    with pytest.warns(UserWarning, match="units of the training data") as caught:
        sg.tl.embed(query, of_logged)
    assert {one.filename for one in caught if "units" in str(one.message)} == {__file__}


def test_values_overwritten_between_set_up_and_training_are_refused(make_mdata):
    mdata = make_mdata()
    GROOVE.setup_mudata(mdata, "label")
    model = GROOVE(mdata, 4, hidden=(8,))
    changed(mdata, log)
    with pytest.raises(UnitsError, match="setup_mudata again"):
        model.train(**FAST)
    assert not model.is_trained_


@pytest.mark.parametrize("function", [np.log1p, lambda x: 1.1 * x, lambda x: x + 0.5])
def test_values_overwritten_after_training_are_noticed(of_logged, function):
    mdata = of_logged.adata
    before = mdata["rna"].layers["logged"].copy()
    assert not words(lambda: of_logged.get_latent_representation(modality="rna"))
    mdata["rna"].layers["logged"] = function(before)
    try:
        assert words(lambda: of_logged.get_latent_representation(modality="rna"))
        assert words(lambda: sg.tl.impute(mdata, "rna", "img", model=of_logged))
    finally:
        mdata["rna"].layers["logged"] = before
    mdata["rna"].layers["logged"] = before[:, ::-1][:, ::-1].copy()
    assert not words(lambda: of_logged.get_latent_representation(modality="rna"))


def test_nothing_is_said_of_fewer_cells_in_another_order(make_mdata):
    mdata = logged_layer(make_mdata())
    model = fit(mdata, layers={"rna": "logged"})
    for cells in (slice(None, None, -1), slice(20, 120)):
        mdata.mod["rna"] = mdata["rna"][cells].copy()
        assert not words(lambda: model.get_latent_representation(modality="rna"))


def test_a_sample_of_large_data_is_enough(of_logged, make_mdata, monkeypatch):
    monkeypatch.setattr("scgroove.data.units.SAMPLED_CELLS", 40)
    test_a_model_of_logged_values_says_where_they_are_not(
        of_logged, make_mdata, scaled, "negative values"
    )
    mdata = logged_layer(make_mdata())
    model = fit(mdata, layers={"rna": "logged"})
    mdata["rna"].layers["logged"] *= 3
    assert "have changed" in " ".join(map(str, words(model.get_latent_representation)))
