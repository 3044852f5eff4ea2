"""Which cells were measured in several modalities. Known pairs are truth for evaluation, never training input."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from itertools import combinations
from typing import Any

import numpy as np
from mudata import MuData
from numpy.typing import NDArray

from .._registry import UnknownNameError

PairIds = dict[str, NDArray[Any]]


def pair_ids(
    mdata: MuData,
    modalities: Iterable[str],
    paired: bool | str = "auto",
    labels: Mapping[str, NDArray[Any]] | None = None,
) -> PairIds | None:
    """Identifier of the measured unit behind each cell, or None if the modalities share no cells.

    Parameters
    ----------
    mdata
        The data.
    modalities
        The modalities in use.
    paired
        ``False``: all cells are different. ``True``: equal obs names mean the same cell. ``"auto"``: as
        ``True``, unless the names look like a default numbering or contradict the labels, which is said in a
        warning. Any other string: the ``obs`` column that holds the identifier.
    labels
        Labels of each modality, to notice equal names with different labels.

    Returns
    -------
    Mapping from modality to an object array of shape (n_m,), None where a cell has no identifier.

    Raises
    ------
    KeyError
        ``paired`` names a column that a modality does not have.
    ValueError
        ``paired=True`` and no obs name is shared, or an identifier is used twice in a modality.
    """
    modalities = list(modalities)
    if paired is False:
        return None
    if isinstance(paired, str) and paired != "auto":
        return _from_column(mdata, modalities, paired)
    names = {m: mdata.mod[m].obs_names.to_numpy(dtype=object) for m in modalities}
    shared = {
        (a, b): np.intersect1d(names[a].astype(str), names[b].astype(str))
        for a, b in combinations(modalities, 2)
    }
    n_shared = max(map(len, shared.values()))
    if n_shared == 0:
        if paired is True:
            raise ValueError(
                f"paired=True, but no two of the modalities {modalities} share an obs name. If the pairing is in "
                'a column, pass its name (paired="pair_id"); if the cells are different, paired=False.'
            )
        return None
    if paired == "auto" and (reason := _why_not(names, shared, labels)):
        warnings.warn(
            f"{n_shared} obs names are equal between modalities, but {reason}: the cells are taken as different "
            "ones. If they are the same cells, say so with paired=True; to silence this, paired=False.",
            UserWarning,
            stacklevel=3,
        )
        return None
    return names


def _from_column(mdata: MuData, modalities: list[str], column: str) -> PairIds:
    ids = {}
    for m in modalities:
        obs = mdata.mod[m].obs
        if column not in obs:
            raise UnknownNameError(
                f"paired='{column}': no such column in mdata['{m}'].obs, which has {list(map(str, obs.columns))}. "
                'Expected a column of pair identifiers, or paired=True, False or "auto".'
            )
        values = obs[column].astype(object)
        values = values.where(values.astype(str) != "")  # an empty identifier is none
        if values.dropna().duplicated().any():
            twice = values.dropna()[values.dropna().duplicated()].iloc[0]
            raise ValueError(
                f"paired='{column}': the identifier '{twice}' is used more than once in mdata['{m}'].obs. "
                "An identifier must stand for one measured cell or sample."
            )
        ids[m] = values.where(values.notna(), None).to_numpy(dtype=object)
    return ids


def _why_not(
    names: PairIds, shared: Mapping[tuple[str, str], NDArray[Any]], labels: Mapping[str, NDArray[Any]] | None
) -> str | None:
    numbered = [m for m, v in names.items() if all(str(x).isdigit() for x in v)]
    if len(numbered) > 1:
        return f"those of {numbered} look like a default numbering ('0', '1', ...)"
    if labels is None:
        return None
    for (a, b), common in shared.items():
        if not len(common):
            continue
        of = {m: dict(zip(names[m].astype(str), labels[m], strict=True)) for m in (a, b)}
        both = [(of[a][c], of[b][c]) for c in common if of[a][c] is not None and of[b][c] is not None]
        wrong = sum(x != y for x, y in both)
        if wrong:
            return f"{wrong} of {len(both)} of them have different labels in '{a}' and '{b}'"
    return None
