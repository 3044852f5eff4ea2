"""How GROOVE is trained."""

from ._plan import GROOVETrainingPlan

__all__ = ["GROOVETrainingPlan"]
