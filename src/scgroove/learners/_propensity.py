"""Propensity scores: how probable each label is, from each modality on its own."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final

import numpy as np
from scipy.special import logsumexp
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from scgroove._types import Float64Array, FloatArray, IntArray
from scgroove.data.screen import Screen
from scgroove.errors import InputError
from scgroove.learners._base import LEARNERS, Learner, Representations
from scgroove.learners.common import (
    check_label_counts,
    label_means,
    reduction,
    stratified_folds,
)

if TYPE_CHECKING:
    from mudata import MuData

PENALTY_GRID: Final = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
LARGE: Final = 3e7
"""Cells x features x labels above which the penalty is chosen on one split instead of on all folds."""

GAIN: Final = 0.02
"""Relative fall of the cross-entropy for which a weaker penalty is worth its time."""

FALLBACK: Final = 0.1
"""Penalty where there is nothing to choose it by: one cell a label."""


@LEARNERS.register("ps_logistic")
@dataclass
class LogisticPropensity(Learner):
    """Logits of the shared labels, from one logistic regression a modality.

    ::

        p(label l | x) = exp(t_l(x)) / sum_k exp(t_k(x)),     t(x) = x W + b
        min over W, b of  C sum_i -log p(y_i | x_i) + ||W||^2 / 2

    and the representation is t(x): what a treatment does to a cell is, up to what it does not touch, a function of its
    propensity score, whichever modality it is seen in. Logits are defined up to a number for each cell; here, as at the minimum of the
    penalized problem, they sum to zero over labels. A label that a modality lacks has logit 0 in it, the mean of the
    others. Only cells with a shared label are fitted.

    The penalty is chosen in each modality by the cross-entropy of held-out cells, never by true pairs: the grid is walked from
    the strongest penalty to the weakest, and left when two in a row did not lower the cross-entropy by 2 %. Labels of a single
    cell are always trained on; labels may have fewer cells than there are folds.

    Parameters
    ----------
    grid
        Values of C to choose from; a single one is taken as it is.
    n_folds
        Folds of the cross-validation. Above 3 * 10^7 cells x features x labels the first fold alone is held out.
    max_features
        Wider modalities are first reduced to this many principal components.
    standardize
        Whether logits are brought to mean 0 and variance 1 in each modality, label by label, with the labels weighing alike:
        then modalities in which labels are easier to tell have no longer logits.

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
        # Each modality has a random state of its own: leaving one out changes nothing in the others.
        for m, rng in zip(
            screen.modalities,
            np.random.default_rng(seed).spawn(len(screen.modalities)),
            strict=True,
        ):
            self._fit_modality(screen, m, seed, rng)
        self.evidence["c"] = {m: float(model.C) for m, model in self.models_.items()}

    def _fit_modality(self, screen: Screen, m: str, seed: int, rng: np.random.Generator) -> None:
        known = screen.codes[m] >= 0
        codes = screen.codes[m][known]
        everything = self.features_[m](screen.mdata.mod[m])
        self.reduce_[m] = reduction(everything, self.max_features, seed)
        x = self.reduce_[m](everything[known])
        c, losses = choose_penalty(x, codes, self.grid, self.n_folds, rng)
        self.models_[m] = LogisticRegression(C=c, max_iter=2000).fit(x, codes)
        self.evidence["cross_entropy"][m] = losses
        if self.standardize:
            self.scale_[m] = balanced_scale(self._logits(m, x), codes, self.n_labels_)

    def _logits(self, m: str, x: Float64Array) -> Float64Array:
        out = np.zeros((len(x), self.n_labels_))
        out[:, self.models_[m].classes_] = logits(self.models_[m], x)
        return out

    def _transform(self, mdata: MuData) -> Representations:
        out: Representations = {}
        for m in self.models_:
            t = self._logits(m, self.reduce_[m](self.features_[m](mdata.mod[m])))
            mean, deviation = self.scale_.get(m, (0.0, 1.0))
            out[m] = (t - mean) / deviation
        return out


@LEARNERS.register("ps_logistic_scaled")
@dataclass
class ScaledLogisticPropensity(LogisticPropensity):
    """Logits of the shared labels, standardized in each modality: :class:`LogisticPropensity` with other defaults.

    The penalty is C = 0.1, under which cells of the reference scenario match better than under the one of least cross-entropy,
    which is weaker. Where labels are wrong, cells escape or effects are few it is the other way round, so that a fair comparison
    has both. With ``grid=scgroove.learners.PENALTY_GRID`` it is chosen as
    ``ps_logistic`` chooses it. See :class:`LogisticPropensity` for the problem and the options.
    """

    name: ClassVar[str] = "ps_logistic_scaled"

    grid: Sequence[float] = (0.1,)
    standardize: bool = True


def logits(model: LogisticRegression, x: Float64Array) -> Float64Array:
    """Return one logit for each label that the model knows, summing to zero over them, (n, labels).

    Scikit-learn gives one column for two labels, the difference of their logits.
    """
    found = model.decision_function(x)
    if found.ndim == 1:
        found = np.stack([-found / 2, found / 2], axis=1)
    centered: Float64Array = found - found.mean(axis=1, keepdims=True)
    return centered


def cross_entropy(model: LogisticRegression, x: Float64Array, codes: IntArray) -> float:
    """Return the mean of -log p(label) of cells whose labels the model knows."""
    t = logits(model, x)
    own = t[np.arange(len(x)), np.searchsorted(model.classes_, codes)]
    return float((logsumexp(t, axis=1) - own).mean())


def choose_penalty(
    x: Float64Array, codes: IntArray, grid: Sequence[float], n_folds: int, rng: np.random.Generator
) -> tuple[float, dict[float, float]]:
    """Return the C of least cross-entropy in held-out cells, and the cross-entropies of those that were tried.

    Parameters
    ----------
    x
        (n, d).
    codes
        (n,) labels, none missing.
    grid
        Ascending values of C.
    n_folds
        Folds; labels may have fewer cells.
    rng
        Random state of the folds.
    """
    held_out = stratified_folds(codes, n_folds, rng)
    held_out[
        np.bincount(codes)[codes] == 1
    ] = -1  # a label of one cell: nothing would be trained on
    if len(grid) == 1 or (held_out < 0).all():
        return (grid[0] if len(grid) == 1 else _nearest(grid, FALLBACK)), {}
    large = x.size * np.unique(codes).size > LARGE
    folds = np.unique(held_out[held_out >= 0]).tolist()[: 1 if large else n_folds]
    # Of a path of penalties each is solved from the solution of the one before.
    models = {fold: LogisticRegression(max_iter=100, tol=1e-3, warm_start=True) for fold in folds}
    losses: dict[float, float] = {}
    in_vain = 0
    for c in grid:
        loss = _held_out_loss(models, held_out, x, codes, c)
        in_vain = 0 if loss < (1 - GAIN) * min(losses.values(), default=np.inf) else in_vain + 1
        losses[c] = loss
        if in_vain == 2:
            break
    return min(losses, key=lambda c: losses[c]), losses


def _nearest(grid: Sequence[float], value: float) -> float:
    return min(grid, key=lambda c: abs(np.log(c / value)))


def _held_out_loss(
    models: dict[int, LogisticRegression],
    held_out: IntArray,
    x: Float64Array,
    codes: IntArray,
    c: float,
) -> float:
    """Return the mean cross-entropy over all held-out cells."""
    total = number = 0.0
    for fold, model in models.items():
        inside = held_out == fold
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.set_params(C=c).fit(x[~inside], codes[~inside])
        total += cross_entropy(model, x[inside], codes[inside]) * int(inside.sum())
        number += int(inside.sum())
    return total / number


def balanced_scale(
    t: Float64Array, codes: IntArray, n_labels: int
) -> tuple[Float64Array, Float64Array]:
    """Return mean and standard deviation of columns over cells with labels weighing alike, (k,) each.

    A column that does not vary has deviation 1.
    """
    means, counts = label_means(t, codes, n_labels)
    squares, _ = label_means(t**2, codes, n_labels)
    there = counts > 0
    mean = means[there].mean(axis=0)
    deviation = np.sqrt(np.maximum(squares[there].mean(axis=0) - mean**2, 0))
    deviation[deviation < 1e-12] = 1.0
    return mean, deviation
