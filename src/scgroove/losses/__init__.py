"""The terms of the objective, in plain torch."""

from ._agreement import Agreement
from ._backtranslation import BackTranslation
from ._contrastive import clip_loss, supcon_loss
from ._counts import nb_log_likelihood, poisson_log_likelihood
from ._distributed import gather, total, world_size
from ._groupclip import GroupCLIP, group_clip_anchors, group_clip_loss
from ._label_tower import LabelEmbeddings, LabelTower, embedding_matrix, rows_by_label
from ._prototypes import Prototypes
from ._reconstruction import Reconstruction, negative_log_likelihood
from ._similarity import Positives, Similarity, similarity
from ._soft import label_agreement, soft_group_clip_anchors
from ._terms import Networks, ScreenInfo, Term, TermBatch

__all__ = [
    "Agreement",
    "BackTranslation",
    "GroupCLIP",
    "LabelEmbeddings",
    "LabelTower",
    "Networks",
    "Positives",
    "Prototypes",
    "Reconstruction",
    "ScreenInfo",
    "Similarity",
    "Term",
    "TermBatch",
    "clip_loss",
    "embedding_matrix",
    "gather",
    "group_clip_anchors",
    "group_clip_loss",
    "label_agreement",
    "nb_log_likelihood",
    "negative_log_likelihood",
    "poisson_log_likelihood",
    "rows_by_label",
    "similarity",
    "soft_group_clip_anchors",
    "supcon_loss",
    "total",
    "world_size",
]
