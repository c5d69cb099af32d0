"""Items whose vectors are similar."""

from __future__ import annotations

import numpy as np
import polars as pl

from recsys.data.ids import Ids
from recsys.data.types import Dataset
from recsys.scorer import ItemVectors, Scorer, require
from recsys.serving.asked import by_items
from recsys.serving.recommender import Recommender
from recsys.serving.request import Request

__all__ = ["similar_items"]


def similar_items(scorer: Scorer, train: Dataset, items: Ids, k: int = 10) -> pl.DataFrame:
    """Return the k most similar items of each given item.

    The vectors of the items are compared, by distance if the scorer ranks by distance, and by
    cosine otherwise. A scorer without item vectors that reads histories is asked with a history of
    the item. Items without a training interaction are left out, unless the scorer places them.

    Args:
        scorer: a scorer with item vectors, or one that reads histories.
        train: its training data.
        items: outside ids.
        k: similar items of each item, at least 1.

    Returns:
        item, similar (outside ids), rank (1..k), score.

    Raises:
        InputError: the scorer can do neither, an item is unknown or has no training interaction, or
            k is not an integer of at least 1.
    """
    request = Request(k=k, unknown="error")
    if "history" not in scorer.answers:
        require(scorer, ItemVectors, "find similar items")
    asked = by_items(items, scorer, train, request, by_vectors=True)
    best = Recommender(scorer, train, request).lists(asked)
    filled = best.item >= 0
    owner = np.repeat(np.arange(len(asked)), filled.sum(1))
    return pl.DataFrame(
        {
            "item": asked.ids.gather(owner),
            "similar": train.items.ids.gather(best.item[filled]),
            "rank": filled.cumsum(1)[filled].astype(np.int32),
            "score": best.score[filled],
        }
    )
