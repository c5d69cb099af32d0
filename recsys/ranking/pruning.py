"""Exact top-k lists from part of the scores: items that cannot enter a list are not scored.

A score is an inner product, and |q . v| is at most |q| |v| (Cauchy and Schwarz). Items are put in
the order of their largest possible score for a typical query, and are scored a chunk at a time. A
query leaves out every chunk whose bound is below the last score of its list so far.

Coordinates in which all queries are equal, as those that carry an item's bias or the squared norm
of a distance, add the same to the score of an item for every query. They are taken out of the norm
and added to the bound, so that it also serves distances.

How much is left out depends on the vectors: 90 % for factors of iALS, whose norms differ widely,
and nothing where all norms are alike. `SearchOrder.share` tells it from a few queries.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from recsys.data.hashing import tie_order
from recsys.data.query import Queries
from recsys.ranking.products import TILE, encoded, score_tile
from recsys.ranking.selection import WIDTH, Ties, best_of_rows
from recsys.scorer import Dot, NearestOf

__all__ = ["PrunedProduct", "Search", "SearchOrder"]

_FIRST, _LONGEST = 2 * TILE, 16 * TILE  # items of the first and of the longest chunk
_EPS = float(np.finfo(np.float32).eps)


@dataclass(frozen=True, eq=False)
class Search:
    """The lists of B queries.

    Args:
        value: the k best scores, less the term, float32 [B, k]; -inf where a list ends.
        item: their items, int64 [B, k].
        term: what to add to the scores of each query, [B]; None: zero.
        limit: no absolute score of the query is above it, float32 [B].
    """

    value: Tensor
    item: Tensor
    term: Tensor | None
    limit: np.ndarray


@dataclass(frozen=True, eq=False)
class _Chunk:
    """Neighbours in the order of the search.

    Args:
        span: their positions in that order.
        tiles: their keys, [d, w] each, zero behind the last item.
        ties: order of their equal scores.
    """

    span: slice
    tiles: list[Tensor]
    ties: Ties


class SearchOrder:
    """The items in the order in which lists like those of a sample are searched.

    Args:
        plan: one inner product, or the largest of several, on the CPU.
        candidates: item rows that are ranked; None: all.
        sample: some of the queries.

    `usable` is False where no bound exists: a vector holds a value that is not a number.
    """

    def __init__(
        self, plan: Dot | NearestOf, candidates: np.ndarray | None, sample: Queries
    ) -> None:
        self.plan = plan
        key = plan.key.numpy()
        self.n_items = len(key)
        self.sample = sample
        self.vectors = encoded(plan, sample)[0]
        query = self.vectors.reshape(-1, key.shape[1]).numpy()
        self.common = query[0]
        self.equal = (query == self.common).all(0)
        self.usable = bool(np.isfinite(query).all() and np.isfinite(key).all())
        if not self.usable:
            return
        pool = np.arange(self.n_items) if candidates is None else np.unique(candidates)
        norm, shared = self._of_keys(key if candidates is None else key[pool])
        order = np.argsort(-(np.median(self.norms(query)) * norm + shared), kind="stable")
        self.item = pool[order]
        self.norm, self.shared = norm[order], shared[order]
        self.position = np.full(self.n_items, len(pool))
        self.position[self.item] = np.arange(len(pool))
        self.spans = _spans(len(pool))

    def _of_keys(self, key: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return norms without the shared coordinates, and the shared part of scores."""
        if not self.equal.any():
            return self.norms(key), np.zeros(len(key), dtype=np.float32)
        return self.norms(key), key[:, self.equal] @ self.common[self.equal]

    def norms(self, vectors: np.ndarray) -> np.ndarray:
        """Return the norms of vectors [..., d] without the shared coordinates."""
        own = vectors[..., ~self.equal] if self.equal.any() else vectors
        return np.sqrt(np.einsum("...d,...d->...", own, own))

    def bound(self, norm: np.ndarray, span: slice) -> np.ndarray:
        """Return the largest possible score of a span of items for queries of these norms."""
        return norm * self.norm[span].max() + self.shared[span].max()

    def share(self, k: int) -> float:
        """Estimate the share of all scores that a search of k items would compute.

        It is that of the sample if the last score of each list were known from the start.
        """
        query = self.vectors
        scores = torch.empty(len(query), self.n_items)
        score_tile(query, self.plan.key.T, scores)
        owner, items = self.sample.excluded()
        scores[torch.from_numpy(owner), torch.from_numpy(items)] = -torch.inf
        last = scores[:, torch.from_numpy(self.item)].topk(k, dim=1).values[:, -1].numpy()
        norm = self.norms(query.numpy()).reshape(len(query), -1).max(1)
        scored = 0
        for span in self.spans:
            scored += (self.bound(norm, span) >= last).sum() * (span.stop - span.start)
        return float(scored) / (len(query) * len(self.item))


def _spans(n: int) -> list[slice]:
    """Return neighbours in the order that are scored at a time; later spans are longer."""
    spans, start = [], 0
    while start < n:
        size = min(_LONGEST, max(_FIRST, start // (2 * TILE) * TILE))
        spans.append(slice(start, min(start + size, n)))
        start += size
    return spans


class PrunedProduct:
    """The search for the best items of queries, in an order.

    Args:
        order: a usable order.
    """

    def __init__(self, order: SearchOrder) -> None:
        self.order = order
        self.tie = torch.from_numpy(tie_order(order.n_items).copy())
        self.item = torch.from_numpy(order.item)
        self.chunks = [self._chunk(span) for span in order.spans]

    def _chunk(self, span: slice) -> _Chunk:
        items = self.item[span]
        padding = -len(items) % WIDTH
        key = F.pad(self.order.plan.key[items], (0, 0, 0, padding))
        last = self.order.n_items + torch.arange(padding)
        tiles = [tile.T.contiguous() for tile in torch.split(key, TILE)]
        return _Chunk(span, tiles, Ties.by(torch.cat([self.tie[items], last])))

    def __call__(self, queries: Queries, k: int) -> Search | None:
        """Return the lists of queries, or None where the bound does not hold for them.

        Args:
            queries: B queries.
            k: length of the lists, at most the number of candidates.
        """
        order = self.order
        query, term = encoded(order.plan, queries)
        rows = query.numpy()
        equal = order.equal
        if not np.isfinite(rows).all() or (rows[..., equal] != order.common[equal]).any():
            return None
        norm = order.norms(rows).reshape(len(rows), -1).max(1)
        limit = norm * order.norm.max() + np.abs(order.shared).max()
        slack = 4 * rows.shape[-1] * _EPS * limit  # of products and norms in float32
        value = torch.full((len(rows), k), -torch.inf)
        item = torch.zeros(len(rows), k, dtype=torch.int64)
        excluded = _Excluded.of(queries, order.position, len(order.item))
        for chunk in self.chunks:
            bound = order.bound(norm, chunk.span)
            own = np.flatnonzero(bound + slack >= value[:, -1].numpy())
            if not len(own):
                continue
            scores = _scores(query, own, chunk)
            excluded.mask(scores, own, chunk)
            self._merge(value, item, torch.from_numpy(own), scores, chunk)
        return Search(value, item, term, limit)

    def _merge(
        self, value: Tensor, item: Tensor, own: Tensor, scores: Tensor, chunk: _Chunk
    ) -> None:
        """Put the best scores of a chunk into the lists of the rows `own`."""
        better = (scores.amax(1) >= value[own, -1]).nonzero()[:, 0]
        if not len(better):
            return
        own = own[better]
        scores = scores if len(better) == len(scores) else scores[better]
        k = value.shape[1]
        new, column = best_of_rows(scores, min(k, scores.shape[1]), chunk.ties)
        at = (column + chunk.span.start).clamp_(max=chunk.span.stop - 1)
        every = torch.cat([value[own], new], 1)
        items = torch.cat([item[own], self.item[at]], 1)
        by_tie = self.tie[items].argsort(1)
        every, items = every.gather(1, by_tie), items.gather(1, by_tie)
        every, by_score = every.sort(dim=1, descending=True, stable=True)
        value[own] = every[:, :k]
        item[own] = items.gather(1, by_score[:, :k])


def _scores(query: Tensor, own: np.ndarray, chunk: _Chunk) -> Tensor:
    """Return the scores of a chunk for some rows of the queries, -inf in the padding."""
    rows = query if len(own) == len(query) else query[torch.from_numpy(own)]
    if len(rows) == 1:  # BLAS sums a product of one row in another order
        rows = torch.cat([rows, rows])
    scores = torch.empty(len(rows), sum(tile.shape[1] for tile in chunk.tiles))
    start = 0
    for tile in chunk.tiles:
        score_tile(rows, tile, scores[:, start : start + tile.shape[1]])
        start += tile.shape[1]
    scores = scores[: len(own)]
    scores[:, chunk.span.stop - chunk.span.start :] = -torch.inf
    return scores


@dataclass(frozen=True, eq=False)
class _Excluded:
    """Cells that are not ranked, in the order of the search.

    Args:
        owner: row of the query.
        position: position of the item, ascending.
        n: number of queries.
    """

    owner: np.ndarray
    position: np.ndarray
    n: int

    @classmethod
    def of(cls, queries: Queries, position: np.ndarray, n_ranked: int) -> _Excluded:
        owner, items = queries.excluded()
        at = position[items]
        order = np.argsort(at, kind="stable")
        order = order[: np.searchsorted(at[order], n_ranked)]
        return cls(owner[order], at[order], len(queries))

    def mask(self, scores: Tensor, own: np.ndarray, chunk: _Chunk) -> None:
        """Set the excluded cells of a chunk to -inf; row r of the scores is query `own[r]`."""
        first, last = np.searchsorted(self.position, (chunk.span.start, chunk.span.stop))
        if first == last:
            return
        row = np.full(self.n, -1)
        row[own] = np.arange(len(own))
        rows = row[self.owner[first:last]]
        kept = rows >= 0
        columns = self.position[first:last][kept] - chunk.span.start
        scores.numpy()[rows[kept], columns] = -np.inf
