"""Every learner and aligner on real screens: where cells are co-assayed with the pairing hidden, else by what labels tell.

    python benchmarks/real_screens.py FOLDER --out results-real        # FOLDER holds the .h5mu files
    python benchmarks/real_screens.py FOLDER --screens scgem_reprogramming --seeds 2

A stopped run goes on where it stopped. Seeds are those of learners: the cells are always the same, so that intervals say how much a
result depends on chance in training, not on the choice of cells.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd

from _common import on_device, quiet
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
    parser.add_argument("--mix-versions", action="store_true", help="go on where other versions left off")
    args = parser.parse_args()
    quiet()
    tables = []
    for name in args.screens:
        data, learners, aligners = SCREENS[name]
        spec = {
            "title": name,
            "data": [{"file": str((args.folder / f"{name}.h5mu").resolve()), **data}],
            "learners": [on_device(one, args.device) for one in learners],
            "aligners": list(aligners),
            "seeds": args.seeds,
        }
        results = benchmark.run(
            spec, args.out / name, n_jobs=args.jobs, mix_versions=args.mix_versions, progress=False
        )
        for metric in SHOWN:
            if ((results["metric"] == metric) & (results["status"] == "done")).any():
                tables.append(benchmark.summarise(results, metric).assign(metric=metric))
        failed = benchmark.failures(results)
        print(f"{name}: {len(results)} values, {len(failed)} not done", flush=True)
    table = pd.concat(tables, ignore_index=True)
    table.to_csv(args.out / "real_screens.csv", index=False, float_format="%.4f")
    print(table.round(3).to_string())


if __name__ == "__main__":
    main()
