"""Re-ranking: business rules and second aims, between the best items of a scorer and the list.

The scorer ranks k' items (`pool`); a rule takes k of them, one place after the other. Evaluation
and serving call the same `Reranker`, so the cost of a rule is measured before it ships.

    settings     The section `[rerank]`.
    reranker     The lists of queries under the rules of a section.
    resolution   The files of a section in rows of a data set.
    tables       Tables of users, items, groups and categories.
    pool         The k' best items of some queries.
    greedy       One place after the other, with at most n items per category.
    similarity   Similarities of the items of a pool.
    mmr          Maximal marginal relevance.
    dpp          Determinantal point process, greedy.
    popularity   A penalty on popular items.
    calibration  The shares of categories in the user's history.

The names below are public; the modules behind them are internal and may change.
"""

from recsys.ranking.rerank.reranker import Reranker
from recsys.ranking.rerank.resolution import resolve
from recsys.ranking.rerank.settings import Rerank

__all__ = ["Rerank", "Reranker", "resolve"]
