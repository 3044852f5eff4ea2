"""Warning of more threads or workers than cores."""

from __future__ import annotations

import os
from typing import Final

import torch

from scgroove._warnings import warn

_WARNED: Final[set[str]] = set()


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
    found = f"this process may use {cores} of {os.cpu_count()} cores"
    if processes > 1:
        found += f", and {processes} processes share them"
    if threads > share:
        _warn_once(
            f"PyTorch computes with {threads} threads, but {found}: threads then wait for one "
            f"another, and training is slower. Write before training: "
            f"torch.set_num_threads({share}).",
        )
    if num_workers > share:
        _warn_once(
            f"num_workers={num_workers}, but {found}: workers then wait for one another. "
            f"Pass datasplitter_kwargs={{'num_workers': {share}}}.",
        )


def available_cores() -> int:
    """Return the cores of the affinity of this process and the limits of its container."""
    from joblib import cpu_count

    return int(cpu_count())


def _warn_once(message: str) -> None:
    if message not in _WARNED:
        _WARNED.add(message)
        warn(message)
