"""Probability that a coupling gives to the true match."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from scgroove._types import Float64Array
from scgroove.errors import MissingTruthError
from scgroove.metrics._candidates import Candidates, PlanLike, slices
from scgroove.metrics._chance import matching_variance
from scgroove.metrics._foscttm_coupling import mass_ranks_of_all, own_masses
from scgroove.metrics.registry import MetricInputs, Score, register, register_scopes


def _mass_of_candidates(plan: PlanLike, pool: Candidates) -> Float64Array:
    """Return the mass between each source cell and its candidates, (n_source,)."""
    mass = np.zeros(plan.shape[0])
    for rows, columns, part in slices(plan):
        labels, place = np.unique(pool.codes_y[columns], return_inverse=True)
        one_hot = sp.csr_matrix((np.ones(columns.size), (np.arange(columns.size), place)))
        by_label = part @ one_hot
        at = np.searchsorted(labels, pool.codes_x[rows]).clip(max=labels.size - 1)
        here = np.flatnonzero((labels[at] == pool.codes_x[rows]) & (pool.codes_x[rows] >= 0))
        if here.size:  # without, a sparse matrix has no array to return
            mass[rows[here]] += np.asarray(by_label[here, at[here]]).ravel()
    return mass


def _score(inputs: MetricInputs, within_label: bool) -> Score:
    """Return ``mean_i T_i,p(i) / sum_j T_ij`` over source cells with a known match and mass.

    The spread is that over random partners of the cells that have mass.
    """
    assert inputs.coupling is not None
    pool, masses = inputs.pool(within_label), own_masses(inputs)
    mass = masses.rows
    rows = pool.with_candidate_partner(inputs.partners())
    rows = rows[mass[rows] > 0]
    if not rows.size:
        raise MissingTruthError(
            "no cell can be scored: none of the source cells with a known match (within its "
            "candidates) has mass in the coupling. Are its rows the source cells, and does it "
            "belong to these modalities?"
        )
    share = _mass_of_candidates(inputs.coupling, pool)[rows] / mass[rows]
    by_chance = (share / pool.counts_of_x()[rows]).mean()
    variance = 0.0
    for table in mass_ranks_of_all(inputs, within_label):
        assert table.share is not None
        n_x, k = (int((mass[cells] > 0).sum()) for cells in (table.group.x, table.group.rows))
        if k and table.has_x.any():
            sampled = table.share[table.has_x]
            variance += matching_variance(sampled, n_x, table.group.y.size, k)
    sd = float(np.sqrt(variance)) / rows.size
    return Score(float((masses.own[rows] / mass[rows]).mean()), float(by_chance), sd, rows.size)


register_scopes(
    "trace",
    _score,
    kind="coupling",
    better="higher",
    perfect=1.0,
    needs=("coupling", "partner"),
    title="trace",
    meaning="The probability that a match gives to the true partner.",
)


@register(
    "trace_over_chance",
    kind="coupling",
    better="higher",
    perfect=np.nan,
    needs=("coupling", "partner"),
    meaning="The probability given to the true partner, as a multiple of that of a random match.",
)
def _score_over_chance(inputs: MetricInputs) -> Score:
    """Return the trace over its chance, within labels if there are labels."""
    score = _score(inputs, inputs.has_labels)
    if score.chance == 0:
        raise MissingTruthError(
            "the cells that can be scored have no mass at any candidate, so that a random match "
            "has probability 0, too."
        )
    return Score(score.value / score.chance, 1.0, score.chance_sd / score.chance, score.n)
