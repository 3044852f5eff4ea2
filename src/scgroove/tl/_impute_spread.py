"""How far imputed values can be off, on a MuData."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from scgroove import _keys
from scgroove._types import Float64Array, FloatArray, IntArray
from scgroove._warnings import warn
from scgroove.data.features import as_names, feature_positions, take_features
from scgroove.data.measured import Measured
from scgroove.data.screen import values_of
from scgroove.errors import InputError
from scgroove.get.values import in_units_of
from scgroove.imputers import (
    LEVELS,
    Imputation,
    LabelSpread,
    extrapolation_error,
    predictive_sd,
    shrink_to_label,
)
from scgroove.tl._impute_methods import Request

Described = tuple[Imputation, npt.NDArray[np.float32] | None, dict[str, Any]]


def describe(
    request: Request,
    found: Imputation,
    made: Mapping[str, Any],
    *,
    shrink: float | None,
    uncertainty: bool,
) -> Described:
    """Return the imputation, drawn to the means of labels if asked for, its standard deviations, and what goes into ``uns``.

    No standard deviations where no cell of the target is at hand: neither in the data, nor in those that the model was
    trained on.
    """
    features = made["features"]
    reference = _reference(request, features) if uncertainty or shrink is not None else None
    if reference is None:
        if shrink is not None:
            raise InputError(
                f"shrink={shrink!r} draws values to the measured means of labels, but no measured cell of {request.target!r} is at "
                f"hand. Pass a MuData with {request.target!r}, or a model that is loaded with its data."
            )
        return found, None, {}
    layer = request.layer if request.layer is not None else made.get("layer")
    measured = reference.mod[request.target]
    y = values_of(measured, request.target, None if layer in (None, "X") else layer)
    y = take_features(y, measured.var_names, features, modality=request.target)
    y = in_units_of(y, made, Measured.of(measured, features))
    y = request.completed(y, reference, features)
    codes_x, codes_y, names = request.codes(reference)
    spread = LabelSpread.of(y, codes_y, len(names), seed=request.seed)
    shape: dict[str, Any] = {}
    if shrink is not None:
        found, shape = shrink_to_label(found, codes_x, spread, shrink), {"shrink": float(shrink)}
    if not uncertainty:
        return found, None, shape
    if spread.singles:
        used = (
            "are NaN"
            if np.isnan(spread.pooled).all()
            else "use that of all cells instead, which is too large"
        )
        warn(
            f"no label has two measured cells of {request.target!r}, so that the spread inside labels is not known: standard "
            f"deviations and intervals {used}.",
        )
    unseen = None if spread.has(codes_x).all() else _unseen(request, reference, y, spread, names)
    shape |= {
        "levels": np.array(LEVELS),
        "quantiles": spread.quantiles,
        "nonnegative": bool(y.min() >= 0),
    }
    return found, predictive_sd(found, codes_x, spread, unseen), shape


def _reference(request: Request, features: Any) -> Any:
    """Return data with measured cells of the target: those given, or those that the model was trained on; None without any.

    Raises
    ------
    FeatureNamesError
        If there are such data, but none that have all features.
    """
    of_model = getattr(request.models[0], "adata", None) if request.models else None
    with_cells = [
        data
        for data in (request.mdata, of_model)
        if data is not None and request.target in data.mod and data.mod[request.target].n_obs
    ]
    complete = [data for data in with_cells if np.isin(features, _names(data, request)).all()]
    if with_cells and not complete:
        remedy = (
            "The model predicts them, and how far it can be off is told by measured cells: pass data that measured all of "
            "them, or impute with uncertainty=False."
        )
        feature_positions(
            _names(with_cells[0], request), features, modality=request.target, remedy=remedy
        )
    return complete[0] if complete else None


def _names(data: Any, request: Request) -> Any:
    return as_names(data.mod[request.target].var_names)


def _unseen(
    request: Request, reference: Any, y: Any, spread: LabelSpread, names: list[str]
) -> Float64Array | None:
    """Return the squared bias of labels never measured, where both modalities lie in one space with their labels."""
    if request.source not in reference.mod:
        return None
    pair = _shared_space(request, reference)
    if pair is None:
        return None
    codes_x, codes_y = _codes_in(request, reference, names)
    return extrapolation_error(*pair, y, codes_x, codes_y, spread, seed=request.seed)


def _codes_in(request: Request, reference: Any, names: list[str]) -> tuple[IntArray, IntArray]:
    """Return the labels of both modalities of the reference in the vocabulary of the spread."""
    from scgroove.data.labels import encode_labels

    codes = []
    for m in (request.source, request.target):
        labels = np.asarray(request.labels(reference, m), dtype=object)
        codes.append(encode_labels(labels, names).astype(np.intp))
    return codes[0], codes[1]


def _shared_space(request: Request, reference: Any) -> tuple[FloatArray, FloatArray] | None:
    """Return a space that both modalities share: the one asked for, that of the model, or that of the data; None if none is known."""
    pair = (request.source, request.target)
    latent = (
        getattr(request.models[0], "get_latent_representation", None) if request.models else None
    )
    if latent is not None:
        return latent(reference, pair[0]), latent(reference, pair[1])
    name = request.use_rep if isinstance(request.use_rep, str) else _keys.LATENT
    found = [np.asarray(reference.mod[m].obsm[name]) for m in pair if name in reference.mod[m].obsm]
    if len(found) < 2 or found[0].shape[1] != found[1].shape[1]:
        return None
    return found[0], found[1]
