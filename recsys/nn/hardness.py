"""Hard negative sampling: choose or weight the candidates drawn for a pair.

    one_of_top       one of the M hardest, chosen uniformly: DNS(M, N)
    fitting          the one whose score suits that of the positive: AHNS
    resampled        k of them, as if drawn in proportion to exp(score): AdaSIR
    soft_weights     all, weighted by their hardness: Softmax(rho, N)
    mixed            a synthetic one, mixed per layer from positive and candidates: MixGCF

`recsys.nn.losses.Loss.reduce` names the first four, in addition to the hardest, the M hardest and
weights by rank; `LightGCN.mix` is the last. The choice itself has no gradient. A function that
chooses returns positions [B, k] among the K candidates, to gather scores, vectors or masks with.
Random numbers come from torch's default generator, which training seeds at every step. A higher
score means more similar. A pair without any negative (a row of `mask` that is all False) still
gets a position, or weights of 0; the mask gathered along with it marks the position as invalid.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["fitting", "hardest_layers", "mixed", "one_of_top", "resampled", "soft_weights"]


@torch.no_grad()
def one_of_top(neg: Tensor, top: int, mask: Tensor | None = None) -> Tensor:
    """Return one of the `top` hardest candidates of each pair, chosen uniformly; int64 [B, 1].

    Source: DNS(M, N) as Lai et al. compare with it in "Adaptive hardness negative sampling for
    collaborative filtering", AAAI 2024. Shi, Chen, Feng, Zhang, Wu, Gao, He, "On the theories
    behind
    hard negative sampling for recommendation", WWW 2023, keep all M; that is `Loss.reduce` "top" up
    to
    their sum in place of the mean. A pair with fewer than M negatives chooses among those it has.

    Args:
        neg: scores of the candidates, [B, K].
        top: M, at least 1.
        mask: bool [B, K], False for a candidate that is not a negative; None: all are.
    """
    top, neg = min(top, neg.shape[1]), _exact(neg)
    hardest = (neg if mask is None else neg.masked_fill(~mask, -torch.inf)).topk(top, dim=1).indices
    among = (
        neg.new_full((len(neg),), float(top))
        if mask is None
        else mask.sum(1).clamp(1, top).to(neg.dtype)
    )
    drawn = (torch.rand(len(neg), dtype=neg.dtype, device=neg.device) * among).long()
    return hardest.gather(1, torch.minimum(drawn, among.long() - 1)[:, None])


@torch.no_grad()
def fitting(
    pos: Tensor,
    neg: Tensor,
    *,
    alpha: float,
    beta: float,
    power: float = -2.0,
    mask: Tensor | None = None,
) -> Tensor:
    """Return the candidate j with the smallest |s_j - beta (s + alpha)^(power + 1)|; int64 [B, 1].

    s is the score of the positive. With a power below -1, a positive with a high score gets an easy
    negative and one with a low score a hard negative.

    Source: Lai et al., "Adaptive hardness negative sampling for collaborative filtering", AAAI
    2024,
    with power -2, alpha 0.1 to 1, beta 0.1 to 0.4 and 16 to 32 candidates. Differs: s + alpha is at
    least 1e-6, because a power of a negative number is undefined; the released code has no such
    bound.

    Args:
        pos: scores of the positives, [B].
        neg: scores of the candidates, [B, K].
        alpha, beta, power: as above.
        mask: bool [B, K], False for a candidate that is not a negative; None: all are.
    """
    target = beta * (pos + alpha).clamp_min(1e-6).pow(power + 1)
    distance = (neg - target[:, None]).abs()
    return (distance if mask is None else distance.masked_fill(~mask, torch.inf)).argmin(
        1, keepdim=True
    )


@torch.no_grad()
def resampled(
    neg: Tensor,
    k: int,
    *,
    log_q: Tensor | None = None,
    temperature: float = 1.0,
    mask: Tensor | None = None,
) -> Tensor:
    """Draw k candidates of each pair in proportion to exp(score / temperature) / q; int64 [B, k].

    Importance resampling, with replacement: with many candidates drawn from a proposal q, the
    result
    approaches draws from the softmax of the scores.

    Source: Chen, Lian, Jin, Zheng, Chen, "Learning recommenders for implicit feedback with
    importance
    resampling", WWW 2022 (AdaSIR). Differs: no pool is kept from epoch to epoch.

    Args:
        neg: scores of the candidates, [B, K].
        k: number of draws.
        log_q: log proposal of the candidates, [B, K] or [K]; None if uniform.
        temperature: scores are divided by it.
        mask: bool [B, K], False for a candidate that is not a negative; None: all are.
    """
    neg = _exact(neg)
    logits = neg / temperature if log_q is None else neg / temperature - log_q
    # The maximum of logits plus Gumbel noise is a draw from their softmax. torch.multinomial would
    # wait for the device to check the probabilities.
    noise = torch.rand(len(neg), k, neg.shape[1], dtype=neg.dtype, device=neg.device)
    noise = (
        -(-noise.clamp_min(torch.finfo(neg.dtype).tiny).log())
        .clamp_min(torch.finfo(neg.dtype).tiny)
        .log()
    )
    logits = logits if mask is None else logits.masked_fill(~mask, -torch.inf)
    return (logits[:, None] + noise).argmax(2)


@torch.no_grad()
def soft_weights(
    each: Tensor, rho: float, *, log_q: Tensor | None = None, mask: Tensor | None = None
) -> Tensor:
    """Return the weight of each candidate, [B, K]: softmax(loss / tau - log q).

    The weights of a pair with a negative sum to 1. tau = sqrt(Var(loss) / (2 rho)) per pair; these
    are
    approximately the weights, within a divergence of rho from the proposal, that maximise the loss.
    rho = 0 gives the plain mean, a large rho the hardest candidate alone. Multiply the losses by
    the
    weights and sum.

    Source: Shi et al., "On the theories behind hard negative sampling for recommendation", WWW
    2023.
    The variance divides by K - 1, as in the released code. A pair whose losses are all equal is
    weighted by the proposal.

    Args:
        each: losses of the candidates, [B, K], such as softplus(s_j - s).
        rho: at least 0.
        log_q: log proposal of the candidates, [B, K] or [K]; None if uniform.
        mask: bool [B, K], False for a candidate that is not a negative; None: all are.
    """
    kept = torch.ones_like(each) if mask is None else mask.to(each.dtype)
    count = kept.sum(1, keepdim=True)
    mean = (each * kept).sum(1, keepdim=True) / count.clamp_min(1)
    variance = ((each - mean).square() * kept).sum(1, keepdim=True) / (count - 1).clamp_min(1)
    # 1 / tau; equal losses cancel for any divisor.
    sharp = torch.where(
        variance > 0, (2 * rho / variance.clamp_min(torch.finfo(each.dtype).tiny)).sqrt(), 0.0
    )
    logits = (each - mean) * sharp
    logits = logits if log_q is None else logits - log_q
    if mask is None:
        return logits.softmax(1)
    # A finite floor: a row without any negative would be 0 / 0.
    return logits.masked_fill(~mask, torch.finfo(each.dtype).min).softmax(1) * kept


def mixed(
    user: Tensor, pos: Tensor, neg: Tensor, share: Tensor | None = None, mask: Tensor | None = None
) -> Tensor:
    """Return a synthetic negative per pair, one vector a layer, [B, L, d].

    At each layer it is the hardest candidate mixed with the positive: e'_jl = a_l e_l + (1 - a_l)
    e_jl,
    where a_l from U(0, 1) is drawn per pair and layer and shared by its candidates, and j has the
    largest user_l . e'_jl. The choice has no gradient; the mix has. The method pools the layers as
    it
    pools those of its items.

    Source: Huang, Dong, Ding, Yang, Feng, Wang, Tang, "MixGCF: an improved training method for
    graph
    neural network-based recommender systems", KDD 2021. That candidates share a_l follows the
    released
    code.

    Args:
        user: vectors of the users at each layer, [B, L, d], or pooled, [B, 1, d], as released where
            layers are not concatenated.
        pos: vectors of the positives, [B, L, d].
        neg: vectors of the candidates, [B, K, L, d].
        share: a, [B, L]; None draws it.
        mask: bool [B, K], False for a candidate that is not a negative; None: all are.
    """
    if share is None:
        share = torch.rand(pos.shape[:2], dtype=pos.dtype, device=pos.device)
    chosen_index = hardest_layers(user, neg, mask)
    chosen = neg.gather(1, chosen_index[:, None, :, None].expand(-1, 1, -1, neg.shape[3])).squeeze(
        1
    )
    return torch.lerp(chosen, pos, share[:, :, None])


@torch.no_grad()
def hardest_layers(user: Tensor, neg: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return the candidate that `mixed` chooses at each layer, int64 [B, L]; arguments as there.

    user . e' = a user . e + (1 - a) user . e_j, and the first part is the same for all candidates,
    so
    the candidates alone decide. A method that looks them up first and mixes the chosen one as its
    only
    candidate needs no gradient for the others.
    """
    hard = torch.einsum("bld,bkld->bkl", user.expand(-1, neg.shape[2], -1), neg)
    return (hard if mask is None else hard.masked_fill(~mask[:, :, None], -torch.inf)).argmax(1)


def _exact(scores: Tensor) -> Tensor:
    """Return scores in at least 32 bits: probabilities must not be rounded to bfloat16."""
    return scores.to(torch.promote_types(scores.dtype, torch.float32))
