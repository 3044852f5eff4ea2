"""Aligners: what makes a coupling between two modalities. Arrays and labels in, :class:`Coupling` out."""

from scgroove._validate import check_room
from scgroove.aligners._base import ALIGNERS, Aligner, BaseAligner, get
from scgroove.aligners._coot import CoOptimalTransport
from scgroove.aligners._coupling import THRESHOLD, Coupling, CouplingBlock
from scgroove.aligners._entropic_map import entropic_map
from scgroove.aligners._errors import ConvergenceError, ConvergenceWarning, TooLargeError
from scgroove.aligners._gromov import (
    FusedGromovWasserstein,
    GromovWasserstein,
    GromovWassersteinEach,
)
from scgroove.aligners._linear import EntropicOT, ExactOT, UnbalancedOT
from scgroove.aligners._matching import (
    MutualNearestNeighbors,
    OracleMatching,
    RandomMatching,
    SharedNearestNeighbors,
    UniformCoupling,
)
from scgroove.aligners._scan import EPSILONS, epsilon_scan
from scgroove.aligners._structure import LowRankCost

__all__ = [
    "ALIGNERS",
    "EPSILONS",
    "THRESHOLD",
    "Aligner",
    "BaseAligner",
    "CoOptimalTransport",
    "ConvergenceError",
    "ConvergenceWarning",
    "Coupling",
    "CouplingBlock",
    "EntropicOT",
    "ExactOT",
    "FusedGromovWasserstein",
    "GromovWasserstein",
    "GromovWassersteinEach",
    "LowRankCost",
    "MutualNearestNeighbors",
    "OracleMatching",
    "RandomMatching",
    "SharedNearestNeighbors",
    "TooLargeError",
    "UnbalancedOT",
    "UniformCoupling",
    "entropic_map",
    "epsilon_scan",
    "get",
]

check_room(__name__)
