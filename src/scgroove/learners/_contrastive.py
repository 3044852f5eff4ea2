"""Encoders trained by other objectives: supervised contrast, CLIP on pseudo or true pairs, MMD."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, permutations
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from scgroove._types import IntArray
from scgroove.data import GroupSampler
from scgroove.data.screen import Screen
from scgroove.errors import InputError
from scgroove.learners._base import LEARNERS
from scgroove.learners.training import Cells, Decoders, Encoders, NetworkLearner, Objective, Rows
from scgroove.losses import clip_loss, supcon_loss
from scgroove.losses.similarities import Similarity
from scgroove.module.encoders import EncoderKind


@dataclass
class ContrastiveLearner(NetworkLearner):
    """Encoders of GROOVE trained by a contrastive loss alone.

    Parameters
    ----------
    temperature, similarity
        See :func:`scgroove.losses.clip_loss`. For other options see :class:`NetworkLearner`.
    """

    temperature: float = 0.2
    similarity: Similarity = "cosine"

    def _networks(self, n_features: Mapping[str, int]) -> Encoders:
        return Encoders(n_features, self, spherical=self.similarity == "cosine")

    def _clip(self, x: Tensor, y: Tensor) -> Tensor:
        return clip_loss(x, y, temperature=self.temperature, kind=self.similarity)


@LEARNERS.register("supcon")
@dataclass
class SupCon(ContrastiveLearner):
    """Supervised contrastive learning on the cells of all modalities together.

    ``-mean_p log( exp(s_ip / tau) / sum_a exp(s_ia / tau) )`` over the positives p of anchor i, the
    cells of its label in any modality, with the sum outside the logarithm.

    References
    ----------
    Khosla et al. 2020, arXiv 2004.11362, equation 2.
    """

    name: ClassVar[str] = "supcon"

    def _objective(self, networks: Encoders, cells: Cells, screen: Screen, steps: int) -> Objective:
        def loss(rows: Rows) -> Tensor:
            x, codes = cells.take(rows)
            z = torch.cat(list(networks(x, codes).values()))
            labels = torch.cat(list(codes.values()))
            return supcon_loss(z, labels, temperature=self.temperature, kind=self.similarity)

        return loss


@LEARNERS.register("clip_pseudo")
@dataclass
class CLIPPseudo(ContrastiveLearner):
    """CLIP on random pairs of cells of the same label, drawn anew in each step.

    Other cells of the label count as negatives, unlike in GroupCLIP.

    References
    ----------
    Radford et al. 2021, arXiv 2103.00020.
    """

    name: ClassVar[str] = "clip_pseudo"

    def _objective(self, networks: Encoders, cells: Cells, screen: Screen, steps: int) -> Objective:
        def loss(rows: Rows) -> Tensor:
            x, codes = cells.take(rows)
            z, terms = networks(x, codes), []
            for a, b in combinations(z, 2):
                # the same labels in the same order, and K random cells of each: rows are pairs
                one, other = in_both(z, codes, a, b), in_both(z, codes, b, a)
                if len(one):
                    terms.append(self._clip(one, other))
            return torch.stack(terms).mean()

        return loss


def in_both(z: Mapping[str, Tensor], codes: Mapping[str, Tensor], own: str, other: str) -> Tensor:
    """Return the latents of a batch whose label the other modality of the batch has too."""
    return z[own][torch.isin(codes[own], codes[other])]


@LEARNERS.register("clip_oracle")
@dataclass
class CLIPOracle(ContrastiveLearner):
    """CLIP on the true pairs of cells: a ceiling of contrastive learning, and no method.

    Fitted cells have been seen with their answer. With linear encoders this is mild. An MLP learns
    the pairs by heart, and scores next to perfect on them whatever is shared.

    References
    ----------
    Radford et al. 2021, arXiv 2103.00020.
    """

    name: ClassVar[str] = "clip_oracle"
    uses_pairs: ClassVar[bool] = True

    temperature: float = 0.1

    def _sampling(self, screen: Screen) -> dict[str, Any]:
        rows = paired_rows(screen)
        codes = screen.codes
        seen = [set(codes[m][r][codes[m][r] >= 0]) for m, r in rows.items()]
        if not any(a & b for a, b in combinations(seen, 2)):  # pairs without labels are pairs too
            codes = {m: np.zeros_like(c) for m, c in codes.items()}
        return {"labels": codes, "rows": rows, "free_fraction": 0.25}

    def _objective(self, networks: Encoders, cells: Cells, screen: Screen, steps: int) -> Objective:
        partners = {(a, b): screen.partners(a, b) for a, b in permutations(screen.modalities, 2)}

        def loss(rows: Rows) -> Tensor:
            terms = []
            for a, b in combinations(rows, 2):
                i = np.union1d(rows[a], partners[b, a][rows[b]])  # -1: no partner
                i = i[(i >= 0) & (partners[a, b][i] >= 0)]
                if len(i):
                    z = networks(*cells.take({a: i, b: partners[a, b][i]}))
                    terms.append(self._clip(z[a], z[b]))
            return torch.stack(terms).mean()

        return loss


def paired_rows(screen: Screen) -> dict[str, IntArray]:
    """Return the cells of each modality whose partner in another is known.

    Raises
    ------
    ValueError
        There is none.
    """
    is_paired = {m: np.zeros(screen.n_cells(m), dtype=bool) for m in screen.modalities}
    for a, b in combinations(screen.modalities, 2):
        partner = screen.partners(a, b)
        is_paired[a] |= partner >= 0
        is_paired[b][partner[partner >= 0]] = True
    if not any(known.any() for known in is_paired.values()):
        raise InputError(
            f"learner 'clip_oracle' needs true pairs, and none is known: no two of "
            f"{list(screen.modalities)} have equal cell names or obs['pair_id']. It is a ceiling "
            f"for co-assayed data; for others take 'clip_pseudo'."
        )
    return {m: np.flatnonzero(known) for m, known in is_paired.items()}


@LEARNERS.register("mmd")
@dataclass
class MMD(NetworkLearner):
    r"""Autoencoders with the maximum mean discrepancy of modalities inside each label.

    .. math:: \min \; \sum_m E\Big[-\tfrac{1}{d_m} \log p_m(x | e_m(x))\Big] + w \,
        \mathrm{mean}_{m < m'} \, \mathrm{mean}_l \,
        \widehat{MMD}^2 \big( e_m(x) | l, \; e_{m'}(x) | l \big)

    The kernel is a mean of Gaussian ones, :math:`\exp(-\|z - z'\|^2 / (f s))` for factors f, where
    s is the median squared distance inside labels in the batch. Longer latents change nothing, so
    that the weight has no unit. Cells without a shared label are reconstructed only.

    Parameters
    ----------
    mmd_weight
        w.
    bandwidths
        The factors f. For other options see :class:`NetworkLearner`.

    References
    ----------
    Gretton et al. 2012, "A kernel two-sample test", Journal of Machine Learning Research 13,
    lemma 6. Liu et al. 2019 (MMD-MA), for matching of modalities.
    """

    name: ClassVar[str] = "mmd"

    encoder: EncoderKind = "mlp"
    dropout: float = 0.3
    mmd_weight: float = 3.0
    bandwidths: Sequence[float] = (0.1, 0.3, 1.0, 3.0, 10.0)

    def __post_init__(self) -> None:
        """Refuse options that cannot be used."""
        if not self.bandwidths:
            raise InputError(f"bandwidths must hold positive numbers; found {self.bandwidths!r}.")

    def _networks(self, n_features: Mapping[str, int]) -> nn.Module:
        encoders = Encoders(n_features, self, spherical=False)
        encoders.decode = Decoders(n_features, self)
        return encoders

    def _sampling(self, screen: Screen) -> dict[str, Any]:
        return {"free_fraction": 0.25}

    def _check_sampler(self, sampler: GroupSampler) -> None:
        if sampler.k < 2:
            raise InputError(
                f"learner 'mmd' compares cells of a label with one another, so a step must have 2 "
                f"of each or more; found n_cells_per_label={self.n_cells_per_label}, "
                f"batch_size={self.batch_size}. Raise them, or lower n_labels_per_batch."
            )

    def _objective(self, networks: Any, cells: Cells, screen: Screen, steps: int) -> Objective:
        def loss(rows: Rows) -> Tensor:
            x, codes = cells.take(rows)
            z = networks(x, codes)
            reconstruction = torch.stack([networks.decode(m, z[m], x[m]).mean() for m in z]).sum()
            terms = []
            for a, b in combinations(z, 2):
                u, v = by_label(z, codes, a, b), by_label(z, codes, b, a)
                if len(u):
                    terms.append(squared_mmd(u, v, self.bandwidths).mean())
            return reconstruction + self.mmd_weight * torch.stack(terms).mean()

        return loss


def by_label(z: Mapping[str, Tensor], codes: Mapping[str, Tensor], own: str, other: str) -> Tensor:
    """Return the latents of labels that both modalities of a batch have, (labels, K, k)."""
    shared = torch.isin(codes[own], codes[other]) & (codes[own] >= 0)
    n_labels = len(torch.unique(codes[own][shared]))
    latents = z[own][shared]
    return latents.reshape(n_labels, len(latents) // max(1, n_labels), latents.shape[1])


def squared_mmd(x: Tensor, y: Tensor, bandwidths: Sequence[float]) -> Tensor:
    r"""Return the unbiased squared maximum mean discrepancy of each group, (groups,).

    .. math:: \frac{\sum_{i \ne i'} k(x_i, x_{i'})}{n (n - 1)}
        + \frac{\sum_{j \ne j'} k(y_j, y_{j'})}{m (m - 1)} - \frac{2 \sum_{ij} k(x_i, y_j)}{n m}

    Parameters
    ----------
    x, y
        Points of the groups, (groups, n, k) and (groups, m, k), n and m at least 2.
    bandwidths
        Factors of the Gaussian kernels on the median squared distance inside groups, x and y
        together. No gradient goes through the median.

    References
    ----------
    Gretton et al. 2012, "A kernel two-sample test", Journal of Machine Learning Research 13, lemma
    6.
    """
    n, m = x.shape[1], y.shape[1]
    points = torch.cat([x, y], dim=1)
    lengths = points.square().sum(dim=2)
    distance = lengths[:, :, None] + lengths[:, None, :] - 2 * points @ points.transpose(1, 2)
    others = ~torch.eye(n + m, dtype=torch.bool, device=x.device)
    scale = distance.detach()[:, others].median().clamp_min(1e-12)
    squared = distance.clamp_min(0.0)
    kernel = torch.stack([(-squared / (f * scale)).exp() for f in bandwidths]).mean(dim=0) * others
    within_x = kernel[:, :n, :n].sum(dim=(1, 2)) / (n * (n - 1))
    within_y = kernel[:, n:, n:].sum(dim=(1, 2)) / (m * (m - 1))
    return within_x + within_y - 2 * kernel[:, :n, n:].mean(dim=(1, 2))
