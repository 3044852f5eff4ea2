"""Label-balanced batches from several modalities at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from math import ceil
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scvi import REGISTRY_KEYS
from torch.utils.data import Dataset, DistributedSampler

from scgroove.errors import InputError

from .disk import Window, on_disk
from .manager import ModalityManager

X, BATCH, LABELS = REGISTRY_KEYS.X_KEY, REGISTRY_KEYS.BATCH_KEY, REGISTRY_KEYS.LABELS_KEY
Rows = dict[str, NDArray[np.int64]]
Extras = Mapping[str, Mapping[str, NDArray[Any]]]


class MultiModalDataset(Dataset[Any]):
    """Cells of all modalities: ``dataset[{modality: rows}] -> {modality: {key: array}}``.

    Parameters
    ----------
    managers
        The view of each modality.
    labels
        Label codes to hand out instead of the registered ones, (n_m,) each, -1 for none.
    extras
        Further arrays to hand out, modality -> key -> (n_m, ...).

    Attributes
    ----------
    on_disk
        The matrices that have to be read, by modality.
    windows
        Rows of them that were read ahead, by modality, with all that is asked for next.
    """

    def __init__(
        self,
        managers: Mapping[str, ModalityManager],
        labels: Mapping[str, NDArray[np.int64]],
        extras: Extras | None = None,
    ) -> None:
        self.data: dict[str, Any] = {
            m: v.create_torch_dataset(data_and_attributes=[X, BATCH]) for m, v in managers.items()
        }
        self.labels, self.extras = labels, extras or {}
        self.on_disk = {m: d.data[X] for m, d in self.data.items() if on_disk(d.data[X])}
        self.windows: dict[str, Window] = {}

    def __len__(self) -> int:
        return max(len(d) for d in self.data.values())

    def __getitem__(self, index: Rows) -> dict[str, dict[str, Any]]:
        batch = {}
        for m, rows in index.items():
            if len(rows):
                batch[m] = {**self._values(m, rows), LABELS: self.labels[m][rows]}
                for key, values in self.extras.get(m, {}).items():
                    batch[m][key] = values[rows]
        return batch

    def _values(self, m: str, rows: NDArray[np.int64]) -> dict[str, Any]:
        if m in self.windows:
            found: dict[str, Any] = self.data[m].with_values(rows, self.windows[m].take(rows))
        else:
            found = self.data[m][rows]
        return found


class _Queue:
    """Hands out every element once, in random order, before any returns."""

    def __init__(self, elements: NDArray[Any], rng: np.random.Generator) -> None:
        self.elements, self.rng, self.left = elements, rng, elements[:0]

    def take(self, n: int) -> NDArray[Any]:
        while len(self.left) < n:
            self.left = np.concatenate([self.left, self.rng.permutation(self.elements)])
        taken, self.left = self.left[:n], self.left[n:]
        return taken


def _by_code(rows: NDArray[np.int64], codes: NDArray[np.int64]) -> dict[int, NDArray[np.int64]]:
    """Rows of each code, in their order."""
    order = np.argsort(codes, kind="stable")
    found, first = np.unique(codes[order], return_index=True)
    return dict(zip(found.tolist(), np.split(rows[order], first[1:]), strict=False))


def shared_codes(
    codes: Mapping[str, NDArray[Any]], agreement: NDArray[Any] | None = None
) -> dict[str, NDArray[np.int64]]:
    """Label codes, -1 for labels that only one modality has and that agree with none of another.

    ``codes`` (n_m,) by modality, negative for no label. ``agreement`` (n_labels, n_labels), None if
    labels agree with themselves alone.
    """
    whole = {m: c.astype(np.int64) for m, c in codes.items()}
    n = 1 + max((int(c.max(initial=-1)) for c in whole.values()), default=-1)
    has = {m: np.bincount(c[c >= 0], minlength=n) > 0 for m, c in whole.items()}
    n_having = np.sum(list(has.values()), axis=0)
    found = {}
    for m, c in whole.items():
        linked = n_having > has[m]  # there in another
        if agreement is not None:
            linked = (agreement[:n, :n][:, linked] > 0).any(axis=1)
        found[m] = np.where(np.append(linked, False)[c], c, -1)  # a code of -1 reads the last
    return found


class GroupSampler(DistributedSampler[Any]):
    """Each step: P labels, K cells of each from every modality, and some label-free cells.

    Labels weigh the same whatever their abundance. Cells are handed out once before any returns.
    Cells without a shared label fill a fixed share of each batch: they take part in reconstruction
    and back-translation only. Under DDP all ranks draw the same batch, and each takes its share of
    every label.

    Parameters
    ----------
    dataset
        The cells.
    labels
        Codes of the shared labels by modality, (n_m,). -1: no shared label.
    rows
        Cells to draw from, by modality.
    batch_size
        Labeled cells of each modality in a step of each rank, about P x K, and no more than the
        labeled cells of the largest modality.
    n_labels, n_cells
        P, of all ranks together, and K, of each rank. Default: all shared labels, as long as each
        can have 8 cells.
    balance
        1: labels have the same number of cells in a batch. 0: about in proportion to their cells
        over all modalities. Between them, in proportion to the power ``1 - balance`` of their
        cells.
    free_fraction
        Share of the label-free cells in a batch, where a modality has any.
    shuffle
        Different batches at every epoch. The same ones otherwise (validation).
    seed
        Random state.
    agreement
        How far labels agree, (n_labels, n_labels): a label of one modality takes part if it agrees
        with one of another.

    Raises
    ------
    ValueError
        No label is in two modalities.
    """

    def __init__(
        self,
        dataset: Dataset[Any],
        labels: Mapping[str, NDArray[np.int64]],
        rows: Mapping[str, NDArray[np.int64]],
        *,
        batch_size: int = 256,
        n_labels: int | None = None,
        n_cells: int | None = None,
        balance: float = 1.0,
        free_fraction: float = 0.25,
        shuffle: bool = True,
        seed: int = 0,
        agreement: NDArray[Any] | None = None,
    ) -> None:
        distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
        rank = torch.distributed.get_rank() if distributed else 0
        world = torch.distributed.get_world_size() if distributed else 1
        super().__init__(dataset, num_replicas=world, rank=rank, shuffle=shuffle, seed=seed)
        seen = shared_codes({m: labels[m][r] for m, r in rows.items()}, agreement).values()
        self.shared = np.unique(np.concatenate([c[c >= 0] for c in seen]))
        if not len(self.shared):
            raise InputError(
                "No label is left in two modalities of this split. Use a larger train_size, or "
                "set labels up that have at least two cells in each modality."
            )
        shared = set(self.shared.tolist())
        self.pools: dict[tuple[str, int], NDArray[np.int64]] = {}
        self.n_of = Counter[int]()
        for m, r in rows.items():
            for c, part in _by_code(r, labels[m][r]).items():
                if c in shared:
                    self.pools[m, c] = part
                    self.n_of[c] += len(part)
        self.balance = balance
        self.free = {m: r[~np.isin(labels[m][r], self.shared)] for m, r in rows.items()}
        self.modalities = list(rows)
        n_labels = max(1, world * batch_size // 8) if n_labels is None else n_labels
        self.p = min(len(self.shared), n_labels)
        largest = max(len(r) - len(self.free[m]) for m, r in rows.items())
        self.k = ceil(ceil(world * batch_size / self.p) / world) if n_cells is None else n_cells
        if self.p * self.k * world > largest:  # no batch is larger than the data
            most = min(max(map(len, self.pools.values())), ceil(largest / self.p))
            self.k = min(self.k, ceil(most / world))
        n_free = ceil(free_fraction / (1 - free_fraction) * self.p * self.k)
        self.n_free = {m: n_free if len(f) else 0 for m, f in self.free.items()}
        self.n_batches = ceil(largest / (self.p * self.k * world))

    def __len__(self) -> int:
        return self.n_batches

    def __iter__(self) -> Iterator[Rows]:
        rng = np.random.default_rng((self.seed, self.epoch if self.shuffle else 0, 0))
        queues = {key: _Queue(rows, rng) for key, rows in self.pools.items()}
        free = {m: _Queue(rows, rng) for m, rows in self.free.items() if self.n_free[m]}
        order: list[int] = []
        for _ in range(self.n_batches):
            while len(order) < self.p:  # every label once before any returns, none twice in a batch
                left = set(order)
                order += [c for c in rng.permutation(self.shared).tolist() if c not in left]
            batch, order = order[: self.p], order[self.p :]
            yield {m: self._draw(m, batch, queues, free) for m in self.modalities}

    def _draw(
        self,
        m: str,
        batch: list[int],
        queues: dict[tuple[str, int], _Queue],
        free: dict[str, _Queue],
    ) -> NDArray[np.int64]:
        quota = self._quota(batch)
        parts = [self._own(queues[m, c], quota[c]) for c in batch if (m, c) in queues]
        if m in free:
            parts.append(self._own(free[m], self.n_free[m]))
        return np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)

    def _quota(self, batch: list[int]) -> dict[int, int]:
        """How many cells each label of a batch has, of each rank."""
        if self.balance == 1:
            return dict.fromkeys(batch, self.k)
        size = {c: self.n_of[c] ** (1 - self.balance) for c in batch}
        share = len(batch) * self.k / sum(size.values())
        return {c: max(1, round(share * size[c])) for c in batch}

    def _own(self, queue: _Queue, n: int) -> NDArray[np.int64]:
        """The n cells of this rank, of those that all ranks take from a queue."""
        return queue.take(n * self.num_replicas)[n * self.rank : n * (self.rank + 1)]
