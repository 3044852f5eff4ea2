"""One vocabulary of labels over all modalities."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import numpy as np
import pandas as pd
from mudata import MuData
from numpy.typing import NDArray

from .._labels import as_objects, label_name
from .._registry import UnknownNameError

UNLABELLED = "(unlabelled)"


def label_keys(
    mdata: MuData, label_key: str | Mapping[str, str], modalities: Iterable[str]
) -> dict[str, str]:
    """The label column of each modality.

    Parameters
    ----------
    mdata
        The data.
    label_key
        One column name for all modalities, or one for each.
    modalities
        The modalities in use.

    Raises
    ------
    ValueError
        The mapping names an unknown modality or misses one.
    KeyError
        A modality has no such column.
    """
    modalities = list(modalities)
    if isinstance(label_key, Mapping):
        keys = dict(label_key)
        if set(keys) != set(modalities):
            raise ValueError(
                f"label_key names the modalities {sorted(keys)}, expected one column for each of {modalities}. "
                f"Pass one name for all, or label_key={dict.fromkeys(modalities, 'column')}."
            )
    else:
        keys = dict.fromkeys(modalities, label_key)
    for m, key in keys.items():
        columns = [str(c) for c in mdata.mod[m].obs.columns if not str(c).startswith("_scvi")]
        if key not in columns:
            near = get_close_matches(str(key), columns, n=1)
            hint = f" Did you mean '{near[0]}'?" if near else ""
            raise UnknownNameError(
                f"Label column '{key}' not found in mdata['{m}'].obs; its columns are {columns}.{hint} "
                f"Labels are looked up in each modality (not in mdata.obs): "
                f"label_key={ {n: keys[n] if n != m else near[0] if near else '...' for n in keys} } "
                "names one column for each modality."
            )
    return keys


def labels_of(obs: pd.DataFrame, key: str, unlabeled_category: str | None = None) -> NDArray[Any]:
    """Labels of one modality as strings, None where missing or equal to ``unlabeled_category``; shape (n,)."""
    codes, values = pd.factorize(as_objects(obs[key]))
    names = [label_name(v) for v in values]
    known = [None if n == unlabeled_category else n for n in names]
    return np.array([*known, None], dtype=object)[codes]  # type: ignore[no-any-return]


def encode_labels(labels: NDArray[Any], vocabulary: Sequence[str]) -> NDArray[np.int64]:
    """Codes of labels in a vocabulary, -1 where missing or not in it; shape (n,)."""
    known = pd.Index(list(vocabulary), dtype=object)
    return np.asarray(known.get_indexer(pd.Index(labels, dtype=object)), dtype=np.int64)


def label_table(
    mdata: MuData,
    label_key: str | Mapping[str, str] = "label",
    *,
    modalities: Iterable[str] | None = None,
    unlabeled_category: str | None = None,
) -> pd.DataFrame:
    """Cells of each label in each modality, and what links the modalities.

    Parameters
    ----------
    mdata
        Modalities measured on different cells, partly or all the same cells.
    label_key
        Label column, one name or one for each modality.
    modalities
        The modalities to count; all by default.
    unlabeled_category
        A value of the label columns that means "not known".

    Returns
    -------
    DataFrame indexed by label, with one column of counts for each modality and a column ``status``: ``"shared"``
    (in two modalities or more), ``"exclusive"`` (in one) or ``"unlabelled"`` (row ``"(unlabelled)"``, present
    only if there are such cells). Shared labels come first.

    Raises
    ------
    KeyError
        A modality has no such column.
    """
    modalities = list(mdata.mod) if modalities is None else list(modalities)
    keys = label_keys(mdata, label_key, modalities)
    counts = {}
    for m in modalities:
        labels = pd.Series(labels_of(mdata.mod[m].obs, keys[m], unlabeled_category), dtype=object)
        counts[m] = labels.fillna(UNLABELLED).value_counts()
    table = pd.DataFrame(counts).fillna(0).astype(int).reindex(columns=modalities)
    table.index = pd.Index(table.index.astype(str), name="label")
    shared = (table > 0).sum(axis=1) > 1
    table["status"] = np.where(shared, "shared", "exclusive")
    table.loc[table.index == UNLABELLED, "status"] = "unlabelled"
    rank = table["status"].map({"shared": 0, "exclusive": 1, "unlabelled": 2})
    order = np.lexsort((table.index.to_numpy(dtype=str), rank.to_numpy()))
    return table.iloc[order]
