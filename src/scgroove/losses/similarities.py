"""Similarity of embeddings."""

from __future__ import annotations

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import InputError

BLOCK_VALUES = 2**20
"""Similarities computed at a time (4 MB)."""

Similarity = Literal["cosine", "dot", "euclidean"]
Positives = Literal["inside", "outside"]


def similarity(x: Tensor, y: Tensor, kind: Similarity = "cosine") -> Tensor:
    """Return the pairwise similarity of two sets of embeddings, (n, m). Larger is closer.

    Parameters
    ----------
    x, y
        Embeddings, shapes (n, k) and (m, k). Half precision is raised to float32.
    kind
        ``"cosine"``, ``"dot"``, or ``"euclidean"`` (minus the squared distance).
    """
    x, y = full_precision(x), full_precision(y)
    if kind == "cosine":
        return F.normalize(x, dim=1) @ F.normalize(y, dim=1).T
    if kind == "dot":
        return x @ y.T
    if kind == "euclidean":
        return 2 * x @ y.T - x.square().sum(1, keepdim=True) - y.square().sum(1)
    raise InputError(f"Unknown similarity {kind!r}. Expected one of {get_args(Similarity)}.")


def full_precision(x: Tensor) -> Tensor:
    """Return half precision as float32, and anything else as it is."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def rows_at_a_time(n_candidates: int) -> int:
    """Return the number of anchors whose similarities are computed at a time."""
    return max(1, BLOCK_VALUES // max(n_candidates, 1))
