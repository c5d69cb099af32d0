"""Losses per observed pair, before any reduction over pairs.

The loss of a pair compares the score of its positive with the scores of its K negatives.
`Loss.reduce` decides how several negatives count (all, the hardest, some of the hardest, random
ones, weights), so every loss combines with every rule of hardness.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from recsys.config import Bound, settings
from recsys.errors import InputError
from recsys.nn.hardness import fitting, one_of_top, resampled, soft_weights
from recsys.nn.partial_auc import pair_square

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
class Logits:
    """The scores behind a loss by labels (binary cross-entropy).

    With them a denoiser can weight positives and negatives separately or change a label.

    Args:
        pos: logits of the observed pairs, [B].
        neg: logits of their negatives, [B, K].
        mask: bool [B, K], False for a candidate that is not a negative; None: all are.
        weight: weight of the negative part.
        losses: losses computed from these logits, if available: of the pairs [B], of the negatives
            [B, K], and the contribution of the negatives to the loss of a pair [B].
    """

    pos: Tensor
    neg: Tensor
    mask: Tensor | None = None
    weight: float = 1.0
    losses: tuple[Tensor, Tensor, Tensor] | None = None


@dataclass(frozen=True, eq=False)
class Terms:
    """A loss before reduction.

    Args:
        pair: loss of each observed pair, [B].
        extra: a scalar that belongs to no pair, such as regularisation.
        logits: the logits from which `pair` was computed, for a loss by labels; a denoiser computes
            another `pair` from them.
    """

    pair: Tensor
    extra: Tensor | None = None
    logits: Logits | None = None

    def total(self) -> Tensor:
        """Return the mean over the pairs plus the extra term, a scalar."""
        mean = self.pair.mean()
        return mean if self.extra is None else mean + self.extra


@settings
class Loss:
    """Choose the loss of a pair and how several negatives count."""

    kind: Literal["bpr", "bce", "hinge", "softmax", "ccl", "square", "opauc"] = "bpr"
    """bpr: -log sigmoid(s+ - s-) (Rendle et al., UAI 2009). bce: binary cross-entropy. hinge:
    [margin - s+ + s-]+. softmax: sampled softmax, the cross-entropy of the positive among its
    negatives. ccl: cosine contrastive loss, [1 - s+]+ + weight * mean [s- - margin]+ (Mao et
    al., CIKM 2021). square: (1 - s+)^2 + weight * mean (s-)^2. opauc: (1 - f+ + f-)^2 of f =
    sigmoid(s / temperature); with reduce = "top" and a share, the one-way partial AUC of
    `recsys.nn.partial_auc`."""
    reduce: Literal[
        "each", "hardest", "top", "warp", "one-of-top", "fitting", "soft", "resampled"
    ] = "each"
    """How the K negatives count, for all losses but softmax. each: their mean. hardest: the hardest
    only (HarS, DNS). top: the mean of the `top` hardest (DiHarS, DNS(M, N)). warp: the hardest,
    weighted by the estimated rank of the positive (WARP). one-of-top: one of the `top` hardest,
    drawn uniformly. fitting: the one whose score suits that of the positive (AHNS). soft: all,
    weighted by hardness (Softmax(rho, N)). resampled: the mean of `top`, drawn in proportion to
    exp(score) (AdaSIR)."""
    top: Annotated[int, Bound(ge=1)] = 2
    """Number of hardest negatives that "top" keeps and "one-of-top" draws from, and number of
    draws, with replacement, of "resampled"."""
    share: Annotated[float, Bound(gt=0, le=1)] | None = None
    """Share of the candidates, at least one, in place of `top`: the beta of one-way partial AUC."""
    rho: Annotated[float, Bound(ge=0)] = 1.0
    """"soft": 0 weights all negatives equally; the larger, the more the hardest count."""
    fit_alpha: float = 0.5
    """"fitting" takes the negative whose score is closest to fit_beta (s + fit_alpha)^(fit_power +
    1), where s is the score of the positive."""
    fit_beta: Annotated[float, Bound(gt=0)] = 0.2
    """"fitting": the higher, the harder the negative."""
    fit_power: float = -2.0
    """"fitting": below -1, a positive with a high score gets an easy negative; the lower, the
    easier."""
    pairs: Literal["all", "hardest", "easiest"] = "all"
    """Pairs of a batch that count. all: every pair. hardest: those whose positives have the lowest
    scores; with "top" this is two-way partial AUC. easiest: those with the highest, which is
    lower-left partial AUC. `pair_share` sets their number."""
    pair_share: Annotated[float, Bound(gt=0, le=1)] = 0.5
    """Share of the pairs of a batch that "hardest" or "easiest" keep, at least one."""
    margin: float = 1.0
    """Margin of hinge and ccl."""
    temperature: Annotated[float, Bound(gt=0)] = 1.0
    """Scores are divided by it, for softmax, bpr and opauc and for the probabilities of
    "resampled"; with cosine scores, around 0.1."""
    weight: Annotated[float, Bound(ge=0)] = 1.0
    """Weight of the negative part, for bce, ccl and square."""
    correct: bool = True
    """softmax, "soft" and "resampled": subtract the log proposal log q from the scores where it is
    not uniform (the logQ correction)."""

    def __post_init__(self) -> None:
        if self.kind == "square" and self.reduce not in ("each", "soft"):
            cause = (
                f"reduce = '{self.reduce}' keeps the negatives with the highest scores, "
                "where the square loss need not be largest"
            )
            raise InputError(cause, remedy='use reduce = "each"')
        if self.kind == "softmax" and self.reduce != "each":
            cause = f"reduce = '{self.reduce}' selects negatives, but kind = 'softmax' weights all of them"
            raise InputError(cause, remedy='use reduce = "each", or another kind such as bpr')

    def idle(self) -> set[str]:
        """Return the settings that have no effect given the others."""
        chooses = self.reduce in ("top", "one-of-top", "resampled")
        works = {
            "top": chooses and self.share is None,
            "share": chooses,
            "rho": self.reduce == "soft",
            **dict.fromkeys(("fit_alpha", "fit_beta", "fit_power"), self.reduce == "fitting"),
            "pair_share": self.pairs != "all",
            "margin": self.kind in ("hinge", "ccl") or self.reduce == "warp",
            "temperature": self.kind in ("softmax", "bpr", "opauc") or self.reduce == "resampled",
            "weight": self.kind in ("bce", "ccl", "square"),
            "correct": self.kind == "softmax" or self.reduce in ("soft", "resampled"),
        }
        return {name for name, does in works.items() if not does}

    def n_kept(self, drawn: int) -> int:
        """Return the number of negatives, of `drawn`, that contribute to the loss of a pair."""
        if self.reduce in ("each", "soft"):
            return drawn
        return self.n_top(drawn) if self.reduce in ("top", "resampled") else min(1, drawn)

    def n_top(self, drawn: int) -> int:
        """Return the number of negatives, of `drawn`, that `top` or `share` selects."""
        return (
            min(drawn, self.top) if self.share is None else max(1, int(self.share * drawn + 1e-9))
        )


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
    pair = _pair_loss(loss, pos, neg, n_items, mask, log_q, chosen)
    return pair if loss.pairs == "all" else _some_pairs(loss, pair, pos)


def logits(loss: Loss, pos: Tensor, neg: Tensor, mask: Tensor | None = None) -> Logits | None:
    """Return the logits for `Terms` if every pair and every negative counts by its label, else None.

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
    pos, neg = _single(pos), _single(neg)
    own, others = F.softplus(-pos), F.softplus(neg)
    rest = _mean_weighed(others, loss.weight, mask)
    return Terms(own + rest, extra, Logits(pos, neg, mask, loss.weight, (own, others, rest)))


def label_losses(logits: Logits) -> tuple[Tensor, Tensor]:
    """Return the binary cross-entropy of the observed pairs for label 1 [B] and of their negatives for 0.

    Those of the negatives are [B, K], unweighted. Both are in at least float32.
    """
    return (
        (F.softplus(-_single(logits.pos)), F.softplus(_single(logits.neg)))
        if logits.losses is None
        else logits.losses[:2]
    )


def label_parts(logits: Logits) -> tuple[Tensor, Tensor]:
    """Return the two parts of the loss of a pair: its own loss [B] and that of its negatives [B]."""
    if logits.losses is not None:
        return logits.losses[0], logits.losses[2]
    own, others = label_losses(logits)
    return own, mean_negatives(logits, others)


def mean_negatives(logits: Logits, each: Tensor) -> Tensor:
    """Return the contribution of the negatives to the loss of a pair, [B].

    The result is equal to that of `pair_loss` to the bit.

    Args:
        logits: the logits.
        each: a value per negative, [B, K].
    """
    return _mean_weighed(each, logits.weight, logits.mask)


def _mean_weighed(each: Tensor, weight: float, mask: Tensor | None) -> Tensor:
    each = _weighed(weight, each)
    return _mean(each if mask is None else each * mask, mask)


def _single(scores: Tensor) -> Tensor:
    """Return scores in at least float32: in half precision many losses would be equal."""
    return scores.float() if scores.dtype.itemsize < 4 else scores


def _weighed(weight: float, each: Tensor) -> Tensor:
    return each if weight == 1 else weight * each


def _some_pairs(loss: Loss, pair: Tensor, pos: Tensor) -> Tensor:
    """Return the loss of the kept pairs, 0 for the others.

    It is scaled so that its mean over all pairs is the mean over the kept ones.
    """
    kept = max(1, int(loss.pair_share * len(pos) + 1e-9))
    kept_pairs = pos.detach().topk(kept, largest=loss.pairs == "easiest", sorted=False).indices
    return pair * torch.zeros_like(pair).index_fill_(0, kept_pairs, len(pos) / kept)


def _pair_loss(
    loss: Loss,
    pos: Tensor,
    neg: Tensor,
    n_items: int,
    mask: Tensor | None,
    log_q: tuple[Tensor, Tensor] | None,
    chosen: Chosen | None,
) -> Tensor:
    if loss.kind == "softmax":
        return _softmax(loss, pos, neg, mask, log_q)
    if chosen is None and loss.reduce in _CHOOSING:
        chosen = choose(loss, pos, neg, n_items=n_items, mask=mask, log_q=log_q)
        neg = neg if chosen is None else neg.gather(1, chosen.place)
    each = _each(loss, pos, neg)
    if chosen is not None:
        reduced = (
            _mean(each, chosen.mask)
            if chosen.weight is None
            else chosen.weight * _mean(each, chosen.mask)
        )
    elif loss.reduce == "soft":
        reduced = (
            each * soft_weights(each.detach(), loss.rho, log_q=_proposal(loss, log_q), mask=mask)
        ).sum(1)
    else:
        reduced = _reduce(loss, each if mask is None else each * mask, neg, pos, mask, n_items)
    if loss.kind == "bce":
        return F.softplus(-pos) + reduced
    if loss.kind == "square":
        return (1 - pos).square() + reduced
    return F.relu(1 - pos) + reduced if loss.kind == "ccl" else reduced


def _each(loss: Loss, pos: Tensor, neg: Tensor) -> Tensor:
    """Return the contribution of every negative, [B, K]."""
    if loss.kind == "bpr":
        return F.softplus((neg - pos[:, None]) / loss.temperature)
    if loss.kind == "hinge":
        return F.relu(loss.margin - pos[:, None] + neg)
    if loss.kind == "bce":
        return _weighed(loss.weight, F.softplus(neg))
    if loss.kind == "square":
        return loss.weight * neg.square()
    if loss.kind == "opauc":
        return pair_square(
            torch.sigmoid(pos / loss.temperature), torch.sigmoid(neg / loss.temperature)
        )
    return loss.weight * F.relu(neg - loss.margin)


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
        return _mean(each, mask)
    # The hardest negatives are the largest terms.
    if loss.reduce == "top":
        hard = each.topk(loss.n_kept(each.shape[1]), dim=1).values
        return hard.mean(1) if mask is None else hard.sum(1) / mask.sum(1).clamp(1, hard.shape[1])
    hardest = each.max(1).values
    if loss.reduce == "warp":
        return warp_weight(pos, neg, margin=loss.margin, n_items=n_items, mask=mask) * hardest
    return hardest


def _mean(each: Tensor, mask: Tensor | None) -> Tensor:
    """Return the mean over the valid negatives, [B]; 0 for a pair without any."""
    if mask is None:
        return each.squeeze(1) if each.shape[1] == 1 else each.mean(1)
    return (each * mask).sum(1) / mask.sum(1).clamp_min(1)


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
