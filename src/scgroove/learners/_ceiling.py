"""The ceiling: what features can say of the true state, where a simulation tells it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import Ridge, RidgeCV

from scgroove import _keys
from scgroove._types import Float64Array, FloatArray, IntArray
from scgroove.data.labels import labels_of
from scgroove.data.screen import Screen
from scgroove.errors import InputError, UnknownNameError
from scgroove.learners._base import LEARNERS, Learner, Representations
from scgroove.learners.common import Remembered, label_means, reduction, stratified_folds
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
    """Ridge regression from each modality to the true latent of a simulation: a ceiling, not a method.

    ::

        min over W, b  sum_i ||u_i - x_i W - b_{y_i}||^2 + lambda ||W||^2

    for the true u of each cell and its label y. Cells that were fitted are predicted by the regression of the folds they are
    not in, so that the score is not that of memory; other cells by the regression on all. The penalty is chosen by leave-one-out
    error, and by how well held-out cells are found inside their label (FOSCTTM of predicted against true u) whether the b of the
    labels are free, penalized as W is, or one for all: labels may be wrong, or too small.

    It estimates what a linear learner of the features can reach at best. An estimate from few cells is a low one: on the scenario
    ``"few_cells"`` (10 of a label) ``cca_labels`` is better. A learner that is not linear may be better anywhere.

    Parameters
    ----------
    target
        ``"shared"``: all that the modalities have in common of a cell (its state, shared effects of its label, its sub-state).
        ``"state"``: the state alone. ``"latent"``: with the effects that only this modality sees too.
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
        truth = {m: self._truth(screen.mdata.mod[m], m) for m in screen.modalities}
        self.label_keys_ = dict(screen.label_keys)
        every = set().union(*(screen.labels[m] for m in screen.modalities)) - {None}
        self.labels_ = {label: code for code, label in enumerate(sorted(every))}
        self.features_ = screen.features()
        self.reduce_: dict[str, Callable[[FloatArray], Float64Array]] = {}
        self.seen_: dict[str, Remembered] = {}
        self.held_out_: dict[str, Float64Array] = {}
        self.models_: dict[str, LabelRidge] = {}
        for m, rng in zip(
            screen.modalities,
            np.random.default_rng(seed).spawn(len(screen.modalities)),
            strict=True,
        ):
            self._fit_modality(screen, m, truth[m], seed, rng)
        self.evidence["penalty"] = {m: float(model.penalty) for m, model in self.models_.items()}
        self.evidence["label_use"] = {m: model.label_use for m, model in self.models_.items()}

    def _fit_modality(
        self, screen: Screen, m: str, truth: Float64Array, seed: int, rng: np.random.Generator
    ) -> None:
        adata = screen.mdata.mod[m]
        x = self.features_[m](adata)
        self.reduce_[m] = reduction(x, self.max_features, seed)
        self.seen_[m] = Remembered.of(adata.obs_names.to_numpy(dtype=object), x)
        reduced, groups = self.reduce_[m](x), self._groups(screen.labels[m])
        folds = stratified_folds(screen.codes[m], self.n_folds, rng)
        uses: tuple[LabelUse, ...] = ("free", "penalized", "none") if self.use_label else ("none",)
        best = np.inf
        for use in uses:
            model = LabelRidge.chosen(
                reduced, groups, truth, use, len(self.labels_) + 1, self.penalties
            )
            held_out = np.empty_like(truth)
            for fold in np.unique(folds):
                inside = folds == fold
                again = model.again(reduced[~inside], groups[~inside], truth[~inside])
                held_out[inside] = again.predict(reduced[inside], groups[inside])
            error = _misplaced(held_out, truth, groups, len(self.labels_))
            if error < best:
                best, self.models_[m], self.held_out_[m] = error, model, held_out

    def _truth(self, adata: AnnData, m: str) -> Float64Array:
        key = TRUTHS[self.target]
        if key not in adata.obsm:
            raise UnknownNameError(
                f"learner {self.name!r} is a ceiling for simulated data: it needs the true {self.target} of every cell in "
                f"mdata[{m!r}].obsm[{key!r}], and found {sorted(map(str, adata.obsm)) or 'nothing'} there. Leave it out of "
                f"benchmarks on real data, or simulate with scgroove.simulations.weakly_paired()."
            )
        return np.asarray(adata.obsm[key], dtype=np.float64)

    def _groups(self, labels: NDArray[Any]) -> IntArray:
        """Return a code for each cell; those without a label, or with one that was not there, have the last one."""
        return np.array(
            [self.labels_.get(label, len(self.labels_)) for label in labels], dtype=np.intp
        )

    def _transform(self, mdata: MuData) -> Representations:
        return {m: self._predict(m, mdata.mod[m]) for m in self.models_}

    def _predict(self, m: str, adata: AnnData) -> Float64Array:
        x = self.features_[m](adata)
        rows = self.seen_[m].rows(adata.obs_names.to_numpy(dtype=object), x)
        out = np.empty((len(x), self.held_out_[m].shape[1]))
        out[rows >= 0] = self.held_out_[m][rows[rows >= 0]]
        new = np.flatnonzero(rows < 0)
        if new.size:
            model = self.models_[m]
            nothing = np.zeros(new.size, dtype=np.intp)
            groups = (
                nothing if model.label_use == "none" else self._groups(self._labels(m, adata)[new])
            )
            out[new] = model.predict(self.reduce_[m](x[new]), groups)
        return out

    def _labels(self, m: str, adata: AnnData) -> NDArray[Any]:
        key = self.label_keys_[m]
        if key not in adata.obs:
            raise UnknownNameError(
                f"learner {self.name!r} was fitted with the label among its features, so new cells need mdata[{m!r}].obs"
                f"[{key!r}] too; its columns are {list(map(str, adata.obs.columns))}. Or construct it with use_label=False."
            )
        return labels_of(adata.obs, key)


def _misplaced(
    predicted: Float64Array, truth: Float64Array, groups: IntArray, unlabeled: int
) -> float:
    """Return how far the truth of a cell is from being the nearest to its prediction, among cells of its label."""
    labels = [None if group == unlabeled else int(group) for group in groups]
    own = np.arange(len(truth))
    return float(foscttm(predicted, truth, own, labels_x=labels, labels_y=labels))


@dataclass(frozen=True, eq=False)
class LabelRidge:
    """Ridge regression with an intercept for each group of cells, free or penalized, or one for all.

    Attributes
    ----------
    label_use
        ``"free"``: groups are centered one by one before the regression. ``"penalized"``: groups are features with values 0 and 1.
        ``"none"``: groups are not looked at.
    n_groups
        How many there may be.
    penalty
        lambda.
    center_x, center_y
        What is taken off, (n_groups, d) and (n_groups, k); for a group without cells the mean of all.
    ridge
        Of what is left.
    """

    label_use: LabelUse
    n_groups: int
    penalty: float
    center_x: Float64Array
    center_y: Float64Array
    ridge: Ridge

    @classmethod
    def chosen(
        cls,
        x: Float64Array,
        groups: IntArray,
        y: Float64Array,
        label_use: LabelUse,
        n_groups: int,
        penalties: Sequence[float],
    ) -> Self:
        """Fit with the penalty of least leave-one-out error."""
        centers = [_centers(one, groups, label_use, n_groups) for one in (x, y)]
        inputs = _inputs(x - centers[0][groups], groups, label_use, n_groups)
        ridge = RidgeCV(alphas=np.asarray(penalties, dtype=np.float64)).fit(
            inputs, y - centers[1][groups]
        )
        return cls(label_use, n_groups, float(ridge.alpha_), centers[0], centers[1], ridge)

    def again(self, x: Float64Array, groups: IntArray, y: Float64Array) -> LabelRidge:
        """Fit other cells with the same penalty."""
        centers = [_centers(one, groups, self.label_use, self.n_groups) for one in (x, y)]
        inputs = _inputs(x - centers[0][groups], groups, self.label_use, self.n_groups)
        ridge = Ridge(alpha=self.penalty).fit(inputs, y - centers[1][groups])
        return replace(self, center_x=centers[0], center_y=centers[1], ridge=ridge)

    def predict(self, x: Float64Array, groups: IntArray) -> Float64Array:
        """Return predictions, (n, k)."""
        inputs = _inputs(x - self.center_x[groups], groups, self.label_use, self.n_groups)
        return np.asarray(self.ridge.predict(inputs).reshape(len(x), -1) + self.center_y[groups])


def _centers(
    values: Float64Array, groups: IntArray, label_use: LabelUse, n_groups: int
) -> Float64Array:
    """Return the mean of each group, (n_groups, d); that of all for groups without cells, or where labels are not free."""
    everything = np.broadcast_to(values.mean(axis=0), (n_groups, values.shape[1])).copy()
    if label_use == "free":
        means, counts = label_means(values, groups, n_groups)
        everything[counts > 0] = means[counts > 0]
    return everything


def _inputs(x: Float64Array, groups: IntArray, label_use: LabelUse, n_groups: int) -> Float64Array:
    if label_use != "penalized":
        return x
    return np.hstack([x, (groups[:, None] == np.arange(n_groups)).astype(np.float64)])
