"""Reconstruction: likelihood of measurements under decoded distributions."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Distribution

from ._terms import Networks, ScreenInfo, Term, TermBatch


def negative_log_likelihood(
    distribution: Distribution, x: Tensor, measured: Tensor | None = None
) -> Tensor:
    """Negative log-likelihood of each cell, (n,), as a mean over its measured features.

    A weight of the mean means the same for 4 proteins and 20,000 genes.

    Parameters
    ----------
    distribution
        Independent distributions of the features, batch shape (n, d).
    x
        Measured values, shape (n, d).
    measured
        True for measured values, shape (n, d). All if None.

    References
    ----------
    Gorla et al. 2026, arXiv 2602.04021, equation 5.
    """
    found = distribution.log_prob(x)
    if measured is None:
        return -found.mean(dim=-1)
    return -torch.where(measured, found, 0.0).sum(dim=-1) / measured.sum(dim=-1).clamp_min(1)


class Reconstruction(Term):
    """Negative log-likelihood of the measured values, summed over modalities.

    References
    ----------
    Gorla et al. 2026, arXiv 2602.04021, equation 5.
    """

    name = "reconstruction"

    def setup(self, networks: Networks, info: ScreenInfo) -> None:
        """Log each modality by itself."""
        self.parts = list(networks.modalities)

    def forward(self, batch: TermBatch) -> dict[str, Tensor]:
        """Return the mean over the cells of each modality."""
        found = {}
        for m, px in batch.px.items():
            measured = batch.networks.measured(m, batch.tensors[m])
            found[m] = negative_log_likelihood(px, batch.x[m], measured).mean()
        return found
