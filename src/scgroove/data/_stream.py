"""Training from data on disk: rows are read for many batches at once, in their order."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Any

import numpy as np

from ..errors import StateError
from .disk import Window, bytes_of_row, read_rows, stamp, where
from .sampler import GroupSampler, MultiModalDataset, Rows


class StreamedSampler(GroupSampler):
    """Draws the batches of :class:`GroupSampler`, and reads their rows ahead.

    The batches are the same as of data in memory. A thread reads the rows of as many batches as fit
    into half of ``window_gb`` in one pass, in the order of the disk, while the network learns from
    those read before.
    """

    def __init__(
        self, dataset: MultiModalDataset, *args: Any, window_gb: float, **kwargs: Any
    ) -> None:
        super().__init__(dataset, *args, **kwargs)
        self.store = dataset
        self.stamps = {m: stamp(x) for m, x in dataset.on_disk.items()}
        a_batch = sum(
            bytes_of_row(x) * (self.p * self.k + self.n_free[m]) for m, x in dataset.on_disk.items()
        )
        self.window = max(1, int(window_gb * 1e9 / 2 / a_batch))

    def __iter__(self) -> Iterator[Rows]:
        drawn = super().__iter__()

        def read() -> tuple[list[Rows], dict[str, Window]]:
            batches = list(islice(drawn, self.window))
            return batches, {m: self._read(m, batches) for m in self.store.on_disk}

        with ThreadPoolExecutor(1, thread_name_prefix="scgroove-reads-ahead") as reader:
            ahead: Future[tuple[list[Rows], dict[str, Window]]] = reader.submit(read)
            try:
                while True:
                    batches, self.store.windows = ahead.result()
                    if not batches:
                        return
                    ahead = reader.submit(read)
                    yield from batches
            finally:
                self.store.windows = {}

    def _read(self, modality: str, batches: list[Rows]) -> Window:
        wanted = [rows[modality] for rows in batches if modality in rows]
        rows = np.unique(np.concatenate(wanted)) if wanted else np.empty(0, dtype=np.int64)
        x = self.store.on_disk[modality]
        try:
            found = read_rows(x, rows)
        except Exception as error:
            raise StateError(
                f"Reading the cells of modality {modality!r} from {where(x)} failed: "
                f"{type(error).__name__}: {error}. Was the file moved, or written to, while the "
                "model was trained? The last checkpoint is whole."
            ) from error
        if stamp(x) != self.stamps[modality]:
            raise StateError(
                f"{where(x)}, which holds the cells of modality {modality!r}, was changed while "
                "the model was trained on it. What was read since can be wrong: train again, on a "
                "file that nothing writes to."
            )
        return Window(rows, found)
