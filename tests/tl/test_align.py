"""tl.align: what it writes, for which data, and what it refuses without leaving a trace."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

import mudata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from anndata import AnnData
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

import scgroove as sg
from scgroove.aligners import ALIGNERS, Coupling, CouplingBlock, EntropicOT, ExactOT
from scgroove.aligners._plans import LowRankPlan
from scgroove.errors import ConvergenceError, ConvergenceWarning, TooLargeError

Screen = Callable[..., mudata.MuData]


def _matrix(mdata: mudata.MuData, **options: Any) -> np.ndarray:
    return sg.get.coupling(mdata, "rna", "protein", **options).to_sparse().toarray()


@pytest.mark.parametrize("method", ["eot", "emd"])
def test_writes_what_the_aligner_makes(screen: Screen, method: str) -> None:
    mdata = screen()
    assert sg.tl.align(mdata, "rna", "protein", method=method, threshold=0) is None
    rna, protein = mdata["rna"], mdata["protein"]
    aligner = {"eot": EntropicOT, "emd": ExactOT}[method]()
    expected = aligner.align(
        rna.obsm["X_groove"], protein.obsm["X_groove"], rna.obs["label"], protein.obs["label"]
    )
    np.testing.assert_allclose(
        _matrix(mdata), expected.to_sparse(dtype=np.float64).toarray(), rtol=1e-6
    )
    stored = mdata.obsp["coupling_rna_protein"]
    assert isinstance(stored, sp.csr_matrix)
    assert stored.dtype == np.float32
    assert stored.shape == (mdata.n_obs, mdata.n_obs)
    evidence = mdata.uns["coupling_rna_protein"]
    assert evidence["method"] == method
    assert evidence["converged"]
    assert evidence["objective"] == pytest.approx(expected.evidence["objective"])
    assert (evidence["source"], evidence["target"]) == ("rna", "protein")
    assert evidence["label_key_source"] == evidence["label_key_target"] == "label"


def test_rows_are_source_cells_by_name(screen: Screen) -> None:
    mdata = screen()
    sg.tl.align(mdata, "rna", "protein", method="emd")
    union = pd.DataFrame(
        mdata.obsp["coupling_rna_protein"].toarray(), mdata.obs_names, mdata.obs_names
    )
    by_name = union.loc[mdata["rna"].obs_names, mdata["protein"].obs_names].to_numpy()
    np.testing.assert_array_equal(by_name, _matrix(mdata))


@pytest.mark.parametrize("kind", ["co-assayed", "partly", "disjoint"])
def test_same_partly_the_same_and_different_cells(screen: Screen, kind: str) -> None:
    mdata = screen(co_assayed=kind != "disjoint")
    if kind == "partly":
        mdata = mudata.MuData(
            {"rna": mdata["rna"][:30].copy(), "protein": mdata["protein"][15:].copy()}
        )
    sg.tl.align(mdata, "rna", "protein")
    coupling = sg.get.coupling(mdata, "rna", "protein")
    assert coupling.shape == (mdata["rna"].n_obs, mdata["protein"].n_obs)
    assert coupling.mass == pytest.approx(1, rel=1e-5)
    mass = coupling.label_mass(mdata["rna"].obs["label"], mdata["protein"].obs["label"]).to_numpy()
    assert np.trace(mass) == pytest.approx(1, rel=1e-5)


def test_the_pairing_is_not_used(screen: Screen) -> None:
    mdata = screen()
    renamed = mudata.MuData({m: a.copy() for m, a in mdata.mod.items()})
    renamed["protein"].obs_names = [f"p{i}" for i in range(48)]
    renamed.update()
    for data in (mdata, renamed):
        sg.tl.align(data, "rna", "protein")
    np.testing.assert_array_equal(_matrix(mdata), _matrix(renamed))


def test_equal_default_names_are_no_pairs(screen: Screen) -> None:
    mdata = screen(co_assayed=False)
    for adata in mdata.mod.values():
        adata.obs_names = [str(i) for i in range(adata.n_obs)]
    numbered = mudata.MuData(dict(mdata.mod))
    assert numbered.n_obs == 48
    sg.tl.align(numbered, "rna", "protein")
    plain = screen(co_assayed=False)
    sg.tl.align(plain, "rna", "protein")
    np.testing.assert_array_equal(_matrix(numbered), _matrix(plain))


def test_category_order_other_columns_and_other_modalities_play_no_part(screen: Screen) -> None:
    plain, other = screen(), screen()
    labels = other["protein"].obs["label"]
    other["protein"].obs["perturbation"] = labels.cat.reorder_categories(
        labels.cat.categories[::-1]
    )
    del other["protein"].obs["label"]
    third = other["rna"].copy()
    third.obs_names = [f"x{i}" for i in range(48)]
    third.var_names = [f"atac_{i}" for i in range(9)]
    wider = mudata.MuData({"atac": third, "rna": other["rna"], "protein": other["protein"]})
    sg.tl.align(plain, "rna", "protein")
    keys = {"rna": "label", "protein": "perturbation", "atac": "label"}
    sg.tl.align(wider, "rna", "protein", label_key=keys)
    np.testing.assert_array_equal(_matrix(plain), _matrix(wider))
    assert wider.uns["coupling_rna_protein"]["label_key_target"] == "perturbation"


def test_cells_without_a_shared_label_take_no_part_and_are_counted(screen: Screen) -> None:
    mdata = screen(n_labels=5, exclusive_labels=1, unlabeled_fraction=0.25)
    sg.tl.align(mdata, "rna", "protein")
    evidence = mdata.uns["coupling_rna_protein"]
    assert evidence["labels"].tolist() == ["g00", "g01", "g02"]
    assert evidence["labels_only_source"].tolist() == ["g03"]
    assert evidence["labels_only_target"].tolist() == ["g04"]
    assert evidence["n_source_unlabeled"] == evidence["n_target_unlabeled"] == 12
    mass = sg.get.coupling(mdata, "rna", "protein").row_mass()
    assert ((mass > 0) == mdata["rna"].obs["label"].isin(["g00", "g01", "g02"])).all()


def test_a_category_may_stand_for_no_label(screen: Screen) -> None:
    mdata = screen()
    sg.tl.align(mdata, "rna", "protein", unlabeled_category="g02")
    evidence = mdata.uns["coupling_rna_protein"]
    assert evidence["labels"].tolist() == ["g00", "g01", "g03"]
    assert evidence["n_source_unlabeled"] == 12
    assert evidence["unlabeled_category"] == "g02"


def test_unlabeled_alignment_needs_no_labels(screen: Screen) -> None:
    mdata = screen(unlabeled_fraction=0.5)
    for adata in mdata.mod.values():
        del adata.obs["label"]
    sg.tl.align(mdata, "rna", "protein", labeled=False, label_key=None, method="emd")
    coupling = sg.get.coupling(mdata, "rna", "protein")
    np.testing.assert_allclose(coupling.row_mass(), 1 / 48, rtol=1e-5)
    assert not mdata.uns["coupling_rna_protein"]["labeled"]
    assert mdata.uns["coupling_rna_protein"]["labels"].tolist() == [""]


def test_options_key_added_and_threshold(screen: Screen) -> None:
    mdata = screen()
    sg.tl.align(
        mdata,
        "rna",
        "protein",
        key_added="sharp",
        epsilon=0.01,
        cost="cosine",
        label_weights="equal",
    )
    with pytest.warns(ConvergenceWarning, match=r"Lower threshold \(now 0\.2\)"):
        sg.tl.align(mdata, "rna", "protein", key_added="wide", epsilon=1.0, threshold=0.2)
    assert list(mdata.obsp) == ["sharp", "wide"]
    sharp, wide = mdata.uns["sharp"], mdata.uns["wide"]
    assert (sharp["epsilon"], sharp["cost"], sharp["label_weights"]) == (0.01, "cosine", "equal")
    assert wide["threshold"] == 0.2
    assert 0 < wide["mass_dropped"] < 0.2
    assert wide["n_dropped"] > 0
    np.testing.assert_allclose(
        sg.get.coupling(mdata, "rna", "protein", "wide").row_mass(), 1 / 48, rtol=1e-4
    )
    entropy = [
        np.nanmean(sg.get.coupling(mdata, "rna", "protein", key).entropy())
        for key in ("sharp", "wide")
    ]
    assert entropy[0] < entropy[1]


def test_measured_values_and_names_for_each_modality_as_representation(screen: Screen) -> None:
    mdata = screen(n_features=(7, 7), counts=("rna", "protein"))
    sg.tl.align(mdata, "rna", "protein", use_rep="X")
    mdata["protein"].obsm["other"] = pd.DataFrame(
        mdata["protein"].X.toarray(), index=mdata["protein"].obs_names
    )
    sg.tl.align(
        mdata, "rna", "protein", use_rep={"rna": "X", "protein": "other"}, key_added="again"
    )
    np.testing.assert_array_equal(_matrix(mdata), _matrix(mdata, key="again"))


SHARED_SPACE = ("eot", "emd", "uot", "fgw", "snn", "nn")
NO_SHARED_SPACE = ("egw", "egw_each", "coot", "random", "uniform", "oracle")


def test_every_method_is_tried_here() -> None:
    assert set(SHARED_SPACE + NO_SHARED_SPACE) == set(ALIGNERS.names())


@pytest.mark.parametrize("method", SHARED_SPACE + NO_SHARED_SPACE)
@pytest.mark.parametrize("labeled", [True, False])
def test_every_method_by_name(screen: Screen, method: str, labeled: bool) -> None:
    mdata = screen()
    rep: Any = "X_groove" if method in SHARED_SPACE else {"rna": "X", "protein": "X_groove"}
    sg.tl.align(mdata, "rna", "protein", method=method, use_rep=rep, labeled=labeled, threshold=0)
    coupling = sg.get.coupling(mdata, "rna", "protein")
    assert coupling.evidence["method"] == method
    assert coupling.evidence["converged"]
    assert coupling.mass == pytest.approx(1, rel=0.5 if method == "uot" else 1e-5)
    label_mass = coupling.label_mass(mdata["rna"].obs["label"], mdata["protein"].obs["label"])
    if labeled:
        assert np.trace(label_mass) == pytest.approx(coupling.mass)


@pytest.mark.parametrize("method", ["egw", "coot"])
def test_methods_without_a_shared_space_take_layers_and_any_width(
    screen: Screen, method: str
) -> None:
    mdata = screen()
    mdata["rna"].layers["logged"] = np.log1p(np.abs(np.asarray(mdata["rna"].X)))
    sg.tl.align(mdata, "rna", "protein", method=method, use_rep={"rna": "logged", "protein": "X"})
    mdata["rna"].obsm["same"] = mdata["rna"].layers["logged"]
    sg.tl.align(
        mdata,
        "rna",
        "protein",
        method=method,
        use_rep={"rna": "same", "protein": "X"},
        key_added="again",
    )
    np.testing.assert_array_equal(_matrix(mdata), _matrix(mdata, key="again"))
    assert mdata.uns["coupling_rna_protein"]["use_rep_source"] == "logged"
    if method == "coot":
        assert mdata.uns["again"]["feature_coupling"].shape == (9, 7)


def test_oracle_takes_the_pairing(screen: Screen) -> None:
    mdata = screen()
    sg.tl.align(mdata, "rna", "protein", method="oracle")
    scores = sg.tl.score_matching(mdata, "rna", "protein").set_index("metric")["value"]
    assert scores["trace_within_label"] == 1
    for adata in mdata.mod.values():
        adata.obs["unit"] = [name if i % 2 else None for i, name in enumerate(adata.obs_names)]
    sg.tl.align(mdata, "rna", "protein", method="oracle", pair_key="unit", key_added="half")
    assert mdata.uns["half"]["n_pairs"] < mdata.uns["coupling_rna_protein"]["n_pairs"] == 48


def test_fused_takes_distances_from_another_representation(screen: Screen) -> None:
    mdata = screen()
    given = {"rna": "X", "protein": "X"}
    sg.tl.align(mdata, "rna", "protein", method="fgw", structure_rep=given, alpha=1.0, threshold=0)
    sg.tl.align(
        mdata,
        "rna",
        "protein",
        method="egw",
        use_rep=given,
        epsilon=0.01,
        key_added="egw",
        threshold=0,
    )
    np.testing.assert_allclose(_matrix(mdata), _matrix(mdata, key="egw"), atol=1e-5)
    assert mdata.uns["coupling_rna_protein"]["structure_rep_target"] == "X"


def test_precomputed_distances_come_from_obsp(screen: Screen) -> None:
    mdata = screen()
    for adata in mdata.mod.values():
        adata.obsp["far"] = cdist(adata.obsm["X_groove"], adata.obsm["X_groove"], "sqeuclidean")
    options = {"method": "egw", "tol": 1e-8, "tol_outer": 1e-7, "epsilon": 0.1}
    sg.tl.align(mdata, "rna", "protein", use_rep="far", intra_cost="precomputed", **options)
    sg.tl.align(mdata, "rna", "protein", key_added="again", **options)
    np.testing.assert_allclose(_matrix(mdata), _matrix(mdata, key="again"), atol=1e-6)


def test_weights_of_cells(screen: Screen) -> None:
    mdata = screen()
    rng = np.random.default_rng(0)
    for adata in mdata.mod.values():
        adata.obs["weight"] = rng.uniform(0.5, 2, adata.n_obs)
    sg.tl.align(mdata, "rna", "protein", weight_key="weight", threshold=0)
    rna = mdata["rna"].obs
    mass = sg.get.coupling(mdata, "rna", "protein").row_mass()
    share = rna["weight"] / rna.groupby("label", observed=True)["weight"].transform("sum")
    by_label = pd.Series(mass, rna.index).groupby(rna["label"], observed=True).transform("sum")
    np.testing.assert_allclose(mass, share * by_label, rtol=1e-4)


def test_only_the_best_matches_are_stored(screen: Screen) -> None:
    mdata = screen()
    with pytest.warns(ConvergenceWarning, match="differs from what was found"):
        sg.tl.align(mdata, "rna", "protein", epsilon=1.0, top_k=3)
    stored = sg.get.coupling(mdata, "rna", "protein").to_sparse()
    assert np.diff(stored.indptr).tolist() == [3] * 48
    assert mdata.uns["coupling_rna_protein"]["top_k"] == 3
    best = sg.get.coupling(mdata, "rna", "protein").top_matches(1)
    assert set(best["source"]) == set(mdata["rna"].obs_names)
    assert set(best["target"]) <= set(mdata["protein"].obs_names)


@pytest.mark.parametrize(
    ("method", "options", "knob"),
    [
        (
            "eot",
            {"top_k": 1},
            r"only the 1 largest entries of a row are kept\. Raise top_k \(now 1\)",
        ),
        ("eot", {"threshold": 0.9}, r"small entries are dropped\. Lower threshold \(now 0\.9\)"),
        ("uot", {"top_k": 1}, r"Raise top_k \(now 1\)"),
    ],
)
def test_the_evidence_says_what_holds_for_what_is_stored(
    screen: Screen, method: str, options: dict[str, Any], knob: str
) -> None:
    mdata = screen()
    with pytest.warns(ConvergenceWarning, match=knob) as caught:
        sg.tl.align(mdata, "rna", "protein", method=method, epsilon=1.0, **options)
    evidence = mdata.uns["coupling_rna_protein"]
    columns = sg.get.coupling(mdata, "rna", "protein").column_mass()
    # all cells were to have 1/48
    assert evidence["column_error"] == pytest.approx(np.abs(columns - 1 / 48).sum(), rel=1e-6)
    assert evidence["column_error"] > evidence["column_error_found"] + 1e-3
    assert not evidence["converged"]
    message = str(caught[-1].message)
    assert f"scgroove.aligners.get({method!r})(...).align(x, y)" in message
    assert (
        f"its column masses are off by {evidence['column_error']:.1e} of the mass, those found by "
        f"{evidence['column_error_found']:.1e}" in message
    )
    assert caught[-1].filename == __file__
    mdata = screen()
    with pytest.raises(ConvergenceError, match=knob):
        sg.tl.align(mdata, "rna", "protein", method=method, epsilon=1.0, strict=True, **options)
    assert not mdata.uns.keys() & {"coupling_rna_protein"}


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(
    data=st.data(),
    method=st.sampled_from(
        ["eot", "emd", "uot", "egw", "egw_each", "fgw", "coot", "snn", "nn", "uniform"]
    ),
    labeled=st.booleans(),
    threshold=st.sampled_from([0.0, 1e-3, 1e-2, 0.1]),
    top_k=st.sampled_from([None, None, 2]),
)
def test_errors_in_the_evidence_are_those_of_what_is_read_back(
    data: st.DataObject, method: str, labeled: bool, threshold: float, top_k: int | None
) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 10**6)))
    mods = {}
    for m, n in (("rna", rng.integers(4, 30)), ("protein", rng.integers(4, 30))):
        obs = pd.DataFrame(
            {"label": np.where(rng.random(n) < 0.3, "a", "b"), "weight": rng.uniform(0.1, 2, n)}
        )
        mods[m] = AnnData(np.ones((n, 1)), obs.set_index(f"{m}_" + obs.index.astype(str)))
        mods[m].obs.iloc[:2, 0] = ["a", "b"]
        mods[m].obsm["X_groove"] = rng.standard_t(3, size=(n, 2))
    mdata = mudata.MuData(mods)
    weight_key = data.draw(st.sampled_from([None, "weight"]))
    epsilon = data.draw(st.sampled_from([0.01, 0.2, 2.0]))
    options = {"epsilon": epsilon} if "epsilon" in ALIGNERS.get(method).__dataclass_fields__ else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sg.tl.align(
            mdata,
            "rna",
            "protein",
            method=method,
            labeled=labeled,
            threshold=threshold,
            top_k=top_k,
            weight_key=weight_key,
            **options,
        )
    with tempfile.NamedTemporaryFile(suffix=".h5mu") as file:
        mdata.write(file.name)
        coupling = sg.get.coupling(mudata.read_h5mu(file.name), "rna", "protein")
    evidence = coupling.evidence
    assert coupling.marginal_errors() == pytest.approx(
        (evidence["row_error"], evidence["column_error"]), abs=1e-6
    )
    for block, row, column in zip(
        coupling.blocks,
        evidence["row_error_per_label"],
        evidence["column_error_per_label"],
        strict=True,
    ):
        sums = [np.asarray(block.plan.sum(axis=axis), dtype=np.float64).ravel() for axis in (1, 0)]
        for own, wanted, error in zip(sums, (block.a, block.b), (row, column), strict=True):
            assert np.abs(own - wanted).sum() / wanted.sum() == pytest.approx(error, abs=1e-5)


@pytest.mark.parametrize("method", ["eot", "uot", "emd", "egw", "snn", "nn", "uniform"])
def test_no_warning_where_storing_changes_nothing(screen: Screen, method: str) -> None:
    mdata = screen()
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        sg.tl.align(mdata, "rna", "protein", method=method)
    evidence = mdata.uns["coupling_rna_protein"]
    assert evidence["column_error"] == pytest.approx(evidence["column_error_found"], abs=1e-4)


def test_the_memory_allowed_holds_for_what_is_stored(screen: Screen) -> None:
    options: dict[str, Any] = {"labeled": False, "epsilon": 1.0, "threshold": 0, "backend": "numpy"}
    mdata = screen()
    # 48 * 48 entries of 8 bytes: 18 kB
    with (
        mock.patch.object(EntropicOT, "estimate_memory", return_value=0.0),
        pytest.raises(
            TooLargeError,
            match=r"a matrix of this coupling .* max_memory_gb=1\.5e-05.*or raise max",
        ),
    ):
        sg.tl.align(mdata, "rna", "protein", max_memory_gb=15e-6, **options)
    assert not mdata.uns.keys() & {"coupling_rna_protein"}
    with mock.patch.object(EntropicOT, "estimate_memory", return_value=0.0):
        sg.tl.align(mdata, "rna", "protein", max_memory_gb=20e-6, **options)
    assert mdata.obsp["coupling_rna_protein"].nnz == 48 * 48
    with mock.patch.object(Coupling, "sparsify", side_effect=TooLargeError) as stored:
        with pytest.raises(TooLargeError):
            sg.tl.align(mdata, "rna", "protein", max_memory_gb=7.0)
        assert stored.call_args.kwargs == {"max_memory_gb": 7.0}


@pytest.mark.parametrize(
    "options",
    [{"threshold": 1.0}, {"threshold": "low"}, {"top_k": 0}, {"top_k": 1.5}, {"top_k": True}],
)
def test_how_to_store_is_checked_before_the_work(screen: Screen, options: dict[str, Any]) -> None:
    with (
        mock.patch.object(EntropicOT, "align", side_effect=AssertionError("aligned")),
        pytest.raises(ValueError, match=rf"{next(iter(options))}.*; found"),
    ):
        sg.tl.align(screen(), "rna", "protein", **options)


def test_truth_values_are_a_representation(screen: Screen) -> None:
    mdata = screen()
    seen = {m: np.asarray(mdata[m].X)[:, :5] > 0 for m in ("rna", "protein")}
    for m, own in seen.items():
        mdata[m].obsm["seen"], mdata[m].obsm["number"] = sp.csr_matrix(own), own.astype(float)
        mdata[m].obsm["frame"] = pd.DataFrame(own, index=mdata[m].obs_names)
    for rep in ("seen", "frame", "number"):
        sg.tl.align(mdata, "rna", "protein", use_rep=rep, key_added=rep)
    np.testing.assert_array_equal(_matrix(mdata, key="seen"), _matrix(mdata, key="number"))
    np.testing.assert_array_equal(_matrix(mdata, key="frame"), _matrix(mdata, key="number"))
    mdata["rna"].layers["seen"] = np.asarray(mdata["rna"].X) > 0
    sg.tl.align(mdata, "rna", "protein", method="egw", use_rep={"rna": "seen", "protein": "X"})


@dataclass(frozen=True)
class _Foreign:
    """An aligner that is none of ours: it says nothing of how it came to its coupling."""

    name = "foreign"
    whole: bool = False
    rank: int | None = None

    def align(self, x: Any, y: Any, labels_x: Any = None, labels_y: Any = None) -> Coupling:
        if self.rank is not None:
            q, r = (np.full((len(z), 1), 1 / len(z)) for z in (x, y))
            block = CouplingBlock(
                "", np.arange(len(x)), np.arange(len(y)), LowRankPlan(q, r, np.ones(1))
            )
            return Coupling((block,), block.plan.shape)
        made = EntropicOT().align(x, y, labels_x, labels_y)
        return Coupling.from_sparse(made.to_sparse()) if self.whole else replace(made, evidence={})


@pytest.mark.parametrize("labeled", [True, False])
@pytest.mark.parametrize("whole", [True, False])
def test_aligners_of_others_need_say_nothing(screen: Screen, labeled: bool, whole: bool) -> None:
    mdata, own = screen(), screen()
    with mock.patch.dict(ALIGNERS._items, {"foreign": _Foreign}), warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        sg.tl.align(
            mdata, "rna", "protein", method="foreign", labeled=labeled, whole=whole, threshold=0
        )
        coupling = sg.get.coupling(mdata, "rna", "protein")
    sg.tl.align(own, "rna", "protein", labeled=labeled, threshold=0)
    expected = sg.get.coupling(own, "rna", "protein")
    np.testing.assert_allclose(coupling.to_dense(), expected.to_dense(), rtol=1e-5, atol=1e-9)
    assert coupling.labels == ([""] if whole or not labeled else expected.labels)
    assert coupling.marginal_errors() == (0, 0)  # nothing is known of the masses that were wanted


def test_plans_of_low_rank_are_stored_in_part_and_say_so(screen: Screen) -> None:
    mdata = screen(n_cells_per_label=20)
    with mock.patch.dict(ALIGNERS._items, {"foreign": _Foreign}):
        with pytest.warns(
            ConvergenceWarning, match=r"only the 50 largest .* Raise top_k \(now 50\)"
        ):
            sg.tl.align(mdata, "rna", "protein", method="foreign", labeled=False, rank=1)
        assert mdata.uns["coupling_rna_protein"]["column_error"] > 0.1
        with warnings.catch_warnings():
            warnings.simplefilter("error", ConvergenceWarning)
            sg.tl.align(mdata, "rna", "protein", method="foreign", labeled=False, rank=1, top_k=80)
        assert mdata.uns["coupling_rna_protein"]["column_error"] < 1e-6


def test_survives_h5mu(screen: Screen, tmp_path: Path) -> None:
    mdata = screen(n_labels=5, exclusive_labels={"rna": 1}, unlabeled_fraction=0.1)
    methods = ("eot", "emd", "egw_each", "coot", "nn", "oracle")
    for method in methods:
        sg.tl.align(mdata, "rna", "protein", method=method, key_added=method)
    mdata.write(tmp_path / "aligned.h5mu")
    back = mudata.read_h5mu(tmp_path / "aligned.h5mu")
    for key in methods:
        np.testing.assert_array_equal(_matrix(mdata, key=key), _matrix(back, key=key))
        evidence, again = mdata.uns[key], back.uns[key]
        assert set(evidence) == set(again)
        for name, value in evidence.items():
            np.testing.assert_array_equal(np.asarray(value), np.asarray(again[name]), err_msg=name)


def test_a_subset_keeps_its_part_of_the_coupling(screen: Screen) -> None:
    mdata = screen(co_assayed=False)
    sg.tl.align(mdata, "rna", "protein")
    rows, columns = np.arange(0, 48, 2), np.arange(10, 48)
    names = [*mdata["rna"].obs_names[rows], *mdata["protein"].obs_names[columns]]
    part = mdata[names].copy()
    np.testing.assert_array_equal(_matrix(part), _matrix(mdata)[np.ix_(rows, columns)])


def test_a_bad_coupling_warns(screen: Screen) -> None:
    mdata = screen()
    mdata["protein"].obsm["X_groove"] = np.random.default_rng(0).normal(size=(48, 3))
    with pytest.warns(ConvergenceWarning, match="'eot' did not converge for 4 of 4 blocks"):
        sg.tl.align(mdata, "rna", "protein", epsilon=1e-3, max_iter=2)
    assert not mdata.uns["coupling_rna_protein"]["converged"]


def test_same_call_same_bytes(screen: Screen) -> None:
    first, second = screen(), screen()
    for mdata in (first, second):
        sg.tl.align(mdata, "rna", "protein")
    assert _matrix(first).tobytes() == _matrix(second).tobytes()


# ------------------------------------------------------------------------------------------------------ bad input


def _nan(mdata: mudata.MuData) -> None:
    mdata["protein"].obsm["X_groove"][5, 0] = np.nan


def _narrow(mdata: mudata.MuData) -> None:
    mdata["protein"].obsm["X_groove"] = mdata["protein"].obsm["X_groove"][:, :2]


def _no_rep(mdata: mudata.MuData) -> None:
    del mdata["protein"].obsm["X_groove"]


def _no_label(mdata: mudata.MuData) -> None:
    del mdata["protein"].obs["label"]


def _nothing_shared(mdata: mudata.MuData) -> None:
    mdata["protein"].obs["label"] = "other"


def _all_missing(mdata: mudata.MuData) -> None:
    mdata["protein"].obs["label"] = pd.Series(
        np.nan, index=mdata["protein"].obs_names, dtype=object
    )


def _noise(mdata: mudata.MuData) -> None:
    mdata["protein"].obsm["X_groove"] = np.random.default_rng(0).normal(size=(48, 3))


def _stale(mdata: mudata.MuData) -> None:
    mdata["protein"].obs_names = [f"new{i}" for i in range(48)]


@pytest.mark.parametrize(
    ("spoil", "options", "kind", "message"),
    [
        (None, {"target": "proteni"}, ValueError, r"target='proteni': mdata has no such modality, only \['rna', 'protein'\]\. Did you mean 'protein'\?"),
        (None, {"source": "atac"}, KeyError, r"source='atac': mdata has no such modality"),
        (None, {"target": "rna"}, ValueError, r"source and target are both 'rna'"),
        (_no_label, {}, KeyError, r"Label column 'label' not found in mdata\['protein'\]\.obs"),
        (None, {"label_key": {"rna": "label"}}, ValueError, r"label_key names \['rna'\], but not 'protein'\."),
        (None, {"label_key": None}, ValueError, r"labeled=True keeps mass within labels, so it needs label_key"),
        (_nothing_shared, {}, ValueError, r"no label is shared, .* source has 'g00', 'g01', 'g02', 'g03', target has 'other'\. Are the labels spelled alike"),
        (_all_missing, {}, ValueError, r"no label is shared, .* target has no labeled cell"),
        (_no_rep, {}, ValueError, r"no 'X_groove' in mdata\.mod\['protein'\]\.obsm, .* scgroove\.tl\.embed\(mdata, model\), or name another"),
        (None, {"use_rep": "X_grove"}, ValueError, r"Did you mean use_rep='X_groove'\? .*embed\(mdata, model, key_added='X_grove'\)"),
        (None, {"use_rep": {"rna": "X_groove"}}, ValueError, r"use_rep names \['rna'\], but not 'protein'"),
        (_nan, {}, ValueError, r"'X_groove' of 'protein' holds NaN or infinite values in 1 of 48 cells, first in 'cell"),
        (_narrow, {}, ValueError, r"'X_groove' has 3 dimensions in 'rna', 'X_groove' has 2 in 'protein'"),
        (None, {"use_rep": "X"}, ValueError, r"'X' has 9 dimensions in 'rna', 'X' has 7 in 'protein'.*use_rep='X_groove'"),
        (_stale, {}, ValueError, r"mdata does not know the cells that mdata\.mod\['protein'\] has now.*Call mdata\.update\(\)"),
        (None, {"method": "eott"}, ValueError, r"unknown aligner 'eott'\. Did you mean 'eot'\?"),
        (None, {"epsilom": 1}, TypeError, r"method 'eot' has no option 'epsilom'\. Did you mean 'epsilon'\? Its options: .*epsilon"),
        (None, {"method": "emd", "epsilon": 1}, TypeError, r"method 'emd' has no option 'epsilon'"),
        (None, {"epsilon": -1}, ValueError, r"epsilon must be positive"),
        (None, {"threshold": None, "top_k": -1}, ValueError, r"top_k must be "),
        (None, {"threshold": 2}, ValueError, r"threshold is a share of the mass of a row"),
        (None, {"weight_key": "lable"}, KeyError, r"weight_key='lable': no such column in mdata\.mod\['rna'\]\.obs, .* Did you mean 'label'"),
        (None, {"weight_key": "label"}, ValueError, r"weight_key='label': the column of 'rna' must hold numbers"),
        (None, {"structure_rep": "X"}, ValueError, r"structure_rep only goes with method='fgw'; found method='eot'"),
        (None, {"method": "fgw", "structure_rep": "X", "max_memory_gb": 3e-6}, TooLargeError, r"'X' of 'rna' would take .* max_memory_gb=3e-06"),
        (None, {"pair_key": "pair_id"}, ValueError, r"pair_key only goes with method='oracle'"),
        (None, {"method": "oracle", "pair_key": "no"}, KeyError, r"pair_key='no': no such column"),
        (None, {"top_k": 0}, ValueError, r"top_k must be "),
        (None, {"method": "egw", "use_rep": "X", "max_memory_gb": 1e-6}, TooLargeError, r"'X' of 'rna' would take .* scanpy\.pp\.pca"),
        (_noise, {"epsilon": 1e-3, "max_iter": 2, "strict": True}, ConvergenceError, r"'eot' did not converge"),
        (None, {"max_memory_gb": 3e-6}, TooLargeError, r"'eot' would need about .* max_memory_gb=3e-06: the largest label"),
    ],
)  # fmt: skip
def test_refuses_and_leaves_everything_as_it_was(
    screen: Screen,
    state: Callable[[mudata.MuData], dict[str, Any]],
    spoil: Callable[[mudata.MuData], None] | None,
    options: dict[str, Any],
    kind: type[Exception],
    message: str,
) -> None:
    mdata = screen()
    if spoil is not None:
        spoil(mdata)
    before = state(mdata)
    arguments = {"source": "rna", "target": "protein", **options}
    with pytest.raises(kind, match=message):
        sg.tl.align(mdata, **arguments)
    np.testing.assert_equal(state(mdata), before)


def test_something_that_is_no_mudata_is_refused(screen: Screen) -> None:
    with pytest.raises(
        TypeError, match=r"expected a MuData, found AnnData\. Put the modalities together first"
    ):
        sg.tl.align(screen()["rna"], "rna", "protein")


def test_a_modality_without_cells_is_refused(screen: Screen) -> None:
    mdata = screen()
    empty = mudata.MuData({"rna": mdata["rna"], "protein": mdata["protein"][:0].copy()})
    with pytest.raises(ValueError, match=r"target='protein': mdata\.mod\['protein'\] has no cells"):
        sg.tl.align(empty, "rna", "protein")
