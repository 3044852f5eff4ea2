"""The report of a screen as one HTML page: numbers and tables. The template has the sentences."""

from __future__ import annotations

import math
import platform
import sys
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from scgroove import _keys
from scgroove._html import STAMP, Table, picture, table, versions_of
from scgroove._html import render as render_page
from scgroove._report._reading import in_words, notes, read_link
from scgroove._report._results import Results
from scgroove._words import counted, joined, some
from scgroove.metrics.permutation_tests import ALPHA

TAGS: Final = {
    "good": "Good.",
    "caution": "Careful.",
    "problem": "Problem.",
    "construction": "By construction.",
}
PACKAGES: Final = ("scgroove", "scvi-tools", "torch", "anndata", "mudata", "numpy", "POT")
SECTIONS: Final = {
    "short": "In short",
    "done": "What was done",
    "data": "Data",
    "labels": "Labels",
    "training": "Training",
    "space": "Shared space",
    "alignment": "Matching",
    "imputation": "Imputation",
    "scores": "Truth",
    "null": "Permuted labels",
    "warnings": "Warnings",
    "files": "Files",
    "made": "Provenance",
}
FILES: Final = {
    "report.html": "this page",
    "aligned.h5mu": "the data with the shared space, the picture, the coupling and the imputed "
    "values",
    "model/": "the trained model",
    "labels.csv": "cells of each label in each modality",
    "imputation.csv": "correlation of imputed and measured values, feature by feature",
    "scores.csv": "matching and imputation against the truth",
    "tests.csv": "tests of the link in both directions",
    "null.csv": "scores beside the same on permuted labels",
    "figures/": "the pictures of this page as PNG",
}
SOLVERS: Final = {"eot": "entropic optimal transport", "emd": "exact optimal transport"}
LEARNERS: Final = {
    "groove": "GROOVE, kept out of training",
    "cca_labels": "closed form (cca_labels), other half",
}
EVIDENCE: Final = {
    "method": "method",
    "labeled": "within labels only",
    "converged": "converged",
    "row_error": "error of the source marginal (L1, of a mass of 1)",
    "column_error": "error of the target marginal (L1, of a mass of 1)",
    "epsilon": "epsilon, relative to the mean cost",
    "epsilon_absolute": "epsilon, absolute",
    "iterations": "iterations",
    "transport_cost": "mean cost of a match",
    "objective": "objective",
    "mass_dropped": "mass dropped by storing it sparse",
    "seconds": "seconds",
}
AGREEMENT: Final = {
    "r": "r",
    "label_mean_r": "r of the label mean",
    "null_r": "r on permuted labels",
    "measured": "mean measured",
    "imputed": "mean imputed",
    "shift": "difference (SD)",
}
SCORES: Final = {
    "metric": "score",
    "value": "value",
    "chance": "chance",
    "chance_sd": "SD of chance",
    "p_value": "p",
    "null_mean": "permuted labels",
    "null_sd": "their SD",
    "n": "cells",
}
KINDS: Final = {
    "coupling_foscttm": "FOSCTTM of the coupling",
    "barycentric_foscttm": "barycentric FOSCTTM",
    "foscttm": "FOSCTTM of the shared space",
    "trace_over_chance": "trace over chance",
    "trace": "trace",
}
SCOPES: Final = {"_within_label": ", within label", "_global": ", among all cells"}
NULL: Final = {
    "learner": "learner",
    "score": "score",
    "value": "value",
    "null_mean": "permuted labels, mean",
    "null_sd": "SD",
    "null_min": "least",
    "null_max": "most",
    "n_null": "permutations",
}
MOST_FEATURES: Final = 24
FILE_DPI: Final = 160


def render(results: Results, images: Mapping[str, Path], *, command: str) -> str:
    """Return the report of a run as a complete HTML page.

    Parameters
    ----------
    results
        The findings of the run.
    images
        PNG files of the figures ``training``, ``latent``, ``confusion`` (if there is one),
        ``coupling`` and ``imputation``.
    command
        How the run was started.
    """
    asked, model = results.settings, results.model
    filled = {
        "scores": results.scores is not None,
        "null": results.null is not None,
        "tests": any(results.tests.values()),
    }
    empty = {name for name, there in filled.items() if not there}
    n_warnings = counted(len(results.warnings), "warning was", "warnings were")
    context = {
        "width": 1040,
        "source": asked.source,
        "target": asked.target,
        "settings": asked,
        "data_name": results.data_name,
        "versions": versions_of(PACKAGES),
        "date": datetime.now().astimezone().strftime(STAMP),
        "nav": [(anchor, title) for anchor, title in SECTIONS.items() if anchor not in empty],
        "tags": TAGS,
        "notes": notes(results),
        "link": read_link(results.tests, results.labels, asked.source, asked.target),
        "cells": joined(f"{results.mdata.mod[m].n_obs:,} {m} cells" for m in asked.modalities),
        "n_source": f"{results.mdata.mod[asked.source].n_obs:,}",
        "n_epochs": len(model.history["train_loss"]),
        "solver": SOLVERS.get(asked.method, asked.method),
        "data_table": _data_table(results),
        **_label_context(results),
        "accuracy_table": _accuracy_table(results),
        "confusion": _confusion(results),
        "evidence_table": _evidence_table(results.evidence),
        **_imputation_context(results),
        "by_construction": results.by_construction,
        "scores_table": _scores_table(results),
        "null_table": None if results.null is None else _frame_table(results.null, NULL),
        "n_null": counted(asked.null, "time") if asked.null else "",
        "warnings": results.warnings,
        "other_warnings": results.other_warnings,
        "n_warnings": n_warnings if results.warnings else "",
        "files": [(n, text) for n, text in FILES.items() if n.removesuffix(".csv") not in empty],
        "snippet": _snippet(results),
        "made_table": _made_table(results),
        "figures": {n: picture(path.read_bytes(), FILE_DPI) for n, path in images.items()},
        "command": command,
    }
    return render_page("screen", context)


def _label_context(results: Results) -> dict[str, Any]:
    """Return cells of each label, and lists of labels by their status."""
    counts = results.labels
    modalities = [m for m in results.settings.modalities if m in counts.columns]
    status, sizes = counts["status"], counts[modalities]
    rows = []
    for label in counts.index:
        own = sizes.loc[label]
        text = str(status[label])
        if text == "exclusive":
            text = "only in " + joined(str(m) for m in own.index[own > 0])
        numbers = [int(n) for n in own]
        rows.append({"label": label, "counts": numbers, "kind": status[label], "status": text})
    shared = counts.index[status == "shared"]
    alone = sizes[status == "exclusive"] > 0
    exclusive = {m: _label_names(alone.index[alone[m]]) for m in modalities if alone[m].any()}
    unlabeled = sizes[status == "unlabeled"].sum()
    return {
        "label_rows": rows,
        "modalities": modalities,
        "n_shared": len(shared),
        "shared_labels": _label_names(shared),
        "exclusive_labels": exclusive,
        "unlabeled_cells": joined(f"{int(n):,} {m} cells" for m, n in unlabeled.items() if n),
    }


def _label_names(labels: Iterable[Any]) -> tuple[str, str]:
    """Number and names, all of them if there are few."""
    names = [str(label) for label in labels]
    limit = 30 if len(names) <= 30 else 12
    return counted(len(names), "label is", "labels are"), some(names, limit)


def _confusion(results: Results) -> dict[str, str]:
    """Return chance and the labels with more mass than by chance, by exact tests (Bonferroni)."""
    if results.recovered is None:
        return {}
    chance, size = 1 / len(results.recovered), results.sample_size
    best = results.recovered.sort_values(ascending=False, kind="stable")
    right = np.floor(best.to_numpy(float) * size + 1e-9).astype(int)
    found = []
    for (label, share), k in zip(best.items(), right, strict=True):
        p_value = binomtest(int(k), size, chance, alternative="greater").pvalue if size else 1.0
        if p_value * len(best) <= ALPHA:
            found.append(f"{label} ({share:.0%})")
    held_out = "yes" if results.sample_held_out else ""
    sample = {"sample": results.sample, "held_out": held_out}
    return {"chance": f"{chance:.0%}", "labels": some(found, 6), **sample}


def _imputation_context(results: Results) -> dict[str, Any]:
    asked, agreement = results.settings, results.agreement
    r, truth = agreement["r"].dropna(), results.scores is not None
    shown = agreement.sort_values("r", ascending=False, na_position="last", kind="stable")
    if len(shown) > MOST_FEATURES:
        half = MOST_FEATURES // 2
        shown = pd.concat([shown.head(half), shown.tail(half)])
    titles = dict(AGREEMENT)
    titles["n"] = "cells" if truth else "labels"
    stored = results.mdata.mod[asked.source].uns.get(_keys.imputed(asked.target), {})
    size = stored.get("library_size")
    labels = results.labels
    unseen = (labels[asked.target] == 0) | (labels["status"] == "unlabeled")
    alone = int(labels.loc[unseen, asked.source].sum())
    median, ends = f"{r.median():.2f}", f"from {r.min():.2f} to {r.max():.2f}"
    return {
        "n_features": f"{len(agreement):,} {asked.target} features",
        "truth": truth,
        "median_r": f"{median} ({ends})" if len(r) else "",
        "n_compared": f"{int(agreement['n'].iloc[0]):,}" if len(agreement) else "0",
        "library_size": "" if size is None else f"{float(size):,.0f}",
        "never_seen": counted(alone, "cell has", "cells have") if alone else "",
        "agreement_table": _frame_table(shown, titles, index="feature") if len(r) else None,
        "agreement_more": len(agreement) if len(agreement) > MOST_FEATURES else None,
    }


def _scores_table(results: Results) -> Table | None:
    if results.scores is None:
        return None
    names = results.scores["metric"].astype(str)
    p_values = results.scores["p_value"].map(_p_text)
    among_all = names.str.endswith("_global")
    p_values[among_all] = "no test: the model saw the labels"
    if results.settings.labeled:
        by_coupling = names.str.startswith(("coupling", "barycentric"))
        p_values[among_all & by_coupling] = "by construction: within labels"
    shown = results.scores.assign(metric=names.map(_score_name), p_value=p_values)
    return _frame_table(shown, SCORES)


def _score_name(metric: str) -> str:
    """Write ``coupling_foscttm_within_label`` for a reader."""
    kind = next((kind for kind in KINDS if metric.startswith(kind)), metric)
    rest = metric.removeprefix(kind)
    return KINDS.get(kind, kind) + SCOPES.get(rest, rest.replace("_", " "))


def _p_text(p_value: float) -> str:
    return in_words(p_value).removeprefix("p ").removeprefix("= ")


def _data_table(results: Results) -> Table:
    asked, model = results.settings, results.model
    unlabeled = results.labels[results.labels["status"] == "unlabeled"]
    rows = []
    for m in asked.modalities:
        adata = results.mdata.mod[m]
        role = {asked.source: "source", asked.target: "target"}.get(m, "trained on")
        missing = int(unlabeled[m].sum()) if m in unlabeled else 0
        sizes = [f"{n:,}" for n in (adata.n_obs, adata.n_vars, missing)]
        likelihood = [model.likelihood[m], model.likelihood_reasons[m]]
        rows.append([m, role, *sizes, asked.layers.get(m, "X"), *likelihood])
    columns = ["modality", "role", "#cells", "#features", "#unlabeled", "values in"]
    return table([*columns, "likelihood", "because"], rows)


def _accuracy_table(results: Results) -> Table:
    rows = []
    for learner, tests in results.tests.items():
        for (source, target), one in tests.items():
            score = f"label accuracy {source} → {target}, held-out cells"
            who = [f"{source} → {target}", LEARNERS[learner], f"{one.n_cells:,}", str(one.n_labels)]
            interval = f"{one.low:.0%} to {one.high:.0%}"
            numbers = [f"{one.accuracy:.1%}", interval, f"{one.chance:.1%}", _p_text(one.p_value)]
            rows.append([*who, *numbers, _on_permuted(results, learner, score)])
    for row in results.accuracy.itertuples():
        direction = f"{row.source} → {row.target}"
        null = _on_permuted(results, "groove", f"label accuracy {direction}, all cells")
        who = [direction, "GROOVE, all: seen in training", f"{row.n_cells:,}", str(row.n_labels)]
        numbers = [f"{row.balanced_accuracy:.1%}", "–", f"{row.chance:.1%}", "no test", null]
        rows.append([*who, *numbers])
    columns = ["direction", "cells", "#number", "#labels", "#right, labels equal"]
    return table([*columns, "#95% interval", "#by chance", "#p", "#permuted labels"], rows)


def _on_permuted(results: Results, learner: str, score: str) -> str:
    if results.null is None:
        return "–"
    rows = results.null[(results.null["learner"] == learner) & (results.null["score"] == score)]
    return "–" if rows.empty else f"{rows['null_mean'].iloc[0]:.1%} ± {rows['null_sd'].iloc[0]:.1%}"


def _evidence_table(evidence: Mapping[str, Any]) -> Table:
    rows = [[title, _range(evidence[key])] for key, title in EVIDENCE.items() if key in evidence]
    if "method" in evidence:
        rows[0][1] = SOLVERS.get(str(evidence["method"]), str(evidence["method"]))
    sides = []
    for side in ("source", "target"):
        if f"n_{side}_used" in evidence and f"n_{side}" in evidence:
            used, n = int(evidence[f"n_{side}_used"]), int(evidence[f"n_{side}"])
            sides.append(f"{used:,} of {n:,} {side} cells")
    if sides:
        rows.insert(2, ["cells that take part", joined(sides)])
    return table(["evidence", "value"], rows)


def _range(value: Any) -> str:
    """Write one value, or the smallest and largest of one a label."""
    if isinstance(value, np.ndarray) and value.ndim == 1 and value.size:
        if not np.issubdtype(value.dtype, np.number):
            return ", ".join(map(str, value))
        low, high = _value(value.min()), _value(value.max())
        return low if low == high else f"{low} to {high} (by label)"
    return _value(value)


def _made_table(results: Results) -> Table:
    versions = ", ".join(f"{name} {number}" for name, number in versions_of(PACKAGES).items())
    steps = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in results.seconds.items())
    minutes, seconds = divmod(round(sum(results.seconds.values())), 60)
    total = f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
    rows = [
        ["random seed", str(results.settings.seed)],
        ["run time", f"{total} ({steps})"],
        ["peak memory", _peak_memory()],
        ["trained on", str(getattr(results.model, "device", "cpu"))],
        ["versions", f"Python {platform.python_version()}, {versions}"],
        ["system", f"{platform.system()} {platform.machine()}"],
    ]
    return table(["", ""], rows)


def _peak_memory() -> str:
    """Most memory that this process held at once."""
    try:
        import resource
    except ImportError:
        return "not known on this system"
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # in KiB, on macOS in bytes
    return f"{peak / (1e9 if sys.platform == 'darwin' else 1e9 / 1024):.1f} GB"


def _frame_table(frame: pd.DataFrame, titles: Mapping[str, str], index: str = "") -> Table:
    """Return the columns of a data frame that have a title."""
    shown = [name for name in titles if name in frame.columns]
    rows = []
    for name, row in frame.iterrows():
        rows.append([*([str(name)] if index else []), *(_value(row[column]) for column in shown)])
    heads = [index] if index else []
    for name in shown:
        is_number = pd.api.types.is_numeric_dtype(frame[name])
        heads.append(f"#{titles[name]}" if is_number else titles[name])
    return table(heads, rows)


def _value(value: Any) -> str:
    """Write a number or a name for a reader."""
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, int | float):
        return str(value)
    if math.isnan(value):
        return "–"
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:.3f}" if 1e-3 <= abs(value) < 1e4 else f"{value:.2e}"


def _snippet(results: Results) -> str:
    asked = results.settings
    source, target = asked.source, asked.target
    columns = {m: results.label_column(m) for m in asked.modalities}
    names = set(columns.values())
    label_key = f", label_key={columns[source] if len(names) == 1 else columns!r}"
    label_key = "" if names == {"label"} else label_key
    return f'''import mudata
import scgroove as sg

mdata = mudata.read_h5mu("aligned.h5mu")
mdata["{source}"].obsm["X_groove"]   # shared space, one row a cell
sg.get.imputed(mdata, "{source}", "{target}")   # a table: cells x {target} features
coupling = sg.get.coupling(mdata, "{source}", "{target}")

model = sg.model.GROOVE.load("model", mdata)   # for new cells, or to go on training
sg.pl.imputed_vs_measured(mdata, "{source}", "{target}"{label_key})'''
