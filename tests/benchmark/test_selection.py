import numpy as np
import pandas as pd
import pytest

from scgroove.aligners import Coupling
from scgroove.benchmark import AlignerSpec
from scgroove.benchmark.selection import SCORES, Trial, select, shared_codes
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


def trial(x, y, plan, *, others=()):
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
    return float(np.mean(SCORES[name](one)))


def test_the_truth_is_predictable_and_uniform_or_random_matches_are_not(pair):
    assert mean("predictability", trial(*pair, IDENTITY)) == pytest.approx(1, abs=0.02)
    assert mean("predictability", trial(*pair, UNIFORM)) == pytest.approx(0, abs=0.02)
    assert -0.6 < mean("predictability", trial(*pair, shuffled())) < 0.1


def test_agreement_with_the_same_and_with_chance(pair):
    same = trial(*pair, IDENTITY).projected
    other = trial(*pair, shuffled(1)).projected
    assert mean("agreement", trial(*pair, IDENTITY, others=[same])) == pytest.approx(1.0)
    assert abs(mean("agreement", trial(*pair, IDENTITY, others=[other]))) < 0.25
    assert np.isnan(SCORES["agreement"](trial(*pair, IDENTITY))).all()


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
    assert set(SCORES) <= set(choice.table)
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
    with pytest.raises(ValueError, match="Did you mean 'agreement'"):
        select(x, y, LABELS, LABELS, ["eot", "emd"], score="agreemnt")
    single = np.arange(len(x)).astype(str)
    with pytest.raises(ValueError, match="at least 4 cells on both sides"):
        select(x, y, single, single, ["eot", "emd"])


def test_the_score_that_is_chosen_by(pair):
    x, y = pair
    three = select(x, y, LABELS, LABELS, ["emd", "eot", "snn"])
    assert three.score == "agreement"
    assert select(x, y, LABELS, LABELS, ["emd", "eot"]).score == "predictability"
    assert select(x, y, LABELS, LABELS, ["emd", "eot", "uniform"]).score == "predictability"


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
