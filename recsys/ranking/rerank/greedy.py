"""Choose a list from a pool, one place after the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from recsys.ranking.rerank.pool import Pool

__all__ = ["AtMost", "ByScore", "Rule", "choose"]


class Rule(Protocol):
    """What the next item of each of B lists adds to the list."""

    def gains(self) -> np.ndarray:
        """Return what each item of the pool would add, float64 [B, K]."""

    def add(self, at: np.ndarray) -> None:
        """Take an item into each list.

        Args:
            at: position in the pool, int [B]. A list that has ended gets any position.
        """


class ByScore:
    """The score alone.

    Args:
        pool: the best items of B queries.
    """

    def __init__(self, pool: Pool) -> None:
        self._relevance = pool.relevance

    def gains(self) -> np.ndarray:
        return self._relevance

    def add(self, at: np.ndarray) -> None:
        pass


class AtMost:
    """At most n items with the same value in each list.

    Args:
        most: n.
        values: values of each item of the pool, int [B, K, M]; `n_values` where it has fewer.
        n_values: number of values.
    """

    def __init__(self, most: int, values: np.ndarray, n_values: int) -> None:
        self.most, self.values = most, values
        self.taken = np.zeros((len(values), n_values + 1), dtype=np.int32)

    def full(self) -> np.ndarray:
        """Return the items of which a value cannot occur once more, bool [B, K]."""
        batch = np.arange(len(self.values))[:, None, None]
        return np.asarray((self.taken[batch, self.values] >= self.most).any(2))

    def add(self, at: np.ndarray, open: np.ndarray) -> None:
        """Count the values of the items that were taken.

        Args:
            at: position in the pool, int [B].
            open: which lists took it, bool [B].
        """
        lists = np.flatnonzero(open)
        self.taken[lists[:, None], self.values[lists, at[lists]]] += 1
        self.taken[:, -1] = 0  # no value


def choose(pool: Pool, k: int, rule: Rule, limits: Sequence[AtMost] = ()) -> np.ndarray:
    """Return the positions in the pool of the items of each list, int [B, k]; -1 where it ended.

    Each place goes to the item of the largest gain. Of equal gains, the better score wins.

    Args:
        pool: the best items of B queries.
        k: places of a list.
        rule: what an item adds.
        limits: items that a list cannot take once more.
    """
    chosen = np.full((len(pool.item), k), -1, dtype=np.int64)
    free = pool.filled.copy()
    lists = np.arange(len(chosen))
    for place in range(min(k, free.shape[1])):
        allowed = free.copy()
        for limit in limits:
            allowed &= ~limit.full()
        at = np.where(allowed, rule.gains(), -np.inf).argmax(1)
        open = allowed[lists, at]
        if not open.any():
            break
        chosen[open, place] = at[open]
        free[lists[open], at[open]] = False
        rule.add(at)
        for limit in limits:
            limit.add(at, open)
    return chosen
