"""Batches: balanced over labels, every cell before any returns, the same again from the same seed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from scgroove.data import GroupSampler
from scgroove.data._datamodule import _random_split
from scgroove.data.sampler import shared_codes


class Length:
    def __len__(self):
        return 10


def sampler(labels, **kwargs):
    labels = {m: np.asarray(v) for m, v in labels.items()}
    rows = {m: np.arange(len(v)) for m, v in labels.items()}
    return GroupSampler(Length(), labels, rows, **kwargs)


def test_each_step_holds_k_cells_of_each_of_p_labels():
    rng = np.random.default_rng(0)
    labels = {"a": rng.integers(0, 6, 300), "b": rng.integers(0, 6, 100)}
    batches = list(sampler(labels, n_labels=4, n_cells=5))
    assert len(batches) == int(np.ceil(300 / 20))
    for batch in batches:
        found = {m: np.unique(labels[m][r], return_counts=True) for m, r in batch.items()}
        assert found["a"][0].tolist() == found["b"][0].tolist()
        assert len(found["a"][0]) == 4
        assert all((n == 5).all() for _, n in found.values())


@pytest.mark.parametrize(("n_labels", "shape"), [(3, (3, 22)), (8, (8, 8)), (20, (8, 8))])
def test_default_shape_holds_all_labels_if_each_can_have_eight_cells(n_labels, shape):
    s = sampler({m: np.arange(200) % n_labels for m in "ab"}, batch_size=64)
    assert (s.p, s.k) == shape


def test_batches_as_abundant_as_labels_are():
    """Frequencies over many epochs against those asked for: proportional to the power of the cells, chi-square."""
    counts = {0: 200, 1: 100, 2: 50, 3: 10}
    labels = {m: np.repeat(list(counts), list(counts.values())) for m in "ab"}
    for balance in (0.0, 0.5):
        found = np.zeros(4)
        for batch in sampler(labels, n_cells=30, balance=balance):
            drawn = {m: np.bincount(labels[m][r], minlength=4) for m, r in batch.items()}
            np.testing.assert_array_equal(drawn["a"], drawn["b"])  # the same in both modalities
            assert (drawn["a"] > 0).all()
            found += drawn["a"]
        expected = np.array(list(counts.values())) ** (1 - balance)
        expected *= found.sum() / expected.sum()
        assert chisquare(found, expected).pvalue > 0.01
    even = sum(np.bincount(labels["a"][b["a"]]) for b in sampler(labels, n_cells=30, balance=1.0))
    assert len(set(even.tolist())) == 1


def test_balance_is_a_share(make_mdata):
    from scgroove.model import GROOVE

    mdata = make_mdata("disjoint", 0)
    GROOVE.setup_mudata(mdata, "label")
    with pytest.raises(ValueError, match=r"balance lies between 0 .* found 2"):
        GROOVE(mdata, 4).train(1, accelerator="cpu", datasplitter_kwargs={"balance": 2})


def test_every_label_and_cell_comes_before_any_returns():
    labels = {"a": np.repeat(np.arange(4), 10), "b": np.repeat(np.arange(4), 10)}
    batches = list(sampler(labels, n_labels=2, n_cells=5))
    assert len(batches) == 4
    assert sorted(np.concatenate([b["a"] for b in batches]).tolist()) == list(range(40))


def test_few_cells_are_repeated():
    labels = {"a": np.repeat([0, 1], [9, 3]), "b": np.repeat([0, 1], [2, 2])}
    batch = next(iter(sampler(labels, n_labels=2, n_cells=6)))
    assert np.bincount(labels["a"][batch["a"]]).tolist() == [6, 6]
    assert np.bincount(batch["b"]).tolist() == [3, 3, 3, 3]


@pytest.mark.parametrize(
    "asked", [{"batch_size": 10**9}, {"n_cells": 10**9}, {"n_cells": 10**9, "n_labels": 1}]
)
@pytest.mark.parametrize("small", [10, 40])
def test_a_batch_is_no_larger_than_the_data(asked, small):
    labels = {
        "a": np.r_[np.repeat(np.arange(3), [40, 40, small]), np.full(9, -1)],
        "b": np.repeat(np.arange(3), 15),
    }
    batches = list(sampler(labels, **asked))
    n = 80 + small
    assert all((labels["a"][batch["a"]] >= 0).sum() <= n for batch in batches)
    assert len(set(np.concatenate([batch["a"] for batch in batches]).tolist())) >= n - 40


def test_batches_that_fit_are_those_of_any_larger_data():
    """The cap changes nothing as long as the data hold a batch: 4 labels of 16 cells, hand-counted."""
    labels = {m: np.repeat(np.arange(4), 16) for m in "ab"}
    assert (sampler(labels, batch_size=64).p, sampler(labels, batch_size=64).k) == (4, 16)
    assert sampler(labels, batch_size=65).k == 16
    assert sampler(labels, n_labels=2, n_cells=20).k == 20


def test_free_cells_fill_their_share():
    labels = {"a": np.r_[np.repeat([0, 1], 20), np.full(30, -1)], "b": np.repeat([0, 1], 20)}
    batch = next(iter(sampler(labels, n_labels=2, n_cells=6, free_fraction=0.25)))
    assert (labels["a"][batch["a"]] == -1).sum() == 4
    assert len(batch["b"]) == 12
    assert all(
        (labels["a"][b["a"]] >= 0).all()
        for b in sampler(labels, n_labels=2, n_cells=6, free_fraction=0.0)
    )


def test_label_of_two_among_three_modalities():
    labels = {"a": [0, 0, 1, 1], "b": [0, 0, 2, 2], "c": [1, 1, 2, 2]}
    for batch in sampler(labels, n_labels=1, n_cells=2):
        present = [m for m, r in batch.items() if len(r)]
        assert len(present) == 2


def test_seed_and_epoch():
    labels = {"a": np.arange(40) % 4, "b": np.arange(40) % 4}

    def draw(s, epoch):
        s.set_epoch(epoch)
        return [r.tolist() for b in s for r in b.values()]

    assert draw(sampler(labels, seed=1), 0) == draw(sampler(labels, seed=1), 0)
    assert draw(sampler(labels, seed=1), 0) != draw(sampler(labels, seed=2), 0)
    assert draw(sampler(labels), 0) != draw(sampler(labels), 1)
    assert draw(sampler(labels, shuffle=False), 0) == draw(sampler(labels, shuffle=False), 1)


def test_no_shared_label():
    with pytest.raises(ValueError, match="No label is left in two modalities"):
        sampler({"a": [0, 0], "b": [1, -1]})


def test_exclusive_labels_lose_their_code():
    found = shared_codes({"a": np.array([0, 1, -1]), "b": np.array([1, 2, 2])})
    assert {m: c.tolist() for m, c in found.items()} == {"a": [-1, 1, -1], "b": [1, -1, -1]}


def test_a_label_of_one_modality_that_agrees_with_one_of_another_keeps_its_code():
    codes = {"a": np.array([0, 3, 1, 4]), "b": np.array([0, 1, 2, 2])}
    agreement = np.eye(5)
    agreement[3, 0] = agreement[0, 3] = 0.5  # 3 is in a alone, 0 in both
    agreement[4, 1] = agreement[1, 4] = 0.0
    found = shared_codes(codes, agreement)
    assert {m: c.tolist() for m, c in found.items()} == {"a": [0, 3, 1, -1], "b": [0, 1, -1, -1]}
    s = sampler(found, n_labels=3, n_cells=1, free_fraction=0.0, agreement=agreement)
    batch = next(iter(s))
    assert sorted(found["a"][batch["a"]].tolist()) == [0, 1, 3]
    assert sorted(found["b"][batch["b"]].tolist()) == [0, 1]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 99), train=st.floats(0.1, 0.95))
def test_split_is_a_stratified_partition(seed, train):
    rng = np.random.default_rng(seed)
    labels = {"a": rng.integers(-1, 4, 83), "b": rng.integers(-1, 4, 47)}
    parts = _random_split(labels, None, train, 1 - train, seed)
    for m, codes in labels.items():
        rows = np.concatenate([p[m] for p in parts])
        assert sorted(rows.tolist()) == list(range(len(codes)))
        for c in np.unique(codes):
            n, n_train = (codes == c).sum(), (codes[parts[0][m]] == c).sum()
            assert n_train >= 1
            assert abs(n_train - train * n) <= 1


def test_pairs_stay_together():
    labels = {"a": np.arange(40) % 2, "b": np.arange(30) % 2}
    pairs = {
        "a": np.array([f"c{i}" for i in range(40)], object),
        "b": np.array([f"c{i}" for i in range(30)], object),
    }
    train, validation, _ = _random_split(labels, pairs, 0.7, 0.3, 0)
    assert set(train["b"]) == {i for i in train["a"] if i < 30}
    assert set(validation["b"]) == {i for i in validation["a"] if i < 30}
    alone, _, _ = _random_split(labels, None, 0.7, 0.3, 0)
    assert set(alone["b"]) != {i for i in alone["a"] if i < 30}
