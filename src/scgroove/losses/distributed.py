"""Batches that are spread over processes: what the others hold, with gradients."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def world_size() -> int:
    """Number of processes that train together. 1 if there are no others."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def gather(x: Tensor, fill: float = 0.0) -> Tensor:
    """Return the rows of all processes, in the order of their ranks.

    Parameters
    ----------
    x
        Rows of this process, shape (n, ...). Numbers of rows may differ between processes.
    fill
        Value of rows that stand in where a process has fewer than another.

    Returns
    -------
    Tensor of shape (world_size * largest n, ...). Gradients go back to the process of the row.
    """
    if world_size() == 1:
        return x
    largest = torch.tensor(len(x), device=x.device)
    dist.all_reduce(largest, op=dist.ReduceOp.MAX)
    padded = torch.cat([x, x.new_full((int(largest) - len(x), *x.shape[1:]), fill)])
    found: Tensor = _Gather.apply(padded)  # type: ignore[no-untyped-call]
    return found


def total(x: Tensor) -> Tensor:
    """Sum over all processes, without a gradient."""
    x = x.detach().clone()
    if world_size() > 1:
        dist.all_reduce(x)
    return x


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:  # type: ignore[override]
        parts = [torch.empty_like(x) for _ in range(world_size())]
        dist.all_gather(parts, x.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # type: ignore[override]
        grad = grad.clone()
        dist.all_reduce(grad)
        return grad.chunk(world_size())[dist.get_rank()]
