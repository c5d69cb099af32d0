"""From pairs to events and back: which events are of pairs, and the pairs of some events."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from recsys.data.interactions import contains
from recsys.data.times import rescale
from recsys.data.types import Dataset, Interactions

__all__ = ["EventPairs", "among", "answering"]


def among(events: Interactions, keys: np.ndarray) -> np.ndarray:
    """Return which events have one of the keys of pairs, bool [m].

    Args:
        events: m interactions.
        keys: as `Interactions.key`, in any order [n].
    """
    is_sorted = bool((keys[1:] >= keys[:-1]).all())
    return contains(keys if is_sorted else np.sort(keys), events.key)


def answering(events: Interactions, pairs: Interactions) -> np.ndarray:
    """Return which events are part of a history and can be an answer, bool [m].

    Those of a pair, with a behaviour that pairs have: if only purchases are pairs, a view is
    neither. What was shown and not clicked is neither, too.

    Args:
        events: m events.
        pairs: one row per user and item, over the same users and items.
    """
    if events is pairs:
        return np.ones(len(events), dtype=bool)
    counts = among(events, pairs.key)
    if events.behaviour is not None and pairs.behaviour is not None:
        names = {pairs.behaviours[code] for code in np.unique(pairs.behaviour)}
        codes = [code for code, name in enumerate(events.behaviours) if name in names]
        counts &= np.isin(events.behaviour, codes)
    if events.clicked is not None:
        counts &= events.clicked == 1
    return counts


@dataclass(frozen=True, eq=False)
class EventPairs:
    """The pairs of a data set with the events of each.

    Args:
        data: the data, m events in its log.
        counts: which events are of a pair, bool [m].
        rank: place of each event in time, int64 [m].
    """

    data: Dataset
    counts: np.ndarray
    rank: np.ndarray

    @cached_property
    def _pair(self) -> np.ndarray:
        """Row of the pair of each event that counts, int64."""
        keys, own = self.data.pairs.key, self.data.log.key[self.counts]
        if (keys[1:] >= keys[:-1]).all():
            return np.searchsorted(keys, own)
        order = np.argsort(keys, kind="stable")
        return np.asarray(order[np.searchsorted(keys[order], own)])

    def of(self, chosen: np.ndarray) -> Interactions:
        """Return the pairs of some events, which know these events only.

        The row of a pair stays as it is if all its events are chosen. Otherwise it takes time,
        weight, session and behaviour of an event that is chosen: of the first, or of the last if it
        was the last of all. A weight that is the sum of all becomes the sum of those that are
        chosen; if events have no weights, it becomes their number.

        Args:
            chosen: the events, all among those that count, bool [m].

        Returns:
            One row per user and item, in the order of `data.pairs`.
        """
        log, pairs = self.data.log, self.data.pairs
        if log is pairs:
            return pairs.take(chosen)
        every = np.bincount(self._pair, minlength=len(pairs))
        some = np.bincount(self._pair[chosen[self.counts]], minlength=len(pairs))
        fewer = (some > 0) & (some < every)
        if not fewer.any():
            return pairs.take(some > 0)
        event = np.flatnonzero(self.counts)[fewer[self._pair]]
        pair = self._pair[fewer[self._pair]]
        by_pair = np.lexsort((self.rank[event], pair))
        event, pair = event[by_pair], pair[by_pair]
        kept = chosen[event]
        merged = (_Merged.of(log, event, pair), _Merged.of(log, event[kept], pair[kept]))
        return _rewritten(pairs, np.flatnonzero(fewer), log, *merged).take(some > 0)


@dataclass(frozen=True, eq=False)
class _Merged:
    """The events of n pairs.

    Args:
        first, last: rows of the first and the last event of each pair, int64 [n].
        number: number of events, int64 [n].
        weight: sum of their weights, float64 [n]; None without weights.
    """

    first: np.ndarray
    last: np.ndarray
    number: np.ndarray
    weight: np.ndarray | None

    @classmethod
    def of(cls, log: Interactions, event: np.ndarray, pair: np.ndarray) -> _Merged:
        """Return the events of pairs.

        Args:
            log: all events.
            event: rows of the events, pair by pair, each in order [m].
            pair: the pair of each, ascending [m].
        """
        begin = np.flatnonzero(np.append(True, pair[1:] != pair[:-1]))
        end = np.append(begin[1:], len(pair))
        weight = None if log.weight is None else np.add.reduceat(log.weight[event], begin)
        return cls(event[begin], event[end - 1], end - begin, weight)


def _rewritten(
    pairs: Interactions, row: np.ndarray, log: Interactions, every: _Merged, some: _Merged
) -> Interactions:
    """Return pairs of which some rows know fewer events.

    Args:
        pairs: n pairs.
        row: the rows to change, int64 [k].
        log: the events.
        every: all events of each of the k pairs.
        some: those that the row may know.
    """
    columns: dict[str, np.ndarray] = {}
    event = some.first
    if pairs.time is not None and log.time is not None:
        time = rescale(pairs.time, pairs.time_unit, log.time_unit)
        is_last = (time[row] == log.time[every.last]) & (time[row] > log.time[every.first])
        event = np.where(is_last, some.last, some.first)
        columns["time"] = _replaced(time, row, log.time[event])
        pairs = replace(pairs, time_unit=log.time_unit)
    if pairs.session is not None and log.session is not None:
        columns["session"] = _replaced(pairs.session, row, log.session[event])
    if pairs.behaviour is not None and log.behaviour is not None:
        own = {name: code for code, name in enumerate(pairs.behaviours)}
        code = np.array([own.get(name, -1) for name in log.behaviours])
        columns["behaviour"] = _replaced(pairs.behaviour, row, code[log.behaviour[event]])
    if pairs.weight is not None:
        weight = some.number.astype(np.float64)
        if log.weight is not None and every.weight is not None and some.weight is not None:
            is_sum = (every.number > 1) & np.isclose(pairs.weight[row], every.weight, rtol=1e-9)
            weight = np.where(is_sum, some.weight, log.weight[event])
        columns["weight"] = _replaced(pairs.weight, row, weight)
    return replace(pairs, **columns)  # type: ignore[arg-type]


def _replaced(values: np.ndarray, row: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Return a copy of a column with other values in some rows."""
    column = values.copy()
    column[row] = new
    return column
