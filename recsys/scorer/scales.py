"""Scores of different methods on one scale.

Inner products, sums of similarities and squared distances have no scale in common. Before scores of
several methods are joined, the scores of each user are standardised, for each user separately. The
order of a user's items is never changed by that.

Sources: Montague, Aslam, "Relevance score normalization for metasearch", CIKM 2001, for
standardised scores; Aslam, Montague, "Models for metasearch", SIGIR 2001, for ranks (Borda).
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

__all__ = ["Standard", "moments", "standardised"]

Standard = Literal["zscore", "rank"]

_FLAT = 1e-6  # a deviation smaller than this share of the largest score is rounding


def standardised(scores: Tensor, by: Standard = "zscore") -> Tensor:
    """Return the scores of each user on a scale that does not depend on the method.

    Args:
        scores: float32 [B, n].
        by: "zscore": less their mean, divided by their standard deviation over all items; zeros
            where all scores are equal. "rank": the share of the other items that score lower, with
            equal scores counted half; 0 for the worst, 1 for the best, 1/2 where all are equal.

    Returns:
        float32 [B, n] in the same order; NaN stays NaN.
    """
    if by == "zscore":
        mean, deviation = moments(scores)
        return (scores - mean).mul_(torch.where(deviation == 0, 0.0, 1 / deviation))
    ordered = scores.sort(dim=1).values
    lower = torch.searchsorted(ordered, scores)
    upto = torch.searchsorted(ordered, scores, right=True)
    share = (lower + upto - 1).to(torch.float32).div_(2 * max(1, scores.shape[1] - 1))
    if scores.shape[1] == 1:
        share = torch.full_like(share, 0.5)
    return share.masked_fill_(scores.isnan(), torch.nan)


def moments(scores: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of each row [B, n], both [B, 1].

    A deviation that is nothing but rounding is 0.
    """
    mean = scores.mean(1, keepdim=True)
    deviation = (scores - mean).square_().mean(1, keepdim=True).sqrt_()
    largest = scores.abs().amax(1, keepdim=True)
    return mean, deviation.masked_fill_(deviation <= _FLAT * largest, 0.0)
