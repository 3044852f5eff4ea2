"""Mass of a coupling, label by label."""

from itertools import pairwise

import numpy as np
import pytest

from scgroove import get, tl
from scgroove.pl import coupling_label_mass


def heatmap(ax):
    return np.asarray(ax.get_images()[0].get_array())


def ticks(axis):
    return [text.get_text() for text in axis.get_ticklabels()]


def test_a_labeled_coupling_is_the_identity_by_construction(space):
    mdata = space(["a", "b", "x"] * 6, ["a", "b", "y"] * 4)
    tl.align(mdata, "rna", "protein")
    (ax,) = coupling_label_mass(mdata, "rna", "protein")
    np.testing.assert_allclose(heatmap(ax), np.eye(2), atol=1e-6)
    assert ticks(ax.xaxis) == ticks(ax.yaxis) == ["a", "b"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("label in protein", "label in rna")
    title = ax.get_title(loc="left")
    assert "coupling rna → protein" in title
    assert "the diagonal is by construction" in title
    assert "labels without mass are left out: 1 of rna, 1 of protein" in title
    assert [text.get_text() for text in ax.texts] == ["1.00", "", "", "1.00"]


def test_a_coupling_without_labels_is_evidence(space):
    mdata = space(["a", "b", "x", None] * 6, ["b", "a", "y"] * 8)
    tl.align(mdata, "rna", "protein", labeled=False)
    (ax,) = coupling_label_mass(mdata, "rna", "protein")
    assert ticks(ax.yaxis) == ["a", "b", "x", "(unlabeled)"]
    assert ticks(ax.xaxis) == ["a", "b", "y"], "labels of both first and in the same order"
    np.testing.assert_allclose(heatmap(ax).sum(axis=1), 1, atol=1e-6)
    assert heatmap(ax)[0].argmax() == 0
    assert heatmap(ax)[1].argmax() == 1
    assert "made without labels" in ax.get_title(loc="left")


def test_shares_of_all_mass(space):
    mdata = space(["a", "b"] * 6, ["a", "b"] * 4)
    tl.align(mdata, "rna", "protein", key_added="mine")
    (ax,) = coupling_label_mass(mdata, "rna", "protein", coupling_key="mine", normalize="none")
    np.testing.assert_allclose(heatmap(ax), np.eye(2) / 2, atol=1e-6)


@pytest.mark.parametrize(("n", "numbers"), [(12, 144), (13, 0)])
def test_numbers_where_labels_are_few(space, n, numbers):
    labels = [f"g{i}" for i in range(n)] * 2
    mdata = space(labels, labels)
    tl.align(mdata, "rna", "protein")
    (ax,) = coupling_label_mass(mdata, "rna", "protein")
    assert len(ax.texts) == numbers
    (ax,) = coupling_label_mass(mdata, "rna", "protein", numbers=not numbers)
    assert len(ax.texts) == (0 if numbers else n * n)


def test_many_long_labels_do_not_overlap(space):
    labels = [f"knock-out of gene number {i}" for i in range(100)]
    mdata = space(labels, labels)
    tl.align(mdata, "rna", "protein")
    fig = coupling_label_mass(mdata, "rna", "protein", return_fig=True)
    fig.draw_without_rendering()
    boxes = [text.get_window_extent() for text in fig.axes[0].get_yticklabels()]
    assert len(boxes) == 50
    assert not any(a.overlaps(b) for a, b in pairwise(boxes))
    assert min(box.x0 for box in boxes) >= 0


def test_labels_too_many_to_draw_are_put_together(space, monkeypatch):
    monkeypatch.setattr("scgroove.pl._coupling._LABELS_UP_TO", 2)
    mdata = space(["a"] * 6 + ["b"] * 5 + ["c", "d", "e"], ["a"] * 6 + ["b"] * 5 + ["c", "d", "f"])
    tl.align(mdata, "rna", "protein", labeled=False)
    (ax,) = coupling_label_mass(mdata, "rna", "protein", normalize="none")
    assert ticks(ax.xaxis) == ticks(ax.yaxis) == ["a", "b", "(4 other labels)"]
    whole = get.coupling(mdata, "rna", "protein").label_mass(
        *(mdata[m].obs["label"].to_numpy() for m in ("rna", "protein"))
    )
    assert heatmap(ax)[0, 1] == pytest.approx(whole.loc["a", "b"])
    assert heatmap(ax)[2, 2] == pytest.approx(
        whole.loc[["c", "d", "e"], ["c", "d", "f"]].to_numpy().sum()
    )


def test_a_label_that_means_none(space):
    mdata = space(["a", "b", "?"] * 4, ["a", "b", "?"] * 4)
    tl.align(mdata, "rna", "protein", labeled=False)
    (ax,) = coupling_label_mass(mdata, "rna", "protein", unlabeled_category="?")
    assert ticks(ax.xaxis) == ["a", "b", "(unlabeled)"]


def test_errors_teach(space):
    mdata = space(["a", "b"] * 4, ["a", "b"] * 4)
    with pytest.raises(
        ValueError, match=r"Make it with scgroove\.tl\.align\(mdata, 'rna', 'protein'"
    ):
        coupling_label_mass(mdata, "rna", "protein")
    with pytest.raises(ValueError, match=r"no such modality.*Did you mean 'protein'"):
        coupling_label_mass(mdata, "rna", "prot")
    with pytest.raises(ValueError, match="normalize must be "):
        coupling_label_mass(mdata, "rna", "protein", normalize="column")
    tl.align(mdata, "rna", "protein")
    with pytest.raises(ValueError, match="gene"):
        coupling_label_mass(mdata, "rna", "protein", label_key="gene")
    mdata.obsp["coupling_rna_protein"] = mdata.obsp["coupling_rna_protein"] * 0
    with pytest.raises(
        ValueError,
        match=r"no mass between labeled cells.*tl\.align\(mdata, 'rna', 'protein', label_key",
    ):
        coupling_label_mass(mdata, "rna", "protein")
