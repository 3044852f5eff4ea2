"""Choosing an aligner without true pairs, and a study of how far such a choice can be trusted."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from scgroove._registry import UnknownNameError
from scgroove._types import BoolArray, Float64Array, Labels
from scgroove._warnings import warn
from scgroove.aligners import Coupling
from scgroove.benchmark._results import ResultsWarning
from scgroove.benchmark._spec import AlignerSpec, DataSpec, LearnerSpec, digest
from scgroove.benchmark._table import unknown
from scgroove.benchmark._truth_free import TRUTH_FREE, Trial, score_all, shared_codes

if TYPE_CHECKING:
    import pandas as pd

CANDIDATES: Final = ("emd", "eot", "egw", "coot", "snn")
"""Aligners that are tried where none are named."""

DEFAULT_SCORE: Final = "agreement"
"""Orders aligners as the truth does best of all scores, by where they move cells: see the user guide, "Benchmark"."""

SAFE_SCORE: Final = "predictability"
"""For two aligners, which agree with one another equally well, and beside floors, whose agreement with others means nothing."""

FLOORS: Final = ("random", "uniform")

N_BOOT: Final = 1000

TRUTHS: Final = (
    "barycentric_foscttm_within_label",
    "coupling_foscttm_within_label",
    "trace_within_label",
    "latent_error",
)
"""What the study holds the scores against."""


@dataclass(frozen=True, eq=False)
class Selection:
    """What was chosen, and how sure that is.

    Attributes
    ----------
    best
        Name of the aligner with the highest score.
    score
        Name of the score it was chosen by.
    confidence
        Share of bootstrap samples of the labels in which it has the highest score too. It says how sure the order of the
        scores is, not that the score is right.
    runner_up
        The aligner that is first most often in the other samples; empty if there is none.
    table
        One row an aligner, best first: every score (mean over labels; that of the choice over those scored for every aligner), ``rank``, ``first`` (share of bootstrap samples in
        which it is first), ``seconds``, ``converged``.
    couplings
        What the aligners made.
    n_labels
        Labels that the scores are means over: with few, the confidence is worth little.
    """

    best: str
    score: str
    confidence: float
    runner_up: str
    table: pd.DataFrame
    couplings: Mapping[str, Coupling]
    n_labels: int

    def __repr__(self) -> str:
        """Return the choice in one line."""
        return (
            f"Selection({self.best!r} by {self.score}, confidence {self.confidence:.2f} over {self.n_labels} labels, "
            f"runner-up {self.runner_up!r})"
        )


def select(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    labels_x: Labels,
    labels_y: Labels,
    candidates: str | AlignerSpec | Sequence[AlignerSpec | str] = CANDIDATES,
    *,
    score: str | None = None,
    n_boot: int = N_BOOT,
    seed: int = 0,
) -> Selection:
    """Couple with every candidate, score each without true pairs, and return the best.

    Parameters
    ----------
    x, y
        Representations of source and target, (n_source, d) and (n_target, e).
    labels_x, labels_y
        Label of each cell; None and NaN mean unlabelled.
    candidates
        Names of aligners, or :class:`AlignerSpec` with options.
    score
        The truth-free score to choose by, one of ``TRUTH_FREE.names()``. Default ``"agreement"``, by which what cells are moved
        to is best; between two candidates, or with ``"random"`` or ``"uniform"`` among them, ``"predictability"``, which is also
        the better one where single partners are wanted.
    n_boot
        Bootstrap samples of the labels.
    seed
        Random state.

    Returns
    -------
    Selection
        The choice, its confidence, all scores and all couplings.

    Raises
    ------
    ValueError
        If a name is unknown, fewer than two candidates are given or could be run, no label is shared, or no label could be scored
        for all of them.

    Warns
    -----
    ResultsWarning
        If a candidate fails: it is left out.

    References
    ----------
    User guide, "Benchmark".
    """
    if score is not None:
        TRUTH_FREE.get(score)
    candidates = [candidates] if isinstance(candidates, str | AlignerSpec) else candidates
    specs = [AlignerSpec.named(one) if isinstance(one, str) else one for one in candidates]
    if len({spec.name for spec in specs}) < 2:
        raise ValueError(
            f"a choice needs two candidates or more, of different names; found {[spec.name for spec in specs]}."
        )
    trials = _trials(x, y, labels_x, labels_y, specs, seed, leave_out=True)
    if score is None:
        floors = any(spec.method in FLOORS for spec in specs)
        score = DEFAULT_SCORE if len(trials) > 2 and not floors else SAFE_SCORE
    per_label = score_all(trials)
    values = np.array([per_label[name][score] for name in trials])
    usable = _usable(values, score)
    first = _bootstrap_first(values[:, usable], n_boot, seed)
    table = _table(trials, per_label, score, first, values[:, usable].mean(axis=1))
    best, others = str(table.index[0]), table["first"].iloc[1:]
    return Selection(
        best=best,
        score=score,
        confidence=float(table["first"].iloc[0]),
        runner_up=str(others.idxmax()) if others.max() > 0 else "",
        table=table,
        couplings={name: trial.coupling for name, trial in trials.items()},
        n_labels=int(usable.sum()),
    )


def _trials(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    labels_x: Labels,
    labels_y: Labels,
    specs: Sequence[AlignerSpec],
    seed: int,
    leave_out: bool = False,
) -> dict[str, Trial]:
    """Couple with every aligner, and put together what its scores need; with ``leave_out``, one that fails is left out."""
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    codes_x, codes_y, n_labels = shared_codes(labels_x, labels_y)
    couplings, failed = {}, {}
    for spec in specs:
        labels = (labels_x, labels_y) if spec.labelled else (None, None)
        try:
            couplings[spec.name] = spec.build(seed).align(x, y, *labels)
        except (ValueError, MemoryError, ArithmeticError) as error:
            if not leave_out:
                raise
            failed[spec.name] = error
    if failed:
        _warn_failed(failed, len(couplings))
    projected = {name: coupling.push(y) for name, coupling in couplings.items()}
    return {
        spec.name: Trial(
            x=x,
            y=y,
            codes_x=codes_x,
            codes_y=codes_y,
            n_labels=n_labels,
            coupling=couplings[spec.name],
            projected=projected[spec.name],
            others=[z for name, z in projected.items() if name != spec.name],
            realign=lambda a, b, spec=spec: spec.build(seed).align(x, y, a, b),  # type: ignore[misc]
            labelled=spec.labelled,
            seed=seed,
        )
        for spec in specs
        if spec.name in couplings
    }


def _warn_failed(failed: Mapping[str, Exception], n_left: int) -> None:
    said = "; ".join(f"{name}: {type(error).__name__}: {error}" for name, error in failed.items())
    if n_left < 2:
        raise ValueError(f"fewer than two candidates could be run. {said}") from next(iter(failed.values()))
    warn(f"left out of the choice, because they failed: {said}", ResultsWarning)


def _usable(values: Float64Array, score: str) -> BoolArray:
    """Return the labels that could be scored for every candidate (rows), so that all are compared on the same."""
    usable: BoolArray = np.asarray(~np.isnan(values).any(axis=0))
    if not usable.any():
        raise ValueError(
            f"no label could be scored by {score!r} for every candidate: a label needs at least 4 cells on both sides, some of which "
            f"the coupling reaches, and 'heldout_label_mass' a second label. Use labels with more cells, fewer candidates, or "
            f"another score=."
        )
    return usable


def _bootstrap_first(values: Float64Array, n_boot: int, seed: int) -> Float64Array:
    """Return how often each aligner (row) has the highest mean over resampled labels (columns); ties are shared."""
    draws = np.random.default_rng(seed).integers(values.shape[1], size=(n_boot, values.shape[1]))
    means = values[:, draws].mean(axis=2)  # (n_aligners, n_boot)
    winners = means == means.max(axis=0)
    return np.asarray((winners / winners.sum(axis=0)).mean(axis=1))


def _table(
    trials: Mapping[str, Trial],
    per_label: Mapping[str, Mapping[str, Float64Array]],
    score: str,
    first: Float64Array,
    chosen_by: Float64Array,
) -> pd.DataFrame:
    import pandas as pd

    rows = {}
    for name, share, mean in zip(trials, first, chosen_by, strict=True):
        evidence = trials[name].coupling.evidence
        means = {**{key: _mean(value) for key, value in per_label[name].items()}, score: float(mean)}
        rows[name] = {
            **means,
            "first": float(share),
            "seconds": float(evidence.get("seconds", np.nan)),
            "converged": bool(evidence.get("converged", True)),
        }
    table = pd.DataFrame.from_dict(rows, orient="index")
    table.index.name = "aligner"
    table = table.sort_values([score, "first"], ascending=False)
    table.insert(0, "rank", np.arange(1, len(table) + 1))
    return table


def _mean(values: Float64Array) -> float:
    return float(values[~np.isnan(values)].mean()) if (~np.isnan(values)).any() else float("nan")


# ---------------------------------------------------------------------------------------------------------- the study


def selection_study(
    data: Sequence[DataSpec | str],
    aligners: Sequence[AlignerSpec | str] = CANDIDATES,
    *,
    learner: LearnerSpec | str = "groove",
    seeds: int | Sequence[int] = 5,
    out: str | Path | None = None,
    n_jobs: int | None = None,
) -> pd.DataFrame:
    """Score aligners with and without the truth, on data where it is known.

    Parameters
    ----------
    data
        Names of scenarios, or :class:`DataSpec`; with true pairs.
    aligners
        Names, or :class:`AlignerSpec`.
    learner
        What makes the representation.
    seeds
        Of simulation, learner and aligners: how many, or which.
    out
        Folder; each data set and seed is written there when done, and not done again.
    n_jobs
        As for :func:`scgroove.benchmark.run`.

    Returns
    -------
    DataFrame
        One row for each data set, seed and aligner: a column for each truth-free score, and for each score against the truth.

    See Also
    --------
    selection_ranking : What it says about the scores.
    """
    import joblib
    import pandas as pd

    specs = [DataSpec(scenario=one) if isinstance(one, str) else one for one in data]
    how = [AlignerSpec.named(one) if isinstance(one, str) else one for one in aligners]
    who = LearnerSpec(learner) if isinstance(learner, str) else learner
    folder = None if out is None else Path(out)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    which = range(seeds) if isinstance(seeds, int) else seeds
    jobs = [joblib.delayed(_study_one)(spec, how, who, seed, folder) for spec in specs for seed in which]
    return pd.concat(joblib.Parallel(n_jobs=n_jobs)(jobs), ignore_index=True)


def _study_one(
    data: DataSpec, aligners: Sequence[AlignerSpec], learner: LearnerSpec, seed: int, folder: Path | None
) -> pd.DataFrame:
    import pandas as pd

    from scgroove.benchmark._data import identity, load
    from scgroove.benchmark._evaluate import evaluate_coupling
    from scgroove.benchmark._results import Store, versions

    how = [[a.method, a.labelled, a.options] for a in aligners]
    what = [*identity(data), versions()["scgroove"]]
    name = f"study-{digest(what, how, learner.learner, learner.options, seed)}.parquet"
    if folder is not None and (folder / name).exists():
        return pd.read_parquet(folder / name)
    loaded = load(data, seed)
    if loaded.partner is None:
        raise ValueError(
            f"data {data.name!r} have no known pairs of cells, so that there is no truth to hold scores against. Name the column that "
            f"identifies the cell, pair_key=, or leave them out."
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mdata = loaded.handed(told=False)
        found = learner.build().fit(mdata, data.label_key, seed=seed).transform(mdata)
        trials = _trials(found[loaded.source], found[loaded.target], *loaded.observed, aligners, seed)
        per_label = score_all(trials)
    rows = []
    for one, trial in trials.items():
        truth = evaluate_coupling(loaded, found, trial.coupling, TRUTHS, seed)
        values: dict[str, Any] = {row["metric"]: row["value"] for row in truth}
        scores = {key: _mean(value) for key, value in per_label[one].items()}
        rows.append(
            {"data": data.name, "learner": learner.name, "seed": seed, "aligner": one, **scores, **values}
        )
    frame = pd.DataFrame(rows)
    if folder is not None:
        Store(folder).write(folder / name, lambda file: frame.to_parquet(file, index=False))
    return frame


def selection_ranking(
    study: pd.DataFrame,
    truth: str = TRUTHS[0],
    *,
    scores: Sequence[str] | None = None,
    level: float = 0.95,
    n_boot: int = 10_000,
    seed: int = 0,
) -> pd.DataFrame:
    """Say how well each truth-free score orders aligners as the hidden truth does.

    Parameters
    ----------
    study
        What :func:`selection_study` returned.
    truth
        Column to hold the scores against.
    scores
        Columns of scores; default all truth-free ones.
    level
        Of the intervals.
    n_boot, seed
        Bootstrap over data sets (all seeds of a data set stay together: they are not independent questions).

    Returns
    -------
    DataFrame
        One row a score, best first: ``spearman`` (mean over data sets of the mean over seeds of the rank correlation over aligners),
        ``low`` and ``high`` of its interval, ``picks_best`` (how often the highest score is the truly best aligner), ``regret``
        (mean of how much worse the truth of the chosen aligner is than that of the best, as a share of the gap between best and
        worst) with ``regret_low`` and ``regret_high``, and ``n_data``, ``n_units``. A row ``"(random choice)"`` says what
        choosing blindly gives.
    """
    import pandas as pd

    lower = truth != "trace_within_label" and truth != "trace_over_chance"
    _check_known("truth", [truth], [name for name in TRUTHS if name in study])
    known = [name for name in TRUTH_FREE.names() if name in study]
    names = known if scores is None else list(scores)
    _check_known("score", names, known)
    rows = []
    for name in [*names, None]:
        units = _units(study, name, truth, lower)
        if not units:
            continue
        rows.append({"score": name or "(random choice)", **_summary(units, level, n_boot, seed)})
    if not rows:
        raise ValueError(
            "nothing can be ranked: in every data set and seed there are fewer than three aligners, or their truth is the same or not "
            "known."
        )
    table = pd.DataFrame(rows).set_index("score")
    order = [n for n in table.sort_values("spearman", ascending=False).index if n != "(random choice)"]
    return table.loc[[*order, "(random choice)"]]


def _check_known(kind: str, names: Sequence[str], known: Sequence[str]) -> None:
    for name in names:
        if name not in known:
            raise UnknownNameError(unknown(kind, name, known))


def _units(
    study: pd.DataFrame, score: str | None, truth: str, lower: bool
) -> dict[str, list[tuple[float, float, float]]]:
    """Return, for each data set, (rank correlation, whether the best was chosen, regret) of each seed."""
    from scipy.stats import rankdata

    found: dict[str, list[tuple[float, float, float]]] = {}
    for (data, _), frame in study.groupby(["data", "seed"]):
        good = -frame[truth].to_numpy() if lower else frame[truth].to_numpy()
        if len(good) < 3 or np.isnan(good).any() or good.max() == good.min():
            continue
        loss = (good.max() - good) / (good.max() - good.min())
        if score is None:
            found.setdefault(str(data), []).append((0.0, float((loss == 0).mean()), float(loss.mean())))
            continue
        said = frame[score].to_numpy()
        if np.isnan(said).any():
            continue
        chosen = said == said.max()
        flat = said.max() == said.min()
        rank = 0.0 if flat else float(np.corrcoef(rankdata(said), rankdata(good))[0, 1])
        found.setdefault(str(data), []).append(
            (rank, float((loss[chosen] == 0).mean()), float(loss[chosen].mean()))
        )
    return found


def _summary(
    units: Mapping[str, Sequence[tuple[float, float, float]]], level: float, n_boot: int, seed: int
) -> dict[str, float]:
    """Return means over data sets, and intervals from a bootstrap over data sets."""
    means = np.array([np.mean(values, axis=0) for values in units.values()])
    draws = np.random.default_rng(seed).integers(len(means), size=(n_boot, len(means)))
    tails = [(1 - level) / 2, (1 + level) / 2]
    low, high = np.quantile(means[draws].mean(axis=1), tails, axis=0)
    spearman, best, regret = means.mean(axis=0)
    return {
        "spearman": float(spearman),
        "low": float(low[0]),
        "high": float(high[0]),
        "picks_best": float(best),
        "regret": float(regret),
        "regret_low": float(low[2]),
        "regret_high": float(high[2]),
        "n_data": len(means),
        "n_units": sum(len(values) for values in units.values()),
    }
