"""What the figures read of a MuData, and errors that name the call that makes what is missing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scgroove._figure import natural_order
from scgroove._labels import UnlabeledCategory, label_name, names_of
from scgroove.errors import InputError, UnknownNameError, did_you_mean, listed

if TYPE_CHECKING:
    from mudata import MuData

    from scgroove.data.checks import PerModality

Array = np.ndarray[Any, Any]


def stored(mdata: MuData, key: str, call: str) -> Any:
    """Return what a verb wrote to ``mdata.uns``, or raise an error that names the call."""
    if key not in mdata.uns:
        hint = did_you_mean(key, list(mdata.uns))
        raise UnknownNameError(
            "result",
            key,
            mdata.uns,
            f"mdata.uns has no {key!r}; it has {listed(mdata.uns)}.{hint} "
            f"Make it with scgroove.tl.{call}.",
        )
    return mdata.uns[key]


def check_columns(table: pd.DataFrame, needed: Iterable[str], call: str) -> None:
    """Refuse a table that lacks columns."""
    missing = [column for column in needed if column not in table]
    if missing:
        raise InputError(
            f"the table lacks {missing}; expected the columns that scgroove.tl.{call} writes, "
            f"found {listed(table, 30)}."
        )


def check_known(kind: str, asked: Sequence[str], known: Iterable[str]) -> list[str]:
    """Return names that are asked for, each of which must be known."""
    names = [asked] if isinstance(asked, str) else list(asked)
    choices = list(known)
    if not names:
        raise InputError(
            f"no {kind} is named; name one or more of {len(choices)}, such as {listed(choices, 6)}."
        )
    for name in names:
        if name not in choices:
            raise UnknownNameError(
                kind,
                name,
                choices,
                f"There is no {kind} {name!r}; there are {len(choices)}, such as "
                f"{listed(choices, 6)}.{did_you_mean(name, choices)}",
            )
    return names


def check_number(kind: str, n: int) -> None:
    """Refuse to draw no item of a kind."""
    if n < 1:
        raise InputError(f"{kind}s is {n}; expected at least 1, or names of {kind}s.")


def check_modalities(mdata: MuData, *modalities: str) -> None:
    """Refuse modalities that do not exist."""
    from scgroove.data.screen import check_modality

    for name in modalities:
        check_modality(mdata, name, "modality")


def labels_of_pair(
    mdata: MuData,
    source: str,
    target: str,
    label_key: PerModality | None,
    unlabeled_category: UnlabeledCategory,
) -> dict[str, Array]:
    """Return the labels of the cells of two modalities, None where missing."""
    check_modalities(mdata, source, target)
    return labels_of_modalities(mdata, (source, target), label_key, unlabeled_category)


def labels_of_modalities(
    mdata: MuData,
    modalities: Iterable[str],
    label_key: PerModality | None,
    unlabeled_category: UnlabeledCategory,
) -> dict[str, Array]:
    """Return the labels of the cells of each modality, None where missing."""
    from scgroove.data.screen import labels_of_modality

    return {
        m: np.asarray(labels_of_modality(mdata, m, label_key, unlabeled_category), dtype=object)
        for m in modalities
    }


def label_colors(
    mdata: MuData,
    modalities: Iterable[str],
    label_key: PerModality | None,
    asked: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Return colors of labels: those asked for, then those of ``mod[m].uns["<label>_colors"]``.

    scanpy keeps them there, one for each category. Lists that do not fit are ignored.
    """
    from matplotlib.colors import is_color_like

    found = dict(asked or {})
    for modality in modalities:
        adata = mdata.mod[modality]
        key = label_key.get(modality) if isinstance(label_key, Mapping) else label_key
        column = adata.obs.get(key)
        if column is None or not isinstance(column.dtype, pd.CategoricalDtype):
            continue
        colors = [str(color) for color in np.atleast_1d(adata.uns.get(f"{key}_colors", []))]
        if len(colors) >= len(column.cat.categories) and all(map(is_color_like, colors)):
            for label, color in zip(column.cat.categories, colors, strict=False):
                found.setdefault(label_name(label), color)
    return found


def column_of(mdata: MuData, modalities: Sequence[str], name: str) -> Array:
    """Return a column of ``obs`` of several modalities, one after the other.

    Numbers, NaN where a modality has no such column or no value, or else text, None there.
    """
    empty = pd.Series(dtype=float)
    parts: list[Any] = [
        mdata.mod[m].obs.get(name, empty.reindex(mdata.mod[m].obs_names)) for m in modalities
    ]
    has_column = [
        part for m, part in zip(modalities, parts, strict=True) if name in mdata.mod[m].obs
    ]
    if all(_is_numeric(part) for part in has_column):
        return np.concatenate([part.to_numpy(float, na_value=np.nan) for part in parts])
    return np.concatenate([names_of(part) for part in parts])


def _is_numeric(column: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)


def label_status(labels: Mapping[str, Array]) -> dict[str, str]:
    """Return ``"shared"``, or the one modality with the label, by label in natural order."""
    where: dict[str, list[str]] = {}
    for modality, values in labels.items():
        for label in set(values) - {None}:
            where.setdefault(label, []).append(modality)
    return {
        label: "shared" if len(where[label]) > 1 else where[label][0]
        for label in natural_order(where)
    }


def shared_first(status: Mapping[str, str]) -> list[str]:
    """Return labels in the order of their colors in all figures: shared ones first."""
    return sorted(status, key=lambda label: (status[label] != "shared", status[label]))
