import numpy as np
import pandas as pd
import pytest

from scgroove.aligners import Coupling
from scgroove.benchmark import TRUTH_FREE, AlignerSpec, Trial, select
from scgroove.benchmark._selection import _bootstrap_first, _usable
from scgroove.benchmark._truth_free import shared_codes
from scgroove.errors import ResultsWarning

N, K = 30, 4
LABELS = np.repeat(["a", "b", "c"], N)


@pytest.fixture(scope="module")
def pair():
    """Cells of three labels, the same ones in both modalities, seen through different linear maps."""
    rng = np.random.default_rng(0)
    state = rng.normal(size=(3 * N, K)) + 4 * rng.normal(size=(3, K)).repeat(N, 0)
    turn = np.linalg.qr(rng.normal(size=(K, K)))[0]
    return state, state @ turn


def block_diagonal(inside):
    return np.kron(np.eye(3), inside) / 3


def trial(x, y, plan, *, others=(), labeled=True, realign=None):
    from scipy.sparse import csr_matrix

    coupling = Coupling.from_sparse(csr_matrix(plan))
    codes_x, codes_y, n = shared_codes(LABELS, LABELS)
    return Trial(
        x=x,
        y=y,
        codes_x=codes_x,
        codes_y=codes_y,
        n_labels=n,
        coupling=coupling,
        projected=coupling.push(y),
        others=list(others),
        realign=realign or (lambda a, b: coupling),
        labeled=labeled,
        seed=0,
    )


IDENTITY = block_diagonal(np.eye(N) / N)
UNIFORM = block_diagonal(np.full((N, N), 1 / N**2))


def shuffled(seed=0):
    rng = np.random.default_rng(seed)
    return sum(np.kron(np.diag(np.eye(3)[g]), np.eye(N)[rng.permutation(N)]) for g in range(3)) / (
        3 * N
    )


def mean(name, one):
    return float(np.mean(TRUTH_FREE.get(name)(one)))


@pytest.mark.parametrize(
    ("score", "right", "even"),
    [
        ("cycle_consistency", 1, 0),
        ("predictability", 1, 0),
        ("structure", 1, 0),
        ("sharpness", 1, 0),
    ],
)
def test_the_truth_scores_one_and_the_uniform_coupling_nothing(pair, score, right, even):
    assert mean(score, trial(*pair, IDENTITY)) == pytest.approx(right, abs=0.02)
    assert mean(score, trial(*pair, UNIFORM)) == pytest.approx(even, abs=0.02)


@pytest.mark.parametrize(
    ("score", "low", "high"), [("predictability", -0.6, 0.1), ("structure", -0.15, 0.15)]
)
def test_random_matches_score_nothing(pair, score, low, high):
    assert low < mean(score, trial(*pair, shuffled())) < high


@pytest.mark.parametrize("score", ["cycle_consistency", "sharpness"])
def test_what_cannot_tell_a_wrong_permutation_from_the_right_one(pair, score):
    assert mean(score, trial(*pair, shuffled())) == pytest.approx(1.0)


def test_sharpness_counts_missed_marginals(pair):
    from dataclasses import replace

    exact = trial(*pair, IDENTITY)
    a = np.full(3 * N, 1 / (3 * N))
    a[0] += 0.1
    a[1] -= 0.1
    (block,) = exact.coupling.blocks
    off = replace(exact.coupling, blocks=(replace(block, a=a, b=a),))
    assert mean("sharpness", exact) == pytest.approx(1.0)
    assert mean("sharpness", replace(exact, coupling=off)) == pytest.approx(1 - 0.4)


def test_agreement_with_the_same_and_with_chance(pair):
    same = trial(*pair, IDENTITY).projected
    other = trial(*pair, shuffled(1)).projected
    assert mean("agreement", trial(*pair, IDENTITY, others=[same])) == pytest.approx(1.0)
    assert abs(mean("agreement", trial(*pair, IDENTITY, others=[other]))) < 0.25
    assert np.isnan(TRUTH_FREE.get("agreement")(trial(*pair, IDENTITY))).all()


def test_mass_on_the_right_label_of_an_unlabeled_coupling(pair):
    even = np.full((3 * N, 3 * N), 1 / (3 * N) ** 2)
    np.testing.assert_allclose(
        TRUTH_FREE.get("heldout_label_mass")(trial(*pair, even, labeled=False)), 0, atol=1e-9
    )
    np.testing.assert_allclose(
        TRUTH_FREE.get("heldout_label_mass")(trial(*pair, IDENTITY, labeled=False)), 1
    )
    half = (even + IDENTITY) / 2
    np.testing.assert_allclose(
        TRUTH_FREE.get("heldout_label_mass")(trial(*pair, half, labeled=False)), 0.5
    )


def test_labels_are_merged_two_by_two_and_hidden_from_the_aligner(pair):
    seen = []

    def realign(a, b):
        seen.append((a, b))
        same = (np.asarray(a)[:, None] == np.asarray(b)[None, :]).astype(float)
        from scipy.sparse import csr_matrix

        return Coupling.from_sparse(csr_matrix(same / same.sum()))

    values = TRUTH_FREE.get("heldout_label_mass")(trial(*pair, IDENTITY, realign=realign))
    np.testing.assert_allclose(
        values, 0, atol=1e-9, err_msg="uniform within merged labels is chance"
    )
    merged = {label: set(np.asarray(seen[0][0])[label == LABELS]) for label in "abc"}
    assert all(len(codes) == 1 for codes in merged.values())
    assert len(set.union(*merged.values())) == 1, "three labels make one group of three"


def test_labels_of_one_side_only_take_no_part():
    codes_x, codes_y, n = shared_codes(["a", "b", None, "x"], ["b", "a", "y"])
    assert n == 2
    assert codes_x.tolist() == [0, 1, -1, -1]
    assert codes_y.tolist() == [1, 0, -1]
    with pytest.raises(ValueError, match="share no label"):
        shared_codes(["a"], ["b"])


def test_select_prefers_the_aligner_that_is_right(pair):
    x, y = pair[0], pair[0] + 0.3 * np.random.default_rng(1).normal(size=pair[0].shape)
    choice = select(x, y, LABELS, LABELS, ["uniform", "eot", "random"])
    assert choice.best == "eot"
    assert choice.confidence > 0.95
    assert choice.table.index[0] == "eot"
    assert choice.table["rank"].tolist() == [1, 2, 3]
    assert choice.table["first"].sum() == pytest.approx(1)
    assert set(TRUTH_FREE.names()) <= set(choice.table)
    assert choice.n_labels == 3
    assert "'eot' by predictability" in repr(choice)
    again = select(x, y, LABELS, LABELS, ["uniform", "eot", "random"])
    pd.testing.assert_frame_equal(
        choice.table.drop(columns="seconds"), again.table.drop(columns="seconds")
    )


def test_select_takes_options_and_unlabeled_forms(pair):
    x, y = pair[0], pair[0] + 0.3
    choice = select(
        x,
        y,
        LABELS,
        LABELS,
        [AlignerSpec("eot", name="sharp", options={"epsilon": 1e-3}), "eot unlabeled"],
    )
    assert set(choice.couplings) == {"sharp", "eot unlabeled"}
    assert choice.couplings["sharp"].evidence["epsilon"] == 1e-3


def test_select_refuses(pair):
    x, y = pair
    with pytest.raises(ValueError, match="two candidates or more"):
        select(x, y, LABELS, LABELS, ["eot"])
    with pytest.raises(ValueError, match="Did you mean 'structure'"):
        select(x, y, LABELS, LABELS, ["eot", "emd"], score="structur")
    single = np.arange(len(x)).astype(str)
    with pytest.raises(ValueError, match="at least 4 cells on both sides"):
        select(x, y, single, single, ["eot", "emd"])


def test_bootstrap_shares_ties_and_follows_the_labels():
    always = np.array([[1.0, 1.0, 1.0], [0.0, 0.0, 0.0]])
    np.testing.assert_allclose(_bootstrap_first(always, 200, 0), [1, 0])
    np.testing.assert_allclose(_bootstrap_first(np.ones((2, 5)), 200, 0), [0.5, 0.5])
    # the first wins on one label of two by more: it loses only when the other label is drawn twice (1 in 4)
    split = np.array([[3.0, 0.0], [1.0, 1.0]])
    np.testing.assert_allclose(_bootstrap_first(split, 20_000, 0), [0.75, 0.25], atol=0.02)


def test_the_score_that_is_chosen_by(pair):
    x, y = pair
    three = select(x, y, LABELS, LABELS, ["emd", "eot", "snn"])
    assert three.score == "agreement"
    assert select(x, y, LABELS, LABELS, ["emd", "eot"]).score == "predictability"
    assert select(x, y, LABELS, LABELS, ["emd", "eot", "uniform"]).score == "predictability"


def test_labels_that_one_candidate_lacks_count_for_none():
    values = np.array([[0.9, np.nan, np.nan], [0.95, 0.5, 0.5]])
    assert _usable(values, "predictability").tolist() == [True, False, False]
    with pytest.raises(
        ValueError, match=r"no label could be scored by 'sharpness' for every candidate"
    ):
        _usable(np.array([[np.nan, 1.0], [1.0, np.nan]]), "sharpness")


def test_a_candidate_that_fails_is_left_out(pair):
    x, y = pair
    broken = AlignerSpec("egw", name="broken", options={"max_memory_gb": 1e-9})
    with pytest.warns(
        ResultsWarning, match="left out of the choice, because they failed: broken: "
    ):
        choice = select(x, y, LABELS, LABELS, ["emd", "uniform", broken])
    assert set(choice.table.index) == {"emd", "uniform"}
    with pytest.raises(ValueError, match=r"fewer than two candidates could be run\. broken: "):
        select(x, y, LABELS, LABELS, ["emd", broken])
