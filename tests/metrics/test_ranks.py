"""Places of the true match: tiles, ties and single directions against a plain loop."""

from __future__ import annotations

from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scgroove.metrics import _ranks, foscttm, foscttm_per_cell
from scgroove.metrics._ranks import FRACTION_BEFORE, RECIPROCAL, Ranks, recall_rule


def _loop(x: np.ndarray, y: np.ndarray, partner: np.ndarray) -> tuple[list[float], list[float]]:
    """Return the share of other candidates nearer than the match, one cell after the other."""

    def share(cell: np.ndarray, pool: np.ndarray, match: int) -> float:
        distance = [sum((a - b) ** 2 for a, b in zip(cell, other, strict=True)) for other in pool]
        others = [d for j, d in enumerate(distance) if j != match]
        return sum((d < distance[match]) + 0.5 * (d == distance[match]) for d in others) / len(
            others
        )

    forth, back = [np.nan] * len(x), [np.nan] * len(y)
    for i, j in enumerate(partner):
        if j >= 0:
            forth[i], back[j] = share(x[i], y, j), share(y[j], x, i)
    return forth, back


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_tiles_of_any_size_are_the_double_loop(data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 10**6)))
    n_x, n_y = rng.integers(2, 14, 2)
    x, y = (rng.integers(0, 3, (n, 2)).astype(float) for n in (n_x, n_y))
    k = rng.integers(
        1, min(n_x, n_y) + 1
    )  # few known matches: each direction alone; many: both in one pass
    partner = np.full(n_x, -1)
    partner[rng.permutation(n_x)[:k]] = rng.permutation(n_y)[:k]
    rows, columns = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 5))
    with mock.patch.object(_ranks, "ROWS", rows), mock.patch.object(_ranks, "COLUMNS", columns):
        found = foscttm_per_cell(x, y, partner)
    for one, expected in zip(found, _loop(x, y, partner), strict=True):
        np.testing.assert_allclose(one, expected)


@pytest.mark.parametrize("n", [3, 16, 17, 241, 700])
@pytest.mark.parametrize("d", [1, 3, 16, 33])
def test_a_pair_has_the_same_distance_in_every_tile(n: int, d: int) -> None:
    """Copies of one cell tie with the match, and the match with itself, whatever the tile in which they fall."""
    rng = np.random.default_rng(n * d)
    x = rng.normal(size=(n, d)) * 10.0 ** rng.integers(-3, 4, (n, 1))
    y = np.repeat(x[:1] + 0.1, n, axis=0)
    forth, _ = foscttm_per_cell(x, y)
    assert (forth == 0.5).all()


def test_more_cells_than_a_byte_counts() -> None:
    x = np.arange(1000.0)[:, None]
    order = np.random.default_rng(0).permutation(1000)
    forth, back = foscttm_per_cell(x, x[order], np.argsort(order))
    assert (forth == 0).all()
    assert (back == 0).all()
    assert foscttm(x, -x) == pytest.approx(
        np.mean([abs(2 * i - 999) for i in range(1000)]) / 999, abs=2e-3
    )


@given(
    n=st.integers(2, 30), before=st.integers(0, 29), ties=st.integers(0, 29), k=st.integers(1, 40)
)
def test_rules_are_means_over_the_orders_of_the_ties(
    n: int, before: int, ties: int, k: int
) -> None:
    before = min(before, n - 1)
    ties = min(ties, n - 1 - before)
    ranks = Ranks(*(np.array([float(part)]) for part in (before, ties, n)))
    places = range(before + 1, before + ties + 2)
    assert FRACTION_BEFORE(ranks)[0] == pytest.approx(np.mean([(p - 1) / (n - 1) for p in places]))
    assert recall_rule(k)(ranks)[0] == pytest.approx(np.mean([p <= k for p in places]))
    assert RECIPROCAL(ranks)[0] == pytest.approx(np.mean([1 / p for p in places]))


@given(n=st.integers(2, 30), k=st.integers(1, 40))
def test_what_rules_expect_is_their_mean_over_all_places(n: int, k: int) -> None:
    ranks = Ranks(np.arange(float(n)), np.zeros(n), np.full(n, float(n)))
    for rule in (FRACTION_BEFORE, recall_rule(k), RECIPROCAL):
        assert float(rule.expected(np.array(n))) == pytest.approx(rule(ranks).mean())
