"""Adversarial variational autoencoders: a discriminator must fail to tell the modalities apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scgroove._types import IntArray
from scgroove.data.screen import Screen
from scgroove.learners._base import LEARNERS, preset
from scgroove.learners.training import Cells, Decoders, NetworkLearner, Objective, Optimizer, Rows
from scgroove.module.encoders import CLIP_AT, mlp

KL_WARMUP = 0.3


@LEARNERS.register("davae")
@dataclass
class DAVAE(NetworkLearner):
    r"""Domain-adversarial variational autoencoders, inside labels.

    With an encoder :math:`q_m(z | x)` and a decoder :math:`p_m(x | z)` of each modality, and a
    discriminator D that guesses the modality of a latent given its label,

    .. math:: \min_{q, p} \; \sum_m E\Big[ -\tfrac{1}{d_m} \log p_m(x | z)
        + \tfrac{\beta}{d_m} KL(q_m(z | x) \| N(0, I)) \Big]
        + \kappa \, E[ CE(D(z, y), \text{another modality}) ],
        \qquad \min_D \; E[ CE(D(z, y), \text{the modality}) ].

    The representation is the mean of q_m. Targets of the autoencoder are "flipped": another
    modality that has the label, each equally. Cells without a shared label are reconstructed, and
    kept from D. Unlike in Perturb-OT, every modality has a decoder of its own, and features have a
    learned variance.

    Parameters
    ----------
    kl_weight
        Beta, reached from 0 over the first 30 % of the steps.
    adversary_weight
        Kappa.
    adversary_hidden, adversary_lr, adversary_steps
        Widths of D, its learning rate, and its steps for each of the autoencoders.
    labeled
        False: D guesses from the latent alone, and batches are drawn from all cells alike. For
        other options see :class:`NetworkLearner`.

    References
    ----------
    Ryu et al. 2024, arXiv 2405.00838, where it is a baseline. Ganin et al. 2016, arXiv 1505.07818,
    for adversaries of domains. Kingma and Welling 2014, arXiv 1312.6114.
    """

    name: ClassVar[str] = "davae"

    kl_weight: float = 3.0
    adversary_weight: float = 0.3
    adversary_hidden: Sequence[int] = (64, 64)
    adversary_lr: float = 3e-3
    adversary_steps: int = 3
    labeled: bool = True

    def __post_init__(self) -> None:
        """Say whether labels are seen."""
        self.__dict__["uses_labels"] = self.labeled

    def _networks(self, n_features: Mapping[str, int]) -> VAE:
        return VAE(n_features, self)

    def _codes(self, screen: Screen) -> Mapping[str, IntArray]:
        if self.labeled:
            return screen.codes
        return {m: np.zeros_like(codes) for m, codes in screen.codes.items()}

    def _sampling(self, screen: Screen) -> dict[str, Any]:
        return {"free_fraction": 0.25} if self.labeled else {"n_labels": None, "n_cells": None}

    def _objective(self, networks: VAE, cells: Cells, screen: Screen, steps: int) -> Objective:
        game = _Game(self, networks, cells, screen.n_labels if self.labeled else 1, steps)

        def loss(rows: Rows) -> Tensor:
            x, codes = cells.take(rows)
            beta = self.kl_weight * min(1.0, game.calls / (KL_WARMUP * steps))
            game.calls += 1
            z, terms = {}, []
            for m in x:
                mean, log_variance = networks.posterior(m, x[m])
                z[m] = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
                kl = kl_to_standard_normal(mean, log_variance) / x[m].shape[1]
                terms.append((networks.decoders(m, z[m], x[m]) + beta * kl).mean())
            total = torch.stack(terms).sum()
            if self.adversary_weight:
                total = total + self.adversary_weight * game.confusion(z, codes)
            return total

        return loss


preset(
    DAVAE,
    "vae_adversarial",
    "Domain-adversarial variational autoencoders that see no labels: :class:`DAVAE` without them.",
    labeled=False,
)
LEARNERS.get("vae_adversarial").uses_labels = False


class VAE(nn.Module):
    """A variational autoencoder of each modality."""

    def __init__(self, n_features: Mapping[str, int], options: DAVAE) -> None:
        super().__init__()
        hidden = options.hidden if options.encoder == "mlp" else ()
        self.modalities = list(n_features)
        self.drop_input = nn.Dropout(0.0 if hidden else options.dropout)
        self.encoders = nn.ModuleList(
            mlp(d, hidden, 2 * options.n_latent, options.dropout) for d in n_features.values()
        )
        self.decoders = Decoders(n_features, options)

    def posterior(self, modality: str, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and logarithm of the variance of q_m(z | x), (n, k) each."""
        encoder = self.encoders[self.modalities.index(modality)]
        mean, log_variance = encoder(self.drop_input(x.clamp(-CLIP_AT, CLIP_AT))).chunk(2, dim=1)
        return mean, log_variance.clamp(-10.0, 10.0)

    def embed(self, modality: str, x: Tensor) -> Tensor:
        """Return the mean of q_m(z | x), (n, k)."""
        return self.posterior(modality, x)[0]


class _Game:
    """The discriminator, and what it makes the autoencoders pay."""

    def __init__(self, options: DAVAE, vae: VAE, cells: Cells, n_labels: int, steps: int) -> None:
        self.options, self.modalities, self.calls = options, vae.modalities, 0
        device = next(vae.parameters()).device
        every = torch.arange(n_labels, device=device)
        present = [torch.isin(every, codes) for codes in cells.codes.values()]
        self.present = torch.stack(present, dim=1).float()  # (labels, modalities)
        self.n_inputs = n_labels if n_labels > 1 else 0
        self.discriminator = mlp(
            options.n_latent + self.n_inputs, options.adversary_hidden, len(self.modalities), 0.0
        ).to(device)
        self.optimizer = Optimizer(
            self.discriminator, lr=options.adversary_lr, weight_decay=options.weight_decay
        )

    def confusion(self, z: Mapping[str, Tensor], codes: Mapping[str, Tensor]) -> Tensor:
        """Train D on the modalities, and return its cross-entropy with other ones."""
        latents, labels, truth = [], [], []
        for m, places in z.items():
            known = codes[m] >= 0
            latents.append(places[known])
            labels.append(codes[m][known])
            truth.append(torch.full_like(labels[-1], self.modalities.index(m)))
        places, code, modality = torch.cat(latents), torch.cat(labels), torch.cat(truth)
        self.discriminator.requires_grad_(True)
        for _ in range(self.options.adversary_steps):
            guess = self._guess(places.detach(), code)
            self.optimizer.step(F.cross_entropy(guess, modality))
        self.discriminator.requires_grad_(False)
        target = flipped(modality, self.present[code])
        return F.cross_entropy(self._guess(places, code), target)

    def _guess(self, z: Tensor, labels: Tensor) -> Tensor:
        label = F.one_hot(labels, self.n_inputs).to(z.dtype) if self.n_inputs else z[:, :0]
        logits: Tensor = self.discriminator(torch.cat([z, label], dim=1))
        return logits


def kl_to_standard_normal(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Return KL(N(mean, variance) || N(0, I)) in nats, (n,), of parameters (n, k)."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(dim=1)


def flipped(truth: Tensor, present: Tensor) -> Tensor:
    """Return target probabilities of modalities: equal for the others that have the label.

    Parameters
    ----------
    truth
        (n,) modality of each cell.
    present
        (n, modalities) 1 where a modality has the label of the cell, two or more in a row.
    """
    others = present.clone()
    others[torch.arange(len(truth), device=truth.device), truth] = 0.0
    return others / others.sum(dim=1, keepdim=True)
