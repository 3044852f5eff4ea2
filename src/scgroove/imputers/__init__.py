"""What fills in a modality that was not measured: arrays in, :class:`Imputation` out; and how far its values can be trusted."""

from scgroove._validate import check_room
from scgroove.imputers._averages import (
    N_NEIGHBORS,
    barycentric,
    effective_partners,
    extrapolate,
    knn,
)
from scgroove.imputers._imputation import Imputation, ensemble
from scgroove.imputers._label_ridge import LabelRidge
from scgroove.imputers._regression import CouplingRegression
from scgroove.imputers._shrink import shrink_to_label
from scgroove.imputers._spread import LEVELS, LabelSpread, extrapolation_error, predictive_sd

__all__ = [
    "LEVELS",
    "N_NEIGHBORS",
    "CouplingRegression",
    "Imputation",
    "LabelRidge",
    "LabelSpread",
    "barycentric",
    "effective_partners",
    "ensemble",
    "extrapolate",
    "extrapolation_error",
    "knn",
    "predictive_sd",
    "shrink_to_label",
]

check_room(__name__)
