"""Items whose vectors are similar."""

from __future__ import annotations

import numpy as np
import polars as pl

from recsys.data.ids import Ids, match_id_type
from recsys.data.types import Dataset
from recsys.errors import InputError
from recsys.ranking import top_k
from recsys.scorer import (
    Factors,
    ItemVectors,
    Scorer,
    Similarity,
    VectorScorer,
    require,
    unplaced,
)
from recsys.serving.request import length_of

__all__ = ["similar_items"]


def similar_items(scorer: Scorer, train: Dataset, items: Ids, k: int = 10) -> pl.DataFrame:
    """Return the k items with the most similar vectors for each given item.

    Vectors are compared by distance if the scorer ranks by distance, and by cosine otherwise. Items
    without a training interaction are left out, unless the scorer places them.

    Args:
        scorer: a scorer with item vectors.
        train: its training data.
        items: outside ids.
        k: similar items of each item, at least 1.

    Returns:
        item, similar (outside ids), rank (1..k), score.

    Raises:
        InputError: the scorer has no item vectors, an item is unknown or has no training
            interaction, or k is not an integer of at least 1.
    """
    k = length_of(k)
    vectors = require(scorer, ItemVectors, "find similar items").item
    rows = train.items.require(match_id_type(items, train.items.ids.dtype, "items"), "items")
    _, without = unplaced(scorer, train)
    if without[rows].any():
        first = train.items.ids[int(rows[without[rows]][0])]
        raise InputError(
            f"item {first!r} has no training interaction, so its vector is not informative",
            place="items",
            remedy="leave it out, or use a method that places items by their features",
        )
    # An inner product favours popular items for every query; the cosine does not.
    by_distance = isinstance(scorer, VectorScorer) and scorer.similarity == "euclidean"
    similarity: Similarity = "euclidean" if by_distance else "cosine"
    among_items = Factors(vectors[rows], vectors, similarity)
    # One more than asked for, because an item is most similar to itself.
    pool = np.flatnonzero(~without) if without.any() else None
    best = top_k(among_items, np.arange(len(rows)), k + 1, candidates=pool)
    keep = (best.item != rows[:, None]) & (best.item >= 0)
    keep &= keep.cumsum(1) <= k
    owner = np.repeat(np.arange(len(rows)), keep.sum(1))
    ids = train.items.ids
    return pl.DataFrame(
        {
            "item": ids.gather(rows[owner]),
            "similar": ids.gather(best.item[keep]),
            "rank": keep.cumsum(1)[keep].astype(np.int32),
            "score": best.score[keep],
        }
    )
