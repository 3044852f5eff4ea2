"""One factor at a time around a base: what results depend on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from scgroove.benchmark._results import Store
from scgroove.benchmark._runner import Progress, cells_of, run
from scgroove.benchmark._spec import AlignerSpec, DataSpec, LearnerSpec, Spec
from scgroove.errors import SpecError, UnknownNameError, did_you_mean

if TYPE_CHECKING:
    import pandas as pd


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

BASELINE: Final = "ps_logistic_scaled"


def sensitivity(
    out: str | Path,
    *,
    factors: str | Sequence[str] | Mapping[str, Sequence[float]] = tuple(FACTORS),
    learner: str | LearnerSpec = "groove",
    baselines: Sequence[str | LearnerSpec] = (BASELINE,),
    aligner: str | AlignerSpec = "eot",
    data: str | DataSpec = "reference",
    seeds: int | Sequence[int] = 5,
    n_jobs: int | None = None,
    shard: tuple[int, int] = (0, 1),
    retry_failed: bool = False,
    mix_versions: bool = False,
    progress: bool | Callable[[str, Progress], None] = True,
) -> pd.DataFrame:
    """Vary one factor at a time, everything else as it is, and score.

    Parameters
    ----------
    out
        Folder of the results; a stopped run goes on, as for :func:`scgroove.benchmark.run`.
    factors
        Names of :data:`FACTORS`, or a mapping from names to the levels to take.
    learner
        What is studied; factors of the learner are its options.
    baselines
        Learners beside it where the data are varied, and at the base.
    aligner
        Kept the same throughout.
    data
        A scenario, the base of the factors of the data.
    seeds
        How many, or which.
    n_jobs, shard, retry_failed, mix_versions, progress
        As for :func:`scgroove.benchmark.run`.

    Returns
    -------
    DataFrame
        Results, with ``factor`` and ``level`` beside every row: a row stands once for each factor whose line it is on.

    Raises
    ------
    SpecError, UnknownNameError
        If a factor is unknown, none is given, a level cannot be, or the data are a file.

    See Also
    --------
    scgroove.pl.benchmark_sensitivity

    References
    ----------
    User guide, "Benchmark".
    """
    base = Spec.from_dict(
        {
            "data": [{"scenario": data} if isinstance(data, str) else data],
            "learners": [learner, *baselines],
            "aligners": [aligner],
            "seeds": seeds if isinstance(seeds, int) else list(seeds),
            "title": "Sensitivity",
        }
    )
    if base.data[0].scenario is None:
        raise SpecError(
            f"data must be a scenario, of which a parameter can be varied; found the file {base.data[0].file}."
        )
    points = [
        Point(name, FACTORS[name], level)
        for name, levels in _levels(factors).items()
        for level in levels
    ]
    studied = {
        point: point.learner(base.learners[0]) for point in points if point.factor.of == "learner"
    }
    varied = {point: point.data(base.data[0]) for point in points if point.factor.of == "data"}
    grids = []
    if studied:
        grids.append(replace(base, learners=(*_different(studied.values()), *base.learners[1:])))
    if varied:
        grids.append(replace(base, data=_different(varied.values())))
    options: dict[str, Any] = {"retry_failed": retry_failed, "mix_versions": mix_versions}
    for grid in grids:
        run(grid, out, n_jobs=n_jobs, shard=shard, progress=progress, **options)
    store = Store(Path(out))
    store.list_cells(cells_of(*grids))
    return _on_lines(store.read(), base, studied, varied)


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


def _levels(
    factors: str | Sequence[str] | Mapping[str, Sequence[float]],
) -> dict[str, tuple[float, ...]]:
    factors = [factors] if isinstance(factors, str) else factors
    if not factors:
        raise SpecError(f"no factor is given. Available: {', '.join(FACTORS)}.")
    for name in factors:
        if name not in FACTORS:
            hint = did_you_mean(name, FACTORS)
            raise UnknownNameError(
                f"unknown factor {name!r}.{hint} Available: {', '.join(FACTORS)}."
            )
    if isinstance(factors, Mapping):
        return {name: tuple(levels) for name, levels in factors.items()}
    return {name: FACTORS[name].levels for name in factors}


def _different(entries: Iterable[Any]) -> tuple[Any, ...]:
    return tuple({entry.name: entry for entry in entries}.values())


def _on_lines(
    results: pd.DataFrame,
    base: Spec,
    studied: Mapping[Point, LearnerSpec],
    varied: Mapping[Point, DataSpec],
) -> pd.DataFrame:
    """Return the results with the factor and the level that they belong to."""
    import pandas as pd

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
