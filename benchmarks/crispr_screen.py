"""What weighing cells by their efficacy changes on a real CRISPR screen: RNA and protein of THP-1 cells, different cells.

    python benchmarks/crispr_screen.py FOLDER --seeds 4 --out scores.csv --jobs 2      # FOLDER holds thp1_crispr.h5mu
    python benchmarks/crispr_screen.py FOLDER --read benchmarks/results/crispr_screen.csv --mixscape mixscape.csv

In each of several random splits, four fifths of the cells of each label train and one fifth is scored: labels found across modalities by ten
neighbors, mean over shared labels. Intervals are over splits; differences are paired. Single cells have no partners here.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path
from typing import Any

import mudata
import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from mudata import MuData
from scipy import stats

import scgroove as sg
from _common import half_width, quiet, trained

CONTROL = "control"
FOUND: dict[str, dict[str, Any]] = {
    "labels as they are": {},
    "efficacy, weight": {"weight_key": "efficacy"},
}
LOGITS = "logistic regression, logits"
COLUMNS = ["method", "seed", "score", "value"]


def split(mdata: MuData, seed: int) -> tuple[MuData, MuData]:
    """Four fifths of the cells of each label of each modality, and the rest."""
    rng = np.random.default_rng(seed)
    parts: tuple[dict[str, Any], dict[str, Any]] = ({}, {})
    for m, adata in mdata.mod.items():
        held = np.zeros(adata.n_obs, dtype=bool)
        for rows in adata.obs.groupby("label", observed=True).indices.values():
            held[rng.permutation(rows)[: len(rows) // 5]] = True
        parts[0][m], parts[1][m] = adata[~held].copy(), adata[held].copy()
    return mudata.MuData(parts[0]), mudata.MuData(parts[1])


def one(folder: Path, method: str, seed: int) -> list[tuple[str, int, str, float]]:
    """Train on one split, and score it."""
    quiet()
    train, test = split(mudata.read_h5mu(folder / "thp1_crispr.h5mu"), seed)
    if method == LOGITS:
        z = sg.learners.get("ps_logistic_scaled")().fit(train, "label", seed=seed).transform(test)
    else:
        sg.tl.estimate_efficacy(train, CONTROL)
        model = trained(train, seed, **FOUND[method])
        z = {m: model.get_latent_representation(test[m], m) for m in test.mod}
    labels = {m: test[m].obs["label"].astype(str).to_numpy() for m in z}
    shared = sorted(set(labels["rna"]) & set(labels["prot"]))
    kept = {m: np.isin(labels[m], shared) for m in z}
    scores: dict[str, list[float]] = {}
    for a, b in (("rna", "prot"), ("prot", "rna")):
        hit = sg.metrics.label_transfer(
            z[a][kept[a]], z[b][kept[b]], labels[a][kept[a]], labels[b][kept[b]], per="cell"
        )
        per = pd.Series(hit).groupby(labels[b][kept[b]]).mean()
        scores.setdefault("mean over labels", []).append(float(per.mean()))
        for label in shared:
            scores.setdefault(label, []).append(float(per[label]))
    return [(method, seed, score, float(np.mean(values))) for score, values in scores.items()]


def rates(mdata: MuData) -> pd.DataFrame:
    """What :func:`scgroove.tl.estimate_efficacy` says of each label, in each modality."""
    sg.tl.estimate_efficacy(mdata, CONTROL)
    columns = {}
    for m, found in mdata.uns["efficacy"]["labels"].items():
        rows = found.set_index("label")
        columns[m] = [
            f"undetectable (p {row.p_value:.2g})"
            if row.undetectable
            else f"{row.rate:.2f} ({row.rate_low:.2f} to {row.rate_high:.2f})"
            for row in rows.itertuples()
        ]
        columns[m] = pd.Series(columns[m], index=rows.index)
    return pd.DataFrame(columns).fillna("").sort_index().rename_axis("label").reset_index()


def not_circular(mdata: MuData, n_bootstrap: int = 2000) -> pd.DataFrame:
    """Show the PD-L1 of cells by an efficacy that was estimated without it.

    Does it know what it was not shown?

    Logged counts per cell, minus the mean of the controls; bootstrap intervals over cells.
    """
    protein = mdata["prot"]
    x = np.log1p(protein.to_df())
    others = mudata.MuData({"prot": protein[:, protein.var_names != "PDL1"].copy()})
    sg.tl.estimate_efficacy(others, CONTROL, n_components=3)
    p, label = (
        others["prot"].obs["efficacy"].to_numpy(),
        protein.obs["label"].astype(str).to_numpy(),
    )
    pdl1 = x["PDL1"].to_numpy() - x["PDL1"].to_numpy()[label == CONTROL].mean()
    rng, rows = np.random.default_rng(0), []
    for g in ("IFNGR1", "IRF1", "CD274"):
        if others.uns["efficacy"]["labels"]["prot"].set_index("label").loc[g, "undetectable"]:
            rows.append({"label": g, "escaped (below 0.1)": "undetectable without PD-L1"})
            continue
        row = {"label": g}
        groups = {
            "escaped (below 0.1)": p < 0.1,
            "between": (p >= 0.1) & (p <= 0.9),
            "not (above 0.9)": p > 0.9,
        }
        for name, cells in groups.items():
            own = pdl1[(label == g) & cells]
            if len(own) > 2:
                means = own[rng.integers(len(own), size=(n_bootstrap, len(own)))].mean(axis=1)
                low, high = np.quantile(means, [0.025, 0.975])
                row[name] = f"{own.mean():+.2f} ({low:+.2f} to {high:+.2f}), {len(own)} cells"
        rows.append(row)
    return pd.DataFrame(rows).fillna("")


def beside_mixscape(mdata: MuData, file: Path) -> pd.DataFrame:
    """The efficacy of RNA cells beside the posterior of Mixscape, of labels in which either sees an effect."""
    sg.tl.estimate_efficacy(mdata, CONTROL)
    obs = mdata["rna"].obs
    theirs = pd.read_csv(file, index_col=0).iloc[:, 0].reindex(obs.index)
    undetectable = mdata.uns["efficacy"]["labels"]["rna"].set_index("label")["undetectable"]
    rows, neither = [], 0
    for g, cells in obs.groupby("label", observed=True):
        p, q = cells["efficacy"], theirs[cells.index]
        if g == CONTROL:
            continue
        if undetectable[g] and not q.any():
            neither += 1
            continue
        rows.append(
            {
                "label": g,
                "cells": str(len(cells)),
                "efficacy, mean": "undetectable" if undetectable[g] else f"{p.mean():.2f}",
                "Mixscape, mean": f"{q.mean():.2f}" if q.any() else "no effect",
                "correlation": f"{p.corr(q):.2f}" if q.any() and not undetectable[g] else "",
            }
        )
    rows.append(
        {
            "label": f"{neither} others",
            "efficacy, mean": "undetectable",
            "Mixscape, mean": "no effect",
        }
    )
    return pd.DataFrame(rows).fillna("")


def table(results: pd.DataFrame) -> pd.DataFrame:
    """Mean and interval over splits, and the paired difference to labels as they are."""
    rows = []
    for method in dict.fromkeys(results["method"]):
        row = {"": method}
        for score, part in results.groupby("score", sort=False):
            wide = part.pivot_table(index="seed", columns="method", values="value")
            d = (wide[method] - wide["labels as they are"]).dropna()
            row[score] = f"{wide[method].mean():.3f} ± {half_width(wide[method]):.3f}"
            if score == "mean over labels" and d.any():
                row["difference"] = f"{d.mean():+.3f} ± {half_width(d):.3f}"
                row["p (paired t)"] = f"{stats.ttest_1samp(d, 0).pvalue:.3f}"
        rows.append(row)
    return pd.DataFrame(rows).fillna("")


def main() -> None:
    """Run, and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--out", help="write the score of every run to this CSV")
    parser.add_argument("--read", help="take the scores of this CSV")
    parser.add_argument(
        "--mixscape", type=Path, help="the file of mixscape_posterior.py, to compare with"
    )
    parser.add_argument("--tables", type=Path, help="folder for Markdown tables")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    if args.read:
        results = pd.read_csv(args.read)
    else:
        jobs = [(method, seed) for seed in range(args.seeds) for method in (*FOUND, LOGITS)]
        found: list[tuple[Any, ...]] = []
        for rows in Parallel(n_jobs=args.jobs, return_as="generator")(
            delayed(one)(args.folder, *job) for job in jobs
        ):
            found += rows
            if args.out:  # a run that is stopped keeps what it has
                pd.DataFrame(found, columns=COLUMNS).to_csv(
                    args.out, index=False, float_format="%.5f"
                )
        results = pd.DataFrame(found, columns=COLUMNS)
    mdata = mudata.read_h5mu(args.folder / "thp1_crispr.h5mu")
    made = {"rates": rates(mdata), "pdl1": not_circular(mdata), "transfer": table(results)}
    if args.mixscape:
        made["mixscape"] = beside_mixscape(mdata, args.mixscape)
    for name, one_table in made.items():
        text = one_table.to_markdown(index=False, disable_numparse=True)
        print(f"\n{name}\n{text}")
        if args.tables:
            args.tables.mkdir(parents=True, exist_ok=True)
            (args.tables / f"{name}.md").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
