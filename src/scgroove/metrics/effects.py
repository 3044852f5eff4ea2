"""Effects of labels: predicted against measured differences to the control."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final, Literal, TypeAlias

import numpy as np

from scgroove._labels import Label, encode, find_label, label_name
from scgroove._types import Float64Array, Labels
from scgroove.errors import InputError, MissingTruthError
from scgroove.metrics._candidates import METRICS
from scgroove.metrics._chance import Chance, matching_variance
from scgroove.metrics._correlation import correlate, units
from scgroove.metrics._score import Found, Material, register
from scgroove.metrics.values import NaNPolicy, Values, complete_cells, label_sums

Controls: TypeAlias = Literal["measured", "own"]
"""The control cells that predicted effects are differences to."""

TOP_K: Final = 20
_EPS: Final = float(np.finfo(np.float64).eps)


def label_effects(
    values: Values, labels: Labels, control: Label, *, nan: NaNPolicy = "raise"
) -> tuple[list[str], Float64Array]:
    """Return the effect of each label: the mean of its cells minus the mean of the control cells.

    Parameters
    ----------
    values
        Values of cells, (n, f), dense or sparse.
    labels
        Label of each cell; None and NaN mean unlabeled, and these cells are left out.
    control
        Name of the control label.
    nan
        ``"raise"``: missing values are an error. ``"omit"``: cells with a missing value are left out.

    Returns
    -------
    names
        The labels but for the control, sorted.
    effects
        float64 (labels, f).

    Raises
    ------
    ValueError
        If no cell has the label ``control``, labels do not fit, or a value is missing.

    References
    ----------
    User guide, "Evaluation".

    Examples
    --------
    >>> label_effects([[1.0], [3.0], [5.0]], ["ctrl", "ctrl", "a"], "ctrl")
    (['a'], array([[3.]]))
    """
    names, means = _label_means(values, labels, nan)
    own = find_label(control, names)
    others = np.delete(np.arange(len(names)), own)
    return [names[code] for code in others], means[others] - means[own]


def _label_means(values: Values, labels: Labels, nan: NaNPolicy) -> tuple[list[str], Float64Array]:
    """Return the labels that have cells, sorted, and the means of their cells, (labels, f)."""
    checked, cells = complete_cells("values", values, nan)
    names, (codes,) = encode(labels)
    if codes.size != checked.shape[0]:
        raise InputError(
            f"labels must hold one label a cell: expected {checked.shape[0]}, found {codes.size}."
        )
    kept = np.full(codes.size, -1, dtype=np.intp)
    kept[cells] = codes[cells]
    sums, counts = label_sums(
        checked if cells.size == codes.size else checked[cells], kept[cells], len(names)
    )
    present = np.flatnonzero(counts > 0)
    return [names[code] for code in present], sums[present] / counts[present, None]


@METRICS.register("effect_pearson")
def effect_pearson(
    predicted: Values,
    measured: Values,
    labels_predicted: Labels,
    labels_measured: Labels,
    control: Label,
    *,
    controls: Controls = "measured",
    nan: NaNPolicy = "raise",
) -> float:
    """Return the Pearson correlation of predicted with measured effects across features, mean over labels.

    The effect of a label is the mean of its cells minus that of the measured control cells, on both sides: what a prediction
    says of a label is how it differs from controls as they are. A constant bias of predictions counts as an error. Cells need
    not be the same on both sides.

    Parameters
    ----------
    predicted, measured
        Values, (n_predicted, f) and (n_measured, f), dense or sparse.
    labels_predicted, labels_measured
        Label of each cell; None and NaN mean unlabeled. Labels of one side only are left out.
    control
        Name of the control label.
    controls
        ``"measured"``: predicted effects are differences to the measured control cells. ``"own"``: to the predicted ones, so that a
        constant bias of a feature plays no part.
    nan
        ``"raise"``: missing values are an error. ``"omit"``: cells with a missing value are left out.

    Returns
    -------
    float
        Between -1 and 1. A label whose predicted effect is the same for all features counts as 0; one whose measured
        effect is, is left out.

    Raises
    ------
    ValueError
        If no cell has the label ``control``, no other label is in both, shapes or labels do not fit, or a value is
        missing.

    References
    ----------
    User guide, "Evaluation".

    Examples
    --------
    >>> labels = ["ctrl", "a", "b"]
    >>> measured = [[0.0, 0.0, 0.0], [1.0, 2.0, 3.0], [3.0, 2.0, 1.0]]
    >>> predicted = [[0.0, 0.0, 0.0], [2.0, 4.0, 6.0], [1.0, 2.0, 3.0]]
    >>> effect_pearson(predicted, measured, labels, labels, "ctrl")
    0.0
    """
    effects = _effects(
        predicted, measured, labels_predicted, labels_measured, control, controls, nan
    )
    return _mean(effect_correlations(effects.predicted, effects.measured))


def effect_pearson_per_label(
    predicted: Values,
    measured: Values,
    labels_predicted: Labels,
    labels_measured: Labels,
    control: Label,
    *,
    controls: Controls = "measured",
    nan: NaNPolicy = "raise",
) -> dict[str, float]:
    """Return :func:`effect_pearson` of each label; NaN where the measured effect is the same for all features.

    Parameters and errors are those of :func:`effect_pearson`.
    """
    effects = _effects(
        predicted, measured, labels_predicted, labels_measured, control, controls, nan
    )
    return dict(
        zip(
            effects.names,
            effect_correlations(effects.predicted, effects.measured).tolist(),
            strict=True,
        )
    )


@METRICS.register("effect_sign_agreement")
def effect_sign_agreement(
    predicted: Values,
    measured: Values,
    labels_predicted: Labels,
    labels_measured: Labels,
    control: Label,
    *,
    controls: Controls = "measured",
    top_k: int = TOP_K,
    nan: NaNPolicy = "raise",
) -> float:
    """Return the share of the features with the largest measured effects whose predicted effect has the same sign.

    Mean over labels. A predicted effect of exactly 0 counts one half, so that "nothing has an effect" has 0.5.

    Parameters
    ----------
    predicted, measured, labels_predicted, labels_measured, control, controls, nan
        As in :func:`effect_pearson`.
    top_k
        Features looked at, for each label those of the largest absolute measured effect; all if there are fewer.
        Features without a measured effect are never looked at.

    Returns
    -------
    float
        Between 0 and 1.

    Raises
    ------
    ValueError
        As :func:`effect_pearson`, or if ``top_k`` is below 1.

    References
    ----------
    User guide, "Evaluation".

    Examples
    --------
    >>> labels = ["ctrl", "a"]
    >>> effect_sign_agreement(
    ...     [[0.0, 0.0], [1.0, 1.0]], [[0.0, 0.0], [5.0, -9.0]], labels, labels, "ctrl", top_k=2
    ... )
    0.5
    """
    effects = _effects(
        predicted, measured, labels_predicted, labels_measured, control, controls, nan
    )
    return _mean(effect_signs(effects.predicted, effects.measured, top_k))


def effect_sign_agreement_per_label(
    predicted: Values,
    measured: Values,
    labels_predicted: Labels,
    labels_measured: Labels,
    control: Label,
    *,
    controls: Controls = "measured",
    top_k: int = TOP_K,
    nan: NaNPolicy = "raise",
) -> dict[str, float]:
    """Return :func:`effect_sign_agreement` of each label; NaN where no feature has a measured effect.

    Parameters and errors are those of :func:`effect_sign_agreement`.
    """
    effects = _effects(
        predicted, measured, labels_predicted, labels_measured, control, controls, nan
    )
    found = effect_signs(effects.predicted, effects.measured, top_k)
    return dict(zip(effects.names, found.tolist(), strict=True))


@dataclass(frozen=True)
class _Effects:
    """Effects of the labels of both sides, (labels, f)."""

    names: list[str]
    predicted: Float64Array
    measured: Float64Array


def _effects(
    predicted: Values,
    measured: Values,
    labels_predicted: Labels,
    labels_measured: Labels,
    control: Label,
    controls: Controls,
    nan: NaNPolicy,
) -> _Effects:
    names_p, means_p = _label_means(predicted, labels_predicted, nan)
    names_m, means_m = _label_means(measured, labels_measured, nan)
    if means_p.shape[1] != means_m.shape[1]:
        raise InputError(
            f"predicted and measured must have the same features: found {means_p.shape[1]} and {means_m.shape[1]}."
        )
    measured_control = means_m[find_label(control, names_m)]
    own_control = (
        measured_control if controls == "measured" else means_p[find_label(control, names_p)]
    )
    names = [name for name in names_p if name in set(names_m) and name != label_name(control)]
    if not names:
        raise MissingTruthError(
            f"no label but the control is in both: predicted has {names_p[:5]}, measured {names_m[:5]}. Labels are "
            f"compared by name."
        )
    rows_p, rows_m = ([found.index(name) for name in names] for found in (names_p, names_m))
    effects_p = means_p[rows_p] - own_control
    # a prediction that is the control mean, up to the rounding of its values, has no effect
    effects_p[np.abs(effects_p) <= 4 * _precision(predicted) * np.abs(own_control)] = 0.0
    return _Effects(names, effects_p, means_m[rows_m] - measured_control)


def _precision(values: Values) -> float:
    dtype = getattr(values, "dtype", np.dtype(np.float64))
    return float(np.finfo(dtype if np.issubdtype(dtype, np.floating) else np.float64).eps)


def effect_correlations(predicted: Float64Array, measured: Float64Array) -> Float64Array:
    """Return the Pearson correlation of predicted and measured effects of each label, (labels,)."""
    # an effect is a difference of means: what varies by less than their rounding is constant
    return correlate(predicted.copy(), measured.copy(), precision=_EPS)


def effect_signs(predicted: Float64Array, measured: Float64Array, top_k: int) -> Float64Array:
    """Return, for each label, the share of its top features of equal sign; NaN if no feature has a measured effect."""
    size = np.abs(measured)
    top = np.argsort(-size, axis=1, kind="stable")[:, :top_k]
    weight = np.take_along_axis(size, top, axis=1) > 0
    signs = [np.sign(np.take_along_axis(effects, top, axis=1)) for effects in (predicted, measured)]
    agreement = (0.5 + 0.5 * signs[0] * signs[1]) * weight
    n = weight.sum(axis=1)
    out: Float64Array = np.divide(
        agreement.sum(axis=1), n, out=np.full(len(measured), np.nan), where=n > 0
    )
    return out


def _mean(per_label: Float64Array) -> float:
    if np.isnan(per_label).all():
        raise MissingTruthError(
            "no label can be scored: the measured effect of each is the same for all features. Are control cells and "
            "labeled cells the same, or is there one feature only?"
        )
    return float(per_label[~np.isnan(per_label)].mean())


def _correlation_pairs(predicted: Float64Array, measured: Float64Array) -> Float64Array:
    """Return :func:`effect_correlations` of every predicted effect (rows) with every measured one (columns)."""
    p, m, _ = units(predicted.copy(), measured.copy(), ranked=False, precision=_EPS)
    return np.clip(p @ m.T, -1.0, 1.0)


def _sign_pairs(predicted: Float64Array, measured: Float64Array, top_k: int) -> Float64Array:
    """Return :func:`effect_signs` of every predicted effect (rows) with every measured one (columns)."""
    size = np.abs(measured)
    top = np.argsort(-size, axis=1, kind="stable")[:, :top_k]
    looked_at = np.zeros(measured.shape)
    np.put_along_axis(looked_at, top, np.take_along_axis(np.sign(measured), top, axis=1), axis=1)
    n = np.abs(looked_at).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(0.5 + 0.5 * (np.sign(predicted) @ looked_at.T) / n)


Statistic: TypeAlias = Callable[[Float64Array, Float64Array], Float64Array]


def _score(material: Material, per_label: Statistic, pairs: Statistic) -> Found:
    """Return the mean over labels; by chance: the predicted effects are permuted among the labels."""
    effects = material.once("effects", lambda: _of_material(material))
    by_label = per_label(effects.predicted, effects.measured)
    value, scored = _mean(by_label), np.flatnonzero(~np.isnan(by_label))
    n = scored.size
    a = pairs(effects.predicted[scored], effects.measured[scored])
    sd = float(np.sqrt(matching_variance(a, n, n, n))) / n
    return Found(value, Chance(float(a.mean()), sd), n)


def _of_material(material: Material) -> _Effects:
    assert material.labels_x is not None
    assert material.labels_y is not None
    assert material.control is not None
    return _effects(
        material.predicted,
        material.measured,
        material.labels_x,
        material.labels_y,
        material.control,
        "measured",
        "omit",
    )


for _name, _per_label, _pairs in (
    ("effect_pearson", effect_correlations, _correlation_pairs),
    (
        "effect_sign_agreement",
        partial(effect_signs, top_k=TOP_K),
        partial(_sign_pairs, top_k=TOP_K),
    ),
):
    register(
        _name,
        kind="imputation",
        better="higher",
        perfect=1.0,
        needs=("predicted", "measured", "labels", "control"),
        across_labels=True,
    )(partial(_score, per_label=_per_label, pairs=_pairs))
