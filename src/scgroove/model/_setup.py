"""What :meth:`scgroove.model.GROOVE.setup_mudata` checks and says before it registers anything."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata import AnnData
from anndata.abc import CSCDataset
from mudata import MuData
from numpy.typing import NDArray

from .._keys import can_be_stored, check_name
from .._labels import UnlabeledCategory, alike
from .._warnings import warn
from ..data.checks import DataProfile, check_cell_names, check_modalities, matrix, profile
from ..data.features import feature_positions
from ..data.labels import counts_of_labels, warn_of_labels
from ..errors import InputError, InputTypeError, UnknownNameError
from ._options import weights_of

# a child of scvi-tools' logger: shown, and silenced by scvi.settings.verbosity, like the messages of its own models
logger = logging.getLogger("scvi.scgroove")


def check_setup(
    mdata: MuData,
    modalities: list[str],
    keys: Mapping[str, str],
    layers: Mapping[str, str | None],
    batches: Mapping[str, str | None],
    labels: Mapping[str, NDArray[Any]],
    unlabeled_category: UnlabeledCategory,
    min_cells: int,
) -> dict[str, DataProfile]:
    """Everything that can be wrong with the data, before anything is written to them."""
    for m, key in batches.items():
        if key is not None and key not in mdata.mod[m].obs:
            columns = [str(c) for c in mdata.mod[m].obs.columns]
            raise UnknownNameError(
                f"Batch column '{key}' not found in mdata['{m}'].obs; its columns are {columns}. "
                f"batch_key={ {**batches, m: None} } leaves this modality without a batch."
            )
        if key is not None and mdata.mod[m].obs[key].isna().any():
            raise InputError(
                f"mdata['{m}'].obs['{key}'] has missing batches. Give these cells a batch of their own: "
                f"mdata['{m}'].obs['{key}'] = mdata['{m}'].obs['{key}'].astype(object).fillna('unknown')."
            )
    for m, layer in layers.items():
        layers_of_m = [str(name) for name in mdata.mod[m].layers if name is not None]
        if layer is not None and layer not in layers_of_m:
            raise UnknownNameError(
                f"Layer '{layer}' not found in mdata['{m}'].layers, which has {layers_of_m}. "
                f"layers={ {**layers, m: None} } uses X."
            )
    profiles = {m: profile(mdata.mod[m], m, layers.get(m)) for m in modalities}
    for m in modalities:
        feature_positions(mdata.mod[m].var_names, mdata.mod[m].var_names, modality=m)  # none twice
        _warn_of_columns(mdata, m, layers.get(m))
    _check_labels(labels, keys, unlabeled_category, min_cells)
    warn_of_labels(labels, keys)
    return profiles


def _warn_of_columns(mdata: MuData, modality: str, layer: str | None) -> None:
    x = matrix(mdata.mod[modality], layer)
    if isinstance(x, CSCDataset) or (sp.issparse(x) and x.format == "csc"):
        where = f"mdata['{modality}']" + (".X" if layer is None else f".layers['{layer}']")
        warn(
            f"{where} is stored by columns (CSC), so that each batch of cells must read all of it: training may be ten "
            f"times slower. Convert it once: {where} = {where}.tocsr().",
        )


def _check_labels(
    labels: Mapping[str, NDArray[Any]],
    keys: Mapping[str, str],
    unlabeled_category: UnlabeledCategory,
    min_cells: int,
) -> None:
    counts = {
        m: pd.Series(v, dtype=object).value_counts() for m, v in labels.items()
    }  # drops missing ones
    for m, n in counts.items():
        if n.empty:
            raise InputError(
                f"All {len(labels[m])} labels of modality '{m}' are missing (column '{keys[m]}', "
                f"unlabeled_category={unlabeled_category!r}). Labels are all that links the modalities: fill the "
                f"column, name another one with label_key={ {**keys, m: '...'} }, or leave the modality out."
            )
    table = pd.DataFrame(counts).fillna(0)
    shared = table[(table > 0).sum(axis=1) > 1]
    if shared.empty:
        some = {m: sorted(n.index)[:5] for m, n in counts.items()}
        pairs = alike({m: n.index for m, n in counts.items()})
        hint = f" These look alike: {pairs[:5]}." if pairs else ""
        raise InputError(
            f"No label is shared by two modalities. Labels found, the first of each: {some}.{hint} Labels are compared as "
            "text: are they spelled alike (case, guide numbers, synonyms of genes)? Rename them, or name the right "
            f"columns with label_key={dict(keys)}."
        )
    few = shared[((shared > 0) & (shared < min_cells)).any(axis=1)]
    if len(few):
        shown = {
            label: {m: int(n) for m, n in row.items()} for label, row in few.head(5).iterrows()
        }
        raise InputError(
            f"{len(few)} shared label(s) have fewer than {min_cells} cells in a modality: {shown}. A label with one "
            "cell cannot be seen in training and validation both, and says little of its perturbation. Remove these "
            "cells, set their label to missing (they then help reconstruction only), or accept them with "
            f"min_cells_per_label={int(few.to_numpy()[few.to_numpy() > 0].min())}."
        )


def modalities_in_use(
    mdata: MuData, asked: Sequence[str] | Mapping[str, str] | None, transfer: Mapping[str, Any]
) -> list[str]:
    """Return the modalities to register."""
    if unknown := set(transfer) - {"source_registry", "extend_categories", "allow_missing_labels"}:
        raise InputTypeError(
            f"setup_mudata() got unexpected arguments {sorted(unknown)}. Expected label_key, modalities, layers, "
            "batch_key, unlabeled_category, weight_key, paired, min_cells_per_label."
        )
    if "source_registry" in transfer and asked is not None:
        return list(asked)  # of the model; new data may have some of them only
    chosen = check_modalities(mdata, None if asked is None else list(asked))
    if dotted := [m for m in chosen if "." in m]:
        raise InputError(
            f"Modality names may not contain a dot (the registry of scvi-tools cannot hold them), found {dotted}. "
            f"Rename: mdata = mudata.MuData({{'{dotted[0].replace('.', '_')}': mdata['{dotted[0]}'], ...}})."
        )
    return chosen


def check_names(mdata: MuData, modalities: Sequence[str]) -> None:
    for m in modalities:
        check_name(m, "modality")
        if m not in mdata.mod:
            continue
        check_cell_names(mdata.mod[m], m)
        for names in (mdata.mod[m].obs_names, mdata.mod[m].var_names):
            if not can_be_stored("".join(map(str, names))):
                bad = next(name for name in names if not can_be_stored(name))
                raise InputError(f"No file can hold the name {bad!r} in mdata[{m!r}]. Rename it.")


def say_what_was_found(labels: Mapping[str, NDArray[Any]], paired: bool) -> None:
    table = counts_of_labels(labels)
    modalities = list(labels)
    n = table["status"].value_counts()
    exclusive = table[table["status"] == "exclusive"]
    logger.info(
        "%d shared labels, %d exclusive (%s). %s",
        n.get("shared", 0),
        n.get("exclusive", 0),
        ", ".join(f"{int((exclusive[m] > 0).sum())} only in {m}" for m in modalities),
        "Cells with equal names or identifiers are the same cells: kept together in the validation split, never used "
        "as pairs in training."
        if paired
        else "No cells are taken as measured twice.",
    )
    unlabeled = table[table["status"] == "unlabeled"]
    if len(unlabeled):
        shown = ", ".join(
            f"{unlabeled[m].iloc[0]} in '{m}'" for m in modalities if unlabeled[m].iloc[0]
        )
        warn(
            f"Cells without a label: {shown}. They are treated as unlabeled: they take part in reconstruction and "
            "back-translation, not in the contrastive loss.",
        )


def check_weights(
    mdata: MuData,
    labels_of_cells: Mapping[str, NDArray[Any]],
    weight_key: str | Mapping[str, str | None] | None,
) -> None:
    """Refuse efficacies that are no probabilities; warn of labels of which no cell counts."""
    for m, key in per_modality(weight_key, list(labels_of_cells), "weight_key").items():
        if key is None:
            continue
        labels = labels_of_cells[m]
        known = np.array([label is not None for label in labels])
        worked = pd.Series(weights_of(mdata.mod[m].obs, key, m, known)[known])
        of_labels = worked.groupby(labels[known].astype(str)).max()
        if len(none := of_labels.index[of_labels < 0.5]):
            warn(
                f"By mdata['{m}'].obs['{key}'] no cell of {len(none)} of {len(of_labels)} labels responded: {list(none[:5])}. They will hardly "
                "count. If that is not what you expect, look at scgroove.pl.efficacy, or leave these labels at 1.",
            )


def per_modality(
    value: str | Mapping[str, str | None] | None, modalities: Sequence[str], name: str = "batch_key"
) -> dict[str, str | None]:
    """One name for each modality, from one for all or a mapping; None where the mapping has none.

    Raises
    ------
    UnknownNameError
        The mapping names another modality.
    TypeError
        Several names are given for one modality.
    """
    if not isinstance(value, Mapping):
        return dict.fromkeys(modalities, _one_column(value, modalities[0], name))
    if unknown := [m for m in value if m not in modalities]:
        raise UnknownNameError(
            f"{name} names {unknown}, but the modalities in use are {list(modalities)}."
        )
    return {m: _one_column(value.get(m), m, name) for m in modalities}


def _one_column(value: Any, modality: str, name: str) -> str | None:
    if isinstance(value, list | tuple) and len(value) == 1:
        value = value[0]
    if isinstance(value, list | tuple) and len(value) > 1:
        column = f"mdata['{modality}'].obs"
        joint = "_".join(map(str, value))
        raise InputTypeError(
            f"{name} must be one column; found {list(value)}. Join them in every modality: {column}['{joint}'] = "
            f"{column}[{list(value)}].astype(str).agg('_'.join, axis=1), then {name}='{joint}'."
        )
    if value is None or isinstance(value, str):
        return value
    raise InputTypeError(
        f"{name} must be one name for all modalities, or a mapping of modalities to names; found {value!r}."
    )


@contextmanager
def restored_on_error(data: MuData | AnnData | None) -> Iterator[None]:
    """Undo what a failed registration wrote."""
    parts = list(data.mod.values()) if isinstance(data, MuData) else [] if data is None else [data]
    obs = [
        (adata, adata.obs.copy(deep=False), dict(adata.uns)) for adata in parts if not adata.is_view
    ]
    uns = dict(data.uns) if isinstance(data, MuData) else {}
    try:
        yield
    except BaseException:
        for adata, before, unstructured in obs:
            adata.obs, adata.uns = before, unstructured
        if isinstance(data, MuData):
            data.uns = uns
        raise
