"""Representations without what moves a whole label in one modality and not in another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from scgroove._types import BoolArray, Float64Array, FloatArray, IntArray
from scgroove.data import encode_labels, label_keys, labels_of
from scgroove.learners._around import AroundLearner
from scgroove.learners._base import LEARNERS, Learner, Representations
from scgroove.learners._common import label_means
from scgroove.learners._screen import Screen

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
    total = np.sum([np.where(there[:, None], means[m], 0.0) for m, there in present.items()], axis=0)
    common = total / np.maximum(number, 1)[:, None]
    return {m: np.where(there[:, None], common - means[m], 0.0) for m, there in present.items()}


def shifted(z: FloatArray, codes: IntArray, shifts: Float64Array) -> FloatArray:
    """Return cells moved with their label, (n, k); those without one (-1) stay where they are."""
    moved = np.where((codes >= 0)[:, None], shifts[codes], 0.0)
    return np.asarray(z + moved, dtype=np.asarray(z).dtype)


@LEARNERS.register("label_centred")
@dataclass
class LabelCentred(AroundLearner):
    """Any learner, the means of each label brought to one place in all modalities.

    With C_m the means of the representation of modality m over the cells of each label, and C their mean over the modalities that
    have the label::

        z = z_m - C_m[y] + C[y]

    An effect of a perturbation that only one modality sees moves all cells of the label there, and so does an error of the
    representation; inside a label, all that such a shift does is to hide which cells belong together. It supposes that a label is
    composed alike in all modalities. Cells are moved by their label: cells without one, and those of labels of one modality, stay where they are.

    Parameters
    ----------
    learner
        A learner with one space for all modalities, or its name.
    options
        Options of the learner, if it is given by name.

    Examples
    --------
    >>> import scgroove
    >>> from scgroove.learners import LabelCentred
    >>> mdata = scgroove.simulations.weakly_paired(n_labels=6, n_cells_per_label=20)
    >>> z = LabelCentred("cca_labels").fit_transform(mdata)
    >>> {m: v.shape for m, v in z.items()}
    {'rna': (120, 5), 'protein': (120, 5)}
    """

    name: ClassVar[str] = "label_centred"
    example: ClassVar[str] = "groove"
    inside_aligned: ClassVar[bool] = True

    learner: Learner | str = "cca_labels"

    def __post_init__(self) -> None:
        """Refuse options that cannot be used."""
        super().__post_init__()
        inner = self._inner()
        if not inner.aligned:
            raise ValueError(
                f"learner {inner.name!r} has no space that its modalities share, so that their labels have no common place. Turn it into one "
                f"first: LabelCentred(GroupProcrustes({inner.name!r}))."
            )

    def _fit(self, screen: Screen, seed: int) -> None:
        representations = self._fit_inner(screen, seed)
        self.vocabulary_, self.label_keys_ = screen.vocabulary, dict(screen.label_keys)
        means, present = {}, {}
        for m, z in representations.items():
            means[m], counts = label_means(z, screen.codes[m], screen.n_labels)
            present[m] = counts > 0
        self.shifts_ = label_shifts(means, present)

    def _transform(self, mdata: MuData) -> Representations:
        keys = label_keys(mdata, self.label_keys_, self.modalities_)
        z = self._represent(mdata, self.modalities_)
        codes = {
            m: encode_labels(labels_of(mdata.mod[m].obs, keys[m]), self.vocabulary_).astype(np.intp)
            for m in self.modalities_
        }
        return {m: shifted(one, codes[m], self.shifts_[m]) for m, one in z.items()}


@LEARNERS.register("groove_centred")
@dataclass
class GrooveCentred(LabelCentred):
    """GROOVE, the means of each label brought to one place in all modalities: :class:`LabelCentred` of ``groove``."""

    name: ClassVar[str] = "groove_centred"

    learner: Learner | str = "groove"


@LEARNERS.register("ps_logistic_centred")
@dataclass
class LogisticCentred(LabelCentred):
    """Propensity logits, the means of each label brought to one place: :class:`LabelCentred` of ``ps_logistic_scaled``."""

    name: ClassVar[str] = "ps_logistic_centred"

    learner: Learner | str = "ps_logistic_scaled"


@LEARNERS.register("cca_centred")
@dataclass
class LabelCCACentred(LabelCentred):
    """Canonical correlation of label means, these brought to one place: :class:`LabelCentred` of ``cca_labels``."""

    name: ClassVar[str] = "cca_centred"

    learner: Learner | str = "cca_labels"
