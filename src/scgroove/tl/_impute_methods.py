"""The ways of imputing, on a MuData."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from scgroove import _keys, get, imputers
from scgroove._labels import UnlabeledCategory, encode
from scgroove._registry import Registry
from scgroove._types import IntArray, Labels
from scgroove.aligners import Coupling
from scgroove.data.checks import PerModality, check_finite
from scgroove.data.features import Features, as_names, feature_positions, take_features
from scgroove.data.measured import Measured, fill
from scgroove.data.screen import (
    check_pair,
    labels_of_modality,
    representation,
    representations,
    values_of,
)
from scgroove.errors import InputError, TooLargeError, did_you_mean
from scgroove.imputers import CouplingRegression, Imputation, LabelRidge

if TYPE_CHECKING:
    from mudata import MuData

_LINEAR: Final = ("eot", "uot")
"""Methods whose eps is one of costs between the representations."""

OPTIONAL: Final = (
    "models",
    "coupling_key",
    "layer",
    "use_rep",
    "epsilon",
    "n_neighbors",
    "regression",
)
"""Arguments that go with some methods only."""


@dataclass(frozen=True, eq=False)
class Request:
    """What was asked of :func:`scgroove.tl.impute`."""

    mdata: MuData
    source: str
    target: str
    models: tuple[Any, ...]
    coupling_key: str | None
    layer: str | None
    use_rep: PerModality | None
    epsilon: float | None
    n_neighbors: int | None
    regression: Mapping[str, Any] | None
    label_key: PerModality | None
    unlabeled_category: UnlabeledCategory
    labels_optional: bool
    labels_declared: bool
    seed: int
    copies: int
    max_memory_gb: float

    def check_goes_with(self, method: str, takes: tuple[str, ...]) -> None:
        """Refuse arguments of other methods."""
        for argument in OPTIONAL:
            if getattr(self, argument) in (None, ()) or argument in takes:
                continue
            others = [name for name in IMPUTERS.names() if argument in IMPUTERS.get(name).takes]
            shown = "model" if argument == "models" else argument
            raise InputError(
                f"{shown} only goes with method={' or '.join(map(repr, others))}; found method={method!r}. Leave it out, or "
                f"choose that method."
            )

    def check_memory(self, n: int, d: int) -> None:
        """Refuse results that are larger than allowed."""
        needed = 4.0 * self.copies * n * d / 1e9
        if needed > self.max_memory_gb:
            half = " uncertainty=False takes half of it." if self.copies > 1 else ""
            raise TooLargeError(
                f"imputing {d} features for {n} cells would take {needed:.1f} GB, more than "
                f"max_memory_gb={self.max_memory_gb:g}.{half} Impute for fewer cells (mdata[cells].copy()), or raise "
                f"max_memory_gb if the machine has the memory."
            )

    def target_values(self) -> Any:
        """Return the finite measured values of the target, dense or sparse.

        A feature that the batch of a cell did not measure has the mean of the measured cells of the label.
        """
        adata = self.mdata.mod[self.target]
        values = values_of(adata, self.target, self.layer)
        where = "X" if self.layer is None else f"layer {self.layer!r}"
        check_finite(values, slice(0, adata.n_obs), adata, f"{where} of {self.target!r}")
        return self.completed(values, self.mdata)

    def completed(self, values: Any, data: MuData, features: Any = None) -> Any:
        """Return values of the target, of some features, with means of labels where a batch did not measure a feature."""
        known = Measured.of(data.mod[self.target], features)
        if known is None:
            return values
        return fill(known.without(values), self.labels(data, self.target))

    def codes(self, reference: MuData | None = None) -> tuple[IntArray, IntArray, list[str]]:
        """Return labels of the source cells and of the target cells (of a reference, if given), -1 for none, and their names."""
        labels = (
            self.labels(self.mdata, self.source),
            self.labels(reference or self.mdata, self.target),
        )
        names, (codes_x, codes_y) = encode(*labels)
        return codes_x, codes_y, names

    def labels(self, data: MuData, modality: str) -> Labels:
        """Return the labels of one modality, None where missing."""
        return labels_of_modality(
            data,
            modality,
            self.label_key,
            self.unlabeled_category,
            optional=self.labels_optional,
            declared=self.labels_declared,
        )

    def coupling(self) -> Coupling:
        """Return the coupling asked for."""
        return get.coupling(self.mdata, self.source, self.target, self.coupling_key)

    @property
    def coupling_name(self) -> str:
        """Its key."""
        return (
            self.coupling_key
            if self.coupling_key is not None
            else _keys.coupling(self.source, self.target)
        )


@dataclass(frozen=True)
class Imputer:
    """A way of imputing, and the arguments that go with it."""

    compute: Callable[[Request], tuple[Imputation, dict[str, Any]]]
    takes: tuple[str, ...]


IMPUTERS: Final[Registry[Imputer]] = Registry("imputation method")

Compute: TypeAlias = Callable[[Request], tuple[Imputation, dict[str, Any]]]


def _method(name: str, *takes: str) -> Callable[[Compute], Compute]:
    """Return a decorator that files a function as a way of imputing that takes these arguments."""

    def add(compute: Compute) -> Compute:
        IMPUTERS.register(name)(Imputer(compute, takes))
        return compute

    return add


@_method("decoder", "models")
def _decode(request: Request) -> tuple[Imputation, dict[str, Any]]:
    if not request.models:
        raise InputError(
            "method='decoder' needs the trained model: scgroove.tl.impute(mdata, "
            f"{request.source!r}, {request.target!r}, model=model). Without one use method='barycentric', after "
            f"scgroove.tl.align."
        )
    features = _target_features(request)
    n = request.mdata.mod[request.source].n_obs
    request.check_memory(n, len(features))
    mean, between = imputers.ensemble(
        _translated(model, request, features) for model in request.models
    )
    made: dict[str, Any] = {"features": features, "n_models": len(request.models)}
    return Imputation.of_function(mean, between=between), {**made, **_units(request)}


def _target_features(request: Request) -> npt.NDArray[Any]:
    """Return the features to predict: those that the data measure, in their order, if they are those of the model."""
    known = _model_features(request.models[0], request)
    if request.target in request.mdata.mod:
        measured = as_names(request.mdata.mod[request.target].var_names)
        if known is None or set(measured) == set(known):
            return measured
    if known is not None:
        return known
    model = request.models[0]
    frame = model.translate(
        request.source, request.target, mdata=request.mdata, return_dataframe=True
    )
    return as_names(frame.columns)


def _model_features(model: Any, request: Request) -> npt.NDArray[Any] | None:
    """Return the features of the target that a model predicts, where it tells them."""
    known = getattr(model, "modalities", None)
    if known is not None and request.target not in known:
        raise InputError(
            f"the model does not know the modality {request.target!r}; it has {list(known)}."
            f"{did_you_mean(request.target, known)}"
        )
    names = getattr(model, "get_var_names", None)
    return None if names is None else as_names(names()[request.target])


def _translated(
    model: Any, request: Request, features: npt.NDArray[Any]
) -> npt.NDArray[np.float32]:
    """Return what a model expects of these features, one finite row a cell."""
    n = request.mdata.mod[request.source].n_obs
    values = np.asarray(
        model.translate(request.source, request.target, mdata=request.mdata), dtype=np.float32
    )
    known = _model_features(model, request)
    d = len(features if known is None else known)
    if values.shape != (n, d):
        raise InputError(
            f"the model returned values of shape {values.shape} for {n} cells of {request.source!r} and {d} "
            f"features of {request.target!r}. Was it trained on other features?"
        )
    if not np.isfinite(values).all():
        raise InputError(
            f"the model returned NaN or infinite values for {int((~np.isfinite(values).all(axis=1)).sum())} of {n} "
            f"cells: its training diverged. Train it again with a lower learning rate."
        )
    if known is None:
        return values
    remedy = (
        "All models of an ensemble need the features of the first: train them on the same data."
    )
    return np.asarray(
        take_features(values, known, features, modality=request.target, remedy=remedy)
    )


def _units(request: Request) -> dict[str, Any]:
    """Return the layer that the model was trained on, and the library size at which it predicts counts."""
    describe = getattr(request.models[0], "get_units", None)
    return {} if describe is None else dict(describe(request.target))


@_method("barycentric", "coupling_key", "layer", "use_rep", "epsilon")
def _barycenter(request: Request) -> tuple[Imputation, dict[str, Any]]:
    check_pair(request.mdata, request.source, request.target)
    coupling = request.coupling()
    y = _checked_target(request, coupling.shape[0])
    found = imputers.barycentric(coupling, y)
    made = _made(request, found, coupling=request.coupling_name)
    if found.extrapolated.any():
        found = _extrapolated(request, coupling, found, y)
        made["epsilon_absolute"] = found.evidence["epsilon_absolute"]
    return found, made


def _extrapolated(request: Request, coupling: Coupling, found: Imputation, y: Any) -> Imputation:
    """Fill in cells without mass by the entropic map, in the space and at the eps of the coupling unless others are asked for."""
    evidence = coupling.evidence
    used = {
        m: str(evidence.get(f"use_rep_{r}", _keys.LATENT))
        for m, r in ((request.source, "source"), (request.target, "target"))
    }
    chosen = request.use_rep if request.use_rep is not None else used
    z_x, z_y = representations(request.mdata, request.source, request.target, chosen)
    in_this_space = request.use_rep is None and evidence.get("method") in _LINEAR
    made_with: Any = evidence.get("epsilon_relative", 0.05) if in_this_space else 0.05
    return imputers.extrapolate(
        found,
        z_x,
        z_y,
        y,
        epsilon=request.epsilon if request.epsilon is not None else float(made_with),
        cost=str(evidence.get("cost", "sqeuclidean")),  # type: ignore[arg-type]
    )


@_method("knn", "layer", "use_rep", "n_neighbors")
def _neighbors(request: Request) -> tuple[Imputation, dict[str, Any]]:
    check_pair(request.mdata, request.source, request.target)
    chosen = request.use_rep if request.use_rep is not None else _keys.LATENT
    z_x, z_y = representations(request.mdata, request.source, request.target, chosen)
    y = _checked_target(request, len(z_x))
    codes_x, codes_y, _ = request.codes()
    k = request.n_neighbors if request.n_neighbors is not None else imputers.N_NEIGHBORS
    found = imputers.knn(z_x, z_y, y, n_neighbors=k, codes_x=codes_x, codes_y=codes_y)
    return found, _made(request, found, n_neighbors=k)


@_method("regression", "coupling_key", "layer", "use_rep", "regression")
def _regress(request: Request) -> tuple[Imputation, dict[str, Any]]:
    check_pair(request.mdata, request.source, request.target)
    fitted = _regression(request.regression or {})
    coupling = request.coupling()
    y = _checked_target(request, coupling.shape[0])
    x = _source_features(request)
    codes_x, _, _ = request.codes()
    fitted.fit(x, y, coupling, codes=codes_x, seed=request.seed)
    found = fitted.predict(x)
    if y.min() >= 0:  # counts and other amounts
        found = replace(found, values=np.maximum(found.values, 0.0))
    found = replace(found, extrapolated=coupling.row_mass() == 0)
    return found, {**_made(request, found, coupling=request.coupling_name), **found.evidence}


@_method("label_ridge", "layer", "use_rep")
def _regress_labels(request: Request) -> tuple[Imputation, dict[str, Any]]:
    check_pair(request.mdata, request.source, request.target)
    y = _checked_target(request, request.mdata.mod[request.source].n_obs)
    x = _source_features(request)
    codes_x, codes_y, _ = request.codes()
    found = LabelRidge().fit(x, y, codes_x, codes_y).predict(x)
    if y.min() >= 0:
        found = replace(found, values=np.maximum(found.values, 0.0))
    unseen = ~np.isin(codes_x, codes_y[codes_y >= 0])
    found = replace(found, extrapolated=unseen)
    return found, {**_made(request, found), **found.evidence}


def _regression(options: Mapping[str, Any]) -> CouplingRegression:
    known = [option.name for option in fields(CouplingRegression) if option.init]
    for option in options:
        if option not in known:
            raise InputError(
                f"regression has no option {option!r}.{did_you_mean(option, known)} Its options: {', '.join(known)}."
            )
    return CouplingRegression(**options)


def _source_features(request: Request) -> npt.NDArray[np.float32]:
    """Return what a regression predicts from, standardized."""
    adata = request.mdata.mod[request.source]
    if request.use_rep is None:
        request.check_memory(adata.n_obs, adata.n_vars)
        return Features.fit(adata, request.source)(adata)
    name = request.use_rep if isinstance(request.use_rep, str) else request.use_rep[request.source]
    z = representation(request.mdata, request.source, name)
    scale = z.std(axis=0)
    return np.asarray((z - z.mean(axis=0)) / np.where(scale > 0, scale, 1.0), dtype=np.float32)


def _checked_target(request: Request, n: int) -> Any:
    """Return the values of the target, when there is memory for the result; names of its features must tell them apart."""
    names = request.mdata.mod[request.target].var_names
    feature_positions(names, names, modality=request.target)
    request.check_memory(n, request.mdata.mod[request.target].n_vars)
    return request.target_values()


def _made(request: Request, found: Imputation, **others: Any) -> dict[str, Any]:
    return {
        "features": as_names(request.mdata.mod[request.target].var_names),
        "layer": request.layer if request.layer is not None else "X",
        "n_extrapolated": int(found.extrapolated.sum()),
        **others,
    }
