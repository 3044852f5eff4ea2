"""Imputed against measured values on the reference scenario, beside the mean of the cell's label.

R2 over all cells and features of both directions, source cells to target features; all cells are scored, training
cells included. The label mean knows the label and nothing of the cell; it leaves the cell itself out.
"""

from __future__ import annotations

import argparse

import numpy as np
import pandas as pd

import scgroove as sg
from _common import quiet


def r_squared(found: np.ndarray, truth: np.ndarray) -> float:
    """Share of the variance of the measured values that is explained."""
    return float(1 - ((found - truth) ** 2).sum() / ((truth - truth.mean(axis=0)) ** 2).sum())


def label_mean(x: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Mean of the other cells of each cell's label."""
    _, code, counts = np.unique(labels, return_inverse=True, return_counts=True)
    sums = np.zeros((len(counts), x.shape[1]))
    np.add.at(sums, code, x)
    return (sums[code] - x) / (counts[code] - 1)[:, None]


def main() -> None:
    """Run the grid and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rho", type=float, nargs="+", default=[1.0, 0.5])
    args = parser.parse_args()
    quiet()
    rows = []
    for rho in args.rho:
        for seed in range(args.seeds):
            mdata = sg.simulations.weakly_paired(rho=rho, seed=seed)
            sg.model.GROOVE.setup_mudata(mdata, "label")
            pairs = [("rna", "protein"), ("protein", "rna")]
            truth = {s: mdata[t].X[mdata[t].obs_names.get_indexer(mdata[s].obs_names)] for s, t in pairs}
            for s, _ in pairs:
                mean = label_mean(truth[s], mdata[s].obs["label"].astype(str).to_numpy())
                rows.append((rho, "label mean", r_squared(mean, truth[s])))
            for encoder in ("linear", "mlp"):
                model = sg.model.GROOVE(mdata, encoder=encoder, seed=seed)
                model.train(
                    seed=seed, train_size=1.0, accelerator="cpu", enable_progress_bar=False, logger=None
                )
                rows += [
                    (rho, f"GROOVE, {encoder} encoders", r_squared(model.translate(s, t), truth[s]))
                    for s, t in pairs
                ]
    table = pd.DataFrame(rows, columns=["rho", "method", "r2"])
    print(table.groupby(["rho", "method"], sort=False)["r2"].agg(["mean", "std"]).round(3).to_string())


if __name__ == "__main__":
    main()
