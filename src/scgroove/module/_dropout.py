"""Dropout that costs little on a processor."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn

LEVELS: Final = 256
"""Values of the random byte that decides whether a value is dropped."""


class Dropout(nn.Dropout):
    """Dropout by random bytes on a CPU, where torch draws a double for every value.

    The rate is the nearest multiple of 1/256, and remaining values are scaled by it, so that means
    are exact. On other devices it is that of torch.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Drop values at random while training, shape as given."""
        dropped = min(round(self.p * LEVELS), LEVELS - 1)
        if not self.training or not dropped:
            return x
        if x.device.type != "cpu":
            return super().forward(x)
        words = torch.empty((x.numel() + 7) // 8, dtype=torch.int64).random_(-(2**63), None)
        level = words.view(torch.uint8)[: x.numel()].view(x.shape).to(x.dtype)
        mask = level.sub_(dropped - 1).clamp_(0, 1)  # 1 where the byte is `dropped` or more
        return x * mask.mul_(LEVELS / (LEVELS - dropped))
