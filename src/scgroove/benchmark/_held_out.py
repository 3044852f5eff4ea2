"""Scores of cells that a learner has not seen, for metrics that labels remembered from training would raise."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scgroove import learners, metrics
from scgroove._labels import encode
from scgroove._types import FloatArray, IntArray
from scgroove.aligners import Coupling
from scgroove.benchmark._data import Loaded, some_cells
from scgroove.benchmark._evaluate import evaluate_coupling, evaluate_representation
from scgroove.benchmark._spec import LearnerSpec
from scgroove.learners.common import stratified_folds

N_FOLDS: Final = 3
"""Folds: labels of three cells, as real screens have them, are held out one cell at a time."""

Spaces = dict[str, FloatArray]
"""For each modality the representation of all of its cells, (n_m, k)."""


def folds_of(loaded: Loaded, seed: int) -> dict[str, IntArray]:
    """Return the fold of each source and target cell, dealt out label by label; cells that are the same share one."""
    rng = np.random.default_rng([seed, N_FOLDS])
    _, codes = encode(*loaded.observed)
    source, target = (stratified_folds(one, N_FOLDS, rng) for one in codes)
    if loaded.partner is not None:
        known = np.flatnonzero(loaded.partner >= 0)
        target[loaded.partner[known]] = source[known]
    return {loaded.source: source, loaded.target: target}


def represent(
    spec: LearnerSpec, loaded: Loaded, label_key: str, seed: int, told: bool
) -> list[Spaces]:
    """Return the representations of a learner fitted without the cells of one fold, for each fold.

    All cells are embedded without their labels: a learner that moves cells by their label leaves them where they are.
    """
    folds = folds_of(loaded, seed)
    found = []
    for fold in range(N_FOLDS):
        training = {m: np.flatnonzero(own != fold) for m, own in folds.items()}
        learner = spec.build()
        fitted = learner.fit(some_cells(loaded.handed(told), training), label_key, seed=seed)
        unlabeled = loaded.handed(told)
        for adata in unlabeled.mod.values():
            adata.obs[label_key] = pd.Series(
                [None] * adata.n_obs, index=adata.obs_names, dtype=object
            )
        spaces = fitted.transform(unlabeled)
        aligned = getattr(learner, "aligned", True)
        names = list(unlabeled.mod)
        checked = learners.check_output(spec.learner, spaces, unlabeled, names, aligned=aligned)
        found.append({m: np.asarray(z, dtype=np.float32) for m, z in checked.items()})
    return found


def held_out_representation(
    loaded: Loaded, spaces: Sequence[Spaces], names: Sequence[str], seed: int
) -> list[dict[str, Any]]:
    """Return scores of representations, one row a metric, each the mean over cells of the folds.

    Cells that were held out are compared with one another. Training cells lie where their labels are learned by
    heart, also those of a modality that has no trace of them.
    """
    rows: list[dict[str, Any]] = []
    for asked, part, z in _parts(loaded, spaces, names, seed):
        rows += evaluate_representation(part, z, asked, seed)
    return _pooled(rows, names)


def held_out_coupling(
    loaded: Loaded,
    spaces: Sequence[Spaces],
    names: Sequence[str],
    seed: int,
    couple: Callable[[Loaded, Mapping[str, FloatArray]], Coupling],
) -> list[dict[str, Any]]:
    """Return scores of couplings between the cells of each fold, one row a metric, each the mean over folds."""
    rows: list[dict[str, Any]] = []
    for asked, part, z in _parts(loaded, spaces, names, seed):
        rows += evaluate_coupling(part, z, couple(part, z), asked, seed)
    return _pooled(rows, names)


def _parts(
    loaded: Loaded, spaces: Sequence[Spaces], names: Sequence[str], seed: int
) -> Iterator[tuple[list[str], Loaded, Spaces]]:
    """Yield metrics, and the truth and the representations of the cells of a fold, made without them.

    No cell tells the label of its own other modality, which is near it and of the same label also where labels mean
    nothing: metrics of labels compare one half of the pairs in the source with the other half in the target.
    """
    by_label = [name for name in names if _compares_labels(name) and loaded.partner is not None]
    others = [name for name in names if name not in by_label]
    folds = folds_of(loaded, seed)
    for fold, z in enumerate(spaces):
        rows, columns = (np.flatnonzero(folds[m] == fold) for m in (loaded.source, loaded.target))
        if not rows.size or not columns.size:
            continue
        if others:
            yield others, *_part(loaded, z, rows, columns)
        if by_label:
            own, other = _halves(loaded, rows, columns, seed)
            for half in (True, False):
                yield by_label, *_part(loaded, z, rows[own == half], columns[other != half])


def _compares_labels(name: str) -> bool:
    needs = metrics.METRICS.get(name).needs
    return "labels" in needs and "partner" not in needs


def _part(loaded: Loaded, z: Spaces, rows: IntArray, columns: IntArray) -> tuple[Loaded, Spaces]:
    spaces = {loaded.source: z[loaded.source][rows], loaded.target: z[loaded.target][columns]}
    return loaded.part(rows, columns), spaces


def _halves(
    loaded: Loaded, rows: IntArray, columns: IntArray, seed: int
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return a half for each of some source and target cells, dealt out label by label; the same cell is in one."""
    rng = np.random.default_rng([seed, N_FOLDS, 2])
    part = loaded.part(rows, columns)
    _, codes = encode(*part.observed)
    source, target = (stratified_folds(one, 2, rng).astype(bool) for one in codes)
    if part.partner is not None:
        known = np.flatnonzero(part.partner >= 0)
        target[part.partner[known]] = source[known]
    return source, target


def _pooled(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[dict[str, Any]]:
    """Return one row a metric: means over folds, weighted by what was scored; folds vary on their own."""
    found = []
    for name in names:
        own = [row for row in rows if row["metric"] == name]
        if not own:
            continue
        n = np.array([row["n"] for row in own])
        weight = n / n.sum()
        value, chance, sd = (
            np.array([row[key] for row in own]) for key in ("value", "chance", "chance_sd")
        )
        row = {
            **own[0],
            "value": float(weight @ value),
            "chance": float(weight @ chance),
            "chance_sd": float(np.sqrt(weight**2 @ sd**2)),
            "n": int(n.sum()),
        }
        found.append(row)
    return found
