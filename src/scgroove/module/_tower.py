"""Where labels lie in the latent space, from what is known of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..losses import total, world_size
from ._encoders import mlp

WIDTH: Final = 64
NOISE: Final = 0.05
"""Of the standardised embeddings, while training: labels are few, and would be learned by heart."""


class LabelTower(nn.Module):
    r"""Latent coordinates of labels from embeddings of them, such as those of genes or compounds.

    .. math:: t_g = \frac{f(E_g)}{\lVert f(E_g) \rVert}, \qquad
        l_i = -\log \frac{e^{\cos(z_i, t_{y_i}) / \tau}}{\sum_{g \in G_m} e^{\cos(z_i, t_g) / \tau}}

    :math:`G_m` are the labels that modality m has. No label has to be in two modalities: what they share is f.

    Parameters
    ----------
    embeddings
        Finite, shape (n_labels, d), in the order of the label codes.
    present
        Which labels each modality has, boolean of shape (n_modalities, n_labels).
    n_latent
        Dimension k.

    References
    ----------
    Contrast between measurements and what is known of perturbations is that of Lu et al. 2025 (CellCLIP), arXiv 2506.06290.
    """

    embeddings: Tensor
    present: Tensor
    center: Tensor
    scale: Tensor

    def __init__(self, embeddings: Tensor, present: Tensor, n_latent: int) -> None:
        super().__init__()
        embeddings = embeddings.float()
        self.register_buffer("embeddings", embeddings)
        self.register_buffer("present", present.bool())
        self.register_buffer("center", embeddings.mean(0))
        self.register_buffer("scale", embeddings.std(0, correction=0).clamp_min(1e-6))
        self.net = mlp(embeddings.shape[1], (WIDTH,), n_latent, 0.0)

    def forward(self, embeddings: Tensor) -> Tensor:
        """Latent coordinates (n, k), of length one, of labels with these embeddings (n, d)."""
        h = (embeddings - self.center) / self.scale
        if self.training:
            h = h + NOISE * torch.randn_like(h)
        return F.normalize(self.net(h), dim=1)

    def loss(
        self,
        z: Mapping[int, Tensor],
        codes: Mapping[int, Tensor],
        weights: Mapping[int, Tensor] | None,
        temperature: float | Tensor,
    ) -> Tensor:
        """Weighted mean over the labelled cells of a modality, then mean over modalities.

        Parameters
        ----------
        z, codes, weights
            Latents (n_m, k), label codes (n_m,) and weights (n_m,) by the position of the modality; codes below 0: no label.
        temperature
            Of the softmax.

        Returns
        -------
        Scalar. Zero, with a graph, where no cell has a label.
        """
        labels, terms = self(self.embeddings), []
        for i, latent in z.items():
            known = codes[i] >= 0
            own = codes[i][known]
            weight = torch.ones_like(own, dtype=torch.float32) if weights is None else weights[i][known]
            n = total(weight.sum())
            if n:
                logits = F.normalize(latent[known].float(), dim=1) @ labels.T / temperature
                logits = logits.masked_fill(~self.present[i], -torch.inf)
                found = weight @ F.cross_entropy(logits, own, reduction="none")
                terms.append(world_size() * found / n)
        return torch.stack(terms).mean() if terms else labels.sum() * 0.0
