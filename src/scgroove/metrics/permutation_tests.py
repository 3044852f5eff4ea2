"""Permutation tests of labels and imputed values across modalities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from scipy.stats import beta, permutation_test

from scgroove._labels import encode
from scgroove._types import Float64Array, FloatArray, IntArray, Labels
from scgroove.errors import InputError, MissingTruthError
from scgroove.metrics._candidates import BLOCK_VALUES
from scgroove.metrics._chance import class_chance

ALPHA: Final = 0.05
"""A test with a larger p-value shows nothing."""

FEWEST_CELLS: Final = 20
"""With fewer held-out cells in a direction, no verdict is given."""

LabelVerdict: TypeAlias = Literal["better than chance", "not shown", "cannot tell"]


@dataclass(frozen=True)
class LabelTest:
    """Labels of held-out cells, predicted from cells of the other modality, against chance.

    ``accuracy`` is balanced, the mean over labels of the share of their right cells, with its 95 %
    interval ``low`` to ``high``. ``chance`` and ``chance_sd`` are its mean and standard deviation
    if the true labels are permuted. ``p_value`` is one-sided.
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
    """Test whether labels of held-out cells are predicted better than by chance.

    The true labels are permuted among the held-out cells, while the predictions stay. That keeps
    the number of cells of each label and everything that cells share through their neighbors. It is
    exact if the labels of the tested cells played no part in their predictions: neither in training
    nor as votes.

    Parameters
    ----------
    predicted, truth
        Predicted and true label of each held-out cell, (n,). Cells without a true label are left
        out. A cell without a prediction counts as wrong.
    n_permutations
        The smallest possible p-value is one over this number plus one. All permutations are taken
        if there are no more than this number.
    seed
        The same seed draws the same permutations.

    Returns
    -------
    LabelTest
        ``accuracy`` (balanced), ``low``, ``high``, ``chance``, ``chance_sd``, ``p_value``, ...

    Raises
    ------
    ValueError
        If the two are not of equal length, or no cell has a true label.

    See Also
    --------
    label_verdict : verdict of the tests of both directions.

    References
    ----------
    Ojala and Garriga 2010, "Permutation tests for studying classifier performance". The interval is
    that of Clopper and Pearson for the number of cells that would estimate a share as exactly: Korn
    and Graubard 1998, "Confidence intervals for proportions with small expected number of positive
    counts".

    Examples
    --------
    >>> test = label_test(["a"] * 9 + ["b"] * 11, ["a"] * 10 + ["b"] * 10)
    >>> round(test.accuracy, 3), round(test.chance, 3), test.p_value < 0.01
    (0.95, 0.5, True)
    """
    _, (guess, true) = encode(predicted, truth)
    if guess.size != true.size:
        raise InputError(
            f"predicted and truth must be of the same cells; found {guess.size} and {true.size} "
            f"labels."
        )
    guess, true = guess[true >= 0], true[true >= 0]
    if not true.size:
        raise MissingTruthError("no held-out cell has a true label, so that nothing can be tested.")
    counts = np.bincount(true, minlength=max(guess.max(), true.max()) + 1)
    n_labels = int(np.count_nonzero(counts))
    gain = 1.0 / (np.maximum(counts, 1) * n_labels) * (counts > 0)
    n_guessed = np.bincount(guess[guess >= 0], minlength=counts.size)
    # cells without a prediction are a class of their own, which no true label meets
    mean, sd = class_chance(
        np.vstack([np.diag(gain), np.zeros(counts.size)]),
        np.append(n_guessed, true.size - n_guessed.sum()),
        counts,
    )
    accuracy = float(gain[true][guess == true].sum())
    # Clopper and Pearson; scipy's binomtest takes whole numbers of cells only
    effective = float(n_labels**2 / (1.0 / counts[counts > 0]).sum())
    right = accuracy * effective
    wrong = effective - right
    low = float(beta.ppf(0.025, right, wrong + 1)) if right > 0 else 0.0
    high = float(beta.ppf(0.975, right + 1, wrong)) if wrong > 1e-9 else 1.0
    value_if_right = np.where(guess >= 0, gain[guess], 0.0)

    def accuracy_of(permuted: FloatArray, axis: int = -1) -> Float64Array:
        return np.asarray(np.where(permuted == guess, value_if_right, 0.0).sum(axis=axis))

    test = permutation_test(
        (true,),
        accuracy_of,
        permutation_type="pairings",
        vectorized=True,
        alternative="greater",
        n_resamples=n_permutations,
        batch=max(1, BLOCK_VALUES // true.size),
        random_state=seed,
    )
    return LabelTest(accuracy, low, high, mean, sd, float(test.pvalue), int(true.size), n_labels)


def label_verdict(tests: Sequence[LabelTest]) -> LabelVerdict:
    """Verdict of the label tests of both directions together.

    Both must pass. A modality without any trace of its labels can look linked in one direction, if
    its own cells were learned by heart together with their labels and then vote. In the other
    direction its held-out cells are asked, and those are right by chance only.

    Parameters
    ----------
    tests
        One for each direction.

    Returns
    -------
    str
        ``"cannot tell"`` if a direction has fewer than 20 cells or fewer than two labels, or none
        was tested. ``"better than chance"`` if the larger of the p-values is at most 0.05, else
        ``"not shown"``.

    References
    ----------
    Berger 1982, "Multiparameter hypothesis testing and acceptance sampling" (the intersection-union
    test).
    """
    few = [one.n_cells < FEWEST_CELLS or one.n_labels < 2 for one in tests]
    if not few or any(few):
        return "cannot tell"
    return "better than chance" if max(one.p_value for one in tests) <= ALPHA else "not shown"


@dataclass(frozen=True)
class CorrelationTest:
    """Imputed and measured values of held-out cells, against chance.

    ``r`` is the median over the features of Pearson's correlation over ``n_points`` labels or
    cells, ``null_mean`` and ``null_sd`` its mean and standard deviation over the permutations,
    ``p_value`` one-sided, ``n_cells`` the smaller number of cells of the two modalities.
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
    """Test whether label means of imputed and measured values correlate better than by chance.

    The labels are permuted, once among the imputed cells and once among the measured ones. The
    larger of the two p-values counts: values that carry no trace of the label in one modality must
    not pass. It is exact for cells whose labels played no part in training, and if no label was
    used to impute.

    Parameters
    ----------
    imputed, measured
        Values of held-out source and target cells, (n, d) and (m, d), of the same features.
    labels_imputed, labels_measured
        Label of each cell. None and NaN: unlabeled, left out.
    n_permutations, seed
        As for :func:`label_test`.

    Returns
    -------
    CorrelationTest
        ``r`` (median over the features), ``null_mean``, ``null_sd``, ``p_value``, ...

    Raises
    ------
    ValueError
        If fewer than three labels have cells in both, or no feature varies between them.
    """
    _, (own, other) = encode(labels_imputed, labels_measured)
    shared = np.intersect1d(own[own >= 0], other[other >= 0])
    if shared.size < 3:
        raise MissingTruthError(
            f"label means can be correlated over three labels or more; found {shared.size} in both "
            f"modalities."
        )
    rows, columns = np.flatnonzero(np.isin(own, shared)), np.flatnonzero(np.isin(other, shared))
    x, y = (
        np.asarray(imputed, dtype=np.float64)[rows],
        np.asarray(measured, dtype=np.float64)[columns],
    )
    in_x, in_y = np.searchsorted(shared, own[rows]), np.searchsorted(shared, other[columns])
    means_x, means_y = _label_means(x, in_x), _label_means(y, in_y)
    rng = np.random.default_rng(seed)
    drawn = np.empty((n_permutations, 2))
    for i in range(n_permutations):
        drawn[i, 0] = _median_correlation(_label_means(x, rng.permutation(in_x)), means_y)
        drawn[i, 1] = _median_correlation(means_x, _label_means(y, rng.permutation(in_y)))
    n_cells = min(rows.size, columns.size)
    return _tested(_median_correlation(means_x, means_y), drawn, n_cells, int(shared.size))


def partner_test(
    imputed: npt.ArrayLike,
    measured: npt.ArrayLike,
    labels: Labels,
    *,
    n_permutations: int = 199,
    seed: int = 0,
) -> CorrelationTest:
    """Test whether imputed values tell cells of the same label apart better than by chance.

    Measured values are permuted among the cells of each label, so that the part that the label
    alone tells stays.

    Parameters
    ----------
    imputed, measured
        Values of the same cells in the same order, (n, d).
    labels
        Label of each cell. None and NaN: unlabeled, permuted among themselves.
    n_permutations, seed
        As for :func:`label_test`.

    Returns
    -------
    CorrelationTest
        As for :func:`label_mean_test`.

    Raises
    ------
    ValueError
        If there are fewer than three cells, or no feature varies between them.
    """
    x, y = np.asarray(imputed, dtype=np.float64), np.asarray(measured, dtype=np.float64)
    _, (codes,) = encode(labels)
    if len(x) < 3:
        raise MissingTruthError(
            f"values can be correlated over three cells or more; found {len(x)}."
        )
    rng = np.random.default_rng(seed)
    order = np.argsort(codes, kind="stable")
    drawn, within = np.empty((n_permutations, 1)), np.empty(len(x), dtype=np.intp)
    for i in range(n_permutations):
        within[order] = np.lexsort((rng.random(len(x)), codes))
        drawn[i] = _median_correlation(x, y[within])
    return _tested(_median_correlation(x, y), drawn, len(x), len(x))


def _label_means(values: Float64Array, codes: IntArray) -> Float64Array:
    counts = np.bincount(codes)
    weights = sp.csr_matrix((1.0 / counts[codes], (codes, np.arange(codes.size))))
    return np.asarray(weights @ values)


def _median_correlation(x: Float64Array, y: Float64Array) -> float:
    """Return the median over columns of Pearson's r. Columns that do not vary are left out."""
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    scale = np.sqrt((x**2).sum(axis=0) * (y**2).sum(axis=0))
    varies = scale > 1e-12
    if not varies.any():
        raise MissingTruthError("no feature varies, so that nothing can be correlated.")
    return float(np.median((x * y).sum(axis=0)[varies] / scale[varies]))


def _tested(r: float, drawn: Float64Array, n_cells: int, n_points: int) -> CorrelationTest:
    """Return the test. Of several kinds of permutations (columns), the largest p-value counts."""
    p_values = (1 + (drawn >= r - 1e-12).sum(axis=0)) / (1 + len(drawn))
    p_value = float(p_values.max())
    return CorrelationTest(r, float(drawn.mean()), float(drawn.std()), p_value, n_cells, n_points)
