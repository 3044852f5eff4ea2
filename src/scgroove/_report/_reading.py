"""What the numbers of a run mean, in plain words.

The limits stand here and nowhere else, so that they can be argued about.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from scgroove._report._results import Note, Results

NEAR_CHANCE, WEAK, STRONG = 0.05, 0.3, 0.7
"""Skill, (accuracy - chance) / (1 - chance), beneath which a link is near chance, weak, or moderate."""

MARGINAL_ERROR = 1e-3
FEW_CELLS = 20
RISE = 0.1
APART = 0.1
SHIFT = 1.0


def notes(results: Results) -> list[Note]:
    """Everything that a reader should know first, the most important at the top."""
    found = [
        read_link(results.accuracy, results.held_out, results.settings.source, results.settings.target),
        *read_mixing(results.mixing),
        *read_coupling(results.evidence),
        *read_imputation(results.agreement, results.scores is not None),
        *read_levels(results.agreement),
        *read_scores(results.scores),
        *read_training(results.model.history if results.model is not None else None),
        *read_labels(results.labels),
    ]
    rank = {"problem": 0, "caution": 1, "good": 2}
    return [found[0], *sorted(found[1:], key=lambda note: rank[note.level])]


def skill(accuracy: float, chance: float) -> float:
    """Share of what is possible beyond chance: 0 at chance, 1 when every label is found."""
    return (accuracy - chance) / (1 - chance) if chance < 1 else math.nan


def read_link(accuracy: pd.DataFrame, held_out: pd.DataFrame | None, source: str, target: str) -> Note:
    """Judge from held-out cells where there are any, how strongly the labels link the modalities."""
    table = held_out if held_out is not None and len(held_out) else accuracy
    row = table[(table["source"] == source) & (table["target"] == target)].iloc[0]
    value, chance = float(row["balanced_accuracy"]), float(row["chance"])
    whose = "cells kept out of training" if table is held_out else "the cells used in training"
    numbers = (
        f"For {value:.0%} of {whose}, the nearest {target} cells have the label of the {source} cell "
        f"({chance:.0%} by chance, {int(row['n_labels'])} labels, labels weighed equally)."
    )
    measured = skill(value, chance)
    if math.isnan(measured):
        return Note("caution", f"{numbers} With a single shared label, nothing can be said about the link.")
    if measured < NEAR_CHANCE:
        return Note(
            "problem",
            f"{numbers} This is near chance: the link between the modalities is weak. Do not trust matches of "
            "single cells; at most, compare means of labels.",
        )
    if measured < WEAK:
        return Note(
            "caution",
            f"{numbers} This is better than chance, but the link is weak: some labels are found and most are "
            "not. Trust no single match; look at which labels stand apart in the pictures.",
        )
    if measured < STRONG:
        return Note("good", f"{numbers} The link is moderate: most labels are found, some are confused.")
    return Note("good", f"{numbers} The link is strong: the labels agree across modalities.")


def read_mixing(mixing: float | None) -> list[Note]:
    """Say whether the modalities lie in different parts of the shared space."""
    if mixing is None or mixing >= APART:
        return []
    return [
        Note(
            "caution",
            f"The modalities lie apart in the shared space: {mixing:.0%} of the nearest neighbours of a cell are of "
            "the other modality (50% if they mixed). The decoder then reads values from places where it has seen "
            "no cell: imputed levels can be off. Compare with --impute barycentric.",
        )
    ]


def read_levels(agreement: pd.DataFrame | None) -> list[Note]:
    """Point out features whose imputed level is far from the measured one."""
    if agreement is None or "shift" not in agreement:
        return []
    far = agreement[agreement["shift"].abs() > SHIFT]
    if not len(far):
        return []
    worst = far["shift"].abs().sort_values(ascending=False, kind="stable").index[:3]
    named = ", ".join(
        f"{name} ({far.loc[name, 'imputed']:.3g}, measured {far.loc[name, 'measured']:.3g})" for name in worst
    )
    return [
        Note(
            "caution",
            f"The mean of {len(far)} of {len(agreement)} imputed features is more than one standard deviation off "
            f"the measured one: {named}. Compare cells with one another, not imputed with measured levels.",
        )
    ]


def read_coupling(evidence: Mapping[str, Any]) -> list[Note]:
    """Say whether the solver did its work."""
    errors = [float(evidence[k]) for k in ("row_error", "column_error") if k in evidence]
    worst = max(errors, default=0.0)
    advice = "Raise epsilon or the number of iterations in scgroove.tl.align."
    if worst - float(evidence.get("column_error_found", worst)) > MARGINAL_ERROR:
        advice = "Storing it sparse did that: raise top_k or lower threshold in scgroove.tl.align."
    if not bool(evidence.get("converged", True)) or worst > MARGINAL_ERROR:
        return [
            Note(
                "problem" if worst > 0.05 else "caution",
                f"The coupling did not converge: its marginals are off by up to {worst:.1%} of the mass. "
                f"{advice}",
            )
        ]
    return []


def read_imputation(agreement: pd.DataFrame | None, truth: bool) -> list[Note]:
    """Say how well imputed values follow measured ones."""
    if agreement is None or not agreement["r"].notna().any():
        return []
    median = float(agreement["r"].median())
    points = "cells whose true value is known" if truth else "label means"
    text = f"Imputed and measured values correlate with a median r of {median:.2f} over features ({points})."
    if truth and agreement["label_mean_r"].notna().any():
        baseline = float(agreement["label_mean_r"].median())
        text += f" The mean of the other cells of the same label, which needs no matching of cells, reaches {baseline:.2f}."
        better = median > baseline
        return [Note("good" if better else "caution", text)]
    if truth:
        return [Note("good" if median >= 0.5 else "caution", text)]
    if median < 0.5:
        return [Note("caution", f"{text} That is low, although the model has seen these labels.")]
    return [Note("good", f"{text} The model has seen these labels, so this is a check, not a proof.")]


def read_scores(scores: pd.DataFrame | None) -> list[Note]:
    """Compare the matching with what is known to be true."""
    if scores is None:
        return []
    rows = scores[scores["metric"].astype(str).str.startswith("foscttm")]
    if not len(rows):
        return []
    value, chance = float(rows["value"].iloc[0]), float(rows["chance"].iloc[0])
    within = " of the same label" if "within_label" in str(rows["metric"].iloc[0]) else ""
    text = (
        f"In the shared space, the true partner of a cell is on average nearer than {1 - value:.0%} of the other "
        f"cells{within} ({1 - chance:.0%} by chance)."
    )
    if not within:
        text += " The label alone may tell that: no label has several cells whose partner is known."
    return [Note("good" if within and value < chance - 0.05 else "caution", text)]


def read_training(history: Mapping[str, Any] | None) -> list[Note]:
    """Look for a validation curve that rises, and for one that still falls."""
    curve = _series(history, "groupclip_validation")
    if curve is None or len(curve) < 10:
        return []
    start, best, last = float(curve.iloc[0]), float(curve.min()), float(curve.tail(3).mean())
    gained = start - best
    found = []
    if gained > 0 and last - best > RISE * gained:
        epoch = int(curve.idxmin())
        found.append(
            Note(
                "caution",
                f"On cells kept out of training, GroupCLIP was lowest at epoch {epoch} and rose afterwards: the "
                f"model learned labels by heart. Fewer epochs (about {epoch}) may match better.",
            )
        )
    tenth = max(2, len(curve) // 10)
    recent = float(curve.iloc[-2 * tenth : -tenth].mean()) - float(curve.iloc[-tenth:].mean())
    if gained > 0 and recent > RISE * gained:
        found.append(
            Note("caution", "GroupCLIP was still falling at the last epoch: train longer (--epochs).")
        )
    return found


def read_labels(labels: pd.DataFrame | None) -> list[Note]:
    """Point out labels with few cells, and how many labels say nothing about the link."""
    if labels is None:
        return []
    counts = labels.drop(columns="status")
    shared = counts[labels["status"] == "shared"]
    few = shared.index[(shared.where(shared > 0).min(axis=1) < FEW_CELLS)]
    found = []
    if len(few):
        names = ", ".join(map(str, few[:6])) + (f" and {len(few) - 6} more" if len(few) > 6 else "")
        found.append(
            Note(
                "caution",
                f"Shared labels with fewer than {FEW_CELLS} cells in a modality: {names}. Their matches are uncertain.",
            )
        )
    if len(shared) < 3:
        found.append(
            Note(
                "caution",
                f"Only {len(shared)} label{'s are' if len(shared) != 1 else ' is'} shared. All that links the modalities is the labels they share.",
            )
        )
    return found


def _series(history: Mapping[str, Any] | None, name: str) -> pd.Series | None:
    if not history or name not in history:
        return None
    values = history[name]
    series = values.iloc[:, 0] if isinstance(values, pd.DataFrame) else pd.Series(values)
    return series.astype(float).dropna()
