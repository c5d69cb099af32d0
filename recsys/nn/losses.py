"""Losses per observed pair, before any reduction over pairs.

A pair's loss compares the score of its positive with the scores of its K negatives. What is done with several negatives
(all, the hardest, the hardest few, a weight by estimated rank) is `Loss.reduce`, so every loss goes with every hardness.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from recsys.config import Bound, settings

__all__ = ["Loss", "Terms", "pair_loss", "warp_weight"]


@dataclass(frozen=True, eq=False)
class Terms:
    """A loss before reduction.

    Args:
        pair: loss of each observed pair [B]; a denoiser may weight these.
        extra: what belongs to no pair (regularisation), a scalar.
    """

    pair: Tensor
    extra: Tensor | None = None

    def total(self) -> Tensor:
        """Mean over the pairs plus the extra, a scalar."""
        mean = self.pair.mean()
        return mean if self.extra is None else mean + self.extra


@settings
class Loss:
    """Which loss, and what it does with several negatives."""

    kind: Literal["bpr", "bce", "hinge", "softmax", "ccl"] = "bpr"
    """bpr: -log sigmoid(s+ - s-) (Rendle et al., UAI 2009). bce: binary cross-entropy. hinge: [margin - s+ + s-]+.
    softmax: sampled softmax, cross-entropy of the positive among its negatives. ccl: cosine contrastive loss,
    [1 - s+]+ + weight * mean [s- - margin]+ (Mao et al., CIKM 2021)."""
    reduce: Literal["each", "hardest", "top", "warp"] = "each"
    """Over the K negatives, for bpr, bce, hinge and ccl: mean of each, only the hardest, mean of the `top` hardest, or the hardest
    weighted by the estimated rank of the positive (WARP)."""
    top: Annotated[int, Bound(ge=1)] = 2
    """How many of the hardest negatives "top" keeps."""
    margin: float = 1.0
    """Of hinge and ccl."""
    temperature: Annotated[float, Bound(gt=0)] = 1.0
    """Of softmax and bpr: score differences are divided by it; with cosine scores, around 0.1."""
    weight: Annotated[float, Bound(ge=0)] = 1.0
    """Weight of the negative part, for bce and ccl."""
    correct: bool = True
    """softmax: subtract log q of the proposal from the scores (the logQ correction), where it is not uniform."""


def pair_loss(
    loss: Loss, pos: Tensor, neg: Tensor, *, n_items: int, mask: Tensor | None = None, log_q: tuple[Tensor, Tensor] | None = None
) -> Tensor:
    """Loss of each pair [B].

    Args:
        loss: which one.
        pos: scores of the positives [B].
        neg: scores of the negatives [B, K].
        n_items: size of the catalogue, for the rank estimate of "warp".
        mask: bool [B, K], False where a candidate is no negative, or None.
        log_q: log proposal of the positives [B] and of the negatives [B, K] or [K], or None.
    """
    if loss.kind == "softmax":
        return _softmax(loss, pos, neg, mask, log_q)
    if loss.kind == "bpr":
        each = F.softplus((neg - pos[:, None]) / loss.temperature)
    elif loss.kind == "hinge":
        each = F.relu(loss.margin - pos[:, None] + neg)
    elif loss.kind == "bce":
        each = loss.weight * F.softplus(neg)
    else:
        each = loss.weight * F.relu(neg - loss.margin)
    if mask is not None:
        each = each * mask
    reduced = _reduce(loss, each, neg, pos, mask, n_items)
    if loss.kind == "bce":
        return F.softplus(-pos) + reduced
    return F.relu(1 - pos) + reduced if loss.kind == "ccl" else reduced


def warp_weight(pos: Tensor, neg: Tensor, *, margin: float, n_items: int, mask: Tensor | None = None) -> Tensor:
    """ln(rank + 1) with rank estimated as floor(n_items * impostors / K), no gradient; [B].

    Source: Hsieh et al., Collaborative Metric Learning, WWW 2017, section 3.2. An impostor is a negative within the margin.
    """
    with torch.no_grad():
        impostor = margin - pos[:, None] + neg > 0
        drawn = torch.full_like(pos, neg.shape[1])
        if mask is not None:
            impostor, drawn = impostor & mask, mask.sum(1).to(pos.dtype).clamp_min(1)
        return torch.log1p(torch.floor(n_items * impostor.sum(1) / drawn))


def _reduce(loss: Loss, each: Tensor, neg: Tensor, pos: Tensor, mask: Tensor | None, n_items: int) -> Tensor:
    if neg.shape[1] == 1 and loss.reduce != "warp":
        return each[:, 0]
    if loss.reduce == "each":
        return each.mean(1) if mask is None else each.sum(1) / mask.sum(1).clamp_min(1)
    # Every loss here grows with the score of the negative, so the hardest negatives are the largest terms.
    if loss.reduce == "top":
        hard = each.topk(min(loss.top, each.shape[1]), dim=1).values
        return hard.mean(1) if mask is None else hard.sum(1) / mask.sum(1).clamp(1, hard.shape[1])
    hardest = each.max(1).values
    if loss.reduce == "warp":
        return warp_weight(pos, neg, margin=loss.margin, n_items=n_items, mask=mask) * hardest
    return hardest


def _softmax(loss: Loss, pos: Tensor, neg: Tensor, mask: Tensor | None, log_q: tuple[Tensor, Tensor] | None) -> Tensor:
    pos, neg = pos / loss.temperature, neg / loss.temperature
    if log_q is not None and loss.correct:
        pos, neg = pos - log_q[0], neg - log_q[1]
    value: Tensor = _LogOnePlusSum.apply(neg - pos[:, None], mask)  # type: ignore[no-untyped-call]
    return value


class _LogOnePlusSum(torch.autograd.Function):
    """log(1 + sum_k exp(z_k)) over the last dimension; its gradient is exp(z_k) / (1 + sum), kept from the forward pass.

    Written out because [B, K] is large: two buffers and a handful of passes instead of autograd's dozen.
    """

    @staticmethod
    def forward(ctx: Any, z: Tensor, mask: Tensor | None) -> Tensor:
        z = z if mask is None else z.masked_fill(~mask, -torch.inf)
        top = z.amax(1).clamp_min_(0)  # of the 1 as well, whose exponent is 0
        share = (z - top[:, None]).exp_()
        total = share.sum(1).add_(torch.exp(-top))
        ctx.save_for_backward(share.div_(total[:, None]))
        return total.log_().add_(top)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (share,) = ctx.saved_tensors
        return share * grads[0][:, None], None
