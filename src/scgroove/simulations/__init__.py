"""Simulated weakly paired data with known truth.

:func:`weakly_paired` draws it; :data:`REFERENCE` is the setting on which methods are compared, and
:data:`SCENARIOS` holds the others by name, as :func:`scenario_table` lists them.
"""

from scgroove._validate import check_room
from scgroove.simulations._mudata import from_scenario, weakly_paired
from scgroove.simulations._named import (
    REFERENCE,
    REFERENCE_HALF_SHARED,
    SCENARIOS,
    NamedScenario,
    scenario_table,
)
from scgroove.simulations._scenarios import Scenario

__all__ = [
    "REFERENCE",
    "REFERENCE_HALF_SHARED",
    "SCENARIOS",
    "NamedScenario",
    "Scenario",
    "from_scenario",
    "scenario_table",
    "weakly_paired",
]

check_room(__name__)
