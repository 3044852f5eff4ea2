"""Learners: what makes a representation. MuData in, one array a modality out."""

from scgroove._validate import check_room
from scgroove.learners._base import LEARNERS, Learner, check_output, construct, get
from scgroove.learners._ceiling import OracleLatent
from scgroove.learners._classical import (
    LabelCCA,
    LinearDiscriminants,
    PrincipalComponents,
    RandomRepresentation,
)
from scgroove.learners._contrastive import CLIPOracle, CLIPPseudo, SupCon
from scgroove.learners._davae import DAVAE, AdversarialVAE
from scgroove.learners._external import (
    DiagviLearner,
    GlueLearner,
    MoscotLearner,
    unavailable_reason,
)
from scgroove.learners._groove import GrooveLearner, GroovePaper
from scgroove.learners._mmd import MMD
from scgroove.learners._procrustes import GroupProcrustes, LDAProcrustes, PCAProcrustes
from scgroove.learners._propensity import PENALTY_GRID, LogisticPropensity, ScaledLogisticPropensity
from scgroove.learners._propensity_mlp import MLPPropensity
from scgroove.learners.centered import (
    GrooveCentered,
    LabelCCACentered,
    LabelCentered,
    LogisticCentered,
)

__all__ = [
    "DAVAE",
    "LEARNERS",
    "MMD",
    "PENALTY_GRID",
    "AdversarialVAE",
    "CLIPOracle",
    "CLIPPseudo",
    "DiagviLearner",
    "GlueLearner",
    "GrooveCentered",
    "GrooveLearner",
    "GroovePaper",
    "GroupProcrustes",
    "LDAProcrustes",
    "LabelCCA",
    "LabelCCACentered",
    "LabelCentered",
    "Learner",
    "LinearDiscriminants",
    "LogisticCentered",
    "LogisticPropensity",
    "MLPPropensity",
    "MoscotLearner",
    "OracleLatent",
    "PCAProcrustes",
    "PrincipalComponents",
    "RandomRepresentation",
    "ScaledLogisticPropensity",
    "SupCon",
    "check_output",
    "construct",
    "get",
    "unavailable_reason",
]

check_room(__name__)
