"""Imputed against measured values."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from anndata import AnnData
from matplotlib.colors import to_hex
from mudata import MuData

from scgroove.pl import imputed_vs_measured


def screen(n=40, d=3, labels=("a", "b", "c", "d"), *, paired=False, seed=0, sparse=False):
    """Source cells with imputed values, target cells with measured ones; label means agree up to noise."""
    rng = np.random.default_rng(seed)
    means = rng.normal(0, 2, (len(labels), d)) * np.linspace(1, 3, d)
    code = np.arange(n) % len(labels)
    truth = means[code] + rng.normal(0, 1, (n, d))
    order = rng.permutation(n)
    rna = AnnData(np.zeros((n, 2), np.float32), obs=pd.DataFrame(index=[f"r{i}" for i in range(n)]))
    x = np.abs(truth[order]).astype(np.float32)
    protein = AnnData(
        sp.csr_matrix(x) if sparse else x, obs=pd.DataFrame(index=[f"p{i}" for i in range(n)])
    )
    protein.var_names = [f"f{j}" for j in range(d)]
    rna.var_names = ["g0", "g1"]
    rna.obs["label"] = pd.Categorical(np.asarray(labels, dtype=object)[code])
    protein.obs["label"] = pd.Categorical(np.asarray(labels, dtype=object)[code[order]])
    rna.obsm["imputed_protein"] = (np.abs(truth) + rng.normal(0, 0.5, (n, d))).astype(np.float32)
    if paired:
        rna.obs["pair_id"] = [f"c{i}" for i in range(n)]
        protein.obs["pair_id"] = [f"c{i}" for i in order]
    return MuData({"rna": rna, "protein": protein})


def offsets(ax):
    return np.concatenate([c.get_offsets() for c in ax.collections if len(c.get_offsets())])


def titles(axes):
    return [ax.get_title(loc="left") for ax in axes]


def label_points(ax):
    """Means of the labels, in order."""
    return np.array([c[0].get_xydata()[0] for c in ax.containers])


@pytest.mark.parametrize("sparse", [False, True])
def test_label_means_with_standard_errors(sparse):
    mdata = screen(sparse=sparse)
    axes = imputed_vs_measured(mdata, "rna", "protein")
    x = mdata["protein"].X.toarray() if sparse else mdata["protein"].X
    for j, ax in enumerate(axes):
        measured = pd.Series(x[:, j]).groupby(mdata["protein"].obs["label"].to_numpy())
        imputed = pd.Series(mdata["rna"].obsm["imputed_protein"][:, j]).groupby(
            mdata["rna"].obs["label"].to_numpy()
        )
        points = label_points(ax)
        np.testing.assert_allclose(points[:, 0], measured.mean(), rtol=1e-5)
        np.testing.assert_allclose(points[:, 1], imputed.mean(), rtol=1e-5)
        r = np.corrcoef(measured.mean(), imputed.mean())[0, 1]
        assert ax.get_title(loc="left") == f"f{j}   r {r:.2f}"
        bars = ax.containers[0][2]
        half = [np.ptp(bar.get_segments()[0], axis=0).max() / 2 for bar in bars]
        np.testing.assert_allclose(half, [measured.sem().iloc[0], imputed.sem().iloc[0]], rtol=1e-4)


def test_cells_where_the_pairing_is_known():
    mdata = screen(paired=True)
    axes = imputed_vs_measured(mdata, "rna", "protein")
    place = {c: i for i, c in enumerate(mdata["protein"].obs["pair_id"])}
    rows = [place[c] for c in mdata["rna"].obs["pair_id"]]
    for j, ax in enumerate(axes):
        x, y = mdata["protein"].X[rows, j], mdata["rna"].obsm["imputed_protein"][:, j]
        np.testing.assert_allclose(offsets(ax), np.column_stack([x, y]), rtol=1e-6)
        assert f"r {np.corrcoef(x, y)[0, 1]:.2f}" in ax.get_title(loc="left")
        assert all(c.get_rasterized() for c in ax.collections)


def test_equal_names_are_the_same_cell_but_not_numbers():
    mdata = screen(paired=True)
    parts = {m: mdata[m].copy() for m in mdata.mod}
    for part in parts.values():
        part.obs_names = part.obs["pair_id"].astype(str).to_numpy()
        del part.obs["pair_id"]
    assert len(offsets(imputed_vs_measured(MuData(dict(parts)), "rna", "protein")[0])) == 40
    for part in parts.values():
        part.obs_names = [str(i) for i in range(40)]
    axes = imputed_vs_measured(MuData(dict(parts)), "rna", "protein")
    assert len(label_points(axes[0])) == 4, "a default numbering pairs nothing"


def test_labels_can_be_asked_for_although_pairs_are_known():
    axes = imputed_vs_measured(screen(paired=True), "rna", "protein", by="labels")
    assert len(label_points(axes[0])) == 4


def test_only_shared_labels_are_points():
    mdata = screen()
    mdata["rna"].obs["label"] = mdata["rna"].obs["label"].cat.rename_categories({"d": "only here"})
    mdata["rna"].obs["label"] = mdata["rna"].obs["label"].cat.remove_categories("c")
    axes = imputed_vs_measured(mdata, "rna", "protein")
    assert len(label_points(axes[0])) == 2
    assert all(title.endswith("r not defined") for title in titles(axes)), (
        "two points are no correlation"
    )


def test_number_of_features_and_which():
    mdata = screen(d=20)
    mdata["protein"].X[:, 7] = 100.0 * (mdata["protein"].obs["label"] == "a").to_numpy()
    axes = imputed_vs_measured(mdata, "rna", "protein", features=3)
    assert len(axes) == 3
    assert titles(axes)[0].startswith("f7 ")
    assert len(imputed_vs_measured(mdata, "rna", "protein")) == 12
    assert len(imputed_vs_measured(mdata, "rna", "protein", features=99)) == 20
    axes = imputed_vs_measured(mdata, "rna", "protein", features=["f5", "f2"])
    assert [title.split()[0] for title in titles(axes)] == ["f5", "f2"]


def test_a_layer_holds_the_measured_values():
    mdata = screen()
    mdata["protein"].layers["raw"] = mdata["protein"].X * 10
    ax = imputed_vs_measured(mdata, "rna", "protein", layer="raw", features=["f0"])[0]
    plain = imputed_vs_measured(mdata, "rna", "protein", features=["f0"])[0]
    np.testing.assert_allclose(label_points(ax)[:, 0], 10 * label_points(plain)[:, 0], rtol=1e-5)


def test_nothing_overlaps_and_the_legend_names_the_labels():
    labels = tuple(f"knock-out {i}" for i in range(25))
    fig = imputed_vs_measured(screen(n=100, d=4, labels=labels), "rna", "protein", return_fig=True)
    fig.draw_without_rendering()
    (legend,) = fig.legends
    assert [text.get_text() for text in legend.get_texts()][:2] == ["knock-out 0", "knock-out 1"]
    assert len({(to_hex(h.get_color()), h.get_marker()) for h in legend.legend_handles}) == 25
    below = legend.get_window_extent()
    assert below.y0 >= 0
    for ax in fig.axes:
        assert not ax.get_tightbbox().overlaps(below)
    boxes = [ax.get_tightbbox() for ax in fig.axes]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[i + 1 :])
    assert fig.axes[0].get_ylabel() == "imputed"
    assert fig.axes[0].get_xlabel() == "measured"
    assert (
        "4 of 4 features of protein, imputed for rna cells; each point a label"
        in fig.get_suptitle()
    )


def test_colors_that_scanpy_keeps_are_used():
    mdata = screen()
    mdata["protein"].uns["label_colors"] = ["#111111", "#222222", "#333333", "#444444"]
    ax = imputed_vs_measured(
        mdata,
        "rna",
        "protein",
    )[0]
    points = [to_hex(container[0].get_color()) for container in ax.containers]
    assert points == ["#111111", "#222222", "#333333", "#444444"]


def test_errors_teach():
    mdata = screen()
    with pytest.raises(ValueError, match="by must be "):
        imputed_vs_measured(mdata, "rna", "protein", by="cell")
    with pytest.raises(
        ValueError, match=r"No cell of 'rna' is known to be a cell of 'protein'.*pair_key="
    ):
        imputed_vs_measured(mdata, "rna", "protein", by="cells")
    with pytest.raises(ValueError, match=r"no feature 'f_1'; there are 3.*Did you mean 'f1'"):
        imputed_vs_measured(mdata, "rna", "protein", features=["f_1"])
    with pytest.raises(ValueError, match="features is 0; expected at least 1"):
        imputed_vs_measured(mdata, "rna", "protein", features=0)
    with pytest.raises(ValueError, match="layer='counts': no such layer"):
        imputed_vs_measured(mdata, "rna", "protein", layer="counts")
    with pytest.raises(ValueError, match=r"pair_key='pair': no such column"):
        imputed_vs_measured(mdata, "rna", "protein", pair_key="pair")
    with pytest.raises(ValueError, match=r"3 panel\(s\).*ax holds 1 axes"):
        imputed_vs_measured(mdata, "rna", "protein", ax=plt.subplots()[1])
    with pytest.raises(ValueError, match=r"scgroove\.tl\.impute\(mdata, 'protein', 'rna'"):
        imputed_vs_measured(mdata, "protein", "rna")
    mdata["rna"].obs["label"] = "x"
    with pytest.raises(ValueError, match="neither a known pairing nor a label in both modalities"):
        imputed_vs_measured(mdata, "rna", "protein")
