"""Choice of an aligner without true pairs: what labels and the couplings themselves say."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from scgroove._labels import encode, members
from scgroove._types import Float64Array, IntArray, Labels
from scgroove._warnings import warn
from scgroove.aligners import Coupling
from scgroove.benchmark.spec import AlignerSpec
from scgroove.errors import InputError, ResultsWarning, UnknownNameError

if TYPE_CHECKING:
    from collections.abc import Iterator

CANDIDATES: Final = ("emd", "eot", "egw", "coot", "snn")
"""Aligners that are tried by default."""

FLOORS: Final = ("random", "uniform")
"""Aligners whose agreement with others means nothing."""

RIDGE: Final = 1e-2
"""Penalty of the linear maps, relative to the variance of a dimension."""

FOLDS: Final = 5
FEWEST_CELLS: Final = 4

Score = Literal["agreement", "predictability"]


@dataclass(frozen=True, eq=False)
class Trial:
    """A coupling, and the data by which it is judged.

    Attributes
    ----------
    x, y
        Representations of source and target, (n_source, d) and (n_target, e).
    codes_x, codes_y
        Shared label of each cell, -1 for none.
    n_labels
        Number of shared labels.
    coupling
        The coupling.
    projected
        Barycentric projection of each source cell, (n_source, e). NaN without mass.
    others
        The projections of the other aligners.
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
    seed: int

    def cells(self) -> Iterator[tuple[int, IntArray, IntArray]]:
        """Yield each label with its source cells that have mass, and its target cells."""
        sent = np.asarray(~np.isnan(self.projected).any(axis=1))
        sides = members(self.codes_x, self.n_labels), members(self.codes_y, self.n_labels)
        for label, (rows, columns) in enumerate(zip(*sides, strict=True)):
            yield label, rows[sent[rows]], columns

    def per_label(self, score: Callable[[int, IntArray, IntArray], float]) -> Float64Array:
        """Return a score of each label. NaN with too few source or target cells."""
        found = np.full(self.n_labels, np.nan)
        for label, rows, columns in self.cells():
            if min(rows.size, columns.size) >= FEWEST_CELLS:
                found[label] = score(label, rows, columns)
        return found


def agreement(trial: Trial) -> Float64Array:
    """Mean correlation with the projections of other aligners, around the mean of the label.

    One value a label, 1 is best. NaN without other aligners.
    """
    means = label_means(trial.y, trial.codes_y, trial.n_labels)

    def score(label: int, rows: IntArray, columns: IntArray) -> float:
        own = (trial.projected[rows] - means[label]).ravel()
        found = []
        for other in trial.others:
            theirs = (other[rows] - means[label]).ravel()
            both = ~np.isnan(theirs)
            if both.sum() > 2:
                found.append(correlation(own[both], theirs[both]))
        return float(np.mean(found)) if found else np.nan

    return trial.per_label(score)


def predictability(trial: Trial) -> Float64Array:
    """Share of the variance of target cells inside a label that a linear map from x explains.

    Cross-validated ridge regression from x to the projection, both around the means of their
    label. The variance that a vague coupling averages away counts as not explained:
    ``1 - (error + lost variance) / variance of y``. One value a label, 1 is best.
    """
    means_x = label_means(trial.x, trial.codes_x, trial.n_labels)
    means_y = label_means(trial.y, trial.codes_y, trial.n_labels)
    used = np.flatnonzero((trial.codes_x >= 0) & ~np.isnan(trial.projected).any(axis=1))
    codes = trial.codes_x[used]
    inputs, sent = trial.x[used] - means_x[codes], trial.projected[used] - means_y[codes]
    predicted = np.zeros_like(sent)
    folds = np.random.default_rng(trial.seed).permutation(len(used)) % FOLDS
    for fold in range(FOLDS):
        test, train = folds == fold, folds != fold
        if test.any() and train.any():
            gram = inputs[train].T @ inputs[train]
            gram[np.diag_indices_from(gram)] += RIDGE * max(np.trace(gram) / len(gram), 1e-12)
            predicted[test] = inputs[test] @ np.linalg.solve(gram, inputs[train].T @ sent[train])
    error = np.full(trial.x.shape[0], np.nan)
    error[used] = ((sent - predicted) ** 2).sum(axis=1)

    def score(label: int, rows: IntArray, columns: IntArray) -> float:
        around = ((trial.y[columns] - means_y[label]) ** 2).sum(axis=1).mean()
        left = ((trial.projected[rows] - means_y[label]) ** 2).sum(axis=1).mean()
        unexplained = error[rows].mean() + max(around - left, 0.0)
        return float(1.0 - unexplained / around) if around > 0 else np.nan

    return trial.per_label(score)


SCORES: Final[Mapping[str, Callable[[Trial], Float64Array]]] = {
    "agreement": agreement,
    "predictability": predictability,
}
"""Scores that need no true pairs. ``benchmarks/selection.py`` measures how well they rank."""


def label_means(values: Float64Array, codes: IntArray, n: int) -> Float64Array:
    """Return the mean of the cells of each label, (n, d). 0 without cells."""
    sums = np.zeros((n, values.shape[1]))
    np.add.at(sums, codes[codes >= 0], values[codes >= 0])
    counts = np.bincount(codes[codes >= 0], minlength=n)
    return np.asarray(sums / np.maximum(counts, 1)[:, None])


def correlation(x: Float64Array, y: Float64Array) -> float:
    """Pearson's r. 0 if one side is constant."""
    x, y = x - x.mean(), y - y.mean()
    scale = np.sqrt((x * x).sum() * (y * y).sum())
    return float((x * y).sum() / scale) if scale > 1e-12 else 0.0


@dataclass(frozen=True, eq=False)
class Selection:
    """The chosen aligner, and how sure the choice is.

    Attributes
    ----------
    best
        Name of the aligner with the highest score.
    score
        Name of the score it was chosen by.
    confidence
        Share of bootstrap samples of the labels in which it has the highest score too. It says
        how sure the order of the scores is, not that the score is right.
    runner_up
        The aligner that is first most often in the other samples. Empty if there is none.
    table
        One row an aligner, best first: ``rank``, both scores (means over labels), ``first``
        (share of bootstrap samples in which it is first), ``seconds``, ``converged``.
    couplings
        The couplings by name.
    n_labels
        Labels that the scores are means over: with few, the confidence is worth little.
    """

    best: str
    score: str
    confidence: float
    runner_up: str
    table: pd.DataFrame
    couplings: Mapping[str, Coupling]
    n_labels: int

    def __repr__(self) -> str:
        """Return the choice in one line."""
        return (
            f"Selection({self.best!r} by {self.score}, confidence {self.confidence:.2f} over "
            f"{self.n_labels} labels, runner-up {self.runner_up!r})"
        )


def select(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    labels_x: Labels,
    labels_y: Labels,
    candidates: str | AlignerSpec | Sequence[AlignerSpec | str] = CANDIDATES,
    *,
    score: Score | None = None,
    n_boot: int = 1000,
    seed: int = 0,
) -> Selection:
    """Couple with every candidate, score each without true pairs, and return the best.

    Parameters
    ----------
    x, y
        Representations of source and target, (n_source, d) and (n_target, e).
    labels_x, labels_y
        Label of each cell. None and NaN mean unlabeled.
    candidates
        Names of aligners, or :class:`AlignerSpec` with options.
    score
        Default ``"agreement"``, which ranks best by the place that cells are moved to. Between two
        candidates, or with ``"random"`` or ``"uniform"`` among them, ``"predictability"``, also
        the better one for single partners.
    n_boot
        Bootstrap samples of the labels.
    seed
        Random state.

    Raises
    ------
    InputError
        If a name is unknown, fewer than two candidates are given or could be run, no label is
        shared, or no label could be scored for all of them.

    Warns
    -----
    ResultsWarning
        If a candidate fails: it is left out.
    """
    if score is not None and score not in SCORES:
        raise UnknownNameError("truth-free score", score, SCORES)
    candidates = [candidates] if isinstance(candidates, str | AlignerSpec) else candidates
    specs = [AlignerSpec.named(one) if isinstance(one, str) else one for one in candidates]
    if len({spec.name for spec in specs}) < 2:
        raise InputError(
            "a choice needs two candidates or more, of different names; found "
            f"{[spec.name for spec in specs]}."
        )
    trials = make_trials(x, y, labels_x, labels_y, specs, seed)
    if score is None:
        floors = any(spec.method in FLOORS for spec in specs)
        score = "agreement" if len(trials) > 2 and not floors else "predictability"
    scored: dict[str, dict[str, Float64Array]] = {}
    for name, trial in trials.items():
        scored[name] = {key: compute(trial) for key, compute in SCORES.items()}
    values = np.array([scored[name][score] for name in trials])
    usable = ~np.isnan(values).any(axis=0)  # compared on the same labels
    if not usable.any():
        raise InputError(
            f"no label could be scored by {score!r} for every candidate: a label needs at least "
            f"{FEWEST_CELLS} cells on both sides, some of which the coupling reaches. Use labels "
            "with more cells, fewer candidates, or another score=."
        )
    values = values[:, usable]
    draws = np.random.default_rng(seed).integers(values.shape[1], size=(n_boot, values.shape[1]))
    means = values[:, draws].mean(axis=2)  # (n_aligners, n_boot)
    winners = means == means.max(axis=0)
    first = (winners / winners.sum(axis=0)).mean(axis=1)
    rows = {}
    for i, (name, trial) in enumerate(trials.items()):
        evidence = trial.coupling.evidence
        rows[name] = {key: pd.Series(per_label).mean() for key, per_label in scored[name].items()}
        rows[name][score] = float(values[i].mean())
        rows[name] |= {"first": float(first[i]), "seconds": float(evidence.get("seconds", np.nan))}
        rows[name]["converged"] = bool(evidence.get("converged", True))
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("aligner")
    table = table.sort_values([score, "first"], ascending=False)
    table.insert(0, "rank", np.arange(1, len(table) + 1))
    others = table["first"].iloc[1:]
    return Selection(
        best=str(table.index[0]),
        score=score,
        confidence=float(table["first"].iloc[0]),
        runner_up=str(others.idxmax()) if others.max() > 0 else "",
        table=table,
        couplings={name: trial.coupling for name, trial in trials.items()},
        n_labels=int(usable.sum()),
    )


def make_trials(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    labels_x: Labels,
    labels_y: Labels,
    specs: Sequence[AlignerSpec],
    seed: int,
) -> dict[str, Trial]:
    """Couple with every aligner. One that fails is left out with a warning."""
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    codes_x, codes_y, n_labels = shared_codes(labels_x, labels_y)
    couplings: dict[str, Coupling] = {}
    failed: list[str] = []
    for spec in specs:
        labels = (labels_x, labels_y) if spec.labeled else (None, None)
        try:
            couplings[spec.name] = spec.build(seed).align(x, y, *labels)
        except (ValueError, MemoryError, ArithmeticError) as error:
            failed.append(f"{spec.name}: {type(error).__name__}: {error}")
    if failed and len(couplings) < 2:
        raise InputError(f"fewer than two candidates could be run. {'; '.join(failed)}")
    if failed:
        said = "; ".join(failed)
        warn(f"left out of the choice, because they failed: {said}", ResultsWarning)
    projected = {name: coupling.push(y) for name, coupling in couplings.items()}
    trials = {}
    for name, coupling in couplings.items():
        others = [z for other, z in projected.items() if other != name]
        given = (x, y, codes_x, codes_y, n_labels, coupling, projected[name], others, seed)
        trials[name] = Trial(*given)
    return trials


def shared_codes(labels_x: Labels, labels_y: Labels) -> tuple[IntArray, IntArray, int]:
    """Return the codes of both modalities among their shared labels, and how many these are."""
    names, (codes_x, codes_y) = encode(labels_x, labels_y)
    shared = np.intersect1d(codes_x[codes_x >= 0], codes_y[codes_y >= 0])
    if shared.size == 0:
        raise InputError(
            f"source and target share no label among {len(names)} ({', '.join(names[:5])}, ...): "
            "truth-free scores need labels that are in both. Labels are compared by name."
        )
    lookup = np.full(len(names) + 1, -1, dtype=np.intp)
    lookup[shared] = np.arange(shared.size)
    return lookup[codes_x], lookup[codes_y], int(shared.size)
