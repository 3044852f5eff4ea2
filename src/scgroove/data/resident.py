"""Data that are small enough to lie on the device that trains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from ..errors import InputError
from .checks import BLOCK_BYTES
from .disk import on_disk
from .manager import ModalityManager
from .sampler import BATCH, LABELS, Extras, MultiModalDataset, Rows, X

SHARE_OF_FREE_MEMORY: Final = 0.25
"""What data may take of the free memory of a GPU without being asked for."""


class ResidentDataset(Dataset[Any]):
    """:class:`MultiModalDataset` of dense tensors on a device."""

    def __init__(
        self,
        managers: Mapping[str, ModalityManager],
        labels: Mapping[str, NDArray[np.int64]],
        device: torch.device,
        extras: Extras | None = None,
    ) -> None:
        self.device = device
        self.on_disk: dict[str, Any] = {}
        source = MultiModalDataset(managers, labels, extras)
        self.tensors = {m: self._moved(source, m) for m in managers}

    def _moved(self, source: MultiModalDataset, m: str) -> dict[str, Tensor]:
        data, n = source.data[m], len(source.data[m])
        first = data[np.arange(1)]
        kept = {}
        for key, value in first.items():
            dtype = torch.from_numpy(value).dtype
            kept[key] = torch.empty((n, *value.shape[1:]), dtype=dtype, device=self.device)
        step = max(1, BLOCK_BYTES // (4 * max(1, first[X].shape[1])))
        for start in range(0, n, step):
            for key, value in data[np.arange(start, min(n, start + step))].items():
                kept[key][start : start + step] = torch.from_numpy(np.ascontiguousarray(value))
        for key, value in {LABELS: source.labels[m], **source.extras.get(m, {})}.items():
            kept[key] = torch.from_numpy(value).to(self.device)
        return kept

    def __len__(self) -> int:
        return max(len(kept[X]) for kept in self.tensors.values())

    def __getitem__(self, index: Rows) -> dict[str, dict[str, Tensor]]:
        found = {}
        for m, rows in index.items():
            if len(rows):
                where = torch.from_numpy(rows).to(self.device)
                found[m] = {k: kept.index_select(0, where) for k, kept in self.tensors[m].items()}
        return found


def bytes_on_device(managers: Mapping[str, ModalityManager]) -> int | None:
    """What the data take as dense tensors. None if some are on disk."""
    needed = 0
    for manager in managers.values():
        dataset = manager.create_torch_dataset(data_and_attributes=[X, BATCH])
        if on_disk(dataset.data[X]):
            return None
        d = dataset.data[X].shape[1] if dataset.columns is None else len(dataset.columns)
        needed += len(dataset) * (4 * d + 16)
    return needed


def fits(managers: Mapping[str, ModalityManager], device: torch.device) -> bool:
    """Whether data take a small share of the free memory of a GPU. Never on other devices."""
    if device.type != "cuda":
        return False
    needed = bytes_on_device(managers)
    return needed is not None and needed < SHARE_OF_FREE_MEMORY * torch.cuda.mem_get_info(device)[0]


def data_device(
    wanted: bool | Literal["auto"],
    managers: Mapping[str, ModalityManager],
    accelerator: str,
    devices: int | list[int] | str,
) -> torch.device | None:
    """Return the device to keep the data on while training, None to leave them in place."""
    device = device_of_training(accelerator, devices)
    if wanted is False or (wanted == "auto" and device is None):
        return None
    if device is None:
        raise InputError(
            f"data_on_device=True needs one device, found devices={devices!r}. Use devices=1, or "
            "data_on_device=False."
        )
    if wanted is True and bytes_on_device(managers) is None:
        raise InputError(
            "data_on_device=True, but some modalities are on disk. Load them first, "
            "adata.to_memory(), or leave them there: cells are then read ahead, and data_on_device "
            "must be False."
        )
    return device if wanted is True or fits(managers, device) else None


def device_of_training(accelerator: str, devices: int | list[int] | str) -> torch.device | None:
    """Return the one device that trains, or None if there are several."""
    all_devices = devices in ("auto", -1, "-1")
    on_gpu = accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
    if isinstance(devices, list):
        several = len(devices) != 1
    else:
        several = torch.cuda.device_count() > 1 if all_devices else devices not in (1, "1")
    if several and (on_gpu or not all_devices):
        return None
    if not on_gpu:
        return torch.device("cpu")
    return torch.device("cuda", devices[0] if isinstance(devices, list) else 0)
