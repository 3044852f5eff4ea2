"""Learners: what makes a representation. MuData in, one array a modality out."""

from scgroove.learners._base import LEARNERS, Learner, LearnerOutputError, check_output, construct, get

__all__ = ["LEARNERS", "Learner", "LearnerOutputError", "check_output", "construct", "get"]
