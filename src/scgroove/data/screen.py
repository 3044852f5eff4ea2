"""The one reader of MuData: modalities, labels, partners, weights and representations of cells."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from .. import _keys
from .._labels import UnlabeledCategory
from .._numbers import canonical, check_size
from .._types import Float64Array, FloatArray, IntArray, Labels
from .._warnings import warn
from ..errors import (
    InputError,
    InputTypeError,
    TooLargeError,
    UnknownNameError,
    did_you_mean,
    near_miss,
)
from .checks import (
    PerModality,
    check_cell_names,
    check_modalities,
    layers_of,
    modality_of,
    name_of,
)
from .features import Features
from .labels import (
    encode_labels,
    label_keys,
    labels_by_modality,
    labels_of_setup,
    shared_vocabulary,
    warn_of_labels,
)
from .pairing import known_partners

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData

RAW: str = "X"
"""Name of the measured values themselves as a representation."""


@dataclass(frozen=True)
class Screen:
    """Modalities of a MuData, with their labels in one vocabulary.

    Attributes
    ----------
    mdata
        The data, never changed.
    modalities
        Names of the modalities in use.
    label_keys
        Column of the label in each modality.
    labels
        For each modality (n_m,): label of each cell as text, None where it has none.
    vocabulary
        The labels of two modalities or more, sorted.
    codes
        For each modality (n_m,): position in ``vocabulary``, -1 for cells without a shared label.
    """

    mdata: MuData
    modalities: tuple[str, ...]
    label_keys: Mapping[str, str]
    labels: Mapping[str, NDArray[Any]]
    vocabulary: tuple[str, ...]
    codes: Mapping[str, IntArray]

    @classmethod
    def read(
        cls,
        mdata: MuData,
        label_key: PerModality = "label",
        modalities: Sequence[str] | None = None,
        unlabeled_category: UnlabeledCategory = None,
    ) -> Self:
        """Read the labels of a MuData.

        Raises
        ------
        TypeError, KeyError, ValueError
            It is no MuData, a modality or column is missing or has no cell, or no label is in two
            modalities.
        """
        names = check_modalities(mdata, modalities)
        check_cells(mdata, names)
        keys = label_keys(mdata, label_key, names)
        labels = labels_by_modality(mdata, keys, names, unlabeled_category)
        warn_of_labels(labels, keys)
        vocabulary = tuple(shared_vocabulary(labels))
        if not vocabulary:
            some = [sorted(set(labels[m]) - {None})[:5] for m in names]
            raise InputError(
                f"no label is in two modalities, so nothing links them: found {some} in {names}. "
                f"Labels are compared by name; is label_key={label_key!r} the right column?"
            )
        codes = {m: encode_labels(labels[m], vocabulary) for m in names}
        return cls(mdata, tuple(names), keys, labels, vocabulary, codes)

    @property
    def n_labels(self) -> int:
        """Number of shared labels."""
        return len(self.vocabulary)

    def n_cells(self, modality: str) -> int:
        """Number of cells of a modality."""
        return int(self.mdata.mod[modality].n_obs)

    def features(self) -> dict[str, Features]:
        """Return the scaling of the features of each modality, fitted on all of its cells."""
        return {m: Features.fit(modality_of(self.mdata, m), m) for m in self.modalities}

    def partners(self, source: str, target: str) -> IntArray:
        """Return the target row of the same cell for each source row, -1 where none is known."""
        labels = self.labels[source], self.labels[target]
        partner, _ = known_partners(self.mdata, source, target, labels=labels, quiet=True)
        return np.full(self.n_cells(source), -1, dtype=np.intp) if partner is None else partner


def check_cells(mdata: MuData, modalities: Iterable[str]) -> None:
    """Refuse modalities without cells."""
    empty = [m for m in modalities if mdata.mod[m].n_obs == 0]
    if empty:
        raise InputError(
            f"modality {', '.join(map(repr, empty))} has no cells: did a filter leave none, or was "
            "another subset meant?"
        )


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
        Name of the result, None for the default.
    modalities
        Those in use, others may be as they are. None: those that have ``use_rep``, or all.
    use_rep
        Representation in use.
    """
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
    """Refuse anything but a MuData with both modalities, different ones with cells."""
    check_modality(mdata, source, "source")
    check_modality(mdata, target, "target")
    if source == target:
        raise InputError(
            f"source and target are both {source!r}; a coupling goes from one modality to another "
            f"of {list(mdata.mod)}."
        )


def check_modality(mdata: MuData, name: str, role: str) -> AnnData:
    """Return a modality that must exist and have cells. Errors as for :func:`check_pair`."""
    if not hasattr(mdata, "mod"):
        raise InputTypeError(
            f"expected a MuData, found {type(mdata).__name__}. Put the modalities together first: "
            'mdata = mudata.MuData({"rna": adata_rna, "protein": adata_protein}).'
        )
    known = list(mdata.mod)
    if name not in known:
        hint = did_you_mean(name, known)
        message = f"{role}={name!r}: mdata has no such modality, only {known}.{hint}"
        raise UnknownNameError("modality", name, known, message)
    if mdata.mod[name].n_obs == 0:
        raise InputError(f"{role}={name!r}: mdata.mod[{name!r}] has no cells.")
    return modality_of(mdata, name)


def labels_of_modality(
    mdata: MuData,
    modality: str,
    label_key: PerModality | None,
    unlabeled_category: UnlabeledCategory,
    *,
    optional: bool | None = None,
    declared: bool = True,
) -> Labels:
    """Return the labels of one modality, None where missing.

    A column of the default name may be missing. The column of the set-up is read then, and without
    one no cell has a label.

    Parameters
    ----------
    mdata, modality, label_key, unlabeled_category
        As the verbs have them.
    optional
        Whether any column may be missing without a word. None: with a warning, if it has the
        default name. False: no column may.
    declared
        Whether the user gave ``unlabeled_category``, so that values of it that no cell has are
        warned of.
    """
    obs = mdata.mod[modality].obs
    nothing = np.full(len(obs), None, dtype=object)
    name = None if label_key is None else name_of(label_key, modality, "label_key")
    if name is None:
        return nothing
    of_setup, _ = labels_of_setup(mdata, modality)
    if name not in obs and name == _keys.LABEL and optional is not False and of_setup is None:
        if optional is None:
            warn_of_no_labels([modality])
        return nothing
    if optional and name not in obs and name != _keys.LABEL:
        return nothing
    labels = labels_by_modality(
        mdata, label_key or "", [modality], unlabeled_category, declared=declared
    )
    return labels[modality]


def warn_of_no_labels(modalities: Sequence[str]) -> None:
    """Warn that there is no label column of the default name."""
    warn(
        f"no label is known of the cells of {' and '.join(map(repr, modalities))}: there is no "
        f"column {_keys.LABEL!r}. Name the column, label_key='...', or say that there is none, "
        "label_key=None."
    )


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
    """Return the representations of source and target cells, of one width if ``shared``."""
    keys = {m: name_of(use_rep, m, "use_rep") for m in (source, target)}
    x, y = (representation(mdata, m, key, precomputed, max_memory_gb) for m, key in keys.items())
    if shared and x.shape[1] != y.shape[1]:
        raise InputError(
            f"the representations do not lie in one space: {keys[source]!r} has {x.shape[1]} "
            f"dimensions in {source!r}, {keys[target]!r} has {y.shape[1]} in {target!r}. Use a "
            "representation that the modalities share, such as the one that "
            f"scgroove.tl.embed(mdata, model) writes: use_rep={_keys.LATENT!r}."
        )
    return x, y


def modalities_with(
    mdata: MuData, use_rep: PerModality, modalities: Sequence[str] | None
) -> list[str]:
    """Return the modalities that have a representation: all that are named, or two or more."""
    if modalities is None and isinstance(use_rep, Mapping):
        modalities = list(use_rep)
    names = check_modalities(mdata, modalities)
    keys = {m: name_of(use_rep, m, "use_rep") for m in names}
    having = [m for m in names if keys[m] in mdata.mod[m].obsm]
    if len(having) < (2 if modalities is None else len(names)):
        known = sorted({key for m in names for key in mdata.mod[m].obsm})
        lacking = next(keys[m] for m in names if m not in having)
        raise UnknownNameError(
            "representation",
            lacking,
            known,
            f"use_rep={use_rep!r}: of the modalities {names} only {having} have it in obsm, and "
            f"{'two or more' if modalities is None else 'all of them'} are needed. They have "
            f"{known}.{did_you_mean(lacking, known)} scgroove.tl.embed(mdata, model) writes "
            f"{_keys.LATENT!r}.",
        )
    return having


def shared_space(
    mdata: MuData, use_rep: PerModality, modalities: Sequence[str]
) -> dict[str, FloatArray]:
    """Return the representation of each modality, all finite and of one width."""
    z = {m: representation(mdata, m, name_of(use_rep, m, "use_rep")) for m in modalities}
    widths = {m: one.shape[1] for m, one in z.items()}
    if len(set(widths.values())) > 1:
        raise InputError(
            f"{use_rep!r} has different widths: {widths}. Modalities must lie in one space, such "
            "as that of tl.embed."
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
    adata = modality_of(mdata, modality)
    where = f"{key!r} of {modality!r}"
    values = _stored(adata, modality, key, precomputed)
    needed = 8.0 * float(np.prod(np.shape(values), dtype=np.float64)) / 1e9
    if max_memory_gb is not None and needed > max_memory_gb:
        raise TooLargeError(
            f"{where} would take {needed:.1f} GB as a dense float64 matrix, more than "
            f"max_memory_gb={max_memory_gb:g}. Use fewer dimensions, such as "
            f"scanpy.pp.pca(mdata.mod[{modality!r}]) and use_rep='X_pca', or raise max_memory_gb "
            "if the machine has the memory."
        )
    values = to_memory(values)
    array = np.asarray(values.toarray() if sp.issparse(values) else values)
    if array.dtype == np.bool_:  # measured or not, open or closed: 1 or 0
        array = array.astype(np.float32)
    if array.ndim != 2 or not np.issubdtype(array.dtype, np.number):
        raise InputError(
            f"{where} must be a numeric matrix (cells, dimensions); found {array.dtype} of shape "
            f"{array.shape}."
        )
    bad = ~np.isfinite(array).all(axis=1)
    if bad.any():
        raise InputError(
            f"{where} holds NaN or infinite values in {int(bad.sum())} of {bad.size} cells, first "
            f"in {adata.obs_names[int(bad.argmax())]!r}. If a model wrote it, its training "
            "diverged: train it again with a lower learning rate. Otherwise leave those cells out."
        )
    check_size(where, array, adata.obs_names)
    return array


def _stored(adata: AnnData, modality: str, key: str, precomputed: bool) -> Any:
    if precomputed and key in adata.obsp:
        return adata.obsp[key]
    if key == RAW:
        return adata.X
    for place in (adata.obsm, adata.layers):
        if key in place:
            return place[key]
    near = near_miss(key, list(adata.obsm))
    hint = f" Did you mean use_rep={near!r}?" if near is not None else ""
    added = "" if key == _keys.LATENT else f", key_added={key!r}"
    raise UnknownNameError(
        "representation",
        key,
        adata.obsm,
        f"no {key!r} in mdata.mod[{modality!r}].obsm, which has {list(adata.obsm)}.{hint} Make it "
        f"with scgroove.tl.embed(mdata, model{added}), or name another with use_rep=.",
    )


def weights_of_pair(
    mdata: MuData, source: str, target: str, weight_key: PerModality
) -> tuple[Float64Array, Float64Array]:
    """Return the weights of source and target cells."""
    found = []
    for modality in (source, target):
        key, obs = name_of(weight_key, modality, "weight_key"), mdata.mod[modality].obs
        if key not in obs:
            columns = list(obs.columns)
            raise UnknownNameError(
                "column",
                key,
                columns,
                f"weight_key={key!r}: no such column in mdata.mod[{modality!r}].obs, which has "
                f"{columns}.{did_you_mean(key, columns)}",
            )
        try:
            found.append(np.asarray(obs[key], dtype=np.float64))
        except (TypeError, ValueError):
            raise InputError(
                f"weight_key={key!r}: the column of {modality!r} must hold numbers; found "
                f"{obs[key].dtype}."
            ) from None
    return found[0], found[1]


def values_of(adata: AnnData, modality: str, layer: str | None) -> Any:
    """Return X or a layer in memory. Sparse stays sparse."""
    if layer is None:
        return to_memory(adata.X)
    known = layers_of(adata)
    if layer not in known:
        raise InputError(
            f"layer={layer!r}: no such layer in mdata.mod[{modality!r}].layers, which has {known}."
            f"{did_you_mean(layer, known)} Leave layer out to use X."
        )
    return to_memory(adata.layers[layer])


def to_memory(values: Any) -> Any:
    """Return a canonical array or scipy sparse matrix from one that may lie on disk."""
    if hasattr(values, "to_memory"):
        values = values.to_memory()
    elif hasattr(values, "compute"):
        values = values.compute()
    return canonical(values)
