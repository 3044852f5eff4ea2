"""Scoring a match against the truth, where it is known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scgroove import _keys, get, metrics
from scgroove._registry import UnknownNameError, did_you_mean
from scgroove._types import Float64Array, IntArray, Labels
from scgroove.get._inputs import PerModality, check_pair, labels_of_pair, name_of, representations

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
    unlabeled_category: str | None = None,
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
        Column of ``mod[m].obs`` that is equal for the same cell. Default: ``"pair_id"`` where both modalities
        have it, else the names of the cells.
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
        beyond the label, for ``*_within_label``, or beyond nothing) and ``n`` (source cells scored).
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
    check_pair(mdata, source, target)
    labels = None
    if label_key is not None:
        labels = labels_of_pair(mdata, source, target, label_key, unlabeled_category)
    truth = _Truth(true_partners(mdata, source, target, pair_key), labels)
    z = _representations(mdata, source, target, use_rep)
    coupling = _coupling(mdata, source, target, coupling_key)
    if z is None and coupling is None:
        raise ValueError(
            f"nothing to score: neither a representation {use_rep!r} in both modalities nor a coupling. Make them with "
            f"scgroove.tl.embed(mdata, model) and scgroove.tl.align(mdata, {source!r}, {target!r})."
        )
    rows: list[dict[str, Any]] = []
    if z is not None:
        rows += _score_representation(truth, *z, metric)
    if coupling is not None:
        rows += _score_coupling(truth, coupling, None if z is None else z[1])
    table = pd.DataFrame(rows, columns=["metric", "value", "chance", "n"])
    mdata.uns[key_added if key_added is not None else _keys.matching(source, target)] = table
    return table.copy()


@dataclass(frozen=True)
class _Truth:
    """True partners, and the labels that say who is a candidate."""

    partner: IntArray
    labels: tuple[Labels, Labels] | None

    def scopes(self) -> list[tuple[str, dict[str, Any]]]:
        """Return the names of the scopes and the options that metrics need, the hard one first."""
        scopes: list[tuple[str, dict[str, Any]]] = [("global", {})]
        if self.labels is not None:
            within = {"labels_x": self.labels[0], "labels_y": self.labels[1]}
            scopes.insert(0, ("within_label", within))
        return scopes


def true_partners(mdata: MuData, source: str, target: str, pair_key: str | None) -> IntArray:
    """Return the target row of the same cell for each source row, (n_source,), -1 where there is none.

    Raises
    ------
    ValueError
        If no pair is known, or the column is missing.
    """
    from scgroove.data import pair_ids

    in_both = all(_keys.PAIR in mdata.mod[m].obs for m in (source, target))
    if pair_key is not None:
        _check_column(mdata, source, target, pair_key)
    column = pair_key if pair_key is not None else _keys.PAIR if in_both else "auto"
    ids = pair_ids(mdata, [source, target], paired=column)
    partner = np.full(mdata.mod[source].n_obs, -1, dtype=np.intp)
    if ids is not None:
        place = {name: j for j, name in enumerate(ids[target]) if name is not None}
        partner[:] = [-1 if name is None else place.get(name, -1) for name in ids[source]]
    if (partner < 0).all():
        where = "cell names" if column == "auto" else f"obs[{column!r}]"
        raise ValueError(
            f"no pair of {source!r} and {target!r} cells is known: no {where} are equal in both. Scores against the truth "
            f"need cells measured in both modalities; name the column that tells them with pair_key=. Without "
            f"such cells look at model.get_cross_modal_label_accuracy()."
        )
    return partner


def _check_column(mdata: MuData, source: str, target: str, pair_key: str) -> None:
    for modality in (source, target):
        columns = [str(name) for name in mdata.mod[modality].obs.columns]
        if pair_key not in columns:
            hint = did_you_mean(pair_key, columns)
            raise UnknownNameError(
                f"pair_key={pair_key!r}: no such column in mdata.mod[{modality!r}].obs, which has {columns}.{hint} "
                f"It must be in both modalities and equal for the same cell."
            )


def _representations(
    mdata: MuData, source: str, target: str, use_rep: PerModality | None
) -> tuple[Any, Any] | None:
    """Return the representations; None where there is no default one."""
    if use_rep is None:
        return None
    missing = [m for m in (source, target) if name_of(use_rep, m, "use_rep") not in (*mdata.mod[m].obsm, "X")]
    if use_rep == _keys.LATENT and missing:
        return None
    return representations(mdata, source, target, use_rep)


def _coupling(mdata: MuData, source: str, target: str, key: str | None) -> Coupling | None:
    """Return the coupling; None where there is no default one."""
    if key is None and _keys.coupling(source, target) not in mdata.obsp:
        return None
    return get.coupling(mdata, source, target, key)


def _row(metric: str, value: float, chance: float, n: int) -> dict[str, Any]:
    return {"metric": metric, "value": float(value), "chance": float(chance), "n": int(n)}


def _score_representation(truth: _Truth, x: Any, y: Any, metric: metrics.Metric) -> list[dict[str, Any]]:
    rows = []
    for scope, options in truth.scopes():
        per_cell = metrics.foscttm_per_cell(x, y, truth.partner, metric=metric, **options)
        rows += _summary(f"foscttm_{scope}", per_cell)
    return rows


def _summary(name: str, per_cell: tuple[Float64Array, ...]) -> list[dict[str, Any]]:
    """Return one row, or none if no cell could be scored."""
    means = [float(v[~np.isnan(v)].mean()) for v in per_cell if not np.isnan(v).all()]
    if not means:
        return []
    return [_row(name, float(np.mean(means)), 0.5, int((~np.isnan(per_cell[0])).sum()))]


def _score_coupling(truth: _Truth, coupling: Coupling, y: Any) -> list[dict[str, Any]]:
    rows = []
    for scope, options in truth.scopes():
        per_cell = metrics.foscttm_coupling_per_cell(coupling, truth.partner, **options)
        rows += _summary(f"coupling_foscttm_{scope}", per_cell)
        if y is not None:
            one = metrics.barycentric_foscttm_per_cell(coupling, y, truth.partner, **options)
            rows += _summary(f"barycentric_foscttm_{scope}", (one,))
    return rows + _score_trace(truth, coupling)


def _score_trace(truth: _Truth, coupling: Coupling) -> list[dict[str, Any]]:
    scope, options = truth.scopes()[0]
    probability, chance = metrics.trace_per_cell(coupling, truth.partner, **options)
    scored = ~np.isnan(probability)
    if not scored.any():
        return []
    value, by_chance, n = probability[scored].mean(), chance[scored].mean(), int(scored.sum())
    return [
        _row(f"trace_{scope}", value, by_chance, n),
        _row("trace_over_chance", value / by_chance, 1.0, n),
    ]
