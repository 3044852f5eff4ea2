"""Whether labels are told better than by chance: hand-computed cases, uniform p values, both directions."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest, kstest

from scgroove.metrics import (
    label_mean_test,
    label_test,
    label_verdict,
    partner_test,
)
from scgroove.metrics.neighbors import neighbor_labels
from scgroove.metrics.permutation_tests import LabelTest


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_small_cases_take_all_permutations_and_are_computed_by_hand() -> None:
    found = label_test(["a", "a", "b"], ["a", "a", "b"])
    # of the 6 orders of (a, a, b), those 2 that keep b last are as accurate
    assert found.p_value == pytest.approx(1 / 3)
    assert (found.accuracy, found.n_cells, found.n_labels) == (pytest.approx(1), 3, 2)
    # told a: right for a true a, which then counts 1/4: 2/3 of two cells; told b: 1/2, of a share of 1/3
    assert found.chance == pytest.approx(2 * (2 / 3) / 4 + (1 / 3) / 2)


def test_two_of_ten_cells_are_no_verdict() -> None:
    found = label_test(list("abdcfehgji"), list("abcdefghij"))
    assert found.accuracy == pytest.approx(0.2)
    assert found.chance == pytest.approx(0.1)
    assert found.p_value > 0.05
    assert label_verdict([found, found]) == "cannot tell"


def test_interval_is_that_of_clopper_and_pearson_where_labels_are_equally_frequent() -> None:
    truth = np.repeat(["a", "b"], 20)
    told = np.where(np.arange(40) % 4 == 0, "neither", truth)
    found = label_test(told, truth)
    expected = binomtest(30, 40).proportion_ci(method="exact")
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    uneven = np.repeat(["a", "b"], [40, 4])
    rare = label_test(np.where(np.arange(44) % 4 == 0, "neither", uneven), uneven)
    assert rare.high - rare.low > found.high - found.low  # rests on the 4 cells of b


def test_labels_that_were_told_at_random_have_uniform_p_values(rng: np.random.Generator) -> None:
    shares = [0.6, 0.3, 0.1]
    p_values = []
    for seed in range(150):
        told, true = (rng.choice(["a", "b", "c"], 60, p=shares) for _ in range(2))
        p_values.append(label_test(told, true, n_permutations=199, seed=seed).p_value)
    assert kstest(p_values, "uniform").pvalue > 0.001
    assert np.mean(np.array(p_values) <= 0.05) < 0.12


def test_unlabeled_cells_are_left_out_and_cells_told_nothing_are_wrong() -> None:
    found = label_test(["a", "b", None, "a"], ["a", "b", "b", None])
    assert (found.n_cells, found.accuracy) == (3, pytest.approx(0.75))
    with pytest.raises(ValueError, match="true label"):
        label_test(["a"], [None])
    with pytest.raises(ValueError, match="same cells"):
        label_test(["a"], ["a", "b"])


def one(p_value: float, n_cells: int = 100, n_labels: int = 5) -> LabelTest:
    return LabelTest(0.5, 0.4, 0.6, 0.2, 0.05, p_value, n_cells, n_labels)


@pytest.mark.parametrize(
    ("tests", "expected"),
    [
        ([one(0.01), one(0.04)], "better than chance"),
        ([one(0.001), one(0.2)], "not shown"),
        ([one(0.001), one(0.001, n_cells=19)], "cannot tell"),
        ([one(1.0, n_labels=1), one(1.0, n_labels=1)], "cannot tell"),
        ([], "cannot tell"),
    ],
)
def test_both_directions_must_pass_with_enough_cells(tests: list[LabelTest], expected: str) -> None:
    assert label_verdict(tests) == expected


def test_noise_learned_by_heart_passes_in_one_direction_only(rng: np.random.Generator) -> None:
    labels = np.repeat(["a", "b"], 100)
    place = {"a": 0.0, "b": 10.0}
    good = np.array([[place[la]] for la in labels]) + rng.normal(size=(200, 1))
    by_heart = good.copy()  # cells of training lie where their label lies, new ones anywhere
    new, new_labels = rng.uniform(-5, 15, size=(40, 1)), rng.choice(["a", "b"], 40)
    forward = label_test(neighbor_labels(good[::5], by_heart, labels), labels[::5])
    backward = label_test(neighbor_labels(new, good, labels), new_labels)
    assert forward.p_value < 0.01
    assert label_verdict([forward, backward]) == "not shown"


def test_votes_of_abundant_labels_weigh_less() -> None:
    voters = np.zeros((12, 2))
    labels = ["common"] * 8 + ["rare"] * 2 + [None] * 2
    told = neighbor_labels(np.zeros((1, 2)), voters, labels, n_neighbors=12)
    assert told.tolist() == ["common"]  # both have a sum of votes of 1, the first by name wins
    nearer = np.vstack([np.full((4, 1), 5.0), np.zeros((6, 1))])
    told = neighbor_labels([[0.0]], nearer, ["common"] * 8 + ["rare"] * 2, n_neighbors=6)
    assert told.tolist() == ["rare"]
    assert neighbor_labels([[0.0]], [[1.0]], [None]).tolist() == [None]


def test_label_means_are_correlated_over_labels_and_tested_in_both_modalities(
    rng: np.random.Generator,
) -> None:
    effects = np.array([[0.0, 1.0], [4.0, -3.0], [8.0, 2.0], [2.0, 5.0]])
    codes = np.repeat(np.arange(4), 20)
    x, y = (effects[codes] + rng.normal(size=(80, 2)) for _ in range(2))
    found = label_mean_test(x, y, codes, codes)
    means = [np.array([values[codes == c].mean(axis=0) for c in range(4)]) for values in (x, y)]
    by_feature = [np.corrcoef(means[0][:, j], means[1][:, j])[0, 1] for j in range(2)]
    assert found.r == pytest.approx(np.median(by_feature))
    assert (found.p_value, found.n_points, found.n_cells) == (pytest.approx(0.05, abs=0.05), 4, 80)
    noise = rng.normal(size=(80, 2))
    assert label_mean_test(x, noise, codes, codes).p_value > 0.05
    assert label_mean_test(noise, y, codes, codes).p_value > 0.05
    with pytest.raises(ValueError, match="three labels"):
        label_mean_test(x[:40], y[:40], codes[:40], codes[:40])


def test_values_of_partners_are_compared_with_those_of_other_cells_of_the_label(
    rng: np.random.Generator,
) -> None:
    labels = np.repeat(["a", "b"], 30)
    means = np.where(labels == "a", 0.0, 5.0)[:, None]
    own = rng.normal(size=(60, 3))
    measured = means + own
    by_label = partner_test(means + rng.normal(size=(60, 3)), measured, labels)
    assert by_label.p_value > 0.05
    assert by_label.null_mean == pytest.approx(by_label.r, abs=0.05)
    by_cell = partner_test(means + own + 0.5 * rng.normal(size=(60, 3)), measured, labels)
    assert by_cell.p_value == pytest.approx(1 / 200)
    assert by_cell.r > by_cell.null_mean + 5 * by_cell.null_sd
