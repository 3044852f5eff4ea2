"""Simulated weakly paired data with known truth.

:func:`weakly_paired` draws it; :data:`REFERENCE` is the setting on which methods are compared.
"""

from scgroove.simulations._mudata import from_scenario, weakly_paired
from scgroove.simulations._scenarios import REFERENCE, REFERENCE_HALF_SHARED, Scenario

__all__ = ["REFERENCE", "REFERENCE_HALF_SHARED", "Scenario", "from_scenario", "weakly_paired"]
