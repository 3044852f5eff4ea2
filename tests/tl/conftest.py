"""Small simulated screens with a shared representation, and what it means that one is unchanged."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mudata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from scgroove.simulations import weakly_paired


def _screen(**options: Any) -> mudata.MuData:
    """A simulation whose true latent coordinates, with noise, stand for a learned representation."""
    parameters = {
        "n_labels": 4,
        "n_cells_per_label": 12,
        "n_features": (9, 7),
        "n_latent": 3,
        "seed": 1,
    }
    mdata = weakly_paired(**{**parameters, **options})
    rng = np.random.default_rng(0)
    for adata in mdata.mod.values():
        latent = adata.obsm["latent"]
        adata.obsm["X_groove"] = (latent + 0.1 * rng.normal(size=latent.shape)).astype(np.float32)
    return mdata


@pytest.fixture
def screen() -> Callable[..., mudata.MuData]:
    return _screen


def _plain(values: Any) -> Any:
    if isinstance(values, dict) or hasattr(values, "items"):
        return {key: _plain(value) for key, value in values.items()}
    if sp.issparse(values):
        return values.toarray().tolist()
    if isinstance(values, pd.DataFrame):
        return values.astype(str).to_dict("list")
    return np.asarray(values).tolist()


def _state(mdata: mudata.MuData) -> dict[str, Any]:
    """Everything that a verb might write to, as plain values."""
    state = {
        "uns": _plain(dict(mdata.uns)),
        "obsp": _plain(dict(mdata.obsp)),
        "obs": list(mdata.obs.columns),
    }
    for name, adata in mdata.mod.items():
        state[name] = {
            "obs": _plain(adata.obs),
            "obsm": _plain(dict(adata.obsm)),
            "uns": _plain(dict(adata.uns)),
            "X": _plain(adata.X),
        }
    return state


@pytest.fixture
def state() -> Callable[[mudata.MuData], dict[str, Any]]:
    return _state
