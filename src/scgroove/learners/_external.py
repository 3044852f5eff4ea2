"""Adapters to other packages: scGLUE, the translation of moscot, and DIAGVI of scvi-tools.

None of them was made for modalities that share labels only, and each adapter says what it does
about that. The packages are imported when a learner is fitted.
"""

from __future__ import annotations

import logging
import random
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from itertools import combinations
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, NamedTuple, TypeAlias

import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata import AnnData
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

from scgroove._optional import import_extra, missing
from scgroove._types import BoolArray, Float64Array, FloatArray, IntArray
from scgroove.data.checks import modality_of
from scgroove.data.features import Features
from scgroove.data.screen import Screen
from scgroove.errors import (
    ExtraNotInstalledError,
    InputError,
    TooLargeError,
)
from scgroove.learners._around import means_by_modality
from scgroove.learners._base import LEARNERS, Learner, Representations
from scgroove.learners.common import (
    CELLS_AT_A_TIME,
    FittedCells,
    principal_components,
    project,
    stratified_folds,
)
from scgroove.learners.training import Device, resolve_device, seeded

if TYPE_CHECKING:
    from mudata import MuData

LABEL: Final = "label"
UNLABELED: Final = "(unlabeled)"
FEATURES_AT_A_TIME: Final = 1024

Links: TypeAlias = Literal["auto", "names", "labels"]


@dataclass
class ExternalLearner(Learner):
    """A learner of another package, for which an extra of this package must be installed."""

    extra: ClassVar[str]

    def __post_init__(self) -> None:
        """Refuse to be constructed where the package is missing."""
        reason = missing(self.extra)
        if reason is not None:
            raise ExtraNotInstalledError(f"learner {self.name!r} cannot be used: {reason}")


class Link(NamedTuple):
    """Two features of different modalities by position, and their correlation in [-1, 1]."""

    source: tuple[str, int]
    target: tuple[str, int]
    weight: float


def feature_links(
    links: Links,
    names: Mapping[str, Sequence[str]],
    means: Mapping[str, Float64Array],
    present: Mapping[str, BoolArray],
    n_links: int,
) -> list[Link]:
    """Return the features of different modalities that go together.

    Parameters
    ----------
    links
        ``"names"``: those of equal name. ``"labels"``: those whose means over labels correlate
        most. ``"auto"``: by name if any name is in two modalities, else by labels.
    names
        Features of each modality.
    means, present
        Label means of each modality, (n_labels, d), and the labels it has.
    n_links
        By labels: strongest partners of each feature in every other modality.
    """
    found = []
    for a, b in combinations(names, 2):
        place = {name: j for j, name in enumerate(names[b])}
        both = [(i, place[name]) for i, name in enumerate(names[a]) if name in place]
        found += [Link((a, i), (b, j), 1.0) for i, j in both]
    if links == "names" or (links == "auto" and found):
        return found
    found = []
    for a, b in combinations(names, 2):
        found += _correlated(a, b, means, present[a] & present[b], n_links)
    return found


def _correlated(
    a: str, b: str, means: Mapping[str, Float64Array], common: BoolArray, n_links: int
) -> list[Link]:
    """Return pairs in which one is among the strongest partners of the other over labels."""
    if common.sum() < 3:  # two labels correlate everything with everything
        return []
    x, y = (_standardized(means[m][common]) for m in (a, b))
    pairs = set()
    for i, partners in enumerate(_strongest(x, y, n_links).tolist()):
        pairs |= {(i, j) for j in partners}
    for j, partners in enumerate(_strongest(y, x, n_links).tolist()):
        pairs |= {(i, j) for i in partners}
    links = []
    for i, j in sorted(pairs):
        weight = float(np.clip((x[:, i] * y[:, j]).mean(), -1, 1))
        if abs(weight) > 1e-6:
            links.append(Link((a, i), (b, j), weight))
    return links


def _standardized(x: Float64Array) -> Float64Array:
    deviation = x.std(axis=0)
    scaled: Float64Array = (x - x.mean(axis=0)) / np.where(deviation > 1e-12, deviation, np.inf)
    return scaled


def _strongest(x: Float64Array, y: Float64Array, n: int) -> IntArray:
    """Return the n columns of y that correlate most with each column of x, (d_x, n)."""
    blocks = []
    for start in range(0, x.shape[1], FEATURES_AT_A_TIME):
        strength = np.abs(x[:, start : start + FEATURES_AT_A_TIME].T @ y)
        blocks.append(np.argsort(-strength, axis=1, kind="stable")[:, :n])
    return np.concatenate(blocks)


def screen_links(
    screen: Screen, features: Mapping[str, Features], links: Links, n_links: int
) -> list[Link]:
    """Return the links of the features of a screen."""
    x = {m: of(modality_of(screen.mdata, m)) for m, of in features.items()}
    means, present = means_by_modality(x, screen.codes, screen.n_labels)
    names = {m: list(map(str, of.names)) for m, of in features.items()}
    return feature_links(links, names, means, present, n_links)


@LEARNERS.register("glue")
@dataclass
class GlueLearner(ExternalLearner):
    """scGLUE: variational autoencoders tied by a graph of features and by an adversary.

    A cell has ``u ~ q(u | x)``, a feature ``v ~ q(v | graph)``, and decoders are inner products
    ``u v'``, so that features joined in the graph give cells one space. A discriminator pulls the
    modalities together. The representation is the mean of ``q(u | x)``.

    Unrelated modalities have no prior graph. With ``links="auto"`` features of equal names are
    joined if there are any, else those whose label means correlate. Labels enter as known cell
    types do, by a classifier of u, and as weights of cells for the adversary: labels weigh alike,
    cells of exclusive labels nothing. Counts are decoded as negative binomial, other values as
    normal. Wide modalities are encoded from their principal components.

    Parameters
    ----------
    n_latent
        Dimension of u.
    links, n_links
        Features that are joined: ``"names"``, ``"labels"`` (for each feature its ``n_links``
        strongest partners in every other modality), or ``"auto"``.
    use_labels
        Whether the labels supervise u and weigh cells. Links do not depend on it.
    label_weight
        Weight of the classifier (``lam_sup``).
    n_components
        Principal components that encode modalities with more features.
    max_epochs
        Of each of the two rounds of training. About 1000 for 1000 cells, by scGLUE's rule, if None.
    batch_size
        Cells in a step.

    References
    ----------
    Cao and Gao 2022, "Multi-omics single-cell data integration and regulatory inference with
    graph-linked embedding".
    """

    name: ClassVar[str] = "glue"
    extra: ClassVar[str] = "glue"

    n_latent: int = 50
    links: Links = "auto"
    n_links: int = 5
    use_labels: bool = True
    label_weight: float = 0.02
    n_components: int = 100
    max_epochs: int | None = None
    batch_size: int = 128

    def _fit(self, screen: Screen, seed: int) -> None:
        with contained(seed):
            glue = import_extra("scglue", self.extra)
        self.features_ = screen.features()
        self.components_: dict[str, PCA] = {}
        for m, features in self.features_.items():
            if len(features.names) > self.n_components:
                x = features(modality_of(screen.mdata, m))
                self.components_[m] = principal_components(x, self.n_components, seed)
        links = screen_links(screen, self.features_, self.links, self.n_links)
        epochs = {}
        if self.max_epochs is not None:  # the adversary comes in after a sixth, as in scGLUE
            epochs = {
                "max_epochs": self.max_epochs,
                "align_burnin": max(1, self.max_epochs // 6),
            }
        with contained(seed), _without_workers(glue), TemporaryDirectory() as folder:
            adatas = {m: self._configured(glue, screen, m) for m in screen.modalities}
            self.model_ = glue.models.fit_SCGLUE(
                adatas,
                guidance_graph({m: list(a.var_names) for m, a in adatas.items()}, links),
                init_kws={"latent_dim": self.n_latent, "random_seed": seed},
                skip_balance=True,
                compile_kws={"lam_sup": self.label_weight},
                fit_kws={"directory": folder, "data_batch_size": self.batch_size, **epochs},
            )
        self.evidence["n_links"] = len(links)

    def _configured(self, glue: Any, screen: Screen, m: str) -> AnnData:
        adata = self._data(m, modality_of(screen.mdata, m), shared_labels(screen, m))
        adata.obs["weight"] = label_weights(screen, m)
        glue.models.configure_dataset(
            adata,
            "NB" if self.features_[m].library is not None else "Normal",
            use_highly_variable=False,
            use_rep="X_pca" if m in self.components_ else None,
            use_cell_type=LABEL if self.use_labels else None,
            use_dsc_weight="weight" if self.use_labels else None,
        )
        return adata

    def _data(self, m: str, adata: AnnData, labels: Any = None) -> AnnData:
        data = raw_or_standardized(self.features_[m], adata, m)
        data.obs[LABEL] = pd.Categorical([None] * adata.n_obs if labels is None else labels)
        if m in self.components_:
            z = project(self.components_[m], self.features_[m](adata))
            data.obsm["X_pca"] = z.astype(np.float32)
        return data

    def _transform(self, mdata: MuData) -> Representations:
        z: Representations = {}
        with contained():
            for m in self.features_:
                data = self._data(m, modality_of(mdata, m))
                z[m] = np.asarray(self.model_.encode_data(m, data, self.batch_size))
        return z


def guidance_graph(names: Mapping[str, Sequence[str]], links: Sequence[Link]) -> Any:
    """Return the graph for scGLUE: features joined to themselves and both ways to partners."""
    graph = import_extra("networkx", "glue").DiGraph()
    for own in names.values():
        graph.add_edges_from((name, name, {"weight": 1.0, "sign": 1}) for name in own)
    for link in links:
        u, v = (names[m][i] for m, i in (link.source, link.target))
        edge = {"weight": abs(link.weight), "sign": 1 if link.weight > 0 else -1}
        graph.add_edges_from([(u, v, edge), (v, u, edge)])
    return graph


def label_weights(screen: Screen, m: str) -> Float64Array:
    """Return weights of cells, mean 1: shared labels weigh alike, exclusive ones nothing."""
    codes = screen.codes[m]
    known = codes >= 0
    counts = np.bincount(codes[known], minlength=screen.n_labels)
    weights = np.array([0.0 if label is not None else 1.0 for label in screen.labels[m]])
    weights[known] = known.sum() / np.count_nonzero(counts) / counts[codes[known]]
    return np.asarray(weights / weights.mean())


@contextmanager
def _without_workers(glue: Any) -> Iterator[None]:
    """Let scGLUE shuffle its graph in this process, because workers of joblib start no others."""
    before = glue.config.GRAPH_SHUFFLE_NUM_WORKERS
    glue.config.GRAPH_SHUFFLE_NUM_WORKERS = 0
    try:
        yield
    finally:
        glue.config.GRAPH_SHUFFLE_NUM_WORKERS = before


@LEARNERS.register("moscot")
@dataclass
class MoscotLearner(ExternalLearner):
    """Translation of moscot: fused Gromov-Wasserstein transport into the first modality.

    With distances Cx, Cy in the principal components of the modalities and a cost between labels,
    0 for equal and 2 for different ones, moscot solves::

        T = argmin  (1 - alpha) <C, T> + alpha sum_ijkl (Cx_ik - Cy_jl)^2 T_ij T_kl - eps H(T)

    The first modality is where its principal components are, and a cell i of another one is at the
    barycenter ``sum_j T_ij y_j / sum_j T_ij``. The coupling is inside the representation, so that
    an aligner after it couples a second time. Cells without a shared label cost 1 to those with
    one. A cell that was not fitted is put at the mean of its nearest fitted cells.

    Parameters
    ----------
    n_components
        Principal components of each modality.
    alpha
        Weight of the distances in (0, 1], against that of the labels.
    epsilon
        Entropic regularization, costs being divided by their mean.
    rank
        Rank of the coupling. -1 is full, with memory and time for all pairs of cells.
    n_neighbors
        Fitted cells over which one that was not fitted is averaged.
    max_memory_gb
        A larger full coupling is refused.

    References
    ----------
    Klein et al. 2025, "Mapping cells through time and space with moscot". Demetci et al. 2022,
    "SCOT: single-cell multi-omics alignment with optimal transport".
    """

    name: ClassVar[str] = "moscot"
    extra: ClassVar[str] = "moscot"

    n_components: int = 20
    alpha: float = 0.5
    epsilon: float = 0.01
    rank: int = -1
    n_neighbors: int = 10
    max_memory_gb: float = 8.0

    def __post_init__(self) -> None:
        """Refuse options that cannot be used."""
        super().__post_init__()
        if not 0 < self.alpha <= 1:
            raise InputError(
                f"alpha must be above 0 (labels alone) and at most 1 (distances alone); "
                f"found {self.alpha!r}."
            )
        if not self.epsilon > 0:
            raise InputError(f"epsilon must be positive; found {self.epsilon!r}.")
        if self.rank != -1 and self.rank < 1:
            raise InputError(f"rank must be -1 (full) or 1 or more; found {self.rank!r}.")

    def _fit(self, screen: Screen, seed: int) -> None:
        first, *others = screen.modalities
        pairs = screen.n_cells(first) * max(screen.n_cells(m) for m in others)
        needed = 4 * 5 * pairs / 1e9  # costs, plan and what iterations keep of them, in float32
        if self.rank == -1 and needed > self.max_memory_gb:
            raise TooLargeError(
                f"learner {self.name!r} would need about {needed:.1f} GB for a full coupling of "
                f"{pairs:,} pairs of cells, and max_memory_gb={self.max_memory_gb:g}. Use a "
                f"coupling of low rank, such as rank=100, or fewer cells."
            )
        with contained(seed):
            problems = import_extra("moscot.problems.cross_modality", self.extra)
        self.features_ = screen.features()
        self.components_: dict[str, PCA] = {}
        self.seen_: dict[str, FittedCells] = {}
        self.translated_: dict[str, Float64Array] = {}
        self.neighbors_: dict[str, NearestNeighbors] = {}
        data = {m: self._data(screen, m, seed) for m in screen.modalities}
        joint = LABEL if self.alpha < 1 else None
        for m in others:
            with contained(seed):
                problem = problems.TranslationProblem(data[m], data[first])
                problem = problem.prepare("X_pca", "X_pca", joint_attr=joint)
                solved = problem.solve(alpha=self.alpha, epsilon=self.epsilon, rank=self.rank)
                z = np.asarray(solved.translate("src", "tgt", forward=True), dtype=np.float64)
            self.translated_[m] = z
            neighbors = NearestNeighbors(n_neighbors=min(self.n_neighbors, len(z)))
            self.neighbors_[m] = neighbors.fit(data[m].obsm["X_pca"])
            converged = bool(solved.solutions["src", "tgt"].converged)
            self.evidence.setdefault("converged", {})[m] = converged

    def _data(self, screen: Screen, m: str, seed: int) -> AnnData:
        adata = modality_of(screen.mdata, m)
        x = self.features_[m](adata)
        names = adata.obs_names.to_numpy(dtype=object)
        self.components_[m] = principal_components(x, self.n_components, seed)
        self.seen_[m] = FittedCells.of(names, x)
        onehot = screen.codes[m][:, None] == np.arange(screen.n_labels)
        z = project(self.components_[m], x).astype(np.float32)
        coordinates: dict[str, Any] = {"X_pca": z, LABEL: onehot.astype(np.float32)}
        return AnnData(
            np.zeros((len(x), 1), dtype=np.float32),  # moscot refuses data without features
            obs=pd.DataFrame(index=names),
            obsm=coordinates,
        )

    def _transform(self, mdata: MuData) -> Representations:
        return {m: self._place(m, modality_of(mdata, m)) for m in self.features_}

    def _place(self, m: str, adata: AnnData) -> Float64Array:
        x = self.features_[m](adata)
        own = project(self.components_[m], x)
        if m not in self.translated_:
            return own
        rows = self.seen_[m].rows(adata.obs_names.to_numpy(dtype=object), x)
        out: Float64Array = self.translated_[m][rows]
        new = np.flatnonzero(rows < 0)
        if new.size:
            near = self.neighbors_[m].kneighbors(own[new].astype(np.float32), return_distance=False)
            out[new] = self.translated_[m][near].mean(axis=1)
        return out


@LEARNERS.register("diagvi")
@dataclass
class DiagviLearner(ExternalLearner):
    """DIAGVI of scvi-tools: autoencoders tied by a graph of features and by optimal transport.

    Decoders are inner products with embeddings of the features of a graph, as in scGLUE. Cells are
    pulled together by an unbalanced Sinkhorn divergence. The representation is the mean of
    ``q(z | x)``. For two modalities. The graph is as for ``glue``, without links of negative
    correlation. Labels train a classifier of z in each modality. Counts are decoded as negative
    binomial, other values as normal.

    Parameters
    ----------
    n_latent, dropout
        Networks.
    links, n_links
        As for ``glue``.
    use_labels
        Whether the labels train classifiers. Links do not depend on it.
    max_epochs
        At most 400, by the rule of scvi-tools, if None. Training ends when the loss of 10 %
        held-out cells no longer falls.
    batch_size
        Cells of each modality in a step.
    device
        ``"cpu"``, ``"cuda"``, ``"mps"`` or ``"auto"``.

    References
    ----------
    User guide of scvi-tools, ``scvi.external.DIAGVI``. Cao and Gao 2022 (GLUE).
    """

    name: ClassVar[str] = "diagvi"
    extra: ClassVar[str] = "diagvi"

    n_latent: int = 50
    dropout: float = 0.1
    links: Links = "auto"
    n_links: int = 5
    use_labels: bool = True
    max_epochs: int | None = None
    batch_size: int = 256
    device: Device = "cpu"

    def _fit(self, screen: Screen, seed: int) -> None:
        if len(screen.modalities) != 2:
            raise InputError(
                f"learner {self.name!r} is for two modalities; found {list(screen.modalities)}. "
                f"Name two: fit(mdata, modalities={list(screen.modalities[:2])})."
            )
        resolve_device(self.device)
        self.features_ = screen.features()
        links = screen_links(screen, self.features_, self.links, self.n_links)
        with contained(seed):
            diagvi = import_extra("scvi.external", self.extra).DIAGVI
            adatas = {m: self._registered(diagvi, screen, m) for m in screen.modalities}
            rows = []
            for source, target, weight in links:
                if weight > 0:
                    rows.append({m: adatas[m].var_names[i] for m, i in (source, target)})
            model = diagvi(
                adatas,
                mapping_df=pd.DataFrame(rows, columns=list(adatas)),
                n_latent=self.n_latent,
                n_hidden=256,
                n_layers=2,
                dropout_rate=self.dropout,
            )
            try:
                self._train(model, screen, seed)
            finally:
                for adata in adatas.values():  # or scvi-tools would keep the data in memory
                    model.deregister_manager(adata)
        self.module_ = model.module.to("cpu").eval()
        self.evidence.update(n_links=len(rows), epochs=len(model.history["training_loss"]))

    def _registered(self, diagvi: Any, screen: Screen, m: str) -> AnnData:
        data = raw_or_standardized(self.features_[m], modality_of(screen.mdata, m), m)
        labels = [UNLABELED if one is None else one for one in shared_labels(screen, m)]
        data.obs[LABEL] = pd.Categorical(labels)
        is_counts = self.features_[m].library is not None
        diagvi.setup_anndata(
            data,
            labels_key=LABEL if self.use_labels else None,
            likelihood="nb" if is_counts else "normal",
            normalize_lib=is_counts,
            unlabeled_category=UNLABELED,
        )
        return data

    def _train(self, model: Any, screen: Screen, seed: int) -> None:
        streams = np.random.default_rng(seed).spawn(2)
        splits = {}
        for m, rng in zip(screen.modalities, streams, strict=True):
            # split here: scvi-tools would use a global random state
            is_held_out = stratified_folds(screen.codes[m], 10, rng) == 0
            parts = [np.flatnonzero(~is_held_out), np.flatnonzero(is_held_out)]
            splits[m] = {"external_indexing": [*parts, np.array([], dtype=np.intp)]}
        model.train(
            self.max_epochs,
            batch_size=self.batch_size,
            accelerator={"cuda": "gpu"}.get(self.device, self.device),
            devices=1 if self.device != "auto" else "auto",
            datasplitter_kwargs=splits,
            enable_model_summary=False,
            enable_checkpointing=False,
            logger=None,
        )

    def _transform(self, mdata: MuData) -> Representations:
        with contained():
            return {m: self._encode(m, modality_of(mdata, m)) for m in self.features_}

    def _encode(self, m: str, adata: AnnData) -> FloatArray:
        import torch

        x: Any = raw_or_standardized(self.features_[m], adata, m).X
        blocks = []
        for start in range(0, adata.n_obs, CELLS_AT_A_TIME):
            block = x[start : start + CELLS_AT_A_TIME]
            dense = np.asarray(block.toarray() if sp.issparse(block) else block, dtype=np.float32)
            with torch.inference_mode():
                found = self.module_.inference(torch.from_numpy(dense), mode=m, deterministic=True)
            blocks.append(found["z"].numpy())
        return np.concatenate(blocks)


def shared_labels(screen: Screen, m: str) -> list[str | None]:
    """Return the label of each cell if it is a shared one, else None."""
    return [screen.vocabulary[code] if code >= 0 else None for code in screen.codes[m]]


def raw_or_standardized(features: Features, adata: AnnData, m: str) -> AnnData:
    """Return counts that have library sizes as they are, and other values standardized.

    Features are named after the modality.
    """
    x: Any = features(adata)
    if features.library is not None:
        x = sp.csr_matrix(adata.X, dtype=np.float32)
    return AnnData(
        x,
        obs=pd.DataFrame(index=adata.obs_names.astype(str)),
        var=pd.DataFrame(index=[f"{m}:{name}" for name in features.names]),
    )


@contextmanager
def contained(seed: int = 0) -> Iterator[None]:
    """Give other packages random states of their own, and hide their output.

    Some seed the global random states when they are imported or fitted, or draw from them when they
    encode cells.
    """
    disabled = logging.root.manager.disable
    of_python = random.getstate()
    of_numpy = np.random.get_state()  # noqa: NPY002
    logging.disable(logging.WARNING)
    try:
        with (
            seeded(seed),
            warnings.catch_warnings(),
            redirect_stdout(StringIO()),
            redirect_stderr(StringIO()),
        ):
            warnings.simplefilter("ignore")
            random.seed(seed)
            np.random.seed(seed)  # noqa: NPY002
            yield
    finally:
        logging.disable(disabled)
        random.setstate(of_python)
        np.random.set_state(of_numpy)  # noqa: NPY002
