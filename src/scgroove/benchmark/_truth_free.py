"""Scores of a coupling that need no true pairs: what labels and the coupling itself say about it.

Each is the mean over labels of a value per label, higher is better, 0 is what the uniform coupling or a random one has, 1 is
perfect. How well each ranks aligners as the hidden truth does is measured in ``benchmarks/selection.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from scgroove._labels import encode, members
from scgroove._registry import Registry
from scgroove._types import Float64Array, IntArray, Labels
from scgroove.aligners import Coupling
from scgroove.errors import InputError

TruthFree = Callable[["Trial"], Float64Array]

TRUTH_FREE: Final[Registry[TruthFree]] = Registry("truth-free score")
"""Functions from a :class:`Trial` to one value per label, NaN where a label cannot be scored."""

MAX_CELLS: Final = 500
"""Cells of a label whose distances to one another are compared."""

RIDGE: Final = 1e-2
"""Penalty of the linear maps, relative to the variance of a dimension."""

FOLDS: Final = 5


@dataclass(frozen=True, eq=False)
class Trial:
    """A coupling, and what may be known when it is judged.

    Attributes
    ----------
    x, y
        Representations of source and target, (n_source, d) and (n_target, e); they need not share a space.
    codes_x, codes_y
        Label of each cell, -1 where it has none or it is not shared.
    n_labels
        Number of shared labels.
    coupling
        The coupling.
    projected
        Where the coupling sends each source cell, (n_source, e); NaN without mass.
    others
        The same of the other aligners.
    realign
        Couples again, with other labels of the cells.
    labeled
        Whether mass stays within labels.
    seed
        Random state.
    """

    x: Float64Array
    y: Float64Array
    codes_x: IntArray
    codes_y: IntArray
    n_labels: int
    coupling: Coupling
    projected: Float64Array
    others: Sequence[Float64Array]
    realign: Callable[[Labels | None, Labels | None], Coupling]
    labeled: bool
    seed: int

    def cells(self) -> list[tuple[IntArray, IntArray]]:
        """Return, for each label, its source cells that have mass, and its target cells."""
        sent = np.asarray(~np.isnan(self.projected).any(axis=1))
        pairs = zip(
            members(self.codes_x, self.n_labels), members(self.codes_y, self.n_labels), strict=True
        )
        return [(rows[sent[rows]], columns) for rows, columns in pairs]

    def per_label(
        self, score: Callable[[IntArray, IntArray], float], at_least: int = 4
    ) -> Float64Array:
        """Return a score of each label from its source and target cells; NaN where either are too few."""
        return np.array(
            [
                score(rows, columns) if min(rows.size, columns.size) >= at_least else np.nan
                for rows, columns in self.cells()
            ]
        )


def shared_codes(labels_x: Labels, labels_y: Labels) -> tuple[IntArray, IntArray, int]:
    """Return the codes of both modalities among their shared labels, and how many these are.

    Raises
    ------
    ValueError
        If no label is shared.
    """
    names, (codes_x, codes_y) = encode(labels_x, labels_y)
    shared = np.intersect1d(codes_x[codes_x >= 0], codes_y[codes_y >= 0])
    if shared.size == 0:
        raise InputError(
            f"source and target share no label among {len(names)} ({', '.join(names[:5])}, ...): truth-free scores need "
            f"labels that are in both. Labels are compared by name."
        )
    lookup = np.full(len(names) + 1, -1, dtype=np.intp)
    lookup[shared] = np.arange(shared.size)
    return lookup[codes_x], lookup[codes_y], int(shared.size)


@TRUTH_FREE.register("heldout_label_mass")
def heldout_label_mass(trial: Trial) -> Float64Array:
    """How much of the mass finds the right label when the aligner is not told it.

    Labels are merged at random, two by two, and cells are coupled again with the merged labels; of the mass within a merged
    label, the share that stays within the true one, over what the uniform coupling has: ``(mass - chance) / (1 - chance)``.
    For an unlabeled aligner the coupling itself is looked at, over all labels.
    """
    if not trial.labeled:
        return _right_mass(
            trial.coupling, trial.codes_x, trial.codes_y, np.zeros(trial.n_labels, dtype=np.intp)
        )
    if trial.n_labels < 2:
        return np.full(trial.n_labels, np.nan)
    order = np.random.default_rng(trial.seed).permutation(trial.n_labels)
    merged = np.empty(trial.n_labels, dtype=np.intp)
    merged[order] = np.minimum(np.arange(trial.n_labels) // 2, trial.n_labels // 2 - 1)
    coarse_x, coarse_y = (_coarse(codes, merged) for codes in (trial.codes_x, trial.codes_y))
    return _right_mass(trial.realign(coarse_x, coarse_y), trial.codes_x, trial.codes_y, merged)


def _coarse(codes: IntArray, merged: IntArray) -> npt.NDArray[Any]:
    out = np.full(codes.size, None, dtype=object)
    out[codes >= 0] = merged[codes[codes >= 0]]
    return out


def _right_mass(
    coupling: Coupling, codes_x: IntArray, codes_y: IntArray, merged: IntArray
) -> Float64Array:
    n = merged.size
    sizes_y = np.bincount(codes_y[codes_y >= 0], minlength=n)
    right, total = np.zeros(n), np.zeros(n)
    indicator = np.zeros((codes_y.size, n))
    indicator[np.flatnonzero(codes_y >= 0), codes_y[codes_y >= 0]] = 1.0
    share = coupling.push(indicator)  # (n_source, n_labels): where the mass of a cell goes
    known = (codes_x >= 0) & ~np.isnan(share).any(axis=1)
    np.add.at(right, codes_x[known], share[known, codes_x[known]])
    np.add.at(total, codes_x[known], share[known].sum(axis=1))
    pool = np.bincount(merged, weights=sizes_y, minlength=merged.max() + 1)[merged]
    chance = sizes_y / pool
    with np.errstate(invalid="ignore", divide="ignore"):
        found = (right / total - chance) / (1.0 - chance)
    return np.where((total > 0) & (chance < 1), found, np.nan)


@TRUTH_FREE.register("cycle_consistency")
def cycle_consistency(trial: Trial) -> Float64Array:
    """How much of a cell comes back from the other modality: 1 - error of there and back, over that of the label mean.

    A cell is sent to the target and back, ``x^ = P Q x`` with P the coupling with rows and Q with columns of sum 1. Any
    permutation of cells comes back whole, right or wrong: it punishes vague couplings and those that send many cells to one.
    """
    back = trial.coupling.push(trial.coupling.pull(trial.x))

    def score(rows: IntArray, _: IntArray) -> float:
        x = trial.x[rows]
        spread = ((x - x.mean(axis=0)) ** 2).sum()
        return float(1.0 - ((x - back[rows]) ** 2).sum() / spread) if spread > 0 else np.nan

    return trial.per_label(score)


@TRUTH_FREE.register("predictability")
def predictability(trial: Trial) -> Float64Array:
    """How much of the variance of target cells inside a label a linear map from source cells explains.

    Cross-validated ridge from x to where the coupling sends it, both around the means of their label; what a vague coupling
    averages away counts as not explained: ``1 - (error + lost variance) / variance of y``. Cells matched at random cannot be
    predicted.
    """
    means_x, means_y = (
        _means(trial.x, trial.codes_x, trial.n_labels),
        _means(trial.y, trial.codes_y, trial.n_labels),
    )
    used = np.flatnonzero((trial.codes_x >= 0) & ~np.isnan(trial.projected).any(axis=1))
    codes = trial.codes_x[used]
    inputs, sent = trial.x[used] - means_x[codes], trial.projected[used] - means_y[codes]
    error = np.full(trial.x.shape[0], np.nan)
    error[used] = ((sent - _cross_validated(inputs, sent, trial.seed)) ** 2).sum(axis=1)

    def score(rows: IntArray, columns: IntArray) -> float:
        label = trial.codes_x[rows[0]]
        around = ((trial.y[columns] - means_y[label]) ** 2).sum(axis=1).mean()
        kept = ((trial.projected[rows] - means_y[label]) ** 2).sum(axis=1).mean()
        return (
            float(1.0 - (error[rows].mean() + max(around - kept, 0.0)) / around)
            if around > 0
            else np.nan
        )

    return trial.per_label(score)


def _means(values: Float64Array, codes: IntArray, n: int) -> Float64Array:
    sums = np.zeros((n, values.shape[1]))
    np.add.at(sums, codes[codes >= 0], values[codes >= 0])
    counts = np.bincount(codes[codes >= 0], minlength=n)
    return np.asarray(sums / np.maximum(counts, 1)[:, None])


def _cross_validated(x: Float64Array, y: Float64Array, seed: int) -> Float64Array:
    """Return what ridge says of each row from the other folds."""
    out = np.zeros_like(y)
    folds = np.random.default_rng(seed).permutation(len(x)) % FOLDS
    for fold in range(FOLDS):
        test, train = folds == fold, folds != fold
        if not test.any() or not train.any():
            continue
        gram = x[train].T @ x[train]
        gram[np.diag_indices_from(gram)] += RIDGE * max(np.trace(gram) / len(gram), 1e-12)
        out[test] = x[test] @ np.linalg.solve(gram, x[train].T @ y[train])
    return out


@TRUTH_FREE.register("structure")
def structure(trial: Trial) -> Float64Array:
    """Whether cells that are near one another stay so: correlation of distances among the cells of a label, before and after.

    Of at most 500 cells a label. Pearson correlation of squared Euclidean distances in x with those between where the
    coupling sends the cells.
    """
    rng = np.random.default_rng(trial.seed)

    def score(rows: IntArray, _: IntArray) -> float:
        some = rng.permutation(rows)[:MAX_CELLS]
        return _correlation(_distances(trial.x[some]), _distances(trial.projected[some]))

    return trial.per_label(score, at_least=5)


def _distances(x: Float64Array) -> Float64Array:
    from scipy.spatial.distance import pdist

    return np.asarray(pdist(x, "sqeuclidean"))


def _correlation(x: Float64Array, y: Float64Array) -> float:
    x, y = x - x.mean(), y - y.mean()
    scale = np.sqrt((x * x).sum() * (y * y).sum())
    return float((x * y).sum() / scale) if scale > 1e-12 else 0.0


@TRUTH_FREE.register("sharpness")
def sharpness(trial: Trial) -> Float64Array:
    """How decided the coupling is, less what it misses of its marginals: ``1 - entropy / log m - marginal error``.

    m is the number of target cells of the label. A smaller eps sharpens any coupling, right or wrong.
    """
    entropy = trial.coupling.entropy()
    missed = sum(trial.coupling.marginal_errors())

    def score(rows: IntArray, columns: IntArray) -> float:
        return float(1.0 - np.nanmean(entropy[rows]) / np.log(columns.size) - missed)

    return trial.per_label(score)


@TRUTH_FREE.register("agreement")
def agreement(trial: Trial) -> Float64Array:
    """How alike other aligners send the cells of a label: mean correlation, around the mean of the label, over the others.

    NaN if there is no other aligner.
    """
    means = _means(trial.y, trial.codes_y, trial.n_labels)

    def score(rows: IntArray, _: IntArray) -> float:
        mean = means[trial.codes_x[rows[0]]]
        own = (trial.projected[rows] - mean).ravel()
        found = []
        for other in trial.others:
            theirs = (other[rows] - mean).ravel()
            both = ~np.isnan(theirs)
            if both.sum() > 2:
                found.append(_correlation(own[both], theirs[both]))
        return float(np.mean(found)) if found else np.nan

    return trial.per_label(score)


def score_all(
    trials: Mapping[str, Trial], scores: Sequence[str] | None = None
) -> dict[str, dict[str, Float64Array]]:
    """Return every score of every coupling: ``{coupling: {score: (n_labels,)}}``."""
    names = list(TRUTH_FREE.names()) if scores is None else list(scores)
    functions = {name: TRUTH_FREE.get(name) for name in names}
    return {
        one: {name: score(trial) for name, score in functions.items()}
        for one, trial in trials.items()
    }
