"""Effects of labels: predicted against measured differences to the control."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final, Literal, NamedTuple, TypeAlias

import numpy as np

from scgroove._labels import find_label, label_name
from scgroove._types import Float64Array
from scgroove.errors import InputError, MissingTruthError
from scgroove.metrics._candidates import codes_of
from scgroove.metrics._chance import matching_variance
from scgroove.metrics._correlation import correlate, units
from scgroove.metrics.registry import MetricInputs, Score, register
from scgroove.metrics.values import complete_cells, label_sums

Controls: TypeAlias = Literal["measured", "own"]
"""The control cells that predicted effects are differences to."""

Statistic: TypeAlias = Callable[[Float64Array, Float64Array], Float64Array]

TOP_K: Final = 20
_EPS: Final = float(np.finfo(np.float64).eps)


class _Effects(NamedTuple):
    """Effects of the labels of both sides, (labels, f)."""

    predicted: Float64Array
    measured: Float64Array


def _effects(inputs: MetricInputs) -> _Effects:
    """Return the effects: means of labels minus that of the measured control cells, both sides."""
    names_p, means_p = _label_means(inputs.predicted, inputs.labels_x)
    names_m, means_m = _label_means(inputs.measured, inputs.labels_y)
    if means_p.shape[1] != means_m.shape[1]:
        raise InputError(
            f"predicted and measured must have the same features: found {means_p.shape[1]} and "
            f"{means_m.shape[1]}."
        )
    control = means_m[find_label(inputs.control, names_m)]
    name_of_control = label_name(inputs.control)
    names = [name for name in names_p if name in set(names_m) and name != name_of_control]
    if not names:
        raise MissingTruthError(
            f"no label but the control is in both: predicted has {names_p[:5]}, measured "
            f"{names_m[:5]}. Labels are compared by name."
        )
    effects_p = means_p[[names_p.index(name) for name in names]] - control
    effects_m = means_m[[names_m.index(name) for name in names]] - control
    # a prediction that is the control mean, up to the rounding of its values, has no effect
    dtype = np.dtype(getattr(inputs.predicted, "dtype", np.float64))
    precision = float(np.finfo(dtype).eps) if dtype.kind == "f" else _EPS
    effects_p[np.abs(effects_p) <= 4 * precision * np.abs(control)] = 0.0
    return _Effects(effects_p, effects_m)


def _label_means(values: Any, labels: Any) -> tuple[list[str], Float64Array]:
    """Return the sorted labels that have complete cells, and the means of these, (labels, f)."""
    checked, cells = complete_cells("values", values, "omit")
    names, codes = codes_of(labels, checked.shape[0])
    complete = checked if cells.size == codes.size else checked[cells]
    sums, counts = label_sums(complete, codes[cells], len(names))
    present = np.flatnonzero(counts > 0)
    return [names[code] for code in present], sums[present] / counts[present, None]


def effect_correlations(predicted: Float64Array, measured: Float64Array) -> Float64Array:
    """Return the Pearson correlation of predicted and measured effects of each label, (labels,)."""
    # an effect is a difference of means: variation below their rounding is none
    return correlate(predicted.copy(), measured.copy(), precision=_EPS)


def effect_signs(predicted: Float64Array, measured: Float64Array, top_k: int) -> Float64Array:
    """Return the share of the top features of equal sign of each label. NaN without an effect."""
    top, n = _top_signs(measured, top_k)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(0.5 + 0.5 * (np.sign(predicted) * top).sum(axis=1) / n)


def _top_signs(measured: Float64Array, top_k: int) -> tuple[Float64Array, Float64Array]:
    """Return the signs of the top effects of each label, 0 for other features, and their number."""
    top = np.argsort(-np.abs(measured), axis=1, kind="stable")[:, :top_k]
    signs = np.zeros(measured.shape)
    np.put_along_axis(signs, top, np.sign(np.take_along_axis(measured, top, axis=1)), axis=1)
    return signs, np.abs(signs).sum(axis=1)


def _correlation_pairs(predicted: Float64Array, measured: Float64Array) -> Float64Array:
    """Return :func:`effect_correlations` of every predicted (rows) with every measured effect."""
    p, m, _ = units(predicted.copy(), measured.copy(), ranked=False, precision=_EPS)
    return np.clip(p @ m.T, -1.0, 1.0)


def _sign_pairs(predicted: Float64Array, measured: Float64Array) -> Float64Array:
    """Return :func:`effect_signs` of every predicted (rows) with every measured effect."""
    top, n = _top_signs(measured, TOP_K)
    return np.asarray(0.5 + 0.5 * (np.sign(predicted) @ top.T) / n)


def _score(inputs: MetricInputs, name: str) -> Score:
    """Return the mean. By chance, the predicted effects are permuted among the labels."""
    effects = inputs.once("effects", lambda: _effects(inputs))
    of_labels, of_pairs = _STATISTICS[name]
    by_label = of_labels(effects.predicted, effects.measured)
    scored = np.flatnonzero(~np.isnan(by_label))
    if not scored.size:
        raise MissingTruthError(
            "no label can be scored: the measured effect of each is the same for all features. Are "
            "control cells and labeled cells the same, or is there one feature only?"
        )
    n = scored.size
    a = of_pairs(effects.predicted[scored], effects.measured[scored])
    sd = float(np.sqrt(matching_variance(a, n, n, n))) / n
    return Score(float(by_label[scored].mean()), float(a.mean()), sd, n)


_STATISTICS: Final[dict[str, tuple[Statistic, Statistic]]] = {
    "effect_pearson": (effect_correlations, _correlation_pairs),
    "effect_sign_agreement": (partial(effect_signs, top_k=TOP_K), _sign_pairs),
}

for _name, _title, _meaning in (
    (
        "effect_pearson",
        "Pearson r of effects",
        "The correlation of imputed and measured effects of a label (its mean minus that of the "
        "controls), over features.",
    ),
    (
        "effect_sign_agreement",
        "sign agreement",
        "The share of strongly changed features whose imputed effect has the right sign.",
    ),
):
    register(
        _name,
        kind="imputation",
        better="higher",
        perfect=1.0,
        needs=("predicted", "measured", "labels", "control"),
        title=_title,
        meaning=_meaning,
        across_labels=True,
    )(partial(_score, name=_name))
