"""The report as one HTML file: pictures inside, no script, nothing from the network."""

from __future__ import annotations

import base64
import math
import platform
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from scgroove import _keys
from scgroove._report._reading import in_words, notes, read_link
from scgroove._report._results import Results
from scgroove.metrics.permutation_tests import ALPHA

TAGS = {
    "good": "Good.",
    "caution": "Careful.",
    "problem": "Problem.",
    "construction": "By construction.",
}
PACKAGES = ("scgroove", "scvi-tools", "torch", "anndata", "mudata", "numpy", "POT")
FILES = {
    "report.html": "this page",
    "aligned.h5mu": "the data with the shared space, the picture, the coupling and the imputed values",
    "model/": "the trained model",
    "labels.csv": "cells of each label in each modality",
    "imputation.csv": "correlation of imputed and measured values, feature by feature",
    "scores.csv": "matching and imputation against the truth",
    "tests.csv": "tests of the link in both directions",
    "null.csv": "scores beside the same on permuted labels",
    "figures/": "the pictures of this page as PNG",
}
MOST_FEATURES = 24
FILE_DPI, SCREEN_DPI = 160, 112
SOLVERS = {"eot": "entropic optimal transport", "emd": "exact optimal transport"}

Table = dict[str, Any]


def render(results: Results, images: Mapping[str, Path], *, command: str) -> str:
    """Write the report of a run.

    Parameters
    ----------
    results
        What the run found.
    images
        PNG files of the figures ``training``, ``latent``, ``confusion`` (where there is one), ``coupling`` and
        ``imputation``.
    command
        How the run was started.

    Returns
    -------
    str
        A complete HTML page.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("scgroove._report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    encoded = {name: _embedded(path.read_bytes()) for name, path in images.items()}
    page = environment.get_template("report.html.j2")
    return page.render(**_context(results), figures=encoded, command=command)


def _embedded(png: bytes) -> dict[str, Any]:
    """A picture as text, with the width at which its letters are as large in all pictures."""
    pixels = int.from_bytes(png[16:20], "big")
    return {"data": base64.b64encode(png).decode(), "width": round(pixels * SCREEN_DPI / FILE_DPI)}


def _context(results: Results) -> dict[str, Any]:
    asked = results.settings
    return {
        "source": asked.source,
        "target": asked.target,
        "modalities": list(asked.modalities),
        "data_name": results.data_name,
        "versions": _versions(),
        "date": datetime.now().astimezone().strftime("%d %B %Y, %H:%M"),
        "sections": _sections(results),
        "tags": TAGS,
        "notes": notes(results),
        "link": read_link(results.tests, results.labels, asked.source, asked.target),
        "story": _story(results),
        "data_table": _data_table(results),
        **_label_context(results),
        "accuracy_table": _accuracy_table(results),
        **_alignment_context(results),
        **_imputation_context(results),
        **_score_context(results),
        **_null_context(results),
        "warnings": results.warnings,
        "other_warnings": results.other_warnings,
        "n_warnings": _count(len(results.warnings), "warning was", "warnings were")
        if results.warnings
        else "",
        "files": [
            (name, meaning) for name, meaning in FILES.items() if name not in _left_out(results)
        ],
        "snippet": _snippet(results),
        "made_table": _made_table(results),
    }


def _has_truth(results: Results) -> bool:
    return results.scores is not None


def _left_out(results: Results) -> set[str]:
    """Files and sections that there is nothing to fill with."""
    there = {
        "scores": results.scores is not None,
        "null": results.null is not None,
        "tests": any(results.tests.values()),
    }
    names = {name for name, filled in there.items() if not filled}
    return names | {f"{name}.csv" for name in names}


def _sections(results: Results) -> list[tuple[str, str]]:
    every = {
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
    left_out = _left_out(results)
    return [(anchor, title) for anchor, title in every.items() if anchor not in left_out]


# -- sentences ---------------------------------------------------------------------------------------------------


def _story(results: Results) -> list[str]:
    """Tell the run in plain sentences with its own numbers."""
    asked, mdata = results.settings, results.mdata
    cells = _and(f"{mdata.mod[m].n_obs:,} {m} cells" for m in asked.modalities)
    shared = _count(int((results.labels["status"] == "shared").sum()), "label was", "labels were")
    epochs = len(results.model.history["train_loss"])
    within = "within each label only" if asked.labeled else "over all cells, whatever their label"
    solver = SOLVERS.get(asked.method, asked.method)
    how = {
        "decoder": "the model's decoder read them from the place of the cell in the shared space",
        "barycentric": f"each is the weighted mean of the {asked.target} cells that the {asked.source} cell is matched to",
    }.get(asked.impute, asked.impute)
    return [
        f"{cells} were given. They need share no features and no cells: what links them is the label, and "
        f"{shared} found in two modalities or more.",
        f"A model with one encoder and one decoder for each modality was trained for {epochs} epochs. It places "
        "cells of all modalities into one space, so that cells with the same label lie together and every cell can "
        "be read back. Cells without a label, or with a label that only one modality has, helped to learn how "
        "cells are read, not where labels lie.",
        f"Each {asked.source} cell was then matched to {asked.target} cells by {solver}, {within}.",
        f"Last, {asked.target} values were imputed for all {mdata.mod[asked.source].n_obs:,} {asked.source} cells: {how}.",
    ]


def _label_context(results: Results) -> dict[str, Any]:
    asked, table = results.settings, results.labels
    modalities = [m for m in asked.modalities if m in table.columns]
    counts = table[modalities]
    rows = [
        {
            "label": str(label),
            "counts": [int(n) for n in counts.loc[label]],
            "kind": table.loc[label, "status"],
            "status": _status(table.loc[label, "status"], counts.loc[label]),
        }
        for label in table.index
    ]
    return {
        "label_rows": rows,
        "label_story": _label_story(table, counts),
        "modalities": modalities,
    }


def _status(status: str, counts: pd.Series) -> str:
    if status != "exclusive":
        return str(status)
    return "only in " + _and(str(m) for m in counts.index[counts > 0])


def _label_story(table: pd.DataFrame, counts: pd.DataFrame) -> str:
    shared = table.index[table["status"] == "shared"]
    exclusive = table[table["status"] == "exclusive"]
    parts = [f"{_count(len(shared), 'label is', 'labels are')} shared: {_some(shared)}."]
    for modality in counts.columns:
        mine = exclusive.index[(counts.loc[exclusive.index] > 0)[modality]]
        if len(mine):
            parts.append(
                f"{_count(len(mine), 'label is', 'labels are')} only in {modality}: {_some(mine)}."
            )
    unlabeled = counts[table["status"] == "unlabeled"].sum()
    if int(unlabeled.sum()):
        parts.append(
            "Without a label: "
            + _and(f"{int(n):,} {m} cells" for m, n in unlabeled.items() if n)
            + "."
        )
    else:
        parts.append("Every cell has a label.")
    return " ".join(parts)


def _alignment_context(results: Results) -> dict[str, Any]:
    asked, evidence = results.settings, results.evidence
    if asked.labeled:
        story = (
            f"The coupling is a table that says how much of each {asked.source} cell corresponds to each "
            f"{asked.target} cell. It was allowed between cells of the same label only; cells of labels that one "
            "of the two does not have take no part."
        )
        caption = (
            "By construction: mass may not cross labels, so the diagonal is 1 whatever the data are. Whether the "
            "link is real is told by the table above."
        )
    else:
        story = (
            f"The coupling is a table that says how much of each {asked.source} cell corresponds to each "
            f"{asked.target} cell. It was made without looking at labels, so that they can judge it."
        )
        caption = (
            "Mass on the diagonal went to cells of the right label. The coupling did not see the labels, but the "
            "model that made the space was trained on them, so this picture is no test."
        )
    return {
        "confusion_caption": _confusion_caption(results),
        "labeled": asked.labeled,
        "alignment_story": story,
        "coupling_caption": caption,
        "evidence_table": _evidence_table(evidence),
    }


def _confusion_caption(results: Results) -> str:
    """Say how to read the picture, and which labels stand out in it."""
    if results.recovered is None:
        return ""
    chance = 1 / len(results.recovered)
    if results.sample_held_out:
        clear = _found_labels(results.recovered, results.sample_size, chance)
    else:
        clear = "The model was trained on these cells and their labels, so this picture is no test."
    return (
        f"The matching done over with {results.sample}, this time without looking at labels: where does the mass of "
        f"each {results.settings.source} label go? On the diagonal it goes to the right label; were the link missing, "
        f"every share would be {chance:.0%}. Labels that trade mass look alike to the model. {clear}"
    )


def _found_labels(recovered: pd.Series, size: int, chance: float) -> str:
    """Name the labels with more mass than by chance, by exact tests, corrected for their number."""
    best = recovered.sort_values(ascending=False, kind="stable")
    right = np.floor(best.to_numpy(float) * size + 1e-9).astype(int)
    p_values = [binomtest(int(k), size, chance, alternative="greater").pvalue for k in right]
    found = best[np.array(p_values) * len(best) <= ALPHA]
    if not len(found):
        return "No label is shown to be found more often."
    named = ", ".join(f"{label} ({share:.0%})" for label, share in found.head(6).items())
    more = f" and {len(found) - 6} more" if len(found) > 6 else ""
    return f"Found more often than by chance, in a test of each label: {named}{more}."


def _imputation_context(results: Results) -> dict[str, Any]:
    asked, table, truth = results.settings, results.agreement, _has_truth(results)
    r = table["r"].dropna()
    of = f"{len(table):,} {asked.target} features"
    if not len(r):
        story = f"{of} were imputed. No correlation can be given: it needs three shared labels or known pairs."
    elif truth:
        story = (
            f"For {int(table['n'].iloc[0]):,} {asked.source} cells the true {asked.target} values are known, and "
            f"were hidden. Over {of}, the median correlation of imputed and true values is {r.median():.2f} (from "
            f"{r.min():.2f} to {r.max():.2f})."
        )
    else:
        story = (
            f"The true {asked.target} values of the {asked.source} cells are not known. What can be compared is "
            f"the mean of each shared label: over {of}, the median correlation across "
            f"{int(table['n'].iloc[0])} labels is {r.median():.2f} (from {r.min():.2f} to {r.max():.2f})."
        )
    made = results.mdata.mod[asked.source].uns.get(_keys.imputed(asked.target), {})
    if "library_size" in made:
        story += (
            f" Counts are compared at a total of {float(made['library_size']):,.0f} in every cell."
        )
    story += _never_seen(results)
    points = (
        "one cell whose true value is known"
        if truth
        else "one label, bars are standard errors of the mean"
    )
    caption = f"Each point is {points}; on the gray line, imputed and measured are equal. " + (
        "" if truth else _label_caution(results)
    )
    shown = table.sort_values("r", ascending=False, na_position="last", kind="stable")
    if len(shown) > MOST_FEATURES:
        shown = pd.concat([shown.head(MOST_FEATURES // 2), shown.tail(MOST_FEATURES // 2)])
    titles = {
        "r": "r",
        "label_mean_r": "r of the label mean",
        "null_r": "r on permuted labels",
        "n": "cells" if truth else "labels",
        "measured": "mean measured",
        "imputed": "mean imputed",
        "shift": "difference (SD)",
    }
    return {
        "imputation_story": story,
        "imputation_caption": caption,
        "agreement_table": _frame_table(shown, titles, index="feature") if len(r) else None,
        "agreement_more": len(table) if len(table) > MOST_FEATURES else None,
    }


def _label_caution(results: Results) -> str:
    if results.by_construction:
        return "By construction: imputed cells were given the mean of their label, so the points lie near the line."
    return "The model has seen these labels: agreement is needed, and proves little about single cells."


def _never_seen(results: Results) -> str:
    """How many source cells have no label that the target has."""
    asked, table = results.settings, results.labels
    alone = int(
        table.loc[(table[asked.target] == 0) | (table["status"] == "unlabeled"), asked.source].sum()
    )
    if not alone:
        return ""
    return (
        f" {_count(alone, 'cell has', 'cells have')} no label, or one that was never measured in {asked.target}: "
        f"what is imputed for them rests on their {asked.source} values alone."
    )


def _score_context(results: Results) -> dict[str, Any]:
    if results.scores is None:
        return {"scores_table": None, "score_story": ""}
    story = (
        "Some cells were measured in both modalities. Which ones they are was hidden from the training and from "
        "the matching, and is used here only to score them."
    )
    titles = {
        "metric": "score",
        "value": "value",
        "chance": "chance",
        "chance_sd": "SD of chance",
        "p_value": "p",
        "null_mean": "permuted labels",
        "null_sd": "their SD",
        "n": "cells",
    }
    named = results.scores.assign(
        metric=[_score_name(str(name)) for name in results.scores["metric"]]
    )
    by_coupling = results.scores["metric"].str.startswith(("coupling", "barycentric"))
    among_all = results.scores["metric"].str.endswith("_global")
    p_values = results.scores["p_value"].map(in_words).str.removeprefix("p ").str.removeprefix("= ")
    p_values[among_all] = "no test: the model saw the labels"
    if results.settings.labeled:
        p_values[among_all & by_coupling] = "by construction: within labels"
    return {
        "scores_table": _frame_table(named.assign(p_value=p_values), titles),
        "score_story": story,
    }


def _score_name(metric: str) -> str:
    """``coupling_foscttm_within_label`` as a reader wants it."""
    kinds = {
        "coupling_foscttm": "FOSCTTM of the coupling",
        "barycentric_foscttm": "barycentric FOSCTTM",
        "foscttm": "FOSCTTM of the shared space",
        "trace_over_chance": "trace over chance",
        "trace": "trace",
    }
    scopes = {"_within_label": ", within label", "_global": ", among all cells"}
    kind = next((kind for kind in kinds if metric.startswith(kind)), metric)
    rest = metric.removeprefix(kind)
    return kinds.get(kind, kind) + scopes.get(rest, rest.replace("_", " "))


# -- tables ------------------------------------------------------------------------------------------------------


def _data_table(results: Results) -> Table:
    asked, model = results.settings, results.model
    unlabeled = results.labels[results.labels["status"] == "unlabeled"]
    rows = []
    for m in asked.modalities:
        adata = results.mdata.mod[m]
        role = {asked.source: "source", asked.target: "target"}.get(m, "trained on")
        missing = int(unlabeled[m].sum()) if m in unlabeled else 0
        rows.append(
            [m, role, f"{adata.n_obs:,}", f"{adata.n_vars:,}", f"{missing:,}", asked.layers.get(m, "X"),
             model.likelihood[m], model.likelihood_reasons[m]]
        )  # fmt: skip
    columns = [
        "modality",
        "role",
        "cells",
        "features",
        "unlabeled",
        "values in",
        "likelihood",
        "because",
    ]
    return _table(columns, rows, numbers={"cells", "features", "unlabeled"})


LEARNER_NAMES = {
    "groove": "GROOVE, kept out of training",
    "cca_labels": "closed form (cca_labels), other half",
}


def _accuracy_table(results: Results) -> Table:
    columns = [
        "direction",
        "cells",
        "number",
        "labels",
        "right, labels equal",
        "95% interval",
        "by chance",
        "p",
        "permuted labels",
    ]
    rows = []
    for learner, tests in results.tests.items():
        rows += [
            [f"{source} → {target}", LEARNER_NAMES[learner], f"{one.n_cells:,}", f"{one.n_labels}",
             f"{one.accuracy:.1%}", f"{one.low:.0%} to {one.high:.0%}", f"{one.chance:.1%}",
             in_words(one.p_value).removeprefix("p ").removeprefix("= "),
             _on_permuted(results, learner, f"label accuracy {source} → {target}, held-out cells")]
            for (source, target), one in tests.items()
        ]  # fmt: skip
    rows += [
        [f"{row.source} → {row.target}", "GROOVE, all: seen in training", f"{row.n_cells:,}", f"{row.n_labels}",
         f"{row.balanced_accuracy:.1%}", "–", f"{row.chance:.1%}", "no test",
         _on_permuted(results, "groove", f"label accuracy {row.source} → {row.target}, all cells")]
        for row in results.accuracy.itertuples()
    ]  # fmt: skip
    return _table(columns, rows, numbers=set(columns[2:]))


def _on_permuted(results: Results, learner: str, score: str) -> str:
    if results.null is None:
        return "–"
    row = results.null[(results.null["learner"] == learner) & (results.null["score"] == score)]
    if not len(row):
        return "–"
    return f"{row['null_mean'].iloc[0]:.1%} ± {row['null_sd'].iloc[0]:.1%}"


def _null_context(results: Results) -> dict[str, Any]:
    if results.null is None:
        return {"null_table": None, "null_story": ""}
    n = results.settings.null
    story = (
        "What the same analysis gives on labels that were permuted among the cells of each modality, "
        "independently of the other modality. A score means something as far as it lies outside of that range. "
    )
    if n:
        story += f"GROOVE was trained and everything after it was done again {_count(n, 'time', 'times')}. "
    story += (
        "The learner in closed form takes principal components of at most 2,000 cells of each modality, learns "
        "canonical correlations of label means from half of the cells of each label, and is asked for the others."
    )
    if not n:
        story += " To repeat the whole analysis with GROOVE on permuted labels: --null 5."
    titles = {
        "learner": "learner",
        "score": "score",
        "value": "value",
        "null_mean": "permuted labels, mean",
        "null_sd": "SD",
        "null_min": "least",
        "null_max": "most",
        "n_null": "permutations",
    }
    return {"null_table": _frame_table(results.null, titles), "null_story": story}


_EVIDENCE = {
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


def _evidence_table(evidence: Mapping[str, Any]) -> Table:
    rows = [[title, _range(evidence[key])] for key, title in _EVIDENCE.items() if key in evidence]
    if "method" in evidence and rows:
        rows[0][1] = SOLVERS.get(str(evidence["method"]), str(evidence["method"]))
    sides = [
        f"{int(evidence[f'n_{side}_used']):,} of {int(evidence[f'n_{side}']):,} {side} cells"
        for side in ("source", "target")
        if f"n_{side}_used" in evidence and f"n_{side}" in evidence
    ]
    if sides:
        rows.insert(2, ["cells that take part", _and(sides)])
    return _table(["evidence", "value"], rows)


def _range(value: Any) -> str:
    """One value, or the smallest and largest of one a label."""
    if isinstance(value, np.ndarray) and value.ndim == 1 and value.size:
        if not np.issubdtype(value.dtype, np.number):
            return ", ".join(map(str, value))
        low, high = _value(value.min()), _value(value.max())
        return low if low == high else f"{low} to {high} (by label)"
    return _value(value.item() if isinstance(value, np.generic) else value)


def _made_table(results: Results) -> Table:
    versions = ", ".join(f"{name} {number}" for name, number in _versions().items())
    steps = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in results.seconds.items())
    peak = peak_memory_gb()
    asked = results.settings
    rows = [
        ["random seed", str(asked.seed)],
        ["run time", f"{duration(sum(results.seconds.values()))} ({steps})"],
        ["peak memory", "not known on this system" if peak is None else f"{peak:.1f} GB"],
        ["trained on", str(getattr(results.model, "device", "cpu"))],
        ["versions", f"Python {platform.python_version()}, {versions}"],
        ["system", f"{platform.system()} {platform.machine()}"],
    ]
    return _table(["", ""], rows)


def _frame_table(frame: pd.DataFrame, titles: Mapping[str, str], index: str | None = None) -> Table:
    """Columns of a data frame that have a title."""
    shown = [name for name in titles if name in frame.columns]
    numbers = {titles[name] for name in shown if pd.api.types.is_numeric_dtype(frame[name])}
    rows = [
        ([str(name)] if index else []) + [_value(row[column]) for column in shown]
        for name, row in frame.iterrows()
    ]
    return _table(
        ([index] if index else []) + [titles[name] for name in shown], rows, numbers=numbers
    )


def _table(columns: Sequence[str], rows: list[list[str]], numbers: Iterable[str] = ()) -> Table:
    right = set(numbers)
    return {
        "columns": [{"title": title, "number": title in right} for title in columns],
        "rows": rows,
    }


def _value(value: Any) -> str:
    """A number or a name as a reader wants it."""
    if isinstance(value, bool) or type(value).__name__ in {"bool", "bool_"}:
        return "yes" if value else "no"
    if isinstance(value, str):
        return value
    try:
        number = float(value)
    except (TypeError, ValueError):
        return str(value)
    if math.isnan(number):
        return "–"
    if number.is_integer() and abs(number) < 1e15:
        return f"{int(number):,}"
    return f"{number:.3f}" if 1e-3 <= abs(number) < 1e4 else f"{number:.2e}"


# -- provenance --------------------------------------------------------------------------------------------------


def _snippet(results: Results) -> str:
    asked = results.settings
    key = asked.label_key
    columns = {m: key if isinstance(key, str) else key[m] for m in asked.modalities}
    names = set(columns.values())
    label_key = f", label_key={columns[asked.source] if len(names) == 1 else columns!r}"
    label_key = "" if names == {"label"} else label_key
    return "\n".join(
        [
            "import mudata",
            "import scgroove as sg",
            "",
            'mdata = mudata.read_h5mu("aligned.h5mu")',
            f'mdata["{asked.source}"].obsm["X_groove"]   # shared space, one row a cell',
            f'sg.get.imputed(mdata, "{asked.source}", "{asked.target}")   # a table: cells x {asked.target} features',
            f'coupling = sg.get.coupling(mdata, "{asked.source}", "{asked.target}")',
            "",
            'model = sg.model.GROOVE.load("model", mdata)   # for new cells, or to go on training',
            f'sg.pl.imputed_vs_measured(mdata, "{asked.source}", "{asked.target}"{label_key})',
        ]
    )


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed" if name != "scgroove" else _own_version()
    return found


def _own_version() -> str:
    import scgroove

    return str(getattr(scgroove, "__version__", "unknown"))


def peak_memory_gb() -> float | None:
    """Most memory that this process held at once; None where the system does not tell."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e9 if sys.platform == "darwin" else 1e9 / 1024)


def duration(seconds: float) -> str:
    """Seconds as people say them."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _count(n: int, one: str, many: str) -> str:
    return f"{n:,} {one if n == 1 else many}"


def _and(items: Iterable[str]) -> str:
    *first, last = list(items) or [""]
    return f"{', '.join(first)} and {last}" if first else last


def _some(labels: Iterable[Any]) -> str:
    """All names where there are few, the first ones where there are many."""
    names = [str(label) for label in labels]
    limit = 30 if len(names) <= 30 else 12
    rest = len(names) - limit
    return ", ".join(names[:limit]) + (f" and {rest} more" if rest > 0 else "")
