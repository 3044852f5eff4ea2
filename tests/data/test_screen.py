"""What a learner is given: one vocabulary of labels, features on one footing, and pairs for those who may see them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import anndata as ad
import mudata as md
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import scgroove
from scgroove.data.features import Features
from scgroove.data.screen import Screen
from scgroove.errors import FeatureNamesError


def modality(
    x: Any, labels: Sequence[Any], names: Sequence[str] | None = None, features: str = "f"
) -> ad.AnnData:
    x = x if sp.issparse(x) else np.asarray(x, dtype=np.float32)
    obs = pd.DataFrame(
        {"label": labels}, index=list(names or [f"{features}{i}" for i in range(x.shape[0])])
    )
    return ad.AnnData(
        x, obs=obs, var=pd.DataFrame(index=[f"{features}_{j}" for j in range(x.shape[1])])
    )


def pair(labels_a: Sequence[Any], labels_b: Sequence[Any], **more: Sequence[Any]) -> md.MuData:
    rng = np.random.default_rng(0)
    parts = {"a": labels_a, "b": labels_b, **more}
    return md.MuData(
        {m: modality(rng.normal(size=(len(lab), 3)), lab, features=m) for m, lab in parts.items()}
    )


def test_the_vocabulary_is_what_two_modalities_or_more_have() -> None:
    screen = Screen.read(
        pair(["x", "y", "only", None], ["y", "x", "x"], c=["z", "y"], d=["z", "w"])
    )
    assert screen.vocabulary == ("x", "y", "z")
    assert screen.codes["a"].tolist() == [0, 1, -1, -1]
    assert screen.codes["b"].tolist() == [1, 0, 0]
    assert screen.codes["d"].tolist() == [2, -1]
    assert screen.labels["a"].tolist() == ["x", "y", "only", None]
    assert screen.n_labels == 3
    assert screen.n_cells("a") == 4


def test_labels_are_compared_by_name() -> None:
    screen = Screen.read(pair([1, 2, 3], [2.0, np.nan, 3.0]))
    assert screen.vocabulary == ("2", "3")
    assert screen.codes["b"].tolist() == [0, -1, 1]


def test_a_category_may_stand_for_no_label() -> None:
    data = pair(["x", "nt", "y"], ["x", "y", "nt"])
    assert Screen.read(data).vocabulary == ("nt", "x", "y")
    screen = Screen.read(data, unlabeled_category="nt")
    assert screen.vocabulary == ("x", "y")
    assert screen.labels["a"].tolist() == ["x", None, "y"]


def test_only_the_modalities_asked_for_count() -> None:
    data = pair(["x", "y"], ["x", "y"], c=["z", "x"], d=["z", "w"])
    assert Screen.read(data, modalities=["c", "a"]).vocabulary == ("x",)
    assert Screen.read(data, modalities=["c", "a"]).modalities == ("c", "a")


def test_nothing_in_common_is_an_error_that_shows_both() -> None:
    with pytest.raises(
        ValueError,
        match=r"no label is in two modalities.*found \[\['x'\], \['X'\]\].*right column\?",
    ):
        Screen.read(pair(["x", None], ["X", "X"]))


def test_real_values_are_standardized() -> None:
    x = np.array([[0.0, 5.0, 1.0], [2.0, 5.0, -1.0], [4.0, 5.0, 3.5]])
    adata = modality(x, ["x"] * 3)
    features = Features.fit(adata, "a")
    assert not features.counts
    expected = (x - x.mean(axis=0)) / np.where(x.std(axis=0) > 0, x.std(axis=0), 1.0)
    np.testing.assert_allclose(features(adata), expected, atol=1e-6)
    assert features(adata).dtype == np.float32
    new = modality([[2.0, 6.0, 0.5]], ["x"])
    np.testing.assert_allclose(
        features(new), (new.X - x.mean(axis=0)) / [x[:, 0].std(), 1.0, x[:, 2].std()], rtol=1e-5
    )


@pytest.mark.parametrize("as_matrix", [np.asarray, sp.csr_matrix, sp.csc_matrix])
def test_counts_are_normalized_to_the_median_library_and_logged_first(as_matrix: Any) -> None:
    x = np.array([[1, 3, 0], [2, 2, 4], [8, 4, 4.0]], dtype=np.float32)  # totals 4, 8, 16
    wide = np.hstack(
        [x, np.zeros((3, 20), dtype=np.float32)]
    )  # as a panel of 3 it would have no library sizes
    adata = modality(as_matrix(wide), ["x"] * 3)
    features = Features.fit(adata, "a")
    assert features.counts
    assert features.library == 8
    logged = np.log1p(x / np.array([[4], [8], [16]]) * 8)
    expected = (logged - logged.mean(axis=0)) / logged.std(axis=0)
    np.testing.assert_allclose(features(adata)[:, :3], expected, atol=1e-6)


def test_one_protein_of_a_panel_that_falls_leaves_the_others_as_they_are() -> None:
    before = np.array([[900, 50, 30], [800, 60, 25], [850, 40, 35]], dtype=np.float32)
    after = before * [0.1, 1, 1]
    features = Features.fit(modality(before, ["x"] * 3), "a")
    changed = features(modality(after.astype(np.float32), ["x"] * 3)) - features(
        modality(before, ["x"] * 3)
    )
    assert features.library is None
    assert (changed[:, 0] < -1).all()
    np.testing.assert_array_equal(changed[:, 1:], 0)


def test_zeros_and_ones_are_no_counts() -> None:
    assert not Features.fit(modality([[0, 1], [1, 1], [1, 0]], ["x"] * 3), "a").counts


def test_values_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ValueError, match=r"mdata\['a'\].X holds 1 NaN"):
        Features.fit(modality([[1.0, np.nan], [0.5, 1.0]], ["x"] * 2), "a")


def test_a_cell_is_the_same_alone_as_among_others() -> None:
    mdata = scgroove.simulations.weakly_paired(
        n_labels=3, n_cells_per_label=10, counts=["rna"], seed=2
    )
    for m, features in Screen.read(mdata).features().items():
        every = features(mdata[m])
        few = mdata[m][[7, 2, 19]].copy()
        assert every[[7, 2, 19]].tobytes() == features(few).tobytes()


def test_features_are_found_by_name_and_missing_ones_refused() -> None:
    adata = modality(np.random.default_rng(0).poisson(9.0, size=(4, 3)).astype(float), ["x"] * 4)
    features = Features.fit(adata, "a")
    wide = adata[:, [2, 0, 0, 1]].copy()
    wide.var_names = [adata.var_names[2], adata.var_names[0], "other", adata.var_names[1]]
    np.testing.assert_array_equal(features(wide), features(adata))
    with pytest.raises(FeatureNamesError) as caught:
        features(adata[:, :2].copy())
    assert caught.value.missing == (adata.var_names[2],)


def test_partners_are_the_rows_of_the_same_cell() -> None:
    mdata = scgroove.simulations.weakly_paired(
        n_labels=4, n_cells_per_label=5, exclusive_labels={"rna": 1}, seed=3
    )
    screen = Screen.read(mdata)
    partner = screen.partners("rna", "protein")
    rna, protein = mdata["rna"], mdata["protein"]
    known = partner >= 0
    assert known.sum() == 15
    assert rna.obs_names[known].tolist() == protein.obs_names[partner[known]].tolist()
    assert set(rna.obs["label"][~known]) == {"g03"}


def test_there_are_no_partners_among_different_cells() -> None:
    mdata = scgroove.simulations.weakly_paired(n_labels=3, n_cells_per_label=4, co_assayed=False)
    assert (Screen.read(mdata).partners("rna", "protein") == -1).all()


def test_the_data_stay_as_they_are() -> None:
    mdata = scgroove.simulations.weakly_paired(n_labels=3, n_cells_per_label=4, counts=["rna"])
    before = {m: (mdata[m].X.copy(), mdata[m].obs.copy(), sorted(mdata[m].uns)) for m in mdata.mod}
    screen = Screen.read(mdata)
    for m, features in screen.features().items():
        features(mdata[m])
        x, obs, uns = before[m]
        assert (abs(mdata[m].X - x)).max() == 0
        pd.testing.assert_frame_equal(mdata[m].obs, obs)
        assert sorted(mdata[m].uns) == uns
