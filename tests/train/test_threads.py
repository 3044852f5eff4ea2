"""More threads than cores are said once, with the line to write."""

import warnings

import pytest
import torch

from scgroove.train import threads as _threads


@pytest.fixture
def cores(monkeypatch):
    """Return a function that says how many cores, threads and processes there are."""

    def there_are(cores, threads, processes=1):
        monkeypatch.setattr(_threads, "_WARNED", set())
        monkeypatch.setattr(_threads, "available_cores", lambda: cores)
        monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
        monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))

    return there_are


@pytest.mark.parametrize(
    ("found", "num_workers", "line"),
    [
        ((2, 16), 0, r"torch\.set_num_threads\(2\)"),
        ((8, 8, 4), 0, r"torch\.set_num_threads\(2\)"),
        ((4, 4), 12, r"datasplitter_kwargs=\{'num_workers': 4\}"),
    ],
)
def test_more_threads_or_workers_than_cores_are_said_once(cores, found, num_workers, line):
    cores(*found)
    with pytest.warns(UserWarning, match=line):
        _threads.check_threads(num_workers)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _threads.check_threads(num_workers)


@pytest.mark.parametrize(
    ("found", "num_workers"), [((8, 8), 4), ((8, 4), 8), ((1, 1), 0), ((8, 2, 4), 2)]
)
def test_ordinary_use_is_silent(cores, found, num_workers):
    cores(*found)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _threads.check_threads(num_workers)


def test_the_cores_of_this_process_are_some():
    assert _threads.available_cores() >= 1
