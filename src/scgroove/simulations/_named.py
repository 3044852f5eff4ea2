"""Scenarios with a name and a reason, so that a benchmark row can point at one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from scgroove._registry import Registry
from scgroove.errors import InputError
from scgroove.simulations._scenarios import Scenario

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class NamedScenario:
    """A setting of the simulator that a benchmark can name.

    Attributes
    ----------
    name
        Name in results: letters, digits and underscores.
    reason
        What the setting shows, in one sentence.
    scenario
        The parameters.

    Examples
    --------
    >>> mine = NamedScenario(
    ...     "noisy", "Does it stand features that are mostly noise?", Scenario(noise=2.0)
    ... )
    >>> mine.differs
    'noise=2.0'
    """

    name: str
    reason: str
    scenario: Scenario

    def __post_init__(self) -> None:
        """Refuse names that a file or a column of results could not hold."""
        if not self.name.isidentifier():
            raise InputError(
                f"the name of a scenario stands in file names and tables: expected letters, "
                f"digits and underscores, such as 'half_shared'; found {self.name!r}."
            )
        if not self.reason.strip():
            raise InputError(
                f"scenario {self.name!r} has no reason: say in one sentence what it shows."
            )

    @property
    def differs(self) -> str:
        """Differences from the reference scenario, as arguments of :func:`weakly_paired`."""
        return ", ".join(f"{name}={value!r}" for name, value in self.scenario.differences().items())


SCENARIOS: Final[Registry[NamedScenario]] = Registry("scenario")
"""Named scenarios.

Add one with ``SCENARIOS.register(name)(NamedScenario(name, reason, scenario))``.
"""

_SHIPPED: Final[dict[str, tuple[str, Scenario]]] = {
    "reference": (
        "The setting on which methods are compared: the modalities see the same effect of "
        "every label.",
        Scenario(),
    ),
    "half_shared": (
        "Half of the effect of a label is specific to each modality, as for a compound that "
        "acts on RNA and protein in different ways.",
        Scenario(rho=0.5),
    ),
    "nothing_shared": (
        "The labels link the modalities, but their effects have nothing in common: only the "
        "cell state is shared.",
        Scenario(rho=0.0),
    ),
    "weak_effect": (
        "Labels shift cells by half the spread of their state, as most perturbations do.",
        Scenario(effect=0.5),
    ),
    "linear_view": (
        "Features are linear in the latent, so a linear method has nothing to lose.",
        Scenario(view="linear"),
    ),
    "counts": (
        "RNA comes as overdispersed counts with library sizes, as sequencing gives it.",
        Scenario(counts=("rna",)),
    ),
    "escape": (
        "In three cells of ten the perturbation did not work, although they carry its label.",
        Scenario(escape=0.3),
    ),
    "label_noise": (
        "One label in five is wrong, in each modality on its own, as guides are assigned wrongly.",
        Scenario(label_noise=0.2),
    ),
    "zipf": (
        "A few labels have most of the cells and many have a handful.",
        Scenario(imbalance=1.5),
    ),
    "batches": (
        "Each modality was measured in three batches that shift every feature by as much as "
        "the signal varies.",
        Scenario(n_batches=3, batch_effect=1.0),
    ),
    "heterogeneous": (
        "Cells of one label answer in two ways, so the mean of a label describes none of them.",
        Scenario(n_substates=2, substate_effect=1.5),
    ),
    "inert": (
        "Four labels of ten do nothing, and no method can tell them apart.",
        Scenario(inert=0.4),
    ),
    "three_modalities": (
        "Three modalities must meet in one space, not two.",
        Scenario(modalities=("rna", "protein", "atac"), n_features=(100, 50, 100)),
    ),
    "disjoint": (
        "Each modality has cells of its own, the usual case, so no cell has a true partner.",
        Scenario(co_assayed=False),
    ),
    "exclusive": (
        "Three labels of each modality are missing from the other one.",
        Scenario(exclusive_labels=3),
    ),
    "unlabeled": (
        "Half of the cells of each modality have lost their label.",
        Scenario(unlabeled_fraction=0.5),
    ),
    "many_labels": (
        "A screen of 200 perturbations with ten cells each: many labels, few examples of each.",
        Scenario(n_labels=200, n_cells_per_label=10),
    ),
    "few_cells": (
        "A pilot of 20 perturbations with ten cells each, where a flexible model overfits.",
        Scenario(n_labels=20, n_cells_per_label=10),
    ),
}
for _name, (_reason, _scenario) in _SHIPPED.items():
    SCENARIOS.register(_name)(NamedScenario(_name, _reason, _scenario))


def scenario_table(names: Iterable[str] | None = None) -> pd.DataFrame:
    """List the named scenarios, their reasons and their differences from the reference.

    Parameters
    ----------
    names
        Scenarios to list, in this order. All if None.

    Returns
    -------
    DataFrame
        Columns ``name``, ``reason`` and ``differs`` (arguments of
        :func:`scgroove.simulations.weakly_paired` that are not its defaults).

    Raises
    ------
    ValueError
        No scenario has one of the names.

    Examples
    --------
    >>> scenario_table(["half_shared", "batches"])["differs"].tolist()
    ['rho=0.5', 'n_batches=3, batch_effect=1.0']
    """
    import pandas as pd

    if names is None:
        names = [*_SHIPPED, *(name for name in SCENARIOS if name not in _SHIPPED)]
    rows = [vars(entry) | {"differs": entry.differs} for entry in map(SCENARIOS.get, names)]
    return pd.DataFrame(rows, columns=["name", "reason", "differs"])
