"""Propensity scores by networks: how probable each label is, from each modality on its own."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from scgroove._types import BoolArray, Float64Array, IntArray
from scgroove.data.screen import Screen
from scgroove.errors import InputError
from scgroove.learners._base import LEARNERS, Learner, Representations
from scgroove.learners._propensity import balanced_scale
from scgroove.learners.common import check_label_counts, hold_out
from scgroove.learners.training import Device, Optimizer, embed, resolve_device, seeded
from scgroove.module.encoders import CLIP_AT, mlp

if TYPE_CHECKING:
    from mudata import MuData

Logits = Literal["raw", "standardized"]
TARGET_STEPS: Final = 6000
"""Steps that the default of the most epochs aims at."""


@LEARNERS.register("ps_mlp")
@dataclass
class MLPPropensity(Learner):
    """Logits of the shared labels, from one network a modality.

    ::

        p(label l | x) = exp(t_l(x)) / sum_k exp(t_k(x)),     t a network
        min over its weights of  mean over labels of mean_{i of l} -log p(l | x_i)

    and the representation is t(x); see :class:`LogisticPropensity` for why. Labels weigh alike, because the abundance of a label
    would move its logits, and modalities differ in it. Logits sum to zero over labels: they are defined up to a number for
    each cell. A label that a modality lacks has logit 0 in it.

    Some cells of each label are held out; training ends when their cross-entropy has not improved for ``patience`` epochs,
    and the weights of the best epoch are kept. Networks have no batch statistics, so that a cell has one place whatever
    cells there are beside it.

    Parameters
    ----------
    hidden
        Widths of the hidden layers. One wide layer with much dropout matches cells better than two narrow ones of the same
        cross-entropy.
    dropout
        After each hidden layer.
    lr, weight_decay
        Of AdamW, at a constant learning rate.
    batch_size
        Cells of a step.
    max_epochs
        Most epochs; default for some 6,000 steps, between 20 and 300.
    patience
        Epochs without improvement after which training ends.
    validation_fraction
        Share of the cells of each label that are held out, one at least; labels of a single cell are trained on.
    logits
        ``"raw"``, or ``"standardized"``: mean 0 and variance 1 in each modality, label by label, with the labels weighing alike.
    device
        ``"cpu"``, or ``"auto"``: CUDA if there is one; ``"cuda"``, ``"mps"``.

    References
    ----------
    Xi et al. 2024, "Propensity Score Alignment of Unpaired Multimodal Data", arXiv 2404.01595.
    """

    name: ClassVar[str] = "ps_mlp"

    hidden: Sequence[int] = (1024,)
    dropout: float = 0.5
    lr: float = 1e-3
    weight_decay: float = 1e-2
    batch_size: int = 256
    max_epochs: int | None = None
    patience: int = 20
    validation_fraction: float = 0.2
    logits: Logits = "raw"
    device: Device = "cpu"

    def _fit(self, screen: Screen, seed: int) -> None:
        device = resolve_device(self.device)
        present = check_label_counts(screen, self.name)
        self.features_ = screen.features()
        self.networks_: dict[str, PropensityNetwork] = {}
        self.scale_: dict[str, tuple[Float64Array, Float64Array]] = {}
        self.held_out_: dict[str, BoolArray] = {}
        self.history_: dict[str, list[float]] = {}
        # Each modality has a random state of its own: leaving one out changes nothing in the others.
        states = np.random.default_rng(seed).spawn(len(screen.modalities))
        for m, rng in zip(screen.modalities, states, strict=True):
            self._fit_modality(screen, m, present[m], rng, device)
        self.evidence["cross_entropy"] = {m: min(losses) for m, losses in self.history_.items()}
        self.evidence["best_epoch"] = {
            m: int(np.argmin(losses)) for m, losses in self.history_.items()
        }

    def _fit_modality(
        self,
        screen: Screen,
        m: str,
        present: BoolArray,
        rng: np.random.Generator,
        device: torch.device,
    ) -> None:
        codes = screen.codes[m]
        held_out = hold_out(codes, self.validation_fraction, rng)
        if not held_out.any():
            raise InputError(
                f"learner 'ps_mlp' holds out cells to know when to stop, but no shared label of {m!r} has two cells or more. "
                f"Take 'ps_logistic'."
            )
        x = self.features_[m](screen.mdata.mod[m])
        with seeded(int(rng.integers(2**31))):
            network = PropensityNetwork(
                x.shape[1], present, hidden=self.hidden, dropout=self.dropout
            )
            training = _Training(network.to(device), x, codes, held_out)
            self.history_[m] = self._descend(training, rng)
        self.networks_[m] = network.cpu().eval()
        self.held_out_[m] = held_out
        if self.logits == "standardized":
            known = codes >= 0
            t = embed(network, m, x[known]).astype(np.float64)
            self.scale_[m] = balanced_scale(t, codes[known], screen.n_labels)

    def _descend(self, training: _Training, rng: np.random.Generator) -> list[float]:
        """Train until the held-out cells no longer gain, keep the best weights, and return the loss of all epochs."""
        network = training.network
        optimizer = Optimizer(
            network, lr=self.lr, steps=1, weight_decay=self.weight_decay, schedule="constant"
        )
        steps = math.ceil(training.rows.size / self.batch_size)
        epochs = self.max_epochs or min(300, max(20, math.ceil(TARGET_STEPS / steps)))
        losses: list[float] = []
        best = copy.deepcopy(network.state_dict())
        for epoch in range(epochs):
            for rows in np.array_split(rng.permutation(training.rows), steps):
                optimizer.step(training.loss(rows))
            losses.append(training.validate())
            if epoch == int(np.argmin(losses)):
                best = copy.deepcopy(network.state_dict())
            elif epoch - int(np.argmin(losses)) >= self.patience:
                break
        network.load_state_dict(best)
        return losses

    def _transform(self, mdata: MuData) -> Representations:
        out: Representations = {}
        for m, network in self.networks_.items():
            t = embed(network, m, self.features_[m](mdata.mod[m]))
            if m in self.scale_:
                mean, deviation = self.scale_[m]
                t = (t - mean) / deviation
            out[m] = t
        return out


class PropensityNetwork(nn.Module):
    """A network from features to the logits of all shared labels.

    Parameters
    ----------
    n_features
        d.
    present
        (n_labels,) the labels that the modality has; others have logit 0.
    hidden, dropout
        Widths of the hidden layers and dropout after each of them.
    """

    present: Tensor

    def __init__(
        self, n_features: int, present: BoolArray, *, hidden: Sequence[int], dropout: float
    ) -> None:
        super().__init__()
        self.net = mlp(n_features, hidden, int(present.sum()), dropout)
        self.register_buffer("present", torch.as_tensor(np.flatnonzero(present)))
        self.n_labels = len(present)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits of the labels that the modality has, (n, present)."""
        t: Tensor = self.net(x.clamp(-CLIP_AT, CLIP_AT))
        return t

    def embed(self, modality: str, x: Tensor) -> Tensor:
        """Return logits that sum to zero over the labels that the modality has, (n, n_labels)."""
        t = self(x)
        out: Tensor = t.new_zeros(len(t), self.n_labels)
        out[:, self.present] = t - t.mean(dim=1, keepdim=True)
        return out


class _Training:
    """The labeled cells of a modality, and the cross-entropy of some of them."""

    def __init__(
        self,
        network: PropensityNetwork,
        x: NDArray[np.float32],
        codes: IntArray,
        held_out: BoolArray,
    ) -> None:
        self.network, self.device = network, network.present.device
        self.x, self.codes = x, np.searchsorted(network.present.cpu().numpy(), codes)
        self.rows = np.flatnonzero((codes >= 0) & ~held_out)
        self.validation = np.flatnonzero(held_out)
        counts = np.bincount(self.codes[self.rows])
        self.weights = torch.as_tensor(1.0 / counts, dtype=torch.float32).to(self.device)

    def loss(self, rows: IntArray) -> Tensor:
        """Return the cross-entropy of cells, labels weighing alike."""
        x = torch.as_tensor(self.x[rows]).to(self.device)
        target = torch.as_tensor(self.codes[rows]).to(self.device)
        found: Tensor = F.cross_entropy(self.network(x), target, weight=self.weights)
        return found

    @torch.no_grad()
    def validate(self) -> float:
        """Return the cross-entropy of the held-out cells in evaluation mode."""
        self.network.eval()
        loss = float(self.loss(self.validation))
        self.network.train()
        return loss
