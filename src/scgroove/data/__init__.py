"""The only place that knows how a MuData is laid out."""

from ._datamodule import GroupDataSplitter
from .checks import DataProfile, check_cell_names, check_modalities, profile
from .features import feature_positions, take_features
from .fields import ModalityField, SharedLabelField
from .labels import encode_labels, label_keys, label_table, labels_by_modality, labels_of
from .manager import ModalityManager
from .pairing import known_partners, pair_ids
from .sampler import GroupSampler, MultiModalDataset
from .units import check_units

__all__ = [
    "DataProfile",
    "GroupDataSplitter",
    "GroupSampler",
    "ModalityField",
    "ModalityManager",
    "MultiModalDataset",
    "SharedLabelField",
    "check_cell_names",
    "check_modalities",
    "check_units",
    "encode_labels",
    "feature_positions",
    "known_partners",
    "label_keys",
    "label_table",
    "labels_by_modality",
    "labels_of",
    "pair_ids",
    "profile",
    "take_features",
]
