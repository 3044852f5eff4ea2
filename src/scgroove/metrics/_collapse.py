"""Effective rank and variance of a representation inside labels."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from scgroove._labels import members
from scgroove._types import Float64Array, IntArray, Labels
from scgroove.errors import MissingTruthError
from scgroove.metrics._candidates import check_representation, codes_of

_ALL_ALONE = (
    "no label has two cells, so that nothing can differ inside one. Are the labels names of cells, "
    "or all missing?"
)


def within_label_rank(
    z: npt.ArrayLike, labels: Labels, *, per: Literal["label"] | None = None
) -> Any:
    r"""Effective rank of the cells of a label, mean over labels.

    With :math:`\lambda_1, \dots, \lambda_d` the eigenvalues of the covariance of the cells of a
    label and :math:`p_i = \lambda_i / \sum_j \lambda_j`,

    .. math:: \mathrm{erank} = \exp\Bigl(-\sum_i p_i \log p_i\Bigr)

    is the number of directions that the cells vary in: k if they vary alike in k directions and not
    at all in the others, 1 if they lie on a line, 0 if they lie in one point. Rotation, shift and
    scale of the representation do not change it. Cells span no more directions than their number
    less one: below some ten cells for each dimension, it is too low.

    Parameters
    ----------
    z
        Representation, (n, d).
    labels
        Label of each cell, (n,). None and NaN mean unlabeled. Labels of one cell are left out.
    per
        ``"label"`` to return the rank of each label.

    Returns
    -------
    float or dict
        Between 0 and d. NaN in the dictionary for a label of one cell.

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
    Roy and Vetterli 2007, "The effective rank: a measure of effective dimensionality", EUSIPCO.
    Here of a covariance matrix, whose eigenvalues are the squares of the singular values of the
    centered cells.

    Examples
    --------
    >>> line, square = [[0, 0], [1, 1], [2, 2]], [[0, 0], [0, 1], [1, 0], [1, 1]]
    >>> round(within_label_rank(line + square, ["a"] * 3 + ["b"] * 4), 6)
    1.5
    """
    array, names, cells = _cells_by_label(z, labels)
    array = array - array.mean(axis=0)
    ranks = [_effective_rank(array[rows]) if rows.size > 1 else np.nan for rows in cells]
    if per is not None:
        return dict(zip(names, ranks, strict=True))
    if np.isnan(ranks).all():
        raise MissingTruthError(_ALL_ALONE)
    return float(np.nanmean(ranks))


def _effective_rank(z: Float64Array) -> float:
    """Return the effective rank of some cells, (n, d). 0 if they differ by rounding only."""
    centered = z - z.mean(axis=0)
    gram = centered.T @ centered if len(z) > z.shape[1] else centered @ centered.T
    rounding = (np.finfo(np.float64).eps * np.abs(z).max()) ** 2 * z.size
    if np.trace(gram) <= 16 * rounding:
        return 0.0
    share = np.maximum(np.linalg.eigvalsh(gram), 0.0)
    share = share[share > 0] / share.sum()
    return float(np.exp(-(share * np.log(share)).sum()))


def within_label_variance(
    z: npt.ArrayLike, labels: Labels, *, per: Literal["label"] | None = None
) -> Any:
    r"""Share of the variance of a representation that lies inside labels.

    .. math:: \frac{\sum_l \sum_{i \in l} \lVert z_i - \bar z_l \rVert^2}
              {\sum_i \lVert z_i - \bar z \rVert^2}

    is 1 less the share that the label explains. It is near 0 if the cells of each label lie in one
    point, and near 1 if labels do not differ. Rotation, shift and scale of the representation do
    not change it. For one label l,

    .. math:: v_l = \frac{1}{n_l} \sum_{i \in l} \lVert z_i - \bar z_l \rVert^2 \Bigm/
              \frac{1}{n} \sum_i \lVert z_i - \bar z \rVert^2

    is above 1 if its cells lie further apart than all cells do.

    Parameters
    ----------
    z, labels
        As in :func:`within_label_rank`.
    per
        ``"label"`` to return the value of each label. Then labels of one cell count in the
        variance of all, and are NaN themselves.

    Returns
    -------
    float or dict
        Between 0 and 1 over all labels. 0 if all cells lie in one point.

    Raises
    ------
    ValueError
        As :func:`within_label_rank`.

    Examples
    --------
    >>> within_label_variance([[0.0], [2.0], [4.0], [6.0]], ["a", "a", "b", "b"])
    0.2
    """
    z, names, cells = _cells_by_label(z, labels)
    spreads = {
        name: _spread(z, rows) if rows.size > 1 else np.nan
        for name, rows in zip(names, cells, strict=True)
    }
    if per is not None:
        total = _spread(z, np.concatenate([np.empty(0, dtype=np.intp), *cells]))
        return {name: v / total if total > 0 else 0.0 * v for name, v in spreads.items()}
    groups = [rows for rows in cells if rows.size > 1]
    if not groups:
        raise MissingTruthError(_ALL_ALONE)
    total = _spread(z, np.concatenate(groups)) * sum(rows.size for rows in groups)
    inside = sum(_spread(z, rows) * rows.size for rows in groups)
    return float(inside / total) if total > 0 else 0.0


def _cells_by_label(
    z: npt.ArrayLike, labels: Labels
) -> tuple[Float64Array, list[str], list[IntArray]]:
    """Return a checked representation, the names of the labels, and the cells of each."""
    array = check_representation("z", z)
    names, codes = codes_of(labels, len(array))
    return array, names, members(codes, len(names))


def _spread(z: Float64Array, rows: IntArray) -> float:
    """Return the mean squared distance of cells to their mean. Exactly 0 for equal cells."""
    if not rows.size:
        return 0.0
    offset = z[rows] - z[rows[0]]
    return float(((offset - offset.mean(axis=0)) ** 2).sum() / rows.size)
