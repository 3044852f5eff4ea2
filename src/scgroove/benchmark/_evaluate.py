"""Scores of one cell of the grid, beside what they are by chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

import numpy as np

from scgroove import metrics
from scgroove._types import FloatArray
from scgroove.aligners import Coupling
from scgroove.benchmark._data import Loaded
from scgroove.data.features import Features
from scgroove.metrics.registry import ScoreList

KINDS: Final = ("representation", "coupling", "imputation")


def metric_names() -> dict[str, str]:
    """Return the metrics of the benchmark, those of your own included, and how to read each.

    Examples
    --------
    >>> metric_names()["trace_within_label"]
    'coupling, higher is better'
    """
    known = [metrics.METRICS.get(name) for name in metrics.METRICS]
    return {
        one.name: f"{one.kind}, {one.better} is better"
        for kind in KINDS
        for one in known
        if one.kind == kind
    }


def evaluate_representation(
    loaded: Loaded, found: Mapping[str, FloatArray], names: Sequence[str], seed: int
) -> list[dict[str, Any]]:
    """Return the scores of a representation: one row a metric.

    Parameters
    ----------
    loaded
        Data and truth.
    found
        For each modality, its representation, (n_m, k).
    names
        Metrics; those of other kinds are left out. Empty: all.
    seed
        For what the spread by chance rests on.
    """
    return _rows(loaded, names, "representation", seed, **_spaces(loaded, found))


def evaluate_coupling(
    loaded: Loaded,
    found: Mapping[str, FloatArray],
    coupling: Coupling,
    names: Sequence[str],
    seed: int,
) -> list[dict[str, Any]]:
    """Return the scores of a coupling, and of the values that it imputes: one row a metric.

    Imputed is what :meth:`Coupling.push` makes of the measured target values, on the scale on which learners see them
    (counts normalized and logged; every feature standardized).

    Parameters are those of :func:`evaluate_representation`, and the coupling.
    """
    spaces = _spaces(loaded, found)
    rows = _rows(loaded, names, "coupling", seed, coupling=coupling, **spaces)
    if not _asked(names, "imputation"):
        return rows
    measured = _measured(loaded)
    predicted = coupling.push(measured)
    return rows + _imputation(loaded, names, predicted, measured, seed)


def _spaces(loaded: Loaded, found: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
    return {"x": found[loaded.source], "y": found[loaded.target]}


def _asked(names: Sequence[str], kind: str) -> list[str]:
    """Return the metrics of a kind that are asked for."""
    return [
        name
        for name in (names or metrics.METRICS.names())
        if metrics.METRICS.get(name).kind == kind
    ]


def _rows(
    loaded: Loaded, names: Sequence[str], kind: str, seed: int, **given: Any
) -> list[dict[str, Any]]:
    asked = _asked(names, kind)
    if not asked:
        return []
    truth: dict[str, Any] = {"labels_x": loaded.labels[0], "labels_y": loaded.labels[1]}
    if loaded.partner is not None:
        truth["partner"] = loaded.partner
    if loaded.latents is not None:
        truth["latent_x"], truth["latent_y"] = loaded.latents
    if loaded.doses is not None:
        truth["doses_x"], truth["doses_y"] = loaded.doses
    return _as_rows(metrics.scores(asked, missing="skip", seed=seed, **given, **truth))


def _measured(loaded: Loaded) -> FloatArray:
    """Return the measured values of target cells as learners see them, float32 (n_target, d)."""
    adata = loaded.hidden.mod[loaded.target]
    return Features.fit(adata, loaded.target)(adata)


def _imputation(
    loaded: Loaded, names: Sequence[str], predicted: Any, measured: FloatArray, seed: int
) -> list[dict[str, Any]]:
    """Return the scores of imputed values, over the source cells that the coupling reaches."""
    reached = ~np.isnan(predicted).any(axis=1)
    if not reached.any():
        return []
    partner = None if loaded.partner is None else loaded.partner[reached]
    part: dict[str, Any] = {"labels_x": loaded.labels[0][reached], "labels_y": loaded.labels[1]}
    if loaded.control is not None and loaded.control in part["labels_x"]:
        part["control"] = loaded.control
    if partner is not None and (partner >= 0).any():
        part["partner"] = partner
    asked = _asked(names, "imputation")
    return _as_rows(
        metrics.scores(
            asked,
            missing="skip",
            seed=seed,
            predicted=predicted[reached],
            measured=measured,
            **part,
        )
    )


def _as_rows(scores: ScoreList) -> list[dict[str, Any]]:
    return [{"metric": one.pop("name"), **one} for one in map(asdict, scores)]
