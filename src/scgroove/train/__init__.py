"""How GROOVE is trained."""

from ._plan import GROOVETrainingPlan
from .freeze import Freeze

__all__ = ["Freeze", "GROOVETrainingPlan"]
