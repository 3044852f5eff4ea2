r"""Keeping two parts of a latent vector from saying the same."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ._similarity import full_precision


def joint_concentration(s: Tensor, p: Tensor) -> Tensor:
    r"""How concentrated cells are in two codes together: minimise it, and what one code says the other need not.

    .. math:: \frac 1 n \sum_i \log \frac 1 n \sum_j e^{-(\lVert s_i - s_j \rVert^2 + \lVert p_i - p_j \rVert^2)}

    with codes of length one. Its negative estimates the entropy of both codes together, :math:`H(s) + H(p) - I(s; p)`: on a sphere the first two
    are bounded, so that the mutual information has to fall.

    Parameters
    ----------
    s, p
        Codes, shapes (n, k) and (n, l); scaled to length one here.

    Returns
    -------
    Scalar from -log n to 0.

    References
    ----------
    Louiset et al. 2024, arXiv 2402.11928, minimise it for contrastive codes, of which one there is not bounded.
    """
    s, p = F.normalize(full_precision(s), dim=1), F.normalize(full_precision(p), dim=1)
    # squared distances of unit vectors, from their products
    distances = (4 - 2 * (s @ s.T) - 2 * (p @ p.T)).clamp_min(0)
    return torch.logsumexp(-distances, dim=1).mean() - torch.log(torch.tensor(float(len(s))))


def cross_correlation(s: Tensor, p: Tensor) -> Tensor:
    """Mean squared correlation between coordinates of two codes, shapes (n, k) and (n, l): a scalar from 0 to 1."""
    s, p = (_standardised(full_precision(v)) for v in (s, p))
    return (s.T @ p / len(s)).square().mean()


def _standardised(x: Tensor) -> Tensor:
    x = x - x.mean(0)
    return x / x.square().mean(0).sqrt().clamp_min(1e-6)
