"""A coupling that :func:`scgroove.tl.align` wrote."""

from __future__ import annotations

from typing import TYPE_CHECKING

import scipy.sparse as sp

from scgroove import _keys
from scgroove._registry import UnknownNameError, near_miss
from scgroove.aligners import Coupling
from scgroove.get._inputs import check_pair
from scgroove.get._union import union_rows

if TYPE_CHECKING:
    from mudata import MuData


def coupling(mdata: MuData, source: str, target: str, key: str | None = None) -> Coupling:
    """Return the coupling of two modalities, rows for source cells and columns for target cells.

    Parameters
    ----------
    mdata
        Aligned with :func:`scgroove.tl.align`.
    source, target
        The modalities, in the direction in which they were aligned.
    key
        Name given as ``key_added``; default ``"coupling_<source>_<target>"``.

    Returns
    -------
    Coupling
        (n_source, n_target), in the order of the cells of the modalities, with the evidence stored beside it.
        ``.to_sparse()`` is the matrix.

    Raises
    ------
    ValueError
        If a modality is unknown, or there is no such coupling; the message gives the call that makes it.

    Examples
    --------
    >>> coupling = scgroove.get.coupling(mdata, "rna", "prot")  # doctest: +SKIP
    >>> coupling.push(mdata["prot"].obsm["X_groove"])  # doctest: +SKIP
    """
    check_pair(mdata, source, target)
    name = key if key is not None else _keys.coupling(source, target)
    if name not in mdata.obsp:
        raise UnknownNameError(_missing(mdata, source, target, key, name))
    rows, columns = union_rows(mdata, source), union_rows(mdata, target)
    matrix = sp.csr_matrix(mdata.obsp[name])[rows][:, columns]
    names = (mdata.mod[m].obs_names.to_numpy(dtype=object) for m in (source, target))
    return Coupling.from_sparse(matrix, dict(mdata.uns.get(name, {})), *names)


def _missing(mdata: MuData, source: str, target: str, key: str | None, name: str) -> str:
    known = list(mdata.obsp)
    message = f"no coupling {name!r} in mdata.obsp, which has {known}."
    if key is None and _keys.coupling(target, source) in known:
        return f"{message} There is one in the other direction: scgroove.get.coupling(mdata, {target!r}, {source!r})."
    near = near_miss(name, known)
    hint = f" Did you mean key={near!r}?" if near is not None else ""
    added = "" if key is None else f", key_added={key!r}"
    return f"{message}{hint} Make it with scgroove.tl.align(mdata, {source!r}, {target!r}{added})."
