r"""GroupCLIP where cells count in part, and labels agree in part.

Reference: the case of weights of one and labels that agree with themselves only is equation 3 of Gorla et al. 2026,
arXiv 2602.04021.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ._similarity import Positives, Similarity, rows_at_a_time, similarity, slices


def label_agreement(x: Tensor, y: Tensor, agreement: Tensor | None = None) -> Tensor:
    """How far two sets of cells agree in their labels.

    Parameters
    ----------
    x, y
        Label codes, integers of shapes (n,) and (m,), negative without a label.
    agreement
        Agreement of labels, from 0 to 1 with ones on the diagonal, shape (n_labels, n_labels). The identity if None.

    Returns
    -------
    Tensor of shape (n, m), from 0 to 1. A cell without a label agrees with none.
    """
    if agreement is None:
        return ((x[:, None] == y[None, :]) & (y >= 0)[None, :]).float()
    known = (x >= 0)[:, None] & (y >= 0)[None, :]
    return agreement[x.clamp_min(0)][:, y.clamp_min(0)] * known


def soft_group_clip_anchors(
    x: Tensor,
    y: Tensor,
    labels_x: Tensor,
    labels_y: Tensor,
    *,
    weights_y: Tensor | None = None,
    agreement: Tensor | None = None,
    temperature: float | Tensor = 0.1,
    kind: Similarity = "cosine",
    positives: Positives = "inside",
) -> tuple[Tensor, Tensor]:
    r"""GroupCLIP loss of every anchor in ``x`` against weighted candidates in ``y``.

    .. math:: l_i = -\log \frac{\sum_j v_j S_{ij} e^{s(z_i, z_j) / \tau}}{\sum_j v_j e^{s(z_i, z_j) / \tau}}

    With whole labels and weights of one this is :func:`group_clip_anchors`. Large batches go in blocks of anchors that are computed
    again for the gradient.

    Parameters
    ----------
    x, y
        Embeddings of the anchors and of the candidates, shapes (n, k) and (m, k).
    labels_x, labels_y
        Integer label codes, shapes (n,) and (m,). Cells with a negative code are neither anchors nor candidates.
    weights_y
        :math:`v_j \ge 0`, shape (m,); ones if None. A candidate of weight zero is none.
    agreement
        Agreement of labels, see :func:`label_agreement`.
    temperature, kind, positives
        See :func:`group_clip_anchors`.

    Returns
    -------
    losses
        Of the anchors that have a positive, shape (n_anchors,); may be empty.
    anchors
        Which cells of ``x`` they are, shape (n_anchors,).
    """
    weights_y = torch.ones(len(y), device=y.device) if weights_y is None else weights_y.float()
    weights_y = weights_y * (labels_y >= 0)
    rows = rows_at_a_time(len(y))
    options = (weights_y, agreement, temperature, kind, positives)
    with torch.autocast(device_type=x.device.type, enabled=False):
        if rows >= len(x):
            return _block(x, y, labels_x, labels_y, *options)
        parts = [
            (
                checkpoint(_block, x[b], y, labels_x[b], labels_y, *options, use_reentrant=False),
                b.start,
            )
            for b in slices(len(x), rows)
        ]
    losses = torch.cat([found[0] for found, _ in parts])
    return losses, torch.cat([found[1] + start for found, start in parts])


def _block(
    x: Tensor,
    y: Tensor,
    labels_x: Tensor,
    labels_y: Tensor,
    weights_y: Tensor,
    agreement: Tensor | None,
    temperature: float | Tensor,
    kind: Similarity,
    positives: Positives,
) -> tuple[Tensor, Tensor]:
    agree = label_agreement(labels_x, labels_y, agreement).to(weights_y.dtype) * weights_y
    anchors = (agree > 0).any(dim=1).nonzero().squeeze(1)
    agree = agree[anchors]
    logits = similarity(x[anchors], y, kind) / temperature
    total = (logits + weights_y.log()).logsumexp(dim=1) if len(anchors) else logits.sum(dim=1)
    if positives == "inside":
        return total - (logits + agree.log()).logsumexp(dim=1), anchors
    return total - (agree * logits).sum(dim=1) / agree.sum(dim=1), anchors
