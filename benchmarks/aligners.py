"""Speed and memory of the aligners: against plain loops, dense matrices and recorded times of a peer.

    python benchmarks/aligners.py                 # all: about half an hour on 2 cores
    python benchmarks/aligners.py eot egw         # some: eot egw coot million jax
    python benchmarks/aligners.py --quick         # medians of 1, smaller sizes

Each line of a table is measured in a process of its own, whose peak memory is that of the operating system, imports included
(about 200 MB). Times are medians; ratios are taken in one run, one after the other.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from datetime import date
from importlib.metadata import version

import numpy as np

warnings.simplefilter("ignore")
RUNS = 5
LOOPED = 100
"""Labels that the loop over POT goes through: each is a problem of its own, so its time is scaled up to all of them."""


def cells(n_labels: int, per_label: int, d: int, seed: int = 0, d_y: int | None = None):
    """Return representations and labels: labels apart, cells of both sides from the same states."""
    rng = np.random.default_rng(seed)
    n = n_labels * per_label
    labels = np.repeat(np.arange(n_labels), per_label)
    state = rng.normal(size=(n_labels, d))[labels] + rng.normal(size=(n, d))
    x = state + 0.5 * rng.normal(size=(n, d))
    turn = np.eye(d) if d_y is None else rng.normal(size=(d, d_y)) / np.sqrt(d)
    y = (
        state[rng.permutation(per_label)[None, :].repeat(n_labels, 0).ravel() + labels * per_label]
        @ turn
    )
    return x, y + 0.5 * rng.normal(size=y.shape), labels


def median_seconds(run: Callable[[], object], runs: int) -> float:
    """Return the median time of some runs, after one that is not counted where there are several."""
    if runs > 1:
        run()
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


# ------------------------------------------------------------------------------------------- what a process measures


def eot(n_labels: int, per_label: int, runs: int, how: str) -> dict[str, float]:
    """Labeled entropic transport: ours, or a plain loop of POT's sinkhorn_log at the same eps and tolerance."""
    from scgroove.aligners import EntropicOT

    x, y, labels = cells(n_labels, per_label, 16)
    if how == "pot loop":
        import ot

        a = np.full(per_label, 1 / per_label)

        few = min(n_labels, LOOPED)

        def loop() -> float:
            error = 0.0
            for label in range(few):
                own = slice(label * per_label, (label + 1) * per_label)
                cost = ot.dist(x[own], y[own])
                cost /= cost.mean()
                plan = ot.bregman.sinkhorn_log(a, a, cost, 0.05, numItermax=10000, stopThr=1e-5)
                error = max(error, float(np.abs(plan.sum(axis=0) - a).sum()))
            return error

        return {
            "seconds": median_seconds(loop, runs) * n_labels / few,
            "column_error": loop(),
            "looped": few,
        }
    aligner = EntropicOT(
        epsilon=0.05, tol=1e-5, backend="jax" if how == "jax" else "numpy", max_memory_gb=8
    )
    seconds = median_seconds(lambda: aligner.align(x, y, labels, labels), runs)
    coupling = aligner.align(x, y, labels, labels)
    return {
        "seconds": seconds,
        "column_error": float(coupling.evidence["column_error_per_label"].max()),
        "kept_mb": coupling.nbytes / 1e6,
    }


def egw(n_labels: int, per_label: int, runs: int, how: str) -> dict[str, float]:
    """Labeled Gromov-Wasserstein, 50 and 50 dimensions: in blocks, or with dense masked matrices."""
    from _dense_gromov import masked_gromov
    from scgroove.aligners import GromovWasserstein

    x, y, labels = cells(n_labels, per_label, 50, d_y=50)
    if how == "dense":
        return {"seconds": median_seconds(lambda: masked_gromov(x, y, labels, labels, 1e-2), runs)}
    aligner = GromovWasserstein(
        epsilon=1e-2, backend="jax" if how == "jax" else "numpy", max_memory_gb=8
    )
    seconds = median_seconds(lambda: aligner.align(x, y, labels, labels), runs)
    coupling = aligner.align(x, y, labels, labels)
    evidence = coupling.evidence
    found = {"seconds": seconds, "steps": evidence["n_outer"], "kept_mb": coupling.nbytes / 1e6}
    if n_labels * per_label <= 2000 and how == "blocks":
        other = masked_gromov(x, y, labels, labels, 1e-2)
        found["l1_to_dense"] = float(np.abs(coupling.to_dense() - other).sum())
    return found


PEER_COOT = {50: (45.0, 88.8), 100: (43.7, 39.4), 200: (39.7, 22.4)}
"""Seconds of the peer's entropic COOT, unlabeled and labeled, for 10 labels of so many cells and 50 features."""


def coot(n_labels: int, per_label: int, runs: int, how: str) -> dict[str, float]:
    """Entropic COOT on structureless input, as the peer's times were taken; eps 5e-3 of the mean cost."""
    from scgroove.aligners import CoOptimalTransport

    rng = np.random.default_rng(0)
    x, y = (
        np.concatenate([rng.normal(size=(per_label, 50)) for _ in range(n_labels)])
        for _ in range(2)
    )
    labels = np.repeat(np.arange(n_labels), per_label)
    given = (labels, labels) if "labeled" in how and "un" not in how else (None, None)
    aligner = CoOptimalTransport(
        epsilon=5e-3,
        backend="jax" if "jax" in how else "numpy",
        max_memory_gb=8,
    )
    evidence = aligner.align(x, y, *given).evidence
    seconds = median_seconds(lambda: aligner.align(x, y, *given), runs)
    return {
        "seconds": seconds,
        "steps": evidence["n_outer"],
        "converged": float(evidence["converged"]),
    }


def million(n_labels: int, per_label: int, runs: int, how: str) -> dict[str, float]:
    """One million cells a side: align, then push a matrix of 50 columns; no plan is ever held."""
    from scgroove.aligners import EntropicOT

    x, y, labels = cells(n_labels, per_label, 16)
    values = np.random.default_rng(1).normal(size=(len(y), 50))
    start = time.perf_counter()
    aligner = EntropicOT(n_jobs=2 if "2 jobs" in how else None, max_memory_gb=20, backend="numpy")
    coupling = aligner.align(x, y, labels, labels)
    aligned = time.perf_counter() - start
    pushed = coupling.push(values)
    assert pushed.shape == (len(x), 50)
    assert np.isfinite(pushed).all()
    return {
        "seconds": aligned,
        "push_seconds": time.perf_counter() - start - aligned,
        "kept_mb": coupling.nbytes / 1e6,
        "column_error": coupling.evidence["column_error"],
    }


MEASURES = {"eot": eot, "egw": egw, "coot": coot, "million": million}

# ---------------------------------------------------------------------------------------------------- the tables


def measure(name: str, n_labels: int, per_label: int, runs: int, how: str) -> dict[str, float]:
    """Run one measurement in a process of its own; print and return what it found."""
    command = [
        sys.executable,
        __file__,
        "--one",
        name,
        str(n_labels),
        str(per_label),
        str(runs),
        how,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    shown = "  ".join(f"{key} {value:.4g}" for key, value in found.items())
    print(f"{name:8} {n_labels:5} labels x {per_label:4} cells  {how:18} {shown}", flush=True)
    return found


def table_eot(quick: bool) -> None:
    """Against a loop over POT, and growth."""
    labels, runs = (100, 1) if quick else (1000, RUNS)
    ours = measure("eot", labels, 200, runs, "blocks")
    loop = measure("eot", labels, 200, runs, "pot loop")
    print(f"ratio loop / ours: {loop['seconds'] / ours['seconds']:.1f}")
    for fewer in (labels // 10, labels // 2):
        found = measure("eot", fewer, 200, runs, "blocks")
        print(f"time {fewer} labels / {labels} labels: {found['seconds'] / ours['seconds']:.2f}")
    print()


def table_egw(quick: bool) -> None:
    """Against dense masked matrices, and growth with labels and with their size."""
    runs = 1 if quick else RUNS
    first = measure("egw", 10, 200, runs, "blocks")
    dense = measure("egw", 10, 200, runs, "dense")
    print(f"ratio dense / ours: {dense['seconds'] / first['seconds']:.1f}")
    print(
        f"dense matrices would take {7 * 8 * (100 * 200) ** 2 / 1e9:.0f} GB at 100 labels (7 of float64)"
    )
    for labels in (20, 50) if quick else (20, 50, 100):
        found = measure("egw", labels, 200, 1 if quick else 3, "blocks")
        print(f"time {labels} labels / 10 labels: {found['seconds'] / first['seconds']:.1f}")
    for size in (50, 100, 400):
        found = measure("egw", 10, size, 1 if quick else 3, "blocks")
        print(f"time {size} cells / 200 cells a label: {found['seconds'] / first['seconds']:.2f}")
    print()


def table_coot(quick: bool) -> None:
    """Against the recorded times of the peer, taken on such a machine."""
    runs = 1 if quick else RUNS
    for size, recorded in PEER_COOT.items():
        for how, theirs in zip(("unlabeled", "labeled"), recorded, strict=True):
            found = measure("coot", 10, size, runs, how)
            print(f"ratio recorded {theirs} s / ours: {theirs / found['seconds']:.0f}")
    print()


def table_million(quick: bool) -> None:
    """Without ever holding the plans."""
    for how in ("one process", "2 jobs"):
        measure("million", 500 if quick else 5000, 200, 1, how)
    print()


def table_jax(quick: bool) -> None:
    """NumPy against JAX on the device that it has, compilation included in the first run, which is not counted."""
    runs = 2 if quick else RUNS
    for name, labels in (("eot", 100), ("egw", 10)):
        numpy = measure(name, labels, 200, runs, "blocks")
        jax = measure(name, labels, 200, runs, "jax")
        print(f"ratio jax / numpy: {jax['seconds'] / numpy['seconds']:.2f}")
    print()


TABLES = {
    "eot": table_eot,
    "egw": table_egw,
    "coot": table_coot,
    "million": table_million,
    "jax": table_jax,
}


def one(name: str, n_labels: int, per_label: int, runs: int, how: str) -> None:
    """Measure, and print what was found as JSON."""
    found = MEASURES[name](n_labels, per_label, runs, how)
    found = {key: float(value) for key, value in found.items()}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
    print(
        json.dumps(
            {**found, "peak_gb": peak, **({"peak_gb_of_a_job": children} if children > 0.1 else {})}
        )
    )


def main() -> None:
    """Print the tables asked for."""
    if sys.argv[1:2] == ["--one"]:
        name, n_labels, per_label, runs, how = sys.argv[2:]
        one(name, int(n_labels), int(per_label), int(runs), how)
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tables", nargs="*", choices=[*TABLES, []], help="which; default all")
    parser.add_argument("--quick", action="store_true", help="medians of 1, smaller sizes")
    given = parser.parse_args()
    packages = ", ".join(
        f"{name} {version(name)}" for name in ("numpy", "scipy", "pot", "jax", "ott-jax")
    )
    print(
        f"{date.today()}  {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    )
    print(f"{packages}; OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', 'not set')}\n")
    for name in given.tables or TABLES:
        TABLES[name](given.quick)


if __name__ == "__main__":
    main()
