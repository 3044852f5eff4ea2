"""What results depend on: one setting at a time, of GROOVE or of the data, beside two linear baselines.

    python benchmarks/sensitivity.py --out results-sensitivity      # all factors, 5 seeds: 90 min on 2 cores
    python benchmarks/sensitivity.py --factors temperature label_noise --seeds 2

A stopped run goes on where it stopped. ``--figures FOLDER`` writes the pictures of the documentation, ``--tables FOLDER`` its tables.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd

from _common import on_device, quiet
from claims import as_markdown, with_verdict
from scgroove import benchmark, pl

METRICS = ("foscttm_within_label", "label_transfer_balanced")
BASELINES = ("ps_logistic_scaled", "cca_labels")
STUDIED = "groove"


def main() -> None:
    """Run, write the table of means with intervals, and draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("results-sensitivity"))
    parser.add_argument("--figures", type=Path, help="folder for one PNG a metric")
    parser.add_argument("--tables", type=Path, help="folder for Markdown tables")
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
        learner=on_device(STUDIED, args.device),
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
    if args.tables:
        args.tables.mkdir(parents=True, exist_ok=True)
        for name, table in {"settings": settings(results), "screens": screens(results)}.items():
            (args.tables / f"{name}.md").write_text(as_markdown(table) + "\n", encoding="utf-8")


def settings(results: pd.DataFrame) -> pd.DataFrame:
    """A row for each option of GROOVE: the mean score at each level, marked where it differs from the default."""
    rows = {}
    for name, lines in results[results["learner"] == STUDIED].groupby("factor", sort=False):
        factor = benchmark.FACTORS[str(name)]
        if factor.of == "learner":
            own = lines.assign(learner=[f"{level:g}" for level in lines["level"]])
            default = _default(factor.option, list(dict.fromkeys(own["learner"])))
            cells = [
                f"**{level}: {text}**" if level == default else f"{level}: {text}"
                for level, text in _against(own, default).items()
            ]
            rows[f"{factor.meaning} (`{factor.option}`)"] = {"FOSCTTM inside labels": " · ".join(cells)}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("setting")


def _default(option: str, levels: list[str]) -> str:
    """The level that is the default of GROOVE, or does the same: all labels, and as many cells as then fit."""
    by_itself = {"n_labels_per_batch": "20", "n_cells_per_label": "8"}
    default = by_itself.get(option) or f"{benchmark.LearnerSpec(STUDIED).build().__dict__[option]:g}"
    return default if default in levels else levels[0]


def screens(results: pd.DataFrame) -> pd.DataFrame:
    """A row for each property of the data and its level: the mean score of each learner, marked where it differs from GROOVE."""
    rows = {}
    for (name, level), lines in results.groupby(["factor", "level"], sort=False):
        factor = benchmark.FACTORS[str(name)]
        if factor.of == "data":
            rows[f"{factor.meaning}: {level:g}"] = {f"`{k}`": v for k, v in _against(lines, STUDIED).items()}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("screen")


def _against(lines: pd.DataFrame, reference: str) -> dict[str, str]:
    """Means by learner, each with what its paired difference from the reference says."""
    lines = lines.assign(data="")
    means = benchmark.summarise(lines, METRICS[0], by=("learner",)).set_index("learner")["mean"]
    found = benchmark.compare(lines, METRICS[0], reference, quiet=True)
    found = found[found["scope"] == "data set"].set_index(["candidate", "data"])
    order = dict.fromkeys(lines["learner"])
    return {name: with_verdict(means[name], found, (name, "")) for name in order}


if __name__ == "__main__":
    main()
