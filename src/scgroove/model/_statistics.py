"""Statistics of the training data that the module keeps: centers, scales, library sizes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from scvi import REGISTRY_KEYS

from .._numbers import is_constant
from ..data import ModalityManager
from ..data.checks import BLOCK_BYTES
from ..data.manager import ModalityDataset
from ..data.measured import expected_shares
from ..module import GROOVEModule


def fit_input_statistics(
    module: GROOVEModule, modality: str, manager: ModalityManager, rows: NDArray[np.int64]
) -> None:
    """Set the buffers of one modality from its training cells, read in blocks."""
    dataset = manager.create_torch_dataset(data_and_attributes=[REGISTRY_KEYS.X_KEY])
    encoder, decoder = module.encoder_of(modality), module.decoder_of(modality)
    n_features = len(encoder.transform.center)
    step = max(1, BLOCK_BYTES // (4 * n_features))
    blocks = [rows[i : i + step] for i in range(0, len(rows), step)]
    mask = module.mask_of(modality)
    batch = np.zeros(manager.adata.n_obs, dtype=np.int64)
    if mask is None:
        mask = torch.ones(1, n_features, dtype=torch.bool)
    else:
        batch = manager.get_from_registry(REGISTRY_KEYS.BATCH_KEY).ravel().astype(np.int64)
    measured = mask.cpu().numpy()
    n_cells = torch.from_numpy(
        np.bincount(batch[rows], minlength=len(measured)) @ measured
    ).clamp_min(1)
    if encoder.transform.counts:
        counts = _CountSums(measured)
        library, median = np.ones(manager.adata.n_obs), 1.0
        if encoder.transform.library:
            library[rows] = _libraries(dataset, blocks, batch, measured)
            median = float(torch.as_tensor(library[rows]).median())
            encoder.transform.median_library.fill_(median)
        for b in blocks:
            counts.add(sp.csr_matrix(dataset.values(b)), library[b], median, batch[b])
        total, squares, mean = counts.logged, counts.logged_square, counts.sum / counts.library
    else:
        total, squares, shift = _real_sums(dataset, blocks, batch, measured)
    center = total / n_cells  # of the cells that measured a feature
    scale = (squares / n_cells - center.square()).clamp_min(0).sqrt()
    if encoder.transform.counts:
        scale[scale < 1e-6] = 1.0  # constant features stay at zero
    else:
        center += shift
        scale[is_constant(center, scale)] = 1.0
        mean = center
    encoder.transform.center.copy_(center)
    encoder.transform.scale.copy_(scale)
    decoder.location.copy_(decoder.likelihood.average_cell(center, mean))
    if not decoder.likelihood.counts:
        decoder.scale.copy_(scale)
    elif decoder.likelihood.dispersed:
        decoder.log_dispersion.data.copy_(counts.dispersion().log())


Blocks: TypeAlias = Sequence[NDArray[np.int64]]


def _real_sums(
    dataset: ModalityDataset, blocks: Blocks, batch: NDArray[np.int64], measured: NDArray[np.bool_]
) -> tuple[torch.Tensor, ...]:
    """Sums and sums of squares around the mean of the first block, (d,) each, and that mean."""

    def read(block: NDArray[np.int64]) -> torch.Tensor:
        values = dataset.values(block)
        return torch.as_tensor(
            values.toarray() if sp.issparse(values) else np.asarray(values), dtype=torch.float32
        )

    shift = read(blocks[0]).mean(dim=0, dtype=torch.float64)
    total, squares = torch.zeros_like(shift), torch.zeros_like(shift)
    for block in blocks:
        x = read(block).sub_(shift)
        if not measured.all():
            x *= torch.from_numpy(measured[batch[block]])
        total += x.sum(dim=0, dtype=torch.float64)
        squares += x.square_().sum(dim=0, dtype=torch.float64)
    return total, squares, shift


def _libraries(
    dataset: ModalityDataset, blocks: Blocks, batch: NDArray[np.int64], measured: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Library sizes of the cells of blocks, as if their batch had measured all features."""
    library, sums = [], np.zeros(measured.shape)
    for block in blocks:
        x = sp.csr_matrix(dataset.values(block), dtype=np.float64)
        library.append(np.asarray(x.sum(axis=1)).ravel())
        if not measured.all():
            for code in np.unique(batch[block]):
                sums[code] += np.asarray(x[batch[block] == code].sum(axis=0)).ravel()
    if measured.all():
        return np.concatenate(library)
    share = measured @ expected_shares(sums, measured)
    return np.concatenate(library) / share[batch[np.concatenate(blocks)]]


class _CountSums:
    """Sums over cells of counts and of the inputs of encoders, for each feature.

    With library sizes l_i (1 without) and proportions p, E[(x_i - l_i p)^2] = l_i p + (l_i p)^2 /
    theta gives the dispersion theta of a negative binomial, where its training starts.
    """

    def __init__(self, measured: NDArray[np.bool_]) -> None:
        self.measured, self.n_features = torch.from_numpy(measured).double(), measured.shape[1]
        sums = torch.zeros(7, self.n_features, dtype=torch.float64)
        self.logged, self.logged_square, self.sum, self.square, self.cross = sums[:5]
        self.library, self.library_square = sums[5:]

    def add(
        self,
        x: sp.csr_matrix,
        library: NDArray[np.float64],
        median_library: float,
        batch: NDArray[np.int64],
    ) -> None:
        """Add the cells of a block. Library sizes count for the features that a batch measured."""
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
        for found, weights in ((self.library, library), (self.library_square, library**2)):
            of_batch = np.bincount(batch, weights, minlength=len(self.measured))
            found += torch.from_numpy(of_batch) @ self.measured

    def dispersion(self) -> torch.Tensor:
        """Theta of each feature, between 0.01 and 1000."""
        p = self.sum / self.library
        variance = self.square - 2 * p * self.cross + p.square() * self.library_square
        excess = variance - p * self.library
        theta: torch.Tensor = p.square() * self.library_square / excess.clamp_min(1e-12)
        return theta.clamp(0.01, 1000.0)
