"""How long :class:`scgroove.model.GROOVE` trains, and with which options, by default."""

from __future__ import annotations

import math
from typing import Any

from ..module.encoders import EncoderKind


def training_defaults(encoder: EncoderKind, goes_on: bool) -> tuple[dict[str, Any], int, int]:
    """Return options of the training plan, the number of steps, and the epochs of small data.

    Linear encoders bear a high learning rate, and are done in a third of the steps. A model that
    goes on from a trained one takes small steps.
    """
    if encoder == "linear" and not goes_on:
        return {"lr": 1e-2}, 1000, 50
    return {}, 3000, 150


def n_epochs(steps_per_epoch: int, n_steps: int, epochs_of_small_data: int) -> int:
    """Return the epochs for so many steps, at least 10 and at most 150.

    Small data have fewer, if these make 250 steps.
    """
    of_small = max(epochs_of_small_data, math.ceil(250 / steps_per_epoch))
    return min(150, max(10, min(math.ceil(n_steps / steps_per_epoch), of_small)))
