"""Methods of other packages, as learners: scGLUE, the translation of moscot, DIAGVI of scvi-tools.

None of them was made for modalities that share labels only, and each adapter says what it does about that. Their packages are
imported when a learner is fitted.
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
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, TypeAlias

import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata import AnnData
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

from scgroove._optional import import_extra, missing
from scgroove._types import BoolArray, Float64Array, FloatArray, IntArray
from scgroove.data.features import Features
from scgroove.data.screen import Screen
from scgroove.errors import (
    ExtraNotInstalledError,
    InputError,
    TooLargeError,
    UnknownNameError,
    did_you_mean,
)
from scgroove.learners._base import LEARNERS, Learner, Representations, get
from scgroove.learners.common import (
    CELLS_AT_A_TIME,
    Remembered,
    label_means,
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


def unavailable_reason(name: str) -> str | None:
    """Return why a learner cannot be used here, or None if it can: nothing is constructed or imported.

    Parameters
    ----------
    name
        For example ``"glue"``.

    Returns
    -------
    str or None
        The packages that are missing or too old, and the line that installs them.

    Raises
    ------
    ValueError
        If there is no such learner.

    Examples
    --------
    >>> unavailable_reason("pca") is None
    True
    """
    extra = getattr(get(name), "extra", None)
    return None if extra is None else missing(extra)


@dataclass
class ExternalLearner(Learner):
    """A learner of another package, the extra of which must be installed.

    Attributes
    ----------
    extra
        ``pip install "scgroove[extra]"``.
    """

    extra: ClassVar[str]

    def __post_init__(self) -> None:
        """Refuse to be constructed where the package is missing."""
        reason = missing(self.extra)
        if reason is not None:
            raise ExtraNotInstalledError(f"learner {self.name!r} cannot be used: {reason}")


# ------------------------------------------------------------------------------------------------- links of features

Links: TypeAlias = Literal["auto", "names", "labels"] | Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Link:
    """Two features of different modalities, by position, and how they go together in [-1, 1]."""

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
    """Return which features of different modalities go together.

    Parameters
    ----------
    links
        ``"names"``: those of equal name. ``"labels"``: those whose means over the labels correlate most. ``"auto"``: by name if
        any name is in two modalities, else by labels. Or pairs of names, prior knowledge.
    names
        Features of each modality.
    means, present
        Label means of each modality, (n_labels, d), and which labels it has.
    n_links
        By labels: for each feature its strongest partners in every other modality, this many.

    Returns
    -------
    list of Link
        Every pair once.
    """
    if not isinstance(links, str):
        return _given_links(links, names)
    if links in ("auto", "names"):
        found = _same_names(names)
        if found or links == "names":
            return found
    elif links != "labels":
        raise InputError(
            f"links must be 'auto', 'names', 'labels' or pairs of features; found {links!r}."
        )
    return [
        link
        for a, b in combinations(names, 2)
        for link in _correlated(a, b, means, present[a] & present[b], n_links)
    ]


def _same_names(names: Mapping[str, Sequence[str]]) -> list[Link]:
    place = {m: {name: i for i, name in enumerate(own)} for m, own in names.items()}
    return [
        Link((a, i), (b, place[b][name]), 1.0)
        for a, b in combinations(names, 2)
        for name, i in place[a].items()
        if name in place[b]
    ]


def _given_links(
    pairs: Sequence[tuple[str, str]], names: Mapping[str, Sequence[str]]
) -> list[Link]:
    place: dict[str, list[tuple[str, int]]] = {}
    for m, own in names.items():
        for i, name in enumerate(own):
            place.setdefault(name, []).append((m, i))
    found: dict[tuple[tuple[str, int], tuple[str, int]], Link] = {}
    for pair in pairs:
        for name in pair:
            if name not in place:
                hint = did_you_mean(name, place)
                raise UnknownNameError(
                    f"links name the feature {name!r}, which no modality has.{hint}"
                )
        between = [(u, v) for u in place[pair[0]] for v in place[pair[1]] if u[0] != v[0]]
        if not between:
            raise InputError(
                f"links must join features of different modalities; {pair[0]!r} and {pair[1]!r} are both in "
                f"{place[pair[0]][0][0]!r}."
            )
        for u, v in between:
            if (v, u) not in found:
                found[u, v] = Link(u, v, 1.0)
    return list(found.values())


def _correlated(
    a: str, b: str, means: Mapping[str, Float64Array], common: BoolArray, n_links: int
) -> list[Link]:
    """Return the pairs of which one is among the strongest partners of the other, with their correlations over labels."""
    if common.sum() < 3:  # two labels correlate everything with everything
        return []
    x, y = (_standardized(means[m][common]) for m in (a, b))
    pairs = {
        (i, j) for i, partners in enumerate(_strongest(x, y, n_links)) for j in partners.tolist()
    }
    pairs |= {
        (i, j) for j, partners in enumerate(_strongest(y, x, n_links)) for i in partners.tolist()
    }
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
    """Return for each column of x the n columns of y of largest absolute correlation, (d_x, n), in blocks of columns."""
    n = min(n, y.shape[1])
    blocks = [
        np.argsort(-np.abs(x[:, i : i + FEATURES_AT_A_TIME].T @ y), axis=1, kind="stable")[:, :n]
        for i in range(0, x.shape[1], FEATURES_AT_A_TIME)
    ]
    return np.concatenate(blocks)


def screen_links(
    screen: Screen, features: Mapping[str, Features], links: Links, n_links: int
) -> list[Link]:
    """Return the links of the features of a screen: see :func:`feature_links`."""
    means, present = {}, {}
    for m in screen.modalities:
        means[m], counts = label_means(
            features[m](screen.mdata.mod[m]), screen.codes[m], screen.n_labels
        )
        present[m] = counts > 0
    names = {m: list(map(str, features[m].names)) for m in screen.modalities}
    return feature_links(links, names, means, present, n_links)


# ----------------------------------------------------------------------------------------------------------- scGLUE


@LEARNERS.register("glue")
@dataclass
class GlueLearner(ExternalLearner):
    """scGLUE: variational autoencoders of the modalities, tied by a graph of their features and by an adversary.

    A cell has ``u ~ q(u | x)``, a feature ``v ~ q(v | graph)``, and the decoder of every modality is the inner product ``u v'``,
    so that features joined in the graph give cells one space; a discriminator that cannot tell the modalities pulls their cells
    together. The representation is the mean of ``q(u | x)``.

    The graph is prior knowledge, and a screen of unrelated modalities has none: with ``links="auto"`` features of equal names are
    joined if there are any, else those whose label means correlate, with the correlation as weight and sign; every feature is
    joined to itself. Labels enter as scGLUE lets known cell types enter, by a classifier of u that all modalities share, and as
    the weights of cells for the adversary, which scGLUE would estimate from clusters: labels weigh alike in all modalities, cells
    of exclusive labels nothing. Counts are decoded as negative binomial, other values, standardized, as normal; wide modalities are encoded from their principal
    components, as scGLUE recommends.

    Parameters
    ----------
    n_latent
        Dimension of u.
    links, n_links
        Which features are joined: ``"auto"``, ``"names"``, ``"labels"`` (for each feature its ``n_links`` strongest partners in every
        other modality) or pairs of features.
    use_labels
        Whether the labels supervise u and weigh cells. The links by labels are not touched by it.
    label_weight
        Weight of the classifier (``lam_sup``).
    n_components
        Principal components that encode modalities with more features.
    max_epochs
        Of each of the two rounds of training; None: as scGLUE has it, about 1000 for 1000 cells, minutes.
    batch_size
        Cells in a step.

    References
    ----------
    Cao and Gao 2022, "Multi-omics single-cell data integration and regulatory inference with graph-linked embedding".
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
                x = features(screen.mdata.mod[m])
                self.components_[m] = principal_components(x, self.n_components, seed)
        links = screen_links(screen, self.features_, self.links, self.n_links)
        with contained(seed), _without_workers(glue), TemporaryDirectory() as folder:
            adatas = {m: self._configured(glue, screen, m) for m in screen.modalities}
            self.model_ = glue.models.fit_SCGLUE(
                adatas,
                guidance_graph({m: list(a.var_names) for m, a in adatas.items()}, links),
                init_kws={"latent_dim": self.n_latent, "random_seed": seed},
                skip_balance=True,
                compile_kws={"lam_sup": self.label_weight},
                fit_kws={"directory": folder, "data_batch_size": self.batch_size, **self._epochs()},
            )
        self.evidence["n_links"] = len(links)

    def _epochs(self) -> dict[str, int]:
        """Return the length of training; the adversary comes in after a sixth, as by scGLUE's own rule."""
        if self.max_epochs is None:
            return {}
        return {"max_epochs": self.max_epochs, "align_burnin": max(1, self.max_epochs // 6)}

    def _configured(self, glue: Any, screen: Screen, m: str) -> AnnData:
        adata = self._data(m, screen.mdata.mod[m], shared_labels(screen, m))
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
        x = self.features_[m](adata)
        data = raw_or_standardized(self.features_[m], adata, x, m)
        data.obs[LABEL] = pd.Categorical([None] * adata.n_obs if labels is None else labels)
        if m in self.components_:
            data.obsm["X_pca"] = project(self.components_[m], x).astype(np.float32)
        return data

    def _transform(self, mdata: MuData) -> Representations:
        with contained():
            return {
                m: np.asarray(
                    self.model_.encode_data(m, self._data(m, mdata.mod[m]), self.batch_size)
                )
                for m in self.features_
            }


def guidance_graph(names: Mapping[str, Sequence[str]], links: Sequence[Link]) -> Any:
    """Return the graph of features that scGLUE asks for: every feature, joined to itself and both ways to its partners."""
    graph = import_extra("networkx", "glue").DiGraph()
    for own in names.values():
        graph.add_edges_from((name, name, {"weight": 1.0, "sign": 1}) for name in own)
    for link in links:
        u, v = (names[m][i] for m, i in (link.source, link.target))
        edge = {"weight": abs(link.weight), "sign": 1 if link.weight > 0 else -1}
        graph.add_edges_from([(u, v, edge), (v, u, edge)])
    return graph


def label_weights(screen: Screen, m: str) -> Float64Array:
    """Return weights of cells, mean 1, under which shared labels weigh alike: 0 for exclusive labels, 1 for unknown ones."""
    codes = screen.codes[m]
    known = codes >= 0
    counts = np.bincount(codes[known], minlength=screen.n_labels)
    weights = np.array([0.0 if label is not None else 1.0 for label in screen.labels[m]])
    weights[known] = known.sum() / np.count_nonzero(counts) / counts[codes[known]]
    return np.asarray(weights / weights.mean())


@contextmanager
def _without_workers(glue: Any) -> Iterator[None]:
    """Let scGLUE shuffle its graph in this process: it would start another one, which workers of joblib may not."""
    before = glue.config.GRAPH_SHUFFLE_NUM_WORKERS
    glue.config.GRAPH_SHUFFLE_NUM_WORKERS = 0
    try:
        yield
    finally:
        glue.config.GRAPH_SHUFFLE_NUM_WORKERS = before


# ----------------------------------------------------------------------------------------------------------- moscot


@LEARNERS.register("moscot")
@dataclass
class MoscotLearner(ExternalLearner):
    """The translation of moscot: fused Gromov-Wasserstein transport, and what it makes of every cell in the first modality.

    moscot couples cells rather than representing them: with distances Cx, Cy in the principal components of the modalities and
    a cost between labels, 0 for equal and 2 for different ones, it solves::

        T = argmin  (1 - alpha) <C, T> + alpha sum_ijkl (Cx_ik - Cy_jl)^2 T_ij T_kl - eps H(T)

    The representation is made of that by moscot's own ``translate``, the barycentric projection: the first modality is where its
    principal components are, and a cell i of another one is at ``sum_j T_ij y_j / sum_j T_ij``. So the coupling is inside the
    representation, and an aligner after it couples a second time. Cells without a shared label cost 1 to those with one.

    A cell that was not fitted has no row in T: it is put at the mean of its nearest fitted cells.

    Parameters
    ----------
    n_components
        Principal components of each modality.
    alpha
        Weight of the distances in (0, 1], against that of the labels; 1: the labels are not used.
    epsilon
        Entropic regularization, costs being divided by their mean.
    rank
        Rank of the coupling; -1: full, memory and time grow with the product of the numbers of cells.
    n_neighbors
        Fitted cells over which one that was not fitted is averaged.
    max_memory_gb
        More than this for a full coupling is refused.

    References
    ----------
    Klein et al. 2025, "Mapping cells through time and space with moscot"; Demetci et al. 2022, "SCOT: single-cell multi-omics
    alignment with optimal transport".
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
                f"alpha must be above 0 (labels alone) and at most 1 (distances alone); found {self.alpha!r}."
            )
        if not self.epsilon > 0:
            raise InputError(f"epsilon must be positive; found {self.epsilon!r}.")
        if self.rank != -1 and self.rank < 1:
            raise InputError(f"rank must be -1 (full) or 1 or more; found {self.rank!r}.")

    def _fit(self, screen: Screen, seed: int) -> None:
        self._check_memory(screen)
        with contained(seed):
            problems = import_extra("moscot.problems.cross_modality", self.extra)
        self.features_ = screen.features()
        self.components_: dict[str, PCA] = {}
        self.seen_: dict[str, Remembered] = {}
        self.translated_: dict[str, Float64Array] = {}
        self.neighbors_: dict[str, NearestNeighbors] = {}
        first, *others = screen.modalities
        data = {m: self._data(screen, m, seed) for m in screen.modalities}
        for m in others:
            with contained(seed):
                solved = self._solve(problems, data[m], data[first])
                z = np.asarray(solved.translate("src", "tgt", forward=True), dtype=np.float64)
            self.translated_[m] = z
            self.neighbors_[m] = NearestNeighbors(n_neighbors=min(self.n_neighbors, len(z))).fit(
                data[m].obsm["X_pca"]
            )
            self.evidence.setdefault("converged", {})[m] = bool(
                solved.solutions["src", "tgt"].converged
            )

    def _check_memory(self, screen: Screen) -> None:
        first, *others = screen.modalities
        pairs = screen.n_cells(first) * max(screen.n_cells(m) for m in others)
        needed = 4 * 5 * pairs / 1e9  # costs, plan and what the iterations keep of them, in float32
        if self.rank == -1 and needed > self.max_memory_gb:
            raise TooLargeError(
                f"learner {self.name!r} would need about {needed:.1f} GB for a full coupling of {pairs:,} pairs of cells, and "
                f"max_memory_gb={self.max_memory_gb:g}. Use a coupling of low rank, such as rank=100, or fewer cells."
            )

    def _data(self, screen: Screen, m: str, seed: int) -> AnnData:
        adata = screen.mdata.mod[m]
        x = self.features_[m](adata)
        names = adata.obs_names.to_numpy(dtype=object)
        self.components_[m] = principal_components(x, self.n_components, seed)
        self.seen_[m] = Remembered.of(names, x)
        onehot = screen.codes[m][:, None] == np.arange(screen.n_labels)
        return AnnData(
            np.zeros((len(x), 1), dtype=np.float32),  # moscot refuses data without features
            obs=pd.DataFrame(index=names),
            obsm={
                "X_pca": project(self.components_[m], x).astype(np.float32),
                LABEL: onehot.astype(np.float32),
            },
        )

    def _solve(self, problems: Any, source: AnnData, target: AnnData) -> Any:
        problem = problems.TranslationProblem(source, target)
        problem = problem.prepare("X_pca", "X_pca", joint_attr=LABEL if self.alpha < 1 else None)
        return problem.solve(alpha=self.alpha, epsilon=self.epsilon, rank=self.rank)

    def _transform(self, mdata: MuData) -> Representations:
        return {m: self._place(m, mdata.mod[m]) for m in self.features_}

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


# ----------------------------------------------------------------------------------------------------------- DIAGVI


@LEARNERS.register("diagvi")
@dataclass
class DiagviLearner(ExternalLearner):
    """DIAGVI of scvi-tools: variational autoencoders tied by a graph of features and by optimal transport between batches.

    As in scGLUE the decoder is an inner product with embeddings of the features of a graph, but cells are pulled together by an
    unbalanced Sinkhorn divergence instead of an adversary. The representation is the mean of ``q(z | x)``; the method of its
    own returns draws.

    For two modalities. The graph is as for ``glue``, without the links of negative correlation, for its edges have no use for
    a sign. Labels train a classifier of z in each modality. Counts are decoded as negative binomial, other values, standardized,
    as normal.

    Parameters
    ----------
    n_latent, n_hidden, n_layers, dropout
        Networks.
    links, n_links
        As for ``glue``.
    use_labels
        Whether the labels train classifiers. The links by labels are not touched by it.
    gmm_prior
        Whether the prior of z is a mixture of normals, one a label.
    max_epochs
        None: as scvi-tools has it, at most 400. Training ends when the loss of held-out cells, 10 %, no longer falls.
    batch_size
        Cells of each modality in a step.
    device
        ``"cpu"``, ``"cuda"``, ``"mps"`` or ``"auto"``.

    References
    ----------
    The user guide of scvi-tools, ``scvi.external.DIAGVI``; Cao and Gao 2022 (GLUE).
    """

    name: ClassVar[str] = "diagvi"
    extra: ClassVar[str] = "diagvi"

    n_latent: int = 50
    n_hidden: int = 256
    n_layers: int = 2
    dropout: float = 0.1
    links: Links = "auto"
    n_links: int = 5
    use_labels: bool = True
    gmm_prior: bool = False
    max_epochs: int | None = None
    batch_size: int = 256
    device: Device = "cpu"

    def _fit(self, screen: Screen, seed: int) -> None:
        if len(screen.modalities) != 2:
            raise InputError(
                f"learner {self.name!r} is for two modalities; found {list(screen.modalities)}. Name two: "
                f"fit(mdata, modalities={list(screen.modalities[:2])})."
            )
        resolve_device(self.device)
        self.features_ = screen.features()
        links = [
            k
            for k in screen_links(screen, self.features_, self.links, self.n_links)
            if k.weight > 0
        ]
        with contained(seed):
            diagvi = import_extra("scvi.external", self.extra).DIAGVI
            adatas = {m: self._registered(diagvi, screen, m) for m in screen.modalities}
            model = diagvi(
                adatas,
                mapping_df=_mapping(adatas, links),
                n_latent=self.n_latent,
                n_hidden=self.n_hidden,
                n_layers=self.n_layers,
                dropout_rate=self.dropout,
            )
            try:
                self._train(model, screen, seed)
            finally:
                for adata in (
                    adatas.values()
                ):  # or scvi-tools would keep the data as long as the process lives
                    model.deregister_manager(adata)
        self.module_ = model.module.to("cpu").eval()
        self.evidence.update(n_links=len(links), epochs=len(model.history["training_loss"]))

    def _registered(self, diagvi: Any, screen: Screen, m: str) -> AnnData:
        adata, features = screen.mdata.mod[m], self.features_[m]
        data = raw_or_standardized(features, adata, features(adata), m)
        labels = shared_labels(screen, m)
        data.obs[LABEL] = pd.Categorical([UNLABELED if one is None else one for one in labels])
        diagvi.setup_anndata(
            data,
            labels_key=LABEL if self.use_labels else None,
            likelihood="normal" if features.library is None else "nb",
            normalize_lib=features.library is not None,
            gmm_prior=self.gmm_prior,
            unlabeled_category=UNLABELED,
        )
        return data

    def _train(self, model: Any, screen: Screen, seed: int) -> None:
        streams = np.random.default_rng(seed).spawn(2)
        splits = {}
        for m, rng in zip(screen.modalities, streams, strict=True):
            held_out = stratified_folds(screen.codes[m], 10, rng) == 0
            # Otherwise the split would hang on a global random state.
            parts = [
                np.flatnonzero(~held_out),
                np.flatnonzero(held_out),
                np.array([], dtype=np.intp),
            ]
            splits[m] = {"external_indexing": parts}
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
            return {m: self._encode(m, mdata.mod[m]) for m in self.features_}

    def _encode(self, m: str, adata: AnnData) -> FloatArray:
        import torch

        features = self.features_[m]
        x = raw_or_standardized(features, adata, features(adata), m).X
        blocks = []
        for start in range(0, adata.n_obs, CELLS_AT_A_TIME):
            block = x[start : start + CELLS_AT_A_TIME]
            dense = np.asarray(block.toarray() if sp.issparse(block) else block, dtype=np.float32)
            with torch.inference_mode():
                blocks.append(
                    self.module_.inference(torch.from_numpy(dense), mode=m, deterministic=True)[
                        "z"
                    ].numpy()
                )
        return np.concatenate(blocks)


def _mapping(adatas: Mapping[str, AnnData], links: Sequence[Link]) -> pd.DataFrame:
    rows = [{m: adatas[m].var_names[i] for m, i in (link.source, link.target)} for link in links]
    return pd.DataFrame(rows, columns=list(adatas))


# ----------------------------------------------------------------------------------------------------- shared parts


def shared_labels(screen: Screen, m: str) -> list[str | None]:
    """Return the label of each cell if it is a shared one, else None."""
    return [screen.vocabulary[code] if code >= 0 else None for code in screen.codes[m]]


def raw_or_standardized(features: Features, adata: AnnData, x: FloatArray, m: str) -> AnnData:
    """Return a modality of its own: counts that have library sizes as they are, other values standardized.

    Features are named after the modality.
    """
    values = x if features.library is None else sp.csr_matrix(adata.X, dtype=np.float32)
    return AnnData(
        values,
        obs=pd.DataFrame(index=adata.obs_names.astype(str)),
        var=pd.DataFrame(index=[f"{m}:{name}" for name in features.names]),
    )


@contextmanager
def contained(seed: int = 0) -> Iterator[None]:
    """Let other packages draw from random states of their own, and keep their warnings, logs and progress bars.

    Some seed the global random states when they are imported or fitted, or draw from them when they encode cells.
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
