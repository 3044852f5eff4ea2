"""Labels told for new cells, whether their confidence is true, and training on with a new screen.

    python benchmarks/query.py --tables docs/user_guide/query_tables

Confidence: a simulated screen of 20 labels with effect size 1 is cut in two; a model is trained on one half, and labels are told for
the other. Share of right labels, and expected calibration error of the votes, of probabilities calibrated on all labeled cells, and of
those calibrated on cells held out of training. Training on: 16 labels in one batch, then 12 labels in another batch, 4 of them new;
balanced accuracy of telling labels across modalities, of cells that no training saw.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mudata import MuData

import scgroove as sg
from _common import quiet
from claims import as_markdown

PAIRS = (("rna", "protein"), ("protein", "rna"), ("rna", "rna"))
TRAIN = {"accelerator": "cpu", "enable_progress_bar": False, "logger": None}
LABELS = [f"g{code:02d}" for code in range(20)]


def main() -> None:
    """Run both and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--tables", type=Path, help="folder for Markdown tables")
    args = parser.parse_args()
    quiet()
    for name, rows_of, by in (
        ("confidence", confidence, ["encoder", "source → target"]),
        ("training_on", training_on, ["model"]),
    ):
        table = pd.DataFrame([row for seed in range(args.seeds) for row in rows_of(seed)])
        means = (
            table.groupby(by, sort=False)
            .mean()
            .map(lambda value: f"{value:.2f}".replace("nan", ""))
        )
        made = as_markdown(means.reset_index().set_index(by[0]))
        print(f"\n## {name}\n\n{made}")
        if args.tables is not None:
            args.tables.mkdir(parents=True, exist_ok=True)
            (args.tables / f"{name}.md").write_text(made + "\n", encoding="utf-8")


def confidence(seed: int) -> Iterator[dict[str, Any]]:
    """Yield accuracy and calibration errors of one simulated screen, for each encoder and pair of modalities."""
    whole = sg.simulations.weakly_paired(20, 120, effect=1.0, co_assayed=False, seed=seed)
    screen, query = halves(whole, LABELS)
    truth = {m: adata.obs.pop("label").astype(str) for m, adata in query.mod.items()}
    sg.model.GROOVE.setup_mudata(screen, "label")
    for encoder in ("linear", "mlp"):
        model = sg.model.GROOVE(screen, encoder=encoder, seed=seed)
        model.train(40, seed=seed, **TRAIN)
        for mdata in (screen, query):
            sg.tl.embed(mdata, model)
        for source, target in PAIRS:
            alone = MuData({target: screen[target].copy()})
            ways: dict[str, dict[str, Any]] = {
                "votes": {"reference": alone, "calibrate_on": "query"},  # which has no labels
                "on all cells": {"reference": screen},
                "on held-out cells": {"reference": screen, "model": model},
            }
            row = {"encoder": encoder, "source → target": f"{source} → {target}"}
            for way, options in ways.items():
                sg.tl.transfer_labels(query, source, target, **options)
                obs = query[source].obs
                right = obs["transferred_label"].astype(str) == truth[source]
                row["right"] = right.mean()
                row[way] = sg.metrics.expected_calibration_error(
                    obs["transferred_label_confidence"], right
                )
            yield row


def training_on(seed: int) -> Iterator[dict[str, Any]]:
    """Yield how well labels are told across modalities before and after training on, in one simulated case."""
    whole = sg.simulations.weakly_paired(
        20, 160, effect=1.5, co_assayed=False, n_batches=2, batch_effect=0.5, seed=seed
    )
    old, old_test = halves(whole, LABELS[:16], "b0")
    new, new_test = halves(whole, LABELS[8:], "b1")

    def row(name: str, model: sg.model.GROOVE, *, knows_old: bool = True) -> dict[str, Any]:
        return {
            "model": name,
            "cells of the old screen": told(model, old_test) if knows_old else np.nan,
            "cells of the new screen": told(model, new_test),
        }

    sg.model.GROOVE.setup_mudata(old, "label", batch_key="batch")
    model = sg.model.GROOVE(old, seed=seed)
    model.train(40, seed=seed, **TRAIN)
    yield row("the old model", model)
    for freeze, epochs in (("encoders", 20), ("nothing", 20), ("nothing", 40)):
        query = sg.model.GROOVE.load_query_data(new.copy(), model, freeze=freeze)
        query.train(epochs, seed=seed, **TRAIN)
        yield row(f'`freeze="{freeze}"`, {epochs} epochs', query)
    sg.model.GROOVE.setup_mudata(new, "label")
    alone = sg.model.GROOVE(new, seed=seed)
    alone.train(40, seed=seed, **TRAIN)
    yield row("a model of the new screen alone", alone, knows_old=False)


def halves(whole: MuData, labels: Sequence[str], batch: str | None = None) -> tuple[MuData, MuData]:
    """Return two halves of the cells of some labels and of a batch."""
    parts: tuple[dict[str, Any], dict[str, Any]] = ({}, {})
    for m, adata in whole.mod.items():
        chosen = adata.obs["label"].isin(labels).to_numpy()
        if batch is not None:
            chosen &= (adata.obs["batch"] == batch).to_numpy()
        rows = np.random.default_rng(0).permutation(np.flatnonzero(chosen))
        for part, half in zip(parts, (rows[::2], rows[1::2]), strict=True):
            part[m] = adata[np.sort(half)].copy()
    return MuData(parts[0]), MuData(parts[1])


def told(model: sg.model.GROOVE, mdata: MuData) -> float:
    """Return the balanced accuracy, mean of both directions."""
    return float(model.get_cross_modal_label_accuracy(mdata)["balanced_accuracy"].mean())


if __name__ == "__main__":
    main()
