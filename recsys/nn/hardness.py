"""Which of the candidates that were drawn for a pair count as its negatives, and how much: rules beyond "all" and "the hardest few".

    one_of_top       one of the M hardest by chance: DNS(M, N)
    fitting          the one whose score suits that of the positive: AHNS
    resampled        some, by chance, as if they had been drawn in proportion to exp(score): AdaSIR
    soft_weights     all, weighted by how hard they are: Softmax(rho, N)
    mixed            none of them, but a synthetic one, layer by layer, between positive and candidates: MixGCF

`recsys.nn.losses.Loss.reduce` names the first four, beside the hardest, the M hardest and those weighted by rank; `LightGCN.mix` is the last.
What is chosen has no gradient; a rule that chooses returns places [B, k] among the K candidates, to gather scores, vectors or masks by. Chance
is drawn from torch's default generator, which training seeds anew at every step. Scores are higher for what is nearer. A pair without any
negative (a row of `mask` all False) gets a place, too, or weights of 0: the mask that is gathered along says that nothing there counts.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["fitting", "hardest_layers", "mixed", "one_of_top", "resampled", "soft_weights"]


@torch.no_grad()
def one_of_top(neg: Tensor, top: int, mask: Tensor | None = None) -> Tensor:
    """One of the `top` hardest candidates of each pair, each as likely as the other; int64 [B, 1].

    DNS(M, N) as Lai et al. compare with it in "Adaptive hardness negative sampling for collaborative filtering", AAAI 2024. Shi, Chen, Feng,
    Zhang, Wu, Gao, He, "On the theories behind hard negative sampling for recommendation", WWW 2023, keep all M, which is `Loss.reduce` "top" but
    for their sum instead of the mean. A pair with fewer negatives has one of those it has.

    Args:
        neg: scores of the candidates [B, K].
        top: M, at least 1.
        mask: bool [B, K], False where a candidate is no negative, or None.
    """
    top, neg = min(top, neg.shape[1]), _exact(neg)
    place = (neg if mask is None else neg.masked_fill(~mask, -torch.inf)).topk(top, dim=1).indices
    among = (
        neg.new_full((len(neg),), float(top))
        if mask is None
        else mask.sum(1).clamp(1, top).to(neg.dtype)
    )
    drawn = (torch.rand(len(neg), dtype=neg.dtype, device=neg.device) * among).long()
    return place.gather(1, torch.minimum(drawn, among.long() - 1)[:, None])


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
    """The candidate j of least |s_j - beta (s + alpha)^(power + 1)|, s the score of the positive; int64 [B, 1].

    With a power below -1 a positive of high score is given an easy negative, and one of low score a hard one.
    Source: Lai et al., "Adaptive hardness negative sampling for collaborative filtering", AAAI 2024: power -2, alpha 0.1 to 1, beta 0.1 to 0.4,
    16 to 32 candidates. Differs: s + alpha is at least 1e-6, as a power of a negative number is none; released code lets it be one.

    Args:
        pos: scores of the positives [B].
        neg: scores of the candidates [B, K].
        alpha, beta, power: as above.
        mask: bool [B, K], False where a candidate is no negative, or None.
    """
    wanted = beta * (pos + alpha).clamp_min(1e-6).pow(power + 1)
    apart = (neg - wanted[:, None]).abs()
    return (apart if mask is None else apart.masked_fill(~mask, torch.inf)).argmin(1, keepdim=True)


@torch.no_grad()
def resampled(
    neg: Tensor,
    k: int,
    *,
    log_q: Tensor | None = None,
    temperature: float = 1.0,
    mask: Tensor | None = None,
) -> Tensor:
    """Some candidates of each pair, k of them with repetition, in proportion to exp(score / temperature) / q; int64 [B, k].

    Importance resampling: candidates drawn from a proposal q become, in the limit of many, draws from the softmax of the scores.
    Source: Chen, Lian, Jin, Zheng, Chen, "Learning recommenders for implicit feedback with importance resampling", WWW 2022 (AdaSIR), without
    its pool that is kept from epoch to epoch.

    Args:
        neg: scores of the candidates [B, K].
        k: how many are taken.
        log_q: log proposal of the candidates [B, K] or [K]; None where uniform.
        temperature: scores are divided by it.
        mask: bool [B, K], False where a candidate is no negative, or None.
    """
    neg = _exact(neg)
    logits = neg / temperature if log_q is None else neg / temperature - log_q
    # The largest of logits with Gumbel noise is a draw from their softmax, without a check on the host that they are probabilities.
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
    """How much each candidate counts, [B, K], adding up to 1 for every pair with a negative: softmax(loss / tau - log q).

    tau = sqrt(Var(loss) / (2 rho)) of each pair: about the weights within a divergence of rho from the proposal under which the loss is
    greatest. rho = 0 is the plain mean, a large one the hardest alone. Multiply the losses by them, and add up.
    Source: Shi et al., "On the theories behind hard negative sampling for recommendation", WWW 2023; variance with K - 1 below the fraction, as
    in the released code. A pair whose losses are all equal is weighted by the proposal.

    Args:
        each: losses of the candidates [B, K], such as softplus(s_j - s).
        rho: above or equal to 0.
        log_q: log proposal of the candidates [B, K] or [K]; None where uniform.
        mask: bool [B, K], False where a candidate is no negative, or None.
    """
    kept = torch.ones_like(each) if mask is None else mask.to(each.dtype)
    count = kept.sum(1, keepdim=True)
    mean = (each * kept).sum(1, keepdim=True) / count.clamp_min(1)
    variance = ((each - mean).square() * kept).sum(1, keepdim=True) / (count - 1).clamp_min(1)
    # 1 / tau; equal losses cancel out whatever they are divided by.
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
    """A synthetic negative of each pair, one vector a layer [B, L, d]: at each layer the hardest of the candidates mixed with the positive.

    e'_jl = a_l e_l + (1 - a_l) e_jl, a_l from U(0, 1) for each pair and layer, the same for all its candidates; then at each layer the j of
    largest user_l . e'_jl. What is chosen has no gradient, the mix has. A method pools the layers as it pools those of its items.
    Source: Huang, Dong, Ding, Yang, Feng, Wang, Tang, "MixGCF: an improved training method for graph neural network-based recommender systems",
    KDD 2021; that candidates share a_l is the released code.

    Args:
        user: vectors of the users at each layer [B, L, d], or pooled [B, 1, d], as released where layers are not concatenated.
        pos: vectors of the positives [B, L, d].
        neg: vectors of the candidates [B, K, L, d].
        share: a [B, L]; None draws it.
        mask: bool [B, K], False where a candidate is no negative, or None.
    """
    if share is None:
        share = torch.rand(pos.shape[:2], dtype=pos.dtype, device=pos.device)
    place = hardest_layers(user, neg, mask)
    chosen = neg.gather(1, place[:, None, :, None].expand(-1, 1, -1, neg.shape[3])).squeeze(1)
    return torch.lerp(chosen, pos, share[:, :, None])


@torch.no_grad()
def hardest_layers(user: Tensor, neg: Tensor, mask: Tensor | None = None) -> Tensor:
    """Which candidate `mixed` takes at each layer, int64 [B, L]; arguments as there.

    user . e' = a user . e + (1 - a) user . e_j, and the first part is the same for all candidates: they alone decide. A method that looks
    them up first and mixes what it found, as the only candidate, needs no gradient for the others.
    """
    hard = torch.einsum("bld,bkld->bkl", user.expand(-1, neg.shape[2], -1), neg)
    return (hard if mask is None else hard.masked_fill(~mask[:, :, None], -torch.inf)).argmax(1)


def _exact(scores: Tensor) -> Tensor:
    """Scores in 32 bits at least: chances are not to be rounded to the eight bits of mixed precision."""
    return scores.to(torch.promote_types(scores.dtype, torch.float32))
