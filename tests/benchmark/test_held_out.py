"""Metrics that memorized labels would raise are scored on cells that the learner has not seen."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest

from scgroove import metrics
from scgroove.aligners import ExactOT
from scgroove.benchmark import read, run, summarize
from scgroove.benchmark._data import load
from scgroove.benchmark._findings import by_construction
from scgroove.benchmark._score import (
    N_FOLDS,
    folds_of,
    score_coupling,
    score_held_out,
    score_representation,
)
from scgroove.benchmark.spec import Spec
from scgroove.errors import ResultsError, SpecError
from scgroove.learners import LEARNERS, Learner

DATA = {
    "scenario": "reference",
    "name": "small",
    "parameters": {"n_labels": 4, "n_cells_per_label": 12, "n_features": [12, 9]},
}
ACROSS = [name for name in metrics.METRICS.names() if metrics.METRICS.get(name).across_labels]
OF_COUPLINGS = [
    "label_mass", "effect_pearson", "energy_distance", "coupling_foscttm_global", "coupling_foscttm_within_label",
]  # fmt: skip
OF_SPACES = [name for name in ACROSS if metrics.METRICS.get(name).kind == "representation"]


@LEARNERS.register("test_by_heart")
@dataclass
class ByHeart(Learner):
    """Knows the label of every cell that it was fitted on, and nothing of others."""

    name: ClassVar[str] = "test_by_heart"
    handed: ClassVar[list] = []

    def _fit(self, screen, seed):
        names = {m: screen.mdata.mod[m].obs_names for m in screen.modalities}
        self.known = {m: dict(zip(names[m], screen.codes[m], strict=True)) for m in names}
        self.n_labels = screen.n_labels

    def _transform(self, mdata):
        type(self).handed.append({m: set(a.obs["label"].dropna()) for m, a in mdata.mod.items()})
        rng = np.random.default_rng(0)
        found = {}
        for m, adata in mdata.mod.items():
            codes = np.array([self.known[m].get(name, -1) for name in adata.obs_names])
            found[m] = 9.0 * (codes[:, None] == np.arange(self.n_labels))
            found[m] += rng.normal(size=found[m].shape)
        return found


@LEARNERS.register("test_fitted_cells_only")
@dataclass
class FittedCellsOnly(ByHeart):
    """Says that it has no place for cells that it was not fitted on."""

    name: ClassVar[str] = "test_fitted_cells_only"
    embeds_new: ClassVar[bool] = False


@pytest.fixture(scope="module")
def grid(tmp_path_factory):
    spec = {
        "data": [{**DATA, "control": "g00"}],
        "learners": ["test_by_heart", "test_fitted_cells_only", "random", "cca_labels"],
        "aligners": ["eot", "eot unlabeled"],
        "seeds": 1,
        "null": 2,
        "metrics": [*OF_SPACES, "foscttm_within_label", *OF_COUPLINGS],
    }
    folder = tmp_path_factory.mktemp("grid") / "out"
    return run(spec, folder, progress=False), folder


def test_labels_known_by_heart_raise_no_score(grid):
    rows = grid[0].query("learner == 'test_by_heart' and status == 'done' and metric in @ACROSS")
    assert set(OF_SPACES) | {"label_mass", "coupling_foscttm_global"} <= set(rows["metric"])
    z = (rows["value"] - rows["chance"]) / rows["chance_sd"]
    assert z.abs().max() < 4
    assert z.abs().mean() < 1.2


def test_labels_that_features_tell_are_found_in_cells_that_were_not_trained_on(grid):
    rows = grid[0].query(
        "learner == 'cca_labels' and metric in ['label_transfer_balanced', 'label_mass']"
    )
    assert (rows.loc[rows["status"] == "done", "value"] > 0.6).all()


def test_chance_depends_on_the_data_alone(grid):
    rows = grid[0].query("aligner == '' and status == 'done' and metric in @OF_SPACES")
    assert (rows.groupby(["seed", "metric"])["chance"].nunique() == 1).all()


def test_labels_of_the_cells_that_are_placed_are_not_handed_out(grid):
    assert {"rna": set(), "protein": set()} in ByHeart.handed


def test_a_learner_that_cannot_place_new_cells_has_no_score_of_labels(grid):
    rows = grid[0].query("learner == 'test_fitted_cells_only' and metric in @OF_SPACES")
    assert set(rows["status"]) == {"skipped"}
    assert rows["error"].str.contains("cannot embed cells that it was not fitted on").all()
    inside = grid[0].query(
        "learner == 'test_fitted_cells_only' and metric == 'foscttm_within_label'"
    )
    assert set(inside["status"]) == {"done"}


def test_what_a_coupling_was_told_is_marked_and_has_no_value(grid):
    rows = grid[0].query("learner == 'random' and aligner == 'eot'").groupby("metric").first()
    certain = rows.loc[
        ["label_mass", "effect_pearson", "energy_distance", "coupling_foscttm_global"]
    ]
    assert set(certain["status"]) == {"by construction"}
    assert certain["value"].isna().all()
    assert rows.loc["coupling_foscttm_within_label", "status"] == "done"
    without = grid[0].query("aligner == 'eot unlabeled' and metric == 'label_mass'")
    assert without.loc[without["learner"] != "test_fitted_cells_only", "value"].notna().all()
    told = grid[0][grid[0]["aligner"] != "eot unlabeled"]
    with pytest.raises(
        ValueError, match=r"'label_mass' is fixed by construction .*'eot unlabeled'"
    ):
        summarize(told, "label_mass")


def test_no_metric_of_noise_is_perfect(grid):
    rows = grid[0].query("learner == 'random' and perfect == 1")
    assert (rows["value"].dropna() < 0.999).all()


def test_numbers_of_permuted_labels_stand_beside_every_score(grid):
    results, folder = grid
    permuted = read(folder, permuted=True)
    assert set(permuted["permutation"]) == {1, 2}
    assert set(permuted["seed"]) == {0}
    done = results[results["status"] == "done"]
    assert (done["n_null"] == 2).all()
    own = permuted.query(
        "learner == 'cca_labels' and metric == 'label_transfer' and status == 'done'"
    )["value"]
    beside = done.query("learner == 'cca_labels' and metric == 'label_transfer'")
    assert beside["null"].tolist() == pytest.approx([own.mean()])
    assert beside["null_sd"].tolist() == pytest.approx([own.std()])
    table = summarize(results, "label_transfer").set_index("learner")
    assert table.loc["cca_labels", "null"] == pytest.approx(own.mean())
    assert table.loc["cca_labels", "mean"] > table.loc["cca_labels", "null"] + 0.3


def test_the_report_names_what_is_by_construction(grid):
    (note,) = by_construction(grid[0])
    assert note.text.startswith("By construction, and hence without a value: ")
    assert "label mass" in note.text
    assert by_construction(grid[0].query("aligner == ''")) == []


def test_permuted_labels_stay_with_their_pairs_and_leave_their_measurements():
    loaded = load(Spec.from_dict({"data": [DATA], "learners": ["random"]}).data[0], 0)
    permuted = loaded.permuted(1)
    assert permuted.labels is loaded.labels
    for m in (loaded.source, loaded.target):
        before, after = np.asarray(loaded.hidden.mod[m].X), np.asarray(permuted.hidden.mod[m].X)
        assert not np.array_equal(before, after)
        np.testing.assert_array_equal(np.sort(before[:, 0]), np.sort(after[:, 0]))
        np.testing.assert_array_equal(after, permuted.full.mod[m].X)
        assert (
            permuted.hidden.mod[m].obs["label"].tolist()
            == loaded.hidden.mod[m].obs["label"].tolist()
        )
        assert permuted.full.mod[m].obs_names.equals(loaded.full.mod[m].obs_names)
    assert loaded.permuted(0) is loaded


def test_folds_deal_out_labels_and_keep_pairs_together():
    loaded = load(Spec.from_dict({"data": [DATA], "learners": ["random"]}).data[0], 0)
    folds = folds_of(loaded, 3)
    source, target = folds[loaded.source], folds[loaded.target]
    np.testing.assert_array_equal(source, target[loaded.partner])
    for label in set(loaded.labels[0]):
        assert np.bincount(source[loaded.labels[0] == label], minlength=N_FOLDS).tolist() == [
            4,
            4,
            4,
        ]


@pytest.mark.parametrize("null", [-1, True, 2.5, "all"])
def test_a_number_of_permutations_that_is_none(null):
    with pytest.raises(SpecError, match="null, how often the grid is repeated on permuted labels"):
        Spec.from_dict({"data": ["reference"], "learners": ["random"], "null": null})


def test_results_of_scores_on_training_cells_are_not_read(grid, tmp_path):
    (tmp_path / "run.json").write_text(
        '{"format": 1, "versions": {"scgroove": "0.1.0"}, "spec": {}}'
    )
    with pytest.raises(ResultsError, match="holds results in format 1"):
        read(tmp_path)


def test_a_cell_does_not_tell_the_label_of_its_own_other_modality():
    """The same cells lie at the same place, and labels say nothing of it: over seeds every score is at chance."""
    names, found = ["label_transfer", "label_transfer_balanced", "label_mass"], []
    for seed in range(4):
        loaded = load(Spec.from_dict({"data": [DATA], "learners": ["random"]}).data[0], seed)
        place = np.random.default_rng(seed).normal(size=(loaded.partner.size, 3)).astype(np.float32)
        of_target = np.empty_like(place)
        of_target[loaded.partner] = place
        spaces = [{loaded.source: place, loaded.target: of_target}] * N_FOLDS
        rows = score_held_out(loaded, spaces, names, seed, of_space)
        rows += score_held_out(loaded, spaces, names, seed, of_coupling)
        found.append([(row["value"] - row["chance"]) / row["chance_sd"] for row in rows])
    assert len(rows) == 3
    mean = np.mean(found, axis=0)
    assert (np.abs(mean) < 2 / np.sqrt(4)).all()


def of_space(part, spaces, names):
    return score_representation(part, spaces, names, 0)


def of_coupling(part, spaces, names):
    coupling = ExactOT().align(spaces[part.source], spaces[part.target])
    return score_coupling(part, spaces, coupling, names, 0)


def test_pairs_are_still_the_truth_of_what_is_told_by_pairs():
    loaded = load(Spec.from_dict({"data": [DATA], "learners": ["random"]}).data[0], 0)
    place = np.random.default_rng(0).normal(size=(loaded.partner.size, 3)).astype(np.float32)
    of_target = np.empty_like(place)
    of_target[loaded.partner] = place
    spaces = [{loaded.source: place, loaded.target: of_target}] * N_FOLDS
    rows = score_held_out(loaded, spaces, ["foscttm_global", "label_transfer"], 0, of_space)
    assert rows[0]["metric"] == "foscttm_global"
    assert rows[0]["value"] == 0
    assert rows[0]["n"] == loaded.partner.size
