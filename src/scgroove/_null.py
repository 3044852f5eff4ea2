"""Tests of a run against chance, and the same analysis on permuted labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scgroove import _keys, metrics
from scgroove._report import Results, cell_agreement
from scgroove.data.checks import modality_of
from scgroove.errors import MissingTruthError
from scgroove.metrics.neighbors import neighbor_labels

if TYPE_CHECKING:
    from mudata import MuData

    from scgroove.metrics.permutation_tests import CorrelationTest, LabelTest

Array = np.ndarray[Any, Any]
Tests = dict[tuple[str, str], "LabelTest"]
Steps = Sequence[Callable[..., None]]

CELLS, FEATURES = 2000, 500
"""At most, of each modality, for what is repeated many times."""

COMPONENTS = 20
DRAWS = 20  # permutations of the labels for the closed-form learner

CLOSED_FORM = "cca_labels"
_UNPERMUTED = "label before permutation"


# -- tests of what the model made


def held_out_tests(results: Results) -> Tests:
    """Test cells kept out of training: training cells of the other modality name their label.

    Permuting the labels of the tested cells changes no vote, so that the test is exact. The same
    cell in the other modality was kept out too. Both directions are needed for
    :func:`scgroove.metrics.label_verdict`.
    """
    asked = results.settings
    kept = _kept_out(results)
    if kept is None:
        return {}
    metric: Any = "cosine" if results.model.similarity == "cosine" else "euclidean"
    z = {m: results.mdata.mod[m].obsm[_keys.LATENT] for m in kept}
    return _tests(z, shared_labels(results), kept, (asked.source, asked.target), metric=metric)


def _tests(
    z: Mapping[str, Array],
    labels: Mapping[str, Array],
    tested: Mapping[str, Array],
    sides: tuple[str, str],
    **options: Any,
) -> Tests:
    found = {}
    for source, target in (sides, sides[::-1]):
        rows = tested[source]
        voters = np.setdiff1d(np.arange(len(labels[target])), tested[target])
        x, y, voters_labels = z[source][rows], z[target][voters], labels[target][voters]
        votes = neighbor_labels(x, y, voters_labels, **options)
        test = _if_known(metrics.label_test, votes, labels[source][rows])
        if test is not None:
            found[source, target] = test
    return found


def _if_known(test: Callable[..., Any], *data: Any, **options: Any) -> Any:
    """Return the result of a test, or None where no cell has the truth that it needs."""
    try:
        return test(*data, **options)
    except MissingTruthError:
        return None


def _kept_out(results: Results) -> dict[str, Array] | None:
    """Rows of source and target that training kept out. None if there are none in one of them."""
    kept = getattr(results.model, "validation_indices", None) or {}
    sides = (results.settings.source, results.settings.target)
    rows = {m: np.sort(np.asarray(kept.get(m, ()), dtype=np.intp)) for m in sides}
    return rows if all(one.size for one in rows.values()) else None


def imputed_labels_test(results: Results) -> CorrelationTest | None:
    """Test the label means of imputed cells kept out of training.

    None where that is not possible, or where the coupling gives them by construction.
    """
    from scgroove import get

    kept = _kept_out(results)
    asked = results.settings
    if kept is None or results.by_construction:
        return None
    labels = shared_labels(results)
    imputed = get.imputed(results.mdata, asked.source, asked.target)
    measured = _measured(results)
    rows = {m: _some(one, asked.seed) for m, one in kept.items()}
    y = _dense(measured[rows[asked.target]])
    columns = _most_variable(y)
    x = imputed.iloc[rows[asked.source], columns].to_numpy(float)
    of_x, of_y = (labels[m][rows[m]] for m in (asked.source, asked.target))
    test: CorrelationTest | None = _if_known(
        metrics.label_mean_test, x, y[:, columns], of_x, of_y, seed=asked.seed
    )
    return test


def label_mean_baseline(results: Results) -> float | None:
    """Median r of measured label means of target cells of training and of those kept out.

    That is the correlation from the label alone, without any source cell.
    """
    kept = _kept_out(results)
    if kept is None:
        return None
    asked = results.settings
    measured = _measured(results)
    labels = shared_labels(results)[asked.target]
    held_out = _some(kept[asked.target], asked.seed)
    seen = _some(np.setdiff1d(np.arange(len(labels)), kept[asked.target]), asked.seed)
    y = _dense(measured[held_out])
    columns = _most_variable(y)
    x, y = _dense(measured[seen])[:, columns], y[:, columns]
    test = _if_known(
        metrics.label_mean_test, x, y, labels[seen], labels[held_out], n_permutations=2
    )
    return None if test is None else test.r


def _measured(results: Results) -> Any:
    """Return measured values, with means of labels where a batch did not measure a feature."""
    from scgroove import get
    from scgroove.data.measured import fill

    asked = results.settings
    measured = get.measured(results.mdata, asked.source, asked.target)
    return fill(measured, results.labels_of(asked.target))


def imputed_cells_test(results: Results) -> CorrelationTest | None:
    """Test whether cells of one label are told apart. None where no true values are known."""
    from scgroove import get

    if results.pairs is None:
        return None
    asked, (rows, columns) = results.settings, results.pairs
    imputed = get.imputed(results.mdata, asked.source, asked.target)
    measured = _measured(results)
    some = _some(np.arange(len(rows)), asked.seed)
    y = _dense(measured[columns[some]])
    kept = _most_variable(y)
    x = imputed.iloc[rows[some], kept].to_numpy(float)
    labels = results.labels_of(asked.target)[columns[some]]
    test: CorrelationTest | None = _if_known(
        metrics.partner_test, x, y[:, kept], labels, seed=asked.seed
    )
    return test


def shared_labels(results: Results) -> dict[str, Array]:
    """Label of each cell of source and target as text, None where it has none that both have."""
    sides = (results.settings.source, results.settings.target)
    labels = {m: results.labels_of(m) for m in sides}
    both = {la for la in labels[sides[0]] if la is not None} & set(labels[sides[1]])
    shared = {}
    for m, own in labels.items():
        shared[m] = np.array([label if label in both else None for label in own], dtype=object)
    return shared


def _some(rows: Array, seed: int, most: int = CELLS) -> Array:
    if len(rows) <= most:
        return rows
    return np.sort(np.random.default_rng(seed).choice(rows, most, replace=False))


def _most_variable(x: Array) -> Array:
    return np.sort(np.argsort(-x.var(axis=0), kind="stable")[:FEATURES])


def _dense(x: Any) -> Array:
    return np.asarray(x.toarray() if hasattr(x, "toarray") else x, dtype=float)


# -- a learner in closed form, on the labels as they are and permuted


@dataclass(frozen=True)
class ClosedForm:
    """Principal components of some cells of source and target, and their labels.

    Attributes
    ----------
    sides
        Source and target.
    z, labels
        Components (n_m, k), which do not depend on labels, and labels (n_m,), None where not
        shared.
    values
        Measured values of the target cells, (n_target, d), or None.
    pairs
        Rows of source and of target that are the same cell. They fall into the same half.
    """

    sides: tuple[str, str]
    z: Mapping[str, Array]
    labels: Mapping[str, Array]
    values: Array | None = None
    pairs: tuple[Array, Array] | None = None

    def permuted(self, rng: np.random.Generator, sides: Sequence[str] | None = None) -> ClosedForm:
        """Return the same with the labels of each modality, or of some, permuted on their own."""
        permuted = {m: permute(self.labels[m], rng) for m in sides or self.sides}
        return replace(self, labels={**self.labels, **permuted})

    def analyze(self, seed: int) -> tuple[Tests, float]:
        """Learn from half of the cells of each label, and test the others.

        Returns the test of each direction, and the median correlation over features of imputed
        (mean of the 15 nearest target cells of the first half) and measured label means, NaN if
        unknown.
        """
        from scgroove import learners

        half = {}
        for i, (m, own) in enumerate(self.labels.items()):
            half[m] = _half(own, np.random.default_rng([seed, i]))
        if self.pairs is not None:
            half[self.sides[1]][self.pairs[1]] = half[self.sides[0]][self.pairs[0]]
        tested = {m: np.flatnonzero(~rows) for m, rows in half.items()}
        learner = learners.get(CLOSED_FORM)()
        space = learner.fit(self._mudata(half)).transform(self._mudata())
        tests = _tests(space, self.labels, tested, self.sides)
        return tests, self._label_mean_r(space, half, tested)

    def _mudata(self, rows: Mapping[str, Array] | None = None) -> MuData:
        from anndata import AnnData
        from mudata import MuData

        parts = {}
        for m, z in self.z.items():
            names = np.array([f"{m} {i}" for i in range(len(z))], dtype=object)
            obs = pd.DataFrame({"label": self.labels[m]}, index=names, dtype=object)
            var = pd.DataFrame(index=[f"{m} component {j}" for j in range(z.shape[1])])
            adata = AnnData(np.asarray(z, dtype=np.float32), obs=obs, var=var)
            parts[m] = adata if rows is None else adata[rows[m]].copy()
        return MuData(parts)

    def _label_mean_r(
        self, space: Mapping[str, Array], half: Mapping[str, Array], tested: Mapping[str, Array]
    ) -> float:
        from sklearn.neighbors import KNeighborsRegressor

        if self.values is None:
            return float("nan")
        source, target = self.sides
        known = np.flatnonzero(half[target])
        nearest = KNeighborsRegressor(min(15, known.size))
        nearest.fit(space[target][known], self.values[known])
        imputed = nearest.predict(space[source][tested[source]])
        of = [self.labels[m][tested[m]] for m in self.sides]
        measured = self.values[tested[target]]
        test = _if_known(metrics.label_mean_test, imputed, measured, *of, n_permutations=2)
        return float("nan") if test is None else test.r


def _half(labels: Array, rng: np.random.Generator) -> Array:
    """Which cells are learned from: the larger half of those of each label."""
    codes = pd.factorize(labels)[0]
    shuffled = rng.permutation(len(labels))
    rank = np.empty(len(labels), dtype=np.intp)
    rank[shuffled] = pd.Series(codes[shuffled]).groupby(codes[shuffled]).cumcount()
    return np.asarray((rank % 2 == 0) & (codes >= 0))


def permute(labels: Array, rng: np.random.Generator) -> Array:
    """Return labels permuted among the cells that have one."""
    known = np.flatnonzero([la is not None for la in labels])
    out = labels.copy()
    out[known] = labels[rng.permutation(known)]
    return out


def closed_form(results: Results, *, measured: bool = True) -> ClosedForm | None:
    """Return the data of the closed-form learner, None if fewer than two labels are shared."""
    from anndata import AnnData
    from mudata import MuData

    from scgroove import learners

    asked = results.settings
    sides = (asked.source, asked.target)
    labels = shared_labels(results)
    if len(set(labels[asked.source]) - {None}) < 2:
        return None
    with_label = {m: np.flatnonzero(pd.notna(own)) for m, own in labels.items()}
    rows = {m: _some(own, asked.seed) for m, own in with_label.items()}
    parts = {}
    for m in sides:
        adata = modality_of(results.mdata, m)[rows[m]]
        x: Any = adata.layers[asked.layers[m]] if m in asked.layers else adata.X
        obs = pd.DataFrame({"label": labels[m][rows[m]]}, index=adata.obs_names)
        parts[m] = AnnData(x.copy(), obs=obs, var=pd.DataFrame(index=adata.var_names))
    learner = learners.get("pca")(n_components=COMPONENTS)
    z = learner.fit_transform(MuData(parts), seed=asked.seed)
    values = None
    if measured:
        values = _dense(_measured(results)[rows[asked.target]])
        values = values[:, _most_variable(values)]
    pairs = _pairs_among(results.pairs, [rows[m] for m in sides])
    return ClosedForm(sides, z, {m: labels[m][rows[m]] for m in sides}, values, pairs)


def _pairs_among(
    pairs: tuple[Array, Array] | None, rows: Sequence[Array]
) -> tuple[Array, Array] | None:
    """Return the known pairs among some (ascending) rows, as positions in these."""
    if pairs is None:
        return None
    known = np.isin(pairs[0], rows[0]) & np.isin(pairs[1], rows[1])
    return np.searchsorted(rows[0], pairs[0][known]), np.searchsorted(rows[1], pairs[1][known])


def against_closed_form(results: Results, n_draws: int = DRAWS) -> None:
    """Test with a closed-form learner, on the labels as they are and permuted."""
    prepared = closed_form(results)
    if prepared is None:
        return
    seed = results.settings.seed
    rng = np.random.default_rng([seed, DRAWS])
    results.tests[CLOSED_FORM], r = prepared.analyze(seed)
    drawn = [_named(*prepared.permuted(rng).analyze(seed)) for _ in range(n_draws)]
    results.null = _compared(CLOSED_FORM, _named(results.tests[CLOSED_FORM], r), drawn)


def _named(tests: Tests, r: float) -> dict[str, float]:
    found = {accuracy_name(*sides): one.accuracy for sides, one in tests.items()}
    return {**found, LABEL_MEAN_R: r}


LABEL_MEAN_R = "r of label means, held-out cells"


def accuracy_name(source: str, target: str) -> str:
    """How the label accuracy of a direction is called in the table of permuted labels."""
    return f"label accuracy {source} → {target}, held-out cells"


def _compared(
    learner: str, found: Mapping[str, float], drawn: Sequence[Mapping[str, float]]
) -> pd.DataFrame:
    """One row a score: its value, and mean, spread and range of the same on permuted labels."""
    null = pd.DataFrame(list(drawn), columns=list(found)).astype(float)
    table = pd.DataFrame(
        {
            "learner": learner,
            "score": list(found),
            "value": list(found.values()),
            "null_mean": null.mean().to_numpy(),
            "null_sd": null.std(ddof=1).to_numpy(),
            "null_min": null.min().to_numpy(),
            "null_max": null.max().to_numpy(),
            "n_null": null.notna().sum().to_numpy(),
        }
    )
    return table[table["value"].notna()]


# -- the whole analysis on permuted labels


def draw(results: Results, steps: Steps, progress: Any) -> dict[str, dict[str, float]]:
    """Do the analysis once more, on labels permuted in each modality.

    Returns ``"numbers"``, every score under its name, and ``"features"``, the agreement of each.
    """
    asked, i = results.settings, len(results.permuted)
    progress.step("null", f"Repeating on permuted labels, {i + 1} of {asked.null}")
    again = permuted(results, np.random.default_rng([asked.seed, i]))
    for step in steps:
        step(again, progress)
    _score_against_truth(results, again)
    return {"numbers": numbers(again), "features": again.agreement["r"].to_dict()}


def compare(results: Results) -> None:
    """Put the scores on permuted labels beside those of the run."""
    table = _compared("groove", numbers(results), [one["numbers"] for one in results.permuted])
    results.null = (
        table if results.null is None else pd.concat([table, results.null], ignore_index=True)
    )
    if results.scores is not None:
        beside = table.set_index("score")[["null_mean", "null_sd"]]
        results.scores = results.scores.join(beside, on="metric")
    features = pd.DataFrame([one["features"] for one in results.permuted])
    results.agreement = results.agreement.assign(null_r=features.mean())


def numbers(results: Results) -> dict[str, float]:
    """Every score of a run under its name."""
    tests = results.tests.get("groove", {})
    found = {accuracy_name(*sides): one.accuracy for sides, one in tests.items()}
    for row in results.accuracy.itertuples():
        name = f"label accuracy {row.source} → {row.target}, all cells"
        found[name] = float(row.balanced_accuracy)
    if results.mixing is not None:
        found["neighbors of the other modality"] = results.mixing
    if results.agreement_test is not None:
        found[LABEL_MEAN_R] = results.agreement_test.r
    if results.scores is None:
        found["r of label means, all cells"] = float(results.agreement["r"].median())
    else:
        found["r of cells"] = float(results.agreement["r"].median())
        found |= dict(zip(results.scores["metric"], results.scores["value"], strict=True))
    return found


def permuted(results: Results, rng: np.random.Generator) -> Results:
    """The same data without what was computed, with permuted labels and without known pairs."""
    from anndata import AnnData
    from mudata import MuData

    asked = results.settings
    parts = {}
    for m in asked.modalities:
        adata = modality_of(results.mdata, m)
        own = results.labels_of(m)
        obs: Any = adata.obs
        obs = obs.drop(columns=[_keys.PAIR], errors="ignore")
        index = [f"{m} {name}" for name in adata.obs_names]
        obs = obs.assign(**{_UNPERMUTED: pd.Series(own, index=obs.index, dtype=object)})
        obs[results.label_column(m)] = pd.Series(permute(own, rng), index=obs.index, dtype=object)
        layer = asked.layers.get(m)
        layers: dict[str, Any] = {} if layer is None else {layer: adata.layers[layer]}
        parts[m] = AnnData(adata.X, obs=obs.set_axis(index), var=adata.var, layers=layers)
    settings = replace(asked, pair_key=None, paired=False, null=0, unlabeled_category=None)
    return Results(MuData(parts), settings, results.data_name)


def _score_against_truth(results: Results, again: Results) -> None:
    """Score a run on permuted labels by the known pairs, among cells of one true label."""
    from scgroove import get, tl

    if results.pairs is None:
        return
    sides = (results.settings.source, results.settings.target)
    for m, rows in zip(sides, results.pairs, strict=True):
        ids = np.full(again.mdata.mod[m].n_obs, None, dtype=object)
        ids[rows] = [f"pair {i}" for i in range(len(rows))]
        again.mdata.mod[m].obs[_keys.PAIR] = ids
    imputed, measured = get.imputed(again.mdata, *sides), _measured(again)
    again.agreement = cell_agreement(imputed, measured, *results.pairs, results.labels_of(sides[1]))
    again.scores = tl.score_matching(
        again.mdata, *sides, label_key=_UNPERMUTED, pair_key=_keys.PAIR
    )
