"""What the module must know of the data before training: centres, scales, library sizes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from scvi import REGISTRY_KEYS

from .._numbers import is_constant
from ..data import ModalityManager
from ..data._checks import BLOCK_BYTES
from ..data._manager import ModalityDataset
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
    if encoder.transform.counts:
        counts = _CountSums(n_features)
        median = 1.0
        if encoder.transform.library:
            library = np.concatenate([_libraries(dataset.values(b)) for b in blocks])
            median = float(torch.as_tensor(library).median())
            encoder.transform.median_library.fill_(median)
        for b in blocks:
            x = sp.csr_matrix(dataset.values(b))
            counts.add(x, _libraries(x) if encoder.transform.library else np.ones(len(b)), median)
        total, squares, sums = counts.logged, counts.logged_square, counts.sum
    else:
        total, squares, sums, shift = _real_sums(dataset, blocks)
    center = total / len(rows)
    scale = (squares / len(rows) - center.square()).clamp_min(0).sqrt()
    if encoder.transform.counts:
        scale[scale < 1e-6] = 1.0  # constant features stay at zero
    else:
        center += shift
        scale[is_constant(center, scale)] = 1.0
    encoder.transform.center.copy_(center)
    encoder.transform.scale.copy_(scale)
    decoder.location.copy_(decoder.likelihood.average_cell(center, sums / len(rows)))
    if not decoder.likelihood.counts:
        decoder.scale.copy_(scale)
    elif decoder.likelihood.dispersed:
        decoder.log_dispersion.data.copy_(counts.dispersion().log())


def _real_sums(dataset: ModalityDataset, blocks: Sequence[NDArray[np.int64]]) -> tuple[torch.Tensor, ...]:
    """Sums and sums of squares around a shift, sums, and the shift: the mean of the first block, so that an offset costs no precision."""

    def read(block: NDArray[np.int64]) -> torch.Tensor:
        values = dataset.values(block)
        return torch.as_tensor(
            values.toarray() if sp.issparse(values) else np.asarray(values), dtype=torch.float32
        )

    shift = read(blocks[0]).mean(dim=0, dtype=torch.float64)
    total, squares = torch.zeros_like(shift), torch.zeros_like(shift)
    for block in blocks:
        x = read(block).sub_(shift)
        total += x.sum(dim=0, dtype=torch.float64)
        squares += x.square_().sum(dim=0, dtype=torch.float64)
    return total, squares, total + sum(map(len, blocks)) * shift, shift


def _libraries(x: Any) -> NDArray[np.float64]:
    return np.asarray(x.sum(axis=1), dtype=np.float64).ravel()


class _CountSums:
    """Sums over cells, for each feature: of counts, and of what encoders see; zeros cost nothing.

    With library sizes l_i (1 where they do not matter) and proportions p, E[(x_i - l_i p)^2] = l_i p + (l_i p)^2 / theta:
    from that the dispersion of a negative binomial follows. The learned dispersion starts there: from one, it would take
    thousands of steps to reach that of abundant features.
    """

    def __init__(self, n_features: int) -> None:
        self.n_features = n_features
        self.logged, self.logged_square, self.sum, self.square, self.cross = torch.zeros(
            5, n_features, dtype=torch.float64
        )
        self.library, self.library_square = 0.0, 0.0

    def add(self, x: sp.csr_matrix, library: NDArray[np.float64], median_library: float) -> None:
        """Add the cells of a block."""
        of_value = np.repeat(library, np.diff(x.indptr))
        value = x.data.astype(np.float64)
        logged = np.log1p(value * (median_library / np.maximum(of_value, 1e-8)))
        for found, weights in (
            (self.logged, logged),
            (self.logged_square, logged**2),
            (self.sum, value),
            (self.square, value**2),
            (self.cross, value * of_value),
        ):
            found += torch.from_numpy(np.bincount(x.indices, weights, minlength=self.n_features))
        self.library += float(library.sum())
        self.library_square += float((library**2).sum())

    def dispersion(self) -> torch.Tensor:
        """Theta of each feature, between 0.01 and 1000."""
        p = self.sum / self.library
        variance = self.square - 2 * p * self.cross + p.square() * self.library_square
        excess = variance - p * self.library
        theta: torch.Tensor = (p.square() * self.library_square / excess.clamp_min(1e-12)).clamp(0.01, 1000.0)
        return theta
