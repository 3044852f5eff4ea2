r"""Log-likelihoods of counts with fast gradients, most of the time of a training step on counts.

The gamma functions of the negative binomial are differences over whole numbers,
:math:`\ln\Gamma(x + \theta) - \ln\Gamma(\theta) = \sum_{j < x} \ln(\theta + j)`, and :math:`\theta`
belongs to a feature. A table of x against features holds all values that a batch needs.
"""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import Tensor

TABLE_ROWS: Final = 64
"""Largest count in the table. Gamma functions are computed for larger ones."""


def nb_log_likelihood(
    log_mean: Tensor, theta: Tensor, x: Tensor, *, mean: Tensor | None = None
) -> Tensor:
    r"""Log-likelihood of negative binomial counts.

    .. math:: \ln p(x) = \ln\frac{\Gamma(x + \theta)}{\Gamma(\theta)\, x!}
        + \theta \ln\frac{\theta}{\theta + \mu} + x \ln\frac{\mu}{\theta + \mu}

    Parameters
    ----------
    log_mean
        :math:`\ln \mu`, shape (n, d).
    theta
        Inverse dispersion of each feature, shape (d,): the variance is :math:`\mu + \mu^2 /
        \theta`.
    x
        Counts, shape (n, d). Other values are admitted too.
    mean
        :math:`\mu` if it is known, shape (n, d). The gradient goes through ``log_mean``.

    Returns
    -------
    Tensor of shape (n, d), with gradients for ``log_mean`` and ``theta``.
    """
    apply: Any = _NegativeBinomial.apply
    likelihood: Tensor = apply(log_mean, theta, x, mean)
    return likelihood


def poisson_log_likelihood(log_mean: Tensor, x: Tensor) -> Tensor:
    r"""Log-likelihood of Poisson counts (n, d), :math:`x \ln \mu - \mu - \ln x!`."""
    return x * log_mean - log_mean.exp() - log_factorial(x)


class _NegativeBinomial(torch.autograd.Function):
    """The gradient is computed with the value and shares most of it."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, log_mean: Tensor, theta: Tensor, x: Tensor, mean: Tensor | None
    ) -> Tensor:
        mean = log_mean.exp() if mean is None else mean
        ratio = mean / theta
        t = ratio.log1p()  # ln(theta + mu) - ln(theta)
        ways, of_ways = ln_binomial(x, theta, derivative=ctx.needs_input_grad[1])
        value = (log_mean - theta.log()).sub_(t).mul_(x).sub_(theta * t).add_(ways)
        of_log_mean = (x - mean).div_(ratio.add_(1.0))
        of_theta = None if of_ways is None else of_ways.sub_(t).sub_(of_log_mean / theta)
        ctx.save_for_backward(of_log_mean, of_theta)
        return value

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:  # type: ignore[override]
        of_log_mean, of_theta = ctx.saved_tensors
        return (
            grad * of_log_mean if ctx.needs_input_grad[0] else None,
            (grad * of_theta).sum(dim=0) if ctx.needs_input_grad[1] else None,
            None,
            None,
        )


def ln_binomial(x: Tensor, theta: Tensor, *, derivative: bool) -> tuple[Tensor, Tensor | None]:
    r"""Logarithm of :math:`\binom{x + \theta - 1}{x}`, and its derivative by theta if asked for.

    x has shape (n, d) and is not negative, theta (d,). Results have shape (n, d).
    """
    whole = _whole(x)
    if whole is None:
        return _by_gamma(x, theta, derivative)
    rows = min(int(whole.max()), TABLE_ROWS)
    before = torch.arange(rows, dtype=theta.dtype)[:, None]
    feature = torch.arange(len(theta), dtype=whole.dtype)
    index = whole.clamp(max=rows).mul_(len(theta)).add_(feature).flatten()
    value = _look_up(((theta + before) / (before + 1.0)).log(), index)
    slope = _look_up((theta + before).reciprocal(), index) if derivative else None
    beyond = _beyond(whole, rows)
    if len(beyond):
        exact = _by_gamma(x.flatten()[beyond], theta[beyond % len(theta)], derivative)
        value[beyond] = exact[0]
        if slope is not None and exact[1] is not None:
            slope[beyond] = exact[1]
    return value.view_as(x), None if slope is None else slope.view_as(x)


def _by_gamma(x: Tensor, theta: Tensor, derivative: bool) -> tuple[Tensor, Tensor | None]:
    value = torch.lgamma(x + theta) - torch.lgamma(theta) - torch.lgamma(x + 1.0)
    return value, torch.digamma(x + theta) - torch.digamma(theta) if derivative else None


def _whole(x: Tensor) -> Tensor | None:
    """Return counts as whole numbers if a table pays: on a CPU, with more cells than rows."""
    if x.device.type != "cpu" or len(x) <= TABLE_ROWS or not x.shape[1]:
        return None
    whole = x.int()
    return whole if torch.equal(whole.to(x.dtype), x) else None


def _beyond(whole: Tensor, rows: int) -> Tensor:
    """Return flat positions of counts beyond the table."""
    return (whole > rows).flatten().nonzero().squeeze(1)


def _look_up(steps: Tensor, index: Tensor) -> Tensor:
    """Return cumulative sums of steps (rows, d) at flat positions of their table."""
    table = torch.cat([steps.new_zeros(1, steps.shape[1]), steps.cumsum(dim=0)])
    return table.flatten().index_select(0, index)


def log_factorial(x: Tensor) -> Tensor:
    """Logarithm of the factorial, (n, d)."""
    whole = _whole(x)
    if whole is None:
        return torch.lgamma(x + 1.0)
    table = torch.lgamma(torch.arange(TABLE_ROWS + 1, dtype=x.dtype) + 1.0)
    value = table.index_select(0, whole.clamp(max=TABLE_ROWS).flatten())
    beyond = _beyond(whole, TABLE_ROWS)
    value[beyond] = torch.lgamma(x.flatten()[beyond] + 1.0)
    return value.view_as(x)
