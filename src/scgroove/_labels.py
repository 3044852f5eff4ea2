"""Labels of cells: their names, and codes of one vocabulary."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from decimal import Decimal
from itertools import pairwise
from numbers import Integral, Rational
from typing import Any, Final, TypeAlias

import numpy as np
import pandas as pd

from scgroove import _keys
from scgroove._types import IntArray, Labels
from scgroove._warnings import warn
from scgroove.errors import InputError, InputTypeError, UnknownNameError, did_you_mean

ObjectArray: TypeAlias = np.ndarray[tuple[int], np.dtype[np.object_]]

UNLABELED: Final = -1
"""Code of a cell without a label."""

NO_LABEL_NAME: Final = "(unlabeled)"
"""Row and column of cells without a label in tables and figures."""

Label: TypeAlias = str | float | bool | bytes | Decimal
"""A label as users may write it."""

UnlabeledCategory: TypeAlias = Label | Collection[Label] | None
"""Values of a label column that mean "not known": one, or several. None if there are none."""

_MISSING_TEXTS: Final = """
    nan NaN NAN -nan -NaN NaT None NA <NA> #NA N/A n/a #N/A null NULL (unlabeled) (unlabelled)
"""
NO_LABEL: Final = frozenset(["", *_MISSING_TEXTS.split()])
"""Text that stands for a missing label: as pandas reads it, and as ``astype(str)`` writes it."""

_FLOAT: Final = re.compile(r"-?\d+(\.\d+|(\.\d+)?e[-+]\d+)")
_FRACTION: Final = re.compile(r"-?\d*\.\d+(e[-+]?\d+)?")


def label_name(label: object) -> str:
    """Name a label, such that equal values have one name.

    Whole numbers lose their ".0", because a missing value turns integers into floats. A dose of 0.1
    has one name in float32 and float64. Text is read as a number only if it is exactly what Python
    writes for a float ("1.0", not "1.00").

    Examples
    --------
    >>> [label_name(one) for one in (1, 1.0, "1.0", np.float32(0.1), 0.1, b"g1", "1.00")]
    ['1', '1', '1', '0.1', '0.1', 'g1', '1.00']
    """
    if isinstance(label, bytes):
        label = label.decode(errors="replace")
    if isinstance(label, str):
        is_float = _FLOAT.fullmatch(label) is not None and repr(float(label)) == label
        return _number_name(float(label)) if is_float else str(label)
    if isinstance(label, bool | np.bool_):
        return str(label)
    if isinstance(label, Integral):
        return str(int(label))
    if isinstance(label, np.floating) and not float(label).is_integer():
        return _number_name(float(str(label)))
    if isinstance(label, float | np.floating | Decimal | Rational):
        return _number_name(float(label))
    return str(label)


def _number_name(value: float) -> str:
    if value.is_integer():
        return str(int(value))
    single = np.float32(value)
    return repr(float(str(single))) if float(single) == value else repr(value)


def unlabeled_names(category: UnlabeledCategory) -> frozenset[str]:
    """Names of the values that mean "not known".

    Raises
    ------
    TypeError
        If it is a mapping.
    """
    if isinstance(category, Mapping):
        values = sorted(set(map(str, category.values())))
        raise InputTypeError(
            "unlabeled_category must be a value of the label columns or a list of values for all "
            f"modalities; found {dict(category)}. Pass unlabeled_category={values}."
        )
    is_list = isinstance(category, Iterable) and not isinstance(category, str | bytes)
    members: Iterable[object] = category if is_list else [category]  # type: ignore[assignment]
    return frozenset(label_name(value) for value in members if not pd.isna(value))


def plain_category(category: UnlabeledCategory) -> str | list[str] | None:
    """Values that mean "not known" by name, in a form that files hold."""
    names = sorted(unlabeled_names(category))
    return names[0] if len(names) == 1 else names or None


def stored_category(category: UnlabeledCategory) -> str | np.ndarray[Any, Any]:
    """Values that mean "not known" by name, in a form that evidence holds."""
    names = plain_category(category)
    return names if isinstance(names, str) else np.array(names or [], dtype=object)


def read_labels(
    labels: Labels, unlabeled_category: UnlabeledCategory = None, where: str = "labels"
) -> ObjectArray:
    """Labels by name, None where there is none. Shape (n,).

    Parameters
    ----------
    labels
        A list, array, Categorical or Series.
    unlabeled_category
        Values that mean "not known", beside missing ones.
    where
        What holds the labels, for messages.

    Warns
    -----
    UserWarning
        Cells have text in place of a missing label, such as "nan". They are unlabeled.
    """
    codes, names = _factorize(labels, unlabeled_names(unlabeled_category), where)
    found: ObjectArray = np.array([*names, None], dtype=object)[codes]
    return found


def names_of(values: Labels) -> ObjectArray:
    """Values by name, None where missing. Shape (n,). No text stands for a missing value."""
    codes, uniques = pd.factorize(as_objects(values), use_na_sentinel=True)
    found: ObjectArray = np.array([*map(label_name, uniques), None], dtype=object)[codes]
    return found


def _factorize(
    labels: Labels, unlabeled: frozenset[str], where: str
) -> tuple[IntArray, list[str | None]]:
    """Return codes of labels, -1 if missing, and the name of each code, None if not known."""
    codes, values = pd.factorize(as_objects(labels), use_na_sentinel=True)
    names: list[str | None] = []
    text: dict[str, int] = {}
    for i, value in enumerate(values):
        name = label_name(value)
        if not _keys.can_be_stored(name):
            raise InputError(f"No file can hold the label {name!r} in {where}. Rename it.")
        if name not in unlabeled and name.strip() in NO_LABEL:
            text[name] = int((codes == i).sum())
            names.append(None)
        else:
            names.append(None if name in unlabeled else name)
    if text:
        counts = ", ".join(f"{name!r} ({n} cells)" for name, n in text.items())
        warn(
            f"{where} has text that stands for a missing label: {counts}. These cells are "
            f"unlabeled. Say that you know with unlabeled_category={list(text)}. If it is the name "
            "of a perturbation, rename it."
        )
    return codes, names


def encode(*labels: Labels) -> tuple[list[str], list[IntArray]]:
    """Code the labels of several modalities with one vocabulary.

    Parameters
    ----------
    *labels
        One array a modality. ``None``, NaN and ``pd.NA`` mean *unlabeled*. Labels are compared by
        name: the order of categories plays no part, and 1 and 1.0 are the same.

    Returns
    -------
    names
        The vocabulary: every label of any modality, sorted.
    codes
        For each modality (n_m,): position in ``names``, -1 where unlabeled.

    Examples
    --------
    >>> names, codes = encode(["b", "a", None], ["a", "c"])
    >>> names, [c.tolist() for c in codes]
    (['a', 'b', 'c'], [[1, 0, -1], [0, 2]])
    """
    factors = [_factorize(given, frozenset(), "labels") for given in labels]
    names = sorted({name for _, own in factors for name in own if name is not None})
    position: dict[str | None, int] = {name: code for code, name in enumerate(names)}
    codes = []
    for factor, own in factors:
        lookup = [position.get(name, UNLABELED) for name in own]
        codes.append(np.array([*lookup, UNLABELED], dtype=np.intp)[factor])
    return names, codes


def as_objects(labels: Labels) -> ObjectArray:
    """Return labels as a one-dimensional object array, from a list, array, Categorical or Series.

    Raises
    ------
    ValueError
        If there is more than one dimension.
    """
    if np.ndim(labels) != 1:
        raise InputError(
            "labels must be one value a cell, an array of shape (n,); found shape "
            f"{np.shape(labels)}."
        )
    return np.asarray(pd.Series(labels, dtype=object), dtype=object)


def find_label(label: object, names: Sequence[str], argument: str = "control") -> int:
    """Return the position of a label among names.

    Raises
    ------
    UnknownNameError
        If it is not there. It is a ``KeyError`` and a ``ValueError``.
    """
    name = label_name(label)
    if name in names:
        return names.index(name)
    why = ""
    if name.strip() in NO_LABEL:
        why = " Such text stands for a missing label: rename the perturbation."
    shown = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
    raise UnknownNameError(
        "label",
        label,
        names,
        f"{argument}={label!r}: no cell has this label.{why}{did_you_mean(name, names)} "
        f"Labels: {shown or 'none'}.",
    )


def members(codes: IntArray, n_labels: int) -> list[IntArray]:
    """Return the positions of the cells of each label, ascending."""
    order = np.argsort(codes, kind="stable")
    bounds = np.searchsorted(codes[order], np.arange(n_labels + 1))
    return [order[start:stop] for start, stop in pairwise(bounds)]


def alike(labels: Mapping[str, Iterable[Any]]) -> list[list[str]]:
    """Return groups of labels that differ in case, blanks, dashes or the seventh digit only.

    Parameters
    ----------
    labels
        By modality: names of labels, None is no label.
    """
    groups: dict[str, set[str]] = {}
    for name in set().union(*labels.values()) - {None}:
        groups.setdefault(_folded(name), set()).add(name)
    return sorted(sorted(group) for group in groups.values() if len(group) > 1)


def is_fraction(name: str) -> bool:
    """Whether a name is that of a number that is not whole."""
    return _FRACTION.fullmatch(name) is not None


def _folded(name: str) -> str:
    if is_fraction(name):
        return f"{float(name):.6g}"
    return re.sub(r"\s+", "", name).casefold().replace("_", "-")
