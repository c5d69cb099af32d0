"""Proposal distributions of negatives, and the log probabilities that correct a sampled softmax."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from recsys.sampling.settings import Sampler

__all__ = ["Proposal", "mixture_log_q", "proposal_of", "proposal_weights"]

_LEAST = 1e-12  # probabilities below this are raised to it, so that their logarithm is finite


@dataclass(frozen=True, eq=False)
class Proposal:
    """How likely each item is drawn.

    Args:
        cdf: cumulative probabilities to draw from, float64 [n_items]; None: uniform over all items,
            or nothing is drawn.
        log_q: log probability of each item as a negative, float32 [n_items]; None: no correction of
            the softmax is needed.
    """

    cdf: Tensor | None = None
    log_q: Tensor | None = None


def proposal_of(sampler: Sampler, counts: Tensor, warm: Tensor | None) -> Proposal:
    """Return the proposal of a sampler.

    Args:
        sampler: settings of the sampler.
        counts: training pairs of each item, int64 [n_items].
        warm: items that may be drawn, bool [n_items]; None: all.
    """
    if sampler.pool == "all":
        return Proposal()
    if sampler.pool == "in-batch":
        frequency = counts.double()
        return Proposal(log_q=_log(frequency / frequency.sum()))
    weight = proposal_weights(sampler, counts, warm)
    if weight is None:
        return Proposal()
    q = weight / weight.sum()
    cdf = q.cumsum(0)
    # Rounded sums may end below 1, and no draw may fall behind the last item that can be drawn.
    cdf = torch.where(cdf >= cdf[-1:], 1.0, cdf)
    return Proposal(cdf, None if _is_uniform(sampler) else _log(q))


def proposal_weights(sampler: Sampler, counts: Tensor, warm: Tensor | None) -> Tensor | None:
    """Return how likely each item is drawn, up to a factor; None: all are equally likely.

    Args:
        sampler, counts, warm: as in `proposal_of`.

    Returns:
        float64 [n_items].
    """
    if _is_uniform(sampler):
        return None if warm is None else warm.double()
    frequency = counts.double()
    return frequency.pow(sampler.alpha) * (frequency > 0)


def _is_uniform(sampler: Sampler) -> bool:
    return sampler.proposal == "uniform" or sampler.alpha == 0


def _log(q: Tensor) -> Tensor:
    return q.clamp_min(_LEAST).log().float()


def mixture_log_q(
    count: Tensor, in_batch: int, drawn: int, proposal: Tensor | None = None
) -> Tensor:
    """Return the log proposal of every item for a pool of in-batch positives and drawn items.

    q(j) = (in_batch * count_j / sum of counts + drawn * p_j) / (in_batch + drawn), which is
    subtracted from the scores of the softmax.
    Source: Yang, Yi, Cheng, Hong, Li, Wang, Xu, Chi, "Mixed negative sampling for learning
    two-tower neural networks in recommendations", WWW companion 2020; the correction of Yi et al.,
    RecSys 2019.

    Args:
        count: training pairs of each item, [n_items].
        in_batch: positives of the batch in the pool.
        drawn: drawn items in the pool; above 0 if an item may have no training pair.
        proposal: p, the probability of each item in a draw, [n_items]; None: uniform.

    Returns:
        float32 [n_items].
    """
    frequency = count.double() / count.sum().clamp_min(1)
    share = drawn / len(count) if proposal is None else drawn * proposal.double()
    q = (in_batch * frequency + share) / (in_batch + drawn)
    return F.threshold(q, _LEAST, _LEAST).log().float()
