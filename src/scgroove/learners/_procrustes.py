"""Procrustes rotation of the modalities by the means of the labels they share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from scgroove._types import BoolArray, Float64Array, FloatArray
from scgroove.data.screen import Screen
from scgroove.errors import InputError
from scgroove.learners._around import AroundLearner, mean_over_modalities, means_by_modality
from scgroove.learners._base import LEARNERS, Learner, Representations, preset
from scgroove.learners.common import AffineMap, apply

if TYPE_CHECKING:
    from mudata import MuData


@LEARNERS.register("group_procrustes")
@dataclass
class GroupProcrustes(AroundLearner):
    """Procrustes rotation of any learner: the modalities turned to the first by their labels.

    With C_m the means of the labels that modality m shares with the first, centered, one singular
    value decomposition gives the map::

        R_m = argmin ||C_m R - C_1||_F,  R' R = I;   C_m' C_1 = U S V',  R_m = U V'
        z = (z_m - mean_m) R_m + mean_1

    An isometry stretches nothing inside a label. Directions in which no label differs are dropped
    (zero): with fewer labels than coordinates nothing tells how to turn them. Narrower modalities
    are padded with zeros.

    Parameters
    ----------
    learner
        A learner, or its name.
    options
        Options of the learner, if it is given by name.

    References
    ----------
    Schönemann 1966, "A generalized solution of the orthogonal Procrustes problem".

    Examples
    --------
    >>> import scgroove
    >>> from scgroove.learners import GroupProcrustes
    >>> mdata = scgroove.simulations.weakly_paired(n_labels=6, n_cells_per_label=20)
    >>> z = GroupProcrustes("pca", {"n_components": 10}).fit_transform(mdata)
    >>> z["rna"].shape, z["protein"].shape
    ((120, 10), (120, 10))
    """

    name: ClassVar[str] = "group_procrustes"
    inside_aligned: ClassVar[bool] = False

    learner: Learner | str = "pca"

    def _fit(self, screen: Screen, seed: int) -> None:
        z = self._fit_inner(screen, seed)
        self.width_ = max(one.shape[1] for one in z.values())
        padded = {m: _padded(one, self.width_) for m, one in z.items()}
        means, present = means_by_modality(padded, screen.codes, screen.n_labels)
        self.maps_ = maps_to_first(means, present)
        self.evidence["label_error"] = label_error(means, present, self.maps_)

    def _transform(self, mdata: MuData) -> Representations:
        z = self._represent(mdata, self.modalities_)
        return {m: apply(self.maps_[m], _padded(one, self.width_)) for m, one in z.items()}


preset(
    GroupProcrustes,
    "pca_procrustes",
    "Principal components turned to one another by labels: :class:`GroupProcrustes` of ``pca``.",
    learner="pca",
)
preset(
    GroupProcrustes,
    "lda_procrustes",
    "Discriminants turned to one another by labels: :class:`GroupProcrustes` of ``lda``.",
    learner="lda",
)


def _padded(z: FloatArray, width: int) -> FloatArray:
    return np.pad(z, ((0, 0), (0, width - z.shape[1])))


def procrustes(source: Float64Array, target: Float64Array) -> Float64Array:
    """Return R, (k, k), of ``source @ R ~ target`` for centered means of labels, (labels, k).

    R is an isometry on the directions that labels tell, and zero on the others.
    """
    u, size, vt = np.linalg.svd(source.T @ target)
    rank = int((size > 1e-10 * max(size[0], 1e-300)).sum())
    turn: Float64Array = u[:, :rank] @ vt[:rank]
    return turn


def maps_to_first(
    means: Mapping[str, Float64Array], present: Mapping[str, BoolArray]
) -> dict[str, AffineMap]:
    """Return the maps of all modalities into the space of the first.

    Raises
    ------
    ValueError
        A modality has fewer than two labels in common with the first.
    """
    first, *others = means
    maps = {}
    in_others = np.zeros_like(present[first])
    for m in others:
        common = present[m] & present[first]
        if common.sum() < 2:
            raise InputError(
                f"{m!r} has {int(common.sum())} labels in common with {first!r}, and two or more "
                f"are needed to turn one to the other. Name another modality first: "
                f"fit(mdata, modalities=[...])."
            )
        in_others |= common
        source, target = means[m][common].mean(axis=0), means[first][common].mean(axis=0)
        turn = procrustes(means[m][common] - source, means[first][common] - target)
        maps[m] = (source, turn, target)
    center = means[first][in_others].mean(axis=0)
    own = means[first][in_others] - center
    return {first: (center, procrustes(own, own), center), **maps}


def label_error(
    means: Mapping[str, Float64Array],
    present: Mapping[str, BoolArray],
    maps: Mapping[str, AffineMap],
) -> float:
    """Return the share of the spread of mapped label means on which modalities disagree."""
    mapped = {m: apply(maps[m], values) for m, values in means.items()}
    average = mean_over_modalities(mapped, present)
    apart = spread = 0.0
    for m, there in present.items():
        own = mapped[m][there]
        apart += float(((own - average[there]) ** 2).sum())
        spread += float(((own - own.mean(axis=0)) ** 2).sum())
    return apart / spread if spread > 0 else 0.0
