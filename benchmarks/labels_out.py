"""Effects of labels never measured in the target: every way of imputing beside baselines, on simulations and real screens.

    python benchmarks/labels_out.py FOLDER --out results-labels --tables docs/user_guide/labels_out_tables
    python benchmarks/labels_out.py FOLDER --out results-labels --screens pbmc_citeseq --seeds 1

FOLDER holds the .h5mu files of the real screens. What is done is kept in a file a screen, and a stopped run goes on after it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from mudata import MuData

from _common import quiet
from claims import as_markdown
from scgroove import benchmark, simulations
from scgroove.benchmark._data import load

N_SCREENS = 3
"""Simulated screens for each share of common effects."""

FILES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "pbmc_citeseq": (
        {"source": "rna", "target": "prot", "drop_labels": ["unknown"], "n_top_features": 2000},
        {"min_cells_per_label": 5, "n_folds": 6},
    ),
    "yeast_kinase_ko": (
        {"source": "protein", "target": "metab_tca"},
        {"min_cells_per_label": 2, "n_folds": 6},
    ),
    "thp1_crispr": ({"source": "rna", "target": "prot"}, {"control": "control", "n_folds": 6}),
}
TITLES = {"effect_pearson": "correlation", "relative_error": "error"}


def simulated(rho: float, seed: int) -> MuData:
    """Return the reference scenario."""
    return simulations.weakly_paired(rho=rho, seed=seed)


def main() -> None:
    """Run what is not done, and write tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, default=Path("results-labels"))
    names = [*(f"rho {rho:g}" for rho in (1.0, 0.5, 0.0)), *FILES]
    parser.add_argument("--screens", nargs="+", default=names, choices=names)
    parser.add_argument("--seeds", type=int, default=3, help="of the real screens")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--tables", type=Path, help="folder for Markdown tables")
    args = parser.parse_args()
    quiet()
    args.out.mkdir(parents=True, exist_ok=True)
    found = {name: screen(name, args) for name in args.screens}
    for metric in TITLES:
        table = by_screen(found, metric)
        print(f"\n## {metric}\n\n{as_markdown(table)}")
        if args.tables is not None:
            args.tables.mkdir(parents=True, exist_ok=True)
            (args.tables / f"{metric}.md").write_text(as_markdown(table) + "\n", encoding="utf-8")


def screen(name: str, args: argparse.Namespace) -> pd.DataFrame:
    """Return the rows of a screen, or of the simulated screens of one share."""
    if name.startswith("rho "):
        rho = float(name.removeprefix("rho "))
        parts = [
            done(
                args.out / f"{name.replace(' ', '')}_{seed}.csv",
                lambda s=seed: one(simulated(rho, s), "rna", "protein", args),
            )
            for seed in range(N_SCREENS)
        ]
        return pd.concat([part.assign(screen=i) for i, part in enumerate(parts)], ignore_index=True)
    data, options = FILES[name]

    def run() -> pd.DataFrame:
        spec = benchmark.DataSpec(file=str((args.folder / f"{name}.h5mu").resolve()), **data)
        return one(
            load(spec, 0).copy(with_truth=False),
            data["source"],
            data["target"],
            args,
            seeds=args.seeds,
            **options,
        )

    return done(args.out / f"{name}.csv", run)


def one(
    mdata: MuData, source: str, target: str, args: argparse.Namespace, **options: Any
) -> pd.DataFrame:
    """Return the rows of one MuData."""
    start = time.perf_counter()
    table = benchmark.leave_labels_out(mdata, source, target, n_jobs=args.jobs, **options)
    print(
        f"{source} -> {target}: {len(table)} rows, {time.perf_counter() - start:.0f} s", flush=True
    )
    return table


def done(file: Path, run: Callable[[], pd.DataFrame]) -> pd.DataFrame:
    """Return what a file holds, made first if it is not there."""
    if not file.exists():
        part = file.with_suffix(".part")
        run().to_csv(part, index=False)
        part.rename(file)
    return pd.read_csv(file, keep_default_na=True).fillna({"error": ""})


def by_screen(found: Mapping[str, pd.DataFrame], metric: str) -> pd.DataFrame:
    """Return one row a method and one column a screen: mean, half of its interval, and a mark of the verdict."""
    columns = {}
    for name, table in found.items():
        summary = benchmark.summarize_labels(table, metric).set_index("method")
        columns[f"{name} ({summary['n_labels'].iloc[0]} labels)"] = summary.apply(written, axis=1)
    made = pd.DataFrame(columns)
    order = [one for one in dict.fromkeys(table["method"]) if one in made.index]
    made = made.loc[order]
    if metric == "effect_pearson":
        made.loc["reliability"] = [reliability(table) for table in found.values()]
    made.index = [f"`{one}`" if one != "reliability" else "measured again" for one in made.index]
    return made.rename_axis("method")


def written(row: pd.Series) -> str:
    """Write a mean, half of its interval, and whether it differs from the best baseline."""
    mark = {"better": " ▲", "worse": " ▼", "reference": " (reference)"}.get(row["verdict"], "")
    return f"{row['mean']:.2f} ± {(row['high'] - row['low']) / 2:.2f}{mark}"


def reliability(table: pd.DataFrame) -> str:
    """Write the correlation of measured effects with themselves, if measured again."""
    unit = [name for name in ("screen", "label") if name in table]
    return f"{table.drop_duplicates(unit)['reliability'].mean():.2f}"


if __name__ == "__main__":
    main()
