"""Rates of labels with their intervals, and labels of which nothing is known apart from them."""

from itertools import pairwise

import mudata
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from scgroove.pl import efficacy
from scgroove.tl import estimate_efficacy


def rates(names, seed=0, n_unseen=2):
    """A table as estimate_efficacy writes it, its labels in alphabetical order; the last ones are undetectable."""
    rng = np.random.default_rng(seed)
    rate = rng.uniform(0.2, 0.9, len(names))
    unseen = np.arange(len(names)) >= len(names) - n_unseen
    rate[unseen] = np.nan
    ends = {"rate_low": rate - rng.uniform(0.05, 0.1, len(names)), "rate_high": rate + 0.05}
    table = {"label": names, "n_cells": 60, "rate": rate, **ends, "undetectable": unseen}
    return pd.DataFrame({**table, "statistic": 2.0, "threshold": 1.0})


@pytest.fixture
def estimated(space):
    """Rates of six labels in two modalities; in "protein" nothing is known of four."""
    mdata = space(["a", "b"], ["a", "b"])
    names = ["a", "b", "c", "d", "e", "f"]
    tables = {"rna": rates(names), "protein": rates(names, seed=1, n_unseen=4)}
    mdata.uns["efficacy"] = {"control": "NT", "params": {}, "labels": tables}
    return mdata


def names(ax):
    return [text.get_text() for text in ax.get_xticklabels()]


def legend(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def line(ax, label):
    (found,) = [one for one in ax.lines if one.get_label() == label]
    return found


def test_dots_are_the_rates_in_order_with_their_intervals(estimated):
    axes = efficacy(estimated)
    assert [ax.get_title(loc="left") for ax in axes] == ["rna, against NT", "protein, against NT"]
    for ax, table in zip(axes, estimated.uns["efficacy"]["labels"].values(), strict=True):
        table = table.set_index("label")
        seen = table[~table["undetectable"]].sort_values("rate", ascending=False)
        unseen = table.index[table["undetectable"]].tolist()
        assert names(ax) == [*seen.index, *unseen]
        dots = line(ax, "rate")
        np.testing.assert_array_equal(dots.get_xdata(), np.arange(len(seen)))
        np.testing.assert_array_equal(dots.get_ydata(), seen["rate"])
        ends = np.array([segment[:, 1] for segment in ax.collections[0].get_segments()])
        np.testing.assert_array_equal(ends, seen[["rate_low", "rate_high"]])
    assert to_hex(line(axes[0], "rate").get_color()) != to_hex(line(axes[1], "rate").get_color())


def test_undetectable_labels_are_hollow_at_the_right_and_in_the_legend(estimated):
    rna, protein = efficacy(estimated)
    hollow = line(rna, "undetectable")
    assert hollow.get_xdata().tolist() == [4, 5]
    assert hollow.get_ydata().tolist() == [1, 1]
    assert to_hex(hollow.get_markerfacecolor()) == "#ffffff"
    assert to_hex(hollow.get_color()) != to_hex(line(rna, "rate").get_color())
    assert legend(rna) == [
        "rate, 95 % interval (4)",
        "no effect to be seen:\nefficacy left at 1 (2)",
    ]
    assert legend(protein) == [
        "rate, 95 % interval (2)",
        "no effect to be seen:\nefficacy left at 1 (4)",
    ]


def test_some_modalities_and_labels(estimated):
    (ax,) = efficacy(estimated, modality="protein", labels=["f", "b"])
    assert names(ax) == ["b", "f"]
    table = estimated.uns["efficacy"]["labels"]["protein"].set_index("label")
    assert line(ax, "rate").get_ydata().tolist() == [table.loc["b", "rate"]]
    (ax,) = efficacy(estimated, modality=["rna"], labels=["a", "b"])
    assert legend(ax) == ["rate, 95 % interval (2)"]
    (ax,) = efficacy(estimated, modality="rna", labels="f")
    assert legend(ax) == ["no effect to be seen:\nefficacy left at 1 (1)"]
    estimated.uns["efficacy"]["labels"]["protein"] = rates(["x", "y"], n_unseen=0)
    (ax,) = efficacy(estimated, labels=["y"])
    assert ax.get_title(loc="left") == "protein, against NT", "rna has no such label"


def test_names_do_not_overlap_where_labels_are_many_or_long(estimated):
    long = [f"a guide with a long name, number {i}" for i in range(200)]
    estimated.uns["efficacy"]["labels"] = {"rna": rates(long, n_unseen=30)}
    fig = efficacy(estimated, return_fig=True)
    (ax,) = fig.axes
    fig.canvas.draw()
    assert fig.get_figwidth() < 14
    assert len(line(ax, "rate").get_xdata()) == 170
    boxes = [text.get_window_extent() for text in ax.get_xticklabels()]
    assert 50 < len(boxes) < 100
    assert all(left.x1 <= right.x0 + 1 for left, right in pairwise(boxes))
    assert min(box.y0 for box in boxes) >= 0
    assert max(len(name) for name in names(ax)) <= 20
    assert ax.get_position().height * fig.get_figheight() > 1


def test_draws_what_was_estimated_and_read_from_disk(space, tmp_path):
    labels = ["NT"] * 40 + ["g1"] * 20 + ["g2"] * 20
    mdata = space(labels, labels)
    estimate_efficacy(mdata, "NT", use_rep="X_groove", key_added="mine")
    mdata.write(tmp_path / "screen.h5mu")
    for one in (mdata, mudata.read_h5mu(tmp_path / "screen.h5mu")):
        axes = {ax.get_title(loc="left").split(",")[0]: ax for ax in efficacy(one, "mine")}
        for name, ax in axes.items():
            table = mdata.uns["mine"]["labels"][name].sort_values("rate", ascending=False)
            assert names(ax) == table["label"].tolist()
            np.testing.assert_array_equal(line(ax, "rate").get_ydata(), table["rate"])
    assert list(axes) == ["rna", "protein"], (
        "in the order of the modalities, on disk in that of the alphabet"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"key": "eficacy"}, r"mdata\.uns has no 'eficacy'; .* Did you mean 'efficacy'\? Make it with scgroove\.tl\.estimate_efficacy\(mdata, CONTROL, key_added='eficacy'\)"),
        ({"key": "other"}, r"mdata\.uns\['other'\] holds no rates of labels; expected what scgroove\.tl\.estimate_efficacy"),
        ({"key": "old"}, r"lacks \['rate_low', 'rate_high'\]"),
        ({"modality": "rnas"}, r"no modality 'rnas'; there are 2, such as 'rna', 'protein'\. Did you mean 'rna'\?"),
        ({"labels": ["aa"]}, r"There is no label 'aa'; there are 6, such as 'a', .* Did you mean 'a'\?"),
        ({"labels": []}, r"no label is named; name one or more of 6, such as 'a', "),
        ({"modality": []}, r"no modality is named; name one or more of 2, such as 'rna', 'protein'"),
    ],
)  # fmt: skip
def test_refusals_teach(estimated, options, message):
    table = estimated.uns["efficacy"]["labels"]["rna"].drop(columns=["rate_low", "rate_high"])
    estimated.uns["other"] = {"scores": 1}
    estimated.uns["old"] = {"control": "NT", "labels": {"rna": table}}
    with pytest.raises(ValueError, match=message):
        efficacy(estimated, **options)


def test_says_how_to_make_what_is_missing(space):
    with pytest.raises(
        ValueError, match=r"Make it with scgroove\.tl\.estimate_efficacy\(mdata, CONTROL\)\."
    ):
        efficacy(space(["a"], ["a"]))


def test_without_a_control_there_are_no_rates(space):
    mdata = space(["a", "b"], ["a", "b"])
    with pytest.warns(UserWarning, match="no control label"):
        estimate_efficacy(mdata, None)
    with pytest.raises(
        ValueError, match=r"no rates: there was no control.*estimate_efficacy\(mdata, CONTROL\)"
    ):
        efficacy(mdata)
