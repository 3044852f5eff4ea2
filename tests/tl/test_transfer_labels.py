"""tl.transfer_labels: votes and probabilities by hand, calibration on a simulated screen, what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import mudata as md
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import scgroove as sg
from scgroove.errors import TooLargeError
from scgroove.metrics import expected_calibration_error
from scgroove.metrics.calibration import reliability
from scgroove.tl._label_votes import Calibration, Votes, nearest_votes

State = Callable[[md.MuData], dict[str, Any]]
KEY = "transferred_label"


# -- votes by hand ---------------------------------------------------------------------------------------------


def test_votes_by_hand() -> None:
    voters = np.array([[0.0], [1.0], [2.0], [3.0], [9.0]])
    codes = np.array([0, 1, 0, 1, 1])  # weights: 1/2 and 1/3
    votes = nearest_votes(np.array([[0.1], [2.9]]), voters, codes, 2, 3, np.array([-1, -1]))
    assert votes.codes.tolist() == [[0, 1, 0], [1, 0, 1]]
    np.testing.assert_allclose(votes.share[0], [0.75, 0.25, 0.75])  # 1 : 1/3
    np.testing.assert_allclose(votes.share[1], [4 / 7, 3 / 7, 4 / 7])  # 2/3 : 1/2
    assert votes.label.tolist() == [0, 1]
    np.testing.assert_allclose(votes.share_of(np.array([1, 1])), [0.25, 4 / 7])


def test_a_cell_does_not_vote_for_itself() -> None:
    voters, codes = np.array([[0.0], [1.0], [5.0]]), np.array([0, 1, 1])
    votes = nearest_votes(voters, voters, codes, 2, 1, np.array([0, 1, -1]))
    assert votes.codes.tolist() == [[1], [0], [1]]
    everyone = nearest_votes(voters, voters, codes, 2, 50, np.array([0, 1, 2]))
    assert everyone.codes.shape == (3, 2)
    assert everyone.codes.tolist() == [[1, 1], [0, 1], [1, 0]]


def test_equal_votes_go_to_the_nearest_and_rare_labels_weigh_the_same() -> None:
    votes = Votes.count(np.array([[2, 1], [1, 2]]), np.ones(3))
    assert votes.label.tolist() == [2, 1]
    rare = Votes.count(np.array([[0, 0, 1]]), np.array([1 / 100, 1 / 10]))
    assert rare.label.tolist() == [1]


def test_probabilities_by_hand() -> None:
    votes = Votes.count(np.array([[0, 0, 1]]), np.ones(4))  # shares 2/3, 1/3, 0, 0
    np.testing.assert_allclose(
        Calibration().probabilities(votes), [[2 / 3, 1 / 3, 0, 0]], rtol=1e-6
    )
    found = Calibration(temperature=0.5, pseudovote=1 / 3).probabilities(votes)
    np.testing.assert_allclose(
        found, [[9 / 15, 4 / 15, 1 / 15, 1 / 15]], rtol=1e-6
    )  # (3, 2, 1, 1) squared
    assert Calibration(0.5, 1 / 3).confidence(votes) == pytest.approx(9 / 15)


@given(
    codes=hnp.arrays(
        np.intp, st.tuples(st.integers(1, 6), st.integers(1, 7)), elements=st.integers(0, 4)
    ),
    temperature=st.floats(0.1, 10),
    pseudovote=st.floats(0, 10),
)
@settings(max_examples=60, deadline=None)
def test_probabilities_are_probabilities_and_keep_the_winner(
    codes: Any, temperature: float, pseudovote: float
) -> None:
    votes = Votes.count(codes, np.array([0.5, 1.0, 0.1, 0.3, 1.0]))
    calibration = Calibration(temperature, pseudovote)
    table = calibration.probabilities(votes)
    np.testing.assert_allclose(table.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(
        table[np.arange(len(table)), votes.label], table.max(axis=1), rtol=1e-6
    )
    np.testing.assert_allclose(calibration.confidence(votes), table.max(axis=1), rtol=1e-5)


def test_the_fit_finds_the_calibration_that_labels_were_drawn_with() -> None:
    rng = np.random.default_rng(0)
    votes = Votes.count(
        rng.choice(6, size=(4000, 9), p=[0.4, 0.3, 0.1, 0.1, 0.05, 0.05]), np.ones(6)
    )
    made = Calibration(temperature=0.6, pseudovote=0.05)
    table = made.probabilities(votes).astype(float)
    truth = (rng.random(4000)[:, None] > table.cumsum(axis=1)).sum(axis=1)
    found = Calibration.fit(votes, truth)
    assert found.temperature == pytest.approx(0.6, abs=0.1)
    assert found.pseudovote == pytest.approx(0.05, abs=0.02)


def test_reliability_and_its_error_by_hand() -> None:
    confidence, correct = [0.1, 0.14, 0.95, 1.0], [False, True, True, True]
    found = reliability(confidence, correct)
    np.testing.assert_allclose(found.confidence, [0.12, 0.975])
    np.testing.assert_allclose(found.accuracy, [0.5, 1.0])
    assert found.n.tolist() == [2, 2]
    assert expected_calibration_error(confidence, correct) == pytest.approx((0.38 + 0.025) / 2)
    with pytest.raises(ValueError, match=r"found shapes \(1,\) and \(2,\)"):
        expected_calibration_error([0.5], [True, False])
    with pytest.raises(ValueError, match=r"between 0 and 1; found 0.5 to 1.5"):
        reliability([0.5, 1.5], [True, False])
    with pytest.raises(ValueError, match="n_bins must be a whole number of at least 1"):
        reliability([0.5], [True], n_bins=0)


# -- a simulated screen ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained() -> tuple[md.MuData, md.MuData, sg.model.GROOVE]:
    """A screen, new cells of it, and a model that knows the labels of its training cells by heart."""
    whole = sg.simulations.weakly_paired(10, 160, rho=1.0, effect=1.0, co_assayed=False, seed=2)
    rng = np.random.default_rng(0)
    parts: list[dict[str, AnnData]] = [{}, {}]
    for m, adata in whole.mod.items():
        for part, rows in zip(parts, np.split(rng.permutation(adata.n_obs), 2), strict=True):
            part[m] = adata[np.sort(rows)].copy()
    screen, query = map(md.MuData, parts)
    sg.model.GROOVE.setup_mudata(screen, "label")
    model = sg.model.GROOVE(screen, 8, encoder="mlp", hidden=(64,), dropout=0.0)
    model.train(
        max_epochs=40,
        train_size=0.7,
        n_cells_per_label=16,
        accelerator="cpu",
        enable_progress_bar=False,
    )
    for mdata in (screen, query):
        sg.tl.embed(mdata, model)
    return screen, query, model


def new(query: md.MuData, modality: str = "rna") -> tuple[AnnData, np.ndarray]:
    """New cells of one modality without their labels, and the labels."""
    adata = query[modality].copy()
    return adata, np.asarray(adata.obs.pop("label").astype(str))


PAIRS = [("rna", "protein"), ("protein", "rna"), ("rna", "rna")]


def error_of(adata: AnnData, truth: np.ndarray, key: str) -> float:
    right = np.asarray(adata.obs[key].astype(str)) == truth
    return expected_calibration_error(adata.obs[f"{key}_confidence"], right)


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_new_cells_get_labels_with_a_confidence_that_is_true(
    trained: Any, source: str, target: str
) -> None:
    screen, query, model = trained
    adata, truth = new(query, source)
    sg.tl.transfer_labels(adata, source, target, reference=screen, model=model)
    right = np.asarray(adata.obs[KEY].astype(str)) == truth
    assert right.mean() > 0.6  # chance is 0.1
    made = adata.uns[KEY]
    assert made["calibrated"]
    assert made["held_out"]
    assert (
        made["n_calibration_cells"]
        == made["bin_cells"].sum()
        == len(model.validation_indices[source])
    )
    assert made["accuracy"] == pytest.approx(right.mean(), abs=0.1)
    assert error_of(adata, truth, KEY) < 0.06
    if target != source:  # without labels of the source there is nothing to calibrate on
        rest = md.MuData({target: screen[target]})
        with pytest.warns(UserWarning, match="not calibrated"):
            sg.tl.transfer_labels(adata, source, target, reference=rest, key_added="votes")
        assert (adata.obs["votes"].astype(str) == adata.obs[KEY].astype(str)).all()
        assert error_of(adata, truth, KEY) < 0.7 * error_of(adata, truth, "votes")


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_cells_that_a_model_learned_by_heart_make_new_ones_look_too_sure(
    trained: Any, source: str, target: str
) -> None:
    screen, query, model = trained
    adata, truth = new(query, source)
    sg.tl.transfer_labels(adata, source, target, reference=screen)
    assert adata.uns[KEY]["calibrated"]
    assert not adata.uns[KEY]["held_out"]
    assert adata.uns[KEY]["ece"] < 0.05  # of cells like those calibrated on
    assert error_of(adata, truth, KEY) > 0.08
    sg.tl.transfer_labels(
        adata, source, target, reference=screen, model=model, key_added="held_out"
    )
    assert error_of(adata, truth, "held_out") < 0.06


def test_calibration_on_labeled_cells_of_the_query(trained: Any) -> None:
    screen, query, _ = trained
    adata = query["rna"].copy()
    adata.obs["label"] = adata.obs["label"].where(np.arange(adata.n_obs) % 2 == 0)
    sg.tl.transfer_labels(adata, "rna", "protein", reference=screen, calibrate_on="query")
    assert adata.uns[KEY]["calibrated_on"] == "query"
    assert adata.uns[KEY]["n_calibration_cells"] == 400
    assert adata.obs[KEY].notna().all()


def test_cells_without_a_label_among_labeled_ones(trained: Any) -> None:
    screen, *_ = trained
    mdata = screen.copy()
    hidden = np.arange(800) % 4 == 0
    truth = np.asarray(mdata["rna"].obs["label"].astype(str))
    mdata["rna"].obs["label"] = mdata["rna"].obs["label"].where(~hidden)
    sg.tl.transfer_labels(mdata, "rna")
    made = mdata["rna"].uns[KEY]
    assert (made["n_voters"], made["n_calibration_cells"], made["target"]) == (600, 600, "rna")
    right = np.asarray(mdata["rna"].obs[KEY].astype(str)) == truth
    assert right[hidden].mean() > 0.6
    assert right[~hidden].mean() < 0.99  # they do not vote for themselves


def test_co_assayed_cells_do_not_vote_for_their_twins() -> None:
    mdata = sg.simulations.weakly_paired(4, 20, n_features=(9, 7), seed=1)
    rng = np.random.default_rng(0)
    points = pd.DataFrame(
        rng.normal(size=(80, 3)), index=mdata["rna"].obs_names
    )  # no signal but the pairing
    for adata in mdata.mod.values():
        adata.obsm["X_groove"] = points.loc[adata.obs_names].to_numpy()
    sg.tl.transfer_labels(mdata, "rna", "protein", n_neighbors=1)
    right = mdata["rna"].obs[KEY].astype(str) == mdata["rna"].obs["label"].astype(str)
    assert right.mean() < 0.5


def test_round_trip_and_what_stands_where(trained: Any, tmp_path: Path) -> None:
    screen, query, _ = trained
    mdata = query.copy()
    sg.tl.transfer_labels(mdata, "rna", "protein", reference=screen)
    mdata.write(tmp_path / "q.h5mu")
    for data in (mdata, md.read(tmp_path / "q.h5mu")):
        adata = data["rna"]
        names, table = adata.uns[KEY]["labels"], adata.obsm[f"{KEY}_probabilities"]
        assert table.shape == (800, 10)
        assert table.dtype == np.float32
        np.testing.assert_allclose(table.sum(axis=1), 1, atol=1e-5)
        confidence = adata.obs[f"{KEY}_confidence"].to_numpy()
        np.testing.assert_allclose(table.max(axis=1), confidence, rtol=1e-5)
        best = np.asarray(names, dtype=object)[table.argmax(axis=1)]
        assert (best == np.asarray(adata.obs[KEY].astype(str))).all()
        assert bool(adata.uns[KEY]["calibrated"])


def test_results_of_an_earlier_call_are_replaced(trained: Any) -> None:
    screen, query, _ = trained
    adata, _ = new(query)
    sg.tl.transfer_labels(adata, "rna", reference=screen)
    sg.tl.transfer_labels(adata, "rna", reference=screen, probabilities=False)
    assert f"{KEY}_probabilities" not in adata.obsm
    assert adata.obs[KEY].notna().all()


def test_the_same_seed_gives_the_same_bytes(trained: Any) -> None:
    screen, query, _ = trained
    tables = []
    for _ in range(2):
        adata, _ = new(query)
        sg.tl.transfer_labels(adata, "rna", "protein", reference=screen, seed=3)
        tables.append((adata.obsm[f"{KEY}_probabilities"].tobytes(), adata.uns[KEY]["ece"]))
    assert tables[0] == tables[1]


def test_many_cells_are_calibrated_on_a_sample(
    trained: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from scgroove.tl import _transfer_labels

    screen, query, _ = trained
    monkeypatch.setattr(_transfer_labels, "MOST_CELLS", 100)
    adata, _ = new(query)
    sg.tl.transfer_labels(adata, "rna", "protein", reference=screen)
    assert adata.uns[KEY]["n_calibration_cells"] == 100


# -- nothing to calibrate on -----------------------------------------------------------------------------------


def test_without_labeled_cells_of_the_source_votes_stay_votes(trained: Any) -> None:
    screen, query, _ = trained
    adata, _ = new(query)
    with pytest.warns(
        UserWarning,
        match=r"shares of votes, not calibrated: calibration needs 50 cells of 'rna'.*calibrate_on='query'",
    ):
        sg.tl.transfer_labels(
            adata, "rna", "protein", reference=md.MuData({"protein": screen["protein"]})
        )
    made = adata.uns[KEY]
    assert not made["calibrated"]
    assert "ece" not in made
    votes = adata.obsm[f"{KEY}_probabilities"] * 15
    assert (votes == 0).any()


# -- what is refused -------------------------------------------------------------------------------------------


def no_labels(mdata: md.MuData) -> None:
    mdata["protein"].obs["label"] = None


def one_label(mdata: md.MuData) -> None:
    mdata["protein"].obs["label"] = "g00"


def other_space(mdata: md.MuData) -> None:
    mdata["protein"].obsm["X_groove"] = mdata["protein"].obsm["X_groove"][:, :2]


def no_space(mdata: md.MuData) -> None:
    del mdata["protein"].obsm["X_groove"]


def same_names(mdata: md.MuData) -> None:
    mdata["protein"].obs_names = ["c"] * mdata["protein"].n_obs


@pytest.mark.parametrize(
    ("change", "kwargs", "message"),
    [
        (
            no_labels,
            {},
            r"no labels to transfer: the 48 cells of 'protein' have 0 label\(s\) in obs\['label'\].*reference=",
        ),
        (one_label, {}, r"have 1 label\(s\)"),
        (other_space, {}, "do not lie in one space: 3 dimensions of the cells to label, 2 of"),
        (no_space, {}, r"no 'X_groove' in mdata.mod\['protein'\].obsm.*scgroove.tl.embed"),
        (same_names, {}, r"'protein'.*obs_names are not unique"),
        (None, {"label_key": "labels"}, "Label column 'labels' not found.*Did you mean 'label'"),
        (None, {"source": "atac"}, "source='atac': mdata has no such modality"),
        (None, {"target": "proteins"}, "target='proteins'.*Did you mean 'protein'"),
        (None, {"metric": "dot"}, r"metric must be "),
        (None, {"calibrate_on": "both"}, "calibrate_on must be "),
        (None, {"n_neighbors": 0}, "n_neighbors must be "),
    ],
)
def test_refusals_change_nothing(
    screen: Callable[..., md.MuData],
    state: State,
    change: Any,
    kwargs: dict[str, Any],
    message: str,
) -> None:
    mdata = screen()
    if change is not None:
        change(mdata)
    before = state(mdata)
    with pytest.raises(ValueError, match=message):
        sg.tl.transfer_labels(mdata, **{"source": "rna", "target": "protein", **kwargs})
    assert state(mdata) == before


def test_refusals_about_models_and_memory(
    trained: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen, query, model = trained
    adata, _ = new(query)
    columns = list(adata.obs)
    with pytest.raises(ValueError, match="calibrate_on='query' takes none of them"):
        sg.tl.transfer_labels(adata, "rna", reference=screen, model=model, calibrate_on="query")
    monkeypatch.setattr("scgroove.tl._transfer_labels.MOST_GB", 1e-6)
    with pytest.raises(TooLargeError, match="probabilities=False keeps the label"):
        sg.tl.transfer_labels(adata, "rna", reference=screen)
    monkeypatch.undo()
    with pytest.raises(TypeError, match="expected a MuData, found ndarray"):
        sg.tl.transfer_labels(np.zeros((2, 2)), "rna", reference=screen)  # type: ignore[arg-type]
    untrained = sg.model.GROOVE(screen, 8)
    model.save(tmp_path / "m")
    elsewhere = sg.model.GROOVE.load(tmp_path / "m", adata=query[:300].copy(), accelerator="cpu")
    nowhere = sg.model.GROOVE.load(tmp_path / "m", adata=False, accelerator="cpu")
    for other in (untrained, elsewhere, nowhere):
        with pytest.raises(
            ValueError, match=r"held out of its training.*GROOVE.load\(path, mdata\)"
        ):
            sg.tl.transfer_labels(adata, "rna", reference=screen, model=other)
    assert list(adata.obs) == columns
