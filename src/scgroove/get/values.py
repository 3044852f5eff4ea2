"""Values that :func:`scgroove.tl.impute` wrote."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from scgroove import _keys
from scgroove._types import FloatArray, IntArray, Labels
from scgroove._warnings import warn
from scgroove.data.features import as_names, take_features
from scgroove.data.screen import RAW, check_modality, to_memory, values_of
from scgroove.data.units import sample_profile
from scgroove.errors import InputError, UnknownNameError, near_miss

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData

    from scgroove.data.measured import Measured


def imputed(mdata: MuData, source: str, target: str, key: str | None = None) -> pd.DataFrame:
    """Return the values of the target imputed for source cells.

    Parameters
    ----------
    mdata
        Imputed with :func:`scgroove.tl.impute`.
    source, target
        The cells, and the modality imputed for them.
    key
        Name given as ``key_added``. Default ``"imputed_<target>"``.

    Returns
    -------
    DataFrame
        float32 (n_source, d_target). Index: names of the source cells, columns: features of the
        target.

    Raises
    ------
    ValueError
        If a modality is unknown, or nothing was imputed. The message gives the call that does it.

    Examples
    --------
    >>> scgroove.get.imputed(mdata, "rna", "prot").groupby(
    ...     mdata["rna"].obs["label"]
    ... ).mean()  # doctest: +SKIP
    """
    name = _checked_key(mdata, source, target, key)
    return _frame(mdata, source, target, name, mdata.mod[source].obsm[name])


def imputed_sd(mdata: MuData, source: str, target: str, key: str | None = None) -> pd.DataFrame:
    """Return standard deviations of measured values around those imputed for source cells.

    Parameters
    ----------
    mdata, source, target, key
        As for :func:`imputed`.

    Returns
    -------
    DataFrame
        float32 (n_source, d_target), in the units of the values.

    Raises
    ------
    ValueError
        If a modality is unknown, nothing was imputed, or it was imputed without uncertainty.

    References
    ----------
    User guide, "Imputation".
    """
    name = _checked_key(mdata, source, target, key)
    adata = mdata.mod[source]
    if _keys.imputed_sd(name) not in adata.obsm:
        raise UnknownNameError(
            f"{name!r} of {source!r} was imputed without uncertainty: with uncertainty=False, or "
            f"with no measured cell of {target!r} at hand. Impute again with "
            f"scgroove.tl.impute(mdata, {source!r}, {target!r}, ..., uncertainty=True), and a "
            "model that is loaded with its data."
        )
    return _frame(mdata, source, target, name, adata.obsm[_keys.imputed_sd(name)])


def imputed_interval(
    mdata: MuData, source: str, target: str, key: str | None = None, *, level: float = 0.9
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return intervals that should hold what would have been measured in a share of the cells.

    ``value + q sd``, q the quantiles of measured cells around the mean of their label in standard
    deviations of that label, pooled over labels: they follow the shape of each feature. Intervals
    of what cannot be negative end at 0. Measure how often they hold with
    :func:`scgroove.tl.score_imputation`.

    Parameters
    ----------
    mdata, source, target, key
        As for :func:`imputed`.
    level
        Share of the cells, above 0 and at most 0.99.

    Returns
    -------
    low, high
        DataFrames, float32 (n_source, d_target).

    Raises
    ------
    ValueError
        As :func:`imputed_sd`, or if the level is out of range.

    Examples
    --------
    >>> low, high = scgroove.get.imputed_interval(mdata, "rna", "prot", level=0.9)  # doctest: +SKIP
    """
    values = imputed(mdata, source, target, key)
    ends = interval_maker(mdata, source, target, key)(slice(None), level)
    low, high = (pd.DataFrame(one, index=values.index, columns=values.columns) for one in ends)
    return low, high


def interval_maker(
    mdata: MuData, source: str, target: str, key: str | None = None
) -> Callable[[Any, float], tuple[FloatArray, FloatArray]]:
    """Return a function of rows and level that gives the ends of intervals, (rows, d_target)."""
    name = _checked_key(mdata, source, target, key)
    sd = imputed_sd(mdata, source, target, key).to_numpy()
    values, made = np.asarray(mdata.mod[source].obsm[name]), mdata.mod[source].uns[name]
    levels, quantiles = np.asarray(made["levels"]), np.asarray(made["quantiles"])
    widest = float(levels[-1] - levels[0])
    floor = 0.0 if made.get("nonnegative", False) else -np.inf

    def ends(rows: Any, level: float) -> tuple[FloatArray, FloatArray]:
        if not 0 < level <= widest + 1e-9:
            raise InputError(f"level must be above 0 and at most {widest:.2f}; found {level!r}.")
        outer = (0.5 - level / 2, 0.5 + level / 2)
        q = []
        for p in outer:
            of_features = [np.interp(p, levels, one) for one in quantiles.T]
            q.append(np.array(of_features, dtype=np.float32))
        return (
            np.maximum(values[rows] + sd[rows] * q[0], floor),
            np.maximum(values[rows] + sd[rows] * q[1], floor),
        )

    return ends


def _checked_key(mdata: MuData, source: str, target: str, key: str | None) -> str:
    """Return the key of imputed values, which must be there."""
    adata = check_modality(mdata, source, "source")
    name = key if key is not None else _keys.imputed(target)
    if name not in adata.obsm:
        known = list(adata.obsm)
        near = near_miss(name, known)
        hint = f" Did you mean key={near!r}?" if near is not None else ""
        added = "" if key is None else f", key_added={key!r}"
        raise UnknownNameError(
            "imputed values",
            name,
            known,
            f"no imputed values {name!r} in mdata.mod[{source!r}].obsm, which has {known}.{hint} "
            "Make them with "
            f"scgroove.tl.impute(mdata, {source!r}, {target!r}{added}, model=model).",
        )
    return name


def _frame(mdata: MuData, source: str, target: str, name: str, stored: Any) -> pd.DataFrame:
    """Return a stored array with the names of cells and features."""
    values = (
        stored.to_numpy() if isinstance(stored, pd.DataFrame) else np.asarray(to_memory(stored))
    )
    return pd.DataFrame(
        values,
        index=mdata.mod[source].obs_names.copy(),
        columns=_features(mdata, source, target, name),
    )


def measured(
    mdata: MuData, source: str, target: str, key: str | None = None, *, layer: str | None = None
) -> Any:
    """Return measured values of the imputed features, in the units of the imputed values.

    Features are found by name: columns are those of :func:`imputed`, in its order, whatever order
    the data have now. A model of counts imputes what would be counted at one library size.
    Measured counts are scaled to that library size here, over these features: otherwise
    differences in depth between labels look like effects.

    Parameters
    ----------
    mdata, source, target, key
        As for :func:`imputed`.
    layer
        Layer of the target. By default the one that imputation used, or X.

    Returns
    -------
    matrix
        (n_target, d), CSR if the target is sparse, else dense. Values as measured unless they were
        imputed at a library size, ``mod[source].uns[key]["library_size"]``. NaN where a batch did
        not measure a feature, as set-up found (``mod[target].uns["not_measured"]``).

    Raises
    ------
    ValueError
        If a modality or the layer is unknown, nothing was imputed, or the target lacks an imputed
        feature.

    Warns
    -----
    UserWarning
        If counts were imputed and what was measured is none.
    """
    from scgroove.data.measured import Measured

    adata = check_modality(mdata, target, "target")
    name = _checked_key(mdata, source, target, key)
    features = _features(mdata, source, target, name)
    made = mdata.mod[source].uns.get(name, {})
    if layer is None and made.get("layer", RAW) != RAW:
        layer = str(made["layer"])
    remedy = (
        f"They were imputed for {source!r}, so that values measured in {target!r} cannot be "
        "compared with them. Use the unfiltered data, or impute again with scgroove.tl.impute."
    )
    values = values_of(adata, target, layer)
    _check_counts(adata, target, layer, made)
    values = take_features(values, adata.var_names, features, modality=target, remedy=remedy)
    known = Measured.of(adata, features)
    values = in_units_of(values, made, known)
    return values if known is None else known.without(values)


def _check_counts(adata: AnnData, target: str, layer: str | None, made: Mapping[str, Any]) -> None:
    """Say that values which are to be scaled as counts are none."""
    found = sample_profile(adata, layer) if "library_size" in made else None
    if found is not None and (problem := found.problem_with("nb")):
        warn(
            f"The data of modality {target!r} ({'X' if layer is None else f'layer {layer!r}'}) "
            f"have {problem}, and counts were imputed, with which they are compared. Were they "
            "normalized, logged or scaled in place? Put the raw counts back, or name the layer "
            "that has them: layer='counts'."
        )


def for_scores(
    values: Any, labels: Labels, partner: IntArray | None = None
) -> tuple[Any, IntArray | None]:
    """Return measured values without gaps, and the partners all of whose values were measured.

    A feature that the batch of a cell did not measure has the mean of the measured cells of the
    label, so that means of labels are those of the measured cells. Such cells are nobody's truth:
    their partners become -1.
    """
    from scgroove.data.measured import complete_partners, fill

    return fill(values, labels), complete_partners(partner, values)


def in_units_of(values: Any, made: Mapping[str, Any], known: Measured | None = None) -> Any:
    """Return measured values in the units of imputed ones (``made``): counts at their library size.

    Where a batch did not measure some features, it is that of the others over their share in the
    average cell.
    """
    if "library_size" not in made:
        return values
    library = np.maximum(np.asarray(values.sum(axis=1), dtype=float).ravel(), 1e-12)
    if known is not None:
        library = library / (known.rows(slice(None)) @ known.shares(values))
    factor = float(made["library_size"]) / library
    return (
        sp.csr_matrix(sp.diags(factor) @ values)
        if sp.issparse(values)
        else values * factor[:, None]
    )


def _features(mdata: MuData, source: str, target: str, name: str) -> pd.Index:
    """Return the names of the features of stored values."""
    table = mdata.mod[source].obsm[name]
    stored = mdata.mod[source].uns.get(name, {})
    if isinstance(table, pd.DataFrame):
        return pd.Index(as_names(table.columns))
    if "features" in stored and len(stored["features"]) == table.shape[1]:
        return pd.Index(as_names(stored["features"]))
    if (
        "features" not in stored
        and target in mdata.mod
        and mdata.mod[target].n_vars == table.shape[1]
    ):
        return pd.Index(as_names(mdata.mod[target].var_names))
    raise InputError(
        f"the names of the {table.shape[1]} features of {name!r} are not known: "
        f'mdata.mod[{source!r}].uns[{name!r}]["features"] '
        "is gone, or of another length. Impute again with scgroove.tl.impute, or write a table of "
        "your own as a DataFrame with "
        f"the names of its features: mdata.mod[{source!r}].obsm[{name!r}] = table."
    )
