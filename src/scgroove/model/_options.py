"""Defaults of :class:`scgroove.model.GROOVE`: its terms, and how long it trains."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from ..losses import BackTranslation, GroupCLIP, Reconstruction, Term
from ..module.encoders import EncoderKind


def default_terms() -> list[Term]:
    """Return the three terms of GROOVE: reconstruction, the group contrast and back-translation."""
    return [Reconstruction(), GroupCLIP(), BackTranslation()]


class Training(NamedTuple):
    """How long a model trains, and options of its plan, where the user says nothing."""

    plan: dict[str, Any]
    steps: int
    epochs_of_small_data: int

    def epochs(self, steps_per_epoch: int) -> int:
        """Epochs that make about as many steps, at least 10; of small data fewer, if they make 250 steps, and at most 150."""
        enough = math.ceil(self.steps / steps_per_epoch)
        of_small = max(self.epochs_of_small_data, math.ceil(250 / steps_per_epoch))
        return min(150, max(10, min(enough, of_small)))


def training_of(encoder: EncoderKind, goes_on: bool) -> Training:
    """Return how a model is trained.

    Linear encoders bear a high learning rate, and are done in a third of the steps. A model that goes on from a
    trained one takes small steps.
    """
    if encoder == "linear" and not goes_on:
        return Training({"lr": 1e-2}, 1000, 50)
    return Training({}, 3000, 150)
