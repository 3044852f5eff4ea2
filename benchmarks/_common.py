"""What the benchmark scripts share: learners to compare, and the score."""

from __future__ import annotations

import inspect
import logging
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from mudata import MuData
from scipy import stats
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

import scgroove as sg
from scgroove.benchmark import LearnerSpec
from scgroove.learners import GrooveLearner
from scgroove.losses import Prototypes

Latent = dict[str, np.ndarray]

ABLATIONS: dict[str, dict[str, Any]] = {
    "groove_mlp": {"encoder": "mlp", "dropout": 0.3},
    "groove_no_groupclip": {"groupclip_weight": 0.0},
    "groove_no_backtranslation": {"backtranslation_weight": 0.0},
    "groove_no_reconstruction": {"reconstruction_weight": 0.0},
    "groove_groupclip_only": {"reconstruction_weight": 0.0, "backtranslation_weight": 0.0},
    "groove_autoencoder": {"groupclip_weight": 0.0, "backtranslation_weight": 0.0},
    "groove_outside": {"positives": "outside"},
}
"""Ablations of GROOVE by name: options of the learner ``groove``."""
PROTOTYPES: dict[str, Any] = {"groupclip_weight": 0.0, "terms": (Prototypes(),)}
"""Prototypes in place of GroupCLIP, as options of the learner ``groove``."""


def quiet() -> None:
    """One thread, so that seeds give the same bits; no chatter."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)


def learner_spec(name: str, device: str = "cpu") -> LearnerSpec:
    """Return a learner or an ablation of GROOVE by name, its networks on the device if it has any."""
    learner, options = ("groove", ABLATIONS[name]) if name in ABLATIONS else (name, {})
    has_networks = "device" in inspect.signature(sg.learners.get(learner)).parameters
    if has_networks and device != "cpu":
        options = {**options, "device": device}
    return LearnerSpec(learner, name, options)


def trained(
    mdata: MuData,
    seed: int,
    train: Mapping[str, Any] | None = None,
    weight_key: str | None = None,
    **model: Any,
) -> sg.model.GROOVE:
    """Train GROOVE on all cells."""
    sg.model.GROOVE.setup_mudata(mdata, "label", weight_key=weight_key, min_cells_per_label=1)
    net = sg.model.GROOVE(mdata, seed=seed, **model)
    options = {
        "train_size": 1.0,
        "accelerator": "cpu",
        "enable_progress_bar": False,
        "logger": None,
        **(train or {}),
    }
    net.train(seed=seed, **options)
    return net


def groove(
    mdata: MuData, seed: int, train: Mapping[str, Any] | None = None, **model: Any
) -> Latent:
    """Train GROOVE on all cells and encode them."""
    return trained(mdata, seed, train, **model).get_latent_representation()


def half_width(x: Any) -> float:
    """Half of the 95 % interval of a mean, by Student's t; NaN of a single value."""
    return (
        float(stats.t.ppf(0.975, len(x) - 1) * np.std(x, ddof=1) / np.sqrt(len(x)))
        if len(x) > 1
        else np.nan
    )


def learner(**options: Any) -> Callable[[MuData, int], Latent]:
    """Return how the learner ``groove`` with these options embeds all cells."""
    return lambda mdata, seed: GrooveLearner(**options).fit_transform(mdata, "label", seed=seed)


def inputs(mdata: MuData) -> Latent:
    """Features as the baselines see them: counts normalized to the median library and logged, then standardized."""
    found = {}
    for m, adata in mdata.mod.items():
        x = adata.X.toarray() if hasattr(adata.X, "toarray") else np.asarray(adata.X)
        x = x.astype(np.float64)
        if (x == np.round(x)).all() and x.min() >= 0 and x.max() > 1:
            library = x.sum(axis=1, keepdims=True)
            x = np.log1p(x / library * np.median(library))
        found[m] = StandardScaler().fit_transform(x)
    return found


def logistic_logits(mdata: MuData, seed: int, c: float = 0.1) -> Latent:
    """Propensity logits: one logistic regression a modality on the label, standardized logits in-sample."""
    found = {}
    for m, x in inputs(mdata).items():
        label = mdata[m].obs["label"].astype(str)
        fit = LogisticRegression(C=c, max_iter=2000).fit(x, label)
        found[m] = StandardScaler().fit_transform(fit.decision_function(x))
    return found


def within_label_foscttm(mdata: MuData, latent: Latent) -> float:
    """Mean within-label FOSCTTM of a co-assayed MuData; partners are found by name."""
    a, b = latent
    partner = mdata[b].obs_names.get_indexer(mdata[a].obs_names)
    labels = {m: mdata[m].obs["label"].astype(str).to_numpy() for m in (a, b)}
    return float(
        sg.metrics.foscttm(
            latent[a], latent[b], partner, labels_x=labels[a], labels_y=labels[b], within_label=True
        )
    )
