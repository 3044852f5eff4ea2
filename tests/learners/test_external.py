"""Methods of other packages: what they are given and what is made of it.

The packages themselves are tried where they are installed, at the end; before that stand-ins with their interface.
"""

from __future__ import annotations

import logging
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import mudata as md
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import scgroove
from scgroove._optional import missing
from scgroove.data.screen import Screen
from scgroove.errors import ExtraNotInstalledError, TooLargeError
from scgroove.learners import LEARNERS, construct, get, unavailable_reason
from scgroove.learners import _external as external
from scgroove.learners._external import (
    DiagviLearner,
    GlueLearner,
    MoscotLearner,
    feature_links,
    guidance_graph,
    label_weights,
)

EXTERNAL = ("glue", "moscot", "diagvi")


@pytest.fixture(scope="module")
def screen() -> md.MuData:
    return scgroove.simulations.weakly_paired(
        n_labels=6,
        n_cells_per_label=10,
        n_features=(12, 8),
        counts=["rna"],
        exclusive_labels=1,
        unlabeled_fraction=0.1,
        seed=2,
    )


# ------------------------------------------------------------------------------------------------ where it is missing


@pytest.fixture
def nothing_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scgroove._optional.find_spec", lambda name: None)


@pytest.mark.parametrize("name", EXTERNAL)
def test_without_the_package_it_cannot_be_constructed_and_says_why(
    name: str, nothing_installed: None
) -> None:
    reason = unavailable_reason(name)
    assert reason is not None
    assert "is not installed" in reason
    assert f'pip install "scgroove[{name}]"' in reason
    with pytest.raises(
        ExtraNotInstalledError,
        match=rf"learner '{name}' cannot be used: .*pip install \"scgroove\[{name}\]\"",
    ):
        construct(name)
    assert issubclass(ExtraNotInstalledError, ImportError)


def test_learners_of_this_package_are_always_there(nothing_installed: None) -> None:
    assert {n for n in LEARNERS if unavailable_reason(n) is not None} == set(EXTERNAL)
    with pytest.raises(ValueError, match="Did you mean 'moscot'"):
        unavailable_reason("moskot")


def test_options_are_checked_by_name_before_the_package_is_looked_for(
    nothing_installed: None,
) -> None:
    with pytest.raises(
        TypeError, match=r"learner 'glue' has no option 'n_latnt'. Did you mean 'n_latent'"
    ):
        construct("glue", {"n_latnt": 3})


# ------------------------------------------------------------------------------------------------- links of features


def test_links_by_name() -> None:
    names = {"a": ["g1", "g2", "g3"], "b": ["g3", "x", "g1"], "c": ["y", "g1"]}
    found = feature_links("names", names, {}, {}, 1)
    assert [(k.source, k.target, k.weight) for k in found] == [
        (("a", 0), ("b", 2), 1.0),
        (("a", 2), ("b", 0), 1.0),
        (("a", 0), ("c", 1), 1.0),
        (("b", 2), ("c", 1), 1.0),
    ]
    assert feature_links("auto", names, {}, {}, 1) == found
    assert feature_links("names", {"a": ["x"], "b": ["y"]}, {}, {}, 1) == []


def _label_links(n: int, seed: int = 0) -> tuple[list[Any], np.ndarray]:
    rng = np.random.default_rng(seed)
    means = {"a": rng.normal(size=(9, 5)), "b": rng.normal(size=(9, 4))}
    means["a"][:, 3] = 2.0  # does not vary
    present = {"a": np.arange(9) != 2, "b": np.arange(9) != 5}
    names = {"a": list("abcde"), "b": list("wxyz")}
    both = present["a"] & present["b"]
    with np.errstate(invalid="ignore", divide="ignore"):
        r = np.nan_to_num(np.corrcoef(means["a"][both].T, means["b"][both].T)[:5, 5:])
    return feature_links("auto", names, means, present, n), r


def test_links_by_labels_are_the_strongest_correlations_of_the_means() -> None:
    for n in (1, 2, 9):
        links, r = _label_links(n)
        expected = set()
        for i in range(5):
            expected |= {(i, int(j)) for j in np.argsort(-np.abs(r[i]))[:n]}
        for j in range(4):
            expected |= {(int(i), j) for i in np.argsort(-np.abs(r[:, j]))[:n]}
        assert {(k.source[1], k.target[1]) for k in links} == {
            (i, j) for i, j in expected if i != 3
        }
        for link in links:
            assert (link.source[0], link.target[0]) == ("a", "b")
            assert link.weight == pytest.approx(r[link.source[1], link.target[1]])
    links, r = _label_links(9)
    assert len(links) == 16


def test_features_in_blocks_are_features_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    once, _ = _label_links(2, seed=1)
    monkeypatch.setattr(external, "FEATURES_AT_A_TIME", 2)
    assert _label_links(2, seed=1)[0] == once


def test_two_labels_link_nothing() -> None:
    means = {m: np.random.default_rng(0).normal(size=(2, 3)) for m in "ab"}
    present = {m: np.ones(2, dtype=bool) for m in "ab"}
    assert feature_links("labels", {"a": list("xyz"), "b": list("uvw")}, means, present, 2) == []


# ----------------------------------------------------------------------------------------------------------- scGLUE


class Glue(ModuleType):
    """Stand-in for scGLUE: notes what it is asked, and encodes by the sum of the features."""

    def __init__(self) -> None:
        super().__init__("scglue")
        self.config = SimpleNamespace(GRAPH_SHUFFLE_NUM_WORKERS=1)
        self.models = SimpleNamespace(
            configure_dataset=self.configure_dataset, fit_SCGLUE=self.fit_SCGLUE
        )
        self.configured: list[tuple[str, dict[str, Any]]] = []

    def configure_dataset(self, adata: Any, prob_model: str, **options: Any) -> None:
        for key, slot in (
            ("use_rep", adata.obsm),
            ("use_cell_type", adata.obs),
            ("use_dsc_weight", adata.obs),
        ):
            assert options[key] is None or options[key] in slot
        self.configured.append((prob_model, options))

    def fit_SCGLUE(self, adatas: Any, graph: Any, **options: Any) -> Any:
        print("Epoch 1 of many")
        logging.getLogger("scglue").warning("something")
        assert Path(options["fit_kws"]["directory"]).is_dir()
        self.adatas, self.graph, self.options = adatas, graph, options
        self.workers = self.config.GRAPH_SHUFFLE_NUM_WORKERS
        return self

    def encode_data(self, key: str, adata: Any, batch_size: int) -> np.ndarray:
        assert list(adata.var_names) == list(self.adatas[key].var_names)
        return np.asarray(adata.X.sum(axis=1)).reshape(-1, 1) * np.ones((1, 3))


@pytest.fixture
def glue(monkeypatch: pytest.MonkeyPatch) -> Glue:
    pytest.importorskip("networkx")
    import networkx

    fake = Glue()
    monkeypatch.setattr(external, "missing", lambda extra: None)
    monkeypatch.setattr(
        external,
        "import_extra",
        lambda module, extra: {"scglue": fake, "networkx": networkx}[module],
    )
    return fake


def test_glue_is_given_counts_as_counts_and_labels_as_cell_types(
    glue: Glue, screen: md.MuData, capsys: pytest.CaptureFixture[str]
) -> None:
    learner = GlueLearner(n_latent=3, n_components=10, max_epochs=12, batch_size=32)
    z = learner.fit_transform(screen, seed=4)
    assert capsys.readouterr() == ("", "")
    assert [kind for kind, _ in glue.configured] == ["NB", "Normal"]
    assert [options["use_rep"] for _, options in glue.configured] == [
        "X_pca",
        None,
    ]  # 12 features and 8
    assert glue.adatas["rna"].obsm["X_pca"].shape == (50, 10)
    assert sp.issparse(glue.adatas["rna"].X)
    assert (glue.adatas["rna"].X != screen["rna"].X).nnz == 0
    np.testing.assert_allclose(glue.adatas["protein"].X.std(axis=0), 1, rtol=1e-4)
    labels = glue.adatas["rna"].obs["label"].astype(object)
    assert set(labels.dropna()) == {"g00", "g01", "g02", "g03"}
    assert glue.options["init_kws"] == {"latent_dim": 3, "random_seed": 4}
    assert glue.options["fit_kws"]["max_epochs"] == 12
    assert glue.options["fit_kws"]["align_burnin"] == 2
    assert glue.options["skip_balance"]
    np.testing.assert_allclose(z["rna"][:, 0], np.asarray(screen["rna"].X.sum(axis=1)).ravel())
    assert (glue.workers, glue.config.GRAPH_SHUFFLE_NUM_WORKERS) == (0, 1)
    assert not Path(glue.options["fit_kws"]["directory"]).exists()


def test_glue_without_labels(glue: Glue, screen: md.MuData) -> None:
    GlueLearner(use_labels=False).fit(screen)
    for _, options in glue.configured:
        assert options["use_cell_type"] is options["use_dsc_weight"] is None
    assert set(glue.options["fit_kws"]) == {"directory", "data_batch_size"}


def test_the_guidance_graph_has_what_scglue_asks_for(glue: Glue, screen: md.MuData) -> None:
    learner = GlueLearner(n_links=2).fit(screen)
    graph = glue.graph
    names = [
        *(f"rna:{v}" for v in screen["rna"].var_names),
        *(f"protein:{v}" for v in screen["protein"].var_names),
    ]
    assert set(graph.nodes) == set(names)
    assert all(graph.has_edge(name, name) for name in names)
    assert all(graph.has_edge(v, u) for u, v in graph.edges)
    assert all(0 < edge["weight"] <= 1 and edge["sign"] in (-1, 1) for edge in graph.edges.values())
    assert graph.number_of_edges() == len(names) + 2 * learner.evidence["n_links"]
    assert {edge["sign"] for edge in graph.edges.values()} == {-1, 1}


def test_a_graph_by_hand(glue: Glue) -> None:
    graph = guidance_graph(
        {"a": ["x"], "b": ["y", "z"]}, [external.Link(("a", 0), ("b", 1), -0.25)]
    )
    assert dict(graph.edges) == {
        ("x", "x"): {"weight": 1.0, "sign": 1},
        ("y", "y"): {"weight": 1.0, "sign": 1},
        ("z", "z"): {"weight": 1.0, "sign": 1},
        ("x", "z"): {"weight": 0.25, "sign": -1},
        ("z", "x"): {"weight": 0.25, "sign": -1},
    }


def test_weights_make_shared_labels_alike_and_exclusive_ones_nothing(screen: md.MuData) -> None:
    read = Screen.read(screen)
    for m in screen.mod:
        weights, codes = label_weights(read, m), read.codes[m]
        sums = np.array([weights[codes == g].sum() for g in range(read.n_labels)])
        np.testing.assert_allclose(sums, sums[0])
        assert weights.mean() == pytest.approx(1)
        exclusive = (codes < 0) & np.array([label is not None for label in read.labels[m]])
        unknown = np.array([label is None for label in read.labels[m]])
        assert exclusive.any()
        assert (weights[exclusive] == 0).all()
        assert (weights[unknown] > 0).all()


# ----------------------------------------------------------------------------------------------------------- moscot


class Translation:
    """Stand-in for the translation problem of moscot: couples cells of equal label, and by rank of the first coordinate."""

    made: list[Translation] = []  # noqa: RUF012

    def __init__(self, source: Any, target: Any) -> None:
        self.source, self.target = source, target
        self.made.append(self)

    def prepare(self, src_attr: str, tgt_attr: str, *, joint_attr: str | None) -> Translation:
        self.joint = joint_attr
        self.x, self.y = self.source.obsm[src_attr], self.target.obsm[tgt_attr]
        return self

    def solve(self, **options: Any) -> Translation:
        self.options = options
        same = self.source.obsm["label"] @ self.target.obsm["label"].T + 1e-6
        self.plan = same / same.sum()
        self.solutions = {("src", "tgt"): SimpleNamespace(converged=True)}
        return self

    def translate(self, source: str, target: str, *, forward: bool) -> np.ndarray:
        assert (source, target, forward) == ("src", "tgt", True)
        return (self.plan / self.plan.sum(axis=1, keepdims=True)) @ self.y


@pytest.fixture
def moscot(monkeypatch: pytest.MonkeyPatch) -> list[Translation]:
    Translation.made.clear()
    module = SimpleNamespace(TranslationProblem=Translation)
    monkeypatch.setattr(external, "missing", lambda extra: None)
    monkeypatch.setattr(
        external,
        "import_extra",
        lambda name, extra: {"moscot.problems.cross_modality": module}[name],
    )
    return Translation.made


def test_other_modalities_are_projected_into_the_first(
    moscot: list[Translation], screen: md.MuData
) -> None:
    z = MoscotLearner(n_components=4, alpha=0.3, epsilon=0.02).fit_transform(screen)
    (problem,) = moscot
    assert problem.joint == "label"
    assert problem.options == {"alpha": 0.3, "epsilon": 0.02, "rank": -1}
    own = construct("pca", {"n_components": 4}).fit_transform(screen)
    np.testing.assert_allclose(z["rna"], own["rna"], atol=1e-5)
    np.testing.assert_allclose(problem.x, own["protein"], atol=1e-4)
    read = Screen.read(screen)
    for g in range(read.n_labels):  # the stand-in sends cells to the mean of their label
        expected = own["rna"][read.codes["rna"] == g].mean(axis=0)
        sent = z["protein"][read.codes["protein"] == g]
        np.testing.assert_allclose(sent, np.broadcast_to(expected, sent.shape), atol=1e-3)
    unknown = read.codes["protein"] < 0
    assert problem.source.obsm["label"][unknown].sum() == 0


def test_distances_alone_do_not_see_the_labels(
    moscot: list[Translation], screen: md.MuData
) -> None:
    MoscotLearner(alpha=1.0).fit(screen)
    assert moscot[0].joint is None


def test_every_modality_goes_to_the_first(moscot: list[Translation]) -> None:
    mdata = scgroove.simulations.weakly_paired(
        n_labels=3, n_cells_per_label=5, modalities=("a", "b", "c"), n_features=(6, 5, 7)
    )
    learner = MoscotLearner(n_components=3)
    z = learner.fit_transform(mdata)
    assert len(moscot) == 2
    assert all(
        problem.y is moscot[0].y or np.array_equal(problem.y, moscot[0].y) for problem in moscot
    )
    assert {one.shape for one in z.values()} == {(15, 3)}
    assert learner.evidence["converged"] == {"b": True, "c": True}


def test_a_cell_without_a_row_is_put_at_the_mean_of_its_neighbors(
    moscot: list[Translation], screen: md.MuData
) -> None:
    learner = MoscotLearner(n_components=3, n_neighbors=4)
    fitted = learner.fit_transform(screen)
    protein = screen["protein"].copy()
    protein.obs_names = [f"new{i}" for i in range(protein.n_obs)]
    own = construct("pca", {"n_components": 3}).fit_transform(screen)["protein"]
    z = learner.transform(md.MuData({"rna": screen["rna"], "protein": protein}))
    distance = np.linalg.norm(own[:, None] - own[None], axis=2)
    near = np.argsort(distance, axis=1)[:, :4]
    np.testing.assert_allclose(z["protein"], fitted["protein"][near].mean(axis=1), atol=1e-5)
    np.testing.assert_array_equal(z["rna"], fitted["rna"])


def test_a_full_coupling_of_too_many_cells_is_refused(
    moscot: list[Translation], screen: md.MuData
) -> None:
    with pytest.raises(TooLargeError, match=r"full coupling of 2,500 pairs of cells.*rank=100"):
        MoscotLearner(max_memory_gb=1e-6).fit(screen)
    assert MoscotLearner(max_memory_gb=1e-6, rank=5).fit(screen).evidence["converged"] == {
        "protein": True
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alpha": 0.0}, "alpha must be above 0"),
        ({"alpha": 1.5}, "found 1.5"),
        ({"epsilon": 0}, "epsilon must be positive; found 0"),
        ({"rank": 0}, "rank must be -1"),
        ({"n_components": 0}, "n_components must be a whole number"),
    ],
)
def test_moscot_options(moscot: list[Translation], options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MoscotLearner(**options)


# ----------------------------------------------------------------------------------------------------------- DIAGVI


class Module:
    """Stand-in for the network of DIAGVI: z is the sum of the features."""

    def to(self, device: str) -> Module:
        return self

    eval = __enter__ = lambda self: self

    def inference(self, x: Any, mode: str, deterministic: bool) -> dict[str, Any]:
        assert deterministic
        return {"z": x.sum(dim=1, keepdim=True).repeat(1, 2)}


class Diagvi:
    """Stand-in for DIAGVI: notes what it is asked."""

    setup: list[tuple[Any, dict[str, Any]]] = []  # noqa: RUF012
    last: Diagvi

    def __init__(self, adatas: Any, mapping_df: pd.DataFrame, **options: Any) -> None:
        self.adatas, self.mapping, self.options = adatas, mapping_df, options
        self.module, self.forgotten = Module(), []
        self.history = {"training_loss": pd.Series([2.0, 1.0])}
        Diagvi.last = self

    @classmethod
    def setup_anndata(cls, adata: Any, **options: Any) -> None:
        cls.setup.append((adata, options))

    def train(self, max_epochs: int | None, **options: Any) -> None:
        self.max_epochs, self.trained = max_epochs, options

    def deregister_manager(self, adata: Any) -> None:
        self.forgotten.append(adata)


@pytest.fixture
def diagvi(monkeypatch: pytest.MonkeyPatch) -> type[Diagvi]:
    Diagvi.setup.clear()
    monkeypatch.setattr(external, "missing", lambda extra: None)
    monkeypatch.setattr(
        external, "import_extra", lambda name, extra: SimpleNamespace(DIAGVI=Diagvi)
    )
    return Diagvi


def test_diagvi_is_given_labels_and_links_that_go_together(
    diagvi: type[Diagvi], screen: md.MuData
) -> None:
    learner = DiagviLearner(n_latent=2, max_epochs=5)
    z = learner.fit_transform(screen, seed=1)
    (rna, for_rna), (protein, for_protein) = diagvi.setup
    assert (for_rna["likelihood"], for_rna["normalize_lib"]) == ("nb", True)
    assert (for_protein["likelihood"], for_protein["normalize_lib"]) == ("normal", False)
    assert set(rna.obs["label"]) == {"g00", "g01", "g02", "g03", "(unlabeled)"}
    assert for_rna["unlabeled_category"] == "(unlabeled)"
    last = diagvi.last
    assert list(last.mapping.columns) == ["rna", "protein"]
    assert len(last.mapping) == learner.evidence["n_links"] > 0
    assert set(last.mapping["rna"]) <= set(rna.var_names)
    means = {m: a.X.toarray() if sp.issparse(a.X) else a.X for m, a in last.adatas.items()}
    assert means["rna"].max() > 5  # counts as they are
    assert last.forgotten == [rna, protein]
    assert learner.evidence["epochs"] == 2
    np.testing.assert_allclose(
        z["rna"][:, 0], np.asarray(screen["rna"].X.sum(axis=1)).ravel(), rtol=1e-5
    )
    for m, split in last.trained["datasplitter_kwargs"].items():
        train, validation, test = split["external_indexing"]
        assert sorted(np.r_[train, validation].tolist()) == list(range(screen[m].n_obs))
        assert (len(validation), len(test)) == (5, 0)


def test_diagvi_is_for_two_modalities(diagvi: type[Diagvi]) -> None:
    mdata = scgroove.simulations.weakly_paired(
        n_labels=3, n_cells_per_label=5, modalities=("a", "b", "c"), n_features=(6, 5, 7)
    )
    with pytest.raises(
        ValueError, match=r"for two modalities; found \['a', 'b', 'c'\].*modalities=\['a', 'b'\]"
    ):
        DiagviLearner().fit(mdata)
    DiagviLearner(use_labels=False).fit(mdata, modalities=["c", "a"])
    assert {options["labels_key"] for _, options in diagvi.setup} == {None}


def test_what_they_do_to_global_random_states_stays_with_them(
    capsys: pytest.CaptureFixture[str],
) -> None:
    import random

    import torch

    def draws() -> list[float]:
        return [random.random(), np.random.random(), float(torch.rand(1))]  # noqa: NPY002

    random.seed(1), np.random.seed(1), torch.manual_seed(1)  # noqa: NPY002
    expected = draws()
    random.seed(1), np.random.seed(1), torch.manual_seed(1)  # noqa: NPY002
    with external.contained(5):
        print("a progress bar")
        first = draws()
        random.seed(0), np.random.seed(0), torch.manual_seed(0)  # noqa: NPY002
    assert draws() == expected
    with external.contained(5):
        assert draws() == first
    with pytest.raises(ZeroDivisionError), external.contained(5):
        raise ZeroDivisionError
    assert capsys.readouterr().out == ""


# ------------------------------------------------------------------------------------------------- the real packages

REAL: dict[str, dict[str, Any]] = {
    "glue": {"n_latent": 6, "max_epochs": 3},
    "moscot": {"n_components": 5},
    "diagvi": {"n_latent": 6, "max_epochs": 3},
}


@pytest.mark.parametrize("name", EXTERNAL)
def test_the_real_package(name: str) -> None:
    """Same bytes for the same seed, new cells, nothing printed into the data, global random states as they were."""
    if (reason := missing(get(name).extra)) is not None:
        pytest.skip(reason)
    import torch

    mdata = scgroove.simulations.weakly_paired(
        n_labels=5,
        n_cells_per_label=16,
        n_features=(20, 12),
        counts=["rna"],
        exclusive_labels=1,
        unlabeled_fraction=0.1,
    )
    before = {m: (mdata[m].X.copy(), mdata[m].obs.copy()) for m in mdata.mod}
    state = np.random.get_state()[1].copy(), torch.random.get_rng_state()  # noqa: NPY002
    one, other = (construct(name, REAL[name]).fit(mdata, seed=3) for _ in range(2))
    z, again = one.transform(mdata), other.transform(mdata)
    np.testing.assert_array_equal(state[0], np.random.get_state()[1])  # noqa: NPY002
    assert torch.equal(state[1], torch.random.get_rng_state())
    few = one.transform(md.MuData({m: mdata[m][5:25].copy() for m in mdata.mod}))
    for m in mdata.mod:
        assert z[m].tobytes() == again[m].tobytes()
        np.testing.assert_allclose(few[m], z[m][5:25], atol=1e-4)
        assert (abs(mdata[m].X - before[m][0])).max() == 0
        pd.testing.assert_frame_equal(mdata[m].obs, before[m][1])
        assert not mdata[m].uns
        assert "_scvi_uuid" not in mdata[m].uns


def test_real_moscot_matches_labels() -> None:
    if (reason := missing("moscot")) is not None:
        pytest.skip(reason)
    mdata = scgroove.simulations.weakly_paired(
        n_labels=6, n_cells_per_label=15, n_features=(40, 30), n_latent=3, seed=1
    )
    z = MoscotLearner(n_components=8).fit_transform(mdata)
    rows = mdata["protein"].obs_names.get_indexer(mdata["rna"].obs_names)
    labels = {f"labels_{k}": mdata[m].obs["label"] for k, m in (("x", "rna"), ("y", "protein"))}
    assert scgroove.metrics.foscttm(z["rna"], z["protein"], rows, **labels) < 0.4
    assert scgroove.metrics.foscttm(z["rna"], z["protein"], rows) < 0.15
