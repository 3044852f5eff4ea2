"""The terms of the objective, in plain torch: tensors in, scalar out."""

from ._backtranslation import back_translation
from ._contrastive import clip_loss, supcon_loss
from ._counts import nb_log_likelihood, poisson_log_likelihood
from ._distributed import gather, total, world_size
from ._groupclip import GroupCLIPLoss, group_clip_anchors, group_clip_loss, similarity
from ._prototypes import PrototypeBank
from ._reconstruction import negative_log_likelihood

__all__ = [
    "GroupCLIPLoss",
    "PrototypeBank",
    "back_translation",
    "clip_loss",
    "gather",
    "group_clip_anchors",
    "group_clip_loss",
    "nb_log_likelihood",
    "negative_log_likelihood",
    "poisson_log_likelihood",
    "similarity",
    "supcon_loss",
    "total",
    "world_size",
]
