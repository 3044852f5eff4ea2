"""What the knobs draw, piece by piece."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scgroove.simulations._knobs import (
    draw_batches,
    draw_share,
    draw_substates,
    draw_wrong_labels,
    nearest_labels,
    zipf_sizes,
)


@pytest.mark.parametrize(
    ("n_labels", "n_cells", "exponent", "expected"),
    [
        (3, 11, 1.0, (6, 3, 2)),  # weights 6 : 3 : 2
        (5, 60, 1.0, (26, 13, 9, 7, 5)),  # parts 26.28, 13.14, 8.76, 6.57, 5.26
        (4, 20, 0.0, (5, 5, 5, 5)),
        (3, 10, 9.0, (6, 2, 2)),
        (3, 6, 1.0, (2, 2, 2)),
        (1, 7, 2.0, (7,)),
    ],
)
def test_zipf_sizes_by_hand(
    n_labels: int, n_cells: int, exponent: float, expected: tuple[int, ...]
) -> None:
    assert zipf_sizes(n_labels, n_cells, exponent) == expected


@given(n_labels=st.integers(1, 60), per_label=st.integers(2, 200), exponent=st.floats(0, 6))
def test_zipf_sizes_share_out_all_cells_in_falling_order(
    n_labels: int, per_label: int, exponent: float
) -> None:
    sizes = np.array(zipf_sizes(n_labels, n_labels * per_label, exponent))
    assert sizes.size == n_labels
    assert sizes.sum() == n_labels * per_label
    assert sizes.min() >= 2
    assert (np.diff(sizes) <= 0).all()


@given(exponent=st.floats(0, 1.5))
def test_zipf_sizes_are_in_proportion_where_no_label_is_at_the_minimum(exponent: float) -> None:
    sizes = np.array(zipf_sizes(10, 10_000, exponent))
    weight = np.arange(1, 11) ** -exponent
    assert np.abs(sizes - 10_000 * weight / weight.sum()).max() < 1


@given(n=st.integers(1, 80), share=st.floats(0, 1), seed=st.integers(0, 99))
def test_a_share_is_exact_and_among_those_asked_for(n: int, share: float, seed: int) -> None:
    among = np.arange(n) % 3 > 0
    chosen = draw_share(among, share, np.random.default_rng(seed))
    assert chosen.sum() == round(share * among.sum())
    assert not chosen[~among].any()


def test_a_larger_share_adds_to_a_smaller_one() -> None:
    among = np.ones(100, dtype=bool)
    small, large = (draw_share(among, share, np.random.default_rng(1)) for share in (0.2, 0.5))
    assert large[small].all()


def test_a_share_passes_over_what_is_taken_and_keeps_the_rest() -> None:
    among, taken = np.arange(60) < 50, np.arange(60) % 5 == 0
    free, drawn = (draw_share(among, 0.4, np.random.default_rng(1), taken=t) for t in (None, taken))
    assert free.sum() == drawn.sum() == 20
    assert not (drawn & taken).any()
    assert drawn[free & ~taken].all()
    assert draw_share(among, 1.0, np.random.default_rng(1), taken=taken).sum() == 40


@given(n_substates=st.integers(1, 5), seed=st.integers(0, 99))
def test_substates_are_balanced_inside_each_label(n_substates: int, seed: int) -> None:
    label = np.random.default_rng(seed).permutation(np.repeat(np.arange(3), [4, 9, 13]))
    substate = draw_substates(label, n_substates, np.random.default_rng(seed))
    for code, size in enumerate([4, 9, 13]):
        counts = np.bincount(substate[label == code], minlength=n_substates)
        assert counts.sum() == size
        assert counts.max() - counts.min() <= 1


def test_substates_do_not_follow_the_order_of_the_cells() -> None:
    substate = draw_substates(np.zeros(100, dtype=int), 2, np.random.default_rng(0))
    assert not np.array_equal(substate, np.arange(100) % 2)


@pytest.mark.parametrize("n_batches", [1, 2, 7])
def test_batches_are_balanced(n_batches: int) -> None:
    counts = np.bincount(draw_batches(30, n_batches, np.random.default_rng(0)))
    assert counts.size == n_batches
    assert counts.max() - counts.min() <= 1


@given(share=st.floats(0, 1), seed=st.integers(0, 99))
def test_wrong_labels_are_other_labels_of_the_vocabulary(share: float, seed: int) -> None:
    vocabulary = np.array([1, 4, 6])
    label = np.tile(vocabulary, 20)
    seen = np.arange(60) % 4 > 0
    observed = draw_wrong_labels(label, seen, vocabulary, share, np.random.default_rng(seed))
    wrong = observed != label
    assert wrong.sum() == round(share * seen.sum())
    assert not wrong[~seen].any()
    assert np.isin(observed, vocabulary).all()


@settings(max_examples=3)
@given(seed=st.integers(0, 5))
def test_each_other_label_is_as_likely(seed: int) -> None:
    label = np.full(30_000, 2)
    observed = draw_wrong_labels(label, label == 2, np.arange(4), 1.0, np.random.default_rng(seed))
    # standard deviation of a count: sqrt(30000 * 1/3 * 2/3) = 82
    np.testing.assert_allclose(np.bincount(observed), [10_000, 10_000, 0, 10_000], atol=5 * 82)


def test_nearest_labels_by_hand() -> None:
    effect = np.array([[0.0], [1.0], [3.0], [5.0], [4.0]])
    assert nearest_labels(effect, np.arange(5)).tolist() == [
        1,
        0,
        4,
        4,
        2,
    ]  # 4 is as near to 2 as to 3
    assert nearest_labels(effect, np.array([0, 2, 3])).tolist() == [2, 3, 2]
    assert nearest_labels(np.zeros((3, 2)), np.arange(3)).tolist() == [1, 0, 0]
