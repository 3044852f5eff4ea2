"""Ways of imputing labels that the target never saw."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Self, TypeAlias

import anndata
import numpy as np
import numpy.typing as npt
import pandas as pd

from scgroove import aligners, imputers, learners
from scgroove._files import make_mudata
from scgroove._registry import Registry
from scgroove._types import Float64Array, FloatArray, IntArray
from scgroove.aligners import entropic_map
from scgroove.benchmark._spec import AlignerSpec, LearnerSpec
from scgroove.errors import InputError
from scgroove.imputers import CouplingRegression
from scgroove.metrics.values import label_sums

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData

LABEL: Final = "label"

DEFAULT_METHODS: Final = (
    "groove/decoder",
    "groove/knn",
    "groove/entropic",
    "groove/regression",
    "cca_labels/knn",
    "ps_logistic_scaled/knn",
    "label_ridge",
    "label_regression",
    "control_mean",
    "other_labels",
    "shuffled",
)
"""What is compared where nothing is named: the last three know nothing of the source cells."""


@dataclass(frozen=True)
class ImputationSpec:
    """A way of imputing.

    Attributes
    ----------
    how
        Name in :data:`IMPUTATIONS`.
    learner
        What makes the shared space; None where none is needed.
    name
        How the results call it; default ``"<learner>/<how>"`` or ``"<how>"``.
    aligner
        For ``"regression"``: what couples the cells of the labels that are not hidden.
    options
        For ``"knn"``: ``n_neighbors``; for ``"entropic"``: ``epsilon``; for ``"regression"`` and ``"label_regression"``: those of
        :class:`scgroove.imputers.CouplingRegression`.
    """

    how: str
    learner: LearnerSpec | None = None
    name: str = ""
    aligner: AlignerSpec = field(default_factory=lambda: AlignerSpec("eot"))
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what does not exist or does not go together."""
        needs = IMPUTATIONS.get(self.how).needs_space
        if needs and self.learner is None:
            raise InputError(
                f"{self.how!r} needs a learner that makes the shared space: 'groove/{self.how}', for instance."
            )
        if not needs and self.learner is not None:
            raise InputError(
                f"{self.how!r} needs no learner; found {self.learner.name!r}. Name it {self.how!r} alone."
            )
        if self.learner is not None and not self.learner.aligned:
            raise InputError(
                f"learner {self.learner.learner!r} makes no shared space, in which cells of both modalities could be compared."
            )
        if self.how == "decoder" and not hasattr(learners.get(self.learner.learner), "translate"):  # type: ignore[union-attr]
            raise InputError(
                f"learner {self.learner.learner!r} has no decoder; GROOVE and its ablations have."  # type: ignore[union-attr]
            )
        given = f"{self.learner.name}/{self.how}" if self.learner is not None else self.how
        object.__setattr__(self, "name", self.name or given)
        object.__setattr__(self, "options", dict(self.options))

    @classmethod
    def named(cls, name: str) -> Self:
        """Return the way of imputing of a name such as ``"groove/knn"`` or ``"other_labels"``."""
        learner, _, how = name.rpartition("/")
        return cls(how, LearnerSpec(learner) if learner else None)


@dataclass(frozen=True, eq=False)
class Part:
    """What learning needs of a modality, in a form that goes to other processes.

    Attributes
    ----------
    values
        (n, d), dense or sparse.
    cells, features
        Names, (n,) and (d,).
    labels
        (n,) strings, None where there is none.
    """

    values: Any
    cells: pd.Index
    features: pd.Index
    labels: npt.NDArray[Any]

    def take(self, rows: IntArray) -> Self:
        """Return some cells."""
        return replace(
            self, values=self.values[rows], cells=self.cells[rows], labels=self.labels[rows]
        )

    def as_anndata(self) -> AnnData:
        """Return values and labels as an AnnData."""
        obs = pd.DataFrame({LABEL: pd.Categorical(self.labels)}, index=self.cells)
        return anndata.AnnData(self.values, obs=obs, var=pd.DataFrame(index=self.features))


@dataclass(frozen=True, eq=False)
class Fold:
    """A screen in which some labels of the target are hidden.

    Attributes
    ----------
    parts
        All modalities; of the target the standardized features.
    source, target
        Names of modalities.
    names
        Vocabulary of the labels.
    codes_x, codes_all
        Label of each source cell and of each target cell, hidden ones included; -1 for none.
    x, y_all
        Standardized features of all source cells, (n_source, d), and target cells, (n_target, f).
    hidden
        Codes of the hidden labels, sorted.
    control
        Code of the control; None: effects are differences to the mean of the labels that are not hidden.
    number, seed
        Of the fold.
    """

    parts: Mapping[str, Part]
    source: str
    target: str
    names: list[str]
    codes_x: IntArray
    codes_all: IntArray
    x: FloatArray
    y_all: FloatArray
    hidden: IntArray
    control: int | None
    number: int
    seed: int

    @cached_property
    def seen(self) -> IntArray:
        """Rows of the target cells that methods may see."""
        return np.flatnonzero(~np.isin(self.codes_all, self.hidden))

    @property
    def y(self) -> FloatArray:
        """Features of the target cells that methods may see."""
        return self.y_all[self.seen]

    @property
    def codes_y(self) -> IntArray:
        """Their labels."""
        return self.codes_all[self.seen]

    @cached_property
    def known(self) -> IntArray:
        """Codes of the labels with cells in both modalities that methods may see."""
        return np.intersect1d(self.codes_x[self.codes_x >= 0], self.codes_y[self.codes_y >= 0])

    @cached_property
    def mdata(self) -> MuData:
        """What methods may see: values and labels of all modalities, hidden labels of the target left out."""
        seen = {
            m: part.take(self.seen) if m == self.target else part for m, part in self.parts.items()
        }
        return make_mudata({m: part.as_anndata() for m, part in seen.items()})

    def measured_effects(self) -> Float64Array:
        """Return the measured effects of the hidden labels, (hidden, f)."""
        return self.means(self.y_all, self.codes_all)[self.hidden] - self.reference

    def effects(self, values: FloatArray) -> Float64Array:
        """Return the effects of the hidden labels in values of all source cells, (hidden, f): differences to what was measured."""
        return self.means(values, self.codes_x)[self.hidden] - self.reference

    @cached_property
    def reference(self) -> Float64Array:
        """Mean of the measured control cells, or of the labels that are not hidden, (f,)."""
        means = self.means(self.y_all, self.codes_all)
        return np.asarray(
            means[self.known].mean(axis=0) if self.control is None else means[self.control]
        )

    def means(self, values: FloatArray, codes: IntArray) -> Float64Array:
        """Return the mean of each label, (labels, f); NaN where it has no cells."""
        sums, counts = label_sums(values, codes, len(self.names))
        found = np.full(sums.shape, np.nan)
        np.divide(sums, counts[:, None], out=found, where=counts[:, None] > 0)
        return found

    def known_effects(self, values: FloatArray, codes: IntArray) -> tuple[Float64Array, IntArray]:
        """Return the effects of the labels that are not hidden, the control left out, and their codes."""
        others = self.known[self.known != self.control] if self.control is not None else self.known
        return self.means(values, codes)[others] - self.reference, others

    def fit(self, spec: LearnerSpec) -> tuple[Any, FloatArray, FloatArray]:
        """Return a learner, and what it makes of the source cells and of the target cells that it may see; learned once."""
        if repr(spec) not in self._fitted:
            learner = spec.build().fit(self.mdata, LABEL, seed=self.seed)
            z = learner.transform(self.mdata)
            self._fitted[repr(spec)] = (learner, z[self.source], z[self.target])
        found: tuple[Any, FloatArray, FloatArray] = self._fitted[repr(spec)]
        return found

    @cached_property
    def _fitted(self) -> dict[str, Any]:
        return {}


Predict: TypeAlias = Callable[[ImputationSpec, Fold], Float64Array]


@dataclass(frozen=True)
class Imputation:
    """A way of imputing the effects of hidden labels, and whether it needs a shared space."""

    predict: Predict
    needs_space: bool


IMPUTATIONS: Final[Registry[Imputation]] = Registry("way of imputing")
"""Functions of a specification and a fold, that return the effects of the hidden labels, (hidden, f)."""


def _how(name: str, *, needs_space: bool) -> Callable[[Predict], Predict]:
    def add(predict: Predict) -> Predict:
        IMPUTATIONS.register(name)(Imputation(predict, needs_space))
        return predict

    return add


def predicted_effects(spec: ImputationSpec, fold: Fold) -> Float64Array:
    """Return the effects of the hidden labels of a fold, (hidden, f)."""
    return IMPUTATIONS.get(spec.how).predict(spec, fold)


def _learner(spec: ImputationSpec) -> LearnerSpec:
    assert spec.learner is not None  # checked where the specification is made
    return spec.learner


@_how("decoder", needs_space=True)
def _decoder(spec: ImputationSpec, fold: Fold) -> Float64Array:
    learner, _, _ = fold.fit(_learner(spec))
    return fold.effects(learner.translate(fold.mdata, fold.source, fold.target))


@_how("knn", needs_space=True)
def _knn(spec: ImputationSpec, fold: Fold) -> Float64Array:
    _, z_x, z_y = fold.fit(_learner(spec))
    return fold.effects(imputers.knn(z_x, z_y, fold.y, **spec.options).values)


@_how("entropic", needs_space=True)
def _entropic(spec: ImputationSpec, fold: Fold) -> Float64Array:
    _, z_x, z_y = fold.fit(_learner(spec))
    return fold.effects(entropic_map(z_x, z_y, fold.y, **spec.options)[0])


@_how("regression", needs_space=True)
def _regression(spec: ImputationSpec, fold: Fold) -> Float64Array:
    _, z_x, z_y = fold.fit(_learner(spec))
    labels = _labels(fold.codes_x), _labels(fold.codes_y)
    coupling = spec.aligner.build(fold.seed).align(z_x, z_y, *labels)
    return _fitted_to(spec, fold, coupling)


@_how("label_regression", needs_space=False)
def _label_regression(spec: ImputationSpec, fold: Fold) -> Float64Array:
    coupling = aligners.get("uniform")().align(
        np.zeros((len(fold.codes_x), 1)),
        np.zeros((len(fold.codes_y), 1)),
        _labels(fold.codes_x),
        _labels(fold.codes_y),
    )
    return _fitted_to(spec, fold, coupling)


def _fitted_to(spec: ImputationSpec, fold: Fold, coupling: Any) -> Float64Array:
    fitted = CouplingRegression(**spec.options)
    fitted.fit(fold.x, fold.y, coupling, codes=fold.codes_x, seed=fold.seed)
    return fold.effects(fitted.predict(fold.x).values)


@_how("label_ridge", needs_space=False)
def _label_ridge(spec: ImputationSpec, fold: Fold) -> Float64Array:
    fitted = imputers.LabelRidge().fit(fold.x, fold.y, fold.codes_x, fold.codes_y)
    return fold.effects(fitted.predict(fold.x).values)


@_how("control_mean", needs_space=False)
def _control_mean(spec: ImputationSpec, fold: Fold) -> Float64Array:
    return np.zeros((len(fold.hidden), fold.y_all.shape[1]))


@_how("other_labels", needs_space=False)
def _other_labels(spec: ImputationSpec, fold: Fold) -> Float64Array:
    effects, _ = fold.known_effects(fold.y, fold.codes_y)
    return np.tile(effects.mean(axis=0), (len(fold.hidden), 1))


@_how("shuffled", needs_space=False)
def _shuffled(spec: ImputationSpec, fold: Fold) -> Float64Array:
    effects, _ = fold.known_effects(fold.y, fold.codes_y)
    rng = np.random.default_rng([fold.seed, fold.number])
    return np.asarray(effects[rng.integers(len(effects), size=len(fold.hidden))])


def _labels(codes: IntArray) -> list[str | None]:
    """Return labels as aligners take them."""
    return [None if code < 0 else str(code) for code in codes]
