"""Log-likelihoods of counts: values and gradients against scvi-tools and scipy, with tables and without."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scvi.distributions import NegativeBinomial

from scgroove.losses import counts as _counts
from scgroove.losses.counts import nb_log_likelihood, poisson_log_likelihood


def counts(n=80, d=7, largest=30, seed=0, dtype=torch.float64):
    rng = np.random.default_rng(seed)
    x = rng.integers(0, largest + 1, (n, d)) * (rng.random((n, d)) < 0.5)
    log_mean, log_theta = rng.normal(size=(n, d)), rng.normal(size=d)
    return [torch.tensor(v, dtype=dtype) for v in (x, log_mean, log_theta)]


@settings(max_examples=20, deadline=None)
@given(
    n=st.integers(1, 100), d=st.integers(1, 9), largest=st.integers(0, 120), seed=st.integers(0, 9)
)
def test_values_are_those_of_scipy(n, d, largest, seed):
    x, log_mean, log_theta = counts(n, d, largest, seed)
    theta, mean = log_theta.exp().numpy(), log_mean.exp().numpy()
    expected = stats.nbinom.logpmf(x.numpy(), theta, theta / (theta + mean))
    assert nb_log_likelihood(log_mean, log_theta.exp(), x).numpy() == pytest.approx(
        expected, abs=1e-9
    )
    expected = stats.poisson.logpmf(x.numpy(), mean)
    assert poisson_log_likelihood(log_mean, x).numpy() == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("largest", [0, 1, 30, 10_000], ids=lambda n: f"counts up to {n}")
def test_gradients_are_those_of_scvi(largest):
    x, log_mean, log_theta = counts(largest=largest)
    weight = torch.rand(x.shape, dtype=x.dtype)

    def gradients(log_likelihood):
        leaves = [v.clone().requires_grad_() for v in (log_mean, log_theta)]
        value = log_likelihood(leaves[0], leaves[1].exp())
        return value, *torch.autograd.grad((value * weight).sum(), leaves)

    ours = gradients(lambda log_mean, theta: nb_log_likelihood(log_mean, theta, x))
    theirs = gradients(
        lambda log_mean, theta: NegativeBinomial(mu=log_mean.exp(), theta=theta).log_prob(x)
    )
    for found, expected in zip(ours, theirs, strict=True):
        torch.testing.assert_close(
            found, expected, rtol=1e-6, atol=1e-5
        )  # scvi adds 1e-8 inside logarithms


def test_gradients_are_those_of_finite_differences():
    x, log_mean, log_theta = counts(5, 3)
    leaves = (log_mean.requires_grad_(), log_theta.exp().requires_grad_())
    assert torch.autograd.gradcheck(lambda a, b: nb_log_likelihood(a, b, x), leaves)
    only_mean = (leaves[0], leaves[1].detach())
    assert torch.autograd.gradcheck(lambda a, b: nb_log_likelihood(a, b, x), only_mean)


@pytest.mark.parametrize("table", [True, False])
def test_single_precision_is_enough(table, monkeypatch):
    if not table:
        monkeypatch.setattr(_counts, "_whole", lambda x: None)
    x, log_mean, log_theta = counts(200, 50, largest=100)
    exact = nb_log_likelihood(log_mean, log_theta.exp(), x)
    found = nb_log_likelihood(*(v.float() for v in (log_mean, log_theta.exp(), x)))
    torch.testing.assert_close(found.double(), exact, rtol=1e-5, atol=1e-3)


def test_large_theta_is_poisson():
    x, log_mean, _ = counts(largest=5, dtype=torch.float32)
    theta = torch.full((x.shape[1],), 1e6)
    found = nb_log_likelihood(log_mean, theta, x)
    torch.testing.assert_close(found, poisson_log_likelihood(log_mean, x), rtol=1e-3, atol=1e-3)


def test_a_table_is_made_where_it_pays():
    x, _, _ = counts(largest=5)
    assert torch.equal(_counts._whole(x), x.int())
    assert _counts._whole(x[:10]) is None, "fewer cells than rows"
    assert _counts._whole(x + 0.5) is None, "no whole numbers"


def test_values_between_whole_numbers():
    x, log_mean, log_theta = counts(largest=5)
    found = nb_log_likelihood(log_mean, log_theta.exp(), x + 0.5)
    expected = NegativeBinomial(mu=log_mean.exp(), theta=log_theta.exp()).log_prob(x + 0.5)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-5)
