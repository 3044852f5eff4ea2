"""One factor at a time around a base, and a picture of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from scgroove.benchmark import DataSpec, LearnerSpec, Spec, run, summarize


@dataclass(frozen=True)
class Factor:
    """What is varied.

    Attributes
    ----------
    of
        ``"learner"``: an option of the learner under study; ``"data"``: a parameter of the simulation, for all learners.
    option
        Name of the option or parameter.
    levels
        Values, in order.
    meaning
        One line, for figures.
    names
        Where the option is no number: what the levels 0, 1, ... stand for.
    """

    of: str
    option: str
    levels: tuple[float, ...]
    meaning: str
    names: tuple[str, ...] = ()

    def value(self, level: float) -> float | str:
        """Return a level as the option takes it: numbers of things are whole."""
        if self.names:
            return self.names[int(level)]
        return int(level) if self.option.startswith("n_") or self.option in _WHOLE else float(level)

    def text(self, level: float) -> str:
        """Return a level as it is written."""
        value = self.value(level)
        return value if isinstance(value, str) else f"{value:g}"


_WHOLE: Final = ("batch_size", "exclusive_labels")


FACTORS: Final[Mapping[str, Factor]] = {
    "temperature": Factor("learner", "temperature", (0.05, 0.1, 0.2, 0.3, 0.5, 1.0), "temperature of GroupCLIP"),
    "reconstruction_weight": Factor("learner", "reconstruction_weight", (0.0, 0.1, 0.3, 1.0, 3.0, 10.0), "weight of reconstruction"),
    "groupclip_weight": Factor("learner", "groupclip_weight", (0.0, 0.1, 0.3, 1.0, 3.0, 10.0), "weight of GroupCLIP"),
    "backtranslation_weight": Factor("learner", "backtranslation_weight", (0.0, 0.1, 0.3, 1.0, 3.0, 10.0), "weight of back-translation"),
    "encoder": Factor("learner", "encoder", (0, 1), "encoder", ("linear", "mlp")),
    "dropout": Factor("learner", "dropout", (0.0, 0.2, 0.4, 0.6, 0.8), "dropout of the encoder"),
    "positives": Factor("learner", "positives", (0, 1), "sum over positives, to the logarithm", ("inside", "outside")),
    "batch_size": Factor("learner", "batch_size", (64, 128, 256, 512, 1024), "cells in a batch"),
    "n_latent": Factor("learner", "n_latent", (4, 8, 16, 32, 64), "dimensions of the latent space"),
    "n_labels_per_batch": Factor("learner", "n_labels_per_batch", (2, 5, 10, 20), "labels in a batch"),
    "n_cells_per_label_in_batch": Factor("learner", "n_cells_per_label", (2, 4, 8, 16, 32), "cells of a label in a batch"),
    "n_labels": Factor("data", "n_labels", (5, 10, 20, 50, 100, 200, 500), "labels"),
    "n_cells_per_label": Factor("data", "n_cells_per_label", (5, 10, 20, 60, 200, 500), "cells of a label"),
    "imbalance": Factor("data", "imbalance", (0.0, 0.5, 1.0, 1.5, 2.0), "Zipf exponent of label sizes"),
    "label_noise": Factor("data", "label_noise", (0.0, 0.1, 0.2, 0.4), "share of wrong labels"),
    "confusion": Factor("data", "confusion", (0.0, 0.1, 0.2, 0.4), "share of labels taken for the most similar one"),
    "escape": Factor("data", "escape", (0.0, 0.2, 0.5), "share of cells without the effect"),
    "inert": Factor("data", "inert", (0.0, 0.2, 0.4), "share of labels without an effect"),
    "unlabeled_fraction": Factor("data", "unlabeled_fraction", (0.0, 0.5, 0.9), "share of cells without a label"),
    "exclusive_labels": Factor("data", "exclusive_labels", (0, 2, 5, 8), "labels of one modality only, in each"),
    "effect": Factor("data", "effect", (0.25, 0.4, 0.7, 1.5, 2.0), "effect of a label"),
    "rho": Factor("data", "rho", (0.0, 0.25, 0.5, 0.75, 1.0), "share of the effect that modalities share"),
    "noise": Factor("data", "noise", (0.25, 0.5, 1.0, 2.0), "noise of a measurement"),
}  # fmt: skip
"""Factors by name."""


def sensitivity(
    out: Path,
    *,
    factors: Sequence[str],
    learner: str | LearnerSpec,
    baselines: Sequence[str],
    aligner: str,
    data: str,
    seeds: int,
    n_jobs: int | None = None,
) -> pd.DataFrame:
    """Vary one factor at a time, everything else as it is, and score.

    Returns results with ``factor`` and ``level`` beside every row: a row stands once for each
    factor whose line it is on.
    """
    base = Spec.from_dict(
        {
            "data": [{"scenario": data}],
            "learners": [learner, *baselines],
            "aligners": [aligner],
            "seeds": seeds,
            "title": "Sensitivity",
        }
    )
    points = [
        Point(name, FACTORS[name], level) for name in factors for level in FACTORS[name].levels
    ]
    studied = {
        point: point.learner(base.learners[0]) for point in points if point.factor.of == "learner"
    }
    varied = {point: point.data(base.data[0]) for point in points if point.factor.of == "data"}
    grids = {}
    if studied:
        others = (*_different(studied.values()), *base.learners[1:])
        grids["settings"] = replace(base, learners=others)
    if varied:
        grids["screens"] = replace(base, data=_different(varied.values()))
    parts = [run(grid, out / name, n_jobs=n_jobs, progress=False) for name, grid in grids.items()]
    return _on_lines(pd.concat(parts, ignore_index=True), base, studied, varied)


@dataclass(frozen=True)
class Point:
    """A factor at a level."""

    name: str
    factor: Factor
    level: float

    def learner(self, base: LearnerSpec) -> LearnerSpec:
        """Return the learner under study with the option at the level."""
        changed = {**base.options, self.factor.option: self.factor.value(self.level)}
        return LearnerSpec(base.learner, self._name(base.name), changed)

    def data(self, base: DataSpec) -> DataSpec:
        """Return the scenario with the parameter at the level."""
        changed = {**base.parameters, self.factor.option: self.factor.value(self.level)}
        return replace(base, name=self._name(base.name), parameters=changed)

    def _name(self, base: str) -> str:
        return f"{base}, {self.factor.option} {self.factor.text(self.level)}"


def _different(entries: Iterable[Any]) -> tuple[Any, ...]:
    return tuple({entry.name: entry for entry in entries}.values())


def _on_lines(
    results: pd.DataFrame,
    base: Spec,
    studied: Mapping[Point, LearnerSpec],
    varied: Mapping[Point, DataSpec],
) -> pd.DataFrame:
    """Return the results with the factor and the level that they belong to."""
    others = {one.name for one in base.learners[1:]}
    parts = []
    for point, who in studied.items():
        rows = (results["data"] == base.data[0].name) & results["learner"].isin({who.name, *others})
        parts.append(
            results[rows]
            .replace({"learner": {who.name: base.learners[0].name}})
            .assign(factor=point.name, level=float(point.level))
        )
    for point, one in varied.items():
        rows = (results["data"] == one.name) & results["learner"].isin(
            {base.learners[0].name, *others}
        )
        parts.append(results[rows].assign(factor=point.name, level=float(point.level)))
    return pd.concat(parts, ignore_index=True)


def draw_lines(results: pd.DataFrame, metric: str, to: Path, ncols: int = 4) -> None:
    """Draw a metric against the levels of each factor: a panel a factor, a line a learner."""
    names = list(dict.fromkeys(results["factor"]))
    nrows = -(-len(names) // ncols)
    fig, axes = plt.subplots(
        nrows, ncols, figsize=(3.1 * ncols, 2.5 * nrows), squeeze=False, sharey=True
    )
    for ax, name in zip(axes.ravel(), names, strict=False):
        factor, lines = FACTORS[name], results[results["factor"] == name]
        parts = []
        for level, part in lines.groupby("level"):
            parts.append(summarize(part, metric, by=("learner",)).assign(at=level))
        table = pd.concat(parts)
        for learner, rows in table.groupby("learner", sort=False):
            ax.fill_between(rows["at"], rows["low"], rows["high"], alpha=0.15, linewidth=0)
            ax.plot(rows["at"], rows["mean"], marker="o", markersize=3.5, label=learner)
        ax.plot(rows["at"], rows["chance"], color="#7A838D", linestyle=":", zorder=0)
        levels = np.sort(table["at"].unique())
        positive = levels[levels > 0]
        if not factor.names and len(positive) > 2 and positive.max() / positive.min() >= 8:
            ax.set_xscale("symlog", linthresh=float(positive.min()), linscale=0.5)
        ax.set_xticks(levels, [factor.text(level) for level in levels])
        ax.minorticks_off()
        ax.set_xlabel(name.replace("_", " "))
    for spare in axes.ravel()[len(names) :]:
        spare.remove()
    axes[0, 0].set_ylabel(metric.replace("_", " "))
    axes[0, 0].legend(fontsize=7, frameon=False)
    fig.tight_layout()
    fig.savefig(to, dpi=110)
    plt.close(fig)
