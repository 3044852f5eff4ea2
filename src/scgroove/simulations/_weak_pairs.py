"""The generator of weakly paired data, in arrays.

Equation (user guide, "Simulated screens"), for cell i of modality m with label g::

    u_i = c_i + r_i e [sqrt(rho) D_g + sqrt(1 - rho) D_g^(m)] + h E_gq
    x_i = f_m([u_i, s_i]) / sd + b B_a^(m) + sigma * noise

c_i ~ N(0, I_k) is the cell state (the shared truth), D_g ~ N(0, I_k) the effect of the label that
all modalities see, D_g^(m) the one that only modality m sees, s_i ~ N(0, I_p) private to the
modality. r_i is 0 for a cell that escapes and 1 otherwise. D_g = D_g^(m) = 0 for an inert label.
E_gq ~ N(0, I_k) is the shift of sub-state q of label g, which all modalities see. B_a^(m) ~ N(0,
I_d) that of batch a of modality m.

The data show y_i = g, for the cells of label noise any other label of the modality, for those of
confusion the label g' other than g with the least ||D_g' - D_g||.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import scipy.sparse as sp

from scgroove._types import BoolArray, Float64Array, FloatArray, IntArray
from scgroove.simulations._knobs import (
    draw_batches,
    draw_share,
    draw_substates,
    draw_wrong_labels,
    nearest_labels,
)
from scgroove.simulations._scenarios import Scenario

N_HIDDEN: Final = 64
"""Hidden units of the tanh view."""

LIBRARY_LOG_SD: Final = 0.3
"""Standard deviation of the logarithm of the library size of a cell."""

BASE_LOG_SD: Final = 1.0
"""Standard deviation of the logarithm of the base abundance of a feature of a count modality."""


@dataclass(frozen=True)
class SimulatedModality:
    """Measurements of one modality and the truth behind them. Rows are in shuffled order.

    Attributes
    ----------
    x
        Measured values, float32 (n, d), CSR of whole numbers for counts.
    cells
        Biological cell of each row, (n,).
    label
        True label code of each row, (n,).
    observed
        Label code that the data show, (n,), -1 where hidden.
    escaped
        True for cells without the effect of their label, (n,).
    substate, batch
        Codes of the sub-state inside the label and of the batch inside the modality, (n,).
    paired
        True where the same cell was measured in another modality too, (n,).
    state, latent
        c and u of each row, float64 (n, k).
    shared
        ``c + r e sqrt(rho) D + h E``: u without the effect of this modality alone, float64 (n, k).
    effect
        D^(m), float64 (n_labels, k).
    batch_shift
        B^(m), float64 (n_batches, d), zero for one batch.
    """

    x: FloatArray | sp.csr_matrix
    cells: IntArray
    label: IntArray
    observed: IntArray
    escaped: BoolArray
    substate: IntArray
    batch: IntArray
    paired: BoolArray
    state: Float64Array
    latent: Float64Array
    shared: Float64Array
    effect: Float64Array
    batch_shift: Float64Array


@dataclass(frozen=True)
class Simulation:
    """All modalities of a simulation, and the truth that they share.

    Attributes
    ----------
    scenario, seed
        The setting and the seed.
    shared_effect
        D, float64 (n_labels, k).
    inert
        True for labels without any effect, (n_labels,).
    substate_shift
        E, float64 (n_labels, n_substates, k).
    modalities
        Measurements of each modality.
    """

    scenario: Scenario
    seed: int
    shared_effect: Float64Array
    inert: BoolArray
    substate_shift: Float64Array
    modalities: dict[str, SimulatedModality]


@dataclass(frozen=True)
class _Cells:
    """Biological cells before anything is measured, in the order of their labels."""

    label: IntArray
    state: Float64Array
    escaped: BoolArray
    substate: IntArray


def simulate(scenario: Scenario, seed: int = 0) -> Simulation:
    """Draw one data set.

    Structure, cells and each modality have random streams of their own, and so has each parameter.
    An option of one modality leaves the others as they were, and a parameter leaves what it does
    not touch as it was. The same seed gives the same bytes on one machine.
    """
    # a new stream is spawned after the others, so that an old seed keeps giving the old data
    structure, common, *own = np.random.default_rng(seed).spawn(2 + len(scenario.modalities))
    inert_rng, substate_rng = structure.spawn(2)
    n, k = scenario.n_labels, scenario.n_latent
    inert = draw_share(np.ones(n, dtype=np.bool_), scenario.inert, inert_rng)
    simulation = Simulation(
        scenario=scenario,
        seed=seed,
        shared_effect=_without(structure.normal(size=(n, k)), inert),
        inert=inert,
        substate_shift=substate_rng.normal(size=(n, scenario.n_substates, k)),
        modalities={},
    )
    has_label = labels_of_modalities(scenario)
    in_others = np.sum(list(has_label.values()), axis=0) > 1
    same_cells = None
    if scenario.co_assayed:
        same_cells = _draw_cells(scenario, common, scenario.modalities[0], np.ones_like(in_others))
    for name, d, rng in zip(scenario.modalities, scenario.n_features, own, strict=True):
        paired = in_others if scenario.co_assayed else np.zeros_like(in_others)
        part = _draw_modality(simulation, name, d, rng, has_label[name], paired, same_cells)
        simulation.modalities[name] = part
    return simulation


def labels_of_modalities(scenario: Scenario) -> dict[str, BoolArray]:
    """Return the labels of each modality. Exclusive ones are the last codes, in modality order."""
    exclusive = scenario.exclusive()
    kept = {m: np.ones(scenario.n_labels, dtype=np.bool_) for m in scenario.modalities}
    stop = scenario.n_labels
    for name in reversed(scenario.modalities):
        start = stop - exclusive[name]
        for other in scenario.modalities:
            kept[other][start:stop] = other == name
        stop = start
    return kept


def _draw_cells(
    scenario: Scenario, rng: np.random.Generator, name: str, has_label: BoolArray
) -> _Cells:
    """Draw biological cells of all labels, also of labels that are not measured."""
    escape_rng, substate_rng = rng.spawn(2)
    label = np.repeat(np.arange(scenario.n_labels), scenario.cells_per_label())
    return _Cells(
        label=label,
        state=rng.normal(size=(label.size, scenario.n_latent)),
        escaped=draw_share(has_label[label], scenario.per_modality("escape")[name], escape_rng),
        substate=draw_substates(label, scenario.n_substates, substate_rng),
    )


def _draw_modality(
    simulation: Simulation,
    name: str,
    d: int,
    rng: np.random.Generator,
    has_label: BoolArray,
    paired_labels: BoolArray,
    same_cells: _Cells | None,
) -> SimulatedModality:
    scenario = simulation.scenario
    cell_rng, view_rng, noise_rng, label_rng, order_rng, batch_rng = rng.spawn(6)
    effect = _without(cell_rng.normal(size=simulation.shared_effect.shape), simulation.inert)
    cells = same_cells or _draw_cells(scenario, cell_rng, name, has_label)
    latent = _latent(simulation, cells, effect)
    rows = order_rng.permutation(np.flatnonzero(has_label[cells.label]))
    label = cells.label[rows]
    private = cell_rng.normal(size=(cells.label.size, scenario.n_private))
    inputs = np.concatenate([latent, private], axis=1)[rows]

    n_batches = scenario.per_modality("n_batches")[name]
    batch_of_cell_rng, shift_rng = batch_rng.spawn(2)
    # one batch has no shift, so that a modality without batches stays as it was
    batch_shift = shift_rng.normal(size=(n_batches, d)) if n_batches > 1 else np.zeros((1, d))
    batch = draw_batches(rows.size, n_batches, batch_of_cell_rng)
    signal = view(inputs, d, scenario.view, view_rng)
    if scenario.batch_effect > 0:
        signal += scenario.batch_effect * batch_shift[batch]
    signal += scenario.noise * noise_rng.normal(size=signal.shape)
    if name in scenario.counts:
        x = draw_counts(signal, scenario.library_size, scenario.dispersion, noise_rng)
    else:
        x = standardize(signal).astype(np.float32)
    return SimulatedModality(
        x=x,
        cells=rows,
        label=label,
        observed=_observe(simulation, name, label, np.flatnonzero(has_label), label_rng),
        escaped=cells.escaped[rows],
        substate=cells.substate[rows],
        batch=batch,
        paired=paired_labels[label],
        state=cells.state[rows],
        latent=latent[rows],
        shared=_latent(simulation, cells, np.zeros_like(effect))[rows],
        effect=effect,
        batch_shift=batch_shift,
    )


def _latent(simulation: Simulation, cells: _Cells, effect: Float64Array) -> Float64Array:
    """Return u of each cell, (n, k)."""
    s = simulation.scenario
    shift = np.sqrt(s.rho) * simulation.shared_effect + np.sqrt(1.0 - s.rho) * effect
    of_label = _without(s.effect * shift[cells.label], cells.escaped)
    of_substate = s.substate_effect * simulation.substate_shift[cells.label, cells.substate]
    latent: Float64Array = cells.state + of_label + of_substate
    return latent


def _without(effect: Float64Array, rows: BoolArray) -> Float64Array:
    """Return ``effect`` with zeros in the marked rows."""
    return np.where(rows[:, None], 0.0, effect)


def _observe(
    simulation: Simulation,
    name: str,
    label: IntArray,
    vocabulary: IntArray,
    rng: np.random.Generator,
) -> IntArray:
    """Return the label that the data show of each cell: some are wrong, and -1 are hidden."""
    scenario = simulation.scenario
    noise_rng, confusion_rng = rng.spawn(2)
    hidden = draw_share(np.ones(label.size, dtype=np.bool_), scenario.unlabeled_fraction, rng)
    share = scenario.per_modality("label_noise")[name]
    shown = draw_wrong_labels(label, ~hidden, vocabulary, share, noise_rng)
    confusion = scenario.per_modality("confusion")[name]
    if confusion > 0:
        confused = draw_share(~hidden, confusion, confusion_rng, taken=shown != label)
        nearest = nearest_labels(simulation.shared_effect, vocabulary)
        shown = np.where(confused, nearest[np.searchsorted(vocabulary, label)], shown)
    return np.where(hidden, -1, shown)


def view(
    inputs: Float64Array, n_features: int, kind: str, rng: np.random.Generator
) -> Float64Array:
    """Return f_m(inputs), (n, d), with zero mean and unit variance of each feature.

    ``"tanh"`` is tanh(inputs @ W1 / sqrt(k + p)) @ W2 and ``"linear"`` inputs @ W, with weights
    N(0, 1), for latent and private coordinates (n, k + p).
    """
    n_in = inputs.shape[1]
    if kind == "tanh":
        hidden = np.tanh(inputs @ rng.normal(size=(n_in, N_HIDDEN)) / np.sqrt(n_in))
        return standardize(hidden @ rng.normal(size=(N_HIDDEN, n_features)))
    return standardize(inputs @ rng.normal(size=(n_in, n_features)))


def standardize(x: Float64Array) -> Float64Array:
    """Return ``x`` with columns of zero mean and unit variance, constant ones zero."""
    centered: Float64Array = x - x.mean(axis=0)
    scale: Float64Array = centered.std(axis=0)
    scale[scale == 0] = 1.0
    return centered / scale


def draw_counts(
    log_rate: Float64Array, library_size: float, dispersion: float, rng: np.random.Generator
) -> sp.csr_matrix:
    """Draw negative-binomial counts.

    mean_ij = L_i softmax_j(b_j + log_rate_ij), L_i log-normal around ``library_size``, b_j ~ N(0,
    1), variance = mean + mean**2 / ``dispersion``. A cell that would be all zero gets one count of
    its most abundant feature. Returns whole numbers as float32, (n, d).
    """
    n, d = log_rate.shape
    logits = log_rate + BASE_LOG_SD * rng.normal(size=d)
    rate = np.exp(logits - logits.max(axis=1, keepdims=True))
    library = library_size * np.exp(LIBRARY_LOG_SD * rng.normal(size=(n, 1)))
    mean = library * rate / rate.sum(axis=1, keepdims=True)
    counts = rng.poisson(mean * rng.gamma(dispersion, 1.0 / dispersion, size=mean.shape))
    empty = np.flatnonzero(counts.sum(axis=1) == 0)
    counts[empty, mean[empty].argmax(axis=1)] = 1
    return sp.csr_matrix(counts.astype(np.float32))
