"""Tests of whether labels are told across modalities better than by chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from scipy.stats import beta, permutation_test

from scgroove._labels import UNLABELED, encode
from scgroove._types import Float64Array, FloatArray, IntArray, Labels
from scgroove.errors import InputError, MissingTruthError
from scgroove.metrics._candidates import BLOCK_VALUES
from scgroove.metrics._chance import class_chance

ALPHA: Final = 0.05
"""A test with a larger p value shows nothing."""

FEWEST_CELLS: Final = 20
"""With fewer held-out cells in a direction, no verdict is given."""

LabelVerdict: TypeAlias = Literal["better than chance", "not shown", "cannot tell"]


@dataclass(frozen=True)
class LabelTest:
    """Labels of held-out cells, told from cells of the other modality, against chance.

    Attributes
    ----------
    accuracy
        Balanced: the mean over the labels of the share of their cells that are told rightly.
    low, high
        95 % interval of the accuracy.
    chance, chance_sd
        Mean and standard deviation of the accuracy if the true labels are permuted among the cells.
    p_value
        Share of permutations that are at least as accurate; one-sided.
    n_cells, n_labels
        Held-out cells, and labels that they have.
    """

    accuracy: float
    low: float
    high: float
    chance: float
    chance_sd: float
    p_value: float
    n_cells: int
    n_labels: int


def label_test(
    predicted: Labels, truth: Labels, *, n_permutations: int = 1999, seed: int = 0
) -> LabelTest:
    """Test whether labels of held-out cells are told better than by chance.

    The true labels are permuted among the held-out cells, while what was told stays. That keeps the number
    of cells of each label and everything that cells share through their neighbors. It is exact if the
    labels of the tested cells played no part in what was told for them: neither in training nor as votes.

    Parameters
    ----------
    predicted, truth
        Label that was told for each held-out cell and the true one, (n,). Cells without a true label are
        left out. A cell without a told label counts as wrong.
    n_permutations
        The smallest possible p value is one over this number plus one. All permutations are taken if
        there are no more than this number.
    seed
        The same seed draws the same permutations.

    Returns
    -------
    LabelTest

    Raises
    ------
    ValueError
        If the two are not of equal length, or no cell has a true label.

    See Also
    --------
    label_verdict : what the tests of both directions show.

    References
    ----------
    Ojala and Garriga 2010, "Permutation tests for studying classifier performance". The interval is that of
    Clopper and Pearson for the number of cells that would estimate a share as exactly: Korn and Graubard
    1998, "Confidence intervals for proportions with small expected number of positive counts".

    Examples
    --------
    >>> found = label_test(["a"] * 9 + ["b"] * 11, ["a"] * 10 + ["b"] * 10)
    >>> round(found.accuracy, 3), round(found.chance, 3), found.p_value < 0.01
    (0.95, 0.5, True)
    """
    _, (told, true) = encode(predicted, truth)
    if told.size != true.size:
        raise InputError(
            f"predicted and truth must be of the same cells; found {told.size} and {true.size} labels."
        )
    told, true = told[true != UNLABELED], true[true != UNLABELED]
    if not true.size:
        raise MissingTruthError("no held-out cell has a true label, so that nothing can be tested.")
    counts = np.bincount(true, minlength=max(told.max(), true.max()) + 1)
    n_labels = int(np.count_nonzero(counts))
    gain: Float64Array = np.divide(
        1.0, counts * n_labels, where=counts > 0, out=np.zeros(counts.size)
    )
    accuracy = float(gain[true][told == true].sum())
    told_counts = np.bincount(told[told >= 0], minlength=counts.size)
    # what was told for no cell stands in a column of its own, which no true label meets
    by_chance = class_chance(
        np.vstack([np.diag(gain), np.zeros(counts.size)]),
        np.append(told_counts, true.size - told_counts.sum()),
        counts,
    )
    effective = n_labels**2 / (1.0 / counts[counts > 0]).sum()
    low, high = _interval(accuracy, float(effective))
    p_value = _p_value(told, true, gain, n_permutations, seed)
    return LabelTest(
        accuracy, low, high, by_chance.mean, by_chance.sd, p_value, int(true.size), n_labels
    )


def label_verdict(tests: Sequence[LabelTest]) -> LabelVerdict:
    """Return what the tests of both directions show together.

    Both must pass. A modality without any trace of its labels can look linked in one direction, if its
    own cells were learned by heart together with their labels and then vote. In the other direction its
    held-out cells are asked, and those are right by chance only.

    Parameters
    ----------
    tests
        One for each direction.

    Returns
    -------
    str
        ``"cannot tell"`` if a direction has fewer than 20 cells or fewer than two labels, or none was tested;
        ``"better than chance"`` if the larger of the p values is at most 0.05; else ``"not shown"``.

    References
    ----------
    Berger 1982, "Multiparameter hypothesis testing and acceptance sampling" (the intersection-union test).
    """
    few = [one.n_cells < FEWEST_CELLS or one.n_labels < 2 for one in tests]
    if not few or any(few):
        return "cannot tell"
    return "better than chance" if max(one.p_value for one in tests) <= ALPHA else "not shown"


def told_labels(
    queries: npt.ArrayLike,
    voters: npt.ArrayLike,
    labels: Labels,
    *,
    n_neighbors: int = 15,
    metric: Literal["euclidean", "cosine"] = "euclidean",
) -> npt.NDArray[np.object_]:
    """Return the label that the nearest cells of the other modality give to each query.

    A vote weighs one over the number of cells of its label, so that abundant labels do not win by number.

    Parameters
    ----------
    queries, voters
        Representations in one space, (n, d) and (m, d).
    labels
        Of the voters, (m,); those without a label do not vote.
    n_neighbors
        Voters asked; all of them if there are fewer.
    metric
        ``"euclidean"`` or ``"cosine"``.

    Returns
    -------
    ndarray
        Names of labels, (n,); None for all if no voter has a label.
    """
    from sklearn.neighbors import NearestNeighbors

    names, (codes,) = encode(labels)
    known = np.flatnonzero(codes >= 0)
    x, y = np.asarray(queries, dtype=float), np.asarray(voters, dtype=float)[known]
    if not known.size:
        return np.full(len(x), None, dtype=object)
    if metric == "euclidean":  # an offset would make squares, which are expanded inside, inexact
        x, y = x - y.mean(axis=0), y - y.mean(axis=0)
    search = NearestNeighbors(
        n_neighbors=min(n_neighbors, known.size), metric=metric, algorithm="brute"
    )
    nearest = search.fit(y).kneighbors_graph(x)
    weights = 1.0 / np.bincount(codes[known], minlength=len(names))
    votes = nearest @ sp.csr_matrix((weights[codes[known]], (np.arange(known.size), codes[known])))
    winner = np.asarray(sp.csr_matrix(votes).argmax(axis=1)).ravel()
    told: npt.NDArray[np.object_] = np.asarray(names, dtype=object)[winner]
    return told


def _interval(accuracy: float, n: float) -> tuple[float, float]:
    """Return the 95 % interval of Clopper and Pearson of a share of n cells; n need not be whole."""
    right = accuracy * n
    low = float(beta.ppf(0.025, right, n - right + 1)) if right > 0 else 0.0
    high = float(beta.ppf(0.975, right + 1, n - right)) if n - right > 1e-9 else 1.0
    return low, high


def _p_value(
    told: IntArray, true: IntArray, gain: Float64Array, n_permutations: int, seed: int
) -> float:
    value_if_right = np.where(told >= 0, gain[told], 0.0)

    def accuracy(permuted: FloatArray, axis: int = -1) -> Float64Array:
        found: Float64Array = np.where(permuted == told, value_if_right, 0.0).sum(axis=axis)
        return found

    test = permutation_test(
        (true,),
        accuracy,
        permutation_type="pairings",
        vectorized=True,
        alternative="greater",
        n_resamples=n_permutations,
        batch=max(1, BLOCK_VALUES // true.size),
        random_state=seed,
    )
    return float(test.pvalue)


@dataclass(frozen=True)
class CorrelationTest:
    """Imputed and measured values of held-out cells, against chance.

    Attributes
    ----------
    r
        Median over the features of Pearson's correlation.
    null_mean, null_sd
        Mean and standard deviation of ``r`` over the permutations.
    p_value
        Share of permutations with at least that correlation; one-sided.
    n_cells
        Cells that were compared: the smaller number of the two modalities.
    n_points
        What was correlated: labels, or cells.
    """

    r: float
    null_mean: float
    null_sd: float
    p_value: float
    n_cells: int
    n_points: int


def label_mean_test(
    imputed: npt.ArrayLike,
    measured: npt.ArrayLike,
    labels_imputed: Labels,
    labels_measured: Labels,
    *,
    n_permutations: int = 199,
    seed: int = 0,
) -> CorrelationTest:
    """Test whether label means of imputed and of measured values correlate better than by chance.

    The labels are permuted, once among the imputed cells and once among the measured ones. The larger of the
    two p values counts: values that carry no trace of the label in one modality must not pass. It is exact
    for cells whose labels played no part in training, and if no label was used to impute.

    Parameters
    ----------
    imputed, measured
        Values of held-out source and target cells, (n, d) and (m, d), of the same features.
    labels_imputed, labels_measured
        Label of each cell; None and NaN: unlabeled, left out.
    n_permutations, seed
        As for :func:`label_test`.

    Returns
    -------
    CorrelationTest

    Raises
    ------
    ValueError
        If fewer than three labels have cells in both, or no feature varies between them.
    """
    _, (own, other) = encode(labels_imputed, labels_measured)
    shared = np.intersect1d(own[own >= 0], other[other >= 0])
    if shared.size < 3:
        raise MissingTruthError(
            f"label means can be correlated over three labels or more; found {shared.size} in both modalities."
        )
    sides = []
    for values, codes in ((imputed, own), (measured, other)):
        rows = np.flatnonzero(np.isin(codes, shared))
        sides.append(
            (np.asarray(values, dtype=np.float64)[rows], np.searchsorted(shared, codes[rows]))
        )
    (x, in_x), (y, in_y) = sides
    of_x, of_y = _label_means(x, in_x), _label_means(y, in_y)
    r = _median_correlation(of_x, of_y)
    rng = np.random.default_rng(seed)
    drawn = np.array(
        [
            (
                _median_correlation(_label_means(x, rng.permutation(in_x)), of_y),
                _median_correlation(of_x, _label_means(y, rng.permutation(in_y))),
            )
            for _ in range(n_permutations)
        ]
    )
    p_value = float(_share_above(r, drawn).max())
    n_cells = min(len(x), len(y))
    return CorrelationTest(
        r, float(drawn.mean()), float(drawn.std()), p_value, n_cells, int(shared.size)
    )


def partner_test(
    imputed: npt.ArrayLike,
    measured: npt.ArrayLike,
    labels: Labels,
    *,
    n_permutations: int = 199,
    seed: int = 0,
) -> CorrelationTest:
    """Test whether imputed values tell cells of the same label apart better than by chance.

    Measured values are permuted among the cells of each label, so that what the label alone tells stays.

    Parameters
    ----------
    imputed, measured
        Values of the same cells in the same order, (n, d).
    labels
        Label of each cell; None and NaN: unlabeled, permuted among themselves.
    n_permutations, seed
        As for :func:`label_test`.

    Returns
    -------
    CorrelationTest

    Raises
    ------
    ValueError
        If there are fewer than three cells, or no feature varies between them.
    """
    x, y = (np.asarray(values, dtype=np.float64) for values in (imputed, measured))
    _, (codes,) = encode(labels)
    if len(x) < 3:
        raise MissingTruthError(
            f"values can be correlated over three cells or more; found {len(x)}."
        )
    r = _median_correlation(x, y)
    rng = np.random.default_rng(seed)
    order = np.argsort(codes, kind="stable")
    drawn = np.empty((n_permutations, 1))
    for i in range(n_permutations):
        within = np.empty(len(x), dtype=np.intp)
        within[order] = np.lexsort((rng.random(len(x)), codes))
        drawn[i] = _median_correlation(x, y[within])
    p_value = float(_share_above(r, drawn).max())
    return CorrelationTest(r, float(drawn.mean()), float(drawn.std()), p_value, len(x), len(x))


def _label_means(values: Float64Array, codes: IntArray) -> Float64Array:
    counts = np.bincount(codes)
    weights = sp.csr_matrix((1.0 / counts[codes], (codes, np.arange(codes.size))))
    means: Float64Array = weights @ values
    return means


def _median_correlation(x: Float64Array, y: Float64Array) -> float:
    """Return the median over columns of Pearson's r; columns that do not vary are left out."""
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    scale = np.sqrt((x**2).sum(axis=0) * (y**2).sum(axis=0))
    varies = scale > 1e-12
    if not varies.any():
        raise MissingTruthError("no feature varies, so that nothing can be correlated.")
    return float(np.median((x * y).sum(axis=0)[varies] / scale[varies]))


def _share_above(found: float, drawn: Float64Array) -> Float64Array:
    """Return one-sided p values of a permutation test, one a column."""
    above = (drawn >= found - 1e-12).sum(axis=0)
    shares: Float64Array = (1 + above) / (1 + len(drawn))
    return shares
