"""What the module must know of the data before training: centres, scales, library sizes."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scvi import REGISTRY_KEYS

from ..data import ModalityManager
from ..data._checks import BLOCK_BYTES
from ..module import GROOVEModule


def fit_input_statistics(
    module: GROOVEModule, modality: str, manager: ModalityManager, rows: NDArray[np.int64]
) -> None:
    """Set the buffers of one modality from its training cells, read in blocks.

    Parameters
    ----------
    module
        The module whose buffers to set.
    modality
        The modality.
    manager
        Its view of the data.
    rows
        The training cells.
    """
    dataset = manager.create_torch_dataset(data_and_attributes=[REGISTRY_KEYS.X_KEY])
    encoder, decoder = module.encoder_of(modality), module.decoder_of(modality)
    n_features = len(encoder.transform.center)
    step = max(1, BLOCK_BYTES // (4 * n_features))
    blocks = [rows[i : i + step] for i in range(0, len(rows), step)]

    def read(block: NDArray[np.int64]) -> torch.Tensor:
        return torch.as_tensor(dataset[block][REGISTRY_KEYS.X_KEY], dtype=torch.float32)

    device = encoder.transform.center.device
    if encoder.transform.counts:
        library = torch.cat([read(b).sum(dim=1) for b in blocks])
        encoder.transform.median_library.copy_(library.median())
    total, squares, moments = (
        torch.zeros(n_features).double(),
        torch.zeros(n_features).double(),
        _CountMoments(n_features),
    )
    # around the first block's mean, so that a large offset costs no precision
    shift = encoder.transform.unscaled(read(blocks[0]).to(device)).double().cpu().mean(dim=0)
    for b in blocks:
        x = read(b)
        h = encoder.transform.unscaled(x.to(device)).double().cpu() - shift
        total += h.sum(dim=0)
        squares += h.square().sum(dim=0)
        moments.add(x.double())
    center = total / len(rows)
    scale = (squares / len(rows) - center.square()).clamp_min(0).sqrt()
    scale[scale < 1e-6] = 1.0  # constant features stay at zero
    center += shift
    encoder.transform.center.copy_(center)
    encoder.transform.scale.copy_(scale)
    decoder.location.copy_(decoder.likelihood.average_cell(center, moments.sum / len(rows)))
    if not decoder.likelihood.counts:
        decoder.scale.copy_(scale)
    elif decoder.likelihood.dispersed:
        decoder.log_dispersion.data.copy_(moments.dispersion().log())


class _CountMoments:
    """Sums from which the dispersion of a negative binomial follows by the method of moments.

    With library sizes l_i and proportions p, E[(x_i - l_i p)^2] = l_i p + (l_i p)^2 / theta. The learned
    dispersion starts there: from one, it would take thousands of steps to reach that of abundant features.
    """

    def __init__(self, n_features: int) -> None:
        self.sum, self.square, self.cross = (torch.zeros(n_features, dtype=torch.float64) for _ in range(3))
        self.library, self.library_square = 0.0, 0.0

    def add(self, x: torch.Tensor) -> None:
        library = x.sum(dim=1)
        self.sum += x.sum(dim=0)
        self.square += x.square().sum(dim=0)
        self.cross += library @ x
        self.library += float(library.sum())
        self.library_square += float(library.square().sum())

    def dispersion(self) -> torch.Tensor:
        """Theta of each feature, between 0.01 and 1000."""
        p = self.sum / self.library
        variance = self.square - 2 * p * self.cross + p.square() * self.library_square
        excess = variance - p * self.library
        return (p.square() * self.library_square / excess.clamp_min(1e-12)).clamp(0.01, 1000.0)
