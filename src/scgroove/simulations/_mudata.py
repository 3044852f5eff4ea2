"""Simulations as MuData, with the truth in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import numpy as np

from scgroove import _keys
from scgroove._files import make_mudata
from scgroove._types import IntArray
from scgroove.errors import InputTypeError, did_you_mean
from scgroove.simulations._named import SCENARIOS, NamedScenario
from scgroove.simulations._scenarios import PER_MODALITY, Scenario
from scgroove.simulations._weak_pairs import SimulatedModality, Simulation, simulate

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from mudata import MuData


def weakly_paired(
    n_labels: int = 20,
    n_cells_per_label: int | Sequence[int] = 60,
    *,
    seed: int = 0,
    **parameters: Any,
) -> MuData:
    """Simulate modalities that share labels, with the truth of which cell is which.

    Cell i of modality m with label g has

    ``u_i = c_i + r_i e [sqrt(rho) D_g + sqrt(1 - rho) D_g^(m)] + h E_gq`` and
    ``x_i = f_m([u_i, s_i]) + b B_a^(m) + sigma * noise``,

    with ``f_m`` scaled to unit variance of each feature. r_i = 0 where the cell escapes, q is its
    sub-state and a its batch. By default r_i = 1 and h = b = 0. The rows of the modalities are
    shuffled independently, so that nothing can be paired by position.

    Parameters
    ----------
    n_labels
        Labels over all modalities, exclusive ones included. Named ``g00``, ``g01``, ...
    n_cells_per_label
        Cells of each label in each modality that has it: one number, or one per label.
    seed
        The same seed gives the same bytes on one machine. Each parameter draws from a stream of its
        own, and a larger share adds cells to those of a smaller one.
    **parameters
        Other parameters of :class:`Scenario`, such as ``rho=0.5``, ``modalities=("rna", "atac")``,
        ``n_features=(100, 50)``, ``counts=["rna"]`` or ``escape=0.3``. Every default is the
        reference scenario.

    Returns
    -------
    MuData
        In each modality: ``X`` float32. ``obs["label"]`` categorical, missing where hidden.
        ``obs["true_label"]``. ``obs["pair_id"]`` where co-assayed (missing for cells of exclusive
        labels). ``obsm["state"]`` = c, ``obsm["latent"]`` = u and ``obsm["shared"]``, u without
        what only this modality sees, (n, k). Where in use: ``obs["escaped"]`` bool,
        ``obs["substate"]`` and ``obs["batch"]`` categorical.

        In ``uns["simulation"]``: all parameters (those given per modality as arrays in the order of
        ``"modalities"``), ``"labels"`` (names in the order of the rows below), ``"inert_labels"``
        (names), ``"shared_effect"`` = D and ``"effect_<modality>"`` = D^(m), (n_labels, k),
        ``"substate_shift"`` = E (n_labels, n_substates, k) where there are sub-states, and
        ``"batch_shift_<modality>"`` = B^(m) (n_batches, d) where there are batches.

    Raises
    ------
    ValueError
        A parameter is unknown or out of range, or names something that is not a modality.

    References
    ----------
    User guide, "Simulated screens". The setting follows Gorla et al. 2026, arXiv 2602.04021.

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
    known = [field.name for field in fields(Scenario)]
    for name in parameters:
        if name not in known:
            raise InputTypeError(
                f"weakly_paired has no parameter {name!r}.{did_you_mean(name, known)} "
                f"Its parameters: seed, {', '.join(known)}."
            )
    scenario = Scenario(n_labels, n_cells_per_label, **parameters)
    return from_scenario(scenario, seed=seed)


def from_scenario(scenario: str | NamedScenario | Scenario, *, seed: int = 0) -> MuData:
    """Simulate a setting: :func:`weakly_paired` with the parameters of ``scenario``.

    Parameters
    ----------
    scenario
        A name of :func:`scenario_table`, an entry of :data:`SCENARIOS`, or a :class:`Scenario`.
    seed
        The same seed gives the same bytes on one machine.

    Returns
    -------
    MuData
        See :func:`weakly_paired`. A named scenario leaves its name in
        ``uns["simulation"]["scenario"]``.

    Raises
    ------
    ValueError
        No scenario has this name.
    TypeError
        ``scenario`` is something else.

    Examples
    --------
    >>> import scgroove
    >>> mdata = scgroove.simulations.from_scenario("few_cells", seed=1)
    >>> mdata["rna"].n_obs
    200
    """
    entry = SCENARIOS.get(scenario) if isinstance(scenario, str) else scenario
    if not isinstance(entry, NamedScenario | Scenario):
        raise InputTypeError(
            f"scenario must be a name, a NamedScenario or a Scenario; found "
            f"{type(scenario).__name__}. For example from_scenario('reference'), or "
            f"from_scenario(Scenario(rho=0.5))."
        )
    simulation = simulate(entry if isinstance(entry, Scenario) else entry.scenario, seed)
    mdata = make_mudata({name: _to_anndata(simulation, name) for name in simulation.modalities})
    mdata.uns[_keys.SIMULATION] = _truth(simulation)
    if isinstance(entry, NamedScenario):
        mdata.uns[_keys.SIMULATION]["scenario"] = entry.name
    return mdata


def _to_anndata(simulation: Simulation, name: str) -> AnnData:
    import pandas as pd
    from anndata import AnnData

    part = simulation.modalities[name]
    var = pd.DataFrame(index=[f"{name}_{j}" for j in range(part.x.shape[1])])
    obsm: dict[str, Any] = {
        _keys.STATE: part.state,
        _keys.TRUE_LATENT: part.latent,
        _keys.SHARED: part.shared,
    }
    return AnnData(part.x, obs=_obs(simulation, name, part), var=var, obsm=obsm)


def _obs(simulation: Simulation, name: str, part: SimulatedModality) -> pd.DataFrame:
    import pandas as pd

    scenario = simulation.scenario
    names = _numbered("g", scenario.n_labels, 2)
    cells = _numbered(
        "cell" if scenario.co_assayed else f"{name}_", sum(scenario.cells_per_label()), 4
    )
    index = pd.Index(np.asarray(cells, dtype=object)[part.cells])
    obs = pd.DataFrame(index=index)
    obs[_keys.LABEL] = _categorical(part.observed, names)
    obs["true_label"] = _categorical(part.label, names)
    if scenario.co_assayed:
        obs[_keys.PAIR] = pd.Categorical(pd.Series(index, index=index).where(part.paired))
    if any(scenario.per_modality("escape").values()):
        obs["escaped"] = part.escaped
    if scenario.n_substates > 1:
        obs["substate"] = _categorical(
            part.substate, [f"s{q}" for q in range(scenario.n_substates)]
        )
    n_batches = scenario.per_modality("n_batches")
    if max(n_batches.values()) > 1:
        obs["batch"] = _categorical(part.batch, [f"b{a}" for a in range(n_batches[name])])
    return obs


def _categorical(codes: IntArray, names: Sequence[str]) -> pd.Categorical:
    import pandas as pd

    return pd.Categorical.from_codes(codes, categories=names).remove_unused_categories()


def _numbered(prefix: str, n: int, digits: int) -> list[str]:
    """Return n names with the digits that the last one needs, but at least so many."""
    width = max(digits, len(str(n - 1)))
    return [f"{prefix}{number:0{width}d}" for number in range(n)]


def _truth(simulation: Simulation) -> dict[str, Any]:
    """Return parameters and effects as HDF5 stores them: no None, no tuples, no mappings."""
    scenario = simulation.scenario
    names = np.asarray(_numbered("g", scenario.n_labels, 2), dtype=object)
    truth = scenario.parameters()
    for name in PER_MODALITY:
        if isinstance(truth[name], Mapping):
            truth[name] = np.asarray(list(scenario.per_modality(name).values()))
    exclusive = list(scenario.exclusive().values())
    truth.update(
        n_cells_per_label=np.asarray(scenario.cells_per_label(), dtype=np.int64),
        modalities=np.asarray(scenario.modalities, dtype=object),
        n_features=np.asarray(scenario.n_features, dtype=np.int64),
        counts=np.asarray([m in scenario.counts for m in scenario.modalities], dtype=np.bool_),
        exclusive_labels=np.asarray(exclusive, dtype=np.int64),
        seed=simulation.seed,
        labels=names,
        inert_labels=names[simulation.inert],
        shared_effect=simulation.shared_effect,
    )
    if scenario.n_substates > 1:
        truth["substate_shift"] = simulation.substate_shift
    for name, part in simulation.modalities.items():
        truth[f"effect_{name}"] = part.effect
        if len(part.batch_shift) > 1:
            truth[f"batch_shift_{name}"] = part.batch_shift
    return truth
