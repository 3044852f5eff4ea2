"""Canonical correlation of label means, with whitening inside labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pandas as pd
from sklearn.covariance import ledoit_wolf

from scgroove._types import BoolArray, Float64Array, FloatArray, IntArray, Labels
from scgroove.data.checks import modality_of
from scgroove.data.screen import Screen
from scgroove.errors import InputError
from scgroove.learners._around import means_by_modality
from scgroove.learners._base import LEARNERS, Learner, Representations, preset
from scgroove.learners._classical import fix_signs, inverse_root
from scgroove.learners.common import (
    AffineMap,
    apply,
    check_label_counts,
    label_means,
    principal_components,
    project,
)

if TYPE_CHECKING:
    from mudata import MuData


@LEARNERS.register("labels")
@dataclass
class LabelCCA(Learner):
    """Canonical correlation of label means in coordinates that are whitened inside labels.

    With x the standardized features of modality m, W_m their covariance inside labels (Ledoit and
    Wolf) with eigenvalues v and eigenvectors U, cells go to ``x R_m`` with ``R_m = U diag(v +
    whitening * mean(v))^(-1/2)``. Directions that vary inside labels, such as noise and batches,
    count less.

    Labels are the samples that modalities share. With C_m the centered means of the shared labels
    in these coordinates, (labels, features), find coordinates G of the labels that every modality
    can tell from its features (MAXVAR, for two modalities the canonical correlations)::

        min over G, W_m of  sum_m ||G - C_m W_m||^2 + lambda_m ||W_m||^2,   G' G = I
        lambda_m = regularization * tr(C_m C_m') / min(labels - 1, features)

    G are the first eigenvectors of ``sum_m C_m C_m' (C_m C_m' + lambda_m I)^-1``. The eigenvalue
    over the number of modalities says how well they tell that coordinate, r in [0, 1]. A cell has
    ``z = (x - mean_m) R_m W_m diag(r^2)``. With these weights no number of coordinates needs to be
    chosen: one that a single modality of two knows (r = 1/2) counts a quarter. Labels that a
    modality lacks are left out of its term.

    Parameters
    ----------
    whitening
        Ridge of the whitening, in units of the mean eigenvalue. No whitening if None. A modality
        with one cell per label has no covariance inside labels and is not whitened.
    regularization
        Ridge, in units of the mean variance of the label means along their own directions. Without
        it, and with fewer labels than features, any two sets of means correlate perfectly.
    n_components
        Largest number of coordinates. One fewer than labels if None.
    max_features
        With whitening, wider modalities are first reduced to this many principal components.

    References
    ----------
    Hotelling 1936, "Relations between two sets of variates". Kettenring 1971, "Canonical analysis
    of several sets of variables" (MAXVAR). Vinod 1976, "Canonical ridge and econometrics of joint
    production". Ledoit and Wolf 2004, "A well-conditioned estimator for large-dimensional
    covariance matrices".
    """

    name: ClassVar[str] = "labels"

    whitening: float | None = 3.0
    regularization: float = 0.3
    n_components: int | None = None
    max_features: int = 300

    def _fit(self, screen: Screen, seed: int) -> None:
        check_label_counts(screen, self.name)
        self.features_ = screen.features()
        x = {m: of(modality_of(screen.mdata, m)) for m, of in self.features_.items()}
        means, present = means_by_modality(x, screen.codes, screen.n_labels)
        if self.whitening is None:
            self.maps_, self.evidence["told"] = maxvar(
                means, present, self.regularization, self.n_components
            )
            return
        bases = {m: self._basis(x[m], screen.labels[m], seed) for m in x}
        whitened = {m: means[m] @ basis for m, basis in bases.items()}
        maps, self.evidence["told"] = maxvar(
            whitened, present, self.regularization, self.n_components
        )
        self.maps_ = {
            m: (means[m][present[m]].mean(axis=0), bases[m] @ weights, offset)
            for m, (_, weights, offset) in maps.items()
        }

    def _basis(self, x: FloatArray, labels: Labels, seed: int) -> Float64Array:
        """Return the directions of the whitened coordinates, (features, coordinates)."""
        codes, names = pd.factorize(labels)
        if x.shape[1] <= self.max_features:
            return whitening_inside_labels(x, codes, len(names), self.whitening or 0.0)
        pca = principal_components(x, self.max_features, seed)
        root = whitening_inside_labels(project(pca, x), codes, len(names), self.whitening or 0.0)
        basis: Float64Array = pca.components_.T @ root
        return basis

    def _transform(self, mdata: MuData) -> Representations:
        return {
            m: apply(step, self.features_[m](modality_of(mdata, m)))
            for m, step in self.maps_.items()
        }


preset(
    LabelCCA,
    "cca_labels",
    "Canonical correlation of label means without whitening: :class:`LabelCCA`.",
    whitening=None,
)


def whitening_inside_labels(
    x: FloatArray, codes: IntArray, n_labels: int, ridge: float
) -> Float64Array:
    """Return ``R = U diag(v + ridge * mean(v))^(-1/2)`` of the covariance inside labels, (d, d).

    ``ridge`` is in units of the mean eigenvalue. R is the identity if every label has one cell.
    """
    covariance = covariance_inside_labels(x, codes, n_labels)
    return np.eye(x.shape[1]) if covariance is None else whitening(covariance, ridge)[0]


def whitening(
    covariance: Float64Array, ridge: float
) -> tuple[Float64Array, Float64Array, Float64Array]:
    """Return R of :class:`LabelCCA`, its inverse, and the variances after whitening, (d,)."""
    values, vectors = np.linalg.eigh(covariance)
    values = np.maximum(values, 0.0)
    damped = values + ridge * values.mean()
    scale = np.sqrt(damped)
    return vectors / scale, (vectors * scale).T, values / damped


def covariance_inside_labels(x: FloatArray, codes: IntArray, n_labels: int) -> Float64Array | None:
    """Return the shrunk covariance around label means, (d, d). None if all cells are at theirs.

    Parameters
    ----------
    x
        (n, d).
    codes
        (n,) label of each cell, -1 for none.
    n_labels
        Length of the vocabulary.
    """
    means, _ = label_means(x, codes, n_labels)
    known = codes >= 0
    inside = x[known] - means[codes[known]]
    if not inside.any():
        return None
    covariance, _ = ledoit_wolf(inside, assume_centered=True)
    return np.asarray(covariance, dtype=np.float64)


def maxvar(
    means: Mapping[str, Float64Array],
    present: Mapping[str, BoolArray],
    regularization: float,
    n_components: int | None = None,
) -> tuple[dict[str, AffineMap], Float64Array]:
    """Return the maps to common coordinates of labels, and how well all modalities tell them.

    Parameters
    ----------
    means
        Label means of each modality, (n_labels, d_m).
    present
        Labels that each modality has, (n_labels,).
    regularization, n_components
        See :class:`LabelCCA`.

    Returns
    -------
    maps
        Mean, weights and offset for each modality. Weights are multiplied by r squared.
    told
        r of each coordinate, descending, (k,).
    """
    n_labels = len(next(iter(present.values())))
    centers = {m: c[present[m]].mean(axis=0) for m, c in means.items()}
    ridges, fit, centering = {}, np.zeros((n_labels, n_labels)), np.zeros((n_labels, n_labels))
    for m, there in present.items():
        centered = (means[m] - centers[m]) * there[:, None]
        ridges[m] = _ridge(centered, there, regularization)  # (d, n_labels)
        fit += centered @ ridges[m]
        centering += np.diag(there.astype(float)) - np.outer(there, there) / there.sum()
    root = inverse_root(centering)
    told, coordinates = np.linalg.eigh(root.T @ fit @ root)
    kept = np.flatnonzero(told > 1e-8)[::-1][: n_components or n_labels]
    if not kept.size:
        raise InputError(
            "the means of all labels are the same in every modality, "
            "so that they have no common coordinates."
        )
    scale = np.sqrt(len(means))  # G' G = I where all modalities have all labels
    told_by = np.clip(told[kept], 0, 1)
    weighted = fix_signs(scale * root @ coordinates[:, kept]) * told_by**2
    maps = {
        m: (centers[m], ridges[m] @ weighted, weighted[there].mean(axis=0))
        for m, there in present.items()
    }
    return maps, told_by


def _ridge(centered: Float64Array, present: BoolArray, regularization: float) -> Float64Array:
    """Return C' (C C' + lambda I)^-1 on the present labels, zero for the others, (d, n_labels)."""
    c = centered[present]
    # by singular values: an inverse of C C' + lambda I loses accuracy where lambda is small
    u, s, vt = np.linalg.svd(c, full_matrices=False)
    penalty = regularization * max(float(s @ s), 1e-12) / min(len(c) - 1, c.shape[1])
    out = np.zeros(centered.T.shape)
    out[:, present] = (vt.T * (s / (s**2 + penalty))) @ u.T
    return out
