"""Scores of blocks of users, -inf where an item must not be ranked.

On the CPU each thread works on blocks of its own with a BLAS of one thread. That is faster than one
block at a time by several threads, which would wait for each other after every step, and makes the
result independent of the number of threads.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import scipy.sparse as sp
import torch
from threadpoolctl import ThreadpoolController
from torch import Tensor

from recsys.errors import InputError
from recsys.ranking.products import TiledProduct
from recsys.ranking.selection import WIDTH
from recsys.scorer import BestOfSeveral, Gemm, Plan, Scorer

__all__ = ["Block", "Masks", "each_block", "not_numbers", "score_blocks"]

_BUFFER_BYTES = 32 << 20  # of one block of scores


@dataclass(frozen=True, eq=False)
class Masks:
    """Which items are ranked for a user, and how many users are ranked at a time.

    Args:
        seen: CSR [n_users, n_items], whose entries are not ranked; None: no entries.
        candidates: item rows that are ranked; None: all.
        block: users at a time; 0 chooses by memory. No result depends on it.
    """

    seen: sp.csr_matrix | None = None
    candidates: np.ndarray | None = None
    block: int = 0


@dataclass(frozen=True, eq=False)
class Block:
    """The masked scores of a block of users.

    Args:
        scores: [B, n_items padded], -inf for masked items and padding. The next block of the same
            thread overwrites it.
        term: what to add to the scores of each user, [B]; None: zero.
        largest: largest absolute score of each user before the mask, [B], if it was asked for.
    """

    scores: Tensor
    term: Tensor | None
    largest: Tensor | None


Work: TypeAlias = Callable[[slice, Block], None]


def score_blocks(
    scorer: Scorer,
    users: np.ndarray,
    *,
    seen: sp.csr_matrix | None = None,
    candidates: np.ndarray | None = None,
    block: int = 0,
) -> Iterator[tuple[np.ndarray, Tensor]]:
    """Yield user rows [B] and their masked scores [B, n_items], -inf for masked items.

    The scores are a buffer that the next block overwrites.

    Args:
        scorer: any scorer.
        users: user rows [U].
        seen, candidates, block: as in `Masks`.
    """
    masks = Masks(seen, candidates, block)
    masked = _MaskedScores(scorer, scorer.plan(), masks)
    size = masks.block or masked.default_block
    for start in range(0, len(users), size):
        rows = users[start : start + size]
        filled = masked(rows)
        scores = filled.scores
        if filled.term is not None:
            scores.add_(filled.term[:, None])
        yield rows, scores[:, : scorer.n_items]


def each_block(
    scorer: Scorer,
    plan: Plan,
    users: np.ndarray,
    masks: Masks,
    work: Work,
    *,
    largest: bool = False,
) -> None:
    """Call a function for every block of users, on as many threads as torch uses.

    Args:
        scorer: any scorer.
        plan: the plan of the scorer.
        users: user rows [U].
        masks: which items are ranked.
        work: called with the positions of the users in `users` and their block of scores.
        largest: whether the blocks hold the largest absolute scores.
    """
    if not len(users):
        return
    masked = _MaskedScores(scorer, plan, masks, largest=largest)
    size = masks.block or masked.default_block
    spans = [slice(start, min(start + size, len(users))) for start in range(0, len(users), size)]

    def do(span: slice) -> None:
        work(span, masked(users[span]))

    on_cpu = scorer.device.type == "cpu"
    threads = min(torch.get_num_threads(), len(spans)) if on_cpu else 1
    with _one_thread_each() if on_cpu else contextlib.nullcontext():
        if threads == 1:
            for span in spans:
                do(span)
            return
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            for _ in pool.map(do, spans):
                pass


@functools.cache
def _libraries() -> ThreadpoolController:
    """Return the numeric libraries of this process; to find them takes time."""
    return ThreadpoolController()


@contextlib.contextmanager
def _one_thread_each() -> Iterator[None]:
    """Limit torch and the BLAS behind numpy to one thread while inside."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with _libraries().limit(limits=1):
            yield
    finally:
        torch.set_num_threads(threads)


class _MaskedScores:
    """Fills a buffer with the masked scores of a block of users; each thread has its own buffer."""

    def __init__(self, scorer: Scorer, plan: Plan, masks: Masks, *, largest: bool = False) -> None:
        self.scorer, self.seen = scorer, masks.seen
        self.largest = largest
        self.padded = -(-scorer.n_items // WIDTH) * WIDTH
        self.default_block = max(1, _BUFFER_BYTES // (4 * self.padded))
        self.product: TiledProduct | None = None
        if isinstance(plan, Gemm | BestOfSeveral):
            self.product = TiledProduct(plan, self.padded)
        self.barred: Tensor | None = None
        if masks.candidates is not None:
            allowed = np.zeros(scorer.n_items, dtype=bool)
            allowed[masks.candidates] = True
            self.barred = torch.from_numpy(np.flatnonzero(~allowed)).to(scorer.device)
        self.own = threading.local()

    def __call__(self, rows: np.ndarray) -> Block:
        n_items = self.scorer.n_items
        scores = self._buffer(len(rows))
        index = torch.as_tensor(np.asarray(rows, dtype=np.int64), device=self.scorer.device)
        term = None
        if self.product is not None:
            term = self.product(index, scores)
        else:
            scores[:, :n_items] = self.scorer.score(index)
        largest = _largest_absolute(scores[:, :n_items]) if self.largest else None
        scores[:, n_items:] = -torch.inf
        if self.seen is not None:
            part = self.seen[rows]
            start = np.arange(len(rows), dtype=np.int64) * self.padded
            cells = np.repeat(start, np.diff(part.indptr)) + part.indices
            scores.view(-1)[torch.as_tensor(cells, device=scores.device)] = -torch.inf
        if self.barred is not None:
            scores.index_fill_(1, self.barred, -torch.inf)
        return Block(scores, term, largest)

    def _buffer(self, size: int) -> Tensor:
        buffer: Tensor | None = getattr(self.own, "buffer", None)
        if buffer is None or len(buffer) < size:
            buffer = self.own.buffer = torch.empty(size, self.padded, device=self.scorer.device)
        return buffer[:size]


def _largest_absolute(scores: Tensor) -> Tensor:
    """Return the largest absolute score of each row [B, n], [B]; -inf does not count."""
    low, high = scores.aminmax(dim=1)
    barred = (low == -torch.inf).nonzero().view(-1)
    if len(barred):
        some = scores[barred]
        low[barred] = some.masked_fill(some == -torch.inf, torch.inf).amin(1)
        low[low == torch.inf], high[high == -torch.inf] = 0.0, 0.0
    return torch.maximum(low.abs(), high.abs())


def not_numbers() -> InputError:
    """Return the error of a scorer whose scores are NaN."""
    return InputError(
        "the scorer gives scores that are not numbers",
        remedy="train again with a smaller learning rate",
    )
