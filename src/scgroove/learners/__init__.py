"""Learners of representations: MuData in, one array a modality out."""

from scgroove._validate import check_room
from scgroove.learners import _contrastive, _davae, _external  # noqa: F401, they register learners
from scgroove.learners._base import (
    LEARNERS,
    Learner,
    check_output,
    construct,
    get,
    unavailable_reason,
)
from scgroove.learners._ceiling import OracleLatent
from scgroove.learners._classical import (
    LinearDiscriminants,
    PrincipalComponents,
    RandomRepresentation,
)
from scgroove.learners._groove import GrooveLearner
from scgroove.learners._procrustes import GroupProcrustes
from scgroove.learners._propensity import LogisticPropensity, MLPPropensity
from scgroove.learners.centered import LabelCentered
from scgroove.learners.label_cca import LabelCCA
from scgroove.learners.training import NetworkLearner

__all__ = [
    "LEARNERS",
    "GrooveLearner",
    "GroupProcrustes",
    "LabelCCA",
    "LabelCentered",
    "Learner",
    "LinearDiscriminants",
    "LogisticPropensity",
    "MLPPropensity",
    "NetworkLearner",
    "OracleLatent",
    "PrincipalComponents",
    "RandomRepresentation",
    "check_output",
    "construct",
    "get",
    "unavailable_reason",
]

check_room(__name__)
