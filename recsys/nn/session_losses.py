"""Losses of GRU4Rec: a target against negatives, each alone or weighted by how hard it is.

With the score r_i of the target, the scores r_j of N negatives and their softmax s_j,

    top1       mean_j (sigmoid(r_j - r_i) + sigmoid(r_j^2))
    top1-max   sum_j s_j (sigmoid(r_j - r_i) + sigmoid(r_j^2))
    bpr-max    -log sum_j s_j sigmoid(r_i - r_j) + lambda sum_j s_j r_j^2

The softmax is over the negatives alone, and its weights have a gradient. Sources: Hidasi,
Karatzoglou, Baltrunas, Tikk, "Session-based recommendations with recurrent neural networks", ICLR
2016 (top1); Hidasi, Karatzoglou, "Recurrent neural networks with top-k gains for session-based
recommendations", CIKM 2018, equations of TOP1-max and BPR-max with its score regularisation. The
formulas are recalled from the papers. A negative that is masked has weight 0.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from recsys.nn.terms import mean_of

__all__ = ["bpr_max", "top1", "top1_max"]

_LOWEST = -1e30  # a masked score: finite, so that a position without negatives has no NaN


def top1(pos: Tensor, neg: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return TOP1 of each position, [T].

    Args:
        pos: scores of the targets, [T].
        neg: scores of the negatives, [T, K].
        mask: bool [T, K], False for a candidate that is not a negative; None: all are.
    """
    each = _top1(pos, neg)
    return mean_of(each if mask is None else each * mask, mask)


def top1_max(pos: Tensor, neg: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return TOP1-max of each position, [T]; arguments as of `top1`."""
    return (_weights(neg, mask) * _top1(pos, neg)).sum(1)


def bpr_max(
    pos: Tensor, neg: Tensor, mask: Tensor | None = None, *, penalty: float = 0.0
) -> Tensor:
    """Return BPR-max of each position, [T].

    A position without a negative has loss 0.

    Args:
        pos, neg, mask: as of `top1`.
        penalty: lambda, weight of the squared scores of negatives.
    """
    hidden = neg if mask is None else neg.masked_fill(~mask, _LOWEST)
    gain = (F.log_softmax(hidden, 1) + F.logsigmoid(pos[:, None] - neg)).masked_fill(
        hidden <= _LOWEST, _LOWEST
    )
    loss = -torch.logsumexp(gain, 1)
    if mask is not None:
        loss = torch.where(mask.any(1), loss, 0.0)
    if not penalty:
        return loss
    return loss + penalty * (_weights(neg, mask) * neg.square()).sum(1)


def _top1(pos: Tensor, neg: Tensor) -> Tensor:
    return torch.sigmoid(neg - pos[:, None]) + torch.sigmoid(neg.square())


def _weights(neg: Tensor, mask: Tensor | None) -> Tensor:
    """Return the softmax of the scores of the negatives, [T, K]; 0 where they are masked."""
    if mask is None:
        return neg.softmax(1)
    return neg.masked_fill(~mask, _LOWEST).softmax(1) * mask
