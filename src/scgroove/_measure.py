"""Seconds and memory of a piece of work."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, Final, Self


@contextmanager
def measured(evidence: dict[str, Any], seconds: str, memory: str | None = None) -> Iterator[None]:
    """Measure the time of a block, also if it fails, and the most memory that it takes.

    Parameters
    ----------
    evidence
        Takes the numbers.
    seconds
        Key of the wall time, in seconds.
    memory
        Key of the peak of resident memory above that at the start, in megabytes, if measured.
    """
    with PeakMemory() if memory else nullcontext() as peak:
        start = time.perf_counter()
        try:
            yield
        finally:
            evidence[seconds] = time.perf_counter() - start
    if memory and peak is not None:
        evidence[memory] = peak.megabytes


class PeakMemory:
    """Peak of the resident memory of this process, sampled 50 times a second in a thread."""

    INTERVAL: Final = 0.02

    def __enter__(self) -> Self:
        """Start to look."""
        import psutil

        self._process = psutil.Process()
        self._start = self._most = self._process.memory_info().rss
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._stop.wait(self.INTERVAL):
            self._look()

    def _look(self) -> None:
        self._most = max(self._most, self._process.memory_info().rss)

    def __exit__(self, *_: object) -> None:
        """Look a last time."""
        self._stop.set()
        self._thread.join()
        self._look()

    @property
    def megabytes(self) -> float:
        """The most that was taken above the start."""
        return float(self._most - self._start) / 1e6
