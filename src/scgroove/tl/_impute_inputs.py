"""Inputs of imputers from a MuData, and the uncertainty of their results."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from scgroove import _keys, get
from scgroove._labels import UnlabeledCategory, encode
from scgroove._types import FloatArray, IntArray, Labels
from scgroove._warnings import warn
from scgroove.aligners import Coupling
from scgroove.data.checks import PerModality, check_finite, modality_of
from scgroove.data.features import Features, as_names, feature_positions, take_features
from scgroove.data.labels import encode_labels
from scgroove.data.measured import Measured, fill
from scgroove.data.screen import (
    check_pair,
    labels_of_modality,
    representation,
    representations,
    values_of,
)
from scgroove.errors import (
    InputError,
    InputTypeError,
    TooLargeError,
    did_you_mean,
)
from scgroove.get.values import in_units_of
from scgroove.imputers import IMPUTERS, Imputation
from scgroove.imputers.spread import (
    LEVELS,
    LabelSpread,
    extrapolation_error,
    predictive_sd,
    shrink_to_label,
)

if TYPE_CHECKING:
    from mudata import MuData

LINEAR: Final = ("eot", "uot")
"""Aligners whose eps is one of costs between the representations."""


@dataclass(frozen=True, eq=False)
class Request:
    """A call of :func:`scgroove.tl.impute`, as the inputs of an imputer."""

    mdata: MuData
    source: str
    target_name: str
    method: str
    models: tuple[Any, ...]
    coupling_key: str | None
    layer: str | None
    use_rep: PerModality | None
    options: Mapping[str, Any]
    label_key: PerModality | None
    unlabeled_category: UnlabeledCategory
    labels_optional: bool
    labels_declared: bool
    seed: int
    copies: int
    max_memory_gb: float

    def impute(self) -> tuple[Imputation, dict[str, Any]]:
        """Return the result of the imputer, and evidence on it."""
        imputer = IMPUTERS.get(self.method)
        self._check_arguments()
        if "model" in imputer.needs:
            found = imputer.compute(self, **self.options)
            describe = getattr(self.models[0], "get_units", None)
            units = {} if describe is None else dict(describe(self.target_name))
            evidence = {"features": self.model_features(), "n_models": len(self.models), **units}
            return found, evidence
        check_pair(self.mdata, self.source, self.target_name)
        options = dict(self.options)
        if "epsilon" in imputer.options and "coupling" in imputer.needs:
            options.setdefault("epsilon", self._epsilon_of_coupling())
        found = imputer.compute(self, **options)
        evidence = {
            "features": as_names(self.mdata.mod[self.target_name].var_names),
            "layer": self.layer if self.layer is not None else "X",
            "n_extrapolated": int(found.extrapolated.sum()),
            **found.evidence,
        }
        if "coupling" in imputer.needs:
            default = _keys.coupling(self.source, self.target_name)
            evidence["coupling"] = default if self.coupling_key is None else self.coupling_key
        return found, evidence

    def _check_arguments(self) -> None:
        """Refuse arguments of other methods."""
        given = {
            "model": self.models or None,
            "coupling_key": self.coupling_key,
            "layer": self.layer,
            "use_rep": self.use_rep,
            **self.options,
        }
        takes = {name: _arguments(name) for name in IMPUTERS.names()}
        for argument, value in given.items():
            if value is None or argument in takes[self.method]:
                continue
            others = [name for name, known in takes.items() if argument in known]
            if not others:
                known = sorted(set().union(*takes.values()))
                raise InputTypeError(
                    f"impute has no argument {argument!r}.{did_you_mean(argument, known)}"
                )
            raise InputError(
                f"{argument} only goes with method={' or '.join(map(repr, others))}; "
                f"found method={self.method!r}. Leave it out, or choose that method."
            )
        if "model" in takes[self.method] and not self.models:
            raise InputError(
                f"method={self.method!r} needs the trained model: scgroove.tl.impute(mdata, "
                f"{self.source!r}, {self.target_name!r}, model=model). Without one use "
                f"method='barycentric', after scgroove.tl.align."
            )

    def check_memory(self, n: int, d: int) -> None:
        """Refuse results that are larger than allowed."""
        needed = 4.0 * self.copies * n * d / 1e9
        if needed > self.max_memory_gb:
            half = " uncertainty=False takes half of it." if self.copies > 1 else ""
            raise TooLargeError(
                f"imputing {d} features for {n} cells would take {needed:.1f} GB, more than "
                f"max_memory_gb={self.max_memory_gb:g}.{half} Impute for fewer cells "
                f"(mdata[cells].copy()), or raise max_memory_gb if the machine has the memory."
            )

    # inputs of imputers, see scgroove.imputers.ImputationInputs

    def target(self) -> Any:
        """Return finite measured values of the target, completed by means of labels."""
        name, adata = self.target_name, modality_of(self.mdata, self.target_name)
        feature_positions(adata.var_names, adata.var_names, modality=name)
        self.check_memory(self.mdata.mod[self.source].n_obs, adata.n_vars)
        values = values_of(adata, name, self.layer)
        where = "X" if self.layer is None else f"layer {self.layer!r}"
        check_finite(values, slice(0, adata.n_obs), adata, f"{where} of {name!r}")
        return self.completed(values, self.mdata)

    def codes(self, reference: MuData | None = None) -> tuple[IntArray, IntArray]:
        """Return labels of source and target cells in one vocabulary, -1 for none."""
        codes_x, codes_y, _ = self.codes_and_names(reference)
        return codes_x, codes_y

    def features(self) -> FloatArray:
        """Return standardized features of the source, or its representation if one is named."""
        adata = modality_of(self.mdata, self.source)
        if self.use_rep is None:
            self.check_memory(adata.n_obs, adata.n_vars)
            return Features.fit(adata, self.source)(adata)
        name = self.use_rep if isinstance(self.use_rep, str) else self.use_rep[self.source]
        z = representation(self.mdata, self.source, name)
        scale = z.std(axis=0)
        return np.asarray((z - z.mean(axis=0)) / np.where(scale > 0, scale, 1.0), dtype=np.float32)

    def space(self) -> tuple[FloatArray, FloatArray]:
        """Return the space that is named, or that of the coupling, or that of GROOVE."""
        chosen: PerModality = _keys.LATENT
        if self.use_rep is not None:
            chosen = self.use_rep
        elif "coupling" in IMPUTERS.get(self.method).needs:
            evidence, roles = self.coupling().evidence, ("source", "target")
            pair = zip((self.source, self.target_name), roles, strict=True)
            chosen = {m: str(evidence.get(f"use_rep_{role}", _keys.LATENT)) for m, role in pair}
        return representations(self.mdata, self.source, self.target_name, chosen)

    def coupling(self) -> Coupling:
        """Return the coupling that is named."""
        return get.coupling(self.mdata, self.source, self.target_name, self.coupling_key)

    def _epsilon_of_coupling(self) -> float:
        evidence: Any = self.coupling().evidence
        in_its_space = self.use_rep is None and evidence.get("method") in LINEAR
        return float(evidence.get("epsilon_relative", 0.05)) if in_its_space else 0.05

    def predictions(self) -> Iterator[npt.NDArray[np.float32]]:
        """Yield the expected values of each model, with the features in one order."""
        features, n = self.model_features(), self.mdata.mod[self.source].n_obs
        self.check_memory(n, len(features))
        for model in self.models:
            known = self._features_of(model)
            d = len(features if known is None else known)
            values = model.translate(self.source, self.target_name, mdata=self.mdata)
            values = np.asarray(values, dtype=np.float32)
            if values.shape != (n, d):
                raise InputError(
                    f"the model returned values of shape {values.shape} for {n} cells of "
                    f"{self.source!r} and {d} features of {self.target_name!r}. Was it trained on "
                    f"other features?"
                )
            n_bad = int((~np.isfinite(values).all(axis=1)).sum())
            if n_bad:
                raise InputError(
                    f"the model returned NaN or infinite values for {n_bad} of {n} cells: its "
                    f"training diverged. Train it again with a lower learning rate."
                )
            if known is not None:
                values = take_features(
                    values,
                    known,
                    features,
                    modality=self.target_name,
                    remedy="All models of an ensemble need the features of the first: train them "
                    "on the same data.",
                )
            yield np.asarray(values)

    def model_features(self) -> npt.NDArray[Any]:
        """Return the features to predict, in the order of the data if they are the same."""
        known = self._features_of(self.models[0])
        if self.target_name in self.mdata.mod:
            measured = as_names(self.mdata.mod[self.target_name].var_names)
            if known is None or set(measured) == set(known):
                return measured
        if known is not None:
            return known
        translate = self.models[0].translate
        frame = translate(self.source, self.target_name, mdata=self.mdata, return_dataframe=True)
        return as_names(frame.columns)

    def _features_of(self, model: Any) -> npt.NDArray[Any] | None:
        """Return the features of the target that a model predicts, where it tells them."""
        known = getattr(model, "modalities", None)
        if known is not None and self.target_name not in known:
            raise InputError(
                f"the model does not know the modality {self.target_name!r}; it has {list(known)}."
                f"{did_you_mean(self.target_name, known)}"
            )
        names = getattr(model, "get_var_names", None)
        return None if names is None else as_names(names()[self.target_name])

    # labels

    def completed(self, values: Any, data: MuData, features: Any = None) -> Any:
        """Return values with means of labels where a batch did not measure a feature."""
        known = Measured.of(modality_of(data, self.target_name), features)
        if known is None:
            return values
        return fill(known.without(values), self._labels(data, self.target_name))

    def codes_and_names(
        self, reference: MuData | None = None
    ) -> tuple[IntArray, IntArray, list[str]]:
        """Return the codes of both modalities, and the names of the labels."""
        labels = self._labels(self.mdata, self.source)
        names, (codes_x, codes_y) = encode(
            labels, self._labels(reference or self.mdata, self.target_name)
        )
        return codes_x, codes_y, names

    def _labels(self, data: MuData, modality: str) -> Labels:
        return labels_of_modality(
            data,
            modality,
            self.label_key,
            self.unlabeled_category,
            optional=self.labels_optional,
            declared=self.labels_declared,
        )

    def reference_space(
        self, reference: MuData, names: list[str]
    ) -> tuple[FloatArray, FloatArray, IntArray, IntArray] | None:
        """Return a space of both modalities of measured data, and their labels, if one is known."""
        pair = (self.source, self.target_name)
        if self.source not in reference.mod:
            return None
        latent = None
        if self.models:
            latent = getattr(self.models[0], "get_latent_representation", None)
        if latent is not None:
            z = [latent(reference, m) for m in pair]
        else:
            key = self.use_rep if isinstance(self.use_rep, str) else _keys.LATENT
            if any(key not in reference.mod[m].obsm for m in pair):
                return None
            z = [np.asarray(reference.mod[m].obsm[key]) for m in pair]
            if z[0].shape[1] != z[1].shape[1]:
                return None
        labels = [np.asarray(self._labels(reference, m), dtype=object) for m in pair]
        codes = [encode_labels(one, names).astype(np.intp) for one in labels]
        return z[0], z[1], codes[0], codes[1]


def _arguments(method: str) -> set[str]:
    """Return the optional arguments of :func:`scgroove.tl.impute` that go with a method."""
    imputer = IMPUTERS.get(method)
    takes = set(imputer.options)
    if "model" in imputer.needs:
        return takes | {"model"}
    takes |= {"layer"}
    if "coupling" in imputer.needs:
        takes |= {"coupling_key"}
    if {"space", "features"} & set(imputer.needs):
        takes |= {"use_rep"}
    return takes


def with_uncertainty(
    request: Request,
    found: Imputation,
    evidence: Mapping[str, Any],
    *,
    shrink: float | None,
    uncertainty: bool,
) -> tuple[Imputation, npt.NDArray[np.float32] | None, dict[str, Any]]:
    """Return the imputation, shrunk if asked for, its standard deviations, and evidence on them.

    There are no standard deviations if neither the data nor the training data of the model have
    cells of the target.
    """
    features, target = evidence["features"], request.target_name
    reference = None
    if uncertainty or shrink is not None:
        reference = _reference(request, features)
    if reference is None:
        if shrink is not None:
            raise InputError(
                f"shrink={shrink!r} draws values to the measured means of labels, but no measured "
                f"cell of {target!r} is at hand. Pass a MuData with {target!r}, or a model that is "
                f"loaded with its data."
            )
        return found, None, {}
    layer = request.layer if request.layer is not None else evidence.get("layer")
    measured = reference.mod[target]
    y = values_of(measured, target, None if layer in (None, "X") else layer)
    y = take_features(y, measured.var_names, features, modality=target)
    y = in_units_of(y, evidence, Measured.of(measured, features))
    y = request.completed(y, reference, features)
    codes_x, codes_y, names = request.codes_and_names(reference)
    spread = LabelSpread.of(y, codes_y, len(names), seed=request.seed)
    shape: dict[str, Any] = {}
    if shrink is not None:
        found = shrink_to_label(found, codes_x, spread, shrink)
        shape["shrink"] = float(shrink)
    if not uncertainty:
        return found, None, shape
    if spread.singles:
        used = "use that of all cells instead, which is too large"
        if np.isnan(spread.pooled).all():
            used = "are NaN"
        warn(
            f"no label has two measured cells of {target!r}, so that the spread inside labels is "
            f"not known: standard deviations and intervals {used}."
        )
    unseen = None
    if not spread.has(codes_x).all():
        space = request.reference_space(reference, names)
        if space is not None:
            z_x, z_y, own_x, own_y = space
            unseen = extrapolation_error(z_x, z_y, y, own_x, own_y, spread, seed=request.seed)
    shape["levels"], shape["quantiles"] = np.array(LEVELS), spread.quantiles
    shape["nonnegative"] = bool(y.min() >= 0)
    return found, predictive_sd(found, codes_x, spread, unseen), shape


def _reference(request: Request, features: Any) -> Any:
    """Return data with measured cells of all features: those given, or those of the model.

    Raises
    ------
    FeatureNamesError
        There are such data, but none that have all features.
    """
    target = request.target_name
    of_model = getattr(request.models[0], "adata", None) if request.models else None
    with_cells = [
        data
        for data in (request.mdata, of_model)
        if data is not None and target in data.mod and data.mod[target].n_obs
    ]
    for data in with_cells:
        if np.isin(features, as_names(data.mod[target].var_names)).all():
            return data
    if with_cells:
        feature_positions(
            as_names(with_cells[0].mod[target].var_names),
            features,
            modality=target,
            remedy="The model predicts them, and measured cells tell how far it can be off: pass "
            "data that measured all of them, or impute with uncertainty=False.",
        )
    return None
