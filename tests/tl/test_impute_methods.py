"""tl.impute by neighbors, regression and several models; what it says of its errors; what it refuses."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mudata
import numpy as np
import pandas as pd
import pytest

import scgroove as sg
from scgroove import imputers
from scgroove.errors import FeatureNamesError, TooLargeError

Screen = Callable[..., mudata.MuData]
State = Callable[[mudata.MuData], dict[str, Any]]


class Fixed:
    """Stands for a trained model that returns fixed values."""

    def __init__(self, values: np.ndarray, **others: Any) -> None:
        self.values = values
        self.__dict__.update(others)

    def translate(self, source: str, target: str, mdata: Any = None) -> np.ndarray:
        return self.values


def codes(mdata: mudata.MuData) -> tuple[np.ndarray, np.ndarray]:
    names = sorted({*mdata["rna"].obs["label"], *mdata["protein"].obs["label"]})
    return tuple(
        np.array([names.index(v) for v in mdata[m].obs["label"]]) for m in ("rna", "protein")
    )  # type: ignore[return-value]


# ------------------------------------------------------------------------------------------------------ neighbors


def test_knn_has_neighbors_of_its_label(screen: Screen) -> None:
    mdata = screen()
    sg.tl.impute(mdata, "rna", "protein", method="knn", n_neighbors=5)
    codes_x, codes_y = codes(mdata)
    expected = imputers.knn(
        mdata["rna"].obsm["X_groove"],
        mdata["protein"].obsm["X_groove"],
        mdata["protein"].X,
        n_neighbors=5,
        codes_x=codes_x,
        codes_y=codes_y,
    )
    np.testing.assert_allclose(mdata["rna"].obsm["imputed_protein"], expected.values)
    assert not mdata["rna"].obs["imputed_protein_extrapolated"].any()
    made = mdata["rna"].uns["imputed_protein"]
    assert (made["method"], made["n_neighbors"]) == ("knn", 5)


def test_knn_of_labels_never_measured_is_flagged_and_less_sure(screen: Screen) -> None:
    whole = screen(n_cells_per_label=30)
    hidden = (whole["protein"].obs["label"] == "g03").to_numpy()
    mdata = mudata.MuData({"rna": whole["rna"].copy(), "protein": whole["protein"][~hidden].copy()})
    sg.tl.impute(mdata, "rna", "protein", method="knn")
    flagged = mdata["rna"].obs["imputed_protein_extrapolated"]
    unseen = mdata["rna"].obs["label"] == "g03"
    assert flagged[unseen].all()
    assert not flagged[~unseen].any()
    sd = sg.get.imputed_sd(mdata, "rna", "protein")
    assert (sd[unseen.to_numpy()].mean() > sd[~unseen.to_numpy()].mean()).mean() > 0.8


# ------------------------------------------------------------------------------------------------------ regression


def test_regression_writes_what_networks_predict(screen: Screen) -> None:
    mdata = screen()
    sg.tl.align(mdata, "rna", "protein")
    options = {"n_models": 2, "max_epochs": 3, "hidden": (8,)}
    for _ in range(2):
        sg.tl.impute(mdata, "rna", "protein", method="regression", regression=options, seed=4)
        first = mdata["rna"].obsm.get("first", mdata["rna"].obsm["imputed_protein"])
        mdata["rna"].obsm["first"] = first
    np.testing.assert_array_equal(mdata["rna"].obsm["first"], mdata["rna"].obsm["imputed_protein"])
    made = mdata["rna"].uns["imputed_protein"]
    assert made["coupling"] == "coupling_rna_protein"
    assert made["validation_loss"] > 0
    sg.tl.impute(
        mdata, "rna", "protein", method="regression", regression=options, use_rep="X_groove", seed=4
    )
    assert not np.array_equal(mdata["rna"].obsm["first"], mdata["rna"].obsm["imputed_protein"])


def test_regression_of_counts_is_not_negative(screen: Screen) -> None:
    mdata = screen(counts=("protein",))
    sg.tl.align(mdata, "rna", "protein")
    sg.tl.impute(
        mdata, "rna", "protein", method="regression", regression={"n_models": 1, "max_epochs": 30}
    )
    assert mdata["rna"].obsm["imputed_protein"].min() >= 0
    low, high = sg.get.imputed_interval(mdata, "rna", "protein")
    assert low.to_numpy().min() >= 0
    assert (high.to_numpy() >= low.to_numpy()).all()


def test_label_ridge_of_labels_never_measured(screen: Screen) -> None:
    """Effects are shared: a linear map of the means of six labels finds those of two others."""
    whole = screen(
        n_labels=8, n_cells_per_label=40, n_features=(30, 20), noise=0.1, view="linear", n_private=0
    )
    unseen = whole["protein"].obs["label"].isin(["g06", "g07"]).to_numpy()
    mdata = mudata.MuData({"rna": whole["rna"].copy(), "protein": whole["protein"][~unseen].copy()})
    sg.tl.impute(mdata, "rna", "protein", method="label_ridge")
    hidden = mdata["rna"].obs["label"].isin(["g06", "g07"]).to_numpy()
    assert mdata["rna"].obs["imputed_protein_extrapolated"].to_numpy().tolist() == hidden.tolist()
    found = sg.get.imputed(mdata, "rna", "protein")[hidden].mean().to_numpy()
    truth = whole["protein"].X[unseen].mean(axis=0)
    assert np.corrcoef(found, truth)[0, 1] > 0.8
    assert mdata["rna"].uns["imputed_protein"]["penalty"] > 0


# --------------------------------------------------------------------------------------------------------- several


def test_models_that_disagree_are_less_sure(screen: Screen) -> None:
    mdata = screen()
    values = mdata["protein"].X[:48].copy()
    sg.tl.impute(mdata, "rna", "protein", model=[Fixed(values), Fixed(values)])
    agreed = sg.get.imputed_sd(mdata, "rna", "protein")
    sg.tl.impute(mdata, "rna", "protein", model=[Fixed(values + 1), Fixed(values - 1)])
    np.testing.assert_allclose(mdata["rna"].obsm["imputed_protein"], values, atol=1e-6)
    apart = sg.get.imputed_sd(mdata, "rna", "protein")
    np.testing.assert_allclose(apart**2, agreed**2 + 2.0, rtol=1e-4)  # the variance of +1 and -1
    assert mdata["rna"].uns["imputed_protein"]["n_models"] == 2


def test_model_that_holds_its_data_tells_how_sure_it_is_of_a_query(screen: Screen) -> None:
    mdata = screen()
    query = mudata.MuData({"rna": mdata["rna"][:5].copy()})
    names = mdata["protein"].var_names.to_numpy()
    model = Fixed(np.zeros((5, 7)), adata=mdata, get_var_names=lambda: {"protein": names})
    sg.tl.impute(query, "rna", "protein", model=model)
    assert sg.get.imputed_sd(query, "rna", "protein").shape == (5, 7)
    assert sg.get.imputed(query, "rna", "protein").columns.tolist() == names.tolist()
    sg.tl.impute(
        query,
        "rna",
        "protein",
        model=Fixed(np.zeros((5, 7)), get_var_names=lambda: {"protein": names}),
    )
    assert "imputed_protein_sd" not in query["rna"].obsm, "that of an earlier call is gone"
    with pytest.raises(ValueError, match=r"imputed without uncertainty.*uncertainty=True"):
        sg.get.imputed_sd(query, "rna", "protein")


# ---------------------------------------------------------------------------------------------------------- shrink


def test_shrink_gives_labels_their_measured_mean(screen: Screen) -> None:
    mdata = screen()
    rng = np.random.default_rng(0)
    sg.tl.impute(mdata, "rna", "protein", model=Fixed(rng.normal(size=(48, 7))), shrink=0.5)
    found = (
        sg.get.imputed(mdata, "rna", "protein")
        .groupby(mdata["rna"].obs["label"].astype(str))
        .mean()
    )
    measured = (
        pd.DataFrame(mdata["protein"].X)
        .groupby(mdata["protein"].obs["label"].astype(str).to_numpy())
        .mean()
    )
    np.testing.assert_allclose(found, measured, atol=1e-5)
    assert mdata["rna"].uns["imputed_protein"]["shrink"] == 0.5


def test_the_decoder_follows_the_order_of_the_measured_features(screen: Screen) -> None:
    mdata = screen()
    names = np.asarray(mdata["protein"].var_names)[::-1]
    values = np.tile(np.arange(7.0, dtype=np.float32), (48, 1))
    sg.tl.impute(
        mdata,
        "rna",
        "protein",
        model=Fixed(values, get_var_names=lambda: {"protein": names}),
        uncertainty=False,
    )
    found = sg.get.imputed(mdata, "rna", "protein")
    assert found.columns.tolist() == list(mdata["protein"].var_names)
    np.testing.assert_array_equal(found.iloc[0], np.arange(7.0)[::-1])


def named(values: np.ndarray, names: Any, **others: Any) -> Fixed:
    return Fixed(values, get_var_names=lambda: {"protein": np.asarray(names)}, **others)


def test_models_of_an_ensemble_may_hold_features_in_different_orders(screen: Screen) -> None:
    mdata = screen()
    names, values = np.asarray(mdata["protein"].var_names), mdata["protein"].X[:48].copy()
    order = np.random.default_rng(0).permutation(7)
    models = [named(values, names), named(values[:, order], names[order])]
    sg.tl.impute(mdata, "rna", "protein", model=models, uncertainty=False)
    np.testing.assert_allclose(sg.get.imputed(mdata, "rna", "protein"), values, atol=1e-6)
    with pytest.raises(FeatureNamesError) as caught:
        sg.tl.impute(mdata, "rna", "protein", model=[models[0], named(values[:, 1:], names[1:])])
    assert caught.value.missing == (names[0],)


def test_uncertainty_and_measured_values_are_of_the_imputed_features(screen: Screen) -> None:
    mdata, plain = screen(counts=("protein",)), screen(counts=("protein",))
    names, values = np.asarray(mdata["protein"].var_names), np.ones((48, 5), dtype=np.float32)
    units = {"get_units": lambda m: {"layer": "X", "library_size": 100.0}}
    plain.mod["protein"] = plain["protein"][:, :5].copy()
    for data in (
        mdata,
        plain,
    ):  # the other two features do no harm, nor does their share of the counts
        sg.tl.impute(data, "rna", "protein", model=named(values, names[:5], **units))
    np.testing.assert_allclose(*(sg.get.imputed_sd(d, "rna", "protein") for d in (mdata, plain)))
    total = sg.get.measured(mdata, "rna", "protein").sum(axis=1)
    np.testing.assert_allclose(np.asarray(total).ravel(), 100.0)


@pytest.mark.parametrize("method", ["decoder", "knn", "barycentric", "regression", "label_ridge"])
def test_what_is_compared_with_measured_values_follows_their_names(
    screen: Screen, method: str
) -> None:
    mdata = screen(counts=("protein",))
    names = np.asarray(mdata["protein"].var_names)
    sg.tl.align(mdata, "rna", "protein")
    options: dict[str, Any] = {
        "decoder": {"model": named(mdata["protein"].X[:48].toarray(), names)}
    }
    options["regression"] = {"regression": {"n_models": 1, "max_epochs": 2}}
    sg.tl.impute(mdata, "rna", "protein", method=method, **options.get(method, {}))  # type: ignore[arg-type]

    def found() -> list[pd.DataFrame]:
        effects = sg.tl.perturbation_effects(mdata, "rna", "protein", "g00", n_boot=100)
        scores = sg.tl.score_imputation(mdata, "rna", "protein", control="g00")
        return [effects, scores, mdata.uns["imputation_rna_protein"]["features"]]

    straight = found()
    whole = mdata["protein"].copy()
    order = np.random.default_rng(1).permutation(7)
    mdata.mod["protein"] = whole[:, order].copy()
    for one, other in zip(straight, found(), strict=True):
        pd.testing.assert_frame_equal(one, other)
    mdata.mod["protein"] = whole[:, [0, 1, 2, 3, 4, 6]].copy()
    for call in (
        lambda: sg.tl.perturbation_effects(mdata, "rna", "protein", "g00"),
        lambda: sg.tl.score_imputation(mdata, "rna", "protein"),
        lambda: sg.pl.imputed_vs_measured(mdata, "rna", "protein"),
    ):
        with pytest.raises(FeatureNamesError) as caught:
            call()
        assert (caught.value.modality, caught.value.missing) == ("protein", (names[5],))


def labels_renamed(mdata: mudata.MuData) -> mudata.MuData:
    """The labels in a column "gene", "unknown" where there is none."""
    for adata in mdata.mod.values():
        labels = adata.obs.pop("label").astype(object)
        adata.obs["gene"] = labels.where(labels.notna(), "unknown").astype(str)
    return mdata


def test_labels_are_those_of_the_model_unless_others_are_named(screen: Screen) -> None:
    mdata, plain = labels_renamed(screen(unlabeled_fraction=0.2)), screen(unlabeled_fraction=0.2)
    values, names = mdata["protein"].X[:48], mdata["protein"].var_names
    columns = {"label_key": {"rna": "gene", "protein": "gene"}, "unlabeled_category": "unknown"}
    model = named(values, names, get_label_columns=lambda: columns)
    sg.tl.impute(plain, "rna", "protein", model=named(values, names))
    expected = sg.get.imputed_sd(plain, "rna", "protein")
    for options in (
        {},
        {"label_key": "gene", "unlabeled_category": "unknown"},
        {"label_key": columns["label_key"]},
    ):
        sg.tl.impute(mdata, "rna", "protein", model=model, **options)
        np.testing.assert_allclose(sg.get.imputed_sd(mdata, "rna", "protein"), expected, rtol=1e-6)
    sg.tl.impute(mdata, "rna", "protein", model=model, label_key=None)
    nameless = sg.get.imputed_sd(mdata, "rna", "protein").to_numpy()
    np.testing.assert_allclose(nameless, nameless[:1].repeat(48, axis=0))
    del mdata["rna"].obs["gene"]  # as new cells may lack them
    sg.tl.impute(mdata, "rna", "protein", model=model)


def test_a_trained_model_tells_its_labels(screen: Screen) -> None:
    mdata = labels_renamed(screen(n_cells_per_label=6, unlabeled_fraction=0.2))
    sg.model.GROOVE.setup_mudata(mdata, "gene", unlabeled_category="unknown")
    model = sg.model.GROOVE(mdata, 2)
    assert model.get_label_columns() == {"label_key": "gene", "unlabeled_category": "unknown"}


def test_labels_that_are_not_there_are_said(screen: Screen, state: State) -> None:
    mdata = labels_renamed(screen())
    with pytest.warns(
        UserWarning, match=r"no label is known of the cells of 'rna' and 'protein'.*label_key="
    ) as caught:
        sg.tl.impute(mdata, "rna", "protein", method="knn")
    assert caught[0].filename == __file__
    before = state(mdata)
    with pytest.raises(KeyError, match="'label' not found"):
        sg.tl.impute(mdata, "rna", "protein", method="knn", label_key="label")
    assert state(mdata) == before
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sg.tl.impute(mdata, "rna", "protein", method="knn", label_key=None)


def test_verbs_read_the_label_column_of_the_set_up(screen: Screen) -> None:
    plain, named = screen(), labels_renamed(screen())
    sg.model.GROOVE.setup_mudata(named, "gene", unlabeled_category="unknown")
    tables = []
    for mdata in (plain, named):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            sg.tl.impute(mdata, "rna", "protein", method="knn")
            scores = sg.tl.score_imputation(mdata, "rna", "protein", control="g00")
            effects = sg.tl.perturbation_effects(mdata, "rna", "protein", "g00")
        tables.append([sg.get.imputed(mdata, "rna", "protein"), scores, effects])
    for one, other in zip(*tables, strict=True):
        pd.testing.assert_frame_equal(one, other)


def test_effects_and_scores_say_that_no_label_is_known(screen: Screen) -> None:
    mdata = labels_renamed(screen())
    sg.tl.impute(mdata, "rna", "protein", method="knn", label_key="gene")
    for verb in (sg.tl.perturbation_effects, sg.tl.score_imputation):
        with (
            pytest.warns(UserWarning, match="no label is known of the cells of 'rna'"),
            pytest.raises(KeyError, match="no cell has this label"),
        ):
            verb(mdata, "rna", "protein", control="g00")


def test_a_query_need_not_have_the_unlabeled_category_of_the_model(screen: Screen) -> None:
    mdata = labels_renamed(screen(unlabeled_fraction=0.2))
    columns = {"label_key": "gene", "unlabeled_category": "unknown"}
    query = mudata.MuData({m: a[a.obs["gene"] != "unknown"].copy() for m, a in mdata.mod.items()})
    values = np.zeros((query["rna"].n_obs, query["protein"].n_vars))
    model = Fixed(values, get_label_columns=lambda: columns)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sg.tl.impute(query, "rna", "protein", model=model)
    with pytest.warns(UserWarning, match="unlabeled_category='typo' is no label"):
        sg.tl.impute(query, "rna", "protein", model=model, unlabeled_category="typo")


def test_one_cell_a_label_is_said_and_has_no_interval_of_zero_width(screen: Screen) -> None:
    mdata = screen(n_labels=6, n_cells_per_label=8)
    first = ~mdata["protein"].obs["label"].duplicated().to_numpy()
    mdata.mod["protein"] = mdata["protein"][first].copy()
    with pytest.warns(UserWarning, match="no label has two measured cells of 'protein'"):
        sg.tl.impute(mdata, "rna", "protein", method="knn")
    of_all = mdata["protein"].X.std(axis=0, ddof=1)
    assert (sg.get.imputed_sd(mdata, "rna", "protein") >= 0.999 * of_all).all(axis=None)
    low, high = sg.get.imputed_interval(mdata, "rna", "protein")
    assert ((high - low) > of_all).all(axis=None)


@pytest.mark.parametrize("method", ["knn", "barycentric"])
def test_doubled_and_missing_features_of_the_target_are_refused(
    screen: Screen, state: State, method: str
) -> None:
    mdata = screen()
    sg.tl.align(mdata, "rna", "protein")
    names = np.asarray(mdata["protein"].var_names)
    mdata["protein"].var_names = [names[0], *names[:-1]]
    before = state(mdata)
    with pytest.raises(FeatureNamesError) as caught:
        sg.tl.impute(mdata, "rna", "protein", method=method)  # type: ignore[arg-type]
    assert caught.value.doubled == (names[0],)
    with pytest.raises(FeatureNamesError, match="uncertainty=False") as caught:
        sg.tl.impute(mdata, "rna", "protein", model=named(np.ones((48, 7)), names))
    assert caught.value.missing == (names[6],)
    assert state(mdata) == before
    sg.tl.impute(mdata, "rna", "protein", model=named(np.ones((48, 7)), names), uncertainty=False)
    assert sg.get.imputed(mdata, "rna", "protein").columns.tolist() == names.tolist()


# ------------------------------------------------------------------------------- unlabeled cells, more modalities


@pytest.mark.parametrize("method", ["knn", "barycentric", "regression", "label_ridge"])
def test_every_direction_of_three_modalities_and_cells_without_a_label(
    screen: Screen, method: str
) -> None:
    mdata = screen(
        modalities=("rna", "protein", "atac"), n_features=(9, 7, 8), unlabeled_fraction=0.2
    )
    for source, target in (("rna", "atac"), ("atac", "rna"), ("protein", "atac")):
        options: dict[str, Any] = {"method": method}
        if method in ("barycentric", "regression"):
            sg.tl.align(mdata, source, target)
        if method == "regression":
            options["regression"] = {"n_models": 2, "max_epochs": 3}
        sg.tl.impute(mdata, source, target, **options)
        values, sd = sg.get.imputed(mdata, source, target), sg.get.imputed_sd(mdata, source, target)
        assert values.shape == sd.shape == mdata[source].shape[:1] + mdata[target].shape[1:]
        assert np.isfinite(values).all(axis=None)
        assert (sd > 0).all(axis=None)
        nameless = mdata[source].obs["label"].isna()
        assert nameless.any()
        assert mdata[source].obs[f"imputed_{target}_extrapolated"][nameless].all()


def test_of_cells_without_any_label_nothing_but_the_whole_spread_is_known(screen: Screen) -> None:
    mdata = screen()
    sg.tl.impute(mdata, "rna", "protein", method="knn", label_key=None, n_neighbors=48)
    sd = sg.get.imputed_sd(mdata, "rna", "protein")
    expected = mdata["protein"].X.std(axis=0, ddof=1) * np.sqrt(1 + 1 / 48)
    np.testing.assert_allclose(sd, np.tile(expected, (48, 1)), rtol=1e-5)


# ----------------------------------------------------------------------------------------------------- uncertainty


@pytest.mark.parametrize("method", ["knn", "barycentric", "emd"])
@pytest.mark.parametrize("rho", [1.0, 0.5])
def test_intervals_hold_as_often_as_they_say(rho: float, method: str) -> None:
    """Half of the cells are measured in RNA, the other half in protein; the truth of the first half is held out."""
    whole = sg.simulations.weakly_paired(
        rho=rho, n_labels=8, n_cells_per_label=60, n_features=(40, 30), seed=5
    )
    a, b = whole["rna"].obs_names[::2], whole["rna"].obs_names[1::2]
    mdata = mudata.MuData({"rna": whole["rna"][a].copy(), "protein": whole["protein"][b].copy()})
    rng = np.random.default_rng(0)
    for adata in mdata.mod.values():
        adata.obsm["X_groove"] = adata.obsm["latent"] + 0.5 * rng.normal(
            size=adata.obsm["latent"].shape
        )
    options: dict[str, Any] = {"method": "knn"}
    if method != "knn":
        sg.tl.align(mdata, "rna", "protein", method="emd" if method == "emd" else "eot")
        options = {"method": "barycentric"}
    sg.tl.impute(mdata, "rna", "protein", **options)
    truth = whole["protein"][a].X
    low, high = sg.get.imputed_interval(mdata, "rna", "protein", level=0.9)
    assert 0.85 <= ((low <= truth) & (truth <= high)).to_numpy().mean() <= 0.95


def test_level_out_of_range(screen: Screen) -> None:
    mdata = screen()
    sg.tl.impute(mdata, "rna", "protein", method="knn")
    narrow, wide = (
        sg.get.imputed_interval(mdata, "rna", "protein", level=level) for level in (0.5, 0.9)
    )
    assert (narrow[0] >= wide[0]).all(axis=None)
    assert (narrow[1] <= wide[1]).all(axis=None)
    for level in (0.0, 1.0):
        with pytest.raises(ValueError, match=r"level must be "):
            sg.get.imputed_interval(mdata, "rna", "protein", level=level)


def test_round_trip(screen: Screen, tmp_path: Path) -> None:
    mdata = screen()
    sg.tl.impute(mdata, "rna", "protein", method="knn")
    mdata.write(tmp_path / "x.h5mu")
    read = mudata.read_h5mu(tmp_path / "x.h5mu")
    for one, other in zip(
        sg.get.imputed_interval(mdata, "rna", "protein"),
        sg.get.imputed_interval(read, "rna", "protein"),
        strict=True,
    ):
        pd.testing.assert_frame_equal(one, other)


# ------------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "knn", "model": Fixed(np.zeros(1))}, r"model only goes with method='decoder'"),
        (
            {"method": "knn", "coupling_key": "c"},
            r"coupling_key only goes with method='barycentric' or 'regression'",
        ),
        ({"method": "barycentric", "n_neighbors": 3}, r"n_neighbors only goes with method='knn'"),
        ({"method": "knn", "use_rep": "X_grove"}, r"Did you mean use_rep='X_groove'"),
        ({"method": "knn", "n_neighbors": 0}, r"n_neighbors must be "),
        (
            {"method": "regression", "regression": {"hiden": ()}},
            r"no option 'hiden'.*Did you mean 'hidden'",
        ),
        ({"method": "regression"}, r"scgroove.tl.align"),
        (
            {"method": "label_ridge", "label_key": None},
            r"needs 3 labels or more that both modalities have; found 0",
        ),
        ({"method": "label_ridge", "coupling_key": "c"}, r"coupling_key only goes with"),
        ({"method": "nearest"}, r"imputation method"),
        ({"method": "knn", "label_key": "guide"}, r"guide"),
        ({"method": "knn", "shrink": 2.0}, r"shrink must be a number"),
        ({"model": Fixed(np.zeros((48, 6)))}, r"shape \(48, 6\) for 48 cells"),
        ({"model": Fixed(np.full((48, 7), np.nan))}, r"NaN or infinite values for 48 of 48"),
    ],
)
def test_refused_calls_change_nothing(
    screen: Screen, state: State, options: dict[str, Any], message: str
) -> None:
    mdata = screen()
    before = state(mdata)
    with pytest.raises((ValueError, KeyError), match=message):
        sg.tl.impute(mdata, "rna", "protein", **options)
    assert state(mdata) == before


def test_memory_counts_the_uncertainty(screen: Screen) -> None:
    mdata = screen()
    needed = 4 * 48 * 7 / 1e9
    with pytest.raises(TooLargeError, match="uncertainty=False takes half"):
        sg.tl.impute(mdata, "rna", "protein", method="knn", max_memory_gb=1.5 * needed)
    sg.tl.impute(
        mdata, "rna", "protein", method="knn", max_memory_gb=1.5 * needed, uncertainty=False
    )
    assert "imputed_protein_sd" not in mdata["rna"].obsm


def test_shrinking_needs_measured_cells(screen: Screen) -> None:
    query = mudata.MuData({"rna": screen()["rna"].copy()})
    model = Fixed(np.zeros((48, 2)), get_var_names=lambda: {"protein": np.array(["a", "b"])})
    with pytest.raises(ValueError, match=r"shrink=0.5 draws values.*no measured cell of 'protein'"):
        sg.tl.impute(query, "rna", "protein", model=model, shrink=0.5)


def test_modality_that_the_model_does_not_know(screen: Screen) -> None:
    query = mudata.MuData({"rna": screen()["rna"].copy()})
    model = Fixed(np.zeros((48, 2)), modalities=["rna", "protein"])
    with pytest.raises(
        ValueError, match=r"does not know the modality 'protien'.*Did you mean 'protein'"
    ):
        sg.tl.impute(query, "rna", "protien", model=model)
