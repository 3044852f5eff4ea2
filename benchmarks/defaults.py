"""The table that chose the default configuration of GROOVE, beside the paper's, the baselines and the supervised limit.

Every learner is scored on the same simulations as it is, and with the means of its labels brought to one place
(``label_centered``). Within-label FOSCTTM; paired differences over seeds.

    python benchmarks/defaults.py --out benchmarks/results/defaults.csv --jobs 2
    python benchmarks/defaults.py --read benchmarks/results/defaults.csv   # the table again
"""

from __future__ import annotations

import argparse
import os
import time
import warnings
from pathlib import Path
from typing import Any

import pandas as pd
from joblib import Parallel, delayed
from scipy import stats
from statsmodels.stats.multitest import multipletests

import scgroove as sg
from _common import ABLATIONS, PROTOTYPES, half_width, within_label_foscttm

PAPER, LOGISTIC, LIMIT = "settings of the paper", "logistic regression, logits", "supervised limit"
CHOSEN = {"temperature": 0.2, "dropout": 0.4}
LEARNERS: dict[str, tuple[str, dict[str, Any]]] = {
    LIMIT: ("oracle_latent", {}),
    "supervised limit, not told labels": ("oracle_latent", {"use_label": False}),
    LOGISTIC: ("ps_logistic_scaled", {}),
    "MLP, logits": ("ps_mlp", {}),
    "cca_labels": ("cca_labels", {}),
    PAPER: ("groove_paper", {}),
    "GROOVE tau 0.3, dropout 0.2": ("groove", {"temperature": 0.3, "dropout": 0.2}),
    "GROOVE": ("groove", CHOSEN),
    "+ tau 0.1": ("groove", {**CHOSEN, "temperature": 0.1}),
    "+ tau 0.3": ("groove", {**CHOSEN, "temperature": 0.3}),
    "+ dropout 0.6": ("groove", {**CHOSEN, "dropout": 0.6}),
    "+ no back-translation": ("groove", {**CHOSEN, **ABLATIONS["groove_no_backtranslation"]}),
    "+ GroupCLIP alone": ("groove", {**CHOSEN, **ABLATIONS["groove_groupclip_only"]}),
    "+ 32 latent": ("groove", {**CHOSEN, "n_latent": 32}),
    "+ prototypes": ("groove", {"dropout": 0.4, **PROTOTYPES}),
    "+ efficacy": ("groove", {**CHOSEN, "control": "g00"}),
    "+ lr 0.003, 150 epochs": ("groove", {**CHOSEN, "lr": 3e-3, "max_epochs": 150}),
    "+ MLP, dropout 0.3": ("groove", {**CHOSEN, **ABLATIONS["groove_mlp"]}),
}


def one(rho: float, seed: int, name: str) -> list[tuple[float, int, str, bool, float, float]]:
    """Score a learner on one simulation, as it is and centered."""
    import torch

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    mdata = sg.simulations.weakly_paired(rho=rho, seed=seed)
    learner, options = LEARNERS[name]
    start = time.perf_counter()
    fitted = sg.learners.LabelCentered(learner, options).fit(mdata, "label", seed=seed)
    seconds = time.perf_counter() - start
    found = {False: fitted.inner_.transform(mdata), True: fitted.transform(mdata)}
    return [
        (rho, seed, name, centered, within_label_foscttm(mdata, z), seconds)
        for centered, z in found.items()
    ]


def table(results: pd.DataFrame) -> pd.DataFrame:
    """Mean and 95 % interval; difference to the default, paired; share of the gap closed; Wilcoxon, Holm-corrected."""
    rows = []
    for (rho, centered), part in results.groupby(["rho", "centered"], sort=False):
        wide = part.pivot_table(index="seed", columns="learner", values="foscttm")
        limit = results[
            (results["rho"] == rho) & ~results["centered"] & (results["learner"] == LIMIT)
        ]
        raw = results[(results["rho"] == rho) & ~results["centered"]].pivot_table(
            index="seed", columns="learner", values="foscttm"
        )
        best = min(raw[LOGISTIC].mean(), raw["MLP, logits"].mean())
        holm = _against_default(wide)
        for name in [n for n in LEARNERS if n in wide]:
            x, d = wide[name], wide[name] - wide["GROOVE"]
            rows.append(
                {
                    "rho": rho,
                    "centered": centered,
                    "learner": name,
                    "foscttm": f"{x.mean():.4f} ± {half_width(x):.4f}",
                    "minus default": ""
                    if name == "GROOVE"
                    else f"{d.mean():+.4f} ± {half_width(d):.4f}",
                    "Holm p": "" if name == "GROOVE" else f"{holm[name]:.3f}",
                    "of paper": f"{x.mean() / raw[PAPER].mean():.2f}",
                    "gap closed": f"{(best - x.mean()) / (best - limit['foscttm'].mean()):+.0%}",
                    "seconds": f"{part.loc[part['learner'] == name, 'seconds'].median():.1f}",
                }
            )
    return pd.DataFrame(rows)


def page(results: pd.DataFrame) -> pd.DataFrame:
    """One row for each learner, for the user guide: mean and interval, with a mark where it differs from the default (Holm)."""
    columns = {}
    for (rho, centered), part in results.groupby(["rho", "centered"]):
        wide = part.pivot_table(index="seed", columns="learner", values="foscttm")
        p = _against_default(wide)
        cells = {}
        for name in [n for n in LEARNERS if n in wide]:
            worse = wide[name].mean() > wide["GROOVE"].mean()
            mark = "" if name == "GROOVE" or p[name] >= 0.05 else " ▼" if worse else " ▲"
            cells[name] = f"{wide[name].mean():.3f} ± {half_width(wide[name]):.3f}{mark}"
        columns[f"ρ = {rho:g}" + (", centered" if centered else "")] = cells
    order = ["ρ = 1", "ρ = 1, centered", "ρ = 0.5", "ρ = 0.5, centered"]
    found = pd.DataFrame(columns)[order].loc[list(LEARNERS)]
    found.index = [
        f"**{n}, defaults**" if n == "GROOVE" else n.replace("+ ", "the same, ")
        for n in found.index
    ]
    return found.rename_axis("").reset_index()


def _against_default(wide: pd.DataFrame) -> dict[str, float]:
    """P of a paired Wilcoxon test of each learner against the default, Holm-corrected."""
    others = [name for name in wide if name != "GROOVE"]
    p = [stats.wilcoxon(wide[name], wide["GROOVE"]).pvalue for name in others]
    return dict(zip(others, multipletests(p, method="holm")[1], strict=True))


def main() -> None:
    """Run the grid, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--rho", type=float, nargs="+", default=[1.0, 0.5])
    parser.add_argument("--only", nargs="+", help="learners whose names hold one of these")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--out", help="write the score of every run to this CSV")
    parser.add_argument("--read", help="print the table of this CSV")
    parser.add_argument(
        "--page", help="of the CSV that is read, write the table of the user guide here"
    )
    args = parser.parse_args()
    if args.read:
        print(table(pd.read_csv(args.read)).to_markdown(index=False))
        if args.page:
            Path(args.page).write_text(page(pd.read_csv(args.read)).to_markdown(index=False) + "\n")
        return
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    names = [n for n in LEARNERS if not args.only or any(part in n for part in args.only)]
    jobs = [(rho, seed, name) for name in names for rho in args.rho for seed in range(args.seeds)]
    rows = []
    for found in Parallel(n_jobs=args.jobs, return_as="generator_unordered")(
        delayed(one)(*job) for job in jobs
    ):
        rows += found
        if args.out:  # a run that is stopped keeps what it has
            columns = ["rho", "seed", "learner", "centered", "foscttm", "seconds"]
            pd.DataFrame(rows, columns=columns).sort_values(columns[:4]).to_csv(
                args.out, index=False
            )
    if not args.only:
        print(
            table(pd.read_csv(args.out) if args.out else pd.DataFrame(rows)).to_markdown(
                index=False
            )
        )


if __name__ == "__main__":
    main()
