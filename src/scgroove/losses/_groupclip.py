r"""GroupCLIP: contrastive learning between modalities that share only a group label.

Reference: Gorla et al. 2026, arXiv 2602.04021, equation 3.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import permutations
from typing import Any, Final, get_args

import torch
from torch import Tensor

from scgroove.errors import InputError

from ._agreement import Agreement, agreement_matrix
from ._distributed import gather, total, world_size
from ._similarity import Positives, Similarity, full_precision, rows_at_a_time, similarity, slices
from ._soft import soft_group_clip_anchors
from ._terms import Networks, ScreenInfo, Term, TermBatch

TEMPERATURE: Final = 0.2
"""Chosen by measurement."""


def group_clip_anchors(
    x: Tensor,
    y: Tensor,
    labels_x: Tensor,
    labels_y: Tensor,
    *,
    temperature: float | Tensor = 0.1,
    kind: Similarity = "cosine",
    positives: Positives = "inside",
    exclude_self: bool = False,
) -> Tensor:
    r"""GroupCLIP loss of every anchor in ``x`` against the candidates in ``y``.

    .. math:: l_i = -\log \frac{\sum_{p: y_p = y_i} e^{s(z_i, z_p) / \tau}}{\sum_{a: y_a \ge 0} e^{s(z_i, z_a) / \tau}}

    Cells without a label (negative code) are neither anchors nor candidates; anchors without a positive are
    left out. Large batches go in blocks of anchors that are computed again for the gradient, so that memory grows with
    n + m and not with n m.

    Parameters
    ----------
    x, y
        Embeddings of the anchors and of the candidates, shapes (n, k) and (m, k).
    labels_x, labels_y
        Integer label codes, shapes (n,) and (m,); negative means unlabeled.
    temperature
        :math:`\tau > 0`.
    kind
        Similarity, see :func:`similarity`.
    positives
        ``"inside"``: the sum over positives stands inside the logarithm (the paper). ``"outside"``: mean over
        the positives of the log-ratio (ablation).
    exclude_self
        Leave candidate i out for anchor i: with ``x is y`` this is supervised contrastive learning.

    Returns
    -------
    Losses of the anchors that have a positive, shape (n_anchors,); may be empty.

    References
    ----------
    Gorla et al. 2026, arXiv 2602.04021, equation 3.
    """
    if positives not in get_args(Positives):
        raise InputError(f"Unknown positives={positives!r}. Expected one of {get_args(Positives)}.")
    rows = rows_at_a_time(len(y))
    with torch.autocast(device_type=x.device.type, enabled=False):
        if rows >= len(x):
            return _anchors(x, y, labels_x, labels_y, 0, temperature, kind, positives, exclude_self)
        tau = (
            temperature
            if isinstance(temperature, Tensor)
            else torch.tensor(float(temperature), device=x.device)
        )
        options = (labels_x, labels_y, rows, kind, positives, exclude_self)
        return _Blocks.apply(x, y, tau, *options)  # type: ignore[no-any-return,no-untyped-call]


class _Blocks(torch.autograd.Function):
    """Losses of anchors, block by block, of which nothing is kept: each block is computed again for its gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, tau: Tensor, *options: Any) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(x, y, tau)
        labels_x, labels_y, rows, *how = ctx.options = options
        parts = [
            _anchors(x[block], y, labels_x[block], labels_y, block.start, tau, *how)
            for block in slices(len(x), rows)
        ]
        ctx.sizes = [len(part) for part in parts]
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:  # type: ignore[override]
        x, y, tau = ctx.saved_tensors
        labels_x, labels_y, rows, *how = ctx.options
        of_x, of_y, of_tau = torch.zeros_like(x), torch.zeros_like(y), torch.zeros_like(tau)
        for block, part in zip(slices(len(x), rows), torch.split(grad, ctx.sizes), strict=True):
            if not len(part):
                continue
            leaves = [v.detach().requires_grad_() for v in (x[block], y, tau)]
            with torch.enable_grad():
                losses = _anchors(
                    leaves[0], leaves[1], labels_x[block], labels_y, block.start, leaves[2], *how
                )
            own = torch.autograd.grad(losses, leaves, part)
            of_x[block] = own[0]
            of_y += own[1]
            of_tau += own[2]
        return of_x, of_y, of_tau, *([None] * len(ctx.options))


def _anchors(
    x: Tensor,
    y: Tensor,
    labels_x: Tensor,
    labels_y: Tensor,
    start: int,
    temperature: float | Tensor,
    kind: Similarity,
    positives: Positives,
    exclude_self: bool,
) -> Tensor:
    """Losses of the anchors of a block, of which the first is candidate ``start`` where anchors are candidates too."""
    candidate = (labels_y >= 0).expand(len(labels_x), -1)
    positive = (labels_x[:, None] == labels_y[None, :]) & candidate
    if exclude_self:
        own = torch.arange(start, start + len(labels_x), device=x.device)
        other = own[:, None] != torch.arange(len(labels_y), device=x.device)
        candidate, positive = candidate & other, positive & other
    anchors = positive.any(dim=1).nonzero().squeeze(1)
    candidate, positive = candidate[anchors], positive[anchors]
    logits = similarity(x[anchors], y, kind) / temperature
    total = logits.masked_fill(~candidate, -math.inf).logsumexp(dim=1)
    if positives == "inside":
        return total - logits.masked_fill(~positive, -math.inf).logsumexp(dim=1)
    return total - logits.masked_fill(~positive, 0.0).sum(dim=1) / positive.sum(dim=1)


def group_clip_loss(
    z: Mapping[str, Tensor],
    labels: Mapping[str, Tensor],
    *,
    weights: Mapping[str, Tensor] | None = None,
    agreement: Tensor | None = None,
    temperature: float | Tensor = 0.1,
    kind: Similarity = "cosine",
    positives: Positives = "inside",
) -> Tensor:
    """GroupCLIP over all ordered pairs of modalities: weighted mean over anchors, then mean over pairs.

    Where several processes train together (``torch.distributed``), candidates are the cells of all of them, and anchors those of this
    one: the mean over processes of what is returned, which is what data-parallel training takes, is the loss of the whole batch.
    All processes must hold the same modalities.

    Parameters
    ----------
    z
        Embeddings by modality, shapes (n_m, k).
    labels
        Label codes by modality, shapes (n_m,), one vocabulary for all modalities. Negative means unlabeled.
    weights
        Of cells, as anchors and as candidates alike, by modality, shapes (n_m,); ones if None.
    agreement
        Agreement of labels, shape (n_labels, n_labels). Labels agree with themselves only if None.
    temperature, kind, positives
        See :func:`group_clip_anchors`.

    Returns
    -------
    Scalar. Zero, with a graph, when no anchor has a positive.

    References
    ----------
    Gorla et al. 2026, arXiv 2602.04021, equation 3.
    """
    world, terms = world_size(), []
    how: dict[str, Any] = {"temperature": temperature, "kind": kind, "positives": positives}
    hard = weights is None and agreement is None
    others = {m: (gather(full_precision(v)), gather(labels[m], fill=-1)) for m, v in z.items()}
    for source, target in permutations(z, 2):
        ends = (z[source], others[target][0], labels[source], others[target][1])
        if hard:
            anchors = group_clip_anchors(*ends, **how)
            own = anchors.new_ones(()).expand(len(anchors))
        else:
            of_target = None if weights is None else gather(weights[target])
            anchors, rows = soft_group_clip_anchors(
                *ends, weights_y=of_target, agreement=agreement, **how
            )
            own = (
                anchors.new_ones(len(anchors))
                if weights is None
                else weights[source][rows].to(anchors)
            )
        n = total(own.sum())
        if n:
            terms.append(world * (anchors.sum() if hard else own @ anchors) / n)
    if not terms:
        return sum((full_precision(v).sum() * 0.0 for v in z.values()), start=torch.zeros(()))
    return torch.stack(terms).mean()


class GroupCLIP(Term):
    """The contrast between modalities: cells with one label are near each other across modalities.

    Parameters
    ----------
    weight, warmup
        See :class:`Term`.
    temperature, positives
        See :func:`group_clip_anchors`.
    agreement
        Agreement of labels, ``{label: {label: share}}`` or a DataFrame. ``{"A+B": {"A": 0.5, "B": 0.5}}`` makes a
        cell of a combination half a positive of the cells of its parts. A label of one modality takes part if it
        agrees with one of another.

    Raises
    ------
    ValueError
        The temperature is not positive, or an option is unknown.

    References
    ----------
    Gorla et al. 2026, arXiv 2602.04021, equation 3.
    """

    name = "groupclip"

    def __init__(
        self,
        weight: float = 1.0,
        *,
        temperature: float = TEMPERATURE,
        positives: Positives = "inside",
        agreement: Agreement | None = None,
        warmup: float = 0.0,
    ) -> None:
        super().__init__(weight, warmup=warmup)
        self.temperature, self.positives = temperature, positives
        self.agreement_given = agreement

    def setup(self, networks: Networks, info: ScreenInfo) -> None:
        """Make the matrix of the agreement of all labels."""
        if self.agreement_given is not None:
            self.agreement = agreement_matrix(self.agreement_given, info.labels)

    def forward(self, batch: TermBatch) -> Tensor:
        """Return the loss of a batch, see :func:`group_clip_loss`."""
        return group_clip_loss(
            batch.z,
            batch.labels,
            weights=batch.weights,
            agreement=self.agreement,
            temperature=self.temperature,
            kind=batch.networks.similarity,
            positives=self.positives,
        )
