"""Blocks as jobs: in order, none lost, and shared out evenly."""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from itertools import pairwise

import joblib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scgroove.aligners.jobs import CHUNKS_PER_WORKER, check_jobs, chunks, run


def test_chunks_by_hand() -> None:
    assert chunks([1, 1, 1, 1, 1, 1], 3) == [[0, 1], [2, 3], [4, 5]]
    assert chunks([5, 1, 1, 1, 1, 1], 2) == [[0], [1, 2, 3, 4, 5]]
    assert chunks([1, 1, 100, 1, 1], 4) == [[0, 1], [2], [3, 4]]
    assert chunks([3], 8) == [[0]]
    assert chunks([0, 0, 0], 2) == [[0, 1, 2]]


@given(sizes=st.lists(st.integers(1, 1000), min_size=1, max_size=60), n_chunks=st.integers(1, 20))
def test_chunks_keep_the_order_and_are_balanced(sizes: list[int], n_chunks: int) -> None:
    parts = chunks(sizes, n_chunks)
    assert [position for part in parts for position in part] == list(range(len(sizes)))
    assert all(parts)
    goal = sum(sizes) / n_chunks
    filled = [sum(sizes[i] for i in part) for part in parts]
    for part, work in zip(parts, filled, strict=True):
        assert len(part) == 1 or work <= 1.001 * goal
    # two neighbors are more than one chunk may hold, so there are fewer than twice as many as asked for
    assert all(one + other > goal for one, other in pairwise(filled))
    assert len(parts) <= 2 * n_chunks


def test_many_equal_blocks_make_as_many_chunks_as_asked_for() -> None:
    parts = chunks([7] * 5000, 8)
    assert [len(part) for part in parts] == [625] * 8


@pytest.mark.parametrize("n_jobs", [None, 1, 2, np.int64(2), -1])
def test_results_come_in_the_order_of_the_items(n_jobs: int | None) -> None:
    sizes = np.random.default_rng(0).integers(1, 100, size=50).tolist()
    with joblib.parallel_config(backend="threading"):
        found = run(lambda part: [item * 2 for item in part], list(range(50)), sizes, n_jobs)
    assert found == [2 * item for item in range(50)]


def test_one_worker_gets_all_at_once_and_stays_in_this_thread() -> None:
    seen: list[tuple[int, str]] = []

    def solve(part: Sequence[int]) -> list[int]:
        seen.append((len(part), threading.current_thread().name))
        return list(part)

    run(solve, [1, 2, 3], [1, 1, 1], None)
    run(solve, [1], [1], 2)
    assert seen == [(3, threading.current_thread().name), (1, threading.current_thread().name)]
    seen.clear()
    with joblib.parallel_config(backend="threading"):
        run(solve, list(range(80)), [1] * 80, 2)
    assert [size for size, _ in seen] == [80 // (2 * CHUNKS_PER_WORKER)] * 2 * CHUNKS_PER_WORKER


def test_an_error_in_a_job_is_raised() -> None:
    def solve(part: Sequence[int]) -> list[int]:
        if 3 in part:
            raise ValueError("cell 7")
        return list(part)

    with joblib.parallel_config(backend="threading"), pytest.raises(ValueError, match="cell 7"):
        run(solve, [1, 2, 3, 4], [1, 1, 1, 1], 2)


@pytest.mark.parametrize("n_jobs", [0, 1.0, "2", True, np.int64(0), np.bool_(True)])
def test_numbers_of_workers_that_are_none(n_jobs: object) -> None:
    with pytest.raises(
        ValueError,
        match=rf"n_jobs must be a number of workers, -1 for all cores, or None for what joblib.parallel_config says; "
        rf"found {re.escape(repr(n_jobs))}\.",
    ):
        check_jobs(n_jobs)


@pytest.mark.parametrize("n_jobs", [None, 1, 8, -1, -2, np.int64(2), np.int8(-1), np.uint16(3)])
def test_numbers_of_workers(n_jobs: int | None) -> None:
    check_jobs(n_jobs)
