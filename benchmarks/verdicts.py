"""What the report says of a screen beside what is true, and how often it says so of permuted labels.

    python benchmarks/verdicts.py FOLDER --out benchmarks/results/verdicts.csv --tables docs/user_guide/verdict_tables
    python benchmarks/verdicts.py FOLDER --screens "no effect" --permutations 10 --no-groove

FOLDER holds the .h5mu files of the real screens. The learner in closed form is tested on every permutation, GROOVE
on the labels as they are and, with few epochs, on ``--groove-permutations`` of them.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mudata import MuData, read_h5mu

from _common import quiet
from claims import as_markdown
from scgroove import _null, _workflow, simulations
from scgroove._report import Results, Settings
from scgroove._report._reading import in_words, read_link
from scgroove.metrics import label_verdict
from scgroove.metrics.permutation_tests import ALPHA

MOST = 2000
FEW_EPOCHS = 10


class Silent:
    """Progress that nobody looks at."""

    def step(self, name: str, title: str) -> None:
        """Start a step."""

    def advance(self, done: int, total: int, note: str) -> None:
        """Go on within the step."""


def simulated(**knobs: Any) -> Callable[[Path], MuData]:
    """Return what simulates a screen of 12 labels with 40 cells in each modality."""
    return lambda _: simulations.weakly_paired(12, 40, co_assayed=False, seed=0, **knobs)


def real(name: str, source: str, target: str) -> Callable[[Path], MuData]:
    """Return what reads a screen, with at most 2,000 cells of each modality."""

    def read(folder: Path) -> MuData:
        mdata = read_h5mu(folder / f"{name}.h5mu")
        rng = np.random.default_rng(0)
        parts = {}
        for m in (source, target):
            n = mdata.mod[m].n_obs
            parts[m] = mdata.mod[m][np.sort(rng.permutation(n)[:MOST])].copy()
        return MuData(parts)

    return read


SCREENS: dict[str, tuple[Callable[[Path], MuData], str, str, str]] = {
    "strong effects": (simulated(), "rna", "protein", "simulated: labels shift both modalities"),
    "weak effects": (
        simulated(effect=0.7),
        "rna",
        "protein",
        "simulated: labels shift both, by 0.7 SD",
    ),
    "effects in one": (
        simulated(escape={"protein": 1.0}),
        "rna",
        "protein",
        "simulated: labels shift rna only, no link",
    ),
    "no effect": (
        simulated(effect=0.0),
        "rna",
        "protein",
        "simulated: labels shift nothing, no link",
    ),
    "scGEM": (
        real("scgem_reprogramming", "rna", "meth"),
        "rna",
        "meth",
        "same cells: types told from rna .93, meth .70 (majority .23)",
    ),
    "LINCS drugs": (
        real("mcf10a_lincs_drugs", "gcp", "p100"),
        "gcp",
        "p100",
        "drugs told from gcp .67, p100 .71 (majority .12)",
    ),
    "THP-1 CRISPR": (
        real("thp1_crispr", "rna", "prot"),
        "rna",
        "prot",
        "guides told from rna .28, four proteins .18 (1 in 7)",
    ),
}


def main() -> None:
    """Write one row a screen, and the tables of the documentation."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--tables", type=Path, help="folder for Markdown tables")
    parser.add_argument("--screens", nargs="+", default=list(SCREENS), choices=list(SCREENS))
    parser.add_argument("--permutations", type=int, default=100)
    parser.add_argument("--groove-permutations", type=int, default=2)
    parser.add_argument("--no-groove", action="store_true")
    args = parser.parse_args()
    quiet()
    rows = []
    for name in args.screens:
        rows.append({"screen": name, **run(name, args)})
        print(pd.Series(rows[-1]).to_string(), "\n", flush=True)
        if args.out is not None:
            pd.DataFrame(rows).to_csv(args.out, index=False)
    if args.tables is not None:
        args.tables.mkdir(parents=True, exist_ok=True)
        for table, text in tables(pd.DataFrame(rows)).items():
            (args.tables / f"{table}.md").write_text(text + "\n", encoding="utf-8")


def run(name: str, args: argparse.Namespace) -> dict[str, Any]:
    """Return what the report says of one screen, and what it says of permuted labels."""
    read, source, target, truth = SCREENS[name]
    settings = Settings(
        source=source, target=target, modalities=(source, target), min_cells_per_label=1
    )
    results = Results(read(args.folder), settings, name)
    found: dict[str, Any] = {"truth": truth}
    if not args.no_groove:
        for step in _workflow.UNDRAWN:
            step(results, Silent())
        _null.against_closed_form(results)
        found |= of_link(results)
        found |= groove_permuted(results, args.groove_permutations)
    return found | closed_form_permuted(results, args.permutations)


def of_link(results: Results) -> dict[str, Any]:
    """Return the verdict of the report, and the numbers it rests on."""
    sides = (results.settings.source, results.settings.target)
    note = read_link(results.tests, results.labels, *sides)
    found: dict[str, Any] = {"level": note.level, "text": note.text}
    for learner, tests in results.tests.items():
        found[f"{learner}_verdict"] = label_verdict(list(tests.values()))
        for direction, one in zip(("forward", "backward"), tests.values(), strict=True):
            for field in ("accuracy", "low", "high", "chance", "p_value", "n_cells"):
                found[f"{learner}_{direction}_{field}"] = getattr(one, field)
    return found


def groove_permuted(results: Results, n: int) -> dict[str, Any]:
    """Return the p values of GROOVE, trained for a few epochs on permuted labels."""
    p_values = []
    for i in range(n):
        again = _null.permuted(results, np.random.default_rng([7, i]))
        again.settings = replace(again.settings, epochs=FEW_EPOCHS)
        for step in _workflow.UNDRAWN[:3]:
            step(again, Silent())
        p_values += [one.p_value for one in again.tests["groove"].values()]
    return {"groove_permuted_p": " ".join(f"{p:.3f}" for p in p_values)}


def closed_form_permuted(results: Results, n: int) -> dict[str, Any]:
    """Return how often labels permuted in both modalities, or in the target only, pass the tests."""
    prepared = _null.closed_form(results, measured=False)
    assert prepared is not None  # all of these screens share labels
    found = {}
    for which, sides in (("both", prepared.sides), ("target", prepared.sides[1:])):
        rng = np.random.default_rng(len(sides))
        better, passed = 0, []
        for i in range(n):
            tests, _ = prepared.permuted(rng, sides).analyze(i)
            better += label_verdict(list(tests.values())) == "better than chance"
            passed.append([one.p_value <= ALPHA for one in tests.values()])
        forward, backward = np.mean(passed, axis=0)
        found |= {
            f"{which}_better": better / n,
            f"{which}_forward": forward,
            f"{which}_backward": backward,
        }
    return found


def tables(rows: pd.DataFrame) -> dict[str, str]:
    """Return the tables of the page on evaluation as Markdown."""
    named = rows.set_index("screen")
    found = {"permuted": as_markdown(permuted_table(named))}
    if "groove_verdict" in named:
        found["verdicts"] = as_markdown(verdict_table(named))
    return found


def verdict_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Verdicts beside the truth."""
    table = rows[["truth"]].rename(columns={"truth": "what is known"})
    for learner, title in (("groove", "GROOVE"), ("cca_labels", "closed form")):
        shown = [direction_text(rows, learner, way) for way in ("forward", "backward")]
        table[f"{title}: right, 95 % interval (chance)"] = shown[0] + "; " + shown[1]
        worse = rows[[f"{learner}_forward_p_value", f"{learner}_backward_p_value"]].max(axis=1)
        verdict = rows[f"{learner}_verdict"]
        table[f"{title}: verdict"] = verdict.where(
            verdict == "cannot tell", verdict + ", " + worse.map(in_words)
        )
    return table


def direction_text(rows: pd.DataFrame, learner: str, way: str) -> pd.Series:
    """Accuracy, interval and chance of a direction as text."""
    own = {
        field: rows[f"{learner}_{way}_{field}"].map("{:.0%}".format)
        for field in ("accuracy", "low", "high", "chance")
    }
    return own["accuracy"] + ", " + own["low"] + " to " + own["high"] + " (" + own["chance"] + ")"


def permuted_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Share of permutations that pass."""
    titles = {
        "both_better": "both permuted: better than chance",
        "both_forward": "source → target passes",
        "both_backward": "target → source passes",
        "target_better": "target permuted: better than chance",
        "target_forward": "source → target passes ",
        "target_backward": "target → source passes ",
    }
    return rows[list(titles)].rename(columns=titles).map("{:.0%}".format)


if __name__ == "__main__":
    main()
