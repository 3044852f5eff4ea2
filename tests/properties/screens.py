"""Small random screens of every shape a lab may bring, the ways to rewrite one without changing it, and its fingerprint."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import anndata as ad
import hypothesis
import joblib
import mudata as md
import numpy as np
import pandas as pd
import scipy.sparse as sp
from hypothesis import strategies as st

LATENT = "X_groove"

EXAMPLES = int(os.environ.get("SCGROOVE_EXAMPLES", "0"))
"""Examples of each property, new ones in each run. 0: some 2,000 in all, the same ones in each run."""


def examples(n: int) -> Any:
    """Settings of a property: n examples by default, always the same ones."""
    return hypothesis.settings(
        max_examples=EXAMPLES or n,
        derandomize=not EXAMPLES,
        deadline=None,
        phases=[phase for phase in hypothesis.Phase if phase is not hypothesis.Phase.explain],
        suppress_health_check=list(hypothesis.HealthCheck),
    )


@dataclass(frozen=True)
class Modality:
    """What one modality of a screen looks like."""

    cells: tuple[int, ...]
    """Cells of each label."""
    n_features: int
    counts: bool
    categorical: bool
    unlabeled: bool


@dataclass(frozen=True)
class Spec:
    """A screen to be made: modalities "a", "b" and so on, of cells of their own."""

    modalities: tuple[Modality, ...]
    names: str
    seed: int

    def build(self) -> md.MuData:
        """Make the screen; the same one each time."""
        rng = np.random.default_rng(self.seed)
        labels = NAMES[self.names]
        effect = rng.normal(size=(len(labels), 3))
        mods = {
            m: _modality(rng, m, of, effect, labels)
            for m, of in zip("abc", self.modalities, strict=False)
        }
        return md.MuData(mods)


NAMES: dict[str, list[Any]] = {
    "words": [f"gene {i}" for i in range(5)],
    "numbers": list(range(5)),
    "doses": [0.0, 0.1, 0.5, 1.0, 10.0],
}


@st.composite
def specs(draw: Any, n_modalities: int = 2) -> Spec:
    """Screens of counts or real values, with shared and exclusive labels, and cells without one."""
    n_labels = draw(st.integers(3, 5))
    modalities = []
    for _ in range(n_modalities):
        cells = [draw(st.integers(2, 7)) for _ in range(n_labels)]
        if n_labels > 4 and draw(st.booleans()):
            cells[draw(st.integers(3, n_labels - 1))] = 0  # a label of the others alone
        options = [draw(st.booleans()) for _ in range(3)]
        n_features = draw(st.sampled_from([2, 3, 9, 24]))  # those of a panel, and more
        modalities.append(Modality(tuple(cells), n_features, *options))
    return Spec(
        tuple(modalities), draw(st.sampled_from(list(NAMES))), draw(st.integers(0, 2**32 - 1))
    )


def _modality(
    rng: np.random.Generator, name: str, of: Modality, effect: Any, labels: list[Any]
) -> ad.AnnData:
    code = np.repeat(np.arange(len(of.cells)), of.cells)
    n, d = len(code), of.n_features
    latent = effect[code] + 0.5 * rng.normal(size=(n, 3))
    mean = latent @ rng.normal(size=(3, d))
    if of.counts:
        x = rng.poisson(np.exp(0.5 * mean + 2)).astype(np.float32)
        x[:, 0] += 1  # every cell has a count
    else:
        x = (mean + rng.normal(size=(n, d))).astype(np.float32)
    label = np.asarray([labels[c] for c in code], dtype=object)
    if of.unlabeled:
        label[rng.integers(n)] = None
    obs = pd.DataFrame({"label": label}, index=[f"{name}{i}" for i in range(n)])
    if of.categorical:
        obs["label"] = obs["label"].astype("category")
    obs["batch"] = pd.Categorical(np.resize(["x", "y"], n))
    adata = ad.AnnData(x, obs=obs, var=pd.DataFrame(index=[f"{name}_{j}" for j in range(d)]))
    adata.obsm[LATENT] = latent.astype(np.float32)
    return adata


# ------------------------------------------------------------------------- the same screen, written otherwise


def cells_permuted(mdata: md.MuData, seed: int) -> md.MuData:
    rng = np.random.default_rng(seed)
    return md.MuData({m: a[rng.permutation(a.n_obs)].copy() for m, a in mdata.mod.items()})


def features_permuted(mdata: md.MuData, seed: int) -> md.MuData:
    rng = np.random.default_rng(seed)
    return md.MuData({m: a[:, rng.permutation(a.n_vars)].copy() for m, a in mdata.mod.items()})


def categories_permuted(mdata: md.MuData, seed: int) -> md.MuData:
    """Categories in another order, one of them without cells."""
    rng = np.random.default_rng(seed)
    mods = {m: a.copy() for m, a in mdata.mod.items()}
    for adata in mods.values():
        column = pd.Categorical(adata.obs["label"])
        order = list(rng.permutation(np.asarray(column.categories, dtype=object)))
        adata.obs["label"] = column.reorder_categories(order).add_categories([max(order) * 2])
    return md.MuData(mods)


def columns_added(mdata: md.MuData, seed: int) -> md.MuData:
    """What is none of our business: other columns, layers, coordinates, unstructured data, at every level."""
    rng = np.random.default_rng(seed)
    mods = {m: a.copy() for m, a in mdata.mod.items()}
    for adata in mods.values():
        adata.obs["noise"] = rng.normal(size=adata.n_obs)
        adata.var["highly_variable"] = rng.integers(2, size=adata.n_vars).astype(bool)
        adata.layers["other"] = rng.normal(size=adata.shape)
        adata.obsm["X_pca"] = rng.normal(size=(adata.n_obs, 2))
        adata.uns["log1p"] = {"base": None}
    added = md.MuData(mods)
    added.obs["label"] = "all the same"
    added.uns["more"] = [1, 2]
    return added


def modalities_reversed(mdata: md.MuData, seed: int) -> md.MuData:
    return md.MuData({m: a.copy() for m, a in reversed(mdata.mod.items())})


def stored(mdata: md.MuData, form: Callable[[Any], Any]) -> md.MuData:
    mods = {m: a.copy() for m, a in mdata.mod.items()}
    for adata in mods.values():
        adata.X = form(adata.X)
    return md.MuData(mods)


def as_dask(x: Any) -> Any:
    import dask.array

    return dask.array.from_array(x, chunks=(3, x.shape[1]))


FORMS: dict[str, Callable[[Any], Any]] = {
    "CSR": sp.csr_matrix,
    "CSC": sp.csc_matrix,
    "sparse array": sp.csr_array,
    "Fortran order": np.asfortranarray,
    "float64": lambda x: x.astype(np.float64),
    "big endian": lambda x: x.astype(">f4"),
    "dask": as_dask,
}

REWRITTEN = (
    cells_permuted,
    features_permuted,
    categories_permuted,
    columns_added,
    modalities_reversed,
)


# ----------------------------------------------------------------------------------------- nothing was changed


def fingerprint(mdata: md.MuData) -> dict[str, str]:
    """A digest of each part of a MuData and of its modalities, whether they are views included."""
    parts: dict[str, Any] = {"is_view": mdata.is_view, "mod": list(mdata.mod)}
    for name, of in {"": mdata, **mdata.mod}.items():
        for kind in ("obs", "var"):
            frame = getattr(of, kind)
            parts[f"{name}.{kind}"] = (
                frame.to_dict("list"),
                list(frame.index),
                list(map(str, frame.dtypes)),
            )
        for kind in ("obsm", "varm", "obsp", "uns"):
            parts[f"{name}.{kind}"] = {
                key: _plain(value) for key, value in getattr(of, kind).items()
            }
        if name:
            parts[f"{name}.is_view"] = of.is_view
            parts[f"{name}.X"] = _plain(of.X)
            parts[f"{name}.layers"] = {key: _plain(value) for key, value in of.layers.items()}
    return {key: joblib.hash(part) for key, part in parts.items()}


def _plain(value: Any) -> Any:
    if hasattr(value, "items"):
        return {key: _plain(part) for key, part in value.items()}
    if sp.issparse(value):
        return type(value).__name__, value.toarray()
    return value.to_dict("list") if isinstance(value, pd.DataFrame) else np.array(value)
