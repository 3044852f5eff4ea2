"""From the shared latent space to the distribution of the measurements of one modality."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import torch
from scvi.distributions import NegativeBinomial
from torch import Tensor, nn
from torch.distributions import Bernoulli, Distribution, Normal, Poisson

from ..losses.counts import nb_log_likelihood, poisson_log_likelihood
from .encoders import mlp

MAX_LOG_THETA: Final = 8.0  # beyond, the negative binomial is a Poisson
MAX_LOG_FOLD: Final = 15.0  # above the average cell; keeps the exponential finite
MIN_LOG_SIGMA: Final = -3.0  # a constant feature would otherwise drive the likelihood to infinity


class Likelihood(NamedTuple):
    """Distribution that a decoder builds, and the data that it is for.

    Attributes
    ----------
    counts
        The data are counts: the encoder sees their logarithm.
    library
        The mean is multiplied by the library size, and the encoder sees normalized counts.
    dispersed
        Each feature has a dispersion to learn.
    build
        Function of the decoder, its output (n, d) and library sizes (n, 1).
    average_cell
        Start of the decoder, from the mean of the encoder's input and the mean of the data, (d,).
    """

    counts: bool
    library: bool
    dispersed: bool
    build: Callable[[Decoder, Tensor, Tensor], Distribution]
    average_cell: Callable[[Tensor, Tensor], Tensor]


class _FastNegativeBinomial(NegativeBinomial):  # type: ignore[misc]
    """The distribution of scvi-tools with a faster likelihood."""

    def __init__(self, log_mean: Tensor, theta: Tensor) -> None:
        super().__init__(mu=log_mean.exp(), theta=theta, validate_args=False)
        self.log_mean, self.theta_of_features = log_mean, theta

    def log_prob(self, value: Tensor) -> Tensor:
        mean = self.mu.detach()
        return nb_log_likelihood(self.log_mean, self.theta_of_features, value, mean=mean)


class _FastPoisson(Poisson):
    """The distribution of torch with a faster likelihood."""

    def __init__(self, log_mean: Tensor) -> None:
        super().__init__(log_mean.exp().clamp_min(1e-8), validate_args=False)
        self.log_mean = log_mean

    def log_prob(self, value: Tensor) -> Tensor:
        return poisson_log_likelihood(self.log_mean, value)


def _log_mean(decoder: Decoder, h: Tensor, library: Tensor) -> Tensor:
    if decoder.likelihood.library:  # shares of the library size
        return (decoder.location + h).log_softmax(dim=1) + library.log()
    return decoder.location + h.clamp(max=MAX_LOG_FOLD)


def _normal(decoder: Decoder, h: Tensor, library: Tensor) -> Distribution:
    sigma = decoder.log_dispersion.clamp_min(MIN_LOG_SIGMA).exp()
    mean = decoder.location + decoder.scale * h
    return Normal(mean, (decoder.scale * sigma).expand_as(mean), validate_args=False)


def _negative_binomial(decoder: Decoder, h: Tensor, library: Tensor) -> Distribution:
    theta = decoder.log_dispersion.clamp(-MAX_LOG_THETA, MAX_LOG_THETA).exp()
    return _FastNegativeBinomial(_log_mean(decoder, h, library), theta)


def _poisson(decoder: Decoder, h: Tensor, library: Tensor) -> Distribution:
    return _FastPoisson(_log_mean(decoder, h, library))


def _bernoulli(decoder: Decoder, h: Tensor, library: Tensor) -> Distribution:
    return Bernoulli(logits=decoder.location + h, validate_args=False)


def _log_means(center: Tensor, mean: Tensor) -> Tensor:
    positive = mean[mean > 0]
    return mean.clamp_min(0.1 * float(positive.min()) if len(positive) else 1.0).log()


def _log_proportions(center: Tensor, mean: Tensor) -> Tensor:
    return _log_means(center, mean).log_softmax(dim=0)


def _center(center: Tensor, mean: Tensor) -> Tensor:
    return center


def _logits(center: Tensor, mean: Tensor) -> Tensor:
    return mean.clamp(0.01, 0.99).logit()


LIKELIHOODS: Final[dict[str, Likelihood]] = {
    "normal": Likelihood(False, False, True, _normal, _center),
    "nb": Likelihood(True, True, True, _negative_binomial, _log_proportions),
    "poisson": Likelihood(True, True, False, _poisson, _log_proportions),
    "nb_panel": Likelihood(True, False, True, _negative_binomial, _log_means),
    "poisson_panel": Likelihood(True, False, False, _poisson, _log_means),
    "bernoulli": Likelihood(False, False, False, _bernoulli, _logits),
}


class Decoder(nn.Module):
    """Decoder of one modality: latent coordinates and batch to :math:`p_m(x | z)`.

    The network predicts deviations from ``location``, which starts at the average cell: the mean
    (``normal``), the log-proportions (``nb``, ``poisson``), the logarithm of the mean
    (``nb_panel``, ``poisson_panel``), the logits (``bernoulli``).

    Parameters
    ----------
    n_latent, n_features
        k and d.
    likelihood
        Key of :data:`LIKELIHOODS`.
    hidden, dropout
        Widths of the hidden layers and dropout after each of them.
    n_batch
        Number of batch categories, given as one-hot inputs.
    spherical
        Latent coordinates have length one.
    """

    location: Tensor
    scale: Tensor

    def __init__(
        self,
        n_latent: int,
        n_features: int,
        *,
        likelihood: str,
        hidden: Sequence[int],
        dropout: float,
        n_batch: int,
        spherical: bool = False,
    ) -> None:
        super().__init__()
        self.spherical = spherical
        self.likelihood = LIKELIHOODS[likelihood]
        self.n_batch = n_batch
        n_in = n_latent + (n_batch if n_batch > 1 else 0)
        self.net = mlp(n_in, hidden, n_features, dropout)
        self.log_dispersion = nn.Parameter(
            torch.zeros(n_features), requires_grad=self.likelihood.dispersed
        )
        self.register_buffer("location", torch.zeros(n_features))
        self.register_buffer("scale", torch.ones(n_features))

    def forward(self, z: Tensor, batch: Tensor, library: Tensor) -> Distribution:
        """Distribution of the measurements.

        Parameters
        ----------
        z
            Latent coordinates, shape (n, k).
        batch
            Batch weights (one-hot), shape (n, n_batch).
        library
            Library sizes, shape (n, 1). Ignored where the likelihood has none.

        Returns
        -------
        Distribution of batch shape (n, d), in the units of the data, float32 also under autocast.
        """
        if self.spherical:  # coordinates of about one, as the layers' initial weights expect
            z = z * z.shape[1] ** 0.5
        h = self.net(torch.cat([z, batch], dim=1) if self.n_batch > 1 else z)
        with torch.autocast(device_type=h.device.type, enabled=False):
            return self.likelihood.build(self, h.float(), library.float())
