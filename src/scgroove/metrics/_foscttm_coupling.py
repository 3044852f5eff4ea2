"""Fraction of samples given more mass than the true match, in a coupling."""

from __future__ import annotations

from scgroove.metrics._chance import RankTable, mass_tables
from scgroove.metrics._foscttm import score_ranks
from scgroove.metrics._ranks import FRACTION_BEFORE, OwnMass, coupling_ranks, own_mass
from scgroove.metrics.registry import MetricInputs, Score, register_scopes


def own_masses(inputs: MetricInputs) -> OwnMass:
    """Return the masses between true matches, and of all cells."""
    assert inputs.coupling is not None
    plan = inputs.coupling
    return inputs.once("masses", lambda: own_mass(plan, inputs.partners()))


def mass_ranks_of_all(inputs: MetricInputs, within_label: bool) -> list[RankTable]:
    """Return the places by mass, and the shares of mass, that any cell would have."""
    assert inputs.coupling is not None
    plan, masses, pool = inputs.coupling, own_masses(inputs), inputs.pool(within_label)
    return inputs.once(
        ("mass_tables", within_label),
        lambda: mass_tables(plan, inputs.sets(within_label), pool, masses, inputs.seed),
    )


def _score(inputs: MetricInputs, within_label: bool) -> Score:
    """Return the mean of ``(#{T_ij > T_ip} + #{other j: T_ij = T_ip} / 2) / (n - 1)``.

    p is the true match of source cell i among n candidates j, and likewise for target cells along
    the columns. Cells without mass are left out.
    """
    assert inputs.coupling is not None
    pool, masses = inputs.pool(within_label), own_masses(inputs)
    ranks = coupling_ranks(inputs.coupling, inputs.partners(), pool, masses)
    return score_ranks(FRACTION_BEFORE, ranks, mass_ranks_of_all(inputs, within_label))


register_scopes(
    "coupling_foscttm",
    _score,
    kind="coupling",
    better="lower",
    perfect=0.0,
    needs=("coupling", "partner"),
    title="FOSCTTM of the coupling",
    meaning="The share of candidate cells that are given more mass than the true partner.",
)
