"""Metrics of matching and of imputation, on arrays.

:func:`scores` evaluates the metrics of the registry :data:`METRICS` by name, each beside its value
by chance. ``per=`` of the functions returns one value per cell, feature or label.
"""

from scgroove._validate import check_room
from scgroove.metrics import (  # noqa: F401  each registers its metrics
    _barycentric,
    _energy,
    _foscttm_coupling,
    _label_mass,
    _latent_error,
    _retrieval,
    _squared_error,
    _trace,
    effects,
)
from scgroove.metrics._chance import chance
from scgroove.metrics._collapse import within_label_rank, within_label_variance
from scgroove.metrics._correlation import correlation
from scgroove.metrics._foscttm import foscttm
from scgroove.metrics._label_transfer import label_transfer
from scgroove.metrics._retention import retention
from scgroove.metrics.baselines import control_mean, label_mean, shuffled_within_label
from scgroove.metrics.calibration import expected_calibration_error
from scgroove.metrics.permutation_tests import (
    label_mean_test,
    label_test,
    label_verdict,
    partner_test,
)
from scgroove.metrics.registry import METRICS, MetricInputs, Score, register, score, scores

__all__ = [
    "METRICS",
    "MetricInputs",
    "Score",
    "chance",
    "control_mean",
    "correlation",
    "expected_calibration_error",
    "foscttm",
    "label_mean",
    "label_mean_test",
    "label_test",
    "label_transfer",
    "label_verdict",
    "partner_test",
    "register",
    "retention",
    "score",
    "scores",
    "shuffled_within_label",
    "within_label_rank",
    "within_label_variance",
]

check_room(__name__)
