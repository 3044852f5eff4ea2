"""Reading a MuData for the verbs: every check comes before anything is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import scipy.sparse as sp

from scgroove import _keys
from scgroove._labels import UnlabeledCategory
from scgroove._numbers import canonical, check_size
from scgroove._types import Float64Array, FloatArray, IntArray, Labels
from scgroove._warnings import warn
from scgroove.errors import (
    InputError,
    InputTypeError,
    TooLargeError,
    UnknownNameError,
    did_you_mean,
    near_miss,
)

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData

PerModality: TypeAlias = str | Mapping[str, str]
"""One name for all modalities, or one for each."""

RAW: str = "X"
"""Name of the measured values themselves as a representation."""


def check_call(
    mdata: MuData,
    key_added: str | None,
    modalities: str | Sequence[str | None] | None = None,
    use_rep: PerModality | None = None,
) -> None:
    """Refuse names that no file can hold, and cells that share a name: the start of every verb.

    Parameters
    ----------
    mdata
        The data.
    key_added
        Name of the result; None for the default.
    modalities
        Those in use: others may be as they are. None: those that have ``use_rep``, or all.
    use_rep
        Representation in use.

    Raises
    ------
    ValueError
        The name of the result or of a modality cannot be a key of a file, or obs names are not unique.
    """
    from scgroove.data import check_cell_names

    _keys.check_name(key_added, "key_added")
    known = getattr(mdata, "mod", {})
    if modalities is None:
        names = use_rep if isinstance(use_rep, Mapping) else dict.fromkeys(known, use_rep)
        modalities = [m for m in known if m in names and names[m] in known[m].obsm] or list(known)
    used = [modalities] if isinstance(modalities, str) else modalities
    for name, adata in known.items():
        if name in used:
            _keys.check_name(name, "modality")
            check_cell_names(adata, name)


def check_pair(mdata: MuData, source: str, target: str) -> None:
    """Refuse anything but a MuData with both modalities, different ones with cells.

    Raises
    ------
    TypeError
        If it is no MuData.
    UnknownNameError
        If a modality is unknown (a ``KeyError`` and a ``ValueError``).
    ValueError
        If source and target are the same, or one has no cells.
    """
    check_modality(mdata, source, "source")
    check_modality(mdata, target, "target")
    if source == target:
        raise InputError(
            f"source and target are both {source!r}; a coupling goes from one modality to another of "
            f"{list(mdata.mod)}."
        )


def check_modality(mdata: MuData, name: str, role: str) -> AnnData:
    """Return a modality that must exist and have cells; errors as for :func:`check_pair`."""
    if not hasattr(mdata, "mod"):
        raise InputTypeError(
            f"expected a MuData, found {type(mdata).__name__}. Put the modalities together first: "
            'mdata = mudata.MuData({"rna": adata_rna, "protein": adata_protein}).'
        )
    known = list(mdata.mod)
    if name not in known:
        hint = did_you_mean(name, known)
        raise UnknownNameError(f"{role}={name!r}: mdata has no such modality, only {known}.{hint}")
    if mdata.mod[name].n_obs == 0:
        raise InputError(f"{role}={name!r}: mdata.mod[{name!r}] has no cells.")
    return mdata.mod[name]


def name_of(given: PerModality, modality: str, argument: str) -> str:
    """Return the name for one modality.

    Raises
    ------
    ValueError
        If the mapping misses the modality.
    """
    if not isinstance(given, Mapping):
        return given
    if modality not in given:
        raise InputError(
            f"{argument} names {list(given)}, but not {modality!r}. Pass one name for all modalities, or one for "
            f"each: {argument}={ {**given, modality: '...'} }."
        )
    return given[modality]


def labels_of_pair(
    mdata: MuData,
    source: str,
    target: str,
    label_key: PerModality,
    unlabeled_category: UnlabeledCategory,
) -> tuple[Labels, Labels]:
    """Return the labels of source and target cells, None where missing.

    Raises
    ------
    KeyError
        If a modality has no such column.
    """
    from scgroove.data import labels_by_modality

    found = labels_by_modality(mdata, label_key, (source, target), unlabeled_category)
    return found[source], found[target]


def labels_of_modality(
    mdata: MuData,
    modality: str,
    label_key: PerModality | None,
    unlabeled_category: UnlabeledCategory,
    *,
    optional: bool | None = None,
    declared: bool = True,
) -> Labels:
    """Return the labels of one modality, None where missing: of all cells, where there is no column and it is ``optional``.

    By default a column is optional that has the default name. Where it is missing, the column of the set-up is read.

    Parameters
    ----------
    mdata, modality, label_key, unlabeled_category
        As the verbs have them.
    optional
        Whether the column may be missing without a word; None: with a warning, if it has the default name.
    declared
        Whether the user gave ``unlabeled_category``, so that values of it that no cell has are warned of.

    Raises
    ------
    KeyError
        If a column was named that the modality has not.

    Warns
    -----
    UserWarning
        If no label is known, because there is neither a column of the default name nor that of a set-up.
    """
    from scgroove.data import labels_by_modality, labels_of

    adata = mdata.mod[modality]
    none = np.full(adata.n_obs, None, dtype=object)
    name = None if label_key is None else name_of(label_key, modality, "label_key")
    if name is None:
        return none
    if name not in adata.obs and name == _keys.LABEL and optional is not False:
        key, of_setup = labels_of_setup(mdata, modality)
        if key is not None:
            given = unlabeled_category is not None
            return labels_of(adata.obs, key, unlabeled_category if given else of_setup, modality)
        if optional is None:
            warn_of_no_labels([modality])
        return none
    if optional and name not in adata.obs:
        return none
    found: Labels = labels_by_modality(
        mdata, label_key or "", [modality], unlabeled_category, declared=declared
    )[modality]
    return found


def labels_of_setup(mdata: MuData, modality: str) -> tuple[str | None, UnlabeledCategory]:
    """Return the label column that a modality was set up with, None if the data have it not, and the labels that mean none."""
    record = mdata.uns.get(_keys.PAIRING, {})
    key = record.get("label_key", {}).get(modality)
    return key if key in mdata.mod[modality].obs else None, record.get("unlabeled_category")


def warn_of_no_labels(modalities: Sequence[str]) -> None:
    """Say that there is no label column of the default name."""
    warn(
        f"no label is known of the cells of {' and '.join(map(repr, modalities))}: there is no column {_keys.LABEL!r}. Name the "
        f"column, label_key='...', or say that there is none, label_key=None."
    )


def partners_of_pair(
    mdata: MuData,
    source: str,
    target: str,
    pair_key: str | None = None,
    labels: Any = None,
) -> tuple[IntArray | None, str]:
    """Return the target row of the same cell for each source row, -1 where unknown; or None, and the reason.

    Warns
    -----
    UserWarning
        If cells have equal names that do not speak for themselves.
    """
    from scgroove.data import known_partners

    partner, pairing = known_partners(mdata, source, target, pair_key, labels)
    if pairing.doubtful:
        warn(pairing.reason)
    return partner, pairing.reason


def representations(
    mdata: MuData,
    source: str,
    target: str,
    use_rep: PerModality,
    *,
    shared: bool = True,
    precomputed: bool = False,
    max_memory_gb: float | None = None,
) -> tuple[FloatArray, FloatArray]:
    """Return the representations of source and target cells, finite, and of one width if they must share a space.

    Raises
    ------
    ValueError
        If one is missing, is no matrix, holds NaN, is too large, or the widths differ but must not; the message says which
        call makes it.
    """
    x, y = (
        representation(mdata, m, name_of(use_rep, m, "use_rep"), precomputed, max_memory_gb)
        for m in (source, target)
    )
    if shared and x.shape[1] != y.shape[1]:
        keys = {m: name_of(use_rep, m, "use_rep") for m in (source, target)}
        raise InputError(
            f"the representations do not lie in one space: {keys[source]!r} has {x.shape[1]} dimensions in {source!r}, "
            f"{keys[target]!r} has {y.shape[1]} in {target!r}. Use a representation that the modalities share, such as "
            f"the one that scgroove.tl.embed(mdata, model) writes: use_rep={_keys.LATENT!r}."
        )
    return x, y


def modalities_with(
    mdata: MuData, use_rep: PerModality, modalities: Sequence[str] | None
) -> list[str]:
    """Return the modalities that have a representation: all that are named, or two or more.

    Raises
    ------
    TypeError
        If ``mdata`` is no MuData.
    UnknownNameError
        If a modality does not exist or has no such representation, or fewer than two have it.
    """
    from scgroove.data import check_modalities

    if modalities is None and isinstance(use_rep, Mapping):
        modalities = list(use_rep)
    names = check_modalities(mdata, modalities)
    keys = {m: name_of(use_rep, m, "use_rep") for m in names}
    having = [m for m in names if keys[m] in mdata.mod[m].obsm]
    if len(having) < (2 if modalities is None else len(names)):
        known = sorted({key for m in names for key in mdata.mod[m].obsm})
        raise UnknownNameError(
            f"use_rep={use_rep!r}: of the modalities {names} only {having} have it in obsm, and "
            f"{'two or more' if modalities is None else 'all of them'} are needed. They have {known}."
            f"{did_you_mean(next(keys[m] for m in names if m not in having), known)} scgroove.tl.embed(mdata, model) writes {_keys.LATENT!r}."
        )
    return having


def shared_space(
    mdata: MuData, use_rep: PerModality, modalities: Sequence[str]
) -> dict[str, FloatArray]:
    """Return the representation of each modality, all finite and of one width.

    Raises
    ------
    ValueError
        If widths differ, or values are not finite.
    """
    z = {m: representation(mdata, m, name_of(use_rep, m, "use_rep")) for m in modalities}
    widths = {m: one.shape[1] for m, one in z.items()}
    if len(set(widths.values())) > 1:
        raise InputError(
            f"{use_rep!r} has different widths: {widths}. Modalities must lie in one space, such as that of tl.embed."
        )
    return z


def representation(
    mdata: MuData,
    modality: str,
    key: str,
    precomputed: bool = False,
    max_memory_gb: float | None = None,
) -> FloatArray:
    """Return ``obsm[key]`` of a modality, ``X`` for ``"X"``, or a layer, as a finite dense matrix.

    With ``precomputed``, ``obsp[key]`` comes first: costs between the cells.
    """
    adata = mdata.mod[modality]
    if precomputed and key in adata.obsp:
        values = adata.obsp[key]
    elif key == RAW:
        values = adata.X
    elif key in adata.obsm:
        values = adata.obsm[key]
    elif key in _layers(adata):
        values = adata.layers[key]
    else:
        raise UnknownNameError(_no_representation(adata, modality, key))
    _check_dense(values, modality, key, max_memory_gb)
    values = to_memory(values)
    array = np.asarray(values.toarray() if sp.issparse(values) else values)
    if array.dtype == np.bool_:  # measured or not, open or closed: 1 or 0
        array = array.astype(np.float32)
    if array.ndim != 2 or not np.issubdtype(array.dtype, np.number):
        raise InputError(
            f"{key!r} of {modality!r} must be a numeric matrix (cells, dimensions); found {array.dtype} of shape "
            f"{array.shape}."
        )
    bad = ~np.isfinite(array).all(axis=1)
    if bad.any():
        raise InputError(
            f"{key!r} of {modality!r} holds NaN or infinite values in {int(bad.sum())} of {bad.size} cells, first in "
            f"{adata.obs_names[int(bad.argmax())]!r}. If a model wrote it, its training diverged: train it again with "
            f"a lower learning rate. Otherwise leave those cells out."
        )
    check_size(f"{key!r} of {modality!r}", array, adata.obs_names)
    return array


def _check_dense(values: Any, modality: str, key: str, max_memory_gb: float | None) -> None:
    """Refuse to make dense what would take more memory than allowed."""
    needed = 8.0 * float(np.prod(np.shape(values), dtype=np.float64)) / 1e9
    if max_memory_gb is not None and needed > max_memory_gb:
        raise TooLargeError(
            f"{key!r} of {modality!r} would take {needed:.1f} GB as a dense float64 matrix, more than "
            f"max_memory_gb={max_memory_gb:g}. Use fewer dimensions, such as scanpy.pp.pca(mdata.mod[{modality!r}]) and "
            f"use_rep='X_pca', or raise max_memory_gb if the machine has the memory."
        )


def _layers(adata: AnnData) -> list[str]:
    return [name for name in adata.layers if name is not None]  # anndata 0.13 lists X as None


def _no_representation(adata: AnnData, modality: str, key: str) -> str:
    near = near_miss(key, list(adata.obsm))
    hint = f" Did you mean use_rep={near!r}?" if near is not None else ""
    added = "" if key == _keys.LATENT else f", key_added={key!r}"
    return (
        f"no {key!r} in mdata.mod[{modality!r}].obsm, which has {list(adata.obsm)}.{hint} Make it with "
        f"scgroove.tl.embed(mdata, model{added}), or name another with use_rep=."
    )


def weights_of_pair(
    mdata: MuData, source: str, target: str, weight_key: PerModality
) -> tuple[Float64Array, Float64Array]:
    """Return the weights of source and target cells.

    Raises
    ------
    KeyError
        If a modality has no such column.
    ValueError
        If it does not hold numbers.
    """
    found = []
    for modality in (source, target):
        key, obs = name_of(weight_key, modality, "weight_key"), mdata.mod[modality].obs
        if key not in obs:
            hint = did_you_mean(key, list(obs.columns))
            raise UnknownNameError(
                f"weight_key={key!r}: no such column in mdata.mod[{modality!r}].obs, which has {list(obs.columns)}.{hint}"
            )
        try:
            found.append(np.asarray(obs[key], dtype=np.float64))
        except (TypeError, ValueError):
            raise InputError(
                f"weight_key={key!r}: the column of {modality!r} must hold numbers; found {obs[key].dtype}."
            ) from None
    return found[0], found[1]


def values_of(adata: AnnData, modality: str, layer: str | None) -> Any:
    """Return X or a layer in memory; sparse stays sparse.

    Raises
    ------
    ValueError
        If there is no such layer.
    """
    if layer is None:
        return to_memory(adata.X)
    known = _layers(adata)
    if layer not in known:
        hint = did_you_mean(layer, known)
        raise InputError(
            f"layer={layer!r}: no such layer in mdata.mod[{modality!r}].layers, which has {known}.{hint} "
            f"Leave layer out to use X."
        )
    return to_memory(adata.layers[layer])


def to_memory(values: Any) -> Any:
    """Return an array or scipy sparse matrix from one that may lie on disk, as :func:`canonical` has it."""
    if hasattr(values, "to_memory"):
        values = values.to_memory()
    elif hasattr(values, "compute"):
        values = values.compute()
    return canonical(values)
