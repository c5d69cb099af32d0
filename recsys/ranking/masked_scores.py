"""Scores of blocks of queries, -inf where an item must not be ranked.

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
import torch
from threadpoolctl import ThreadpoolController
from torch import Tensor

from recsys.data.query import Queries
from recsys.errors import InputError
from recsys.ranking.products import TiledProduct
from recsys.ranking.selection import WIDTH
from recsys.scorer import Dot, Listed, NearestOf, Plan, Pointwise, Scorer

__all__ = ["Block", "Masks", "each_block", "each_span", "not_numbers", "score_blocks"]

_BUFFER_BYTES = 32 << 20  # of one block of scores
_PAIRS = 1 << 16  # of a query and an item that are scored at a time by a pointwise plan


@dataclass(frozen=True, eq=False)
class Masks:
    """Which items are ranked, and how many queries are ranked at a time.

    Items that a query excludes are not ranked for it either.

    Args:
        candidates: item rows that are ranked; None: all.
        block: queries at a time; 0 chooses by memory. No result depends on it.
    """

    candidates: np.ndarray | None = None
    block: int = 0


@dataclass(frozen=True, eq=False)
class Block:
    """The masked scores of a block of queries.

    Args:
        scores: [B, n_items padded], -inf for masked items and padding. The next block of the same
            thread overwrites it.
        term: what to add to the scores of each query, [B]; None: zero.
        largest: largest absolute score of each query before the mask, [B], if it was asked for.
    """

    scores: Tensor
    term: Tensor | None
    largest: Tensor | None


Work: TypeAlias = Callable[[slice, Block], None]


def score_blocks(
    scorer: Scorer,
    queries: Queries,
    *,
    candidates: np.ndarray | None = None,
    block: int = 0,
) -> Iterator[tuple[slice, Tensor]]:
    """Yield positions of B queries and their masked scores [B, n_items], -inf for masked items.

    The scores are a buffer that the next block overwrites.

    Args:
        scorer: any scorer with scores of all items.
        queries: what is asked.
        candidates, block: as in `Masks`.

    Raises:
        InputError: the scorer makes lists only, or does not answer such queries.
    """
    masks = Masks(candidates, block)
    masked = _MaskedScores(scorer, scorer.plan(), masks)
    size = masks.block or masked.default_block
    for start in range(0, len(queries), size):
        span = slice(start, min(start + size, len(queries)))
        filled = masked(queries.take(span))
        scores = filled.scores
        if filled.term is not None:
            scores.add_(filled.term[:, None])
        yield span, scores[:, : scorer.n_items]


def each_block(
    scorer: Scorer,
    plan: Plan,
    queries: Queries,
    masks: Masks,
    work: Work,
    *,
    largest: bool = False,
) -> None:
    """Call a function for every block of queries, on as many threads as torch uses.

    Args:
        scorer: any scorer.
        plan: the plan of the scorer.
        queries: what is asked.
        masks: which items are ranked.
        work: called with the positions of some queries and their block of scores.
        largest: whether the blocks hold the largest absolute scores.
    """
    if not len(queries):
        return
    masked = _MaskedScores(scorer, plan, masks, largest=largest)
    size = masks.block or masked.default_block

    def do(span: slice) -> None:
        work(span, masked(queries.take(span)))

    each_span(len(queries), size, do, on_cpu=scorer.device.type == "cpu")


def each_span(n: int, size: int, do: Callable[[slice], None], *, on_cpu: bool = True) -> None:
    """Call a function for every span of `size` of n queries, on the CPU by several threads.

    Each thread has a BLAS of one thread.
    """
    spans = [slice(start, min(start + size, n)) for start in range(0, n, size)]
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
    """Fills a buffer with the masked scores of a block of queries; each thread has its own."""

    def __init__(self, scorer: Scorer, plan: Plan, masks: Masks, *, largest: bool = False) -> None:
        if isinstance(plan, Listed):
            raise InputError(
                f"this '{scorer.kind}' scorer makes lists, and has no score for every item",
                remedy="use metrics of lists, such as ndcg@20, with candidates = 'all'",
            )
        self.scorer, self.plan = scorer, plan
        self.largest = largest
        self.padded = -(-scorer.n_items // WIDTH) * WIDTH
        self.default_block = max(1, _BUFFER_BYTES // (4 * self.padded))
        self.product: TiledProduct | None = None
        if isinstance(plan, Dot | NearestOf):
            self.product = TiledProduct(plan, self.padded)
        self.barred: Tensor | None = None
        if masks.candidates is not None:
            allowed = np.zeros(scorer.n_items, dtype=bool)
            allowed[masks.candidates] = True
            self.barred = torch.from_numpy(np.flatnonzero(~allowed)).to(scorer.device)
        self.own = threading.local()

    def __call__(self, queries: Queries) -> Block:
        n_items = self.scorer.n_items
        scores = self._buffer(len(queries))
        term = None
        if self.product is not None:
            term = self.product(queries, scores)
        elif isinstance(self.plan, Pointwise):
            _score_each(self.plan, queries, scores[:, :n_items])
        else:
            scores[:, :n_items] = self.scorer.score(queries)
        largest = _largest_absolute(scores[:, :n_items]) if self.largest else None
        scores[:, n_items:] = -torch.inf
        rows, items = queries.excluded()
        if len(rows):
            cells = rows * self.padded + items
            scores.view(-1)[torch.as_tensor(cells, device=scores.device)] = -torch.inf
        if self.barred is not None:
            scores.index_fill_(1, self.barred, -torch.inf)
        return Block(scores, term, largest)

    def _buffer(self, size: int) -> Tensor:
        buffer: Tensor | None = getattr(self.own, "buffer", None)
        if buffer is None or len(buffer) < size:
            buffer = self.own.buffer = torch.empty(size, self.padded, device=self.scorer.device)
        return buffer[:size]


def _score_each(plan: Pointwise, queries: Queries, out: Tensor) -> None:
    """Fill `out` [B, n_items] with scores of single items, a few items of all queries at a time."""
    n, n_items = out.shape
    step = max(1, _PAIRS // max(1, n))
    for start in range(0, n_items, step):
        items = torch.arange(start, min(start + step, n_items), device=out.device)
        repeated = queries.take(np.repeat(np.arange(n), len(items)))
        scores = plan.score(repeated, items.repeat(n))
        out[:, start : start + len(items)] = scores.view(n, len(items))


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
