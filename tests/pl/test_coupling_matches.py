"""The best matches of some cells, as rows of a coupling."""

import numpy as np
import pytest
import scipy.sparse as sp
from matplotlib.colors import to_hex

from scgroove import get, tl
from scgroove.pl import coupling_top_matches


def dots(ax):
    """Column, row, area and color of each dot."""
    (drawn,) = ax.collections
    colors = np.broadcast_to(drawn.get_facecolors(), (len(drawn.get_offsets()), 4))
    return np.asarray(drawn.get_offsets()), drawn.get_sizes(), [to_hex(color) for color in colors]


def ticks(axis):
    return [text.get_text() for text in axis.get_ticklabels()]


def test_dots_are_the_best_matches_of_the_cells_named(space):
    mdata = space(["a", "b"] * 6, ["a", "b"] * 8)
    tl.align(mdata, "rna", "protein")
    table = get.coupling(mdata, "rna", "protein").top_matches(3)
    (ax,) = coupling_top_matches(mdata, "rna", "protein", cells=["rna2", "rna1"], n_matches=3)
    mine = table[table["source"].isin(["rna1", "rna2"])]
    xy, sizes, colors = dots(ax)
    assert len(xy) == len(mine)
    np.testing.assert_allclose(
        sizes / sizes.max(), mine["probability"] / mine["probability"].max(), rtol=1e-6
    )
    assert set(colors) == {"#0072b2"}
    assert ticks(ax.yaxis) == ["rna2 · a", "rna1 · b"], "by label"
    assert ticks(ax.xaxis) == ["a", "b"]
    rows = dict(zip(mine["source"], xy[:, 1], strict=True))
    assert rows == {"rna2": 0, "rna1": 1}
    assert (xy[xy[:, 1] == 0, 0].max()) < xy[xy[:, 1] == 1, 0].min()
    title = ax.get_title(loc="left")
    assert "best matches in protein of 2 rna cells" in title
    assert "matches of the same label are by construction" in title


def test_colors_say_whether_labels_agree(space):
    mdata = space(["a", "b", "x", None] * 6, ["b", "a", "y"] * 8)
    tl.align(mdata, "rna", "protein", labeled=False)
    (ax,) = coupling_top_matches(mdata, "rna", "protein", n_matches=1, cells=24)
    _, _, colors = dots(ax)
    assert ticks(ax.yaxis) == ["a", "b", "x", "(unlabeled)"]
    best = get.coupling(mdata, "rna", "protein").top_matches(1)
    labels = {m: mdata[m].obs["label"].astype(object) for m in mdata.mod}
    pairs = zip(labels["rna"][best["source"]], labels["protein"][best["target"]], strict=True)
    agree = ["#8a929b" if x is np.nan else "#0072b2" if x == y else "#d55e00" for x, y in pairs]
    assert colors == agree
    assert len(set(colors)) == 3
    legend = [text.get_text() for text in ax.get_legend().get_texts()]
    assert legend[:3] == ["same label", "another label", "no label"]
    assert legend[3].endswith("% of the mass")
    assert "matches of the same label are evidence" in ax.get_title(loc="left")


def test_cells_are_drawn_evenly_over_labels_and_by_seed(space):
    mdata = space(["a"] * 20 + ["b"] * 3 + ["x"] * 9, ["a", "b"] * 8)
    tl.align(mdata, "rna", "protein")

    def rows(**options):
        (ax,) = coupling_top_matches(mdata, "rna", "protein", cells=4, **options)
        return dots(ax)[0][:, 1]

    assert len(set(rows())) == 4
    (ax,) = coupling_top_matches(mdata, "rna", "protein", cells=4)
    np.testing.assert_allclose(
        ax.get_yticks(), [0.5, 2.5], err_msg="two of each label; x has no mass"
    )
    picked = [
        dots(coupling_top_matches(mdata, "rna", "protein", cells=4, seed=s)[0])[1].tolist()
        for s in (1, 1, 2)
    ]
    assert picked[0] == picked[1]
    assert picked[0] != picked[2]


def test_the_other_side(space):
    mdata = space(["a", "b"] * 6, ["a", "b"] * 8)
    tl.align(mdata, "rna", "protein", key_added="mine")
    (ax,) = coupling_top_matches(
        mdata, "rna", "protein", side="target", cells=5, coupling_key="mine"
    )
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("rna cells, by label", "protein cells, by label")
    assert "best matches in rna of 5 protein cells" in ax.get_title(loc="left")


def test_many_long_labels_do_not_overlap(space):
    labels = [f"knock-out of gene number {i}" for i in range(90)]
    mdata = space(labels, labels)
    tl.align(mdata, "rna", "protein", labeled=False)
    fig = coupling_top_matches(mdata, "rna", "protein", cells=90, return_fig=True)
    fig.draw_without_rendering()
    (ax,) = fig.axes
    for names in (ax.get_xticklabels(), ax.get_yticklabels()):
        boxes = [name.get_window_extent() for name in names]
        assert len(boxes) > 30
        assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    width, height = fig.canvas.get_width_height()
    box = fig.get_tightbbox().transformed(fig.dpi_scale_trans)
    assert box.x0 >= -1
    assert box.y0 >= -1
    assert box.x1 <= width + 1
    assert box.y1 <= height + 1


def test_errors_teach(space):
    mdata = space(["a", "b", "x"] * 4, ["a", "b"] * 4)
    with pytest.raises(
        ValueError, match=r"Make it with scgroove\.tl\.align\(mdata, 'rna', 'protein'"
    ):
        coupling_top_matches(mdata, "rna", "protein")
    tl.align(mdata, "rna", "protein")
    for options, message in (
        ({"side": "rna"}, "side must be "),
        ({"cells": 0}, "cells is 0. Expected a number of at least 1"),
        ({"cells": []}, "cells is empty; expected names of cells"),
        ({"cells": ["rna_1"]}, r"no cell 'rna_1' in 'rna'\. Did you mean 'rna1'"),
        ({"cells": ["rna2"]}, "Cell 'rna2' of 'rna' has no mass in the coupling: its label, 'x'"),
        ({"n_matches": 0}, "n_matches must be "),
        ({"label_key": "gene"}, "column 'gene' not found"),
    ):
        with pytest.raises(ValueError, match=message):
            coupling_top_matches(mdata, "rna", "protein", **options)
    mdata.obsp["coupling_rna_protein"] = sp.csr_matrix(
        mdata.obsp["coupling_rna_protein"].shape, dtype=np.float32
    )
    with pytest.raises(ValueError, match="no cell of 'rna' has mass in the coupling"):
        coupling_top_matches(mdata, "rna", "protein")
