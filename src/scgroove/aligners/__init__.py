"""Aligners: couplings between two modalities. Arrays and labels in, :class:`Coupling` out.

Classes of methods that are not named here come from :func:`get`, such as ``get("snn")``.
"""

from scgroove._validate import check_room
from scgroove.aligners import _neighbors as _neighbors  # registers its methods
from scgroove.aligners import _yardsticks as _yardsticks
from scgroove.aligners._coot import CoOptimalTransport
from scgroove.aligners._coupling import Coupling, CouplingBlock
from scgroove.aligners._gromov import FusedGromovWasserstein, GromovWasserstein
from scgroove.aligners._linear import EntropicOT, ExactOT, UnbalancedOT
from scgroove.aligners._structure import LowRankCost
from scgroove.aligners.base import ALIGNERS, BaseAligner, get
from scgroove.aligners.mapping import entropic_map

__all__ = [
    "ALIGNERS",
    "BaseAligner",
    "CoOptimalTransport",
    "Coupling",
    "CouplingBlock",
    "EntropicOT",
    "ExactOT",
    "FusedGromovWasserstein",
    "GromovWasserstein",
    "LowRankCost",
    "UnbalancedOT",
    "entropic_map",
    "get",
]

check_room(__name__)
