"""Simulations as MuData."""

from __future__ import annotations

from pathlib import Path

import mudata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from scgroove.simulations import SCENARIOS, NamedScenario, Scenario, from_scenario, weakly_paired

SMALL = {"n_cells_per_label": 8, "n_features": (9, 7), "n_latent": 3, "n_private": 2}


def test_layout() -> None:
    mdata = weakly_paired(4, seed=1, **SMALL)
    assert list(mdata.mod) == ["rna", "protein"]
    assert mdata["rna"].shape == (32, 9)
    assert mdata["protein"].shape == (32, 7)
    for adata in mdata.mod.values():
        assert adata.obs["label"].cat.categories.tolist() == ["g00", "g01", "g02", "g03"]
        assert adata.obsm["state"].shape == adata.obsm["latent"].shape == (32, 3)
        assert adata.X.dtype == np.float32
        assert (adata.obs["pair_id"].astype(str) == adata.obs_names).all()
        assert adata.obs_names.is_unique
        assert adata.var_names.is_unique


def test_partners_are_found_by_name_and_not_by_position() -> None:
    mdata = weakly_paired(4, seed=1, **SMALL)
    rna, protein = mdata["rna"], mdata["protein"]
    assert not (rna.obs_names == protein.obs_names).all()
    partner = protein.obs_names.get_indexer(rna.obs_names)
    np.testing.assert_array_equal(rna.obsm["state"], protein.obsm["state"][partner])
    assert (rna.obs["label"].to_numpy() == protein.obs["label"].to_numpy()[partner]).all()


def test_disjoint_cells_have_names_of_their_own_and_no_pairs() -> None:
    mdata = weakly_paired(4, co_assayed=False, **SMALL)
    assert mdata.n_obs == 64
    assert mdata["rna"].obs_names.str.startswith("rna_").all()
    assert mdata["protein"].obs_names.str.startswith("protein_").all()
    assert "pair_id" not in mdata["rna"].obs


def test_unlabeled_and_exclusive_cells() -> None:
    mdata = weakly_paired(5, exclusive_labels=1, unlabeled_fraction=0.25, **SMALL)
    for name, exclusive in (("rna", "g03"), ("protein", "g04")):
        obs = mdata[name].obs
        assert obs["label"].isna().mean() == 0.25
        assert obs["true_label"].notna().all()
        assert set(obs["true_label"]) == {"g00", "g01", "g02", exclusive}
        seen = obs["label"].notna()
        assert (obs["label"][seen].astype(str) == obs["true_label"][seen].astype(str)).all()
        assert (obs["pair_id"].isna() == (obs["true_label"] == exclusive)).all()


@pytest.mark.parametrize("counts", [(), ("rna",), ("rna", "protein")])
def test_survives_h5mu(tmp_path: Path, counts: tuple[str, ...]) -> None:
    mdata = weakly_paired(
        5, counts=counts, exclusive_labels={"rna": 1}, unlabeled_fraction=0.2, seed=5, **SMALL
    )
    mdata.write(tmp_path / "sim.h5mu")
    back = mudata.read_h5mu(tmp_path / "sim.h5mu")
    truth, again = mdata.uns["simulation"], back.uns["simulation"]
    assert set(truth) == set(again)
    for key, value in truth.items():
        np.testing.assert_array_equal(np.asarray(value), np.asarray(again[key]))
    for name, adata in mdata.mod.items():
        pd.testing.assert_frame_equal(
            adata.obs, back[name].obs, check_index_type=False, check_categorical=False
        )
        np.testing.assert_array_equal(_dense(adata.X), _dense(back[name].X))
        np.testing.assert_array_equal(adata.obsm["state"], back[name].obsm["state"])
        assert sp.issparse(back[name].X) == (name in counts)


EVERY_KNOB = {
    "label_noise": {"rna": 0.25},
    "confusion": {"rna": 0.1},
    "imbalance": 0.7,
    "n_batches": {"protein": 3},
    "batch_effect": 1.0,
    "n_substates": 2,
    "substate_effect": 1.5,
    "inert": 0.4,
}


@pytest.mark.parametrize(
    "options", [{"escape": 0.3}, {"escape": {"rna": 0.3}, "co_assayed": False}]
)
def test_the_truth_of_every_knob_is_kept_and_survives_h5mu(
    tmp_path: Path, options: dict[str, object]
) -> None:
    mdata = weakly_paired(5, rho=0.5, seed=5, **EVERY_KNOB, **options, **SMALL)
    mdata.write(tmp_path / "sim.h5mu")
    back = mudata.read_h5mu(tmp_path / "sim.h5mu")
    truth, again = mdata.uns["simulation"], back.uns["simulation"]
    assert set(truth) == set(again)
    for key, value in truth.items():
        np.testing.assert_array_equal(np.asarray(value), np.asarray(again[key]))
    for name, adata in back.mod.items():
        pd.testing.assert_frame_equal(
            mdata[name].obs, adata.obs, check_index_type=False, check_categorical=False
        )
        np.testing.assert_allclose(
            adata.obsm["latent"], _latent_from_truth(again, name, adata.obs, adata)
        )


def _latent_from_truth(
    truth: dict[str, np.ndarray], name: str, obs: pd.DataFrame, adata: object
) -> np.ndarray:
    """Return u as the equation of the user guide says, from what the file holds."""
    label = np.array([list(truth["labels"]).index(g) for g in obs["true_label"]])
    substate = obs["substate"].astype(str).str[1:].astype(int).to_numpy()
    rho = truth["rho"]
    shift = np.sqrt(rho) * truth["shared_effect"] + np.sqrt(1 - rho) * truth[f"effect_{name}"]
    works = ~obs["escaped"].to_numpy()[:, None]
    of_substate = truth["substate_effect"] * truth["substate_shift"][label, substate]
    return adata.obsm["state"] + works * truth["effect"] * shift[label] + of_substate  # type: ignore[attr-defined]


def test_columns_of_the_truth_stand_where_their_knob_is_used() -> None:
    plain = weakly_paired(5, **SMALL)
    assert list(plain["rna"].obs) == ["label", "true_label", "pair_id"]
    assert not {"substate_shift", "batch_shift_rna", "scenario"} & set(plain.uns["simulation"])
    assert plain.uns["simulation"]["labels"].tolist() == ["g00", "g01", "g02", "g03", "g04"]
    assert plain.uns["simulation"]["inert_labels"].tolist() == []

    mdata = weakly_paired(5, escape=0.3, **EVERY_KNOB, **SMALL)
    rna, protein = mdata["rna"].obs, mdata["protein"].obs
    assert list(rna) == ["label", "true_label", "pair_id", "escaped", "substate", "batch"]
    assert rna["escaped"].dtype == bool
    assert rna["escaped"].sum() == 12
    assert (rna["label"].astype(str) != rna["true_label"].astype(str)).sum() == 10 + 4
    assert (protein["label"].astype(str) == protein["true_label"].astype(str)).all()
    assert rna["substate"].cat.categories.tolist() == ["s0", "s1"]
    assert rna["batch"].cat.categories.tolist() == ["b0"]
    assert protein["batch"].cat.categories.tolist() == ["b0", "b1", "b2"]

    truth = mdata.uns["simulation"]
    assert "batch_shift_rna" not in truth
    assert truth["batch_shift_protein"].shape == (3, 7)
    assert truth["substate_shift"].shape == (5, 2, 3)
    assert truth["n_batches"].tolist() == [1, 3]
    assert truth["label_noise"].tolist() == [0.25, 0]
    assert truth["confusion"].tolist() == [0.1, 0]
    assert truth["escape"] == 0.3
    inert = np.isin(truth["labels"], truth["inert_labels"])
    assert inert.sum() == 2
    assert not truth["shared_effect"][inert].any()
    assert truth["shared_effect"][~inert].all()
    assert truth["n_cells_per_label"].sum() == 40


def test_a_name_an_entry_and_its_parameters_are_the_same_data() -> None:
    entry = SCENARIOS.get("few_cells")
    named, filed, plain = (from_scenario(s, seed=2) for s in ("few_cells", entry, entry.scenario))
    np.testing.assert_array_equal(named["rna"].X, plain["rna"].X)
    np.testing.assert_array_equal(filed["rna"].X, plain["rna"].X)
    assert named.uns["simulation"]["scenario"] == filed.uns["simulation"]["scenario"] == "few_cells"
    assert "scenario" not in plain.uns["simulation"]


def test_a_scenario_of_ones_own_needs_no_registration() -> None:
    mine = NamedScenario("mine", "A reason.", Scenario(n_labels=4, **SMALL))
    assert from_scenario(mine).uns["simulation"]["scenario"] == "mine"


def test_a_scenario_that_is_not_there() -> None:
    with pytest.raises(
        ValueError, match=r"unknown scenario 'half_share'\. Did you mean 'half_shared'\?"
    ):
        from_scenario("half_share")
    with pytest.raises(
        TypeError, match=r"must be a name, a NamedScenario or a Scenario; found float"
    ):
        from_scenario(0.5)  # type: ignore[arg-type]


def _dense(x: object) -> np.ndarray:
    return x.toarray() if sp.issparse(x) else np.asarray(x)


def test_truth_is_written() -> None:
    mdata = weakly_paired(4, rho=0.5, seed=7, **SMALL)
    truth = mdata.uns["simulation"]
    assert truth["rho"] == 0.5
    assert truth["seed"] == 7
    assert truth["shared_effect"].shape == (4, 3)
    rna = mdata["rna"]
    codes = rna.obs["true_label"].cat.codes.to_numpy()
    shift = np.sqrt(0.5) * truth["shared_effect"] + np.sqrt(0.5) * truth["effect_rna"]
    np.testing.assert_allclose(
        rna.obsm["latent"], rna.obsm["state"] + truth["effect"] * shift[codes]
    )


def test_many_modalities_and_many_labels() -> None:
    mdata = weakly_paired(
        101,
        1,
        modalities=("a", "b", "c"),
        n_features=(3, 4, 5),
        n_latent=2,
        n_private=0,
        counts=("b",),
    )
    assert [m.n_vars for m in mdata.mod.values()] == [3, 4, 5]
    assert mdata["a"].obs["label"].cat.categories[[0, 100]].tolist() == ["g000", "g100"]


def test_from_scenario_is_weakly_paired() -> None:
    one = from_scenario(Scenario(n_labels=4, **SMALL), seed=2)
    two = weakly_paired(4, seed=2, **SMALL)
    for name in one.mod:
        np.testing.assert_array_equal(one[name].X, two[name].X)


def test_wrong_arguments_teach() -> None:
    with pytest.raises(ValueError, match=r"rho must be between 0 .* found 2"):
        weakly_paired(rho=2)
    with pytest.raises(TypeError, match=r"no parameter 'rhoo'\. Did you mean 'rho'\?"):
        weakly_paired(rhoo=2)
