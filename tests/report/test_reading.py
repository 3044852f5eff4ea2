"""What numbers are said to mean."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from scgroove._report import Results, Settings
from scgroove._report import _reading as reading
from scgroove.metrics.permutation_tests import CorrelationTest, LabelTest


def direction(accuracy, p_value=0.0005, n_cells=100, chance=0.25, width=0.1):
    return LabelTest(
        accuracy, accuracy - width, accuracy + width, chance, 0.04, p_value, n_cells, 4
    )


def both_ways(forward, backward=None, learner="groove"):
    backward = direction(0.95) if backward is None else backward
    return {learner: {("rna", "prot"): forward, ("prot", "rna"): backward}}


def label_counts(n_shared=4, n_cells=50):
    index = [f"g{i}" for i in range(n_shared)]
    return pd.DataFrame({"rna": n_cells, "prot": n_cells, "status": "shared"}, index=index)


def read(tests, n_shared=4):
    return reading.read_link(tests, label_counts(n_shared), "rna", "prot")


@pytest.mark.parametrize(
    ("value", "level", "words"),
    [
        (0.27, "caution", "better than chance, but by very little"),
        (0.35, "caution", "better than chance, but the link is weak"),
        (0.60, "good", "better than chance, and the link is moderate"),
        (0.90, "good", "better than chance, and the link is strong"),
    ],
)
def test_a_link_that_tests_show_is_graded_by_the_weaker_direction(value, level, words):
    note = read(both_ways(direction(value)))
    assert note.level == level
    assert words in note.text
    assert (
        f"{value:.0%} (95% interval {value - 0.1:.0%} to {value + 0.1:.0%}) of rna cells"
        in note.text
    )
    assert "p < 0.001" in note.text


def test_without_a_test_passed_nothing_is_better_than_chance():
    note = read(both_ways(direction(0.26, p_value=0.4), direction(0.3, p_value=0.2)))
    assert (note.level, "is not shown to be better than chance" in note.text) == ("problem", True)
    assert "p = 0.400" in note.text
    # large differences on few cells: nothing is said of a link
    wide = read(
        both_ways(
            direction(0.5, p_value=0.06, n_cells=20, width=0.3), direction(0.5, 0.07, 20, width=0.3)
        )
    )
    assert (wide.level, "Cannot tell" in wide.text) == ("caution", True)
    assert "better than chance" not in wide.text


def test_one_direction_alone_is_no_link():
    note = read(both_ways(direction(0.9), direction(0.26, p_value=0.4)))
    assert note.level == "problem"
    assert "Only the direction rna → prot passes" in note.text


def test_few_cells_get_no_verdict_and_the_closed_form_is_asked_first():
    few = both_ways(
        direction(0.2, p_value=0.01, n_cells=10, chance=0.1), direction(0.9, n_cells=12)
    )
    note = read(few)
    assert (note.level, "Cannot tell" in note.text) == ("caution", True)
    assert "10 rna and 12 prot cells" in note.text
    note = read(few | both_ways(direction(0.9), learner="cca_labels"))
    assert (note.level, "a learner in closed form" in note.text) == ("good", True)
    assert "Cannot tell" in read({}).text


def test_one_shared_label_is_a_problem():
    note = read(both_ways(direction(1.0, p_value=1.0, chance=1.0)), n_shared=1)
    assert note.level == "problem"
    assert "Only one label is shared" in note.text


def test_modalities_that_lie_apart():
    (note,) = reading.read_mixing(0.02)
    assert note.level == "caution"
    assert (
        "2% of the nearest neighbors of a cell are of the other modality (50% if they mixed)"
        in note.text
    )
    assert "--impute barycentric" in note.text
    assert reading.read_mixing(0.3) == reading.read_mixing(None) == []


def test_levels_that_are_off():
    table = pd.DataFrame(
        {
            "r": 0.9,
            "n": 7,
            "measured": [40.0, 10.0, 5.0],
            "imputed": [80.0, 11.0, 1.0],
            "shift": [2.0, 0.1, -3.0],
        },
        index=["PDL1", "CD86", "CD366"],
    )
    (note,) = reading.read_levels(table)
    assert "2 of 3 imputed features" in note.text
    assert "CD366 (1, measured 5), PDL1 (80, measured 40)" in note.text
    assert reading.read_levels(table.iloc[[1]]) == reading.read_levels(None) == []


def test_a_coupling_that_did_not_converge():
    assert reading.read_coupling({"converged": True, "row_error": 1e-9, "column_error": 1e-7}) == []
    (note,) = reading.read_coupling({"converged": False, "row_error": 0.0, "column_error": 0.013})
    assert note.level == "caution"
    assert "off by up to 1.3% of the mass" in note.text
    (note,) = reading.read_coupling({"converged": True, "row_error": 0.2, "column_error": 0.0})
    assert note.level == "problem"


def results_of(agreement, **found):
    asked = Settings(
        source="rna",
        target="prot",
        modalities=("rna", "prot"),
        impute=found.pop("impute", "decoder"),
    )
    return Results(None, asked, "data", agreement=pd.DataFrame(agreement), **found)


SCORES = pd.DataFrame(
    {
        "metric": ["foscttm_within_label"],
        "value": [0.2],
        "chance": [0.5],
        "chance_sd": [0.03],
        "p_value": [1e-9],
        "n": [100],
    }
)


def test_imputation_by_cell_stands_beside_the_label_mean_and_its_null():
    table = {"r": [0.4, 0.6, 0.5], "n": 50, "label_mean_r": [0.3, 0.2, 0.1]}
    shown = CorrelationTest(0.5, 0.2, 0.02, 0.005, 50, 50)
    (note,) = reading.read_imputation(results_of(table, scores=SCORES, partner_test=shown))
    assert note.level == "good"
    assert "median r of 0.50" in note.text
    assert "reaches 0.20" in note.text
    assert "exchanged within labels, r is 0.20 ± 0.02 (p = 0.005" in note.text
    not_shown = replace(shown, p_value=0.3)
    (note,) = reading.read_imputation(results_of(table, scores=SCORES, partner_test=not_shown))
    assert (note.level, "Nothing beyond the label is shown" in note.text) == ("caution", True)
    (note,) = reading.read_imputation(
        results_of(table | {"label_mean_r": 0.7}, scores=SCORES, partner_test=shown)
    )
    assert note.level == "caution"
    few = replace(shown, n_cells=10)
    (note,) = reading.read_imputation(results_of(table, scores=SCORES, partner_test=few))
    assert (note.level, "Cannot tell" in note.text) == ("caution", True)


def test_label_means_are_judged_on_held_out_cells_beside_baseline_and_null():
    table = {"r": [0.9, 0.8], "n": 7}
    shown = CorrelationTest(0.7, 0.01, 0.1, 0.005, 60, 7)
    (note,) = reading.read_imputation(results_of(table, agreement_test=shown, label_mean_r=0.75))
    assert note.level == "good"
    assert "0.01 ± 0.10 with labels permuted (p = 0.005, 7 labels)" in note.text
    assert "measured label mean, which needs no source cell, reaches 0.75" in note.text
    (note,) = reading.read_imputation(results_of(table, agreement_test=replace(shown, p_value=0.2)))
    assert (note.level, "not shown to be better than chance" in note.text) == ("caution", True)
    (note,) = reading.read_imputation(results_of(table, agreement_test=replace(shown, r=0.2)))
    assert (note.level, "but low" in note.text) == ("caution", True)
    (note,) = reading.read_imputation(results_of(table))
    assert (note.level, "Cannot tell" in note.text) == ("caution", True)
    assert reading.read_imputation(results_of({"r": [np.nan], "n": 2})) == []


def test_label_means_of_a_coupling_within_labels_get_no_verdict():
    (note,) = reading.read_imputation(results_of({"r": [0.99], "n": 7}, impute="barycentric"))
    assert note.level == "construction"
    assert "says nothing about the matching" in note.text


def test_scores_in_words():
    (note,) = reading.read_scores(SCORES)
    assert (
        "nearer than 80% of the other cells of the same label (50% ± 3.0% by chance, p < 0.001"
        in note.text
    )
    assert note.level == "good"
    assert reading.read_scores(SCORES.assign(value=0.46, p_value=0.09))[0].level == "caution"
    assert "not shown" in reading.read_scores(SCORES.assign(p_value=0.09))[0].text
    assert "by very little" in reading.read_scores(SCORES.assign(value=0.48))[0].text
    assert "Cannot tell" in reading.read_scores(SCORES.assign(n=10))[0].text
    (note,) = reading.read_scores(SCORES.assign(metric="foscttm_global", value=0.01))
    assert note.level == "caution"
    assert "The label alone may tell that" in note.text
    assert reading.read_scores(None) == []


def history(values):
    return {"groupclip_validation": pd.DataFrame({"x": values})}


def test_a_validation_curve_that_rises():
    falling_then_rising = np.concatenate([np.linspace(3, 1, 20), np.linspace(1, 2, 20)])
    (note,) = reading.read_training(history(falling_then_rising))
    assert "lowest at epoch 19" in note.text or "lowest at epoch 20" in note.text
    assert note.level == "caution"


def test_a_validation_curve_that_still_falls():
    (note,) = reading.read_training(history(np.linspace(3, 1, 15)))
    assert "still falling" in note.text
    assert "--epochs" in note.text


def test_a_curve_that_has_settled_is_not_remarked():
    assert reading.read_training(history(1 + 2 * np.exp(-np.arange(60) / 5))) == []
    assert reading.read_training(history(np.linspace(3, 1, 5))) == []
    assert reading.read_training({}) == []


def test_labels_with_few_cells_and_few_shared_labels():
    table = pd.DataFrame(
        {
            "rna": [50, 5, 0, 90],
            "prot": [50, 60, 40, 0],
            "status": ["shared", "shared", "exclusive", "unlabeled"],
        },
        index=["a", "b", "c", "(unlabeled)"],
    )
    few_cells, few_labels = reading.read_labels(table)
    assert "fewer than 20 cells in a modality: b." in few_cells.text
    assert "Only 2 labels are shared" in few_labels.text
