"""The generator of weakly paired data, in arrays.

Equation (user guide, "Simulated screens"), for cell i of modality m with label g::

    u_i = c_i + r_i e [sqrt(rho) D_g + sqrt(1 - rho) D_g^(m)] + h E_gq
    x_i = f_m([u_i, s_i]) / sd + b B_a^(m) + sigma * noise

c_i ~ N(0, I_k) is the cell state (the shared truth), D_g ~ N(0, I_k) the effect of the label that all
modalities see, D_g^(m) the one that only modality m sees, s_i ~ N(0, I_p) private to the modality.
r_i is 0 for a cell that escapes and 1 otherwise; D_g = D_g^(m) = 0 for an inert label; E_gq ~ N(0, I_k) is the
shift of sub-state q of label g, which all modalities see; B_a^(m) ~ N(0, I_d) that of batch a of modality m.

The data show y_i = g; for the cells of label noise, any other label of the modality; for those of confusion, its
label g' other than g with the least ||D_g' - D_g||.
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
    """What one modality measured, and the truth behind it. Rows are in shuffled order.

    Attributes
    ----------
    x
        Measured values, float32 (n, d); CSR of whole numbers for a count modality.
    cells
        Identity of the biological cell of each row, (n,); equal numbers are the same cell.
    label
        True label code of each row, (n,).
    observed
        Label code that the data show, (n,): another one than ``label`` where it is wrong, -1 where hidden.
    escaped
        True for cells without the effect of their label, (n,).
    substate, batch
        Codes of the sub-state inside the label and of the batch inside the modality, (n,).
    paired
        True where the same cell was measured in another modality too, (n,).
    state, latent
        c and u of each row, float64 (n, k).
    shared
        What modalities have in common of each row, ``c + r e sqrt(rho) D + h E``, float64 (n, k): u without the effect that only
        this modality sees.
    effect
        D^(m), effects that only this modality sees, float64 (n_labels, k).
    batch_shift
        B^(m), float64 (n_batches, d); zero where there is one batch.
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

    @property
    def labeled(self) -> BoolArray:
        """False where the label is hidden, (n,)."""
        return self.observed >= 0


@dataclass(frozen=True)
class Simulation:
    """All modalities of a simulation, and the truth that they share.

    Attributes
    ----------
    scenario, seed
        What was asked for.
    shared_effect
        D, float64 (n_labels, k).
    inert
        True for labels without any effect, (n_labels,).
    substate_shift
        E, float64 (n_labels, n_substates, k).
    modalities
        What each modality measured.
    """

    scenario: Scenario
    seed: int
    shared_effect: Float64Array
    inert: BoolArray
    substate_shift: Float64Array
    modalities: dict[str, SimulatedModality]


@dataclass(frozen=True)
class _Labels:
    """What is true of the labels in all modalities."""

    shared_effect: Float64Array
    inert: BoolArray
    substate_shift: Float64Array


@dataclass(frozen=True)
class _Cells:
    """What is true of biological cells before anything is measured, in the order of their labels."""

    label: IntArray
    state: Float64Array
    escaped: BoolArray
    substate: IntArray


def simulate(scenario: Scenario, seed: int = 0) -> Simulation:
    """Draw one data set.

    Parameters
    ----------
    scenario
        The setting.
    seed
        The same seed gives the same bytes on one machine. Structure, cells and each modality have
        random streams of their own, and so has each knob, so that an option of one modality leaves the others
        as they were, and a knob that is turned leaves what it does not touch as it was.

    Returns
    -------
    Simulation
        Arrays of every modality and the truth.

    References
    ----------
    User guide, "Simulated screens".
    """
    # A new stream is spawned after those there are: an old seed keeps giving the old data.
    structure, common, *own = np.random.default_rng(seed).spawn(2 + len(scenario.modalities))
    labels = _draw_labels(scenario, structure)
    kept = labels_of_modalities(scenario)
    in_others = np.sum(list(kept.values()), axis=0) > 1
    same_cells = None
    if scenario.co_assayed:
        same_cells = _draw_cells(scenario, common, scenario.modalities[0], np.ones_like(in_others))
    modalities: dict[str, SimulatedModality] = {}
    for index, (name, rng) in enumerate(zip(scenario.modalities, own, strict=True)):
        paired_labels = in_others if scenario.co_assayed else np.zeros_like(in_others)
        modalities[name] = _draw_modality(
            scenario, index, rng, labels, kept[name], paired_labels, same_cells
        )
    return Simulation(
        scenario, seed, labels.shared_effect, labels.inert, labels.substate_shift, modalities
    )


def labels_of_modalities(scenario: Scenario) -> dict[str, BoolArray]:
    """Return which labels each modality has: the exclusive ones are the last codes, in modality order."""
    exclusive = scenario.exclusive()
    kept = {m: np.ones(scenario.n_labels, dtype=np.bool_) for m in scenario.modalities}
    stop = scenario.n_labels
    for name in reversed(scenario.modalities):
        start = stop - exclusive[name]
        for other in scenario.modalities:
            kept[other][start:stop] = other == name
        stop = start
    return kept


def _draw_labels(scenario: Scenario, rng: np.random.Generator) -> _Labels:
    inert_rng, substate_rng = rng.spawn(2)
    n, k = scenario.n_labels, scenario.n_latent
    inert = draw_share(np.ones(n, dtype=np.bool_), scenario.inert, inert_rng)
    shared_effect = _without(rng.normal(size=(n, k)), inert)
    return _Labels(shared_effect, inert, substate_rng.normal(size=(n, scenario.n_substates, k)))


def _draw_cells(
    scenario: Scenario, rng: np.random.Generator, name: str, has_label: BoolArray
) -> _Cells:
    """Draw biological cells of all labels; those whose label is not there are never measured."""
    escape_rng, substate_rng = rng.spawn(2)
    label = np.repeat(np.arange(scenario.n_labels), scenario.cells_per_label())
    return _Cells(
        label=label,
        state=rng.normal(size=(label.size, scenario.n_latent)),
        escaped=draw_share(has_label[label], scenario.per_modality("escape")[name], escape_rng),
        substate=draw_substates(label, scenario.n_substates, substate_rng),
    )


def _draw_modality(
    scenario: Scenario,
    index: int,
    rng: np.random.Generator,
    labels: _Labels,
    has_label: BoolArray,
    paired_labels: BoolArray,
    same_cells: _Cells | None,
) -> SimulatedModality:
    name, d = scenario.modalities[index], scenario.n_features[index]
    cell_rng, view_rng, noise_rng, label_rng, order_rng, batch_rng = rng.spawn(6)
    effect = _without(cell_rng.normal(size=labels.shared_effect.shape), labels.inert)
    cells = same_cells or _draw_cells(scenario, cell_rng, name, has_label)
    shared = _latent(scenario, labels, cells, np.zeros_like(effect))
    latent = _latent(scenario, labels, cells, effect)
    rows = order_rng.permutation(np.flatnonzero(has_label[cells.label]))
    private = cell_rng.normal(size=(cells.label.size, scenario.n_private))
    inputs = np.concatenate([latent, private], axis=1)[rows]
    batch, batch_shift = _draw_batches(scenario, name, rows.size, d, batch_rng)
    signal = view(inputs, d, scenario.view, view_rng)
    if scenario.batch_effect > 0:
        signal += scenario.batch_effect * batch_shift[batch]
    return SimulatedModality(
        x=_measure(signal, scenario, name, noise_rng),
        cells=rows,
        label=cells.label[rows],
        observed=_observe(
            scenario, name, cells.label[rows], labels, np.flatnonzero(has_label), label_rng
        ),
        escaped=cells.escaped[rows],
        substate=cells.substate[rows],
        batch=batch,
        paired=paired_labels[cells.label[rows]],
        state=cells.state[rows],
        latent=latent[rows],
        shared=shared[rows],
        effect=effect,
        batch_shift=batch_shift,
    )


def _latent(
    scenario: Scenario, labels: _Labels, cells: _Cells, effect: Float64Array
) -> Float64Array:
    """Return u of each cell, (n, k)."""
    shift = np.sqrt(scenario.rho) * labels.shared_effect + np.sqrt(1.0 - scenario.rho) * effect
    of_label = _without(scenario.effect * shift[cells.label], cells.escaped)
    of_substate = scenario.substate_effect * labels.substate_shift[cells.label, cells.substate]
    latent: Float64Array = cells.state + of_label + of_substate
    return latent


def _without(effect: Float64Array, rows: BoolArray) -> Float64Array:
    """Return ``effect`` with zeros in the marked rows."""
    return np.where(rows[:, None], 0.0, effect)


def _draw_batches(
    scenario: Scenario, name: str, n: int, d: int, rng: np.random.Generator
) -> tuple[IntArray, Float64Array]:
    n_batches = scenario.per_modality("n_batches")[name]
    cell_rng, shift_rng = rng.spawn(2)
    # One batch is no shift at all, so that a modality without batches is the same as ever.
    shift = shift_rng.normal(size=(n_batches, d)) if n_batches > 1 else np.zeros((1, d))
    return draw_batches(n, n_batches, cell_rng), shift


def _observe(
    scenario: Scenario,
    name: str,
    label: IntArray,
    labels: _Labels,
    vocabulary: IntArray,
    rng: np.random.Generator,
) -> IntArray:
    """Label that the data show of each cell: some are wrong, and -1 are hidden."""
    noise_rng, confusion_rng = rng.spawn(2)
    hidden = draw_share(np.ones(label.size, dtype=np.bool_), scenario.unlabeled_fraction, rng)
    share = scenario.per_modality("label_noise")[name]
    shown = draw_wrong_labels(label, ~hidden, vocabulary, share, noise_rng)
    confusion = scenario.per_modality("confusion")[name]
    if confusion > 0:
        confused = draw_share(~hidden, confusion, confusion_rng, taken=shown != label)
        nearest = nearest_labels(labels.shared_effect, vocabulary)
        shown = np.where(confused, nearest[np.searchsorted(vocabulary, label)], shown)
    return np.where(hidden, -1, shown)


def view(
    inputs: Float64Array, n_features: int, kind: str, rng: np.random.Generator
) -> Float64Array:
    """Return f_m(inputs) with zero mean and unit variance of each feature.

    Parameters
    ----------
    inputs
        Latent and private coordinates, (n, k + p).
    n_features
        Number of features d.
    kind
        ``"tanh"``: tanh(inputs @ W1 / sqrt(k + p)) @ W2; ``"linear"``: inputs @ W. Weights are N(0, 1).
    rng
        Source of the weights.

    Returns
    -------
    ndarray
        float64 (n, d).
    """
    n_in = inputs.shape[1]
    if kind == "tanh":
        hidden = np.tanh(inputs @ rng.normal(size=(n_in, N_HIDDEN)) / np.sqrt(n_in))
        return standardize(hidden @ rng.normal(size=(N_HIDDEN, n_features)))
    return standardize(inputs @ rng.normal(size=(n_in, n_features)))


def standardize(x: Float64Array) -> Float64Array:
    """Return ``x`` with columns of zero mean and unit variance (over n); a constant one becomes zero."""
    centered: Float64Array = x - x.mean(axis=0)
    scale: Float64Array = centered.std(axis=0)
    scale[scale == 0] = 1.0
    return centered / scale


def _measure(
    signal: Float64Array, scenario: Scenario, name: str, rng: np.random.Generator
) -> FloatArray | sp.csr_matrix:
    noisy = signal + scenario.noise * rng.normal(size=signal.shape)
    if name in scenario.counts:
        return draw_counts(noisy, scenario.library_size, scenario.dispersion, rng)
    return standardize(noisy).astype(np.float32)


def draw_counts(
    log_rate: Float64Array, library_size: float, dispersion: float, rng: np.random.Generator
) -> sp.csr_matrix:
    """Draw negative-binomial counts.

    mean_ij = L_i softmax_j(b_j + log_rate_ij), L_i log-normal around ``library_size`` and b_j ~ N(0, 1);
    variance = mean + mean**2 / ``dispersion``. A cell that would be all zero gets one count of its most
    abundant feature.

    Returns
    -------
    csr_matrix
        Whole numbers as float32, (n, d).
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
