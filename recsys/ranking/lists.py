"""Top-k lists of queries."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from recsys.data.hashing import tie_order
from recsys.data.query import Queries
from recsys.errors import InputError
from recsys.ranking.masked_scores import Block, Masks, each_block, each_span, not_numbers
from recsys.ranking.pruning import PrunedProduct, SearchOrder
from recsys.ranking.selection import best_of_rows
from recsys.scorer import Dot, Listed, NearestOf, OneOrder, Plan, Scorer

__all__ = ["TopK", "top_k"]

_MANY_SCORES = 1 << 26  # fewer are computed at once
_LONG_LIST = 256  # longer lists leave out little
_SAMPLE = 64  # queries that tell how many scores a search needs
_WORTH = 0.4  # share of all scores up to which a search takes less time than all scores
_AT_A_TIME = 1024  # queries of one search
_QUERIES = 256  # whose lists are cut from the common order at a time
_ROUNDING = 1e-6  # share of a query's largest score below which a difference is rounding


@dataclass(frozen=True, eq=False)
class TopK:
    """The k best items of some queries, best first; equal scores in the order of `tie_order`.

    Args:
        item: item rows, int32 [n, k]; -1 where a query has fewer than k candidates.
        score: float32 [n, k]; -inf where item is -1.
        flat: bool [n], the queries whose candidates all have the same score, so that their list is
            only the order of ties. False for a query with fewer than two candidates. None: not
            asked for.
    """

    item: np.ndarray
    score: np.ndarray
    flat: np.ndarray | None = None

    @classmethod
    def empty(cls, n: int, k: int, *, flat: bool) -> TopK:
        """Return n lists of k places without an item."""
        return cls(
            np.full((n, k), -1, dtype=np.int32),
            np.full((n, k), -np.inf, dtype=np.float32),
            np.zeros(n, dtype=bool) if flat else None,
        )

    def put(self, span: slice, value: Tensor, item: Tensor, term: Tensor | None) -> None:
        """Write the lists of a span of queries.

        Args:
            span: positions of B queries.
            value: their best scores, less the term, [B, w]; -inf where a list ends.
            item: their items, [B, w].
            term: what to add to the scores of each query, [B]; None: zero.
        """
        width = value.shape[1]
        score = value if term is None else value + term[:, None]
        self.item[span, :width] = item.masked_fill(value == -torch.inf, -1).cpu().numpy()
        self.score[span, :width] = score.cpu().numpy()


def top_k(
    scorer: Scorer,
    queries: Queries,
    k: int,
    *,
    candidates: np.ndarray | None = None,
    block: int = 0,
    flat: bool = False,
) -> TopK:
    """Return the k best items of each query, exactly, without the items that it excludes.

    Args:
        scorer: any scorer.
        queries: n queries.
        k: length of a list; may exceed the number of items.
        candidates: item rows that may be recommended; None: all.
        block: queries at a time; 0 chooses by memory.
        flat: whether to find the queries whose candidates all have the same score, up to rounding.
            A scorer with the same scores for all queries has none: its order is that of popularity.

    Raises:
        InputError: a score that is not a number, k below 1, or queries that the scorer does not
            answer.
    """
    if k < 1:
        raise InputError(f"k must be at least 1, got {k}", remedy="correct k")
    n = len(queries)
    best = TopK.empty(n, k, flat=flat)
    width = min(k, scorer.n_items)
    masks = Masks(candidates, block)
    plan = scorer.plan()
    if isinstance(plan, OneOrder):
        _fill_from_one_order(best, plan.scores, queries, width, masks)
        return best
    if isinstance(plan, Listed):
        _fill_from_lists(best, plan, queries, width, masks)
        return best

    pruned = _pruned(scorer, plan, queries, width, masks)
    if pruned is None:
        _fill_from_all_scores(best, scorer, plan, queries, width, masks)
    else:
        _fill_by_pruning(best, pruned, scorer, queries, width, masks)
    return best


def _fill_from_all_scores(
    best: TopK, scorer: Scorer, plan: Plan, queries: Queries, k: int, masks: Masks
) -> None:
    """Fill in the lists from the scores of all items; arguments as `_fill_from_one_order`."""

    def keep_best(span: slice, filled: Block) -> None:
        value, item = best_of_rows(filled.scores, k)
        if bool(torch.isnan(value).any()):
            raise not_numbers()
        if best.flat is not None and filled.largest is not None:
            best.flat[span] = _flat(filled.scores, value, filled.largest).cpu().numpy()
        best.put(span, value, item, filled.term)

    each_block(scorer, plan, queries, masks, keep_best, largest=best.flat is not None)


def _pruned(
    scorer: Scorer, plan: Plan, queries: Queries, k: int, masks: Masks
) -> PrunedProduct | None:
    """Return the search that leaves out items, or None where it would not save enough.

    A few queries, evenly spaced, tell how many scores it needs.
    """
    if not isinstance(plan, Dot | NearestOf) or scorer.device.type != "cpu":
        return None
    n_ranked = scorer.n_items if masks.candidates is None else len(np.unique(masks.candidates))
    if len(queries) * n_ranked < _MANY_SCORES or k > _LONG_LIST or n_ranked < 2 * k:
        return None
    step = max(1, len(queries) // _SAMPLE)
    sample = queries.take(np.arange(0, len(queries), step)[:_SAMPLE])
    order = SearchOrder(plan, masks.candidates, sample)
    return PrunedProduct(order) if order.usable and order.share(k) <= _WORTH else None


def _fill_by_pruning(
    best: TopK, pruned: PrunedProduct, scorer: Scorer, queries: Queries, k: int, masks: Masks
) -> None:
    """Fill in the lists from the scores that can matter; arguments as `_fill_from_one_order`.

    Queries whose items seem to have one score, and blocks for which no bound holds, are ranked by
    all scores.
    """
    left: list[np.ndarray] = []

    def search(span: slice) -> None:
        lists = pruned(queries.take(span), k)
        rows = np.arange(span.start, span.stop)
        if lists is None:
            left.append(rows)
            return
        best.put(span, lists.value, lists.item, lists.term)
        if best.flat is not None:
            least = torch.where(lists.value == -torch.inf, lists.value[:, :1], lists.value).amin(1)
            close = (lists.value[:, 0] - least).numpy() <= _ROUNDING * lists.limit
            left.append(rows[close])

    each_span(len(queries), masks.block or _AT_A_TIME, search)
    rows = np.sort(np.concatenate([*left, np.zeros(0, dtype=np.int64)]))
    if not len(rows):
        return
    some = TopK.empty(len(rows), best.item.shape[1], flat=best.flat is not None)
    _fill_from_all_scores(some, scorer, scorer.plan(), queries.take(rows), k, masks)
    best.item[rows], best.score[rows] = some.item, some.score
    if best.flat is not None:
        best.flat[rows] = some.flat


def _flat(scores: Tensor, value: Tensor, largest: Tensor) -> Tensor:
    """Return the rows whose candidates all have one score, up to rounding, bool [B].

    Args:
        scores: [B, n], -inf for items that are not candidates.
        value: the k largest of each row, best first, [B, k].
        largest: largest absolute score of each row before items were masked, [B]. Items of the
            history score high, so it tells rounding from a difference if all other scores are near
            zero.
    """
    room = _ROUNDING * largest
    listed = torch.where(value == -torch.inf, value[:, :1], value)
    flat = value[:, 0] - listed.amin(1) <= room  # otherwise the listed items differ already
    rows = flat.nonzero().view(-1)
    some = scores[rows]
    out = some == -torch.inf
    least = some.masked_fill(out, torch.inf).amin(1)
    flat[rows] = (value[rows, 0] - least <= room[rows]) & ((~out).sum(1) > 1)
    return flat


def _fill_from_one_order(
    best: TopK, common: Tensor, queries: Queries, k: int, masks: Masks
) -> None:
    """Fill in the lists of a scorer with the same scores for all queries.

    One order of the items serves all queries; each list leaves out what its query excludes.

    Args:
        best: the lists to fill.
        common: the scores, float32 [n_items].
        queries: n queries.
        k: number of places to fill.
        masks: which items are ranked.
    """
    scores = common.cpu().numpy()
    n_items = len(scores)
    pool = np.arange(n_items) if masks.candidates is None else np.unique(masks.candidates)
    if len(queries) and np.isnan(scores[pool]).any():
        raise not_numbers()
    order = pool[np.lexsort((tie_order(n_items)[pool], -scores[pool]))]
    order = order[scores[order] > -np.inf]
    position = np.full(n_items, len(order))
    position[order] = np.arange(len(order))
    for start in range(0, len(queries), _QUERIES):
        some = queries.take(slice(start, start + _QUERIES))
        owner, excluded = some.excluded()
        longest = int(np.bincount(owner, minlength=1).max())
        # The first k + (most excluded items) items of the order hold k for each query.
        width = min(len(order), k + longest)
        free = np.ones((len(some), width), dtype=bool)
        at = position[excluded]
        near = at < width
        free[owner[near], at[near]] = False
        rank = free.cumsum(1, dtype=np.int32)
        row, column = np.nonzero(free & (rank <= k))
        cell = start + row, rank[row, column] - 1
        best.item[cell] = order[column]
        best.score[cell] = scores[order[column]]


def _fill_from_lists(best: TopK, plan: Listed, queries: Queries, k: int, masks: Masks) -> None:
    """Fill in the lists that a scorer makes itself; arguments as `_fill_from_one_order`."""
    size = masks.block or _QUERIES
    for start in range(0, len(queries), size):
        span = slice(start, min(start + size, len(queries)))
        item, score = plan.top_k(queries.take(span), k, masks.candidates)
        if np.isnan(score).any():
            raise not_numbers()
        best.item[span, :k], best.score[span, :k] = item, score
