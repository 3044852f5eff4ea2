"""Cells measured in several modalities: truth for evaluation, never training input."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Final, TypeAlias

import numpy as np
import pandas as pd
import scipy.sparse as sp
from mudata import MuData
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components

from scgroove._warnings import warn
from scgroove.errors import InputError, UnknownNameError, did_you_mean

from .. import _keys
from .._labels import NO_LABEL, label_name
from .._types import IntArray
from ._names import Evidence
from .labels import labels_of

Ids: TypeAlias = NDArray[Any]
PairIds: TypeAlias = dict[str, Ids]
Paired: TypeAlias = bool | str

NO_ID: Final = frozenset(text.lower() for text in NO_LABEL)
"""Identifiers that stand for none, in lower case."""


@dataclass(frozen=True)
class Pairing:
    """Identifiers of the cells of two modalities, or why none are believed.

    Attributes
    ----------
    ids
        Identifiers of the cells of both, (n_a,) and (n_b,), None where a cell has none. None if no
        pair is known.
    reason
        Why not, or what speaks against pairs that are believed.
    doubtful
        Whether equal names do not speak for themselves, so that the user should hear of it.
    """

    ids: tuple[Ids, Ids] | None
    reason: str = ""
    doubtful: bool = False


def pair_ids(
    mdata: MuData,
    modalities: Iterable[str],
    paired: Paired = "auto",
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
        ``False``: all cells are different. ``True``: equal obs names mean the same cell. Any other
        string but ``"auto"``: the ``obs`` column that holds the identifier. ``"auto"``: for every
        two modalities the column ``"pair_id"`` where both have it, else equal obs names unless
        chance, a numbering or a plate explains them. A warning says so. A ``"pair_id"`` that
        repeats identifies no cells.
    labels
        Labels of each modality, None where missing. Equal names are believed only where labels
        agree.

    Returns
    -------
    Mapping from modality to an object array of shape (n_m,), None where a cell has no identifier.
    """
    modalities = list(modalities)
    if not isinstance(paired, str):
        return _from_names(mdata, modalities) if paired else None
    if paired != "auto":
        return _from_column(mdata, modalities, paired)
    found = {}
    for a, b in combinations(modalities, 2):
        of_both = None if labels is None else (labels[a], labels[b])
        found[a, b] = pairing_of(mdata, a, b, "auto", of_both)
    for pairing in found.values():
        if pairing.doubtful:
            warn(pairing.reason)
    known = {pair: pairing.ids for pair, pairing in found.items() if pairing.ids is not None}
    if not known:
        return None
    if len(modalities) == 2:
        return dict(zip(modalities, *known.values(), strict=True))
    return _joined(mdata, modalities, known)


def known_partners(
    mdata: MuData,
    source: str,
    target: str,
    pair_key: str | None = None,
    labels: Any = None,
    *,
    quiet: bool = False,
) -> tuple[IntArray | None, str]:
    """Target row of the same cell for each source row, and where the pairs come from.

    Without ``pair_key`` the answer is the one of ``setup_mudata``, where these modalities were set
    up.

    Parameters
    ----------
    mdata
        The data.
    source, target
        Two modalities.
    pair_key
        Column of ``obs`` that is equal for the same cell. Default: what ``paired`` was in
        ``setup_mudata``, ``"auto"`` if the data were not set up.
    labels
        Labels of the source and target cells, None where missing, for data that were not set up.
    quiet
        Do not warn.

    Returns
    -------
    partner
        (n_source,), -1 where none is known. None if no pair is.
    reason
        Why there are none, or what speaks against them.
    """
    settled = mdata.uns.get(_keys.PAIRING, {})
    keys = settled.get("label_key", {})
    paired: Paired = "auto"
    if source in keys and target in keys:
        paired = settled["paired"]
        obs = [mdata.mod[m].obs for m in (source, target)]
        if keys[source] in obs[0] and keys[target] in obs[1]:
            none = settled["unlabeled_category"]
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # said in the set-up
                labels = (
                    labels_of(obs[0], keys[source], none),
                    labels_of(obs[1], keys[target], none),
                )
    if pair_key is not None:
        for m in (source, target):
            _check_column(mdata, m, pair_key, "pair_key")
        paired = pair_key
    pairing = pairing_of(mdata, source, target, paired, labels)
    if pairing.doubtful and not quiet:
        warn(pairing.reason)
    return None if pairing.ids is None else partner_rows(*pairing.ids), pairing.reason


def partner_rows(source: Ids, target: Ids) -> IntArray:
    """Row of the target with the identifier of each source row, (n_source,), -1 for none."""
    known = np.flatnonzero(pd.notna(target))
    places = np.append(known, -1)
    found = pd.Index(target[known], dtype=object).get_indexer(pd.Index(source, dtype=object))
    return np.where(pd.isna(source), -1, places[found]).astype(np.intp)


def pairing_of(
    mdata: MuData,
    source: str,
    target: str,
    paired: Paired,
    labels: tuple[NDArray[Any], NDArray[Any]] | None = None,
) -> Pairing:
    """Which cells of two modalities are the same, or why none are."""
    pair = (source, target)
    if isinstance(paired, str):
        column = _keys.PAIR if paired == "auto" else paired
        lacking = [m for m in pair if column not in mdata.mod[m].obs]
        if paired == "auto" and not lacking:
            return _of_default_column(mdata, pair, labels)
        if not lacking:
            ids = _column_ids(mdata, source, column), _column_ids(mdata, target, column)
            return _of_ids(ids, where=f"obs[{column!r}]")
        if paired != "auto":
            return Pairing(None, f"{lacking} have no column {column!r} in obs")
    return _of_names(mdata, pair, paired, labels)


def _of_default_column(
    mdata: MuData, pair: tuple[str, str], labels: tuple[NDArray[Any], NDArray[Any]] | None
) -> Pairing:
    """Believe the default column if it identifies cells. Where it is empty, use names."""
    ids = [_as_ids(mdata.mod[m].obs[_keys.PAIR]) for m in pair]
    known = [pd.Series(one, dtype=object).dropna() for one in ids]
    for m, own in zip(pair, known, strict=True):
        if own.duplicated().any():
            twice = own[own.duplicated()].iloc[0]
            text = (
                f"mdata.mod[{m!r}].obs[{_keys.PAIR!r}] holds '{twice}' more than once, as the "
                "identifier of a donor or "
                "sample would be, so that it tells no cells: the cells are taken as different "
                "ones. Name the "
                'column that identifies cells, paired="column" in setup_mudata or '
                'pair_key="column" elsewhere; '
                "to silence this, paired=False."
            )
            return Pairing(None, text, doubtful=True)
    empty = [m for m, own in zip(pair, known, strict=True) if own.empty]
    if not empty:
        return _of_ids((ids[0], ids[1]), where=f"obs[{_keys.PAIR!r}]")
    by_name = _of_names(mdata, pair, "auto", labels)
    found = "cells of equal names are the same" if by_name.ids is not None else by_name.reason
    text = (
        f"obs[{_keys.PAIR!r}] holds no identifier in {empty}, so that cell names are looked at "
        f"instead: {found}. To silence this, drop the column, or paired=False."
    )
    return Pairing(by_name.ids, text, doubtful=True)


def _of_names(
    mdata: MuData,
    pair: tuple[str, str],
    paired: Paired,
    labels: tuple[NDArray[Any], NDArray[Any]] | None,
) -> Pairing:
    """Which cells are the same by their names."""
    if not paired:
        return Pairing(None, "the data were set up with paired=False")
    names = _name_ids(mdata, pair[0]), _name_ids(mdata, pair[1])
    pairing = _of_ids(names, where="cell names")
    if pairing.ids is None or not isinstance(paired, str):
        return pairing
    return _judged(pairing, Evidence(*names, partner_rows(*names), labels), pair)


def _judged(pairing: Pairing, evidence: Evidence, pair: tuple[str, str]) -> Pairing:
    """Believe equal names or not, and say what is doubtful."""
    found = f"{evidence.shared} obs names are equal in '{pair[0]}' and '{pair[1]}'"
    if reason := evidence.against(pair):
        text = (
            f"{found}, but {reason}: the cells are taken as different ones. If they are the same "
            "cells, say so "
            'with paired=True, or with the column that tells them, paired="column"; to silence '
            "this, paired=False."
        )
        return Pairing(None, text, doubtful=True)
    if evidence.wrong:
        text = (
            f"{found} and taken as the same cells, though {evidence.disagreement(pair)}. If they "
            "are different cells, say so with paired=False; to silence this, paired=True."
        )
        return Pairing(pairing.ids, text, doubtful=True)
    return pairing


def _of_ids(ids: tuple[Ids, Ids], where: str) -> Pairing:
    if (partner_rows(*ids) < 0).all():
        return Pairing(None, f"no {where} are equal in both")
    return Pairing(ids)


def _from_names(mdata: MuData, modalities: list[str]) -> PairIds:
    ids = {m: _name_ids(mdata, m) for m in modalities}
    if not _any_shared(ids):
        raise InputError(
            f"paired=True, but no two of the modalities {modalities} share an obs name. If the "
            "pairing is in "
            'a column, pass its name (paired="pair_id"); if the cells are different, paired=False.'
        )
    return ids


def _from_column(mdata: MuData, modalities: list[str], column: str) -> PairIds:
    having = [m for m in modalities if column in mdata.mod[m].obs]
    if len(having) < min(2, len(modalities)):
        lacking = next(m for m in modalities if m not in having)
        _check_column(mdata, lacking, column, "paired")
    ids = {m: np.full(mdata.mod[m].n_obs, None, dtype=object) for m in modalities}
    ids |= {m: _column_ids(mdata, m, column) for m in having}
    if len(modalities) > 1 and not _any_shared(ids):
        few = {m: ids[m][pd.notna(ids[m])][:3].tolist() for m in having}
        warn(
            f"paired='{column}': no identifier is in two modalities, so that no cell is known to "
            f"be the same. The first ones: {few}. If all cells are different, say paired=False.",
        )
    return ids


def _any_shared(ids: PairIds) -> bool:
    return any((partner_rows(ids[a], ids[b]) >= 0).any() for a, b in combinations(ids, 2))


def _check_column(mdata: MuData, modality: str, column: str, argument: str) -> None:
    columns = [str(c) for c in mdata.mod[modality].obs.columns if not str(c).startswith("_scvi")]
    if column not in columns:
        values = (
            'paired=True, False or "auto"'
            if argument == "paired"
            else "nothing, for equal cell names"
        )
        raise UnknownNameError(
            f"{argument}={column!r}: no such column in mdata.mod[{modality!r}].obs, which has "
            f"{columns}.{did_you_mean(column, columns)} Expected a column that is equal for the "
            f"same cell, or {values}."
        )


def _column_ids(mdata: MuData, modality: str, column: str) -> Ids:
    ids = _as_ids(mdata.mod[modality].obs[column])
    return _unique(
        ids, f"mdata.mod[{modality!r}].obs[{column!r}]", "An identifier must stand for one cell."
    )


def _name_ids(mdata: MuData, modality: str) -> Ids:
    names = mdata.mod[modality].obs_names.astype(str).to_numpy(dtype=object)
    ids = names.copy()
    ids[pd.Index(names).str.strip().str.lower().isin(NO_ID)] = None
    hint = f"Call mdata.mod[{modality!r}].obs_names_make_unique() and mdata.update()."
    return _unique(ids, f"mdata.mod[{modality!r}].obs_names", hint)


def _as_ids(values: Any) -> Ids:
    """Identifiers as text, equal for 1, 1.0 and "1". None where there is none."""
    codes, uniques = pd.factorize(np.asarray(pd.Series(values, dtype=object), dtype=object))
    names = pd.Series([label_name(value).strip() for value in uniques], dtype=object)
    names[names.str.lower().isin(NO_ID)] = None
    ids: Ids = np.array([*names, None], dtype=object)[codes]
    return ids


def _unique(ids: Ids, where: str, hint: str) -> Ids:
    known = pd.Series(ids, dtype=object).dropna()
    if known.duplicated().any():
        twice = known[known.duplicated()].iloc[0]
        raise InputError(f"the identifier '{twice}' is used more than once in {where}. {hint}")
    return ids


def _joined(
    mdata: MuData, modalities: list[str], known: Mapping[tuple[str, str], tuple[Ids, Ids]]
) -> PairIds:
    """One identifier for cells that are the same by any two modalities."""
    sizes = [mdata.mod[m].n_obs for m in modalities]
    start = dict(zip(modalities, np.cumsum([0, *sizes]), strict=False))
    edges = []
    for (a, b), ids in known.items():
        partner = partner_rows(*ids)
        rows = np.flatnonzero(partner >= 0)
        edges.append(np.stack([start[a] + rows, start[b] + partner[rows]]))
    i, j = np.concatenate(edges, axis=1)
    n = sum(sizes)
    unit = connected_components(
        sp.coo_matrix((np.ones(len(i)), (i, j)), shape=(n, n)), directed=False
    )[1]
    ids_of_all: Ids = unit.astype(str).astype(object)
    ids_of_all[np.bincount(unit)[unit] == 1] = None
    return {
        m: ids_of_all[start[m] : start[m] + size] for m, size in zip(modalities, sizes, strict=True)
    }
