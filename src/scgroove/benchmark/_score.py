"""Scores of one cell of the grid: over all cells, and over cells that a learner has not seen."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

import numpy as np
import pandas as pd

from scgroove import learners, metrics
from scgroove._labels import encode
from scgroove._types import FloatArray, IntArray
from scgroove.aligners import Coupling
from scgroove.benchmark._data import Loaded, some_cells
from scgroove.benchmark.spec import LearnerSpec
from scgroove.data.checks import modality_of
from scgroove.data.features import Features
from scgroove.learners.common import stratified_folds

N_FOLDS: Final = 3
"""Folds: labels of three cells, as real screens have them, are held out one cell at a time."""

Rows = list[dict[str, Any]]

Spaces = Mapping[str, FloatArray]
"""For each modality the representation of all of its cells, (n_m, k)."""


def score_representation(loaded: Loaded, spaces: Spaces, names: Sequence[str], seed: int) -> Rows:
    """Return the scores of a representation, one row a metric of its kind."""
    return _scores(loaded, names, "representation", seed, **_source_target(loaded, spaces))


def score_coupling(
    loaded: Loaded, spaces: Spaces, coupling: Coupling, names: Sequence[str], seed: int
) -> Rows:
    """Return the scores of a coupling and of the values that it imputes, one row a metric.

    Imputed values are barycentric, on the scale that learners see (counts normalized and logged,
    every feature standardized), and scored over the source cells that the coupling reaches.
    """
    pair = _source_target(loaded, spaces)
    rows = _scores(loaded, names, "coupling", seed, coupling=coupling, **pair)
    if not _of_kind(names, "imputation"):
        return rows
    adata = modality_of(loaded.hidden, loaded.target)
    measured = Features.fit(adata, loaded.target)(adata)
    predicted = coupling.push(measured)
    reached = ~np.isnan(predicted).any(axis=1)
    if not reached.any():
        return rows
    truth: dict[str, Any] = {"labels_x": loaded.labels[0][reached], "labels_y": loaded.labels[1]}
    if loaded.control is not None and loaded.control in truth["labels_x"]:
        truth["control"] = loaded.control
    if loaded.partner is not None and (loaded.partner[reached] >= 0).any():
        truth["partner"] = loaded.partner[reached]
    given = {"predicted": predicted[reached], "measured": measured, **truth}
    return rows + _evaluate(_of_kind(names, "imputation"), seed, given)


def _source_target(loaded: Loaded, spaces: Spaces) -> dict[str, FloatArray]:
    return {"x": spaces[loaded.source], "y": spaces[loaded.target]}


def _of_kind(names: Sequence[str], kind: str) -> list[str]:
    return [name for name in names if metrics.METRICS.get(name).kind == kind]


def _scores(loaded: Loaded, names: Sequence[str], kind: str, seed: int, **given: Any) -> Rows:
    truth: dict[str, Any] = {"labels_x": loaded.labels[0], "labels_y": loaded.labels[1]}
    if loaded.partner is not None:
        truth["partner"] = loaded.partner
    if loaded.latents is not None:
        truth["latent_x"], truth["latent_y"] = loaded.latents
    if loaded.doses is not None:
        truth["doses_x"], truth["doses_y"] = loaded.doses
    return _evaluate(_of_kind(names, kind), seed, given | truth)


def _evaluate(names: Sequence[str], seed: int, given: Mapping[str, Any]) -> Rows:
    if not names:
        return []
    found = metrics.scores(names, missing="skip", seed=seed, **given)
    return [{"metric": one.pop("name"), **one} for one in map(asdict, found)]


# -- cells that a learner has not seen ---------------------------------------------------------


def represent_folds(
    spec: LearnerSpec, loaded: Loaded, label_key: str, seed: int, with_truth: bool
) -> list[Spaces]:
    """Return the representations of a learner fitted without the cells of one fold, for each fold.

    All cells are embedded without their labels, so that a learner that moves cells by their label
    leaves them where they are.
    """
    folds = folds_of(loaded, seed)
    found: list[Spaces] = []
    for fold in range(N_FOLDS):
        training = {m: np.flatnonzero(own != fold) for m, own in folds.items()}
        learner = spec.build()
        fitted = learner.fit(some_cells(loaded.copy(with_truth), training), label_key, seed=seed)
        unlabeled = loaded.copy(with_truth)
        for adata in unlabeled.mod.values():
            adata.obs[label_key] = pd.Series(None, index=adata.obs_names, dtype=object)
        spaces = fitted.transform(unlabeled)
        aligned = getattr(learner, "aligned", True)
        names = list(unlabeled.mod)
        checked = learners.check_output(spec.learner, spaces, unlabeled, names, aligned=aligned)
        found.append({m: np.asarray(z, dtype=np.float32) for m, z in checked.items()})
    return found


def folds_of(loaded: Loaded, seed: int) -> dict[str, IntArray]:
    """Return the fold of each source and target cell, dealt out label by label."""
    source, target = _deal(loaded, N_FOLDS, [seed, N_FOLDS])
    return {loaded.source: source, loaded.target: target}


def _deal(loaded: Loaded, n: int, seed: list[int]) -> tuple[IntArray, IntArray]:
    """Deal cells into n parts, label by label. The same cell is in one part in both modalities."""
    rng = np.random.default_rng(seed)
    _, codes = encode(*loaded.observed)
    source, target = (stratified_folds(one, n, rng) for one in codes)
    if loaded.partner is not None:
        known = np.flatnonzero(loaded.partner >= 0)
        target[loaded.partner[known]] = source[known]
    return source, target


def score_held_out(
    loaded: Loaded,
    folds: Sequence[Spaces],
    names: Sequence[str],
    seed: int,
    score: Callable[[Loaded, Spaces, Sequence[str]], Rows],
) -> Rows:
    """Score the cells of each fold with one another, and return the mean over folds.

    Training cells are left out: they lie where their labels are learned by heart, also those of a
    modality that has no trace of them.
    """
    rows: Rows = []
    for asked, part, spaces in _parts(loaded, folds, names, seed):
        rows += score(part, spaces, asked)
    return _pooled(rows, names)


def _parts(
    loaded: Loaded, folds: Sequence[Spaces], names: Sequence[str], seed: int
) -> Iterator[tuple[list[str], Loaded, Spaces]]:
    """Yield metrics, and the truth and the representations of the cells of a fold.

    No cell may tell the label of its own other modality, which is near it also if labels mean
    nothing: metrics of labels compare one half of the pairs in the source with the other half in
    the target.
    """
    by_label = [name for name in names if loaded.partner is not None and _compares_labels(name)]
    others = [name for name in names if name not in by_label]
    assigned = folds_of(loaded, seed)
    for fold, spaces in enumerate(folds):
        rows, columns = (
            np.flatnonzero(assigned[m] == fold) for m in (loaded.source, loaded.target)
        )
        if not rows.size or not columns.size:
            continue
        if others:
            yield others, *_part(loaded, spaces, rows, columns)
        if by_label:
            own, other = _deal(loaded.part(rows, columns), 2, [seed, N_FOLDS, 2])
            for half in (0, 1):
                yield by_label, *_part(loaded, spaces, rows[own == half], columns[other != half])


def _compares_labels(name: str) -> bool:
    needs = metrics.METRICS.get(name).needs
    return "labels" in needs and "partner" not in needs


def _part(
    loaded: Loaded, spaces: Spaces, rows: IntArray, columns: IntArray
) -> tuple[Loaded, Spaces]:
    own = {loaded.source: spaces[loaded.source][rows]}
    return loaded.part(rows, columns), own | {loaded.target: spaces[loaded.target][columns]}


def _pooled(rows: Rows, names: Sequence[str]) -> Rows:
    """Return one row a metric: means over folds, weighted by the number of scored cells."""
    found: Rows = []
    for name in names:
        own = [row for row in rows if row["metric"] == name]
        if not own:
            continue
        n = np.array([row["n"] for row in own])
        weight = n / n.sum()
        sd = np.array([row["chance_sd"] for row in own])
        pooled = {
            "value": float(weight @ [row["value"] for row in own]),
            "chance": float(weight @ [row["chance"] for row in own]),
            "chance_sd": float(np.sqrt(weight**2 @ sd**2)),
            "n": int(n.sum()),
        }
        found.append({**own[0], **pooled})
    return found
