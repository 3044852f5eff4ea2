"""Threads that wait for one another, because there are more of them than cores."""

from __future__ import annotations

import os
from typing import Final

import torch

from scgroove._warnings import warn

_SAID: Final[set[str]] = set()


def check_threads(num_workers: int = 0) -> None:
    """Warn, once, if more threads or workers compute than this process has cores.

    Parameters
    ----------
    num_workers
        Processes that load batches.

    Warns
    -----
    UserWarning
        With the line to write.
    """
    cores = available_cores()
    processes = max(1, int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    share = max(1, cores // processes)
    threads = torch.get_num_threads()
    found = f"this process may use {cores} of {os.cpu_count()} cores" + (
        f", and {processes} processes share them" if processes > 1 else ""
    )
    if threads > share:
        _say_once(
            f"PyTorch computes with {threads} threads, but {found}: threads then wait for one another, and training is slower. "
            f"Write before training: torch.set_num_threads({share}).",
        )
    if num_workers > share:
        _say_once(
            f"num_workers={num_workers}, but {found}: workers then wait for one another. "
            f"Pass datasplitter_kwargs={{'num_workers': {share}}}.",
        )


def available_cores() -> int:
    """Return the cores that this process may use: those of its affinity and of the limits of its container."""
    from joblib import cpu_count

    return int(cpu_count())


def _say_once(message: str) -> None:
    if message not in _SAID:
        _SAID.add(message)
        warn(message)
