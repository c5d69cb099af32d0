"""Ranking: the only code that ranks. Exact top-k lists and exact ranks of given items.

Evaluation and serving both call `top_k`, so the lists that are shipped are the lists that were
measured. Equal scores are ordered by a fixed hash of the item (`recsys.data.hashing.tie_order`).

Queries are scored one block at a time, into a buffer that is used again, so memory does not grow
with the number of queries. How a block is scored follows from the plan of the scorer
(`recsys.scorer.plan`): a new kind of scorer needs no change here.

    lists          Top-k lists.
    rerank         Business rules and second aims, between the best items and the list.
    target_ranks   Ranks of given items in the full ranking.
    masked_scores  Blocks of scores, without the items that must not be ranked.
    pruning        Lists from part of the scores, where the rest cannot matter.
    products       Scores of factor models by tiled matrix products.
    selection      The k largest scores of each row, with a fixed order of ties.

The names below are public; the modules behind them are internal and may change.
"""

from recsys.ranking.lists import TopK, top_k
from recsys.ranking.masked_scores import Masks, score_blocks
from recsys.ranking.target_ranks import Ranks, ranks

__all__ = ["Masks", "Ranks", "TopK", "ranks", "score_blocks", "top_k"]
