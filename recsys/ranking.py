"""The only code that ranks: blocked, masked, exact top-k with a fixed order of ties (`recsys.data.hashing.tie_order`).

Evaluation and batch scoring both call `top_k`, so what ships is what was measured. Users are scored a block at a time into one
buffer that is used again, so memory does not grow with the number of users.

How the top k is found: the maximum of every 64 neighbouring items is taken, the best k + 1 of those maxima name the only
blocks that can hold the best k + 1 items, and the search goes on inside them. That reads the scores once; `torch.topk` over
the whole row takes about three times as long.

On the CPU each thread works on blocks of its own with a BLAS of one thread. That is faster than one block at a time by
several threads, which would wait for each other after every step, and makes the result independent of their number.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import torch
import torch.nn.functional as F
from threadpoolctl import ThreadpoolController
from torch import Tensor

from recsys.data.hashing import tie_order
from recsys.errors import InputError
from recsys.scorer import Factors, MultiFactors, Product, Scorer

__all__ = ["Ranks", "TopK", "ranks", "score_blocks", "top_k"]

_WIDTH = 64  # items whose maximum stands for them
_BUFFER_BYTES = 32 << 20  # of one block of scores
_TILE = 512  # items scored at a time on the CPU
_USERS = 256  # served at a time by one order of the items
_ROUNDING = 1e-6  # of a user's largest score: scores that differ by no more are the same


@functools.lru_cache(maxsize=8)
def _ties(n_items: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the place of each column among equals, and the column at each place, int64 [n_items]."""
    place = torch.from_numpy(tie_order(n_items).copy())
    return place.to(device), place.argsort().to(device)


@dataclass(frozen=True, eq=False)
class TopK:
    """The k best items of some users, best first; equal scores in the order of `tie_order`.

    Args:
        user: user rows, int32 [U].
        item: item rows, int32 [U, k]; -1 where a user has fewer than k candidates.
        score: float32 [U, k]; -inf where item is -1.
        flat: bool [U], whose candidates all have the same score, so that the list is the order of ties and nothing else; None where it was
            not asked for. A user with fewer than two candidates has nothing to tell apart, and is not among them.
    """

    user: np.ndarray
    item: np.ndarray
    score: np.ndarray
    flat: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Ranks:
    """Where given target items stand in the full ranking of their user.

    Args:
        user: user rows, int32 [U].
        indptr: int64 [U + 1]; user i's targets are rank[indptr[i]:indptr[i + 1]].
        rank: 1-based ranks, float64 [sum of targets], ascending within a user; equal scores share their mean rank.
        candidates: number of ranked items per user, int64 [U].
        tied: how many candidates have the score of each target, itself included, int64 [sum of targets], in the order of `rank`.
    """

    user: np.ndarray
    indptr: np.ndarray
    rank: np.ndarray
    candidates: np.ndarray
    tied: np.ndarray


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
    """The k best items of each user, exactly.

    Args:
        scorer: what scores.
        users: user rows [U].
        k: how many; may exceed the catalogue.
        seen: CSR [n_users, n_items] whose entries are not recommended, or None.
        candidates: item rows that may be recommended, or None for all.
        block: users at a time; 0 chooses it by memory.
        flat: find out, too, which users' candidates all have the same score, up to rounding; not asked of a scorer that gives everybody the
            same scores, whose order is that of popularity.

    Raises:
        InputError: a score that is not a number, or k below 1.
    """
    if k < 1:
        raise InputError(f"k = {k}: a list holds at least one item", remedy="correct k")
    width = min(k, scorer.n_items)
    items = np.full((len(users), k), -1, dtype=np.int32)
    values = np.full((len(users), k), -np.inf, dtype=np.float32)
    alike = np.zeros(len(users), dtype=bool) if flat else None
    if isinstance(scorer, Product) and scorer.first == "ones":
        _one_order(scorer, users, width, seen, candidates, items, values)
        return TopK(np.asarray(users, dtype=np.int32), items, values, alike)

    def keep_best(span: slice, scores: Tensor, term: Tensor | None, largest: Tensor | None) -> None:
        value, item = _best(scores, width)
        if bool(torch.isnan(value).any()):
            raise _not_numbers()
        if alike is not None and largest is not None:
            alike[span] = _flat(scores, value, largest).cpu().numpy()
        items[span, :width] = item.masked_fill(value == -torch.inf, -1).cpu().numpy()
        values[span, :width] = (value if term is None else value + term[:, None]).cpu().numpy()

    _each_block(scorer, users, seen, candidates, block, keep_best, largest=flat)
    return TopK(np.asarray(users, dtype=np.int32), items, values, alike)


def _flat(scores: Tensor, value: Tensor, largest: Tensor) -> Tensor:
    """Return which rows hold one score for all candidates, up to rounding, bool [B].

    Args:
        scores: [B, n], -inf where there is no candidate.
        value: the largest of each row [B, k], descending.
        largest: of each row, the largest absolute score before anything was left out [B]. What a user has met scores high, so it
            tells rounding from a difference where all that is left is near zero.
    """
    room = _ROUNDING * largest
    listed = torch.where(value == -torch.inf, value[:, :1], value)
    flat = value[:, 0] - listed.amin(1) <= room  # else the best are apart already
    rows = flat.nonzero().view(-1)
    some = scores[rows]
    out = some == -torch.inf
    least = some.masked_fill(out, torch.inf).amin(1)
    flat[rows] = (value[rows, 0] - least <= room[rows]) & ((~out).sum(1) > 1)
    return flat


def _one_order(
    scorer: Product,
    users: np.ndarray,
    k: int,
    seen: sp.csr_matrix | None,
    candidates: np.ndarray | None,
    items: np.ndarray,
    values: np.ndarray,
) -> None:
    """Fill in the lists of a scorer that gives everybody the same scores: one order serves all, less what each has seen."""
    if not len(users):
        return
    scores = scorer.score(torch.zeros(1, dtype=torch.int64))[0].numpy()
    pool = np.arange(scorer.n_items) if candidates is None else np.unique(candidates)
    if np.isnan(scores[pool]).any():
        raise _not_numbers()
    order = pool[np.lexsort((tie_order(scorer.n_items)[pool], -scores[pool]))]
    order = order[scores[order] > -np.inf]
    place = np.full(scorer.n_items, len(order))
    place[order] = np.arange(len(order))
    for start in range(0, len(users), _USERS):
        part = (
            sp.csr_matrix((min(_USERS, len(users) - start), 1))
            if seen is None
            else seen[users[start : start + _USERS]]
        )
        met = np.diff(part.indptr)
        free = np.ones(
            (len(met), min(len(order), k + int(met.max()))), dtype=bool
        )  # wide enough for k of each
        at, owner = place[part.indices], np.repeat(np.arange(len(met)), met)
        near = at < free.shape[1]
        free[owner[near], at[near]] = False
        rank = free.cumsum(1, dtype=np.int32)
        row, column = np.nonzero(free & (rank <= k))
        into = start + row, rank[row, column] - 1
        items[into], values[into] = order[column], scores[order[column]]


def ranks(
    scorer: Scorer,
    users: np.ndarray,
    targets: sp.csr_matrix,
    *,
    seen: sp.csr_matrix | None = None,
    candidates: np.ndarray | None = None,
    block: int = 0,
) -> Ranks:
    """The rank of every target item among the candidates of its user.

    Args:
        targets: CSR [n_users, n_items]; the items whose ranks are wanted. A masked target ranks after the candidates, and shares
            the mean of the ranks that are left with all that is masked.
        scorer, users, seen, candidates, block: as in `top_k`.

    Raises:
        InputError: a score that is not a number.
    """
    part = targets[users]
    indptr = part.indptr.astype(np.int64)
    found, tied = (
        np.empty(len(part.indices), dtype=np.float64),
        np.empty(len(part.indices), dtype=np.int64),
    )
    counts = np.empty(len(users), dtype=np.int64)

    def count_above(
        span: slice, scores: Tensor, term: Tensor | None, largest: Tensor | None
    ) -> None:
        local = np.arange(span.start, span.stop)
        # A NaN is neither above nor equal to anything, so it would pass for a perfect rank.
        if bool(torch.isnan(scores.amax(1)).any()):
            raise _not_numbers()
        counts[local] = (scores > -torch.inf).sum(1).cpu().numpy()
        rows = scores[:, : scorer.n_items].cpu().numpy()
        for place, user in enumerate(local):
            at = slice(indptr[user], indptr[user + 1])
            found[at], tied[at] = _rank_of(rows[place], part.indices[at])

    _each_block(scorer, users, seen, candidates, block, count_above)
    owner = np.repeat(np.arange(len(users)), np.diff(indptr))
    order = np.lexsort((found, owner))
    return Ranks(np.asarray(users, dtype=np.int32), indptr, found[order], counts, tied[order])


def _rank_of(scores: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean ranks of a few items among the scores of one user, and how many scores equal theirs.

    Few are counted one by one; for many, one sort serves all.
    """
    values = scores[targets]
    if len(targets) <= 16:
        above = np.array([np.count_nonzero(scores > value) for value in values])
        upto = np.array([np.count_nonzero(scores >= value) for value in values])
    else:
        ordered = np.sort(scores)
        above = len(scores) - np.searchsorted(ordered, values, side="right")
        upto = len(scores) - np.searchsorted(ordered, values, side="left")
    return (above + upto + 1) / 2, upto - above


def score_blocks(
    scorer: Scorer,
    users: np.ndarray,
    *,
    seen: sp.csr_matrix | None = None,
    candidates: np.ndarray | None = None,
    block: int = 0,
) -> Iterator[tuple[np.ndarray, Tensor]]:
    """Yield (user rows [B], masked scores [B, n_items]); -inf marks what may not be recommended. Arguments as `top_k`.

    The scores are a buffer that the next block overwrites.
    """
    fill = _Fill(scorer, seen, candidates)
    size = block or fill.default_block
    for start in range(0, len(users), size):
        rows = users[start : start + size]
        scores, term, _ = fill(rows)
        yield rows, (scores if term is None else scores.add_(term[:, None]))[:, : scorer.n_items]


def _not_numbers() -> InputError:
    return InputError(
        "the scorer gives scores that are not numbers",
        remedy="train again with a smaller learning rate",
    )


def _each_block(
    scorer: Scorer,
    users: np.ndarray,
    seen: sp.csr_matrix | None,
    candidates: np.ndarray | None,
    block: int,
    work: Callable[[slice, Tensor, Tensor | None, Tensor | None], None],
    *,
    largest: bool = False,
) -> None:
    """Call `work` for every block, on as many threads as torch uses.

    Args:
        scorer, users, seen, candidates, block: as in `top_k`.
        work: told (span of users, scores [B, n_items padded], term [B] or None, largest [B] or None), as `_Fill` gives them.
        largest: find the last, too.
    """
    if not len(users):
        return
    fill = _Fill(scorer, seen, candidates, largest=largest)
    size = block or fill.default_block
    spans = [slice(start, min(start + size, len(users))) for start in range(0, len(users), size)]

    def do(span: slice) -> None:
        work(span, *fill(users[span]))

    threads = min(torch.get_num_threads(), len(spans)) if scorer.device.type == "cpu" else 1
    with _one_thread_each() if scorer.device.type == "cpu" else contextlib.nullcontext():
        if threads == 1:
            for span in spans:
                do(span)
            return
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            for _ in pool.map(do, spans):
                pass


@functools.cache
def _libraries() -> ThreadpoolController:
    """The numeric libraries of this process; finding them takes longer than ranking a few users."""
    return ThreadpoolController()


@contextlib.contextmanager
def _one_thread_each() -> Iterator[None]:
    """One thread for torch and for the BLAS behind numpy while inside."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with _libraries().limit(limits=1):
            yield
    finally:
        torch.set_num_threads(threads)


class _Fill:
    """Masked scores of a block of users, in a buffer that each thread has for itself."""

    def __init__(
        self,
        scorer: Scorer,
        seen: sp.csr_matrix | None,
        candidates: np.ndarray | None,
        *,
        largest: bool = False,
    ) -> None:
        self.scorer, self.seen, self.largest = scorer, seen, largest
        self.padded = -(-scorer.n_items // _WIDTH) * _WIDTH
        self.default_block = max(1, _BUFFER_BYTES // (4 * self.padded))
        self.gemm = (
            _Gemm(scorer, self.padded) if isinstance(scorer, Factors | MultiFactors) else None
        )
        self.barred: Tensor | None = None
        if candidates is not None:
            allowed = np.zeros(scorer.n_items, dtype=bool)
            allowed[candidates] = True
            self.barred = torch.from_numpy(np.flatnonzero(~allowed)).to(scorer.device)
        self.own = threading.local()

    def __call__(self, rows: np.ndarray) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Scores [B, n_items padded], -inf where masked or padding, and two numbers for each row, or None.

        The first is what to add to its scores [B], the second its largest absolute score before the mask [B], where that is asked for.
        """
        n_items = self.scorer.n_items
        scores = self._buffer(len(rows))
        index = torch.as_tensor(np.asarray(rows, dtype=np.int64), device=self.scorer.device)
        term = None
        if self.gemm is not None:
            term = self.gemm(index, scores)
        else:
            scores[:, :n_items] = self.scorer.score(index)
        largest = _largest_absolute(scores[:, :n_items]) if self.largest else None
        scores[:, n_items:] = -torch.inf
        if self.seen is not None:
            part = self.seen[rows]
            cells = (
                np.repeat(np.arange(len(rows), dtype=np.int64) * self.padded, np.diff(part.indptr))
                + part.indices
            )
            scores.view(-1)[torch.as_tensor(cells, device=scores.device)] = -torch.inf
        if self.barred is not None:
            scores.index_fill_(1, self.barred, -torch.inf)
        return scores, term, largest

    def _buffer(self, size: int) -> Tensor:
        buffer: Tensor | None = getattr(self.own, "buffer", None)
        if buffer is None or len(buffer) < size:
            buffer = self.own.buffer = torch.empty(size, self.padded, device=self.scorer.device)
        return buffer[:size]


def _largest_absolute(scores: Tensor) -> Tensor:
    """Return the largest absolute value of each row [B, n], [B]; -inf, which bars an item, does not count."""
    low, high = scores.aminmax(dim=1)
    barred = (low == -torch.inf).nonzero().view(-1)
    if len(barred):
        some = scores[barred]
        low[barred] = some.masked_fill(some == -torch.inf, torch.inf).amin(1)
        low[low == torch.inf], high[high == -torch.inf] = 0.0, 0.0
    return torch.maximum(low.abs(), high.abs())


class _Gemm:
    """Scores of a factor model by matrix products into the buffer, for one vector per user or for the best of several.

    On the CPU through numpy, a few hundred items at a time: a tile of scores is still in the cache when the best of a user's
    vectors is taken, and the BLAS behind numpy is faster on it than on the whole row.
    """

    def __init__(self, scorer: Factors | MultiFactors, padded: int) -> None:
        self.term: Tensor | None = None
        if isinstance(scorer, Factors):
            self.query, key, self.term = scorer.as_dot()
        else:
            self.query, key = scorer.as_dot()
        self.host = key.device.type == "cpu"
        key = F.pad(key, (0, 0, 0, padded - len(key)))
        self.tiles = (
            [tile.T.contiguous() for tile in torch.split(key, _TILE)]
            if self.host
            else [key.T.contiguous()]
        )

    def __call__(self, rows: Tensor, out: Tensor) -> Tensor | None:
        query = self.query.index_select(0, rows)
        if query.dim() == 2:
            self._single(query, out)
        else:
            self._best_of_several(query, out)
        return None if self.term is None else self.term.index_select(0, rows)

    def _single(self, query: Tensor, out: Tensor) -> None:
        if not self.host:
            torch.mm(query, self.tiles[0], out=out)
            return
        rows, scores = query.numpy(), out.numpy()
        for start, tile in zip(range(0, out.shape[1], _TILE), self.tiles, strict=True):
            np.matmul(rows, tile.numpy(), out=scores[:, start : start + tile.shape[1]])

    def _best_of_several(self, query: Tensor, out: Tensor) -> None:
        size, vectors, dim = query.shape
        if not self.host:
            torch.mm(query[:, 0], self.tiles[0], out=out)
            for place in range(1, vectors):
                torch.maximum(out, query[:, place] @ self.tiles[0], out=out)
            return
        rows, scores = query.view(-1, dim).numpy(), out.numpy()
        for start, tile in zip(range(0, out.shape[1], _TILE), self.tiles, strict=True):
            each = np.matmul(rows, tile.numpy()).reshape(size, vectors, -1)
            np.maximum.reduce(each, axis=1, out=scores[:, start : start + tile.shape[1]])


def _best(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return values and columns [B, k] of the k largest, in descending order, equals in `tie_order`."""
    value, column = _largest(scores, min(k + 1, scores.shape[1]))
    if value.shape[1] > k:
        # Where the value after the last is equal to it, the order of ties says which of the equals are among the best k.
        tied = (
            ((value[:, k] == value[:, k - 1]) & (value[:, k - 1] > -torch.inf)).nonzero().view(-1)
        )
        last, column = value[:, k - 1 : k], column[:, :k]
        if len(tied):
            column = column.clone()
            column[tied] = _first_of_equals(scores[tied], last[tied], k)
    column = _in_tie_order(column, scores.shape[1])
    value, order = scores.gather(1, column).sort(dim=1, descending=True, stable=True)
    return value, column.gather(1, order)


def _in_tie_order(column: Tensor, n: int) -> Tensor:
    """Return the columns of each row [B, k] in the order of `tie_order`."""
    place, at = _ties(n, column.device)
    return at[place[column].sort(dim=1).values]


def _first_of_equals(scores: Tensor, last: Tensor, k: int) -> Tensor:
    """Return columns [R, k] of all scores above `last` [R, 1] and of the first of those equal to it."""
    value, column = _largest(scores, min(4 * k + 64, scores.shape[1]))
    column = _in_tie_order(column, scores.shape[1])
    value = scores.gather(1, column)
    result = column[_choose(value, last, k)].view(len(scores), k)
    # More equals than these: only then the whole row has to be searched.
    open_end = (value.min(1).values == last[:, 0]).nonzero().view(-1)
    if len(open_end) and value.shape[1] < scores.shape[1]:
        _, at = _ties(scores.shape[1], scores.device)
        chosen = _choose(scores[open_end][:, at], last[open_end], k)
        result[open_end] = at[chosen.nonzero()[:, 1]].view(len(open_end), k)
    return result


def _choose(scores: Tensor, last: Tensor, k: int) -> Tensor:
    """Bool mask with k true per row: all above `last`, then the first of those equal to it."""
    above, equal = scores > last, scores == last
    room = k - above.sum(1, keepdim=True)
    return above | (equal & (equal.cumsum(1) <= room))


def _largest(values: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Values and columns [B, k] of the k largest of each row, in no promised order of equals."""
    size, n = values.shape
    width = _WIDTH if n > 4096 else 8
    if 2 * k * width > n:
        value, column = values.topk(k, dim=1)
        return value, column
    if n % width:
        values = F.pad(values, (0, width - n % width), value=-torch.inf)
    blocks = values.shape[1] // width
    # A block can hold one of the k largest only if its maximum is among the k largest maxima.
    _, winner = _largest(values.view(size, blocks, width).amax(2), k)
    start = torch.arange(size, device=values.device)[:, None] * blocks
    inside = (
        values.reshape(size * blocks, width)
        .index_select(0, (start + winner).view(-1))
        .view(size, k * width)
    )
    value, place = _largest(inside, k)
    return value, winner.gather(1, place // width) * width + place % width
