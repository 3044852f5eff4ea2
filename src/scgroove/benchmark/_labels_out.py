"""Labels that were never measured in the target: hide them, impute, compare with the measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import pandas as pd
from scipy import stats

from scgroove import aligners, learners
from scgroove._files import make_mudata
from scgroove._labels import Label, UnlabeledCategory, encode, find_label, members
from scgroove._types import Float64Array, FloatArray, IntArray
from scgroove._warnings import warn
from scgroove.aligners import Coupling
from scgroove.benchmark._compare import half_width, holm, signed_rank
from scgroove.benchmark.spec import AlignerSpec, LearnerSpec
from scgroove.data.checks import modality_of
from scgroove.data.features import Features
from scgroove.data.screen import Screen, check_pair
from scgroove.errors import InputError, ResultsWarning, UnknownNameError, did_you_mean
from scgroove.imputers import IMPUTERS
from scgroove.metrics.effects import TOP_K, effect_correlations, effect_signs
from scgroove.metrics.values import label_sums

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData

DEFAULT_METHODS: Final = (
    *("groove/decoder", "groove/knn", "groove/entropic", "groove/regression"),
    *("cca_labels/knn", "ps_logistic_scaled/knn", "label_ridge", "label_regression"),
    *("control_mean", "other_labels", "shuffled"),
)

BASELINES: Final = ("control_mean", "other_labels", "shuffled")
"""Methods that know nothing of the source cells."""

LABEL: Final = "label"

N_HALVES: Final = 20
"""Random halves of the measured cells that reliability is the mean over."""

FEWEST_LABELS: Final = 4

METRICS: Final[Mapping[str, str]] = {
    **{"effect_pearson": "higher", "effect_sign_agreement": "higher", "relative_error": "lower"}
}
"""Scores of each label, and the direction that is better."""


def leave_labels_out(
    mdata: MuData,
    source: str,
    target: str,
    methods: Sequence[str | Mapping[str, Any]] = DEFAULT_METHODS,
    *,
    label_key: str | Mapping[str, str] = "label",
    control: Label | None = None,
    unlabeled_category: UnlabeledCategory = None,
    min_cells_per_label: int = 10,
    n_folds: int = 5,
    seeds: int = 1,
    n_jobs: int | None = None,
) -> pd.DataFrame:
    """Hide labels in the target, train, impute them for source cells, and compare effects.

    The use of imputation that matters most: perturbations that were measured in the source only.
    Every shared label but the control is hidden once a seed: its target cells are taken away
    before anything is learned. An effect is the mean of the label's cells minus that of the
    control cells, imputed for source cells against measured in target cells. Without a control,
    it is minus the mean of the labels that are not hidden.

    Parameters
    ----------
    mdata
        Modalities linked by labels. Left as it is.
    source, target
        Modality to impute for, and modality in which labels are hidden. Others take part in
        training.
    methods
        Names of ways to impute: ``"<learner>/<how>"`` with ``how`` an imputer of
        :data:`scgroove.imputers.IMPUTERS`, such as ``decoder`` or ``knn``. Without a
        learner ``label_ridge`` (ridge regression of label means on label means),
        ``label_regression`` (a network from source cells to the mean of their label), and the
        baselines ``control_mean`` (nothing has an effect), ``other_labels`` (the mean effect
        of the labels that are not hidden) and ``shuffled`` (the effect of a random other label).
        A mapping has options: ``{"how": "knn", "learner": "groove", "options": {...}, "name": ...,
        "aligner": ...}``, where learner and aligner are entries as in :class:`Spec`.
    label_key, unlabeled_category
        As for :class:`scgroove.model.GROOVE`.
    control
        The label that effects are differences to. Never hidden.
    min_cells_per_label
        Labels with fewer cells in either modality are not hidden.
    n_folds
        Parts of the labels. All labels of a part are hidden at once.
    seeds
        Number of repetitions with other folds and random states.
    n_jobs
        Processes, as for :class:`joblib.Parallel`.

    Returns
    -------
    DataFrame
        One row a seed, label and method: ``method``, ``seed``, ``fold``, ``label``, ``n_source``,
        ``n_target`` (cells). ``effect_pearson``, ``effect_sign_agreement`` (of the 20 features of
        the largest measured effects), ``relative_error`` (squared distance of the effects over
        the squared length of the measured one: 1 is the value of ``control_mean``).
        ``reliability``, the correlation of the measured effect with itself if measured again.
        ``error``, empty unless the method failed. Features of the target are standardized first
        (counts normalized and logged). Read it with :func:`summarize_labels`.

    Raises
    ------
    InputError
        If a modality, method or the control is unknown, or fewer than four labels can be hidden.

    Warns
    -----
    ResultsWarning
        If a method fails: its rows hold NaN and the error.

    References
    ----------
    Ahlmann-Eltze et al. 2025, Nature Methods, for why simple baselines belong beside every method.

    Examples
    --------
    >>> table = leave_labels_out(mdata, "rna", "protein", control="g00")  # doctest: +SKIP
    >>> summarize_labels(table, "effect_pearson")  # doctest: +SKIP
    """
    from joblib import Parallel, delayed

    chosen = [Method.read(entry) for entry in methods]
    names = [method.name for method in chosen]
    twice = sorted({name for name in names if names.count(name) > 1})
    if not names or twice:
        raise InputError(f"methods need different names, one at least; found {twice or 'none'}.")
    check_pair(mdata, source, target)
    screen = Screen.read(mdata, label_key, None, unlabeled_category)
    data = _Data.read(screen, source, target, control, min_cells_per_label)
    folds = [fold for seed in range(seeds) for fold in data.folds(n_folds, seed)]
    groups: dict[str, list[Method]] = {}  # methods that share a representation
    for method in chosen:
        groups.setdefault(repr(method.learner), []).append(method)
    tasks = [(fold, group) for fold in folds for group in groups.values()]
    done = Parallel(n_jobs=n_jobs)(delayed(_scored)(fold, group) for fold, group in tasks)
    table = pd.concat(list(done), ignore_index=True)
    table = table.merge(data.reliability(), on="label", how="left")
    failed = table[table["error"] != ""]
    if len(failed):
        first = failed.drop_duplicates("method")
        said = "; ".join(f"{row.method}: {row.error}" for row in first.itertuples())
        warn(
            f"{len(first)} method(s) failed for {len(failed)} of {len(table)} rows: {said}",
            ResultsWarning,
        )
    order = table["method"].map({name: i for i, name in enumerate(names)})
    table = table.assign(order=order).sort_values(["seed", "label", "order"], ignore_index=True)
    return table.drop(columns="order")


@dataclass(frozen=True)
class Method:
    """A way of imputing: its name, a learner if it needs a shared space, options."""

    how: str
    learner: LearnerSpec | None = None
    name: str = ""
    aligner: AlignerSpec = field(default_factory=lambda: AlignerSpec("eot"))
    options: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, entry: str | Mapping[str, Any]) -> Method:
        """Read a name such as ``"groove/knn"``, or a mapping."""
        if isinstance(entry, str):
            learner, _, how = entry.rpartition("/")
            return cls(how, LearnerSpec(learner) if learner else None)
        given = dict(entry)
        for key, kind in (("learner", LearnerSpec), ("aligner", AlignerSpec)):
            value = given.get(key)
            if isinstance(value, str | Mapping):
                given[key] = kind(value) if isinstance(value, str) else kind(**value)
        return cls(**given)

    def __post_init__(self) -> None:
        """Check that the parts exist and go together."""
        known = (*IMPUTERS.names(), "label_regression", *BASELINES)
        if self.how not in known:
            raise UnknownNameError("way of imputing", self.how, known)
        needs = self.how in IMPUTERS and IMPUTERS.get(self.how).needs != ("features",)
        learner = self.learner
        if needs and learner is None:
            raise InputError(
                f"{self.how!r} needs a learner that makes the shared space: 'groove/{self.how}', "
                "for instance."
            )
        object.__setattr__(self, "name", self.name or self.how)
        if learner is None:
            return
        if not needs:
            raise InputError(
                f"{self.how!r} needs no learner; found {learner.name!r}. Name it {self.how!r} "
                "alone."
            )
        if not learner.aligned:
            raise InputError(
                f"learner {learner.learner!r} makes no shared space, in which cells of both "
                "modalities could be compared."
            )
        if self.how == "decoder" and not hasattr(learners.get(learner.learner), "translate"):
            raise InputError(
                f"learner {learner.learner!r} has no decoder; GROOVE and its ablations have."
            )
        if self.name == self.how:
            object.__setattr__(self, "name", f"{learner.name}/{self.how}")


@dataclass(frozen=True, eq=False)
class _Data:
    """A screen of which labels can be hidden.

    Attributes
    ----------
    mods
        All modalities with their labels. Of the target the standardized features.
    names
        Vocabulary of the labels.
    codes_x, codes_y
        Label of each source and target cell, -1 for none.
    x, y
        Standardized features of source and target cells.
    control
        Code of the control. None: effects are differences to the mean of the known labels.
    candidates
        Codes of the labels that can be hidden.
    """

    mods: Mapping[str, AnnData]
    source: str
    target: str
    names: list[str]
    codes_x: IntArray
    codes_y: IntArray
    x: FloatArray
    y: FloatArray
    control: int | None
    candidates: IntArray

    @classmethod
    def read(
        cls, screen: Screen, source: str, target: str, control: Label | None, min_cells: int
    ) -> _Data:
        """Check and read a screen."""
        from anndata import AnnData

        names, codes = encode(*screen.labels.values())
        coded = dict(zip(screen.labels, codes, strict=True))
        sizes = [np.bincount(coded[m][coded[m] >= 0], minlength=len(names)) for m in coded]
        counts = np.minimum(*(dict(zip(coded, sizes, strict=True))[m] for m in (source, target)))
        own = None
        if control is not None:
            shared = [name for name, n in zip(names, counts, strict=True) if n]
            own = names.index(shared[find_label(control, shared)])
        candidates = np.flatnonzero((counts >= min_cells) & (np.arange(len(names)) != own))
        if candidates.size < FEWEST_LABELS:
            raise InputError(
                f"fewer than four labels can be hidden: {[names[c] for c in candidates]} have "
                f"min_cells_per_label={min_cells} cells or more in both {source!r} and {target!r}"
                f"{', the control aside' if own is not None else ''}. Lower min_cells_per_label, "
                "or use a screen with more shared labels."
            )
        given = {m: modality_of(screen.mdata, m) for m in screen.modalities}
        x, y = (Features.fit(given[m], m)(given[m]) for m in (source, target))
        mods = {}
        for m, adata in given.items():
            obs = pd.DataFrame({LABEL: pd.Categorical(screen.labels[m])}, index=adata.obs_names)
            var = pd.DataFrame(index=adata.var_names)
            mods[m] = AnnData(y if m == target else adata.X, obs=obs, var=var)
        sides = coded[source], coded[target], x, y
        return cls(mods, source, target, list(names), *sides, own, candidates)

    def folds(self, n_folds: int, seed: int) -> list[_Fold]:
        """Return the parts, in each of which some labels are hidden."""
        n = self.candidates.size
        if not 2 <= n_folds <= n:
            raise InputError(
                f"n_folds must be between 2 and the {n} labels that can be hidden; "
                f"found {n_folds!r}."
            )
        shuffled = np.random.default_rng(seed).permutation(self.candidates)
        parts = np.array_split(shuffled, n_folds)
        return [_Fold(self, np.sort(part), number, seed) for number, part in enumerate(parts)]

    def reliability(self) -> pd.DataFrame:
        """Return the correlation of each measured effect with itself if measured again."""
        rng, codes = np.random.default_rng(0), [*self.candidates]
        codes += [] if self.control is None else [self.control]
        cells = members(self.codes_y, len(self.names))
        found = np.zeros(self.candidates.size)
        for _ in range(N_HALVES):
            means = np.empty((2, len(codes), self.y.shape[1]))
            for i, code in enumerate(codes):
                for side, half in enumerate(np.array_split(rng.permutation(cells[code]), 2)):
                    means[side, i] = self.y[half].mean(axis=0, dtype=np.float64)
            one, other = means
            if self.control is None:
                effects = one - one.mean(axis=0), other - other.mean(axis=0)
            else:
                effects = one[:-1] - one[-1], other[:-1] - other[-1]
            found += np.nan_to_num(effect_correlations(*effects))
        mean = found / N_HALVES
        # Spearman and Brown: from half of the cells to all
        whole = np.clip(2 * mean / (1 + np.maximum(mean, -0.99)), 0.0, 1.0)
        names = [self.names[code] for code in self.candidates]
        return pd.DataFrame({"label": names, "reliability": whole})


@dataclass(frozen=True, eq=False)
class _Fold:
    """A screen in which some labels of the target are hidden, given by their sorted codes."""

    data: _Data
    hidden: IntArray
    number: int
    seed: int

    @cached_property
    def seen(self) -> IntArray:
        """Rows of the target cells that methods may see."""
        return np.flatnonzero(~np.isin(self.data.codes_y, self.hidden))

    @property
    def y(self) -> FloatArray:
        """Features of these cells."""
        return self.data.y[self.seen]

    @property
    def codes_y(self) -> IntArray:
        """Their labels."""
        return self.data.codes_y[self.seen]

    @cached_property
    def known(self) -> IntArray:
        """Codes of the labels with cells in both modalities that methods may see."""
        return np.intersect1d(self.data.codes_x[self.data.codes_x >= 0], self.codes_y)

    @cached_property
    def mdata(self) -> MuData:
        """Values and labels that methods may see."""
        target = self.data.target
        return make_mudata({**self.data.mods, target: self.data.mods[target][self.seen].copy()})

    @cached_property
    def reference(self) -> Float64Array:
        """Mean of the measured control cells, or of the labels that are not hidden, (f,)."""
        means, control = self.means(self.data.y, self.data.codes_y), self.data.control
        return np.asarray(means[self.known].mean(axis=0) if control is None else means[control])

    def means(self, values: FloatArray, codes: IntArray) -> Float64Array:
        """Return the mean of each label, (labels, f). NaN without cells."""
        sums, counts = label_sums(values, codes, len(self.data.names))
        with np.errstate(invalid="ignore"):
            return np.asarray(sums / counts[:, None], dtype=np.float64)

    def effects(self, values: FloatArray, codes: IntArray) -> Float64Array:
        """Return the effects of the hidden labels in values of cells, (hidden, f)."""
        return self.means(values, codes)[self.hidden] - self.reference

    def known_effects(self) -> Float64Array:
        """Return the measured effects of the labels that are not hidden, without the control."""
        others = self.known[self.known != self.data.control]
        return np.asarray(self.means(self.y, self.codes_y)[others] - self.reference)

    @cached_property
    def fits(self) -> dict[str, tuple[Any, FloatArray, FloatArray]]:
        """Learners by their specification, with representations of source and seen target."""
        return {}

    def fit(self, spec: LearnerSpec | None) -> tuple[Any, FloatArray, FloatArray]:
        """Return a learner and both representations, learned once."""
        key = repr(spec)
        if key not in self.fits and spec is not None:
            learner = spec.build().fit(self.mdata, LABEL, seed=self.seed)
            z = learner.transform(self.mdata)
            self.fits[key] = learner, z[self.data.source], z[self.data.target]
        return self.fits[key]


def _scored(fold: _Fold, methods: Sequence[Method]) -> pd.DataFrame:
    """Return the scores of some methods for the hidden labels of a fold."""
    fold, data = replace(fold), fold.data  # representations are kept as long as this task takes
    measured = fold.effects(data.y, data.codes_y)
    length = np.square(measured).sum(axis=1)
    n = len(data.names)
    sizes = [np.bincount(codes[codes >= 0], minlength=n) for codes in (data.codes_x, data.codes_y)]
    columns = {
        **{"seed": fold.seed, "fold": fold.number},
        "label": [data.names[code] for code in fold.hidden],
        **{"n_source": sizes[0][fold.hidden], "n_target": sizes[1][fold.hidden]},
    }
    rows = []
    for method in methods:
        error, scores = "", dict.fromkeys(METRICS, np.full(len(fold.hidden), np.nan))
        try:
            predicted = _predicted(method, fold)
            distance = np.square(predicted - measured).sum(axis=1)
            scores = {
                "effect_pearson": effect_correlations(predicted, measured),
                "effect_sign_agreement": effect_signs(predicted, measured, TOP_K),
                "relative_error": distance / np.where(length > 0, length, np.nan),
            }
        except Exception as failure:  # errors of methods of others are not known
            error = f"{type(failure).__name__}: {failure}"
        rows.append(pd.DataFrame({"method": method.name, **columns, **scores, "error": error}))
    return pd.concat(rows, ignore_index=True)


# -- ways of imputing ------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Inputs:
    """A fold as imputers see it."""

    fold: _Fold
    method: Method

    @property
    def seed(self) -> int:
        """Random state."""
        return self.fold.seed

    def target(self) -> FloatArray:
        """Standardized values of the target cells that may be seen."""
        return self.fold.y

    def codes(self) -> tuple[IntArray, IntArray]:
        """Labels of source cells and of these target cells."""
        return self.fold.data.codes_x, self.fold.codes_y

    def features(self) -> FloatArray:
        """Standardized features of the source."""
        return self.fold.data.x

    def space(self) -> tuple[FloatArray, FloatArray]:
        """Representations by the learner. Nothing without one."""
        if self.method.learner is None:
            return np.zeros((len(self.fold.data.x), 1)), np.zeros((len(self.fold.y), 1))
        return self.fold.fit(self.method.learner)[1:]

    def coupling(self) -> Coupling:
        """Coupling within labels. Uniform without a learner."""
        uniform = self.method.learner is None
        aligner = aligners.get("uniform")() if uniform else self.method.aligner.build(self.seed)
        names = np.array([*map(str, range(len(self.fold.data.names))), None], dtype=object)
        codes_x, codes_y = self.codes()  # -1, the last name, is no label
        coupling: Coupling = aligner.align(*self.space(), names[codes_x], names[codes_y])
        return coupling

    def predictions(self) -> list[FloatArray]:
        """Values that the decoder of the learner expects."""
        learner, _, _ = self.fold.fit(self.method.learner)
        return [learner.translate(self.fold.mdata, self.fold.data.source, self.fold.data.target)]


def _predicted(method: Method, fold: _Fold) -> Float64Array:
    """Return the effects of the hidden labels, (hidden, f)."""
    known, n = fold.known_effects(), len(fold.hidden)
    if method.how == "control_mean":
        return np.zeros((n, known.shape[1]))
    if method.how == "other_labels":
        return np.tile(known.mean(axis=0), (n, 1))
    if method.how == "shuffled":
        rng = np.random.default_rng([fold.seed, fold.number])
        return np.asarray(known[rng.integers(len(known), size=n)])
    how = "regression" if method.how == "label_regression" else method.how
    found = IMPUTERS.get(how).compute(_Inputs(fold, method), **method.options)
    return fold.effects(found.values, fold.data.codes_x)


# -- summary ---------------------------------------------------------------------------------------


def summarize_labels(
    table: pd.DataFrame,
    metric: str = "effect_pearson",
    *,
    reference: str | None = None,
    interval: Literal["t", "bootstrap"] = "bootstrap",
    level: float = 0.95,
    n_boot: int = 10_000,
    seed: int = 0,
) -> pd.DataFrame:
    """Return the mean of each method over labels, and its difference from a reference.

    Values of the same label are averaged over seeds first. Intervals are over labels: they say
    what other labels of the same kind would give.

    Parameters
    ----------
    table
        The table of :func:`leave_labels_out`. Several put together need a column ``screen``.
    metric
        ``"effect_pearson"``, ``"effect_sign_agreement"`` or ``"relative_error"``.
    reference
        Method that the others are compared with. Default the best of the baselines.
    interval, level
        Student's, or quantiles of bootstrap samples of the labels, and the confidence.
    n_boot, seed
        Of the bootstrap.

    Returns
    -------
    DataFrame
        Best first: ``method``, ``mean``, ``low``, ``high``, ``n_labels``. ``difference`` from the
        reference, positive if the method is better, ``difference_low``, ``difference_high``.
        ``p`` of Wilcoxon's signed-rank test over labels, ``p_holm`` corrected for the number of
        methods. ``verdict``: ``"better"`` or ``"worse"`` if the interval of the difference leaves
        out 0 and ``p_holm`` is below one minus the level, ``"unclear"`` if the two disagree,
        else ``"no difference shown"``. ``reference``. Labels that a method lacks, because it
        failed, are left out for all.

    Raises
    ------
    InputError
        If the table, metric or reference is not as described, or no label has all methods.
    """
    lacking = [name for name in ("method", "label", "seed", *METRICS) if name not in table]
    if lacking:
        raise InputError(
            f"expected the table of leave_labels_out; found one without the columns {lacking}."
        )
    if metric not in METRICS:
        raise UnknownNameError("metric", metric, METRICS)
    unit = [name for name in ("screen", "label") if name in table]
    by_label = table.groupby([*unit, "method"], observed=True)[metric]
    means = by_label.agg(lambda v: v.mean(skipna=False)).reset_index()
    wide = means.pivot_table(metric, unit, "method", observed=True, dropna=False).dropna()
    if wide.empty:
        raise InputError(
            f"no label has a value of {metric!r} for every method. Look at the column error; leave "
            "out methods that failed: table[table.method != '...']."
        )
    sign = 1 if METRICS[metric] == "higher" else -1
    quality = sign * wide.mean()
    chosen = _reference(quality, reference)
    wide = wide[quality.sort_values(ascending=False, kind="stable").index]
    difference = sign * wide.sub(wide[chosen], axis=0)
    difference[chosen] = np.nan

    def ends(frame: pd.DataFrame) -> tuple[Any, Any]:
        n, values = len(frame), frame.to_numpy()
        if interval == "t" or n < 2:
            half = half_width(frame.std(), pd.Series(n, frame.columns), level)
            return values.mean(axis=0) - half, values.mean(axis=0) + half
        drawn = stats.bootstrap(
            (values,), np.mean, n_resamples=n_boot, confidence_level=level, method="percentile",
            random_state=np.random.default_rng(seed), paired=False, vectorized=True, axis=0,
        )  # fmt: skip
        return drawn.confidence_interval.low, drawn.confidence_interval.high

    found = pd.DataFrame({"method": wide.columns, "mean": wide.mean().to_numpy()})
    found["low"], found["high"] = ends(wide)
    found["n_labels"] = len(wide)
    found["difference"] = difference.mean().to_numpy()
    found["difference_low"], found["difference_high"] = ends(difference)
    found["p"] = [signed_rank(difference[name].dropna())[0] for name in wide]
    found["p_holm"] = holm(found["p"])
    apart = (found["difference_low"] > 0) | (found["difference_high"] < 0)
    tested = found["p_holm"] < 1 - level
    side = np.where(found["difference"] > 0, "better", "worse")
    unclear = np.where(apart | tested, "unclear", "no difference shown")
    verdict = np.where(apart & tested, side, unclear)
    found["verdict"] = np.where(found["method"] == chosen, "reference", verdict)
    return found.assign(reference=chosen)


def _reference(quality: pd.Series, reference: str | None) -> str:
    """Return the method to compare with: as named, or the best baseline."""
    names = list(quality.index)
    if reference is not None:
        if reference not in names:
            hint = did_you_mean(reference, names)
            message = f"reference={reference!r}: no such method; there are {names}.{hint}"
            raise UnknownNameError("method", reference, names, message)
        return reference
    present = [name for name in BASELINES if name in names]
    if not present:
        raise InputError(
            f"no baseline ({', '.join(BASELINES)}) among the methods {names}: name the method that "
            "others are compared with, reference='...'."
        )
    return str(quality[present].idxmax())
