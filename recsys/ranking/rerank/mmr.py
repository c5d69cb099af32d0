"""Maximal marginal relevance.

    next item = argmax (1 - w) r_i - w max_{j in list} s_ij

r is the relevance of the pool (0 to 1), s the cosine of two items; the first item has the highest
score. Source: Carbonell and Goldstein, "The use of MMR, diversity-based reranking for reordering
documents and producing summaries", SIGIR 1998, with lambda = 1 - w. Certain.
"""

from __future__ import annotations

import numpy as np

from recsys.ranking.rerank.pool import Pool

__all__ = ["MMR"]


class MMR:
    """Maximal marginal relevance.

    Args:
        pool: the best items of B queries.
        similarity: of the items of each pool, float64 [B, K, K].
        weight: w, 0 to 1.
    """

    def __init__(self, pool: Pool, similarity: np.ndarray, weight: float) -> None:
        self._relevance = (1 - weight) * pool.relevance
        self._similarity, self._weight = similarity, weight
        self._nearest: np.ndarray | None = None

    def gains(self) -> np.ndarray:
        if self._nearest is None:
            return self._relevance
        return self._relevance - self._weight * self._nearest

    def add(self, at: np.ndarray) -> None:
        to_new = self._similarity[np.arange(len(at)), at]
        if self._nearest is not None:
            to_new = np.maximum(self._nearest, to_new)
        self._nearest = to_new
