"""Dropout that costs little on a processor."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn

LEVELS: Final = 256
"""A random byte decides of each value, so that rates are multiples of 1/256."""


class Dropout(nn.Dropout):
    """Dropout by random bytes on a processor, where torch draws a random number in double precision for every value.

    The rate is the nearest multiple of 1/256, and what is kept is scaled by that rate: means are exact. On other devices it is that
    of torch.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Drop values at random while training, shape as given."""
        dropped = min(round(self.p * LEVELS), LEVELS - 1)
        if not self.training or not dropped:
            return x
        if x.device.type != "cpu":
            return super().forward(x)
        eight_at_a_time = torch.empty((x.numel() + 7) // 8, dtype=torch.int64).random_(
            -(2**63), None
        )
        level = eight_at_a_time.view(torch.uint8)[: x.numel()].view(x.shape).to(x.dtype)
        keep = level.sub_(dropped - 1).clamp_(0, 1)  # 1 where the byte is `dropped` or more
        return x * keep.mul_(LEVELS / (LEVELS - dropped))
