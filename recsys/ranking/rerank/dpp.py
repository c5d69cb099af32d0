"""Determinantal point process, greedy.

    list = argmax (1 - w) sum_{i in list} r_i + w log det S_list

r is the relevance of the pool (0 to 1), S the cosines of the items. An item adds
(1 - w) r_i + w log d_i^2, where d_i is the distance of its vector from the span of those in the
list; a Cholesky factor of S_list gives all d_i in K steps per place.

Source: Chen, Zhang, Zhou, "Fast greedy MAP inference for determinantal point process to improve
recommendation diversity", NeurIPS 2018, algorithm 1 and equation 10, with theta = 1 - w. Certain.
Items in the span of the list have d_i^2 = 1e-10 here instead of ending it. Reconstructed.
"""

from __future__ import annotations

import numpy as np

from recsys.ranking.rerank.pool import Pool

__all__ = ["DPP"]

LEAST = 1e-10  # of a squared distance


class DPP:
    """Determinantal point process, greedy.

    Args:
        pool: the best items of B queries.
        similarity: of the items of each pool, float64 [B, K, K], positive semidefinite.
        weight: w, 0 to 1.
        k: places of a list.
    """

    def __init__(self, pool: Pool, similarity: np.ndarray, weight: float, k: int) -> None:
        self._relevance = (1 - weight) * pool.relevance
        self._similarity, self._weight = similarity, weight
        self._squared = np.diagonal(similarity, axis1=1, axis2=2).copy()  # d_i^2 [B, K]
        self._factor = np.zeros((len(similarity), k, similarity.shape[1]))  # columns c_i
        self._length = 0

    def gains(self) -> np.ndarray:
        return self._relevance + self._weight * np.log(np.maximum(self._squared, LEAST))

    def add(self, at: np.ndarray) -> None:
        lists, n = np.arange(len(at)), self._length
        before = self._factor[:, :n]
        own = self._squared[lists, at]
        rest = self._similarity[lists, at] - np.einsum("bt,btk->bk", before[lists, :, at], before)
        spans = own > LEAST
        row = np.where(spans[:, None], rest / np.sqrt(np.where(spans, own, 1.0))[:, None], 0.0)
        self._factor[:, n] = row
        self._squared = self._squared - row**2
        self._length += 1
