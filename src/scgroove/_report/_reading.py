"""The numbers of a run in plain words. All limits of the verdicts stand here."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from scgroove._html import Note
from scgroove._report._results import Results
from scgroove._words import some
from scgroove.metrics.permutation_tests import (
    ALPHA,
    FEWEST_CELLS,
    CorrelationTest,
    LabelTest,
    label_verdict,
)

Tests = Mapping[tuple[str, str], LabelTest]

NEAR_CHANCE, WEAK, STRONG = 0.05, 0.3, 0.7
"""Skill beneath which a link that a test has shown is slight, weak, or moderate."""

MARGINAL_ERROR = 1e-3
FEW_CELLS = 20
RISE = 0.1
APART = 0.1
SHIFT = 1.0


def notes(results: Results) -> list[Note]:
    """Everything that a reader should know first, the most important at the top."""
    found = [
        read_link(results.tests, results.labels, results.settings.source, results.settings.target),
        *read_mixing(results.mixing),
        *read_coupling(results.evidence),
        *read_imputation(results),
        *read_levels(results.agreement),
        *read_scores(results.scores),
        *read_training(results.model.history if results.model is not None else None),
        *read_labels(results.labels),
    ]
    rank = {"problem": 0, "caution": 1, "construction": 2, "good": 3}
    return [found[0], *sorted(found[1:], key=lambda note: rank[note.level])]


def skill(accuracy: float, chance: float) -> float:
    """Share of what is possible beyond chance: 0 at chance, 1 when every label is found."""
    return (accuracy - chance) / (1 - chance) if chance < 1 else math.nan


def read_link(tests: Mapping[str, Tests], labels: pd.DataFrame, source: str, target: str) -> Note:
    """Judge by tests in both directions whether the labels link the modalities, and how."""
    shared = int(
        ((labels[source] > 0) & (labels[target] > 0) & (labels["status"] == "shared")).sum()
    )
    if shared < 2:
        return Note(
            "problem",
            "Only one label is shared, so every cell of either modality has it and any match "
            "looks right. Nothing tells cells apart, and nothing can be tested. Use labels of "
            "which two or more are in both modalities.",
        )
    learner, own = _decisive(tests)
    if learner is None:
        counts = " and ".join(f"{one.n_cells} {sides[0]}" for sides, one in own.items()) or "none"
        return Note(
            "caution",
            f"Cannot tell whether the labels link the modalities: a test needs {FEWEST_CELLS} "
            "cells of shared labels in each modality that a learner has not seen, and there are "
            f"too few ({counts} cells). Take no match and no imputed value from this run as shown.",
        )
    numbers = _numbers(learner, own, source, target)
    if label_verdict(list(own.values())) == "better than chance":
        level, words = _strength(own)
        return Note(level, f"{numbers} {words}")
    return _not_shown(numbers, own)


def _decisive(tests: Mapping[str, Tests]) -> tuple[str | None, Tests]:
    """The first learner whose tests allow a verdict: the model, else the closed form."""
    for learner, own in tests.items():
        if len(own) == 2 and label_verdict(list(own.values())) != "cannot tell":
            return learner, own
    return None, next((own for own in list(tests.values())[::-1] if own), {})


def _numbers(learner: str, own: Tests, source: str, target: str) -> str:
    forward, backward = own[source, target], own[target, source]
    who = "Cells kept out of training"
    if learner != "groove":
        who = (
            "Training kept too few cells out to test the model itself. Instead, a learner in "
            "closed form saw half of the cells of each label. The other cells"
        )
    p_value = max(forward.p_value, backward.p_value)
    return (
        f"{who} have the label of their nearest cells of the other modality in {_share(forward)} "
        f"of {source} cells and in {_share(backward)} of {target} cells. By chance it would be "
        f"{forward.chance:.0%} and {backward.chance:.0%} ({in_words(p_value)} in the weaker "
        f"direction, {forward.n_labels} labels, labels weighed equally)."
    )


def _share(test: LabelTest) -> str:
    return f"{test.accuracy:.0%} (95% interval {test.low:.0%} to {test.high:.0%})"


def in_words(p_value: float) -> str:
    """Return a p value as a reader wants it."""
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.3f}"


def _strength(own: Tests) -> tuple[str, str]:
    """Grade a link that the tests have shown."""
    measured = min(skill(one.accuracy, one.chance) for one in own.values())
    if measured < NEAR_CHANCE:
        return "caution", (
            "This is better than chance, but by very little. Do not trust matches of single cells. "
            "At most, compare means of labels."
        )
    if measured < WEAK:
        return "caution", (
            "This is better than chance, but the link is weak: some labels are found and most are "
            "not. Trust no single match, and look at which labels stand apart in the pictures."
        )
    if measured < STRONG:
        text = "the link is moderate: most labels are found, some are confused."
    else:
        text = "the link is strong: the labels agree across modalities."
    return "good", f"This is better than chance, and {text}"


def _not_shown(numbers: str, own: Tests) -> Note:
    at_most = max(skill(one.high, one.chance) for one in own.values())
    passed = [f"{s} → {t}" for (s, t), one in own.items() if one.p_value <= ALPHA]
    if at_most >= WEAK and not passed:
        text = "Cannot tell: these cells are too few to tell a link from chance."
        end = "Take no match and no imputed value from this run as shown."
        return Note("caution", f"{numbers} {text} {end}")
    one_way = ""
    if passed:
        one_way = (
            f" Only the direction {passed[0]} passes. That also happens if one of the modalities "
            "has no trace of its labels, because its cells were learned by heart."
        )
    text = f"{numbers} This is not shown to be better than chance.{one_way}"
    return Note("problem", f"{text} Do not trust matches of single cells or imputed values.")


def read_mixing(mixing: float | None) -> list[Note]:
    """Say whether the modalities lie in different parts of the shared space."""
    if mixing is None or mixing >= APART:
        return []
    text = (
        f"The modalities lie apart in the shared space: {mixing:.0%} of the nearest neighbors of a "
        "cell are of the other modality (50% if they mixed). The decoder then reads values from "
        "places where it has seen no cell: imputed levels can be off. Compare with --impute "
        "barycentric."
    )
    return [Note("caution", text)]


def read_levels(agreement: pd.DataFrame | None) -> list[Note]:
    """Point out features whose imputed level is far from the measured one."""
    if agreement is None or "shift" not in agreement:
        return []
    far = agreement[agreement["shift"].abs() > SHIFT]
    if not len(far):
        return []
    worst = far.loc[far["shift"].abs().sort_values(ascending=False, kind="stable").index[:3]]
    named = [f"{r.Index} ({r.imputed:.3g}, measured {r.measured:.3g})" for r in worst.itertuples()]
    text = (
        f"The mean of {len(far)} of {len(agreement)} imputed features is more than one standard "
        f"deviation off the measured one: {', '.join(named)}. Compare cells with one another, not "
        "imputed with measured levels."
    )
    return [Note("caution", text)]


def read_coupling(evidence: Mapping[str, Any]) -> list[Note]:
    """Say whether the solver converged."""
    errors = [float(evidence[k]) for k in ("row_error", "column_error") if k in evidence]
    worst = max(errors, default=0.0)
    if bool(evidence.get("converged", True)) and worst <= MARGINAL_ERROR:
        return []
    advice = "Raise epsilon or the number of iterations in scgroove.tl.align."
    if worst - float(evidence.get("column_error_found", worst)) > MARGINAL_ERROR:
        advice = "Storing it sparse did that: raise top_k or lower threshold in scgroove.tl.align."
    text = f"its marginals are off by up to {worst:.1%} of the mass. {advice}"
    level = "problem" if worst > 0.05 else "caution"
    return [Note(level, f"The coupling did not converge: {text}")]


def read_imputation(results: Results) -> list[Note]:
    """Say how well imputed values follow measured ones, beside a baseline and a test."""
    agreement = results.agreement
    if agreement is None or not agreement["r"].notna().any():
        return []
    median = float(agreement["r"].median())
    if results.scores is not None:
        return [_imputed_cells(agreement, median, results.partner_test)]
    text = (
        f"Imputed and measured label means correlate with a median r of {median:.2f} over features."
    )
    if results.by_construction:
        return [
            Note(
                "construction",
                f"{text} A coupling within labels gives imputed cells the mean of their label, so "
                "this says nothing about the matching.",
            )
        ]
    return [_imputed_labels(text, results.agreement_test, results.label_mean_r)]


def _imputed_cells(agreement: pd.DataFrame, median: float, test: CorrelationTest | None) -> Note:
    text = (
        f"Imputed and measured values correlate with a median r of {median:.2f} over features "
        "(cells whose true value is known)."
    )
    baseline = float("nan")
    if "label_mean_r" in agreement and agreement["label_mean_r"].notna().any():
        baseline = float(agreement["label_mean_r"].median())
        text += (
            " The mean of the other cells of the same label, which needs no matching of cells, "
            f"reaches {max(baseline, 0.0):.2f}; the mean of the control cells, the same for all, "
            "correlates with nothing."
        )
    else:
        text += (
            " No correlation of the label mean can be given: it needs three labels of two cells or "
            "more."
        )
    if test is None or test.n_cells < FEWEST_CELLS:
        return Note(
            "caution", f"{text} Cannot tell whether more than the label is imputed: too few cells."
        )
    text += (
        f" With true values exchanged within labels, r is {_two_digits(test.null_mean)} ± "
        f"{test.null_sd:.2f} ({in_words(test.p_value)} against {test.r:.2f})."
    )
    if test.p_value > ALPHA:
        return Note("caution", f"{text} Nothing beyond the label is shown to be imputed.")
    if median <= baseline:
        return Note("caution", f"{text} The label mean does better.")
    if median < WEAK:
        return Note("caution", f"{text} This is better than chance, but low.")
    return Note("good", f"{text} This is better than chance.")


def _two_digits(value: float) -> str:
    return f"{round(value, 2) + 0.0:.2f}"  # no minus before zero


def _imputed_labels(text: str, test: CorrelationTest | None, label_mean_r: float | None) -> Note:
    if test is None or test.n_cells < FEWEST_CELLS:
        return Note(
            "caution",
            f"{text} The model has seen these labels. Cannot tell more: a test needs "
            f"{FEWEST_CELLS} cells kept out of training in each modality, with three shared "
            "labels.",
        )
    text += (
        f" For cells kept out of training r is {test.r:.2f}, and {_two_digits(test.null_mean)} ± "
        f"{test.null_sd:.2f} with labels permuted ({in_words(test.p_value)}, {test.n_points} "
        "labels)."
    )
    if label_mean_r is not None:
        text += (
            " The measured label mean, which needs no source cell, reaches "
            f"{_two_digits(label_mean_r)}; the mean of the control cells, the same for all labels, "
            "correlates with nothing."
        )
    if test.p_value > ALPHA:
        return Note("caution", f"{text} It is not shown to be better than chance.")
    if test.r < 0.5:
        return Note("caution", f"{text} This is better than chance, but low.")
    return Note("good", f"{text} This is better than chance.")


def read_scores(scores: pd.DataFrame | None) -> list[Note]:
    """Compare the matching with what is known to be true."""
    if scores is None:
        return []
    rows = scores[scores["metric"].astype(str).str.startswith("foscttm")]
    if not len(rows):
        return []
    row = rows.iloc[0]
    value, chance, n = float(row["value"]), float(row["chance"]), int(row["n"])
    within = " of the same label" if "within_label" in str(row["metric"]) else ""
    text = (
        "In the shared space, the true partner of a cell is on average nearer than "
        f"{1 - value:.0%} of the other cells{within} ({1 - chance:.0%} ± "
        f"{float(row['chance_sd']):.1%} by chance, {in_words(float(row['p_value']))}, {n:,} "
        "cells)."
    )
    if not within:
        text += " The label alone may tell that: no label has several cells whose partner is known."
        return [Note("caution", text)]
    if n < FEWEST_CELLS:
        return [Note("caution", f"{text} Cannot tell: a verdict needs {FEWEST_CELLS} cells.")]
    if not float(row["p_value"]) <= ALPHA:
        return [Note("caution", f"{text} It is not shown to be better than chance.")]
    if value > chance - 0.05:
        return [Note("caution", f"{text} This is better than chance, but by very little.")]
    return [Note("good", f"{text} This is better than chance.")]


def read_training(history: Mapping[str, Any] | None) -> list[Note]:
    """Look for a validation curve that rises, and for one that still falls."""
    curve = _series(history, "groupclip_validation")
    if curve is None or len(curve) < 10:
        return []
    start, best, last = float(curve.iloc[0]), float(curve.min()), float(curve.tail(3).mean())
    gained, found = start - best, []
    if gained > 0 and last - best > RISE * gained:
        epoch = int(curve.idxmin())
        text = (
            f"On cells kept out of training, GroupCLIP was lowest at epoch {epoch} and rose "
            "afterwards: the model learned labels by heart. Fewer epochs "
            f"(about {epoch}) may match better."
        )
        found.append(Note("caution", text))
    tenth = max(2, len(curve) // 10)
    recent = float(curve.iloc[-2 * tenth : -tenth].mean()) - float(curve.iloc[-tenth:].mean())
    if gained > 0 and recent > RISE * gained:
        text = "GroupCLIP was still falling at the last epoch: train longer (--epochs)."
        found.append(Note("caution", text))
    return found


def read_labels(labels: pd.DataFrame | None) -> list[Note]:
    """Point out labels with few cells, and how many labels say nothing about the link."""
    if labels is None:
        return []
    shared = labels[labels["status"] == "shared"].drop(columns="status")
    few = shared.index[shared.where(shared > 0).min(axis=1) < FEW_CELLS]
    found = []
    if len(few):
        names = some([str(label) for label in few], 6)
        text = f"Shared labels with fewer than {FEW_CELLS} cells in a modality: {names}."
        found.append(Note("caution", f"{text} Their matches are uncertain."))
    if len(shared) == 2:
        text = "Only 2 labels are shared. All that links the modalities is the labels they share."
        found.append(Note("caution", text))
    return found


def _series(history: Mapping[str, Any] | None, name: str) -> pd.Series | None:
    if not history or name not in history:
        return None
    values = history[name]
    series = values.iloc[:, 0] if isinstance(values, pd.DataFrame) else pd.Series(values)
    return series.astype(float).dropna()
