"""The definitions of two peers as scores by name, each beside its chance; only where they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, TypeAlias

import numpy as np

from scgroove._labels import as_objects
from scgroove._types import IntArray, Plan
from scgroove.errors import MissingTruthError
from scgroove.metrics._candidates import Candidates, PlanLike, blocks
from scgroove.metrics._chance import Chance, chance, random_partners
from scgroove.metrics._dose_mass import DoseMass, dose_mass
from scgroove.metrics._imputation import pairs_of
from scgroove.metrics._presets import (
    perturbot_foscttm,
    perturbot_prediction,
    psa_foscttm,
    psa_latent_mse,
    psa_probe_r2,
    psa_trace,
)
from scgroove.metrics._score import Better, Found, Material, Scope, register

N_DRAWS: Final = 20
"""Random partners that mean and spread by chance are computed from: but for doses, these definitions have no formula for them."""

Definition: TypeAlias = Callable[[Material, IntArray, IntArray], float]
"""A definition on the source rows and target rows of true pairs."""


@dataclass(frozen=True)
class PairedPlan:
    """A coupling between the cells of some pairs, row i the true match of column i: what the peers' definitions take.

    Parameters
    ----------
    plan
        Between all cells.
    rows, columns
        Source and target row of each pair, (n,).
    """

    plan: PlanLike
    rows: IntArray
    columns: IntArray

    @property
    def shape(self) -> tuple[int, int]:
        """Number of pairs, twice."""
        return self.rows.size, self.columns.size

    def parts(self) -> Iterator[tuple[IntArray, IntArray, Plan]]:
        """Yield pairs of the rows, pairs of the columns, and the plan between them, for each block."""
        to_x, to_y = (np.full(n, -1, dtype=np.intp) for n in self.plan.shape)
        to_x[self.rows] = to_y[self.columns] = np.arange(self.rows.size)
        for rows, columns, part in blocks(self.plan):
            i, j = np.flatnonzero(to_x[rows] >= 0), np.flatnonzero(to_y[columns] >= 0)
            yield to_x[rows[i]], to_y[columns[j]], part[i][:, j]


def _score(material: Material, definition: Definition, scope: Scope) -> Found:
    """Return the value at the true pairs, and its mean and spread over pairs drawn at random among the candidates."""
    partner, pool = material.partners(), material.pool(scope)
    rows = pool.with_candidate_partner(partner)
    if not rows.size:
        raise MissingTruthError(
            "no cell can be scored: no true match is among the candidates of a cell."
        )

    def value(of: IntArray) -> float:
        paired = np.flatnonzero(of >= 0)
        return definition(material, paired, of[paired])

    known = np.full_like(partner, -1)
    known[rows] = partner[rows]
    by_chance = chance(
        value,
        known,
        pool.codes_y.size,
        labels_x=material.labels_x,
        labels_y=material.labels_y,
        within_label=scope == "within_label",
        n_permutations=N_DRAWS,
        seed=material.seed,
    )
    return Found(value(known), by_chance, rows.size)


def _add(
    name: str, definition: Definition, scope: Scope, better: Better, perfect: float, *needs: str
) -> None:
    register(
        name,
        kind="coupling",
        better=better,
        perfect=perfect,
        needs=("coupling", "partner", *needs),
        preset=True,
        across_labels=scope == "global",
    )(partial(_score, definition=definition, scope=scope))


def _plan(material: Material, rows: IntArray, columns: IntArray) -> PairedPlan:
    assert material.coupling is not None
    return PairedPlan(material.coupling, rows, columns)


def _labels(material: Material, rows: IntArray) -> Any:
    return np.asarray(material.labels_x, dtype=object)[rows]


def _targets(values: Any, columns: IntArray) -> Any:
    return np.asarray(values, dtype=np.float64)[columns]


_add(
    "perturbot_foscttm",
    lambda m, rows, columns: perturbot_foscttm(_plan(m, rows, columns), _targets(m.y, columns)),
    "global",
    "lower",
    0.0,
    "y",
)
_add(
    "psa_trace",
    lambda m, rows, columns: psa_trace(_plan(m, rows, columns), _labels(m, rows)),
    "within_label",
    "higher",
    1.0,
    "labels",
)
_add(
    "psa_foscttm",
    lambda m, rows, columns: psa_foscttm(
        _plan(m, rows, columns), _targets(m.y, columns), _labels(m, rows), seed=m.seed
    ),
    "within_label",
    "lower",
    0.0,
    "y",
    "labels",
)
_add(
    "psa_latent_mse",
    lambda m, rows, columns: psa_latent_mse(
        _plan(m, rows, columns), _targets(m.latent_y, columns), _labels(m, rows)
    ),
    "within_label",
    "lower",
    0.0,
    "latents",
    "labels",
)


def _doses(material: Material) -> DoseMass:
    """Return the mass between true pairs of cells by dose, 1 in all, that between labels included."""
    partner = material.partners()
    rows = np.flatnonzero(partner >= 0)
    columns = partner[rows]
    plan = _plan(material, rows, columns)
    total = sum(float(part.sum()) for _, _, part in plan.parts())
    if total <= 0:
        raise MissingTruthError(
            "no cell can be scored: the coupling has no mass between cells of known pairs."
        )
    sides = (("doses_x", rows), ("doses_y", columns), ("labels_x", rows), ("labels_y", columns))
    given = (np.asarray(as_objects(getattr(material, name)))[cells] for name, cells in sides)
    found = dose_mass(plan, *given)
    return replace(found, by_dose=found.by_dose / total)


def _score_dose(material: Material, relative: bool) -> Found:
    """Return the fraction, or where it lies between random and perfect; by chance with doses drawn anew in each label."""
    found = material.once("doses", lambda: _doses(material))
    n, value, by_chance = found.by_dose.shape[1], found.fraction, found.chance()
    span = found.perfect - found.random
    if not relative:
        return Found(value, by_chance, n)
    if span == 0:
        raise MissingTruthError(
            "the relative dose fraction is not defined: a perfect coupling is no better than a random one, because no label "
            "has cells of several doses. Labels should be the compounds; their doses go to doses_x and doses_y."
        )
    mean = found.relative(by_chance.mean)
    return Found(found.relative(value), Chance(mean, by_chance.sd / abs(span)), n)


for _name, _relative in (
    ("perturbot_dose_fraction", False),
    ("perturbot_relative_dose_fraction", True),
):
    register(
        _name,
        kind="coupling",
        better="higher",
        perfect=1.0,
        needs=("coupling", "partner", "labels", "doses"),
        preset=True,
    )(partial(_score_dose, relative=_relative))


def _predictions(predicted: Any, measured: Any) -> dict[str, float]:
    """Return the scores of predicted values of both peers."""
    found = perturbot_prediction(predicted, measured)
    return {
        **{f"perturbot_{name.lower()}": value for name, value in found.items()},
        "psa_probe_r2": psa_probe_r2(predicted, measured),
    }


def _all_predictions(material: Material) -> tuple[dict[str, float], list[dict[str, float]], int]:
    """Return the scores, those of predictions that are permuted among the cells of a label, and the number of cells."""
    pairs = pairs_of(material)
    n = pairs.codes.size
    sets = Candidates(pairs.codes, pairs.codes).sets(np.arange(n))
    rng = np.random.default_rng(material.seed)
    drawn = [
        _predictions(pairs.predicted[random_partners(sets, n, rng)], pairs.measured)
        for _ in range(N_DRAWS)
    ]
    return _predictions(pairs.predicted, pairs.measured), drawn, n


def _score_prediction(material: Material, name: str) -> Found:
    value, drawn, n = material.once("presets of predictions", lambda: _all_predictions(material))
    by_chance = [one[name] for one in drawn]
    return Found(
        value[name], Chance(float(np.mean(by_chance)), float(np.std(by_chance, ddof=1))), n
    )


for _name in (
    *(
        f"perturbot_{name}"
        for name in ("pearson_corr", "spearman_corr", "pearson_samples", "spearman_samples", "mse")
    ),
    "psa_probe_r2",
):
    _error = _name.endswith("mse")
    register(
        _name,
        kind="imputation",
        better="lower" if _error else "higher",
        perfect=0.0 if _error else 1.0,
        needs=("predicted", "measured", "partner"),
        preset=True,
    )(partial(_score_prediction, name=_name))
