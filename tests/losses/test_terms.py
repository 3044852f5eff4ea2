"""Reconstruction and back-translation."""

import pytest
import torch
from scipy import stats
from torch.distributions import Normal

from scgroove.losses import back_translation, negative_log_likelihood


def test_mean_over_features():
    x = torch.tensor([[0.0, 1.0], [2.0, -1.0]])
    found = negative_log_likelihood(Normal(torch.zeros(2, 2), torch.ones(2, 2)), x)
    assert found.tolist() == pytest.approx((-stats.norm.logpdf(x.numpy()).mean(axis=1)).tolist(), abs=1e-6)


def test_gradient_goes_through_the_second_half_only():
    first, second = torch.nn.Linear(3, 2), torch.nn.Linear(2, 3)
    x = torch.randn(4, 3)
    loss = back_translation(x, lambda: first(x), lambda pseudo: Normal(second(pseudo), 1.0))
    assert loss.shape == (4,)
    loss.sum().backward()
    assert first.weight.grad is None
    assert second.weight.grad.abs().sum() > 0
