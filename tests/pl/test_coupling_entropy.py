"""How decided matches are, label by label."""

import numpy as np
import pytest
from matplotlib.colors import to_hex

from scgroove import get, tl
from scgroove.pl import coupling_entropy


def names(ax):
    return [text.get_text() for text in ax.get_yticklabels()]


def medians(ax):
    return [
        float(line.get_xdata()[0]) for line in ax.lines if line.get_markerfacecolor() == "white"
    ]


@pytest.mark.parametrize("side", ["source", "target"])
@pytest.mark.parametrize("measure", ["entropy", "confidence"])
def test_medians_of_labels(space, side, measure):
    mdata = space(["a", "b", "x"] * 12, ["a", "b"] * 10 + ["b"] * 5)
    tl.align(mdata, "rna", "protein")
    (ax,) = coupling_entropy(mdata, "rna", "protein", measure=measure, side=side)
    values = getattr(get.coupling(mdata, "rna", "protein"), measure)(side)
    labels = mdata["rna" if side == "source" else "protein"].obs["label"].to_numpy()
    np.testing.assert_allclose(
        medians(ax), [np.nanmedian(values[labels == label]) for label in "ab"]
    )
    counts = [np.sum(labels == label) for label in "ab"]
    assert names(ax) == [f"{label} ({n})" for label, n in zip("ab", counts, strict=True)]
    left_out = "12 of 36 cells have no mass" in ax.get_title(loc="left")
    assert left_out == (side == "source")


def test_ticks_mark_where_all_candidates_are_alike(space):
    mdata = space(["a", "b"] * 12, ["a"] * 10 + ["b"] * 4)
    tl.align(mdata, "rna", "protein")
    (ax,) = coupling_entropy(mdata, "rna", "protein")
    (most,) = [line for line in ax.lines if line.get_marker() == "|"]
    np.testing.assert_allclose(most.get_xdata(), np.log([10, 4]))
    (above,) = ax.child_axes
    assert above.get_xlabel() == "effective number of partners"
    np.testing.assert_allclose(np.exp(above.get_xticks()), [1, 2, 5, 10])


def test_few_cells_are_drawn_one_by_one_and_unlabeled_ones_last(space):
    mdata = space(["a", "b", None] * 4, ["a", "b"] * 4)
    tl.align(mdata, "rna", "protein", labeled=False)
    (ax,) = coupling_entropy(mdata, "rna", "protein", measure="confidence")
    assert [len(line.get_xdata()) for line in ax.lines] == [4, 4, 4]
    assert names(ax) == ["a (4)", "b (4)", "(unlabeled) (4)"]


def test_labels_chosen_and_colors(space):
    mdata = space(["a", "b", "c"] * 4, ["a", "b", "c"] * 4)
    tl.align(mdata, "rna", "protein")
    mdata["rna"].uns["label_colors"] = ["#111111", "#222222", "#333333"]
    (ax,) = coupling_entropy(mdata, "rna", "protein", labels=["c", "a"], colors={"a": "#444444"})
    assert names(ax) == ["c (4)", "a (4)"]
    assert [to_hex(line.get_color()) for line in ax.lines[:2]] == ["#333333", "#444444"]


def test_many_long_labels_stay_within_the_figure(space):
    labels = [f"knock-out of gene number {i}" for i in range(40)]
    mdata = space(labels * 2, labels * 2)
    tl.align(mdata, "rna", "protein")
    fig = coupling_entropy(mdata, "rna", "protein", return_fig=True)
    fig.draw_without_rendering()
    boxes = [text.get_window_extent() for text in fig.axes[0].get_yticklabels()]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    assert min(box.x0 for box in boxes) >= 0


def test_errors_teach(space):
    mdata = space(["a", "b", "x"] * 4, ["a", "b"] * 4)
    with pytest.raises(
        ValueError, match=r"Make it with scgroove\.tl\.align\(mdata, 'rna', 'protein'"
    ):
        coupling_entropy(mdata, "rna", "protein")
    tl.align(mdata, "rna", "protein")
    for options, message in (
        ({"measure": "perplexity"}, "measure must be "),
        ({"side": "rna"}, "side must be 'source' or 'target'"),
        ({"labels": ["A"]}, r"no label 'A'; there are 3, such as 'a', 'b', 'x'\. Did you mean 'a'"),
        ({"labels": ["x"]}, r"No cell of 'rna' with these labels has mass.*labeled=False"),
    ):
        with pytest.raises(ValueError, match=message):
            coupling_entropy(mdata, "rna", "protein", **options)
