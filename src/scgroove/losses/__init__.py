"""The terms of the objective, in plain torch: tensors in, scalar out."""

from ._backtranslation import back_translation
from ._contrastive import clip_loss, supcon_loss
from ._groupclip import GroupCLIPLoss, group_clip_anchors, group_clip_loss, similarity
from ._reconstruction import negative_log_likelihood

__all__ = [
    "GroupCLIPLoss",
    "back_translation",
    "clip_loss",
    "group_clip_anchors",
    "group_clip_loss",
    "negative_log_likelihood",
    "similarity",
    "supcon_loss",
]
