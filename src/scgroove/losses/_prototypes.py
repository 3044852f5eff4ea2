"""Prototypes: every label is a candidate at every step, however few of them a batch holds."""

from __future__ import annotations

from itertools import permutations

import torch
import torch.nn.functional as F
from torch import Tensor

from ._groupclip import TEMPERATURE
from ._terms import Networks, ScreenInfo, Term, TermBatch
from .distributed import gather, total, world_size
from .similarities import Similarity, similarity

MOMENTUM = 0.9


class Prototypes(Term):
    r"""GroupCLIP of the cells of a batch against prototypes of all labels in the other modality.

    .. math:: b_g \leftarrow \mu b_g + (1 - \mu)\, \bar z_g, \qquad
        l_i = -\log \frac{e^{s(z_i, b_{y_i}) / \tau}}{\sum_g e^{s(z_i, b_g) / \tau}}

    :math:`\bar z_g` is the mean over the cells of label g in the batch. Prototypes have length one
    if the similarity is the cosine. They carry no gradient. Labels that were never seen in a
    modality are no candidates there. Use it in place of :class:`GroupCLIP` if a batch cannot hold
    the labels.

    Parameters
    ----------
    weight, warmup
        See :class:`Term`.
    temperature
        :math:`\tau`.
    momentum
        :math:`\mu`, from 0 (the batch alone) to below 1.

    Raises
    ------
    ValueError
        The momentum or the temperature is out of range.

    References
    ----------
    Li et al. 2021, "Prototypical contrastive learning", ICLR. Candidates as in Gorla et al. 2026,
    arXiv 2602.04021.
    """

    name = "prototypes"
    prototypes: Tensor
    seen: Tensor

    def __init__(
        self,
        weight: float = 1.0,
        *,
        temperature: float = TEMPERATURE,
        momentum: float = MOMENTUM,
        warmup: float = 0.0,
    ) -> None:
        super().__init__(weight, warmup=warmup)
        self.temperature, self.momentum = temperature, momentum

    def setup(self, networks: Networks, info: ScreenInfo) -> None:
        """Make an empty bank."""
        shape = (len(networks.modalities), len(info.labels))
        self.register_buffer("prototypes", torch.zeros(*shape, networks.n_latent))
        self.register_buffer("seen", torch.zeros(*shape, dtype=torch.bool))

    def adapted(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Add new labels, which have no prototype yet."""
        n_new = self.seen.shape[1] - state["seen"].shape[1]
        prototypes = F.pad(state["prototypes"], (0, 0, 0, n_new))
        return {**state, "prototypes": prototypes, "seen": F.pad(state["seen"], (0, n_new))}

    def forward(self, batch: TermBatch) -> Tensor:
        """Return the weighted mean over anchors, then the mean over pairs of modalities."""
        if self.training:
            self.follow(batch)
        kind, terms = batch.networks.similarity, []
        for source, target in permutations(batch.z, 2):
            i = batch.networks.modalities.index(target)
            labels = batch.labels[source]
            anchors = (labels >= 0) & self.seen[i, labels.clamp_min(0)]
            codes = labels[anchors]
            own = codes.new_ones(len(codes)).float()
            if batch.weights is not None:
                own = batch.weights[source][anchors]
            n = total(own.sum())
            if n:
                logits = (
                    similarity(batch.z[source][anchors], self.prototypes[i], kind)
                    / self.temperature
                )
                logits = logits.masked_fill(~self.seen[i], -torch.inf)
                loss = own.to(logits) @ F.cross_entropy(logits, codes, reduction="none")
                terms.append(world_size() * loss / n)
        if not terms:
            return sum((z.float().sum() * 0.0 for z in batch.z.values()), start=torch.zeros(()))
        return torch.stack(terms).mean()

    @torch.no_grad()
    def follow(self, batch: TermBatch) -> None:
        """Move prototypes towards the means of the labels of a batch, over all processes."""
        kind = batch.networks.similarity
        for m, z in batch.z.items():
            i = batch.networks.modalities.index(m)
            cells, codes = gather(z.detach().float()), gather(batch.labels[m], fill=-1)
            weight = torch.ones_like(codes, dtype=torch.float32)
            if batch.weights is not None:
                weight = gather(batch.weights[m])
            known = codes >= 0
            own, codes = weight[known], codes[known]
            sums = torch.zeros_like(self.prototypes[i]).index_add_(
                0, codes, cells[known] * own[:, None]
            )
            counts = torch.zeros_like(sums[:, 0]).index_add_(0, codes, own)
            here = counts > 0
            mean = _scaled(sums[here] / counts[here, None], kind)
            old, is_known = self.prototypes[i, here], self.seen[i, here, None]
            moved = torch.where(is_known, torch.lerp(mean, old, self.momentum), mean)
            self.prototypes[i, here] = _scaled(moved, kind)
            self.seen[i] |= here


def _scaled(mean: Tensor, kind: Similarity) -> Tensor:
    return F.normalize(mean, dim=1) if kind == "cosine" else mean
