"""Time and memory of what training is made of."""

from __future__ import annotations

import logging
import warnings

import numpy as np
import scipy.sparse as sp
import torch
from anndata import AnnData
from mudata import MuData

from scgroove.losses import group_clip_loss, nb_log_likelihood
from scgroove.model import GROOVE


def screen(n_cells: int, n_labels: int) -> MuData:
    """Return counts of two modalities, 500 and 50 features, as CSR."""
    rng = np.random.default_rng(0)
    parts = {}
    for name, d in (("rna", 500), ("protein", 50)):
        parts[name] = AnnData(
            sp.csr_matrix(rng.poisson(0.3, (n_cells, d)) + np.eye(n_cells, d), dtype=np.float32)
        )
        parts[name].obs_names = [f"{name}{i}" for i in range(n_cells)]
        parts[name].obs["label"] = [f"g{i % n_labels:04}" for i in range(n_cells)]
    return MuData(parts)


class Training:
    """Forty steps through scvi-tools and Lightning, of screens with few and many labels."""

    params = (20, 1000)
    param_names = ("labels",)
    timeout = 300

    def setup(self, n_labels: int) -> None:
        """Make a screen and a model."""
        torch.set_num_threads(1)
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        mdata = screen(4000, n_labels)
        GROOVE.setup_mudata(mdata, "label", paired=False)
        self.model = GROOVE(mdata)
        self.train()

    def train(self) -> None:
        """Train for forty steps."""
        self.model.train(
            100,
            max_steps=40,
            train_size=1.0,
            accelerator="cpu",
            enable_progress_bar=False,
            logger=False,
        )

    def time_steps(self, n_labels: int) -> None:
        """Time of forty steps."""
        self.train()

    def time_latents(self, n_labels: int) -> None:
        """Time of the latents of all cells."""
        self.model.get_latent_representation()

    def peakmem_steps(self, n_labels: int) -> None:
        """Peak memory of the process."""
        self.train()


class Losses:
    """The two losses that cost most, with their gradients."""

    def setup(self) -> None:
        """Draw embeddings and counts."""
        torch.set_num_threads(1)
        rng = torch.Generator().manual_seed(0)
        self.z = {m: torch.randn(4096, 16, generator=rng, requires_grad=True) for m in "ab"}
        self.labels = {m: torch.randint(0, 200, (4096,), generator=rng) for m in "ab"}
        self.x = torch.poisson(torch.full((256, 2000), 0.5), generator=rng)
        self.log_mean = torch.randn(256, 2000, generator=rng, requires_grad=True)
        self.theta = torch.ones(2000, requires_grad=True)

    def time_groupclip(self) -> None:
        """GroupCLIP of 4,096 cells a modality, in blocks."""
        group_clip_loss(self.z, self.labels, temperature=0.3).backward()

    def time_negative_binomial(self) -> None:
        """Likelihood of 256 cells with 2,000 features."""
        nb_log_likelihood(self.log_mean, self.theta, self.x).mean().backward()
