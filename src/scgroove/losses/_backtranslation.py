"""On-the-fly back-translation: every measurement is its own paired target."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.distributions import Distribution

from ._reconstruction import negative_log_likelihood


def back_translation(
    x: Tensor,
    generate: Callable[[], Tensor],
    reconstruct: Callable[[Tensor], Distribution],
    measured: Tensor | None = None,
) -> Tensor:
    r"""Back-translation loss of each cell of one modality through another.

    .. math:: \tilde x = \mathrm{stop}\, E[p_{m'}(\cdot \mid d_{m'}(e_m(x)))], \qquad
        l = -\log p_m(x \mid d_m(e_{m'}(\tilde x)))

    Parameters
    ----------
    x
        Measured values of the source modality, shape (n, d_source).
    generate
        Gives the pseudo-measurement :math:`\tilde x`, shape (n, d_target), with the current weights in
        evaluation mode. Called without gradient.
    reconstruct
        Maps the pseudo-measurement to the distribution of ``x``. The gradient goes through it only.
    measured
        Which values of ``x`` were measured, shape (n, d_source); None: all.

    Returns
    -------
    Mean over features of the negative log-likelihood, shape (n,).

    References
    ----------
    Gorla et al. 2026, arXiv 2602.04021, equation 6; Lample et al. 2018, arXiv 1804.07755.
    """
    with torch.no_grad():
        pseudo = generate()
    return negative_log_likelihood(reconstruct(pseudo.detach()), x, measured)
