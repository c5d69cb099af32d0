"""Ranks of given items in the full ranking of their user."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import torch

from recsys.ranking.masked_scores import Block, Masks, each_block, not_numbers
from recsys.scorer import Scorer

__all__ = ["Ranks", "ranks"]

_FEW = 16  # targets of a user up to which counting costs less than sorting


@dataclass(frozen=True, eq=False)
class Ranks:
    """Ranks of target items in the full ranking of their user.

    Args:
        user: user rows, int32 [U].
        indptr: int64 [U + 1]; the targets of user i are rank[indptr[i]:indptr[i + 1]].
        rank: 1-based ranks, float64 [number of targets], ascending within a user; equal scores
            share their mean rank.
        candidates: number of ranked items of each user, int64 [U].
        tied: number of candidates with the score of each target, the target included, int64 [number
            of targets], in the order of `rank`.
    """

    user: np.ndarray
    indptr: np.ndarray
    rank: np.ndarray
    candidates: np.ndarray
    tied: np.ndarray


def ranks(
    scorer: Scorer,
    users: np.ndarray,
    targets: sp.csr_matrix,
    *,
    seen: sp.csr_matrix | None = None,
    candidates: np.ndarray | None = None,
    block: int = 0,
) -> Ranks:
    """Return the rank of every target item among the candidates of its user.

    Args:
        scorer: any scorer.
        users: user rows [U].
        targets: CSR [n_users, n_items], the items to rank. A masked target ranks after all
            candidates and shares the mean of the remaining ranks with all masked items.
        seen: CSR [n_users, n_items], whose entries are masked; None: no entries.
        candidates: item rows that are ranked; None: all.
        block: users at a time; 0 chooses by memory.

    Raises:
        InputError: a score that is not a number.
    """
    part = targets[users]
    indptr = part.indptr.astype(np.int64)
    rank = np.empty(len(part.indices), dtype=np.float64)
    tied = np.empty(len(part.indices), dtype=np.int64)
    counts = np.empty(len(users), dtype=np.int64)

    def count_above(span: slice, filled: Block) -> None:
        # A NaN is neither above nor equal to another score, so it would pass for a perfect rank.
        if bool(torch.isnan(filled.scores.amax(1)).any()):
            raise not_numbers()
        counts[span] = (filled.scores > -torch.inf).sum(1).cpu().numpy()
        rows = filled.scores[:, : scorer.n_items].cpu().numpy()
        for row, index in enumerate(range(span.start, span.stop)):
            own = slice(indptr[index], indptr[index + 1])
            rank[own], tied[own] = _rank_of(rows[row], part.indices[own])

    masks = Masks(seen, candidates, block)
    each_block(scorer, scorer.plan(), users, masks, count_above)
    owner = np.repeat(np.arange(len(users)), np.diff(indptr))
    order = np.lexsort((rank, owner))
    return Ranks(np.asarray(users, dtype=np.int32), indptr, rank[order], counts, tied[order])


def _rank_of(scores: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean ranks of some items among the scores of one user, and the number of equals.

    A few targets are counted one by one; for many, one sort serves all.
    """
    values = scores[targets]
    if len(targets) <= _FEW:
        above = np.array([np.count_nonzero(scores > value) for value in values])
        upto = np.array([np.count_nonzero(scores >= value) for value in values])
    else:
        ordered = np.sort(scores)
        above = len(scores) - np.searchsorted(ordered, values, side="right")
        upto = len(scores) - np.searchsorted(ordered, values, side="left")
    return (above + upto + 1) / 2, upto - above
