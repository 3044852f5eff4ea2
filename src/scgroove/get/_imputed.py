"""Values that :func:`scgroove.tl.impute` wrote."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from scgroove import _keys
from scgroove._registry import UnknownNameError, near_miss
from scgroove.get._inputs import RAW, check_modality, values_of

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


def measured(
    mdata: MuData, source: str, target: str, key: str | None = None, *, layer: str | None = None
) -> Any:
    """Return the measured values of the target in the units of what was imputed from the source.

    A model of counts imputes what would be counted at one library size. Measured counts are scaled to that
    library size here: otherwise differences in depth between labels look like effects.

    Parameters
    ----------
    mdata, source, target, key
        As for :func:`imputed`.
    layer
        Layer of the target; by default the one that imputation used, or X.

    Returns
    -------
    matrix
        (n_target, d_target), CSR if the target is sparse, else dense. Values as measured unless they were
        imputed at a library size, ``mod[source].uns[key]["library_size"]``.

    Raises
    ------
    ValueError
        If a modality or the layer is unknown, or nothing was imputed.
    """
    adata = check_modality(mdata, target, "target")
    made = check_modality(mdata, source, "source").uns.get(
        key if key is not None else _keys.imputed(target), {}
    )
    if layer is None and made.get("layer", RAW) != RAW:
        layer = str(made["layer"])
    values = values_of(adata, target, layer)
    if "library_size" not in made:
        return values
    factor = float(made["library_size"]) / np.maximum(
        np.asarray(values.sum(axis=1), dtype=float).ravel(), 1e-12
    )
    return sp.csr_matrix(sp.diags(factor) @ values) if sp.issparse(values) else values * factor[:, None]


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
