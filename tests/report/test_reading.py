"""What numbers are said to mean."""

import numpy as np
import pandas as pd
import pytest

from scgroove._report import _reading as reading


def accuracy(value, chance=0.25, n_labels=4):
    return pd.DataFrame(
        {
            "source": ["rna", "prot"],
            "target": ["prot", "rna"],
            "accuracy": value,
            "balanced_accuracy": [value, 0.9],
            "chance": chance,
            "n_labels": n_labels,
            "n_cells": 100,
        }
    )


@pytest.mark.parametrize(
    ("value", "level", "words"),
    [
        (
            0.26,
            "problem",
            "near chance: the link between the modalities is weak. Do not trust matches of single",
        ),
        (0.20, "problem", "near chance"),
        (0.35, "caution", "better than chance, but the link is weak"),
        (0.60, "good", "The link is moderate"),
        (0.90, "good", "The link is strong"),
    ],
)
def test_the_link_against_chance(value, level, words):
    note = reading.read_link(accuracy(value), None, "rna", "prot")
    assert note.level == level
    assert words in note.text
    assert f"{value:.0%} of the cells used in training" in note.text
    assert "25% by chance, 4 labels" in note.text


def test_held_out_cells_count_where_there_are_some():
    note = reading.read_link(accuracy(0.95), accuracy(0.26), "rna", "prot")
    assert note.level == "problem"
    assert "26% of cells kept out of training" in note.text


def test_one_shared_label_says_nothing():
    note = reading.read_link(accuracy(1.0, chance=1.0, n_labels=1), None, "rna", "prot")
    assert note.level == "caution"
    assert "With a single shared label, nothing can be said" in note.text


def test_modalities_that_lie_apart():
    (note,) = reading.read_mixing(0.02)
    assert note.level == "caution"
    assert "2% of the nearest neighbours of a cell are of the other modality (50% if they mixed)" in note.text
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


def test_imputation_by_cell_stands_beside_the_label_mean():
    table = pd.DataFrame({"r": [0.4, 0.6, 0.5], "n": 50, "label_mean_r": [0.3, 0.2, 0.1]})
    (note,) = reading.read_imputation(table, truth=True)
    assert note.level == "good"
    assert "median r of 0.50" in note.text
    assert "reaches 0.20" in note.text
    (note,) = reading.read_imputation(table.assign(label_mean_r=0.7), truth=True)
    assert note.level == "caution"
    (note,) = reading.read_imputation(table.assign(label_mean_r=np.nan), truth=True)
    assert (note.level, "reaches" in note.text) == ("good", False)


def test_imputation_by_label_is_a_check_and_no_proof():
    (note,) = reading.read_imputation(pd.DataFrame({"r": [0.9, 0.8], "n": 7}), truth=False)
    assert (note.level, "a check, not a proof" in note.text) == ("good", True)
    (note,) = reading.read_imputation(pd.DataFrame({"r": [0.2, 0.1], "n": 7}), truth=False)
    assert note.level == "caution"
    assert reading.read_imputation(pd.DataFrame({"r": [np.nan], "n": 2}), truth=False) == []


def test_scores_in_words():
    scores = pd.DataFrame({"metric": ["foscttm_within_label"], "value": [0.2], "chance": [0.5], "n": [10]})
    (note,) = reading.read_scores(scores)
    assert "nearer than 80% of the other cells of the same label (50% by chance)" in note.text
    assert note.level == "good"
    assert reading.read_scores(scores.assign(value=0.49))[0].level == "caution"
    (note,) = reading.read_scores(scores.assign(metric="foscttm_global", value=0.01))
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
            "status": ["shared", "shared", "exclusive", "unlabelled"],
        },
        index=["a", "b", "c", "(unlabelled)"],
    )
    few_cells, few_labels = reading.read_labels(table)
    assert "fewer than 20 cells in a modality: b." in few_cells.text
    assert "Only 2 labels are shared" in few_labels.text
