"""What each knob of the simulator does, in small arrays that can be drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

import numpy as np

from scgroove._registry import Registry
from scgroove._types import BoolArray, Float64Array, IntArray
from scgroove.simulations._scenarios import Scenario
from scgroove.simulations._weak_pairs import SimulatedModality, Simulation, labels_of_modalities, simulate

Shown: TypeAlias = Literal["latent", "features", "sizes"]

_BASE: Final[dict[str, Any]] = {
    "n_labels": 5,
    "n_cells_per_label": 30,
    "n_features": (20, 20),
    "n_latent": 2,
    "n_private": 0,
    "effect": 4.0,
    "noise": 0.1,
    "view": "linear",
}
"""A latent of two dimensions can be drawn as it is."""

_THREE: Final[dict[str, Any]] = {"modalities": ("rna", "protein", "atac"), "n_features": (20, 20, 20)}

_COUNTS: Final[dict[str, Any]] = {"counts": ("rna", "protein"), "library_size": 2000.0}

_N_TRACKED: Final = 8
"""Cells that can be followed from one modality to the others."""


@dataclass(frozen=True)
class KnobPanel:
    """One panel: one modality at one setting of one knob.

    Attributes
    ----------
    knob
        Parameter of :func:`scgroove.simulations.weakly_paired`.
    sentence
        What it does, and how to see it.
    setting
        Its value, such as ``"rho = 0"``.
    modality
        Name of the modality.
    shown
        ``"latent"``: true latent u; ``"features"``: two measured features; ``"sizes"``: bars of label sizes.
    xy
        float64 (n, 2): a point per cell, or rank and size of each label.
    color
        Code of the colour of each row, -1 for none, (n,).
    shape
        Code of the marker of each row, (n,).
    hollow, ringed
        Rows to mark, (n,).
    crosses
        float64 (k, 2): a place to mark for each of the first k colours; none as a rule.
    """

    knob: str
    sentence: str
    setting: str
    modality: str
    shown: Shown
    xy: Float64Array
    color: IntArray
    shape: IntArray
    hollow: BoolArray
    ringed: BoolArray
    crosses: Float64Array = field(default_factory=lambda: np.zeros((0, 2)))


@dataclass(frozen=True)
class _Knob:
    """A knob at two settings, each as it is written and as parameters beside those of the base.

    ``tracked`` rings some cells that all modalities measure; ``shared`` marks where the effect that all see puts each label.
    """

    sentence: str
    low: tuple[str, Mapping[str, Any]]
    high: tuple[str, Mapping[str, Any]]
    shown: Shown = "latent"
    color: Literal["label", "batch"] = "label"
    tracked: bool = False
    shared: bool = False


_ORDER: Final[dict[str, _Knob]] = {
    "rho": _Knob(
        "The share of a label's effect (colour) that both modalities see.",
        ("rho = 1", {}),
        ("rho = 0", {"rho": 0.0}),
    ),
    "effect": _Knob(
        "How far a label moves its cells, against the spread of their state.",
        ("effect = 4", {}),
        ("effect = 1", {"effect": 1.0}),
    ),
    "n_substates": _Knob(
        "Cells of one label answer in several ways (shape), the same in both modalities.",
        ("n_substates = 1", {}),
        ("n_substates = 2", {"n_substates": 2, "substate_effect": 3.0}),
    ),
    "inert": _Knob(
        "The share of labels without any effect (hollow).",
        ("inert = 0", {}),
        ("inert = 0.4", {"inert": 0.4}),
    ),
    "escape": _Knob(
        "The share of cells on which their label had no effect (hollow).",
        ("escape = 0", {}),
        ("escape = 0.3", {"escape": 0.3}),
    ),
    "label_noise": _Knob(
        "The share of cells that show a wrong label (ringed); colour is what they show.",
        ("label_noise = 0", {}),
        ("label_noise = 0.2", {"label_noise": 0.2}),
    ),
    "unlabeled_fraction": _Knob(
        "The share of cells whose label is hidden (grey), in each modality on its own.",
        ("unlabeled_fraction = 0", {}),
        ("unlabeled_fraction = 0.5", {"unlabeled_fraction": 0.5}),
    ),
    "imbalance": _Knob(
        "How unequal the labels are in size; the total stays the same.",
        ("imbalance = 0", {}),
        ("imbalance = 1.5", {"imbalance": 1.5}),
        shown="sizes",
    ),
    "exclusive_labels": _Knob(
        "Labels that only one of the modalities has (triangles).",
        ("exclusive_labels = 0", {}),
        ("exclusive_labels = 1", {"exclusive_labels": 1}),
    ),
    "co_assayed": _Knob(
        "Whether both measure the same cells (ringed: eight of them), or each its own.",
        ("co_assayed = True", {}),
        ("co_assayed = False", {"co_assayed": False}),
        tracked=True,
    ),
    "batch_effect": _Knob(
        "How far the batches of a modality (colour) are shifted, feature by feature.",
        ("batch_effect = 0", {"n_batches": 3}),
        ("batch_effect = 2", {"n_batches": 3, "batch_effect": 2.0}),
        shown="features",
        color="batch",
    ),
    "noise": _Knob(
        "How much each feature is measured wrongly, cell by cell.",
        ("noise = 0.1", {}),
        ("noise = 2", {"noise": 2.0}),
        shown="features",
    ),
    "n_private": _Knob(
        "Dimensions that move the features of one modality only, and hide what both see.",
        ("n_private = 0", {}),
        ("n_private = 5", {"n_private": 5}),
        shown="features",
    ),
    "view": _Knob(
        "How features follow the latent: in proportion, or bent, so that large effects saturate.",
        ('view = "linear"', {}),
        ('view = "tanh"', {"view": "tanh"}),
        shown="features",
    ),
    "counts": _Knob(
        "Modalities measured as overdispersed counts in place of Gaussian features.",
        ("counts = ()", {}),
        ('counts = ("rna",)', {"counts": ("rna",), "library_size": 600.0}),
        shown="features",
    ),
    "library_size": _Knob(
        "Counts of a cell in all, on average: with few, most features are 0 or 1.",
        ("library_size = 2000", _COUNTS),
        ("library_size = 40", {**_COUNTS, "library_size": 40.0}),
        shown="features",
    ),
    "dispersion": _Knob(
        "How close counts are to Poisson: the smaller, the more they scatter beyond it.",
        ("dispersion = 100", {**_COUNTS, "dispersion": 100.0}),
        ("dispersion = 1", {**_COUNTS, "dispersion": 1.0}),
        shown="features",
    ),
    "modalities": _Knob(
        "All see the state of a cell (ringed: eight) and the shared effect of its label (crosses); below rho = 1, each adds one of its "
        "own.",
        ("rho = 1", _THREE),
        ("rho = 0.75", {**_THREE, "rho": 0.75}),
        tracked=True,
        shared=True,
    ),
}

KNOBS: Final[Registry[_Knob]] = Registry("knob")
for _name, _knob in _ORDER.items():
    KNOBS.register(_name)(_knob)


def knob_panels(knobs: Sequence[str] | None = None, *, seed: int = 18) -> list[KnobPanel]:
    """Simulate small screens that show what each knob does: two settings, all modalities.

    The latent has two dimensions, so that it is drawn as it is. Only the knob in question is turned; ``"modalities"`` has three
    of them, and turns ``rho``.

    Parameters
    ----------
    knobs
        Names of parameters of :func:`scgroove.simulations.weakly_paired`; by default all eighteen that have a
        picture.
    seed
        Seed of all simulations. With the default one, the labels happen to lie apart in two dimensions.

    Returns
    -------
    list of KnobPanel
        First setting, all modalities; second setting, all modalities: four for each knob, six for ``"modalities"``.
        :func:`scgroove.pl.simulation_knobs` draws them.

    Raises
    ------
    ValueError
        If a name is not a knob that has a picture.

    Examples
    --------
    >>> [(panel.setting, panel.modality) for panel in knob_panels(["rho"])]
    [('rho = 1', 'rna'), ('rho = 1', 'protein'), ('rho = 0', 'rna'), ('rho = 0', 'protein')]
    """
    panels: list[KnobPanel] = []
    for name in _ORDER if knobs is None else knobs:
        knob = KNOBS.get(name)
        for setting, parameters in (knob.low, knob.high):
            simulation = simulate(Scenario(**{**_BASE, **parameters}), seed)
            panels += [_panel(name, knob, setting, simulation, m) for m in simulation.modalities]
    return panels


def _panel(name: str, knob: _Knob, setting: str, simulation: Simulation, modality: str) -> KnobPanel:
    if knob.shown == "sizes":
        return _sizes(name, knob, setting, simulation, modality)
    part = simulation.modalities[modality]
    tracked = knob.tracked and simulation.scenario.co_assayed
    return KnobPanel(
        knob=name,
        sentence=knob.sentence,
        setting=setting,
        modality=modality,
        shown=knob.shown,
        xy=_features(part) if knob.shown == "features" else part.latent,
        color=part.batch if knob.color == "batch" else part.observed,
        shape=np.where(_exclusive(simulation)[part.label], 1, part.substate),
        hollow=part.escaped | simulation.inert[part.label],
        ringed=_tracked(part) if tracked else part.labelled & (part.observed != part.label),
        crosses=_shared(simulation) if knob.shared else np.zeros((0, 2)),
    )


def _sizes(name: str, knob: _Knob, setting: str, simulation: Simulation, modality: str) -> KnobPanel:
    sizes = np.bincount(simulation.modalities[modality].label)
    rank = np.arange(sizes.size)
    none = np.zeros(sizes.size, dtype=np.bool_)
    xy = np.stack([rank + 1, sizes], axis=1).astype(np.float64)
    return KnobPanel(
        name, knob.sentence, setting, modality, "sizes", xy, rank, np.zeros_like(rank), none, none
    )


def _exclusive(simulation: Simulation) -> BoolArray:
    """Whether only one modality has the label, (n_labels,)."""
    kept = labels_of_modalities(simulation.scenario)
    exclusive: BoolArray = np.sum(list(kept.values()), axis=0) == 1
    return exclusive


def _tracked(part: SimulatedModality) -> BoolArray:
    """Mark cells spread evenly over all labels."""
    tracked: BoolArray = part.cells % -(-part.cells.size // _N_TRACKED) == 0
    return tracked


def _shared(simulation: Simulation) -> Float64Array:
    """Return where the effect that all modalities see puts each label, (n_labels, 2)."""
    scenario = simulation.scenario
    place: Float64Array = scenario.effect * np.sqrt(scenario.rho) * simulation.shared_effect
    return place


def _features(part: SimulatedModality) -> Float64Array:
    """Return the first two features, (n, 2)."""
    two = part.x[:, :2]
    dense = two if isinstance(two, np.ndarray) else two.toarray()
    return np.asarray(dense, dtype=np.float64)
