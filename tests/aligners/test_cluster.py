"""Blocks as jobs on a cluster: a local Dask cluster of two worker processes."""

from __future__ import annotations

import numpy as np
import pytest

from scgroove import aligners
from scgroove.aligners import EntropicOT, ExactOT

distributed = pytest.importorskip(
    "distributed", reason="dask is an extra: pip install 'scgroove[dask]'"
)


@pytest.fixture(scope="module")
def cluster():
    """Two worker processes that nothing outside this machine can reach."""
    options = {
        "n_workers": 2,
        "threads_per_worker": 1,
        "processes": True,
        "dashboard_address": None,
    }
    with (
        distributed.LocalCluster(host="127.0.0.1", **options) as cluster,
        distributed.Client(cluster) as client,
    ):
        client.wait_for_workers(2)
        yield client


@pytest.mark.slow
def test_workers_solve_what_one_process_solves(cluster) -> None:
    import joblib

    rng = np.random.default_rng(0)
    labels = np.repeat([f"l{k}" for k in range(12)], 10)
    x, y = rng.normal(size=(120, 3)), rng.normal(size=(120, 3))
    for aligner in (EntropicOT(), ExactOT(), aligners.get("egw_each")(epsilon=0.05)):
        alone = aligner.align(x, y, labels, labels)
        with joblib.parallel_config("dask"):
            shared = aligner.align(x, y, labels, labels)
        np.testing.assert_array_equal(shared.to_dense(), alone.to_dense())
        assert shared.evidence["objective"] == alone.evidence["objective"]


def test_the_work_is_done_by_both_workers(cluster) -> None:
    import joblib

    rng = np.random.default_rng(1)
    labels = np.repeat(np.arange(40), 30)
    x = rng.normal(size=(1200, 3))
    before = cluster.run(_tasks_run)
    with joblib.parallel_config("dask"):
        ExactOT().align(x, x[::-1], labels, labels)
    after = cluster.run(_tasks_run)
    assert all(after[worker] > before[worker] for worker in after)


def _tasks_run(dask_worker) -> int:
    """Return how many tasks a worker has run."""
    return dask_worker.state.executed_count
