"""scvi-tools fields for a MuData whose modalities were measured on different cells.

Labels have one vocabulary, and a modality that is absent from new data keeps the state of training.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from mudata import MuData
from numpy.typing import NDArray
from scvi import REGISTRY_KEYS
from scvi.data.fields import BaseMuDataWrapperClass, CategoricalObsField, LayerField

from .._labels import UnlabeledCategory, label_name, names_of
from ..errors import InputError, UnknownNameError
from .checks import layers_of
from .features import columns_of
from .labels import encode_labels, labels_of
from .measured import look_for_absent, record
from .units import sample_profile

State = dict[str, Any]
VOCABULARY = CategoricalObsField.CATEGORICAL_MAPPING_KEY
NOT_MEASURED, ZERO_SHARES = "not_measured", "zero_shares"
"""State of a :class:`FeatureField`: features that batches lack, and shares of zeros."""


def field_key(kind: str, modality: str) -> str:
    """Registry key of a field, with the modality: columns of other models stay theirs."""
    return f"{kind}_{modality}"


class ModalityField(BaseMuDataWrapperClass):  # type: ignore[misc]
    """An AnnData field of one modality. Data without it keep the source state."""

    def __init__(self, adata_field: Any, mod_key: str) -> None:
        super().__init__(mod_key=mod_key, mod_required=True)
        self._adata_field = adata_field
        self._preregister = None  # the default is a lambda, which other processes cannot unpickle

    def preregister(self, mdata: MuData) -> None:
        """Nothing to do."""

    def absent(self, mdata: MuData) -> bool:
        """Whether the data lack this modality, or have no cell of it."""
        return self.mod_key not in mdata.mod or mdata.mod[self.mod_key].n_obs == 0

    def transfer_field(self, state_registry: State, mdata_target: MuData, **kwargs: Any) -> State:
        """Register new data with the state of the training data."""
        if self.absent(mdata_target):
            return deepcopy(state_registry)
        self.check_target(state_registry, self.get_modality(mdata_target))
        transferred: dict[str, Any] = super().transfer_field(state_registry, mdata_target, **kwargs)
        return transferred

    def check_target(self, state_registry: State, adata: AnnData) -> None:
        """Raise an error that teaches where new data do not fit."""


class FeatureField(ModalityField):
    """The data matrix of a modality, whose features are found by name.

    Features that a batch did not measure are looked for at registration, and in new batches.
    """

    def __init__(
        self,
        mod_key: str,
        layer: str | None,
        profile: Mapping[str, Any] | None,
        batch_key: str | None = None,
        label_key: str | None = None,
        unlabeled_category: UnlabeledCategory = None,
    ) -> None:
        super().__init__(
            LayerField(field_key(REGISTRY_KEYS.X_KEY, mod_key), layer, is_count_data=False), mod_key
        )
        self.layer, self.profile, self.batch_key = layer, profile, batch_key
        self.label_key, self.unlabeled_category = label_key, unlabeled_category

    def register_field(self, mdata: MuData) -> State:
        """Register the matrix, and keep its profile."""
        adata = self.get_modality(mdata)
        state = {**super().register_field(mdata), "profile": dict(self.profile or {})}
        labels = None
        if self.label_key is not None:
            labels = labels_of(adata.obs, self.label_key, self.unlabeled_category)
        absent, shares = look_for_absent(
            adata, self.mod_key, self.layer, self.batch_key, labels=labels
        )
        record(adata, absent, self.batch_key)
        seen = sample_profile(adata, self.layer).as_dict()
        return {**state, "registered": seen, NOT_MEASURED: absent, ZERO_SHARES: shares}

    def transfer_field(
        self,
        state_registry: State,
        mdata_target: MuData,
        extend_categories: bool = False,
        **kwargs: Any,
    ) -> State:
        """Register new data. Features and the profile stay those of the training data."""
        if self.absent(mdata_target):
            return deepcopy(state_registry)
        adata, names = self.get_modality(mdata_target), state_registry[LayerField.COLUMN_NAMES_KEY]
        self.check_target(state_registry, adata)
        n_obs = super().register_field(mdata_target)[LayerField.N_OBS_KEY]
        columns = columns_of(adata.var_names, names, modality=self.mod_key)
        seen = sample_profile(adata, self.layer, columns).as_dict()
        state = {**deepcopy(state_registry), LayerField.N_OBS_KEY: n_obs, "registered": seen}
        if extend_categories and ZERO_SHARES in state:
            known = dict(zip(names, state[ZERO_SHARES], strict=True))
            absent, _ = look_for_absent(adata, self.mod_key, self.layer, self.batch_key, known)
            record(adata, absent, self.batch_key)
            state[NOT_MEASURED] = {**state[NOT_MEASURED], **absent}
        return state

    def check_target(self, state_registry: State, adata: AnnData) -> None:
        """Look for the layer, and in it for every feature of the model."""
        layers = layers_of(adata)
        if self.layer is not None and self.layer not in layers:
            raise UnknownNameError(
                f"Layer '{self.layer}' not found in modality '{self.mod_key}', whose layers are "
                f"{layers}. The model was trained on it: put values in the same units there, "
                f"adata.layers['{self.layer}'] = ..."
            )
        columns_of(
            adata.var_names, state_registry[LayerField.COLUMN_NAMES_KEY], modality=self.mod_key
        )


class BatchField(ModalityField):
    """The batch covariate of a modality: codes, -1 where new data have an unknown batch.

    With ``extend_categories=True`` (fine-tuning) new batches are appended instead. Without
    ``batch_key`` all cells are one batch.
    """

    def __init__(self, mod_key: str, batch_key: str | None) -> None:
        super().__init__(
            CategoricalObsField(field_key(REGISTRY_KEYS.BATCH_KEY, mod_key), batch_key), mod_key
        )
        self.batch_key = batch_key

    def transfer_field(
        self,
        state_registry: State,
        mdata_target: MuData,
        extend_categories: bool = False,
        **kwargs: Any,
    ) -> State:
        """Code new data in the known batches."""
        if self.batch_key is None or self.absent(mdata_target):
            return super().transfer_field(state_registry, mdata_target, **kwargs)
        obs = self.get_modality(mdata_target).obs
        names = batches_of(obs, self.batch_key)
        known = list(map(label_name, state_registry[VOCABULARY]))
        if extend_categories:
            missing = sum(name is None for name in names)
            if missing:
                raise InputError(
                    f"{missing} of {len(names)} cells of modality '{self.mod_key}' have no batch "
                    f"in obs['{self.batch_key}'], which the model was trained with (batches "
                    f"{known}). Fill the column in: one name for all cells of a new batch."
                )
            known += sorted(set(names) - set(known))
        obs[self.attr_key] = encode_labels(names, known)
        return {**deepcopy(state_registry), VOCABULARY: np.asarray(known, dtype=object)}


def batches_of(obs: pd.DataFrame, key: str) -> NDArray[Any]:
    """Batches of cells as text, None where missing, (n,)."""
    return names_of(obs[key]) if key in obs else np.full(len(obs), None, dtype=object)


class SharedLabelField(ModalityField):
    """Labels of one modality, coded in the vocabulary of all label columns ``obs_keys``.

    New data may lack labels altogether, and may bring new ones, which are appended.
    """

    def __init__(
        self, mod_key: str, obs_keys: Mapping[str, str], unlabeled_category: UnlabeledCategory
    ) -> None:
        field = CategoricalObsField(field_key(REGISTRY_KEYS.LABELS_KEY, mod_key), obs_keys[mod_key])
        super().__init__(field, mod_key)
        self.obs_keys, self.unlabeled_category = dict(obs_keys), unlabeled_category

    def absent(self, mdata: MuData) -> bool:
        """Whether the data lack this modality or its label column."""
        return (
            super().absent(mdata) or self.obs_keys[self.mod_key] not in mdata.mod[self.mod_key].obs
        )

    def register_field(self, mdata: MuData) -> State:
        """Build the vocabulary, and write this modality's codes into its ``obs``."""
        return self._encode(mdata, [])

    def transfer_field(self, state_registry: State, mdata_target: MuData, **kwargs: Any) -> State:
        """Code new data in the known vocabulary, new labels appended."""
        if self.absent(mdata_target):
            return deepcopy(state_registry)
        return self._encode(mdata_target, [str(c) for c in state_registry[VOCABULARY]])

    def _encode(self, mdata: MuData, known: Sequence[str]) -> State:
        seen: set[str | None] = set()
        for m, key in self.obs_keys.items():
            if m in mdata.mod and key in mdata.mod[m].obs:
                seen.update(labels_of(mdata.mod[m].obs, key, self.unlabeled_category))
        vocabulary = [*known, *sorted(name for name in seen - {None, *known} if name)]
        obs, key = mdata.mod[self.mod_key].obs, self.obs_keys[self.mod_key]
        obs[self.attr_key] = encode_labels(labels_of(obs, key, self.unlabeled_category), vocabulary)
        # object arrays: an older pandas does not open registries with extension arrays
        return {
            VOCABULARY: np.asarray(vocabulary, dtype=object),
            CategoricalObsField.ORIGINAL_ATTR_KEY: key,
        }
