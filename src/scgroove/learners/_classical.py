"""Closed-form learners of single modalities: principal components, discriminants, and chance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pandas as pd
from sklearn.covariance import ledoit_wolf

from scgroove._types import Float64Array, IntArray
from scgroove.data.checks import modality_of
from scgroove.data.screen import Screen
from scgroove.errors import InputError
from scgroove.learners._base import LEARNERS, Learner, Representations
from scgroove.learners.common import (
    check_label_counts,
    label_means,
    principal_components,
    project,
    reduction,
)

if TYPE_CHECKING:
    from mudata import MuData


@LEARNERS.register("pca")
@dataclass
class PrincipalComponents(Learner):
    """Principal components of each modality on its own.

    ``z = (x - mean) W`` with ``W = argmax tr(W' S W)``, ``W' W = I``, for the covariance S of the
    standardized features. Nothing links the modalities: use aligners that need no shared space, or
    :class:`GroupProcrustes`.

    Parameters
    ----------
    n_components
        Largest number of components.

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
            m: principal_components(of(modality_of(screen.mdata, m)), self.n_components, seed)
            for m, of in self.features_.items()
        }
        self.evidence["variance_explained"] = {
            m: float(pca.explained_variance_ratio_.sum()) for m, pca in self.components_.items()
        }

    def _transform(self, mdata: MuData) -> Representations:
        return {
            m: project(pca, self.features_[m](modality_of(mdata, m)))
            for m, pca in self.components_.items()
        }


@LEARNERS.register("lda")
@dataclass
class LinearDiscriminants(Learner):
    """Linear discriminants of the labels in each modality on its own.

    ``z = (x - mean) W`` with ``W = argmax tr(W' B W)``, ``W' S W = I``. B is the covariance of the
    label means, weighted by their cells. S is the covariance inside labels with the shrinkage of
    Ledoit and Wolf. There is at most one coordinate fewer than labels. Each is
    multiplied by its share of variance between labels, ``b / (1 + b)`` with b that of the label
    means, so that directions which hardly tell labels apart count little.

    Nothing links the modalities: use aligners that need no shared space, or
    :class:`GroupProcrustes`.

    Parameters
    ----------
    max_features
        Wider modalities are first reduced to this many principal components.

    References
    ----------
    Fisher 1936, "The use of multiple measurements in taxonomic problems". Ledoit and Wolf 2004, "A
    well-conditioned estimator for large-dimensional covariance matrices".
    """

    name: ClassVar[str] = "lda"
    aligned: ClassVar[bool] = False

    max_features: int = 300

    def _fit(self, screen: Screen, seed: int) -> None:
        check_label_counts(screen, self.name)
        self.features_ = screen.features()
        self.reduce_, self.maps_ = {}, {}
        for m in screen.modalities:
            x = self.features_[m](modality_of(screen.mdata, m))
            self.reduce_[m] = reduction(x, self.max_features, seed)
            known = screen.codes[m] >= 0
            codes = screen.codes[m][known]
            if codes.size == np.unique(codes).size:
                raise InputError(
                    f"learner {self.name!r} compares the means of labels with the spread inside "
                    f"labels, and each shared label has one cell in {m!r}, so that there is none. "
                    f"Expected two cells or more of some label. Learners that need label means "
                    f"alone: 'cca_labels' and 'pca_procrustes'."
                )
            known_cells = self.reduce_[m](x[known])
            mean, weights, between = discriminants(known_cells, codes, screen.n_labels)
            self.maps_[m] = mean, weights * (between / (1.0 + between))

    def _transform(self, mdata: MuData) -> Representations:
        return {
            m: (self.reduce_[m](self.features_[m](modality_of(mdata, m))) - mean) @ weights
            for m, (mean, weights) in self.maps_.items()
        }


def discriminants(
    x: Float64Array, codes: IntArray, n_labels: int
) -> tuple[Float64Array, Float64Array, Float64Array]:
    """Return the mean of labeled cells, the discriminants, and the variance of means along them.

    Shapes (d,), (d, k) and (k,), k less than the number of labels.
    """
    center = x.mean(axis=0)
    varies = np.ptp(x, axis=0) > 0  # shrinkage would give variance to flat features
    if not varies.any():
        raise InputError(
            "no feature varies among the cells with a shared label, "
            "so that nothing tells labels apart."
        )
    centered = (x - center)[:, varies]
    means, counts = label_means(centered, codes, n_labels)
    inside = centered - means[codes]
    if not inside.any():
        raise InputError(
            "all cells of a label are equal, so that there is no spread to compare labels with."
        )
    covariance, _ = ledoit_wolf(inside, assume_centered=True)
    whiten = inverse_root(covariance)
    between = np.sqrt(counts / len(x))[:, None] * means
    _, size, rotation = np.linalg.svd(between @ whiten, full_matrices=False)
    n = max(1, min(np.unique(codes).size - 1, int((size > 1e-10 * max(size[0], 1e-300)).sum())))
    weights = np.zeros((x.shape[1], n))
    weights[varies] = fix_signs(whiten @ rotation[:n].T)
    return center, weights, size[:n] ** 2


def inverse_root(covariance: Float64Array) -> Float64Array:
    """Return W of W' S W = I, leaving out directions without variance, (d, rank)."""
    values, vectors = np.linalg.eigh(covariance)
    kept = values > 1e-10 * max(values[-1], 1e-300)
    root: Float64Array = vectors[:, kept] / np.sqrt(values[kept])
    return root


def fix_signs(columns: Float64Array) -> Float64Array:
    """Return columns turned so that the largest entry of each is positive."""
    largest = columns[np.abs(columns).argmax(axis=0), np.arange(columns.shape[1])]
    turned: Float64Array = columns * np.where(largest < 0, -1.0, 1.0)
    return turned


@LEARNERS.register("random")
@dataclass
class RandomRepresentation(Learner):
    """Gaussian noise, the chance level.

    A cell has ``z ~ N(0, I)``, drawn from the seed, its modality and its name, so that it keeps its
    place whatever other cells there are.

    Parameters
    ----------
    n_components
        Coordinates of a cell.
    """

    name: ClassVar[str] = "random"
    uses_labels: ClassVar[bool] = False

    n_components: int = 10

    def _fit(self, screen: Screen, seed: int) -> None:
        self.seed_, self.names_ = seed, screen.modalities

    def _transform(self, mdata: MuData) -> Representations:
        z: Representations = {}
        for m in self.names_:
            cells = [f"{m}\n{cell}" for cell in mdata.mod[m].obs_names]
            keys = pd.util.hash_array(np.array(cells, dtype=object))
            draws = [np.random.default_rng([self.seed_, int(key)]) for key in keys]
            z[m] = np.stack([rng.normal(size=self.n_components) for rng in draws])
        return z
