"""Metrics as a sum over test items, which is the form that sampled estimates need.

A metric is sum over test items of gain(rank, q) within the cut-off, divided by divisor(|test|, k).
Here q is the number of the user's other test items above, so the item's position among the test
items is q + 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from recsys.evaluation.ranking_metrics import ideal_dcg

__all__ = ["F1", "HIT", "MAP", "MRR", "NDCG", "PRECISION", "RECALL", "PerItem"]


@dataclass(frozen=True)
class PerItem:
    """A metric as a sum over test items.

    Args:
        gain: of a test item, from its rank (float) and q (int), arrays that broadcast.
        divisor: from the number of test items per user, int [U], and the cut-off, None for the
            full ranking.
    """

    gain: Callable[[np.ndarray, np.ndarray], np.ndarray | float]
    divisor: Callable[[np.ndarray, int | None], np.ndarray]

    def within(self, k: int | None, rank: np.ndarray, q: np.ndarray) -> np.ndarray:
        """Return the gain of test items, float64 of the broadcast shape; 0 beyond the cut-off."""
        return np.where(rank <= (np.inf if k is None else k), self.gain(rank, q), 0.0)


def _one(rank: np.ndarray, q: np.ndarray) -> float:
    return 1.0


def _first(rank: np.ndarray, q: np.ndarray) -> np.ndarray:
    return np.asarray(q == 0)


def _inverse_of_first(rank: np.ndarray, q: np.ndarray) -> np.ndarray:
    return np.where(q == 0, 1 / rank, 0.0)


def _precision(rank: np.ndarray, q: np.ndarray) -> np.ndarray:
    return np.asarray((q + 1) / rank)


def _discount(rank: np.ndarray, q: np.ndarray) -> np.ndarray:
    return np.asarray(1 / np.log2(rank + 1))


def _ones(n_relevant: np.ndarray, k: int | None) -> np.ndarray:
    return np.ones(len(n_relevant))


def _cutoff(n_relevant: np.ndarray, k: int | None) -> np.ndarray:
    return np.full(len(n_relevant), k or 0)


def _all(n_relevant: np.ndarray, k: int | None) -> np.ndarray:
    return np.maximum(n_relevant, 1)


def _mean_of_both(n_relevant: np.ndarray, k: int | None) -> np.ndarray:
    return np.asarray(((k or 0) + n_relevant) / 2)


def _possible_hits(n_relevant: np.ndarray, k: int | None) -> np.ndarray:
    return n_relevant if k is None else np.minimum(n_relevant, k)


def _all_possible(n_relevant: np.ndarray, k: int | None) -> np.ndarray:
    return np.maximum(_possible_hits(n_relevant, k), 1)


def _ideal(n_relevant: np.ndarray, k: int | None) -> np.ndarray:
    return ideal_dcg(_possible_hits(n_relevant, k))


RECALL = PerItem(_one, _all)
PRECISION = PerItem(_one, _cutoff)
F1 = PerItem(_one, _mean_of_both)
HIT = PerItem(_first, _ones)
MRR = PerItem(_inverse_of_first, _ones)
MAP = PerItem(_precision, _all_possible)
NDCG = PerItem(_discount, _ideal)
