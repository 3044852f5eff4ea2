"""Imputation by networks that learn from coupled cells."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
import torch
from torch import Tensor, nn

from scgroove._numbers import is_constant
from scgroove._types import BoolArray, FloatArray, IntArray
from scgroove._validate import checked
from scgroove.aligners import Coupling
from scgroove.errors import InputError, StateError
from scgroove.imputers._averages import barycentric
from scgroove.imputers._imputation import Imputation, ensemble
from scgroove.learners.common import hold_out
from scgroove.learners.training import Device, Optimizer, resolve_device, seeded
from scgroove.module.encoders import CLIP_AT, mlp

BLOCK: Final = 8192
"""Cells predicted at a time."""

MAX_STEPS: Final = 5000
"""Optimization steps at most, by default."""


@checked
@dataclass
class CouplingRegression:
    """Networks from source features to target features, fitted to coupled cells.

    The target of source cell i is the mean of the cells that the coupling matches with it, ``t_i = sum_j T_ij y_j / sum_j
    T_ij``, and its weight is its mass: the loss ``sum_i m_i |f(x_i) - t_i|**2`` has the minimum of ``sum_ij T_ij |f(x_i) -
    y_j|**2``, without the noise of drawn partners. Several networks, of different initial weights and held-out cells, make an
    ensemble.

    Parameters
    ----------
    hidden
        Widths of the hidden layers; ``()`` for a linear map.
    dropout
        After each hidden layer.
    n_models
        Networks of the ensemble.
    lr, weight_decay
        Of AdamW.
    batch_size
        Cells in a step.
    max_epochs
        Default: some 5,000 steps, between 20 and 500 epochs.
    patience
        Epochs without gain on the held-out cells before training stops; the best weights are kept.
    validation_fraction
        Share of the cells of each label that are held out to know when to stop.
    device
        ``"cpu"``, ``"auto"``, ``"cuda"`` or ``"mps"``.

    Attributes
    ----------
    evidence
        After :meth:`fit`: ``best_epoch`` and ``validation_loss``, mean over the networks (1: the mean of all cells is as good).

    References
    ----------
    Perturb-OT's ``train_mlp`` (Ryu et al. 2024, arXiv 2405.00838) draws one partner a cell and epoch.
    """

    hidden: Sequence[int] = (256, 256)
    dropout: float = 0.1
    n_models: int = 5
    lr: float = 1e-3
    weight_decay: float = 1e-2
    batch_size: int = 256
    max_epochs: int | None = None
    patience: int = 20
    validation_fraction: float = 0.1
    device: Device = "cpu"
    evidence: dict[str, Any] = field(default_factory=dict, init=False, repr=False)

    def fit(
        self,
        x: FloatArray,
        y: npt.ArrayLike | sp.spmatrix | sp.sparray,
        coupling: Coupling,
        *,
        codes: IntArray | None = None,
        seed: int = 0,
    ) -> CouplingRegression:
        """Learn from the source cells that have mass.

        Parameters
        ----------
        x
            Features of the source cells on one footing (standardized), (n_source, d).
        y
            Values of the target cells, (n_target, f), dense or scipy sparse.
        coupling
            Between them.
        codes
            Label of each source cell, (n_source,), of which shares are held out; None: of all cells alike.
        seed
            Random state; the global one is left alone.

        Returns
        -------
        CouplingRegression
            Itself, fitted.

        Raises
        ------
        ValueError
            If shapes do not fit, or fewer than four source cells have mass.
        DivergedError
            If the loss becomes NaN or infinite.
        """
        pairs = barycentric(coupling, y)
        rows = np.flatnonzero(~pairs.extrapolated)
        if len(x) != len(pairs.values):
            raise InputError(
                f"x must have one row a source cell of the coupling: expected {len(pairs.values)}, found {len(x)}."
            )
        if rows.size < 4:
            raise InputError(
                f"a regression learns from matched cells, but only {rows.size} source cells have mass in this coupling. Couple "
                f"more cells: scgroove.tl.align, with labels that both modalities have."
            )
        device = resolve_device(self.device)
        self._scale(pairs, rows, coupling.row_mass()[rows])
        data = _Data(
            np.asarray(x, dtype=np.float32)[rows],
            (pairs.values[rows] - self.mean_) / self.scale_,
            self.mass_,
        )
        groups = (
            np.zeros(rows.size, dtype=np.intp) if codes is None else np.maximum(codes[rows], -1) + 1
        )
        states = np.random.default_rng(seed).integers(2**31, size=self.n_models)
        fitted = [self._network(data, groups, int(state), device) for state in states]
        self.networks_ = [network for network, _, _ in fitted]
        self.evidence = {
            "best_epoch": float(np.mean([epoch for _, epoch, _ in fitted])),
            "validation_loss": float(np.mean([loss for _, _, loss in fitted])),
        }
        return self

    def predict(self, x: FloatArray) -> Imputation:
        """Return the mean of the networks for cells, seen or not, with the variance between them.

        Parameters
        ----------
        x
            Features, (n, d), on the footing of those that were fitted.

        Raises
        ------
        RuntimeError
            If nothing is fitted.
        """
        if not hasattr(self, "networks_"):
            raise StateError(
                "this regression is not fitted: call .fit(x, y, coupling) before .predict(x)."
            )
        mean, between = ensemble(self._predictions(np.asarray(x, dtype=np.float32)))
        return Imputation.of_function(mean, between=between, evidence=self.evidence)

    def _scale(self, pairs: Imputation, rows: IntArray, mass: FloatArray) -> None:
        """Learn on what footing targets are, and the weights of cells, of mean 1."""
        values = pairs.values[rows].astype(np.float64)
        self.mass_ = (mass / mass.mean()).astype(np.float32)
        self.mean_ = np.average(values, axis=0, weights=mass).astype(np.float32)
        scale = np.sqrt(np.average(np.square(values - self.mean_), axis=0, weights=mass))
        self.scale_ = np.where(is_constant(self.mean_, scale), 1.0, scale).astype(np.float32)

    def _network(
        self, data: _Data, groups: IntArray, seed: int, device: torch.device
    ) -> tuple[nn.Module, int, float]:
        """Return a network, its best epoch and its loss on the held-out cells."""
        rng = np.random.default_rng(seed)
        held_out = hold_out(groups, self.validation_fraction, rng)
        with seeded(seed):
            network = mlp(data.x.shape[1], self.hidden, data.t.shape[1], self.dropout).to(device)
            training = _Training(network, data, ~held_out, held_out, device)
            epoch, loss = training.descend(self, rng)
        return network.cpu().eval(), epoch, loss

    def _predictions(self, x: npt.NDArray[np.float32]) -> Iterator[npt.NDArray[np.float32]]:
        for network in self.networks_:
            yield _predict(network, x) * self.scale_ + self.mean_


@dataclass(frozen=True, eq=False)
class _Data:
    """Features (n, d), standardized targets (n, f) and weights (n,) of matched cells."""

    x: npt.NDArray[np.float32]
    t: npt.NDArray[np.float32]
    mass: npt.NDArray[np.float32]


class _Training:
    """One network, and the loss of some cells."""

    def __init__(
        self,
        network: nn.Module,
        data: _Data,
        train: BoolArray,
        validation: BoolArray,
        device: torch.device,
    ) -> None:
        self.network, self.device = network, device
        self.x, self.t, self.mass = (torch.as_tensor(part) for part in (data.x, data.t, data.mass))
        self.rows, self.validation = np.flatnonzero(train), np.flatnonzero(validation)

    def descend(self, options: CouplingRegression, rng: np.random.Generator) -> tuple[int, float]:
        """Train until the held-out cells no longer gain, and keep the best weights."""
        optimizer = Optimizer(
            self.network,
            lr=options.lr,
            weight_decay=options.weight_decay,
        )
        steps = math.ceil(self.rows.size / options.batch_size)
        epochs = options.max_epochs or min(500, max(20, math.ceil(MAX_STEPS / steps)))
        best, best_epoch, lowest = copy.deepcopy(self.network.state_dict()), -1, math.inf
        for epoch in range(epochs):
            self.network.train()
            for rows in np.array_split(rng.permutation(self.rows), steps):
                optimizer.step(self.loss(rows))
            loss = self.validate()
            if loss < lowest:
                best, best_epoch, lowest = copy.deepcopy(self.network.state_dict()), epoch, loss
            elif epoch - best_epoch >= options.patience:
                break
        self.network.load_state_dict(best)
        return best_epoch, lowest

    def loss(self, rows: IntArray) -> Tensor:
        """Return the squared error of cells, weighed by their mass, mean over features."""
        x, t, mass = (part[rows].to(self.device) for part in (self.x, self.t, self.mass))
        squared: Tensor = (self.network(x.clamp(-CLIP_AT, CLIP_AT)) - t).square().mean(dim=1)
        return (mass * squared).sum() / mass.sum()

    @torch.no_grad()
    def validate(self) -> float:
        """Return the loss of the held-out cells in evaluation mode."""
        self.network.eval()
        return float(
            np.average([float(self.loss(rows)) for rows in self._blocks()], weights=self._sizes())
        )

    def _blocks(self) -> list[IntArray]:
        return np.array_split(self.validation, math.ceil(self.validation.size / BLOCK))

    def _sizes(self) -> list[float]:
        return [float(self.mass[rows].sum()) for rows in self._blocks()]


@torch.inference_mode()
def _predict(network: nn.Module, x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the predictions of a network in evaluation mode, some cells at a time."""
    blocks = [x[start : start + BLOCK] for start in range(0, max(len(x), 1), BLOCK)]
    return np.concatenate(
        [network(torch.as_tensor(block).clamp(-CLIP_AT, CLIP_AT)).numpy() for block in blocks]
    )
