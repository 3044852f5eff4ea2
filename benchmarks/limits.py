"""Memory and time of what is shown of screens with very many labels, each in a process of its own.

python benchmarks/limits.py 1000 10000
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import time
import warnings
from pathlib import Path

import anndata as ad
import mudata
import numpy as np
import pandas as pd

import scgroove as sg
from scgroove._files import make_mudata

CELLS_OF_A_LABEL = 2
N_FEATURES = 20


def screen(n_labels: int) -> mudata.MuData:
    """Return two modalities whose cells lie near the place of their label."""
    rng = np.random.default_rng(0)
    codes = np.repeat(np.arange(n_labels), CELLS_OF_A_LABEL)
    place = rng.normal(size=(n_labels, 5))
    mods = {}
    for m in ("rna", "prot"):
        z = place[codes] + 0.3 * rng.normal(size=(codes.size, 5))
        obs = pd.DataFrame(
            {"label": [f"g{c}" for c in codes]}, index=[f"{m}{i}" for i in range(codes.size)]
        )
        mods[m] = ad.AnnData(z @ rng.normal(size=(5, N_FEATURES)), obs=obs)
        mods[m].obsm["X_groove"] = z
        mods[m].var_names = [f"{m}_{j}" for j in range(N_FEATURES)]
    return make_mudata(mods)


def infer_labels(mdata: mudata.MuData) -> None:
    """Infer the labels of half of the cells."""
    for adata in mdata.mod.values():
        adata.obs.loc[adata.obs_names[::2], "label"] = None
    sg.tl.infer_labels(mdata)


def coupling_label_mass(mdata: mudata.MuData) -> None:
    """Draw the mass between labels."""
    sg.pl.coupling_label_mass(mdata, "rna", "prot", show=False, return_fig=True)


def label_mass_metric(mdata: mudata.MuData) -> None:
    """Score the mass within labels."""
    labels = [mdata[m].obs["label"].to_numpy() for m in ("rna", "prot")]
    coupling = sg.get.coupling(mdata, "rna", "prot")
    sg.metrics.scores(["label_mass"], coupling=coupling, labels_x=labels[0], labels_y=labels[1])


def imputed_vs_measured(mdata: mudata.MuData) -> None:
    """Draw imputed against measured label means."""
    sg.pl.imputed_vs_measured(mdata, "rna", "prot", show=False, return_fig=True)


WORK = {
    f.__name__: f
    for f in (infer_labels, coupling_label_mass, label_mass_metric, imputed_vs_measured)
}


def highest_memory() -> float:
    """Return the most memory that this process had, in gigabytes (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024 / 1e9


def memory_from_now_on() -> float:
    """Forget the highest memory so far, which making the data took, and return what there is now."""
    Path("/proc/self/clear_refs").write_text("5")
    return highest_memory()


def measure(name: str, n_labels: int, limit_gb: float, answer: multiprocessing.Queue) -> None:
    """Put seconds and gigabytes above the start into ``answer``."""
    warnings.simplefilter("ignore")
    mdata = screen(n_labels)
    if name != "infer_labels":
        sg.tl.align(mdata, "rna", "prot", labeled=True)
        sg.tl.impute(mdata, "rna", "prot", method="barycentric")
    resource.setrlimit(resource.RLIMIT_AS, (int(limit_gb * 1e9), int(limit_gb * 1e9)))
    before = memory_from_now_on()
    start = time.perf_counter()
    try:
        WORK[name](mdata)
    except MemoryError:
        answer.put((name, n_labels, np.nan, np.inf))
        return
    seconds = time.perf_counter() - start
    answer.put((name, n_labels, seconds, highest_memory() - before))


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("n_labels", type=int, nargs="*", default=[1000, 10000])
    parser.add_argument("--limit-gb", type=float, default=6.0)
    parser.add_argument("--work", nargs="*", choices=list(WORK), default=list(WORK))
    asked = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    print(f"{'work':24}{'labels':>8}{'seconds':>10}{'GB':>8}")
    for name in asked.work:
        for n_labels in asked.n_labels:
            answer = context.Queue()
            process = context.Process(target=measure, args=(name, n_labels, asked.limit_gb, answer))
            process.start()
            process.join()
            if answer.empty():
                print(f"{name:24}{n_labels:8} failed")
                continue
            _, _, seconds, gigabytes = answer.get()
            print(f"{name:24}{n_labels:8}{seconds:10.1f}{gigabytes:8.2f}", flush=True)


if __name__ == "__main__":
    main()
