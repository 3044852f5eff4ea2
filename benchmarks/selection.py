"""Which truth-free score orders aligners as the hidden truth does? Simulated scenarios, with the truth hidden and then shown.

    python benchmarks/selection.py --out results-selection          # 16 scenarios x 2 seeds, GROOVE: 30 minutes on 2 cores
    python benchmarks/selection.py --seeds 5 --learner ps_logistic_scaled

A stopped run goes on where it stopped.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
from scipy.spatial.distance import pdist
from scipy.stats import rankdata

from _common import quiet
from scgroove.aligners import Coupling
from scgroove.benchmark import AlignerSpec, DataSpec, LearnerSpec
from scgroove.benchmark._data import identity, load
from scgroove.benchmark._score import score_coupling
from scgroove.benchmark.results import Store, digest, versions
from scgroove.benchmark.selection import SCORES, Trial, correlation, make_trials

SCENARIOS = (
    "reference", "half_shared", "nothing_shared", "weak_effect", "linear_view", "counts", "escape", "label_noise", "zipf",
    "batches", "heterogeneous", "few_cells", "inert", "three_modalities", "exclusive", "unlabeled",
)  # fmt: skip
ALIGNERS = ("emd", "eot", "egw", "coot", "snn", "nn", "random", "uniform")
TRUTHS = (
    "barycentric_foscttm_within_label",
    "latent_error",
    "trace_within_label",
    "coupling_foscttm_within_label",
)


def cycle_consistency(trial: Trial) -> np.ndarray:
    """1 - error of a cell sent there and back, over that of the mean of its label."""
    back = trial.coupling.push(trial.coupling.pull(trial.x))

    def score(label: int, rows: np.ndarray, columns: np.ndarray) -> float:
        x = trial.x[rows]
        spread = ((x - x.mean(axis=0)) ** 2).sum()
        return float(1.0 - ((x - back[rows]) ** 2).sum() / spread) if spread > 0 else np.nan

    return trial.per_label(score)


def structure(trial: Trial) -> np.ndarray:
    """Correlation of squared distances among at most 500 cells of a label, before and after."""
    rng = np.random.default_rng(trial.seed)

    def score(label: int, rows: np.ndarray, columns: np.ndarray) -> float:
        some = rng.permutation(rows)[:500]
        distances = (pdist(z[some], "sqeuclidean") for z in (trial.x, trial.projected))
        return correlation(*distances) if min(rows.size, columns.size) >= 5 else np.nan

    return trial.per_label(score)


def sharpness(trial: Trial) -> np.ndarray:
    """1 - entropy / log of the number of target cells - error of the marginals."""
    entropy, missed = trial.coupling.entropy(), sum(trial.coupling.marginal_errors())

    def score(label: int, rows: np.ndarray, columns: np.ndarray) -> float:
        return float(1.0 - np.nanmean(entropy[rows]) / np.log(columns.size) - missed)

    return trial.per_label(score)


STUDIED = {f.__name__: f for f in (cycle_consistency, structure, sharpness)}
"""Scores beside those that ``tl.select_aligner`` offers: they rank worse, or take wrong couplings for right."""


def heldout_label_mass(trial: Trial, spec: AlignerSpec) -> np.ndarray:
    """Share of the mass in the right label when labels are merged two by two, beyond chance.

    Of an unlabeled aligner the coupling itself, over all labels.
    """
    n = trial.n_labels
    merged = np.zeros(n, dtype=np.intp)
    coupling = trial.coupling
    if spec.labeled:
        if n < 2:
            return np.full(n, np.nan)
        order = np.random.default_rng(trial.seed).permutation(n)
        merged[order] = np.minimum(np.arange(n) // 2, n // 2 - 1)
        names = np.array([*map(str, range(n)), None], dtype=object)
        coarse = [names[np.where(c >= 0, merged[c], -1)] for c in (trial.codes_x, trial.codes_y)]
        coupling = spec.build(trial.seed).align(trial.x, trial.y, *coarse)
    return _right_mass(coupling, trial.codes_x, trial.codes_y, merged)


def _right_mass(
    coupling: Coupling, codes_x: np.ndarray, codes_y: np.ndarray, merged: np.ndarray
) -> np.ndarray:
    n = merged.size
    sizes_y = np.bincount(codes_y[codes_y >= 0], minlength=n)
    right, total = np.zeros(n), np.zeros(n)
    indicator = np.zeros((codes_y.size, n))
    indicator[np.flatnonzero(codes_y >= 0), codes_y[codes_y >= 0]] = 1.0
    share = coupling.push(indicator)  # (n_source, n_labels): where the mass of a cell goes
    known = (codes_x >= 0) & ~np.isnan(share).any(axis=1)
    np.add.at(right, codes_x[known], share[known, codes_x[known]])
    np.add.at(total, codes_x[known], share[known].sum(axis=1))
    pool = np.bincount(merged, weights=sizes_y, minlength=merged.max() + 1)[merged]
    chance = sizes_y / pool
    with np.errstate(invalid="ignore", divide="ignore"):
        found = (right / total - chance) / (1.0 - chance)
    return np.where((total > 0) & (chance < 1), found, np.nan)


def main() -> None:
    """Run the study and print how well each score ranks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("results-selection"))
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--learner", default="groove")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--scenarios", nargs="+", default=list(SCENARIOS))
    args = parser.parse_args()
    quiet()
    study = selection_study(
        args.scenarios,
        ALIGNERS,
        learner=args.learner,
        seeds=range(args.seeds),
        out=args.out,
        n_jobs=args.jobs,
    )
    study.to_csv(args.out / "study.csv", index=False, float_format="%.4f")
    for floors, kept in (
        ("with", study),
        ("without", study[~study["aligner"].isin(["random", "uniform"])]),
    ):
        for truth in TRUTHS[:3]:
            print(f"\n{args.learner}, truth: {truth}, {floors} the floors random and uniform")
            print(selection_ranking(kept, truth).round(3).to_string())


def selection_study(
    data: Sequence[DataSpec | str],
    aligners: Sequence[AlignerSpec | str] = ALIGNERS,
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
    specs = [DataSpec(scenario=one) if isinstance(one, str) else one for one in data]
    how = [AlignerSpec.named(one) if isinstance(one, str) else one for one in aligners]
    who = LearnerSpec(learner) if isinstance(learner, str) else learner
    folder = None if out is None else Path(out)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    which = range(seeds) if isinstance(seeds, int) else seeds
    jobs = [
        joblib.delayed(_study_one)(spec, how, who, seed, folder) for spec in specs for seed in which
    ]
    return pd.concat(joblib.Parallel(n_jobs=n_jobs)(jobs), ignore_index=True)


def _study_one(
    data: DataSpec,
    aligners: Sequence[AlignerSpec],
    learner: LearnerSpec,
    seed: int,
    folder: Path | None,
) -> pd.DataFrame:
    how = [[a.method, a.labeled, a.options] for a in aligners]
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
        mdata = loaded.copy(with_truth=False)
        found = learner.build().fit(mdata, data.label_key, seed=seed).transform(mdata)
        trials = make_trials(
            found[loaded.source], found[loaded.target], *loaded.observed, aligners, seed
        )
        specs = {one.name: one for one in aligners}
        per_label = {}
        for one, trial in trials.items():
            own = {key: score(trial) for key, score in {**SCORES, **STUDIED}.items()}
            own["heldout_label_mass"] = heldout_label_mass(trial, specs[one])
            per_label[one] = own
    rows = []
    for one, trial in trials.items():
        truth = score_coupling(loaded, found, trial.coupling, TRUTHS, seed)
        values: dict[str, Any] = {row["metric"]: row["value"] for row in truth}
        scores = {key: pd.Series(value).mean() for key, value in per_label[one].items()}
        rows.append(
            {
                "data": data.name,
                "learner": learner.name,
                "seed": seed,
                "aligner": one,
                **scores,
                **values,
            }
        )
    frame = pd.DataFrame(rows)
    if folder is not None:
        Store(folder).write(folder / name, lambda file: frame.to_parquet(file, index=False))
    return frame


def selection_ranking(
    study: pd.DataFrame,
    truth: str = TRUTHS[0],
    *,
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
    lower = truth != "trace_within_label" and truth != "trace_over_chance"
    names = [name for name in (*SCORES, *STUDIED, "heldout_label_mass") if name in study]
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
    order = [
        n for n in table.sort_values("spearman", ascending=False).index if n != "(random choice)"
    ]
    return table.loc[[*order, "(random choice)"]]


def _units(
    study: pd.DataFrame, score: str | None, truth: str, lower: bool
) -> dict[str, list[tuple[float, float, float]]]:
    """Return, for each data set, (rank correlation, whether the best was chosen, regret) of each seed."""
    found: dict[str, list[tuple[float, float, float]]] = {}
    for (data, _), frame in study.groupby(["data", "seed"]):
        good = -frame[truth].to_numpy() if lower else frame[truth].to_numpy()
        if len(good) < 3 or np.isnan(good).any() or good.max() == good.min():
            continue
        loss = (good.max() - good) / (good.max() - good.min())
        if score is None:
            found.setdefault(str(data), []).append(
                (0.0, float((loss == 0).mean()), float(loss.mean()))
            )
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


if __name__ == "__main__":
    main()
