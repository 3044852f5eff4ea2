"""The terms of the objective, in plain torch: tensors in, scalar out."""

from ._backtranslation import back_translation
from ._contrastive import clip_loss, supcon_loss
from ._counts import nb_log_likelihood, poisson_log_likelihood
from ._distributed import gather, total, world_size
from ._groupclip import GroupCLIPLoss, group_clip_anchors, group_clip_loss
from ._independence import cross_correlation, joint_concentration
from ._prototypes import PrototypeBank
from ._reconstruction import negative_log_likelihood
from ._refinement import Refinement, batched_plans, label_refinement
from ._similarity import similarity
from ._soft import certainty, membership_agreement, soft_group_clip_anchors

__all__ = [
    "GroupCLIPLoss",
    "PrototypeBank",
    "Refinement",
    "back_translation",
    "batched_plans",
    "certainty",
    "clip_loss",
    "cross_correlation",
    "gather",
    "group_clip_anchors",
    "group_clip_loss",
    "joint_concentration",
    "label_refinement",
    "membership_agreement",
    "nb_log_likelihood",
    "negative_log_likelihood",
    "poisson_log_likelihood",
    "similarity",
    "soft_group_clip_anchors",
    "supcon_loss",
    "total",
    "world_size",
]
