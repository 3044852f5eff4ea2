"""Values that :func:`scgroove.tl.impute` wrote."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scgroove import _keys
from scgroove._registry import UnknownNameError, near_miss
from scgroove.get._inputs import check_modality

if TYPE_CHECKING:
    from mudata import MuData


def imputed(mdata: MuData, source: str, target: str, key: str | None = None) -> pd.DataFrame:
    """Return the values of the target imputed for source cells.

    Parameters
    ----------
    mdata
        Imputed with :func:`scgroove.tl.impute`.
    source, target
        The cells, and the modality imputed for them.
    key
        Name given as ``key_added``; default ``"imputed_<target>"``.

    Returns
    -------
    DataFrame
        float32 (n_source, d_target); index: names of the source cells, columns: features of the target.

    Raises
    ------
    ValueError
        If a modality is unknown, or nothing was imputed; the message gives the call that does it.

    Examples
    --------
    >>> scgroove.get.imputed(mdata, "rna", "prot").groupby(mdata["rna"].obs["label"]).mean()  # doctest: +SKIP
    """
    adata = check_modality(mdata, source, "source")
    name = key if key is not None else _keys.imputed(target)
    if name not in adata.obsm:
        known = list(adata.obsm)
        near = near_miss(name, known)
        hint = f" Did you mean key={near!r}?" if near is not None else ""
        added = "" if key is None else f", key_added={key!r}"
        raise UnknownNameError(
            f"no imputed values {name!r} in mdata.mod[{source!r}].obsm, which has {known}.{hint} Make them with "
            f"scgroove.tl.impute(mdata, {source!r}, {target!r}{added}, model=model)."
        )
    values = np.asarray(adata.obsm[name])
    return pd.DataFrame(
        values, index=adata.obs_names.copy(), columns=_features(mdata, adata, target, name, values)
    )


def _features(mdata: MuData, adata: object, target: str, name: str, values: np.ndarray) -> pd.Index:
    """Return the feature names stored with the values, else those of the target."""
    stored = getattr(adata, "uns", {}).get(name, {})
    if "features" in stored:
        return pd.Index(np.asarray(stored["features"], dtype=object).astype(str))
    if target in mdata.mod and mdata.mod[target].n_vars == values.shape[1]:
        return mdata.mod[target].var_names.copy()
    raise ValueError(
        f"the names of the {values.shape[1]} features of {name!r} are not known: mdata.mod[...].uns[{name!r}] is gone. "
        f"Impute again with scgroove.tl.impute."
    )
