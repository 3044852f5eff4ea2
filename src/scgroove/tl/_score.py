"""Scores of a match against known pairs of cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.stats import norm

from scgroove import _keys, get, metrics
from scgroove._labels import UnlabeledCategory
from scgroove._types import IntArray, Labels
from scgroove.data.checks import PerModality, name_of
from scgroove.data.labels import labels_by_modality
from scgroove.data.pairing import known_partners
from scgroove.data.screen import check_call, check_pair, representations
from scgroove.errors import InputError
from scgroove.metrics.registry import Distance

if TYPE_CHECKING:
    from mudata import MuData


def score_matching(
    mdata: MuData,
    source: str,
    target: str,
    *,
    label_key: PerModality | None = _keys.LABEL,
    use_rep: PerModality | None = _keys.LATENT,
    coupling_key: str | None = None,
    pair_key: str | None = None,
    unlabeled_category: UnlabeledCategory = None,
    metric: Distance = "euclidean",
    key_added: str | None = None,
) -> pd.DataFrame:
    """Score the match of two modalities against known pairs of cells, each score beside its chance.

    Parameters
    ----------
    mdata
        Modalities with some cells measured in both.
    source, target
        Names of the modalities.
    label_key
        Column of ``mod[m].obs`` with the label. None to score among all cells only.
    use_rep
        Shared representation in ``mod[m].obsm``. Not scored if there is none, or None.
    coupling_key
        Name of the coupling. Default ``"coupling_<source>_<target>"``, not scored if there is none.
    pair_key
        Column of ``mod[m].obs`` that is equal for the same cell. Default: as ``paired`` of
        ``setup_mudata`` says. ``"auto"`` for data that were not set up.
    unlabeled_category
        A label that stands for "no label".
    metric
        Distance between representations: ``"euclidean"`` or ``"cosine"``.
    key_added
        Name of the result. Default ``"matching_<source>_<target>"``.

    Returns
    -------
    DataFrame
        One row a score. Columns ``metric``, ``value``, ``chance`` (its expectation without any
        knowledge beyond the label, for ``*_within_label``, or without any), ``chance_sd`` (its
        standard deviation if the true partners are drawn at random among the candidates),
        ``p_value`` (one-sided, that chance is as good, by the normal limit; NaN among all cells if
        labels are given, since the label alone raises these) and ``n`` (source cells scored).
        ``foscttm_*``, ``coupling_foscttm_*`` and ``barycentric_foscttm_*`` are better when lower (0
        is perfect), ``trace_within_label`` and ``trace_over_chance`` when higher. Within labels,
        cells without a label, whose partner has another label, or whose label has one candidate,
        are left out. Sets the following fields:

        ``mdata.uns[key_added]``
            The same table.

    Raises
    ------
    ValueError
        If no pair is known, there is neither representation nor coupling, or no cell can be scored.
        ``mdata`` is unchanged then.
    KeyError
        If a label or pair column is missing. ``mdata`` is unchanged then.

    See Also
    --------
    scgroove.metrics.scores

    References
    ----------
    User guide, "Evaluation". Liu et al. 2019 (FOSCTTM).

    Examples
    --------
    >>> scgroove.tl.score_matching(mdata, "rna", "protein")  # doctest: +SKIP
    """
    check_call(mdata, key_added, (source, target))
    check_pair(mdata, source, target)
    labels: tuple[Any, Any] = (None, None)
    if label_key is not None:
        found = labels_by_modality(mdata, label_key, (source, target), unlabeled_category)
        labels = found[source], found[target]
    partner = true_partners(mdata, source, target, pair_key, None if label_key is None else labels)
    x, y = _representations(mdata, source, target, use_rep)
    coupling = None
    if coupling_key is not None or _keys.coupling(source, target) in mdata.obsp:
        coupling = get.coupling(mdata, source, target, coupling_key)
    if x is None and coupling is None:
        raise InputError(
            f"nothing to score: neither a representation {use_rep!r} in both modalities nor a "
            "coupling. Make them with scgroove.tl.embed(mdata, model) and "
            f"scgroove.tl.align(mdata, {source!r}, {target!r})."
        )
    scopes = ("global",) if label_key is None else ("within_label", "global")
    names = [f"foscttm_{scope}" for scope in scopes]
    for scope in scopes:
        names += [f"coupling_foscttm_{scope}", f"barycentric_foscttm_{scope}"]
    table = metrics.scores(
        [*names, f"trace_{scopes[0]}", "trace_over_chance"],
        missing="skip",
        x=x,
        y=y,
        coupling=coupling,
        partner=partner,
        labels_x=labels[0],
        labels_y=labels[1],
        metric=metric,
    ).to_frame()
    table = table.rename(columns={"name": "metric"})
    sign = table["better"].map({"lower": 1.0, "higher": -1.0})
    spread = table["chance_sd"].where(table["chance_sd"] > 0)
    table["p_value"] = norm.cdf(sign * (table["value"] - table["chance"]) / spread)
    if label_key is not None:  # among all cells, the label alone raises a score
        table.loc[table["metric"].str.endswith("_global"), "p_value"] = np.nan
    table = table[["metric", "value", "chance", "chance_sd", "p_value", "n"]]
    mdata.uns[key_added if key_added is not None else _keys.matching(source, target)] = table
    return table.copy()


def true_partners(
    mdata: MuData,
    source: str,
    target: str,
    pair_key: str | None,
    labels: tuple[Labels | None, Labels | None] | None = None,
) -> IntArray:
    """Return the target row of the same cell for each source row, (n_source,), -1 without one.

    Raises
    ------
    KeyError
        If a modality has no column ``pair_key``.
    ValueError
        If no pair is known.
    """
    partner, reason = known_partners(mdata, source, target, pair_key, labels)
    if partner is None:
        raise InputError(
            f"no pair of {source!r} and {target!r} cells is known: {reason}. Scores against the "
            "truth need cells measured in both modalities; name the column that tells them with "
            "pair_key=. Without such cells look at model.get_cross_modal_label_accuracy()."
        )
    return partner


def _representations(
    mdata: MuData, source: str, target: str, use_rep: PerModality | None
) -> tuple[Any, Any]:
    """Return the representations. None without the default one."""
    if use_rep is None:
        return None, None
    for m in (source, target):
        known = (*mdata.mod[m].obsm, "X")
        if use_rep == _keys.LATENT and name_of(use_rep, m, "use_rep") not in known:
            return None, None
    return representations(mdata, source, target, use_rep)
