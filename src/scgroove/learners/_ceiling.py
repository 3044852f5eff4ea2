"""The ceiling: what features can say of the true state, where a simulation tells it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import Ridge, RidgeCV

from scgroove import _keys
from scgroove._types import Float64Array, FloatArray
from scgroove.data import labels_of
from scgroove.learners._base import LEARNERS, Learner, Representations
from scgroove.learners._common import Remembered, check_whole, reduction, stratified_folds
from scgroove.learners._screen import Screen

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData

Target: TypeAlias = Literal["state", "latent"]
TRUTHS: Final = {"state": _keys.STATE, "latent": _keys.TRUE_LATENT}
PENALTIES: Final = tuple(np.logspace(-2, 7, 19).tolist())


@LEARNERS.register("oracle_latent")
@dataclass
class OracleLatent(Learner):
    """Ridge regression from each modality to the true latent of a simulation: a ceiling, not a method.

    ::

        min over W, b of  sum_i ||c_i - [x_i, onehot(y_i)] W - b||^2 + lambda ||W||^2

    for the true state c of each cell. Cells that were fitted are predicted by the regression of the folds they are not in, so
    that the score is not that of memory; other cells by the regression on all. The penalty is chosen by leave-one-out error.
    No linear learner of the features can be expected to do much better; one that is not linear may.

    Parameters
    ----------
    target
        ``"state"``: c, what the modalities have in common of a cell. ``"latent"``: u, the state plus the effects of the label,
        in which modalities differ if rho is below 1.
    use_label
        Whether the label is among the features. New cells then need it too.
    n_folds
        Folds.
    penalties
        Values of lambda to choose from.
    max_features
        Wider modalities are first reduced to this many principal components.
    """

    name: ClassVar[str] = "oracle_latent"
    uses_truth: ClassVar[bool] = True

    target: Target = "state"
    use_label: bool = True
    n_folds: int = 5
    penalties: Sequence[float] = PENALTIES
    max_features: int = 300

    def __post_init__(self) -> None:
        """Refuse options that cannot be used."""
        if self.target not in get_args(Target):
            raise ValueError(
                f"target must be one of {', '.join(map(repr, get_args(Target)))}; found {self.target!r}."
            )
        check_whole("n_folds", self.n_folds, 2)
        check_whole("max_features", self.max_features)
        penalties = np.atleast_1d(np.asarray(self.penalties, dtype=np.float64))
        if not penalties.size or not np.isfinite(penalties).all() or penalties.min() <= 0:
            raise ValueError(f"penalties must hold positive values of lambda; found {self.penalties!r}.")

    def _fit(self, screen: Screen, seed: int) -> None:
        truth = {m: self._truth(screen.mdata.mod[m], m) for m in screen.modalities}
        self.label_keys_ = dict(screen.label_keys)
        every = set().union(*(screen.labels[m] for m in screen.modalities)) - {None}
        self.labels_ = {label: code for code, label in enumerate(sorted(every))}
        self.features_ = screen.features()
        self.reduce_: dict[str, Callable[[FloatArray], Float64Array]] = {}
        self.seen_: dict[str, Remembered] = {}
        self.held_out_: dict[str, Float64Array] = {}
        self.models_: dict[str, RidgeCV] = {}
        for m, rng in zip(
            screen.modalities, np.random.default_rng(seed).spawn(len(screen.modalities)), strict=True
        ):
            self._fit_modality(screen, m, truth[m], seed, rng)
        self.evidence["penalty"] = {m: float(model.alpha_) for m, model in self.models_.items()}

    def _fit_modality(
        self, screen: Screen, m: str, truth: Float64Array, seed: int, rng: np.random.Generator
    ) -> None:
        adata = screen.mdata.mod[m]
        x = self.features_[m](adata)
        self.reduce_[m] = reduction(x, self.max_features, seed)
        self.seen_[m] = Remembered.of(adata.obs_names.to_numpy(dtype=object), x)
        inputs = self._inputs(m, x, screen.labels[m])
        folds = stratified_folds(screen.codes[m], self.n_folds, rng)
        self.models_[m] = RidgeCV(alphas=np.asarray(self.penalties, dtype=np.float64)).fit(inputs, truth)
        self.held_out_[m] = np.empty_like(truth)
        for fold in np.unique(folds):
            inside = folds == fold
            ridge = Ridge(alpha=self.models_[m].alpha_).fit(inputs[~inside], truth[~inside])
            self.held_out_[m][inside] = ridge.predict(inputs[inside])

    def _truth(self, adata: AnnData, m: str) -> Float64Array:
        key = TRUTHS[self.target]
        if key not in adata.obsm:
            raise KeyError(
                f"learner {self.name!r} is a ceiling for simulated data: it needs the true {self.target} of every cell in "
                f"mdata[{m!r}].obsm[{key!r}], and found {sorted(map(str, adata.obsm)) or 'nothing'} there. Leave it out of "
                f"benchmarks on real data, or simulate with scgroove.simulations.weakly_paired()."
            )
        return np.asarray(adata.obsm[key], dtype=np.float64)

    def _inputs(self, m: str, x: FloatArray, labels: NDArray[Any] | None) -> Float64Array:
        reduced = self.reduce_[m](x)
        if not self.use_label or labels is None:
            return reduced
        codes = np.array([self.labels_.get(label, -1) for label in labels], dtype=np.intp)
        onehot = codes[:, None] == np.arange(len(self.labels_))
        return np.hstack([reduced, onehot.astype(np.float64)])

    def _transform(self, mdata: MuData) -> Representations:
        return {m: self._predict(m, mdata.mod[m]) for m in self.models_}

    def _predict(self, m: str, adata: AnnData) -> Float64Array:
        x = self.features_[m](adata)
        rows = self.seen_[m].rows(adata.obs_names.to_numpy(dtype=object), x)
        out = np.empty((len(x), self.held_out_[m].shape[1]))
        out[rows >= 0] = self.held_out_[m][rows[rows >= 0]]
        new = np.flatnonzero(rows < 0)
        if new.size:
            labels = self._labels(m, adata)[new] if self.use_label else None
            out[new] = self.models_[m].predict(self._inputs(m, x[new], labels))
        return out

    def _labels(self, m: str, adata: AnnData) -> NDArray[Any]:
        key = self.label_keys_[m]
        if key not in adata.obs:
            raise KeyError(
                f"learner {self.name!r} was fitted with the label among its features, so new cells need mdata[{m!r}].obs"
                f"[{key!r}] too; its columns are {list(map(str, adata.obs.columns))}. Or construct it with use_label=False."
            )
        return labels_of(adata.obs, key)
