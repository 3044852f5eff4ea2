"""Imputers of a modality that was not measured: arrays in, :class:`Imputation` out."""

from scgroove._validate import check_room
from scgroove.imputers._averages import barycentric, knn
from scgroove.imputers._imputation import Imputation
from scgroove.imputers._label_stack import LabelStack
from scgroove.imputers._methods import IMPUTERS, ImputationInputs, imputer
from scgroove.imputers._regression import CouplingRegression, LabelRidge

__all__ = [
    "IMPUTERS",
    "CouplingRegression",
    "Imputation",
    "ImputationInputs",
    "LabelRidge",
    "LabelStack",
    "barycentric",
    "imputer",
    "knn",
]

check_room(__name__)
