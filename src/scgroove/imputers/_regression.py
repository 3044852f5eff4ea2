"""Imputation by regression: a linear map of label means, or networks of coupled cells."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
import torch
from sklearn.linear_model import RidgeCV
from torch import Tensor

from scgroove._numbers import is_constant
from scgroove._types import FloatArray, IntArray
from scgroove._validate import checked
from scgroove.aligners import Coupling
from scgroove.errors import InputError, StateError
from scgroove.imputers._averages import barycentric
from scgroove.imputers._imputation import Imputation, ensemble
from scgroove.learners.common import hold_out
from scgroove.learners.training import Device, resolve_device, seeded, train_until_no_gain
from scgroove.metrics.values import check_values, label_sums
from scgroove.module.encoders import CLIP_AT, mlp

BLOCK: Final = 8192
"""Cells predicted at a time."""

MAX_STEPS: Final = 5000
"""Optimization steps that the default of ``max_epochs`` aims at."""

PENALTIES: Final = tuple(float(penalty) for penalty in np.logspace(-2, 6, 17))
FEWEST_LABELS: Final = 3
"""Labels below which no penalty can be chosen."""


@checked
@dataclass
class LabelRidge:
    """Ridge regression of the label means of the target on those of the source.

    Cells are predicted by the same linear map, so that the mean prediction of the cells of a label
    is the prediction of its mean. The penalty is chosen by leaving out one label at a time.

    Parameters
    ----------
    penalties
        Penalties to choose from.

    Attributes
    ----------
    penalty_
        The chosen penalty, after :meth:`fit`.

    References
    ----------
    Hoerl and Kennard 1970, Technometrics 12:55. User guide, "Imputation".
    """

    penalties: tuple[float, ...] = PENALTIES

    def fit(
        self,
        x: FloatArray,
        y: npt.ArrayLike | sp.spmatrix | sp.sparray,
        codes_x: IntArray,
        codes_y: IntArray,
    ) -> Self:
        """Learn from the labels that both modalities have.

        Parameters
        ----------
        x
            Standardized features of the source cells, (n_source, d).
        y
            Values of the target cells, (n_target, f), dense or scipy sparse.
        codes_x, codes_y
            Label of each cell in one vocabulary, -1 for none.

        Raises
        ------
        ValueError
            Fewer than three labels are in both.
        """
        shared = np.intersect1d(codes_x[codes_x >= 0], codes_y[codes_y >= 0])
        if shared.size < FEWEST_LABELS:
            raise InputError(
                f"a regression on label means needs {FEWEST_LABELS} labels or more that both "
                f"modalities have; found {shared.size}. Use another method, or name the column of "
                f"the labels with label_key=."
            )
        n_labels = int(shared.max()) + 1
        means = []
        for values, codes in ((x, codes_x), (check_values("y", y), codes_y)):
            sums, counts = label_sums(values, np.where(codes < n_labels, codes, -1), n_labels)
            means.append(sums[shared] / counts[shared, None])
        self.map_ = RidgeCV(alphas=self.penalties).fit(*means)
        self.penalty_ = float(self.map_.alpha_)
        return self

    def predict(self, x: FloatArray) -> Imputation:
        """Return predictions for cells, seen or not, from standardized features (n, d).

        Raises
        ------
        RuntimeError
            Nothing is fitted.
        """
        if not hasattr(self, "map_"):
            raise StateError(
                "this regression is not fitted: call .fit(x, y, codes_x, codes_y) before "
                ".predict(x)."
            )
        blocks = [self.map_.predict(block).astype(np.float32) for block in _blocks(x)]
        values = np.concatenate(blocks).reshape(len(x), -1)
        return Imputation.of_function(values, evidence={"penalty": self.penalty_})


@checked
@dataclass
class CouplingRegression:
    """Networks from source features to target features, fitted to coupled cells.

    The target of source cell i is the mean of the cells coupled with it, ``t_i = sum_j T_ij y_j /
    sum_j T_ij``, and its weight is its mass. The loss ``sum_i m_i |f(x_i) - t_i|**2`` has the
    minimum of ``sum_ij T_ij |f(x_i) - y_j|**2``, without the noise of drawn partners. Several
    networks, of different initial weights and held-out cells, make an ensemble.

    Parameters
    ----------
    hidden
        Widths of the hidden layers, ``()`` for a linear map.
    dropout
        After each hidden layer.
    n_models
        Networks of the ensemble.
    lr, weight_decay
        Of AdamW.
    batch_size
        Cells in a step.
    max_epochs
        For some 5,000 steps, between 20 and 500, if None.
    patience
        Epochs without gain on the held-out cells before training stops. The best weights are kept.
    validation_fraction
        Share of the cells of each label that are held out.
    device
        ``"cpu"``, ``"auto"``, ``"cuda"`` or ``"mps"``.

    Attributes
    ----------
    evidence
        After :meth:`fit`: ``best_epoch`` and ``validation_loss``, mean over the networks. A loss
        of 1 is that of the mean of all cells.

    References
    ----------
    Perturb-OT's ``train_mlp`` (Ryu et al. 2024, arXiv 2405.00838) draws one partner a cell and
    epoch.
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
    ) -> Self:
        """Learn from the source cells that have mass.

        Parameters
        ----------
        x
            Standardized features of the source cells, (n_source, d).
        y
            Values of the target cells, (n_target, f), dense or scipy sparse.
        coupling
            Between them.
        codes
            Label of each source cell, (n_source,), of which shares are held out. None: of all
            alike.
        seed
            Random state. The global one is left alone.

        Raises
        ------
        ValueError
            Shapes do not fit, or fewer than four source cells have mass.
        DivergedError
            The loss becomes NaN or infinite.
        """
        pairs = barycentric(coupling, y)
        rows = np.flatnonzero(~pairs.extrapolated)
        if len(x) != len(pairs.values):
            raise InputError(
                f"x must have one row a source cell of the coupling: expected {len(pairs.values)}, "
                f"found {len(x)}."
            )
        if rows.size < 4:
            raise InputError(
                f"a regression learns from matched cells, but only {rows.size} source cells have "
                f"mass in this coupling. Couple more cells: scgroove.tl.align, with labels that "
                f"both modalities have."
            )
        resolve_device(self.device)
        mass = coupling.row_mass()[rows]
        targets = pairs.values[rows].astype(np.float64)
        self.mean_ = np.average(targets, axis=0, weights=mass).astype(np.float32)
        scale = np.sqrt(np.average(np.square(targets - self.mean_), axis=0, weights=mass))
        self.scale_ = np.where(is_constant(self.mean_, scale), 1.0, scale).astype(np.float32)
        data = (
            torch.as_tensor(np.asarray(x, dtype=np.float32)[rows]),
            torch.as_tensor((pairs.values[rows] - self.mean_) / self.scale_),
            torch.as_tensor((mass / mass.mean()).astype(np.float32)),
        )
        groups = np.zeros(rows.size, dtype=np.intp)
        if codes is not None:
            groups = np.maximum(codes[rows], -1) + 1
        self.networks_, epochs, losses = [], [], []
        for state in np.random.default_rng(seed).integers(2**31, size=self.n_models):
            network, history = self._network(data, groups, int(state))
            self.networks_.append(network)
            epochs.append(int(np.argmin(history)))
            losses.append(min(history))
        self.evidence = {
            "best_epoch": float(np.mean(epochs)),
            "validation_loss": float(np.mean(losses)),
        }
        return self

    def _network(
        self, data: tuple[Tensor, Tensor, Tensor], groups: IntArray, seed: int
    ) -> tuple[torch.nn.Module, list[float]]:
        """Return a fitted network and its loss on held-out cells after each epoch."""
        rng, device = np.random.default_rng(seed), resolve_device(self.device)
        is_held_out = hold_out(groups, self.validation_fraction, rng)
        rows, held_out = np.flatnonzero(~is_held_out), np.flatnonzero(is_held_out)
        steps = math.ceil(rows.size / self.batch_size)
        blocks = np.array_split(held_out, math.ceil(held_out.size / BLOCK))
        sizes = [float(data[2][block].sum()) for block in blocks]
        with seeded(seed):
            network = mlp(data[0].shape[1], self.hidden, data[1].shape[1], self.dropout).to(device)

            def loss(cells: IntArray) -> Tensor:
                x, target, mass = (part[cells].to(device) for part in data)
                error = (network(x.clamp(-CLIP_AT, CLIP_AT)) - target).square().mean(dim=1)
                mean: Tensor = (mass * error).sum() / mass.sum()
                return mean

            history = train_until_no_gain(
                network,
                loss,
                rows,
                validate=lambda: float(
                    np.average([float(loss(block)) for block in blocks], weights=sizes)
                ),
                rng=rng,
                options=self,
                epochs=min(500, max(20, math.ceil(MAX_STEPS / steps))),
            )
        return network.cpu().eval(), history

    @torch.inference_mode()
    def predict(self, x: FloatArray) -> Imputation:
        """Return the mean of the networks for cells, and the variance between them.

        ``x`` are features (n, d), standardized as in :meth:`fit`.

        Raises
        ------
        RuntimeError
            Nothing is fitted.
        """
        if not hasattr(self, "networks_"):
            raise StateError(
                "this regression is not fitted: call .fit(x, y, coupling) before .predict(x)."
            )
        inputs = [torch.as_tensor(np.asarray(block, np.float32)) for block in _blocks(x)]

        def members() -> Iterator[FloatArray]:
            for network in self.networks_:
                values = [network(block.clamp(-CLIP_AT, CLIP_AT)).numpy() for block in inputs]
                yield np.concatenate(values) * self.scale_ + self.mean_

        mean, between = ensemble(members())
        return Imputation.of_function(mean, between=between, evidence=self.evidence)


def _blocks(x: FloatArray) -> list[FloatArray]:
    return [x[start : start + BLOCK] for start in range(0, max(len(x), 1), BLOCK)]
