"""The definitions of two peers, by name, so that numbers can be compared with theirs.

Perturb-OT (Ryu et al. 2024) pools all cells and goes from source to target only; the code of propensity score alignment
(PSA; Xi et al. 2024) stays within labels and averages over labels. In both, row i of one modality is the true match of row
i of the other. Where their definitions leave out or double something, so do these: for new results use the other metrics.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from scgroove._labels import encode, members
from scgroove._registry import Registry
from scgroove._types import Float64Array, IntArray, Labels
from scgroove.errors import InputError, MissingTruthError
from scgroove.metrics._barycentric import barycentric_projection
from scgroove.metrics._candidates import (
    Candidates,
    PlanLike,
    check_pair,
    rows_per_block,
    shape,
    slices,
)
from scgroove.metrics._correlation import correlate
from scgroove.metrics._dose_mass import dose_mass
from scgroove.metrics._ranks import FRACTION_BEFORE, count_nearer, pair_distance, projected_ranks
from scgroove.metrics._squared_error import mse, r2
from scgroove.metrics.values import Values, across_cells, across_features, check_pairs

PRESETS: Final[Registry[Callable[..., Any]]] = Registry("preset")
"""Peers' definitions by name."""


@PRESETS.register("perturbot_foscttm")
def perturbot_foscttm(
    plan: PlanLike | None,
    y: npt.ArrayLike,
    *,
    x: npt.ArrayLike | None = None,
    use_barycenter: bool = True,
) -> float:
    """Return FOSCTTM as Perturb-OT defines it: barycentric, all labels pooled, source to target only.

    ``mean_i r_i / (n - 1)``, r_i the position, from 0, of target i among all targets by distance to the projection of source
    cell i (ties share their mean position). Differs from :func:`barycentric_foscttm` with ``within_label=False`` in that a
    source cell without mass is projected to 0 and counted.

    Parameters
    ----------
    plan
        Coupling (n, n); not used, and may be None, without ``use_barycenter``.
    y
        Target coordinates (n, d).
    x
        Source coordinates (n, d), needed without ``use_barycenter``.
    use_barycenter
        Compare the projection of each source cell; else the source cell itself.

    Returns
    -------
    float
        0 is perfect. A coupling that is uniform within well separated labels is far below 0.5.

    Raises
    ------
    ValueError
        If shapes do not fit.

    References
    ----------
    Ryu et al. 2024, arXiv 2405.00838; Liu et al. 2019 (FOSCTTM).

    Examples
    --------
    >>> import numpy as np
    >>> perturbot_foscttm(np.eye(3), [[0.0], [1.0], [3.0]])
    0.0
    """
    if use_barycenter:
        if plan is None:
            raise InputError(
                "use_barycenter=True projects source cells with the coupling: pass plan."
            )
        _check_square(plan)
        y = np.asarray(y, dtype=np.float64)
        _check_length("y", y, plan.shape[0])
        query = barycentric_projection(plan, y)
        query[np.isnan(query).all(axis=1)] = 0.0  # cells without mass, as the peer has them
    elif x is None:
        raise InputError("use_barycenter=False compares the source cells themselves: pass x=.")
    else:
        query = np.asarray(x, dtype=np.float64)
    query, y = check_pair(query, y)
    if len(query) != len(y):
        raise InputError(
            f"row i of x is the true match of row i of y: found {len(query)} and {len(y)} rows."
        )
    n = len(y)
    everyone = Candidates(np.zeros(n, dtype=np.intp), np.zeros(n, dtype=np.intp))
    return float(FRACTION_BEFORE(projected_ranks(query, y, np.arange(n), everyone)).mean())


@PRESETS.register("perturbot_dose_fraction")
def perturbot_dose_fraction(
    plan: PlanLike,
    doses_x: npt.ArrayLike,
    doses_y: npt.ArrayLike,
    labels_x: Labels,
    labels_y: Labels,
) -> tuple[float, float]:
    """Return the mass between cells of equal label and dose, and where it lies between chance and perfect.

    The mass is that of the coupling as it is: the peer takes it for 1, which its own couplings not always have. Mass between
    labels is not counted.

    Parameters
    ----------
    plan
        Coupling (n, n), row i the true match of column i.
    doses_x, doses_y
        Dose of each cell, (n,), compared by name: 1 and 1.0 are the same. None and NaN mean unknown.
    labels_x, labels_y
        Label of each cell.

    Returns
    -------
    fraction
        Mass between cells of equal label and dose.
    relative
        ``(fraction - random) / (perfect - random)``, of which *random* is one mass for all pairs of equal label, and *perfect*
        the identity; both of mass 1. NaN where these are the same, as where a label has one dose.

    Raises
    ------
    ValueError
        If shapes do not fit, or no two cells have the same label.

    References
    ----------
    Ryu et al. 2024, arXiv 2405.00838, and its code.

    Examples
    --------
    >>> import numpy as np
    >>> perturbot_dose_fraction(np.eye(2) / 2, [0, 1], [0, 1], ["a", "a"], ["a", "a"])
    (1.0, 1.0)
    """
    _check_square(plan)
    found = dose_mass(plan, doses_x, doses_y, labels_x, labels_y)
    return found.fraction, found.relative(found.fraction)


@PRESETS.register("perturbot_prediction")
def perturbot_prediction(
    predicted: Values, measured: Values, *, control_mean: npt.ArrayLike | None = None
) -> dict[str, float]:
    """Return the five scores of predicted values of Perturb-OT, under its names.

    ``Pearson_corr`` and ``Spearman_corr`` are means over cells of the correlation across features; ``Pearson_samples`` and
    ``Spearman_samples``, despite their name, means over features of the correlation across cells; ``MSE`` the mean squared
    error. Pearson has 1e-8 added to its denominator, so that a constant feature counts as 0; a constant feature makes the mean
    of Spearman NaN.

    Parameters
    ----------
    predicted, measured
        Values of the same cells and features, (n, f), dense or sparse.
    control_mean
        (f,) mean of the control cells; if given, both sides are divided by it before the correlations *per cell*.

    Returns
    -------
    dict
        ``Pearson_corr``, ``Spearman_corr``, ``Pearson_samples``, ``Spearman_samples``, ``MSE``.

    Raises
    ------
    ValueError
        If shapes differ, or a value is not finite.

    References
    ----------
    Ryu et al. 2024, arXiv 2405.00838, and its code.

    Examples
    --------
    >>> import numpy as np
    >>> values = np.array([[0.0, 1.0, 3.0], [2.0, 1.0, 0.0]])
    >>> {
    ...     name: round(value, 6)
    ...     for name, value in perturbot_prediction(values, values + 1.0).items()
    ... }["MSE"]
    1.0
    """
    pair = check_pairs(predicted, measured)
    scale = (
        np.ones(pair[0].shape[1])
        if control_mean is None
        else np.asarray(control_mean, dtype=np.float64)
    )
    if scale.shape != (pair[0].shape[1],):
        raise InputError(
            f"control_mean must have shape ({pair[0].shape[1]},); found {scale.shape}."
        )
    by_cell = [_softened(p / scale, m / scale) for _, p, m in across_features(*pair)]
    by_feature = [_softened(p, m) for _, p, m in across_cells(*pair)]
    names = ("Pearson_corr", "Spearman_corr", "Pearson_samples", "Spearman_samples")
    parts = [
        np.concatenate([one[place] for one in found])
        for found in (by_cell, by_feature)
        for place in (0, 1)
    ]
    return {
        **{name: float(part.mean()) for name, part in zip(names, parts, strict=True)},
        "MSE": mse(*pair),
    }


@PRESETS.register("psa_trace")
def psa_trace(plan: PlanLike, labels: Labels) -> float:
    """Return the trace as PSA defines it: the mean over labels of the mean probability of the true match.

    Differs from :func:`trace` in that labels weigh the same whatever their size, and probabilities are those within the label.

    Parameters
    ----------
    plan
        Coupling (n, n), row i the true match of column i. Mass between labels is cut off.
    labels
        Label of each pair of cells, (n,); None and NaN mean unlabeled, and are left out.

    Returns
    -------
    float
        1 is perfect; by chance the mean over labels of one over their size. Labels with a row without mass are left out.

    Raises
    ------
    ValueError
        If shapes do not fit, or no label can be scored.

    References
    ----------
    Xi et al. 2024, arXiv 2404.01595, and its code.

    Examples
    --------
    >>> import numpy as np
    >>> psa_trace(np.eye(3), ["a", "a", "b"])
    1.0
    """
    codes = _codes(plan, labels)
    own, mass = np.zeros(codes.size), np.zeros(codes.size)
    for rows, columns, part in _within_label(plan, codes):
        mass[rows] += part.sum(axis=1)
        i, j = np.nonzero(rows[:, None] == columns)
        own[rows[i]] = part[i, j]
    with np.errstate(invalid="ignore"):
        return _mean_over_labels(own / mass, codes)


@PRESETS.register("psa_foscttm")
def psa_foscttm(plan: PlanLike, y: npt.ArrayLike, labels: Labels, *, seed: int = 0) -> float:
    """Return FOSCTTM as PSA defines it: of targets that are drawn from the coupling, within labels.

    For each source cell one target is drawn with the probabilities of its row; then FOSCTTM between the targets y_i and those
    drawn, in both directions, with ties in favor of the match. Mean over the cells of a label, then over labels. The
    draw adds noise, and mass on a near neighbor counts as little as mass on a far one.

    Parameters
    ----------
    plan
        Coupling (n, n), row i the true match of column i. Mass between labels is cut off.
    y
        Target coordinates (n, d).
    labels
        Label of each pair of cells, (n,).
    seed
        Cell i takes the first target at which the cumulative probability exceeds
        ``numpy.random.default_rng(seed).random(n)[i]``.

    Returns
    -------
    float
        0 is perfect. Labels of one cell, or with a row without mass, are left out.

    Raises
    ------
    ValueError
        If shapes do not fit, or no label can be scored.

    References
    ----------
    Xi et al. 2024, arXiv 2404.01595, and its code.

    Examples
    --------
    >>> import numpy as np
    >>> psa_foscttm(np.eye(3), [[0.0], [1.0], [5.0]], ["a", "a", "a"])
    0.0
    """
    codes = _codes(plan, labels)
    y = _coordinates("y", y, codes.size)
    drawn = _draw(plan, codes, np.random.default_rng(seed).random(codes.size))
    share = np.full(codes.size, np.nan)
    for cells in members(codes, int(codes.max(initial=-1)) + 1):
        if cells.size > 1 and (drawn[cells] >= 0).all():
            truth, matched = y[cells], y[drawn[cells]]
            own = pair_distance(truth, matched)
            nearer = count_nearer(truth, matched, own, own, None)
            share[cells] = (nearer[0][0] + nearer[1][0]) / (2 * (cells.size - 1))
    return _mean_over_labels(share, codes)


@PRESETS.register("psa_latent_mse")
def psa_latent_mse(plan: PlanLike, latent: npt.ArrayLike, labels: Labels) -> float:
    """Return the latent error as PSA defines it: not relative to the uniform coupling, and with labels of equal weight.

    ``mean (z_i - sum_j K_ij z_j)^2`` over the cells and dimensions of a label, K the coupling within the label with rows that sum
    to 1; then the mean over labels.

    Parameters
    ----------
    plan
        Coupling (n, n), row i the true match of column i. Mass between labels is cut off.
    latent
        True latent of each pair of cells, (n, k).
    labels
        Label of each pair of cells, (n,).

    Returns
    -------
    float
        0 is perfect. Labels with a row without mass are left out.

    Raises
    ------
    ValueError
        If shapes do not fit, or no label can be scored.

    References
    ----------
    Xi et al. 2024, arXiv 2404.01595, and its code.

    Examples
    --------
    >>> import numpy as np
    >>> psa_latent_mse(np.ones((2, 2)), [[0.0], [2.0]], ["a", "a"])
    1.0
    """
    codes = _codes(plan, labels)
    z = _coordinates("latent", latent, codes.size)
    total, mass = np.zeros(z.shape), np.zeros(codes.size)
    for rows, columns, part in _within_label(plan, codes):
        total[rows] += part @ z[columns]
        mass[rows] += part.sum(axis=1)
    with np.errstate(invalid="ignore"):
        return _mean_over_labels(((z - total / mass[:, None]) ** 2).mean(axis=1), codes)


@PRESETS.register("psa_probe_r2")
def psa_probe_r2(predicted: Values, measured: Values) -> float:
    """Return R^2 as PSA defines it: one minus the squared error over that of the feature means, all features pooled.

    It is :func:`r2`: the means are those of the cells that are scored, and features of large variance decide.

    Parameters
    ----------
    predicted, measured
        Values of the same cells and features, (n, f), dense or sparse.

    Returns
    -------
    float
        At most 1.

    Raises
    ------
    ValueError
        If shapes differ, or a value is not finite.

    References
    ----------
    Xi et al. 2024, arXiv 2404.01595, and its code.

    Examples
    --------
    >>> psa_probe_r2([[0.0], [1.0], [2.0]], [[0.0], [2.0], [4.0]])
    0.375
    """
    return r2(predicted, measured)


def _softened(predicted: Float64Array, measured: Float64Array) -> tuple[Float64Array, Float64Array]:
    """Return Pearson (with 1e-8 in the denominator) and Spearman (NaN if constant) of each row."""
    p, m = (values - values.mean(axis=1, keepdims=True) for values in (predicted, measured))
    squares = np.einsum("ij,ij->i", p, p) * np.einsum("ij,ij->i", m, m)
    constant = np.ptp(predicted, axis=1) == 0
    spearman = correlate(predicted, measured, ranked=True)
    spearman[constant] = np.nan
    return np.einsum("ij,ij->i", p, m) / (np.sqrt(squares) + 1e-8), spearman


def _check_square(plan: PlanLike) -> None:
    if plan.shape[0] != plan.shape[1]:
        raise InputError(
            f"this definition takes row i of one modality for the true match of row i of the other, which needs a square "
            f"coupling; found {shape(plan)}. Sort both by pair first, or use the metrics that take partner=."
        )


def _coordinates(name: str, values: npt.ArrayLike, n: int) -> Float64Array:
    """Return coordinates as float64 (n, d)."""
    out = np.asarray(values, dtype=np.float64)
    _check_length(name, out, n)
    if out.ndim != 2 or not np.isfinite(out).all():
        raise InputError(
            f"{name} must be finite and have one row a cell, (n, d); found shape {out.shape}."
        )
    return out


def _check_length(name: str, values: npt.NDArray[Any], n: int) -> None:
    if len(values) != n:
        raise InputError(f"{name} must have one entry a cell: expected {n}, found {len(values)}.")


def _codes(plan: PlanLike, labels: Labels) -> IntArray:
    _check_square(plan)
    codes = encode(labels)[1][0]
    _check_length("labels", codes, plan.shape[0])
    return codes


def _dense(plan: PlanLike) -> Iterator[tuple[IntArray, IntArray, Float64Array]]:
    """Yield the coupling in dense pieces of few rows each."""
    for rows, columns, part in slices(plan):
        step = rows_per_block(columns.size, None)
        for start in range(0, rows.size, step):
            piece = part[start : start + step]
            yield (
                rows[start : start + step],
                columns,
                piece if isinstance(piece, np.ndarray) else piece.toarray(),
            )


def _within_label(
    plan: PlanLike, codes: IntArray
) -> Iterator[tuple[IntArray, IntArray, Float64Array]]:
    """Yield the coupling between cells of one label in dense pieces of few rows each."""
    for rows, columns, part in _dense(plan):
        for code in np.unique(codes[rows][codes[rows] >= 0]):
            i, j = np.flatnonzero(codes[rows] == code), np.flatnonzero(codes[columns] == code)
            j = j[np.argsort(columns[j])]  # the draw goes through them in order
            yield rows[i], columns[j], part[np.ix_(i, j)]


def _draw(plan: PlanLike, codes: IntArray, uniform: Float64Array) -> IntArray:
    """Return a target of its label for each source cell, drawn with the probabilities of its row; -1 without mass."""
    drawn = np.full(codes.size, -1, dtype=np.intp)
    for rows, columns, part in _within_label(plan, codes):
        cumulative = np.cumsum(part, axis=1, dtype=np.float64)
        total = cumulative[:, -1] if columns.size else np.zeros(rows.size)
        at = np.count_nonzero(cumulative <= (uniform[rows] * total)[:, None], axis=1)
        kept = total > 0
        drawn[rows[kept]] = columns[at[kept]]
    return drawn


def _mean_over_labels(per_cell: Float64Array, codes: IntArray) -> float:
    """Return the mean over labels of the mean over their cells; labels with a NaN are left out."""
    groups = [per_cell[cells] for cells in members(codes, int(codes.max(initial=-1)) + 1)]
    means = [float(group.mean()) for group in groups if group.size and not np.isnan(group).any()]
    if not means:
        raise MissingTruthError(
            "no label can be scored: in each, a cell has no mass within its label, or there is but one cell."
        )
    return float(np.mean(means))
