"""tl.impute: by model and by coupling, for every source cell."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata
import mudata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import scgroove as sg
from scgroove.aligners import entropic_map
from scgroove.errors import TooLargeError

Screen = Callable[..., mudata.MuData]


class FakeModel:
    """Stands for a trained model: returns fixed values and remembers what it was asked."""

    def __init__(self, values: np.ndarray, features: list[str] | None = None) -> None:
        self.values = values
        self.features = features
        self.asked: list[tuple[str, str]] = []

    def translate(
        self, source: str, target: str, mdata: Any = None, *, return_dataframe: bool = False
    ) -> Any:
        self.asked.append((source, target))
        if return_dataframe:
            return pd.DataFrame(self.values, columns=self.features)
        return self.values


# -------------------------------------------------------------------------------------------------------- decoder


def test_decoder_writes_what_the_model_returns(screen: Screen) -> None:
    mdata = screen()
    model = FakeModel(np.random.default_rng(0).normal(size=(48, 7)))
    assert sg.tl.impute(mdata, "rna", "protein", model=model) is None
    assert model.asked == [("rna", "protein")]
    written = mdata["rna"].obsm["imputed_protein"]
    assert written.dtype == np.float32
    np.testing.assert_allclose(written, model.values, rtol=1e-6)
    made = mdata["rna"].uns["imputed_protein"]
    assert made["method"] == "decoder"
    assert made["features"].tolist() == mdata["protein"].var_names.tolist()
    assert "imputed_protein_extrapolated" not in mdata["rna"].obs


def test_decoder_for_data_that_lack_the_target() -> None:
    rna = anndata.AnnData(np.zeros((3, 2), dtype=np.float32))
    other = anndata.AnnData(np.zeros((2, 1), dtype=np.float32))
    other.obs_names, rna.var_names = ["a", "b"], ["r0", "r1"]
    mdata = mudata.MuData({"rna": rna, "other": other})
    sg.tl.impute(mdata, "rna", "protein", model=FakeModel(np.ones((3, 2)), ["p0", "p1"]))
    table = sg.get.imputed(mdata, "rna", "protein")
    assert table.columns.tolist() == ["p0", "p1"]


def test_decoder_after_barycentric_takes_the_flag_away(screen: Screen) -> None:
    mdata = screen()
    sg.tl.align(mdata, "rna", "protein")
    sg.tl.impute(mdata, "rna", "protein", method="barycentric")
    assert "imputed_protein_extrapolated" in mdata["rna"].obs
    sg.tl.impute(mdata, "rna", "protein", model=FakeModel(np.ones((48, 7))))
    assert "imputed_protein_extrapolated" not in mdata["rna"].obs


# ---------------------------------------------------------------------------------------------------- barycentric


@pytest.mark.parametrize("counts", [(), ("protein",)])
def test_barycentric_is_the_mean_of_matched_cells(screen: Screen, counts: tuple[str, ...]) -> None:
    mdata = screen(counts=counts)
    sg.tl.align(mdata, "rna", "protein")
    sg.tl.impute(mdata, "rna", "protein", method="barycentric")
    plan = sg.get.coupling(mdata, "rna", "protein").to_sparse(dtype=np.float64).toarray()
    y = mdata["protein"].X
    y = y.toarray() if sp.issparse(y) else y
    expected = plan @ y / plan.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(mdata["rna"].obsm["imputed_protein"], expected, rtol=1e-4, atol=1e-5)
    assert not mdata["rna"].obs["imputed_protein_extrapolated"].any()
    assert mdata["rna"].uns["imputed_protein"]["n_extrapolated"] == 0


@pytest.mark.parametrize("counts", [(), ("protein",)])
def test_cells_without_mass_are_extrapolated_and_flagged(
    screen: Screen, counts: tuple[str, ...]
) -> None:
    mdata = screen(n_labels=5, exclusive_labels={"rna": 1}, unlabeled_fraction=0.25, counts=counts)
    sg.tl.align(mdata, "rna", "protein", epsilon=0.02)
    sg.tl.impute(mdata, "rna", "protein", method="barycentric")
    rna, protein = mdata["rna"], mdata["protein"]
    flag = rna.obs["imputed_protein_extrapolated"].to_numpy()
    assert flag.dtype == bool
    np.testing.assert_array_equal(
        flag, (rna.obs["label"].isna() | (rna.obs["label"] == "g04")).to_numpy()
    )
    values = rna.obsm["imputed_protein"]
    assert np.isfinite(values).all()
    expected, absolute = entropic_map(
        rna.obsm["X_groove"][flag], protein.obsm["X_groove"], protein.X, epsilon=0.02
    )
    np.testing.assert_allclose(values[flag], expected, rtol=1e-5)
    made = rna.uns["imputed_protein"]
    assert made["n_extrapolated"] == flag.sum()
    assert made["epsilon_absolute"] == pytest.approx(absolute)


def test_extrapolated_values_follow_the_truth(screen: Screen) -> None:
    mdata = screen(n_labels=6, n_cells_per_label=40, exclusive_labels={"rna": 1}, noise=0.1, seed=3)
    sg.tl.align(mdata, "rna", "protein")
    sg.tl.impute(mdata, "rna", "protein", method="barycentric")
    whole = screen(n_labels=6, n_cells_per_label=40, noise=0.1, seed=3)["protein"]
    seen = mdata["rna"].obs["label"] != "g05"
    measured = pd.DataFrame(whole.X, whole.obs_names).loc[mdata["rna"].obs_names[seen]].to_numpy()
    imputed = mdata["rna"].obsm["imputed_protein"][seen]
    assert np.corrcoef(measured.ravel(), imputed.ravel())[0, 1] > 0.6


def test_layer_key_epsilon_and_representation(screen: Screen) -> None:
    mdata = screen(unlabeled_fraction=0.25)
    mdata["protein"].layers["doubled"] = 2 * mdata["protein"].X
    for adata in mdata.mod.values():
        adata.obsm["flat"] = np.zeros((adata.n_obs, 2))
    sg.tl.align(mdata, "rna", "protein", key_added="mine")
    sg.tl.impute(
        mdata, "rna", "protein", method="barycentric", coupling_key="mine", key_added="one"
    )
    options = {"layer": "doubled", "use_rep": "flat", "epsilon": 3.0, "key_added": "two"}
    sg.tl.impute(mdata, "rna", "protein", method="barycentric", coupling_key="mine", **options)
    one, two = mdata["rna"].obsm["one"], mdata["rna"].obsm["two"]
    flag = mdata["rna"].obs["one_extrapolated"].to_numpy()
    np.testing.assert_allclose(two[~flag], 2 * one[~flag], rtol=1e-5)
    means = np.tile(2 * mdata["protein"].X.mean(axis=0), (flag.sum(), 1))
    np.testing.assert_allclose(two[flag], means, atol=1e-5)
    assert mdata["rna"].uns["two"]["layer"] == "doubled"
    assert mdata["rna"].uns["two"]["epsilon_absolute"] == 3.0


def test_survives_h5mu(screen: Screen, tmp_path: Path) -> None:
    mdata = screen(unlabeled_fraction=0.1)
    sg.tl.align(mdata, "rna", "protein")
    sg.tl.impute(mdata, "rna", "protein", method="barycentric")
    sg.tl.impute(mdata, "rna", "protein", model=FakeModel(np.ones((48, 7))), key_added="decoded")
    mdata.write(tmp_path / "imputed.h5mu")
    back = mudata.read_h5mu(tmp_path / "imputed.h5mu")
    for key in (None, "decoded"):
        pd.testing.assert_frame_equal(
            sg.get.imputed(mdata, "rna", "protein", key),
            sg.get.imputed(back, "rna", "protein", key),
            check_index_type=False,
            check_column_type=False,
        )
    assert back["rna"].uns["imputed_protein"]["n_extrapolated"] == 5
    assert back["rna"].obs["imputed_protein_extrapolated"].sum() == 5


def test_backed_values_are_read(screen: Screen, tmp_path: Path) -> None:
    for counts in ((), ("protein",)):
        mdata = screen(counts=counts)
        sg.tl.align(mdata, "rna", "protein")
        mdata.write(tmp_path / f"b{len(counts)}.h5mu")
        sg.tl.impute(mdata, "rna", "protein", method="barycentric")
        backed = mudata.read_h5mu(tmp_path / f"b{len(counts)}.h5mu", backed="r")
        sg.tl.impute(backed, "rna", "protein", method="barycentric")
        np.testing.assert_array_equal(
            mdata["rna"].obsm["imputed_protein"], backed["rna"].obsm["imputed_protein"]
        )


def test_nothing_n_by_m_and_no_dense_target_is_built() -> None:
    n, m, d = 6000, 5000, 400
    rng = np.random.default_rng(0)
    x = sp.random(m, d, 0.02, format="csr", dtype=np.float32, random_state=0)
    rna = anndata.AnnData(
        np.zeros((n, 1), dtype=np.float32), obsm={"X_groove": rng.normal(size=(n, 2))}
    )
    protein = anndata.AnnData(x, obsm={"X_groove": rng.normal(size=(m, 2))})
    rna.obs_names, protein.obs_names = [f"r{i}" for i in range(n)], [f"p{i}" for i in range(m)]
    for adata in (rna, protein):
        labels = np.where(np.arange(adata.n_obs) % 60 < 40, np.arange(adata.n_obs) % 60, -1).astype(
            str
        )
        adata.obs["label"] = pd.Series(labels, index=adata.obs_names).replace("-1", np.nan)
    rna.var_names = ["gene"]
    mdata = mudata.MuData({"rna": rna, "protein": protein})
    sg.tl.align(mdata, "rna", "protein")
    tracemalloc.start()
    sg.tl.impute(mdata, "rna", "protein", method="barycentric")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert mdata["rna"].obs["imputed_protein_extrapolated"].sum() == 2000
    assert peak < 150e6  # the result takes 10 MB, a coupling (n, m) 240 MB


# ------------------------------------------------------------------------------------------------------ bad input


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({}, ValueError, r"method='decoder' needs the trained model: scgroove\.tl\.impute\(mdata, 'rna', 'protein', model=model\)"),
        ({"method": "decode"}, ValueError, r"unknown imputation method 'decode'\. Did you mean 'decoder'\? Available: 'auto', 'barycentric', 'decoder'"),
        ({"model": FakeModel(np.ones((48, 6)))}, ValueError, r"returned values of shape \(48, 6\) for 48 cells of 'rna' and 7 features"),
        ({"model": FakeModel(np.full((48, 7), np.nan))}, ValueError, r"returned NaN or infinite values for 48 of 48 cells"),
        ({"model": FakeModel(np.ones((48, 7))), "layer": "raw"}, ValueError, r"layer only goes with method='auto' or 'barycentric'"),
        ({"model": FakeModel(np.ones((48, 7))), "max_memory_gb": 1e-7}, TooLargeError, r"imputing 7 features for 48 cells would take"),
        ({"method": "barycentric", "model": FakeModel(np.ones(1))}, ValueError, r"model only goes with method='decoder'"),
        ({"method": "barycentric", "layer": "raww"}, ValueError, r"layer='raww': no such layer in mdata\.mod\['protein'\]\.layers, which has \['raw', 'nan'\]\. Did you mean 'raw'\?"),
        ({"method": "barycentric", "layer": "nan"}, ValueError, r"layer 'nan' of 'protein' holds \d+ NaN and 0 infinite"),
        ({"method": "barycentric", "coupling_key": "mine"}, ValueError, r"no coupling 'mine' in mdata\.obsp, .*tl\.align\(mdata, 'rna', 'protein', key_added='mine'\)"),
        ({"method": "barycentric", "use_rep": "pca"}, ValueError, r"no 'pca' in mdata\.mod\['rna'\]\.obsm"),
        ({"method": "barycentric", "epsilon": 0}, ValueError, r"epsilon must be positive"),
        ({"source": "rn"}, ValueError, r"source='rn': mdata has no such modality, .* Did you mean 'rna'\?"),
        ({"target": "prot", "method": "barycentric"}, ValueError, r"target='prot': mdata has no such modality"),
    ],
)  # fmt: skip
def test_refuses_and_leaves_everything_as_it_was(
    screen: Screen,
    state: Callable[[mudata.MuData], dict[str, Any]],
    options: dict[str, Any],
    kind: type[Exception],
    message: str,
) -> None:
    mdata = screen(unlabeled_fraction=0.1)
    mdata["protein"].layers["raw"] = mdata["protein"].X.copy()
    mdata["protein"].layers["nan"] = np.where(mdata["protein"].X > 1, np.nan, 0)
    sg.tl.align(mdata, "rna", "protein")
    before = state(mdata)
    arguments = {"source": "rna", "target": "protein", **options}
    with pytest.raises(kind, match=message):
        sg.tl.impute(mdata, **arguments)
    np.testing.assert_equal(state(mdata), before)


def test_barycentric_needs_a_coupling(screen: Screen) -> None:
    mdata = screen()
    with pytest.raises(
        ValueError,
        match=r"no coupling 'coupling_rna_protein' .* Make it with scgroove\.tl\.align\(",
    ):
        sg.tl.impute(mdata, "rna", "protein", method="barycentric")
    sg.tl.align(mdata, "protein", "rna")
    with pytest.raises(ValueError, match=r"There is one in the other direction"):
        sg.tl.impute(mdata, "rna", "protein", method="barycentric")
