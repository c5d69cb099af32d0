"""The only code that ranks: blocked, masked, exact top-k with a fixed order of ties.

Evaluation and batch scoring both call `top_k`, so what ships is what was measured.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import torch

from recsys.errors import InputError
from recsys.scorer import Scorer

__all__ = ["Ranks", "TopK", "ranks", "score_blocks", "top_k"]


@dataclass(frozen=True, eq=False)
class TopK:
    """The k best items of some users, best first; equal scores in the order of the item rows.

    Args:
        user: user rows, int32 [U].
        item: item rows, int32 [U, k]; -1 where a user has fewer than k candidates.
        score: float32 [U, k]; -inf where item is -1.
    """

    user: np.ndarray
    item: np.ndarray
    score: np.ndarray


@dataclass(frozen=True, eq=False)
class Ranks:
    """Where given target items stand in the full ranking of their user.

    Args:
        user: user rows, int32 [U].
        indptr: int64 [U + 1]; user i's targets are rank[indptr[i]:indptr[i + 1]].
        rank: 1-based ranks, float64 [sum of targets], ascending within a user; equal scores share their mean rank.
        candidates: number of ranked items per user, int64 [U].
    """

    user: np.ndarray
    indptr: np.ndarray
    rank: np.ndarray
    candidates: np.ndarray


def score_blocks(
    scorer: Scorer, users: np.ndarray, *, seen: sp.csr_matrix | None = None, candidates: np.ndarray | None = None, block: int = 0
) -> Iterator[tuple[np.ndarray, torch.Tensor]]:
    """Yield (user rows [B], masked scores [B, n_items]); -inf marks what may not be recommended. The buffer is reused.

    Args:
        scorer: what scores.
        users: user rows [U].
        seen: CSR [n_users, n_items] whose entries are masked.
        candidates: item rows that may be recommended, or None for all.
        block: users at a time; 0 chooses it so that a block of scores takes about 64 MiB.
    """
    block = block or max(1, (64 << 20) // (4 * max(1, scorer.n_items)))
    barred = None
    if candidates is not None:
        barred = torch.ones(scorer.n_items, dtype=torch.bool, device=scorer.device)
        barred[torch.as_tensor(candidates, dtype=torch.long, device=scorer.device)] = False
    for start in range(0, len(users), block):
        rows = users[start : start + block]
        scores = scorer.score(torch.as_tensor(rows, dtype=torch.long, device=scorer.device))
        if bool(torch.isnan(scores).any()):
            raise InputError("the scorer gives scores that are not numbers", remedy="train again with a smaller learning rate")
        if seen is not None:
            part = seen[rows]
            users_of = np.repeat(np.arange(len(rows)), np.diff(part.indptr))
            scores[torch.as_tensor(users_of, device=scores.device), torch.as_tensor(part.indices, dtype=torch.long, device=scores.device)] = -torch.inf
        if barred is not None:
            scores.masked_fill_(barred.to(scores.device), -torch.inf)
        yield rows, scores


def top_k(
    scorer: Scorer, users: np.ndarray, k: int, *, seen: sp.csr_matrix | None = None, candidates: np.ndarray | None = None, block: int = 0
) -> TopK:
    """The k best items of each user, exactly. Arguments as `score_blocks`; k may exceed the catalogue."""
    width = min(k, scorer.n_items)
    items = np.full((len(users), k), -1, dtype=np.int32)
    scores = np.full((len(users), k), -np.inf, dtype=np.float32)
    done = 0
    for rows, block_scores in score_blocks(scorer, users, seen=seen, candidates=candidates, block=block):
        order = torch.argsort(block_scores, dim=1, descending=True, stable=True)[:, :width]
        values = block_scores.gather(1, order)
        found = torch.where(values == -torch.inf, -1, order)
        items[done : done + len(rows), :width] = found.cpu().numpy()
        scores[done : done + len(rows), :width] = values.cpu().numpy()
        done += len(rows)
    return TopK(np.asarray(users, dtype=np.int32), items, scores)


def ranks(
    scorer: Scorer, users: np.ndarray, targets: sp.csr_matrix, *, seen: sp.csr_matrix | None = None, candidates: np.ndarray | None = None, block: int = 0
) -> Ranks:
    """The rank of every target item among the candidates of its user.

    Args:
        targets: CSR [n_users, n_items]; the items whose ranks are wanted. A masked target ranks last.
        others: as `score_blocks`.
    """
    part = targets[users]
    indptr = part.indptr.astype(np.int64)
    out = np.empty(len(part.indices), dtype=np.float64)
    counts = np.empty(len(users), dtype=np.int64)
    done = 0
    for rows, scores in score_blocks(scorer, users, seen=seen, candidates=candidates, block=block):
        ordered = scores.sort(dim=1).values
        counts[done : done + len(rows)] = (ordered > -torch.inf).sum(1).cpu().numpy()
        for local in range(len(rows)):
            span = slice(indptr[done + local], indptr[done + local + 1])
            if span.start == span.stop:
                continue
            mine = scores[local, torch.as_tensor(part.indices[span], dtype=torch.long, device=scores.device)]
            row = ordered[local]
            above = scores.shape[1] - torch.searchsorted(row, mine, right=True)
            equal = torch.searchsorted(row, mine, right=True) - torch.searchsorted(row, mine)
            rank = above.double() + (equal.double() + 1) / 2
            out[span] = np.sort(rank.cpu().numpy())
        done += len(rows)
    return Ranks(np.asarray(users, dtype=np.int32), indptr, out, counts)
