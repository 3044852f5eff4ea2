"""Moment matching: autoencoders whose latents have, inside each label, one distribution in all modalities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import ClassVar

import torch
from torch import Tensor, nn

from scgroove.data.screen import Screen
from scgroove.errors import InputError
from scgroove.learners._base import LEARNERS
from scgroove.learners.training import (
    Cells,
    Decoders,
    Encoders,
    GroupBatches,
    Objective,
    Rows,
    TorchLearner,
)
from scgroove.module import EncoderKind


@LEARNERS.register("mmd")
@dataclass
class MMD(TorchLearner):
    r"""Autoencoders, and the maximum mean discrepancy between modalities inside each label.

    .. math:: \min \; \sum_m E\Big[-\tfrac{1}{d_m} \log p_m(x | e_m(x))\Big]
        + w \, \mathrm{mean}_{m < m'} \, \mathrm{mean}_l \, \widehat{MMD}^2 \big( e_m(x) | l, \; e_{m'}(x) | l \big)

    The kernel is a mean of Gaussian ones, :math:`\exp(-\|z - z'\|^2 / (f s))` for factors f, where s is the median of the squared
    distances inside labels in the batch: latents twice as long change nothing, so that the weight has no unit. The
    estimate is unbiased where a label has at least as many cells as a step draws of it: no cell is compared with itself; of
    smaller labels cells are drawn twice. Cells without a shared label are reconstructed only.

    Nothing draws labels apart, and only as much is linked as distributions tell: what turns the latent of a label into
    itself stays open, and is settled by the many labels together.

    Parameters
    ----------
    mmd_weight
        w.
    bandwidths
        The factors f.
    n_latent, encoder, hidden, dropout, batch_size, n_labels_per_batch, n_cells_per_label, max_epochs, lr, weight_decay, device
        See ``scgroove.learners.CLIPPseudo``; decoders have the hidden layers too.

    References
    ----------
    Gretton et al. 2012, "A kernel two-sample test", Journal of Machine Learning Research 13, lemma 6; Liu et al. 2019 (MMD-MA),
    for matching of modalities.
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

    def _networks(self, n_features: Mapping[str, int], n_labels: int) -> _Autoencoders:
        encoders = Encoders(
            n_features,
            self.n_latent,
            encoder=self.encoder,
            hidden=self.hidden,
            dropout=self.dropout,
            spherical=False,
        )
        return _Autoencoders(encoders, Decoders(n_features, self.n_latent, hidden=self.hidden))

    def _batches(self, screen: Screen, seed: int) -> GroupBatches:
        batches = self._group_batches(screen.codes, seed, free_fraction=0.25)
        if batches.sampler.k < 2:
            raise InputError(
                f"learner 'mmd' compares cells of a label with one another, so a step must have 2 of each or more; found "
                f"n_cells_per_label={self.n_cells_per_label}, batch_size={self.batch_size}. Raise them, or lower n_labels_per_batch."
            )
        return batches

    def _objective(
        self, networks: _Autoencoders, cells: Cells, screen: Screen, steps: int
    ) -> Objective:
        def loss(rows: Rows) -> Tensor:
            x, codes = cells.take(rows)
            z = networks.encoders(x, codes)
            reconstruction = torch.stack([networks.decoders(m, z[m], x[m]).mean() for m in z]).sum()
            pairs = [
                (of_labels(z, codes, a, b), of_labels(z, codes, b, a))
                for a, b in combinations(z, 2)
            ]
            terms = [squared_mmd(u, v, self.bandwidths).mean() for u, v in pairs if len(u)]
            return reconstruction + self.mmd_weight * torch.stack(terms).mean()

        return loss


class _Autoencoders(nn.Module):
    def __init__(self, encoders: Encoders, decoders: Decoders) -> None:
        super().__init__()
        self.encoders, self.decoders = encoders, decoders

    def embed(self, modality: str, x: Tensor) -> Tensor:
        """Return the latents of cells, (n, k)."""
        return self.encoders.embed(modality, x)


def of_labels(z: Mapping[str, Tensor], codes: Mapping[str, Tensor], own: str, other: str) -> Tensor:
    """Return the latents of the labels of a batch that another modality has too, (labels, K, k).

    A batch has its labels in one order in all modalities, and K cells of each.
    """
    both = torch.isin(codes[own], codes[other]) & (codes[own] >= 0)
    n_labels = len(torch.unique(codes[own][both]))
    kept = z[own][both]
    return kept.reshape(n_labels, len(kept) // max(1, n_labels), kept.shape[1])


def squared_mmd(x: Tensor, y: Tensor, bandwidths: Sequence[float]) -> Tensor:
    r"""Return the unbiased estimate of the squared maximum mean discrepancy of each group.

    .. math:: \frac{\sum_{i \ne i'} k(x_i, x_{i'})}{n (n - 1)} + \frac{\sum_{j \ne j'} k(y_j, y_{j'})}{m (m - 1)}
        - \frac{2 \sum_{ij} k(x_i, y_j)}{n m}

    Parameters
    ----------
    x, y
        Points of the groups, (groups, n, k) and (groups, m, k), n and m at least 2.
    bandwidths
        Factors of the Gaussian kernels on the median of the squared distances inside groups, x and y together; no
        gradient goes through the median.

    Returns
    -------
    Tensor
        (groups,); below zero by chance, where there is no discrepancy.

    References
    ----------
    Gretton et al. 2012, "A kernel two-sample test", Journal of Machine Learning Research 13, lemma 6.
    """
    n, m = x.shape[1], y.shape[1]
    points = torch.cat([x, y], dim=1)
    lengths = points.square().sum(dim=2)
    distance = lengths[:, :, None] + lengths[:, None, :] - 2 * points @ points.transpose(1, 2)
    other = ~torch.eye(n + m, dtype=torch.bool, device=x.device)
    scale = distance.detach()[:, other].median().clamp_min(1e-12)
    kernel = torch.stack([(-distance.clamp_min(0.0) / (f * scale)).exp() for f in bandwidths]).mean(
        dim=0
    )
    kernel = kernel * other
    within_x = kernel[:, :n, :n].sum(dim=(1, 2)) / (n * (n - 1))
    within_y = kernel[:, n:, n:].sum(dim=(1, 2)) / (m * (m - 1))
    return within_x + within_y - 2 * kernel[:, :n, n:].mean(dim=(1, 2))
