"""What each part of GROOVE beyond the paper is worth: one table for each, scores of single runs in a CSV.

    python benchmarks/beyond.py scenarios efficacy --out results/beyond.csv --jobs 2
    python benchmarks/beyond.py --read benchmarks/results/beyond.csv

Cells are scored that the setting asks about, one common set for all methods. FOSCTTM: 0 is perfect, 0.5 chance.
"""

from __future__ import annotations

import argparse
import os
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from mudata import MuData
from scipy import stats
from statsmodels.stats.multitest import multipletests

import scgroove as sg
from _common import PROTOTYPES, groove, half_width, trained
from scgroove.data.labels import labels_of
from scgroove.learners import GrooveLearner
from scgroove.losses import BackTranslation, GroupCLIP, LabelTower, Reconstruction, Term

Scores = dict[str, float]
Latent = Mapping[str, np.ndarray]


# -- scores ----------------------------------------------------------------------------------------------------


def matching(
    mdata: MuData, z: Latent, keep: np.ndarray | None = None, label: str = "truth"
) -> Scores:
    """FOSCTTM inside labels and over all cells, and labels found across modalities by ten neighbors, of the kept cells."""
    a, b = z
    order = mdata[b].obs_names.get_indexer(mdata[a].obs_names)
    keep = np.ones(len(order), dtype=bool) if keep is None else keep
    x, y = z[a][keep], z[b][order][keep]
    labels = mdata[a].obs[label].astype(str).to_numpy()[keep]
    same = np.arange(len(x))
    options = {"labels_x": labels, "labels_y": labels}
    return {
        "foscttm_within_label": sg.metrics.foscttm(x, y, same, **options, within_label=True),
        "foscttm": sg.metrics.foscttm(x, y, same, within_label=False),
        "label_accuracy": float(sg.metrics.label_transfer(x, y, labels, labels)),
    }


# -- experiments: each yields (setting, method, seed), and scores one -------------------------------------------


SCENARIO_METHODS = {
    "GROOVE": ("groove", {}),
    "logistic regression, logits": ("ps_logistic_scaled", {}),
    "MLP, logits": ("ps_mlp", {}),
    "cca_labels": ("cca_labels", {}),
}


def scenario_jobs(seeds: int) -> Iterator[tuple[str, str, int]]:
    """Every scenario with two modalities that can be matched; GROOVE against propensity logits."""
    for name, method in ((s, m) for s in sg.simulations.SCENARIOS for m in SCENARIO_METHODS):
        if name not in ("nothing_shared", "disjoint"):
            yield from ((name, method, seed) for seed in range(seeds))


def scenario(name: str, method: str, seed: int) -> Scores:
    """Within-label FOSCTTM of the first two modalities, as learned and with labels centered, by the true labels."""
    mdata = sg.simulations.from_scenario(name, seed=seed)
    learner, options = SCENARIO_METHODS[method]
    fitted = sg.learners.LabelCentered(learner, options).fit(mdata, "label", seed=seed)
    return both_ways(fitted, mdata)


def both_ways(fitted: sg.learners.LabelCentered, mdata: MuData) -> Scores:
    """Within-label FOSCTTM of cells whose labels agree, as learned and with labels centered."""
    scores = {}
    for suffix, z in {
        "": fitted.inner_.transform(mdata),
        "_centered": fitted.transform(mdata),
    }.items():
        a, b = list(z)[:2]
        pairs = mdata[a].obs_names.intersection(mdata[b].obs_names)
        rows = {m: mdata[m].obs_names.get_indexer(pairs) for m in (a, b)}
        labels = {m: labels_of(mdata[m].obs, "label")[rows[m]] for m in (a, b)}
        known = np.array(
            [p is not None and q is not None for p, q in zip(*labels.values(), strict=True)]
        )
        known &= (
            labels[a] == labels[b]
        )  # label noise: cells whose labels disagree have no partner inside their label
        x, y = (z[m][rows[m]][known] for m in (a, b))
        own = labels[a][known].astype(str)
        scores[f"foscttm_within_label{suffix}"] = sg.metrics.foscttm(
            x, y, np.arange(len(x)), labels_x=own, labels_y=own, within_label=True
        )
    return scores


def apart(name: str, method: str, seed: int) -> Scores:
    """The same, of learners that saw no cell in two modalities: each has cells of its own, scored with those that it did not see.

    As many cells as in the scenario are seen of each modality, and more are drawn: a share of them for each modality.
    """
    drawn = sg.simulations.SCENARIOS.get(name).scenario
    n = len(drawn.modalities)
    mdata = sg.simulations.from_scenario(
        replace(drawn, n_cells_per_label=n * drawn.n_cells_per_label), seed=seed
    )
    rng = np.random.default_rng(seed)
    cells = sorted({cell for adata in mdata.mod.values() for cell in adata.obs_names})
    share = dict(zip(cells, rng.permutation(len(cells)) % n, strict=True))
    own = {m: np.array([share[cell] for cell in mdata[m].obs_names]) for m in mdata.mod}
    seen = MuData({m: mdata[m][own[m] == i].copy() for i, m in enumerate(mdata.mod)})
    learner, options = SCENARIO_METHODS[method]
    fitted = sg.learners.LabelCentered(learner, options).fit(seen, "label", seed=seed)
    parts = [
        both_ways(fitted, MuData({m: mdata[m][own[m] == i].copy() for m in mdata.mod}))
        for i in range(2)
    ]
    return {score: float(np.mean([part[score] for part in parts])) for score in parts[0]}


EFFICACY_SETTINGS = {
    "strong, no escape": {"effect": 2.0},
    "medium, no escape": {"effect": 1.0},
    "strong, half escape": {"effect": 2.0, "escape": 0.5},
    "medium, half escape": {"effect": 1.0, "escape": 0.5},
    "weak, 30 % escape": {"effect": 0.7, "escape": 0.3},
    "medium, 20 % escape, 40 % inert": {"effect": 1.0, "escape": 0.2, "inert": 0.4},
}
EFFICACY_METHODS = ("hard", "weight", "oracle")


def efficacy_jobs(seeds: int) -> Iterator[tuple[str, str, int]]:
    """Escape and inert labels: no efficacy, estimated efficacy, and the truth."""
    for setting, method in ((s, m) for s in EFFICACY_SETTINGS for m in EFFICACY_METHODS):
        yield from ((setting, method, seed) for seed in range(seeds))


def efficacy_screen(setting: str, seed: int) -> tuple[MuData, np.ndarray, list[str]]:
    """A screen whose control is two labels without effect, which cells responded, and the other labels without effect."""
    options = {"inert": 0.0, **EFFICACY_SETTINGS[setting]}
    options["inert"] = (2 + round(20 * options["inert"])) / 22
    mdata = sg.simulations.weakly_paired(22, 60, seed=seed, **options)
    inert = [str(g) for g in mdata.uns["simulation"]["inert_labels"]]
    for adata in mdata.mod.values():
        adata.obs["label"] = (
            adata.obs["label"].astype(str).replace(dict.fromkeys(inert[:2], "control"))
        )
        adata.obs["truth"] = adata.obs["label"]
    first = mdata[next(iter(mdata.mod))]
    escaped = (
        first.obs["escaped"].to_numpy(dtype=bool)
        if "escaped" in first.obs
        else np.zeros(first.n_obs, bool)
    )
    return mdata, ~escaped, inert[2:]


def efficacy(setting: str, method: str, seed: int) -> Scores:
    """Matching of the cells that responded, of labels with an effect; and how well escape is told."""
    mdata, responded, inert = efficacy_screen(setting, seed)
    labels = mdata[next(iter(mdata.mod))].obs["label"].to_numpy()
    if method == "oracle":
        of = dict(zip(next(iter(mdata.mod.values())).obs_names, responded, strict=True))
        for adata in mdata.mod.values():
            worked = np.array([of[name] for name in adata.obs_names], dtype=float)
            nothing = (
                adata.obs["label"].isin(inert).to_numpy()
            )  # their cells differ in nothing from each other
            adata.obs["efficacy"] = np.where(nothing, 1.0, worked)
        z, scores = groove(mdata, seed, weight_key="efficacy"), {}
    else:
        options = {} if method == "hard" else {"control": "control"}
        z, scores = GrooveLearner(**options).fit_transform(mdata, "label", seed=seed), {}
    if method == "weight":
        scores = told(mdata, responded, inert)
    keep = responded & ~np.isin(labels, [*inert, "control"])
    return {**matching(mdata, z, keep), **scores}


def told(mdata: MuData, responded: np.ndarray, inert: list[str]) -> Scores:
    """How the estimate agrees with the truth, mean over modalities."""
    from sklearn.metrics import roc_auc_score

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sg.tl.estimate_efficacy(mdata, "control")
    a = next(iter(mdata.mod))
    found = []
    for m, adata in mdata.mod.items():
        order = mdata[a].obs_names.get_indexer(adata.obs_names)
        table = mdata.uns["efficacy"]["labels"][m].set_index("label")
        active = table.index.difference(inert)
        seen = adata.obs["label"].isin(active).to_numpy()
        truth = responded[order][seen]
        p = adata.obs["efficacy"].to_numpy()[seen]
        found.append(
            {
                "auroc": np.nan if truth.all() else roc_auc_score(truth, p),
                "active_flagged": table.loc[active, "undetectable"].mean(),
                "inert_flagged": table.loc[inert, "undetectable"].mean() if inert else np.nan,
            }
        )
    return pd.DataFrame(found).mean().to_dict()


def escape_jobs(seeds: int) -> Iterator[tuple[str, str, int]]:
    """How well escape and labels without an effect are told, by the size of the effect; nothing is trained."""
    for effect, share in (
        (2, 0.3),
        (2, 0.5),
        (1.4, 0.3),
        (1, 0.3),
        (1, 0.5),
        (0.7, 0.2),
        (0.7, 0.3),
        (0.7, 0.5),
    ):
        yield from (
            (f"effect {effect}, {share:.0%} escape", "Hotelling", seed) for seed in range(seeds)
        )


def escape(setting: str, method: str, seed: int) -> Scores:
    """Twenty labels of 60 cells, half of them without effect, of which three are the control."""
    effect, share = setting.split()[1].rstrip(","), setting.split()[2].rstrip("%")
    mdata = sg.simulations.weakly_paired(
        20, 60, effect=float(effect), escape=float(share) / 100, inert=0.5, seed=seed
    )
    inert = [str(g) for g in mdata.uns["simulation"]["inert_labels"]]
    for adata in mdata.mod.values():
        adata.obs["label"] = (
            adata.obs["label"].astype(str).replace(dict.fromkeys(inert[:3], "control"))
        )
    responded = ~mdata[next(iter(mdata.mod))].obs["escaped"].to_numpy(dtype=bool)
    return told(mdata, responded, inert[3:])


def missing_jobs(seeds: int) -> Iterator[tuple[str, str, int]]:
    """Labels hidden in each modality."""
    for share in (0.0, 0.5, 0.9):
        for method in ("masked", "unknown is a label", "self-trained") if share else ("masked",):
            yield from ((f"{share:g}", method, seed) for seed in range(seeds))


def missing(setting: str, method: str, seed: int) -> Scores:
    """All cells are scored, by their true labels, which few of them showed."""
    mdata = sg.simulations.weakly_paired(seed=seed)
    rng = np.random.default_rng(seed)
    for adata in mdata.mod.values():
        labels = adata.obs["label"].astype(str)
        adata.obs["truth"] = labels
        hidden = rng.permutation(adata.n_obs) < float(setting) * adata.n_obs
        adata.obs["label"] = labels.where(
            ~hidden, "unknown" if method == "unknown is a label" else None
        )
    z = groove(mdata, seed)
    return matching(
        mdata,
        groove(self_labeled(mdata, z), seed, weight_key="inferred_label_certainty")
        if method == "self-trained"
        else z,
    )


def self_labeled(mdata: MuData, z: Latent) -> MuData:
    """Give cells without a label the likeliest one: one round of self-training."""
    result = mdata.copy()
    for m, one in z.items():
        result[m].obsm["z"] = one
    sg.tl.infer_labels(result, "z")
    for adata in result.mod.values():
        adata.obs["label"] = adata.obs["inferred_label"]
    return result


def zipf_jobs(seeds: int) -> Iterator[tuple[str, str, int]]:
    """Abundant and rare labels: batches as they are, and balanced."""
    for s in ("1", "1.5"):
        for method in ("natural", "half", "balanced"):
            yield from ((s, method, seed) for seed in range(seeds))


def zipf(setting: str, method: str, seed: int) -> Scores:
    """Labels found across modalities: those of the more abundant half, and of the rarer half."""
    mdata = sg.simulations.weakly_paired(imbalance=float(setting), effect=1.0, seed=seed)
    for adata in mdata.mod.values():
        adata.obs["truth"] = adata.obs["label"].astype(str)
    balance = {"natural": 0.0, "half": 0.5, "balanced": 1.0}[method]
    z = groove(mdata, seed, {"datasplitter_kwargs": {"balance": balance}})
    a, b = z
    labels = mdata[a].obs["truth"].to_numpy()
    rare = pd.Series(labels).value_counts().index[10:]
    other = mdata[b].obs["truth"].to_numpy()
    per_label = []
    for s, t, own, pool in ((a, b, labels, other), (b, a, other, labels)):
        hit = sg.metrics.label_transfer(z[s], z[t], own, pool, per="cell")
        per_label.append(pd.Series(hit).groupby(pool).mean())
    per = pd.DataFrame(per_label).mean()
    return {
        "tail_accuracy": float(per[per.index.isin(rare)].mean()),
        "head_accuracy": float(per[~per.index.isin(rare)].mean()),
        **matching(mdata, z),
    }


def tower_jobs(seeds: int) -> Iterator[tuple[str, str, int]]:
    """Labels of one modality only, with what is known of them, more or less rightly."""
    for method in ("no tower", "noise 0", "noise 0.5", "noise 1.5", "random"):
        yield from (
            ("5 labels only in rna, 5 only in protein", method, seed) for seed in range(seeds)
        )


def tower(setting: str, method: str, seed: int) -> Scores:
    """Match cells of labels that one modality alone had in training: their partners are held out of it."""
    whole = sg.simulations.weakly_paired(25, 60, seed=seed)
    a, b = whole.mod
    labels = {m: whole[m].obs["label"].astype(str).to_numpy() for m in (a, b)}
    names = sorted(set(labels[a]))
    only = {a: names[:5], b: names[5:10]}
    seen = {m: ~np.isin(labels[m], only[b if m == a else a]) for m in (a, b)}
    import mudata

    train = mudata.MuData({m: whole[m][seen[m]].copy() for m in (a, b)})
    terms: list[Term] = [Reconstruction(), GroupCLIP(), BackTranslation()]
    if method != "no tower":
        terms.append(LabelTower(label_table(whole, method, seed)))
    model = trained(train, seed, terms=terms)
    z = {m: model.get_latent_representation(whole[m].copy(), m) for m in (a, b)}
    for adata in whole.mod.values():
        adata.obs["truth"] = adata.obs["label"].astype(str)
    once = np.isin(labels[a], [*only[a], *only[b]])
    one, both = matching(whole, z, once), matching(whole, z, ~once)
    scores = {f"{key} of labels in one": value for key, value in one.items()}
    return {**scores, **{f"{key} of labels in both": value for key, value in both.items()}}


def embeddings_jobs(seeds: int) -> Iterator[tuple[str, str, int]]:
    """Whether the check of label embeddings tells tables that know the labels from those that do not."""
    for method in ("noise 0", "noise 0.5", "noise 1.5", "random"):
        yield from (("25 labels in both", method, seed) for seed in range(seeds))


def embeddings(setting: str, method: str, seed: int) -> Scores:
    """Score and p of :func:`scgroove.tl.check_label_embeddings`, of a model without the table."""
    mdata = sg.simulations.weakly_paired(25, 60, seed=seed)
    sg.tl.embed(mdata, trained(mdata, seed))
    sg.tl.check_label_embeddings(mdata, label_table(mdata, method, seed))
    found = mdata.uns["label_embeddings"]
    return {
        "score": found["score"],
        "p": found["p_value"],
        "believed": float(found["p_value"] <= 0.05),
    }


def label_table(mdata: MuData, method: str, seed: int) -> pd.DataFrame:
    """What a table knows: the true shared effect of each label with noise in its units, or random numbers."""
    first = next(iter(mdata.mod.values()))
    shared = pd.DataFrame(first.obsm["shared"], index=first.obs["label"].astype(str).to_numpy())
    effects = shared.groupby(level=0).mean()
    rng = np.random.default_rng(seed)
    if method == "random":
        effects[:] = rng.normal(size=effects.shape)
        return effects
    return effects + float(method.split()[1]) * effects.to_numpy().std() * rng.normal(
        size=effects.shape
    )


GROUPS_METHODS = {
    "in the batch": ("groove", {}),
    "prototypes": ("groove", PROTOTYPES),
    "logistic regression, logits": ("ps_logistic_scaled", {}),
    "cca_labels": ("cca_labels", {}),
}


def groups_jobs(seeds: int) -> Iterator[tuple[str, str, int]]:
    """Many labels, 6,000 cells a modality in all: contrast inside the batch, or with prototypes of all labels."""
    for n in ("100", "500", "1500"):
        for method in GROUPS_METHODS:
            if method.startswith("logistic") and n == "1500":
                continue  # one classifier of 1,500 labels takes longer than all else together
            yield from ((f"{n} labels", method, seed) for seed in range(seeds))


def groups(setting: str, method: str, seed: int) -> Scores:
    """Cells found by their nearest neighbor, what is kept of the cell state inside labels, and the time of a fit."""
    n = int(setting.split()[0])
    mdata = sg.simulations.weakly_paired(n, 6000 // n, seed=seed)
    for adata in mdata.mod.values():
        adata.obs["truth"] = adata.obs["label"].astype(str)
    learner, options = GROUPS_METHODS[method]
    start = time.perf_counter()
    fitted = sg.learners.get(learner)(**options).fit(mdata, "label", seed=seed)
    seconds = time.perf_counter() - start
    z = fitted.transform(mdata)
    a, b = z
    kept = [
        f.value
        for m in z
        for f in sg.metrics.retention(z[m], mdata[m].obsm["state"], mdata[m].obs["truth"])
    ]
    truth = {m: mdata[m].obs["truth"].to_numpy() for m in z}
    return {
        **matching(mdata, z),
        "nearest_accuracy": float(
            sg.metrics.label_transfer(z[a], z[b], truth[a], truth[b], n_neighbors=1)
        ),
        "retention": float(np.mean(kept)),
        "fit_seconds": seconds,
    }


EXPERIMENTS: dict[
    str, tuple[Callable[[int], Iterator[tuple[str, str, int]]], Callable[..., Scores], str]
] = {
    "scenarios": (scenario_jobs, scenario, "GROOVE"),
    "apart": (scenario_jobs, apart, "GROOVE"),
    "efficacy": (efficacy_jobs, efficacy, "hard"),
    "escape": (escape_jobs, escape, "Hotelling"),
    "missing": (missing_jobs, missing, "masked"),
    "zipf": (zipf_jobs, zipf, "natural"),
    "tower": (tower_jobs, tower, "no tower"),
    "embeddings": (embeddings_jobs, embeddings, "noise 0"),
    "groups": (groups_jobs, groups, "in the batch"),
}
"""What is run, how one is scored, and the method that others are compared with."""


def one(experiment: str, setting: str, method: str, seed: int) -> list[tuple[Any, ...]]:
    """Score one run."""
    import logging

    import torch

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    start = time.perf_counter()
    scores = EXPERIMENTS[experiment][1](setting, method, seed)
    seconds = time.perf_counter() - start
    return [
        (experiment, setting, method, seed, key, value, seconds) for key, value in scores.items()
    ]


COLUMNS = ["experiment", "setting", "method", "seed", "score", "value", "seconds"]


def table(results: pd.DataFrame) -> pd.DataFrame:
    """Mean and 95 % interval over seeds, and the paired difference to the method that an experiment compares with."""
    rows = []
    for (experiment, setting, score), part in results.groupby(
        ["experiment", "setting", "score"], sort=False
    ):
        wide = part.pivot_table(index="seed", columns="method", values="value")
        reference = EXPERIMENTS[experiment][2]
        for method in part["method"].unique():
            if method not in wide:
                continue  # has no such score
            x, row = (
                wide[method],
                {"experiment": experiment, "setting": setting, "score": score, "method": method},
            )
            row["mean"] = f"{x.mean():.3f} ± {half_width(x):.3f}"
            if method != reference and reference in wide:
                d = (x - wide[reference]).dropna()
                row["difference"] = f"{d.mean():+.3f} ± {half_width(d):.3f}"
                row["p"] = round(float(stats.wilcoxon(d).pvalue), 3) if d.any() else 1.0
            rows.append(row)
    return pd.DataFrame(rows).fillna("")


GATE = {
    "GROOVE": "GROOVE",
    "logistic regression, logits": "logistic",
    "MLP, logits": "MLP",
    "cca_labels": "cca_labels",
}
"""What the tables of scenarios show, and how they call it."""


def gate(results: pd.DataFrame, experiment: str) -> pd.DataFrame:
    """Within-label FOSCTTM of GROOVE and others on every scenario, as learned and with labels centered, for the user guide.

    Of seeds that all have. A mark says that a paired t-test over them, Holm-corrected over all that is compared, tells it from GROOVE.
    """
    part = results[results["experiment"] == experiment]
    means, p = {}, {}
    for (setting, score), one_of in part.groupby(["setting", "score"]):
        wide = one_of.pivot_table(index="seed", columns="method", values="value").dropna()
        for method in wide:
            means[setting, score, method] = wide[method].mean()
            if method != "GROOVE" and "GROOVE" in wide:
                d = (wide[method] - wide["GROOVE"]).dropna()
                p[setting, score, method] = (
                    stats.ttest_1samp(d, 0.0).pvalue if len(d) > 4 and d.any() else 1.0
                )
    p = dict(zip(p, multipletests(list(p.values()), method="holm")[1], strict=True))
    rows: dict[str, dict[str, str]] = {}
    for (setting, score, method), mean in means.items():
        other = means.get((setting, score, "GROOVE"), np.nan)
        told = p.get((setting, score, method), 1.0) < 0.05
        mark = "" if not told else " ▼" if mean > other else " ▲"
        column = GATE[method] + (", centered" if score.endswith("centered") else "")
        rows.setdefault(setting, {})[column] = f"{mean:.3f}{mark}"
    columns = [f"{m}{c}" for c in ("", ", centered") for m in GATE.values()]
    return (
        pd.DataFrame(rows)
        .T.reindex(columns=columns)
        .rename_axis("scenario")
        .reset_index()
        .fillna("")
    )


def main() -> None:
    """Run experiments, and print their tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "experiments", nargs="*", default=[], help=f"of {', '.join(EXPERIMENTS)}; all by default"
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--out", help="write the scores of every run to this CSV")
    parser.add_argument("--read", nargs="+", help="print the tables of these CSV files")
    parser.add_argument(
        "--gate",
        help="of the files that are read, write the table of scenarios in the user guide here",
    )
    parser.add_argument("--apart", help="the same, where no cell was seen in two modalities")
    args = parser.parse_args()
    if args.read:
        results = pd.concat(map(pd.read_csv, args.read))
        print(table(results).to_markdown(index=False))
        for file, experiment in ((args.gate, "scenarios"), (args.apart, "apart")):
            if file:
                made = gate(results, experiment).to_markdown(index=False, disable_numparse=True)
                Path(file).write_text(made + "\n")
        return
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    jobs = [
        (e, *job) for e in args.experiments or EXPERIMENTS for job in EXPERIMENTS[e][0](args.seeds)
    ]
    rows: list[tuple[Any, ...]] = []
    for found in Parallel(n_jobs=args.jobs, return_as="generator_unordered")(
        delayed(one)(*job) for job in jobs
    ):
        rows += found
        if args.out:  # a run that is stopped keeps what it has
            pd.DataFrame(rows, columns=COLUMNS).sort_values(COLUMNS[:5]).to_csv(
                args.out, index=False
            )
    print(table(pd.DataFrame(rows, columns=COLUMNS)).to_markdown(index=False))


if __name__ == "__main__":
    main()
