"""How GROOVE is trained."""

from ._freeze import Freeze
from ._plan import GROOVETrainingPlan

__all__ = ["Freeze", "GROOVETrainingPlan"]
