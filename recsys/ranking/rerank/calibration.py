"""Calibration: a list has the categories of the history, in their shares.

    list = argmax (1 - w) sum_{i in list} r_i - w KL(p || q~),   q~ = 0.99 q + 0.01 p

p is the mean of the shares of categories p(g|i) of the items of the history, q that of the items of
the list; an item with m categories has the share 1 / m of each. r is the relevance of the pool
(0 to 1). Items without a category count for neither. Queries whose history has no category keep
the order of the score.

Source: Steck, "Calibrated recommendations", RecSys 2018, equations 2 to 5 and 7, with lambda = w
and alpha = 0.01. Certain; the scale of r is a convention of this project.
"""

from __future__ import annotations

import numpy as np

from recsys.ranking.rerank.pool import Pool

__all__ = ["SMOOTHING", "Calibration"]

SMOOTHING = 0.01  # alpha of the paper


class Calibration:
    """Calibration to the shares of categories in the history.

    Args:
        pool: the best items of B queries.
        shares: p(g|i) of every item, float64 [n_items, G]; zeros for items without a category.
        target: p of each query, float64 [B, G]; zeros without a history.
        weight: w, 0 to 1.
    """

    def __init__(self, pool: Pool, shares: np.ndarray, target: np.ndarray, weight: float) -> None:
        self._relevance = (1 - weight) * pool.relevance
        self._shares = shares[pool.rows]  # [B, K, G]
        self._target, self._weight = target, weight
        self._sum = np.zeros_like(target)
        self._n = np.zeros(len(target))
        self._counts = self._shares.sum(2) > 0  # [B, K]

    def gains(self) -> np.ndarray:
        n = self._n[:, None] + self._counts
        q = (self._sum[:, None, :] + self._shares) / np.maximum(n, 1)[:, :, None]
        p = self._target[:, None, :]
        smooth = (1 - SMOOTHING) * q + SMOOTHING * p
        ratio = np.divide(p, smooth, out=np.ones_like(q), where=(p > 0) & (smooth > 0))
        return self._relevance - self._weight * (p * np.log(ratio)).sum(2)

    def add(self, at: np.ndarray) -> None:
        lists = np.arange(len(at))
        self._sum += self._shares[lists, at]
        self._n += self._counts[lists, at]
