"""Metrics of matching and of imputation: arrays in, a number (or one per cell, feature or label) out.

Every metric that is one number also stands in the registry :data:`METRICS` under its name. :func:`scores` evaluates
metrics by name, each beside what it has by chance.
"""

from scgroove._validate import check_room
from scgroove.metrics import _preset_scores  # noqa: F401  registers them
from scgroove.metrics._barycentric import (
    barycentric_foscttm,
    barycentric_foscttm_per_cell,
    barycentric_projection,
)
from scgroove.metrics._calibration import Reliability, expected_calibration_error, reliability
from scgroove.metrics._candidates import METRICS
from scgroove.metrics._chance import Chance, chance
from scgroove.metrics._correlation import (
    pearson_per_cell,
    pearson_per_feature,
    spearman_per_cell,
    spearman_per_feature,
)
from scgroove.metrics._effective_rank import (
    within_label_rank,
    within_label_rank_per_label,
    within_label_variance,
    within_label_variance_per_label,
)
from scgroove.metrics._energy import energy_distance, energy_distance_per_label
from scgroove.metrics._foscttm import Metric, foscttm, foscttm_per_cell
from scgroove.metrics._foscttm_coupling import foscttm_coupling, foscttm_coupling_per_cell
from scgroove.metrics._label_mass import label_mass
from scgroove.metrics._label_test import (
    ALPHA,
    FEWEST_CELLS,
    CorrelationTest,
    LabelTest,
    label_mean_test,
    label_test,
    label_verdict,
    partner_test,
    told_labels,
)
from scgroove.metrics._label_transfer import label_transfer, label_transfer_per_cell
from scgroove.metrics._latent_error import latent_error
from scgroove.metrics._leakage import leakage
from scgroove.metrics._presets import (
    PRESETS,
    perturbot_dose_fraction,
    perturbot_foscttm,
    perturbot_prediction,
    psa_foscttm,
    psa_latent_mse,
    psa_probe_r2,
    psa_trace,
)
from scgroove.metrics._retention import retention
from scgroove.metrics._retrieval import mean_reciprocal_rank, partner_rank_per_cell, recall_at_k
from scgroove.metrics._score import (
    NEEDS,
    SCORES,
    Found,
    Material,
    Score,
    ScoredMetric,
    ScoreList,
    register,
    score,
    scores,
)
from scgroove.metrics._squared_error import mse, mse_per_cell, mse_per_feature, r2, r2_per_feature
from scgroove.metrics._trace import trace, trace_over_chance, trace_per_cell
from scgroove.metrics.baselines import control_mean, label_mean, shuffled_within_label
from scgroove.metrics.effects import (
    effect_pearson,
    effect_pearson_per_label,
    effect_sign_agreement,
    effect_sign_agreement_per_label,
    label_effects,
)

__all__ = [
    "ALPHA",
    "FEWEST_CELLS",
    "METRICS",
    "NEEDS",
    "PRESETS",
    "SCORES",
    "Chance",
    "CorrelationTest",
    "Found",
    "LabelTest",
    "Material",
    "Metric",
    "Reliability",
    "Score",
    "ScoreList",
    "ScoredMetric",
    "barycentric_foscttm",
    "barycentric_foscttm_per_cell",
    "barycentric_projection",
    "chance",
    "control_mean",
    "effect_pearson",
    "effect_pearson_per_label",
    "effect_sign_agreement",
    "effect_sign_agreement_per_label",
    "energy_distance",
    "energy_distance_per_label",
    "expected_calibration_error",
    "foscttm",
    "foscttm_coupling",
    "foscttm_coupling_per_cell",
    "foscttm_per_cell",
    "label_effects",
    "label_mass",
    "label_mean",
    "label_mean_test",
    "label_test",
    "label_transfer",
    "label_transfer_per_cell",
    "label_verdict",
    "latent_error",
    "leakage",
    "mean_reciprocal_rank",
    "mse",
    "mse_per_cell",
    "mse_per_feature",
    "partner_rank_per_cell",
    "partner_test",
    "pearson_per_cell",
    "pearson_per_feature",
    "perturbot_dose_fraction",
    "perturbot_foscttm",
    "perturbot_prediction",
    "psa_foscttm",
    "psa_latent_mse",
    "psa_probe_r2",
    "psa_trace",
    "r2",
    "r2_per_feature",
    "recall_at_k",
    "register",
    "reliability",
    "retention",
    "score",
    "scores",
    "shuffled_within_label",
    "spearman_per_cell",
    "spearman_per_feature",
    "told_labels",
    "trace",
    "trace_over_chance",
    "trace_per_cell",
    "within_label_rank",
    "within_label_rank_per_label",
    "within_label_variance",
    "within_label_variance_per_label",
]

check_room(__name__, METRICS)
