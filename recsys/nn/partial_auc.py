"""Partial AUC as a loss: over the hardest negatives, and for some forms over part of the positives.

Scores f lie in [0, 1] (the sigmoid of a model's score) and the surrogate is the square
(1 - f+ + f-)^2. On [0, 1] it grows with f- and falls with f+, so the hardest pairs are those of the
highest negatives and the lowest positives. A share is the fraction kept: floor(share n) of n, at
least one. The metrics of `recsys.evaluation.partial_auc` differ here: they are undefined for none.

    square        mean over all kept pairs in linear time, from means and variances
    pair_square   surrogate of each pair with its own negatives, optionally re-weighted (poly, exp)
    weighted      re-weighted surrogate over all pairs of two sets, in linear time
    top_share     mean of the largest losses of each row: per-user OPAUC of any pair loss, DNS,
                  and DiHarS in closed form
    cvar, moved   the same mean with a learned threshold per row (SOPA; DiHarS as printed), and the
                  update of that threshold
    instance_wise minimax form without ranking (PAUCI), a value to descend and ascend

The selection has no gradient; the gradient flows through the selected values.

Sources: AUC square loss from moments, Ying, Wen & Lyu, NeurIPS 2016; re-weighting, Yang, Xu, Bao
et al., ICML 2021; minimax, Shao, Xu, Yang, Bao & Huang, NeurIPS 2022; thresholds per positive, Zhu
et al., ICML 2022; mean of the k largest, Fan et al., NeurIPS 2017; lower-left, Shi et al., WWW
2024. Differences from released code: the margin stays 1 and is not the exponent; the dual variable
is ascended, not descended. Reconstructed: their use for recommendation, per pair or per user; only
the last source is about recommendation.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = [
    "End",
    "Form",
    "Saddle",
    "cvar",
    "instance_wise",
    "moved",
    "pair_square",
    "square",
    "threshold",
    "top_share",
    "weighted",
]

End = Literal["two-way", "lower-left"]
Form = Literal["plain", "poly", "exp"]

_EPS = 1e-6  # keeps the slope of a power finite at 0


def square(
    pos: Tensor,
    neg: Tensor,
    *,
    pos_share: float = 1.0,
    neg_share: float = 1.0,
    end: End = "two-way",
    mask: Tensor | None = None,
) -> Tensor:
    """Return the mean of (1 - f+ + f-)^2 over all kept pairs, a scalar.

    It is Var+ + Var- + (1 - (m+ - m-))^2 with means and variances of the kept scores. With
    `pos_share`
    1 it is one-way partial AUC, with both shares 1 it is AUC.

    Args:
        pos: scores of the positives, in [0, 1], any shape.
        neg: scores of the negatives, any shape.
        pos_share: share of the positives kept: the lowest ("two-way") or the highest
        ("lower-left").
        neg_share: share of the negatives kept: the highest.
        end: which positives are kept.
        mask: bool, shaped as `neg`, False for an entry that is not a negative; None: all are.
    """
    pos, neg = pos.reshape(-1), neg.reshape(-1) if mask is None else neg[mask]
    if not len(pos) or not len(neg):
        return pos.sum() * 0 + neg.sum() * 0
    if pos_share < 1:
        pos = pos.topk(_kept(pos_share, len(pos)), largest=end == "lower-left", sorted=False).values
    if neg_share < 1:
        neg = neg.topk(_kept(neg_share, len(neg)), sorted=False).values
    return pos.var(correction=0) + neg.var(correction=0) + (1 - pos.mean() + neg.mean()).square()


def pair_square(
    pos: Tensor,
    neg: Tensor,
    *,
    form: Form = "plain",
    rate: float = 1.0,
    both: bool = False,
    detach: bool = False,
) -> Tensor:
    """Return w+ w- (1 - f+ + f-)^2 of each positive with its own negatives, [B, K].

    It grows with f-, so the largest values belong to the hardest negatives.

    Args:
        pos: scores of the positives, in [0, 1], [B].
        neg: scores of their negatives, [B, K].
        form, rate, both, detach: as in `weighted`.
    """
    each = (1 - pos[:, None] + neg).square()
    if form == "plain":
        return each
    weight = _weight(neg, form, rate, detach=detach)
    return (
        weight * each
        if not both
        else _weight(1 - pos, form, rate, detach=detach)[:, None] * weight * each
    )


def weighted(
    pos: Tensor,
    neg: Tensor,
    *,
    form: Form,
    rate: float,
    both: bool = False,
    detach: bool = False,
    mask: Tensor | None = None,
) -> Tensor:
    """Return the mean over all pairs of w+ w- (1 - f+ + f-)^2, a scalar, in linear time.

    The weights are products and the square is that of a sum. With x = 1 - f+ and y = f-:
    E[w+ x^2] E[w-] + 2 E[w+ x] E[w- y] + E[w+] E[w- y^2].

    Args:
        pos: scores of the positives, in [0, 1], any shape.
        neg: scores of the negatives, any shape.
        form: "poly" w(t) = (t + 1e-6)^rate, "exp" w(t) = 1 - exp(-rate t), of t = f- and t = 1 -
        f+;
            "plain" 1.
        rate: above 0. poly tends to "plain" as it falls to 0, exp as it grows.
        both: weight the positives too (two-way partial AUC); else w+ = 1 (one-way).
        detach: no gradient through the weights; the released code has one.
        mask: bool, shaped as `neg`, False for an entry that is not a negative; None: all are.
    """
    x, y = 1 - pos.reshape(-1), neg.reshape(-1) if mask is None else neg[mask]
    if not len(x) or not len(y):
        return x.sum() * 0 + y.sum() * 0
    over = _weight(y, form, rate, detach=detach)
    under = _weight(x, form, rate, detach=detach) if both else torch.ones_like(x)
    return (
        (under * x.square()).mean() * over.mean()
        + 2 * (under * x).mean() * (over * y).mean()
        + under.mean() * (over * y.square()).mean()
    )


def top_share(each: Tensor, share: float, mask: Tensor | None = None) -> Tensor:
    """Return the mean of the floor(share k) largest losses of each row, at least one, [B].

    k is the number of negatives of the row; the loss of a row without negatives is 0.

    Args:
        each: losses, [B, K].
        share: fraction kept.
        mask: bool [B, K], False for a candidate that is not a negative; None: all are.
    """
    if mask is None:
        return each.topk(_kept(share, each.shape[1]), dim=1, sorted=False).values.mean(1)
    count = mask.sum(1)
    kept = (share * count.double() + 1e-9).floor().long().clamp_min(1)
    hard = each.masked_fill(~mask, -torch.inf).topk(_kept(share, each.shape[1]), dim=1).values
    inside = torch.arange(hard.shape[1], device=each.device) < torch.minimum(kept, count)[:, None]
    return torch.where(inside, hard, 0.0).sum(1) / kept


def cvar(each: Tensor, threshold: Tensor, share: float, mask: Tensor | None = None) -> Tensor:
    """Return a threshold s plus mean [loss - s]+ / share of each row, [B].

    Its minimum over s is `top_share` wherever share k is an integer. It is unbiased in the number
    of
    negatives drawn, so the threshold can be learned over draws. 0 for a row without negatives.

    Args:
        each: losses, [B, K].
        threshold: s, [B]; learned by its gradient, or by `moved`.
        share: fraction kept.
        mask: as in `top_share`.
    """
    over = F.relu(each - threshold[:, None])
    if mask is None:
        return threshold + over.mean(1) / share
    count = mask.sum(1)
    return (threshold + (over * mask).sum(1) / count.clamp_min(1) / share) * (count > 0)


@torch.no_grad()
def threshold(each: Tensor, share: float) -> Tensor:
    """Return the best threshold of `cvar`, [B]: the smallest loss that `top_share` keeps."""
    return each.topk(_kept(share, each.shape[1]), dim=1).values[:, -1]


@torch.no_grad()
def moved(
    threshold: Tensor, each: Tensor, share: float, *, step: float = 0.1, mask: Tensor | None = None
) -> Tensor:
    """Return thresholds [B] after a step down the sub-gradient 1 - P(loss > s) / share.

    The rows are those of the batch.
    """
    above = (each > threshold[:, None]).to(each.dtype)
    part = above.mean(1) if mask is None else (above * mask).sum(1) / mask.sum(1).clamp_min(1)
    return threshold - step * (1 - part / share)


class Saddle(NamedTuple):
    """The point at which `instance_wise` is evaluated: scalars learned together with the model.

    a and b tend to the means of the kept positives and negatives, gamma to b - a, s_pos and s_neg
    to
    the thresholds of the kept scores.
    """

    a: Tensor
    b: Tensor
    gamma: Tensor
    s_pos: Tensor
    s_neg: Tensor

    def bounded(self, *, two_way: bool) -> Saddle:
        """Return the point clipped to its domain.

        a, b in [0, 1], s_pos in [-4, 1], s_neg in [0, 5], gamma in [b - 1, 1]; two-way in
        [max(-a, b - 1), 1].
        """
        a, b = self.a.clamp(0, 1), self.b.clamp(0, 1)
        low = torch.maximum(-a, b - 1) if two_way else b - 1
        return Saddle(
            a,
            b,
            torch.minimum(torch.maximum(self.gamma, low), low.new_ones(())),
            self.s_pos.clamp(-4, 1),
            self.s_neg.clamp(0, 5),
        )


def instance_wise(
    pos: Tensor,
    neg: Tensor,
    at: Saddle,
    *,
    pos_share: float = 1.0,
    neg_share: float = 1.0,
    kappa: float | None = None,
    omega: float = 0.0,
) -> Tensor:
    """Return the minimax form of `square` (one-way and two-way), a scalar.

    It compares no two scores, so any batch gives an unbiased gradient. With
    P = (f - a)^2 - 2 (1 + gamma) f, N = (f - b)^2 + 2 (1 + gamma) f and r the positive part,

        1 + s_pos + E+[r(P - s_pos)] / pos_share + s_neg + E-[r(N - s_neg)] / neg_share
          - (1 + omega) gamma^2

    The minimum over a, b, s_pos, s_neg of the maximum over gamma is `square` if omega is 0; with
    `pos_share` 1 the positives contribute plain E+[P]. Within the bounds of `Saddle.bounded` P
    falls
    and N grows with f, so the thresholds keep the right scores.

    Args:
        pos, neg: scores in [0, 1], [P] and [N].
        at: the learned scalars.
        pos_share, neg_share: fractions kept; exact where they give integers.
        kappa: smooths r to log(1 + exp(kappa t)) / kappa, a gap of at most log(2) / kappa each;
        None:
            [t]+.
        omega: makes the form more concave in gamma, at a bias.
    """

    def mean_over(values: Tensor, s: Tensor, share: float) -> Tensor:
        if share >= 1:
            return values.mean()
        over = F.relu(values - s) if kappa is None else F.softplus(kappa * (values - s)) / kappa
        return s + over.mean() / share

    slope = 2 * (1 + at.gamma)
    under = mean_over((pos - at.a).square() - slope * pos, at.s_pos, pos_share)
    over = mean_over((neg - at.b).square() + slope * neg, at.s_neg, neg_share)
    return 1 + under + over - (1 + omega) * at.gamma.square()


def _weight(t: Tensor, form: Form, rate: float, *, detach: bool) -> Tensor:
    t = t.detach() if detach else t
    if form == "plain":
        return torch.ones_like(t)
    return (t + _EPS).pow(rate) if form == "poly" else -torch.expm1(-rate * t)


def _kept(share: float, n: int) -> int:
    """Return floor(share n), at least one; a rounding error below an integer is ignored."""
    return max(1, int(share * n + 1e-9))
