"""The joint picture, by modality and by label."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from matplotlib.colors import to_hex
from mudata import MuData

from scgroove.pl import latent


def picture(rna_labels, protein_labels, seed=0):
    """Two modalities with a picture and the labels given; None is no label."""
    rng = np.random.default_rng(seed)
    parts = {}
    for name, labels in (("rna", rna_labels), ("protein", protein_labels)):
        adata = AnnData(np.zeros((len(labels), 1), np.float32))
        adata.obs_names = [f"{name}{i}" for i in range(len(labels))]
        adata.var_names = [f"{name}_f"]
        adata.obs["label"] = pd.Categorical(labels)
        adata.obsm["X_groove_umap"] = rng.normal(size=(len(labels), 2)).astype(np.float32)
        parts[name] = adata
    return MuData(parts)


def points(ax):
    """Coordinates and colors of a panel in drawing order."""
    xy = np.concatenate([c.get_offsets() for c in ax.collections])
    colors = np.concatenate(
        [np.broadcast_to(c.get_facecolors(), (len(c.get_offsets()), 4)) for c in ax.collections]
    )
    return xy, np.array([to_hex(color) for color in colors])


def legend(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_by_modality_and_by_label_side_by_side():
    mdata = picture(["a", "b"] * 20, ["a", "b"] * 10)
    axes = latent(mdata)
    assert [ax.get_title(loc="left") for ax in axes] == ["by modality", "by label"]
    for ax in axes:
        xy, _ = points(ax)
        expected = np.concatenate([mdata[m].obsm["X_groove_umap"] for m in mdata.mod])
        np.testing.assert_allclose(np.sort(xy, axis=0), np.sort(expected, axis=0), rtol=1e-6)
        assert (ax.get_xlabel(), ax.get_ylabel()) == ("UMAP 1", "UMAP 2")
    assert legend(axes[0]) == ["rna (40 cells)", "protein (20 cells)"]
    assert legend(axes[1]) == ["a", "b"]


def test_colors_follow_modality_and_label():
    mdata = picture(["a", "b"] * 20, ["a", "b"] * 10)
    by_modality, by_label = latent(mdata)
    places = {tuple(np.float32(p)): m for m in mdata.mod for p in mdata[m].obsm["X_groove_umap"]}
    xy, colors = points(by_modality)
    assert len({(places[tuple(np.float32(p))], c) for p, c in zip(xy, colors, strict=True)}) == 2
    labels = {
        tuple(np.float32(p)): label
        for m in mdata.mod
        for p, label in zip(mdata[m].obsm["X_groove_umap"], mdata[m].obs["label"], strict=True)
    }
    xy, colors = points(by_label)
    assert len({(labels[tuple(np.float32(p))], c) for p, c in zip(xy, colors, strict=True)}) == 2


def test_drawing_order_is_mixed_and_follows_the_seed():
    mdata = picture(["a"] * 200, ["a"] * 200)
    _, colors = points(latent(mdata, seed=1)[0])
    changes = np.mean(colors[1:] != colors[:-1])
    assert 0.4 < changes < 0.6
    assert (colors == points(latent(mdata, seed=1)[0])[1]).all()
    assert (colors != points(latent(mdata, seed=2)[0])[1]).any()


def test_exclusive_labels_have_a_panel_of_their_own():
    mdata = picture(["a", "b", "x", "y"] * 5, ["a", "b", "z", None] * 5)
    axes = latent(mdata)
    assert [ax.get_title(loc="left") for ax in axes] == [
        "by modality",
        "shared labels",
        "labels of one modality only",
    ]
    assert legend(axes[1]) == ["a", "b", "all other cells"]
    assert legend(axes[2]) == ["only in protein", "z", "only in rna", "x", "y", "all other cells"]
    _, colors = points(axes[1])
    assert np.sum(colors == "#cfcfcf") == 20
    assert (colors[:20] == "#cfcfcf").all(), "gray cells lie beneath the others"


def test_unlabeled_cells_are_gray_and_beneath():
    mdata = picture(["a", None, "unknown"] * 5, ["a"] * 5)
    _, by_label = latent(mdata, unlabeled_category="unknown")
    assert legend(by_label) == ["a", "unlabeled"]
    _, colors = points(by_label)
    assert (colors[:10] == "#cfcfcf").all()
    assert not (colors[10:] == "#cfcfcf").any()


def test_points_are_raster_images():
    for ax in latent(picture(["a"] * 5, ["a"] * 5)):
        assert all(collection.get_rasterized() for collection in ax.collections)


@pytest.mark.parametrize(("n_labels", "named"), [(25, 25), (120, 50)])
def test_many_labels_stay_within_the_figure(n_labels, named, tmp_path):
    labels = [f"a perturbation of some length {i}" for i in range(n_labels)]
    fig = latent(picture(labels * 2, labels), return_fig=True)
    fig.draw_without_rendering()
    width, height = fig.canvas.get_width_height()
    panels, legends = [], []
    for ax in fig.axes:
        box = ax.get_legend().get_window_extent()
        assert box.x0 >= -2
        assert box.x1 <= width + 2
        assert box.y0 >= -2
        assert box.y1 <= height + 2
        panels.append(ax.get_window_extent())
        legends.append(box)
    assert not any(panel.overlaps(box) for panel in panels for box in legends)
    assert not legends[0].overlaps(legends[1])
    texts = legend(fig.axes[1])
    assert len(texts) == (named if named == n_labels else named + 1)
    assert texts[-1] == (f"and {n_labels - named} more" if named < n_labels else texts[-1])


def test_labels_beyond_the_palette_differ_by_marker():
    labels = [f"g{i}" for i in range(30)]
    ax = latent(picture(labels, labels), panels=["label"])[0]
    handles = ax.get_legend().legend_handles
    looks = {(to_hex(h.get_color()), h.get_marker()) for h in handles}
    assert len(looks) == 30


def test_labels_are_written_as_they_are():
    labels = ["$a_1$", "b$", "c_2"]
    fig = latent(picture(labels, labels), return_fig=True)
    fig.draw_without_rendering()
    assert legend(fig.axes[1]) == labels
    assert not any(text.get_parse_math() for text in fig.axes[1].get_legend().get_texts())


def test_natural_order_of_labels():
    ax = latent(picture(["g10", "g2", "g1"], ["g10", "g2", "g1"]), panels=["label"])[0]
    assert legend(ax) == ["g1", "g2", "g10"]


def test_one_column_a_modality_and_colors_of_the_caller():
    mdata = picture(["a", "b"], ["a", "b"])
    mdata["protein"].obs = mdata["protein"].obs.rename(columns={"label": "gene"})
    ax = latent(
        mdata, {"rna": "label", "protein": "gene"}, panels=["label"], colors={"b": "#123456"}
    )[0]
    assert "#123456" in points(ax)[1]


def test_colors_that_scanpy_keeps_are_used():
    mdata = picture(["a", "b"] * 5, ["b", "c"] * 5)
    mdata["rna"].uns["label_colors"] = np.array(["#111111", "#222222"])
    mdata["protein"].uns["label_colors"] = ["#333333", "#444444"]
    (ax,) = latent(mdata, panels=["label"])
    assert set(points(ax)[1]) == {"#111111", "#222222", "#444444"}, "the first modality comes first"
    (ax,) = latent(mdata, panels=["label"], colors={"a": "#555555"})
    assert set(points(ax)[1]) == {"#555555", "#222222", "#444444"}, "what is asked for comes before"


@pytest.mark.parametrize("kept", [["#111111"], ["no color", "#222222"], "#111111"])
def test_colors_that_do_not_fit_the_categories_are_left_aside(kept):
    mdata = picture(["a", "b"] * 5, ["a", "b"] * 5)
    mdata["rna"].uns["label_colors"] = kept
    assert "#111111" not in points(latent(mdata, panels=["label"])[0])[1]


def test_a_column_of_numbers_has_a_color_bar():
    mdata = picture(["a", "b"] * 10, ["a", "b"] * 10)
    mdata["rna"].obs["efficacy"] = np.r_[np.nan, np.linspace(0, 1, 19)]
    (ax,) = latent(mdata, panels=["efficacy"])
    assert ax.get_title(loc="left") == "by efficacy"
    assert ax.get_legend() is None
    gray, colored = ax.collections
    assert len(gray.get_offsets()) == 21, (
        "cells without a number, and the modality without the column"
    )
    assert to_hex(gray.get_facecolors()[0]) == "#cfcfcf"
    np.testing.assert_allclose(np.sort(colored.get_array()), np.linspace(0, 1, 19))
    (bar,) = ax.child_axes
    assert bar.get_xlabel() == "efficacy; gray: no value"


def test_a_color_bar_and_legends_stay_within_the_figure():
    labels = [f"a perturbation of some length {i}" for i in range(3)]
    mdata = picture(labels * 8, labels * 8)
    for m in mdata.mod:
        mdata[m].obs["efficacy"] = np.linspace(0, 1, 24)
    fig = latent(mdata, panels=["efficacy", "label"], return_fig=True)
    fig.draw_without_rendering()
    width = fig.canvas.get_width_height()[0]
    bar = fig.axes[0].child_axes[0].get_tightbbox()
    assert bar.x0 >= 0
    assert bar.y0 >= 0
    assert bar.x1 <= width
    assert not bar.overlaps(fig.axes[0].get_window_extent())
    assert not bar.overlaps(fig.axes[1].get_legend().get_window_extent())


def test_a_column_of_text_has_a_legend():
    mdata = picture(["a", "b"] * 3, ["a", "b"] * 3)
    mdata["rna"].obs["lane"] = pd.Categorical(["L10", "L2", None] * 2)
    mdata["rna"].uns["lane_colors"] = ["#101010", "#020202"]
    (ax,) = latent(mdata, panels=["lane"])
    assert legend(ax) == ["L2", "L10", "no value"]
    assert set(points(ax)[1]) == {"#101010", "#020202", "#cfcfcf"}


def test_saved_file_and_axes_of_the_caller(tmp_path):
    fig, axes = plt.subplots(1, 2)
    assert latent(
        picture(["a"] * 9, ["a"] * 9), ax=list(axes), save=tmp_path / "latent.png"
    ) == list(axes)
    assert plt.imread(tmp_path / "latent.png").std() > 0.02
    assert latent(picture(["a"] * 9, ["a"] * 9), ax=axes, return_fig=True) is fig


def test_a_missing_picture_names_the_call_that_makes_it():
    mdata = picture(["a"], ["a"])
    for m in mdata.mod:
        del mdata[m].obsm["X_groove_umap"]
    with pytest.raises(
        ValueError,
        match=r"no 'X_groove_umap'; it has none\. Make it with scgroove\.tl\.embed\(mdata, model",
    ):
        latent(mdata)
    for m in mdata.mod:
        mdata[m].obsm["X_groove"] = np.zeros((1, 3))
    with pytest.raises(
        ValueError, match=r"Make it with scgroove\.tl\.umap\(mdata, use_rep='X_groove'\)"
    ):
        latent(mdata)


def test_other_errors_teach():
    mdata = picture(["a"], ["a"])
    with pytest.raises(ValueError, match=r"no such modality.*Did you mean 'protein'"):
        latent(mdata, modalities=["rna", "prot"])
    with pytest.raises(
        ValueError,
        match=r"column 'labels' not found in .*Did you mean 'label'",
    ):
        latent(mdata, "labels")
    with pytest.raises(ValueError, match=r"label_key names .* but not 'protein'"):
        latent(mdata, {"rna": "label"})
    with pytest.raises(
        ValueError, match=r"no panel 'batch': choose among 'modality', 'label'.*a column of mod"
    ):
        latent(mdata, panels=["batch"])
    with pytest.raises(ValueError, match=r"no panel 'labels'.*Did you mean 'label'"):
        latent(mdata, panels=["labels"])
