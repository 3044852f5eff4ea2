"""Within-label FOSCTTM on the reference scenario: the defaults, their ablations and their neighbors.

The table that chose the defaults of ``scgroove.model.GROOVE``. Every cell is scored, training cells included, as
every method here sees only labels, never pairs.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import pandas as pd
from scipy import stats

import scgroove as sg
from _common import ABLATIONS, learner, logistic_logits, quiet, within_label_foscttm

MLP = ABLATIONS["groove_mlp"]
LEARNERS = {
    "logistic regression, logits": logistic_logits,
    "GROOVE": learner(),
    "GROOVE without GroupCLIP": learner(**ABLATIONS["groove_no_groupclip"]),
    "GROOVE without back-translation": learner(**ABLATIONS["groove_no_backtranslation"]),
    "GROOVE without reconstruction": learner(**ABLATIONS["groove_no_reconstruction"]),
    "GROOVE, tau 0.1": learner(temperature=0.1),
    "GROOVE, tau 0.2": learner(temperature=0.2),
    "GROOVE, tau 0.5": learner(temperature=0.5),
    "GROOVE, no dropout": learner(dropout=0.0),
    "GROOVE, MLP encoders, dropout 0.3": learner(**MLP),
    "GROOVE, MLP, dropout 0.3, without back-translation": learner(
        **MLP, **ABLATIONS["groove_no_backtranslation"]
    ),
    "GROOVE, MLP encoders, no dropout, tau 0.1": learner(
        encoder="mlp", dropout=0.0, temperature=0.1
    ),
}
LARGE = [
    "logistic regression, logits",
    "GROOVE",
    "GROOVE, MLP encoders, dropout 0.3",
]


def run(rhos: list[float], seeds: int, n_cells: int, names: list[str]) -> pd.DataFrame:
    """Score every learner on the same simulations."""
    rows = []
    for rho in rhos:
        for seed in range(seeds):
            mdata = sg.simulations.weakly_paired(rho=rho, seed=seed, n_cells_per_label=n_cells)
            for name in names:
                start = time.perf_counter()
                score = within_label_foscttm(mdata, LEARNERS[name](mdata, seed))
                rows.append((n_cells, rho, name, seed, score, time.perf_counter() - start))
                print(
                    f"{n_cells} cells a label, rho {rho}, seed {seed}, {name}: {score:.4f}",
                    flush=True,
                )
    return pd.DataFrame(rows, columns=["cells", "rho", "learner", "seed", "foscttm", "seconds"])


def table(results: pd.DataFrame) -> pd.DataFrame:
    """Mean, 95 % interval over seeds, ratio to the logistic regression, paired difference to the default."""
    rows = []
    for (cells, rho), part in results.groupby(["cells", "rho"], sort=False):
        wide = part.pivot_table(index="seed", columns="learner", values="foscttm")
        for name in part["learner"].unique():
            x, n = wide[name], len(wide)
            half = stats.t.ppf(0.975, n - 1) * x.std(ddof=1) / np.sqrt(n) if n > 1 else np.nan
            worse = wide[name] - wide["GROOVE"]
            half_worse = (
                stats.t.ppf(0.975, n - 1) * worse.std(ddof=1) / np.sqrt(n) if n > 1 else np.nan
            )
            rows.append(
                {
                    "cells": cells,
                    "rho": rho,
                    "learner": name,
                    "foscttm": f"{x.mean():.4f} +- {half:.4f}",
                    "of logistic": round(x.mean() / wide["logistic regression, logits"].mean(), 3),
                    "minus GROOVE": f"{worse.mean():+.4f} +- {half_worse:.4f}",
                    "seconds": round(part.loc[part["learner"] == name, "seconds"].median(), 1),
                }
            )
    return pd.DataFrame(rows)


def main() -> None:
    """Run the grid and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--rho", type=float, nargs="+", default=[1.0, 0.5])
    parser.add_argument(
        "--quick", action="store_true", help="2 seeds, the default and its ablations only"
    )
    parser.add_argument("--large", action="store_true", help="500 cells a label")
    parser.add_argument("--out", help="write the scores of every run to this CSV")
    args = parser.parse_args()
    quiet()
    names = list(LEARNERS)[:4] if args.quick else LARGE if args.large else list(LEARNERS)
    results = run(args.rho, 2 if args.quick else args.seeds, 500 if args.large else 60, names)
    if args.out:
        results.to_csv(args.out, index=False)
    print(table(results).to_string(index=False))


if __name__ == "__main__":
    main()
