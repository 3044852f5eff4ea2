"""Independent blocks as independent jobs, on any joblib backend."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from numbers import Integral
from typing import Any, Final, TypeVar

import joblib

from scgroove.errors import InputError

T = TypeVar("T")
R = TypeVar("R")

CHUNKS_PER_WORKER: Final = 4
"""Few enough to ship little, many enough to share the work evenly."""


def run(
    solve: Callable[[Sequence[T]], list[R]],
    items: Sequence[T],
    sizes: Sequence[int],
    n_jobs: int | None,
) -> list[R]:
    """Apply a function to chunks of items of equal work, in the order of the items.

    ``solve`` takes some items and returns one result each. It is picklable if the backend of joblib
    has processes. ``n_jobs`` is that of joblib.
    """
    workers = joblib.effective_n_jobs(n_jobs)
    if workers == 1 or len(items) == 1:
        return solve(items)
    parts = chunks(sizes, CHUNKS_PER_WORKER * workers)
    jobs = []
    for part in parts:
        jobs.append(joblib.delayed(solve)([items[i] for i in part]))
    return [result for part in joblib.Parallel(n_jobs=n_jobs)(jobs) for result in part]


def chunks(sizes: Sequence[int], n_chunks: int) -> list[list[int]]:
    """Consecutive positions in at most about ``n_chunks`` chunks of equal work."""
    goal = sum(sizes) / n_chunks
    out: list[list[int]] = [[]]
    filled = 0.0
    for position, size in enumerate(sizes):
        if out[-1] and filled + size > goal * 1.0001:
            out.append([])
            filled = 0.0
        out[-1].append(position)
        filled += size
    return out


def work_at_a_time(sizes: Sequence[int], n_jobs: int | None) -> int:
    """Work that is done at a time on this machine: the largest item, or one a worker.

    None counts as one: ``joblib.parallel_config`` may name a cluster, whose memory is its own.
    """
    workers = 1 if n_jobs is None else joblib.effective_n_jobs(n_jobs)
    return sum(sorted(sizes, reverse=True)[:workers])


def check_jobs(n_jobs: Any) -> None:
    """Refuse a number of jobs that joblib would not take."""
    if n_jobs is None:
        return
    if isinstance(n_jobs, bool) or not isinstance(n_jobs, Integral) or n_jobs == 0:
        raise InputError(
            f"n_jobs must be a number of workers, -1 for all cores, or None for what "
            f"joblib.parallel_config says; found {n_jobs!r}."
        )
