"""A penalty on popular items.

    an item adds (1 - w) r_i - w p_i,   p_i = log(1 + n_i) / log(1 + max_j n_j)

r is the relevance of the pool (0 to 1), n_i the number of training users of an item. The logarithm
keeps the few most popular items from being the only ones that are penalised. A convention of this
project, not a published method.
"""

from __future__ import annotations

import numpy as np

from recsys.ranking.rerank.pool import Pool

__all__ = ["LessPopular", "popularity"]


class LessPopular:
    """The score, less a penalty on popular items.

    Args:
        pool: the best items of B queries.
        popularity: p of every item, float64 [n_items].
        weight: w, 0 to 1.
    """

    def __init__(self, pool: Pool, popularity: np.ndarray, weight: float) -> None:
        self._gains = (1 - weight) * pool.relevance - weight * popularity[pool.rows]

    def gains(self) -> np.ndarray:
        return self._gains

    def add(self, at: np.ndarray) -> None:
        pass


def popularity(counts: np.ndarray) -> np.ndarray:
    """Return p of every item, float64 [n_items], 0 to 1.

    Args:
        counts: training users per item, int [n_items].
    """
    logs = np.log1p(counts.astype(np.float64))
    return np.asarray(logs / max(float(logs.max(initial=0.0)), 1e-12))
