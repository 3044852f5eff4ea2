"""The generator of weakly paired data, in arrays.

Equation (user guide, "Simulated screens"), for cell i of modality m with label g::

    u_i = c_i + sqrt(rho) e D_g + sqrt(1 - rho) e D_g^(m)
    x_i = f_m([u_i, s_i]) / sd + sigma * noise

c_i ~ N(0, I_k) is the cell state (the shared truth), D_g ~ N(0, I_k) the effect of the label that all
modalities see, D_g^(m) the one that only modality m sees, s_i ~ N(0, I_p) private to the modality.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import scipy.sparse as sp

from scgroove._types import BoolArray, Float64Array, FloatArray, IntArray
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
    labelled
        False where the label is hidden, (n,).
    paired
        True where the same cell was measured in another modality too, (n,).
    state, latent
        c and u of each row, float64 (n, k).
    effect
        D^(m), effects that only this modality sees, float64 (n_labels, k).
    """

    x: FloatArray | sp.csr_matrix
    cells: IntArray
    label: IntArray
    labelled: BoolArray
    paired: BoolArray
    state: Float64Array
    latent: Float64Array
    effect: Float64Array


@dataclass(frozen=True)
class Simulation:
    """All modalities of a simulation, and D, the shared effects, float64 (n_labels, k)."""

    scenario: Scenario
    seed: int
    shared_effect: Float64Array
    modalities: dict[str, SimulatedModality]


def simulate(scenario: Scenario, seed: int = 0) -> Simulation:
    """Draw one data set.

    Parameters
    ----------
    scenario
        The setting.
    seed
        The same seed gives the same bytes on one machine. Structure, cells and each modality have
        random streams of their own, so that an option of one modality leaves the others as they were.

    Returns
    -------
    Simulation
        Arrays of every modality and the truth.

    References
    ----------
    User guide, "Simulated screens".
    """
    structure, common, *own = np.random.default_rng(seed).spawn(2 + len(scenario.modalities))
    shared_effect = structure.normal(size=(scenario.n_labels, scenario.n_latent))
    kept = labels_of_modalities(scenario)
    states = _draw_states(scenario, common) if scenario.co_assayed else None
    in_others = np.sum(list(kept.values()), axis=0) > 1
    modalities: dict[str, SimulatedModality] = {}
    for index, (name, rng) in enumerate(zip(scenario.modalities, own, strict=True)):
        paired_labels = in_others if scenario.co_assayed else np.zeros_like(in_others)
        modalities[name] = _draw_modality(
            scenario, index, rng, shared_effect, kept[name], paired_labels, states
        )
    return Simulation(scenario, seed, shared_effect, modalities)


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


def _draw_states(scenario: Scenario, rng: np.random.Generator) -> Float64Array:
    return rng.normal(size=(sum(scenario.cells_per_label()), scenario.n_latent))


def _draw_modality(
    scenario: Scenario,
    index: int,
    rng: np.random.Generator,
    shared_effect: Float64Array,
    has_label: BoolArray,
    paired_labels: BoolArray,
    states: Float64Array | None,
) -> SimulatedModality:
    cell_rng, view_rng, noise_rng, label_rng, order_rng = rng.spawn(5)
    effect = cell_rng.normal(size=shared_effect.shape)
    state = _draw_states(scenario, cell_rng) if states is None else states
    label = np.repeat(np.arange(scenario.n_labels), scenario.cells_per_label())
    shift = np.sqrt(scenario.rho) * shared_effect + np.sqrt(1.0 - scenario.rho) * effect
    latent = state + scenario.effect * shift[label]
    rows = order_rng.permutation(np.flatnonzero(has_label[label]))
    private = cell_rng.normal(size=(label.size, scenario.n_private))
    inputs = np.concatenate([latent, private], axis=1)[rows]
    signal = view(inputs, scenario.n_features[index], scenario.view, view_rng)
    return SimulatedModality(
        x=_measure(signal, scenario, scenario.modalities[index], noise_rng),
        cells=rows,
        label=label[rows],
        labelled=_draw_labelled(rows.size, scenario.unlabeled_fraction, label_rng),
        paired=paired_labels[label[rows]],
        state=state[rows],
        latent=latent[rows],
        effect=effect,
    )


def view(inputs: Float64Array, n_features: int, kind: str, rng: np.random.Generator) -> Float64Array:
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
        return standardise(hidden @ rng.normal(size=(N_HIDDEN, n_features)))
    return standardise(inputs @ rng.normal(size=(n_in, n_features)))


def standardise(x: Float64Array) -> Float64Array:
    """Return ``x`` with columns of zero mean and unit variance (over n); a constant one becomes zero."""
    centred: Float64Array = x - x.mean(axis=0)
    scale: Float64Array = centred.std(axis=0)
    scale[scale == 0] = 1.0
    return centred / scale


def _measure(
    signal: Float64Array, scenario: Scenario, name: str, rng: np.random.Generator
) -> FloatArray | sp.csr_matrix:
    noisy = signal + scenario.noise * rng.normal(size=signal.shape)
    if name in scenario.counts:
        return draw_counts(noisy, scenario.library_size, scenario.dispersion, rng)
    return standardise(noisy).astype(np.float32)


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


def _draw_labelled(n: int, fraction: float, rng: np.random.Generator) -> BoolArray:
    labelled = np.ones(n, dtype=np.bool_)
    labelled[rng.permutation(n)[: round(fraction * n)]] = False
    return labelled
