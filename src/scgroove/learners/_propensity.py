"""Propensity scores: logits of the labels, from each modality on its own."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from torch import Tensor, nn

from scgroove._types import BoolArray, Float64Array, FloatArray, IntArray
from scgroove.data.checks import modality_of
from scgroove.data.screen import Screen
from scgroove.errors import InputError
from scgroove.learners._base import LEARNERS, Learner, Representations, preset
from scgroove.learners.common import (
    check_label_counts,
    hold_out,
    label_means,
    reduction,
    stratified_folds,
)
from scgroove.learners.training import Device, embed, resolve_device, seeded, train_until_no_gain
from scgroove.module.encoders import CLIP_AT, mlp

if TYPE_CHECKING:
    from mudata import MuData

PENALTY_GRID: Final = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
LARGE: Final = 3e7
"""Cells x features x labels above which the penalty is chosen on one split, not all folds."""
GAIN: Final = 0.02
"""Relative fall of the cross-entropy that is worth the time of a weaker penalty."""
FALLBACK: Final = 0.1
"""Penalty if labels have one cell each, so that none can be held out."""
TARGET_STEPS: Final = 6000
"""Steps of a network that the default of ``max_epochs`` aims at."""


@LEARNERS.register("ps_logistic")
@dataclass
class LogisticPropensity(Learner):
    """Propensity logits of the shared labels, by logistic regression in each modality.

    ::

        p(label l | x) = exp(t_l(x)) / sum_k exp(t_k(x)),     t(x) = x W + b
        min over W, b of  C sum_i -log p(y_i | x_i) + ||W||^2 / 2

    The representation is t(x): the effect of a treatment on a cell is, up to what it does not
    touch, a function of its propensity score, whichever modality it is seen in. Logits sum to zero
    over labels. A label that a modality lacks has logit 0 in it. Only cells with a shared label
    are fitted.

    The penalty is chosen in each modality by the cross-entropy of held-out cells. The grid is
    walked from the strongest penalty to the weakest, until two in a row do not lower the
    cross-entropy by 2 %. Labels of a single cell are always trained on.

    Parameters
    ----------
    grid
        Values of C to choose from. A single one is taken as it is.
    n_folds
        Folds of the cross-validation. Above 3 * 10^7 cells x features x labels the first fold alone
        is held out.
    max_features
        Wider modalities are first reduced to this many principal components.
    standardize
        Bring logits to mean 0 and variance 1 in each modality, labels weighing alike. Modalities in
        which labels are easier to tell then have no longer logits.

    References
    ----------
    Xi et al. 2024, "Propensity Score Alignment of Unpaired Multimodal Data", arXiv 2404.01595.
    """

    name: ClassVar[str] = "ps_logistic"

    grid: Sequence[float] = PENALTY_GRID
    n_folds: int = 5
    max_features: int = 300
    standardize: bool = False

    def __post_init__(self) -> None:
        """Refuse options that cannot be used."""
        if not self.grid:
            raise InputError(f"grid must hold positive values of C; found {self.grid!r}.")
        self.grid = sorted(self.grid)

    def _fit(self, screen: Screen, seed: int) -> None:
        check_label_counts(screen, self.name)
        self.n_labels_ = screen.n_labels
        self.features_ = screen.features()
        self.reduce_: dict[str, Callable[[FloatArray], Float64Array]] = {}
        self.models_: dict[str, LogisticRegression] = {}
        self.scale_: dict[str, tuple[Float64Array, Float64Array]] = {}
        self.evidence["cross_entropy"] = {}
        # each modality has a random state of its own: leaving one out changes nothing in the others
        streams = np.random.default_rng(seed).spawn(len(screen.modalities))
        for m, rng in zip(screen.modalities, streams, strict=True):
            known = screen.codes[m] >= 0
            codes = screen.codes[m][known]
            features = self.features_[m](modality_of(screen.mdata, m))
            self.reduce_[m] = reduction(features, self.max_features, seed)
            x = self.reduce_[m](features[known])
            c, losses = choose_penalty(x, codes, self.grid, self.n_folds, rng)
            self.models_[m] = LogisticRegression(C=c, max_iter=2000).fit(x, codes)
            self.evidence["cross_entropy"][m] = losses
            if self.standardize:
                self.scale_[m] = balanced_scale(self._logits(m, x), codes, self.n_labels_)
        self.evidence["c"] = {m: float(model.C) for m, model in self.models_.items()}

    def _logits(self, m: str, x: Float64Array) -> Float64Array:
        t = self.models_[m].decision_function(x)
        if t.ndim == 1:  # of two labels scikit-learn gives the difference of their logits
            t = np.stack([-t / 2, t / 2], axis=1)
        out = np.zeros((len(x), self.n_labels_))
        out[:, self.models_[m].classes_] = t - t.mean(axis=1, keepdims=True)
        return out

    def _transform(self, mdata: MuData) -> Representations:
        out: Representations = {}
        for m in self.models_:
            t = self._logits(m, self.reduce_[m](self.features_[m](modality_of(mdata, m))))
            mean, deviation = self.scale_.get(m, (0.0, 1.0))
            out[m] = (t - mean) / deviation
        return out


# Under C = 0.1 cells of the reference scenario match better than under the penalty of least
# cross-entropy. With wrong labels, escape or few effects it is the other way round.
preset(
    LogisticPropensity,
    "ps_logistic_scaled",
    "Standardized propensity logits at a fixed penalty: :class:`LogisticPropensity` with C = 0.1.",
    grid=(0.1,),
    standardize=True,
)


def choose_penalty(
    x: Float64Array, codes: IntArray, grid: Sequence[float], n_folds: int, rng: np.random.Generator
) -> tuple[float, dict[float, float]]:
    """Return the C of least cross-entropy in held-out cells, and the cross-entropies by C.

    Parameters
    ----------
    x
        (n, d).
    codes
        (n,) labels, none missing.
    grid
        Ascending values of C.
    n_folds
        Folds. Labels may have fewer cells.
    rng
        Random state of the folds.
    """
    folds_of_cells = stratified_folds(codes, n_folds, rng)
    folds_of_cells[np.bincount(codes)[codes] == 1] = -1  # a label of one cell is trained on
    if len(grid) == 1:
        return grid[0], {}
    if (folds_of_cells < 0).all():
        return min(grid, key=lambda c: abs(np.log(c / FALLBACK))), {}
    is_large = x.size * np.unique(codes).size > LARGE
    folds = np.unique(folds_of_cells[folds_of_cells >= 0]).tolist()[: 1 if is_large else n_folds]
    # each penalty starts from the solution of the one before
    models = {fold: LogisticRegression(max_iter=100, tol=1e-3, warm_start=True) for fold in folds}
    losses: dict[float, float] = {}
    n_in_vain = 0
    for c in grid:
        total, number = 0.0, 0
        for fold, model in models.items():
            out = folds_of_cells == fold
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                model.set_params(C=c).fit(x[~out], codes[~out])
            total += log_loss(
                codes[out], model.predict_proba(x[out]), normalize=False, labels=model.classes_
            )
            number += int(out.sum())
        gained = total / number < (1 - GAIN) * min(losses.values(), default=np.inf)
        n_in_vain = 0 if gained else n_in_vain + 1
        losses[c] = total / number
        if n_in_vain == 2:
            break
    return min(losses, key=lambda c: losses[c]), losses


def balanced_scale(
    t: Float64Array, codes: IntArray, n_labels: int
) -> tuple[Float64Array, Float64Array]:
    """Return mean and standard deviation of columns, labels weighing alike, (k,) each.

    A column that does not vary has deviation 1.
    """
    means, counts = label_means(t, codes, n_labels)
    squares, _ = label_means(t**2, codes, n_labels)
    mean = means[counts > 0].mean(axis=0)
    deviation = np.sqrt(np.maximum(squares[counts > 0].mean(axis=0) - mean**2, 0))
    deviation[deviation < 1e-12] = 1.0
    return mean, deviation


@LEARNERS.register("ps_mlp")
@dataclass
class MLPPropensity(Learner):
    """Propensity logits of the shared labels, by a network in each modality.

    ::

        p(label l | x) = exp(t_l(x)) / sum_k exp(t_k(x)),     t a network
        min over its weights of  mean over labels of mean_{i of l} -log p(l | x_i)

    The representation is t(x), see :class:`LogisticPropensity`. Labels weigh alike, because the
    abundance of a label would move its logits, and modalities differ in it. Logits sum to zero over
    labels. A label that a modality lacks has logit 0 in it.

    Some cells of each label are held out. Training ends when their cross-entropy has not improved
    for ``patience`` epochs, and the weights of the best epoch are kept.

    Parameters
    ----------
    hidden
        Widths of the hidden layers. One wide layer with much dropout matches cells better than two
        narrow ones of the same cross-entropy.
    dropout
        After each hidden layer.
    lr, weight_decay
        Of AdamW, at a constant learning rate.
    batch_size
        Cells of a step.
    max_epochs
        Largest number of epochs. For some 6,000 steps, between 20 and 300, if None.
    patience
        Epochs without improvement after which training ends.
    validation_fraction
        Share of the cells of each label that are held out, at least one. Labels of a single cell
        are trained on.
    device
        ``"cpu"``, ``"cuda"``, ``"mps"``, or ``"auto"`` for CUDA if there is one.

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
    device: Device = "cpu"

    def _fit(self, screen: Screen, seed: int) -> None:
        resolve_device(self.device)
        present = check_label_counts(screen, self.name)
        self.features_ = screen.features()
        self.networks_: dict[str, PropensityNetwork] = {}
        self.held_out_: dict[str, BoolArray] = {}
        self.history_: dict[str, list[float]] = {}
        streams = np.random.default_rng(seed).spawn(len(screen.modalities))
        for m, rng in zip(screen.modalities, streams, strict=True):
            self._fit_modality(screen, m, present[m], rng)
        for m, losses in self.history_.items():
            self.evidence.setdefault("cross_entropy", {})[m] = min(losses)
            self.evidence.setdefault("best_epoch", {})[m] = int(np.argmin(losses))

    def _fit_modality(
        self, screen: Screen, m: str, present: BoolArray, rng: np.random.Generator
    ) -> None:
        codes, device = screen.codes[m], resolve_device(self.device)
        self.held_out_[m] = hold_out(codes, self.validation_fraction, rng)
        held_out = np.flatnonzero(self.held_out_[m])
        if not held_out.size:
            raise InputError(
                f"learner 'ps_mlp' holds out cells to know when to stop, but no shared label of "
                f"{m!r} has two cells or more. Take 'ps_logistic'."
            )
        x = self.features_[m](modality_of(screen.mdata, m))
        rows = np.flatnonzero((codes >= 0) & ~self.held_out_[m])
        targets = np.searchsorted(np.flatnonzero(present), codes)
        weights = torch.as_tensor(1.0 / np.bincount(targets[rows]), dtype=torch.float32).to(device)
        with seeded(int(rng.integers(2**31))):
            network = PropensityNetwork(x.shape[1], present, self.hidden, self.dropout).to(device)

            def loss(cells: IntArray) -> Tensor:
                logits = network(torch.as_tensor(x[cells]).to(device))
                target = torch.as_tensor(targets[cells]).to(device)
                return F.cross_entropy(logits, target, weight=weights)

            steps = math.ceil(rows.size / self.batch_size)
            self.history_[m] = train_until_no_gain(
                network,
                loss,
                rows,
                validate=lambda: float(loss(held_out)),
                rng=rng,
                options=self,
                epochs=min(300, max(20, math.ceil(TARGET_STEPS / steps))),
            )
        self.networks_[m] = network.cpu().eval()

    def _transform(self, mdata: MuData) -> Representations:
        return {
            m: embed(network, m, self.features_[m](modality_of(mdata, m)))
            for m, network in self.networks_.items()
        }


class PropensityNetwork(nn.Module):
    """Network from features (n, d) to logits of the labels that a modality has.

    It has no batch statistics, so that a cell has one place whatever cells are beside it.
    """

    present: Tensor

    def __init__(
        self, n_features: int, present: BoolArray, hidden: Sequence[int], dropout: float
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
        """Return logits of all labels that sum to zero, (n, n_labels)."""
        t = self(x)
        out: Tensor = t.new_zeros(len(t), self.n_labels)
        out[:, self.present] = t - t.mean(dim=1, keepdim=True)
        return out
