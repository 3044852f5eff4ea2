"""Base class of the terms of the objective, and their view of a batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from torch import Tensor, nn
from torch.distributions import Distribution

from .._validate import checked
from .similarities import Similarity


class Networks(Protocol):
    """Encoders and decoders of all modalities, see :class:`scgroove.module.GROOVEModule`."""

    modalities: list[str]
    n_latent: int
    similarity: Similarity

    def measured(self, modality: str, tensors: Mapping[str, Tensor]) -> Tensor | None:
        """Return which values of cells were measured, shape (n, d), or None if all were."""

    def encode_cells(self, modality: str, tensors: Mapping[str, Tensor]) -> Tensor:
        """Return latent coordinates of cells, shape (n, k)."""

    def decode_cells(self, modality: str, z: Tensor, tensors: Mapping[str, Tensor]) -> Distribution:
        """Return the distribution of values (n, d) of cells at latent coordinates ``z``."""

    def pseudo_cells(self, modality: str, z: Tensor) -> dict[str, Tensor]:
        """Return cells with expected values at latent coordinates, of random batches."""

    def without_dropout(self) -> Any:
        """Return a context in which no layer drops values."""

    def is_random(self, modality: str) -> bool:
        """Return whether the encoder of a modality drops values now."""


@dataclass(frozen=True)
class ScreenInfo:
    """Labels of a screen, known before training.

    Attributes
    ----------
    labels
        All labels, in the order of their codes.
    present
        Labels that each modality has, boolean of shape (n_modalities, n_labels).
    """

    labels: Sequence[str]
    present: Tensor


@dataclass
class TermBatch:
    """The cells of one step.

    Attributes
    ----------
    networks
        The encoders and decoders.
    tensors
        Values, batches and labels of the cells: modality -> key -> tensor of shape (n_m, ...).
    x
        Measured values, shapes (n_m, d_m).
    z
        Latent coordinates, shapes (n_m, k).
    px
        Distributions of the values given the latent coordinates, batch shapes (n_m, d_m).
    labels
        Codes of the labels that link modalities, shapes (n_m,). Negative without such a label.
    codes
        Codes of all labels, also of those that one modality alone has, shapes (n_m,).
    weights
        Weights of cells, shapes (n_m,). None if all are alike.
    """

    networks: Networks
    tensors: Mapping[str, Mapping[str, Tensor]]
    x: Mapping[str, Tensor]
    z: Mapping[str, Tensor]
    px: Mapping[str, Distribution]
    labels: Mapping[str, Tensor]
    codes: Mapping[str, Tensor]
    weights: Mapping[str, Tensor] | None = None


class Term(nn.Module):
    """One term of the objective: a name, a weight, a schedule, and a loss of a batch.

    Subclass it, set ``name`` and implement :meth:`forward`. Parameters and buffers are trained and
    saved with the model.

    Parameters
    ----------
    weight
        Weight in the sum of all terms.
    warmup
        Share of the training steps over which the weight rises linearly from zero.

    Attributes
    ----------
    name
        Name in the history of the model, and of the term.
    parts
        Names of parts that are logged one by one, if the term is their sum. Set by :meth:`setup`.
    agreement
        Agreement of labels, shape (n_labels, n_labels). None if labels agree with themselves only.

    Raises
    ------
    ValueError
        The weight is negative or not finite, or the warm-up is no share of the steps.

    Examples
    --------
    >>> class Small(Term):
    ...     name = "small"
    ...
    ...     def forward(self, batch):
    ...         return sum(z.square().mean() for z in batch.z.values())
    """

    name: ClassVar[str]
    parts: Sequence[str] = ()
    agreement: Tensor | None

    @checked
    def __init__(self, weight: float = 1.0, *, warmup: float = 0.0) -> None:
        super().__init__()
        self.weight, self.warmup = weight, warmup
        self.register_buffer("agreement", None, persistent=False)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Check the arguments of every term."""
        super().__init_subclass__(**kwargs)
        if "__init__" in vars(cls):
            cls.__init__ = checked(cls.__init__)  # type: ignore[method-assign]

    def setup(self, networks: Networks, info: ScreenInfo) -> None:
        """Build what depends on the networks and the screen. Called once, when a model is made."""

    def update(self, info: ScreenInfo) -> None:
        """Learn of other data that are attached to a trained model."""

    def adapted(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the state of a trained term for this one, which may know more labels."""
        return state

    def weight_at(self, step: int, n_steps: int) -> float:
        """Return the weight at a training step."""
        n_warm = self.warmup * n_steps
        return self.weight * (min(1.0, step / n_warm) if n_warm else 1.0)

    def forward(self, batch: TermBatch) -> Tensor | Mapping[str, Tensor]:
        """Return the loss of a batch, a scalar, or the loss of each part."""
        raise NotImplementedError
