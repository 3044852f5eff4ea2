r"""A bank of prototypes: every label is a candidate at every step, however few of them a batch holds.

Reference: design follows momentum prototypes for many classes (Li et al. 2021, "Prototypical contrastive learning", ICLR), with the
candidates of GroupCLIP (Gorla et al. 2026, arXiv 2602.04021, equation 3).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import permutations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ._distributed import gather, total, world_size
from ._similarity import Similarity, similarity

MOMENTUM = 0.9


class PrototypeBank(nn.Module):
    r"""GroupCLIP of anchors in a batch against prototypes of all labels in the other modality.

    .. math:: b_g \leftarrow \mu b_g + (1 - \mu)\, \bar z_g, \qquad
        l_i = -\log \frac{e^{s(z_i, b_{y_i}) / \tau}}{\sum_g e^{s(z_i, b_g) / \tau}}

    :math:`\bar z_g` is the mean over the cells of label g in the batch, and prototypes have length one if the similarity is the cosine.
    They carry no gradient: each modality learns as anchor. Labels that were never seen in a modality are no candidates there. Time and
    memory of a step grow with anchors times labels.

    Parameters
    ----------
    modalities
        Their names.
    n_labels
        Number of label codes G.
    n_latent
        Dimension k.
    momentum
        :math:`\mu`, from 0 (the batch alone) to below 1.
    kind
        Similarity, see :func:`scgroove.losses.similarity`.

    Raises
    ------
    ValueError
        The momentum is out of range.
    """

    prototypes: Tensor
    seen: Tensor

    def __init__(
        self,
        modalities: Sequence[str],
        n_labels: int,
        n_latent: int,
        *,
        momentum: float = MOMENTUM,
        kind: Similarity = "cosine",
    ) -> None:
        super().__init__()
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum must be at least 0 and below 1; found {momentum}.")
        self.modalities, self.momentum, self.kind = list(modalities), momentum, kind
        self.register_buffer("prototypes", torch.zeros(len(self.modalities), n_labels, n_latent))
        self.register_buffer("seen", torch.zeros(len(self.modalities), n_labels, dtype=torch.bool))

    @torch.no_grad()
    def update(
        self,
        z: Mapping[str, Tensor],
        labels: Mapping[str, Tensor],
        weights: Mapping[str, Tensor] | None = None,
    ) -> None:
        """Move prototypes towards the means of the labels of a batch, over all processes.

        Parameters
        ----------
        z
            Embeddings by modality, shapes (n_m, k).
        labels
            Label codes by modality, shapes (n_m,); negative means unlabelled.
        weights
            Of cells, by modality, shapes (n_m,); ones if None.
        """
        for m in z:
            i = self.modalities.index(m)
            everyone, codes = gather(z[m].detach().float()), gather(labels[m], fill=-1)
            weight = torch.ones_like(codes, dtype=torch.float32) if weights is None else gather(weights[m])
            known = codes >= 0
            own, codes = weight[known], codes[known]
            sums = torch.zeros_like(self.prototypes[i]).index_add_(0, codes, everyone[known] * own[:, None])
            counts = torch.zeros_like(sums[:, 0]).index_add_(0, codes, own)
            here = counts > 0
            mean = self._scaled(sums[here] / counts[here, None])
            old, was = self.prototypes[i, here], self.seen[i, here, None]
            self.prototypes[i, here] = self._scaled(
                torch.where(was, torch.lerp(mean, old, self.momentum), mean)
            )
            self.seen[i] |= here

    def forward(
        self,
        z: Mapping[str, Tensor],
        labels: Mapping[str, Tensor],
        weights: Mapping[str, Tensor] | None = None,
        *,
        temperature: float | Tensor = 0.1,
    ) -> Tensor:
        """Loss of a batch: weighted mean over anchors, then over ordered pairs of modalities; see :func:`scgroove.losses.group_clip_loss`."""
        terms = []
        for source, target in permutations(z, 2):
            i = self.modalities.index(target)
            anchors = (labels[source] >= 0) & self.seen[i, labels[source].clamp_min(0)]
            codes = labels[source][anchors]
            own = codes.new_ones(len(codes)).float() if weights is None else weights[source][anchors]
            n = total(own.sum())
            if n:
                logits = similarity(z[source][anchors], self.prototypes[i], self.kind) / temperature
                logits = logits.masked_fill(~self.seen[i], -torch.inf)
                loss = own.to(logits) @ F.cross_entropy(logits, codes, reduction="none")
                terms.append(world_size() * loss / n)
        if not terms:
            return sum((v.float().sum() * 0.0 for v in z.values()), start=torch.zeros(()))
        return torch.stack(terms).mean()

    def _scaled(self, mean: Tensor) -> Tensor:
        return F.normalize(mean, dim=1) if self.kind == "cosine" else mean
