"""Co-assayed real data with the pairing hidden: what comes out, good or bad.

Reads the ``.h5mu`` files of a folder (``pbmc_citeseq.h5mu``, ``scgem_reprogramming.h5mu``, ...), each with an
``obs["label"]`` and a ``obs["pair_id"]`` in every modality. The pairing serves only to score.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import mudata as md
import numpy as np
import pandas as pd
import scanpy as sc

from _common import groove, logistic_logits, quiet, within_label_foscttm, without

LEARNERS = {
    "logistic regression, logits": logistic_logits,
    "GROOVE": groove,
    "GROOVE without GroupCLIP": without("groupclip"),
    "GROOVE without back-translation": without("backtranslation"),
    "GROOVE, tau 0.2": lambda d, s: groove(d, s, temperature=0.2),
    "GROOVE, MLP encoders, dropout 0.3": lambda d, s: groove(d, s, encoder="mlp", dropout_encoder=0.3),
}


def load(path: Path, n_top_genes: int) -> md.MuData:
    """Read a screen; keep the most variable features of large count matrices, and labels of 20 cells or more."""
    mods = {}
    for m, adata in md.read(path).mod.items():
        label = adata.obs["label"].astype(str)
        counts = label.value_counts()
        keep = label.isin(counts.index[counts >= 20]) & (label != "unknown")
        adata = adata[keep.to_numpy()].copy()
        if adata.n_vars > n_top_genes:
            normalised = sc.pp.log1p(sc.pp.normalize_total(adata, copy=True), copy=True)
            sc.pp.highly_variable_genes(normalised, n_top_genes=n_top_genes)
            adata = adata[:, normalised.var["highly_variable"].to_numpy()].copy()
            sc.pp.filter_cells(adata, min_counts=1)
        mods[m] = adata
    common = set.intersection(*(set(a.obs_names) for a in mods.values()))
    mods = {m: a[a.obs_names.isin(common)].copy() for m, a in mods.items()}
    rng = np.random.default_rng(0)  # nobody pairs by position
    return md.MuData({m: a[rng.permutation(a.n_obs)].copy() for m, a in mods.items()})


def main() -> None:
    """Score every learner on every file and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--files", nargs="+", default=["scgem_reprogramming", "pbmc_citeseq"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--n-top-genes", type=int, default=2000)
    parser.add_argument("--learners", nargs="+", default=list(LEARNERS), help="by default all")
    args = parser.parse_args()
    quiet()
    rows = []
    for name in args.files:
        mdata = load(args.folder / f"{name}.h5mu", args.n_top_genes)
        cells = "; ".join(f"{m} {a.n_obs} x {a.n_vars}" for m, a in mdata.mod.items())
        for learner in args.learners:
            scores = [
                within_label_foscttm(mdata, LEARNERS[learner](mdata, seed)) for seed in range(args.seeds)
            ]
            spread = round(np.std(scores, ddof=1), 4) if args.seeds > 1 else None
            rows.append((name, cells, learner, round(np.mean(scores), 4), spread))
            print(*rows[-1], flush=True)
    print(pd.DataFrame(rows, columns=["data", "cells", "learner", "foscttm", "sd"]).to_string(index=False))


if __name__ == "__main__":
    main()
