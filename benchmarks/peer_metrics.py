"""Metrics as two other packages define them, to compare numbers with their papers.

Perturb-OT (Ryu et al. 2024, arXiv 2405.00838) pools all cells and goes from source to target only.
The code of propensity score alignment (PSA; Xi et al. 2024, arXiv 2404.01595) stays within labels
and averages over labels. Their definitions are kept as they are: use scgroove's own metrics for new
results.

    scgroove benchmark run spec.toml --import benchmarks/peer_metrics.py

makes the names known to the ``metrics`` of a spec, and ``import peer_metrics`` to
``scgroove.metrics.scores``. Couplings are made dense.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
from scipy.stats import rankdata
from sklearn.metrics import r2_score

from scgroove.errors import MissingTruthError
from scgroove.metrics import MetricInputs, Score, chance, register

Array = np.ndarray[Any, Any]
N_DRAWS = 20
"""Random partners that mean and spread by chance rest on."""


def dense(plan: Any) -> Array:
    """Return a coupling as an array."""
    if hasattr(plan, "parts"):
        out = np.zeros(plan.shape)
        for rows, columns, part in plan.parts():
            out[np.ix_(rows, columns)] = dense(part)
        return out
    return np.asarray(plan.toarray() if hasattr(plan, "toarray") else plan, dtype=float)


def groups(labels: Array) -> Iterator[Array]:
    """Yield the cells of each label; None and NaN mean unlabeled."""
    names = np.array([None if one is None or one != one else str(one) for one in labels])
    for name in sorted({one for one in names if one is not None}):
        yield np.flatnonzero(names == name)


def mean_over_labels(per_cell: Array, labels: Array) -> float:
    """Return the mean over labels of the mean over their cells; labels with a NaN are left out."""
    means = [per_cell[cells].mean() for cells in groups(labels)]
    return float(np.nanmean(means))


def fraction_nearer(queries: Array, y: Array) -> Array:
    """Return the share of other rows of y nearer to query i than row i; ties count one half."""
    distance = ((queries[:, None] - y[None]) ** 2).sum(axis=-1)
    own = np.diag(distance)[:, None]
    ties = (distance == own).sum(axis=1) - 1
    return ((distance < own).sum(axis=1) + ties / 2) / (len(y) - 1)


def perturbot_foscttm(plan: Array, y: Array) -> float:
    """Barycentric FOSCTTM, all labels pooled; a cell without mass is projected to 0."""
    mass = plan.sum(axis=1, keepdims=True)
    return float(fraction_nearer(plan @ y / np.where(mass > 0, mass, 1.0), y).mean())


def _within(plan: Array, labels: Array) -> Array:
    """Return probabilities within labels, NaN in rows without mass there."""
    same = np.zeros(plan.shape, dtype=bool)
    for cells in groups(labels):
        same[np.ix_(cells, cells)] = True
    cut = np.where(same, plan, 0.0)
    with np.errstate(invalid="ignore"):
        return cut / cut.sum(axis=1, keepdims=True)


def psa_trace(plan: Array, labels: Array) -> float:
    """Mean over labels of the mean probability of the true match within the label."""
    return mean_over_labels(np.diag(_within(plan, labels)).copy(), labels)


def psa_foscttm(plan: Array, y: Array, labels: Array, seed: int = 0) -> float:
    """FOSCTTM between targets and those drawn from each row, within labels; ties favor the match."""
    uniform = np.random.default_rng(seed).random(len(plan))
    share = np.full(len(plan), np.nan)
    probability = _within(plan, labels)
    for cells in groups(labels):
        p = probability[np.ix_(cells, cells)]
        if cells.size < 2 or np.isnan(p).any():
            continue
        drawn = cells[(np.cumsum(p, axis=1) <= uniform[cells, None]).sum(axis=1)]
        distance = ((y[cells][:, None] - y[drawn][None]) ** 2).sum(axis=-1)
        own = np.diag(distance)
        nearer = (distance < own[:, None]).sum(axis=1) + (distance < own).sum(axis=0)
        share[cells] = nearer / (2 * (cells.size - 1))
    return mean_over_labels(share, labels)


def psa_latent_mse(plan: Array, latent: Array, labels: Array) -> float:
    """Mean over labels of the squared error of the projected true latent."""
    probability = np.nan_to_num(_within(plan, labels))
    error = ((latent - probability @ latent) ** 2).mean(axis=1)
    error[probability.sum(axis=1) == 0] = np.nan
    return mean_over_labels(error, labels)


def predictions(predicted: Array, measured: Array) -> dict[str, float]:
    """Scores of predicted values of both packages; ``samples`` are over cells, despite the name."""
    out = {}
    for axis, name in ((1, "corr"), (0, "samples")):
        for kind in ("pearson", "spearman"):
            sides = (predicted, measured)
            if kind == "spearman":
                sides = (rankdata(predicted, axis=axis), rankdata(measured, axis=axis))
            p, m = (one - one.mean(axis=axis, keepdims=True) for one in sides)
            scale = np.sqrt((p**2).sum(axis=axis) * (m**2).sum(axis=axis))
            with np.errstate(invalid="ignore"):
                r = (p * m).sum(axis=axis) / (scale + 1e-8 * (kind == "pearson"))
            out[f"perturbot_{kind}_{name}"] = float(r.mean())
    out["perturbot_mse"] = float(((predicted - measured) ** 2).mean())
    out["psa_probe_r2"] = float(r2_score(measured, predicted, multioutput="variance_weighted"))
    return out


def _score_plan(inputs: MetricInputs, definition: Callable[..., float], within: bool) -> Score:
    """Return a definition at the true pairs, and over pairs drawn at random."""
    plan, partner, pool = dense(inputs.coupling), inputs.partners(), inputs.pool(within)
    rows = pool.with_candidate_partner(partner)
    known = np.full_like(partner, -1)
    known[rows] = partner[rows]

    def value(of: Array) -> float:
        rows = np.flatnonzero(of >= 0)
        return definition(inputs, plan[np.ix_(rows, of[rows])], rows, of[rows])

    labels = {"labels_x": inputs.labels_x, "labels_y": inputs.labels_y} if within else {}
    by_chance = chance(
        value, known, len(pool.codes_y), **labels, n_permutations=N_DRAWS, seed=inputs.seed
    )
    return Score(value(known), *by_chance, rows.size)


def _labels(inputs: MetricInputs, rows: Array) -> Array:
    return np.asarray(inputs.labels_x, dtype=object)[rows]


DEFINITIONS: dict[str, tuple[Callable[..., float], bool, float, tuple[str, ...]]] = {
    "perturbot_foscttm": (
        lambda m, plan, rows, columns: perturbot_foscttm(plan, np.asarray(m.y)[columns]),
        False,
        0.0,
        ("y",),
    ),
    "psa_trace": (
        lambda m, plan, rows, columns: psa_trace(plan, _labels(m, rows)),
        True,
        1.0,
        ("labels",),
    ),
    "psa_foscttm": (
        lambda m, plan, rows, columns: psa_foscttm(
            plan, np.asarray(m.y)[columns], _labels(m, rows), m.seed
        ),
        True,
        0.0,
        ("y", "labels"),
    ),
    "psa_latent_mse": (
        lambda m, plan, rows, columns: psa_latent_mse(
            plan, np.asarray(m.latent_y)[columns], _labels(m, rows)
        ),
        True,
        0.0,
        ("latents", "labels"),
    ),
}
for _name, (_definition, _within_label, _perfect, _needs) in DEFINITIONS.items():
    register(
        _name,
        kind="coupling",
        better="higher" if _perfect else "lower",
        perfect=_perfect,
        needs=("coupling", "partner", *_needs),
        across_labels=not _within_label,
    )(partial(_score_plan, definition=_definition, within=_within_label))


def _equal(a: Array, b: Array) -> Array:
    """Return which of two sides have equal names, None and NaN being unknown."""
    names = [[None if one is None or one != one else str(one) for one in side] for side in (a, b)]
    x, y = (np.array(side, dtype=object) for side in names)
    return np.asarray((x[:, None] == y) & (x[:, None] != None))  # noqa: E711


def _score_dose(inputs: MetricInputs, relative: bool) -> Score:
    """Return the mass between equal label and dose; relative: 0 if even in labels, 1 if perfect.

    By chance, doses are drawn anew among the target cells of each label.
    """
    partner = inputs.partners()
    rows = np.flatnonzero(partner >= 0)
    columns = partner[rows]
    plan = dense(inputs.coupling)[np.ix_(rows, columns)]
    plan = plan / plan.sum()
    given = (inputs.labels_x, inputs.doses_x, inputs.labels_y, inputs.doses_y)
    labels_x, doses_x, labels_y, doses_y = (
        np.asarray(values, dtype=object)[cells]
        for values, cells in zip(given, (rows, rows, columns, columns), strict=True)
    )
    alike = _equal(labels_x, labels_y)
    equal = alike & _equal(doses_x, doses_y)
    value, even, perfect = plan[equal].sum(), equal.sum() / alike.sum(), np.diag(equal).mean()
    rng, drawn = np.random.default_rng(inputs.seed), []
    for _ in range(N_DRAWS):
        shuffled = doses_y.copy()
        for cells in groups(labels_y):
            shuffled[cells] = rng.permutation(doses_y[cells])
        drawn.append(plan[alike & _equal(doses_x, shuffled)].sum())
    mean, sd = float(np.mean(drawn)), float(np.std(drawn, ddof=1))
    if not relative:
        return Score(float(value), mean, sd, rows.size)
    if perfect == even:
        raise MissingTruthError("no label has cells of several doses.")
    span = float(perfect - even)
    return Score(float(value - even) / span, (mean - even) / span, sd / abs(span), rows.size)


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
    )(partial(_score_dose, relative=_relative))


def _score_prediction(inputs: MetricInputs, name: str) -> Score:
    """Return a score of predictions; by chance, they are permuted among the cells of a label."""
    partner = inputs.partners()
    rows = np.flatnonzero(partner >= 0)
    predicted, measured = dense(inputs.predicted)[rows], dense(inputs.measured)[partner[rows]]
    labels = np.zeros(rows.size, dtype=object)
    if inputs.labels_x is not None:
        labels = np.asarray(inputs.labels_x, dtype=object)[rows]
    rng, drawn = np.random.default_rng(inputs.seed), []
    for _ in range(N_DRAWS):
        order = np.arange(rows.size)
        for cells in groups(labels):
            order[cells] = rng.permutation(cells)
        drawn.append(predictions(predicted[order], measured)[name])
    mean, sd = float(np.mean(drawn)), float(np.std(drawn, ddof=1))
    return Score(predictions(predicted, measured)[name], mean, sd, rows.size)


for _name in predictions(np.eye(3), np.eye(3)):
    _error = _name.endswith("mse")
    register(
        _name,
        kind="imputation",
        better="lower" if _error else "higher",
        perfect=0.0 if _error else 1.0,
        needs=("predicted", "measured", "partner"),
    )(partial(_score_prediction, name=_name))
