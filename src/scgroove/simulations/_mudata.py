"""Simulations as MuData, with the truth in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from scgroove import _keys
from scgroove.simulations._scenarios import Scenario, View
from scgroove.simulations._weak_pairs import SimulatedModality, Simulation, simulate

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from mudata import MuData

TRUE_LABEL: Final = "true_label"
"""``mod[m].obs``: the label of every simulated cell, hidden ones included."""


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
    seed: int = 0,
) -> MuData:
    """Simulate modalities that share labels, and know which cell is which.

    Every default is the reference scenario. Cell i of modality m with label g has

    ``u_i = c_i + sqrt(rho) e D_g + sqrt(1 - rho) e D_g^(m)`` and ``x_i = f_m([u_i, s_i]) + sigma * noise``,

    with ``f_m`` scaled to unit variance of each feature. The rows of the modalities are shuffled
    independently, so that nothing can be paired by position.

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
        Gaussian, each feature standardised after the noise.
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
    seed
        The same seed gives the same bytes on one machine.

    Returns
    -------
    MuData
        With, in each modality: ``X`` float32; ``obs["label"]`` categorical, missing where hidden;
        ``obs["true_label"]``; ``obs["pair_id"]`` where co-assayed (missing for cells of exclusive labels);
        ``obsm["state"]`` = c and ``obsm["latent"]`` = u, (n, k). In ``uns["simulation"]``: all parameters,
        ``"shared_effect"`` = D and ``"effect_<modality>"`` = D^(m), (n_labels, k).

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
    )
    return from_scenario(scenario, seed=seed)


def from_scenario(scenario: Scenario, *, seed: int = 0) -> MuData:
    """Simulate a named setting: :func:`weakly_paired` with the parameters of ``scenario``.

    Parameters
    ----------
    scenario
        For example :data:`scgroove.simulations.REFERENCE`.
    seed
        The same seed gives the same bytes on one machine.

    Returns
    -------
    MuData
        As :func:`weakly_paired` returns it.
    """
    import mudata

    simulation = simulate(scenario, seed)
    parts = {name: _to_anndata(simulation, name) for name in scenario.modalities}
    # Before 0.4, mudata copied columns up from the modalities unless told not to.
    options = getattr(mudata, "set_options", None)
    with options(pull_on_update=False) if options else nullcontext():
        mdata = mudata.MuData(parts)
    mdata.uns[_keys.SIMULATION] = _truth(simulation)
    return mdata


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
    return adata


def _obs(simulation: Simulation, name: str, part: SimulatedModality) -> pd.DataFrame:
    import pandas as pd

    scenario = simulation.scenario
    names = label_names(scenario.n_labels)
    index = pd.Index(_cell_names(scenario, name, part))
    observed = pd.Categorical.from_codes(np.where(part.labelled, part.label, -1), categories=names)
    obs = pd.DataFrame(index=index)
    obs[_keys.LABEL] = observed.remove_unused_categories()
    obs[TRUE_LABEL] = pd.Categorical.from_codes(part.label, categories=names).remove_unused_categories()
    if scenario.co_assayed:
        obs[_keys.PAIR] = pd.Categorical(pd.Series(index, index=index).where(part.paired))
    return obs


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
    exclusive = scenario.exclusive()
    parameters = scenario.parameters()
    parameters.update(
        n_cells_per_label=np.asarray(scenario.cells_per_label(), dtype=np.int64),
        modalities=np.asarray(scenario.modalities, dtype=object),
        n_features=np.asarray(scenario.n_features, dtype=np.int64),
        counts=np.asarray([m in scenario.counts for m in scenario.modalities], dtype=np.bool_),
        exclusive_labels=np.asarray([exclusive[m] for m in scenario.modalities], dtype=np.int64),
    )
    effects = {f"effect_{name}": part.effect for name, part in simulation.modalities.items()}
    return {**parameters, "seed": simulation.seed, "shared_effect": simulation.shared_effect, **effects}
