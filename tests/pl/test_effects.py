"""Effects of labels, measured beside imputed."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from scgroove.pl import effects

LABELS, FEATURES = ["g1", "g2", "g10", "new"], ["f0", "f1", "f2", "f3", "f4"]


def table(labels=LABELS, features=FEATURES, unmeasured=("new",), seed=0):
    """Effects as perturbation_effects writes them; features differ in size, the last the largest."""
    rng = np.random.default_rng(seed)
    index = pd.MultiIndex.from_product([labels, features], names=["label", "feature"])
    sizes = np.tile(np.arange(1, len(features) + 1), len(labels))
    found = pd.DataFrame(index=index).reset_index()
    for side in ("measured", "imputed"):
        effect = rng.normal(size=len(found)) * sizes
        found[side], found[f"{side}_low"], found[f"{side}_high"] = effect, effect - 1, effect + 1
        found[f"n_{side}"] = 40
    gone = found["label"].isin(unmeasured)
    found.loc[gone, ["measured", "measured_low", "measured_high"]] = np.nan
    found.loc[gone, "n_measured"] = 0
    return found.astype({"label": "category", "feature": "category"})


@pytest.fixture
def mdata(space):
    found = space(["a"], ["a"])
    found.uns["effects_rna_protein"] = table()
    return found


def names(axis):
    return [text.get_text() for text in axis.get_ticklabels()]


def values(ax):
    return np.ma.filled(ax.get_images()[0].get_array(), np.nan)


def test_two_heatmaps_with_the_same_rows_and_columns(mdata):
    axes = effects(mdata, "rna", "protein", cluster=False)
    assert [ax.get_title(loc="left") for ax in axes] == [
        "measured in protein",
        "imputed for rna cells",
    ]
    assert names(axes[0].yaxis) == LABELS, "in natural order, the one that was not measured last"
    for ax, side in zip(axes, ("measured", "imputed"), strict=True):
        wide = table().pivot_table(
            index="label", columns="feature", values=side, observed=True, dropna=False
        )
        np.testing.assert_allclose(values(ax), wide.loc[LABELS, names(ax.xaxis)])
    assert set(names(axes[0].xaxis)) == set(FEATURES)
    low, high = axes[0].get_images()[0].get_clim()
    assert low == -high, "colors are centered on 0"


def test_labels_never_measured_are_marked(mdata):
    fig = effects(mdata, "rna", "protein", return_fig=True)
    measured, imputed = fig.axes[:2]
    styles = {text.get_text(): text.get_style() for text in measured.get_yticklabels()}
    assert [label for label, look in styles.items() if look == "italic"] == ["new"]
    assert names(measured.yaxis)[-1] == "new"
    assert [text.get_text() for text in measured.texts] == ["not measured"]
    assert not imputed.texts
    assert "italics: never measured" in fig.get_suptitle()


def test_marks_of_intervals(mdata):
    found = mdata.uns["effects_rna_protein"]
    few = found["label"] == "g2"
    found.loc[few, ["imputed_low", "imputed_high"]] = np.nan
    fig = effects(mdata, "rna", "protein", cluster=False, return_fig=True)
    for ax, side in zip(fig.axes[:2], ("measured", "imputed"), strict=True):
        holds, none = ax.collections
        at = {(names(ax.xaxis)[int(x)], int(y)) for x, y in holds.get_offsets()}
        rows = found[(found[f"{side}_low"] <= 0) & (found[f"{side}_high"] >= 0)]
        assert at == {
            (f, LABELS.index(la)) for f, la in zip(rows["feature"], rows["label"], strict=True)
        }
        assert len(none.get_offsets()) == (len(FEATURES) if side == "imputed" else 0)
    assert "dot: the interval holds 0; ring: no interval" in fig.get_suptitle().replace("\n", " ")


def test_the_largest_effects_are_chosen_and_names_kept_in_order(mdata):
    axes = effects(mdata, "rna", "protein", features=2, labels=2, cluster=False)
    size = table().assign(s=lambda d: d["measured"].fillna(d["imputed"]) ** 2 + d["imputed"] ** 2)
    largest = size.groupby("feature", observed=True)["s"].mean().nlargest(2).index
    assert names(axes[0].xaxis) == list(largest)
    assert len(names(axes[0].yaxis)) == 2
    axes = effects(
        mdata, "rna", "protein", features=["f3", "f0"], labels=["g10", "g1"], cluster=False
    )
    assert names(axes[0].xaxis) == ["f3", "f0"]
    assert names(axes[0].yaxis) == ["g10", "g1"]


def test_similar_labels_and_features_stand_together(mdata):
    found = table([f"g{i}" for i in range(8)], FEATURES, unmeasured=())
    sign = np.where(found["label"].astype(str).str[1:].astype(int) % 2, 5.0, -5.0)
    found["measured"] = found["imputed"] = sign + np.random.default_rng(0).normal(
        0, 0.1, len(found)
    )
    mdata.uns["mine"] = found
    axes = effects(mdata, "rna", "protein", key="mine")
    parity = [int(name[1:]) % 2 for name in names(axes[0].yaxis)]
    assert parity in ([0] * 4 + [1] * 4, [1] * 4 + [0] * 4)


def test_where_colors_end(mdata):
    axes = effects(mdata, "rna", "protein", vmax=0.5)
    assert axes[1].get_images()[0].get_clim() == (-0.5, 0.5)
    assert axes[0].get_images()[0].colorbar.extend == "both"


def test_many_long_names_do_not_overlap(mdata):
    labels = [f"knock-out of gene number {i}" for i in range(120)]
    features = [f"an antibody of some length {i}" for i in range(90)]
    mdata.uns["many"] = table(labels, features, unmeasured=labels[:5])
    fig = effects(mdata, "rna", "protein", key="many", labels=120, features=90, return_fig=True)
    fig.draw_without_rendering()
    for texts in (
        fig.axes[0].get_yticklabels(),
        fig.axes[0].get_xticklabels(),
        fig.axes[1].get_xticklabels(),
    ):
        boxes = [text.get_window_extent() for text in texts]
        assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    assert min(text.get_window_extent().x0 for text in fig.axes[0].get_yticklabels()) >= 0


def test_errors_teach(mdata):
    for options, message in (
        ({"labels": 0}, "labels is 0; expected at least 1, or names of labels"),
        (
            {"features": ["f_1"]},
            r"no feature 'f_1'; there are 5.*Did you mean 'f1'",
        ),
        ({"labels": ["G1"]}, r"no label 'G1'.*Did you mean 'g1'"),
        ({"vmax": -1.0}, "vmax must be a number above 0"),
        (
            {"key": "mine"},
            r"no 'mine'.*perturbation_effects\(mdata, 'rna', 'protein', CONTROL, key_added='mine'\)",
        ),
        ({"ax": plt.subplots()[1]}, r"2 panel\(s\) \(measured, imputed\), but ax holds 1"),
    ):
        with pytest.raises(ValueError, match=message):
            effects(mdata, "rna", "protein", **options)
    mdata.uns["effects_rna_protein"] = table().drop(columns="imputed_low")
    with pytest.raises(ValueError, match=r"lacks \['imputed_low'\]; expected the columns"):
        effects(mdata, "rna", "protein")
