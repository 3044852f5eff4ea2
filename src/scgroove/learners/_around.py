"""Learners that change what another learner makes."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from scgroove.data.screen import Screen
from scgroove.errors import InputError, InputTypeError
from scgroove.learners._base import Learner, Representations, check_output, construct

if TYPE_CHECKING:
    from mudata import MuData


@dataclass
class AroundLearner(Learner):
    """What a learner around another has in common: the one inside is made, checked and fitted.

    Parameters
    ----------
    learner
        A learner, or its name.
    options
        Options of the learner, if it is given by name.
    """

    example: ClassVar[str]
    """What stands inside, in messages."""
    inside_aligned: ClassVar[bool]
    """Whether the learner inside must have one space for all modalities."""

    learner: Learner | str
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse options that cannot be used."""
        inner = self._inner()
        # What is used is used by the learner inside: a ceiling stays a ceiling.
        self.__dict__.update(uses_pairs=inner.uses_pairs, uses_truth=inner.uses_truth)

    def _inner(self) -> Learner:
        """Return the learner inside, to be fitted."""
        if isinstance(self.learner, Learner):
            if self.options:
                raise InputError(
                    f"options={dict(self.options)!r} are for a learner given by name; {type(self.learner).__name__} was "
                    f"constructed with its own."
                )
            return copy(self.learner)
        name = type(self).__name__
        if not isinstance(self.learner, str):
            raise InputTypeError(
                f"learner must be a learner or its name; found {self.learner!r}. For example {name}({self.example!r}), or "
                f"{name}(scgroove.learners.get({self.example!r})())."
            )
        found = construct(self.learner, self.options)
        assert isinstance(found, Learner)
        return found

    def _fit_inner(self, screen: Screen, seed: int) -> Representations:
        """Fit the learner inside, and return its representations of the same cells."""
        self.inner_ = self._inner()
        self.inner_.evidence = self.evidence
        self.inner_._fit(screen, seed)
        self.inner_.modalities_ = screen.modalities
        return self._represent(screen.mdata, screen.modalities)

    def _represent(self, mdata: MuData, modalities: tuple[str, ...]) -> Representations:
        found = self.inner_._transform(mdata)
        return check_output(self.inner_.name, found, mdata, modalities, aligned=self.inside_aligned)
