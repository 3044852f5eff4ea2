"""Reconstruction: how well a decoded distribution explains the measurement."""

from __future__ import annotations

from torch import Tensor
from torch.distributions import Distribution


def negative_log_likelihood(distribution: Distribution, x: Tensor) -> Tensor:
    """Negative log-likelihood of each cell, as a mean over features.

    The mean, not the sum, so that a weight means the same for 4 proteins and 20,000 genes.

    Parameters
    ----------
    distribution
        Independent distributions of the features, batch shape (n, d).
    x
        Measured values, shape (n, d).

    Returns
    -------
    Tensor of shape (n,).

    References
    ----------
    Gorla et al. 2026, arXiv 2602.04021, equation 5.
    """
    return -distribution.log_prob(x).mean(dim=-1)
