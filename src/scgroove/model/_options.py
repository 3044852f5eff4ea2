"""What options of :class:`scgroove.model.GROOVE` mean: presets, and what is known of labels."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple, TypeAlias, get_args

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from .._labels import label_name
from .._registry import UnknownNameError, did_you_mean
from ..module import EfficacyMode
from ..module._encoders import EncoderKind

Preset = Literal["default", "paper"]
PRESETS: Final[dict[str, dict[str, dict[str, Any]]]] = {
    "default": {
        "model": {"encoder": "linear", "dropout_encoder": 0.4, "temperature": 0.2},
        "plan": {},
    },
    "paper": {
        "model": {"encoder": "mlp", "dropout_encoder": 0.0, "temperature": 0.1},
        "plan": {"lr": 1e-3, "lr_schedule": "constant", "backtranslation_warmup": 0.0},
    },
}
"""Options of the model and of its training plan that a preset gives where the user gives none."""


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


def training_of(preset: str, encoder: EncoderKind, goes_on: bool) -> Training:
    """How a model is trained: linear encoders bear a high learning rate, and are done in a third of the steps.

    A model that goes on from a trained one takes small steps.
    """
    plan = PRESETS[preset]["plan"]
    if preset == "default" and encoder == "linear" and not goes_on:
        return Training({**plan, "lr": 1e-2}, 1000, 50)
    return Training(plan, 3000, 150)


LabelEmbeddings: TypeAlias = pd.DataFrame | Mapping[str, Sequence[float]]
Agreement: TypeAlias = pd.DataFrame | Mapping[str, Mapping[str, float]]


def preset_options(preset: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Options of the model: those given, and those of the preset where None was given."""
    if preset not in PRESETS:
        raise ValueError(
            f"Unknown preset {preset!r}.{did_you_mean(preset, PRESETS)} Expected one of {get_args(Preset)}."
        )
    own = PRESETS[preset]["model"]
    return {name: own[name] if value is None else value for name, value in given.items()}


def rows_by_label(table: LabelEmbeddings) -> list[tuple[str, Any]]:
    """Names of labels and their embeddings, in the order of the table."""
    rows = (
        zip(table.index, table.to_numpy(), strict=True) if isinstance(table, pd.DataFrame) else table.items()
    )
    return [(label_name(label), row) for label, row in rows]


def embeddings_of_labels(
    given: LabelEmbeddings | None, labels: Sequence[str]
) -> dict[str, list[float]] | None:
    """The embeddings of the labels of a model, in the order of their codes, in plain Python to be saved.

    Raises
    ------
    ValueError
        Labels have no embedding or more than one, or embeddings are not finite numbers or of different lengths.
    """
    if given is None:
        return None
    every, wanted = rows_by_label(given), set(labels)
    rows = [(label, row) for label, row in every if label in wanted]
    if twice := sorted(label for label, n in Counter(label for label, _ in rows).items() if n > 1):
        raise ValueError(
            f"label_embeddings has labels more than once: {twice[:5]}. Which is meant? Keep one of each, or their mean: "
            "table.groupby(level=0).mean()."
        )
    try:
        table = {label: np.asarray(row, dtype=float) for label, row in rows}
    except (TypeError, ValueError):
        raise ValueError(
            "label_embeddings must hold numbers only; found others. Labels belong into the index: table.set_index(...)."
        ) from None
    if missing := [label for label in labels if label not in table]:
        raise ValueError(
            f"label_embeddings lack {len(missing)} of {len(labels)} labels: {missing[:5]}. Give each label of the data an embedding (a "
            "control may have zeros), or set the labels of these cells to missing. They have, for instance, "
            f"{[label for label, _ in every[:5]]}: are names spelled alike?"
        )
    found = {label: table[label] for label in labels}
    widths = {len(row) if row.ndim == 1 else -1 for row in found.values()}
    if len(widths) != 1 or min(widths) < 1 or not all(np.isfinite(row).all() for row in found.values()):
        raise ValueError(
            f"label_embeddings must hold finite numbers, as many for each label; found lengths {sorted(widths)} or values that are "
            "missing. Fill them in: table.fillna(table.mean())."
        )
    return {label: row.tolist() for label, row in found.items()}


def with_embeddings(
    known: Mapping[str, Sequence[float]] | None, more: LabelEmbeddings | None
) -> LabelEmbeddings | None:
    """Embeddings that a model knows, and those of other labels.

    Raises
    ------
    ValueError
        The model knows none, so that more of them would do nothing.
    """
    if more is None:
        return known
    if known is None:
        raise ValueError(
            "The reference was not given label_embeddings, so that those of new labels would do nothing: leave them out."
        )
    return {**{label: np.asarray(row).tolist() for label, row in rows_by_label(more)}, **known}


def agreement_of_labels(given: Agreement | None, labels: Sequence[str]) -> dict[str, dict[str, float]] | None:
    """How far labels of a model agree, what is not zero or a label with itself, to be saved.

    Raises
    ------
    KeyError
        A label is not in the data.
    ValueError
        A value is not from 0 to 1, or the two orders of a pair disagree.
    """
    if given is None:
        return None
    named = given.to_dict(orient="index") if isinstance(given, pd.DataFrame) else given
    rows = {label_name(a): {label_name(b): value for b, value in row.items()} for a, row in named.items()}
    known = set(labels)
    found: dict[str, dict[str, float]] = {}
    for a, row in rows.items():
        for b, value in row.items():
            if unknown := [label for label in (a, b) if label not in known]:
                raise UnknownNameError(
                    f"label_agreement names {unknown[0]!r}, which is no label of the data.{did_you_mean(unknown[0], labels)}"
                )
            other = rows.get(b, {}).get(a, value)
            if not 0 <= value <= 1 or value != other or (a == b and value != 1):
                raise ValueError(
                    f"label_agreement must be symmetric, from 0 to 1, and 1 of a label with itself; found {value} of ({a!r}, {b!r})"
                    f" and {other} of ({b!r}, {a!r})."
                )
            if value and a != b:
                found.setdefault(a, {})[b] = float(value)
    return found


def agreement_matrix(
    agreement: Mapping[str, Mapping[str, float]] | None, labels: Sequence[str]
) -> Tensor | None:
    """K of :func:`scgroove.losses.membership_agreement`, (n_labels, n_labels)."""
    if agreement is None:
        return None
    at, matrix = {label: i for i, label in enumerate(labels)}, torch.eye(len(labels))
    for a, row in agreement.items():
        for b, value in row.items():
            matrix[at[a], at[b]] = matrix[at[b], at[a]] = value
    return matrix


def efficacy_of(
    obs: pd.DataFrame, key: str, modality: str, labelled: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Efficacy of cells from their column, 1 where cells have no label; float32 (n,).

    Raises
    ------
    KeyError
        There is no such column.
    ValueError
        It does not hold numbers from 0 to 1 for all labelled cells.
    """
    if key not in obs:
        raise UnknownNameError(
            f"Efficacy column '{key}' not found in mdata['{modality}'].obs; its columns are {list(map(str, obs.columns))}. "
            "scgroove.tl.estimate_efficacy(mdata, control) writes one."
        )
    values = pd.to_numeric(obs[key], errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    own = values[labelled]
    if np.isnan(own).any():
        raise ValueError(
            f"mdata['{modality}'].obs['{key}'] is missing, or no number, for {int(np.isnan(own).sum())} of {len(own)} labelled cells. Give "
            "cells of unknown efficacy 1."
        )
    if len(own) and (own.min() < 0 or own.max() > 1):
        raise ValueError(
            f"mdata['{modality}'].obs['{key}'] must hold probabilities, from 0 to 1; found {own.min():g} to {own.max():g}. A score of the "
            "strength of a response is none: turn it into the probability that the perturbation worked."
        )
    return np.where(labelled, values, 1.0).astype(np.float32)


def check_combination(
    prototypes: bool,
    agreement: Mapping[str, Any] | None,
    efficacy_mode: str,
    control: str | None,
    labels: Sequence[str],
    tower: bool,
) -> None:
    """Refuse options that cannot go together.

    Raises
    ------
    KeyError
        The control is no label of the data.
    ValueError
        Unknown or contradicting options.
    """
    if efficacy_mode not in get_args(EfficacyMode):
        raise ValueError(
            f"Unknown efficacy_mode {efficacy_mode!r}. Expected one of {get_args(EfficacyMode)}."
        )
    if control is not None and control not in labels:
        raise UnknownNameError(f"control {control!r} is no label of the data.{did_you_mean(control, labels)}")
    if efficacy_mode == "reassign" and control is None:
        raise ValueError(
            'efficacy_mode="reassign" gives cells to the control in part: name it, control="...". Without a control use '
            'efficacy_mode="weight".'
        )
    if tower and efficacy_mode == "reassign":
        raise ValueError(
            'label_embeddings place whole labels, and efficacy_mode="reassign" gives cells to the control in part. Use '
            'efficacy_mode="weight".'
        )
    if prototypes and (agreement is not None or efficacy_mode == "reassign"):
        raise ValueError(
            'Prototypes are those of whole labels: they go neither with label_agreement nor with efficacy_mode="reassign".'
        )
