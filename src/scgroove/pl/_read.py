"""Read what the verbs wrote, and say which call is missing when it is not there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pandas as pd

from scgroove._figure import natural_order
from scgroove._labels import UnlabeledCategory, label_name, names_of
from scgroove.data import labels
from scgroove.errors import InputError, did_you_mean

if TYPE_CHECKING:
    from mudata import MuData

LabelKey: TypeAlias = str | Mapping[str, str]


def listed(items: Iterable[object], limit: int = 12) -> str:
    """Name at most ``limit`` items."""
    names = [repr(str(item)) for item in items]
    rest = len(names) - limit
    shown = ", ".join(names[:limit]) or "none"
    return f"{shown} and {rest} more" if rest > 0 else shown


def stored(mdata: MuData, key: str, call: str) -> Any:
    """Return what a verb wrote to ``mdata.uns``; a ValueError names the call that writes it."""
    if key not in mdata.uns:
        raise InputError(
            f"mdata.uns has no {key!r}; it has {listed(mdata.uns)}.{did_you_mean(key, list(mdata.uns))} "
            f"Make it with scgroove.tl.{call}."
        )
    return mdata.uns[key]


def check_modalities(mdata: MuData, modalities: Sequence[str]) -> None:
    """Raise a ValueError that names the modalities there are."""
    for modality in modalities:
        if modality not in mdata.mod:
            raise InputError(
                f"There is no modality {modality!r}; mdata has {listed(mdata.mod)}."
                f"{did_you_mean(modality, mdata.mod)}"
            )


def labels_of(
    mdata: MuData, modality: str, label_key: LabelKey, unlabeled_category: UnlabeledCategory = None
) -> np.ndarray[Any, np.dtype[np.object_]]:
    """Labels of the cells of a modality as text, None where missing."""
    key = label_key if isinstance(label_key, str) else label_key.get(modality)
    obs = mdata.mod[modality].obs
    if key is None:
        raise InputError(
            f"label_key names no column for modality {modality!r}: give one name for all, "
            f"or label_key={{..., {modality!r}: 'COLUMN'}}."
        )
    if key not in obs.columns:
        raise InputError(
            f"mod[{modality!r}].obs has no column {key!r}; it has {listed(obs.columns)}."
            f"{did_you_mean(key, obs.columns)} Name the column of the labels with label_key=."
        )
    return labels.labels_of(obs, key, unlabeled_category, modality)


def label_colors(
    mdata: MuData,
    modalities: Iterable[str],
    label_key: LabelKey,
    asked: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Colors of labels: those asked for, then those in ``mod[m].uns["<label>_colors"]``, the first modality first.

    As scanpy keeps them: one for each category, in order. Anything else there says nothing.
    """
    from matplotlib.colors import is_color_like

    found = dict(asked or {})
    for modality in modalities:
        adata = mdata.mod[modality]
        key = label_key if isinstance(label_key, str) else label_key.get(modality)
        known = [str(color) for color in np.atleast_1d(adata.uns.get(f"{key}_colors", []))]
        column = adata.obs.get(key)
        if column is None or not isinstance(column.dtype, pd.CategoricalDtype):
            continue
        if len(known) >= len(column.cat.categories) and all(map(is_color_like, known)):
            for label, color in zip(map(label_name, column.cat.categories), known, strict=False):
                found.setdefault(label, color)
    return found


def column_of(mdata: MuData, modalities: Sequence[str], name: str) -> np.ndarray[Any, Any]:
    """Return a column of ``obs`` of several modalities, one after the other.

    Numbers, NaN where a modality has no such column or no value; or text, None there.
    """
    parts = [mdata.mod[m].obs.get(name) for m in modalities]
    present = [part for part in parts if part is not None]
    if all(pd.api.types.is_numeric_dtype(p) and not pd.api.types.is_bool_dtype(p) for p in present):
        return np.concatenate(
            [
                np.full(mdata.mod[m].n_obs, np.nan)
                if part is None
                else part.to_numpy(float, na_value=np.nan)
                for m, part in zip(modalities, parts, strict=True)
            ]
        )
    return np.concatenate(
        [
            np.full(mdata.mod[m].n_obs, None, dtype=object) if part is None else names_of(part)
            for m, part in zip(modalities, parts, strict=True)
        ]
    )


def label_status(labels: Mapping[str, np.ndarray[Any, Any]]) -> dict[str, str]:
    """``"shared"``, or the one modality that has the label, for each label in natural order."""
    where: dict[str, list[str]] = {}
    for modality, values in labels.items():
        for label in {value for value in values if value is not None}:
            where.setdefault(label, []).append(modality)
    return {
        label: "shared" if len(where[label]) > 1 else where[label][0]
        for label in natural_order(where)
    }


def shared_first(status: Mapping[str, str]) -> list[str]:
    """Labels in the order in which they have their colors in all figures: shared ones, then those of one modality."""
    return sorted(status, key=lambda label: (status[label] != "shared", status[label]))
