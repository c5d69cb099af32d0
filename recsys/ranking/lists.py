"""Top-k lists of users."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from recsys.data.hashing import tie_order
from recsys.errors import InputError
from recsys.ranking.masked_scores import Block, Masks, each_block, not_numbers
from recsys.ranking.selection import best_of_rows
from recsys.scorer import OneOrder, Scorer

__all__ = ["TopK", "top_k"]

_USERS = 256  # users whose lists are cut from the common order at a time
_ROUNDING = 1e-6  # share of a user's largest score below which a difference is rounding


@dataclass(frozen=True, eq=False)
class TopK:
    """The k best items of some users, best first; equal scores in the order of `tie_order`.

    Args:
        user: user rows, int32 [U].
        item: item rows, int32 [U, k]; -1 where a user has fewer than k candidates.
        score: float32 [U, k]; -inf where item is -1.
        flat: bool [U], the users whose candidates all have the same score, so that their list is
            only the order of ties. False for a user with fewer than two candidates. None: not asked
            for.
    """

    user: np.ndarray
    item: np.ndarray
    score: np.ndarray
    flat: np.ndarray | None = None


def top_k(
    scorer: Scorer,
    users: np.ndarray,
    k: int,
    *,
    seen: sp.csr_matrix | None = None,
    candidates: np.ndarray | None = None,
    block: int = 0,
    flat: bool = False,
) -> TopK:
    """Return the k best items of each user, exactly.

    Args:
        scorer: any scorer.
        users: user rows [U].
        k: length of a list; may exceed the number of items.
        seen: CSR [n_users, n_items], whose entries are not recommended; None: no entries.
        candidates: item rows that may be recommended; None: all.
        block: users at a time; 0 chooses by memory.
        flat: whether to find the users whose candidates all have the same score, up to rounding. A
            scorer with the same scores for all users has none: its order is that of popularity.

    Raises:
        InputError: a score that is not a number, or k below 1.
    """
    if k < 1:
        raise InputError(f"k must be at least 1, got {k}", remedy="correct k")
    masks = Masks(seen, candidates, block)
    best = TopK(
        np.asarray(users, dtype=np.int32),
        np.full((len(users), k), -1, dtype=np.int32),
        np.full((len(users), k), -np.inf, dtype=np.float32),
        np.zeros(len(users), dtype=bool) if flat else None,
    )
    width = min(k, scorer.n_items)
    plan = scorer.plan()
    if isinstance(plan, OneOrder):
        _fill_from_one_order(best, scorer, users, width, masks)
        return best

    def keep_best(span: slice, filled: Block) -> None:
        value, item = best_of_rows(filled.scores, width)
        if bool(torch.isnan(value).any()):
            raise not_numbers()
        if best.flat is not None and filled.largest is not None:
            best.flat[span] = _flat(filled.scores, value, filled.largest).cpu().numpy()
        score = value if filled.term is None else value + filled.term[:, None]
        best.item[span, :width] = item.masked_fill(value == -torch.inf, -1).cpu().numpy()
        best.score[span, :width] = score.cpu().numpy()

    each_block(scorer, plan, users, masks, keep_best, largest=flat)
    return best


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
    best: TopK, scorer: Scorer, users: np.ndarray, k: int, masks: Masks
) -> None:
    """Fill in the lists of a scorer with the same scores for all users.

    One order of the items serves all users; each user's list leaves out the items they have seen.
    """
    if not len(users):
        return
    scores = scorer.score(torch.zeros(1, dtype=torch.int64))[0].numpy()
    pool = np.arange(scorer.n_items) if masks.candidates is None else np.unique(masks.candidates)
    if np.isnan(scores[pool]).any():
        raise not_numbers()
    order = pool[np.lexsort((tie_order(scorer.n_items)[pool], -scores[pool]))]
    order = order[scores[order] > -np.inf]
    position = np.full(scorer.n_items, len(order))
    position[order] = np.arange(len(order))
    for start in range(0, len(users), _USERS):
        rows = users[start : start + _USERS]
        seen = sp.csr_matrix((len(rows), 1)) if masks.seen is None else masks.seen[rows]
        length = np.diff(seen.indptr)
        # The first k + (length of the longest history) items of the order hold k for each user.
        width = min(len(order), k + int(length.max()))
        free = np.ones((len(rows), width), dtype=bool)
        at, owner = position[seen.indices], np.repeat(np.arange(len(rows)), length)
        near = at < width
        free[owner[near], at[near]] = False
        rank = free.cumsum(1, dtype=np.int32)
        row, column = np.nonzero(free & (rank <= k))
        cell = start + row, rank[row, column] - 1
        best.item[cell] = order[column]
        best.score[cell] = scores[order[column]]
