"""Terms of the objective: their weights, their schedules, and reconstruction."""

import pytest
import torch
from scipy import stats
from torch.distributions import Normal

from scgroove.losses import BackTranslation, Reconstruction, Term, negative_log_likelihood


def test_mean_over_features():
    x = torch.tensor([[0.0, 1.0], [2.0, -1.0]])
    found = negative_log_likelihood(Normal(torch.zeros(2, 2), torch.ones(2, 2)), x)
    assert found.tolist() == pytest.approx(
        (-stats.norm.logpdf(x.numpy()).mean(axis=1)).tolist(), abs=1e-6
    )


def test_mean_over_the_measured_features_only():
    x = torch.tensor([[0.0, 9.0], [2.0, -1.0]])
    measured = torch.tensor([[True, False], [True, True]])
    found = negative_log_likelihood(Normal(torch.zeros(2, 2), torch.ones(2, 2)), x, measured)
    expected = [-stats.norm.logpdf(0.0), -stats.norm.logpdf([2.0, -1.0]).mean()]
    assert found.tolist() == pytest.approx(expected, abs=1e-6)


def test_a_weight_warms_up_linearly():
    term = BackTranslation(2.0, warmup=0.5)
    assert [term.weight_at(step, 100) for step in (0, 25, 50, 100)] == [0.0, 1.0, 2.0, 2.0]
    assert Reconstruction(3.0).weight_at(0, 100) == 3.0


@pytest.mark.parametrize("options", [{"weight": -1.0}, {"weight": float("inf")}, {"warmup": 7.0}])
def test_options_out_of_range(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        Reconstruction(**options)


def test_a_term_that_computes_nothing():
    with pytest.raises(NotImplementedError):
        Term()(None)
