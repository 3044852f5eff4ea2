"""Adversarial variational autoencoders: a discriminator must fail to tell the modalities apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scgroove._types import BoolArray
from scgroove.data.screen import Screen
from scgroove.learners._base import LEARNERS
from scgroove.learners.training import (
    Cells,
    Decoders,
    GroupBatches,
    Objective,
    Optimizer,
    Rows,
    TorchLearner,
)
from scgroove.module.encoders import CLIP_AT, mlp


@LEARNERS.register("davae")
@dataclass
class DAVAE(TorchLearner):
    r"""Domain-adversarial variational autoencoders that are adapted to the label.

    With an encoder :math:`q_m(z | x)` and a decoder :math:`p_m(x | z)` of each modality, and a discriminator D that guesses
    the modality of a latent given its label,

    .. math:: \min_{q, p} \; \sum_m E\Big[ -\tfrac{1}{d_m} \log p_m(x | z) + \tfrac{\beta}{d_m} KL(q_m(z | x) \| N(0, I)) \Big]
        + \kappa \, E[ CE(D(z, y), \text{another modality}) ], \qquad \min_D \; E[ CE(D(z, y), \text{the modality}) ].

    The representation is the mean of q_m. Because D knows the label, what must become alike is the distribution of latents
    inside each label, not that of all cells. Targets of the autoencoder are "flipped": another modality that has the label,
    each equally. Cells without a shared label are reconstructed, and kept from D, which would know them by their label.

    Unlike the implementation in the package Perturb-OT of the idea, every modality has a decoder of its own, and so no covariate that
    could be the wrong one, features have a variance that is learned, and there is no factor for the library size.

    Parameters
    ----------
    kl_weight
        Beta, reached from 0 over the first 30 % of the steps. With one sample a cell and fewer latent dimensions needed than given, more
        than 1 leaves the others empty, where there would be nothing but noise to make alike.
    adversary_weight
        Kappa.
    adversary_hidden, adversary_lr, adversary_steps
        Widths of D, its learning rate, and its steps for each of the autoencoders: a weak D makes nothing alike.
    n_latent, encoder, hidden, dropout, batch_size, n_labels_per_batch, n_cells_per_label, max_epochs, lr, weight_decay, device
        See ``scgroove.learners.CLIPPseudo``; decoders have the hidden layers too.

    References
    ----------
    Ryu et al. 2024, arXiv 2405.00838, where it is a baseline; Ganin et al. 2016, arXiv 1505.07818, for adversaries of domains;
    Kingma and Welling 2014, arXiv 1312.6114.
    """

    name: ClassVar[str] = "davae"

    kl_weight: float = 3.0
    adversary_weight: float = 0.3
    adversary_hidden: Sequence[int] = (64, 64)
    adversary_lr: float = 3e-3
    adversary_steps: int = 3

    def _networks(self, n_features: Mapping[str, int], n_labels: int) -> VAE:
        return VAE(
            n_features,
            self.n_latent,
            encoder_hidden=self.hidden if self.encoder == "mlp" else (),
            decoder_hidden=self.hidden,
            dropout=self.dropout,
        )

    def _batches(self, screen: Screen, seed: int) -> GroupBatches:
        return self._group_batches(screen.codes, seed, free_fraction=0.25)

    def _present(self, screen: Screen) -> BoolArray:
        """Return which modality has which label, (modalities, labels): what D is told, and whom it may be taken in by."""
        return np.stack(
            [np.isin(np.arange(screen.n_labels), screen.codes[m]) for m in screen.modalities]
        )

    def _objective(self, networks: VAE, cells: Cells, screen: Screen, steps: int) -> Objective:
        return _Game(self, networks, cells, self._present(screen), steps)


@LEARNERS.register("vae_adversarial")
@dataclass
class AdversarialVAE(DAVAE):
    """Domain-adversarial variational autoencoders that know nothing of labels: :class:`DAVAE` without them.

    D guesses the modality from the latent alone, and batches are drawn from all cells alike. Permuted labels give the same
    representation, to the bit. ``n_labels_per_batch`` and ``n_cells_per_label`` play no part.

    References
    ----------
    Ganin et al. 2016, arXiv 1505.07818.
    """

    name: ClassVar[str] = "vae_adversarial"
    uses_labels: ClassVar[bool] = False

    def _batches(self, screen: Screen, seed: int) -> GroupBatches:
        one = {m: np.zeros_like(codes) for m, codes in screen.codes.items()}
        return GroupBatches(one, epochs=self.max_epochs, batch_size=self.batch_size, seed=seed)

    def _present(self, screen: Screen) -> BoolArray:
        return np.ones((len(screen.modalities), 1), dtype=bool)

    def _objective(self, networks: VAE, cells: Cells, screen: Screen, steps: int) -> Objective:
        return super()._objective(networks, cells.of_one_label(), screen, steps)


class VAE(nn.Module):
    """A variational autoencoder of each modality.

    Parameters
    ----------
    n_features, n_latent
        Number of features of each modality, and k.
    encoder_hidden, decoder_hidden
        Widths of hidden layers; no hidden layer: linear.
    dropout
        On the input of a linear encoder, else after each of its hidden layers.
    """

    def __init__(
        self,
        n_features: Mapping[str, int],
        n_latent: int,
        *,
        encoder_hidden: Sequence[int],
        decoder_hidden: Sequence[int],
        dropout: float,
    ) -> None:
        super().__init__()
        self.modalities = list(n_features)
        self.drop_input = nn.Dropout(0.0 if encoder_hidden else dropout)
        self.encoders = nn.ModuleList(
            mlp(d, encoder_hidden, 2 * n_latent, dropout) for d in n_features.values()
        )
        self.decoders = Decoders(n_features, n_latent, hidden=decoder_hidden)

    def posterior(self, modality: str, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and logarithm of the variance of q_m(z | x), (n, k) each."""
        encoder = self.encoders[self.modalities.index(modality)]
        mean, log_variance = encoder(self.drop_input(x.clamp(-CLIP_AT, CLIP_AT))).chunk(2, dim=1)
        return mean, log_variance.clamp(-10.0, 10.0)

    def embed(self, modality: str, x: Tensor) -> Tensor:
        """Return the mean of q_m(z | x), (n, k)."""
        return self.posterior(modality, x)[0]


class _Game:
    """What the autoencoders minimize; each call first takes steps of the discriminator.

    Parameters
    ----------
    options
        Weights and sizes.
    vae, cells
        Networks and data.
    present
        (modalities, labels) which modality has which label.
    steps
        Number of calls to come.
    """

    def __init__(
        self, options: DAVAE, vae: VAE, cells: Cells, present: BoolArray, steps: int
    ) -> None:
        self.options, self.vae, self.cells = options, vae, cells
        device = next(vae.parameters()).device
        self.present = torch.as_tensor(present.T.astype(np.float32)).to(device)
        n_labels, n_modalities = self.present.shape
        self.n_told = n_labels if n_labels > 1 else 0  # one label says nothing
        self.discriminator = mlp(
            options.n_latent + self.n_told, options.adversary_hidden, n_modalities, 0.0
        ).to(device)
        self.optimizer = Optimizer(
            self.discriminator,
            lr=options.adversary_lr,
            steps=steps,
            weight_decay=options.weight_decay,
            schedule="constant",
        )
        self.warm, self.calls = 0.3 * steps, 0

    def __call__(self, rows: Rows) -> Tensor:
        x, codes = self.cells.take(rows)
        beta = self.options.kl_weight * min(1.0, self.calls / self.warm)
        self.calls += 1
        z, terms = {}, []
        for m in x:
            mean, log_variance = self.vae.posterior(m, x[m])
            z[m] = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
            kl = kl_to_standard_normal(mean, log_variance) / x[m].shape[1]
            terms.append((self.vae.decoders(m, z[m], x[m]) + beta * kl).mean())
        loss = torch.stack(terms).sum()
        if self.options.adversary_weight:
            loss = loss + self.options.adversary_weight * self._confusion(z, codes)
        return loss

    def _confusion(self, z: Mapping[str, Tensor], codes: Mapping[str, Tensor]) -> Tensor:
        """Return the cross-entropy of the discriminator with the wrong modalities, after it has learned the right ones."""
        known = {m: codes[m] >= 0 for m in z}
        latents = torch.cat([z[m][known[m]] for m in z])
        labels = torch.cat([codes[m][known[m]] for m in z])
        place = [self.vae.modalities.index(m) for m in z]
        truth = torch.cat(
            [torch.full_like(codes[m][known[m]], i) for i, m in zip(place, z, strict=True)]
        )
        self.discriminator.requires_grad_(True)
        for _ in range(self.options.adversary_steps):
            self.optimizer.step(F.cross_entropy(self._guess(latents.detach(), labels), truth))
        self.discriminator.requires_grad_(False)
        return F.cross_entropy(self._guess(latents, labels), flipped(truth, self.present[labels]))

    def _guess(self, z: Tensor, labels: Tensor) -> Tensor:
        told = F.one_hot(labels, self.n_told).to(z.dtype) if self.n_told else z[:, :0]
        logits: Tensor = self.discriminator(torch.cat([z, told], dim=1))
        return logits


def kl_to_standard_normal(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Return KL(N(mean, variance) || N(0, I)) in nats, (n,), of means and logarithms of variances (n, k)."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(dim=1)


def flipped(truth: Tensor, present: Tensor) -> Tensor:
    """Return the probabilities of modalities that a discriminator is to be led to, (n, modalities).

    Parameters
    ----------
    truth
        (n,) the modality of each cell.
    present
        (n, modalities) 1 where a modality has the label of the cell: two or more.

    Returns
    -------
    Tensor
        Equal for the modalities other than the own one that have the label, zero elsewhere.
    """
    others = present.clone()
    others[torch.arange(len(truth), device=truth.device), truth] = 0.0
    return others / others.sum(dim=1, keepdim=True)
