"""Speed and memory of the metrics at 100,000 x 100,000 cells, each with what it has by chance.

    python benchmarks/metrics.py                 # all: about 40 minutes on 2 cores
    python benchmarks/metrics.py within global   # some: within global full imputation
    python benchmarks/metrics.py --quick         # a tenth of the cells

Each line is measured in a process of its own, whose peak memory is that of the operating system, imports and data included
(about 250 MB). The plain loop goes through some cells only, and its time is scaled up to all of them.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

warnings.simplefilter("ignore")
LABELS = 20
FEATURES = 2000
LOOPED = 200
"""Cells that the plain loop goes through."""


def screen(n: int, d: int = 16, seed: int = 0) -> dict[str, Any]:
    """Return representations, labels, true latents and true partners of n cells a side."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(LABELS), n // LABELS).astype(str)
    u = rng.normal(size=(n, d)) + 2 * rng.normal(size=(LABELS, d)).repeat(n // LABELS, axis=0)
    order = rng.permutation(n)
    x = u + 0.5 * rng.normal(size=u.shape)
    y = (u + 0.5 * rng.normal(size=u.shape))[order]
    return {
        "x": x,
        "y": y,
        "partner": np.argsort(order),
        "labels_x": labels,
        "labels_y": labels[order],
        "latent_x": u,
        "latent_y": u[order],
    }


def values(n: int, seed: int = 0) -> dict[str, Any]:
    """Return predicted and measured values in single precision, in the same order of cells."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(LABELS), n // LABELS).astype(str)
    mean = rng.normal(size=(LABELS, FEATURES)).astype(np.float32)
    predicted = rng.standard_normal((n, FEATURES), dtype=np.float32)
    measured = rng.standard_normal((n, FEATURES), dtype=np.float32)
    measured += predicted
    for label in range(LABELS):
        for part in (predicted, measured):
            part[label * (n // LABELS) : (label + 1) * (n // LABELS)] += mean[label]
    return {
        "predicted": predicted,
        "measured": measured,
        "partner": np.arange(n),
        "labels_x": labels,
        "labels_y": labels,
        "control": "0",
    }


# ------------------------------------------------------------------------------------------- what a process measures


def align(n: int, how: str, path: str) -> dict[str, float]:
    """Make a coupling of these cells and keep it in a file: potentials, or sparse."""
    from scgroove import aligners

    data = screen(n)
    if how == "shared neighbors":
        aligner: Any = aligners.get("snn")(k=20)
    else:  # the metrics take any plan, so it need not have converged
        aligner = aligners.EntropicOT(
            epsilon=0.05, max_iter=10 if how == "potentials" else 1, max_memory_gb=8
        )
    labels = (None, None) if how == "unlabeled" else (data["labels_x"], data["labels_y"])
    aligner.align(data["x"], data["y"], *labels).save(path)
    return {}


def matching(name: str, n: int, how: str, path: str) -> dict[str, float]:
    """Score the representation, or a coupling that :func:`align` kept."""
    from scgroove import metrics
    from scgroove.aligners import Coupling

    data = screen(n)
    if path:
        data["coupling"] = Coupling.load(path)
    start = time.perf_counter()
    found = metrics.score(name, **data)
    seconds = time.perf_counter() - start
    return {
        "seconds": seconds,
        "value": found.value,
        "chance": found.chance,
        "chance_sd": found.chance_sd,
    }


def imputation(name: str, n: int, how: str, path: str) -> dict[str, float]:
    """Score predicted values of 2,000 features."""
    from scgroove import metrics

    data = values(n)
    start = time.perf_counter()
    found = metrics.score(name, **data)
    seconds = time.perf_counter() - start
    return {
        "seconds": seconds,
        "value": found.value,
        "chance": found.chance,
        "chance_sd": found.chance_sd,
    }


def loop(name: str, n: int, how: str, path: str) -> dict[str, float]:
    """FOSCTTM as published code has it: one cell after the other, all distances sorted, both directions."""
    data = screen(n)
    x, y, partner = data["x"], data["y"], data["partner"]
    start = time.perf_counter()
    for i in range(LOOPED):
        pool = (
            np.flatnonzero(data["labels_y"] == data["labels_x"][i])
            if how == "within labels"
            else np.arange(n)
        )
        distance = np.sqrt(((x[i] - y[pool]) ** 2).sum(axis=1))
        own = distance[np.searchsorted(pool, partner[i])]
        np.where(np.sort(distance) == own)[0].mean()
    return {"seconds": (time.perf_counter() - start) * 2 * n / LOOPED}


MEASURES: dict[str, Callable[[str, int, str, str], dict[str, float]]] = {
    "align": lambda name, n, how, path: align(n, how, path),
    "matching": matching,
    "imputation": imputation,
    "loop": loop,
}

# ---------------------------------------------------------------------------------------------------- the tables


def measure(kind: str, name: str, n: int, how: str, path: str = "") -> dict[str, float]:
    """Run one measurement in a process of its own; print and return what it found."""
    command = [sys.executable, __file__, "--one", kind, name, str(n), how, path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    if kind != "align":
        shown = "  ".join(f"{key} {value:.4g}" for key, value in found.items())
        print(f"{name:34} {n:7,} cells  {how:16} {shown}", flush=True)
    return found


ON_REPRESENTATIONS = ("foscttm_within_label", "mean_reciprocal_rank_within_label", "label_transfer")
ON_COUPLINGS = (
    "coupling_foscttm_within_label",
    "barycentric_foscttm_within_label",
    "trace_within_label",
    "trace_over_chance",
    "latent_error",
    "label_mass",
)
ON_VALUES = (
    "pearson_per_feature",
    "pearson_per_cell",
    "spearman_per_feature",
    "spearman_per_cell",
    "mse",
    "r2",
    "effect_pearson",
    "effect_sign_agreement",
    "energy_distance",
)


def table_within(quick: bool, folder: Path) -> None:
    """Within labels: blocks of 5,000 x 5,000."""
    n = 10_000 if quick else 100_000
    ours = measure("matching", "foscttm_within_label", n, "representation")
    plain = measure("loop", "foscttm_within_label", n, "within labels")
    print(
        f"ratio plain loop / ours, which also has the spread by chance: {plain['seconds'] / ours['seconds']:.1f}"
    )
    for name in ON_REPRESENTATIONS[1:]:
        measure("matching", name, n, "representation")
    for how in ("potentials", "shared neighbors"):
        path = str(folder / f"{how}.npz")
        measure("align", "", n, how, path)
        for name in ON_COUPLINGS:
            measure("matching", name, n, how, path)
    print()


def table_global(quick: bool, folder: Path) -> None:
    """Among all cells."""
    n = 10_000 if quick else 30_000
    ours = measure("matching", "foscttm_global", n, "representation")
    plain = measure("loop", "foscttm_global", n, "all cells")
    print(
        f"ratio plain loop / ours, which also has the spread by chance: {plain['seconds'] / ours['seconds']:.1f}"
    )
    measure("matching", "recall_at_10_global", n, "representation")
    for how, size in (("potentials", n), ("unlabeled", 12_000)):
        path = str(folder / f"global {how}.npz")
        measure("align", "", size, how, path)
        for name in (
            "coupling_foscttm_global",
            "barycentric_foscttm_global",
            "trace_global",
            "label_mass",
        ):
            measure("matching", name, size, how, path)
    print()


def table_full(quick: bool, folder: Path) -> None:
    """Among all of 100,000 x 100,000 cells."""
    n = 20_000 if quick else 100_000
    measure("matching", "foscttm_global", n, "representation")
    path = str(folder / "full.npz")
    measure("align", "", n, "one step", path)
    for name in ("coupling_foscttm_global", "barycentric_foscttm_global"):
        measure("matching", name, n, "potentials", path)
    print()


def table_imputation(quick: bool, folder: Path) -> None:
    """Predicted values of 2,000 features, float32: 0.8 GB a side."""
    n = 10_000 if quick else 100_000
    for name in ON_VALUES:
        measure("imputation", name, n, f"{FEATURES} features")
    print()


TABLES = {
    "within": table_within,
    "global": table_global,
    "full": table_full,
    "imputation": table_imputation,
}


def one(kind: str, name: str, n: int, how: str, path: str) -> None:
    """Measure, and print what was found as JSON."""
    found = MEASURES[kind](name, n, how, path)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(json.dumps({**{key: float(value) for key, value in found.items()}, "peak_gb": peak}))


def main() -> None:
    """Print the tables asked for."""
    if sys.argv[1:2] == ["--one"]:
        kind, name, n, how, path = sys.argv[2:]
        one(kind, name, int(n), how, path)
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tables", nargs="*", choices=[*TABLES, []], help="which; default all")
    parser.add_argument("--quick", action="store_true", help="a tenth of the cells")
    given = parser.parse_args()
    packages = ", ".join(f"{name} {version(name)}" for name in ("numpy", "scipy", "scikit-learn"))
    print(
        f"{date.today()}  {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    )
    print(f"{packages}; OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', 'not set')}\n")
    with tempfile.TemporaryDirectory() as folder:
        for name in given.tables or TABLES:
            TABLES[name](given.quick, Path(folder))


if __name__ == "__main__":
    main()
