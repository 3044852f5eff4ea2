"""Aligners: what makes a coupling between two modalities. Arrays and labels in, :class:`Coupling` out."""

from scgroove.aligners._base import ALIGNERS, Aligner, ConvergenceWarning, TooLargeError, get
from scgroove.aligners._coupling import Coupling, CouplingBlock
from scgroove.aligners._linear import EntropicOT, ExactOT

__all__ = [
    "ALIGNERS",
    "Aligner",
    "ConvergenceWarning",
    "Coupling",
    "CouplingBlock",
    "EntropicOT",
    "ExactOT",
    "TooLargeError",
    "get",
]
