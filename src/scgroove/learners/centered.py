"""Representations without what moves a whole label in one modality and not in another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from scgroove._types import BoolArray, Float64Array, FloatArray, IntArray
from scgroove.data.labels import encode_labels, label_keys, labels_of
from scgroove.data.screen import Screen
from scgroove.errors import InputError
from scgroove.learners._around import AroundLearner
from scgroove.learners._base import LEARNERS, Learner, Representations
from scgroove.learners.common import label_means

if TYPE_CHECKING:
    from mudata import MuData


def label_shifts(
    means: Mapping[str, Float64Array], present: Mapping[str, BoolArray]
) -> dict[str, Float64Array]:
    """Return what takes the mean of each label in each modality to the mean of the modalities that have it.

    Parameters
    ----------
    means
        For each modality the means of the labels, (n_labels, k).
    present
        For each modality which of them it has, (n_labels,).

    Returns
    -------
    dict
        For each modality (n_labels, k), to be added to the cells; zero where a label is absent, or nowhere else.
    """
    number = np.sum(list(present.values()), axis=0)
    total = np.sum(
        [np.where(there[:, None], means[m], 0.0) for m, there in present.items()], axis=0
    )
    common = total / np.maximum(number, 1)[:, None]
    return {m: np.where(there[:, None], common - means[m], 0.0) for m, there in present.items()}


def in_others(present: Mapping[str, BoolArray]) -> dict[str, BoolArray]:
    """Return for each modality which labels it and another have, (n_labels,)."""
    number = np.sum(list(present.values()), axis=0)
    return {m: there & (number > 1) for m, there in present.items()}


def radius(
    z: Mapping[str, FloatArray], codes: Mapping[str, IntArray], means: Mapping[str, Float64Array]
) -> float:
    """Return the root mean square distance of labeled cells from the mean of their label in their modality, over all modalities."""
    parts = [((one - means[m][codes[m]]) ** 2).sum(axis=1)[codes[m] >= 0] for m, one in z.items()]
    return float(np.sqrt(np.concatenate(parts).mean()))


def shifted(
    z: FloatArray,
    codes: IntArray,
    means: Float64Array,
    shifts: Float64Array,
    moves: BoolArray,
    radius: float | None = None,
) -> FloatArray:
    """Return cells moved with their label, (n, k), and there put at a distance from its mean.

    Parameters
    ----------
    z
        Cells of a modality, (n, k).
    codes
        Their labels, (n,); negative: none.
    means, shifts
        Means of the labels in this modality, and how they move, (n_labels, k).
    moves
        Labels that do, (n_labels,): others, and cells without a label, stay where they are.
    radius
        Distance of every cell from the mean of its label; None: as it is.
    """
    rows = (codes >= 0) & moves[codes]
    own, places = codes[rows], np.array(z)
    from_mean = places[rows] - means[own]
    if radius is not None:
        length = np.linalg.norm(from_mean, axis=1, keepdims=True)
        there = length > 0  # not so for the only cell of a label
        from_mean = from_mean * np.where(there, radius / np.where(there, length, 1.0), 0.0)
    places[rows] = means[own] + shifts[own] + from_mean
    return places


@LEARNERS.register("label_centered")
@dataclass
class LabelCentered(AroundLearner):
    """Any learner, the means of each label brought to one place in all modalities.

    With C_m the means of the representation of modality m over the cells of each label, and C their mean over the modalities that
    have the label::

        z = z_m - C_m[y] + C[y]

    An effect of a perturbation that only one modality sees moves all cells of the label there, and so does an error of the
    representation; inside a label, all that such a shift does is to hide which cells belong together. It supposes that a label is
    composed alike in all modalities. Cells are moved by their label: cells without one, and those of labels of one modality, stay where they are.

    How far a cell lies from the mean of its label tells modalities apart more than cells, so that all come to lie equally far
    (``normalize``).

    Parameters
    ----------
    learner
        A learner with one space for all modalities, or its name.
    options
        Options of the learner, if it is given by name.
    normalize
        Keep only the direction in which a cell lies from the mean of its label.

    Examples
    --------
    >>> import scgroove
    >>> from scgroove.learners import LabelCentered
    >>> mdata = scgroove.simulations.weakly_paired(n_labels=6, n_cells_per_label=20)
    >>> z = LabelCentered("cca_labels").fit_transform(mdata)
    >>> {m: v.shape for m, v in z.items()}
    {'rna': (120, 5), 'protein': (120, 5)}
    """

    name: ClassVar[str] = "label_centered"
    example: ClassVar[str] = "groove"
    inside_aligned: ClassVar[bool] = True

    learner: Learner | str = "cca_labels"
    normalize: bool = True

    def __post_init__(self) -> None:
        """Refuse options that cannot be used."""
        super().__post_init__()
        inner = self._inner()
        if not inner.aligned:
            raise InputError(
                f"learner {inner.name!r} has no space that its modalities share, so that their labels have no common place. Turn it into one "
                f"first: LabelCentered(GroupProcrustes({inner.name!r}))."
            )

    def _fit(self, screen: Screen, seed: int) -> None:
        representations = self._fit_inner(screen, seed)
        self.vocabulary_, self.label_keys_ = screen.vocabulary, dict(screen.label_keys)
        means, present = {}, {}
        for m, z in representations.items():
            means[m], counts = label_means(z, screen.codes[m], screen.n_labels)
            present[m] = counts > 0
        self.means_, self.moves_ = means, in_others(present)
        self.shifts_ = label_shifts(means, present)
        self.radius_ = radius(representations, screen.codes, means) if self.normalize else None

    def _transform(self, mdata: MuData) -> Representations:
        keys = label_keys(mdata, self.label_keys_, self.modalities_)
        z = self._represent(mdata, self.modalities_)
        codes = {
            m: encode_labels(labels_of(mdata.mod[m].obs, keys[m]), self.vocabulary_).astype(np.intp)
            for m in self.modalities_
        }
        return {
            m: shifted(one, codes[m], self.means_[m], self.shifts_[m], self.moves_[m], self.radius_)
            for m, one in z.items()
        }


@LEARNERS.register("groove_centered")
@dataclass
class GrooveCentered(LabelCentered):
    """GROOVE, the means of each label brought to one place in all modalities: :class:`LabelCentered` of ``groove``."""

    name: ClassVar[str] = "groove_centered"

    learner: Learner | str = "groove"


@LEARNERS.register("ps_logistic_centered")
@dataclass
class LogisticCentered(LabelCentered):
    """Propensity logits, the means of each label brought to one place: :class:`LabelCentered` of ``ps_logistic_scaled``."""

    name: ClassVar[str] = "ps_logistic_centered"

    learner: Learner | str = "ps_logistic_scaled"


@LEARNERS.register("cca_centered")
@dataclass
class LabelCCACentered(LabelCentered):
    """Canonical correlation of label means, these brought to one place: :class:`LabelCentered` of ``cca_labels``."""

    name: ClassVar[str] = "cca_centered"

    learner: Learner | str = "cca_labels"
