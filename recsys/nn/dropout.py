"""Dropout that draws its mask quickly on a CPU."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["dropout"]

_LEVELS = 1 << 16  # a random number of 16 bits decides about an element


def dropout(x: Tensor, share: float, training: bool) -> Tensor:
    """Return x with a share of its elements set to zero, and the others divided by 1 - share.

    On a CPU `F.dropout` draws one number per element, which costs as much as the matrix products of
    a small network. Here one number of 64 bits decides about four elements, so the share is rounded
    to a multiple of 2^-16. Draws from torch's default generator.

    Args:
        x: float, any shape.
        share: share of elements, in [0, 1).
        training: False returns x.
    """
    if not training or not share:
        return x
    if x.device.type != "cpu":
        return F.dropout(x, share)
    dropped = min(_LEVELS - 1, round(share * _LEVELS))
    n = x.numel()
    drawn = torch.empty((n + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
    kept = drawn.view(torch.int16)[:n].view(x.shape) >= dropped - _LEVELS // 2
    return x * kept.to(x.dtype).mul_(_LEVELS / (_LEVELS - dropped))
