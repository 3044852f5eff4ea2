"""Defaults of :class:`scgroove.model.GROOVE`: its terms, and how long it trains. Weights of cells."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..errors import InputError, UnknownNameError
from ..losses import BackTranslation, GroupCLIP, Reconstruction, Term
from ..module import EncoderKind


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


def weights_of(
    obs: pd.DataFrame, key: str, modality: str, labeled: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Return weights of cells from their column, 1 where cells have no label, float32 (n,).

    Raises
    ------
    KeyError
        There is no such column.
    ValueError
        It does not hold numbers from 0 to 1 for all labeled cells.
    """
    if key not in obs:
        raise UnknownNameError(
            f"Weight column '{key}' not found in mdata['{modality}'].obs. Its columns are "
            f"{list(map(str, obs.columns))}. scgroove.tl.estimate_efficacy(mdata, control) writes one."
        )
    values = pd.to_numeric(obs[key], errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    own = values[labeled]
    if np.isnan(own).any():
        raise InputError(
            f"mdata['{modality}'].obs['{key}'] is missing, or no number, for {int(np.isnan(own).sum())} of "
            f"{len(own)} labeled cells. Give cells of unknown weight 1."
        )
    if len(own) and (own.min() < 0 or own.max() > 1):
        raise InputError(
            f"mdata['{modality}'].obs['{key}'] must hold probabilities, from 0 to 1; found {own.min():g} to "
            f"{own.max():g}. Convert response scores first, to the probability that the perturbation worked."
        )
    return np.where(labeled, values, 1.0).astype(np.float32)
