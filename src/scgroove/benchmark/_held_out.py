"""Scores of cells that a learner has not seen, for metrics that labels remembered from training would raise."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import pandas as pd

from scgroove import learners
from scgroove._labels import encode
from scgroove._types import FloatArray, IntArray
from scgroove.aligners import Coupling
from scgroove.benchmark._data import Loaded, some_cells
from scgroove.benchmark._evaluate import evaluate_coupling, evaluate_representation
from scgroove.benchmark._spec import LearnerSpec
from scgroove.learners._common import stratified_folds

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


def represent(spec: LearnerSpec, loaded: Loaded, label_key: str, seed: int, told: bool) -> list[Spaces]:
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
            adata.obs[label_key] = pd.Series([None] * adata.n_obs, index=adata.obs_names, dtype=object)
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
    for part, z in _parts(loaded, spaces, seed):
        rows += evaluate_representation(part, z, names, seed)
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
    for part, z in _parts(loaded, spaces, seed):
        rows += evaluate_coupling(part, z, couple(part, z), names, seed)
    return _pooled(rows, names)


def _parts(loaded: Loaded, spaces: Sequence[Spaces], seed: int) -> Iterator[tuple[Loaded, Spaces]]:
    """Yield the truth and the representations of the cells of each fold, made without them."""
    folds = folds_of(loaded, seed)
    for fold, z in enumerate(spaces):
        cells = {m: np.flatnonzero(own == fold) for m, own in folds.items()}
        if all(rows.size for rows in cells.values()):
            part = loaded.part(cells[loaded.source], cells[loaded.target])
            yield part, {m: z[m][rows] for m, rows in cells.items()}


def _pooled(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[dict[str, Any]]:
    """Return one row a metric: means over folds, weighted by what was scored; folds vary on their own."""
    found = []
    for name in names:
        own = [row for row in rows if row["metric"] == name]
        if not own:
            continue
        n = np.array([row["n"] for row in own])
        weight = n / n.sum()
        value, chance, sd = (np.array([row[key] for row in own]) for key in ("value", "chance", "chance_sd"))
        row = {
            **own[0],
            "value": float(weight @ value),
            "chance": float(weight @ chance),
            "chance_sd": float(np.sqrt(weight**2 @ sd**2)),
            "n": int(n.sum()),
        }
        found.append(row)
    return found
