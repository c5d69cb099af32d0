"""Losses per observed pair, before any reduction over pairs.

The loss of a pair compares the score of its positive with the scores of its K negatives.
`Loss.reduce` decides how several negatives count (all, the hardest, some of the hardest, random
ones, weights), so every loss combines with every rule of hardness.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from recsys import plugins
from recsys.errors import InputError
from recsys.nn.hardness import fitting, one_of_top, resampled, soft_weights
from recsys.nn.loss_settings import Loss
from recsys.nn.partial_auc import pair_square
from recsys.nn.terms import (
    Logits,
    Terms,
    label_losses,
    label_parts,
    mean_negatives,
    mean_of,
    mean_weighted,
    single,
    weighted,
)

__all__ = [
    "Chosen",
    "Logits",
    "Loss",
    "Terms",
    "choose",
    "label_losses",
    "label_parts",
    "logits",
    "mean_negatives",
    "pair_loss",
    "pair_terms",
    "refuse_fitting",
    "warp_weight",
]

# Rules that do not choose the highest scores: the terms of the loss do not show what they choose.
_CHOOSING = ("one-of-top", "fitting", "resampled")


@dataclass(frozen=True, eq=False)
class Chosen:
    """The negatives that contribute to the loss of each pair.

    Args:
        place: positions among the K candidates, int64 [B, k]; "resampled" may repeat one.
        mask: bool [B, k], False for a candidate that is not a negative; None: all are.
        weight: factor of the loss of each pair, [B] (WARP); None: 1.
    """

    place: Tensor
    mask: Tensor | None
    weight: Tensor | None


@torch.no_grad()
def choose(
    loss: Loss,
    pos: Tensor,
    neg: Tensor,
    *,
    n_items: int,
    mask: Tensor | None = None,
    log_q: tuple[Tensor, Tensor] | None = None,
) -> Chosen | None:
    """Return the negatives that `pair_loss` would use, so that only they need a gradient.

    Every loss here grows with the score of a negative. The hardest are therefore those with the
    highest
    scores, and the gradient of the hardest few is the gradient of these few. With ten candidates of
    which one is kept this saves most of the work of a step. Random rules draw from torch's default
    generator. For the arguments see `pair_loss`.

    Returns:
        The choice, or None if all negatives contribute.
    """
    kept = loss.n_kept(neg.shape[1])
    if loss.reduce in _CHOOSING and neg.shape[1] > 1:
        place = _place(loss, pos, neg, mask, log_q)
        return Chosen(place, None if mask is None else mask.gather(1, place), None)
    if kept == neg.shape[1] and loss.reduce != "warp":
        return None
    usable = neg if mask is None else neg.masked_fill(~mask, -torch.inf)
    place = usable.argmax(1, keepdim=True) if kept == 1 else usable.topk(kept, dim=1).indices
    weight = (
        warp_weight(pos, neg, margin=loss.margin, n_items=n_items, mask=mask)
        if loss.reduce == "warp"
        else None
    )
    return Chosen(place, None if mask is None else mask.gather(1, place), weight)


def _place(
    loss: Loss, pos: Tensor, neg: Tensor, mask: Tensor | None, log_q: tuple[Tensor, Tensor] | None
) -> Tensor:
    """Return the positions that a rule of `_CHOOSING` selects, int64 [B, k]."""
    if loss.reduce == "fitting":
        return fitting(
            pos, neg, alpha=loss.fit_alpha, beta=loss.fit_beta, power=loss.fit_power, mask=mask
        )
    if loss.reduce == "one-of-top":
        return one_of_top(neg, loss.n_top(neg.shape[1]), mask)
    return resampled(
        neg,
        loss.n_kept(neg.shape[1]),
        log_q=_proposal(loss, log_q),
        temperature=loss.temperature,
        mask=mask,
    )


def _proposal(loss: Loss, log_q: tuple[Tensor, Tensor] | None) -> Tensor | None:
    """Return the log proposal of the negatives to correct for, or None."""
    return log_q[1] if log_q is not None and loss.correct else None


def refuse_fitting(loss: Loss, method: str) -> None:
    """Refuse `reduce = "fitting"` for a method whose scores are negated distances.

    The rule looks for a positive score. A negated distance is never above 0, so the closest score
    would
    always be the highest.

    Raises:
        InputError: the loss has `reduce = "fitting"`.
    """
    if loss.reduce == "fitting":
        cause = (
            f"{method} scores by a negated distance, which is never above 0, so that "
            "reduce = 'fitting' would always choose the hardest negative"
        )
        raise InputError(
            cause, remedy='use reduce = "hardest", or a method that scores by inner products'
        )


def pair_loss(
    loss: Loss,
    pos: Tensor,
    neg: Tensor,
    *,
    n_items: int,
    mask: Tensor | None = None,
    log_q: tuple[Tensor, Tensor] | None = None,
    chosen: Chosen | None = None,
) -> Tensor:
    """Return the loss of each pair, [B].

    Args:
        loss: the settings.
        pos: scores of the positives, [B].
        neg: scores of the negatives, [B, K].
        n_items: size of the catalogue, for the rank estimate of "warp".
        mask: bool [B, K], False for a candidate that is not a negative; None: all are.
        log_q: log proposal of the positives [B] and of the negatives [B, K] or [K]; None if
            uniform.
        chosen: the result of `choose` if `neg` holds only the chosen negatives; `mask` is then
            ignored.
    """
    if loss.kind == "softmax":
        pair = _softmax(loss, pos, neg, mask, log_q)
        return pair if loss.pairs == "all" else _some_pairs(loss, pair, pos)
    if chosen is None and loss.reduce in _CHOOSING:
        chosen = choose(loss, pos, neg, n_items=n_items, mask=mask, log_q=log_q)
        neg = neg if chosen is None else neg.gather(1, chosen.place)
    each = _per_negative(loss.kind)(loss, pos, neg)
    if chosen is not None:
        pair = mean_of(each, chosen.mask)
        pair = pair if chosen.weight is None else chosen.weight * pair
    elif loss.reduce == "soft":
        weights = soft_weights(each.detach(), loss.rho, log_q=_proposal(loss, log_q), mask=mask)
        pair = (each * weights).sum(1)
    else:
        pair = _reduce(loss, each if mask is None else each * mask, neg, pos, mask, n_items)
    if loss.kind == "bce":
        pair = F.softplus(-pos) + pair
    elif loss.kind == "square":
        pair = (1 - pos).square() + pair
    elif loss.kind == "ccl":
        pair = F.relu(1 - pos) + pair
    return pair if loss.pairs == "all" else _some_pairs(loss, pair, pos)


def logits(loss: Loss, pos: Tensor, neg: Tensor, mask: Tensor | None = None) -> Logits | None:
    """Return the logits for `Terms`, or None unless every pair and negative counts by its label.

    For the arguments see `pair_loss`.
    """
    return Logits(pos, neg, mask, loss.weight) if _has_labels(loss) else None


def _has_labels(loss: Loss) -> bool:
    return loss.kind == "bce" and loss.reduce == "each" and loss.pairs == "all"


def pair_terms(
    loss: Loss,
    pos: Tensor,
    neg: Tensor,
    *,
    n_items: int,
    mask: Tensor | None = None,
    log_q: tuple[Tensor, Tensor] | None = None,
    extra: Tensor | None = None,
) -> Terms:
    """Return `pair_loss` as terms, with the logits of a loss by labels.

    The losses by labels are then computed once, in at least float32. For the arguments see
    `pair_loss`;
    `extra` is that of `Terms`.
    """
    if not _has_labels(loss):
        return Terms(pair_loss(loss, pos, neg, n_items=n_items, mask=mask, log_q=log_q), extra)
    pos, neg = single(pos), single(neg)
    own, others = F.softplus(-pos), F.softplus(neg)
    rest = mean_weighted(others, loss.weight, mask)
    return Terms(own + rest, extra, Logits(pos, neg, mask, loss.weight, (own, others, rest)))


def _some_pairs(loss: Loss, pair: Tensor, pos: Tensor) -> Tensor:
    """Return the loss of the kept pairs, 0 for the others.

    It is scaled so that its mean over all pairs is the mean over the kept ones.
    """
    kept = max(1, int(loss.pair_share * len(pos) + 1e-9))
    kept_pairs = pos.detach().topk(kept, largest=loss.pairs == "easiest", sorted=False).indices
    return pair * torch.zeros_like(pair).index_fill_(0, kept_pairs, len(pos) / kept)


def _per_negative(kind: str) -> PerNegative:
    """Return the function that gives the contribution of every negative, [B, K]."""
    own = _PER_NEGATIVE.get(kind)
    return own if own is not None else plugins.load("losses", kind)


def _bpr(loss: Loss, pos: Tensor, neg: Tensor) -> Tensor:
    return F.softplus((neg - pos[:, None]) / loss.temperature)


def _hinge(loss: Loss, pos: Tensor, neg: Tensor) -> Tensor:
    return F.relu(loss.margin - pos[:, None] + neg)


def _bce(loss: Loss, pos: Tensor, neg: Tensor) -> Tensor:
    return weighted(loss.weight, F.softplus(neg))


def _square(loss: Loss, pos: Tensor, neg: Tensor) -> Tensor:
    return loss.weight * neg.square()


def _opauc(loss: Loss, pos: Tensor, neg: Tensor) -> Tensor:
    return pair_square(torch.sigmoid(pos / loss.temperature), torch.sigmoid(neg / loss.temperature))


def _ccl(loss: Loss, pos: Tensor, neg: Tensor) -> Tensor:
    return loss.weight * F.relu(neg - loss.margin)


# The contribution of each negative [B, K] from scores of positives [B] and negatives [B, K]. An
# extension of the group recsys.losses has the same signature; it must grow with the negative score.
PerNegative: TypeAlias = Callable[[Loss, Tensor, Tensor], Tensor]
_PER_NEGATIVE: dict[str, PerNegative] = {
    "bpr": _bpr,
    "hinge": _hinge,
    "bce": _bce,
    "square": _square,
    "opauc": _opauc,
    "ccl": _ccl,
}


def warp_weight(
    pos: Tensor, neg: Tensor, *, margin: float, n_items: int, mask: Tensor | None = None
) -> Tensor:
    """Return ln(rank + 1) without a gradient, [B].

    The rank is estimated as floor(n_items * impostors / K), where an impostor is a negative within
    the
    margin. Source: Hsieh et al., Collaborative Metric Learning, WWW 2017, section 3.2.
    """
    with torch.no_grad():
        impostor = margin - pos[:, None] + neg > 0
        drawn = torch.full_like(pos, neg.shape[1])
        if mask is not None:
            impostor, drawn = impostor & mask, mask.sum(1).to(pos.dtype).clamp_min(1)
        return torch.log1p(torch.floor(n_items * impostor.sum(1) / drawn))


def _reduce(
    loss: Loss, each: Tensor, neg: Tensor, pos: Tensor, mask: Tensor | None, n_items: int
) -> Tensor:
    if neg.shape[1] == 1 and loss.reduce != "warp":
        return each.squeeze(1)
    if loss.reduce == "each":
        return mean_of(each, mask)
    # The hardest negatives are the largest terms.
    if loss.reduce == "top":
        hard = each.topk(loss.n_kept(each.shape[1]), dim=1).values
        return hard.mean(1) if mask is None else hard.sum(1) / mask.sum(1).clamp(1, hard.shape[1])
    hardest = each.max(1).values
    if loss.reduce == "warp":
        return warp_weight(pos, neg, margin=loss.margin, n_items=n_items, mask=mask) * hardest
    return hardest


def _softmax(
    loss: Loss, pos: Tensor, neg: Tensor, mask: Tensor | None, log_q: tuple[Tensor, Tensor] | None
) -> Tensor:
    pos, neg = pos / loss.temperature, neg / loss.temperature
    if log_q is not None and loss.correct:
        pos, neg = pos - log_q[0], neg - log_q[1]
    value: Tensor = _LogOnePlusSum.apply(neg - pos[:, None], mask)  # type: ignore[no-untyped-call]
    return value


class _LogOnePlusSum(torch.autograd.Function):
    """log(1 + sum_k exp(z_k)) over the last dimension.

    The gradient is exp(z_k) / (1 + sum), kept from the forward pass. It is written out because [B,
    K]
    is large: two buffers and a few passes in place of autograd's dozen.
    """

    @staticmethod
    def forward(ctx: Any, z: Tensor, mask: Tensor | None) -> Tensor:
        z = z if mask is None else z.masked_fill(~mask, -torch.inf)
        top = z.amax(1).clamp_min_(0)  # of the 1 too, whose exponent is 0
        share = (z - top[:, None]).exp_()
        total = share.sum(1).add_(torch.exp(-top))
        ctx.save_for_backward(share.div_(total[:, None]))
        return total.log_().add_(top)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (share,) = ctx.saved_tensors
        return share * grads[0][:, None], None
