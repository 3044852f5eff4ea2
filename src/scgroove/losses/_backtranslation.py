"""On-the-fly back-translation: every measurement is its own paired target."""

from __future__ import annotations

import torch
from torch import Tensor

from ._reconstruction import negative_log_likelihood
from ._terms import Term, TermBatch


class BackTranslation(Term):
    r"""On-the-fly back-translation through all other modalities.

    .. math:: \tilde x = \mathrm{stop}\, E[p_{m'}(\cdot \mid d_{m'}(e_m(x)))], \qquad
        l = -\log p_m(x \mid d_m(e_{m'}(\tilde x)))

    The pseudo-cell :math:`\tilde x` is made without dropout and without a gradient. The loss of a
    cell is the mean over its measured features. The term is the mean over cells and other
    modalities of the model, summed over the modalities of the cells.

    Parameters
    ----------
    weight, warmup
        See :class:`Term`.

    References
    ----------
    Gorla et al. 2026, arXiv 2602.04021, equation 6. Lample et al. 2018, arXiv 1804.07755.
    """

    name = "backtranslation"

    def __init__(self, weight: float = 1.0, *, warmup: float = 0.2) -> None:
        super().__init__(weight, warmup=warmup)

    def forward(self, batch: TermBatch) -> Tensor:
        """Return the loss of a batch."""
        total = next(iter(batch.z.values())).new_zeros(())
        for source, z in self._without_dropout(batch).items():
            others = [m for m in batch.networks.modalities if m != source]
            losses = [self._through(target, source, batch, z) for target in others]
            total = total + torch.stack(losses).mean()
        return total

    def _without_dropout(self, batch: TermBatch) -> dict[str, Tensor]:
        networks, z = batch.networks, {}
        random = {m: networks.is_random(m) for m in batch.z}
        with networks.without_dropout(), torch.no_grad():
            for m, known in batch.z.items():
                z[m] = networks.encode_cells(m, batch.tensors[m]) if random[m] else known.detach()
        return z

    def _through(self, target: str, source: str, batch: TermBatch, z: Tensor) -> Tensor:
        networks, cells = batch.networks, batch.tensors[source]
        with networks.without_dropout(), torch.no_grad():
            pseudo = networks.pseudo_cells(target, z)
        px = networks.decode_cells(source, networks.encode_cells(target, pseudo), cells)
        return negative_log_likelihood(px, batch.x[source], networks.measured(source, cells)).mean()
