"""Label transfer: by hand, by a plain loop, against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, balanced_accuracy_score
from sklearn.neighbors import KNeighborsClassifier

from scgroove.errors import MissingTruthError
from scgroove.metrics import label_transfer, score


def test_by_hand() -> None:
    x, labels_x = [[0.0], [1.0], [2.0], [10.0]], ["a", "a", "b", "b"]
    y, labels_y = [[0.2], [1.9], [9.0], [9.0], [0.0]], ["a", "b", "b", "a", "z"]
    # nearest: a, b, b, b; z is a label of no source cell
    found = label_transfer(x, y, labels_x, labels_y, n_neighbors=1, per="cell")
    np.testing.assert_array_equal(found, [1, 1, 1, 0, np.nan])
    assert label_transfer(x, y, labels_x, labels_y, n_neighbors=1) == 0.75
    assert label_transfer(x, y, labels_x, labels_y, n_neighbors=1, balanced=True) == pytest.approx(
        (1 / 2 + 1) / 2
    )


def test_equal_votes_go_to_the_label_of_the_nearest_voter() -> None:
    x, labels_x = [[0.0], [1.0], [1.1], [5.0]], ["b", "a", "c", "a"]
    assert label_transfer(x, [[0.9]], labels_x, ["a"], n_neighbors=3) == 1  # a, c, b: one vote each
    assert label_transfer(x, [[0.2]], labels_x, ["b"], n_neighbors=3) == 1
    assert label_transfer(x, [[1.2]], labels_x, ["c"], n_neighbors=3) == 1


def test_unlabeled_cells_neither_vote_nor_are_scored() -> None:
    x, y = [[0.0], [0.1], [1.0]], [[0.0], [0.05]]
    found = label_transfer(x, y, [None, "a", "b"], ["a", np.nan], n_neighbors=1, per="cell")
    np.testing.assert_array_equal(found, [1, np.nan])


def _loop(x: np.ndarray, y: np.ndarray, lx: list, ly: list, k: int) -> list[tuple[str, bool]]:
    voters = [i for i in range(len(x)) if lx[i] is not None]
    out = []
    for j in range(len(y)):
        if ly[j] is None or ly[j] not in [lx[i] for i in voters]:
            continue
        near = sorted(voters, key=lambda i: ((x[i] - y[j]) ** 2).sum())[:k]
        votes = [lx[i] for i in near]
        most = max(votes.count(v) for v in votes)
        out.append((ly[j], next(v for v in votes if votes.count(v) == most) == ly[j]))
    return out


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10**6), k=st.integers(1, 9))
def test_is_the_plain_loop(seed: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    n_x, n_y = rng.integers(2, 15, 2)
    x, y = rng.normal(size=(n_x, 2)), rng.normal(size=(n_y, 2))
    names = np.array(["a", "b", "c", None], dtype=object)
    lx, ly = list(names[rng.integers(0, 4, n_x)]), list(names[rng.integers(0, 4, n_y)])
    expected = _loop(x, y, lx, ly, k)
    if not expected:
        with pytest.raises(
            MissingTruthError, match="no target cell has a label that a source cell has"
        ):
            label_transfer(x, y, lx, ly, n_neighbors=k)
        return
    by_label = [
        np.mean([hit for label, hit in expected if label == one])
        for one in {label for label, _ in expected}
    ]
    assert label_transfer(x, y, lx, ly, n_neighbors=k) == pytest.approx(
        np.mean([hit for _, hit in expected])
    )
    assert label_transfer(x, y, lx, ly, n_neighbors=k, balanced=True) == pytest.approx(
        np.mean(by_label)
    )


def test_agrees_with_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    labels = rng.choice(list("aaabbc"), 400)
    center = {"a": 0.0, "b": 1.0, "c": 2.0}
    x, y = (
        np.array([[center[v], 0] for v in labels]) + rng.normal(size=(400, 2)) for _ in range(2)
    )
    theirs = KNeighborsClassifier(1).fit(x, labels).predict(y)  # one neighbor: no ties
    assert label_transfer(x, y, labels, labels, n_neighbors=1) == pytest.approx(
        accuracy_score(labels, theirs)
    )
    assert label_transfer(x, y, labels, labels, n_neighbors=1, balanced=True) == pytest.approx(
        balanced_accuracy_score(labels, theirs)
    )


def test_invariances() -> None:
    rng = np.random.default_rng(1)
    x, y, labels = rng.normal(size=(90, 4)), rng.normal(size=(80, 4)), rng.integers(0, 4, 90)
    value = label_transfer(x, y, labels, labels[:80])
    order_x, order_y = rng.permutation(90), rng.permutation(80)
    assert label_transfer(
        x[order_x], y[order_y], labels[order_x], labels[:80][order_y]
    ) == pytest.approx(value)
    assert label_transfer(1e3 + 1e-3 * x, 1e3 + 1e-3 * y, labels, labels[:80]) == pytest.approx(
        value
    )
    assert label_transfer(x, y, 9 - labels, 9 - labels[:80]) == pytest.approx(value)
    assert label_transfer(x, 5 * x, labels, labels, n_neighbors=1, metric="cosine") == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_neighbors": 0}, r"n_neighbors must be "),
        ({"labels_x": ["a"]}, "'labels_x': 1"),
        (
            {"labels_y": ["b", "b"]},
            r"no target cell has a label that a source cell has.*one vocabulary",
        ),
    ],
)
def test_bad_input_is_refused(options: dict, message: str) -> None:
    x = np.eye(2)
    with pytest.raises(ValueError, match=message):
        label_transfer(x, x, **{"labels_x": ["a", "a"], "labels_y": ["a", "a"], **options})


def test_chance_of_the_score_does_not_depend_on_what_is_told() -> None:
    """Of eight cells six are "a": to call all of them "a" is right in three of four, and no more than chance."""
    x, y = np.array([[2.0], [99.0]]), np.arange(8.0)[:, None]
    cells = {
        "x": x,
        "y": y,
        "labels_x": ["a", "b"],
        "labels_y": ["a"] * 6 + ["b"] * 2,
        "n_neighbors": 1,
    }
    always, right = (
        score("label_transfer", **cells),
        score("label_transfer", **{**cells, "x": [[2.0], [8.0]]}),
    )
    assert always.chance == right.chance == 0.75**2 + 0.25**2
    assert always.value == pytest.approx(always.chance)
    assert right.value == 1
    assert label_transfer(**cells) == 0.75


def test_one_label_cannot_be_told_from_another() -> None:
    with pytest.raises(
        MissingTruthError, match="have one label, so that there is no other label to tell"
    ):
        score("label_transfer", x=[[0.0], [1.0]], y=[[0.0]], labels_x=["a", "b"], labels_y=["a"])


def test_a_score_that_is_perfect_by_construction_is_left_out() -> None:
    """Every cell has one candidate, or ten are looked at where there are three."""
    x, labels = np.random.default_rng(0).normal(size=(6, 2)), list("aaabbb")
    given_ = {"x": x, "y": x[::-1], "labels_x": labels, "labels_y": labels, "partner": np.arange(6)}
    with pytest.raises(
        MissingTruthError, match="'recall_at_10_within_label' is 1 by construction here"
    ):
        score("recall_at_10_within_label", **given_)
    alone = {"coupling": np.eye(6), "labels_x": list("abcdef"), "labels_y": list("abcdef")}
    with pytest.raises(MissingTruthError, match="'trace_within_label' is 1 by construction here"):
        score("trace_within_label", **alone, partner=np.arange(6))
