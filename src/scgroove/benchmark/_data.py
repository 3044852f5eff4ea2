"""What is matched, and the truth, kept apart: a learner is handed data in which the truth is not."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from scgroove import _keys
from scgroove._files import digest_of, make_mudata, read_mudata
from scgroove._labels import names_of, unlabeled_names
from scgroove._types import Float64Array, IntArray
from scgroove.benchmark._spec import DataSpec
from scgroove.data.labels import label_keys, labels_of
from scgroove.data.pairing import known_partners
from scgroove.errors import FileError, SpecError, did_you_mean
from scgroove.simulations import from_scenario

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData

COVARIATES: Final = ("batch",)
"""Columns of ``obs`` that learners may see beside the label."""

CACHED: Final = 2
"""Data sets kept in memory in a process: the jobs come in their order."""


@dataclass(frozen=True, eq=False)
class Loaded:
    """Data and truth.

    Attributes
    ----------
    hidden
        What learners are handed: cells have names of their own modality, and nothing tells which are the same or what their
        true latent is.
    full
        The same with the truth in it, in the same order: for ceilings, which say that they use it.
    source, target
        The modalities to match.
    labels
        For both, the label by which cells are scored (n_m,): in simulations the true one.
    observed
        For both, the label that learners and aligners see; None where a cell has none.
    partner
        Target row of the same cell for each source row, -1 where there is none; None if no pair is known.
    latents
        True shared latent of source and target cells, or None.
    parameters
        Parameters of the simulation, numbers and text; empty for a file.
    control
        Label from which effects are counted, or None.
    doses
        For both, the dose of each cell (n_m,), None where it is unknown; None without a ``dose_key``.
    """

    hidden: MuData
    full: MuData
    source: str
    target: str
    labels: tuple[NDArray[Any], NDArray[Any]]
    observed: tuple[NDArray[Any], NDArray[Any]]
    partner: IntArray | None
    latents: tuple[Float64Array, Float64Array] | None
    parameters: Mapping[str, float | str]
    control: str | None = None
    doses: tuple[NDArray[Any], NDArray[Any]] | None = None

    def handed(self, told: bool) -> MuData:
        """Return what a learner is handed, of its own: what it does to it no other learner and no score sees.

        Parameters
        ----------
        told
            Whether it is one that is told the truth.
        """
        mdata = self.full if told else self.hidden
        own = make_mudata({m: adata.copy() for m, adata in mdata.mod.items()})
        own.uns = dict(mdata.uns)
        return own

    def permuted(self, number: int) -> Loaded:
        """Return the same with the measurements shuffled among the cells of each modality.

        Labels, pairs and all other truth stay together, and nothing is known of them from a measurement: each
        modality's labels are permuted on their own.

        Parameters
        ----------
        number
            Another one is another permutation; 0 changes nothing.
        """
        if not number:
            return self
        orders = {
            m: np.random.default_rng([number, i]).permutation(self.full.mod[m].n_obs)
            for i, m in enumerate(self.full.mod)
        }
        hidden, full = _shuffled(self.hidden, orders), _shuffled(self.full, orders)
        for m, adata in hidden.mod.items():
            adata.obs_names = adata.obs_names[orders[m]]  # a name belongs to what was measured
        return replace(self, hidden=hidden, full=full)

    def part(self, rows: IntArray, columns: IntArray) -> Loaded:
        """Return what is needed to score some source and some target cells; the data of learners hold these alone."""
        cells = (rows, columns)
        partner = self.partner
        if partner is not None:
            place = np.full(len(self.labels[1]) + 1, -1, dtype=np.intp)
            place[columns] = np.arange(columns.size)
            partner = place[partner[rows]]
        names = dict(zip((self.source, self.target), cells, strict=True))
        return replace(
            self,
            hidden=some_cells(self.hidden, names),
            full=some_cells(self.full, names),
            partner=None if partner is None or (partner < 0).all() else partner,
            labels=(self.labels[0][rows], self.labels[1][columns]),
            observed=(self.observed[0][rows], self.observed[1][columns]),
            latents=None
            if self.latents is None
            else (self.latents[0][rows], self.latents[1][columns]),
            doses=None if self.doses is None else (self.doses[0][rows], self.doses[1][columns]),
        )


def some_cells(mdata: MuData, rows: Mapping[str, Any]) -> MuData:
    """Return a MuData of some cells of the modalities named, each a copy of its own; other modalities are whole."""
    mods = {m: adata[rows[m]].copy() if m in rows else adata for m, adata in mdata.mod.items()}
    return make_mudata(mods)


def _shuffled(mdata: MuData, orders: Mapping[str, IntArray]) -> MuData:
    """Return the data with the measurements of each modality, and the batch they were made in, in another order."""
    from anndata import AnnData

    mods = {}
    for m, adata in mdata.mod.items():
        order = orders[m]
        obs = adata.obs.copy()
        for column in COVARIATES:
            if column in obs:
                obs[column] = obs[column].to_numpy()[order]
        mods[m] = AnnData(X=adata.X[order], obs=obs, var=adata.var, obsm=dict(adata.obsm))
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
    return _load(plain, spec.name, 0 if spec.file else seed, file_digest(spec.file))


def identity(spec: DataSpec) -> list[Any]:
    """Return all that the data depend on, as plain values: of a file the contents, not where it lies."""
    plain = spec.as_plain()
    return [{**plain, "file": None if spec.file is None else True}, file_digest(spec.file)]


def file_digest(file: str | None) -> str:
    """Return what stands for the contents of a file, so that results of other contents are not taken for its own.

    Raises
    ------
    SpecError
        If there is no such file.
    """
    if file is None:
        return ""
    try:
        about = os.stat(file)
        return _digest(file, about.st_mtime_ns, about.st_size)
    except OSError as error:
        raise SpecError(
            f"cannot read the data file {file}: {error.strerror}. Names are relative to the folder of the spec."
        ) from error


@lru_cache(maxsize=64)
def _digest(file: str, changed: int, size: int) -> str:
    return digest_of(file)


@lru_cache(maxsize=CACHED)
def _load(plain: str, name: str, seed: int, digest: str) -> Loaded:
    spec = DataSpec(name=name, **json.loads(plain))
    mdata = _simulated(spec, seed) if spec.file is None else _read(spec)
    source, target = _modalities(spec, mdata)
    key = spec.label_key
    label_keys(mdata, key, list(mdata.mod))
    observed = tuple(labels_of(mdata.mod[m].obs, key) for m in (source, target))
    true = "true_label" if spec.file is None else key
    labels = tuple(labels_of(mdata.mod[m].obs, true) for m in (source, target))
    return Loaded(
        hidden=_without_truth(mdata, key),
        full=mdata,
        source=source,
        target=target,
        labels=labels,  # type: ignore[arg-type]
        observed=observed,  # type: ignore[arg-type]
        partner=_partner(mdata, source, target, spec.pair_key),
        latents=_latents(mdata, source, target),
        parameters=_columns(spec),
        control=_control(spec, labels),
        doses=_doses(spec, mdata, (source, target)),
    )


def _control(spec: DataSpec, labels: tuple[Any, ...]) -> str | None:
    """Return the label of controls, which both modalities must have."""
    if spec.control is None:
        return None
    shared = sorted(
        {str(one) for one in labels[0] if one is not None} & {str(one) for one in labels[1]}
    )
    if spec.control not in shared:
        raise SpecError(
            f"data {spec.name!r}: control={spec.control!r} is no label of both modalities.{did_you_mean(spec.control, shared)} Both have "
            f"{', '.join(shared[:10])}{' and others' if len(shared) > 10 else ''}."
        )
    return spec.control


def _doses(
    spec: DataSpec, mdata: MuData, names: tuple[str, str]
) -> tuple[NDArray[Any], NDArray[Any]] | None:
    """Return the doses of source and target cells, of which both modalities must have the column."""
    key = spec.dose_key
    if key is None:
        return None
    for name in names:
        columns = [str(column) for column in mdata.mod[name].obs]
        if key not in columns:
            raise SpecError(
                f"data {spec.name!r}: dose_key={key!r} is no column of obs of {name!r}.{did_you_mean(key, columns)} It has "
                f"{', '.join(columns)}."
            )
    source, target = (labels_of(mdata.mod[name].obs, key) for name in names)
    return source, target


def _simulated(spec: DataSpec, seed: int) -> MuData:
    return from_scenario(spec.simulated(), seed=seed)


def _columns(spec: DataSpec) -> dict[str, float | str]:
    """Return the parameters of a simulation, numbers and text: what results may be plotted against, and what tells data apart."""
    if spec.file is not None:
        return {}
    scenario = spec.simulated()
    return dict(
        _column(option.name, option.default, getattr(scenario, option.name))
        for option in fields(scenario)
    )


def _column(name: str, default: Any, value: Any) -> tuple[str, float | str]:
    """Return a parameter as a column; one that is a number as a rule has a column of its own where it is not."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return name, float(value)
    is_number = isinstance(default, int | float) and not isinstance(default, bool)
    return (f"{name}_each" if is_number else name), _as_text(value)


def _as_text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {one}" for key, one in value.items())
    return str(value) if isinstance(value, str | bool) else ", ".join(map(str, value))


def _read(spec: DataSpec) -> MuData:
    try:
        mdata = read_mudata(str(spec.file))
    except FileError as error:
        raise SpecError(
            f"data {spec.name!r}: {error} Names are relative to the folder of the spec."
        ) from error
    names = list(_modalities(spec, mdata))
    label_keys(mdata, spec.label_key, names)
    _check_labels_named(spec, mdata, names[:2])
    rng = np.random.default_rng(0)
    mods = {m: _prepared(mdata.mod[m], spec, rng) for m in names[:2]}
    empty = [m for m, adata in mods.items() if adata.n_obs == 0]
    if empty:
        raise SpecError(
            f"data {spec.name!r}: no cell of {empty[0]!r} is left after drop_labels={list(spec.drop_labels)} and "
            f"min_cells_per_label={spec.min_cells_per_label}."
        )
    return make_mudata(mods)


def _check_labels_named(spec: DataSpec, mdata: MuData, names: Sequence[str]) -> None:
    """Refuse labels to drop, and such that mean none, that no cell has."""
    there = {
        str(label)
        for m in names
        for label in names_of(mdata.mod[m].obs[spec.label_key])
        if label is not None
    }
    named = {
        "drop_labels": spec.drop_labels,
        "unlabeled_category": unlabeled_names(spec.unlabeled_category),
    }
    for option, labels in named.items():
        for label in sorted(labels):
            if label not in there:
                raise SpecError(
                    f"data {spec.name!r}: {option} names {label!r}, which no cell has.{did_you_mean(label, there)}"
                )


def _prepared(adata: AnnData, spec: DataSpec, rng: np.random.Generator) -> AnnData:
    """Return the cells and features that the spec keeps, in random order: nobody pairs by position."""
    labels = labels_of(adata.obs, spec.label_key, spec.unlabeled_category)
    counts = {name: int((labels == name).sum()) for name in set(labels) if name is not None}
    kept = np.array(
        [
            label is None
            or (label not in spec.drop_labels and counts[label] >= spec.min_cells_per_label)
            for label in labels
        ]
    )
    rows = rng.permutation(np.flatnonzero(kept))
    adata = adata[rows].copy()
    if spec.unlabeled_category is not None:  # for all that read labels after this
        adata.obs[spec.label_key] = labels[rows]
    if spec.n_top_features is not None and adata.n_vars > spec.n_top_features:
        adata = _most_variable(adata, spec.n_top_features)
    return adata


def _most_variable(adata: AnnData, n: int) -> AnnData:
    """Return the features of largest dispersion; counts are normalized and logged for it, the values stay."""
    import scanpy as sc

    from scgroove.data.checks import profile

    seen = profile(adata, "data")
    looked_at = adata.copy()
    if seen.size_factors:
        sc.pp.normalize_total(looked_at)
    if seen.counts:
        sc.pp.log1p(looked_at)
    sc.pp.highly_variable_genes(looked_at, n_top_genes=n)
    adata = adata[:, looked_at.var["highly_variable"].to_numpy()].copy()
    if seen.integer and seen.minimum >= 0:
        adata = adata[np.asarray(adata.X.sum(axis=1)).ravel() > 0].copy()
    return adata


def _modalities(spec: DataSpec, mdata: MuData) -> tuple[str, str]:
    """Return the modalities to match: as named; else the first two, or the first that is not the one named."""
    names = list(mdata.mod)
    for name in (spec.source, spec.target):
        if name is not None and name not in names:
            raise SpecError(
                f"data {spec.name!r} has no modality {name!r}.{did_you_mean(name, names)} It has {', '.join(names)}."
            )
    if len(names) < 2:
        raise SpecError(f"data {spec.name!r} has one modality, {', '.join(names)}; two are needed.")
    source = spec.source or next(name for name in names if name != spec.target)
    target = spec.target or next(name for name in names if name != source)
    if source == target:
        raise SpecError(
            f"data {spec.name!r}: source and target are both {source!r}; name two different modalities."
        )
    return source, target


def _without_truth(mdata: MuData, label_key: str) -> MuData:
    """Return the data without all that tells which cells are the same; the matrices are shared, not copied."""
    import pandas as pd
    from anndata import AnnData

    mods = {}
    for m, adata in mdata.mod.items():
        kept = [column for column in (label_key, *COVARIATES) if column in adata.obs]
        obs = adata.obs[kept].copy()
        obs.index = pd.Index([f"{m}_{i}" for i in range(adata.n_obs)])
        mods[m] = AnnData(X=adata.X, obs=obs, var=pd.DataFrame(index=adata.var_names))
    return make_mudata(mods)


def _partner(mdata: MuData, source: str, target: str, pair_key: str | None) -> IntArray | None:
    in_both = all(_keys.PAIR in mdata.mod[m].obs for m in (source, target))
    if pair_key is None and not in_both:
        return None
    return known_partners(mdata, source, target, pair_key, quiet=True)[0]


def _latents(mdata: MuData, source: str, target: str) -> tuple[Float64Array, Float64Array] | None:
    """Return the state that the modalities share: what a perfect match would bring together."""
    if any(_keys.STATE not in mdata.mod[m].obsm for m in (source, target)):
        return None
    x, y = (np.asarray(mdata.mod[m].obsm[_keys.STATE], dtype=np.float64) for m in (source, target))
    return x, y
