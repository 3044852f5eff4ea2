"""Scoring a match against the truth, where it is known."""

from __future__ import annotations

from dataclasses import dataclass
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

if TYPE_CHECKING:
    from mudata import MuData

    from scgroove.aligners import Coupling


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
    metric: metrics.Metric = "euclidean",
    key_added: str | None = None,
) -> pd.DataFrame:
    """Score representation and coupling of two modalities where some true pairs of cells are known.

    Parameters
    ----------
    mdata
        Modalities of which some cells are the same.
    source, target
        Names of the modalities.
    label_key
        Column of ``mod[m].obs`` with the label; None to score among all cells only.
    use_rep
        Shared representation in ``mod[m].obsm``; left out of the scores where there is none, or None.
    coupling_key
        Name of the coupling; default ``"coupling_<source>_<target>"``, left out of the scores where there is none.
    pair_key
        Column of ``mod[m].obs`` that is equal for the same cell. Default: as ``paired`` of ``setup_mudata``
        says; ``"auto"`` for data that were not set up.
    unlabeled_category
        A label that stands for "no label".
    metric
        Distance between representations: ``"euclidean"`` or ``"cosine"``.
    key_added
        Name of the result; default ``"matching_<source>_<target>"``.

    Returns
    -------
    DataFrame
        One row a score; columns ``metric``, ``value``, ``chance`` (its expectation without any knowledge
        beyond the label, for ``*_within_label``, or beyond nothing), ``chance_sd`` (its standard deviation if
        the true partners are drawn at random among the candidates), ``p_value`` (one-sided, that chance is
        as good, by the normal limit; NaN among all cells where labels are given, since the label alone
        raises these) and ``n`` (source cells scored).
        ``foscttm_*``, ``coupling_foscttm_*`` and ``barycentric_foscttm_*`` are better when lower (0 is perfect),
        ``trace_within_label`` and ``trace_over_chance`` when higher. Within labels, cells without a label, whose
        partner has another label, or whose label has one candidate, are left out. Sets the following fields:

        ``mdata.uns[key_added]``
            The same table.

    Raises
    ------
    ValueError
        If no pair is known, there is neither representation nor coupling, or no cell can be scored. ``mdata`` is
        unchanged then.
    KeyError
        If a label or pair column is missing. ``mdata`` is unchanged then.

    See Also
    --------
    scgroove.metrics

    References
    ----------
    User guide, "Evaluation"; Liu et al. 2019 (FOSCTTM).

    Examples
    --------
    >>> scgroove.tl.score_matching(mdata, "rna", "protein")  # doctest: +SKIP
    """
    check_call(mdata, key_added, (source, target))
    check_pair(mdata, source, target)
    labels = None
    if label_key is not None:
        pair = (source, target)
        found = labels_by_modality(mdata, label_key, pair, unlabeled_category)
        labels = found[source], found[target]
    truth = _Truth(true_partners(mdata, source, target, pair_key, labels), labels)
    z = _representations(mdata, source, target, use_rep)
    coupling = _coupling(mdata, source, target, coupling_key)
    if z is None and coupling is None:
        raise InputError(
            f"nothing to score: neither a representation {use_rep!r} in both modalities nor a coupling. Make them with "
            f"scgroove.tl.embed(mdata, model) and scgroove.tl.align(mdata, {source!r}, {target!r})."
        )
    table = _scores(truth, z, coupling, metric)
    mdata.uns[key_added if key_added is not None else _keys.matching(source, target)] = table
    return table.copy()


@dataclass(frozen=True)
class _Truth:
    """True partners, and the labels that say who is a candidate."""

    partner: IntArray
    labels: tuple[Labels, Labels] | None


def true_partners(
    mdata: MuData,
    source: str,
    target: str,
    pair_key: str | None,
    labels: tuple[Labels | None, Labels | None] | None = None,
) -> IntArray:
    """Return the target row of the same cell for each source row, (n_source,), -1 where there is none.

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
            f"no pair of {source!r} and {target!r} cells is known: {reason}. Scores against the truth need "
            "cells measured in both modalities; name the column that tells them with pair_key=. Without such cells "
            "look at model.get_cross_modal_label_accuracy()."
        )
    return partner


def _representations(
    mdata: MuData, source: str, target: str, use_rep: PerModality | None
) -> tuple[Any, Any] | None:
    """Return the representations; None where there is no default one."""
    if use_rep is None:
        return None
    missing = [
        m
        for m in (source, target)
        if name_of(use_rep, m, "use_rep") not in (*mdata.mod[m].obsm, "X")
    ]
    if use_rep == _keys.LATENT and missing:
        return None
    return representations(mdata, source, target, use_rep)


def _coupling(mdata: MuData, source: str, target: str, key: str | None) -> Coupling | None:
    """Return the coupling; None where there is no default one."""
    if key is None and _keys.coupling(source, target) not in mdata.obsp:
        return None
    return get.coupling(mdata, source, target, key)


def _scores(
    truth: _Truth, z: tuple[Any, Any] | None, coupling: Coupling | None, metric: str
) -> pd.DataFrame:
    """Return every score that can be had, one a row, each beside chance."""
    scopes = ("global",) if truth.labels is None else ("within_label", "global")
    names = [f"foscttm_{scope}" for scope in scopes]
    for scope in scopes:
        names += [f"coupling_foscttm_{scope}", f"barycentric_foscttm_{scope}"]
    x, y = (None, None) if z is None else z
    labels_x, labels_y = (None, None) if truth.labels is None else truth.labels
    found = metrics.scores(
        [*names, f"trace_{scopes[0]}", "trace_over_chance"],
        missing="skip",
        x=x,
        y=y,
        coupling=coupling,
        partner=truth.partner,
        labels_x=labels_x,
        labels_y=labels_y,
        metric=metric,
    )
    table = found.to_frame().rename(columns={"name": "metric"})
    better = table["better"].map({"lower": 1.0, "higher": -1.0})
    spread = table["chance_sd"].where(table["chance_sd"] > 0)
    table["p_value"] = norm.cdf(better * (table["value"] - table["chance"]) / spread)
    if truth.labels is not None:  # among all cells, the label alone raises a score
        table.loc[table["metric"].str.endswith("_global"), "p_value"] = np.nan
    return table[["metric", "value", "chance", "chance_sd", "p_value", "n"]]
