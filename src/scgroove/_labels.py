"""Labels of cells as codes of one vocabulary, whatever way they were given."""

from __future__ import annotations

from itertools import pairwise
from typing import Final

import numpy as np
import pandas as pd

from scgroove._types import IntArray, Labels

UNLABELLED: Final = -1
"""Code of a cell without a label."""


def encode(*labels: Labels) -> tuple[list[str], list[IntArray]]:
    """Code the labels of several modalities with one vocabulary.

    Parameters
    ----------
    *labels
        One array a modality: strings, numbers, objects, a pandas Categorical or Series. ``None``, NaN and
        ``pd.NA`` mean *unlabelled*. Labels are compared by name, so the order of categories plays no part,
        and 1 and 1.0 are the same.

    Returns
    -------
    names
        The vocabulary: every label of any modality, sorted.
    codes
        For each modality (n_m,): position in ``names``, -1 where unlabelled.

    Examples
    --------
    >>> names, codes = encode(["b", "a", None], ["a", "c"])
    >>> names, [c.tolist() for c in codes]
    (['a', 'b', 'c'], [[1, 0, -1], [0, 2]])
    """
    factors = [pd.factorize(as_objects(given), use_na_sentinel=True) for given in labels]
    own_names = [[label_name(value) for value in uniques] for _, uniques in factors]
    names = sorted({name for own in own_names for name in own})
    position = {name: code for code, name in enumerate(names)}
    codes = []
    for (factor, _), own in zip(factors, own_names, strict=True):
        lookup = np.array([position[name] for name in own] + [UNLABELLED], dtype=np.intp)
        codes.append(lookup[factor])
    return names, codes


def as_objects(labels: Labels) -> np.ndarray[tuple[int], np.dtype[np.object_]]:
    """Return labels as a one-dimensional object array, from a list, array, Categorical or Series.

    Raises
    ------
    ValueError
        If there is more than one dimension.
    """
    if np.ndim(labels) != 1:
        raise ValueError(
            f"labels must be one value a cell, an array of shape (n,); found shape {np.shape(labels)}."
        )
    return np.asarray(pd.Series(labels, dtype=object), dtype=object)


def label_name(label: object) -> str:
    """Name a label; whole numbers are named alike, because a missing value turns integers into floats."""
    return str(int(label)) if isinstance(label, float) and label.is_integer() else str(label)


def members(codes: IntArray, n_labels: int) -> list[IntArray]:
    """Return the positions of the cells of each label, in ascending order; unlabelled cells are in none."""
    order = np.argsort(codes, kind="stable")
    bounds = np.searchsorted(codes[order], np.arange(n_labels + 1))
    return [order[start:stop] for start, stop in pairwise(bounds)]
