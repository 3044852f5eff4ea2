"""What results depend on: one setting at a time, of GROOVE or of the data, beside two linear baselines.

    python benchmarks/sensitivity.py --out results-sensitivity      # all factors, 5 seeds: two hours on 2 cores
    python benchmarks/sensitivity.py --factors temperature label_noise --seeds 2

A stopped run goes on where it stopped. ``--figures FOLDER`` writes the pictures of the documentation.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from _common import on_device, quiet
from scgroove import benchmark, pl

METRICS = ("foscttm_within_label", "label_transfer_balanced")
BASELINES = ("ps_logistic_scaled", "cca_labels")


def main() -> None:
    """Run, write the table of means with intervals, and draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("results-sensitivity"))
    parser.add_argument("--figures", type=Path, help="folder for one PNG a metric")
    parser.add_argument(
        "--factors", nargs="+", default=list(benchmark.FACTORS), choices=list(benchmark.FACTORS)
    )
    parser.add_argument("--data", default="half_shared", help="scenario at the base")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--device", default="cpu", help="where GROOVE is trained: cpu, cuda, mps or auto")
    args = parser.parse_args()
    quiet()
    results = benchmark.sensitivity(
        args.out,
        factors=args.factors,
        learner=on_device("groove", args.device),
        baselines=BASELINES,
        data=args.data,
        seeds=args.seeds,
        n_jobs=args.jobs,
        progress=False,
    )
    shown = results[results["metric"].isin(METRICS) & (results["aligner"] == "")]
    table = (
        shown.groupby(["metric", "factor", "level", "learner"])["value"]
        .agg(["mean", "std", "count"])
        .reset_index()
    )
    table.to_csv(args.out / "sensitivity.csv", index=False, float_format="%.4f")
    print(table.round(3).to_string())
    for metric in METRICS if args.figures else ():
        args.figures.mkdir(parents=True, exist_ok=True)
        pl.benchmark_sensitivity(results, metric, save=args.figures / f"sensitivity_{metric}.png", show=False)


if __name__ == "__main__":
    main()
