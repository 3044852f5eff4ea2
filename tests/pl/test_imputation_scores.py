"""How well each feature is imputed, and how often intervals hold."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from scgroove.pl import calibration, imputation_scores


@pytest.fixture
def scored(space):
    """Scores of 60 features as score_imputation writes them; the last one does not vary."""
    mdata = space(["a", "b"] * 3, ["a", "b"] * 3)
    r = np.r_[np.linspace(-0.2, 0.9, 59), np.nan]
    table = {"feature": [f"f{i}" for i in range(60)], "pearson": r, "label_mean": r - 0.1, "n": 640}
    table |= {"pearson_of_labels": r * 0.5, "n_labels": 16}
    levels = np.array([0.5, 0.8, 0.9])
    calibration = pd.DataFrame(
        {"level": levels, "coverage": levels - 0.1, "mean_width": 1.0, "n": 640}
    )
    mdata.uns["imputation_rna_protein"] = {
        "features": pd.DataFrame(table),
        "calibration": calibration,
    }
    return mdata


def bars(ax):
    return [bar.get_height() for bar in ax.patches]


def names(ax):
    return [text.get_text() for text in ax.get_xticklabels()]


def test_bars_of_cells_beside_the_label_mean(scored):
    (ax,) = imputation_scores(scored, "rna", "protein", features=["f3", "f50"])
    table = scored.uns["imputation_rna_protein"]["features"].set_index("feature").loc[["f3", "f50"]]
    assert names(ax) == ["f3", "f50"]
    np.testing.assert_allclose(bars(ax), table["pearson"])
    marks = [segment[0][1] for segment in ax.collections[0].get_segments()]
    np.testing.assert_allclose(marks, table["label_mean"])
    legend = [text.get_text() for text in ax.get_legend().get_texts()]
    assert legend == ["imputed (median of all: 0.35)", "mean of the label (median of all: 0.25)"]
    title = ax.get_title(loc="left")
    assert "protein imputed for rna cells: r over 640 cells known in both" in title
    assert "2 of 60 features" in title
    assert "no r, because measured values do not vary: 1" in title


def test_features_shown_are_spread_from_the_best_to_the_worst(scored):
    (ax,) = imputation_scores(scored, "rna", "protein", features=3)
    assert names(ax) == ["f58", "f29", "f0"]
    assert "evenly from the best to the worst" in ax.get_title(loc="left")
    assert ax.get_ylim()[0] < -0.3, "a baseline below 0 is in the picture"
    (ax,) = imputation_scores(scored, "rna", "protein", features=99)
    assert len(bars(ax)) == 59
    assert "evenly" not in ax.get_title(loc="left")


def test_over_labels_where_no_pairs_are_known(scored):
    table = scored.uns["imputation_rna_protein"]["features"]
    (asked,) = imputation_scores(scored, "rna", "protein", by="labels", features=5)
    scored.uns["imputation_rna_protein"]["features"] = table.assign(
        pearson=np.nan, label_mean=np.nan, n=0
    )
    (auto,) = imputation_scores(scored, "rna", "protein", features=5)
    assert bars(asked) == bars(auto)
    assert not auto.collections, "no baseline"
    assert "r over 16 labels" in auto.get_title(loc="left")


def test_many_long_names_do_not_overlap(scored):
    table = scored.uns["imputation_rna_protein"]["features"]
    scored.uns["mine"] = {
        "features": table.assign(feature=[f"an antibody of some length {i}" for i in range(60)])
    }
    fig = imputation_scores(scored, "rna", "protein", key="mine", return_fig=True)
    fig.draw_without_rendering()
    (ax,) = fig.axes
    boxes = [text.get_window_extent() for text in ax.get_xticklabels()]
    assert len(boxes) == 40
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    legend = ax.get_legend().get_window_extent()
    assert legend.x1 <= fig.canvas.get_width_height()[0]
    assert not legend.overlaps(ax.get_window_extent())


def test_coverage_against_level(scored):
    (ax,) = calibration(scored, "rna", "protein")
    diagonal, curve = ax.get_lines()
    np.testing.assert_allclose(diagonal.get_xydata(), [[0, 0], [1, 1]])
    np.testing.assert_allclose(curve.get_xydata(), [[0.5, 0.4], [0.8, 0.7], [0.9, 0.8]])
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["90% intervals hold 80%"]
    assert [text.get_text() for text in ax.texts] == ["too wide", "too narrow"]


def test_several_ways_of_imputing_in_one_figure(scored):
    scored.uns["knn"] = scored.uns["imputation_rna_protein"]
    fig = calibration(
        scored,
        "rna",
        "protein",
        keys={"a decoder, the mean of several": "imputation_rna_protein", "k": "knn"},
        return_fig=True,
    )
    fig.draw_without_rendering()
    (ax,) = fig.axes
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert texts == [
        "a decoder, the … several: 90% intervals hold 80%",
        "k: 90% intervals hold 80%",
    ]
    assert len({to_hex(line.get_color()) for line in ax.get_lines()[1:]}) == 2
    assert ax.get_legend().get_window_extent().x1 <= fig.canvas.get_width_height()[0]
    (ax,) = calibration(scored, "rna", "protein", keys=["knn", "imputation_rna_protein"])
    assert ax.get_legend().get_texts()[0].get_text().startswith("knn: ")


def test_errors_teach(scored):
    for draw, options, message in (
        (imputation_scores, {"by": "cell"}, "by must be "),
        (imputation_scores, {"features": 0}, "features is 0; expected at least 1"),
        (
            imputation_scores,
            {"features": ["f_1"]},
            r"no feature 'f_1'; there are 60.*Did you mean 'f1'",
        ),
        (
            imputation_scores,
            {"key": "mine"},
            r"no 'mine'.*score_imputation\(mdata, 'rna', 'protein', key_added='mine'\)",
        ),
        (
            calibration,
            {"keys": "knn"},
            r"no 'knn'.*score_imputation\(mdata, 'rna', 'protein', key_added='knn'\)",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            draw(scored, "rna", "protein", **options)
    with pytest.raises(
        ValueError, match=r"Make it with scgroove\.tl\.score_imputation\(mdata, 'protein', 'rna'\)"
    ):
        calibration(scored, "protein", "rna")
    scores = scored.uns["imputation_rna_protein"]
    nothing = scores["features"].assign(pearson=np.nan, pearson_of_labels=np.nan)
    scored.uns["imputation_rna_protein"] = {"features": nothing}
    with pytest.raises(
        ValueError,
        match=r"No feature of 'protein' has a correlation.*by 'cells': that needs cells measured",
    ):
        imputation_scores(scored, "rna", "protein", by="cells")
    with pytest.raises(
        ValueError, match=r"pair_key=\) or three labels in both modalities \(label_key=\)"
    ):
        imputation_scores(scored, "rna", "protein")
    with pytest.raises(
        ValueError, match=r"no 'calibration': that needs cells measured in both.*uncertainty=True"
    ):
        calibration(scored, "rna", "protein")
    scored.uns["imputation_rna_protein"] = {"scores": nothing}
    with pytest.raises(
        ValueError,
        match=r"no table of 'features'\. Score again with scgroove\.tl\.score_imputation",
    ):
        imputation_scores(scored, "rna", "protein")
