import numpy as np
import pytest

from scgroove import benchmark, pl
from scgroove.benchmark import FACTORS, DataSpec, LearnerSpec
from scgroove.simulations import Scenario

BASE = DataSpec("base", "reference", {"n_labels": 4, "n_cells_per_label": 8, "n_features": [12, 9]})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("sensitivity")


@pytest.fixture(scope="module")
def results(folder):
    return benchmark.sensitivity(
        folder,
        factors={"n_latent": (2, 4), "n_cells_per_label": (6, 8)},
        learner=LearnerSpec("supcon", options={"max_epochs": 2}),
        baselines=["pca_procrustes"],
        aligner="uniform",
        data=BASE,
        seeds=2,
        progress=False,
    )


def test_each_factor_has_its_levels_and_all_else_is_as_in_the_base(results):
    points = results.groupby("factor")["level"].unique()
    assert {name: sorted(levels) for name, levels in points.items()} == {
        "n_latent": [2, 4],
        "n_cells_per_label": [6, 8],
    }
    assert set(results["learner"]) == {"supcon", "pca_procrustes"}
    studied = results[results["learner"] == "supcon"]
    latent = studied[studied["factor"] == "n_latent"]
    assert (latent["learner.n_latent"] == latent["level"]).all()
    assert (latent["n_cells_per_label"] == 8).all()
    cells = studied[studied["factor"] == "n_cells_per_label"]
    assert (cells["n_cells_per_label"] == cells["level"]).all()
    assert (cells["n_labels"] == 4).all()


def test_a_row_is_there_once_for_each_seed(results):
    keys = ["factor", "level", "learner", "aligner", "seed", "metric"]
    assert not results.duplicated(keys).any()
    n = (
        results[results["metric"] == "foscttm_within_label"]
        .groupby(["factor", "level", "learner"])
        .size()
    )
    assert (n == 2).all()
    assert len(n) == 8


def test_the_folder_holds_the_points_of_all_factors(results, folder):
    kept = benchmark.read(folder)
    assert set(kept["data"]) == {"base", "base, n_cells_per_label 6", "base, n_cells_per_label 8"}
    assert {"supcon", "supcon, n_latent 2", "supcon, n_latent 4"} <= set(kept["learner"])
    cells = kept[["data", "learner", "aligner", "seed"]].drop_duplicates()
    assert (
        len(cells) == (3 + 2 * 2) * 2 * 2
    )  # options and baseline; two screens of two learners; coupled or not; seeds


def test_baselines_do_not_change_along_factors_of_the_learner(results):
    line = results.query(
        "factor == 'n_latent' and learner == 'pca_procrustes' and metric == 'foscttm_within_label'"
    )
    assert line.groupby("seed")["value"].nunique().eq(1).all()


def test_figure_has_a_panel_for_each_factor(results):
    figure = pl.benchmark_sensitivity(results, "foscttm_within_label", return_fig=True)
    panels = [ax for ax in figure.axes if ax.get_xlabel()]
    assert [ax.get_xlabel() for ax in panels] == ["n latent", "n cells per label"]
    assert len({ax.get_ylim() for ax in panels}) == 1
    drawn = {line.get_label(): line.get_xydata() for line in panels[0].get_lines()}
    expected = results.query(
        "factor == 'n_latent' and learner == 'supcon' and metric == 'foscttm_within_label'"
    )
    np.testing.assert_allclose(drawn["supcon"][:, 1], expected.groupby("level")["value"].mean())


def test_mistakes(tmp_path, results):
    with pytest.raises(
        ValueError, match=r"unknown factor 'temprature'\. Did you mean 'temperature'"
    ):
        benchmark.sensitivity(tmp_path / "x", factors=["temprature"])
    assert not (tmp_path / "x").exists()
    with pytest.raises(ValueError, match=r"must be what scgroove.benchmark.sensitivity returns"):
        pl.benchmark_sensitivity(results.drop(columns="level"), "foscttm_within_label")
    assert {factor.of for factor in FACTORS.values()} == {"learner", "data"}


@pytest.mark.parametrize("name", FACTORS)
def test_every_level_can_be_taken(name):
    factor = FACTORS[name]
    for level in factor.levels:
        value = factor.value(level)
        if factor.of == "learner":
            assert (
                getattr(
                    LearnerSpec("groove", options={factor.option: value}).build(), factor.option
                )
                == value
            )
        else:
            assert getattr(Scenario(**{factor.option: value}), factor.option) == value
    assert len(factor.levels) == len(factor.names or factor.levels)


def test_levels_are_whole_numbers_or_names_where_options_are():
    assert (FACTORS["encoder"].value(1), FACTORS["encoder"].text(1)) == ("mlp", "mlp")
    assert isinstance(FACTORS["batch_size"].value(64.0), int)
    assert isinstance(FACTORS["rho"].value(1), float)
    assert FACTORS["rho"].text(1.0) == "1"


def test_figure_writes_names_of_levels(results):
    named = results[results["factor"] == "n_latent"].assign(factor="encoder")
    named["level"] = named["level"].map({2.0: 0.0, 4.0: 1.0})
    figure = pl.benchmark_sensitivity(named, "foscttm_within_label", return_fig=True)
    assert [tick.get_text() for tick in figure.axes[0].get_xticklabels()] == ["linear", "mlp"]
