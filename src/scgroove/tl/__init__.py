"""Verbs: each reads keys of a MuData, computes, and writes the keys that its docstring lists."""

from scgroove._validate import check_room
from scgroove.tl._align import align
from scgroove.tl._center_labels import center_labels
from scgroove.tl._collapse import collapse
from scgroove.tl._efficacy import estimate_efficacy
from scgroove.tl._embed import embed
from scgroove.tl._epsilon_scan import epsilon_scan
from scgroove.tl._impute import impute
from scgroove.tl._infer_labels import infer_labels
from scgroove.tl._label_embeddings import check_label_embeddings
from scgroove.tl._perturbation_effects import perturbation_effects
from scgroove.tl._score import score_matching
from scgroove.tl._score_imputation import score_imputation
from scgroove.tl._select_aligner import select_aligner
from scgroove.tl._transfer_labels import transfer_labels
from scgroove.tl._umap import umap

__all__ = [
    "align",
    "center_labels",
    "check_label_embeddings",
    "collapse",
    "embed",
    "epsilon_scan",
    "estimate_efficacy",
    "impute",
    "infer_labels",
    "perturbation_effects",
    "score_imputation",
    "score_matching",
    "select_aligner",
    "transfer_labels",
    "umap",
]

check_room(__name__)
