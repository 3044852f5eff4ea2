"""Tables of the page "What the paper claims, and what we find", from the results of a grid.

scgroove benchmark run reference --out results-reference --jobs 2
python benchmarks/claims.py results-reference --out docs/user_guide/claims
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd

from scgroove import benchmark

TITLES = {
    "groove": "GROOVE (linear encoders, the default)",
    "groove_mlp": "with MLP encoders",
    "groove_no_groupclip": "without GroupCLIP",
    "groove_no_backtranslation": "without back-translation",
    "groove_groupclip_only": "GroupCLIP alone",
    "groove_autoencoder": "autoencoder alone",
    "groove_outside": "positives outside the logarithm",
}
WITHIN, COUPLED = "foscttm_within_label", "barycentric_foscttm_within_label"


def main() -> None:
    """Write one Markdown table a claim."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    results = benchmark.read(args.folder)
    methods = results[~results["knows_truth"].astype(bool)]
    tables = {
        "ablations": ablations(results),
        "learners": learners(methods),
        "aligners": aligners(methods),
        "best": best(methods),
    }
    for name, table in tables.items():
        text = as_markdown(table)
        print(f"\n## {name}\n\n{text}")
        if args.out is not None:
            args.out.mkdir(parents=True, exist_ok=True)
            (args.out / f"{name}.md").write_text(text + "\n", encoding="utf-8")


def ablations(results: pd.DataFrame) -> pd.DataFrame:
    """Within-label FOSCTTM of GROOVE and its parts, and what each part is worth."""
    chosen = results[results["learner"].isin(TITLES)]
    means = benchmark.summarize(chosen, WITHIN).set_index(["learner", "data"])
    differences = benchmark.compare(chosen, WITHIN, "groove", quiet=True)
    differences = differences[differences["scope"] == "data set"].set_index(["candidate", "data"])
    rows = {}
    for name, title in TITLES.items():
        rows[title] = {
            data: with_verdict(means.loc[(name, data), "mean"], differences, (name, data))
            for data in dict.fromkeys(means.index.get_level_values("data"))
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("")


def learners(methods: pd.DataFrame) -> pd.DataFrame:
    """Every learner against GROOVE: mean, and what the paired difference allows to be said, widened for the number of learners."""
    means = benchmark.summarize(methods, WITHIN).set_index(["learner", "data"])
    differences = benchmark.compare(methods, WITHIN, "groove", quiet=True)
    differences = differences[differences["scope"] == "data set"].set_index(["candidate", "data"])
    data = list(dict.fromkeys(means.index.get_level_values("data")))
    order = means["mean"].groupby("learner").mean().sort_values().index
    rows = {
        f"`{name}`": {
            d: with_verdict(means.loc[(name, d), "mean"], differences, (name, d)) for d in data
        }
        for name in order
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("learner")


def with_verdict(mean: float, differences: pd.DataFrame, key: tuple[str, str]) -> str:
    """Write a mean, and a mark where the interval of the difference from GROOVE leaves out 0: filled where it does so widened."""
    if key not in differences.index:
        return f"{mean:.3f}"
    row = differences.loc[key]
    marks = {
        "better": "▲" if row["low_joint"] > 0 else "△",
        "worse": "▼" if row["high_joint"] < 0 else "▽",
    }
    return f"{mean:.3f} {marks.get(row['verdict'], '')}".strip()


def aligners(methods: pd.DataFrame) -> pd.DataFrame:
    """Barycentric FOSCTTM of each aligner, mean over the learners that all aligners can use."""
    done = methods[(methods["metric"] == COUPLED) & (methods["status"] == "done")]
    counts = done.groupby("learner")["aligner"].nunique()
    everywhere = counts.index[counts == counts.max()]
    table = benchmark.summarize(
        methods[methods["learner"].isin(everywhere)], COUPLED, by=["aligner", "data"]
    )
    wide = table.pivot_table(index="aligner", columns="data", values="mean")
    return wide.map(lambda v: f"{v:.3f}").rename_axis("aligner", axis=0).rename_axis(None, axis=1)


def best(methods: pd.DataFrame) -> pd.DataFrame:
    """The aligner with the best mean for each learner and data set, and how many cannot be told from it."""
    done = methods[(methods["metric"] == COUPLED) & (methods["status"] == "done")]
    rows: dict[str, dict[str, int]] = {}
    for _, own in done.groupby("learner"):
        found = benchmark.best(own, COUPLED, over="aligner")
        for data, here in found.groupby("data"):
            rows.setdefault(str(data), {})
            first = str(here.loc[here["best"], "method"].iloc[0])
            rows[str(data)][first] = rows[str(data)].get(first, 0) + 1
    table = pd.DataFrame.from_dict(rows, orient="index").fillna(0).astype(int)
    return table.rename_axis("data set")


def as_markdown(table: pd.DataFrame) -> str:
    """Return a table in Markdown."""
    head = [str(table.index.name or ""), *map(str, table.columns)]
    lines = [
        head,
        ["---"] * len(head),
        *([str(i), *map(str, row)] for i, row in zip(table.index, table.to_numpy(), strict=True)),
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    main()
