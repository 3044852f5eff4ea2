"""A coupling that :func:`scgroove.tl.align` wrote."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import scipy.sparse as sp

from scgroove import _keys
from scgroove._warnings import warn
from scgroove.aligners import Coupling
from scgroove.data.screen import check_pair
from scgroove.data.union import union_rows
from scgroove.errors import ChangedError, InputError, UnknownNameError, near_miss
from scgroove.get._blocks import blocks_of

if TYPE_CHECKING:
    from mudata import MuData


def coupling(mdata: MuData, source: str, target: str, key: str | None = None) -> Coupling:
    """Return the coupling of two modalities, rows for source cells and columns for target cells.

    It is what is stored: float32, and without the entries that :func:`scgroove.tl.align` dropped.
    Blocks, labels and the masses that cells were to have are put together from the columns of
    ``obs`` that it was made with, as they are now.

    Parameters
    ----------
    mdata
        Aligned with :func:`scgroove.tl.align`.
    source, target
        The modalities, in the direction in which they were aligned.
    key
        Name given as ``key_added``. Default ``"coupling_<source>_<target>"``.

    Returns
    -------
    Coupling
        (n_source, n_target), in the order of the cells of the modalities, with the evidence stored
        beside it: one block a label, or a single one. ``.to_sparse()`` is the matrix.

        For a subset of the cells, or without the weight column, the blocks are known but not the
        masses that the cells were to have: ``.marginals`` are those that they have. A matrix
        without evidence is a single block.

    Raises
    ------
    ValueError
        If a modality is unknown, there is no such coupling, or it goes from other modalities to
        others. The message gives the call that makes it, or reads it.

    Warns
    -----
    UserWarning
        If the label column is gone, or other cells belong to a label now. The coupling is a single
        block without labels then, since nobody knows who the candidates of a cell were:
        ``.confidence()`` and ``.label_mass()`` are not those of a labeled coupling. Masses, and
        what is computed from them alone, stay right.

    Examples
    --------
    >>> coupling = scgroove.get.coupling(mdata, "rna", "prot")  # doctest: +SKIP
    >>> coupling.push(mdata["prot"].obsm["X_groove"])  # doctest: +SKIP
    """
    check_pair(mdata, source, target)
    name = key if key is not None else _keys.coupling(source, target)
    if name not in mdata.obsp:
        message = _missing(mdata, source, target, key, name)
        raise UnknownNameError("coupling", name, mdata.obsp, message)
    evidence = dict(mdata.uns.get(name, {}))
    _check_direction(mdata, source, target, name, evidence)
    rows, columns = union_rows(mdata, source), union_rows(mdata, target)
    matrix = sp.csr_matrix(mdata.obsp[name])[rows][:, columns]
    names = [mdata.mod[m].obs_names.to_numpy(dtype=object) for m in (source, target)]
    if not {"labeled", "labels"} <= set(evidence):
        return Coupling.from_sparse(matrix, evidence, *names)
    try:
        blocks = blocks_of(mdata, source, target, matrix, evidence)
    except ChangedError as error:
        warn(
            f"the labels that the coupling {name!r} was made with are not known: {error}. It is "
            "returned as one block without labels, so that confidence and label_mass are not "
            "those of a labeled coupling. Put the column back as it was, or align again with "
            f"scgroove.tl.align(mdata, {source!r}, {target!r}).",
        )
        return Coupling.from_sparse(matrix, evidence, *names)
    return Coupling(blocks, (len(names[0]), len(names[1])), evidence, *names)


def _check_direction(
    mdata: MuData, source: str, target: str, name: str, evidence: Mapping[str, Any]
) -> None:
    """Refuse a coupling between other modalities: its matrix has other cells."""
    if not {"source", "target"} <= set(evidence):
        return
    made = (str(evidence["source"]), str(evidence["target"]))
    if made == (source, target):
        return
    if not set(made) <= set(mdata.mod):
        call = f"mdata.uns[{name!r}].update(source={source!r}, target={target!r})"
        advice = f"If these were renamed, say so: {call}."
    else:
        advice = (
            f"Read it with scgroove.get.coupling(mdata, {made[0]!r}, {made[1]!r}, key={name!r})"
        )
        backwards = made == (target, source)
        advice += "; its pull and pull_mass go the other way." if backwards else "."
    raise InputError(
        f"the coupling {name!r} goes from {made[0]!r} to {made[1]!r}, not from {source!r} to "
        f"{target!r}. {advice}"
    )


def _missing(mdata: MuData, source: str, target: str, key: str | None, name: str) -> str:
    known = list(mdata.obsp)
    message = f"no coupling {name!r} in mdata.obsp, which has {known}."
    if key is None and _keys.coupling(target, source) in known:
        call = f"scgroove.get.coupling(mdata, {target!r}, {source!r})"
        return f"{message} There is one in the other direction: {call}."
    near = near_miss(name, known)
    hint = f" Did you mean key={near!r}?" if near is not None else ""
    added = "" if key is None else f", key_added={key!r}"
    return f"{message}{hint} Make it with scgroove.tl.align(mdata, {source!r}, {target!r}{added})."
