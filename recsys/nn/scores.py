"""Scores of the pairs of a batch and of their negatives."""

from __future__ import annotations

from torch import Tensor

from recsys.nn.distance import similarity, similarity_pool
from recsys.sampling import Batch
from recsys.scorer import Similarity

__all__ = ["negative_scores", "pair_scores"]


def pair_scores(
    batch: Batch, user: Tensor, item: Tensor, negatives: Tensor, kind: Similarity = "dot"
) -> tuple[Tensor, Tensor]:
    """Return the scores of the pairs [B] and of their negatives [B, K].

    Args:
        batch: pairs with negatives.
        user: vectors of the users, float [B, d].
        item: vectors of the positive items, float [B, d].
        negatives: vectors of `batch.neg`, float [K, d] for a pool that the batch shares, else
            [B, K, d] or [B * K, d].
        kind: similarity of a user vector and an item vector.
    """
    pos = similarity(kind, user, item)
    return pos, negative_scores(batch, user, negatives, kind)


def negative_scores(
    batch: Batch, user: Tensor, negatives: Tensor, kind: Similarity = "dot"
) -> Tensor:
    """Return the scores of the negatives, [B, K]; the arguments are those of `pair_scores`.

    A shared pool is scored by one matrix product, negatives of each pair row by row.
    """
    if batch.shared:
        return similarity_pool(kind, user, negatives)
    return similarity(kind, user, negatives.view(*batch.neg.shape, -1))
