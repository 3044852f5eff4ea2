"""Managers of set-up data, held by the data: scvi-tools would keep both as long as the process lives."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any, Final
from weakref import WeakValueDictionary

from scvi.data import AnnDataManager

HELD: Final = "_scgroove_managers"
"""Attribute of a MuData with its managers, by who registered them."""


def held_by_data(
    store: MutableMapping[str, Any], manager: AnnDataManager, owner: str
) -> MutableMapping[str, Any]:
    """Return a store of scvi-tools with one more manager, that forgets each manager when its data are gone.

    Parameters
    ----------
    store
        Managers by the identifiers of their data.
    manager
        The manager to add.
    owner
        Who registers it; an earlier one of the same owner and data is replaced.
    """
    vars(manager.adata).setdefault(HELD, {})[owner] = manager
    found = store if isinstance(store, WeakValueDictionary) else WeakValueDictionary(store)
    found[manager.adata_uuid] = manager
    return found
