"""Independent blocks as independent jobs, on any joblib backend."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from numbers import Integral
from typing import Any, TypeVar

from scgroove.errors import InputError

T = TypeVar("T")
R = TypeVar("R")

CHUNKS_PER_WORKER = 4
"""Chunks that each worker gets on average: few enough to ship little, many enough to share the work evenly."""


def run(
    solve: Callable[[Sequence[T]], list[R]],
    items: Sequence[T],
    sizes: Sequence[int],
    n_jobs: int | None,
) -> list[R]:
    """Apply a function to chunks of items, and return the results in the order of the items.

    Parameters
    ----------
    solve
        Takes some items and returns one result each. Must be picklable if the backend has processes.
    items
        What to solve.
    sizes
        Work of each item, for chunks of equal work.
    n_jobs
        As joblib's: None for 1, or what ``joblib.parallel_config`` says; -1 for all cores.

    Returns
    -------
    list
        One result an item.
    """
    import joblib

    workers = joblib.effective_n_jobs(n_jobs)
    if workers == 1 or len(items) == 1:
        return solve(items)
    parts = chunks(sizes, CHUNKS_PER_WORKER * workers)
    done = joblib.Parallel(n_jobs=n_jobs)(
        joblib.delayed(solve)([items[i] for i in part]) for part in parts
    )
    return [result for part in done for result in part]


def chunks(sizes: Sequence[int], n_chunks: int) -> list[list[int]]:
    """Return consecutive positions in at most about ``n_chunks`` chunks of equal work."""
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
    """Return the work that is done at a time on this machine: the largest item, or one a worker.

    None counts as one: what ``joblib.parallel_config`` says may be a cluster, whose memory is its own.
    """
    import joblib

    workers = 1 if n_jobs is None else joblib.effective_n_jobs(n_jobs)
    return sum(sorted(sizes, reverse=True)[:workers])


def check_jobs(n_jobs: Any) -> None:
    """Refuse a number of jobs that joblib would not take.

    Raises
    ------
    ValueError
        If it is neither None nor an integer other than 0.
    """
    if n_jobs is None:
        return
    if isinstance(n_jobs, bool) or not isinstance(n_jobs, Integral) or n_jobs == 0:
        raise InputError(
            f"n_jobs must be a number of workers, -1 for all cores, or None for what joblib.parallel_config says; "
            f"found {n_jobs!r}."
        )
