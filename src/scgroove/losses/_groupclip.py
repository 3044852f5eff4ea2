r"""GroupCLIP: contrastive learning between modalities that share only a group label.

Reference: Gorla et al. 2026, arXiv 2602.04021, equation 3.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import permutations
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Similarity = Literal["cosine", "dot", "euclidean"]
Positives = Literal["inside", "outside"]


def similarity(x: Tensor, y: Tensor, kind: Similarity = "cosine") -> Tensor:
    """Pairwise similarity of two sets of embeddings, larger is closer.

    Parameters
    ----------
    x, y
        Embeddings, shapes (n, k) and (m, k). Half precision is raised to float32.
    kind
        ``"cosine"``, ``"dot"``, or ``"euclidean"`` (minus the squared distance).

    Returns
    -------
    Tensor of shape (n, m).
    """
    x, y = _full_precision(x), _full_precision(y)
    if kind == "cosine":
        return F.normalize(x, dim=1) @ F.normalize(y, dim=1).T
    if kind == "dot":
        return x @ y.T
    if kind == "euclidean":
        return 2 * x @ y.T - x.square().sum(1, keepdim=True) - y.square().sum(1)
    raise ValueError(f"Unknown similarity {kind!r}. Expected one of {get_args(Similarity)}.")


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
    left out.

    Parameters
    ----------
    x, y
        Embeddings of the anchors and of the candidates, shapes (n, k) and (m, k).
    labels_x, labels_y
        Integer label codes, shapes (n,) and (m,); negative means unlabelled.
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
    with torch.autocast(device_type=x.device.type, enabled=False):
        candidate = (labels_y >= 0).expand(len(labels_x), -1)
        positive = (labels_x[:, None] == labels_y[None, :]) & candidate
        if exclude_self:
            other = ~torch.eye(len(labels_x), len(labels_y), dtype=torch.bool, device=x.device)
            candidate, positive = candidate & other, positive & other
        anchors = positive.any(dim=1).nonzero().squeeze(1)
        candidate, positive = candidate[anchors], positive[anchors]
        logits = similarity(x[anchors], y, kind) / temperature
        total = logits.masked_fill(~candidate, -math.inf).logsumexp(dim=1)
        if positives == "inside":
            return total - logits.masked_fill(~positive, -math.inf).logsumexp(dim=1)
        if positives == "outside":
            return total - logits.masked_fill(~positive, 0.0).sum(dim=1) / positive.sum(dim=1)
    raise ValueError(f"Unknown positives={positives!r}. Expected one of {get_args(Positives)}.")


def group_clip_loss(
    z: Mapping[str, Tensor],
    labels: Mapping[str, Tensor],
    *,
    temperature: float | Tensor = 0.1,
    kind: Similarity = "cosine",
    positives: Positives = "inside",
) -> Tensor:
    """GroupCLIP over all ordered pairs of modalities: mean over anchors, then over pairs.

    Parameters
    ----------
    z
        Embeddings by modality, shapes (n_m, k).
    labels
        Label codes by modality, shapes (n_m,), one vocabulary for all modalities; negative means unlabelled.
    temperature, kind, positives
        See :func:`group_clip_anchors`.

    Returns
    -------
    Scalar. Zero, with a graph, when no anchor has a positive.

    References
    ----------
    Gorla et al. 2026, arXiv 2602.04021, equation 3.
    """
    terms = []
    for source, target in permutations(z, 2):
        anchors = group_clip_anchors(
            z[source],
            z[target],
            labels[source],
            labels[target],
            temperature=temperature,
            kind=kind,
            positives=positives,
        )
        if len(anchors):
            terms.append(anchors.mean())
    if not terms:
        return sum((_full_precision(v).sum() * 0.0 for v in z.values()), start=torch.zeros(()))
    return torch.stack(terms).mean()


class GroupCLIPLoss(nn.Module):
    """:func:`group_clip_loss` with a fixed or learned temperature.

    Parameters
    ----------
    temperature
        Initial temperature.
    learn_temperature
        Optimise log(temperature) with the networks; kept within [0.01, 10].
    kind, positives
        See :func:`group_clip_anchors`.

    Raises
    ------
    ValueError
        The temperature is not positive, or an option is unknown.
    """

    def __init__(
        self,
        temperature: float = 0.1,
        *,
        learn_temperature: bool = False,
        kind: Similarity = "cosine",
        positives: Positives = "inside",
    ) -> None:
        super().__init__()
        if not temperature > 0:
            raise ValueError(f"temperature must be positive, found {temperature}.")
        for value, known, name in (
            (kind, get_args(Similarity), "similarity"),
            (positives, get_args(Positives), "positives"),
        ):
            if value not in known:
                raise ValueError(f"Unknown {name} {value!r}. Expected one of {known}.")
        self.log_temperature = nn.Parameter(
            torch.tensor(math.log(temperature)), requires_grad=learn_temperature
        )
        self.kind, self.positives = kind, positives

    @property
    def temperature(self) -> Tensor:
        """The temperature in use, a scalar."""
        return self.log_temperature.exp().clamp(0.01, 10.0)

    def forward(self, z: Mapping[str, Tensor], labels: Mapping[str, Tensor]) -> Tensor:
        """Loss of a batch; see :func:`group_clip_loss`."""
        return group_clip_loss(
            z, labels, temperature=self.temperature, kind=self.kind, positives=self.positives
        )


def _full_precision(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
