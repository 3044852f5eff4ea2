"""The data of a model: modalities, features, batches, labels, units."""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any, Final
from weakref import WeakValueDictionary

import numpy as np
import pandas as pd
import torch
from anndata import AnnData
from mudata import MuData
from numpy.typing import NDArray
from scvi import REGISTRY_KEYS
from scvi.data import AnnDataManager
from scvi.model.base import BaseModelClass

from scgroove._files import make_mudata

from .._types import IntArray
from ..data import ModalityManager
from ..data.checks import per_modality
from ..data.fields import NOT_MEASURED, VOCABULARY, field_key
from ..data.labels import counts_of_labels, label_keys, labels_of
from ..data.manager import FIELDS
from ..data.measured import mask_of
from ..data.pairing import pair_ids
from ..data.units import check_units
from ..errors import InputError, UnknownNameError
from ..losses import ScreenInfo
from ..module import GROOVEModule
from ..module.groove import CODES, WEIGHT
from ..train import Freeze
from ._setup import restored_on_error, weights_of

X, BATCH, LABELS = REGISTRY_KEYS.X_KEY, REGISTRY_KEYS.BATCH_KEY, REGISTRY_KEYS.LABELS_KEY

_HELD: Final = "_scgroove_managers"
"""Attribute of a MuData with its managers, by who registered them."""


class Registered(BaseModelClass):  # type: ignore[misc]
    """A model of several modalities, and its data."""

    module: GROOVEModule
    likelihood: dict[str, str]
    likelihood_reasons_: dict[str, str]
    freeze_: Freeze | None

    @classmethod
    def register_manager(cls, adata_manager: AnnDataManager) -> None:
        """Keep a manager as long as its data live."""
        cls._setup_adata_manager_store = _held_by_data(
            cls._setup_adata_manager_store, adata_manager, "setup"
        )

    def _register_manager_for_instance(self, adata_manager: AnnDataManager) -> None:
        stores = self._per_instance_manager_store
        if self.id not in stores:
            weakref.finalize(self, stores.pop, self.id, None)
        stores[self.id] = _held_by_data(stores.get(self.id, {}), adata_manager, self.id)

    @property
    def modalities(self) -> list[str]:
        """The modalities of the model, in order."""
        return list(self.registry["setup_args"]["modalities"])

    def present_in(self, data: MuData | AnnData | None = None) -> list[str]:
        """Modalities of the model that have cells in the data, by default its own."""
        data = self.adata if data is None else data
        if data is None:
            raise InputError(
                "The model was loaded without data: pass mdata, or attach data with "
                "GROOVE.load(path, mdata)."
            )
        if isinstance(data, AnnData):
            raise InputError(
                f"An AnnData needs its modality: modality='...', one of {self.modalities}."
            )
        present = [m for m in self.modalities if m in data.mod and data.mod[m].n_obs]
        if not present:
            raise UnknownNameError(
                f"The data have the modalities {list(data.mod)}, none of which is in the model: "
                f"{self.modalities}."
            )
        return present

    def __repr__(self) -> str:
        """Summary in plain text (scvi-tools' own prints, and returns an empty string)."""
        lines = [self._model_summary_string]
        for m in self.modalities:
            state = self._state(X, m)
            lines.append(
                f"  {m}: {state['profile']['n_obs']} cells x {len(state['column_names'])} "
                f"features, {self.likelihood[m]} ({self.likelihood_reasons[m]}), "
                f"{len(self._state(BATCH, m)[VOCABULARY])} batch(es)"
            )
        trained = "weights of a reference" if self.freeze_ is not None else "no"
        lines.append(f"  {len(self._labels())} labels over all modalities")
        return "\n".join([*lines, f"Trained: {'yes' if self.is_trained_ else trained}"])

    @property
    def likelihood_reasons(self) -> dict[str, str]:
        """For each modality, why it has its likelihood."""
        return dict(self.likelihood_reasons_)

    def get_var_names(  # type: ignore[override]
        self, legacy_mudata_format: bool = False
    ) -> dict[str, NDArray[Any]]:
        """Feature names of each modality of the model, also when no data are attached."""
        return {
            m: np.asarray(self._state(X, m)["column_names"], dtype=str) for m in self.modalities
        }

    def _check_has_weights(self) -> None:
        if self.freeze_ is None:  # else it has those of a reference
            self._check_if_trained(
                warn=False,
                message="The model is not trained yet: call model.train() first.",
            )

    def _state(self, kind: str, modality: str) -> dict[str, Any]:
        field = self.registry[FIELDS][field_key(kind, modality)]
        state: dict[str, Any] = field["state_registry"]
        return state

    def _batch_proportions(self, modality: str) -> list[float]:
        n_batch = len(self._state(BATCH, modality)[VOCABULARY])
        codes = np.empty(0, dtype=int)
        if self.adata is not None and modality in self.present_in():
            codes = self._manager_of(None, modality).get_from_registry(BATCH).ravel().astype(int)
        counts = np.bincount(codes[codes >= 0], minlength=n_batch)
        if not counts.any():
            return [1 / n_batch] * n_batch  # overwritten by the saved state
        return (counts / counts.sum()).tolist()  # type: ignore[no-any-return]

    def _measured(self) -> dict[str, torch.Tensor]:
        """Which features each batch measured, of the modalities of which some batches lack some."""
        masks = {}
        keys = self._batch_keys()
        for m in self.modalities:
            state = self._state(X, m)
            batches = [""] if keys[m] is None else self._state(BATCH, m)[VOCABULARY]
            mask = mask_of(state.get(NOT_MEASURED, {}), batches, state["column_names"])
            if mask is not None:
                masks[m] = torch.from_numpy(mask)
        return masks

    def _check_modality(self, modality: str) -> None:
        if modality not in self.modalities:
            raise UnknownNameError(
                f"Unknown modality '{modality}'. The model has {self.modalities}."
            )

    def _manager_of(self, data: MuData | AnnData | None, modality: str) -> ModalityManager:
        self._check_modality(modality)
        if (
            isinstance(data, AnnData)
            and self.adata is not None
            and data is self.adata.mod.get(modality)
        ):
            data = None
        if isinstance(data, AnnData):
            data = make_mudata({modality: data.copy() if data.is_view else data})
            if self.adata_manager is not None:
                # transient: scvi-tools would keep every query alive in its class-level store
                return ModalityManager(self.adata_manager.transfer_fields(data), modality)
        if modality not in self.present_in(data):
            raise UnknownNameError(
                f"These data have no cells of modality '{modality}': they have "
                f"{list((data or self.adata).mod)}."
            )
        return ModalityManager(
            self.get_anndata_manager(self._validate_anndata(data), required=True), modality
        )

    def _batch_keys(self) -> dict[str, str | None]:
        """Batch column of each modality, if it has one."""
        given = self.registry["setup_args"]["batch_key"]
        return per_modality(given, self.modalities, "batch_key", optional=True)

    def _layer_of(self, modality: str) -> str | None:
        layers: Mapping[str, str | None] = self.registry["setup_args"]["layers"] or {}
        return layers.get(modality)

    def _check_units(
        self,
        adata: AnnData,
        modality: str,
        columns: IntArray | None,
        *,
        state: Mapping[str, Any] | None = None,
        rows: NDArray[np.int64] | None = None,
        strict: bool = False,
    ) -> None:
        """See :func:`scgroove.data.check_units`."""
        check_units(
            adata,
            state or self._state(X, modality),
            self.likelihood[modality],
            modality=modality,
            layer=self._layer_of(modality),
            columns=columns,
            rows=rows,
            strict=strict,
        )

    def _validate_anndata(self, adata: MuData | None = None, copy_if_view: bool = True) -> MuData:
        data = self.adata if adata is None else adata
        with restored_on_error(data):
            checked: MuData = super()._validate_anndata(adata, copy_if_view)
            return checked

    def _labels(self) -> list[str]:
        """All labels of the model, in the order of their codes."""
        return [str(label) for label in self._state(LABELS, self.modalities[0])[VOCABULARY]]

    def _screen_info(self) -> ScreenInfo:
        """Labels of the model, and those that each modality has."""
        labels = self._labels()
        return ScreenInfo(labels, torch.from_numpy(self._labels_present(len(labels))))

    def _labels_present(self, n_labels: int) -> NDArray[np.bool_]:
        """Which labels each modality has. All without data, and none where the data lack it."""
        present = np.full((len(self.modalities), n_labels), self.adata is None)
        if self.adata is not None:
            for i, m in enumerate(self.modalities):
                manager = self._manager_of(None, m) if m in self.present_in() else None
                if manager is not None and LABELS in manager.data_registry:
                    codes = manager.get_from_registry(LABELS).ravel().astype(int)
                    present[i] = np.bincount(codes[codes >= 0], minlength=n_labels) > 0
        return present

    def _read_labels(self, modalities: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Labels of the attached data, None where there is none. (n_m,) each."""
        args = self.registry["setup_args"]
        keys = label_keys(self.adata, args["label_key"], modalities, exact=False)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # said once, in setup_mudata
            return {
                m: labels_of(self.adata.mod[m].obs, key, args["unlabeled_category"], m)
                for m, key in keys.items()
            }

    def _training_managers(self) -> dict[str, ModalityManager]:
        present = self.present_in()
        if missing := [m for m in self.modalities if m not in present]:
            raise InputError(
                f"Training needs all modalities {self.modalities}; the attached data lack "
                f"{missing}. Load the model on data that have them, GROOVE.load(path, mdata), or "
                "train a new model."
            )
        managers = self._checked_managers()
        _check_trainable(managers)
        return managers

    def _checked_managers(self) -> dict[str, ModalityManager]:
        """Views of the modalities of the attached data, in the units of the model."""
        managers = {m: self._manager_of(None, m) for m in self.present_in()}
        for m, manager in managers.items():
            self._check_units(manager.adata, m, manager.columns)
        return managers

    def _extras(
        self, managers: Mapping[str, ModalityManager]
    ) -> dict[str, dict[str, NDArray[Any]]]:
        """Arrays that batches hold beside values, batches and shared labels."""
        given = self.registry["setup_args"].get("weight_key")
        keys = per_modality(given, self.modalities, "weight_key", optional=True)
        extras: dict[str, dict[str, NDArray[Any]]] = {}
        for m, manager in managers.items():
            codes = manager.get_from_registry(LABELS).ravel().astype(np.int64)
            extras[m] = {CODES: codes}
            key = keys[m]
            if key is not None:
                extras[m][WEIGHT] = weights_of(manager.adata.obs, key, m, codes >= 0)
            elif any(keys.values()):
                extras[m][WEIGHT] = np.ones(len(codes), dtype=np.float32)
        return extras

    def _pairs(self) -> dict[str, NDArray[Any]] | None:
        args = self.registry["setup_args"]
        labels = self._read_labels(self.modalities)
        paired = args["paired"]
        if isinstance(paired, str) and paired != "auto":
            # a query may lack the column of the reference
            having = [m for m in self.modalities if paired in self.adata.mod[m].obs]
            paired = paired if len(having) > 1 else False
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # said once, in setup_mudata
            return pair_ids(self.adata, self.modalities, paired, labels)

    def get_label_columns(self) -> dict[str, Any]:
        """Where the model has its labels from."""
        args = self.registry["setup_args"]
        return {name: args[name] for name in ("label_key", "unlabeled_category")}

    def get_label_table(self) -> pd.DataFrame:
        """Cells of each label in each modality, see :func:`scgroove.data.label_table`."""
        if self.adata is None:
            raise InputError(
                "The model was loaded without data. Attach them: GROOVE.load(path, mdata)."
            )
        return counts_of_labels(self._read_labels(self.present_in()))


def _held_by_data(
    store: MutableMapping[str, Any], manager: AnnDataManager, owner: str
) -> MutableMapping[str, Any]:
    """Add a manager to a store of scvi-tools, which forgets it when its data are gone.

    scvi-tools would keep managers and data as long as the process lives. ``owner`` registers it: an
    earlier manager of the same owner and data is replaced.
    """
    vars(manager.adata).setdefault(_HELD, {})[owner] = manager
    found = store if isinstance(store, WeakValueDictionary) else WeakValueDictionary(store)
    found[manager.adata_uuid] = manager
    return found


def _check_trainable(managers: Mapping[str, ModalityManager]) -> None:
    """Refuse to train on data without labels, or on cells of unknown batches."""
    for m, manager in managers.items():
        if REGISTRY_KEYS.LABELS_KEY not in manager.registry[FIELDS]:
            raise InputError(
                f"Training needs labels, and modality '{m}' of the attached data has no label "
                "column. Labels are all that links the modalities: add the column that the model "
                "was set up with. Mapping cells needs neither labels nor training."
            )
        codes: Any = manager.get_from_registry(REGISTRY_KEYS.BATCH_KEY)
        if (codes < 0).any():
            raise InputError(
                f"Modality '{m}' of the attached data has {int((codes < 0).sum())} cells of a "
                "batch that the model does not know. GROOVE.load_query_data(mdata, model) makes a "
                "model that knows it; train that one."
            )
