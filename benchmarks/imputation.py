"""Imputed against measured values of held-out cells, and how often intervals hold them.

    python benchmarks/imputation.py --tables docs/user_guide/imputation_tables

The reference scenario, cut in two: one half of the cells keeps its RNA, the other half its proteins, and the proteins of the first
half are the truth that nothing has seen. Four labels of twenty are taken from the proteins too. R2 over the cells of the other labels and
all features; coverage of the 50 and 90 % intervals, and of the 90 % interval of the cells of the four labels. The label mean is that of
the measured half: it knows the label and nothing of the cell.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mudata
import numpy as np
import pandas as pd
from sklearn.metrics import r2_score

import scgroove as sg
from _common import quiet
from claims import as_markdown

N_MODELS = 3
HIDDEN = ("g03", "g07", "g11", "g15")
LEVELS = (0.5, 0.9)
TABLES = {"r2": ["r2"], "coverage": ["coverage_50", "coverage_90", "coverage_90_hidden"]}


def main() -> None:
    """Run the grid and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rho", type=float, nargs="+", default=[1.0, 0.5, 0.0])
    parser.add_argument("--tables", type=Path, help="folder for Markdown tables")
    parser.add_argument("--csv", type=Path, help="file for all values")
    args = parser.parse_args()
    quiet()
    rows = [row for rho in args.rho for seed in range(args.seeds) for row in one_screen(rho, seed)]
    table = pd.DataFrame(rows)
    if args.csv is not None:
        table.to_csv(args.csv, index=False, float_format="%.4f")
    for name, columns in TABLES.items():
        made = written(table, columns)
        print(f"\n## {name}\n\n{as_markdown(made)}")
        if args.tables is not None:
            args.tables.mkdir(parents=True, exist_ok=True)
            (args.tables / f"{name}.md").write_text(as_markdown(made) + "\n", encoding="utf-8")


def one_screen(rho: float, seed: int) -> Iterator[dict[str, Any]]:
    """Yield the scores of every way of imputing on one simulated screen."""
    mdata, truth = halves(rho, seed)
    models = trained(mdata, seed)
    mlp = trained(mdata, seed, 1, encoder="mlp")[0]
    sg.tl.embed(mdata, models[0])
    sg.tl.align(mdata, "rna", "protein")
    sg.tl.align(mdata, "rna", "protein", method="emd", key_added="emd")
    for name, options in ways(models, mlp).items():
        sg.tl.impute(mdata, "rna", "protein", **options)
        yield {"rho": rho, "seed": seed, "method": name, **scored(mdata, truth)}


def ways(models: list[sg.model.GROOVE], mlp: sg.model.GROOVE) -> dict[str, dict[str, Any]]:
    """Return the ways of imputing, by name."""
    regression = {"method": "regression", "regression": {"n_models": N_MODELS}}
    return {
        "label mean": {"method": "knn", "shrink": 1.0},
        "auto": {"method": "auto"},
        "decoder": {"model": models[0]},
        "decoder, shrink 0.5": {"model": models[0], "shrink": 0.5},
        f"decoder of {N_MODELS} models": {"model": models},
        f"decoder of {N_MODELS} models, shrink 0.5": {"model": models, "shrink": 0.5},
        "decoder, MLP encoders": {"model": mlp},
        "decoder, MLP encoders, shrink 0.5": {"model": mlp, "shrink": 0.5},
        "barycentric, `eot`": {"method": "barycentric"},
        "barycentric, `emd`": {"method": "barycentric", "coupling_key": "emd"},
        "knn": {"method": "knn"},
        "knn, shrink 0.5": {"method": "knn", "shrink": 0.5},
        "label ridge": {"method": "label_ridge"},
        "label ridge, shrink 0.5": {"method": "label_ridge", "shrink": 0.5},
        "regression": regression,
        "regression, shrink 0.5": {**regression, "shrink": 0.5},
    }


def halves(rho: float, seed: int) -> tuple[mudata.MuData, np.ndarray]:
    """Return RNA of one half of the cells and proteins of the other, and the proteins of the first half."""
    whole = sg.simulations.weakly_paired(rho=rho, seed=seed)
    first, second = whole["rna"].obs_names[::2], whole["rna"].obs_names[1::2]
    protein = whole["protein"][second]
    protein = protein[~protein.obs["label"].isin(HIDDEN)]
    parts = {"rna": whole["rna"][first].copy(), "protein": protein.copy()}
    return mudata.MuData(parts), np.asarray(whole["protein"][first].X)


def trained(
    mdata: mudata.MuData, seed: int, n_models: int = N_MODELS, **options: Any
) -> list[sg.model.GROOVE]:
    """Return models of different seeds."""
    sg.model.GROOVE.setup_mudata(mdata, "label")
    models = []
    for i in range(n_models):
        model = sg.model.GROOVE(mdata, seed=100 * seed + i, **options)
        model.train(
            seed=100 * seed + i,
            train_size=1.0,
            accelerator="cpu",
            enable_progress_bar=False,
            logger=None,
        )
        models.append(model)
    return models


def scored(mdata: mudata.MuData, truth: np.ndarray) -> dict[str, float]:
    """Return R2, and how often intervals hold the truth."""
    values = mdata["rna"].obsm["imputed_protein"]
    hidden = mdata["rna"].obs["label"].isin(HIDDEN).to_numpy()
    found = {"r2": r2_score(truth[~hidden], values[~hidden], multioutput="variance_weighted")}
    for level in LEVELS:
        low, high = (
            one.to_numpy() for one in sg.get.imputed_interval(mdata, "rna", "protein", level=level)
        )
        held = (low <= truth) & (truth <= high)
        found[f"coverage_{100 * level:.0f}"] = float(held[~hidden].mean())
        found[f"coverage_{100 * level:.0f}_hidden"] = float(held[hidden].mean())
    return found


def written(table: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """Return one row a way of imputing and one column a share of common effects: means over seeds."""
    means = table.groupby(["method", "rho"], sort=False, as_index=False)[columns].mean()
    means["text"] = [
        " / ".join(f"{value:.2f}" for value in row) for row in means[columns].to_numpy()
    ]
    wide = means.pivot_table(
        index="method", columns="rho", values="text", aggfunc="first", sort=False
    )
    return wide.rename(columns=lambda rho: f"rho {rho:g}").rename_axis(columns=None)


if __name__ == "__main__":
    main()
