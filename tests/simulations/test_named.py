"""Scenarios with names."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from scgroove.simulations import (
    SCENARIOS,
    NamedScenario,
    Scenario,
    scenario_table,
)
from scgroove.simulations._weak_pairs import simulate


def test_the_table_says_what_differs() -> None:
    table = scenario_table().set_index("name")
    assert table.index.tolist()[:3] == ["reference", "half_shared", "nothing_shared"]
    assert set(table.index) == set(SCENARIOS.names())
    assert table["differs"].to_dict() == {
        "reference": "",
        "half_shared": "rho=0.5",
        "nothing_shared": "rho=0.0",
        "weak_effect": "effect=0.5",
        "linear_view": "view='linear'",
        "counts": "counts=('rna',)",
        "escape": "escape=0.3",
        "label_noise": "label_noise=0.2",
        "zipf": "imbalance=1.5",
        "batches": "n_batches=3, batch_effect=1.0",
        "heterogeneous": "n_substates=2, substate_effect=1.5",
        "inert": "inert=0.4",
        "three_modalities": "modalities=('rna', 'protein', 'atac'), n_features=(100, 50, 100)",
        "disjoint": "co_assayed=False",
        "exclusive": "exclusive_labels=3",
        "unlabeled": "unlabeled_fraction=0.5",
        "many_labels": "n_labels=200, n_cells_per_label=10",
        "few_cells": "n_cells_per_label=10",
    }


def test_every_reason_is_one_sentence() -> None:
    for reason in scenario_table()["reason"]:
        assert re.fullmatch(r"[A-Z][^.!?]+\.", reason), reason


def test_a_choice_of_scenarios_keeps_its_order() -> None:
    assert scenario_table(["inert", "zipf"])["name"].tolist() == ["inert", "zipf"]
    with pytest.raises(ValueError, match=r"unknown scenario 'batch'\. Did you mean 'batches'\?"):
        scenario_table(["batch"])


def test_differences_evaluated_are_the_scenario() -> None:
    for name in SCENARIOS:
        entry = SCENARIOS.get(name)
        assert entry.name == name
        assert Scenario(**entry.scenario.differences()) == entry.scenario
        assert eval(f"Scenario({entry.differs})", {"Scenario": Scenario}) == entry.scenario


def test_sequences_and_arrays_differ_by_value() -> None:
    import numpy as np

    assert Scenario(n_features=(100, 50), exclusive_labels={}).differences() == {
        "exclusive_labels": {}
    }
    sizes = np.full(20, 60)
    assert Scenario(n_cells_per_label=sizes).differences()["n_cells_per_label"] == [60] * 20


def test_the_user_guide_lists_them_as_they_are() -> None:
    page = (Path(__file__).parents[2] / "docs" / "user_guide" / "simulations.md").read_text()
    for row in scenario_table().itertuples(index=False):
        differs = f"`{row.differs}`" if row.differs else "nothing"
        assert f"| `{row.name}` | {row.reason} | {differs} |" in page


def test_the_references_are_among_them() -> None:
    assert SCENARIOS.get("reference").scenario == Scenario()
    assert SCENARIOS.get("half_shared").scenario == Scenario(rho=0.5)


@pytest.mark.parametrize("name", [name for name in SCENARIOS if name != "many_labels"])
def test_every_scenario_can_be_drawn(name: str) -> None:
    scenario = SCENARIOS.get(name).scenario
    sim = simulate(scenario, seed=1)
    assert tuple(sim.modalities) == scenario.modalities
    assert all(part.x.shape[0] >= 200 for part in sim.modalities.values())


@pytest.mark.parametrize(
    ("name", "reason", "message"),
    [
        (
            "half shared",
            "A reason.",
            r"expected letters, digits and underscores.*found 'half shared'",
        ),
        ("half_shared", " ", r"scenario 'half_shared' has no reason"),
    ],
)
def test_names_and_reasons_are_checked(name: str, reason: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NamedScenario(name, reason, Scenario())
