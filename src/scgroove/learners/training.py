"""Training loops, batches and networks of the learners that use torch."""

from __future__ import annotations

import copy
import math
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from scgroove._types import FloatArray, IntArray
from scgroove.data import GroupSampler
from scgroove.data.checks import modality_of
from scgroove.data.screen import Screen
from scgroove.errors import DivergedError, InputError
from scgroove.learners._base import Learner
from scgroove.losses import negative_log_likelihood
from scgroove.module import Decoder, Encoder
from scgroove.module.encoders import EncoderKind

if TYPE_CHECKING:
    from mudata import MuData

Device = Literal["cpu", "auto", "cuda", "mps"]
Rows = Mapping[str, IntArray]
"""Cells of a batch: modality -> rows."""
Objective = Callable[[Rows], Tensor]
"""Loss of the cells of a batch."""

CELLS_AT_A_TIME: Final = 8192
TARGET_STEPS: Final = 3000


def resolve_device(name: Device) -> torch.device:
    """Return the device of a name, for ``"auto"`` CUDA if there is one, else the CPU.

    Raises
    ------
    ValueError
        This machine has no such device.
    """
    has = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return torch.device("cuda" if has["cuda"] else "cpu")
    if not has.get(name, True):
        raise InputError(
            f"device={name!r}, but torch finds no such device here. Use device='auto' or 'cpu'."
        )
    return torch.device(name)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the random state of torch in the block, and restore it afterwards."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


class Optimizer:
    """AdamW that refuses a loss which is not finite.

    Parameters
    ----------
    module
        Network to train. Weight decay holds for its matrices, not for its vectors.
    lr
        Learning rate, the peak of a one-cycle schedule if there are ``steps``.
    weight_decay
        Weight decay.
    steps
        Steps of the cycle. The learning rate is constant if None.
    """

    def __init__(
        self, module: nn.Module, *, lr: float, weight_decay: float, steps: int | None = None
    ) -> None:
        learned = [p for p in module.parameters() if p.requires_grad]
        groups = [
            {"params": [p for p in learned if p.ndim > 1], "weight_decay": weight_decay},
            {"params": [p for p in learned if p.ndim <= 1], "weight_decay": 0.0},
        ]
        self.lr, self.steps, self.schedule = lr, 0, None
        self.inner = torch.optim.AdamW([g for g in groups if g["params"]], lr=lr)
        if steps is not None:
            self.schedule = torch.optim.lr_scheduler.OneCycleLR(
                self.inner, max_lr=lr, total_steps=max(2, steps)
            )

    def step(self, loss: Tensor) -> float:
        """Take one step down, and return the loss.

        Raises
        ------
        DivergedError
            The loss is NaN or infinite.
        """
        value = float(loss.detach())
        if not math.isfinite(value):
            raise DivergedError(
                f"The loss became {value} at step {self.steps}. Lower the learning rate, for "
                f"instance lr={self.lr / 10:g}, and look for extreme values in the data."
            )
        self.inner.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.inner.step()
        if self.schedule is not None:
            self.schedule.step()
        self.steps += 1
        return value


def train_until_no_gain(
    network: nn.Module,
    loss: Callable[[IntArray], Tensor],
    rows: IntArray,
    *,
    validate: Callable[[], float],
    rng: np.random.Generator,
    options: Any,
    epochs: int,
) -> list[float]:
    """Train until the validation loss no longer falls, and keep the best weights.

    Parameters
    ----------
    network
        Network to train.
    loss
        Loss of some cells.
    rows
        Cells to train on.
    validate
        Loss of the held-out cells. Called in evaluation mode, without gradients.
    rng
        Random state of the batches.
    options
        Object with ``lr``, ``weight_decay``, ``batch_size``, ``max_epochs`` and ``patience``.
    epochs
        Largest number of epochs if the options say nothing.

    Returns
    -------
    list of float
        Validation loss after each epoch.
    """
    optimizer = Optimizer(network, lr=options.lr, weight_decay=options.weight_decay)
    n_steps = math.ceil(rows.size / options.batch_size)
    losses: list[float] = []
    best = copy.deepcopy(network.state_dict())
    for epoch in range(options.max_epochs or epochs):
        network.train()
        for batch in np.array_split(rng.permutation(rows), n_steps):
            optimizer.step(loss(batch))
        network.eval()
        with torch.no_grad():
            losses.append(validate())
        if epoch == int(np.argmin(losses)):
            best = copy.deepcopy(network.state_dict())
        elif epoch - int(np.argmin(losses)) >= options.patience:
            break
    network.load_state_dict(best)
    return losses


class Cells:
    """Features (n_m, d_m) and codes of shared labels (n_m,) of all cells on the device."""

    def __init__(
        self,
        x: Mapping[str, NDArray[np.float32]],
        codes: Mapping[str, IntArray],
        device: torch.device,
    ) -> None:
        self.x = {m: torch.as_tensor(v).to(device) for m, v in x.items()}
        self.codes = {m: torch.as_tensor(c).to(device) for m, c in codes.items()}

    def take(self, rows: Rows) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return features and codes of the modalities that have cells in a batch."""
        x, codes = {}, {}
        for m, cells in rows.items():
            if len(cells):
                where = torch.as_tensor(cells, device=self.x[m].device)
                x[m], codes[m] = self.x[m][where], self.codes[m][where]
        return x, codes


class Encoders(nn.Module):
    """Encoders of GROOVE for standardized features, one a modality.

    Parameters
    ----------
    n_features
        Number of features of each modality.
    options
        Latent dimension, kind, widths and dropout.
    spherical
        Latents have length one, seen from a learned point that the modalities share.
    """

    def __init__(
        self, n_features: Mapping[str, int], options: NetworkLearner, *, spherical: bool
    ) -> None:
        super().__init__()
        k = options.n_latent
        self.modalities = list(n_features)
        self.origin = nn.Parameter(torch.full((k,), k**-0.5)) if spherical else None
        self.encoders = nn.ModuleList()  # by position: names may hold a "."
        for d in n_features.values():
            encoder = Encoder(
                d,
                k,
                kind=options.encoder,
                hidden=options.hidden,
                dropout=options.dropout,
                n_batch=0,
                counts=False,
                origin=self.origin,
            )
            self.encoders.append(encoder)

    def forward(self, x: Mapping[str, Tensor], codes: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the latents of a training batch. Centers follow its labeled cells."""
        z = {}
        for m, values in x.items():
            encoder: Any = self.encoders[self.modalities.index(m)]
            raw = encoder.raw(values, values[:, :0])
            if self.training:
                encoder.follow(raw.detach()[codes[m] >= 0])
            z[m] = encoder.place(raw)
        return z

    def embed(self, modality: str, x: Tensor) -> Tensor:
        """Return the latents of cells, (n, k)."""
        z: Tensor = self.encoders[self.modalities.index(modality)](x, x[:, :0])
        return z


class Decoders(nn.Module):
    """Decoders of all modalities to normal distributions with learned standard deviations."""

    def __init__(self, n_features: Mapping[str, int], options: NetworkLearner) -> None:
        super().__init__()
        self.modalities = list(n_features)
        self.decoders = nn.ModuleList()
        for d in n_features.values():
            decoder = Decoder(
                options.n_latent,
                d,
                likelihood="normal",
                hidden=options.hidden,
                dropout=0.0,
                n_batch=1,
            )
            self.decoders.append(decoder)

    def forward(self, modality: str, z: Tensor, x: Tensor) -> Tensor:
        """Return the negative log-likelihood of features, mean over them, (n,)."""
        decoder = self.decoders[self.modalities.index(modality)]
        return negative_log_likelihood(decoder(z, z[:, :0], z[:, :1]), x)


@dataclass
class NetworkLearner(Learner):
    """A learner whose networks are trained by mini-batches of all modalities.

    A batch has P labels and K cells of each from every modality, by the rule of GROOVE.

    Parameters
    ----------
    n_latent
        Dimension k of the representation.
    encoder
        ``"linear"`` or ``"mlp"``.
    hidden
        Widths of the hidden layers of an MLP, and of decoders.
    dropout
        On the input of a linear encoder, after each hidden layer of an MLP.
    batch_size, n_labels_per_batch, n_cells_per_label
        Size of a batch, P and K. By default about 256 cells of a modality, and all labels as long
        as each can have 8 cells.
    max_epochs
        As many as GROOVE if None: some 3,000 steps, between 10 and 150 epochs.
    lr, weight_decay
        Of AdamW with a one-cycle learning rate.
    device
        ``"cpu"``, ``"cuda"``, ``"mps"``, or ``"auto"`` for CUDA if there is one.
    """

    n_latent: int = 16
    encoder: EncoderKind = "linear"
    hidden: Sequence[int] = (128, 128)
    dropout: float = 0.2
    batch_size: int = 256
    n_labels_per_batch: int | None = None
    n_cells_per_label: int | None = None
    max_epochs: int | None = None
    lr: float = 3e-3
    weight_decay: float = 1e-2
    device: Device = "cpu"

    @abstractmethod
    def _networks(self, n_features: Mapping[str, int]) -> nn.Module:
        """Return networks with a method ``embed(modality, x)``, on the CPU."""

    @abstractmethod
    def _objective(self, networks: Any, cells: Cells, screen: Screen, steps: int) -> Objective:
        """Return the loss to minimize."""

    def _codes(self, screen: Screen) -> Mapping[str, IntArray]:
        """Return the label codes that the learner sees."""
        return screen.codes

    def _sampling(self, screen: Screen) -> dict[str, Any]:
        """Return arguments of :class:`scgroove.data.GroupSampler` that differ from the usual."""
        return {}

    def _fit(self, screen: Screen, seed: int) -> None:
        device = resolve_device(self.device)
        self.features_ = screen.features()
        x = {m: of(modality_of(screen.mdata, m)) for m, of in self.features_.items()}
        codes = self._codes(screen)
        sampling: dict[str, Any] = {
            "labels": codes,
            "rows": {m: np.arange(len(c)) for m, c in codes.items()},
            "n_labels": self.n_labels_per_batch,
            "n_cells": self.n_cells_per_label,
            "free_fraction": 0.0,
        }
        n_most = max(map(len, codes.values()))
        sampler = GroupSampler(
            TensorDataset(torch.zeros(n_most)),
            batch_size=self.batch_size,
            seed=seed,
            **{**sampling, **self._sampling(screen)},
        )
        self._check_sampler(sampler)
        epochs = self.max_epochs or min(150, max(10, math.ceil(TARGET_STEPS / len(sampler))))
        steps = epochs * len(sampler)
        losses = []
        with seeded(seed):
            n_features = {m: v.shape[1] for m, v in x.items()}
            networks = self._networks(n_features).to(device).train()
            objective = self._objective(networks, Cells(x, codes, device), screen, steps)
            optimizer = Optimizer(networks, lr=self.lr, weight_decay=self.weight_decay, steps=steps)
            for epoch in range(epochs):
                sampler.set_epoch(epoch)
                losses += [optimizer.step(objective(rows)) for rows in sampler]
        self.networks_ = networks.cpu().eval()
        loss = float(np.mean(losses[-len(sampler) :]))
        self.evidence.update(steps=steps, epochs=epochs, loss=loss)

    def _check_sampler(self, sampler: GroupSampler) -> None:
        """Refuse batches that the objective cannot use."""

    def _transform(self, mdata: MuData) -> dict[str, FloatArray]:
        return {
            m: embed(self.networks_, m, of(modality_of(mdata, m)))
            for m, of in self.features_.items()
        }


@torch.inference_mode()
def embed(networks: Any, modality: str, x: NDArray[np.float32]) -> FloatArray:
    """Return the representation of cells by networks in evaluation mode, float32 (n, k)."""
    blocks = [x[start : start + CELLS_AT_A_TIME] for start in range(0, len(x), CELLS_AT_A_TIME)]
    return np.concatenate(
        [networks.embed(modality, torch.as_tensor(block)).numpy() for block in blocks]
    )
