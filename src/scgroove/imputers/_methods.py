"""The registry of imputers, for verbs and for the leave-labels-out benchmark."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, Protocol, TypeAlias

import numpy as np

from scgroove._registry import Registry
from scgroove._types import FloatArray, IntArray
from scgroove._validate import checked
from scgroove.aligners import Coupling, entropic_map
from scgroove.aligners.mapping import entropic_partners
from scgroove.errors import InputTypeError, did_you_mean
from scgroove.imputers import _averages as averages
from scgroove.imputers._imputation import Imputation, ensemble
from scgroove.imputers._label_stack import LabelStack
from scgroove.imputers._regression import CouplingRegression, LabelRidge

Need: TypeAlias = Literal["model", "coupling", "space", "features"]


class ImputationInputs(Protocol):
    """Source and target of an imputation. Imputers call the methods that they need."""

    seed: int

    def target(self) -> Any:
        """Return the measured values of the target, (n_target, f), dense or sparse."""

    def codes(self) -> tuple[IntArray, IntArray]:
        """Return labels of source and target cells in one vocabulary, -1 for none."""

    def features(self) -> FloatArray:
        """Return the standardized features of the source, (n_source, d)."""

    def space(self) -> tuple[FloatArray, FloatArray]:
        """Return representations in one space, (n_source, k) and (n_target, k)."""

    def coupling(self) -> Coupling:
        """Return the coupling of source and target."""

    def predictions(self) -> Iterable[FloatArray]:
        """Return the values that each model expects, (n_source, f)."""


Compute: TypeAlias = Callable[..., Imputation]


@dataclass(frozen=True)
class Imputer:
    """A way of imputing.

    Attributes
    ----------
    compute
        Function of :class:`ImputationInputs` and options.
    needs
        Inputs beside the target and the labels: ``"model"``, ``"coupling"``, ``"space"`` or
        ``"features"``.
    """

    compute: Compute
    needs: tuple[Need, ...]

    @property
    def options(self) -> tuple[str, ...]:
        """Names of the options."""
        return tuple(inspect.signature(self.compute).parameters)[1:]


IMPUTERS: Final[Registry[Imputer]] = Registry("imputation method")
"""Imputers by name.

To add one, write a function of :class:`ImputationInputs` and options that returns an
:class:`Imputation`, and register it with its needs::

    @imputer("control_mean")
    def control_mean(inputs):
        mean = inputs.target().mean(axis=0)
        codes, _ = inputs.codes()
        return Imputation.of_function(np.tile(mean, (len(codes), 1)))

:func:`scgroove.tl.impute` and the leave-labels-out benchmark then know it by name.
"""


def imputer(name: str, *needs: Need) -> Callable[[Compute], Compute]:
    """Return a decorator that registers a function as an imputer."""

    def add(compute: Compute) -> Compute:
        IMPUTERS.register(name)(Imputer(checked(compute), needs))
        return compute

    return add


@imputer("decoder", "model")
def _decoder(inputs: ImputationInputs) -> Imputation:
    mean, between = ensemble(inputs.predictions())
    return Imputation.of_function(mean, between=between)


@imputer("barycentric", "coupling", "space")
def _barycentric(inputs: ImputationInputs, epsilon: float = 0.05) -> Imputation:
    coupling, y = inputs.coupling(), inputs.target()
    found = averages.barycentric(coupling, y)
    if found.extrapolated.any():
        cost: Any = str(coupling.evidence.get("cost", "sqeuclidean"))
        found = averages.extrapolate(found, *inputs.space(), y, epsilon=epsilon, cost=cost)
    return found


@imputer("knn", "space")
def _knn(inputs: ImputationInputs, n_neighbors: int = averages.N_NEIGHBORS) -> Imputation:
    codes_x, codes_y = inputs.codes()
    z, y = inputs.space(), inputs.target()
    return averages.knn(*z, y, n_neighbors=n_neighbors, codes_x=codes_x, codes_y=codes_y)


@imputer("entropic", "space")
def _entropic(inputs: ImputationInputs, epsilon: float = 0.05) -> Imputation:
    z_x, z_y = inputs.space()
    values, absolute = entropic_map(z_x, z_y, inputs.target(), epsilon=epsilon)
    return Imputation(
        values.astype(np.float32, copy=False),
        entropic_partners(z_x, z_y, epsilon=epsilon),
        np.zeros(len(values), dtype=np.bool_),
        evidence={"epsilon_absolute": absolute},
    )


@imputer("regression", "coupling", "features")
def _regression(
    inputs: ImputationInputs, regression: Mapping[str, Any] | None = None
) -> Imputation:
    fitted = _with_options(regression or {})
    coupling, y, x = inputs.coupling(), inputs.target(), inputs.features()
    fitted.fit(x, y, coupling, codes=inputs.codes()[0], seed=inputs.seed)
    found = fitted.predict(x)
    return replace(_in_range(found, y), extrapolated=coupling.row_mass() == 0)


@imputer("label_ridge", "features")
def _label_ridge(inputs: ImputationInputs) -> Imputation:
    y, x = inputs.target(), inputs.features()
    codes_x, codes_y = inputs.codes()
    found = LabelRidge().fit(x, y, codes_x, codes_y).predict(x)
    return replace(_in_range(found, y), extrapolated=~np.isin(codes_x, codes_y[codes_y >= 0]))


@imputer("auto", "features")
def _auto(inputs: ImputationInputs) -> Imputation:
    y, x = inputs.target(), inputs.features()
    codes_x, codes_y = inputs.codes()
    stack = LabelStack().fit(x, y, codes_x, codes_y, seed=inputs.seed)
    return _in_range(stack.predict(x, codes_x), y)


def _in_range(found: Imputation, y: Any) -> Imputation:
    """Return values that are not negative if no measured value is: counts and other amounts."""
    return found if y.min() < 0 else replace(found, values=np.maximum(found.values, 0.0))


def _with_options(options: Mapping[str, Any]) -> CouplingRegression:
    known = list(inspect.signature(CouplingRegression).parameters)
    for option in options:
        if option not in known:
            raise InputTypeError(
                f"regression has no option {option!r}.{did_you_mean(option, known)} "
                f"Its options: {', '.join(known)}."
            )
    return CouplingRegression(**options)
