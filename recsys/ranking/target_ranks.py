"""Ranks of given items in the full ranking of their query."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import torch

from recsys.data.query import Queries
from recsys.ranking.masked_scores import Block, Masks, each_block, not_numbers
from recsys.scorer import Scorer

__all__ = ["Ranks", "ranks"]

_FEW = 16  # targets of a query up to which counting costs less than sorting


@dataclass(frozen=True, eq=False)
class Ranks:
    """Ranks of target items in the full ranking of their query.

    Args:
        indptr: int64 [n + 1]; the targets of query i are rank[indptr[i]:indptr[i + 1]].
        rank: 1-based ranks, float64 [number of targets], ascending within a query; equal scores
            share their mean rank.
        candidates: number of ranked items of each query, int64 [n].
        tied: number of candidates with the score of each target, the target included, int64 [number
            of targets], in the order of `rank`.
    """

    indptr: np.ndarray
    rank: np.ndarray
    candidates: np.ndarray
    tied: np.ndarray


def ranks(
    scorer: Scorer,
    queries: Queries,
    targets: sp.csr_matrix,
    *,
    candidates: np.ndarray | None = None,
    block: int = 0,
) -> Ranks:
    """Return the rank of every target item among the candidates of its query.

    Args:
        scorer: any scorer.
        queries: n queries; what they exclude is masked.
        targets: the items to rank for each query, CSR [n, n_items]. A masked target ranks after all
            candidates and shares the mean of the remaining ranks with all masked items.
        candidates: item rows that are ranked; None: all.
        block: queries at a time; 0 chooses by memory.

    Raises:
        InputError: a score that is not a number, or a scorer that makes lists only.
    """
    indptr = targets.indptr.astype(np.int64)
    rank = np.empty(len(targets.indices), dtype=np.float64)
    tied = np.empty(len(targets.indices), dtype=np.int64)
    counts = np.empty(len(queries), dtype=np.int64)

    def count_above(span: slice, filled: Block) -> None:
        # A NaN is neither above nor equal to another score, so it would pass for a perfect rank.
        if bool(torch.isnan(filled.scores.amax(1)).any()):
            raise not_numbers()
        counts[span] = (filled.scores > -torch.inf).sum(1).cpu().numpy()
        rows = filled.scores[:, : scorer.n_items].cpu().numpy()
        for row, index in enumerate(range(span.start, span.stop)):
            own = slice(indptr[index], indptr[index + 1])
            rank[own], tied[own] = _rank_of(rows[row], targets.indices[own])

    each_block(scorer, scorer.plan(), queries, Masks(candidates, block), count_above)
    owner = np.repeat(np.arange(len(queries)), np.diff(indptr))
    order = np.lexsort((rank, owner))
    return Ranks(indptr, rank[order], counts, tied[order])


def _rank_of(scores: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean ranks of some items among the scores of one query, and the number of equals.

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
