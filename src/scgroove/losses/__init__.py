"""Terms of the objective, in plain torch."""

from ._backtranslation import BackTranslation
from ._contrastive import clip_loss, supcon_loss
from ._groupclip import GroupCLIP, group_clip_anchors, group_clip_loss
from ._prototypes import Prototypes
from ._reconstruction import Reconstruction, negative_log_likelihood
from ._terms import Networks, ScreenInfo, Term, TermBatch
from .counts import nb_log_likelihood
from .label_tower import LabelTower
from .similarities import similarity

__all__ = [
    "BackTranslation",
    "GroupCLIP",
    "LabelTower",
    "Networks",
    "Prototypes",
    "Reconstruction",
    "ScreenInfo",
    "Term",
    "TermBatch",
    "clip_loss",
    "group_clip_anchors",
    "group_clip_loss",
    "nb_log_likelihood",
    "negative_log_likelihood",
    "similarity",
    "supcon_loss",
]
