"""From the measurements of one modality to the shared latent space."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn

EncoderKind = Literal["linear", "mlp"]
CLIP_AT = 10.0  # standard deviations: rare features of sparse data would otherwise dominate a linear encoder


def mlp(n_in: int, hidden: Sequence[int], n_out: int, dropout: float) -> nn.Sequential:
    """Linear, LayerNorm, ReLU, dropout for every hidden width; then a linear layer. No batch statistics."""
    layers: list[nn.Module] = []
    for width in hidden:
        layers += [nn.Linear(n_in, width), nn.LayerNorm(width), nn.ReLU()]
        if dropout:  # at rate zero it would still cost a pass
            layers.append(nn.Dropout(dropout))
        n_in = width
    return nn.Sequential(*layers, nn.Linear(n_in, n_out))


class InputTransform(nn.Module):
    """What an encoder sees: counts normalised and logged, every feature standardised.

    The statistics come from the training cells (:meth:`fit`) and are buffers, so that they are saved with
    the model.

    Parameters
    ----------
    n_features
        Number of features d.
    counts
        Divide each cell by its size factor (library size over the median library size) and take log1p.
    """

    center: Tensor
    scale: Tensor
    median_library: Tensor

    def __init__(self, n_features: int, *, counts: bool) -> None:
        super().__init__()
        self.counts = counts
        self.register_buffer("center", torch.zeros(n_features))
        self.register_buffer("scale", torch.ones(n_features))
        self.register_buffer("median_library", torch.ones(()))

    def unscaled(self, x: Tensor) -> Tensor:
        """The values before standardisation, shape (n, d)."""
        if not self.counts:
            return x
        library = x.sum(dim=1, keepdim=True).clamp_min(1e-8)
        return torch.log1p(x * (self.median_library / library))

    def forward(self, x: Tensor) -> Tensor:
        """Standardised values, clipped at 10 standard deviations, shape (n, d)."""
        return ((self.unscaled(x) - self.center) / self.scale).clamp(-CLIP_AT, CLIP_AT)


class Encoder(nn.Module):
    """Encoder of one modality, :math:`e_m: R^d -> R^k`.

    Parameters
    ----------
    n_features, n_latent
        d and k.
    kind
        ``"linear"`` or ``"mlp"``.
    hidden
        Widths of the hidden layers (``"mlp"`` only).
    dropout
        Dropout rate: after every hidden layer of the MLP, on the input of the linear encoder.
    n_batch
        Number of batch categories given to the encoder as one-hot inputs; 0: none.
    counts
        See :class:`InputTransform`.
    """

    def __init__(
        self,
        n_features: int,
        n_latent: int,
        *,
        kind: EncoderKind,
        hidden: Sequence[int],
        dropout: float,
        n_batch: int,
        counts: bool,
    ) -> None:
        super().__init__()
        if kind not in get_args(EncoderKind):
            raise ValueError(f"Unknown encoder {kind!r}. Expected one of {get_args(EncoderKind)}.")
        self.n_batch = n_batch
        self.transform = InputTransform(n_features, counts=counts)
        self.drop_input = nn.Dropout(dropout) if dropout and kind == "linear" else nn.Identity()
        self.net = mlp(n_features + n_batch, hidden if kind == "mlp" else (), n_latent, dropout)

    def forward(self, x: Tensor, batch: Tensor) -> Tensor:
        """Latent coordinates, shape (n, k), of values (n, d) with batch weights (n, n_batch)."""
        h = self.drop_input(self.transform(x))
        z: Tensor = self.net(torch.cat([h, batch], dim=1) if self.n_batch else h)
        return z
