"""Energy distance between the distributions of predicted and of measured cells of a label."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from scipy.spatial.distance import cdist

from scgroove._labels import encode, members
from scgroove._types import Float64Array, IntArray, Labels
from scgroove.errors import InputError, MissingTruthError
from scgroove.metrics._candidates import METRICS, rows_per_block
from scgroove.metrics._chance import Chance, matching_variance
from scgroove.metrics._score import Found, Material, register
from scgroove.metrics.values import NaNPolicy, Values, complete_cells, dense

MAX_CELLS: Final = 1000
FEW_FEATURES: Final = 32
CHANCE_CELLS: Final = 200
CHANCE_LABELS: Final = 20


@METRICS.register("energy_distance")
def energy_distance(
    a: Values,
    b: Values,
    *,
    max_cells: int | None = MAX_CELLS,
    unbiased: bool = False,
    seed: int = 0,
    nan: NaNPolicy = "raise",
) -> float:
    """Return the energy distance between two samples of cells; 0 if they have the same distribution.

    ``2 E|a - b| - E|a - a'| - E|b - b'|`` with Euclidean distances, means over all pairs. (Its square root is a metric;
    SciPy's one-dimensional ``energy_distance`` is that root.)

    Parameters
    ----------
    a, b
        Values of cells, (n_a, f) and (n_b, f), dense or sparse. Cells need not be the same, nor as many.
    max_cells
        Larger samples are replaced by so many of their cells, drawn with ``seed``; None: exact, in time proportional to
        the product of the numbers of cells.
    unbiased
        Leave out the distance of a cell to itself. Then the mean is 0 for two samples of one distribution whatever their
        size, and a value may be slightly below 0; without, it is at least 0, and larger for smaller samples.
    seed
        The same seed draws the same cells.
    nan
        ``"raise"``: missing values are an error. ``"omit"``: cells with a missing value are left out.

    Returns
    -------
    float
        In the units of the features. At least 0, unless ``unbiased``.

    Raises
    ------
    ValueError
        If the numbers of features differ, a sample has no cell (two if ``unbiased``), ``max_cells`` is below 2, or a value
        is missing.

    References
    ----------
    Székely and Rizzo 2013, "Energy statistics: a class of statistics based on distances", section 2.

    Examples
    --------
    >>> energy_distance([[0.0], [1.0]], [[0.0], [1.0]])
    0.0
    >>> energy_distance([[0.0]], [[3.0]])
    6.0
    """
    rng = np.random.default_rng(seed)
    samples = [
        _sample(*complete_cells(name, values, nan), _checked(max_cells), rng)
        for name, values in (("a", a), ("b", b))
    ]
    return _energy(*_same_features(*samples), unbiased=unbiased)


def energy_distance_per_label(
    predicted: Values,
    measured: Values,
    labels_predicted: Labels,
    labels_measured: Labels,
    *,
    max_cells: int | None = MAX_CELLS,
    unbiased: bool = False,
    seed: int = 0,
    nan: NaNPolicy = "raise",
) -> dict[str, float]:
    """Return :func:`energy_distance` between the predicted and the measured cells of each label.

    Expected values vary less than measurements (see the user guide, "Imputation"), so that even a perfect expectation has
    a distance above 0: compare methods, not with 0.

    Parameters
    ----------
    predicted, measured
        Values, (n_predicted, f) and (n_measured, f), dense or sparse. Scale features alike first, or those of large
        variance decide.
    labels_predicted, labels_measured
        Label of each cell; None and NaN mean unlabeled. Labels of one side only are left out.
    max_cells, unbiased, seed, nan
        As in :func:`energy_distance`; ``max_cells`` of each label and side.

    Returns
    -------
    dict
        For each label in both its distance, in the order of the names.

    Raises
    ------
    ValueError
        As :func:`energy_distance`, if labels do not fit, or no label is in both.

    References
    ----------
    Székely and Rizzo 2013, "Energy statistics: a class of statistics based on distances", section 2.

    Examples
    --------
    >>> energy_distance_per_label([[0.0], [1.0]], [[0.0], [3.0]], ["a", "b"], ["a", "b"])
    {'a': 0.0, 'b': 4.0}
    """
    names, samples = _by_label(
        predicted, measured, labels_predicted, labels_measured, _checked(max_cells), seed, nan
    )
    return {
        name: _energy(*pair, unbiased=unbiased) for name, pair in zip(names, samples, strict=True)
    }


def _by_label(
    predicted: Values,
    measured: Values,
    labels_predicted: Labels,
    labels_measured: Labels,
    max_cells: int | None,
    seed: int,
    nan: NaNPolicy,
) -> tuple[list[str], list[tuple[Float64Array, Float64Array]]]:
    """Return the labels that are in both, and the samples of predicted and measured cells of each."""
    sides = [
        complete_cells(*side, nan) for side in (("predicted", predicted), ("measured", measured))
    ]
    names, codes = encode(labels_predicted, labels_measured)
    for what, own, (values, _) in zip(
        ("labels_predicted", "labels_measured"), codes, sides, strict=True
    ):
        if own.size != values.shape[0]:
            raise InputError(
                f"{what} must hold one label a cell: expected {values.shape[0]}, found {own.size}."
            )
    groups = [members(own[cells], len(names)) for own, (_, cells) in zip(codes, sides, strict=True)]
    shared = [code for code in range(len(names)) if groups[0][code].size and groups[1][code].size]
    if not shared:
        raise MissingTruthError(
            "no label has both predicted and measured cells, so that no distributions can be compared. Labels are compared "
            "by name; are labels_predicted and labels_measured of one vocabulary?"
        )
    rng = np.random.default_rng(seed)
    samples = []
    for code in shared:
        pair = [
            _sample(values, cells[group[code]], max_cells, rng)
            for (values, cells), group in zip(sides, groups, strict=True)
        ]
        samples.append(_same_features(*pair))
    return [names[code] for code in shared], samples


def _checked(max_cells: int | None) -> int | None:
    if max_cells is not None and max_cells < 2:
        raise InputError(f"max_cells must be at least 2, or None for all cells; found {max_cells}.")
    return max_cells


def _sample(
    values: Any, cells: IntArray, max_cells: int | None, rng: np.random.Generator
) -> Float64Array:
    if max_cells is not None and cells.size > max_cells:
        cells = np.sort(rng.choice(cells, max_cells, replace=False))
    return dense(values[cells])


def _same_features(a: Float64Array, b: Float64Array) -> tuple[Float64Array, Float64Array]:
    if a.shape[1] != b.shape[1]:
        raise InputError(
            f"both samples must have the same features: found {a.shape[1]} and {b.shape[1]}."
        )
    return a, b


def _energy(a: Float64Array, b: Float64Array, *, unbiased: bool) -> float:
    return 2 * _between(a, b) - _within(a, unbiased=unbiased) - _within(b, unbiased=unbiased)


def _within(a: Float64Array, *, unbiased: bool) -> float:
    n = len(a)
    if n < 1 + unbiased:
        raise InputError(
            f"a sample needs {1 + unbiased} cells at least{' for unbiased=True' if unbiased else ''}; found {n}."
        )
    return _between(a, a) * (n / (n - 1) if unbiased else 1.0)


def _between(a: Float64Array, b: Float64Array) -> float:
    """Return the mean distance over all pairs, (n_a, n_b) of them, some rows at a time."""
    if not len(a) or not len(b):
        raise InputError("a sample needs 1 cell at least; found 0.")
    distances = _few_features if a.shape[1] <= FEW_FEATURES else _many_features
    step = rows_per_block(len(b), None)
    total = sum(
        float(distances(a[start : start + step], b).sum()) for start in range(0, len(a), step)
    )
    return total / (len(a) * len(b))


def _few_features(a: Float64Array, b: Float64Array) -> Float64Array:
    return np.asarray(cdist(a, b))


def _many_features(a: Float64Array, b: Float64Array) -> Float64Array:
    """Return distances through the inner products: exact to about 1e-8 of the size of the values, and ten times faster."""
    center = b.mean(axis=0)
    a, b = a - center, b - center
    squares = np.einsum("ij,ij->i", a, a)[:, None] + np.einsum("ij,ij->i", b, b) - 2 * (a @ b.T)
    return np.asarray(np.sqrt(np.maximum(squares, 0.0)))


@register(
    "energy_distance",
    kind="imputation",
    better="lower",
    perfect=0.0,
    needs=("predicted", "measured", "labels"),
    across_labels=True,
)
def _score(material: Material) -> Found:
    """Return the mean over labels; by chance: the predicted cells of each label are taken for those of another.

    Chance rests on 20 labels and 200 cells of each, at most; only the distance between the two sides depends on who is
    compared with whom, and its mean over pairs is not biased by a smaller sample.
    """
    names, samples = _by_label(
        material.predicted,
        material.measured,
        material.labels_x,  # type: ignore[arg-type]
        material.labels_y,  # type: ignore[arg-type]
        MAX_CELLS,
        material.seed,
        "omit",
    )
    n = len(names)
    within = [_within(a, unbiased=False) + _within(b, unbiased=False) for a, b in samples]
    value = float(np.mean([2 * _between(a, b) for a, b in samples]) - np.mean(within))
    rng = np.random.default_rng(material.seed)
    some = np.sort(rng.choice(n, min(n, CHANCE_LABELS), replace=False))
    few = [
        [_sample(s, np.arange(len(s)), CHANCE_CELLS, rng) for s in samples[label]] for label in some
    ]
    across = np.array([[2 * _between(p[0], m[1]) for m in few] for p in few])
    sd = float(np.sqrt(matching_variance(across, n, n, n))) / n
    return Found(value, Chance(float(across.mean() - np.mean(within)), sd), n)
