"""What results depend on: one setting at a time, of GROOVE or of the data, beside two linear baselines; then many at once.

    python benchmarks/sensitivity.py --out results-sensitivity      # all of it, 5 seeds
    python benchmarks/sensitivity.py --factors temperature label_noise --seeds 2 --draws 0

1. Every factor of ``_sensitivity.FACTORS`` at each level, everything else as it is.
2. Random joint draws of options and of properties of the screen (``--draws``).
3. Whether the label constraint of an aligner stands wrong labels and cells that escaped, on the reference scenario (with all of 1.).

A stopped run goes on where it stopped. ``--figures FOLDER`` writes the pictures of the documentation, ``--tables FOLDER`` its tables.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from _common import learner_spec, quiet
from _sensitivity import FACTORS, draw_lines, sensitivity
from claims import as_markdown, with_verdict
from scgroove import benchmark

METRIC = "foscttm_within_label"
BASELINES = ("ps_logistic_scaled", "cca_labels")
STUDIED = "groove"
ALIGNER = (
    "uniform"  # representations are scored: couplings of 10,000 cells would take most of the time
)
JOINT = {
    "learner": {
        "temperature": (0.05, 0.1, 0.2, 0.3, 0.5),
        "groupclip_weight": (0.3, 1.0, 3.0, 10.0),
        "backtranslation_weight": (0.0, 1.0),
        "n_latent": (8, 16, 32),
        "batch_size": (64, 256, 1024),
        "encoder": ("linear", "mlp"),
        "dropout": (0.0, 0.2, 0.4, 0.6),
        "positives": ("inside", "outside"),
    },
    "data": {
        "n_labels": (10, 20, 50),
        "n_cells_per_label": (20, 60),
        "effect": (0.7, 1.0, 1.5, 2.0),
        "rho": (0.25, 0.5, 0.75, 1.0),
        "noise": (0.5, 1.0),
        "imbalance": (0.0, 1.0),
        "label_noise": (0.0, 0.2),
        "escape": (0.0, 0.2, 0.5),
        "inert": (0.0, 0.4),
        "unlabeled_fraction": (0.0, 0.5),
    },
}
"""What a joint draw draws of."""
NOISES = (
    {},
    {"label_noise": 0.2},
    {"label_noise": 0.4},
    {"confusion": 0.2},
    {"escape": 0.2},
    {"escape": 0.5},
)
"""Screens on which aligners are compared with and without the labels."""


def main() -> None:
    """Run, write the table of means with intervals, and draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("results-sensitivity"))
    parser.add_argument(
        "--figures", type=Path, help="folder for pictures of settings, screens and draws"
    )
    parser.add_argument("--tables", type=Path, help="folder for Markdown tables")
    parser.add_argument("--factors", nargs="+", default=list(FACTORS), choices=list(FACTORS))
    parser.add_argument("--data", default="half_shared", help="scenario at the base")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument(
        "--draws", type=int, default=30, help="random joint draws, of two seeds each"
    )
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument(
        "--device", default="cpu", help="where GROOVE is trained: cpu, cuda, mps or auto"
    )
    args = parser.parse_args()
    quiet()
    results = sensitivity(
        args.out,
        factors=args.factors,
        learner=learner_spec(STUDIED, args.device),
        baselines=BASELINES,
        aligner=ALIGNER,
        data=args.data,
        seeds=args.seeds,
        n_jobs=args.jobs,
    )
    shown = results[(results["metric"] == METRIC) & (results["aligner"] == "")]
    table = (
        shown.groupby(["metric", "factor", "level", "learner"])["value"]
        .agg(["mean", "std", "count"])
        .reset_index()
    )
    table.to_csv(args.out / "sensitivity.csv", index=False, float_format="%.4f")
    print(table.round(3).to_string())
    tables = {"settings": settings(results), "screens": screens(results)}
    tables = {
        name: made for name, made in tables.items() if len(made)
    }  # of the factors that were asked for
    if set(args.factors) == set(FACTORS):
        tables["aligners"] = aligners_under_noise(args.out / "aligners", args)
    drawn = joint(args.out / "joint", args) if args.draws else None
    if drawn is not None:
        drawn.to_csv(args.out / "joint.csv", index=False, float_format="%.4f")
        tables["joint"] = over_draws(drawn)
    for name, made in tables.items():
        print(f"\n{name}\n{as_markdown(made)}")
        if args.tables:
            args.tables.mkdir(parents=True, exist_ok=True)
            (args.tables / f"{name}.md").write_text(as_markdown(made) + "\n", encoding="utf-8")
    if args.figures:
        args.figures.mkdir(parents=True, exist_ok=True)
        for of, name in (("learner", "settings"), ("data", "screens")):
            lines = results[[FACTORS[factor].of == of for factor in results["factor"]]]
            if len(lines):
                to = args.figures / f"sensitivity_{name}.png"
                draw_lines(lines, METRIC, to)
        if drawn is not None:
            draw_joint(drawn, args.figures / "sensitivity_joint.png")


def joint(out: Path, args: argparse.Namespace) -> pd.DataFrame:
    """Score GROOVE at its defaults, with drawn options, and the baselines on screens of drawn properties.

    Returns a row for each draw and learner: what was drawn, and the mean score over seeds.
    """
    rng = np.random.default_rng(0)
    rows = []
    for i in range(args.draws):
        options, properties = (
            {name: choices[rng.integers(len(choices))] for name, choices in JOINT[of].items()}
            for of in ("learner", "data")
        )
        studied = learner_spec(STUDIED, args.device)
        spec = {
            "title": f"draw {i}",
            "data": [{"scenario": "reference", "name": f"draw {i}", "parameters": properties}],
            "learners": [
                studied,
                benchmark.LearnerSpec(
                    STUDIED, "groove, drawn options", {**studied.options, **options}
                ),
                *BASELINES,
            ],
            "aligners": [ALIGNER],
            "seeds": min(2, args.seeds),
        }
        results = benchmark.run(spec, out / f"{i:02d}", n_jobs=args.jobs, progress=False)
        shown = results[results["metric"] == METRIC]
        for learner, value in shown.groupby("learner", sort=False)["value"].mean().items():
            rows.append({"draw": i, "learner": learner, METRIC: value, **properties, **options})
    return pd.DataFrame(rows)


def over_draws(drawn: pd.DataFrame) -> pd.DataFrame:
    """A row for each learner: median and range over draws, and in how many GROOVE at its defaults is better."""
    wide = drawn.pivot_table(index="draw", columns="learner", values=METRIC)
    rows = {}
    for name in dict.fromkeys(drawn["learner"]):
        x, d = wide[name], wide[name] - wide[STUDIED]
        rows[f"`{name}`"] = {
            "median": f"{x.median():.3f}",
            "least to largest": f"{x.min():.3f} to {x.max():.3f}",
            "defaults better in": "" if name == STUDIED else f"{int((d > 0).sum())} of {len(d)}",
            "difference, median": "" if name == STUDIED else f"{d.median():+.3f}",
            "difference, least to largest": ""
            if name == STUDIED
            else f"{d.min():+.3f} to {d.max():+.3f}",
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("learner")


def draw_joint(drawn: pd.DataFrame, to: Path) -> None:
    """Each draw as a point: others against GROOVE at its defaults."""
    wide = drawn.pivot_table(index="draw", columns="learner", values=METRIC)
    others = [name for name in dict.fromkeys(drawn["learner"]) if name != STUDIED]
    fig, axes = plt.subplots(
        1, len(others), figsize=(3.1 * len(others), 3.1), sharex=True, sharey=True
    )
    for ax, name in zip(np.atleast_1d(axes), others, strict=True):
        ax.plot([0, 0.55], [0, 0.55], color="#7A838D", linewidth=0.8, linestyle=":")
        ax.scatter(wide[name], wide[STUDIED], s=16, color="#2A6F97")
        ax.set(xlabel=name, xlim=(0, 0.55), ylim=(0, 0.55), aspect="equal")
        ax.spines[["top", "right"]].set_visible(False)
    np.atleast_1d(axes)[0].set_ylabel("groove, FOSCTTM inside labels\n(lower is better)")
    fig.tight_layout()
    fig.savefig(to, dpi=150)
    plt.close(fig)


def aligners_under_noise(out: Path, args: argparse.Namespace) -> pd.DataFrame:
    """A row for each screen: how well cells are found inside their true label, with the labels as a constraint and without."""
    data = [
        {
            "scenario": "reference",
            "name": ", ".join(f"{k} {v}" for k, v in one.items()) or "as it is",
            "parameters": one,
        }
        for one in NOISES
    ]
    spec: dict[str, Any] = {
        "title": "Aligners under noise",
        "data": data,
        "learners": [learner_spec(STUDIED, args.device)],
        "aligners": ["eot", "eot unlabeled"],
        "seeds": args.seeds,
    }
    results = benchmark.run(spec, out, n_jobs=args.jobs, progress=False)
    columns = {}
    means = benchmark.summarize(results, "barycentric_foscttm_within_label", by=("data", "aligner"))
    for aligner in spec["aligners"]:
        own = means[means["aligner"] == aligner].set_index("data")
        half = (own["high"] - own["low"]) / 2
        texts = [f"{m:.3f} ± {h:.3f}" for m, h in zip(own["mean"], half, strict=True)]
        columns[f"FOSCTTM inside labels, {aligner}"] = texts
        index = own.index
    return pd.DataFrame(columns, index=index).rename_axis("screen")


def settings(results: pd.DataFrame) -> pd.DataFrame:
    """A row for each option of GROOVE: the mean score at each level, marked where it differs from the default."""
    levels = {}
    for name, lines in results[results["learner"] == STUDIED].groupby("factor", sort=False):
        factor = FACTORS[str(name)]
        if factor.of == "learner":
            levels[factor] = lines.assign(learner=[factor.text(level) for level in lines["level"]])
    defaults = {factor: _default(factor.option) for factor in levels}
    there = [own[own["learner"] == defaults[factor]] for factor, own in levels.items()]
    base = next((lines for lines in there if len(lines)), None)
    rows = {}
    for factor, own in levels.items():
        default = defaults[factor]
        if default not in set(own["learner"]):
            if base is None:
                raise SystemExit(
                    f"{default}, the default of {factor.option}, is not among its levels: name another setting too"
                )
            own = pd.concat([own, base.assign(learner=default, level=float(default))])
            own = own.sort_values("level", kind="stable")
        cells = [
            f"**{level}: {text}**" if level == default else f"{level}: {text}"
            for level, text in _against(own, default).items()
        ]
        rows[f"{factor.meaning} (`{factor.option}`)"] = {"FOSCTTM inside labels": " · ".join(cells)}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("setting")


def _default(option: str) -> str:
    """The default of GROOVE, or what it comes to on screens of 20 labels: all labels, and as many cells as fill a batch."""
    by_itself = {"n_labels_per_batch": "20", "n_cells_per_label": "13"}
    value = benchmark.LearnerSpec(STUDIED).build().__dict__[option]
    return by_itself.get(option) or (value if isinstance(value, str) else f"{value:g}")


def screens(results: pd.DataFrame) -> pd.DataFrame:
    """A row for each property of the data and its level: the mean score of each learner, marked where it differs from GROOVE."""
    rows = {}
    for (name, level), lines in results.groupby(["factor", "level"], sort=False):
        factor = FACTORS[str(name)]
        if factor.of == "data":
            rows[f"{factor.meaning}: {factor.text(level)}"] = {
                f"`{k}`": v for k, v in _against(lines, STUDIED).items()
            }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("screen")


def _against(lines: pd.DataFrame, reference: str) -> dict[str, str]:
    """Means by learner, each with what its paired difference from the reference says."""
    lines = lines.assign(data="")
    means = benchmark.summarize(lines, METRIC, by=("learner",)).set_index("learner")["mean"]
    found = benchmark.compare(lines, METRIC, reference, quiet=True)
    found = found[found["scope"] == "data set"].set_index(["candidate", "data"])
    order = dict.fromkeys(lines["learner"])
    return {name: with_verdict(means[name], found, (name, "")) for name in order}


if __name__ == "__main__":
    main()
