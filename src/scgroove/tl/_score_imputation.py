"""Scoring imputed values against what was measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from scgroove import _keys, get, metrics
from scgroove._labels import Label, UnlabeledCategory, encode
from scgroove._types import IntArray, Labels
from scgroove.data.checks import PerModality
from scgroove.data.pairing import known_partners
from scgroove.data.screen import check_call, check_pair, labels_of_modality
from scgroove.errors import InputError
from scgroove.get.values import interval_maker
from scgroove.metrics.baselines import FEWEST_LABELS
from scgroove.metrics.values import dense, label_sums, steps

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
    """Score imputed values beside baselines that know the label and nothing of the cell.

    With cells measured in both modalities: correlation per feature and per cell, R2, squared error,
    and how often intervals hold the measured value. With labels in both modalities, of the same
    cells or not: correlation and sign of effects, label against control, and the distance of
    distributions. A label that a model was trained on, or whose cells were averaged, agrees by
    construction: :func:`scgroove.benchmark.leave_labels_out` asks the harder question.

    Parameters
    ----------
    mdata
        With imputed values, as :func:`scgroove.tl.impute` writes them.
    source, target
        The cells imputed for, and the modality imputed.
    key
        Key of the imputed values. Default ``"imputed_<target>"``.
    layer
        Layer of the target that holds the measured values. Default that of the imputation. Counts
        are scaled to the library size of the imputed ones.
    pair_key
        Column of ``mod[m].obs`` that is equal for the same cell. Default: as ``paired`` of
        ``setup_mudata`` says. ``"auto"`` for data that were not set up.
    label_key
        Column of ``mod[m].obs`` with the label. None: only scores that need none.
    control
        The label that effects are differences to. None: no scores of effects.
    unlabeled_category
        A label that stands for "no label".
    seed
        Random state of the shuffled baseline and of chance.
    key_added
        Name of the result. Default ``"imputation_<source>_<target>"``.

    Returns
    -------
    DataFrame
        One row a score: ``metric``, ``value``, ``chance``. The baselines ``label_mean`` (the mean
        of the other measured cells of the label; no correlation over cells with fewer than three
        labels), ``control_mean`` and ``shuffled`` (another cell of the label), NaN if there is
        none. ``perfect``, ``better`` (``"lower"``, ``"higher"``, or ``"near"`` for coverage, which
        should be the level), ``n`` (cells or labels). Sets the following fields:

        ``mdata.uns[key_added]``
            ``scores``: the same table. ``features``: one row a feature, with ``pearson`` over the
            cells with a known pair, its ``label_mean`` baseline and ``n``, and
            ``pearson_of_labels`` over the means of the labels in both modalities and ``n_labels``.
            ``calibration``: coverage at every level, with ``uncertainty`` and known pairs.
            ``skipped``: the reason for each score that was left out.

    Raises
    ------
    ValueError
        If nothing was imputed, a name is unknown, or there is neither a known pair nor a shared
        label to score by. ``mdata`` is unchanged then.

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
            f"no pair of {source!r} and {target!r} cells is known: {why}. Leave pair_key out to "
            f"score by labels."
        )
    partner, measured = complete_partners(partner, measured), fill(measured, labels[1])
    inputs = {
        "labels_x": labels[0],
        "labels_y": labels[1],
        "measured": measured,
        "partner": partner,
        "control": control,
        "seed": seed,
    }
    found = metrics.scores([*OF_CELLS, *OF_LABELS], missing="skip", predicted=predicted, **inputs)
    if not found:
        raise InputError(
            f"nothing to score {source!r} -> {target!r} by: {why or 'no label is in both'}. Name "
            "the column of pairs with pair_key=, or that of labels with label_key=, and control= "
            "for effects."
        )
    table = found.to_frame().rename(columns={"name": "metric"})
    for name, values in _baselines(inputs, [one for one in table["metric"] if one in OF_CELLS]):
        table[name] = table["metric"].map(values)
    result: dict[str, Any] = {
        "features": _features(list(imputed.columns), predicted, measured, labels, partner),
        "skipped": dict(found.skipped),
    }
    spread_key = _keys.imputed_sd(key or _keys.imputed(target))
    if partner is not None and spread_key in mdata.mod[source].obsm:
        ends = interval_maker(mdata, source, target, key)
        result["calibration"] = coverage = _coverage(ends, measured, partner)
        some = coverage[coverage["level"].isin((0.5, 0.9))]
        rows = pd.DataFrame(
            {
                "metric": [f"coverage_{100 * level:.0f}" for level in some["level"]],
                "value": some["coverage"],
                "perfect": some["level"],
                "better": "near",
                "n": some["n"],
            }
        )
        table = pd.concat([table, rows], ignore_index=True)
    scores = table.reindex(columns=list(COLUMNS))
    name = key_added if key_added is not None else _keys.imputation(source, target)
    mdata.uns[name] = {"scores": scores, **result}
    return scores.copy()


def _baselines(
    inputs: Mapping[str, Any], names: list[str]
) -> Iterator[tuple[str, dict[str, float]]]:
    """Yield the scores of predictions that know the label of a cell and nothing else."""
    if inputs["partner"] is None:
        return
    measured, labels_y, labels_x = inputs["measured"], inputs["labels_y"], inputs["labels_x"]
    of_cells = np.asarray(labels_x, dtype=object)
    seed, control = inputs["seed"], inputs["control"]
    predictions: dict[str, Any] = {
        "label_mean": metrics.label_mean(measured, labels_y, labels_x, exclude=inputs["partner"]),
        "shuffled": metrics.shuffled_within_label(measured, labels_y, labels_x, seed=seed),
    }
    if control is not None:
        predictions["control_mean"] = metrics.control_mean(
            measured, labels_y, control, len(of_cells)
        )
    few = len(encode(of_cells[inputs["partner"] >= 0])[0]) < FEWEST_LABELS
    for name, predicted in predictions.items():
        asked = names
        if few and name == "label_mean":
            asked = [one for one in names if not one.endswith("_per_feature")]
        found = metrics.scores(asked, missing="skip", predicted=np.array(predicted), **inputs)
        yield name, {one.name: one.value for one in found}


def _coverage(
    ends: Callable[[Any, float], tuple[Any, Any]], measured: Any, partner: IntArray
) -> pd.DataFrame:
    """Return how often intervals of each level hold the measured value, over all features."""
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


def _features(
    names: Sequence[object],
    predicted: Any,
    measured: Any,
    labels: Sequence[Labels],
    partner: IntArray | None,
) -> pd.DataFrame:
    """Return the correlation of imputed and measured values of each feature.

    ``pearson`` is over the ``n`` cells with a known pair, beside that of the mean of the other
    measured cells of the label. ``pearson_of_labels`` is over the means of the ``n_labels`` labels
    on both sides. NaN without pairs, with less than three labels, or if measured values do not
    vary.
    """
    table = pd.DataFrame({"feature": [str(name) for name in names]})
    table["pearson"] = table["label_mean"] = np.nan
    rows = np.flatnonzero(partner >= 0) if partner is not None else np.empty(0, dtype=np.intp)
    if partner is not None:
        truth, own = measured[partner[rows]], np.asarray(labels[0], dtype=object)[rows]
        table["pearson"] = metrics.correlation(predicted[rows], truth, nan="omit")
        if len(encode(own)[0]) >= FEWEST_LABELS:
            means = metrics.label_mean(measured, labels[1], own, exclude=partner[rows])
            table["label_mean"] = metrics.correlation(means, truth, nan="omit")
    table["n"] = int(rows.size)
    vocabulary, codes = encode(*labels)
    sums_p, n_p = label_sums(predicted, codes[0], len(vocabulary))
    sums_m, n_m = label_sums(measured, codes[1], len(vocabulary))
    both = (n_p > 0) & (n_m > 0)
    table["pearson_of_labels"] = np.nan
    if both.sum() >= FEWEST_LABELS:
        means_p, means_m = sums_p[both] / n_p[both, None], sums_m[both] / n_m[both, None]
        table["pearson_of_labels"] = metrics.correlation(means_p, means_m, nan="omit")
    table["n_labels"] = int(both.sum())
    return table
