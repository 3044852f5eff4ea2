"""Ceiling of linear learners: ridge regression to the true latent of a simulation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import Ridge, RidgeCV

from scgroove import _keys
from scgroove._types import Float64Array, FloatArray, IntArray
from scgroove.data.checks import modality_of
from scgroove.data.labels import labels_of
from scgroove.data.screen import Screen
from scgroove.errors import InputError, UnknownNameError
from scgroove.learners._base import LEARNERS, Learner, Representations
from scgroove.learners.common import FittedCells, label_means, reduction, stratified_folds
from scgroove.metrics import foscttm

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData

Target: TypeAlias = Literal["shared", "state", "latent"]
TRUTHS: Final = {"shared": _keys.SHARED, "state": _keys.STATE, "latent": _keys.TRUE_LATENT}
LabelUse: TypeAlias = Literal["free", "penalized", "none"]
PENALTIES: Final = tuple(np.logspace(-2, 7, 19).tolist())


@LEARNERS.register("oracle_latent")
@dataclass
class OracleLatent(Learner):
    """Ridge regression from each modality to the true latent of a simulation: a ceiling.

    ::

        min over W, b  sum_i ||u_i - x_i W - b_{y_i}||^2 + lambda ||W||^2

    for the true u of each cell and its label y. Fitted cells are predicted out of fold, other cells
    by the regression on all. The penalty is chosen by leave-one-out error. Labels may be wrong or
    small, so the b may be free, penalized as W is, or one for all, by how well held-out cells are
    found inside their label (FOSCTTM of predicted against true u).

    It estimates the best that a linear learner of the features can reach, too low with few cells:
    on the scenario ``"few_cells"`` (10 of a label) ``cca_labels`` is better.

    Parameters
    ----------
    target
        ``"shared"``: all that the modalities have in common (state, shared effects, sub-state).
        ``"state"``: the state alone. ``"latent"``: also the effects that only this modality sees.
    use_label
        Whether labels may be used. New cells then need them if they were.
    n_folds
        Folds.
    penalties
        Values of lambda to choose from.
    max_features
        Wider modalities are first reduced to this many principal components.
    """

    name: ClassVar[str] = "oracle_latent"
    uses_truth: ClassVar[bool] = True

    target: Target = "shared"
    use_label: bool = True
    n_folds: int = 5
    penalties: Sequence[float] = PENALTIES
    max_features: int = 300

    def __post_init__(self) -> None:
        """Refuse options that cannot be used."""
        if not self.penalties:
            raise InputError(
                f"penalties must hold positive values of lambda; found {self.penalties!r}."
            )

    def _fit(self, screen: Screen, seed: int) -> None:
        truth = {m: self._truth(modality_of(screen.mdata, m), m) for m in screen.modalities}
        self.label_keys_ = dict(screen.label_keys)
        labels = set().union(*(screen.labels[m] for m in screen.modalities)) - {None}
        self.labels_ = {label: code for code, label in enumerate(sorted(labels))}
        self.features_ = screen.features()
        self.reduce_: dict[str, Callable[[FloatArray], Float64Array]] = {}
        self.seen_: dict[str, FittedCells] = {}
        self.held_out_: dict[str, Float64Array] = {}
        self.models_: dict[str, LabelRidge] = {}
        streams = np.random.default_rng(seed).spawn(len(screen.modalities))
        for m, rng in zip(screen.modalities, streams, strict=True):
            self._fit_modality(screen, m, truth[m], seed, rng)
        self.evidence["penalty"] = {m: model.penalty for m, model in self.models_.items()}
        self.evidence["label_use"] = {m: model.label_use for m, model in self.models_.items()}

    def _fit_modality(
        self, screen: Screen, m: str, truth: Float64Array, seed: int, rng: np.random.Generator
    ) -> None:
        adata = modality_of(screen.mdata, m)
        features = self.features_[m](adata)
        self.reduce_[m] = reduction(features, self.max_features, seed)
        self.seen_[m] = FittedCells.of(adata.obs_names.to_numpy(dtype=object), features)
        x, groups = self.reduce_[m](features), self._groups(screen.labels[m])
        names = [None if group == len(self.labels_) else int(group) for group in groups]
        folds = stratified_folds(screen.codes[m], self.n_folds, rng)
        uses: tuple[LabelUse, ...] = ("free", "penalized", "none") if self.use_label else ("none",)
        best = np.inf
        for use in uses:
            n_groups = len(self.labels_) + 1
            model = LabelRidge.fit(x, groups, truth, use, n_groups, self.penalties)
            held_out = np.empty_like(truth)
            for fold in np.unique(folds):
                out, seen = folds == fold, folds != fold
                refit = LabelRidge.fit(
                    x[seen], groups[seen], truth[seen], use, n_groups, [model.penalty]
                )
                held_out[out] = refit.predict(x[out], groups[out])
            own = np.arange(len(truth))
            error = foscttm(held_out, truth, own, labels_x=names, labels_y=names)
            if error < best:
                best, self.models_[m], self.held_out_[m] = float(error), model, held_out

    def _truth(self, adata: AnnData, m: str) -> Float64Array:
        key = TRUTHS[self.target]
        if key not in adata.obsm:
            raise UnknownNameError(
                f"learner {self.name!r} is a ceiling for simulated data: it needs the true "
                f"{self.target} of every cell in mdata[{m!r}].obsm[{key!r}], and found "
                f"{sorted(map(str, adata.obsm)) or 'nothing'} there. Leave it out of benchmarks on "
                f"real data, or simulate with scgroove.simulations.weakly_paired()."
            )
        return np.asarray(adata.obsm[key], dtype=np.float64)

    def _groups(self, labels: NDArray[Any]) -> IntArray:
        """Return a code for each cell, the last one for cells of no label or an unknown one."""
        unknown = len(self.labels_)
        return np.array([self.labels_.get(label, unknown) for label in labels], dtype=np.intp)

    def _transform(self, mdata: MuData) -> Representations:
        return {m: self._predict(m, modality_of(mdata, m)) for m in self.models_}

    def _predict(self, m: str, adata: AnnData) -> Float64Array:
        x, model = self.features_[m](adata), self.models_[m]
        rows = self.seen_[m].rows(adata.obs_names.to_numpy(dtype=object), x)
        out: Float64Array = self.held_out_[m][rows]
        new = np.flatnonzero(rows < 0)
        if new.size:
            groups = np.zeros(new.size, dtype=np.intp)
            if model.label_use != "none":
                groups = self._groups(self._labels(m, adata)[new])
            out[new] = model.predict(self.reduce_[m](x[new]), groups)
        return out

    def _labels(self, m: str, adata: AnnData) -> NDArray[Any]:
        key = self.label_keys_[m]
        if key not in adata.obs:
            raise UnknownNameError(
                f"learner {self.name!r} was fitted with the label among its features, so new cells "
                f"need mdata[{m!r}].obs[{key!r}] too; its columns are "
                f"{list(map(str, adata.obs.columns))}. Or construct it with use_label=False."
            )
        return labels_of(adata.obs, key)


@dataclass(frozen=True, eq=False)
class LabelRidge:
    """Ridge regression with an intercept for each group of cells.

    Attributes
    ----------
    label_use
        ``"free"``: groups are centered before the regression. ``"penalized"``: groups are features
        with values 0 and 1. ``"none"``: groups are ignored.
    centers
        Means of inputs and targets by group, (n_groups, d) and (n_groups, k).
    ridge
        Regression of the remainder.
    penalty
        lambda.
    """

    label_use: LabelUse
    centers: tuple[Float64Array, Float64Array]
    ridge: Ridge | RidgeCV
    penalty: float

    @classmethod
    def fit(
        cls,
        x: Float64Array,
        groups: IntArray,
        y: Float64Array,
        label_use: LabelUse,
        n_groups: int,
        penalties: Sequence[float],
    ) -> Self:
        """Fit with the penalty of least leave-one-out error."""
        centers = []
        for values in (x, y):
            center = np.tile(values.mean(axis=0), (n_groups, 1))
            if label_use == "free":
                means, counts = label_means(values, groups, n_groups)
                center[counts > 0] = means[counts > 0]
            centers.append(center)
        ridge = RidgeCV(np.asarray(penalties)) if len(penalties) > 1 else Ridge(penalties[0])
        model = cls(label_use, (centers[0], centers[1]), ridge, 0.0)
        ridge.fit(model._inputs(x, groups), y - centers[1][groups])
        penalty = float(ridge.alpha_ if len(penalties) > 1 else penalties[0])
        return cls(label_use, model.centers, ridge, penalty)

    def predict(self, x: Float64Array, groups: IntArray) -> Float64Array:
        """Return predictions, (n, k)."""
        of_cells = self.ridge.predict(self._inputs(x, groups)).reshape(len(x), -1)
        return np.asarray(of_cells + self.centers[1][groups])

    def _inputs(self, x: Float64Array, groups: IntArray) -> Float64Array:
        centered = x - self.centers[0][groups]
        if self.label_use != "penalized":
            return centered
        return np.hstack([centered, groups[:, None] == np.arange(len(self.centers[0]))])
