"""Data and truth, kept apart: learners are handed data without the truth."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scgroove import _keys
from scgroove._files import digest_of, make_mudata, read_mudata
from scgroove._labels import names_of, unlabeled_names
from scgroove._types import Float64Array, IntArray
from scgroove.benchmark.spec import DataSpec
from scgroove.data.checks import modality_of
from scgroove.data.labels import label_keys, labels_of
from scgroove.data.pairing import known_partners
from scgroove.errors import FileError, SpecError, did_you_mean
from scgroove.simulations import Scenario, from_scenario

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData

COVARIATES: Final = ("batch",)
"""Columns of ``obs`` that learners may see beside the label."""

CACHED: Final = 2
"""Data sets kept in memory in a process: jobs come in their order."""

Pair = tuple[NDArray[Any], NDArray[Any]]


@dataclass(frozen=True, eq=False)
class Loaded:
    """Data and truth.

    Attributes
    ----------
    hidden
        The data for learners: cells have names of their own modality, and nothing tells which
        are the same or what their true latent is.
    full
        The same with the truth, in the same order: for ceilings, which declare that they use it.
    source, target
        The modalities to match.
    labels
        For both, the label by which cells are scored (n_m,): in simulations the true one.
    observed
        For both, the label that learners and aligners see. None for cells without one.
    partner
        Target row of the same cell for each source row, -1 if there is none. None if no pair is
        known.
    latents
        True shared latent of source and target cells, or None.
    parameters
        Parameters of the simulation, numbers and text. Empty for a file.
    control
        Label of unperturbed cells, or None.
    doses
        For both, the dose of each cell (n_m,), None if unknown. None without a ``dose_key``.
    """

    hidden: MuData
    full: MuData
    source: str
    target: str
    labels: Pair
    observed: Pair
    partner: IntArray | None
    latents: tuple[Float64Array, Float64Array] | None
    parameters: Mapping[str, float | str]
    control: str | None = None
    doses: Pair | None = None

    def copy(self, with_truth: bool) -> MuData:
        """Return data for one learner, which may change them."""
        mdata = self.full if with_truth else self.hidden
        own = make_mudata({m: modality_of(mdata, m).copy() for m in mdata.mod})
        own.uns = dict(mdata.uns)
        return own

    def permuted(self, number: int) -> Loaded:
        """Return the same with the measurements shuffled among the cells of each modality.

        Labels, pairs and all other truth stay together, so that the labels of each modality are
        permuted on their own. Permutation 0 changes nothing.
        """
        if not number:
            return self
        orders = {
            m: np.random.default_rng([number, i]).permutation(self.full.mod[m].n_obs)
            for i, m in enumerate(self.full.mod)
        }
        hidden, full = _shuffled(self.hidden, orders), _shuffled(self.full, orders)
        for m, adata in hidden.mod.items():
            adata.obs_names = adata.obs_names[orders[m]]  # a name belongs to the measurement
        return replace(self, hidden=hidden, full=full)

    def part(self, rows: IntArray, columns: IntArray) -> Loaded:
        """Return data and truth of some source and some target cells."""
        names = {self.source: rows, self.target: columns}
        partner = self.partner
        if partner is not None:
            place = np.full(len(self.labels[1]) + 1, -1, dtype=np.intp)
            place[columns] = np.arange(columns.size)
            partner = place[partner[rows]]
            partner = None if (partner < 0).all() else partner

        def cut(pair: Any) -> Any:
            return None if pair is None else (pair[0][rows], pair[1][columns])

        return replace(
            self,
            hidden=some_cells(self.hidden, names),
            full=some_cells(self.full, names),
            partner=partner,
            labels=cut(self.labels),
            observed=cut(self.observed),
            latents=cut(self.latents),
            doses=cut(self.doses),
        )


def some_cells(mdata: MuData, rows: Mapping[str, Any]) -> MuData:
    """Return a MuData with some cells of the named modalities, copied. Others are whole."""
    mods = {m: modality_of(mdata, m) for m in mdata.mod}
    mods.update({m: mods[m][some].copy() for m, some in rows.items() if m in mods})
    return make_mudata(mods)


def _shuffled(mdata: MuData, orders: Mapping[str, IntArray]) -> MuData:
    """Return the data with measurements and batches of each modality in another order."""
    from anndata import AnnData

    mods = {}
    for m in mdata.mod:
        adata = modality_of(mdata, m)
        x: Any = adata.X
        obs: Any = adata.obs.copy()
        for column in set(COVARIATES) & set(obs):
            obs[column] = obs[column].to_numpy()[orders[m]]
        mods[m] = AnnData(X=x[orders[m]], obs=obs, var=adata.var, obsm=dict(adata.obsm))
    shuffled = make_mudata(mods)
    shuffled.uns = dict(mdata.uns)
    return shuffled


def load(spec: DataSpec, seed: int) -> Loaded:
    """Simulate or read, and take the truth apart. The last few are kept in memory.

    Raises
    ------
    SpecError
        If the file or its modalities are not as the spec says.
    """
    plain = json.dumps(spec.as_plain(), sort_keys=True)
    return _load(plain, spec.name, 0 if spec.file else seed, _file_digest(spec.file))


def identity(spec: DataSpec) -> list[Any]:
    """Return everything that the data depend on. Of a file the contents, not its place."""
    plain = spec.as_plain()
    return [{**plain, "file": None if spec.file is None else True}, _file_digest(spec.file)]


def _file_digest(file: str | None) -> str:
    if file is None:
        return ""
    try:
        about = os.stat(file)
        return _cached_digest(file, about.st_mtime_ns, about.st_size)
    except OSError as error:
        raise SpecError(
            f"cannot read the data file {file}: {error.strerror}. Names are relative to the "
            "folder of the spec."
        ) from error


@lru_cache(maxsize=64)
def _cached_digest(file: str, changed: int, size: int) -> str:
    return digest_of(file)


@lru_cache(maxsize=CACHED)
def _load(plain: str, name: str, seed: int, digest: str) -> Loaded:
    spec = DataSpec(name=name, **json.loads(plain))
    simulated = spec.file is None
    mdata = from_scenario(spec.simulated(), seed=seed) if simulated else _read(spec)
    pair = source, target = _modalities(spec, mdata)
    label_keys(mdata, spec.label_key, list(mdata.mod))

    def columns(key: str) -> Pair:
        return labels_of(mdata.mod[source].obs, key), labels_of(mdata.mod[target].obs, key)

    labels = columns("true_label" if simulated else spec.label_key)
    paired = spec.pair_key is not None or all(_keys.PAIR in mdata.mod[m].obs for m in pair)
    latents = None
    if all(_keys.STATE in mdata.mod[m].obsm for m in pair):
        x, y = (np.asarray(mdata.mod[m].obsm[_keys.STATE], dtype=np.float64) for m in pair)
        latents = x, y
    partner = None
    if paired:
        partner = known_partners(mdata, source, target, spec.pair_key, quiet=True)[0]
    return Loaded(
        hidden=_without_truth(mdata, spec.label_key),
        full=mdata,
        source=source,
        target=target,
        labels=labels,
        observed=columns(spec.label_key),
        partner=partner,
        latents=latents,
        parameters=_parameters(spec.simulated()) if simulated else {},
        control=_control(spec, labels),
        doses=None if spec.dose_key is None else columns(_dose_key(spec, mdata, pair)),
    )


def _control(spec: DataSpec, labels: Pair) -> str | None:
    """Return the label of controls, which both modalities must have."""
    if spec.control is None:
        return None
    shared = sorted({str(one) for one in labels[0] if one is not None} & set(map(str, labels[1])))
    if spec.control not in shared:
        raise SpecError(
            f"data {spec.name!r}: control={spec.control!r} is no label of both modalities."
            f"{did_you_mean(spec.control, shared)} Both have {', '.join(shared[:10])}"
            f"{' and others' if len(shared) > 10 else ''}."
        )
    return spec.control


def _dose_key(spec: DataSpec, mdata: MuData, names: Sequence[str]) -> str:
    """Return the column of doses, which both modalities must have."""
    key = str(spec.dose_key)
    for name in names:
        columns = [str(column) for column in mdata.mod[name].obs]
        if key not in columns:
            raise SpecError(
                f"data {spec.name!r}: dose_key={key!r} is no column of obs of {name!r}."
                f"{did_you_mean(key, columns)} It has {', '.join(columns)}."
            )
    return key


def _parameters(scenario: Scenario) -> dict[str, float | str]:
    """Return parameters as columns. A number given for each modality has a column of its own."""
    found: dict[str, float | str] = {}
    for option in fields(scenario):
        value, default = getattr(scenario, option.name), option.default
        if _is_number(value):
            found[option.name] = float(value)
            continue
        if isinstance(value, Mapping):
            text = ", ".join(f"{key} {one}" for key, one in value.items())
        else:
            text = str(value) if isinstance(value, str | bool) else ", ".join(map(str, value))
        found[f"{option.name}_each" if _is_number(default) else option.name] = text
    return found


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _read(spec: DataSpec) -> MuData:
    try:
        mdata = read_mudata(str(spec.file))
    except FileError as error:
        raise SpecError(
            f"data {spec.name!r}: {error} Names are relative to the folder of the spec."
        ) from error
    names = _modalities(spec, mdata)
    label_keys(mdata, spec.label_key, list(names))
    columns = [mdata.mod[m].obs[spec.label_key] for m in names]
    there = {str(label) for column in columns for label in names_of(column) if label is not None}
    unlabeled = unlabeled_names(spec.unlabeled_category)
    for option, labels in (("drop_labels", spec.drop_labels), ("unlabeled_category", unlabeled)):
        for label in sorted(labels):
            if label not in there:
                raise SpecError(
                    f"data {spec.name!r}: {option} names {label!r}, which no cell has."
                    f"{did_you_mean(label, there)}"
                )
    rng = np.random.default_rng(0)
    mods = {m: _prepared(modality_of(mdata, m), spec, rng) for m in names}
    empty = [m for m, adata in mods.items() if adata.n_obs == 0]
    if empty:
        raise SpecError(
            f"data {spec.name!r}: no cell of {empty[0]!r} is left after "
            f"drop_labels={list(spec.drop_labels)} and "
            f"min_cells_per_label={spec.min_cells_per_label}."
        )
    return make_mudata(mods)


def _prepared(adata: AnnData, spec: DataSpec, rng: np.random.Generator) -> AnnData:
    """Return the cells and features to keep, in random order: nobody can pair by position."""
    labels = labels_of(adata.obs, spec.label_key, spec.unlabeled_category)
    counts = pd.Series(labels).value_counts()
    dropped = {*spec.drop_labels, *counts.index[counts < spec.min_cells_per_label]}
    rows = rng.permutation(np.flatnonzero([label not in dropped for label in labels]))
    adata = adata[rows].copy()
    if spec.unlabeled_category is not None:  # for everything that reads labels later
        adata.obs[spec.label_key] = labels[rows]
    if spec.n_top_features is not None and adata.n_vars > spec.n_top_features:
        adata = _most_variable(adata, spec.n_top_features)
    return adata


def _most_variable(adata: AnnData, n: int) -> AnnData:
    """Return the features of largest dispersion. Values stay as they are."""
    import scanpy as sc

    from scgroove.data.checks import profile

    seen = profile(adata, "data")
    logged = adata.copy()
    if seen.size_factors:
        sc.pp.normalize_total(logged)
    if seen.counts:
        sc.pp.log1p(logged)
    sc.pp.highly_variable_genes(logged, n_top_genes=n)
    adata = adata[:, logged.var["highly_variable"].to_numpy()].copy()
    if seen.integer and seen.minimum >= 0:
        x: Any = adata.X
        adata = adata[np.asarray(x.sum(axis=1)).ravel() > 0].copy()
    return adata


def _modalities(spec: DataSpec, mdata: MuData) -> tuple[str, str]:
    """Return the modalities to match: as named, else the first two."""
    names = list(mdata.mod)
    for name in (spec.source, spec.target):
        if name is not None and name not in names:
            raise SpecError(
                f"data {spec.name!r} has no modality {name!r}.{did_you_mean(name, names)} "
                f"It has {', '.join(names)}."
            )
    if len(names) < 2:
        raise SpecError(f"data {spec.name!r} has one modality, {', '.join(names)}; two are needed.")
    source = spec.source or next(name for name in names if name != spec.target)
    target = spec.target or next(name for name in names if name != source)
    if source == target:
        raise SpecError(
            f"data {spec.name!r}: source and target are both {source!r}; name two different "
            "modalities."
        )
    return source, target


def _without_truth(mdata: MuData, label_key: str) -> MuData:
    """Return the data without anything that identifies cells. Matrices are shared, not copied."""
    from anndata import AnnData

    mods = {}
    for m, adata in mdata.mod.items():
        kept = [column for column in (label_key, *COVARIATES) if column in adata.obs]
        obs = adata.obs[kept].copy()
        obs.index = pd.Index([f"{m}_{i}" for i in range(adata.n_obs)])
        mods[m] = AnnData(X=adata.X, obs=obs, var=pd.DataFrame(index=adata.var_names))
    return make_mudata(mods)
