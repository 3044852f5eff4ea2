"""Checks of new data for a trained model, and weights for new batches."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

import torch
from anndata import AnnData
from mudata import MuData
from scvi import REGISTRY_KEYS
from torch import Tensor

from .._warnings import warn
from ..data import ModalityManager
from ..data.checks import modality_of, profile
from ..data.features import columns_of
from ..data.fields import NOT_MEASURED, VOCABULARY, ZERO_SHARES, batches_of
from ..data.manager import FIELDS
from ..data.measured import Measured, look_for_absent
from ..errors import InputError, InputTypeError
from ..module import GROOVEModule

if TYPE_CHECKING:
    from ._registered import Registered


def check_screen(mdata: MuData | AnnData | None, reference: Registered) -> list[str]:
    """Return the modalities of a model that new data have, after a check of their values."""
    if not isinstance(mdata, MuData):
        known = reference.modalities
        raise InputTypeError(
            f"Expected a MuData, found {type(mdata).__name__}. To go on training, put the "
            "modalities of "
            f'the new screen together: mudata.MuData({{"{known[0]}": adata, ...}}). New cells of '
            "one "
            f'modality need no training: model.get_latent_representation(adata, "{known[0]}").'
        )
    if mdata.is_view:
        raise InputError(
            "The new data are a view of others, into which nothing can be written. Pass a copy: "
            "mdata = mdata[cells].copy()."
        )
    present = reference.present_in(mdata)
    for m in present:
        profile(modality_of(mdata, m), m, reference._layer_of(m))
        columns = columns_of(mdata.mod[m].var_names, reference.get_var_names()[m], modality=m)
        trained = {"profile": reference._state(REGISTRY_KEYS.X_KEY, m)["profile"]}
        reference._check_units(modality_of(mdata, m), m, columns, state=trained, strict=True)
    return present


def check_batches(
    manager: ModalityManager, modality: str, module: GROOVEModule, batch_key: str | None
) -> None:
    """Warn of cells of unknown batches, and refuse them where the encoder sees the batch."""
    unknown = manager.get_from_registry(REGISTRY_KEYS.BATCH_KEY).ravel() < 0
    if batch_key is None or not unknown.any():
        return
    obs = manager.adata.obs
    state = manager.registry[FIELDS][REGISTRY_KEYS.BATCH_KEY]["state_registry"]
    known = list(map(str, state[VOCABULARY]))
    names = sorted({str(name) for name in batches_of(obs, batch_key)[unknown]})
    shown = f"such as {names[:5]}" if batch_key in obs else "as there is no such column"
    found = (
        f"{int(unknown.sum())} of {len(obs)} cells of modality '{modality}' are of a batch that "
        f"the model does not know ({shown} in obs['{batch_key}']; known: {known[:10]})"
    )
    if module.encoder_of(modality).n_batch:
        raise InputError(
            f"{found}, and its encoders see the batch (encode_batch=True). Train on with the new "
            "batch, query = GROOVE.load_query_data(mdata, model); query.train(); or name the "
            "known batch most like it in that column."
        )
    warn(f"{found}: taken as unknown. Latent coordinates and translations do not depend on it.")


def measured_in_query(
    adata: AnnData,
    modality: str,
    layer: str | None,
    batch_key: str | None,
    state: Mapping[str, Any],
) -> Measured | None:
    """Return which values of new cells were measured, None if all were.

    Not measured: features that the batch lacked in training, and those that are zero in all cells
    of a new batch.
    """
    if ZERO_SHARES not in state:  # of a model saved before batches were looked at
        return None
    known = dict(zip(map(str, state["column_names"]), state[ZERO_SHARES], strict=True))
    absent, _ = look_for_absent(adata, modality, layer, batch_key, known)
    for batch, features in state[NOT_MEASURED].items():
        absent[batch] = [*absent.get(batch, []), *features]
    return Measured.by_batch(adata, batch_key, absent, list(known))


def copy_weights(module: GROOVEModule, reference: GROOVEModule, measured: Collection[str]) -> None:
    """Give a module the weights and input statistics of a reference, which may know fewer batches.

    A new batch starts as the mean of the known ones, weighted by their cells. The shares of
    batches of the modalities ``measured`` are those of the new data.
    """
    state = {key: value.detach().clone() for key, value in reference.state_dict().items()}
    own: Mapping[str, Tensor] = module.state_dict()
    for i, m in enumerate(module.modalities):
        shares = reference.batch_proportions_of(m)
        name = f"batch_proportions_{i}"
        n_new = len(own[name]) - len(shares)
        state[name] = own[name] if m in measured else torch.cat([shares, shares.new_zeros(n_new)])
        for kind in ("encoders", "decoders"):
            key = f"{kind}.{i}.net.0.weight"
            state[key] = _widened(state[key], own[key].shape[1], shares)
    for term in module.objective:
        start = f"terms.{term.name}."
        known = {}
        for key in [key for key in state if key.startswith(start)]:
            known[key.removeprefix(start)] = state.pop(key)
        if known:
            state |= {start + key: value for key, value in term.adapted(known).items()}
    module.load_state_dict(state)


def _widened(weight: Tensor, width: int, shares: Tensor) -> Tensor:
    """Add columns for new batches, which stand last, to a weight (n_out, n_in)."""
    n_new = width - weight.shape[1]
    # with one batch there are no columns to take the mean of
    mean = weight[:, -len(shares) :] @ shares if len(shares) > 1 else weight.new_zeros(len(weight))
    return torch.cat([weight, mean[:, None].expand(-1, n_new)], dim=1)
