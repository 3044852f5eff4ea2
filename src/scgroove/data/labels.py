"""One vocabulary of labels over all modalities."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from difflib import get_close_matches
from typing import Any, Final, TypeAlias

import numpy as np
import pandas as pd
from mudata import MuData
from numpy.typing import NDArray

from .. import _keys
from .._labels import (
    NO_LABEL_NAME,
    UnlabeledCategory,
    alike,
    as_objects,
    is_fraction,
    label_name,
    read_labels,
    unlabeled_names,
)
from .._types import IntArray
from .._warnings import warn
from ..errors import UnknownNameError, did_you_mean
from .checks import PerModality, name_of, per_modality

LOOKS_UNLABELED: Final = frozenset(
    [
        "unassigned",
        "notassigned",
        "multiplet",
        "multiple",
        "doublet",
        "negative",
        "unknown",
        "unlabeled",
        "unlabelled",
        "none",
        "noguide",
        "nolabel",
        "ambiguous",
        "undetermined",
        "unmapped",
        "missing",
        "-1",
    ]
)
"""Names, without case and blanks, that guide calling and demultiplexing give to unlabeled cells."""

_Columns: TypeAlias = list[tuple[pd.Series, frozenset[str], NDArray[Any]]]
_read: ContextVar[_Columns | None] = ContextVar("label columns that were read", default=None)


@contextmanager
def labels_read_once() -> Iterator[None]:
    """Read every label column once inside, however many functions ask for it.

    A column that was changed in between is read anew.
    """
    token = None if _read.get() is not None else _read.set([])
    try:
        yield
    finally:
        if token is not None:
            _read.reset(token)


def labels_of(
    obs: pd.DataFrame,
    key: str,
    unlabeled_category: UnlabeledCategory = None,
    modality: str | None = None,
) -> NDArray[Any]:
    """Labels of one modality by name, None where there is none. Shape (n,)."""
    column, unlabeled, columns = obs[key], unlabeled_names(unlabeled_category), _read.get()
    for known, category, labels in columns or []:
        if category == unlabeled and known.dtype == column.dtype and known.equals(column):
            return labels.copy()
    where = f"obs['{key}']" if modality is None else f"mdata['{modality}'].obs['{key}']"
    labels = read_labels(column, unlabeled_category, where)
    if columns is not None:
        columns.append((column.copy(), unlabeled, labels.copy()))
    return labels


def label_keys(
    mdata: MuData, label_key: PerModality, modalities: Iterable[str], *, exact: bool = True
) -> dict[str, str]:
    """Label column of each modality, from one name for all or one for each.

    The column of the set-up stands for that of the default name where that does not exist.
    """
    keys = per_modality(label_key, list(modalities), "label_key", exact=exact)
    for m, key in keys.items():
        if key not in mdata.mod[m].obs:
            of_setup = labels_of_setup(mdata, m)[0] if key == _keys.LABEL else None
            if of_setup is None:
                raise UnknownNameError("column", key, mdata.mod[m].obs, _no_column(mdata, keys, m))
            keys[m] = of_setup
    return keys


def label_columns(
    mdata: MuData,
    label_key: PerModality,
    modalities: Iterable[str],
    unlabeled_category: UnlabeledCategory = None,
) -> tuple[dict[str, str], UnlabeledCategory]:
    """Return the label column of each modality, and the labels that mean none.

    Both are those of the set-up where the column of the default name does not exist.
    """
    keys = label_keys(mdata, label_key, modalities, exact=False)
    for m, key in keys.items():
        if unlabeled_category is None and key != name_of(label_key, m, "label_key"):
            unlabeled_category = labels_of_setup(mdata, m)[1]
    return keys, unlabeled_category


def labels_of_setup(mdata: MuData, modality: str) -> tuple[str | None, UnlabeledCategory]:
    """Return the label column of the set-up, or None, and the labels that mean none."""
    record = mdata.uns.get(_keys.PAIRING, {})
    key = record.get("label_key", {}).get(modality)
    return key if key in mdata.mod[modality].obs else None, record.get("unlabeled_category")


def _no_column(mdata: MuData, keys: Mapping[str, str], modality: str) -> str:
    columns, named = {}, {}
    for m, key in keys.items():
        columns[m] = [str(c) for c in mdata.mod[m].obs if not str(c).startswith("_scvi")]
        near = [key] if key in columns[m] else get_close_matches(str(key), columns[m], n=1)
        named[m] = near[0] if near else "..."
    near_key = named[modality]
    hint = f" Did you mean '{near_key}'?" if near_key != "..." else ""
    if keys[modality] in mdata.obs:
        obs = f"mdata['{modality}'].obs"
        column = f"mdata.obs.loc[mdata['{modality}'].obs_names, '{keys[modality]}']"
        hint = f" Copy it: {obs}['{keys[modality]}'] = {column}."
    return (
        f"Label column '{keys[modality]}' not found in mdata['{modality}'].obs; its columns are "
        f"{columns[modality]}.{hint} Labels are looked up in each modality (not in mdata.obs): "
        f"label_key={named} names one column for each modality."
    )


def labels_by_modality(
    mdata: MuData,
    label_key: PerModality,
    modalities: Iterable[str],
    unlabeled_category: UnlabeledCategory = None,
    *,
    declared: bool = True,
) -> dict[str, NDArray[Any]]:
    """Labels of several modalities by name, None where there is none. (n_m,) each.

    ``declared``: the user gave ``unlabeled_category`` with these data.
    """
    declared = declared and unlabeled_category is not None
    keys, unlabeled_category = label_columns(mdata, label_key, modalities, unlabeled_category)
    if declared:
        named = label_key if isinstance(label_key, Mapping) else dict.fromkeys(mdata.mod, label_key)
        _warn_of_unknown(mdata, {**named, **keys}, unlabeled_names(unlabeled_category))
    return {m: labels_of(mdata.mod[m].obs, key, unlabeled_category, m) for m, key in keys.items()}


def _warn_of_unknown(mdata: MuData, keys: Mapping[str, str], unlabeled: frozenset[str]) -> None:
    """Warn of values declared as "not known" that no modality has."""
    if not unlabeled:
        return
    there: set[str] = set()
    for m, adata in mdata.mod.items():
        key = keys.get(m)
        if key in adata.obs:
            there.update(map(label_name, pd.unique(as_objects(adata.obs[key]))))
    shown = ", ".join(sorted(there)[:10]) + (", ..." if len(there) > 10 else "")
    for name in sorted(unlabeled - there):
        warn(
            f"unlabeled_category={name!r} is no label of these data, so no cell is unlabeled by it."
            f"{did_you_mean(name, there)} Labels: {shown}."
        )


def warn_of_labels(labels: Mapping[str, NDArray[Any]], keys: Mapping[str, str]) -> None:
    """Warn of labels that differ in their spelling only, or are called as unlabeled cells are."""
    found = {m: set(own) - {None} for m, own in labels.items()}
    having: dict[str, list[str]] = {}
    for m, own in found.items():
        for name in own:
            having.setdefault(name, []).append(m)
    pairs = alike(found)
    if pairs:
        shown = []
        for group in pairs[:5]:
            places = [f"{one!r} ({', '.join(having[one])})" for one in group]
            shown.append(" and ".join(places))
        warn(
            f"{len(pairs)} group(s) of labels look alike and are kept apart: {', '.join(shown)}. "
            f"If they are one label, spell them alike: {_spelled_alike(pairs[0], having, keys)}."
        )
    words = []
    for name, where in sorted(having.items()):
        if len(where) > 1 and re.sub(r"[\s_]+", "", name).casefold() in LOOKS_UNLABELED:
            words.append(name)
    if words:
        warn(
            f"The labels {words} link the modalities like any other label, but they look like "
            f"cells without a label. If they are, declare them: unlabeled_category={words}."
        )


def _spelled_alike(
    group: Sequence[str], having: Mapping[str, list[str]], keys: Mapping[str, str]
) -> str:
    """Return the line that gives two labels one spelling."""
    new, old = sorted(group, key=len)[:2]
    m = having[old][0]
    column = f"mdata['{m}'].obs['{keys[m]}']"
    if is_fraction(old) or is_fraction(new):
        return f"{column} = {column}.astype(float).round(6)"
    return f"{column} = {column}.astype(object).replace({{{old!r}: {new!r}}})"


def encode_labels(labels: NDArray[Any], vocabulary: Sequence[str]) -> IntArray:
    """Codes of labels in a vocabulary, -1 where missing or not in it. Shape (n,)."""
    known = pd.Index(list(vocabulary), dtype=object)
    return np.asarray(known.get_indexer(pd.Index(labels, dtype=object)), dtype=np.intp)


def shared_vocabulary(labels: Mapping[str, NDArray[Any]]) -> list[str]:
    """Labels of two modalities or more, sorted."""
    counts = Counter(label for own in labels.values() for label in set(own) - {None})
    return sorted(label for label, n in counts.items() if n > 1)


def label_table(
    mdata: MuData,
    label_key: PerModality = "label",
    *,
    modalities: Iterable[str] | None = None,
    unlabeled_category: UnlabeledCategory = None,
) -> pd.DataFrame:
    """Cells of each label in each modality, and what links the modalities.

    Parameters
    ----------
    mdata
        Modalities measured on different cells, partly or all the same cells.
    label_key
        Label column, one name or one for each modality.
    modalities
        The modalities to count. All by default.
    unlabeled_category
        Values of the label columns that mean "not known": one or a list.

    Returns
    -------
    DataFrame indexed by label, with one column of counts for each modality and a column ``status``:
    ``"shared"`` (in two modalities or more), ``"exclusive"`` (in one) or ``"unlabeled"`` (row
    ``"(unlabeled)"``, present only if there are such cells). Shared labels come first.

    Raises
    ------
    KeyError
        A modality has no such column.
    """
    modalities = list(mdata.mod) if modalities is None else list(modalities)
    return counts_of_labels(labels_by_modality(mdata, label_key, modalities, unlabeled_category))


def counts_of_labels(labels: Mapping[str, NDArray[Any]]) -> pd.DataFrame:
    """:func:`label_table` of labels by modality, (n_m,) each, None where there is none."""
    counts = {}
    for m, own in labels.items():
        counts[m] = pd.Series(own, dtype=object).fillna(NO_LABEL_NAME).value_counts()
    table = pd.DataFrame(counts).fillna(0).astype(int).reindex(columns=list(labels))
    table.index = pd.Index(table.index.astype(str), name="label")
    shared = (table > 0).sum(axis=1) > 1
    table["status"] = np.where(shared, "shared", "exclusive")
    table.loc[table.index == NO_LABEL_NAME, "status"] = "unlabeled"
    rank = table["status"].map({"shared": 0, "exclusive": 1, "unlabeled": 2})
    order = np.lexsort((table.index.to_numpy(dtype=str), rank.to_numpy()))
    return table.iloc[order]
