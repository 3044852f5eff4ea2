"""Read what the verbs wrote, and say which call is missing when it is not there."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scgroove._labels import label_name
from scgroove._registry import did_you_mean

if TYPE_CHECKING:
    from mudata import MuData

LabelKey = str | Mapping[str, str]


def listed(items: Iterable[object], limit: int = 12) -> str:
    """Name at most ``limit`` items."""
    names = [repr(str(item)) for item in items]
    rest = len(names) - limit
    shown = ", ".join(names[:limit]) or "none"
    return f"{shown} and {rest} more" if rest > 0 else shown


def check_modalities(mdata: MuData, modalities: Sequence[str]) -> None:
    """Raise a ValueError that names the modalities there are."""
    for modality in modalities:
        if modality not in mdata.mod:
            raise ValueError(
                f"There is no modality {modality!r}; mdata has {listed(mdata.mod)}."
                f"{did_you_mean(modality, mdata.mod)}"
            )


def labels_of(
    mdata: MuData, modality: str, label_key: LabelKey, unlabeled_category: str | None = None
) -> np.ndarray[Any, np.dtype[np.object_]]:
    """Labels of the cells of a modality as text, None where missing."""
    key = label_key if isinstance(label_key, str) else label_key.get(modality)
    obs = mdata.mod[modality].obs
    if key is None:
        raise ValueError(
            f"label_key names no column for modality {modality!r}: give one name for all, "
            f"or label_key={{..., {modality!r}: 'COLUMN'}}."
        )
    if key not in obs.columns:
        raise ValueError(
            f"mod[{modality!r}].obs has no column {key!r}; it has {listed(obs.columns)}."
            f"{did_you_mean(key, obs.columns)} Name the column of the labels with label_key=."
        )
    column = obs[key].astype(object)
    missing = pd.isna(column).to_numpy(dtype=bool)
    labels = np.array([label_name(value) for value in column], dtype=object)
    if unlabeled_category is not None:
        missing = missing | (labels == unlabeled_category)
    labels[missing] = None
    return labels


def natural_order(labels: Iterable[str]) -> list[str]:
    """Sort as people do: g2 before g10."""

    def key(label: str) -> list[tuple[int, int, str]]:
        parts = re.split(r"(\d+)", label.lower())
        return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts if part]

    return sorted(set(labels), key=lambda label: (key(label), label))


def label_status(labels: Mapping[str, np.ndarray[Any, Any]]) -> dict[str, str]:
    """``"shared"``, or the one modality that has the label, for each label in natural order."""
    where: dict[str, list[str]] = {}
    for modality, values in labels.items():
        for label in {value for value in values if value is not None}:
            where.setdefault(label, []).append(modality)
    return {label: "shared" if len(where[label]) > 1 else where[label][0] for label in natural_order(where)}
