"""Learners of linear algebra alone: principal components, discriminants, canonical correlations, and chance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

import numpy as np
import pandas as pd
from sklearn.covariance import ledoit_wolf

from scgroove._types import BoolArray, Float64Array, FloatArray, IntArray
from scgroove.data.screen import Screen
from scgroove.errors import InputError
from scgroove.learners._base import LEARNERS, Learner, Representations
from scgroove.learners.common import (
    AffineMap,
    apply,
    check_label_counts,
    label_means,
    principal_components,
    project,
    reduction,
)

if TYPE_CHECKING:
    from mudata import MuData

Shrinkage: TypeAlias = float | Literal["auto"]


@LEARNERS.register("pca")
@dataclass
class PrincipalComponents(Learner):
    """Principal components of each modality on its own.

    ``z = (x - mean) W`` with ``W = argmax tr(W' S W)``, ``W' W = I``, for the covariance S of the standardized features.
    Nothing links the modalities: for aligners that need no shared space, or for :class:`GroupProcrustes`.

    Parameters
    ----------
    n_components
        At most; fewer if there are fewer features, or no more cells.

    References
    ----------
    Hotelling 1933, "Analysis of a complex of statistical variables into principal components".
    """

    name: ClassVar[str] = "pca"
    aligned: ClassVar[bool] = False
    uses_labels: ClassVar[bool] = False

    n_components: int = 50

    def _fit(self, screen: Screen, seed: int) -> None:
        self.features_ = screen.features()
        self.components_ = {
            m: principal_components(self.features_[m](screen.mdata.mod[m]), self.n_components, seed)
            for m in screen.modalities
        }
        self.evidence["variance_explained"] = {
            m: float(pca.explained_variance_ratio_.sum()) for m, pca in self.components_.items()
        }

    def _transform(self, mdata: MuData) -> Representations:
        return {
            m: project(pca, self.features_[m](mdata.mod[m])) for m, pca in self.components_.items()
        }


@LEARNERS.register("lda")
@dataclass
class LinearDiscriminants(Learner):
    """Linear discriminants of the labels in each modality on its own.

    ``z = (x - mean) W`` with ``W = argmax tr(W' B W)``, ``W' S W = I``: B is the covariance of the label means, weighted by
    their cells, and S the covariance inside labels, ``(1 - s) S + s tr(S) / d I`` after shrinkage by s. At most one
    coordinate fewer than labels. Inside a label the coordinates have, under S as shrunken, unit variance and no correlation; then
    each is multiplied by its share of variance between labels, ``b / (1 + b)`` with b that of the label means, so that what hardly
    tells labels apart does not count as much as what does.

    Nothing links the modalities: for aligners that need no shared space, or for :class:`GroupProcrustes`.

    Parameters
    ----------
    n_components
        At most; None: as many as there are, one fewer than labels.
    shrinkage
        s in [0, 1], or ``"auto"``: as Ledoit and Wolf estimate it from the deviations of cells from their label mean.
    weighted
        Multiply by the share of variance between labels. False: discriminants as they are.
    max_features
        Wider modalities are first reduced to this many principal components.

    References
    ----------
    Fisher 1936, "The use of multiple measurements in taxonomic problems"; Ledoit and Wolf 2004, "A well-conditioned
    estimator for large-dimensional covariance matrices".
    """

    name: ClassVar[str] = "lda"
    aligned: ClassVar[bool] = False

    n_components: int | None = None
    shrinkage: Shrinkage = "auto"
    weighted: bool = True
    max_features: int = 300

    def __post_init__(self) -> None:
        """Refuse options that cannot be used."""
        if self.shrinkage != "auto" and not 0 <= self.shrinkage <= 1:
            raise InputError(
                f"shrinkage must be between 0 (none) and 1 (a multiple of the identity), or 'auto'; found {self.shrinkage!r}."
            )

    def _fit(self, screen: Screen, seed: int) -> None:
        check_label_counts(screen, self.name)
        self.features_ = screen.features()
        self.reduce_, self.mean_, self.weights_ = {}, {}, {}
        for m in screen.modalities:
            x = self.features_[m](screen.mdata.mod[m])
            self.reduce_[m] = reduction(x, self.max_features, seed)
            known = screen.codes[m] >= 0
            codes = screen.codes[m][known]
            if codes.size == np.unique(codes).size:
                raise InputError(
                    f"learner {self.name!r} compares the means of labels with the spread inside labels, and each shared label "
                    f"has one cell in {m!r}, so that there is none. Expected two cells or more of some label. Learners that "
                    "need label means alone: 'cca_labels' and 'pca_procrustes'."
                )
            mean, weights, between = discriminants(
                self.reduce_[m](x[known]), codes, screen.n_labels, self.shrinkage
            )
            if self.weighted:
                weights = weights * (between / (1.0 + between))
            self.mean_[m], self.weights_[m] = mean, weights[:, : self.n_components]

    def _transform(self, mdata: MuData) -> Representations:
        return {
            m: (self.reduce_[m](self.features_[m](mdata.mod[m])) - self.mean_[m]) @ weights
            for m, weights in self.weights_.items()
        }


def discriminants(
    x: Float64Array, codes: IntArray, n_labels: int, shrinkage: Shrinkage
) -> tuple[Float64Array, Float64Array, Float64Array]:
    """Return the mean of labeled cells, (d,), the discriminants W, (d, k < labels), and the variance of label means along them, (k,)."""
    center = x.mean(axis=0)
    kept = (
        np.ptp(x, axis=0) > 0
    )  # a flat feature is none: it would still be shrunk towards the others
    if not kept.any():
        raise InputError(
            "no feature varies among the cells with a shared label, so that nothing tells labels apart."
        )
    inside, between = _scatter((x - center)[:, kept], codes, n_labels)
    if not inside.any():
        raise InputError(
            "all cells of a label are equal, so that there is no spread to compare labels with."
        )
    if shrinkage == "auto":
        covariance, _ = ledoit_wolf(inside, assume_centered=True)
    else:
        plain = inside.T @ inside / len(x)
        covariance = (1 - shrinkage) * plain + shrinkage * np.trace(plain) / len(plain) * np.eye(
            len(plain)
        )
    whiten = _inverse_root(covariance)
    _, size, rotation = np.linalg.svd(between @ whiten, full_matrices=False)
    n = max(1, min(np.unique(codes).size - 1, int((size > 1e-10 * max(size[0], 1e-300)).sum())))
    weights = np.zeros((x.shape[1], n))
    weights[kept] = fix_signs(whiten @ rotation[:n].T)
    return center, weights, size[:n] ** 2


def _scatter(x: Float64Array, codes: IntArray, n_labels: int) -> tuple[Float64Array, Float64Array]:
    """Return deviations of centered cells from their label mean, (n, d), and the means weighted by cells, (n_labels, d)."""
    means, counts = label_means(x, codes, n_labels)
    return x - means[codes], np.sqrt(counts / len(x))[:, None] * means


def _inverse_root(covariance: Float64Array) -> Float64Array:
    """Return W of W' S W = I, leaving out directions without variance, (d, rank)."""
    values, vectors = np.linalg.eigh(covariance)
    kept = values > 1e-10 * max(values[-1], 1e-300)
    root: Float64Array = vectors[:, kept] / np.sqrt(values[kept])
    return root


def fix_signs(columns: Float64Array) -> Float64Array:
    """Return columns turned so that the largest entry of each is positive: their sign is otherwise arbitrary."""
    largest = columns[np.abs(columns).argmax(axis=0), np.arange(columns.shape[1])]
    turned: Float64Array = columns * np.where(largest < 0, -1.0, 1.0)
    return turned


@LEARNERS.register("cca_labels")
@dataclass
class LabelCCA(Learner):
    """Canonical correlation of the label means: labels are the samples that the modalities have in common.

    With C_m the means of the shared labels, (labels, features), centered, find coordinates G of the labels that every modality
    can tell from its features (MAXVAR; for two modalities these are the canonical correlations)::

        min over G, W_m of  sum_m ||G - C_m W_m||^2 + lambda_m ||W_m||^2,   G' G = I
        lambda_m = regularization * tr(C_m C_m') / min(labels - 1, features)

    so that G are the first eigenvectors of ``sum_m C_m C_m' (C_m C_m' + lambda_m I)^-1``, and the eigenvalue over the number of
    modalities says how well they all tell that coordinate, r in [0, 1]. A cell has ``z = (x - mean_m) W_m diag(r^2)``: with
    these weights no number of coordinates needs to be chosen, and one that a single modality of two knows (r = 1/2) counts a
    quarter. In a modality that lacks a label the label's term is left out.

    Parameters
    ----------
    regularization
        Ridge, in units of the mean variance of the label means along their own directions. With fewer labels than features
        something above 0 is needed: without it every set of label means is perfectly correlated with every other.
    n_components
        At most; None: all, one fewer than labels.

    References
    ----------
    Hotelling 1936, "Relations between two sets of variates"; Kettenring 1971, "Canonical analysis of several sets of
    variables" (MAXVAR); Vinod 1976, "Canonical ridge and econometrics of joint production".
    """

    name: ClassVar[str] = "cca_labels"

    regularization: float = 0.3
    n_components: int | None = None

    def _fit(self, screen: Screen, seed: int) -> None:
        present = check_label_counts(screen, self.name)
        self.features_ = screen.features()
        means: dict[str, Float64Array] = {}
        for m in screen.modalities:
            x = self.features_[m](screen.mdata.mod[m])
            means[m], _ = label_means(x, screen.codes[m], screen.n_labels)
        self.maps_, told = maxvar(means, present, self.regularization, self.n_components)
        self.evidence["told"] = told

    def _transform(self, mdata: MuData) -> Representations:
        return {m: apply(step, self.features_[m](mdata.mod[m])) for m, step in self.maps_.items()}


def maxvar(
    means: Mapping[str, Float64Array],
    present: Mapping[str, BoolArray],
    regularization: float,
    n_components: int | None = None,
) -> tuple[dict[str, AffineMap], Float64Array]:
    """Return for each modality how its features tell the common coordinates, and how well all do: see :class:`LabelCCA`.

    Parameters
    ----------
    means
        For each modality the label means, (n_labels, d_m).
    present
        For each modality which of them it has, (n_labels,).
    regularization, n_components
        As in :class:`LabelCCA`.

    Returns
    -------
    maps
        For each modality mean, weights and offset.
    told
        r of each coordinate, descending, (k,); the maps are weighted by its square.
    """
    n_labels = len(next(iter(present.values())))
    centered = {m: (c - c[present[m]].mean(axis=0)) * present[m][:, None] for m, c in means.items()}
    ridge = {m: _ridge(c, present[m], regularization) for m, c in centered.items()}  # (d, n_labels)
    told_by = sum(c @ ridge[m] for m, c in centered.items())
    asked_of = sum(_centering(there) for there in present.values())
    root = _inverse_root(np.asarray(asked_of))
    told, coordinates = np.linalg.eigh(root.T @ told_by @ root)
    kept = np.flatnonzero(told > 1e-8)[::-1][: n_components or n_labels]
    if not kept.size:
        raise InputError(
            "the means of all labels are the same in every modality, so that they have no common coordinates."
        )
    scale = np.sqrt(len(means))  # G' G = I where all modalities have all labels
    common = fix_signs(scale * root @ coordinates[:, kept])
    told = np.clip(told[kept], 0, 1)
    weighted = common * told**2
    maps = {
        m: (c[present[m]].mean(axis=0), ridge[m] @ weighted, weighted[present[m]].mean(axis=0))
        for m, c in means.items()
    }
    return maps, told


def _ridge(centered: Float64Array, present: BoolArray, regularization: float) -> Float64Array:
    """Return C' (C C' + lambda I)^-1 on the labels that are present, zero for the others, (d, n_labels)."""
    c = centered[present]
    # by singular values: an inverse of C C' + lambda I is off by about 1e-16 / lambda, seen where lambda is small
    u, s, vt = np.linalg.svd(c, full_matrices=False)
    penalty = regularization * max(float(s @ s), 1e-12) / min(len(c) - 1, c.shape[1])
    out = np.zeros(centered.T.shape)
    out[:, present] = (vt.T * (s / (s**2 + penalty))) @ u.T
    return out


def _centering(present: BoolArray) -> Float64Array:
    """Return the matrix that takes the mean over the present labels off them and drops the others."""
    kept = present.astype(np.float64)
    centering: Float64Array = np.diag(kept) - np.outer(kept, kept) / kept.sum()
    return centering


@LEARNERS.register("random")
@dataclass
class RandomRepresentation(Learner):
    """Gaussian noise: what a method must beat.

    A cell has ``z ~ N(0, I)``, drawn from the seed, its modality and its name, so that it keeps its place whatever other cells
    there are. Nothing is learned.

    Parameters
    ----------
    n_components
        Coordinates of a cell.
    """

    name: ClassVar[str] = "random"
    uses_labels: ClassVar[bool] = False

    n_components: int = 10

    def _fit(self, screen: Screen, seed: int) -> None:
        self.seed_ = seed
        self.names_ = screen.modalities

    def _transform(self, mdata: MuData) -> Representations:
        return {
            m: self._draw(m, mdata.mod[m].obs_names.to_numpy(dtype=object)) for m in self.names_
        }

    def _draw(self, modality: str, cells: Any) -> FloatArray:
        keys = pd.util.hash_array(np.array([f"{modality}\n{cell}" for cell in cells], dtype=object))
        rows = [
            np.random.default_rng([self.seed_, int(key)]).normal(size=self.n_components)
            for key in keys
        ]
        return np.stack(rows)
