"""Labels that were never measured in the target: hide them, impute, and compare with what was measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from scgroove._labels import Label, UnlabeledCategory, find_label, members
from scgroove._types import Float64Array, FloatArray, IntArray
from scgroove._warnings import warn
from scgroove.benchmark._labels_out_methods import (
    DEFAULT_METHODS,
    Fold,
    ImputationSpec,
    Part,
    predicted_effects,
)
from scgroove.data.features import Features
from scgroove.data.screen import Screen
from scgroove.errors import InputError, ResultsWarning, did_you_mean
from scgroove.metrics.effects import TOP_K, effect_correlations, effect_signs

if TYPE_CHECKING:
    from mudata import MuData

N_HALVES: Final = 20
"""Random halves of the measured cells that reliability is the mean over."""

LABELS_OUT_METRICS: Final[Mapping[str, str]] = {
    "effect_pearson": "higher",
    "effect_sign_agreement": "higher",
    "relative_error": "lower",
}
"""What is scored for each label, and which way is better."""


def leave_labels_out(
    mdata: MuData,
    source: str,
    target: str,
    methods: Sequence[str | ImputationSpec] = DEFAULT_METHODS,
    *,
    label_key: str | Mapping[str, str] = "label",
    control: Label | None = None,
    unlabeled_category: UnlabeledCategory = None,
    min_cells_per_label: int = 10,
    n_folds: int = 5,
    seeds: int = 1,
    n_jobs: int | None = None,
) -> pd.DataFrame:
    """Hide labels in the target, train, impute them for source cells, and compare with what was measured.

    The use of imputation that matters most: perturbations that were measured in the source only. Every shared label but the
    control is hidden once a seed: its target cells are taken away before anything is learned. What is compared are effects: the
    mean of the label's cells minus that of the control cells, imputed for source cells against measured in target cells; without
    a control, minus the mean of the labels that are not hidden.

    Parameters
    ----------
    mdata
        Modalities linked by labels; left as it is.
    source, target
        The cells imputed for, and the modality in which labels are hidden. Other modalities take part in training.
    methods
        Ways of imputing, by name or as :class:`ImputationSpec`: ``"<learner>/<how>"`` with a learner of
        :mod:`scgroove.learners` and how one of ``decoder``, ``knn``, ``entropic``, ``regression``; and without a learner
        ``label_ridge`` (ridge regression of label means on label means), ``label_regression`` (a network from source cells to
        the mean of their label), and the baselines ``control_mean`` (nothing has an effect), ``other_labels`` (the mean
        effect of the labels that are not hidden) and ``shuffled`` (the effect of another label, drawn at random).
    label_key, unlabeled_category
        As for :class:`scgroove.model.GROOVE`.
    control
        The label that effects are differences to; never hidden.
    min_cells_per_label
        Labels with fewer cells in either modality are not hidden: their measured effect says too little.
    n_folds
        Parts that the labels are cut into; all labels of a part are hidden at once. The number of labels: one at a time.
    seeds
        How often all is done, with other folds and random states.
    n_jobs
        Processes, as for :class:`joblib.Parallel`.

    Returns
    -------
    DataFrame
        One row a seed, label and method: ``method``, ``seed``, ``fold``, ``label``, ``n_source``, ``n_target`` (cells);
        ``effect_pearson``, ``effect_sign_agreement`` (of the 20 features of the largest measured effects), ``relative_error``
        (squared distance of the effects over the squared length of the measured one: 1 is what ``control_mean`` has);
        ``reliability``, how well the measured effect correlates with itself if measured again; ``error``, empty unless the
        method failed. Features of the target are standardized first (counts normalized and logged), so that effects are in
        standard deviations. Read it with :func:`summarize_labels`.

    Raises
    ------
    ValueError
        If a modality, method or the control is unknown, or fewer than four labels could be hidden or learned from.

    Warns
    -----
    ResultsWarning
        If a method fails: its rows hold NaN and the error.

    References
    ----------
    User guide, "Imputation"; Ahlmann-Eltze et al. 2025, Nature Methods, for why simple baselines belong beside every method.

    Examples
    --------
    >>> table = leave_labels_out(mdata, "rna", "protein", control="g00")  # doctest: +SKIP
    >>> summarize_labels(table, "effect_pearson")  # doctest: +SKIP
    """
    from joblib import Parallel, delayed

    specs = [ImputationSpec.named(one) if isinstance(one, str) else one for one in methods]
    _check_specs(specs)
    data = _Screened.read(
        mdata, source, target, label_key, control, unlabeled_category, min_cells_per_label
    )
    folds = [fold for seed in range(seeds) for fold in data.folds(n_folds, seed)]
    tasks = [(fold, group) for fold in folds for group in _by_learner(specs)]
    done = Parallel(n_jobs=n_jobs)(delayed(_task)(fold, group) for fold, group in tasks)
    table = pd.concat(list(done), ignore_index=True)
    table = table.merge(data.reliability(), on="label", how="left")
    _warn_failed(table)
    order = {spec.name: i for i, spec in enumerate(specs)}
    by = pd.DataFrame(
        {"seed": table["seed"], "label": table["label"], "method": table["method"].map(order)}
    )
    return table.loc[by.sort_values(["seed", "label", "method"]).index].reset_index(drop=True)


def _check_specs(specs: Sequence[ImputationSpec]) -> None:
    names = [spec.name for spec in specs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if not names or twice:
        raise InputError(f"methods need different names, one at least; found {twice or 'none'}.")


def _by_learner(specs: Sequence[ImputationSpec]) -> list[list[ImputationSpec]]:
    """Return methods in groups that share a representation, so that it is learned once a fold."""
    groups: dict[str, list[ImputationSpec]] = {}
    for spec in specs:
        groups.setdefault(repr(spec.learner), []).append(spec)
    return list(groups.values())


def _task(fold: Fold, specs: Sequence[ImputationSpec]) -> pd.DataFrame:
    """Return the scores of some methods for the hidden labels of a fold."""
    fold = replace(fold)  # what is learned is kept as long as this task takes
    measured = fold.measured_effects()
    rows = []
    for spec in specs:
        error, scores = "", dict.fromkeys(LABELS_OUT_METRICS, np.full(len(fold.hidden), np.nan))
        try:
            scores = _scores(predicted_effects(spec, fold), measured)
        except Exception as failure:  # what a method of others may raise is not known
            error = f"{type(failure).__name__}: {failure}"
        rows.append(
            pd.DataFrame(
                {
                    "method": spec.name,
                    "seed": fold.seed,
                    "fold": fold.number,
                    "label": [fold.names[code] for code in fold.hidden],
                    "n_source": [int((fold.codes_x == code).sum()) for code in fold.hidden],
                    "n_target": [int((fold.codes_all == code).sum()) for code in fold.hidden],
                    **scores,
                    "error": error,
                }
            )
        )
    return pd.concat(rows, ignore_index=True)


def _scores(predicted: Float64Array, measured: Float64Array) -> dict[str, Float64Array]:
    length = np.square(measured).sum(axis=1)
    error = np.square(predicted - measured).sum(axis=1)
    return {
        "effect_pearson": effect_correlations(predicted, measured),
        "effect_sign_agreement": effect_signs(predicted, measured, TOP_K),
        "relative_error": np.divide(
            error, length, out=np.full(len(length), np.nan), where=length > 0
        ),
    }


@dataclass(frozen=True, eq=False)
class _Screened:
    """A screen of which labels can be hidden."""

    parts: Mapping[str, Part]
    source: str
    target: str
    names: list[str]
    codes: Mapping[str, IntArray]
    control: int | None
    candidates: IntArray
    x: FloatArray
    y: FloatArray

    @classmethod
    def read(
        cls,
        mdata: MuData,
        source: str,
        target: str,
        label_key: str | Mapping[str, str],
        control: Label | None,
        unlabeled_category: UnlabeledCategory,
        min_cells: int,
    ) -> _Screened:
        """Check and read a MuData."""
        screen = Screen.read(mdata, label_key, None, unlabeled_category)
        for role, m in (("source", source), ("target", target)):
            if m not in screen.modalities:
                hint = did_you_mean(m, screen.modalities)
                raise InputError(
                    f"{role}={m!r}: mdata has no such modality, only {list(screen.modalities)}.{hint}"
                )
        if source == target:
            raise InputError(
                f"source and target are both {source!r}; labels are imputed from one modality to another."
            )
        names = sorted(
            {str(one) for m in screen.modalities for one in screen.labels[m] if one is not None}
        )
        place = {name: i for i, name in enumerate(names)}
        codes = {
            m: np.array(
                [-1 if one is None else place[one] for one in screen.labels[m]], dtype=np.intp
            )
            for m in screen.modalities
        }
        counts = np.minimum(
            *(np.bincount(codes[m][codes[m] >= 0], minlength=len(names)) for m in (source, target))
        )
        own = _control_code(control, names, counts)
        candidates = np.flatnonzero(counts >= min_cells)
        candidates = candidates[candidates != own] if own is not None else candidates
        if candidates.size < 4:
            raise InputError(
                f"fewer than four labels can be hidden: {[names[c] for c in candidates]} have min_cells_per_label={min_cells} "
                f"cells or more in both {source!r} and {target!r}{', the control aside' if own is not None else ''}. Lower "
                f"min_cells_per_label, or use a screen with more shared labels."
            )
        standard = {m: Features.fit(mdata.mod[m], m)(mdata.mod[m]) for m in (source, target)}
        parts = {}
        for m in screen.modalities:
            adata = mdata.mod[m]
            values = standard[target] if m == target else adata.X
            parts[m] = Part(values, adata.obs_names, adata.var_names, screen.labels[m])
        return cls(
            parts, source, target, names, codes, own, candidates, standard[source], standard[target]
        )

    def folds(self, n_folds: int, seed: int) -> Iterator[Fold]:
        """Yield the parts, in each of which some labels are hidden."""
        n = self.candidates.size
        if not 2 <= n_folds <= n:
            raise InputError(
                f"n_folds must be between 2 and the {n} labels that can be hidden; found {n_folds!r}."
            )
        shuffled = np.random.default_rng(seed).permutation(self.candidates)
        for number, hidden in enumerate(np.array_split(shuffled, n_folds)):
            yield Fold(
                parts=self.parts,
                source=self.source,
                target=self.target,
                names=self.names,
                codes_x=self.codes[self.source],
                codes_all=self.codes[self.target],
                x=self.x,
                y_all=self.y,
                hidden=np.sort(hidden),
                control=self.control,
                number=number,
                seed=seed,
            )

    def reliability(self) -> pd.DataFrame:
        """Return the correlation of the measured effect with itself if measured again with as many cells, of each label."""
        codes, rng = self.codes[self.target], np.random.default_rng(0)
        cells = members(codes, len(self.names))
        found = np.zeros(self.candidates.size)
        for _ in range(N_HALVES):
            found += np.nan_to_num(effect_correlations(*self._half_means(cells, rng)))
        mean = found / N_HALVES
        # Spearman and Brown: from half of the cells to all
        whole = np.clip(2 * mean / (1 + np.maximum(mean, -0.99)), 0.0, 1.0)
        return pd.DataFrame(
            {"label": [self.names[c] for c in self.candidates], "reliability": whole}
        )

    def _half_means(
        self, cells: Sequence[IntArray], rng: np.random.Generator
    ) -> tuple[Float64Array, Float64Array]:
        """Return effects of the labels from two random halves of the cells of each."""
        wanted = [*self.candidates, *([] if self.control is None else [self.control])]
        means: list[list[Float64Array]] = [[], []]
        for code in wanted:
            shuffled = rng.permutation(cells[code])
            for side, half in enumerate(np.array_split(shuffled, 2)):
                means[side].append(np.asarray(self.y[half].mean(axis=0, dtype=np.float64)))
        pair = [np.array(one) for one in means]
        if self.control is None:
            return pair[0] - pair[0].mean(axis=0), pair[1] - pair[1].mean(axis=0)
        return pair[0][:-1] - pair[0][-1], pair[1][:-1] - pair[1][-1]


def _control_code(control: Label | None, names: Sequence[str], counts: IntArray) -> int | None:
    if control is None:
        return None
    shared = [name for name, n in zip(names, counts, strict=True) if n]
    return names.index(shared[find_label(control, shared)])


def _warn_failed(table: pd.DataFrame) -> None:
    failed = table[table["error"] != ""]
    if len(failed):
        first = failed.drop_duplicates("method")
        said = "; ".join(f"{row.method}: {row.error}" for row in first.itertuples())
        warn(
            f"{len(first)} method(s) failed for {len(failed)} of {len(table)} rows: {said}",
            ResultsWarning,
        )
