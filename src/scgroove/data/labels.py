"""One vocabulary of labels over all modalities."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import numpy as np
import pandas as pd
from mudata import MuData
from numpy.typing import NDArray

from .._labels import (
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
from ..errors import InputError, UnknownNameError, did_you_mean

UNLABELED = "(unlabeled)"


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
            raise InputError(
                f"label_key names the modalities {sorted(keys)}, expected one column for each of {modalities}. "
                f"Pass one name for all, or label_key={ {m: keys.get(m, '...') for m in modalities} }."
            )
    else:
        keys = dict.fromkeys(modalities, label_key)
    for m, key in keys.items():
        if key not in mdata.mod[m].obs:
            raise UnknownNameError(_no_column(mdata, keys, m))
    return keys


def _no_column(mdata: MuData, keys: Mapping[str, str], modality: str) -> str:
    columns = {
        m: [str(c) for c in mdata.mod[m].obs if not str(c).startswith("_scvi")] for m in keys
    }
    named = {}
    for m, key in keys.items():
        near = [key] if key in columns[m] else get_close_matches(str(key), columns[m], n=1)
        named[m] = near[0] if near else "..."
    near_key = named[modality]
    hint = f" Did you mean '{near_key}'?" if near_key != "..." else ""
    if keys[modality] in mdata.obs:
        column = f"mdata['{modality}'].obs['{keys[modality]}']"
        hint = f" Copy it: {column} = mdata.obs.loc[mdata['{modality}'].obs_names, '{keys[modality]}']."
    return (
        f"Label column '{keys[modality]}' not found in mdata['{modality}'].obs; its columns are "
        f"{columns[modality]}.{hint} Labels are looked up in each modality (not in mdata.obs): "
        f"label_key={named} names one column for each modality."
    )


def labels_of(
    obs: pd.DataFrame,
    key: str,
    unlabeled_category: UnlabeledCategory = None,
    modality: str | None = None,
) -> NDArray[Any]:
    """Labels of one modality by name, None where there is none; shape (n,).

    Every function of scgroove that reads labels of a table does so here or through
    :func:`scgroove._labels.read_labels`.

    Parameters
    ----------
    obs
        Annotation of the cells.
    key
        Its column.
    unlabeled_category
        Values of the column that mean "not known".
    modality
        Name of the modality, for messages.

    Warns
    -----
    UserWarning
        Cells have text in place of a missing label, such as "nan".
    """
    where = f"obs['{key}']" if modality is None else f"mdata['{modality}'].obs['{key}']"
    return read_labels(obs[key], unlabeled_category, where)


def labels_by_modality(
    mdata: MuData,
    label_key: str | Mapping[str, str],
    modalities: Iterable[str],
    unlabeled_category: UnlabeledCategory = None,
    *,
    declared: bool = True,
) -> dict[str, NDArray[Any]]:
    """Labels of several modalities by name, None where there is none; (n_m,) each.

    Parameters
    ----------
    mdata, label_key, modalities, unlabeled_category
        As for :func:`label_table`.
    declared
        Whether the user gave ``unlabeled_category`` with these data. That of a model need not occur in others.

    Raises
    ------
    KeyError
        A modality has no such column.

    Warns
    -----
    UserWarning
        A value of ``unlabeled_category`` is no label of the data, or cells have text in place of a missing
        label.
    """
    modalities = list(modalities)
    named = label_key if isinstance(label_key, Mapping) else dict.fromkeys(modalities, label_key)
    if missing := [m for m in modalities if m not in named]:
        raise InputError(
            f"label_key names {list(named)}, but not {missing[0]!r}. Pass one name for all modalities, or one for "
            f"each: label_key={ {**named, **dict.fromkeys(missing, '...')} }."
        )
    keys = label_keys(mdata, {m: named[m] for m in modalities}, modalities)
    if declared:
        _warn_of_unknown(mdata, label_key, unlabeled_names(unlabeled_category))
    return {m: labels_of(mdata.mod[m].obs, key, unlabeled_category, m) for m, key in keys.items()}


def _warn_of_unknown(
    mdata: MuData, label_key: str | Mapping[str, str], unlabeled: frozenset[str]
) -> None:
    """Warn of values declared as "not known" that no modality has."""
    if not unlabeled:
        return
    there: set[str] = set()
    for m, adata in mdata.mod.items():
        key = label_key.get(m) if isinstance(label_key, Mapping) else label_key
        if key in adata.obs:
            there.update(map(label_name, pd.unique(as_objects(adata.obs[key]))))
    for name in sorted(unlabeled - there):
        warn(
            f"unlabeled_category={name!r} is no label of these data, so no cell is unlabeled by it."
            f"{did_you_mean(name, there)} Labels: {', '.join(sorted(there)[:10])}"
            f"{', ...' if len(there) > 10 else ''}."
        )


LOOKS_UNLABELED = frozenset(
    [
        "unassigned",
        "notassigned",
        "multiplet",
        "multiple",
        "doublet",
        "negative",
        "unknown",
        "unlabeled",
        "unlabeled",
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
"""Labels, without case and blanks, that guide calling and demultiplexing give to cells without a label."""


def warn_of_labels(labels: Mapping[str, NDArray[Any]], keys: Mapping[str, str]) -> None:
    """Warn of labels that may not be what they seem.

    Parameters
    ----------
    labels
        By modality, None where there is none; (n_m,) each.
    keys
        Their columns.

    Warns
    -----
    UserWarning
        Two labels differ in their spelling only, or a label of two modalities is called as cells without a
        label are.
    """
    found = {m: set(own) - {None} for m, own in labels.items()}
    pairs = alike(found)
    if pairs:
        shown = [
            " and ".join(f"{one!r} ({_where(one, found)})" for one in group) for group in pairs[:5]
        ]
        warn(
            f"{len(pairs)} group(s) of labels look alike and are kept apart: {', '.join(shown)}. If they are one "
            f"label, spell them alike: {_spelled_alike(pairs[0], found, keys)}."
        )
    words = [
        name
        for name in sorted(set().union(*found.values()))
        if re.sub(r"[\s_]+", "", name).casefold() in LOOKS_UNLABELED
        and sum(name in own for own in found.values()) > 1
    ]
    if words:
        warn(
            f"The labels {words} link the modalities like any other label, but they look like cells without a "
            f"label. If they are, declare them: unlabeled_category={words}."
        )


def _spelled_alike(
    group: Sequence[str], found: Mapping[str, set[str]], keys: Mapping[str, str]
) -> str:
    """Return the line that gives two labels one spelling."""
    new, old = sorted(group, key=len)[:2]
    m = next(m for m in found if old in found[m])
    column = f"mdata['{m}'].obs['{keys[m]}']"
    if is_fraction(old) or is_fraction(new):
        return f"{column} = {column}.astype(float).round(6)"
    return f"{column} = {column}.astype(object).replace({{{old!r}: {new!r}}})"


def _where(name: str, found: Mapping[str, set[str]]) -> str:
    return ", ".join(m for m, own in found.items() if name in own)


def encode_labels(labels: NDArray[Any], vocabulary: Sequence[str]) -> IntArray:
    """Codes of labels in a vocabulary, -1 where missing or not in it; shape (n,)."""
    known = pd.Index(list(vocabulary), dtype=object)
    return np.asarray(known.get_indexer(pd.Index(labels, dtype=object)), dtype=np.intp)


def label_table(
    mdata: MuData,
    label_key: str | Mapping[str, str] = "label",
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
        The modalities to count; all by default.
    unlabeled_category
        Values of the label columns that mean "not known": one or a list.

    Returns
    -------
    DataFrame indexed by label, with one column of counts for each modality and a column ``status``: ``"shared"``
    (in two modalities or more), ``"exclusive"`` (in one) or ``"unlabeled"`` (row ``"(unlabeled)"``, present
    only if there are such cells). Shared labels come first.

    Raises
    ------
    KeyError
        A modality has no such column.
    """
    modalities = list(mdata.mod) if modalities is None else list(modalities)
    return counts_of_labels(labels_by_modality(mdata, label_key, modalities, unlabeled_category))


def counts_of_labels(labels: Mapping[str, NDArray[Any]]) -> pd.DataFrame:
    """The table of :func:`label_table` for labels by modality, (n_m,) each, None where there is none."""
    counts = {
        m: pd.Series(own, dtype=object).fillna(UNLABELED).value_counts()
        for m, own in labels.items()
    }
    table = pd.DataFrame(counts).fillna(0).astype(int).reindex(columns=list(labels))
    table.index = pd.Index(table.index.astype(str), name="label")
    shared = (table > 0).sum(axis=1) > 1
    table["status"] = np.where(shared, "shared", "exclusive")
    table.loc[table.index == UNLABELED, "status"] = "unlabeled"
    rank = table["status"].map({"shared": 0, "exclusive": 1, "unlabeled": 2})
    order = np.lexsort((table.index.to_numpy(dtype=str), rank.to_numpy()))
    return table.iloc[order]
