"""Label centering: one place for the mean of each label in all modalities."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from scgroove._types import BoolArray, Float64Array, FloatArray, IntArray
from scgroove.data.labels import encode_labels, label_keys, labels_of
from scgroove.data.screen import Screen
from scgroove.errors import InputError
from scgroove.learners._around import AroundLearner, mean_over_modalities, means_by_modality
from scgroove.learners._base import LEARNERS, Learner, Representations, preset

if TYPE_CHECKING:
    from mudata import MuData


@dataclass(frozen=True, eq=False)
class Centering:
    """Shift of each label in each modality to the mean of the modalities that have it.

    Attributes
    ----------
    means, shifts
        For each modality, label means and their shifts, (n_labels, k).
    moves
        For each modality, the labels that another one has too, (n_labels,). Others do not move.
    radius
        Distance of every cell from the mean of its label. None if distances stay as they are.
    """

    means: Mapping[str, Float64Array]
    shifts: Mapping[str, Float64Array]
    moves: Mapping[str, BoolArray]
    radius: float | None

    @classmethod
    def fit(
        cls,
        z: Mapping[str, FloatArray],
        codes: Mapping[str, IntArray],
        n_labels: int,
        *,
        normalize: bool,
    ) -> Self:
        """Learn from representations (n_m, k) and label codes (n_m,), negative without a label.

        With ``normalize`` the radius is the root mean square distance of labeled cells from the
        mean of their label.
        """
        means, present = means_by_modality(z, codes, n_labels)
        common = mean_over_modalities(means, present)
        number = np.sum(list(present.values()), axis=0)
        radius = None
        if normalize:
            squares = [
                ((one - means[m][codes[m]]) ** 2).sum(axis=1)[codes[m] >= 0] for m, one in z.items()
            ]
            radius = float(np.sqrt(np.concatenate(squares).mean()))
        return cls(
            means=means,
            shifts={m: np.where(present[m][:, None], common - means[m], 0.0) for m in means},
            moves={m: there & (number > 1) for m, there in present.items()},
            radius=radius,
        )

    def __call__(self, modality: str, z: FloatArray, codes: IntArray) -> FloatArray:
        """Return the cells of a modality moved with their label, (n, k)."""
        means = self.means[modality]
        rows = (codes >= 0) & self.moves[modality][codes]
        own, moved = codes[rows], np.array(z)
        from_mean = moved[rows] - means[own]
        if self.radius is not None:
            length = np.linalg.norm(from_mean, axis=1, keepdims=True)
            apart = length > 0  # the only cell of a label is its mean
            from_mean *= np.where(apart, self.radius / np.where(apart, length, 1.0), 0.0)
        moved[rows] = means[own] + self.shifts[modality][own] + from_mean
        return moved


@LEARNERS.register("label_centered")
@dataclass
class LabelCentered(AroundLearner):
    """Label centering of any learner: one place for each label in all modalities.

    With C_m the label means of the representation of modality m, and C their mean over the
    modalities that have the label::

        z = z_m - C_m[y] + C[y]

    An effect that only one modality sees moves all cells of the label there, and so does an error
    of the representation. Inside a label, such a shift only hides which cells belong together. A
    label is supposed to be composed alike in all modalities. Cells without a label, and those of
    labels of one modality, do not move.

    Parameters
    ----------
    learner
        A learner with one space for all modalities, or its name.
    options
        Options of the learner, if it is given by name.
    normalize
        Place all cells equally far from the mean of their label, because the distance tells
        modalities apart more than cells.

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
    inside_aligned: ClassVar[bool] = True

    learner: Learner | str = "cca_labels"
    normalize: bool = True

    def __post_init__(self) -> None:
        """Refuse options that cannot be used."""
        super().__post_init__()
        inner = self._inner()
        if not inner.aligned:
            raise InputError(
                f"learner {inner.name!r} has no space that its modalities share, so that their "
                f"labels have no common place. Turn it into one first: "
                f"LabelCentered(GroupProcrustes({inner.name!r}))."
            )

    def _fit(self, screen: Screen, seed: int) -> None:
        z = self._fit_inner(screen, seed)
        self.vocabulary_, self.label_keys_ = screen.vocabulary, dict(screen.label_keys)
        self.centering_ = Centering.fit(z, screen.codes, screen.n_labels, normalize=self.normalize)

    def _transform(self, mdata: MuData) -> Representations:
        keys = label_keys(mdata, self.label_keys_, self.modalities_)
        moved: Representations = {}
        for m, z in self._represent(mdata, self.modalities_).items():
            codes = encode_labels(labels_of(mdata.mod[m].obs, keys[m]), self.vocabulary_)
            moved[m] = self.centering_(m, z, codes.astype(np.intp))
        return moved


preset(
    LabelCentered,
    "groove_centered",
    "GROOVE with label centering: :class:`LabelCentered` of ``groove``.",
    learner="groove",
)
preset(
    LabelCentered,
    "ps_logistic_centered",
    "Propensity logits with label centering: :class:`LabelCentered` of ``ps_logistic_scaled``.",
    learner="ps_logistic_scaled",
)
preset(
    LabelCentered,
    "cca_centered",
    "CCA of label means with label centering: :class:`LabelCentered` of ``cca_labels``.",
    learner="cca_labels",
)
