"""Small data that many tests share."""

import logging
import os
from pathlib import Path

import anndata as ad
import mudata as md
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch

if hasattr(md, "set_options"):  # mudata < 0.4: the behavior that later versions always have
    md.set_options(pull_on_update=False)
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
torch.set_num_threads(1)  # the networks are tiny: a second thread costs more than it brings

LABELS = ("A", "B", "C", "D", "ctrl")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The real screens; tests on them are skipped where they are not at hand."""
    folder = Path(os.environ.get("SCGROOVE_SHARED", Path(__file__).parents[2] / "shared")) / "data"
    if not folder.is_dir():
        pytest.skip(
            f"real screens not found in {folder}: they are not part of the repository (set SCGROOVE_SHARED)"
        )
    return folder


def make_modality(n, d, prefix, *, counts, labels=LABELS, seed=0, shift=2.0):
    """Cells whose features depend on their label; CSR counts or dense real values."""
    rng = np.random.default_rng(seed)
    label = np.asarray(labels, dtype=object)[np.arange(n) % len(labels)]
    effect = {name: rng.normal(size=d) for name in sorted(labels)}
    mean = np.stack([effect[name] for name in label])
    if counts:
        x = sp.csr_matrix(rng.poisson(np.exp(0.5 * mean + 0.5)).astype(np.float32))
    else:
        x = (shift * mean + rng.normal(size=(n, d))).astype(np.float32)
    adata = ad.AnnData(x)
    adata.obs_names = [f"{prefix}{i}" for i in range(n)]
    adata.var_names = [f"{prefix}_f{j}" for j in range(d)]
    adata.obs["label"] = pd.Categorical(label)
    adata.obs["lane"] = pd.Categorical(rng.choice(["l0", "l1"], n))
    return adata


@pytest.fixture(scope="session")
def make_mdata():
    """Factory of a screen with counts in "rna" and real values in "img": labels D only in rna, E only in img."""

    def make(kind="disjoint", seed=0):
        rna = make_modality(200, 30, "r", counts=True, seed=seed)
        n = 200 if kind in ("paired", "permuted") else 150
        img = make_modality(
            n, 8, "i", counts=False, labels=("A", "B", "C", "E", "ctrl"), seed=seed + 1
        )
        if kind in ("paired", "permuted"):  # names that say more than the number of the row
            rna.obs_names = [f"plate{i % 7}_r{i}" for i in range(200)]
        if kind != "disjoint":
            img.obs_names = (
                rna.obs_names[:n] if kind != "overlap" else [f"r{i + 100}" for i in range(n)]
            )
            keep = [
                x if x in LABELS else "ctrl"
                for x in rna.obs["label"].reindex(img.obs_names).fillna("A")
            ]
            img.obs["label"] = pd.Categorical(keep)
        if kind == "permuted":
            img = img[np.random.default_rng(3).permutation(n)].copy()
        return md.MuData({"rna": rna, "img": img})

    return make
