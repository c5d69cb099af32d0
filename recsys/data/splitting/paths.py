"""Events in the order in which they happened, and the path of each user or session through them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from recsys.data.splitting.event_pairs import answering
from recsys.data.splitting.ties import tie_keys
from recsys.data.types import Dataset, Interactions

__all__ = ["Paths", "Timeline", "spread"]


@dataclass(frozen=True, eq=False)
class Timeline:
    """Events with their order, and which of them ask and answer.

    Args:
        events: n events.
        order: rows of the events from the first to the last, int64 [n].
        counts: which events are part of a history and can be an answer, bool [n].
    """

    events: Interactions
    order: np.ndarray
    counts: np.ndarray

    @classmethod
    def of(cls, data: Dataset, seed: int) -> Timeline:
        """Return the log of a data set, in its order.

        Equal times keep the order of the file. A source without an order takes a hash of (seed,
        user id, item id).

        Args:
            data: the data.
            seed: of the hash.
        """
        return cls.ordered(data, data.log, answering(data.log, data.pairs), seed)

    @classmethod
    def ordered(
        cls, data: Dataset, events: Interactions, counts: np.ndarray, seed: int
    ) -> Timeline:
        """Return events over the users and items of a data set, in their order.

        Args:
            data: knows the ids.
            events: n events.
            counts: which of them ask and answer, bool [n].
            seed: of the hash.
        """
        time = np.zeros(len(events), dtype=np.int64) if events.time is None else events.time
        order = np.argsort(time, kind="stable")
        if (np.diff(time[order]) == 0).any():
            # Two stable sorts are faster than one of two keys.
            order = np.argsort(tie_keys(data, seed, events), kind="stable")
            order = order[np.argsort(time[order], kind="stable")]
        return cls(events, order, counts)

    @cached_property
    def rank(self) -> np.ndarray:
        """Place of each event in the order of all, from 0, int64 [n]."""
        rank = np.empty(len(self.order), dtype=np.int64)
        rank[self.order] = np.arange(len(self.order))
        return rank

    def paths(self, owner: np.ndarray, n_owners: int, last: np.ndarray | None = None) -> Paths:
        """Return the path of each owner through the events that count.

        Args:
            owner: who each event belongs to, int [n].
            n_owners: number of owners.
            last: events that come after all others of their owner, bool [n]; None: no event.
        """
        rows = self.order[self.counts[self.order]]
        key = owner[rows] if last is None else 2 * owner[rows].astype(np.int64) + last[rows]
        rows = rows[np.argsort(key, kind="stable")]
        end = np.cumsum(np.bincount(owner[rows], minlength=n_owners))
        begin = np.concatenate([[0], end[:-1]])
        return Paths(self, rows, owner[rows].astype(np.int64), begin, end)


@dataclass(frozen=True, eq=False)
class Paths:
    """The events of each owner, one owner after the other, each in order.

    Args:
        timeline: the events.
        row: rows of the events that count, int64 [m].
        owner: who each of them belongs to, ascending, int64 [m].
        begin, end: the path of owner i is row[begin[i]:end[i]], int64 [n_owners] each.
    """

    timeline: Timeline
    row: np.ndarray
    owner: np.ndarray
    begin: np.ndarray
    end: np.ndarray

    @property
    def size(self) -> np.ndarray:
        """Number of events of each owner, int64 [n_owners]."""
        return np.asarray(self.end - self.begin)

    def first_where(self, later: np.ndarray) -> np.ndarray:
        """Return the first place of each path at which a condition holds, or the end of the path.

        Args:
            later: whether it holds, bool [m]; once true along a path, it stays true.
        """
        earlier = np.bincount(self.owner[~later], minlength=len(self.begin))
        return np.asarray(self.begin + earlier)


def spread(begin: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return every place of some ranges, and the range of each place; int64 [total] both.

    Args:
        begin, end: range i is begin[i]..end[i] - 1, int64 [n] each, begin <= end.
    """
    length = end - begin
    owner = np.repeat(np.arange(len(length)), length)
    total = np.cumsum(length)
    return np.arange(len(owner)) + (begin - (total - length))[owner], owner
