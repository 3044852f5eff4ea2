"""How much of a representation is left inside labels: in how many directions cells of a label differ, and how far."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from scgroove._types import Float64Array, IntArray, Labels
from scgroove.errors import MissingTruthError
from scgroove.metrics._candidates import METRICS
from scgroove.metrics._cells import cells_by_label


@METRICS.register("within_label_rank")
def within_label_rank(z: npt.ArrayLike, labels: Labels) -> float:
    r"""Return the effective rank of the cells of a label, mean over labels.

    With :math:`\lambda_1, \dots, \lambda_d` the eigenvalues of the covariance of the cells of a label and
    :math:`p_i = \lambda_i / \sum_j \lambda_j`,

    .. math:: \mathrm{erank} = \exp\Bigl(-\sum_i p_i \log p_i\Bigr)

    is the number of directions that the cells vary in: k where they vary alike in k directions and not at all in the
    others, 1 where they lie on a line, 0 where they lie in one point. Rotation, shift and scale of the representation do
    not change it. Cells span no more directions than their number less one: below some ten cells for each dimension, it
    is too low.

    Parameters
    ----------
    z
        Representation, (n, d).
    labels
        Label of each cell, (n,); None and NaN mean unlabeled. Labels of one cell are left out.

    Returns
    -------
    float
        Between 0 and d.

    Raises
    ------
    ValueError
        If shapes do not fit or values are not finite.
    MissingTruthError
        If no label has two cells.

    See Also
    --------
    scgroove.tl.collapse : of each label and modality of a MuData.

    References
    ----------
    Roy and Vetterli 2007, "The effective rank: a measure of effective dimensionality", EUSIPCO; here of a covariance
    matrix, whose eigenvalues are the squares of the singular values of the centered cells.

    Examples
    --------
    >>> line, square = [[0, 0], [1, 1], [2, 2]], [[0, 0], [0, 1], [1, 0], [1, 1]]
    >>> round(within_label_rank(line + square, ["a"] * 3 + ["b"] * 4), 6)
    1.5
    """
    return _mean_of_labels(within_label_rank_per_label(z, labels))


def within_label_rank_per_label(z: npt.ArrayLike, labels: Labels) -> dict[str, float]:
    """Return the effective rank of each label; NaN where it has one cell.

    Parameters, errors and references are those of :func:`within_label_rank`.
    """
    array, names, cells = cells_by_label(z, labels)
    array = array - array.mean(axis=0)
    found = [_effective_rank(array[rows]) if rows.size > 1 else np.nan for rows in cells]
    return dict(zip(names, map(float, found), strict=True))


def _effective_rank(z: Float64Array) -> float:
    """Return the effective rank of some cells, (n, d); 0 where they differ by no more than rounding."""
    centered = z - z.mean(axis=0)
    gram = centered.T @ centered if len(z) > z.shape[1] else centered @ centered.T
    rounding = (np.finfo(np.float64).eps * np.abs(z).max()) ** 2 * z.size
    if np.trace(gram) <= 16 * rounding:
        return 0.0
    share = np.maximum(np.linalg.eigvalsh(gram), 0.0)
    share = share[share > 0] / share.sum()
    return float(np.exp(-(share * np.log(share)).sum()))


@METRICS.register("within_label_variance")
def within_label_variance(z: npt.ArrayLike, labels: Labels) -> float:
    r"""Return the share of the variance of a representation that lies inside labels.

    .. math:: \frac{\sum_l \sum_{i \in l} \lVert z_i - \bar z_l \rVert^2}{\sum_i \lVert z_i - \bar z \rVert^2}

    is 1 less the share that the label explains. It is near 0 where the cells of each label lie in one point, and near 1
    where labels do not differ. Rotation, shift and scale of the representation do not change it.

    Parameters
    ----------
    z
        Representation, (n, d).
    labels
        Label of each cell, (n,); None and NaN mean unlabeled. Labels of one cell are left out.

    Returns
    -------
    float
        Between 0 and 1; 0 where all cells lie in one point.

    Raises
    ------
    ValueError
        If shapes do not fit or values are not finite.
    MissingTruthError
        If no label has two cells.

    See Also
    --------
    within_label_rank : in how many directions the cells of a label vary.
    scgroove.tl.collapse : of each label and modality of a MuData.

    References
    ----------
    The law of total variance; one less the multivariate eta squared.

    Examples
    --------
    >>> within_label_variance([[0.0], [2.0], [4.0], [6.0]], ["a", "a", "b", "b"])
    0.2
    """
    z, _, cells = cells_by_label(z, labels)
    kept = [rows for rows in cells if rows.size > 1]
    if not kept:
        raise MissingTruthError(_ALL_ALONE)
    total = _spread(z, np.concatenate(kept)) * sum(rows.size for rows in kept)
    inside = sum(_spread(z, rows) * rows.size for rows in kept)
    return float(inside / total) if total > 0 else 0.0


def within_label_variance_per_label(z: npt.ArrayLike, labels: Labels) -> dict[str, float]:
    r"""Return the variance inside each label, as a share of the variance of all labeled cells.

    .. math:: v_l = \frac{1}{n_l} \sum_{i \in l} \lVert z_i - \bar z_l \rVert^2 \Bigm/
              \frac{1}{n} \sum_i \lVert z_i - \bar z \rVert^2

    It is near 0 for a label whose cells lie in one point, and above 1 for one whose cells lie further apart than all
    cells do. The mean over labels, weighted by their cells, is :func:`within_label_variance`.

    Parameters and errors are those of :func:`within_label_variance`, but the variance of all includes labels of one
    cell, whose own share is NaN.
    """
    z, names, cells = cells_by_label(z, labels)
    total = _spread(z, np.concatenate([np.empty(0, dtype=np.intp), *cells]))
    found = [_spread(z, rows) if rows.size > 1 else np.nan for rows in cells]
    return {
        name: float(v / total) if total > 0 else 0.0 * v
        for name, v in zip(names, found, strict=True)
    }


_ALL_ALONE = "no label has two cells, so that nothing can differ inside one. Are the labels names of cells, or all missing?"


def _spread(z: Float64Array, rows: IntArray) -> float:
    """Return the mean squared distance of some cells to their mean; 0 where they differ by no more than rounding."""
    if not rows.size:
        return 0.0
    offset = z[rows] - z[rows[0]]  # of equal cells exactly 0
    return float(((offset - offset.mean(axis=0)) ** 2).sum() / rows.size)


def _mean_of_labels(of: dict[str, float]) -> float:
    values: Sequence[float] = [value for value in of.values() if not np.isnan(value)]
    if not values:
        raise MissingTruthError(_ALL_ALONE)
    return float(np.mean(values))
