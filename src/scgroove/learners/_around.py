"""Base class of learners that change the output of another learner."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from scgroove._types import BoolArray, Float64Array
from scgroove.data.screen import Screen
from scgroove.errors import InputError, InputTypeError
from scgroove.learners._base import Learner, Representations, check_output, construct
from scgroove.learners.common import label_means

if TYPE_CHECKING:
    from mudata import MuData


@dataclass
class AroundLearner(Learner):
    """A learner around another one, which is constructed, fitted and checked here."""

    inside_aligned: ClassVar[bool]
    """The learner inside must have one space for all modalities."""

    learner: Learner | str
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse options that cannot be used."""
        inner = self._inner()
        # a ceiling inside makes this one a ceiling
        self.__dict__.update(uses_pairs=inner.uses_pairs, uses_truth=inner.uses_truth)

    def _inner(self) -> Learner:
        if isinstance(self.learner, Learner):
            if self.options:
                raise InputError(
                    f"options={dict(self.options)!r} are for a learner given by name; "
                    f"{type(self.learner).__name__} was constructed with its own."
                )
            return copy(self.learner)
        name = type(self).__name__
        if not isinstance(self.learner, str):
            raise InputTypeError(
                f"learner must be a learner or its name; found {self.learner!r}. For example "
                f"{name}('groove'), or {name}(scgroove.learners.get('groove')())."
            )
        inner: Learner = construct(self.learner, self.options)
        return inner

    def _fit_inner(self, screen: Screen, seed: int) -> Representations:
        """Fit the learner inside, and return its representations of the same cells."""
        self.inner_ = self._inner()
        self.inner_.evidence = self.evidence
        self.inner_._fit(screen, seed)
        self.inner_.modalities_ = screen.modalities
        return self._represent(screen.mdata, screen.modalities)

    def _represent(self, mdata: MuData, modalities: tuple[str, ...]) -> Representations:
        z = self.inner_._transform(mdata)
        return check_output(self.inner_.name, z, mdata, modalities, aligned=self.inside_aligned)


def means_by_modality(
    z: Mapping[str, Any], codes: Mapping[str, Any], n_labels: int
) -> tuple[dict[str, Float64Array], dict[str, BoolArray]]:
    """Return label means (n_labels, k) and the labels that are present, by modality."""
    means, present = {}, {}
    for m, values in z.items():
        means[m], counts = label_means(values, codes[m], n_labels)
        present[m] = counts > 0
    return means, present


def mean_over_modalities(
    means: Mapping[str, Float64Array], present: Mapping[str, BoolArray]
) -> Float64Array:
    """Return the mean of each label over the modalities that have it, zero if none has."""
    number = np.sum(list(present.values()), axis=0)
    total = sum(np.where(there[:, None], means[m], 0.0) for m, there in present.items())
    mean: Float64Array = np.asarray(total) / np.maximum(number, 1)[:, None]
    return mean
