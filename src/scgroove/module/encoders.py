"""From the measurements of one modality to the shared latent space."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import InputError
from ..losses.distributed import total
from ._dropout import Dropout

EncoderKind = Literal["linear", "mlp"]
OFFSET_RATE = 0.1
"""Share of the way to the batch mean, constant so that training and evaluation agree."""
CLIP_AT = 10.0
"""Standard deviations at which features are clipped, because rare ones would dominate."""


def mlp(
    n_in: int, hidden: Sequence[int], n_out: int, dropout: float, bias: bool = True
) -> nn.Sequential:
    """Return linear, LayerNorm, ReLU and dropout for every hidden width, and a linear layer."""
    layers: list[nn.Module] = []
    for width in hidden:
        layers += [nn.Linear(n_in, width), nn.LayerNorm(width), nn.ReLU()]
        if dropout:  # at rate zero it would still cost a pass
            layers.append(Dropout(dropout))
        n_in = width
    return nn.Sequential(*layers, nn.Linear(n_in, n_out, bias=bias))


class Seen(NamedTuple):
    """Measured values (n, d) and library sizes (n, 1) as if all features had been measured."""

    measured: Tensor
    library: Tensor


class InputTransform(nn.Module):
    """Input of an encoder: counts normalized and logged, every feature standardized.

    The statistics come from the training cells. They are buffers, saved with the model.

    Parameters
    ----------
    n_features
        Number of features d.
    counts
        Take log1p of the values.
    library
        Before, divide each cell by its size factor (library size over the median library size).
    """

    center: Tensor
    scale: Tensor
    median_library: Tensor

    def __init__(self, n_features: int, *, counts: bool, library: bool = True) -> None:
        super().__init__()
        self.counts, self.library = counts, library
        self.register_buffer("center", torch.zeros(n_features))
        self.register_buffer("scale", torch.ones(n_features))
        self.register_buffer("median_library", torch.ones(()))

    def unscaled(self, x: Tensor, seen: Seen | None = None) -> Tensor:
        """Return the values before standardization, shape (n, d)."""
        if not self.counts:
            return x
        if not self.library:
            return x.log1p()
        library = x.sum(dim=1, keepdim=True).clamp_min(1e-8) if seen is None else seen.library
        return torch.log1p(x * (self.median_library / library))

    def forward(self, x: Tensor, seen: Seen | None = None) -> Tensor:
        """Return standardized and clipped values, (n, d), 0 where not measured."""
        h = ((self.unscaled(x, seen) - self.center) / self.scale).clamp(-CLIP_AT, CLIP_AT)
        return h if seen is None else h * seen.measured


class Encoder(nn.Module):
    """Encoder of one modality, :math:`e_m: R^d -> R^k`.

    Contrastive losses do not see an offset common to all cells of a modality, so that modalities
    end up beside one another ("modality gap"). Therefore latents are centered: ``offset`` follows
    the mean over labeled cells of the label-balanced batches. With an ``origin``, they are then
    scaled to length one, seen from a learned point that all modalities share, so that a cell
    without a clear signal lies near it.

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
        Number of batch categories given to the encoder as one-hot inputs, or 0.
    counts, library
        See :class:`InputTransform`.
    origin
        Scale latents to length one, seen from this shared vector of shape (k,), unless None.
    """

    offset: Tensor

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
        library: bool = True,
        origin: nn.Parameter | None,
    ) -> None:
        super().__init__()
        if kind not in get_args(EncoderKind):
            raise InputError(f"Unknown encoder {kind!r}. Expected one of {get_args(EncoderKind)}.")
        self.n_batch = n_batch
        self.follows = True  # False where the latent space must not move
        self.transform = InputTransform(n_features, counts=counts, library=library)
        self.drop_input = Dropout(dropout) if dropout and kind == "linear" else nn.Identity()
        self.net = mlp(
            n_features + n_batch, hidden if kind == "mlp" else (), n_latent, dropout, bias=False
        )
        self.register_buffer("offset", torch.zeros(n_latent))
        self.origin = origin

    def forward(self, x: Tensor, batch: Tensor, seen: Seen | None = None) -> Tensor:
        """Latent coordinates, shape (n, k), of values (n, d) with batch weights (n, n_batch)."""
        return self.place(self.raw(x, batch, seen))

    def raw(self, x: Tensor, batch: Tensor, seen: Seen | None = None) -> Tensor:
        """Latent coordinates before they are centered and scaled, shape (n, k)."""
        h = self.drop_input(self.transform(x, seen))
        z: Tensor = self.net(torch.cat([h, batch], dim=1) if self.n_batch else h)
        return z

    def place(self, z: Tensor) -> Tensor:
        """Center latent coordinates, and scale them to length one if there is an origin."""
        z = z - self.offset
        return z if self.origin is None else F.normalize(z + self.origin, dim=1)

    @torch.no_grad()
    def follow(self, z: Tensor) -> None:
        """Move the offset towards the mean of raw latents (n, k) of all processes."""
        ones = torch.ones(len(z), 1, device=z.device, dtype=self.offset.dtype)
        sums = total(torch.cat([z.to(self.offset.dtype), ones], dim=1).sum(dim=0))
        if sums[-1] > 0:
            self.offset.lerp_(sums[:-1] / sums[-1], OFFSET_RATE)
