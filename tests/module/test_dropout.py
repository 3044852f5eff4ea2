"""Dropout by random bytes."""

import pytest
import torch

from scgroove.module._dropout import Dropout


@pytest.mark.parametrize("p", [0.1, 0.5, 0.99])
def test_rate_and_mean(p):
    torch.manual_seed(0)
    found = Dropout(p).train()(torch.ones(1000, 801))
    assert (found == 0).float().mean().item() == pytest.approx(p, abs=4e-3)
    assert found.mean().item() == pytest.approx(1, abs=0.02)
    kept = found[found > 0].unique()
    assert len(kept) == 1
    assert kept.item() == pytest.approx(1 / (1 - round(p * 256) / 256))


def test_every_place_is_dropped_now_and_then():
    torch.manual_seed(0)
    layer = Dropout(0.5).train()
    dropped = sum((layer(torch.ones(3, 7)) == 0).int() for _ in range(200))
    assert dropped.min() > 60
    assert dropped.max() < 140


def test_values_go_through_where_kept_and_so_do_gradients():
    torch.manual_seed(1)
    x = torch.randn(50, 20, requires_grad=True)
    out = Dropout(0.25).train()(x)
    out.sum().backward()
    assert torch.equal((out != 0), x.grad != 0)
    torch.testing.assert_close(out, x * x.grad)


@pytest.mark.parametrize(("p", "training"), [(0.0, True), (0.5, False), (0.001, True)])
def test_nothing_is_dropped(p, training):
    x = torch.randn(5, 5)
    assert Dropout(p).train(training)(x) is x


def test_one_seed_one_result():
    layer, x = Dropout(0.5).train(), torch.ones(9, 9)
    found = []
    for _ in range(2):
        torch.manual_seed(3)
        found.append(layer(x))
    assert torch.equal(*found)


def test_nothing_is_left_of_everything():
    """A rate of nearly one keeps some values, and no cells give no cells."""
    assert Dropout(0.999).train()(torch.ones(100, 100)).max() == 256
    assert Dropout(0.5).train()(torch.ones(0, 4)).shape == (0, 4)
