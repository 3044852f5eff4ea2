"""Training and validation cells of all modalities, and the loaders over them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scvi import REGISTRY_KEYS, settings
from torch.utils.data import DataLoader

from scgroove.errors import InputError

from ._stream import StreamedSampler
from .manager import ModalityManager
from .pairing import PairIds
from .resident import ResidentDataset
from .sampler import Extras, GroupSampler, MultiModalDataset, Rows, shared_codes


class GroupDataSplitter(pl.LightningDataModule):  # type: ignore[misc]
    """Label-stratified split of every modality, and label-balanced loaders.

    A unit that was measured in several modalities falls into the same part in all of them.

    Parameters
    ----------
    managers
        The view of each modality.
    train_size
        Share of the cells of each label to train on. At least one cell of each label is.
    validation_size
        Share to validate on. The rest of the cells by default.
    batch_size, n_labels_per_batch, n_cells_per_label, balance, free_fraction
        See :class:`GroupSampler`.
    pairs
        Identifier of the unit behind each cell (:func:`scgroove.data.pair_ids`).
    external_indexing
        Rows to use instead of a random split: modality -> [train, validation, test].
    window_gb
        Memory for cells that are read ahead, where a modality is on disk. The larger, the less
        often the file is read in an epoch.
    extras
        Further arrays to hand out, modality -> key -> (n_m, ...).
    agreement
        How far labels agree, (n_labels, n_labels): a label of one modality takes part if it agrees
        with one of another.
    seed
        Random state of the split and of the batches.
    **data_loader_kwargs
        Of :class:`torch.utils.data.DataLoader`.

    Attributes
    ----------
    device
        Where to keep all cells, as dense tensors. They stay where they are if None.

    Raises
    ------
    ValueError
        A share is out of range, or rows of ``external_indexing`` are.
    """

    def __init__(
        self,
        managers: Mapping[str, ModalityManager],
        train_size: float = 0.9,
        validation_size: float | None = None,
        *,
        batch_size: int = 256,
        n_labels_per_batch: int | None = None,
        n_cells_per_label: int | None = None,
        balance: float = 1.0,
        free_fraction: float = 0.25,
        pairs: PairIds | None = None,
        external_indexing: Mapping[str, Sequence[NDArray[np.int64]]] | None = None,
        window_gb: float = 1.0,
        extras: Extras | None = None,
        agreement: NDArray[Any] | None = None,
        seed: int = 0,
        **data_loader_kwargs: Any,
    ) -> None:
        super().__init__()
        validation_size = 1 - train_size if validation_size is None else validation_size
        if not (0 < train_size <= 1 and 0 <= validation_size <= 1 - train_size + 1e-9):
            raise InputError(
                "Expected 0 < train_size <= 1 and train_size + validation_size <= 1, found "
                f"train_size={train_size}, validation_size={validation_size}."
            )
        sizes = {
            "batch_size": batch_size,
            "n_labels": n_labels_per_batch,
            "n_cells": n_cells_per_label,
        }
        if any(n is not None and n < 1 for n in sizes.values()) or not 0 <= free_fraction < 1:
            raise InputError(
                f"Expected positive sizes and 0 <= free_fraction < 1, found {sizes} and "
                f"{free_fraction}."
            )
        if not 0 <= balance <= 1:
            raise InputError(
                "balance lies between 0 (labels as abundant as they are) and 1 (all alike); found "
                f"{balance}."
            )
        if not window_gb > 0:
            raise InputError(
                f"window_gb, the memory for cells read ahead, must be positive; found {window_gb}."
            )
        self.managers, self.seed, self.window_gb, self.extras = managers, seed, window_gb, extras
        self.device: torch.device | None = None
        self.shape, self.free_fraction = sizes, free_fraction
        self.balance, self.agreement = balance, agreement
        data_loader_kwargs.setdefault("num_workers", settings.dl_num_workers)
        data_loader_kwargs.setdefault("persistent_workers", settings.dl_persistent_workers)
        self.data_loader_kwargs = data_loader_kwargs
        self._resident: ResidentDataset | None = None
        self.labels = shared_codes(
            {m: v.get_from_registry(REGISTRY_KEYS.LABELS_KEY).ravel() for m, v in managers.items()},
            agreement,
        )
        parts = (
            _random_split(self.labels, pairs, train_size, validation_size, seed)
            if external_indexing is None
            else _given_split(self.labels, external_indexing)
        )
        self.train_idx, self.val_idx, self.test_idx = parts
        self.n_train = sum(map(len, self.train_idx.values()))  # read by scvi's TrainRunner
        self.n_val = sum(map(len, self.val_idx.values()))

    def train_dataloader(self) -> DataLoader[Any]:
        """Loader over the training cells."""
        return self._loader(self.train_idx, shuffle=True, **self.shape)

    def val_dataloader(self) -> DataLoader[Any] | list[Any]:
        """Loader over the validation cells, the same batches at every epoch. May be empty."""
        most = 0
        for m, rows in self.val_idx.items():
            codes = self.labels[m][rows]
            most = max(most, np.bincount(codes[codes >= 0], minlength=1).max())
        try:
            loader = self._loader(self.val_idx, shuffle=False, **self.shape)
        except ValueError:  # no shared label among the validation cells
            return []
        # few validation cells: repeating them to fill a batch would only cost time
        loader.sampler.k = min(loader.sampler.k, most)  # type: ignore[attr-defined]
        return loader

    def _dataset(self) -> MultiModalDataset | ResidentDataset:
        """All cells. Those on a device are moved there once."""
        if self.device is None:
            return MultiModalDataset(self.managers, self.labels, self.extras)
        if self._resident is None:
            self._resident = ResidentDataset(self.managers, self.labels, self.device, self.extras)
        return self._resident

    def _loader(self, rows: Rows, **kwargs: Any) -> DataLoader[Any]:
        dataset = self._dataset()
        kwargs |= {
            "free_fraction": self.free_fraction,
            "balance": self.balance,
            "seed": self.seed,
            "agreement": self.agreement,
        }
        n_workers = self.data_loader_kwargs["num_workers"]
        if n_workers and (dataset.on_disk or isinstance(dataset, ResidentDataset)):
            _refuse_workers(dataset, n_workers)
        sampler = (
            StreamedSampler(dataset, self.labels, rows, window_gb=self.window_gb, **kwargs)
            if isinstance(dataset, MultiModalDataset) and dataset.on_disk
            else GroupSampler(dataset, self.labels, rows, **kwargs)
        )
        return DataLoader(dataset, sampler=sampler, batch_size=None, **self.data_loader_kwargs)


def _refuse_workers(dataset: MultiModalDataset | ResidentDataset, n: int) -> None:
    if isinstance(dataset, ResidentDataset):
        raise InputError(
            f"Cells are kept on {dataset.device}, where other processes cannot select them; "
            "expected "
            f"num_workers=0, found {n}. Leave num_workers out, or train with data_on_device=False."
        )
    raise InputError(
        f"Cells of {sorted(dataset.on_disk)} are on disk and are read ahead by a thread; expected "
        f"num_workers=0, found {n}. Leave num_workers out, or load the data first: "
        "adata.to_memory()."
    )


def _random_split(
    labels: Mapping[str, NDArray[np.int64]],
    pairs: PairIds | None,
    train_size: float,
    validation_size: float,
    seed: int,
) -> tuple[Rows, Rows, Rows]:
    sizes = [len(codes) for codes in labels.values()]
    unit = _units(labels, pairs)
    label = np.full(unit.max(initial=-1) + 1, -1, dtype=np.int64)
    np.maximum.at(label, unit, np.concatenate(list(labels.values())))
    where = np.zeros_like(label)
    np.bitwise_or.at(where, unit, np.repeat(1 << np.arange(len(sizes)), sizes))
    # a stratum: the units of one label that were measured in the same modalities, in random order
    order = np.lexsort((np.random.default_rng(seed).random(len(label)), where, label))
    first = np.flatnonzero(np.diff(label[order], prepend=-2) | np.diff(where[order], prepend=0))
    size = np.diff(first, append=len(order))
    rank = np.arange(len(order)) - np.repeat(first, size)
    n_train = np.maximum(1, np.rint(train_size * size))
    n_known = n_train + np.rint(validation_size * size)
    part = np.empty_like(label)
    part[order] = (rank >= np.repeat(n_train, size)).astype(int) + (
        rank >= np.repeat(n_known, size)
    )
    parts: tuple[Rows, Rows, Rows] = ({}, {}, {})
    of_cells = np.split(part[unit], np.cumsum(sizes)[:-1])
    for m, own in zip(labels, of_cells, strict=True):
        for p, rows in enumerate(parts):
            rows[m] = np.flatnonzero(own == p).astype(np.int64)
    return parts


def _units(labels: Mapping[str, NDArray[np.int64]], pairs: PairIds | None) -> NDArray[np.int64]:
    """A number for the unit behind each cell, over all modalities one after the other."""
    n = sum(map(len, labels.values()))
    if pairs is None:
        return np.arange(n)
    names = np.concatenate([np.asarray(pairs[m], dtype=object) for m in labels])
    codes = np.asarray(pd.factorize(names)[0], dtype=np.int64)  # -1: not measured elsewhere
    alone = np.flatnonzero(codes < 0)
    codes[alone] = codes.max(initial=-1) + 1 + np.arange(len(alone))
    return codes


def _given_split(
    labels: Mapping[str, NDArray[np.int64]], given: Mapping[str, Sequence[NDArray[np.int64]]]
) -> tuple[Rows, Rows, Rows]:
    parts: tuple[Rows, Rows, Rows] = ({}, {}, {})
    if set(given) != set(labels):
        raise InputError(
            f"external_indexing names {sorted(given)}, expected rows for each of {sorted(labels)}."
        )
    for m, pieces in given.items():
        rows = [np.asarray(p, dtype=np.int64) for p in pieces]
        joined = np.concatenate(rows) if rows else np.empty(0, np.int64)
        if len(rows) not in (1, 2, 3) or len(np.unique(joined)) < len(joined):
            raise InputError(
                f"external_indexing['{m}'] must hold one to three disjoint arrays: train, "
                "validation, test."
            )
        if len(joined) and (joined.min() < 0 or joined.max() >= len(labels[m])):
            raise InputError(
                f"external_indexing['{m}'] has rows outside 0 to {len(labels[m]) - 1}."
            )
        for part, i in zip(parts, range(3), strict=True):
            part[m] = np.sort(rows[i]) if i < len(rows) else np.empty(0, np.int64)
    return parts
