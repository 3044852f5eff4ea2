"""What the learners trained with torch share: networks, batches, the loop, random states and devices."""

from __future__ import annotations

import copy
import math
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from scgroove._types import FloatArray, IntArray
from scgroove.data import GroupSampler
from scgroove.data.screen import Screen
from scgroove.errors import DivergedError, InputError
from scgroove.learners._base import Learner
from scgroove.losses import negative_log_likelihood
from scgroove.module import Decoder, Encoder, EncoderKind

if TYPE_CHECKING:
    from mudata import MuData

Device = Literal["cpu", "auto", "cuda", "mps"]
Schedule = Literal["one_cycle", "constant"]
Rows = Mapping[str, IntArray]
"""Cells of a batch: modality -> rows."""
Objective = Callable[[Rows], Tensor]
"""What is minimized: the loss of the cells of a batch."""

CELLS_AT_A_TIME: Final = 8192
TARGET_STEPS: Final = 3000


def resolve_device(name: Device) -> torch.device:
    """Return the device of a name; ``"auto"``: CUDA if there is one, else the CPU.

    Raises
    ------
    ValueError
        If this machine has no such device.
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
    """Give a torch random state of our own; the global one is as before afterwards."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


class Optimizer:
    """AdamW with a one-cycle or constant learning rate, that refuses a loss which is not finite.

    Parameters
    ----------
    module
        What to train; weight decay holds for its matrices, not for its vectors.
    lr
        Learning rate, the peak for ``"one_cycle"``.
    steps
        Steps of the cycle.
    weight_decay, schedule
        See above.
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        lr: float,
        steps: int,
        weight_decay: float = 1e-2,
        schedule: Schedule = "one_cycle",
    ) -> None:
        if schedule not in get_args(Schedule):
            raise InputError(
                f"schedule must be one of {', '.join(map(repr, get_args(Schedule)))}; found {schedule!r}."
            )
        learned = [p for p in module.parameters() if p.requires_grad]
        groups = [
            {"params": [p for p in learned if p.ndim > 1], "weight_decay": weight_decay},
            {"params": [p for p in learned if p.ndim <= 1], "weight_decay": 0.0},
        ]
        self.lr, self.steps = lr, 0
        self.inner = torch.optim.AdamW([g for g in groups if g["params"]], lr=lr)
        self.schedule = (
            torch.optim.lr_scheduler.OneCycleLR(self.inner, max_lr=lr, total_steps=max(2, steps))
            if schedule == "one_cycle"
            else None
        )

    def step(self, loss: Tensor) -> float:
        """Take one step down, and return the loss.

        Raises
        ------
        DivergedError
            If the loss is NaN or infinite.
        """
        value = float(loss.detach())
        if not math.isfinite(value):
            raise DivergedError(
                f"The loss became {value} at step {self.steps}. Lower the learning rate, for instance lr={self.lr / 10:g}, and "
                f"look for extreme values in the data."
            )
        self.inner.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.inner.step()
        if self.schedule is not None:
            self.schedule.step()
        self.steps += 1
        return value


class GroupBatches:
    """Batches of P labels x K cells of each modality, by the rule of GROOVE, over all epochs.

    Parameters
    ----------
    codes
        Codes of the shared labels by modality, (n_m,); -1: no shared label.
    rows
        Cells to draw from; default all.
    epochs
        Default: as many as :class:`scgroove.model.GROOVE` takes, for some 3,000 steps between 10 and 150.
    batch_size, n_labels, n_cells, free_fraction
        See :class:`scgroove.data.GroupSampler`.
    seed
        Random state.
    """

    def __init__(
        self,
        codes: Mapping[str, IntArray],
        *,
        rows: Rows | None = None,
        epochs: int | None = None,
        batch_size: int = 256,
        n_labels: int | None = None,
        n_cells: int | None = None,
        free_fraction: float = 0.0,
        seed: int = 0,
    ) -> None:
        sizes = {
            "batch_size": batch_size,
            "n_labels": n_labels,
            "n_cells": n_cells,
            "max_epochs": epochs,
        }
        if any(n is not None and n < 1 for n in sizes.values()):
            raise InputError(f"Expected numbers of at least 1, found {sizes}.")
        every = {m: np.arange(len(c)) for m, c in codes.items()}
        self.sampler = GroupSampler(
            TensorDataset(torch.zeros(max(map(len, codes.values())))),
            codes,
            every if rows is None else rows,
            batch_size=batch_size,
            n_labels=n_labels,
            n_cells=n_cells,
            free_fraction=free_fraction,
            seed=seed,
        )
        steps = len(self.sampler)
        self.epochs = (
            min(150, max(10, math.ceil(TARGET_STEPS / steps))) if epochs is None else epochs
        )

    def __len__(self) -> int:
        """Number of steps in all."""
        return self.epochs * len(self.sampler)

    def __iter__(self) -> Iterator[Rows]:
        """Iterate over the batches of all epochs."""
        for epoch in range(self.epochs):
            self.sampler.set_epoch(epoch)
            yield from self.sampler


class Cells:
    """Features and label codes of all cells on the device.

    Parameters
    ----------
    x
        Features by modality, (n_m, d_m).
    codes
        Codes of the shared labels by modality, (n_m,); -1: no shared label.
    device
        Where they lie.
    """

    def __init__(
        self,
        x: Mapping[str, NDArray[np.float32]],
        codes: Mapping[str, IntArray],
        device: torch.device,
    ) -> None:
        self.x = {m: torch.as_tensor(v).to(device) for m, v in x.items()}
        self.codes = {m: torch.as_tensor(c).to(device) for m, c in codes.items()}

    def take(self, rows: Rows) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return features and codes of a batch, of the modalities that have cells in it."""
        where = {m: torch.as_tensor(r, device=self.x[m].device) for m, r in rows.items() if len(r)}
        return {m: self.x[m][i] for m, i in where.items()}, {
            m: self.codes[m][i] for m, i in where.items()
        }

    def of_one_label(self) -> Cells:
        """Return the same cells as if all had one label, the same: for learners that must not know labels."""
        out = copy.copy(self)
        out.codes = {m: torch.zeros_like(c) for m, c in self.codes.items()}
        return out


class Encoders(nn.Module):
    """The encoders of GROOVE, one a modality, for features that are standardized already.

    Parameters
    ----------
    n_features
        Number of features of each modality.
    n_latent
        Dimension k of the latent space.
    encoder, hidden, dropout
        See :class:`scgroove.module.Encoder`.
    spherical
        Latents have length one, seen from a learned point that the modalities share.
    """

    def __init__(
        self,
        n_features: Mapping[str, int],
        n_latent: int,
        *,
        encoder: EncoderKind,
        hidden: Sequence[int],
        dropout: float,
        spherical: bool,
    ) -> None:
        super().__init__()
        self.modalities = list(n_features)
        self.origin = nn.Parameter(torch.full((n_latent,), n_latent**-0.5)) if spherical else None
        self.encoders = nn.ModuleList(  # by position: names may hold a "."
            Encoder(
                d,
                n_latent,
                kind=encoder,
                hidden=hidden,
                dropout=dropout,
                n_batch=0,
                counts=False,
                origin=self.origin,
            )
            for d in n_features.values()
        )

    def of(self, modality: str) -> Encoder:
        """Return the encoder of a modality."""
        return self.encoders[self.modalities.index(modality)]  # type: ignore[return-value]

    def forward(self, x: Mapping[str, Tensor], codes: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the latents of a training batch; centers follow its labeled cells."""
        z = {}
        for m, values in x.items():
            encoder = self.of(m)
            raw = encoder.raw(values, values[:, :0])
            if self.training:
                encoder.follow(raw.detach()[codes[m] >= 0])
            z[m] = encoder.place(raw)
        return z

    def embed(self, modality: str, x: Tensor) -> Tensor:
        """Return the latents of cells, (n, k)."""
        z: Tensor = self.of(modality)(x, x[:, :0])
        return z


class Decoders(nn.Module):
    """Decoders of all modalities to normal distributions, each feature with a standard deviation that is learned.

    Parameters
    ----------
    n_features, n_latent, hidden
        See :class:`scgroove.module.Decoder`.
    """

    def __init__(
        self, n_features: Mapping[str, int], n_latent: int, *, hidden: Sequence[int]
    ) -> None:
        super().__init__()
        self.modalities = list(n_features)
        self.decoders = nn.ModuleList(
            Decoder(n_latent, d, likelihood="normal", hidden=hidden, dropout=0.0, n_batch=1)
            for d in n_features.values()
        )

    def of(self, modality: str) -> Decoder:
        """Return the decoder of a modality."""
        return self.decoders[self.modalities.index(modality)]  # type: ignore[return-value]

    def forward(self, modality: str, z: Tensor, x: Tensor) -> Tensor:
        """Return the negative log-likelihood of features, mean over them, (n,)."""
        return negative_log_likelihood(self.of(modality)(z, z[:, :0], z[:, :1]), x)


@dataclass
class TorchLearner(Learner):
    """A learner whose networks are trained by mini-batches of all modalities.

    Options are told where users read them, see ``scgroove.learners.CLIPPseudo``; subclasses add their own.
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
    def _networks(self, n_features: Mapping[str, int], n_labels: int) -> nn.Module:
        """Return networks with a method ``embed(modality, x)``, on the CPU; called under the seed."""

    @abstractmethod
    def _objective(self, networks: Any, cells: Cells, screen: Screen, steps: int) -> Objective:
        """Return what is minimized."""

    def _batches(self, screen: Screen, seed: int) -> GroupBatches:
        return self._group_batches(screen.codes, seed)

    def _group_batches(
        self, codes: Mapping[str, IntArray], seed: int, **options: Any
    ) -> GroupBatches:
        return GroupBatches(
            codes,
            epochs=self.max_epochs,
            batch_size=self.batch_size,
            n_labels=self.n_labels_per_batch,
            n_cells=self.n_cells_per_label,
            seed=seed,
            **options,
        )

    def _fit(self, screen: Screen, seed: int) -> None:
        device = resolve_device(self.device)
        self.features_ = screen.features()
        x = {m: of(screen.mdata.mod[m]) for m, of in self.features_.items()}
        cells = Cells(x, screen.codes, device)
        batches = self._batches(screen, seed)
        with seeded(seed):
            n_features = {m: v.shape[1] for m, v in x.items()}
            networks = self._networks(n_features, screen.n_labels).to(device).train()
            objective = self._objective(networks, cells, screen, len(batches))
            optimizer = Optimizer(
                networks, lr=self.lr, steps=len(batches), weight_decay=self.weight_decay
            )
            losses = [optimizer.step(objective(rows)) for rows in batches]
        self.networks_ = networks.cpu().eval()
        last = losses[-len(batches.sampler) :]
        self.evidence.update(steps=len(losses), epochs=batches.epochs, loss=float(np.mean(last)))

    def _transform(self, mdata: MuData) -> dict[str, FloatArray]:
        return {m: embed(self.networks_, m, of(mdata.mod[m])) for m, of in self.features_.items()}


@torch.inference_mode()
def embed(networks: Any, modality: str, x: NDArray[np.float32]) -> FloatArray:
    """Return the representation of cells by networks in evaluation mode, float32 (n, k)."""
    blocks = [x[start : start + CELLS_AT_A_TIME] for start in range(0, len(x), CELLS_AT_A_TIME)]
    return np.concatenate(
        [networks.embed(modality, torch.as_tensor(block)).numpy() for block in blocks]
    )
