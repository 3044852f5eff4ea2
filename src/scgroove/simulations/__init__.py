"""Simulated weakly paired data with known truth."""

from scgroove._validate import check_room
from scgroove.simulations._mudata import from_scenario, weakly_paired
from scgroove.simulations._named import SCENARIOS, NamedScenario, scenario_table
from scgroove.simulations._scenarios import Scenario

__all__ = [
    "SCENARIOS",
    "NamedScenario",
    "Scenario",
    "from_scenario",
    "scenario_table",
    "weakly_paired",
]

check_room(__name__)
