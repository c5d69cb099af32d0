"""The k' best items of some queries, from which lists are chosen."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

__all__ = ["Pool"]


@dataclass(frozen=True, eq=False)
class Pool:
    """The best items of B queries, best first.

    Args:
        item: item rows, int [B, K]; -1 where a query has fewer candidates.
        score: float [B, K]; -inf where item is -1.
    """

    item: np.ndarray
    score: np.ndarray

    @property
    def filled(self) -> np.ndarray:
        """Which places hold an item, bool [B, K]."""
        return self.item >= 0

    @property
    def rows(self) -> np.ndarray:
        """Item rows for look-ups, 0 at places without an item, int [B, K]."""
        return np.maximum(self.item, 0)

    @cached_property
    def relevance(self) -> np.ndarray:
        """Scores of each query on a scale from 0, its worst item, to 1, its best; float64 [B, K].

        Items of equal score have 0. So a weight means the same for every query and every scorer.
        """
        score = self.score.astype(np.float64)
        low = np.where(self.filled, score, np.inf).min(1, initial=np.inf)
        high = score.max(1, initial=-np.inf)
        with np.errstate(invalid="ignore"):
            spread = (high - low)[:, None]
            scaled = (score - low[:, None]) / np.where(spread > 0, spread, 1.0)
        return np.where(self.filled, scaled, 0.0)
