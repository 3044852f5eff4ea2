"""Checks and messages of :meth:`scgroove.model.GROOVE.setup_mudata`, before anything is written."""

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
from ..data.checks import (
    DataProfile,
    check_cell_names,
    check_modalities,
    layers_of,
    matrix,
    modality_of,
    per_modality,
    profile,
)
from ..data.features import feature_positions
from ..data.labels import counts_of_labels, warn_of_labels
from ..errors import InputError, InputTypeError, UnknownNameError
from ..module import LIKELIHOODS

# a child of scvi-tools' logger: scvi.settings.verbosity silences it too
logger = logging.getLogger("scvi.scgroove")


def modalities_in_use(
    mdata: MuData, asked: Sequence[str] | Mapping[str, str] | None, transfer: Mapping[str, Any]
) -> list[str]:
    """Return the modalities to register."""
    if unknown := set(transfer) - {"source_registry", "extend_categories", "allow_missing_labels"}:
        raise InputTypeError(
            f"setup_mudata() got unexpected arguments {sorted(unknown)}. Expected label_key, "
            "modalities, layers, batch_key, unlabeled_category, weight_key, paired, "
            "min_cells_per_label."
        )
    if "source_registry" in transfer and asked is not None:
        return list(asked)  # of the model, of which new data may have some only
    chosen = check_modalities(mdata, None if asked is None else list(asked))
    if dotted := [m for m in chosen if "." in m]:
        renamed = dotted[0].replace(".", "_")
        raise InputError(
            "Modality names may not contain a dot (the registry of scvi-tools cannot hold them), "
            f"found {dotted}. Rename: mdata = mudata.MuData({{'{renamed}': mdata['{dotted[0]}'], "
            "...})."
        )
    return chosen


def check_names(mdata: MuData, modalities: Sequence[str]) -> None:
    """Refuse names that repeat or that no file can hold."""
    for m in modalities:
        check_name(m, "modality")
        if m not in mdata.mod:
            continue
        check_cell_names(modality_of(mdata, m), m)
        for names in (mdata.mod[m].obs_names, mdata.mod[m].var_names):
            if not can_be_stored("".join(map(str, names))):
                bad = next(name for name in names if not can_be_stored(name))
                raise InputError(f"No file can hold the name {bad!r} in mdata[{m!r}]. Rename it.")


def check_setup(
    mdata: MuData,
    keys: Mapping[str, str],
    layers: Mapping[str, str | None],
    batches: Mapping[str, str | None],
    labels: Mapping[str, NDArray[Any]],
    unlabeled_category: UnlabeledCategory,
    min_cells: int,
) -> dict[str, DataProfile]:
    """Check columns, layers, values and labels of each modality, and profile the values."""
    for m, key in batches.items():
        _check_batches(mdata, m, key, batches)
    for m, layer in layers.items():
        if layer is not None and layer not in layers_of(modality_of(mdata, m)):
            raise UnknownNameError(
                f"Layer '{layer}' not found in mdata['{m}'].layers, which has "
                f"{layers_of(modality_of(mdata, m))}. layers={ {**layers, m: None} } uses X."
            )
    profiles = {m: profile(modality_of(mdata, m), m, layers.get(m)) for m in labels}
    for m in labels:
        feature_positions(mdata.mod[m].var_names, mdata.mod[m].var_names, modality=m)  # none twice
        x = matrix(modality_of(mdata, m), layers.get(m))
        if isinstance(x, CSCDataset) or (sp.issparse(x) and x.format == "csc"):
            where = f"mdata['{m}']" + (".X" if layers.get(m) is None else f".layers['{layers[m]}']")
            warn(
                f"{where} is stored by columns (CSC), so that each batch of cells must read all of "
                "it: training may be ten times slower. Convert it once: "
                f"{where} = {where}.tocsr().",
            )
    _check_labels(labels, keys, unlabeled_category, min_cells)
    warn_of_labels(labels, keys)
    return profiles


def _check_batches(
    mdata: MuData, modality: str, key: str | None, batches: Mapping[str, str | None]
) -> None:
    obs = mdata.mod[modality].obs
    if key is not None and key not in obs:
        raise UnknownNameError(
            f"Batch column '{key}' not found in mdata['{modality}'].obs; its columns are "
            f"{list(map(str, obs.columns))}. batch_key={ {**batches, modality: None} } leaves this "
            "modality without a batch."
        )
    if key is not None and obs[key].isna().any():
        column = f"mdata['{modality}'].obs['{key}']"
        raise InputError(
            f"{column} has missing batches. Give these cells a batch of their own: {column} = "
            f"{column}.astype(object).fillna('unknown')."
        )


def _check_labels(
    labels: Mapping[str, NDArray[Any]],
    keys: Mapping[str, str],
    unlabeled_category: UnlabeledCategory,
    min_cells: int,
) -> None:
    counts = {m: pd.Series(own, dtype=object).value_counts() for m, own in labels.items()}
    for m, n in counts.items():
        if n.empty:
            raise InputError(
                f"All {len(labels[m])} labels of modality '{m}' are missing (column '{keys[m]}', "
                f"unlabeled_category={unlabeled_category!r}). Labels are all that links the "
                "modalities: fill the column, name another one with "
                f"label_key={ {**keys, m: '...'} }, or leave the modality out."
            )
    table = pd.DataFrame(counts).fillna(0).astype(int)
    shared = table[(table > 0).sum(axis=1) > 1]
    if shared.empty:
        some = {m: sorted(n.index)[:5] for m, n in counts.items()}
        pairs = alike({m: n.index for m, n in counts.items()})
        hint = f" These look alike: {pairs[:5]}." if pairs else ""
        raise InputError(
            f"No label is shared by two modalities. Labels found, the first of each: {some}.{hint} "
            "Labels are compared as text: are they spelled alike (case, guide numbers, synonyms of "
            f"genes)? Rename them, or name the right columns with label_key={dict(keys)}."
        )
    few = shared[((shared > 0) & (shared < min_cells)).any(axis=1)]
    if len(few):
        fewest = int(few.to_numpy()[few.to_numpy() > 0].min())
        raise InputError(
            f"{len(few)} shared label(s) have fewer than {min_cells} cells in a modality: "
            f"{few.head(5).to_dict('index')}. A label with one cell cannot be seen in training and "
            "validation both, and says little of its perturbation. Remove these cells, set their "
            "label to missing (they then help reconstruction only), or accept them with "
            f"min_cells_per_label={fewest}."
        )


def log_what_was_found(labels: Mapping[str, NDArray[Any]], paired: bool) -> None:
    """Log how many labels are shared, and warn of cells without one."""
    table = counts_of_labels(labels)
    n = table["status"].value_counts()
    exclusive = table[table["status"] == "exclusive"]
    logger.info(
        "%d shared labels, %d exclusive (%s). %s",
        n.get("shared", 0),
        n.get("exclusive", 0),
        ", ".join(f"{int((exclusive[m] > 0).sum())} only in {m}" for m in labels),
        "Cells with equal names or identifiers are the same cells: kept together in the validation "
        "split, never used as pairs in training."
        if paired
        else "No cells are taken as measured twice.",
    )
    unlabeled = table.loc[table["status"] == "unlabeled", list(labels)].sum()
    if unlabeled.any():
        shown = ", ".join(f"{count} in '{m}'" for m, count in unlabeled.items() if count)
        warn(
            f"Cells without a label: {shown}. They are treated as unlabeled: they take part in "
            "reconstruction and back-translation, not in the contrastive loss.",
        )


def check_weights(
    mdata: MuData,
    labels_of_cells: Mapping[str, NDArray[Any]],
    weight_key: str | Mapping[str, str | None] | None,
) -> None:
    """Refuse weights that are no probabilities, and warn of labels of low weights only."""
    keys = per_modality(weight_key, list(labels_of_cells), "weight_key", optional=True)
    for m, key in keys.items():
        if key is None:
            continue
        labels = labels_of_cells[m]
        known = pd.notna(labels)
        weights = pd.Series(weights_of(mdata.mod[m].obs, key, m, known)[known])
        largest = weights.groupby(labels[known].astype(str)).max()
        low = largest.index[largest < 0.5]
        if len(low):
            warn(
                f"By mdata['{m}'].obs['{key}'] no cell of {len(low)} of {len(largest)} labels "
                f"responded: {list(low[:5])}. They will hardly count. If that is not what you "
                "expect, look at scgroove.pl.efficacy, or leave these labels at 1.",
            )


def weights_of(
    obs: pd.DataFrame, key: str, modality: str, labeled: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Return weights of cells from their column, 1 where cells have no label, float32 (n,)."""
    if key not in obs:
        raise UnknownNameError(
            f"Weight column '{key}' not found in mdata['{modality}'].obs. Its columns are "
            f"{list(map(str, obs.columns))}. scgroove.tl.estimate_efficacy(mdata, control) writes "
            "one."
        )
    values = pd.to_numeric(obs[key], errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    own = values[labeled]
    if np.isnan(own).any():
        raise InputError(
            f"mdata['{modality}'].obs['{key}'] is missing, or no number, for "
            f"{int(np.isnan(own).sum())} of {len(own)} labeled cells. Give cells of unknown weight "
            "1."
        )
    if len(own) and (own.min() < 0 or own.max() > 1):
        raise InputError(
            f"mdata['{modality}'].obs['{key}'] must hold probabilities, from 0 to 1; found "
            f"{own.min():g} to {own.max():g}. Convert response scores first, to the probability "
            "that the perturbation worked."
        )
    return np.where(labeled, values, 1.0).astype(np.float32)


def resolve_likelihoods(
    asked: str | Mapping[str, str],
    profiles: Mapping[str, DataProfile],
    layers: Mapping[str, str | None],
) -> tuple[dict[str, str], dict[str, str]]:
    """Return the likelihood of each modality, and the reason."""
    wanted = per_modality(asked, list(profiles), "likelihood", optional=True)
    chosen, reasons = {}, {}
    wanted = {m: name or "auto" for m, name in wanted.items()}
    for m, name in wanted.items():
        data = profiles[m]
        if name == "auto":
            chosen[m], reasons[m] = data.choose_likelihood()
            logger.info("Likelihood of '%s': %s, because %s.", m, chosen[m], reasons[m])
        elif name in LIKELIHOODS:
            chosen[m], reasons[m] = name, "chosen by the user"
        else:
            raise InputError(
                f"Unknown likelihood '{name}' for '{m}'. Expected 'auto' or one of "
                f"{list(LIKELIHOODS)}."
            )
        if problem := data.problem_with(chosen[m]):
            raise InputError(
                f"Modality '{m}' has {problem}, which the likelihood '{chosen[m]}' cannot have. "
                "If it holds raw counts in a layer, name it: GROOVE.setup_mudata(..., "
                f"layers={ {**layers, m: '...'} }); if it is normalized or logged, use "
                f"likelihood={ {**wanted, m: 'normal'} } or 'auto'."
            )
        if LIKELIHOODS[chosen[m]].library and data.counts and data.panel:
            warn(
                f"In '{m}', {data.panel}: with the likelihood '{chosen[m]}', which divides by "
                "library sizes, a fall of one feature looks like a rise of all others. "
                f"likelihood={{'{m}': '{chosen[m]}_panel'}} does without.",
            )
    return chosen, reasons


@contextmanager
def restored_on_error(data: MuData | AnnData | None) -> Iterator[None]:
    """Undo what a failed registration wrote."""
    parts = list(data.mod.values()) if isinstance(data, MuData) else [] if data is None else [data]
    before = [(a, a.obs.copy(deep=False), dict(a.uns)) for a in parts if not a.is_view]
    uns = dict(data.uns) if isinstance(data, MuData) else {}
    try:
        yield
    except BaseException:
        for adata, obs, unstructured in before:
            adata.obs, adata.uns = obs, unstructured
        if isinstance(data, MuData):
            data.uns = uns
        raise
