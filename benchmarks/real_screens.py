"""Every learner and aligner on real screens: where cells are co-assayed with the pairing hidden, else by what labels tell.

    python benchmarks/real_screens.py FOLDER --out results-real        # FOLDER holds the .h5mu files
    python benchmarks/real_screens.py FOLDER --screens scgem_reprogramming --seeds 2
    python benchmarks/real_screens.py FOLDER --gate --seeds 10         # GROOVE against propensity logits only, no aligners

A stopped run goes on where it stopped. ``--tables FOLDER`` writes those of the documentation, in which screens that were not
run this time keep their columns. Seeds are those of learners: the cells are
always the same, so that intervals say how much a result depends on chance in training, not on the choice of cells.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from _common import on_device, quiet
from claims import as_markdown, with_verdict
from scgroove import benchmark

LEARNERS = (
    "groove", "groove_mlp", "groove_no_groupclip", "groove_no_backtranslation", "groove_autoencoder", "groove_groupclip_only",
    "groove_outside", "ps_logistic", "ps_logistic_scaled", "ps_mlp", "davae", "supcon", "clip_pseudo", "mmd", "cca_labels",
    "pca_procrustes", "lda_procrustes", "random",
)  # fmt: skip
LOOSE = {"tol": 5e-4, "tol_outer": 1e-3}
BOTH = (
    "emd", "eot", "coot", "emd unlabelled", "eot unlabelled", "coot unlabelled",
    {"method": "egw", "options": LOOSE}, {"method": "egw", "labelled": False, "options": LOOSE},
)  # fmt: skip
CELLS = {"min_cells_per_label": 20, "n_top_features": 2000}

SCREENS = {
    "scgem_reprogramming": ({"source": "rna", "target": "meth", "pair_key": "pair_id"}, (*LEARNERS, "clip_oracle"), BOTH),
    "pbmc_citeseq": (
        {"source": "rna", "target": "prot", "pair_key": "pair_id", "drop_labels": ["unknown"], **CELLS},
        (*LEARNERS, "clip_oracle"),
        BOTH,
    ),
    "a549_dex_scicar": ({"source": "rna", "target": "atac", "pair_key": "pair_id", **CELLS}, (*LEARNERS, "clip_oracle"), BOTH),
    # no pairs: what labels tell; 12,782 x 5,597 cells are too many for couplings without labels and without a shared space
    "thp1_crispr": ({"source": "rna", "target": "prot", "control": "control", **CELLS}, LEARNERS, ("eot", "emd", "eot unlabelled")),
    # strains with few samples each; the metabolome has no wild type that effects could be counted from
    "yeast_kinase_ko": ({"source": "protein", "target": "metab_tca"}, LEARNERS, ("eot", "emd", "eot unlabelled")),
}  # fmt: skip
GATE = {
    "groove": "GROOVE",
    "groove_paper": "preset paper",
    "ps_logistic_scaled": "logistic regression, logits",
    "ps_mlp": "MLP, logits",
    "cca_labels": "cca_labels",
}
"""Of ``--gate``: the default must not be worse than propensity logits on any screen."""
SHOWN = (
    "foscttm_within_label", "foscttm_global", "label_transfer_balanced", "barycentric_foscttm_within_label", "trace_over_chance",
    "label_mass", "effect_pearson", "energy_distance",
)  # fmt: skip


def main() -> None:
    """Run the grids and write one table with intervals."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, default=Path("results-real"))
    parser.add_argument("--screens", nargs="+", default=list(SCREENS), choices=list(SCREENS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--device", default="cpu", help="where networks are trained: cpu, cuda, mps or auto")
    parser.add_argument("--tables", type=Path, help="folder for Markdown tables")
    parser.add_argument(
        "--gate", action="store_true", help="GROOVE against propensity logits only, without aligners"
    )
    parser.add_argument("--mix-versions", action="store_true", help="go on where other versions left off")
    args = parser.parse_args()
    quiet()
    tables, all_results = [], {}
    for name in args.screens:
        data, methods, couplers = SCREENS[name]
        spec = {
            "title": name,
            "data": [{"file": str((args.folder / f"{name}.h5mu").resolve()), **data}],
            "learners": [on_device(one, args.device) for one in (GATE if args.gate else methods)],
            "aligners": ["uniform"] if args.gate else list(couplers),
            "seeds": args.seeds,
        }
        results = benchmark.run(
            spec, args.out / name, n_jobs=args.jobs, mix_versions=args.mix_versions, progress=False
        )
        all_results[name] = results
        for metric in SHOWN:
            if ((results["metric"] == metric) & (results["status"] == "done")).any():
                tables.append(benchmark.summarise(results, metric).assign(metric=metric))
        failed = benchmark.failures(results)
        print(f"{name}: {len(results)} values, {len(failed)} not done", flush=True)
    table = pd.concat(tables, ignore_index=True)
    table.to_csv(args.out / "real_screens.csv", index=False, float_format="%.4f")
    print(table.round(3).to_string())
    if args.gate:
        made = gate(all_results)
        print(as_markdown(made))
        if args.tables:
            args.tables.mkdir(parents=True, exist_ok=True)
            (args.tables / "gate.md").write_text(as_markdown(made) + "\n", encoding="utf-8")
    elif args.tables:
        args.tables.mkdir(parents=True, exist_ok=True)
        made_of = {
            "cells": learners(all_results, "foscttm_within_label"),
            "labels": learners(all_results, "label_transfer_balanced"),
            "aligners": aligned(all_results),
        }
        for name, made in made_of.items():
            file = args.tables / f"{name}.md"
            file.write_text(as_markdown(beside_earlier(made, file)) + "\n", encoding="utf-8")


def beside_earlier(made: pd.DataFrame, file: Path) -> pd.DataFrame:
    """Return a table with the columns of screens that were not run this time, as the file has them."""
    if not file.exists():
        return made
    lines = [
        [cell.strip() for cell in line.strip("| ").split(" | ")]
        for line in file.read_text(encoding="utf-8").splitlines()
    ]
    head, rows = lines[0], [line + [""] * (len(lines[0]) - len(line)) for line in lines[2:]]
    earlier = pd.DataFrame([row[1:] for row in rows], index=[row[0] for row in rows], columns=head[1:])
    kept = earlier[[name for name in earlier if name not in made]]
    both = made.join(kept, how="outer").fillna("")
    columns = [name for name in SCREENS if name in both]
    order = [*made.index, *(name for name in kept.index if name not in made.index)]
    return both.loc[order, columns].rename_axis(made.index.name)


def gate(screens: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """A row for each screen and score: GROOVE, the paper's preset and propensity logits, with paired differences from GROOVE."""
    rows = {}
    for name, results in screens.items():
        cells = ("foscttm_within_label",) if "pair_key" in SCREENS[name][0] else ()
        for metric in (*cells, "label_transfer_balanced"):
            found = _against_groove(results, metric)
            rows[f"{name}, {metric.replace('_', ' ')}"] = {
                title: found.get(one, "") for one, title in GATE.items()
            }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("screen, score")


def learners(screens: Mapping[str, pd.DataFrame], metric: str) -> pd.DataFrame:
    """A row for each learner: what is known of cells, on screens whose cells are paired; or of labels, on all."""
    columns = {
        name: _against_groove(results, metric)
        for name, results in screens.items()
        if metric == "label_transfer_balanced" or "pair_key" in SCREENS[name][0]
    }
    table = pd.DataFrame(columns).fillna("")
    order = [one for one in (*LEARNERS, "clip_oracle") if one in table.index]
    table = table.loc[order]
    table.index = [f"`{one}`" for one in order]
    return table.rename_axis("learner")


def aligned(screens: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """A row for each aligner: the mean score over learners, of screens whose cells are paired."""
    columns = {}
    for name, results in screens.items():
        if "pair_key" in SCREENS[name][0]:
            methods = results[~results["knows_truth"].astype(bool)]
            means = benchmark.summarise(methods, "barycentric_foscttm_within_label", by=("aligner",))
            columns[name] = means.set_index("aligner").apply(lambda row: " ".join(_spread(row)), axis=1)
    return pd.DataFrame(columns).rename_axis("aligner")


def _against_groove(results: pd.DataFrame, metric: str) -> pd.Series:
    """Mean and half-width of the interval over seeds, marked where the paired difference from GROOVE leaves out 0."""
    means = benchmark.summarise(results, metric, by=("learner",)).set_index("learner")
    differences = benchmark.compare(results, metric, "groove", quiet=True)
    differences = differences[differences["scope"] == "data set"].set_index(["candidate", "data"])
    data = str(results["data"].iloc[0])
    found = {}
    for name, row in means.iterrows():
        _, *mark = with_verdict(row["mean"], differences, (str(name), data)).split()
        found[str(name)] = " ".join([*_spread(row), *mark])
    return pd.Series(found)


def _spread(row: pd.Series) -> list[str]:
    """Write a mean, and half of its interval where it has one."""
    half = (row["high"] - row["low"]) / 2
    return [f"{row['mean']:.3f}", *([f"± {half:.3f}"] if half > 0 else [])]


if __name__ == "__main__":
    main()
