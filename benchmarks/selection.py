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
from scipy.stats import rankdata

from _common import quiet
from scgroove.benchmark import AlignerSpec, DataSpec, LearnerSpec
from scgroove.benchmark._data import identity, load
from scgroove.benchmark._evaluate import evaluate_coupling
from scgroove.benchmark._results import Store, versions
from scgroove.benchmark._selection import _mean, _trials
from scgroove.benchmark._spec import digest
from scgroove.benchmark._truth_free import TRUTH_FREE, score_all

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
        mdata = loaded.handed(told=False)
        found = learner.build().fit(mdata, data.label_key, seed=seed).transform(mdata)
        trials = _trials(
            found[loaded.source], found[loaded.target], *loaded.observed, aligners, seed
        )
        per_label = score_all(trials)
    rows = []
    for one, trial in trials.items():
        truth = evaluate_coupling(loaded, found, trial.coupling, TRUTHS, seed)
        values: dict[str, Any] = {row["metric"]: row["value"] for row in truth}
        scores = {key: _mean(value) for key, value in per_label[one].items()}
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
    names = [name for name in TRUTH_FREE.names() if name in study]
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
