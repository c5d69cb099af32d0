"""The nearest training sessions of queries, and the scores that their items get.

Queries are searched in spans of bounded memory, all queries of a span at once. No sum runs over
more than one query, so the result of a query depends neither on the span nor on other queries.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import scipy.sparse as sp

from recsys.data.histories import Histories
from recsys.scorer.past_sessions import PastSessions, Postings, last_places
from recsys.scorer.session_similarity import SessionSimilarity

__all__ = ["Neighbours", "SessionSearch"]

_SPAN = 1 << 18  # postings of queries, or items of neighbours, that are processed at a time
_SPARE_BITS = 29  # bits that a float64 has and a float32 lacks


@dataclass(frozen=True, eq=False)
class Neighbours:
    """Sessions that share an item with a query, one entry per query and session.

    Args:
        query: position of the query, ascending, int64 [e].
        session: row in `PastSessions`, ascending within a query, int32 [e].
        value: their similarity, float64 [e].
        steps: steps from the end of the query to the last item that both share, 1 for the last item
            of the query, int64 [e].
        anchor: last place in the session of an item that both share, int32 [e].
    """

    query: np.ndarray
    session: np.ndarray
    value: np.ndarray
    steps: np.ndarray
    anchor: np.ndarray

    def take(self, rows: np.ndarray | slice) -> Neighbours:
        """Return some of the entries, in their order."""
        columns = (self.query, self.session, self.value, self.steps, self.anchor)
        return Neighbours(*(column[rows] for column in columns))


@dataclass(frozen=True, eq=False)
class SessionSearch:
    """Finds the k nearest of the m newest sessions that share an item with a query.

    Args:
        sessions: the training sessions.
        similarity: how sessions are compared.
        k: number of neighbours.
        m: number of candidates.
    """

    sessions: PastSessions
    similarity: SessionSimilarity
    k: int
    m: int

    @property
    def n_items(self) -> int:
        return int(self.sessions.places.shape[1])

    @cached_property
    def postings(self) -> Postings:
        """The m newest sessions of each item."""
        return self.sessions.postings(self.m)

    @cached_property
    def rarity(self) -> np.ndarray | None:
        """Factor of each item by its number of sessions, float64 [n_items]; None: 1."""
        if self.similarity.kind != "position" or not self.similarity.idf:
            return None
        count = np.bincount(self.sessions.places.indices, minlength=self.n_items)
        return np.asarray(
            1 + self.similarity.idf * np.log(len(self.sessions) / np.maximum(count, 1))
        )

    @cached_property
    def fading(self) -> np.ndarray:
        """Weight of an item by its distance from the anchor, float64 [longest session + 1]."""
        longest = int(self.sessions.places.data.max(initial=0))
        distance = np.arange(longest + 1)
        return np.asarray(np.exp(-distance / float(self.similarity.l3 or np.inf)))

    def scores(self, histories: Histories, moment: np.ndarray | None) -> np.ndarray:
        """Return the scores of all items, float32 [n, n_items]; 0 where no neighbour has the item.

        Args:
            histories: n queries.
            moment: moment of each query in seconds since 1970, float64 [n]; None: unknown.

        Raises:
            ValueError: an item that does not exist.
        """
        scores = np.empty((len(histories), self.n_items), dtype=np.float32)
        for span, part in self.parts(histories, moment):
            # `astype` of a sparse matrix would sort its columns.
            arrays = (part.data.astype(np.float32), part.indices, part.indptr)
            sp.csr_matrix(arrays, shape=part.shape).toarray(out=scores[span])
        return scores

    def parts(
        self, histories: Histories, moment: np.ndarray | None
    ) -> Iterator[tuple[slice, sp.csr_matrix]]:
        """Yield spans of queries with their scores, CSR float64 [B, n_items].

        Args:
            histories, moment: as for `scores`.
        """
        histories = histories.packed()
        _check_items(histories.item, self.n_items)
        before = np.append(0, np.cumsum(self.postings.length[histories.item]))
        for span in _spans(before[histories.end] - before[histories.begin]):
            own = None if moment is None else moment[span]
            nearest = self.nearest(histories.take(span), own)
            items = np.append(0, np.cumsum(self.sessions.size[nearest.session]))
            first = np.searchsorted(nearest.query, np.arange(span.stop - span.start + 1))
            for part in _spans(np.diff(items[first])):
                some = nearest.take(slice(first[part.start], first[part.stop]))
                indptr = first[part.start : part.stop + 1] - first[part.start]
                yield (
                    slice(span.start + part.start, span.start + part.stop),
                    self._spread(some, indptr),
                )

    def nearest(self, histories: Histories, moment: np.ndarray | None) -> Neighbours:
        """Return the nearest sessions of queries; equal similarities go to the newest session.

        Args:
            histories, moment: as for `scores`.
        """
        candidates = self._candidates(histories, moment)
        return candidates.take(_best(candidates, self.k, len(histories)))

    def _candidates(self, histories: Histories, moment: np.ndarray | None) -> Neighbours:
        """Return the m newest sessions that share an item with each query.

        Args:
            histories, moment: as for `scores`.
        """
        n, rule = len(histories), self.similarity
        owner, item, place = last_places(histories)
        length = histories.length[owner]
        weight = rule.item_weights(place, length)
        hits = _hits(self.postings, len(self.sessions), owner, item, n)
        # Items of a query come in the order of their places: the last hit of a session is the last
        # item that both share.
        last = np.append(hits.first[1:], len(hits.entry))[: len(hits.first)] - 1
        entry = hits.entry[last]
        query = owner[entry]
        session = self.postings.session[hits.posting[last]]
        part = np.repeat(np.arange(len(hits.first)), last + 1 - hits.first)
        value = np.bincount(part, weights=weight[hits.entry], minlength=len(hits.first))
        anchor = np.maximum.reduceat(self.postings.place[hits.posting], hits.first)
        steps = length[entry] - place[entry] + 1
        candidates = Neighbours(query, session, value, steps, anchor)
        begin = np.searchsorted(query, np.arange(n))
        is_new = np.arange(len(query)) - begin[query] < self.m
        if not is_new.all():
            candidates = candidates.take(np.flatnonzero(is_new))
        value = self._similarity(candidates, rule.scale(weight, owner, n), moment)
        return replace(candidates, value=value)

    def _similarity(
        self, candidates: Neighbours, scale: np.ndarray, moment: np.ndarray | None
    ) -> np.ndarray:
        """Return the similarity of each candidate, float64 [c].

        Args:
            candidates: their values are the summed weights of shared items.
            scale: divisor of each query, float64 [n].
            moment: as for `scores`.
        """
        query, session = candidates.query, candidates.session
        value = candidates.value / scale[query]
        if self.similarity.kind != "position":
            value /= np.sqrt(self.sessions.size[session])
        if self.similarity.reads_time and moment is not None and self.sessions.end is not None:
            begin = np.searchsorted(query, np.arange(len(scale)))
            value *= self.similarity.recency(
                self.sessions.end[session], moment[query], begin[query]
            )
        return value

    def _spread(self, nearest: Neighbours, indptr: np.ndarray) -> sp.csr_matrix:
        """Return the scores of the items of neighbours, CSR float64 [B, n_items].

        Args:
            nearest: the neighbours of B queries.
            indptr: the neighbours of query i are indptr[i]:indptr[i + 1], int64 [B + 1].
        """
        value = nearest.value * self.similarity.step_weights(nearest.steps)
        if self.similarity.kind == "stan" and self.similarity.l3 is not None:
            profile, rows = self._faded(nearest), np.arange(len(value))
        else:
            profile, rows = self.sessions.binary, nearest.session
        shape = (len(indptr) - 1, profile.shape[0])
        scores = sp.csr_matrix((value, rows, indptr), shape=shape) @ profile
        if self.rarity is not None:
            scores.data *= self.rarity[scores.indices]
        return scores

    def _faded(self, nearest: Neighbours) -> sp.csr_matrix:
        """Return the items of each neighbour with their weights, CSR float64 [e, n_items]."""
        places = self.sessions.places
        count = self.sessions.size[nearest.session]
        end = np.cumsum(count)
        begin = places.indptr[nearest.session]
        cell = np.arange(int(count.sum())) + np.repeat(begin - (end - count), count)
        distance = np.abs(self.sessions.place[cell] - np.repeat(nearest.anchor, count))
        arrays = (self.fading[distance], places.indices[cell], np.append(0, end))
        return sp.csr_matrix(arrays, shape=(len(count), self.n_items))


@dataclass(frozen=True, eq=False)
class _Hits:
    """Each item of a query with each session that holds it, ordered by query and session.

    Args:
        entry: index of the item among the items of the queries, int64 [h].
        posting: index of the session in `Postings`, int64 [h].
        first: index of the first hit of each pair of query and session, int64 [c].
    """

    entry: np.ndarray
    posting: np.ndarray
    first: np.ndarray


def _hits(
    postings: Postings, n_sessions: int, owner: np.ndarray, item: np.ndarray, n: int
) -> _Hits:
    """Return the sessions of the items of n queries.

    Hits of one query and session keep the order of the items.

    Args:
        postings: the sessions of each item.
        n_sessions: number of sessions.
        owner: query of each item, ascending, int64 [e].
        item: item rows, int32 [e].
        n: number of queries.
    """
    count = postings.length[item]
    before = np.append(0, np.cumsum(count))
    entry = np.repeat(np.arange(len(item)), count)
    posting = np.arange(len(entry)) + np.repeat(postings.begin[item] - before[:-1], count)
    indptr = before[np.searchsorted(owner, np.arange(n + 1))]
    # Turning a sparse matrix twice is a counting sort: stable, and linear in the number of hits.
    arrays = (np.arange(len(entry)), postings.session[posting], indptr)
    turned = sp.csr_matrix(arrays, shape=(n, n_sessions)).tocsc().tocsr()
    is_first = np.ones(len(entry), dtype=bool)
    is_first[1:] = turned.indices[1:] != turned.indices[:-1]
    is_first[indptr[:-1][np.diff(indptr) > 0]] = True
    order = turned.data
    return _Hits(entry[order], posting[order], np.flatnonzero(is_first))


def _best(candidates: Neighbours, k: int, n: int) -> np.ndarray:
    """Return the k candidates of each query with the largest values, the newest of equal ones.

    Values are compared after rounding to the precision of a float32, because sums that are equal on
    paper may differ in the last bits of a float64.

    Args:
        candidates: of n queries, the newest session of a query first.
        k: number of sessions per query.
        n: number of queries.

    Returns:
        Indices of the candidates, ascending, int64 [at most n k].
    """
    begin = np.searchsorted(candidates.query, np.arange(n + 1))
    rank = np.arange(len(candidates.query)) - begin[candidates.query]
    # A positive float64 and its bits, read as an integer, have the same order.
    bits = candidates.value.view(np.int64)
    rounded = (bits + (1 << (_SPARE_BITS - 1))) >> _SPARE_BITS << _SPARE_BITS
    key = rounded | ((1 << _SPARE_BITS) - 1 - rank)
    is_best = np.ones(len(key), dtype=bool)
    for query in np.flatnonzero(np.diff(begin) > k):
        own = slice(begin[query], begin[query + 1])
        least = own.stop - own.start - k
        ordered = key[own].copy()
        ordered.partition(least)
        is_best[own] = key[own] >= ordered[least]
    return np.flatnonzero(is_best)


def _spans(cost: np.ndarray) -> Iterator[slice]:
    """Yield spans of queries of a bounded total cost, at least one query each.

    Args:
        cost: cost of each query, int64 [n].
    """
    end = np.cumsum(cost)
    start = 0
    while start < len(cost):
        before = end[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(end, before + _SPAN, side="right")))
        yield slice(start, stop)
        start = stop


def _check_items(item: np.ndarray, n_items: int) -> None:
    """Raise an error about an item that does not exist.

    Raises:
        ValueError: an item row out of range.
    """
    if len(item) and (item.min() < 0 or item.max() >= n_items):
        raise ValueError(f"item rows of a history must lie in 0..{n_items - 1}")
