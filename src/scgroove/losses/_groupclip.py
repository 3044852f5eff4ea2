r"""GroupCLIP: contrastive learning between modalities that share only a group label.

Reference: Gorla et al. 2026, arXiv 2602.04021, equation 3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import permutations
from typing import Any, Final, TypeAlias, get_args

import pandas as pd
import torch
from torch import Tensor

from .._labels import label_name
from ..errors import InputError, UnknownNameError, did_you_mean
from ._terms import Networks, ScreenInfo, Term, TermBatch
from .distributed import gather, total, world_size
from .similarities import Positives, Similarity, full_precision, rows_at_a_time, similarity

TEMPERATURE: Final = 0.2
"""Default temperature, chosen by measurement."""

Agreement: TypeAlias = pd.DataFrame | Mapping[str, Mapping[str, float]]
"""Agreement of labels, ``{label: {label: share}}`` or a square DataFrame."""


def group_clip_anchors(
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
    r"""GroupCLIP loss of every anchor in ``x`` against the candidates in ``y``.

    .. math:: l_i = -\log \frac{\sum_j v_j S_{ij} e^{s(z_i, z_j) / \tau}}
        {\sum_j v_j e^{s(z_i, z_j) / \tau}}

    :math:`S_{ij}` is 1 for cells of one label, or the agreement of their labels. With weights
    :math:`v_j` of one this is equation 3 of the reference. Large batches go in blocks of anchors
    that are computed again for the gradient, so that memory grows with n + m and not with n m.

    Parameters
    ----------
    x, y
        Embeddings of the anchors and of the candidates, shapes (n, k) and (m, k).
    labels_x, labels_y
        Integer label codes, shapes (n,) and (m,). Cells with a negative code are neither anchors
        nor candidates.
    weights_y
        Weights of the candidates, shape (m,). Ones if None.
    agreement
        Agreement of labels from 0 to 1, with ones on the diagonal, shape (n_labels, n_labels). The
        identity if None.
    temperature
        :math:`\tau > 0`.
    kind
        Similarity s, see :func:`similarity`.
    positives
        ``"inside"``: the sum over positives stands inside the logarithm. ``"outside"``: mean over
        the positives of the log-ratio (ablation).

    Returns
    -------
    losses
        Losses of the anchors that have a positive, shape (n_anchors,). May be empty.
    anchors
        Their rows in ``x``, shape (n_anchors,).

    References
    ----------
    Gorla et al. 2026, arXiv 2602.04021, equation 3.
    """
    if positives not in get_args(Positives):
        raise InputError(f"Unknown positives={positives!r}. Expected one of {get_args(Positives)}.")
    weights_y = torch.ones(len(y), device=y.device) if weights_y is None else weights_y.float()
    weights_y = weights_y * (labels_y >= 0)
    rows = rows_at_a_time(len(y))
    where = (labels_x, labels_y, weights_y, agreement)
    with torch.autocast(device_type=x.device.type, enabled=False):
        if rows >= len(x):
            return _block(x, y, temperature, 0, where, kind, positives)
        tau = temperature
        if not isinstance(tau, Tensor):
            tau = torch.tensor(float(tau), device=x.device)
        how = (kind, positives)
        blocks: Any = _Blocks.apply(x, y, tau, rows, where, how)  # type: ignore[no-untyped-call]
        return blocks[0], blocks[1]


class _Blocks(torch.autograd.Function):
    """Losses block by block, of which nothing is kept: gradients are computed from new blocks."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, x: Tensor, y: Tensor, tau: Tensor, rows: int, where: Any, how: Any
    ) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(x, y, tau)
        ctx.rows, ctx.where, ctx.how = rows, where, how
        losses, anchors = [], []
        for start in range(0, len(x), rows):
            own = _block(x[start : start + rows], y, tau, start, where, *how)
            losses.append(own[0])
            anchors.append(own[1] + start)
        ctx.sizes = [len(own) for own in losses]
        found = torch.cat(anchors)
        ctx.mark_non_differentiable(found)
        return torch.cat(losses), found

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _: Any) -> tuple[Any, ...]:  # type: ignore[override]
        x, y, tau = ctx.saved_tensors
        of_x, of_y, of_tau = torch.zeros_like(x), torch.zeros_like(y), torch.zeros_like(tau)
        starts = range(0, len(x), ctx.rows)
        for start, part in zip(starts, torch.split(grad, ctx.sizes), strict=True):
            if not len(part):
                continue
            block = slice(start, start + ctx.rows)
            leaves = [v.detach().requires_grad_() for v in (x[block], y, tau)]
            with torch.enable_grad():
                losses, _ = _block(leaves[0], leaves[1], leaves[2], start, ctx.where, *ctx.how)
            own = torch.autograd.grad(losses, leaves, part)
            of_x[block] = own[0]
            of_y += own[1]
            of_tau += own[2]
        return of_x, of_y, of_tau, None, None, None


def _block(
    x: Tensor,
    y: Tensor,
    temperature: float | Tensor,
    start: int,
    where: tuple[Tensor, Tensor, Tensor, Tensor | None],
    kind: Similarity,
    positives: Positives,
) -> tuple[Tensor, Tensor]:
    """Return losses and rows of the anchors of a block, of which the first is cell ``start``."""
    labels_x, labels_y, weights_y, agreement = where
    agree = label_agreement(labels_x[start : start + len(x)], labels_y, agreement)
    agree = agree.to(weights_y.dtype) * weights_y
    anchors = (agree > 0).any(dim=1).nonzero().squeeze(1)
    agree = agree[anchors]
    logits = similarity(x[anchors], y, kind) / temperature
    every = (logits + weights_y.log()).logsumexp(dim=1) if len(anchors) else logits.sum(dim=1)
    if positives == "inside":
        return every - (logits + agree.log()).logsumexp(dim=1), anchors
    return every - (agree * logits).sum(dim=1) / agree.sum(dim=1), anchors


def label_agreement(x: Tensor, y: Tensor, agreement: Tensor | None = None) -> Tensor:
    """Return the agreement of the labels of two sets of cells, shape (n, m), from 0 to 1.

    ``x`` and ``y`` are codes, shapes (n,) and (m,). A negative code agrees with none.
    """
    if agreement is None:
        return ((x[:, None] == y[None, :]) & (y >= 0)[None, :]).float()
    known = (x >= 0)[:, None] & (y >= 0)[None, :]
    return agreement[x.clamp_min(0)][:, y.clamp_min(0)] * known


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
    """GroupCLIP over all ordered pairs of modalities: weighted mean over anchors, mean over pairs.

    If several processes train together (``torch.distributed``), candidates are the cells of all of
    them, and anchors those of this one. The mean over processes is the loss of the whole batch. All
    processes must hold the same modalities.

    Parameters
    ----------
    z
        Embeddings by modality, shapes (n_m, k).
    labels
        Label codes by modality in one vocabulary, shapes (n_m,). Negative means unlabeled.
    weights
        Weights of cells, as anchors and as candidates, by modality, shapes (n_m,). Ones if None.
    agreement, temperature, kind, positives
        See :func:`group_clip_anchors`.

    Returns
    -------
    Scalar. Zero, with a graph, when no anchor has a positive.

    References
    ----------
    Gorla et al. 2026, arXiv 2602.04021, equation 3.
    """
    terms = []
    how: dict[str, Any] = {"temperature": temperature, "kind": kind, "positives": positives}
    others = {m: (gather(full_precision(v)), gather(labels[m], fill=-1)) for m, v in z.items()}
    for source, target in permutations(z, 2):
        losses, rows = group_clip_anchors(
            z[source],
            others[target][0],
            labels[source],
            others[target][1],
            weights_y=None if weights is None else gather(weights[target]),
            agreement=agreement,
            **how,
        )
        own = losses.new_ones(len(losses))
        if weights is not None:
            own = weights[source][rows].to(losses)
        n = total(own.sum())
        if n:
            is_plain = weights is None and agreement is None
            terms.append(world_size() * (losses.sum() if is_plain else own @ losses) / n)
    if not terms:
        return sum((full_precision(v).sum() * 0.0 for v in z.values()), start=torch.zeros(()))
    return torch.stack(terms).mean()


class GroupCLIP(Term):
    """Contrast between modalities: cells of one label are near each other across modalities.

    Parameters
    ----------
    weight, warmup
        See :class:`Term`.
    temperature, positives
        See :func:`group_clip_anchors`.
    agreement
        Agreement of labels, ``{label: {label: share}}`` or a DataFrame. ``{"A+B": {"A": 0.5, "B":
        0.5}}`` makes a cell of a combination half a positive of the cells of its parts. A label of
        one modality takes part if it agrees with one of another.

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


def agreement_matrix(given: Agreement, labels: Sequence[str]) -> Tensor:
    """Return the symmetric agreement of all labels, ones on the diagonal, (n_labels, n_labels).

    Pairs that are not given do not agree.

    Raises
    ------
    KeyError
        A label is not in the data.
    ValueError
        A value is not from 0 to 1, or the two orders of a pair disagree.
    """
    table = given.to_dict(orient="index") if isinstance(given, pd.DataFrame) else given
    position = {label: i for i, label in enumerate(labels)}
    n = len(labels)
    matrix, is_given = torch.eye(n, dtype=torch.float64), torch.zeros(n, n, dtype=torch.bool)
    for a, row in table.items():
        for b, share in row.items():
            for label in map(label_name, (a, b)):
                if label not in position:
                    raise UnknownNameError(
                        f"agreement names {label!r}, which is no label of the data."
                        f"{did_you_mean(label, position)}"
                    )
            i, j = position[label_name(a)], position[label_name(b)]
            differs = (i == j and share != 1) or (is_given[j, i] and share != matrix[j, i])
            if not 0 <= share <= 1 or differs:
                raise InputError(
                    "agreement must be symmetric, from 0 to 1, and 1 of a label with itself; "
                    f"found {share} of ({a!r}, {b!r})."
                )
            matrix[i, j] = matrix[j, i] = share
            is_given[i, j] = True
    return matrix.float()
