"""Every learner and aligner on real screens: where cells are co-assayed with the pairing hidden, else by what labels tell.

    python benchmarks/real_screens.py FOLDER --out results-real        # FOLDER holds the .h5mu files
    python benchmarks/real_screens.py FOLDER --screens scgem_reprogramming --seeds 2
    python benchmarks/real_screens.py FOLDER --gate --seeds 10         # GROOVE against propensity logits only, no aligners
    python benchmarks/real_screens.py FOLDER --labels --seeds 2 --null 2 --cells 600   # metrics across labels, no aligners

A stopped run goes on where it stopped. ``--tables FOLDER`` writes those of the documentation, in which screens that were not
run this time keep their columns. Seeds are those of learners: the cells are
always the same, so that intervals say how much a result depends on chance in training, not on the choice of cells.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path

import mudata
import pandas as pd

from _common import learner_spec, quiet
from claims import as_markdown, with_verdict
from scgroove import benchmark

LEARNERS = (
    "groove", "groove_mlp", "groove_no_groupclip", "groove_no_backtranslation", "groove_autoencoder", "groove_groupclip_only",
    "groove_outside", "ps_logistic", "ps_logistic_scaled", "ps_mlp", "davae", "supcon", "clip_pseudo", "mmd", "cca_labels",
    "pca_procrustes", "lda_procrustes", "random",
)  # fmt: skip
LOOSE = {"tol": 5e-4, "tol_outer": 1e-3}
BOTH = (
    "emd", "eot", "coot", "emd unlabeled", "eot unlabeled", "coot unlabeled",
    {"method": "egw", "options": LOOSE}, {"method": "egw", "labeled": False, "options": LOOSE},
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
    "thp1_crispr": ({"source": "rna", "target": "prot", "control": "control", **CELLS}, LEARNERS, ("eot", "emd", "eot unlabeled")),
    # strains with few samples each; the metabolome has no wild type that effects could be counted from
    "yeast_kinase_ko": ({"source": "protein", "target": "metab_tca"}, LEARNERS, ("eot", "emd", "eot unlabeled")),
}  # fmt: skip
GATE = {
    "groove": "GROOVE",
    "groove_paper": "settings of the paper",
    "ps_logistic_scaled": "logistic regression, logits",
    "ps_mlp": "MLP, logits",
    "cca_labels": "cca_labels",
}
"""Of ``--gate``: the default must not be worse than propensity logits on any screen."""
ACROSS_LABELS = (
    "label_transfer", "label_transfer_balanced", "foscttm_global", "mean_reciprocal_rank_global", "recall_at_1_global",
    "recall_at_10_global",
)  # fmt: skip
RUNS = [
    "data", "learner", "seed", "permutation", "metric", "value", "chance", "chance_sd", "n", "status", "error",
]  # fmt: skip
SMALL = {
    "hesc_sparc": {"source": "rna", "target": "prot", "pair_key": "pair_id"},
    "mcf10a_lincs_drugs": {"source": "gcp", "target": "p100"},
    "u2os_l1000_cellpainting": {
        "source": "l1000",
        "target": "cp",
        "pair_key": "pair_id",
        "min_cells_per_label": 1,
    },
}
"""Further screens of ``--labels``."""
SHOWN = (
    "foscttm_within_label", "foscttm_global", "label_transfer_balanced", "barycentric_foscttm_within_label", "trace_over_chance",
    "label_mass", "effect_pearson", "energy_distance",
)  # fmt: skip


def fewer_cells(file: Path, most: int, folder: Path) -> Path:
    """Write a screen of about so many cells a modality, drawn label by label; cells that are the same stay together."""
    mdata = mudata.read(file)
    kept = {}
    for m, adata in mdata.mod.items():
        labels = adata.obs["label"].astype(str)
        name = (
            adata.obs["pair_id"].astype(str)
            if "pair_id" in adata.obs
            else pd.Series(adata.obs_names, labels.index)
        )
        place = pd.util.hash_array(name.to_numpy(dtype=object))
        rank = pd.Series(place, index=labels.index).groupby(labels.to_numpy()).rank(pct=True)
        kept[m] = (
            adata[(rank <= most / adata.n_obs).to_numpy()].copy()
            if adata.n_obs > most
            else adata.copy()
        )
    small = folder / file.name
    folder.mkdir(parents=True, exist_ok=True)
    mudata.MuData(kept).write(small)
    return small


def labels_only(args: argparse.Namespace) -> None:
    """Score what is across labels, on held-out cells, on labels as they are and permuted, and keep every run."""
    screens = {**{name: data for name, (data, _, _) in SCREENS.items()}, **SMALL}
    tables = []
    for name in args.screens:
        file = (args.folder / f"{name}.h5mu").resolve()
        if args.cells:
            file = fewer_cells(file, args.cells, args.out / "fewer_cells")
        spec = {
            "title": name,
            "data": [{"file": str(file), **screens[name]}],
            "learners": [learner_spec(one, args.device) for one in args.learners],
            "seeds": args.seeds,
            "metrics": ACROSS_LABELS,
            "null": args.null,
        }
        folder = args.out / name
        benchmark.run(
            spec, folder, n_jobs=args.jobs, mix_versions=args.mix_versions, progress=False
        )
        tables.append(benchmark.read(folder, everything=True).assign(permutation=0))
        if args.null:
            tables.append(benchmark.read(folder, everything=True, permuted=True))
        print(name, len(tables[-1]), flush=True)
        table = pd.concat(tables, ignore_index=True)[RUNS]
        table.to_csv(args.out / "labels.csv", index=False, float_format="%.4f")


def of_labels(runs: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return tables of kept runs: scores of held-out cells, and how far from chance they are on permuted labels."""
    done = runs[runs["status"] == "done"]
    balanced = done[done["metric"] == "label_transfer_balanced"]
    screens = [name for name in (*SCREENS, *SMALL) if name in set(done["data"])]
    order = [
        name for name in (*LEARNERS, *sorted(set(done["learner"]))) if name in set(done["learner"])
    ]
    names = list(dict.fromkeys(order))
    return {
        "labels": _written(balanced[balanced["permutation"] == 0], names, screens, _value),
        "permuted": _written(balanced[balanced["permutation"] > 0], names, screens, _beside_chance),
        "permuted_metrics": _spread_of_z(done[done["permutation"] > 0]),
    }


def _written(
    rows: pd.DataFrame,
    names: list[str],
    screens: list[str],
    write: Callable[[pd.DataFrame], str],
) -> pd.DataFrame:
    """One row a learner, one column a screen; the first row is chance and its standard deviation."""
    columns = [one for one in screens if one in set(rows["data"])]
    table = {}
    for name in names:
        own = rows[rows["learner"] == name]
        table[f"`{name}`"] = {one: write(own[own["data"] == one]) for one in columns}
    spread = rows.groupby("data")[["chance", "chance_sd"]].mean()
    first = {one: " ± ".join(f"{part:.3f}" for part in spread.loc[one]) for one in columns}
    return pd.DataFrame.from_dict({"chance ± sd": first, **table}, orient="index").rename_axis(
        "learner"
    )


def _value(rows: pd.DataFrame) -> str:
    """Write the mean over seeds."""
    return "" if rows.empty else f"{rows['value'].mean():.3f}"


def _beside_chance(rows: pd.DataFrame) -> str:
    """Write the mean over permutations, and the distance from chance of each in standard deviations."""
    if rows.empty:
        return ""
    each = ", ".join(f"{z:+.1f}" for z in _z(rows.sort_values("permutation")))
    return f"{rows['value'].mean():.3f} ({each})"


def _z(rows: pd.DataFrame) -> pd.Series:
    """Return how many standard deviations each value is from chance; a value without any spread is at chance."""
    spread = rows["chance_sd"].where(rows["chance_sd"] > 0)
    return ((rows["value"] - rows["chance"]) / spread).fillna(0.0)


def _spread_of_z(rows: pd.DataFrame) -> pd.DataFrame:
    """One row a metric: mean and standard deviation of the distance from chance, and how much of it is within two."""
    found = {}
    for name, own in rows[rows["learner"] != "random"].groupby("metric"):
        z = _z(own)
        found[f"`{name}`"] = {
            "runs": str(len(z)),
            "mean of z": f"{z.mean():+.2f}",
            "sd of z": f"{z.std():.2f}",
            "within 2 sd": f"{(z.abs() <= 2).mean():.0%}",
            "largest": f"{z.max():+.1f}",
            "smallest": f"{z.min():+.1f}",
        }
    return pd.DataFrame.from_dict(found, orient="index").rename_axis("metric")


def main() -> None:
    """Run the grids and write one table with intervals."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, default=Path("results-real"))
    parser.add_argument("--screens", nargs="+", default=list(SCREENS), choices=[*SCREENS, *SMALL])
    parser.add_argument("--learners", nargs="+", default=list(LEARNERS), help="of --labels")
    parser.add_argument(
        "--labels", action="store_true", help="metrics across labels only, without aligners"
    )
    parser.add_argument(
        "--null", type=int, default=0, help="of --labels: permutations of the labels"
    )
    parser.add_argument(
        "--read", type=Path, help="of --labels: make the tables of these runs again"
    )
    parser.add_argument(
        "--cells", type=int, help="of --labels: about so many cells a modality at most"
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument(
        "--device", default="cpu", help="where networks are trained: cpu, cuda, mps or auto"
    )
    parser.add_argument("--tables", type=Path, help="folder for Markdown tables")
    parser.add_argument(
        "--gate",
        action="store_true",
        help="GROOVE against propensity logits only, without aligners",
    )
    parser.add_argument(
        "--mix-versions", action="store_true", help="go on where other versions left off"
    )
    args = parser.parse_args()
    quiet()
    if args.labels:
        if args.read is None:
            labels_only(args)
        for name, made in of_labels(pd.read_csv(args.read or args.out / "labels.csv")).items():
            print(as_markdown(made))
            if args.tables:
                args.tables.mkdir(parents=True, exist_ok=True)
                (args.tables / f"{name}.md").write_text(as_markdown(made) + "\n", encoding="utf-8")
        return
    tables, all_results = [], {}
    for name in args.screens:
        data, methods, couplers = SCREENS[name]
        spec = {
            "title": name,
            "data": [{"file": str((args.folder / f"{name}.h5mu").resolve()), **data}],
            "learners": [
                learner_spec(one, args.device) for one in (GATE if args.gate else methods)
            ],
            "aligners": ["uniform"] if args.gate else list(couplers),
            "seeds": args.seeds,
        }
        results = benchmark.run(
            spec, args.out / name, n_jobs=args.jobs, mix_versions=args.mix_versions, progress=False
        )
        all_results[name] = results
        for metric in SHOWN:
            if ((results["metric"] == metric) & (results["status"] == "done")).any():
                tables.append(benchmark.summarize(results, metric).assign(metric=metric))
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
    earlier = pd.DataFrame(
        [row[1:] for row in rows], index=[row[0] for row in rows], columns=head[1:]
    )
    kept = earlier[[name for name in earlier if name not in made]]
    both = made.join(kept, how="outer").fillna("")
    columns = [name for name in SCREENS if name in both]
    order = [*made.index, *(name for name in kept.index if name not in made.index)]
    return both.loc[order, columns].rename_axis(made.index.name)


def gate(screens: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """A row for each screen and score: GROOVE, the settings of the paper and propensity logits, with paired differences from GROOVE."""
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
    """A row for each learner: what is known of cells, on screens whose cells are paired."""
    columns = {
        name: _against_groove(results, metric)
        for name, results in screens.items()
        if "pair_key" in SCREENS[name][0]
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
            means = benchmark.summarize(
                methods, "barycentric_foscttm_within_label", by=("aligner",)
            )
            columns[name] = means.set_index("aligner").apply(
                lambda row: " ".join(_spread(row)), axis=1
            )
    return pd.DataFrame(columns).rename_axis("aligner")


def _against_groove(results: pd.DataFrame, metric: str) -> pd.Series:
    """Mean and half-width of the interval over seeds, marked where the paired difference from GROOVE leaves out 0."""
    means = benchmark.summarize(results, metric, by=("learner",)).set_index("learner")
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
