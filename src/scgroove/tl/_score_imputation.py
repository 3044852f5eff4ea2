"""Scoring imputed values against what was measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from scgroove import _keys, get, metrics
from scgroove._labels import Label, UnlabeledCategory, encode
from scgroove._types import IntArray
from scgroove.data.checks import PerModality
from scgroove.data.pairing import known_partners
from scgroove.data.screen import check_call, check_pair, labels_of_modality
from scgroove.errors import InputError
from scgroove.get.values import interval_maker
from scgroove.metrics.baselines import FEWEST_LABELS
from scgroove.metrics.values import dense, steps
from scgroove.tl._feature_scores import feature_scores

if TYPE_CHECKING:
    from mudata import MuData

OF_CELLS: Final = (
    "r2",
    "mse",
    "pearson_per_feature",
    "spearman_per_feature",
    "pearson_per_cell",
    "spearman_per_cell",
)
"""Scores that need cells measured in both modalities."""

OF_LABELS: Final = ("effect_pearson", "effect_sign_agreement", "energy_distance")
"""Scores that need labels only."""

LEVELS: Final = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98)
"""Intervals whose coverage is measured."""

COLUMNS: Final = (
    "metric",
    "value",
    "chance",
    "label_mean",
    "control_mean",
    "shuffled",
    "perfect",
    "better",
    "n",
)


def score_imputation(
    mdata: MuData,
    source: str,
    target: str,
    *,
    key: str | None = None,
    layer: str | None = None,
    pair_key: str | None = None,
    label_key: PerModality | None = _keys.LABEL,
    control: Label | None = None,
    unlabeled_category: UnlabeledCategory = None,
    seed: int = 0,
    key_added: str | None = None,
) -> pd.DataFrame:
    """Score imputed values beside what knows the label and nothing of the cell.

    Where cells were measured in both modalities (the truth is known): correlation per feature and per cell, R2, squared error,
    and how often intervals hold the measured value. Of labels in both modalities, the same cells or not: correlation and sign
    of effects, label against control, and the distance of distributions. A label that a model was trained on, or whose cells
    were averaged, agrees by construction: :func:`scgroove.benchmark.leave_labels_out` asks the harder question.

    Parameters
    ----------
    mdata
        With imputed values, as :func:`scgroove.tl.impute` writes them.
    source, target
        The cells imputed for, and the modality imputed.
    key
        Key of the imputed values; default ``"imputed_<target>"``.
    layer
        Layer of the target that holds the measured values; default that of the imputation. Counts are scaled to the library
        size of the imputed ones.
    pair_key
        Column of ``mod[m].obs`` that is equal for the same cell. Default: as ``paired`` of ``setup_mudata``
        says; ``"auto"`` for data that were not set up.
    label_key
        Column of ``mod[m].obs`` with the label; None: only scores that need none.
    control
        The label that effects are differences to; None: no scores of effects.
    unlabeled_category
        A label that stands for "no label".
    seed
        Random state of the shuffled baseline and of chance.
    key_added
        Name of the result; default ``"imputation_<source>_<target>"``.

    Returns
    -------
    DataFrame
        One row a score: ``metric``, ``value``, ``chance``; what baselines have: ``label_mean`` (the mean of the other measured cells
        of the label; it has no correlation over cells with fewer than three labels), ``control_mean``, ``shuffled`` (another cell
        of the label), NaN where there is none; ``perfect``, ``better``
        (``"lower"``, ``"higher"``, or ``"near"`` for coverage, which should be the level), ``n`` (cells or labels). Sets the
        following fields:

        ``mdata.uns[key_added]``
            ``scores``: the same table; ``features``: one row a feature, with ``pearson`` over the cells with a known pair,
            ``label_mean`` (what that baseline has) and ``n``, and ``pearson_of_labels`` over the means of the labels in both
            modalities and ``n_labels``; ``calibration``: coverage at every level, with ``uncertainty`` and known pairs;
            ``skipped``: the reason for each score that was left out.

    Raises
    ------
    ValueError
        If nothing was imputed, a name is unknown, or there is neither a known pair nor a shared label to score by. ``mdata`` is
        unchanged then.

    See Also
    --------
    scgroove.pl.imputation_scores, scgroove.pl.calibration, scgroove.benchmark.leave_labels_out

    References
    ----------
    User guide, "Imputation" and "Evaluation".

    Examples
    --------
    >>> scgroove.tl.score_imputation(mdata, "rna", "prot", control="control")  # doctest: +SKIP
    """
    from scgroove.data.measured import complete_partners, fill

    check_call(mdata, key_added, (source, target))
    check_pair(mdata, source, target)
    imputed = get.imputed(mdata, source, target, key)
    predicted = imputed.to_numpy()
    measured = get.measured(mdata, source, target, key, layer=layer)
    labels = [labels_of_modality(mdata, m, label_key, unlabeled_category) for m in (source, target)]
    partner, why = known_partners(mdata, source, target, pair_key, labels)
    if pair_key is not None and partner is None:
        raise InputError(
            f"no pair of {source!r} and {target!r} cells is known: {why}. Leave pair_key out to score by labels."
        )
    partner, measured = complete_partners(partner, measured), fill(measured, labels[1])
    known = {
        "labels_x": labels[0],
        "labels_y": labels[1],
        "measured": measured,
        "partner": partner,
        "control": control,
        "seed": seed,
    }
    found = metrics.scores([*OF_CELLS, *OF_LABELS], missing="skip", predicted=predicted, **known)
    if not found:
        raise InputError(
            f"nothing to score {source!r} -> {target!r} by: {why or 'no label is in both'}. Name the column of pairs with "
            f"pair_key=, or that of labels with label_key=, and control= for effects."
        )
    baselines = (
        {}
        if partner is None
        else _baselines(known, [one.name for one in found if one.name in OF_CELLS])
    )
    rows = [_row(one, baselines) for one in found]
    result: dict[str, Any] = {
        "features": feature_scores(list(imputed.columns), predicted, measured, labels, partner),
        "skipped": dict(found.skipped),
    }
    if (
        partner is not None
        and _keys.imputed_sd(key or _keys.imputed(target)) in mdata.mod[source].obsm
    ):
        table = _coverage(mdata, source, target, key, measured, partner)
        rows += [
            _coverage_row(one) for one in table.to_dict("records") if one["level"] in (0.5, 0.9)
        ]
        result["calibration"] = table
    scores = pd.DataFrame(rows, columns=list(COLUMNS))
    name = key_added if key_added is not None else _keys.imputation(source, target)
    mdata.uns[name] = {"scores": scores, **result}
    return scores.copy()


def _baselines(known: Mapping[str, Any], names: list[str]) -> dict[str, dict[str, float]]:
    """Return the scores of predictions that know the label of a cell and nothing else, by baseline."""
    measured, labels_y, labels_x = known["measured"], known["labels_y"], known["labels_x"]
    scored = np.asarray(labels_x, dtype=object)[known["partner"] >= 0]
    few = len(encode(scored)[0]) < FEWEST_LABELS
    given = (measured, labels_y, labels_x)
    makers: dict[str, Callable[[], Any]] = {
        "label_mean": lambda: metrics.label_mean(*given, exclude=known["partner"]),
        "shuffled": lambda: metrics.shuffled_within_label(*given, seed=known["seed"]),
    }
    if known["control"] is not None:
        makers["control_mean"] = lambda: metrics.control_mean(
            measured, labels_y, known["control"], len(np.asarray(labels_x, dtype=object))
        )
    out = {}
    for name, make in makers.items():
        asked = [
            one
            for one in names
            if not (few and name == "label_mean" and one.endswith("_per_feature"))
        ]
        found = metrics.scores(asked, missing="skip", **{**known, "predicted": np.array(make())})
        out[name] = {one.name: one.value for one in found}
    return out


def _row(score: metrics.Score, baselines: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    beside = {
        name: baselines.get(name, {}).get(score.name, np.nan)
        for name in ("label_mean", "control_mean", "shuffled")
    }
    return {
        "metric": score.name,
        "value": score.value,
        "chance": score.chance,
        **beside,
        "perfect": score.perfect,
        "better": score.better,
        "n": score.n,
    }


def _coverage_row(one: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "metric": f"coverage_{100 * one['level']:.0f}",
        "value": one["coverage"],
        "chance": np.nan,
        "perfect": one["level"],
        "better": "near",
        "n": one["n"],
    }


def _coverage(
    mdata: MuData, source: str, target: str, key: str | None, measured: Any, partner: IntArray
) -> pd.DataFrame:
    """Return how often intervals of each level hold the measured value, over all features of the cells with a known pair."""
    ends = interval_maker(mdata, source, target, key)
    rows = np.flatnonzero(partner >= 0)
    hits, widths, n = np.zeros(len(LEVELS)), np.zeros(len(LEVELS)), 0
    for part in steps(rows.size, measured.shape[1]):
        truth = dense(measured[partner[rows[part]]])
        known = ~np.isnan(truth)
        n += int(known.sum())
        for i, level in enumerate(LEVELS):
            low, high = ends(rows[part], level)
            hits[i] += ((low <= truth) & (truth <= high) & known).sum()
            widths[i] += (high - low)[known].sum()
    return pd.DataFrame(
        {"level": LEVELS, "coverage": hits / n, "mean_width": widths / n, "n": rows.size}
    )
