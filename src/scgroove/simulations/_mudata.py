"""Simulations as MuData, with the truth in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from scgroove import _keys
from scgroove._files import make_mudata
from scgroove._types import IntArray
from scgroove.errors import InputTypeError
from scgroove.simulations._named import SCENARIOS, NamedScenario
from scgroove.simulations._scenarios import PER_MODALITY, Scenario, View
from scgroove.simulations._weak_pairs import SimulatedModality, Simulation, simulate

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from mudata import MuData

TRUE_LABEL: Final = "true_label"
"""``mod[m].obs``: the label of every simulated cell, hidden and wrong ones included."""

ESCAPED: Final = "escaped"
"""``mod[m].obs``: bool, True for a simulated cell without the effect of its label."""

SUBSTATE: Final = "substate"
"""``mod[m].obs``: sub-state of a simulated cell inside its true label."""

BATCH: Final = "batch"
"""``mod[m].obs``: batch of a simulated cell inside its modality."""


def weakly_paired(
    n_labels: int = 20,
    n_cells_per_label: int | Sequence[int] = 60,
    *,
    modalities: Sequence[str] = ("rna", "protein"),
    n_features: Sequence[int] = (100, 50),
    n_latent: int = 10,
    n_private: int = 3,
    rho: float = 1.0,
    effect: float = 2.0,
    noise: float = 0.5,
    view: View = "tanh",
    counts: Sequence[str] = (),
    library_size: float = 2000.0,
    dispersion: float = 10.0,
    co_assayed: bool = True,
    exclusive_labels: int | Mapping[str, int] = 0,
    unlabeled_fraction: float = 0.0,
    escape: float | Mapping[str, float] = 0.0,
    label_noise: float | Mapping[str, float] = 0.0,
    confusion: float | Mapping[str, float] = 0.0,
    imbalance: float = 0.0,
    n_batches: int | Mapping[str, int] = 1,
    batch_effect: float = 0.0,
    n_substates: int = 1,
    substate_effect: float = 0.0,
    inert: float = 0.0,
    seed: int = 0,
) -> MuData:
    """Simulate modalities that share labels, and know which cell is which.

    Every default is the reference scenario. Cell i of modality m with label g has

    ``u_i = c_i + r_i e [sqrt(rho) D_g + sqrt(1 - rho) D_g^(m)] + h E_gq`` and
    ``x_i = f_m([u_i, s_i]) + b B_a^(m) + sigma * noise``,

    with ``f_m`` scaled to unit variance of each feature. r_i = 0 where the cell escapes, q is its sub-state and a
    its batch; without those knobs r_i = 1 and h = b = 0. The rows of the modalities are shuffled independently,
    so that nothing can be paired by position.

    Parameters
    ----------
    n_labels
        Labels over all modalities, exclusive ones included; named ``g00``, ``g01``, ...
    n_cells_per_label
        Cells of each label in each modality that has it: one number, or one per label.
    modalities
        Names of the modalities, two or more.
    n_features
        Number of features of each modality, in the same order.
    n_latent
        Dimension k of the cell state c and of the effects D.
    n_private
        Dimension p of s, what only one modality sees of a cell.
    rho
        Share of the variance of the label effect that the modalities have in common: 1, none is specific to
        a modality; 0, nothing is shared.
    effect
        Effect size e, in standard deviations of the cell state.
    noise
        Measurement noise sigma, in standard deviations of the signal of a feature.
    view
        ``"tanh"`` (random network with one hidden layer of 64 units) or ``"linear"``.
    counts
        Names of the modalities that are negative-binomial counts (CSR, whole numbers). The others are
        Gaussian, each feature standardized after the noise.
    library_size, dispersion
        Median total count of a cell, and inverse dispersion theta (variance = mean + mean**2 / theta) of
        the count modalities.
    co_assayed
        True: the modalities measure the same cells (same ``obs_names``). False: each has cells of its own.
    exclusive_labels
        Labels found in one modality only, taken out of ``n_labels``: a number for every modality, or one per
        modality. Their cells are not measured in the others.
    unlabeled_fraction
        Share of cells whose label is hidden, drawn in each modality on its own.
    escape
        Share of cells that carry a label without its effect: r_i = 0. One number; or, with ``co_assayed=False``,
        one per modality. Where co-assayed, a cell escapes in all modalities at once.
    label_noise
        Share of labeled cells that show another label of their modality, each as likely as the others; drawn in
        each modality on its own. One number, or one per modality.
    confusion
        Share of labeled cells that show the label of their modality most similar to their own: the other one whose
        shared effect D is nearest, and of labels equally near the first. Drawn in each modality on its own, from the
        cells that ``label_noise`` leaves, so both together are at most 1. One number, or one per modality.
    imbalance
        Zipf exponent s: label g00 has most cells, and the label of rank r has cells in proportion to r**-s. The
        total stays as ``n_cells_per_label`` (one number) says, and every label keeps at least 2 cells. Exclusive
        labels come last, so they are the rarest.
    n_batches, batch_effect
        Batches of each modality (one number, or one per modality), equally many cells in each, and the standard
        deviation b of the shift of a feature in a batch: in standard deviations of the signal of the feature
        before it is standardized, in log rate for counts.
    n_substates, substate_effect
        Sub-states of each label, equally many cells in each, and the standard deviation h of their shift, in
        standard deviations of the cell state. A sub-state belongs to the cell: all modalities see the same shift,
        and co-assayed modalities the same sub-state. A cell that escapes keeps its sub-state.
    inert
        Share of labels without any effect: D_g = D_g^(m) = 0 in every modality.
    seed
        The same seed gives the same bytes on one machine. Each knob draws from a stream of its own, and a larger
        share adds cells to those of a smaller one.

    Returns
    -------
    MuData
        With, in each modality: ``X`` float32; ``obs["label"]`` categorical, missing where hidden;
        ``obs["true_label"]``; ``obs["pair_id"]`` where co-assayed (missing for cells of exclusive labels);
        ``obsm["state"]`` = c, ``obsm["latent"]`` = u and ``obsm["shared"]``, u without what only this modality sees, (n, k). Where the knob is in use: ``obs["escaped"]``
        bool, ``obs["substate"]`` and ``obs["batch"]`` categorical. In ``uns["simulation"]``: all parameters
        (those given per modality as arrays in the order of ``"modalities"``), ``"labels"`` (names in the order of
        the rows below), ``"inert_labels"`` (names), ``"shared_effect"`` = D and ``"effect_<modality>"`` = D^(m),
        (n_labels, k), ``"substate_shift"`` = E (n_labels, n_substates, k) where there are sub-states, and
        ``"batch_shift_<modality>"`` = B^(m) (n_batches, d) where there are batches.

    Raises
    ------
    ValueError
        If a parameter is out of range, or names something that is not a modality.

    References
    ----------
    User guide, "Simulated screens"; the setting follows Gorla et al. 2026, arXiv 2602.04021.

    Examples
    --------
    >>> import scgroove
    >>> mdata = scgroove.simulations.weakly_paired(n_labels=4, n_cells_per_label=10, seed=1)
    >>> mdata["rna"].shape, mdata["protein"].shape
    ((40, 100), (40, 50))
    >>> hard = scgroove.simulations.weakly_paired(
    ...     escape=0.3, label_noise=0.2, n_batches=3, batch_effect=1.0
    ... )
    >>> float(hard["rna"].obs["escaped"].mean())
    0.3
    """
    scenario = Scenario(
        n_labels=n_labels,
        n_cells_per_label=n_cells_per_label,
        modalities=tuple(modalities),
        n_features=tuple(n_features),
        n_latent=n_latent,
        n_private=n_private,
        rho=rho,
        effect=effect,
        noise=noise,
        view=view,
        counts=tuple(counts),
        library_size=library_size,
        dispersion=dispersion,
        co_assayed=co_assayed,
        exclusive_labels=exclusive_labels,
        unlabeled_fraction=unlabeled_fraction,
        escape=escape,
        label_noise=label_noise,
        confusion=confusion,
        imbalance=imbalance,
        n_batches=n_batches,
        batch_effect=batch_effect,
        n_substates=n_substates,
        substate_effect=substate_effect,
        inert=inert,
    )
    return from_scenario(scenario, seed=seed)


def from_scenario(scenario: str | NamedScenario | Scenario, *, seed: int = 0) -> MuData:
    """Simulate a setting: :func:`weakly_paired` with the parameters of ``scenario``.

    Parameters
    ----------
    scenario
        A name, as :func:`scenario_table` lists them; an entry of :data:`SCENARIOS`; or a :class:`Scenario` of
        your own.
    seed
        The same seed gives the same bytes on one machine.

    Returns
    -------
    MuData
        As :func:`weakly_paired` returns it. A scenario with a name leaves it in
        ``uns["simulation"]["scenario"]``.

    Raises
    ------
    ValueError
        If no scenario has this name.
    TypeError
        If ``scenario`` is something else.

    Examples
    --------
    >>> import scgroove
    >>> mdata = scgroove.simulations.from_scenario("few_cells", seed=1)
    >>> mdata["rna"].n_obs
    200
    """
    named, parameters = _resolve(scenario)
    simulation = simulate(parameters, seed)
    parts = {name: _to_anndata(simulation, name) for name in parameters.modalities}
    mdata = make_mudata(parts)
    mdata.uns[_keys.SIMULATION] = {**_truth(simulation), **named}
    return mdata


def _resolve(scenario: str | NamedScenario | Scenario) -> tuple[dict[str, str], Scenario]:
    """Return how the name is recorded, and the parameters."""
    if isinstance(scenario, Scenario):
        return {}, scenario
    entry = SCENARIOS.get(scenario) if isinstance(scenario, str) else scenario
    if not isinstance(entry, NamedScenario):
        raise InputTypeError(
            f"scenario must be a name, a NamedScenario or a Scenario; found {type(scenario).__name__}. For "
            f'example from_scenario("reference"), or from_scenario(Scenario(rho=0.5)).'
        )
    return {"scenario": entry.name}, entry.scenario


def _to_anndata(simulation: Simulation, name: str) -> AnnData:
    import pandas as pd
    from anndata import AnnData

    part = simulation.modalities[name]
    adata = AnnData(
        X=part.x,
        obs=_obs(simulation, name, part),
        var=pd.DataFrame(index=[f"{name}_{j}" for j in range(part.x.shape[1])]),
    )
    adata.obsm[_keys.STATE] = part.state
    adata.obsm[_keys.TRUE_LATENT] = part.latent
    adata.obsm[_keys.SHARED] = part.shared
    return adata


def _obs(simulation: Simulation, name: str, part: SimulatedModality) -> pd.DataFrame:
    import pandas as pd

    scenario = simulation.scenario
    names = label_names(scenario.n_labels)
    index = pd.Index(_cell_names(scenario, name, part))
    obs = pd.DataFrame(index=index)
    obs[_keys.LABEL] = _categorical(part.observed, names)
    obs[TRUE_LABEL] = _categorical(part.label, names)
    if scenario.co_assayed:
        obs[_keys.PAIR] = pd.Categorical(pd.Series(index, index=index).where(part.paired))
    if any(scenario.per_modality("escape").values()):
        obs[ESCAPED] = part.escaped
    if scenario.n_substates > 1:
        obs[SUBSTATE] = _categorical(part.substate, [f"s{q}" for q in range(scenario.n_substates)])
    n_batches = scenario.per_modality("n_batches")
    if max(n_batches.values()) > 1:
        obs[BATCH] = _categorical(part.batch, [f"b{a}" for a in range(n_batches[name])])
    return obs


def _categorical(codes: IntArray, names: Sequence[str]) -> pd.Categorical:
    import pandas as pd

    return pd.Categorical.from_codes(codes, categories=names).remove_unused_categories()


def label_names(n_labels: int) -> list[str]:
    """Return ``g00``, ``g01``, ... with as many digits as the last one needs, two at least."""
    width = max(2, len(str(n_labels - 1)))
    return [f"g{code:0{width}d}" for code in range(n_labels)]


def _cell_names(scenario: Scenario, name: str, part: SimulatedModality) -> list[str]:
    width = max(4, len(str(sum(scenario.cells_per_label()) - 1)))
    prefix = "cell" if scenario.co_assayed else f"{name}_"
    return [f"{prefix}{cell:0{width}d}" for cell in part.cells]


def _truth(simulation: Simulation) -> dict[str, Any]:
    """Return parameters and effects as HDF5 stores them: no None, no tuples, no mappings."""
    scenario = simulation.scenario
    names = np.asarray(label_names(scenario.n_labels), dtype=object)
    truth = {
        **_parameters(scenario),
        "seed": simulation.seed,
        "labels": names,
        "inert_labels": names[simulation.inert],
        "shared_effect": simulation.shared_effect,
    }
    if scenario.n_substates > 1:
        truth["substate_shift"] = simulation.substate_shift
    for name, part in simulation.modalities.items():
        truth[f"effect_{name}"] = part.effect
        if scenario.per_modality("n_batches")[name] > 1:
            truth[f"batch_shift_{name}"] = part.batch_shift
    return truth


def _parameters(scenario: Scenario) -> dict[str, Any]:
    exclusive = scenario.exclusive()
    parameters = scenario.parameters()
    parameters.update(
        n_cells_per_label=np.asarray(scenario.cells_per_label(), dtype=np.int64),
        modalities=np.asarray(scenario.modalities, dtype=object),
        n_features=np.asarray(scenario.n_features, dtype=np.int64),
        counts=np.asarray([m in scenario.counts for m in scenario.modalities], dtype=np.bool_),
        exclusive_labels=np.asarray([exclusive[m] for m in scenario.modalities], dtype=np.int64),
    )
    for name in PER_MODALITY:
        if isinstance(parameters[name], Mapping):
            parameters[name] = np.asarray(list(scenario.per_modality(name).values()))
    return parameters
