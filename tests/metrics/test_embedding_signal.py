"""Labels left out: in closed form as in a loop, calibrated where a table says nothing, and high where it says all."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from scgroove.metrics.embedding_signal import RIDGES, embedding_signal


@pytest.fixture
def table():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(24, 6)) * [1, 2, 0.1, 1, 3, 1] + 4
    return x, x @ rng.normal(size=(6, 3)) + 2 * rng.normal(size=(24, 3)) - 7


def test_is_a_loop_over_labels(table):
    x, y = table
    scaled = (x - x.mean(0)) / np.sqrt(np.square(x - x.mean(0)).mean())
    errors = {}
    for ridge in RIDGES:
        for i in range(len(x)):
            rest = np.arange(len(x)) != i
            fitted = Ridge(ridge * len(x)).fit(scaled[rest], y[rest])
            errors.setdefault(ridge, []).append(
                ((y[i] - fitted.predict(scaled[i : i + 1])) ** 2).sum()
            )
    best = min(errors.values(), key=sum)
    of_mean = [((y[i] - y[np.arange(len(y)) != i].mean(0)) ** 2).sum() for i in range(len(y))]
    found = embedding_signal(x, y, n_permutations=19)
    np.testing.assert_allclose(found.error, best, rtol=1e-8)
    np.testing.assert_allclose(found.error_of_mean, of_mean, rtol=1e-10)
    assert found.score == pytest.approx(1 - sum(best) / sum(of_mean))


def test_a_table_that_says_all_and_one_with_noise(table):
    x, _ = table
    rng = np.random.default_rng(1)
    y = x @ rng.normal(size=(6, 3))
    scores = [
        embedding_signal(x + noise * x.std() * rng.normal(size=x.shape), y).score
        for noise in (0.0, 0.5, 5.0)
    ]
    assert scores[0] > 0.99
    assert scores[0] > scores[1] > scores[2]
    assert embedding_signal(x, y, n_permutations=99).p_value == 0.01


def test_of_tables_that_say_nothing_few_seem_to(table):
    _, y = table
    rng = np.random.default_rng(2)
    p = [
        embedding_signal(rng.normal(size=(24, 6)), y, n_permutations=99).p_value for _ in range(60)
    ]
    assert np.mean(np.array(p) <= 0.1) <= 0.2
    assert 0.35 < np.mean(p) < 0.65


def test_neither_shifts_nor_turns_nor_units_matter(table):
    x, y = table
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(6, 6)))[0]
    first, second = embedding_signal(x, y), embedding_signal(1e3 * x @ turn - 5, 7 * y + 2)
    assert first.score == pytest.approx(second.score)
    np.testing.assert_allclose(first.null, second.null)


def test_more_dimensions_than_labels_and_labels_all_in_one_place(table):
    _, y = table
    wide = np.random.default_rng(0).normal(size=(24, 100))
    assert embedding_signal(wide, y).score < 0.3
    found = embedding_signal(wide, np.ones((24, 2)))
    assert np.isfinite(found.score)
    assert found.p_value == 1
