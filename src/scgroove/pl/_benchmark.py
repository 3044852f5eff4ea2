"""What the figures of a benchmark share: orders, names of metrics, how numbers are written."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import pandas as pd

from scgroove._figure import natural_order
from scgroove._palette import LABELS, MARKERS
from scgroove.errors import InputTypeError, UnknownNameError, did_you_mean, listed

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CEILING: Final = "oracle"
"""In the name of a learner or aligner that knows the truth."""

BETTER_COLOR, WORSE_COLOR, SAME_COLOR = "#0072B2", "#D55E00", "#8A929B"

_LINES: Final = tuple(color for color in LABELS if color not in ("#F0E442", "#84FCA8", "#60E4FC"))
"""Colors of lines: those of labels that are not too light for one."""

_SCOPES: Final = {"within_label": "within label", "global": "all cells"}
_BASES: Final = {
    "foscttm": ("FOSCTTM", "the share of candidate cells that lie nearer than the true partner"),
    "coupling_foscttm": ("FOSCTTM of the coupling", "the share of candidate cells that are given more mass than the true partner"),
    "barycentric_foscttm": (
        "barycentric FOSCTTM",
        "each cell is moved to the mean of its matches; the share of candidate cells that lie nearer than the true partner",
    ),
    "trace": ("trace", "the probability that a match gives to the true partner"),
    "trace_over_chance": ("trace over chance", "the probability given to the true partner, as a multiple of that of a random match"),
    "latent_error": ("latent error", "how far matched cells are apart in their true shared state, relative to a random match"),
    "label_mass": ("label mass", "the share of mass between cells of the same label"),
    "label_transfer": ("label transfer", "the share of cells that were not trained on whose nearest such cells of the other modality have their label, with the chance of every method brought to that of the shares of the labels"),
    "label_transfer_balanced": ("label transfer, balanced", "label transfer, every label weighing the same"),
    "mean_reciprocal_rank": ("mean reciprocal rank", "the mean of 1 / rank of the true partner among the candidates"),
    "recall_at_1": ("recall at 1", "the share of cells whose nearest candidate is the true partner"),
    "recall_at_10": ("recall at 10", "the share of cells whose true partner is among the 10 nearest candidates"),
    "mse": ("squared error", "the mean squared error of imputed values"),
    "r2": ("R²", "the share of the variance of measured values that imputed ones explain"),
    "energy_distance": ("energy distance", "how far the distribution of imputed values of a label lies from the measured one"),
    "pearson_per_cell": ("Pearson r, per cell", "the correlation of imputed and measured values of a cell, over features"),
    "pearson_per_feature": ("Pearson r, per feature", "the correlation of imputed and measured values of a feature, over cells"),
    "spearman_per_cell": ("Spearman r, per cell", "the rank correlation of imputed and measured values of a cell, over features"),
    "spearman_per_feature": ("Spearman r, per feature", "the rank correlation of imputed and measured values of a feature, over cells"),
    "effect_pearson": ("Pearson r of effects", "the correlation of imputed and measured effects of a label (its mean minus that of the controls), over features"),
    "perturbot_foscttm": ("FOSCTTM of Perturb-OT", "as Perturb-OT has it: the share of all target cells, labels pooled, that lie nearer to where the coupling sends a cell than its true partner"),
    "perturbot_dose_fraction": ("dose fraction of Perturb-OT", "as Perturb-OT has it: the share of the mass that lies between cells of equal label and dose"),
    "perturbot_relative_dose_fraction": ("relative dose fraction of Perturb-OT", "as Perturb-OT has it: the dose fraction, with 0 where mass is spread evenly within labels and 1 where every cell meets its true partner"),
    "perturbot_pearson_corr": ("Pearson r of Perturb-OT, per cell", "as Perturb-OT has it: the correlation of imputed and measured values of a cell, over features"),
    "perturbot_spearman_corr": ("Spearman r of Perturb-OT, per cell", "as Perturb-OT has it: the rank correlation of imputed and measured values of a cell, over features"),
    "perturbot_pearson_samples": ("Pearson r of Perturb-OT, per feature", "as Perturb-OT has it: the correlation of imputed and measured values of a feature, over cells, 0 where it is constant"),
    "perturbot_spearman_samples": ("Spearman r of Perturb-OT, per feature", "as Perturb-OT has it: the rank correlation of imputed and measured values of a feature, over cells"),
    "perturbot_mse": ("squared error of Perturb-OT", "as Perturb-OT has it: the mean squared error of imputed values"),
    "psa_trace": ("trace of PSA", "as propensity score alignment has it: the probability of the true partner within the label, labels weighing alike"),
    "psa_foscttm": ("FOSCTTM of PSA", "as propensity score alignment has it: of targets drawn from the coupling within labels, labels weighing alike"),
    "psa_latent_mse": ("latent error of PSA", "as propensity score alignment has it: the mean squared error of the projected true latent, labels weighing alike"),
    "psa_probe_r2": ("R² of PSA", "as propensity score alignment has it: the share of the variance of measured values that imputed ones explain"),
    "latent_retention": ("retention of the true latent", "the share of what cells of a label differ in (the true latent) that a ridge regression reads from the representation"),
    "effect_sign_agreement": ("sign agreement", "the share of strongly changed features whose imputed effect has the right sign"),
}  # fmt: skip
_CANDIDATES: Final = {
    "within_label": "Candidates are cells of the same label, the hard question.",
    "global": "Candidates are all cells.",
}


def split_metric(name: str) -> tuple[str, str]:
    """Return a metric and its scope: ``("foscttm", "within_label")``; the scope is empty where there is none."""
    for scope in _SCOPES:
        if name.endswith(f"_{scope}"):
            return name.removesuffix(f"_{scope}"), scope
    return name, ""


def metric_title(name: str) -> str:
    """Return how a metric is called in figures."""
    if name.startswith("gap_closed_"):
        return f"{metric_title(name.removeprefix('gap_closed_'))}: share of the gap closed"
    base, scope = split_metric(name)
    title = _BASES[base][0] if base in _BASES else base.replace("_", " ")
    return f"{title}, {_SCOPES[scope]}" if scope else title


def metric_meaning(name: str) -> str:
    """Return what a metric is, in one or two sentences; nothing where it is not known."""
    base, scope = split_metric(name)
    if base not in _BASES:
        return ""
    text = _BASES[base][1]
    return f"{text[0].upper()}{text[1:]}. {_CANDIDATES.get(scope, '')}".strip()


def direction(better: str) -> str:
    """Say which way is better."""
    return f"{better} is better"


def ceilings_in(results: pd.DataFrame, ceilings: Iterable[str] | None) -> list[str] | None:
    """Return the learners and aligners that know the truth: as given, else as the results say; None if they do not say.

    An aligner knows it where its rows say so with a learner that does not.
    """
    _check_table(results)
    if ceilings is not None or "knows_truth" not in results:
        return list(ceilings) if ceilings is not None else None
    told = results.dropna(subset=["knows_truth"])
    told = told.assign(knows_truth=told["knows_truth"].astype(bool))
    alone = told.groupby("learner")["knows_truth"].min()
    learners = [str(name) for name in alone.index[alone]]
    coupled = told[(told["aligner"] != "") & ~told["learner"].isin(learners)]
    by_aligner = coupled.groupby("aligner")["knows_truth"].min()
    return [*learners, *(str(name) for name in by_aligner.index[by_aligner])]


def _check_table(results: object) -> None:
    if not isinstance(results, pd.DataFrame):
        raise InputTypeError(
            f"results must be a DataFrame, such as scgroove.benchmark.read(folder) returns; found {type(results).__name__}."
        )


def is_ceiling(name: str, ceilings: Iterable[str] | None) -> bool:
    """Whether a learner or aligner knows the truth, so that it is a limit and no method."""
    return name in set(ceilings) if ceilings is not None else CEILING in name.lower()


def without_ceilings(results: pd.DataFrame, ceilings: Iterable[str] | None) -> pd.DataFrame:
    """Leave out what knows the truth."""
    _check_table(results)
    names = {*results["learner"].unique(), *results["aligner"].fillna("").unique()}
    known = {name for name in names if is_ceiling(str(name), ceilings)}
    return results[~results["learner"].isin(known) & ~results["aligner"].isin(known)]


def chosen(kind: str, asked: Sequence[str] | None, known: Sequence[str]) -> list[str]:
    """Return the names asked for, or all.

    Raises
    ------
    UnknownNameError
        If one is not there; the message names the near miss.
    """
    for name in asked or ():
        if name not in known:
            raise UnknownNameError(
                f"no {kind} {name!r} in these results; they hold {listed(known, 30)}.{did_you_mean(name, known)}"
            )
    return list(asked) if asked is not None else list(known)


def best_first(summary: pd.DataFrame, ceilings: Iterable[str] | None) -> list[str]:
    """Learners by their mean over all there is, the best first and those that know the truth last."""
    sign = 1 if summary["better"].iloc[0] == "lower" else -1
    means = (sign * summary.groupby("learner")["mean"].mean()).sort_values(kind="stable")
    names = [str(name) for name in means.index]
    return sorted(names, key=lambda name: is_ceiling(name, ceilings))


def aligner_order(aligners: Iterable[str]) -> list[str]:
    """Aligners that see labels first, then those that do not."""
    names = natural_order(name for name in aligners if name)
    return sorted(names, key=lambda name: (is_ceiling(name, None), "unlabeled" in name))


def decimals(values: Iterable[float]) -> int:
    """Digits after the point with which numbers have three significant digits or so."""
    size = max((abs(value) for value in values if math.isfinite(value)), default=0.0)
    return 3 if size < 2 else 2 if size < 20 else 1 if size < 200 else 0


def number(value: float, digits: int | None = None) -> str:
    """Write a number with three significant digits or so, and never as a power of ten."""
    if not math.isfinite(value):
        return "–"
    return f"{value:,.{decimals([value]) if digits is None else digits}f}".replace("-", "−")


def p_value(p: float) -> str:
    """Write a p value."""
    if not math.isfinite(p):
        return "–"
    return "< 0.0001" if p < 1e-4 else f"{p:.2g}" if p < 1e-3 else f"{min(p, 1.0):.3g}"


def interval_text(low: float, high: float) -> str:
    """Write an interval."""
    return f"{number(low)} to {number(high)}" if math.isfinite(low) else "–"


def learner_lines(
    results: pd.DataFrame, ceilings: Iterable[str] | None
) -> dict[str, Mapping[str, Any]]:
    """Color, marker and dashes of each learner, the same in all figures; black and dashed if it knows the truth."""
    learners = natural_order(results["learner"].astype(str))
    methods = [name for name in learners if not is_ceiling(name, ceilings)]
    styles: dict[str, Mapping[str, Any]] = {
        name: {
            "color": _LINES[i % len(_LINES)],
            "marker": MARKERS[i % len(MARKERS)],
            "linestyle": "-",
        }
        for i, name in enumerate(methods)
    }
    for name in learners:
        styles.setdefault(name, {"color": "#222222", "marker": "", "linestyle": (0, (4, 2))})
    return styles


def spread(places: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Move places apart until none is nearer than ``gap`` to the next, between ``low`` and ``high`` if there is room."""
    order = sorted(range(len(places)), key=lambda i: places[i])
    out = [min(max(place, low), high) for place in places]
    for before, after in pairwise(order):
        out[after] = max(out[after], out[before] + gap)
    if order and out[order[-1]] > high:
        out[order[-1]] = high
        for after, before in pairwise(order[::-1]):
            out[before] = min(out[before], out[after] - gap)
    return out


def log_axis(ax: Axes, which: str) -> None:
    """Make an axis logarithmic, with few numbers, written out."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis = ax.xaxis if which == "x" else ax.yaxis
    (ax.set_xscale if which == "x" else ax.set_yscale)("log")
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=12))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axis.set_minor_formatter(NullFormatter())


def wrapped(name: str, length: int = 14) -> str:
    """Break a long name at spaces and underscores."""
    lines = [""]
    for part in re.findall(r"[^ _]+[ _]?", name):
        if lines[-1] and len(lines[-1]) + len(part.rstrip()) > length:
            lines.append("")
        lines[-1] += part
    return "\n".join(line.rstrip() for line in lines)
