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
    total, squares, raw = (torch.zeros(n_features, dtype=torch.float64) for _ in range(3))
    # around the first block's mean, so that a large offset costs no precision
    shift = encoder.transform.unscaled(read(blocks[0]).to(device)).double().cpu().mean(dim=0)
    for b in blocks:
        x = read(b)
        h = encoder.transform.unscaled(x.to(device)).double().cpu()
        total += (h - shift).sum(dim=0)
        squares += (h - shift).square().sum(dim=0)
        raw += x.double().sum(dim=0)
    n = len(rows)
    variance = (squares / n - (total / n).square()).clamp_min(0)
    scale = variance.sqrt()
    scale[scale < 1e-6] = 1.0  # constant features stay at zero
    encoder.transform.center.copy_(shift + total / n)
    encoder.transform.scale.copy_(scale)
    decoder.location.copy_(decoder.likelihood.average_cell(shift + total / n, raw / n))
    if not decoder.likelihood.counts:
        decoder.scale.copy_(scale)
