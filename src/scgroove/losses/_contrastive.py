"""CLIP and supervised contrastive losses, independent of GroupCLIP."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .similarities import Positives, Similarity, similarity


def clip_loss(
    x: Tensor, y: Tensor, *, temperature: float | Tensor = 0.1, kind: Similarity = "cosine"
) -> Tensor:
    """Symmetric CLIP loss of pairs: row i of ``x`` belongs to row i of ``y``, shapes (n, k).

    For ``temperature`` and ``kind`` see :func:`scgroove.losses.group_clip_anchors`.

    References
    ----------
    Radford et al. 2021, arXiv 2103.00020, figure 3.
    """
    logits = similarity(x, y, kind) / temperature
    truth = torch.arange(len(x), device=x.device)
    return (F.cross_entropy(logits, truth) + F.cross_entropy(logits.T, truth)) / 2


def supcon_loss(
    z: Tensor,
    labels: Tensor,
    *,
    temperature: float | Tensor = 0.1,
    kind: Similarity = "cosine",
    positives: Positives = "outside",
) -> Tensor:
    """Supervised contrastive loss inside one modality, mean over the anchors that have a positive.

    Parameters
    ----------
    z
        Embeddings, shape (n, k).
    labels
        Codes, shape (n,). Unlabeled cells (negative) are neither anchors nor candidates.
    temperature, kind
        See :func:`scgroove.losses.group_clip_anchors`.
    positives
        ``"outside"`` the logarithm (L_out of the reference) or ``"inside"`` (its L_in without the
        factor 1 / number of positives).

    Returns
    -------
    Scalar, zero when no anchor has a positive.

    References
    ----------
    Khosla et al. 2020, arXiv 2004.11362, equations 2 and 3.
    """
    z, labels = z[labels >= 0], labels[labels >= 0]
    off_diagonal = ~torch.eye(len(z), dtype=torch.bool, device=z.device)
    logits = (similarity(z, z, kind) / temperature).masked_fill(~off_diagonal, -torch.inf)
    log_prob = logits - logits.logsumexp(dim=1, keepdim=True)
    positive = (labels[:, None] == labels[None, :]) & off_diagonal
    anchors = positive.any(dim=1)
    if not anchors.any():
        return z.sum() * 0.0
    log_prob, positive = log_prob[anchors], positive[anchors]
    if positives == "inside":
        return -log_prob.masked_fill(~positive, -torch.inf).logsumexp(dim=1).mean()
    return -(log_prob.masked_fill(~positive, 0.0).sum(dim=1) / positive.sum(dim=1)).mean()
