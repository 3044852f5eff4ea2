"""Aligners: what makes a coupling between two modalities. Arrays and labels in, :class:`Coupling` out."""

from scgroove.aligners._base import ALIGNERS, Aligner, ConvergenceWarning, TooLargeError, get
from scgroove.aligners._coupling import THRESHOLD, Coupling, CouplingBlock
from scgroove.aligners._entropic_map import entropic_map
from scgroove.aligners._linear import EntropicOT, ExactOT

__all__ = [
    "ALIGNERS",
    "THRESHOLD",
    "Aligner",
    "ConvergenceWarning",
    "Coupling",
    "CouplingBlock",
    "EntropicOT",
    "ExactOT",
    "TooLargeError",
    "entropic_map",
    "get",
]
